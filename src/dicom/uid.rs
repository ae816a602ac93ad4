//! Unique identifiers (PS3.5 9), checked once so that they can be part of a path; and those derived from a hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::limits::UID_LENGTH_MAX;

/// A UID: 1 to 64 characters, digits and single dots between them. It therefore never holds a path separator.
///
/// Components with a leading zero are accepted, although PS3.5 9.1 forbids them: scanners in use send them, and
/// refusing their images would help nobody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(String);

/// Why a text is not a UID. The text itself is not repeated: what a peer sends there can be anything.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UidError {
    #[error("found an empty UID, expected 1 to 64 characters")]
    Empty,
    #[error("found a UID of {0} characters, expected at most 64")]
    TooLong(usize),
    #[error("found a UID with a character that is neither a digit nor a dot, at index {0}")]
    Character(usize),
    #[error("found a UID with an empty component, expected digits between dots")]
    EmptyComponent,
}

impl Uid {
    /// A UID under 2.25 (PS3.5 B.2) from the SHA-256 of `parts`; the same parts give the same UID on every machine.
    ///
    /// The parts are separated by their lengths, so that `["ab", "c"]` and `["a", "bc"]` differ. The 128 bits carry
    /// version 8 and variant 1 of RFC 9562, as for any UUID made by a rule of its own.
    pub fn derived<'a>(parts: impl IntoIterator<Item = &'a str>) -> Uid {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut uuid = [0_u8; 16];
        uuid.copy_from_slice(&digest[..16]);
        uuid[6] = (uuid[6] & 0x0f) | 0x80;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        Uid(format!("2.25.{}", u128::from_be_bytes(uuid)))
    }

    /// The text, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Uid {
    type Err = UidError;

    /// Takes the text of an attribute: trailing NUL (PS3.5 9.1) and space (common error) are padding.
    fn from_str(text: &str) -> Result<Uid, UidError> {
        let text = text.trim_end_matches(['\0', ' ']);
        if text.is_empty() {
            return Err(UidError::Empty);
        }
        if text.len() > UID_LENGTH_MAX {
            return Err(UidError::TooLong(text.len()));
        }
        if let Some(index) = text.bytes().position(|b| !(b.is_ascii_digit() || b == b'.')) {
            return Err(UidError::Character(index));
        }
        if text.split('.').any(str::is_empty) {
            return Err(UidError::EmptyComponent);
        }
        Ok(Uid(text.to_owned()))
    }
}

impl TryFrom<String> for Uid {
    type Error = UidError;

    fn try_from(text: String) -> Result<Uid, UidError> {
        text.parse()
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> String {
        uid.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_uids_and_strips_padding() {
        let uid: Uid = "1.2.840.10008.1.1\0".parse().expect("a legal UID");
        assert_eq!(uid.as_str(), "1.2.840.10008.1.1");
    }

    #[test]
    fn refuses_what_could_leave_a_folder() {
        let refused = ["", "../../etc/passwd", "/etc", "1.2/3", "1..2", ".1", "1.", "1.2\0.3", "1.2 3", "1.a"];
        for text in refused {
            assert!(text.parse::<Uid>().is_err(), "{text:?}");
        }
        assert_eq!("1".repeat(65).parse::<Uid>(), Err(UidError::TooLong(65)));
    }

    #[test]
    fn derives_the_same_legal_uid_from_the_same_parts() {
        let uid = Uid::derived(["a", "b"]);
        assert_eq!(uid, Uid::derived(["a", "b"]));
        assert_ne!(uid, Uid::derived(["ab", ""]));
        assert_eq!(uid.as_str().parse::<Uid>(), Ok(uid.clone()));
        assert!(uid.as_str().starts_with("2.25."));
    }
}
