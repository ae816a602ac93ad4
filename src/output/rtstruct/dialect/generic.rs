//! The dialect for a destination of which nothing is known: what every system measured or described takes.

use super::{Entry, from};
use crate::contour::Holes;

pub(super) const ENTRY: Entry = Entry {
    word: "generic",
    about: "any planning system or archive",
    name_length: from(16, "TG-263 (AAPM 2018) keeps names to 16 characters, because systems cut longer ones"),
    name_spaces: from(false, "TG-263 has no spaces in names"),
    label_length: from(16, "VR SH of Structure Set Label (3006,0002), PS3.5 6.2"),
    contour_points: from(
        Some(2_000),
        "precaution: 2,000 points stay below the 65,534 bytes that Explicit VR holds (PS3.5 7.1.2), should a system on the way want it",
    ),
    tolerance_pixels: from(0.25, "measured here: up to a third of a pixel no voxel changes"),
    holes: from(Holes::Keyhole, "measured: every reader tried takes keyholes; two of three drop CLOSEDPLANAR_XOR"),
    decimals: from(3, "a micrometre; VR DS has at most 16 characters (PS3.5 6.2), which Eclipse enforces"),
    empty: from(
        true,
        "an empty structure says that it was looked for; PS3.3 C.8.8.6 allows it without Contour Sequence",
    ),
    roi_creator: from(false, "newer than 2020: validators of 2022 report ROI Creator Sequence as unknown"),
};
