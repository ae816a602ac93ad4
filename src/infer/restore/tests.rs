//! Which voxels of the network's grid are taken on the way back.

use super::*;
use crate::infer::axes::{Axes, Orientation};
use crate::infer::frame::Resampled;
use crate::infer::grid::spline::{Ends, Order};
use crate::infer::recipe::{Label, Spline};

fn stack(spacing_mm: [f64; 3], first_mm: f64, shape: [usize; 3]) -> Arc<VolumeGeometry> {
    let origins = (0..shape[0]).map(|k| [0.0, 0.0, first_mm + spacing_mm[0] * k as f64]).collect();
    let in_plane = [spacing_mm[1], spacing_mm[2]];
    let geometry =
        VolumeGeometry::new((shape[1], shape[2]), in_plane, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
    Arc::new(geometry)
}

fn output(back: Back, separate: Separate) -> Output {
    Output {
        activation: Activation::None,
        activate: Activate::Blended,
        decision: Decision::ArgMax,
        back,
        fades: false,
        separate,
        half: false,
        labels: Vec::new(),
    }
}

#[test]
fn the_highest_of_channels_needs_two_but_images_alone_one() {
    let mut output = output(Back::Linear, Separate::Never);
    assert_eq!(output.channels_least(), 1);
    output.labels.push(Label { name: "A".to_owned(), index: 0, last: 0, threshold: 0.5 });
    assert_eq!(output.channels_least(), 2);
    output.labels.push(Label { name: "B".to_owned(), index: 4, last: 4, threshold: 0.5 });
    assert_eq!(output.channels_least(), 5);
}

#[test]
fn the_spacing_that_was_asked_for_says_which_axis_is_apart() {
    // Whole voxels made 3.1 x 1 x 1 mm of the plan's 3 x 1 x 1 mm, which is not more than three times.
    let target = stack([2.5, 0.9, 0.9], 0.2, [9, 9, 9]);
    let mut frame = Frame::of(stack([3.1, 1.0, 1.0], 0.0, [8, 8, 8]), Axes::ACQUIRED);
    let blends = |frame: &Frame| {
        let [slices, ..] = taps_back(&output(Back::Linear, Separate::Auto), frame, &target).expect("parallel");
        slices.iter().flatten().any(|taps| taps.single().is_none())
    };
    assert!(!blends(&frame));
    frame.nominal_mm = Some([3.0, 1.0, 1.0]);
    assert!(blends(&frame));
}

#[test]
fn halves_go_to_the_voxel_that_the_network_sees_later() {
    let (grid, target) = (stack([2.0, 1.0, 1.0], 0.0, [4, 2, 2]), stack([4.0, 1.0, 1.0], 1.0, [2, 2, 2]));
    let taken = |axes: Axes| {
        let frame = Frame::of(Arc::clone(&grid), axes);
        let [slices, ..] = taps_back(&output(Back::Nearest, Separate::Never), &frame, &target).expect("parallel");
        slices.iter().flatten().filter_map(Taps::single).collect::<Vec<usize>>()
    };
    assert_eq!(taken(Axes::ACQUIRED), [1, 3]);
    assert_eq!(taken(Orientation::AcquiredReversed.axes(&grid)), [0, 2]);
}

/// A frame of 4 voxels of 2 mm, cropped to the middle two, of a line of 8 voxels of 1 mm.
fn cropped_line() -> (Frame, Arc<VolumeGeometry>) {
    let target = stack([1.0, 1.0, 1.0], 0.0, [8, 2, 2]);
    let mut frame = Frame::of(stack([2.0, 1.0, 1.0], 2.0, [2, 2, 2]), Axes::ACQUIRED);
    frame.resampled =
        Some(Resampled { from: Arc::clone(&target), whole: [(-1, 3), (0, 2), (0, 2)], left: [(0, 2), (0, 2), (0, 2)] });
    (frame, target)
}

fn spline(ends: Ends) -> Back {
    Back::Spline(Spline { order: Order::CUBIC, ends, aligned: false })
}

#[test]
fn a_spline_runs_on_in_the_zeros_beyond_a_crop() {
    let (frame, target) = cropped_line();
    let fading = Output { fades: true, ..output(spline(Ends::Edge), Separate::Never) };
    let bring = |output: &Output| {
        let Back::Spline(of) = output.back else { panic!("a spline") };
        let mut whole = Whole::new(&places(output, &frame, &target).expect("parallel"), of, 1).expect("small");
        // Slice by slice, as windows come.
        let values = ndarray::Array4::from_shape_fn((1, 2, 2, 2), |(_, slice, ..)| 1.0 + slice as f32);
        for start in 0..2 {
            whole.push(start, values.slice_axis(Axis(1), Slice::from(start..=start)));
        }
        (whole.reached()[0].clone(), whole.channel(0).iter().step_by(4).copied().collect::<Vec<f32>>())
    };
    // SciPy 1.17: map_coordinates([0, 1, 2, 0], [0, 0.5, ..., 3.5], order=3, mode="nearest").
    let expected = [0.0, 0.345_671_5, 1.0, 1.801_442_8, 2.0, 1.073_557_2, 0.0, -0.220_671_5];
    let (reached, found) = bring(&fading);
    assert_eq!(reached, 0..8);
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5), "{found:?}");
    // Where nothing lies beyond, it is the spline of the two.
    let (reached, found) = bring(&output(spline(Ends::Edge), Separate::Never));
    assert_eq!(reached, 1..6);
    assert!((found[2] - 1.5).abs() < 1e-6, "{found:?}");
}

#[test]
fn values_for_a_spline_are_refused_before_they_fill_the_memory() {
    let target = stack([1.0, 1.0, 1.0], 0.0, [400, 512, 512]);
    let frame = Frame::of(Arc::clone(&target), Axes::ACQUIRED);
    let places = places(&output(spline(Ends::Mirror), Separate::Never), &frame, &target).expect("parallel");
    let of = Spline { order: Order::CUBIC, ends: Ends::Mirror, aligned: false };
    assert!(Whole::new(&places, of, 10).is_ok());
    let told = Whole::new(&places, of, 30).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("found 13600 MB of values of 30 classes, expected at most 8192 MB"), "{told}");
}

#[test]
fn in_half_precision_the_first_of_channels_that_became_equal_wins() {
    let label = |name: &str, index| Label { name: name.to_owned(), index, last: index, threshold: 0.5 };
    let place = |half: bool, pixel: &[f32]| {
        let labels = vec![label("A", 1), label("B", 2)];
        Decide::of(&Output { half, labels, ..output(Back::Linear, Separate::Never) }).exclusive(pixel)
    };
    // Between 8 and 16 half precision goes by steps of 1/128.
    assert_eq!((place(false, &[8.0, 8.001, 8.002]), place(true, &[8.0, 8.001, 8.002])), (2, 0));
    assert_eq!((place(false, &[7.0, 8.001, 8.002]), place(true, &[7.0, 8.001, 8.002])), (2, 1));
    assert_eq!(place(true, &[8.0, 8.001, 8.01]), 2);
}
