//! HTTP as bytes, right or wrong as the caller wants them, and multipart bodies; written without the code under test.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::bytes::{CT, IMPLICIT, image, padded};

/// The type of a body whose boundary is `b`.
pub const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; boundary=b";

/// The header of the peer that has a token.
pub const TOKEN: &str = "Bearer 0123456789abcdef";

/// A DICOM file in Implicit VR Little Endian.
pub fn file_of(class: &str, instance: &str, syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let element = |number: u16, vr: &[u8; 2], value: &[u8]| {
        let head = [&[2, 0][..], &number.to_le_bytes(), vr].concat();
        match vr {
            b"OB" => [&head[..], &[0, 0], &(value.len() as u32).to_le_bytes(), value].concat(),
            _ => [&head[..], &(value.len() as u16).to_le_bytes(), value].concat(),
        }
    };
    let group = [
        element(0x01, b"OB", &[0, 1]),
        element(0x02, b"UI", &padded(class)),
        element(0x03, b"UI", &padded(instance)),
        element(0x10, b"UI", &padded(syntax)),
        element(0x12, b"UI", b"1.2.3.99"),
    ]
    .concat();
    let length = element(0, b"UL", &(group.len() as u32).to_le_bytes());
    [&[0; 128][..], b"DICM", &length, &group, data_set].concat()
}

/// The file of a small CT image.
pub fn file(instance: &str) -> Vec<u8> {
    file_of(CT, instance, IMPLICIT, &image(instance))
}

pub fn part(content: &[u8]) -> Vec<u8> {
    part_of("Content-Type: application/dicom\r\n", content)
}

pub fn part_of(headers: &str, content: &[u8]) -> Vec<u8> {
    [format!("--b\r\n{headers}\r\n").as_bytes(), content, b"\r\n"].concat()
}

/// A body of these files.
pub fn body(files: &[Vec<u8>]) -> Vec<u8> {
    [files.iter().flat_map(|file| part(file)).collect(), b"--b--\r\n".to_vec()].concat()
}

/// The head of a request; it ends with the empty line.
pub fn head(line: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{line}\r\nHost: contourd\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// A request to this path with a whole body, from the peer with the token.
pub fn post(path: &str, extra: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut headers = vec![("Content-Length", length.as_str())];
    let given = |name: &str| extra.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    headers
        .extend([("Authorization", TOKEN), ("Content-Type", MULTIPART)].into_iter().filter(|(name, _)| !given(name)));
    headers.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
    [head(&format!("POST {path} HTTP/1.1"), &headers), body.to_vec()].concat()
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    deadline: Instant,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr, within: Duration) -> Client {
        let stream = TcpStream::connect(address).expect("the gateway takes connections");
        stream.set_nodelay(true).expect("small pieces leave at once");
        stream.set_write_timeout(Some(within)).expect("a time limit");
        Client { stream, deadline: Instant::now() + within, buffer: Vec::new() }
    }

    /// Sends; that the gateway has closed already shows in the answer.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends piece by piece with pauses, until the time is up or something is answered.
    pub fn drip(&mut self, bytes: &[u8], piece: usize, pause: Duration) {
        for bytes in bytes.chunks(piece) {
            if Instant::now() >= self.deadline || self.stream.write_all(bytes).is_err() || self.has_answer() {
                return;
            }
            std::thread::sleep(pause);
        }
    }

    fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The next answer; `None` when the connection is closed or nothing comes in time.
    pub fn answer(&mut self) -> Option<Answer> {
        loop {
            let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                let lower = head.to_ascii_lowercase();
                let length =
                    lower.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
                let length: usize = length.unwrap_or(0);
                let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status line");
                if status == 100 {
                    self.buffer.drain(..end);
                    continue;
                }
                if self.buffer.len() >= end + length {
                    let body = String::from_utf8_lossy(&self.buffer[end..end + length]).into_owned();
                    self.buffer.drain(..end + length);
                    return Some(Answer { status, head, body });
                }
            }
            let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a time limit");
            let mut bytes = [0; 16_384];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

/// Sends a request on a connection of its own and takes its answer.
#[track_caller]
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut client = Client::connect(address, Duration::from_secs(20));
    client.send(request);
    client.answer().expect("an answer")
}
