//! `folder` and `dicomweb` of a peer: destinations that no association reaches. It opens neither.

use std::net::IpAddr;
use std::path::PathBuf;

use super::peer::{Address, May};
use super::tls::{PeerTls, parse_file};
use crate::deliver::dicomweb::{Login, Url};
use crate::document::{Node, Problems, Value};
use crate::job::{Verification, VerifyBy};

/// What results for a peer are brought to.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A node that is called by DICOM.
    Node,
    /// A folder, absolute or relative to the configuration folder.
    Folder(PathBuf),
    Web(WebPlace),
}

/// A DICOMweb server (STOW-RS, QIDO-RS).
#[derive(Clone, Debug, PartialEq)]
pub struct WebPlace {
    pub url: Url,
    /// The file is absolute or relative to the configuration folder.
    pub login: Option<Login>,
}

/// Keys that say how a node calls and is called, and what a C-STORE means.
const KEYS_OF_NODES: [&str; 9] =
    ["ae_title", "from", "certificate", "token", "associations", "host", "port", "tls", "retrieve"];

/// Tells keys that mean nothing here, instead of passing over them.
pub(super) fn refuse_other_keys(node: &Node, is_folder: bool, problems: &mut Problems) {
    let Value::Object(fields) = &node.value else { return };
    let (own, why, more): (_, _, &[&str]) = match is_folder {
        true => ("folder", "a folder is not called", &["dicomweb", "on_warning"]),
        false => ("dicomweb", "the address and its TLS stand in \"dicomweb\"", &[]),
    };
    for (key, value) in fields {
        if KEYS_OF_NODES.contains(&key.as_str()) || more.contains(&key.as_str()) {
            let cure = format!("take it out, or take \"{own}\" out");
            let expected = format!("no such key: {why}");
            problems.add_with_cure(value, format!("\"{key}\" beside \"{own}\""), expected, cure);
        }
    }
}

/// Nothing comes from there.
pub(super) fn refuse_other_rights(node: &Node, may: Option<May>, problems: &mut Problems) {
    let only = May { receive: true, ..May::default() };
    if let Some(may) = may.filter(|may| *may != only) {
        let found = if may.receive { "more than \"receive\"" } else { "no \"receive\"" };
        problems.add(node, found, "[\"receive\"]: nothing comes from there");
    }
}

pub(super) fn refuse_commitment(node: &Node, verify: Option<Verification>, problems: &mut Problems) {
    if verify.is_some_and(|verify| verify.by == VerifyBy::Commitment) {
        let expected = "\"find\" or \"none\": only a node that is called by DICOM can be asked to commit";
        problems.add(node, "storage commitment", expected);
    }
}

/// The place, with the address and the TLS of a server. `None` when anything is wrong.
pub(super) fn parse(
    folder: Option<&Node>,
    dicomweb: Option<&Node>,
    problems: &mut Problems,
) -> Option<(Place, Option<Address>, Option<PeerTls>)> {
    if let Some(folder) = folder {
        return Some((Place::Folder(parse_folder(folder, problems)?), None, None));
    }
    let node = dicomweb?;
    let before = problems.count();
    let mut fields = node.object(problems)?;
    let expected = "an address such as https://pacs:8042/dicom-web";
    let url: Option<Url> = fields.required("url", problems).and_then(|url| {
        if matches!(&url.value, Value::String(text) if text.contains('@')) {
            // It is not repeated: it may hold a password.
            let cure = "name a \"password_file\" that holds them";
            problems.add_with_cure(url, "a user or a password in the address", "an address alone", cure);
            return None;
        }
        url.parsed(expected, problems)
    });
    let tls = fields.optional("tls");
    let password = fields.optional("password_file").and_then(|file| parse_file(file, problems));
    let token = fields.optional("token_file").and_then(|file| parse_file(file, problems));
    fields.finish(problems);
    match (&url, tls) {
        (Some(url), None) if url.secure => problems.add(node, "https, and no \"tls\"", "\"tls\": whom to believe"),
        (Some(url), Some(tls)) if !url.secure => {
            problems.add(tls, "\"tls\" beside http", "https in \"url\", or no such key");
        }
        _ => {}
    }
    let tls = tls.and_then(|tls| PeerTls::parse(tls, problems));
    let login = match (password, token) {
        (Some(_), Some(_)) => {
            problems.add(node, "\"password_file\" and \"token_file\"", "one of them");
            None
        }
        (Some(file), None) => Some(Login::Password(file)),
        (None, Some(file)) => Some(Login::Token(file)),
        (None, None) => None,
    };
    let url = url?;
    if login.is_some() && !url.secure && !is_this_machine(&url.host) {
        let expected = "https: everybody on the way could read it";
        problems.add(node, "a password or token for an http address of another machine", expected);
    }
    if problems.count() > before {
        return None;
    }
    let address = Address { host: url.host.clone(), port: url.port };
    Some((Place::Web(WebPlace { url, login }), Some(address), tls))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn parse_folder(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let text = node.text(problems)?;
    if text.is_empty() || text.contains('\0') {
        problems.add(node, node.describe(), "a folder, absolute or relative to the configuration folder");
        return None;
    }
    Some(PathBuf::from(text))
}
