//! JPEG-LS lossless and near-lossless (ISO/IEC 14495-1) by pure_jpegls, behind the same check as JPEG.

use super::{DecodeError, Samples, jpeg};
use crate::assemble::plan::Decoding;

const CODEC: &str = "JPEG-LS";

pub(super) fn decode(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: String| DecodeError::Codestream { codec: CODEC, reason };
    let claim = jpeg::claim(frame).ok_or_else(|| fail("found no frame header".to_owned()))?;
    claim.check(CODEC, decoding)?;
    let side = |side: usize| u32::try_from(side).map_err(|_| fail("image too large".to_owned()));
    let (columns, rows) = (side(claim.columns)?, side(claim.rows)?);
    let (values, ..) = jpegls::decode(frame, columns, rows).map_err(|error| fail(error.to_string()))?;
    let values = values.into_iter().map(i32::from).collect();
    Ok(Samples { values, precision: claim.precision, signed: false })
}
