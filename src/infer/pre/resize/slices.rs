//! Add slices at the feet, or keep those next to the head; rows and columns stay.

use super::{Arguments, HeadFirst, InferError, Operation, Parameter, Prepared, VALUE, failed, fill};
use crate::infer::parameter::Kind;
use crate::infer::pre::always_consistent;
use crate::limits::SLICES_MAX;

const COUNT: Parameter = Parameter {
    name: "count",
    doc: "Slices of the result.",
    unit: "slices",
    kind: Kind::Integer { low: 1, high: SLICES_MAX as i64 },
    default: None,
};

pub(in crate::infer::pre) const PAD_SLICES: Operation = Operation {
    name: "pad_slices",
    doc: "Adds slices at the feet until there are `count`; more slices than that are an error. CERR adds zeros: set `value` to 0 for a model that was trained so.",
    source: "CERR's padSlices",
    parameters: &[COUNT, VALUE],
    check: always_consistent,
    apply: |arguments, image, _| {
        let value = fill(arguments, &image);
        with_slices(arguments, image, "pad_slices", value)
    },
};

pub(in crate::infer::pre) const CROP_SLICES: Operation = Operation {
    name: "crop_slices",
    doc: "Keeps the `count` slices next to the head; fewer slices than that are an error.",
    source: "CERR's unpadSlices",
    parameters: &[COUNT],
    check: always_consistent,
    apply: |arguments, image, _| with_slices(arguments, image, "crop_slices", 0.0),
};

fn with_slices<'a>(
    arguments: &Arguments,
    image: Prepared<'a>,
    name: &'static str,
    value: f32,
) -> Result<Prepared<'a>, InferError> {
    let [found, rows, columns] = image.frame.shape();
    let count = arguments.integer("count") as usize;
    let (wrong, cure) = match name {
        "pad_slices" => (found > count, "at most that many; crop before, or raise count"),
        _ => (found < count, "at least that many; lower count, or use pad_slices"),
    };
    if wrong {
        return Err(failed(name)(format!("found {found} slices and count {count}, expected {cure}")));
    }
    let start = HeadFirst::of(&image.frame).start_of_stack(count);
    image.boxed([start, 0, 0], [count, rows, columns], value).map_err(failed(name))
}
