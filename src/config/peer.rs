//! `ae-config/peers/<name>.json`: the nodes that we know, where they are and what they may do; it connects to none.

use crate::dicom::AeTitle;
use crate::dimse::{CertificateRule, Fingerprint, Network};
use crate::document::{Node, Problems, Value};
use crate::job::{RetryPolicy, Verification, VerifyBy};
use crate::limits::{HOST_LENGTH_MAX, SETTING_COUNT_MAX, WAIT_S_MAX};
use crate::output::rtstruct::Dialect;
use crate::retrieve::Way;

use super::dialect::parse_dialect;
use super::gateway::{parse_port, seconds};
use super::place::{self, Place};
use super::tls::{PeerTls, parse_rule};
use super::ways_in::parse_tokens;

/// A node that we know; its name is that of its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub name: String,
    /// The title that it calls with and is called by; none for a place that DICOM associations do not reach.
    pub ae_title: Option<AeTitle>,
    /// Where it may call from; empty for any address. A title alone proves nothing.
    pub from: Vec<Network>,
    /// The certificates that it may present when it calls; without it, any or none.
    pub certificate: Option<CertificateRule>,
    /// SHA-256 of the tokens that it may present over HTTP.
    pub tokens: Vec<Fingerprint>,
    /// Most associations that it may have open at the same time, if not as many as each peer.
    pub associations: Option<usize>,
    /// Host and port to call it at; required where it may receive, unless it is a folder.
    pub address: Option<Address>,
    /// What results are brought to.
    pub place: Place,
    /// How it is called by TLS; without it, it is called without.
    pub tls: Option<PeerTls>,
    pub may: May,
    pub dialect: Dialect,
    pub retry: RetryPolicy,
    /// How it is asked whether it has what it was sent; `None` where its success is enough.
    pub verify: Option<Verification>,
    pub on_warning: OnWarning,
    /// How series are fetched from it; `None` where nothing is.
    pub retrieve: Option<Way>,
}

/// What a warning of the destination means (Bxxx: it has changed or left out something, PS3.4 B.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWarning {
    /// It has the object.
    #[default]
    Accept,
    /// It is to take the object as it is: the delivery is parked at once with the cause, for a person to look at. Sent
    /// again, the object would be answered as one that is there.
    Refuse,
}

impl OnWarning {
    /// Every word.
    pub const ALL: [(&'static str, OnWarning); 2] = [("accept", OnWarning::Accept), ("refuse", OnWarning::Refuse)];
}

/// The words of `verify`.
pub const VERIFY_WORDS: [(&str, Option<VerifyBy>); 3] =
    [("none", None), ("find", Some(VerifyBy::Find)), ("commitment", Some(VerifyBy::Commitment))];

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IP address or a name to be looked up at each connection.
    pub host: String,
    pub port: u16,
}

/// What a peer may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct May {
    /// Send us instances.
    pub send: bool,
    /// Receive results.
    pub receive: bool,
    /// Ask what we have.
    pub query: bool,
    /// Ask us to commit to what we have (storage commitment), and then delete its own.
    pub commit: bool,
}

/// What happens when the file does not say: soon again, then every quarter of an hour, for three days, so that a
/// weekend of maintenance loses nothing.
pub const RETRY_DEFAULT: RetryPolicy =
    RetryPolicy { initial_s: 10.0, multiplier: 2.0, max_s: 900.0, max_age_s: 72.0 * 3_600.0 };

