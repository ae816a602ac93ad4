//! Fetches from peers what the node asks for: finds out which series those are, and brings them in by C-GET or C-MOVE; and
//! asks peers how many instances a series has. What follows from the answers, the node decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dicom_dictionary_std::tags;
use jiff::civil::Date;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::hands::Hands;
use crate::config::Configuration;
use crate::deliver::Outcome;
use crate::deliver::dicom::Destination;
use crate::dicom::{Instance, SeriesKey, Uid};
use crate::dimse::find::{Found, Query, Whose};
use crate::limits::{
    CANCEL_S_MAX, FETCH_STUDIES_MAX, RETRIEVAL_SERIES_MAX, RETRIEVALS_EACH_MAX, RETRIEVALS_MAX, SOURCE_ANSWER_S_MAX,
    SOURCE_QUESTIONS_EACH_MAX,
};
use crate::node::{Asked, Counted, Event, Retrieval, Retrieved, SeriesReport};
use crate::pipeline::{Fetch, FromStudy};
use crate::retrieve::{Door, Fetched, Patience, Series, Source, fetch, series, studies};

/// How many retrievals go on at the same time.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(RETRIEVALS_MAX))
}

/// Waits until what is fetched has been cancelled, so that no peer goes on sending to nobody.
pub(super) async fn wait_for_end(places: &Semaphore) {
    // No new one begins afterwards: the semaphore is closed then.
    let all = places.acquire_many(RETRIEVALS_MAX as u32);
    let _ = timeout(Duration::from_secs(CANCEL_S_MAX), all).await;
    places.close();
}

impl Hands {
    /// One attempt.
    pub(super) async fn retrieve(self, retrieval: Retrieval) {
        let own = self.places_named(format!("retrieve from {}", retrieval.from), RETRIEVALS_EACH_MAX);
        let _own_place = own.acquire().await;
        // Closed when the gateway ends: the next life begins it.
        let Ok(_place) = self.retrievals.acquire().await else { return };
        if *self.stop.borrow() {
            return;
        }
        let (hands, asked) = (self.clone(), retrieval.clone());
        let work = tokio::spawn(async move { hands.bring(&asked).await });
        let said = work.await.unwrap_or_else(|error| Retrieved::Again {
            reason: format!("the retrieval ended early ({error}); report it"),
            report: Vec::new(),
        });
        if *self.stop.borrow() && !matches!(said, Retrieved::Done { .. }) {
            return; // It was cancelled, which is not the peer's fault; the next life begins it again.
        }
        self.tell(Event::Retrieved { id: retrieval.id, said }).await;
    }

    async fn bring(&self, retrieval: &Retrieval) -> Retrieved {
        let configuration = self.configuration.borrow().clone();
        let from = &retrieval.from;
        let never = |reason: String| Retrieved::Never { reason, report: Vec::new() };
        let Some(source) = configuration.source(from) else {
            return never(format!("no peer {from:?} with \"retrieve\" and an address in ae-config/peers"));
        };
        let found = match &retrieval.what {
            Asked::Series { study, series } => named(&source.destination, study, series).await,
            Asked::Slot { fetch, of, .. } => self.fitting(&source.destination, fetch, of).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(outcome) => return ended(outcome, Vec::new()),
        };
        if found.list.is_empty() && matches!(retrieval.what, Asked::Series { .. }) {
            return never("it has no such series".to_owned());
        }
        self.fetch_all(from, &source, &configuration, found).await
    }

    /// One series after the other; what fails does not stop the next ones, unless the gateway ends.
    async fn fetch_all(&self, from: &str, source: &Source, configuration: &Configuration, found: ToFetch) -> Retrieved {
        let titles = (source.destination.calling_ae.clone(), source.destination.ae_title.clone());
        let bytes_max = configuration.gateway.limits.instance_mb << 20;
        let mut door = Door::new(Arc::clone(&self.spool), self.notices.clone(), titles, bytes_max);
        let (mut report, mut trouble): (Vec<SeriesReport>, Option<Outcome>) = (Vec::new(), None);
        let mut stop = self.stop.clone();
        let count = found.list.len();
        for one in found.list {
            if *stop.borrow() {
                // What is not fetched yet is not done: the next life begins it again.
                let reason = format!("the gateway ended after {} of {count} series", report.len());
                return Retrieved::Again { reason, report };
            }
            let fetched = fetch(source, &one, &mut door, Patience::default(), &mut stop).await;
            let key = one.key;
            log(from, &key, &fetched);
            let Fetched { wanted, here, before, trouble: own, remarks } = fetched;
            let reason = own.as_ref().map(reason_of);
            let note = reason.into_iter().chain(remarks).collect::<Vec<_>>().join("; ");
            report.push(SeriesReport { series: key, wanted, here, brought: here > before, note });
            // One that can be tried again counts more than one for good: what is here is not fetched a second time.
            let again = |outcome: &Outcome| matches!(outcome, Outcome::Retry { .. });
            if own.is_some() && !trouble.as_ref().is_some_and(again) {
                trouble = own;
            }
        }
        concluded(trouble, report, found.remark, found.lacks)
    }

