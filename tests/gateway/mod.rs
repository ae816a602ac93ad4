//! A gateway as a child process with a configuration of its own, a sender and a destination on loopback.
#![allow(dead_code)] // Each test program uses its part.

use std::fs;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contourd::daemon::LEDGER_FILE;
use contourd::deliver::Outcome;
use contourd::deliver::dicom::{Destination, store_each};
use contourd::dimse::commitment::CommitmentRequest;
use contourd::dimse::{Acceptance, Caller, Outcome as Answer};
use contourd::job::Job;
use contourd::ledger::Ledger;
use contourd::node::SeriesRecord;
use contourd::output::rtstruct::{self, ParsedStructureSet};
use contourd::phantom::{Identity, Thorax, instances, render};
use contourd::receive::{self, Notice, Policy};
use contourd::spool::Spool;
use tokio::sync::{mpsc, watch};

/// The play: its folder, its ports, its processes.
pub struct Play {
    folder: tempfile::TempDir,
    gateway_port: u16,
    gateway: Option<Child>,
    runtime: tokio::runtime::Runtime,
    received: Arc<Spool>,
    /// What the destination was asked to commit to; it accepts, and reports nothing by itself.
    asked: Arc<Mutex<Vec<CommitmentRequest>>>,
    _stop: watch::Sender<bool>,
    _policy: watch::Sender<Arc<Policy>>,
}

impl Play {
    /// Configures a gateway with these pipelines (name, text) and starts it, and a destination called `tps`.
    pub fn start(pipelines: &[(&str, &str)]) -> Play {
        Play::start_with(pipelines, |_, _| ())
    }

    /// The same with a change of the configuration, which has the folder and the port of the destination.
    pub fn start_with(pipelines: &[(&str, &str)], change: impl FnOnce(&Path, u16)) -> Play {
        assert!(contourd::onnx::check_library().is_ok(), "ONNX Runtime is not there; `make runtime` fetches it");
        let folder = tempfile::tempdir().expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let received = Spool::open(&folder.path().join("received"), 0).expect("a folder for what is received");
        let asked = Arc::default();
        let (port, _stop, _policy) = destination(&runtime, Arc::clone(&received), Arc::clone(&asked));
        let gateway_port = StdListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
        configure(folder.path(), gateway_port, port, pipelines);
        change(folder.path(), port);
        let mut play = Play { folder, gateway_port, gateway: None, runtime, received, asked, _stop, _policy };
        play.start_gateway();
        play
    }