impl Peer {
    /// Parses the document of the peer `name`. `None` when anything is wrong; everything that is, is in `problems`.
    pub fn parse(name: &str, node: &Node, problems: &mut Problems) -> Option<Peer> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        fields.optional("$schema").and_then(|schema| schema.text(problems));
        fields.optional("description").and_then(|description| description.text(problems));
        let (folder, dicomweb) = (fields.optional("folder"), fields.optional("dicomweb"));
        let is_node = folder.is_none() && dicomweb.is_none();
        let title = if is_node { fields.required("ae_title", problems) } else { fields.optional("ae_title") };
        let ae_title = title.map(|title| title.parsed("an AE title", problems));
        let from = fields.optional("from").map(|list| parse_networks(list, problems)).unwrap_or_default();
        let certificate = fields.optional("certificate").and_then(|rule| parse_rule(rule, problems));
        let tokens = fields.optional("token").map(|token| parse_tokens(token, problems)).unwrap_or_default();
        let associations = fields.optional("associations").and_then(|node| parse_count(node, problems));
        let host = fields.optional("host").and_then(|host| parse_host(host, problems));
        let port = fields.optional("port").and_then(|port| parse_port(port, problems));
        let tls = fields.optional("tls");
        let rights = fields.required("may", problems);
        let may = rights.and_then(|may| parse_may(may, problems));
        let dialect = fields.optional("dialect").map(|dialect| parse_dialect(dialect, problems));
        let retry = fields.optional("retry").map_or(Some(RETRY_DEFAULT), |retry| parse_retry(retry, problems));
        let asked = fields.optional("verify");
        let verify = asked.map_or(Some(None), |verify| parse_verify(verify, problems));
        let on_warning = fields.optional("on_warning").map(|word| word.choice(&OnWarning::ALL, problems));
        let way = fields.optional("retrieve");
        let retrieve = way.and_then(|way| way.choice(&Way::ALL, problems));
        fields.finish(problems);
        if let (Some(way), true) = (way, is_node && (host.is_none() || port.is_none())) {
            problems.add(way, "no \"host\" and \"port\" beside it", "both for a peer from which series are fetched");
        }
        if !is_node {
            place::refuse_other_keys(node, folder.is_some(), problems);
            place::refuse_other_rights(rights.unwrap_or(node), may, problems);
            place::refuse_commitment(asked.unwrap_or(node), verify.flatten(), problems);
            let place = place::parse(folder, dicomweb, problems);
            if problems.count() > before {
                return None;
            }
            let (place, address, tls) = place?;
            return Some(Peer {
                name: name.to_owned(),
                ae_title: None,
                from,
                certificate,
                tokens,
                associations,
                address,
                place,
                tls,
                may: may?,
                dialect: dialect.unwrap_or_else(|| Some(Dialect::default()))?,
                retry: retry?,
                verify: verify?,
                on_warning: on_warning.unwrap_or_else(|| Some(OnWarning::default()))?,
                retrieve: None,
            });
        }
        if let Some(tls) = tls
            && host.is_none()
        {
            problems.add(tls, "no \"host\" beside it", "a peer that is called");
        }
        let tls = tls.and_then(|tls| PeerTls::parse(tls, problems));
        let address = host.zip(port).map(|(host, port)| Address { host, port });
        if let Some(may) = may.filter(|_| address.is_none() && problems.count() == before) {
            let expected = match may {
                May { receive: true, .. } => Some("both for a peer that may receive"),
                May { commit: true, .. } => Some("both for a peer that may commit: our report goes there"),
                _ => None,
            };
            if let Some(expected) = expected {
                problems.add(node, "no \"host\" and \"port\"", expected);
            }
        }
        if problems.count() > before {
            return None;
        }
        let dialect = dialect.unwrap_or_else(|| Some(Dialect::default()))?;
        Some(Peer {
            name: name.to_owned(),
            ae_title: Some(ae_title.flatten()?),
            from,
            certificate,
            tokens,
            associations,
            address,
            place: Place::Node,
            tls,
            may: may?,
            dialect,
            retry: retry?,
            verify: verify?,
            on_warning: on_warning.unwrap_or_else(|| Some(OnWarning::default()))?,
            retrieve,
        })
    }
}

