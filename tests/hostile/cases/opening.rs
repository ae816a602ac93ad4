//! What comes before an association: other protocols, PDUs out of turn, requests that are no requests.

use crate::bytes::*;
use crate::case::Case;
use crate::peer::Answer::{self, Aborted, Accepted, Closed, Rejected, Released, Status};

const UNRECOGNIZED: Answer = Aborted(2, 1);
const UNEXPECTED: Answer = Aborted(2, 2);
const INVALID: Answer = Aborted(2, 6);

pub fn all() -> Vec<Case> {
    [other_protocols(), lengths(), structure(), contexts(), user_information(), titles()]
        .into_iter()
        .flatten()
        .collect()
}

fn other_protocols() -> Vec<Case> {
    let clause = "PS3.8 9.2.3, AA-1";
    let accept = [vec![0, 1, 0, 0], vec![b' '; 32], vec![0; 32], item(0x10, b"1.2.840.10008.3.1.1.1")].concat();
    let accept = [accept, item(0x50, &maximum(16_384))].concat();
    let noise: Vec<u8> = (0..65_536_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    let mut cases = vec![
        Case::opening("an HTTP request", clause, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), UNRECOGNIZED),
        Case::opening("a TLS hello", clause, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), UNRECOGNIZED),
        Case::opening("an SSH banner", clause, b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), UNRECOGNIZED),
        Case::opening("an HL7 message", clause, b"\x0bMSH|^~\\&|A|B\r\x1c\r".to_vec(), UNRECOGNIZED),
        Case::opening("64 kB of noise", clause, noise, UNRECOGNIZED),
        Case::opening("a file meta group", "PS3.10 7.1", [vec![0; 128], b"DICM".to_vec()].concat(), UNRECOGNIZED),
        Case::opening("P-DATA before an association", clause, echo(), UNEXPECTED),
        Case::opening("a release before an association", clause, release(), UNEXPECTED),
        Case::opening("a release reply before an association", clause, pdu(6, &[0; 4]), UNEXPECTED),
        Case::opening("an accept before a request", clause, pdu(2, &accept), UNEXPECTED),
        Case::opening("a rejection before a request", clause, pdu(3, &[0, 1, 1, 1]), UNEXPECTED),
        Case::opening("an abort before a request", clause, pdu(7, &[0; 4]), Closed),
    ];
    for kind in [0, 8, 0x47, 0xff] {
        cases.push(Case::opening(format!("first a PDU of type {kind:#04x}"), clause, pdu(kind, &[0; 4]), UNRECOGNIZED));
    }
    cases
}

fn lengths() -> Vec<Case> {
    let clause = "PS3.8 9.3.1";
    let body = Request::ordinary().body();
    let mut cases = vec![
        Case::opening("a request of 4 GiB", clause, pdu_of(1, u32::MAX, &[]), INVALID),
        Case::opening("a request above the limit, its head alone", clause, pdu_of(1, (256 << 10) + 1, &[]), INVALID),
        Case::opening("a request of 10 MB, sent", clause, pdu(1, &vec![0; 10 << 20]), INVALID),
        Case::opening("a release of 5 bytes first", clause, pdu(5, &[0; 5]), INVALID),
        Case::opening("P-DATA of 4 GiB first", clause, pdu_of(4, u32::MAX, &[]), INVALID),
    ];
    for length in [0, 1, 67, 68, 73, body.len() - 1] {
        let cut = pdu(1, &body[..length]);
        cases.push(Case::opening(format!("a request cut to {length} bytes"), clause, cut, INVALID));
    }
    let bytes = Request::ordinary().bytes();
    cases.push(
        Case::play("a request in single bytes", clause, &[Accepted, Status(0), Released], move |peer| {
            bytes.iter().for_each(|byte| peer.send(&[*byte]));
            vec![peer.answer(), peer.echo(), peer.release()]
        })
        .bare(),
    );
    let twice = [Request::ordinary().bytes(), Request::ordinary().bytes()].concat();
    cases.push(
        Case::play("two requests at once", "PS3.8 9.2.3, AA-8", &[Accepted, UNEXPECTED], move |peer| {
            peer.send(&twice);
            vec![peer.answer(), peer.answer()]
        })
        .bare(),
    );
    let eager = [Request::ordinary().bytes(), echo(), release()].concat();
    let all = [Accepted, Status(0), Released];
    cases.push(
        Case::play("all before the answer", "PS3.8 9.2", &all, move |peer| {
            peer.send(&eager);
            vec![peer.answer(), peer.answer(), peer.answer()]
        })
        .bare(),
    );
    cases
}

/// With the items replaced by others.
fn with_items(items: &[Vec<u8>]) -> Vec<u8> {
    Request { items: items.to_vec(), ..Request::ordinary() }.bytes()
}

