//! Reads an RT Dose (PS3.3 A.18.3) as a volume in Gy; it reads no DVHs that come with it and no compressed pixels.

use std::sync::Arc;

use dicom_dictionary_std::tags;
use ndarray::{Array3, Axis};
use thiserror::Error;

use crate::dicom::part10::read_part10;
use crate::dicom::scan::{PixelValue, ScanError};
use crate::dicom::{Instance, InstanceError, Uid};
use crate::limits::SLICES_MAX;
use crate::volume::{GeometryError, Volume, VolumeGeometry, cross};

/// RT Dose Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.481.2";

/// How far the first absolute position of the Grid Frame Offset Vector may lie from Image Position Patient.
const SAME_PLACE_MM: f64 = 0.01;

/// A dose in Gy.
pub struct Dose {
    pub volume: Volume,
    pub frame_of_reference_uid: Option<Uid>,
}

/// Why bytes are no dose that can be read.
#[derive(Debug, Error)]
pub enum DoseError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("found an object of SOP class {0}, expected an RT Dose ({SOP_CLASS_UID})")]
    SopClass(Uid),
    #[error(
        "found Dose Units {0:?}, expected GY: what a relative dose is relative to is not in the object; export it in Gy"
    )]
    Units(String),
    #[error("found {found}, expected {expected}; export the dose again")]
    Content { found: String, expected: String },
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// Reads a Part 10 file with 16 or 32 bits a voxel.
///
/// # Errors
/// [`DoseError`] when it is no dose in Gy in native pixels with a place for each plane.
pub fn read(bytes: &[u8]) -> Result<Dose, DoseError> {
    let instance = Instance::read_part10(bytes)?;
    if instance.sop_class_uid.as_str() != SOP_CLASS_UID {
        return Err(DoseError::SopClass(instance.sop_class_uid));
    }
    let units = instance.text(tags::DOSE_UNITS).unwrap_or_default();
    if units != "GY" {
        return Err(DoseError::Units(units));
    }
    let (geometry, reversed) = geometry(&instance)?;
    let scaling = instance.f64s(tags::DOSE_GRID_SCALING).and_then(|values| values.first().copied());
    let scaling = scaling.filter(|scaling| scaling.is_finite() && *scaling > 0.0);
    let scaling = scaling.ok_or_else(|| content("no Dose Grid Scaling", "a positive number"))?;
    let stored = stored(&instance, bytes, geometry.shape().iter().product())?;
    let pixels = stored.into_iter().map(|value| (value as f64 * scaling) as f32).collect();
    let mut pixels = Array3::from_shape_vec(geometry.shape(), pixels).expect("as many values as the shape has");
    if reversed {
        pixels.invert_axis(Axis(0));
        pixels = pixels.as_standard_layout().into_owned();
    }
    let frame_of_reference_uid = instance.text(tags::FRAME_OF_REFERENCE_UID).and_then(|uid| uid.parse().ok());
    Ok(Dose { volume: Volume::new(Arc::new(geometry), pixels), frame_of_reference_uid })
}

fn content(found: impl Into<String>, expected: impl Into<String>) -> DoseError {
    DoseError::Content { found: found.into(), expected: expected.into() }
}

/// The values of all frames as they are stored.
fn stored(instance: &Instance, bytes: &[u8], count: usize) -> Result<Vec<i64>, DoseError> {
    let file = read_part10(bytes)?;
    let data_set = file.data_set(bytes)?;
    let range = match file.scan.pixel_data.as_ref().map(|pixels| &pixels.value) {
        Some(PixelValue::Native(range)) => range.start as usize..range.end as usize,
        Some(PixelValue::Encapsulated { .. }) => return Err(content("compressed pixels", "native ones")),
        None => return Err(content("no pixels", "those of the dose")),
    };
    let bits = instance.integer(tags::BITS_ALLOCATED).unwrap_or_default();
    let signed = instance.integer(tags::PIXEL_REPRESENTATION) == Some(1);
    let width = match bits {
        16 => 2,
        32 => 4,
        _ => return Err(content(format!("{bits} bits a voxel"), "16 or 32")),
    };
    let data = data_set.get(range).unwrap_or_default();
    if data.len() < count * width {
        return Err(content(format!("{} bytes of pixels", data.len()), format!("at least {}", count * width)));
    }
    let big = instance.is_big_endian();
    let value = |bytes: &[u8]| {
        let digit = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        let value = if big { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) };
        match (signed, width) {
            (false, _) => i64::from(value),
            (true, 2) => i64::from(value as u16 as i16),
            (true, _) => i64::from(value as i32),
        }
    };
    Ok(data.chunks_exact(width).take(count).map(value).collect())
}

