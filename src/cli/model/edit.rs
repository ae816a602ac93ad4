//! Writes a digest into the text of `model.json` and leaves every other character as it is; it checks no model.

use anyhow::{Context, bail};
use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// The text with the digest of network `index` in the place of its `null`. Networks count as the recipe counts them:
/// those of `previous` first.
pub(super) fn with_digest(text: &str, index: usize, digest: &str) -> anyhow::Result<String> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default())?;
    let Some(Value::Object(root)) = &parsed.value else { bail!("found no object, expected a model") };
    let mut places = Vec::new();
    if let Some(Value::Object(previous)) = value_of(root, "previous") {
        collect(previous, &mut places);
    }
    collect(root, &mut places);
    let place = places.get(index).context("found fewer networks than the model has")?;
    let Value::NullKeyword(null) = place else { bail!("found a digest already, expected null") };
    Ok(format!("{}\"{digest}\"{}", &text[..null.start()], &text[null.end()..]))
}

/// The values of `sha256` of one stage.
fn collect<'a>(stage: &'a Object<'a>, places: &mut Vec<&'a Value<'a>>) {
    match value_of(stage, "networks") {
        Some(Value::Array(list)) => places.extend(list.elements.iter().filter_map(|network| match network {
            Value::Object(network) => value_of(network, "sha256"),
            _ => None,
        })),
        _ => places.extend(value_of(stage, "sha256")),
    }
}

fn value_of<'a>(object: &'a Object<'a>, key: &str) -> Option<&'a Value<'a>> {
    object.properties.iter().find(|property| property.name.as_str() == key).map(|property| &property.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_changes_and_comments_stay() {
        let text = "// \"sha256\": null\n{\n  \"sha256\": null, // not shipped\n  \"post\": {\"a\": null},\n}\n";
        let changed = with_digest(text, 0, "ab").expect("changed");
        assert_eq!(changed, text.replace("\"sha256\": null, //", "\"sha256\": \"ab\", //"));
    }

    #[test]
    fn networks_count_those_of_the_previous_stage_first() {
        let text = r#"{"networks": [{"file": "a", "sha256": null}, {"sha256": null}], "previous": {"sha256": null}}"#;
        let found: Vec<String> = (0..3).map(|index| with_digest(text, index, "x").expect("changed")).collect();
        let before = |text: &str| text.find("\"x\"").expect("a digest");
        let places: Vec<usize> = found.iter().map(|text| before(text)).collect();
        assert!(places[1] < places[2] && places[2] < places[0], "{found:?}");
        assert!(with_digest(text, 3, "x").is_err());
        assert!(with_digest(&found[0], 0, "y").is_err());
    }
}
