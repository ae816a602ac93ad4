//! One association from its first PDU to its end (PS3.8 9.2): who may, what is said, what is answered.

mod commitment;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use commitment::{Back, CommitmentAsked, ReportReceived};
use commitment::{Collecting, Kind, Reports};

use super::connections::{Slot, Ticket};
use super::intake::Intake;
use super::pace::Pace;
use super::store::{Finished, Sink};
use super::{Policy, Shared};
use crate::dimse::{
    AbortReason, Certificate, Command, CommandSet, MessageError, Negotiated, Origin, Outcome, Part, Pdu, PduError,
    Reassembly, Refusal, StoreRequest, encode_message, encode_pdu, encode_reject, negotiate, syntaxes,
};
use crate::spool::Meta;
use crate::wire::{Wire, WireError};

/// A connection of which no association has come yet.
pub(super) struct Opening<'a> {
    pub peer: IpAddr,
    /// What the peer presented over TLS.
    pub certificate: Option<Certificate>,
    pub id: u64,
    pub policy: Arc<Policy>,
    /// When the ARTIM time is over that began with the connection.
    pub deadline: Instant,
    /// Its place among those that have said nothing.
    pub ticket: Ticket<'a>,
}

/// Serves a connection until it is closed.
pub(super) async fn serve<S>(stream: S, opening: Opening<'_>, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Opening { peer, certificate, id, policy, deadline, ticket } = opening;
    let artim = policy.artim;
    let mut wire = Wire::new(stream, policy.acceptance.max_pdu);
    let mut killed = shared.killed.clone();
    let first = tokio::select! {
        first = wire.read(deadline.saturating_duration_since(Instant::now())) => first,
        () = ticket.evicted() => return,
        _ = killed.wait_for(|killed| *killed) => return,
    };
    let request = match first {
        Ok(Pdu::AssociateRequest(request)) => request,
        other => {
            // Until it is closed, it takes a place among those that have said nothing.
            tokio::select! {
                () = refuse_connection(wire, other, peer, shared, artim) => {}
                () = ticket.evicted() => {}
                _ = killed.wait_for(|killed| *killed) => {}
            }
            return;
        }
    };
    drop(ticket);
    // As the rules are now, not as they were when the connection was opened.
    let policy = shared.policy.borrow().clone();
    let origin = Origin { address: peer, certificate: certificate.as_ref() };
    let refusal = match negotiate(&request, &policy.acceptance, origin) {
        Err(refusal) => refusal,
        Ok(negotiated) => {
            let (max, per_caller) = (policy.associations_max, policy.associations_per_caller_max);
            match shared.slots.take(&negotiated, max, per_caller) {
                Ok(slot) => return Association::new(wire, negotiated, peer, id, policy, shared).run(slot).await,
                Err(rejection) => Refusal::Reject(rejection),
            }
        }
    };
    match refusal {
        Refusal::Abort(reason) => {
            say(shared, peer, "the A-ASSOCIATE-RQ has even or repeated context numbers");
            wire.abort(reason, policy.artim).await;
        }
        Refusal::Reject(rejection) => {
            // The titles are the peer's bytes; what is not printable is escaped.
            let (calling, called) = (request.calling_ae_title.escape_debug(), request.called_ae_title.escape_debug());
            let (result, source, reason) = rejection.numbers();
            if shared.quiet.may_say(peer, &rejection.to_string()) {
                // Of use to whoever enters it in the peer's file; no secret.
                let presented =
                    certificate.map(|found| format!(", certificate {}", found.fingerprint)).unwrap_or_default();
                warn!(%peer, "association from {calling} to {called} rejected with {result}/{source}/{reason}: {rejection}{presented}");
            }
            if wire.write(&encode_reject(result, source, reason), policy.artim).await.is_ok() {
                wire.close(policy.artim).await;
            }
        }
    }
}

