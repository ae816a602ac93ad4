//! Verified delivery: after a destination has taken everything, it is asked whether it has it; it asks nobody itself.

use jiff::{SignedDuration, Timestamp};

use super::{Effect, Node, Outcome};
use crate::dicom::Uid;
use crate::dimse::commitment::CommitmentReport;
use crate::job::{Delivery, DeliveryState, Job, JobEvent, JobId, JobState, Unverified, Verification, VerifyBy};
use crate::limits::{COMMITMENT_VERDICTS_KEPT, FIND_AGAIN_S};

/// What is asked of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// C-FIND for each object.
    Find,
    /// Storage commitment for all objects, in this transaction.
    Commit { transaction: Uid },
}

/// What a destination says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It has everything.
    Has,
    /// It has something not, or not yet.
    HasNot { reason: String },
    /// It has taken the request for commitment, and owes its report.
    Owes,
    /// It could not be asked.
    Again { reason: String },
    /// It cannot be asked: it does not offer the service, or refuses it.
    Never { reason: String },
}

impl Node {
    /// The event of a delivery that was answered with success. A transaction has a UID of its own for each attempt,
    /// which is durable before the destination hears it.
    pub(super) fn sent(&self, delivery: &Delivery, job: &JobId, remark: String, now: Timestamp) -> JobEvent {
        let to = delivery.to.clone();
        let transaction = match self.settings.verify.get(&to).map(|verification| verification.by) {
            None => return JobEvent::Sent { to, remark },
            Some(VerifyBy::Find) => None,
            Some(VerifyBy::Commitment) => {
                let (attempt, at) = (delivery.attempts.to_string(), now.to_string());
                Some(Uid::derived(["contourd", "storage commitment", job.as_str(), &to, &attempt, &at]))
            }
        };
        JobEvent::Unverified { to, remark, transaction }
    }

    /// Takes the answer to a question. It is dropped when the objects were sent anew since, in another transaction.
    pub(super) fn confirmed(
        &mut self,
        id: &JobId,
        to: &str,
        question: &Question,
        said: Confirmation,
        now: Timestamp,
    ) -> Vec<Effect> {
        self.verifying.remove(&(id.clone(), to.to_owned()));
        let delivery = self.jobs.get(id).and_then(|job| job.deliveries.iter().find(|d| d.to == to));
        match delivery.map(|delivery| &delivery.state) {
            Some(DeliveryState::Sent(sent)) if question_of(sent) == *question => {
                self.conclude(id, to.to_owned(), said, now)
            }
            _ => Vec::new(),
        }
    }

    /// What follows from what a destination says.
    fn conclude(&mut self, id: &JobId, to: String, said: Confirmation, now: Timestamp) -> Vec<Effect> {
        let Some(delivery) = self.jobs.get(id).and_then(|job| job.deliveries.iter().find(|d| d.to == to)) else {
            return Vec::new();
        };
        let DeliveryState::Sent(sent) = &delivery.state else { return Vec::new() };
        let within_s = self.verification(&to, sent).within_s;
        let later = |wait: SignedDuration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let seconds = |s: f64| SignedDuration::from_millis((s * 1_000.0) as i64);
        let passed_s = now.duration_since(sent.at).as_secs_f64();
        let event = match said {
            Confirmation::Has => JobEvent::Verified { to, proof: asked_by(sent).proof() },
            Confirmation::Owes => {
                let reason = format!("sent, not verified: its report on {} is awaited", transaction_of(sent));
                JobEvent::Asked { to, reason, ask_at: later(seconds(within_s)), awaits_report: true }
            }
            // An archive that files what it has taken a moment later is no archive that has lost it.
            Confirmation::HasNot { reason } if asked_by(sent) == VerifyBy::Find && passed_s < within_s => {
                let (first_s, longest_s) = FIND_AGAIN_S;
                let wait_s = (first_s * f64::from(1_u32 << sent.asked.min(16))).min(longest_s);
                let reason = format!("sent, not verified: {reason}");
                JobEvent::Asked { to, reason, ask_at: later(seconds(wait_s)), awaits_report: false }
            }
            Confirmation::HasNot { reason } => return self.not_there(id, &to, &reason, now),
            Confirmation::Never { reason } => {
                JobEvent::SendRefused { to, reason: format!("sent, but it cannot be verified: {reason}") }
            }
            Confirmation::Again { reason } => {
                let policy = self.settings.retry.get(&to).unwrap_or(&self.settings.retry_default);
                let reason = format!("sent, but it could not be verified: {reason}");
                if policy.too_old(delivery.since, now) {
                    JobEvent::SendRefused { to, reason }
                } else {
                    let ask_at = later(policy.wait(sent.asked + 1));
                    JobEvent::Asked { to, reason, ask_at, awaits_report: false }
                }
            }
        };
        if matches!(event, JobEvent::Verified { .. }) {
            self.remember(id, &event);
        }
        self.advance(id, &event, now)
    }

