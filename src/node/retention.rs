//! The end of what is older than the site keeps it; files are removed by the shell.
//!
//! That a series goes is recorded first, with the jobs that go with it; then its files are removed; then the record is
//! closed. After a crash in between, the shell finishes what was recorded before it looks for instances. A series that
//! comes again is new, and its jobs are made again.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::series::Gathering;
use super::{Effect, Node, Record};
use crate::dicom::SeriesKey;
use crate::job::{Job, JobId, JobInput};

/// A series that goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    pub series: SeriesKey,
    /// The jobs whose objects go with it.
    pub jobs: Vec<JobId>,
    /// Instances that came since stay: they were acknowledged anew.
    pub before: Timestamp,
}

impl Node {
    pub(super) fn expire(
        &mut self,
        before: Timestamp,
        committed_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<Effect> {
        let inputs: Vec<JobInput> = self.jobs.values().flat_map(Job::inputs).collect();
        let busy: BTreeSet<&SeriesKey> = inputs.iter().flat_map(JobInput::needed_series).collect();
        let rests = |g: &Gathering| g.rests_since_before(before) && !g.is_committed_since(committed_before);
        let old = self.series.iter().filter(|(key, g)| rests(g) && !busy.contains(*key));
        let old: Vec<SeriesKey> = old.map(|(key, _)| key.clone()).collect();
        let mut effects = Vec::new();
        for series in old {
            let Some(gathering) = self.series.remove(&series) else { continue };
            // What a job of several series made stays until the last of them goes.
            let kept: BTreeSet<JobId> = self.series.values().flat_map(Gathering::jobs).collect();
            let jobs: Vec<JobId> = gathering.jobs().into_iter().filter(|job| !kept.contains(job)).collect();
            for job in &jobs {
                self.known.remove(job);
            }
            let removal = Removal { series, jobs, before };
            effects.push(Effect::Record(Record::Removing(removal.clone())));
            effects.push(gathering.note(now, "removed: older than the retention time".to_owned()));
            effects.push(Effect::Remove(removal));
        }
        effects
    }
}
