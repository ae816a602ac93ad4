//! What is fuzzed: each target takes any bytes, reads them as a peer's or an author's, and may refuse them in every way
//! but a panic, an endless loop or memory beyond what the bytes deserve. Used by the test and by `fuzz/`.

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use contourd::assemble;
use contourd::config::{Gateway, Peer};
use contourd::dicom::{FileHeadReader, Instance, Uid};
use contourd::dimse::find::{Found, failed_instances};
use contourd::dimse::{
    Acceptance, Caller, CommandSet, Origin, Outcome, Part, Pdu, Pdv, Reassembly, decode_pdu, encode_pdu, negotiate,
};
use contourd::document::{self, Node, Problems};
use contourd::output::grid::Turn;
use contourd::output::registration::{self, End};
use contourd::output::{nifti, nrrd, planc, rtstruct, seg};
use contourd::pipeline::{Model, Pipeline};
use contourd::quality::dose;
use contourd::receive::{Multipart, MultipartError, Piece};
use contourd::route;

/// Name and function of each target.
pub const TARGETS: [(&str, fn(&[u8])); 10] = [
    ("pdu", pdu),
    ("message", message),
    ("data_set", data_set),
    ("file", file),
    ("pixels", pixels),
    ("image_file", image_file),
    ("document", document),
    ("command", command),
    ("multipart", multipart),
    ("answer", answer),
];

/// Longest P-DATA-TF of these conversations.
const DATA_MAX: u32 = 16_384;

/// A stream of PDUs. The first byte says in which pieces it arrives, which must make no difference.
pub fn pdu(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let whole = conversation(stream, stream.len().max(1));
    let pieces = conversation(stream, usize::from(*first).max(1));
    assert_eq!(whole, pieces, "the same bytes in other pieces");
}

/// An answer to a C-FIND, or to a C-GET or C-MOVE; the first byte says in which encoding.
pub fn answer(bytes: &[u8]) {
    let Some((first, data)) = bytes.split_first() else { return };
    let syntax = if first % 2 == 0 { "1.2.840.10008.1.2" } else { "1.2.840.10008.1.2.1" };
    let syntax: Uid = syntax.parse().expect("a UID");
    if let Ok(found) = Found::decode(data, &syntax) {
        assert!(found.modalities.iter().all(|modality| !modality.is_empty()));
    }
    assert!(failed_instances(data, &syntax).len() <= data.len(), "no more than were listed");
}

/// What the PDUs of a stream are, until one is refused.
fn conversation(stream: &[u8], piece_bytes: usize) -> Vec<String> {
    let (mut buffer, mut told, mut reassembly) = (BytesMut::new(), Vec::new(), Reassembly::default());
    for piece in stream.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            match decode_pdu(&mut buffer, DATA_MAX) {
                Ok(None) => break,
                Ok(Some(pdu)) => told.push(take(pdu, &mut reassembly)),
                Err(error) => {
                    told.push(error.to_string());
                    return told;
                }
            }
        }
        assert!(buffer.len() <= 6 + (1 << 20), "a PDU that is not complete was refused or is within its bound");
    }
    told
}

fn take(pdu: Pdu, reassembly: &mut Reassembly) -> String {
    match pdu {
        Pdu::AssociateRequest(request) => match negotiate(&request, &ACCEPTANCE, HERE) {
            Ok(negotiated) => {
                let answer = Pdu::AssociateAccept(Box::new(negotiated.answer));
                let encoded = encode_pdu(&answer).expect("what was read can be answered");
                let back = decode_pdu(&mut BytesMut::from(&encoded[..]), DATA_MAX).expect("our own answer is legal");
                format!("accepted, {}", back.is_some())
            }
            Err(refusal) => format!("{refusal:?}"),
        },
        Pdu::Data(values) => values
            .map(|value| match value {
                Ok(value) => part(reassembly.accept(value)),
                Err(error) => error.to_string(),
            })
            .collect(),
        other => format!("{other:?}").chars().take(100).collect(),
    }
}

fn part(part: Result<Option<Part>, contourd::dimse::MessageError>) -> String {
    match part {
        Ok(Some(Part::Command { set, command, .. })) => {
            // Every request that is understood can be answered, and the answer is legal.
            if let Ok(response) = set.response(Outcome::Unreadable) {
                let back = CommandSet::decode(response.encode().into()).expect("our own response is legal");
                assert!(back.command().is_ok(), "our own response is a command");
            }
            format!("{command:?}").chars().take(200).collect()
        }
        Ok(Some(Part::Data { bytes, is_last })) => format!("{} bytes, {is_last}", bytes.len()),
        Ok(None) => String::new(),
        Err(error) => error.to_string(),
    }
}

const HERE: Origin<'_> = Origin { address: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };

