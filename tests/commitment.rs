//! Storage commitment through the whole gateway on loopback, both ways, with the gateway killed between request and
//! report; and deliveries that are verified, or cannot be.

mod gateway;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contourd::deliver::Outcome;
use contourd::deliver::dicom::{Committed, commit, report};
use contourd::dicom::Uid;
use contourd::dimse::commitment::{CommitmentReport, CommitmentRequest, Failed, FailureReason};
use contourd::dimse::{Acceptance, Caller, Outcome as Answer};
use contourd::job::{DeliveryState, JobState, Proof};
use contourd::node::CommitmentState;
use contourd::phantom::Identity;
use contourd::receive::{self, Notice, Policy};
use contourd::spool::Spool;
use gateway::{Play, thorax, write_series};
use tokio::sync::{mpsc, watch};

const BASIC: &str = r#"{"id": "basic", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

fn peer(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(format!("ae-config/peers/{name}.json")), text).expect("written");
}

fn tps(folder: &Path, port: u16, more: &str) {
    let retry = r#""retry": {"initial_s": 0.5, "max_s": 1, "max_age_h": 1}"#;
    let text =
        format!(r#"{{"ae_title": "TPS", "host": "127.0.0.1", "port": {port}, "may": ["receive"], {retry}, {more}}}"#);
    peer(folder, "tps", &text);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The side of a scanner at which reports arrive; it gives each to the channel, and takes it.
fn scanner(play: &Play, port: u16) -> (mpsc::UnboundedReceiver<CommitmentReport>, watch::Sender<bool>) {
    let title = |text: &str| text.parse().expect("a title");
    let acceptance = Acceptance {
        called: vec![title("CT")],
        callers: [(title("CONTOURD"), vec![Caller { may_report: true, ..Caller::default() }])].into(),
        ..Policy::default().acceptance
    };
    let (sent, received) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let spool = Spool::open(&play.path("scanner"), 0).expect("a folder");
    play.runtime().spawn(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let (_policy, policies) = watch::channel(Arc::new(Policy { acceptance, ..Policy::default() }));
        let (notices, mut told) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(notice) = told.recv().await {
                if let Notice::ReportReceived(report) = notice {
                    let _ = report.reply.send(Answer::Accepted);
                    let _ = sent.send(report.report);
                }
            }
        });
        receive::serve(listener, policies, spool, notices, stopped).await;
    });
    (received, stop)
}

fn wait_for<T>(play: &Play, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}:\n{}", play.describe());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn commits_to_what_is_durable_and_reports_after_a_kill() {
    let port = free_port();
    let mut play = Play::start_with(&[("basic", BASIC)], |folder, _| {
        let text = format!(
            r#"{{"ae_title": "CT", "host": "127.0.0.1", "port": {port}, "may": ["send", "commit"],
                "retry": {{"initial_s": 0.5, "max_s": 1, "max_age_h": 1}}}}"#
        );
        peer(folder, "ct", &text);
    });
    let images = write_series(&play.path("images"), &thorax(), &Identity::of(&thorax()));
    let (sent, kept_back) = images.split_at(images.len() - 1);
    play.send(sent);
    let gateway = play.gateway_for("CT");
    let uid = |text: &str| text.parse::<Uid>().expect("a UID");

    // On the association that asks, while it is open: one of the instances was never sent.
    let told = play.runtime().block_on(commit(&gateway, &images, &uid("1.9.1")));
    let Committed::Reported(told) = told else { panic!("found {told:?}\n{}", play.describe()) };
    assert_eq!((told.committed.len(), told.failed.len()), (sent.len(), 1));
    assert_eq!(told.failed[0].reason, FailureReason::NO_SUCH_OBJECT_INSTANCE);
    assert_eq!(
        kept_back[0].file_stem().and_then(|name| name.to_str()),
        Some(told.failed[0].reference.sop_instance_uid.as_str())
    );
    // Again the same: again the same answer. Other instances under its UID: refused.
    let again = play.runtime().block_on(commit(&gateway, &images, &uid("1.9.1")));
    assert_eq!(again, Committed::Reported(told));
    // A sender of ours that hears so takes it for known, and waits for a report that does not come.
    let other = play.runtime().block_on(commit(&gateway, sent, &uid("1.9.1")));
    assert_eq!(other, Committed::Owes);

    // A file that is no longer what was received is not committed.
    let damaged = wait_for(&play, "no file", || {
        let uid = Uid::clone(&uid(sent[0].file_stem()?.to_str()?));
        let stored = play.ledger().instances_named(&uid).ok()?.pop()?;
        let (study, series) = (stored.series.study_instance_uid, stored.series.series_instance_uid);
        Some(play.path("var/instances").join(study.as_str()).join(series.as_str()).join(format!("{uid}.dcm")))
    });
    let mut bytes = fs::read(&damaged).expect("the instance");
    let good = bytes.clone();
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&damaged, &bytes).expect("written");
    let told = play.runtime().block_on(commit(&gateway, sent, &uid("1.9.2")));
    let Committed::Reported(told) = told else { panic!("found {told:?}") };
    assert_eq!(told.failed.iter().map(|failed| failed.reason).collect::<Vec<_>>(), [FailureReason::PROCESSING_FAILURE]);
    fs::write(&damaged, &good).expect("written");

    // Killed as soon as the request is durable: the report comes in the next life, on an association of ours.
    let asking = play.runtime().spawn({
        let (gateway, sent) = (gateway.clone(), sent.to_vec());
        async move { commit(&gateway, &sent, &"1.9.3".parse().expect("a UID")).await }
    });
    let key = ("CT".parse().expect("a title"), uid("1.9.3"));
    wait_for(&play, "the request is not recorded", || play.ledger().commitment(&key).ok().flatten());
    play.kill_and_start();
    drop(asking);
    std::thread::sleep(Duration::from_secs(1));
    let (mut reports, _stop) = scanner(&play, port);
    let told = wait_for(&play, "no report", || reports.try_recv().ok());
    assert_eq!((told.transaction_uid, told.committed.len(), told.failed.len()), (key.1.clone(), sent.len(), 0));
    let reported = wait_for(&play, "the report is not recorded", || {
        let commitment = play.ledger().commitment(&key).ok().flatten()?;
        matches!(commitment.state, CommitmentState::Reported { .. }).then_some(commitment)
    });
    assert!(reported.attempts >= 1);
}

