//! Query/Retrieve as SCU against a scripted archive that answers right and wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contourd::deliver::{Outcome, dicom};
use contourd::dicom::{SeriesKey, Uid};
use contourd::receive::Notice;
use contourd::retrieve::{Door, Fetched, Patience, Series, Source, Way, fetch, series};
use contourd::spool::Spool;
use tokio::sync::{mpsc, watch};

use crate::archive::{Archive, Has, Step};
use crate::peer::*;
use crate::sending::destination;

const ONE: &str = "1.2.3.4.5";
const TWO: &str = "1.2.3.4.6";
const LISTED: Has = Has { series: &["1.2.3.4"], listed: &[ONE, TWO], told: Some(2) };

/// What became of the series, what the archive saw, what the loop was told.
struct Play {
    fetched: Fetched,
    log: Vec<String>,
    told: Vec<String>,
    here: BTreeSet<String>,
}

impl Play {
    fn trouble(&self) -> String {
        match &self.fetched.trouble {
            None => "none".to_owned(),
            Some(Outcome::Retry { reason, .. }) => format!("again: {reason}"),
            Some(Outcome::Refused { reason, .. }) => format!("never: {reason}"),
            Some(Outcome::Delivered { .. }) => "delivered".to_owned(),
        }
    }
}

fn key() -> SeriesKey {
    let uid = |text: &str| text.parse::<Uid>().expect("a legal UID");
    SeriesKey { study_instance_uid: uid("1.2.3"), series_instance_uid: uid("1.2.3.4") }
}

fn patience() -> Patience {
    let seconds = Duration::from_millis;
    Patience { stall: seconds(600), whole: seconds(3_000), cancel: seconds(600) }
}

fn run(way: Way, floor_bytes: u64, script: Vec<Step>) -> Play {
    run_with(way, floor_bytes, LISTED, script, None)
}

fn run_with(way: Way, floor_bytes: u64, has: Has, script: Vec<Step>, stop_after: Option<Duration>) -> Play {
    let archive = Archive::telling(has, script);
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(folder.path(), floor_bytes).expect("a storage folder");
    let source = Source {
        destination: dicom::Destination { response_timeout: Duration::from_secs(2), ..destination(archive.port) },
        way,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (notices, mut inbox) = mpsc::channel(64);
    let (stop, mut stopped) = watch::channel(false);
    let title = |text: &str| text.parse().expect("a title");
    let mut door = Door::new(Arc::clone(&spool), notices, (title("CT01"), title("PACS")), 1 << 20);
    let fetched = runtime.block_on(async {
        if let Some(after) = stop_after {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                stop.send_replace(true);
            });
        }
        let instances = has.told.map(|told| told as u32);
        let (modality, description, moment) = ("CT".to_owned(), String::new(), String::new());
        let one = Series { key: key(), modality, description, moment, instances };
        fetch(&source, &one, &mut door, patience(), &mut stopped).await
    });
    drop(door);
    let mut told = Vec::new();
    while let Ok(notice) = inbox.try_recv() {
        told.push(match notice {
            Notice::Stored(stored) => format!("{} from {}", stored.instance.sop_instance_uid, stored.calling_ae),
            Notice::Closed { released, .. } => format!("closed {released}"),
            _ => "another notice".to_owned(),
        });
    }
    let mut here = BTreeSet::new();
    let mut seen = |uid: &Uid| here.insert(uid.to_string());
    spool.scan(|listed| assert!(seen(&listed.sop_instance_uid))).expect("a spool that can be read");
    // The archive writes its last line when the association has ended.
    std::thread::sleep(Duration::from_millis(100));
    Play { fetched, log: archive.log(), told, here }
}

fn store(uid: &'static str) -> Step {
    Step::Store(uid, image(uid, 1))
}

#[test]
fn what_is_fetched_by_get_comes_through_the_same_door() {
    let play = run(Way::Get, 0, vec![store(ONE), Step::Pending(1, 1), store(TWO), Step::Final(0, 0)]);
    assert_eq!((play.fetched.wanted, play.fetched.here, play.trouble().as_str()), (2, 2, "none"));
    assert_eq!(play.log, ["asked get", "1.2.3.4.5 0000", "1.2.3.4.6 0000"]);
    assert_eq!(play.told, ["1.2.3.4.5 from PACS", "1.2.3.4.6 from PACS", "closed true"]);
    assert_eq!(play.here.len(), 2);
}