/// The connection did not begin with an A-ASSOCIATE-RQ.
async fn refuse_connection<S>(
    wire: Wire<S>,
    first: Result<Pdu, WireError>,
    peer: IpAddr,
    shared: &Shared,
    artim: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = match first {
        Ok(Pdu::Abort { .. }) | Err(WireError::Closed) => return,
        Ok(_) => {
            say(shared, peer, "found another PDU where an A-ASSOCIATE-RQ was due");
            AbortReason::UnexpectedPdu
        }
        Err(error) => {
            match &error {
                WireError::TimedOut(_) => say(shared, peer, &format!("no A-ASSOCIATE-RQ within {artim:?}")),
                WireError::Pdu(_) => say_of(shared, peer, "pdu", &error.to_string()),
                _ => say_of(shared, peer, "connection", &error.to_string()),
            }
            match error {
                WireError::Pdu(error) => error.abort_reason(),
                // PS3.8 9.2.3, AA-2: the time is up, the connection is closed without a word.
                _ => return,
            }
        }
    };
    wire.abort(reason, artim).await;
}

/// Says something whose text is one of ours.
pub(super) fn say(shared: &Shared, peer: IpAddr, what: &str) {
    say_of(shared, peer, what, what);
}

/// Says something of a kind, in which there may be numbers and texts of the peer.
pub(super) fn say_of(shared: &Shared, peer: IpAddr, kind: &str, what: &str) {
    if shared.quiet.may_say(peer, kind) {
        warn!(%peer, "connection refused: {what}");
    }
}

/// How an association ended.
enum End {
    Released,
    /// The peer aborted, went away or fell silent.
    Gone(String),
    /// We abort.
    Abort(AbortReason, String),
}

/// The data set that is being received.
enum Receiving {
    Nothing,
    Storing {
        sink: Sink,
        size_bytes: u64,
    },
    /// The data set of a request for another service, as far as it has come.
    Collecting(Collecting),
    /// The instance is refused already; the rest is passed over so that the association goes on.
    Refused {
        finished: Finished,
        size_bytes: u64,
    },
}

