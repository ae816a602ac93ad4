//! Which voxels of the network's grid are taken on the way back.

use super::*;
use crate::infer::axes::{Axes, Orientation};

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
