//! Where the pixels of a picture lie: its sides on the axes of the array, and what the plane is called.

use super::{View, fixed};
use crate::volume::VolumeGeometry;

/// Space left round the structures when a picture is cut to them.
const MARGIN_MM: f64 = 12.0;

/// One axis of a picture: which axis of the array it shows, and the index at each pixel.
pub struct Side {
    pub axis: usize,
    pub indices: Vec<f64>,
    /// The patient's direction at the low end and at the high end of the picture.
    pub letters: [char; 2],
}

/// Down and across, and how many mm a pixel is.
///
/// Which axis of the array goes down is the patient's affair, not the scanner's: the front is on top of axial pictures and
/// on the left of sagittal ones, the head on top of sagittal and coronal ones, the patient's right on the left.
pub fn sides(geometry: &VolumeGeometry, bounds: [[usize; 2]; 3], view: View, longest_px: usize) -> ([Side; 2], f64) {
    let patient = patient_axes(geometry);
    let showing = |wanted: usize| patient.iter().position(|axis| *axis == wanted).unwrap_or(wanted);
    let axes = match patient[fixed(view).0] {
        HEAD_FEET => [FRONT_BACK, LEFT_RIGHT],
        FRONT_BACK => [HEAD_FEET, LEFT_RIGHT],
        _ => [HEAD_FEET, FRONT_BACK],
    }
    .map(showing);
    let extents = axes.map(|axis| extent_mm(geometry, axis, bounds[axis]));
    let longest = extents.iter().map(|[low, high]| high - low).fold(1e-3, f64::max);
    let pixel_mm = longest / longest_px as f64;
    ([0, 1].map(|k| side(geometry, axes[k], extents[k], pixel_mm, longest_px)), pixel_mm)
}

fn side(geometry: &VolumeGeometry, axis: usize, [low, high]: [f64; 2], pixel_mm: f64, most: usize) -> Side {
    let count = (((high - low) / pixel_mm).round() as usize).clamp(1, most);
    // What whole pixels do not fill is left on both ends alike, so that a picture is the same from either.
    let first = low + (high - low - count as f64 * pixel_mm) / 2.0;
    let place = |pixel: usize| index_at(geometry, axis, first + (pixel as f64 + 0.5) * pixel_mm);
    let mut indices: Vec<f64> = (0..count).map(place).collect();
    let letter = towards(geometry, axis);
    let mut letters = [opposite(letter), letter];
    // Right, front and head come first: on the left or on top.
    if matches!(letter, 'R' | 'A' | 'H') {
        indices.reverse();
        letters.reverse();
    }
    Side { axis, indices, letters }
}

/// The patient's axes, as the coordinates of LPS are counted.
const LEFT_RIGHT: usize = 0;
const FRONT_BACK: usize = 1;
const HEAD_FEET: usize = 2;

/// The patient's axis that each axis of the array follows most. Each is taken once, so that an oblique plane has four
/// different letters; of equals at 45 degrees that is taken under which the slices are axial, or else coronal.
fn patient_axes(geometry: &VolumeGeometry) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[2, 1, 0], [2, 0, 1], [1, 2, 0], [1, 0, 2], [0, 2, 1], [0, 1, 2]];
    let agreement = |order: [usize; 3]| (0..3).map(|axis| direction(geometry, axis)[order[axis]].abs()).sum::<f64>();
    let better = |best, order| if agreement(order) > agreement(best) + 1e-6 { order } else { best };
    ORDERS.into_iter().fold(ORDERS[0], better)
}

fn direction(geometry: &VolumeGeometry, axis: usize) -> [f64; 3] {
    match axis {
        0 => geometry.normal(),
        1 => geometry.column_direction(),
        _ => geometry.row_direction(),
    }
}

/// The patient's direction in which the indices of an axis of the array ascend (PS3.3 C.7.6.1.1.1).
pub fn towards(geometry: &VolumeGeometry, axis: usize) -> char {
    let letters = [['L', 'R'], ['P', 'A'], ['H', 'F']];
    let along = patient_axes(geometry)[axis];
    letters[along][usize::from(direction(geometry, axis)[along] < 0.0)]
}

fn opposite(letter: char) -> char {
    match letter {
        'L' => 'R',
        'R' => 'L',
        'P' => 'A',
        'A' => 'P',
        'H' => 'F',
        _ => 'H',
    }
}

/// Position in mm along an axis of the array; for slices along the normal, whatever their spacing.
fn position_mm(geometry: &VolumeGeometry, axis: usize, index: usize) -> f64 {
    match axis {
        0 => geometry.positions_mm()[index],
        1 => index as f64 * geometry.row_spacing_mm(),
        _ => index as f64 * geometry.column_spacing_mm(),
    }
}

