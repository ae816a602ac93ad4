//! Carries out what the node asks for: assessments, runs, deliveries. Each answer goes back as an event.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::assess::assess;
use super::commitment::Conversations;
use super::restore;
use crate::config::Configuration;
use crate::deliver::{Outcome as Delivered, Warning};
use crate::dicom::{SeriesKey, Uid};
use crate::job::{Job, JobId, JobInput};
use crate::limits::{ASSESSMENTS_MAX, DELIVERIES_EACH_MAX, DELIVERIES_MAX, DELIVERY_S_MAX};
use crate::node::{Answer, Assessment, Effect, Event, Removal};
use crate::receive::Notice;
use crate::route::Arrival;
use crate::spool::Spool;
use crate::worker::{InputFiles, Outcome, Supervisor, WorkOrder, read_instances};

/// What the hands need; cheap to clone into each task.
#[derive(Clone)]
pub(super) struct Hands {
    pub spool: Arc<Spool>,
    pub configuration: watch::Receiver<Arc<Configuration>>,
    pub events: mpsc::Sender<Event>,
    pub runs: mpsc::UnboundedSender<Box<Job>>,
    pub deliveries: Arc<Semaphore>,
    pub assessments: Arc<Semaphore>,
    /// Places of each destination, so that one that does not answer holds only its own.
    pub places: Arc<StdMutex<HashMap<String, Arc<Semaphore>>>>,
    pub conversations: Arc<Conversations>,
    /// Places for what is fetched from peers.
    pub retrievals: Arc<Semaphore>,
    /// Where what was fetched is told, as the receiver tells what was sent.
    pub notices: mpsc::Sender<Notice>,
    /// Becomes true when the gateway is to end.
    pub stop: watch::Receiver<bool>,
}

/// How many deliveries go on at the same time.
pub(super) fn delivery_places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(DELIVERIES_MAX))
}

/// How many assessments go on at the same time.
pub(super) fn assessment_places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ASSESSMENTS_MAX))
}

impl Hands {
    /// Works until the loop ends.
    pub async fn work(self, mut orders: mpsc::UnboundedReceiver<Effect>) {
        while let Some(order) = orders.recv().await {
            match order {
                Effect::Record(_) => {} // The loop has done it.
                Effect::Assess { series, revision, instances, arrivals } => {
                    tokio::spawn(self.clone().assess(series, revision, instances, arrivals));
                }
                Effect::Infer { job } => {
                    if self.runs.send(job).is_err() {
                        return; // The workers are gone: the gateway ends.
                    }
                }
                Effect::Send { job, to, files } => {
                    tokio::spawn(self.clone().send(job, to, files));
                }
                Effect::Verify { job, to, files, question } => {
                    tokio::spawn(self.clone().verify(job, to, files, question));
                }
                Effect::Reply { token, outcome } => self.conversations.reply(token, outcome),
                Effect::Check { key, references } => {
                    tokio::spawn(self.clone().check(key, references));
                }
                Effect::Report { commitment } => {
                    tokio::spawn(self.clone().report(*commitment));
                }
                Effect::Retrieve(retrieval) => {
                    tokio::spawn(self.clone().retrieve(*retrieval));
                }
                Effect::Count { series, question, from } => {
                    tokio::spawn(self.clone().count(series, question, from));
                }
                Effect::Remove(removal) => {
                    // Before the next order: one of these jobs may be made again, and then its objects are new.
                    if self.remove_objects(&removal).await {
                        tokio::spawn(self.clone().remove(removal));
                    }
                }
            }
        }
    }

    /// The gateway ends when nobody takes events any more; an answer is then found out again after the restart.
    pub(super) async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    async fn assess(self, series: SeriesKey, revision: u32, instances: Vec<Uid>, arrivals: Vec<Arrival>) {
        let files: Vec<PathBuf> = instances.iter().map(|uid| self.spool.instance_path(&series, uid)).collect();
        // A flood of small series must not take the threads of the receiver.
        let _place = self.assessments.acquire().await;
        let configuration = self.configuration.borrow().clone();
        let work = tokio::task::spawn_blocking(move || match read_instances(&files) {
            Ok(instances) => assess(&instances, Some(&arrivals), &configuration),
            Err(error) => Assessment { refusals: vec![error.to_string()], ..Assessment::default() },
        });
        let assessment = work.await.unwrap_or_else(|error| {
            let refusals = vec![format!("the assessment ended early ({error}); report it with these images")];
            Assessment { refusals, ..Assessment::default() }
        });
        self.tell(Event::Assessed { series, revision, assessment: Box::new(assessment) }).await;
    }

    /// Whether the objects of a removal are gone. One that fails is done at the next start.
    async fn remove_objects(&self, removal: &Removal) -> bool {
        let (spool, asked) = (Arc::clone(&self.spool), removal.clone());
        let work = tokio::task::spawn_blocking(move || restore::remove_objects(&spool, &asked));
        let failed = match work.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(series = removal.series.series_instance_uid.as_str(), "removal of objects: {failed}");
        false
    }

    /// When something came meanwhile all stays, and the node hears of it again: it may have heard of it before it forgot
    /// the series. A removal that fails is done at the next start.
    async fn remove(self, removal: Removal) {
        let (spool, series) = (Arc::clone(&self.spool), removal.series.clone());
        let work = tokio::task::spawn_blocking(move || {
            spool.remove_series(&removal.series, removal.before.into())?;
            restore::registered(&spool, &removal.series, Timestamp::now())
        });
        let left = match work.await {
            Ok(Ok(left)) => left,
            Ok(Err(error)) => return tracing::warn!(series = series.series_instance_uid.as_str(), "{error}"),
            Err(error) => return tracing::warn!(series = series.series_instance_uid.as_str(), "removal: {error}"),
        };
        for stored in left {
            self.tell(Event::Stored(stored)).await;
        }
        self.tell(Event::Removed { series }).await;
    }