/// The grid, and whether its slices are those of the file in reverse.
fn geometry(instance: &Instance) -> Result<(VolumeGeometry, bool), DoseError> {
    let side = |tag, name: &str| {
        let value = instance.integer(tag).and_then(|value| usize::try_from(value).ok()).filter(|&value| value > 0);
        value.ok_or_else(|| content(format!("no {name}"), "a positive number"))
    };
    let numbers = |tag, name: &str, count: usize| {
        let values = instance.f64s(tag).filter(|values| values.len() == count);
        values.ok_or_else(|| content(format!("no {name}"), format!("{count} numbers")))
    };
    let shape = (side(tags::ROWS, "Rows")?, side(tags::COLUMNS, "Columns")?);
    let spacing = numbers(tags::PIXEL_SPACING, "Pixel Spacing", 2)?;
    let position = numbers(tags::IMAGE_POSITION_PATIENT, "Image Position Patient", 3)?;
    let directions = numbers(tags::IMAGE_ORIENTATION_PATIENT, "Image Orientation Patient", 6)?;
    let row_direction = std::array::from_fn(|k| directions[k]);
    let column_direction = std::array::from_fn(|k| directions[k + 3]);
    let normal = cross(row_direction, column_direction);
    let frames = match instance.integer(tags::NUMBER_OF_FRAMES) {
        None => 1,
        Some(_) => side(tags::NUMBER_OF_FRAMES, "Number of Frames")?,
    };
    let offsets = match instance.f64s(tags::GRID_FRAME_OFFSET_VECTOR) {
        None if frames == 1 => vec![0.0],
        found => offsets(&found.unwrap_or_default(), frames, position[2], normal)?,
    };
    let origin = |&offset: &f64| std::array::from_fn(|k| position[k] + normal[k] * offset);
    let mut origins: Vec<[f64; 3]> = offsets.iter().map(origin).collect();
    let reversed = offsets.len() > 1 && offsets[1] < offsets[0];
    if reversed {
        origins.reverse();
    }
    let made = VolumeGeometry::new(shape, [spacing[0], spacing[1]], row_direction, column_direction, origins)?;
    Ok((made, reversed))
}

