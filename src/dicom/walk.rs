//! The walk itself: an explicit stack of open sequences and items instead of recursion, and a bound before every read.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::ops::Range;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::Syntax;
use super::scan::{Bounds, Element, PixelData, PixelValue, Scan, ScanError};
use crate::limits::{FRAGMENTS_MAX, NESTING_MAX};

pub(super) const ITEM: Tag = Tag(0xfffe, 0xe000);
pub(super) const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
pub(super) const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
pub(super) const PIXEL_DATA: Tag = Tag(0x7fe0, 0x0010);
pub(super) const UNDEFINED: u32 = 0xffff_ffff;
/// Tag and length of what ends an item of undefined length.
const DELIMITER_BYTES: usize = 8;

/// A sequence or an item that is open at the place where the walker stands.
struct Open {
    is_item: bool,
    /// Where it ends, unless a delimiter ends it.
    end: Option<u64>,
    /// Its content is Implicit VR LE, because a UN of undefined length holds it.
    implicit: bool,
}

struct Head {
    tag: Tag,
    vr: VR,
    length: u32,
    offset: u64,
}

pub(super) struct Walker<R> {
    reader: R,
    syntax: Syntax,
    bounds: Bounds,
    limit: u64,
    position: u64,
    keeps: bool,
    header: Vec<u8>,
    elements: Vec<Element>,
    pixel_data: Option<PixelData>,
    digest: Digest,
    stack: Vec<Open>,
    count: usize,
}

