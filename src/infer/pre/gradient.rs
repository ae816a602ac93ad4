//! The magnitude of the gradient; not its direction.

use ndarray::Zip;

use super::Operation;
use super::neighbourhood::spacing;
use crate::infer::filter::convolution::{Boundary, Line, separable};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "gradient",
    doc: "Replaces each voxel by the length of the gradient, from central differences per mm; beyond the image the outermost voxel goes on.",
    source: "ITK's GradientMagnitudeImageFilter; CERR's filter GradientImageFilter",
    parameters: &[Parameter {
        name: "dimension",
        doc: "Whether the gradient lies in slices along the network's first axis, or in the volume.",
        unit: "",
        kind: Kind::Choice(&["2d", "3d"]),
        default: Some("\"3d\""),
    }],
    check: super::always_consistent,
    apply: |arguments, mut image, _| {
        let mut used = [true; 3];
        if arguments.choice("dimension") == "2d" {
            used[image.frame.axes.array_axis(0)] = false;
        }
        let mm = spacing(&image, used, ENTRY.name)?;
        let mut sum = ndarray::Array3::<f32>::zeros(image.pixels.raw_dim());
        for axis in (0..3).filter(|axis| used[*axis]) {
            let mut lines = [None, None, None];
            lines[axis] = Some(Line::centred(vec![0.5 / mm[axis], 0.0, -0.5 / mm[axis]]));
            let slope = separable(image.pixels.view(), &lines, Boundary::Edge);
            Zip::from(&mut sum).and(&slope).par_for_each(|sum, slope| *sum += slope * slope);
        }
        sum.par_mapv_inplace(f32::sqrt);
        image.pixels = sum.into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_gradient_magnitude_of_itk() {
        // SimpleITK 2.5.7: GradientMagnitude with spacing 2, 1.5, 1 mm, of the volume and of each slice.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        found_at(r#"{"op": "gradient"}"#, &source, &[45.6859, 165.436, 22.5536, 5.42624, 3.50073], 2e-3);
        found_at(
            r#"{"op": "gradient", "dimension": "2d"}"#,
            &source,
            &[28.8685, 161.602, 11.1876, 5.25408, 2.13994],
            2e-3,
        );
    }
}
