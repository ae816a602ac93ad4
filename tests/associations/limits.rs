//! The limits: time, number, size, room.

use std::time::{Duration, Instant};

use crate::peer::*;

#[test]
fn closes_connections_that_say_nothing_or_little() {
    let gateway = Gateway::with(0, |policy| policy.artim = Duration::from_millis(400));
    let start = Instant::now();
    let mut silent = Peer::connect(&gateway);
    let mut dripping = Peer::connect(&gateway);
    let bytes = request("CT01", "CONTOURD", &[(1, CT)]);
    for byte in &bytes[..8] {
        dripping.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(silent.answer(), Answer::Closed);
    assert_eq!(dripping.answer(), Answer::Closed);
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}

#[test]
fn serves_others_while_five_hundred_say_nothing() {
    let gateway = Gateway::with(0, |policy| policy.artim = Duration::from_secs(20));
    let silent: Vec<Peer> = (0..500).map(|_| Peer::connect(&gateway)).collect();
    gateway.answers_others();
    assert_eq!(Peer::associated(&gateway).store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0));
    drop(silent);
}

#[test]
fn aborts_associations_that_fall_silent() {
    let gateway = Gateway::with(0, |policy| policy.idle = Duration::from_millis(300));
    let mut idle = Peer::associated(&gateway);
    assert_eq!(idle.answer(), Answer::Aborted(2, 0));
    let mut half = Peer::associated(&gateway);
    half.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.5"))]));
    half.send(&[4, 0, 0, 0, 16, 0, 1, 2, 3]);
    assert_eq!(half.answer(), Answer::Aborted(2, 0));
    gateway.holds(0);
}

#[test]
fn aborts_associations_whose_message_comes_a_byte_at_a_time() {
    let gateway = Gateway::with(0, |policy| policy.idle = Duration::from_millis(300));
    let mut slow = Peer::associated(&gateway);
    slow.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.5"))]));
    let began = std::time::Instant::now();
    // Each PDU comes in time, and none of them gets anywhere; a peer that is cut off may find its connection closed.
    while began.elapsed() < Duration::from_millis(1_500) {
        slow.send(&pdata(&[pdv(CT_CONTEXT, 0, b"x")]));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(slow.answer(), Answer::Aborted(2, 0));
    gateway.holds(0);
}

#[test]
fn rejects_for_now_beyond_the_number_of_associations() {
    let gateway = Gateway::with(0, |policy| policy.associations_per_caller_max = 3);
    let open: Vec<Peer> = (0..3).map(|_| Peer::associated(&gateway)).collect();
    let mut fourth = Peer::connect(&gateway);
    fourth.send(&request("CT01", "CONTOURD", &[(1, CT)]));
    assert_eq!(fourth.answer(), Answer::Rejected(2, 3, 2));
    let mut other = Peer::connect(&gateway);
    other.send(&request("LOOK", "CONTOURD", &[(ECHO_CONTEXT, VERIFICATION)]));
    assert_eq!(other.answer(), Answer::Accepted, "the limit is that of one caller");
    assert_eq!(other.echo(), Answer::Status(0));
    for mut peer in open {
        assert_eq!(peer.release(), Answer::Released);
    }
    std::thread::sleep(Duration::from_millis(200));
    gateway.answers_others();
}

#[test]
fn one_peer_may_have_a_limit_of_its_own() {
    let gateway = Gateway::with(0, |policy| {
        policy.acceptance.callers.values_mut().flatten().for_each(|caller| {
            caller.associations_max = (caller.name == "ct").then_some(1);
        });
    });
    let ask = |title: &str| {
        let mut peer = Peer::connect(&gateway);
        peer.send(&request(title, "CONTOURD", &[(ECHO_CONTEXT, VERIFICATION)]));
        let answer = peer.answer();
        (peer, answer)
    };
    let (mut first, accepted) = ask("CT01");
    assert_eq!((accepted, ask("CT01").1), (Answer::Accepted, Answer::Rejected(2, 3, 2)));
    let others = [ask("LOOK"), ask("LOOK")];
    assert_eq!(others.each_ref().map(|(_, answer)| *answer), [Answer::Accepted; 2]);
    assert_eq!(first.release(), Answer::Released);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask("CT01").1, Answer::Accepted);
}

#[test]
fn stops_data_sets_that_are_too_long_or_never_end() {
    let gateway = Gateway::with(0, |policy| policy.instance_bytes_max = 100_000);
    let mut peer = Peer::associated(&gateway);
    let mut long = image("1.2.3.4.5", 1);
    long.extend(element(0x7FE1, 0x0010, &vec![0; 120_000]));
    assert_eq!(peer.store("1.2.3.4.5", &long), Answer::Status(0xA700));
    assert_eq!(peer.store("1.2.3.4.6", &image("1.2.3.4.6", 1)), Answer::Status(0), "the association goes on");
    peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.7"))]));
    for _ in 0..40 {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 0, &[0; 16_000])]));
    }
    assert_eq!(peer.answer(), Answer::Aborted(2, 0));
    gateway.holds(1);
}

#[test]
fn answers_out_of_resources_below_the_floor() {
    let gateway = Gateway::with(u64::MAX, |_| ());
    let mut peer = Peer::associated(&gateway);
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0xA700));
    assert_eq!(peer.echo(), Answer::Status(0), "the association goes on");
    gateway.holds(0);
}

#[test]
fn follows_a_new_policy_from_the_next_association_on() {
    let gateway = Gateway::start();
    let mut open = Peer::associated(&gateway);
    gateway.policy.send_modify(|policy| {
        let mut changed = (**policy).clone();
        changed.acceptance.callers.clear();
        *policy = std::sync::Arc::new(changed);
    });
    let mut next = Peer::connect(&gateway);
    next.send(&request("CT01", "CONTOURD", &[(1, CT)]));
    assert_eq!(next.answer(), Answer::Rejected(1, 1, 3));
    assert_eq!(open.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0), "what is open goes on");
}
