//! The daemon's side of one worker: starts it, gives it orders, watches its time and memory, and kills it.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, interval, timeout_at};

use super::{Report, WorkOrder};
use crate::job::Run;
use crate::limits::{WORKER_MALLOC_KEEP_BYTES, WORKER_MEMORY_POLL_MS, WORKER_REPORT_BYTES_MAX};
use crate::onnx::Devices;

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The objects are in the folder of the order.
    Done(Run),
    /// Another run would fail as well.
    Failed(String),
    /// The worker is gone; the job may be tried with another one.
    Lost(String),
}

/// What a worker may use for one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub time: Duration,
    /// Resident memory of the worker process.
    pub memory_bytes: u64,
}

/// One worker, kept running between jobs so that its models stay loaded.
pub struct Supervisor {
    program: PathBuf,
    arguments: Vec<OsString>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

/// How `contourd` is started as a worker: threads of each network (0 for all processors), and where networks run.
pub fn worker_arguments(threads: usize, devices: Devices) -> Vec<OsString> {
    let (threads, device) = (threads.to_string(), devices.wanted.to_string());
    let mut arguments: Vec<OsString> =
        ["worker", "--threads", &threads, "--device", &device].map(OsString::from).into();
    arguments.extend(devices.cpu_instead.then(|| "--cpu-instead".into()));
    arguments
}

impl Supervisor {
    /// A worker to be started by `program` with `arguments` when the first order comes.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Supervisor {
        Supervisor { program, arguments, process: None }
    }

    /// Has one job done. After [`Outcome::Lost`] the process is dead and the next order starts a new one.
    pub async fn run(&mut self, order: &WorkOrder, limits: Limits, progress: impl FnMut(&str, f32)) -> Outcome {
        let outcome = match self.work(order, limits, progress).await {
            Ok(outcome) => outcome,
            Err(cause) => Outcome::Lost(cause),
        };
        if matches!(outcome, Outcome::Lost(_)) {
            self.stop().await;
        }
        outcome
    }

    /// Kills the worker, if one runs.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended already.
            let _ = process.child.kill().await;
        }
    }

    async fn work(
        &mut self,
        order: &WorkOrder,
        limits: Limits,
        mut progress: impl FnMut(&str, f32),
    ) -> Result<Outcome, String> {
        if self.process.is_none() {
            let started = start(&self.program, &self.arguments);
            self.process = Some(started.map_err(|error| format!("no worker could be started: {error}"))?);
        }
        let process = self.process.as_mut().ok_or("the worker has just ended")?;
        let mut line = serde_json::to_string(order).map_err(|error| format!("the order cannot be written: {error}"))?;
        line.push('\n');
        let deadline = Instant::now() + limits.time;
        match timeout_at(deadline, process.orders.write_all(line.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(process.describe_end(&format!("it does not take orders ({error})")).await);
            }
            Err(_) => return Err(format!("it took no order for {} s and was killed", limits.time.as_secs())),
        }
        let mut poll = interval(Duration::from_millis(WORKER_MEMORY_POLL_MS));
        loop {
            tokio::select! {
                report = timeout_at(deadline, process.reports.next_line()) => match report {
                    Err(_) => return Err(format!("it ran longer than {} s and was killed", limits.time.as_secs())),
                    Ok(Ok(Some(line))) => match parse(&line)? {
                        Report::Progress { stage, fraction } => progress(&stage, fraction),
                        Report::Done { run } => return Ok(Outcome::Done(run)),
                        Report::Failed { cause } => return Ok(Outcome::Failed(cause)),
                    },
                    Ok(Ok(None)) => return Err(process.describe_end("it ended without a result").await),
                    Ok(Err(error)) => return Err(format!("its report could not be read: {error}")),
                },
                _ = poll.tick() => {
                    let used = process.resident_bytes();
                    if used > limits.memory_bytes {
                        return Err(format!(
                            "it used {} MiB of memory, more than the {} MiB of worker.memory_limit_mb, and was killed",
                            used >> 20, limits.memory_bytes >> 20
                        ));
                    }
                }
            }
        }
    }
}

fn parse(line: &str) -> Result<Report, String> {
    if line.len() > WORKER_REPORT_BYTES_MAX {
        return Err("it sent a report above the limit".to_owned());
    }
    serde_json::from_str(line).map_err(|error| format!("it sent a line that is not a report ({error})"))
}

