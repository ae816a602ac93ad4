//! Contour Data (PS3.3 C.8.8.6): the polygons of one region as decimal strings on their image planes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use dicom_dictionary_std::tags;

use super::crossing::crosses_itself;
use super::{Roi, RtstructError, StructureSet};
use crate::contour::{Contour, Holes, simplify};
use crate::dicom::{Instance, Uid};
use crate::output::object::{DataSet, Items, SliceReference, decimal, image_reference, push_decimal, repeated_decimal};
use crate::volume::VolumeGeometry;

/// Decimals of a coordinate that is the same all over the plane, where the image does not spell it in 16 characters.
const DECIMALS_CONSTANT: usize = 6;

/// Length of a usual point: three coordinates of seven digits, to begin with.
const POINT_LENGTH: usize = 24;

/// A coordinate that changes less than this all over the image is constant, and written as the image has it.
const CONSTANT_MM: f64 = 5e-4;

/// For each slice, the text of each coordinate (x, y, z) that is constant on its plane: z of an axial image, x of a
/// sagittal one. Planning systems compare it with the position of the image, some of them as equal numbers.
pub type Planes = Vec<[Option<String>; 3]>;

/// The constant coordinates of every slice, as the images spell them.
pub fn planes(set: &StructureSet<'_>) -> Planes {
    let images: HashMap<&Uid, &Instance> =
        set.source.instances.iter().map(|image| (&image.sop_instance_uid, *image)).collect();
    let slices = set.source.slices.iter().zip(set.source.geometry.slice_origins());
    let plane = |(reference, origin): (&SliceReference, &[f64; 3])| {
        let position =
            images.get(&reference.sop_instance_uid).and_then(|image| image.raw(tags::IMAGE_POSITION_PATIENT));
        let written: Vec<&[u8]> = position.unwrap_or_default().split(|&byte| byte == b'\\').collect();
        std::array::from_fn(|axis| {
            let here = origin[axis];
            let same = |text: &String| text.parse::<f64>().is_ok_and(|mm| (mm - here).abs() < CONSTANT_MM);
            let repeated = written.get(axis).and_then(|bytes| repeated_decimal(bytes)).filter(same);
            let constant = extent_mm(set.source.geometry, axis) <= CONSTANT_MM;
            constant.then(|| repeated.or_else(|| decimal(here, DECIMALS_CONSTANT))).flatten()
        })
    };
    slices.map(plane).collect()
}

/// The contours of one region.
pub struct Made {
    /// Items of the Contour Sequence, numbered from 1; none for a region without contours.
    pub items: Option<Items>,
    /// Contours that stayed above the limit of the destination.
    pub warnings: Vec<String>,
}

/// Encodes the contours of one region.
pub fn items(set: &StructureSet<'_>, roi: &Roi, planes: &Planes) -> Result<Made, RtstructError> {
    let mut items = Items::default();
    let geometric_type = geometric_type(roi.holes);
    let mut above: Vec<usize> = Vec::new();
    for (contour, number) in roi.contours.iter().zip(1_usize..) {
        let points = limited(set, contour);
        above.extend(set.dialect.contour_points.filter(|most| points.len() > *most).map(|_| contour.slice));
        let (count, data) = contour_data(set, roi, contour.slice, &points, &planes[contour.slice])?;
        let image = &set.source.slices[contour.slice];
        let reference = image_reference(&image.sop_class_uid, &image.sop_instance_uid, image.frame_number);
        let mut item = DataSet::default();
        item.sequence(tags::CONTOUR_IMAGE_SEQUENCE, [reference])
            .text(tags::CONTOUR_GEOMETRIC_TYPE, geometric_type)
            .text(tags::NUMBER_OF_CONTOUR_POINTS, &count.to_string())
            .text(tags::CONTOUR_NUMBER, &number.to_string())
            .text(tags::CONTOUR_DATA, &data);
        items.push(item);
    }
    let mut made = Made { items: (!roi.contours.is_empty()).then_some(items), warnings: Vec::new() };
    if let (Some(first), Some(most)) = (above.first(), set.dialect.contour_points) {
        made.warnings.push(format!(
            "{}: {} contours (the first on slice {first}) have more than the {most} points that the dialect {} asks for, \
             also when simplified as far as it allows; they are written all the same",
            roi.style.name,
            above.len(),
            set.dialect.like
        ));
    }
    Ok(made)
}

/// Contour Geometric Type (PS3.3 C.8.8.6); the standard spells the second without an underscore before PLANAR.
pub fn geometric_type(holes: Holes) -> &'static str {
    match holes {
        Holes::Keyhole => "CLOSED_PLANAR",
        Holes::Xor => "CLOSEDPLANAR_XOR",
    }
}

/// Number of points and their text. Points that become the same by rounding are written once.
fn contour_data(
    set: &StructureSet<'_>,
    roi: &Roi,
    slice: usize,
    points: &[[f64; 3]],
    constant: &[Option<String>; 3],
) -> Result<(usize, String), RtstructError> {
    let name = || roi.style.name.clone();
    let decimals = set.dialect.decimals + usize::from(constant.iter().all(Option::is_none));
    let mut text = String::with_capacity(points.len() * POINT_LENGTH);
    let mut written: Vec<Range<usize>> = Vec::with_capacity(points.len());
    for point in points {
        let before = text.len();
        for (constant, &mm) in constant.iter().zip(point) {
            if !text.is_empty() {
                text.push('\\');
            }
            match constant {
                Some(constant) => text.push_str(constant),
                None if push_decimal(&mut text, mm, decimals) => {}
                None => return Err(RtstructError::Coordinate { roi: name(), slice }),
            }
        }
        let here = before + usize::from(before > 0)..text.len();
        if written.last().is_some_and(|last| text[last.clone()] == text[here.clone()]) {
            text.truncate(before);
        } else {
            written.push(here);
        }
    }
    while let [first, .., before, last] = written.as_slice()
        && text[first.clone()] == text[last.clone()]
    {
        text.truncate(before.end);
        written.pop();
    }
    if written.len() < 3 {
        return Err(RtstructError::TooFewPoints { roi: name(), slice, points: written.len() });
    }
    Ok((written.len(), text))
}

/// The points, simplified only when the destination has a limit that they exceed, as little as is enough, and not where
/// the contour would cross itself.
fn limited<'a>(set: &StructureSet<'_>, contour: &'a Contour) -> Cow<'a, [[f64; 3]]> {
    let geometry = set.source.geometry;
    let most = set.dialect.contour_points.unwrap_or(usize::MAX);
    let tolerance_mm = set.dialect.tolerance_pixels * geometry.row_spacing_mm().min(geometry.column_spacing_mm());
    let mut points = Cow::Borrowed(contour.points.as_slice());
    for share in [0.25, 0.5, 1.0] {
        if points.len() > most && tolerance_mm > 0.0 {
            let fewer = simplify(&contour.points, tolerance_mm * share);
            if !crosses_itself(geometry, &fewer) {
                points = Cow::Owned(fewer);
            }
        }
    }
    points
}

/// How much one coordinate changes over an image.
fn extent_mm(geometry: &VolumeGeometry, axis: usize) -> f64 {
    let across = geometry.row_direction()[axis] * geometry.column_spacing_mm() * geometry.columns() as f64;
    let down = geometry.column_direction()[axis] * geometry.row_spacing_mm() * geometry.rows() as f64;
    across.abs() + down.abs()
}
