//! Trees of vessels and bronchi that fill the lungs; it decides no HU of anything else.

use super::anatomy::{Anatomy, BLOOD_HU, Material, Part};
use super::plane::Plane;
use super::random::Random;
use super::shape::{Tube, dot, mix, sub};

struct Node {
    at: [f32; 3],
    parent: usize,
    /// Length of the way to the root.
    way: f32,
    radius: f32,
}

/// Arteries, veins and bronchi of both lungs.
pub(super) fn grow(anatomy: &Anatomy, random: &mut Random) -> Vec<Part> {
    let planes: Vec<Plane> = (-46..34).map(|step| Plane::of(anatomy, step as f32 * 4.0)).collect();
    let lung = |point: [f32; 3]| {
        let index = ((point[2] / 4.0).round() + 46.0).clamp(0.0, 79.0) as usize;
        planes[index].lung_distance(point[0], point[1])
    };
    let blood = Material::InLung(BLOOD_HU + anatomy.contrast_hu);
    let mut parts = Vec::new();
    let mut bronchi = Vec::new();
    for side in [1.0, -1.0] {
        let hilum = |y: f32, z: f32| [side * 40.0, y, z];
        parts.extend(tubes(&tree(hilum(10.0, 10.0), 340, 3.0, 0.75, side, &lung, random), blood));
        parts.extend(tubes(&tree(hilum(-2.0, -12.0), 260, 3.0, 0.7, side, &lung, random), blood));
        bronchi.push(tree([side * 41.0, 19.0, 2.0], 16, 18.0, 1.5, side, &lung, random));
    }
    for nodes in &bronchi {
        let walls = tubes(nodes, Material::InLung(-150.0));
        parts.extend(walls.into_iter().map(|part| Part { tube: thicker(part.tube, 1.0), ..part }));
    }
    parts.extend(bronchi.iter().flat_map(|nodes| tubes(nodes, Material::Bronchus)));
    parts
}

fn thicker(tube: Tube, by: f32) -> Tube {
    Tube { radius_a: tube.radius_a + by, radius_b: tube.radius_b + by, ..tube }
}

/// Grows a tree from a root to `leaves` random points at least `depth` inside a lung. Each new branch leaves the tree
/// where distance and way to the root are short together; radii follow Murray's law with exponent 2.7.
fn tree(
    root: [f32; 3],
    leaves: usize,
    depth: f32,
    leaf_radius: f32,
    side: f32,
    lung: &impl Fn([f32; 3]) -> f32,
    random: &mut Random,
) -> Vec<Node> {
    let mut nodes = vec![Node { at: root, parent: 0, way: 0.0, radius: 0.0 }];
    for _ in 0..leaves {
        let Some(target) = target(depth, side, lung, random) else { continue };
        let cost = |node: &Node| length(sub(target, node.at)) + 0.25 * node.way;
        let nearest = (0..nodes.len()).min_by(|&a, &b| cost(&nodes[a]).total_cmp(&cost(&nodes[b]))).unwrap_or(0);
        extend(&mut nodes, nearest, target, random);
    }
    let mut flow: Vec<f32> = vec![0.0; nodes.len()];
    for index in (1..nodes.len()).rev() {
        if flow[index] == 0.0 {
            flow[index] = leaf_radius.powf(2.7);
        }
        nodes[index].radius = flow[index].powf(1.0 / 2.7);
        flow[nodes[index].parent] += flow[index];
    }
    nodes
}

fn target(depth: f32, side: f32, lung: &impl Fn([f32; 3]) -> f32, random: &mut Random) -> Option<[f32; 3]> {
    let mut draw = || {
        let point = [random.between(8.0, 135.0), random.between(-90.0, 98.0), random.between(-160.0, 126.0)];
        [side * point[0] as f32, point[1] as f32, point[2] as f32]
    };
    (0..64).map(|_| draw()).find(|&point| lung(point) < -depth)
}

/// Adds a way from a node to a target in pieces of some 12 mm, bent a little.
fn extend(nodes: &mut Vec<Node>, from: usize, target: [f32; 3], random: &mut Random) {
    let start = nodes[from].at;
    let distance = length(sub(target, start));
    let pieces = (distance / 12.0).ceil().max(1.0) as usize;
    let bend: [f32; 3] = std::array::from_fn(|_| random.normal() * distance * 0.06);
    let mut parent = from;
    for piece in 1..=pieces {
        let share = piece as f32 / pieces as f32;
        let bow = 4.0 * share * (1.0 - share);
        let at: [f32; 3] = std::array::from_fn(|k| mix(start[k], target[k], share) + bend[k] * bow);
        let way = nodes[parent].way + length(sub(at, nodes[parent].at));
        nodes.push(Node { at, parent, way, radius: 0.0 });
        parent = nodes.len() - 1;
    }
}

fn tubes(nodes: &[Node], material: Material) -> Vec<Part> {
    let tube = |node: &Node| {
        let start = &nodes[node.parent];
        let wide = if node.parent == 0 { node.radius } else { start.radius.min(node.radius * 1.35) };
        Part { tube: Tube::new(start.at, node.at, wide, node.radius), material }
    };
    nodes.iter().skip(1).map(tube).collect()
}

fn length(a: [f32; 3]) -> f32 {
    dot(a, a).sqrt()
}
