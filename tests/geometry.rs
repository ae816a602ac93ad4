//! Masks to contours to masks: exact on any mask and any stack, and the same polygons in the patient.

use std::sync::Arc;
use std::time::Instant;

use contourd::contour::{Contour, rasterise, rasterise_xor, simplify, trace, trace_level};
use contourd::volume::{Mask, Volume, VolumeGeometry, dot};
use ndarray::Array3;

/// An axial stack, and an oblique, sheared, uneven one with non-square pixels; both of one shape.
fn geometries(shape: [usize; 3]) -> [Arc<VolumeGeometry>; 3] {
    let [slices, rows, columns] = shape;
    let stack = |gap: fn(f64) -> f64, lean: f64| -> Vec<[f64; 3]> {
        (0..slices).map(|k| gap(k as f64)).map(|z| [-200.25 + lean * z, -180.5 - lean * z, -512.375 + z]).collect()
    };
    let make = |spacing, across, down, origins| {
        Arc::new(VolumeGeometry::new((rows, columns), spacing, across, down, origins).expect("a legal geometry"))
    };
    let (sin, cos) = 0.41_f64.sin_cos();
    [
        make([1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], stack(|k| 3.0 * k, 0.0)),
        make([1.25, 0.9765625], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], stack(|k| 2.5 * k + 0.3 * (k * 7.0).sin(), 0.0)),
        make([0.7, 1.9], [cos, sin, 0.0], [-sin * 0.8, cos * 0.8, 0.6], stack(|k| 2.5 * k + k * k / 8.0, 0.1)),
    ]
}

fn mask(geometry: &Arc<VolumeGeometry>, inside: impl Fn(usize, usize, usize) -> bool) -> Mask {
    let voxels = Array3::from_shape_fn(geometry.shape(), |(slice, row, column)| inside(slice, row, column));
    Mask::new(Arc::clone(geometry), voxels)
}

/// Traces, checks every contour by itself, and expects the same mask from readers of both kinds.
fn check(name: &str, mask: &Mask) -> Vec<Contour> {
    let contours = trace(mask);
    for contour in &contours {
        check_contour(name, &mask.geometry, contour);
    }
    let exact = |found: Mask| {
        let wrong = found.voxels.iter().zip(&mask.voxels).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{name}: voxels that differ, of {}", mask.count());
    };
    exact(rasterise(&contours, &mask.geometry));
    // Islands lie in holes, never in contours: counting and uniting are the same.
    exact(rasterise_xor(&contours, &mask.geometry));
    contours
}

fn check_contour(name: &str, geometry: &VolumeGeometry, contour: &Contour) {
    let points = &contour.points;
    assert!(points.len() >= 3, "{name}: a contour of {} points", points.len());
    let origin = geometry.slice_origins()[contour.slice];
    let mut area = [0.0; 3];
    for (k, &a) in points.iter().enumerate() {
        let b = points[(k + 1) % points.len()];
        assert_ne!(a, b, "{name}: a repeated point");
        let offset: [f64; 3] = std::array::from_fn(|i| a[i] - origin[i]);
        assert!(dot(offset, geometry.normal()).abs() < 1e-9, "{name}: a point off the plane of its slice");
        let other: [f64; 3] = std::array::from_fn(|i| b[i] - origin[i]);
        let product = contourd::volume::cross(offset, other);
        area = std::array::from_fn(|i| area[i] + product[i] / 2.0);
    }
    assert!(dot(area, geometry.normal()) > 0.0, "{name}: a contour that runs against the normal");
}

#[test]
fn random_masks_come_back_exactly() {
    let mut random = fastrand::Rng::with_seed(20260101);
    for round in 0..120 {
        let shape = [random.usize(1..4), random.usize(1..24), random.usize(1..24)];
        let density = random.f64();
        let bits = Array3::from_shape_simple_fn(shape, || random.f64() < density);
        for (g, geometry) in geometries(shape).iter().enumerate() {
            let mask = Mask::new(Arc::clone(geometry), bits.clone());
            check(&format!("round {round}, geometry {g}, density {density:.2}"), &mask);
        }
    }
}

