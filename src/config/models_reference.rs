//! The reference of `model.json`, `docs/models.md`: its keys and operations come from the tables of the program, the
//! text around them stands here; it reads no files.

use super::schema::objects::name;
use crate::document::{Key, Shape, Table};
use crate::infer::{self, recipe_reference};
use crate::limits::MODEL_TEXT_LENGTH_MAX;
use crate::pipeline::Algorithm;

/// The text of `docs/models.md`.
pub fn models_reference() -> String {
    let operations = infer::reference();
    let operations = operations.split_once("\n## ").map_or(operations.as_str(), |(_, rest)| rest);
    let operations = format!("## {operations}");
    let mut text = INTRODUCTION.to_owned();
    text += "\n## Contents\n\n- [How a model runs](#how-a-model-runs)\n- [Axes](#axes)\n- [Keys](#keys)\n";
    let tables = tables();
    for table in &tables {
        text += &format!("  - [{}](#{})\n", table.title, crate::document::shape::slug(table.title));
    }
    text += "- [Example: a sliding window on CT](#example-a-sliding-window-on-ct)\n- [Example: three views in two \
             dimensions](#example-three-views-in-two-dimensions)\n";
    text += &contents(&operations);
    text += RUN;
    text += "\n## Keys\n";
    for table in &tables {
        text += &format!("\n{}", table.reference());
    }
    let [window, views] = EXAMPLES;
    text += &format!("\n## Example: a sliding window on CT\n\n{WINDOW_LEAD}\n\n```json\n{window}\n```\n");
    text += &format!("\n## Example: three views in two dimensions\n\n{VIEWS_LEAD}\n\n```json\n{views}\n```\n");
    text += &format!("\n{}\n", operations.trim_end());
    let pages = [("pre", "#pre-processing-inputsnamepre"), ("post", "#post-processing-poststructure")];
    pages.iter().fold(text, |text, (word, page)| text.replace(&format!("(#{word}-operation)"), &format!("({page})")))
}

/// Sections and operations of the part that the tables of operations print.
fn contents(operations: &str) -> String {
    let mut text = String::new();
    // The second heading of one name is reached with a number behind it.
    let mut seen: Vec<String> = tables().iter().map(|table| crate::document::shape::slug(table.title)).collect();
    let mut slug = |title: &str| {
        let slug = crate::document::shape::slug(title);
        let before = seen.iter().filter(|other| **other == slug).count();
        seen.push(slug.clone());
        if before == 0 { slug } else { format!("{slug}-{before}") }
    };
    for line in operations.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            text += &format!("- [{title}](#{})\n", slug(title));
        } else if let Some(title) = line.strip_prefix("### ") {
            text += &format!("  - [{title}](#{})\n", slug(title));
        }
    }
    text
}

/// Every object of `model.json`: itself first, then those inside.
pub(super) fn tables() -> Vec<Table> {
    let mut keys = identity();
    keys.extend(recipe_reference::recipe_keys());
    keys.extend(recipe_reference::stage_keys());
    let rules = recipe_reference::one_or_several_networks();
    let lead = "What the model is, and how it is applied.";
    let mut tables = vec![Table { title: "model.json", lead, keys, rules }];
    tables.extend(recipe_reference::tables());
    tables
}

fn identity() -> Vec<Key> {
    let key = |name, shape, default: &str, meaning: &str| Key {
        name,
        shape,
        default: default.to_owned(),
        meaning: meaning.to_owned(),
    };
    let text = || Shape::text_of(1, MODEL_TEXT_LENGTH_MAX);
    vec![
        key("$schema", Shape::Any, "none", "for editors; not read"),
        key("origin", Shape::Any, "none", "what an importer found and no run needs; not read"),
        key("weights", Shape::text(), "none", "where the weights come from, for people; not read"),
        key("id", name(), "required", "the name of the folder, by which pipelines refer to it"),
        key("name", text(), "required", "for people, and Segmentation Algorithm Name of the structure set"),
        key("version", text(), "required", "its version, also in the structure set"),
        key("licence", text(), "required", "licence of the networks, an SPDX expression where there is one"),
        key("reference", text(), "required", "where the method is described"),
        key("intended_use", text(), "required", "what it may be used for, and what not"),
        key("algorithm", Shape::words(&Algorithm::WORDS), "required", "its family (PS3.16 CID 7162)"),
    ]
}