#[test]
fn an_instance_that_was_not_asked_for_is_refused() {
    let stranger = "1.2.3.4.99";
    let play = run(Way::Get, 0, vec![store(ONE), store(stranger), store(TWO), Step::Final(0xB000, 1)]);
    assert_eq!(play.log[2], "1.2.3.4.99 0124");
    assert!(!play.here.contains(stranger), "{:?}", play.here);
    assert_eq!(play.trouble(), "none", "all that was asked for is here");
    assert!(play.fetched.remarks[0].contains("0xB000"), "{:?}", play.fetched.remarks);
}

#[test]
fn bad_content_is_answered_as_from_any_sender() {
    let wrong = Step::Store(ONE, image("1.2.3.4.77", 1));
    let half = Step::Store(TWO, image(TWO, 1)[..300].to_vec());
    let play = run(Way::Get, 0, vec![wrong, half, Step::Final(0xB000, 2)]);
    assert_eq!(play.log[1..], ["1.2.3.4.5 A900", "1.2.3.4.6 C001"]);
    assert_eq!((play.here.len(), play.fetched.here), (0, 0));
    assert!(play.trouble().starts_with("never: 2 of 2 instances did not come"), "{}", play.trouble());
    assert!(play.trouble().contains("2 of them were refused here"), "{}", play.trouble());
}

#[test]
fn a_full_disk_ends_it_with_a_cancel() {
    let play = run(Way::Get, u64::MAX / 2, vec![store(ONE), store(TWO), Step::Final(0xFE00, 1)]);
    assert!(play.log.contains(&"1.2.3.4.5 A700".to_owned()), "{:?}", play.log);
    assert!(play.log.contains(&"cancelled".to_owned()), "{:?}", play.log);
    assert!(play.trouble().starts_with("again: ") && play.trouble().contains("storage is full"), "{}", play.trouble());
}

#[test]
fn pending_for_ever_is_cancelled_and_else_aborted() {
    for way in [Way::Get, Way::Move] {
        let play = run(way, 0, vec![Step::Endless { listens: true }]);
        assert!(
            play.log.contains(&"cancelled".to_owned()) && !play.log.contains(&"aborted".to_owned()),
            "{:?}",
            play.log
        );
        assert!(play.trouble().contains("nothing came for too long"), "{}", play.trouble());
        let play = run(way, 0, vec![Step::Endless { listens: false }]);
        assert!(play.log.contains(&"aborted".to_owned()), "{:?}", play.log);
        assert!(play.trouble().starts_with("again: "), "{}", play.trouble());
    }
    let play = run(Way::Move, 0, vec![Step::Silent(0xFE00)]);
    assert!(play.log.contains(&"cancelled".to_owned()), "{:?}", play.log);
    assert!(play.trouble().contains("nothing came for too long"), "{}", play.trouble());
}

#[test]
fn a_gateway_that_ends_cancels() {
    let script = vec![store(ONE), Step::Silent(0xFE00)];
    let play = run_with(Way::Get, 0, LISTED, script, Some(Duration::from_millis(200)));
    assert!(play.log.contains(&"cancelled".to_owned()), "{:?}", play.log);
    assert_eq!(play.here.len(), 1, "what came stays");
    assert!(play.trouble().contains("the gateway is shutting down"), "{}", play.trouble());
}

#[test]
fn what_cannot_be_followed_ends_the_association() {
    let check = |script: Vec<Step>, told: &str| {
        let play = run(Way::Get, 0, script);
        assert!(play.trouble().starts_with("again: ") && play.trouble().contains(told), "{told}: {}", play.trouble());
        play
    };
    check(vec![Step::OfAnother], "another answer than that to our request");
    check(vec![Step::Echo], "a request that has no place");
    check(vec![Step::Abort], "aborted");
    let play = check(vec![store(ONE), Step::Close], "closed the connection");
    assert_eq!((play.fetched.here, play.told.last().map(String::as_str)), (1, Some("closed false")));
    let play = run(Way::Move, 0, vec![Step::Abort]);
    assert!(play.trouble().starts_with("again: 2 of 2"), "{}", play.trouble());
}

