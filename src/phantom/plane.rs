//! One slice through the anatomy: which tissue lies at a point, its HU and its truth; it knows no scanner and no grid.

use super::anatomy::{Anatomy, LIVER_HU, VERTEBRA_MM, canal, diaphragm, heart, ring, spine, torso};
use super::shape::{Ellipsoid, Section, Tube, coverage, mix, smooth_min};
use super::texture::Texture;

pub(super) const AIR_HU: f32 = -1000.0;
pub(super) const CORTEX_HU: f32 = 720.0;
pub(super) const MARROW_HU: f32 = 210.0;
const SKIN_HU: f32 = 5.0;
const FAT_HU: f32 = -104.0;
const MUSCLE_HU: f32 = 52.0;
const LUNG_HU: f32 = -862.0;

/// The structures of the truth as bits of one byte.
pub(super) mod truth {
    pub const EXTERNAL: u8 = 1;
    pub const LUNG_L: u8 = 2;
    pub const LUNG_R: u8 = 4;
    pub const LUNGS: u8 = LUNG_L | LUNG_R;
    pub const BONE: u8 = 8;
    pub const HEART: u8 = 16;
    pub const CORD: u8 = 32;
    pub const TRACHEA: u8 = 64;
}

/// What is at one point.
#[derive(Clone, Copy)]
pub(super) struct Tissue {
    pub hu: f32,
    pub truth: u8,
}

impl Tissue {
    /// Lays a material over what is there, where its surface is `distance` away.
    fn lay(&mut self, hu: f32, distance: f32) {
        self.hu = mix(self.hu, hu, coverage(distance, 1.0));
    }

    /// Lays bone: cortex, then marrow under it.
    pub fn lay_bone(&mut self, distance: f32, cortex_mm: f32) {
        self.lay(CORTEX_HU, distance);
        self.lay(MARROW_HU, distance + cortex_mm);
        if distance < 0.0 {
            self.truth = (self.truth & !truth::LUNGS) | truth::BONE;
        }
    }
}

/// The anatomy at one height.
pub(super) struct Plane<'a> {
    anatomy: &'a Anatomy,
    z: f32,
    torso: Section,
    ring: Option<Section>,
    ring_middle: f32,
    ring_scale: f32,
    arms: Vec<Tube>,
    breasts: Vec<Ellipsoid>,
    vertebra: Vertebra,
    sternum_y: f32,
    coarse: Texture,
    fine: Texture,
}

struct Vertebra {
    body: Section,
    size: f32,
    canal_y: f32,
    /// Height above the middle of the nearest vertebra.
    off: f32,
}