/// The two examples of the page; a test parses them.
pub const EXAMPLES: [&str; 2] = [
    r#"{
  "$schema": "../../schema/model.json",
  "id": "ct-thorax", "name": "Thorax on CT", "version": "1.0.0", "licence": "Apache-2.0",
  "reference": "the publication", "intended_use": "contours to be checked by a person", "algorithm": "artificial_intelligence",
  // Two folds of one network: their values are averaged.
  "networks": [ { "file": "fold_0.onnx", "sha256": null }, { "file": "fold_1.onnx", "sha256": null } ],
  // Depth grows to the head, height to the back, width to the left, however the images were acquired.
  "orientation": "SPL",
  "inputs": {
    "ct": {
      "pre": [
        { "op": "resample", "spacing_mm": [3, 1.5, 1.5], "method": "cubic" },
        { "op": "clip", "low": -1000, "high": 1000 },
        { "op": "normalise", "by": "fixed", "mean": 0, "std": 500 }
      ]
    }
  },
  "tensor": { "layout": "NCDHW" },
  "window": { "patch": [64, 160, 160], "overlap": 0.5, "blend": "gaussian", "mirror": [0, 1, 2] },
  "output": { "activation": "softmax", "decision": "argmax", "labels": { "Lung_L": 1, "Lung_R": 2, "Heart": 3 } },
  "post": {
    "Heart": [ { "op": "largest_component" }, { "op": "fill_holes", "plane": "slice" } ],
    "Lungs": [ { "op": "take", "of": ["Lung_L", "Lung_R"] } ]
  },
  "structures": ["Lung_L", "Lung_R", "Lungs", "Heart"]
}"#,
    r#"{
  "$schema": "../../schema/model.json",
  "id": "ct-heart-views", "name": "Heart in three views", "version": "1.0.0", "licence": "GPL-3.0-only",
  "reference": "the publication", "intended_use": "contours to be checked by a person", "algorithm": "artificial_intelligence",
  "networks": [
    { "file": "axial.onnx", "sha256": null, "view": "axial" },
    { "file": "coronal.onnx", "sha256": null, "view": "coronal" },
    { "file": "sagittal.onnx", "sha256": null, "view": "sagittal" }
  ],
  // Slices from the head, as CERR orders them.
  "orientation": "acquired_reversed",
  // Lungs that an earlier step found; the pipeline names them.
  "structures_in": ["Lung_L", "Lung_R"],
  "inputs": {
    "ct": {
      "pre": [
        {
          "op": "crop",
          "regions": [
            { "region": "structure", "names": ["Lung_L", "Lung_R"] },
            { "region": "patient_outline", "combine": "intersection" }
          ],
          "margin_mm": [20, 30, 30]
        }
      ]
    }
  },
  // The slice before, the slice, the slice after.
  "channels": [ { "of": "ct", "slice": -1 }, { "of": "ct" }, { "of": "ct", "slice": 1 } ],
  "views": [
    { "view": "axial", "pre": [ { "op": "resize", "size": [512, 512] } ] },
    { "view": "coronal", "pre": [ { "op": "resize", "size": [512, 512] } ] },
    { "view": "sagittal", "pre": [ { "op": "resize", "size": [512, 512] } ] }
  ],
  "tensor": { "layout": "NCHW" },
  "window": { "patch": [1, "all", "all"] },
  // Probabilities of each view, then their mean, then the highest.
  "output": { "activation": "softmax", "activate": "blended", "decision": "argmax", "back": "nearest", "labels": { "Heart": 1 } },
  "post": { "Heart": [ { "op": "largest_component" } ] },
  "structures": ["Heart"]
}"#,
];

const WINDOW_LEAD: &str = "A three-dimensional network that was trained at one spacing: resample, scale, slide.";

const VIEWS_LEAD: &str = "Two-dimensional networks, one for each plane, on the part of the image that earlier contours \
                          enclose; the mean of their probabilities decides.";

