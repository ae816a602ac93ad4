//! Storage commitment on associations that we open (PS3.4 J.3): asks a destination to commit to what it was sent, and
//! reports to a peer that has asked us.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::association::{Association, Failure, Message, Offer};
use super::{Destination, Outcome};
use crate::deliver::object::Object;
use crate::dicom::Uid;
use crate::dimse::commitment::{
    ALL_COMMITTED, CommitmentError, CommitmentReport, CommitmentRequest, FAILURES_EXIST, REQUEST_ACTION, Reference,
};
use crate::dimse::syntaxes::{
    EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE,
};
use crate::dimse::{Command, CommandSet, Outcome as Answer, Response};
use crate::limits::{COMMITMENT_BYTES_MAX, COMMITMENT_SAME_ASSOCIATION_S};

/// Status of a transaction that was asked for before, from peers that have one for it (PS3.3 C.14.1.1).
const DUPLICATE_TRANSACTION: u16 = 0x0131;

/// What a destination says to a request for commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It has reported, on the same association.
    Reported(CommitmentReport),
    /// It has taken the request; its report comes on another association.
    Owes,
    /// It could not be asked, or has refused; now, or for good.
    Not(Outcome),
}

/// Asks a destination to commit to these objects, and waits a little for its report.
pub async fn commit(destination: &Destination, paths: &[PathBuf], transaction_uid: &Uid) -> Committed {
    let mut references = Vec::new();
    for path in paths {
        match Object::open(path).await {
            Ok(object) => references
                .push(Reference { sop_class_uid: object.sop_class_uid, sop_instance_uid: object.sop_instance_uid }),
            Err(error) => return Committed::Not(error.outcome()),
        }
    }
    let request = CommitmentRequest { transaction_uid: transaction_uid.clone(), references };
    let offers = offers();
    let asked: Result<Committed, Failure> = async {
        let mut association = Association::open(destination, &offers).await?;
        let committed = association.ask(&request).await?;
        association.release().await;
        Ok(committed)
    }
    .await;
    asked.unwrap_or_else(|failure| Committed::Not(failure.outcome()))
}

/// Tells a peer what we have committed to, on an association on which we are SCP.
pub async fn report(destination: &Destination, report: &CommitmentReport) -> Outcome {
    let offers = offers().map(Offer::reversed);
    let told: Result<Outcome, Failure> = async {
        let mut association = Association::open(destination, &offers).await?;
        let outcome = association.tell(report).await?;
        association.release().await;
        Ok(outcome)
    }
    .await;
    told.unwrap_or_else(|failure| failure.outcome())
}

/// How the answer to a report counts.
pub(super) fn judge(response: &Response, what: &str) -> Outcome {
    let status = response.status;
    if status.is_success() || status.is_warning() {
        return Outcome::Delivered { warnings: Vec::new() };
    }
    let reason = format!("{what} was answered with status {status} {}", response.comment).trim_end().to_owned();
    let status_code = Some(status.0);
    if status.is_transient() {
        Outcome::Retry { reason, status: status_code }
    } else {
        Outcome::Refused { reason, status: status_code }
    }
}

fn offers() -> [Offer; 2] {
    [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN].map(|syntax| Offer::new(STORAGE_COMMITMENT, syntax))
}

fn not_offered() -> Outcome {
    let reason = "the destination does not offer storage commitment to us".to_owned();
    Outcome::Refused { reason, status: Some(0x0122) }
}

fn unwritten(error: CommitmentError) -> Failure {
    Failure::Request(error.to_string())
}

impl Association<'_> {
    async fn ask(&mut self, request: &CommitmentRequest) -> Result<Committed, Failure> {
        let Some((context_id, syntax)) = self.context_of(STORAGE_COMMITMENT) else {
            return Ok(Committed::Not(not_offered()));
        };
        let data = request.encode(&syntax).map_err(unwritten)?;
        let message_id = self.message_id();
        let (class, instance) = (STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE);
        let command = CommandSet::action_request(message_id, class, instance, REQUEST_ACTION);
        self.request(context_id, &command, &data).await?;
        let mut early = None;
        loop {
            let message = self.message(self.response_timeout(), COMMITMENT_BYTES_MAX).await?;
            match &message.command {
                Command::Response(response) if response.field == 0x8130 && response.message_id == message_id => {
                    // It knows the transaction: a crash came between our request and its record.
                    if response.status.0 == DUPLICATE_TRANSACTION {
                        break;
                    }
                    match judge(response, "the request for storage commitment") {
                        Outcome::Delivered { .. } => break,
                        refused => return Ok(Committed::Not(refused)),
                    }
                }
                // Some report before they answer.
                Command::EventReport(_) if early.is_none() => {
                    early = self.take_report(&message, &syntax, &request.transaction_uid).await?;
                }
                _ => return Err(Failure::Protocol("found another message than the answer".to_owned())),
            }
        }
        if let Some(report) = early {
            return Ok(Committed::Reported(report));
        }
        let start = Instant::now();
        let wait = Duration::from_secs(COMMITMENT_SAME_ASSOCIATION_S);
        while let Some(left) = wait.checked_sub(start.elapsed()) {
            // Whatever ends the wait, the request stands: the report comes on another association.
            let Ok(message) = self.message(left, COMMITMENT_BYTES_MAX).await else { break };
            if let Some(report) = self.take_report(&message, &syntax, &request.transaction_uid).await? {
                return Ok(Committed::Reported(report));
            }
        }
        Ok(Committed::Owes)
    }

    /// Answers a report; `None` when it is none of this transaction. What it says is recorded after the answer: when
    /// that is lost, the destination is asked again in another transaction.
    async fn take_report(
        &mut self,
        message: &Message,
        syntax: &str,
        transaction_uid: &Uid,
    ) -> Result<Option<CommitmentReport>, Failure> {
        let Command::EventReport(request) = &message.command else {
            return Err(Failure::Protocol("found another message than a report".to_owned()));
        };
        let known = matches!(request.type_id, Some(ALL_COMMITTED | FAILURES_EXIST));
        let report = syntax.parse().ok().and_then(|syntax| CommitmentReport::decode(&message.data, &syntax).ok());
        let report = report.filter(|report| report.transaction_uid == *transaction_uid);
        let outcome = match (&report, known) {
            (_, false) => Answer::NoSuchEventType,
            (None, true) => Answer::InvalidArgument,
            (Some(_), true) => Answer::Accepted,
        };
        let response = message.set.response(outcome).map_err(|error| Failure::Protocol(error.to_string()))?;
        self.respond(message.context_id, &response).await?;
        Ok(report.filter(|_| known))
    }

    async fn tell(&mut self, report: &CommitmentReport) -> Result<Outcome, Failure> {
        // A peer that takes the context and says nothing of roles is told all the same: many mean it so.
        let Some((context_id, syntax)) = self.context_of(STORAGE_COMMITMENT) else { return Ok(not_offered()) };
        let data = report.encode(&syntax).map_err(unwritten)?;
        let message_id = self.message_id();
        let (class, instance) = (STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE);
        let command = CommandSet::event_report_request(message_id, class, instance, report.event_type());
        self.request(context_id, &command, &data).await?;
        let message = self.message(self.response_timeout(), COMMITMENT_BYTES_MAX).await?;
        match &message.command {
            Command::Response(response) if response.field == 0x8100 && response.message_id == message_id => {
                Ok(judge(response, "the report on storage commitment"))
            }
            _ => Err(Failure::Protocol("found another message than the answer to the report".to_owned())),
        }
    }
}
