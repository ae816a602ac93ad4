//! JPEG baseline, extended and lossless (ISO/IEC 10918-1) behind a check of the frame header: by jpeg-decoder, and by
//! oxiarc-jpeg where samples of 12 bits are coded with a DCT, which the first does not read.

use jpeg_decoder::{Decoder, PixelFormat as Decoded};
use oxiarc_jpeg::{DecodeLimits, DecodeOptions, Decoder as WideDecoder};

use super::{Claim, DecodeError, Samples};
use crate::assemble::plan::Decoding;

const CODEC: &str = "JPEG";

pub(super) fn decode(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: String| DecodeError::Codestream { codec: CODEC, reason };
    let claim = claim(frame).ok_or_else(|| fail("found no frame header".to_owned()))?;
    claim.check(CODEC, decoding)?;
    let mut decoder = Decoder::new(frame);
    // Four bytes for each sample is more than any of its formats takes.
    decoder.set_max_decoding_buffer_size(4 * decoding.format.samples());
    let bytes = decoder.decode().map_err(|error| fail(error.to_string()))?;
    let values = match decoder.info().map(|info| info.pixel_format) {
        Some(Decoded::L8) => bytes.iter().map(|&sample| i32::from(sample)).collect(),
        Some(Decoded::L16) => bytes.as_chunks().0.iter().map(|&b| i32::from(u16::from_ne_bytes(b))).collect(),
        other => return Err(fail(format!("found {other:?}, expected one component"))),
    };
    Ok(Samples { values, precision: claim.precision, signed: false })
}

/// Baseline or extended (processes 2 and 4): 8 bits, or 12.
pub(super) fn decode_extended(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: String| DecodeError::Codestream { codec: CODEC, reason };
    let claim = claim(frame).ok_or_else(|| fail("found no frame header".to_owned()))?;
    if claim.precision <= 8 {
        return decode(frame, decoding);
    }
    claim.check(CODEC, decoding)?;
    let pixels = decoding.format.samples() as u64;
    // The decoder holds whole blocks of 8 x 8, or of 16 x 16 where a component says that it is subsampled.
    let held = (decoding.format.rows.next_multiple_of(16) * decoding.format.columns.next_multiple_of(16)) as u64;
    // Progressive scans are none of these processes, and each is a pass over the whole image.
    let limits = DecodeLimits {
        max_scans: 4,
        max_components: 1,
        max_coefficient_bytes: 8 * held,
        ..DecodeLimits::strict().with_max_pixels(pixels).with_max_output_bytes(8 * held)
    };
    let mut decoder = WideDecoder::with_options(frame, DecodeOptions { limits, ..DecodeOptions::raw() });
    let values = decoder.decode_u16().map_err(|error| fail(error.to_string()))?;
    Ok(Samples { values: values.into_iter().map(i32::from).collect(), precision: claim.precision, signed: false })
}

/// Size, components and precision from the first frame header (SOF, ISO/IEC 10918-1 B.2.2).
pub(super) fn claim(codestream: &[u8]) -> Option<Claim> {
    let mut rest = codestream.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let start = rest.iter().position(|&byte| byte == 0xff)?;
        rest = &rest[start..];
        let marker = *rest.iter().find(|&&byte| byte != 0xff)?;
        let skipped = rest.iter().take_while(|&&byte| byte == 0xff).count() + 1;
        rest = rest.get(skipped..)?;
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let is_frame = matches!(marker, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7);
        if is_frame {
            let &[_, _, precision, y1, y0, x1, x0, components] = rest.first_chunk()?;
            return Some(Claim {
                rows: usize::from(u16::from_be_bytes([y1, y0])),
                columns: usize::from(u16::from_be_bytes([x1, x0])),
                components: usize::from(components),
                precision: u16::from(precision),
            });
        }
        rest = rest.get(length..)?;
    }
}
