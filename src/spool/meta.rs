//! The file meta group of stored instances (PS3.10 7.1), written by us in front of the bytes as they came.

use std::io::Read;
use std::str::FromStr;

use bytes::BufMut;

use crate::dicom::{AeTitle, Uid};
use crate::dimse::{IMPLEMENTATION_VERSION_NAME, implementation_class_uid};
use crate::limits::META_BYTES_MAX;

/// Preamble, prefix and the group length element.
const BEFORE_GROUP_BYTES: usize = 128 + 4 + 12;

/// What a file meta group says of its data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    pub transfer_syntax_uid: Uid,
    /// Who sent it (Source Application Entity Title), where it came over an association.
    pub calling_ae: Option<AeTitle>,
    /// Which of our titles it was sent to (Receiving Application Entity Title), likewise.
    pub called_ae: Option<AeTitle>,
}

impl Meta {
    /// Preamble (zeros, so that no file of ours is an executable of a sender's), prefix and group 0002.
    pub fn encode(&self) -> Vec<u8> {
        let mut group = Vec::with_capacity(320);
        group.put_slice(&[2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1]);
        put_text(&mut group, 0x0002, *b"UI", self.sop_class_uid.as_str(), 0);
        put_text(&mut group, 0x0003, *b"UI", self.sop_instance_uid.as_str(), 0);
        put_text(&mut group, 0x0010, *b"UI", self.transfer_syntax_uid.as_str(), 0);
        put_text(&mut group, 0x0012, *b"UI", implementation_class_uid().as_str(), 0);
        put_text(&mut group, 0x0013, *b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
        for (element, title) in [(0x0016, &self.calling_ae), (0x0018, &self.called_ae)] {
            if let Some(title) = title {
                put_text(&mut group, element, *b"AE", title.as_str(), b' ');
            }
        }
        let mut bytes = vec![0; 128];
        bytes.put_slice(b"DICM");
        bytes.put_slice(&[2, 0, 0, 0, b'U', b'L', 4, 0]);
        bytes.put_u32_le(group.len() as u32);
        bytes.put_slice(&group);
        bytes
    }

    /// Reads what [`Meta::encode`] wrote, up to the first byte of the data set. `None` for anything else.
    pub fn read(reader: &mut impl Read) -> Option<Meta> {
        let mut head = [0; BEFORE_GROUP_BYTES];
        reader.read_exact(&mut head).ok()?;
        if &head[128..140] != b"DICM\x02\0\0\0UL\x04\0" {
            return None;
        }
        let length = u32::from_le_bytes(head[140..].try_into().ok()?);
        if u64::from(length) > META_BYTES_MAX {
            return None;
        }
        let mut group = vec![0; length as usize];
        reader.read_exact(&mut group).ok()?;
        Some(Meta {
            sop_class_uid: find(&group, 0x0002)?,
            sop_instance_uid: find(&group, 0x0003)?,
            transfer_syntax_uid: find(&group, 0x0010)?,
            calling_ae: find(&group, 0x0016),
            called_ae: find(&group, 0x0018),
        })
    }
}

fn put_text(out: &mut Vec<u8>, element: u16, vr: [u8; 2], text: &str, padding: u8) {
    let odd = text.len() % 2;
    out.put_u16_le(0x0002);
    out.put_u16_le(element);
    out.put_slice(&vr);
    out.put_u16_le((text.len() + odd) as u16);
    out.put_slice(text.as_bytes());
    out.put_bytes(padding, odd);
}

fn find<T: FromStr>(group: &[u8], wanted: u16) -> Option<T> {
    let mut rest = group;
    loop {
        let (head, after) = rest.split_at_checked(8)?;
        let long = &head[4..6] == b"OB";
        let (length, after) = if long {
            let (length, after) = after.split_at_checked(4)?;
            (u32::from_le_bytes(length.try_into().ok()?) as usize, after)
        } else {
            (usize::from(u16::from_le_bytes([head[6], head[7]])), after)
        };
        let (value, after) = after.split_at_checked(length)?;
        if u16::from_le_bytes([head[2], head[3]]) == wanted {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes_and_stops_at_the_data_set() {
        let uid = |text: &str| text.parse::<Uid>().expect("a legal UID");
        let meta = Meta {
            sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"),
            sop_instance_uid: uid("1.2.3"),
            transfer_syntax_uid: uid("1.2.840.10008.1.2"),
            calling_ae: "CT1".parse().ok(),
            called_ae: "CONTOURD".parse().ok(),
        };
        let mut file = meta.encode();
        file.extend_from_slice(b"data");
        let mut reader = &file[..];
        assert_eq!(Meta::read(&mut reader), Some(meta));
        assert_eq!(reader, b"data");
        for end in 0..file.len() - 4 {
            assert_eq!(Meta::read(&mut &file[..end]), None, "cut at {end}");
        }
        let parsed = dicom_object::FileMetaTable::from_reader(&file[128..]).expect("an independent reader takes it");
        assert_eq!(parsed.transfer_syntax(), "1.2.840.10008.1.2");
    }
}