fn extent_mm(geometry: &VolumeGeometry, axis: usize, [first, last]: [usize; 2]) -> [f64; 2] {
    let half = match axis {
        0 => geometry.slice_spacing_mm() / 2.0,
        1 => geometry.row_spacing_mm() / 2.0,
        _ => geometry.column_spacing_mm() / 2.0,
    };
    let end = geometry.shape()[axis] - 1;
    let (lowest, highest) = (position_mm(geometry, axis, 0) - half, position_mm(geometry, axis, end) + half);
    let low = position_mm(geometry, axis, first) - half - MARGIN_MM;
    let high = position_mm(geometry, axis, last) + half + MARGIN_MM;
    [low.max(lowest), high.min(highest)]
}

/// Fractional index at a position in mm.
fn index_at(geometry: &VolumeGeometry, axis: usize, mm: f64) -> f64 {
    let last = (geometry.shape()[axis] - 1) as f64;
    let index = match axis {
        0 => {
            let positions = geometry.positions_mm();
            let above = positions.partition_point(|&position| position <= mm).clamp(1, positions.len().max(2) - 1);
            match positions.get(above) {
                Some(next) => above as f64 - 1.0 + (mm - positions[above - 1]) / (next - positions[above - 1]),
                None => 0.0,
            }
        }
        1 => mm / geometry.row_spacing_mm(),
        _ => mm / geometry.column_spacing_mm(),
    };
    index.clamp(0.0, last)
}

/// What a view is called, for captions: `axial, slice 12 of 120, z = -34.5 mm`.
pub fn caption(geometry: &VolumeGeometry, view: View) -> String {
    let (axis, index) = fixed(view);
    let (plane, position) = plane(geometry, view);
    let what = ["slice", "row", "column"][axis];
    format!("{plane}, {what} {} of {}, {position}", index + 1, geometry.shape()[axis])
}

/// The same inside of the picture, where there is little room.
pub fn place(geometry: &VolumeGeometry, view: View) -> String {
    plane(geometry, view).1
}

