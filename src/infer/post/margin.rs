//! A margin of its own width to each side of the patient: an ellipsoid that is added or taken away.

use std::ops::Range;

use ndarray::{Array3, Zip};

use super::distance::{Extent, extent_of, widened};
use super::element::{Span, reached};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::volume::{VolumeGeometry, dot};

pub(super) const ENTRY: Operation = Operation {
    name: "margin",
    doc: "Moves the surface by `margin_mm`, outwards where it is positive and inwards where it is negative: adds every voxel of an ellipsoid around each voxel of the mask whose semi-axes are the margins of the sides, then removes those within the ellipsoid of the negative ones of the outside. What reaches past the border of the image is lost; where the image cuts the mask nothing is removed.",
    source: "Stroom and Storchi, Phys. Med. Biol. 42, 1997 (ellipsoidal margins); sides in patient coordinates of PS3.3 C.7.6.2.1.1",
    parameters: &[Parameter {
        name: "margin_mm",
        doc: "Margins in directions of the patient, whatever the position of the patient and the order of slices. Images that are turned by less than 10 degrees count as straight; in others a side of 0 reaches half a voxel. Slices count by their positions.",
        unit: "mm",
        kind: Kind::Sides { low: -100.0, high: 100.0 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let sides = arguments.sides("margin_mm");
        if sides.iter().any(|mm| *mm > 0.0) {
            *mask = grown(mask, sides.map(|mm| mm.max(0.0)), context.geometry);
        }
        if sides.iter().any(|mm| *mm < 0.0) {
            shrink(mask, sides.map(|mm| (-mm).max(0.0)), context.geometry);
        }
    },
};

/// Largest angle in degrees between an axis of the image and one of the patient that counts as none.
const STRAIGHT_DEGREES: f64 = 10.0;

/// Semi-axes that are 0 count as this in straight images: far below a voxel, far above rounding.
const LEAST_MM: f64 = 1e-3;

/// An ellipsoid, each of its eight parts with the semi-axes of its own sides.
struct Ellipsoid<'a> {
    geometry: &'a VolumeGeometry,
    /// The directions of +x, +y and +z that the sides are measured along.
    axes: [[f64; 3]; 3],
    /// For each axis the semi-axis towards its positive and its negative end.
    semi: [[f64; 2]; 3],
    straight: bool,
}

impl<'a> Ellipsoid<'a> {
    /// `sides` are left, right, anterior, posterior, superior, inferior, none of them negative.
    fn new(sides: [f64; 6], geometry: &'a VolumeGeometry) -> Ellipsoid<'a> {
        let image = [geometry.row_direction(), geometry.column_direction(), geometry.normal()];
        let nearest = |axis: usize| image.iter().find(|to| to[axis].abs() >= STRAIGHT_DEGREES.to_radians().cos());
        let mut axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let mut straight = true;
        for axis in 0..3 {
            match nearest(axis) {
                Some(to) => axes[axis] = to.map(|x| x * to[axis].signum()),
                None => straight = false,
            }
        }
        let lean = geometry.slice_origins().windows(2).map(|pair| {
            let step: [f64; 3] = std::array::from_fn(|axis| pair[1][axis] - pair[0][axis]);
            dot(step, step) - dot(step, geometry.normal()).powi(2)
        });
        straight &= lean.fold(0.0, f64::max) < 1e-6;
        if !straight {
            axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        }
        let voxel = geometry.row_spacing_mm().min(geometry.column_spacing_mm());
        let least = if straight { LEAST_MM } else { 0.5 * voxel };
        let [left, right, anterior, posterior, superior, inferior] = sides.map(|mm| mm.max(least));
        Ellipsoid { geometry, axes, semi: [[left, right], [posterior, anterior], [superior, inferior]], straight }
    }

    fn turned_inside_out(mut self) -> Ellipsoid<'a> {
        self.semi.iter_mut().for_each(|ends| ends.reverse());
        self
    }

    /// The longest semi-axis.
    fn longest_mm(&self) -> f64 {
        self.semi.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// How many times the ellipsoid must be enlarged for its surface to pass through a vector, squared.
    fn gauge(&self, vector: [f64; 3]) -> f64 {
        let along = |axis: usize| {
            let mm = dot(vector, self.axes[axis]);
            (mm / self.semi[axis][usize::from(mm < 0.0)]).powi(2)
        };
        along(0) + along(1) + along(2)
    }

    /// The slices that may be within reach of a slice, and the rows. A hair more than the longest semi-axis.
    fn reach(&self, slice: usize) -> (Range<usize>, i64) {
        let p = self.geometry.positions_mm();
        let longest = self.longest_mm() * (1.0 + 1e-6);
        let first = p.partition_point(|position| *position < p[slice] - longest);
        let end = p.partition_point(|position| *position <= p[slice] + longest);
        let lean = (first..end)
            .map(|from| dot(self.between(from, slice), self.geometry.column_direction()).abs())
            .fold(0.0, f64::max);
        (first..end, ((longest + lean) / self.geometry.row_spacing_mm()).floor() as i64)
    }

    /// From the first voxel of one slice to that of another.
    fn between(&self, from: usize, to: usize) -> [f64; 3] {
        let origins = self.geometry.slice_origins();
        std::array::from_fn(|axis| origins[to][axis] - origins[from][axis])
    }

    /// What it covers in a row. The gauge is convex along the row: its lowest point lies between falling and rising,
    /// and to each side of that one step leaves the ellipsoid.
    fn span(&self, from: usize, to: usize, rows: i64) -> Span {
        let base = self.between(from, to);
        let (down, right) = (self.geometry.column_direction(), self.geometry.row_direction());
        let (dy, dx) = (rows as f64 * self.geometry.row_spacing_mm(), self.geometry.column_spacing_mm());
        let at = |columns: i64| {
            let vector = |axis: usize| base[axis] + down[axis] * dy + right[axis] * dx * columns as f64;
            self.gauge(std::array::from_fn(vector))
        };
        let lean = dot(base, right).abs();
        let most = ((self.longest_mm() + lean) / dx).ceil() as i64 + 1;
        let lowest = first_where(-most, most, |columns| at(columns + 1) >= at(columns));
        // The hair makes a margin of exactly n voxels reach n voxels whatever the rounding.
        let inside = |columns: i64| at(columns) <= 1.0 + 1e-6;
        inside(lowest).then(|| {
            let low = first_where(-most, lowest, inside);
            let high = first_where(lowest, most, |columns| !inside(columns + 1));
            (low, high)
        })
    }
}

/// The first number from `low` to `high` for which `holds`, when it holds for all after the first; `high` at the latest.
fn first_where(mut low: i64, mut high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while low < high {
        let middle = low + (high - low).div_euclid(2);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The mask with an ellipsoid added around every voxel; `sides` as in [`Ellipsoid::new`].
pub fn grown(mask: &Array3<bool>, sides: [f64; 6], geometry: &VolumeGeometry) -> Array3<bool> {
    let ellipsoid = Ellipsoid::new(sides, geometry);
    let Some(extent) = extent_of(mask) else { return mask.clone() };
    let within = around(&extent, &ellipsoid, mask);
    let mut out = reached(mask, true, &within, &|k| ellipsoid.reach(k), &|a, b, rows| ellipsoid.span(a, b, rows));
    // A margin never removes, even where rounding puts the centre of the ellipsoid outside.
    Zip::from(&mut out).and(mask).par_for_each(|out, mask| *out |= *mask);
    out
}

/// Removes every voxel whose ellipsoid holds a voxel of the outside; beyond its border the image has no outside.
fn shrink(mask: &mut Array3<bool>, sides: [f64; 6], geometry: &VolumeGeometry) {
    let ellipsoid = Ellipsoid::new(sides, geometry).turned_inside_out();
    let Some(extent) = extent_of(mask) else { return };
    // One voxel around the mask is outside and hides what lies behind it, when rows and sides have one direction.
    let shell = if ellipsoid.straight { widened(&extent, [1; 3], mask) } else { around(&extent, &ellipsoid, mask) };
    let mut outside = mask.clone();
    outside.fill(true);
    let mut view = crate::infer::part::part(outside.view_mut(), &shell);
    view.assign(&crate::infer::part::part(mask.view(), &shell));
    let reach = |k: usize| {
        let (slices, rows) = ellipsoid.reach(k);
        (slices.start.max(shell[0].start)..slices.end.min(shell[0].end), rows)
    };
    let near = reached(&outside, false, &extent, &reach, &|a, b, rows| ellipsoid.span(a, b, rows));
    Zip::from(mask).and(&near).par_for_each(|mask, near| *mask &= !*near);
}

/// The extent that an ellipsoid around the voxels of another one can reach.
fn around(extent: &Extent, ellipsoid: &Ellipsoid<'_>, mask: &Array3<bool>) -> Extent {
    let geometry = ellipsoid.geometry;
    let p = geometry.positions_mm();
    let longest = ellipsoid.longest_mm() * (1.0 + 1e-6);
    let lean = geometry.slice_origins().iter().fold(0.0, |most: f64, origin| {
        let first = geometry.slice_origins()[0];
        let step: [f64; 3] = std::array::from_fn(|axis| origin[axis] - first[axis]);
        most.max(dot(step, geometry.row_direction()).abs()).max(dot(step, geometry.column_direction()).abs())
    });
    let reach = |step: f64| ((longest + 2.0 * lean) / step).floor() as usize + 1;
    let mut out = widened(extent, [0, reach(geometry.row_spacing_mm()), reach(geometry.column_spacing_mm())], mask);
    let (below, above) = (p[extent[0].start] - longest, p[extent[0].end - 1] + longest);
    out[0] = p.partition_point(|position| *position < below)..p.partition_point(|position| *position <= above);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::post::tests::{check, check_mirrored};

    #[test]
    fn widens_each_side_of_the_patient_by_its_own_margin() {
        let one = ".....\n.....\n..#..\n.....\n.....";
        // Columns run to the left, rows to the back.
        check(one, &[], r#"{"op": "margin", "margin_mm": [2, 1, 0, 0, 0, 0]}"#, ".....\n.....\n.####\n.....\n.....");
        check(one, &[], r#"{"op": "margin", "margin_mm": [0, 0, 2, 1, 0, 0]}"#, "..#..\n..#..\n..#..\n..#..\n.....");
        check(one, &[], r#"{"op": "margin", "margin_mm": [0, 2, 1]}"#, "..#..\n..#..\n.###.\n..#..\n..#..");
        check(one, &[], r#"{"op": "margin", "margin_mm": 1}"#, ".....\n..#..\n.###.\n..#..\n.....");
        check_mirrored("..#..", &[], r#"{"op": "margin", "margin_mm": [2, 1, 0, 0, 0, 0]}"#, "####.");
        check(
            "...\n\n.#.\n\n...\n\n...",
            &[],
            r#"{"op": "margin", "margin_mm": [0, 0, 0, 0, 2, 1]}"#,
            ".#.\n\n.#.\n\n.#.\n\n.#.",
        );
    }

    #[test]
    fn moves_the_named_surface_inwards_where_it_is_negative() {
        check(".#####.", &[], r#"{"op": "margin", "margin_mm": [-2, 0, 0, 0, 0, 0]}"#, ".###...");
        check(".#####.", &[], r#"{"op": "margin", "margin_mm": [0, -1, 0, 0, 0, 0]}"#, "..####.");
        check(".#####.", &[], r#"{"op": "margin", "margin_mm": [1, -1, 0, 0, 0, 0]}"#, "..#####");
        // The border of the image is no surface.
        check("#####", &[], r#"{"op": "margin", "margin_mm": -2}"#, "#####");
        check(
            "..\n\n##\n\n##\n\n##",
            &[],
            r#"{"op": "margin", "margin_mm": [0, 0, 0, 0, 0, -1]}"#,
            "..\n\n..\n\n##\n\n##",
        );
    }

    /// A grid with uneven slices, turned about an axis of the patient, its stack leaning when `lean` is not 0.
    fn grid(random: &mut fastrand::Rng, shape: [usize; 3], degrees: f64, lean: f64) -> VolumeGeometry {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (right, down, normal) = ([cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]);
        let mut along = 0.0;
        let origins = (0..shape[0]).map(|_| {
            along += 0.7 + 2.0 * random.f64();
            std::array::from_fn(|axis| normal[axis] * along + down[axis] * along * lean)
        });
        let origins = origins.collect();
        let spacing = [0.6 + random.f64(), 0.6 + random.f64()];
        VolumeGeometry::new((shape[1], shape[2]), spacing, right, down, origins).expect("legal")
    }

    #[test]
    fn agrees_with_all_pairs_of_voxels_in_straight_turned_and_leaning_stacks() {
        let mut random = fastrand::Rng::with_seed(5);
        for round in 0..60 {
            let shape = [random.usize(1..6), random.usize(1..9), random.usize(1..9)];
            let (degrees, lean) = [(0.0, 0.0), (35.0, 0.0), (0.0, 0.3), (90.0, 0.0)][round % 4];
            let geometry = grid(&mut random, shape, degrees, lean);
            let mask = Array3::from_shape_simple_fn(shape, || random.f64() < 0.08);
            let sides: [f64; 6] = std::array::from_fn(|_| 0.5 + 4.0 * random.f64());
            let places: Vec<_> = mask.indexed_iter().map(|((k, j, i), _)| (k, j, i)).collect();
            let point = |(k, j, i): (usize, usize, usize)| geometry.index_to_patient([k as f64, j as f64, i as f64]);
            // Patient axes, written out: left, posterior and superior are positive.
            let reaches = |from: (usize, usize, usize), to: (usize, usize, usize)| {
                let (a, b) = (point(from), point(to));
                let ends = [(sides[0], sides[1]), (sides[3], sides[2]), (sides[4], sides[5])];
                let share = |axis: usize| {
                    let mm = b[axis] - a[axis];
                    (mm / if mm > 0.0 { ends[axis].0 } else { ends[axis].1 }).powi(2)
                };
                share(0) + share(1) + share(2) <= 1.0
            };
            let found = grown(&mask, sides, &geometry);
            let mut shrunk = mask.mapv(|inside| !inside);
            shrink(&mut shrunk, sides, &geometry);
            for &to in &places {
                let near = places.iter().any(|from| mask[*from] && reaches(*from, to));
                assert_eq!(found[to], near, "round {round}, {to:?}");
                let worn = places.iter().any(|from| mask[*from] && reaches(to, *from));
                assert_eq!(shrunk[to], !worn, "round {round}, {to:?}");
            }
        }
    }
}
