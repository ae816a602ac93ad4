//! JSON documents with the place of every value, and the problems found in them; it reads no files.
//!
//! A configuration file is parsed into [`Node`]s that know their line and JSON path. Checking code walks the nodes,
//! takes what it needs and adds a [`Problem`] for each thing that is wrong, so that all problems of all files are
//! told at once. Comments (`//`, `/* */`) and trailing commas are allowed; everything else is JSON (RFC 8259).

pub mod shape;

use std::collections::HashSet;
use std::fmt;

use jsonc_parser::ast::Value as Ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

pub use shape::{Key, Shape, Table};

use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, DOCUMENT_PROBLEMS_MAX};

/// One value of a document and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    /// 1-based line of the value.
    pub line: usize,
    /// JSON path from the root, such as `inputs.ct.all[0].tag`; empty at the root.
    pub path: String,
}

/// A JSON value. Numbers keep their text, so that an error can repeat what was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64, String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// One thing that is wrong in a document: where, what was found, what was expected, and the cure where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub file: String,
    /// 1-based; 0 when the problem is not at a line (a file that is missing).
    pub line: usize,
    pub path: String,
    pub found: String,
    pub expected: String,
    pub cure: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        match &self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

/// The problems of one file, collected while it is checked.
#[derive(Debug)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
    /// Of these and of those that are no longer listed: past the most that are told, a part must not pass for good.
    count: usize,
}

impl Problems {
    /// An empty list for the file named `file` in messages.
    pub fn of(file: impl Into<String>) -> Problems {
        Problems { file: file.into(), list: Vec::new(), count: 0 }
    }

    /// Adds a problem at a node.
    pub fn add(&mut self, at: &Node, found: impl Into<String>, expected: impl Into<String>) {
        self.push(at, found.into(), expected.into(), None);
    }

    /// Adds a problem at a node, with what cures it (an imperative clause such as `swap them or raise high`).
    pub fn add_with_cure(
        &mut self,
        at: &Node,
        found: impl Into<String>,
        expected: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.push(at, found.into(), expected.into(), Some(cure.into()));
    }

    fn push(&mut self, at: &Node, found: String, expected: String, cure: Option<String>) {
        self.count += 1;
        if self.list.len() < DOCUMENT_PROBLEMS_MAX {
            let (file, path) = (self.file.clone(), at.path.clone());
            self.list.push(Problem { file, line: at.line, path, found, expected, cure });
        }
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many were found so far, listed or not; comparing two counts tells whether a part of a document is good.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The list, in the order found.
    pub fn into_vec(self) -> Vec<Problem> {
        self.list
    }
}

/// Parses the text of one file. `None` when the text is not JSON, too large or too deep: the reason is in `problems`.
pub fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let root = Node { value: Value::Null, line: 0, path: String::new() };
    if text.len() > DOCUMENT_BYTES_MAX {
        let expected = format!("at most {DOCUMENT_BYTES_MAX} bytes");
        problems.add(&root, format!("a file of {} bytes", text.len()), expected);
        return None;
    }
    if let Some(line) = too_deep(text) {
        let at = Node { line, ..root };
        problems.add(&at, "deeper nesting", format!("at most {DOCUMENT_DEPTH_MAX} levels"));
        return None;
    }
    let strict = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        ..ParseOptions::default()
    };
    match parse_to_ast(text, &CollectOptions::default(), &strict) {
        Ok(parsed) => match parsed.value {
            Some(ast) => Some(Lines::of(text).node(&ast, String::new())),
            None => {
                problems.add(&root, "an empty file", "a JSON object");
                None
            }
        },
        Err(error) => {
            let at = Node { line: error.line_display(), ..root };
            problems.add(&at, format!("text that is not JSON ({})", error.kind()), "JSON");
            None
        }
    }
}

/// The line at which brackets nest deeper than allowed. The parser recurses, so this is asked first.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut line, mut quoted, mut escaped) = (0_usize, 1_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'\n' => line += 1,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DOCUMENT_DEPTH_MAX {
            return Some(line);
        }
    }
    None
}

struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Lines { starts: std::iter::once(0).chain(after).collect() }
    }

    fn node(&self, ast: &Ast<'_>, path: String) -> Node {
        let line = self.starts.partition_point(|&start| start <= ast.start());
        let value = match ast {
            Ast::NullKeyword(_) => Value::Null,
            Ast::BooleanLit(literal) => Value::Bool(literal.value),
            Ast::NumberLit(literal) => {
                Value::Number(literal.value.parse().unwrap_or(f64::NAN), literal.value.to_string())
            }
            Ast::StringLit(literal) => Value::String(literal.value.to_string()),
            Ast::Array(array) => {
                let items = array.elements.iter().enumerate();
                Value::Array(items.map(|(index, item)| self.node(item, format!("{path}[{index}]"))).collect())
            }
            Ast::Object(object) => {
                let fields = object.properties.iter().map(|property| {
                    let key = property.name.as_str().to_owned();
                    let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    let node = self.node(&property.value, inner);
                    (key, node)
                });
                Value::Object(fields.collect())
            }
        };
        Node { value, line, path }
    }
}

impl Node {
    /// What the value is, in words, for messages: `the number 4`, `the text "ct"`, `an array of 2`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(_, text) => format!("the number {text}"),
            Value::String(text) => format!("the text {text:?}"),
            Value::Array(items) => format!("an array of {}", items.len()),
            Value::Object(fields) => format!("an object of {} keys", fields.len()),
        }
    }

    /// The fields of an object, to be taken one by one and then [`Fields::finish`]ed.
    pub fn object<'a>(&'a self, problems: &mut Problems) -> Option<Fields<'a>> {
        match &self.value {
            Value::Object(list) => {
                let mut seen = HashSet::new();
                for (key, node) in list.iter().filter(|(key, _)| !seen.insert(key.as_str())) {
                    problems.add_with_cure(node, format!("{key:?} a second time"), "each key once", "remove one");
                }
                Some(Fields { node: self, list, known: Vec::new() })
            }
            _ => self.wrong("an object", problems),
        }
    }

    /// The names of an object whose author chooses them, each once, with what stands behind them. `what` says which
    /// object is expected where it is none.
    pub fn named(&self, what: &str, problems: &mut Problems) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Object(list) => {
                self.object(problems)?;
                Some(list)
            }
            _ => self.wrong(what, problems),
        }
    }

    /// The items of an array.
    pub fn array(&self, problems: &mut Problems) -> Option<&[Node]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => self.wrong("an array", problems),
        }
    }

    /// A text.
    pub fn text(&self, problems: &mut Problems) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => self.wrong("a text", problems),
        }
    }

    /// True or false.
    pub fn bool(&self, problems: &mut Problems) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong("true or false", problems),
        }
    }

    /// A number between two bounds, both included.
    pub fn number(&self, low: f64, high: f64, problems: &mut Problems) -> Option<f64> {
        match self.value {
            Value::Number(value, _) if (low..=high).contains(&value) => Some(value),
            _ => self.wrong(&format!("a number {}", Bounds(low, high)), problems),
        }
    }

    /// A whole number between two bounds, both included.
    pub fn integer(&self, low: i64, high: i64, problems: &mut Problems) -> Option<i64> {
        match self.value {
            Value::Number(value, _) if value.fract() == 0.0 && (low as f64..=high as f64).contains(&value) => {
                Some(value as i64)
            }
            _ => self.wrong(&format!("a whole number {}", Bounds(low as f64, high as f64)), problems),
        }
    }

    /// One of a closed set of words; the nearest one is offered when the text is close to it.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let found = self.text(problems)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == found) {
            return Some(*value);
        }
        let expected = format!("one of {}", known.join(", "));
        self.report_unknown(found, &known, expected, problems);
        None
    }

    /// Parses a text with `FromStr`; its error must be phrased "found ..., expected ...".
    pub fn parsed<T>(&self, expected: &str, problems: &mut Problems) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        match self.text(problems)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                problems.add(self, format!("{} ({error})", self.describe()), expected);
                None
            }
        }
    }

    fn wrong<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        problems.add(self, self.describe(), expected);
        None
    }

    fn report_unknown(&self, found: &str, known: &[&str], expected: String, problems: &mut Problems) {
        let found_text = format!("{found:?}");
        match nearest(found, known) {
            Some(name) => problems.add_with_cure(self, found_text, expected, format!("did you mean {name:?}?")),
            None => problems.add(self, found_text, expected),
        }
    }
}

struct Bounds(f64, f64);

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (low, high) if low.is_infinite() && high.is_infinite() => f.write_str("of any size"),
            (low, high) if high.is_infinite() || high >= i64::MAX as f64 => write!(f, "of at least {low}"),
            (low, high) if low.is_infinite() => write!(f, "of at most {high}"),
            (low, high) => write!(f, "from {low} to {high}"),
        }
    }
}

