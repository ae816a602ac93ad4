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

/// The endings of file names, the longer ones first.
const ENDINGS: [(&str, Format); 6] = [
    (".nii.gz", Format::Nifti),
    (".nii", Format::Nifti),
    (".nrrd", Format::Nrrd),
    (".nhdr", Format::Nrrd),
    (".hdf5", Format::PlanC),
    (".h5", Format::PlanC),
];

impl Format {
    /// What a file is by its name.
    pub fn of_name(name: &str) -> Option<Format> {
        ENDINGS.iter().find(|(ending, _)| ends_with(name, ending)).map(|(_, format)| *format)
    }

    /// A name without such an ending.
    pub fn stem(name: &str) -> &str {
        let ending = ENDINGS.iter().find(|(ending, _)| ends_with(name, ending));
        ending.and_then(|(ending, _)| name.get(..name.len() - ending.len())).unwrap_or(name)
    }
}

fn ends_with(name: &str, ending: &str) -> bool {
    let at = name.len().checked_sub(ending.len());
    at.and_then(|at| name.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let found = Format::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
        let known = Format::ALL.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("found {text:?}, expected one of {known}"))
    }
}
