//! Storage commitment and verified delivery: keeps the ways back to peers that wait, looks at what they ask for, and asks
//! and tells them. What follows from the answers, the node decides.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::LEDGER_FILE;
use super::hands::Hands;
use crate::config::Configuration;
use crate::deliver::dicom::{Committed, commit, report};
use crate::deliver::{Destination, Outcome as Delivered, Shown};
use crate::dicom::SeriesKey;
use crate::dimse::Outcome;
use crate::dimse::commitment::{FailureReason, Reference};
use crate::job::JobId;
use crate::ledger::Ledger;
use crate::limits::{COMMITMENT_CHECKS_MAX, COMMITMENT_REPORT_ANSWER_S, COMMITMENT_REPORT_DELAY_MS, DELIVERY_S_MAX};
use crate::node::{Answer, Commitment, CommitmentAsked, CommitmentKey, Confirmation, Event, Looked, Question};
use crate::receive::{self, Back};
use crate::spool::{Listed, Spool};

/// The peers that wait for an answer, and the associations on which a report can go back.
pub(super) struct Conversations {
    next: AtomicU64,
    replies: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    backs: Mutex<HashMap<u64, Back>>,
    /// Places for checks, which read from disk.
    checks: Semaphore,
}

impl Default for Conversations {
    fn default() -> Conversations {
        Conversations {
            next: AtomicU64::new(1),
            replies: Mutex::default(),
            backs: Mutex::default(),
            checks: Semaphore::new(COMMITMENT_CHECKS_MAX),
        }
    }
}

impl Conversations {
    /// The event of a peer that asks for storage commitment.
    pub(super) fn asked(&self, asked: receive::CommitmentAsked) -> Event {
        let mut backs = lock(&self.backs);
        backs.retain(|_, back| !back.is_closed());
        backs.insert(asked.association, asked.back);
        Event::CommitmentAsked(Box::new(CommitmentAsked {
            token: self.waits(asked.reply),
            peer: asked.peer,
            name: asked.name,
            called: asked.called,
            association: asked.association,
            transaction_uid: asked.request.transaction_uid,
            references: asked.request.references,
            known: None,
        }))
    }

    /// The event of a peer that reports.
    pub(super) fn reported(&self, received: receive::ReportReceived, configuration: &Configuration) -> Event {
        let peers = configuration.reporting(received.peers);
        Event::ReportReceived { token: self.waits(received.reply), peers, report: Box::new(received.report) }
    }

    /// Answers a peer; that its association has ended meanwhile changes nothing.
    pub(super) fn reply(&self, token: u64, outcome: Outcome) {
        if let Some(waiting) = lock(&self.replies).remove(&token) {
            let _ = waiting.send(outcome);
        }
    }

    fn waits(&self, reply: oneshot::Sender<Outcome>) -> u64 {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let mut replies = lock(&self.replies);
        replies.retain(|_, waiting| !waiting.is_closed());
        replies.insert(token, reply);
        token
    }

