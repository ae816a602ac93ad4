//! Random label maps to files and back: islands in holes in islands, walls of one pixel, diagonals, noise, borders.

use std::sync::Arc;

use contourd::contour::{Contour, Holes, rasterise, rasterise_xor};
use contourd::output::rtstruct::ParsedRoi;
use contourd::volume::{Mask, VolumeGeometry};
use ndarray::{Array2, Array3};

use crate::job::{Job, parsed};
use crate::series::Recipe;

/// One slice of a label map.
type Picture = Array2<bool>;

/// Frames in frames, each a wall of one pixel or a few with a gap as wide: as deep as the picture allows.
fn frames(random: &mut fastrand::Rng, (rows, columns): (usize, usize)) -> Picture {
    let mut picture = Picture::from_elem((rows, columns), false);
    let (mut low, mut inside) = (random.usize(0..2), true);
    while low * 2 < rows.min(columns) {
        for row in low..rows - low {
            for column in low..columns - low {
                picture[[row, column]] = inside;
            }
        }
        low += random.usize(1..3);
        inside = !inside;
    }
    picture
}

fn noise(random: &mut fastrand::Rng, size: (usize, usize)) -> Picture {
    let share = random.f64();
    Picture::from_shape_fn(size, |_| random.f64() < share)
}

/// Lines of one pixel along diagonals, which touch at corners alone.
fn diagonals(random: &mut fastrand::Rng, size: (usize, usize)) -> Picture {
    let (step, phase) = (random.usize(2..6), random.usize(0..6));
    Picture::from_shape_fn(size, |(row, column)| {
        (row + column + phase) % step == 0 || (row + 2 * phase) % 7 == column % 7
    })
}

/// Walls of one pixel with doors: a maze.
fn walls(random: &mut fastrand::Rng, size: (usize, usize)) -> Picture {
    Picture::from_shape_fn(size, |(row, column)| (row % 2 == 0 || column % 2 == 0) && random.u8(0..8) > 0)
}

/// Discs in discs, drawn and cut out in turn.
fn discs(random: &mut fastrand::Rng, (rows, columns): (usize, usize)) -> Picture {
    let mut picture = Picture::from_elem((rows, columns), false);
    for k in 0..random.usize(2..14) {
        let (y, x) = (random.f64() * rows as f64, random.f64() * columns as f64);
        let radius = random.f64() * rows as f64 / 3.0;
        for ((row, column), inside) in picture.indexed_iter_mut() {
            if (row as f64 - y).hypot(column as f64 - x) < radius {
                *inside = k % 2 == 0;
            }
        }
    }
    picture
}

fn geometry_and_series(oblique: bool) -> Recipe {
    let positions = vec![0.0, 2.5, 5.5, 8.0, 12.0, 13.0];
    let mut recipe = Recipe::axial("nesting", [6, 27, 31], ["1.25", "0.9765625"], positions);
    if oblique {
        let (sin, cos) = 0.3_f64.sin_cos();
        recipe.orientation = [cos, sin, 0.0, -sin * 0.8, cos * 0.8, 0.6];
    }
    recipe
}

fn mask_of(random: &mut fastrand::Rng, geometry: &Arc<VolumeGeometry>) -> Mask {
    let [slices, rows, columns] = geometry.shape();
    let kinds = [frames, noise, diagonals, walls, discs];
    let mut voxels = Array3::from_elem((slices, rows, columns), false);
    // Some slices stay empty, and a structure may have one slice only.
    for slice in (0..slices).filter(|_| random.u8(0..4) > 0).collect::<Vec<_>>() {
        let picture = kinds[random.usize(0..kinds.len())](random, (rows, columns));
        voxels.index_axis_mut(ndarray::Axis(0), slice).assign(&picture);
    }
    Mask::new(Arc::clone(geometry), voxels)
}

fn contours(roi: &ParsedRoi, geometry: &Arc<VolumeGeometry>) -> Vec<Contour> {
    let (contours, off) = roi.contours_on(geometry, 0.005);
    assert_eq!(off, 0);
    contours
}

