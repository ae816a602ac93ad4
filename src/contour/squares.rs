//! Marching squares over one slice, in index coordinates `[column, row]`; holes joined by bridges of no width.
//!
//! A *cell* is the square between four pixel centres. Each crossing of the level on a side of a cell is a node; in
//! each cell a segment leads from one node to another, the inside on its right hand on the screen. Every node
//! therefore has one segment that leaves it and one that reaches it, and the segments form closed loops.

use super::Holes;

/// Least distance in pixels of a vertex from the pixel centres on both sides of it. At 0.1 mm pixels it is 2 um, more
/// than the rounding of the coordinates in a structure set.
const CENTRE_MARGIN: f64 = 0.02;

/// How far above the first row of a hole its bridge runs, in pixels, where the hole reaches that far.
const BRIDGE_RISE: f64 = 0.25;

const NONE: usize = usize::MAX;

/// The closed loops of segments, in scan order.
struct Loops {
    /// The loop of each node.
    of_node: Vec<usize>,
    /// The first node of each loop.
    first: Vec<usize>,
    /// Whether a loop is the boundary of a hole: it runs against the others.
    is_hole: Vec<bool>,
}

/// Polygons `[column, row]` of the pixels at `level` or above, and the number of holes among or in them; `read` writes
/// the values of one row.
pub fn trace(
    size: (usize, usize),
    level: f32,
    holes: Holes,
    read: impl Fn(usize, &mut [f32]),
) -> (Vec<Vec<[f64; 2]>>, usize) {
    let mut march = March::default();
    march.scan(size, level, read);
    let loops = march.loops();
    let cut = loops.is_hole.iter().filter(|hole| **hole).count();
    let keep = |hole: bool| !hole || holes == Holes::Xor;
    let kept = loops.first.iter().zip(&loops.is_hole).filter(|(_, hole)| keep(**hole));
    let roots: Vec<usize> = kept.map(|(root, _)| *root).collect();
    if holes == Holes::Keyhole {
        march.splice(&loops.of_node, loops.is_hole);
    }
    (roots.into_iter().map(|root| march.polygon(root)).collect(), cut)
}

/// A place where a hole may begin: its first segment in scan order, and the segment that its bridge would reach.
struct Candidate {
    /// Node from which the segment at the upper left of the hole starts.
    start: usize,
    /// Node from which the nearest segment on the left starts.
    hit: usize,
    /// Row coordinate of the bridge.
    row: f64,
}

/// A point on a segment at which a bridge ends: where it lies, and the other end of the bridge.
struct Stop {
    /// Node from which the segment starts.
    segment: usize,
    /// Share of the segment before the stop, 0 to 1.
    share: f64,
    /// Node reached from the start of the segment; the node after it leads to the end of the segment.
    node: usize,
}

#[derive(Default)]
struct March {
    points: Vec<[f64; 2]>,
    next: Vec<usize>,
    candidates: Vec<Candidate>,
}

/// The nodes on the sides of one cell, [`NONE`] where the level does not cross.
struct Sides {
    top: usize,
    right: usize,
    bottom: usize,
    left: usize,
}

