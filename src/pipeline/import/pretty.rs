//! Writes a JSON value as people write it: short lists and objects on one line, the rest broken; it decides no content.

use serde_json::Value;

use crate::document::{Node, Value as Read};

/// Longest line of the text, as in the rest of the repository.
const LINE_MAX: usize = 118;

/// The text of a value, with a final newline. The children of the key `origin` stay on one line each, however long: no
/// person edits them.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, "", &mut out);
    out.push('\n');
    out
}

/// A value of a document, without its places. Numbers keep their digits as far as a double does.
pub(super) fn value_of(node: &Node) -> Value {
    match &node.value {
        Read::Null => Value::Null,
        Read::Bool(value) => Value::Bool(*value),
        Read::Number(number, text) => number_of(*number, text),
        Read::String(text) => Value::String(text.clone()),
        Read::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Read::Object(fields) => Value::Object(fields.iter().map(|(key, item)| (key.clone(), value_of(item))).collect()),
    }
}

/// Whole numbers that were written as such stay so; `1.0` stays `1.0`.
fn number_of(number: f64, text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(whole) => Value::from(whole),
        Err(_) => Value::from(number),
    }
}

fn write(value: &Value, indent: usize, key: &str, out: &mut String) {
    let line = compact(value);
    let used = indent + if key.is_empty() { 0 } else { key.len() + 4 };
    let nested = nesting(value) > 3 || key == "origin";
    if !nested && used + line.len() < LINE_MAX || is_empty(value) {
        out.push_str(&line);
        return;
    }
    match value {
        Value::Array(items) => {
            out.push('[');
            children(items.iter().map(|item| ("", item)), indent, false, out);
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            children(fields.iter().map(|(name, item)| (name.as_str(), item)), indent, key == "origin", out);
            out.push('}');
        }
        _ => out.push_str(&line),
    }
}

fn children<'a>(items: impl Iterator<Item = (&'a str, &'a Value)>, indent: usize, flat: bool, out: &mut String) {
    let inner = indent + 2;
    for (index, (key, item)) in items.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(inner));
        if !key.is_empty() {
            out.push_str(&Value::from(key).to_string());
            out.push_str(": ");
        }
        if flat { out.push_str(&compact(item)) } else { write(item, inner, key, out) }
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
}

/// One line, with a space after each comma and colon.
fn compact(value: &Value) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(items.iter().map(compact).collect())),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, item)| format!("{}: {}", Value::from(key.as_str()), compact(item)));
            format!("{{ {} }}", list(pairs.collect()))
        }
        other => other.to_string(),
    }
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problems};

    #[test]
    fn reads_back_as_what_was_written() {
        let source = r#"{"id": "m", "spacing": [1.0, 0.7978515625, 3], "list": [{"op": "a", "with": ["b"]}, {"op": "c"}],
            "origin": {"plans": {"a": {"b": {"c": [1, 2, {"d": null}]}}}}, "none": {}, "small": 1e-08}"#;
        let mut problems = Problems::of("f.json");
        let value = value_of(&document::parse(source, &mut problems).expect("JSON"));
        let written = text(&value);
        assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON"), value);
        assert!(written.contains("  \"spacing\": [1.0, 0.7978515625, 3],\n"), "{written}");
        assert!(
            written.contains("    \"plans\": { \"a\": { \"b\": { \"c\": [1, 2, { \"d\": null }] } } }\n"),
            "{written}"
        );
    }
}
