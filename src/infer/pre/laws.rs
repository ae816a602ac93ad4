//! Laws' texture kernels, in planes or volumes, as they are or for all turns by right angles; their energy is `laws_energy`.

use ndarray::Array3;

use super::neighbourhood::{BOUNDARY, lines_of};
use super::{Operation, failed};
use crate::infer::filter::aggregate::{Aggregate, rotations};
use crate::infer::filter::convolution::{Boundary, Line, separable};
use crate::infer::filter::kernels;
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "laws",
    doc: "Convolves with a product of two (in slices along the network's first axis) or three kernels of Laws, named along columns, rows and slices: `L5E5`, `E3L3S3`. Lines are L3, E3, S3, L5, E5, S5, R5 and W5.",
    source: "IBSI-2, chapter 4.3; CERR's filters LawsConvolution and RotationInvariantLaws",
    parameters: &[KERNEL, NORMALISED, ROTATIONS, BOUNDARY],
    check: check_kernel,
    apply: |arguments, mut image, _| {
        let answer = answer(arguments, &image);
        let none = || failed(ENTRY.name)("found no kernel, expected one".to_owned());
        image.pixels = answer.ok_or_else(none)?.into();
        Ok(image)
    },
};

pub(super) const KERNEL: Parameter = Parameter {
    name: "kernel",
    doc: "Names of the lines along columns, rows and, in volumes, slices.",
    unit: "",
    kind: Kind::Text,
    default: None,
};

pub(super) const NORMALISED: Parameter = Parameter {
    name: "normalised",
    doc: "Whether the squares of each line's weights sum to 1 (IBSI), or the weights are whole numbers.",
    unit: "",
    kind: Kind::Flag,
    default: Some("true"),
};

pub(super) const ROTATIONS: Parameter = Parameter {
    name: "rotations",
    doc: "How the answers for all turns by right angles are joined (4 in planes, 24 in volumes), or that there is one turn.",
    unit: "",
    kind: Kind::Choice(&["none", "avg", "max", "std"]),
    default: Some("\"none\""),
};

/// The lines of a kernel's name, along columns first.
fn parse(name: &str, normalised: bool) -> Option<Vec<Line>> {
    let parts: Vec<&str> = name.as_bytes().chunks(2).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    let lines: Vec<Line> = parts.iter().map(|part| kernels::laws(part, normalised)).collect::<Option<_>>()?;
    (2..=3).contains(&lines.len()).then_some(lines)
}

pub(super) fn check_kernel(arguments: &Arguments) -> Option<[String; 3]> {
    let name = arguments.text("kernel").unwrap_or_default();
    parse(name, false).is_none().then(|| {
        let expected = format!("two or three of {}", kernels::LAWS.join(", "));
        [format!("kernel {name:?}"), expected, "such as \"L5E5\" or \"E3L3S3\"".to_owned()]
    })
}

/// The answer of the kernel, joined over turns when told.
pub(super) fn answer(arguments: &Arguments, image: &Prepared<'_>) -> Option<Array3<f32>> {
    let lines = parse(arguments.text("kernel")?, arguments.flag("normalised"))?;
    let boundary = Boundary::of(arguments.choice("boundary"));
    let flat = lines.len() == 2;
    let mut working = [None, None, None];
    lines.into_iter().enumerate().for_each(|(place, line)| working[2 - place] = Some(line));
    let word = arguments.choice("rotations");
    if word == "none" {
        return Some(separable(image.pixels.view(), &lines_of(image.frame.axes, working), boundary));
    }
    // Turns that give one and the same kernel are all equally many, so that each is asked once.
    let mut turned: Vec<[Option<Line>; 3]> = Vec::new();
    for rotation in rotations(flat.then_some(0)) {
        let kernel =
            rotation.map(|(from, flip)| working[from].clone().map(|line| if flip { mirrored(line) } else { line }));
        let lines = lines_of(image.frame.axes, kernel).map(|line| line.map(unturned));
        if !turned.contains(&lines) {
            turned.push(lines);
        }
    }
    let answers = turned.iter().map(|lines| separable(image.pixels.view(), lines, boundary));
    Aggregate::of(word).join(answers)
}

/// A line of odd length the other way.
fn mirrored(mut line: Line) -> Line {
    line.weights.reverse();
    line
}

/// A line of odd length, written without the mark that it is turned.
fn unturned(line: Line) -> Line {
    if line.reversed { mirrored(line).turned(true) } else { line }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, found_at, waves};

    #[test]
    fn is_the_laws_filter_of_pycerr() {
        // pyCERR 2.5.1: lawsFilter.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        let expected = [157.042, 143.789, -230.542, -440.733, -19.6392];
        found_at(r#"{"op": "laws", "kernel": "L3E3", "normalised": false}"#, &source, &expected, 2e-3);
        let expected = [2.11978, -0.254786, -97.1229, 400.348, 3.19812];
        found_at(r#"{"op": "laws", "kernel": "E5W5", "normalised": false}"#, &source, &expected, 2e-3);
        let expected = [0.0, -182.286, 8.29694, -53.2434, -45.5715];
        found_at(r#"{"op": "laws", "kernel": "E3L3S3"}"#, &source, &expected, 2e-3);
    }

    #[test]
    fn turns_are_those_of_pycerr() {
        // pyCERR 2.5.1: rotationInvariantLawsFilter, 2d, on the image; 3d on its first 5 x 5 x 5 voxels (its turns need a cube).
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        let with = |kernel, word| {
            format!(r#"{{"op": "laws", "kernel": "{kernel}", "normalised": false, "rotations": "{word}"}}"#)
        };
        found_at(&with("L5E5", "max"), &source, &[2883.143, 2365.687, 2740.961, 4742.812, 1508.492], 2e-2);
        found_at(&with("L5S5", "avg"), &source, &[4347.713, 1715.703, 457.877, -1678.642, 242.855], 2e-2);
        found_at(&with("L5S5", "std"), &source, &[473.528, 1623.624, 650.451, 267.623, 183.227], 2e-2);
        let cube = waves([5, 5, 5], [1.0, 1.0, 1.0]);
        let found = check(&with("E3L3S3", "max"), cube, &BTreeMap::new()).expect("filtered").pixels;
        let expected = [553.8953, 1546.7483, 427.5126, 509.0752, 396.8746];
        for (index, expected) in [[2, 3, 4], [2, 3, 3], [0, 0, 0], [4, 4, 4], [1, 2, 3]].into_iter().zip(expected) {
            assert!((found[index] - expected).abs() < 1e-2, "{index:?}: {} for {expected}", found[index]);
        }
    }

    #[test]
    fn tells_what_a_kernel_is_called() {
        let told = check(r#"{"op": "laws", "kernel": "L4E5"}"#, waves([3, 4, 5], [1.0; 3]), &BTreeMap::new()).err();
        assert!(told.is_some_and(|told| told.contains("found kernel \"L4E5\", expected two or three of L3, E3")));
    }
}
