//! Parameters of operations: one table from which their parsing, their reference and their checks come; it computes nothing.

use std::fmt::{self, Write};

use super::region;
use crate::document::{Fields, Node, Problems};
use crate::limits::ID_LENGTH_MAX;

/// One parameter of an operation.
pub struct Parameter {
    /// The key in JSON; the unit is its last part (`radius_mm`).
    pub name: &'static str,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// Unit in words: `mm`, `HU`, `cm3`, `fraction`; empty where there is none.
    pub unit: &'static str,
    pub kind: Kind,
    /// The JSON text taken when the key is absent; `None` makes the key required.
    pub default: Option<&'static str>,
}

/// What a parameter may hold. Bounds are included.
#[derive(Clone, Copy)]
pub enum Kind {
    Number {
        low: f64,
        high: f64,
    },
    /// A number, or a word that stands for something that no number says.
    NumberOr {
        low: f64,
        high: f64,
        word: &'static str,
    },
    Integer {
        low: i64,
        high: i64,
    },
    Choice(&'static [&'static str]),
    /// Three numbers in the order `[slice, row, column]`.
    Triple {
        low: f64,
        high: f64,
    },
    /// Lengths towards the sides of the patient: one for all, three for pairs, or six.
    Sides {
        low: f64,
        high: f64,
    },
    /// The name of one structure: a label of the output, an earlier structure, or one handed in.
    Name,
    /// Names of structures, at least one.
    Names,
    /// `true` or `false`.
    Flag,
    /// A list of numbers; how many, both bounds included.
    Numbers {
        low: f64,
        high: f64,
        count: (usize, usize),
    },
    /// A free name: one that the operation gives (`save_as`), or that of something which may be missing.
    Text,
    /// Regions that are joined one after the other ([`region::TABLE`]).
    Regions,
}

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Integer(i64),
    Choice(&'static str),
    Triple([f64; 3]),
    Sides([f64; 6]),
    Names(Vec<String>),
    Flag(bool),
    Numbers(Vec<f64>),
    Text(String),
    Regions(Vec<region::Region>),
    /// An optional parameter that was left out (its default is `null`).
    Absent,
}

/// The checked values of one operation, by parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments(Vec<(&'static str, Value)>);

