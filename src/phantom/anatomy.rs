//! The parts of the chest that keep their shape from slice to slice, in the frame of the standard patient.
//!
//! The frame is LPS in mm of the standard patient: x to the left, y to the back, z to the head, the carina near
//! z = 30. Measures are those of an adult in quiet inspiration; they are drawn by hand, not taken from an atlas.

use super::parameters::{Arms, Thorax};
use super::random::Random;
use super::shape::{Ellipsoid, Tube, profile};

/// What a tube is made of, and what it means for the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Material {
    /// Cortex round marrow.
    Bone,
    /// Soft tissue outside the lungs, with its HU: great vessels, oesophagus, walls of trachea and main bronchi.
    Soft(f32),
    /// Air of the trachea and the main bronchi.
    Airway,
    /// A vessel or the wall of a bronchus inside a lung, with its HU: part of the lung.
    InLung(f32),
    /// Air of a bronchus inside a lung.
    Bronchus,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub tube: Tube,
    pub material: Material,
}

/// Everything about the patient that does not depend on the slice.
pub(super) struct Anatomy {
    /// In the order of painting.
    pub parts: Vec<Part>,
    pub arms: Vec<Tube>,
    pub breasts: Vec<Ellipsoid>,
    pub scapulae: Vec<Ellipsoid>,
    pub gas: Vec<Ellipsoid>,
    pub fat_mm: f32,
    pub contrast_hu: f32,
    /// Where the couch flattens the patient: the coordinate towards the couch, at x = 0.
    pub contact_mm: f32,
    /// How much the contact rises with x squared (a cradle).
    pub cradle: f32,
    pub couch_side: f32,
    pub noise_seed: u64,
}

pub(super) const LIVER_HU: f32 = 58.0;
pub(super) const BLOOD_HU: f32 = 42.0;
/// Distance between the middles of two vertebrae.
pub(super) const VERTEBRA_MM: f32 = 25.0;
const APEX_MM: f32 = 130.0;

const RING_HALF_WIDTH: [(f32, f32); 9] = [
    (-200.0, 124.0),
    (-100.0, 133.0),
    (-30.0, 130.0),
    (30.0, 118.0),
    (70.0, 98.0),
    (95.0, 78.0),
    (112.0, 58.0),
    (124.0, 36.0),
    (131.0, 14.0),
];
const RING_HALF_DEPTH: [(f32, f32); 9] = [
    (-200.0, 84.0),
    (-100.0, 92.0),
    (-30.0, 91.0),
    (30.0, 84.0),
    (70.0, 70.0),
    (95.0, 57.0),
    (112.0, 42.0),
    (124.0, 26.0),
    (131.0, 10.0),
];
const RING_MIDDLE: [(f32, f32); 6] =
    [(-200.0, 0.0), (-100.0, 2.0), (0.0, 6.0), (60.0, 13.0), (110.0, 26.0), (132.0, 31.0)];
const TORSO_HALF_WIDTH: [(f32, f32); 10] = [
    (-200.0, 144.0),
    (-120.0, 150.0),
    (-60.0, 152.0),
    (0.0, 152.0),
    (50.0, 150.0),
    (85.0, 148.0),
    (110.0, 136.0),
    (130.0, 106.0),
    (150.0, 70.0),
    (175.0, 56.0),
];
const TORSO_HALF_DEPTH: [(f32, f32); 8] = [
    (-200.0, 103.0),
    (-100.0, 107.0),
    (0.0, 108.0),
    (50.0, 104.0),
    (90.0, 92.0),
    (115.0, 80.0),
    (140.0, 68.0),
    (170.0, 61.0),
];
const TORSO_MIDDLE: [(f32, f32); 6] =
    [(-200.0, 2.0), (-100.0, 6.0), (0.0, 8.0), (60.0, 14.0), (110.0, 22.0), (170.0, 22.0)];

/// Half axes and middle (y) of the pleura's outer outline at a height; `None` above the apex of the lungs.
pub(super) fn ring(z: f32) -> Option<([f32; 2], f32)> {
    let half = [profile(&RING_HALF_WIDTH, z), profile(&RING_HALF_DEPTH, z)];
    (z < APEX_MM).then(|| (half, profile(&RING_MIDDLE, z)))
}

