//! The gateway as a process of its own, so that its memory, its files and its life can be looked at from outside.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peer::{Answer, Peer};

/// Longest wait for an A-ASSOCIATE-RQ, in seconds.
pub const REQUEST_S: u64 = 3;
/// Longest silence in an association, in seconds.
pub const IDLE_S: u64 = 4;
/// Largest data set in MB.
pub const INSTANCE_MB: usize = 16;
/// Most associations of one peer.
pub const OF_ONE_PEER: usize = 24;
/// An echo of another peer takes no longer, connection and association included.
pub const ECHO: Duration = Duration::from_secs(1);

/// The longest that one may take where other work keeps the processors busy; few may be that long.
const ECHO_AT_MOST: Duration = Duration::from_secs(5);

pub struct Gateway {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Gateway {
    pub fn start() -> Gateway {
        let folder = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        let gateway = format!(
            r#"{{"ae_titles": ["CONTOURD"], "bind": "127.0.0.1", "port": {},
                "storage": {{"folder": "var", "free_floor_mb": 1}},
                "limits": {{"associations": 64, "associations_per_peer": {OF_ONE_PEER}, "instance_mb": {INSTANCE_MB},
                            "request_timeout_s": {REQUEST_S}, "idle_timeout_s": {IDLE_S}}},
                "complete": {{"quiet_s": 1, "released_quiet_s": 1, "gap_quiet_s": 1, "max_wait_s": 5}}}}"#,
            address.port()
        );
        write("ae-config/gateway.json", gateway);
        for name in ["CT01", "WARD", "MANY", "FULL"] {
            write(&format!("ae-config/peers/{name}.json"), format!(r#"{{"ae_title": "{name}", "may": ["send"]}}"#));
        }
        write("ae-config/peers/LOOK.json", r#"{"ae_title": "LOOK", "may": ["query"]}"#.to_owned());
        for name in ["pipelines", "models"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["serve", "--config"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        let gateway = Gateway { address, folder, process };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "the gateway does not listen:\n{}", gateway.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        gateway
    }

    /// Another peer associates, verifies and releases.
    pub fn answers_others(&self) -> Result<Duration, String> {
        let start = Instant::now();
        let mut other = Peer::connect(self.address, ECHO_AT_MOST);
        other.send(&crate::bytes::Request::from("WARD").bytes());
        let answers = [other.answer(), other.echo(), other.release()];
        if answers == [Answer::Accepted, Answer::Status(0), Answer::Released] && start.elapsed() < ECHO_AT_MOST {
            Ok(start.elapsed())
        } else {
            Err(format!("an echo of another peer was answered {answers:?} in {:?}", start.elapsed()))
        }
    }

    /// A figure of `/proc/PID/status`, in kB: `VmRSS` is the memory now, `VmHWM` the most there was.
    pub fn memory_kb(&self, figure: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the gateway is alive");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a figure")
    }

    /// Open files, sockets among them.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("the gateway is alive").count()
    }

    /// The names of the instances in the spool; nothing may be under way.
    pub fn instances(&self) -> Vec<String> {
        let storage = self.folder.path().join("var");
        let end = Instant::now() + Duration::from_secs(5);
        while !names(&storage.join("incoming")).is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(names(&storage.join("incoming")), Vec::<String>::new(), "nothing is half done");
        names(&storage.join("instances"))
    }

    /// Files and folders of the whole configuration folder that are none of the gateway's own.
    pub fn strangers(&self) -> Vec<String> {
        let known = ["ae-config", "models", "pipelines", "var", "log"];
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let found = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        found.filter(|name| !known.contains(&name.as_str())).collect()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().expect("asked").is_none()
    }
}

/// The names of all files below a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(names(&path));
        } else {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
