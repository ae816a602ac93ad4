//! Let the mask grow back inside structures, so that an opening costs no detail; it never leaves them.

use super::components::{Components, Neighbours};
use super::distance::dilated;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "reconstruct",
    doc: "Adds the voxels of the named structures that lie within `radius_mm` of the mask and are connected to it inside them, by shared faces. The border of the image plays no part.",
    source: "geodesic reconstruction (Vincent, IEEE Trans. Image Processing 2, 1993), limited to a distance",
    parameters: &[
        Parameter { name: "of", doc: "What the mask may grow into.", unit: "", kind: Kind::Names, default: None },
        Parameter {
            name: "radius_mm",
            doc: "Radius of the ball, with the position of every slice.",
            unit: "mm",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: None,
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let mut candidates = dilated(mask, arguments.number("radius_mm"), context.geometry);
        let inside = context.union(arguments.names("of"));
        ndarray::Zip::from(&mut candidates)
            .and(&*inside)
            .and(&*mask)
            .par_for_each(|c, inside, m| *c = (*c && *inside) || *m);
        let parts = Components::of(&candidates, true, Neighbours::Faces, false);
        let touched = parts.sum(|run| run.count_in(mask));
        parts.paint(mask, true, |part| touched[part] > 0.0);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn grows_back_only_inside_and_only_where_connected() {
        check("##.....", &[("A", "####.#.")], r#"{"op": "reconstruct", "of": ["A"], "radius_mm": 5}"#, "####...");
        check("##.....", &[("A", "#######")], r#"{"op": "reconstruct", "of": ["A"], "radius_mm": 2}"#, "####...");
    }
}
