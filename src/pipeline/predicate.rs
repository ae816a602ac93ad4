//! Predicates over the headers of a series: trees of `all`, `any`, `none` over comparisons; it evaluates nothing.
//!
//! A comparison is asked of every instance of the series, never of one of them. By default all instances must satisfy
//! it; inside `none`, one instance that does is enough, so that `none` means "in no instance". `every` says otherwise.

use super::comparison::{Comparison, OPERATORS};
use super::tag_path::{TagPath, TagPathError};
use crate::document::{Fields, Node, Problems, Value};
use crate::limits::SEQUENCE_VALUES_MAX;

/// One node of the tree.
#[derive(Clone, Debug)]
pub enum Predicate {
    Group { group: Group, of: Vec<Predicate>, path: String },
    Test(Test),
}

/// How the nodes of a group are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    All,
    Any,
    None,
}

impl Group {
    /// Every group with its key in the file.
    pub const ALL: [(&'static str, Group); 3] = [("all", Group::All), ("any", Group::Any), ("none", Group::None)];

    /// The key in the file.
    pub fn key(self) -> &'static str {
        match self {
            Group::All => "all",
            Group::Any => "any",
            Group::None => "none",
        }
    }
}

/// A comparison of one attribute over the instances of a series.
#[derive(Clone, Debug)]
pub struct Test {
    pub tag: TagPath,
    pub comparison: Comparison,
    pub which: Which,
    pub every: Every,
    /// JSON path of the test in its file, for traces.
    pub path: String,
}

/// Which values of a multi-valued attribute are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// At least one value.
    Any,
    /// Each value.
    All,
    /// The value at this index; an attribute that has fewer does not satisfy the test.
    Index(usize),
}

/// How many of the instances must satisfy a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    All,
    Any,
    /// At least this share, above 0 and at most 1.
    Share(f64),
}

impl Every {
    /// Whether `holding` of `of` instances are enough. No instance satisfies nothing.
    pub fn is_met(self, holding: usize, of: usize) -> bool {
        match self {
            Every::All => of > 0 && holding == of,
            Every::Any => holding > 0,
            Every::Share(share) => of > 0 && holding as f64 >= share * of as f64,
        }
    }

    /// In words, for traces.
    pub fn describe(self) -> String {
        match self {
            Every::All => "every instance".to_owned(),
            Every::Any => "an instance".to_owned(),
            Every::Share(share) => format!("at least {} % of the instances", share * 100.0),
        }
    }
}

impl Predicate {
    /// The predicate of an object whose keys `all`, `any` and `none` may stand beside others, which the caller takes.
    /// Several of them must hold together; without any, every series satisfies it.
    pub(super) fn of_fields<'a>(fields: &mut Fields<'a>, problems: &mut Problems) -> Predicate {
        let path = fields.node().path.clone();
        let groups = Group::ALL.iter().filter_map(|(key, group)| {
            let node = fields.optional(key)?;
            parse_group(*group, node, false, problems)
        });
        let mut groups: Vec<Predicate> = groups.collect();
        match groups.len() {
            1 => groups.remove(0),
            _ => Predicate::Group { group: Group::All, of: groups, path },
        }
    }

    fn parse(node: &Node, negated: bool, problems: &mut Problems) -> Option<Predicate> {
        let Value::Object(list) = &node.value else {
            problems.add(node, node.describe(), "an object with \"tag\", or with \"all\", \"any\" or \"none\"");
            return None;
        };
        let group = Group::ALL.iter().find(|(key, _)| list.iter().any(|(name, _)| name == key));
        let Some((key, group)) = group else {
            return parse_test(node, negated, problems).map(Predicate::Test);
        };
        let mut fields = node.object(problems)?;
        let inner = fields.required(key, problems).and_then(|list| parse_group(*group, list, negated, problems));
        fields.finish(problems);
        inner
    }
}

fn parse_group(group: Group, node: &Node, negated: bool, problems: &mut Problems) -> Option<Predicate> {
    let items = node.array(problems)?;
    if items.is_empty() {
        problems.add(node, "an empty list", "at least one condition");
        return None;
    }
    let negated = negated != (group == Group::None);
    let of: Vec<Option<Predicate>> = items.iter().map(|item| Predicate::parse(item, negated, problems)).collect();
    let of = of.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Predicate::Group { group, of, path: node.path.clone() })
}

