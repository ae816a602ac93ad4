//! Puts the fragments of an association back together into commands and data sets (PS3.8 E); it keeps no data set.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::command::{Command, CommandError, CommandSet};
use super::pdu::{AbortReason, Pdv};
use crate::limits::{COMMAND_BYTES_MAX, EMPTY_FRAGMENTS_MAX};

/// What a fragment adds to the conversation.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// A whole command; a data set follows if it says so.
    Command { context_id: u8, set: CommandSet, command: Command },
    /// A fragment of the data set that belongs to the last command.
    Data { bytes: Bytes, is_last: bool },
}

/// Why fragments do not make a message; each ends the association.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("found a fragment in presentation context {found}, expected {expected}, in which the message began")]
    ContextChanged { found: u8, expected: u8 },
    #[error("found a fragment of a {found} where a {expected} was due")]
    Unexpected { found: &'static str, expected: &'static str },
    #[error("found more than {EMPTY_FRAGMENTS_MAX} empty fragments in one association")]
    Flood,
}

impl MessageError {
    /// What the A-ABORT says.
    pub fn abort_reason(&self) -> AbortReason {
        match self {
            MessageError::Command(CommandError::TooLong) | MessageError::ContextChanged { .. } => {
                AbortReason::InvalidParameter
            }
            MessageError::Unexpected { .. } => AbortReason::UnexpectedPdu,
            MessageError::Command(_) | MessageError::Flood => AbortReason::NotSpecified,
        }
    }
}

/// The state between two fragments. One message at a time: asynchronous operations are never negotiated, and then a
/// command and its data set are not interleaved with others (PS3.7 D.3.3.3).
#[derive(Debug, Default)]
pub struct Reassembly {
    state: State,
    empty_fragments: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    InCommand {
        context_id: u8,
        bytes: BytesMut,
    },
    InData {
        context_id: u8,
    },
}

impl Reassembly {
    /// Takes the next fragment; `None` while a command is incomplete.
    ///
    /// # Errors
    /// The fragment does not continue the conversation: abort.
    pub fn accept(&mut self, pdv: Pdv) -> Result<Option<Part>, MessageError> {
        if pdv.data.is_empty() && !pdv.is_last {
            self.count_empty()?;
        }
        match std::mem::take(&mut self.state) {
            State::Idle => self.in_command(pdv.context_id, BytesMut::new(), pdv),
            State::InCommand { context_id, bytes } => self.in_command(context_id, bytes, pdv),
            State::InData { context_id } => self.in_data(context_id, pdv),
        }
    }

    /// Counts a P-DATA-TF or fragment that brings nothing; the standard allows them, nobody needs ten thousand.
    ///
    /// # Errors
    /// There were too many.
    pub fn count_empty(&mut self) -> Result<(), MessageError> {
        self.empty_fragments += 1;
        if self.empty_fragments > EMPTY_FRAGMENTS_MAX { Err(MessageError::Flood) } else { Ok(()) }
    }

    /// Whether a message has begun and not ended.
    pub fn in_message(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    fn in_command(&mut self, context_id: u8, mut bytes: BytesMut, pdv: Pdv) -> Result<Option<Part>, MessageError> {
        if !pdv.is_command {
            return Err(MessageError::Unexpected { found: "data set", expected: "command" });
        }
        check_context(context_id, &pdv)?;
        if bytes.len() + pdv.data.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLong.into());
        }
        bytes.extend_from_slice(&pdv.data);
        if !pdv.is_last {
            self.state = State::InCommand { context_id, bytes };
            return Ok(None);
        }
        let set = CommandSet::decode(bytes.freeze())?;
        let command = set.command()?;
        let has_data_set = match &command {
            Command::Store(store) => store.has_data_set,
            Command::Response(response) => response.has_data_set,
            Command::Action(request) | Command::EventReport(request) => request.has_data_set,
            Command::Other { has_data_set, .. } => *has_data_set,
            Command::Echo(_) | Command::Cancel => false,
        };
        if has_data_set {
            self.state = State::InData { context_id };
        }
        Ok(Some(Part::Command { context_id, set, command }))
    }

    fn in_data(&mut self, context_id: u8, pdv: Pdv) -> Result<Option<Part>, MessageError> {
        if pdv.is_command {
            return Err(MessageError::Unexpected { found: "command", expected: "data set" });
        }
        check_context(context_id, &pdv)?;
        if !pdv.is_last {
            self.state = State::InData { context_id };
        }
        Ok(Some(Part::Data { bytes: pdv.data, is_last: pdv.is_last }))
    }
}

