//! What there is to say of names of structures: known to TG-263, or how it would call them, and what destinations refuse.
//!
//! A name is compared by its words: case, separators and the place of the side do not matter, `left`, `lt` and `l` are
//! one, and a short list of synonyms turns what clinics call things into the words of TG-263.

use std::fmt;

use super::{NameProblem, NameRules, RoiStyle, Structure, all, check_names, lookup, reversed};
use crate::document::nearest;

/// What a name is to TG-263.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A name of the table, letter by letter.
    Known,
    /// The same in the reverse order, where the site writes the side first.
    KnownReversed,
    /// The same but for case.
    OtherCase(&'static str),
    /// In the other order than the site's.
    OtherOrder(&'static str),
    /// Another word for it.
    Synonym(&'static str),
    /// In no table; maybe mistyped.
    Unknown(Option<&'static str>),
}

/// One name with all there is to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub name: String,
    pub standing: Standing,
    /// What destinations refuse.
    pub problems: Vec<String>,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Known => f.write_str("TG-263"),
            Standing::KnownReversed => f.write_str("TG-263, side first"),
            Standing::OtherCase(name) => write!(f, "TG-263 but for case: {name}"),
            Standing::OtherOrder(name) => write!(f, "TG-263 in the other order: {name}"),
            Standing::Synonym(name) => write!(f, "another word for {name}"),
            Standing::Unknown(Some(name)) => write!(f, "not known; did you mean {name}?"),
            Standing::Unknown(None) => f.write_str("not known"),
        }
    }
}

/// Looks at the names of one structure set. `side_first` is the order of the site: `L_Lung` and not `Lung_L`.
pub fn lint(styles: &[RoiStyle], rules: NameRules, side_first: bool) -> Vec<Finding> {
    let found = |style: &RoiStyle| Finding {
        name: style.name.clone(),
        standing: standing(&style.name, side_first),
        problems: Vec::new(),
    };
    let mut findings: Vec<Finding> = styles.iter().map(found).collect();
    for problem in check_names(styles, rules) {
        let text = problem.to_string();
        let told = text.split_once(": ").map_or(text.as_str(), |(_, told)| told);
        findings[problem.index()].problems.push(told.to_owned());
    }
    findings
}

/// What a name is to TG-263.
pub fn standing(name: &str, side_first: bool) -> Standing {
    if let Some(known) = lookup(name) {
        return match known.name {
            other if side_first && reversed(other) != other => Standing::OtherOrder(other),
            same if same == name => Standing::Known,
            other => Standing::OtherCase(other),
        };
    }
    let turned = |structure: &&Structure| reversed(structure.name).eq_ignore_ascii_case(name);
    if let Some(known) = all().iter().find(turned) {
        return if side_first { Standing::KnownReversed } else { Standing::OtherOrder(known.name) };
    }
    let words = Words::of(name);
    if let Some(known) = all().iter().find(|structure| Words::of(structure.name) == words) {
        return Standing::Synonym(known.name);
    }
    let names: Vec<&'static str> = all().iter().map(|structure| structure.name).collect();
    Standing::Unknown(nearest(name, &names))
}

/// A name as its words, sorted, without its side, and the side.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    root: Vec<String>,
    side: Option<char>,
}

/// What clinics say, as words of TG-263; the longest first where one begins another.
const SYNONYMS: [(&str, &str); 57] = [
    ("optic chiasm", "opticchiasm"),
    ("optic nerve", "opticnrv"),
    ("nervus opticus", "opticnrv"),
    ("parotid gland", "parotid"),
    ("submandibular gland", "glnd submand"),
    ("submandibular", "glnd submand"),
    ("submand", "glnd submand"),
    ("thyroid gland", "glnd thyroid"),
    ("thyroid", "glnd thyroid"),
    ("lacrimal gland", "glnd lacrimal"),
    ("lacrimal", "glnd lacrimal"),
    ("adrenal gland", "glnd adrenal"),
    ("adrenal", "glnd adrenal"),
    ("small bowel", "bowel small"),
    ("small intestine", "bowel small"),
    ("large bowel", "bowel large"),
    ("large intestine", "bowel large"),
    ("bowel bag", "bag bowel"),
    ("sigmoid colon", "colon sigmoid"),
    ("sigmoid", "colon sigmoid"),
    ("oral cavity", "cavity oral"),
    ("penile bulb", "penilebulb"),
    ("bulb of penis", "penilebulb"),
    ("spinal cord", "spinalcord"),
    ("myelon", "spinalcord"),
    ("cord", "spinalcord"),
    ("spinal canal", "spinalcanal"),
    ("brain stem", "brainstem"),
    ("brachial plexus", "brachialplex"),
    ("femoral head", "femur head"),
    ("head of femur", "femur head"),
    ("inner ear", "ear internal"),
    ("eye ball", "eye"),
    ("eyeball", "eye"),
    ("globe", "eye"),
    ("eye lens", "lens"),
    ("crystalline lens", "lens"),
    ("constrictor muscle", "musc constrict"),
    ("pharyngeal constrictor", "musc constrict"),
    ("constrictor", "musc constrict"),
    ("masseter muscle", "musc masseter"),
    ("masseter", "musc masseter"),
    ("mandible", "bone mandible"),
    ("mandibula", "bone mandible"),
    ("oesophagus", "esophagus"),
    ("urinary bladder", "bladder"),
    ("gall bladder", "gallbladder"),
    ("prostate gland", "prostate"),
    ("seminal vesicles", "seminalves"),
    ("seminal vesicle", "seminalves"),
    ("aorta", "a aorta"),
    ("pulmonary artery", "a pulmonary"),
    ("superior vena cava", "v venacava s"),
    ("svc", "v venacava s"),
    ("inferior vena cava", "v venacava i"),
    ("ivc", "v venacava i"),
    ("patient", "body"),
];