    fn back(&self, association: u64) -> Option<Back> {
        lock(&self.backs).get(&association).filter(|back| !back.is_closed()).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hands {
    /// Looks at what a peer wants to be committed.
    pub(super) async fn check(self, key: CommitmentKey, references: Vec<Reference>) {
        // The semaphore is never closed.
        let _place = self.conversations.checks.acquire().await;
        let (spool, count) = (Arc::clone(&self.spool), references.len());
        let work = tokio::task::spawn_blocking(move || look(&spool, &references));
        let looked = work.await.unwrap_or_else(|error| {
            tracing::error!("instances could not be looked at for a storage commitment ({error}); report it");
            vec![Err(FailureReason::PROCESSING_FAILURE); count]
        });
        self.tell(Event::CommitmentChecked { key, looked }).await;
    }

    /// Tells a peer what is committed.
    pub(super) async fn report(self, commitment: Commitment) {
        let key = commitment.key();
        let (hands, told) = (self.clone(), commitment.clone());
        let work = async move {
            match hands.report_back(&told).await {
                Some(answer) => answer,
                None => hands.report_anew(&told).await,
            }
        };
        let answer = within_limit(work).await.unwrap_or_else(|reason| Answer::Again { reason });
        let (peer, transaction_uid) = (&commitment.peer, &commitment.transaction_uid);
        let failed = commitment.state.failed().map_or(0, <[_]>::len);
        let committed = commitment.references.len() - failed;
        match &answer {
            Answer::Sent { .. } => {
                tracing::info!(%peer, %transaction_uid, committed, failed, "storage commitment reported");
            }
            Answer::Again { reason } | Answer::Refused { reason } | Answer::Closed { reason } => {
                tracing::warn!(%peer, %transaction_uid, "storage commitment not reported: {reason}");
            }
        }
        self.tell(Event::CommitmentReported { key, answer }).await;
    }

    /// On the association that has asked, once, when the peer keeps it open; `None` when it does not take the report
    /// there: some take it on another one only.
    async fn report_back(&self, commitment: &Commitment) -> Option<Answer> {
        let back = self.conversations.back(commitment.association).filter(|_| commitment.attempts == 0)?;
        sleep(Duration::from_millis(COMMITMENT_REPORT_DELAY_MS)).await;
        let limit = Duration::from_secs(COMMITMENT_REPORT_ANSWER_S);
        let status = timeout(limit, back.report(commitment.report())).await.ok()??;
        if status.is_success() || status.is_warning() {
            return Some(Answer::Sent { remark: String::new() });
        }
        let peer = &commitment.peer;
        tracing::info!(%peer, "a report was answered with status {status} on the association that asked; sent on another");
        None
    }

    async fn report_anew(&self, commitment: &Commitment) -> Answer {
        let own = self.places_of(&commitment.name);
        let _own_place = own.acquire().await;
        let _place = self.deliveries.acquire().await;
        let configuration = self.configuration.borrow().clone();
        let Some(mut destination) = configuration.committing(&commitment.name, &commitment.peer) else {
            let (name, title) = (&commitment.name, &commitment.peer);
            let reason = format!("no peer {name:?} of the title {title} in ae-config/peers may commit any more");
            return Answer::Again { reason };
        };
        // It expects the answer of the title that it has asked.
        destination.calling_ae = commitment.called.clone();
        match report(&destination, &commitment.report()).await {
            Delivered::Delivered { .. } => Answer::Sent { remark: String::new() },
            Delivered::Retry { reason, .. } => Answer::Again { reason },
            Delivered::Refused { reason, .. } => Answer::Refused { reason },
        }
    }

    /// Asks a destination whether it has the objects of a job.
    pub(super) async fn verify(self, job: JobId, to: String, files: Option<Vec<String>>, question: Question) {
        let (hands, id, name, asked) = (self.clone(), job.clone(), to.clone(), question.clone());
        let work = async move { hands.ask(&id, &name, files.as_deref(), &asked).await };
        let said = within_limit(work).await.unwrap_or_else(|reason| Confirmation::Again { reason });
        self.tell(Event::Confirmed { job, to, question, said }).await;
    }

    async fn ask(&self, job: &JobId, to: &str, files: Option<&[String]>, question: &Question) -> Confirmation {
        let own = self.places_of(to);
        let _own_place = own.acquire().await;
        let _place = self.deliveries.acquire().await;
        let configuration = self.configuration.borrow().clone();
        let Some(destination) = configuration.destination(to) else {
            return Confirmation::Again { reason: format!("no peer {to:?} with an address in ae-config/peers") };
        };
        let objects = match self.spool.objects_named(job, files) {
            Ok(objects) if !objects.is_empty() => objects,
            Ok(_) => return Confirmation::Never { reason: "its objects are gone".to_owned() },
            Err(error) => return Confirmation::Again { reason: error.to_string() },
        };
        let not = |outcome: Delivered| match outcome {
            Delivered::Refused { reason, .. } => Confirmation::Never { reason },
            Delivered::Retry { reason, .. } => Confirmation::Again { reason },
            Delivered::Delivered { .. } => Confirmation::Again { reason: "no answer".to_owned() },
        };
        match question {
            Question::Find => match destination.find(&objects).await {
                Shown::All => Confirmation::Has,
                Shown::Missing { reason } => Confirmation::HasNot { reason },
                Shown::Unknown(outcome) => not(outcome),
            },
            Question::Commit { transaction } => {
                let Destination::Dicom(destination) = &destination else {
                    let reason =
                        format!("{to:?} is not called by DICOM any more, so that it cannot be asked to commit");
                    return Confirmation::Never { reason };
                };
                match commit(destination, &objects, transaction).await {
                    // One way for reports, however they come.
                    Committed::Reported(report) => {
                        let (reply, _nobody) = oneshot::channel();
                        let (token, peers) = (self.conversations.waits(reply), vec![to.to_owned()]);
                        self.tell(Event::ReportReceived { token, peers, report: Box::new(report) }).await;
                        Confirmation::Owes
                    }
                    Committed::Owes => Confirmation::Owes,
                    Committed::Not(outcome) => not(outcome),
                }
            }
        }
    }
}

/// Does work that may hang or break: whoever waits for its answer gets one.
async fn within_limit<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    match tokio::spawn(timeout(Duration::from_secs(DELIVERY_S_MAX), work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(format!("not done after {DELIVERY_S_MAX} s")),
        Err(error) => Err(format!("it ended early ({error}); report it")),
    }
}

/// Looks for each instance in the ledger, then reads it from disk and compares it with what was received.
fn look(spool: &Spool, references: &[Reference]) -> Vec<Looked> {
    let ledger = match Ledger::open_existing(&spool.root().join(LEDGER_FILE)) {
        Ok(ledger) => ledger,
        Err(error) => {
            tracing::error!("{error}; a storage commitment fails");
            return vec![Err(FailureReason::PROCESSING_FAILURE); references.len()];
        }
    };
    let refused = match spool.refused() {
        Ok(refused) => refused,
        Err(error) => {
            tracing::error!("{error}; a storage commitment fails");
            return vec![Err(FailureReason::PROCESSING_FAILURE); references.len()];
        }
    };
    let look =
        |reference: &Reference| look_for(spool, &ledger, reference, refused.contains(&reference.sop_instance_uid));
    references.iter().map(look).collect()
}

/// What is left of an instance in one series that it is recorded in.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Whole(SeriesKey),
    OtherClass,
    /// Its file is not there: it is being removed.
    Gone,
    Damaged,
}

fn look_for(spool: &Spool, ledger: &Ledger, reference: &Reference, was_refused: bool) -> Looked {
    let failed = |path: &Path, what: &dyn std::fmt::Display| {
        tracing::error!("{}: not committed: {what}", path.display());
    };
    let uid = &reference.sop_instance_uid;
    let recorded = ledger.instances_named(uid).map_err(|error| {
        failed(spool.root(), &error);
        FailureReason::PROCESSING_FAILURE
    })?;
    let copies = recorded.into_iter().map(|stored| {
        let path = spool.instance_path(&stored.series, uid);
        let listed = Listed { series: stored.series, sop_instance_uid: uid.clone(), path };
        match spool.digest(&listed) {
            Ok(file) if file.digest != stored.digest => {
                failed(&listed.path, &"its bytes are not those that were received");
                Held::Damaged
            }
            Ok(file) if file.meta.sop_class_uid != reference.sop_class_uid => Held::OtherClass,
            Ok(_) => Held::Whole(listed.series),
            Err(_) if !listed.path.exists() => Held::Gone,
            Err(error) => {
                failed(&listed.path, &error);
                Held::Damaged
            }
        }
    });
    judge(&copies.collect::<Vec<_>>(), was_refused)
}

/// Every series that holds an instance whole is kept: which of them its sender means cannot be known. So nothing is
/// committed while one of them is damaged, nor where another version was refused: its sender may mean that one.
fn judge(copies: &[Held], was_refused: bool) -> Looked {
    let whole = |held: &Held| if let Held::Whole(series) = held { Some(series.clone()) } else { None };
    let whole: Vec<SeriesKey> = copies.iter().filter_map(whole).collect();
    if copies.contains(&Held::Damaged) || (was_refused && !whole.is_empty()) {
        Err(FailureReason::PROCESSING_FAILURE)
    } else if !whole.is_empty() {
        Ok(whole)
    } else if copies.contains(&Held::OtherClass) {
        Err(FailureReason::CLASS_INSTANCE_CONFLICT)
    } else {
        Err(FailureReason::NO_SUCH_OBJECT_INSTANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_committed_in_every_series_or_not_at_all() {
        let series = |last: &str| SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: last.parse().expect("a UID"),
        };
        let (one, other) = (Held::Whole(series("1.3")), Held::Whole(series("1.4")));
        let both = [one.clone(), Held::OtherClass, Held::Gone, other];
        assert_eq!(judge(&both, false), Ok(vec![series("1.3"), series("1.4")]));
        assert_eq!(judge(&[one.clone(), Held::Damaged], false), Err(FailureReason::PROCESSING_FAILURE));
        assert_eq!(judge(&[Held::Gone, Held::OtherClass], false), Err(FailureReason::CLASS_INSTANCE_CONFLICT));
        assert_eq!(judge(&[one], true), Err(FailureReason::PROCESSING_FAILURE), "of which version is it asked?");
        assert_eq!(judge(&[Held::Gone], true), Err(FailureReason::NO_SUCH_OBJECT_INSTANCE));
    }
}
