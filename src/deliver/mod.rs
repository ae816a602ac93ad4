//! Sends produced objects to other systems, one file per transport; when to try again is not decided here.

pub mod dicom;

use std::fmt;

/// How the delivery of objects to one destination ended, by who can act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every object was answered with success or a warning; the warnings, for the log.
    Delivered { warnings: Vec<Warning> },
    /// Not this time: the network, or a destination that is out of resources. Trying again can help.
    Retry { reason: String, status: Option<u16> },
    /// Never: the destination refuses the objects, or us. Its operator or ours has to change something.
    Refused { reason: String, status: Option<u16> },
}

/// A remark of the destination on an object that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub status: u16,
    /// What was answered with what, and the destination's comment.
    pub text: String,
}

impl Warning {
    /// Whether the destination says that it changed or left out something (Bxxx, PS3.4 B.2.3); that it had the object
    /// already, or ignored an attribute, is no such thing.
    pub fn tells_of_change(&self) -> bool {
        self.status & 0xF000 == 0xB000
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Delivered { warnings } if warnings.is_empty() => f.write_str("delivered"),
            Outcome::Delivered { warnings } => {
                let told: Vec<String> = warnings.iter().map(Warning::to_string).collect();
                write!(f, "delivered with warnings: {}", told.join("; "))
            }
            Outcome::Retry { reason, .. } => write!(f, "not delivered: {reason}; trying again can help"),
            Outcome::Refused { reason, .. } => write!(f, "refused: {reason}"),
        }
    }
}
