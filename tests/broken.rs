//! Broken configurations: small edits of a good folder, in `tests/broken/*.json`, and what exactly is told of each.
//!
//! To add one: write `file`, `replace` and `by`; leave `told` empty, run the test, and judge what it prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use boon::{Compiler, Schemas};
use contourd::config;
use contourd::document::{self, Node, Problem, Problems, Value};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const NETWORK: &[u8] = b"not a network, but a file with a digest";

const TABLES: [(&str, &str, usize); 3] = [
    ("models", include_str!("broken/models.json"), 20),
    ("pipelines", include_str!("broken/pipelines.json"), 25),
    ("folders", include_str!("broken/folders.json"), 15),
];

const GOOD: [(&str, &str); 6] = [
    ("ae-config/gateway.json", include_str!("broken/good/gateway.json")),
    ("ae-config/peers/scanner.json", include_str!("broken/good/scanner.json")),
    ("ae-config/peers/tps.json", include_str!("broken/good/tps.json")),
    ("models/lung/model.json", include_str!("broken/good/lung.json")),
    ("models/views/model.json", include_str!("broken/good/views.json")),
    ("pipelines/thorax.json", include_str!("broken/good/thorax.json")),
];

/// One broken folder.
struct Case {
    table: &'static str,
    name: String,
    file: String,
    /// The whole text of the file, or the good one with parts replaced.
    text: String,
    told: Vec<String>,
    /// Whether the schema of the file must refuse it too: unknown keys, wrong types, words out of the set, bounds.
    schema_refuses: bool,
}

fn text_of(value: &Json) -> String {
    let text = value.as_str().unwrap_or_default().replace("DEEP", &"[".repeat(100));
    let digest: String = Sha256::digest(NETWORK).iter().map(|byte| format!("{byte:02x}")).collect();
    text.replace("DIGEST", &digest)
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (table, text, least) in TABLES {
        let list: Vec<Json> = serde_json::from_str(text).expect("a table of cases");
        assert!(list.len() >= least, "{table}: found {} cases, expected {least}", list.len());
        for case in list {
            let (name, file) = (text_of(&case["name"]), text_of(&case["file"]));
            let good = GOOD.iter().find(|(known, _)| *known == file).map(|(_, text)| text_of(&Json::from(*text)));
            let text = match case.get("text") {
                Some(whole) => text_of(whole),
                None => {
                    let (part, by) = (text_of(&case["replace"]), text_of(&case["by"]));
                    let good = good.unwrap_or_else(|| panic!("{name}: {file} is not in the good folder"));
                    assert_eq!(good.matches(&part).count(), 1, "{name}: {part} stands once in {file}");
                    good.replace(&part, &by)
                }
            };
            let told = case["told"].as_array().expect("a list").iter().map(text_of).collect();
            let schema_refuses = case["schema_refuses"].as_bool().unwrap_or(false);
            all.push(Case { table, name, file, text, told, schema_refuses });
        }
    }
    all
}

/// The good folder with one file written anew.
fn folder(file: &str, text: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    for (name, good) in GOOD {
        write(name, text_of(&Json::from(good)).as_bytes());
    }
    write("models/lung/model.onnx", NETWORK);
    if !file.is_empty() {
        write(file, text.as_bytes());
    }
    folder
}

fn told(folder: &Path) -> Vec<String> {
    let problems = config::load(folder).err().unwrap_or_default();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn the_good_folder_is_good() {
    assert_eq!(told(folder("", "").path()), [""; 0]);
    for (file, text) in GOOD {
        assert_eq!(against(file, &text_of(&Json::from(text))), Some(Vec::new()), "{file}");
    }
}

#[test]
fn each_mistake_is_told_exactly() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found = told(folder(&case.file, &case.text).path());
        if found != case.told {
            wrong.push(serde_json::json!({"table": case.table, "name": case.name, "told": found}));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.iter().map(|case| format!("{case}\n")).collect::<String>());
}

#[test]
fn explain_tells_the_same_and_ends_with_78() {
    for case in cases() {
        let folder = folder(&case.file, &case.text);
        let output = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["explain", "--config"])
            .arg(folder.path())
            .arg(folder.path().join("pipelines"))
            .output()
            .expect("contourd runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{}: {error}", case.name);
        let lines: Vec<&str> = error.lines().take(case.told.len()).collect();
        assert_eq!(lines, case.told, "{}", case.name);
    }
}

#[test]
fn schemas_refuse_what_they_can_see() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for case in cases() {
        let refused = against(&case.file, &case.text).is_some_and(|errors| !errors.is_empty());
        if refused != case.schema_refuses {
            wrong.push(format!(
                "{}: {}: the schema {}",
                case.table,
                case.name,
                if refused { "refuses" } else { "takes" }
            ));
        }
        // What every schema of this kind can see.
        let visible = |line: &String| {
            let parts =
                ["the unknown key", "expected an array", "expected a text", "expected an object", "true or false"];
            // What an attribute holds is known to the dictionary of DICOM alone.
            let of_attribute = line.contains("because the attribute");
            line.starts_with(&case.file) && !of_attribute && parts.iter().any(|part| line.contains(part))
        };
        if case.told.iter().any(visible) && !refused {
            wrong.push(format!("{}: {}: the schema takes what it can see", case.table, case.name));
        }
        seen += usize::from(refused);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 25, "found {seen} cases that schemas refuse");
}

/// What the schema of a file says; `None` where the text is not JSON.
fn against(file: &str, text: &str) -> Option<Vec<String>> {
    let kind = match file.split('/').collect::<Vec<_>>()[..] {
        ["ae-config", "gateway.json"] => "gateway",
        ["ae-config", ..] => "peer",
        ["models", ..] => "model",
        _ => "pipeline",
    };
    let document = plain(&document::parse(text, &mut Problems::of(file))?);
    let schema = serde_json::from_str(&config::schema(kind).expect("a schema")).expect("JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema).expect("a resource");
    let compiled = compiler.compile("schema.json", &mut schemas).expect("a schema of draft 2020-12");
    Some(schemas.validate(&document, compiled).err().iter().map(|error| format!("{error:#}")).collect())
}

/// A document without comments, as validators take it.
fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(_, text) => serde_json::from_str(text).expect("a number of JSON"),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(key, inner)| (key.clone(), plain(inner))).collect(),
    }
}
