//! A configuration as the text of `model.json`; it decides no operation.

use serde_json::{Map, Value as Json, json};

use super::config::Config;
use super::reading::number_of;
use super::text;
use super::wrappers::{self, Network};

/// What an imported model may be used for, until somebody says otherwise.
const INTENDED_USE: &str = "Not told by the configuration. For research until a person has shown that it works on the \
images of this place; every contour is to be checked and corrected before use.";
const LICENCE: &str =
    "Not told by the configuration; ask those who trained the network before you use or pass on its weights.";

/// The text of `model.json`. Adds to the notes what a person should know of the network.
pub(super) fn text(config: &mut Config) -> String {
    let views: Vec<&'static str> = config.scans.first().map_or_else(|| vec!["axial"], |scan| scan.views.clone());
    let run_time = config.labels.iter().any(|(_, first, last)| first != last);
    let network = wrappers::of(&config.algorithm, config.planar, &views, run_time);
    config.reading.note(network.note.clone());
    let mut model = Map::new();
    let mut set = |key: &str, value: Json| {
        model.insert(key.to_owned(), value);
    };
    set("id", json!(config.id));
    set("name", json!(config.algorithm));
    let described = config.description.clone().unwrap_or_else(|| "1".to_owned());
    set("version", json!(config.version.clone().unwrap_or(described)));
    set("licence", json!(LICENCE));
    let reference =
        config.reference.clone().unwrap_or_else(|| format!("CERR model configuration {}", config.algorithm));
    set("reference", json!(reference));
    set("intended_use", json!(INTENDED_USE));
    set("algorithm", json!("artificial_intelligence"));
    match network.files.as_slice() {
        [(file, _)] => {
            set("file", json!(file));
            set("sha256", Json::Null);
        }
        several => {
            let one = |(file, view): &(&str, Option<&str>)| json!({"file": file, "sha256": null, "view": view});
            set("networks", several.iter().map(one).collect());
        }
    }
    set("orientation", json!(network.orientation));
    if !config.reading.needs.is_empty() {
        let needs = config.reading.needs.iter().map(|need| match need.optional {
            true => json!({"name": need.name, "optional": true}),
            false => json!(need.name),
        });
        set("structures_in", needs.collect());
    }
    set("inputs", inputs(config, &network));
    if let Some(channels) = channels(config, &network) {
        set("channels", channels);
    }
    if views != ["axial"] || !network.view_pre.is_empty() {
        set("views", views.iter().map(|view| view_of(view, &network)).collect());
    }
    let mut tensor = json!({"layout": network.layout});
    for (key, value) in &network.tensor {
        tensor[*key] = json!(value);
    }
    set("tensor", tensor);
    set("window", json!({"patch": patch(config, &network, views.len() == 1)}));
    set("output", output(config, &network));
    if !config.images.is_empty() {
        set("images", Json::Object(config.images.clone()));
    }
    if !config.post.is_empty() {
        set("post", Json::Object(config.post.clone()));
    }
    let delivered = config.labels.iter().map(|(name, ..)| name).chain(&config.reading.saved);
    set("structures", delivered.map(|name| json!(name)).collect());
    set("origin", origin(config));
    let comments = [format!("Made by `contourd import cerr` from {}_config.json.", config.algorithm)];
    let notes = config.reading.notes.iter().cloned();
    let missing = config.reading.not_expressed.iter().map(|line| format!("Not expressed: {line}"));
    text::document(&comments.into_iter().chain(notes).chain(missing).collect::<Vec<_>>(), &Json::Object(model))
}