/// The fields of an object while they are taken. Every key asked for is known; what is left is an error.
pub struct Fields<'a> {
    node: &'a Node,
    list: &'a [(String, Node)],
    known: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// The object itself, for problems that concern several of its fields.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// A field that may be absent.
    pub fn optional(&mut self, key: &'a str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.list.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// A field that must be there; its absence is a problem.
    pub fn required(&mut self, key: &'a str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.optional(key);
        if found.is_none() {
            problems.add(self.node, format!("no {key:?}"), format!("the key {key:?}"));
        }
        found
    }

    /// Reports every key that was never asked for, with the known keys and the nearest of them.
    pub fn finish(self, problems: &mut Problems) {
        for (key, node) in self.list {
            if !self.known.contains(&key.as_str()) {
                let expected = format!("only the keys {}", self.known.join(", "));
                let found = format!("the unknown key {key:?}");
                match nearest(key, &self.known) {
                    Some(name) => problems.add_with_cure(node, found, expected, format!("did you mean {name:?}?")),
                    None => problems.add(node, found, expected),
                }
            }
        }
    }
}

/// The known name that a mistyped one most likely stands for.
pub fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = |text: &str| text.to_ascii_lowercase().replace(['_', '-', ' '], "");
    // One slip of the hand in a short name (`tsp` for `tps`) is far by the first measure and near by the second.
    let score = |name: &str| {
        let (found, name) = (folded(found), folded(name));
        let slip = found.len().min(name.len()) >= 3 && strsim::osa_distance(&found, &name) == 1;
        strsim::jaro_winkler(&found, &name).max(if slip { 0.85 } else { 0.0 })
    };
    let scored = known.iter().map(|name| (score(name), *name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, walk: impl Fn(&Node, &mut Problems)) -> Vec<String> {
        let mut problems = Problems::of("f.json");
        if let Some(node) = parse(text, &mut problems) {
            walk(&node, &mut problems);
        }
        problems.into_vec().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn tells_line_path_found_expected_and_nearest_key() {
        let told = check("{\n \"a\": {\n  \"treshold\": 4 }, // comment\n}", |node, problems| {
            let mut fields = node.object(problems).expect("an object");
            let mut inner = fields.required("a", problems).and_then(|a| a.object(problems)).expect("an object");
            inner.optional("threshold");
            inner.finish(problems);
            fields.finish(problems);
        });
        assert_eq!(
            told,
            [
                r#"f.json:3: a.treshold: found the unknown key "treshold", expected only the keys threshold; did you mean "threshold"?"#
            ]
        );
    }

    #[test]
    fn counts_on_where_no_more_are_listed() {
        let mut problems = Problems::of("f.json");
        let node = parse("{}", &mut problems).expect("an object");
        for count in 1..=DOCUMENT_PROBLEMS_MAX + 3 {
            problems.add(&node, "this", "that");
            assert_eq!(problems.count(), count, "a part that is wrong is known by the count");
        }
        assert_eq!(problems.into_vec().len(), DOCUMENT_PROBLEMS_MAX);
    }

    #[test]
    fn collects_every_problem() {
        let told = check(r#"{"n": "x", "m": 9, "n": 1}"#, |node, problems| {
            let mut fields = node.object(problems).expect("an object");
            fields.required("n", problems).and_then(|n| n.number(0.0, 1.0, problems));
            fields.required("m", problems).and_then(|m| m.integer(0, 5, problems));
            fields.required("o", problems);
            fields.finish(problems);
        });
        assert_eq!(
            told,
            [
                r#"f.json:1: n: found "n" a second time, expected each key once; remove one"#,
                r#"f.json:1: n: found the text "x", expected a number from 0 to 1"#,
                "f.json:1: m: found the number 9, expected a whole number from 0 to 5",
                r#"f.json:1: found no "o", expected the key "o""#,
            ]
        );
    }

    #[test]
    fn refuses_what_is_not_json_and_what_is_too_deep() {
        assert!(check("{\n\"a\": }", |_, _| {})[0].starts_with("f.json:2: found text that is not JSON"));
        assert_eq!(check("", |_, _| {}), ["f.json: found an empty file, expected a JSON object"]);
        let deep = "[".repeat(100_000);
        assert_eq!(check(&deep, |_, _| {}), ["f.json:1: found deeper nesting, expected at most 64 levels"]);
    }
}
