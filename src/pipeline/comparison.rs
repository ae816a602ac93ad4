//! The comparisons of predicates: one table entry each, from which parser and reference come; it reads no data set.
//!
//! Values are compared by what their value representation means: DS and IS are numbers, so `"1.60"` equals 1.6; code
//! strings ignore case; padding is never significant.

use dicom_core::VR;
use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

use crate::document::{Node, Problems, Value};
use crate::limits::{PATTERN_LENGTH_MAX, PATTERN_SIZE_MAX};

/// What the values of an attribute can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    Number,
    /// Text of which case is significant.
    Text,
    /// Code strings (VR CS): case is not significant.
    Code,
    /// Names of persons: empty components at the end are not significant.
    Name,
    /// Sequences and bulk data: only whether they are there.
    Presence,
    /// Not in the dictionary (private attributes): the operand decides.
    Unknown,
}

impl ValueKind {
    /// The kind that belongs to a value representation (PS3.5 6.2).
    pub fn of(vr: VR) -> ValueKind {
        match vr {
            VR::DS | VR::IS | VR::FL | VR::FD | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV => {
                ValueKind::Number
            }
            VR::CS => ValueKind::Code,
            VR::PN => ValueKind::Name,
            VR::AE | VR::AS | VR::DA | VR::DT | VR::LO | VR::LT | VR::SH | VR::ST | VR::TM => ValueKind::Text,
            VR::UC | VR::UI | VR::UR | VR::UT => ValueKind::Text,
            _ => ValueKind::Presence,
        }
    }

    fn is_text(self) -> bool {
        matches!(self, ValueKind::Text | ValueKind::Code | ValueKind::Name | ValueKind::Unknown)
    }

    fn is_number(self) -> bool {
        matches!(self, ValueKind::Number | ValueKind::Unknown)
    }

    /// A text as it is compared.
    pub fn normalised(self, text: &str) -> String {
        let text = text.trim_matches([' ', '\0']);
        match self {
            ValueKind::Code => text.to_ascii_uppercase(),
            ValueKind::Name => text.trim_end_matches(['^', '=', ' ']).to_owned(),
            _ => text.to_owned(),
        }
    }
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Number(f64),
    /// Normalised by the kind of the attribute.
    Text(String),
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Operand::Number(number) => write!(f, "{number}"),
            Operand::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A comparison with its operands.
#[derive(Clone, Debug)]
pub enum Comparison {
    Eq(Operand),
    Ne(Operand),
    In(Vec<Operand>),
    Contains(String),
    Regex(Regex),
    Glob(GlobMatcher),
    Exists,
    Absent,
    Lt(f64),
    Le(f64),
    Gt(f64),
    Ge(f64),
    Between(f64, f64),
    Near { value: f64, tolerance: f64 },
}

/// One entry of the table: the key in the file, what stands behind it, and what it means.
pub struct Operator {
    pub name: &'static str,
    /// What the operand looks like, for the reference.
    pub operand: &'static str,
    pub meaning: &'static str,
    parse: fn(&Node, ValueKind, &mut Problems) -> Option<Comparison>,
}

/// Every comparison.
pub const OPERATORS: [Operator; 14] = [
    Operator {
        name: "eq",
        operand: "number or text",
        meaning: "equals it",
        parse: |node, kind, problems| operand(node, kind, problems).map(Comparison::Eq),
    },
    Operator {
        name: "ne",
        operand: "number or text",
        meaning: "is there and differs from it",
        parse: |node, kind, problems| operand(node, kind, problems).map(Comparison::Ne),
    },
    Operator { name: "in", operand: "list of numbers or texts", meaning: "equals one of them", parse: one_of },
    Operator { name: "contains", operand: "text", meaning: "has it as a part", parse: contains },
    Operator {
        name: "regex",
        operand: "text",
        meaning: "a part matches the regular expression; `^` and `$` bind it to the ends, `(?i)` ignores case",
        parse: regex,
    },
    Operator {
        name: "glob",
        operand: "text",
        meaning: "the whole matches the pattern of `*`, `?`, `[ab]`, `{one,two}`",
        parse: glob,
    },
    Operator {
        name: "exists",
        operand: "true",
        meaning: "is there with a value",
        parse: |node, _, problems| only_true(node, problems).map(|()| Comparison::Exists),
    },
    Operator {
        name: "absent",
        operand: "true",
        meaning: "is not there or has no value",
        parse: |node, _, problems| only_true(node, problems).map(|()| Comparison::Absent),
    },
    Operator {
        name: "lt",
        operand: "number",
        meaning: "is less",
        parse: |node, kind, problems| number(node, kind, problems).map(Comparison::Lt),
    },
    Operator {
        name: "le",
        operand: "number",
        meaning: "is less or equal",
        parse: |node, kind, problems| number(node, kind, problems).map(Comparison::Le),
    },
    Operator {
        name: "gt",
        operand: "number",
        meaning: "is greater",
        parse: |node, kind, problems| number(node, kind, problems).map(Comparison::Gt),
    },
    Operator {
        name: "ge",
        operand: "number",
        meaning: "is greater or equal",
        parse: |node, kind, problems| number(node, kind, problems).map(Comparison::Ge),
    },
    Operator { name: "between", operand: "[low, high]", meaning: "lies between, both included", parse: between },
    Operator {
        name: "near",
        operand: "{\"value\": x, \"tolerance\": t}",
        meaning: "differs by the tolerance at most",
        parse: near,
    },
];

impl Operator {
    /// Parses the operand for an attribute of the given kind.
    pub(super) fn parse(&self, node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
        (self.parse)(node, kind, problems)
    }
}

impl Comparison {
    /// Whether a text value satisfies it. `text` is one value of the attribute as it stands in the data set. Absence
    /// is judged by the caller: here a value exists.
    pub fn holds_for_text(&self, kind: ValueKind, text: &str) -> bool {
        match self {
            Comparison::Exists => true,
            Comparison::Absent => false,
            Comparison::Eq(Operand::Text(expected)) => kind.normalised(text) == *expected,
            Comparison::Ne(Operand::Text(expected)) => kind.normalised(text) != *expected,
            Comparison::In(list) => {
                list.iter().any(|operand| Comparison::Eq(operand.clone()).holds_for_text(kind, text))
            }
            Comparison::Contains(part) => kind.normalised(text).contains(part.as_str()),
            Comparison::Regex(regex) => regex.is_match(&kind.normalised(text)),
            Comparison::Glob(glob) => glob.is_match(kind.normalised(text)),
            _ => text.trim_matches([' ', '\0']).parse().is_ok_and(|number| self.holds_for_number(number)),
        }
    }

