//! Dose and volume of one structure: the histogram and what is read off it; it judges no plan.
//!
//! A sample is the centre of a voxel of the structure, with the volume of that voxel and the dose there, linear between
//! the eight voxels of the dose grid around it. Nothing is put into bins but the curve that is shown.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;

use crate::volume::{Mask, Volume};

/// How far in voxels a voxel of the dose reaches from its centre, and a hair for rounding.
const REACH: f64 = 0.5 + 1e-6;

/// The part of a volume by which a sum may miss it because of rounding.
const ROUNDING: f64 = 1e-9;

/// The samples of one structure.
pub struct Samples {
    /// Dose in Gy and volume in cm3, the highest dose first.
    sorted: Vec<(f64, f64)>,
    /// Of the samples; the dose at the rest of the structure is not known.
    pub volume_cm3: f64,
    /// Of the voxels that lie outside the dose grid.
    pub outside_cm3: f64,
}

impl Samples {
    /// Samples the dose at the voxels of a structure.
    pub fn of(mask: &Mask, dose: &Volume) -> Samples {
        let slices: Vec<(Vec<(f64, f64)>, f64)> = (0..mask.geometry.slices())
            .into_par_iter()
            .map(|slice| {
                let volume_cm3 = mask.geometry.voxel_volume_mm3(slice) / 1000.0;
                let (mut inside, mut outside_cm3) = (Vec::new(), 0.0);
                let plane = mask.voxels.index_axis(ndarray::Axis(0), slice);
                for ((row, column), _) in plane.indexed_iter().filter(|(_, inside)| **inside) {
                    match dose_at(dose, mask.geometry.index_to_patient([slice, row, column].map(|k| k as f64))) {
                        Some(gy) => inside.push((gy, volume_cm3)),
                        None => outside_cm3 += volume_cm3,
                    }
                }
                (inside, outside_cm3)
            })
            .collect();
        let outside_cm3 = slices.iter().fold(0.0, |sum, (_, outside)| sum + outside);
        let mut sorted: Vec<(f64, f64)> = slices.into_iter().flat_map(|(inside, _)| inside).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let volume_cm3 = sum_of(&sorted);
        Samples { sorted, volume_cm3, outside_cm3 }
    }

    /// Those of a structure that is not there.
    pub fn none() -> Samples {
        Samples { sorted: Vec::new(), volume_cm3: 0.0, outside_cm3: 0.0 }
    }

    /// Nothing of the structure lies within the dose grid.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Mean dose in Gy by volume; nothing without a sample, as all that follow.
    pub fn mean_gy(&self) -> Option<f64> {
        let sum: f64 = self.sorted.iter().map(|(gy, volume)| gy * volume).sum();
        (!self.is_empty()).then(|| sum / self.volume_cm3)
    }

    /// The lowest dose in Gy.
    pub fn min_gy(&self) -> Option<f64> {
        self.sorted.last().map(|(gy, _)| *gy)
    }

    /// The highest dose in Gy.
    pub fn max_gy(&self) -> Option<f64> {
        self.sorted.first().map(|(gy, _)| *gy)
    }

    /// Generalised equivalent uniform dose in Gy (Niemierko, Med. Phys. 26, 1999): (sum of v d^a)^(1/a), v being the
    /// part of the volume that receives d. `a` is not 0; 1 gives the mean. With a negative `a` a sample without dose
    /// makes it 0.
    pub fn geud_gy(&self, a: f64) -> Option<f64> {
        // In parts of the highest dose, so that no power overflows.
        let highest = self.max_gy()?;
        if highest <= 0.0 {
            return Some(0.0);
        }
        let part = |(gy, volume): &(f64, f64)| (gy.max(0.0) / highest).powf(a) * volume / self.volume_cm3;
        Some(highest * self.sorted.iter().map(part).sum::<f64>().powf(1.0 / a))
    }

    /// The volume in cm3 that receives at least a dose.
    pub fn volume_at_cm3(&self, gy: f64) -> f64 {
        let end = self.sorted.partition_point(|(dose, _)| *dose >= gy);
        sum_of(&self.sorted[..end])
    }

    /// The lowest dose in Gy within the part of the structure that is hottest and has this volume; nothing when the
    /// structure is smaller.
    pub fn dose_to_gy(&self, volume_cm3: f64) -> Option<f64> {
        let needed = volume_cm3 - ROUNDING * self.volume_cm3;
        let mut sum = 0.0;
        let reached = self.sorted.iter().find(|(_, volume)| {
            sum += volume;
            sum >= needed
        });
        reached.map(|(gy, _)| *gy)
    }

