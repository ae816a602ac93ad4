//! Shapes with signed distances (negative inside, in mm): plane sections, tubes, ellipsoids; it knows no anatomy.

/// A star-shaped closed curve in a slice: the distance of its boundary from its centre, by direction.
pub(super) struct Section {
    pub centre: [f32; 2],
    /// Boundary by pseudo-angle, and the cosine between the radius and the normal there.
    table: Vec<(f32, f32)>,
}

const DIRECTIONS: usize = 1024;

impl Section {
    /// A superellipse with half axes along x and y. Exponent 2 is an ellipse, larger is boxier.
    pub fn superellipse(centre: [f32; 2], half: [f32; 2], exponent: f32) -> Section {
        Section::of(centre, |[ux, uy]| {
            let [p, q] = [(ux / half[0]).abs(), (uy / half[1]).abs()];
            (p.powf(exponent) + q.powf(exponent)).powf(-1.0 / exponent)
        })
    }

    /// A curve from its radius by direction (a unit vector).
    pub fn of(centre: [f32; 2], radius: impl Fn([f32; 2]) -> f32) -> Section {
        let directions: Vec<[f32; 2]> =
            (0..DIRECTIONS).map(|k| direction(4.0 * k as f32 / DIRECTIONS as f32)).collect();
        let radii: Vec<f32> = directions.iter().map(|&unit| radius(unit)).collect();
        let entry = |k: usize| {
            let (before, after) = ((k + DIRECTIONS - 1) % DIRECTIONS, (k + 1) % DIRECTIONS);
            let [a, b] = [before, after].map(|j| directions[j].map(|u| u * radii[j]));
            let chord = [b[0] - a[0], b[1] - a[1]];
            let length = chord[0].hypot(chord[1]).max(1e-6);
            let across = (directions[k][0] * chord[1] - directions[k][1] * chord[0]) / length;
            (radii[k], across.abs().clamp(0.2, 1.0))
        };
        Section { centre, table: (0..DIRECTIONS).map(entry).collect() }
    }

    /// Distance to the curve, exact on it and of first order beside it.
    pub fn distance(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let place = pseudo_angle(dx, dy) * (DIRECTIONS as f32 / 4.0);
        let (index, share) = (place as usize, place.fract());
        let (a, b) = (self.table[index % DIRECTIONS], self.table[(index + 1) % DIRECTIONS]);
        let (radius, cosine) = (mix(a.0, b.0, share), mix(a.1, b.1, share));
        ((dx * dx + dy * dy).sqrt() - radius) * cosine
    }
}

/// A number in 0..4 that grows with the angle, without trigonometry: the position on a diamond.
fn pseudo_angle(dx: f32, dy: f32) -> f32 {
    let sum = dx.abs() + dy.abs();
    if sum <= f32::MIN_POSITIVE {
        return 0.0;
    }
    match (dx >= 0.0, dy >= 0.0) {
        (true, true) => dy / sum,
        (false, true) => 1.0 - dx / sum,
        (false, false) => 2.0 - dy / sum,
        (true, false) => 3.0 + dx / sum,
    }
}

fn direction(pseudo: f32) -> [f32; 2] {
    let f = pseudo.fract();
    let [x, y] = match pseudo as usize % 4 {
        0 => [1.0 - f, f],
        1 => [-f, 1.0 - f],
        2 => [f - 1.0, -f],
        _ => [f, f - 1.0],
    };
    let length = x.hypot(y);
    [x / length, y / length]
}

/// A straight tube with round ends, tapering from one radius to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tube {
    pub a: [f32; 3],
    pub b: [f32; 3],
    pub radius_a: f32,
    pub radius_b: f32,
}

impl Tube {
    pub fn new(a: [f32; 3], b: [f32; 3], radius_a: f32, radius_b: f32) -> Tube {
        Tube { a, b, radius_a, radius_b }
    }

    /// The mirror image on the patient's other side.
    pub fn mirrored(self) -> Tube {
        Tube { a: [-self.a[0], self.a[1], self.a[2]], b: [-self.b[0], self.b[1], self.b[2]], ..self }
    }

    pub fn distance(&self, point: [f32; 3]) -> f32 {
        let axis = sub(self.b, self.a);
        let offset = sub(point, self.a);
        let share = (dot(offset, axis) / dot(axis, axis).max(1e-9)).clamp(0.0, 1.0);
        let away: [f32; 3] = std::array::from_fn(|k| offset[k] - axis[k] * share);
        dot(away, away).sqrt() - mix(self.radius_a, self.radius_b, share)
    }

    /// Smallest and largest x and y of the part within `margin` of a plane; `None` when the plane misses the tube.
    pub fn extent_at(&self, z: f32, margin: f32) -> Option<[[f32; 2]; 2]> {
        let reach = self.radius_a.max(self.radius_b) + margin;
        let (low, high) = (self.a[2].min(self.b[2]), self.a[2].max(self.b[2]));
        if z < low - reach || z > high + reach {
            return None;
        }
        let rise = self.b[2] - self.a[2];
        let share = |at: f32| if rise.abs() < 1e-3 { 0.5 } else { ((at - self.a[2]) / rise).clamp(0.0, 1.0) };
        let (s, t) = if rise.abs() < 1e-3 { (0.0, 1.0) } else { (share(z - reach), share(z + reach)) };
        let [p, q] = [s, t].map(|u| [mix(self.a[0], self.b[0], u), mix(self.a[1], self.b[1], u)]);
        Some([0, 1].map(|k| [p[k].min(q[k]) - reach, p[k].max(q[k]) + reach]))
    }
}

