//! The parts of the demonstration that talk to each other: the gateway as a child process, a scanner, a planning system.

use std::fs::File;
use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::PATIENCE;
use super::show::Show;
use super::stage::{GATEWAY_AE, PLANNING_AE, SCANNER_AE, Stage};
use crate::deliver::{Outcome, dicom};
use crate::dimse::Caller;
use crate::job::Job;
use crate::node::{SeriesRecord, SeriesState};
use crate::output::rtstruct;
use crate::receive::{self, Notice, Policy};
use crate::spool::Spool;

/// A port of loopback that nobody uses now.
///
/// # Errors
/// When the system gives none.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A Storage SCP that files structure sets.
pub(super) struct Planning {
    port: u16,
    received: Arc<Mutex<Vec<PathBuf>>>,
    shutdown: watch::Sender<bool>,
    server: JoinHandle<()>,
    _policy: watch::Sender<Arc<Policy>>,
}

impl Planning {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When no port or no folder is to be had.
    pub async fn start(stage: &Stage) -> anyhow::Result<Planning> {
        let mut policy = Policy { grace: Duration::from_secs(1), ..Policy::default() };
        policy.acceptance.called = vec![PLANNING_AE.parse()?];
        policy.acceptance.unknown_caller = Some(Caller { may_send: true, ..Caller::default() });
        let (policy, policies) = watch::channel(Arc::new(policy));
        let spool = Spool::open(&stage.planning(), 0)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (notices, mut inbox) = mpsc::channel(64);
        let (shutdown, down) = watch::channel(false);
        let received: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let (files, shelf) = (Arc::clone(&received), Arc::clone(&spool));
        tokio::spawn(async move {
            while let Some(notice) = inbox.recv().await {
                if let Notice::Stored(stored) = notice
                    && stored.instance.sop_class_uid.as_str() == rtstruct::SOP_CLASS_UID
                {
                    let path = shelf.instance_path(&stored.instance.series_key(), &stored.instance.sop_instance_uid);
                    files.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                }
            }
        });
        let server = tokio::spawn(receive::serve(listener, policies, spool, notices, down));
        Ok(Planning { port, received, shutdown, server, _policy: policy })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The files of the structure sets that have arrived, in their order.
    pub fn received(&self) -> Vec<PathBuf> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn stop(self) {
        self.shutdown.send_replace(true);
        // An association that will not end is cut with the process.
        let _ = tokio::time::timeout(Duration::from_secs(3), self.server).await;
    }
}

/// What the gateway's ledger holds, as `contourd jobs --json` tells it.
#[derive(Deserialize)]
pub(super) struct Overview {
    pub jobs: Vec<Job>,
    pub series: Vec<SeriesRecord>,
}

impl Overview {
    fn is_final(&self) -> bool {
        let ended = |job: &Job| job.state.is_final();
        !self.series.is_empty()
            && self.series.iter().all(|series| series.state != SeriesState::Arriving)
            && self.jobs.iter().all(ended)
    }

    /// One line for people.
    fn describe(&self) -> String {
        match self.jobs.first() {
            Some(job) => format!("pipeline {}: {}", job.pipeline, job.state.name()),
            None => "wait for the end of the series".to_owned(),
        }
    }
}

/// `contourd serve` as a child process; it ends with this value.
pub(super) struct Gateway {
    child: Child,
    destination: dicom::Destination,
    configuration: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Starts the gateway and waits until it answers C-ECHO.
    ///
    /// # Errors
    /// When it ends, or does not answer within half a minute; with the end of its log.
    pub async fn start(stage: &Stage, show: &Show) -> anyhow::Result<Gateway> {
        let step = show.step("gateway", "start", 0);
        let log = File::create(stage.log()).with_context(|| format!("cannot write {}", stage.log().display()))?;
        let configuration = stage.configuration();
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the gateway")?;
        let destination = dicom::Destination {
            ae_title: GATEWAY_AE.parse()?,
            host: "127.0.0.1".to_owned(),
            port: gateway_port(&configuration)?,
            tls: None,
            calling_ae: SCANNER_AE.parse()?,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
        };
        let mut gateway = Gateway { child, destination, configuration, log: stage.log() };
        let start = Instant::now();
        while !matches!(dicom::echo(&gateway.destination).await, Outcome::Delivered { .. }) {
            gateway.still_runs()?;
            if start.elapsed() > Duration::from_secs(30) {
                bail!("the gateway does not answer; its log ends with\n{}", gateway.end_of_log());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        step.done(&format!("{GATEWAY_AE} answers C-ECHO at 127.0.0.1:{}", gateway.destination.port));
        Ok(gateway)
    }

    fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the gateway has ended ({status}); its log ends with\n{}", self.end_of_log()),
            None => Ok(()),
        }
    }

    fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Sends images as a scanner does.
    ///
    /// # Errors
    /// The first image that is not acknowledged, with the reason.
    pub async fn send(&mut self, files: &[PathBuf], show: &Show) -> anyhow::Result<()> {
        let step = show.step("scanner", "send", files.len() as u64);
        let bar = step.bar();
        let results = dicom::store_each(&self.destination, files, true, |_, _| bar.inc(1)).await;
        for (path, outcome) in &results {
            if let Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } = outcome {
                bail!("{}: {reason}\nthe gateway's log ends with\n{}", path.display(), self.end_of_log());
            }
        }
        step.done(&format!(
            "{} images sent by C-STORE from {SCANNER_AE}, each acknowledged when durable",
            results.len()
        ));
        Ok(())
    }

    /// Waits until every series has come to its end.
    ///
    /// # Errors
    /// When the gateway ends, or is not done in ten minutes.
    pub async fn wait(&mut self, show: &Show) -> anyhow::Result<Overview> {
        let (step, start) = (show.step("gateway", "wait for the end of the series", 0), Instant::now());
        loop {
            self.still_runs()?;
            let overview = self.overview().await?;
            step.say(&overview.describe());
            if overview.is_final() {
                step.done(&overview.describe());
                return Ok(overview);
            }
            if start.elapsed() > PATIENCE {
                bail!("the gateway is not done after {} s: {}", PATIENCE.as_secs(), overview.describe());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn overview(&self) -> anyhow::Result<Overview> {
        let program = std::env::current_exe()?;
        let output =
            Command::new(program).args(["jobs", "--json", "--config"]).arg(&self.configuration).output().await?;
        if !output.status.success() {
            bail!("contourd jobs failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("cannot read what contourd jobs says")
    }

    /// Asks the gateway to end, as systemd does, and waits for it.
    pub async fn stop(mut self) {
        self.terminate();
        // What does not end in time is killed when this value goes.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
    }

    fn terminate(&self) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Gateway {
    /// The worker of the gateway ends when the gateway does; a moment lets both end in order before they are killed.
    fn drop(&mut self) {
        self.terminate();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn gateway_port(configuration: &std::path::Path) -> anyhow::Result<u16> {
    let text = std::fs::read_to_string(configuration.join("ae-config/gateway.json"))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let port = value["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    port.context("ae-config/gateway.json of the demonstration has no port")
}
