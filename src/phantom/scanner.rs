//! From anatomy to a slice as a scanner shows it: partial volume, blur, noise, 12 bits; the truth at voxel centres.

use super::anatomy::{Anatomy, Material, Part};
use super::parameters::Thorax;
use super::plane::{AIR_HU, Plane, Tissue, truth};
use super::random::Random;
use super::shape::{coverage, mix};

/// Smallest and largest HU of a 12-bit scanner with rescale intercept -1024.
pub(super) const HU_RANGE: [f32; 2] = [-1024.0, 3071.0];

/// Turns patient mm into the frame of the anatomy.
pub(super) struct Frame {
    offset: [f32; 2],
    turn: [f32; 2],
    size: [f32; 3],
    /// Patient point of voxel `[0, 0]` and the steps to the next row and column, all `[x, y]`.
    first: [f32; 2],
    per_row: [f32; 2],
    per_column: [f32; 2],
}

impl Frame {
    pub fn of(thorax: &Thorax, first: [f64; 3]) -> Frame {
        let (sin, cos) = thorax.roll_degrees.to_radians().sin_cos();
        let [row, column] = thorax.position.directions();
        let step = |direction: [f64; 3], mm: f64| [(direction[0] * mm) as f32, (direction[1] * mm) as f32];
        Frame {
            offset: thorax.offset_mm.map(|mm| mm as f32),
            turn: [cos as f32, sin as f32],
            size: thorax.size.map(|scale| scale as f32),
            first: [first[0] as f32, first[1] as f32],
            per_row: step(column, thorax.spacing_mm[0]),
            per_column: step(row, thorax.spacing_mm[1]),
        }
    }

    /// Patient mm along the couch's own axes, from its middle.
    fn on_couch(&self, row: usize, column: usize) -> [f32; 2] {
        let at = |k: usize| {
            self.first[k] + row as f32 * self.per_row[k] + column as f32 * self.per_column[k] - self.offset[k]
        };
        let (x, y) = (at(0), at(1));
        [self.turn[0] * x + self.turn[1] * y, self.turn[0] * y - self.turn[1] * x]
    }

    /// Fractional row and column of a point of the anatomy.
    fn to_pixel(&self, x: f32, y: f32) -> [f32; 2] {
        let (u, v) = (x * self.size[0], y * self.size[1]);
        let (px, py) = (self.turn[0] * u - self.turn[1] * v, self.turn[1] * u + self.turn[0] * v);
        let away = [px + self.offset[0] - self.first[0], py + self.offset[1] - self.first[1]];
        let along = |step: [f32; 2]| (away[0] * step[0] + away[1] * step[1]) / (step[0] * step[0] + step[1] * step[1]);
        [along(self.per_row), along(self.per_column)]
    }
}

/// One slice: HU and truth by `row * columns + column`.
pub(super) struct Slice {
    pub hounsfield: Vec<i16>,
    pub truth: Vec<u8>,
}

/// Renders the slice at patient height `z_mm`.
pub(super) fn slice(thorax: &Thorax, anatomy: &Anatomy, frame: &Frame, z_mm: f64, stream: u64) -> Slice {
    let pixels = thorax.rows * thorax.columns;
    let (mut hu, mut truth, mut depth) = (vec![0.0_f32; pixels], vec![0_u8; pixels], vec![0.0_f32; pixels]);
    // Three planes stand for the profile of slice sensitivity: half the weight in the middle, a quarter at each side.
    for (shift, weight) in [(-0.36, 0.25), (0.36, 0.25), (0.0, 0.5)] {
        let z = ((z_mm + shift * thorax.slice_thickness_mm) / thorax.size[2]) as f32;
        let painter = Painter { thorax, anatomy, frame, plane: Plane::of(anatomy, z), z };
        let is_middle = shift == 0.0;
        let painted = painter.paint(is_middle.then_some(&mut depth[..]));
        for (index, tissue) in painted.iter().enumerate() {
            hu[index] += weight * tissue.hu;
            if is_middle {
                truth[index] = tissue.truth;
            }
        }
    }
    blur(&mut hu, thorax, thorax.blur_mm as f32);
    add_noise(&mut hu, &depth, thorax, stream);
    cut_to_circle(&mut hu, thorax);
    let hounsfield = hu.iter().map(|value| value.clamp(HU_RANGE[0], HU_RANGE[1]).round() as i16).collect();
    Slice { hounsfield, truth }
}

