//! `contourd model install` and `model list` on a folder with a bundle without weights: what is checked, what is changed.

mod onnx_stand_in;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use onnx_stand_in::{StandIn, onnx};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn contourd(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contourd"));
    command.current_dir(ROOT).arg("model").args(words).arg("--config").arg(folder).output().expect("it runs")
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A folder of configuration with one bundle.
fn with_bundle(id: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("models").join(id);
    fs::create_dir_all(&target).expect("made");
    fs::copy(Path::new(ROOT).join("models").join(id).join("model.json"), target.join("model.json")).expect("copied");
    folder
}

fn network(channels: usize, side: usize, classes: usize) -> Vec<u8> {
    let classes: Vec<(f32, f32)> = (0..classes).map(|class| (class as f32, 0.0)).collect();
    let sides = [Some(side), Some(side)];
    let (layout, input, output) = ("NCHW", "image", "logits");
    let classes = &classes;
    onnx(&StandIn {
        layout,
        input,
        output,
        channels,
        sides: &sides,
        bytes: false,
        classes,
        label_map: false,
        images: &[],
    })
}

#[test]
fn a_network_that_fits_is_put_in_place_and_only_its_digest_changes() {
    if contourd::onnx::check_library().is_err() {
        eprintln!("skipped: ONNX Runtime's library is not at hand");
        return;
    }
    let folder = with_bundle("ct-hn-larynx");
    let definition = folder.path().join("models/ct-hn-larynx/model.json");
    let before = fs::read_to_string(&definition).expect("a text");
    assert!(told(&contourd(folder.path(), &["list"])).contains("axial.onnx missing, coronal.onnx missing"));
    // Four classes fit as well: two are needed.
    let source = folder.path().join("axial.onnx");
    fs::write(&source, network(3, 321, 4)).expect("written");
    let source = source.to_string_lossy().into_owned();
    let output = contourd(folder.path(), &["install", "ct-hn-larynx", &source]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("still missing: coronal.onnx, sagittal.onnx"), "{}", told(&output));
    let after = fs::read_to_string(&definition).expect("a text");
    let changed: Vec<(&str, &str)> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!((before.lines().count(), changed.len()), (after.lines().count(), 1));
    assert!(changed[0].1.contains("axial.onnx") && !changed[0].1.contains("null"), "{changed:?}");
    assert!(folder.path().join("models/ct-hn-larynx/axial.onnx").is_file());
    // Another one for the same place is refused, the same one is not.
    assert!(contourd(folder.path(), &["install", "ct-hn-larynx", &source]).status.success());
    fs::write(&source, network(3, 321, 2)).expect("written");
    let output = contourd(folder.path(), &["install", "ct-hn-larynx", &source]);
    assert!(!output.status.success() && told(&output).contains("set \"sha256\" to null"), "{}", told(&output));
    let output = contourd(folder.path(), &["install", "ct-hn-larynx", &source, "--as", "coronal.onnx"]);
    assert!(output.status.success(), "{}", told(&output));
    let placed = folder.path().join("models/ct-hn-larynx/coronal.onnx");
    fs::write(&placed, "changed").expect("written");
    let listed = told(&contourd(folder.path(), &["list"]));
    assert!(listed.contains("coronal.onnx wrong digest, sagittal.onnx missing"), "{listed}");
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    if contourd::onnx::check_library().is_err() {
        eprintln!("skipped: ONNX Runtime's library is not at hand");
        return;
    }
    let folder = with_bundle("ct-heart-atria");
    let definition = folder.path().join("models/ct-heart-atria/model.json");
    let before = fs::read_to_string(&definition).expect("a text");
    let source = folder.path().join("x.onnx");
    let shown = source.to_string_lossy().into_owned();
    let cases = [
        (network(1, 513, 3), "input: found shape"),
        (network(3, 512, 3), "input: found shape"),
        (network(3, 513, 1), "output: found shape"),
        (b"no network".to_vec(), "not an ONNX network"),
    ];
    for (bytes, reason) in cases {
        fs::write(&source, bytes).expect("written");
        let output = contourd(folder.path(), &["install", "ct-heart-atria", &shown]);
        assert!(!output.status.success() && told(&output).contains(reason), "{reason}: {}", told(&output));
    }
    let output = contourd(folder.path(), &["install", "ct-hart", &shown]);
    assert!(told(&output).contains("there are ct-heart-atria"), "{}", told(&output));
    let output = contourd(folder.path(), &["install", "ct-heart-atria", &shown, "--as", "other.onnx"]);
    assert!(told(&output).contains("expected one of model.onnx"), "{}", told(&output));
    assert_eq!(fs::read_to_string(&definition).expect("a text"), before);
    assert!(!folder.path().join("models/ct-heart-atria/model.onnx").exists());
}
