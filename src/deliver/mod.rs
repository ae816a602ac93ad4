//! Sends produced objects to other systems, one file per transport; when to try again is not decided here.

mod connect;
pub mod dicom;
pub mod dicomweb;
pub mod folder;
mod object;
mod way;

use std::fmt;
use std::path::PathBuf;

use crate::dimse::Status;

pub use way::Way;

/// Where objects can be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A Storage SCP.
    Dicom(Box<dicom::Destination>),
    /// A folder of a file system.
    Folder(folder::Destination),
    /// A STOW-RS origin server.
    Web(Box<dicomweb::Destination>),
}

impl Destination {
    /// Delivers files (PS3.10), in this order, and says how all of it ended. A delivery is done when all of it is. See
    /// [`Outcome::of_all`] for `takes_change`.
    pub async fn store(&self, objects: &[PathBuf], takes_change: bool) -> Outcome {
        match self {
            Destination::Dicom(to) => dicom::store(to, objects, takes_change).await,
            Destination::Folder(to) => folder::store(to, objects).await,
            Destination::Web(to) => dicomweb::store(to, objects, takes_change).await,
        }
    }

    /// Asks whether the destination shows what it was sent: by C-FIND, by QIDO-RS, by reading the files.
    pub async fn find(&self, objects: &[PathBuf]) -> Shown {
        match self {
            Destination::Dicom(to) => dicom::find(to, objects).await,
            Destination::Folder(to) => folder::find(to, objects).await,
            Destination::Web(to) => dicomweb::find(to, objects).await,
        }
    }
}

/// What a destination shows of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Every object.
    All,
    /// One of them not.
    Missing { reason: String },
    /// It could not be asked, or did not answer; now, or never.
    Unknown(Outcome),
}

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

impl Outcome {
    /// What a status means for the delivery (PS3.4 B.2.3, PS3.7 C); STOW-RS has the same ones (PS3.18 10.5).
    fn of_status(status: Status, what: &str, comment: &str) -> Outcome {
        if status.is_success() {
            return Outcome::Delivered { warnings: Vec::new() };
        }
        let comment = if comment.is_empty() { String::new() } else { format!(" ({comment})") };
        let reason = format!("{what} was answered with status {status}{comment}");
        // A destination that has the instance already has it because we sent it: our UIDs follow from the content.
        if status.is_warning() || status.0 == 0x0111 {
            return Outcome::Delivered { warnings: vec![Warning { status: status.0, text: reason }] };
        }
        let status_code = Some(status.0);
        if status.is_transient() {
            return Outcome::Retry { reason, status: status_code };
        }
        Outcome::Refused { reason, status: status_code }
    }

    /// The same with another reason where it is no delivery.
    fn with_reason(self, told: impl FnOnce(String) -> String) -> Outcome {
        match self {
            Outcome::Retry { reason, status } => Outcome::Retry { reason: told(reason), status },
            Outcome::Refused { reason, status } => Outcome::Refused { reason: told(reason), status },
            delivered @ Outcome::Delivered { .. } => delivered,
        }
    }

    /// How the delivery of several objects ended. Unless the site takes what the destination has changed
    /// (`takes_change`), that is no delivery, however the others ended: sent again, the object would be answered as one that is there.
    pub fn of_all(outcomes: impl IntoIterator<Item = Outcome>, takes_change: bool) -> Outcome {
        let (mut warnings, mut failure): (Vec<Warning>, Option<Outcome>) = (Vec::new(), None);
        let mut taken = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::Delivered { warnings: more } => {
                    warnings.extend(more);
                    taken += 1;
                }
                other => failure = failure.or(Some(other)),
            }
        }
        match warnings.iter().find(|warning| warning.tells_of_change()) {
            Some(changed) if !takes_change => Outcome::Refused {
                reason: format!(
                    "{changed}; what the destination holds is not what was made, and a person has to see to it"
                ),
                status: Some(changed.status),
            },
            _ => match failure {
                None => Outcome::Delivered { warnings },
                // Whoever looks there finds a part.
                Some(failure) if taken > 0 => {
                    failure.with_reason(|reason| format!("{reason}; of the objects it has taken {taken}"))
                }
                Some(failure) => failure,
            },
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_no_delivery_where_the_site_does_not_take_it() {
        let with =
            |status: u16| Outcome::Delivered { warnings: vec![Warning { status, text: format!("{status:04X}") }] };
        let away = || Outcome::Retry { reason: "A700".to_owned(), status: Some(0xA700) };
        let parked = |outcomes: Vec<Outcome>| match Outcome::of_all(outcomes, false) {
            Outcome::Refused { status, .. } => status == Some(0xB000),
            _ => false,
        };
        assert!(parked(vec![with(0x0111), with(0xB000)]));
        assert!(parked(vec![with(0xB000), away()]), "sent again, the first would be answered with 0111");
        assert!(matches!(Outcome::of_all([with(0x0111)], false), Outcome::Delivered { .. }), "it had it already");
        assert!(matches!(Outcome::of_all([with(0xB000)], true), Outcome::Delivered { .. }));
        assert_eq!(Outcome::of_all([away(), away()], true), away());
        let part = Outcome::of_all([with(0xB000), away()], true);
        assert!(
            matches!(&part, Outcome::Retry { reason, .. } if reason == "A700; of the objects it has taken 1"),
            "{part}"
        );
    }
}
