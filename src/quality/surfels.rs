//! How large the surface inside a cell of eight voxels is, for each way to fill them; it finds no cells.
//!
//! The table is that of DeepMind's `surface-distance` (Copyright 2018 Google Inc., Apache License 2.0, lookup_tables.py:
//! the triangles of marching cubes), which defines the surface Dice coefficient of Nikolov et al. (2021). Signs are left
//! out, because only lengths are used, and so is the half that is the other with inside and outside exchanged.

/// Normals `[slice, row, column]` of the triangles of a cell of side 1, their lengths being the areas, in eighths.
const SHAPES: [&[[u8; 3]]; 27] = [
    &[[0, 0, 0]],
    &[[1, 1, 1]],
    &[[0, 0, 4], [0, 0, 4]],
    &[[0, 2, 2], [0, 2, 2]],
    &[[0, 4, 0], [0, 4, 0]],
    &[[1, 1, 1], [1, 1, 1]],
    &[[2, 0, 2], [2, 0, 2]],
    &[[2, 2, 0], [2, 2, 0]],
    &[[4, 0, 0], [4, 0, 0]],
    &[[0, 0, 4], [1, 1, 1], [2, 2, 2]],
    &[[0, 2, 2], [0, 2, 2], [1, 1, 1]],
    &[[0, 4, 0], [1, 1, 1], [2, 2, 2]],
    &[[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    &[[1, 1, 1], [2, 0, 2], [2, 0, 2]],
    &[[1, 1, 1], [2, 2, 0], [2, 2, 0]],
    &[[1, 1, 1], [2, 2, 2], [4, 0, 0]],
    &[[0, 0, 4], [1, 1, 1], [1, 1, 1], [2, 2, 2]],
    &[[0, 2, 2], [0, 2, 2], [0, 2, 2], [0, 2, 2]],
    &[[0, 2, 2], [1, 1, 1], [2, 0, 2], [3, 3, 3]],
    &[[0, 2, 2], [1, 1, 1], [2, 2, 0], [3, 3, 3]],
    &[[0, 4, 0], [1, 1, 1], [1, 1, 1], [2, 2, 2]],
    &[[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]],
    &[[1, 1, 1], [1, 1, 1], [2, 2, 2], [2, 2, 2]],
    &[[1, 1, 1], [1, 1, 1], [2, 2, 2], [4, 0, 0]],
    &[[1, 1, 1], [2, 0, 2], [2, 2, 0], [3, 3, 3]],
    &[[2, 0, 2], [2, 0, 2], [2, 0, 2], [2, 0, 2]],
    &[[2, 2, 0], [2, 2, 0], [2, 2, 0], [2, 2, 0]],
];

/// Which shape a code has; bit 7 is the first voxel of the cell, bit 0 the last one.
#[rustfmt::skip]
const OF_CODE: [u8; 128] = [
    0, 1, 1, 7, 1, 6, 5, 15, 1, 5, 6, 15, 7, 15, 15, 8,
    1, 3, 5, 11, 5, 9, 12, 22, 5, 10, 13, 18, 14, 19, 23, 15,
    1, 5, 3, 11, 5, 13, 10, 18, 5, 12, 9, 22, 14, 23, 19, 15,
    7, 11, 11, 4, 14, 24, 20, 11, 14, 20, 24, 11, 26, 14, 14, 7,
    1, 5, 5, 14, 3, 9, 10, 19, 5, 12, 13, 23, 11, 22, 18, 15,
    6, 9, 13, 24, 9, 2, 16, 9, 13, 16, 25, 13, 24, 9, 13, 6,
    5, 12, 10, 20, 10, 16, 17, 10, 12, 21, 16, 12, 20, 12, 10, 5,
    15, 22, 18, 11, 19, 9, 10, 3, 23, 12, 13, 5, 14, 5, 5, 1,
];

/// The areas in mm2 of all codes, in a cell whose sides along slices, rows and columns are given in mm.
pub(super) fn areas([s, r, c]: [f64; 3]) -> [f64; 256] {
    let across = [r * c, s * c, s * r];
    std::array::from_fn(|code| {
        let half = if code < 128 { code } else { 255 - code };
        let triangle = |normal: &[u8; 3]| {
            let parts = normal.iter().zip(across).map(|(eighths, area)| f64::from(*eighths) / 8.0 * area);
            parts.map(|part| part * part).sum::<f64>().sqrt()
        };
        SHAPES[usize::from(OF_CODE[half])].iter().map(triangle).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_walls_have_the_area_of_a_face_and_corners_are_cut() {
        let areas = areas([2.0, 3.0, 5.0]);
        // One side of the cell along slices, rows, columns: the walls are 3 x 5, 2 x 5, 2 x 3.
        for (code, area) in [(0b1111_0000, 15.0), (0b1100_1100, 10.0), (0b1010_1010, 6.0), (0, 0.0), (255, 0.0)] {
            assert!((areas[code] - area).abs() < 1e-12 && (areas[255 - code] - area).abs() < 1e-12, "{code:#b}");
        }
        // One voxel of eight: the triangle between the middles of three edges.
        let corner = (15.0_f64.powi(2) + 10.0_f64.powi(2) + 6.0_f64.powi(2)).sqrt() / 8.0;
        assert!((0..8).all(|bit| (areas[1 << bit] - corner).abs() < 1e-12));
    }
}