fn inputs(config: &Config, network: &Network) -> Json {
    let first = config.scans.first().map_or([None; 3], |scan| scan.size);
    let fixed = |scan: &super::scan::Scan| scan.size == first || scan.pre == config.scans[0].pre;
    let sized =
        first.iter().all(Option::is_some) || config.scans.iter().any(|scan| scan.pre.iter().any(is_sized_in_mm));
    let aligned = config.scans.len() < 2 || !sized || !config.scans.iter().all(fixed);
    let mut inputs = Map::new();
    for (index, scan) in config.scans.iter().enumerate() {
        let mut input = Map::new();
        let offset = config.image_offset.filter(|_| network.offset);
        let offset = offset.map(|offset| json!({"op": "offset", "add": number_of(offset)}));
        let pre: Vec<Json> = scan.pre.iter().chain(&offset).chain(&network.pre).cloned().collect();
        if !pre.is_empty() {
            input.insert("pre".to_owned(), Json::Array(pre));
        }
        // Arrays of a size that the configuration fixes are laid upon each other as they are, as CERR hands them over.
        if index > 0 && !aligned {
            input.insert("place".to_owned(), json!("index"));
        }
        if !scan.required {
            input.insert("optional".to_owned(), json!(true));
        }
        inputs.insert(scan.name.clone(), Json::Object(input));
    }
    Json::Object(inputs)
}

/// A crop about a centre of mass has the same size in mm for every image of one spacing.
fn is_sized_in_mm(step: &Json) -> bool {
    step["regions"].as_array().is_some_and(|regions| {
        regions
            .iter()
            .any(|region| region["unit"] == "mm" && region["size"].as_array().is_some_and(|size| size.len() == 3))
    })
}

/// The channels, where they are more than one for each input in the order of inputs.
fn channels(config: &Config, network: &Network) -> Option<Json> {
    let mut channels: Vec<Json> = Vec::new();
    let mut add = |of: &str, slice: i64, pre: &[Json]| {
        let mut channel = json!({"of": of});
        if slice != 0 {
            channel["slice"] = json!(slice);
        }
        if !pre.is_empty() {
            channel["pre"] = Json::Array(pre.to_vec());
        }
        channels.push(channel);
    };
    for name in &config.channel_order {
        let Some(scan) = config.scans.iter().find(|scan| scan.name == *name) else { continue };
        match &network.channels {
            Some(own) => own.iter().for_each(|(slice, pre)| add(name, *slice, pre)),
            None => {
                let repeat = if scan.channels.len() == 1 { network.repeat } else { 1 };
                for channel in &scan.channels {
                    (0..repeat).for_each(|_| add(name, channel.slice, &channel.pre));
                }
            }
        }
    }
    channels.extend(config.masks.iter().map(|(name, _)| json!({"structure": name})));
    let plain: Vec<Json> = config.scans.iter().map(|scan| json!({"of": scan.name})).collect();
    (channels != plain).then(|| Json::Array(channels))
}

/// The window: what the program around the network fixes, else what the configuration fixes, else the whole image.
fn patch(config: &Config, network: &Network, one_view: bool) -> Json {
    let size = config.scans.first().map_or([None; 3], |scan| scan.size);
    let mut patch = network.patch.clone();
    if let (Some(sides), true) = (patch.as_array_mut(), one_view) {
        for (side, fixed) in sides.iter_mut().zip(size) {
            if let (Some(fixed), true) = (fixed, side.is_string()) {
                *side = json!(fixed);
            }
        }
    }
    patch
}

fn view_of(view: &str, network: &Network) -> Json {
    let pre = network.view_pre.iter().find(|(name, _)| *name == view).map_or(&[][..], |(_, pre)| pre);
    if pre.is_empty() { json!(view) } else { json!({"view": view, "pre": pre}) }
}

fn output(config: &Config, network: &Network) -> Json {
    let mut labels = Map::new();
    for (name, first, last) in &config.labels {
        let value = if first == last { json!(first) } else { json!({"from": first, "to": last}) };
        labels.insert(name.clone(), value);
    }
    let mut output = json!({"activation": network.activation, "decision": network.decision, "back": network.back});
    output["labels"] = Json::Object(labels);
    output
}

fn origin(config: &Config) -> Json {
    let mut origin = Map::new();
    origin.insert("format".to_owned(), json!("CERR model configuration"));
    origin.insert("schema".to_owned(), json!(config.schema));
    if let Some(described) = &config.description {
        origin.insert("roiGenerationDescription".to_owned(), json!(described));
    }
    origin.extend(config.reading.origin.clone());
    Json::Object(origin)
}
