//! Gabor's waves in planes; the filter itself stands in `filter`.

use ndarray::Array3;

use super::Operation;
use super::neighbourhood::{BOUNDARY, DIMENSION, spacing};
use crate::infer::filter::aggregate::Aggregate;
use crate::infer::filter::convolution::Boundary;
use crate::infer::filter::gabor::Gabor;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "gabor",
    doc: "Replaces each voxel by the modulus of the answer to a wave within a Gaussian, in slices along the network's first axis (`2d`) or joined over the three planes (`3d`), joined over the angles `theta` first.",
    source: "IBSI-2, chapter 4.4; CERR's filter Gabor (pyCERR's gaborFilter)",
    parameters: &[
        number("sigma_mm", "Standard deviation of the Gaussian along the wave.", "mm", (0.01, 100.0), None),
        number("wavelength_mm", "Length of the wave.", "mm", (0.01, 1000.0), None),
        number("gamma", "Standard deviation along the wave over that across it.", "", (0.05, 20.0), Some("1")),
        Parameter {
            name: "theta",
            doc: "Angles of the wave, from columns towards rows.",
            unit: "degrees",
            kind: Kind::Numbers { low: -360.0, high: 360.0, count: (1, 64) },
            default: Some("[0]"),
        },
        Parameter {
            name: "angles",
            doc: "How the answers of several angles are joined.",
            unit: "",
            kind: Kind::Choice(&Aggregate::WORDS),
            default: Some("\"avg\""),
        },
        DIMENSION,
        Parameter {
            name: "planes",
            doc: "How the answers of the three planes are joined.",
            unit: "",
            kind: Kind::Choice(&Aggregate::WORDS),
            default: Some("\"avg\""),
        },
        number(
            "radius_mm",
            "Half the side of the kernel; where it is left out 5.3 of the larger standard deviation, where the Gaussian has fallen below 1e-6.",
            "mm",
            (0.01, 500.0),
            Some("null"),
        ),
        BOUNDARY,
    ],
    check: super::always_consistent,
    apply: |arguments, mut image, _| {
        let volume = arguments.choice("dimension") == "3d";
        let axes = image.frame.axes;
        let mut used = [true; 3];
        used[axes.array_axis(0)] = volume;
        let mm = spacing(&image, used, ENTRY.name)?;
        let (sigma, gamma) = (arguments.number("sigma_mm"), arguments.number("gamma"));
        let reach = 5.3 * sigma * (1.0 / gamma).max(1.0);
        let reach = if arguments.has("radius_mm") { arguments.number("radius_mm") } else { reach };
        let boundary = Boundary::of(arguments.choice("boundary"));
        // Working axes: those along which the angle counts, columns first, of the slices, of both other planes.
        let planes: &[[usize; 2]] = if volume { &[[2, 1], [1, 0], [2, 0]] } else { &[[2, 1]] };
        let of_plane = |plane: &[usize; 2]| -> Option<Array3<f32>> {
            let [x, y] = plane.map(|working| axes.array_axis(working));
            let opposed = axes.is_reversed(plane[0]) != axes.is_reversed(plane[1]);
            let answers = arguments.numbers("theta").iter().map(|theta| {
                // The angle turns from columns to rows of the array: swapped axes and opposed ones reflect it.
                let theta = if x < y { 90.0 - theta } else { *theta };
                let theta = if opposed { -theta } else { theta };
                let (row, column) = (x.min(y), x.max(y));
                let radius = [row, column].map(|axis| (reach / mm[axis]).floor() as usize);
                let wave = Gabor {
                    sigma,
                    wavelength: arguments.number("wavelength_mm"),
                    gamma,
                    theta,
                    spacing: [mm[row], mm[column]],
                    radius,
                };
                wave.answer(image.pixels.view(), 3 - x - y, boundary)
            });
            Aggregate::of(arguments.choice("angles")).join(answers)
        };
        let joined = Aggregate::of(arguments.choice("planes")).join(planes.iter().filter_map(of_plane));
        if let Some(joined) = joined {
            image.pixels = joined.into();
        }
        Ok(image)
    },
};

const fn number(
    name: &'static str,
    doc: &'static str,
    unit: &'static str,
    (low, high): (f64, f64),
    default: Option<&'static str>,
) -> Parameter {
    Parameter { name, doc, unit, kind: Kind::Number { low, high }, default }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, found_at, waves};

    #[test]
    fn is_the_gabor_filter_of_pycerr() {
        // pyCERR 2.5.1: gaborFilter, sigma 2, wavelength 3, gamma 0.5, 30 degrees, radius 12; then sigma 1.5, gamma 1.5, four
        // angles averaged, radius 9.
        let source = waves([5, 6, 7], [2.0, 1.0, 1.0]);
        let json =
            r#"{"op": "gabor", "sigma_mm": 2, "wavelength_mm": 3, "gamma": 0.5, "theta": [30], "radius_mm": 12}"#;
        found_at(json, &source, &[434.231, 382.174, 60.7006, 134.979, 61.0262], 5e-3);
        let json = r#"{"op": "gabor", "sigma_mm": 1.5, "wavelength_mm": 3, "gamma": 1.5, "theta": [0, 45, 90, 135],
                       "radius_mm": 9}"#;
        found_at(json, &source, &[386.352, 262.976, 57.4503, 152.583, 26.952], 5e-3);
    }

    #[test]
    fn three_planes_of_one_bright_voxel_answer_alike() {
        let mut source = waves([9, 9, 9], [1.0, 1.0, 1.0]);
        source.pixels.fill(0.0);
        source.pixels[[4, 4, 4]] = 1.0;
        let json = r#"{"op": "gabor", "sigma_mm": 1.5, "wavelength_mm": 4, "theta": [0, 90], "dimension": "3d"}"#;
        let found = check(json, source, &BTreeMap::new()).expect("filtered").pixels;
        assert!((found[[4, 4, 4]] - 1.0).abs() < 1e-6);
        // A neighbour along any axis lies in two planes, where the Gaussian has fallen to exp(-1/4.5).
        let expected = 2.0 / 3.0 * (-1.0_f32 / 4.5).exp();
        for index in [[3, 4, 4], [4, 5, 4], [4, 4, 3]] {
            assert!((found[index] - expected).abs() < 1e-5, "{}", found[index]);
        }
    }
}