fn parse_test(node: &Node, negated: bool, problems: &mut Problems) -> Option<Test> {
    let mut fields = node.object(problems)?;
    let creator = fields.optional("creator").and_then(|creator| creator.text(problems));
    let tag = fields.required("tag", problems).and_then(|tag| parse_tag(tag, creator, problems));
    let kind = tag.as_ref().map(TagPath::kind);
    let mut operators = Vec::new();
    for operator in &OPERATORS {
        if let Some(operand) = fields.optional(operator.name) {
            operators.push((operator, operand));
        }
    }
    let comparison = match (operators.as_slice(), kind) {
        ([(operator, operand)], Some(kind)) => operator.parse(operand, kind, problems),
        ([_], None) => None,
        (found, _) => {
            let names = OPERATORS.map(|operator| operator.name).join(", ");
            let expected = format!("exactly one of {names}");
            match found.len() {
                0 => problems.add(node, "no comparison", expected),
                count => problems.add_with_cure(node, format!("{count} comparisons"), expected, "join them by \"all\""),
            }
            None
        }
    };
    let which = fields.optional("value").map(|value| parse_which(value, problems));
    let every = fields.optional("every").map(|every| parse_every(every, problems));
    fields.finish(problems);
    let (tag, comparison) = (tag?, comparison?);
    let default_which = if comparison.asks_all_values() { Which::All } else { Which::Any };
    let default_every = if negated { Every::Any } else { Every::All };
    let which = which.map_or(Some(default_which), |which| which)?;
    let every = every.map_or(Some(default_every), |every| every)?;
    Some(Test { tag, comparison, which, every, path: node.path.clone() })
}

fn parse_tag(node: &Node, creator: Option<&str>, problems: &mut Problems) -> Option<TagPath> {
    match TagPath::parse(node.text(problems)?, creator) {
        Ok(tag) => Some(tag),
        Err(TagPathError::Unknown { found, nearest }) => {
            let (found, expected) = (format!("{found:?}"), "a DICOM keyword such as SeriesDescription, or (gggg,eeee)");
            match nearest {
                Some(name) => problems.add_with_cure(node, found, expected, format!("did you mean {name:?}?")),
                None => problems.add(node, found, expected),
            }
            None
        }
        Err(error) => {
            let text = error.to_string();
            let (found, expected) = text.split_once(", expected ").unwrap_or((&text, "the name of an attribute"));
            problems.add(node, found.trim_start_matches("found "), expected);
            None
        }
    }
}

fn parse_which(node: &Node, problems: &mut Problems) -> Option<Which> {
    match &node.value {
        Value::String(text) if text == "any" => Some(Which::Any),
        Value::String(text) if text == "all" => Some(Which::All),
        Value::Number(number, _) if number.fract() == 0.0 && (0.0..SEQUENCE_VALUES_MAX as f64).contains(number) => {
            Some(Which::Index(*number as usize))
        }
        _ => {
            problems.add(node, node.describe(), "\"any\", \"all\" or the index of a value, from 0");
            None
        }
    }
}

