//! The user agent of DICOMweb against a server: each answer, and each way in which a network fails.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contourd::deliver::dicomweb::{Destination, Login, find, store};
use contourd::deliver::{Outcome, Shown};
use contourd::dimse::Fingerprint;
use contourd::phantom::Identity;
use contourd::tls::{Authorities, ClientTls, Clients, Identity as Own, ServerTls, Trust};
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::gateway::{thorax, write_series};
use crate::server::{Instead, Server, serve};

struct Play {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    server: Server,
    files: Vec<PathBuf>,
}

impl Play {
    fn begin() -> Play {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let server = Server::started(&runtime);
        let mut files = write_series(folder.path(), &thorax(), &Identity::of(&thorax()));
        files.truncate(3);
        Play { folder, runtime, server, files }
    }

    fn destination(&self) -> Destination {
        Destination {
            url: self.server.url().parse().expect("an address"),
            tls: None,
            login: None,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
        }
    }

    fn store(&self, to: &Destination) -> Outcome {
        self.runtime.block_on(store(to, &self.files, true))
    }

    fn find(&self) -> Shown {
        self.runtime.block_on(find(&self.destination(), &self.files))
    }

    /// The outcome when the first request is answered with this.
    fn instead(&self, instead: Instead) -> String {
        self.server.state().instead.push_back(instead);
        let outcome = self.runtime.block_on(store(&self.destination(), &self.files[..1], true));
        self.server.state().instead.clear();
        outcome.to_string()
    }
}

/// That an object is stored.
fn stored(uid: &str) -> Value {
    json!({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}})
}

/// A server that reads until what it has read satisfies it, answers once with these bytes, and holds the connection for a
/// while, without reading on, when it `holds` it. Its port.
fn raw_server(answer: String, holds: bool, enough: fn(&[u8]) -> bool) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut had, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        while !enough(&had) {
            let count = stream.read(&mut chunk).expect("more");
            had.extend_from_slice(&chunk[..count]);
        }
        stream.write_all(answer.as_bytes()).expect("written");
        if holds {
            std::thread::sleep(Duration::from_secs(3));
        }
    });
    port
}

#[test]
fn an_answer_that_breaks_off_or_comes_too_early_is_none() {
    let play = Play::begin();
    let uid = play.files[0].file_stem().expect("a name").to_string_lossy().into_owned();
    let outcome = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/dicom-web").parse().expect("an address");
        let to = Destination { url, ..play.destination() };
        play.runtime.block_on(store(&to, &play.files[..1], true)).to_string()
    };
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let body = stored(&uid).to_string();
    let whole = |had: &[u8]| had.ends_with(b"--\r\n");
    assert_eq!(outcome(raw_server(head(body.len()) + &body, false, whole)), "delivered");
    let cut = head(body.len()) + &body[..body.len() - 2];
    let told = outcome(raw_server(cut, false, whole));
    assert!(told.starts_with("not delivered: "), "{told}");

    // More than the buffers on the way take: the end of the object stays here.
    let mut bytes = fs::read(&play.files[0]).expect("there");
    let padding = 32_u32 << 20;
    bytes.extend([0xFC, 0xFF, 0xFC, 0xFF, b'O', b'B', 0, 0]);
    bytes.extend(padding.to_le_bytes());
    bytes.resize(bytes.len() + padding as usize, 0);
    fs::write(&play.files[0], bytes).expect("written");
    let told = outcome(raw_server(head(body.len()) + &body, true, |had| had.len() > 1_000));
    assert!(told.starts_with("not delivered: ") && told.contains("before it had the whole object"), "{told}");
}

#[test]
fn stores_bit_by_bit_and_shows() {
    let play = Play::begin();
    assert!(matches!(play.find(), Shown::Missing { .. }));
    assert_eq!(play.store(&play.destination()), Outcome::Delivered { warnings: Vec::new() });
    let mut stored: Vec<Vec<u8>> = play.server.state().stored.values().cloned().collect();
    let mut sent: Vec<Vec<u8>> = play.files.iter().map(|path| fs::read(path).expect("there")).collect();
    stored.sort();
    sent.sort();
    assert!(stored == sent && stored.len() == 3);
    assert_eq!(play.find(), Shown::All);
    play.server.state().hides = true;
    assert!(matches!(play.find(), Shown::Missing { reason } if reason.contains("does not show")));
}

