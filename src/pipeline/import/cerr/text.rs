//! Writes JSON as a person would: short values on one line, long ones a line for each part; it reads none.

use serde_json::Value;

/// Columns that a line should not pass.
const WIDTH: usize = 118;

/// A document with comments above it, each on lines of its own.
pub(super) fn document(comments: &[String], value: &Value) -> String {
    let mut text = String::new();
    for comment in comments {
        wrap(comment, &mut text);
    }
    write(value, 0, 0, &mut text);
    text.push('\n');
    text
}

/// A comment, broken between words.
fn wrap(comment: &str, text: &mut String) {
    let mut line = String::from("//");
    for word in comment.split_whitespace() {
        if line.len() > 2 && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("//");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// On one line: `{ "a": 1 }`.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let parts: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), flat(value))).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// `indent` is that of the line, `taken` what stands before the value on it besides the indent.
fn write(value: &Value, indent: usize, taken: usize, text: &mut String) {
    let one_line = flat(value);
    // The root is always broken up, and so is what does not fit.
    if indent + taken > 0 && indent + taken + one_line.len() <= WIDTH {
        text.push_str(&one_line);
        return;
    }
    let inner = indent + 2;
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push_str("{\n");
            for (index, (key, value)) in fields.iter().enumerate() {
                let key = format!("{}: ", quoted(key));
                text.push_str(&" ".repeat(inner));
                text.push_str(&key);
                write(value, inner, key.len() + 1, text);
                text.push_str(if index + 1 < fields.len() { ",\n" } else { "\n" });
            }
            text.push_str(&" ".repeat(indent));
            text.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            text.push_str("[\n");
            for (index, item) in items.iter().enumerate() {
                text.push_str(&" ".repeat(inner));
                write(item, inner, 1, text);
                text.push_str(if index + 1 < items.len() { ",\n" } else { "\n" });
            }
            text.push_str(&" ".repeat(indent));
            text.push(']');
        }
        _ => text.push_str(&one_line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn short_parts_stay_on_one_line_and_long_ones_are_broken() {
        let long = "x".repeat(100);
        let text = document(&["a word".to_owned()], &json!({"a": [1, 2], "b": {"c": long, "d": 0.5}}));
        let expected =
            format!("// a word\n{{\n  \"a\": [1, 2],\n  \"b\": {{\n    \"c\": \"{long}\",\n    \"d\": 0.5\n  }}\n}}\n");
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({"a": {}, "b": [], "c": [{"d": "\"\n"}, null, true], "e": -1.5e-3});
        assert_eq!(serde_json::from_str::<Value>(&document(&[], &value)).ok(), Some(value));
    }
}
