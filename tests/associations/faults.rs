//! What broken and hostile peers get, one by one; others are served within a second all the while.

use crate::peer::*;

/// After `speak`, the gateway gives `expected`, has kept nothing, and serves others.
#[track_caller]
fn check(expected: Answer, speak: impl FnOnce(&mut Peer)) {
    let gateway = Gateway::start();
    let mut peer = Peer::associated(&gateway);
    speak(&mut peer);
    assert_eq!(peer.answer(), expected);
    gateway.answers_others();
    gateway.holds(0);
    assert!(gateway.notices.lock().expect("no panic").is_empty());
}

/// A store that is refused leaves the association usable.
#[track_caller]
fn refused(expected: u16, sop_instance_uid: &str, data_set: &[u8]) {
    check(Answer::Released, |peer| {
        assert_eq!(peer.store(sop_instance_uid, data_set), Answer::Status(expected));
        assert_eq!(peer.echo(), Answer::Status(0));
        peer.send(&pdu(5, &[0; 4]));
    });
}

#[test]
fn refuses_data_sets_that_end_in_the_middle() {
    let data = image("1.2.3.4.5", 1);
    for end in [0, 3, 8, 20, 60, data.len() - 2_048, data.len() - 1] {
        refused(0xC001, "1.2.3.4.5", &data[..end]);
    }
}

#[test]
fn refuses_image_data_that_announces_what_never_comes() {
    let mut data = image("1.2.3.4.5", 1);
    let at = data.len() - 2_048 - 4;
    data[at..at + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    refused(0xC001, "1.2.3.4.5", &data);
}

#[test]
fn refuses_paths_in_uids_wherever_they_stand() {
    for uid in
        ["../../etc/passwd", "/etc/passwd", "..", ".", "1.2/3", "1.2\0.3", "", &"1".repeat(65), &"1".repeat(5_000)]
    {
        refused(0xC002, uid, &image("1.2.3.4.5", 1));
        refused(0xC002, "1.2.3.4.5", &image_of(CT, uid, "1.2.3", "1.2.3.4", 1));
        refused(0xC002, "1.2.3.4.5", &image_of(CT, "1.2.3.4.5", uid, "1.2.3.4", 1));
        refused(0xC002, "1.2.3.4.5", &image_of(CT, "1.2.3.4.5", "1.2.3", uid, 1));
    }
}

#[test]
fn refuses_data_sets_that_are_not_what_the_command_says() {
    refused(0xA900, "1.2.3.4.5", &image("1.2.3.4.6", 1));
    refused(0xA900, "1.2.3.4.5", &image_of(MR, "1.2.3.4.5", "1.2.3", "1.2.3.4", 1));
    check(Answer::Status(0xA900), |peer| {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(MR, "1.2.3.4.5"))]));
        peer.send_data(&image_of(MR, "1.2.3.4.5", "1.2.3", "1.2.3.4", 1));
    });
}

#[test]
fn refuses_deep_nesting_and_groups_that_do_not_belong() {
    let mut nested = Vec::new();
    for _ in 0..5_000 {
        nested.extend([u16(0x0008), u16(0x1140), vec![0xff; 4], vec![0xfe, 0xff, 0x00, 0xe0], vec![0xff; 4]].concat());
    }
    let head = image("1.2.3.4.5", 1);
    refused(0xC003, "1.2.3.4.5", &[&head[..head.len() - 2_056], &nested].concat());
    refused(0xC000, "1.2.3.4.5", &[element(0x0002, 0x0010, &text(IMPLICIT)), image("1.2.3.4.5", 1)].concat());
}

#[test]
fn refuses_classes_and_callers_that_may_not_store() {
    check(Answer::Status(0x0122), |peer| {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command("1.2.840.10008.5.1.4.1.1.1", "1.2.3"))]));
        peer.send_data(&image("1.2.3", 1));
    });
    let gateway = Gateway::start();
    let mut look = Peer::connect(&gateway);
    look.send(&request("LOOK", "CONTOURD", &[(CT_CONTEXT, CT), (ECHO_CONTEXT, VERIFICATION)]));
    assert_eq!(look.answer(), Answer::Accepted);
    assert_eq!(look.echo(), Answer::Status(0));
    assert_eq!(look.store("1.2.3.4.5", &image("1.2.3.4.5", 1)), Answer::Status(0x0124));
    gateway.holds(0);
}

#[test]
fn answers_other_services_and_stores_without_data() {
    let find = |data: u16| command(&[(0x0100, u16(0x20)), (0x0110, u16(1)), (0x0800, crate::peer::u16(data))]);
    check(Answer::Status(0x0211), |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &find(0x0101))])));
    check(Answer::Status(0x0211), |peer| {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &find(1))]));
        peer.send_data(&image("1.2.3.4.5", 1));
    });
    let empty = command(&[(0x0100, u16(1)), (0x0110, u16(1)), (0x0800, u16(0x0101)), (0x1000, text("1.2"))]);
    check(Answer::Status(0x0212), |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &empty)])));
}

#[test]
fn discards_the_half_instance_of_a_peer_that_releases_or_goes() {
    let half = |peer: &mut Peer| {
        peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.5"))]));
        peer.send(&pdata(&[pdv(CT_CONTEXT, 0, &image("1.2.3.4.5", 1)[..1_000])]));
    };
    check(Answer::Released, |peer| {
        half(peer);
        peer.send(&pdu(5, &[0; 4]));
    });
    check(Answer::Closed, |peer| {
        half(peer);
        peer.send(&pdu(7, &[0; 4]));
    });
    check(Answer::Closed, |peer| {
        half(peer);
        peer.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    });
}

