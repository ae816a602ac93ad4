//! RaySearch RayStation.

use super::{Entry, from, generic};
use crate::contour::Holes;

pub(super) const ENTRY: Entry = Entry {
    word: "raystation",
    about: "RaySearch RayStation",
    holes: from(
        Holes::Keyhole,
        "its resolving of overlapping contours fails on complex holes (rad-collision issue 15)",
    ),
    empty: from(false, "its own exports leave empty structures out of ROI Contour Sequence (platipy issue 143)"),
    ..generic::ENTRY
};