/// Half axes and middle (y) of the lean trunk (without fat and skin) at a height.
pub(super) fn torso(z: f32) -> ([f32; 2], f32) {
    let half = [profile(&TORSO_HALF_WIDTH, z), profile(&TORSO_HALF_DEPTH, z)];
    (half, profile(&TORSO_MIDDLE, z))
}

/// Middle (y) of the vertebral bodies and their size at a height: the kyphosis of the chest, smaller to the neck.
pub(super) fn spine(z: f32) -> (f32, f32) {
    let rise = (z + 20.0) / 190.0;
    (60.0 - 26.0 * rise * rise, 0.92 - 0.0009 * z)
}

/// Middle (y) of the spinal canal at a height.
pub(super) fn canal(z: f32) -> f32 {
    let (middle, size) = spine(z);
    middle + 15.0 * size + 8.5
}

/// How far the diaphragm reaches up at a place.
pub(super) fn diaphragm(x: f32, y: f32) -> f32 {
    let dome = |cx: f32, cy: f32, rx: f32, ry: f32, top: f32, height: f32| {
        let far = ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2);
        top - height * far * (0.75 + 0.25 * far.min(2.0))
    };
    let (right, left) = (dome(-62.0, 0.0, 76.0, 92.0, -68.0, 84.0), dome(64.0, 4.0, 76.0, 92.0, -84.0, 74.0));
    let tendon = dome(18.0, -24.0, 66.0, 62.0, -98.0, 50.0);
    let higher = |a: f32, b: f32| -super::shape::smooth_min(-a, -b, 14.0);
    // The lungs end at the twelfth rib, however narrow the recess.
    higher(higher(right, left), tendon).max(-162.0)
}

/// Distances to the surface of the heart and to the blood of its chambers.
pub(super) fn heart(point: [f32; 3]) -> (f32, f32) {
    let ventricles = Ellipsoid::new([27.0, -32.0, -62.0], [59.0, 40.0, 39.0]).turned(-38.0, -26.0).distance(point);
    let atria = Ellipsoid::new([-3.0, 4.0, -36.0], [44.0, 29.0, 36.0]).distance(point);
    let surface = super::shape::smooth_min(ventricles, atria, 16.0);
    let septum = (point[0] + 0.75 * point[1] + 4.0).abs() * 0.8 - 5.0;
    (surface, (ventricles + 11.0).max(-septum).min(atria + 5.0))
}

impl Anatomy {
    pub fn of(thorax: &Thorax) -> Anatomy {
        let mut random = Random::of(thorax.seed, 1);
        let contrast_hu = thorax.contrast_hu as f32;
        let mut anatomy = Anatomy {
            parts: Vec::new(),
            arms: arms(thorax.arms),
            breasts: breasts(thorax.breasts as f32),
            scapulae: scapulae(),
            gas: bowel_gas(&mut random),
            fat_mm: thorax.fat_mm as f32,
            contrast_hu,
            contact_mm: 0.0,
            cradle: (thorax.couch.cradle_mm / 200.0_f64.powi(2)) as f32,
            couch_side: thorax.position.couch_side() as f32,
            noise_seed: random.bits(),
        };
        anatomy.contact_mm = anatomy.flattened_at();
        anatomy.parts.extend(great_vessels(contrast_hu));
        anatomy.parts.extend(super::vessels::grow(&anatomy, &mut random));
        anatomy.parts.extend(airway());
        anatomy.parts.extend(bones(thorax.arms));
        anatomy
    }

    /// The patient's weight flattens 7 mm of the furthest outline on the couch.
    fn flattened_at(&self) -> f32 {
        let reach = (-20..=20).map(|step| {
            let (half, middle) = torso(step as f32 * 9.0);
            self.couch_side * middle + half[1] + 0.8 * self.fat_mm + 2.0
        });
        reach.fold(0.0, f32::max) - 7.0
    }
}

fn pair(tube: Tube) -> [Tube; 2] {
    [tube, tube.mirrored()]
}

