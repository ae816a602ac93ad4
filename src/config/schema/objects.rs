//! What may stand behind each key of gateway, peers and pipelines; meanings and defaults are those of the reference.

use serde_json::{Map, Value, json};

use crate::config::reference::{Object, objects};
use crate::config::{OnWarning, VERIFY_WORDS, dialect};
use crate::contour::Holes;
use crate::document::{Key, Shape, Table};
use crate::folder::After;
use crate::limits::{
    COLOR_COMPONENT_MAX, CONTOUR_POINTS_LEAST, CONTOUR_POINTS_MAX, COORDINATE_DECIMALS_MAX, FAIL_OVER_ATTEMPTS_MAX,
    FAIL_OVER_PEERS_MAX, FETCH_SERIES_MAX, FOLDERS_MAX, HOST_LENGTH_MAX, ID_LENGTH_MAX, LABEL_LENGTH_MAX,
    PATTERN_LENGTH_MAX, PDU_BYTES_MAX, PDU_BYTES_MIN, PIPELINE_INPUTS_MAX, PIPELINE_OUTPUTS_MAX, PIPELINE_STEPS_MAX,
    ROI_NAME_LENGTH_MAX, SETTING_COUNT_MAX, SETTING_MB_MAX, SLICES_MAX, STRUCTURE_ALIASES_MAX,
    STRUCTURE_NAME_LENGTH_MAX, TOLERANCE_PIXELS_MAX, WAIT_S_MAX,
};
use crate::output::derived::As;
use crate::output::seg::Kind;
use crate::pipeline::{
    By, DOCUMENT_DESCRIPTION_LENGTH_MAX, Frame, FromStudy, Mode, OUTPUT_KINDS, OnFailure, OnTimeout, Orientation, Pick,
    Same, Unit, Volumes,
};
use crate::retrieve::Way;
use crate::structure::RoiType;
use crate::tls::Clients;

/// A name of a pipeline, step, slot, model or peer.
pub(in crate::config) fn name() -> Shape {
    Shape::Text { least: 1, most: ID_LENGTH_MAX, pattern: Some("^[A-Za-z0-9_-][A-Za-z0-9_.-]*$".to_owned()) }
}