/// The distance of each plane from the first along the normal (PS3.3 C.8.8.3.2): as written when the first is 0, else
/// the written ones are z coordinates of axial planes.
fn offsets(written: &[f64], frames: usize, z_mm: f64, normal: [f64; 3]) -> Result<Vec<f64>, DoseError> {
    if written.len() != frames || frames > SLICES_MAX {
        let found = format!("{} values of Grid Frame Offset Vector for {frames} frames", written.len());
        return Err(content(found, format!("one for each, at most {SLICES_MAX}")));
    }
    if written[0] == 0.0 {
        return Ok(written.to_vec());
    }
    if normal[2].abs() < 0.999 || (written[0] - z_mm).abs() > SAME_PLACE_MM {
        let found = format!("a Grid Frame Offset Vector that begins with {} mm", written[0]);
        return Err(content(found, format!("0, or for axial planes the z of Image Position Patient, {z_mm} mm")));
    }
    Ok(written.iter().map(|z| (z - written[0]) * normal[2].signum()).collect())
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

    use super::*;

    /// A dose of 2 x 3 voxels on 3 planes of 2 mm, first at z = 10; values count up.
    struct Made {
        units: &'static str,
        offsets: &'static str,
        orientation: &'static str,
        bits: u16,
        syntax: &'static str,
    }

    const PLAIN: Made = Made {
        units: "GY",
        offsets: "0\\2\\4",
        orientation: "1\\0\\0\\0\\1\\0",
        bits: 16,
        syntax: "1.2.840.10008.1.2.1",
    };

    impl Made {
        fn bytes(&self) -> Vec<u8> {
            let mut object = InMemDicomObject::new_empty();
            let mut text = |tag, vr, value: &str| object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
            text(tags::SOP_CLASS_UID, VR::UI, SOP_CLASS_UID);
            text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3");
            text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.4");
            text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.5");
            text(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.6");
            text(tags::DOSE_UNITS, VR::CS, self.units);
            text(tags::IMAGE_POSITION_PATIENT, VR::DS, "1\\2\\10");
            text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, self.orientation);
            text(tags::PIXEL_SPACING, VR::DS, "1.5\\0.5");
            text(tags::NUMBER_OF_FRAMES, VR::IS, "3");
            text(tags::GRID_FRAME_OFFSET_VECTOR, VR::DS, self.offsets);
            text(tags::DOSE_GRID_SCALING, VR::DS, "0.25");
            for (tag, value) in [(tags::ROWS, 2), (tags::COLUMNS, 3), (tags::BITS_ALLOCATED, self.bits)] {
                object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
            }
            object.put(DataElement::new(tags::PIXEL_REPRESENTATION, VR::US, PrimitiveValue::from(0_u16)));
            let pixels = match self.bits {
                16 => PrimitiveValue::U16((0..18_u16).map(|value| 60_000 + value).collect()),
                _ => PrimitiveValue::U16((0..18_u16).flat_map(|value| [value, 1]).collect()),
            };
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
            let meta = FileMetaTableBuilder::new().transfer_syntax(self.syntax);
            let file = object.with_meta(meta.media_storage_sop_class_uid(SOP_CLASS_UID)).expect("a file");
            let mut bytes = Vec::new();
            file.write_all(&mut bytes).expect("bytes");
            bytes
        }

        fn told(&self) -> String {
            read(&self.bytes()).err().expect("refused").to_string()
        }
    }

    #[test]
    fn planes_lie_where_relative_and_absolute_offsets_put_them() {
        for (offsets, orientation, z, first) in [
            ("0\\2\\4", "1\\0\\0\\0\\1\\0", [10.0, 12.0, 14.0], 60_000.0),
            ("10\\12\\14", "1\\0\\0\\0\\1\\0", [10.0, 12.0, 14.0], 60_000.0),
            // From the head down, as an offset and as a position.
            ("0\\-2\\-4", "1\\0\\0\\0\\1\\0", [6.0, 8.0, 10.0], 60_012.0),
            ("10\\8\\6", "1\\0\\0\\0\\1\\0", [6.0, 8.0, 10.0], 60_012.0),
            // The normal points to the feet: an offset follows it, a position does not.
            ("0\\2\\4", "1\\0\\0\\0\\-1\\0", [10.0, 8.0, 6.0], 60_000.0),
            ("10\\12\\14", "1\\0\\0\\0\\-1\\0", [14.0, 12.0, 10.0], 60_012.0),
        ] {
            let dose = read(&Made { offsets, orientation, ..PLAIN }.bytes()).expect("a dose");
            let geometry = &dose.volume.geometry;
            assert_eq!(geometry.slice_origins().iter().map(|p| p[2]).collect::<Vec<_>>(), z, "{offsets} {orientation}");
            assert_eq!((geometry.row_spacing_mm(), geometry.column_spacing_mm()), (1.5, 0.5));
            assert_eq!(dose.volume.pixels[[0, 0, 0]], first * 0.25, "{offsets} {orientation}");
        }
    }

    #[test]
    fn reads_32_bits_and_the_frame_of_reference() {
        let dose = read(&Made { bits: 32, ..PLAIN }.bytes()).expect("a dose");
        assert_eq!(dose.volume.pixels[[2, 1, 2]], (65_536.0 + 17.0) * 0.25);
        assert_eq!(dose.frame_of_reference_uid.expect("said").as_str(), "1.2.6");
    }

    #[test]
    fn reads_big_endian() {
        let dose = read(&Made { syntax: "1.2.840.10008.1.2.2", ..PLAIN }.bytes()).expect("a dose");
        assert_eq!(dose.volume.pixels[[0, 0, 1]], 60_001.0 * 0.25);
    }

    #[test]
    fn refuses_what_it_cannot_place_or_scale() {
        let told = Made { units: "RELATIVE", ..PLAIN }.told();
        assert!(told.starts_with("found Dose Units \"RELATIVE\", expected GY"), "{told}");
        let told = Made { offsets: "5\\7\\9", ..PLAIN }.told();
        assert!(told.contains("begins with 5 mm, expected 0, or"), "{told}");
        let told = Made { offsets: "0\\2", ..PLAIN }.told();
        assert!(told.contains("2 values of Grid Frame Offset Vector for 3 frames"), "{told}");
        let told = Made { bits: 8, ..PLAIN }.told();
        assert!(told.contains("8 bits a voxel"), "{told}");
    }
}
