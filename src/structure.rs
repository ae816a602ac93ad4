//! Regions of interest: what each is called, what it means and how it is shown; it holds no voxels and no contours.

mod lint;
mod name;
mod table;

use std::fmt;

pub use lint::{Finding, Standing, lint, standing};
pub use name::{NameProblem, NameRules, check_names};

/// RT ROI Interpreted Type (PS3.3 C.8.8.8.1), the terms that an automatic contour may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoiType {
    External,
    Organ,
    Avoidance,
    Control,
    Support,
    Cavity,
    ContrastAgent,
    Gtv,
    Ctv,
    Ptv,
    /// No defined term applies (a spacer, a device): the attribute is written empty.
    Unspecified,
}

impl RoiType {
    /// Every type with the word that stands for it in configuration and, but for `UNSPECIFIED`, in DICOM.
    pub const ALL: [(&'static str, RoiType); 11] = [
        ("EXTERNAL", RoiType::External),
        ("ORGAN", RoiType::Organ),
        ("AVOIDANCE", RoiType::Avoidance),
        ("CONTROL", RoiType::Control),
        ("SUPPORT", RoiType::Support),
        ("CAVITY", RoiType::Cavity),
        ("CONTRAST_AGENT", RoiType::ContrastAgent),
        ("GTV", RoiType::Gtv),
        ("CTV", RoiType::Ctv),
        ("PTV", RoiType::Ptv),
        ("UNSPECIFIED", RoiType::Unspecified),
    ];

    /// The value of RT ROI Interpreted Type (3006,00A4); empty for [`RoiType::Unspecified`].
    pub fn dicom_term(self) -> &'static str {
        match self {
            RoiType::Unspecified => "",
            other => RoiType::ALL.iter().find(|(_, roi_type)| *roi_type == other).map_or("", |(term, _)| term),
        }
    }
}

/// A display colour, red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color(pub [u8; 3]);

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2])
    }
}

/// The side that a code leaves open, written as a modifier (PS3.16 CID 244).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Laterality {
    Left,
    Right,
    Both,
}

/// A coded concept (PS3.16): the value in a scheme, and the words that stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub value: &'static str,
    /// Coding Scheme Designator: `SCT` for SNOMED CT, `DCM` for DICOM's own.
    pub scheme: &'static str,
    pub meaning: &'static str,
}

impl Code {
    /// A code from its three parts.
    pub const fn new(value: &'static str, scheme: &'static str, meaning: &'static str) -> Code {
        Code { value, scheme, meaning }
    }
}

impl Laterality {
    /// The modifier that says the side (PS3.16 CID 244).
    pub const fn code(self) -> Code {
        match self {
            Laterality::Left => Code::new("7771000", "SCT", "Left"),
            Laterality::Right => Code::new("24028007", "SCT", "Right"),
            Laterality::Both => Code::new("51440002", "SCT", "Right and left"),
        }
    }
}

/// What kind of thing a region of interest is: Segmented Property Category (PS3.16 CID 9580).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    AnatomicalStructure,
    ExternalBodyModel,
    RtTarget,
    FixationOrPositioningDevice,
    PhysicalObject,
}

impl Category {
    /// The code of the category.
    pub const fn code(self) -> Code {
        match self {
            Category::AnatomicalStructure => Code::new("123037004", "SCT", "Anatomical Structure"),
            Category::ExternalBodyModel => Code::new("130047", "DCM", "External Body Model"),
            Category::RtTarget => Code::new("130041", "DCM", "RT Target"),
            Category::FixationOrPositioningDevice => Code::new("130044", "DCM", "Fixation or Positioning Device"),
            Category::PhysicalObject => Code::new("260787004", "SCT", "Physical object"),
        }
    }
}

/// What is known of a structure by its standard name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Name by TG-263 (AAPM 2018), at most 16 characters.
    pub name: &'static str,
    pub roi_type: RoiType,
    pub category: Category,
    /// What it is; absent where the category says all (a target).
    pub code: Option<Code>,
    /// The side, where the code leaves it open.
    pub laterality: Option<Laterality>,
    /// Colour by default.
    pub color: Color,
}

/// The structure of a standard name, irrespective of case (as TG-263 compares names): `BODY` is `Body`.
pub fn lookup(name: &str) -> Option<&'static Structure> {
    table::STRUCTURES.iter().find(|structure| structure.name.eq_ignore_ascii_case(name))
}

