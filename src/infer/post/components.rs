//! Connected components of a mask by runs along rows and union-find; it knows nothing of millimetres.

use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use ndarray::{Array3, ArrayView2, Axis, parallel::prelude::*};

/// Which voxels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// Shared faces: 6 in the volume, 4 in a slice.
    Faces,
    /// Shared edges as well: 18 in the volume, 8 in a slice.
    Edges,
    /// Shared corners as well: 26 in the volume, 8 in a slice.
    Corners,
}

/// The parameter that asks for the kind of neighbours. `default` is JSON text.
pub const fn parameter(default: &'static str) -> Parameter {
    Parameter {
        name: "neighbours",
        doc: "Which voxels are connected: those that share `faces` (6 neighbours in the volume, 4 in a slice), `edges` as well (18, 8), or `corners` as well (26, 8). MONAI calls them connectivity 1, 2 and 3.",
        unit: "",
        kind: Kind::Choice(&["faces", "edges", "corners"]),
        default: Some(default),
    }
}

impl Neighbours {
    /// The kind that a word of the parameter `neighbours` stands for.
    pub fn of(word: &str) -> Neighbours {
        match word {
            "corners" => Neighbours::Corners,
            "edges" => Neighbours::Edges,
            _ => Neighbours::Faces,
        }
    }
}

/// A stretch of voxels of one row: columns `start..end`.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub slice: u32,
    pub row: u32,
    pub start: u32,
    pub end: u32,
}

impl Run {
    /// Its voxels as index ranges of slices, rows and columns.
    pub fn ranges(&self) -> [std::ops::Range<usize>; 3] {
        let (slice, row) = (self.slice as usize, self.row as usize);
        [slice..slice + 1, row..row + 1, self.start as usize..self.end as usize]
    }

    /// How many of its voxels are set in a mask of the same shape.
    pub fn count_in(&self, mask: &Array3<bool>) -> f64 {
        part(mask.view(), &self.ranges()).iter().filter(|inside| **inside).count() as f64
    }

    /// How many voxels it has.
    pub fn length(&self) -> f64 {
        f64::from(self.end - self.start)
    }
}

/// The runs of a mask, each with the number of its component; numbers ascend from 0 in the order of first voxels.
pub struct Components {
    pub runs: Vec<Run>,
    pub component: Vec<u32>,
    /// How many components there are.
    pub count: usize,
}

impl Components {
    /// Labels the voxels that equal `value`. With `per_slice`, voxels of different slices are never connected.
    pub fn of(mask: &Array3<bool>, value: bool, neighbours: Neighbours, per_slice: bool) -> Components {
        let (slices, rows, _) = mask.dim();
        let per_slice_runs: Vec<(Vec<Run>, Vec<u32>)> = mask
            .axis_iter(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(slice, plane)| runs_of(plane, slice as u32, value))
            .collect();
        // first[slice * rows + row] is the index of the first run of that row.
        let mut first = Vec::with_capacity(slices * rows + 1);
        let mut runs = Vec::with_capacity(per_slice_runs.iter().map(|(runs, _)| runs.len()).sum());
        for (of_slice, starts) in per_slice_runs {
            let offset = runs.len() as u32;
            first.extend(starts.iter().map(|start| start + offset));
            runs.extend(of_slice);
        }
        first.push(runs.len() as u32);
        let mut parent: Vec<u32> = (0..runs.len() as u32).collect();
        // Runs whose voxels share an edge or corner touch already when one ends where the other begins.
        let diagonal = u32::from(neighbours != Neighbours::Faces);
        let corner = u32::from(neighbours == Neighbours::Corners);
        for slice in 0..slices {
            for row in 0..rows {
                let here = slice * rows + row;
                let mut join = |other: usize, reach: u32| {
                    let (a, b) = (first[here]..first[here + 1], first[other]..first[other + 1]);
                    join_rows(&runs, &mut parent, a, b, reach);
                };
                if row > 0 {
                    join(here - 1, diagonal);
                }
                if slice > 0 && !per_slice {
                    join(here - rows, diagonal);
                    if diagonal > 0 && row > 0 {
                        join(here - rows - 1, corner);
                    }
                    if diagonal > 0 && row + 1 < rows {
                        join(here - rows + 1, corner);
                    }
                }
            }
        }
        number(runs, parent)
    }

    /// Sums a quantity of the runs over each component.
    pub fn sum(&self, quantity: impl Fn(&Run) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        self.runs.iter().zip(&self.component).for_each(|(run, &component)| sums[component as usize] += quantity(run));
        sums
    }

    /// Sets the voxels of the runs for whose component `which` holds.
    pub fn paint(&self, mask: &mut Array3<bool>, value: bool, which: impl Fn(usize) -> bool) {
        for (run, component) in self.runs.iter().zip(&self.component) {
            if which(*component as usize) {
                part(mask.view_mut(), &run.ranges()).fill(value);
            }
        }
    }
}

