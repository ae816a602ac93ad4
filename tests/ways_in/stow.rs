//! STOW-RS as clients speak it: what is stored, what is answered, who may, and what the daemon is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use contourd::dimse::{Acceptance, Caller, CertificateRule, Credentials, Fingerprint};
use contourd::receive::{self, Listeners, Notice, Policy, WebPolicy};
use contourd::spool::Spool;
use contourd::tls::{ClientTls, Clients, Identity, ServerTls, Trust};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bytes::{CT, EXPLICIT, IMPLICIT, RT_PLAN, explicit, explicit_head, image};
use crate::certificates::self_signed;
use crate::gateway::Gateway;
use crate::http::{Client, MULTIPART, TOKEN, ask, body, file, file_of, head, part, part_of, post};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The instances that an answer names, each with its reason, or 0.
fn told(answer: &Value) -> Vec<(String, u64)> {
    let items = |tag: &str| answer[tag]["Value"].as_array().cloned().unwrap_or_default();
    let uid = |item: &Value| item["00081155"]["Value"][0].as_str().unwrap_or("?").to_owned();
    let reason = |item: &Value| item["00081197"]["Value"][0].as_u64().expect("a reason");
    let stored = items("00081199").iter().map(|item| (uid(item), 0)).collect::<Vec<_>>();
    let failed = items("00081198").iter().map(|item| (uid(item), reason(item))).collect();
    let unnamed = items("0008119A").iter().map(|item| ("?".to_owned(), reason(item))).collect();
    [stored, failed, unnamed].concat()
}

#[test]
fn stores_what_an_association_stores_bit_by_bit() {
    let gateway = Gateway::start();
    let basic = ("Authorization", "Basic Q1QwMTo="); // CT01, without a token
    let first = ask(gateway.web, &post("/studies", &[basic], &body(&[file("1.2.1"), file("1.2.2")])));
    assert_eq!(first.status, 200, "{first:?}");
    assert!(first.head.to_lowercase().contains("content-type: application/dicom+json"), "{}", first.head);
    assert_eq!(told(&json(&first.body)), [("1.2.1".to_owned(), 0), ("1.2.2".to_owned(), 0)]);
    assert_eq!(gateway.store("CT01", "1.2.1"), 0, "the same by C-STORE is the same");
    assert_eq!(gateway.store("CT01", "1.2.3"), 0);
    let again = ask(gateway.web, &post("/studies", &[basic], &body(&[file("1.2.3"), file("1.2.1")])));
    assert_eq!(again.status, 200, "the same by STOW-RS is the same: {again:?}");
    let kept = gateway.instances();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["1.2.1", "1.2.2", "1.2.3"]);
    // The whole file is what the association wrote, the titles of both sides among it.
    let by_store = String::from_utf8_lossy(&kept["1.2.3"]).replace("1.2.3", "1.2.2");
    assert_eq!(String::from_utf8_lossy(&kept["1.2.2"]).replace("1.2.3", "1.2.2"), by_store);
    assert!(kept["1.2.2"].ends_with(&image("1.2.2")));
    let log = gateway.log();
    assert!(
        log.contains("\"stored\":2,\"identical\":0,\"refused\":0") || log.contains("stored=2 identical=0"),
        "{log}"
    );
    assert!(!log.contains("Nobody"), "no patient in the log");
}

