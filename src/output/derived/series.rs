//! A derived image as a series of CT or MR images (PS3.3 A.3, A.4): one object for each slice, 16-bit pixels.

use dicom_dictionary_std::tags;
use ndarray::{ArrayView2, Axis};

use super::{DerivedError, DerivedImage, Encoded};
use crate::dicom::Uid;
use crate::output::object::frames::{decimals, derived_from, put_lossy, put_u16, put_unknown};
use crate::output::object::{DataSet, SeriesOf, Uids, date_time, decimal, part10};

/// What differs between the kinds.
pub struct Kind {
    pub(super) sop_class_uid: &'static str,
    modality: &'static str,
    /// What the values are.
    rescale_type: Option<&'static str>,
    /// Attributes that the module of the modality asks for.
    required: &'static [(dicom_core::Tag, &'static str)],
}

/// CT Image Storage (PS3.3 C.8.2.1): no tube made it.
pub const CT: Kind = Kind {
    sop_class_uid: "1.2.840.10008.5.1.4.1.1.2",
    modality: "CT",
    rescale_type: Some("HU"),
    required: &[(tags::IMAGE_TYPE, "DERIVED\\SECONDARY\\AXIAL"), (tags::KVP, ""), (tags::ACQUISITION_NUMBER, "")],
};

/// MR Image Storage (PS3.3 C.8.3.1): no sequence made it.
pub const MR: Kind = Kind {
    sop_class_uid: "1.2.840.10008.5.1.4.1.1.4",
    modality: "MR",
    rescale_type: None,
    required: &[
        (tags::IMAGE_TYPE, "DERIVED\\SECONDARY\\OTHER"),
        (tags::SCANNING_SEQUENCE, "RM"),
        (tags::SEQUENCE_VARIANT, "NONE"),
        (tags::SCAN_OPTIONS, ""),
        (tags::MR_ACQUISITION_TYPE, ""),
        (tags::REPETITION_TIME, ""),
        (tags::ECHO_TIME, ""),
        (tags::ECHO_TRAIN_LENGTH, ""),
    ],
};

pub fn encode(image: &DerivedImage<'_>, kind: Kind) -> Result<Vec<Encoded>, DerivedError> {
    let uids = image.uids(kind.modality);
    let scale = Scale::of(image.volume.pixels.iter().copied());
    let planes = image.volume.pixels.axis_iter(Axis(0)).enumerate();
    planes.map(|(slice, pixels)| encode_slice(image, &kind, slice, &pixels, &scale, &uids)).collect()
}

/// Stored = (value - intercept) / slope, as a signed 16-bit number.
struct Scale {
    slope: f64,
    intercept: f64,
}

impl Scale {
    /// Whole numbers that fit are stored as they are; others over the whole range of 16 bits.
    fn of(values: impl Iterator<Item = f32> + Clone) -> Scale {
        let bounds = (f64::from(i16::MIN), f64::from(i16::MAX));
        let fits = |value: f32| value.fract() == 0.0 && (bounds.0..=bounds.1).contains(&f64::from(value));
        if values.clone().all(fits) {
            return Scale { slope: 1.0, intercept: 0.0 };
        }
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(f64::from(value)), high.max(f64::from(value)))
        });
        // As they are written: rounded up, so that the highest value still fits.
        let slope = ((high - low) / (bounds.1 - bounds.0)).max(f64::MIN_POSITIVE);
        let shown = |value: f64| -> f64 { format!("{value:.8e}").parse().unwrap_or(value) };
        let slope = shown(slope * (1.0 + 1e-7));
        Scale { slope, intercept: shown(low - bounds.0 * slope) }
    }

    fn stored(&self, value: f32) -> i16 {
        let stored = ((f64::from(value) - self.intercept) / self.slope).round();
        stored.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
    }
}

/// A number as DS of at most 16 characters, with an exponent where it is very small or large.
fn number(value: f64) -> String {
    match decimal(value, 10).filter(|text| text.parse() == Ok(value)) {
        Some(text) => text,
        None => format!("{value:.8e}"),
    }
}

