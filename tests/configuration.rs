//! The configuration as a whole, with real files: the shipped one, all errors at once, and changes while it is watched.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use contourd::config::{self, Configuration, Loader, Watcher};
use contourd::deliver;
use contourd::document::Problem;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const NETWORK: &[u8] = b"not a network, but a file with a digest";

const GATEWAY: &str = r#"{"ae_titles": ["HERE"], "port": 11112, "storage": {"folder": "var"}}"#;
const SCANNER: &str = r#"{"ae_title": "CT01", "may": ["send"]}"#;
const TPS: &str = r#"{"ae_title": "TPS", "host": "127.0.0.1", "port": 104, "may": ["receive"]}"#;

fn model(id: &str) -> String {
    let digest: String = Sha256::digest(NETWORK).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"{{"id": "{id}", "name": "M", "version": "1", "file": "model.onnx", "licence": "Apache-2.0",
      "sha256": "{digest}", "reference": "none", "intended_use": "tests", "algorithm": "deterministic",
      "inputs": {{"scan": {{}}}}, "tensor": {{"layout": "NCDHW"}}, "window": {{"patch": [32, "all", "all"]}},
      "output": {{"activation": "softmax", "decision": "argmax", "labels": {{"Lung_L": 1, "Lung_R": 2}}}},
      "structures": ["Lung_L", "Lung_R"]}}"#
    )
}

fn pipeline(id: &str) -> String {
    format!(
        r#"{{"id": "{id}", "revision": 1, "mode": "live", "when": {{"called_ae": ["HERE"], "calling_ae": ["CT01"]}},
 "inputs": {{"ct": {{"all": [{{"tag": "Modality", "eq": "CT"}}]}}}},
 "steps": [{{"id": "lungs", "model": "lung", "in": {{"scan": "ct"}}}}],
 "structures": {{"lungs:Lung_L": {{"name": "Lung_L"}}}},
 "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}], "deliver": [{{"to": "tps"}}]}}"#
    )
}

/// A configuration folder that has no problem.
fn good() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for inner in ["ae-config/peers", "pipelines", "models/lung"] {
        fs::create_dir_all(at(inner)).expect("a folder");
    }
    for (file, text) in [
        ("ae-config/gateway.json", GATEWAY),
        ("ae-config/peers/scanner.json", SCANNER),
        ("ae-config/peers/tps.json", TPS),
        ("models/lung/model.json", &model("lung")),
        ("pipelines/thorax.json", &pipeline("thorax")),
    ] {
        fs::write(at(file), text).expect("a file");
    }
    fs::write(at("models/lung/model.onnx"), NETWORK).expect("a file");
    folder
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// The problems of the good configuration after one file was written anew.
fn check(file: &str, text: &str) -> Vec<String> {
    let folder = good();
    fs::create_dir_all(folder.path().join(file).parent().expect("a folder")).expect("a folder");
    fs::write(folder.path().join(file), text).expect("a file");
    config::load(folder.path()).err().map(|problems| told(&problems)).unwrap_or_default()
}

#[test]
fn the_shipped_configuration_has_no_problem() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !shipped.join("models/ct-basic/model.json").exists() {
        println!("skipped: models/ct-basic is not in this checkout");
        return;
    }
    let configuration = match config::load(shipped) {
        Ok(configuration) => configuration,
        Err(problems) => panic!("{:#?}", told(&problems)),
    };
    let pipeline = &configuration.pipelines["ct-basic"];
    let names: Vec<&str> = pipeline.value.structures().iter().map(|rule| rule.style.name.as_str()).collect();
    assert_eq!(names, ["BODY", "Lung_L", "Lung_R", "Bone"]);
}

#[test]
fn the_reference_in_docs_is_not_stale() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let written = fs::read_to_string(file).unwrap_or_default();
    let cure = "run `cargo run -- check --reference > docs/configuration.md` and commit the file";
    assert!(written == config::reference(), "docs/configuration.md is stale; {cure}");
}

#[test]
fn a_good_configuration_is_whole() {
    let folder = good();
    let configuration = config::load(folder.path()).unwrap_or_else(|problems| panic!("{:#?}", told(&problems)));
    assert_eq!(configuration.storage_folder(), folder.path().join("var"));
    let model = &configuration.models["lung"];
    assert_eq!(
        fs::read(
            configuration.folder.join("models").join(model.value.id()).join(&model.value.recipe().networks()[0].file)
        )
        .expect("the network"),
        NETWORK
    );
    let pipeline = &configuration.pipelines["thorax"];
    assert_eq!(configuration.digest(pipeline).len(), 64);
    let tps = configuration.destination("tps");
    assert!(matches!(tps, Some(deliver::Destination::Dicom(tps)) if tps.port == 104));
    assert!(configuration.destination("scanner").is_none() && configuration.destination("nobody").is_none());
    let acceptance = configuration.receive_policy().acceptance;
    let may_send = |title: &str| acceptance.callers[&title.parse().expect("a title")][0].may_send;
    assert!(may_send("CT01") && !may_send("TPS"));
}

