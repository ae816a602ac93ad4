//! The labels of a `dataset.json` of nnU-Net v2: heads of the network, values of the label map, regions; it reads no plans.
//!
//! Facts: nnunetv2 2.8.1, utilities/label_handling/label_handling.py. Without regions the network has one head for each
//! label value, ascending, and the label map is the index of the greatest. With regions it has one head for each region in
//! the order of the file, and where the probability of head i is above 0.5 the label map becomes `regions_class_order[i]`,
//! later heads over earlier ones.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::document::{Node, Problems, Value as Read};

/// What the network's heads mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Labels {
    /// Values of the label map with their names, ascending, without the background.
    pub values: Vec<(String, usize)>,
    /// What a head sets, for each head; empty without regions.
    pub region_order: Vec<usize>,
    /// Regions of more than one value: name and values.
    pub regions: Vec<(String, Vec<usize>)>,
}

impl Labels {
    /// Parses `labels` and `regions_class_order`.
    pub fn parse(dataset: &Node, problems: &mut Problems) -> Option<Labels> {
        let mut fields = dataset.object(problems)?;
        let node = fields.required("labels", problems)?;
        let order = fields.optional("regions_class_order").filter(|order| order.value != Read::Null);
        let Read::Object(list) = &node.value else {
            problems.add(
                node,
                node.describe(),
                "an object from name to value, such as {\"background\": 0, \"liver\": 1}",
            );
            return None;
        };
        let before = problems.count();
        let cure = "nnU-Net v2 needs it; labels of version 1 are written the other way round, from value to name";
        if !list.iter().any(|(name, item)| name == "background" && values_of(item) == Some(vec![0])) {
            problems.add_with_cure(node, "no label \"background\" of value 0", "it", cure);
        }
        let mut named: Vec<(&String, Vec<usize>)> = Vec::new();
        for (name, item) in list.iter().filter(|(name, _)| name != "ignore") {
            match values_of(item) {
                Some(values) => named.push((name, values)),
                None => problems.add(item, item.describe(), "a value, or a list of values for a region"),
            }
        }
        if problems.count() > before {
            return None;
        }
        if named.iter().any(|(_, values)| values.len() > 1) {
            return Labels::of_regions(node, &named, order, problems);
        }
        Labels::of_values(node, &named, problems)
    }

    fn of_values(node: &Node, named: &[(&String, Vec<usize>)], problems: &mut Problems) -> Option<Labels> {
        let mut values: Vec<(String, usize)> =
            named.iter().map(|(name, values)| ((*name).clone(), values[0])).collect();
        values.sort_by_key(|(_, value)| *value);
        let known: BTreeSet<usize> = values.iter().map(|(_, value)| *value).collect();
        if !known.iter().copied().eq(0..known.len()) {
            let cure = "nnU-Net writes the index of the head, which is the value only then";
            problems.add_with_cure(node, format!("the values {known:?}"), "0, 1, 2, ... without a gap", cure);
            return None;
        }
        values.retain(|(_, value)| *value != 0);
        Some(Labels { values, region_order: Vec::new(), regions: Vec::new() })
    }

    fn of_regions(
        node: &Node,
        named: &[(&String, Vec<usize>)],
        order: Option<&Node>,
        problems: &mut Problems,
    ) -> Option<Labels> {
        let Some(order) = order else {
            problems.add(
                node,
                "regions without \"regions_class_order\"",
                "the value that each region sets, in their order",
            );
            return None;
        };
        let region_order = values_of(order).unwrap_or_default();
        let heads: Vec<&(&String, Vec<usize>)> =
            named.iter().filter(|(_, values)| values.iter().any(|value| *value != 0)).collect();
        if region_order.len() != heads.len() {
            let expected = format!("{} values, one for each region besides the background", heads.len());
            problems.add(order, format!("{} values", region_order.len()), expected);
            return None;
        }
        let painted: BTreeSet<usize> = region_order.iter().copied().filter(|value| *value != 0).collect();
        let single =
            |value: usize| heads.iter().find(|(_, values)| *values == [value]).map(|(name, _)| (*name).clone());
        let free = |value: usize| {
            let name = format!("label_{value}");
            if named.iter().any(|(taken, _)| **taken == name) { format!("label_{value}_of_map") } else { name }
        };
        let values = painted.iter().map(|value| (single(*value).unwrap_or_else(|| free(*value)), *value)).collect();
        let regions = heads.iter().filter(|(_, values)| values.len() > 1).map(|(name, values)| {
            ((*name).clone(), values.iter().copied().filter(|value| painted.contains(value)).collect::<Vec<_>>())
        });
        let regions: Vec<(String, Vec<usize>)> = regions.collect();
        for (name, _) in regions.iter().filter(|(_, values)| values.is_empty()) {
            let expected = "at least one of its values in \"regions_class_order\"";
            problems.add(order, format!("no value of the region {name:?}"), expected);
        }
        Some(Labels { values, region_order, regions })
    }

