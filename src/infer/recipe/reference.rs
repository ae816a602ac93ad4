//! Every key of the objects of `model.json` that say how a model is applied, as tables: from them come the reference and
//! the JSON Schema. It parses nothing; tests ask the parsers which keys, words and bounds they know.

use serde_json::json;

use super::window::{Layout, View};
use crate::document::{Key, Shape, Table};
use crate::infer::grid::spline::Ends;
use crate::limits::{
    CHANNEL_OFFSET_MAX, ID_LENGTH_MAX, MODEL_CHANNELS_MAX, MODEL_INPUTS_MAX, MODEL_LABEL_VALUE_MAX, MODEL_LABELS_MAX,
    MODEL_NETWORKS_MAX, MODEL_STEPS_MAX, WINDOW_SIDE_MAX,
};

/// A value whose sense no bound limits.
const ANY: Shape = Shape::Number { low: -1e9, high: 1e9 };

fn key(name: &'static str, shape: Shape, default: &str, meaning: &str) -> Key {
    Key { name, shape, default: default.to_owned(), meaning: meaning.to_owned() }
}

fn table(title: &'static str, lead: &'static str, keys: Vec<Key>) -> Table {
    Table { title, lead, keys, rules: json!({}) }
}

fn operations(title: &'static str) -> Shape {
    Shape::list_of(Shape::Object(title), 0, MODEL_STEPS_MAX)
}

