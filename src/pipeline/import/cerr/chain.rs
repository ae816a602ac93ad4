//! Configurations that were read together as pipelines: one for each, in which earlier models make what later ones need.

use serde_json::{Map, Value as Json, json};

use super::config::Config;
use super::reading::Need;
use super::{names, text};

/// The text of the pipeline of one configuration. `all` are those of the same call, among them the makers of what it needs.
pub(super) fn pipeline(config: &Config, all: &[&Config]) -> String {
    let mut order: Vec<&Config> = Vec::new();
    collect(config, all, &mut order, 0);
    let mut pipeline = Map::new();
    let mut set = |key: &str, value: Json| {
        pipeline.insert(key.to_owned(), value);
    };
    set("id", json!(config.id));
    set("description", json!(format!("Imported from the CERR model configuration {}.", config.algorithm)));
    set("revision", json!(1));
    set("mode", json!("off"));
    if order.iter().any(|one| one.scans.iter().any(|scan| scan.identifier.pick.is_some())) {
        set("same", json!("patient"));
    }
    let mut slots = Map::new();
    let mut drawn: Vec<Need> = Vec::new();
    let mut made = false;
    let mut steps: Vec<Json> = Vec::new();
    for one in &order {
        steps.push(step(one, all, &mut slots, &mut drawn, &mut made));
    }
    if !drawn.is_empty() {
        // What is found in the image need not be drawn, nor other names of what an earlier step makes.
        let dispensable = drawn.iter().all(|need| need.optional && (need.found || made));
        slots.insert("drawn".to_owned(), drawn_slot(&drawn, config.drawn, dispensable));
    }
    let outputs = outputs(config, &mut slots);
    set("inputs", Json::Object(slots));
    set("steps", Json::Array(steps));
    let mut structures = Map::new();
    let mut taken = Vec::new();
    for label in config.delivered() {
        let is_each = config.labels.iter().any(|(name, first, last)| name == label && first < last);
        let rule = if is_each { names::rule_of_parts(&mut taken) } else { names::rule(label, &mut taken) };
        structures.insert(format!("{}:{label}", config.id), rule);
    }
    set("structures", Json::Object(structures));
    set("outputs", Json::Array(outputs));
    set("deliver", json!([]));
    let comments = [
        format!("A start, made by `contourd import cerr` from {}_config.json.", config.algorithm),
        "Set \"mode\" to \"shadow\" to try it and to \"live\" to deliver; name destinations in \"deliver\"; say in \"inputs\" which series are meant.".to_owned(),
    ];
    text::document(&comments, &Json::Object(pipeline))
}

/// The structure set, and what the model gives besides: derived images, and deformations where a second image is there that
/// they lead to.
fn outputs(config: &Config, slots: &mut Map<String, Json>) -> Vec<Json> {
    let mut outputs = vec![json!({"rtstruct": {"label": "AUTO"}})];
    let primary = slots.keys().next().cloned().unwrap_or_default();
    for (name, image) in &config.images {
        let of = format!("{}:{name}", config.id);
        if image["kind"] == "image" {
            outputs.push(json!({"derived_image": {"of": of}}));
            continue;
        }
        let mut names = (0..config.scans.len()).map(|index| slot_of(config, index, slots));
        if let Some(moving) = names.find(|slot| *slot != primary) {
            outputs.push(json!({"registration": {"of": of, "moving": moving}}));
        }
    }
    outputs
}

/// The only other model that makes a structure: a label, or a region that it keeps. It looks at the same kind of images
/// and does not need that structure itself; where several could be meant, none is.
fn maker<'a>(need: &Need, config: &Config, all: &[&'a Config]) -> Option<(&'a Config, String)> {
    let mut found: Option<(&Config, String)> = None;
    for other in all.iter().filter(|other| other.id != config.id && same_images(other, config)) {
        if other.reading.needs.iter().any(|known| known.drawn_name().eq_ignore_ascii_case(need.drawn_name())) {
            continue;
        }
        let mut made = other.labels.iter().map(|(label, ..)| label).chain(&other.reading.saved);
        if let Some(label) = made.find(|label| label.eq_ignore_ascii_case(need.drawn_name())) {
            if found.is_some() {
                return None;
            }
            found = Some((other, label.clone()));
        }
    }
    found
}

