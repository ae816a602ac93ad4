//! Stored samples, as bytes in their order of the data set, become values: mask, sign, padding, rescale.

use super::codec::Samples;
use super::format::{Padding, PixelFormat, Rescale};
use super::plan::Decoding;

/// Fills one slice from its native bytes. Returns false when there are fewer bytes than samples.
pub(super) fn fill(bytes: &[u8], big_endian: bool, decoding: &Decoding, slice: &mut [f32]) -> bool {
    let format = &decoding.format;
    let width = usize::from(format.bits_allocated / 8);
    if bytes.len() / width.max(1) < slice.len() {
        return false;
    }
    // Little endian 16 bit is nearly all there is; its own loops are several times faster than the general one.
    match (width, big_endian) {
        (2, false) => samples(bytes.as_chunks().0, |b| u32::from(u16::from_le_bytes(b)), decoding, slice),
        (2, true) => samples(bytes.as_chunks().0, |b| u32::from(u16::from_be_bytes(b)), decoding, slice),
        (1, _) => samples(bytes.as_chunks().0, |[b]: [u8; 1]| u32::from(b), decoding, slice),
        (4, false) => samples(bytes.as_chunks().0, u32::from_le_bytes, decoding, slice),
        (4, true) => samples(bytes.as_chunks().0, u32::from_be_bytes, decoding, slice),
        _ => return false,
    }
    true
}

/// Fills one slice from what a codec has decoded.
pub(super) fn fill_decoded(decoded: &Samples, decoding: &Decoding, slice: &mut [f32]) {
    let mut format = decoding.format;
    // A codec gives values, not cells: there is nothing above them to mask. But most codecs know no sign, and what they
    // give for signed images is two's complement of as many bits as they or the attributes state.
    let bits = if format.signed && !decoded.signed { format.bits_stored.min(decoded.precision) } else { 32 };
    format.bits_stored = bits;
    format.high_bit = bits - 1;
    let line = Line::new(&format, decoding.rescale);
    let signed = Line { signed: format.signed || decoded.signed, ..line };
    let padding = decoding.padding;
    for (value, &sample) in slice.iter_mut().zip(&decoded.values) {
        let stored = signed.stored(sample as u32);
        let is_padding = padding.is_some_and(|Padding { low, high }| (low..=high).contains(&stored));
        *value = if is_padding { decoding.lowest } else { signed.value(stored) };
    }
}

fn samples<const N: usize>(bytes: &[[u8; N]], raw: impl Fn([u8; N]) -> u32, decoding: &Decoding, slice: &mut [f32]) {
    let Decoding { format, rescale, padding, lowest, .. } = *decoding;
    let line = Line::new(&format, rescale);
    match padding {
        None => {
            for (value, &sample) in slice.iter_mut().zip(bytes) {
                *value = line.value(line.stored(raw(sample)));
            }
        }
        Some(Padding { low, high }) => {
            for (value, &sample) in slice.iter_mut().zip(bytes) {
                let stored = line.stored(raw(sample));
                *value = if (low..=high).contains(&stored) { lowest } else { line.value(stored) };
            }
        }
    }
}

/// Bit positions and rescale of one image, ready for use on each sample.
struct Line {
    /// Shift to bring the sign bit (or the highest stored bit) to bit 31, and back.
    left: u32,
    right: u32,
    signed: bool,
    rescale: Rescale,
}

impl Line {
    fn new(format: &PixelFormat, rescale: Rescale) -> Line {
        let left = 31 - u32::from(format.high_bit);
        Line { left, right: 32 - u32::from(format.bits_stored), signed: format.signed, rescale }
    }

    /// The stored value without what else lies in its cell (overlays of old writers, PS3.5 8.1.1), sign extended
    /// from Bits Stored, not from Bits Allocated.
    fn stored(&self, raw: u32) -> i64 {
        let top = raw << self.left;
        if self.signed { i64::from((top as i32) >> self.right) } else { i64::from(top >> self.right) }
    }

    fn value(&self, stored: i64) -> f32 {
        (stored as f64 * self.rescale.slope + self.rescale.intercept) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bits: (u16, u16, u16), signed: bool, bytes: &[u8], expected: &[f32]) {
        let format = PixelFormat {
            rows: 1,
            columns: expected.len(),
            frames: 1,
            bits_allocated: bits.0,
            bits_stored: bits.1,
            high_bit: bits.2,
            signed,
        };
        let rescale = Rescale { slope: 2.0, intercept: -10.0 };
        let padding = Some(Padding { low: -3, high: -2 });
        let decoding = Decoding { format, frame: 0, rescale, padding, lowest: -1024.0 };
        let mut found = vec![0.0; expected.len()];
        assert!(fill(bytes, false, &decoding, &mut found));
        assert_eq!(found, expected);
    }

    #[test]
    fn masks_overlay_bits_and_extends_the_sign_from_bits_stored() {
        // 0xf001: bits above 12 are no part of the value. 0x0fff is -1 in 12 bits, 4095 without sign.
        check((16, 12, 11), true, &[0x01, 0xf0, 0xff, 0x0f], &[-8.0, -12.0]);
        check((16, 12, 11), false, &[0x01, 0xf0, 0xff, 0x0f], &[-8.0, 8180.0]);
    }

    #[test]
    fn reads_bits_stored_at_the_top_of_the_cell() {
        check((16, 12, 15), false, &[0x1f, 0x00, 0xf0, 0xff], &[-8.0, 8180.0]);
        check((16, 12, 15), true, &[0x1f, 0x00, 0xf0, 0xff], &[-8.0, -12.0]);
    }

    #[test]
    fn replaces_padding_of_a_range_by_the_lowest_value() {
        check((16, 16, 15), true, &[0xfd, 0xff, 0xfe, 0xff, 0xff, 0xff], &[-1024.0, -1024.0, -12.0]);
    }

    #[test]
    fn reads_8_and_32_bits() {
        check((8, 8, 7), false, &[0, 255], &[-10.0, 500.0]);
        check((32, 32, 31), true, &[0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff], &[131062.0, -12.0]);
    }

    #[test]
    fn refuses_too_few_bytes() {
        let format = PixelFormat {
            rows: 1,
            columns: 2,
            frames: 1,
            bits_allocated: 16,
            bits_stored: 16,
            high_bit: 15,
            signed: false,
        };
        let rescale = Rescale { slope: 1.0, intercept: 0.0 };
        let decoding = Decoding { format, frame: 0, rescale, padding: None, lowest: 0.0 };
        assert!(!fill(&[0, 0, 0], false, &decoding, &mut [0.0; 2]));
    }
}
