//! The whole gateway with such destinations: what arrives there, and what the history says of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use contourd::deliver::dicom::store_each;
use contourd::job::{Job, JobState};
use contourd::phantom::Identity;

use crate::gateway::{Play, thorax, write_series};
use crate::server::{Instead, Server};

const PIPELINE: &str = r#"{"id": "ct", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY"}, "basic:Lung_L": {"name": "Lung_L"}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": DELIVER}"#;

const RETRY: &str = r#""retry": {"initial_s": 0.2, "multiplier": 1, "max_s": 0.2, "max_age_h": 1}"#;

/// A runtime for the servers of a test, which outlives its gateway.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn play(deliver: &str, peers: &[(&str, String)]) -> Play {
    let pipeline = PIPELINE.replace("DELIVER", deliver);
    Play::start_with(&[("ct", &pipeline)], |folder, _| {
        for (name, text) in peers {
            let path = folder.join("ae-config/peers").join(format!("{name}.json"));
            fs::write(path, text.replace("RETRY", RETRY)).expect("written");
        }
    })
}

fn images(play: &Play) -> Vec<PathBuf> {
    write_series(&play.path("images"), &thorax(), &Identity::of(&thorax()))
}

fn command(play: &Play, words: &[&str]) -> String {
    let command = Command::new(env!("CARGO_BIN_EXE_contourd")).args(words).arg("--config").arg(play.folder()).output();
    let output = command.expect("the command runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn history(play: &Play, job: &Job) -> String {
    let lines = play.ledger().history(&job.series).expect("a history");
    lines.into_iter().map(|line| line.text + "\n").collect()
}

fn states(job: &Job) -> String {
    job.deliveries.iter().map(|d| format!("{} {}", d.to, d.state.name())).collect::<Vec<_>>().join(", ")
}

/// The bytes of the only structure set that a job made for a peer.
fn made_for(play: &Play, job: &Job, to: &str) -> (String, Vec<u8>) {
    let files = job.run.as_ref().expect("a run").objects_for(to).expect("a record");
    assert_eq!(files.len(), 1, "{files:?}");
    let path = play.path("var/objects").join(job.id.as_str()).join(&files[0]);
    (files[0].clone(), fs::read(path).expect("there"))
}

#[test]
fn a_folder_and_a_web_server_get_the_bytes_that_were_made_and_confirm_them() {
    let servers = runtime();
    let server = Server::started(&servers);
    let export = r#"{"folder": "export", "may": ["receive"], "verify": "find", RETRY}"#.to_owned();
    let web = format!(r#"{{"dicomweb": {{"url": "{}"}}, "may": ["receive"], "verify": "find", RETRY}}"#, server.url());
    let mut play = play(r#"[{"to": "export"}, {"to": "web"}]"#, &[("export", export), ("web", web)]);
    server.state().instead.extend([Instead::text(503, "starting"), Instead::text(403, "closed")]);
    play.send(&images(&play));
    // The folder is not mounted yet, and the server is in trouble, then refuses.
    let told = |jobs: &[Job]| {
        let reason = |to: &str| jobs[0].deliveries.iter().find(|d| d.to == to).map(|d| d.last_reason.clone());
        jobs.len() == 1
            && reason("export").is_some_and(|reason| reason.contains("found nothing there; is it mounted?"))
            && reason("web").is_some_and(|reason| reason.contains("(HTTP 403)"))
    };
    play.wait("the trouble is not told", |jobs, _| told(jobs));
    play.kill_and_start();
    fs::create_dir(play.path("export")).expect("a folder");
    let failed = |jobs: &[Job]| matches!(&jobs[0].state, JobState::Failed { cause } if cause.contains("web: "));
    let (jobs, _) = play.wait("the job does not fail", |jobs, _| failed(jobs));
    assert_eq!(states(&jobs[0]), "export delivered, web refused");
    let told = command(&play, &["retry", jobs[0].id.as_str()]);
    assert!(told.contains("again"), "{told}");
    let job = play.wait_for_delivered(1).remove(0);
    assert_eq!((states(&job).as_str(), &job.state), ("export delivered, web delivered", &JobState::Delivered));
    let (name, made) = made_for(&play, &job, "export");
    assert_eq!(fs::read(play.path("export").join(&name)).expect("there"), made);
    assert_eq!(fs::read_dir(play.path("export")).expect("a folder").count(), 1, "nothing else lies there");
    let state = server.state();
    assert_eq!(state.stored.values().collect::<Vec<_>>(), [&made_for(&play, &job, "web").1]);
    let asked = state.requests.iter().filter(|(request, _)| request.starts_with("GET ")).count();
    assert!(asked > 0 && state.requests.iter().all(|(request, _)| !request.contains("PHANTOM")));
    let page = command(&play, &["show", job.id.as_str()]);
    assert!(page.contains("export: delivered, it was asked and shows everything"), "{page}");
    let told = history(&play, &job);
    for line in
        ["not delivered to export: folder ", "not delivered to web: ", "delivered to export: it shows everything"]
    {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn the_next_takes_the_place_of_one_that_is_away_and_the_sender_gets_its_results() {
    let servers = runtime();
    let (first, mut second) = (Server::at_rest(&servers), Server::at_rest(&servers));
    let web = |server: &Server, more: &str| {
        format!(r#"{{"dicomweb": {{"url": "{}"}}, "may": ["receive"], {more} RETRY}}"#, server.url())
    };
    let peers =
        [("first", web(&first, r#""dialect": {"like": "mim", "side_first": true},"#)), ("second", web(&second, ""))];
    let deliver = r#"[{"to": ["first", "second"], "after": {"attempts": 2}}, {"to": "sender"}]"#;
    let mut play = play(deliver, &peers);
    let tps = fs::read_to_string(play.path("ae-config/peers/tps.json")).expect("there");
    fs::write(play.path("ae-config/peers/tps.json"), tps.replace(r#"["receive"]"#, r#"["send", "receive"]"#))
        .expect("written");
    play.kill_and_start();
    let files = images(&play);
    // The planning system itself sends the images.
    let gateway = play.gateway_for("TPS");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let sent = play.runtime().block_on(store_each(&gateway, &files, true, |_, _| ()));
        let delivered = |(_, outcome): &(_, contourd::deliver::Outcome)| {
            matches!(outcome, contourd::deliver::Outcome::Delivered { .. })
        };
        if sent.len() == files.len() && sent.iter().all(delivered) {
            break;
        }
        assert!(std::time::Instant::now() < end, "not acknowledged:\n{}", play.describe());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    // Both are away: the turns go round.
    let goes_round = |jobs: &[Job]| {
        let attempts = |to: &str| jobs[0].deliveries.iter().find(|d| d.to == to).map_or(0, |d| d.attempts);
        jobs.len() == 1 && attempts("second") > 2 && attempts("first") > 2
    };
    play.wait("the turns do not go round", |jobs, _| goes_round(jobs));
    play.kill_and_start();
    second.start();
    let job = play.wait_for_delivered(1).remove(0);
    assert_eq!(states(&job), "first not needed, second sent, tps sent");
    let stored: Vec<Vec<u8>> = second.state().stored.values().cloned().collect();
    assert_eq!(stored, [made_for(&play, &job, "second").1]);
    assert_ne!(made_for(&play, &job, "first").0, made_for(&play, &job, "second").0, "each in its own dialect");
    assert_eq!(play.received().len(), 1, "the sender has its own");
    let told = history(&play, &job);
    assert!(told.contains("second is tried in its place") && told.contains("first is tried in its place"), "{told}");
    assert!(told.contains("queued; the results go back to tps"), "{told}");
    let list = command(&play, &["jobs"]);
    assert!(list.contains("at second in the place of first: "), "{list}");
    let page = command(&play, &["show", job.id.as_str()]);
    assert!(page.contains("first: not needed, second has everything"), "{page}");
}

#[test]
fn a_sender_that_may_not_receive_is_told_or_another_takes_its_place() {
    let export = r#"{"folder": "export", "may": ["receive"], RETRY}"#.to_owned();
    let mut play = play(r#"[{"to": ["sender", "export"]}]"#, &[("export", export)]);
    fs::create_dir(play.path("export")).expect("a folder");
    let files = images(&play);
    play.send(&files);
    let job = play.wait_for_delivered(1).remove(0);
    assert_eq!(states(&job), "export sent");
    let told = history(&play, &job);
    assert!(told.contains("nothing can go back to the sender: the peer ct, which sent it, may not receive"), "{told}");

    // Alone it fails with the cause, until the peer may receive.
    play.stop();
    let other = PIPELINE.replace("DELIVER", r#"[{"to": "sender"}]"#).replace("\"revision\": 1", "\"revision\": 2");
    fs::write(play.path("pipelines/ct.json"), other).expect("written");
    play.start_again();
    let identity =
        Identity { series_instance_uid: contourd::dicom::Uid::derived(["another"]), ..Identity::of(&thorax()) };
    play.send(&write_series(&play.path("others"), &thorax(), &identity));
    let is_failed = |job: &Job| matches!(&job.state, JobState::Failed { cause } if cause.contains("ct: the peer \"ct\" may not receive"));
    let (jobs, _) = play.wait("it does not fail", |jobs, _| jobs.iter().any(is_failed));
    let failed = jobs.iter().find(|job| is_failed(job)).expect("one");
    let tps = fs::read_to_string(play.path("ae-config/peers/tps.json")).expect("there");
    // The destination of the play answers to TPS alone, so that what calls it as CT is turned away: for good.
    let ct = tps.replace(r#""TPS""#, r#""CT""#).replace(r#"["receive"]"#, r#"["send", "receive"]"#);
    fs::write(play.path("ae-config/peers/ct.json"), ct).expect("written");
    std::thread::sleep(std::time::Duration::from_secs(1));
    command(&play, &["retry", failed.id.as_str()]);
    let rejected =
        |job: &Job| matches!(&job.state, JobState::Failed { cause } if cause.contains("association rejected"));
    play.wait("it is not tried", |jobs, _| jobs.iter().any(rejected));
}
