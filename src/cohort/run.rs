//! Runs the cases side by side within the memory of the machine, until all are done or somebody asks to stop.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::cases::{BROKEN, Case, Finding, Looker};
use super::find::{Found, find};
use super::memory::budget;
use super::record::{Key, Record, Store};
use super::summary::Summary;
use super::{CohortError, SUMMARY_FILE};
use crate::assemble::Modality;
use crate::config::Configuration;
use crate::job::Run;
use crate::limits::{COHORT_JOBS_MAX, COHORT_SUMMARY_S};
use crate::onnx::Device;
use crate::output::Format;
use crate::worker::{Outcome, Supervisor, WorkOrder, worker_arguments};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Request {
    pub inputs: Vec<PathBuf>,
    pub output: PathBuf,
    /// The only pipeline to be run.
    pub pipeline: Option<String>,
    /// Of images that do not say it: NIfTI and NRRD.
    pub modality: Option<Modality>,
    /// How many cases run at the same time; `None` for as many as processors and memory allow.
    pub jobs: Option<usize>,
    /// What is written besides DICOM.
    pub write: Vec<Format>,
    /// The program that is started as `PROGRAM worker`.
    pub program: PathBuf,
    /// Of this machine.
    pub processors: usize,
}

/// What happens, for people.
pub enum Notice<'a> {
    /// All files were looked at; so many cases run at the same time, within so many bytes.
    Found {
        found: &'a Found,
        jobs: usize,
        budget_bytes: Option<u64>,
    },
    Finding(&'a Finding),
    /// A case was finished by an earlier call.
    Kept(&'a Record),
    Progress {
        stage: &'a str,
        fraction: f32,
    },
    /// A case has ended; `results` is its folder.
    Ended {
        case: &'a Case,
        record: &'a Record,
        results: PathBuf,
    },
    /// How many cases are done, and how many there are as far as is known.
    Count {
        done: usize,
        known: usize,
    },
}

/// What became of the cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// With results, those of earlier calls among them.
    pub done: usize,
    /// Of `done`, those of earlier calls.
    pub kept: usize,
    pub failed: usize,
    /// Somebody asked to stop before the end.
    pub stopped: bool,
}

/// Runs what the request asks for. Ends early, in order, when `stop` is done.
///
/// # Errors
/// [`CohortError`]; a case that fails is none.
pub async fn run(
    request: Request,
    configuration: Arc<Configuration>,
    stop: impl Future<Output = ()>,
    tell: impl FnMut(Notice<'_>),
) -> Result<Totals, CohortError> {
    let store = Store::open(&request.output)?;
    let mut stop = std::pin::pin!(stop);
    let (inputs, output) = (request.inputs.clone(), request.output.clone());
    let found = tokio::select! {
        found = tokio::task::spawn_blocking(move || find(&inputs, &output)) => found,
        () = &mut stop => return Ok(Totals { stopped: true, ..Totals::default() }),
    };
    let found = Arc::new(found.map_err(|error| CohortError::Workers(error.into()))??);
    let jobs = jobs(&request, &configuration);
    let budget_bytes = if request.jobs.is_some() { None } else { budget() };
    let (sender, findings) = mpsc::unbounded_channel();
    let looked = (Arc::clone(&found), Arc::clone(&configuration));
    let (only, modality) = (request.pipeline.clone(), request.modality);
    std::thread::spawn(move || {
        let only = only.as_deref();
        look(&Looker { found: &looked.0, configuration: &looked.1, only, modality }, &sender);
    });
    let mut summary = Summary::default();
    store.records().iter().for_each(|record| summary.record(record));
    let (progress, told) = mpsc::unbounded_channel();
    let arguments = worker_arguments(threads(&request, &configuration, jobs), configuration.gateway.worker.devices);
    let supervisor = || Supervisor::new(request.program.clone(), arguments.clone());
    let mut cohort = Cohort {
        idle: (0..jobs).map(|_| supervisor()).collect(),
        store: Arc::new(store),
        request: &request,
        configuration,
        summary,
        written: None,
        waiting: VecDeque::new(),
        running: JoinSet::new(),
        taken_bytes: 0,
        budget_bytes,
        progress,
        totals: Totals::default(),
        known: 0,
        tell,
    };
    (cohort.tell)(Notice::Found { found: &found, jobs, budget_bytes });
    cohort.work(findings, told, stop).await?;
    cohort.write_summary()?;
    let Cohort { store, totals, .. } = cohort;
    if let Some(store) = Arc::into_inner(store) {
        store.close();
    }
    Ok(totals)
}

/// Sends what is found out, until nobody listens any more.
fn look(looker: &Looker<'_>, findings: &UnboundedSender<Finding>) {
    let units = looker.units().into_iter().map(|unit| {
        let looked = catch_unwind(AssertUnwindSafe(|| looker.look(&unit)));
        looked.unwrap_or_else(|_| looker.failed(&unit))
    });
    let images = looker.found.images.iter().map(|image| {
        let looked = catch_unwind(AssertUnwindSafe(|| looker.look_at_image(image)));
        looked.unwrap_or_else(|_| vec![looker.unused_image(image, vec![BROKEN.to_owned()])])
    });
    for finding in units.chain(images).flatten() {
        if findings.send(finding).is_err() {
            return;
        }
    }
}

/// Unless it was said: one for four processors, because most stages of a case use several; one where networks run on a
/// GPU, whose memory is not known here.
fn jobs(request: &Request, configuration: &Configuration) -> usize {
    let on_cpu = matches!(configuration.gateway.worker.devices.wanted, Device::Cpu);
    let by_processors = if on_cpu { (request.processors / 4).max(1) } else { 1 };
    request.jobs.unwrap_or(by_processors).clamp(1, COHORT_JOBS_MAX)
}

/// The processors of one worker: what the configuration says, else a fair part.
fn threads(request: &Request, configuration: &Configuration, jobs: usize) -> usize {
    match configuration.gateway.worker.threads {
        0 => (request.processors / jobs).max(1),
        threads => threads,
    }
}

struct Cohort<'a, T> {
    store: Arc<Store>,
    request: &'a Request,
    configuration: Arc<Configuration>,
    summary: Summary,
    /// When the summary was written last.
    written: Option<Instant>,
    waiting: VecDeque<Box<Case>>,
    idle: Vec<Supervisor>,
    running: JoinSet<Ended>,
    /// What the running cases are expected to take.
    taken_bytes: u64,
    budget_bytes: Option<u64>,
    progress: UnboundedSender<(String, f32)>,
    totals: Totals,
    known: usize,
    tell: T,
}

