//! Retrievals as values: what is asked when, how often, and what follows from the answers.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::dicom::AeTitle;
use crate::job::RetryPolicy;
use crate::node::{
    Assessment, Counted, Event, InputRules, Order, Placed, Restored, Settings, SlotRule, Source, Stored,
};
use crate::pipeline::{Completeness, Frame, FromStudy, Picking, Same};

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

fn key(series: &str) -> SeriesKey {
    SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid(series) }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn settings(ask: Option<&str>) -> Settings {
    Settings {
        waiting: Vec::new(),
        waiting_default: Completeness::default(),
        ask: Vec::new(),
        ask_default: ask.map(str::to_owned),
        workers: 1,
        runs_max: 3,
        retry: BTreeMap::new(),
        retry_default: RetryPolicy { initial_s: 10.0, multiplier: 1.0, max_s: 10.0, max_age_s: 10_000.0 },
        verify: BTreeMap::new(),
    }
}

fn stored(series: &str, slice: u32) -> Event {
    let title = |text: &str| text.parse::<AeTitle>().expect("a title");
    Event::Stored(Stored {
        series: key(series),
        sop_instance_uid: uid(&format!("{series}.{slice}")),
        digest: "d".to_owned(),
        size_bytes: 1,
        calling_ae: title("CT"),
        called_ae: title("CONTOURD"),
        association: 1,
        received_at: at(0),
        placed: Some(Placed { position_mm: f64::from(slice), ..Placed::default() }),
    })
}

fn slot(name: &str, optional: bool) -> SlotRule {
    let fetch = Fetch {
        from: "pacs".to_owned(),
        study: FromStudy::Same,
        modality: Some("MR".to_owned()),
        description: None,
        instances_min: 1,
        within_days: None,
        series_max: 4,
        after_s: 30.0,
    };
    SlotRule {
        name: name.to_owned(),
        primary: name == "ct",
        optional,
        wait_s: 1_000.0,
        picking: Picking::default(),
        frame: Frame::Same,
        drawn_on: None,
        structures: false,
        fetch: (name == "mr").then_some(fetch),
    }
}

/// The assessment of a series that fills a slot of a pipeline of "ct" and "mr".
fn assessment(fills: &str, optional: bool) -> Assessment {
    let slots = vec![slot("ct", false), slot("mr", optional)];
    let order = Order {
        pipeline: "p".to_owned(),
        digest: "d".to_owned(),
        fills: vec![fills.to_owned()],
        inputs: InputRules { same: Same::Study, slots, settle_s: 60.0 },
        ..Order::default()
    };
    let source = Source { frame_of_reference_uid: Some(uid("1.5")), ..Source::default() };
    Assessment { orders: vec![order], sources: vec![source], ..Assessment::default() }
}

struct World {
    node: Node,
    now: i64,
    notes: Vec<String>,
    records: Vec<Retrieval>,
    jobs: usize,
}

impl World {
    fn new() -> World {
        World { node: Node::new(settings(None)), now: 0, notes: Vec::new(), records: Vec::new(), jobs: 0 }
    }

    /// Tells the node, and says what it wants to have fetched, and which series are to be assessed.
    fn tell(&mut self, event: Event) -> (Vec<Retrieval>, Vec<(SeriesKey, u32)>) {
        let (mut fetched, mut assess) = (Vec::new(), Vec::new());
        for effect in self.node.handle(event, at(self.now)) {
            match effect {
                Effect::Retrieve(retrieval) => {
                    assert_eq!(self.records.last(), Some(&*retrieval), "recorded before");
                    fetched.push(*retrieval);
                }
                Effect::Assess { series, revision, .. } => assess.push((series, revision)),
                Effect::Record(Record::Retrieval(retrieval)) => self.records.push(*retrieval),
                Effect::Record(Record::History { text, .. }) => self.notes.push(text),
                Effect::Infer { .. } => self.jobs += 1,
                _ => {}
            }
        }
        (fetched, assess)
    }

    fn pass(&mut self, seconds: i64) -> Vec<Retrieval> {
        self.now += seconds;
        self.tell(Event::Tick).0
    }

