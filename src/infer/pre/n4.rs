//! Correct the bias field of MR images; the filter itself stands in `filter`.

use ndarray::{Array3, Zip};

use super::Operation;
use super::failed;
use crate::infer::filter::n4::N4;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "n4",
    doc: "Divides by a smooth factor (bias field) that makes the histogram sharp. The factor is estimated from every `shrink`-th voxel along each axis and applied to all. Voxels that are measured should be above 0.",
    source: "Tustison, IEEE Trans. Medical Imaging 29, 2010; ITK's N4BiasFieldCorrectionImageFilter; CERR's filter of that name",
    parameters: &[
        Parameter {
            name: "on",
            doc: "Which voxels are measured: those above 0, all, or those inside the crop mask.",
            unit: "",
            kind: Kind::Choice(&["positive", "all", "inside"]),
            default: Some("\"positive\""),
        },
        Parameter {
            name: "shrink",
            doc: "Which fraction of the voxels along each axis is measured: one of this many.",
            unit: "voxels",
            kind: Kind::Integer { low: 1, high: 16 },
            default: Some("1"),
        },
        Parameter {
            name: "iterations",
            doc: "Most iterations of each fitting level; each level has twice the spans of the one before.",
            unit: "",
            kind: Kind::Numbers { low: 1.0, high: 1000.0, count: (1, 8) },
            default: Some("[50, 50, 50, 50]"),
        },
        Parameter {
            name: "control_points",
            doc: "Control points of the first level along slices, rows and columns.",
            unit: "",
            kind: Kind::Triple { low: 4.0, high: 32.0 },
            default: Some("[4, 4, 4]"),
        },
        Parameter {
            name: "threshold",
            doc: "A level ends when the factor's coefficient of variation to the one before is not above this.",
            unit: "",
            kind: Kind::Number { low: 0.0, high: 1.0 },
            default: Some("0.001"),
        },
        Parameter {
            name: "bins",
            doc: "Bins of the histogram.",
            unit: "",
            kind: Kind::Integer { low: 16, high: 4096 },
            default: Some("200"),
        },
        Parameter {
            name: "noise",
            doc: "Noise of Wiener's filter.",
            unit: "",
            kind: Kind::Number { low: 1e-9, high: 10.0 },
            default: Some("0.01"),
        },
        Parameter {
            name: "width",
            doc: "Full width at half maximum of the logarithm of the factor.",
            unit: "",
            kind: Kind::Number { low: 1e-3, high: 10.0 },
            default: Some("0.15"),
        },
    ],
    check: |arguments| {
        let fraction = arguments.numbers("iterations").iter().find(|count| count.fract() != 0.0);
        fraction.map(|count| [format!("{count} iterations"), "a whole number".to_owned(), "round it".to_owned()])
    },
    apply: |arguments, mut image, _| {
        let on = arguments.choice("on");
        let shrink = arguments.integer("shrink") as usize;
        let shape = image.frame.shape();
        // Voxels about the centre of the image, the later ones of two choices, as ITK's ShrinkImageFilter takes them.
        let few = shape.map(|length| (length / shrink).max(1));
        let first = [0, 1, 2].map(|axis| (shape[axis] - shrink * (few[axis] - 1).min(shape[axis] - 1)) / 2);
        let source = |index: (usize, usize, usize)| {
            [index.0 * shrink + first[0], index.1 * shrink + first[1], index.2 * shrink + first[2]]
        };
        let pixels = Array3::from_shape_fn(few, |index| image.pixels[source(index)]);
        let chosen = Array3::from_shape_fn(few, |index| match on {
            "all" => true,
            "inside" => image.is_inside(source(index)),
            _ => image.pixels[source(index)] > 0.0,
        });
        if !chosen.iter().any(|chosen| *chosen) {
            let reason = format!("found no voxel with on {on:?}, expected some; correct on, or the crop before");
            return Err(failed(ENTRY.name)(reason));
        }
        let iterations: Vec<usize> = arguments.numbers("iterations").iter().map(|count| *count as usize).collect();
        let points = image.frame.axes.to_array(arguments.triple("control_points")).map(|count| count as usize);
        let n4 = N4 {
            iterations: &iterations,
            threshold: arguments.number("threshold"),
            bins: arguments.integer("bins") as usize,
            noise: arguments.number("noise"),
            width: arguments.number("width"),
            points,
        };
        let field = n4.estimate(pixels.view(), chosen.view()).field(shape);
        Zip::from(&mut image.pixels).and(&field).par_for_each(|value, field| *value /= field.exp());
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use ndarray::Array3;

    use crate::infer::pre::tests::check;
    use crate::volume::{Volume, VolumeGeometry};

    /// Two shells of tissue, 300 and 150, with a texture, under a factor that rises along columns and waves along rows.
    fn phantom() -> Volume {
        let origins = (0..16).map(|k| [0.0, 0.0, f64::from(k)]).collect();
        let geometry = VolumeGeometry::new((20, 24), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let pixels = Array3::from_shape_fn((16, 20, 24), |(k, j, i)| {
            let texture = ((k * 7 + j * 3 + i * 5) % 11) as f64;
            let (k, j, i) = (k as f64, j as f64, i as f64);
            let far = (((k - 8.0) / 7.0).powi(2) + ((j - 10.0) / 9.0).powi(2) + ((i - 12.0) / 11.0).powi(2)).sqrt();
            let tissue = if far < 0.5 { 300.0 } else { 150.0 } + texture;
            let factor = (0.3 * (j / 8.0).sin() + 0.02 * i - 0.01 * k).exp();
            if far < 1.0 { (tissue * factor) as f32 } else { 0.0 }
        });
        Volume::new(Arc::new(geometry.expect("legal")), pixels)
    }

    fn compare(parameters: &str, expected: [f32; 5], relative: f32) {
        let json = format!(r#"{{"op": "n4", {parameters}}}"#);
        let found = check(&json, phantom(), &BTreeMap::new()).expect("corrected").pixels;
        let at = [[8, 10, 12], [8, 4, 12], [8, 10, 3], [3, 10, 12], [12, 13, 17]].map(|index| found[index]);
        let near = at.iter().zip(expected).all(|(a, b)| (a - b).abs() <= relative * b);
        assert!(near, "{json}: found {at:?}, expected {expected:?}");
    }

    #[test]
    fn is_the_n4_of_itk() {
        // SimpleITK 2.5.7: N4BiasFieldCorrection with the mask image > 0; GetLogBiasFieldAsImage for the whole image.
        compare(r#""iterations": [1]"#, [473.541, 213.917, 199.864, 247.501, 268.329], 1e-3);
        compare(r#""iterations": [50]"#, [493.444, 238.162, 244.203, 244.984, 255.506], 1e-3);
        compare(r#""iterations": [20, 20]"#, [477.968, 244.840, 235.446, 234.284, 247.651], 1e-3);
        compare(r#""iterations": [50, 50, 50, 50]"#, [491.515, 254.112, 246.195, 244.327, 258.806], 1e-3);
        compare(r#""iterations": [30, 30], "shrink": 2"#, [482.464, 243.492, 237.841, 238.049, 252.107], 1e-3);
    }

    #[test]
    fn tells_that_there_is_nothing_to_measure() {
        let mut empty = phantom();
        empty.pixels.fill(0.0);
        let told = check(r#"{"op": "n4"}"#, empty, &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found no voxel with on \"positive\""), "{told}");
    }
}
