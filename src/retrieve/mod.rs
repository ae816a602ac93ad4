//! Query/Retrieve as SCU (PS3.4 C): looks what a peer has, and fetches series of it by C-GET or C-MOVE. What comes goes
//! through the same door as what is sent to us. When to fetch what, and when to try again, is not decided here.

mod door;
mod exchange;
mod list;
mod offers;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::deliver::Outcome;
use crate::deliver::dicom::{Association, Destination, Failure, Offer};
use crate::dicom::{SeriesKey, Uid};
use crate::dimse::find::encode_retrieve;
use crate::dimse::syntaxes::{self, STUDY_ROOT_GET, STUDY_ROOT_MOVE};
use crate::dimse::{CommandSet, Status, SubOperations};
use crate::limits::{CANCEL_S_MAX, RETRIEVE_S_MAX, RETRIEVE_STALL_S};

pub use door::{Door, Wanted};
pub use list::{Listed, Series, instances, series, studies};

/// How instances are fetched from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// C-GET: they come on the association that asks.
    Get,
    /// C-MOVE: the peer sends them to our AE title, which it has to know with its address.
    Move,
}

impl Way {
    /// Every way with its word.
    pub const ALL: [(&'static str, Way); 2] = [("get", Way::Get), ("move", Way::Move)];
}

/// A peer that is asked.
#[derive(Clone, Debug)]
pub struct Source {
    pub destination: Destination,
    pub way: Way,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the next thing that shows that the peer goes on: an instance, or a count that has changed.
    pub stall: Duration,
    /// For all of a series.
    pub whole: Duration,
    /// For the end after a C-CANCEL.
    pub cancel: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            stall: Duration::from_secs(RETRIEVE_STALL_S),
            whole: Duration::from_secs(RETRIEVE_S_MAX),
            cancel: Duration::from_secs(CANCEL_S_MAX),
        }
    }
}

/// What became of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// How many instances the peer has of it that can be stored here.
    pub wanted: usize,
    /// How many of them are here now, whether they came now or before.
    pub here: usize,
    /// How many were here before.
    pub before: usize,
    /// Why not all of them are here.
    pub trouble: Option<Outcome>,
    /// What is worth telling all the same.
    pub remarks: Vec<String>,
}

/// How the conversation about one series ended.
pub(crate) struct Ended {
    pub status: Status,
    pub comment: String,
    pub counts: SubOperations,
    /// What the peer lists as failed.
    pub failed: Vec<Uid>,
    /// Why we have cancelled it.
    pub cancelled: Option<String>,
}

/// What of a series has to be here in the end.
struct Aim {
    /// The instances of the peer's list that can be stored here.
    listed: Vec<Uid>,
    /// Whether the list can be all of it: it could be read, and the peer tells no greater number for the series.
    is_whole: bool,
    /// How many instances there are at least.
    count: usize,
    /// Whether the peer tells a number for the series.
    is_counted: bool,
}

impl Aim {
    fn of(listed: &Listed, told: Option<u32>) -> Aim {
        let (storable, known) = (listed.storable(), listed.instances.len());
        let told = told.map_or(0, |told| told as usize);
        let left_out = known - storable.len();
        Aim {
            is_whole: known > 0 && listed.unreadable == 0 && told <= known,
            // A series of which nothing is here was not fetched, whatever the peer says.
            count: told.max(known + listed.unreadable).saturating_sub(left_out).max(1),
            is_counted: told > 0,
            listed: storable,
        }
    }

    /// How many instances are here, and of how many.
    async fn look(&self, door: &Door, series: &SeriesKey) -> (usize, usize) {
        let of_list = if self.listed.is_empty() { 0 } else { door.present(series, &self.listed).await };
        if self.is_whole {
            return (of_list, self.listed.len());
        }
        let here = door.present(series, &[]).await;
        (here, self.count.max(here + self.listed.len() - of_list))
    }

    fn remarks(&self, listed: &Listed) -> Vec<String> {
        let mut remarks = listed.remarks();
        if !self.is_whole {
            let (count, known) = (self.count, listed.instances.len());
            remarks.push(match self.is_counted {
                true => format!("it lists {known} instances and tells that there are {count}"),
                false => format!("it lists {known} instances and tells no number"),
            });
        }
        remarks
    }
}