#[test]
fn says_of_each_instance_what_became_of_it() {
    let gateway = Gateway::start();
    let other_bytes =
        file_of(CT, "1.2.1", IMPLICIT, &[image("1.2.1"), crate::bytes::element(0xFFFC, 0xFFFC, &[0; 8])].concat());
    assert_eq!(ask(gateway.web, &post("/studies", &[], &body(&[file("1.2.1")]))).status, 200);
    let parts = [
        part(&file("1.2.4")),
        part(&other_bytes),
        part(&file("1.2.5")[..1_500]),
        part(&file_of(RT_PLAN, "1.2.6", IMPLICIT, &image("1.2.6"))),
        part(&file_of("1.2.3", "1.2.7", IMPLICIT, &image("1.2.7"))),
        part(&file_of(CT, "1.2.8", "1.2.840.10008.1.2.4.95", &image("1.2.8"))),
        part(&file_of(CT, "1.2.9", IMPLICIT, &image("1.2.10"))),
        part(b"no DICOM at all"),
        part(&file_of(CT, "../../etc/passwd", IMPLICIT, &image("1.2.11"))),
        part_of("Content-Type: image/png\r\n", &file("1.2.12")),
        part_of("", &file("1.2.13")),
    ];
    let whole = [parts.concat(), b"--b--".to_vec()].concat();
    let answer = ask(gateway.web, &post("/studies", &[], &whole));
    assert_eq!(answer.status, 202, "{answer:?}");
    let expected = [
        ("1.2.4", 0),
        ("1.2.13", 0),
        ("1.2.1", 0x0111),
        ("1.2.5", 0xC001),
        ("1.2.6", 0xA900),
        ("1.2.7", 0x0122),
        ("1.2.8", 0xC122),
        ("1.2.9", 0xA900),
        ("?", 0xC000),
        ("?", 0xC002),
        ("?", 0xC000),
    ];
    assert_eq!(told(&json(&answer.body)), expected.map(|(uid, reason)| (uid.to_owned(), reason)));
    assert_eq!(gateway.instances().into_keys().collect::<Vec<_>>(), ["1.2.1", "1.2.13", "1.2.4"]);
    let none = ask(gateway.web, &post("/studies", &[], &body(&[b"x".to_vec()])));
    assert_eq!(none.status, 409, "{none:?}");
    assert_eq!(gateway.files("var/quarantine").len(), 1, "evidence of the other bytes");
}

#[test]
fn the_path_names_our_title_and_the_study() {
    let gateway = Gateway::start();
    let status = |path: &str, instance: &str| ask(gateway.web, &post(path, &[], &body(&[file(instance)])));
    assert_eq!(status("/studies/1.2.3", "1.2.1").status, 200);
    assert_eq!(status("/OTHER/studies/1.2.3", "1.2.2").status, 200);
    let other = status("/studies/1.2.4", "1.2.5");
    assert_eq!((other.status, told(&json(&other.body))), (409, vec![("1.2.5".to_owned(), 0xC409)]));
    assert_eq!(status("/NOBODY/studies", "1.2.6").status, 404);
    let kept = gateway.instances();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["1.2.1", "1.2.2"]);
    let names = |file: &[u8], title: &str| String::from_utf8_lossy(file).contains(title);
    assert!(names(&kept["1.2.1"], "CONTOURD") && names(&kept["1.2.2"], "OTHER") && names(&kept["1.2.2"], "PACS"));
}

#[test]
fn only_peers_that_may_send_are_let_in() {
    let gateway = Gateway::start();
    for (authorization, expected) in [
        (TOKEN, 200),
        ("Basic UEFDUzowMTIzNDU2Nzg5YWJjZGVm", 200), // PACS and its token
        ("Basic Q1QwMTo=", 200),                     // CT01, which has no token
        ("Basic Q1QwMTowMTIzNDU2Nzg5YWJjZGVm", 401), // CT01 and the token of PACS
        ("Basic UEFDUzo=", 401),                     // PACS without its token
        ("Basic Tk9CT0RZOg==", 401),
        ("Bearer wrong", 401),
        ("Bearer look", 403),
        ("Bearer far", 401),
        ("Digest x", 401),
        ("", 401),
    ] {
        let answer = ask(gateway.web, &post("/studies", &[("Authorization", authorization)], &body(&[file("1.2.1")])));
        assert_eq!(answer.status, expected, "{authorization:?}: {answer:?}");
        assert_eq!(answer.head.contains("www-authenticate"), expected == 401, "{answer:?}");
    }
    let log = gateway.log();
    assert!(log.contains("no peer of ae-config/peers fits"), "{log}");
    assert!(!log.contains("0123456789abcdef") && !log.contains("wrong"), "no token in the log: {log}");
}

