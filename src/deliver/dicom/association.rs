//! An association that we request (PS3.8 9.2): opened, used for one request after the other, released.

use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResultReason, RequestorRoles,
    UserVariableItem,
};
use thiserror::Error;

use super::{Destination, Outcome};
use crate::deliver::connect::{ConnectError, connect, refused_by_tls};
use crate::deliver::object::Object;
use crate::dimse::{
    AbortReason, Command, CommandSet, Part, Pdu, Reassembly, Response, encode_data, encode_pdu, fragment_bytes,
    peer_max_pdu, syntaxes, user_variables,
};
use crate::limits::SEND_PDU_BYTES_MAX;
use crate::tls::Stream;
use crate::wire::{Wire, WireError};

/// A presentation context as we propose it: one abstract and one transfer syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    abstract_syntax: String,
    transfer_syntax: String,
    /// Whether we propose to be its SCP (PS3.7 D.3.3.4); by default a requestor is SCU.
    as_scp: bool,
}

/// A message of the peer.
pub(crate) struct Message {
    pub context_id: u8,
    pub set: CommandSet,
    pub command: Command,
    pub data: Vec<u8>,
}

/// An open association.
pub(crate) struct Association<'a> {
    wire: Wire<Stream>,
    destination: &'a Destination,
    /// What was accepted, with its number.
    contexts: Vec<(u8, Offer)>,
    pub(super) answer: Box<AssociationAC>,
    max_pdu: u32,
    next_message_id: u16,
}

/// Why an association did not come about, or is over.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("association rejected {}: {reason}", if *.permanent { "for good" } else { "for now" })]
    Rejected { permanent: bool, reason: &'static str },
    #[error("the destination aborted the association (source {source_}, reason {reason})")]
    Aborted { source_: u8, reason: u8 },
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the destination does not follow the protocol: {0}")]
    Protocol(String),
    #[error("the request could not be written: {0}")]
    Request(String),
}

impl Failure {
    /// Only a permanent rejection is for good. An abort may come from the content, but as well from a restart.
    pub(crate) fn outcome(&self) -> Outcome {
        let reason = self.to_string();
        match self {
            Failure::Rejected { permanent: true, .. } | Failure::Request(_) => {
                Outcome::Refused { reason, status: None }
            }
            _ => Outcome::Retry { reason, status: None },
        }
    }
}

impl Offer {
    pub(crate) fn new(abstract_syntax: &str, transfer_syntax: &str) -> Offer {
        let as_scp = false;
        Offer { abstract_syntax: abstract_syntax.to_owned(), transfer_syntax: transfer_syntax.to_owned(), as_scp }
    }

    /// The same with the roles exchanged.
    pub(crate) fn reversed(self) -> Offer {
        Offer { as_scp: true, ..self }
    }
}

