//! Bring the image to another voxel size; it does not crop.

use std::sync::Arc;

use super::{Operation, failed};
use crate::infer::InferError;
use crate::infer::axes::REVERSED_HAIR;
use crate::infer::frame::{Frame, Prepared, spacing_mm};
use crate::infer::grid::kernel::Kernel;
use crate::infer::grid::lines::{self, Plan};
use crate::infer::grid::spline::{Ends, Order};
use crate::infer::grid::target::{Rule, Target, aligned_position, separate_axis};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::limits::IMAGE_SIDE_MAX;

pub(super) const ENTRY: Operation = Operation {
    name: "resample",
    doc: "Interpolates onto a grid of `spacing_mm`. Grids: `centred` shares its centre with the image and has ceil(n d_in / d_out) voxels (CERR); `edges` shares the outer edges, has round(n d_in / d_out) voxels, and the spacing gives way (nnU-Net); `corners` keeps the first voxel that the network sees and has round((n - 1) d_in / d_out + 1) voxels (MONAI `Spacing`). Methods: `linear`, `cubic` (Keys), `spline` (not-a-knot), `makima` as MATLAB's interp3; `sinc` as MATLAB's imresize with lanczos3; `bspline`: B-spline of an `order` with `ends`, by default cubic and mirrored at the outermost centres, as ITK and SciPy; `nnunet`: cubic B-spline whose ends go on as the outermost values, kept to the lowest and highest value before, as scikit-image's resize called by nnU-Net.",
    source: "CERR's resample and getResampledGrid; nnU-Net v2's default_resampling; MONAI's Spacing; Keys, IEEE Trans. ASSP 29, 1981; Unser, IEEE Trans. Signal Processing 41, 1993",
    parameters: &[
        Parameter {
            name: "spacing_mm",
            doc: "New distance between slices, rows and columns; 0 leaves an axis as it is.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 100.0 },
            default: Some("[0, 0, 0]"),
        },
        Parameter {
            name: "size",
            doc: "New number of slices, rows and columns in the place of `spacing_mm`, with grid `edges` (MONAI `Resized`); 0 leaves an axis as it is.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: IMAGE_SIDE_MAX as f64 },
            default: Some("[0, 0, 0]"),
        },
        Parameter {
            name: "method",
            doc: "How values between voxels are made. Uneven slices (deviation above 1 % of their spacing) bear `nearest`, `linear` and `cubic` only.",
            unit: "",
            kind: Kind::Choice(&Kernel::WORDS),
            default: Some("\"linear\""),
        },
        Parameter {
            name: "grid",
            doc: "How the new grid lies over the old one.",
            unit: "",
            kind: Kind::Choice(&Rule::WORDS),
            default: Some("\"centred\""),
        },
        Parameter {
            name: "outside",
            doc: "Value beyond the outermost voxel centres; `edge` takes the outermost voxel, or what `ends` say. CERR: 0; MONAI's `Spacing` with a spline and `zeros`: 0. Not with grid `edges`.",
            unit: "unit of the image",
            kind: Kind::NumberOr { low: -1e9, high: 1e9, word: "edge" },
            default: Some("\"edge\""),
        },
        Parameter {
            name: "separate",
            doc: "Whether the axis of the largest spacing is taken apart, the method working in its planes: `auto` where that spacing is more than 3 times the smallest, of the image or else of the new grid (nnU-Net).",
            unit: "",
            kind: Kind::Choice(&["never", "auto", "always"]),
            default: Some("\"never\""),
        },
        Parameter {
            name: "across",
            doc: "How values are made along an axis that is taken apart (nnU-Net's `order_z` 0 or 1).",
            unit: "",
            kind: Kind::Choice(&["nearest", "linear"]),
            default: Some("\"nearest\""),
        },
        Parameter {
            name: "order",
            doc: "Order of `bspline`: that of its polynomials (SciPy's and MONAI's number for the mode).",
            unit: "",
            kind: Kind::Integer { low: 2, high: 5 },
            default: Some("3"),
        },
        Parameter {
            name: "ends",
            doc: "How the image goes on beyond its ends for `bspline`: mirrored at the outermost centres, where `outside` counts beyond them; the outermost voxel for ever (SciPy `nearest`, MONAI `border`); mirrored at the outer edges (`reflection`).",
            unit: "",
            kind: Kind::Choice(&Ends::WORDS),
            default: Some("\"mirror\""),
        },
        Parameter {
            name: "aligned",
            doc: "Takes values where MONAI's `Spacing` does with a spline and `align_corners`, near their places; with grid `corners` and `bspline`.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
    ],
    check: |arguments| {
        if let Some(told) = misplaced_spline(arguments) {
            return Some(told);
        }
        let [spacing, size] = ["spacing_mm", "size"].map(|key| arguments.triple(key));
        let (by_spacing, by_size) = (spacing != [0.0; 3], size != [0.0; 3]);
        let whole = size.iter().all(|side| side.fract() == 0.0);
        if (by_spacing && by_size) || !whole || (by_size && arguments.choice("grid") != "edges") {
            let found = format!("spacing_mm {spacing:?} and size {size:?} with grid {:?}", arguments.choice("grid"));
            let cure = "remove one of the two; with size set grid to \"edges\"".to_owned();
            return Some([found, "spacing_mm, or size in whole voxels with grid \"edges\"".to_owned(), cure]);
        }
        let misplaced = arguments.number_or("outside").is_some() && arguments.choice("grid") == "edges";
        misplaced.then(|| {
            [
                "a number for outside with grid \"edges\"".to_owned(),
                "\"edge\"".to_owned(),
                "remove outside, or set grid to \"centred\" or \"corners\"".to_owned(),
            ]
        })
    },
    apply: |arguments, image, _| resample(arguments, image),
};

/// What is wrong with the parameters of a B-spline: found, expected, cure.
fn misplaced_spline(arguments: &Arguments) -> Option<[String; 3]> {
    let (method, ends, aligned) = (arguments.choice("method"), arguments.choice("ends"), arguments.flag("aligned"));
    if method != "bspline" && (arguments.integer("order") != 3 || ends != "mirror" || aligned) {
        let found = format!("order, ends or aligned with method {method:?}");
        return Some([found, "them with \"bspline\" only".to_owned(), "remove them, or set method".to_owned()]);
    }
    if ends != "mirror" && arguments.number_or("outside").is_some() {
        let found = format!("a number for outside with ends {ends:?}, which tell what lies there");
        return Some([found, "one of the two".to_owned(), "remove outside, or ends".to_owned()]);
    }
    if aligned && arguments.choice("grid") != "corners" {
        let found = format!("aligned with grid {:?}", arguments.choice("grid"));
        return Some([found, "the grid \"corners\"".to_owned(), "remove aligned, or set grid".to_owned()]);
    }
    None
}

fn resample<'a>(arguments: &Arguments, image: Prepared<'a>) -> Result<Prepared<'a>, InferError> {
    image.need_grid().map_err(failed("resample"))?;
    let (axes, geometry) = (image.frame.axes, Arc::clone(&image.frame.geometry));
    let mut spacing = axes.to_array(arguments.triple("spacing_mm"));
    let (size, sides) = (axes.to_array(arguments.triple("size")), geometry.shape());
    for axis in (0..3).filter(|axis| size[*axis] > 0.0) {
        spacing[axis] = spacing_mm(&geometry)[axis] * sides[axis] as f64 / size[axis];
    }
    let refused = |reason: String| failed("resample")(format!("at {spacing:?} mm: {reason}"));
    let rule = Rule::of(arguments.choice("grid"));
    let mut target = rule.lay(&geometry, axes, spacing).map_err(|error| refused(error.to_string()))?;
    let present = spacing_mm(&geometry);
    let new = [0, 1, 2].map(|axis| if spacing[axis] > 0.0 { spacing[axis] } else { present[axis] });
    if rule == Rule::Edges && target.geometry.shape() == geometry.shape() || target.kept == [true; 3] {
        // nnU-Net returns the array as it is when its shape stays; so it keeps its place too.
        let frame = Frame { nominal_mm: Some(new), ..image.frame };
        return Ok(Prepared { frame, ..image });
    }
    let apart = match arguments.choice("separate") {
        "never" => None,
        word => separate_axis(present, new, word == "always"),
    };
    let kernel = match (arguments.choice("method"), Order::of(arguments.integer("order"))) {
        ("bspline", Some(order)) => Kernel::BSpline(order, Ends::of(arguments.choice("ends"))),
        (word, _) => Kernel::of(word),
    };
    if arguments.flag("aligned") {
        let reversed = axes.reversed_on_array();
        for axis in (0..3).filter(|axis| !target.kept[*axis]) {
            let (sizes, step) = ((target.positions[axis].len(), sides[axis]), new[axis] / present[axis]);
            let places = target.positions[axis].iter_mut().enumerate();
            places.for_each(|(output, place)| *place = aligned_position(output as f64, sizes, step, reversed[axis]));
        }
    }
    let across = Kernel::of(arguments.choice("across"));
    let kernels = [0, 1, 2].map(|axis| if apart == Some(axis) { across } else { kernel });
    let (deviation, gap) = (geometry.slice_spacing_deviation_mm(), geometry.slice_spacing_mm());
    if !target.kept[0] && !kernels[0].bears_uneven_slices() && deviation > 0.01 * gap {
        return Err(refused(format!(
            "found slices whose spacing deviates by {deviation:.3} mm from {gap:.3} mm, expected at most 1 % for method \
             {:?}; make them even with method \"linear\" first, or leave the slices as they are",
            arguments.choice("method")
        )));
    }
    let mut found = moved(image, target, kernels, apart, arguments.number_or("outside").map(|value| value as f32));
    found.frame.nominal_mm = Some(new);
    Ok(found)
}

