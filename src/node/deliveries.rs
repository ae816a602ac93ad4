//! Deliveries: which are due, and what follows from their answers; it sends nothing.

use jiff::Timestamp;

use super::{Answer, Effect, Node};
use crate::job::{Delivery, DeliveryState, Job, JobEvent, JobId, JobState, RetryPolicy};
use crate::pipeline::SENDER;

impl Node {
    /// Takes how an attempt ended.
    pub(super) fn answered(&mut self, id: &JobId, to: String, answer: Answer, now: Timestamp) -> Vec<Effect> {
        self.sending.remove(&(id.clone(), to.clone()));
        let found = self.jobs.get(id).and_then(|job| Some((job, job.deliveries.iter().find(|d| d.to == to)?)));
        let Some((job, delivery)) = found else { return Vec::new() };
        let event = match answer {
            Answer::Sent { remark } => self.sent(delivery, id, remark, now),
            Answer::Refused { reason } => JobEvent::SendRefused { to, reason },
            Answer::Closed { reason } if delivery.turn.is_none() => JobEvent::SendRefused { to, reason },
            Answer::Again { reason } | Answer::Closed { reason } => self.not_sent(job, delivery, reason, now),
        };
        self.advance(id, &event, now)
    }

    /// What follows when an attempt came to nothing: the next of its group has its turn, where there is one.
    fn not_sent(&self, job: &Job, delivery: &Delivery, reason: String, now: Timestamp) -> JobEvent {
        match (self.failed(job, delivery, reason, delivery.attempts + 1, now), job.next_in_turn(delivery, now)) {
            (JobEvent::SendFailed { to, reason, .. }, Some(next)) => {
                // At once where it was not tried yet; else the turns would go round without a pause.
                let wait = self.policy(&next.to).wait(next.attempts);
                let later = now.checked_add(wait).unwrap_or(Timestamp::MAX);
                let not_before = if next.attempts == 0 { now } else { later };
                JobEvent::PassedOn { to, reason, next: next.to.clone(), not_before }
            }
            (event, _) => event,
        }
    }

    /// What follows when the objects are not there after so many attempts: again, or for good when it is too late for
    /// every one that they could still go to.
    pub(super) fn failed(
        &self,
        job: &Job,
        delivery: &Delivery,
        reason: String,
        attempts: u32,
        now: Timestamp,
    ) -> JobEvent {
        let to = delivery.to.clone();
        if job.group_of(delivery).all(|member| self.policy(&member.to).too_old(delivery.since, now)) {
            return JobEvent::SendRefused { to, reason: format!("given up after {attempts} attempts: {reason}") };
        }
        let not_before = now.checked_add(self.policy(&to).wait(attempts)).unwrap_or(Timestamp::MAX);
        JobEvent::SendFailed { to, reason, not_before }
    }

    pub(super) fn policy(&self, peer: &str) -> &RetryPolicy {
        self.settings.retry.get(peer).unwrap_or(&self.settings.retry_default)
    }