impl March {
    /// Visits the cells of the image padded by one pixel of outside, row by row, and links their segments.
    fn scan(&mut self, (rows, columns): (usize, usize), level: f32, read: impl Fn(usize, &mut [f32])) {
        let outside = f32::NEG_INFINITY;
        let mut above = vec![outside; columns + 2];
        let mut below = vec![outside; columns + 2];
        let mut tops = vec![NONE; columns + 1];
        let mut segments: Vec<(usize, usize)> = Vec::new();
        // Cell row `i` lies between pixel rows `i - 1` and `i`; padded column `j` holds pixel column `j - 1`.
        for i in 0..=rows {
            if i < rows {
                read(i, &mut below[1..=columns]);
            } else {
                below.fill(outside);
            }
            let mut left = NONE;
            segments.clear();
            for j in 0..=columns {
                let corners = [above[j], above[j + 1], below[j], below[j + 1]];
                let [top_left, top_right, bottom_left, bottom_right] = corners.map(|v| v >= level);
                let case = [top_left, top_right, bottom_left, bottom_right];
                if case == [false; 4] || case == [true; 4] {
                    (tops[j], left) = (NONE, NONE);
                    continue;
                }
                let (x, y) = (j as f64 - 1.0, i as f64 - 1.0);
                let bottom =
                    self.node(bottom_left != bottom_right, || [x + crossing(corners[2], corners[3], level), y + 1.0]);
                let right =
                    self.node(top_right != bottom_right, || [x + 1.0, y + crossing(corners[1], corners[3], level)]);
                let sides = Sides { top: tops[j], right, bottom, left };
                let first = segments.len();
                self.link(case, &sides, &mut segments);
                if case == [true, true, true, false] {
                    self.note_candidate(&segments[..first], right, y + 1.0);
                }
                (tops[j], left) = (bottom, right);
            }
            std::mem::swap(&mut above, &mut below);
        }
    }

    fn node(&mut self, crosses: bool, point: impl FnOnce() -> [f64; 2]) -> usize {
        if !crosses {
            return NONE;
        }
        self.points.push(point());
        self.next.push(NONE);
        self.points.len() - 1
    }

    /// Adds the segments of one cell, from left to right. In a saddle each corner inside is cut off by itself.
    fn link(&mut self, case: [bool; 4], at: &Sides, segments: &mut Vec<(usize, usize)>) {
        let mut add = |from: usize, to: usize| {
            self.next[from] = to;
            segments.push((from, to));
        };
        // Corners: top left, top right, bottom left, bottom right.
        match case {
            [true, false, false, false] => add(at.top, at.left),
            [false, true, false, false] => add(at.right, at.top),
            [false, false, true, false] => add(at.left, at.bottom),
            [false, false, false, true] => add(at.bottom, at.right),
            [true, true, false, false] => add(at.right, at.left),
            [false, false, true, true] => add(at.left, at.right),
            [true, false, true, false] => add(at.top, at.bottom),
            [false, true, false, true] => add(at.bottom, at.top),
            [false, true, true, true] => add(at.left, at.top),
            [true, false, true, true] => add(at.top, at.right),
            [true, true, false, true] => add(at.bottom, at.left),
            [true, true, true, false] => add(at.right, at.bottom),
            [true, false, false, true] => {
                add(at.top, at.left);
                add(at.bottom, at.right);
            }
            [false, true, true, false] => {
                add(at.left, at.bottom);
                add(at.right, at.top);
            }
            [false, false, false, false] | [true, true, true, true] => {}
        }
    }

    /// Notes where a bridge would lead if the pixel at the lower right of this cell is the first of a hole. The
    /// bridge runs left inside the cell row, so the nearest segment that crosses its line is the one it reaches.
    fn note_candidate(&mut self, segments: &[(usize, usize)], start: usize, pixel_row: f64) {
        let rise = (pixel_row - self.points[start][1]) / 2.0;
        let row = pixel_row - rise.min(BRIDGE_RISE);
        let crosses = |&&(from, to): &&(usize, usize)| (self.points[from][1] < row) != (self.points[to][1] < row);
        if let Some(&(hit, _)) = segments.iter().rev().find(crosses) {
            self.candidates.push(Candidate { start, hit, row });
        }
    }

    fn loops(&self) -> Loops {
        let mut loops = Loops { of_node: vec![NONE; self.next.len()], first: Vec::new(), is_hole: Vec::new() };
        for node in 0..self.next.len() {
            if loops.of_node[node] != NONE {
                continue;
            }
            let mut at = node;
            let mut area = 0.0;
            while loops.of_node[at] == NONE {
                loops.of_node[at] = loops.first.len();
                let (a, b) = (self.points[at], self.points[self.next[at]]);
                area += a[0] * b[1] - b[0] * a[1];
                at = self.next[at];
            }
            loops.first.push(node);
            loops.is_hole.push(area < 0.0);
        }
        loops
    }

