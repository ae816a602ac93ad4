//! `postprocessing.json` of nnU-Net v2 as post-processing operations; it knows the one function that nnU-Net has.
//!
//! Facts: nnunetv2 2.8.1, postprocessing/remove_connected_components.py and acvl_utils. The labels of a call are one mask;
//! of its components (26 neighbours) all that share the greatest number of voxels stay, the rest becomes background.

use serde_json::{Value, json};

use super::labels::{Labels, values_of};
use crate::document::{Fields, Node, Problems, Value as Read};
use crate::pipeline::import::post_chain::Chain;

const KNOWN: &str = "remove_all_but_largest_component_from_segmentation";

/// Adds the steps of the file to the chain.
pub(super) fn add(file: &Node, labels: &Labels, chain: &mut Chain, problems: &mut Problems) {
    let Some(mut fields) = file.object(problems) else { return };
    let functions = fields.required("postprocessing_fns", problems).and_then(|node| node.array(problems));
    let arguments = fields.required("postprocessing_kwargs", problems).and_then(|node| node.array(problems));
    let (Some(functions), Some(arguments)) = (functions, arguments) else { return };
    if functions.len() != arguments.len() {
        let found = format!("{} functions and {} lists of arguments", functions.len(), arguments.len());
        problems.add(file, found, "one list of arguments for each function");
        return;
    }
    for (function, arguments) in functions.iter().zip(arguments) {
        if function.text(problems) != Some(KNOWN) {
            problems.add(function, function.describe(), format!("{KNOWN}, the only one of nnU-Net"));
            continue;
        }
        let Some(arguments) = arguments.object(problems) else { continue };
        if let Some(values) = values_to_keep(arguments, problems) {
            largest(&labels.names_of(&values), chain);
        }
    }
}

fn values_to_keep(mut arguments: Fields<'_>, problems: &mut Problems) -> Option<Vec<usize>> {
    let node = arguments.required("labels_or_regions", problems)?;
    let background = arguments.optional("background_label");
    arguments.finish(problems);
    if let Some(background) = background.filter(|background| !matches!(background.value, Read::Number(0.0, _))) {
        problems.add(background, background.describe(), "0: what is removed becomes no other label");
        return None;
    }
    let values = values_of(node);
    if values.is_none() {
        problems.add(node, node.describe(), "a value, a list of values, or a list of regions");
    }
    values
}

/// The components of the union of labels, judged in each label with the others.
fn largest(names: &[String], chain: &mut Chain) {
    chain.step();
    let before: Vec<String> = chain.names(names.iter().map(String::as_str));
    for (index, name) in names.iter().enumerate() {
        let others: Vec<&String> =
            before.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, name)| name).collect();
        chain.add(name, vec![largest_component(1, "all", &others)]);
    }
}

/// Keeps the greatest components by voxels, with corners as neighbours.
pub(in crate::pipeline::import) fn largest_component(count: usize, ties: &str, with: &[&String]) -> Value {
    let mut operation = json!({ "op": "largest_component", "neighbours": "corners", "size": "voxels", "ties": ties });
    if count != 1 {
        operation["count"] = Value::from(count);
    }
    if !with.is_empty() {
        operation["with"] = json!(with);
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    fn check(text: &str) -> (Option<Value>, Vec<String>) {
        let mut problems = Problems::of("postprocessing.json");
        let node = document::parse(text, &mut problems).expect("JSON");
        let named = |name: &str, value| (name.to_owned(), value);
        let labels = Labels {
            values: vec![named("a", 1), named("b", 2), named("c", 3)],
            region_order: Vec::new(),
            regions: Vec::new(),
        };
        let mut chain = Chain::new(&labels.names());
        add(&node, &labels, &mut chain, &mut problems);
        (chain.into_post(), problems.into_vec().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_union_is_judged_in_each_of_its_labels() {
        let (post, told) = check(
            r#"{"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation",
                                       "remove_all_but_largest_component_from_segmentation"],
                "postprocessing_kwargs": [{"labels_or_regions": [1, [2]]}, {"labels_or_regions": 2}]}"#,
        );
        assert_eq!(told, Vec::<String>::new());
        let largest = |with: &[&str]| {
            let mut op = json!({ "op": "largest_component", "neighbours": "corners", "size": "voxels", "ties": "all" });
            if !with.is_empty() {
                op["with"] = json!(with);
            }
            op
        };
        let expected = json!({
            "a": [largest(&["b"])],
            "b after 1": [{ "op": "take", "of": ["b"] }, largest(&["a"])],
            "b": [{ "op": "take", "of": ["b after 1"] }, largest(&[])],
        });
        assert_eq!(post, Some(expected));
    }

    #[test]
    fn refuses_other_functions_and_backgrounds() {
        let (_, told) = check(
            r#"{"postprocessing_fns": ["smooth", "remove_all_but_largest_component_from_segmentation"],
                "postprocessing_kwargs": [{}, {"labels_or_regions": 1, "background_label": 2}]}"#,
        );
        assert!(told.iter().any(|line| line.contains("postprocessing_fns[0]: found the text \"smooth\"")), "{told:#?}");
        assert!(told.iter().any(|line| line.contains("background_label: found the number 2")), "{told:#?}");
    }
}
