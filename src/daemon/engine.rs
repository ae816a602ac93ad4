//! The one loop of the gateway: takes events, asks the node, makes its records durable, then hands out what is to be
//! done. It runs on a thread of its own, because it waits for the disk.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::clock::Clock;
use crate::job::{Job, ProducedObject};
use crate::ledger::Ledger;
use crate::limits::{
    COMMITMENT_KEPT_DAYS, EVENT_BATCH_MAX, LEDGER_RETRY_MS, REQUEST_POLL_MS, RETRIEVAL_KEPT_DAYS, TICK_MS,
};
use crate::node::{Effect, Event, Node, Record};
use crate::spool::Spool;

/// The loop and all that it owns: the node, and the only connection that writes the ledger.
pub(super) struct Engine {
    pub node: Node,
    pub ledger: Ledger,
    pub clock: Clock,
    pub events: mpsc::Receiver<Event>,
    /// Effects other than records, in their order, after what was recorded before them is durable.
    pub orders: mpsc::UnboundedSender<Effect>,
    pub stop: watch::Receiver<bool>,
}

impl Engine {
    /// Carries out what the restored node asks for first.
    pub fn begin(&mut self, effects: Vec<Effect>) {
        self.carry_out(effects);
    }

    /// Takes one event before the loop begins.
    pub fn take(&mut self, event: Event) {
        let effects = self.node.handle(event, self.clock.now());
        self.carry_out(effects);
    }

    /// Runs until `stop` is true or nobody can send events any more.
    pub fn run(mut self, runtime: &Handle, spool: &Spool) {
        let mut requests_at = self.clock.now();
        while !*self.stop.borrow() {
            let Some(batch) = runtime.block_on(self.collect()) else { return };
            let now = self.clock.now();
            let mut effects = Vec::new();
            for event in batch {
                if matches!(event, Event::Expire { .. }) {
                    self.forget_commitments(now);
                    self.forget_retrievals(now);
                }
                let event = self.with_what_is_known(event);
                effects.extend(self.node.handle(event, now));
            }
            if now.duration_since(requests_at).as_millis() >= i128::from(REQUEST_POLL_MS) {
                requests_at = now;
                effects.extend(self.requests(spool, now));
            }
            self.carry_out(effects);
        }
        // Whatever runs now ends with the process; it is recorded as not begun, so that it does not count.
        let effects = self.node.handle(Event::Stopping, self.clock.now());
        self.carry_out(effects);
    }

    /// The events that wait, or a tick when none came for a while. One durable write then serves them all.
    async fn collect(&mut self) -> Option<Vec<Event>> {
        let mut batch = Vec::new();
        match timeout(Duration::from_millis(TICK_MS), self.events.recv_many(&mut batch, EVENT_BATCH_MAX)).await {
            Ok(0) => None,
            Ok(_) => Some(batch),
            Err(_) => Some(vec![Event::Tick]),
        }
    }

    /// A transaction that has ended is in the ledger alone.
    fn with_what_is_known(&self, event: Event) -> Event {
        let Event::CommitmentAsked(mut asked) = event else { return event };
        let key = (asked.peer.clone(), asked.transaction_uid.clone());
        match self.ledger.commitment(&key) {
            Ok(known) => asked.known = known.map(Box::new),
            Err(error) => tracing::error!("{error}; a storage commitment is taken for a new one"),
        }
        Event::CommitmentAsked(asked)
    }

    /// Nothing follows from what has ended so long ago; when it cannot be deleted, it is the next time.
    fn forget_commitments(&self, now: Timestamp) {
        let kept = SignedDuration::from_hours(24 * COMMITMENT_KEPT_DAYS);
        let Ok(before) = now.checked_sub(kept) else { return };
        match self.ledger.forget_commitments(before) {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                count,
                "storage commitments forgotten: ended, and older than {COMMITMENT_KEPT_DAYS} days"
            ),
            Err(error) => tracing::warn!("{error}; old storage commitments are not forgotten yet"),
        }
    }

    /// The same for what was fetched.
    fn forget_retrievals(&self, now: Timestamp) {
        let kept = SignedDuration::from_hours(24 * RETRIEVAL_KEPT_DAYS);
        let Ok(before) = now.checked_sub(kept) else { return };
        if let Err(error) = self.ledger.forget_retrievals(before) {
            tracing::warn!("{error}; old retrievals are not forgotten yet");
        }
    }

    fn requests(&mut self, spool: &Spool, now: Timestamp) -> Vec<Effect> {
        let jobs = self.ledger.take_requests().unwrap_or_else(|error| {
            tracing::error!("{error}");
            Vec::new()
        });
        let mut effects = Vec::new();
        for job in jobs {
            let names = job.run.as_ref().map(|run| run.objects.iter().map(|object| object.file.clone()).collect());
            let named =
                |names: Vec<String>| spool.objects_named(&job.id, (!names.is_empty()).then_some(names.as_slice()));
            let objects = names.is_some_and(|names| named(names).is_ok_and(|objects| !objects.is_empty()));
            effects.extend(self.node.handle(Event::Retry { job: Box::new(job), objects }, now));
        }
        // A row goes on asking until the node has recorded that it has it.
        let asked = self.ledger.requested_retrievals().unwrap_or_else(|error| {
            tracing::error!("{error}");
            Vec::new()
        });
        for retrieval in asked {
            effects.extend(self.node.handle(Event::RetrievalAsked(Box::new(retrieval)), now));
        }
        effects
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let (mut records, mut orders) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Record(record) => records.push(record),
                order => orders.push(order),
            }
        }
        if !records.is_empty() && !self.record(&records) {
            return; // Told to stop before it could be recorded: it will be asked again after the restart.
        }
        records.iter().for_each(announce);
        for mut order in orders {
            if let Effect::Infer { job } = &mut order {
                job.predecessors = self.predecessors(job);
            }
            if self.orders.send(order).is_err() {
                return; // The hands are gone: the gateway ends.
            }
        }
    }

    /// The objects that a job replaces. Without them its own are good too.
    fn predecessors(&self, job: &Job) -> Vec<ProducedObject> {
        self.ledger.predecessors(job).unwrap_or_else(|error| {
            tracing::warn!(job = job.id.as_str(), "{error}; its objects name no predecessor");
            Vec::new()
        })
    }

    /// Writes until it succeeds: nothing may be acted on before. Meanwhile events wait, and with them the senders.
    fn record(&mut self, records: &[Record]) -> bool {
        let mut failures = 0_u32;
        while let Err(error) = self.ledger.apply(records) {
            if failures.is_multiple_of(60) {
                tracing::error!("{error}; the gateway waits, and tries again every second");
            }
            failures += 1;
            std::thread::sleep(Duration::from_millis(LEDGER_RETRY_MS));
            if *self.stop.borrow() {
                return false;
            }
        }
        true
    }
}

/// What people read in the log is what is in the history.
fn announce(record: &Record) {
    if let Record::History { series, job, text, .. } = record {
        let series = series.series_instance_uid.as_str();
        match job {
            Some(job) => tracing::info!(series, job = job.as_str(), "{text}"),
            None => tracing::info!(series, "{text}"),
        }
    }
}
