//! The words of DICOM that all modules share: UIDs, AE titles, keys of series; it reads and writes nothing.

mod ae_title;
#[cfg(test)]
pub(crate) mod build;
mod file_head;
mod header;
pub mod instance;
pub mod part10;
pub mod scan;
mod syntax;
mod uid;
mod walk;

use serde::{Deserialize, Serialize};

pub use ae_title::{AeTitle, AeTitleError};
pub use file_head::{FileHead, FileHeadError, FileHeadReader};
pub use header::elements;
pub use instance::{Instance, InstanceError};
pub use syntax::Syntax;
pub use uid::{Uid, UidError};

/// What identifies a series: its study and its own UID. Two studies that share a Series Instance UID are two series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    pub study_instance_uid: Uid,
    pub series_instance_uid: Uid,
}

/// Implementation Class UID (PS3.7 D.3.3.2, PS3.10 7.1) of this program, in associations and in files.
pub fn implementation_class_uid() -> Uid {
    Uid::derived(["contourd", "implementation class"])
}

/// Implementation Version Name (PS3.7 D.3.3.2), 1 to 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "CONTOURD_0";