    /// Takes a report of storage commitment from one of `peers`: the caller can be any of them. It is answered after what follows
    /// from it is durable.
    pub(super) fn report_received(
        &mut self,
        token: u64,
        peers: &[String],
        report: &CommitmentReport,
        now: Timestamp,
    ) -> Vec<Effect> {
        let reply = |outcome| Effect::Reply { token, outcome };
        let is_of = |delivery: &&Delivery| {
            let DeliveryState::Sent(sent) = &delivery.state else { return false };
            sent.transaction.as_ref() == Some(&report.transaction_uid) && peers.contains(&delivery.to)
        };
        let found = self.jobs.values().find_map(|job| Some((job, job.deliveries.iter().find(is_of)?)));
        let Some((job, delivery)) = found else {
            let known = self.verdicts.contains(&report.transaction_uid);
            return vec![reply(if known { Outcome::Accepted } else { Outcome::InvalidArgument })];
        };
        let (id, to) = (job.id.clone(), delivery.to.clone());
        let said = judge(job, &to, report);
        let mut effects = self.conclude(&id, to, said, now);
        self.remember_transaction(report.transaction_uid.clone());
        effects.push(reply(Outcome::Accepted));
        effects
    }

    /// What is to be asked now, and reports that did not come in time.
    pub(super) fn start_verifications(&mut self, now: Timestamp) -> Vec<Effect> {
        let (mut effects, mut late) = (Vec::new(), Vec::new());
        for job in self.jobs.values().filter(|job| job.state == JobState::Delivering) {
            for delivery in &job.deliveries {
                let DeliveryState::Sent(sent) = &delivery.state else { continue };
                if sent.ask_at > now {
                    continue;
                }
                if sent.awaits_report {
                    let reason = format!("no report on {} came in time", transaction_of(sent));
                    late.push((job.id.clone(), delivery.to.clone(), reason));
                } else if self.verifying.insert((job.id.clone(), delivery.to.clone())) {
                    let question = question_of(sent);
                    let files = job.run.as_ref().and_then(|run| run.objects_for(&delivery.to));
                    effects.push(Effect::Verify { job: job.id.clone(), to: delivery.to.clone(), files, question });
                }
            }
        }
        for (id, to, reason) in late {
            effects.extend(self.not_there(&id, &to, &reason, now));
        }
        effects
    }

    /// Everything is sent again, by the retry policy; in the end the delivery is parked with the cause.
    fn not_there(&mut self, id: &JobId, to: &str, reason: &str, now: Timestamp) -> Vec<Effect> {
        let found = self.jobs.get(id).and_then(|job| Some((job, job.deliveries.iter().find(|d| d.to == to)?)));
        let Some((job, delivery)) = found else { return Vec::new() };
        let event = self.failed(job, delivery, format!("sent, but not there: {reason}"), delivery.attempts, now);
        self.advance(id, &event, now)
    }

    /// How a delivery is verified that has been sent. When the site has taken the verification back meanwhile, what was
    /// begun ends by its usual time.
    fn verification(&self, to: &str, sent: &Unverified) -> Verification {
        let by = asked_by(sent);
        let configured = self.settings.verify.get(to).copied().filter(|verification| verification.by == by);
        configured.unwrap_or(Verification::usual(by))
    }

    fn remember(&mut self, id: &JobId, event: &JobEvent) {
        let JobEvent::Verified { to, .. } = event else { return };
        let delivery = self.jobs.get(id).and_then(|job| job.deliveries.iter().find(|d| d.to == *to));
        let Some(DeliveryState::Sent(sent)) = delivery.map(|delivery| &delivery.state) else { return };
        if let Some(transaction) = sent.transaction.clone() {
            self.remember_transaction(transaction);
        }
    }

    fn remember_transaction(&mut self, transaction: Uid) {
        if !self.verdicts.contains(&transaction) {
            self.verdicts.push_back(transaction);
        }
        if self.verdicts.len() > COMMITMENT_VERDICTS_KEPT {
            self.verdicts.pop_front();
        }
    }
}

fn question_of(sent: &Unverified) -> Question {
    match &sent.transaction {
        Some(transaction) => Question::Commit { transaction: transaction.clone() },
        None => Question::Find,
    }
}

fn asked_by(sent: &Unverified) -> VerifyBy {
    if sent.transaction.is_some() { VerifyBy::Commitment } else { VerifyBy::Find }
}

fn transaction_of(sent: &Unverified) -> String {
    sent.transaction.as_ref().map_or_else(String::new, |uid| format!("storage commitment {uid}"))
}

/// What a report says of the objects of a job for one destination: each of them has to be in its list.
fn judge(job: &Job, to: &str, report: &CommitmentReport) -> Confirmation {
    if let Some(failed) = report.failed.first() {
        let (uid, count) = (&failed.reference.sop_instance_uid, report.failed.len());
        let reason = format!("{count} of its objects are not committed, the first {uid}: {}", failed.reason);
        return Confirmation::HasNot { reason };
    }
    let is_for = |peers: &Option<Vec<String>>| peers.as_ref().is_none_or(|peers| peers.iter().any(|p| p == to));
    let objects = job.run.iter().flat_map(|run| &run.objects).filter(|object| is_for(&object.to));
    // What was sent and cannot be named is not confirmed by a report that names others, or none.
    let uids: Option<Vec<&Uid>> = objects.map(|object| object.sop_instance_uid.as_ref()).collect();
    let Some(uids) = uids.filter(|uids| !uids.is_empty()) else {
        let reason = "its report cannot be compared: the record of the run does not name every object".to_owned();
        return Confirmation::HasNot { reason };
    };
    let committed = |uid: &&Uid| report.committed.iter().any(|reference| reference.sop_instance_uid == **uid);
    match uids.into_iter().find(|uid| !committed(uid)) {
        Some(missing) => Confirmation::HasNot { reason: format!("its report does not tell of {missing}") },
        None => Confirmation::Has,
    }
}
