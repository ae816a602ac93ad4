//! The box of the largest bright part of each slice, joined over all slices; it finds no pancreas.

use ndarray::{Array3, Axis, parallel::prelude::*};

use super::extent::{filled, plane_bounds};
use super::sources::SAVE_AS;
use super::{Entry, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::post::components::{Components, Neighbours, Run};

pub(super) const ENTRY: Entry = Entry {
    name: "pancreas",
    doc: "In all slices the rows and columns of the union over slices of the box of the largest part above `threshold` (corners connect). A region saved before under `save_as` is taken again, as for the registered image of CERR.",
    source: "CERR's crop_for_pancreas, whose box starts one voxel too far up and left, and at 0 where a slice is empty",
    parameters: &[
        Parameter {
            name: "threshold",
            doc: "Parts are above this.",
            unit: "unit of the image at this step",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: None,
        },
        SAVE_AS,
    ],
    per_slice: false,
    reuses: true,
    check: always_consistent,
    mask: |arguments, prepared, _| {
        let (shape, threshold) = (prepared.frame.shape(), arguments.number("threshold") as f32);
        let of_slice = |plane: ndarray::ArrayView2<'_, f32>| {
            let mut mask = plane.mapv(|value| value > threshold).insert_axis(Axis(0));
            let parts = Components::of(&mask, true, Neighbours::Corners, true);
            let sizes = parts.sum(Run::length);
            let largest = (0..sizes.len()).reduce(|best, next| if sizes[next] > sizes[best] { next } else { best })?;
            parts.paint(&mut mask, false, |part| part != largest);
            plane_bounds(mask.index_axis(Axis(0), 0)).map(|found| (found.rows, found.columns))
        };
        let wider = |a: (usize, usize), b: (usize, usize)| (a.0.min(b.0), a.1.max(b.1));
        let boxes = prepared.pixels.axis_iter(Axis(0)).into_par_iter().filter_map(of_slice);
        let found = boxes.reduce_with(|a, b| (wider(a.0, b.0), wider(a.1, b.1)));
        Ok(found.map_or_else(
            || Array3::from_elem(shape, false),
            |(rows, columns)| filled(shape, [(0, shape[0] - 1), rows, columns]),
        ))
    },
};