impl<'a> Association<'a> {
    /// Connects and proposes the contexts: their numbers are 1, 3, 5, ...
    pub(crate) async fn open(destination: &'a Destination, offers: &[Offer]) -> Result<Association<'a>, Failure> {
        let limit = destination.connect_timeout;
        let address = (destination.host.as_str(), destination.port);
        let stream = connect(address, destination.tls.as_ref(), limit).await?;
        let mut wire = Wire::new(stream, SEND_PDU_BYTES_MAX);
        let numbered: Vec<(u8, Offer)> = (0_u8..128).map(|index| index * 2 + 1).zip(offers.iter().cloned()).collect();
        let request = Pdu::AssociateRequest(Box::new(request(destination, &numbered)));
        let bytes = encode_pdu(&request).map_err(|error| Failure::Request(error.to_string()))?;
        let explained = |error| explained(destination, error);
        wire.write(&bytes, limit).await.map_err(explained)?;
        match wire.read(limit).await.map_err(explained)? {
            Pdu::AssociateAccept(accept) => {
                let contexts = accepted(&accept, numbered);
                let max_pdu = peer_max_pdu(&accept.user_variables).min(SEND_PDU_BYTES_MAX);
                Ok(Association { wire, destination, contexts, answer: accept, max_pdu, next_message_id: 1 })
            }
            Pdu::AssociateReject { result, source, reason } => {
                Err(Failure::Rejected { permanent: result == 1, reason: rejection(source, reason) })
            }
            Pdu::Abort { source, reason } => Err(Failure::Aborted { source_: source, reason }),
            _ => Err(Failure::Protocol("found another PDU where the answer to the A-ASSOCIATE-RQ was due".to_owned())),
        }
    }

    /// C-STORE of one object. `Err` means that the association is over.
    pub(super) async fn store(&mut self, object: &Object) -> Result<Outcome, Failure> {
        let Some((context_id, syntax)) = self.choose(object) else {
            let reason = format!(
                "the destination accepts SOP class {} in none of the transfer syntaxes offered ({} as stored)",
                object.sop_class_uid, object.transfer_syntax_uid
            );
            return Ok(Outcome::Refused { reason, status: Some(0x0122) });
        };
        let data_set = match object.data_set(&syntax).await {
            Ok(data_set) => data_set,
            Err(error) => return Ok(error.outcome()),
        };
        let message_id = self.message_id();
        let command = CommandSet::store_request(message_id, &object.sop_class_uid, &object.sop_instance_uid);
        self.send(context_id, true, &command.encode()).await?;
        self.send(context_id, false, &data_set).await?;
        let response = self.response(0x8001, message_id).await?;
        Ok(judge(&response, object.sop_instance_uid.as_str()))
    }

    /// C-ECHO.
    pub(super) async fn echo(&mut self) -> Result<Outcome, Failure> {
        let Some((context_id, _)) = self.contexts.first().cloned() else {
            let reason = "the destination does not accept Verification".to_owned();
            return Ok(Outcome::Refused { reason, status: Some(0x0122) });
        };
        let message_id = self.message_id();
        self.send(context_id, true, &CommandSet::echo_request(message_id).encode()).await?;
        let response = self.response(0x8030, message_id).await?;
        Ok(judge(&response, "verification"))
    }

    /// Releases and closes; what the peer makes of it changes nothing any more.
    pub(crate) async fn release(mut self) {
        let limit = self.destination.connect_timeout;
        if let Ok(bytes) = encode_pdu(&Pdu::ReleaseRequest)
            && self.wire.write(&bytes, limit).await.is_ok()
            && self.wire.read(limit).await.is_ok()
        {
            self.wire.close(limit).await;
        }
    }

    /// The accepted context for an object: as stored if possible, else the first of those offered for it.
    fn choose(&self, object: &Object) -> Option<(u8, String)> {
        let fits = |offer: &Offer| offer.abstract_syntax == object.sop_class_uid.as_str();
        let stored = |offer: &Offer| offer.transfer_syntax == object.transfer_syntax_uid.as_str();
        let native = |offer: &Offer| {
            object.is_native()
                && [syntaxes::IMPLICIT_VR_LITTLE_ENDIAN, syntaxes::EXPLICIT_VR_LITTLE_ENDIAN]
                    .contains(&offer.transfer_syntax.as_str())
        };
        let of_class = || self.contexts.iter().filter(|(_, offer)| fits(offer));
        let chosen =
            of_class().find(|(_, offer)| stored(offer)).or_else(|| of_class().find(|(_, offer)| native(offer)));
        chosen.map(|(id, offer)| (*id, offer.transfer_syntax.clone()))
    }

    /// One PDU at a time: encoded into one buffer and written at once.
    async fn send(&mut self, context_id: u8, is_command: bool, bytes: &[u8]) -> Result<(), Failure> {
        let fragment = fragment_bytes(self.max_pdu);
        let count = bytes.len().div_ceil(fragment).max(1);
        let mut buffer = Vec::with_capacity(fragment.min(bytes.len()) + 12);
        for index in 0..count {
            let end = bytes.len().min((index + 1) * fragment);
            buffer.clear();
            encode_data(&mut buffer, context_id, is_command, index + 1 == count, &bytes[index * fragment..end]);
            self.wire.write(&buffer, self.destination.response_timeout).await?;
        }
        Ok(())
    }

    /// The first context that was accepted for a service, with its transfer syntax.
    pub(crate) fn context_of(&self, abstract_syntax: &str) -> Option<(u8, String)> {
        let found = self.contexts.iter().find(|(_, offer)| offer.abstract_syntax == abstract_syntax);
        found.map(|(id, offer)| (*id, offer.transfer_syntax.clone()))
    }

    /// Sends a request with its data set.
    pub(crate) async fn request(&mut self, context_id: u8, command: &CommandSet, data: &[u8]) -> Result<(), Failure> {
        self.send(context_id, true, &command.encode()).await?;
        self.send(context_id, false, data).await
    }

    /// Sends a response.
    pub(crate) async fn respond(&mut self, context_id: u8, response: &CommandSet) -> Result<(), Failure> {
        self.send(context_id, true, &response.encode()).await
    }

    /// The next message, whole, within a time; its data set has at most `bytes_max` bytes.
    pub(crate) async fn message(&mut self, limit: Duration, bytes_max: usize) -> Result<Message, Failure> {
        let mut reassembly = Reassembly::default();
        let mut message: Option<Message> = None;
        loop {
            let values = match self.wire.read(limit).await? {
                Pdu::Data(values) => values,
                Pdu::Abort { source, reason } => return Err(Failure::Aborted { source_: source, reason }),
                _ => return Err(Failure::Protocol("found another PDU where a message was due".to_owned())),
            };
            if values.is_empty() {
                reassembly.count_empty().map_err(|error| Failure::Protocol(error.to_string()))?;
            }
            for value in values {
                let value = value.map_err(WireError::Pdu)?;
                let part = reassembly.accept(value).map_err(|error| Failure::Protocol(error.to_string()))?;
                match (part, &mut message) {
                    (Some(Part::Command { context_id, set, command }), None) => {
                        message = Some(Message { context_id, set, command, data: Vec::new() });
                    }
                    (Some(Part::Data { bytes, .. }), Some(message)) => {
                        if message.data.len() + bytes.len() > bytes_max {
                            return Err(Failure::Protocol(format!("found a data set of more than {bytes_max} bytes")));
                        }
                        message.data.extend_from_slice(&bytes);
                    }
                    (Some(_), _) => return Err(Failure::Protocol("found two messages in one".to_owned())),
                    (None, _) => {}
                }
            }
            if !reassembly.in_message()
                && let Some(message) = message.take()
            {
                return Ok(message);
            }
        }
    }

    /// The next PDU of a conversation within a time. Nothing is lost when it is not waited for to its end.
    pub(crate) async fn pdu(&mut self, limit: Duration) -> Result<Pdu, Failure> {
        match self.wire.read(limit).await? {
            Pdu::Abort { source, reason } => Err(Failure::Aborted { source_: source, reason }),
            pdu => Ok(pdu),
        }
    }

    /// The syntaxes of an accepted context: abstract, transfer.
    pub(crate) fn context(&self, context_id: u8) -> Option<(&str, &str)> {
        let found = self.contexts.iter().find(|(id, _)| *id == context_id);
        found.map(|(_, offer)| (offer.abstract_syntax.as_str(), offer.transfer_syntax.as_str()))
    }

    /// Tells the peer that the answers to a request are not wanted any more.
    pub(crate) async fn cancel(&mut self, context_id: u8, message_id: u16) -> Result<(), Failure> {
        self.send(context_id, true, &CommandSet::cancel_request(message_id).encode()).await
    }

    /// Ends what cannot be released.
    pub(crate) async fn abort(self) {
        self.wire.abort(AbortReason::NotSpecified, self.destination.connect_timeout).await;
    }

    async fn response(&mut self, field: u16, message_id: u16) -> Result<Response, Failure> {
        let mut reassembly = Reassembly::default();
        loop {
            let values = match self.wire.read(self.destination.response_timeout).await? {
                Pdu::Data(values) => values,
                Pdu::Abort { source, reason } => return Err(Failure::Aborted { source_: source, reason }),
                _ => return Err(Failure::Protocol("found another PDU where a response was due".to_owned())),
            };
            for value in values {
                let value = value.map_err(WireError::Pdu)?;
                let part = reassembly.accept(value).map_err(|error| Failure::Protocol(error.to_string()))?;
                match part {
                    Some(Part::Command { command: Command::Response(response), .. })
                        if response.field == field && response.message_id == message_id && !response.has_data_set =>
                    {
                        return Ok(response);
                    }
                    Some(_) => return Err(Failure::Protocol("found another message than the response".to_owned())),
                    None => {}
                }
            }
        }
    }

    pub(crate) fn response_timeout(&self) -> Duration {
        self.destination.response_timeout
    }

    pub(crate) fn message_id(&mut self) -> u16 {
        let id = self.next_message_id;
        self.next_message_id = id.checked_add(1).unwrap_or(1);
        id
    }
}

fn judge(response: &Response, what: &str) -> Outcome {
    Outcome::of_status(response.status, what, &response.comment)
}

/// That the destination does not take our certificate comes late; see [`refused_by_tls`].
fn explained(destination: &Destination, error: WireError) -> Failure {
    let address = (destination.host.as_str(), destination.port);
    match &error {
        WireError::Io(broken) if destination.tls.is_some() => {
            refused_by_tls(address, broken).map_or(Failure::Wire(error), Failure::Connect)
        }
        _ => Failure::Wire(error),
    }
}

fn request(destination: &Destination, offers: &[(u8, Offer)]) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: destination.calling_ae.to_string(),
        called_ae_title: destination.ae_title.to_string(),
        application_context_name: syntaxes::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: offers
            .iter()
            .map(|(id, offer)| PresentationContextProposed {
                id: *id,
                abstract_syntax: offer.abstract_syntax.clone(),
                transfer_syntaxes: vec![offer.transfer_syntax.clone()],
            })
            .collect(),
        user_variables: user_variables(SEND_PDU_BYTES_MAX).into_iter().chain(roles(offers)).collect(),
    }
}

