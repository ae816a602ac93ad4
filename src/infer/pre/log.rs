//! The Laplacian of a Gaussian, sampled as IBSI says; `laplacian_recursive_gaussian` is ITK's.

use ndarray::Zip;

use super::Operation;
use super::neighbourhood::{BOUNDARY, spacing};
use crate::infer::filter::convolution::{Boundary, Line, separable};
use crate::infer::filter::kernels::{gaussian, gaussian_bent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "log",
    doc: "Convolves with the Laplacian of a Gaussian, sampled at voxel centres, in voxels, the Gaussian's sum brought to 1 and the kernel's mean to 0. Size: 2 round(cutoff / spacing) + 1, halves to the even number.",
    source: "IBSI-2, chapter 4.2; CERR's filter LoG_IBSI (pyCERR's LoGFilter)",
    parameters: &[
        Parameter {
            name: "sigma_mm",
            doc: "Standard deviation along slices, rows and columns; 0 leaves an axis out (slices: in planes).",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 100.0 },
            default: None,
        },
        Parameter {
            name: "cutoff",
            doc: "How many standard deviations far the kernel reaches.",
            unit: "",
            kind: Kind::Number { low: 0.5, high: 10.0 },
            default: Some("4"),
        },
        BOUNDARY,
    ],
    check: |arguments| {
        arguments.triple("sigma_mm").iter().all(|sigma| *sigma == 0.0).then(|| {
            let found = "sigma_mm [0, 0, 0]".to_owned();
            [found, "at least one above 0".to_owned(), "give one, or remove the operation".to_owned()]
        })
    },
    apply: |arguments, mut image, _| {
        let sigma_mm = image.frame.axes.to_array(arguments.triple("sigma_mm"));
        let used = sigma_mm.map(|sigma| sigma > 0.0);
        let mm = spacing(&image, used, ENTRY.name)?;
        let boundary = Boundary::of(arguments.choice("boundary"));
        let sigma = [0, 1, 2].map(|axis| sigma_mm[axis] / mm[axis]);
        let radius = sigma.map(|sigma| (arguments.number("cutoff") * sigma).round_ties_even() as usize);
        let mut sum = ndarray::Array3::<f32>::zeros(image.pixels.raw_dim());
        let mut total = 0.0;
        for bent in (0..3).filter(|axis| used[*axis]) {
            let lines = [0, 1, 2].map(|axis| {
                let line = if axis == bent { gaussian_bent } else { gaussian };
                used[axis].then(|| line(sigma[axis], radius[axis]))
            });
            total += lines[bent].as_ref().map_or(0.0, |line| line.weights.iter().sum::<f64>());
            let part = separable(image.pixels.view(), &lines, boundary);
            Zip::from(&mut sum).and(&part).par_for_each(|sum, part| *sum += part);
        }
        // The kernel less its mean: the box of its size, times that mean, is taken away.
        let mut share = Some(total);
        let flat = [0, 1, 2].map(|axis| {
            let count = 2 * radius[axis] + 1;
            let factor = if used[axis] { share.take().unwrap_or(1.0) } else { 1.0 };
            used[axis].then(|| Line::centred(vec![factor / count as f64; count]))
        });
        let flat = separable(image.pixels.view(), &flat, boundary);
        Zip::from(&mut sum).and(&flat).par_for_each(|sum, flat| *sum -= flat);
        image.pixels = sum.into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_log_filter_of_pycerr() {
        // pyCERR 2.5.1: LoGFilter, sigma 1.5, 1.2 and 1 mm along slices, rows, columns, cutoff 4 sigma; then in planes.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        found_at(
            r#"{"op": "log", "sigma_mm": [1.5, 1.2, 1]}"#,
            &source,
            &[-195.179, -114.154, -15.283, 94.0817, -38.9311],
            2e-3,
        );
        found_at(
            r#"{"op": "log", "sigma_mm": [0, 1.2, 1]}"#,
            &source,
            &[-189.279, -78.0661, -14.7433, 62.6313, -6.51028],
            2e-3,
        );
    }
}