impl Words {
    fn of(name: &str) -> Words {
        let mut words: Vec<String> = split(name);
        let side = |word: &str| match word {
            "l" | "left" | "lt" => Some('L'),
            "r" | "right" | "rt" => Some('R'),
            _ => None,
        };
        let at = words.iter().position(|word| side(word).is_some());
        let side = at.and_then(|at| side(&words.remove(at)));
        let plain = words.join(" ");
        let synonym = SYNONYMS.iter().find(|(said, _)| *said == plain || said.replace(' ', "") == plain);
        let mut root: Vec<String> = match synonym {
            Some((_, meant)) => meant.split(' ').map(str::to_owned).collect(),
            None => words,
        };
        root.sort();
        Words { root: vec![root.concat()], side }
    }
}

/// Words in small letters, parted by what is no letter or digit, and a side that is written on to the end: `LensL`.
fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
        let bytes = part.as_bytes();
        let on_to_it = bytes.len() > 3
            && matches!(bytes[bytes.len() - 1], b'L' | b'R')
            && bytes[bytes.len() - 2].is_ascii_lowercase();
        let (root, side) = part.split_at(part.len() - usize::from(on_to_it));
        words.extend([root, side].iter().filter(|word| !word.is_empty()).map(|word| word.to_lowercase()));
    }
    words
}

impl NameProblem {
    /// The structure that it is about, by its place in the list that was checked.
    pub fn index(&self) -> usize {
        match *self {
            NameProblem::Empty { index }
            | NameProblem::TooLong { index, .. }
            | NameProblem::Character { index, .. }
            | NameProblem::Duplicate { index, .. }
            | NameProblem::SecondExternal { index, .. } => index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Color, RoiType};

    #[test]
    fn says_what_tg_263_calls_it() {
        for (name, expected) in [
            ("Lung_L", Standing::Known),
            ("LUNG_L", Standing::OtherCase("Lung_L")),
            ("L_Lung", Standing::OtherOrder("Lung_L")),
            ("R_Submand_Glnd", Standing::OtherOrder("Glnd_Submand_R")),
            ("Left lung", Standing::Synonym("Lung_L")),
            ("LT LUNG", Standing::Synonym("Lung_L")),
            ("lung_right", Standing::Synonym("Lung_R")),
            ("LensL", Standing::Synonym("Lens_L")),
            ("Right Submandibular Gland", Standing::Synonym("Glnd_Submand_R")),
            ("Brain stem", Standing::Synonym("Brainstem")),
            ("Cord", Standing::Synonym("SpinalCord")),
            ("Mandible", Standing::Synonym("Bone_Mandible")),
            ("Spinal-Cord", Standing::Synonym("SpinalCord")),
            ("Hart", Standing::Unknown(Some("Heart"))),
            ("zOptPTV_5040", Standing::Unknown(None)),
        ] {
            assert_eq!(standing(name, false), expected, "{name}");
        }
        assert_eq!(standing("L_Lung", true), Standing::KnownReversed);
        assert_eq!(standing("Lung_L", true), Standing::OtherOrder("Lung_L"));
        assert_eq!(standing("Heart", true), Standing::Known);
    }

    #[test]
    fn every_synonym_leads_to_a_name_of_the_table() {
        let bilateral = |words: &Words| {
            let both = [None, Some('L')].map(|side| Words { root: words.root.clone(), side });
            all().iter().any(|structure| both.contains(&Words::of(structure.name)))
        };
        let lost: Vec<&str> =
            SYNONYMS.iter().filter(|(said, _)| !bilateral(&Words::of(said))).map(|(said, _)| *said).collect();
        assert_eq!(lost, [""; 0]);
    }

    #[test]
    fn no_two_names_of_the_table_have_the_same_words() {
        for (index, structure) in all().iter().enumerate() {
            let words = Words::of(structure.name);
            let same = all()[..index].iter().find(|other| Words::of(other.name) == words);
            assert_eq!(same.map(|other| other.name), None, "{}", structure.name);
        }
    }

    #[test]
    fn problems_stand_with_their_names() {
        let style = |name: &str| RoiStyle { name: name.into(), roi_type: RoiType::External, color: Color([0; 3]) };
        let found = lint(&[style("Body"), style("BODY"), style("Herz\u{e4}")], NameRules::default(), false);
        let counts: Vec<usize> = found.iter().map(|finding| finding.problems.len()).collect();
        assert_eq!(counts, [0, 2, 2]);
        assert!(found[1].problems[0].contains("differs from structure 0 at most in case"), "{found:?}");
        assert!(found[2].problems[1].contains("a second structure of type EXTERNAL"), "{found:?}");
    }
}
