//! PDUs, commands and data sets as bytes, right or wrong as the caller wants them; written without the code under test.

pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
pub const RT_PLAN: &str = "1.2.840.10008.5.1.4.1.1.481.5";
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const RLE: &str = "1.2.840.10008.1.2.5";

/// The presentation contexts of [`Request::ordinary`]. [`REFUSED`] is for a class that nobody knows.
pub const AS_IMPLICIT: u8 = 1;
pub const ECHO: u8 = 3;
pub const AS_EXPLICIT: u8 = 5;
pub const AS_DEFLATED: u8 = 7;
pub const AS_RLE: u8 = 9;
pub const PLAN: u8 = 11;
pub const REFUSED: u8 = 13;

/// Flags of a presentation data value (PS3.8 E.2).
pub const DATA: u8 = 0;
pub const COMMAND: u8 = 1;
pub const LAST: u8 = 2;

/// The parts of an A-ASSOCIATE-RQ (PS3.8 9.3.2), each as it is to be written.
#[derive(Clone)]
pub struct Request {
    pub version: u16,
    pub called: Vec<u8>,
    pub calling: Vec<u8>,
    /// The items after the fixed fields, in order.
    pub items: Vec<Vec<u8>>,
}

impl Request {
    pub fn ordinary() -> Request {
        Request::from("CT01")
    }

    pub fn from(calling: &str) -> Request {
        let contexts = [
            (AS_IMPLICIT, CT, IMPLICIT),
            (ECHO, VERIFICATION, IMPLICIT),
            (AS_EXPLICIT, CT, EXPLICIT),
            (AS_DEFLATED, CT, DEFLATED),
            (AS_RLE, CT, RLE),
            (PLAN, RT_PLAN, IMPLICIT),
            (REFUSED, "1.2.3", IMPLICIT),
        ];
        let contexts = contexts.map(|(id, class, syntax)| context(id, class, &[syntax]));
        Request::with(calling, &contexts.concat(), &maximum(16_384))
    }

    /// With these context items and items of user information.
    pub fn with(calling: &str, contexts: &[u8], user: &[u8]) -> Request {
        Request {
            version: 1,
            called: title("CONTOURD"),
            calling: title(calling),
            items: vec![item(0x10, b"1.2.840.10008.3.1.1.1"), contexts.to_vec(), item(0x50, user)],
        }
    }

    /// With these items of user information besides the maximum length.
    pub fn user(extra: &[u8]) -> Request {
        let contexts = [context(AS_IMPLICIT, CT, &[IMPLICIT]), context(ECHO, VERIFICATION, &[IMPLICIT])];
        Request::with("CT01", &contexts.concat(), &[maximum(16_384), extra.to_vec()].concat())
    }

    /// With these contexts.
    pub fn contexts(contexts: &[u8]) -> Request {
        Request::with("CT01", contexts, &maximum(16_384))
    }

    pub fn body(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        [&version[..], &[0, 0], &self.called, &self.calling, &[0; 32], &self.items.concat()].concat()
    }

    pub fn bytes(&self) -> Vec<u8> {
        pdu(1, &self.body())
    }
}

/// An AE title in its 16 bytes; a longer one stays too long.
pub fn title(text: &str) -> Vec<u8> {
    format!("{text:<16}").into_bytes()
}

pub fn maximum(bytes: u32) -> Vec<u8> {
    item(0x51, &bytes.to_be_bytes())
}

pub fn context(id: u8, class: &str, syntaxes: &[&str]) -> Vec<u8> {
    let offers: Vec<u8> = syntaxes.iter().flat_map(|syntax| item(0x40, syntax.as_bytes())).collect();
    item(0x20, &[&[id, 0, 0, 0][..], &item(0x30, class.as_bytes()), &offers].concat())
}

pub fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    item_of(kind, value.len() as u16, value)
}

/// An item whose length may lie.
pub fn item_of(kind: u8, length: u16, value: &[u8]) -> Vec<u8> {
    [&[kind, 0][..], &length.to_be_bytes(), value].concat()
}

pub fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    pdu_of(kind, body.len() as u32, body)
}

/// A PDU whose length may lie.
pub fn pdu_of(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[kind, 0][..], &length.to_be_bytes(), body].concat()
}

pub fn release() -> Vec<u8> {
    pdu(5, &[0; 4])
}

pub fn pdv(context: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    pdv_of(data.len() as u32 + 2, context, flags, data)
}

/// A presentation data value whose length may lie.
pub fn pdv_of(length: u32, context: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[context, flags], data].concat()
}

pub fn pdata(values: &[Vec<u8>]) -> Vec<u8> {
    pdu(4, &values.concat())
}

/// A whole command in one PDU.
pub fn said(context: u8, command: &[u8]) -> Vec<u8> {
    pdata(&[pdv(context, COMMAND | LAST, command)])
}

