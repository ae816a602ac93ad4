//! Command sets that are garbage, incomplete, or say what does not belong here.

use crate::bytes::*;
use crate::case::Case;
use crate::peer::Answer::{self, Aborted, Status};

const UNREADABLE: Answer = Aborted(2, 0);
const UNEXPECTED: Answer = Aborted(2, 2);

pub fn all() -> Vec<Case> {
    [garbage(), encodings(), services(), stores(), identifiers()].into_iter().flatten().collect()
}

fn garbage() -> Vec<Case> {
    let clause = "PS3.7 6.3";
    let mut random = fastrand::Rng::with_seed(7);
    let mut cases: Vec<Case> = (0..5)
        .map(|round| {
            let bytes: Vec<u8> = (0..200).map(|_| random.u8(..)).collect();
            Case::talk(format!("200 random bytes as a command, {round}"), clause, said(ECHO, &bytes), &[UNREADABLE])
        })
        .collect();
    let without = |number: u16| -> Vec<u8> {
        let elements: Vec<_> = echo_elements().into_iter().filter(|(known, _)| *known != number).collect();
        said(ECHO, &command(&elements))
    };
    let with = |number: u16, value: Vec<u8>| -> Vec<u8> {
        let replaced = echo_elements().into_iter();
        let elements: Vec<_> =
            replaced.map(|(known, old)| (known, if known == number { value.clone() } else { old })).collect();
        said(ECHO, &command(&elements))
    };
    let raw = |bytes: &[u8]| said(ECHO, &[command(&echo_elements()), bytes.to_vec()].concat());
    cases.extend([
        Case::talk("an empty command", clause, said(ECHO, b""), &[UNREADABLE]),
        Case::talk("a command of zeros", clause, said(ECHO, &[0; 64]), &[UNREADABLE]),
        Case::talk("no Command Field", clause, without(0x0100), &[UNREADABLE]),
        Case::talk("no Message ID", clause, without(0x0110), &[UNREADABLE]),
        Case::talk("no Command Data Set Type", clause, without(0x0800), &[UNREADABLE]),
        Case::talk("a Command Field of 4 bytes", clause, with(0x0100, vec![0x30, 0, 0, 0]), &[UNREADABLE]),
        Case::talk("a Command Field of 1 byte", clause, with(0x0100, vec![0x30]), &[UNREADABLE]),
        Case::talk("an empty Message ID", clause, with(0x0110, vec![]), &[UNREADABLE]),
        Case::talk("half an element at the end", clause, raw(&[0, 0, 0]), &[UNREADABLE]),
        Case::talk(
            "an element of a data set in a command",
            clause,
            raw(&element(0x0008, 0x0018, b"1.2.3\0")),
            &[UNREADABLE],
        ),
        Case::talk("an element of a command twice", clause, raw(&element(0, 0x0800, &u16(0x0101))), &[UNREADABLE]),
        Case::talk("elements of a command in falling order", clause, raw(&element(0, 0x0110, &u16(1))), &[UNREADABLE]),
        Case::talk(
            "an element of 4 GiB in a command",
            clause,
            raw(&element_of(0, 0x1000, u32::MAX, b"")),
            &[UNREADABLE],
        ),
        Case::talk(
            "an element longer than its command",
            clause,
            raw(&element_of(0, 0x1000, 10, b"1.2.3")),
            &[UNREADABLE],
        ),
    ]);
    cases
}

