//! `contourd pull` against the running gateway and a scripted archive: what is asked for is fetched by the gateway alone,
//! survives its restart, and ends with an exit code that says how.

// Each test program uses its part.
#[allow(dead_code)]
#[path = "associations/archive.rs"]
mod archive;
mod gateway;
#[allow(dead_code)]
#[path = "associations/peer.rs"]
mod peer;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archive::{Archive, Has, Step};
use contourd::node::RetrievalState;
use gateway::Play;
use peer::image;

const ONE: &str = "1.2.3.4.5";
const TWO: &str = "1.2.3.4.6";

fn play(archive: &Archive) -> Play {
    let port = archive.port;
    Play::start_with(&[], |folder: &Path, _| {
        let text = format!(
            r#"{{"ae_title": "PACS", "host": "127.0.0.1", "port": {port}, "may": ["send"], "retrieve": "get",
                 "retry": {{"initial_s": 1, "max_s": 1}}}}"#
        );
        std::fs::write(folder.join("ae-config/peers/pacs.json"), text).expect("written");
        std::fs::create_dir_all(folder.join("pipelines")).expect("a folder");
    })
}

/// Exit code, and what it says on both outputs.
fn pull(play: &Play, words: &[&str]) -> (Option<i32>, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_contourd"))
        .args(["pull", "pacs"])
        .args(words)
        .arg("--config")
        .arg(play.folder())
        .output()
        .expect("it runs");
    let text = [command.stdout, command.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (command.status.code(), text)
}

fn states(play: &Play) -> Vec<RetrievalState> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        // At the first start the file is there before its tables.
        match play.ledger().retrievals(100) {
            Ok(retrievals) => return retrievals.into_iter().map(|retrieval| retrieval.state).collect(),
            Err(error) => assert!(Instant::now() < end, "{error}:\n{}", play.describe()),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait(play: &Play, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}:\n{}", play.describe());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn good() -> Vec<Step> {
    vec![Step::Store(ONE, image(ONE, 1)), Step::Store(TWO, image(TWO, 2)), Step::Final(0, 0)]
}

#[test]
fn a_study_is_fetched_by_the_gateway_and_told_to_the_end() {
    let archive = Archive::start(&[ONE, TWO], good());
    let play = play(&archive);
    // The ledger is there once the gateway has begun.
    assert!(states(&play).is_empty());
    let (code, text) = pull(&play, &["--study", "1.2.3", "--list"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("CT            2  1.2.3.4") && states(&play).is_empty(), "{text}");
    let (code, text) = pull(&play, &["--study", "1.2.3"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1.2.3.4: 2 of 2 instances are here"), "{text}");
    for uid in [ONE, TWO] {
        let bytes = std::fs::read(play.path(&format!("var/instances/1.2.3/1.2.3.4/{uid}.dcm"))).expect("in the spool");
        assert!(bytes.ends_with(&image(uid, if uid == ONE { 1 } else { 2 })), "bit by bit");
    }
    let (code, text) = pull(&play, &["--study", "1.2.3"]);
    assert!(code == Some(0) && text.contains("all of it was here already"), "{text}");
    assert_eq!(archive.log().iter().filter(|line| *line == "asked get").count(), 1);
    let (code, text) = pull(&play, &["--study", "1.2.3", "--modality", "MR"]);
    assert!(code == Some(1) && text.contains("nothing that fits"), "{text}");
    let log = std::fs::read_to_string(play.path("log")).expect("a log");
    assert!(!log.contains("Nobody"), "no patient in the log");
}

#[test]
fn what_the_archive_refuses_is_told_and_not_tried_again() {
    let archive = Archive::start(&[ONE, TWO], vec![Step::Final(0xA900, 0)]);
    let play = play(&archive);
    assert!(states(&play).is_empty());
    let (code, text) = pull(&play, &["--study", "1.2.3"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not fetched from pacs: 2 of 2 instances did not come") && text.contains("0xA900"), "{text}");
    assert_eq!(archive.log(), ["asked get"]);
}

#[test]
fn a_failure_that_may_pass_is_tried_within_bounds() {
    let archive = Archive::start(&[ONE, TWO], vec![Step::Store(ONE, image(ONE, 1)), Step::Abort]);
    let play = play(&archive);
    assert!(states(&play).is_empty());
    let (code, text) = pull(&play, &["--study", "1.2.3"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("given up after 6 attempts: 1 of 2 instances did not come"), "{text}");
    assert_eq!(archive.log().iter().filter(|line| *line == "asked get").count(), 6);
}

#[test]
fn what_was_asked_for_while_the_gateway_was_down_or_killed_is_fetched() {
    let archive = Archive::start(&[ONE, TWO], good());
    let mut play = play(&archive);
    assert!(states(&play).is_empty());
    play.stop();
    let (code, text) = pull(&play, &["--study", "1.2.3", "--no-wait"]);
    assert_eq!((code, states(&play)), (Some(0), vec![RetrievalState::Asked]), "{text}");
    play.start_again();
    wait(&play, "not fetched", || matches!(states(&play)[..], [RetrievalState::Done { .. }]));
    assert!(play.path(&format!("var/instances/1.2.3/1.2.3.4/{TWO}.dcm")).is_file());
    drop(play);
    // Killed while the archive is silent: the attempt counts, and another one follows.
    let archive = Archive::start(&[ONE, TWO], vec![Step::Store(ONE, image(ONE, 1)), Step::Silent(0xFE00)]);
    let mut play = self::play(&archive);
    assert!(states(&play).is_empty());
    assert_eq!(pull(&play, &["--study", "1.2.3", "--no-wait"]).0, Some(0));
    wait(&play, "not begun", || archive.log().len() == 2);
    play.kill_and_start();
    wait(&play, "not begun again", || archive.log().iter().filter(|line| *line == "asked get").count() == 2);
    let retrievals = play.ledger().retrievals(1).expect("a ledger that can be read");
    assert_eq!((&retrievals[0].state, retrievals[0].attempts), (&RetrievalState::Running, 2));
    assert_eq!(retrievals[0].last_reason, "the gateway ended while it was fetched");
}

#[test]
fn an_orderly_stop_between_two_series_leaves_the_rest_to_be_done() {
    let has = Has { series: &["1.2.3.4", "1.2.3.9"], listed: &[ONE, TWO], told: Some(2) };
    // All of the first series has come, but the archive says the end only when it is cancelled.
    let script = vec![Step::Store(ONE, image(ONE, 1)), Step::Store(TWO, image(TWO, 2)), Step::Silent(0)];
    let archive = Archive::telling(has, script);
    let mut play = play(&archive);
    assert!(states(&play).is_empty());
    assert_eq!(pull(&play, &["--study", "1.2.3", "--no-wait"]).0, Some(0));
    wait(&play, "not begun", || archive.log().len() == 3);
    play.end();
    let retrievals = play.ledger().retrievals(1).expect("a ledger that can be read");
    assert!(matches!(retrievals[0].state, RetrievalState::Pending { .. }), "{:?}", retrievals[0].state);
    assert_eq!(retrievals[0].attempts, 0, "it was not the archive's fault");
    play.start_again();
    wait(&play, "not begun again", || archive.log().iter().filter(|line| *line == "asked get").count() >= 2);
}

#[test]
fn a_short_list_is_no_success_at_the_terminal() {
    let has = Has { series: &["1.2.3.4"], listed: &[ONE], told: Some(2) };
    let archive = Archive::telling(has, vec![Step::Store(ONE, image(ONE, 1)), Step::Final(0xA900, 1)]);
    let play = play(&archive);
    assert!(states(&play).is_empty());
    let (code, text) = pull(&play, &["--study", "1.2.3"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1.2.3.4: 1 of 2 instances are here"), "{text}");
}
