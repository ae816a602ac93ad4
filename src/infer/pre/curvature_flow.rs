//! Smooth within edges by curvature; the filter itself stands in `filter`.

use super::{Operation, failed};
use crate::infer::filter::curvature_flow::curvature_flow;
use crate::infer::frame::spacing_mm;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "curvature_flow",
    doc: "Smooths by curvature flow, each slice along the network's first axis by itself (`2d`) or the volume (`3d`). With `spacing` `mm` derivatives are in mm, else in voxels, as of an image that was made from an array.",
    source: "ITK's CurvatureFlowImageFilter; CERR's wrapper of the MR prostate model: 2d, time_step 0.125, 3 iterations",
    parameters: &[
        Parameter {
            name: "time_step",
            doc: "How far one iteration goes; stable up to 1 / 2^(dimensions + 1) with voxels.",
            unit: "",
            kind: Kind::Number { low: 1e-6, high: 1.0 },
            default: Some("0.125"),
        },
        Parameter {
            name: "iterations",
            doc: "How often.",
            unit: "",
            kind: Kind::Integer { low: 1, high: 1000 },
            default: Some("3"),
        },
        Parameter {
            name: "dimension",
            doc: "Each slice by itself, or the volume.",
            unit: "",
            kind: Kind::Choice(&["2d", "3d"]),
            default: Some("\"2d\""),
        },
        Parameter {
            name: "spacing",
            doc: "The unit of derivatives.",
            unit: "",
            kind: Kind::Choice(&["voxels", "mm"]),
            default: Some("\"voxels\""),
        },
    ],
    check: super::always_consistent,
    apply: |arguments, mut image, _| {
        let mut scale = [1.0; 3];
        if arguments.choice("spacing") == "mm" {
            image.need_grid().map_err(failed(ENTRY.name))?;
            scale = spacing_mm(&image.frame.geometry).map(|mm| 1.0 / mm);
        }
        if arguments.choice("dimension") == "2d" {
            scale[image.frame.axes.array_axis(0)] = 0.0;
        }
        let (step, iterations) = (arguments.number("time_step"), arguments.integer("iterations") as usize);
        image.pixels = curvature_flow(image.pixels.view(), scale, step, iterations).into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_curvature_flow_of_itk() {
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        // SimpleITK 2.5.7: CurvatureFlow(image, 0.0625, 4) with spacing 2, 1.5, 1 mm.
        let json =
            r#"{"op": "curvature_flow", "time_step": 0.0625, "iterations": 4, "dimension": "3d", "spacing": "mm"}"#;
        found_at(json, &source, &[219.58993, 49.39687, 51.49009, -142.15784, 51.77797], 1e-3);
        // Each slice by itself: CurvatureFlow(slice, 0.125, 3).
        let expected = [181.63817, 46.09152, 48.12994, -143.56179, 50.59232];
        found_at(r#"{"op": "curvature_flow"}"#, &source, &expected, 1e-3);
    }
}
