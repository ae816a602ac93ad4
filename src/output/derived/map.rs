//! A derived image as a parametric map (PS3.3 A.75): a frame for each slice, pixels as 32-bit floats.

use dicom_dictionary_std::tags;

use super::{DerivedError, DerivedImage, Encoded};
use crate::dicom::Uid;
use crate::limits::OBJECT_VALUE_BYTES_MAX;
use crate::output::object::frames::{
    ALONG_SLICES, Derivation, derivation, frame_content, is_even, pixel_measures, plane_orientation, plane_position,
    put_content, put_dimensions, put_lossy, put_referenced_series, put_serial_number, put_u16, put_unknown,
};
use crate::output::object::{DataSet, SeriesOf, part10, plain};
use crate::structure::Code;

/// Parametric Map Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.30";

/// CID 7203 has no code for what a network does; this is the most that is sure.
const IMAGE_PROCESSING: Derivation = Derivation { code: Code::new("110001", "DCM", "Image Processing") };

/// PS3.16 CID 7180 has no code for what an unknown network gives; UCUM's for a bare number.
const NO_UNITS: Code = Code::new("1", "UCUM", "no units");

pub fn encode(image: &DerivedImage<'_>) -> Result<Encoded, DerivedError> {
    let (source, geometry) = (&image.source, image.source.geometry);
    let [slices, rows, columns] = geometry.shape();
    if slices * rows * columns * 4 > OBJECT_VALUE_BYTES_MAX {
        return Err(DerivedError::Size(slices * rows * columns * 4));
    }
    let uids = image.uids("map");
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "OT",
        number: image.series_number,
        description: image.series_description,
    };
    let mut data = source.begin(series, &uids)?;
    put_serial_number(&mut data);
    put_unknown(&mut data);
    put_content(&mut data, image.name, "Made by a model, not reviewed");
    put_lossy(&mut data, source);
    put_referenced_series(&mut data, source);
    data.text(tags::IMAGE_TYPE, "DERIVED\\PRIMARY\\VOLUME\\NONE")
        .text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2")
        .text(tags::NUMBER_OF_FRAMES, &slices.to_string())
        .text(tags::BURNED_IN_ANNOTATION, "NO")
        .text(tags::RECOGNIZABLE_VISUAL_FEATURES, "NO")
        .text(tags::CONTENT_QUALIFICATION, "RESEARCH")
        .text(tags::PRESENTATION_LUT_SHAPE, "IDENTITY");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, 32),
    ] {
        put_u16(&mut data, tag, &[value]);
    }
    data.sequence(tags::ACQUISITION_CONTEXT_SEQUENCE, []);
    let organization = Uid::derived(["dimensions of", uids.sop_instance_uid.as_str()]);
    put_dimensions(&mut data, source, &organization, &[ALONG_SLICES]);
    put_groups(&mut data, image);
    let pixels: Vec<u8> = image.volume.pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
    data.bytes(tags::FLOAT_PIXEL_DATA, &pixels);
    let bytes = part10(SOP_CLASS_UID, &uids.sop_instance_uid, data);
    Ok(Encoded { sop_instance_uid: uids.sop_instance_uid, bytes })
}

/// Functional groups (PS3.3 A.75.4).
fn put_groups(data: &mut DataSet, image: &DerivedImage<'_>) {
    let geometry = image.source.geometry;
    let even = is_even(geometry);
    let mut frame_type = DataSet::default();
    frame_type.text(tags::FRAME_TYPE, "DERIVED\\PRIMARY\\VOLUME\\NONE");
    let mut transformation = DataSet::default();
    transformation.text(tags::RESCALE_INTERCEPT, "0").text(tags::RESCALE_SLOPE, "1").text(tags::RESCALE_TYPE, "US");
    let mut shared = DataSet::default();
    shared
        .sequence(tags::PLANE_ORIENTATION_SEQUENCE, [plane_orientation(geometry)])
        .sequence(tags::PARAMETRIC_MAP_FRAME_TYPE_SEQUENCE, [frame_type])
        .sequence(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, [transformation])
        .sequence(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, [mapping(image)]);
    if even {
        shared.sequence(tags::PIXEL_MEASURES_SEQUENCE, [pixel_measures(geometry, 0)]);
    }
    let frame = |slice: usize| {
        let mut group = DataSet::default();
        group
            .sequence(tags::FRAME_CONTENT_SEQUENCE, [frame_content(&[(slice + 1) as u32])])
            .sequence(tags::PLANE_POSITION_SEQUENCE, [plane_position(geometry, slice)])
            .sequence(tags::DERIVATION_IMAGE_SEQUENCE, [derivation(&image.source.slices[slice], IMAGE_PROCESSING)]);
        if !even {
            group.sequence(tags::PIXEL_MEASURES_SEQUENCE, [pixel_measures(geometry, slice)]);
        }
        group
    };
    data.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, [shared])
        .sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, (0..geometry.slices()).map(frame));
}

/// Real World Value Mapping (PS3.3 C.7.6.16.2.11): the pixels are the values.
fn mapping(image: &DerivedImage<'_>) -> DataSet {
    let values = image.volume.pixels.iter().map(|value| f64::from(*value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let mut item = DataSet::default();
    item.text(tags::LUT_LABEL, &plain(image.name, 16))
        .text(tags::LUT_EXPLANATION, &plain(image.series_description, 64))
        .code(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, NO_UNITS)
        .bytes(tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, &low.to_le_bytes())
        .bytes(tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_LAST_VALUE_MAPPED, &high.to_le_bytes())
        .bytes(tags::REAL_WORLD_VALUE_INTERCEPT, &0_f64.to_le_bytes())
        .bytes(tags::REAL_WORLD_VALUE_SLOPE, &1_f64.to_le_bytes());
    item
}
