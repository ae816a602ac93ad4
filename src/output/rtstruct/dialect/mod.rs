//! Dialects: what differs between planning systems in a structure set, as a table of one file each; it writes nothing.
//!
//! A value is a fact where one is known, and a precaution where the maker publishes none; its source says which. A site
//! overrides single values in the file of the peer.

mod eclipse;
mod generic;
mod mim;
mod monaco;
mod names;
mod pinnacle;
mod raystation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contour::Holes;
use crate::structure::NameRules;

pub use names::Named;

/// How one destination wants its structure sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialect {
    /// The word of the table whose values it has where nothing else was said.
    pub like: String,
    /// Most characters of a ROI name.
    pub name_length: usize,
    /// Whether names may have spaces inside.
    pub name_spaces: bool,
    /// Whether names of TG-263 are written in reverse order, the side first: `L_Lung` for `Lung_L`.
    pub side_first: bool,
    /// The site's own names, by the name in the pipeline.
    pub rename: BTreeMap<String, String>,
    /// Most characters of the Structure Set Label, at most 16.
    pub label_length: usize,
    /// Points of one contour above which it is simplified; none for no limit.
    pub contour_points: Option<usize>,
    /// How far simplifying may move a contour, in pixels of the smaller spacing. Up to a third no voxel changes.
    pub tolerance_pixels: f64,
    pub holes: Holes,
    /// Decimals of a coordinate in mm; one more on an oblique plane, where rounding moves points off it.
    pub decimals: usize,
    /// Whether structures without contours are listed.
    pub empty: bool,
    /// Whether each region says by ROI Creator Sequence (3006,004D) that a device made it.
    pub roi_creator: bool,
}

/// A value with where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Choice<T> {
    pub value: T,
    pub source: &'static str,
}

/// One dialect of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The word in the files of peers.
    pub word: &'static str,
    /// The systems that it is for.
    pub about: &'static str,
    pub name_length: Choice<usize>,
    pub name_spaces: Choice<bool>,
    pub label_length: Choice<usize>,
    pub contour_points: Choice<Option<usize>>,
    pub tolerance_pixels: Choice<f64>,
    pub holes: Choice<Holes>,
    pub decimals: Choice<usize>,
    pub empty: Choice<bool>,
    pub roi_creator: Choice<bool>,
}

/// The table. A new dialect is a file and a line here.
pub const DIALECTS: [&Entry; 6] =
    [&generic::ENTRY, &eclipse::ENTRY, &mim::ENTRY, &monaco::ENTRY, &pinnacle::ENTRY, &raystation::ENTRY];

const fn from<T>(value: T, source: &'static str) -> Choice<T> {
    Choice { value, source }
}

impl Entry {
    /// The dialect with the values of the table.
    pub fn dialect(&self) -> Dialect {
        Dialect {
            like: self.word.to_owned(),
            name_length: self.name_length.value,
            name_spaces: self.name_spaces.value,
            side_first: false,
            rename: BTreeMap::new(),
            label_length: self.label_length.value,
            contour_points: self.contour_points.value,
            tolerance_pixels: self.tolerance_pixels.value,
            holes: self.holes.value,
            decimals: self.decimals.value,
            empty: self.empty.value,
            roi_creator: self.roi_creator.value,
        }
    }

    /// Its values as text, with their sources, by the key that overrides each.
    pub fn values(&self) -> [(&'static str, String, &'static str); 9] {
        let points = self.contour_points.value.map_or("no limit".to_owned(), |points| points.to_string());
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let word = Holes::ALL.iter().find(|(_, holes)| *holes == self.holes.value).map_or("", |(word, _)| word);
        [
            ("name_length", self.name_length.value.to_string(), self.name_length.source),
            ("name_spaces", yes(self.name_spaces.value), self.name_spaces.source),
            ("label_length", self.label_length.value.to_string(), self.label_length.source),
            ("contour_points", points, self.contour_points.source),
            ("tolerance_pixels", self.tolerance_pixels.value.to_string(), self.tolerance_pixels.source),
            ("holes", word.to_owned(), self.holes.source),
            ("decimals", self.decimals.value.to_string(), self.decimals.source),
            ("empty", yes(self.empty.value), self.empty.source),
            ("roi_creator", yes(self.roi_creator.value), self.roi_creator.source),
        ]
    }
}

impl Default for Dialect {
    fn default() -> Dialect {
        generic::ENTRY.dialect()
    }
}

impl Dialect {
    /// The dialect of a word of the table.
    pub fn of(word: &str) -> Option<Dialect> {
        DIALECTS.iter().find(|entry| entry.word == word).map(|entry| entry.dialect())
    }

    /// What names must keep.
    pub fn name_rules(&self) -> NameRules {
        NameRules { length_max: self.name_length, spaces: self.name_spaces }
    }

    /// All choices as one text, whatever the dialect is called: the same text gives the same bytes, and UIDs are derived
    /// from it.
    pub fn text(&self) -> String {
        format!("{:?}", Dialect { like: String::new(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::limits::{LABEL_LENGTH_MAX, TOLERANCE_PIXELS_MAX};

    #[test]
    fn every_value_is_possible_and_has_a_source() {
        let mut words = HashSet::new();
        for entry in DIALECTS {
            assert!(words.insert(entry.word) && !entry.about.is_empty(), "{}", entry.word);
            for (key, value, source) in entry.values() {
                assert!(source.len() > 20 && !value.is_empty(), "{}.{key}", entry.word);
            }
            let dialect = entry.dialect();
            assert_eq!(Dialect::of(entry.word).as_ref(), Some(&dialect));
            assert!(dialect.label_length <= LABEL_LENGTH_MAX && dialect.name_length >= 8);
            assert!(dialect.tolerance_pixels <= TOLERANCE_PIXELS_MAX, "no voxel changes by default");
        }
        assert_eq!(Dialect::of("eclips"), None);
    }

    #[test]
    fn other_choices_have_another_text() {
        let generic = Dialect::default();
        let mut other = generic.clone();
        other.rename.insert("Lung_L".to_owned(), "Left lung".to_owned());
        assert_ne!(generic.text(), other.text());
        assert_eq!(generic.text(), mim::ENTRY.dialect().text(), "the same choices are one object");
        assert_ne!(generic.text(), Dialect { holes: Holes::Xor, ..generic.clone() }.text());
    }
}
