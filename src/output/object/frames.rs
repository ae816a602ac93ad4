//! Where the frames of a multi-frame object lie: its functional groups (PS3.3 C.7.6.16.2); it holds no pixels.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{DataSet, SliceReference, Source, coded, date_time, decimal, image_reference};
use crate::dicom::Uid;
use crate::structure::Code;
use crate::volume::VolumeGeometry;

/// Most decimals of a number of 16 characters.
const DECIMALS_MAX: usize = 14;

/// Numbers as one value of VR DS, each as exact as 16 characters allow: what an image said in as many comes out the same.
pub fn decimals(values: impl IntoIterator<Item = f64>) -> String {
    let text = |value: f64| {
        let mut shown = (0..=DECIMALS_MAX).filter_map(|places| decimal(value, places));
        let exact = shown.clone().find(|text| text.parse() == Ok(value));
        exact.or_else(|| shown.next_back()).unwrap_or_else(|| "0".to_owned())
    };
    values.into_iter().map(text).collect::<Vec<_>>().join("\\")
}

/// A value of VR US.
pub fn put_u16(data: &mut DataSet, tag: Tag, values: &[u16]) {
    data.raw(tag, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
}

/// A value of VR UL.
pub fn put_u32(data: &mut DataSet, tag: Tag, values: &[u32]) {
    data.raw(tag, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
}

/// A value of VR AT.
fn put_tag(data: &mut DataSet, tag: Tag, value: Tag) {
    put_u16(data, tag, &[value.group(), value.element()]);
}

/// How a frame came about (PS3.3 C.7.6.16.2.6).
#[derive(Clone, Copy)]
pub struct Derivation {
    /// PS3.16 CID 7203.
    pub code: Code,
}

/// PS3.16 CID 7202.
const SOURCE_IMAGE: Code = Code::new("121322", "DCM", "Source image for image processing operation");

/// Plane Orientation Sequence: the same for all frames.
pub fn plane_orientation(geometry: &VolumeGeometry) -> DataSet {
    let mut item = DataSet::default();
    let directions = geometry.row_direction().into_iter().chain(geometry.column_direction());
    item.text(tags::IMAGE_ORIENTATION_PATIENT, &decimals(directions));
    item
}

/// Pixel Measures Sequence of one slice. Slices whose distances differ say their own extent as thickness.
pub fn pixel_measures(geometry: &VolumeGeometry, slice: usize) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::PIXEL_SPACING, &decimals([geometry.row_spacing_mm(), geometry.column_spacing_mm()]));
    if is_even(geometry) {
        item.text(tags::SLICE_THICKNESS, &decimals([geometry.slice_spacing_mm()]))
            .text(tags::SPACING_BETWEEN_SLICES, &decimals([geometry.slice_spacing_mm()]));
    } else {
        item.text(tags::SLICE_THICKNESS, &decimals([geometry.slice_extent_mm(slice)]));
    }
    item
}

/// Deviation of slice distances that counts as none.
const EVEN_MM: f64 = 0.005;

/// Whether the slices lie at equal distances.
pub fn is_even(geometry: &VolumeGeometry) -> bool {
    geometry.slices() > 1 && geometry.slice_spacing_deviation_mm() < EVEN_MM
}

/// Plane Position Sequence of one slice.
pub fn plane_position(geometry: &VolumeGeometry, slice: usize) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::IMAGE_POSITION_PATIENT, &decimals(geometry.slice_origins()[slice]));
    item
}

/// The image that pixels were derived from, pixel by pixel (PS3.3 C.7.6.1.1.4).
pub fn derived_from(image: &SliceReference) -> DataSet {
    let mut source = image_reference(&image.sop_class_uid, &image.sop_instance_uid, image.frame_number);
    source.text(tags::SPATIAL_LOCATIONS_PRESERVED, "YES").code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, SOURCE_IMAGE);
    source
}

/// Derivation Image Sequence of a frame on one slice.
pub fn derivation(image: &SliceReference, how: Derivation) -> DataSet {
    let mut item = DataSet::default();
    item.code(tags::DERIVATION_CODE_SEQUENCE, how.code).sequence(tags::SOURCE_IMAGE_SEQUENCE, [derived_from(image)]);
    item
}

/// Frame Content Sequence: the place of a frame along the dimensions, from 1.
pub fn frame_content(indices: &[u32]) -> DataSet {
    let mut item = DataSet::default();
    put_u32(&mut item, tags::DIMENSION_INDEX_VALUES, indices);
    item
}

