//! The energy of Laws' answers: their mean magnitude near each voxel; the answers themselves are `laws`.

use super::laws::{KERNEL, NORMALISED, ROTATIONS, answer, check_kernel};
use super::neighbourhood::{BOUNDARY, lines_of, size};
use super::{Operation, failed};
use crate::infer::filter::convolution::{Boundary, separable};
use crate::infer::filter::kernels;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "laws_energy",
    doc: "Filters as `laws` does and replaces each voxel by the mean of the absolute answers in the box around it.",
    source: "IBSI-2, chapter 4.3; CERR's filters LawsEnergy and RotationInvariantLawsEnergy",
    parameters: &[
        KERNEL,
        NORMALISED,
        ROTATIONS,
        BOUNDARY,
        Parameter {
            name: "size",
            doc: "Size of the box along slices, rows and columns; 0 and 1 leave an axis alone.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 255.0 },
            default: Some("[7, 7, 7]"),
        },
        Parameter {
            name: "energy_boundary",
            doc: "What lies beyond the answers, as of `boundary`.",
            unit: "",
            kind: Kind::Choice(&Boundary::WORDS),
            default: Some("\"mirror\""),
        },
    ],
    check: check_kernel,
    apply: |arguments, mut image, _| {
        let none = || failed(ENTRY.name)("found no kernel, expected one".to_owned());
        let mut energy = answer(arguments, &image).ok_or_else(none)?;
        energy.par_mapv_inplace(f32::abs);
        let axes = image.frame.axes;
        let working = axes.to_working(size(arguments, axes)).map(|count| (count > 1).then(|| kernels::mean(count)));
        let boundary = Boundary::of(arguments.choice("energy_boundary"));
        image.pixels = separable(energy.view(), &lines_of(axes, working), boundary).into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_laws_energy_of_pycerr() {
        // pyCERR 2.5.1: lawsEnergyFilter, EnergyKernelSize 3 x 3 x 3, EnergyPadSize 1, EnergyPadMethod mirror.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        let json = r#"{"op": "laws_energy", "kernel": "E3L3S3", "normalised": false, "size": [3, 3, 3]}"#;
        found_at(json, &source, &[458.296, 229.148, 101.226, 316.196, 224.372], 2e-3);
    }
}
