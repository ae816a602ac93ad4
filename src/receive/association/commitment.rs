//! Storage commitment within an association (PS3.4 J.3): takes requests and reports, and sends the report of a request
//! while its association is open; what is committed is decided elsewhere.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use super::{Association, End, Receiving, gone};
use crate::dicom::{AeTitle, Uid};
use crate::dimse::commitment::{
    ALL_COMMITTED, CommitmentError, CommitmentReport, CommitmentRequest, FAILURES_EXIST, REQUEST_ACTION,
};
use crate::dimse::{AbortReason, CommandSet, NormalizedRequest, Outcome, Response, Status, encode_message, syntaxes};
use crate::limits::COMMITMENT_BYTES_MAX;
use crate::receive::Notice;

/// A peer asks for storage commitment.
pub struct CommitmentAsked {
    pub peer: AeTitle,
    /// The name of the peer, or the title of one that is not known.
    pub name: String,
    pub called: AeTitle,
    pub association: u64,
    pub request: CommitmentRequest,
    /// The way back, while the association is open.
    pub back: Back,
    /// What the N-ACTION is answered; success only after the request is durable.
    pub reply: oneshot::Sender<Outcome>,
}

/// A peer that we have asked for storage commitment reports.
pub struct ReportReceived {
    /// The names of the peers that it can be, or the title of one that is not known.
    pub peers: Vec<String>,
    pub report: CommitmentReport,
    /// What the N-EVENT-REPORT is answered; success only after what follows is durable.
    pub reply: oneshot::Sender<Outcome>,
}

/// The way to an open association, for a report.
#[derive(Clone, Debug)]
pub struct Back(mpsc::Sender<Outgoing>);

/// A report on its way, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    report: CommitmentReport,
    answer: oneshot::Sender<Status>,
}