fn encodings() -> Vec<Case> {
    let clause = "PS3.7 6.3.1";
    let body: Vec<u8> = echo_elements().iter().flat_map(|(number, value)| element(0, *number, value)).collect();
    let length = |value: u32| said(ECHO, &[element(0, 0, &value.to_le_bytes()), body.clone()].concat());
    let explicit_vr: Vec<u8> =
        [(0x0002, b"UI", padded(VERIFICATION)), (0x0100, b"US", u16(0x30)), (0x0110, b"US", u16(1))]
            .iter()
            .flat_map(|(number, vr, value)| explicit(0, *number, vr, value))
            .collect();
    let big: Vec<u8> = echo_elements()
        .iter()
        .flat_map(|(number, value)| {
            [&[0, 0][..], &number.to_be_bytes(), &(value.len() as u32).to_be_bytes(), value].concat()
        })
        .collect();
    let mut nested = element_of(0, 0x2000, u32::MAX, &[]);
    nested.extend(element_of(0xfffe, 0xe000, u32::MAX, &[]).repeat(1_000));
    let extra = [echo_elements(), vec![(0x4444, vec![7; 30_000])]].concat();
    vec![
        Case::answered("a group length of 0", clause, 0, length(0)),
        Case::answered("a group length of 4 GiB", clause, 0, length(u32::MAX)),
        Case::answered("no group length", clause, 0, said(ECHO, &body)),
        Case::talk("a command in Explicit VR", clause, said(ECHO, &explicit_vr), &[UNREADABLE]),
        Case::talk("a command in big endian", clause, said(ECHO, &big), &[UNREADABLE]),
        Case::talk(
            "sequences nested in a command",
            clause,
            said(ECHO, &[body.clone(), nested].concat()),
            &[UNREADABLE],
        ),
        Case::answered("30,000 bytes of an element that nobody knows", clause, 0, said(ECHO, &command(&extra))),
    ]
}

fn services() -> Vec<Case> {
    let clause = "PS3.7 9.1, 10.1";
    let of = |field: u16, data: u16| command(&[(0x0100, u16(field)), (0x0110, u16(1)), (0x0800, u16(data))]);
    let mut cases = Vec::new();
    for (name, field) in [
        ("C-GET", 0x10),
        ("C-FIND", 0x20),
        ("C-MOVE", 0x21),
        ("N-CREATE", 0x140),
        ("field 0", 0),
        ("field 7777", 0x7777),
    ] {
        cases.push(Case::answered(
            format!("{name} where images are stored"),
            clause,
            0x0211,
            said(AS_IMPLICIT, &of(field, 0x0101)),
        ));
    }
    let response =
        |field: u16| command(&[(0x0100, u16(field)), (0x0120, u16(1)), (0x0800, u16(0x0101)), (0x0900, u16(0))]);
    let cancel = command(&[(0x0100, u16(0x0FFF)), (0x0120, u16(1)), (0x0800, u16(0x0101))]);
    let numbered = |number: u16| {
        let elements = echo_elements().into_iter();
        let elements: Vec<_> =
            elements.map(|(known, old)| (known, if known == 0x0110 { u16(number) } else { old })).collect();
        said(ECHO, &command(&elements))
    };
    cases.extend([
        Case::answered(
            "C-FIND with its data set",
            clause,
            0x0211,
            [said(AS_IMPLICIT, &of(0x20, 1)), data(AS_IMPLICIT, &image("1.2.3.4"))].concat(),
        ),
        Case::answered(
            "an echo with a data set",
            "PS3.7 9.3.5.1",
            0x0211,
            [said(ECHO, &of(0x30, 1)), data(ECHO, b"data")].concat(),
        ),
        Case::talk(
            "an answer to a store that was not asked for",
            clause,
            said(AS_IMPLICIT, &response(0x8001)),
            &[UNEXPECTED],
        ),
        Case::talk("an answer to an echo that was not asked for", clause, said(ECHO, &response(0x8030)), &[UNEXPECTED]),
        Case::answered(
            "a cancel of nothing, then an echo",
            "PS3.7 9.3.2.3",
            0,
            [said(AS_IMPLICIT, &cancel), echo()].concat(),
        ),
        Case::answered("Message ID 0", "PS3.7 E.1", 0, numbered(0)),
        Case::answered("Message ID 65,535", "PS3.7 E.1", 0, numbered(u16::MAX)),
    ]);
    cases
}

fn replaced(number: u16, value: Option<Vec<u8>>) -> Vec<u8> {
    let mut elements = store_elements(CT, "1.2.3.4");
    elements.retain(|(known, _)| *known != number);
    elements.extend(value.map(|value| (number, value)));
    elements.sort_by_key(|(number, _)| *number);
    command(&elements)
}

