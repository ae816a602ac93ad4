//! `contourd doctor` against a gateway of our own: what is well, and each thing that stands between two nodes.

mod certificates;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certificates::{Authority, Pair};
use contourd::dimse::Fingerprint;

/// A gateway to look at, and the configuration of the one that looks.
struct Pairing {
    folder: tempfile::TempDir,
    gateway: Child,
    plain: u16,
    tls: u16,
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

impl Pairing {
    fn start(certificate: &Pair) -> Pairing {
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, tls) = (free_port(), free_port());
        let (pem, key) = certificate.write(folder.path(), "own");
        let gateway = format!(
            r#"{{"ae_titles": ["THERE"], "bind": "127.0.0.1", "port": {plain}, "storage": {{"folder": "var", "free_floor_mb": 1}},
                 "tls": {{"port": {tls}, "certificate": "{}", "key": "{}", "clients": "none"}}}}"#,
            pem.display(),
            key.display()
        );
        write(folder.path(), "there/ae-config/gateway.json", &gateway);
        write(folder.path(), "there/ae-config/peers/here.json", r#"{"ae_title": "HERE", "may": ["send"]}"#);
        let here = r#"{"ae_titles": ["HERE"], "port": 11112, "storage": {"folder": "var", "free_floor_mb": 1}}"#;
        write(folder.path(), "here/ae-config/gateway.json", here);
        for name in ["there/models", "there/pipelines", "here/models", "here/pipelines"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["serve", "--config", "there"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        let pairing = Pairing { folder, gateway: child, plain, tls };
        let end = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", tls)).is_err() {
            assert!(
                Instant::now() < end,
                "{}",
                fs::read_to_string(pairing.folder.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        pairing
    }

    /// The report on a peer of this text, and whether all was well.
    fn doctor(&self, peer: &str, options: &[&str]) -> (bool, String) {
        write(self.folder.path(), "here/ae-config/peers/there.json", peer);
        let output = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["doctor", "there", "--config", "here", "--timeout-s", "10"])
            .args(options)
            .current_dir(self.folder.path())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    fn peer(&self, title: &str, port: u16, more: &str) -> String {
        format!(r#"{{"ae_title": "{title}", "host": "127.0.0.1", "port": {port}, "may": ["receive"]{more}}}"#)
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("written");
}

/// Line by line: each text stands in the report, in this order.
#[track_caller]
fn holds(report: &str, texts: &[&str]) {
    let mut rest = report;
    for text in texts {
        let Some(at) = rest.find(text) else { panic!("{text:?} is not in its place:\n{report}") };
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn the_doctor_finds_what_is_well_and_what_is_not() {
    let authority = Authority::new("Hospital");
    let own = authority.issue("there", &["127.0.0.1"]);
    let pairing = Pairing::start(&own);
    let (plain, tls) = (pairing.plain, pairing.tls);

    let (well, report) = pairing.doctor(&pairing.peer("THERE", plain, ""), &["--store", "--images"]);
    assert!(well, "{report}");
    holds(&report, &["there: HERE calls THERE at 127.0.0.1:", "resolve    ok", "connect    ok", "tls        ok"]);
    holds(
        &report,
        &["associate  ok", "CONTOURD_0", "echo       ok", "yes  RT Structure Set Storage (implicit, explicit)"],
    );
    holds(&report, &["no   Study Root Query/Retrieve Information Model - FIND: SOP class not supported"]);
    // It offers no C-FIND: nobody can say whether it shows the object.
    holds(&report, &["store      ok       6 objects", "PHANTOM-0", "verify     warning", "warnings: 1;"]);
    let (well, again) = pairing.doctor(&pairing.peer("THERE", plain, ""), &["--store", "--images"]);
    assert!(well, "the same bytes again are no other object:\n{again}");

    let (well, report) = pairing.doctor(&pairing.peer("THERE", plain, r#", "verify": "find""#), &["--store"]);
    assert!(!well, "{report}");
    holds(&report, &["needed     FAILED   Study Root Query/Retrieve Information Model - FIND is not accepted"]);
    holds(
        &report,
        &["store      ok       1 objects", "verify     FAILED   refused: the destination does not offer C-FIND"],
    );

    let (well, report) = pairing.doctor(&pairing.peer("OTHER", plain, ""), &["--store"]);
    assert!(!well && !report.contains("store "), "{report}");
    holds(
        &report,
        &["connect    ok", "associate  FAILED   association rejected for good: it does not answer to this AE title"],
    );

    let closed = free_port();
    let (well, report) = pairing.doctor(&pairing.peer("THERE", closed, ""), &[]);
    assert!(!well && !report.contains("associate"), "{report}");
    holds(&report, &["resolve    ok", "connect    FAILED", "firewall", "failures: 1"]);

    let nowhere = pairing.peer("THERE", plain, "").replace("127.0.0.1", "nowhere.invalid");
    let (well, report) = pairing.doctor(&nowhere, &[]);
    assert!(!well && !report.contains("connect "), "{report}");
    holds(&report, &["resolve    FAILED   nowhere.invalid: "]);

    // By TLS: believed by its authority, not believed, and where no TLS is spoken.
    let ca = authority.write(pairing.folder.path(), "ca.pem");
    let believed = format!(r#", "tls": {{"authorities": "{}"}}"#, ca.display());
    let (well, report) = pairing.doctor(&pairing.peer("THERE", tls, &believed), &[]);
    assert!(well, "{report}");
    let fingerprint = Fingerprint(own.sha256).to_string();
    holds(
        &report,
        &["tls        ok       TLSv1_3, TLS13_", "127.0.0.1", "Hospital", &fingerprint, "days left", "echo       ok"],
    );
    let other = Authority::new("Another").write(pairing.folder.path(), "other.pem");
    let unbelieved = format!(r#", "tls": {{"authorities": "{}"}}"#, other.display());
    let (well, report) = pairing.doctor(&pairing.peer("THERE", tls, &unbelieved), &[]);
    assert!(!well && !report.contains("associate"), "{report}");
    holds(&report, &["tls        FAILED", "certificate 1: 127.0.0.1", &fingerprint]);
    let (well, report) = pairing.doctor(&pairing.peer("THERE", plain, &believed), &[]);
    assert!(!well, "{report}");
    holds(&report, &["connect    ok", "tls        FAILED", "no certificate was seen"]);
}

/// A server that gives each request this answer, for as long as the test lasts; its port.
fn answering(head: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    port
}

#[test]
fn folders_and_web_servers_are_looked_at_as_what_they_are() {
    let pairing = Pairing::start(&Authority::new("Hospital").issue("there", &["127.0.0.1"]));
    let folder = pairing.folder.path().join("export");
    let peer = format!(r#"{{"folder": "{}", "may": ["receive"]}}"#, folder.display());
    let (well, report) = pairing.doctor(&peer, &["--store"]);
    assert!(!well, "{report}");
    holds(&report, &["there: folder ", "export", "folder     FAILED", "mounted", "failures: 1"]);
    fs::create_dir(&folder).expect("a folder");
    let (well, report) = pairing.doctor(&peer, &["--store"]);
    assert!(well, "{report}");
    holds(&report, &["folder     ok", "store      ok       1 objects", "verify     ok       it is shown after "]);
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1, "the structure set, and nothing of the doctor's");

    let web = |head: &str| {
        let peer = format!(
            r#"{{"dicomweb": {{"url": "http://127.0.0.1:{}/dicom-web"}}, "may": ["receive"]}}"#,
            answering(head)
        );
        pairing.doctor(&peer, &[])
    };
    let (well, report) = web("204 No Content\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT");
    assert!(well, "{report}");
    holds(&report, &["DICOMweb at http://127.0.0.1:", "connect    ok", "search     ok       QIDO-RS answered 204"]);
    holds(&report, &["clock      warning", "s behind ours: compare both with a time server"]);
    let now =
        jiff::fmt::rfc2822::to_string(&jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC)).expect("a date");
    let (well, report) = web(&format!("200 OK\r\nDate: {now}"));
    assert!(well, "{report}");
    holds(&report, &["search     ok", "clock      ok       within 60 s of ours", "nothing is wrong"]);
    let (well, report) = web("401 Unauthorized");
    assert!(!well, "{report}");
    holds(
        &report,
        &["search     FAILED   QIDO-RS answered 401: it does not let us in", "clock      ok       it does not tell"],
    );
    let (well, report) = web("404 Not Found");
    assert!(well, "{report}");
    holds(&report, &["search     warning  QIDO-RS answered 404"]);
}

#[test]
fn certificates_that_are_about_to_run_out_or_not_yet_valid_are_told() {
    let authority = Authority::new("Hospital");
    let now = std::time::SystemTime::now();
    let days = |days: i64| {
        let seconds = Duration::from_secs(days.unsigned_abs() * 86_400);
        if days < 0 { now - seconds } else { now + seconds }
    };
    for (from, until, mark) in
        [(-10, 10, "tls        warning  certificate 1 runs out in "), (1, 300, "clock      warning")]
    {
        let own = authority.issue_with("there", &["127.0.0.1"], |parameters| {
            parameters.not_before = days(from).into();
            parameters.not_after = days(until).into();
        });
        let pairing = Pairing::start(&own);
        let believed = format!(r#", "tls": {{"sha256": ["{}"]}}"#, Fingerprint(own.sha256));
        let (_, report) = pairing.doctor(&pairing.peer("THERE", pairing.tls, &believed), &[]);
        holds(&report, &["connect    ok", mark]);
    }
}
