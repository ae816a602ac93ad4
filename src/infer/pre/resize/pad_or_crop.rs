//! Bring an image to a size by adding or cutting the same on all slices, about the middle; it interpolates nothing.

use super::{
    Arguments, HeadFirst, InferError, Operation, PRESERVE_ASPECT, Prepared, SIZE, VALUE, failed, fill, size_of,
    squared, whole_size,
};

pub(in crate::infer::pre) const PAD_TO: Operation = Operation {
    name: "pad_to",
    doc: "Adds rows and columns about the image, of an odd number the larger part before it, and slices at the feet; an axis that is longer already is an error.",
    source: "CERR's pad3d",
    parameters: &[SIZE, VALUE],
    check: whole_size,
    apply: |arguments, image, _| {
        let longer = "longer than it; crop before, or use pad_or_crop";
        resized(arguments, image, "pad_to", |old, new| (new < old).then_some(longer))
    },
};

pub(in crate::infer::pre) const CROP_TO: Operation = Operation {
    name: "crop_to",
    doc: "Keeps rows and columns about the middle, of an odd number that is cut the larger part is cut before it, and slices from the head; an axis that is shorter already is an error.",
    source: "CERR's unpad3d",
    parameters: &[SIZE],
    check: whole_size,
    apply: |arguments, image, _| {
        let shorter = "shorter than it; pad before, or use pad_or_crop";
        resized(arguments, image, "crop_to", |old, new| (new > old).then_some(shorter))
    },
};

pub(in crate::infer::pre) const PAD_OR_CROP: Operation = Operation {
    name: "pad_or_crop",
    doc: "Each axis on its own as `pad_to` or as `crop_to`, whichever brings it to the size.",
    source: "CERR's padorcrop3d, as pyCERR 2.5.1 reads it: MATLAB decides by rows for both axes",
    parameters: &[SIZE, VALUE, PRESERVE_ASPECT],
    check: whole_size,
    apply: |arguments, image, _| {
        let image =
            if arguments.flag("preserve_aspect") { squared(image).map_err(failed("pad_or_crop"))? } else { image };
        resized(arguments, image, "pad_or_crop", |_, _| None)
    },
};

/// The image in its new size; `refused` says of an old and a new length what is wrong with them.
fn resized<'a>(
    arguments: &Arguments,
    image: Prepared<'a>,
    name: &'static str,
    refused: impl Fn(usize, usize) -> Option<&'static str>,
) -> Result<Prepared<'a>, InferError> {
    let (old, wanted) = (image.frame.shape(), size_of(arguments));
    let new = [0, 1, 2].map(|axis| if wanted[axis] == 0 { old[axis] } else { wanted[axis] });
    let axes = ["slices", "rows", "columns"];
    if let Some((axis, why)) = (0..3).find_map(|axis| Some((axis, refused(old[axis], new[axis])?))) {
        let (found, axis, expected) = (old[axis], axes[axis], new[axis]);
        return Err(failed(name)(format!("found {found} {axis} and a size of {expected}: the image is {why}")));
    }
    let start = [HeadFirst::of(&image.frame).start_of_stack(new[0]), middle(old[1], new[1]), middle(old[2], new[2])];
    // What only cuts needs no value, and the lowest of a large image is not for free.
    let value = if name == "crop_to" { 0.0 } else { fill(arguments, &image) };
    image.boxed(start, new, value).map_err(failed(name))
}

/// Where the new axis begins on the old one: MATLAB's ceil((new - old) / 2) before it, or -floor((new - old) / 2) cut off.
fn middle(old: usize, new: usize) -> isize {
    if new >= old { -((new - old).div_ceil(2) as isize) } else { (old - new).div_ceil(2) as isize }
}

#[cfg(test)]
mod tests {
    use super::middle;

    #[test]
    fn offsets_are_those_of_pycerr() {
        // Measured with pyCERR 2.5.1: 5 to 8 and 6 to 9 begin at 2, 8 to 5 and 9 to 6 start with index 2.
        assert_eq!([middle(5, 8), middle(6, 9), middle(8, 5), middle(9, 6)], [-2, -2, 2, 2]);
        assert_eq!([middle(5, 9), middle(9, 5), middle(7, 7)], [-2, 2, 0]);
    }
}