/// Whether each image of one model is an image of the other.
fn same_images(one: &Config, other: &Config) -> bool {
    one.scans.iter().all(|scan| other.scans.iter().any(|known| known.identifier.suits(&scan.identifier)))
}

/// The makers of what a configuration needs, then itself. The depth ends a circle.
fn collect<'a>(config: &'a Config, all: &[&'a Config], order: &mut Vec<&'a Config>, depth: usize) {
    if depth > all.len() || order.iter().any(|known| known.id == config.id) {
        return;
    }
    for need in &config.reading.needs {
        if let Some((other, _)) = maker(need, config, all) {
            collect(other, all, order, depth + 1);
        }
    }
    if !order.iter().any(|known| known.id == config.id) {
        order.push(config);
    }
}

fn step(
    config: &Config,
    all: &[&Config],
    slots: &mut Map<String, Json>,
    drawn: &mut Vec<Need>,
    some_made: &mut bool,
) -> Json {
    let mut images = Map::new();
    for (index, scan) in config.scans.iter().enumerate() {
        let slot = slot_of(config, index, slots);
        images.insert(scan.name.clone(), json!(slot));
    }
    // By the name that the model has for each.
    let mut structures: Vec<(&str, String)> = Vec::new();
    for need in &config.reading.needs {
        let source = match maker(need, config, all) {
            Some((other, label)) => {
                *some_made = true;
                format!("{}:{label}", other.id)
            }
            None => {
                if !drawn.iter().any(|known| known.drawn_name() == need.drawn_name()) {
                    drawn.push(need.clone());
                }
                format!("drawn:{}", need.drawn_name())
            }
        };
        structures.push((&need.name, source));
    }
    let plain = structures.iter().all(|(name, source)| source.ends_with(&format!(":{name}")));
    if !structures.is_empty() {
        let list = match plain {
            true => structures.iter().map(|(_, source)| json!(source)).collect(),
            false => {
                Json::Object(structures.iter().map(|(name, source)| ((*name).to_owned(), json!(source))).collect())
            }
        };
        images.insert("structures".to_owned(), list);
    }
    json!({"id": config.id, "model": config.id, "in": images})
}

/// The slot with the same conditions, or a new one.
fn slot_of(config: &Config, index: usize, slots: &mut Map<String, Json>) -> String {
    let scan = &config.scans[index];
    let mut slot = json!({"all": scan.identifier.conditions()});
    if let Some((pick, by)) = scan.identifier.pick {
        slot["pick"] = json!(pick);
        slot["by"] = json!(by);
    }
    if scan.suv {
        slot["unit"] = json!("suv_bw");
    }
    if !scan.required {
        slot["optional"] = json!(true);
    }
    if let Some((name, _)) = slots.iter().find(|(_, known)| **known == slot) {
        return name.clone();
    }
    let mut name = scan.name.clone();
    while slots.contains_key(&name) {
        name.push('x');
    }
    slots.insert(name.clone(), slot);
    name
}

/// Structures that people drew, or that another system made: by the names of the configuration.
fn drawn_slot(drawn: &[Need], pick: Option<(&'static str, &'static str)>, dispensable: bool) -> Json {
    let mut labels = Map::new();
    for need in drawn {
        let mut list: Vec<&str> = need.aliases.iter().map(String::as_str).collect();
        if !need.told_apart {
            list.insert(0, &need.name);
        }
        labels.insert(need.drawn_name().to_owned(), json!(list));
    }
    let mut slot = json!({"structures": labels});
    if let Some((pick, by)) = pick {
        slot["pick"] = json!(pick);
        slot["by"] = json!(by);
    }
    if dispensable {
        slot["optional"] = json!(true);
    }
    slot
}
