//! The gateway as a process on the network: titles that lead to pipelines, TLS whose certificates are renewed while it
//! runs, and rejections that its log explains.

mod certificates;
mod gateway;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certificates::{Authority, Pair, self_signed};
use contourd::dicom::Uid;
use contourd::dimse::Fingerprint;
use contourd::phantom::Identity;
use gateway::{Play, thorax, write_series};

fn pipeline(id: &str, title: &str) -> String {
    format!(
        r#"{{"id": "{id}", "revision": 1, "mode": "live", "when": {{"called_ae": ["{title}"]}},
 "inputs": {{"ct": {{"all": [{{"tag": "Modality", "eq": "CT"}}], "slices": {{"min": 3}}}}}},
 "steps": [{{"id": "basic", "model": "ct-basic", "in": {{"ct": "ct"}}}}],
 "structures": {{"basic:BODY": {{"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}}}},
 "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}], "deliver": [{{"to": "tps"}}]}}"#
    )
}

#[test]
fn two_titles_on_one_port_lead_to_two_pipelines() {
    let (first, second) = (pipeline("first", "CONTOURD"), pipeline("second", "CONTOURD_2"));
    let play = Play::start(&[("first", &first), ("second", &second)]);
    let mut expected = BTreeMap::new();
    for (id, title) in [("first", "CONTOURD"), ("second", "CONTOURD_2")] {
        let identity = Identity { series_instance_uid: Uid::derived(["series", title]), ..Identity::of(&thorax()) };
        // Instances of their own too: the UIDs of the phantom derive from its series.
        let files = write_series(&play.path(title), &thorax(), &identity);
        play.send_to(title, &files);
        expected.insert(identity.series_instance_uid.to_string(), id.to_owned());
    }
    let jobs = play.wait_for_delivered(2);
    let of = |job: &contourd::job::Job| (job.series.series_instance_uid.to_string(), job.pipeline.clone());
    assert_eq!(jobs.iter().map(of).collect::<BTreeMap<_, _>>(), expected, "{}", play.describe());
}

/// A gateway with a TLS port alone, whose certificates lie outside of its configuration.
struct Secure {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Secure {
    fn start(authority: &Authority, own: &Pair, scanner: &str) -> Secure {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
        let certificates = folder.path().join("certificates");
        own.write(&certificates, "own");
        authority.write(&certificates, "ca.pem");
        let write = |name: &str, text: &str| {
            let path = folder.path().join("configuration").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        let file = |name: &str| certificates.join(name).display().to_string();
        let gateway = format!(
            r#"{{"ae_titles": ["HERE"], "bind": "127.0.0.1", "storage": {{"folder": "var", "free_floor_mb": 1}},
                 "tls": {{"port": {port}, "certificate": "{}", "key": "{}", "client_authorities": "{}"}}}}"#,
            file("own.pem"),
            file("own.key"),
            file("ca.pem")
        );
        write("ae-config/gateway.json", &gateway);
        write("ae-config/peers/ct.json", scanner);
        for name in ["models", "pipelines"] {
            fs::create_dir_all(folder.path().join("configuration").join(name)).expect("a folder");
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        // A relative folder: what is watched must be found again in the events of the system.
        let child = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["serve", "--config", "configuration"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        Secure { folder, port, child }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Its log, of which each line is a JSON object, with the quotes within texts as they are read.
    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default().replace("\\\"", "\"")
    }

    /// `contourd echo` as CT, believing this certificate alone; what it says when it fails.
    fn echo(&self, believed: &Pair, own: &str) -> Result<(), String> {
        let file = |ending: &str| self.path(&format!("{own}.{ending}"));
        let output = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["echo", "--aec", "HERE", "--aet", "CT", "--timeout-s", "5"])
            .args(["--to", &format!("127.0.0.1:{}", self.port)])
            .args(["--tls-sha256", &Fingerprint(believed.sha256).to_string()])
            .args([Path::new("--tls-certificate"), &file("pem"), Path::new("--tls-key"), &file("key")])
            .output()
            .expect("it runs");
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Waits until something holds that a thread or another process brings about.
    #[track_caller]
    fn wait(&mut self, what: &str, holds: impl Fn(&Secure) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            assert!(Instant::now() < end, "{what}:\n{}", self.log());
            assert!(self.child.try_wait().expect("a child").is_none(), "it ended:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SCANNER: &str = r#"{"ae_title": "CT", "from": ["127.0.0.0/8"], "may": ["send"]}"#;

#[test]
fn certificates_are_renewed_without_a_restart() {
    let authority = Authority::new("Hospital");
    let (old, new) = (authority.issue("gateway", &["127.0.0.1"]), authority.issue("gateway", &["127.0.0.1"]));
    let mut gateway = Secure::start(&authority, &old, SCANNER);
    authority.issue("ct", &[]).write(gateway.folder.path(), "ct");
    gateway.wait("it does not answer", |gateway| gateway.echo(&old, "ct").is_ok());
    new.write(&gateway.path("certificates"), "own");
    gateway.wait("the new certificate is not used", |gateway| gateway.echo(&new, "ct").is_ok());
    let told = gateway.echo(&old, "ct").expect_err("the old one is gone");
    assert!(told.contains(&Fingerprint(new.sha256).to_string()), "{told}");
    // A certificate of another key: told, and the one before stays.
    fs::write(gateway.path("certificates/own.pem"), &old.certificate).expect("written");
    gateway.wait("the bad certificate is not told", |gateway| {
        gateway.log().contains("own.pem: found a first certificate of another key")
    });
    assert!(gateway.log().contains("the last good version stays in use"));
    assert_eq!(gateway.echo(&new, "ct"), Ok(()));
    let hung_up = Command::new("kill").args(["-HUP", &gateway.child.id().to_string()]).status().expect("it runs");
    assert!(hung_up.success());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(gateway.echo(&new, "ct"), Ok(()), "SIGHUP does not end it");
    let elsewhere = SCANNER.replace("127.0.0.0/8", "10.0.0.0/8");
    fs::write(gateway.path("configuration/ae-config/peers/ct.json"), elsewhere).expect("written");
    gateway.wait("the peer may call from here still", |gateway| gateway.echo(&new, "ct").is_err());
    let told = "rejected with 1/1/3: the peers with this calling AE title may not call from this address";
    gateway.wait(told, |gateway| gateway.log().contains(told));
}

#[test]
fn the_log_says_why_somebody_was_turned_away() {
    let authority = Authority::new("Hospital");
    let own = authority.issue("gateway", &["127.0.0.1"]);
    let device = self_signed("device", &[]);
    let rule = format!(r#""certificate": {{"sha256": ["{}"]}}, "may""#, Fingerprint(device.sha256));
    let mut gateway = Secure::start(&authority, &own, &SCANNER.replace("\"may\"", &rule));
    device.write(gateway.folder.path(), "device");
    let other = authority.issue("other", &[]);
    other.write(gateway.folder.path(), "other");
    self_signed("stranger", &[]).write(gateway.folder.path(), "stranger");
    gateway.wait("it does not answer", |gateway| gateway.echo(&own, "device").is_ok());
    let told = gateway.echo(&own, "other").expect_err("another certificate");
    assert!(told.contains("rejected for good: it does not know our AE title"), "{told}");
    let told = gateway.echo(&own, "stranger").expect_err("a certificate that nobody vouches for");
    assert!(told.contains("no TLS connection with 127.0.0.1"), "{told}");
    let expected = [
        format!("association from CT to HERE rejected with 1/1/3: the certificate is not that of a peer with this calling AE title; see \"certificate\" in ae-config/peers, certificate {}", Fingerprint(other.sha256)),
        "connection refused: no authority of \"client_authorities\" in ae-config/gateway.json vouches for its certificate".to_owned(),
    ];
    for expected in expected {
        gateway.wait(&expected, |gateway| gateway.log().contains(&expected));
    }
}