/// An ellipsoid turned about the z axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ellipsoid {
    pub centre: [f32; 3],
    pub radii: [f32; 3],
    /// Cosine and sine of the turn from x to y, and slope of the first axis in z.
    turn: [f32; 2],
    lean: [f32; 2],
}

impl Ellipsoid {
    pub fn new(centre: [f32; 3], radii: [f32; 3]) -> Ellipsoid {
        Ellipsoid { centre, radii, turn: [1.0, 0.0], lean: [1.0, 0.0] }
    }

    /// Turned by `turn` degrees from x to y, after the first axis was leaned by `lean` degrees towards +z.
    pub fn turned(self, turn: f32, lean: f32) -> Ellipsoid {
        let [turn, lean] = [turn, lean].map(|degrees| [degrees.to_radians().cos(), degrees.to_radians().sin()]);
        Ellipsoid { turn, lean, ..self }
    }

    /// Distance, exact on the surface and of first order beside it.
    pub fn distance(&self, point: [f32; 3]) -> f32 {
        let [x, y, z] = sub(point, self.centre);
        let [c, s] = self.turn;
        let (along, v) = (c * x + s * y, c * y - s * x);
        let [cl, sl] = self.lean;
        let (u, w) = (cl * along + sl * z, cl * z - sl * along);
        let p = [u / self.radii[0], v / self.radii[1], w / self.radii[2]];
        let q = [p[0] / self.radii[0], p[1] / self.radii[1], p[2] / self.radii[2]];
        let (level, slope) = (dot(p, p).sqrt(), dot(q, q).sqrt());
        if slope < 1e-6 { -self.radii[1] } else { level * (level - 1.0) / slope }
    }
}

/// A value along z from knots in ascending order: a smooth curve through them, constant beyond the ends.
pub(super) fn profile(knots: &[(f32, f32)], z: f32) -> f32 {
    let above = knots.partition_point(|knot| knot.0 <= z);
    if above == 0 {
        return knots[0].1;
    }
    if above == knots.len() {
        return knots[above - 1].1;
    }
    let (a, b) = (knots[above - 1], knots[above]);
    let slope = |before: (f32, f32), after: (f32, f32)| (after.1 - before.1) / (after.0 - before.0);
    let before = if above >= 2 { knots[above - 2] } else { a };
    let after = if above + 1 < knots.len() { knots[above + 1] } else { b };
    let (width, t) = (b.0 - a.0, (z - a.0) / (b.0 - a.0));
    let (m0, m1) = (slope(before, b) * width, slope(a, after) * width);
    let (t2, t3) = (t * t, t * t * t);
    (2.0 * t3 - 3.0 * t2 + 1.0) * a.1 + (t3 - 2.0 * t2 + t) * m0 + (3.0 * t2 - 2.0 * t3) * b.1 + (t3 - t2) * m1
}

/// The smaller of two distances with the crease between them rounded over `width`.
pub(super) fn smooth_min(a: f32, b: f32, width: f32) -> f32 {
    let near = (width - (a - b).abs()).max(0.0) / width;
    a.min(b) - near * near * width * 0.25
}

/// `a` at share 0, `b` at share 1.
pub(super) fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

/// The share of a pixel that lies inside a boundary at `distance`, when a pixel is `width` wide.
pub(super) fn coverage(distance: f32, width: f32) -> f32 {
    (0.5 - distance / width).clamp(0.0, 1.0)
}

pub(super) fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn sub(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_vanish_on_the_surface_and_are_negative_inside() {
        let section = Section::superellipse([3.0, -2.0], [100.0, 60.0], 2.0);
        for (x, y) in [(103.0, -2.0), (-97.0, -2.0), (3.0, 58.0), (3.0, -62.0), (3.0 + 60.0, -2.0 + 48.0)] {
            assert!(section.distance(x, y).abs() < 0.05, "{}", section.distance(x, y));
        }
        assert!(section.distance(3.0, -2.0) < -50.0);
        let leaned = Ellipsoid::new([1.0, 2.0, 3.0], [30.0, 10.0, 20.0]).turned(90.0, 0.0);
        assert!(leaned.distance([1.0, 32.0, 3.0]).abs() < 1e-3);
        assert!(leaned.distance([1.0, 2.0, 13.0]) < -5.0);
        let tube = Tube::new([0.0; 3], [0.0, 0.0, 10.0], 2.0, 4.0);
        assert!((tube.distance([5.0, 0.0, 5.0]) - 2.0).abs() < 1e-5);
        assert!(tube.extent_at(15.0, 0.5).is_none() && tube.extent_at(13.0, 0.5).is_some());
    }

    #[test]
    fn profiles_pass_through_their_knots() {
        let knots = [(-10.0, 1.0), (0.0, 3.0), (20.0, 2.0)];
        for (z, value) in knots {
            assert!((profile(&knots, z) - value).abs() < 1e-6);
        }
        assert_eq!(profile(&knots, 99.0), 2.0);
    }
}