/// One item for each class of which we propose to be SCP.
fn roles(offers: &[(u8, Offer)]) -> Vec<UserVariableItem> {
    let mut classes: Vec<&str> = Vec::new();
    for (_, offer) in offers.iter().filter(|(_, offer)| offer.as_scp) {
        if !classes.contains(&offer.abstract_syntax.as_str()) {
            classes.push(&offer.abstract_syntax);
        }
    }
    let roles = RequestorRoles { scu: false, scp: true };
    classes.into_iter().map(|class| UserVariableItem::ScuScpRoleSelectionSubItem(class.to_owned(), roles)).collect()
}

/// The contexts that were accepted in the one syntax that we had offered.
fn accepted(accept: &AssociationAC, offers: Vec<(u8, Offer)>) -> Vec<(u8, Offer)> {
    let is_accepted = |id: u8| {
        accept
            .presentation_contexts
            .iter()
            .any(|result| result.id == id && result.reason == PresentationContextResultReason::Acceptance)
    };
    offers.into_iter().filter(|(id, _)| is_accepted(*id)).collect()
}

/// What to do about a rejection (PS3.8 table 9-21).
fn rejection(source: u8, reason: u8) -> &'static str {
    match (source, reason) {
        (1, 2) => "it does not know DICOM's application context",
        (1, 3) => "it does not know our AE title; enter it there",
        (1, 7) => "it does not answer to this AE title; correct it in the peer's file",
        (2, 2) => "it does not support this protocol version",
        (3, 1) => "temporary congestion",
        (3, 2) => "a local limit is exceeded",
        _ => "without a reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::Status;

    fn check(status: u16) -> &'static str {
        let response = Response {
            field: 0x8001,
            message_id: 1,
            status: Status(status),
            comment: String::new(),
            has_data_set: false,
        };
        match judge(&response, "1.2.3") {
            Outcome::Delivered { warnings } if warnings.is_empty() => "delivered",
            Outcome::Delivered { .. } => "warning",
            Outcome::Retry { .. } => "retry",
            Outcome::Refused { .. } => "refused",
        }
    }

    #[test]
    fn statuses_say_who_can_act() {
        assert_eq!(check(0x0000), "delivered");
        for warning in [0xB000, 0xB006, 0xB007, 0x0107, 0x0111] {
            assert_eq!(check(warning), "warning", "{warning:#06x}");
        }
        for transient in [0xA700, 0xA7FF, 0x0110, 0x0213] {
            assert_eq!(check(transient), "retry", "{transient:#06x}");
        }
        for permanent in [0xA900, 0xC000, 0xC123, 0x0122, 0x0124, 0x0117, 0xFE00] {
            assert_eq!(check(permanent), "refused", "{permanent:#06x}");
        }
    }

    #[test]
    fn only_permanent_rejections_are_final() {
        let outcome = |permanent| Failure::Rejected { permanent, reason: rejection(1, 7) }.outcome();
        assert!(matches!(outcome(true), Outcome::Refused { .. }));
        assert!(matches!(outcome(false), Outcome::Retry { .. }));
        assert!(matches!(Failure::Wire(WireError::Closed).outcome(), Outcome::Retry { .. }));
    }
}