#[test]
fn references_are_held_against_the_other_files() {
    let changed = |part: &str, by: &str| {
        let text = pipeline("thorax");
        assert!(text.contains(part), "{part}");
        check("pipelines/thorax.json", &text.replace(part, by))
    };
    for (part, by, expected) in [
        (
            r#""model": "lung""#,
            r#""model": "lungs""#,
            r#"pipelines/thorax.json:3: steps[0].model: found "lungs", expected a model of the folder models (lung); did you mean "lung"?"#,
        ),
        (
            r#"{"scan": "ct"}"#,
            r#"{"scam": "ct"}"#,
            r#"pipelines/thorax.json:3: steps[0].in.scam: found "scam", expected an image of models/lung/model.json (scan); did you mean "scan"?"#,
        ),
        (
            r#"{"scan": "ct"}"#,
            r#"{"scam": "ct"}"#,
            r#"pipelines/thorax.json:3: steps[0].model: found no image "scan" in "in", expected all images of models/lung/model.json: scan"#,
        ),
        (
            r#""lungs:Lung_L""#,
            r#""lungs:Lung_LL""#,
            r#"pipelines/thorax.json:4: structures.lungs:Lung_LL: found "Lung_LL", expected a structure of models/lung/model.json (Lung_L, Lung_R); did you mean "Lung_L"?"#,
        ),
        (
            r#""in": {"scan": "ct"}}"#,
            r#""in": {"scan": "ct"}}, {"id": "prv", "op": "grow", "radius_mm": 3, "in": "lungs:Lung_LL", "as": "PRV"}"#,
            r#"pipelines/thorax.json:3: steps[1].in: found "Lung_LL", expected a structure of models/lung/model.json (Lung_L, Lung_R); did you mean "Lung_L"?"#,
        ),
        (
            r#""in": {"scan": "ct"}}],
 "structures": {"lungs:Lung_L""#,
            r#""in": {"scan": "ct"}}, {"id": "prv", "op": "grow", "radius_mm": 3, "in": "lungs:Lung_L", "as": "PRV"}],
 "structures": {"prv:PRVV""#,
            r#"pipelines/thorax.json:4: structures.prv:PRVV: found "PRVV", expected a structure of the step prv (PRV); did you mean "PRV"?"#,
        ),
        (
            r#""to": "tps""#,
            r#""to": "tsp""#,
            r#"pipelines/thorax.json:5: deliver[0].to: found "tsp", expected a peer of ae-config/peers (scanner, tps); did you mean "tps"?"#,
        ),
        (
            r#""to": "tps""#,
            r#""to": "scanner""#,
            r#"pipelines/thorax.json:5: deliver[0].to: found "scanner", which may not receive, expected a peer that may receive; add "receive" to "may" of ae-config/peers/scanner.json"#,
        ),
        (
            r#"["HERE"]"#,
            r#"["THERE"]"#,
            r#"pipelines/thorax.json:1: when.called_ae[0]: found "THERE", expected one of our titles in ae-config/gateway.json (HERE); did you mean "HERE"?"#,
        ),
        (
            r#"["CT01"]"#,
            r#"["CT01", "CT02"]"#,
            r#"pipelines/thorax.json:1: when.calling_ae[1]: found "CT02", expected the title of a peer that may send (CT01); did you mean "CT01"?"#,
        ),
        (
            r#""id": "thorax""#,
            r#""id": "Thorax""#,
            r#"pipelines/thorax.json:1: id: found "Thorax", expected "thorax", the name of the file; rename one of them"#,
        ),
    ] {
        let found = changed(part, by);
        assert!(found.contains(&expected.to_owned()), "{by}\n{found:#?}");
    }
}

#[test]
fn files_are_held_against_each_other_and_their_networks() {
    let lung = model("lung");
    let digest = lung.split('"').find(|part| part.len() == 64).expect("the digest").to_owned();
    let told = check("models/lung/model.json", &lung.replace(&digest, &"0".repeat(64)));
    assert_eq!(told.len(), 2, "{told:#?}");
    let zeros = "0".repeat(64);
    assert_eq!(
        told[0],
        format!(
            "models/lung/model.json:2: sha256: found {zeros}, which is not the digest of models/lung/model.onnx, expected {digest}; put the right file there, or the digest of this one after it was checked"
        )
    );
    assert!(told[1].contains("found \"lung\", in whose file something is wrong"), "{told:#?}");

    let told = check("models/lung/model.json", &lung.replace("model.onnx", "missing.onnx"));
    assert!(
        told[0].starts_with("models/lung/model.json:1: file: found models/lung/missing.onnx (No such file"),
        "{told:#?}"
    );

    let told = check("models/other/model.json", &lung);
    let expected =
        r#"models/other/model.json:1: id: found "lung", expected "other", the name of the folder; rename one of them"#;
    assert_eq!(told[0], expected);

    let told = check("models/empty/readme.txt", "");
    assert_eq!(told, ["models/empty/model.json: found nothing there, expected a JSON file"]);

    let told = check("pipelines/Thorax.json", &pipeline("Thorax"));
    assert_eq!(
        told,
        [
            r#"pipelines/thorax.json:1: id: found "thorax", which pipelines/Thorax.json has but for case, expected ids that differ by more than case"#
        ]
    );

    let own = r#"{"ae_title": "HERE", "host": "127.0.0.1", "port": 11112, "may": ["receive"]}"#;
    let told = check("ae-config/peers/loop.json", own);
    assert_eq!(
        told,
        [
            "ae-config/peers/loop.json:1: ae_title: found HERE at our port 11112: this gateway itself, expected another node"
        ]
    );
}

#[test]
fn files_that_are_not_json_are_told_by_line() {
    assert!(
        check("pipelines/thorax.json", "{\n\"id\": \n}")[0]
            .starts_with("pipelines/thorax.json:3: found text that is not JSON")
    );
    assert_eq!(
        check("pipelines/empty.json", ""),
        ["pipelines/empty.json: found an empty file, expected a JSON object"]
    );
    let large = " ".repeat(5 << 20);
    assert!(check("pipelines/large.json", &large)[0].contains("expected at most 4194304 bytes"));
    assert_eq!(check("pipelines/thorax.json", &format!("\u{feff}{}", pipeline("thorax"))), [""; 0]);
    assert_eq!(check("pipelines/.thorax.json.swp", "{"), [""; 0]);
    assert_eq!(check("pipelines/notes.txt", "{"), [""; 0]);
    let folder = good();
    fs::write(folder.path().join("pipelines/latin.json"), b"\xff\xfe").expect("a file");
    let problems = config::load(folder.path()).err().expect("a problem");
    assert_eq!(told(&problems), ["pipelines/latin.json: found bytes that are not UTF-8, expected a JSON file"]);
}

#[test]
fn says_all_that_is_wrong_in_all_files_at_once() {
    let folder = good();
    for (file, text) in [
        ("ae-config/gateway.json", r#"{"ae_titles": [], "port": 0, "storage": {}}"#),
        ("ae-config/peers/scanner.json", r#"{"ae_title": "", "may": ["sent"]}"#),
        ("models/lung/model.json", "{"),
        ("pipelines/bad.json", r#"{"id": "bad", "revisoin": 1}"#),
    ] {
        fs::write(folder.path().join(file), text).expect("a file");
    }
    let problems = config::load(folder.path()).err().expect("problems");
    let golden = include_str!("golden/many_problems.txt");
    let found = told(&problems).join("\n") + "\n";
    assert_eq!(found, golden, "\n{found}");
}

#[test]
fn a_folder_without_configuration_says_what_is_missing() {
    let folder = TempDir::new().expect("a folder");
    let problems = config::load(folder.path()).err().expect("problems");
    assert_eq!(
        told(&problems),
        [
            "ae-config/gateway.json: found nothing there, expected a JSON file",
            "ae-config/peers: found nothing there, expected a folder",
            "models: found nothing there, expected a folder",
            "pipelines: found nothing there, expected a folder",
        ]
    );
}

#[test]
fn a_bad_file_leaves_its_last_good_version_and_the_others() {
    let folder = good();
    let file = folder.path().join("pipelines/thorax.json");
    let mut loader = Loader::new(folder.path());
    let mut load = || loader.load().unwrap_or_else(|problems| panic!("{:#?}", told(&problems)));
    let before = load();
    assert!(before.problems.is_empty());

    fs::write(&file, "{").expect("a file");
    fs::write(folder.path().join("pipelines/new.json"), pipeline("new")).expect("a file");
    let after = load();
    assert_eq!(after.problems.len(), 1);
    assert_eq!(after.pipelines["thorax"].digest, before.pipelines["thorax"].digest);
    assert!(after.pipelines.contains_key("new"));

    // A reference to what is not there is as bad as a syntax error.
    fs::write(&file, pipeline("thorax").replace(r#""to": "tps""#, r#""to": "none""#)).expect("a file");
    assert_eq!(load().pipelines["thorax"].digest, before.pipelines["thorax"].digest);

    fs::write(folder.path().join("ae-config/gateway.json"), "[]").expect("a file");
    assert_eq!(load().gateway, before.gateway);

    // What the last good version needs is gone: it cannot run, and nothing says that it could.
    fs::remove_file(folder.path().join("ae-config/peers/tps.json")).expect("removed");
    let without = load();
    assert!(without.pipelines.is_empty() && !without.problems.is_empty());

    fs::write(folder.path().join("ae-config/peers/tps.json"), TPS).expect("a file");
    fs::write(folder.path().join("ae-config/gateway.json"), GATEWAY).expect("a file");
    fs::remove_file(&file).expect("removed");
    let last = load();
    assert!(last.problems.is_empty(), "{:#?}", told(&last.problems));
    assert_eq!(last.pipelines.keys().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn the_digest_of_a_pipeline_changes_with_its_model() {
    let folder = good();
    let digest = || {
        let configuration = config::load(folder.path()).unwrap_or_else(|problems| panic!("{:#?}", told(&problems)));
        configuration.digest(&configuration.pipelines["thorax"])
    };
    let before = digest();
    assert_eq!(digest(), before);
    fs::write(
        folder.path().join("models/lung/model.json"),
        model("lung").replace(r#""version": "1""#, r#""version": "2""#),
    )
    .expect("a file");
    assert_ne!(digest(), before);
}

type Told = Result<Configuration, Vec<Problem>>;

fn watched(folder: &Path) -> (Watcher, Receiver<Told>) {
    let mut loader = Loader::new(folder);
    let current = loader.load().unwrap_or_else(|problems| panic!("{:#?}", told(&problems)));
    let (sender, receiver) = channel();
    let tell = move |loaded| {
        let _ = sender.send(loaded);
    };
    (config::watch(loader, &current, tell).expect("a watch"), receiver)
}

fn next(changes: &Receiver<Told>) -> Configuration {
    let told = changes.recv_timeout(Duration::from_secs(20)).expect("a change is told");
    told.unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn changes_are_told_as_they_are_saved() {
    let folder = good();
    let file = folder.path().join("pipelines/thorax.json");
    let (_watcher, changes) = watched(folder.path());

    fs::write(&file, pipeline("thorax").replace("\"revision\": 1", "\"revision\": 2")).expect("a file");
    assert_eq!(next(&changes).pipelines["thorax"].value.revision(), 2);

    // As editors do: a new file takes the place of the old one.
    let beside = folder.path().join("pipelines/thorax.json~");
    fs::write(&beside, pipeline("thorax").replace("\"revision\": 1", "\"revision\": 3")).expect("a file");
    fs::rename(&beside, &file).expect("renamed");
    assert_eq!(next(&changes).pipelines["thorax"].value.revision(), 3);

    fs::write(&file, "{").expect("a file");
    let bad = next(&changes);
    assert_eq!((bad.problems.len(), bad.pipelines["thorax"].value.revision()), (1, 3));

    fs::remove_file(&file).expect("removed");
    let gone = next(&changes);
    assert!(gone.pipelines.is_empty() && gone.problems.is_empty());

    // A whole folder is replaced, as by a deployment.
    let (old, new) = (folder.path().join("pipelines"), folder.path().join("pipelines.new"));
    fs::create_dir(&new).expect("a folder");
    fs::write(new.join("thorax.json"), pipeline("thorax")).expect("a file");
    fs::rename(&old, folder.path().join("pipelines.old")).expect("renamed");
    fs::rename(&new, &old).expect("renamed");
    let mut last = next(&changes);
    while last.pipelines.is_empty() {
        last = next(&changes);
    }
    assert_eq!(last.pipelines["thorax"].value.revision(), 1);
    fs::write(&file, pipeline("thorax").replace("\"revision\": 1", "\"revision\": 9")).expect("a file");
    assert_eq!(next(&changes).pipelines["thorax"].value.revision(), 9);

    // The network is part of the configuration.
    fs::write(folder.path().join("models/lung/model.onnx"), b"another").expect("a file");
    assert!(next(&changes).problems.iter().any(|problem| problem.path == "sha256"));
}

#[test]
fn what_changes_nothing_is_not_told() {
    let folder = good();
    let (watcher, changes) = watched(folder.path());
    fs::write(folder.path().join("pipelines/notes.txt"), "a note").expect("a file");
    fs::create_dir(folder.path().join("var")).expect("a folder");
    fs::write(folder.path().join("var/image"), "an image").expect("a file");
    // The same text again, in one stroke: the watcher's first look may fall upon a file that is written only in part.
    let beside = folder.path().join("pipelines/thorax.json~");
    fs::write(&beside, pipeline("thorax")).expect("a file");
    fs::rename(&beside, folder.path().join("pipelines/thorax.json")).expect("renamed");
    assert!(changes.recv_timeout(Duration::from_secs(2)).is_err());
    drop(watcher);
    fs::write(folder.path().join("pipelines/thorax.json"), "{").expect("a file");
    assert!(changes.recv_timeout(Duration::from_secs(2)).is_err(), "nobody watches any more");
}
