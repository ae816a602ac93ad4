//! Which destinations of a job have their turn: all that stand alone, and one of each group. It sends nothing.
//!
//! Of a group one gets the objects. The first begins; one that fails for now loses its turn to the next after some
//! attempts or time, the last to the first again, until one takes everything or the objects are too old. A refusal ends the
//! group: it is an answer about the objects or about us, and a person has to see it. One that has ever answered with
//! success keeps its turn, because it may have the objects, whatever it shows.

use jiff::{SignedDuration, Timestamp};

use super::{Delivery, DeliveryState, Job, JobEvent, Turn};
use crate::limits::REPORT_GRACE_S;

impl Job {
    /// The deliveries of which one gets the objects, in the order in which they are tried; that to a destination which
    /// stands alone by itself.
    pub fn group_of<'a>(&'a self, delivery: &'a Delivery) -> impl Iterator<Item = &'a Delivery> {
        self.deliveries.iter().filter(|other| other.to == delivery.to || shares_group(other, delivery))
    }

    /// Who is tried in the place of a destination when the attempt of now fails; none while that keeps its turn.
    pub fn next_in_turn<'a>(&'a self, delivery: &'a Delivery, now: Timestamp) -> Option<&'a Delivery> {
        let turn = delivery.turn.as_ref().filter(|_| !delivery.answered)?;
        let passed_s = now.duration_since(turn.began).as_secs_f64();
        let is_over = turn.attempts + 1 >= turn.after.attempts || turn.after.wait_s.is_some_and(|s| passed_s >= s);
        let members: Vec<&Delivery> = self.group_of(delivery).collect();
        let own = members.iter().position(|member| member.to == delivery.to)?;
        let others = members[own + 1..].iter().chain(&members[..own]);
        others.copied().find(|member| is_over && member.state == DeliveryState::Standby)
    }

    /// Applies the event of a delivery; whether it meant anything there.
    pub(super) fn answer(&mut self, event: &JobEvent, now: Timestamp) -> bool {
        let Some(to) = event.to() else { return false };
        let Some(index) = self.deliveries.iter().position(|delivery| delivery.to == to) else { return false };
        let Some(after) = self.deliveries[index].after(event, now) else { return false };
        if let JobEvent::PassedOn { next, not_before, .. } = event {
            let waits = |other: &&mut Delivery| {
                other.to == *next && other.state == DeliveryState::Standby && shares_group(other, &after)
            };
            let Some(next) = self.deliveries.iter_mut().find(waits) else { return false };
            next.state = DeliveryState::Pending { not_before: *not_before };
            next.since = after.since;
            begin_turn(next, now);
        }
        if matches!(after.state, DeliveryState::Done { .. }) {
            for other in self.deliveries.iter_mut().filter(|other| shares_group(other, &after)) {
                other.state = DeliveryState::NotNeeded { by: after.to.clone() };
            }
        }
        self.deliveries[index] = after;
        true
    }

    /// Sends the objects to those of the destinations that are `wanted`: to all that stand alone, and in each group that is
    /// wanted as a whole to the one that has taken them before; else to the one that has refused them, because it may hold
    /// them, or a part, all the same; else to the first.
    pub(super) fn begin_deliveries(&mut self, wanted: impl Fn(&Delivery) -> bool, now: Timestamp) {
        let begins = |delivery: &Delivery| {
            let members: Vec<&Delivery> = self.group_of(delivery).collect();
            let is_wanted = members.iter().all(|member| wanted(member));
            let refused = |member: &&&Delivery| matches!(member.state, DeliveryState::Refused { .. });
            let answered = members.iter().find(|member| member.answered);
            let first = answered.or_else(|| members.iter().find(refused)).or(members.first());
            is_wanted.then(|| first.is_some_and(|first| first.to == delivery.to))
        };
        let begins: Vec<Option<bool>> = self.deliveries.iter().map(begins).collect();
        for (delivery, begins) in self.deliveries.iter_mut().zip(begins) {
            let Some(begins) = begins else { continue };
            let pending = DeliveryState::Pending { not_before: now };
            delivery.state = if begins { pending } else { DeliveryState::Standby };
            delivery.since = now;
            begin_turn(delivery, now);
        }
    }

