//! To whom the results of a pipeline go: who the sender of a series is, and which peers take the place of others.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Peer;
use crate::dicom::AeTitle;
use crate::job::Sender;
use crate::node::DeliveryGroup;
use crate::pipeline::{Deliver, Pipeline, SENDER};
use crate::route::Arrival;

/// Who sent a series, for a pipeline that returns results; `None` for one that does not.
pub(super) fn sender(
    pipeline: &Pipeline,
    arrivals: Option<&[Arrival]>,
    peers: &BTreeMap<String, Peer>,
) -> Option<Sender> {
    let is_named = pipeline.deliver().iter().flat_map(|deliver| &deliver.to).any(|to| to.name == SENDER);
    is_named.then(|| match arrivals {
        None => Sender::nobody("it came from files"),
        Some(arrivals) => sent_by(arrivals.iter().map(|arrival| &arrival.calling_ae).collect(), peers),
    })
}

/// The peer that called with the one title by which all of a series came. Of several peers with one title, which the
/// listener can tell apart by address and certificate, the record of an instance names the title alone.
fn sent_by(titles: BTreeSet<&AeTitle>, peers: &BTreeMap<String, Peer>) -> Sender {
    let list = |names: &[&str]| names.join(", ");
    let titles: Vec<&AeTitle> = titles.into_iter().collect();
    let [title] = titles.as_slice() else {
        let named: Vec<&str> = titles.iter().map(|title| title.as_str()).collect();
        return Sender::nobody(match named.as_slice() {
            [] => "it is not known who sent it".to_owned(),
            several => format!("its images came from several senders: {}", list(several)),
        });
    };
    let sends = |peer: &&Peer| peer.may.send && peer.ae_title.as_ref() == Some(*title);
    let found: Vec<&Peer> = peers.values().filter(sends).collect();
    match found.as_slice() {
        [] => Sender::nobody(format!("no peer that may send has the title {title}, which sent it")),
        [peer] => {
            let may_not = || format!("the peer {}, which sent it, may not receive", peer.name);
            let note = if peer.may.receive { String::new() } else { may_not() };
            Sender { peer: Some(peer.name.clone()), note }
        }
        several => {
            let names: Vec<&str> = several.iter().map(|peer| peer.name.as_str()).collect();
            Sender::nobody(format!(
                "several peers that may send have the title {title}, which sent it: {}",
                list(&names)
            ))
        }
    }
}

