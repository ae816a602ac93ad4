//! Slices of a volume with the outlines of structures, as PNG, for people to look at; it writes no files.
//!
//! Pictures follow the radiological convention, however the images were acquired and stored: the patient's right is on
//! the left, the front on top, in sagittal pictures the front on the left, in coronal and sagittal pictures the head on top.
//! Letters at the borders say so, beside the place, the window and a bar of known length. Millimetres are square: pixels
//! are scaled by their spacing.

mod canvas;
mod image;
mod marks;
mod side;

use std::fmt;

use rayon::prelude::*;

pub use canvas::Canvas;
pub use image::{Picture, PictureError};
pub use side::caption;

use marks::At;
use side::{Side, place, sides};

use super::lettering::Face;
use crate::limits::{PICTURE_PLANES_MAX, PICTURES_MAX};
use crate::structure::Color;
use crate::volume::{CompactMask, Volume};

/// A structure to outline.
#[derive(Clone, Copy)]
pub struct Outline<'a> {
    pub color: Color,
    pub mask: &'a CompactMask,
}

/// A plane through the voxels, along the axes of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// One slice of the stack, by its index.
    Slice(usize),
    /// The plane through one row of every slice (coronal where the slices are axial).
    Row(usize),
    /// The plane through one column of every slice (sagittal where the slices are axial).
    Column(usize),
}

/// Values shown from black to white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub center: f32,
    pub width: f32,
}

/// Grey levels of the palette; the rest of its 256 entries is for structures and letters.
const GREYS: usize = 128;
impl Window {
    /// Soft tissue with some of the lungs and of bone: all structures of a CT show their edges in it.
    pub const CT: Window = Window { center: -20.0, width: 760.0 };

    /// The window in which an image is shown.
    pub fn suited(volume: &Volume, is_ct: bool) -> Window {
        if is_ct { Window::CT } else { Window::of(volume) }
    }

    /// From the 1st to the 99.5th percentile of the image, for modalities without a fixed scale.
    pub fn of(volume: &Volume) -> Window {
        let step = (volume.pixels.len() / 50_000).max(1);
        let mut sample: Vec<f32> = volume.pixels.iter().step_by(step).copied().filter(|x| x.is_finite()).collect();
        sample.sort_by(f32::total_cmp);
        let at = |share: f64| sample.get((sample.len() as f64 * share) as usize).or(sample.last()).copied();
        let (low, high) = (at(0.01).unwrap_or(0.0), at(0.995).unwrap_or(1.0));
        Window { center: (low + high) / 2.0, width: (high - low).max(1e-6) }
    }

    /// Values as short as they can be told apart.
    fn number(self, value: f32) -> String {
        if self.width >= 20.0 { format!("{value:.0}") } else { format!("{value:.3}") }
    }

    fn grey(self, value: f32) -> u8 {
        let share = ((value - self.center) / self.width + 0.5).clamp(0.0, 1.0);
        if share.is_nan() { 0 } else { (share * (GREYS - 1) as f32).round() as u8 }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W {} L {}", self.number(self.width), self.number(self.center))
    }
}

/// A volume with its structures, counted once for all pictures.
pub struct Scene<'a> {
    volume: &'a Volume,
    outlines: &'a [Outline<'a>],
    /// For each structure and each axis of the array: how many of its voxels lie in each plane across the axis.
    counts: Vec<[Vec<usize>; 3]>,
}

