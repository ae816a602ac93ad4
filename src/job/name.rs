//! The name of a job, derived from what it works on; it knows nothing else of the job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dicom::{SeriesKey, Uid};

/// Names a job; derived from what it works on, so that the same work has the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// The name of the job that runs one revision of a pipeline on one set of instances.
    ///
    /// `instances` are SOP Instance UIDs with the digests of their bytes, in any order.
    pub fn derived<'a>(
        series: &SeriesKey,
        pipeline_digest: &str,
        instances: impl IntoIterator<Item = (&'a Uid, &'a str)>,
    ) -> JobId {
        let mut set: Vec<(&str, &str)> = instances.into_iter().map(|(uid, digest)| (uid.as_str(), digest)).collect();
        set.sort_unstable();
        let keys = [series.study_instance_uid.as_str(), series.series_instance_uid.as_str(), pipeline_digest];
        let parts = keys.into_iter().chain(set.into_iter().flat_map(|(uid, digest)| [uid, digest]));
        let uid = Uid::derived(parts);
        let number: u128 = uid.as_str()[5..].parse().expect("a derived UID is 2.25. and a decimal number of 128 bits");
        JobId(format!("{:012x}", number >> 80))
    }

    /// Takes a name that was written down before.
    pub fn parse(text: &str) -> Option<JobId> {
        let hex = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then(|| JobId(text.to_owned()))
    }

    /// Twelve hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_depends_on_the_set_of_instances_and_not_on_its_order() {
        let uid = |text: &str| -> Uid { text.parse().expect("a UID") };
        let key = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") };
        let (a, b) = (uid("1.1"), uid("1.2"));
        let one = JobId::derived(&key, "p", [(&a, "x"), (&b, "y")]);
        assert_eq!(one, JobId::derived(&key, "p", [(&b, "y"), (&a, "x")]));
        assert_ne!(one, JobId::derived(&key, "p", [(&a, "x")]));
        assert_eq!(JobId::parse(one.as_str()), Some(one));
    }
}
