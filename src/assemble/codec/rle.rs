//! RLE Lossless (PS3.5 G): one run-length coded segment for each byte of a sample, most significant first.

use super::{DecodeError, Samples};
use crate::assemble::plan::Decoding;

const CODEC: &str = "RLE";

pub(super) fn decode(frame: &[u8], decoding: &Decoding) -> Result<Samples, DecodeError> {
    let fail = |reason: &str| DecodeError::Codestream { codec: CODEC, reason: reason.to_owned() };
    let (header, _) = frame.get(..64).ok_or_else(|| fail("shorter than its header"))?.as_chunks::<4>();
    let header: Vec<usize> = header.iter().map(|&word| u32::from_le_bytes(word) as usize).collect();
    let planes = usize::from(decoding.format.bits_allocated / 8);
    if header[0] != planes {
        return Err(fail(&format!("found {} segments, expected {planes}", header[0])));
    }
    let mut values = vec![0_u32; decoding.format.samples()];
    for plane in 0..planes {
        let start = header[plane + 1];
        let end = if plane + 1 < planes { header[plane + 2] } else { frame.len() };
        let segment = frame.get(start..end).ok_or_else(|| fail("a segment lies outside the frame"))?;
        unpack(segment, &mut values).ok_or_else(|| fail("a segment ends before its samples"))?;
    }
    let values = values.into_iter().map(|value| value as i32).collect();
    Ok(Samples { values, precision: decoding.format.bits_allocated, signed: false })
}

/// Appends the bytes of one segment below the bits that the values already have (PackBits, PS3.5 G.3.2).
fn unpack(segment: &[u8], values: &mut [u32]) -> Option<()> {
    let mut input = segment.iter().copied();
    let mut output = values.iter_mut();
    let mut left = output.len();
    while left > 0 {
        let count = input.next()? as i8;
        let run = match count {
            0.. => usize::from(count.unsigned_abs()) + 1,
            -128 => continue,
            _ => 1 + usize::from(count.unsigned_abs()),
        };
        let repeated = if count < 0 { Some(input.next()?) } else { None };
        for value in output.by_ref().take(run) {
            let byte = match repeated {
                Some(byte) => byte,
                None => input.next()?,
            };
            *value = *value << 8 | u32::from(byte);
        }
        left = left.saturating_sub(run);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_literals_runs_and_no_operations() {
        let mut values = vec![0; 6];
        assert!(unpack(&[1, 7, 8, 0x80, 0xfd, 9], &mut values).is_some());
        assert_eq!(values, [7, 8, 9, 9, 9, 9]);
    }

    #[test]
    fn refuses_a_segment_that_ends_early() {
        assert!(unpack(&[3, 7, 8], &mut [0; 4]).is_none());
        assert!(unpack(&[0xfd], &mut [0; 4]).is_none());
        assert!(unpack(&[], &mut [0; 1]).is_none());
    }
}
