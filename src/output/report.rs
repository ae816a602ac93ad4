//! The page that tells what a job did: series, pipeline, structures, pictures, warnings, provenance; it writes no files.
//!
//! A report is one HTML page without links to anything else, so that it can be mailed, archived and printed, or a PDF of
//! the same content. It names no patient unless the caller puts that in: [`Report::patient`] is empty by default.

mod html;
mod legend;
mod pages;
mod sheets;

use std::sync::Arc;

pub use html::html;
pub use pages::pdf;
pub use sheets::sheets;

use super::picture::{Outline, Picture, PictureError, Scene, View, Window, caption};
use super::run::{Stage, StructureResult};
use crate::limits::PICTURE_SIDE;
use crate::structure::{Color, RoiStyle};
use crate::volume::{CompactMask, Volume, VolumeGeometry};

/// A line of facts: what it is and what it says.
pub type Fact = (String, String);

/// Everything that a page says. Texts are plain: they are escaped when the page is made.
#[derive(Clone, Default)]
pub struct Report {
    /// What the page is about, such as the pipeline and the modality.
    pub title: String,
    /// Name of the job.
    pub job: String,
    /// Date and time of the result, as it is to be read.
    pub created: String,
    /// What identifies the patient, where the site wants that; empty otherwise.
    pub patient: Vec<Fact>,
    /// What is known of the images.
    pub series: Vec<Fact>,
    /// Pipeline, revision, mode.
    pub pipeline: Vec<Fact>,
    /// Why the pipeline matched, one finding a line.
    pub reasons: Vec<String>,
    pub structures: Vec<StructureRow>,
    pub figures: Vec<Figure>,
    pub warnings: Vec<String>,
    /// What was looked at, and what came of it.
    pub checks: Vec<Check>,
    /// Versions, model names, digests, objects made.
    pub provenance: Vec<Fact>,
    pub stages: Vec<Stage>,
}

/// Something that the run looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub what: String,
    pub found: String,
    /// Whether nobody has to look again.
    pub passed: bool,
}

/// One structure of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct StructureRow {
    pub name: String,
    /// RT ROI Interpreted Type; empty where none applies.
    pub roi_type: String,
    pub color: Color,
    pub volume_cm3: f64,
    pub contours: usize,
    /// First and last slice number (1-based, from the first slice of the geometry); `None` when empty.
    pub slices: Option<(usize, usize)>,
    /// Lowest and highest centre of such a slice along the normal, in mm.
    pub reach_mm: Option<(f64, f64)>,
    /// Whether the run came to make it: what was left out is not empty.
    pub made: bool,
    /// Why it is empty, or what to look at.
    pub note: String,
}

/// A picture with the line under it.
#[derive(Clone, PartialEq)]
pub struct Figure {
    pub caption: String,
    pub view: View,
    pub picture: Picture,
    pub png: Vec<u8>,
    /// The rows of the structures that it shows, as indices.
    pub shows: Vec<usize>,
}

impl Report {
    /// The structures of a figure, with their colours.
    pub fn shown_in<'a>(&'a self, figure: &'a Figure) -> impl Iterator<Item = &'a StructureRow> {
        figure.shows.iter().filter_map(|index| self.structures.get(*index))
    }
}

impl StructureRow {
    /// The volume in cm3, or why there is none.
    pub fn volume(&self) -> String {
        match (self.made, self.slices) {
            (false, _) => "not made".to_owned(),
            (true, None) => "empty".to_owned(),
            (true, Some(_)) => format!("{:.1}", self.volume_cm3),
        }
    }

    /// The row of a structure from its voxels and what the run says of it.
    pub fn of(style: &RoiStyle, mask: &CompactMask, result: &StructureResult) -> StructureRow {
        let slices = mask.extent()[0].clone();
        let ends = (!slices.is_empty()).then(|| (slices.start, slices.end - 1));
        let positions = mask.geometry.positions_mm();
        StructureRow {
            name: style.name.clone(),
            roi_type: style.roi_type.dicom_term().to_owned(),
            color: style.color,
            volume_cm3: result.volume_cm3,
            contours: result.contours,
            slices: ends.map(|(first, last)| (first + 1, last + 1)),
            reach_mm: ends.map(|(first, last)| (positions[first], positions[last])),
            made: true,
            note: result.note.clone(),
        }
    }
}

/// The pictures of a report: six slices or more, so that every structure is shown, then one to three planes in each other
/// direction. CT is shown in a fixed window, other modalities by their values.
///
/// # Errors
/// [`PictureError`] when a picture cannot be encoded.
pub fn figures(volume: &Volume, is_ct: bool, outlines: &[Outline<'_>]) -> Result<Vec<Figure>, PictureError> {
    use rayon::prelude::*;
    let window = Window::suited(volume, is_ct);
    let scene = Scene::new(volume, outlines);
    let figure = |view| {
        let picture = scene.draw(view, window, PICTURE_SIDE);
        let png = picture.png()?;
        Ok(Figure { caption: caption(&volume.geometry, view), view, picture, png, shows: scene.shows(view) })
    };
    scene.montage(6).into_par_iter().map(figure).collect()
}

/// What a geometry says of itself, for [`Report::series`].
pub fn geometry_facts(geometry: &Arc<VolumeGeometry>) -> Vec<Fact> {
    let [slices, rows, columns] = geometry.shape();
    let mut spacing = format!("{:.3} mm", geometry.slice_spacing_mm());
    if geometry.slice_spacing_deviation_mm() > 0.01 {
        spacing.push_str(&format!(" (varies by up to {:.2} mm)", geometry.slice_spacing_deviation_mm()));
    }
    let pixel = format!(
        "{:.4} x {:.4} mm (between rows, between columns)",
        geometry.row_spacing_mm(),
        geometry.column_spacing_mm()
    );
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("Slices", slices.to_string()),
        fact("Rows x columns", format!("{rows} x {columns}")),
        fact("Distance of slices", spacing),
        fact("Pixel spacing", pixel),
    ]
}
