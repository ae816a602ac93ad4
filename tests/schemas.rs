//! The published references and JSON Schemas are not stale, and what we ship is what they describe; a validator that is
//! not ours reads the schemas.

use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, Schemas};
use contourd::config::{self, EXAMPLES, SCHEMAS};
use contourd::document::{self, Node, Problems, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_conformance_statement_says_what_is_negotiated() {
    let written = fs::read_to_string(root().join("docs/conformance.md")).expect("the statement");
    let made = config::conformance();
    assert!(!made.contains("no table is named"), "docs/conformance.md asks for a table that is not there");
    for table in config::CONFORMANCE_TABLES {
        assert!(made.contains(&format!("<!-- table: {table} -->")), "the statement lacks the table of {table}");
    }
    let cure = "run `cargo run -- check --reference conformance`, write it to docs/conformance.md and commit the file";
    assert!(written == made, "docs/conformance.md is stale; {cure}");
}

#[test]
fn the_reference_of_models_is_not_stale() {
    let written = fs::read_to_string(root().join("docs/models.md")).unwrap_or_default();
    let cure = "run `cargo run -- check --reference models > docs/models.md` and commit the file";
    assert!(written == config::models_reference(), "docs/models.md is stale; {cure}");
}

#[test]
fn the_schemas_are_not_stale() {
    for name in SCHEMAS {
        let written = fs::read_to_string(root().join(format!("schema/{name}.json"))).unwrap_or_default();
        let cure = format!("run `cargo run -- check --schema {name} > schema/{name}.json` and commit the file");
        assert!(Some(written) == config::schema(name), "schema/{name}.json is stale; {cure}");
    }
}

/// A document without comments, as validators take it.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(_, text) => serde_json::from_str(text).expect("a number of JSON"),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(key, inner)| (key.clone(), plain(inner))).collect(),
    }
}

/// What the schema says against a document; nothing where it is good.
fn against(name: &str, text: &str) -> Option<String> {
    let mut problems = Problems::of("f");
    let document = plain(&document::parse(text, &mut problems).expect("JSON"));
    let schema = serde_json::from_str(&config::schema(name).expect("a schema")).expect("JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema).expect("a resource");
    let compiled = compiler.compile("schema.json", &mut schemas).expect("a schema of draft 2020-12");
    schemas.validate(&document, compiled).err().map(|error| format!("{error:#}"))
}

/// The JSON files in a folder of the repository, with the name of the schema that they name themselves.
fn shipped() -> Vec<(String, PathBuf)> {
    let mut found = vec![("gateway".to_owned(), root().join("ae-config/gateway.json"))];
    let mut add = |kind: &str, folder: &str, inside: &str| {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path().join(inside);
            let path = if inside.is_empty() { path.components().collect() } else { path };
            if path.is_file() && path.extension().is_some_and(|ending| ending == "json") {
                found.push((kind.to_owned(), path));
            }
        }
    };
    add("peer", "ae-config/peers", "");
    add("pipeline", "pipelines", "");
    add("model", "models", "model.json");
    found
}

#[test]
fn what_is_shipped_is_what_the_schemas_describe() {
    let files = shipped();
    assert!(files.len() >= 5, "found {files:?}");
    for (kind, path) in files {
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(against(&kind, &text), None, "{}", path.display());
        let named = text.split("\"$schema\": \"").nth(1).and_then(|rest| rest.split('"').next());
        let named = named.unwrap_or_else(|| panic!("{} names no schema", path.display()));
        let schema = path.parent().expect("a folder").join(named);
        let schema = schema.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
        assert_eq!(schema, root().canonicalize().expect("a folder").join(format!("schema/{kind}.json")));
    }
}

#[test]
fn examples_are_what_the_schemas_describe() {
    for text in EXAMPLES {
        assert_eq!(against("model", text), None);
    }
}
