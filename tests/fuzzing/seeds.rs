//! Legal bytes to begin with, small, one of each kind: what is not near to something legal is refused at its first byte
//! and tests nothing.

use std::path::Path;

use contourd::dicom::SeriesKey;
use contourd::dimse::find::Query;
use contourd::dimse::{CommandSet, Outcome, encode_data, encode_message};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// Some legal inputs of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "pdu" => streams(),
        "message" => fragments(),
        "command" => commands(),
        "answer" => answers(),
        "data_set" => data_sets(),
        "file" => files(),
        "pixels" => codestreams(),
        "image_file" => image_files(),
        "document" => documents(),
        "multipart" => bodies(),
        other => panic!("no target {other}"),
    }
}

fn uid(text: &str) -> contourd::dicom::Uid {
    text.parse().expect("a UID")
}

fn commands() -> Vec<Vec<u8>> {
    let store = CommandSet::store_request(7, &uid(CT), &uid("1.2.3.4"));
    let answers = [Outcome::Stored, Outcome::Truncated, Outcome::OutOfResources];
    let answers = answers.map(|outcome| store.response(outcome).expect("a response").encode());
    [vec![CommandSet::echo_request(1).encode(), store.encode()], answers.to_vec()].concat()
}

/// An identifier is an answer without values, or with those that were asked for.
fn answers() -> Vec<Vec<u8>> {
    let series = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") };
    let queries = [
        Query::accession("A1").expect("a number"),
        Query::series(&uid("1.2"), Some(&uid("1.3")), Some("MR")),
        Query::instances(&series, None),
    ];
    let encoded = |first: u8, syntax: &str| {
        let of = |query: &Query| [vec![first], query.encode(syntax).expect("written")].concat();
        queries.iter().map(of).collect::<Vec<_>>()
    };
    // A list of instances that have failed, in Implicit VR Little Endian.
    let failed = [&[0, 8, 0, 0x58, 0, 8, 0, 0, 0][..], b"1.2\\1.3 "].concat();
    [encoded(0, "1.2.840.10008.1.2"), encoded(1, EXPLICIT), vec![failed]].concat()
}

fn fragments() -> Vec<Vec<u8>> {
    let whole = |command: &Vec<u8>| {
        let mut bytes = Vec::new();
        let pieces: Vec<&[u8]> = command.chunks(64).collect();
        for (index, piece) in pieces.iter().enumerate() {
            bytes.extend([if index + 1 == pieces.len() { 3 } else { 1 }, 1, piece.len().div_ceil(2) as u8]);
            bytes.extend_from_slice(piece);
        }
        bytes.extend([0, 1, 2, 1, 2, 3, 4, 2, 1, 0]);
        bytes
    };
    commands().iter().map(whole).collect()
}

