//! The ways in besides associations, as `ae-config/gateway.json` has them: STOW-RS and watched folders; and the tokens of
//! peers. It opens no port and no folder; of folders it asks where they are.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use super::gateway::{parse_port, seconds, whole};
use super::resolve::{at, item};
use super::tls::{GatewayTls, parse_fingerprints};
use super::{Gateway, Loaded};
use crate::dicom::AeTitle;
use crate::dimse::Fingerprint;
use crate::document::{Node, Problems};
use crate::folder::After;
use crate::limits::{FOLDERS_MAX, SETTING_COUNT_MAX, SETTING_MB_MAX};

/// `dicomweb` of the gateway: a port where instances are taken by STOW-RS.
#[derive(Clone, Debug, PartialEq)]
pub struct DicomWeb {
    /// Where to listen, if not where the gateway does.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Without it, requests and tokens go over the network as they are.
    pub tls: Option<GatewayTls>,
    /// Requests at the same time, all peers together.
    pub requests: usize,
    /// Requests at the same time of one peer.
    pub requests_per_peer: usize,
    /// Longest body of a request.
    pub request_mb: u64,
}

/// What `dicomweb` is when its object does not say.
pub(super) const REQUESTS: (usize, usize, u64) = (16, 4, 16_384);

impl DicomWeb {
    pub(super) fn parse(node: &Node, problems: &mut Problems) -> Option<DicomWeb> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        let address =
            fields.optional("address").and_then(|address| address.parsed("an IP address, such as 0.0.0.0", problems));
        let port_node = fields.required("port", problems);
        let port = port_node.and_then(|port| parse_port(port, problems));
        let tls = fields.optional("tls");
        let (requests, of_one, mb) = REQUESTS;
        let counts = (1, SETTING_COUNT_MAX);
        let requests = whole(&mut fields, "requests", counts, requests as u64, problems) as usize;
        let of_one = of_one.min(requests) as u64;
        let requests_per_peer = whole(&mut fields, "requests_per_peer", counts, of_one, problems) as usize;
        let request_mb = whole(&mut fields, "request_mb", (1, SETTING_MB_MAX), mb, problems);
        fields.finish(problems);
        if requests_per_peer > requests {
            let found = format!("requests_per_peer {requests_per_peer} above requests {requests}");
            problems.add_with_cure(
                node,
                found,
                "no more for one peer than for all",
                "lower the first or raise the second",
            );
        }
        let tls = tls.map(|tls| GatewayTls::parse_at(tls, Some(port.unwrap_or(1)), problems));
        if problems.count() > before {
            return None;
        }
        Some(DicomWeb { address, port: port?, tls: tls.flatten(), requests, requests_per_peer, request_mb })
    }
}

/// One of `folders` of the gateway: what is put there is taken as if it had been sent.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedFolder {
    /// Absolute or relative to the configuration folder.
    pub path: PathBuf,
    /// By which titles it counts as sent.
    pub calling_ae: AeTitle,
    pub called_ae: AeTitle,
    /// What becomes of a file that is stored.
    pub after: After,
    /// How long a file has to stay as it is before it is taken.
    pub settle_s: f64,
    /// How often the folder is looked through, besides when the system tells of a change.
    pub scan_s: f64,
}

/// `settle_s` and `scan_s` when a folder does not say.
pub(super) const FOLDER_S: (f64, f64) = (5.0, 30.0);

