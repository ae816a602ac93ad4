//! A gateway's receiver on a free port, and a peer that says exactly what it is told to, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contourd::dicom::AeTitle;
use contourd::dimse::{Caller, Outcome};
use contourd::receive::{CommitmentAsked, Listeners, Notice, Policy, serve};
use contourd::spool::Spool;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
/// Presentation contexts of every association that [`Peer::associated`] opens.
pub const CT_CONTEXT: u8 = 1;
pub const ECHO_CONTEXT: u8 = 3;

pub struct Gateway {
    pub address: SocketAddr,
    /// Where the policy has TLS.
    pub tls_address: Option<SocketAddr>,
    pub folder: tempfile::TempDir,
    /// What the daemon was told, in order: "stored SOP", "closed released" or "closed".
    pub notices: Arc<Mutex<Vec<String>>>,
    /// Requests for storage commitment that wait for their answer.
    pub asked: Arc<Mutex<Vec<CommitmentAsked>>>,
    pub shutdown: watch::Sender<bool>,
    pub policy: watch::Sender<Arc<Policy>>,
    runtime: Option<Runtime>,
}

impl Gateway {
    pub fn start() -> Gateway {
        Gateway::with(0, |_| ())
    }

    pub fn with(floor_bytes: u64, change: impl FnOnce(&mut Policy)) -> Gateway {
        let title = |text: &str| text.parse::<AeTitle>().expect("a legal title");
        let mut policy = Policy { artim: Duration::from_secs(2), idle: Duration::from_secs(2), ..Policy::default() };
        policy.acceptance.called = vec![title("CONTOURD")];
        policy.acceptance.callers =
            [(title("CT01"), vec![caller("ct", true)]), (title("LOOK"), vec![caller("look", false)])].into();
        change(&mut policy);
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let plain = listen();
        let address = plain.local_addr().expect("an address");
        let listeners = Listeners { plain: Some(plain), tls: policy.tls.as_ref().map(|_| listen()), web: None };
        let tls_address = listeners.tls.as_ref().map(|tls| tls.local_addr().expect("an address"));
        let spool = Spool::open(folder.path(), floor_bytes).expect("a storage folder");
        let (policy, policies) = watch::channel(Arc::new(policy));
        let (sender, mut receiver) = mpsc::channel(4);
        let (shutdown, down) = watch::channel(false);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = notices.clone();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        runtime.spawn(async move {
            while let Some(notice) = receiver.recv().await {
                let line = match notice {
                    Notice::Stored(stored) if !stored.new => continue,
                    Notice::Stored(stored) => format!("stored {}", stored.instance.sop_instance_uid),
                    Notice::Closed { released: true, .. } => "closed released".to_owned(),
                    Notice::Closed { .. } => "closed".to_owned(),
                    Notice::CommitmentAsked(asked) => {
                        let line = format!("asked {}", asked.request.transaction_uid);
                        kept.lock().expect("no panic").push(*asked);
                        line
                    }
                    Notice::ReportReceived(received) => {
                        let _ = received.reply.send(Outcome::Accepted);
                        format!("reported {}", received.report.transaction_uid)
                    }
                };
                told.lock().expect("no panic").push(line);
            }
        });
        runtime.spawn(serve(listeners, policies, spool, sender, down));
        Gateway { address, tls_address, folder, notices, asked, shutdown, policy, runtime: Some(runtime) }
    }

    /// Files under a folder of the storage folder.
    pub fn files(&self, name: &str) -> usize {
        fn count(path: &Path) -> usize {
            let entries = std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.folder.path().join(name))
    }

