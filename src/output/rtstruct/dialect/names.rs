//! Names of structures as a destination takes them: renamed, in its order, without what it refuses, and short enough.

use std::collections::HashSet;

use super::Dialect;
use crate::structure::{NameRules, reversed};

/// Names for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In the order of the names that were given.
    pub names: Vec<String>,
    /// What had to be changed that the site did not ask for.
    pub warnings: Vec<String>,
}

impl Dialect {
    /// The names of the structures of one set for this destination.
    ///
    /// What the site renames comes first, then the order of sides. A name that fits stays as it is. Of one that is too
    /// long the root is cut, and side and margin stay; where that meets another name (without regard to case) a number
    /// takes the place of its last characters. The same names give the same result.
    pub fn names(&self, wanted: &[&str]) -> Named {
        let rules = self.name_rules();
        let asked: Vec<String> = wanted.iter().map(|name| self.asked(name)).collect();
        let legal: Vec<String> = asked.iter().map(|name| legal(name, rules)).collect();
        let mut taken: HashSet<String> = HashSet::new();
        let mut names: Vec<Option<String>> = Vec::new();
        for name in &legal {
            let free = name.len() <= rules.length_max && taken.insert(name.to_ascii_lowercase());
            names.push(free.then(|| name.clone()));
        }
        let mut warnings = Vec::new();
        let mut give = |(index, name): (usize, Option<String>)| {
            let name = name.unwrap_or_else(|| free_name(&legal[index], rules.length_max, &mut taken));
            if name != asked[index] {
                let most = rules.length_max;
                warnings.push(format!(
                    "{} is called {name} for the dialect {}, which takes names of at most {most} characters that differ by \
                     more than case",
                    asked[index], self.like
                ));
            }
            name
        };
        let names = names.into_iter().enumerate().map(&mut give).collect();
        Named { names, warnings }
    }

    /// What the site wants a structure to be called there.
    fn asked(&self, name: &str) -> String {
        let renamed = self.rename.iter().find(|(from, _)| from.eq_ignore_ascii_case(name));
        match renamed {
            Some((_, to)) => to.clone(),
            None if self.side_first => reversed(name),
            None => name.to_owned(),
        }
    }
}

/// The name without what the destination refuses.
fn legal(name: &str, rules: NameRules) -> String {
    let keep = |c: char| if rules.allows(c) { c } else { '_' };
    let legal: String = name.trim().chars().map(keep).collect();
    if legal.is_empty() { "Structure".to_owned() } else { legal }
}

/// A short name that no other structure has.
fn free_name(name: &str, most: usize, taken: &mut HashSet<String>) -> String {
    let first = shortened(name, most, "");
    if taken.insert(first.to_ascii_lowercase()) {
        return first;
    }
    // There are more numbers than names, so one of them is free.
    let mut number = 2_usize;
    loop {
        let next = shortened(name, most, &number.to_string());
        if taken.insert(next.to_ascii_lowercase()) {
            return next;
        }
        number += 1;
    }
}

/// The name with its root cut so that it fits with a number and with its side and margin.
fn shortened(name: &str, most: usize, number: &str) -> String {
    // TG-263 writes margins with two digits; one is as clear, and may be enough.
    let name = if name.len() > most { name.replacen("_PRV0", "_PRV", 1) } else { name.to_owned() };
    let (root, tail) = name.split_at(tail_of(&name));
    let (root, tail) = if tail.len() * 2 > most { (name.as_str(), "") } else { (root, tail) };
    let room = most.saturating_sub(tail.len() + number.len());
    let cut: String = root.chars().take(room).collect();
    format!("{}{number}{tail}", cut.trim_end_matches(['_', ' ', '-', '.']))
}

/// Where the side and the margin at the end of a name begin.
fn tail_of(name: &str) -> usize {
    let mut begin = name.len();
    while let Some(at) = name[..begin].rfind('_').filter(|at| *at > 0) {
        let part = &name[at + 1..begin];
        let side =
            matches!(part, "L" | "R" | "A" | "P" | "S" | "I") || matches!(part, "RUL" | "RML" | "RLL" | "LUL" | "LLL");
        let margin =
            part.strip_prefix("PRV").is_some_and(|mm| !mm.is_empty() && mm.bytes().all(|b| b.is_ascii_digit()));
        if !side && !margin {
            break;
        }
        begin = at;
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Color, RoiStyle, RoiType, check_names};

    fn check(dialect: &Dialect, wanted: &[&str], expected: &[&str]) -> Vec<String> {
        let named = dialect.names(wanted);
        assert_eq!(named.names, expected);
        assert_eq!(dialect.names(wanted), named, "deterministic");
        let style = |name: &String| RoiStyle { name: name.clone(), roi_type: RoiType::Organ, color: Color([0; 3]) };
        let styles: Vec<RoiStyle> = named.names.iter().map(style).collect();
        assert_eq!(check_names(&styles, dialect.name_rules()), []);
        named.warnings
    }

    #[test]
    fn short_names_stay_and_long_ones_keep_their_side() {
        let dialect = Dialect::default();
        assert_eq!(check(&dialect, &["Lung_L", "SpinalCord_PRV05"], &["Lung_L", "SpinalCord_PRV05"]), [""; 0]);
        let wanted = ["OpticChiasm_PRV03", "SubmandibularGland_L", "SubmandibularGland_R", "Heart and vessels"];
        let told =
            check(&dialect, &wanted, &["OpticChiasm_PRV3", "SubmandibularG_L", "SubmandibularG_R", "Heart_and_vessel"]);
        assert_eq!(told.len(), 4);
        assert!(
            told[0].starts_with("OpticChiasm_PRV03 is called OpticChiasm_PRV3 for the dialect generic"),
            "{told:?}"
        );
    }

    #[test]
    fn names_that_meet_are_told_apart_by_numbers_and_a_name_that_fits_never_changes() {
        let dialect = Dialect::default();
        let wanted = ["A_name_of_seventeen", "A_name_of_sevent", "a_Name_of_seventeen2", "Lung_l", "LUNG_L"];
        check(&dialect, &wanted, &["A_name_of_seven2", "A_name_of_sevent", "a_Name_of_seven3", "Lung_l", "LUNG2_L"]);
        let many: Vec<String> = (0..300).map(|k| format!("SubmandibularGland{k}_L")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let named = dialect.names(&many);
        let set: HashSet<String> = named.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(set.len(), 300);
        assert!(named.names.iter().all(|name| name.len() <= 16 && name.ends_with("_L")));
    }

    #[test]
    fn sites_rename_and_turn_names_around_without_a_warning() {
        let mut dialect = Dialect { side_first: true, name_spaces: true, ..Dialect::default() };
        dialect.rename.insert("heart".to_owned(), "Cor totum".to_owned());
        let wanted = ["Lung_L", "Heart", "Glnd_Submand_R", "Bladder_Wall", "Mass_L"];
        assert_eq!(
            check(&dialect, &wanted, &["L_Lung", "Cor totum", "R_Submand_Glnd", "Bladder_Wall", "L_Mass"]),
            [""; 0]
        );
    }
}
