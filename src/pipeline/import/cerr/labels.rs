//! Maps from structures to labels, and those that are told only while a network runs; they say nothing of channels.

use serde_json::json;

use super::reading::{Reading, one_or_many};
use crate::document::{Fields, Node, Value};
use crate::limits::MODEL_LABELS_MAX;

/// Labels that a map written at run time may hold.
const RUN_TIME_LABELS: i64 = 200;

/// What such labels are called together; CERR has them for networks that find lesions.
const RUN_TIME_NAME: &str = "Lesions";

/// A map of labels, or the name of a file that the container writes while it runs.
pub(super) fn read_labels(node: &Node, reading: &mut Reading) -> Vec<(String, i64, i64)> {
    if let Value::String(file) = &node.value {
        reading.origin.insert("strNameToLabelMap".to_owned(), json!(file));
        reading.note(format!(
            "the labels are told at run time ({file}): values 1 to {RUN_TIME_LABELS} of the network's label map are \"Lesions\", \
             of which the pipeline makes each connected part a structure"
        ));
        return vec![(RUN_TIME_NAME.to_owned(), 1, RUN_TIME_LABELS)];
    }
    label_list(node, reading)
}

/// A list of names with values, or one of them.
pub(super) fn label_list(node: &Node, reading: &mut Reading) -> Vec<(String, i64, i64)> {
    let mut labels: Vec<(String, i64, i64)> = Vec::new();
    for item in one_or_many(node) {
        let Some(mut fields) = item.object(&mut reading.problems) else { continue };
        let label = label_of(&mut fields, reading);
        fields.finish(&mut reading.problems);
        let Some(label) = label else { continue };
        if labels.iter().any(|(name, value, _)| *name == label.0 || *value == label.1) {
            let found = format!("{:?} with the value {}, one of which stands above", label.0, label.1);
            reading.problems.add(item, found, "each name and each value once");
        }
        labels.push(label);
    }
    labels
}

/// One name with its value, which stands for the first and the last of a range.
pub(super) fn label_of(fields: &mut Fields<'_>, reading: &mut Reading) -> Option<(String, i64, i64)> {
    let name = fields.required("structureName", &mut reading.problems);
    let value = fields.required("value", &mut reading.problems);
    let name = name.and_then(|node| reading.text(node));
    let value = value.and_then(|node| node.integer(1, MODEL_LABELS_MAX as i64, &mut reading.problems));
    let value = value?;
    Some((name?, value, value))
}