/// Fetches one series, and looks then what is here. `stop` ends it early, with a C-CANCEL.
pub async fn fetch(
    source: &Source,
    one: &Series,
    door: &mut Door,
    patience: Patience,
    stop: &mut watch::Receiver<bool>,
) -> Fetched {
    let series = &one.key;
    let listed = match instances(&source.destination, series).await {
        Ok(listed) => listed,
        Err(trouble) => return Fetched { wanted: 0, here: 0, before: 0, trouble: Some(trouble), remarks: Vec::new() },
    };
    let aim = Aim::of(&listed, one.instances);
    let mut remarks = aim.remarks(&listed);
    if aim.is_whole && aim.listed.is_empty() {
        let reason = "none of its SOP classes is stored here".to_owned();
        let trouble = Some(Outcome::Refused { reason, status: None });
        return Fetched { wanted: 0, here: 0, before: 0, trouble, remarks };
    }
    let (before, wanted) = aim.look(door, series).await;
    if before == wanted && (aim.is_whole || aim.is_counted) {
        remarks.push("all of it was here already".to_owned());
        return Fetched { wanted, here: before, before, trouble: None, remarks };
    }
    let instances = aim.is_whole.then(|| aim.listed.iter().cloned().collect());
    door.begin(Wanted { series: series.clone(), instances });
    let mut classes = listed.classes();
    if !aim.is_whole {
        classes = offers::with_those_of(classes, &one.modality);
    }
    let results = converse_all(source, one, (&classes, before, &aim), door, patience, stop).await;
    let refused = door.end().await;
    let (here, wanted) = aim.look(door, series).await;
    let mut trouble = judge(source, &results, &refused, (wanted, here), &mut remarks);
    if trouble.is_none() && !aim.is_whole && !aim.is_counted {
        // The peer's answer is all that is known of how many there are.
        trouble = results.iter().find_map(|result| outcome_of(source, result));
    }
    Fetched { wanted, here, before, trouble, remarks }
}

/// As many associations as the presentation contexts need, and more where the peer cannot send what it holds compressed.
async fn converse_all(
    source: &Source,
    one: &Series,
    (classes, before, aim): (&[String], usize, &Aim),
    door: &mut Door,
    patience: Patience,
    stop: &mut watch::Receiver<bool>,
) -> Vec<Result<Ended, Failure>> {
    let series = &one.key;
    let mut results = Vec::new();
    let batches = match source.way {
        Way::Get => offers::for_get(classes, &one.modality),
        Way::Move => vec![offers::for_move()],
    };
    for batch in batches {
        let ended = converse(source, series, &batch, door, patience, stop).await;
        if ended.is_err() {
            door.ended(false);
        }
        let goes_on = ended.as_ref().is_ok_and(|ended| ended.cancelled.is_none());
        results.push(ended);
        if !goes_on {
            break;
        }
    }
    let is_listed = !aim.listed.is_empty();
    if source.way == Way::Get && is_listed && all_failed(&results) && aim.look(door, series).await.0 == before {
        for batch in offers::for_get_compressed(classes, &one.modality) {
            let ended = converse(source, series, &batch, door, patience, stop).await;
            let goes_on = all_failed(std::slice::from_ref(&ended));
            if !goes_on {
                results.push(ended);
                break;
            }
        }
    }
    results
}

/// Whether the peer has taken the request and sent nothing, because each of its sub-operations has failed.
fn all_failed(results: &[Result<Ended, Failure>]) -> bool {
    let failed = |result: &Result<Ended, Failure>| {
        let Ok(ended) = result else { return false };
        let has_failed = ended.counts.failed.is_some_and(|count| count > 0) || !ended.failed.is_empty();
        ended.cancelled.is_none() && has_failed && ended.counts.completed.unwrap_or(0) == 0
    };
    !results.is_empty() && results.iter().all(failed)
}

