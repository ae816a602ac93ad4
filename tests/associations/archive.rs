//! An archive that does what a script says, right and wrong: C-FIND of one series, C-GET and C-MOVE.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::peer::*;

const MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";

/// What the archive does once it was asked to retrieve.
#[derive(Clone)]
pub enum Step {
    /// C-STORE-RQ with a data set, and its answer.
    Store(&'static str, Vec<u8>),
    /// A pending response: remaining, completed.
    Pending(u16, u16),
    /// A pending response to another message.
    OfAnother,
    /// The final response: its status, and how many it says to have failed.
    Final(u16, u16),
    /// Another request than a C-STORE.
    Echo,
    Abort,
    Close,
    /// Pending responses without end; whether a C-CANCEL ends them.
    Endless {
        listens: bool,
    },
    /// Nothing until a C-CANCEL, which is answered so.
    Silent(u16),
}

/// What the archive says that it has.
#[derive(Clone, Copy)]
pub struct Has {
    /// At the level SERIES.
    pub series: &'static [&'static str],
    /// At the level IMAGE, of the series 1.2.3.4.
    pub listed: &'static [&'static str],
    /// Number of Series Related Instances.
    pub told: Option<usize>,
}

pub struct Archive {
    pub port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Archive {
    /// It lists these instances, and does this for each C-GET or C-MOVE.
    pub fn start(listed: &'static [&'static str], script: Vec<Step>) -> Archive {
        Archive::telling(Has { series: &["1.2.3.4"], listed, told: Some(listed.len()) }, script)
    }

    /// It says that it has this.
    pub fn telling(has: Has, script: Vec<Step>) -> Archive {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut association = Association { stream, contexts: Vec::new(), log: Arc::clone(&kept), next: 0 };
                association.serve(has, &script);
            }
        });
        Archive { port, log }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

struct Association {
    stream: TcpStream,
    contexts: Vec<(u8, String)>,
    log: Arc<Mutex<Vec<String>>>,
    next: u16,
}

impl Association {
    fn say(&self, what: String) {
        self.log.lock().expect("no panic").push(what);
    }

    fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 6];
        self.stream.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Accepts what is offered in Implicit VR Little Endian.
    fn accept(&mut self) -> Option<()> {
        let (kind, body) = self.read()?;
        assert_eq!(kind, 1);
        let (mut rest, mut answered, mut roles) = (&body[68..], Vec::new(), Vec::new());
        while rest.len() >= 4 {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            let value = &rest[4..4 + length];
            if rest[0] == 0x20 {
                let of = |from: usize| usize::from(u16::from_be_bytes([value[from + 2], value[from + 3]]));
                let class = String::from_utf8_lossy(&value[8..8 + of(4)]).into_owned();
                let at = 8 + of(4);
                let syntax = String::from_utf8_lossy(&value[at + 4..at + 4 + of(at)]).into_owned();
                let taken = syntax == IMPLICIT;
                answered.extend(item(
                    0x21,
                    &[vec![value[0], 0, if taken { 0 } else { 4 }, 0], item(0x40, syntax.as_bytes())].concat(),
                ));
                if taken {
                    self.contexts.push((value[0], class));
                }
            } else if rest[0] == 0x50 {
                let mut inside = value;
                while inside.len() >= 4 {
                    let length = usize::from(u16::from_be_bytes([inside[2], inside[3]]));
                    if inside[0] == 0x54 {
                        roles.push(inside[4..4 + length].to_vec());
                    }
                    inside = &inside[4 + length..];
                }
            }
            rest = &rest[4 + length..];
        }
        assert!(self.contexts.len() <= 128);
        for role in &roles {
            assert_eq!(role[role.len() - 2..], [0, 1], "SCP alone");
        }
        if self.contexts.iter().any(|(_, class)| class == GET) {
            assert!(!roles.is_empty(), "a C-GET without role selection (PS3.7 D.3.3.4)");
        }
        let mut ac = vec![0, 1, 0, 0];
        ac.extend_from_slice(&[b' '; 32]);
        ac.extend_from_slice(&[0; 32]);
        ac.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
        ac.extend(answered);
        let user: Vec<u8> = roles.iter().flat_map(|role| item(0x54, role)).collect();
        ac.extend(item(0x50, &[item(0x51, &16_384_u32.to_be_bytes()), user].concat()));
        self.write(&pdu(2, &ac)).then_some(())
    }

    fn serve(&mut self, has: Has, script: &[Step]) {
        if self.accept().is_none() {
            return;
        }
        let mut command_field = (0, 0);
        while let Some((kind, body)) = self.read() {
            match kind {
                4 if body[5] & 1 == 1 => {
                    command_field = (field(&body[6..], 0x0100), field(&body[6..], 0x0110));
                    if command_field.0 == 0x21 {
                        let at = body.windows(4).position(|window| window == [0, 0, 0, 6]).expect("a Move Destination");
                        self.say(format!("move to {}", String::from_utf8_lossy(&body[at + 8..at + 12])));
                    }
                }
                4 if body[5] & 2 != 0 => {
                    let context = body[4];
                    match command_field.0 {
                        0x20 => self.find(context, command_field.1, has, &body[6..]),
                        _ => {
                            let class = if command_field.0 == 0x10 { GET } else { MOVE };
                            self.play(context, (command_field.0 | 0x8000, command_field.1), class, script);
                        }
                    }
                }
                5 => {
                    self.write(&pdu(6, &[0; 4]));
                }
                7 => {
                    self.say("aborted".to_owned());
                    return;
                }
                _ => {}
            }
        }
    }

    fn find(&mut self, context: u8, message: u16, has: Has, asked: &[u8]) {
        let level = if asked.windows(6).any(|window| window == b"IMAGE ") { "IMAGE" } else { "SERIES" };
        let answers: Vec<Vec<u8>> = match level {
            "IMAGE" => has
                .listed
                .iter()
                .map(|uid| {
                    [element(8, 0x16, &text(CT)), element(8, 0x18, &text(uid)), element(0x20, 0xE, &text("1.2.3.4"))]
                        .concat()
                })
                .collect(),
            _ => has
                .series
                .iter()
                .map(|uid| {
                    let told = has.told.map(|told| element(0x20, 0x1209, told.to_string().as_bytes()));
                    [element(8, 0x60, b"CT"), element(0x20, 0xE, &text(uid)), told.unwrap_or_default()].concat()
                })
                .collect(),
        };
        for answer in answers {
            self.respond(context, (0x8020, message), 0xFF00, None, Some(&answer));
        }
        self.respond(context, (0x8020, message), 0, None, None);
    }

    fn respond(
        &mut self,
        context: u8,
        (response, message): (u16, u16),
        status: u16,
        counts: Option<[u16; 4]>,
        data: Option<&[u8]>,
    ) -> bool {
        let mut elements = vec![
            (0x0100, u16(response)),
            (0x0120, u16(message)),
            (0x0800, u16(if data.is_some() { 1 } else { 0x0101 })),
            (0x0900, u16(status)),
        ];
        for (index, count) in counts.into_iter().flatten().enumerate() {
            elements.push((0x1020 + index as u16, u16(count)));
        }
        let mut bytes = pdata(&[pdv(context, 3, &command(&elements))]);
        if let Some(data) = data {
            bytes.extend(pdata(&[pdv(context, 2, data)]));
        }
        self.write(&bytes)
    }

    fn play(&mut self, context: u8, id: (u16, u16), class: &str, script: &[Step]) {
        self.say(format!("asked {}", if class == GET { "get" } else { "move" }));
        for step in script.iter().cloned() {
            match step {
                Step::Store(uid, data) => self.store(uid, &data),
                Step::Pending(remaining, completed) => {
                    self.respond(context, id, 0xFF00, Some([remaining, completed, 0, 0]), None);
                }
                Step::OfAnother => {
                    self.respond(context, (id.0, id.1 + 1), 0xFF00, None, None);
                }
                Step::Final(status, failed) => {
                    self.respond(context, id, status, Some([0, 2, failed, 0]), None);
                }
                Step::Echo => {
                    let echo = command(&[(0x0100, u16(0x30)), (0x0110, u16(9)), (0x0800, u16(0x0101))]);
                    self.write(&pdata(&[pdv(context, 3, &echo)]));
                }
                Step::Abort => {
                    self.write(&pdu(7, &[0, 0, 2, 0]));
                }
                Step::Close => {
                    let _ = self.stream.shutdown(std::net::Shutdown::Both);
                }
                Step::Endless { listens } => self.endless(context, id, listens),
                Step::Silent(status) => {
                    while let Some((kind, body)) = self.read() {
                        if kind == 4 && field(&body[6..], 0x0100) == 0x0FFF {
                            self.say("cancelled".to_owned());
                            self.respond(context, id, status, None, None);
                            break;
                        }
                    }
                }
            }
        }
    }

    fn endless(&mut self, context: u8, id: (u16, u16), listens: bool) {
        self.stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a time limit");
        for _ in 0..4_000 {
            if !self.respond(context, id, 0xFF00, Some([7, 0, 0, 0]), None) {
                break;
            }
            let mut head = [0; 6];
            if self.stream.read_exact(&mut head).is_ok() {
                let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
                self.stream.read_exact(&mut body).expect("a whole PDU");
                match head[0] {
                    4 if field(&body[6..], 0x0100) == 0x0FFF => {
                        self.say("cancelled".to_owned());
                        if listens {
                            self.respond(context, id, 0xFE00, None, None);
                            break;
                        }
                    }
                    7 => {
                        self.say("aborted".to_owned());
                        break;
                    }
                    _ => {}
                }
            }
        }
        self.stream.set_read_timeout(None).expect("no time limit");
    }

    fn store(&mut self, uid: &str, data: &[u8]) {
        let context = self.contexts.iter().find(|(_, class)| class == CT).expect("CT is offered").0;
        self.next += 1;
        self.write(&pdata(&[pdv(context, 3, &store_command(CT, uid))]));
        let chunks: Vec<&[u8]> = data.chunks(1_000).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            self.write(&pdata(&[pdv(context, if index + 1 == chunks.len() { 2 } else { 0 }, chunk)]));
        }
        while let Some((kind, body)) = self.read() {
            let command = if kind == 4 { field(&body[6..], 0x0100) } else { 0 };
            match command {
                0x8001 => return self.say(format!("{uid} {:04X}", field(&body[6..], 0x0900))),
                0x0FFF => self.say("cancelled".to_owned()),
                _ => return self.say(format!("{uid} PDU {kind}")),
            }
        }
    }
}

/// A 16-bit element of a command.
fn field(mut elements: &[u8], number: u16) -> u16 {
    while elements.len() >= 8 {
        let length = u32::from_le_bytes([elements[4], elements[5], elements[6], elements[7]]) as usize;
        if elements[..4] == [[0, 0], number.to_le_bytes()].concat()[..] {
            return u16::from_le_bytes([elements[8], elements[9]]);
        }
        elements = &elements[8 + length..];
    }
    0
}
