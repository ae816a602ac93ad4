//! Command sets (PS3.7 6.3, 9.3, E.1): group 0000 in Implicit VR Little Endian, decoded and encoded as values.

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

use super::status::{Outcome, Status};
use crate::dicom::{AeTitle, Uid, UidError};
use crate::limits::COMMAND_BYTES_MAX;

const GROUP_LENGTH: u16 = 0x0000;
const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const MESSAGE_ID_BEING_RESPONDED_TO: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
const EVENT_TYPE_ID: u16 = 0x1002;
const ACTION_TYPE_ID: u16 = 0x1008;
const MOVE_DESTINATION: u16 = 0x0600;
const ERROR_COMMENT: u16 = 0x0902;
/// Remaining, completed, failed and warning sub-operations.
const SUB_OPERATIONS: [u16; 4] = [0x1020, 0x1021, 0x1022, 0x1023];
const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;

/// Command Data Set Type "no data set is present" (PS3.7 E.1).
const NO_DATA_SET: u16 = 0x0101;

const C_STORE_RQ: u16 = 0x0001;
const C_GET_RQ: u16 = 0x0010;
const C_FIND_RQ: u16 = 0x0020;
const C_MOVE_RQ: u16 = 0x0021;
const C_ECHO_RQ: u16 = 0x0030;
const N_EVENT_REPORT_RQ: u16 = 0x0100;
const N_ACTION_RQ: u16 = 0x0130;
const C_CANCEL_RQ: u16 = 0x0FFF;
const RESPONSE_BIT: u16 = 0x8000;

/// The elements of a command, by element number within group 0000.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandSet {
    elements: Vec<(u16, Bytes)>,
}

/// A command as far as this program understands it.
#[derive(Debug, PartialEq)]
pub enum Command {
    Echo(EchoRequest),
    Store(StoreRequest),
    /// C-CANCEL-RQ: nothing here can be cancelled; it is not answered (PS3.7 9.3.2.3).
    Cancel,
    Response(Response),
    /// N-ACTION-RQ (PS3.7 10.3.4.1).
    Action(NormalizedRequest),
    /// N-EVENT-REPORT-RQ (PS3.7 10.3.1.1).
    EventReport(NormalizedRequest),
    /// A request for another service.
    Other {
        field: u16,
        message_id: u16,
        has_data_set: bool,
    },
}

/// C-ECHO-RQ (PS3.7 9.3.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoRequest {
    pub message_id: u16,
}

/// C-STORE-RQ (PS3.7 9.3.1.1). The UIDs are as good or bad as the peer sent them: a bad one is answered, not aborted.
#[derive(Debug, PartialEq)]
pub struct StoreRequest {
    pub message_id: u16,
    pub sop_class_uid: Result<Uid, UidError>,
    pub sop_instance_uid: Result<Uid, UidError>,
    /// Whether a data set follows, as it has to.
    pub has_data_set: bool,
}

/// N-ACTION-RQ or N-EVENT-REPORT-RQ. As with C-STORE, what is bad in it is answered, not aborted.
#[derive(Debug, PartialEq)]
pub struct NormalizedRequest {
    pub message_id: u16,
    pub sop_class_uid: Result<Uid, UidError>,
    pub sop_instance_uid: Result<Uid, UidError>,
    /// Action Type ID or Event Type ID.
    pub type_id: Option<u16>,
    pub has_data_set: bool,
}

/// A response of any service.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Command Field of the response.
    pub field: u16,
    pub message_id: u16,
    pub status: Status,
    /// Error Comment, printable ASCII alone, at most 64 characters.
    pub comment: String,
    pub has_data_set: bool,
}

/// How far a C-MOVE or C-GET is, as its responses say (PS3.7 9.3.3.2, 9.3.4.2); all are optional in most of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubOperations {
    pub remaining: Option<u16>,
    pub completed: Option<u16>,
    pub failed: Option<u16>,
    pub warning: Option<u16>,
}

/// Why bytes are not a command.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    #[error("found a command that ends at byte {at} in the middle of an element")]
    Truncated { at: usize },
    #[error("found element ({group:04X},{element:04X}) in a command, expected group 0000 in rising order")]
    Order { group: u16, element: u16 },
    #[error("found a command without (0000,{element:04X}) as a 16-bit number, expected it in every command")]
    Missing { element: u16 },
    #[error("found a command longer than {COMMAND_BYTES_MAX} bytes")]
    TooLong,
}