    /// What is to be sent now. What was to go back to a sender that nobody knows ends here, with the reason.
    pub(super) fn start_deliveries(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = |d: &&Delivery| matches!(d.state, DeliveryState::Pending { not_before } if not_before <= now);
        let (mut effects, mut to_nobody) = (Vec::new(), Vec::new());
        for job in self.jobs.values().filter(|job| job.state == JobState::Delivering) {
            for delivery in job.deliveries.iter().filter(due) {
                if delivery.to == SENDER {
                    let note = job.sender.as_ref().map_or("it is not known who sent the series", |sender| &sender.note);
                    to_nobody.push((job.id.clone(), note.to_owned()));
                } else if self.sending.insert((job.id.clone(), delivery.to.clone())) {
                    let files = job.run.as_ref().and_then(|run| run.objects_for(&delivery.to));
                    effects.push(Effect::Send { job: job.id.clone(), to: delivery.to.clone(), files });
                }
            }
        }
        for (id, reason) in to_nobody {
            effects.extend(self.advance(&id, &JobEvent::SendRefused { to: SENDER.to_owned(), reason }, now));
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::job::Sender;
    use crate::node::{DeliveryGroup, Event, Order, Record, Restored, Settings, new_job};
    use crate::pipeline::{After, Completeness};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn settings() -> Settings {
        let retry_default = RetryPolicy { initial_s: 10.0, multiplier: 2.0, max_s: 100.0, max_age_s: 1_000.0 };
        let patient = RetryPolicy { max_age_s: 2_000.0, ..retry_default };
        Settings {
            waiting: Vec::new(),
            waiting_default: Completeness::default(),
            workers: 1,
            runs_max: 3,
            retry: BTreeMap::from([("standby".to_owned(), patient)]),
            retry_default,
            verify: BTreeMap::new(),
            ask: Vec::new(),
            ask_default: None,
        }
    }

    /// A node with one job that is about to be delivered.
    fn delivering(order: Order) -> (Node, JobId, Vec<Effect>) {
        let series = crate::dicom::SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        };
        let id = JobId::derived(&series, "p", []);
        let mut job = new_job(id.clone(), &series, 1, order, at(0));
        for event in [JobEvent::Started, JobEvent::Produced { run: crate::job::Run::default() }] {
            job.apply(&event, 3, at(0)).unwrap_or_else(|error| panic!("{error}"));
        }
        let (node, effects) = Node::restore(settings(), Restored { jobs: vec![job], ..Restored::default() }, at(0));
        (node, id, effects)
    }

    fn group() -> Order {
        let names = ["main".to_owned(), "standby".to_owned()];
        let groups = vec![DeliveryGroup { to: names.to_vec(), after: After { attempts: 2, wait_s: None } }];
        Order { destinations: names.to_vec(), groups, ..Order::default() }
    }

    /// What is sent, and what the history says.
    fn told(effects: &[Effect]) -> Vec<String> {
        let line = |effect: &Effect| match effect {
            Effect::Send { to, .. } => Some(format!("send {to}")),
            Effect::Record(Record::History { text, .. }) => Some(text.clone()),
            _ => None,
        };
        effects.iter().filter_map(line).collect()
    }

    fn again(node: &mut Node, job: &JobId, to: &str, second: i64) -> Vec<String> {
        let (job, to, answer) = (job.clone(), to.to_owned(), Answer::Again { reason: "away".to_owned() });
        told(&node.handle(Event::Answered { job, to, answer }, at(second)))
    }

    #[test]
    fn the_next_is_tried_at_once_and_the_first_again_after_a_pause() {
        let (mut node, job, effects) = delivering(group());
        assert_eq!(told(&effects), ["send main"]);
        assert_eq!(again(&mut node, &job, "main", 1).len(), 1, "it keeps its turn");
        assert_eq!(told(&node.handle(Event::Tick, at(11))), ["send main"]);
        let passed = again(&mut node, &job, "main", 12);
        assert!(passed[0].starts_with("not delivered to main: away; standby is tried in its place"), "{passed:?}");
        assert_eq!(passed[1], "send standby");
        assert_eq!(again(&mut node, &job, "main", 13), [""; 0], "a repeated answer");
        again(&mut node, &job, "standby", 14);
        assert_eq!(told(&node.handle(Event::Tick, at(24))), ["send standby"]);
        assert_eq!(again(&mut node, &job, "standby", 25).len(), 1, "the first was tried twice: it gets a pause");
        assert_eq!(told(&node.handle(Event::Tick, at(44))), [""; 0]);
        assert_eq!(told(&node.handle(Event::Tick, at(45))), ["send main"]);
        let (to, answer) = ("main".to_owned(), Answer::Sent { remark: String::new() });
        let done = told(&node.handle(Event::Answered { job, to, answer }, at(46)));
        assert_eq!(done, ["sent to main; the job is done: sent"]);
        assert!(node.is_idle());
    }

    #[test]
    fn it_is_given_up_when_the_most_patient_of_them_would() {
        let (mut node, job, _) = delivering(group());
        assert!(again(&mut node, &job, "main", 1_500)[0].starts_with("not delivered to main"));
        assert_eq!(told(&node.handle(Event::Tick, at(1_900))), ["send main"]);
        let ended = again(&mut node, &job, "main", 2_001);
        assert_eq!(
            ended,
            ["delivery to main ended: given up after 2 attempts: away; the job has failed and waits for an operator"]
        );
    }

    #[test]
    fn a_refusal_goes_on_to_nobody() {
        let (mut node, job, _) = delivering(group());
        let (to, answer) = ("main".to_owned(), Answer::Refused { reason: "no".to_owned() });
        let ended = told(&node.handle(Event::Answered { job, to, answer }, at(1)));
        assert_eq!(ended, ["delivery to main ended: no; the job has failed and waits for an operator"]);
    }

    #[test]
    fn one_that_we_may_not_send_to_is_passed_over_in_a_group_and_ends_alone() {
        let closed = |job: &JobId| {
            let (to, answer) = ("main".to_owned(), Answer::Closed { reason: "it may not receive".to_owned() });
            Event::Answered { job: job.clone(), to, answer }
        };
        let (mut node, job, _) = delivering(group());
        assert_eq!(told(&node.handle(closed(&job), at(1))).len(), 1, "it keeps its turn");
        assert_eq!(told(&node.handle(Event::Tick, at(11))), ["send main"]);
        let passed = told(&node.handle(closed(&job), at(12)));
        assert!(passed[0].contains("it may not receive; standby is tried in its place"), "{passed:?}");
        assert_eq!(passed[1], "send standby");
        let (mut node, job, _) = delivering(Order { destinations: vec!["main".to_owned()], ..Order::default() });
        let ended = told(&node.handle(closed(&job), at(1)));
        assert_eq!(ended, ["delivery to main ended: it may not receive; the job has failed and waits for an operator"]);
    }

    #[test]
    fn a_pipeline_that_delivers_nothing_promises_no_return() {
        let series = crate::dicom::SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        };
        let sender = || Some(Sender { peer: Some("pacs".to_owned()), note: String::new() });
        let queued = |destinations: &[&str]| {
            let destinations = destinations.iter().map(|to| (*to).to_owned()).collect();
            let order = Order { destinations, sender: sender(), ..Order::default() };
            crate::node::jobs::describe_queued_alone(&new_job(
                JobId::derived(&series, "p", []),
                &series,
                1,
                order,
                at(0),
            ))
        };
        assert_eq!(queued(&["pacs"]), "queued; the results go back to pacs");
        assert_eq!(queued(&[]), "queued", "a pipeline in shadow knows its sender, for the dialect");
    }

    #[test]
    fn what_was_to_go_back_to_nobody_ends_with_the_reason() {
        let sender = Some(Sender::nobody("its images came from several senders: A, B"));
        let destinations = vec![SENDER.to_owned()];
        let (node, _, effects) = delivering(Order { destinations, sender, ..Order::default() });
        let expected = "delivery to sender ended: its images came from several senders: A, B; the job has failed and \
                        waits for an operator";
        assert_eq!(told(&effects), [expected]);
        assert!(node.is_idle());
    }
}