    /// The series of a peer that can fill an input, the latest first, as far as it tells of them.
    async fn fitting(&self, destination: &Destination, rule: &Fetch, of: &SeriesKey) -> Result<ToFetch, Outcome> {
        if rule.study == FromStudy::Same {
            let all = series(destination, &of.study_instance_uid, None, rule.modality.as_deref()).await?;
            let count = all.len();
            let all = all.into_iter().filter(|one| one.key != *of).collect();
            let chosen = self.chosen(rule, all).await;
            return Ok(chosen.told(format!("{count} series of the study were looked at")));
        }
        let patient = self.patient_of(of).await?;
        let refused = |reason: String| Outcome::Refused { reason, status: None };
        let earliest = rule.within_days.and_then(|days| days_before(patient.day, days));
        let last = patient.day.strftime("%Y%m%d").to_string();
        let query = Query::patient(&patient.id, (earliest.as_deref(), &last));
        let mut found = studies(destination, query.map_err(|error| refused(error.to_string()))?).await?;
        // A peer may match less exactly than it was asked to.
        found.retain(|study| {
            let in_time = earliest.as_deref().is_none_or(|day| study.date.as_str() >= day);
            let before = (study.date.as_str(), study.time.as_str()) <= (last.as_str(), patient.time.as_str());
            study.is_of(&patient.whose())
                && study.study_instance_uid.as_ref() != Some(&of.study_instance_uid)
                && !study.date.is_empty()
                && in_time
                && before
        });
        if patient.issuer.is_none() && issuers(&found) > 1 {
            let what = "found studies of several issuers under the Patient ID, and the primary series has no Issuer of \
                        Patient ID (0010,0021): whose they are cannot be told";
            return Err(refused(what.to_owned()));
        }
        found.sort_by(|a, b| (&b.date, &b.time).cmp(&(&a.date, &a.time)));
        let count = found.len();
        for study in found.into_iter().take(FETCH_STUDIES_MAX) {
            let no_such = rule
                .modality
                .as_ref()
                .is_some_and(|wanted| !study.modalities.is_empty() && !study.modalities.contains(wanted));
            let (false, Some(uid)) = (no_such, study.study_instance_uid) else { continue };
            let all = series(destination, &uid, None, rule.modality.as_deref()).await?;
            let fitting = self.chosen(rule, all).await;
            if !fitting.list.is_empty() || fitting.here > 0 {
                return Ok(fitting.told(format!("{count} earlier studies were found")));
            }
        }
        Ok(ToFetch { remark: format!("{count} earlier studies were looked at"), ..ToFetch::default() })
    }

    /// Those that fit, the latest first, as many as the rule allows; those that are here already are not among them.
    async fn chosen(&self, rule: &Fetch, mut all: Vec<Series>) -> ToFetch {
        all.retain(|one| rule.fits(&one.modality, &one.description, one.instances));
        let spool = Arc::clone(&self.spool);
        let told: Vec<(SeriesKey, Option<u32>)> = all.iter().map(|one| (one.key.clone(), one.instances)).collect();
        let look = move || {
            let here = |key: &SeriesKey| spool.list(key).map_or(0, |listed| listed.len());
            told.into_iter()
                .filter(|(key, told)| told.is_some_and(|told| told > 0 && here(key) >= told as usize))
                .map(|(key, _)| key)
                .collect::<Vec<SeriesKey>>()
        };
        let here = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        all.retain(|one| !here.contains(&one.key));
        all.sort_by(|a, b| (&b.moment, &b.key).cmp(&(&a.moment, &a.key)));
        all.truncate(rule.series_max);
        ToFetch { list: all, here: here.len(), ..ToFetch::default() }
    }