    /// Joins every hole to the loop on its left.
    ///
    /// The first candidate of a hole in scan order is at its upper left pixel. Its bridge reaches the outer loop or a
    /// hole whose own upper left pixel comes earlier, so the bridges form a tree, and they lie on horizontal lines
    /// between neighbouring segments, so they do not cross.
    fn splice(&mut self, loop_of: &[usize], mut open_holes: Vec<bool>) {
        let mut stops = Vec::new();
        for Candidate { start, hit, row } in std::mem::take(&mut self.candidates) {
            if !std::mem::replace(&mut open_holes[loop_of[start]], false) {
                continue;
            }
            let (from_hole, to_left) = (self.stop(start, row), self.stop(hit, row));
            // Arriving at one end of the bridge leads on from the other end.
            self.next[from_hole.node] = to_left.node + 1;
            self.next[to_left.node] = from_hole.node + 1;
            stops.extend([from_hole, to_left]);
        }
        stops.sort_by(|a, b| a.segment.cmp(&b.segment).then(a.share.total_cmp(&b.share)));
        for group in stops.chunk_by(|a, b| a.segment == b.segment) {
            let mut last = group[0].segment;
            let end = self.next[last];
            for stop in group {
                self.next[last] = stop.node;
                last = stop.node + 1;
            }
            self.next[last] = end;
        }
    }

    /// Makes the two nodes at which a segment meets a bridge on the line `row`.
    fn stop(&mut self, segment: usize, row: f64) -> Stop {
        let (a, b) = (self.points[segment], self.points[self.next[segment]]);
        let share = ((row - a[1]) / (b[1] - a[1])).clamp(0.0, 1.0);
        let node = self.points.len();
        self.points.extend([[a[0] + (b[0] - a[0]) * share, row]; 2]);
        self.next.extend([NONE; 2]);
        Stop { segment, share, node }
    }

    /// The loop through `root` without repeated points and without points on a straight line.
    fn polygon(&self, root: usize) -> Vec<[f64; 2]> {
        let mut points: Vec<[f64; 2]> = Vec::new();
        let mut at = root;
        loop {
            push_straightened(&mut points, self.points[at]);
            at = self.next[at];
            if at == root {
                break;
            }
        }
        close_straightened(&mut points);
        points
    }
}

/// Where between two neighbouring centres the level is crossed, 0 at the first and 1 at the second; half-way where
/// one of them has no value.
fn crossing(first: f32, second: f32, level: f32) -> f64 {
    let share = (f64::from(level) - f64::from(first)) / (f64::from(second) - f64::from(first));
    if share.is_finite() && first.is_finite() && second.is_finite() {
        share.clamp(CENTRE_MARGIN, 1.0 - CENTRE_MARGIN)
    } else {
        0.5
    }
}

/// Adds a point and drops the one before it when it lies on the straight way to it.
fn push_straightened(points: &mut Vec<[f64; 2]>, point: [f64; 2]) {
    if points.last() == Some(&point) {
        return;
    }
    if let [.., a, b] = points[..]
        && goes_straight(a, b, point)
    {
        points.pop();
    }
    points.push(point);
}

/// Treats the join of the last point with the first in the same way.
fn close_straightened(points: &mut Vec<[f64; 2]>) {
    while points.len() > 3 {
        let n = points.len();
        if points[n - 1] == points[0] || goes_straight(points[n - 2], points[n - 1], points[0]) {
            points.pop();
        } else if goes_straight(points[n - 1], points[0], points[1]) {
            points.remove(0);
        } else {
            return;
        }
    }
}

/// Whether b lies on the way from a to c. A turn back on the same line (the end of a bridge) is not straight.
fn goes_straight(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> bool {
    let (u, v) = ([b[0] - a[0], b[1] - a[1]], [c[0] - b[0], c[1] - b[1]]);
    u[0] * v[1] == u[1] * v[0] && u[0] * v[0] + u[1] * v[1] > 0.0
}
