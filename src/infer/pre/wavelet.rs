//! One sub-band of an undecimated wavelet transform; it does not transform back.

use ndarray::{Array3, Axis, CowArray};

use super::{Operation, failed};
use crate::infer::filter::aggregate::Aggregate;
use crate::infer::filter::convolution::{Boundary, separable};
use crate::infer::filter::kernels::{WAVELETS, wavelet};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;

pub(super) const ENTRY: Operation = Operation {
    name: "wavelet",
    doc: "Replaces the image by one sub-band of its stationary wavelet transform: low (`L`) or high (`H`) pass along columns, rows and, with three letters, slices. An axis of odd length has its last voxel doubled (pyCERR 2.5.1 leaves zeros where it doubles a slice), and the image goes on with itself. With `rotations` the mean over the orders of the letters is joined over the 4 or 8 mirror images.",
    source: "IBSI-2, chapter 4.6; CERR's filters Wavelets and RotationInvariantWavelets (pyCERR's waveletFilter)",
    parameters: &[
        Parameter {
            name: "wavelet",
            doc: "Which wavelet; `haar` and `db1` are one.",
            unit: "",
            kind: Kind::Choice(&WAVELETS),
            default: None,
        },
        Parameter {
            name: "band",
            doc: "Letters along columns, rows and slices (of the network's axes).",
            unit: "",
            kind: Kind::Choice(&["LL", "LH", "HL", "HH", "LLL", "LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH"]),
            default: None,
        },
        Parameter {
            name: "level",
            doc: "Level of the decomposition; low-passed at all levels before it.",
            unit: "",
            kind: Kind::Integer { low: 1, high: 6 },
            default: Some("1"),
        },
        Parameter {
            name: "rotations",
            doc: "How the answers for mirror images are joined, or that there is one image.",
            unit: "",
            kind: Kind::Choice(&["none", "avg", "max", "std"]),
            default: Some("\"none\""),
        },
    ],
    check: super::always_consistent,
    apply: |arguments, mut image, _| {
        let (name, band) = (arguments.choice("wavelet"), arguments.choice("band"));
        let (level, word) = (arguments.integer("level") as usize, arguments.choice("rotations"));
        let axes = image.frame.axes;
        let source = axes.view(&image.pixels).to_owned();
        let answer = match word {
            "none" => Some(sub_band(&source, name, band, level)),
            _ => {
                let flips = if band.len() == 2 { 4 } else { 8 };
                Aggregate::of(word).join((0..flips).filter_map(|flips| {
                    let mut turned = source.clone();
                    let mirror = |array: &mut Array3<f32>| {
                        (0..3).filter(|bit| flips >> bit & 1 == 1).for_each(|bit| array.invert_axis(Axis(2 - bit)));
                    };
                    mirror(&mut turned);
                    let turned = turned.as_standard_layout().into_owned();
                    let bands = orders(band);
                    let answers = bands.iter().map(|band| sub_band(&turned, name, band, level));
                    let mut mean = Aggregate::Average.join(answers)?;
                    mirror(&mut mean);
                    Some(mean.as_standard_layout().into_owned())
                }))
            }
        };
        let answer = answer.ok_or_else(|| failed(ENTRY.name)("found no band, expected one".to_owned()))?;
        image.pixels = CowArray::from(axes.view_back(&answer).to_owned());
        Ok(image)
    },
};

/// All different orders of the letters.
fn orders(band: &str) -> Vec<String> {
    let letters: Vec<char> = band.chars().collect();
    let places: &[&[usize]] = match letters.len() {
        2 => &[&[0, 1], &[1, 0]],
        _ => &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]],
    };
    let mut all: Vec<String> =
        places.iter().map(|places| places.iter().map(|place| letters[*place]).collect()).collect();
    all.sort();
    all.dedup();
    all
}

/// One sub-band of an array `[slice, row, column]`.
fn sub_band(source: &Array3<f32>, name: &str, band: &str, level: usize) -> Array3<f32> {
    let (slices, rows, columns) = source.dim();
    let used = [band.len() == 3, true, true];
    let shape = [slices, rows, columns];
    let even = [0, 1, 2].map(|axis| shape[axis] + usize::from(used[axis] && shape[axis] % 2 == 1));
    let mut current =
        Array3::from_shape_fn(even, |(k, j, i)| source[[k.min(slices - 1), j.min(rows - 1), i.min(columns - 1)]]);
    let high: Vec<bool> = band.chars().map(|letter| letter == 'H').collect();
    for step in 1..=level {
        // Letters count at the last level; the levels before it are low-pass along all axes.
        let lines = [0, 1, 2].map(|axis| used[axis].then(|| wavelet(name, step == level && high[2 - axis], step)));
        current = separable(current.view(), &lines, Boundary::Periodic);
    }
    part(current.view(), &[0..slices, 0..rows, 0..columns]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::orders;
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn sub_bands_are_those_of_pycerr() {
        // pyCERR 2.5.1: waveletFilter.
        let source = waves([6, 6, 7], [2.0, 1.5, 1.0]);
        let cases = [
            ("db2", "LH", 1, [-71.3739, -17.1452, -16.1867, 54.4755, 6.10815]),
            ("coif1", "HLL", 1, [130.888, -222.828, -28.7785, 64.5383, 7.97049]),
            ("db3", "LLH", 2, [-637.721, -639.105, 499.273, 170.332, -265.025]),
            ("haar", "HH", 2, [78.2438, -100.936, -6.00497, 12.0222, -19.2389]),
        ];
        for (name, band, level, expected) in cases {
            let json = format!(r#"{{"op": "wavelet", "wavelet": "{name}", "band": "{band}", "level": {level}}}"#);
            found_at(&json, &source, &expected, 2e-3);
        }
    }

    #[test]
    fn rotations_are_those_of_pycerr() {
        // pyCERR 2.5.1: rotationInvariantWaveletFilter, db3, LLH, 3d.
        let source = waves([6, 6, 7], [2.0, 1.5, 1.0]);
        let json = r#"{"op": "wavelet", "wavelet": "db3", "band": "LLH", "rotations": "avg"}"#;
        found_at(json, &source, &[-10.726, -14.4397, -18.4344, 47.1948, -47.813], 2e-3);
        found_at(&json.replace("avg", "max"), &source, &[24.4995, 22.4613, -1.91473, 80.3577, -10.4563], 2e-3);
    }

    #[test]
    fn orders_are_all_and_different() {
        assert_eq!(orders("LLH"), ["HLL", "LHL", "LLH"]);
        assert_eq!(orders("HH"), ["HH"]);
    }
}
