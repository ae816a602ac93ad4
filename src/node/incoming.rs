//! What comes from outside: an instance, and what the shell found out about a complete series.

use jiff::Timestamp;

use super::jobs::{self, describe_queued_alone, note};
use super::series::{Gathering, Repeated};
use super::{Assessment, Effect, Node, Order, Record, Source, Stored};
use crate::dicom::SeriesKey;

impl Node {
    pub(super) fn stored(&mut self, stored: Stored, now: Timestamp) -> Vec<Effect> {
        let key = stored.series.clone();
        let gathering = self.series.entry(key.clone()).or_insert_with(|| Gathering::new(key, now));
        if gathering.has(&stored) {
            let repeated = gathering.repeated(stored.association, now);
            let record = || Effect::Record(Record::Series(gathering.record()));
            let text = "sent again: looked at anew".to_owned();
            return match repeated {
                Repeated::Reopened => vec![record(), gathering.note(now, text)],
                Repeated::Younger => vec![record()],
                Repeated::Known => Vec::new(),
            };
        }
        let reopened = gathering.add(stored.clone(), now);
        let mut effects = Vec::new();
        if reopened || gathering.count() == 1 {
            // Before the instance: after a crash between the two, the spool still brings the instance back.
            effects.push(Effect::Record(Record::Series(gathering.record())));
        }
        effects.push(Effect::Record(Record::Instance(stored)));
        if reopened {
            let text = "a late instance reopened the series; earlier results stand".to_owned();
            effects.push(gathering.note(now, text));
        }
        effects
    }

    pub(super) fn assessed(
        &mut self,
        key: &SeriesKey,
        revision: u32,
        assessment: Assessment,
        now: Timestamp,
    ) -> Vec<Effect> {
        let Some(gathering) = self.series.get_mut(key).filter(|g| g.awaits_assessment(revision)) else {
            return Vec::new(); // An instance arrived meanwhile: the series will be assessed anew.
        };
        let alone: Vec<Order> = assessment.orders.iter().filter(|order| order.inputs.is_alone()).cloned().collect();
        // An assessment of a ledger that knew no sources is of the whole series.
        let whole = || vec![Source::default()];
        let sources = if assessment.sources.is_empty() { whole() } else { assessment.sources.clone() };
        let renewed = gathering.is_renewing();
        let text = gathering.conclude(assessment, now);
        let (instances, last_at) = (gathering.digests(), gathering.last_at());
        let mut effects = Vec::new();
        // Only a pipeline of several series asked for a renewed assessment; the others have had theirs.
        for order in alone.into_iter().filter(|_| !renewed) {
            for source in sources.iter().enumerate().filter(|(index, _)| order.takes(*index)) {
                let job = jobs::alone(key, revision, &order, source, (&instances, last_at), now);
                gathering.made(job.id.clone());
                if self.known.insert(job.id.clone()) {
                    effects.push(Effect::Record(Record::Job(Box::new(job.clone()))));
                    effects.push(note(now, &job, &describe_queued_alone(&job)));
                    self.jobs.insert(job.id.clone(), job);
                }
            }
        }
        // After its jobs: after a crash between them the series is assessed again, and finds its jobs by their names.
        effects.extend([Effect::Record(Record::Series(gathering.record())), gathering.note(now, text)]);
        self.touch_sets(key, now);
        effects
    }
}
