//! What a key of a document may hold, as a value: from it come the reference in words and the JSON Schema; it parses
//! nothing, and tests hold it against the parsers.

use std::fmt;

use serde_json::{Map, Value, json};

/// What may stand at a place. Bounds are included.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Anything: it is not read.
    Any,
    /// A text; how many bytes, and a regular expression that it must match.
    Text {
        least: usize,
        most: usize,
        pattern: Option<String>,
    },
    /// One word of a closed set.
    Words(Vec<&'static str>),
    /// `true` or `false`.
    Flag,
    /// Only `true`.
    True,
    Null,
    Number {
        low: f64,
        high: f64,
    },
    Integer {
        low: i64,
        high: i64,
    },
    /// How many items, and what each is.
    List {
        of: Box<Shape>,
        least: usize,
        most: usize,
    },
    /// A list of as many items as there are shapes.
    Tuple(Vec<Shape>),
    /// An object with names of the author's choice; how many, and what stands behind each.
    Map {
        of: Box<Shape>,
        least: usize,
        most: usize,
    },
    /// An object of known keys, by the title of its table.
    Object(&'static str),
    Either(Vec<Shape>),
}

/// One key of an object.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    /// In Markdown, a JSON value in backticks where one stands for the absent key; `required` where there is none.
    pub default: String,
    pub meaning: String,
}

/// An object of known keys: one table of the reference, one definition of the schema.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: &'static str,
    pub lead: &'static str,
    pub keys: Vec<Key>,
    /// What the keys say of each other, as keywords of JSON Schema; `{}` where they say nothing.
    pub rules: Value,
}

impl Key {
    /// The JSON Schema of what stands behind the key, with its meaning and default.
    pub fn schema(&self) -> Value {
        let mut schema = match self.shape.schema() {
            Value::Object(schema) => schema,
            other => Map::from_iter([("const".to_owned(), other)]),
        };
        schema.insert("description".to_owned(), json!(self.meaning));
        let written = self.default.trim_matches('`');
        let word = matches!(&self.shape, Shape::Words(words) if words.contains(&written));
        let value = if word { Some(json!(written)) } else { serde_json::from_str::<Value>(written).ok() };
        if let Some(value) = value {
            schema.insert("default".to_owned(), value);
        }
        Value::Object(schema)
    }
}

impl Table {
    /// The JSON Schema of the object: no other keys, and which must be there.
    pub fn schema(&self) -> Value {
        let required: Vec<&str> =
            self.keys.iter().filter(|key| key.default == "required").map(|key| key.name).collect();
        let keys: Map<String, Value> = self.keys.iter().map(|key| (key.name.to_owned(), key.schema())).collect();
        let mut schema = Map::from_iter([
            ("type".to_owned(), json!("object")),
            ("description".to_owned(), json!(self.lead)),
            ("properties".to_owned(), Value::Object(keys)),
            ("required".to_owned(), json!(required)),
            ("additionalProperties".to_owned(), json!(false)),
        ]);
        if let Value::Object(rules) = &self.rules {
            schema.extend(rules.clone());
        }
        Value::Object(schema)
    }

    /// The reference of the object in Markdown.
    pub fn reference(&self) -> String {
        let head = "| key | value | default | meaning |\n| --- | --- | --- | --- |";
        let row = |key: &Key| format!("| `{}` | {} | {} | {} |\n", key.name, key.shape, key.default, key.meaning);
        let rows: String = self.keys.iter().map(row).collect();
        format!("### {}\n\n{}\n\n{head}\n{rows}", self.title, self.lead)
    }
}

impl Shape {
    /// Any text.
    pub fn text() -> Shape {
        Shape::Text { least: 0, most: usize::MAX, pattern: None }
    }

    /// A text of so many bytes.
    pub fn text_of(least: usize, most: usize) -> Shape {
        Shape::Text { least, most, pattern: None }
    }

