//! The rules that names of regions of interest keep so that every planning system takes them; it changes no name.

use thiserror::Error;

use super::{RoiStyle, RoiType};

/// What a destination allows in names. The defaults are what Eclipse and TG-263 allow, the narrowest of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Most characters; 16 by default (the structure ID of Eclipse, and TG-263).
    pub length_max: usize,
    /// Whether spaces are allowed inside; TG-263 has none.
    pub spaces: bool,
}

impl NameRules {
    /// Whether a name may hold the character, spaces but at its ends.
    pub fn allows(&self, c: char) -> bool {
        c.is_ascii_alphanumeric() || "_-+~^.()".contains(c) || (c == ' ' && self.spaces)
    }
}

impl Default for NameRules {
    fn default() -> NameRules {
        NameRules { length_max: 16, spaces: false }
    }
}

/// What is wrong with the names of one structure set. The index is that of the region in the list that was checked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameProblem {
    #[error("structure {index}: found an empty name, expected a TG-263 name such as Lung_L")]
    Empty { index: usize },
    #[error("structure {index}: found the name {name} of {length} characters, expected at most {most}; shorten it")]
    TooLong { index: usize, name: String, length: usize, most: usize },
    #[error(
        "structure {index}: found {character:?} in the name {name:?}, expected letters, digits and _ - + ~ ^ . ( ); planning systems refuse or change others"
    )]
    Character { index: usize, name: String, character: char },
    #[error(
        "structure {index}: found the name {name}, which differs from structure {first} at most in case; planning systems would merge the two, rename one"
    )]
    Duplicate { index: usize, first: usize, name: String },
    #[error(
        "structure {index}: found a second structure of type EXTERNAL, {name}, after structure {first}; a plan has one outline, give one another type"
    )]
    SecondExternal { index: usize, first: usize, name: String },
}

/// Every problem of the names of one structure set, in order; empty when all keep the rules.
pub fn check_names(styles: &[RoiStyle], rules: NameRules) -> Vec<NameProblem> {
    let mut problems = Vec::new();
    for (index, style) in styles.iter().enumerate() {
        let name = style.name.clone();
        problems.extend(check_name(index, &name, rules));
        let same = |other: &RoiStyle| other.name.eq_ignore_ascii_case(&name);
        if let Some(first) = styles[..index].iter().position(same) {
            problems.push(NameProblem::Duplicate { index, first, name: name.clone() });
        }
        let external = |style: &RoiStyle| style.roi_type == RoiType::External;
        if let (true, Some(first)) = (external(style), styles[..index].iter().position(external)) {
            problems.push(NameProblem::SecondExternal { index, first, name });
        }
    }
    problems
}

fn check_name(index: usize, name: &str, rules: NameRules) -> Vec<NameProblem> {
    if name.is_empty() {
        return vec![NameProblem::Empty { index }];
    }
    let mut problems = Vec::new();
    let length = name.chars().count();
    if length > rules.length_max {
        problems.push(NameProblem::TooLong { index, name: name.to_owned(), length, most: rules.length_max });
    }
    let blank_ends = name.starts_with(' ') || name.ends_with(' ');
    let legal = |c: char| rules.allows(c) && !(c == ' ' && blank_ends);
    if let Some(character) = name.chars().find(|&c| !legal(c)) {
        problems.push(NameProblem::Character { index, name: name.to_owned(), character });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::Color;

    fn check(names: &[(&str, RoiType)], rules: NameRules) -> Vec<NameProblem> {
        let style =
            |&(name, roi_type): &(&str, RoiType)| RoiStyle { name: name.into(), roi_type, color: Color([0; 3]) };
        check_names(&names.iter().map(style).collect::<Vec<_>>(), rules)
    }

    #[test]
    fn accepts_names_of_tg_263() {
        let names =
            ["SpinalCord_PRV03", "Lung~_L", "Lungs-GTV", "Body^Ex", "VB_T01"].map(|name| (name, RoiType::Organ));
        assert_eq!(check(&names, NameRules::default()), []);
    }

    #[test]
    fn reports_every_problem_of_every_name() {
        let organ = RoiType::Organ;
        let names = [
            ("", organ),
            ("OpticChiasm_PRV03", organ),
            ("a/b", organ),
            ("Lung L", organ),
            ("Herz\u{e4}", organ),
            ("Heart", RoiType::External),
            ("HEART", RoiType::External),
        ];
        let problems = check(&names, NameRules::default());
        let kinds: Vec<String> =
            problems.iter().map(|p| format!("{p:?}").split(' ').next().unwrap_or("").into()).collect();
        let expected = ["Empty", "TooLong", "Character", "Character", "Character", "Duplicate", "SecondExternal"];
        assert_eq!(kinds, expected);
        assert!(problems[1].to_string().contains("17 characters, expected at most 16"), "{}", problems[1]);
    }

    #[test]
    fn spaces_are_a_matter_of_the_destination_but_never_at_the_ends() {
        let rules = NameRules { length_max: 64, spaces: true };
        assert_eq!(check(&[("Left lung", RoiType::Organ)], rules), []);
        assert_eq!(check(&[("Lung ", RoiType::Organ)], rules).len(), 1);
    }
}
