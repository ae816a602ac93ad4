//! What takes time or room: silence, drops of bytes, floods, data without end. All of it goes on at the same time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::elements::deflate;
use crate::bytes::*;
use crate::case::{Case, half_store};
use crate::gateway::{IDLE_S, INSTANCE_MB, OF_ONE_PEER, REQUEST_S};
use crate::peer::Answer::{self, Aborted, Accepted, Closed, Nothing, Rejected, Released, Status};
use crate::peer::Peer;

const UNSPECIFIED: Answer = Aborted(2, 0);
const SECOND: Duration = Duration::from_secs(1);

/// When a connection without a request is closed.
const REQUEST: Duration = Duration::from_secs(REQUEST_S + 2);
/// When a silent association is aborted.
const IDLE: Duration = Duration::from_secs(IDLE_S + 2);

pub fn slow() -> Vec<Case> {
    [silence(), drops(), floods(), endless(), large()].into_iter().flatten().collect()
}

fn silence() -> Vec<Case> {
    let (clause, idle) = ("PS3.8 9.1.5, ARTIM", "an association that is held");
    let mut all_but_one_byte = Request::ordinary().bytes();
    all_but_one_byte.pop();
    vec![
        Case::play("silence after the connection", clause, &[Closed], |peer| vec![peer.answer()])
            .bare()
            .within(REQUEST),
        Case::opening(
            "20 bytes of a request, then silence",
            clause,
            Request::ordinary().bytes()[..20].to_vec(),
            Closed,
        )
        .within(REQUEST),
        Case::opening("a request but for its last byte", clause, all_but_one_byte, Closed).within(REQUEST),
        Case::talk("silence after the association", idle, Vec::new(), &[UNSPECIFIED]).within(IDLE),
        Case::talk("half a PDU, then silence", idle, echo()[..9].to_vec(), &[UNSPECIFIED]).within(IDLE),
        Case::talk("half a store, then silence", idle, half_store("1.2.3.4"), &[UNSPECIFIED]).within(IDLE),
        Case::talk("half a command, then silence", idle, pdata(&[pdv(ECHO, COMMAND, &[0; 8])]), &[UNSPECIFIED])
            .within(IDLE),
        Case::play("an end that is not answered", "PS3.8 9.2, AR-9", &[Released, Closed], |peer| {
            let released = peer.release();
            std::thread::sleep(Duration::from_secs(REQUEST_S + 1));
            vec![released, peer.answer()]
        })
        .within(REQUEST + SECOND),
    ]
}

fn drops() -> Vec<Case> {
    let clause = "a byte a second";
    let dripping = |name: &str, bytes: Vec<u8>, expected: Answer, pause: Duration| {
        Case::play(name, clause, &[expected], move |peer: &mut Peer| {
            peer.drip(&bytes, pause);
            vec![peer.answer()]
        })
    };
    let tenth = SECOND / 10;
    vec![
        dripping("a request in drops", Request::ordinary().bytes(), Closed, SECOND).bare().within(REQUEST + SECOND),
        dripping("a request in many drops", Request::ordinary().bytes(), Closed, tenth).bare().within(REQUEST),
        dripping("an echo in drops", echo(), UNSPECIFIED, SECOND).within(IDLE + SECOND),
        dripping("a data set in drops", data(AS_IMPLICIT, &image("1.2.3.4")), UNSPECIFIED, tenth).within(IDLE),
        Case::play("a slow sender that gets there", clause, &[Status(0), Released], |peer| {
            for piece in store(AS_IMPLICIT, "1.2.3.12.1", &image("1.2.3.12.1")).chunks(400) {
                peer.send(piece);
                std::thread::sleep(SECOND / 2);
            }
            vec![peer.answer(), peer.release()]
        })
        .within(Duration::from_secs(12))
        .keeping("1.2.3.12.1"),
    ]
}

/// How many connections a crowd has: 500, or what three crowds may open where few files may be open.
fn crowd_size() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    (files.saturating_sub(300) / 3).clamp(50, 500) as usize
}

/// Many connections, each of which says the same and then nothing, until the gateway has closed all of them.
fn crowd(peer: &mut Peer, says: &[u8]) -> Vec<Answer> {
    let address = peer.stream.peer_addr().expect("an address");
    let connect = || {
        let mut other = Peer { stream: TcpStream::connect(address).expect("a connection"), deadline: peer.deadline };
        other.send(says);
        other
    };
    let mut crowd: Vec<Peer> = (0..crowd_size()).map(|_| connect()).collect();
    vec![crowd.iter_mut().map(Peer::drain).find(|end| *end != Closed).unwrap_or(Closed)]
}

fn floods() -> Vec<Case> {
    let clause = "connections without an association";
    let longest = pdu_of(1, 256 << 10, &vec![0; (256 << 10) - 1]);
    let long = REQUEST + Duration::from_secs(5);
    let too_many = |title: &'static str| {
        move |peer: &mut Peer| {
            let address = peer.stream.peer_addr().expect("an address");
            let within = Duration::from_secs(2);
            let open: Vec<Peer> = (1..OF_ONE_PEER).map(|_| Peer::associated(address, title, within)).collect();
            let mut refused = Peer::connect(address, within);
            refused.send(&Request::from(title).bytes());
            let mut answers = vec![refused.answer()];
            drop(open);
            // Their places are free again, as soon as the gateway has seen it.
            let end = Instant::now() + within;
            while Instant::now() < end {
                let mut next = Peer::connect(address, within);
                next.send(&Request::from(title).bytes());
                if next.answer() == Accepted {
                    answers.push(Accepted);
                    break;
                }
                std::thread::sleep(SECOND / 20);
            }
            answers
        }
    };
    vec![
        Case::play("500 silent connections", clause, &[Closed], |peer| crowd(peer, b"")).bare().within(long),
        Case::play("500 connections with 20 bytes", clause, &[Closed], |peer| {
            crowd(peer, &Request::ordinary().bytes()[..20])
        })
        .bare()
        .within(long),
        Case::play("500 connections with all of the longest request but a byte", clause, &[Closed], move |peer| {
            crowd(peer, &longest)
        })
        .bare()
        .within(long),
        Case::play(
            "more associations than a peer may have",
            "PS3.8 9.3.4",
            &[Rejected(2, 3, 2), Accepted],
            too_many("MANY"),
        )
        .calling("MANY")
        .within(IDLE),
    ]
}