/// One association about one series.
async fn converse(
    source: &Source,
    series: &SeriesKey,
    offers: &[Offer],
    door: &mut Door,
    patience: Patience,
    stop: &mut watch::Receiver<bool>,
) -> Result<Ended, Failure> {
    let class = match source.way {
        Way::Get => STUDY_ROOT_GET,
        Way::Move => STUDY_ROOT_MOVE,
    };
    let mut association = Association::open(&source.destination, offers).await?;
    let Some((context_id, syntax)) = association.context_of(class) else {
        association.release().await;
        let word = Way::ALL.iter().find(|(_, way)| *way == source.way).map_or("", |(word, _)| word);
        let what = format!("it does not offer C-{} (Study Root) to us", word.to_uppercase());
        return Err(Failure::Request(what));
    };
    let identifier = encode_retrieve(series, &syntax).map_err(|error| Failure::Request(error.to_string()))?;
    let message_id = association.message_id();
    let command = match source.way {
        Way::Get => CommandSet::get_request(message_id, class),
        Way::Move => CommandSet::move_request(message_id, class, &source.destination.calling_ae),
    };
    association.request(context_id, &command, &identifier).await?;
    let exchange = exchange::Exchange::new(&mut association, source.way, (context_id, message_id), door, patience);
    match exchange.run(stop).await {
        Ok(Some(ended)) => {
            association.release().await;
            Ok(ended)
        }
        // It has not ended after a C-CANCEL.
        Ok(None) => {
            association.abort().await;
            Err(Failure::Protocol("found no end of the sub-operations after they were cancelled".to_owned()))
        }
        Err(failure) => {
            // The connection is gone, or what comes over it cannot be followed.
            association.abort().await;
            Err(failure)
        }
    }
}

/// What of a series counts is what is here; why something is not, the peer's answers and our own refusals say.
fn judge(
    source: &Source,
    results: &[Result<Ended, Failure>],
    refused: &BTreeMap<Uid, (bool, String)>,
    (wanted, here): (usize, usize),
    remarks: &mut Vec<String>,
) -> Option<Outcome> {
    let outcomes: Vec<Option<Outcome>> = results.iter().map(|result| outcome_of(source, result)).collect();
    if here >= wanted {
        // A sub-operation can fail for an instance that was here before.
        remarks.extend(outcomes.into_iter().flatten().map(|outcome| format!("all is here, though {outcome}")));
        return None;
    }
    let trouble = outcomes.into_iter().flatten().next();
    let missing = wanted - here;
    let own = refused.values().next().map(|(_, reason)| {
        let count = refused.len();
        format!("; {count} of them were refused here: {reason}")
    });
    let said = trouble.as_ref().map(|outcome| format!("; {}", reason_of(outcome))).unwrap_or_default();
    let reason = format!("{missing} of {wanted} instances did not come{said}{}", own.unwrap_or_default());
    let status = trouble.as_ref().and_then(|outcome| match outcome {
        Outcome::Retry { status, .. } | Outcome::Refused { status, .. } => *status,
        Outcome::Delivered { .. } => None,
    });
    let for_good = refused.len() >= missing && refused.values().all(|(for_good, _)| *for_good);
    Some(match trouble {
        Some(Outcome::Refused { .. }) => Outcome::Refused { reason, status },
        _ if for_good => Outcome::Refused { reason, status },
        _ => Outcome::Retry { reason, status },
    })
}

fn reason_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => reason.clone(),
        Outcome::Delivered { .. } => String::new(),
    }
}

/// What the end of one conversation says (PS3.4 C.4.2.1.5, C.4.3.1.4); none for success.
fn outcome_of(source: &Source, result: &Result<Ended, Failure>) -> Option<Outcome> {
    let ended = match result {
        Err(failure) => return Some(failure.outcome()),
        Ok(ended) => ended,
    };
    if let Some(why) = &ended.cancelled {
        return Some(Outcome::Retry { reason: format!("cancelled: {why}"), status: Some(ended.status.0) });
    }
    let failed = ended.counts.failed.map_or(ended.failed.len(), usize::from);
    let named = ended.failed.first().map(|uid| format!(", the first {uid}")).unwrap_or_default();
    let comment = if ended.comment.is_empty() { String::new() } else { format!(" ({})", ended.comment) };
    let what = match ended.status.0 {
        0x0000 if failed == 0 => return None,
        0x0000 => "it reports success".to_owned(),
        0xA701 => "it has no resources to count the matches".to_owned(),
        0xA702 => "it has no resources for the sub-operations".to_owned(),
        0xA801 => format!(
            "it does not know our AE title {} as a destination; enter it there with address and port",
            source.destination.calling_ae
        ),
        0xA900 => "it says that the identifier does not fit the SOP class".to_owned(),
        0xFE00 => "it has cancelled the sub-operations by itself".to_owned(),
        0xB000 => "sub-operations have failed".to_owned(),
        _ => "it could not do it".to_owned(),
    };
    let counted = if failed > 0 { format!("; {failed} failed{named}") } else { String::new() };
    let reason = format!("{what}: status {}{comment}{counted}", ended.status);
    let status = Some(ended.status.0);
    Some(match ended.status {
        // What has failed may have failed for a passing reason on either side.
        Status(0x0000 | 0xB000 | 0xFE00) => Outcome::Retry { reason, status },
        Status(0xA801) => Outcome::Refused { reason, status },
        other if other.is_transient() => Outcome::Retry { reason, status },
        _ => Outcome::Refused { reason, status },
    })
}

