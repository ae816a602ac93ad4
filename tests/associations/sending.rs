//! The sender against our own receiver and against a scripted one that answers whatever it is told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use contourd::deliver::{Outcome, Warning, dicom};
use contourd::dicom::Instance;
use contourd::spool::Meta;

use crate::peer::*;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

pub fn destination(port: u16) -> dicom::Destination {
    let title = |text: &str| text.parse().expect("a legal title");
    dicom::Destination {
        ae_title: title("CONTOURD"),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        calling_ae: title("CT01"),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_millis(700),
    }
}

fn send(port: u16, files: &[PathBuf]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(dicom::store(&destination(port), files, true))
}

pub fn write_file(folder: &Path, uid: &str, data_set: &[u8]) -> PathBuf {
    let parse = |text: &str| text.parse().expect("a legal UID");
    let meta = Meta {
        sop_class_uid: parse(CT),
        sop_instance_uid: parse(uid),
        transfer_syntax_uid: parse(IMPLICIT),
        calling_ae: None,
        called_ae: None,
    };
    let path = folder.join(format!("{uid}.dcm"));
    std::fs::write(&path, [meta.encode(), data_set.to_vec()].concat()).expect("a file");
    path
}

/// Reads one PDU: type and body.
fn read_pdu(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
    stream.read_exact(&mut body).ok()?;
    Some((head[0], body))
}

/// An A-ASSOCIATE-AC that accepts one context only, and takes PDUs of at most `max_pdu`.
fn accept(context: u8, syntax: &str, max_pdu: u32) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend_from_slice(&[b' '; 32]);
    body.extend_from_slice(&[0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for id in [1, 3] {
        let result = if id == context { 0 } else { 4 };
        body.extend(item(0x21, &[vec![id, 0, result, 0], item(0x40, syntax.as_bytes())].concat()));
    }
    body.extend(item(0x50, &item(0x51, &max_pdu.to_be_bytes())));
    pdu(2, &body)
}

/// A destination that answers the request with `opening` and each data set with `status`; it gives the data sets.
fn scripted(opening: Vec<u8>, status: Option<u16>, max_pdu: usize) -> (u16, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut data_sets, mut data) = (Vec::new(), Vec::new());
        assert_eq!(read_pdu(&mut stream).expect("a request").0, 1);
        stream.write_all(&opening).expect("written");
        while let Some((kind, body)) = read_pdu(&mut stream) {
            match kind {
                4 => {
                    assert!(body.len() <= max_pdu, "found a PDU of {} bytes", body.len());
                    let length = u32::from_be_bytes([body[0], body[1], body[2], body[3]]) as usize;
                    assert_eq!(length + 4, body.len(), "one value per PDU");
                    if body[5] & 1 == 0 {
                        data.extend_from_slice(&body[6..]);
                        if body[5] & 2 != 0 {
                            data_sets.push(std::mem::take(&mut data));
                            let number = data_sets.len() as u16;
                            let Some(status) = status else { continue };
                            let answer = command(&[
                                (0x0100, u16(0x8001)),
                                (0x0120, u16(number)),
                                (0x0800, u16(0x0101)),
                                (0x0900, u16(status)),
                            ]);
                            stream.write_all(&pdata(&[pdv(body[4], 3, &answer)])).expect("written");
                        }
                    }
                }
                5 => stream.write_all(&pdu(6, &[0; 4])).expect("written"),
                _ => break,
            }
        }
        data_sets
    });
    (port, thread)
}

#[test]
fn delivers_the_same_bytes_each_time() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        write_file(folder.path(), "1.2.3.4.5", &image("1.2.3.4.5", 1)),
        write_file(folder.path(), "1.2.3.4.6", &image("1.2.3.4.6", 2)),
    ];
    for _ in 0..2 {
        assert_eq!(send(gateway.address.port(), &files), Outcome::Delivered { warnings: vec![] });
    }
    gateway.holds(2);
    gateway.told(&["stored 1.2.3.4.5", "stored 1.2.3.4.6", "closed released", "closed released"]);
    let stored = gateway.folder.path().join("instances/1.2.3/1.2.3.4/1.2.3.4.5.dcm");
    // The file meta group differs: the receiver writes its own.
    assert!(std::fs::read(stored).expect("a file").ends_with(&image("1.2.3.4.5", 1)), "another data set came");
}