fn endless() -> Vec<Case> {
    let clause = "data without end";
    let limit = INSTANCE_MB << 20;
    let piece = || pdata(&[pdv(AS_IMPLICIT, DATA, &[0; 16_000])]);
    let megabyte = move || piece().repeat(64);
    vec![
        Case::play("a data set without end", clause, &[UNSPECIFIED], move |peer| {
            peer.send(&said(AS_IMPLICIT, &store_command(CT, "1.2.3.4")));
            (0..2 * INSTANCE_MB + 4).for_each(|_| peer.send(&megabyte()));
            vec![peer.answer()]
        })
        .within(Duration::from_secs(10)),
        Case::play(
            "a data set that is too long, and then one that is not",
            clause,
            &[Status(0xA700), Status(0), Released],
            move |peer| {
                let long = image_with("1.2.3.4", &element(0x0029, 0x1010, &vec![0; limit]));
                peer.send(&store(AS_IMPLICIT, "1.2.3.4", &long));
                let first = peer.answer();
                peer.send(&store(AS_IMPLICIT, "1.2.3.12.2", &image("1.2.3.12.2")));
                vec![first, peer.answer(), peer.release()]
            },
        )
        .within(Duration::from_secs(10))
        .keeping("1.2.3.12.2"),
        Case::play("answers that are never read", "a peer that does not read", &[Closed], |peer| {
            peer.stream.set_write_timeout(Some(SECOND / 2)).expect("a time limit");
            let echoes = echo().repeat(500);
            while std::io::Write::write_all(&mut peer.stream, &echoes).is_ok() {}
            std::thread::sleep(IDLE + SECOND);
            vec![peer.drain()]
        })
        .within(Duration::from_secs(20)),
        Case::play(
            "a peer that is alive and says nothing of use",
            "an association that is held",
            &[Nothing, Closed],
            |peer| {
                let end = Instant::now() + IDLE;
                while Instant::now() < end {
                    peer.send(&pdata(&[]));
                    std::thread::sleep(SECOND / 2);
                }
                let whole = std::mem::replace(&mut peer.deadline, Instant::now() + SECOND / 10);
                let first = peer.answer();
                peer.deadline = whole;
                peer.send(&pdu(7, &[0; 4]));
                vec![first, peer.answer()]
            },
        )
        .within(IDLE + SECOND * 2),
    ]
}

fn large() -> Vec<Case> {
    let patience = Duration::from_secs(25);
    let mut cases = vec![
        // 16 blocks that each inflate to 64 MB, behind each other: a gigabyte in a megabyte.
        Case::play("fragments that inflate to a gigabyte", "PS3.5 A.5, bombs", &[Status(0xC003), Released], |peer| {
            let head = [explicit_head("1.2.3.4"), explicit_of(0x7FE0, 0x0010, b"OB", u32::MAX, &[])].concat();
            let fragment = element(0xfffe, 0xe000, &vec![0; 64 << 20]);
            peer.send(&store(AS_DEFLATED, "1.2.3.4", &deflated_of(&head, &fragment, 18)));
            vec![peer.answer(), peer.release()]
        })
        .within(patience),
    ];
    for number in 1..=8 {
        let instance = format!("1.2.3.13.{number}");
        let bytes = image_with(&instance, &element(0x0029, 0x1010, &vec![7; (INSTANCE_MB << 20) - 8_192]));
        let name = format!("a header as long as a data set may be, {number}");
        cases.push(Case::stored(name, "memory of many senders", AS_IMPLICIT, &instance, &bytes).within(patience));
    }
    for number in 1..=8 {
        let instance = format!("1.2.3.14.{number}");
        let items = element_of(0xfffe, 0xe000, 0, &[]).repeat(480_000);
        let bytes = image_with(&instance, &element_of(0x0040, 0xA730, items.len() as u32, &items));
        let name = format!("480,000 items, {number}");
        cases.push(Case::stored(name, "memory of many senders", AS_IMPLICIT, &instance, &bytes).within(patience));
    }
    cases.into_iter().map(|case| case.calling("FULL")).collect()
}

/// A head and many times the same piece as one deflated stream; the piece is deflated once.
fn deflated_of(head: &[u8], piece: &[u8], times: usize) -> Vec<u8> {
    let block = |bytes: &[u8]| {
        let mut deflate = flate2::Compress::new(flate2::Compression::fast(), false);
        let mut out = Vec::with_capacity(bytes.len() / 100 + 4_096);
        // A full flush ends at a byte and forgets what was before, so that blocks can be put behind each other.
        deflate.compress_vec(bytes, &mut out, flate2::FlushCompress::Full).expect("room for it");
        assert_eq!(deflate.total_in(), bytes.len() as u64);
        out
    };
    let repeated = block(piece);
    assert!(repeated.len() < 1 << 20, "{} bytes", repeated.len());
    [block(head), repeated.repeat(times), deflate(b"")].concat()
}