/// Hashes the bytes that pass over it.
struct Digest(DefaultHasher);

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<R: Read> Walker<R> {
    pub fn new(reader: R, syntax: Syntax, bounds: Bounds, limit: u64) -> Walker<R> {
        Walker {
            reader,
            syntax,
            bounds,
            limit,
            position: 0,
            keeps: true,
            header: Vec::new(),
            elements: Vec::new(),
            pixel_data: None,
            digest: Digest(DefaultHasher::new()),
            stack: Vec::new(),
            count: 0,
        }
    }

    pub fn walk(mut self) -> Result<Scan, ScanError> {
        loop {
            self.close_ended();
            let Some(tag) = self.tag()? else { break };
            self.check_room(tag, self.position - 4, 0)?;
            self.count += 1;
            if self.count > self.bounds.elements {
                return Err(ScanError::Elements { offset: self.position, most: self.bounds.elements });
            }
            match self.stack.last() {
                Some(open) if !open.is_item => self.in_sequence(tag)?,
                Some(_) => self.in_item(tag)?,
                None if self.pixel_data.is_some() && tag.group() == 0 => {
                    self.zeros_to_end(tag)?;
                    break;
                }
                None => self.at_top(tag)?,
            }
        }
        if self.position == 0 {
            return Err(ScanError::Empty);
        }
        let Walker { header, elements, pixel_data, position, count, .. } = self;
        Ok(Scan { header, elements, count, pixel_data, length: position })
    }

    /// Leaves the sequences and items that end here; an element that leaves the stack empty is complete.
    fn close_ended(&mut self) {
        while self.stack.last().is_some_and(|open| open.end == Some(self.position)) {
            self.close();
        }
    }

    fn close(&mut self) {
        let closed = self.stack.pop();
        if !self.keeps {
            return;
        }
        let (end, Some(element)) = (self.header.len(), self.elements.last_mut()) else { return };
        match self.stack.len() {
            0 => {
                element.whole.end = end;
                element.value.end = end;
            }
            1 => {
                let delimiter = if closed.is_some_and(|open| open.end.is_none()) { DELIMITER_BYTES } else { 0 };
                if let Some(item) = element.items.last_mut() {
                    item.end = end - delimiter;
                }
            }
            _ => {}
        }
    }

    /// The next tag, or none where the data set ends as it should: between top-level elements.
    fn tag(&mut self) -> Result<Option<Tag>, ScanError> {
        let mut bytes = [0_u8; 4];
        let found = self.fill(&mut bytes)?;
        if found == 0 && self.stack.is_empty() {
            return Ok(None);
        }
        // Writers that pad a file to a round size leave zeros after the pixel data.
        if found < 4 && self.stack.is_empty() && self.pixel_data.is_some() && bytes == [0; 4] {
            return Ok(None);
        }
        if found < 4 {
            return Err(ScanError::TruncatedHeader { end: self.position });
        }
        let [a, b, c, d] = bytes;
        Ok(Some(match self.big_endian() {
            true => Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            false => Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
        }))
    }

    fn in_sequence(&mut self, tag: Tag) -> Result<(), ScanError> {
        let offset = self.position - 4;
        let length = self.u32()?;
        let open = self.stack.last().map(|open| (open.end, open.implicit));
        let (end, implicit) = open.unwrap_or((None, false));
        if tag == SEQUENCE_END && end.is_none() {
            self.close();
            return Ok(());
        }
        if tag != ITEM {
            return Err(ScanError::Unexpected { tag, offset, expected: "an item or the end of the sequence" });
        }
        self.open(tag, offset, length, true, implicit)
    }

    fn in_item(&mut self, tag: Tag) -> Result<(), ScanError> {
        let offset = self.position - 4;
        let undefined = self.stack.last().is_some_and(|open| open.end.is_none());
        if tag == ITEM_END && undefined {
            self.u32()?;
            self.close();
            return Ok(());
        }
        let head = self.head(tag, offset)?;
        self.element(&head)
    }

    fn at_top(&mut self, tag: Tag) -> Result<(), ScanError> {
        let offset = self.position - 4;
        let is_pixel_data = matches!(tag, PIXEL_DATA | Tag(0x7fe0, 0x0008 | 0x0009));
        if is_pixel_data && self.keeps {
            self.keeps = false;
            self.header.truncate(self.header.len() - 4);
        }
        let start = self.header.len().saturating_sub(4);
        let head = self.head(tag, offset)?;
        if is_pixel_data {
            return self.pixels(&head);
        }
        if self.keeps {
            let value = self.header.len();
            let whole = start..value;
            let (unknown_inside, uneven_inside) = (false, false);
            let (value, items) = (value..value, Vec::new());
            self.elements.push(Element { tag, vr: head.vr, whole, value, items, unknown_inside, uneven_inside });
        }
        self.element(&head)?;
        if self.stack.is_empty() && self.keeps {
            let end = self.header.len();
            if let Some(element) = self.elements.last_mut() {
                element.whole.end = end;
                element.value.end = end;
            }
        }
        Ok(())
    }

    /// VR and length of an element whose tag was read.
    fn head(&mut self, tag: Tag, offset: u64) -> Result<Head, ScanError> {
        if tag.group() == 0xfffe {
            return Err(ScanError::Unexpected { tag, offset, expected: "an element" });
        }
        if tag.group() == 0 {
            return Err(ScanError::Unexpected { tag, offset, expected: "no element of a command in a data set" });
        }
        if self.implicit() {
            return Ok(Head { tag, vr: implicit_vr(tag), length: self.u32()?, offset });
        }
        let [a, b] = self.bytes()?;
        if !a.is_ascii_uppercase() || !b.is_ascii_uppercase() {
            return Err(ScanError::Vr { tag, offset });
        }
        // A VR that is not known yet is laid out as UN (PS3.5 6.2).
        let vr = VR::from_binary([a, b]).unwrap_or(VR::UN);
        let [a, b] = self.bytes()?;
        let length = match has_long_length(vr) {
            true => self.u32()?,
            false if self.syntax.big_endian => u32::from(u16::from_be_bytes([a, b])),
            false => u32::from(u16::from_le_bytes([a, b])),
        };
        Ok(Head { tag, vr, length, offset })
    }

    /// Enters a sequence, or passes over a value.
    fn element(&mut self, head: &Head) -> Result<(), ScanError> {
        let Head { tag, vr, length, offset } = *head;
        if length != UNDEFINED && !length.is_multiple_of(number_bytes(vr)) {
            self.mark_uneven();
        }
        if tag == PIXEL_DATA && length == UNDEFINED {
            // An icon inside a sequence. Its offset table is numbers of four bytes.
            if let PixelValue::Encapsulated { offset_table, .. } = self.fragments()?
                && !(offset_table.end - offset_table.start).is_multiple_of(4)
            {
                self.mark_uneven();
            }
            return Ok(());
        }
        let is_unknown = vr == VR::UN && length == UNDEFINED;
        if vr != VR::SQ && !is_unknown {
            if length == UNDEFINED {
                return Err(ScanError::UndefinedLength { tag, offset });
            }
            return self.value(tag, offset, u64::from(length));
        }
        let implicit = self.implicit();
        if is_unknown
            && !implicit
            && let Some(element) = self.elements.last_mut()
        {
            element.unknown_inside = true;
        }
        self.open(tag, offset, length, false, implicit || is_unknown)
    }

    fn mark_uneven(&mut self) {
        if self.keeps
            && let Some(element) = self.elements.last_mut()
        {
            element.uneven_inside = true;
        }
    }

    fn open(&mut self, tag: Tag, offset: u64, length: u32, is_item: bool, implicit: bool) -> Result<(), ScanError> {
        // A level is a sequence and its item.
        if self.stack.len() >= 2 * NESTING_MAX {
            return Err(ScanError::Depth { tag, offset });
        }
        let end = match length {
            UNDEFINED => None,
            length => {
                self.check_room(tag, offset, u64::from(length))?;
                Some(self.position + u64::from(length))
            }
        };
        if self.stack.len() == 1
            && is_item
            && self.keeps
            && let Some(element) = self.elements.last_mut()
        {
            element.items.push(self.header.len()..self.header.len());
        }
        self.stack.push(Open { is_item, end, implicit });
        Ok(())
    }

    fn pixels(&mut self, head: &Head) -> Result<(), ScanError> {
        let Head { tag, vr, length, offset } = *head;
        if self.pixel_data.is_some() {
            return Err(ScanError::Unexpected { tag, offset, expected: "one pixel data element" });
        }
        let value = match length {
            UNDEFINED if tag == PIXEL_DATA && matches!(vr, VR::OB | VR::OW | VR::UN) => self.fragments()?,
            UNDEFINED => return Err(ScanError::UndefinedLength { tag, offset }),
            length => {
                let start = self.position;
                self.value(tag, offset, u64::from(length))?;
                PixelValue::Native(start..self.position)
            }
        };
        self.pixel_data = Some(PixelData { tag, digest: self.digest.0.finish(), value });
        Ok(())
    }

    /// Walks the items of encapsulated pixel data to their delimiter (PS3.5 A.4).
    fn fragments(&mut self) -> Result<PixelValue, ScanError> {
        let mut items: Vec<Range<u64>> = Vec::new();
        loop {
            let offset = self.position;
            let [a, b, c, d] = self.bytes()?;
            let tag = match self.big_endian() {
                true => Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
                false => Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
            };
            let length = self.u32()?;
            match tag {
                SEQUENCE_END => break,
                ITEM if length == UNDEFINED => return Err(ScanError::UndefinedLength { tag, offset }),
                ITEM => {}
                _ => {
                    return Err(ScanError::Unexpected { tag, offset, expected: "a fragment or the end of pixel data" });
                }
            }
            let start = self.position;
            self.value(PIXEL_DATA, offset, u64::from(length))?;
            items.push(start..self.position);
            if items.len() > FRAGMENTS_MAX {
                return Err(ScanError::Fragments);
            }
        }
        let mut items = items.into_iter();
        let offset_table = items.next().unwrap_or(self.position..self.position);
        Ok(PixelValue::Encapsulated { offset_table, fragments: items.collect() })
    }

    fn value(&mut self, tag: Tag, offset: u64, length: u64) -> Result<(), ScanError> {
        self.check_room(tag, offset, length)?;
        let found = if self.keeps {
            // Grows with what is there, not with what is declared.
            (&mut self.reader).take(length).read_to_end(&mut self.header).map(|n| n as u64)
        } else {
            io::copy(&mut (&mut self.reader).take(length), &mut self.digest)
        };
        let found = match found {
            Ok(found) => found,
            // A deflated stream that stops short.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(ScanError::Io(error)),
        };
        self.position += found;
        if found < length {
            return Err(ScanError::Truncated { tag, offset, end: self.position, missing: length - found });
        }
        Ok(())
    }

    /// Whether so many bytes fit into the items around this place, the header's bound and the bound of inflation.
    fn check_room(&self, tag: Tag, offset: u64, length: u64) -> Result<(), ScanError> {
        let end = self.stack.iter().rev().find_map(|open| open.end);
        let room = end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
        if length > room || end.is_some_and(|end| end < self.position) {
            return Err(ScanError::BeyondItem { tag, offset, length, room });
        }
        if self.keeps && self.position.saturating_add(length) > self.bounds.header_bytes {
            return Err(ScanError::HeaderBytes { tag, offset, length, most: self.bounds.header_bytes });
        }
        if self.position.saturating_add(length) > self.limit {
            return Err(ScanError::Inflated);
        }
        Ok(())
    }

    fn zeros_to_end(&mut self, tag: Tag) -> Result<(), ScanError> {
        let offset = self.position - 4;
        let mut only_zeros = tag == Tag(0, 0);
        let mut buffer = [0_u8; 4096];
        while only_zeros {
            let found = self.fill(&mut buffer)?;
            if found == 0 {
                return Ok(());
            }
            only_zeros = buffer[..found].iter().all(|&byte| byte == 0);
        }
        Err(ScanError::Unexpected { tag, offset, expected: "the end of the data set" })
    }

    fn u32(&mut self) -> Result<u32, ScanError> {
        let bytes = self.bytes()?;
        Ok(if self.big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ScanError> {
        let mut bytes = [0_u8; N];
        if self.fill(&mut bytes)? < N {
            return Err(ScanError::TruncatedHeader { end: self.position });
        }
        Ok(bytes)
    }

    /// Reads until the buffer is full or the data set ends; says how many bytes there were.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ScanError> {
        let mut found = 0;
        while found < buffer.len() {
            match self.reader.read(&mut buffer[found..]) {
                Ok(0) => break,
                Ok(n) => found += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(ScanError::Io(error)),
            }
        }
        self.position += found as u64;
        if self.position > self.limit {
            return Err(ScanError::Inflated);
        }
        if self.keeps {
            self.header.extend_from_slice(&buffer[..found]);
            if self.position > self.bounds.header_bytes {
                return Err(ScanError::HeaderBytes {
                    tag: Tag(0, 0),
                    offset: self.position,
                    length: 0,
                    most: self.bounds.header_bytes,
                });
            }
        }
        Ok(found)
    }

    fn implicit(&self) -> bool {
        !self.syntax.explicit || self.stack.last().is_some_and(|open| open.implicit)
    }

    /// What lies in a UN of undefined length is little endian in every transfer syntax (PS3.5 6.2.2).
    fn big_endian(&self) -> bool {
        self.syntax.big_endian && !self.implicit()
    }
}

/// The VR that the parser behind this scanner takes for a tag in Implicit VR: both must agree on what is a sequence.
fn implicit_vr(tag: Tag) -> VR {
    if tag == PIXEL_DATA || (tag.group() >> 8 == 0x60 && tag.element() == 0x3000) {
        return VR::OW;
    }
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// How long one value is (PS3.5 6.2), 1 for text and bytes.
fn number_bytes(vr: VR) -> u32 {
    match vr {
        VR::OW | VR::SS | VR::US => 2,
        VR::AT | VR::FL | VR::OF | VR::OL | VR::SL | VR::UL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Whether two reserved bytes and 32 bits of length follow the VR, instead of 16 bits of length (PS3.5 7.1.2).
fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}