/// The name of the plane and where it lies.
fn plane(geometry: &VolumeGeometry, view: View) -> (&'static str, String) {
    let (axis, index) = fixed(view);
    let across = patient_axes(geometry)[axis];
    let mut middle = geometry.shape().map(|length| (length as f64 - 1.0) / 2.0);
    middle[axis] = index as f64;
    // Rounded here, and no zero is negative.
    let mm = (geometry.index_to_patient(middle)[across] * 10.0).round() / 10.0 + 0.0;
    (["sagittal", "coronal", "axial"][across], format!("{} = {mm:.1} mm", ["x", "y", "z"][across]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::output::picture::{Outline, Picture, Scene, Window};
    use crate::structure::Color;
    use crate::volume::{CompactMask, Volume, cross};

    const SIDE: usize = 40;
    const SPACING_MM: f64 = 2.0;

    /// How far the stacks are turned from the axes of the patient: by some degrees, round an axis that is none of theirs.
    fn turned(vector: [f64; 3], degrees: f64) -> [f64; 3] {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let axis = [2.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0];
        let (beside, along) = (cross(axis, vector), (0..3).map(|k| axis[k] * vector[k]).sum::<f64>());
        std::array::from_fn(|k| vector[k] * cos + beside[k] * sin + axis[k] * along * (1.0 - cos))
    }

    /// A stack whose rows and columns run along two of the patient's axes, each with its sign, and one object in it: an
    /// image that is different in each direction, with a structure of three blocks.
    fn stack([row, column]: [(usize, f64); 2], degrees: f64) -> (Volume, CompactMask) {
        let unit = |(axis, sign): (usize, f64)| std::array::from_fn(|k| if k == axis { sign } else { 0.0 });
        let patient: [[f64; 3]; 3] = [cross(unit(row), unit(column)), unit(column), unit(row)];
        // Where the middle of a voxel lies on the patient's axes, before the turn, in voxels from the middle.
        let half = (SIDE as f64 - 1.0) / 2.0;
        let place = |index: [usize; 3]| -> [f64; 3] {
            std::array::from_fn(|k| (0..3).map(|axis| patient[axis][k] * (index[axis] as f64 - half)).sum())
        };
        let middle_mm = [11.0, -7.0, 23.0];
        let origin = |slice: usize| {
            let from_middle = turned(place([slice, 0, 0]), degrees).map(|part| part * SPACING_MM);
            std::array::from_fn(|k| middle_mm[k] + from_middle[k])
        };
        let [_, down, right] = patient.map(|axis| turned(axis, degrees));
        let origins = (0..SIDE).map(origin).collect();
        let geometry = VolumeGeometry::new((SIDE, SIDE), [SPACING_MM; 2], right, down, origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let pixels = Array3::from_shape_fn(geometry.shape(), |(k, j, i)| {
            let [x, y, z] = place([k, j, i]);
            (x * 3.0 + y * 7.0 + z * 11.0) as f32
        });
        // A box without its left front, its upper back and its lower right: no picture of it is symmetrical.
        let voxels = Array3::from_shape_fn(geometry.shape(), |(k, j, i)| {
            let [x, y, z] = place([k, j, i]);
            let within = x.abs() < 11.0 && y.abs() < 8.0 && z.abs() < 13.0;
            within && !(x > 4.0 && y < -3.0) && !(z > 6.0 && y > 2.0) && !(x < -6.0 && z < -9.0)
        });
        (Volume::new(Arc::clone(&geometry), pixels), CompactMask::of(geometry, &voxels))
    }

    /// The pictures of the planes through the middle across each of the patient's axes.
    fn pictures((volume, mask): &(Volume, CompactMask)) -> [Picture; 3] {
        let outlines = [Outline { color: Color([255, 0, 0]), mask }];
        let scene = Scene::new(volume, &outlines);
        let across = patient_axes(&volume.geometry);
        [0, 1, 2].map(|wanted| {
            let axis = across.iter().position(|patient| *patient == wanted).expect("each axis once");
            // The middle lies between two planes; that on the same side of the patient is taken.
            let ascends = matches!(towards(&volume.geometry, axis), 'L' | 'P' | 'H');
            let index = if ascends { SIDE / 2 } else { SIDE / 2 - 1 };
            let view = [View::Slice(index), View::Row(index), View::Column(index)][axis];
            scene.draw(view, Window { center: 0.0, width: 600.0 }, 240)
        })
    }

    /// Every way to lay rows and columns along the axes of the patient.
    fn layouts() -> Vec<[(usize, f64); 2]> {
        let ends = || (0..3).flat_map(|axis| [(axis, 1.0), (axis, -1.0)]);
        ends().flat_map(|row| ends().filter(move |column| column.0 != row.0).map(move |column| [row, column])).collect()
    }

    #[test]
    fn one_object_is_one_picture_however_its_stack_was_acquired() {
        assert_eq!(layouts().len(), 24);
        for degrees in [0.0, 25.0] {
            let axial = pictures(&stack([(0, 1.0), (1, 1.0)], degrees));
            for layout in layouts() {
                for (plane, (found, expected)) in pictures(&stack(layout, degrees)).iter().zip(&axial).enumerate() {
                    let at = format!("{layout:?}, {degrees} degrees, across axis {plane}");
                    assert_eq!((found.width, found.height), (expected.width, expected.height), "{at}");
                    // Half a pixel is rounded to the other side where an axis is shown against its order.
                    let differs = |(a, b): &(&u8, &u8)| a.abs_diff(**b) > 1;
                    let differing = found.pixels.iter().zip(&expected.pixels).filter(differs).count();
                    assert!(differing * 500 < found.pixels.len(), "{at}: {differing} pixels differ");
                }
            }
            // They are told apart: a picture on its side would not pass for the same.
            let [sagittal, coronal, axial] = axial;
            assert!(sagittal.height > sagittal.width && coronal.height > coronal.width && axial.height < axial.width);
        }
    }

    #[test]
    fn letters_and_names_are_those_of_the_patient() {
        let letters = |layout, view| {
            let (volume, _) = stack(layout, 0.0);
            let (sides, _) = sides(&volume.geometry, [[0, SIDE - 1]; 3], view, 100);
            let told: String = sides.iter().flat_map(|side| side.letters).collect();
            format!("{told} {}", caption(&volume.geometry, view))
        };
        // A sagittal stack as scanners lay it out: rows to the back, columns to the feet.
        let sagittal = [(1, 1.0), (2, -1.0)];
        assert_eq!(letters(sagittal, View::Slice(19)), "HFAP sagittal, slice 20 of 40, x = 12.0 mm");
        assert_eq!(letters(sagittal, View::Row(19)), "APRL axial, row 20 of 40, z = 24.0 mm");
        assert_eq!(letters(sagittal, View::Column(19)), "HFRL coronal, column 20 of 40, y = -8.0 mm");
        let coronal = [(0, 1.0), (2, -1.0)];
        assert_eq!(letters(coronal, View::Slice(20)), "HFRL coronal, slice 21 of 40, y = -6.0 mm");
        assert_eq!(letters(coronal, View::Row(20)), "APRL axial, row 21 of 40, z = 22.0 mm");
        assert_eq!(letters(coronal, View::Column(20)), "HFAP sagittal, column 21 of 40, x = 12.0 mm");
    }

    #[test]
    fn a_plane_at_45_degrees_has_four_letters() {
        let half = 0.5_f64.sqrt();
        let (right, down) = ([half, half, 0.0], [-half, half, 0.0]);
        let geometry = VolumeGeometry::new((4, 4), [1.0; 2], right, down, vec![[0.0; 3]]).expect("legal");
        assert_eq!([1, 2].map(|axis| towards(&geometry, axis)), ['P', 'L']);
        // Columns run to the back and to the feet alike, and so do slices: each takes one of the two.
        let tilt = VolumeGeometry::new((4, 4), [1.0; 2], [1.0, 0.0, 0.0], [0.0, half, -half], vec![[0.0; 3]]);
        let tilt = tilt.expect("legal");
        assert_eq!([0, 1, 2].map(|axis| towards(&tilt, axis)), ['H', 'P', 'L']);
    }
}
