//! The words of DICOM that all modules share: UIDs, AE titles, keys of series; it reads and writes nothing.

mod ae_title;
mod header;
pub mod instance;
pub mod part10;
pub mod scan;
mod syntax;
mod uid;

use serde::{Deserialize, Serialize};

pub use ae_title::{AeTitle, AeTitleError};
pub use instance::{Instance, InstanceError};
pub use syntax::Syntax;
pub use uid::{Uid, UidError};

/// What identifies a series: its study and its own UID. Two studies that share a Series Instance UID are two series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    pub study_instance_uid: Uid,
    pub series_instance_uid: Uid,
}
