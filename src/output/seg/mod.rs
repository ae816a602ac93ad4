//! DICOM Segmentations (PS3.3 A.51): from any maker's file to masks; it writes none.

mod read;
#[cfg(test)]
mod tests;

pub use read::{SOP_CLASS_UID, SegError, Segment, read};
