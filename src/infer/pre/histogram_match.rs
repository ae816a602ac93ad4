//! Give the image the histogram of a reference; the arithmetic stands in `filter`.

use super::{Operation, failed};
use crate::infer::filter::histogram_match::{Landmarks, Map};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::infer::region::Surroundings;

pub(super) const ENTRY: Operation = Operation {
    name: "histogram_match",
    doc: "Maps quantiles of the image to those of a reference, straight between them. The reference is another input of the model, as it was handed in (`reference`), or the landmarks of one (`landmarks`: its threshold, its `match_points` quantiles and its highest value, ascending).",
    source: "ITK's HistogramMatchingImageFilter (Nyul, IEEE Trans. Medical Imaging 19, 2000); CERR's filter HistogramMatchingImageFilter",
    parameters: &[
        Parameter {
            name: "reference",
            doc: "The input whose histogram is taken.",
            unit: "",
            kind: Kind::Text,
            default: Some("null"),
        },
        Parameter {
            name: "landmarks",
            doc: "Threshold, quantiles and highest value of a reference that is not at hand.",
            unit: "unit of the image",
            kind: Kind::Numbers { low: -1e9, high: 1e9, count: (2, 258) },
            default: Some("null"),
        },
        Parameter {
            name: "landmark_low",
            doc: "Lowest value of that reference; where it is left out, its threshold.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("null"),
        },
        Parameter {
            name: "levels",
            doc: "Bins of the histograms.",
            unit: "",
            kind: Kind::Integer { low: 2, high: 65_536 },
            default: Some("256"),
        },
        Parameter {
            name: "match_points",
            doc: "How many quantiles are matched between threshold and highest value.",
            unit: "",
            kind: Kind::Integer { low: 0, high: 256 },
            default: Some("1"),
        },
        Parameter {
            name: "threshold_at_mean",
            doc: "Whether the histograms begin at the mean, which leaves the background out, or at the lowest value.",
            unit: "",
            kind: Kind::Flag,
            default: Some("true"),
        },
    ],
    check: |arguments| {
        let (named, listed) = (arguments.has("reference"), arguments.has("landmarks"));
        if named == listed {
            let found = if named { "reference and landmarks" } else { "neither reference nor landmarks" };
            return Some([found.to_owned(), "one of them".to_owned(), "name an input, or list landmarks".to_owned()]);
        }
        let (list, points) = (arguments.numbers("landmarks"), arguments.integer("match_points") as usize);
        if listed && (list.len() != points + 2 || list.windows(2).any(|pair| pair[0] > pair[1])) {
            let expected = format!("{} ascending ones for match_points {points}", points + 2);
            return Some([format!("{} landmarks", list.len()), expected, "correct either".to_owned()]);
        }
        None
    },
    apply: |arguments, mut image, surroundings| {
        let (levels, points) = (arguments.integer("levels") as usize, arguments.integer("match_points") as usize);
        let at_mean = arguments.flag("threshold_at_mean");
        let source = Landmarks::of(image.pixels.iter(), levels, points, at_mean);
        let reference = reference(arguments, surroundings, levels, points).map_err(failed(ENTRY.name))?;
        let source =
            source.ok_or_else(|| failed(ENTRY.name)("found an image without voxels, expected some".to_owned()))?;
        let map = Map::new(source, reference);
        image.pixels.par_mapv_inplace(|value| map.of(value));
        Ok(image)
    },
};

fn reference(
    arguments: &Arguments,
    surroundings: &Surroundings<'_>,
    levels: usize,
    points: usize,
) -> Result<Landmarks, String> {
    let Some(name) = arguments.text("reference") else {
        let values = arguments.numbers("landmarks").to_vec();
        let low = if arguments.has("landmark_low") { arguments.number("landmark_low") } else { values[0] };
        return Ok(Landmarks { low, values });
    };
    let volume = surroundings.images.get(name).ok_or_else(|| {
        format!("found no input {name:?}, expected one; correct the parameter reference, or name an image for it")
    })?;
    Landmarks::of(volume.pixels.iter(), levels, points, arguments.flag("threshold_at_mean"))
        .ok_or_else(|| format!("found an input {name:?} without voxels, expected some"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{AT, check, check_with_images, counted, waves};

    #[test]
    fn is_the_histogram_matching_of_itk() {
        let source = waves([5, 6, 7], [2.0, 1.0, 1.0]);
        let mut other = source.clone();
        other
            .pixels
            .indexed_iter_mut()
            .for_each(|((k, _, _), value)| *value = *value * *value / 100.0 + 3.0 * k as f32);
        let images = BTreeMap::from([("other".to_owned(), other)]);
        // SimpleITK 2.5.7: HistogramMatching(image, reference, 32 levels, 5 points).
        let json = r#"{"op": "histogram_match", "reference": "other", "levels": 32, "match_points": 5}"#;
        let expected = [1606.0, 80.20975, 101.90102, 2.69498, 100.69416];
        let found = check_with_images(json, &source, &images).expect("matched");
        for (index, expected) in AT.into_iter().zip(expected) {
            assert!((found[index] - expected).abs() < 2e-3, "{index:?}: {} for {expected}", found[index]);
        }
        let json = json.replace("}", r#", "threshold_at_mean": false}"#);
        let expected = [1606.0, 72.2497, 77.5499, 1.18508, 77.255];
        let found = check_with_images(&json, &source, &images).expect("matched");
        for (index, expected) in AT.into_iter().zip(expected) {
            assert!((found[index] - expected).abs() < 2e-3, "{index:?}: {} for {expected}", found[index]);
        }
    }

    #[test]
    fn landmarks_stand_for_a_reference() {
        // Values 0 to 191: without quantiles the lowest goes to 10 and the highest to 29.1, straight between them.
        let json =
            r#"{"op": "histogram_match", "landmarks": [10, 29.1], "match_points": 0, "threshold_at_mean": false}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("matched").pixels;
        assert!((found[[0, 0, 5]] - 10.5).abs() < 1e-5 && (found[[3, 5, 7]] - 29.1).abs() < 1e-5);
        let told = check(&json.replace("0, \"thr", "1, \"thr"), counted(), &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found 2 landmarks, expected 3 ascending ones"), "{told}");
        let told = check(r#"{"op": "histogram_match", "reference": "mr"}"#, counted(), &BTreeMap::new()).err();
        assert!(told.is_some_and(|told| told.contains("found no input \"mr\"")));
    }
}
