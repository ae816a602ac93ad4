//! `deliver` of a pipeline: which peers get the results, and which take the place of one that does not answer; whether
//! they exist is asked elsewhere.

use serde::{Deserialize, Serialize};

use super::definition::{Output, Reference};
use super::outputs::OUTPUT_KINDS;
use crate::document::{Node, Problems, Value};
use crate::limits::{FAIL_OVER_ATTEMPTS_MAX, FAIL_OVER_PEERS_MAX, WAIT_S_MAX};

/// Stands in `to` for the peer that sent the primary series.
pub const SENDER: &str = "sender";

/// One destination of the results: a peer, or several of which one gets them.
#[derive(Clone, Debug, PartialEq)]
pub struct Deliver {
    /// In the order in which they are tried, at least one; [`SENDER`] among them.
    pub to: Vec<Reference>,
    /// When the next one is tried.
    pub after: After,
    /// The kinds of outputs that it gets; none for all.
    pub outputs: Option<Vec<String>>,
}

/// When a destination that fails for now loses its turn to the next one: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// So many attempts in one turn.
    pub attempts: u32,
    /// The first attempt that fails so long after the turn began; none for as long as the attempts take.
    #[serde(default)]
    pub wait_s: Option<f64>,
}

impl Default for After {
    /// Three attempts are over within a few minutes by the usual times of a peer, and outlast a restart of it.
    fn default() -> After {
        After { attempts: 3, wait_s: None }
    }
}

/// `outputs` are those of the pipeline, where they could be read.
pub(super) fn parse_deliver(node: &Node, outputs: Option<&[Output]>, problems: &mut Problems) -> Vec<Deliver> {
    let Some(items) = node.array(problems) else { return Vec::new() };
    let mut destinations: Vec<Deliver> = Vec::new();
    for item in items {
        let Some(mut fields) = item.object(problems) else { continue };
        let to = fields.required("to", problems).map(|to| parse_to(to, problems)).unwrap_or_default();
        let after = fields.optional("after");
        let kinds = fields.optional("outputs").map(|kinds| parse_kinds(kinds, outputs, problems));
        fields.finish(problems);
        if let (Some(after), [_]) = (after, to.as_slice()) {
            problems.add(
                after,
                "\"after\" with one peer in \"to\"",
                "a list of peers of which the next takes its place",
            );
        }
        let after = after.map(|after| parse_after(after, problems)).unwrap_or_default();
        let known =
            |to: &&Reference| destinations.iter().flat_map(|other| &other.to).any(|known| known.name == to.name);
        for again in to.iter().filter(known) {
            problems.add(item, format!("the peer {:?} a second time", again.name), "each destination once");
        }
        if !to.is_empty() {
            destinations.push(Deliver { to, after, outputs: kinds });
        }
    }
    destinations
}

/// A name, or a list of names.
fn parse_to(node: &Node, problems: &mut Problems) -> Vec<Reference> {
    let Value::Array(items) = &node.value else {
        return Reference::parse(node, problems).into_iter().collect();
    };
    if items.is_empty() || items.len() > FAIL_OVER_PEERS_MAX {
        let expected = format!("1 to {FAIL_OVER_PEERS_MAX} peers, in the order in which they are tried");
        problems.add(node, format!("a list of {}", items.len()), expected);
    }
    let mut names: Vec<Reference> = Vec::new();
    for item in items {
        let Some(name) = Reference::parse(item, problems) else { continue };
        if names.iter().any(|other| other.name == name.name) {
            problems.add(item, format!("the peer {:?} a second time", name.name), "each destination once");
        }
        names.push(name);
    }
    names
}

fn parse_after(node: &Node, problems: &mut Problems) -> After {
    let usual = After::default();
    let Some(mut fields) = node.object(problems) else { return usual };
    let attempts = fields.optional("attempts").and_then(|n| n.integer(1, FAIL_OVER_ATTEMPTS_MAX.into(), problems));
    let wait_s = fields.optional("wait_s").and_then(|n| n.number(0.1, WAIT_S_MAX, problems));
    fields.finish(problems);
    let attempts = attempts.and_then(|attempts| u32::try_from(attempts).ok());
    // A time alone is the rule, however many attempts fit into it.
    let unsaid = if wait_s.is_some() { FAIL_OVER_ATTEMPTS_MAX } else { usual.attempts };
    After { attempts: attempts.unwrap_or(unsaid), wait_s }
}

/// The kinds of outputs that one destination gets.
fn parse_kinds(node: &Node, outputs: Option<&[Output]>, problems: &mut Problems) -> Vec<String> {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() {
        problems.add(node, node.describe(), "at least one kind of output; leave the key out for all");
    }
    let mut kinds: Vec<String> = Vec::new();
    for item in items {
        let Some(kind) = item.choice(&OUTPUT_KINDS.map(|kind| (kind, kind)), problems) else { continue };
        if outputs.is_some_and(|outputs| !outputs.iter().any(|output| output.kind() == kind)) {
            let expected = "a kind that stands in \"outputs\" of the pipeline";
            problems.add(item, format!("{kind:?}, which the pipeline does not make"), expected);
        }
        kinds.push(kind.to_owned());
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn check(text: &str) -> Result<Vec<Deliver>, Vec<String>> {
        let mut problems = Problems::of("p");
        let node = document::parse(text, &mut problems).expect("JSON");
        let parsed = parse_deliver(&node, None, &mut problems);
        let told: Vec<String> = problems.into_vec().iter().map(|problem| problem.to_string()).collect();
        if told.is_empty() { Ok(parsed) } else { Err(told) }
    }

    #[test]
    fn reads_one_peer_or_several_in_their_order() {
        let parsed = check(r#"[{"to": "a"}, {"to": ["b", "sender"], "after": {"wait_s": 60}}, {"to": ["c", "d"]}]"#);
        let parsed = parsed.expect("good");
        let names = |deliver: &Deliver| deliver.to.iter().map(|to| to.name.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(parsed.iter().map(names).collect::<Vec<_>>(), ["a", "b sender", "c d"]);
        assert_eq!(parsed[1].after, After { attempts: FAIL_OVER_ATTEMPTS_MAX, wait_s: Some(60.0) });
        assert_eq!(parsed[2].after, After::default());
    }

    #[test]
    fn refuses_each_bad_value() {
        for (text, expected) in [
            (r#"[{"to": []}]"#, "found a list of 0, expected 1 to 8 peers, in the order in which they are tried"),
            (r#"[{"to": ["a", "a"]}]"#, r#"found the peer "a" a second time, expected each destination once"#),
            (
                r#"[{"to": "a"}, {"to": ["b", "a"]}]"#,
                r#"found the peer "a" a second time, expected each destination once"#,
            ),
            (
                r#"[{"to": "a", "after": {"attempts": 2}}]"#,
                r#"found "after" with one peer in "to", expected a list of peers of which the next takes its place"#,
            ),
            (
                r#"[{"to": ["a", "b"], "after": {"attempts": 0}}]"#,
                "after.attempts: found the number 0, expected a whole number from 1 to 1000",
            ),
            (
                r#"[{"to": ["a", "b"], "after": {"tries": 2}}]"#,
                r#"found the unknown key "tries", expected only the keys attempts, wait_s"#,
            ),
        ] {
            let told = check(text).expect_err(text);
            assert!(told.iter().any(|line| line.contains(expected)), "{text}\n{told:#?}");
        }
    }
}
