//! Images that a model makes, as DICOM: a synthetic CT or MR as a series that planning systems read, anything else as a
//! parametric map (PS3.3 A.75) whose pixels are the numbers themselves.

mod map;
mod series;

use thiserror::Error;

use super::object::{ObjectError, Source, Uids};
use crate::volume::Volume;

/// Derivation Description (0008,2111) of the images of a series that we write. It tells them from what was acquired, so that
/// the gateway does not work on its own results.
pub const DERIVED_HERE: &str = "contourd: made by a model, not acquired";

/// What the image is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum As {
    /// CT Image Storage, an object for each slice; the values are HU.
    Ct,
    /// MR Image Storage, an object for each slice.
    Mr,
    /// Parametric Map Storage, one object of 32-bit floats.
    #[default]
    ParametricMap,
}

impl As {
    /// Every one with its word.
    pub const ALL: [(&'static str, As); 3] = [("ct", As::Ct), ("mr", As::Mr), ("parametric_map", As::ParametricMap)];

    /// The SOP class of the objects.
    pub fn sop_class_uid(self) -> &'static str {
        match self {
            As::Ct => series::CT.sop_class_uid,
            As::Mr => series::MR.sop_class_uid,
            As::ParametricMap => map::SOP_CLASS_UID,
        }
    }
}

/// Everything that makes one derived image. It borrows images of a patient, so it derives no `Debug`.
pub struct DerivedImage<'a> {
    pub source: Source<'a>,
    /// On the grid of the images.
    pub volume: &'a Volume,
    /// What made it, in the UIDs: `step.name`.
    pub name: &'a str,
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// Why there is no derived image.
#[derive(Debug, Error)]
pub enum DerivedError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("found {0} values that are no numbers, expected none")]
    NotANumber(usize),
    #[error("found {0} bytes of pixels, expected fewer: they do not fit into one value of an object")]
    Size(usize),
}

/// A Part 10 file and its SOP Instance UID.
pub struct Encoded {
    pub sop_instance_uid: crate::dicom::Uid,
    pub bytes: Vec<u8>,
}

impl DerivedImage<'_> {
    /// One image may be written in several ways, and each way several times: the series has its own number each time.
    fn uids(&self, way: &str) -> Uids {
        self.source.uids(&format!("derived image {} {way} {}", self.name, self.series_number))
    }
}

/// Encodes an image, as one object or as one for each slice. The same input gives the same bytes.
///
/// # Errors
/// [`DerivedError`].
pub fn encode(image: &DerivedImage<'_>, kind: As) -> Result<Vec<Encoded>, DerivedError> {
    match image.volume.pixels.iter().filter(|value| !value.is_finite()).count() {
        0 => {}
        count => return Err(DerivedError::NotANumber(count)),
    }
    match kind {
        As::Ct => series::encode(image, series::CT),
        As::Mr => series::encode(image, series::MR),
        As::ParametricMap => map::encode(image).map(|encoded| vec![encoded]),
    }
}

#[cfg(test)]
mod tests;