/// A name in the reverse order of TG-263, the most special part first: `L_Lung` for `Lung_L`. Of a name that is not in
/// the table only the side goes to the front; walls stay where they are, as in TG-263.
pub fn reversed(name: &str) -> String {
    let parts: Vec<&str> = name.split('_').collect();
    if lookup(name).is_some() && parts.last() != Some(&"Wall") {
        return parts.into_iter().rev().collect::<Vec<_>>().join("_");
    }
    match name.rsplit_once('_') {
        Some((root, side @ ("L" | "R"))) => format!("{side}_{root}"),
        _ => name.to_owned(),
    }
}

/// Every structure of the table, by region; for lists of known names.
pub fn all() -> &'static [Structure] {
    table::STRUCTURES
}

/// One item of a structure set as it will be called and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiStyle {
    /// ROI Name, TG-263 where it has one; 1 to 16 characters by default of destinations.
    pub name: String,
    pub roi_type: RoiType,
    pub color: Color,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn finds_names_irrespective_of_case() {
        let body = lookup("BODY").expect("a shipped name");
        assert_eq!((body.name, body.roi_type), ("Body", RoiType::External));
        let lung = lookup("Lung_L").expect("a shipped name");
        assert_eq!((lung.code.expect("coded").value, lung.laterality), ("39607008", Some(Laterality::Left)));
        assert_eq!(lookup("Lung"), None);
    }

    #[test]
    fn every_name_keeps_the_name_rules_and_occurs_once() {
        let mut seen = HashSet::new();
        for structure in all() {
            let style = RoiStyle { name: structure.name.into(), roi_type: structure.roi_type, color: structure.color };
            assert_eq!(check_names(&[style], NameRules::default()), []);
            assert!(seen.insert(structure.name.to_ascii_lowercase()), "{} occurs twice", structure.name);
        }
        assert!(seen.len() >= 200);
    }

    #[test]
    fn a_name_with_a_side_has_the_side_in_its_code() {
        for structure in all() {
            let meaning = structure.code.map_or("", |code| code.meaning).to_ascii_lowercase();
            let said = |side: &str, laterality| structure.laterality == Some(laterality) || meaning.contains(side);
            if structure.name.ends_with("_L") {
                assert!(said("left", Laterality::Left), "{}", structure.name);
            }
            if structure.name.ends_with("_R") {
                assert!(said("right", Laterality::Right), "{}", structure.name);
            }
        }
    }

    #[test]
    fn codes_are_legal_and_pairs_share_theirs() {
        for structure in all() {
            if let Some(code) = structure.code {
                assert!(code.value.len() <= 16 && code.value.bytes().all(|b| b.is_ascii_digit()), "{}", structure.name);
                assert!(!code.meaning.is_empty() && code.meaning.len() <= 64, "{}", structure.name);
            }
            let other = structure.name.strip_suffix("_L").map(|root| format!("{root}_R"));
            if let (Some(Laterality::Left), Some(other)) = (structure.laterality, other) {
                let other = lookup(&other).unwrap_or_else(|| panic!("{} has no other side", structure.name));
                assert_eq!(structure.code, other.code, "{}", structure.name);
                assert_ne!(structure.color, other.color, "{}", structure.name);
            }
        }
    }

    /// `../shared` holds what the table was made of, and the order of TG-263's reverse names.
    #[test]
    fn the_table_says_what_its_source_says() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/structures_extended.csv");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {} is not here", path.display());
            return;
        };
        let mut seen = 0;
        for line in text.lines().skip(1) {
            // The first eight columns hold no commas inside of quotes before the eighth where they matter here.
            let cells: Vec<&str> = line.split(',').collect();
            let Some(structure) = all().iter().find(|structure| structure.name == cells[0]) else { continue };
            if line.contains('"') {
                continue;
            }
            seen += 1;
            let name = structure.name;
            assert_eq!(structure.code.map_or("", |code| code.value), cells[1], "{name}");
            assert_eq!(structure.roi_type.dicom_term(), cells[3], "{name}");
            let color = structure.color.0.map(|part| part.to_string()).join(" ");
            assert_eq!(color, cells[4], "{name}");
            let side =
                structure.laterality.filter(|side| *side != Laterality::Both).map_or("", |side| side.code().value);
            assert_eq!(side, cells[7], "{name}");
            if !cells[14].is_empty() {
                assert_eq!(reversed(name), cells[14], "{name}");
            }
        }
        assert!(seen > 180, "found {seen} structures of the table");
    }

    #[test]
    fn knows_what_contourd_ships() {
        let shipped =
            ["BODY", "Lungs", "Lung_L", "Lung_R", "Bone", "Heart", "SpinalCord", "Trachea", "Bladder", "Prostate"];
        assert_eq!(shipped.map(lookup).iter().filter(|found| found.is_none()).count(), 0);
    }
}