fn check_context(expected: u8, pdv: &Pdv) -> Result<(), MessageError> {
    if pdv.context_id == expected {
        return Ok(());
    }
    Err(MessageError::ContextChanged { found: pdv.context_id, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdv(context_id: u8, is_command: bool, is_last: bool, data: &[u8]) -> Pdv {
        Pdv { context_id, is_command, is_last, data: Bytes::copy_from_slice(data) }
    }

    fn store() -> Vec<u8> {
        let uid = "1.2.3".parse().expect("a legal UID");
        CommandSet::store_request(1, &uid, &uid).encode()
    }

    #[test]
    fn takes_a_command_byte_by_byte() {
        let mut reassembly = Reassembly::default();
        let bytes = store();
        for (index, byte) in bytes.iter().enumerate() {
            let last = index + 1 == bytes.len();
            let part = reassembly.accept(pdv(1, true, last, &[*byte])).expect("legal");
            assert_eq!(part.is_some(), last);
        }
        assert!(reassembly.in_message(), "the data set is still to come");
        let part = reassembly.accept(pdv(1, false, true, b"")).expect("an empty last fragment is legal");
        assert_eq!(part, Some(Part::Data { bytes: Bytes::new(), is_last: true }));
        assert!(!reassembly.in_message());
    }

    #[test]
    fn refuses_fragments_out_of_turn() {
        let unexpected = |error: MessageError| error.abort_reason() == AbortReason::UnexpectedPdu;
        assert!(unexpected(Reassembly::default().accept(pdv(1, false, true, b"data")).expect_err("no command yet")));
        let mut reassembly = Reassembly::default();
        reassembly.accept(pdv(1, true, true, &store())).expect("legal");
        assert!(unexpected(reassembly.accept(pdv(1, true, true, &store())).expect_err("a data set was due")));
        let mut reassembly = Reassembly::default();
        let echo = CommandSet::echo_request(1).encode();
        reassembly.accept(pdv(1, true, true, &echo)).expect("legal");
        assert!(unexpected(reassembly.accept(pdv(1, false, true, b"data")).expect_err("an echo has no data")));
    }

    #[test]
    fn refuses_a_change_of_context_and_commands_without_end() {
        let mut reassembly = Reassembly::default();
        reassembly.accept(pdv(1, true, true, &store())).expect("legal");
        let error = reassembly.accept(pdv(3, false, false, b"data")).expect_err("another context");
        assert_eq!(error.abort_reason(), AbortReason::InvalidParameter);
        let mut reassembly = Reassembly::default();
        let result = (0..=COMMAND_BYTES_MAX / 1_000)
            .try_for_each(|_| reassembly.accept(pdv(1, true, false, &[0; 1_000])).map(|_| ()));
        assert_eq!(result, Err(MessageError::Command(CommandError::TooLong)));
    }

    #[test]
    fn refuses_a_flood_of_empty_fragments() {
        let mut reassembly = Reassembly::default();
        let result =
            (0..=EMPTY_FRAGMENTS_MAX).try_for_each(|_| reassembly.accept(pdv(1, true, false, b"")).map(|_| ()));
        assert_eq!(result, Err(MessageError::Flood));
    }
}
