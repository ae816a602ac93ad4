//! JPEG-LS lossless and near-lossless (ISO/IEC 14495-1) by pure_jpegls, behind the same check as JPEG.

use std::borrow::Cow;

use super::{DecodeError, Samples, jpeg};
use crate::assemble::plan::Decoding;

const CODEC: &str = "JPEG-LS";
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

pub(super) fn decode(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: String| DecodeError::Codestream { codec: CODEC, reason };
    let claim = jpeg::claim(frame).ok_or_else(|| fail("found no frame header".to_owned()))?;
    claim.check(CODEC, decoding)?;
    let side = |side: usize| u32::try_from(side).map_err(|_| fail("image too large".to_owned()));
    let (columns, rows) = (side(claim.columns)?, side(claim.rows)?);
    let (values, ..) = jpegls::decode(&without_fill(frame), columns, rows).map_err(|error| fail(error.to_string()))?;
    let values = values.into_iter().map(i32::from).collect();
    Ok(Samples { values, precision: claim.precision, signed: false })
}

/// The codestream without fill bytes (FF) before its last marker, which any number of them may precede (ISO/IEC 10918-1
/// B.1.1.2, and 14495-1 C.1.1.2): DCMTK makes odd codestreams even by one, and pure_jpegls expects none there. A scan
/// does not end with FF itself, because a stuffed bit follows each.
fn without_fill(codestream: &[u8]) -> Cow<'_, [u8]> {
    let end = codestream.windows(2).rposition(|pair| pair == END_OF_IMAGE).unwrap_or(codestream.len());
    let scan = &codestream[..end];
    let filled = scan.iter().rev().take_while(|&&byte| byte == END_OF_IMAGE[0]).count();
    if filled == 0 {
        return Cow::Borrowed(codestream);
    }
    Cow::Owned([&scan[..end - filled], &codestream[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::format::{PixelFormat, Rescale};

    #[test]
    fn takes_fill_bytes_before_the_end() {
        let (rows, columns) = (9, 11);
        let values: Vec<u16> = (0..rows * columns).map(|index| (index * index % 4093) as u16).collect();
        let mut codestream = Vec::new();
        jpegls::encode(&values, columns as u32, rows as u32, &mut codestream).expect("a legal image");
        let format =
            PixelFormat { rows, columns, frames: 1, bits_allocated: 16, bits_stored: 16, high_bit: 15, signed: false };
        let rescale = Rescale { slope: 1.0, intercept: 0.0 };
        let decoding = Decoding { format, frame: 0, rescale, padding: None, lowest: 0.0 };
        let end = codestream.len() - 2;
        for (fill, after) in [(0, 0), (1, 0), (3, 0), (0, 1), (2, 1)] {
            let frame = [&codestream[..end], &vec![0xff; fill], &codestream[end..], &vec![0; after]].concat();
            let samples = decode(&frame, &decoding).unwrap_or_else(|error| panic!("{fill} and {after}: {error}"));
            assert!(samples.values.iter().copied().eq(values.iter().map(|&value| i32::from(value))), "{fill}");
        }
        // What has no end is not mended.
        let endless = [&codestream[..end], &[0xff, 0xff][..]].concat();
        assert!(decode(&endless, &decoding).is_err());
    }
}
