//! One transform of a bundle with its arguments, read with the problems that they have; it does nothing with them.

use super::config::{Component, Config};
use super::expression::is_true;
use crate::document::{Node, Problems, Value as Read};

/// Arguments of any transform that change nothing that counts here.
const HARMLESS: &[&str] = &[
    "allow_missing_keys",
    "align_corners",
    "data_type",
    "device",
    "dtype",
    "end_coord_key",
    "ensure_channel_first",
    "image_only",
    "keys",
    "lazy",
    "meta_key_postfix",
    "meta_keys",
    "name",
    "overwriting",
    "reader",
    "recompute_affine",
    "scale_extent",
    "simple_keys",
    "source_key",
    "start_coord_key",
    "strict_check",
    "track_meta",
    "wrap_sequence",
];

/// One transform with its arguments.
pub(super) struct Step<'a, 'b> {
    pub config: &'a Config<'b>,
    pub component: &'a Component,
}

impl Step<'_, '_> {
    pub fn refuse(&self, expected: &str, problems: &mut Problems) {
        problems.add(&self.component.node, format!("the transform {}", self.component.name), expected);
    }

    pub fn get(&self, key: &str, problems: &mut Problems) -> Option<Node> {
        self.config.argument(self.component, key, problems)
    }

    pub fn keys(&self, problems: &mut Problems) -> Vec<String> {
        match self.get("keys", problems).map(|node| node.value) {
            Some(Read::String(key)) => vec![key],
            Some(Read::Array(items)) => {
                items.iter().filter_map(|item| item.text(problems)).map(str::to_owned).collect()
            }
            _ => {
                self.refuse("the argument \"keys\"", problems);
                Vec::new()
            }
        }
    }

    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<String> {
        self.get(key, problems)?.text(problems).map(str::to_owned)
    }

    pub fn number(&self, key: &str, problems: &mut Problems) -> Option<f64> {
        self.get(key, problems)?.number(-1e9, 1e9, problems)
    }

    /// A flag; bundles also write the text "True", which Python takes for true as it takes any text.
    pub fn flag(&self, key: &str, default: bool, problems: &mut Problems) -> bool {
        match self.get(key, problems).map(|node| node.value) {
            None => default,
            Some(value) => is_true(&value),
        }
    }

    /// One number for all axes, or one for each.
    pub fn triple(&self, key: &str, problems: &mut Problems) -> Option<[f64; 3]> {
        let node = self.get(key, problems)?;
        match &node.value {
            Read::Number(value, _) => Some([*value; 3]),
            Read::Array(items) => {
                let values: Vec<f64> = items.iter().filter_map(|item| item.number(-1e6, 1e6, problems)).collect();
                let found: Result<[f64; 3], _> = values.try_into();
                if found.is_err() {
                    problems.add(&node, node.describe(), "three numbers");
                }
                found.ok()
            }
            _ => {
                problems.add(&node, node.describe(), "a number, or three");
                None
            }
        }
    }

    /// Every argument that is neither harmless nor one of these is a problem.
    pub fn only(&self, known: &[&str], problems: &mut Problems) {
        for (key, node) in self.component.arguments() {
            if !HARMLESS.contains(&key) && !known.contains(&key) && node.value != Read::Null {
                let found = format!("the argument {key:?} of {}", self.component.name);
                problems.add(node, found, format!("only {}", known.join(", ")));
            }
        }
    }
}