#[test]
fn final_statuses_say_whether_to_try_again() {
    for (status, expected) in [
        (0xA701, "again: "),
        (0xA702, "again: "),
        (0xA801, "never: "),
        (0xA900, "never: "),
        (0xB000, "again: "),
        (0xC001, "never: "),
        (0xFE00, "again: "),
        (0x0000, "again: "),
    ] {
        for way in [Way::Get, Way::Move] {
            let play = run(way, 0, vec![Step::Pending(2, 0), Step::Final(status, 2)]);
            assert!(play.trouble().starts_with(expected), "{status:04X}: {}", play.trouble());
            assert!(play.trouble().contains("2 of 2 instances did not come"), "{}", play.trouble());
        }
    }
}

#[test]
fn a_move_names_our_title_and_counts_what_is_here() {
    let play = run(Way::Move, 0, vec![Step::Pending(1, 1), Step::Final(0, 0)]);
    assert_eq!(play.log, ["move to CT01", "asked move"]);
    assert!(play.trouble().starts_with("again: 2 of 2"), "success without instances is none: {}", play.trouble());
}

#[test]
fn a_series_is_listed_with_its_number() {
    let archive = Archive::start(&[ONE, TWO], Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let destination = destination(archive.port);
    let listed = runtime.block_on(series(&destination, &key().study_instance_uid, None, Some("CT")));
    let listed = listed.unwrap_or_else(|outcome| panic!("{outcome}"));
    assert_eq!((listed.len(), listed[0].instances, listed[0].modality.as_str()), (1, Some(2), "CT"));
    let other = runtime.block_on(series(&destination, &key().study_instance_uid, None, Some("MR")));
    assert!(other.is_ok_and(|list| list.is_empty()), "an archive that does not match by modality");
}

#[test]
fn a_list_that_is_shorter_than_the_number_is_not_believed() {
    let short = |told| Has { series: &["1.2.3.4"], listed: &[ONE], told };
    let script = || vec![store(ONE), store(TWO), Step::Final(0, 0)];
    let play = run_with(Way::Get, 0, short(Some(3)), script(), None);
    assert_eq!((play.fetched.here, play.fetched.wanted, play.here.len()), (2, 3, 2), "what comes is taken");
    assert!(play.trouble().starts_with("again: 1 of 3 instances did not come"), "{}", play.trouble());
    assert_eq!(play.fetched.remarks, ["it lists 1 instances and tells that there are 3"]);
    let play = run_with(Way::Get, 0, short(Some(2)), script(), None);
    assert_eq!((play.fetched.here, play.fetched.wanted, play.trouble().as_str()), (2, 2, "none"));
    // Without a number the list counts, as before.
    let play = run_with(Way::Get, 0, short(None), script(), None);
    assert_eq!((play.fetched.here, play.fetched.wanted, play.trouble().as_str()), (1, 1, "none"));
}

#[test]
fn a_series_of_which_nothing_came_is_no_success() {
    let empty = |told| Has { series: &["1.2.3.4"], listed: &[], told };
    for told in [None, Some(0), Some(2)] {
        let play = run_with(Way::Get, 0, empty(told), vec![Step::Final(0, 0)], None);
        assert!(play.trouble().starts_with("again: ") && play.fetched.here == 0, "{told:?}: {}", play.trouble());
    }
    let script = || vec![store(ONE), store(TWO), Step::Final(0, 0)];
    let play = run_with(Way::Get, 0, empty(None), script(), None);
    assert_eq!((play.fetched.here, play.fetched.wanted, play.trouble().as_str()), (2, 2, "none"));
    let play = run_with(Way::Get, 0, empty(None), vec![store(ONE), Step::Abort], None);
    assert!(play.trouble().starts_with("again: "), "the answer is all that is known: {}", play.trouble());
}

#[test]
fn instances_of_another_series_are_not_stored() {
    let empty = Has { series: &["1.2.3.4"], listed: &[], told: None };
    let other = Step::Store(TWO, image_of(CT, TWO, "1.2.3", "1.2.9", 1));
    for has in [empty, LISTED] {
        let play = run_with(Way::Get, 0, has, vec![store(ONE), other.clone(), Step::Final(0, 0)], None);
        assert_eq!(play.log[2], "1.2.3.4.6 0124");
        assert_eq!(play.here.into_iter().collect::<Vec<_>>(), [ONE], "before it is durable");
        assert_eq!(play.told, ["1.2.3.4.5 from PACS", "closed true"]);
    }
}