    /// A series of five slices comes and is assessed.
    fn bring(&mut self, series: &str, fills: &str, optional: bool) {
        self.bring_as(series, assessment(fills, optional));
    }

    fn bring_as(&mut self, series: &str, assessment: Assessment) {
        for slice in 0..5 {
            self.tell(stored(series, slice));
        }
        self.tell(Event::Closed { association: 1, released: true });
        self.now += 10;
        let (_, assess) = self.tell(Event::Tick);
        let (series, revision) = assess.into_iter().next().expect("it is complete");
        self.tell(Event::Assessed { series, revision, assessment: Box::new(assessment) });
    }

    fn answer(&mut self, retrieval: &Retrieval, said: Retrieved) -> Vec<Retrieval> {
        self.tell(Event::Retrieved { id: retrieval.id.clone(), said }).0
    }

    fn told(&self, what: &str) -> bool {
        self.notes.iter().any(|note| note.contains(what))
    }
}

fn none() -> Retrieved {
    Retrieved::Done { report: Vec::new(), remark: "3 series of the study were looked at".to_owned() }
}

fn came(series: &str, here: usize) -> Retrieved {
    let report = vec![SeriesReport { series: key(series), wanted: here, here, brought: true, note: String::new() }];
    Retrieved::Done { report, remark: String::new() }
}

#[test]
fn a_missing_input_is_asked_for_once_and_what_came_of_it_is_told() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    assert!(world.pass(29).is_empty(), "it may come by itself");
    let asked = world.pass(1);
    let [one] = asked.as_slice() else { panic!("asked once: {asked:?}") };
    assert!(matches!(&one.what, Asked::Slot { slot, of, .. } if slot == "mr" && *of == key("1.3")));
    assert!(world.told("p: waits for mr, which is being fetched from pacs"), "{:?}", world.notes);
    assert!(world.answer(one, none()).is_empty());
    assert!(world.told("p: pacs has no series for mr; 3 series of the study were looked at"), "{:?}", world.notes);
    assert!(world.told("p: waits for mr, of which pacs has none that fits"), "{:?}", world.notes);
    for _ in 0..10 {
        assert!(world.pass(10_000).is_empty(), "never in a loop");
    }
    assert!(world.answer(one, none()).is_empty(), "the answer comes twice");
    // Sent again by an operator, it is looked at anew.
    world.bring("1.3", "ct", false);
    let again = world.pass(30);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].id, one.id);
    assert_eq!(world.jobs, 0);
}

#[test]
fn what_was_fetched_is_waited_for_on_its_way() {
    let mut world = World::new();
    world.bring("1.3", "ct", true);
    let asked = world.pass(30);
    assert_eq!(asked.len(), 1, "an optional input is asked for too");
    world.answer(&asked[0], came("1.4", 5));
    world.pass(1);
    assert_eq!(world.jobs, 0, "its instances are still on their way to the node");
    world.bring("1.4", "mr", true);
    assert_eq!(world.jobs, 1, "{:?}", world.notes);
    assert!(world.told("fetched from pacs: 5 of 5 instances are here"), "{:?}", world.notes);
}

#[test]
fn an_optional_input_waits_for_the_answer_and_not_longer() {
    let mut world = World::new();
    world.bring("1.3", "ct", true);
    let asked = world.pass(30);
    world.pass(1_500);
    assert_eq!(world.jobs, 0, "beyond wait_s");
    world.answer(&asked[0], none());
    assert_eq!(world.jobs, 1, "{:?}", world.notes);
}

#[test]
fn what_came_and_does_not_fit_is_told() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    world.answer(&asked[0], came("1.4", 5));
    world.pass(100);
    assert!(world.told("waits for mr: a series came from pacs, and none fits"), "{:?}", world.notes);
}