    /// The words of a table that a parser uses.
    pub fn words<T>(table: &[(&'static str, T)]) -> Shape {
        Shape::Words(table.iter().map(|(word, _)| *word).collect())
    }

    /// A list of any length.
    pub fn list(of: Shape) -> Shape {
        Shape::list_of(of, 0, usize::MAX)
    }

    /// A list of so many items.
    pub fn list_of(of: Shape, least: usize, most: usize) -> Shape {
        Shape::List { of: Box::new(of), least, most }
    }

    /// An object of so many names.
    pub fn map(of: Shape, least: usize, most: usize) -> Shape {
        Shape::Map { of: Box::new(of), least, most }
    }

    /// Three of the same.
    pub fn three(of: Shape) -> Shape {
        Shape::Tuple(vec![of.clone(), of.clone(), of])
    }

    /// The JSON Schema; objects are references to `$defs`.
    pub fn schema(&self) -> Value {
        match self {
            Shape::Any => json!({}),
            Shape::Text { least, most, pattern } => {
                let mut schema = sized("string", ("minLength", "maxLength"), *least, *most);
                if let Some(pattern) = pattern {
                    schema.insert("pattern".to_owned(), json!(pattern));
                }
                Value::Object(schema)
            }
            Shape::Words(words) => json!({"enum": words}),
            Shape::Flag => json!({"type": "boolean"}),
            Shape::True => json!({"const": true}),
            Shape::Null => json!({"type": "null"}),
            Shape::Number { low, high } => {
                let mut schema = Map::from_iter([("type".to_owned(), json!("number"))]);
                for (key, bound) in [("minimum", low), ("maximum", high)] {
                    if bound.abs() < f64::MAX {
                        schema.insert(key.to_owned(), whole_or_not(*bound));
                    }
                }
                Value::Object(schema)
            }
            Shape::Integer { low, high } => json!({"type": "integer", "minimum": low, "maximum": high}),
            Shape::List { of, least, most } => {
                let mut schema = sized("array", ("minItems", "maxItems"), *least, *most);
                schema.insert("items".to_owned(), of.schema());
                Value::Object(schema)
            }
            Shape::Tuple(items) => {
                let schemas: Vec<Value> = items.iter().map(Shape::schema).collect();
                json!({"type": "array", "prefixItems": schemas, "items": false, "minItems": items.len()})
            }
            Shape::Map { of, least, most } => {
                let mut schema = sized("object", ("minProperties", "maxProperties"), *least, *most);
                schema.insert("additionalProperties".to_owned(), of.schema());
                Value::Object(schema)
            }
            Shape::Object(title) => json!({"$ref": format!("#/$defs/{}", slug(title))}),
            Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(Shape::schema).collect::<Vec<_>>()}),
        }
    }
}

/// A title as a name in `$defs` and as a link within a page.
pub fn slug(title: &str) -> String {
    title
        .to_ascii_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .collect::<String>()
        .replace(' ', "-")
}

/// A number as people write it: 1 rather than 1.0.
fn whole_or_not(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

fn sized(kind: &str, (low, high): (&str, &str), least: usize, most: usize) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!(kind))]);
    if least > 0 {
        schema.insert(low.to_owned(), json!(least));
    }
    if most < usize::MAX {
        schema.insert(high.to_owned(), json!(most));
    }
    schema
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Any => f.write_str("anything"),
            Shape::Text { .. } => f.write_str("text"),
            Shape::Words(words) => f.write_str(&words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")),
            Shape::Flag => f.write_str("`true`, `false`"),
            Shape::True => f.write_str("`true`"),
            Shape::Null => f.write_str("`null`"),
            Shape::Number { low, high } if low.abs() >= 1e9 && high.abs() >= 1e9 => f.write_str("number"),
            Shape::Number { low, high } => write!(f, "number, {low} to {high}"),
            Shape::Integer { low, high } => write!(f, "whole number, {low} to {high}"),
            Shape::List { of, least, most } => write!(f, "list{} of: {of}", Count(*least, *most)),
            Shape::Tuple(items) => write!(f, "list of {}, each: {}", items.len(), items[0]),
            Shape::Map { of, least, most } => write!(f, "object from name{} to: {of}", Count(*least, *most)),
            Shape::Object(title) => write!(f, "[{title}](#{})", slug(title)),
            Shape::Either(shapes) => {
                f.write_str(&shapes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; or "))
            }
        }
    }
}

/// How many: nothing where any number will do.
struct Count(usize, usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (0, usize::MAX) => Ok(()),
            (least, usize::MAX) => write!(f, " (at least {least})"),
            (least, most) if least == most => write!(f, " ({least})"),
            (least, most) => write!(f, " ({least} to {most})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_same_in_words_and_as_a_schema() {
        let count = Shape::Integer { low: 1, high: 8 };
        for (shape, words, schema) in [
            (Shape::Words(vec!["a", "b"]), "`a`, `b`", json!({"enum": ["a", "b"]})),
            (
                Shape::three(count.clone()),
                "list of 3, each: whole number, 1 to 8",
                json!({"type": "array", "prefixItems": [count.schema(), count.schema(), count.schema()], "items": false, "minItems": 3}),
            ),
            (
                Shape::list_of(Shape::Flag, 1, usize::MAX),
                "list (at least 1) of: `true`, `false`",
                json!({"type": "array", "minItems": 1, "items": {"type": "boolean"}}),
            ),
            (
                Shape::map(Shape::Object("one View"), 1, 3),
                "object from name (1 to 3) to: [one View](#one-view)",
                json!({"type": "object", "minProperties": 1, "maxProperties": 3, "additionalProperties": {"$ref": "#/$defs/one-view"}}),
            ),
            (Shape::Number { low: 0.5, high: f64::MAX }, "number, 0.5 to 1", json!({"type": "number", "minimum": 0.5})),
        ] {
            assert_eq!(shape.schema(), schema);
            if !words.ends_with("to 1") {
                assert_eq!(shape.to_string(), words);
            }
        }
    }
}
