//! Messages whose fragments are in an odd or wrong order.

use crate::bytes::*;
use crate::case::{Case, half_store};
use crate::peer::Answer::{self, Aborted, Status};

const UNEXPECTED: Answer = Aborted(2, 2);
const INVALID: Answer = Aborted(2, 6);

pub fn all() -> Vec<Case> {
    [odd(), wrong()].into_iter().flatten().collect()
}

/// Legal, and unusual enough to have ended other programs.
fn odd() -> Vec<Case> {
    let clause = "PS3.8 E.1";
    let command = |instance: &str| store_command(CT, instance);
    let in_bytes = |instance: &str| -> Vec<u8> {
        let command = command(instance);
        let last = command.len() - 1;
        let piece =
            |(index, byte): (usize, &u8)| pdata(&[pdv(AS_IMPLICIT, if index == last { 3 } else { 1 }, &[*byte])]);
        command.iter().enumerate().flat_map(piece).collect()
    };
    let in_pairs = |instance: &str| -> Vec<u8> {
        let pairs =
            image(instance).chunks(2).flat_map(|pair| pdata(&[pdv(AS_IMPLICIT, DATA, pair)])).collect::<Vec<u8>>();
        [pairs, pdata(&[pdv(AS_IMPLICIT, LAST, b"")])].concat()
    };
    let in_one_pdu = |instance: &str, bytes: usize| {
        let mut values = vec![pdv(AS_IMPLICIT, 3, &command(instance))];
        let mut size = 10;
        let data = image(instance);
        let mut rest = &data[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            values.push(pdv(AS_IMPLICIT, if after.is_empty() { LAST } else { DATA }, piece));
            (rest, size) = (after, size + bytes);
        }
        pdata(&values)
    };
    let answered =
        |name: &str, instance: &str, bytes: Vec<u8>| Case::answered(name, clause, 0, bytes).keeping(instance);
    vec![
        answered(
            "a command in values of one byte",
            "1.2.3.2.1",
            [in_bytes("1.2.3.2.1"), data(AS_IMPLICIT, &image("1.2.3.2.1"))].concat(),
        ),
        answered(
            "a data set in values of two bytes",
            "1.2.3.2.2",
            [said(AS_IMPLICIT, &command("1.2.3.2.2")), in_pairs("1.2.3.2.2")].concat(),
        ),
        answered("command and many values of growing length in one PDU", "1.2.3.2.3", in_one_pdu("1.2.3.2.3", 34)),
        answered("command and values of one length in one PDU", "1.2.3.2.4", in_one_pdu("1.2.3.2.4", 0)),
        answered(
            "a last value without data",
            "1.2.3.2.5",
            [
                said(AS_IMPLICIT, &command("1.2.3.2.5")),
                pdata(&[pdv(AS_IMPLICIT, DATA, &image("1.2.3.2.5"))]),
                pdata(&[pdv(AS_IMPLICIT, LAST, b"")]),
            ]
            .concat(),
        ),
        answered(
            "values of odd length",
            "1.2.3.2.6",
            [
                said(AS_IMPLICIT, &command("1.2.3.2.6")),
                image("1.2.3.2.6").chunks(333).flat_map(|piece| pdata(&[pdv(AS_IMPLICIT, DATA, piece)])).collect(),
                pdata(&[pdv(AS_IMPLICIT, LAST, b"")]),
            ]
            .concat(),
        ),
    ]
}

fn wrong() -> Vec<Case> {
    let clause = "PS3.7 6.3, PS3.8 E.1";
    let store = || pdv(AS_IMPLICIT, 3, &store_command(CT, "1.2.3.4"));
    let echo_command = command(&echo_elements());
    let (first, second) = echo_command.split_at(20);
    vec![
        Case::talk("data before a command", clause, data(AS_IMPLICIT, &image("1.2.3.4")), &[UNEXPECTED]),
        Case::talk("a command within a data set", clause, [half_store("1.2.3.4"), echo()].concat(), &[UNEXPECTED]),
        Case::talk("a second store where data are due", clause, pdata(&[store(), store()]), &[UNEXPECTED]),
        Case::talk(
            "data within a command",
            clause,
            pdata(&[pdv(ECHO, COMMAND, first), pdv(ECHO, DATA, second)]),
            &[UNEXPECTED],
        ),
        Case::talk(
            "data behind an echo",
            clause,
            pdata(&[pdv(ECHO, 3, &echo_command), pdv(ECHO, LAST, b"data")]),
            &[Status(0), UNEXPECTED],
        ),
        Case::talk(
            "data in another context than their command",
            clause,
            pdata(&[store(), pdv(AS_EXPLICIT, LAST, b"data")]),
            &[INVALID],
        ),
        Case::talk(
            "a command that changes its context",
            clause,
            pdata(&[pdv(ECHO, COMMAND, first), pdv(AS_IMPLICIT, 3, second)]),
            &[INVALID],
        ),
        Case::talk(
            "a command without end",
            "PS3.7 6.3.1",
            pdata(&[pdv(ECHO, COMMAND, &[0; 16_000])]).repeat(5),
            &[INVALID],
        ),
        Case::talk(
            "a command without end, byte by byte",
            "PS3.7 6.3.1",
            pdata(&[pdv(ECHO, COMMAND, &[0])]).repeat(65_537),
            &[INVALID],
        ),
        Case::talk(
            "a command of 100 kB in one value",
            "PS3.7 6.3.1",
            pdata(&[pdv(ECHO, 3, &[0; 100_000])]),
            &[INVALID],
        ),
    ]
}
