//! A document with what a person should know above it, in comments; the JSON is written as by every importer.

use serde_json::Value;

use crate::pipeline::import::pretty;

/// Columns that a comment should not pass.
const WIDTH: usize = 118;

/// Comments, each from a line of its own, then the value.
pub(super) fn document(comments: &[String], value: &Value) -> String {
    let mut text = String::new();
    comments.iter().for_each(|comment| wrap(comment, &mut text));
    text + &pretty::text(value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_broken_between_words() {
        let long = format!("{} end", "word ".repeat(30));
        let text = document(&[long], &Value::Null);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[..2].iter().all(|line| line.starts_with("// ") && line.len() <= WIDTH), "{text}");
        assert!(lines[1].ends_with(" end") && lines[2] == "null");
    }
}
