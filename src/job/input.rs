//! What fills one slot of a job's pipeline; it reads no files.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Job;
use crate::dicom::{SeriesKey, Uid};

/// One slot of a pipeline and the instances that fill it. A slot that is optional and was not filled has none of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    /// The name in the pipeline.
    pub slot: String,
    pub series: SeriesKey,
    /// All instances of the series, the images of one of its volumes, or the one object (an RT Structure Set) that was
    /// picked of it.
    pub instances: Vec<Uid>,
    /// When the last of its series came.
    #[serde(default)]
    pub last_at: Option<Timestamp>,
    /// Of multi-frame images that are in several volumes: the numbers (1-based) of the frames that are in this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frames: BTreeMap<Uid, Vec<u32>>,
    /// What tells the volume from others of its series, for people; empty for the whole series.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// The registration object that brings it to the primary images; none where both have one Frame of Reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegisteredBy>,
}

/// A registration object and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredBy {
    pub series: SeriesKey,
    pub sop_instance_uid: Uid,
}

impl JobInput {
    pub(super) fn of_primary(series: &SeriesKey, instances: &[Uid]) -> JobInput {
        let (slot, series, instances) = (String::new(), series.clone(), instances.to_vec());
        let (last_at, frames, volume, registration) = (None, BTreeMap::new(), String::new(), None);
        JobInput { slot, series, instances, last_at, frames, volume, registration }
    }

    /// The series that it needs: its own, and that of its registration.
    pub fn needed_series(&self) -> impl Iterator<Item = &SeriesKey> {
        std::iter::once(&self.series).chain(self.registration.as_ref().map(|by| &by.series))
    }

    /// What tells it from another volume of the same instances, for the name of the job; empty where there is no other.
    pub fn frames_named(frames: &BTreeMap<Uid, Vec<u32>>) -> String {
        let named = frames.iter().map(|(uid, frames)| {
            let numbers: Vec<String> = frames.iter().map(ToString::to_string).collect();
            format!(" {uid}[{}]", numbers.join(","))
        });
        named.collect()
    }

    fn shares_images(&self, other: &JobInput) -> bool {
        let shared = |uid: &&Uid| match (self.frames.get(uid), other.frames.get(uid)) {
            (Some(own), Some(others)) => own.iter().any(|frame| others.contains(frame)),
            _ => true,
        };
        let others: HashSet<&Uid> = other.instances.iter().collect();
        self.series == other.series && self.instances.iter().filter(|uid| others.contains(uid)).any(|uid| shared(&uid))
    }
}

impl Job {
    /// Seconds from the last image of all that it works on to the begin of its last run; none before the first.
    pub fn waited_s(&self) -> Option<f64> {
        let last_at = self.inputs.iter().filter_map(|input| input.last_at).max()?;
        Some(self.started_at?.duration_since(last_at).as_secs_f64().max(0.0))
    }

    /// Whether its primary images are, in part, those of another job: another volume of the series is another result.
    pub fn shares_images(&self, other: &Job) -> bool {
        let (own, others) = (self.inputs(), other.inputs());
        own.first().zip(others.first()).is_some_and(|(own, other)| own.shares_images(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_one_series_share_no_images_whether_by_instance_or_by_frame() {
        let uid = |text: &str| -> Uid { text.parse().expect("a UID") };
        let series = SeriesKey { study_instance_uid: uid("1.1"), series_instance_uid: uid("1.2") };
        let input = |instances: &[&str], frames: &[u32]| JobInput {
            slot: String::new(),
            series: series.clone(),
            instances: instances.iter().map(|text| uid(text)).collect(),
            frames: if frames.is_empty() { BTreeMap::new() } else { BTreeMap::from([(uid("1.3"), frames.to_vec())]) },
            volume: String::new(),
            last_at: None,
            registration: None,
        };
        let whole = input(&["1.3", "1.4"], &[]);
        assert!(whole.shares_images(&input(&["1.4", "1.5"], &[])));
        assert!(!whole.shares_images(&input(&["1.5"], &[])));
        let (even, odd) = (input(&["1.3"], &[2, 4]), input(&["1.3"], &[1, 3]));
        assert!(!even.shares_images(&odd));
        assert!(even.shares_images(&input(&["1.3"], &[4, 5])) && whole.shares_images(&odd));
        assert_eq!(JobInput::frames_named(&odd.frames), " 1.3[1,3]");
        assert_eq!(JobInput::frames_named(&whole.frames), "");
    }
}
