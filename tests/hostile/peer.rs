//! A peer on a raw socket: says bytes, and tells what it is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::bytes::{Request, echo, release};

/// What the gateway says.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Answer {
    Accepted,
    /// Result, source, reason (PS3.8 table 9-21).
    Rejected(u8, u8, u8),
    /// Status of a response (PS3.7 C).
    Status(u16),
    Released,
    /// Source, reason (PS3.8 table 9-26).
    Aborted(u8, u8),
    /// The connection is closed without a further word.
    Closed,
    /// Nothing came in time.
    Nothing,
}

pub struct Peer {
    pub stream: TcpStream,
    /// When an answer has to be there.
    pub deadline: Instant,
}

impl Peer {
    pub fn connect(address: SocketAddr, within: Duration) -> Peer {
        let stream = TcpStream::connect(address).expect("the gateway takes connections");
        stream.set_nodelay(true).expect("small PDUs leave at once");
        stream.set_write_timeout(Some(within)).expect("a time limit");
        Peer { stream, deadline: Instant::now() + within }
    }

    /// An association with the contexts of an ordinary request.
    pub fn associated(address: SocketAddr, calling: &str, within: Duration) -> Peer {
        let mut peer = Peer::connect(address, within);
        peer.send(&Request::from(calling).bytes());
        assert_eq!(peer.answer(), Answer::Accepted, "{calling}");
        peer
    }

    /// Sends; that the gateway has closed already shows in the answer.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends single bytes with pauses until all are sent, the time is up or the gateway has closed.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            if Instant::now() >= self.deadline || self.stream.write_all(&[*byte]).is_err() || self.has_answer() {
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

    pub fn answer(&mut self) -> Answer {
        let mut head = [0; 6];
        if let Err(end) = self.fill(&mut head) {
            return end;
        }
        let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
        assert!(body.len() <= 1 << 20, "an answer of {} bytes", body.len());
        if let Err(end) = self.fill(&mut body) {
            return end;
        }
        match head[0] {
            2 => Answer::Accepted,
            3 => Answer::Rejected(body[1], body[2], body[3]),
            // Responses come in fragments when the peer takes no more.
            4 if body[5] & 2 == 0 => self.fragmented(&body),
            4 => Answer::Status(status(&body[6..])),
            6 => Answer::Released,
            7 => Answer::Aborted(body[2], body[3]),
            other => panic!("found PDU type {other}"),
        }
    }

    fn fragmented(&mut self, first: &[u8]) -> Answer {
        let (mut response, mut last) = (first[6..].to_vec(), first[5] & 2 != 0);
        while !last {
            let mut head = [0; 12];
            if let Err(end) = self.fill(&mut head) {
                return end;
            }
            let length = u32::from_be_bytes([head[6], head[7], head[8], head[9]]) as usize;
            let mut data = vec![0; length - 2];
            if let Err(end) = self.fill(&mut data) {
                return end;
            }
            (response, last) = ([response, data].concat(), head[11] & 2 != 0);
        }
        Answer::Status(status(&response))
    }

    fn fill(&mut self, mut bytes: &mut [u8]) -> Result<(), Answer> {
        while !bytes.is_empty() {
            let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a time limit");
            match self.stream.read(bytes) {
                Ok(0) => return Err(Answer::Closed),
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Answer::Nothing);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Answer::Closed),
            }
        }
        Ok(())
    }

    pub fn echo(&mut self) -> Answer {
        self.send(&echo());
        self.answer()
    }

    pub fn release(&mut self) -> Answer {
        self.send(&release());
        self.answer()
    }

    /// Reads and throws away until the gateway has closed.
    pub fn drain(&mut self) -> Answer {
        let mut bytes = [0; 16_384];
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a time limit");
            match self.stream.read(&mut bytes) {
                Ok(0) => return Answer::Closed,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Answer::Nothing;
                }
                Err(_) => return Answer::Closed,
            }
        }
    }
}

/// Status (0000,0900) of a response.
fn status(mut elements: &[u8]) -> u16 {
    while elements.len() >= 8 {
        let length = u32::from_le_bytes([elements[4], elements[5], elements[6], elements[7]]) as usize;
        if elements[..4] == [0, 0, 0, 9] {
            return u16::from_le_bytes([elements[8], elements[9]]);
        }
        elements = &elements[8 + length..];
    }
    panic!("found a response without a status");
}