/// The runs of one slice and, for each row, the index of its first one.
fn runs_of(plane: ArrayView2<'_, bool>, slice: u32, value: bool) -> (Vec<Run>, Vec<u32>) {
    let (mut runs, mut starts) = (Vec::new(), Vec::with_capacity(plane.nrows()));
    for (row, voxels) in plane.outer_iter().enumerate() {
        starts.push(runs.len() as u32);
        let mut start = None;
        for (column, &voxel) in voxels.iter().enumerate() {
            match (voxel == value, start) {
                (true, None) => start = Some(column as u32),
                (false, Some(begin)) => {
                    runs.push(Run { slice, row: row as u32, start: begin, end: column as u32 });
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(begin) = start {
            runs.push(Run { slice, row: row as u32, start: begin, end: voxels.len() as u32 });
        }
    }
    (runs, starts)
}

/// Joins the runs of two rows that touch: both lists ascend, so one pass over them is enough.
fn join_rows(runs: &[Run], parent: &mut [u32], a: std::ops::Range<u32>, b: std::ops::Range<u32>, reach: u32) {
    let (mut i, mut j) = (a.start, b.start);
    while i < a.end && j < b.end {
        let (left, right) = (&runs[i as usize], &runs[j as usize]);
        if left.start < right.end + reach && right.start < left.end + reach {
            union(parent, i, j);
        }
        if left.end < right.end {
            i += 1;
        } else {
            j += 1;
        }
    }
}

fn root(parent: &mut [u32], mut of: u32) -> u32 {
    while parent[of as usize] != of {
        // Halving the path keeps it short: nearly constant time per query.
        parent[of as usize] = parent[parent[of as usize] as usize];
        of = parent[of as usize];
    }
    of
}

/// The lower index becomes the root, so that components are numbered by their first voxel.
fn union(parent: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b) as usize] = a.min(b);
}

fn number(runs: Vec<Run>, mut parent: Vec<u32>) -> Components {
    let mut component = vec![0_u32; runs.len()];
    let mut count = 0;
    for index in 0..runs.len() as u32 {
        let root = root(&mut parent, index);
        component[index as usize] = if root == index {
            count += 1;
            count - 1
        } else {
            component[root as usize]
        };
    }
    Components { runs, component, count: count as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels by flooding, one voxel at a time.
    fn flooded(mask: &Array3<bool>, neighbours: Neighbours, per_slice: bool) -> (Array3<u32>, u32) {
        let (d, h, w) = mask.dim();
        let mut labels = Array3::zeros(mask.raw_dim());
        let mut count = 0;
        for start in ndarray::indices(mask.raw_dim()) {
            if !mask[start] || labels[start] != 0 {
                continue;
            }
            count += 1;
            labels[start] = count;
            let mut stack = vec![start];
            while let Some((k, j, i)) = stack.pop() {
                for (dk, dj, di) in ndarray::indices((3, 3, 3)) {
                    let faces = (dk != 1) as u8 + (dj != 1) as u8 + (di != 1) as u8;
                    let most = match neighbours {
                        Neighbours::Faces => 1,
                        Neighbours::Edges => 2,
                        Neighbours::Corners => 3,
                    };
                    if faces == 0 || faces > most || (per_slice && dk != 1) {
                        continue;
                    }
                    let (k, j, i) = (k + dk, j + dj, i + di);
                    if k < 1 || j < 1 || i < 1 || k > d || j > h || i > w {
                        continue;
                    }
                    let next = (k - 1, j - 1, i - 1);
                    if mask[next] && labels[next] == 0 {
                        labels[next] = count;
                        stack.push(next);
                    }
                }
            }
        }
        (labels, count)
    }

    #[test]
    fn agrees_with_flooding_on_random_masks() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..60 {
            let shape = (random.usize(1..6), random.usize(1..9), random.usize(1..12));
            let share = 0.2 + 0.1 * f64::from(round % 5);
            let mask = Array3::from_shape_simple_fn(shape, || random.f64() < share);
            for neighbours in [Neighbours::Faces, Neighbours::Edges, Neighbours::Corners] {
                for per_slice in [false, true] {
                    let found = Components::of(&mask, true, neighbours, per_slice);
                    let (truth, count) = flooded(&mask, neighbours, per_slice);
                    assert_eq!(found.count as u32, count);
                    for (run, component) in found.runs.iter().zip(&found.component) {
                        for column in run.start..run.end {
                            let at = [run.slice as usize, run.row as usize, column as usize];
                            assert_eq!(truth[at], component + 1, "components are numbered by first voxel");
                        }
                    }
                }
            }
        }
    }
}