fn streams() -> Vec<Vec<u8>> {
    let request = associate(&[(1, CT, &[EXPLICIT, "1.2.840.10008.1.2"]), (3, "1.2.840.10008.1.1", &[EXPLICIT])]);
    let mut streams = vec![[vec![7], request.clone()].concat(), [vec![200], request.clone()].concat()];
    for command in commands() {
        let mut stream = [vec![5], request.clone()].concat();
        encode_message(&mut stream, 1, true, &command, 16_384);
        encode_data(&mut stream, 1, false, false, b"data");
        encode_data(&mut stream, 1, false, true, b"");
        stream.extend([5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        streams.push(stream);
    }
    streams.push(vec![1, 7, 0, 0, 0, 0, 4, 0, 0, 2, 6]);
    streams.push(vec![1, 3, 0, 0, 0, 0, 4, 0, 2, 3, 2]);
    streams
}

/// An A-ASSOCIATE-RQ with user information of every kind.
fn associate(contexts: &[(u8, &str, &[&str])]) -> Vec<u8> {
    let item = |kind: u8, value: &[u8]| [&[kind, 0][..], &(value.len() as u16).to_be_bytes(), value].concat();
    let mut body = [&[0, 1, 0, 0][..], format!("{:<16}{:<16}", "CONTOURD", "CT01").as_bytes(), &[0; 32]].concat();
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, class, syntaxes) in contexts {
        let offers: Vec<u8> = syntaxes.iter().flat_map(|syntax| item(0x40, syntax.as_bytes())).collect();
        body.extend(item(0x20, &[&[*id, 0, 0, 0][..], &item(0x30, class.as_bytes()), &offers].concat()));
    }
    let class = [&(CT.len() as u16).to_be_bytes()[..], CT.as_bytes()].concat();
    let user = [
        item(0x51, &16_384_u32.to_be_bytes()),
        item(0x52, b"1.2.3"),
        item(0x53, &[0, 1, 0, 1]),
        item(0x54, &[&class[..], &[1, 0]].concat()),
        item(0x55, b"FUZZ"),
        item(0x56, &[&class[..], &[2, 0, 0]].concat()),
        item(0x58, b"\x02\x01\x00\x04user\x00\x04pass"),
    ];
    body.extend(item(0x50, &user.concat()));
    [&[1, 0][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// An element in Explicit VR Little Endian.
fn put(tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
    bytes.extend_from_slice(vr.as_bytes());
    let length = value.len() + value.len() % 2;
    if ["OB", "OW", "OF", "UN", "UT", "SQ"].contains(&vr) {
        bytes.extend([0, 0]);
        bytes.extend((length as u32).to_le_bytes());
    } else {
        bytes.extend((length as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len() + value.len() % 2, if vr == "UI" { 0 } else { b' ' });
    bytes
}

fn text(tag: u32, vr: &str, value: &str) -> Vec<u8> {
    put(tag, vr, value.as_bytes())
}

fn us(tag: u32, value: u16) -> Vec<u8> {
    put(tag, "US", &value.to_le_bytes())
}

/// A sequence of items, each of elements.
fn sequence(tag: u32, items: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let item = |elements: &Vec<Vec<u8>>| {
        let content = elements.concat();
        [&[0xfe, 0xff, 0x00, 0xe0][..], &(content.len() as u32).to_le_bytes(), &content].concat()
    };
    put(tag, "SQ", &items.iter().flat_map(item).collect::<Vec<u8>>())
}

fn part10(syntax: &str, data_set: &[u8]) -> Vec<u8> {
    [&[0; 128][..], b"DICM", &text(0x0002_0010, "UI", syntax), data_set].concat()
}

/// The header of an image of 16 x 16 pixels.
fn header(class: &str, modality: &str, (bits, stored, signed): (u16, u16, u16)) -> Vec<u8> {
    [
        text(0x0008_0005, "CS", "ISO_IR 192"),
        text(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        text(0x0008_0016, "UI", class),
        text(0x0008_0018, "UI", "1.2.3.4"),
        text(0x0008_0060, "CS", modality),
        sequence(0x0008_1140, &[vec![text(0x0008_1150, "UI", CT), text(0x0008_1155, "UI", "1.2.3.9")]]),
        text(0x0010_0010, "PN", "Nobody^At all"),
        text(0x0018_0050, "DS", "2.5"),
        text(0x0018_5100, "CS", "HFS"),
        text(0x0020_000d, "UI", "1.2.3"),
        text(0x0020_000e, "UI", "1.2.3.5"),
        text(0x0020_0013, "IS", "1"),
        text(0x0020_0032, "DS", "-10\\-10\\5"),
        text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0"),
        text(0x0020_0052, "UI", "1.2.3.6"),
        us(0x0028_0002, 1),
        text(0x0028_0004, "CS", "MONOCHROME2"),
        us(0x0028_0010, 16),
        us(0x0028_0011, 16),
        text(0x0028_0030, "DS", "1\\1"),
        us(0x0028_0100, bits),
        us(0x0028_0101, stored),
        us(0x0028_0102, stored.saturating_sub(1)),
        us(0x0028_0103, signed),
        text(0x0028_1052, "DS", "-1024"),
        text(0x0028_1053, "DS", "1"),
    ]
    .concat()
}

/// The transfer syntaxes with codecs.
const CODECS: [&str; 10] = ["5", "4.50", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.51", "4.201"];

/// A file whose one frame is this codestream; `described` says how the header describes it.
pub fn encapsulated(codec: usize, described: u8, codestream: &[u8]) -> Vec<u8> {
    let format = [(16, 12, 0), (16, 16, 1), (8, 8, 0), (16, 16, 0)][usize::from(described) % 4];
    let mut data = header(CT, "CT", format);
    data.extend([0xe0, 0x7f, 0x10, 0x00, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    data.extend([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0x00, 0xe0]);
    data.extend((codestream.len() as u32).to_le_bytes());
    data.extend_from_slice(codestream);
    data.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    part10(&format!("1.2.840.10008.1.2.{}", CODECS[codec % CODECS.len()]), &data)
}

fn codestreams() -> Vec<Vec<u8>> {
    let mut rle = [2_u32, 64, 70].map(u32::to_le_bytes).concat();
    rle.resize(64, 0);
    rle.extend([0x81, 0, 0x81, 1, 0x80, 0x80, 0x81, 7, 0xc1, 8, 0xc1, 9]);
    // SOI, a table of one code, SOF of 16 x 16 samples of 12 bits, SOS: heads of JPEG Lossless, JPEG-LS and baseline.
    let lossless = b"\xff\xd8\xff\xc4\x00\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \xff\xc3\x00\x0b\x0c\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xd9";
    let baseline = [
        b"\xff\xd8\xff\xdb\x00\x43\x00".as_slice(),
        &[1; 64],
        b"\xff\xc4\x00\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xff\xc4\x00\x14\x10\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
        &[0; 32],
        b"\xff\xd9",
    ]
    .concat();
    let near = b"\xff\xd8\xff\xf7\x00\x0b\x0c\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xd9";
    // SOC, SIZ, COD, QCD, one tile with an empty packet.
    let wavelet = [
        b"\xff\x4f\xff\x51\x00\x29\x00\x00\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00".as_slice(),
        b"\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x0b\x01\x01",
        b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x01\x04\x04\x00\x01\xff\x5c\x00\x07\x40\x60\x68\x68\x70",
        b"\xff\x90\x00\x0a\x00\x00\x00\x00\x00\x10\x00\x01\xff\x93\x00\x00\xff\xd9",
    ]
    .concat();
    let with = |codec: u8, described: u8, bytes: &[u8]| [&[codec, described][..], bytes].concat();
    vec![
        with(0, 0, &rle),
        with(1, 2, &baseline),
        with(2, 0, lossless),
        with(3, 0, lossless),
        with(4, 0, near),
        with(5, 0, near),
        with(6, 0, &wavelet),
        with(7, 0, &wavelet),
    ]
}

fn files() -> Vec<Vec<u8>> {
    let native = put(0x7fe0_0010, "OW", &[1; 512]);
    let image = part10(EXPLICIT, &[header(CT, "CT", (16, 12, 0)), native].concat());
    let coded = codestreams().into_iter().map(|seed| encapsulated(seed[0].into(), seed[1], &seed[2..]));
    [vec![image, structure_set(), segmentation(), registration(), dose()], coded.collect()].concat()
}

fn structure_set() -> Vec<u8> {
    let contour = vec![
        sequence(0x3006_0016, &[vec![text(0x0008_1150, "UI", CT), text(0x0008_1155, "UI", "1.2.3.9")]]),
        text(0x3006_0042, "CS", "CLOSED_PLANAR"),
        text(0x3006_0046, "IS", "4"),
        text(0x3006_0050, "DS", "0\\0\\5\\10\\0\\5\\10\\10\\5\\0\\10\\5"),
    ];
    let data = [
        text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.481.3"),
        text(0x0008_0018, "UI", "1.2.3.4"),
        text(0x0008_0060, "CS", "RTSTRUCT"),
        text(0x0020_000d, "UI", "1.2.3"),
        text(0x0020_000e, "UI", "1.2.3.5"),
        text(0x3006_0002, "SH", "AUTO"),
        sequence(0x3006_0010, &[vec![text(0x0020_0052, "UI", "1.2.3.6")]]),
        sequence(0x3006_0020, &[vec![text(0x3006_0022, "IS", "1"), text(0x3006_0026, "LO", "BODY")]]),
        sequence(
            0x3006_0039,
            &[vec![
                text(0x3006_002a, "IS", "0\\255\\0"),
                sequence(0x3006_0040, &[contour]),
                text(0x3006_0084, "IS", "1"),
            ]],
        ),
        sequence(0x3006_0080, &[vec![text(0x3006_0082, "IS", "1"), text(0x3006_0084, "IS", "1")]]),
    ];
    part10(EXPLICIT, &data.concat())
}

fn registration() -> Vec<u8> {
    let side = |frame_of_reference: &str, matrix: &str| {
        let matrix = vec![text(0x3006_00c6, "DS", matrix), text(0x0070_030c, "CS", "RIGID")];
        let matrices = vec![sequence(0x0070_030a, &[matrix.clone(), matrix])];
        vec![text(0x0020_0052, "UI", frame_of_reference), sequence(0x0070_0309, &[matrices])]
    };
    let data = [
        text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.66.1"),
        text(0x0008_0018, "UI", "1.2.3.4"),
        text(0x0008_0060, "CS", "REG"),
        text(0x0020_000d, "UI", "1.2.3"),
        text(0x0020_000e, "UI", "1.2.3.7"),
        text(0x0020_0052, "UI", "1.2.3.4"),
        sequence(
            0x0070_0308,
            &[
                side("1.2.3.4", "1\\0\\0\\0\\0\\1\\0\\0\\0\\0\\1\\0\\0\\0\\0\\1"),
                side("1.2.3.6", "0\\-1\\0\\5\\1\\0\\0\\6\\0\\0\\1\\7\\0\\0\\0\\1"),
            ],
        ),
    ];
    part10(EXPLICIT, &data.concat())
}

fn segmentation() -> Vec<u8> {
    let place = |z: &str| {
        vec![
            sequence(0x0020_9113, &[vec![text(0x0020_0032, "DS", &format!("0\\0\\{z}"))]]),
            sequence(0x0062_000a, &[vec![us(0x0062_000b, 1)]]),
        ]
    };
    let shared = vec![
        sequence(0x0020_9116, &[vec![text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0")]]),
        sequence(0x0028_9110, &[vec![text(0x0018_0050, "DS", "2"), text(0x0028_0030, "DS", "1\\1")]]),
    ];
    let data = [
        text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.66.4"),
        text(0x0008_0018, "UI", "1.2.3.4"),
        text(0x0008_0060, "CS", "SEG"),
        text(0x0020_000d, "UI", "1.2.3"),
        text(0x0020_000e, "UI", "1.2.3.5"),
        us(0x0028_0002, 1),
        text(0x0028_0008, "IS", "2"),
        us(0x0028_0010, 16),
        us(0x0028_0011, 16),
        us(0x0028_0100, 1),
        us(0x0028_0101, 1),
        us(0x0028_0102, 0),
        us(0x0028_0103, 0),
        text(0x0062_0001, "CS", "BINARY"),
        sequence(0x0062_0002, &[vec![us(0x0062_0004, 1), text(0x0062_0005, "LO", "BODY")]]),
        sequence(0x5200_9229, &[shared]),
        sequence(0x5200_9230, &[place("0"), place("2")]),
        put(0x7fe0_0010, "OB", &[0x3c; 64]),
    ];
    part10(EXPLICIT, &data.concat())
}

fn dose() -> Vec<u8> {
    let data = [
        header("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", (16, 16, 0)),
        text(0x3004_0002, "CS", "GY"),
        text(0x3004_000c, "DS", "0\\2"),
        text(0x3004_000e, "DS", "0.001"),
        put(0x7fe0_0010, "OW", &[1; 1024]),
    ];
    let mut data = data.concat();
    let frames = text(0x0028_0008, "IS", "2");
    let at = data.windows(4).position(|bytes| bytes == [0x28, 0, 0x10, 0]).expect("Rows");
    data.splice(at..at, frames);
    part10(EXPLICIT, &data)
}

/// In each syntax of the target; big endian and deflated ones come of mutation.
fn data_sets() -> Vec<Vec<u8>> {
    let start = 132 + text(0x0002_0010, "UI", EXPLICIT).len();
    let explicit: Vec<Vec<u8>> = files()[..4].iter().map(|file| [&[1], &file[start..]].concat()).collect();
    let implicit = |group: u16, number: u16, value: &[u8]| {
        [&group.to_le_bytes()[..], &number.to_le_bytes(), &(value.len() as u32).to_le_bytes(), value].concat()
    };
    let plain = [
        vec![0],
        implicit(0x0008, 0x0016, b"1.2.840.10008.5.1.4.1.1.2\0"),
        implicit(0x0008, 0x0018, b"1.2.3.4\0"),
        implicit(0x0008, 0x1140, &implicit(0xfffe, 0xe000, &implicit(0x0008, 0x1155, b"1.2.3.9\0"))),
        implicit(0x0020, 0x000d, b"1.2.3\0"),
        implicit(0x0020, 0x000e, b"1.2.3.5\0"),
        implicit(0x0028, 0x0010, &[16, 0]),
        implicit(0x7fe0, 0x0010, &[1; 64]),
    ];
    [explicit, vec![plain.concat()]].concat()
}

fn image_files() -> Vec<Vec<u8>> {
    let mut nifti = vec![0; 352];
    nifti[..4].copy_from_slice(&348_i32.to_le_bytes());
    for (at, value) in [(40, 3_i16), (42, 4), (44, 4), (46, 4), (48, 1), (70, 4), (72, 16), (254, 1)] {
        nifti[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    for (at, value) in [(76, 1.0_f32), (80, 1.0), (84, 1.0), (88, 2.0), (108, 352.0), (112, 1.0)] {
        nifti[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (row, at) in [280, 296, 312].into_iter().enumerate() {
        nifti[at + 4 * row..at + 4 * row + 4].copy_from_slice(&1.5_f32.to_le_bytes());
    }
    nifti[123] = 2;
    nifti[344..348].copy_from_slice(b"n+1\0");
    nifti.extend([3; 128]);
    let nrrd = b"NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\n\
        space directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\nendian: little\nencoding: raw\n\n";
    let nrrd = [nrrd.as_slice(), &[3; 128]].concat();
    vec![[vec![0], nifti].concat(), [vec![1], nrrd].concat(), [vec![2], b"\x89HDF\r\n\x1a\n".to_vec()].concat()]
}

/// The documents of the repository itself.
fn bodies() -> Vec<Vec<u8>> {
    let part = |headers: &str, content: &[u8]| [format!("--b\r\n{headers}\r\n").as_bytes(), content, b"\r\n"].concat();
    let file = files().into_iter().min_by_key(Vec::len).expect("a file");
    let one = part("Content-Type: application/dicom\r\n", &file);
    let end = b"--b--\r\n";
    vec![
        [&[200][..], &one, &one, end].concat(),
        [
            &[7][..],
            b"before\r\n",
            &part("", b""),
            &part("A: b\r\nContent-Transfer-Encoding: binary\r\n", b"--b"),
            end,
            b"behind",
        ]
        .concat(),
        [&[1][..], &part("Content-Type: multipart/related; boundary=c\r\n", b"--c\r\n\r\n--c--"), end].concat(),
    ]
}

fn documents() -> Vec<Vec<u8>> {
    let folders = [(0, "ae-config"), (1, "ae-config/peers"), (2, "models"), (3, "pipelines"), (3, "tests/fuzzing")];
    let mut found = Vec::new();
    for (kind, folder) in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let inside = paths.iter().map(|path| if path.is_dir() { path.join("model.json") } else { path.clone() });
        for path in inside.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            if let Ok(text) = std::fs::read(&path) {
                found.push([vec![kind], text].concat());
            }
        }
    }
    assert!(found.len() > 20, "found {} documents, expected those of the repository", found.len());
    found
}

/// Fragments of DICOM and JSON that mutations put in.
pub const WORDS: [&[u8]; 24] = [
    b"\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xe0\x7f\x10\x00",
    b"\xfe\xff\xff\xff",
    b"\xf0\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x00\x00\x00\x00",
    b"SQ\x00\x00",
    b"UN\x00\x00\xff\xff\xff\xff",
    b"OB\x00\x00",
    b"1e999",
    b"-1",
    b"NaN",
    b"99999999999999999999",
    b"\\",
    b"{\"",
    b"[[",
    b"null",
    b"\"\\u0000\"",
    b"../",
    b"\x1b$B",
];