fn parse_every(node: &Node, problems: &mut Problems) -> Option<Every> {
    match &node.value {
        Value::String(text) if text == "any" => Some(Every::Any),
        Value::String(text) if text == "all" => Some(Every::All),
        Value::Number(number, _) if *number > 0.0 && *number <= 1.0 => Some(Every::Share(*number)),
        _ => {
            problems.add(node, node.describe(), "\"all\", \"any\" or a share of the instances above 0 and up to 1");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    /// The messages for one condition, without file and line; what it became when there are none.
    fn check(text: &str) -> Vec<String> {
        let mut problems = Problems::of("f");
        let node = document::parse(text, &mut problems).expect("JSON");
        let parsed = Predicate::parse(&node, false, &mut problems);
        let told: Vec<String> = problems.into_vec().iter().map(|p| p.to_string().replace("f:1: ", "")).collect();
        assert!(parsed.is_some() || !told.is_empty(), "a value or problems, {text}");
        match parsed {
            _ if !told.is_empty() => told,
            Some(Predicate::Test(test)) => {
                vec![format!("{} {} {:?} {:?}", test.tag, test.comparison.describe(), test.which, test.every)]
            }
            Some(Predicate::Group { group, of, .. }) => vec![format!("{} of {}", group.key(), of.len())],
            None => told,
        }
    }

    #[test]
    fn reads_every_comparison() {
        for (text, expected) in [
            (r#"{"tag": "Modality", "eq": "ct "}"#, r#"Modality is "CT" Any All"#),
            (r#"{"tag": "Modality", "ne": "CT"}"#, r#"Modality is not "CT" All All"#),
            (r#"{"tag": "Modality", "in": ["CT", "MR"]}"#, r#"Modality is one of "CT", "MR" Any All"#),
            (r#"{"tag": "KVP", "in": [100, 120]}"#, "KVP is one of 100, 120 Any All"),
            (r#"{"tag": "ImageType", "contains": "Local"}"#, r#"ImageType contains "LOCAL" Any All"#),
            (
                r#"{"tag": "SeriesDescription", "regex": "(?i)dose"}"#,
                r#"SeriesDescription matches the regular expression "(?i)dose" Any All"#,
            ),
            (
                r#"{"tag": "SeriesDescription", "glob": "*thorax*"}"#,
                r#"SeriesDescription matches the pattern "*thorax*" Any All"#,
            ),
            (r#"{"tag": "PixelMeasuresSequence", "exists": true}"#, "PixelMeasuresSequence has a value All All"),
            (r#"{"tag": "KVP", "absent": true}"#, "KVP has no value All All"),
            (r#"{"tag": "KVP", "lt": 1}"#, "KVP is less than 1 All All"),
            (r#"{"tag": "KVP", "le": 1}"#, "KVP is at most 1 All All"),
            (r#"{"tag": "KVP", "gt": 1}"#, "KVP is greater than 1 All All"),
            (r#"{"tag": "KVP", "ge": 1}"#, "KVP is at least 1 All All"),
            (r#"{"tag": "KVP", "between": [0.5, 5.0], "every": "any"}"#, "KVP is between 0.5 and 5 All Any"),
            (
                r#"{"tag": "KVP", "near": {"value": 3, "tolerance": 0.1}, "every": 0.95}"#,
                "KVP is within 0.1 of 3 All Share(0.95)",
            ),
            (r#"{"tag": "ImageType", "eq": "PRIMARY", "value": 1}"#, r#"ImageType is "PRIMARY" Index(1) All"#),
            (r#"{"any": [{"tag": "KVP", "lt": 1}, {"all": [{"tag": "KVP", "lt": 1}]}]}"#, "any of 2"),
        ] {
            assert_eq!(check(text), [expected], "{text}");
        }
    }

    #[test]
    fn refuses_what_makes_no_sense_with_the_cure() {
        for (text, expected) in [
            (
                r#"{"tag": "Modalty", "eq": "CT"}"#,
                r#"tag: found "Modalty", expected a DICOM keyword such as SeriesDescription, or (gggg,eeee); did you mean "Modality"?"#,
            ),
            (
                r#"{"tag": "(0043,1039)", "eq": "x"}"#,
                r#"tag: found the private attribute (0043,1039) without its creator, expected "creator" beside "tag""#,
            ),
            (
                r#"{"tag": "Modality", "lt": 3}"#,
                r#"lt: found an order of text, expected an attribute that holds numbers, or "eq", "in", "regex""#,
            ),
            (
                r#"{"tag": "SliceThickness", "eq": "3"}"#,
                r#"eq: found the text "3", expected a number, because the attribute holds numbers"#,
            ),
            (
                r#"{"tag": "Modality", "eq": 3}"#,
                "eq: found the number 3, expected a text, because the attribute holds text",
            ),
            (
                r#"{"tag": "SliceThickness", "between": [5, 1]}"#,
                "between: found 5 before 1, expected the lower bound first; swap them",
            ),
            (
                r#"{"tag": "SliceThickness", "between": [5]}"#,
                "between: found an array of 1, expected an array of 2: the low and the high bound",
            ),
            (
                r#"{"tag": "SliceThickness", "regex": "3"}"#,
                r#"regex: found a pattern for an attribute that holds numbers, expected "eq", "in", "between" or "near""#,
            ),
            (
                r#"{"tag": "PixelMeasuresSequence", "eq": "x"}"#,
                r#"eq: found a comparison of a sequence or of binary data, expected "exists" or "absent", or a path into the sequence"#,
            ),
            (
                r#"{"tag": "Modality", "exists": false}"#,
                r#"exists: found false, expected true; use "absent" for the opposite of "exists""#,
            ),
            (r#"{"tag": "Modality", "in": []}"#, "in: found an empty list, expected at least one value"),
            (r#"{"all": []}"#, "all: found an empty list, expected at least one condition"),
            (
                r#"{"tag": "Modality", "eq": "CT", "value": -1}"#,
                r#"value: found the number -1, expected "any", "all" or the index of a value, from 0"#,
            ),
            (
                r#"{"tag": "Modality", "eq": "CT", "every": 0}"#,
                r#"every: found the number 0, expected "all", "any" or a share of the instances above 0 and up to 1"#,
            ),
            ("3", r#"found the number 3, expected an object with "tag", or with "all", "any" or "none""#),
        ] {
            assert_eq!(check(text), [expected], "{text}");
        }
        assert!(check(r#"{"tag": "Modality", "equals": "CT"}"#).iter().any(|told| told.contains("equals")));
        assert!(check(r#"{"tag": "Modality", "eq": "CT", "ne": "MR"}"#)[0].contains("found 2 comparisons"));
        assert!(check(r#"{"all": [{"tag": "KVP", "lt": 1}], "any": [{"tag": "KVP", "lt": 1}]}"#)[0].contains("any"));
        assert!(check(r#"{"tag": "StationName", "regex": "a("}"#)[0].contains("unclosed group"));
        assert!(check(r#"{"tag": "StationName", "glob": "a["}"#)[0].contains("a pattern of"));
    }

    #[test]
    fn bounds_regular_expressions() {
        assert!(check(r#"{"tag": "StationName", "regex": "(a{1000}){1000}"}"#)[0].contains("size"));
        let long = format!(r#"{{"tag": "StationName", "regex": "{}"}}"#, "a".repeat(2_000));
        assert!(check(&long)[0].contains("a pattern of 2000 bytes"));
        let deep = format!(r#"{{"tag": "StationName", "regex": "{}a{}"}}"#, "(".repeat(60), ")".repeat(60));
        assert!(check(&deep)[0].contains("nest"), "{:?}", check(&deep));
    }

    #[test]
    fn asks_for_one_instance_inside_none_and_for_all_in_a_double_negation() {
        let every = |text: &str| {
            let mut problems = Problems::of("f");
            let node = document::parse(text, &mut problems).expect("JSON");
            let mut at = Predicate::parse(&node, false, &mut problems).expect("legal");
            while let Predicate::Group { mut of, .. } = at {
                at = of.remove(0);
            }
            match at {
                Predicate::Test(test) => test.every,
                Predicate::Group { .. } => unreachable!(),
            }
        };
        assert_eq!(every(r#"{"none": [{"tag": "KVP", "lt": 1}]}"#), Every::Any);
        assert_eq!(every(r#"{"none": [{"any": [{"tag": "KVP", "lt": 1}]}]}"#), Every::Any);
        assert_eq!(every(r#"{"none": [{"none": [{"tag": "KVP", "lt": 1}]}]}"#), Every::All);
        assert_eq!(every(r#"{"none": [{"tag": "KVP", "lt": 1, "every": "all"}]}"#), Every::All);
    }

    #[test]
    fn no_instance_meets_no_quantifier() {
        assert!(!Every::All.is_met(0, 0) && !Every::Any.is_met(0, 0) && !Every::Share(0.5).is_met(0, 0));
        assert!(Every::Share(0.95).is_met(19, 20) && !Every::Share(0.95).is_met(18, 20));
    }
}
