//! Operations on structures outside of any model: between the steps of a pipeline; the table of operations is the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Context, Step};
use crate::document::{Node, Problems};
use crate::infer::restore::Restored;
use crate::infer::{InferError, Structure, on_grid};
use crate::limits::MODEL_STEPS_MAX;
use crate::volume::{CompactMask, Mask, Volume, VolumeGeometry};

/// Structures that are made of others by operations, in their order.
#[derive(Clone)]
pub struct Between {
    made: Vec<(String, Vec<Step>)>,
}

impl Between {
    /// Parses `{"Name": [{"op": ...}]}`. Operations may name structures from `outside`, and those made before.
    pub fn parse(node: &Node, outside: &[&str], problems: &mut Problems) -> Option<Between> {
        let before = problems.count();
        let list = node.named("an object from structure to a list of operations", problems)?;
        let (mut known, mut made, mut count) = (outside.to_vec(), Vec::new(), 0);
        for (name, steps) in list {
            let items = steps.array(problems).unwrap_or_default();
            if items.is_empty() {
                problems.add(
                    steps,
                    "no operation",
                    "at least one, such as {\"op\": \"take\", \"of\": [\"lungs:Lung_L\"]}",
                );
            }
            count += items.len();
            made.push((name.clone(), items.iter().filter_map(|item| Step::parse(item, &known, problems)).collect()));
            known.push(name);
        }
        if list.is_empty() || count > MODEL_STEPS_MAX {
            problems.add(node, format!("{count} operations"), format!("1 to {MODEL_STEPS_MAX}"));
        }
        (problems.count() == before).then_some(Between { made })
    }

    /// Names of the structures that are made.
    pub fn structures(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.structures()).finish()
    }
}

/// Makes the structures on the grid of `image`, from `given` masks on any grid. Each begins empty.
///
/// # Errors
/// [`InferError`] when an operation cannot be applied.
pub fn run_between(
    between: &Between,
    image: &Volume,
    given: &BTreeMap<String, Mask>,
    progress: &mut dyn FnMut(&str, f32),
) -> Result<Vec<Structure>, InferError> {
    let geometry = &image.geometry;
    let labels = Restored::none(geometry.shape());
    let mut structures: BTreeMap<String, Mask> =
        given.iter().map(|(name, mask)| (name.clone(), on_grid(mask, geometry))).collect();
    let mut made = Vec::with_capacity(between.made.len());
    for (name, steps) in &between.made {
        let mut voxels = Mask::empty(Arc::clone(geometry)).voxels;
        let mut reason = None;
        for (index, step) in steps.iter().enumerate() {
            progress(name, index as f32 / steps.len() as f32);
            let context = Context { geometry, image: &image.pixels, structures: &structures, labels: &labels };
            let had = voxels.iter().any(|inside| *inside);
            step.apply(&mut voxels, &context);
            if had && !voxels.iter().any(|inside| *inside) {
                reason = Some(format!("nothing is left after {} ({})", step.operation.name, step.arguments));
            }
        }
        let mask = Mask::new(Arc::clone(geometry), voxels);
        let empty = !mask.voxels.iter().any(|inside| *inside);
        let reason = empty.then(|| reason.unwrap_or_else(|| "nothing was there to begin with".to_owned()));
        made.push(Structure { label: name.clone(), mask: CompactMask::from(mask.clone()), reason });
        structures.insert(name.clone(), mask);
    }
    Ok(made)
}

/// A mask brought onto another grid, as the structures that are handed to a model are.
pub fn onto(mask: &Mask, geometry: &Arc<VolumeGeometry>) -> Mask {
    on_grid(mask, geometry)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::document::{self, Problem};

    fn parse(text: &str) -> Result<Between, Vec<String>> {
        let mut problems = Problems::of("p");
        let node = document::parse(text, &mut problems).expect("JSON");
        let parsed = Between::parse(&node, &["a:X", "b:Y"], &mut problems);
        parsed.ok_or_else(|| problems.into_vec().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn makes_structures_of_structures_in_their_order() {
        let origins = vec![[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let geometry = VolumeGeometry::new((1, 5), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let image = Volume::new(Arc::clone(&geometry), Array3::zeros((2, 1, 5)));
        let mask =
            |column: usize| Mask::new(Arc::clone(&geometry), Array3::from_shape_fn((2, 1, 5), |(_, _, i)| i == column));
        let given = BTreeMap::from([("a:X".to_owned(), mask(0)), ("b:Y".to_owned(), mask(4))]);
        let between = parse(
            r#"{"Both": [{"op": "take", "of": ["a:X", "b:Y"]}, {"op": "grow", "radius_mm": 1}],
                "Left": [{"op": "take", "of": ["Both"]}, {"op": "remove_inside", "of": ["b:Y"]}],
                "None": [{"op": "take", "of": ["a:X"]}, {"op": "keep_inside", "of": ["b:Y"]}]}"#,
        );
        let made = run_between(&between.expect("good"), &image, &given, &mut |_, _| ()).expect("runs");
        let row = |k: usize| -> String {
            made[k].mask.to_mask().voxels.iter().take(5).map(|&inside| if inside { '#' } else { '.' }).collect()
        };
        assert_eq!([row(0), row(1), row(2)], ["##.##", "##.#.", "....."]);
        assert_eq!(made[0].reason, None);
        assert_eq!(made[2].reason.as_deref(), Some("nothing is left after keep_inside (of b:Y)"));
    }

    #[test]
    fn knows_what_was_made_before_and_no_other_names() {
        let told = parse(r#"{"A": [{"op": "take", "of": ["B"]}], "B": []}"#).expect_err("two mistakes");
        assert!(told[0].contains(r#"A[0].of[0]: found "B", expected one of a:X, b:Y"#), "{told:?}");
        assert!(told[1].contains("B: found no operation"), "{told:?}");
    }
}