fn file() -> Shape {
    Shape::Text { least: 1, most: ID_LENGTH_MAX, pattern: Some(r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*\.onnx$".to_owned()) }
}

fn digest() -> Shape {
    let digits = Shape::Text { least: 64, most: 64, pattern: Some("^[0-9A-Fa-f]{64}$".to_owned()) };
    Shape::Either(vec![digits, Shape::Null])
}

/// The keys of a stage: those of `model.json` itself and of `previous` in it.
pub fn stage_keys() -> Vec<Key> {
    let axis = Shape::Integer { low: 0, high: 2 };
    vec![
        key("file", file(), "none; this or `networks`", "the only network: an ONNX file in the folder of the model"),
        key(
            "sha256",
            digest(),
            "none; with `file`",
            "the digest of the file, 64 hexadecimal digits; `null` while the weights are not installed",
        ),
        key(
            "networks",
            Shape::list_of(Shape::Object("network"), 1, MODEL_NETWORKS_MAX),
            "none; this or `file`",
            "several networks: those of one view are an ensemble, whose values are averaged",
        ),
        key(
            "inputs",
            Shape::map(Shape::Object("input"), 1, MODEL_INPUTS_MAX),
            "required",
            "the images that it takes, by name; the first gives the grid that the networks see and that the results return to",
        ),
        key(
            "orientation",
            Shape::Either(vec![
                Shape::Words(vec!["acquired", "acquired_reversed"]),
                Shape::Text { least: 3, most: 3, pattern: Some(ORIENTATION.to_owned()) },
            ]),
            "`acquired`",
            "how the working axes lie in the patient, see [Axes](#axes)",
        ),
        key(
            "transpose",
            Shape::three(axis.clone()),
            "`[0, 1, 2]`",
            "a further order of the working axes, as `numpy.transpose` takes it",
        ),
        key(
            "channels",
            Shape::list_of(Shape::Object("channel"), 1, MODEL_CHANNELS_MAX),
            "one for each input",
            "what each channel of the network's input holds, in order",
        ),
        key(
            "views",
            Shape::list_of(Shape::Either(vec![Shape::words(&View::WORDS), Shape::Object("view")]), 1, 3),
            "`[\"axial\"]`",
            "the planes in which networks see the image; the mean of their values is taken before labels are decided. Only one when windows are mirrored",
        ),
        key("tensor", Shape::Object("tensor"), "required", "what the tensors of the networks look like"),
        key("window", Shape::Object("window"), "required", "the sliding window over the prepared image"),
        key("output", Shape::Object("output"), "required", "how the values of the networks become labels"),
        key(
            "images",
            Shape::map(Shape::Object("image"), 0, usize::MAX),
            "none",
            "images that the networks give besides labels, by name",
        ),
    ]
}

/// Three letters, one of each of L and R, A and P, S and I, in any order.
const ORIENTATION: &str = "^([LR]([AP][SI]|[SI][AP])|[AP]([LR][SI]|[SI][LR])|[SI]([LR][AP]|[AP][LR]))$";

/// The keys of the whole model beside those of its stage.
pub fn recipe_keys() -> Vec<Key> {
    vec![
        key(
            "structures_in",
            Shape::list(Shape::Either(vec![Shape::text(), Shape::Object("structure in")])),
            "none",
            "structures of earlier steps that it takes, by name; the pipeline says which",
        ),
        key(
            "previous",
            Shape::Object("previous"),
            "none",
            "a stage that runs first and whose labels are channels of this one (a cascade)",
        ),
        key(
            "post",
            Shape::map(operations("post operation"), 0, usize::MAX),
            "none",
            "for each structure a list of [operations](#post-processing-poststructure) on its mask, in the order of the file. A name that is a label begins with its voxels, another one empty; those made before may be referred to",
        ),
        key(
            "structures",
            Shape::list_of(Shape::text(), 1, usize::MAX),
            "required",
            "what is delivered, in order: labels, saved regions, structures of `post` and `structures_in`",
        ),
    ]
}

/// Either one file with its digest, or a list.
pub fn one_or_several_networks() -> serde_json::Value {
    json!({"oneOf": [
        {"required": ["file", "sha256"], "properties": {"networks": false}},
        {"required": ["networks"], "properties": {"file": false, "sha256": false}},
    ]})
}

/// The objects inside.
pub fn tables() -> Vec<Table> {
    let previous = Table {
        title: "previous",
        lead: "The first stage of a cascade, with keys of its own for everything between image and labels. It takes \
               the same images and structures; its labels are not delivered, but channels of the main stage \
               (`{\"previous\": 1}`).",
        keys: stage_keys(),
        rules: one_or_several_networks(),
    };
    let mut tables =
        vec![previous, network(), input(), structure_in(), channel(), view(), tensor(), window(), output()];
    tables.extend([channel_label(), range_label(), image()]);
    tables
}

fn network() -> Table {
    let keys = vec![
        key("file", file(), "required", "an ONNX file in the folder of the model"),
        key("sha256", digest(), "required", "its digest; `null` while its weights are not installed"),
        key("view", Shape::words(&View::WORDS), "all views", "the only view that it sees"),
    ];
    table("network", "One of `networks`.", keys)
}

fn input() -> Table {
    let keys = vec![
        key(
            "pre",
            operations("pre operation"),
            "none",
            "[operations](#pre-processing-inputsnamepre) on the image, in order",
        ),
        key(
            "place",
            Shape::Words(vec!["resample", "index"]),
            "`resample`",
            "how a further image is laid on the first one: by geometry, linearly, where it is missing its lowest value; or array on array, which must have the same sides",
        ),
        key(
            "optional",
            Shape::Flag,
            "`false`",
            "the model runs without it: its channels are zero. Never the first input",
        ),
    ];
    table("input", "An image that the model takes.", keys)
}

fn structure_in() -> Table {
    let keys = vec![
        key("name", Shape::text(), "required", "its name in this file"),
        key("optional", Shape::Flag, "`false`", "the model runs without it, as if it were empty"),
    ];
    table("structure in", "One of `structures_in`; a text alone is its name.", keys)
}

fn channel() -> Table {
    let keys = vec![
        key("of", Shape::text(), "one of these three", "the name of an input"),
        key(
            "structure",
            Shape::text(),
            "one of these three",
            "the name of a structure of `structures_in` or of a saved region: 1 inside, 0 outside",
        ),
        key(
            "previous",
            Shape::Integer { low: 1, high: MODEL_LABELS_MAX as i64 },
            "one of these three",
            "a label value of the stage before: 1 where it is, 0 elsewhere",
        ),
        key(
            "slice",
            Shape::Integer { low: -CHANNEL_OFFSET_MAX, high: CHANNEL_OFFSET_MAX },
            "`0`",
            "so many slices farther along the first axis of the view; the outermost slice is repeated",
        ),
        key("pre", operations("pre operation"), "none", "operations on this channel alone, after those of the input"),
    ];
    let one = ["of", "structure", "previous"].map(|key| json!({"required": [key]}));
    Table { rules: json!({"oneOf": one}), ..table("channel", "One of `channels`.", keys) }
}

fn view() -> Table {
    let keys = vec![
        key(
            "view",
            Shape::words(&View::WORDS),
            "required",
            "depth, height and width of the network are depth, height, width (`axial`), height, depth, width (`coronal`), width, depth, height (`sagittal`) of the working order",
        ),
        key(
            "pre",
            operations("pre operation"),
            "none",
            "operations for this view, after those of the inputs; sizes and planes are those of the view",
        ),
    ];
    table("view", "One of `views`; a word alone is a view without operations.", keys)
}

fn tensor() -> Table {
    let layouts = ["NCDHW", "NDHWC", "NCHW", "NHWC"].to_vec();
    debug_assert!(layouts.len() == 4 && Layout::Ncdhw.word() == layouts[0]);
    let keys = vec![
        key(
            "layout",
            Shape::Words(layouts),
            "required",
            "order of the axes: N batch, C channel, D depth, H height, W width; without D the slices of a window are the batch",
        ),
        key("input", Shape::text(), "the only one", "name of the input in the graph"),
        key("output", Shape::text(), "the first", "name of the output in the graph that holds the values of labels"),
    ];
    table("tensor", "The tensors of the networks. Numbers are single or half precision, as the graph says.", keys)
}

fn window() -> Table {
    let side = Shape::Integer { low: 1, high: WINDOW_SIDE_MAX as i64 };
    let multiple = Shape::Number { low: 1.0, high: WINDOW_SIDE_MAX as f64 };
    let patch = Shape::Either(vec![side, Shape::Words(vec!["all"])]);
    let keys = vec![
        key(
            "patch",
            Shape::three(patch),
            "required",
            "sides in voxels, `[depth, height, width]`; `\"all\"` takes the whole axis",
        ),
        key(
            "multiple_of",
            Shape::three(multiple),
            "`[1, 1, 1]`",
            "sides are rounded up to multiples of these, for networks that halve them several times",
        ),
        key(
            "overlap",
            Shape::Number { low: 0.0, high: 0.95 },
            "`0`",
            "fraction of the patch that neighbouring windows share",
        ),
        key(
            "tiling",
            Shape::Words(vec!["fixed", "spread"]),
            "`fixed`",
            "windows begin at multiples of the whole part of patch x (1 - overlap), and the last ends with the image (MONAI); or are evenly spread, at most so far apart (nnU-Net)",
        ),
        key(
            "blend",
            Shape::Words(vec!["constant", "gaussian", "gaussian_nnunet"]),
            "`constant`",
            "weights of overlapping windows: equal; MONAI's map (deviation an eighth of the side about the middle, at least 0.001); nnU-Net's (about voxel side/2; with `precision` half ten times as large, and nowhere 0)",
        ),
        key(
            "mirror",
            Shape::list(Shape::Integer { low: 0, high: 2 }),
            "`[]`",
            "working axes (0 depth, 1 height, 2 width) that are mirrored, in all combinations, whose values are averaged. Not with several views",
        ),
        key(
            "pad",
            Shape::Words(vec!["edge", "constant"]),
            "`edge`",
            "what fills a window that is larger than the image: the outermost voxel, or `pad_value`",
        ),
        key("pad_value", ANY, "`0`", "with `\"pad\": \"constant\"` only"),
        key(
            "pad_side",
            Shape::Words(vec!["end", "both"]),
            "`end`",
            "where a window that is larger reaches out: at the end, or on both sides, the odd voxel at the end",
        ),
        key(
            "precision",
            Shape::Words(vec!["single", "half"]),
            "`single`",
            "how values are kept while windows are blended; `half`: each sum is rounded to half precision, as are the weights, the quotient and the mean over networks, each of which is blended by itself (nnU-Net); with `activate` `window`, and over several views, means are in single precision. Images that the networks give are rounded too",
        ),
    ];
    let rules = json!({"if": {"required": ["pad_value"]}, "then": {"required": ["pad"], "properties": {"pad": {"const": "constant"}}}});
    Table {
        rules,
        ..table("window", "The sliding window. Three values are in working order: depth, height, width.", keys)
    }
}

fn output() -> Table {
    let label = Shape::Integer { low: 0, high: MODEL_LABEL_VALUE_MAX as i64 };
    let labels =
        Shape::Either(vec![label.clone(), Shape::Object("label of a threshold"), Shape::Object("label of a range")]);
    let mut keys = vec![
        key(
            "activation",
            Shape::Words(vec!["none", "softmax", "sigmoid"]),
            "`none`",
            "what turns the values of the graph into probabilities",
        ),
        key(
            "activate",
            Shape::Words(vec!["window", "blended", "restored"]),
            "`blended`",
            "when: on each window before windows are blended; on the blended values of each view, before views are averaged (MONAI, CERR); on values on the grid of the first input (nnU-Net)",
        ),
        key(
            "decision",
            Shape::Words(vec!["argmax", "threshold", "label_map", "regions"]),
            "required",
            "`argmax`: the channel with the highest value; `threshold`: each channel where it reaches its threshold, labels may overlap; `label_map`: the only channel holds the label as a number (one network, one view, no `mirror`; where windows overlap the later one decides); `regions`: channel by channel, above a half, later ones win (nnU-Net)",
        ),
        key(
            "region_order",
            Shape::list_of(label, 1, usize::MAX),
            "required with `regions`",
            "the label that each channel sets, in the order of the channels",
        ),
    ];
    keys.extend(back());
    keys.push(
        key(
            "labels",
            Shape::map(labels, 1, MODEL_LABELS_MAX),
            "required",
            "name to channel (`argmax`, `threshold`) or label value (`label_map`, `regions`); but for `threshold` no two share one",
        ),
    );
    let decides = |word: &str| json!({"properties": {"decision": {"const": word}}, "required": ["decision"]});
    let labels =
        |not: [&str; 2]| json!({"labels": {"additionalProperties": {"properties": {not[0]: false, not[1]: false}}}});
    let rules = json!({"allOf": [
        {"if": decides("regions"), "then": {"required": ["region_order"]}, "else": {"properties": {"region_order": false}}},
        {
            "if": decides("threshold"),
            "then": {"properties": labels(["from", "to"])},
            "else": {"properties": labels(["index", "threshold"])},
        },
        {
            "if": {"properties": {"back": {"const": "bspline"}}, "required": ["back"]},
            "else": {"properties": {"order": false, "ends": false, "aligned": false}},
        },
    ]});
    Table { rules, ..table("output", "How the values of the networks become labels.", keys) }
}

/// How results go back to the grid of the first input.
fn back() -> Vec<Key> {
    vec![
        key(
            "back",
            Shape::Words(vec!["linear", "nearest", "bspline"]),
            "`linear`; with `label_map` `nearest`",
            "how results go back to the grid of the first input: values linearly, then the decision; or the decision, then the nearest label; or values by a B-spline, then the decision (MONAI's Invertd of a Spacing with a spline), for which the values of all classes are held at once",
        ),
        key("order", Shape::Integer { low: 2, high: 5 }, "`3`", "the order of `bspline`"),
        key(
            "ends",
            Shape::Words(Ends::WORDS.to_vec()),
            "`mirror`",
            "how values go on beyond their ends for `bspline`: mirrored at the outermost centres, and nothing is found beyond them (MONAI `zeros`); the outermost for ever (`border`); mirrored at the outer edges (`reflection`)",
        ),
        key(
            "aligned",
            Shape::Flag,
            "`false`",
            "with `bspline` and `outside` zero: takes values where MONAI's Spacing does with `align_corners`",
        ),
        key(
            "outside",
            Shape::Words(vec!["nothing", "zero"]),
            "`nothing`",
            "what lies beyond a crop: nothing is found there; or each step before the network is undone for itself, and values beyond a crop count as 0 (MONAI's Invertd), which fade in over one voxel with `linear`",
        ),
        key(
            "separate",
            Shape::Words(vec!["never", "auto", "always"]),
            "`never`",
            "along the axis of the lowest resolution the nearest instead of linear; `auto`: when its spacing is more than three times the smallest (nnU-Net)",
        ),
        key(
            "precision",
            Shape::Words(vec!["single", "half"]),
            "`single`",
            "`half`: values on the grid of the first input are rounded to half precision before they decide, and the first of equal channels wins (nnU-Net)",
        ),
    ]
}

fn channel_label() -> Table {
    let keys = vec![
        key("index", Shape::Integer { low: 0, high: MODEL_LABEL_VALUE_MAX as i64 }, "required", "the channel"),
        key("threshold", ANY, "`0.5`", "its voxels are those whose value is at least this"),
    ];
    table("label of a threshold", "A label with the decision `threshold`; a number alone is its channel.", keys)
}

fn range_label() -> Table {
    let value = Shape::Integer { low: 0, high: MODEL_LABEL_VALUE_MAX as i64 };
    let keys = vec![
        key("from", value.clone(), "required", "its first value"),
        key("to", value, "required", "its last value, included"),
    ];
    table("label of a range", "A label of several values or channels in a row, with any other decision.", keys)
}

fn image() -> Table {
    let keys = vec![
        key("output", Shape::text(), "that of the labels", "name of the output in the graph"),
        key(
            "kind",
            Shape::Words(vec!["image", "deformation"]),
            "required",
            "values; or displacements in voxels of the network's grid",
        ),
        key(
            "channels",
            Shape::list_of(Shape::Integer { low: 0, high: MODEL_LABELS_MAX as i64 }, 1, 3),
            "required",
            "channels of that output: one of an image; three of a deformation, along columns, rows and slices",
        ),
    ];
    table("image", "One of `images`, kept with the result on the grid of the first input.", keys)
}