impl CommandSet {
    /// Decodes a whole command.
    ///
    /// The group length is not checked: senders that count it wrong exist, and the PDV says where the command ends.
    ///
    /// # Errors
    /// The bytes are no command in Implicit VR Little Endian.
    pub fn decode(mut bytes: Bytes) -> Result<CommandSet, CommandError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLong);
        }
        let total = bytes.len();
        let mut set = CommandSet::default();
        let mut last = None;
        while bytes.has_remaining() {
            let at = total - bytes.len();
            if bytes.len() < 8 {
                return Err(CommandError::Truncated { at });
            }
            let (group, element, length) = (bytes.get_u16_le(), bytes.get_u16_le(), bytes.get_u32_le());
            if group != 0 || last.is_some_and(|last| element <= last) {
                return Err(CommandError::Order { group, element });
            }
            if length as usize > bytes.len() {
                return Err(CommandError::Truncated { at });
            }
            last = Some(element);
            set.elements.push((element, bytes.split_to(length as usize)));
        }
        Ok(set)
    }

    /// The bytes of the command, group length first.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        for (element, value) in &self.elements {
            debug_assert!(value.len().is_multiple_of(2), "values of a command have even length (PS3.5 7.1.1)");
            put_element(&mut body, *element, value);
        }
        let mut bytes = Vec::with_capacity(body.len() + 12);
        put_element(&mut bytes, GROUP_LENGTH, &(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// A C-ECHO-RQ.
    pub fn echo_request(message_id: u16) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_text(AFFECTED_SOP_CLASS_UID, super::syntaxes::VERIFICATION, 0);
        set.put_u16(COMMAND_FIELD, C_ECHO_RQ);
        set.put_u16(MESSAGE_ID, message_id);
        set.put_u16(COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        set
    }

    /// A C-STORE-RQ of medium priority.
    pub fn store_request(message_id: u16, sop_class_uid: &Uid, sop_instance_uid: &Uid) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_text(AFFECTED_SOP_CLASS_UID, sop_class_uid.as_str(), 0);
        set.put_u16(COMMAND_FIELD, C_STORE_RQ);
        set.put_u16(MESSAGE_ID, message_id);
        set.put_u16(PRIORITY, 0);
        set.put_u16(COMMAND_DATA_SET_TYPE, 0);
        set.put_text(AFFECTED_SOP_INSTANCE_UID, sop_instance_uid.as_str(), 0);
        set
    }

    /// A C-FIND-RQ of medium priority, with a data set.
    pub fn find_request(message_id: u16, sop_class_uid: &str) -> CommandSet {
        CommandSet::query_request(C_FIND_RQ, message_id, sop_class_uid, None)
    }

    /// A C-GET-RQ of medium priority, with a data set.
    pub fn get_request(message_id: u16, sop_class_uid: &str) -> CommandSet {
        CommandSet::query_request(C_GET_RQ, message_id, sop_class_uid, None)
    }

    /// A C-MOVE-RQ of medium priority, with a data set: the instances go to this title.
    pub fn move_request(message_id: u16, sop_class_uid: &str, destination: &AeTitle) -> CommandSet {
        CommandSet::query_request(C_MOVE_RQ, message_id, sop_class_uid, Some(destination))
    }

    fn query_request(field: u16, message_id: u16, sop_class_uid: &str, destination: Option<&AeTitle>) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_text(AFFECTED_SOP_CLASS_UID, sop_class_uid, 0);
        set.put_u16(COMMAND_FIELD, field);
        set.put_u16(MESSAGE_ID, message_id);
        if let Some(title) = destination {
            set.put_text(MOVE_DESTINATION, title.as_str(), b' ');
        }
        set.put_u16(PRIORITY, 0);
        set.put_u16(COMMAND_DATA_SET_TYPE, 0);
        set
    }

    /// A C-CANCEL-RQ for a request of ours that is not answered to its end (PS3.7 9.3.2.3).
    pub fn cancel_request(message_id: u16) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_u16(COMMAND_FIELD, C_CANCEL_RQ);
        set.put_u16(MESSAGE_ID_BEING_RESPONDED_TO, message_id);
        set.put_u16(COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        set
    }

    /// What a response says of its sub-operations.
    pub fn sub_operations(&self) -> SubOperations {
        let [remaining, completed, failed, warning] = SUB_OPERATIONS.map(|element| self.u16(element).ok());
        SubOperations { remaining, completed, failed, warning }
    }

    /// An N-ACTION-RQ on a well-known instance, with a data set.
    pub fn action_request(message_id: u16, sop_class: &str, sop_instance: &str, action_type: u16) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_text(REQUESTED_SOP_CLASS_UID, sop_class, 0);
        set.put_u16(COMMAND_FIELD, N_ACTION_RQ);
        set.put_u16(MESSAGE_ID, message_id);
        set.put_u16(COMMAND_DATA_SET_TYPE, 0);
        set.put_text(REQUESTED_SOP_INSTANCE_UID, sop_instance, 0);
        set.put_u16(ACTION_TYPE_ID, action_type);
        set
    }

    /// An N-EVENT-REPORT-RQ of a well-known instance, with a data set.
    pub fn event_report_request(message_id: u16, sop_class: &str, sop_instance: &str, event_type: u16) -> CommandSet {
        let mut set = CommandSet::default();
        set.put_text(AFFECTED_SOP_CLASS_UID, sop_class, 0);
        set.put_u16(COMMAND_FIELD, N_EVENT_REPORT_RQ);
        set.put_u16(MESSAGE_ID, message_id);
        set.put_u16(COMMAND_DATA_SET_TYPE, 0);
        set.put_text(AFFECTED_SOP_INSTANCE_UID, sop_instance, 0);
        set.put_u16(EVENT_TYPE_ID, event_type);
        set
    }

    /// The response to this request. It repeats the UIDs of the request as far as they are UIDs.
    ///
    /// # Errors
    /// The request has no Message ID to respond to.
    pub fn response(&self, outcome: Outcome) -> Result<CommandSet, CommandError> {
        let (status, comment) = outcome.status();
        let mut set = CommandSet::default();
        // What is "requested" in an N-ACTION-RQ is "affected" in its response (PS3.7 10.3.4).
        if let Ok(uid) = self.uid(AFFECTED_SOP_CLASS_UID).or_else(|_| self.uid(REQUESTED_SOP_CLASS_UID)) {
            set.put_text(AFFECTED_SOP_CLASS_UID, uid.as_str(), 0);
        }
        set.put_u16(COMMAND_FIELD, self.u16(COMMAND_FIELD)? | RESPONSE_BIT);
        set.put_u16(MESSAGE_ID_BEING_RESPONDED_TO, self.u16(MESSAGE_ID)?);
        set.put_u16(COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        set.put_u16(STATUS, status.0);
        if !comment.is_empty() {
            set.put_text(ERROR_COMMENT, comment, b' ');
        }
        if let Ok(uid) = self.uid(AFFECTED_SOP_INSTANCE_UID).or_else(|_| self.uid(REQUESTED_SOP_INSTANCE_UID)) {
            set.put_text(AFFECTED_SOP_INSTANCE_UID, uid.as_str(), 0);
        }
        for element in [EVENT_TYPE_ID, ACTION_TYPE_ID] {
            if let Ok(type_id) = self.u16(element) {
                set.put_u16(element, type_id);
            }
        }
        Ok(set)
    }

    /// What the command asks for.
    ///
    /// # Errors
    /// It lacks Command Field, Message ID or Command Data Set Type, so that it cannot even be answered.
    pub fn command(&self) -> Result<Command, CommandError> {
        let field = self.u16(COMMAND_FIELD)?;
        if field == C_CANCEL_RQ {
            return Ok(Command::Cancel);
        }
        let has_data_set = self.u16(COMMAND_DATA_SET_TYPE)? != NO_DATA_SET;
        if field & RESPONSE_BIT != 0 {
            let comment = self.find(ERROR_COMMENT).map(printable).unwrap_or_default();
            let (message_id, status) = (self.u16(MESSAGE_ID_BEING_RESPONDED_TO)?, Status(self.u16(STATUS)?));
            return Ok(Command::Response(Response { field, message_id, status, comment, has_data_set }));
        }
        let message_id = self.u16(MESSAGE_ID)?;
        Ok(match field {
            C_ECHO_RQ if !has_data_set => Command::Echo(EchoRequest { message_id }),
            C_STORE_RQ => Command::Store(StoreRequest {
                message_id,
                sop_class_uid: self.uid(AFFECTED_SOP_CLASS_UID),
                sop_instance_uid: self.uid(AFFECTED_SOP_INSTANCE_UID),
                has_data_set,
            }),
            N_ACTION_RQ => Command::Action(NormalizedRequest {
                message_id,
                sop_class_uid: self.uid(REQUESTED_SOP_CLASS_UID),
                sop_instance_uid: self.uid(REQUESTED_SOP_INSTANCE_UID),
                type_id: self.u16(ACTION_TYPE_ID).ok(),
                has_data_set,
            }),
            N_EVENT_REPORT_RQ => Command::EventReport(NormalizedRequest {
                message_id,
                sop_class_uid: self.uid(AFFECTED_SOP_CLASS_UID),
                sop_instance_uid: self.uid(AFFECTED_SOP_INSTANCE_UID),
                type_id: self.u16(EVENT_TYPE_ID).ok(),
                has_data_set,
            }),
            _ => Command::Other { field, message_id, has_data_set },
        })
    }

    fn find(&self, element: u16) -> Option<&Bytes> {
        self.elements.iter().find(|(known, _)| *known == element).map(|(_, value)| value)
    }

    fn u16(&self, element: u16) -> Result<u16, CommandError> {
        match self.find(element).map(|value| &value[..]) {
            Some([low, high]) => Ok(u16::from_le_bytes([*low, *high])),
            _ => Err(CommandError::Missing { element }),
        }
    }

    fn uid(&self, element: u16) -> Result<Uid, UidError> {
        let value = self.find(element).ok_or(UidError::Empty)?;
        // A byte that is not ASCII becomes U+FFFD, which no UID holds.
        String::from_utf8_lossy(value).parse()
    }

    fn put_u16(&mut self, element: u16, value: u16) {
        self.elements.push((element, Bytes::copy_from_slice(&value.to_le_bytes())));
    }

    fn put_text(&mut self, element: u16, text: &str, padding: u8) {
        let mut value = text.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        self.elements.push((element, value.into()));
    }
}

