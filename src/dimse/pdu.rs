//! Cuts a stream of bytes into protocol data units (PS3.8 9.3) and back, within limits; it reads no socket.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dicom_ul::pdu as ul;
use thiserror::Error;

use crate::limits::{ASSOCIATE_BYTES_MAX, PDU_BYTES_MAX};

/// Type, reserved byte and length (PS3.8 9.3.1).
const HEADER_BYTES: usize = 6;

/// One protocol data unit as it is used here.
#[derive(Debug, PartialEq)]
pub enum Pdu {
    AssociateRequest(Box<ul::AssociationRQ>),
    AssociateAccept(Box<ul::AssociationAC>),
    /// Result, source and reason as they were sent (PS3.8 9.3.4); unknown numbers are kept.
    AssociateReject {
        result: u8,
        source: u8,
        reason: u8,
    },
    /// The presentation data values, still to be cut.
    Data(Pdvs),
    ReleaseRequest,
    ReleaseReply,
    /// Source and reason as they were sent (PS3.8 9.3.8).
    Abort {
        source: u8,
        reason: u8,
    },
}

/// A presentation data value: a fragment of a command or of a data set (PS3.8 9.3.5.1, E.2).
#[derive(Debug, PartialEq)]
pub struct Pdv {
    pub context_id: u8,
    pub is_command: bool,
    pub is_last: bool,
    pub data: Bytes,
}

/// The values of one P-DATA-TF, cut one at a time; a PDU may hold as many as fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Pdvs(Bytes);

/// Reasons of the A-ABORT of the service provider (PS3.8 table 9-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AbortReason {
    NotSpecified = 0,
    UnrecognizedPdu = 1,
    UnexpectedPdu = 2,
    InvalidParameter = 6,
}

impl AbortReason {
    /// Every reason, for the conformance statement.
    pub const ALL: [AbortReason; 4] = [
        AbortReason::NotSpecified,
        AbortReason::UnrecognizedPdu,
        AbortReason::UnexpectedPdu,
        AbortReason::InvalidParameter,
    ];

    /// When it is sent, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            AbortReason::NotSpecified => "the association was idle or too slow, or the gateway ends",
            AbortReason::UnrecognizedPdu => "the PDU is of no known type",
            AbortReason::UnexpectedPdu => "the PDU is none that may come now",
            AbortReason::InvalidParameter => "the PDU, or what is in it, does not follow PS3.8 9.3",
        }
    }
}

/// Why bytes are not a PDU.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PduError {
    #[error("found PDU type {0:#04x}, expected 0x01 to 0x07; the peer does not speak DICOM on this port{hint}", hint = if matches!(*.0, 0x15 | 0x16) { " (it speaks TLS)" } else { "" })]
    Type(u8),
    #[error("found a PDU of type {kind:#04x} with {found} bytes, expected at most {limit}")]
    Length { kind: u8, found: u32, limit: u32 },
    #[error("found a PDU of type {kind:#04x} that does not follow PS3.8 9.3: {detail}")]
    Malformed { kind: u8, detail: String },
    #[error(
        "found a presentation data value of {found} bytes where {left} are left in its PDU, expected 2 or more that fit"
    )]
    Pdv { found: u32, left: usize },
}

impl PduError {
    /// What the A-ABORT says.
    pub fn abort_reason(&self) -> AbortReason {
        match self {
            PduError::Type(_) => AbortReason::UnrecognizedPdu,
            _ => AbortReason::InvalidParameter,
        }
    }
}

