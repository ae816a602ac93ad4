//! The reference says what the parsers know, no more and no less.

use super::*;
use crate::config::{Gateway, Peer};
use crate::document::{self, Node, Problems};
use crate::pipeline::Pipeline;

/// The keys that a parser knows at a place, out of what it says of an unknown one.
fn known(text: &str, parse: impl Fn(&Node, &mut Problems)) -> Vec<String> {
    let mut problems = Problems::of("f");
    let node = document::parse(text, &mut problems).expect("JSON");
    parse(&node, &mut problems);
    let told = problems.into_vec();
    let problem = told.iter().find(|problem| problem.found.contains("\"?\"")).expect("the unknown key is told");
    let keys = problem.expected.trim_start_matches("only the keys ");
    keys.split(", ").map(str::to_owned).collect()
}

fn written(title: &str) -> Vec<String> {
    let object = objects().into_iter().find(|(found, _, _)| *found == title).expect("a section");
    let mut keys: Vec<String> = object.2.iter().map(|(name, ..)| (*name).to_owned()).collect();
    keys.sort();
    keys
}

#[test]
fn the_keys_are_those_that_the_parsers_know() {
    let gateway = |node: &Node, problems: &mut Problems| drop(Gateway::parse(node, problems));
    let peer = |node: &Node, problems: &mut Problems| drop(Peer::parse("p", node, problems));
    let pipeline = |node: &Node, problems: &mut Problems| drop(Pipeline::parse(node, problems));
    let cases: [(&str, &str, &dyn Fn(&Node, &mut Problems)); 32] = [
        ("ae-config/gateway.json", r#"{"?": 1}"#, &gateway),
        ("storage", r#"{"storage": {"?": 1}}"#, &gateway),
        ("limits", r#"{"limits": {"?": 1}}"#, &gateway),
        ("worker", r#"{"worker": {"?": 1}}"#, &gateway),
        ("complete", r#"{"complete": {"?": 1}}"#, &gateway),
        ("ae-config/peers/NAME.json", r#"{"?": 1}"#, &peer),
        ("tls", r#"{"tls": {"?": 1}}"#, &gateway),
        ("tls of a peer", r#"{"host": "h", "tls": {"?": 1}}"#, &peer),
        ("certificate", r#"{"certificate": {"?": 1}}"#, &peer),
        ("dicomweb", r#"{"dicomweb": {"?": 1}}"#, &gateway),
        ("tls of dicomweb", r#"{"dicomweb": {"tls": {"?": 1}}}"#, &gateway),
        ("folder", r#"{"folders": [{"?": 1}]}"#, &gateway),
        ("token", r#"{"token": {"?": 1}}"#, &peer),
        ("dicomweb of a peer", r#"{"dicomweb": {"?": 1}}"#, &peer),
        ("retry", r#"{"retry": {"?": 1}}"#, &peer),
        ("verify", r#"{"verify": {"?": 1}}"#, &peer),
        ("dialect", r#"{"dialect": {"?": 1}}"#, &peer),
        ("pipelines/ID.json", r#"{"?": 1}"#, &pipeline),
        ("destination", r#"{"deliver": [{"?": 1}]}"#, &pipeline),
        ("after", r#"{"deliver": [{"to": ["a", "b"], "after": {"?": 1}}]}"#, &pipeline),
        ("input", r#"{"inputs": {"ct": {"?": 1}}}"#, &pipeline),
        ("fetch", r#"{"inputs": {"ct": {}, "mr": {"fetch": {"?": 1}}}}"#, &pipeline),
        ("geometry", r#"{"inputs": {"ct": {"geometry": {"?": 1}}}}"#, &pipeline),
        ("step", r#"{"steps": [{"model": "m", "in": {"ct": "ct"}, "?": 1}]}"#, &pipeline),
        ("structure", r#"{"structures": {"a:b": {"name": "Zzz", "?": 1}}}"#, &pipeline),
        ("rtstruct", r#"{"outputs": [{"rtstruct": {"?": 1}}]}"#, &pipeline),
        ("seg", r#"{"outputs": [{"seg": {"?": 1}}]}"#, &pipeline),
        ("registration", r#"{"outputs": [{"registration": {"?": 1}}]}"#, &pipeline),
        ("derived_image", r#"{"outputs": [{"derived_image": {"?": 1}}]}"#, &pipeline),
        ("sr", r#"{"outputs": [{"sr": {"?": 1}}]}"#, &pipeline),
        ("pdf", r#"{"outputs": [{"pdf": {"?": 1}}]}"#, &pipeline),
        ("secondary_capture", r#"{"outputs": [{"secondary_capture": {"?": 1}}]}"#, &pipeline),
    ];
    assert_eq!(cases.len(), objects().len(), "every section is checked");
    for (title, text, parse) in cases {
        let mut keys = known(text, parse);
        keys.sort();
        assert_eq!(keys, written(title), "{title}");
    }
}