struct Painter<'a> {
    thorax: &'a Thorax,
    anatomy: &'a Anatomy,
    frame: &'a Frame,
    plane: Plane<'a>,
    z: f32,
}

impl Painter<'_> {
    /// One plane without thickness. Fills in how deep each pixel lies under the skin where that is wanted.
    fn paint(&self, mut depth: Option<&mut [f32]>) -> Vec<Tissue> {
        let (rows, columns) = (self.thorax.rows, self.thorax.columns);
        let mut tissues = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                let (tissue, skin_distance) = self.point(self.frame.on_couch(row, column));
                if let Some(depth) = &mut depth {
                    depth[row * columns + column] = -skin_distance;
                }
                tissues.push(tissue);
            }
        }
        for part in &self.anatomy.parts {
            self.paint_part(part, &mut tissues);
        }
        tissues
    }

    fn point(&self, [u, v]: [f32; 2]) -> (Tissue, f32) {
        let (x, y) = (u / self.frame.size[0], v / self.frame.size[1]);
        let skin_distance = self.plane.skin_distance(x, y);
        if skin_distance < -1.0 {
            return (self.plane.tissue(x, y, skin_distance), skin_distance);
        }
        let around = self.couch_hu(u, self.plane.couch_distance(x, y) * self.frame.size[1]);
        if skin_distance > 1.0 {
            return (Tissue { hu: around, truth: 0 }, skin_distance);
        }
        let tissue = self.plane.tissue(x, y, skin_distance);
        (Tissue { hu: mix(around, tissue.hu, coverage(skin_distance, 1.0)), ..tissue }, skin_distance)
    }

    /// Mattress and couch at `below` mm under the flattened skin, `u` mm beside the middle.
    fn couch_hu(&self, u: f32, below: f32) -> f32 {
        let couch = &self.thorax.couch;
        let top = (couch.gap_mm + couch.mattress_mm) as f32;
        let half_width = couch.half_width_mm as f32;
        let mut hu = AIR_HU;
        if couch.mattress_mm > 0.0 {
            let mattress = (couch.gap_mm as f32 - below).max(below - top).max(u.abs() - half_width + 12.0);
            hu = mix(hu, -420.0, coverage(mattress, 1.0));
            hu = mix(hu, -905.0, coverage(mattress + 0.7, 1.0));
        }
        // The underside rises to the edges, as treatment couches do.
        let thickness = 48.0 - 34.0 * ((u.abs() / half_width - 0.72) / 0.28).clamp(0.0, 1.0);
        let shell = (top - below).max(below - top - thickness).max(u.abs() - half_width);
        hu = mix(hu, -60.0, coverage(shell, 1.0));
        mix(hu, -945.0, coverage(shell + 2.0, 1.0))
    }

    fn paint_part(&self, part: &Part, tissues: &mut [Tissue]) {
        let Some([xs, ys]) = part.tube.extent_at(self.z, 2.0) else { return };
        let corners =
            [(xs[0], ys[0]), (xs[0], ys[1]), (xs[1], ys[0]), (xs[1], ys[1])].map(|(x, y)| self.frame.to_pixel(x, y));
        let bounds = |k: usize, end: usize| {
            let (low, high) = corners.iter().fold((f32::MAX, f32::MIN), |(l, h), c| (l.min(c[k]), h.max(c[k])));
            (low.floor().clamp(0.0, end as f32) as usize, (high.ceil() + 1.0).clamp(0.0, end as f32) as usize)
        };
        let (rows, columns) = (bounds(0, self.thorax.rows), bounds(1, self.thorax.columns));
        for row in rows.0..rows.1 {
            for column in columns.0..columns.1 {
                let [u, v] = self.frame.on_couch(row, column);
                let point = [u / self.frame.size[0], v / self.frame.size[1], self.z];
                let distance = part.tube.distance(point);
                if distance < 1.0 {
                    lay(&mut tissues[row * self.thorax.columns + column], part.material, distance);
                }
            }
        }
    }
}

