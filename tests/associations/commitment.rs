//! Storage commitment: a scripted peer against the receiver, and our sender against scripted destinations.

use std::path::PathBuf;
use std::time::Duration;

use contourd::deliver::dicom::{Committed, Shown, commit, find, report};
use contourd::deliver::{self, dicom};
use contourd::dicom::Uid;
use contourd::dimse::commitment::{CommitmentReport, CommitmentRequest, Failed, FailureReason, Reference};
use contourd::dimse::{Caller, Command, CommandSet, Outcome};
use contourd::receive::CommitmentAsked;

use crate::peer::*;
use crate::sending::{destination, write_file};

const COMMITMENT: &str = "1.2.840.10008.1.20.1";
const INSTANCE: &str = "1.2.840.10008.1.20.1.1";
const CONTEXT: u8 = 5;

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

fn reference(instance: &str) -> Reference {
    Reference { sop_class_uid: uid(CT), sop_instance_uid: uid(instance) }
}

fn gateway() -> Gateway {
    Gateway::with(0, |policy| {
        let mut caller = |title: &str| {
            let known = policy.acceptance.callers.get_mut(&title.parse().expect("a title"));
            std::mem::take(&mut known.expect("a known title")[0])
        };
        let (asks, reports) =
            (Caller { may_commit: true, ..caller("CT01") }, Caller { may_report: true, ..caller("LOOK") });
        for (title, caller) in [("CT01", asks), ("LOOK", reports)] {
            policy.acceptance.callers.insert(title.parse().expect("a title"), vec![caller]);
        }
    })
}

fn associated(gateway: &Gateway, title: &str) -> Peer {
    let mut peer = Peer::connect(gateway);
    peer.send(&request(title, "CONTOURD", &[(CT_CONTEXT, CT), (CONTEXT, COMMITMENT)]));
    assert_eq!(peer.answer(), Answer::Accepted);
    peer
}

fn action(sop_class: &str, instance: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let command = command(&[
        (0x0003, text(sop_class)),
        (0x0100, u16(0x0130)),
        (0x0110, u16(9)),
        (0x0800, u16(if data.is_empty() { 0x0101 } else { 0 })),
        (0x1001, text(instance)),
        (0x1008, u16(kind)),
    ]);
    let mut bytes = pdata(&[pdv(CONTEXT, 3, &command)]);
    if !data.is_empty() {
        bytes.extend(pdata(&[pdv(CONTEXT, 2, data)]));
    }
    bytes
}

fn asks(transaction: &str, instances: &[&str]) -> Vec<u8> {
    let references = instances.iter().map(|instance| reference(instance)).collect();
    let request = CommitmentRequest { transaction_uid: uid(transaction), references };
    request.encode(IMPLICIT).expect("written")
}

/// Waits for the request that the daemon was told of, and answers it.
fn answer(gateway: &Gateway, outcome: Outcome) -> (CommitmentRequest, contourd::receive::Back) {
    for _ in 0..200 {
        let asked = gateway.asked.lock().expect("no panic").pop();
        if let Some(CommitmentAsked { request, back, reply, .. }) = asked {
            reply.send(outcome).expect("the association waits");
            return (request, back);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the daemon was not told");
}

/// A message of the gateway: its command, and the data set that follows.
fn message(peer: &mut Peer) -> (CommandSet, Vec<u8>) {
    let (kind, body) = peer.read_pdu().expect("a PDU");
    assert_eq!((kind, body[5] & 1), (4, 1), "a command");
    let set = CommandSet::decode(body[6..].to_vec().into()).expect("a command");
    let has_data = match set.command().expect("a command") {
        Command::EventReport(request) | Command::Action(request) => request.has_data_set,
        _ => false,
    };
    let data = if has_data { peer.read_pdu().expect("a data set").1[6..].to_vec() } else { Vec::new() };
    (set, data)
}

#[test]
fn a_request_is_answered_as_the_daemon_says_and_reported_on_its_association() {
    let gateway = gateway();
    let mut peer = associated(&gateway, "CT01");
    peer.send(&action(COMMITMENT, INSTANCE, 1, &asks("1.9.1", &["1.4.1", "1.4.2"])));
    let (request, back) = answer(&gateway, Outcome::Accepted);
    assert_eq!(request.references, [reference("1.4.1"), reference("1.4.2")]);
    assert_eq!(peer.answer(), Answer::Status(0));
    let failed = vec![Failed { reference: reference("1.4.2"), reason: FailureReason::NO_SUCH_OBJECT_INSTANCE }];
    let report = CommitmentReport { transaction_uid: uid("1.9.1"), committed: vec![reference("1.4.1")], failed };
    let told = std::thread::spawn({
        let (back, report) = (back.clone(), report.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        move || runtime.block_on(back.report(report))
    });
    let (set, data) = message(&mut peer);
    let Ok(Command::EventReport(event)) = set.command() else { panic!("an N-EVENT-REPORT-RQ") };
    assert_eq!((event.type_id, event.sop_instance_uid), (Some(2), Ok(uid(INSTANCE))));
    assert_eq!(CommitmentReport::decode(&data, &uid(IMPLICIT)), Ok(report.clone()));
    // The peer may store before it answers the report.
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0));
    let response = set.response(Outcome::Accepted).expect("a response").encode();
    peer.send(&pdata(&[pdv(CONTEXT, 3, &response)]));
    assert_eq!(told.join().expect("no panic").map(|status| status.0), Some(0));
    assert_eq!(peer.release(), Answer::Released);
    drop(peer);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(back.report(report)), None, "the association is over");
}

