//! PDUs and presentation data values within an association that are not what they say, or not due.

use crate::bytes::*;
use crate::case::{Case, half_store};
use crate::peer::Answer::{self, Aborted, Closed, Released, Status};

const UNSPECIFIED: Answer = Aborted(2, 0);
const UNRECOGNIZED: Answer = Aborted(2, 1);
const UNEXPECTED: Answer = Aborted(2, 2);
const INVALID: Answer = Aborted(2, 6);

pub fn all() -> Vec<Case> {
    [out_of_turn(), lengths(), values(), endings()].into_iter().flatten().collect()
}

fn out_of_turn() -> Vec<Case> {
    let clause = "PS3.8 9.2.3, AA-8";
    let accept = [vec![0, 1, 0, 0], vec![b' '; 32], vec![0; 32], item(0x10, b"1.2.840.10008.3.1.1.1")].concat();
    let accept = pdu(2, &[accept, item(0x50, &maximum(16_384))].concat());
    let mut cases = vec![
        Case::talk("a second request", clause, Request::ordinary().bytes(), &[UNEXPECTED]),
        Case::talk("an accept in an association", clause, accept, &[UNEXPECTED]),
        Case::talk("a rejection in an association", clause, pdu(3, &[0, 1, 1, 1]), &[UNEXPECTED]),
        Case::talk("a release reply without a release", clause, pdu(6, &[0; 4]), &[UNEXPECTED]),
        Case::talk(
            "a second request within a store",
            clause,
            [half_store("1.2.3.4"), Request::ordinary().bytes()].concat(),
            &[UNEXPECTED],
        ),
    ];
    for kind in [0, 8, 0x16, 0xff] {
        let bytes = pdu(kind, b"garbage");
        cases.push(Case::talk(format!("then a PDU of type {kind:#04x}"), "PS3.8 9.2.3, AA-8", bytes, &[UNRECOGNIZED]));
    }
    cases
}

fn lengths() -> Vec<Case> {
    let clause = "PS3.8 9.3.5";
    vec![
        Case::talk("P-DATA of 4 GiB", clause, pdu_of(4, u32::MAX, &[]), &[INVALID]),
        Case::talk("P-DATA of 2 GiB", clause, pdu_of(4, 1 << 31, &[]), &[INVALID]),
        Case::talk("P-DATA a byte longer than agreed", "PS3.8 D.1", pdu_of(4, 131_073, &[]), &[INVALID]),
        Case::talk(
            "P-DATA of 1 MB, sent",
            "PS3.8 D.1",
            pdata(&[pdv(AS_IMPLICIT, DATA, &vec![0; 1 << 20])]),
            &[INVALID],
        ),
        Case::talk("a release of 0 bytes", "PS3.8 9.3.6", pdu(5, &[]), &[INVALID]),
        Case::talk("a release of 5 bytes", "PS3.8 9.3.6", pdu(5, &[0; 5]), &[INVALID]),
        Case::talk("an abort of 0 bytes", "PS3.8 9.3.8", pdu(7, &[]), &[INVALID]),
        Case::talk("an abort of 4 GiB", "PS3.8 9.3.8", pdu_of(7, u32::MAX, &[]), &[INVALID]),
        Case::answered("P-DATA of 0 bytes before an echo", clause, 0, [pdata(&[]), echo()].concat()),
        Case::talk("P-DATA of 0 bytes 10,001 times", "a flood of nothing", pdata(&[]).repeat(10_001), &[UNSPECIFIED]),
        Case::talk(
            "empty fragments 10,001 times",
            "a flood of nothing",
            pdata(&[pdv(ECHO, COMMAND, b"")]).repeat(10_001),
            &[UNSPECIFIED],
        ),
    ]
}

fn values() -> Vec<Case> {
    let clause = "PS3.8 9.3.5.1";
    let command = command(&echo_elements());
    let mut cases = vec![
        Case::talk("a value of length 0", clause, pdu(4, &pdv_of(0, ECHO, 3, &[])), &[INVALID]),
        Case::talk("a value of length 1", clause, pdu(4, &pdv_of(1, ECHO, 3, &[])), &[INVALID]),
        Case::talk("a value longer than its PDU", clause, pdu(4, &pdv_of(1_000, ECHO, 3, &command)), &[INVALID]),
        Case::talk("a value of 4 GiB", clause, pdu(4, &pdv_of(u32::MAX, ECHO, 3, &command)), &[INVALID]),
        Case::talk(
            "a good value, then one too long",
            clause,
            pdata(&[pdv(ECHO, 3, &command), pdv_of(99, ECHO, 3, b"")]),
            &[Status(0), INVALID],
        ),
        Case::talk(
            "a good value, then half a head",
            clause,
            pdata(&[pdv(ECHO, 3, &command), vec![0, 0, 0]]),
            &[Status(0), INVALID],
        ),
        Case::talk("a context that was not proposed", clause, said(99, &command), &[INVALID]),
        Case::talk("a context of number 0", clause, said(0, &command), &[INVALID]),
        Case::talk("a context of even number", clause, said(2, &command), &[INVALID]),
        Case::talk("a context that was refused", clause, said(REFUSED, &command), &[INVALID]),
        Case::answered("reserved bits of the flags", "PS3.8 E.2", 0, pdata(&[pdv(ECHO, 0xff, &command)])),
        Case::talk(
            "two commands in one PDU",
            "PS3.8 9.3.5",
            pdata(&[pdv(ECHO, 3, &command), pdv(ECHO, 3, &command)]),
            &[Status(0), Status(0)],
        ),
        Case::talk("200 commands without waiting", "PS3.7 D.3.3.3", echo().repeat(200), &[Status(0); 200]),
    ];
    for length in 1..6_u8 {
        let bytes = pdu(4, &vec![0; length.into()]);
        cases.push(Case::talk(format!("P-DATA of {length} bytes"), clause, bytes, &[INVALID]));
    }
    cases
}

fn endings() -> Vec<Case> {
    let clause = "PS3.8 9.2";
    vec![
        Case::talk("a release within a store", clause, [half_store("1.2.3.4"), release()].concat(), &[Released]),
        Case::talk(
            "a release within a command",
            clause,
            [pdata(&[pdv(ECHO, COMMAND, b"half")]), release()].concat(),
            &[Released],
        ),
        Case::talk(
            "two releases",
            "PS3.8 9.2, release collision",
            [release(), release()].concat(),
            &[Released, Closed],
        ),
        Case::talk("a release and then data", clause, [release(), echo()].concat(), &[Released, Closed]),
        Case::talk("an abort within a store", clause, [half_store("1.2.3.4"), pdu(7, &[0; 4])].concat(), &[Closed]),
        Case::talk("an abort with reasons that nobody knows", "PS3.8 9.3.8", pdu(7, &[0xff; 4]), &[Closed]),
        Case::play("the end of the stream within a store", clause, &[Closed], |peer| {
            peer.send(&half_store("1.2.3.4"));
            peer.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
            vec![peer.answer()]
        }),
        Case::play("the end of the stream within a PDU", clause, &[Closed], |peer| {
            peer.send(&echo()[..9]);
            peer.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
            vec![peer.answer()]
        }),
        Case::play("a reset within a store", clause, &[], |peer| {
            // What is closed with an answer unread is reset.
            peer.send(&[echo(), half_store("1.2.3.4")].concat());
            std::thread::sleep(std::time::Duration::from_millis(50));
            Vec::new()
        }),
    ]
}
