//! What a thorax phantom can vary: body, position, couch, scanner; all of it drawn from a seed.

use super::random::Random;

/// Where the arms lie. Radiotherapy of the chest wants them up; many others come with them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    Up,
    Down,
}

/// Patient Position (PS3.3 C.7.3.1.1.2). The images are as the scanner sees them from its foot end, with the couch
/// below, so each position has its own Image Orientation Patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatientPosition {
    HeadFirstSupine,
    HeadFirstProne,
    FeetFirstSupine,
    FeetFirstProne,
}

impl PatientPosition {
    /// The value of Patient Position (0018,5100).
    pub fn dicom_term(self) -> &'static str {
        match self {
            PatientPosition::HeadFirstSupine => "HFS",
            PatientPosition::HeadFirstProne => "HFP",
            PatientPosition::FeetFirstSupine => "FFS",
            PatientPosition::FeetFirstProne => "FFP",
        }
    }

    /// Row and column direction of the images in patient LPS.
    pub fn directions(self) -> [[f64; 3]; 2] {
        match self {
            PatientPosition::HeadFirstSupine => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            PatientPosition::HeadFirstProne => [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
            PatientPosition::FeetFirstSupine => [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            PatientPosition::FeetFirstProne => [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
        }
    }

    /// 1 where the back lies on the couch, -1 where the chest does: the sign of the patient's y towards the couch.
    pub fn couch_side(self) -> f64 {
        match self {
            PatientPosition::HeadFirstSupine | PatientPosition::FeetFirstSupine => 1.0,
            PatientPosition::HeadFirstProne | PatientPosition::FeetFirstProne => -1.0,
        }
    }
}

/// The couch under the patient: a carbon shell filled with foam, with or without a thin mattress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Couch {
    pub half_width_mm: f64,
    /// How much higher the top is 200 mm beside its middle: 0 for a flat treatment couch, 20 for a cradle.
    pub cradle_mm: f64,
    /// Thickness of the mattress; 0 for none, so that skin lies on carbon.
    pub mattress_mm: f64,
    /// Air between what the patient lies on and the patient; 0 for contact.
    pub gap_mm: f64,
}

/// A thorax on a couch in a scanner.
#[derive(Clone, Debug, PartialEq)]
pub struct Thorax {
    /// Seed of all that is drawn: vessels, textures, noise, UIDs.
    pub seed: u64,
    pub rows: usize,
    pub columns: usize,
    pub slices: usize,
    /// Pixel Spacing: between rows, then between columns (PS3.3 10.7.1.3).
    pub spacing_mm: [f64; 2],
    pub slice_spacing_mm: f64,
    pub slice_thickness_mm: f64,
    /// Lowest (most caudal) slice in the phantom's own frame: the carina is near +30, the right dome near -70.
    pub lowest_mm: f64,
    /// Size of the skeleton and organs along x, y, z against the standard patient.
    pub size: [f64; 3],
    /// Thickness of the fat under the skin of the chest.
    pub fat_mm: f64,
    /// Size of the breasts, 0 for none to 1 for large.
    pub breasts: f64,
    pub arms: Arms,
    pub position: PatientPosition,
    /// Patient (with couch) from the middle of the image, along the patient's x and y.
    pub offset_mm: [f64; 2],
    /// Turn of patient and couch about the long axis, positive from x to y.
    pub roll_degrees: f64,
    pub couch: Couch,
    /// Contrast agent in blood, added to its HU.
    pub contrast_hu: f64,
    /// Standard deviation of the noise in the middle of the chest.
    pub noise_hu: f64,
    /// Standard deviation of the scanner's blur in the image plane.
    pub blur_mm: f64,
}

impl Thorax {
    /// The patient of the demonstration: average body, arms up, supine on a flat couch, 120 slices of 3 mm.
    pub fn standard() -> Thorax {
        Thorax {
            seed: 1,
            rows: 512,
            columns: 512,
            slices: 120,
            spacing_mm: [0.976_562_5, 0.976_562_5],
            slice_spacing_mm: 3.0,
            slice_thickness_mm: 3.0,
            lowest_mm: -180.0,
            size: [1.0, 1.0, 1.0],
            fat_mm: 14.0,
            breasts: 0.25,
            arms: Arms::Up,
            position: PatientPosition::HeadFirstSupine,
            offset_mm: [4.0, -12.0],
            roll_degrees: 0.6,
            couch: Couch { half_width_mm: 230.0, cradle_mm: 0.0, mattress_mm: 10.0, gap_mm: 0.0 },
            contrast_hu: 0.0,
            noise_hu: 14.0,
            blur_mm: 0.65,
        }
    }

    /// A patient drawn from a seed; the image grid stays that of clinical practice.
    pub fn random(seed: u64) -> Thorax {
        let mut random = Random::of(seed, 0);
        let arms = if random.chance(0.6) { Arms::Up } else { Arms::Down };
        let wide = arms == Arms::Down;
        let column_mm = if wide { random.between(1.12, 1.27) } else { random.between(0.93, 1.17) };
        let thickness_mm = [2.0, 2.5, 3.0, 5.0][(random.bits() % 4) as usize];
        let overall = random.between(0.92, 1.08);
        let [x, y, z] = [0.04, 0.04, 0.06].map(|spread| overall + random.between(-spread, spread));
        let covered_mm = random.between(330.0, 390.0);
        Thorax {
            seed,
            slices: (covered_mm / thickness_mm) as usize,
            spacing_mm: [column_mm, column_mm],
            slice_spacing_mm: thickness_mm,
            slice_thickness_mm: thickness_mm,
            lowest_mm: random.between(-200.0, -175.0),
            size: [x, y, z],
            fat_mm: random.between(9.0, 28.0),
            breasts: if random.chance(0.5) { random.between(0.3, 1.0) } else { 0.0 },
            arms,
            position: Thorax::random_position(&mut random),
            offset_mm: [random.between(-12.0, 12.0), random.between(-25.0, 15.0)],
            roll_degrees: random.between(-3.0, 3.0),
            couch: Thorax::random_couch(&mut random),
            contrast_hu: if random.chance(0.4) { random.between(60.0, 160.0) } else { 0.0 },
            noise_hu: random.between(8.0, 26.0),
            blur_mm: random.between(0.5, 0.9),
            ..Thorax::standard()
        }
    }

    fn random_position(random: &mut Random) -> PatientPosition {
        match random.bits() % 8 {
            0 => PatientPosition::HeadFirstProne,
            1 => PatientPosition::FeetFirstProne,
            2 | 3 => PatientPosition::FeetFirstSupine,
            _ => PatientPosition::HeadFirstSupine,
        }
    }

    fn random_couch(random: &mut Random) -> Couch {
        Couch {
            half_width_mm: random.between(200.0, 290.0),
            cradle_mm: if random.chance(0.35) { random.between(6.0, 25.0) } else { 0.0 },
            mattress_mm: if random.chance(0.6) { random.between(5.0, 20.0) } else { 0.0 },
            gap_mm: if random.chance(0.3) { random.between(1.0, 6.0) } else { 0.0 },
        }
    }

    /// The same patient and field of view on a grid that is coarser in the image plane, for quick tests.
    pub fn coarser(mut self, times: usize) -> Thorax {
        let times = times.max(1);
        (self.rows, self.columns) = (self.rows / times, self.columns / times);
        self.spacing_mm = self.spacing_mm.map(|mm| mm * times as f64);
        self
    }

    /// The same patient with other slices over the same length.
    pub fn with_slice_spacing(mut self, mm: f64) -> Thorax {
        let length_mm = self.slice_spacing_mm * self.slices as f64;
        self.slices = (length_mm / mm) as usize;
        (self.slice_spacing_mm, self.slice_thickness_mm) = (mm, mm);
        self
    }
}
