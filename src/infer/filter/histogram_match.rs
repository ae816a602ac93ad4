//! Give an image the histogram of another, through a few quantiles of both; it knows no images but lists of values.
//!
//! Nyul, Udupa, Zhang, IEEE Trans. Medical Imaging 19, 2000, as ITK's `HistogramMatchingImageFilter` does it.

/// What is known of the grey values of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    /// The lowest value of all.
    pub low: f64,
    /// The threshold (the mean, or the lowest value), the quantiles, and the highest value, ascending.
    pub values: Vec<f64>,
}

impl Landmarks {
    /// Measures `points` quantiles between the threshold and the highest value in a histogram of `levels` bins.
    /// `None` of an image without values.
    pub fn of<'a>(
        values: impl Iterator<Item = &'a f32> + Clone,
        levels: usize,
        points: usize,
        at_mean: bool,
    ) -> Option<Landmarks> {
        let start = (0.0_f64, 0.0_f64, f64::INFINITY, f64::NEG_INFINITY);
        let (count, sum, low, high) = values.clone().fold(start, |(count, sum, low, high), value| {
            let value = f64::from(*value);
            (count + 1.0, sum + value, low.min(value), high.max(value))
        });
        if count == 0.0 {
            return None;
        }
        // ITK keeps the mean and the bins in the type of the pixels.
        let threshold = if at_mean { f64::from((sum / count) as f32) } else { low };
        let width = f64::from(((high - threshold) / levels as f64) as f32);
        let edge = |bin: usize| if bin == levels { high } else { f64::from((threshold + bin as f64 * width) as f32) };
        let mut edges: Vec<f64> = (0..=levels).map(edge).collect();
        let mut bins = vec![0.0; levels];
        for value in values.map(|value| f64::from(*value)).filter(|value| (threshold..=high).contains(value)) {
            let bin = edges.partition_point(|edge| *edge <= value);
            bins[bin.saturating_sub(1).min(levels - 1)] += 1.0;
        }
        // ITK widens the first bin down to the lowest value of all, counting in it only what lies above the threshold.
        edges[0] = low;
        let quantiles = (1..=points).map(|point| quantile(&bins, &edges, point as f64 / (points as f64 + 1.0)));
        let values = std::iter::once(threshold).chain(quantiles).chain(std::iter::once(high)).collect();
        Some(Landmarks { low, values })
    }
}

/// The value below which a share of the counted values lies, linear within its bin; counted from the nearer end, as ITK's
/// `Histogram::Quantile` does.
fn quantile(bins: &[f64], edges: &[f64], share: f64) -> f64 {
    let total: f64 = bins.iter().sum();
    let (mut sum, mut before) = (0.0, 0.0);
    if share < 0.5 {
        for (bin, count) in bins.iter().enumerate() {
            sum += count;
            if sum / total >= share {
                return edges[bin] + (share - before) / (count / total) * (edges[bin + 1] - edges[bin]);
            }
            before = sum / total;
        }
        return edges[bins.len()];
    }
    before = 1.0;
    for (bin, count) in bins.iter().enumerate().rev() {
        sum += count;
        let left = 1.0 - sum / total;
        if left <= share {
            return edges[bin + 1] - (before - share) / (count / total) * (edges[bin + 1] - edges[bin]);
        }
        before = left;
    }
    edges[0]
}

/// The map from one image's values to another's: straight between landmarks.
pub struct Map {
    source: Landmarks,
    reference: Landmarks,
}

impl Map {
    /// Both with the same number of landmarks.
    pub fn new(source: Landmarks, reference: Landmarks) -> Map {
        assert_eq!(source.values.len(), reference.values.len(), "landmarks of both images are the same quantiles");
        Map { source, reference }
    }

    /// The new value.
    pub fn of(&self, value: f32) -> f32 {
        let value = f64::from(value);
        let (from, to) = (&self.source.values, &self.reference.values);
        let slope = |run: f64, rise: f64| if run == 0.0 { 0.0 } else { rise / run };
        let above = from.iter().position(|landmark| value < *landmark).unwrap_or(from.len());
        let new = match above {
            // Below the threshold: from the lowest value to it.
            0 => {
                let rise = slope(from[0] - self.source.low, to[0] - self.reference.low);
                self.reference.low + (value - self.source.low) * rise
            }
            above if above == from.len() => to[above - 1],
            above => {
                let rise = slope(from[above] - from[above - 1], to[above] - to[above - 1]);
                to[above - 1] + (value - from[above - 1]) * rise
            }
        };
        new as f32
    }
}
