//! JPEG 2000 and its high-throughput block coder (ISO/IEC 15444-1 and 15444-15) by OpenJPEG in Rust, behind a check of
//! the size marker.

use jpeg2k::{DecodeParameters, Image};

use super::{Claim, DecodeError, Samples};
use crate::assemble::plan::Decoding;

const CODEC: &str = "JPEG 2000";

/// More tiles than this are no medical image, but a way to make a decoder allocate.
const TILES_MAX: u64 = 65_535;

pub(super) fn decode(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: String| DecodeError::Codestream { codec: CODEC, reason };
    let claim = claim(frame).ok_or_else(|| fail("found no legal size marker".to_owned()))?;
    claim.check(CODEC, decoding)?;
    // Not strict, it would return an image with holes for a codestream that ends early.
    let parameters = DecodeParameters::new().strict(true);
    let image = Image::from_bytes_with(frame, parameters).map_err(|error| fail(error.to_string()))?;
    let [component] = image.components() else {
        return Err(fail(format!("decoded {} components, expected 1", image.components().len())));
    };
    Ok(Samples { values: component.data().to_vec(), precision: claim.precision, signed: component.is_signed() })
}

/// Size, components and precision from the SIZ marker, which follows SOC (ISO/IEC 15444-1 A.5.1). A JP2 file holds the
/// codestream in a box.
fn claim(frame: &[u8]) -> Option<Claim> {
    let start = frame.windows(4).take(4096).position(|bytes| bytes == [0xff, 0x4f, 0xff, 0x51])?;
    let siz = frame.get(start + 6..start + 45)?;
    let word = |at: usize| siz[at..at + 4].iter().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    let (x1, y1, x0, y0) = (word(2), word(6), word(10), word(14));
    let (tile_x, tile_y) = (word(18), word(22));
    let columns = usize::try_from(x1.checked_sub(x0)?).ok()?;
    let rows = usize::try_from(y1.checked_sub(y0)?).ok()?;
    if tile_x == 0 || tile_y == 0 || x1.div_ceil(tile_x) * y1.div_ceil(tile_y) > TILES_MAX {
        return None;
    }
    let components = usize::from(u16::from_be_bytes([siz[34], siz[35]]));
    Some(Claim { rows, columns, components, precision: u16::from(siz[36] & 0x7f) + 1 })
}
