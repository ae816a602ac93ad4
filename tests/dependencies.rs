//! What may become part of the binary, by `deny.toml`: licences, banned crates, and one source for all. It asks Cargo
//! alone, so that the rule holds also where cargo-deny is not installed.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use source::root;

/// The texts in quotes of `key = [...]` in `deny.toml`.
fn list(key: &str, field: Option<&str>) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let from = text.find(&format!("\n{key} = [")).unwrap_or_else(|| panic!("deny.toml has no `{key}`"));
    let body = &text[from..from + text[from..].find("]\n").expect("a closed list")];
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let wanted = |line: &&str| field.is_none_or(|field| line.contains(&format!("{{ {field} = ")));
    body.lines().filter(wanted).flat_map(|line| quoted(line.split_once('=').map_or(line, |(_, rest)| rest))).collect()
}

/// The packages that are built for this system, without this one.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let all = metadata["packages"].as_array().expect("a list of packages").clone();
    assert!(all.len() > 50, "found {} packages, expected all that the program is built from", all.len());
    all.into_iter().filter(|package| package["name"] != "contourd").collect()
}

/// Whether a licence expression (SPDX, or with `/` for OR as in old manifests) can be met with `allowed`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], "");
    // No expression among our dependencies nests an AND in an OR but as `(A OR B) AND C`; each side is looked at alone.
    plain.split(" AND ").all(|side| side.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn every_licence_is_allowed() {
    let allowed = list("allow", None);
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_met(licence, &allowed), "{}: licence {licence} is not in deny.toml", package["id"]);
    }
}

#[test]
fn every_crate_comes_from_the_registry_and_none_is_banned() {
    let banned = list("deny", Some("name"));
    assert!(banned.contains("openssl-sys"), "deny.toml was read wrongly: {banned:?}");
    for package in packages() {
        let (name, source) = (package["name"].as_str().expect("a name"), package["source"].as_str());
        assert!(!banned.contains(name), "{name} is banned by deny.toml, which says why");
        let registry = source.is_some_and(|source| source.starts_with("registry+"));
        assert!(registry, "{name} comes from {source:?}, expected the registry: no copy, no branch");
    }
}

#[test]
fn reads_licence_expressions() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 OR GPL-2.0", false),
        ("(MIT OR Apache-2.0) AND ISC", true),
        ("(MIT OR Apache-2.0) AND NCSA", false),
        ("none", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