fn structure() -> Vec<Case> {
    let clause = "PS3.8 9.3.2";
    let application = || item(0x10, b"1.2.840.10008.3.1.1.1");
    let user = || item(0x50, &maximum(16_384));
    let ct = || context(AS_IMPLICIT, CT, &[IMPLICIT]);
    let both = || [ct(), context(ECHO, VERIFICATION, &[IMPLICIT])].concat();
    let ordinary = |items: Vec<Vec<u8>>| Request { items, ..Request::ordinary() };
    let lying = item_of(0x20, 8, &[&[1, 0, 0, 0][..], &item_of(0x30, 200, CT.as_bytes())].concat());
    let version = |version: u16| Request { version, ..Request::ordinary() };
    vec![
        Case::opening("an item longer than its request", clause, with_items(&[item_of(0x10, 5_000, b"1.2")]), INVALID),
        Case::opening(
            "an item inside longer than the one around it",
            clause,
            with_items(&[application(), lying, user()]),
            INVALID,
        ),
        Case::opening(
            "an item of 65,535 bytes of which 3 are there",
            clause,
            with_items(&[application(), item_of(0x50, u16::MAX, b"abc")]),
            INVALID,
        ),
        Case::opening(
            "half an item head at the end",
            clause,
            with_items(&[application(), ct(), user(), vec![0x50, 0]]),
            INVALID,
        ),
        Case::opening("no application context", "PS3.8 9.3.2.1", with_items(&[ct(), user()]), INVALID),
        Case::opening(
            "another application context",
            "PS3.8 9.3.2.1",
            with_items(&[item(0x10, b"1.2.3"), ct(), user()]),
            Rejected(1, 1, 2),
        ),
        Case::opening("no items at all", clause, with_items(&[]), INVALID),
        Case::request(
            "a padded application context",
            "PS3.8 F.1",
            &ordinary(vec![item(0x10, b"1.2.840.10008.3.1.1.1\0"), both(), user()]),
        ),
        Case::request(
            "an item of a type that nobody knows",
            "PS3.8 9.3.1",
            &ordinary(vec![application(), item(0x77, b"new"), both(), user()]),
        ),
        Case::request("no user information", "PS3.8 9.3.2.3", &ordinary(vec![application(), both()])),
        Case::opening("protocol version 0", clause, version(0).bytes(), Rejected(1, 2, 2)),
        Case::opening("protocol version 2", clause, version(2).bytes(), Rejected(1, 2, 2)),
        Case::request("protocol version 65,535, of which bit 0 counts", clause, &version(u16::MAX)),
    ]
}

fn contexts() -> Vec<Case> {
    let clause = "PS3.8 9.3.2.2";
    let numbered = |count: u16| -> Vec<u8> {
        (0..count)
            .flat_map(|index| context((index * 2 + 1) as u8, if index == 1 { VERIFICATION } else { CT }, &[IMPLICIT]))
            .collect()
    };
    let syntaxes: Vec<String> = (0..1_000).map(|index| format!("1.2.840.113619.5.{index}")).collect();
    let mut many: Vec<&str> = syntaxes.iter().map(String::as_str).collect();
    many.push(IMPLICIT);
    let thirty: Vec<u8> =
        (0..128_u16).flat_map(|index| context((index * 2 + 1) as u8, VERIFICATION, &many[970..])).collect();
    let opening = |name: &str, contexts: Vec<u8>, answer| {
        Case::opening(name, clause, Request::contexts(&contexts).bytes(), answer)
    };
    let echoes = |name: &str, contexts: Vec<u8>| Case::request(name, clause, &Request::contexts(&contexts));
    let with_echo = |bytes: Vec<u8>| [bytes, context(ECHO, VERIFICATION, &[IMPLICIT])].concat();
    vec![
        opening("no presentation context", Vec::new(), Rejected(1, 2, 1)),
        echoes("128 presentation contexts", numbered(128)),
        opening("129 presentation contexts", numbered(129), INVALID),
        opening("200 presentation contexts", numbered(200), INVALID),
        opening("an even context number", context(2, CT, &[IMPLICIT]), INVALID),
        opening("context number 0", context(0, CT, &[IMPLICIT]), INVALID),
        opening("a context number twice", [context(1, CT, &[IMPLICIT]), context(1, MR, &[IMPLICIT])].concat(), INVALID),
        opening("a context without classes and syntaxes", item(0x20, &[1, 0, 0, 0]), INVALID),
        opening(
            "a context without a class",
            item(0x20, &[&[1, 0, 0, 0][..], &item(0x40, IMPLICIT.as_bytes())].concat()),
            INVALID,
        ),
        opening("a context of 3 bytes", item(0x20, &[1, 0, 0]), INVALID),
        echoes("1,000 transfer syntaxes in a context", with_echo(context(1, CT, &many))),
        echoes("128 contexts with 31 transfer syntaxes each", thirty),
        echoes("a context without transfer syntaxes", with_echo(context(1, CT, &[]))),
        echoes("a class of 64 letters", with_echo(context(1, &"A".repeat(64), &[IMPLICIT]))),
        echoes("a class with NUL and path", with_echo(context(1, "1.2\0/../etc", &[IMPLICIT]))),
        echoes("a transfer syntax that is empty", with_echo(context(1, CT, &[""]))),
        echoes(
            "syntaxes that are not UTF-8",
            with_echo(item(
                0x20,
                &[&[1, 0, 0, 0][..], &item(0x30, CT.as_bytes()), &item(0x40, &[0xff, 0xfe, 0x80])].concat(),
            )),
        ),
    ]
}

