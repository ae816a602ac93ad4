//! JSON Schemas of the tables of operations, regions and comparisons: one alternative for each entry; it adds none.

use serde_json::{Value, json};

use crate::document::{Key, Shape, Table};
use crate::infer::{Kind, Parameter, post, pre, region};
use crate::limits::{ID_LENGTH_MAX, PATTERN_LENGTH_MAX, SEQUENCE_VALUES_MAX};
use crate::pipeline::{Group, OPERATORS};

/// Operations before a network.
pub(super) fn before() -> Value {
    one_of(pre::TABLE.iter().map(|entry| operation("op", entry.name, entry.doc, entry.parameters, None)))
}

/// Operations after a network, or between steps.
pub(super) fn after() -> Value {
    one_of(operations_after(&[]).into_iter())
}

/// The same with further keys beside their own.
pub(super) fn operations_after(beside: &[Key]) -> Vec<Value> {
    let combine = || Some((["replace", "union", "intersection"], "replace", "with the mask before it"));
    let tables = post::TABLE.iter().map(|entry| keys("op", entry.name, entry.doc, entry.parameters, combine()));
    let widened = tables.map(|mut table| {
        table.keys.splice(0..0, beside.iter().cloned());
        table.schema()
    });
    widened.collect()
}

/// Regions of a crop.
pub(super) fn regions() -> Value {
    let combine = || Some((["union", "intersection", "latest"], "latest", "with the regions before it"));
    let schemas =
        region::TABLE.iter().map(|entry| operation("region", entry.name, entry.doc, entry.parameters, combine()));
    one_of(schemas)
}

fn one_of(schemas: impl Iterator<Item = Value>) -> Value {
    json!({"oneOf": schemas.collect::<Vec<_>>()})
}

type Combine = ([&'static str; 3], &'static str, &'static str);

fn operation(
    word: &'static str,
    name: &'static str,
    doc: &'static str,
    parameters: &[Parameter],
    combine: Option<Combine>,
) -> Value {
    keys(word, name, doc, parameters, combine).schema()
}

fn keys(
    word: &'static str,
    name: &'static str,
    doc: &'static str,
    parameters: &[Parameter],
    combine: Option<Combine>,
) -> Table {
    let mut keys = vec![key(word, Shape::Words(vec![name]), "required", doc)];
    keys.extend(parameters.iter().map(|parameter| {
        let default = match parameter.default {
            None => "required",
            Some("null") => "none",
            Some(default) => default.trim_matches('"'),
        };
        let unit = if parameter.unit.is_empty() { String::new() } else { format!(" In {}.", parameter.unit) };
        key(parameter.name, shape(&parameter.kind), default, &format!("{}{unit}", parameter.doc))
    }));
    if let Some((words, default, with)) = combine {
        let meaning = format!("How the result goes together {with}.");
        keys.push(key("combine", Shape::Words(words.to_vec()), default, &meaning));
    }
    Table { title: name, lead: doc, keys, rules: json!({}) }
}

fn key(name: &'static str, shape: Shape, default: &str, meaning: &str) -> Key {
    Key { name, shape, default: default.to_owned(), meaning: meaning.to_owned() }
}

fn shape(kind: &Kind) -> Shape {
    match *kind {
        Kind::Number { low, high } => Shape::Number { low, high },
        Kind::NumberOr { low, high, word } => {
            Shape::Either(vec![Shape::Number { low, high }, Shape::Words(vec![word])])
        }
        Kind::Integer { low, high } => Shape::Integer { low, high },
        Kind::Choice(words) => Shape::Words(words.to_vec()),
        Kind::Triple { low, high } => Shape::three(Shape::Number { low, high }),
        Kind::Sides { low, high } => {
            let number = Shape::Number { low, high };
            Shape::Either(vec![number.clone(), Shape::three(number.clone()), Shape::list_of(number, 6, 6)])
        }
        Kind::Name => Shape::text(),
        Kind::Names => Shape::list_of(Shape::text(), 1, usize::MAX),
        Kind::Flag => Shape::Flag,
        Kind::Numbers { low, high, count: (least, most) } => Shape::list_of(Shape::Number { low, high }, least, most),
        Kind::Text => Shape::text_of(1, ID_LENGTH_MAX),
        Kind::Regions => Shape::list_of(Shape::Object("region"), 1, usize::MAX),
    }
}

/// A condition on an attribute, or conditions joined.
pub(super) fn condition() -> Value {
    let groups = Group::ALL.iter().map(|(word, _)| {
        let list = json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/condition"}});
        json!({"type": "object", "properties": {*word: list}, "required": [word], "additionalProperties": false})
    });
    one_of(groups.chain([test()]))
}

fn test() -> Value {
    let share = Shape::Either(vec![Shape::Words(vec!["all", "any"]), Shape::Number { low: 0.0, high: 1.0 }]);
    let index = Shape::Integer { low: 0, high: SEQUENCE_VALUES_MAX as i64 - 1 };
    let which = Shape::Either(vec![Shape::Words(vec!["any", "all"]), index]);
    let mut keys = vec![
        key("tag", Shape::text(), "required", "A DICOM keyword, (gggg,eeee), or a path through sequences with dots."),
        key("creator", Shape::text(), "none", "The creator of a private attribute."),
        key("value", which, "`any` or, for orders and `ne`, `all`", "Which values of an attribute that has several."),
        key("every", share, "`all`, inside `none` `any`", "How many images must satisfy it."),
    ];
    for operator in &OPERATORS {
        let meaning = format!("Holds when the value {}.", operator.meaning);
        keys.push(key(operator.name, operand(operator.operand), "none", &meaning));
    }
    let one: Vec<Value> = OPERATORS.iter().map(|operator| json!({"required": [operator.name]})).collect();
    Table { title: "test", lead: "A condition on one attribute of every image.", keys, rules: json!({"oneOf": one}) }
        .schema()
}

/// What an operand may be, by what its table says of it.
fn operand(words: &str) -> Shape {
    let number = Shape::Number { low: f64::MIN, high: f64::MAX };
    let either = Shape::Either(vec![number.clone(), Shape::text()]);
    match words {
        "number" => number,
        "text" => Shape::text_of(1, PATTERN_LENGTH_MAX),
        "true" => Shape::True,
        "number or text" => either,
        "list of numbers or texts" => Shape::list_of(either, 1, usize::MAX),
        "[low, high]" => Shape::Tuple(vec![number.clone(), number]),
        _ => Shape::Object("near"),
    }
}

/// The operand of `near`.
pub(super) fn near() -> Value {
    let number = Shape::Number { low: f64::MIN, high: f64::MAX };
    let keys = vec![
        key("value", number, "required", "The middle."),
        key("tolerance", Shape::Number { low: 0.0, high: f64::MAX }, "required", "The largest difference."),
    ];
    Table { title: "near", lead: "A number and how far from it a value may be.", keys, rules: json!({}) }.schema()
}
