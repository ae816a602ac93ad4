//! Storage commitment and verified delivery in the node, without a socket or a clock.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::job::{
    Delivery, DeliveryState, Job, JobId, JobState, ProducedObject, RetryPolicy, Run, Verification, VerifyBy,
};
use crate::node::{Confirmation, Event, Question, Restored, Settings, Stored};
use crate::pipeline::Completeness;

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

fn title(text: &str) -> AeTitle {
    text.parse().expect("a title")
}

fn series() -> SeriesKey {
    SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") }
}

fn reference(instance: &str) -> Reference {
    Reference { sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"), sop_instance_uid: uid(instance) }
}

fn settings() -> Settings {
    let retry = RetryPolicy { initial_s: 10.0, multiplier: 2.0, max_s: 100.0, max_age_s: 1_000.0 };
    let verify = [
        ("pacs".to_owned(), Verification { by: VerifyBy::Find, within_s: 60.0 }),
        ("vna".to_owned(), Verification { by: VerifyBy::Commitment, within_s: 60.0 }),
    ];
    Settings {
        waiting: Vec::new(),
        waiting_default: Completeness::default(),
        ask: Vec::new(),
        ask_default: None,
        workers: 1,
        runs_max: 3,
        retry: BTreeMap::new(),
        retry_default: retry,
        verify: verify.into(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn stored(instance: &str) -> Event {
    Event::Stored(Stored {
        series: series(),
        sop_instance_uid: uid(instance),
        digest: "d".to_owned(),
        size_bytes: 1,
        calling_ae: title("CT"),
        called_ae: title("CONTOURD"),
        association: 1,
        received_at: at(0),
        placed: None,
    })
}

fn ask(token: u64, instances: &[&str], known: Option<&Commitment>) -> Event {
    Event::CommitmentAsked(Box::new(CommitmentAsked {
        token,
        peer: title("CT"),
        name: "ct".to_owned(),
        called: title("CONTOURD"),
        association: 1,
        transaction_uid: uid("1.9"),
        references: instances.iter().map(|instance| reference(instance)).collect(),
        known: known.map(|known| Box::new(known.clone())),
    }))
}

/// What the node asks for, a word or two for each effect; history and series are left out.
fn told(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Record(Record::Commitment(commitment)) => Some(format!("record {}", commitment.state.name())),
        Effect::Record(Record::Job(job)) => Some(format!("record {}", job.deliveries[0].state.name())),
        Effect::Record(_) | Effect::Assess { .. } => None,
        Effect::Reply { token, outcome } => Some(format!("reply {token} {:?}", outcome.status().0)),
        Effect::Check { .. } => Some("check".to_owned()),
        Effect::Report { commitment } => {
            let report = commitment.report();
            Some(format!("report {} committed, {} failed", report.committed.len(), report.failed.len()))
        }
        Effect::Send { to, .. } => Some(format!("send {to}")),
        Effect::Verify { to, question: Question::Find, .. } => Some(format!("find at {to}")),
        Effect::Verify { to, .. } => Some(format!("ask {to} to commit")),
        _ => Some("other".to_owned()),
    };
    effects.iter().filter_map(word).collect()
}

fn key() -> CommitmentKey {
    (title("CT"), uid("1.9"))
}

fn records(effects: &[Effect]) -> Vec<Commitment> {
    let record = |effect: &Effect| match effect {
        Effect::Record(Record::Commitment(commitment)) => Some((**commitment).clone()),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}

#[test]
fn a_request_is_recorded_answered_checked_and_reported() {
    let mut node = Node::new(settings());
    node.handle(stored("1.4.1"), at(0));
    let effects = node.handle(ask(7, &["1.4.1", "1.4.2", "1.4.3"], None), at(1));
    assert_eq!(told(&effects), ["record asked", "reply 7 0x0000", "check"], "durable before it is answered");
    assert!(told(&node.handle(Event::Tick, at(2))).is_empty(), "once");
    // The third was found on disk and is not known any more: it is being removed.
    let looked = vec![Ok(vec![series()]), Err(FailureReason::NO_SUCH_OBJECT_INSTANCE), Ok(vec![series()])];
    let effects = node.handle(Event::CommitmentChecked { key: key(), looked }, at(3));
    assert_eq!(told(&effects), ["record checked", "report 1 committed, 2 failed"]);
    let answer = Answer::Again { reason: "away".to_owned() };
    assert_eq!(
        told(&node.handle(Event::CommitmentReported { key: key(), answer }, at(4))),
        ["record checked"],
        "tried again later"
    );
    assert!(told(&node.handle(Event::Tick, at(13))).is_empty());
    assert_eq!(told(&node.handle(Event::Tick, at(15))), ["report 1 committed, 2 failed"]);
    let answer = Answer::Sent { remark: String::new() };
    let effects = node.handle(Event::CommitmentReported { key: key(), answer }, at(16));
    assert_eq!(told(&effects), ["record reported"]);
    assert!(told(&node.handle(Event::Tick, at(2_000))).is_empty());
}

#[test]
fn the_same_request_again_has_the_same_answer_and_another_under_its_uid_is_refused() {
    let mut node = Node::new(settings());
    node.handle(stored("1.4.1"), at(0));
    node.handle(ask(1, &["1.4.1"], None), at(1));
    assert_eq!(told(&node.handle(ask(2, &["1.4.1"], None), at(2))), ["reply 2 0x0000"], "it is under way");
    assert_eq!(told(&node.handle(ask(3, &["1.4.2"], None), at(2))), ["reply 3 0x0131"]);
    node.handle(Event::CommitmentChecked { key: key(), looked: vec![Ok(vec![series()])] }, at(3));
    let answer = Answer::Sent { remark: String::new() };
    let done = records(&node.handle(Event::CommitmentReported { key: key(), answer }, at(4))).remove(0);
    assert_eq!(
        told(&node.handle(ask(4, &["1.4.1"], Some(&done)), at(5))),
        ["record asked", "reply 4 0x0000", "check"],
        "reported anew"
    );
    node.handle(ask(6, &["1.4.1"], Some(&done)), at(6));
    let mut of_another = ask(7, &["1.4.1"], Some(&done));
    if let Event::CommitmentAsked(asked) = &mut of_another {
        asked.name = "ct-b".to_owned();
    }
    assert_eq!(told(&node.handle(of_another, at(6))), ["reply 7 0x0131"], "its report goes to the peer that asked");
    let mut later = Node::new(settings());
    assert_eq!(told(&later.handle(ask(5, &["1.4.2"], Some(&done)), at(5))), ["reply 5 0x0131"]);
}

#[test]
fn a_report_goes_on_after_a_restart_and_is_given_up_in_the_end() {
    let mut node = Node::new(settings());
    node.handle(stored("1.4.1"), at(0));
    let asked = records(&node.handle(ask(1, &["1.4.1"], None), at(1)));
    let restore = |commitments: Vec<Commitment>, now| {
        let restored = Restored { commitments, ..Restored::default() };
        Node::restore(settings(), restored, now)
    };
    let (_, effects) = restore(asked, at(2));
    assert_eq!(told(&effects), ["check"], "a check that a crash took is made again");
    let checked =
        records(&node.handle(Event::CommitmentChecked { key: key(), looked: vec![Ok(vec![series()])] }, at(3)));
    let (mut node, effects) = restore(checked, at(100));
    assert_eq!(told(&effects), ["report 1 committed, 0 failed"]);
    let again = || Answer::Again { reason: "away".to_owned() };
    let answer = Answer::Refused { reason: "0110".to_owned() };
    let effects = node.handle(Event::CommitmentReported { key: key(), answer }, at(101));
    assert_eq!(told(&effects), ["record checked"], "a refusal too is tried again");
    node.handle(Event::Tick, at(1_100));
    let effects = node.handle(Event::CommitmentReported { key: key(), answer: again() }, at(1_100));
    assert_eq!(told(&effects), ["record given up"]);
    assert!(records(&effects)[0].last_reason.contains("given up after 2 attempts: away"));
}

#[test]
fn every_series_that_holds_an_instance_is_kept() {
    let mut node = Node::new(settings());
    let other = SeriesKey { series_instance_uid: uid("1.33"), ..series() };
    node.handle(stored("1.4.1"), at(0));
    if let Event::Stored(mut twin) = stored("1.4.1") {
        twin.series = other.clone();
        node.handle(Event::Stored(twin), at(0));
    }
    node.handle(ask(1, &["1.4.1"], None), at(1));
    let gone = SeriesKey { series_instance_uid: uid("1.34"), ..series() };
    let looked = vec![Ok(vec![series(), other.clone(), gone])];
    let effects = node.handle(Event::CommitmentChecked { key: key(), looked }, at(2));
    let marked = effects.iter().filter_map(|effect| match effect {
        Effect::Record(Record::Series(record)) if record.committed_at == Some(at(2)) => Some(record.series.clone()),
        _ => None,
    });
    assert_eq!(marked.collect::<Vec<_>>(), [series(), other]);
}

#[test]
fn too_much_at_a_time_is_refused_for_now() {
    let mut node = Node::new(settings());
    let mut taken = |number: usize, name: &str| {
        let mut event = ask(number as u64, &["1.4.1"], None);
        if let Event::CommitmentAsked(asked) = &mut event {
            (asked.transaction_uid, asked.name) = (uid(&format!("1.9.{number}")), name.to_owned());
        }
        let answer = told(&node.handle(event, at(1)));
        let ends = |status: &str| answer.iter().any(|told| told.ends_with(status));
        assert!(ends("0x0000") != ends("0x0213"), "{number}: {answer:?}");
        ends("0x0000")
    };
    for number in 0..=COMMITMENTS_OPEN_EACH_MAX {
        assert_eq!(taken(number, "ct"), number < COMMITMENTS_OPEN_EACH_MAX, "the share of one peer");
    }
    for number in COMMITMENTS_OPEN_EACH_MAX..=COMMITMENTS_OPEN_MAX {
        let name = format!("peer {}", number / COMMITMENTS_OPEN_EACH_MAX);
        assert_eq!(taken(number, &name), number < COMMITMENTS_OPEN_MAX, "the share of all");
    }
}

#[test]
fn what_was_committed_outlasts_the_retention_time() {
    let gone = |committed: bool, committed_before: Option<Timestamp>| {
        let mut node = Node::new(settings());
        node.handle(stored("1.4.1"), at(0));
        for second in 0..1_000 {
            let effects = node.handle(Event::Tick, at(second));
            for effect in effects {
                if let Effect::Assess { series, revision, .. } = effect {
                    let assessment = Box::default();
                    node.handle(Event::Assessed { series, revision, assessment }, at(second));
                }
            }
        }
        if committed {
            node.handle(ask(1, &["1.4.1"], None), at(1_000));
            node.handle(Event::CommitmentChecked { key: key(), looked: vec![Ok(vec![series()])] }, at(1_001));
        }
        let effects = node.handle(Event::Expire { before: at(5_000), committed_before }, at(10_000));
        effects.iter().any(|effect| matches!(effect, Effect::Remove { .. }))
    };
    assert!(gone(false, None));
    assert!(!gone(true, None), "for ever, unless the site says how long");
    assert!(!gone(true, Some(at(900))));
    assert!(gone(true, Some(at(2_000))));
}

/// A job with one destination, about to be sent.
fn sending(to: &str) -> (Node, JobId) {
    let id = JobId::derived(&series(), to, []);
    let object = ProducedObject {
        file: "RS.dcm".to_owned(),
        kind: "rtstruct".to_owned(),
        sop_instance_uid: Some(uid("1.7.1")),
        label: None,
        dialect: None,
        to: None,
    };
    let delivery = Delivery::new(to.to_owned(), None, at(0));
    let job = Job {
        id: id.clone(),
        series: series(),
        series_revision: 1,
        instances: Vec::new(),
        inputs: Vec::new(),
        pipeline: "p".to_owned(),
        pipeline_revision: 1,
        pipeline_source: String::new(),
        models: BTreeMap::new(),
        dialects: Vec::new(),
        sender: None,
        predecessors: Vec::new(),
        reasons: Vec::new(),
        created_at: at(0),
        not_before: at(0),
        started_at: None,
        state: JobState::Delivering,
        runs: 1,
        deliveries: vec![delivery],
        run: Some(Run { objects: vec![object], files: vec!["RS.dcm".to_owned()], ..Run::default() }),
    };
    let (mut node, effects) = Node::restore(settings(), Restored { jobs: vec![job], ..Restored::default() }, at(0));
    assert_eq!(told(&effects), [format!("send {to}")]);
    let answer = Answer::Sent { remark: String::new() };
    let effects = node.handle(Event::Answered { job: id.clone(), to: to.to_owned(), answer }, at(1));
    assert_eq!(told(&effects)[0], "record unverified", "recorded before it is asked");
    (node, id)
}

#[test]
fn find_looks_for_a_while_then_sends_again() {
    let (mut node, job) = sending("pacs");
    let mut say = |said: Confirmation, second| {
        let (job, to, question) = (job.clone(), "pacs".to_owned(), Question::Find);
        told(&node.handle(Event::Confirmed { job, to, question, said }, at(second)))
    };
    let not = || Confirmation::HasNot { reason: "it does not show 1.7.1".to_owned() };
    assert_eq!(say(not(), 2), ["record unverified"], "it may be filing");
    assert_eq!(say(not(), 70), ["record pending"], "too long: sent again");
    let effects = told(&node.handle(Event::Tick, at(100)));
    assert_eq!(effects, ["send pacs"]);
    let answer = Answer::Sent { remark: String::new() };
    let effects = node.handle(Event::Answered { job: job.clone(), to: "pacs".to_owned(), answer }, at(101));
    assert_eq!(told(&effects), ["record unverified", "find at pacs"]);
    let (to, question, said) = ("pacs".to_owned(), Question::Find, Confirmation::Has);
    let effects = node.handle(Event::Confirmed { job, to, question, said }, at(102));
    assert_eq!(told(&effects), ["record delivered"]);
    assert!(node.is_idle());
}

#[test]
fn a_destination_that_cannot_be_asked_parks_the_delivery_with_the_cause() {
    let (mut node, job) = sending("pacs");
    let said = Confirmation::Never { reason: "it does not offer C-FIND".to_owned() };
    let (to, question) = ("pacs".to_owned(), Question::Find);
    let effects = node.handle(Event::Confirmed { job, to, question, said }, at(2));
    let failed = effects.iter().find_map(|effect| match effect {
        Effect::Record(Record::Job(job)) => Some(job.state.clone()),
        _ => None,
    });
    let cause = "not delivered to pacs: sent, but it cannot be verified: it does not offer C-FIND".to_owned();
    assert_eq!(failed, Some(JobState::Failed { cause }));
}

/// The transaction in which the destination is asked.
fn transaction(node: &Node, job: &JobId) -> Uid {
    let delivery = &node.jobs().find(|known| known.id == *job).expect("the job").deliveries[0];
    let DeliveryState::Sent(sent) = &delivery.state else { panic!("found {:?}", delivery.state) };
    sent.transaction.clone().expect("a transaction")
}

fn report(transaction_uid: &Uid, failed: bool) -> Box<CommitmentReport> {
    let object = Reference { sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.481.3"), sop_instance_uid: uid("1.7.1") };
    let (mut committed, mut failures) = (vec![object.clone()], Vec::new());
    if failed {
        committed.clear();
        failures.push(Failed { reference: object, reason: FailureReason::NO_SUCH_OBJECT_INSTANCE });
    }
    Box::new(CommitmentReport { transaction_uid: transaction_uid.clone(), committed, failed: failures })
}

#[test]
fn a_report_on_another_association_decides() {
    let (mut node, job) = sending("vna");
    let first = transaction(&node, &job);
    let peers = || vec!["vna".to_owned(), "other".to_owned()];
    let tell = |node: &mut Node, token: u64, report: Box<CommitmentReport>, second: i64| {
        told(&node.handle(Event::ReportReceived { token, peers: peers(), report }, at(second)))
    };
    assert_eq!(tell(&mut node, 1, report(&uid("1.9.9"), false), 2), ["reply 1 0x0115"], "nobody's transaction");
    let stranger = Event::ReportReceived { token: 2, peers: vec!["other".to_owned()], report: report(&first, false) };
    assert_eq!(told(&node.handle(stranger, at(2))), ["reply 2 0x0115"], "another peer's word");
    assert_eq!(tell(&mut node, 3, report(&first, true), 3), ["record pending", "reply 3 0x0000"]);
    assert_eq!(told(&node.handle(Event::Tick, at(20))), ["send vna"]);
    let answer = Answer::Sent { remark: String::new() };
    node.handle(Event::Answered { job: job.clone(), to: "vna".to_owned(), answer }, at(21));
    let second = transaction(&node, &job);
    assert_ne!(first, second, "each attempt has a transaction of its own");
    // The answer to the first question comes late and means nothing any more.
    let (question, said) = (Question::Commit { transaction: first.clone() }, Confirmation::Owes);
    let late = Event::Confirmed { job: job.clone(), to: "vna".to_owned(), question, said };
    assert_eq!(told(&node.handle(late, at(22))), ["ask vna to commit"]);
    assert_eq!(tell(&mut node, 4, report(&second, false), 23), ["record delivered", "reply 4 0x0000"]);
    assert_eq!(tell(&mut node, 5, report(&second, false), 24), ["reply 5 0x0000"], "a repeated report");
}

#[test]
fn a_report_confirms_nothing_that_the_record_of_the_run_does_not_name() {
    let unnamed: [fn(&mut Run); 2] = [|run| run.objects.clear(), |run| run.objects[0].sop_instance_uid = None];
    for change in unnamed {
        let (node, id) = sending("vna");
        let mut recorded = node.jobs().next().expect("the job").clone();
        change(recorded.run.as_mut().expect("a run"));
        let restored = Restored { jobs: vec![recorded], ..Restored::default() };
        let (mut node, _) = Node::restore(settings(), restored, at(2));
        let report = report(&transaction(&node, &id), false);
        let event = Event::ReportReceived { token: 1, peers: vec!["vna".to_owned()], report };
        assert_eq!(told(&node.handle(event, at(3))), ["record pending", "reply 1 0x0000"]);
    }
}

#[test]
fn a_report_that_does_not_come_is_no_delivery_and_a_restart_gives_it_time() {
    let (mut node, job) = sending("vna");
    let question = Question::Commit { transaction: transaction(&node, &job) };
    let (to, said) = ("vna".to_owned(), Confirmation::Owes);
    let effects = node.handle(Event::Confirmed { job: job.clone(), to, question, said }, at(2));
    assert_eq!(told(&effects), ["record unverified"]);
    let recorded = node.jobs().next().expect("the job").clone();
    assert!(told(&node.handle(Event::Tick, at(60))).is_empty());
    assert_eq!(told(&node.handle(Event::Tick, at(63))), ["record pending"]);
    let (mut node, effects) =
        Node::restore(settings(), Restored { jobs: vec![recorded], ..Restored::default() }, at(500));
    assert!(told(&effects).is_empty(), "it could not report while we were away");
    let known = transaction(&node, &job);
    let event = Event::ReportReceived { token: 1, peers: vec!["vna".to_owned()], report: report(&known, false) };
    assert_eq!(told(&node.handle(event, at(501))), ["record delivered", "reply 1 0x0000"]);
}
