//! The reference of the configuration files, `docs/configuration.md`, made from tables; it reads no files.
//!
//! Comparisons, words and defaults come from the tables that the parsers use. That the keys below are those that the
//! parsers know is a test: it asks each parser which keys it knows.

mod dialects;
mod gateway;
mod peer;

use std::fmt::Write;

use crate::contour::Holes;
use crate::limits::FAIL_OVER_ATTEMPTS_MAX;
use crate::output::derived::As;
use crate::output::seg::Kind;
use crate::pipeline::{
    After, By, DOCUMENT_DESCRIPTION_LENGTH_MAX, FETCH_AFTER_S, FETCH_SERIES, Frame, FromStudy, Group, Mode, OPERATORS,
    OnFailure, Orientation, Pick, Same, Unit, Volumes,
};
use crate::structure::RoiType;

/// One key of an object: its name, what stands there, its default (`required` where there is none), what it means.
pub(super) type Key = (&'static str, String, String, &'static str);

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (title, lead, keys) in objects() {
        // Writing to a String cannot fail.
        let _ =
            write!(text, "\n### {title}\n\n{lead}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for (name, value, default, meaning) in keys {
            let _ = writeln!(text, "| `{name}` | {value} | {default} | {meaning} |");
        }
    }
    text += &dialects::table();
    text += &dialects::templates();
    text += &dialects::overlaps();
    text += CONDITIONS;
    text += "\n| comparison | operand | holds when the value |\n| --- | --- | --- |\n";
    for operator in &OPERATORS {
        let _ = writeln!(text, "| `{}` | {} | {} |", operator.name, operator.operand, operator.meaning);
    }
    text
}

const INTRODUCTION: &str = "# Configuration

<!-- Made by `contourd check --reference > docs/configuration.md`; a test fails when this file is stale. -->

Three kinds of files say who takes part (`ae-config/`), which series are segmented and where the results go
(`pipelines/`), and how a model is applied (`models/`). They are JSON (RFC 8259); comments (`//`, `/* */`) and
trailing commas are allowed. Unknown keys are errors. `contourd check` tells everything that is wrong in all files at
once, each with file, line, path, what was found, what was expected, and the nearest known name; it ends with status 78
when there is anything. `contourd serve` refuses to start with a configuration that has problems. While it runs, it
reads changed files by itself: a good change becomes active at once; a bad one leaves the last good version of that
file in use and is told.

Files that begin with a dot or do not end in `.json` are no configuration. Times are in seconds (`_s`), hours (`_h`)
or days, sizes in MB of 1,048,576 bytes.

## Files
";

const CONDITIONS: &str = r#"
## Conditions

A condition asks one attribute of every image of the series, never of one of them:

```json
{ "tag": "SliceThickness", "between": [0.5, 5.0] }
```

- `tag`: a DICOM keyword, `(gggg,eeee)`, or a path through sequences, all of whose items are followed:
  `SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness`. Private attributes need `creator` beside `tag`
  and are written `(0043,xx39)`.
- exactly one comparison of the table below. Values are compared by value representation: DS and IS as numbers, code
  strings (CS) without case, padding and trailing `^` of names are not significant. An attribute that is missing or
  empty satisfies `absent` and nothing else.
- `value`: which values of an attribute that has several: `"any"`, `"all"`, or an index from 0. Default: `"any"` for
  `eq`, `in`, `contains`, `regex`, `glob`; `"all"` for the others.
- `every`: how many images must satisfy it: `"all"`, `"any"`, or a share above 0 and up to 1. Default: `"all"`; inside
  `none` it is `"any"`, so that `none` means: in no image.

`all`, `any` and `none` join conditions and each other: `{ "none": [ ... ] }`. `contourd explain FOLDER` prints for
each series and pipeline which conditions decided, with the value that was found and the image that it was found in.
Values of patient attributes, of names and of private attributes are never printed.
"#;