fn put_element(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    out.put_u16_le(0);
    out.put_u16_le(element);
    out.put_u32_le(value.len() as u32);
    out.put_slice(value);
}

/// What a peer writes there can be anything; a log takes printable ASCII alone.
fn printable(value: &Bytes) -> String {
    value.iter().take(64).map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().expect("a legal UID")
    }

    #[test]
    fn reads_back_what_it_writes() {
        let set = CommandSet::store_request(7, &uid("1.2.3"), &uid("1.2.3.4"));
        let back = CommandSet::decode(set.encode().into()).expect("a command");
        let Ok(Command::Store(store)) = back.command() else { panic!("a C-STORE") };
        assert_eq!((store.message_id, store.has_data_set), (7, true));
        assert_eq!(store.sop_class_uid, Ok(uid("1.2.3")));
        assert_eq!(store.sop_instance_uid, Ok(uid("1.2.3.4")));
    }

    #[test]
    fn answers_with_the_uids_and_number_of_the_request() {
        let request = CommandSet::store_request(513, &uid("1.2.3"), &uid("1.2.3.4"));
        let response = request.response(Outcome::OutOfResources).expect("a response");
        let back = CommandSet::decode(response.encode().into()).expect("a command");
        let Ok(Command::Response(response)) = back.command() else { panic!("a response") };
        assert_eq!((response.field, response.message_id, response.status.0), (0x8001, 513, 0xA700));
        assert!(response.comment.starts_with("storage is full"));
        assert_eq!(back.uid(AFFECTED_SOP_INSTANCE_UID), Ok(uid("1.2.3.4")));
    }

    #[test]
    fn a_move_names_its_destination_and_a_cancel_its_request() {
        let title = "CONTOURD_".parse().expect("a title");
        let set = CommandSet::move_request(3, "1.2.840.10008.5.1.4.1.2.2.2", &title);
        let back = CommandSet::decode(set.encode().into()).expect("in rising order");
        assert_eq!(back.command(), Ok(Command::Other { field: C_MOVE_RQ, message_id: 3, has_data_set: true }));
        assert_eq!(back.find(MOVE_DESTINATION).map(|value| &value[..]), Some(&b"CONTOURD_ "[..]));
        let cancel = CommandSet::decode(CommandSet::cancel_request(3).encode().into()).expect("in rising order");
        assert_eq!((cancel.command(), cancel.u16(MESSAGE_ID_BEING_RESPONDED_TO)), (Ok(Command::Cancel), Ok(3)));
        let mut response = CommandSet::default();
        response.put_u16(SUB_OPERATIONS[1], 7);
        response.put_u16(SUB_OPERATIONS[2], 2);
        let told = SubOperations { completed: Some(7), failed: Some(2), ..SubOperations::default() };
        assert_eq!(response.sub_operations(), told);
    }

    #[test]
    fn answers_a_normalised_request_with_what_it_requested() {
        let request = CommandSet::action_request(5, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 1);
        let request = CommandSet::decode(request.encode().into()).expect("a command");
        let Ok(Command::Action(action)) = request.command() else { panic!("an N-ACTION") };
        assert_eq!((action.message_id, action.type_id, action.has_data_set), (5, Some(1), true));
        let response = request.response(Outcome::Accepted).expect("a response");
        let back = CommandSet::decode(response.encode().into()).expect("in rising order");
        let Ok(Command::Response(told)) = back.command() else { panic!("a response") };
        assert_eq!((told.field, told.message_id, told.status.0), (0x8130, 5, 0));
        assert_eq!(back.uid(AFFECTED_SOP_CLASS_UID), Ok(uid("1.2.840.10008.1.20.1")));
        assert_eq!(back.uid(AFFECTED_SOP_INSTANCE_UID), Ok(uid("1.2.840.10008.1.20.1.1")));
        assert_eq!(back.u16(ACTION_TYPE_ID), Ok(1));
    }

    #[test]
    fn keeps_a_path_in_a_uid_out_of_everything() {
        let mut set = CommandSet::default();
        set.put_text(AFFECTED_SOP_CLASS_UID, "1.2", 0);
        set.put_u16(COMMAND_FIELD, C_STORE_RQ);
        set.put_u16(MESSAGE_ID, 1);
        set.put_u16(COMMAND_DATA_SET_TYPE, 0);
        set.put_text(AFFECTED_SOP_INSTANCE_UID, "../../etc/passwd", 0);
        let Ok(Command::Store(store)) = set.command() else { panic!("a C-STORE") };
        assert!(store.sop_instance_uid.is_err());
        let answer = set.response(Outcome::MistypedArgument).expect("a response").encode();
        assert!(!answer.windows(6).any(|window| window == b"passwd"));
    }

    #[test]
    fn refuses_garbage_of_every_length() {
        let mut random = fastrand::Rng::with_seed(1);
        for length in 1..2_000 {
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            assert!(CommandSet::decode(bytes.into()).is_err(), "{length} random bytes");
        }
        let valid = CommandSet::echo_request(1).encode();
        for end in 1..valid.len() {
            let cut = CommandSet::decode(Bytes::copy_from_slice(&valid[..end]));
            assert!(cut.and_then(|set| set.command()).is_err(), "cut at {end}");
        }
        assert_eq!(CommandSet::decode(vec![0; COMMAND_BYTES_MAX + 1].into()), Err(CommandError::TooLong));
    }

    #[test]
    fn tolerates_a_wrong_group_length_and_a_missing_one() {
        let mut bytes = CommandSet::echo_request(9).encode();
        bytes[8] = 0xff;
        let set = CommandSet::decode(bytes.clone().into()).expect("a command");
        assert_eq!(set.command(), Ok(Command::Echo(EchoRequest { message_id: 9 })));
        assert!(CommandSet::decode(Bytes::copy_from_slice(&bytes[12..])).expect("a command").command().is_ok());
    }
}
