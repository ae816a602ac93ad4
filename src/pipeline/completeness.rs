//! When a series counts as complete: the times of the gateway and what a pipeline says otherwise; it keeps no time.

use super::definition::parse_id;
use crate::document::{Node, Problems};
use crate::limits::WAIT_S_MAX;

/// When a series counts as complete. DICOM has no end of series, so this is time without a new instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completeness {
    /// Quiet time after the last instance.
    pub quiet_s: f64,
    /// Quiet time when the sender has released its association and the stack is free of gaps.
    pub released_quiet_s: f64,
    /// Quiet time while slices are missing in the stack.
    pub gap_quiet_s: f64,
    /// Longest time from the first instance, whatever arrives.
    pub max_wait_s: f64,
    pub on_timeout: OnTimeout,
    /// A pipeline takes stacks with gaps: when the time is over, it is asked.
    pub takes_gaps: bool,
}

impl Completeness {
    /// The longer of all times, and of the ends the one that loses least: hold, then run, then discard.
    pub fn more_patient(self, other: Completeness) -> Completeness {
        let rank = |end: OnTimeout| OnTimeout::ALL.iter().position(|(_, one)| *one == end);
        Completeness {
            quiet_s: self.quiet_s.max(other.quiet_s),
            released_quiet_s: self.released_quiet_s.max(other.released_quiet_s),
            gap_quiet_s: self.gap_quiet_s.max(other.gap_quiet_s),
            max_wait_s: self.max_wait_s.max(other.max_wait_s),
            on_timeout: if rank(self.on_timeout) <= rank(other.on_timeout) {
                self.on_timeout
            } else {
                other.on_timeout
            },
            takes_gaps: self.takes_gaps || other.takes_gaps,
        }
    }
}

impl Default for Completeness {
    fn default() -> Completeness {
        Completeness {
            quiet_s: 10.0,
            released_quiet_s: 2.0,
            gap_quiet_s: 120.0,
            max_wait_s: 900.0,
            on_timeout: OnTimeout::Hold,
            takes_gaps: false,
        }
    }
}

/// What happens when `max_wait_s` passes and the stack still has a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// Keep it, show it, and wait for an operator.
    Hold,
    /// Run with what is there.
    Run,
    /// Drop the series from work; its instances stay until retention ends.
    Discard,
}

impl OnTimeout {
    /// Every answer with its word.
    pub const ALL: [(&'static str, OnTimeout); 3] =
        [("hold", OnTimeout::Hold), ("run", OnTimeout::Run), ("discard", OnTimeout::Discard)];
}

/// What a pipeline says of completeness; the rest is the gateway's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompletenessOverride {
    pub quiet_s: Option<f64>,
    pub released_quiet_s: Option<f64>,
    pub gap_quiet_s: Option<f64>,
    pub max_wait_s: Option<f64>,
    pub on_timeout: Option<OnTimeout>,
    /// The peer that is asked how many instances a series has before it is taken as complete.
    pub ask: Option<String>,
}

impl CompletenessOverride {
    /// Parses the object `complete`, of a pipeline or of the gateway.
    pub fn parse(node: &Node, problems: &mut Problems) -> Option<CompletenessOverride> {
        let mut fields = node.object(problems)?;
        let mut seconds = |key, problems: &mut Problems| {
            fields.optional(key).and_then(|node: &Node| node.number(0.0, WAIT_S_MAX, problems))
        };
        let quiet_s = seconds("quiet_s", problems);
        let released_quiet_s = seconds("released_quiet_s", problems);
        let gap_quiet_s = seconds("gap_quiet_s", problems);
        let max_wait_s = seconds("max_wait_s", problems);
        let on_timeout = fields.optional("on_timeout").and_then(|node| node.choice(&OnTimeout::ALL, problems));
        let ask = fields.optional("ask").and_then(|node| parse_id(node, problems));
        fields.finish(problems);
        Some(CompletenessOverride { quiet_s, released_quiet_s, gap_quiet_s, max_wait_s, on_timeout, ask })
    }

    /// The whole, with what is missing taken from a default.
    pub fn over(&self, default: &Completeness) -> Completeness {
        Completeness {
            quiet_s: self.quiet_s.unwrap_or(default.quiet_s),
            released_quiet_s: self.released_quiet_s.unwrap_or(default.released_quiet_s),
            gap_quiet_s: self.gap_quiet_s.unwrap_or(default.gap_quiet_s),
            max_wait_s: self.max_wait_s.unwrap_or(default.max_wait_s),
            on_timeout: self.on_timeout.unwrap_or(default.on_timeout),
            takes_gaps: default.takes_gaps,
        }
    }
}
