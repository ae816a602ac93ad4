//! What well-behaved and merely unusual peers get.

use std::time::Duration;

use crate::peer::*;

#[test]
fn stores_and_tells_before_it_answers() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0));
    gateway.told(&["stored 1.2.3.4.5"]);
    gateway.holds(1);
    assert_eq!(peer.release(), Answer::Released);
    let file = gateway.folder.path().join("instances/1.2.3/1.2.3.4/1.2.3.4.5.dcm");
    assert!(std::fs::read(file).expect("the instance").ends_with(&image("1.2.3.4.5", 1)), "the bytes as they came");
    drop(peer);
    gateway.told(&["stored 1.2.3.4.5", "closed released"]);
}

#[test]
fn takes_commands_in_values_of_one_byte_and_data_in_values_of_two() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    let bytes = store_command(CT, "1.2.3.4.5");
    for (index, byte) in bytes.iter().enumerate() {
        let flags = if index + 1 == bytes.len() { 3 } else { 1 };
        peer.send(&pdata(&[pdv(CT_CONTEXT, flags, &[*byte])]));
    }
    let data = image("1.2.3.4.5", 1);
    for pair in data.chunks(2) {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 0, pair)]));
    }
    peer.send(&pdata(&[pdv(CT_CONTEXT, 2, b"")]));
    assert_eq!(peer.answer(), Answer::Status(0));
    gateway.holds(1);
}

#[test]
fn takes_command_and_many_values_in_one_pdu() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    let data = image("1.2.3.4.5", 1);
    let mut values = vec![pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.5"))];
    let (mut rest, mut size) = (&data[..], 10);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        values.push(pdv(CT_CONTEXT, if after.is_empty() { 2 } else { 0 }, piece));
        (rest, size) = (after, size + 34);
    }
    assert!(values.len() > 10);
    peer.send(&pdata(&values));
    assert_eq!(peer.answer(), Answer::Status(0));
    // Two whole messages in one PDU are as legal.
    let echo = command(&[(0x0100, u16(0x30)), (0x0110, u16(1)), (0x0800, u16(0x0101))]);
    peer.send(&pdata(&[pdv(ECHO_CONTEXT, 3, &echo), pdv(ECHO_CONTEXT, 3, &echo)]));
    assert_eq!((peer.answer(), peer.answer()), (Answer::Status(0), Answer::Status(0)));
    gateway.holds(1);
}

#[test]
fn answers_the_same_bytes_with_success_and_tells_nobody() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    let data = image("1.2.3.4.5", 1);
    assert_eq!(peer.store("1.2.3.4.5", &data), Answer::Status(0));
    assert_eq!(peer.store("1.2.3.4.5", &data), Answer::Status(0));
    gateway.told(&["stored 1.2.3.4.5"]);
    gateway.holds(1);
}

#[test]
fn keeps_the_first_of_two_that_differ() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0));
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 2)), Answer::Status(0x0111));
    let file = gateway.folder.path().join("instances/1.2.3/1.2.3.4/1.2.3.4.5.dcm");
    assert!(std::fs::read(file).expect("the instance").ends_with(&[1; 2_048]));
    gateway.told(&["stored 1.2.3.4.5"]);
    assert_eq!(gateway.files("quarantine"), 1);
}

#[test]
fn ignores_empty_pdus_cancels_and_values_in_names() {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    peer.send(&pdata(&[]));
    let cancel = command(&[(0x0100, u16(0x0FFF)), (0x0120, u16(1)), (0x0800, u16(0x0101))]);
    peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &cancel)]));
    let mut data = image("1.2.3.4.5", 1);
    let name = data.windows(6).position(|window| window == b"Nobody").expect("a name");
    data[name..name + 14].copy_from_slice(b"<script>\x1b[2J\r\n");
    assert_eq!(peer.store("1.2.3.4.5", &data), Answer::Status(0));
}

#[test]
fn finishes_open_associations_before_it_ends() {
    let gateway = Gateway::with(0, |policy| policy.grace = Duration::from_millis(500));
    let mut peer = Peer::associated(&gateway);
    gateway.shutdown.send_replace(true);
    assert_eq!(peer.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0));
    assert_eq!(peer.answer(), Answer::Aborted(2, 0), "when the grace is over");
    assert!(std::net::TcpStream::connect(gateway.address).is_err(), "no new ones");
}
