//! Contour Data (PS3.3 C.8.8.6): the polygons of one region as decimal strings on their image planes.

use std::collections::HashMap;

use dicom_dictionary_std::tags;

use super::{Roi, RtstructError, StructureSet};
use crate::contour::{Contour, simplify};
use crate::dicom::{Instance, Uid};
use crate::output::object::{DataSet, SliceReference, decimal, image_reference, repeated_decimal};
use crate::volume::VolumeGeometry;

/// Decimals of a coordinate that varies within the plane: a micrometre.
const DECIMALS: usize = 3;

/// Decimals on an oblique plane, where rounding moves points off it: a tenth of a micrometre.
const DECIMALS_OBLIQUE: usize = 4;

/// Decimals of a coordinate that is the same all over the plane, where the image does not spell it in 16 characters.
const DECIMALS_CONSTANT: usize = 6;

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

/// Items of the Contour Sequence of one region, numbered from 1.
pub fn items(set: &StructureSet<'_>, roi: &Roi, planes: &Planes) -> Result<Vec<DataSet>, RtstructError> {
    let mut items = Vec::with_capacity(roi.contours.len());
    for contour in &roi.contours {
        let (count, data) = contour_data(set, roi, contour, &planes[contour.slice])?;
        let image = &set.source.slices[contour.slice];
        let reference = image_reference(&image.sop_class_uid, &image.sop_instance_uid, image.frame_number);
        let mut item = DataSet::default();
        item.sequence(tags::CONTOUR_IMAGE_SEQUENCE, [reference])
            .text(tags::CONTOUR_GEOMETRIC_TYPE, "CLOSED_PLANAR")
            .text(tags::NUMBER_OF_CONTOUR_POINTS, &count.to_string())
            .text(tags::CONTOUR_NUMBER, &(items.len() + 1).to_string())
            .text(tags::CONTOUR_DATA, &data);
        items.push(item);
    }
    Ok(items)
}

/// Number of points and their text. Points that become the same by rounding are written once.
fn contour_data(
    set: &StructureSet<'_>,
    roi: &Roi,
    contour: &Contour,
    constant: &[Option<String>; 3],
) -> Result<(usize, String), RtstructError> {
    let name = || roi.style.name.clone();
    let points = limited(set, roi, contour)?;
    let decimals = if constant.iter().any(Option::is_some) { DECIMALS } else { DECIMALS_OBLIQUE };
    let mut texts: Vec<String> = Vec::with_capacity(points.len());
    for point in &points {
        let mut coordinates = Vec::with_capacity(3);
        for (axis, &mm) in point.iter().enumerate() {
            let text = constant[axis].clone().or_else(|| decimal(mm, decimals));
            coordinates.push(text.ok_or_else(|| RtstructError::Coordinate { roi: name(), slice: contour.slice })?);
        }
        let text = coordinates.join("\\");
        if texts.last() != Some(&text) {
            texts.push(text);
        }
    }
    while texts.len() > 1 && texts.last() == texts.first() {
        texts.pop();
    }
    if texts.len() < 3 {
        return Err(RtstructError::TooFewPoints { roi: name(), slice: contour.slice, points: texts.len() });
    }
    Ok((texts.len(), texts.join("\\")))
}

/// The points, simplified only when the destination has a limit that they exceed, and as little as is enough.
fn limited(set: &StructureSet<'_>, roi: &Roi, contour: &Contour) -> Result<Vec<[f64; 3]>, RtstructError> {
    let most = set.options.points_max.unwrap_or(usize::MAX);
    let mut points = contour.points.clone();
    for share in [0.25, 0.5, 1.0] {
        if points.len() > most {
            points = simplify(&contour.points, set.options.tolerance_mm * share);
        }
    }
    if points.len() > most {
        let (roi, slice) = (roi.style.name.clone(), contour.slice);
        return Err(RtstructError::TooManyPoints { roi, slice, points: points.len(), most });
    }
    Ok(points)
}

/// How much one coordinate changes over an image.
fn extent_mm(geometry: &VolumeGeometry, axis: usize) -> f64 {
    let across = geometry.row_direction()[axis] * geometry.column_spacing_mm() * geometry.columns() as f64;
    let down = geometry.column_direction()[axis] * geometry.row_spacing_mm() * geometry.rows() as f64;
    across.abs() + down.abs()
}