/// Lays a tube over what is there; only within the patient.
fn lay(tissue: &mut Tissue, material: Material, distance: f32) {
    if tissue.truth & truth::EXTERNAL == 0 {
        return;
    }
    let inside = distance < 0.0;
    let is_lung = tissue.truth & truth::LUNGS != 0;
    match material {
        Material::Bone => tissue.lay_bone(distance, 1.7),
        Material::Soft(hu) => {
            tissue.hu = mix(tissue.hu, hu, coverage(distance, 1.0));
            if inside {
                tissue.truth &= !truth::LUNGS;
            }
        }
        Material::Airway => {
            tissue.hu = mix(tissue.hu, AIR_HU, coverage(distance, 1.0));
            if inside {
                tissue.truth = (tissue.truth & !truth::LUNGS) | truth::TRACHEA;
            }
        }
        Material::InLung(hu) => tissue.hu = mix(tissue.hu, tissue.hu.max(hu), coverage(distance, 1.0)),
        Material::Bronchus if is_lung => tissue.hu = mix(tissue.hu, -960.0, coverage(distance, 1.0)),
        Material::Bronchus => {}
    }
}

/// Gaussian blur in the image plane.
fn blur(image: &mut [f32], thorax: &Thorax, sigma_mm: f32) {
    let (rows, columns) = (thorax.rows, thorax.columns);
    let mut line = Vec::new();
    let along = kernel(sigma_mm / thorax.spacing_mm[1] as f32);
    for row in image.chunks_exact_mut(columns) {
        line.clear();
        line.extend_from_slice(row);
        for (column, value) in row.iter_mut().enumerate() {
            *value = weighted(&along, column, columns, |index| line[index]);
        }
    }
    let down = kernel(sigma_mm / thorax.spacing_mm[0] as f32);
    let copy = image.to_vec();
    for (row, values) in image.chunks_exact_mut(columns).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            *value = weighted(&down, row, rows, |index| copy[index * columns + column]);
        }
    }
}

/// One side of a Gaussian, its middle first, so that the whole sums to 1.
fn kernel(sigma: f32) -> Vec<f32> {
    let half = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f32> = (0..=half).map(|k| (-0.5 * (k as f32 / sigma.max(1e-3)).powi(2)).exp()).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    weights.iter().map(|weight| weight / sum).collect()
}

fn weighted(kernel: &[f32], at: usize, end: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut sum = kernel[0] * value(at);
    for (k, weight) in kernel.iter().enumerate().skip(1) {
        sum += weight * (value(at.saturating_sub(k)) + value((at + k).min(end - 1)));
    }
    sum
}

/// Noise with the spectrum of a filtered back projection: a fine blur less a coarse one leaves the middle frequencies.
fn add_noise(hu: &mut [f32], depth: &[f32], thorax: &Thorax, stream: u64) {
    let mut random = Random::of(thorax.seed, 0x5ca0 + stream);
    let mut fine: Vec<f32> = (0..hu.len()).map(|_| random.normal()).collect();
    let mut coarse = fine.clone();
    blur(&mut fine, thorax, 0.75);
    blur(&mut coarse, thorax, 2.2);
    fine.iter_mut().zip(&coarse).for_each(|(a, b)| *a -= 0.8 * b);
    let variance = fine.iter().map(|v| v * v).sum::<f32>() / fine.len().max(1) as f32;
    let unit = thorax.noise_hu as f32 / variance.sqrt().max(1e-6);
    for ((value, noise), depth) in hu.iter_mut().zip(&fine).zip(depth) {
        // Rays through the middle are weakened most.
        *value += noise * unit * (0.35 + 0.65 * (depth / 70.0).clamp(0.0, 1.0).sqrt());
    }
}

/// Scanners reconstruct a circle and fill the corners with their lowest value.
fn cut_to_circle(hu: &mut [f32], thorax: &Thorax) {
    let (rows, columns) = (thorax.rows, thorax.columns);
    let middle = [(rows as f32 - 1.0) / 2.0, (columns as f32 - 1.0) / 2.0];
    for (index, value) in hu.iter_mut().enumerate() {
        let off =
            [(index / columns) as f32 / middle[0].max(1.0) - 1.0, (index % columns) as f32 / middle[1].max(1.0) - 1.0];
        if off[0] * off[0] + off[1] * off[1] > 1.0 {
            *value = HU_RANGE[0];
        }
    }
}