fn user_information() -> Vec<Case> {
    let clause = "PS3.7 D.3.3";
    let class = [&(CT.len() as u16).to_be_bytes()[..], CT.as_bytes()].concat();
    let good = |name: &str, items: Vec<u8>| Case::request(name, clause, &Request::user(&items));
    let bad = |name: &str, items: Vec<u8>| Case::opening(name, clause, Request::user(&items).bytes(), INVALID);
    let maximum_of = |name: &str, bytes: u32| {
        let both = [context(AS_IMPLICIT, CT, &[IMPLICIT]), context(ECHO, VERIFICATION, &[IMPLICIT])].concat();
        Case::request(name, "PS3.8 D.1", &Request::with("CT01", &both, &maximum(bytes)))
    };
    let identity = |primary: u16, secondary: u16| {
        [&[2, 1][..], &primary.to_be_bytes(), b"user", &secondary.to_be_bytes(), b"pass"].concat()
    };
    vec![
        good("asynchronous operations without limit", item(0x53, &[0; 4])),
        good("both roles", item(0x54, &[&class[..], &[1, 1]].concat())),
        good("extended negotiation", item(0x56, &[&class[..], &[2, 0, 0, 0, 1, 0]].concat())),
        good("common extended negotiation", item(0x57, &[&class[..], &class, &[0, 0]].concat())),
        good("a user with a password", item(0x58, &identity(4, 4))),
        good("an item of user information that nobody knows", item(0x7f, b"new")),
        good("a version name of 300 characters", item(0x55, &[b'V'; 300])),
        good("a version name of control characters", item(0x55, b"\x1b[2J\r\n\0\xff")),
        good("60,000 bytes of unknown user information", item(0x7e, &[7; 60_000])),
        bad("a maximum length of 2 bytes", item(0x51, &[0, 1])),
        bad("a role of a class longer than its item", item(0x54, &[0, 200, b'1', 1, 0])),
        bad("a user longer than its item", item(0x58, &identity(2_000, 4))),
        bad("user information longer than its item", item_of(0x55, 9_999, b"V")),
        maximum_of("no maximum length", 0),
        maximum_of("a maximum length of 1", 1),
        maximum_of("a maximum length of 7", 7),
        maximum_of("a maximum length of 4 GiB", u32::MAX),
    ]
}

fn titles() -> Vec<Case> {
    let clause = "PS3.8 9.3.2, PS3.5 6.2 AE";
    let unknown = Rejected(1, 1, 3);
    let calling = |name: &str, bytes: &[u8], answer| {
        let mut title = bytes.to_vec();
        title.resize(title.len().max(16), b' ');
        Case::opening(name, clause, Request { calling: title, ..Request::ordinary() }.bytes(), answer)
    };
    vec![
        calling("a title that nobody has", b"STRANGER", unknown),
        calling("a title in small letters", b"ct01", unknown),
        calling("a title of spaces", b"", unknown),
        calling("a title of NUL", &[0; 16], unknown),
        calling("a title with ESC", b"CT\x1b[31m01", unknown),
        calling("a title with a new line", b"CT01\r\nINFO ok", unknown),
        calling("a title with a backslash", b"CT01\\LOOK", unknown),
        calling("a title that is a shell command", b"`reboot`;$(id)", unknown),
        calling("a title that is a path", b"../../etc/passwd", unknown),
        calling("a title of 17 bytes, which moves what follows", &[b'A'; 17], INVALID),
        Case::opening(
            "a called title that is not ours",
            clause,
            Request { called: title("PACS"), ..Request::ordinary() }.bytes(),
            Rejected(1, 1, 7),
        ),
        Case::opening(
            "a called title with ESC",
            clause,
            Request { called: title("CONTOURD\x1b"), ..Request::ordinary() }.bytes(),
            Rejected(1, 1, 7),
        ),
        Case::opening(
            "a title outside ASCII",
            clause,
            Request { calling: [0xe4; 16].to_vec(), ..Request::ordinary() }.bytes(),
            unknown,
        ),
    ]
}