    /// The value of a metric: Gy of a dose, % of a volume.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::DoseToPercent(percent) => self.dose_to_gy(percent / 100.0 * self.volume_cm3),
            Metric::DoseToCm3(cm3) => self.dose_to_gy(cm3),
            Metric::VolumeAtGy(gy) => (!self.is_empty()).then(|| 100.0 * self.volume_at_cm3(gy) / self.volume_cm3),
        }
    }

    /// The volume in cm3 that receives at least each of `count` doses: 0, one bin, two bins and so on.
    pub fn cumulative_cm3(&self, bin_gy: f64, count: usize) -> Vec<f64> {
        let mut curve = Vec::with_capacity(count);
        let (mut sum, mut rest) = (self.volume_cm3, self.sorted.iter().rev().peekable());
        for bin in 0..count {
            while let Some((_, volume)) = rest.next_if(|(gy, _)| *gy < bin as f64 * bin_gy) {
                sum -= volume;
            }
            curve.push(if rest.peek().is_some() { sum } else { 0.0 });
        }
        curve
    }
}

/// The volume of some samples. From 0, because the sum of no numbers is -0, which people would see.
fn sum_of(samples: &[(f64, f64)]) -> f64 {
    samples.iter().fold(0.0, |sum, (_, volume)| sum + volume)
}

/// What can be asked for: `D95%`, `D2cc`, `V20Gy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// The least dose to the hottest part of the volume.
    DoseToPercent(f64),
    /// The least dose to the hottest cm3.
    DoseToCm3(f64),
    /// The part of the volume with at least a dose.
    VolumeAtGy(f64),
}

impl Metric {
    /// The unit of its value.
    pub fn unit(self) -> &'static str {
        if matches!(self, Metric::VolumeAtGy(_)) { "%" } else { "Gy" }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::DoseToPercent(percent) => write!(f, "D{percent}%"),
            Metric::DoseToCm3(cm3) => write!(f, "D{cm3}cc"),
            Metric::VolumeAtGy(gy) => write!(f, "V{gy}Gy"),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Metric, String> {
        let expected = || format!("found {text:?}, expected a dose as D95% or D2cc, or a volume as V20Gy");
        let lower = text.trim().to_ascii_lowercase();
        let number = |digits: &str, high: f64| {
            let number = digits.parse::<f64>().ok().filter(|number| (0.0..=high).contains(number));
            number.ok_or_else(expected)
        };
        if let Some(rest) = lower.strip_prefix('d') {
            if let Some(digits) = rest.strip_suffix('%') {
                return number(digits, 100.0).map(Metric::DoseToPercent);
            }
            let digits = rest.strip_suffix("cc").or_else(|| rest.strip_suffix("cm3")).ok_or_else(expected)?;
            return number(digits, f64::MAX).map(Metric::DoseToCm3);
        }
        let digits = lower.strip_prefix('v').and_then(|rest| rest.strip_suffix("gy")).ok_or_else(expected)?;
        number(digits, f64::MAX).map(Metric::VolumeAtGy)
    }
}

