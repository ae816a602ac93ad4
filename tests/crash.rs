//! The gateway is killed with SIGKILL at random moments while senders send and destinations come and go. In the end
//! every acknowledged instance is there, and every series is one structure set at each destination.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contourd::daemon::LEDGER_FILE;
use contourd::deliver::Outcome;
use contourd::deliver::dicom::{Destination, store_each};
use contourd::dicom::Uid;
use contourd::dimse::{Acceptance, Caller};
use contourd::ledger::Ledger;
use contourd::node::SeriesState;
use contourd::output::rtstruct;
use contourd::phantom::{Identity, Thorax, instances, render};
use contourd::receive::{self, Policy};
use contourd::spool::Spool;
use fastrand::Rng;
use tokio::sync::{mpsc, watch};

const KILLS: usize = 50;
const SENDERS: usize = 4;
const SERIES_EACH: usize = 2;
const DESTINATIONS: [&str; 2] = ["tps", "pacs"];

/// The ONNX Runtime library that the worker needs; where it is not installed the test says so and proves nothing.
fn runtime_is_there() -> bool {
    contourd::onnx::check_library().is_ok()
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_delivered_twice() {
    assert!(runtime_is_there(), "ONNX Runtime is not there; `make runtime` fetches it");
    let folder = tempfile::tempdir().expect("a folder");
    let series = make_series(&folder.path().join("images"));
    let ports: Vec<u16> = free_ports(3);
    configure(folder.path(), &ports);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let destinations: Vec<_> = DESTINATIONS
        .iter()
        .zip(&ports[1..])
        .map(|(name, port)| {
            let spool = Spool::open(&folder.path().join(name), 0).expect("a folder for what is received");
            runtime.spawn(come_and_go(*port, Arc::clone(&spool), Arc::clone(&done)));
            spool
        })
        .collect();
    for sender in 0..SENDERS {
        let files = series[sender * SERIES_EACH..][..SERIES_EACH].iter().flat_map(|(_, files)| files.clone()).collect();
        runtime.spawn(send(files, ports[0], sender as u64, Arc::clone(&acknowledged)));
    }
    kill_and_start_again(folder.path());
    let mut gateway = start(folder.path());
    done.store(true, Ordering::SeqCst);
    let count: usize = series.iter().map(|(_, files)| files.len()).sum();
    let finished = wait_for_rest(folder.path(), &acknowledged, count);
    // Nothing may come after: a delivery that is repeated would show now.
    std::thread::sleep(Duration::from_secs(2));
    let _ = gateway.kill();
    let _ = gateway.wait();
    assert!(finished, "the gateway did not come to rest:\n{}", describe(folder.path()));
    check_stored(folder.path(), &acknowledged.lock().expect("no panic"));
    for spool in &destinations {
        check_received(spool, &series);
    }
}

/// Eight small phantoms; the files of each series in a random order, so that what has arrived nearly always has a gap.
fn make_series(folder: &Path) -> Vec<(Uid, Vec<PathBuf>)> {
    let mut rng = Rng::with_seed(7);
    let make = |seed: usize| {
        let thorax = Thorax::random(seed as u64).coarser(8).with_slice_spacing(20.0);
        let phantom = render(&thorax, |_| ()).expect("a phantom");
        let identity = Identity::of(&thorax);
        let folder = folder.join(seed.to_string());
        fs::create_dir_all(&folder).expect("a folder");
        let mut files: Vec<PathBuf> = instances(&phantom, &identity)
            .map(|instance| {
                let (uid, bytes) = instance.expect("an instance");
                let path = folder.join(format!("{uid}.dcm"));
                fs::write(&path, bytes).expect("written");
                path
            })
            .collect();
        rng.shuffle(&mut files);
        (identity.series_instance_uid, files)
    };
    (0..SENDERS * SERIES_EACH).map(make).collect()
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<StdListener> =
        (0..count).map(|_| StdListener::bind(("127.0.0.1", 0)).expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

fn configure(folder: &Path, ports: &[u16]) {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    write(
        "ae-config/gateway.json",
        format!(
            r#"{{"ae_titles": ["CONTOURD"], "bind": "127.0.0.1", "port": {},
                "storage": {{"folder": "var", "free_floor_mb": 1}}, "worker": {{"runs_max": 100}},
                "complete": {{"quiet_s": 3, "released_quiet_s": 1, "gap_quiet_s": 600, "max_wait_s": 900}}}}"#,
            ports[0]
        ),
    );
    write("ae-config/peers/ct.json", r#"{"ae_title": "CT", "may": ["send"]}"#.to_owned());
    for (name, port) in DESTINATIONS.iter().zip(&ports[1..]) {
        let peer = format!(
            r#"{{"ae_title": "{}", "host": "127.0.0.1", "port": {port}, "may": ["receive"],
                "retry": {{"initial_s": 0.5, "multiplier": 2, "max_s": 2, "max_age_h": 1}}}}"#,
            name.to_uppercase()
        );
        write(&format!("ae-config/peers/{name}.json"), peer);
    }
    write(
        "pipelines/basic.json",
        r#"{"id": "basic", "revision": 1, "mode": "live",
            "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
            "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
            "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
            "outputs": [{"rtstruct": {"label": "AUTO"}}],
            "deliver": [{"to": "tps"}, {"to": "pacs"}]}"#
            .to_owned(),
    );
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    std::os::unix::fs::symlink(models, folder.join("models")).expect("a link to the models");
}