/// The peers that a job delivers to, and those of them of which one gets the results. A sender that is named beside has
/// its own delivery in any case, and takes nobody's place. One that is unknown, or may not receive, is left out where
/// others can take its place.
pub(super) fn destinations(deliver: &[Deliver], sender: Option<&Sender>) -> (Vec<String>, Vec<DeliveryGroup>) {
    let known = sender.and_then(|sender| sender.peer.as_deref());
    let usable = known.filter(|_| sender.is_some_and(|sender| sender.note.is_empty()));
    // One that cannot receive is kept where nobody takes its place: the delivery says why it fails.
    let alone = |one: &Deliver| match one.to.as_slice() {
        [to] if to.name == SENDER => Some(known.unwrap_or(SENDER).to_owned()),
        [to] => Some(to.name.clone()),
        _ => None,
    };
    let all_alone: Vec<String> = deliver.iter().filter_map(alone).collect();
    let (mut destinations, mut groups): (Vec<String>, Vec<DeliveryGroup>) = Default::default();
    for one in deliver {
        let named: Vec<String> = match alone(one) {
            Some(name) => vec![name],
            None => {
                let names =
                    one.to.iter().filter_map(|to| if to.name == SENDER { usable } else { Some(to.name.as_str()) });
                names.filter(|name| !all_alone.iter().any(|other| other == name)).map(str::to_owned).collect()
            }
        };
        let mut members: Vec<String> = Vec::new();
        for name in named {
            if !destinations.iter().chain(&members).any(|other| *other == name) {
                members.push(name);
            }
        }
        if members.len() > 1 {
            groups.push(DeliveryGroup { to: members.clone(), after: one.after });
        }
        destinations.extend(members);
    }
    (destinations, groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problems};
    use crate::pipeline::{After, Reference};

    fn peers(list: &[(&str, &str)]) -> BTreeMap<String, Peer> {
        let peer = |(name, text): &(&str, &str)| {
            let mut problems = Problems::of("p");
            let node = document::parse(text, &mut problems).expect("JSON");
            let peer = Peer::parse(name, &node, &mut problems);
            ((*name).to_owned(), peer.unwrap_or_else(|| panic!("{:?}", problems.into_vec())))
        };
        list.iter().map(peer).collect()
    }

    #[test]
    fn the_sender_is_the_one_peer_of_the_one_title() {
        let both = r#"{"ae_title": "PACS", "may": ["send", "receive"], "host": "h", "port": 104}"#;
        let only = r#"{"ae_title": "CT", "may": ["send"]}"#;
        let deaf = r#"{"ae_title": "PACS", "may": ["receive"], "host": "h", "port": 105}"#;
        let folder = r#"{"folder": "/srv/export", "may": ["receive"]}"#;
        let known = peers(&[
            ("pacs", both),
            ("ct", only),
            ("console", only),
            ("mr", &only.replace("CT", "MR")),
            ("x", folder),
            ("deaf", deaf),
        ]);
        let check = |titles: &[&str], expected: (Option<&str>, &str)| {
            let titles: Vec<AeTitle> = titles.iter().map(|title| title.parse().expect("a title")).collect();
            let found = sent_by(titles.iter().collect(), &known);
            assert_eq!((found.peer.as_deref(), found.note.as_str()), expected);
        };
        check(&["PACS"], (Some("pacs"), ""));
        check(&["PACS", "PACS"], (Some("pacs"), ""));
        check(&["MR"], (Some("mr"), "the peer mr, which sent it, may not receive"));
        check(&["MR", "PACS"], (None, "its images came from several senders: MR, PACS"));
        check(&["CT"], (None, "several peers that may send have the title CT, which sent it: console, ct"));
        check(&["UNKNOWN"], (None, "no peer that may send has the title UNKNOWN, which sent it"));
        check(&[], (None, "it is not known who sent it"));
    }

    #[test]
    fn a_sender_gets_results_once_and_a_useless_one_stands_in_nobodys_way() {
        let check = |entries: &[&str], sender: Sender, expected: &str| {
            let reference = |name: &str| Reference { name: name.to_owned(), line: 1, path: String::new() };
            let entry = |text: &&str| Deliver {
                to: text.split(' ').map(reference).collect(),
                after: After::default(),
                outputs: None,
            };
            let deliver: Vec<Deliver> = entries.iter().map(entry).collect();
            let (destinations, groups) = destinations(&deliver, Some(&sender));
            let groups: Vec<String> = groups.iter().map(|group| group.to.join(">")).collect();
            assert_eq!(format!("{} | {}", destinations.join(" "), groups.join(" ")), expected, "{entries:?}");
        };
        let pacs = || Sender { peer: Some("pacs".to_owned()), note: String::new() };
        let mute = || Sender { peer: Some("mr".to_owned()), note: "it may not receive".to_owned() };
        let nobody = || Sender::nobody("several");
        check(&["tps", "sender"], pacs(), "tps pacs | ");
        check(&["pacs", "sender"], pacs(), "pacs | ");
        check(&["sender pacs"], pacs(), "pacs | ");
        check(&["sender tps"], pacs(), "pacs tps | pacs>tps");
        check(&["tps pacs", "sender"], pacs(), "tps pacs | ");
        check(&["sender tps", "pacs"], pacs(), "tps pacs | ");
        check(&["a b", "c sender"], pacs(), "a b c pacs | a>b c>pacs");
        check(&["tps", "sender"], nobody(), "tps sender | ");
        check(&["sender tps"], nobody(), "tps | ");
        check(&["sender"], mute(), "mr | ");
        check(&["sender tps"], mute(), "tps | ");
    }
}
