//! CERR's `postProc` as operations after the model; it changes no mask.

use serde_json::{Map, Value as Json, json};

use super::reading::{Reading, is_blank, one_or_many};
use crate::document::{Node, Value, nearest};

#[derive(Clone, Copy)]
enum Method {
    Nothing,
    Largest,
    Overlapping,
    Inside,
    Background,
    Plain(&'static str),
}

/// Every method by its name. `post_process_cm` is what the constrictor's was called before 2020.
const METHODS: [(&str, Method); 9] = [
    ("none", Method::Nothing),
    ("getLargestConnComps", Method::Largest),
    ("getLargestOverlappingComp", Method::Overlapping),
    ("getSegInROI", Method::Inside),
    ("removeBackgroundFP", Method::Background),
    ("post_process_chewing_structs", Method::Plain("cerr_chewing")),
    ("post_process_larynx", Method::Plain("cerr_larynx")),
    ("post_process_constrictor", Method::Plain("cerr_constrictor")),
    ("post_process_cm", Method::Plain("cerr_constrictor")),
];

/// The object `post` of the model. `labels` are the names of its output.
pub(super) fn post(node: &Node, labels: &[String], reading: &mut Reading) -> Map<String, Json> {
    let mut post = Map::new();
    let Value::Object(list) = &node.value else {
        reading.problems.add(node, node.describe(), "an object from structure to its methods");
        return post;
    };
    for (name, entries) in list {
        let Some(label) = label_of(name, labels) else {
            let known: Vec<&str> = labels.iter().map(String::as_str).collect();
            let expected = format!("a structure of strNameToLabelMap: {}", known.join(", "));
            match nearest(name, &known) {
                Some(near) => {
                    let cure = format!("did you mean {near:?}?");
                    reading.problems.add_with_cure(entries, format!("{name:?}"), expected, cure);
                }
                None => reading.problems.add(entries, format!("{name:?}"), expected),
            }
            continue;
        };
        let mut steps: Vec<Json> = Vec::new();
        for (index, entry) in one_or_many(entries).into_iter().enumerate() {
            if !is_blank(entry) {
                steps.extend(parse_entry(entry, index, labels, reading));
            }
        }
        if !steps.is_empty() {
            post.insert(label.to_owned(), Json::Array(steps));
        }
    }
    post
}

/// MATLAB makes identifiers of keys, so that a blank may have been left out or written as an underscore.
fn label_of<'a>(name: &str, labels: &'a [String]) -> Option<&'a str> {
    let folded = |text: &str| text.to_ascii_lowercase().replace([' ', '_'], "");
    let exact = labels.iter().find(|label| *label == name);
    exact.or_else(|| labels.iter().find(|label| folded(label) == folded(name))).map(String::as_str)
}

fn parse_entry(node: &Node, index: usize, labels: &[String], reading: &mut Reading) -> Option<Json> {
    let mut fields = node.object(&mut reading.problems)?;
    let word = fields.required("method", &mut reading.problems);
    let params = fields.optional("params").filter(|params| !is_blank(params));
    let operator = fields.optional("operator");
    fields.finish(&mut reading.problems);
    let word = word?;
    let method = if is_blank(word) { Method::Nothing } else { reading.word(word, &METHODS)? };
    // From the second on the result is combined with the mask before it; the first has nothing to be combined with.
    let combine = match operator.filter(|operator| !is_blank(operator)) {
        Some(operator) => Some(reading.word(operator, &[("union", "union"), ("intersection", "intersection")])?),
        None if index > 0 => {
            let cure = "add \"operator\": \"intersection\"";
            reading.problems.add_with_cure(
                node,
                "no \"operator\"",
                "union or intersection from the second method on",
                cure,
            );
            None
        }
        None => None,
    };
    let step = parse_method(node, method, params, labels, reading)?;
    let mut step = step?;
    if let (Some(combine), true) = (combine, index > 0) {
        step["combine"] = json!(combine);
    }
    Some(step)
}

fn parse_method(
    node: &Node,
    method: Method,
    params: Option<&Node>,
    labels: &[String],
    reading: &mut Reading,
) -> Option<Option<Json>> {
    let mut fields = match params {
        Some(params) => Some(params.object(&mut reading.problems)?),
        None => None,
    };
    let mut parameter = |key| fields.as_mut().and_then(|fields| fields.optional(key));
    let step = match method {
        Method::Nothing => None,
        Method::Largest => {
            let count = parameter("numCC").map_or(Some(1), |node| node.integer(1, 1000, &mut reading.problems))?;
            Some(
                json!({"op": "largest_component", "count": count, "neighbours": "corners", "size": "voxels", "ties": "cerr"}),
            )
        }
        Method::Overlapping | Method::Inside => {
            let Some(name) = parameter("roiName") else {
                reading.problems.add(
                    params.unwrap_or(node),
                    "no \"roiName\"",
                    "the structure that this method looks at",
                );
                return None;
            };
            let names: Vec<String> = reading.texts(name).iter().map(|name| structure(name, labels, reading)).collect();
            Some(match method {
                Method::Inside => json!({"op": "keep_inside", "of": names}),
                _ => json!({"op": "largest_overlap", "of": names, "without_overlap": "first"}),
            })
        }
        Method::Background => {
            let threshold = match parameter("threshold") {
                Some(node) => reading.number(node)?,
                None => -400.0,
            };
            Some(json!({"op": "remove_background", "threshold": super::reading::number_of(threshold)}))
        }
        Method::Plain(name) => Some(json!({"op": name})),
    };
    if let Some(fields) = fields {
        fields.finish(&mut reading.problems);
    }
    Some(step)
}

/// A structure that the model makes, or one that has to be handed in.
fn structure(name: &str, labels: &[String], reading: &mut Reading) -> String {
    match label_of(name, labels) {
        Some(label) => label.to_owned(),
        None => reading.need(name, false),
    }
}