/// Parses all of them, and holds them against each other and the storage folder.
pub(super) fn parse_folders(
    node: &Node,
    ours: Option<&[AeTitle]>,
    storage: Option<&Path>,
    problems: &mut Problems,
) -> Option<Vec<WatchedFolder>> {
    let before = problems.count();
    let items = node.array(problems)?;
    if items.len() > FOLDERS_MAX {
        problems.add(node, format!("{} folders", items.len()), format!("at most {FOLDERS_MAX}"));
        return None;
    }
    let mut folders: Vec<WatchedFolder> = Vec::new();
    for item in items {
        let Some(folder) = WatchedFolder::parse(item, ours, problems) else { continue };
        let others = folders.iter().map(|other| other.path.as_path()).chain(storage);
        if let Some(other) = others.into_iter().find(|other| overlap(other, &folder.path)) {
            let found = format!("{} beside {}: one lies in the other", folder.path.display(), other.display());
            problems.add(item, found, "a folder of its own, apart from the others and from the storage folder");
        }
        folders.push(folder);
    }
    (problems.count() == before).then_some(folders)
}

impl WatchedFolder {
    fn parse(node: &Node, ours: Option<&[AeTitle]>, problems: &mut Problems) -> Option<WatchedFolder> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        let path = fields.required("path", problems).and_then(|path| {
            let text = path.text(problems)?;
            if text.is_empty() || text.contains('\0') {
                problems.add(path, path.describe(), "a folder, absolute or relative to the configuration folder");
                return None;
            }
            Some(PathBuf::from(text))
        });
        let calling = fields.required("calling_ae", problems);
        let calling_ae = calling.and_then(|title| title.parsed::<AeTitle>("an AE title", problems));
        let called = fields.optional("called_ae");
        let called_ae = called.and_then(|title| title.parsed::<AeTitle>("an AE title", problems));
        if let (Some(node), Some(title), Some(ours)) = (called, &called_ae, ours)
            && !ours.contains(title)
        {
            problems.add(node, format!("{:?}", title.as_str()), "one of \"ae_titles\"");
        }
        let after = fields.optional("after").map(|word| word.choice(&After::ALL, problems));
        let settle_s = seconds(&mut fields, "settle_s", FOLDER_S.0, problems);
        let scan_s = seconds(&mut fields, "scan_s", FOLDER_S.1, problems);
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        let called_ae = called_ae.or_else(|| ours?.first().cloned())?;
        let after = after.unwrap_or(Some(After::Remove))?;
        Some(WatchedFolder { path: path?, calling_ae: calling_ae?, called_ae, after, settle_s, scan_s })
    }
}

