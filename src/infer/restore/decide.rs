//! From the values of a voxel to its label, all channels at once or one after the other; it resamples nothing.

use half::f16;
use ndarray::{Array3, ArrayViewMut3, Zip};

use crate::infer::recipe::{Activate, Activation, Decision, Label, Output};

/// How the values of one voxel become a label.
pub(super) struct Decide {
    decision: Decision,
    /// Place in the list of labels plus one, by channel or value.
    place_of: Vec<u8>,
    sigmoid: bool,
    half: bool,
}

impl Decide {
    /// What an output asks for.
    pub fn of(output: &Output) -> Decide {
        let most = output.labels.iter().map(|label| label.last).max().unwrap_or(0);
        let mut place_of = vec![0_u8; most + 1];
        for (place, label) in output.labels.iter().enumerate() {
            place_of[label.index..=label.last].fill(place as u8 + 1);
        }
        let sigmoid = output.activate == Activate::Restored && output.activation == Activation::Sigmoid;
        Decide { decision: output.decision.clone(), place_of, sigmoid, half: output.half }
    }

    fn place(&self, value: usize) -> u8 {
        self.place_of.get(value).copied().unwrap_or(0)
    }

    /// The value of a channel as the decision takes it. Softmax does not change which channel is the highest.
    fn value(&self, value: f32) -> f32 {
        let value = if self.half { rounded(value) } else { value };
        if self.sigmoid { 1.0 / (1.0 + (-value).exp()) } else { value }
    }

    /// The label of a voxel from the values of all channels.
    pub fn exclusive(&self, pixel: &[f32]) -> u8 {
        match &self.decision {
            Decision::LabelMap => {
                let number = pixel[0].round();
                if number >= 0.0 { self.place(number as usize) } else { 0 }
            }
            Decision::Regions(order) => {
                let mut label = 0;
                for (value, region) in pixel.iter().zip(order) {
                    if self.value(*value) > 0.5 {
                        label = *region;
                    }
                }
                self.place(label)
            }
            Decision::ArgMax | Decision::Threshold => {
                let mut best = 0;
                for channel in 1..pixel.len() {
                    // The first of equals wins, so that a tie with background stays background.
                    if pixel[channel] > pixel[best] {
                        best = channel;
                    }
                }
                self.place(if self.half { first_equal(pixel, best) } else { best })
            }
        }
    }

    /// The same decision as [`Decide::exclusive`], of values that come channel by channel in ascending order.
    pub fn compare(
        &self,
        channel: usize,
        values: &Array3<f32>,
        labels: ArrayViewMut3<'_, u8>,
        highest: &mut Option<Array3<f32>>,
    ) {
        if let Decision::Regions(order) = &self.decision {
            let Some(region) = order.get(channel) else { return };
            let place = self.place(*region);
            let paint = |label: &mut u8, value: &f32| {
                if self.value(*value) > 0.5 {
                    *label = place;
                }
            };
            Zip::from(labels).and(values).par_for_each(paint);
            return;
        }
        let place = self.place(channel);
        let Some(highest) = highest else {
            Zip::from(labels).par_for_each(|label| *label = place);
            *highest = Some(values.clone());
            return;
        };
        Zip::from(labels).and(highest).and(values).par_for_each(|label, highest, value| {
            let higher = if self.half { rounded(*value) > rounded(*highest) } else { value > highest };
            if higher {
                (*label, *highest) = (place, *value);
            }
        });
    }

    /// Whether the value of a channel reaches the threshold of its label.
    pub fn is_above(&self, value: f32, label: &Label) -> bool {
        self.value(value) >= label.threshold
    }
}

/// As half precision holds it.
fn rounded(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// The first channel that is equal to the highest in half precision. Few are near enough to be rounded to see.
fn first_equal(pixel: &[f32], highest: usize) -> usize {
    let top = pixel[highest];
    let near = top - top.abs() / 512.0 - 1e-7;
    let equal = |value: &f32| *value >= near && rounded(*value) == rounded(top);
    pixel[..highest].iter().position(equal).unwrap_or(highest)
}