fn start(program: &PathBuf, arguments: &[OsString]) -> io::Result<Process> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // glibc gives every large array back to the kernel and takes new, zeroed pages for the next one: a fifth of
        // the time of a run. Kept, they are used again; the memory limit of the job holds all the same.
        .env("MALLOC_MMAP_THRESHOLD_", WORKER_MALLOC_KEEP_BYTES)
        .env("MALLOC_TRIM_THRESHOLD_", WORKER_MALLOC_KEEP_BYTES)
        // Ctrl-C on a terminal goes to all of its group; a worker ends when its daemon says so, or is gone.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(id) = child.id() {
        // When memory runs out, the kernel takes the worker and not the listener. Where it may not be set, nothing is lost.
        let _ = std::fs::write(format!("/proc/{id}/oom_score_adj"), "500");
    }
    let pipe = |name| io::Error::other(format!("the worker has no {name}"));
    let orders = child.stdin.take().ok_or_else(|| pipe("standard input"))?;
    let stdout = child.stdout.take().ok_or_else(|| pipe("standard output"))?;
    Ok(Process { child, orders, reports: BufReader::new(stdout).lines() })
}

impl Process {
    /// Resident memory from /proc; 0 where there is none (it has just ended).
    fn resident_bytes(&self) -> u64 {
        let statm = self.child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/statm")).ok());
        let pages = statm.and_then(|text| text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()));
        pages.unwrap_or(0) * rustix::param::page_size() as u64
    }

    async fn describe_end(&mut self, what: &str) -> String {
        let waited = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        match waited {
            Ok(Ok(status)) => format!("{what}; {status}"),
            _ => what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;

    fn order() -> WorkOrder {
        WorkOrder {
            job: JobId::parse("0123456789ab").expect("a name"),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            inputs: Vec::new(),
            pipeline_source: String::new(),
            model_sources: std::collections::BTreeMap::new(),
            models: PathBuf::new(),
            folder: PathBuf::new(),
            dialects: Vec::new(),
            sender: None,
            predecessors: Vec::new(),
            reasons: Vec::new(),
            write: Vec::new(),
        }
    }

    /// Runs one order against a shell script in the place of the worker.
    async fn check(script: &str, limits: Limits) -> String {
        let mut worker = Supervisor::new("/bin/sh".into(), vec!["-c".into(), script.into()]);
        let mut stages = String::new();
        let outcome = worker.run(&order(), limits, |stage, _| stages += stage).await;
        match outcome {
            Outcome::Done(_) => format!("done after {stages}"),
            Outcome::Failed(cause) => format!("failed: {cause}"),
            Outcome::Lost(cause) => format!("lost: {cause}"),
        }
    }

    const ROOMY: Limits = Limits { time: Duration::from_secs(20), memory_bytes: 1 << 30 };

    #[tokio::test]
    async fn takes_progress_and_results() {
        let script =
            r#"read order; echo '{"progress":{"stage":"load","fraction":0.5}}'; echo '{"failed":{"cause":"x"}}'"#;
        assert_eq!(check(script, ROOMY).await, "failed: x");
        let run = serde_json::to_string(&Report::Done { run: Run::default() }).expect("writes");
        let script = format!(r#"read order; echo '{{"progress":{{"stage":"load","fraction":0.5}}}}'; echo '{run}'"#);
        assert_eq!(check(&script, ROOMY).await, "done after load");
    }

    #[tokio::test]
    async fn tells_how_a_worker_was_lost() {
        let killed = check("read order; kill -9 $$", ROOMY).await;
        assert_eq!(killed, "lost: it ended without a result; signal: 9 (SIGKILL)");
        let hung = Limits { time: Duration::from_millis(300), ..ROOMY };
        assert_eq!(check("read order; exec sleep 60", hung).await, "lost: it ran longer than 0 s and was killed");
        let greedy = Limits { memory_bytes: 1 << 10, ..ROOMY };
        assert!(check("read order; exec sleep 60", greedy).await.contains("MiB of memory"));
        assert!(check("read order; echo hello", ROOMY).await.contains("not a report"));
        let mut absent = Supervisor::new("/nonexistent/worker".into(), Vec::new());
        let outcome = absent.run(&order(), ROOMY, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Lost(cause) if cause.starts_with("no worker could be started")));
    }

    #[tokio::test]
    async fn starts_a_new_worker_after_a_lost_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let script = format!(
            r#"read order; if [ -e {0} ]; then echo '{{"failed":{{"cause":"second"}}}}'; else touch {0}; exit 3; fi"#,
            mark.display()
        );
        let mut worker = Supervisor::new("/bin/sh".into(), vec!["-c".into(), script.into()]);
        assert!(matches!(worker.run(&order(), ROOMY, |_, _| {}).await, Outcome::Lost(_)));
        assert!(matches!(worker.run(&order(), ROOMY, |_, _| {}).await, Outcome::Failed(cause) if cause == "second"));
    }
}