#[test]
fn a_connection_serves_several_requests_and_every_way_to_write_a_body() {
    let gateway = Gateway::start();
    let mut client = Client::connect(gateway.web, Duration::from_secs(20));
    for number in 1..=5 {
        client.send(&post("/studies", &[], &body(&[file(&format!("1.2.{number}"))])));
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    // Asked before the body is sent, and in chunks that cut everything.
    let headers = [
        ("Authorization", TOKEN),
        ("Content-Type", MULTIPART),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
    ];
    client.send(&head("POST /studies HTTP/1.1", &headers));
    for piece in body(&[file("1.2.6")]).chunks(37) {
        client.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.answer().expect("an answer").status, 200);
    let xml = ask(gateway.web, &post("/studies", &[("Accept", "application/dicom+xml")], &body(&[file("1.2.7")])));
    assert!(xml.body.contains("<Value number=\"1\">1.2.7</Value>") && xml.body.starts_with("<?xml"), "{xml:?}");
    let pixels = explicit(0x7FE0, 0x0010, b"OW", &[1; 2_048]);
    let data_set = [explicit_head("1.2.8"), pixels].concat();
    assert_eq!(
        ask(gateway.web, &post("/studies", &[], &body(&[file_of(CT, "1.2.8", EXPLICIT, &data_set)]))).status,
        200
    );
    assert_eq!(gateway.instances().len(), 8);
}

#[test]
fn a_full_disk_is_told_before_the_body_comes() {
    let mut gateway = Gateway::start();
    gateway.kill();
    gateway.configure("remove", 16 << 20);
    gateway.begin();
    let answer = ask(gateway.web, &post("/studies", &[], &body(&[file("1.2.1")])));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 60"), "{answer:?}");
    gateway.kill();
    gateway.configure("remove", 1);
    gateway.begin();
    assert_eq!(ask(gateway.web, &post("/studies", &[], &body(&[file("1.2.1")]))).status, 200);
}

#[test]
fn what_was_answered_survives_a_kill_and_a_request_under_way_is_nothing() {
    let mut gateway = Gateway::start();
    assert_eq!(ask(gateway.web, &post("/studies", &[], &body(&[file("1.2.1")]))).status, 200);
    let whole = post("/studies", &[], &body(&[file("1.2.2"), file("1.2.3")]));
    let mut client = Client::connect(gateway.web, Duration::from_secs(5));
    client.send(&whole[..whole.len() - 500]);
    gateway.wait("the first part is stored", |gateway| gateway.files("var/instances").len() == 2);
    gateway.kill();
    gateway.begin();
    assert_eq!(gateway.instances().into_keys().collect::<Vec<_>>(), ["1.2.1", "1.2.2"], "half a part is nothing");
    assert_eq!(ask(gateway.web, &whole).status, 200, "all of it again");
    assert_eq!(gateway.instances().len(), 3);
    gateway.stop();
}

#[test]
fn a_stop_waits_for_a_request_and_closes_the_idle_at_once() {
    let mut gateway = Gateway::start();
    let mut idle = Client::connect(gateway.web, Duration::from_secs(10));
    idle.send(&post("/studies", &[], &body(&[file("1.2.1")])));
    assert_eq!(idle.answer().expect("an answer").status, 200);
    let whole = post("/studies", &[], &body(&[file("1.2.2"), file("1.2.3")]));
    let mut busy = Client::connect(gateway.web, Duration::from_secs(10));
    busy.send(&whole[..whole.len() - 500]);
    gateway.wait("the first part is stored", |gateway| gateway.files("var/instances").len() == 2);
    let rest = whole[whole.len() - 500..].to_vec();
    let finishing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1_000));
        busy.send(&rest);
        busy.answer().map(|answer| answer.status)
    });
    gateway.stop();
    assert_eq!(finishing.join().expect("no panic"), Some(200));
    assert_eq!(idle.answer(), None);
    assert_eq!(gateway.instances().len(), 3);
}

