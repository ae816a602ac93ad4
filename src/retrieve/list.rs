//! What a peer has, by C-FIND at the levels STUDY, SERIES and IMAGE; it fetches nothing.

use std::collections::BTreeSet;

use super::is_storable;
use crate::deliver::Outcome;
use crate::deliver::dicom::{Answers, Destination, ask};
use crate::dicom::{SeriesKey, Uid};
use crate::dimse::find::{Found, Query};
use crate::limits::{FIND_INSTANCES_MAX, FIND_LISTED_MAX};

/// A series that a peer has. It derives no `Debug`, because people write what they like into descriptions.
#[derive(Clone)]
pub struct Series {
    pub key: SeriesKey,
    pub modality: String,
    pub description: String,
    /// Series Date and Time, such as they are told, so that texts sort as times.
    pub moment: String,
    /// Number of Series Related Instances, where it is told.
    pub instances: Option<u32>,
}

/// The instances of a series, as a peer lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// SOP class, where it is told, and SOP instance.
    pub instances: Vec<(Option<Uid>, Uid)>,
    /// How many answers could not be read.
    pub unreadable: usize,
}

impl Listed {
    /// The instances that can be stored here; of what has no class that is not known before.
    pub(crate) fn storable(&self) -> Vec<Uid> {
        let storable = |(class, _): &&(Option<Uid>, Uid)| class.as_ref().is_none_or(is_storable);
        self.instances.iter().filter(storable).map(|(_, uid)| uid.clone()).collect()
    }

    /// The SOP classes to be fetched; empty when one of them is not told.
    pub(crate) fn classes(&self) -> Vec<String> {
        let classes: Option<BTreeSet<&Uid>> = self.instances.iter().map(|(class, _)| class.as_ref()).collect();
        let storable = classes.unwrap_or_default().into_iter().filter(|class| is_storable(class));
        storable.map(|class| class.as_str().to_owned()).collect()
    }

    pub(crate) fn remarks(&self) -> Vec<String> {
        let classes: BTreeSet<&Uid> = self.instances.iter().filter_map(|(class, _)| class.as_ref()).collect();
        let mut remarks: Vec<String> = classes
            .into_iter()
            .filter(|class| !is_storable(class))
            .map(|class| {
                let count = self.instances.iter().filter(|(other, _)| other.as_ref() == Some(class)).count();
                format!("{count} instances of SOP class {class}, which is not stored here, are left out")
            })
            .collect();
        if self.unreadable > 0 {
            remarks.push(format!("{} of its answers could not be read", self.unreadable));
        }
        remarks
    }
}

/// The studies that a query finds, each once.
///
/// # Errors
/// How the peer failed, now or for good.
pub async fn studies(destination: &Destination, query: Query) -> Result<Vec<Found>, Outcome> {
    let mut found: Vec<Found> = Vec::new();
    for study in all(ask(destination, &[query], FIND_LISTED_MAX).await?) {
        let uid = study.study_instance_uid.as_ref();
        if uid.is_some() && !found.iter().any(|other| other.study_instance_uid.as_ref() == uid) {
            found.push(study);
        }
    }
    Ok(found)
}

/// The series of a study, of one modality or of all, each once. An answer of another modality is left out: some peers do
/// not match by it.
///
/// # Errors
/// How the peer failed, now or for good.
pub async fn series(
    destination: &Destination,
    study_instance_uid: &Uid,
    one: Option<&Uid>,
    modality: Option<&str>,
) -> Result<Vec<Series>, Outcome> {
    let query = Query::series(study_instance_uid, one, modality);
    let mut listed: Vec<Series> = Vec::new();
    for found in all(ask(destination, &[query], FIND_LISTED_MAX).await?) {
        let Some(series_instance_uid) = found.series_instance_uid else { continue };
        // It may have ignored a key, or be of another study: what is asked for alone counts.
        let other = found.study_instance_uid.is_some_and(|study| study != *study_instance_uid)
            || one.is_some_and(|one| *one != series_instance_uid)
            || modality.is_some_and(|modality| !found.modality.is_empty() && found.modality != modality);
        let key = SeriesKey { study_instance_uid: study_instance_uid.clone(), series_instance_uid };
        if other || listed.iter().any(|series| series.key == key) {
            continue;
        }
        let moment = format!("{}{}", found.date, found.time);
        let Found { modality, description, instances, .. } = found;
        listed.push(Series { key, modality, description, moment, instances });
    }
    Ok(listed)
}

/// The instances of a series, each once.
///
/// # Errors
/// How the peer failed, now or for good.
pub async fn instances(destination: &Destination, series: &SeriesKey) -> Result<Listed, Outcome> {
    let answers = ask(destination, &[Query::instances(series, None)], FIND_INSTANCES_MAX).await?;
    let mut listed = Listed { unreadable: answers.iter().map(|answers| answers.unreadable).sum(), ..Listed::default() };
    let mut seen = BTreeSet::new();
    for found in all(answers) {
        let other = found.series_instance_uid.is_some_and(|uid| uid != series.series_instance_uid);
        let Some(uid) = found.sop_instance_uid.filter(|_| !other) else { continue };
        if seen.insert(uid.clone()) {
            listed.instances.push((found.sop_class_uid, uid));
        }
    }
    Ok(listed)
}

fn all(answers: Vec<Answers>) -> impl Iterator<Item = Found> {
    answers.into_iter().flat_map(|answers| answers.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stored_here_is_left_out_and_told() {
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let (ct, state) = (uid("1.2.840.10008.5.1.4.1.1.2"), uid("1.2.840.10008.5.1.4.1.1.11.1"));
        let instances = vec![(Some(ct.clone()), uid("1.1")), (Some(state), uid("1.2")), (None, uid("1.3"))];
        let listed = Listed { instances, unreadable: 1 };
        assert_eq!(listed.storable(), [uid("1.1"), uid("1.3")]);
        assert_eq!(listed.classes(), Vec::<String>::new(), "one is not told");
        assert_eq!(Listed { instances: listed.instances[..2].to_vec(), unreadable: 0 }.classes(), [ct.as_str()]);
        assert_eq!(listed.remarks().len(), 2, "{:?}", listed.remarks());
    }
}