#[test]
fn a_peer_that_is_away_is_tried_within_bounds() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let mut asked = world.pass(30);
    let mut attempts = 0;
    while let Some(one) = asked.pop() {
        attempts += 1;
        assert_eq!(one.attempts, attempts);
        let again = Retrieved::Again { reason: "away".to_owned(), report: Vec::new() };
        assert!(world.answer(&one, again).is_empty(), "not at once");
        assert!(world.pass(9).is_empty());
        asked = world.pass(1);
    }
    assert_eq!(attempts, RETRIEVAL_ATTEMPTS_MAX);
    assert!(world.told("(attempt 1 failed: away)"), "{:?}", world.notes);
    assert!(world.told("could not be fetched from pacs: given up after 6 attempts: away"), "{:?}", world.notes);
    assert!(world.pass(100_000).is_empty());
}

#[test]
fn a_restart_begins_again_what_was_under_way_and_nothing_that_has_ended() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    let running = world.records.last().cloned().expect("recorded");
    assert_eq!((running.state.clone(), running.attempts), (RetrievalState::Running, 1));
    let restore = |retrieval: &Retrieval| {
        let restored = Restored { retrievals: vec![retrieval.clone()], ..Restored::default() };
        let (_, effects) = Node::restore(settings(None), restored, at(100));
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Retrieve(retrieval) => Some(retrieval.attempts),
                _ => None,
            })
            .collect::<Vec<u32>>()
    };
    assert_eq!(restore(&running), [2]);
    assert_eq!(restore(&Retrieval { attempts: RETRIEVAL_ATTEMPTS_MAX, ..running.clone() }), Vec::<u32>::new());
    world.answer(&asked[0], none());
    assert_eq!(restore(world.records.last().expect("recorded")), Vec::<u32>::new());
}

#[test]
fn a_series_that_was_fetched_asks_for_nothing_itself() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    // Another primary series comes instead of what was wanted, and is the newest.
    world.answer(&asked[0], came("1.9", 5));
    for slice in 0..5 {
        world.tell(stored("1.9", slice));
    }
    world.tell(Event::Closed { association: 1, released: true });
    world.now += 10;
    let (_, assess) = world.tell(Event::Tick);
    let (series, revision) = assess.into_iter().next().expect("it is complete");
    let mut newer = assessment("ct", false);
    newer.sources[0].series_date = "20260101000000.000000".to_owned();
    world.tell(Event::Assessed { series, revision, assessment: Box::new(newer) });
    assert!(world.pass(1_000).is_empty(), "{:?}", world.notes);
    assert!(world.told("1.9 was fetched itself"), "{:?}", world.notes);
}

#[test]
fn an_operator_is_asked_once_and_told_the_end() {
    let mut world = World::new();
    let what = Asked::Series { study: uid("1.2"), series: vec![uid("1.3")] };
    let mut one = Retrieval::new(uid("1.7"), "pacs".to_owned(), what, at(0));
    one.state = RetrievalState::Asked;
    let (begun, _) = world.tell(Event::RetrievalAsked(Box::new(one.clone())));
    assert_eq!(begun.len(), 1);
    assert!(world.tell(Event::RetrievalAsked(Box::new(one))).0.is_empty(), "read from the ledger a second time");
    let report =
        vec![SeriesReport { series: key("1.3"), wanted: 9, here: 7, brought: true, note: "2 failed".to_owned() }];
    world.answer(&begun[0], Retrieved::Never { reason: "it refuses".to_owned(), report });
    assert!(world.told("fetched from pacs: 7 of 9 instances are here; 2 failed"), "{:?}", world.notes);
    let last = world.records.last().expect("recorded");
    assert!(matches!(&last.state, RetrievalState::Failed { cause, .. } if cause == "it refuses"));
}

/// The questions about counts, and the series that are to be assessed.
fn tell(node: &mut Node, event: Event, now: i64) -> (Vec<u32>, usize, Vec<String>) {
    let (mut questions, mut assess, mut notes) = (Vec::new(), 0, Vec::new());
    for effect in node.handle(event, at(now)) {
        match effect {
            Effect::Count { question, from, .. } => {
                assert_eq!(from, "pacs");
                questions.push(question);
            }
            Effect::Assess { .. } => assess += 1,
            Effect::Record(Record::History { text, .. }) => notes.push(text),
            _ => {}
        }
    }
    (questions, assess, notes)
}