    /// Whether heads are regions.
    pub fn has_regions(&self) -> bool {
        !self.region_order.is_empty()
    }

    /// The value of `output`. `separate`: how the axis of lowest resolution is treated on the way back.
    pub fn output(&self, separate: &str) -> Value {
        let labels: Map<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect();
        if self.has_regions() {
            return json!({
                "activation": "sigmoid", "activate": "restored", "decision": "regions",
                "region_order": self.region_order, "back": "linear", "separate": separate, "labels": labels,
            });
        }
        // Logits, not probabilities, are interpolated, and the greatest of both is the same one.
        json!({
            "activation": "none", "decision": "argmax", "back": "linear", "separate": separate, "labels": labels,
        })
    }

    /// Names of the values of the label map.
    pub fn names(&self) -> Vec<String> {
        self.values.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Names of some values; those that the label map cannot hold are left out.
    pub fn names_of(&self, values: &[usize]) -> Vec<String> {
        self.values.iter().filter(|(_, value)| values.contains(value)).map(|(name, _)| name.clone()).collect()
    }

    /// What is delivered: regions first, then the values that make them up; without regions the labels.
    pub fn structures(&self) -> Vec<String> {
        self.regions.iter().map(|(name, _)| name.clone()).chain(self.names()).collect()
    }

    /// What is shown of it: regions and the labels that are regions of one value; without regions the labels.
    pub fn shown(&self) -> Vec<String> {
        let joined = |name: &String| self.has_regions() && name.starts_with("label_");
        self.structures().into_iter().filter(|name| !joined(name)).collect()
    }
}

/// A value, or the values of a region, which may be nested as JSON writes tuples.
pub(super) fn values_of(node: &Node) -> Option<Vec<usize>> {
    match &node.value {
        Read::Number(value, _) if value.fract() == 0.0 && *value >= 0.0 => Some(vec![*value as usize]),
        Read::String(text) => text.trim().parse().ok().map(|value| vec![value]),
        Read::Array(items) if !items.is_empty() => {
            Some(items.iter().map(values_of).collect::<Option<Vec<_>>>()?.concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    fn check(text: &str) -> (Option<Labels>, Vec<String>) {
        let mut problems = Problems::of("dataset.json");
        let labels = document::parse(text, &mut problems).and_then(|node| Labels::parse(&node, &mut problems));
        (labels, problems.into_vec().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn labels_are_the_indices_of_their_heads() {
        let (labels, told) = check(r#"{"labels": {"background": 0, "tumour": [2], "liver": 1, "ignore": 3}}"#);
        assert_eq!(told, Vec::<String>::new());
        let labels = labels.expect("labels");
        assert_eq!(labels.values, [("liver".to_owned(), 1), ("tumour".to_owned(), 2)]);
        assert!(!labels.has_regions());
    }

    #[test]
    fn regions_keep_their_order_and_become_unions() {
        let (labels, told) = check(
            r#"{"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
                "regions_class_order": [2, 1, 3]}"#,
        );
        assert_eq!(told, Vec::<String>::new());
        let labels = labels.expect("labels");
        assert_eq!(labels.region_order, [2, 1, 3]);
        let named = |name: &str, value| (name.to_owned(), value);
        assert_eq!(labels.values, [named("label_1", 1), named("label_2", 2), named("enhancing", 3)]);
        assert_eq!(labels.structures(), ["whole", "core", "label_1", "label_2", "enhancing"]);
        assert_eq!(labels.shown(), ["whole", "core", "enhancing"]);
    }

    #[test]
    fn tells_what_is_wrong_with_labels() {
        for (text, expected) in [
            (r#"{"labels": {"0": "background", "1": "liver"}}"#, "no label \"background\" of value 0"),
            (r#"{"labels": {"background": 0, "liver": 2}}"#, "found the values {0, 2}, expected 0, 1, 2, ... without"),
            (r#"{"labels": {"background": 0, "a": [1, 2]}}"#, "regions without \"regions_class_order\""),
            (
                r#"{"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1]}"#,
                "found 1 values, expected 2 values",
            ),
            (r#"{"labels": {"background": 0, "a": true}}"#, "labels.a: found true, expected a value, or a list"),
        ] {
            let (labels, told) = check(text);
            assert!(labels.is_none() && told.iter().any(|line| line.contains(expected)), "{text}: {told:#?}");
        }
    }
}
