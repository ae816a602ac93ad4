//! What broken and hostile clients of HTTP send: each is answered or closed in time, associations are served all the while,
//! memory and open files stay flat, and nothing of it is kept but what was acknowledged.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bytes::{CT, DEFLATED, IMPLICIT, image};
use crate::gateway::{Gateway, IDLE_S, INSTANCE_MB, OF_ONE_PEER, REQUEST_MB, REQUEST_S};
use crate::http::{Client, MULTIPART, TOKEN, body, file, file_of, head, part, part_of, post};

/// What the quick cases, one after another, may add to the memory of the gateway.
const QUICK_MEMORY_KB: usize = 48 << 10;
/// What the slow and crowded ones may add, all at the same time.
const SLOW_MEMORY_KB: usize = 192 << 10;

/// A client that sends bytes, perhaps slowly, and then reads.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// The pieces and pauses in which they are sent.
    pace: Option<(usize, Duration)>,
    /// Whether the client closes its side behind them.
    closes: bool,
    /// The answers until the connection is closed.
    expected: Vec<u16>,
    within: Duration,
}

impl Case {
    fn new(name: &'static str, bytes: Vec<u8>, expected: &[u16]) -> Case {
        let within = Duration::from_secs(2);
        Case { name, bytes, pace: None, closes: false, expected: expected.to_vec(), within }
    }

    /// One behind which the client closes its side.
    fn cut(name: &'static str, bytes: Vec<u8>, expected: &[u16]) -> Case {
        Case { closes: true, ..Case::new(name, bytes, expected) }
    }

    fn slow(name: &'static str, bytes: Vec<u8>, pace: (usize, u64), seconds: u64, expected: &[u16]) -> Case {
        let pace = Some((pace.0, Duration::from_millis(pace.1)));
        Case { pace, within: Duration::from_secs(seconds), ..Case::new(name, bytes, expected) }
    }

    fn run(&self, gateway: &Gateway) -> Result<(), String> {
        let start = Instant::now();
        let mut client = Client::connect(gateway.web, self.within + Duration::from_secs(2));
        match self.pace {
            Some((piece, pause)) => client.drip(&self.bytes, piece, pause),
            None => client.send(&self.bytes),
        }
        if self.closes {
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
        }
        let mut found = Vec::new();
        while found.len() < self.expected.len() {
            let Some(answer) = client.answer() else { break };
            found.push(answer.status);
        }
        // What takes time ends with the connection.
        let goes_on = self.pace.is_some().then(|| client.answer()).flatten();
        let (name, took) = (self.name, start.elapsed());
        if let Some(answer) = goes_on {
            return Err(format!("{name}: answered once more than {:?}: {answer:?}", self.expected));
        }
        if found != self.expected {
            return Err(format!("{name}: answered {found:?}, expected {:?}", self.expected));
        }
        if took > self.within {
            return Err(format!("{name}: took {took:?}, expected at most {:?}", self.within));
        }
        Ok(())
    }
}

/// A request whose headers are these and no others but the host.
fn raw(line: &str, headers: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    [head(line, headers), content.to_vec()].concat()
}

const LINE: &str = "POST /studies HTTP/1.1";

fn with(extra: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let headers = [&[("Authorization", TOKEN), ("Content-Type", MULTIPART)], extra].concat();
    raw(LINE, &headers, content)
}