fn encode_slice(
    image: &DerivedImage<'_>,
    kind: &Kind,
    slice: usize,
    pixels: &ArrayView2<'_, f32>,
    scale: &Scale,
    uids: &Uids,
) -> Result<Encoded, DerivedError> {
    let geometry = image.source.geometry;
    let series = SeriesOf {
        sop_class_uid: kind.sop_class_uid,
        modality: kind.modality,
        number: image.series_number,
        description: image.series_description,
    };
    let number_in_series = (slice + 1).to_string();
    let sop_instance_uid = Uid::derived([uids.sop_instance_uid.as_str(), &number_in_series]);
    let own =
        Uids { sop_instance_uid: sop_instance_uid.clone(), series_instance_uid: uids.series_instance_uid.clone() };
    let mut data = image.source.begin(series, &own)?;
    let (date, time) = date_time(image.source.created);
    for (tag, value) in kind.required {
        data.text(*tag, value);
    }
    data.text(tags::INSTANCE_NUMBER, &number_in_series)
        .text(tags::CONTENT_DATE, &date)
        .text(tags::CONTENT_TIME, &time)
        .text(tags::DERIVATION_DESCRIPTION, super::DERIVED_HERE)
        .sequence(tags::SOURCE_IMAGE_SEQUENCE, [derived_from(&image.source.slices[slice])]);
    put_lossy(&mut data, &image.source);
    put_unknown(&mut data);
    put_position(&mut data, image, slice);
    data.text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    // The module of MR images has no rescale; readers apply one where they find it.
    if kind.rescale_type.is_some() || (scale.slope, scale.intercept) != (1.0, 0.0) {
        data.text(tags::RESCALE_INTERCEPT, &number(scale.intercept))
            .text(tags::RESCALE_SLOPE, &number(scale.slope))
            .text(tags::RESCALE_TYPE, kind.rescale_type.unwrap_or("US"));
    }
    let [_, rows, columns] = geometry.shape();
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 1),
    ] {
        put_u16(&mut data, tag, &[value]);
    }
    let stored: Vec<u8> = pixels.iter().flat_map(|value| scale.stored(*value).to_le_bytes()).collect();
    data.bytes(tags::PIXEL_DATA, &stored);
    let bytes = part10(kind.sop_class_uid, &sop_instance_uid, data);
    Ok(Encoded { sop_instance_uid, bytes })
}

/// Image Plane (PS3.3 C.7.6.2), and how the patient lay.
fn put_position(data: &mut DataSet, image: &DerivedImage<'_>, slice: usize) {
    let geometry = image.source.geometry;
    let directions = geometry.row_direction().into_iter().chain(geometry.column_direction());
    data.text(tags::IMAGE_ORIENTATION_PATIENT, &decimals(directions))
        .text(tags::IMAGE_POSITION_PATIENT, &decimals(geometry.slice_origins()[slice]))
        .text(tags::PIXEL_SPACING, &decimals([geometry.row_spacing_mm(), geometry.column_spacing_mm()]))
        .text(tags::SLICE_THICKNESS, &decimals([geometry.slice_extent_mm(slice)]));
    let position = image.source.instances.iter().find_map(|instance| instance.raw(tags::PATIENT_POSITION));
    data.raw(tags::PATIENT_POSITION, position.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_and_others_use_the_range() {
        let whole = Scale::of([-1024.0, 0.0, 3071.0].into_iter());
        assert_eq!((whole.slope, whole.intercept), (1.0, 0.0));
        for values in [[0.0_f32, 0.1, 1.0], [-40_000.0, 0.5, 40_000.0], [7.5, 7.5, 7.5], [1e-9, 2e-9, 3e-7]] {
            let scale = Scale::of(values.into_iter());
            let (slope, intercept): (f64, f64) =
                (number(scale.slope).parse().expect("a number"), number(scale.intercept).parse().expect("a number"));
            assert!(number(scale.slope).len() <= 16 && number(scale.intercept).len() <= 16);
            for value in values {
                let back = f64::from(scale.stored(value)) * slope + intercept;
                let range = f64::from(values[2] - values[0]).abs().max(1e-6 * f64::from(values[2]));
                assert!((back - f64::from(value)).abs() <= range / 65_000.0, "{values:?}: {back} {value}");
            }
        }
    }
}