#[test]
fn difficult_masks_come_back_exactly() {
    for geometry in geometries([2, 17, 19]) {
        let ring = |row: usize, column: usize| row.min(column).min(16 - row).min(18 - column);
        check("empty", &mask(&geometry, |_, _, _| false));
        check("full", &mask(&geometry, |_, _, _| true));
        check("checkerboard", &mask(&geometry, |s, r, c| (s + r + c) % 2 == 0));
        check("lattice of holes", &mask(&geometry, |s, r, c| (r + s) % 2 == 0 || c % 2 == 0));
        check("diagonal holes", &mask(&geometry, |_, r, c| (r * 7 + c * 3) % 10 != 0));
        check("rows", &mask(&geometry, |s, r, _| (r + s) % 2 == 0));
        check("comb open to the left", &mask(&geometry, |_, r, c| r % 2 == 0 || c == 18));
        check("spiral hole", &mask(&geometry, |_, r, c| ring(r, c) != 3 || (r, c) == (3, 4)));
        check("corner pixels", &mask(&geometry, |_, r, c| [0, 16].contains(&r) && [0, 18].contains(&c)));
    }
}

#[test]
fn nested_rings_are_keyholes_with_islands_at_any_depth() {
    let geometry = &geometries([1, 33, 33])[1];
    let ring = |row: usize, column: usize| row.min(column).min(32 - row).min(32 - column);
    let contours = check("rings", &mask(geometry, |_, r, c| ring(r, c) % 2 == 0));
    // Rings 0, 2 .. 14 with one hole each, and the single pixel in the middle.
    assert_eq!(contours.len(), 9);
    let points: Vec<usize> = contours.iter().map(|contour| contour.points.len()).collect();
    // Two octagons and the four ends of the bridge; the pixel is a diamond.
    assert_eq!(points, [20, 20, 20, 20, 20, 20, 20, 20, 4]);
}

#[test]
fn pixels_that_touch_at_corners_are_apart_and_holes_that_touch_are_one() {
    let geometry = &geometries([1, 6, 6])[0];
    assert_eq!(check("two pixels", &mask(geometry, |_, r, c| [(2, 2), (3, 3)].contains(&(r, c)))).len(), 2);
    let holes = check("two holes", &mask(geometry, |_, r, c| ![(2, 2), (3, 3)].contains(&(r, c))));
    assert_eq!(holes.len(), 1);
    // The octagon outside, one hole (a slanted rectangle), and the four ends of one bridge.
    assert_eq!(holes[0].points.len(), 8 + 4 + 4);
}

#[test]
fn a_single_pixel_is_a_diamond_around_its_centre() {
    let geometry = &geometries([1, 4, 5])[1];
    let contours = check("pixel", &mask(geometry, |_, r, c| (r, c) == (2, 3)));
    let centre = geometry.index_to_patient([0.0, 2.0, 3.0]);
    let (across, down) = (0.9765625 / 2.0, 1.25 / 2.0);
    let diamond = [[0.0, down, 0.0], [-across, 0.0, 0.0], [0.0, -down, 0.0], [across, 0.0, 0.0]];
    assert_eq!(contours[0].points.len(), 4);
    for corner in diamond {
        let at = |point: &&[f64; 3]| (0..3).all(|k| (point[k] - centre[k] - corner[k]).abs() < 1e-12);
        assert_eq!(contours[0].points.iter().filter(at).count(), 1, "{corner:?}");
    }
}

#[test]
fn a_level_comes_back_as_the_voxels_at_or_above_it() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..60 {
        let shape = [2, random.usize(1..20), random.usize(1..20)];
        let steps = random.f32() * 8.0 + 1.0;
        let mut pixels = Array3::from_shape_simple_fn(shape, || (random.f32() * steps).floor() / steps);
        if round % 3 == 0 {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let at = [random.usize(0..2), random.usize(0..shape[1]), random.usize(0..shape[2])];
                pixels[at] = value;
            }
        }
        for geometry in geometries(shape) {
            let volume = Volume::new(Arc::clone(&geometry), pixels.clone());
            let contours = trace_level(&volume, 0.5);
            contours.iter().for_each(|contour| check_contour("level", &geometry, contour));
            let found = rasterise(&contours, &geometry);
            let wrong = found.voxels.iter().zip(&pixels).filter(|(found, value)| **found != (**value >= 0.5)).count();
            assert_eq!(wrong, 0, "round {round}");
        }
    }
}

