//! What is gathered while one configuration is read, and how its values are taken; it knows no key.

use serde_json::{Map, Number, Value as Json};

use crate::document::{Fields, Node, Problems, Value};

/// Everything that reading a configuration brings besides the operations themselves.
pub(super) struct Reading {
    pub problems: Problems,
    pub not_expressed: Vec<String>,
    /// A filter of the scan that is being read asks for standardised uptake values.
    pub suv: bool,
    pub notes: Vec<String>,
    /// Structures that the model needs, in the order met.
    pub needs: Vec<Need>,
    /// Names that regions of this model were kept under.
    pub saved: Vec<String>,
    /// Documentation and plumbing, kept word for word.
    pub origin: Map<String, Json>,
}

/// A structure that the model needs from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub name: String,
    pub optional: bool,
    /// Other names that it may have where it was drawn, best first.
    pub aliases: Vec<String>,
    /// Only other models make it (a saved box): nobody draws it.
    pub made_only: bool,
    /// Where it is missing, an operation finds it in the image.
    pub found: bool,
    /// The model has a name of its own for it, because its network finds another structure of the name it is drawn under,
    /// which is the first alias.
    pub told_apart: bool,
}

impl Need {
    /// The name under which it is drawn.
    pub fn drawn_name(&self) -> &str {
        match self.aliases.first() {
            Some(first) if self.told_apart => first,
            _ => &self.name,
        }
    }
}

impl Reading {
    pub fn of(file: &str) -> Reading {
        Reading {
            problems: Problems::of(file),
            not_expressed: Vec::new(),
            suv: false,
            notes: Vec::new(),
            needs: Vec::new(),
            saved: Vec::new(),
            origin: Map::new(),
        }
    }

    /// Notes once what a person should know.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// A structure that must be there, or may be missing. One that is required somewhere is required.
    pub fn need(&mut self, name: &str, optional: bool) -> String {
        match self.needs.iter_mut().find(|need| need.name.eq_ignore_ascii_case(name)) {
            Some(known) => {
                known.optional &= optional;
                known.name.clone()
            }
            None => {
                let (name, aliases) = (name.to_owned(), Vec::new());
                self.needs.push(Need {
                    name: name.clone(),
                    optional,
                    aliases,
                    made_only: false,
                    found: false,
                    told_apart: false,
                });
                name
            }
        }
    }

    /// A structure that an operation finds in the image where it is not given.
    pub fn need_or_find(&mut self, name: &str) -> String {
        let name = self.need(name, true);
        if let Some(need) = self.needs.iter_mut().find(|need| need.name == name) {
            need.found = true;
        }
        name
    }

    /// Keeps a value word for word, by its key.
    pub fn keep(&mut self, key: &str, node: &Node) {
        self.origin.insert(key.to_owned(), json_of(node));
    }

    /// Takes keys that only document or that are plumbing of MATLAB.
    pub fn keep_all<'a>(&mut self, fields: &mut Fields<'a>, keys: &[&'a str], under: &str) {
        for key in keys {
            if let Some(node) = fields.optional(key) {
                self.keep(&format!("{under}{key}"), node);
            }
        }
    }

    /// A text, or a list of texts; an empty text is no text.
    pub fn texts(&mut self, node: &Node) -> Vec<String> {
        let nodes = one_or_many(node);
        nodes
            .iter()
            .filter_map(|node| node.text(&mut self.problems))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// One text that says something.
    pub fn text(&mut self, node: &Node) -> Option<String> {
        let text = node.text(&mut self.problems)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A number, which some write as a text.
    pub fn number(&mut self, node: &Node) -> Option<f64> {
        if let Value::String(text) = &node.value
            && let Ok(number) = text.trim().parse::<f64>()
        {
            return Some(number);
        }
        node.number(f64::MIN, f64::MAX, &mut self.problems)
    }

    /// A list of numbers; how many, both bounds included. One number is a list too.
    pub fn numbers(&mut self, node: &Node, least: usize, most: usize) -> Option<Vec<f64>> {
        let nodes = one_or_many(node);
        let numbers: Vec<f64> = nodes.iter().filter_map(|node| self.number(node)).collect();
        if numbers.len() != nodes.len() {
            return None;
        }
        if !(least..=most).contains(&numbers.len()) {
            let expected =
                if least == most { format!("{least} numbers") } else { format!("{least} to {most} numbers") };
            self.problems.add(node, format!("{} numbers", numbers.len()), expected);
            return None;
        }
        Some(numbers)
    }

    /// Yes or no in any of the forms that configurations use: 1, true, "yes".
    pub fn flag(&mut self, node: &Node) -> bool {
        match &node.value {
            Value::Bool(flag) => *flag,
            Value::Number(number, _) if *number == 0.0 || *number == 1.0 => *number == 1.0,
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" => true,
                "no" | "false" | "0" | "" => false,
                _ => self.no_flag(node),
            },
            _ => self.no_flag(node),
        }
    }

    fn no_flag(&mut self, node: &Node) -> bool {
        self.problems.add(node, node.describe(), "\"yes\" or \"no\", 1 or 0, true or false");
        false
    }

    /// One of several words, without regard to case, as MATLAB code compares them. The nearest is offered.
    pub fn word<T: Copy>(&mut self, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let found = node.text(&mut self.problems)?.trim().to_owned();
        match choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&found)) {
            Some((_, value)) => Some(*value),
            // The problem with its nearest name is told by the document.
            None => node.choice(choices, &mut self.problems),
        }
    }
}

/// The items of an array, or the value itself: MATLAB makes no difference between one object and a list of one.
pub(super) fn one_or_many(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::Array(items) => items.iter().collect(),
        _ => vec![node],
    }
}

/// The value of a key, where the node is an object that has it.
pub(super) fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, node)| node),
        _ => None,
    }
}

/// Whether nothing is said: absent in spirit, though the key is there.
pub(super) fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(..) => false,
    }
}

/// A node as plain JSON.
pub(super) fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number, _) => number_of(*number),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(json_of).collect()),
        Value::Object(fields) => Json::Object(fields.iter().map(|(key, node)| (key.clone(), json_of(node))).collect()),
    }
}

/// A number as it is written by people: whole ones without a fraction, others without the noise of binary fractions.
pub(super) fn number_of(number: f64) -> Json {
    let rounded = (number * 1e9).round() / 1e9;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
        Json::Number(Number::from(rounded as i64))
    } else {
        Number::from_f64(rounded).map_or(Json::Null, Json::Number)
    }
}

/// Centimetres in millimetres.
pub(super) fn mm(cm: f64) -> Json {
    number_of(cm * 10.0)
}
