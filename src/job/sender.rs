//! Whom the word `sender` of a pipeline stands for in one job; who it is, is found out elsewhere.

use serde::{Deserialize, Serialize};

/// The peer that sent the primary series, as it was known when the series matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its name; none when it cannot be told.
    pub peer: Option<String>,
    /// Why nothing can be sent back; empty when it can.
    pub note: String,
}

impl Sender {
    /// Nobody, for this reason.
    pub fn nobody(note: impl Into<String>) -> Sender {
        Sender { peer: None, note: note.into() }
    }
}
