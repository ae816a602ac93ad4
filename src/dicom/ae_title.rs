//! Application entity titles (PS3.5 6.2, VR AE): checked, without padding; compared case-sensitively (PS3.8 7.1.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::AE_TITLE_LENGTH_MAX;

/// The title of an application entity, 1 to 16 characters of the default repertoire, without backslash or control
/// characters; leading and trailing spaces are not significant and are removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AeTitle(String);

/// Why a text is not an AE title.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AeTitleError {
    #[error("found an empty AE title, expected 1 to 16 characters")]
    Empty,
    #[error("found an AE title of {0} characters, expected at most 16")]
    TooLong(usize),
    #[error("found an AE title with a backslash, a control or a non-ASCII character at index {0}")]
    Character(usize),
}

impl AeTitle {
    /// The text, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;

    fn from_str(text: &str) -> Result<AeTitle, AeTitleError> {
        let text = text.trim_matches([' ', '\0']);
        if text.is_empty() {
            return Err(AeTitleError::Empty);
        }
        if let Some(index) = text.bytes().position(|b| !(0x20..0x7f).contains(&b) || b == b'\\') {
            return Err(AeTitleError::Character(index));
        }
        if text.len() > AE_TITLE_LENGTH_MAX {
            return Err(AeTitleError::TooLong(text.len()));
        }
        Ok(AeTitle(text.to_owned()))
    }
}

impl TryFrom<String> for AeTitle {
    type Error = AeTitleError;

    fn try_from(text: String) -> Result<AeTitle, AeTitleError> {
        text.parse()
    }
}

impl From<AeTitle> for String {
    fn from(title: AeTitle) -> String {
        title.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_padding_and_keeps_case() {
        assert_eq!(" Contourd  ".parse::<AeTitle>().expect("legal").as_str(), "Contourd");
    }

    #[test]
    fn refuses_empty_long_and_control_characters() {
        assert_eq!("   ".parse::<AeTitle>(), Err(AeTitleError::Empty));
        assert_eq!("A".repeat(17).parse::<AeTitle>(), Err(AeTitleError::TooLong(17)));
        assert_eq!("CT\\1".parse::<AeTitle>(), Err(AeTitleError::Character(2)));
        assert_eq!("CT\n1".parse::<AeTitle>(), Err(AeTitleError::Character(2)));
    }
}