#[test]
fn each_answer_counts_for_its_object_and_tells_in_few_words() {
    let play = Play::begin();
    let uid = play.files[0].file_stem().expect("a name").to_string_lossy().into_owned();
    let failed = |reason: u16| {
        let item = json!({"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}});
        json!({"00081198": {"vr": "SQ", "Value": [item]}})
    };
    let check = |instead: Instead, begins: &str, holds: &str| {
        let told = play.instead(instead);
        assert!(told.starts_with(begins) && told.contains(holds), "{told}\nexpected {begins} ... {holds}");
        assert!(told.len() < 500, "{told}");
    };
    check(Instead::json(409, &failed(0xA700)), "not delivered: ", "status 0xA700");
    check(Instead::json(409, &failed(0xC000)), "refused: ", "status 0xC000");
    check(Instead::json(202, &failed(0x0122)), "refused: ", "status 0x0122");
    check(Instead::json(409, &failed(0xB00F)), "refused: ", "status 0xB00F");
    check(Instead::json(409, &failed(0x0111)), "delivered with warnings: ", "status 0x0111");
    check(Instead::text(400, "bad\r\nrequest"), "refused: ", "(HTTP 400): it was refused (bad  request)");
    check(Instead::text(401, ""), "refused: ", "check the password or token");
    check(Instead::text(404, &"x".repeat(100_000)), "refused: ", "check \"url\"");
    check(Instead::text(503, "later"), "not delivered: ", "(HTTP 503): the server is in trouble (later)");
    check(Instead::text(429, ""), "not delivered: ", "asks to come again");
    let moved = vec![("location", "https://elsewhere/dicom-web/studies")];
    check(Instead::Answer(308, "text/plain", Vec::new(), moved), "refused: ", "https://elsewhere/dicom-web/studies");
    // An answer without end is not held, and none.
    let endless = |status| Instead::Answer(status, "application/dicom+json", vec![b'['; 8 << 20], Vec::new());
    check(endless(200), "not delivered: ", "could not be read to its end");
    check(endless(202), "not delivered: ", "could not be read to its end");
    check(endless(404), "refused: ", "check \"url\"");
    // A page to log in; nothing; another object: none says that it is stored.
    let page = b"<html><form>Please log in</form></html>".to_vec();
    let silent = "does not say that it stored the object (found ";
    check(Instead::Answer(200, "text/html", page, Vec::new()), "refused: ", silent);
    check(Instead::Answer(200, "application/dicom+json", Vec::new(), Vec::new()), "refused: ", silent);
    check(Instead::Answer(204, "text/plain", Vec::new(), Vec::new()), "refused: ", silent);
    check(Instead::json(200, &stored("1.2.3.4")), "refused: ", silent);
    check(Instead::json(202, &json!({})), "refused: ", "not what");
    check(Instead::json(200, &stored(&uid)), "delivered", "");
    check(Instead::Close, "not delivered: ", "did not answer");
    let begun = Instant::now();
    check(Instead::Silence, "not delivered: ", "nothing came within 2s");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_part_that_was_taken_is_told() {
    let play = Play::begin();
    let good = Instead::json(200, &stored(&play.files[0].file_stem().expect("a name").to_string_lossy()));
    play.server.state().instead.extend([good, Instead::text(503, "")]);
    let told = play.store(&play.destination()).to_string();
    assert!(told.contains("(HTTP 503)") && told.contains("of the objects it has taken 1"), "{told}");
    assert_eq!(play.server.state().requests.len(), 2, "what comes after it is not sent");
}

#[test]
fn a_password_is_read_anew_and_a_missing_file_is_trouble_that_passes() {
    let play = Play::begin();
    let file = play.folder.path().join("login");
    let mut to = play.destination();
    to.login = Some(Login::Password(file.clone()));
    let told = play.store(&to).to_string();
    assert!(told.starts_with("not delivered: ") && told.contains("login: "), "{told}");
    fs::write(&file, "ann:first\n").expect("written");
    play.store(&to);
    fs::write(&file, "ann:second\n").expect("written");
    play.store(&to);
    to.login = Some(Login::Token(file));
    play.store(&to);
    let mut used: Vec<String> = play.server.state().requests.iter().filter_map(|(_, login)| login.clone()).collect();
    used.dedup();
    assert_eq!(used, ["Basic YW5uOmZpcnN0", "Basic YW5uOnNlY29uZA==", "Bearer ann:second"]);
}

#[test]
fn nobody_there_and_half_a_file() {
    let mut play = Play::begin();
    play.server.stop();
    let told = play.store(&play.destination()).to_string();
    assert!(told.starts_with("not delivered: ") && told.contains("could not be reached"), "{told}");
    assert!(matches!(play.find(), Shown::Unknown(Outcome::Retry { .. })));
    play.server.start();
    let bytes = fs::read(&play.files[0]).expect("there");
    fs::write(&play.files[0], &bytes[..bytes.len() / 2]).expect("written");
    assert!(play.store(&play.destination()).to_string().starts_with("refused: "));
    assert!(play.server.state().requests.is_empty(), "half a file is never sent");
}

#[test]
fn https_believes_whom_it_is_told_to_and_says_why_not() {
    let play = Play::begin();
    let authority = Authority::new("Hospital");
    let pair = authority.issue("archive", &["127.0.0.1"]);
    let (certificate, key) = pair.write(play.folder.path(), "archive");
    let own = Own::read(&certificate, &key).expect("an identity");
    let server = ServerTls::new(&own, Clients::None, None, BTreeSet::new()).expect("a server");
    let listener = play.runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let state = play.server.shared();
    play.runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (server, state) = (server.clone(), Arc::clone(&state));
            tokio::spawn(async move {
                match server.accept(stream).await {
                    Ok((stream, _)) => serve(stream, state).await,
                    Err(refused) => refused.close().await,
                }
            });
        }
    });
    let file = play.folder.path().join("ca.pem");
    fs::write(&file, &authority.certificate).expect("written");
    let authorities = Authorities::read(&file).expect("an authority");
    let to = |trust: Trust, name: &str| Destination {
        url: format!("https://127.0.0.1:{port}/dicom-web").parse().expect("an address"),
        tls: Some(ClientTls::new(trust, name, None).expect("a client")),
        ..play.destination()
    };
    let believed = Trust { authorities: Some(authorities.clone()), pinned: BTreeSet::new() };
    assert_eq!(play.store(&to(believed.clone(), "127.0.0.1")), Outcome::Delivered { warnings: Vec::new() });
    let pinned = Trust { authorities: None, pinned: BTreeSet::from([Fingerprint(pair.sha256)]) };
    assert_eq!(play.store(&to(pinned, "any.example")), Outcome::Delivered { warnings: Vec::new() });
    let told = play.store(&to(believed, "other.example")).to_string();
    assert!(told.starts_with("not delivered: no TLS connection") && told.contains("other.example"), "{told}");
}