#[test]
fn a_source_that_has_more_makes_a_series_wait() {
    let mut node = Node::new(settings(Some("pacs")));
    for slice in 0..5 {
        tell(&mut node, stored("1.3", slice), 0);
    }
    tell(&mut node, Event::Closed { association: 1, released: true }, 0);
    assert_eq!(tell(&mut node, Event::Tick, 10).0, [1]);
    assert_eq!(tell(&mut node, Event::Tick, 11), (Vec::new(), 0, Vec::new()), "it waits for the answer");
    let counted = |question, said| Event::Counted { series: key("1.3"), question, said };
    let (_, assess, notes) = tell(&mut node, counted(1, Counted::Instances(6)), 12);
    assert_eq!(assess, 0);
    assert!(notes[0].contains("pacs has 6 instances of it, and 5 are here"), "{notes:?}");
    assert_eq!(tell(&mut node, Event::Tick, 60), (Vec::new(), 0, Vec::new()));
    tell(&mut node, stored("1.3", 5), 70);
    assert_eq!(tell(&mut node, Event::Tick, 80).0, [2], "another set of instances");
    let (_, assess, _) = tell(&mut node, counted(2, Counted::Instances(6)), 81);
    assert_eq!(assess, 1);
}

#[test]
fn what_a_source_has_more_is_held_and_taken_in_the_end() {
    let mut node = Node::new(settings(Some("pacs")));
    for slice in 0..5 {
        tell(&mut node, stored("1.3", slice), 0);
    }
    tell(&mut node, Event::Closed { association: 1, released: true }, 0);
    let counted = |question| Event::Counted { series: key("1.3"), question, said: Counted::Instances(6) };
    tell(&mut node, Event::Tick, 10);
    tell(&mut node, counted(1), 10);
    assert_eq!(tell(&mut node, Event::Tick, 120).0, [2], "once more before it is held");
    let (_, _, notes) = tell(&mut node, counted(2), 121);
    assert!(notes.iter().any(|note| note.starts_with("held: 5 of 6") && note.ends_with("asked of pacs")), "{notes:?}");
    let (questions, assess, _) = tell(&mut node, Event::Tick, 900);
    assert_eq!((questions, assess), (Vec::new(), 1), "an archive may tell a wrong number");
}

#[test]
fn a_source_that_does_not_answer_changes_nothing_but_is_told() {
    let mut node = Node::new(settings(Some("pacs")));
    for slice in 0..5 {
        tell(&mut node, stored("1.3", slice), 0);
    }
    tell(&mut node, Event::Closed { association: 1, released: true }, 0);
    tell(&mut node, Event::Tick, 10);
    let said = Counted::Unknown { reason: "away".to_owned() };
    let (_, assess, notes) = tell(&mut node, Event::Counted { series: key("1.3"), question: 1, said }, 11);
    assert_eq!(assess, 1);
    assert!(notes[0].contains("pacs did not say") && notes[0].ends_with("away"), "{notes:?}");
}

#[test]
fn an_input_that_the_primary_series_would_fill_too_is_fetched() {
    for optional in [false, true] {
        let mut world = World::new();
        let mut both = assessment("ct", optional);
        both.orders[0].fills = vec!["ct".to_owned(), "mr".to_owned()];
        world.bring_as("1.3", both.clone());
        let asked = world.pass(30);
        assert_eq!(asked.len(), 1, "one series cannot fill two inputs: {:?}", world.notes);
        world.answer(&asked[0], came("1.4", 5));
        assert_eq!(world.jobs, 0);
        world.bring("1.4", "mr", optional);
        assert_eq!(world.jobs, 1, "{:?}", world.notes);
    }
}

#[test]
fn a_series_that_cannot_stand_beside_the_primary_does_not_keep_another_from_being_fetched() {
    let mut world = World::new();
    let mut apart = assessment("mr", false);
    apart.sources[0].frame_of_reference_uid = Some(uid("1.6"));
    world.bring_as("1.4", apart);
    world.bring("1.3", "ct", false);
    assert_eq!(world.pass(30).len(), 1, "{:?}", world.notes);
}

