//! Whether a contour crosses itself; touching, as the two sides of a bridge to a hole do, is not crossing.

use crate::volume::{VolumeGeometry, dot};

/// Whether two edges of a polygon cross at a point inside of both.
pub fn crosses_itself(geometry: &VolumeGeometry, points: &[[f64; 3]]) -> bool {
    let (across, down) = (geometry.row_direction(), geometry.column_direction());
    let flat: Vec<[f64; 2]> = points.iter().map(|&point| [dot(point, across), dot(point, down)]).collect();
    let mut edges: Vec<[[f64; 2]; 2]> = flat
        .iter()
        .zip(flat.iter().cycle().skip(1))
        .map(|(&a, &b)| if a[1] <= b[1] { [a, b] } else { [b, a] })
        .collect();
    // By their upper ends: only edges whose rows overlap can cross.
    edges.sort_by(|a, b| a[0][1].total_cmp(&b[0][1]));
    let mut open: Vec<[[f64; 2]; 2]> = Vec::new();
    for edge in edges {
        open.retain(|other| other[1][1] > edge[0][1]);
        if open.iter().any(|other| cross(&edge, other)) {
            return true;
        }
        open.push(edge);
    }
    false
}

fn cross(a: &[[f64; 2]; 2], b: &[[f64; 2]; 2]) -> bool {
    let apart = |axis: usize| {
        let ends = |edge: &[[f64; 2]; 2]| (edge[0][axis].min(edge[1][axis]), edge[0][axis].max(edge[1][axis]));
        let ((low_a, high_a), (low_b, high_b)) = (ends(a), ends(b));
        high_a <= low_b || high_b <= low_a
    };
    if apart(0) {
        return false;
    }
    let between = |edge: &[[f64; 2]; 2], other: &[[f64; 2]; 2]| {
        let (first, second) = (side(edge, other[0]), side(edge, other[1]));
        (first > 0.0 && second < 0.0) || (first < 0.0 && second > 0.0)
    };
    between(a, b) && between(b, a)
}

/// On which side of an edge a point lies; exactly 0 at its ends.
fn side(edge: &[[f64; 2]; 2], point: [f64; 2]) -> f64 {
    let (u, v) = ([edge[1][0] - edge[0][0], edge[1][1] - edge[0][1]], [point[0] - edge[0][0], point[1] - edge[0][1]]);
    u[0] * v[1] - u[1] * v[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(points: &[[f64; 2]]) -> bool {
        let (sin, cos) = 0.3_f64.sin_cos();
        let geometry = VolumeGeometry::new((8, 8), [1.0, 1.0], [cos, sin, 0.0], [-sin, cos, 0.0], vec![[0.0; 3]]);
        let turned = |p: &[f64; 2]| [p[0] * cos - p[1] * sin, p[0] * sin + p[1] * cos, 0.0];
        crosses_itself(&geometry.expect("legal"), &points.iter().map(turned).collect::<Vec<_>>())
    }

    #[test]
    fn a_keyhole_touches_itself_and_an_eight_crosses() {
        assert!(!check(&[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]));
        assert!(check(&[[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]]));
        // In through the left side, around a hole, and out again.
        let keyhole = [
            [0.0, 0.0],
            [6.0, 0.0],
            [6.0, 6.0],
            [0.0, 6.0],
            [0.0, 2.5],
            [2.0, 2.5],
            [2.0, 4.0],
            [4.0, 4.0],
            [4.0, 2.0],
            [2.0, 2.0],
            [2.0, 2.5],
            [0.0, 2.5],
        ];
        assert!(!check(&keyhole));
    }
}
