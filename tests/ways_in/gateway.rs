//! The gateway as a process with a port for HTTP and a watched folder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::bytes::{AS_IMPLICIT, image, store};
use crate::peer::{Answer, Peer};

/// Longest wait for the head of a request, in seconds.
pub const REQUEST_S: u64 = 2;
/// Longest silence, in seconds.
pub const IDLE_S: u64 = 3;
/// Largest data set in MB, and largest body of a request.
pub const INSTANCE_MB: usize = 2;
pub const REQUEST_MB: usize = 8;
/// Requests of one peer at the same time.
pub const OF_ONE_PEER: usize = 4;
/// How long a file of the folder has to stay as it is, in seconds.
pub const SETTLE_S: f64 = 0.3;

pub struct Gateway {
    /// Of associations, and of HTTP.
    pub address: SocketAddr,
    pub web: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Gateway {
    pub fn start() -> Gateway {
        Gateway::start_with("remove")
    }

    /// One that does this with files that are stored.
    pub fn start_with(after: &str) -> Gateway {
        let folder = tempfile::tempdir().expect("a folder");
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let (address, web) = (port(), port());
        let mut gateway = Gateway { address, web, folder, process: None };
        gateway.configure(after, 1);
        for name in ["pipelines", "models", "drop"] {
            fs::create_dir_all(gateway.path(name)).expect("a folder");
        }
        gateway.begin();
        gateway
    }

    /// Writes the configuration, with this floor of free space.
    pub fn configure(&self, after: &str, floor_mb: u64) {
        let (port, web) = (self.address.port(), self.web.port());
        let write = |name: &str, text: &str| {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        let gateway = format!(
            r#"{{"ae_titles": ["CONTOURD", "OTHER"], "bind": "127.0.0.1", "port": {port},
                "dicomweb": {{"port": {web}, "requests": 8, "requests_per_peer": {OF_ONE_PEER}, "request_mb": {REQUEST_MB}}},
                "folders": [{{"path": "drop", "calling_ae": "DROP", "called_ae": "OTHER", "after": "{after}",
                              "settle_s": {SETTLE_S}, "scan_s": 1}}],
                "storage": {{"folder": "var", "free_floor_mb": {floor_mb}}},
                "limits": {{"instance_mb": {INSTANCE_MB}, "request_timeout_s": {REQUEST_S}, "idle_timeout_s": {IDLE_S}}}}}"#
        );
        write("ae-config/gateway.json", &gateway);
        for name in ["CT01", "WARD"] {
            write(&format!("ae-config/peers/{name}.json"), &format!(r#"{{"ae_title": "{name}", "may": ["send"]}}"#));
        }
        let hashed =
            |token: &str| -> String { Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect() };
        let peer = |title: &str, token: &str, rest: &str| {
            format!(r#"{{"ae_title": "{title}", "token": {{"sha256": ["{}"]}}, {rest}}}"#, hashed(token))
        };
        write("ae-config/peers/pacs.json", &peer("PACS", "0123456789abcdef", r#""may": ["send"]"#));
        write("ae-config/peers/look.json", &peer("LOOK", "look", r#""may": ["query"]"#));
        write("ae-config/peers/far.json", &peer("FAR", "far", r#""may": ["send"], "from": ["10.9.8.7"]"#));
    }

    /// Starts the process.
    pub fn begin(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["serve", "--config"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        self.process = Some(process);
        self.wait("the gateway does not listen", |gateway| {
            [gateway.address, gateway.web].iter().all(|address| TcpStream::connect(address).is_ok())
        });
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("gone");
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = rustix::process::Pid::from_raw(process.id() as i32).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("told");
        let end = Instant::now() + Duration::from_secs(10);
        while process.try_wait().expect("asked").is_none() {
            assert!(Instant::now() < end, "it does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl Fn(&Gateway) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            assert!(Instant::now() < end, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A C-STORE of a small image; the status.
    pub fn store(&self, calling: &str, instance: &str) -> u16 {
        let mut peer = Peer::associated(self.address, calling, Duration::from_secs(10));
        peer.send(&store(AS_IMPLICIT, instance, &image(instance)));
        let Answer::Status(status) = peer.answer() else { panic!("no status:\n{}", self.log()) };
        assert_eq!(peer.release(), Answer::Released);
        status
    }

    /// Another peer associates, verifies and releases.
    pub fn answers_others(&self) -> Result<Duration, String> {
        let (start, at_most) = (Instant::now(), Duration::from_secs(5));
        let mut other = Peer::connect(self.address, at_most);
        other.send(&crate::bytes::Request::from("WARD").bytes());
        let answers = [other.answer(), other.echo(), other.release()];
        if answers == [Answer::Accepted, Answer::Status(0), Answer::Released] {
            Ok(start.elapsed())
        } else {
            Err(format!("an echo of another peer was answered {answers:?} in {:?}", start.elapsed()))
        }
    }

    /// The instances in the spool, by SOP Instance UID, as whole files; nothing may be under way.
    pub fn instances(&self) -> BTreeMap<String, Vec<u8>> {
        self.wait("something is half done", |gateway| files(&gateway.path("var/incoming")).is_empty());
        let read = |path: &PathBuf| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a file"))
        };
        files(&self.path("var/instances")).iter().map(read).collect()
    }

    /// The files below a folder of the configuration folder, as they are called from there.
    pub fn files(&self, name: &str) -> Vec<String> {
        let root = self.path(name);
        files(&root).iter().map(|path| path.strip_prefix(&root).expect("below").display().to_string()).collect()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// A figure of `/proc/PID/status`, in kB.
    pub fn memory_kb(&self, figure: &str) -> usize {
        let id = self.process.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the gateway is alive");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a figure")
    }

    pub fn open_files(&self) -> usize {
        let id = self.process.as_ref().expect("it runs").id();
        fs::read_dir(format!("/proc/{id}/fd")).expect("the gateway is alive").count()
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().expect("asked").is_none())
    }
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    // What is taken away meanwhile is not there.
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        match path.symlink_metadata() {
            Ok(data) if data.is_dir() => found.extend(files(&path)),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
    found.sort();
    found
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