impl Arguments {
    /// Takes the parameters of a table from the fields of an operation. Absent ones take their default.
    /// `known` are the names of structures that may be referred to here.
    pub(super) fn parse<'a>(
        parameters: &'static [Parameter],
        fields: &mut Fields<'a>,
        known: &[&str],
        problems: &mut Problems,
    ) -> Arguments {
        let mut values = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let value = match (fields.optional(parameter.name), parameter.default) {
                (Some(node), _) => parameter.kind.parse(node, known, problems),
                (None, Some("null")) => Some(Value::Absent),
                (None, Some(text)) => parameter.parse_default(text),
                (None, None) => {
                    let expected = format!("the key {:?} ({})", parameter.name, parameter.kind);
                    problems.add(fields.node(), format!("no {:?}", parameter.name), expected);
                    None
                }
            };
            values.extend(value.map(|value| (parameter.name, value)));
        }
        Arguments(values)
    }

    fn get(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(key, _)| *key == name);
        &found.expect("an operation asks only for parameters of its own table").1
    }

    /// A number. The test of the tables runs every operation, so a name that is not in its table does not survive it.
    pub(super) fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Number(number) => *number,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// A number of a parameter that may hold a word instead; `None` for the word.
    pub(super) fn number_or(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Value::Number(number) => Some(*number),
            Value::Choice(_) => None,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Integer(number) => *number,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// One word of a closed set.
    pub(super) fn choice(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Choice(word) => word,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// Three numbers `[slice, row, column]`.
    pub(super) fn triple(&self, name: &str) -> [f64; 3] {
        match self.get(name) {
            Value::Triple(numbers) => *numbers,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// Whether an optional parameter was given.
    pub(super) fn has(&self, name: &str) -> bool {
        *self.get(name) != Value::Absent
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Flag(flag) => *flag,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// Lengths to the patient's left, right, anterior, posterior, superior, inferior side.
    pub(super) fn sides(&self, name: &str) -> [f64; 6] {
        match self.get(name) {
            Value::Sides(sides) => *sides,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// A list of numbers; empty when it is optional and was left out.
    pub(super) fn numbers(&self, name: &str) -> &[f64] {
        match self.get(name) {
            Value::Numbers(numbers) => numbers,
            Value::Absent => &[],
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// A free name; `None` when it is optional and was left out.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Value::Text(text) => Some(text),
            Value::Absent => None,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// Regions to be joined.
    pub(super) fn regions(&self, name: &str) -> &[region::Region] {
        match self.get(name) {
            Value::Regions(regions) => regions,
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }

    /// Names that operations give to regions (parameters of kind [`Kind::Text`] called `save_as`), nested ones included.
    pub(super) fn saved_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (name, value) in &self.0 {
            match value {
                Value::Text(text) if *name == "save_as" => names.push(text.as_str()),
                Value::Regions(regions) => names.extend(regions.iter().flat_map(region::Region::saved_names)),
                _ => {}
            }
        }
        names
    }

    /// Names of structures.
    pub(super) fn names(&self, name: &str) -> &[String] {
        match self.get(name) {
            Value::Names(names) => names,
            Value::Absent => &[],
            other => unreachable!("the table of parameters gives {name} as {other:?}"),
        }
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match value {
                Value::Number(number) => write!(f, "{name} {number}")?,
                Value::Integer(number) => write!(f, "{name} {number}")?,
                Value::Choice(word) => write!(f, "{name} {word}")?,
                Value::Triple(numbers) => write!(f, "{name} {numbers:?}")?,
                Value::Sides(numbers) => write!(f, "{name} {numbers:?}")?,
                Value::Names(names) => write!(f, "{name} {}", names.join("+"))?,
                Value::Flag(flag) => write!(f, "{name} {flag}")?,
                Value::Numbers(numbers) => write!(f, "{name} {numbers:?}")?,
                Value::Text(text) => write!(f, "{name} {text}")?,
                Value::Regions(regions) => write!(f, "{} regions", regions.len())?,
                Value::Absent => write!(f, "no {name}")?,
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn parse_default(&self, text: &str) -> Option<Value> {
        let mut problems = Problems::of("the table of operations");
        let node = crate::document::parse(text, &mut problems)?;
        let value = match (self.kind, &node.value) {
            // No name can be known here: the only default of names is the empty list.
            (Kind::Names, crate::document::Value::Array(items)) if items.is_empty() => Some(Value::Names(Vec::new())),
            _ => self.kind.parse(&node, &[], &mut problems),
        };
        assert!(value.is_some() && problems.is_empty(), "the default of {} is one of its values", self.name);
        value
    }

    /// One row of the reference table in Markdown.
    pub(super) fn reference(&self, text: &mut String) {
        let default = match self.default {
            None => "required".to_owned(),
            Some("null") => "none".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let unit = if self.unit.is_empty() { "-" } else { self.unit };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {unit} | {default} | {} |", self.name, self.kind, self.doc);
    }
}

impl Kind {
    fn parse(&self, node: &Node, known: &[&str], problems: &mut Problems) -> Option<Value> {
        match *self {
            Kind::Number { low, high } => node.number(low, high, problems).map(Value::Number),
            Kind::NumberOr { low, high, word } => match &node.value {
                crate::document::Value::String(_) => node.choice(&[(word, word)], problems).map(Value::Choice),
                _ => node.number(low, high, problems).map(Value::Number),
            },
            Kind::Integer { low, high } => node.integer(low, high, problems).map(Value::Integer),
            Kind::Choice(words) => {
                let choices: Vec<(&str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
                node.choice(&choices, problems).map(Value::Choice)
            }
            Kind::Triple { low, high } => parse_triple(node, low, high, problems).map(Value::Triple),
            Kind::Sides { low, high } => parse_sides(node, low, high, problems).map(Value::Sides),
            Kind::Name => parse_name(node, known, problems).map(|name| Value::Names(vec![name])),
            Kind::Names => {
                let items = node.array(problems)?;
                if items.is_empty() {
                    problems.add(node, "an empty list", "at least one name of a structure");
                    return None;
                }
                let names: Vec<Option<String>> = items.iter().map(|item| parse_name(item, known, problems)).collect();
                names.into_iter().collect::<Option<Vec<String>>>().map(Value::Names)
            }
            Kind::Flag => node.bool(problems).map(Value::Flag),
            Kind::Numbers { low, high, count } => parse_numbers(node, (low, high), count, problems).map(Value::Numbers),
            Kind::Text => parse_new_name(node, problems).map(Value::Text),
            Kind::Regions => region::parse_list(node, known, problems).map(Value::Regions),
        }
    }
}

/// Three numbers in the order `[slice, row, column]`, each between two bounds.
pub(super) fn parse_triple(node: &Node, low: f64, high: f64, problems: &mut Problems) -> Option<[f64; 3]> {
    let items = node.array(problems)?;
    let numbers: Vec<f64> = items.iter().filter_map(|item| item.number(low, high, problems)).collect();
    if items.len() != 3 {
        problems.add(node, node.describe(), "three numbers in the order [slice, row, column]");
        return None;
    }
    numbers.try_into().ok()
}

/// A name that is given here.
fn parse_new_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text(problems)?;
    if name.is_empty() || name.len() > ID_LENGTH_MAX || name.chars().any(char::is_control) {
        problems.add(node, node.describe(), format!("a name of 1 to {ID_LENGTH_MAX} bytes"));
        return None;
    }
    Some(name.to_owned())
}

/// A list of numbers.
fn parse_numbers(
    node: &Node,
    (low, high): (f64, f64),
    (least, most): (usize, usize),
    problems: &mut Problems,
) -> Option<Vec<f64>> {
    let items = node.array(problems)?;
    if !(least..=most).contains(&items.len()) {
        problems.add(node, format!("{} numbers", items.len()), format!("{least} to {most}"));
        return None;
    }
    items.iter().map(|item| item.number(low, high, problems)).collect()
}

/// One length, pairs, or six sides, in the order that [`Kind`] tells.
fn parse_sides(node: &Node, low: f64, high: f64, problems: &mut Problems) -> Option<[f64; 6]> {
    let crate::document::Value::Array(items) = &node.value else {
        return node.number(low, high, problems).map(|all| [all; 6]);
    };
    let numbers: Vec<f64> = items.iter().filter_map(|item| item.number(low, high, problems)).collect();
    match (items.len(), numbers.as_slice()) {
        (3, &[si, ap, lr]) => Some([lr, lr, ap, ap, si, si]),
        (6, &[left, right, anterior, posterior, superior, inferior]) => {
            Some([left, right, anterior, posterior, superior, inferior])
        }
        (3 | 6, _) => None,
        (count, _) => {
            let expected = Kind::Sides { low, high }.to_string();
            problems.add(node, format!("a list of {count}"), expected);
            None
        }
    }
}

fn parse_name(node: &Node, known: &[&str], problems: &mut Problems) -> Option<String> {
    let choices: Vec<(&str, usize)> = known.iter().enumerate().map(|(index, name)| (*name, index)).collect();
    let index = node.choice(&choices, problems)?;
    known.get(index).map(|name| (*name).to_owned())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Number { low, high } => write!(f, "a number from {low} to {high}"),
            Kind::NumberOr { low, high, word } => write!(f, "a number from {low} to {high}, or `{word}`"),
            Kind::Integer { low, high } => write!(f, "a whole number from {low} to {high}"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Triple { low, high } => write!(f, "[slice, row, column], each from {low} to {high}"),
            Kind::Sides { low, high } => write!(
                f,
                "a number, [superior and inferior, anterior and posterior, left and right], or [left, right, anterior, posterior, superior, inferior], each from {low} to {high}"
            ),
            Kind::Name => f.write_str("the name of a structure"),
            Kind::Names => f.write_str("a list of names of structures"),
            Kind::Flag => f.write_str("`true` or `false`"),
            Kind::Numbers { low, high, count: (least, most) } if least == most => {
                write!(f, "{least} numbers, each from {low} to {high}")
            }
            Kind::Numbers { low, high, count: (least, most) } => {
                write!(f, "{least} to {most} numbers, each from {low} to {high}")
            }
            Kind::Text => f.write_str("a name"),
            Kind::Regions => f.write_str("a list of regions, see below"),
        }
    }
}

/// The reference of one table of operations in Markdown: name, sentence, source, parameters.
pub(super) fn reference_of(
    title: &str,
    entries: impl Iterator<Item = (&'static str, &'static str, &'static str, &'static [Parameter])>,
) -> String {
    let mut text = format!("## {title}\n");
    for (name, doc, source, parameters) in entries {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "\n### `{name}`\n\n{doc}\n\nSource: {source}.");
        if !parameters.is_empty() {
            text.push_str("\n| parameter | value | unit | default | meaning |\n| --- | --- | --- | --- | --- |\n");
            parameters.iter().for_each(|parameter| parameter.reference(&mut text));
        }
    }
    text
}
