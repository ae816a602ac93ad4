//! The keys of TLS, its files as they come and go, and what is told of them.

use std::fs;

use super::*;
use crate::config::{Configuration, Loader, load};

#[path = "../../../tests/certificates/mod.rs"]
mod certificates;

use certificates::{Authority, Pair, self_signed};

const GATEWAY: &str = r#"{"ae_titles": ["HERE"], "storage": {"folder": "var"},
 "tls": {"port": 2762, "certificate": "ae-config/tls/own.pem", "key": "ae-config/tls/own.key", "client_authorities": "ae-config/tls/ca.pem"}}"#;
const SCANNER: &str = r#"{"ae_title": "CT", "may": ["send"]}"#;
const TPS: &str = r#"{"ae_title": "TPS", "host": "tps.example", "port": 2762, "may": ["receive"],
 "tls": {"authorities": "ae-config/tls/ca.pem"}}"#;

struct Folder {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Folder {
        let folder = Folder { folder: tempfile::tempdir().expect("a folder"), authority: Authority::new("Hospital") };
        for name in ["ae-config/peers", "ae-config/tls", "models", "pipelines"] {
            fs::create_dir_all(folder.folder.path().join(name)).expect("a folder");
        }
        folder.write("ae-config/gateway.json", GATEWAY);
        folder.write("ae-config/peers/ct.json", SCANNER);
        folder.write("ae-config/peers/tps.json", TPS);
        folder.write("ae-config/tls/ca.pem", &folder.authority.certificate);
        folder.own(&folder.authority.issue("gateway", &["here.example"]));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    fn own(&self, pair: &Pair) {
        pair.write(&self.folder.path().join("ae-config/tls"), "own");
    }

    /// All that is told of the folder.
    fn told(&self) -> Vec<String> {
        let told = load(self.folder.path()).err().unwrap_or_default();
        told.iter().map(Problem::to_string).collect()
    }