fn heads() -> Vec<Case> {
    let (good, long) = (body(&[file("9.3")]), "x".repeat(200_000));
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let get =
        |path: &str| raw(&format!("GET {path} HTTP/1.1"), &[("Authorization", TOKEN), ("Content-Length", "0")], b"");
    vec![
        Case::new("no HTTP at all", b"\x01\0\0\0\0\x04DICM\r\n\r\n".to_vec(), &[400]),
        Case::new("HTTP/2 without its beginning", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[]),
        Case::new("a head of 200,000 bytes", raw(LINE, &[("X", &long)], b""), &[431]),
        Case::new("a head without end", [head(LINE, &[]), long.repeat(3).into_bytes()].concat()[20..].to_vec(), &[400]),
        Case::new("200 headers", raw(LINE, &[("X", &format!("y\r\n{}Z: z", many))], b""), &[431]),
        Case::new("a path of 200,000 bytes", raw(&format!("POST /{long} HTTP/1.1"), &[], b""), &[431]),
        Case::new("a path of 70,000 bytes", raw(&format!("POST /{} HTTP/1.1", &long[..70_000]), &[], b""), &[414]),
        Case::new("a header that goes on in the next line", raw(LINE, &[("X", "y\r\n z")], b""), &[400]),
        Case::new("a header with a NUL", raw(LINE, &[("X", "y\0z")], b""), &[400]),
        Case::new("a header without a colon", raw(LINE, &[("X", "y\r\nnonsense")], b""), &[400]),
        Case::new("a space before the colon", raw(LINE, &[("Content-Length ", "5")], b"12345"), &[400]),
        Case::new("two authorizations", with(&[("Authorization", TOKEN), ("Content-Length", "0")], b""), &[401]),
        Case::new(
            "bytes that are no text as credentials",
            raw(LINE, &[("Authorization", "Bearer \u{e9}"), ("Content-Length", "0")], b""),
            &[400],
        ),
        Case::new(
            "credentials of 100,000 bytes",
            raw(LINE, &[("Authorization", &format!("Bearer {}", &long[..100_000])), ("Content-Length", "0")], b""),
            &[401],
        ),
        Case::new("another method", get("/studies"), &[405]),
        Case::new("a path out of the tree", get("/studies/../../etc/passwd"), &[404]),
        Case::new("an escaped path out of the tree", post("/studies/..%2f..%2fetc%2fpasswd", &[], &good), &[400]),
        Case::new("a NUL in the path", post("/studies/1.2%00", &[], &good), &[400]),
        Case::new("a study that is no UID", post("/studies/1.2.x", &[], &good), &[400]),
        Case::new("a study of 65 digits", post(&format!("/studies/{}", "1".repeat(65)), &[], &good), &[400]),
        Case::new("a connection for others", raw("CONNECT db:5432 HTTP/1.1", &[("Authorization", TOKEN)], b""), &[404]),
        Case::new(
            "another protocol",
            with(&[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Content-Length", "0")], b""),
            &[400],
        ),
        Case::new("no type", post("/studies", &[("Content-Type", "")], &good), &[415]),
        Case::new(
            "a file without parts",
            post("/studies", &[("Content-Type", "application/dicom")], &file("9.3")),
            &[415],
        ),
        Case::new("a form", post("/studies", &[("Content-Type", "multipart/form-data; boundary=b")], &good), &[415]),
        Case::new(
            "metadata",
            post(
                "/studies",
                &[("Content-Type", "multipart/related; type=\"application/dicom+json\"; boundary=b")],
                &good,
            ),
            &[415],
        ),
        Case::new(
            "no boundary",
            post("/studies", &[("Content-Type", "multipart/related; type=\"application/dicom\"")], &good),
            &[400],
        ),
        Case::new(
            "an empty boundary",
            post("/studies", &[("Content-Type", "multipart/related; boundary=\"\"")], &good),
            &[400],
        ),
        Case::new(
            "a boundary of 201 characters",
            post("/studies", &[("Content-Type", &format!("multipart/related; boundary={}", "b".repeat(201)))], &good),
            &[400],
        ),
        Case::new(
            "two boundaries",
            post("/studies", &[("Content-Type", "multipart/related; boundary=b; boundary=c")], &good),
            &[400],
        ),
        Case::new("a body that is compressed", post("/studies", &[("Content-Encoding", "gzip")], &good), &[415]),
        Case::new("an answer that is not to be had", post("/studies", &[("Accept", "text/html")], &good), &[406]),
    ]
}

fn lengths() -> Vec<Case> {
    let good = body(&[file("9.1")]);
    let length = good.len().to_string();
    let chunked = |content: &[u8]| with(&[("Transfer-Encoding", "chunked")], content);
    let chunks = [format!("{:x}\r\n", good.len()).as_bytes(), &good, b"\r\n0\r\n\r\n"].concat();
    let hidden = post("/studies", &[], &body(&[file("9.2")]));
    vec![
        Case::cut("a length that is too long", with(&[("Content-Length", "9000")], &good), &[400]),
        Case::new("a length that is too short", with(&[("Content-Length", "900")], &good[..900]), &[400]),
        Case::new("a length below zero", with(&[("Content-Length", "-1")], b""), &[400]),
        Case::new("a length with a sign", with(&[("Content-Length", "+5")], b"12345"), &[400]),
        Case::new("a length that is no number", with(&[("Content-Length", "0x10")], b""), &[400]),
        Case::new("a length beyond 64 bits", with(&[("Content-Length", "99999999999999999999")], b""), &[400]),
        Case::new("a terabyte", with(&[("Content-Length", "1099511627776")], b"--b"), &[413]),
        Case::new("two lengths", with(&[("Content-Length", &length), ("Content-Length", "5")], &good), &[400]),
        Case::new("two lengths in one line", with(&[("Content-Length", &format!("{length}, 5"))], &good), &[400]),
        // What stands behind the chunks would be another request for whoever believes the length; it is not served.
        Case::new(
            "chunks and a length",
            with(
                &[("Transfer-Encoding", "chunked"), ("Content-Length", &length)],
                &[b"0\r\n\r\n".to_vec(), hidden.clone()].concat(),
            ),
            &[400],
        ),
        Case::new(
            "a length and chunks",
            with(
                &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
                &[b"0\r\n\r\n".to_vec(), hidden.clone()].concat(),
            ),
            &[400],
        ),
        Case::new(
            "chunks that are not the last encoding",
            with(&[("Transfer-Encoding", "chunked, identity")], &chunks),
            &[400],
        ),
        Case::new("an unknown encoding", with(&[("Transfer-Encoding", "xchunked")], &chunks), &[400]),
        Case::new(
            "chunks in HTTP/1.0",
            raw(
                "POST /studies HTTP/1.0",
                &[("Authorization", TOKEN), ("Content-Type", MULTIPART), ("Transfer-Encoding", "chunked")],
                &chunks,
            ),
            &[400],
        ),
        Case::new(
            "no length in HTTP/1.0",
            raw("POST /studies HTTP/1.0", &[("Authorization", TOKEN), ("Content-Type", MULTIPART)], &good),
            &[400],
        ),
        Case::new("a chunk whose size is no number", chunked(b"xyz\r\n"), &[400]),
        Case::new("a chunk beyond 64 bits", chunked(b"fffffffffffffffff\r\n"), &[400]),
        Case::new("a chunk without its line end", chunked(b"3\r\n--bX\r\n0\r\n\r\n"), &[400]),
        Case::new(
            "an extension of a chunk without end",
            chunked(&[b"1;".to_vec(), vec![b'x'; 100_000]].concat()),
            &[400],
        ),
        Case::cut(
            "chunks without an end",
            chunked(&[format!("{:x}\r\n", good.len()).as_bytes(), &good].concat()),
            &[400],
        ),
        Case::new("trailers without end", chunked(&[b"0\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat()), &[400]),
        Case::cut("a body that ends in a part", with(&[("Content-Length", &length)], &good[..1_000]), &[400]),
        Case::cut(
            "a body that ends before its last hyphen",
            with(&[("Content-Length", &length)], &good[..good.len() - 3]),
            &[400],
        ),
    ]
}

fn parts() -> Vec<Case> {
    let status = |name, content: &[u8], expected| Case::new(name, post("/studies", &[], content), &[expected]);
    let end = b"--b--".to_vec();
    let of = |part: Vec<u8>| [part, end.clone()].concat();
    let empty: Vec<u8> = (0..10_000).flat_map(|_| part_of("", b"")).collect();
    let many: Vec<u8> = b"--b\r\n\r\n\r\n".repeat(20_001);
    let nested =
        [b"--c\r\nContent-Type: application/dicom\r\n\r\n".to_vec(), file("9.3"), b"\r\n--c--".to_vec()].concat();
    let meta = |count: usize| {
        let good = file("9.3");
        [&good[..144], &[2, 0, 5, 0, b'U', b'I', 0, 0].repeat(count), &good[144..]].concat()
    };
    let too_long = [image("9.3"), vec![0; INSTANCE_MB << 20]].concat();
    vec![
        status("nothing", b"", 400),
        status("no part", b"--b--", 400),
        status("text and no boundary", b"hello", 400),
        status("100,000 bytes before the first boundary", &[vec![b'x'; 100_000], body(&[file("9.3")])].concat(), 400),
        status("100,000 bytes behind the last boundary", &[end.clone(), vec![b'x'; 100_000]].concat(), 400),
        status(
            "a boundary that goes on",
            &[b"--bb\r\n\r\n".to_vec(), file("9.3"), b"\r\n--b--".to_vec()].concat(),
            400,
        ),
        status("10,000 empty parts", &of(empty), 409),
        status("20,001 parts", &of(many), 400),
        status("a part in a part", &of(part_of("Content-Type: multipart/related; boundary=c\r\n", &nested)), 409),
        status("a part in base64", &of(part_of("Content-Transfer-Encoding: base64\r\n", b"AAAA")), 409),
        status(
            "headers of a part with 100,000 bytes",
            &of(part_of(&format!("X: {}\r\n", "y".repeat(100_000)), b"")),
            400,
        ),
        status("a header of a part that is none", &of(part_of("nonsense\r\n", b"")), 400),
        status(
            "two types of a part",
            &of(part_of("Content-Type: application/dicom\r\nContent-Type: text/html\r\n", b"")),
            400,
        ),
        status(
            "bytes that are no text in the headers of a part",
            &of([b"--b\r\nX: \xff\r\n\r\n".to_vec(), b"\r\n".to_vec()].concat()),
            400,
        ),
        status("a preamble alone", &of(part(&[0; 132])), 409),
        status("a file meta group without end", &of(part(&meta(20_000))), 409),
        status(
            "a file meta element of 4 GB",
            &of(part(&[&file("9.3")[..144], &[2, 0, 2, 1, b'O', b'B', 0, 0, 255, 255, 255, 255]].concat())),
            409,
        ),
        status("a UID out of the tree", &of(part(&file_of(CT, "../../../tmp/x", IMPLICIT, &image("9.3")))), 409),
        status(
            "a UID out of the tree in the data set",
            &of(part(&file_of(CT, "9.3", IMPLICIT, &image("../../x")))),
            409,
        ),
        status("a data set that inflates to nothing", &of(part(&file_of(CT, "9.3", DEFLATED, b"\xff\xff\xff"))), 409),
        status("a data set that is too long", &of(part(&file_of(CT, "9.3", IMPLICIT, &too_long))), 409),
        Case::new(
            "a body that is too long",
            with(&[("Transfer-Encoding", "chunked")], &{
                let chunk = [b"100000\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
                [b"7\r\n--b\r\n\r\n\r\n".to_vec(), chunk.repeat(REQUEST_MB + 1)].concat()
            }),
            &[413],
        ),
    ]
}

fn slow() -> Vec<Case> {
    let good = body(&[file("9.1")]);
    let length = good.len().to_string();
    let whole = with(&[("Content-Length", &length)], &good);
    let head_length = whole.len() - good.len();
    let (request, idle) = (REQUEST_S + 3, IDLE_S + 3);
    let unknown = post("/studies", &[("Authorization", "Bearer wrong")], &vec![b'x'; 3 << 20]);
    vec![
        Case::slow("silence", Vec::new(), (1, 0), request, &[]),
        Case::slow("a head in drops", whole[..head_length].to_vec(), (1, 500), request, &[]),
        Case::slow("a head but for its last byte", whole[..head_length - 1].to_vec(), (1_000, 0), request, &[]),
        Case::slow("a body that does not come", whole[..head_length].to_vec(), (1_000, 0), idle, &[408]),
        Case::slow("half a body", whole[..head_length + 500].to_vec(), (10_000, 0), idle, &[408]),
        Case::slow("a body in drops, a byte a second", whole, (head_length + 1, 1_000), idle + 2, &[408]),
        Case::slow("an unknown sender who sends all the same", unknown, (1 << 20, 100), 6, &[401]),
        Case::slow(
            "silence behind a request",
            post("/studies", &[], &body(&[file("1.5.1")])),
            (1 << 20, 0),
            request,
            &[200],
        ),
    ]
}

#[test]
fn hostile_clients_are_answered_and_nobody_else_notices() {
    let mut gateway = Gateway::start();
    let mut problems = Vec::new();
    for number in 1..=4 {
        let request = post("/studies", &[], &body(&[file(&format!("1.4.{number}"))]));
        assert_eq!(crate::http::ask(gateway.web, &request).status, 200);
    }
    let (before_kb, files_before) = (gateway.memory_kb("VmRSS"), gateway.open_files());
    let quick: Vec<Case> = [heads(), lengths(), parts()].into_iter().flatten().collect();
    let count = quick.len();
    assert!(count >= 70, "{count} quick cases");
    for case in &quick {
        problems.extend(case.run(&gateway).err());
        problems.extend(gateway.answers_others().err().map(|problem| format!("after {}: {problem}", case.name)));
    }
    let quick_kb = gateway.memory_kb("VmHWM");
    std::thread::scope(|scope| {
        let running: Vec<_> = slow()
            .into_iter()
            .map(|case| {
                scope.spawn({
                    let gateway = &gateway;
                    move || case.run(gateway)
                })
            })
            .collect();
        let crowding = scope.spawn(|| crowd(&gateway));
        while running.iter().any(|case| !case.is_finished()) || !crowding.is_finished() {
            problems.extend(gateway.answers_others().err().map(|problem| format!("meanwhile: {problem}")));
            std::thread::sleep(Duration::from_millis(50));
        }
        problems.extend(running.into_iter().filter_map(|case| case.join().expect("no panic").err()));
        problems.extend(crowding.join().expect("no panic").err());
    });
    let slow_kb = gateway.memory_kb("VmHWM");
    problems.extend(too_many(&gateway).err());
    assert!(gateway.is_alive(), "the gateway has ended:\n{}", gateway.log());
    assert!(
        problems.is_empty(),
        "{} problems of {count} cases:\n{}\n{}",
        problems.len(),
        problems.join("\n"),
        gateway.log()
    );
    let kept: Vec<String> = gateway.instances().into_keys().collect();
    // Of 9.1 a whole part has come in requests that broke off behind it; 9.2 stood behind the end of a request, 9.3 in what
    // was refused.
    let expected = ["1.4.1", "1.4.2", "1.4.3", "1.4.4", "1.5.1", "9.1"];
    assert_eq!(kept, expected, "what has come whole is kept, and nothing else");
    let log = gateway.log();
    assert!(!log.contains("panicked") && !log.contains("Nobody") && log.len() < 1 << 20, "{log}");
    let files = gateway.open_files();
    println!("{count} cases; memory {before_kb} kB, then {quick_kb} and {slow_kb}; files {files_before} and {files}");
    assert!(quick_kb < before_kb + QUICK_MEMORY_KB, "from {before_kb} kB to {quick_kb} kB");
    assert!(slow_kb < before_kb + SLOW_MEMORY_KB, "from {before_kb} kB to {slow_kb} kB");
    assert!(files <= files_before + 16, "open files: {files_before}, then {files}");
    gateway.stop();
}

/// 400 connections that hold half a head: the oldest are closed for others, and one who speaks is served among them.
fn crowd(gateway: &Gateway) -> Result<(), String> {
    let half = &with(&[], b"")[..30];
    let mut held = Vec::new();
    for _ in 0..400 {
        let Ok(mut stream) = TcpStream::connect(gateway.web) else { return Err("a crowd: not connected".to_owned()) };
        let _ = std::io::Write::write_all(&mut stream, half);
        held.push(stream);
    }
    let answer = crate::http::ask(gateway.web, &post("/studies", &[], &body(&[file("1.4.1")])));
    drop(held);
    if answer.status == 200 { Ok(()) } else { Err(format!("within a crowd: {answer:?}")) }
}

/// One more request than a peer may have open is told to come again; the others go on.
fn too_many(gateway: &Gateway) -> Result<(), String> {
    let whole = post("/studies", &[], &body(&[file("1.4.1")]));
    let mut open: Vec<Client> =
        (0..OF_ONE_PEER).map(|_| Client::connect(gateway.web, Duration::from_secs(5))).collect();
    for client in &mut open {
        client.send(&whole[..whole.len() - 10]);
    }
    std::thread::sleep(Duration::from_millis(500));
    let refused = crate::http::ask(gateway.web, &whole);
    if refused.status != 429 || !refused.head.contains("retry-after") {
        return Err(format!("one request too many: {refused:?}"));
    }
    if !gateway.log().contains("HTTP request refused with 429: as many requests are open as this sender may have") {
        return Err("a request too many is not told in the log".to_owned());
    }
    for client in &mut open {
        client.send(&whole[whole.len() - 10..]);
        let answer = client.answer();
        if answer.as_ref().is_none_or(|answer| answer.status != 200) {
            return Err(format!("a request that was held: {answer:?}"));
        }
    }
    let next = crate::http::ask(gateway.web, &whole);
    if next.status == 200 { Ok(()) } else { Err(format!("a place that is free again: {next:?}")) }
}
