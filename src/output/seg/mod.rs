//! DICOM Segmentations (PS3.3 A.51): from masks to a file, and from any maker's file to masks.

mod color;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{SOP_CLASS_UID, SegError, Segment, is_segmentation, read};
pub use write::{Kind, LABEL_MAP_SOP_CLASS_UID, SegWriteError, SegmentOut, Segmentation, encode};