    fn check(&self, expected: &str) {
        let told = self.told();
        assert!(told.iter().any(|problem| problem.contains(expected)), "{expected}\n{told:#?}");
    }
}

/// How the planning system is called.
fn tps(configuration: &Configuration) -> Option<crate::deliver::dicom::Destination> {
    match configuration.destination("tps")? {
        crate::deliver::Destination::Dicom(tps) => Some(*tps),
        _ => None,
    }
}

fn server(configuration: &Configuration) -> String {
    format!("{:?}", configuration.tls.server)
}

#[test]
fn commitment_is_of_the_peer_not_of_its_title() {
    let folder = Folder::new();
    let plain = r#"{"ae_title": "CT", "host": "a.example", "port": 104, "may": ["send", "commit", "receive"]}"#;
    let secure = TPS.replace("TPS", "CT").replace("tps.", "b.").replace(r#""receive"]"#, r#""receive", "commit"]"#);
    folder.write("ae-config/peers/ct.json", plain);
    let verified = secure.trim_end_matches('}').to_owned() + r#"}, "verify": "commitment"}"#;
    folder.write("ae-config/peers/ct-b.json", &verified);
    let configuration = load(folder.folder.path()).unwrap_or_else(|told| panic!("{told:#?}"));
    let title = "CT".parse().expect("a title");
    let to = |name: &str| configuration.committing(name, &title).map(|to| (to.host, to.tls.is_some()));
    assert_eq!(to("ct-b"), Some(("b.example".to_owned(), true)));
    assert_eq!(to("ct"), Some(("a.example".to_owned(), false)));
    assert!(to("").is_some(), "as an earlier version has recorded it");
    assert_eq!(to("tps"), None, "it may not");
    let names = ["ct", "ct-b", "tps", "CT"].map(str::to_owned).to_vec();
    assert_eq!(configuration.reporting(names), ["ct-b"]);
}

#[test]
fn a_port_with_tls_stands_for_itself() {
    let folder = Folder::new();
    let configuration = load(folder.folder.path()).unwrap_or_else(|told| panic!("{told:#?}"));
    assert_eq!(configuration.gateway.port, None);
    let tps = tps(&configuration).expect("a destination");
    assert!(tps.tls.is_some() && configuration.receive_policy().tls.is_some());
    let (end, names) = &configuration.tls.presented["ae-config/tls/own.pem"];
    assert_eq!(names, &["here.example", "gateway"]);
    assert!(*end > Timestamp::now() && configuration.tls.warnings(Timestamp::now()).is_empty());
}

#[test]
fn files_that_are_bad_are_told_with_what_cures_them() {
    let path = |folder: &Folder, name: &str| folder.folder.path().join(name);
    let check = |change: &dyn Fn(&Folder), expected: &str| {
        let folder = Folder::new();
        change(&folder);
        folder.check(expected);
    };
    let remove = |name: &'static str| move |folder: &Folder| fs::remove_file(path(folder, name)).expect("gone");
    let place = "ae-config/gateway.json:2: tls.certificate: found ";
    check(
        &remove("ae-config/tls/own.pem"),
        &format!("{place}ae-config/tls/own.pem: nothing there, expected a certificate in PEM; put"),
    );
    check(
        &remove("ae-config/tls/own.key"),
        &format!("{place}ae-config/tls/own.key: nothing there, expected a private key"),
    );
    check(
        &remove("ae-config/tls/ca.pem"),
        "ae-config/gateway.json:2: tls.client_authorities: found ae-config/tls/ca.pem: nothing there",
    );
    check(
        &remove("ae-config/tls/ca.pem"),
        "ae-config/peers/tps.json:2: tls.authorities: found ae-config/tls/ca.pem: nothing there",
    );
    let text = |name: &'static str, text: &'static str| move |folder: &Folder| folder.write(name, text);
    check(&text("ae-config/tls/own.pem", "DER"), "own.pem: no certificate, expected");
    check(
        &text(
            "ae-config/tls/own.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
        "an encrypted key, expected an unencrypted private key",
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&text("ae-config/tls/ca.pem", broken), "ca.pem: a certificate that cannot be used");
    check(&text("ae-config/tls/own.pem", broken), "own.pem: a certificate that cannot be used");
    let mismatched =
        |folder: &Folder| folder.write("ae-config/tls/own.pem", &folder.authority.issue("x", &[]).certificate);
    check(&mismatched, "own.pem: a first certificate of another key than");
    let open = |folder: &Folder| {
        use std::os::unix::fs::PermissionsExt;
        let key = path(folder, "ae-config/tls/own.key");
        fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("opened");
    };
    check(
        &open,
        "own.key: a private key with mode 644, open to every user, expected one that its owner and group alone can read; chmod o=",
    );
}

#[test]
fn a_password_that_everybody_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let web = r#"{"dicomweb": {"url": "https://pacs/dicom-web", "tls": {"authorities": "ae-config/tls/ca.pem"},
        "password_file": "ae-config/login"}, "may": ["receive"]}"#;
    folder.write("ae-config/peers/web.json", web);
    folder.write("ae-config/login", "ann:a secret\n");
    let mode = |mode| {
        let file = folder.folder.path().join("ae-config/login");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    mode(0o644);
    folder.check(
        "dicomweb: found ae-config/login: a password or token with mode 644, open to every user, expected one that its owner \
         and group alone can read; chmod o=",
    );
    assert!(!folder.told().iter().any(|problem| problem.contains("a secret")));
    mode(0o640);
    assert_eq!(folder.told(), [""; 0]);
}

#[test]
fn keys_that_make_no_sense_are_told() {
    let check = |file: &str, good: &str, replace: &str, by: &str, expected: &str| {
        let folder = Folder::new();
        assert!(good.contains(replace), "{replace}");
        folder.write(file, &good.replace(replace, by));
        folder.check(expected);
    };
    let gateway =
        |replace: &str, by: &str, expected: &str| check("ae-config/gateway.json", GATEWAY, replace, by, expected);
    gateway(
        "\"tls\": {\"port\": 2762,",
        "\"port\": 2762, \"tls\": {\"port\": 2762,",
        "found port 2762 with TLS and without, expected two ports",
    );
    gateway(
        "\"port\": 2762, ",
        "\"port\": 2762, \"clients\": \"require\", ",
        "found \"require\", expected one of required, optional, none",
    );
    gateway("\"port\": 2762, ", "\"port\": 2762, \"clients\": \"none\", ", "authorities of clients that are not asked");
    gateway(
        ", \"client_authorities\": \"ae-config/tls/ca.pem\"",
        "",
        "tls: found no authority and no peer whose certificate is known",
    );
    let tps = |by: &str, expected: &str| {
        check("ae-config/peers/tps.json", TPS, "\"authorities\": \"ae-config/tls/ca.pem\"", by, expected);
    };
    tps("", "tls: found no \"authorities\" and no \"sha256\", expected whom to believe");
    tps("\"sha256\": [\"12\"]", "tls.sha256[0]: found the text \"12\" (not 64 hexadecimal digits");
    tps("\"sha256\": []", "tls.sha256: found an empty list");
    tps("\"authorities\": \"a\", \"key\": \"k\"", "found one of \"certificate\" and \"key\", expected both");
    let ct = |by: &str, expected: &str| check("ae-config/peers/ct.json", SCANNER, "\"may\"", by, expected);
    ct(
        "\"from\": [\"10.0.0.1/8\"], \"may\"",
        "from[0]: found the text \"10.0.0.1/8\" (bits of a host behind the prefix; the network is 10.0.0.0/8)",
    );
    ct("\"certificate\": {}, \"may\"", "certificate: found no \"sha256\" and no \"names\"");
    ct("\"tls\": {\"sha256\": [\"A\"]}, \"may\"", "tls: found no \"host\" beside it");
    let folder = Folder::new();
    folder.write("ae-config/gateway.json", r#"{"ae_titles": ["HERE"], "storage": {"folder": "var"}}"#);
    folder.check("ae-config/gateway.json:1: found no \"port\" and no \"tls\", expected a port to listen at");
    folder.write("ae-config/gateway.json", r#"{"ae_titles": ["HERE"], "port": 104, "storage": {"folder": "var"}}"#);
    let rule =
        format!(r#"{{"ae_title": "CT", "may": ["send"], "certificate": {{"sha256": ["{}"]}}}}"#, "ab".repeat(32));
    folder.write("ae-config/peers/ct.json", &rule);
    folder.check("ct.json:1: certificate: found a certificate for a caller, and no TLS port");
}

#[test]
fn what_was_last_good_in_a_file_stays_in_use() {
    let folder = Folder::new();
    let mut loader = Loader::new(folder.folder.path());
    let mut read = || loader.load().unwrap_or_else(|told| panic!("{told:#?}"));
    let told = |configuration: &Configuration| {
        configuration.problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    };
    let first = read();
    assert_eq!(told(&first), "");
    // Another certificate beside the old key, as between the two steps of a renewal.
    let new = folder.authority.issue("gateway", &["new.example"]);
    folder.write("ae-config/tls/own.pem", &new.certificate);
    let between = read();
    assert!(
        told(&between).starts_with("ae-config/tls/own.pem: found a first certificate of another key"),
        "{}",
        told(&between)
    );
    assert_eq!(server(&between), server(&first));
    assert_eq!(tps(&between).and_then(|tps| tps.tls), tps(&first).and_then(|tps| tps.tls));
    folder.own(&new);
    let second = read();
    assert_eq!(told(&second), "");
    assert_ne!(server(&second), server(&first));
    assert_ne!(tps(&second), tps(&first), "we present the new one when we call, too");
    folder.own(&folder.authority.expired(&[]));
    let expired = read();
    assert!(told(&expired).contains("a certificate from 2020-01-01 until 2021-03-04, expected one that holds today"));
    assert_eq!(server(&expired), server(&second));
    fs::remove_file(folder.folder.path().join("ae-config/tls/ca.pem")).expect("gone");
    let without = read();
    assert!(told(&without).contains("ae-config/tls/ca.pem: found nothing there"));
    assert!(tps(&without).is_some_and(|tps| tps.tls.is_some()));
    // A new file that names what is not there leaves the last good file in use; never a call without TLS.
    folder.write("ae-config/peers/tps.json", &TPS.replace("ca.pem", "other.pem"));
    assert!(tps(&read()).is_some_and(|tps| tps.tls.is_some()));
}

#[test]
fn an_expired_certificate_is_told_and_does_not_stop_the_start() {
    let folder = Folder::new();
    folder.own(&folder.authority.expired(&[]));
    let configuration = load(folder.folder.path()).unwrap_or_else(|told| panic!("{told:#?}"));
    assert!(configuration.tls.server.is_some(), "peers that do not look at dates go on, and so does the plain port");
    let told = configuration.tls.warnings(Timestamp::now());
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("ae-config/tls/own.pem: found a certificate that expired on 2021-03-04,"), "{told:?}");
    let later = "2021-02-20T00:00:00Z".parse().expect("a time");
    assert!(configuration.tls.warnings(later)[0].contains("that expires on 2021-03-04, in 12 days,"));
    assert!(configuration.tls.warnings("2021-01-01T00:00:00Z".parse().expect("a time")).is_empty());
}

#[test]
fn the_certificate_of_a_peer_is_believed_without_an_authority() {
    let folder = Folder::new();
    let device = self_signed("ct", &[]);
    folder.write("ae-config/gateway.json", &GATEWAY.replace(", \"client_authorities\": \"ae-config/tls/ca.pem\"", ""));
    let rule = |inside: &str| format!(r#"{{"ae_title": "CT", "may": ["send"], "certificate": {{{inside}}}}}"#);
    folder.write("ae-config/peers/ct.json", &rule(&format!("\"sha256\": [\"{}\"]", Fingerprint(device.sha256))));
    assert_eq!(folder.told(), Vec::<String>::new());
    folder.write("ae-config/peers/ct.json", &rule("\"names\": [\"ct.example\"]"));
    folder.check("certificate.names: found names, and no authority that vouches for them");
}