fn moved(
    image: Prepared<'_>,
    target: Target,
    kernels: [Kernel; 3],
    apart: Option<usize>,
    outside: Option<f32>,
) -> Prepared<'_> {
    let reversed = image.frame.axes.reversed_on_array();
    let mut positions = target.positions;
    for axis in (0..3).filter(|axis| reversed[*axis] && kernels[*axis] == Kernel::Nearest) {
        positions[axis].iter_mut().for_each(|position| *position -= REVERSED_HAIR);
    }
    let clip = kernels.contains(&Kernel::EdgeSpline);
    let plan = Plan { positions: &positions, kept: target.kept, kernels, outside, planes: apart, clip };
    let pixels = lines::apply(image.pixels.view(), &plan);
    let mask = image.mask.as_ref().map(|mask| lines::nearest_of(mask, &positions));
    let frame = image.frame.clone().regridded(Arc::new(target.geometry));
    let pixels = pixels.map_or(image.pixels, Into::into);
    Prepared { frame, pixels, mask, boxes: None, saved: image.saved }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ndarray::Array3;

    use super::*;
    use crate::infer::pre::tests::{check, counted, waves};
    use crate::volume::{Volume, VolumeGeometry};

    fn found(json: &str, volume: &Volume) -> Volume {
        check(json, volume.clone(), &BTreeMap::new()).expect("resampled")
    }

    fn near(found: &Volume, shape: [usize; 3], expected: &[([usize; 3], f32)]) {
        assert_eq!(found.geometry.shape(), shape);
        for (index, value) in expected {
            assert!((found.pixels[*index] - value).abs() < 2e-3, "{index:?}: {} and {value}", found.pixels[*index]);
        }
    }

    #[test]
    fn an_axis_that_is_taken_apart_may_be_linear() {
        let origins = [0.0, 5.0, 10.0, 15.0].map(|z| [0.0, 0.0, z]).to_vec();
        let geometry = VolumeGeometry::new((3, 3), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let pixels = Array3::from_shape_fn((4, 3, 3), |(k, _, _)| 10.0 * k as f32);
        let volume = Volume::new(Arc::new(geometry.expect("legal")), pixels);
        let with = |across: &str| {
            let json = format!(
                r#"{{"op": "resample", "spacing_mm": [2.5, 1, 1], "grid": "edges", "method": "nnunet", "separate": "auto", "across": "{across}"}}"#
            );
            found(&json, &volume).pixels.axis_iter(ndarray::Axis(0)).map(|plane| plane[[1, 1]]).collect::<Vec<f32>>()
        };
        assert_eq!(with("linear"), [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]);
        assert_eq!(with("nearest"), [0.0, 0.0, 10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
    }

    #[test]
    fn brings_an_image_to_a_size() {
        let source = waves([5, 6, 7], [2.0, 1.0, 1.0]);
        let small = found(r#"{"op": "resample", "size": [5, 3, 0], "grid": "edges"}"#, &source);
        assert_eq!(small.geometry.shape(), [5, 3, 7]);
        // Rows of the same outer edges lie in the middle between two.
        let expected = (source.pixels[[2, 2, 4]] + source.pixels[[2, 3, 4]]) / 2.0;
        assert!((small.pixels[[2, 1, 4]] - expected).abs() < 1e-4);
        assert_eq!(small.geometry.row_spacing_mm(), 2.0);
        let told = check(r#"{"op": "resample", "size": [5, 3, 0]}"#, source.clone(), &BTreeMap::new());
        assert!(told.err().is_some_and(|told| told.contains("size in whole voxels with grid \"edges\"")));
        // Nothing is asked for: nothing is done.
        assert_eq!(found(r#"{"op": "resample", "spacing_mm": [0, 0, 0]}"#, &source).pixels, source.pixels);
    }

    #[test]
    fn makes_even_slices_of_uneven_ones() {
        let json = r#"{"op": "resample", "spacing_mm": [1, 0, 0]}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("resampled");
        assert_eq!(found.geometry.shape(), [7, 6, 8]);
        assert!(found.geometry.slice_spacing_deviation_mm() < 1e-9);
        // Slices lie at -0.5, 0.5, 1.5, ... mm; 0.5 mm is a quarter of the way from slice 0 (0 mm) to slice 1 (2 mm).
        assert_eq!(found.pixels[[1, 0, 0]], 12.0);
    }

    #[test]
    fn refuses_a_grid_beyond_all_bounds() {
        for spacing in ["[0, 0.0001, 0]", "[1e-12, 0, 0]", "[0, 0, 1e-12]"] {
            for grid in Rule::WORDS {
                let json = format!(r#"{{"op": "resample", "spacing_mm": {spacing}, "grid": "{grid}"}}"#);
                let told = check(&json, counted(), &BTreeMap::new()).err();
                assert!(told.is_some_and(|told| told.contains("rows")), "{json}");
            }
        }
    }

    #[test]
    fn refuses_splines_between_uneven_slices_unless_they_stay() {
        let told =
            check(r#"{"op": "resample", "spacing_mm": [1, 0, 0], "method": "spline"}"#, counted(), &BTreeMap::new());
        assert!(told.err().is_some_and(|told| told.contains("deviates by 1.000 mm from 2.000 mm")));
        found(r#"{"op": "resample", "spacing_mm": [0, 1, 1], "method": "spline"}"#, &counted());
        let json = r#"{"op": "resample", "spacing_mm": [0.5, 1, 1], "grid": "edges", "method": "nnunet", "separate": "always"}"#;
        found(json, &counted());
    }

    #[test]
    fn takes_the_value_outside_beyond_the_outermost_centres_only() {
        let source = waves([5, 6, 7], [2.0, 1.0, 1.0]);
        let json = r#"{"op": "resample", "spacing_mm": [0, 0.5, 0], "outside": -7}"#;
        let half = found(json, &source);
        assert_eq!(half.geometry.shape(), [5, 12, 7]);
        // Rows lie at -0.25, 0.25, ..., 5.25 old rows.
        assert_eq!((half.pixels[[1, 0, 2]], half.pixels[[1, 11, 2]]), (-7.0, -7.0));
        let expected = 0.75 * source.pixels[[1, 0, 2]] + 0.25 * source.pixels[[1, 1, 2]];
        assert!((half.pixels[[1, 1, 2]] - expected).abs() < 1e-4);
        let told = check(
            r#"{"op": "resample", "spacing_mm": [0, 0.5, 0], "outside": -7, "grid": "edges"}"#,
            source,
            &BTreeMap::new(),
        );
        assert!(told.err().is_some_and(|told| told.contains("found a number for outside with grid \"edges\"")));
    }

    #[test]
    fn resamples_as_nnunet_does() {
        // scikit-image 0.26: resize(order=3, mode="edge", anti_aliasing=False, clip=True) of the same waves.
        let json = r#"{"op": "resample", "spacing_mm": [1.5, 0.6, 0.8], "grid": "edges", "method": "nnunet", "separate": "auto"}"#;
        let even = found(json, &waves([5, 6, 7], [2.0, 1.0, 1.0]));
        near(
            &even,
            [7, 10, 9],
            &[
                ([0, 0, 0], 43.37734),
                ([3, 5, 5], 346.00227),
                ([6, 9, 8], -141.54355),
                ([3, 4, 4], 58.47948),
                ([2, 5, 5], 169.78552),
            ],
        );
        // Slices of 5 mm: each of them by itself, kept to its own range, then the nearest one.
        let json = json.replace("1.5, 0.6", "2, 0.6");
        let apart = found(&json, &waves([5, 6, 7], [5.0, 1.0, 1.0]));
        near(
            &apart,
            [12, 10, 9],
            &[
                ([0, 0, 0], 48.34857),
                ([5, 5, 5], 346.00227),
                ([11, 9, 8], -142.23393),
                ([6, 4, 5], 105.88482),
                ([7, 0, 8], 21.96389),
            ],
        );
        assert!((apart.geometry.slice_spacing_mm() - 25.0 / 12.0).abs() < 1e-9);
    }

    #[test]
    fn resamples_with_the_not_a_knot_spline_of_matlab() {
        // SciPy 1.17: CubicSpline(bc_type="not-a-knot") along columns, then slices.
        let json = r#"{"op": "resample", "spacing_mm": [1.5, 0, 0.7], "method": "spline", "outside": 0}"#;
        let found = found(json, &waves([5, 6, 7], [2.0, 1.0, 1.0]));
        let expected = [([1, 2, 1], 138.728), ([3, 3, 6], 399.411), ([0, 2, 1], 0.0), ([5, 5, 8], -148.9305)];
        near(&found, [7, 6, 10], &expected);
    }

    #[test]
    fn a_linear_field_survives_every_smooth_method_and_grid() {
        let mut source = waves([8, 9, 10], [2.0, 1.0, 1.5]);
        let place = |geometry: &VolumeGeometry, index: [usize; 3]| {
            let [x, y, z] = geometry.index_to_patient(index.map(|index| index as f64));
            (2.0 * x - 3.0 * y + 0.5 * z) as f32
        };
        let geometry = Arc::clone(&source.geometry);
        source.pixels = Array3::from_shape_fn(geometry.shape(), |(k, j, i)| place(&geometry, [k, j, i]));
        for (method, rim) in [("linear", 1), ("cubic", 1), ("spline", 1), ("makima", 1), ("bspline", 4), ("nnunet", 4)]
        {
            for grid in Rule::WORDS {
                let json = format!(
                    r#"{{"op": "resample", "spacing_mm": [1.3, 1.1, 0.9], "grid": "{grid}", "method": "{method}"}}"#
                );
                let found = found(&json, &source);
                let [slices, rows, columns] = found.geometry.shape();
                let bound = if rim == 1 { 1e-3 } else { 0.3 };
                for (k, j, i) in
                    [(rim, rim, rim), (slices / 2, rows - 1 - rim, columns / 2), (slices - 1 - rim, rows / 2, 5)]
                {
                    let exact = place(&found.geometry, [k, j, i]);
                    assert!((found.pixels[[k, j, i]] - exact).abs() < bound, "{json} at {k} {j} {i}");
                }
            }
        }
    }
}