#[test]
fn a_primary_that_was_removed_and_is_sent_again_asks_again() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    world.answer(&asked[0], none());
    world.now += 86_400;
    world.tell(Event::Expire { before: at(world.now - 100), committed_before: None });
    world.tell(Event::Removed { series: key("1.3") });
    world.bring("1.3", "ct", false);
    let again = world.pass(30);
    assert_eq!(again.len(), 1, "{:?}", world.notes);
    assert_ne!(again[0].id, asked[0].id);
}

#[test]
fn a_series_that_comes_before_the_retrieval_ends_asks_for_nothing() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    // The first of several is whole before the others have come.
    let mut newer = assessment("ct", false);
    newer.sources[0].series_date = "20260101000000.000000".to_owned();
    world.bring_as("1.9", newer);
    assert!(world.pass(1_000).is_empty(), "{:?}", world.notes);
    assert!(world.told("not known yet whether 1.9 is fetched itself"), "{:?}", world.notes);
    world.answer(&asked[0], came("1.9", 5));
    assert!(world.pass(1_000).is_empty(), "{:?}", world.notes);
    assert!(world.told("1.9 was fetched itself"), "{:?}", world.notes);
}

#[test]
fn a_series_that_was_here_before_was_not_fetched() {
    let mut world = World::new();
    world.bring("1.3", "ct", false);
    let asked = world.pass(30);
    let mut newer = assessment("ct", false);
    newer.sources[0].series_date = "20260101000000.000000".to_owned();
    world.bring_as("1.9", newer);
    let report = vec![SeriesReport { series: key("1.9"), wanted: 5, here: 5, brought: false, note: String::new() }];
    let said = Retrieved::Done { report, remark: String::new() };
    let begun = world.answer(&asked[0], said);
    assert!(world.told("looked for at pacs: 5 of 5 instances are here"), "{:?}", world.notes);
    assert_eq!(begun.len() + world.pass(100).len(), 1, "it asks for itself: {:?}", world.notes);
}

#[test]
fn an_optional_input_of_a_peer_that_is_away_holds_nothing_back_for_long() {
    let mut world = World::new();
    world.bring("1.3", "ct", true);
    let asked = world.pass(30);
    world.answer(&asked[0], Retrieved::Again { reason: "away".to_owned(), report: Vec::new() });
    let mut begun = world.pass(1_000);
    assert_eq!((begun.len(), world.jobs), (1, 0));
    begun = world.answer(&begun[0].clone(), Retrieved::Again { reason: "away".to_owned(), report: Vec::new() });
    assert!(begun.is_empty());
    world.pass(crate::limits::FETCH_OPTIONAL_S);
    assert_eq!(world.jobs, 1, "{:?}", world.notes);
}

#[test]
fn to_wait_for_a_place_or_for_an_orderly_restart_is_no_attempt() {
    let mut world = World::new();
    let one = |number: i64| {
        let what = Asked::Series { study: uid("1.2"), series: Vec::new() };
        Retrieval::new(uid(&format!("1.7.{number}")), "pacs".to_owned(), what, at(number))
    };
    world.now = 10;
    assert_eq!(world.tell(Event::RetrievalAsked(Box::new(one(2)))).0.len(), 1);
    assert!(world.tell(Event::RetrievalAsked(Box::new(one(1)))).0.is_empty(), "one at a time from a peer");
    let mut elsewhere = one(3);
    elsewhere.from = "other".to_owned();
    assert_eq!(world.tell(Event::RetrievalAsked(Box::new(elsewhere))).0.len(), 1);
    let waiting = world.records.iter().rev().find(|record| record.id == uid("1.7.1")).expect("recorded");
    assert_eq!(waiting.attempts, 0);
    world.tell(Event::Stopping);
    let put_back: Vec<&Retrieval> = world.records.iter().rev().take(2).collect();
    assert!(put_back.iter().all(|one| matches!(one.state, RetrievalState::Pending { .. }) && one.attempts == 0));
    let mut world = World::new();
    world.now = 10;
    let begun = world.tell(Event::RetrievalAsked(Box::new(one(2)))).0;
    world.tell(Event::RetrievalAsked(Box::new(one(1))));
    let next = world.answer(&begun[0], none());
    assert_eq!(next.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [uid("1.7.1")], "the place is free");
}