    /// Counts the age of open deliveries from now: the gateway's own absence is not the destination's.
    pub fn forgive_downtime(&mut self, now: Timestamp) {
        for delivery in &mut self.deliveries {
            match &mut delivery.state {
                DeliveryState::Pending { not_before } => *not_before = (*not_before).min(now),
                DeliveryState::Sent(sent) if sent.awaits_report => {
                    let grace = SignedDuration::from_secs(REPORT_GRACE_S);
                    sent.ask_at = sent.ask_at.max(now.checked_add(grace).unwrap_or(Timestamp::MAX));
                }
                DeliveryState::Sent(sent) => sent.ask_at = sent.ask_at.min(now),
                DeliveryState::Done { .. }
                | DeliveryState::Refused { .. }
                | DeliveryState::Standby
                | DeliveryState::NotNeeded { .. } => continue,
            }
            delivery.since = now;
            if let Some(turn) = &mut delivery.turn {
                turn.began = now;
            }
        }
    }
}

/// Whether two destinations are of one group, and not the same.
fn shares_group(one: &Delivery, other: &Delivery) -> bool {
    let group = |delivery: &Delivery| delivery.turn.as_ref().map(|turn| turn.group);
    one.to != other.to && group(one).is_some() && group(one) == group(other)
}

fn begin_turn(delivery: &mut Delivery, now: Timestamp) {
    if let Some(turn) = &mut delivery.turn {
        *turn = Turn { attempts: 0, began: now, ..turn.clone() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;
    use crate::job::{JobState, Proof, Run};
    use crate::pipeline::After;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// A job for `pacs`, and for one of `a`, `b` and `c`.
    fn grouped(after: After) -> Job {
        let mut job = job(JobState::Running, 1);
        let turn = |group| Turn { group, after, attempts: 0, began: at(0) };
        let delivery = |to: &str, turn| Delivery::new(to.to_owned(), turn, at(0));
        job.deliveries = vec![
            delivery("a", Some(turn(0))),
            delivery("b", Some(turn(0))),
            delivery("c", Some(turn(0))),
            delivery("pacs", None),
        ];
        apply(&mut job, JobEvent::Produced { run: Run::default() }, 0);
        job
    }

    fn apply(job: &mut Job, event: JobEvent, second: i64) {
        job.apply(&event, 3, at(second)).unwrap_or_else(|error| panic!("{error}"));
    }

    fn states(job: &Job) -> String {
        let state = |d: &Delivery| format!("{} {}", d.to, d.state.name());
        job.deliveries.iter().map(state).collect::<Vec<_>>().join(", ")
    }

    fn next(job: &Job, to: &str, second: i64) -> Option<String> {
        let delivery = job.deliveries.iter().find(|d| d.to == to).expect("there");
        job.next_in_turn(delivery, at(second)).map(|next| next.to.clone())
    }

    fn failed(to: &str) -> JobEvent {
        JobEvent::SendFailed { to: to.to_owned(), reason: "away".to_owned(), not_before: at(0) }
    }

    fn passed(to: &str, next: &str) -> JobEvent {
        let (to, next) = (to.to_owned(), next.to_owned());
        JobEvent::PassedOn { to, reason: "away".to_owned(), next, not_before: at(9) }
    }

    fn sent(to: &str) -> JobEvent {
        JobEvent::Sent { to: to.to_owned(), remark: String::new() }
    }

    #[test]
    fn one_of_a_group_gets_the_objects_and_the_others_stand_by() {
        let mut job = grouped(After { attempts: 2, wait_s: None });
        assert_eq!(states(&job), "a pending, b standby, c standby, pacs pending");
        assert_eq!(next(&job, "a", 0), None);
        apply(&mut job, failed("a"), 1);
        assert_eq!((next(&job, "a", 1), next(&job, "pacs", 1)), (Some("b".to_owned()), None));
        apply(&mut job, passed("a", "b"), 2);
        assert_eq!(states(&job), "a standby, b pending, c standby, pacs pending");
        assert!(job.apply(&sent("a"), 3, at(3)).is_err(), "a repeated answer of one that lost its turn");
        apply(&mut job, failed("b"), 3);
        apply(&mut job, passed("b", "c"), 4);
        apply(&mut job, failed("c"), 5);
        assert_eq!(next(&job, "c", 5), Some("a".to_owned()), "after the last the first again");
        apply(&mut job, passed("c", "a"), 5);
        assert_eq!((job.deliveries[0].attempts, next(&job, "a", 5)), (2, None), "a turn of its own");
        assert_eq!(job.deliveries[0].since, at(0), "the age is that of the objects");
        apply(&mut job, sent("a"), 6);
        assert_eq!(states(&job), "a sent, b not needed, c not needed, pacs pending");
        apply(&mut job, sent("pacs"), 7);
        assert_eq!(job.state, JobState::Sent);
    }

    #[test]
    fn a_turn_can_end_by_time() {
        let mut job = grouped(After { attempts: 1_000, wait_s: Some(60.0) });
        apply(&mut job, failed("a"), 59);
        assert_eq!((next(&job, "a", 59), next(&job, "a", 60)), (None, Some("b".to_owned())));
        job.forgive_downtime(at(100));
        assert_eq!((next(&job, "a", 159), next(&job, "a", 160)), (None, Some("b".to_owned())), "it was not asked");
    }

    #[test]
    fn one_that_has_taken_everything_keeps_its_turn() {
        let mut job = grouped(After { attempts: 1, wait_s: None });
        apply(&mut job, passed("a", "b"), 1);
        let unverified = JobEvent::Unverified { to: "b".to_owned(), remark: String::new(), transaction: None };
        apply(&mut job, unverified.clone(), 2);
        apply(&mut job, failed("b"), 3);
        assert_eq!(
            (states(&job).as_str(), next(&job, "b", 9_999)),
            ("a standby, b pending, c standby, pacs pending", None)
        );
        assert!(job.apply(&passed("b", "c"), 3, at(4)).is_err());
        apply(&mut job, sent("pacs"), 4);
        apply(&mut job, JobEvent::SendRefused { to: "b".to_owned(), reason: "no".to_owned() }, 5);
        assert_eq!(job.state, JobState::Failed { cause: "not delivered to b: no".to_owned() });
        // A retry goes to the one that may have them, and leaves alone what is done.
        apply(&mut job, JobEvent::Retried { objects: true }, 6);
        assert_eq!(states(&job), "a standby, b pending, c standby, pacs sent");
        apply(&mut job, unverified, 7);
        apply(&mut job, JobEvent::Verified { to: "b".to_owned(), proof: Proof::Found }, 8);
        assert_eq!(states(&job), "a not needed, b delivered, c not needed, pacs sent");
    }

    #[test]
    fn a_refusal_ends_the_group_and_a_retry_begins_with_the_one_that_refused() {
        let mut job = grouped(After { attempts: 1, wait_s: None });
        apply(&mut job, passed("a", "b"), 1);
        apply(&mut job, JobEvent::SendRefused { to: "b".to_owned(), reason: "no".to_owned() }, 2);
        assert_eq!(states(&job), "a standby, b refused, c standby, pacs pending");
        apply(&mut job, sent("pacs"), 3);
        apply(&mut job, JobEvent::Retried { objects: true }, 4);
        assert_eq!(states(&job), "a standby, b pending, c standby, pacs sent", "it may hold them, or a part");
        // What has once answered with success goes before what has refused.
        let unverified = JobEvent::Unverified { to: "b".to_owned(), remark: String::new(), transaction: None };
        apply(&mut job, unverified, 5);
        apply(&mut job, JobEvent::SendRefused { to: "b".to_owned(), reason: "no".to_owned() }, 6);
        job.deliveries[0].state = DeliveryState::Refused { reason: "no".to_owned() };
        apply(&mut job, JobEvent::Retried { objects: true }, 7);
        assert_eq!(states(&job), "a standby, b pending, c standby, pacs sent");
    }

    #[test]
    fn a_delivery_of_an_older_ledger_stands_alone() {
        let text = r#"{"to": "tps", "state": {"pending": {"not_before": "2026-01-01T00:00:00Z"}}, "attempts": 1,
            "last_reason": "", "since": "2026-01-01T00:00:00Z"}"#;
        let delivery: Delivery = serde_json::from_str(text).expect("read");
        assert_eq!((delivery.turn, delivery.answered), (None, false));
    }
}