impl<'a> Plane<'a> {
    pub fn of(anatomy: &'a Anatomy, z: f32) -> Plane<'a> {
        let ([half_x, half_y], middle) = torso(z);
        let fat = anatomy.fat_mm + 2.0;
        let outline = [half_x + fat, half_y + 0.8 * anatomy.fat_mm + 2.0];
        let pleura = ring(z);
        let (spine_y, size) = spine(z);
        let body = Section::superellipse([0.0, spine_y], [18.5 * size, 15.0 * size], 2.4);
        let off = z - ((z / VERTEBRA_MM - 0.5).round() + 0.5) * VERTEBRA_MM;
        let front = pleura.map_or(0.0, |(half, ring_middle)| ring_middle - half[1]);
        Plane {
            anatomy,
            z,
            torso: Section::superellipse([0.0, middle], outline, 2.35),
            ring: pleura.map(|(half, ring_middle)| Section::superellipse([0.0, ring_middle], half, 2.4)),
            ring_middle: pleura.map_or(0.0, |(_, ring_middle)| ring_middle),
            ring_scale: pleura.map_or(0.0, |(half, _)| half[0] / 130.0),
            arms: anatomy.arms.iter().filter(|arm| arm.extent_at(z, 20.0).is_some()).copied().collect(),
            breasts: anatomy
                .breasts
                .iter()
                .filter(|one| (z - one.centre[2]).abs() < one.radii[2] + 20.0)
                .copied()
                .collect(),
            vertebra: Vertebra { body, size, canal_y: canal(z), off },
            sternum_y: (front - 8.0).min(middle - half_y + 14.0),
            coarse: Texture::slice(anatomy.noise_seed, 1, 19.0, z),
            fine: Texture::slice(anatomy.noise_seed, 2, 6.0, z),
        }
    }

    /// Distance to the patient's skin.
    pub fn skin_distance(&self, x: f32, y: f32) -> f32 {
        let mut distance = self.torso.distance(x, y);
        for breast in &self.breasts {
            distance = smooth_min(distance, breast.distance([x, y, self.z]), 16.0);
        }
        // Shoulders melt into the arms, arms beside the chest only touch it.
        let melt = 1.0 + 30.0 * ((self.z - 55.0) / 45.0).clamp(0.0, 1.0);
        for arm in &self.arms {
            distance = smooth_min(distance, arm.distance([x, y, self.z]), melt);
        }
        distance.max(self.couch_distance(x, y))
    }

    /// How far a point lies below the surface that the couch gives to the skin.
    pub fn couch_distance(&self, x: f32, y: f32) -> f32 {
        self.anatomy.couch_side * y + self.anatomy.cradle * x * x - self.anatomy.contact_mm
    }

    /// Whatever of the patient is at a point, without tubes.
    pub fn tissue(&self, x: f32, y: f32, skin_distance: f32) -> Tissue {
        let depth = -skin_distance;
        let (coarse, fine) = (self.coarse.at(x, y), self.fine.at(x, y));
        let mut tissue = Tissue { hu: SKIN_HU, truth: if depth > 0.0 { truth::EXTERNAL } else { 0 } };
        let fat_mm = self.anatomy.fat_mm * (0.45 + 0.75 * coarse);
        tissue.lay(FAT_HU + 10.0 * fine, 2.0 - depth);
        self.lay_gland(&mut tissue, [x, y], depth, fine);
        tissue.lay(MUSCLE_HU + 10.0 * (coarse - 0.5), 2.0 + fat_mm - depth);
        // Fat in the muscle: in lumps, and as a thin sheet between two layers of muscle.
        let lumps = ((0.6 * fine + 0.4 * coarse - 0.6) * 7.0).clamp(0.0, 0.6) * coverage(5.0 + fat_mm - depth, 1.0);
        let sheet = 0.7 * coverage((depth - fat_mm - 13.0 - 10.0 * coarse).abs() - 1.0, 1.5);
        tissue.hu = mix(tissue.hu, FAT_HU, lumps.max(sheet));
        if let Some(ring) = &self.ring {
            let beyond = ring.distance(x, y);
            if beyond < 1.0 {
                let inside = self.inside(x, y, beyond, coarse, fine);
                tissue.hu = mix(tissue.hu, inside.hu, coverage(beyond, 1.0));
                tissue.truth |= inside.truth;
            }
            self.lay_chest_wall(&mut tissue, x, y, beyond);
        }
        self.lay_spine(&mut tissue, x, y);
        tissue
    }

    fn lay_gland(&self, tissue: &mut Tissue, [x, y]: [f32; 2], depth: f32, fine: f32) {
        for breast in &self.breasts {
            let core = breast.distance([x, y, self.z]) + 11.0 + 14.0 * fine;
            tissue.lay(18.0, core.max(12.0 - depth));
        }
    }

    /// Distance to the surface of a lung, before the tubes that run through it.
    pub fn lung_distance(&self, x: f32, y: f32) -> f32 {
        match &self.ring {
            Some(ring) => self.lung_within(x, y, ring.distance(x, y), heart([x, y, self.z]).0),
            None => 1e3,
        }
    }

    fn lung_within(&self, x: f32, y: f32, beyond_ring: f32, heart_distance: f32) -> f32 {
        let z = self.z;
        let above = (z - diaphragm(x, y)) * 0.72;
        let upper = ((z - 10.0) / 50.0).clamp(0.0, 1.0);
        let waist = mix(13.0, 25.0, upper) * (-((y - 2.0) / mix(40.0, 34.0, upper)).powi(2)).exp();
        let mediastinum = 4.0 + waist + 10.0 * ((z - 80.0) / 40.0).clamp(0.0, 1.0) - x.abs();
        let hilum = 1.0 - Ellipsoid::new([x.signum() * 33.0, 9.0, 4.0], [15.0, 18.0, 24.0]).distance([x, y, z]);
        let spine = 3.0 - self.vertebra.body.distance(x, y);
        let groove = 15.0 - (x.hypot(y - self.vertebra.canal_y));
        let smooth_max = |a: f32, b: f32, width: f32| -smooth_min(-a, -b, width);
        let middle = smooth_max(mediastinum, 3.5 - heart_distance, 8.0).max(hilum);
        let wall = smooth_max(beyond_ring + 1.0, 2.5 - above, 4.0);
        smooth_max(smooth_max(wall, middle, 5.0), spine.max(groove), 5.0)
    }

    /// What is within the ribs.
    fn inside(&self, x: f32, y: f32, beyond_ring: f32, coarse: f32, fine: f32) -> Tissue {
        let above = (self.z - diaphragm(x, y)) * 0.72;
        if above < -1.0 {
            return self.abdomen(x, y, beyond_ring, above, coarse, fine);
        }
        let contrast = self.anatomy.contrast_hu;
        let mut tissue = Tissue { hu: -92.0 + 14.0 * fine, truth: 0 };
        let (surface, chambers) = heart([x, y, self.z]);
        tissue.lay(48.0 + 0.5 * contrast, surface);
        tissue.lay(42.0 + contrast, chambers);
        tissue.lay(35.0, beyond_ring.max(-beyond_ring - 2.0).max(surface - 40.0) + 1.0);
        let lung = self.lung_within(x, y, beyond_ring, surface);
        let hanging = 0.42 * self.anatomy.couch_side * (y - 5.0);
        tissue.lay(LUNG_HU + hanging + 34.0 * (fine - 0.5) + 26.0 * (coarse - 0.5), lung);
        if lung < 0.0 {
            tissue.truth |= if x > 0.0 { truth::LUNG_L } else { truth::LUNG_R };
        }
        if above < 1.0 {
            let below = self.abdomen(x, y, beyond_ring, above, coarse, fine);
            tissue.hu = mix(tissue.hu, below.hu, coverage(above, 1.5));
        }
        if surface < 0.0 && above > 0.0 {
            tissue.truth |= truth::HEART;
        }
        tissue
    }

    /// What is under the diaphragm: liver, stomach with its bubble, spleen, bowel with gas.
    fn abdomen(&self, x: f32, y: f32, beyond_ring: f32, above: f32, coarse: f32, fine: f32) -> Tissue {
        let z = self.z;
        let contrast = self.anatomy.contrast_hu;
        let mut tissue = Tissue { hu: FAT_HU + 26.0 * (fine - 0.4), truth: 0 };
        let loops = ((0.5 * fine + coarse - 0.78) * 14.0).clamp(0.0, 1.0);
        tissue.hu = mix(tissue.hu, 34.0, loops * coverage(y - 30.0, 12.0));
        tissue.lay(
            MUSCLE_HU,
            0.0_f32.max(-above - 4.0).max(-beyond_ring - 4.0).min((-beyond_ring - 2.5).max(-3.0)) + 0.2,
        );
        let point = [x, y, z];
        let spleen = Ellipsoid::new([98.0, 44.0, -132.0], [30.0, 40.0, 42.0]).distance(point);
        let left_of_liver = x - 26.0 + 0.22 * y - 0.25 * (z + 110.0) + 9.0 * (coarse - 0.5);
        let liver = left_of_liver.max(above + 2.5).max(beyond_ring + 2.5).max(-(z + 215.0 + 0.3 * x));
        let kidney = |side: f32| Ellipsoid::new([side * 54.0, 52.0, -196.0], [24.0, 27.0, 50.0]).distance(point);
        let psoas = Ellipsoid::new([x.signum() * 30.0, 58.0, -230.0], [16.0, 18.0, 90.0]).distance(point);
        tissue.lay(MUSCLE_HU, psoas);
        tissue.lay(LIVER_HU + 0.5 * contrast + 12.0 * (fine - 0.5), liver);
        tissue.lay(50.0 + 0.6 * contrast, spleen.max(above + 2.5).max(beyond_ring + 2.5));
        tissue.lay(FAT_HU, kidney(-1.0).min(kidney(1.0)) - 5.0);
        tissue.lay(34.0 + 0.8 * contrast, kidney(-1.0).min(kidney(1.0)));
        self.lay_stomach(&mut tissue, point, above);
        for bubble in &self.anatomy.gas {
            let distance = bubble.distance(point).max(above + 6.0).max(beyond_ring + 6.0);
            tissue.lay(30.0, distance - 2.5);
            tissue.lay(AIR_HU + 40.0, distance);
        }
        tissue
    }

    fn lay_stomach(&self, tissue: &mut Tissue, point: [f32; 3], above: f32) {
        let stomach = Ellipsoid::new([62.0, -14.0, -136.0], [40.0, 46.0, 44.0]).turned(-20.0, -15.0).distance(point);
        let stomach = stomach.max(above + 4.0);
        tissue.lay(42.0, stomach);
        tissue.lay(16.0, stomach + 4.0);
        let level = -28.0 - self.anatomy.couch_side * point[1];
        tissue.lay(AIR_HU + 20.0, (stomach + 4.0).max(-level));
    }

    /// Ribs, their cartilage, sternum and scapulae.
    fn lay_chest_wall(&self, tissue: &mut Tissue, x: f32, y: f32, beyond_ring: f32) {
        if (-1.0..14.0).contains(&beyond_ring) {
            self.lay_rib(tissue, x, y, beyond_ring - 6.0);
        }
        if x.abs() < 36.0 && (-44.0..100.0).contains(&self.z) {
            let half = if self.z > 58.0 { 27.0 } else { 18.0 };
            let plate = ((x / half).powi(2) + ((y - self.sternum_y) / 6.0).powi(2)).sqrt() - 1.0;
            let ends = (self.z - 97.0).max(-38.0 - self.z);
            tissue.lay_bone((plate * 6.0).max(ends), 1.3);
        }
        for scapula in &self.anatomy.scapulae {
            if (self.z - scapula.centre[2]).abs() < scapula.radii[2] && (x - scapula.centre[0]).abs() < 42.0 {
                tissue.lay_bone(scapula.distance([x, y, self.z]), 1.6);
            }
        }
    }

    /// Ribs run in rings round the pleura and sink from the spine to the front.
    fn lay_rib(&self, tissue: &mut Tissue, x: f32, y: f32, off: f32) {
        let (dx, dy) = (x, y - self.ring_middle);
        let cosine = dy / (dx * dx + dy * dy).sqrt().max(1e-3);
        let drop = (38.0 * (1.0 - cosine) + 4.0 * (1.0 - cosine * cosine)) * self.ring_scale.max(0.35);
        let height = (self.z + drop - 112.0) / VERTEBRA_MM;
        let number = (1.0 - height.round()).clamp(1.0, 12.0);
        let from_middle = (height - (1.0 - number)) * VERTEBRA_MM * 0.88;
        let bone = ((off / 3.9).powi(2) + (from_middle / 6.6).powi(2)).sqrt() * 4.4 - 4.4;
        // Cosine of the angle from the spine where bone turns into cartilage, and where cartilage ends.
        let (bone_end, cartilage_end) = match number as u8 {
            1 => (-0.6, -0.95),
            2..=7 => (-0.72, -0.985),
            8..=10 => (-0.5, -0.82),
            11 => (0.25, 0.2),
            _ => (0.62, 0.6),
        };
        let reach = 90.0 * self.ring_scale;
        tissue.lay(105.0, bone.max((cartilage_end - cosine) * reach));
        let start = (cosine - 0.965) * 3.0 * reach;
        tissue.lay_bone(bone.max((bone_end - cosine) * reach).max(start), 1.3);
    }

    /// Vertebral body or disc, arch, canal and cord.
    fn lay_spine(&self, tissue: &mut Tissue, x: f32, y: f32) {
        let Vertebra { body, size, canal_y, off } = &self.vertebra;
        let (canal_y, off) = (*canal_y, *off);
        if x.abs() > 26.0 || (y - canal_y).abs() > 52.0 {
            return;
        }
        let side = body.distance(x, y);
        let end = off.abs() - (VERTEBRA_MM / 2.0 - 2.6);
        tissue.lay(86.0, side + 1.0);
        tissue.lay_bone(side.max(end), 1.5);
        let from_canal = x.hypot(y - canal_y);
        let ring = (from_canal - 12.0).abs() - 3.2;
        let arch =
            if y > canal_y { ring.max((off + 2.0).abs() - 9.0) } else { ring.max(off.abs() - 6.0).max(5.0 - x.abs()) };
        tissue.lay_bone(arch, 1.6);
        tissue.lay(-30.0, from_canal - 8.8);
        tissue.lay(10.0, from_canal - 7.6);
        let cord = ((x / 5.9).powi(2) + ((y - canal_y) / 4.6).powi(2)).sqrt() * 5.2 - 5.2;
        tissue.lay(40.0, cord);
        if from_canal < 8.8 {
            tissue.truth &= !(truth::BONE | truth::LUNGS);
        }
        if cord < 0.0 && *size > 0.0 {
            tissue.truth |= truth::CORD;
        }
    }
}
