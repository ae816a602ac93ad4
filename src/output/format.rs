//! The file formats that a run can write besides DICOM, and their names; the files are written elsewhere.

use serde::{Deserialize, Serialize};

/// A format for people with other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A mask for each structure, and all structures in one file.
    Nifti,
    /// The same, with 3D Slicer's segmentation.
    Nrrd,
    /// Scan and structures for CERR.
    PlanC,
}

impl Format {
    /// Every format with its name on the command line.
    pub const ALL: [(&'static str, Format); 3] =
        [("nifti", Format::Nifti), ("nrrd", Format::Nrrd), ("planc", Format::PlanC)];
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let found = Format::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
        let known = Format::ALL.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("found {text:?}, expected one of {known}"))
    }
}