/// Whether one lies in the other, by their names.
fn overlap(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let (one, other) = (plain(one), plain(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Holds the folders, as they are on the disk, against each other, the storage folder and the configuration. What is taken out
/// of a watched folder is removed there: in the storage folder it would be the only copy.
pub(super) fn check_folders(loaded: &Loaded<Gateway>, root: &Path, told: &mut Problems) {
    let gateway = &loaded.value;
    let storage = [(gateway.storage_folder.clone(), "the storage folder")];
    let own = ["ae-config", "models", "pipelines"].map(|name| (PathBuf::from(name), "the configuration"));
    let mut taken: Vec<(PathBuf, String)> = Vec::new();
    for (path, what) in storage.into_iter().chain(own) {
        taken.push((real(&root.join(&path)), format!("{what} ({})", path.display())));
    }
    for (index, folder) in gateway.folders.iter().enumerate() {
        let path = real(&root.join(&folder.path));
        if let Some((_, other)) = taken.iter().find(|(other, _)| overlap(other, &path)) {
            let found = format!(
                "{}, which is {}, beside {other}: one lies in the other",
                folder.path.display(),
                path.display()
            );
            let place = item(at(&loaded.document, &["folders"]), index);
            told.add(
                place,
                found,
                "a folder of its own, apart from the storage folder, the configuration and other watched folders",
            );
        }
        taken.push((path, format!("another watched folder ({})", folder.path.display())));
    }
}

/// Where a path leads: without links, as far as it is there, and without `..`.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        let Ok(mut found) = there.canonicalize() else { continue };
        let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
        let leaves = rest.components().any(|part| part == Component::ParentDir);
        for part in rest.components() {
            match part {
                Component::ParentDir => drop(found.pop()),
                part => found.push(part),
            }
        }
        // Behind `..` there may be links again; now it has none.
        return if leaves { real(&found) } else { found };
    }
    path
}

/// `token` of a peer: the SHA-256 of those that it may present over HTTP.
pub(super) fn parse_tokens(node: &Node, problems: &mut Problems) -> Vec<Fingerprint> {
    let before = problems.count();
    let Some(mut fields) = node.object(problems) else { return Vec::new() };
    let expected = "the SHA-256 of a token, as `printf %s TOKEN | sha256sum` writes it";
    let tokens = parse_fingerprints(&mut fields, expected, problems);
    fields.finish(problems);
    if tokens.is_empty() && problems.count() == before {
        let cure = "make a token by `openssl rand -hex 32`, and write `printf %s TOKEN | sha256sum` here";
        problems.add_with_cure(node, "no \"sha256\"", "the SHA-256 of the token", cure);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Peer;
    use crate::document::{self, Problem};

    fn check(keys: &str) -> Result<Gateway, Vec<String>> {
        let text = format!(r#"{{"ae_titles": ["A", "B"], "port": 104, "storage": {{"folder": "var"}}, {keys}}}"#);
        let mut problems = Problems::of("g");
        let parsed = document::parse(&text, &mut problems).and_then(|node| Gateway::parse(&node, &mut problems));
        parsed.ok_or_else(|| problems.into_vec().iter().map(|p: &Problem| p.to_string().replace("g:1: ", "")).collect())
    }

    #[test]
    fn reads_both_with_what_is_not_said() {
        let gateway =
            check(r#""dicomweb": {"port": 8080, "requests": 2}, "folders": [{"path": "drop", "calling_ae": "DROP"}]"#);
        let gateway = gateway.expect("good");
        let web = gateway.dicomweb.expect("a port");
        assert_eq!((web.requests, web.requests_per_peer, web.request_mb), (2, 2, REQUESTS.2));
        let folder = &gateway.folders[0];
        assert_eq!((folder.called_ae.as_str(), folder.after, folder.settle_s), ("A", After::Remove, FOLDER_S.0));
        let web = check(
            r#""dicomweb": {"address": "::1", "port": 8443, "tls": {"certificate": "c", "key": "k", "clients": "none"}}"#,
        );
        assert_eq!(web.expect("good").dicomweb.and_then(|web| web.tls).map(|tls| tls.port), Some(8443));
    }

    #[test]
    fn refuses_each_bad_value() {
        for (keys, expected) in [
            (
                r#""dicomweb": {"port": 104}"#,
                "dicomweb: found port 104, which is another port of ours, expected a port of its own",
            ),
            (
                r#""dicomweb": {"port": 8080, "requests": 1, "requests_per_peer": 2}"#,
                "dicomweb: found requests_per_peer 2 above requests 1, expected no more for one peer than for all; lower the first or raise the second",
            ),
            (
                r#""dicomweb": {"port": 8080, "tls": {"port": 1}}"#,
                r#"dicomweb.tls: found no "certificate", expected the key "certificate""#,
            ),
            (
                r#""dicomweb": {"port": 8080, "tls": {"port": 1}}"#,
                r#"dicomweb.tls.port: found the unknown key "port", expected only the keys certificate, key, clients, client_authorities"#,
            ),
            (
                r#""folders": [{"path": "a/b", "calling_ae": "X"}, {"path": "./a", "calling_ae": "X"}]"#,
                "folders[1]: found ./a beside a/b: one lies in the other, expected a folder of its own, apart from the others and from the storage folder",
            ),
            (
                r#""folders": [{"path": "var/drop", "calling_ae": "X"}]"#,
                "folders[0]: found var/drop beside var: one lies in the other, expected a folder of its own, apart from the others and from the storage folder",
            ),
            (
                r#""folders": [{"path": "d", "calling_ae": "X", "called_ae": "C"}]"#,
                r#"folders[0].called_ae: found "C", expected one of "ae_titles""#,
            ),
            (
                r#""folders": [{"path": "d", "calling_ae": "X", "after": "delete"}]"#,
                r#"folders[0].after: found "delete", expected one of remove, keep"#,
            ),
            (
                r#""folders": [{"path": "", "calling_ae": "X", "settle_s": 0}]"#,
                "folders[0].settle_s: found the number 0, expected a number from 0.1 to 604800",
            ),
        ] {
            let told = check(keys).expect_err(keys);
            assert!(told.contains(&expected.to_owned()), "{keys}\n{told:#?}");
        }
    }

    #[test]
    fn a_folder_is_apart_from_storage_and_configuration_wherever_paths_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        for name in ["ae-config/peers", "pipelines", "models", "var/instances", "drop"] {
            std::fs::create_dir_all(root.join(name)).expect("a folder");
        }
        std::os::unix::fs::symlink(root.join("var"), root.join("link")).expect("a link");
        let told = |path: &str| {
            let text = format!(
                r#"{{"ae_titles": ["A"], "port": 104, "storage": {{"folder": "var"}}, "folders": [{{"path": "drop", "calling_ae": "X"}},
 {{"path": "{path}", "calling_ae": "X"}}]}}"#
            );
            std::fs::write(root.join("ae-config/gateway.json"), text).expect("written");
            let problems = crate::config::load(&root).err().unwrap_or_default();
            problems.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        let absolute = |name: &str| root.join(name).display().to_string();
        for (path, beside) in [
            (absolute("var"), "the storage folder (var)"),
            (absolute("var/instances/new"), "the storage folder (var)"),
            ("link".to_owned(), "the storage folder (var)"),
            ("none/../var".to_owned(), "the storage folder (var)"),
            (absolute(""), "the storage folder (var)"),
            ("ae-config/peers".to_owned(), "the configuration (ae-config)"),
            ("none/../drop/inner".to_owned(), "another watched folder (drop)"),
        ] {
            let found = told(&path);
            let expected = format!("beside {beside}: one lies in the other");
            assert!(found.len() == 1 && found[0].contains(&expected), "{path}: {found:?}");
            assert!(found[0].starts_with("ae-config/gateway.json:2: folders[1]: "), "{found:?}");
        }
        assert_eq!(told("other"), Vec::<String>::new());
    }

    #[test]
    fn a_path_is_where_it_leads() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        std::fs::create_dir_all(root.join("var/instances")).expect("folders");
        std::os::unix::fs::symlink(root.join("var"), root.join("link")).expect("a link");
        for (path, leads) in [
            ("var", "var"),
            ("link", "var"),
            ("link/instances/new/x", "var/instances/new/x"),
            ("none/../link", "var"),
            ("none/../var/./instances/..", "var"),
            ("none/x", "none/x"),
        ] {
            assert_eq!(real(&root.join(path)), root.join(leads), "{path}");
        }
    }

    #[test]
    fn tokens_of_a_peer_are_their_digests() {
        let peer = |token: &str| {
            let text = format!(r#"{{"ae_title": "T", "may": ["send"], "token": {token}}}"#);
            let mut problems = Problems::of("p");
            let parsed = document::parse(&text, &mut problems).and_then(|node| Peer::parse("p", &node, &mut problems));
            parsed.map(|peer| peer.tokens.len()).ok_or_else(|| problems.into_vec()[0].to_string())
        };
        assert_eq!(peer(&format!(r#"{{"sha256": ["{}"]}}"#, "ab".repeat(32))), Ok(1));
        let told = peer(r#"{"sha256": ["secret"]}"#).expect_err("a token itself");
        assert!(told.contains("expected the SHA-256 of a token"), "{told}");
        assert!(peer("{}").expect_err("nothing").contains("openssl rand -hex 32"));
    }
}