/// A dimension along which frames are ordered.
pub struct Dimension {
    pub pointer: Tag,
    pub group: Tag,
    pub label: &'static str,
}

/// The dimension of the slices.
pub const ALONG_SLICES: Dimension = Dimension {
    pointer: tags::IMAGE_POSITION_PATIENT,
    group: tags::PLANE_POSITION_SEQUENCE,
    label: "Image Position Patient",
};

/// Multi-frame Dimension and what all multi-frame objects say of themselves (PS3.3 C.7.6.17, C.7.6.16).
pub fn put_dimensions(data: &mut DataSet, source: &Source<'_>, organization: &Uid, dimensions: &[Dimension]) {
    let (date, time) = date_time(source.created);
    let mut of = DataSet::default();
    of.uid(tags::DIMENSION_ORGANIZATION_UID, organization);
    let index = |dimension: &Dimension| {
        let mut item = DataSet::default();
        item.uid(tags::DIMENSION_ORGANIZATION_UID, organization)
            .text(tags::DIMENSION_DESCRIPTION_LABEL, dimension.label);
        put_tag(&mut item, tags::DIMENSION_INDEX_POINTER, dimension.pointer);
        put_tag(&mut item, tags::FUNCTIONAL_GROUP_POINTER, dimension.group);
        item
    };
    data.text(tags::CONTENT_DATE, &date)
        .text(tags::CONTENT_TIME, &time)
        .sequence(tags::DIMENSION_ORGANIZATION_SEQUENCE, [of])
        .sequence(tags::DIMENSION_INDEX_SEQUENCE, dimensions.iter().map(index));
}

/// Common Instance Reference (PS3.3 C.12.2): all images of the series.
pub fn put_referenced_series(data: &mut DataSet, source: &Source<'_>) {
    let Some(first) = source.instances.first() else { return };
    let images = source.instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None));
    let mut series = DataSet::default();
    series.uid(tags::SERIES_INSTANCE_UID, &first.series_instance_uid);
    series.sequence(tags::REFERENCED_INSTANCE_SEQUENCE, images);
    data.sequence(tags::REFERENCED_SERIES_SEQUENCE, [series]);
}

/// Enhanced General Equipment (PS3.3 C.7.5.2) asks for a serial number, which a program has not.
pub fn put_serial_number(data: &mut DataSet) {
    data.text(tags::DEVICE_SERIAL_NUMBER, "none");
}

/// What General Series (PS3.3 C.7.3.1) asks for and nobody knows here: the side of a paired body part.
pub fn put_unknown(data: &mut DataSet) {
    data.text(tags::LATERALITY, "");
}

/// Content Identification Macro (PS3.3 10.9). The label is a code string: capitals, digits, space and underscore.
pub fn put_content(data: &mut DataSet, label: &str, description: &str) {
    let folded = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let label: String = label.chars().map(folded).take(16).collect();
    data.text(tags::CONTENT_LABEL, if label.is_empty() { "RESULT" } else { &label })
        .text(tags::CONTENT_DESCRIPTION, &super::plain(description, 64))
        .text(tags::CONTENT_CREATOR_NAME, "");
}

/// Whether the images were compressed with loss, which a derived object has to go on saying (PS3.3 C.7.6.1.1.5).
pub fn put_lossy(data: &mut DataSet, source: &Source<'_>) {
    let lossy = |i: &&&crate::dicom::Instance| i.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01");
    let Some(image) = source.instances.iter().find(lossy) else {
        data.text(tags::LOSSY_IMAGE_COMPRESSION, "00");
        return;
    };
    data.text(tags::LOSSY_IMAGE_COMPRESSION, "01");
    for tag in [tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD] {
        if let Some(value) = image.raw(tag) {
            data.raw(tag, value);
        }
    }
}

/// A code with the modifiers that stand inside it.
pub fn coded_with(code: Code, modifier: Option<(Tag, Code)>) -> DataSet {
    let mut item = coded(code);
    if let Some((tag, modifier)) = modifier {
        item.code(tag, modifier);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::decimals;

    #[test]
    fn numbers_are_as_exact_as_sixteen_characters_allow() {
        assert_eq!(decimals([-260.95397446103, 0.5, 1.0, -0.0]), "-260.95397446103\\0.5\\1\\0");
        assert_eq!(decimals([1.0 / 3.0, -1.0 / 3.0]), "0.33333333333333\\-0.3333333333333");
        assert_eq!(decimals([1e-20]), "0");
    }
}