impl Back {
    /// Whether the association has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends a report and waits for its answer; `None` when the association ends before.
    pub async fn report(&self, report: CommitmentReport) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Outgoing { report, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// The side of the association in which reports go out.
#[derive(Debug)]
pub(super) struct Reports {
    back: Back,
    outgoing: mpsc::Receiver<Outgoing>,
    /// The report that is not answered yet, by its Message ID.
    open: Option<(u16, oneshot::Sender<Status>)>,
    next_message_id: u16,
}

impl Reports {
    pub(super) fn new() -> Reports {
        let (sender, outgoing) = mpsc::channel(1);
        Reports { back: Back(sender), outgoing, open: None, next_message_id: 1 }
    }

    /// The next report that is to go out. One at a time: asynchronous operations are never negotiated.
    pub(super) async fn next(&mut self) -> Option<Outgoing> {
        self.outgoing.recv().await
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.open.is_some()
    }
}

/// A request whose data set is being collected.
pub(super) struct Collecting {
    pub bytes: Vec<u8>,
    kind: Kind,
    type_id: Option<u16>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Action,
    EventReport,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Association<'_, S> {
    /// Takes an N-ACTION-RQ or N-EVENT-REPORT-RQ; its data set follows.
    pub(super) async fn normalized(
        &mut self,
        context_id: u8,
        set: CommandSet,
        kind: Kind,
        request: NormalizedRequest,
    ) -> Result<(), End> {
        let refused = self.admit_normalized(context_id, kind, &request).err();
        if !request.has_data_set {
            let outcome = refused.map_or(Outcome::MistypedArgument, |(outcome, _)| outcome);
            return self.answer(context_id, &set, outcome).await;
        }
        match refused {
            Some((outcome, reason)) => self.refuse(outcome, reason.to_owned()),
            None => {
                let collecting = Collecting { bytes: Vec::new(), kind, type_id: request.type_id };
                self.receiving = Receiving::Collecting(collecting);
            }
        }
        self.asked = Some((context_id, set));
        Ok(())
    }

    fn admit_normalized(
        &self,
        context_id: u8,
        kind: Kind,
        request: &NormalizedRequest,
    ) -> Result<(), (Outcome, &'static str)> {
        let is = |uid: &Result<Uid, _>, expected: &str| uid.as_ref().is_ok_and(|uid: &Uid| uid.as_str() == expected);
        let context = self.negotiated.context(context_id);
        if context.is_none_or(|context| context.abstract_syntax != syntaxes::STORAGE_COMMITMENT) {
            return Err((
                Outcome::UnrecognizedOperation,
                "found it in another context than that of storage commitment",
            ));
        }
        if !is(&request.sop_class_uid, syntaxes::STORAGE_COMMITMENT) {
            return Err((Outcome::NoSuchSopClass, "found another SOP class than storage commitment"));
        }
        if !is(&request.sop_instance_uid, syntaxes::STORAGE_COMMITMENT_INSTANCE) {
            return Err((Outcome::NoSuchSopInstance, "found another SOP instance than that of storage commitment"));
        }
        match kind {
            Kind::Action if self.negotiated.commits_as.is_none() => {
                Err((Outcome::CommitmentNotAuthorized, "this AE title may not ask for storage commitment"))
            }
            Kind::Action if request.type_id != Some(REQUEST_ACTION) => {
                Err((Outcome::NoSuchAction, "found another action than the request for storage commitment"))
            }
            Kind::EventReport if self.negotiated.reports_as.is_empty() => {
                Err((Outcome::CommitmentNotAuthorized, "this AE title was not asked for storage commitment"))
            }
            Kind::EventReport if !matches!(request.type_id, Some(ALL_COMMITTED | FAILURES_EXIST)) => {
                Err((Outcome::NoSuchEventType, "found another event than a report on storage commitment"))
            }
            _ => Ok(()),
        }
    }

    /// Appends to the data set of a request.
    pub(super) fn collect(&mut self, bytes: &[u8]) {
        let Receiving::Collecting(collecting) = &mut self.receiving else { return };
        if collecting.bytes.len() + bytes.len() <= COMMITMENT_BYTES_MAX {
            collecting.bytes.extend_from_slice(bytes);
        } else {
            let reason = format!("the data set is longer than {COMMITMENT_BYTES_MAX} bytes");
            self.refuse(Outcome::ResourceLimitation, reason);
        }
    }

    /// The data set is there: tells the daemon, and answers what it says.
    pub(super) async fn collected(&mut self, collecting: Collecting) -> Result<(), End> {
        let Some((context_id, set)) = self.asked.take() else { return Ok(()) };
        let syntax = self.negotiated.context(context_id).map(|context| context.transfer_syntax.clone());
        let Some(syntax) = syntax else { return Ok(()) };
        let (reply, replied) = oneshot::channel();
        let notice = match collecting.kind {
            Kind::Action => self.asked_notice(&collecting.bytes, &syntax, reply),
            Kind::EventReport => self.report_notice(&collecting.bytes, &syntax, reply),
        };
        let outcome = match notice {
            Err(error) => {
                let (association, calling) = (self.id, &self.negotiated.calling);
                warn!(association, %calling, type_id = collecting.type_id, "storage commitment refused: {error}");
                match error {
                    CommitmentError::TooMany => Outcome::ResourceLimitation,
                    _ => Outcome::InvalidArgument,
                }
            }
            // Without an answer nothing is known to be durable, and success is never guessed.
            Ok(notice) => match self.shared.notices.send(notice).await {
                Ok(()) => {
                    let replied = timeout(self.policy.idle, replied).await;
                    replied.ok().and_then(Result::ok).unwrap_or(Outcome::ProcessingFailure)
                }
                Err(_) => Outcome::ProcessingFailure,
            },
        };
        self.answer(context_id, &set, outcome).await
    }

    fn asked_notice(
        &self,
        bytes: &[u8],
        syntax: &Uid,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<Notice, CommitmentError> {
        Ok(Notice::CommitmentAsked(Box::new(CommitmentAsked {
            peer: self.negotiated.calling.clone(),
            name: self.negotiated.commits_as.clone().unwrap_or_default(),
            called: self.negotiated.called.clone(),
            association: self.id,
            request: CommitmentRequest::decode(bytes, syntax)?,
            back: self.reports.back.clone(),
            reply,
        })))
    }

    fn report_notice(
        &self,
        bytes: &[u8],
        syntax: &Uid,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<Notice, CommitmentError> {
        let report = CommitmentReport::decode(bytes, syntax)?;
        Ok(Notice::ReportReceived(Box::new(ReportReceived {
            peers: self.negotiated.reports_as.clone(),
            report,
            reply,
        })))
    }

    /// Sends a report on this association. The requestor is SCU and we are SCP, which are the roles without negotiation.
    pub(super) async fn send_report(&mut self, outgoing: Outgoing) -> Result<(), End> {
        let context = self.negotiated.contexts.iter().find(|c| c.abstract_syntax == syntaxes::STORAGE_COMMITMENT);
        let Some((id, syntax)) = context.map(|context| (context.id, context.transfer_syntax.clone())) else {
            return Ok(());
        };
        // Only a transfer syntax that is not known fails here, and those are not accepted.
        let Ok(data) = outgoing.report.encode(syntax.as_str()) else { return Ok(()) };
        let message_id = self.reports.next_message_id;
        self.reports.next_message_id = message_id.checked_add(1).unwrap_or(1);
        let command = CommandSet::event_report_request(
            message_id,
            syntaxes::STORAGE_COMMITMENT,
            syntaxes::STORAGE_COMMITMENT_INSTANCE,
            outgoing.report.event_type(),
        );
        let mut bytes = Vec::with_capacity(data.len() + 512);
        encode_message(&mut bytes, id, true, &command.encode(), self.negotiated.peer_max_pdu);
        encode_message(&mut bytes, id, false, &data, self.negotiated.peer_max_pdu);
        self.wire.write(&bytes, self.policy.idle).await.map_err(gone)?;
        self.reports.open = Some((message_id, outgoing.answer));
        Ok(())
    }

    /// Takes the response to a report of ours; there is no other request that could have one.
    pub(super) fn responded(&mut self, response: &Response) -> Result<(), End> {
        match self.reports.open.take() {
            Some((message_id, answer)) if response.field == 0x8100 && response.message_id == message_id => {
                // Nobody waits any more when it took too long; another association brings the report then.
                let _ = answer.send(response.status);
                Ok(())
            }
            _ => Err(End::Abort(AbortReason::UnexpectedPdu, "found a response without a request".to_owned())),
        }
    }
}