fn parse_networks(node: &Node, problems: &mut Problems) -> Vec<Network> {
    let items = node.array(problems).unwrap_or_default();
    let expected = "an IP address or a network, such as 10.1.2.3, 10.1.0.0/16 or 2001:db8::/32";
    items.iter().filter_map(|item| item.parsed(expected, problems)).collect()
}

fn parse_count(node: &Node, problems: &mut Problems) -> Option<usize> {
    let most = i64::try_from(SETTING_COUNT_MAX).unwrap_or(i64::MAX);
    node.integer(1, most, problems).and_then(|count| usize::try_from(count).ok())
}

pub(super) fn parse_host(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if text.is_empty() || text.len() > HOST_LENGTH_MAX || !text.bytes().all(legal) || text.starts_with('-') {
        problems.add(node, node.describe(), "a host name or an IP address");
        return None;
    }
    Some(text.to_owned())
}

fn parse_may(node: &Node, problems: &mut Problems) -> Option<May> {
    #[derive(Clone, Copy)]
    enum Right {
        Send,
        Receive,
        Query,
        Commit,
    }
    let words =
        [("send", Right::Send), ("receive", Right::Receive), ("query", Right::Query), ("commit", Right::Commit)];
    let mut may = May::default();
    for item in node.array(problems)? {
        match item.choice(&words, problems) {
            Some(Right::Send) => may.send = true,
            Some(Right::Receive) => may.receive = true,
            Some(Right::Query) => may.query = true,
            Some(Right::Commit) => may.commit = true,
            None => {}
        }
    }
    if matches!(&node.value, Value::Array(items) if items.is_empty()) {
        problems.add_with_cure(node, "an empty list", "what the peer may do", "remove the file to forget the peer");
    }
    Some(may)
}

/// A word, or an object with `by` and `within_s`. `None` when anything is wrong.
fn parse_verify(node: &Node, problems: &mut Problems) -> Option<Option<Verification>> {
    if !matches!(node.value, Value::Object(_)) {
        return node.choice(&VERIFY_WORDS, problems).map(|by| by.map(Verification::usual));
    }
    let before = problems.count();
    let mut fields = node.object(problems)?;
    let by = fields.required("by", problems).and_then(|by| by.choice(&VERIFY_WORDS[1..], problems)).flatten();
    let usual = Verification::usual(by.unwrap_or(VerifyBy::Find));
    let within_s = seconds(&mut fields, "within_s", usual.within_s, problems);
    fields.finish(problems);
    (problems.count() == before).then_some(by.map(|by| Verification { by, within_s }))
}

