//! The operations of several images, one after the other; one that measures together waits for the others that do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::InferError;
use super::frame::Prepared;
use super::pre::{Moments, Step};
use super::region::Surroundings;
use crate::volume::{Mask, Volume};

/// An image on its way through its operations.
pub(super) struct Way<'a, 'b> {
    pub image: Prepared<'a>,
    pub steps: &'b [Step],
}

/// Takes every image through its operations. Regions that are kept become known to what comes after, and are in `saved`.
pub(super) fn walk<'a>(
    mut ways: Vec<Way<'a, '_>>,
    images: &BTreeMap<String, Volume>,
    known: &mut Cow<'_, BTreeMap<String, Mask>>,
    saved: &mut Vec<(String, Mask)>,
) -> Result<Vec<Prepared<'a>>, InferError> {
    let mut pooled = None;
    loop {
        let mut done = Vec::with_capacity(ways.len());
        for way in ways {
            done.push(upto_next(way, images, known, saved, pooled)?);
        }
        ways = done;
        let waiting = ways.iter().filter_map(|way| way.steps.first().map(|step| step.moments(&way.image)));
        let Some(moments) = waiting.reduce(|all, one| Ok(all?.joined(&one?))) else {
            return Ok(ways.into_iter().map(|way| way.image).collect());
        };
        pooled = Some(moments?);
    }
}

/// Up to the next operation that waits for others. With `pooled` the one that waited is done with it.
fn upto_next<'a, 'b>(
    way: Way<'a, 'b>,
    images: &BTreeMap<String, Volume>,
    known: &mut Cow<'_, BTreeMap<String, Mask>>,
    saved: &mut Vec<(String, Mask)>,
    mut pooled: Option<Moments>,
) -> Result<Way<'a, 'b>, InferError> {
    let Way { mut image, mut steps } = way;
    while let [step, rest @ ..] = steps {
        let own = if step.is_together() {
            let Some(pooled) = pooled.take() else { break };
            Some(pooled)
        } else {
            None
        };
        image = step.apply(image, &Surroundings { structures: known, images, pooled: own })?;
        for (name, mask) in std::mem::take(&mut image.saved) {
            known.to_mut().insert(name.clone(), mask.clone());
            saved.push((name, mask));
        }
        steps = rest;
    }
    Ok(Way { image, steps })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::document::{self, Problems};
    use crate::infer::axes::Axes;
    use crate::volume::VolumeGeometry;

    fn volume(values: [f32; 8]) -> Volume {
        let origins = vec![[0.0; 3], [0.0, 0.0, 1.0]];
        let geometry = VolumeGeometry::new((2, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let pixels = Array3::from_shape_vec((2, 2, 2), values.to_vec()).expect("eight");
        Volume::new(Arc::new(geometry.expect("legal")), pixels)
    }

    fn steps(text: &str) -> Vec<Step> {
        let mut problems = Problems::of("m.json");
        let node = document::parse(text, &mut problems).expect("JSON");
        let items = node.array(&mut problems).expect("a list");
        items.iter().map(|item| Step::parse(item, &[], &mut problems).expect("a step")).collect()
    }

    fn walked(all: &[(&Volume, &[Step])]) -> Vec<Vec<f32>> {
        let ways = all.iter().map(|(volume, steps)| Way { image: Prepared::of(volume, Axes::ACQUIRED), steps });
        let structures = BTreeMap::new();
        let done = walk(ways.collect(), &BTreeMap::new(), &mut Cow::Borrowed(&structures), &mut Vec::new());
        let done = done.unwrap_or_else(|error| panic!("{error}"));
        done.iter().map(|image| image.pixels.iter().copied().collect()).collect()
    }

    #[test]
    fn images_that_measure_together_have_one_offset_and_scale() {
        let (low, high) = (
            volume([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            volume([10.0, 11.0, 12.0, 13.0, 10.0, 11.0, 12.0, 13.0]),
        );
        // numpy: the 16 values have mean 6.5 and standard deviation 5.1234754.
        let score = steps(r#"[{"op": "normalise", "together": true}]"#);
        let found = walked(&[(&low, &score), (&high, &score)]);
        for (values, source) in found.iter().zip([&low, &high]) {
            for (value, source) in values.iter().zip(&source.pixels) {
                assert!((value - (source - 6.5) / 5.123_475_4).abs() < 1e-5, "{value} {source}");
            }
        }
        // Each goes through what comes before; one that does not measure together counts for none.
        let doubled = steps(r#"[{"op": "multiply", "by": 2}, {"op": "normalise", "by": "min_max", "together": true}]"#);
        let range = steps(r#"[{"op": "normalise", "by": "min_max", "together": true}, {"op": "multiply", "by": 10}]"#);
        let found = walked(&[(&low, &range), (&low, &[]), (&high, &doubled)]);
        assert!((found[0][7] - 30.0 / 26.0).abs() < 1e-6);
        assert_eq!((found[1][7], found[2][3]), (3.0, 1.0));
    }
}