#[test]
fn a_level_of_a_smooth_image_lies_on_its_true_surface() {
    let geometry = &geometries([1, 40, 40])[1];
    let centre = geometry.index_to_patient([0.0, 19.3, 20.6]);
    let distance = |point: [f64; 3]| {
        let d: [f64; 3] = std::array::from_fn(|k| point[k] - centre[k]);
        dot(d, d).sqrt()
    };
    let pixels = Array3::from_shape_fn(geometry.shape(), |(s, r, c)| {
        (12.0 - distance(geometry.index_to_patient([s as f64, r as f64, c as f64]))) as f32
    });
    let contours = trace_level(&Volume::new(Arc::clone(geometry), pixels), 0.0);
    assert_eq!(contours.len(), 1);
    let worst = contours[0].points.iter().map(|&point| (distance(point) - 12.0).abs()).fold(0.0, f64::max);
    assert!(worst < 0.025, "vertices up to {worst} mm from a circle of 12 mm");
}

#[test]
fn simplifying_within_a_third_of_a_pixel_changes_no_voxel() {
    let mut random = fastrand::Rng::with_seed(99);
    for geometry in geometries([2, 48, 52]) {
        let third = geometry.row_spacing_mm().min(geometry.column_spacing_mm()) / 3.0;
        let discs: Vec<[f64; 3]> =
            (0..9).map(|_| [random.f64() * 48.0, random.f64() * 52.0, random.f64() * 12.0]).collect();
        let mask = mask(&geometry, |_, r, c| {
            let inside = |d: &&[f64; 3]| (r as f64 - d[0]).hypot(c as f64 - d[1]) < d[2];
            discs.iter().filter(inside).count() % 2 == 1
        });
        let contours = check("discs", &mask);
        for tolerance_mm in [0.0, third / 2.0, third] {
            let fewer =
                |contour: &Contour| Contour { slice: contour.slice, points: simplify(&contour.points, tolerance_mm) };
            let simpler: Vec<Contour> = contours.iter().map(fewer).collect();
            let count = |contours: &[Contour]| contours.iter().map(|contour| contour.points.len()).sum::<usize>();
            if tolerance_mm == third {
                assert!(count(&simpler) < count(&contours), "{} of {}", count(&simpler), count(&contours));
            }
            let found = rasterise(&simpler, &geometry);
            assert!(found.voxels == mask.voxels, "at {tolerance_mm} mm of {third} mm");
        }
    }
}

#[test]
fn rasterising_bounds_foreign_contours() {
    let geometry = &geometries([1, 4, 4])[0];
    let [x, y, z] = geometry.slice_origins()[0];
    let square = |side: f64| {
        vec![[x - side, y - side, z], [x + side, y - side, z], [x + side, y + side, z], [x - side, y + side, z]]
    };
    let contour = |slice, points| Contour { slice, points };
    assert_eq!(rasterise(&[contour(0, square(1e12))], geometry).count(), 16);
    for empty in
        [contour(5, square(9.0)), contour(0, vec![[x, y, z]; 2]), contour(0, square(f64::NAN)), contour(0, vec![])]
    {
        assert_eq!(rasterise(&[empty], geometry).count(), 0);
    }
}