fn stores() -> Vec<Case> {
    let clause = "PS3.7 9.3.1.1";
    let none = || replaced(0x0800, Some(u16(0x0101)));
    let image_data = || data(AS_IMPLICIT, &image("1.2.3.4"));
    let of = |command: Vec<u8>| [said(AS_IMPLICIT, &command), image_data()].concat();
    let origin = [store_elements(CT, "1.2.3.3.2"), vec![(0x1030, padded("MOVER")), (0x1031, u16(9))]].concat();
    let urgent: Vec<_> = store_elements(CT, "1.2.3.3.1")
        .into_iter()
        .map(|(number, old)| (number, if number == 0x0700 { u16(u16::MAX) } else { old }))
        .collect();
    vec![
        Case::answered("a store that says it has no data set", clause, 0x0212, said(AS_IMPLICIT, &none())),
        Case::talk("a store that says it has no data set, with one", clause, of(none()), &[Status(0x0212), UNEXPECTED]),
        Case::talk(
            "a store with a data set that never comes",
            clause,
            [said(AS_IMPLICIT, &store_command(CT, "1.2.3.4")), echo()].concat(),
            &[UNEXPECTED],
        ),
        Case::answered(
            "a priority of 65,535",
            clause,
            0,
            [said(AS_IMPLICIT, &command(&urgent)), data(AS_IMPLICIT, &image("1.2.3.3.1"))].concat(),
        )
        .keeping("1.2.3.3.1"),
        Case::answered(
            "a store on behalf of a move",
            clause,
            0,
            [said(AS_IMPLICIT, &command(&origin)), data(AS_IMPLICIT, &image("1.2.3.3.2"))].concat(),
        )
        .keeping("1.2.3.3.2"),
        Case::answered(
            "a class that is not stored here",
            "PS3.4 B.2.3",
            0x0122,
            of(store_command("1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.4")),
        ),
        Case::answered("a class that is none", "PS3.4 B.2.3", 0x0122, of(store_command("1.2.3", "1.2.3.4"))),
        Case::answered("a class of another context", "PS3.4 B.2.3", 0xA900, of(store_command(MR, "1.2.3.4"))),
        Case::answered(
            "a store where echoes belong",
            "PS3.4 B.2.3",
            0xA900,
            [said(ECHO, &store_command(CT, "1.2.3.4")), data(ECHO, &image("1.2.3.4"))].concat(),
        ),
        Case::answered("a peer that may not store", "PS3.4 B.2.3", 0x0124, of(store_command(CT, "1.2.3.4")))
            .calling("LOOK"),
        Case::answered("a command without a class", clause, 0xC002, of(replaced(0x0002, None))),
        Case::answered("a command without an instance", clause, 0xC002, of(replaced(0x1000, None))),
    ]
}

/// Whatever the command calls the instance, it is no path.
fn identifiers() -> Vec<Case> {
    let clause = "path traversal by UIDs";
    let long = "1".repeat(65);
    let longer = "1.".repeat(2_500) + "1";
    let named = [
        ("a path", "../../../../tmp/hostile"),
        ("an absolute path", "/tmp/hostile"),
        ("two dots", ".."),
        ("one dot", "."),
        ("nothing", ""),
        ("NUL inside", "1.2\0.3"),
        ("a backslash", "1.2\\..\\3"),
        ("65 digits", &long),
        ("5,001 characters", &longer),
        ("letters", "CON"),
        ("other digits", "١.٢.٣"),
        ("a space inside", "1.2 .3"),
        ("an empty component", "1..2"),
        ("a new line", "1.2.3\n"),
    ];
    let case = |(name, uid): (&str, &str)| {
        let bytes = [said(AS_IMPLICIT, &store_command(CT, uid)), data(AS_IMPLICIT, &image("1.2.3.4"))].concat();
        Case::answered(format!("an instance called by {name}"), clause, 0xC002, bytes)
    };
    named.into_iter().map(case).collect()
}
