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

/// Transfer syntaxes whose pixels [`super::load()`] decodes, with their names: the ones to advertise to senders, in the
/// order of preference. Uncompressed before compressed, lossless before lossy.
pub const DECODABLE: &[(&str, &str)] = &[
    ("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    ("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    ("1.2.840.10008.1.2.2", "Explicit VR Big Endian (retired)"),
    ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.5", "RLE Lossless"),
    ("1.2.840.10008.1.2.4.70", "JPEG Lossless, first-order prediction (process 14, selection value 1)"),
    ("1.2.840.10008.1.2.4.57", "JPEG Lossless (process 14)"),
    ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    ("1.2.840.10008.1.2.4.90", "JPEG 2000, lossless only"),
    ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000, lossless only"),
    ("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL options, lossless only"),
    ("1.2.840.10008.1.2.4.81", "JPEG-LS near-lossless"),
    ("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.4.51", "JPEG Extended (processes 2 and 4)"),
    ("1.2.840.10008.1.2.4.50", "JPEG Baseline (process 1)"),
];

/// Whether the pixels of a transfer syntax can be decoded.
pub fn decodable(transfer_syntax_uid: &Uid) -> bool {
    DECODABLE.iter().any(|(known, _)| *known == transfer_syntax_uid.as_str())
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
            "1.2.840.10008.1.2.4.51" => ("JPEG", jpeg::decode_extended),
            "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => ("JPEG-LS", jpeg_ls::decode),
            "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => ("JPEG 2000", jpeg_2000::decode),
            // High throughput: the same container with another coder of blocks.
            "1.2.840.10008.1.2.4.201" | "1.2.840.10008.1.2.4.202" | "1.2.840.10008.1.2.4.203" => {
                ("JPEG 2000", jpeg_2000::decode)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::format::{PixelFormat, Rescale};

    /// The values of one image of 12 bits from its codestream in hexadecimal digits.
    fn decoded(transfer_syntax_uid: &str, [rows, columns]: [usize; 2], digits: &str) -> Vec<i32> {
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("two digits");
        let data_set: Vec<u8> = digits.as_bytes().chunks(2).map(byte).collect();
        let format =
            PixelFormat { rows, columns, frames: 1, bits_allocated: 16, bits_stored: 12, high_bit: 11, signed: false };
        let rescale = Rescale { slope: 1.0, intercept: 0.0 };
        let decoding = Decoding { format, frame: 0, rescale, padding: None, lowest: 0.0 };
        let whole = 0..data_set.len() as u64;
        let fragments = [whole];
        let encoded = Encoded { data_set: &data_set, offset_table: 0..0, fragments: &fragments, transfer_syntax_uid };
        let samples = encoded.decode(&decoding).unwrap_or_else(|error| panic!("{error}"));
        assert!(!samples.signed);
        samples.values
    }

    /// Encoded by OpenJPH 0.26, the reference of the high-throughput coder, which is not OpenJPEG.
    #[test]
    fn high_throughput_jpeg_2000_is_lossless() {
        let digits = "\
            ff4fff5100294000000000100000000c0000000000000000000000100000000c000000000000000000010f0101ff50000800\
            020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e\
            4a50482056657220302e32362e332eff90000a00000000007e0001ff93c00026b9fb0507740000c0001340001300a2fe0207\
            740014fe02877400c000134000130050500182740071fc00023400c00015300005582412e9a04231027600983163c6fcc031\
            81beb600c0002b2000169008822008f2e78a7a70827700b4341a8d46a3d1fefa08407bf62101ecba00ffd9";
        let expected: Vec<i32> = (0..12).flat_map(|row| (0..16).map(move |column| column * 37 + row * 91)).collect();
        for syntax in ["4.201", "4.202", "4.203"] {
            assert_eq!(decoded(&format!("1.2.840.10008.1.2.{syntax}"), [12, 16], digits), expected, "{syntax}");
        }
    }

    /// Encoded, and for the expected values decoded, by libjpeg-turbo 3.1 (accurate integer DCT).
    #[test]
    fn extended_jpeg_of_12_bits_gives_the_values_of_libjpeg() {
        let digits = "\
            ffd8ffe000104a46494600010100000100010000ffdb00430002010101010102010101020202020204030202020205040403\
            04060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a0affc1000b0c0009000a0101\
            1100ffc4001500010100000000000000000000000000000c0dffc4002a100000020608070000000000000000000000050103\
            0607090c080a1a2a384662781c3a3c5556b5b6ffda0008010100003f00a1dd28550c19851e19d18fbd21403c0a28cca4fd89\
            1a811ceb4943026146d36445ef48500f1daf7732947999b6a097b9429e99cd8ed8a28f4480473ad25ccd9117df6bddfb3361\
            ffd9";
        #[rustfmt::skip]
        let expected = [
            2447, 2938, 3375, 3709, 3905, 3940, 3811, 3532, 3133, 2659,
            2265, 2755, 3192, 3526, 3723, 3758, 3628, 3349, 2950, 2476,
            1881, 2371, 2808, 3142, 3339, 3374, 3244, 2965, 2567, 2093,
            1652, 2143, 2580, 2914, 3110, 3145, 3016, 2737, 2338, 1864,
            1786, 2277, 2713, 3048, 3244, 3279, 3150, 2871, 2472, 1998,
            2161, 2652, 3089, 3423, 3619, 3654, 3525, 3246, 2848, 2374,
            2432, 2922, 3359, 3694, 3890, 3925, 3795, 3516, 3117, 2643,
            2349, 2840, 3277, 3611, 3807, 3842, 3713, 3434, 3036, 2562,
            1989, 2480, 2917, 3252, 3447, 3482, 3353, 3074, 2675, 2201,
        ];
        assert_eq!(decoded("1.2.840.10008.1.2.4.51", [9, 10], digits), expected);
    }
}
