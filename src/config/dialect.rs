//! `dialect` of a peer: a word of the table, or an object that begins with one and overrides single values.

use std::collections::BTreeMap;

use crate::contour::Holes;
use crate::document::{Node, Problems, Value};
use crate::limits::{
    CONTOUR_POINTS_LEAST, CONTOUR_POINTS_MAX, COORDINATE_DECIMALS_MAX, LABEL_LENGTH_MAX, STRUCTURE_NAME_LENGTH_MAX,
    TOLERANCE_PIXELS_MAX,
};
use crate::output::rtstruct::{DIALECTS, Dialect};
use crate::structure::NameRules;

/// Fewest characters of a name that can tell structures apart, with a side at the end.
pub(super) const NAME_LENGTH_LEAST: usize = 8;

/// The words of the table.
pub(super) fn words() -> Vec<(&'static str, &'static str)> {
    DIALECTS.iter().map(|entry| (entry.word, entry.word)).collect()
}

/// Parses a dialect. `None` when anything is wrong.
pub(super) fn parse_dialect(node: &Node, problems: &mut Problems) -> Option<Dialect> {
    if let Value::String(_) = node.value {
        return node.choice(&words(), problems).and_then(Dialect::of);
    }
    let before = problems.count();
    let mut fields = node.object(problems)?;
    let like = fields.optional("like").map_or(Some("generic"), |like| like.choice(&words(), problems));
    let mut dialect = like.and_then(Dialect::of).unwrap_or_default();
    let mut whole = |key, least: usize, most: usize, value: &mut usize, problems: &mut Problems| {
        let found = fields.optional(key).and_then(|node: &Node| node.integer(least as i64, most as i64, problems));
        *value = found.map_or(*value, |found| found as usize);
    };
    whole("name_length", NAME_LENGTH_LEAST, STRUCTURE_NAME_LENGTH_MAX, &mut dialect.name_length, problems);
    whole("label_length", 1, LABEL_LENGTH_MAX, &mut dialect.label_length, problems);
    whole("decimals", 1, COORDINATE_DECIMALS_MAX, &mut dialect.decimals, problems);
    match fields.optional("contour_points") {
        None => {}
        Some(node) if matches!(node.value, Value::Null) => dialect.contour_points = None,
        Some(node) => {
            let found = node.integer(CONTOUR_POINTS_LEAST as i64, CONTOUR_POINTS_MAX as i64, problems);
            dialect.contour_points = found.map(|points| points as usize);
        }
    }
    let tolerance = fields.optional("tolerance_pixels").and_then(|n| n.number(0.0, TOLERANCE_PIXELS_MAX, problems));
    dialect.tolerance_pixels = tolerance.unwrap_or(dialect.tolerance_pixels);
    let holes = fields.optional("holes").and_then(|holes| holes.choice(&Holes::ALL, problems));
    dialect.holes = holes.unwrap_or(dialect.holes);
    let mut flag = |key, value: &mut bool, problems: &mut Problems| {
        *value = fields.optional(key).and_then(|node: &Node| node.bool(problems)).unwrap_or(*value);
    };
    flag("name_spaces", &mut dialect.name_spaces, problems);
    flag("side_first", &mut dialect.side_first, problems);
    flag("empty", &mut dialect.empty, problems);
    flag("roi_creator", &mut dialect.roi_creator, problems);
    let rules = dialect.name_rules();
    dialect.rename = fields.optional("rename").map(|list| parse_rename(list, rules, problems)).unwrap_or_default();
    fields.finish(problems);
    (problems.count() == before).then_some(dialect)
}

/// Names of the site by names of pipelines: such as the destination takes, each once.
fn parse_rename(node: &Node, rules: NameRules, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    if node.object(problems).is_none() {
        return renamed;
    }
    let Value::Object(list) = &node.value else { return renamed };
    for (from, value) in list {
        let Some(to) = value.text(problems) else { continue };
        let legal = !to.is_empty() && to.trim() == to && to.chars().all(|c| rules.allows(c));
        if !legal || to.len() > rules.length_max {
            let most = rules.length_max;
            let spaces = if rules.spaces { "spaces inside, " } else { "" };
            let expected =
                format!("1 to {most} letters, digits, {spaces}and _ - + ~ ^ . ( ), as the dialect takes them");
            problems.add(value, format!("{to:?} ({} characters)", to.chars().count()), expected);
        } else if renamed.values().any(|other| other.eq_ignore_ascii_case(to)) {
            problems.add(value, format!("{to:?} a second time"), "names that differ by more than case");
        }
        renamed.insert(from.clone(), to.to_owned());
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn check(text: &str) -> Result<Dialect, String> {
        let mut problems = Problems::of("p.json");
        let parsed = document::parse(text, &mut problems).and_then(|node| parse_dialect(&node, &mut problems));
        let told: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        parsed.ok_or_else(|| told.join("\n").replace("p.json:1: ", ""))
    }

    #[test]
    fn a_word_is_its_table_and_an_object_overrides_single_values() {
        assert_eq!(check(r#""raystation""#).ok(), Dialect::of("raystation"));
        let text = r#"{"like": "eclipse", "holes": "xor", "contour_points": null, "name_length": 64, "side_first": true,
            "rename": {"Lung_L": "Lunge links"}}"#;
        let dialect = check(text).expect("good");
        let mut expected = Dialect {
            holes: Holes::Xor,
            contour_points: None,
            name_length: 64,
            side_first: true,
            ..Dialect::of("eclipse").expect("known")
        };
        expected.rename.insert("Lung_L".to_owned(), "Lunge links".to_owned());
        assert_eq!(dialect, expected);
        assert_eq!(check("{}").ok(), Some(Dialect::default()));
    }

    #[test]
    fn refuses_each_bad_value() {
        for (text, expected) in [
            (r#"{"like": "varian"}"#, r#"like: found "varian", expected one of generic, eclipse"#),
            (r#"{"name_length": 4}"#, "name_length: found the number 4, expected a whole number from 8 to 64"),
            (
                r#"{"tolerance_pixels": 0.5}"#,
                "tolerance_pixels: found the number 0.5, expected a number from 0 to 0.33",
            ),
            (r#"{"holes": "nested"}"#, r#"holes: found "nested", expected one of keyhole, xor"#),
            (
                r#"{"rename": {"Lung_L": "Left lung"}}"#,
                r#"rename.Lung_L: found "Left lung" (9 characters), expected 1 to 16"#,
            ),
            (r#"{"rename": {"Lung_L": "A", "Lung_R": "a"}}"#, r#"rename.Lung_R: found "a" a second time"#),
            (r#"{"points": 5}"#, r#"points: found the unknown key "points""#),
            ("5", "found the number 5, expected an object"),
        ] {
            let told = check(text).expect_err(text);
            assert!(told.contains(expected), "{text}\n{told}");
        }
    }
}