#[test]
fn compares_cut_corners_with_the_pixel_outline() {
    let mut random = fastrand::Rng::with_seed(3);
    let (mut cut, mut outline) = (Figures::default(), Figures::default());
    for _ in 0..400 {
        let radius = 2.0 + random.f64() * 58.0;
        let side = (2.0 * radius) as usize + 6;
        let geometry = VolumeGeometry::new((side, side), [1.0; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], vec![[0.0; 3]]);
        let geometry = Arc::new(geometry.expect("a legal geometry"));
        let centre = [radius + 2.0 + random.f64(), radius + 2.0 + random.f64()];
        let mask = mask(&geometry, |_, r, c| (r as f64 - centre[1]).hypot(c as f64 - centre[0]) < radius);
        let contours = trace(&mask);
        cut.add(&contours[0].points, centre, radius);
        outline.add(&pixel_outline(&contours[0].points), centre, radius);
    }
    println!("cut corners: {cut:?}\npixel outline: {outline:?}");
    assert!(cut.square_distance / cut.length < 0.6 * outline.square_distance / outline.length);
    assert!((cut.length / cut.true_length - 1.055).abs() < 0.01, "length {}", cut.length / cut.true_length);
    assert!((outline.length / outline.true_length - 1.273).abs() < 0.01);
    assert!(cut.points < outline.points);
}

/// Sums over many contours against true circles.
#[derive(Debug, Default)]
struct Figures {
    points: usize,
    length: f64,
    true_length: f64,
    square_distance: f64,
}

impl Figures {
    fn add(&mut self, points: &[[f64; 3]], centre: [f64; 2], radius: f64) {
        self.points += points.len();
        self.true_length += std::f64::consts::TAU * radius;
        for (k, a) in points.iter().enumerate() {
            let b = points[(k + 1) % points.len()];
            let length = (b[0] - a[0]).hypot(b[1] - a[1]);
            self.length += length;
            for step in 0..16 {
                let t = (f64::from(step) + 0.5) / 16.0;
                let p = [a[0] + (b[0] - a[0]) * t - centre[0], a[1] + (b[1] - a[1]) * t - centre[1]];
                self.square_distance += (p[0].hypot(p[1]) - radius).powi(2) * length / 16.0;
            }
        }
    }
}

/// The outline of the pixels from the contour with cut corners: every slanted piece, which spans half a pixel each way
/// or many times that, becomes steps at the corner that lies on half-integer indices.
fn pixel_outline(points: &[[f64; 3]]) -> Vec<[f64; 3]> {
    let mut steps: Vec<[f64; 3]> = Vec::new();
    for (k, &a) in points.iter().enumerate() {
        let b = points[(k + 1) % points.len()];
        let halves = ((b[0] - a[0]).abs() * 2.0).round() as usize;
        if a[0] == b[0] || a[1] == b[1] {
            continue;
        }
        let at = |i: usize| -> [f64; 3] { std::array::from_fn(|d| a[d] + (b[d] - a[d]) * i as f64 / halves as f64) };
        for i in 0..halves {
            let (from, to) = (at(i), at(i + 1));
            let corner = |x: f64, y: f64| (x.fract().abs() == 0.5 && y.fract().abs() == 0.5).then_some([x, y, 0.0]);
            steps.extend(corner(from[0], to[1]).or(corner(to[0], from[1])));
        }
    }
    steps
}

#[test]
fn traces_a_body_of_200_slices_quickly() {
    let origins = (0..200).map(|k| [-250.0, -250.0, 3.0 * f64::from(k)]).collect();
    let geometry = VolumeGeometry::new((512, 512), [0.98; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    let geometry = Arc::new(geometry.expect("a legal geometry"));
    let body = mask(&geometry, |_, r, c| ((r as f64 - 256.0) / 130.0).hypot((c as f64 - 256.0) / 200.0) < 1.0);
    let start = Instant::now();
    let contours = trace(&body);
    let traced = start.elapsed();
    let back = rasterise(&contours, &geometry);
    println!("traced in {traced:?}, rasterised in {:?}", start.elapsed() - traced);
    assert_eq!(contours.len(), 200);
    assert!(back.voxels == body.voxels);
    // Far above what it takes (DESIGN: well under half a second), so that a busy machine does not fail the test.
    assert!(traced.as_secs_f64() < 5.0, "{traced:?}");
}