/// A receiver in this process that knows one peer, and what it tells the daemon.
struct Receiver {
    runtime: Runtime,
    address: SocketAddr,
    inbox: mpsc::Receiver<Notice>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    _policy: watch::Sender<Arc<Policy>>,
    _folder: tempfile::TempDir,
}

impl Receiver {
    fn start(peer: Caller, tls: Option<ServerTls>) -> Receiver {
        Receiver::start_with(peer, tls, Duration::ZERO)
    }

    /// One that waits so long for what is open at its end.
    fn start_with(peer: Caller, tls: Option<ServerTls>, grace: Duration) -> Receiver {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path(), 0).expect("a spool");
        let title = |text: &str| text.parse().expect("a title");
        let callers = [(title("PACS"), vec![Caller { name: "pacs".to_owned(), may_send: true, ..peer }])].into();
        let acceptance = Acceptance { called: vec![title("HERE")], callers, ..Policy::default().acceptance };
        let web = WebPolicy {
            secure: tls.is_some(),
            tls,
            requests_max: 2,
            requests_per_caller_max: 2,
            request_bytes_max: 1 << 20,
        };
        let policy = Policy { acceptance, web: Some(web), grace, ..Policy::default() };
        let (policy, seen) = watch::channel(Arc::new(policy));
        let (stop, stopped) = watch::channel(false);
        let (notices, inbox) = mpsc::channel(64);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let listeners = Listeners { web: Some(listener), ..Listeners::default() };
        let serving = runtime.spawn(receive::serve(listeners, seen, spool, notices, stopped));
        Receiver { runtime, address, inbox, stop, serving, _policy: policy, _folder: folder }
    }

    /// Ends it; all that it has told.
    fn told(mut self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(300));
        self.stop.send_replace(true);
        self.runtime.block_on(self.serving).expect("no panic");
        let mut told = Vec::new();
        while let Ok(notice) = self.inbox.try_recv() {
            told.push(match notice {
                Notice::Stored(stored) => {
                    let (calling, called) = (&stored.calling_ae, &stored.called_ae);
                    format!("{} from {calling} to {called}, new {}", stored.instance.sop_instance_uid, stored.new)
                }
                Notice::Closed { released, series, .. } => {
                    format!("closed, released {released}, {} series", series.len())
                }
                _ => "another".to_owned(),
            });
        }
        told
    }
}

#[test]
fn an_idle_client_holds_up_no_stop() {
    let tokens = vec![Credentials::hashed(b"0123456789abcdef")];
    let grace = Duration::from_secs(30);
    let receiver = Receiver::start_with(Caller { tokens, ..Caller::default() }, None, grace);
    let mut idle = Client::connect(receiver.address, grace);
    idle.send(&post("/studies", &[], &body(&[file("1.2.1")])));
    assert_eq!(idle.answer().expect("an answer").status, 200);
    let begin = std::time::Instant::now();
    assert_eq!(receiver.told().len(), 2);
    // Its side is still open; the time for a head (30 s) and the grace are far longer.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(idle.answer(), None);
}

#[test]
fn a_client_that_closes_its_side_after_the_request_is_answered() {
    let gateway = Gateway::start();
    for number in 1..=5 {
        let mut client = Client::connect(gateway.web, Duration::from_secs(10));
        client.send(&post("/studies", &[], &body(&[file(&format!("1.2.{number}"))])));
        client.stream.shutdown(std::net::Shutdown::Write).expect("closed");
        assert_eq!(client.answer().map(|answer| answer.status), Some(200), "{number}");
    }
    assert_eq!(gateway.instances().len(), 5);
}

