//! The boxes in which CERR's models of larynx and constrictor muscle look, from what came before; they find no organ.

use ndarray::Array3;

use super::extent::{Sides, bounds, filled};
use super::head_first::HeadFirst;
use super::sources::{SAVE_AS, union};
use super::{Entry, Given, always_consistent};
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};

/// CERR adds so many rows and slices below the larynx.
const BELOW: (usize, usize) = (30, 15);

const BOX: Parameter = Parameter {
    name: "box",
    doc: "The box of the model before, as it was saved.",
    unit: "",
    kind: Kind::Name,
    default: None,
};

pub(super) const LARYNX: Entry = Entry {
    name: "larynx",
    doc: "First row, columns and uppermost slice of the union of the chewing structures (of the image when there are none), last row and lowest slice of the saved chewing box.",
    source: "CERR's crop_for_larynx",
    parameters: &[
        Parameter {
            name: "names",
            doc: "The chewing structures: both masseters and both medial pterygoids.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        BOX,
        SAVE_AS,
    ],
    per_slice: false,
    reuses: true,
    check: always_consistent,
    mask: |arguments, prepared, given| {
        let Some(lower) = sides(arguments, "box", prepared, given) else { return Ok(nothing(prepared)) };
        let upper = sides(arguments, "names", prepared, given).unwrap_or_else(|| whole(prepared));
        Ok(joined(prepared, upper, (lower[0].1, lower[1].1)))
    },
};

pub(super) const CONSTRICTOR: Entry = Entry {
    name: "constrictor",
    doc: "First row, columns and uppermost slice of the saved larynx box (of the image when it is empty), down to 30 rows and 15 slices below the larynx (to the ends of the image without one).",
    source: "CERR's crop_for_constrictor",
    parameters: &[
        Parameter { name: "names", doc: "The larynx.", unit: "", kind: Kind::Names, default: None },
        BOX,
        SAVE_AS,
    ],
    per_slice: false,
    reuses: true,
    check: always_consistent,
    mask: |arguments, prepared, given| {
        let whole = whole(prepared);
        let upper = sides(arguments, "box", prepared, given).unwrap_or(whole);
        let larynx = sides(arguments, "names", prepared, given).unwrap_or(whole);
        let lowest = ((larynx[0].1 + BELOW.1).min(whole[0].1), (larynx[1].1 + BELOW.0).min(whole[1].1));
        Ok(joined(prepared, upper, lowest))
    },
};

/// The box of named structures, slices counted from the head.
fn sides(arguments: &Arguments, name: &str, prepared: &Prepared<'_>, given: &Given<'_>) -> Option<Sides> {
    let [slices, rows, columns] = bounds(&union(arguments, name, prepared, given))?;
    Some([HeadFirst::of(&prepared.frame).turned_ends(slices), rows, columns])
}

fn whole(prepared: &Prepared<'_>) -> Sides {
    prepared.frame.shape().map(|length| (0, length - 1))
}

fn nothing(prepared: &Prepared<'_>) -> Array3<bool> {
    Array3::from_elem(prepared.frame.shape(), false)
}

/// The box of which `upper` tells the columns and where slices and rows begin, slices counted from the head.
fn joined(prepared: &Prepared<'_>, upper: Sides, (last_slice, last_row): (usize, usize)) -> Array3<bool> {
    let (slices, rows) = ((upper[0].0, last_slice), (upper[1].0, last_row));
    if slices.0 > slices.1 || rows.0 > rows.1 {
        return nothing(prepared);
    }
    filled(prepared.frame.shape(), [HeadFirst::of(&prepared.frame).turned_ends(slices), rows, upper[2]])
}