/// Takes one PDU off the front of `buffer`; `None` when it is not complete yet, and then room for its rest has been
/// reserved. A header that promises too much is refused before its body arrives.
///
/// `data_max` is the longest P-DATA-TF that was negotiated (the PDU length field, without the header).
///
/// # Errors
/// The stream cannot be followed any further: abort.
pub fn decode_pdu(buffer: &mut BytesMut, data_max: u32) -> Result<Option<Pdu>, PduError> {
    if let Some(kind) = buffer.first()
        && !(0x01..=0x07).contains(kind)
    {
        return Err(PduError::Type(*kind));
    }
    if buffer.len() < HEADER_BYTES {
        buffer.reserve(HEADER_BYTES);
        return Ok(None);
    }
    let (kind, length) = (buffer[0], u32::from_be_bytes([buffer[2], buffer[3], buffer[4], buffer[5]]));
    let limit = match kind {
        0x01 | 0x02 => ASSOCIATE_BYTES_MAX,
        0x04 => data_max.min(PDU_BYTES_MAX),
        _ => 4,
    };
    if length > limit || (limit == 4 && length != 4) {
        return Err(PduError::Length { kind, found: length, limit });
    }
    let total = HEADER_BYTES + length as usize;
    if buffer.len() < total {
        buffer.reserve(total - buffer.len());
        return Ok(None);
    }
    let whole = buffer.split_to(total).freeze();
    let body = whole.slice(HEADER_BYTES..);
    Ok(Some(match kind {
        0x01 | 0x02 => associate(kind, whole)?,
        0x03 => Pdu::AssociateReject { result: body[1], source: body[2], reason: body[3] },
        0x04 => Pdu::Data(Pdvs(body)),
        0x05 => Pdu::ReleaseRequest,
        0x06 => Pdu::ReleaseReply,
        _ => Pdu::Abort { source: body[2], reason: body[3] },
    }))
}

fn associate(kind: u8, whole: Bytes) -> Result<Pdu, PduError> {
    let malformed = |detail: String| PduError::Malformed { kind, detail };
    match ul::read_pdu(without_unknown_items(whole), ASSOCIATE_BYTES_MAX, true) {
        Ok(Some(ul::Pdu::AssociationRQ(request))) => Ok(Pdu::AssociateRequest(Box::new(request))),
        Ok(Some(ul::Pdu::AssociationAC(accept))) => Ok(Pdu::AssociateAccept(Box::new(accept))),
        Ok(_) => Err(malformed("its items end in the middle".to_owned())),
        Err(error) => Err(malformed(error.to_string().chars().take(120).filter(|c| !c.is_control()).collect())),
    }
}

/// Fixed fields of an A-ASSOCIATE-RQ or -AC, header included (PS3.8 9.3.2, 9.3.3).
const ASSOCIATE_FIXED_BYTES: usize = 74;