/// A run that has ended, with the worker that did it.
struct Ended {
    supervisor: Supervisor,
    case: Box<Case>,
    record: Result<Record, CohortError>,
}

impl<T: FnMut(Notice<'_>)> Cohort<'_, T> {
    async fn work(
        &mut self,
        mut findings: UnboundedReceiver<Finding>,
        mut told: UnboundedReceiver<(String, f32)>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), CohortError> {
        let mut open = true;
        while open || !self.waiting.is_empty() || !self.running.is_empty() {
            tokio::select! {
                biased;
                () = stop.as_mut() => {
                    // The workers end with their supervisors.
                    self.totals.stopped = true;
                    self.running.shutdown().await;
                    return Ok(());
                }
                Some(ended) = self.running.join_next() => {
                    self.end(ended.map_err(|error| CohortError::Workers(error.into()))?)?;
                }
                finding = findings.recv(), if open => match finding {
                    Some(finding) => self.take(finding),
                    None => open = false,
                },
                Some((stage, fraction)) = told.recv() => {
                    (self.tell)(Notice::Progress { stage: &stage, fraction });
                }
            }
            self.start().await;
        }
        Ok(())
    }

    fn take(&mut self, finding: Finding) {
        (self.tell)(Notice::Finding(&finding));
        self.summary.finding(&finding);
        let Finding::Case(case) = finding else { return };
        match self.store.record_of(&case).filter(|record| record.run.is_some() && record.key == self.key(&case)) {
            Some(record) => {
                self.summary.record(&record);
                self.totals.done += 1;
                self.totals.kept += 1;
                (self.tell)(Notice::Kept(&record));
            }
            None => {
                self.known += 1;
                self.waiting.push_back(case);
                self.count();
            }
        }
    }

    /// Starts as many of the waiting cases as there are workers and memory for; one always runs.
    async fn start(&mut self) {
        while let Some(case) = self.waiting.front() {
            let fits = self.budget_bytes.is_none_or(|budget| self.taken_bytes + case.memory_bytes <= budget);
            if !fits && !self.running.is_empty() {
                // What idle workers hold is wanted.
                for supervisor in &mut self.idle {
                    supervisor.stop().await;
                }
                return;
            }
            let Some(supervisor) = self.idle.pop() else { return };
            let Some(case) = self.waiting.pop_front() else { return };
            self.taken_bytes += case.memory_bytes;
            let key = self.key(&case);
            let job = Job {
                store: Arc::clone(&self.store),
                configuration: Arc::clone(&self.configuration),
                write: self.written(&case),
                progress: self.progress.clone(),
            };
            self.running.spawn(job.run(supervisor, case, key));
        }
    }

    fn end(&mut self, ended: Ended) -> Result<(), CohortError> {
        let Ended { supervisor, case, record } = ended;
        self.idle.push(supervisor);
        self.taken_bytes -= case.memory_bytes;
        let record = record?;
        self.summary.record(&record);
        if record.run.is_some() {
            self.totals.done += 1;
        } else {
            self.totals.failed += 1;
        }
        let results = self.store.results(&record.name, &record.pipeline);
        (self.tell)(Notice::Ended { case: &case, record: &record, results });
        self.count();
        if self.written.is_none_or(|at| at.elapsed() > Duration::from_secs(COHORT_SUMMARY_S)) {
            self.write_summary()?;
        }
        Ok(())
    }

    fn count(&mut self) {
        let done = self.totals.done - self.totals.kept + self.totals.failed;
        (self.tell)(Notice::Count { done, known: self.known });
    }

    fn write_summary(&mut self) -> Result<(), CohortError> {
        let text = self.summary.text();
        tokio::task::block_in_place(|| self.store.write(SUMMARY_FILE, &text))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    fn key(&self, case: &Case) -> Key {
        Key {
            job: case.job.clone(),
            created_at: case.created_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            write: self.written(case),
        }
    }

    /// What is written besides DICOM: what was asked for, else what is usual for the case.
    fn written(&self, case: &Case) -> Vec<Format> {
        if self.request.write.is_empty() { case.usual.clone() } else { self.request.write.clone() }
    }
}

/// What the run of one case needs.
struct Job {
    store: Arc<Store>,
    configuration: Arc<Configuration>,
    write: Vec<Format>,
    progress: UnboundedSender<(String, f32)>,
}

impl Job {
    async fn run(self, mut supervisor: Supervisor, case: Box<Case>, key: Key) -> Ended {
        let begun = Instant::now();
        let mut ended = self.attempt(&mut supervisor, &case).await;
        for _ in 1..self.configuration.gateway.worker.runs_max {
            if !matches!(ended, Ok(Outcome::Lost(_))) {
                break;
            }
            ended = self.attempt(&mut supervisor, &case).await;
        }
        let record = ended.and_then(|outcome| {
            let (run, reason): (Option<Run>, String) = match outcome {
                Outcome::Done(run) => (Some(run), String::new()),
                Outcome::Failed(cause) => (None, cause),
                Outcome::Lost(cause) => (None, format!("the worker was lost: {cause}")),
            };
            let record = Record {
                series: case.series.clone(),
                name: case.name.clone(),
                pipeline: case.pipeline.clone(),
                folder: case.folder.display().to_string(),
                key,
                seconds: begun.elapsed().as_secs_f64(),
                run,
                reason,
            };
            tokio::task::block_in_place(|| self.store.keep(&case, &record))?;
            Ok(record)
        });
        Ended { supervisor, case, record }
    }

    async fn attempt(&self, supervisor: &mut Supervisor, case: &Case) -> Result<Outcome, CohortError> {
        let folder = tokio::task::block_in_place(|| self.store.work_folder(case))?;
        let pipeline = self.configuration.pipelines.get(&case.pipeline);
        let order = WorkOrder {
            job: case.job.clone(),
            created_at: case.created_at,
            inputs: case.files.clone(),
            pipeline_source: pipeline.map(|pipeline| pipeline.source.to_string()).unwrap_or_default(),
            model_sources: pipeline
                .map(|pipeline| self.configuration.model_sources(&pipeline.value))
                .unwrap_or_default(),
            models: self.configuration.folder.join("models"),
            folder,
            dialects: pipeline.map(|pipeline| self.configuration.dialects(&pipeline.value, None)).unwrap_or_default(),
            sender: None,
            predecessors: Vec::new(),
            reasons: case.reasons.clone(),
            write: self.write.clone(),
        };
        let limits = self.configuration.worker_limits();
        let progress = |stage: &str, fraction: f32| {
            // Nobody listens only when the cohort ends.
            let _ = self.progress.send((stage.to_owned(), fraction));
        };
        Ok(supervisor.run(&order, limits, progress).await)
    }
}