    /// Who the patient of a series is, from one of its instances.
    async fn patient_of(&self, series: &SeriesKey) -> Result<Patient, Outcome> {
        let (spool, series) = (Arc::clone(&self.spool), series.clone());
        let refused = |reason: &str| Outcome::Refused { reason: reason.to_owned(), status: None };
        let read = move || {
            let first = spool.list(&series).ok()?.into_iter().next()?;
            let file = std::fs::File::open(first.path).ok()?;
            let instance = Instance::read_part10(std::io::BufReader::new(file)).ok()?;
            let day = instance.text(tags::STUDY_DATE).and_then(|date| Date::strptime("%Y%m%d", date.trim()).ok());
            let time = instance.text(tags::STUDY_TIME).unwrap_or_default();
            let issuer = instance.text(tags::ISSUER_OF_PATIENT_ID);
            let issuer = issuer.filter(|issuer| !issuer.trim().is_empty());
            let birth_date = instance.text(tags::PATIENT_BIRTH_DATE);
            Some((instance.text(tags::PATIENT_ID), (issuer, birth_date), day, time))
        };
        let found = tokio::task::spawn_blocking(read).await.ok().flatten();
        let (id, (issuer, birth_date), day, time) =
            found.ok_or_else(|| refused("the primary series is not here any more"))?;
        let id = id.filter(|id| !id.trim().is_empty());
        let id =
            id.ok_or_else(|| refused("the primary series has no Patient ID, so that no prior can be asked for"))?;
        let day =
            day.ok_or_else(|| refused("the primary series has no Study Date, so that no prior can be asked for"))?;
        Ok(Patient { id, issuer, birth_date, day, time })
    }

    /// Asks a peer how many instances it has of a series. There is always an answer, within a time.
    pub(super) async fn count(self, key: SeriesKey, question: u32, from: String) {
        let places = self.places_named(format!("count of {from}"), SOURCE_QUESTIONS_EACH_MAX);
        let configuration = self.configuration.borrow().clone();
        let asked_of = key.clone();
        let asked = async move {
            // It is never closed. What waits too long for its turn counts as unanswered.
            let _place = places.acquire().await;
            counted(&configuration, &from, &asked_of).await
        };
        let work = tokio::spawn(timeout(Duration::from_secs(SOURCE_ANSWER_S_MAX), asked));
        let unknown = |reason: String| Counted::Unknown { reason };
        let said = match work.await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => unknown(format!("no answer came within {SOURCE_ANSWER_S_MAX} s")),
            Err(error) => unknown(format!("the question ended early ({error}); report it")),
        };
        self.tell(Event::Counted { series: key, question, said }).await;
    }
}

/// What a peer says of the number of instances of a series.
async fn counted(configuration: &Configuration, from: &str, key: &SeriesKey) -> Counted {
    let unknown = |reason: String| Counted::Unknown { reason };
    let Some(destination) = configuration.peers.get(from).and_then(|peer| configuration.called(peer)) else {
        return unknown(format!("no peer {from:?} with an address in ae-config/peers"));
    };
    let (study, uid) = (&key.study_instance_uid, &key.series_instance_uid);
    match series(&destination, study, Some(uid), None).await {
        Ok(found) => match found.first() {
            None => unknown("it does not know the series".to_owned()),
            Some(one) => one.instances.map_or_else(
                || unknown("it tells no Number of Series Related Instances (0020,1209)".to_owned()),
                Counted::Instances,
            ),
        },
        Err(outcome) => unknown(reason_of(&outcome)),
    }
}

/// By whom and when the images are of which a prior is looked for; it derives no `Debug`.
struct Patient {
    id: String,
    issuer: Option<String>,
    birth_date: Option<String>,
    day: Date,
    time: String,
}

impl Patient {
    fn whose(&self) -> Whose<'_> {
        Whose { id: &self.id, issuer: self.issuer.as_deref(), birth_date: self.birth_date.as_deref() }
    }
}

/// What is to be fetched.
#[derive(Default)]
struct ToFetch {
    list: Vec<Series>,
    /// How many series fit that are here already.
    here: usize,
    /// What is worth telling.
    remark: String,
    /// What was asked for and is not in the list.
    lacks: Option<String>,
}

impl ToFetch {
    fn told(mut self, remark: String) -> ToFetch {
        self.remark = match self.here {
            0 => remark,
            here => format!("{remark}, and {here} that fit are here already"),
        };
        self
    }
}

