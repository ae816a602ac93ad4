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
pub fn sides(geometry: &VolumeGeometry, bounds: [[usize; 2]; 3], view: View, longest_px: usize) -> ([Side; 2], f64) {
    let axes = match view {
        View::Slice(_) => [1, 2],
        View::Row(_) => [0, 2],
        View::Column(_) => [0, 1],
    };
    let extents = axes.map(|axis| extent_mm(geometry, axis, bounds[axis]));
    let longest = extents.iter().map(|[low, high]| high - low).fold(1e-3, f64::max);
    let pixel_mm = longest / longest_px as f64;
    ([0, 1].map(|k| side(geometry, axes[k], extents[k], pixel_mm, longest_px)), pixel_mm)
}

fn side(geometry: &VolumeGeometry, axis: usize, [low, high]: [f64; 2], pixel_mm: f64, most: usize) -> Side {
    let count = (((high - low) / pixel_mm).round() as usize).clamp(1, most);
    let place = |pixel: usize| index_at(geometry, axis, low + (pixel as f64 + 0.5) * pixel_mm);
    let mut indices: Vec<f64> = (0..count).map(place).collect();
    let letter = direction_letter(direction(geometry, axis));
    let mut letters = [opposite(letter), letter];
    // Right, front and head come first: on the left or on top.
    if matches!(letter, 'R' | 'A' | 'H') {
        indices.reverse();
        letters.reverse();
    }
    Side { axis, indices, letters }
}

pub fn direction(geometry: &VolumeGeometry, axis: usize) -> [f64; 3] {
    match axis {
        0 => geometry.normal(),
        1 => geometry.column_direction(),
        _ => geometry.row_direction(),
    }
}

/// The patient direction that a vector points to most (PS3.3 C.7.6.1.1.1).
pub fn direction_letter(vector: [f64; 3]) -> char {
    let letters = [['L', 'R'], ['P', 'A'], ['H', 'F']];
    let largest = (0..3).max_by(|&a, &b| vector[a].abs().total_cmp(&vector[b].abs())).unwrap_or(0);
    letters[largest][usize::from(vector[largest] < 0.0)]
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
    let plane = match direction_letter(direction(geometry, axis)) {
        'H' | 'F' => "axial",
        'A' | 'P' => "coronal",
        _ => "sagittal",
    };
    let mut middle = geometry.shape().map(|length| (length as f64 - 1.0) / 2.0);
    middle[axis] = index as f64;
    let point = geometry.index_to_patient(middle);
    let (name, mm) = match plane {
        "axial" => ("z", point[2]),
        "coronal" => ("y", point[1]),
        _ => ("x", point[0]),
    };
    (plane, format!("{name} = {mm:.1} mm"))
}
