//! The region of named structures; it makes no box.

use ndarray::{Array3, Zip};

use super::{Entry, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Entry = Entry {
    name: "structure",
    doc: "The union of the named structures; those that are missing or empty are passed over.",
    source: "CERR's crop_to_str",
    parameters: &[Parameter {
        name: "names",
        doc: "Structures handed in, or regions saved by an operation before.",
        unit: "",
        kind: Kind::Names,
        default: None,
    }],
    per_slice: false,
    check: always_consistent,
    mask: |arguments, prepared, surroundings| {
        let mut union = Array3::from_elem(prepared.frame.shape(), false);
        for mask in arguments.names("names").iter().filter_map(|name| surroundings.structures.get(name)) {
            Zip::from(&mut union).and(&prepared.frame.bring(mask)).par_for_each(|u, m| *u |= *m);
        }
        Ok(union)
    },
};