#[test]
fn aborts_what_breaks_the_protocol() {
    let store = || pdv(CT_CONTEXT, 3, &store_command(CT, "1.2.3.4.5"));
    let invalid = Answer::Aborted(2, 6);
    let unexpected = Answer::Aborted(2, 2);
    check(invalid, |peer| peer.send(&[4, 0, 0, 2, 0, 1]));
    check(invalid, |peer| peer.send(&[4, 0, 0xff, 0xff, 0xff, 0xff]));
    for length in [0_u32, 1, 1_000] {
        let body = [&length.to_be_bytes()[..], &[CT_CONTEXT, 3]].concat();
        check(invalid, |peer| peer.send(&pdu(4, &body)));
    }
    check(invalid, |peer| peer.send(&pdu(4, &[0, 0, 0])));
    check(invalid, |peer| peer.send(&pdata(&[pdv(99, 3, &store_command(CT, "1.2"))])));
    check(invalid, |peer| peer.send(&pdata(&[store(), pdv(ECHO_CONTEXT, 2, &image("1.2.3.4.5", 1))])));
    check(unexpected, |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 2, &image("1.2.3.4.5", 1))])));
    check(unexpected, |peer| peer.send(&pdata(&[store(), store()])));
    check(unexpected, |peer| peer.send(&request("CT01", "CONTOURD", &[(1, CT)])));
    check(unexpected, |peer| peer.send(&pdu(6, &[0; 4])));
    let response = command(&[(0x0100, u16(0x8001)), (0x0120, u16(1)), (0x0800, u16(0x0101)), (0x0900, u16(0))]);
    check(unexpected, |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &response)])));
    check(Answer::Aborted(2, 1), |peer| peer.send(&pdu(0x47, b"garbage")));
}

#[test]
fn aborts_commands_that_are_garbage_or_never_end() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5 {
        let garbage: Vec<u8> = (0..200).map(|_| random.u8(..)).collect();
        check(Answer::Aborted(2, 0), |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &garbage)])));
    }
    let nameless = command(&[(0x0110, u16(1)), (0x0800, u16(0x0101))]);
    check(Answer::Aborted(2, 0), |peer| peer.send(&pdata(&[pdv(CT_CONTEXT, 3, &nameless)])));
    check(Answer::Aborted(2, 6), |peer| {
        for _ in 0..5 {
            peer.send(&pdata(&[pdv(CT_CONTEXT, 1, &[0; 16_000])]));
        }
    });
}

#[test]
fn refuses_connections_that_begin_with_anything_else() {
    let gateway = Gateway::start();
    let cases: [(&[u8], Answer); 8] = [
        (b"GET / HTTP/1.1\r\n\r\n", Answer::Aborted(2, 1)),
        (b"\x16\x03\x01\x02\x00\x01\x00", Answer::Aborted(2, 1)),
        (&pdata(&[pdv(1, 3, &store_command(CT, "1.2"))]), Answer::Aborted(2, 2)),
        (&pdu(5, &[0; 4]), Answer::Aborted(2, 2)),
        (&pdu(7, &[0; 4]), Answer::Closed),
        (&[1, 0, 0xff, 0xff, 0xff, 0xff], Answer::Aborted(2, 6)),
        (&pdu(1, &[0; 67]), Answer::Aborted(2, 6)),
        (&pdu(1, &[]), Answer::Aborted(2, 6)),
    ];
    for (bytes, expected) in cases {
        let mut peer = Peer::connect(&gateway);
        peer.send(bytes);
        assert_eq!(peer.answer(), expected, "{bytes:?}");
    }
    gateway.answers_others();
}

#[test]
fn rejects_and_aborts_requests_with_the_right_numbers() {
    let gateway = Gateway::start();
    let context: &[(u8, &str)] = &[(1, CT)];
    let mut version = request("CT01", "CONTOURD", context);
    version[7] = 0;
    let mut application = request("CT01", "CONTOURD", context);
    application[80] = b'9';
    let many: Vec<(u8, &str)> = (0..128_u8).map(|index| (index.wrapping_mul(2) + 1, CT)).collect();
    let cases = [
        (request("OTHER", "CONTOURD", context), Answer::Rejected(1, 1, 3)),
        (request("CT\u{1b}01", "CONTOURD", context), Answer::Rejected(1, 1, 3)),
        (request("", "CONTOURD", context), Answer::Rejected(1, 1, 3)),
        (request("CT01", "OTHER", context), Answer::Rejected(1, 1, 7)),
        (request("CT01", "CONTOURD", &[]), Answer::Rejected(1, 2, 1)),
        (version, Answer::Rejected(1, 2, 2)),
        (application, Answer::Rejected(1, 1, 2)),
        (request("CT01", "CONTOURD", &[(2, CT)]), Answer::Aborted(2, 6)),
        (request("CT01", "CONTOURD", &[(1, CT), (1, MR)]), Answer::Aborted(2, 6)),
        (request("CT01", "CONTOURD", &[(1, "1.2.3")]), Answer::Accepted),
        (request("CT01", "CONTOURD", &many), Answer::Accepted),
    ];
    for (bytes, expected) in cases {
        let mut peer = Peer::connect(&gateway);
        peer.send(&bytes);
        assert_eq!(peer.answer(), expected);
    }
}