#[test]
fn each_bad_request_has_its_status_and_the_association_goes_on() {
    let gateway = gateway();
    let mut peer = associated(&gateway, "CT01");
    let good = asks("1.9.1", &["1.4.1"]);
    let cases: [(&str, Vec<u8>, u16); 7] = [
        ("another class", action("1.2.840.10008.1.9", INSTANCE, 1, &good), 0x0118),
        ("another instance", action(COMMITMENT, "1.2.3", 1, &good), 0x0112),
        ("another action", action(COMMITMENT, INSTANCE, 2, &good), 0x0123),
        ("no data set", action(COMMITMENT, INSTANCE, 1, b""), 0x0212),
        ("no reference", action(COMMITMENT, INSTANCE, 1, &asks("1.9.1", &[])), 0x0115),
        ("half a data set", action(COMMITMENT, INSTANCE, 1, &good[..good.len() - 3]), 0x0115),
        ("too long", [action(COMMITMENT, INSTANCE, 1, &good)].concat(), 0x0213),
    ];
    for (what, bytes, expected) in cases {
        if expected == 0x0213 {
            // The command as above, then fragments without end.
            let end = bytes.len() - (good.len() + 12);
            peer.send(&bytes[..end]);
            for _ in 0..300 {
                peer.send(&pdata(&[pdv(CONTEXT, 0, &[0; 16_000])]));
            }
            peer.send(&pdata(&[pdv(CONTEXT, 2, b"")]));
        } else {
            peer.send(&bytes);
        }
        assert_eq!(peer.answer(), Answer::Status(expected), "{what}");
    }
    // A daemon that is ending says nothing: no success is made up.
    peer.send(&action(COMMITMENT, INSTANCE, 1, &good));
    for _ in 0..200 {
        if gateway.asked.lock().expect("no panic").pop().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(peer.answer(), Answer::Status(0x0110));
    gateway.told(&["asked 1.9.1"]);
}

#[test]
fn only_those_who_may_ask_or_report() {
    let gateway = gateway();
    let mut reporter = associated(&gateway, "LOOK");
    reporter.send(&action(COMMITMENT, INSTANCE, 1, &asks("1.9.1", &["1.4.1"])));
    assert_eq!(reporter.answer(), Answer::Status(0x0124));
    let report =
        CommitmentReport { transaction_uid: uid("1.9.2"), committed: vec![reference("1.4.1")], failed: vec![] };
    let event = |kind: u16| {
        let command = command(&[
            (0x0002, text(COMMITMENT)),
            (0x0100, u16(0x0100)),
            (0x0110, u16(9)),
            (0x0800, u16(0)),
            (0x1000, text(INSTANCE)),
            (0x1002, u16(kind)),
        ]);
        let data = report.encode(IMPLICIT).expect("written");
        [pdata(&[pdv(CONTEXT, 3, &command)]), pdata(&[pdv(CONTEXT, 2, &data)])].concat()
    };
    reporter.send(&event(1));
    assert_eq!(reporter.answer(), Answer::Status(0));
    reporter.send(&event(3));
    assert_eq!(reporter.answer(), Answer::Status(0x0113));
    let mut other = associated(&gateway, "CT01");
    other.send(&event(1));
    assert_eq!(other.answer(), Answer::Status(0x0124));
    gateway.told(&["reported 1.9.2"]);
    // Without the right there is no context, so that the peer's log says why.
    let closed = Gateway::start();
    let mut peer = associated(&closed, "CT01");
    peer.send(&action(COMMITMENT, INSTANCE, 1, &asks("1.9.1", &["1.4.1"])));
    assert!(matches!(peer.answer(), Answer::Aborted(..)));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    vec![write_file(folder.path(), "1.2.3.4.5", &image("1.2.3.4.5", 1))]
}

#[test]
fn our_own_two_sides_understand_each_other() {
    let gateway = gateway();
    let folder = tempfile::tempdir().expect("a folder");
    let to = destination(gateway.address.port());
    let asking = std::thread::spawn({
        let (to, files) = (to.clone(), files(&folder));
        move || block_on(commit(&to, &files, &uid("1.9.5")))
    });
    let (request, back) = answer(&gateway, Outcome::Accepted);
    assert_eq!(request.references, [reference("1.2.3.4.5")]);
    let report_of = |transaction: &str| CommitmentReport {
        transaction_uid: uid(transaction),
        committed: vec![reference("1.2.3.4.5")],
        failed: vec![],
    };
    assert_eq!(block_on(back.report(report_of("1.9.6"))).map(|s| s.0), Some(0x0115), "another transaction");
    assert_eq!(block_on(back.report(report_of("1.9.5"))).map(|s| s.0), Some(0));
    assert_eq!(asking.join().expect("no panic"), Committed::Reported(report_of("1.9.5")));
    // The report on an association of its own, with the roles exchanged: allowed to one title, refused to another.
    let other = dicom::Destination { calling_ae: "LOOK".parse().expect("a title"), ..to.clone() };
    assert!(matches!(block_on(report(&other, &report_of("1.9.7"))), deliver::Outcome::Delivered { .. }));
    assert!(matches!(
        block_on(report(&to, &report_of("1.9.8"))),
        deliver::Outcome::Refused { status: Some(0x0124), .. }
    ));
    gateway.told(&["asked 1.9.5", "reported 1.9.7"]);
}

#[test]
fn a_destination_without_the_service_is_not_asked_again() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().expect("a folder");
    let to = destination(gateway.address.port());
    let shown = block_on(find(&to, &files(&folder)));
    assert!(matches!(shown, Shown::Unknown(deliver::Outcome::Refused { status: Some(0x0122), .. })), "{shown:?}");
    let committed = block_on(commit(&to, &files(&folder), &uid("1.9.5")));
    assert!(
        matches!(committed, Committed::Not(deliver::Outcome::Refused { status: Some(0x0122), .. })),
        "{committed:?}"
    );
}
