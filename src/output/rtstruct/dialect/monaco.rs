//! Elekta Monaco; nothing is published that would differ from the generic dialect.

use super::{Entry, generic};

pub(super) const ENTRY: Entry = Entry { word: "monaco", about: "Elekta Monaco", ..generic::ENTRY };
