//! Fewer points within a stated distance; it never moves a point and never touches the bridge to a hole.

use std::collections::HashMap;

use crate::volume::dot;

/// Drops points that lie within `tolerance_mm` of the contour without them (Douglas and Peucker 1973). With 0, only
/// points exactly on a line go.
///
/// Of a contour of [`crate::contour::trace`], no pixel centre comes nearer than 0.35 pixel to its boundary; every
/// piece that is replaced stays within the tolerance of its chord, so up to a third of a pixel (of the smaller
/// spacing) [`crate::contour::rasterise`] still gives the same mask. Points that occur twice (bridges) stay.
pub fn simplify(points: &[[f64; 3]], tolerance_mm: f64) -> Vec<[f64; 3]> {
    let anchors = anchors(points);
    if points.len() <= 3 || anchors.len() < 2 {
        return points.to_vec();
    }
    let mut keep = vec![false; points.len() + 1];
    let closed: Vec<[f64; 3]> = points.iter().chain(&points[..1]).copied().collect();
    let mut pieces: Vec<(usize, usize)> = anchors.windows(2).map(|pair| (pair[0], pair[1])).collect();
    keep[anchors[0]] = true;
    while let Some((from, to)) = pieces.pop() {
        keep[to] = true;
        if let Some((middle, distance)) = farthest(&closed, from, to)
            && distance > tolerance_mm
        {
            pieces.extend([(from, middle), (middle, to)]);
        }
    }
    let kept: Vec<[f64; 3]> = (0..points.len()).filter(|&k| keep[k]).map(|k| points[k]).collect();
    if kept.len() < 3 { points.to_vec() } else { kept }
}

/// Indices between which pieces are simplified, from 0 to the number of points (the first point again): the first
/// point, the points that occur twice, and the two that span most of the contour.
fn anchors(points: &[[f64; 3]]) -> Vec<usize> {
    let Some(&first) = points.first() else { return Vec::new() };
    let mut count: HashMap<[u64; 3], usize> = HashMap::new();
    for point in points {
        *count.entry(point.map(f64::to_bits)).or_default() += 1;
    }
    let far = |from: [f64; 3]| {
        let distance = |point: &[f64; 3]| dot(minus(*point, from), minus(*point, from));
        (0..points.len()).max_by(|&a, &b| distance(&points[a]).total_cmp(&distance(&points[b]))).unwrap_or(0)
    };
    let farthest = far(first);
    let span = [farthest, far(points[farthest])];
    let twice = |k: &usize| *k == 0 || span.contains(k) || count[&points[*k].map(f64::to_bits)] > 1;
    (0..points.len()).filter(twice).chain([points.len()]).collect()
}

/// The point strictly between two indices that is farthest from the segment between them, with its distance in mm.
fn farthest(points: &[[f64; 3]], from: usize, to: usize) -> Option<(usize, f64)> {
    let distance = |k: usize| (k, distance_to_segment(points[k], points[from], points[to]));
    (from + 1..to).map(distance).max_by(|a, b| a.1.total_cmp(&b.1))
}

fn distance_to_segment(p: [f64; 3], a: [f64; 3], b: [f64; 3]) -> f64 {
    let (along, to_p) = (minus(b, a), minus(p, a));
    let length2 = dot(along, along);
    let share = if length2 > 0.0 { (dot(to_p, along) / length2).clamp(0.0, 1.0) } else { 0.0 };
    let off: [f64; 3] = std::array::from_fn(|k| to_p[k] - along[k] * share);
    dot(off, off).sqrt()
}

fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|k| a[k] - b[k])
}