fn words<T>(list: &[(&'static str, T)]) -> String {
    list.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn key(name: &'static str, value: impl Into<String>, default: impl ToString, meaning: &'static str) -> Key {
    (name, value.into(), default.to_string(), meaning)
}

pub(super) type Object = (&'static str, &'static str, Vec<Key>);

pub(super) fn objects() -> Vec<Object> {
    [
        gateway::gateway(),
        gateway::bounds(),
        peer::peer(),
        gateway::tls(),
        gateway::ways_in(),
        dialects::objects(),
        pipeline(),
        input(),
        step_and_result(),
    ]
    .concat()
}

fn pipeline() -> Vec<Object> {
    vec![
        (
            "pipelines/ID.json",
            "Which series are segmented, by which models, and where the results go.",
            vec![
                key("$schema", "text", "none", "for editors; not read"),
                key("description", "text", "none", "for people; not read"),
                key("id", "name", "required", "the name of the file"),
                key(
                    "revision",
                    "number from 1",
                    "required",
                    "counts up with each change: results of another revision are other objects",
                ),
                key("mode", words(&Mode::ALL), "required", "deliver; run without delivery; rest"),
                key(
                    "when",
                    "object",
                    "any",
                    "`called_ae`, `calling_ae`: lists of AE titles, one of which the association must have",
                ),
                key("inputs", "object of inputs", "required", "named slots, each filled by one series"),
                key(
                    "same",
                    words(&Same::ALL),
                    "`study`",
                    "what the series that fill the slots have in common; the patient always",
                ),
                key("complete", "object", "that of the gateway", "when a series counts as complete"),
                key("steps", "list of steps", "required", "the models to run"),
                key(
                    "structures",
                    "object of structures",
                    "none; required for `rtstruct`, `seg` and `sr`",
                    "what the result holds: `\"step:label\"` of a model, and how it is called",
                ),
                key(
                    "outputs",
                    "list",
                    "required",
                    "the objects to make: `{\"rtstruct\": {...}}`, `seg`, `registration`, `derived_image`, `sr`, `pdf`, \
                 `secondary_capture`",
                ),
                key(
                    "cpu_instead",
                    "`true`, `false`",
                    "`false`",
                    "its models may run on the processor where the device of the gateway is not there",
                ),
                key(
                    "deliver",
                    "list of `{\"to\": peer, \"outputs\": [kinds]}`",
                    "none; required in `live`",
                    "the peers that receive the results: all outputs, or those of the kinds that are named",
                ),
            ],
        ),
        (
            "destination",
            "In `deliver`. Of several peers in one `to` one gets the results: the first, and the next where that cannot be sent to.",
            vec![
                key(
                    "to",
                    "peer, or list of peers",
                    "required",
                    "names of files in `ae-config/peers`; `sender` stands for the peer that sent the primary series",
                ),
                key("after", "object", "see there", "with a list: when the next of them is tried"),
                key("outputs", "list of kinds", "all", "the kinds of outputs that it gets"),
            ],
        ),
        (
            "after",
            "In a destination: what comes first. A refusal goes on to nobody.",
            vec![
                key(
                    "attempts",
                    format!("1 to {FAIL_OVER_ATTEMPTS_MAX}"),
                    format!("{}; as many as fit in with `wait_s`", After::default().attempts),
                    "attempts in a row that fail for now",
                ),
                key("wait_s", "number", "none", "the first attempt that fails so long after its turn began"),
            ],
        ),
    ]
}

fn fetch() -> Object {
    (
        "fetch",
        "In an input that is not the primary one: how a missing series is fetched. A peer is asked once for each set of \
         series (and again after a failure by its `retry`, six times at most), and what came is judged as all that comes. \
         A series that was fetched so asks for nothing itself.",
        vec![
            key("from", "name of a peer", "required", "the peer that is asked; it has `retrieve`"),
            key(
                "study",
                words(&FromStudy::ALL),
                "`same`",
                "looked for in the study of the primary input, or in earlier studies of the same patient, of which the latest \
                 that has a fitting series is taken (the pipeline then has `\"same\": \"patient\"`). A prior mostly has a Frame of \
                 Reference of its own: then the input needs `\"frame\": \"any\"`, and a rigid registration object that relates \
                 the two has to come too",
            ),
            key("modality", "text", "any", "Modality of the series"),
            key("description", "regular expression", "any", "what Series Description has to match"),
            key("instances_min", "number", 1, "fewest instances of the series, where the peer tells their number"),
            key("within_days", "number", "any time", "how long before the primary study a prior may be"),
            key("series_max", "number", FETCH_SERIES, "most series that are fetched, the latest first"),
            key("after_s", "number", FETCH_AFTER_S, "how long the input is waited for before the peer is asked"),
        ],
    )
}

fn input() -> Vec<Object> {
    vec![
        (
            "input",
            "What a series must be to fill the slot. Several of `all`, `any`, `none` must hold together. A pipeline of \
             several inputs runs when each that is not optional is filled by a complete series, one series for one \
             input, and no other series of the study is arriving. A late or another series makes a new job, the same \
             set none.",
            Group::ALL
                .iter()
                .map(|(word, group)| {
                    let meaning = match group {
                        Group::All => "all of the conditions hold",
                        Group::Any => "at least one of the conditions holds",
                        Group::None => "none of the conditions holds",
                    };
                    key(word, "list of conditions", "none", meaning)
                })
                .chain([
                    key("slices", "`{\"min\": n, \"max\": n}`", "any", "number of slices of the volume, both included"),
                    key("geometry", "object", "any", "what the volume must look like"),
                    key(
                        "structures",
                        "object: for each label a list of names, or `{\"union\": [names]}`",
                        "none: images",
                        "the slot is filled by an RT Structure Set or a segmentation (of a fraction, a half counts as inside), not by images. Steps name \
                         its structures `slot:label`. The first name of the list that is found counts, without regard \
                         to case; of a union all that are found. Results of contourd are not taken",
                    ),
                    key(
                        "primary",
                        "`true`, `false`",
                        "the first input",
                        "the result has its grid and refers to its images",
                    ),
                    key("optional", "`true`, `false`", "`false`", "the pipeline goes on without it"),
                    key(
                        "wait_s",
                        "number",
                        "`max_wait_s` of the pipeline",
                        "how long an optional input is waited for when the others are there",
                    ),
                    key(
                        "pick",
                        words(&Pick::ALL),
                        "`newest`",
                        "which of several series; `newest` is the last by the series' date and time, `only` refuses \
                         several. Two of the same time are refused too",
                    ),
                    key("by", words(&By::ALL), "`series_date`", "the time that `first` and `last` go by"),
                    key(
                        "frame",
                        words(&Frame::ALL),
                        "`same`",
                        "Frame of Reference: that of the primary input; or any, where another is brought to the primary \
                         images by a rigid registration object (Spatial Registration) of the patient, which is waited \
                         for up to `max_wait_s` (`wait_s` of an optional input); of several the newest counts. Structures \
                         of another one need images of it as an input too",
                    ),
                    key(
                        "unit",
                        words(&Unit::ALL),
                        "`rescaled`",
                        "the values of images: HU of CT and as stored otherwise; or standardised uptake by body weight \
                         (g/ml) of PET in BQML, GML or Philips' CNTS. Images that do not say all that it needs fail the job",
                    ),
                    key(
                        "volumes",
                        words(&Volumes::ALL),
                        "`each`",
                        "a series that holds several volumes (phases of a 4D CT, echoes, b-values, reconstructions): the \
                         conditions are asked of each by itself, and the pipeline runs on `each` that fulfils them; with \
                         `one`, several are refused, and one beside another that is incomplete",
                    ),
                    key(
                        "drawn_on",
                        "`primary`, `any` or an input",
                        "`primary`",
                        "beside `structures`: the images that they must have been drawn on. Structure sets and \
                         segmentations name their series; the phases of a 4D CT share a Frame of Reference, and what is \
                         drawn on one does not lie on the other. An object that names none is taken. Of a series that holds \
                         several volumes, the one is taken whose images they refer to",
                    ),
                    key(
                        "fetch",
                        "object",
                        "none",
                        "where it is looked for, once, when the series of the other inputs are there and none fits this one; an \
                         optional input is waited for until the answer, half an hour at most, or its `wait_s` where \
                         that is longer",
                    ),
                ])
                .collect(),
        ),
        fetch(),
        (
            "geometry",
            "In an input.",
            vec![
                key("orientation", words(&Orientation::ALL), "`any`", "the anatomical plane nearest to the images"),
                key("max_gap", "number", 0, "most slices that may be missing between two others"),
            ],
        ),
    ]
}

fn step_and_result() -> Vec<Object> {
    vec![
        (
            "step",
            "One model, or operations on structures. It may take what other steps make; cycles are refused. Operations \
             are those of `post` in `model.json`; structures of steps and inputs are named `step:label` in them.",
            vec![
                key("id", "name", "required", "by which structures name it"),
                key("model", "id of a model", "one of these three", "the folder in `models`"),
                key(
                    "post",
                    "object: for each structure a list of operations",
                    "one of these three",
                    "`{\"Ring\": [{\"op\": \"take\", \"of\": [\"prv:PRV\"]}, {\"op\": \"remove_inside\", \"of\": [\"rs:GTV\"]}]}`",
                ),
                key(
                    "op",
                    "an operation",
                    "one of these three",
                    "one operation on one structure, its parameters beside it: `\"op\": \"grow\", \"radius_mm\": 5, \
                     \"in\": \"lungs:SpinalCord\", \"as\": \"SpinalCord_PRV05\"`",
                ),
                key(
                    "in",
                    "object; with `op` a structure or a list of them",
                    "required with `model` and `op`",
                    "for each image of the model an input of this pipeline; `structures`: a list of `step:label`, or an \
                     object from the name in the model to `step:label`",
                ),
                key("as", "name", "required with `op`", "the structure that is made; of a list its union is taken"),
                key(
                    "on_failure",
                    words(&OnFailure::ALL),
                    "`fail`",
                    "the job fails; or the step's structures, and those of steps that need them, are left out with a \
                     warning, and the rest is delivered; weights that are missing or not those of `model.json` fail the job in any case",
                ),
            ],
        ),
        (
            "structure",
            "What one structure is called.",
            vec![
                key(
                    "name",
                    "1 to 64 characters",
                    "required",
                    "ROI name; unique without case; shortened for a destination that takes less, which is told",
                ),
                key("type", words(&RoiType::ALL), "that of the TG-263 name", "RT ROI Interpreted Type"),
                key("color", "`[red, green, blue]`, 0 to 255", "that of the TG-263 name", "display colour"),
                key(
                    "optional",
                    "`true`, `false`",
                    "`false`",
                    "the result is good without it; of a skipped step it is left out anyway",
                ),
                key(
                    "each",
                    "`true`, `false`",
                    "`false`",
                    "each connected part (by faces, edges and corners) is a structure of its own, the largest first: for \
                     what occurs any number of times, such as metastases. The name has one `#` in the place of the \
                     number, such as `GTVn#`. Of nothing there is one empty structure; more than 99 parts stay one \
                     structure, with a warning",
                ),
            ],
        ),
        (
            "rtstruct",
            "An RT Structure Set.",
            vec![
                key("label", "template of 1 to 16 characters", "required", "Structure Set Label, another for each set"),
                key("series", "template", "`contourd {pipeline}`", "Series Description"),
                key(
                    "stamp",
                    "`true`, `false`",
                    "`true`",
                    "` AI: review before use` stands behind the Series Description",
                ),
                key(
                    "holes",
                    words(&Holes::ALL),
                    "that of the dialect",
                    "one contour with a channel, which every system reads, or a contour for each boundary",
                ),
                key("steps", "list of steps", "all", "it holds the structures of these steps"),
                key("structures", "list of `step:label`", "all", "it holds these structures, besides those of `steps`"),
            ],
        ),
        (
            "seg",
            "A DICOM Segmentation of all structures. Planning systems do not take it; archives and viewers do.",
            vec![
                key("label", "1 to 16 characters", "required", "Content Label"),
                key(
                    "kind",
                    words(&Kind::ALL),
                    "`binary`",
                    "a bit for each voxel of each structure, which every reader knows; or one number for each voxel \
                     (Label Map Segmentation of 2024), in which structures may not overlap",
                ),
            ],
        ),
        (
            "registration",
            "A DICOM Deformable Spatial Registration of a deformation that a model makes.",
            vec![
                key("of", "`step:name`", "required", "the step, and the name in \"images\" of its model"),
                key(
                    "moving",
                    "an input",
                    "required",
                    "the images that the displacements lead to from the primary ones",
                ),
            ],
        ),
        (
            "derived_image",
            "An image that a model makes, as DICOM.",
            vec![
                key("of", "`step:name`", "required", "the step, and the name in \"images\" of its model"),
                key(
                    "as",
                    words(&As::ALL),
                    "`parametric_map`",
                    "a series of CT (values are HU) or MR images that planning systems read; or one object of 32-bit \
                     numbers",
                ),
                key("description", "1 to 64 characters", "what made it", "Series Description"),
            ],
        ),
        (
            "sr",
            "A structured report (TID 1500, Enhanced SR) with the volume of each structure and the mean, deviation, \
             extremes and median of the image in it: HU of CT, SUV or Bq/ml of PET. It refers to the segments of `seg` \
             where the pipeline writes that as well, which is smaller; otherwise it holds polygons.",
            vec![document_description()],
        ),
        (
            "pdf",
            "The page of the run as a PDF in a DICOM object. It names no patient; the object does.",
            vec![document_description()],
        ),
        (
            "secondary_capture",
            "The pictures of the page, each a colour image with its legend, after one with the table of structures.",
            vec![document_description()],
        ),
    ]
}

/// The same key of each document.
fn document_description() -> Key {
    let range = format!("1 to {DOCUMENT_DESCRIPTION_LENGTH_MAX} characters");
    key("description", range, "`contourd` and the pipeline", "Series Description, before ` AI: review before use`")
}

#[cfg(test)]
mod tests;