fn arms(arms: Arms) -> Vec<Tube> {
    let one = match arms {
        Arms::Up => Tube::new([136.0, 20.0, 100.0], [186.0, -12.0, 330.0], 50.0, 44.0),
        Arms::Down => Tube::new([146.0, 20.0, 104.0], [216.0, 26.0, -200.0], 46.0, 37.0),
    };
    pair(one).to_vec()
}

fn breasts(size: f32) -> Vec<Ellipsoid> {
    if size <= 0.0 {
        return Vec::new();
    }
    let radius = 34.0 + 26.0 * size;
    let one = |side: f32| {
        let centre = [side * 72.0, -84.0 - 22.0 * size, -12.0 - 12.0 * size];
        Ellipsoid::new(centre, [radius * 1.15, radius * 0.75, radius])
    };
    vec![one(1.0), one(-1.0)]
}

fn scapulae() -> Vec<Ellipsoid> {
    let one = |side: f32| Ellipsoid::new([side * 112.0, 76.0, 62.0], [38.0, 4.5, 56.0]).turned(side * -38.0, 0.0);
    vec![one(1.0), one(-1.0)]
}

fn bowel_gas(random: &mut Random) -> Vec<Ellipsoid> {
    let bubble = |_| {
        let centre = [random.between(5.0, 85.0), random.between(-62.0, -38.0), random.between(-205.0, -162.0)];
        let radii = [random.between(9.0, 20.0), random.between(8.0, 13.0), random.between(9.0, 20.0)];
        Ellipsoid::new(centre.map(|x| x as f32), radii.map(|x| x as f32)).turned(random.between(0.0, 90.0) as f32, 0.0)
    };
    (0..6).map(bubble).collect()
}

/// A chain of tubes through points `[x, y, z, radius]`.
fn chain(points: &[[f32; 4]], material: Material) -> Vec<Part> {
    let link = |pair: &[[f32; 4]]| {
        let [[ax, ay, az, ra], [bx, by, bz, rb]] = [pair[0], pair[1]];
        Part { tube: Tube::new([ax, ay, az], [bx, by, bz], ra, rb), material }
    };
    points.windows(2).map(link).collect()
}

fn great_vessels(contrast_hu: f32) -> Vec<Part> {
    let blood = Material::Soft(BLOOD_HU + contrast_hu);
    let aorta = [
        [4.0, -18.0, -15.0, 15.0],
        [-12.0, -24.0, 22.0, 15.5],
        [-9.0, -20.0, 48.0, 15.0],
        [4.0, -6.0, 60.0, 14.0],
        [17.0, 14.0, 60.0, 13.0],
        [24.0, 34.0, 46.0, 12.5],
        [25.0, 42.0, 20.0, 12.0],
        [20.0, 42.0, -50.0, 11.5],
        [9.0, 30.0, -110.0, 11.0],
        [5.0, 22.0, -215.0, 10.5],
    ];
    let cava = [[-26.0, -16.0, 78.0, 9.0], [-27.0, -14.0, 30.0, 9.5], [-24.0, -6.0, -12.0, 10.0]];
    let lower_cava = [[-22.0, 8.0, -62.0, 12.0], [-24.0, 10.0, -120.0, 12.0], [-22.0, 14.0, -215.0, 11.5]];
    let trunk = [[20.0, -34.0, -16.0, 14.0], [19.0, -22.0, 10.0, 14.0], [16.0, -6.0, 24.0, 13.0]];
    let right = [[16.0, -6.0, 23.0, 11.0], [-18.0, 3.0, 18.0, 10.0], [-42.0, 8.0, 8.0, 8.0]];
    let left = [[16.0, -6.0, 24.0, 11.0], [34.0, 8.0, 26.0, 10.0], [44.0, 18.0, 14.0, 8.0]];
    let neck_right =
        [[-4.0, -8.0, 62.0, 6.5], [-20.0, -12.0, 96.0, 6.0], [-30.0, -2.0, 120.0, 4.5], [-30.0, 2.0, 215.0, 4.0]];
    let neck_left = [[8.0, 0.0, 66.0, 4.5], [20.0, -4.0, 100.0, 4.0], [28.0, 2.0, 130.0, 4.0], [28.0, 2.0, 215.0, 4.0]];
    let vein_left = [[-24.0, -18.0, 76.0, 7.0], [20.0, -28.0, 90.0, 6.0], [40.0, -14.0, 112.0, 6.0]];
    let vein_right = [[-26.0, -17.0, 78.0, 7.5], [-40.0, -12.0, 112.0, 6.5], [-38.0, 0.0, 215.0, 5.0]];
    let oesophagus =
        [[2.0, 16.0, 215.0, 6.5], [6.0, 32.0, 60.0, 7.0], [2.0, 36.0, -10.0, 7.0], [18.0, 16.0, -112.0, 8.0]];
    let veins: [&[[f32; 4]]; 9] =
        [&cava, &lower_cava, &trunk, &right, &left, &neck_right, &neck_left, &vein_left, &vein_right];
    let mut parts = chain(&oesophagus, Material::Soft(36.0));
    parts.extend(veins.iter().flat_map(|points| chain(points, blood)));
    parts.extend(chain(&aorta, blood));
    parts
}

