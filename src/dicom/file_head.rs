//! Reads preamble and file meta group of a DICOM file (PS3.10 7.1) as its bytes arrive, and says where its data set begins;
//! unlike `part10` it guesses nothing, because what it reads is stored.

use dicom_core::Tag;
use thiserror::Error;

use super::{Syntax, Uid, UidError};
use crate::limits::META_BYTES_MAX;

/// Preamble and prefix.
const BEFORE_BYTES: usize = 132;

const GROUP_LENGTH: Tag = Tag(0x0002, 0x0000);
const SOP_CLASS_UID: Tag = Tag(0x0002, 0x0002);
const SOP_INSTANCE_UID: Tag = Tag(0x0002, 0x0003);
const TRANSFER_SYNTAX_UID: Tag = Tag(0x0002, 0x0010);

/// What the file meta group says of its data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHead {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    pub transfer_syntax_uid: Uid,
}

/// Why a file cannot be stored. No text of the file is repeated.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FileHeadError {
    #[error(
        "found no preamble with DICM behind it, expected a DICOM file (PS3.10); `dcmconv` makes one of a bare data set"
    )]
    NoPrefix,
    #[error("found the end of the file after {0} bytes, expected a file meta group and a data set")]
    Truncated(usize),
    #[error("found a file meta group of more than {META_BYTES_MAX} bytes")]
    TooLong,
    #[error("found no {0} in the file meta group, which requires it")]
    Missing(&'static str),
    #[error("{name} in the file meta group: {error}")]
    Uid { name: &'static str, error: UidError },
}

/// Collects the head of a file.
#[derive(Default)]
pub struct FileHeadReader {
    bytes: Vec<u8>,
    /// Where the next element of the group begins.
    at: usize,
    /// Where the group ends by its own word.
    declared_end: Option<usize>,
    uids: [Option<Result<Uid, UidError>>; 3],
}

/// Which of [`FileHeadReader::uids`] is which, and how it is called.
const NAMED: [(Tag, &str); 3] = [
    (SOP_CLASS_UID, "Media Storage SOP Class UID"),
    (SOP_INSTANCE_UID, "Media Storage SOP Instance UID"),
    (TRANSFER_SYNTAX_UID, "Transfer Syntax UID"),
];

impl FileHeadReader {
    /// Takes the next bytes of the file. With the head comes what of these bytes belongs to the data set.
    ///
    /// # Errors
    /// [`FileHeadError`]; nothing more of the file is of use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<(FileHead, Vec<u8>)>, FileHeadError> {
        self.bytes.extend_from_slice(bytes);
        let prefix = self.bytes.get(128..BEFORE_BYTES);
        match prefix {
            None => return Ok(None),
            Some(prefix) if prefix != b"DICM" => return Err(FileHeadError::NoPrefix),
            Some(_) => self.at = self.at.max(BEFORE_BYTES),
        }
        loop {
            if self.is_deflated() && self.declared_end == Some(self.at) {
                return self.end().map(Some);
            }
            let Some(head) = self.bytes.get(self.at..self.at + 8) else { return self.wait() };
            // The end is where another group begins. Its declared length is not relied on, because writers get it wrong,
            // except before a deflated stream, whose first bytes could be anything.
            if head[..2] != [2, 0] || !head[4].is_ascii_uppercase() {
                return self.end().map(Some);
            }
            let tag = Tag(2, u16::from_le_bytes([head[2], head[3]]));
            let is_long = matches!(&head[4..6], b"OB" | b"UN" | b"UT" | b"OW" | b"SQ");
            let (length, value_at) = if is_long {
                let Some(long) = self.bytes.get(self.at + 8..self.at + 12) else { return self.wait() };
                (u32::from_le_bytes([long[0], long[1], long[2], long[3]]) as usize, self.at + 12)
            } else {
                (usize::from(u16::from_le_bytes([head[6], head[7]])), self.at + 8)
            };
            if value_at + length > BEFORE_BYTES + META_BYTES_MAX as usize {
                return Err(FileHeadError::TooLong);
            }
            let Some(value) = self.bytes.get(value_at..value_at + length) else { return self.wait() };
            let end = value_at + length;
            if let Some(index) = NAMED.iter().position(|(named, _)| *named == tag) {
                // What is no text is no UID either.
                self.uids[index] = Some(std::str::from_utf8(value).unwrap_or("?").parse());
            } else if let (GROUP_LENGTH, &[a, b, c, d]) = (tag, value) {
                self.declared_end = end.checked_add(u32::from_le_bytes([a, b, c, d]) as usize);
            }
            self.at = end;
        }
    }

    /// Says why the file has no head, at its end.
    pub fn cut(self) -> FileHeadError {
        match self.bytes.get(128..BEFORE_BYTES) {
            Some(_) => FileHeadError::Truncated(self.bytes.len()),
            None => FileHeadError::NoPrefix,
        }
    }

    fn wait(&self) -> Result<Option<(FileHead, Vec<u8>)>, FileHeadError> {
        if self.bytes.len() > 2 * META_BYTES_MAX as usize { Err(FileHeadError::TooLong) } else { Ok(None) }
    }

    fn is_deflated(&self) -> bool {
        let uid = self.uids[2].as_ref().and_then(|uid| uid.as_ref().ok());
        uid.and_then(Syntax::of).is_some_and(|syntax| syntax.deflated)
    }

    fn end(&mut self) -> Result<(FileHead, Vec<u8>), FileHeadError> {
        let mut taken = std::mem::take(&mut self.uids).into_iter().zip(NAMED);
        let mut next = || match taken.next() {
            Some((Some(Ok(uid)), _)) => Ok(uid),
            Some((Some(Err(error)), (_, name))) => Err(FileHeadError::Uid { name, error }),
            Some((None, (_, name))) => Err(FileHeadError::Missing(name)),
            None => Err(FileHeadError::Missing("element")),
        };
        let head = FileHead { sop_class_uid: next()?, sop_instance_uid: next()?, transfer_syntax_uid: next()? };
        Ok((head, self.bytes.split_off(self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 0];
        bytes.extend(element.to_le_bytes());
        bytes.extend(vr);
        if vr == b"OB" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes
    }

    fn file(syntax: &[u8], data_set: &[u8]) -> Vec<u8> {
        let group = [
            element(1, b"OB", &[0, 1]),
            element(2, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
            element(3, b"UI", b"1.2.3.4\0"),
            element(0x10, b"UI", syntax),
        ]
        .concat();
        let length = element(0, b"UL", &(group.len() as u32).to_le_bytes());
        [vec![7; 128], b"DICM".to_vec(), length, group, data_set.to_vec()].concat()
    }

    fn check(file: &[u8], piece: usize) -> Result<Option<(FileHead, Vec<u8>)>, FileHeadError> {
        let mut reader = FileHeadReader::default();
        let mut pieces = file.chunks(piece);
        while let Some(bytes) = pieces.next() {
            if let Some((head, mut rest)) = reader.push(bytes)? {
                rest.extend(pieces.flatten());
                return Ok(Some((head, rest)));
            }
        }
        Ok(None)
    }

    #[test]
    fn finds_the_data_set_however_the_bytes_come() {
        for (syntax, data_set) in [
            (b"1.2.840.10008.1.2\0".as_slice(), b"\x08\0\x05\0\0\0\0\0".as_slice()),
            // A deflated stream that looks like an element of group 2.
            (b"1.2.840.10008.1.2.1.99", b"\x02\0\x05\0UI\x04\0abcd"),
        ] {
            let file = file(syntax, data_set);
            let whole = check(&file, file.len());
            for piece in 1..file.len() {
                assert_eq!(check(&file, piece), whole, "pieces of {piece}");
            }
            let (head, rest) = whole.expect("good").expect("whole");
            assert_eq!((head.sop_instance_uid.as_str(), rest.as_slice()), ("1.2.3.4", data_set));
        }
    }

    #[test]
    fn a_wrong_group_length_does_not_count() {
        let mut file = file(b"1.2.840.10008.1.2.1\0", b"\x08\0\x05\0CS\0\0");
        file[140] ^= 0x10;
        assert!(check(&file, 50).is_ok_and(|found| found.is_some_and(|(_, rest)| rest == b"\x08\0\x05\0CS\0\0")));
    }

    #[test]
    fn says_what_is_wrong() {
        let good = file(b"1.2.840.10008.1.2\0", b"\x08\0\x05\0\0\0\0\0");
        for (file, expected) in [
            (good[132..].repeat(2), FileHeadError::NoPrefix),
            (vec![0; 500], FileHeadError::NoPrefix),
            ([&good[..132], &good[good.len() - 8..]].concat(), FileHeadError::Missing("Media Storage SOP Class UID")),
            (
                [&good[..132], &element(2, b"UI", b"../../x\0")].concat().into_iter().chain([8; 8]).collect(),
                FileHeadError::Uid { name: "Media Storage SOP Class UID", error: UidError::Character(2) },
            ),
            (
                [&good[..132], &element(2, b"UI", b"\xff\xfe")].concat().into_iter().chain([8; 8]).collect(),
                FileHeadError::Uid { name: "Media Storage SOP Class UID", error: UidError::Character(0) },
            ),
            (
                [&good[..132], &[2, 0, 0x02, 0x01, b'O', b'B', 0, 0, 255, 255, 255, 255]].concat(),
                FileHeadError::TooLong,
            ),
        ] {
            assert_eq!(check(&file, 100), Err(expected));
        }
        for end in 0..good.len() - 8 {
            let mut reader = FileHeadReader::default();
            assert_eq!(reader.push(&good[..end]), Ok(None), "cut at {end}");
            assert!(matches!(reader.cut(), FileHeadError::Truncated(_) | FileHeadError::NoPrefix));
        }
    }

    #[test]
    fn many_small_elements_are_bounded() {
        let endless = [file(b"1.2.840.10008.1.2\0", b""), element(5, b"UI", b"").repeat(20_000)].concat();
        assert_eq!(check(&endless, 7), Err(FileHeadError::TooLong));
    }
}