fn report_on(request: &CommitmentRequest, lost: bool) -> CommitmentReport {
    let reason = FailureReason::NO_SUCH_OBJECT_INSTANCE;
    let failed = request.references.iter().filter(|_| lost).map(|r| Failed { reference: r.clone(), reason });
    CommitmentReport {
        transaction_uid: request.transaction_uid.clone(),
        committed: if lost { Vec::new() } else { request.references.clone() },
        failed: failed.collect(),
    }
}

#[test]
fn a_delivery_is_delivered_when_the_destination_has_committed_to_it() {
    let verify = r#""verify": "commitment""#;
    let mut play = Play::start_with(&[("basic", BASIC)], |folder, port| tps(folder, port, verify));
    play.send(&write_series(&play.path("images"), &thorax(), &Identity::of(&thorax())));
    let first = play.asked();
    let (jobs, _) = play
        .wait("not sent", |jobs, _| jobs.iter().any(|job| matches!(job.deliveries[0].state, DeliveryState::Sent(_))));
    assert_eq!(jobs[0].state, JobState::Delivering, "sent is not delivered");
    // The gateway forgets nothing of it when it is killed. The destination says that it has lost the object.
    play.kill_and_start();
    let gateway = play.gateway_for("TPS");
    let tell = |play: &Play, told: &CommitmentReport| play.runtime().block_on(report(&gateway, told));
    wait_for(&play, "the report is not taken", || {
        matches!(tell(&play, &report_on(&first, true)), Outcome::Delivered { .. }).then_some(())
    });
    // Killed before it had recorded the answer, it may have asked a second time in the first transaction.
    let second = wait_for(&play, "not asked again", || {
        Some(play.asked()).filter(|request| request.transaction_uid != first.transaction_uid)
    });
    assert_eq!(first.references, second.references, "the same objects are sent again");
    let unknown = CommitmentReport { transaction_uid: "1.9.9".parse().expect("a UID"), ..report_on(&second, false) };
    let told = tell(&play, &unknown);
    assert!(matches!(&told, Outcome::Refused { status: Some(0x0115), .. }), "{told:?}");
    wait_for(&play, "the second report is not taken", || {
        matches!(tell(&play, &report_on(&second, false)), Outcome::Delivered { .. }).then_some(())
    });
    let (jobs, _) = play.wait("not delivered", |jobs, _| jobs.iter().all(|job| job.state == JobState::Delivered));
    let delivery = &jobs[0].deliveries[0];
    assert!(matches!(delivery.state, DeliveryState::Done { proof: Proof::Committed, .. }), "{delivery:?}");
    assert_eq!(delivery.attempts, 2);
    assert_eq!(play.received().len(), 1, "the same object under the same UID");
    let history = play.ledger().history(&jobs[0].series).expect("the history");
    let line = history.iter().find(|line| line.text.contains("sent, but not there")).expect("the failure is told");
    assert!(line.text.contains("0x0112 (no such object instance)"), "{}", line.text);
}

#[test]
fn a_destination_that_cannot_be_asked_is_parked_with_the_cause() {
    let play = Play::start_with(&[("basic", BASIC)], |folder, port| tps(folder, port, r#""verify": "find""#));
    play.send(&write_series(&play.path("images"), &thorax(), &Identity::of(&thorax())));
    let (jobs, _) = play.wait("not parked", |jobs, _| jobs.iter().any(|job| job.state.is_final()));
    let JobState::Failed { cause } = &jobs[0].state else { panic!("found {:?}", jobs[0].state) };
    assert!(cause.contains("sent, but it cannot be verified: the destination does not offer C-FIND"), "{cause}");
    assert_eq!(play.received().len(), 1);
}
