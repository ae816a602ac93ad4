//! MIM Software's MIM; nothing is published that would differ from the generic dialect.

use super::{Entry, generic};

pub(super) const ENTRY: Entry = Entry { word: "mim", about: "MIM", ..generic::ENTRY };