static ACCEPTANCE: LazyLock<Acceptance> = LazyLock::new(|| Acceptance {
    called: vec!["CONTOURD".parse().expect("a title")],
    callers: Default::default(),
    unknown_caller: Some(Caller { may_send: true, may_commit: true, may_report: true, ..Caller::default() }),
    max_pdu: DATA_MAX,
});

/// Fragments of an association: each is flags, context and length in three bytes, then its data.
pub fn message(bytes: &[u8]) {
    let (mut rest, mut reassembly) = (bytes, Reassembly::default());
    while let [flags, context_id, length, after @ ..] = rest {
        let (data, after) = after.split_at(after.len().min(usize::from(*length) * 2));
        rest = after;
        let data = Bytes::copy_from_slice(data);
        let pdv = Pdv { context_id: *context_id, is_command: flags & 1 != 0, is_last: flags & 2 != 0, data };
        let taken = reassembly.accept(pdv);
        let ends = taken.is_err();
        part(taken);
        if ends {
            return;
        }
    }
}

/// The bytes of one command.
pub fn command(bytes: &[u8]) {
    let Ok(set) = CommandSet::decode(Bytes::copy_from_slice(bytes)) else { return };
    let _ = part(Ok(set.command().ok().map(|command| Part::Command { context_id: 1, set, command })));
}

/// The transfer syntaxes that a data set may arrive in.
const SYNTAXES: [&str; 6] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
];

/// A data set as it comes over the network; the first byte chooses its transfer syntax.
pub fn data_set(bytes: &[u8]) {
    let Some((first, data)) = bytes.split_first() else { return };
    let syntax: Uid = SYNTAXES[usize::from(*first) % SYNTAXES.len()].parse().expect("a UID");
    match Instance::read_data_set(data, &syntax) {
        Ok(instance) => look_at(&[instance]),
        Err(error) => told(&error),
    }
}

/// All that is done with the header of an instance once it is stored: placed, planned, matched.
fn look_at(instances: &[Instance]) {
    for instance in instances {
        let _ = assemble::placement(instance);
        if let Some(pixels) = &instance.pixel_data {
            let _ = format!("{pixels:?}");
        }
        let _ = rtstruct::read_instance(instance).map_err(|error| told(&error));
        if let Some(relation) = registration::read(&instance.header) {
            let _ = relation.describe();
            let one =
                End { frame_of_reference_uid: &instance.sop_instance_uid, series: &[&instance.series_instance_uid] };
            for side in relation.sides.iter().filter_map(|side| side.frame_of_reference_uid.as_ref()) {
                let _ = relation.between(End { frame_of_reference_uid: side, series: &[] }, one);
            }
        }
    }
    for seen in route::see(instances, None) {
        if let Some(plan) = &seen.plan {
            assert!(plan.geometry.shape().iter().all(|&side| side > 0), "a volume of something");
        }
        for verdict in route::evaluate(&seen.view, PIPELINES.iter()) {
            let _ = (verdict.findings(), verdict.reasons());
        }
    }
}

static PIPELINES: LazyLock<Vec<Pipeline>> = LazyLock::new(|| {
    let mut problems = Problems::of("fuzz.json");
    let parse = |text: &str, problems: &mut Problems| Pipeline::parse(&document::parse(text, problems)?, problems);
    let found = parse(include_str!("pipeline.json"), &mut problems);
    vec![found.unwrap_or_else(|| panic!("{:?}", problems.into_vec()))]
});

/// A file of DICOM, read by everything that reads files of peers.
pub fn file(bytes: &[u8]) {
    if let Ok(instance) = Instance::read_part10(bytes) {
        look_at(std::slice::from_ref(&instance));
        load(&[instance], bytes);
    }
    let _ = rtstruct::read(bytes).map_err(|error| told(&error));
    let _ = seg::read(bytes).map_err(|error| told(&error));
    let _ = dose::read(bytes).map_err(|error| told(&error));
}

/// Most voxels that a case may ask for; what a larger image costs is its size, which `limits` bounds.
const VOXELS_MAX: usize = 1 << 20;

fn load(instances: &[Instance], file: &[u8]) {
    let allowed = assemble::Allowed { slices_min: 1, ..assemble::Allowed::default() };
    let Ok(plan) = assemble::plan_with(instances, allowed) else { return };
    if plan.geometry.shape().iter().product::<usize>() <= VOXELS_MAX {
        let loaded = assemble::load(&plan, &|_| Ok(file.to_vec()));
        let _ = loaded.map_err(|error| told(&error));
    }
}

/// The codestream of one image: the first byte chooses the codec, the next how the image is described.
pub fn pixels(bytes: &[u8]) {
    let [codec, described, codestream @ ..] = bytes else { return };
    let file = super::seeds::encapsulated(usize::from(*codec), *described, codestream);
    let instance = Instance::read_part10(&file[..]).expect("a file of our own");
    load(&[instance], &file);
}