/// Whether instances of a class can be stored here.
pub(crate) fn is_storable(class: &Uid) -> bool {
    syntaxes::storage_name(class.as_str()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let destination = Destination {
            ae_title: "PACS".parse().expect("a title"),
            host: "localhost".to_owned(),
            port: 104,
            tls: None,
            calling_ae: "CONTOURD".parse().expect("a title"),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        };
        Source { destination, way: Way::Move }
    }

    fn check(status: u16, failed: u16, came: usize) -> String {
        let ended = Ended {
            status: Status(status),
            comment: String::new(),
            counts: SubOperations { failed: Some(failed), ..SubOperations::default() },
            failed: Vec::new(),
            cancelled: None,
        };
        match judge(&source(), &[Ok(ended)], &BTreeMap::new(), (10, came), &mut Vec::new()) {
            None => "done".to_owned(),
            Some(Outcome::Retry { reason, .. }) => format!("again: {reason}"),
            Some(Outcome::Refused { reason, .. }) => format!("never: {reason}"),
            Some(Outcome::Delivered { .. }) => "delivered".to_owned(),
        }
    }

    #[test]
    fn what_is_here_counts_and_not_what_the_peer_says() {
        assert_eq!(check(0x0000, 0, 10), "done");
        assert_eq!(check(0xB000, 3, 10), "done", "what failed was here before");
        assert!(check(0x0000, 0, 7).starts_with("again: 3 of 10 instances did not come"), "success is no proof");
    }

    #[test]
    fn statuses_say_who_can_act() {
        for transient in [0xA701, 0xA702, 0xB000, 0xFE00] {
            assert!(
                check(transient, 3, 7).starts_with("again: 3 of 10"),
                "{transient:04X}: {}",
                check(transient, 3, 7)
            );
        }
        for permanent in [0xA801, 0xA900, 0xC000, 0x0122, 0x0124] {
            assert!(check(permanent, 0, 0).starts_with("never: 10 of 10"), "{permanent:04X}");
        }
        assert!(check(0xA801, 0, 0).contains("does not know our AE title CONTOURD as a destination"));
        assert!(check(0xB000, 3, 7).contains("3 failed"));
    }

    #[test]
    fn what_we_refuse_for_good_is_not_fetched_again() {
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let judged = |for_good: bool, missing: usize| {
            let refused = BTreeMap::from([(uid("1.1"), (for_good, "unreadable".to_owned()))]);
            let failure = || Err(Failure::Protocol("x".to_owned()));
            judge(&source(), &[failure()], &refused, (10, 10 - missing), &mut Vec::new())
        };
        assert!(matches!(judged(true, 1), Some(Outcome::Refused { .. })));
        assert!(matches!(judged(true, 2), Some(Outcome::Retry { .. })), "another one did not come");
        assert!(matches!(judged(false, 1), Some(Outcome::Retry { .. })), "the disk was full");
    }

    #[test]
    fn a_list_counts_only_where_it_can_be_all() {
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let (ct, state) = (uid("1.2.840.10008.5.1.4.1.1.2"), uid("1.2.840.10008.5.1.4.1.1.11.1"));
        let instances = vec![(Some(ct.clone()), uid("1.1")), (Some(state), uid("1.2"))];
        let aim = |unreadable, told| {
            let aim = Aim::of(&Listed { instances: instances.clone(), unreadable }, told);
            (aim.is_whole, aim.count)
        };
        assert_eq!(aim(0, Some(2)), (true, 1), "what is not stored here is not waited for");
        assert_eq!(aim(0, None), (true, 1));
        assert_eq!(aim(0, Some(1)), (true, 1), "a number that is too small");
        assert_eq!(aim(0, Some(300)), (false, 299));
        assert_eq!(aim(3, None), (false, 4));
        let empty = Aim::of(&Listed::default(), None);
        assert_eq!((empty.is_whole, empty.is_counted, empty.count), (false, false, 1));
    }
}