impl<'a> Scene<'a> {
    /// Counts the voxels of each structure.
    ///
    /// # Panics
    /// When a mask lies on another grid than the volume: that is an error of the calling code.
    pub fn new(volume: &'a Volume, outlines: &'a [Outline<'a>]) -> Scene<'a> {
        let shape = volume.geometry.shape();
        assert!(
            outlines.iter().all(|outline| outline.mask.geometry.shape() == shape),
            "masks lie on the volume's grid"
        );
        Scene { volume, outlines, counts: outlines.par_iter().map(|outline| planes(outline.mask)).collect() }
    }

    /// Draws one view, cut to the structures (to the whole image when there are none); `longest` is the longer side of the
    /// picture in pixels.
    pub fn draw(&self, view: View, window: Window, longest: usize) -> Picture {
        let (sides, pixel_mm) = sides(&self.volume.geometry, self.bounds(), view, longest);
        let [down, across] = sides;
        let (height, width) = (down.indices.len(), across.indices.len());
        let colors: Vec<Color> = self.outlines.iter().map(|outline| outline.color).collect();
        let (palette, index_of) = palette(&colors);
        let mut pixels = Vec::with_capacity(width * height);
        for &v in &down.indices {
            for &u in &across.indices {
                pixels.push(window.grey(interpolate(self.volume, view, [(down.axis, v), (across.axis, u)])));
            }
        }
        let mut picture = Picture { width, height, palette, pixels };
        for (outline, color) in self.outlines.iter().zip(index_of) {
            trace(&mut picture, outline.mask, view, [&down, &across], color);
        }
        self.mark(&mut picture, view, window, [&down, &across], pixel_mm);
        picture
    }

    /// Directions at the middle of each border, place above, window and bar below.
    fn mark(&self, picture: &mut Picture, view: View, window: Window, [down, across]: [&Side; 2], pixel_mm: f64) {
        let (regular, bold) = (Face::regular(), Face::bold());
        let (width, height, letters) = (picture.width as f32, picture.height as f32, picture.letters_px());
        let margin = letters * 0.4;
        let (top, bottom, middle) = (margin + letters * 0.8, height - margin - letters * 0.2, width / 2.0);
        let [above, below, left, right] =
            [down.letters[0], down.letters[1], across.letters[0], across.letters[1]].map(String::from);
        picture.write(&bold, &above, At::Middle, middle, top);
        picture.write(&bold, &below, At::Middle, middle, bottom);
        let level = height / 2.0 + letters * 0.35;
        picture.write(&bold, &left, At::Left, margin, level);
        picture.write(&bold, &right, At::Right, width - margin, level);
        let room = middle - letters * 1.5;
        let (place, shown) = (place(&self.volume.geometry, view), window.to_string());
        for (text, y) in [(place, top), (shown, bottom)] {
            if regular.width(&text, letters) < room {
                picture.write(&regular, &text, At::Left, margin, y);
            }
        }
        picture.bar(&regular, pixel_mm, width - margin, height - margin);
    }

    /// Which structures a view shows, by their index.
    pub fn shows(&self, view: View) -> Vec<usize> {
        let (axis, index) = fixed(view);
        (0..self.counts.len()).filter(|structure| self.counts[*structure][axis][index] > 0).collect()
    }

    /// The views that together show every structure: slices first, in their order, then rows and columns.
    ///
    /// A structure counts as shown in a plane where it has at least half of its largest area. Slices are added until
    /// all are shown and until there are `at_least`, spread over the structures. Of rows and of columns there is at least
    /// one and at most [`PICTURE_PLANES_MAX`]: those that show the most structures.
    pub fn montage(&self, at_least: usize) -> Vec<View> {
        let geometry = &self.volume.geometry;
        let areas = self.shares(0);
        let mut chosen = cover(&areas, geometry.slices(), PICTURES_MAX);
        spread(&mut chosen, &areas, geometry.slices(), at_least.min(PICTURES_MAX));
        chosen.sort_unstable();
        let mut views: Vec<View> = chosen.into_iter().map(View::Slice).collect();
        views.extend(self.planes(1, geometry.rows()).into_iter().map(View::Row));
        views.extend(self.planes(2, geometry.columns()).into_iter().map(View::Column));
        views
    }

    /// Planes across an axis, in their order; the middle one where there is no structure.
    fn planes(&self, axis: usize, count: usize) -> Vec<usize> {
        let mut chosen = cover(&self.shares(axis), count, PICTURE_PLANES_MAX);
        if chosen.is_empty() {
            chosen.push(count / 2);
        }
        chosen.sort_unstable();
        chosen
    }

    /// Area of each structure in each plane across an axis, as a share of its largest; all 0 for an empty mask.
    fn shares(&self, axis: usize) -> Vec<Vec<f64>> {
        let share = |counts: &[Vec<usize>; 3]| {
            let largest = counts[axis].iter().copied().max().unwrap_or(0).max(1) as f64;
            counts[axis].iter().map(|&count| count as f64 / largest).collect()
        };
        self.counts.iter().map(share).collect()
    }

    /// First and last index with any structure, by axis; the whole image when there is none.
    fn bounds(&self) -> [[usize; 2]; 3] {
        let shape = self.volume.geometry.shape();
        std::array::from_fn(|axis| {
            let occupied = |index: &usize| self.counts.iter().any(|counts| counts[axis][*index] > 0);
            let first = (0..shape[axis]).find(occupied);
            let last = (0..shape[axis]).rev().find(occupied);
            first.zip(last).map_or([0, shape[axis] - 1], |(first, last)| [first, last])
        })
    }
}

/// How many voxels lie in each plane across each axis.
fn planes(mask: &CompactMask) -> [Vec<usize>; 3] {
    let mut counts = mask.geometry.shape().map(|length| vec![0; length]);
    let [slices, rows, columns] = mask.extent();
    for slice in slices {
        for row in rows.clone() {
            for column in columns.clone().filter(|column| mask.contains([slice, row, *column])) {
                counts[0][slice] += 1;
                counts[1][row] += 1;
                counts[2][column] += 1;
            }
        }
    }
    counts
}

/// Greys, then the colours of the structures, white last; and the entry of each structure. Equal colours share one; where
/// there are too many the rest is white.
fn palette(colors: &[Color]) -> (Vec<[u8; 3]>, Vec<u8>) {
    let grey = |level: usize| [(level * 255 / (GREYS - 1)) as u8; 3];
    let mut palette: Vec<[u8; 3]> = (0..GREYS).map(grey).collect();
    let mut index_of = Vec::with_capacity(colors.len());
    for color in colors {
        let known = palette[GREYS..].iter().position(|entry| *entry == color.0).map(|place| GREYS + place);
        let index = known.unwrap_or_else(|| {
            if palette.len() < 255 {
                palette.push(color.0);
                palette.len() - 1
            } else {
                255
            }
        });
        index_of.push(index as u8);
    }
    palette.resize(256, [255; 3]);
    (palette, index_of)
}

fn fixed(view: View) -> (usize, usize) {
    match view {
        View::Slice(index) => (0, index),
        View::Row(index) => (1, index),
        View::Column(index) => (2, index),
    }
}

fn voxel(view: View, places: [(usize, usize); 2]) -> [usize; 3] {
    let mut index = [0; 3];
    let (axis, at) = fixed(view);
    index[axis] = at;
    for (axis, at) in places {
        index[axis] = at;
    }
    index
}

fn interpolate(volume: &Volume, view: View, [(a, v), (b, u)]: [(usize, f64); 2]) -> f32 {
    let shape = volume.geometry.shape();
    let (j, i) = (v as usize, u as usize);
    let (t, s) = (v.fract() as f32, u.fract() as f32);
    let value = |down: usize, right: usize| {
        volume
            .pixels
            .get(voxel(view, [(a, down.min(shape[a] - 1)), (b, right.min(shape[b] - 1))]))
            .copied()
            .unwrap_or(f32::NAN)
    };
    let row = |j: usize| value(j, i) * (1.0 - s) + value(j, i + 1) * s;
    row(j) * (1.0 - t) + row(j + 1) * t
}

/// A line is two pixels wide where the longer side has twice so many or more: it is seen at the size of a page.
const LINE_SHARE: usize = 300;

/// Colours the pixels of a mask that have a neighbour outside, as far away as a line is wide.
fn trace(picture: &mut Picture, mask: &CompactMask, view: View, [down, across]: [&Side; 2], color: u8) {
    let nearest = |side: &Side| -> Vec<usize> { side.indices.iter().map(|index| index.round() as usize).collect() };
    let (rows, columns) = (nearest(down), nearest(across));
    let inside = |y: usize, x: usize| match (rows.get(y), columns.get(x)) {
        (Some(&j), Some(&i)) => mask.contains(voxel(view, [(down.axis, j), (across.axis, i)])),
        _ => false,
    };
    let width = (picture.width.max(picture.height) / LINE_SHARE).clamp(1, 2);
    for y in 0..picture.height {
        for x in 0..picture.width {
            let around = [(y.wrapping_sub(width), x), (y + width, x), (y, x.wrapping_sub(width)), (y, x + width)];
            if inside(y, x) && around.iter().any(|&(y, x)| !inside(y, x)) {
                picture.pixels[y * picture.width + x] = color;
            }
        }
    }
}

/// Planes across an axis until each structure is shown in one, at most so many; the planes that show most come first.
fn cover(areas: &[Vec<f64>], planes: usize, most: usize) -> Vec<usize> {
    let mut open: Vec<&Vec<f64>> = areas.iter().filter(|shares| shares.iter().any(|&share| share > 0.0)).collect();
    let mut chosen = Vec::new();
    while !open.is_empty() && chosen.len() < most {
        let worth = |plane: usize| {
            let shown = open.iter().filter(|shares| shares[plane] >= 0.5).count() as f64;
            shown * 1000.0 + open.iter().map(|shares| shares[plane]).sum::<f64>()
        };
        let Some(best) = (0..planes).max_by(|&a, &b| worth(a).total_cmp(&worth(b))) else { break };
        chosen.push(best);
        open.retain(|shares| shares[best] < 0.5);
    }
    chosen
}

/// Adds slices, each as far as can be from those there, within the slices that hold a structure.
fn spread(chosen: &mut Vec<usize>, areas: &[Vec<f64>], slices: usize, at_least: usize) {
    let held: Vec<usize> = (0..slices).filter(|&slice| areas.iter().any(|shares| shares[slice] > 0.0)).collect();
    let within = if held.is_empty() { (0..slices).collect() } else { held };
    let inner = &within[within.len() / 20..within.len() - within.len() / 20];
    while chosen.len() < at_least.min(inner.len()) {
        let far = |slice: usize| chosen.iter().map(|&other| other.abs_diff(slice)).min().unwrap_or(slices);
        let Some(&next) = inner.iter().max_by_key(|&&slice| far(slice)) else { break };
        if chosen.contains(&next) {
            break;
        }
        chosen.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::side::towards;
    use super::*;
    use crate::volume::VolumeGeometry;
    use ndarray::Array3;
    use std::sync::Arc;

    #[test]
    fn every_structure_has_its_own_colour_and_none_that_of_another() {
        let colors: Vec<Color> = (0..140).map(|number| Color([number, 7, 200])).collect();
        let (entries, index_of) = palette(&colors);
        assert_eq!((entries.len(), entries[255]), (256, [255; 3]));
        for (color, index) in colors.iter().zip(&index_of) {
            let shown = entries[usize::from(*index)];
            assert!(shown == color.0 || shown == [255; 3], "{color} {shown:?}");
        }
        assert_eq!(index_of.iter().filter(|index| **index == 255).count(), 140 - 127);
        assert_eq!(palette(&[colors[3], colors[4], colors[3]]).1, [128, 129, 128]);
    }

    fn geometry(row: [f64; 3], column: [f64; 3]) -> Arc<VolumeGeometry> {
        let normal = crate::volume::cross(row, column);
        let origins = (0..10).map(|k| normal.map(|n| n * 5.0 * k as f64)).collect();
        Arc::new(VolumeGeometry::new((40, 50), [2.0, 1.0], row, column, origins).expect("legal"))
    }

    fn block(geometry: &Arc<VolumeGeometry>, low: [usize; 3], high: [usize; 3]) -> CompactMask {
        let inside = |(k, j, i): (usize, usize, usize)| {
            [k, j, i].iter().zip(low.iter().zip(&high)).all(|(at, (low, high))| low <= at && at < high)
        };
        CompactMask::of(Arc::clone(geometry), &Array3::from_shape_fn(geometry.shape(), inside))
    }

    fn flat(geometry: &Arc<VolumeGeometry>) -> Volume {
        Volume::new(Arc::clone(geometry), Array3::zeros(geometry.shape()))
    }

    /// Bounding box of a colour: left, top, right, bottom.
    fn bounding_box(picture: &Picture, color: [u8; 3]) -> [usize; 4] {
        let places = (0..picture.width * picture.height).map(|n| (n % picture.width, n / picture.width));
        let hits: Vec<(usize, usize)> = places.filter(|&(x, y)| picture.rgb(x, y) == color).collect();
        assert!(!hits.is_empty(), "the colour {color:?} is in the picture");
        let xs = || hits.iter().map(|hit| hit.0);
        let ys = || hits.iter().map(|hit| hit.1);
        [xs().min(), ys().min(), xs().max(), ys().max()].map(|value| value.expect("not empty"))
    }

    const RED: Color = Color([255, 0, 0]);

    #[test]
    fn millimetres_are_square_in_every_view() {
        let geometry = geometry([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        // 20 mm in each direction: 4 slices of 5 mm, 10 rows of 2 mm, 20 columns of 1 mm.
        let mask = block(&geometry, [3, 10, 15], [7, 20, 35]);
        let outlines = [Outline { color: RED, mask: &mask }];
        for view in [View::Slice(5), View::Row(15), View::Column(20)] {
            let [left, top, right, bottom] =
                bounding_box(&Scene::new(&flat(&geometry), &outlines).draw(view, Window::CT, 480), RED.0);
            let (width, height) = (right - left + 1, bottom - top + 1);
            assert!(width.abs_diff(height) <= 2, "{view:?}: {width} x {height}");
        }
    }

    #[test]
    fn right_is_on_the_left_and_front_on_top_however_images_are_stored() {
        let stored = [
            ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            ([-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]),
            ([-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        ];
        for (row, column) in stored {
            let geometry = geometry(row, column);
            let everything = block(&geometry, [0, 0, 0], [10, 40, 50]);
            // A corner towards the patient's right front head.
            let corner = |axis: usize, length: usize| {
                let wanted = matches!(towards(&geometry, axis), 'R' | 'A' | 'H');
                if wanted { (length * 3 / 5, length) } else { (0, length * 2 / 5) }
            };
            let bounds = [corner(0, 10), corner(1, 40), corner(2, 50)];
            let mask = block(&geometry, bounds.map(|b| b.0), bounds.map(|b| b.1));
            let blue = Color([0, 0, 255]);
            let outlines = [Outline { color: blue, mask: &everything }, Outline { color: RED, mask: &mask }];
            let middle = bounds.map(|(low, high)| (low + high) / 2);
            for view in [View::Slice(middle[0]), View::Row(middle[1]), View::Column(middle[2])] {
                let picture = Scene::new(&flat(&geometry), &outlines).draw(view, Window::CT, 480);
                let [left, top, ..] = bounding_box(&picture, RED.0);
                assert!(left <= 1 && top <= 1, "{row:?} {column:?} {view:?}: corner at {left}, {top}");
            }
        }
    }

    #[test]
    fn a_montage_shows_every_structure() {
        let geometry = geometry([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        let masks = [
            block(&geometry, [0, 5, 5], [1, 9, 9]),
            block(&geometry, [8, 5, 5], [10, 9, 9]),
            crate::volume::Mask::empty(Arc::clone(&geometry)).into(),
        ];
        let outlines: Vec<Outline<'_>> = masks.iter().map(|mask| Outline { color: RED, mask }).collect();
        let views = Scene::new(&flat(&geometry), &outlines).montage(2);
        assert!(views.contains(&View::Slice(0)), "{views:?}");
        assert!(views.iter().any(|view| matches!(view, View::Slice(8 | 9))), "{views:?}");
        assert_eq!(Scene::new(&flat(&geometry), &[]).montage(3).len(), 5);
    }

    #[test]
    fn survives_a_single_slice_and_values_that_are_no_numbers() {
        let geometry = Arc::new(
            VolumeGeometry::new((3, 4), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], vec![[0.0; 3]]).expect("legal"),
        );
        let volume = Volume::new(Arc::clone(&geometry), Array3::from_elem(geometry.shape(), f32::NAN));
        let png = Scene::new(&volume, &[]).draw(View::Slice(0), Window::of(&volume), 480).png().expect("encodes");
        assert_eq!(&png[1..4], b"PNG");
        Scene::new(&volume, &[]).draw(View::Row(1), Window::CT, 480);
        assert_eq!(caption(&geometry, View::Slice(0)), "coronal, slice 1 of 1, y = 0.0 mm");
    }
}