#[test]
fn a_client_that_is_idle_is_no_trouble_and_one_that_stops_in_a_head_is() {
    let gateway = Gateway::start();
    let mut idle = Client::connect(gateway.web, Duration::from_secs(15));
    idle.send(&post("/studies", &[], &body(&[file("1.2.1")])));
    assert_eq!(idle.answer().expect("an answer").status, 200);
    let mut silent = Client::connect(gateway.web, Duration::from_secs(15));
    assert_eq!((idle.answer(), silent.answer()), (None, None), "both are closed after a time");
    assert!(!gateway.log().contains("HTTP that cannot be followed"), "{}", gateway.log());
    let mut half = Client::connect(gateway.web, Duration::from_secs(15));
    half.send(b"POST /studies HTTP/1.1\r\nHost:");
    half.answer();
    gateway.wait("it is not told", |gateway| gateway.log().contains("HTTP that cannot be followed"));
}

/// What the daemon is told of requests, each of which is sent up to a byte.
fn told_of(requests: Vec<(Vec<u8>, usize)>) -> Vec<String> {
    let tokens = vec![Credentials::hashed(b"0123456789abcdef")];
    let receiver = Receiver::start(Caller { tokens, ..Caller::default() }, None);
    for (request, sent) in requests {
        let mut client = Client::connect(receiver.address, Duration::from_secs(5));
        client.send(&request[..sent.min(request.len())]);
        if sent >= request.len() {
            client.answer().expect("an answer");
        } else {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    receiver.told()
}

#[test]
fn a_certificate_says_who_sends_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = |name: &str| {
        let pair = self_signed(name, &["localhost"]);
        let (certificate, key) = pair.write(folder.path(), name);
        (Identity::read(&certificate, &key).expect("an identity"), Fingerprint(pair.sha256))
    };
    let (own, own_sha256) = identity("gateway");
    let (scanner, scanner_sha256) = identity("scanner");
    let server = ServerTls::new(&own, Clients::Optional, None, [scanner_sha256].into()).expect("a port");
    let rule = CertificateRule { sha256: vec![scanner_sha256], names: Vec::new() };
    let receiver = Receiver::start(Caller { certificate: Some(rule), ..Caller::default() }, Some(server));
    let request = post("/studies", &[("Authorization", ""), ("Connection", "close")], &body(&[file("1.2.1")]));
    let ask = |identity: Option<&Identity>| {
        let trust = Trust { authorities: None, pinned: [own_sha256].into() };
        let client = ClientTls::new(trust, "localhost", identity).expect("a client");
        receiver.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(receiver.address).await.expect("a connection");
            let mut stream = client.connect(stream).await.expect("a handshake");
            stream.write_all(&request).await.expect("sent");
            let mut answer = Vec::new();
            // What stands before a close without its alert is an answer all the same.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
        })
    };
    assert_eq!(ask(Some(&scanner)), "HTTP/1.1 200 OK");
    assert_eq!(ask(None), "HTTP/1.1 401 Unauthorized");
    let mut plain = Client::connect(receiver.address, Duration::from_secs(5));
    plain.send(&request);
    assert_eq!(plain.answer(), None, "without TLS there is no answer");
    assert_eq!(receiver.told(), ["1.2.1 from PACS to HERE, new true", "closed, released true, 1 series"]);
}

#[test]
fn a_whole_request_ends_as_a_release_and_a_cut_one_as_an_abort() {
    let two = post("/studies", &[], &body(&[file("1.2.1"), file("1.2.2")]));
    let cut = two.len() - 100;
    let unclosed = [part(&file("1.2.3")), b"--c--".to_vec()].concat();
    let told = told_of(vec![(two.clone(), usize::MAX), (two, cut), (post("/studies", &[], &unclosed), usize::MAX)]);
    let expected = [
        "1.2.1 from PACS to HERE, new true",
        "1.2.2 from PACS to HERE, new true",
        "closed, released true, 2 series",
        "1.2.1 from PACS to HERE, new false",
        "closed, released false, 1 series",
    ];
    assert_eq!(told, expected, "the last one brought nothing whole");
}