const INTRODUCTION: &str = "# Models

<!-- Made by `contourd check --reference models > docs/models.md`; a test fails when this file is stale. -->

A model is a folder `models/ID/` with `model.json` and the ONNX files of its networks. `model.json` says what the model
is, what is done to images before its networks see them, how their values become labels, and what is done to these. It
is JSON with comments and trailing commas; unknown keys are errors, and `contourd check` tells what is wrong and where.
`schema/model.json` is its JSON Schema: with `\"$schema\": \"../../schema/model.json\"` editors complete and explain keys.
";

const RUN: &str = r#"
## How a model runs

1. Each image of `inputs` goes through the operations of its `pre`, in order. Values are those of the modality (HU, or
   as Rescale Slope and Intercept give them), in single precision. Geometry goes with them: an operation that crops or
   resamples says so to everything after it.
2. The first input gives the grid. Further ones are laid on it by geometry, or array on array (`place`).
3. `channels` takes inputs, structures (1 inside, 0 outside) and labels of `previous` together; each may have operations
   of its own, which must not change the size.
4. For each of `views` the channels go through the operations of that view, and a `window` slides over them along the
   view's axes. Networks of one view are an ensemble: their values are averaged, as are those of mirrored windows.
5. `activation` is applied where `activate` says: on each window; on the blended values of a view; or at the end, on the
   grid of the first input. Softmax needs all channels and changes no order, so that `argmax` gives the same without it.
6. The mean over views is taken, and the result goes `back` onto the grid of the first input as it was handed in: crop,
   resample and views are undone by geometry, not by inverse operations. What lies outside of the cropped part is no
   label.
7. `decision` makes labels of values. With `"back": "linear"` this comes after step 6, with `"nearest"` before it.
8. `post` makes structures of labels by operations in mm, and `structures` says which are delivered.

With `previous`, steps 1 to 7 run for that stage first; its labels are brought onto the prepared grid of the main stage.

## Axes

Values for three axes in operations on images and masks are `[slice, row, column]` where the operation's table says so.
Slices ascend along row direction x column direction: for a head-first supine axial CT slice 0 is the lowest, rows go to
the back, columns to the left.

What the network sees are working axes: depth, height, width. `patch`, `multiple_of`, `mirror` and `transpose` count
them. `orientation` says how they lie:

| orientation | depth, height, width |
| --- | --- |
| `acquired` | slice, row, column |
| `acquired_reversed` | slice from the other end, row, column: CERR's order, whose slice 1 is at the head of such a CT |
| three letters, one of each of L R, A P, S I | each axis grows to that side of the patient (left, right, anterior, posterior, superior, inferior); the nearest axes of the image are taken, and nothing is interpolated. `SPL` are slices to the head, rows to the back, columns to the left; `RAS` is the order in which NIfTI readers give arrays |