#[test]
fn any_label_map_comes_back_from_the_file_in_both_ways() {
    let mut random = fastrand::Rng::with_seed(263);
    for round in 0..6 {
        let recipe = geometry_and_series(round % 2 == 1);
        let geometry = recipe.geometry();
        let masks: Vec<(&'static str, Mask)> = ["A", "B", "C", "D", "E", "F", "G", "H"]
            .into_iter()
            .map(|name| (name, mask_of(&mut random, &geometry)))
            .filter(|(_, mask)| mask.count() > 0)
            .collect();
        for holes in [Holes::Keyhole, Holes::Xor] {
            let job = Job::of("nesting", recipe.instances(), Arc::clone(&geometry), masks.clone()).with_holes(holes);
            let set = parsed(&job.encoded());
            for ((found, meant), (name, mask)) in set.rois.iter().zip(&job.rois).zip(&job.masks) {
                let told = format!("round {round}, {holes:?}, {name}");
                let contours = contours(found, &geometry);
                let back = match meant.holes {
                    Holes::Keyhole => rasterise(&contours, &geometry),
                    Holes::Xor => rasterise_xor(&contours, &geometry),
                };
                assert!(back.voxels == mask.voxels, "{told}");
                // The reader of structures that come with the images takes both. It draws on planes of its own where
                // a structure leaves out slices, so it is asked about whole stacks only.
                let whole = mask.voxels.outer_iter().all(|slice| slice.iter().any(|inside| *inside));
                if whole {
                    assert!(found.mask_on(&geometry).expect("a mask").voxels == mask.voxels, "{told}: mask_on");
                }
                assert!(contours.iter().all(|contour| contour.points.len() >= 4), "{told}: a contour of three points");
            }
        }
    }
}

#[test]
fn what_was_written_and_read_is_written_the_same_again() {
    let mut random = fastrand::Rng::with_seed(7);
    for oblique in [false, true] {
        for holes in [Holes::Keyhole, Holes::Xor] {
            let recipe = geometry_and_series(oblique);
            let geometry = recipe.geometry();
            let masks = vec![("A", mask_of(&mut random, &geometry)), ("B", mask_of(&mut random, &geometry))];
            let first = Job::of("again", recipe.instances(), Arc::clone(&geometry), masks).with_holes(holes);
            let bytes = first.encoded();
            let set = parsed(&bytes);
            let mut second = Job::of("again", recipe.instances(), Arc::clone(&geometry), first.masks.clone());
            for ((roi, found), meant) in second.rois.iter_mut().zip(&set.rois).zip(&first.rois) {
                (roi.contours, roi.holes) = (contours(found, &geometry), meant.holes);
            }
            assert!(second.encoded() == bytes, "oblique {oblique}, {holes:?}");
        }
    }
}

/// The rule for what is thin, as `contour` states it.
#[test]
fn single_pixels_thin_walls_and_single_slices_have_sound_contours() {
    let recipe = geometry_and_series(false);
    let geometry = recipe.geometry();
    let make = |inside: fn(usize, usize, usize) -> bool| {
        Mask::new(Arc::clone(&geometry), Array3::from_shape_fn((6, 27, 31), |(s, r, c)| inside(s, r, c)))
    };
    let cases: [(&'static str, Mask, usize, usize); 4] = [
        ("Pixel", make(|s, r, c| (s, r, c) == (2, 5, 6)), 1, 4),
        ("Corner", make(|s, r, c| (s, r, c) == (0, 0, 0)), 1, 4),
        ("Line", make(|s, r, c| s == 5 && r == 26 && c > 3), 1, 6),
        ("Diagonal", make(|s, r, c| s == 1 && r == c), 27, 4),
    ];
    for (name, mask, contours, points) in cases {
        let job = Job::of("thin", recipe.instances(), Arc::clone(&geometry), vec![(name, mask)]);
        let set = parsed(&job.encoded());
        assert_eq!(set.rois[0].contours.len(), contours, "{name}");
        assert!(set.rois[0].contours.iter().all(|contour| contour.points.len() == points), "{name}");
    }
}