    /// Waits until nothing is half done, then checks how many instances are there.
    #[track_caller]
    pub fn holds(&self, instances: usize) {
        for _ in 0..100 {
            if self.files("incoming") == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!((self.files("incoming"), self.files("instances")), (0, instances));
    }

    /// Waits until the daemon was told as many things as expected, then checks what. The channel has a notice before the
    /// peer has its answer; the task behind the channel runs when it may.
    #[track_caller]
    pub fn told(&self, expected: &[&str]) {
        for _ in 0..100 {
            if self.notices.lock().expect("no panic").len() >= expected.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = self.notices.lock().expect("no panic").clone();
        assert_eq!(told, expected);
    }

    /// Another peer gets an answer within a second.
    #[track_caller]
    pub fn answers_others(&self) {
        let start = std::time::Instant::now();
        let mut other = Peer::associated(self);
        assert_eq!(other.echo(), Answer::Status(0));
        assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    }
}

pub fn caller(name: &str, may_send: bool) -> Caller {
    Caller { name: name.to_owned(), may_send, ..Caller::default() }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// What the gateway says.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Answer {
    Accepted,
    /// Result, source, reason.
    Rejected(u8, u8, u8),
    /// Status of a response.
    Status(u16),
    Released,
    /// Source, reason.
    Aborted(u8, u8),
    /// The connection is closed without a word.
    Closed,
}

pub struct Peer<S = TcpStream> {
    pub stream: S,
}

impl Peer {
    pub fn connect(gateway: &Gateway) -> Peer {
        let stream = TcpStream::connect(gateway.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Peer { stream }
    }

    pub fn associated(gateway: &Gateway) -> Peer {
        let mut peer = Peer::connect(gateway);
        peer.send(&request("CT01", "CONTOURD", &[(CT_CONTEXT, CT), (ECHO_CONTEXT, VERIFICATION)]));
        assert_eq!(peer.answer(), Answer::Accepted);
        peer
    }
}

impl<S: Read + Write> Peer<S> {
    /// Sends bytes; that the gateway has closed already shows in the answer.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn answer(&mut self) -> Answer {
        let mut head = [0; 6];
        if self.stream.read_exact(&mut head).is_err() {
            return Answer::Closed;
        }
        let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
        self.stream.read_exact(&mut body).expect("a whole PDU");
        match head[0] {
            2 => Answer::Accepted,
            3 => Answer::Rejected(body[1], body[2], body[3]),
            4 => Answer::Status(status(&body[6..])),
            6 => Answer::Released,
            7 => Answer::Aborted(body[2], body[3]),
            other => panic!("found PDU type {other}"),
        }
    }

    /// One PDU: its type and body.
    pub fn read_pdu(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 6];
        self.stream.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    pub fn echo(&mut self) -> Answer {
        let command =
            command(&[(0x0002, text(VERIFICATION)), (0x0100, u16(0x30)), (0x0110, u16(1)), (0x0800, u16(0x0101))]);
        self.send(&pdata(&[pdv(ECHO_CONTEXT, 3, &command)]));
        self.answer()
    }

    /// A C-STORE of a data set with an ordinary command.
    pub fn store(&mut self, sop_instance_uid: &str, data_set: &[u8]) -> Answer {
        self.send(&pdata(&[pdv(CT_CONTEXT, 3, &store_command(CT, sop_instance_uid))]));
        self.send_data(data_set);
        self.answer()
    }

    pub fn send_data(&mut self, data_set: &[u8]) {
        let chunks: Vec<&[u8]> = data_set.chunks(16_000).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let last = if index + 1 == chunks.len() { 2 } else { 0 };
            self.send(&pdata(&[pdv(CT_CONTEXT, last, chunk)]));
        }
        if chunks.is_empty() {
            self.send(&pdata(&[pdv(CT_CONTEXT, 2, b"")]));
        }
    }

    pub fn release(&mut self) -> Answer {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        self.answer()
    }
}

/// An A-ASSOCIATE-RQ.
pub fn request(calling: &str, called: &str, contexts: &[(u8, &str)]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend_from_slice(format!("{called:<16}{calling:<16}").as_bytes());
    body.extend_from_slice(&[0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, abstract_syntax) in contexts {
        let mut context = vec![*id, 0, 0, 0];
        context.extend(item(0x30, abstract_syntax.as_bytes()));
        context.extend(item(0x40, IMPLICIT.as_bytes()));
        body.extend(item(0x20, &context));
    }
    body.extend(item(0x50, &item(0x51, &16_384_u32.to_be_bytes())));
    pdu(1, &body)
}

pub fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

pub fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Flags: 1 command, 2 last.
pub fn pdv(context: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32 + 2).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[context, flags]);
    bytes.extend_from_slice(data);
    bytes
}

pub fn pdata(values: &[Vec<u8>]) -> Vec<u8> {
    pdu(4, &values.concat())
}

pub fn command(elements: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = elements.iter().flat_map(|(tag, value)| element(0, *tag, value)).collect();
    [element(0, 0, &(body.len() as u32).to_le_bytes()), body].concat()
}

pub fn store_command(sop_class_uid: &str, sop_instance_uid: &str) -> Vec<u8> {
    command(&[
        (0x0002, text(sop_class_uid)),
        (0x0100, u16(1)),
        (0x0110, u16(7)),
        (0x0700, u16(0)),
        (0x0800, u16(1)),
        (0x1000, text(sop_instance_uid)),
    ])
}

pub fn u16(value: u16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

pub fn text(value: &str) -> Vec<u8> {
    let mut bytes = value.as_bytes().to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// An element in Implicit VR Little Endian.
pub fn element(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [u16(group), u16(number)].concat();
    bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// A small CT image, complete as far as the receiver looks.
pub fn image(sop_instance_uid: &str, pixel: u8) -> Vec<u8> {
    image_of(CT, sop_instance_uid, "1.2.3", "1.2.3.4", pixel)
}

pub fn image_of(class: &str, instance: &str, study: &str, series: &str, pixel: u8) -> Vec<u8> {
    [
        element(0x0008, 0x0016, &text(class)),
        element(0x0008, 0x0018, &text(instance)),
        element(0x0010, 0x0010, b"Nobody^At all "),
        element(0x0020, 0x000D, &text(study)),
        element(0x0020, 0x000E, &text(series)),
        element(0x0028, 0x0010, &u16(32)),
        element(0x0028, 0x0011, &u16(32)),
        element(0x7FE0, 0x0010, &[pixel; 2_048]),
    ]
    .concat()
}

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