/// An image of another format.
pub fn image_file(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    match first % 3 {
        0 => {
            let header = nifti::read_header(bytes, Turn::AsStored);
            if header.is_ok_and(|header| header.grid.sizes().iter().product::<usize>() <= VOXELS_MAX) {
                let _ = nifti::read_image(bytes, Turn::Axial).map_err(|error| told(&error));
                let _ = nifti::read(bytes).map_err(|error| told(&error));
            }
        }
        1 => {
            let header = nrrd::read_header(bytes, Turn::AsStored);
            if header.is_ok_and(|header| header.grid.sizes().iter().product::<usize>() <= VOXELS_MAX) {
                let no_other = |name: &str| Err(std::io::Error::other(name.to_owned()));
                let _ = nrrd::read_image(bytes, Turn::Axial, &no_other).map_err(|error| told(&error));
            }
        }
        _ => {
            let Ok(plan) = planc::Plan::open(Cursor::new(bytes.to_vec())).map_err(|error| told(&error)) else { return };
            let _ = (plan.structures(), plan.is_ours());
            for scan in 0..plan.scans().min(4) {
                let small =
                    |header: &planc::ScanHeader| header.geometry.shape().iter().product::<usize>() <= VOXELS_MAX;
                if plan.header(scan).is_ok_and(|header| small(&header)) {
                    let _ = plan.read(scan).map_err(|error| told(&error));
                }
            }
        }
    }
}

/// A document of the configuration; the first byte says which.
pub fn document(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let mut problems = Problems::of("fuzz.json");
    let Some(node) = document::parse(&text, &mut problems) else {
        assert!(!problems.is_empty(), "what is not read has a reason");
        return;
    };
    let parse: fn(&Node, &mut Problems) -> bool = match first % 4 {
        0 => |node, problems| Gateway::parse(node, problems).is_some(),
        1 => |node, problems| Peer::parse("name", node, problems).is_some(),
        2 => |node, problems| Model::parse(node, problems).is_some(),
        _ => |node, problems| Pipeline::parse(node, problems).is_some(),
    };
    let is_good = parse(&node, &mut problems);
    assert_eq!(is_good, problems.is_empty(), "a document is good, or something is said of it: {problems:?}");
    problems.into_vec().iter().for_each(|problem| told(problem));
}

/// A body of several parts, each of which is read as the head of a DICOM file. The first byte says in which pieces the body
/// arrives, which must make no difference.
pub fn multipart(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let whole = parts(body, body.len().max(1));
    let pieces = parts(body, usize::from(*first).max(1));
    assert_eq!(whole, pieces, "the same bytes in other pieces");
}

/// What stands in the parts of a body that ended whole, until something is wrong with it.
fn parts(body: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, Option<MultipartError>) {
    let mut multipart = Multipart::new("b").expect("a boundary");
    let (mut ended, mut part) = (Vec::new(), Vec::new());
    for piece in body.chunks(piece_bytes) {
        multipart.push(piece);
        loop {
            match multipart.piece() {
                Ok(None) => break,
                Ok(Some(Piece::Part(_))) => part.clear(),
                Ok(Some(Piece::Data(data))) => part.extend_from_slice(&data),
                Ok(Some(Piece::PartEnd)) => {
                    let heads = [part.len().max(1), piece_bytes].map(|size| file_head(&part, size));
                    assert_eq!(heads[0], heads[1], "the same file in other pieces");
                    ended.push(std::mem::take(&mut part));
                }
                Ok(Some(Piece::Close)) => {}
                Err(error) => {
                    told(&error);
                    return (ended, Some(error));
                }
            }
        }
    }
    let end = multipart.finish().err();
    (ended, end)
}

/// Where the data set of a file begins, or why it is none.
fn file_head(file: &[u8], piece_bytes: usize) -> String {
    let (mut reader, mut taken) = (FileHeadReader::default(), 0);
    for piece in file.chunks(piece_bytes) {
        taken += piece.len();
        match reader.push(piece) {
            Ok(None) => {}
            Ok(Some((head, rest))) => {
                assert!(rest.len() <= taken, "no byte is made up");
                return format!("{head:?} at {}", taken - rest.len());
            }
            Err(error) => {
                told(&error);
                return error.to_string();
            }
        }
    }
    reader.cut().to_string()
}

/// A message is one line of printable text, however hostile what it speaks of.
fn told(message: &dyn std::fmt::Display) {
    let message = message.to_string();
    assert!(!message.is_empty(), "a refusal says something");
    assert!(message.len() < 20_000, "a message of {} bytes", message.len());
}