/// The dose at a point, linear between the voxels around it; in the outer half of the outermost voxels that of their
/// centres, so that rounded positions lose no plane; nothing beyond. A single plane is 1 mm thick.
fn dose_at(dose: &Volume, point: [f64; 3]) -> Option<f64> {
    let (index, shape) = (dose.geometry.patient_to_index(point), dose.geometry.shape());
    let mut low = [0_usize; 3];
    let mut share = [0.0; 3];
    for axis in 0..3 {
        let last = shape[axis] as f64 - 1.0;
        if !(-REACH..=last + REACH).contains(&index[axis]) {
            return None;
        }
        let at = index[axis].clamp(0.0, last);
        low[axis] = (at.floor() as usize).min(shape[axis].saturating_sub(2));
        share[axis] = at - low[axis] as f64;
    }
    let mut sum = 0.0;
    for corner in 0..8_usize {
        let up = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
        let weight: f64 = (0..3).map(|axis| if up[axis] == 1 { share[axis] } else { 1.0 - share[axis] }).product();
        if weight > 0.0 {
            sum += weight * f64::from(dose.pixels[[low[0] + up[0], low[1] + up[1], low[2] + up[2]]]);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::volume::VolumeGeometry;

    fn grid(shape: [usize; 3], step: f64, first: f64) -> Arc<VolumeGeometry> {
        let origins = (0..shape[0]).map(|k| [first, first, first + step * k as f64]).collect();
        let (right, down) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        Arc::new(VolumeGeometry::new((shape[1], shape[2]), [step; 2], right, down, origins).expect("legal"))
    }

    /// A dose of x Gy at x mm, on a grid of 5 mm from 0 to 100.
    fn ramp() -> Volume {
        let geometry = grid([21, 21, 21], 5.0, 0.0);
        Volume::new(geometry, Array3::from_shape_fn((21, 21, 21), |(_, _, i)| 5.0 * i as f32))
    }

    /// A cube from 10 to 50 mm in voxels of 1 mm.
    fn cube() -> Mask {
        let geometry = grid([60, 60, 60], 1.0, 0.5);
        Mask::new(
            geometry,
            Array3::from_shape_fn((60, 60, 60), |index| {
                [index.0, index.1, index.2].iter().all(|k| (10..50).contains(k))
            }),
        )
    }

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-4), "found {found:?}, expected {expected}");
    }

    #[test]
    fn a_ramp_gives_what_it_must() {
        let samples = Samples::of(&cube(), &ramp());
        near(Some(samples.volume_cm3), 64.0);
        assert_eq!(samples.outside_cm3, 0.0);
        near(samples.mean_gy(), 30.0);
        near(samples.min_gy(), 10.5);
        near(samples.max_gy(), 49.5);
        // Layers of 1.6 cm3: the hottest 2 cm3 reach into the second.
        let value = |text: &str| samples.value(text.parse().expect("a metric"));
        near(value("D2cc"), 48.5);
        near(value("D95%"), 12.5);
        near(value("D100%"), 10.5);
        near(value("V20Gy"), 75.0);
        near(value("V0Gy"), 100.0);
        assert_eq!(value("D65cc"), None);
        near(samples.geud_gy(1.0), 30.0);
        let mean_square = (10..50).map(|k| (f64::from(k) + 0.5).powi(2)).sum::<f64>() / 40.0;
        near(samples.geud_gy(2.0), mean_square.sqrt());
        assert!(samples.geud_gy(-200.0).expect("samples") < 11.0 && samples.geud_gy(500.0).expect("samples") > 49.0);
        let curve = samples.cumulative_cm3(10.0, 6);
        [64.0, 64.0, 48.0, 32.0, 16.0, 0.0]
            .iter()
            .zip(curve)
            .for_each(|(expected, found)| near(Some(found), *expected));
    }

    #[test]
    fn what_lies_outside_the_dose_is_left_out_and_told() {
        let dose = Volume::new(grid([5, 21, 21], 4.0, 0.0), Array3::from_elem((5, 21, 21), 2.0));
        let samples = Samples::of(&cube(), &dose);
        // The last voxel of the dose ends at z = 18, the cube at 50.
        near(Some(samples.volume_cm3), 12.8);
        near(Some(samples.outside_cm3), 51.2);
        near(samples.mean_gy(), 2.0);
        assert!(samples.volume_at_cm3(3.0).is_sign_positive(), "0 and not -0");
        let nothing = Samples::of(&Mask::empty(cube().geometry), &dose);
        assert!(nothing.is_empty());
        let values =
            [nothing.mean_gy(), nothing.min_gy(), nothing.geud_gy(2.0), nothing.value(Metric::VolumeAtGy(1.0))];
        assert_eq!(values, [None; 4]);
        assert_eq!(nothing.value(Metric::DoseToPercent(95.0)), None);
    }

    #[test]
    fn metrics_are_read_as_they_are_written() {
        for (text, metric) in [
            ("D95%", Metric::DoseToPercent(95.0)),
            ("d0.03cc", Metric::DoseToCm3(0.03)),
            ("D2cm3", Metric::DoseToCm3(2.0)),
            ("V20Gy", Metric::VolumeAtGy(20.0)),
        ] {
            assert_eq!(text.parse(), Ok(metric));
        }
        assert_eq!(Metric::DoseToCm3(0.03).to_string(), "D0.03cc");
        for wrong in ["", "95", "D95", "V20", "D101%", "D-1cc", "Dxcc", "V20%", "é"] {
            assert!(wrong.parse::<Metric>().is_err_and(|told| told.contains("expected a dose as D95%")), "{wrong}");
        }
    }
}