fn start(folder: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_contourd"))
        .args(["serve", "--config"])
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the gateway starts")
}

/// Lives from a twentieth of a second to six seconds: some end while instances arrive, some within a run or a delivery.
fn kill_and_start_again(folder: &Path) {
    let mut rng = Rng::with_seed(11);
    for kill in 0..KILLS {
        let mut gateway = start(folder);
        let longest_ms = if kill % 5 == 4 { 6_000 } else { 1_500 };
        std::thread::sleep(Duration::from_millis(rng.u64(50..longest_ms)));
        assert_eq!(gateway.try_wait().expect("asked"), None, "the gateway ended by itself:\n{}", describe(folder));
        gateway.kill().expect("killed");
        gateway.wait().expect("gone");
    }
}

/// Sends until everything is acknowledged; what was not is sent again.
async fn send(files: Vec<PathBuf>, port: u16, seed: u64, acknowledged: Arc<Mutex<BTreeSet<Uid>>>) {
    let mut rng = Rng::with_seed(seed);
    let gateway = Destination {
        ae_title: "CONTOURD".parse().expect("a title"),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        calling_ae: "CT".parse().expect("a title"),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(5),
    };
    let mut rest = files;
    while !rest.is_empty() {
        let batch: Vec<PathBuf> = rest.iter().take(rng.usize(1..8)).cloned().collect();
        let results = store_each(&gateway, &batch, true, |_, _| ()).await;
        for (path, outcome) in results {
            if matches!(outcome, Outcome::Delivered { .. }) {
                acknowledged.lock().expect("no panic").insert(uid_of(&path));
                rest.retain(|file| *file != path);
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(20..200))).await;
    }
}

fn uid_of(path: &Path) -> Uid {
    path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a file named by its UID")
}

/// A destination that is there for a while and away for a while, and that stays when `done`.
async fn come_and_go(port: u16, spool: Arc<Spool>, done: Arc<AtomicBool>) {
    let mut rng = Rng::with_seed(u64::from(port));
    let anybody = Caller { may_send: true, ..Caller::default() };
    let called = DESTINATIONS.map(|name| name.to_uppercase().parse().expect("a title")).to_vec();
    let acceptance = Acceptance { called, unknown_caller: Some(anybody), ..Policy::default().acceptance };
    let policy = Policy { acceptance, grace: Duration::ZERO, ..Policy::default() };
    loop {
        let Ok(listener) = tokio::net::TcpListener::bind(("127.0.0.1", port)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (notices, mut unread) = mpsc::channel(16);
        let (_policy, seen) = watch::channel(Arc::new(policy.clone()));
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(receive::serve(listener, seen, Arc::clone(&spool), notices, stopped));
        let reading = tokio::spawn(async move { while unread.recv().await.is_some() {} });
        tokio::time::sleep(Duration::from_millis(rng.u64(500..4_000))).await;
        while done.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let _ = stop.send(true);
        let _ = serving.await;
        reading.abort();
        tokio::time::sleep(Duration::from_millis(rng.u64(200..2_000))).await;
    }
}

/// Waits until all instances are acknowledged, all series matched and all jobs delivered.
fn wait_for_rest(folder: &Path, acknowledged: &Mutex<BTreeSet<Uid>>, count: usize) -> bool {
    let end = Instant::now() + Duration::from_secs(240);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        if acknowledged.lock().expect("no panic").len() < count {
            continue;
        }
        let Ok(ledger) = Ledger::open_existing(&folder.join("var").join(LEDGER_FILE)) else { continue };
        let (Ok(series), Ok(jobs)) = (ledger.series(1_000), ledger.jobs(1_000)) else { continue };
        let all = series.len() == SENDERS * SERIES_EACH && jobs.len() >= series.len();
        let matched = series.iter().all(|series| series.state == SeriesState::Matched);
        if all && matched && jobs.iter().all(|job| job.state.is_done()) {
            return true;
        }
    }
    false
}

fn describe(folder: &Path) -> String {
    let jobs = Command::new(env!("CARGO_BIN_EXE_contourd")).args(["jobs", "--config"]).arg(folder).output();
    let jobs = jobs.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(30).collect();
    format!("{jobs}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

fn check_stored(folder: &Path, acknowledged: &BTreeSet<Uid>) {
    let spool = Spool::open(&folder.join("var"), 0).expect("the gateway is gone");
    let mut stored = BTreeSet::new();
    spool.scan(|listed| stored.extend([listed.sop_instance_uid])).expect("a spool that can be read");
    let lost: Vec<&Uid> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

/// Exactly one structure set for each series, which refers to every image of it.
fn check_received(spool: &Spool, series: &[(Uid, Vec<PathBuf>)]) {
    let mut received: BTreeMap<(Uid, usize), usize> = BTreeMap::new();
    spool
        .scan(|listed| {
            let bytes = fs::read(&listed.path).expect("a received object");
            let set = rtstruct::read(&bytes).expect("a structure set");
            let of = set.referenced_series_uid.expect("a structure set of a series");
            *received.entry((of, set.referenced_images.len())).or_default() += 1;
        })
        .expect("a spool that can be read");
    let expected = series.iter().map(|(uid, files)| ((uid.clone(), files.len()), 1)).collect();
    assert_eq!(received, expected);
}
