//! Decodes the pixels of a planned series into a volume; how bytes are stored is the caller's business.

use std::io;

use ndarray::{Array3, Axis};
use rayon::prelude::*;
use thiserror::Error;

use super::codec::{self, DecodeError};
use super::native;
use super::plan::{Decoding, SeriesPlan};
use crate::dicom::part10::{Part10, read_part10};
use crate::dicom::scan::{PixelValue, ScanError};
use crate::dicom::{Syntax, Uid, UidError};
use crate::volume::Volume;

/// Why the pixels of a planned series could not be loaded.
#[derive(Debug, Error)]
pub enum AssembleError {
    #[error("instance {uid} could not be read from storage")]
    Read {
        uid: Uid,
        #[source]
        source: io::Error,
    },
    #[error("instance {uid}: {source}")]
    Scan {
        uid: Uid,
        #[source]
        source: ScanError,
    },
    #[error(
        "storage returned another instance for {uid}, or its image has changed since the series was planned; plan it again"
    )]
    Changed { uid: Uid },
    #[error("instance {uid}, frame {frame}: {source}; send it again uncompressed")]
    Decode {
        uid: Uid,
        /// 1-based.
        frame: usize,
        #[source]
        source: DecodeError,
    },
}

/// The slices that come from one instance.
struct Work<'a> {
    instance: usize,
    uid: &'a Uid,
    slices: Vec<(&'a Decoding, &'a mut [f32])>,
}

/// Loads the pixels: `read` returns all bytes of the DICOM file of an instance, by its index in the planned instances,
/// and is called once for each, from several threads.
///
/// Each thread of rayon holds the bytes of one instance at a time, so memory is the volume plus some files. Values are
/// rescaled slice by slice; padding becomes -1024 HU (CT) or 0.
///
/// # Errors
/// [`AssembleError`] of one instance that could not be read or decoded. A decoder that panics is caught.
pub fn load(plan: &SeriesPlan, read: &(dyn Fn(usize) -> io::Result<Vec<u8>> + Sync)) -> Result<Volume, AssembleError> {
    let mut pixels = Array3::<f32>::zeros(plan.geometry.shape());
    let slices = pixels.axis_iter_mut(Axis(0)).filter_map(|slice| slice.into_slice());
    let mut sources: Vec<_> = plan.slices.iter().zip(&plan.decodings).zip(slices).collect();
    sources.sort_by_key(|((source, _), _)| source.instance);
    let mut work: Vec<Work> = Vec::new();
    for ((source, decoding), slice) in sources {
        match work.last_mut().filter(|last| last.instance == source.instance) {
            Some(last) => last.slices.push((decoding, slice)),
            None => {
                let slices = vec![(decoding, slice)];
                work.push(Work { instance: source.instance, uid: &source.sop_instance_uid, slices });
            }
        }
    }
    work.into_par_iter().try_for_each(|work| load_instance(work, read))?;
    Ok(Volume::new(plan.geometry.clone(), pixels))
}

fn load_instance(work: Work, read: &(dyn Fn(usize) -> io::Result<Vec<u8>> + Sync)) -> Result<(), AssembleError> {
    let uid = work.uid;
    let bytes = read(work.instance).map_err(|source| AssembleError::Read { uid: uid.clone(), source })?;
    let scanned = |source| AssembleError::Scan { uid: uid.clone(), source };
    let file = read_part10(bytes.as_slice()).map_err(scanned)?;
    if sop_instance_uid(&file).as_ref() != Ok(uid) {
        return Err(AssembleError::Changed { uid: uid.clone() });
    }
    let data_set = file.data_set(&bytes).map_err(scanned)?;
    let changed = || AssembleError::Changed { uid: uid.clone() };
    let pixel_data = file.scan.pixel_data.as_ref().ok_or_else(changed)?;
    let syntax = Syntax::of(&file.transfer_syntax_uid).ok_or_else(changed)?;
    work.slices.into_par_iter().try_for_each(|(decoding, slice)| match &pixel_data.value {
        PixelValue::Native(range) => {
            let length = decoding.format.frame_bytes();
            let start = range.start as usize + decoding.frame * length;
            let native = data_set.get(start..start + length).ok_or_else(changed)?;
            let is_filled =
                (start + length) as u64 <= range.end && native::fill(native, syntax.big_endian, decoding, slice);
            if is_filled { Ok(()) } else { Err(changed()) }
        }
        PixelValue::Encapsulated { offset_table, fragments } => {
            let encoded = codec::Encoded {
                data_set: &data_set,
                offset_table: offset_table.clone(),
                fragments,
                transfer_syntax_uid: file.transfer_syntax_uid.as_str(),
            };
            let frame = decoding.frame + 1;
            let failed = |source| AssembleError::Decode { uid: uid.clone(), frame, source };
            let samples = encoded.decode(decoding).map_err(failed)?;
            native::fill_decoded(&samples, decoding, slice);
            Ok(())
        }
    })
}

fn sop_instance_uid(file: &Part10) -> Result<Uid, UidError> {
    let tag = dicom_dictionary_std::tags::SOP_INSTANCE_UID;
    let element = file.scan.elements.iter().find(|element| element.tag == tag);
    let bytes = element.map_or(&[][..], |element| &file.scan.header[element.value.clone()]);
    std::str::from_utf8(bytes).unwrap_or_default().parse()
}
