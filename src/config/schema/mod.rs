//! The JSON Schemas of the configuration files, made of the tables that the parsers and the reference use; they see what
//! one file says, not what it says of others.

pub(super) mod objects;
mod operations;

use serde_json::{Map, Value, json};

use super::models_reference;
use crate::document::shape::slug;
use crate::document::{Key, Shape, Table};
use objects::{artefact, name, retention, small_objects, table};

/// Their names: `schema/NAME.json`.
pub const SCHEMAS: [&str; 4] = ["gateway", "peer", "pipeline", "model"];

/// The text of `schema/NAME.json` (JSON Schema, draft 2020-12); `None` for another name.
pub fn schema(name: &str) -> Option<String> {
    let (root, definitions) = match name {
        "gateway" => gateway(),
        "peer" => (
            table("ae-config/peers/NAME.json").schema(),
            definitions(
                ["dicomweb of a peer", "retry", "verify", "dialect", "tls of a peer", "certificate", "token"]
                    .map(table),
            ),
        ),
        "pipeline" => pipeline(),
        "model" => model(),
        _ => return None,
    };
    let mut whole = Map::from_iter([
        ("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema")),
        (
            "$comment".to_owned(),
            json!(format!("Made by `contourd check --schema {name}`; a test fails when it is stale.")),
        ),
        ("title".to_owned(), json!(format!("contourd {name}"))),
    ]);
    let Value::Object(root) = root else { return None };
    whole.extend(root);
    whole.insert("$defs".to_owned(), Value::Object(definitions));
    let text = serde_json::to_string_pretty(&Value::Object(whole)).ok()?;
    Some(text + "\n")
}

fn definitions(tables: impl IntoIterator<Item = Table>) -> Map<String, Value> {
    tables.into_iter().map(|table| (slug(table.title), table.schema())).collect()
}

fn gateway() -> (Value, Map<String, Value>) {
    let mut inside = definitions(
        ["tls", "dicomweb", "tls of dicomweb", "folder", "storage", "limits", "worker", "complete"].map(table),
    );
    inside.insert("retention".to_owned(), retention());
    (table("ae-config/gateway.json").schema(), inside)
}

fn pipeline() -> (Value, Map<String, Value>) {
    let mut root = table("pipelines/ID.json").schema();
    root["properties"]["structures"]["propertyNames"] = artefact().schema();
    root["properties"]["inputs"]["propertyNames"] = name().schema();
    let mut inside = definitions(
        [
            "complete",
            "input",
            "geometry",
            "fetch",
            "structure",
            "rtstruct",
            "seg",
            "registration",
            "derived_image",
            "sr",
            "pdf",
            "secondary_capture",
            "destination",
            "after",
        ]
        .map(table),
    );
    inside.extend(definitions(small_objects()));
    inside.insert("condition".to_owned(), operations::condition());
    inside.insert("near".to_owned(), operations::near());
    inside.insert("step".to_owned(), step());
    inside.insert("post-operation".to_owned(), operations::after());
    (root, inside)
}

/// A step is one of three things, and the operations of the third are as many.
fn step() -> Value {
    let all = table("step");
    let key = |name: &str| all.keys.iter().find(|key| key.name == name).cloned();
    let required = |name: &str| key(name).map(|key| Key { default: "required".to_owned(), ..key });
    let some = |keys: Vec<Option<Key>>| keys.into_iter().flatten().collect::<Vec<Key>>();
    let variant = |lead, keys| Table { title: "step", lead, keys, rules: json!({}) }.schema();
    let model = some(vec![key("id"), required("model"), required("in"), key("on_failure")]);
    let mut model = variant("A model that is run.", model);
    let artefacts = Shape::Either(vec![Shape::list(artefact()), Shape::map(artefact(), 0, usize::MAX)]);
    model["properties"]["in"] = json!({
        "description": "For each image of the model an input of this pipeline; `structures`: what it takes of steps and inputs.",
        "type": "object", "properties": {"structures": artefacts.schema()}, "additionalProperties": name().schema(),
    });
    let post = some(vec![key("id"), required("post"), key("on_failure")]);
    let mut variants = vec![model, variant("Operations on structures.", post)];
    let beside = some(vec![key("id"), required("in"), required("as"), key("on_failure")]);
    variants.extend(operations::operations_after(&beside));
    json!({"description": all.lead, "oneOf": variants})
}

fn model() -> (Value, Map<String, Value>) {
    let mut tables = models_reference::tables().into_iter();
    let root = tables.next().map_or(Value::Null, |table| table.schema());
    let mut inside = definitions(tables);
    inside.insert("pre-operation".to_owned(), operations::before());
    inside.insert("region".to_owned(), operations::regions());
    inside.insert("post-operation".to_owned(), operations::after());
    (root, inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_reference_has_a_shape() {
        for (title, _, keys) in crate::config::reference::objects() {
            for (name, ..) in keys {
                assert!(objects::shape(title, name).is_some(), "{title}: {name}");
            }
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        for name in SCHEMAS {
            let text = schema(name).expect("a schema");
            let whole: Value = serde_json::from_str(&text).expect("JSON");
            for target in text.split("\"$ref\": \"#/$defs/").skip(1) {
                let target = target.split('"').next().expect("a name");
                assert!(whole["$defs"].get(target).is_some(), "{name}: {target}");
            }
        }
        assert_eq!(schema("other"), None);
    }
}
