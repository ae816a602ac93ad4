//! Post-processing of a label map, step by step, as operations on one structure after the other; it runs nothing.
//!
//! Other programs change all labels in one step and then go on with the next. Here a structure runs through all of its
//! operations before the next one begins. So each step writes structures of its own, named after the label and the step,
//! and the last version of a label has the label's name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The steps so far.
pub(super) struct Chain {
    labels: Vec<String>,
    /// What a label is called after the steps so far.
    current: BTreeMap<String, String>,
    entries: Vec<(String, Vec<Value>)>,
    steps: usize,
}

impl Chain {
    pub fn new(labels: &[String]) -> Chain {
        let current = labels.iter().map(|label| (label.clone(), label.clone())).collect();
        Chain { labels: labels.to_vec(), current, entries: Vec::new(), steps: 0 }
    }

    /// Begins the next step: what was made before is what its operations may name.
    pub fn step(&mut self) {
        self.steps += 1;
    }

    /// What a label is called now.
    pub fn name(&self, label: &str) -> String {
        self.current.get(label).cloned().unwrap_or_else(|| label.to_owned())
    }

    /// What several labels are called now.
    pub fn names<'a>(&self, labels: impl Iterator<Item = &'a str>) -> Vec<String> {
        labels.map(|label| self.name(label)).collect()
    }

    /// Adds operations to a label in this step.
    pub fn add(&mut self, label: &str, operations: Vec<Value>) {
        let mut name = format!("{label} after {}", self.steps);
        while self.labels.contains(&name) || self.entries.iter().any(|(taken, _)| *taken == name) {
            name.push('\'');
        }
        let mut all = vec![json!({ "op": "take", "of": [self.name(label)] })];
        all.extend(operations);
        self.entries.push((name.clone(), all));
        self.current.insert(label.to_owned(), name);
    }

    /// Joins labels as a new structure.
    pub fn union(&mut self, name: &str, labels: &[String]) {
        let of = self.names(labels.iter().map(String::as_str));
        self.entries.push((name.to_owned(), vec![json!({ "op": "take", "of": of })]));
    }

    /// The value of `post`; `None` without any step.
    pub fn into_post(self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        // The last version takes the label's name. Where the label itself is named later in the same step, the operations
        // used here (parts of a union) give the same with the label before and after the step.
        let last: BTreeMap<&String, &String> =
            self.current.iter().filter(|(label, name)| label != name).map(|(label, name)| (name, label)).collect();
        let renamed = |name: &String| last.get(name).map_or_else(|| name.clone(), |label| (*label).clone());
        let mut post = Map::new();
        for (name, operations) in &self.entries {
            let operations = operations.iter().cloned().map(|mut operation| {
                for key in ["of", "with"] {
                    if let Some(Value::Array(names)) = operation.get_mut(key) {
                        for name in names {
                            let Some(text) = name.as_str().map(str::to_owned) else { continue };
                            *name = Value::from(renamed(&text));
                        }
                    }
                }
                operation
            });
            let target = renamed(name);
            // A label that begins as itself need not be taken.
            let own = |operation: &Value| operation["op"] == "take" && operation["of"] == json!([target]);
            let operations: Vec<Value> = operations.collect();
            let begin = usize::from(operations.first().is_some_and(own) && operations.len() > 1);
            post.insert(target.clone(), Value::Array(operations[begin..].to_vec()));
        }
        Some(Value::Object(post))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_sees_what_the_one_before_left() {
        let mut chain = Chain::new(&["a".to_owned(), "b".to_owned()]);
        chain.step();
        for (label, other) in [("a", "b"), ("b", "a")] {
            let with = if label == "a" { chain.names([other].into_iter()) } else { vec!["a".to_owned()] };
            chain.add(label, vec![json!({ "op": "largest_component", "with": with })]);
        }
        chain.step();
        chain.add("a", vec![json!({ "op": "fill_holes" })]);
        chain.union("all", &["a".to_owned(), "b".to_owned()]);
        let expected = json!({
            "a after 1": [{ "op": "take", "of": ["a"] }, { "op": "largest_component", "with": ["b"] }],
            "b": [{ "op": "largest_component", "with": ["a"] }],
            "a": [{ "op": "take", "of": ["a after 1"] }, { "op": "fill_holes" }],
            "all": [{ "op": "take", "of": ["a", "b"] }],
        });
        assert_eq!(chain.into_post(), Some(expected));
    }

    #[test]
    fn without_a_step_there_is_nothing() {
        assert_eq!(Chain::new(&["a".to_owned()]).into_post(), None);
    }
}
