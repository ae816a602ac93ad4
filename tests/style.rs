//! The rules of CONTRIBUTING.md that a program can check: heads and lengths of files, names of modules, reasons of
//! dependencies, links between documents, and texts that do not belong into a public repository.

mod source;

use std::fs;
use std::path::Path;

use source::{files, root, shown, tokens};

/// What a file may have. A file that grows past it holds two things.
const LINES_MAX: usize = 500;

/// Files that were longer when the rule came, with their reason; none may be added without one.
const LONGER: &[(&str, usize, &str)] = &[
    ("tests/rtstruct/main.rs", 600, "the cases that it writes are those that the foreign readers read"),
    ("src/job.rs", 520, "half of it is the transition table that its test prints"),
    ("src/dicom/scan.rs", 570, "the scanner of hostile bytes and the bytes that it is tried on stand together"),
    ("tests/node_simulation.rs", 600, "one world: its ledger, its destinations and its archive know each other"),
    ("src/limits.rs", 700, "a table: every bound of the program in one file, each with its reason"),
];

#[test]
fn every_file_begins_by_saying_what_it_does() {
    for (name, text) in rust_texts() {
        assert!(
            text.starts_with("//! "),
            "{name}:1: begin with one sentence in `//!`: what it does, and what it does not"
        );
    }
}

#[test]
fn no_file_grows_past_its_length() {
    let mut problems = Vec::new();
    for (name, text) in rust_texts() {
        let longer = LONGER.iter().find(|(file, _, _)| *file == name).map_or(LINES_MAX, |(_, lines, _)| *lines);
        let lines = text.lines().count();
        if lines > longer {
            problems
                .push(format!("{name}: found {lines} lines, expected at most {longer}; it holds two things, split it"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    for (name, text) in rust_texts() {
        let tokens = tokens(&text);
        let macros = tokens.windows(2).filter(|pair| pair[1].text == "!");
        let mut left = macros.filter(|pair| ["todo", "unimplemented", "dbg"].contains(&pair[0].text.as_str()));
        if let Some(pair) = left.next() {
            panic!("{name}:{}: found `{}!`; finish it or leave it out", pair[0].line, pair[0].text);
        }
    }
}

#[test]
fn modules_are_named_by_what_they_do() {
    for path in files("src", &[".rs"]) {
        for part in path.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned()) {
            let says_nothing = ["util", "utils", "common", "misc", "manager", "helpers"].contains(&part.as_str());
            assert!(!says_nothing, "{}: `{part}` does not say what it does to the data", shown(&path));
        }
    }
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (mut section, mut before, mut found) = ("", "", 0);
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains(" = ") && !line.starts_with('#') {
            found += 1;
            let reason = before.strip_prefix("# ").is_some_and(|reason| reason.len() > 15);
            assert!(reason, "Cargo.toml:{}: a comment above it says why this library, and what it replaces", index + 1);
        }
        before = line;
    }
    assert!(found > 20, "found {found} dependencies, expected those of the program");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut links = 0;
    for path in files(".", &[".md"]) {
        let text = fs::read_to_string(&path).expect("a readable document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().expect("a split has a first part");
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let leads_to = path.parent().expect("a file stands in a folder").join(file);
            assert!(leads_to.exists(), "{}: links to {target}, which does not exist", shown(&path));
        }
    }
    assert!(links > 5, "found {links} links, expected those of README.md at least");
}

#[test]
fn no_path_of_one_machine_is_in_the_repository() {
    // Put together here, so that this file is not found itself. /tmp is named where a person is to use it.
    let paths: Vec<String> = ["/work", "/root", "/home"].iter().map(|path| format!("{path}/")).collect();
    let extensions = [".rs", ".md", ".sh", ".py", ".toml", ".json", ".service", "Makefile", "run"];
    for path in files(".", &extensions) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            for machine in &paths {
                let hit = line.match_indices(machine.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '}' | '-'))
                });
                assert!(!hit, "{}:{}: found {machine}, a path of one machine", shown(&path), index + 1);
            }
        }
    }
}

#[test]
fn every_script_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let scripts = files(".", &[".sh", ".ci/run"]).into_iter().chain([root().join(".ci/run")]);
    for path in scripts.filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).expect("a readable script");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert!(text.starts_with("#!"), "{}: begin with #!", shown(&path));
        assert!(mode & 0o111 != 0, "{}: chmod +x", shown(&path));
        assert!(text.contains("set -e") || text.contains("set -u"), "{}: set -euo pipefail", shown(&path));
    }
}

fn rust_texts() -> Vec<(String, String)> {
    let folders = ["src", "tests", "benches", "fuzz"].iter().filter(|folder| Path::new(root()).join(folder).exists());
    let all: Vec<_> = folders.flat_map(|folder| files(folder, &[".rs"])).collect();
    assert!(all.len() > 20, "found {} files, expected the program", all.len());
    all.iter().map(|path| (shown(path), fs::read_to_string(path).expect("readable source"))).collect()
}