/// A data set as PDUs of 16,000 bytes.
pub fn data(context: u8, bytes: &[u8]) -> Vec<u8> {
    let count = bytes.len().div_ceil(16_000).max(1);
    let piece = |index: usize| &bytes[index * 16_000..bytes.len().min((index + 1) * 16_000)];
    let flags = |index: usize| if index + 1 == count { LAST } else { DATA };
    (0..count).flat_map(|index| pdata(&[pdv(context, flags(index), piece(index))])).collect()
}

/// A command of these elements, with its group length.
pub fn command(elements: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = elements.iter().flat_map(|(number, value)| element(0, *number, value)).collect();
    [element(0, 0, &(body.len() as u32).to_le_bytes()), body].concat()
}

pub fn echo_elements() -> Vec<(u16, Vec<u8>)> {
    vec![(0x0002, padded(VERIFICATION)), (0x0100, u16(0x30)), (0x0110, u16(1)), (0x0800, u16(0x0101))]
}

pub fn echo() -> Vec<u8> {
    said(ECHO, &command(&echo_elements()))
}

pub fn store_elements(class: &str, instance: &str) -> Vec<(u16, Vec<u8>)> {
    vec![
        (0x0002, padded(class)),
        (0x0100, u16(1)),
        (0x0110, u16(7)),
        (0x0700, u16(0)),
        (0x0800, u16(1)),
        (0x1000, padded(instance)),
    ]
}

pub fn store_command(class: &str, instance: &str) -> Vec<u8> {
    command(&store_elements(class, instance))
}

/// A C-STORE of a CT image, whatever the data set is.
pub fn store(context: u8, instance: &str, data_set: &[u8]) -> Vec<u8> {
    [said(context, &store_command(CT, instance)), data(context, data_set)].concat()
}

pub fn u16(value: u16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// Text of even length, padded as a UID is.
pub fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// An element in Implicit VR Little Endian.
pub fn element(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    element_of(group, number, value.len() as u32, value)
}

/// An element whose length may lie; an item when its group is FFFE.
pub fn element_of(group: u16, number: u16, length: u32, value: &[u8]) -> Vec<u8> {
    [&u16(group)[..], &u16(number), &length.to_le_bytes(), value].concat()
}

/// An element in Explicit VR Little Endian whose length may lie.
pub fn explicit_of(group: u16, number: u16, vr: &[u8; 2], length: u32, value: &[u8]) -> Vec<u8> {
    let head = [&u16(group)[..], &u16(number), vr].concat();
    match vr {
        b"OB" | b"OW" | b"OF" | b"OD" | b"OL" | b"OV" | b"UN" | b"UT" | b"UC" | b"UR" | b"SQ" | b"SV" | b"UV" => {
            [&head[..], &[0, 0], &length.to_le_bytes(), value].concat()
        }
        _ => [&head[..], &(length as u16).to_le_bytes(), value].concat(),
    }
}

pub fn explicit(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    explicit_of(group, number, vr, value.len() as u32, value)
}

/// The UIDs of an image: class, instance, study, series.
pub struct Uids<'a>(pub &'a str, pub &'a str, pub &'a str, pub &'a str);

/// The series of the image that is `instance`: each case has its own.
pub fn series(instance: &str) -> String {
    format!("{instance}.1")
}

/// A small CT image in Implicit VR Little Endian, complete as far as the receiver looks.
pub fn image(instance: &str) -> Vec<u8> {
    image_with(instance, &[])
}

/// The same with further elements before its pixels.
pub fn image_with(instance: &str, extra: &[u8]) -> Vec<u8> {
    [&head(&Uids(CT, instance, "1.2.3", &series(instance)))[..], extra, &pixels()].concat()
}

pub fn pixels() -> Vec<u8> {
    element(0x7FE0, 0x0010, &[1; 2_048])
}

pub fn head(uids: &Uids<'_>) -> Vec<u8> {
    [
        element(0x0008, 0x0016, &padded(uids.0)),
        element(0x0008, 0x0018, &padded(uids.1)),
        element(0x0010, 0x0010, b"Nobody^At all "),
        element(0x0020, 0x000D, &padded(uids.2)),
        element(0x0020, 0x000E, &padded(uids.3)),
        element(0x0028, 0x0010, &u16(32)),
        element(0x0028, 0x0011, &u16(32)),
    ]
    .concat()
}

/// The same in Explicit VR Little Endian, without pixels.
pub fn explicit_head(instance: &str) -> Vec<u8> {
    [
        explicit(0x0008, 0x0016, b"UI", &padded(CT)),
        explicit(0x0008, 0x0018, b"UI", &padded(instance)),
        explicit(0x0010, 0x0010, b"PN", b"Nobody^At all "),
        explicit(0x0020, 0x000D, b"UI", &padded("1.2.3")),
        explicit(0x0020, 0x000E, b"UI", &padded(&series(instance))),
        explicit(0x0028, 0x0010, b"US", &u16(32)),
        explicit(0x0028, 0x0011, b"US", &u16(32)),
    ]
    .concat()
}