fn parse_retry(node: &Node, problems: &mut Problems) -> Option<RetryPolicy> {
    let mut fields = node.object(problems)?;
    let initial_s = seconds(&mut fields, "initial_s", RETRY_DEFAULT.initial_s, problems);
    let multiplier = fields.optional("multiplier").and_then(|node| node.number(1.0, 100.0, problems));
    let max_s = seconds(&mut fields, "max_s", RETRY_DEFAULT.max_s.max(initial_s), problems);
    let hours = fields.optional("max_age_h").and_then(|node| node.number(0.0, WAIT_S_MAX / 3_600.0, problems));
    fields.finish(problems);
    if initial_s > max_s {
        let found = format!("initial_s {initial_s} above max_s {max_s}");
        problems.add_with_cure(node, found, "the first wait to be the shortest", "swap them or raise max_s");
    }
    let multiplier = multiplier.unwrap_or(RETRY_DEFAULT.multiplier);
    let max_age_s = hours.map_or(RETRY_DEFAULT.max_age_s, |hours| hours * 3_600.0);
    Some(RetryPolicy { initial_s, multiplier, max_s, max_age_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    fn check(text: &str) -> Result<Peer, Vec<String>> {
        let mut problems = Problems::of("peers/p.json");
        let parsed = document::parse(text, &mut problems).and_then(|node| Peer::parse("p", &node, &mut problems));
        parsed.ok_or_else(|| {
            problems.into_vec().iter().map(|p: &Problem| p.to_string().replace("peers/p.json:1: ", "")).collect()
        })
    }

    #[test]
    fn reads_senders_and_destinations() {
        let sender = check(r#"{"ae_title": "CT01", "may": ["send"]}"#).expect("good");
        assert_eq!((sender.may, sender.address), (May { send: true, ..May::default() }, None));
        let text = r#"{"ae_title": "TPS", "host": "tps.example", "port": 104, "may": ["receive", "query"],
            "dialect": "eclipse", "retry": {"initial_s": 1, "max_age_h": 1}}"#;
        let tps = check(text).expect("good");
        assert_eq!(Some(tps.dialect), Dialect::of("eclipse"));
        assert_eq!(tps.retry, RetryPolicy { initial_s: 1.0, max_age_s: 3_600.0, ..RETRY_DEFAULT });
    }

    #[test]
    fn reads_how_series_are_fetched() {
        let text = r#"{"ae_title": "PACS", "host": "h", "port": 1, "may": ["send"], "retrieve": "move"}"#;
        assert_eq!(check(text).expect("good").retrieve, Some(Way::Move));
        let told = check(r#"{"ae_title": "PACS", "may": ["send"], "retrieve": "get"}"#).expect_err("no address");
        assert!(told[0].contains("no \"host\" and \"port\" beside it"), "{told:?}");
        assert!(check(&text.replace("move", "push")).is_err());
    }

    #[test]
    fn reads_how_a_delivery_is_verified() {
        let verify = |text: &str| {
            let peer = r#"{"ae_title": "T", "host": "h", "port": 1, "may": ["receive"]"#;
            check(&format!("{peer}{text}}}")).expect("good").verify
        };
        assert_eq!(verify(""), None);
        assert_eq!(verify(r#", "verify": "none""#), None);
        assert_eq!(verify(r#", "verify": "find""#), Some(Verification::usual(VerifyBy::Find)));
        let written = verify(r#", "verify": {"by": "commitment", "within_s": 60}"#);
        assert_eq!(written, Some(Verification { by: VerifyBy::Commitment, within_s: 60.0 }));
    }

    #[test]
    fn reads_folders_and_web_servers() {
        let folder = check(r#"{"folder": "/srv/export", "may": ["receive"], "dialect": "mim", "verify": "find"}"#);
        let folder = folder.expect("good");
        assert_eq!((folder.ae_title, folder.address), (None, None));
        assert_eq!(folder.place, Place::Folder("/srv/export".into()));
        let web = check(
            r#"{"dicomweb": {"url": "https://pacs:8042/dicom-web", "tls": {"authorities": "ca.pem"}, "token_file": "t"},
                "may": ["receive"]}"#,
        )
        .expect("good");
        assert_eq!(web.address, Some(Address { host: "pacs".to_owned(), port: 8042 }));
        let Place::Web(place) = &web.place else { panic!("{web:?}") };
        assert_eq!((place.url.prefix.as_str(), web.tls.is_some()), ("/dicom-web", true));
    }

    #[test]
    fn refuses_each_bad_value() {
        for (text, expected) in [
            (
                r#"{"ae_title": "T", "may": ["receive"], "host": "h"}"#,
                r#"found no "host" and "port", expected both for a peer that may receive"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["receive"], "host": ";rm", "port": 104}"#,
                r#"host: found the text ";rm", expected a host name or an IP address"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "port": 0}"#,
                "port: found the number 0, expected a whole number from 1 to 65535",
            ),
            (
                r#"{"ae_title": "T", "may": ["sent"]}"#,
                r#"may[0]: found "sent", expected one of send, receive, query, commit; did you mean "send"?"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send", "commit"]}"#,
                r#"found no "host" and "port", expected both for a peer that may commit: our report goes there"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "verify": "c-find"}"#,
                r#"verify: found "c-find", expected one of none, find, commitment; did you mean "find"?"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "verify": {"by": "none"}}"#,
                r#"verify.by: found "none", expected one of find, commitment"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "on_warning": "retry"}"#,
                r#"on_warning: found "retry", expected one of accept, refuse"#,
            ),
            (
                r#"{"ae_title": "T", "may": []}"#,
                "may: found an empty list, expected what the peer may do; remove the file to forget the peer",
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "dialect": "eclips"}"#,
                r#"dialect: found "eclips", expected one of generic, eclipse, mim, monaco, pinnacle, raystation; did you mean "eclipse"?"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "retry": {"initial_s": 90, "max_s": 9}}"#,
                "retry: found initial_s 90 above max_s 9, expected the first wait to be the shortest; swap them or raise max_s",
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "retry": {"multiplier": 0.5}}"#,
                "retry.multiplier: found the number 0.5, expected a number from 1 to 100",
            ),
            (
                r#"{"folder": "/srv", "ae_title": "T", "may": ["receive"]}"#,
                r#"ae_title: found "ae_title" beside "folder", expected no such key: a folder is not called; take it out, or take "folder" out"#,
            ),
            (
                r#"{"folder": "/srv", "dicomweb": {"url": "http://h"}, "may": ["receive"]}"#,
                r#"dicomweb: found "dicomweb" beside "folder", expected no such key: a folder is not called; take it out, or take "folder" out"#,
            ),
            (
                r#"{"dicomweb": {"url": "http://h"}, "tls": {"sha256": []}, "may": ["receive"]}"#,
                r#"tls: found "tls" beside "dicomweb", expected no such key: the address and its TLS stand in "dicomweb"; take it out, or take "dicomweb" out"#,
            ),
            (
                r#"{"folder": "/srv", "may": ["receive", "send"]}"#,
                r#"may: found more than "receive", expected ["receive"]: nothing comes from there"#,
            ),
            (
                r#"{"folder": "", "may": ["receive"]}"#,
                r#"folder: found the text "", expected a folder, absolute or relative to the configuration folder"#,
            ),
            (
                r#"{"dicomweb": {"url": "http://h"}, "may": ["receive"], "verify": "commitment"}"#,
                r#"verify: found storage commitment, expected "find" or "none": only a node that is called by DICOM can be asked to commit"#,
            ),
            (
                r#"{"dicomweb": {"url": "https://h"}, "may": ["receive"]}"#,
                r#"dicomweb: found https, and no "tls", expected "tls": whom to believe"#,
            ),
            (
                r#"{"dicomweb": {"url": "http://h", "tls": {"authorities": "c"}}, "may": ["receive"]}"#,
                r#"dicomweb.tls: found "tls" beside http, expected https in "url", or no such key"#,
            ),
            (
                r#"{"dicomweb": {"url": "http://h", "token_file": "t"}, "may": ["receive"]}"#,
                r#"dicomweb: found a password or token for an http address of another machine, expected https: everybody on the way could read it"#,
            ),
            (
                r#"{"dicomweb": {"url": "http://127.0.0.1", "token_file": "t", "password_file": "p"}, "may": ["receive"]}"#,
                r#"dicomweb: found "password_file" and "token_file", expected one of them"#,
            ),
            (
                r#"{"dicomweb": {"url": "pacs:8042"}, "may": ["receive"]}"#,
                r#"dicomweb.url: found the text "pacs:8042" (it begins neither with https:// nor with http://), expected an address such as https://pacs:8042/dicom-web"#,
            ),
            (
                r#"{"ae_title": "T", "may": ["send"], "aet": 1}"#,
                r#"aet: found the unknown key "aet", expected only the keys $schema, description, folder, dicomweb, ae_title, from, certificate, token, associations, host, port, tls, may, dialect, retry, verify, on_warning, retrieve; did you mean "ae_title"?"#,
            ),
        ] {
            let told = check(text).expect_err(text);
            assert!(told.contains(&expected.to_owned()), "{text}\n{told:#?}");
        }
    }
}