    fn start_gateway(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["serve", "--config"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        self.gateway = Some(child);
    }

    /// Kills the gateway as a power cut would, and starts it again.
    pub fn kill_and_start(&mut self) {
        self.stop();
        self.start_gateway();
    }

    /// Kills the gateway.
    pub fn stop(&mut self) {
        let mut child = self.gateway.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Ends it in order.
    #[allow(dead_code)]
    pub fn end(&mut self) {
        let mut child = self.gateway.take().expect("it runs");
        let asked = std::process::Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
        assert!(asked.expect("kill runs").success());
        child.wait().expect("gone");
    }

    /// Starts it after [`Play::stop`].
    pub fn start_again(&mut self) {
        self.start_gateway();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The gateway, for one who calls as this title.
    pub fn gateway_for(&self, title: &str) -> Destination {
        Destination {
            ae_title: "CONTOURD".parse().expect("a title"),
            host: "127.0.0.1".to_owned(),
            port: self.gateway_port,
            tls: None,
            calling_ae: title.parse().expect("a title"),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(10),
        }
    }

    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// What the destination was asked to commit to since the last call, once there is something.
    pub fn asked(&self) -> CommitmentRequest {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(request) = self.asked.lock().expect("no panic").pop() {
                return request;
            }
            assert!(Instant::now() < end, "the destination was not asked:\n{}", self.describe());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ledger of the gateway.
    pub fn ledger(&self) -> Ledger {
        let path = self.path("var").join(LEDGER_FILE);
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match Ledger::open_existing(&path) {
                Ok(ledger) => return ledger,
                Err(error) => assert!(Instant::now() < end, "{error}:\n{}", self.describe()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends files until each is acknowledged.
    pub fn send(&self, files: &[PathBuf]) {
        self.send_to("CONTOURD", files);
    }

    /// The same, to one of the titles of the gateway.
    pub fn send_to(&self, title: &str, files: &[PathBuf]) {
        let gateway = Destination { ae_title: title.parse().expect("a title"), ..self.gateway_for("CT") };
        let mut rest = files.to_vec();
        let end = Instant::now() + Duration::from_secs(60);
        while !rest.is_empty() {
            assert!(Instant::now() < end, "not acknowledged:\n{}", self.describe());
            let sent = self.runtime.block_on(store_each(&gateway, &rest, true, |_, _| ()));
            for (path, outcome) in sent {
                if matches!(outcome, Outcome::Delivered { .. }) {
                    rest.retain(|file| *file != path);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Jobs and series as the ledger has them, once they are as wanted.
    pub fn wait(&self, what: &str, wanted: impl Fn(&[Job], &[SeriesRecord]) -> bool) -> (Vec<Job>, Vec<SeriesRecord>) {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let ledger = Ledger::open_existing(&self.path("var").join(LEDGER_FILE));
            let read = ledger.ok().and_then(|ledger| Some((ledger.jobs(1_000).ok()?, ledger.series(1_000).ok()?)));
            if let Some((jobs, series)) = read
                && wanted(&jobs, &series)
            {
                return (jobs, series);
            }
            assert!(Instant::now() < end, "{what}:\n{}", self.describe());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until so many jobs are delivered and none is under way.
    pub fn wait_for_delivered(&self, count: usize) -> Vec<Job> {
        let done = |job: &Job| job.state.is_done();
        self.wait("jobs are not delivered", |jobs, _| jobs.len() >= count && jobs.iter().all(done)).0
    }

    /// Every structure set that the destination holds.
    pub fn received(&self) -> Vec<ParsedStructureSet> {
        let mut sets = Vec::new();
        let read = |path: &Path| rtstruct::read(&fs::read(path).expect("a file")).expect("a structure set");
        self.received.scan(|listed| sets.push(read(&listed.path))).expect("a spool that can be read");
        sets
    }

    /// What the gateway says: its jobs, and the end of its log.
    pub fn describe(&self) -> String {
        let jobs =
            Command::new(env!("CARGO_BIN_EXE_contourd")).args(["jobs", "--config"]).arg(self.folder.path()).output();
        let jobs = jobs.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        format!("{jobs}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The small thorax of these plays.
pub fn thorax() -> Thorax {
    Thorax::random(3).coarser(6).with_slice_spacing(15.0)
}

/// Writes the images of the phantom under an identity; the files in the order of the slices.
pub fn write_series(folder: &Path, thorax: &Thorax, identity: &Identity) -> Vec<PathBuf> {
    fs::create_dir_all(folder).expect("a folder");
    let phantom = render(thorax, |_| ()).expect("a phantom");
    let write = |instance: Result<(contourd::dicom::Uid, Vec<u8>), _>| {
        let (uid, bytes) = instance.expect("an instance");
        let path = folder.join(format!("{uid}.dcm"));
        fs::write(&path, bytes).expect("written");
        path
    };
    instances(&phantom, identity).map(write).collect()
}

fn destination(
    runtime: &tokio::runtime::Runtime,
    spool: Arc<Spool>,
    asked: Arc<Mutex<Vec<CommitmentRequest>>>,
) -> (u16, watch::Sender<bool>, watch::Sender<Arc<Policy>>) {
    let anybody = Caller { may_send: true, may_commit: true, ..Caller::default() };
    let called = vec!["TPS".parse().expect("a title")];
    let acceptance = Acceptance { called, unknown_caller: Some(anybody), ..Policy::default().acceptance };
    let policy = Policy { acceptance, grace: Duration::ZERO, ..Policy::default() };
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (notices, mut unread) = mpsc::channel(16);
    let (policy, seen) = watch::channel(Arc::new(policy));
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(receive::serve(listener, seen, spool, notices, stopped));
    runtime.spawn(async move {
        while let Some(notice) = unread.recv().await {
            if let Notice::CommitmentAsked(told) = notice {
                let _ = told.reply.send(Answer::Accepted);
                asked.lock().expect("no panic").push(told.request);
            }
        }
    });
    (port, stop, policy)
}

pub fn configure(folder: &Path, gateway_port: u16, tps_port: u16, pipelines: &[(&str, &str)]) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    let gateway = format!(
        r#"{{"ae_titles": ["CONTOURD", "CONTOURD_2"], "bind": "127.0.0.1", "port": {gateway_port},
             "storage": {{"folder": "var", "free_floor_mb": 1}}, "worker": {{"threads": 1}},
             "complete": {{"quiet_s": 2, "released_quiet_s": 1, "gap_quiet_s": 5, "max_wait_s": 20}}}}"#
    );
    write("ae-config/gateway.json", &gateway);
    write("ae-config/peers/ct.json", r#"{"ae_title": "CT", "may": ["send"]}"#);
    let tps = format!(r#"{{"ae_title": "TPS", "host": "127.0.0.1", "port": {tps_port}, "may": ["receive"]}}"#);
    write("ae-config/peers/tps.json", &tps);
    // The same receiver under another name, which wants its structure sets in another way.
    let xor = tps.replacen('{', r#"{"dialect": {"like": "mim", "holes": "xor", "side_first": true}, "#, 1);
    write("ae-config/peers/xor.json", &xor);
    for (name, text) in pipelines {
        write(&format!("pipelines/{name}.json"), text);
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    std::os::unix::fs::symlink(models, folder.join("models")).expect("a link to the models");
}
