//! Sends produced objects to other systems, one file per transport; when to try again is not decided here.

pub mod dicom;

use std::fmt;

/// How the delivery of objects to one destination ended, by who can act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every object was answered with success or a warning; the warnings, for the log.
    Delivered { warnings: Vec<String> },
    /// Not this time: the network, or a destination that is out of resources. Trying again can help.
    Retry { reason: String, status: Option<u16> },
    /// Never: the destination refuses the objects, or us. Its operator or ours has to change something.
    Refused { reason: String, status: Option<u16> },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Delivered { warnings } if warnings.is_empty() => f.write_str("delivered"),
            Outcome::Delivered { warnings } => write!(f, "delivered with warnings: {}", warnings.join("; ")),
            Outcome::Retry { reason, .. } => write!(f, "not delivered: {reason}; trying again can help"),
            Outcome::Refused { reason, .. } => write!(f, "refused: {reason}"),
        }
    }
}
