//! Walks the bytes of one data set without recursion and without trust: finds its elements, its pixel data and whether
//! all of it is there; it interprets no value.
//!
//! The parser of dicom-rs recurses without limit, allocates declared lengths before it has seen the bytes and takes a
//! truncated fragment for a short one. It therefore only ever sees header bytes that this scanner has approved.

use std::io::{self, Read};
use std::ops::Range;

use dicom_core::{Tag, VR};
use flate2::read::DeflateDecoder;
use thiserror::Error;

use super::walk::Walker;
use super::{Syntax, Uid};
use crate::limits::{
    ELEMENTS_MAX, FILE_ELEMENTS_MAX, FILE_HEADER_BYTES_MAX, FRAGMENTS_MAX, HEADER_BYTES_MAX, INFLATED_BYTES_MAX,
    NESTING_MAX,
};

/// What one data set consists of. It exists only for a data set that is complete to its last byte.
///
/// It holds attributes of the patient, so it derives no `Debug`.
pub struct Scan {
    /// The bytes of the data set (inflated where it was deflated) from its start to the pixel data element.
    pub header: Vec<u8>,
    /// The top-level elements of the header in the order of the file.
    pub elements: Vec<Element>,
    /// How many elements and items there are at all depths.
    pub count: usize,
    /// The pixel data element, when there is one.
    pub pixel_data: Option<PixelData>,
    /// Length of the whole data set in bytes, inflated.
    pub length: u64,
}

/// One top-level element of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub tag: Tag,
    /// As written, or from the dictionary in Implicit VR; UN where neither knows it.
    pub vr: VR,
    /// Tag, VR, length and value within [`Scan::header`].
    pub whole: Range<usize>,
    /// The value alone; of a sequence of undefined length with its delimiter.
    pub value: Range<usize>,
    /// The content of each item, within [`Scan::header`], where it is a sequence.
    pub items: Vec<Range<usize>>,
    /// It holds, at any depth, a UN of undefined length, which is encoded as Implicit VR LE (PS3.5 6.2.2).
    pub unknown_inside: bool,
    /// It holds, at any depth, numbers whose length is no multiple of their size. The parser of dicom-rs leaves the rest of
    /// them unread and takes it for the next element, of any length.
    pub uneven_inside: bool,
}

impl Element {
    /// Whether the parser would lose its place in it, and take what follows for lengths: numbers of uneven length; and within
    /// an explicit sequence an unknown element of undefined length, whose content is implicit for the scanner alone.
    pub(super) fn is_beyond_the_parser(&self) -> bool {
        self.uneven_inside || (self.unknown_inside && self.vr != VR::UN)
    }
}

/// Where the pixels of a data set lie, in bytes from its start (inflated where it was deflated).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelData {
    /// A hash of its bytes, equal for equal pixels in one encoding; for comparison within one process only.
    pub digest: u64,
    /// (7FE0,0010), or (7FE0,0008) and (7FE0,0009) for floating point pixels.
    pub tag: Tag,
    pub value: PixelValue,
}

/// Native pixels in one piece, or fragments (PS3.5 A.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PixelValue {
    Native(Range<u64>),
    Encapsulated {
        /// The value of the Basic Offset Table item; often empty.
        offset_table: Range<u64>,
        fragments: Vec<Range<u64>>,
    },
}

/// Why bytes are not one complete data set. `offset` counts from the start of the data set.
#[derive(Debug, Error)]
pub enum ScanError {
    #[error(
        "data set is truncated: it ends at byte {end} inside {tag}, which begins at byte {offset} and needs {missing} more bytes; send it again"
    )]
    Truncated { tag: Tag, offset: u64, end: u64, missing: u64 },
    #[error(
        "data set is truncated: it ends at byte {end} inside the header of an element; send it again, and check that it is encoded in its transfer syntax"
    )]
    TruncatedHeader { end: u64 },
    #[error("data set is empty, expected at least one element")]
    Empty,
    #[error("{tag} at byte {offset} is nested {NESTING_MAX} sequences deep, expected less")]
    Depth { tag: Tag, offset: u64 },
    #[error("data set has more than {most} elements and items before byte {offset}")]
    Elements { offset: u64, most: usize },
    #[error("header is longer than {most} bytes at {tag}, byte {offset}, length {length}")]
    HeaderBytes { tag: Tag, offset: u64, length: u64, most: u64 },
    #[error("pixel data has more than {FRAGMENTS_MAX} fragments")]
    Fragments,
    #[error(
        "{tag} at byte {offset} has a value representation that is not two capital letters; is the data set encoded in its transfer syntax?"
    )]
    Vr { tag: Tag, offset: u64 },
    #[error(
        "{tag} at byte {offset} has undefined length, expected that for sequences and encapsulated pixel data only"
    )]
    UndefinedLength { tag: Tag, offset: u64 },
    #[error("{tag} at byte {offset} has length {length}, but only {room} bytes are left in the item that holds it")]
    BeyondItem { tag: Tag, offset: u64, length: u64, room: u64 },
    #[error("found {tag} at byte {offset}, expected {expected}")]
    Unexpected { tag: Tag, offset: u64, expected: &'static str },
    #[error("deflated data set inflates to more than {INFLATED_BYTES_MAX} bytes")]
    Inflated,
    #[error("bytes could not be read")]
    Io(#[source] io::Error),
    #[error("transfer syntax {0} is not one that can be read")]
    TransferSyntax(Uid),
    #[error("found neither a file meta group nor a data set that can be recognised; is this a DICOM file?")]
    NotDicom,
    #[error("file meta group is longer than expected at {tag}: {length} bytes")]
    Meta { tag: Tag, length: u64 },
}

/// Walks a data set from its first byte to its last and says what is where.
///
/// Memory stays below the header limit, whatever lengths are declared; pixel data is read and passed over. `reader`
/// should be buffered.
///
/// # Errors
/// [`ScanError`] for a data set that is truncated anywhere, exceeds a bound or is not built as
/// PS3.5 7 says.
pub fn scan(reader: impl Read, syntax: Syntax, bounds: Bounds) -> Result<Scan, ScanError> {
    if syntax.deflated {
        let inflated = io::BufReader::with_capacity(64 << 10, DeflateDecoder::new(reader));
        return Walker::new(inflated, syntax, bounds, INFLATED_BYTES_MAX).walk();
    }
    Walker::new(reader, syntax, bounds, u64::MAX).walk()
}

/// How much a data set may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Elements and items.
    pub elements: usize,
    /// Bytes before the pixel data, all of which are held in memory.
    pub header_bytes: u64,
}

impl Bounds {
    /// From the network, where anybody may send anything, on many associations at once.
    pub const RECEIVED: Bounds = Bounds { elements: ELEMENTS_MAX, header_bytes: HEADER_BYTES_MAX };
    /// From a file, which was received before, was made by this program, or was named by who runs it.
    pub const FILE: Bounds = Bounds { elements: FILE_ELEMENTS_MAX, header_bytes: FILE_HEADER_BYTES_MAX };
}

#[cfg(test)]
mod tests;