/// The PDU without items of types that are not known, which are to be ignored (PS3.8 9.3.1); `dicom-ul` refuses them.
/// What cannot be followed is left for it to refuse.
fn without_unknown_items(whole: Bytes) -> Bytes {
    let items = |bytes: &Bytes| {
        let mut rest = bytes.slice(ASSOCIATE_FIXED_BYTES.min(bytes.len())..);
        std::iter::from_fn(move || {
            let length = match rest.first_chunk() {
                None if rest.is_empty() => return None,
                None => rest.len(),
                Some(&[_, _, a, b]) => (4 + usize::from(u16::from_be_bytes([a, b]))).min(rest.len()),
            };
            Some(rest.split_to(length))
        })
    };
    let is_known = |item: &Bytes| matches!(item[0], 0x10 | 0x20 | 0x21 | 0x50);
    if items(&whole).all(|item| is_known(&item)) {
        return whole;
    }
    let mut kept = BytesMut::from(&whole[..ASSOCIATE_FIXED_BYTES]);
    items(&whole).filter(is_known).for_each(|item| kept.extend_from_slice(&item));
    let length = (kept.len() - HEADER_BYTES) as u32;
    kept[2..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    kept.freeze()
}

impl Iterator for Pdvs {
    type Item = Result<Pdv, PduError>;

    fn next(&mut self) -> Option<Result<Pdv, PduError>> {
        if self.0.is_empty() {
            return None;
        }
        let left = self.0.len();
        if left < 6 {
            self.0.clear();
            return Some(Err(PduError::Pdv { found: 0, left }));
        }
        let length = self.0.get_u32();
        if length < 2 || length as usize > self.0.len() {
            self.0.clear();
            return Some(Err(PduError::Pdv { found: length, left: left - 4 }));
        }
        let mut value = self.0.split_to(length as usize);
        let (context_id, header) = (value.get_u8(), value.get_u8());
        Some(Ok(Pdv { context_id, is_command: header & 1 != 0, is_last: header & 2 != 0, data: value }))
    }
}

impl Pdvs {
    /// Whether the PDU held no value at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all values, with their heads.
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// The bytes of a PDU without data.
///
/// # Errors
/// Only an A-ASSOCIATE with fields that do not fit can fail: an AE title longer than 16 bytes.
pub fn encode_pdu(pdu: &Pdu) -> Result<Vec<u8>, PduError> {
    let mut bytes = Vec::new();
    let (kind, written) = match pdu {
        Pdu::AssociateRequest(request) => {
            (0x01, ul::write_pdu(&mut bytes, &ul::Pdu::AssociationRQ((**request).clone())))
        }
        Pdu::AssociateAccept(accept) => (0x02, ul::write_pdu(&mut bytes, &ul::Pdu::AssociationAC((**accept).clone()))),
        Pdu::AssociateReject { result, source, reason } => return Ok(small(0x03, [0, *result, *source, *reason])),
        Pdu::Data(values) => {
            bytes.put_slice(&[0x04, 0]);
            bytes.put_u32(values.0.len() as u32);
            bytes.put_slice(&values.0);
            return Ok(bytes);
        }
        Pdu::ReleaseRequest => return Ok(small(0x05, [0; 4])),
        Pdu::ReleaseReply => return Ok(small(0x06, [0; 4])),
        Pdu::Abort { source, reason } => return Ok(small(0x07, [0, 0, *source, *reason])),
    };
    match written {
        Ok(()) => Ok(bytes),
        Err(error) => Err(PduError::Malformed { kind, detail: error.to_string() }),
    }
}

/// An A-ABORT of the service provider (PS3.8 9.3.8).
pub fn encode_abort(reason: AbortReason) -> Vec<u8> {
    small(0x07, [0, 0, 2, reason as u8])
}

/// An A-ASSOCIATE-RJ (PS3.8 9.3.4).
pub fn encode_reject(result: u8, source: u8, reason: u8) -> Vec<u8> {
    small(0x03, [0, result, source, reason])
}

/// Appends one P-DATA-TF with a single value to `out`: some peers do not survive several in one PDU.
pub fn encode_data(out: &mut Vec<u8>, context_id: u8, is_command: bool, is_last: bool, data: &[u8]) {
    out.put_slice(&[0x04, 0]);
    out.put_u32(data.len() as u32 + 6);
    out.put_u32(data.len() as u32 + 2);
    out.put_slice(&[context_id, u8::from(is_command) | (u8::from(is_last) << 1)]);
    out.put_slice(data);
}

/// Appends a command or data set as P-DATA-TF that the peer takes: none longer than `max_pdu` (its PDU length field).
pub fn encode_message(out: &mut Vec<u8>, context_id: u8, is_command: bool, bytes: &[u8], max_pdu: u32) {
    let fragment_bytes = fragment_bytes(max_pdu);
    let count = bytes.len().div_ceil(fragment_bytes).max(1);
    for index in 0..count {
        let end = bytes.len().min((index + 1) * fragment_bytes);
        encode_data(out, context_id, is_command, index + 1 == count, &bytes[index * fragment_bytes..end]);
    }
}

/// How much data fits into one P-DATA-TF with one value: even (PS3.8 E.1), and never nothing, whatever the peer says.
pub fn fragment_bytes(max_pdu: u32) -> usize {
    (max_pdu.min(PDU_BYTES_MAX).saturating_sub(6) as usize & !1).max(2)
}

fn small(kind: u8, body: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0, 4];
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Pdu>, PduError> {
        decode_pdu(&mut BytesMut::from(bytes), 16_384)
    }

    #[test]
    fn waits_for_the_rest_of_a_pdu() {
        let mut whole = Vec::new();
        encode_data(&mut whole, 1, false, true, b"abc");
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), Ok(None), "{end} bytes");
        }
        let Ok(Some(Pdu::Data(mut values))) = decode(&whole) else { panic!("a whole P-DATA-TF") };
        let value = values.next().expect("one value").expect("legal");
        assert_eq!((value.context_id, value.is_command, value.is_last), (1, false, true));
        assert_eq!(&value.data[..], b"abc");
        assert!(values.next().is_none());
    }

    #[test]
    fn refuses_by_the_first_bytes_alone() {
        assert_eq!(decode(b"GET / HTTP/1.1"), Err(PduError::Type(b'G')));
        assert!(PduError::Type(0x16).to_string().contains("TLS"));
        for header in [[1, 0, 0xff, 0xff, 0xff, 0xff], [4, 0, 0, 0, 0x40, 1], [5, 0, 0, 0, 0, 5], [7, 0, 0, 0, 0, 0]] {
            let error = decode(&header).expect_err("too long or too short");
            assert_eq!(error.abort_reason(), AbortReason::InvalidParameter, "{header:?}");
        }
    }

    #[test]
    fn refuses_values_that_do_not_fit_their_pdu() {
        for length in [0_u32, 1, 4, 0xffff_ffff] {
            let mut body = length.to_be_bytes().to_vec();
            body.extend_from_slice(&[1, 3, 0]);
            let mut values = Pdvs(Bytes::from(body));
            assert!(values.next().expect("a value").is_err(), "{length}");
            assert!(values.next().is_none());
        }
        assert!(Pdvs(Bytes::from_static(&[0, 0, 0])).next().expect("a value").is_err());
    }

    #[test]
    fn refuses_requests_cut_short_without_panic() {
        for length in 0..80_u8 {
            let mut bytes = vec![1, 0, 0, 0, 0, length];
            bytes.resize(6 + usize::from(length), 0);
            assert!(decode(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn ignores_items_of_types_that_are_not_known() {
        let mut body = vec![0; 68];
        body[1] = 1;
        for item in [&b"\x77\0\0\x03new"[..], b"\x10\0\0\x051.2.3", b"\x78\0\0\0"] {
            body.extend_from_slice(item);
        }
        let of = |body: &[u8]| [&[1, 0, 0, 0, 0, body.len() as u8][..], body].concat();
        let Ok(Some(Pdu::AssociateRequest(request))) = decode(&of(&body)) else { panic!("a request") };
        assert_eq!(request.application_context_name, "1.2.3");
        // One that is not all there is no item.
        body.extend_from_slice(b"\x50\0\0\x09abc");
        assert!(decode(&of(&body)).is_err());
    }

    #[test]
    fn cuts_messages_to_what_the_peer_takes() {
        for (max_pdu, expected) in [(0, 3), (8, 3), (9, 3), (10, 2), (16_384, 1)] {
            let mut bytes = Vec::new();
            encode_message(&mut bytes, 1, true, b"abcde", max_pdu);
            let (mut buffer, mut found, mut count) = (BytesMut::from(&bytes[..]), Vec::new(), 0);
            while let Ok(Some(Pdu::Data(values))) = decode_pdu(&mut buffer, 16_384) {
                for value in values {
                    let value = value.expect("legal");
                    found.extend_from_slice(&value.data);
                    count += 1;
                    assert_eq!(value.is_last, found.len() == 5);
                }
            }
            assert_eq!((count, &found[..]), (expected, &b"abcde"[..]), "maximum {max_pdu}");
        }
    }

    #[test]
    fn keeps_unknown_reasons_of_the_peer() {
        assert_eq!(decode(&encode_reject(2, 3, 9)), Ok(Some(Pdu::AssociateReject { result: 2, source: 3, reason: 9 })));
        assert_eq!(decode(&encode_abort(AbortReason::UnexpectedPdu)), Ok(Some(Pdu::Abort { source: 2, reason: 2 })));
    }
}
