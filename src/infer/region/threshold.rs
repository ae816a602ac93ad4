//! The region of values above a bound; it looks at its own image alone.

use super::{Entry, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Entry = Entry {
    name: "threshold",
    doc: "Voxels whose value is above `above`.",
    source: "MONAI's CropForeground, whose select_fn is x > 0 unless told otherwise",
    parameters: &[Parameter {
        name: "above",
        doc: "Values above it belong to the region.",
        unit: "unit of the image at this step",
        kind: Kind::Number { low: -1e9, high: 1e9 },
        default: Some("0"),
    }],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask: |arguments, prepared, _| {
        let above = arguments.number("above") as f32;
        Ok(prepared.pixels.mapv(|value| value > above))
    },
};