fn days_before(day: Date, days: u32) -> Option<String> {
    let earlier = day.checked_sub(jiff::Span::new().days(i64::from(days))).ok()?;
    Some(earlier.strftime("%Y%m%d").to_string())
}

/// The series of a study that an operator names, or all.
async fn named(destination: &Destination, study: &Uid, wanted: &[Uid]) -> Result<ToFetch, Outcome> {
    let mut all = series(destination, study, None, None).await?;
    all.retain(|one| wanted.is_empty() || wanted.contains(&one.key.series_instance_uid));
    let lacks = lacking(&all, wanted);
    all.truncate(RETRIEVAL_SERIES_MAX);
    Ok(ToFetch { list: all, lacks, ..ToFetch::default() })
}

/// What an operator has asked for that will not be here in the end.
fn lacking(all: &[Series], wanted: &[Uid]) -> Option<String> {
    let missing = wanted.iter().filter(|uid| !all.iter().any(|one| one.key.series_instance_uid == **uid)).count();
    if missing > 0 {
        return Some(format!("{missing} of {} series that were asked for are not there any more", wanted.len()));
    }
    let count = all.len();
    let too_many =
        || format!("found {count} series, expected at most {RETRIEVAL_SERIES_MAX}; ask for the others by name");
    (count > RETRIEVAL_SERIES_MAX).then(too_many)
}

/// How an attempt ends that went through its list. What is not there at all cannot be mended by another attempt.
fn concluded(trouble: Option<Outcome>, report: Vec<SeriesReport>, remark: String, lacks: Option<String>) -> Retrieved {
    match (trouble, lacks) {
        (Some(outcome), _) => ended(outcome, report),
        (None, Some(reason)) => Retrieved::Never { reason, report },
        (None, None) => Retrieved::Done { report, remark },
    }
}

/// How many issuers the Patient IDs of studies have, as far as they are told.
fn issuers(found: &[Found]) -> usize {
    found.iter().filter_map(Found::issuer).collect::<BTreeSet<&str>>().len()
}

fn ended(outcome: Outcome, report: Vec<SeriesReport>) -> Retrieved {
    match outcome {
        Outcome::Retry { reason, .. } => Retrieved::Again { reason, report },
        Outcome::Refused { reason, .. } => Retrieved::Never { reason, report },
        Outcome::Delivered { .. } => Retrieved::Done { report, remark: String::new() },
    }
}

fn reason_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => reason.clone(),
        Outcome::Delivered { .. } => String::new(),
    }
}

fn log(from: &str, key: &SeriesKey, fetched: &Fetched) {
    let (series, wanted, here) = (key.series_instance_uid.as_str(), fetched.wanted, fetched.here);
    let remarks = fetched.remarks.join("; ");
    match &fetched.trouble {
        None => tracing::info!(from, series, wanted, here, remarks, "series fetched"),
        Some(trouble) => {
            tracing::warn!(from, series, wanted, here, remarks, "series not fetched: {}", reason_of(trouble));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().expect("a UID")
    }

    fn listed(series: &str) -> Series {
        let key = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid(series) };
        let (modality, description, moment) = (String::new(), String::new(), String::new());
        Series { key, modality, description, moment, instances: None }
    }

    #[test]
    fn what_is_not_there_any_more_is_no_success() {
        let all = [listed("1.3")];
        assert_eq!(lacking(&all, &[uid("1.3")]), None);
        assert_eq!(lacking(&all, &[]), None);
        let lacks = lacking(&all, &[uid("1.3"), uid("1.4")]);
        assert!(lacks.as_ref().is_some_and(|text| text.starts_with("1 of 2 series")), "{lacks:?}");
        let said = concluded(None, Vec::new(), String::new(), lacks.clone());
        assert!(matches!(said, Retrieved::Never { reason, .. } if reason.contains("not there any more")));
        let trouble = Outcome::Retry { reason: "away".to_owned(), status: None };
        let said = concluded(Some(trouble), Vec::new(), String::new(), lacks);
        assert!(matches!(said, Retrieved::Again { .. }), "what can come is fetched first");
        let many: Vec<Series> = (0..=RETRIEVAL_SERIES_MAX).map(|at| listed(&format!("1.3.{at}"))).collect();
        assert!(lacking(&many, &[]).is_some_and(|text| text.contains("at most 1000")));
    }
}
