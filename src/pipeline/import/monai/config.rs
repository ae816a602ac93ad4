//! The language of bundle configurations: references, expressions, components; it knows no transform.
//!
//! Facts: MONAI 1.6.1, bundle/config_parser.py, reference_resolver.py, config_item.py. `@a::b::0` is the value of another
//! entry (`#` is the older separator), `$` begins Python, `%` takes another entry's text, `_target_` names a class,
//! `_disabled_` leaves a component out.

use std::cell::Cell;

use super::expression::{Names, evaluate, is_true};
use crate::document::{Node, Problems, Value};

/// Deepest chain of references; people write two or three.
const REFERENCES_MAX: usize = 64;

/// A configuration file.
pub(super) struct Config<'a> {
    root: &'a Node,
    depth: Cell<usize>,
}

/// A class with its arguments, as written.
#[derive(Clone)]
pub(super) struct Component {
    /// The last part of `_target_`, such as `Spacingd`.
    pub name: String,
    /// Whether it is MONAI's: `scripts.my.Thing` is not.
    pub of_monai: bool,
    pub node: Node,
}

impl<'a> Config<'a> {
    pub fn new(root: &'a Node) -> Config<'a> {
        Config { root, depth: Cell::new(0) }
    }

    /// An entry of the file by its id.
    pub fn entry(&self, id: &str) -> Option<&'a Node> {
        let mut node = self.root;
        for part in id.replace('#', "::").split("::").filter(|part| !part.is_empty()) {
            node = match &node.value {
                Value::Object(fields) => fields.iter().find(|(key, _)| key == part).map(|(_, node)| node)?,
                Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The value of a node, with references and expressions in it evaluated; components stay as written.
    ///
    /// # Errors
    /// What cannot be evaluated, in words.
    pub fn value(&self, node: &Node) -> Result<Node, String> {
        let at = |value| Node { value, line: node.line, path: node.path.clone() };
        match &node.value {
            Value::String(text) => match text.split_at_checked(1) {
                Some(("@", id)) if is_id(id) => self.follow(id).map(at),
                Some(("%", id)) if is_id(id) => self.follow(id).map(at),
                Some(("%", _)) => Err(format!("{text:?}, which takes the text of another file")),
                Some(("$", expression)) => {
                    let names = Here { config: self, node };
                    evaluate(expression, &names).map(at).map_err(|why| format!("{text:?}: {why}"))
                }
                _ => Ok(node.clone()),
            },
            Value::Array(items) => {
                let items = items.iter().map(|item| self.value(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(at(Value::Array(items)))
            }
            Value::Object(fields) if !fields.iter().any(|(key, _)| key == "_target_") => {
                let fields = fields.iter().map(|(key, item)| Ok((key.clone(), self.value(item)?)));
                Ok(at(Value::Object(fields.collect::<Result<Vec<_>, String>>()?)))
            }
            _ => Ok(node.clone()),
        }
    }

    fn follow(&self, id: &str) -> Result<Value, String> {
        let node = self.entry(id).ok_or_else(|| format!("the reference \"@{id}\" to what is not there"))?;
        if self.depth.get() >= REFERENCES_MAX {
            return Err(format!("the reference \"@{id}\", which leads back to itself"));
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.value(node);
        self.depth.set(self.depth.get() - 1);
        value.map(|node| node.value)
    }

    /// The component of a node, followed through references; `None` when it is disabled.
    pub fn component(&self, node: &Node, problems: &mut Problems) -> Option<Component> {
        let node = self.told(node, self.value(node), problems)?;
        let Value::Object(fields) = &node.value else {
            problems.add(&node, node.describe(), "a component with \"_target_\"");
            return None;
        };
        let field = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, node)| node);
        if let Some(disabled) = field("_disabled_")
            && is_true(&self.told(disabled, self.value(disabled), problems)?.value)
        {
            return None;
        }
        let Some(target) = field("_target_") else {
            problems.add(&node, node.describe(), "a component with \"_target_\"");
            return None;
        };
        let path = target.text(problems)?;
        let name = path.rsplit('.').next().unwrap_or(path).to_owned();
        Some(Component { name, of_monai: !path.contains('.') || path.starts_with("monai."), node: node.clone() })
    }

    /// The transforms of `Compose`, of a list, or the one transform, in order, without those that are disabled.
    pub fn transforms(&self, node: &Node, problems: &mut Problems) -> Vec<Component> {
        let Some(node) = self.told(node, self.value(node), problems) else { return Vec::new() };
        if let Value::Array(items) = &node.value {
            return items.iter().flat_map(|item| self.transforms(item, problems)).collect();
        }
        let Some(component) = self.component(&node, problems) else { return Vec::new() };
        if component.name != "Compose" {
            return vec![component];
        }
        match component.argument("transforms") {
            Some(list) if self.depth.get() < REFERENCES_MAX => {
                self.depth.set(self.depth.get() + 1);
                let transforms = self.transforms(list, problems);
                self.depth.set(self.depth.get() - 1);
                transforms
            }
            _ => Vec::new(),
        }
    }

    /// The value of an argument; `None` when it is absent, null or a problem.
    pub fn argument(&self, component: &Component, key: &str, problems: &mut Problems) -> Option<Node> {
        let node = component.argument(key)?;
        self.told(node, self.value(node), problems).filter(|node| node.value != Value::Null)
    }

    fn told(&self, at: &Node, value: Result<Node, String>, problems: &mut Problems) -> Option<Node> {
        match value {
            Ok(node) => Some(node),
            Err(found) => {
                let expected = "a literal: numbers, texts, lists, \"@\" references and arithmetic with them";
                problems.add(at, found, expected);
                None
            }
        }
    }
}

impl Component {
    /// An argument as written.
    pub fn argument(&self, key: &str) -> Option<&Node> {
        match &self.node.value {
            Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The names of its arguments.
    pub fn arguments(&self) -> impl Iterator<Item = (&str, &Node)> {
        let fields = match &self.node.value {
            Value::Object(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().filter(|(key, _)| !key.starts_with('_')).map(|(key, node)| (key.as_str(), node))
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_:#".contains(c))
}

struct Here<'a, 'b> {
    config: &'a Config<'b>,
    node: &'a Node,
}

impl Names for Here<'_, '_> {
    fn value(&self, id: &str) -> Result<Value, String> {
        self.config.follow(id)
    }

    fn item(&self, value: Value) -> Node {
        Node { value, line: self.node.line, path: self.node.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    fn check(text: &str, id: &str) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::of("inference.json");
        let root = document::parse(text, &mut problems).expect("JSON");
        let config = Config::new(&root);
        let names = match config.entry(id) {
            Some(node) => config.transforms(node, &mut problems).iter().map(|found| found.name.clone()).collect(),
            None => Vec::new(),
        };
        (names, problems.into_vec().iter().map(Problem::to_string).collect())
    }

    const TEXT: &str = r#"{
        "key": "image", "off": "$not @on", "on": true, "list": [{"_target_": "A", "keys": "@key"}],
        "more": [{"_target_": "monai.transforms.B", "_disabled_": "@off"}, {"_target_": "C", "_disabled_": "@on"}],
        "pre": {"_target_": "Compose", "transforms": "$@list + @more"},
        "loop": "@back", "back": "@loop", "bad": {"_target_": "Compose", "transforms": "$make(@list)"}
    }"#;

    #[test]
    fn lists_are_put_together_and_the_disabled_left_out() {
        assert_eq!(check(TEXT, "pre"), (vec!["A".to_owned(), "B".to_owned()], Vec::new()));
    }

    #[test]
    fn tells_loops_and_python() {
        let (_, told) = check(TEXT, "loop");
        assert!(told[0].contains("which leads back to itself"), "{told:#?}");
        let (_, told) = check(TEXT, "bad");
        assert!(told[0].contains("\"make\" is Python that is not run here, expected a literal"), "{told:#?}");
    }

    #[test]
    fn arguments_follow_references() {
        let mut problems = Problems::of("inference.json");
        let root = document::parse(TEXT, &mut problems).expect("JSON");
        let config = Config::new(&root);
        let first = &config.transforms(config.entry("pre").expect("pre"), &mut problems)[0];
        let keys = config.argument(first, "keys", &mut problems).expect("keys");
        assert_eq!(keys.value, Value::String("image".to_owned()));
        assert_eq!(config.entry("list#0#_target_").map(Node::describe).as_deref(), Some("the text \"A\""));
    }
}
