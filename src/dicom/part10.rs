//! Reads the prefix of a DICOM file (PS3.10 7): preamble and file meta group; tolerates files that lack them.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};

use dicom_core::Tag;
use flate2::read::DeflateDecoder;

use super::scan::{Bounds, Scan, ScanError, scan};
use super::{Syntax, Uid};
use crate::limits::META_BYTES_MAX;

/// Transfer Syntax UID.
const TRANSFER_SYNTAX_UID: Tag = Tag(0x0002, 0x0010);
const GROUP_LENGTH: Tag = Tag(0x0002, 0x0000);

/// A DICOM file, taken apart.
pub struct Part10 {
    pub transfer_syntax_uid: Uid,
    pub scan: Scan,
    /// Where the data set begins in the file, in bytes.
    pub data_set_offset: u64,
}

impl Part10 {
    /// The bytes of the data set, inflated where needed, from all bytes of the file that was taken apart. The ranges
    /// of [`Scan::pixel_data`] lie in them.
    ///
    /// # Errors
    /// When `file` is not the file that was taken apart.
    pub fn data_set<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>, ScanError> {
        let start = usize::try_from(self.data_set_offset).unwrap_or(usize::MAX);
        let bytes = file.get(start..).ok_or(ScanError::NotDicom)?;
        if !Syntax::of(&self.transfer_syntax_uid).is_some_and(|syntax| syntax.deflated) {
            return Ok(Cow::Borrowed(bytes));
        }
        // The length was found, below its bound, when the file was scanned.
        let mut inflated = Vec::new();
        DeflateDecoder::new(bytes).take(self.scan.length).read_to_end(&mut inflated).map_err(ScanError::Io)?;
        Ok(Cow::Owned(inflated))
    }
}

/// Takes a file apart. Without a preamble, a file meta group or a transfer syntax the encoding is recognised from the
/// first element of the data set, which is unambiguous for the three native syntaxes.
///
/// # Errors
/// [`ScanError`] as for [`scan`]; `NotDicom` when the encoding cannot be recognised.
pub fn read_part10(mut reader: impl Read) -> Result<Part10, ScanError> {
    let mut first = Vec::with_capacity(132);
    (&mut reader).take(132).read_to_end(&mut first).map_err(ScanError::Io)?;
    let has_preamble = first.get(128..132) == Some(b"DICM");
    let skipped = if has_preamble { first.len() } else { 0 };
    let mut rest = Cursor::new(first.split_off(skipped)).chain(reader);
    let meta = read_meta(&mut rest)?;
    let mut ahead = meta.ahead;
    let missing = 8_u64.saturating_sub(ahead.len() as u64);
    (&mut rest).take(missing).read_to_end(&mut ahead).map_err(ScanError::Io)?;
    let transfer_syntax_uid = match (&meta.transfer_syntax, Syntax::guess(&ahead)) {
        (Some(uid), _) => uid.clone(),
        (None, Some(guess)) => guess.parse().map_err(|_| ScanError::NotDicom)?,
        (None, None) => return Err(ScanError::NotDicom),
    };
    let syntax =
        Syntax::of(&transfer_syntax_uid).ok_or_else(|| ScanError::TransferSyntax(transfer_syntax_uid.clone()))?;
    let data_set_offset = skipped as u64 + meta.length;
    let scan = scan(Cursor::new(ahead).chain(rest), syntax, Bounds::FILE)?;
    Ok(Part10 { transfer_syntax_uid, scan, data_set_offset })
}

struct Meta {
    transfer_syntax: Option<Uid>,
    /// Bytes of the group, as far as it was recognised.
    length: u64,
    /// Bytes that were read but belong to the data set.
    ahead: Vec<u8>,
}

/// Reads group 0002, which is Explicit VR Little Endian in every file (PS3.10 7.1). Its end is where another group
/// begins; its declared length is not relied on, because writers get it wrong, except before a deflated stream, whose
/// first bytes could be anything.
fn read_meta(reader: &mut impl Read) -> Result<Meta, ScanError> {
    let mut meta = Meta { transfer_syntax: None, length: 0, ahead: Vec::new() };
    let mut declared_end = None;
    loop {
        let is_deflated = meta.transfer_syntax.as_ref().and_then(Syntax::of).is_some_and(|syntax| syntax.deflated);
        if is_deflated && declared_end == Some(meta.length) {
            return Ok(meta);
        }
        let mut head = Vec::with_capacity(12);
        reader.take(8).read_to_end(&mut head).map_err(ScanError::Io)?;
        let tag = match *head.as_slice() {
            [a, b, c, d, vr, _, _, _] if vr.is_ascii_uppercase() => {
                Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
            }
            _ => Tag(0, 0),
        };
        if tag.group() != 2 {
            meta.ahead = head;
            return Ok(meta);
        }
        let length = meta_length(reader, &mut head)?;
        if meta.length + length > META_BYTES_MAX {
            return Err(ScanError::Meta { tag, length });
        }
        let mut value = Vec::new();
        reader.take(length).read_to_end(&mut value).map_err(ScanError::Io)?;
        let start = meta.length;
        meta.length += (head.len() + value.len()) as u64;
        if (value.len() as u64) < length {
            let missing = length - value.len() as u64;
            return Err(ScanError::Truncated { tag, offset: start, end: meta.length, missing });
        }
        match (tag, value.as_slice()) {
            (TRANSFER_SYNTAX_UID, text) => {
                meta.transfer_syntax = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            }
            (GROUP_LENGTH, &[a, b, c, d]) => {
                declared_end = Some(meta.length + u64::from(u32::from_le_bytes([a, b, c, d])));
            }
            _ => {}
        }
    }
}

fn meta_length(reader: &mut impl Read, head: &mut Vec<u8>) -> Result<u64, ScanError> {
    let (vr, short) = match *head.as_slice() {
        [.., a, b, c, d] => ([a, b], u16::from_le_bytes([c, d])),
        _ => ([0; 2], 0),
    };
    if !matches!(&vr, b"OB" | b"UN" | b"UT" | b"OW" | b"SQ") {
        return Ok(u64::from(short));
    }
    let mut long = [0_u8; 4];
    reader.read_exact(&mut long).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ScanError::TruncatedHeader { end: head.len() as u64 },
        _ => ScanError::Io(error),
    })?;
    head.extend_from_slice(&long);
    Ok(u64::from(u32::from_le_bytes(long)))
}
