//! Varian Eclipse with ARIA.

use super::{Entry, from, generic};

pub(super) const ENTRY: Entry = Entry {
    word: "eclipse",
    about: "Varian Eclipse with ARIA",
    name_length: from(
        16,
        "Eclipse refuses structure IDs of more than 16 characters (its scripting interface enforces it)",
    ),
    name_spaces: from(true, "Eclipse takes spaces inside structure IDs, and none at their ends"),
    label_length: from(
        16,
        "Eclipse takes the label as ID of the structure set and refuses more (pytrip issues 285, 291)",
    ),
    decimals: from(
        3,
        "Eclipse does not open sets with coordinates of more than 16 characters (TotalSegmentator-AIDE issue 11)",
    ),
    ..generic::ENTRY
};
