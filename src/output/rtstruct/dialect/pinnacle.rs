//! Philips Pinnacle.

use super::{Entry, from, generic};

pub(super) const ENTRY: Entry = Entry {
    word: "pinnacle",
    about: "Philips Pinnacle",
    name_spaces: from(false, "published naming scripts for Pinnacle keep to letters, digits and underscores"),
    ..generic::ENTRY
};
