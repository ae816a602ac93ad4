//! Encapsulated pixel data becomes samples: finds the fragments of a frame, checks what its codestream claims, and
//! calls the codec. A codec never runs on a codestream whose size differs from the image.

mod jpeg;
mod jpeg_2000;
mod jpeg_ls;
mod rle;

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

use super::plan::Decoding;
use crate::dicom::Uid;

/// Transfer syntaxes whose pixels [`super::load()`] decodes; the ones to advertise to senders, in the order of preference.
pub const DECODABLE: &[&str] = &[
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
];

/// Whether the pixels of a transfer syntax can be decoded.
pub fn decodable(transfer_syntax_uid: &Uid) -> bool {
    DECODABLE.contains(&transfer_syntax_uid.as_str())
}

/// Why a frame could not be decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("{codec} codestream: {reason}")]
    Codestream { codec: &'static str, reason: String },
    #[error(
        "{codec} codestream: found {found_rows} x {found_columns} pixels of {components} components, expected {rows} x {columns} of 1"
    )]
    Size {
        codec: &'static str,
        found_rows: usize,
        found_columns: usize,
        components: usize,
        rows: usize,
        columns: usize,
    },
    #[error("{codec} decoder failed on this codestream")]
    Panicked { codec: &'static str },
    #[error("found no fragments for the frame, expected an offset table or a fragment for each frame")]
    Fragments,
    #[error("transfer syntax {0} has no decoder")]
    TransferSyntax(String),
}

/// What a codec made of one frame: rows x columns values in the order of the image.
pub(super) struct Samples {
    pub values: Vec<i32>,
    /// Bits of a value, as the codestream states them.
    pub precision: u16,
    /// The codestream has a sign of its own, so that values are complete.
    pub signed: bool,
}

/// What a codestream says of itself before it is decoded.
pub(super) struct Claim {
    pub rows: usize,
    pub columns: usize,
    pub components: usize,
    pub precision: u16,
}

/// The encapsulated pixel data of one instance.
pub(super) struct Encoded<'a> {
    pub data_set: &'a [u8],
    pub offset_table: Range<u64>,
    pub fragments: &'a [Range<u64>],
    pub transfer_syntax_uid: &'a str,
}

impl Encoded<'_> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// [`DecodeError`], also for a codec that panics: a crafted image must cost one series, not the process.
    pub fn decode(&self, decoding: &Decoding) -> Result<Samples, DecodeError> {
        type Codec = fn(&[u8], &Decoding) -> Result<Samples, DecodeError>;
        let (codec, decode): (&'static str, Codec) = match self.transfer_syntax_uid {
            "1.2.840.10008.1.2.5" => ("RLE", rle::decode),
            "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => ("JPEG", jpeg::decode),
            "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => ("JPEG-LS", jpeg_ls::decode),
            "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => ("JPEG 2000", jpeg_2000::decode),
            other => return Err(DecodeError::TransferSyntax(other.to_owned())),
        };
        let frame = self.frame(decoding.frame, decoding.format.frames).ok_or(DecodeError::Fragments)?;
        // The codecs get a byte slice and return an owned value: nothing is left half changed when one unwinds.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(&frame, decoding)));
        let samples = decoded.unwrap_or(Err(DecodeError::Panicked { codec }))?;
        let expected = decoding.format.samples();
        if samples.values.len() != expected {
            let reason = format!("decoded {} samples, expected {expected}", samples.values.len());
            return Err(DecodeError::Codestream { codec, reason });
        }
        Ok(samples)
    }

    /// The bytes of one frame: its fragment, or its fragments joined (PS3.5 A.4).
    fn frame(&self, frame: usize, frames: usize) -> Option<Cow<'_, [u8]>> {
        let ranges = match (self.fragments.len(), frames) {
            (_, 0 | 1) => self.fragments,
            (fragments, frames) if fragments == frames => self.fragments.get(frame..frame + 1)?,
            _ => self.fragments_of(frame, frames)?,
        };
        let slice = |range: &Range<u64>| {
            self.data_set.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
        };
        match ranges {
            [] => None,
            [one] => slice(one).map(Cow::Borrowed),
            several => several.iter().map(slice).collect::<Option<Vec<_>>>().map(|parts| Cow::Owned(parts.concat())),
        }
    }

    /// The fragments of one frame of several by the Basic Offset Table, or, without one, by where codestreams begin.
    fn fragments_of(&self, frame: usize, frames: usize) -> Option<&[Range<u64>]> {
        let starts = self.starts_by_table().or_else(|| self.starts_by_marker())?;
        if starts.len() != frames {
            return None;
        }
        let end = starts.get(frame + 1).copied().unwrap_or(self.fragments.len());
        self.fragments.get(*starts.get(frame)?..end)
    }

    fn starts_by_table(&self) -> Option<Vec<usize>> {
        let table = usize::try_from(self.offset_table.start).ok()?..usize::try_from(self.offset_table.end).ok()?;
        let (offsets, _) = self.data_set.get(table)?.as_chunks::<4>();
        // Offsets count from the first byte of the first fragment's item tag, which is 8 before its value.
        let base = self.fragments.first()?.start;
        let mut next = 0;
        let mut starts = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            let target = base + u64::from(u32::from_le_bytes(offset));
            next += self.fragments.get(next..)?.iter().position(|fragment| fragment.start == target)?;
            starts.push(next);
        }
        (!starts.is_empty()).then_some(starts)
    }

    fn starts_by_marker(&self) -> Option<Vec<usize>> {
        let begins = |range: &Range<u64>| {
            let start = usize::try_from(range.start).ok()?;
            let first = self.data_set.get(start..start + 3)?;
            Some(first == [0xff, 0xd8, 0xff] || first == [0xff, 0x4f, 0xff])
        };
        let starts = self.fragments.iter().enumerate().filter(|(_, range)| begins(range) == Some(true));
        let starts: Vec<usize> = starts.map(|(index, _)| index).collect();
        (starts.first() == Some(&0)).then_some(starts)
    }
}

impl Claim {
    /// Refuses a codestream that is not the image that the attributes describe.
    fn check(&self, codec: &'static str, decoding: &Decoding) -> Result<(), DecodeError> {
        let (rows, columns) = (decoding.format.rows, decoding.format.columns);
        if (self.rows, self.columns, self.components) != (rows, columns, 1) {
            let (found_rows, found_columns, components) = (self.rows, self.columns, self.components);
            return Err(DecodeError::Size { codec, found_rows, found_columns, components, rows, columns });
        }
        if self.precision > decoding.format.bits_allocated {
            let reason = format!(
                "found {} bits for each sample, expected at most {} (Bits Allocated)",
                self.precision, decoding.format.bits_allocated
            );
            return Err(DecodeError::Codestream { codec, reason });
        }
        Ok(())
    }
}