struct Association<'a, S> {
    wire: Wire<S>,
    negotiated: Negotiated,
    peer: IpAddr,
    id: u64,
    policy: Arc<Policy>,
    shared: &'a Shared,
    reassembly: Reassembly,
    receiving: Receiving,
    /// The command that is to be answered, and its context.
    asked: Option<(u8, CommandSet)>,
    reports: Reports,
    intake: Intake,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Association<'a, S> {
    fn new(
        wire: Wire<S>,
        negotiated: Negotiated,
        peer: IpAddr,
        id: u64,
        policy: Arc<Policy>,
        shared: &'a Shared,
    ) -> Association<'a, S> {
        let (calling, called) = (negotiated.calling.clone(), negotiated.called.clone());
        Association {
            intake: Intake::numbered(id, calling, called, shared.notices.clone()),
            wire,
            negotiated,
            peer,
            id,
            policy,
            shared,
            reassembly: Reassembly::default(),
            receiving: Receiving::Nothing,
            asked: None,
            reports: Reports::new(),
        }
    }

    async fn run(mut self, slot: Slot) {
        let (calling, called) = (&self.negotiated.calling, &self.negotiated.called);
        debug!(association = self.id, peer = %self.peer, %calling, %called, "association opened");
        let end = match self.accept().await {
            Ok(()) => self.converse().await.unwrap_or_else(|end| end),
            Err(end) => end,
        };
        // What has not come to its end is thrown away before anybody hears of the end.
        self.receiving = Receiving::Nothing;
        self.report(&end);
        self.intake.end(matches!(end, End::Released)).await;
        // A peer that does not close keeps no other from calling.
        drop(slot);
        let artim = self.policy.artim;
        match end {
            End::Released => self.wire.close(artim).await,
            End::Abort(reason, _) => self.wire.abort(reason, artim).await,
            End::Gone(_) => {}
        }
    }

    fn report(&self, end: &End) {
        let Intake { stored, identical, refused, .. } = self.intake;
        let (calling, association, peer) = (&self.negotiated.calling, self.id, self.peer);
        match end {
            End::Released if stored + identical + refused == 0 => debug!(association, "association released"),
            End::Released => info!(association, %calling, stored, identical, refused, "association released"),
            End::Gone(why) | End::Abort(_, why) => {
                warn!(association, %peer, %calling, stored, identical, refused, "association ended without release: {why}");
            }
        }
    }

    async fn accept(&mut self) -> Result<(), End> {
        let answer = Pdu::AssociateAccept(Box::new(self.negotiated.answer.clone()));
        let bytes = encode_pdu(&answer).map_err(|error| abort_for_pdu(&error))?;
        self.wire.write(&bytes, self.policy.idle).await.map_err(gone)
    }

    async fn converse(&mut self) -> Result<End, End> {
        let mut killed = self.shared.killed.clone();
        let mut pace = Pace::default();
        loop {
            let asked = Instant::now();
            let between_messages = !self.reassembly.in_message() && !self.reports.is_waiting();
            let next = tokio::select! {
                pdu = self.wire.read(self.policy.idle) => Ok(pdu.map_err(gone)?),
                Some(report) = self.reports.next(), if between_messages => Err(report),
                _ = killed.wait_for(|killed| *killed) => {
                    return Err(End::Abort(AbortReason::NotSpecified, "the gateway is shutting down".to_owned()));
                }
            };
            let pdu = match next {
                Ok(pdu) => pdu,
                Err(report) => {
                    self.send_report(report).await?;
                    continue;
                }
            };
            match pdu {
                Pdu::Data(values) => {
                    pace.came(asked.elapsed(), values.size_bytes());
                    if let Some(why) = pace.too_slow(self.policy.idle) {
                        return Err(End::Abort(AbortReason::NotSpecified, why));
                    }
                    if values.is_empty() {
                        self.reassembly.count_empty().map_err(|error| abort_for_message(&error))?;
                    }
                    for value in values {
                        let value = value.map_err(|error| abort_for_pdu(&error))?;
                        if self.negotiated.context(value.context_id).is_none() {
                            let what =
                                format!("found presentation context {}, which was not accepted", value.context_id);
                            return Err(End::Abort(AbortReason::InvalidParameter, what));
                        }
                        let part = self.reassembly.accept(value).map_err(|error| abort_for_message(&error))?;
                        match part {
                            Some(Part::Command { context_id, set, command }) => {
                                self.command(context_id, set, command).await?;
                            }
                            Some(Part::Data { bytes, is_last }) => self.data(bytes, is_last).await?,
                            None => continue,
                        }
                        if !self.reassembly.in_message() {
                            pace.ended();
                        }
                    }
                }
                Pdu::ReleaseRequest => {
                    let bytes = encode_pdu(&Pdu::ReleaseReply).map_err(|error| abort_for_pdu(&error))?;
                    self.wire.write(&bytes, self.policy.idle).await.map_err(gone)?;
                    return Ok(End::Released);
                }
                Pdu::Abort { source, reason } => {
                    return Err(End::Gone(format!("the peer aborted (source {source}, reason {reason})")));
                }
                _ => return Err(End::Abort(AbortReason::UnexpectedPdu, "found a PDU out of turn".to_owned())),
            }
        }
    }

    async fn command(&mut self, context_id: u8, set: CommandSet, command: Command) -> Result<(), End> {
        match command {
            Command::Echo(_) => self.answer(context_id, &set, Outcome::Verified).await,
            Command::Cancel => Ok(()),
            Command::Response(response) => self.responded(&response),
            Command::Action(request) => self.normalized(context_id, set, Kind::Action, request).await,
            Command::EventReport(request) => self.normalized(context_id, set, Kind::EventReport, request).await,
            Command::Other { has_data_set: false, .. } => {
                self.answer(context_id, &set, Outcome::UnrecognizedOperation).await
            }
            Command::Other { field, .. } => {
                let reason = format!("found command {field:#06x}, expected C-STORE or C-ECHO");
                self.refuse(Outcome::UnrecognizedOperation, reason);
                self.asked = Some((context_id, set));
                Ok(())
            }
            Command::Store(store) if !store.has_data_set => {
                self.answer(context_id, &set, Outcome::MistypedArgument).await
            }
            Command::Store(store) => {
                match self.admit(context_id, &store) {
                    Ok(meta) => {
                        let sink = Sink::open(self.shared.spool.clone(), meta);
                        self.receiving = Receiving::Storing { sink, size_bytes: 0 };
                    }
                    Err((outcome, reason)) => self.refuse(outcome, reason),
                }
                self.asked = Some((context_id, set));
                Ok(())
            }
        }
    }

    /// What can be said before the data set is there.
    fn admit(&self, context_id: u8, store: &StoreRequest) -> Result<Meta, (Outcome, String)> {
        if !self.negotiated.may_send {
            return Err((Outcome::NotAuthorized, "this AE title may not store".to_owned()));
        }
        let unidentified = |what: &str, error: &dyn std::fmt::Display| {
            (Outcome::Unidentified, format!("Affected SOP {what} UID of the command: {error}"))
        };
        let sop_class_uid = store.sop_class_uid.as_ref().map_err(|error| unidentified("Class", error))?;
        let sop_instance_uid = store.sop_instance_uid.as_ref().map_err(|error| unidentified("Instance", error))?;
        let Some(context) = self.negotiated.context(context_id) else {
            return Err((Outcome::ProcessingFailure, "the presentation context is gone".to_owned()));
        };
        if syntaxes::storage_name(sop_class_uid.as_str()).is_none() {
            return Err((Outcome::SopClassNotSupported, format!("SOP class {sop_class_uid} is not stored here")));
        }
        if context.abstract_syntax != sop_class_uid.as_str() {
            let expected = &context.abstract_syntax;
            let reason = format!("found SOP class {sop_class_uid} in a presentation context for {expected}");
            return Err((Outcome::SopClassMismatch, reason));
        }
        Ok(Meta {
            sop_class_uid: sop_class_uid.clone(),
            sop_instance_uid: sop_instance_uid.clone(),
            transfer_syntax_uid: context.transfer_syntax.clone(),
            calling_ae: Some(self.negotiated.calling.clone()),
            called_ae: Some(self.negotiated.called.clone()),
        })
    }

    fn refuse(&mut self, outcome: Outcome, reason: String) {
        let finished = Finished { outcome, reason, received: None };
        self.receiving = Receiving::Refused { finished, size_bytes: 0 };
    }

    async fn data(&mut self, bytes: Bytes, is_last: bool) -> Result<(), End> {
        let limit = self.policy.instance_bytes_max;
        match &mut self.receiving {
            Receiving::Storing { sink, size_bytes } => {
                *size_bytes += bytes.len() as u64;
                if *size_bytes > limit {
                    self.refuse(Outcome::TooLarge, format!("the data set is longer than {limit} bytes"));
                } else {
                    sink.write(bytes).await;
                }
            }
            Receiving::Refused { size_bytes, .. } => {
                *size_bytes += bytes.len() as u64;
                if *size_bytes > limit {
                    let what = format!("found no end of a refused data set after {limit} bytes");
                    return Err(End::Abort(AbortReason::NotSpecified, what));
                }
            }
            Receiving::Collecting(_) => self.collect(&bytes),
            Receiving::Nothing => {}
        }
        if !is_last {
            return Ok(());
        }
        let finished = match std::mem::replace(&mut self.receiving, Receiving::Nothing) {
            Receiving::Storing { sink, .. } => sink.finish().await,
            Receiving::Refused { finished, .. } => finished,
            Receiving::Collecting(collecting) => return self.collected(collecting).await,
            Receiving::Nothing => return Ok(()),
        };
        let Some((context_id, set)) = self.asked.take() else { return Ok(()) };
        let outcome = finished.outcome;
        self.intake.tell(finished).await;
        self.answer(context_id, &set, outcome).await
    }

    async fn answer(&mut self, context_id: u8, request: &CommandSet, outcome: Outcome) -> Result<(), End> {
        let response = request.response(outcome).map_err(|error| abort_for_message(&error.into()))?;
        let mut bytes = Vec::with_capacity(512);
        encode_message(&mut bytes, context_id, true, &response.encode(), self.negotiated.peer_max_pdu);
        self.wire.write(&bytes, self.policy.idle).await.map_err(gone)
    }
}

fn gone(error: WireError) -> End {
    match error {
        WireError::Pdu(error) => abort_for_pdu(&error),
        // An association that is idle too long is aborted, so that the peer learns of it.
        WireError::TimedOut(_) => End::Abort(AbortReason::NotSpecified, error.to_string()),
        other => End::Gone(other.to_string()),
    }
}

fn abort_for_pdu(error: &PduError) -> End {
    End::Abort(error.abort_reason(), error.to_string())
}

fn abort_for_message(error: &MessageError) -> End {
    End::Abort(error.abort_reason(), error.to_string())
}