    /// Whether a number satisfies it.
    pub fn holds_for_number(&self, found: f64) -> bool {
        if !found.is_finite() {
            return false;
        }
        match *self {
            Comparison::Eq(Operand::Number(number)) => found == number,
            Comparison::Ne(Operand::Number(number)) => found != number,
            Comparison::Lt(bound) => found < bound,
            Comparison::Le(bound) => found <= bound,
            Comparison::Gt(bound) => found > bound,
            Comparison::Ge(bound) => found >= bound,
            Comparison::Between(low, high) => (low..=high).contains(&found),
            Comparison::Near { value, tolerance } => (found - value).abs() <= tolerance,
            Comparison::In(ref list) => list.contains(&Operand::Number(found)),
            Comparison::Exists => true,
            _ => false,
        }
    }

    /// Whether all values of a multi-valued attribute are asked by default, instead of any of them: for orders and
    /// `ne`, where one value that fits says nothing of the others.
    pub fn asks_all_values(&self) -> bool {
        !matches!(
            self,
            Comparison::Eq(_)
                | Comparison::In(_)
                | Comparison::Contains(_)
                | Comparison::Regex(_)
                | Comparison::Glob(_)
        )
    }

    /// The comparison in words, to follow the name of the attribute.
    pub fn describe(&self) -> String {
        match self {
            Comparison::Eq(operand) => format!("is {operand}"),
            Comparison::Ne(operand) => format!("is not {operand}"),
            Comparison::In(list) => {
                let list: Vec<String> = list.iter().map(Operand::to_string).collect();
                format!("is one of {}", list.join(", "))
            }
            Comparison::Contains(part) => format!("contains {part:?}"),
            Comparison::Regex(regex) => format!("matches the regular expression {:?}", regex.as_str()),
            Comparison::Glob(glob) => format!("matches the pattern {:?}", glob.glob().glob()),
            Comparison::Exists => "has a value".to_owned(),
            Comparison::Absent => "has no value".to_owned(),
            Comparison::Lt(bound) => format!("is less than {bound}"),
            Comparison::Le(bound) => format!("is at most {bound}"),
            Comparison::Gt(bound) => format!("is greater than {bound}"),
            Comparison::Ge(bound) => format!("is at least {bound}"),
            Comparison::Between(low, high) => format!("is between {low} and {high}"),
            Comparison::Near { value, tolerance } => format!("is within {tolerance} of {value}"),
        }
    }
}

fn refuse_presence(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<()> {
    if kind == ValueKind::Presence {
        problems.add(
            node,
            "a comparison of a sequence or of binary data",
            "\"exists\" or \"absent\", or a path into the sequence",
        );
        return None;
    }
    Some(())
}

fn operand(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Operand> {
    refuse_presence(node, kind, problems)?;
    match &node.value {
        Value::Number(number, _) if kind.is_number() && number.is_finite() => Some(Operand::Number(*number)),
        Value::String(text) if kind.is_text() => Some(Operand::Text(kind.normalised(text))),
        _ => {
            let expected = match kind {
                ValueKind::Number => "a number, because the attribute holds numbers",
                ValueKind::Unknown => "a number or a text",
                _ => "a text, because the attribute holds text",
            };
            problems.add(node, node.describe(), expected);
            None
        }
    }
}

fn one_of(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let items = node.array(problems)?;
    if items.is_empty() {
        problems.add(node, "an empty list", "at least one value");
        return None;
    }
    let operands: Vec<Option<Operand>> = items.iter().map(|item| operand(item, kind, problems)).collect();
    operands.into_iter().collect::<Option<Vec<_>>>().map(Comparison::In)
}

fn number(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<f64> {
    if !kind.is_number() {
        problems.add(node, "an order of text", "an attribute that holds numbers, or \"eq\", \"in\", \"regex\"");
        return None;
    }
    node.number(f64::MIN, f64::MAX, problems)
}

fn between(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let [low, high] = node.array(problems)? else {
        problems.add(node, node.describe(), "an array of 2: the low and the high bound");
        return None;
    };
    let (low, high) = (number(low, kind, problems), number(high, kind, problems));
    let (low, high) = (low?, high?);
    if low > high {
        problems.add_with_cure(node, format!("{low} before {high}"), "the lower bound first", "swap them");
        return None;
    }
    Some(Comparison::Between(low, high))
}

fn near(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let mut fields = node.object(problems)?;
    let value = fields.required("value", problems).and_then(|value| number(value, kind, problems));
    let tolerance = fields.required("tolerance", problems).and_then(|t| t.number(0.0, f64::MAX, problems));
    fields.finish(problems);
    Some(Comparison::Near { value: value?, tolerance: tolerance? })
}

fn pattern<'a>(node: &'a Node, kind: ValueKind, problems: &mut Problems) -> Option<&'a str> {
    refuse_presence(node, kind, problems)?;
    if !kind.is_text() {
        problems.add(node, "a pattern for an attribute that holds numbers", "\"eq\", \"in\", \"between\" or \"near\"");
        return None;
    }
    let text = node.text(problems)?;
    if text.is_empty() || text.len() > PATTERN_LENGTH_MAX {
        let found = format!("a pattern of {} bytes", text.len());
        problems.add(node, found, format!("1 to {PATTERN_LENGTH_MAX} bytes"));
        return None;
    }
    Some(text)
}

fn contains(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let part = pattern(node, kind, problems)?;
    Some(Comparison::Contains(if kind == ValueKind::Code { part.to_ascii_uppercase() } else { part.to_owned() }))
}

fn regex(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let text = pattern(node, kind, problems)?;
    let built = RegexBuilder::new(text)
        .case_insensitive(kind == ValueKind::Code)
        .size_limit(PATTERN_SIZE_MAX)
        .dfa_size_limit(PATTERN_SIZE_MAX)
        .nest_limit(32)
        .build();
    match built {
        Ok(regex) => Some(Comparison::Regex(regex)),
        Err(error) => {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            problems.add(node, format!("{text:?} ({last})"), "a regular expression of the regex crate's syntax");
            None
        }
    }
}

fn glob(node: &Node, kind: ValueKind, problems: &mut Problems) -> Option<Comparison> {
    let text = pattern(node, kind, problems)?;
    match GlobBuilder::new(text).case_insensitive(kind == ValueKind::Code).build() {
        Ok(glob) => Some(Comparison::Glob(glob.compile_matcher())),
        Err(error) => {
            problems.add(node, format!("{text:?} ({})", error.kind()), "a pattern of *, ?, [ab] and {one,two}");
            None
        }
    }
}

fn only_true(node: &Node, problems: &mut Problems) -> Option<()> {
    match node.bool(problems)? {
        true => Some(()),
        false => {
            problems.add_with_cure(node, "false", "true", "use \"absent\" for the opposite of \"exists\"");
            None
        }
    }
}