`transpose` then puts them in another order, and each view in one of its own.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem, Problems};
    use crate::pipeline::Model;

    /// For each object a document in which `"?": 1` stands in it.
    const PLACES: [(&str, &str); 13] = [
        ("model.json", r#"{"?": 1}"#),
        ("previous", r#"{"previous": {"?": 1}}"#),
        ("network", r#"{"networks": [{"?": 1}]}"#),
        ("input", r#"{"inputs": {"ct": {"?": 1}}}"#),
        ("structure in", r#"{"structures_in": [{"?": 1}]}"#),
        ("channel", r#"{"inputs": {"ct": {}}, "channels": [{"?": 1}]}"#),
        ("view", r#"{"inputs": {"ct": {}}, "views": [{"?": 1}]}"#),
        ("tensor", r#"{"tensor": {"?": 1}}"#),
        ("window", r#"{"window": {"?": 1}}"#),
        ("output", r#"{"output": {"?": 1}}"#),
        ("label of a threshold", r#"{"output": {"decision": "threshold", "labels": {"a": {"?": 1}}}}"#),
        ("label of a range", r#"{"output": {"decision": "argmax", "labels": {"a": {"?": 1}}}}"#),
        ("image", r#"{"images": {"a": {"?": 1}}}"#),
    ];

    /// What the parser says of the place with something else in it.
    fn told(title: &str, by: &str) -> Vec<Problem> {
        let place = PLACES.iter().find(|(place, _)| *place == title).map(|(_, text)| text.replace(r#""?": 1"#, by));
        let mut problems = Problems::of("model.json");
        let node = document::parse(&place.expect("a place for every table"), &mut problems).expect("JSON");
        assert!(Model::parse(&node, &mut problems).is_none());
        problems.into_vec()
    }

    #[test]
    fn the_keys_are_those_that_the_parser_knows() {
        assert_eq!(tables().len(), PLACES.len(), "every table is checked");
        for table in tables() {
            let problems = told(table.title, r#""?": 1"#);
            let unknown = problems.iter().find(|problem| problem.found == r#"the unknown key "?""#);
            let expected = &unknown.unwrap_or_else(|| panic!("{}: {problems:#?}", table.title)).expected;
            let mut known: Vec<&str> = expected.trim_start_matches("only the keys ").split(", ").collect();
            let mut written: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
            known.sort_unstable();
            written.sort_unstable();
            assert_eq!(known, written, "{}", table.title);
        }
    }

    #[test]
    fn words_and_bounds_are_those_that_the_parser_knows() {
        let mut checked = 0;
        for table in tables() {
            for key in &table.keys {
                let (by, expected) = match &key.shape {
                    Shape::Words(words) => (r#""?""#, format!("one of {}", words.join(", "))),
                    Shape::Number { low, high } => ("1e300", format!("a number from {low} to {high}")),
                    Shape::Integer { low, high } => ("1e300", format!("a whole number from {low} to {high}")),
                    Shape::Flag => ("1", "true or false".to_owned()),
                    _ => continue,
                };
                // A channel is looked at only when it says where it is from.
                let problems = told(table.title, &format!("{:?}: {by}", key.name));
                let at = problems.iter().filter(|problem| problem.path.ends_with(key.name));
                assert!(
                    at.clone().any(|problem| problem.expected == expected),
                    "{}: {} {expected}\n{problems:#?}",
                    table.title,
                    key.name
                );
                checked += 1;
            }
        }
        assert!(checked >= 25, "found {checked} words and bounds");
    }

    #[test]
    fn keys_without_default_are_those_that_must_be_there() {
        for table in tables() {
            let mut unknown = told(table.title, r#""?": 1"#).into_iter().map(|problem| problem.path);
            let inside = unknown.rfind(|path| path.ends_with('?')).unwrap_or_default();
            let here = inside.trim_end_matches('?').trim_end_matches('.');
            let mut problems = told(table.title, "");
            problems.retain(|problem| problem.path == here);
            for key in &table.keys {
                let missing = problems.iter().any(|problem| problem.found == format!("no {:?}", key.name));
                // The first of a file and its digest is told as missing too.
                if missing != (key.default == "required") && key.name != "file" {
                    panic!("{}: {} is {}\n{problems:#?}", table.title, key.name, key.default);
                }
            }
        }
    }

    #[test]
    fn the_examples_are_models() {
        for text in EXAMPLES {
            let mut problems = Problems::of("model.json");
            let model = document::parse(text, &mut problems).and_then(|node| Model::parse(&node, &mut problems));
            assert!(model.is_some(), "{:#?}", problems.into_vec());
        }
    }

    #[test]
    fn the_page_names_every_table_and_operation() {
        let text = models_reference();
        for table in tables() {
            assert_eq!(text.matches(&format!("\n### {}\n", table.title)).count(), 1, "{}", table.title);
        }
        let names =
            infer::pre::TABLE.iter().map(|entry| entry.name).chain(infer::post::TABLE.iter().map(|entry| entry.name));
        for name in names.chain(infer::region::TABLE.iter().map(|entry| entry.name)) {
            assert!(text.contains(&format!("\n### `{name}`\n")), "{name}");
        }
        for target in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            // The second heading of one name is reached with a number behind it.
            let target = target.strip_suffix("-1").unwrap_or(target);
            let titles = text.lines().filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")));
            assert!(titles.map(crate::document::shape::slug).any(|slug| slug == target), "no heading for #{target}");
        }
    }
}