    async fn send(self, job: JobId, to: String, files: Option<Vec<String>>) {
        let own = self.places_of(&to);
        // The semaphores are never closed; without a place there would be no limit, but the delivery still goes out.
        let _own_place = own.acquire().await;
        let _place = self.deliveries.acquire().await;
        let (hands, id, name) = (self.clone(), job.clone(), to.clone());
        let work = async move { hands.deliver(&id, &name, files.as_deref()).await };
        let work = tokio::spawn(timeout(Duration::from_secs(DELIVERY_S_MAX), work));
        let answer = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Again { reason: format!("not done after {DELIVERY_S_MAX} s") },
            Err(error) => Answer::Again { reason: format!("the delivery ended early ({error}); report it") },
        };
        self.tell(Event::Answered { job, to, answer }).await;
    }

    /// The places of one destination.
    pub(super) fn places_of(&self, to: &str) -> Arc<Semaphore> {
        self.places_named(to.to_owned(), DELIVERIES_EACH_MAX)
    }

    pub(super) fn places_named(&self, name: String, count: usize) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(name).or_insert_with(|| Arc::new(Semaphore::new(count))))
    }

    async fn deliver(&self, job: &JobId, to: &str, files: Option<&[String]>) -> Answer {
        let configuration = self.configuration.borrow().clone();
        let Some(destination) = configuration.destination(to) else {
            // A peer that shall not receive is no peer that is away: the sender of a series, which no pipeline names, or one
            // from which the right was taken so that another of its group gets the objects.
            if configuration.peers.get(to).is_some_and(|peer| !peer.may.receive) {
                let cure = format!("add \"receive\" to \"may\" in ae-config/peers/{to}.json, and retry");
                return Answer::Closed { reason: format!("the peer {to:?} may not receive; {cure}") };
            }
            let reason =
                format!("no peer {to:?} with an address in ae-config/peers; add it or retry after naming another");
            return Answer::Again { reason };
        };
        if files.is_some_and(<[String]>::is_empty) {
            let reason = "the run made no object that is for it; its report says what was left out, and why";
            return Answer::Refused { reason: reason.to_owned() };
        }
        let objects = match self.spool.objects_named(job, files) {
            Ok(objects) if !objects.is_empty() => objects,
            Ok(_) => return Answer::Refused { reason: "its objects are gone; retry runs the job again".to_owned() },
            Err(error) => return Answer::Again { reason: error.to_string() },
        };
        match destination.store(&objects, configuration.takes_warnings(to)).await {
            Delivered::Delivered { warnings } => {
                for warning in &warnings {
                    tracing::warn!(job = job.as_str(), to, "{warning}");
                }
                let remark = warnings.iter().map(Warning::to_string).collect::<Vec<_>>().join("; ");
                Answer::Sent { remark }
            }
            Delivered::Retry { reason, .. } => Answer::Again { reason },
            Delivered::Refused { reason, .. } => Answer::Refused { reason },
        }
    }

    /// One worker: takes runs from the queue it shares with the others, one after another.
    pub async fn run_jobs(self, queue: Arc<Mutex<mpsc::UnboundedReceiver<Box<Job>>>>, mut worker: Supervisor) {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(job) = next else { return worker.stop().await };
            let event = self.run(&job, &mut worker).await;
            self.tell(event).await;
        }
    }

    fn files_of(&self, input: JobInput) -> InputFiles {
        let files = input.instances.iter().map(|uid| self.spool.instance_path(&input.series, uid)).collect();
        let registration = input.registration.map(|by| self.spool.instance_path(&by.series, &by.sop_instance_uid));
        let (slot, frames, volume) = (input.slot, input.frames, input.volume);
        InputFiles { slot, files, image: None, frames, volume, registration }
    }

    async fn run(&self, job: &Job, worker: &mut Supervisor) -> Event {
        let id = job.id.clone();
        let configuration = self.configuration.borrow().clone();
        let folder = match self.spool.work_folder(&id) {
            Ok(folder) => folder,
            Err(error) => return Event::WorkerLost { job: id, cause: error.to_string() },
        };
        let order = WorkOrder {
            job: id.clone(),
            created_at: job.created_at,
            inputs: job.inputs().into_iter().map(|input| self.files_of(input)).collect(),
            pipeline_source: job.pipeline_source.clone(),
            model_sources: job.models.clone(),
            models: configuration.folder.join("models"),
            folder,
            dialects: job.dialects.clone(),
            sender: job.sender.as_ref().and_then(|sender| sender.peer.clone()),
            predecessors: job.predecessors.clone(),
            reasons: job.reasons.clone(),
            write: Vec::new(),
        };
        let limits = configuration.worker_limits();
        let outcome = worker.run(&order, limits, |stage, fraction| {
            tracing::debug!(job = id.as_str(), stage, fraction);
        });
        match outcome.await {
            Outcome::Done(run) => {
                for warning in &run.warnings {
                    tracing::warn!(job = id.as_str(), "{warning}");
                }
                let (spool, adopted) = (Arc::clone(&self.spool), id.clone());
                match tokio::task::spawn_blocking(move || spool.adopt(&adopted)).await {
                    Ok(Ok(_)) => Event::Produced { job: id, run: Box::new(run) },
                    Ok(Err(error)) => Event::WorkerLost { job: id, cause: error.to_string() },
                    Err(error) => {
                        Event::WorkerLost { job: id, cause: format!("its objects could not be kept: {error}") }
                    }
                }
            }
            Outcome::Failed(cause) => Event::RunFailed { job: id, cause },
            Outcome::Lost(cause) => Event::WorkerLost { job: id, cause },
        }
    }
}
