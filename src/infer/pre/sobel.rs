//! Sobel's gradient in planes; nothing across them.

use ndarray::Zip;

use super::neighbourhood::{BOUNDARY, lines_of};
use super::{Operation, always_consistent};
use crate::infer::filter::convolution::{Boundary, Line, separable};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "sobel",
    doc: "Replaces each voxel by the length or the angle (radians, from columns towards rows, as pyCERR signs it) of Sobel's gradient in slices along the network's first axis, in voxels.",
    source: "CERR's filter Sobel",
    parameters: &[
        Parameter {
            name: "give",
            doc: "Length or angle.",
            unit: "",
            kind: Kind::Choice(&["magnitude", "direction"]),
            default: Some("\"magnitude\""),
        },
        BOUNDARY,
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let boundary = Boundary::of(arguments.choice("boundary"));
        let (smooth, slope) = (Line::centred(vec![1.0, 2.0, 1.0]), Line::centred(vec![-1.0, 0.0, 1.0]));
        let against = Line::centred(vec![1.0, 0.0, -1.0]);
        let answer = |rows: Line, columns: Line| {
            let lines = lines_of(image.frame.axes, [None, Some(rows), Some(columns)]);
            separable(image.pixels.view(), &lines, boundary)
        };
        let (mut x, y) = (answer(smooth.clone(), slope), answer(against, smooth));
        let direction = arguments.choice("give") == "direction";
        Zip::from(&mut x).and(&y).par_for_each(|x, y| *x = if direction { y.atan2(*x) } else { x.hypot(*y) });
        image.pixels = x.into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_sobel_filter_of_pycerr() {
        // pyCERR 2.5.1: sobelFilter.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        found_at(r#"{"op": "sobel"}"#, &source, &[259.242, 538.448, 274.998, 602.018, 22.321], 2e-3);
        found_at(
            r#"{"op": "sobel", "give": "direction"}"#,
            &source,
            &[-0.650739, -2.87127, 2.14736, 2.3202, 1.07555],
            1e-5,
        );
    }
}