/// Trachea, carina, main bronchi: all walls before all air, so that no wall closes a branching.
fn airway() -> Vec<Part> {
    let trachea: &[[f32; 4]] = &[[0.0, -14.0, 230.0, 8.5], [0.0, 2.0, 100.0, 9.0], [1.0, 14.0, 32.0, 9.0]];
    let right: &[[f32; 4]] = &[[-1.0, 14.0, 33.0, 8.0], [-20.0, 16.0, 14.0, 7.0], [-38.0, 17.0, 4.0, 6.0]];
    let left: &[[f32; 4]] = &[[3.0, 14.0, 33.0, 7.5], [24.0, 18.0, 12.0, 6.5], [44.0, 21.0, 0.0, 5.5]];
    let wall = |points: &[[f32; 4]]| {
        let thicker: Vec<[f32; 4]> = points.iter().map(|p| [p[0], p[1], p[2], p[3] + 1.6]).collect();
        chain(&thicker, Material::Soft(25.0))
    };
    let branches = [trachea, right, left];
    let mut parts: Vec<Part> = branches.iter().flat_map(|points| wall(points)).collect();
    parts.extend(branches.iter().flat_map(|points| chain(points, Material::Airway)));
    parts
}

/// Bones that are tubes: processes of the vertebrae, clavicles, spines of the scapulae, humeri.
fn bones(arms: Arms) -> Vec<Part> {
    let mut tubes = Vec::new();
    for index in -9..9 {
        let z = (index as f32 + 0.5) * VERTEBRA_MM;
        let (y, size) = (canal(z), spine(z).1);
        tubes.push(Tube::new([0.0, y + 13.0, z - 4.0], [0.0, y + 13.0 + 17.0 * size, z - 19.0 * size], 3.6, 3.0));
        tubes.extend(pair(Tube::new([12.0, y + 2.0, z], [32.0 * size, y + 15.0 * size, z + 3.0], 5.0, 4.2)));
    }
    tubes.extend(pair(Tube::new([17.0, -50.0, 94.0], [62.0, -44.0, 108.0], 7.0, 5.5)));
    tubes.extend(pair(Tube::new([62.0, -44.0, 108.0], [128.0, 6.0, 126.0], 5.5, 6.0)));
    tubes.extend(pair(Tube::new([70.0, 96.0, 84.0], [132.0, 40.0, 122.0], 4.5, 6.5)));
    tubes.extend(pair(Tube::new([128.0, 38.0, 92.0], [126.0, 44.0, 104.0], 10.0, 11.0)));
    let shafts = match arms {
        Arms::Up => [
            Tube::new([148.0, 20.0, 112.0], [160.0, 10.0, 150.0], 22.0, 12.0),
            Tube::new([158.0, 12.0, 142.0], [186.0, -12.0, 330.0], 11.5, 11.0),
        ],
        Arms::Down => [
            Tube::new([150.0, 22.0, 104.0], [161.0, 21.0, 62.0], 22.0, 12.0),
            Tube::new([159.0, 21.0, 72.0], [216.0, 26.0, -200.0], 11.5, 10.5),
        ],
    };
    tubes.extend(shafts.into_iter().flat_map(pair));
    tubes.into_iter().map(|tube| Part { tube, material: Material::Bone }).collect()
}