/// Printable ASCII without backslash, and without space at the ends.
fn short_text(most: usize) -> Shape {
    Shape::Text { least: 1, most, pattern: Some(r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$".to_owned()) }
}

/// A structure of a step or input, `step:Label`.
pub(super) fn artefact() -> Shape {
    Shape::Text { least: 3, most: usize::MAX, pattern: Some("^[^:]+:.".to_owned()) }
}

/// The table of one section of the reference, with the shapes of its keys.
pub(super) fn table(title: &str) -> Table {
    let found: Option<Object> = objects().into_iter().find(|(found, ..)| *found == title);
    let (title, lead, keys) = found.expect("the titles asked for are those of the reference, which a test reads");
    let keys = keys.into_iter().map(|(name, _, default, meaning)| Key {
        name,
        shape: shape(title, name).unwrap_or(Shape::Any),
        default: if default.starts_with("required") && default != "required" {
            "sometimes".to_owned()
        } else {
            default
        },
        meaning: meaning.to_owned(),
    });
    Table { title, lead, keys: keys.collect(), rules: rules(title) }
}

/// What the keys of an object say of each other.
fn rules(title: &str) -> Value {
    match title {
        "ae-config/gateway.json" => json!({"anyOf": [{"required": ["port"]}, {"required": ["tls"]}]}),
        "tls of a peer" => json!({
            "anyOf": [{"required": ["authorities"]}, {"required": ["sha256"]}],
            "dependentRequired": {"certificate": ["key"], "key": ["certificate"]},
        }),
        "certificate" => json!({"anyOf": [{"required": ["sha256"]}, {"required": ["names"]}]}),
        "ae-config/peers/NAME.json" => json!({
            "oneOf": [
                {
                    "required": ["ae_title"],
                    "properties": {"folder": false, "dicomweb": false},
                    "dependentRequired": {"tls": ["host"], "retrieve": ["host", "port"]},
                    "if": {"properties": {"may": {"type": "array", "contains": {"const": "receive"}}}, "required": ["may"]},
                    "then": {"required": ["host", "port"]},
                },
                without_a_node("folder", &["dicomweb", "on_warning"]),
                without_a_node("dicomweb", &["folder"]),
            ],
        }),
        "dicomweb of a peer" => json!({
            "if": {"properties": {"url": {"pattern": "^https:"}}},
            "then": {"required": ["tls"]},
            "else": {"properties": {"tls": false}},
            "not": {"required": ["password_file", "token_file"]},
        }),
        "pipelines/ID.json" => json!({
            "if": {"properties": {"mode": {"const": "live"}}, "required": ["mode"]},
            "then": {"required": ["deliver"], "properties": {"deliver": {"minItems": 1}}},
        }),
        "input" => json!({"allOf": [
            {"if": {"required": ["structures"]}, "then": {"properties": {"slices": false, "geometry": false, "unit": false, "volumes": false}}},
            {"if": {"required": ["wait_s"]}, "then": {"properties": {"optional": {"const": true}}, "required": ["optional"]}},
            {"if": {"required": ["by"]}, "then": {"properties": {"pick": {"enum": ["first", "last"]}}, "required": ["pick"]}},
        ]}),
        "result" => json!({"minProperties": 1, "maxProperties": 1}),
        _ => json!({}),
    }
}

/// A peer that is no DICOM node: nothing comes from there, and what says how a node calls and is called is refused.
fn without_a_node(key: &str, others: &[&str]) -> Value {
    let refused = ["ae_title", "from", "certificate", "token", "associations", "host", "port", "tls", "retrieve"];
    let mut properties: Map<String, Value> =
        refused.iter().chain(others).map(|key| ((*key).to_owned(), json!(false))).collect();
    properties.insert("may".to_owned(), json!({"items": {"const": "receive"}}));
    let verify = json!({"not": {"anyOf": [{"const": "commitment"}, {"properties": {"by": {"const": "commitment"}}, "required": ["by"], "type": "object"}]}});
    properties.insert("verify".to_owned(), verify);
    json!({"required": [key], "properties": properties})
}

/// The shape of a key; `None` for one that is not described here, which a test refuses.
pub(super) fn shape(title: &str, key: &str) -> Option<Shape> {
    if matches!(key, "$schema" | "description") {
        return Some(Shape::text());
    }
    match title {
        "tls" | "tls of a peer" | "certificate" | "tls of dicomweb" | "token" => tls(title, key),
        "dicomweb" | "folder" => way_in(title, key),
        "ae-config/gateway.json" | "storage" | "limits" | "worker" | "complete" => gateway(title, key),
        "ae-config/peers/NAME.json" | "dicomweb of a peer" | "retry" | "verify" => peer(title, key),
        "destination" | "after" => destination(key),
        "dialect" => dialect_of(key),
        "pipelines/ID.json" => pipeline(key),
        "input" | "geometry" => input(key),
        "fetch" => fetch(key),
        _ => step_or_result(title, key),
    }
}

fn title_of_entity() -> Shape {
    Shape::Text { least: 1, most: 16, pattern: Some(r"^[ -\[\]-~]+$".to_owned()) }
}

fn whole(low: i64, high: u64) -> Shape {
    Shape::Integer { low, high: i64::try_from(high).unwrap_or(i64::MAX) }
}

fn seconds() -> Shape {
    Shape::Number { low: 0.1, high: WAIT_S_MAX }
}

fn gateway(title: &str, key: &str) -> Option<Shape> {
    Some(match key {
        "ae_titles" => Shape::list_of(title_of_entity(), 1, usize::MAX),
        "bind" | "folder" => Shape::text_of(1, usize::MAX),
        "port" => whole(1, 65_535),
        "tls" => Shape::Object("tls"),
        "dicomweb" => Shape::Object("dicomweb"),
        "folders" => Shape::list_of(Shape::Object("folder"), 0, FOLDERS_MAX),
        "storage" => Shape::Object("storage"),
        "limits" => Shape::Object("limits"),
        "complete" => Shape::Object("complete"),
        "ask" => name(),
        "worker" => Shape::Object("worker"),
        "retention" => Shape::Object("retention"),
        "free_floor_mb" => whole(0, SETTING_MB_MAX),
        "associations" | "associations_per_peer" => whole(1, SETTING_COUNT_MAX),
        "pdu_bytes" => whole(i64::from(PDU_BYTES_MIN), u64::from(PDU_BYTES_MAX)),
        "instance_mb" => whole(1, SETTING_MB_MAX),
        "threads" => whole(0, SETTING_COUNT_MAX),
        "memory_limit_mb" => whole(256, SETTING_MB_MAX),
        "runs_max" => whole(1, 100),
        "device" => {
            let pattern = Some("^(cpu|(cuda|tensorrt)(:[0-9]+)?)$".to_owned());
            Shape::Text { least: 3, most: usize::MAX, pattern }
        }
        "cpu_instead" => Shape::Flag,
        "on_timeout" => Shape::words(&OnTimeout::ALL),
        "quiet_s" | "released_quiet_s" | "gap_quiet_s" | "max_wait_s" if title == "complete" => {
            Shape::Number { low: 0.0, high: WAIT_S_MAX }
        }
        "request_timeout_s" | "idle_timeout_s" | "time_limit_s" => seconds(),
        _ => return None,
    })
}

fn way_in(title: &str, key: &str) -> Option<Shape> {
    Some(match (title, key) {
        ("dicomweb", "address") => Shape::text_of(2, usize::MAX),
        ("dicomweb", "port") => whole(1, 65_535),
        ("dicomweb", "tls") => Shape::Object("tls of dicomweb"),
        ("dicomweb", "requests" | "requests_per_peer") => whole(1, SETTING_COUNT_MAX),
        ("dicomweb", "request_mb") => whole(1, SETTING_MB_MAX),
        ("folder", "path") => Shape::text_of(1, usize::MAX),
        ("folder", "calling_ae" | "called_ae") => title_of_entity(),
        ("folder", "after") => Shape::words(&After::ALL),
        ("folder", "settle_s" | "scan_s") => seconds(),
        _ => return None,
    })
}

fn tls(title: &str, key: &str) -> Option<Shape> {
    let file = || Shape::text_of(1, usize::MAX);
    let pattern = Some("^[0-9A-Fa-f]{64}$|^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}$".to_owned());
    let fingerprint = Shape::Text { least: 64, most: 95, pattern };
    Some(match (title, key) {
        (_, "sha256") => Shape::list_of(fingerprint, 1, usize::MAX),
        ("certificate", "names") => Shape::list_of(Shape::text(), 1, usize::MAX),
        ("tls", "port") => whole(1, 65_535),
        ("tls", "bind") => Shape::text_of(2, usize::MAX),
        ("tls" | "tls of dicomweb", "clients") => Shape::words(&Clients::ALL),
        ("tls" | "tls of dicomweb", "certificate" | "key" | "client_authorities") => file(),
        ("tls of a peer", "authorities" | "certificate" | "key") => file(),
        ("tls of a peer", "name") => host(),
        _ => return None,
    })
}

fn host() -> Shape {
    let pattern = Some("^[A-Za-z0-9._:][A-Za-z0-9._:-]*$".to_owned());
    Shape::Text { least: 1, most: HOST_LENGTH_MAX, pattern }
}

/// The object behind `retention`, which the reference describes in its key.
pub(super) fn retention() -> Value {
    let days = Shape::Number { low: 0.0, high: 36_525.0 };
    let meaning = "How long images and results are kept after the last job of their series.".to_owned();
    let committed = Key {
        name: "committed_days",
        shape: days.clone(),
        default: "for ever".to_owned(),
        meaning: "How long a series is kept of which something was committed to a peer, from then on.".to_owned(),
    };
    let keys = vec![Key { name: "days", shape: days, default: "required".to_owned(), meaning }, committed];
    Table { title: "retention", lead: "How long images and results are kept.", keys, rules: json!({}) }.schema()
}

fn peer(title: &str, key: &str) -> Option<Shape> {
    Some(match (title, key) {
        ("retry", "initial_s" | "max_s") => seconds(),
        ("retry", "multiplier") => Shape::Number { low: 1.0, high: 100.0 },
        ("retry", "max_age_h") => Shape::Number { low: 0.0, high: WAIT_S_MAX / 3_600.0 },
        (_, "url") => {
            let pattern = Some("^https?://[^@?#]+$".to_owned());
            Shape::Text { least: 8, most: usize::MAX, pattern }
        }
        (_, "folder" | "password_file" | "token_file") => Shape::text_of(1, usize::MAX),
        (_, "dicomweb") => Shape::Object("dicomweb of a peer"),
        (_, "ae_title") => title_of_entity(),
        (_, "from") => Shape::list(Shape::text_of(2, usize::MAX)),
        (_, "host") => host(),
        (_, "certificate") => Shape::Object("certificate"),
        (_, "token") => Shape::Object("token"),
        (_, "associations") => whole(1, SETTING_COUNT_MAX),
        (_, "tls") => Shape::Object("tls of a peer"),
        (_, "port") => whole(1, 65_535),
        (_, "may") => Shape::list_of(Shape::Words(vec!["send", "receive", "query", "commit"]), 1, usize::MAX),
        (_, "dialect") => Shape::Either(vec![Shape::words(&dialect::words()), Shape::Object("dialect")]),
        (_, "retry") => Shape::Object("retry"),
        ("verify", "by") => Shape::words(&VERIFY_WORDS[1..]),
        ("verify", "within_s") => seconds(),
        (_, "verify") => Shape::Either(vec![Shape::words(&VERIFY_WORDS), Shape::Object("verify")]),
        (_, "retrieve") => Shape::words(&Way::ALL),
        (_, "on_warning") => Shape::words(&OnWarning::ALL),
        _ => return None,
    })
}

fn destination(key: &str) -> Option<Shape> {
    Some(match key {
        "to" => Shape::Either(vec![name(), Shape::list_of(name(), 1, FAIL_OVER_PEERS_MAX)]),
        "after" => Shape::Object("after"),
        "outputs" => Shape::list_of(Shape::Words(OUTPUT_KINDS.to_vec()), 1, OUTPUT_KINDS.len()),
        "attempts" => whole(1, FAIL_OVER_ATTEMPTS_MAX.into()),
        "wait_s" => seconds(),
        _ => return None,
    })
}

fn pipeline(key: &str) -> Option<Shape> {
    Some(match key {
        "id" => name(),
        "revision" => whole(1, u64::from(u32::MAX)),
        "mode" => Shape::words(&Mode::ALL),
        "when" => Shape::Object("when"),
        "inputs" => Shape::map(Shape::Object("input"), 1, PIPELINE_INPUTS_MAX),
        "same" => Shape::words(&Same::ALL),
        "complete" => Shape::Object("complete"),
        "steps" => Shape::list_of(Shape::Object("step"), 1, PIPELINE_STEPS_MAX),
        "structures" => Shape::map(Shape::Object("structure"), 1, usize::MAX),
        "outputs" => Shape::list_of(Shape::Object("result"), 1, PIPELINE_OUTPUTS_MAX),
        "cpu_instead" => Shape::Flag,
        "deliver" => Shape::list(Shape::Object("destination")),
        _ => return None,
    })
}

/// Objects of a pipeline that the reference describes in the key that holds them.
pub(super) fn small_objects() -> Vec<Table> {
    let key = |name, shape, default: &str, meaning: &str| Key {
        name,
        shape,
        default: default.to_owned(),
        meaning: meaning.to_owned(),
    };
    let titles = || Shape::list_of(title_of_entity(), 1, usize::MAX);
    let count = || whole(1, SLICES_MAX as u64);
    let names = || Shape::list_of(Shape::text_of(1, ROI_NAME_LENGTH_MAX), 1, STRUCTURE_ALIASES_MAX);
    let table = |title, lead, keys| Table { title, lead, keys, rules: rules(title) };
    vec![
        table(
            "when",
            "Conditions on the association by which the series came.",
            vec![
                key("called_ae", titles(), "any", "Titles of ours by which it was called."),
                key("calling_ae", titles(), "any", "Titles of peers that called."),
            ],
        ),
        table(
            "slices",
            "Number of slices of the volume, both included.",
            vec![key("min", count(), "1", "The least."), key("max", count(), "any", "The most.")],
        ),
        table(
            "union",
            "Names all of which are taken that are found.",
            vec![key("union", names(), "required", "The names.")],
        ),
        table(
            "result",
            "An object that is made.",
            vec![
                key("rtstruct", Shape::Object("rtstruct"), "none", "An RT Structure Set."),
                key("seg", Shape::Object("seg"), "none", "A segmentation."),
                key("registration", Shape::Object("registration"), "none", "A deformation that a model makes."),
                key("derived_image", Shape::Object("derived_image"), "none", "An image that a model makes."),
                key("sr", Shape::Object("sr"), "none", "A structured report of volumes and values."),
                key("pdf", Shape::Object("pdf"), "none", "The page of the run as a PDF."),
                key("secondary_capture", Shape::Object("secondary_capture"), "none", "The pictures of the page."),
            ],
        ),
    ]
}

fn dialect_of(key: &str) -> Option<Shape> {
    Some(match key {
        "like" => Shape::words(&dialect::words()),
        "name_length" => whole(dialect::NAME_LENGTH_LEAST as i64, STRUCTURE_NAME_LENGTH_MAX as u64),
        "label_length" => whole(1, LABEL_LENGTH_MAX as u64),
        "contour_points" => {
            Shape::Either(vec![whole(CONTOUR_POINTS_LEAST as i64, CONTOUR_POINTS_MAX as u64), Shape::Null])
        }
        "tolerance_pixels" => Shape::Number { low: 0.0, high: TOLERANCE_PIXELS_MAX },
        "decimals" => whole(1, COORDINATE_DECIMALS_MAX as u64),
        "holes" => Shape::words(&Holes::ALL),
        "name_spaces" | "side_first" | "empty" | "roi_creator" => Shape::Flag,
        "rename" => Shape::map(Shape::text_of(1, STRUCTURE_NAME_LENGTH_MAX), 0, usize::MAX),
        _ => return None,
    })
}

fn input(key: &str) -> Option<Shape> {
    let names = Shape::list_of(Shape::text_of(1, ROI_NAME_LENGTH_MAX), 1, STRUCTURE_ALIASES_MAX);
    Some(match key {
        "all" | "any" | "none" => Shape::list_of(Shape::Object("condition"), 1, usize::MAX),
        "slices" => Shape::Object("slices"),
        "geometry" => Shape::Object("geometry"),
        "structures" => Shape::map(Shape::Either(vec![names, Shape::Object("union")]), 1, usize::MAX),
        "primary" | "optional" => Shape::Flag,
        "wait_s" => Shape::Number { low: 0.0, high: WAIT_S_MAX },
        "pick" => Shape::words(&Pick::ALL),
        "by" => Shape::words(&By::ALL),
        "frame" => Shape::words(&Frame::ALL),
        "drawn_on" => name(),
        "unit" => Shape::words(&Unit::ALL),
        "volumes" => Shape::words(&Volumes::ALL),
        "orientation" => Shape::words(&Orientation::ALL),
        "max_gap" => whole(0, SLICES_MAX as u64),
        "fetch" => Shape::Object("fetch"),
        _ => return None,
    })
}

fn fetch(key: &str) -> Option<Shape> {
    Some(match key {
        "from" => name(),
        "study" => Shape::words(&FromStudy::ALL),
        "modality" => Shape::Text { least: 1, most: 16, pattern: Some("^[A-Z0-9_]+$".to_owned()) },
        "description" => Shape::text_of(0, PATTERN_LENGTH_MAX),
        "instances_min" => whole(1, u64::from(u16::MAX)),
        "within_days" => whole(1, 36_525_u64),
        "series_max" => whole(1, FETCH_SERIES_MAX as u64),
        "after_s" => Shape::Number { low: 0.0, high: WAIT_S_MAX },
        _ => return None,
    })
}

fn step_or_result(title: &str, key: &str) -> Option<Shape> {
    Some(match (title, key) {
        ("step", "id" | "model") => name(),
        ("step", "post") => {
            let operations = Shape::list_of(Shape::Object("post operation"), 1, usize::MAX);
            Shape::map(operations, 1, usize::MAX)
        }
        ("step", "in") => Shape::Either(vec![artefact(), Shape::list_of(artefact(), 1, usize::MAX)]),
        ("step", "as") => Shape::Text { least: 1, most: usize::MAX, pattern: Some("^[^:]+$".to_owned()) },
        ("step", "op") => Shape::text(),
        ("step", "on_failure") => Shape::words(&OnFailure::ALL),
        ("structure", "name") => Shape::text_of(1, STRUCTURE_NAME_LENGTH_MAX),
        ("structure", "type") => Shape::words(&RoiType::ALL),
        ("structure", "color") => Shape::three(Shape::Integer { low: 0, high: COLOR_COMPONENT_MAX }),
        ("structure", "optional" | "each") => Shape::Flag,
        ("rtstruct", "label" | "series") => short_text(usize::MAX),
        ("rtstruct", "stamp") => Shape::Flag,
        ("rtstruct", "steps") => Shape::list_of(name(), 1, usize::MAX),
        ("rtstruct", "structures") => Shape::list_of(artefact(), 1, usize::MAX),
        ("seg", "label") => short_text(16),
        ("derived_image", "description") => short_text(64),
        ("sr" | "pdf" | "secondary_capture", "description") => short_text(DOCUMENT_DESCRIPTION_LENGTH_MAX),
        ("rtstruct", "holes") => Shape::words(&Holes::ALL),
        ("seg", "kind") => Shape::words(&Kind::ALL),
        ("registration" | "derived_image", "of") => artefact(),
        ("registration", "moving") => name(),
        ("derived_image", "as") => Shape::words(&As::ALL),
        _ => return None,
    })
}