#[test]
fn cuts_to_what_the_destination_takes_and_encodes_what_it_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_set = image("1.2.3.4.5", 1);
    let files = [write_file(folder.path(), "1.2.3.4.5", &data_set)];
    let (port, thread) = scripted(accept(1, IMPLICIT, 100), Some(0), 100);
    assert_eq!(send(port, &files), Outcome::Delivered { warnings: vec![] });
    assert_eq!(thread.join().expect("no panic"), [data_set]);
    let (port, thread) = scripted(accept(3, EXPLICIT, 0), Some(0), 131_072);
    assert_eq!(send(port, &files), Outcome::Delivered { warnings: vec![] });
    let sent = thread.join().expect("no panic");
    let uid = EXPLICIT.parse().expect("a legal UID");
    let instance = Instance::read_data_set(&sent[0][..], &uid).expect("Explicit VR Little Endian");
    assert_eq!(instance.sop_instance_uid.as_str(), "1.2.3.4.5");
    assert!(sent[0].ends_with(&[1; 2_048]));
}

#[test]
fn says_who_can_act() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        write_file(folder.path(), "1.2.3.4.5", &image("1.2.3.4.5", 1)),
        write_file(folder.path(), "1.2.3.4.6", &image("1.2.3.4.6", 1)),
    ];
    let check = |opening: Vec<u8>, status: Option<u16>| {
        let (port, thread) = scripted(opening, status, 131_072);
        let outcome = send(port, &files);
        (outcome, thread.join().expect("no panic").len())
    };
    let accepted = || accept(1, IMPLICIT, 0);
    let (outcome, sent) = check(accepted(), Some(0xB000));
    assert!(matches!(&outcome, Outcome::Delivered { warnings } if warnings.len() == 2), "{outcome:?}");
    assert_eq!(sent, 2);
    let told = |outcome: &Outcome| match outcome {
        Outcome::Delivered { warnings } => warnings.iter().all(Warning::tells_of_change),
        _ => false,
    };
    assert!(told(&outcome), "it has changed something");
    assert!(!told(&check(accepted(), Some(0x0111)).0), "it had it already");
    for (status, again) in [(0xA700, true), (0x0110, true), (0xC000, false), (0xA900, false), (0x0122, false)] {
        let (outcome, sent) = check(accepted(), Some(status));
        match outcome {
            Outcome::Retry { status: found, .. } => assert!(again && found == Some(status)),
            Outcome::Refused { status: found, .. } => assert!(!again && found == Some(status)),
            Outcome::Delivered { .. } => panic!("{status:#06x} is no success"),
        }
        assert_eq!(sent, 1, "the second is not sent after the first was refused");
    }
    assert!(matches!(check(accepted(), None).0, Outcome::Retry { .. }), "no answer in time");
    assert!(matches!(check(pdu(3, &[0, 1, 1, 7]), None).0, Outcome::Refused { .. }), "rejected for good");
    assert!(matches!(check(pdu(3, &[0, 2, 3, 2]), None).0, Outcome::Retry { .. }), "rejected for now");
    assert!(matches!(check(pdu(7, &[0, 0, 2, 0]), None).0, Outcome::Retry { .. }), "aborted");
    assert!(matches!(check(accept(99, IMPLICIT, 0), None).0, Outcome::Refused { .. }), "no context");
    assert!(matches!(check(b"HTTP/1.1 400".to_vec(), None).0, Outcome::Retry { .. }), "no DICOM");
}

#[test]
fn tries_again_when_nobody_listens_and_refuses_what_is_no_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = write_file(folder.path(), "1.2.3.4.5", &image("1.2.3.4.5", 1));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    assert!(matches!(send(port, std::slice::from_ref(&good)), Outcome::Retry { .. }));
    let bytes = std::fs::read(&good).expect("a file");
    std::fs::write(&good, &bytes[..bytes.len() - 1]).expect("a file");
    assert!(matches!(send(port, &[good]), Outcome::Refused { .. }), "half a file is never sent");
    assert!(matches!(send(port, &[folder.path().join("absent.dcm")]), Outcome::Refused { .. }));
}
