//! `contourd dvh`: the dose that each structure of a file receives.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::compare::{pixel, write};
use super::structures::{Found, StructureFile, check_frames, grid_for, images, table};
use super::{EXIT_FAILED, EXIT_OK};
use crate::limits::DVH_POINTS_MAX;
use crate::output::csv;
use crate::quality::dose::{self, Dose};
use crate::quality::dvh::{Metric, Samples};
use crate::quality::svg;
use crate::volume::VolumeGeometry;

/// Read off what dose the structures of a file receive: mean, least, highest, and what is asked for.
///
/// The dose is sampled, linear between its voxels, at the centres of the voxels of the structure: on the grid of the
/// images, else of the segmentation or NIfTI file, else in pixels of --pixel-mm on the planes of the contours. What lies
/// outside the dose grid is left out and told. docs/quality.md says why.
#[derive(Debug, Args)]
pub(super) struct DvhArgs {
    /// The RT Dose, in Gy
    #[arg(long, value_name = "FILE")]
    dose: PathBuf,
    /// An RT Structure Set, a DICOM segmentation or NIfTI labels
    #[arg(long, value_name = "FILE")]
    structures: PathBuf,
    /// Only this structure; may be repeated
    #[arg(long, value_name = "NAME")]
    structure: Vec<String>,
    /// A dose as D95% or D2cc, or a volume as V20Gy; may be repeated
    #[arg(long, value_name = "METRIC", default_values = ["D95%", "D2%"])]
    metric: Vec<Metric>,
    /// Generalised equivalent uniform dose with this exponent: below 0 for targets, above 1 for organs; may be repeated
    #[arg(long, value_name = "A", allow_hyphen_values = true, value_parser = exponent)]
    geud: Vec<f64>,
    /// A folder with the images that the structures were drawn on: the dose is sampled on their grid
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Side of a pixel in mm where neither images nor voxels give a grid
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = pixel)]
    pixel_mm: f64,
    /// Distance of the points of the curves in Gy
    #[arg(long, value_name = "GY", default_value_t = 0.05, value_parser = bin)]
    bin_gy: f64,
    /// Write the cumulative curves as comma-separated values: dose, and the volume of each structure in cm3
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the cumulative curves
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn exponent(text: &str) -> Result<f64, String> {
    let a = text.parse().ok().filter(|a: &f64| *a != 0.0 && a.abs() <= 1000.0);
    a.ok_or_else(|| "expected a number from -1000 to 1000 that is not 0".to_owned())
}

fn bin(text: &str) -> Result<f64, String> {
    let gy = text.parse().ok().filter(|gy| (1e-4..=100.0).contains(gy));
    gy.ok_or_else(|| "expected a number of Gy from 0.0001 to 100".to_owned())
}

/// One structure.
struct Line {
    name: String,
    /// Or why there are none.
    samples: Result<Samples, String>,
}

impl DvhArgs {
    /// Fails when a structure that was asked for, or every one, could not be sampled.
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let shown = self.dose.display();
        let bytes = std::fs::read(&self.dose).with_context(|| format!("cannot read {shown}"))?;
        let dose = dose::read(&bytes).with_context(|| format!("{shown}"))?;
        let file = StructureFile::read(&self.structures)?;
        check_frames([(&self.structures, file.frame()), (&self.dose, dose.frame_of_reference_uid.as_ref())])?;
        let frame = file.frame().or(dose.frame_of_reference_uid.as_ref());
        let grid = self.images.as_ref().map(|folder| images(folder, frame)).transpose()?;
        let grid = grid.as_ref().map(|plan| &*plan.geometry);
        let wanted: Vec<&Found> = if self.structure.is_empty() {
            file.structures.iter().collect()
        } else {
            self.structure.iter().map(|name| file.named(name, &self.structures)).collect::<anyhow::Result<_>>()?
        };
        let lines: Vec<Line> = wanted.into_iter().map(|found| self.line(found, grid, &dose)).collect();
        ensure!(!lines.is_empty(), "{}: found no structures", self.structures.display());
        self.tell(&lines);
        self.write_files(&lines)?;
        let sampled = lines.iter().filter(|line| line.samples.is_ok()).count();
        let enough = if self.structure.is_empty() { sampled > 0 } else { sampled == lines.len() };
        Ok(if enough { EXIT_OK } else { EXIT_FAILED })
    }

    fn line(&self, found: &Found, images: Option<&VolumeGeometry>, dose: &Dose) -> Line {
        let sampled = || {
            let grid = grid_for(&[found], images, self.pixel_mm)?.ok_or("it is empty")?;
            let mask = found.on(&grid)?;
            let samples = Samples::of(&mask, &dose.volume);
            match (samples.is_empty(), samples.outside_cm3 > 0.0) {
                (true, true) => Err("it lies outside the dose grid".to_owned()),
                (true, false) => Err("it is empty".to_owned()),
                (false, _) => Ok(samples),
            }
        };
        Line { name: found.name.clone(), samples: sampled() }
    }

    /// Every figure of a structure by name.
    fn figures(&self, samples: &Samples) -> Vec<(String, Option<f64>)> {
        let mut figures = vec![
            ("volume_cm3".to_owned(), Some(samples.volume_cm3)),
            ("mean_gy".to_owned(), samples.mean_gy()),
            ("min_gy".to_owned(), samples.min_gy()),
            ("max_gy".to_owned(), samples.max_gy()),
        ];
        let metric = |metric: &Metric| (format!("{metric} ({})", metric.unit()), samples.value(*metric));
        figures.extend(self.metric.iter().map(metric));
        figures.extend(self.geud.iter().map(|a| (format!("gEUD a={a} (Gy)"), samples.geud_gy(*a))));
        figures
    }

    fn tell(&self, lines: &[Line]) {
        let nothing = Samples::none();
        let head = self.figures(&nothing).into_iter().map(|(name, _)| name);
        let head = ["structure".to_owned()].into_iter().chain(head).chain(["note".to_owned()]).collect();
        let row = |line: &Line| {
            let figures = self.figures(line.samples.as_ref().unwrap_or(&nothing));
            let cell = |(_, value): (String, Option<f64>)| match (&line.samples, value) {
                (Ok(_), Some(value)) => format!("{value:.3}"),
                _ => "-".to_owned(),
            };
            let cells = figures.into_iter().map(cell);
            [line.name.clone()].into_iter().chain(cells).chain([note(line).unwrap_or_default()]).collect()
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(lines.iter().map(row)).collect();
        print!("{}", table(&rows));
    }

    fn write_files(&self, lines: &[Line]) -> anyhow::Result<()> {
        if let Some(file) = &self.json {
            write(file, &(serde_json::to_string_pretty(&self.document(lines))? + "\n"))?;
        }
        if self.csv.is_none() && self.svg.is_none() {
            return Ok(());
        }
        let sampled: Vec<(&str, &Samples)> =
            lines.iter().filter_map(|line| Some((line.name.as_str(), line.samples.as_ref().ok()?))).collect();
        let highest = sampled.iter().filter_map(|(_, samples)| samples.max_gy()).fold(0.0, f64::max);
        let count = (highest / self.bin_gy).ceil() as usize + 2;
        if count > DVH_POINTS_MAX {
            bail!("curves up to {highest:.1} Gy would have {count} points, at most {DVH_POINTS_MAX}; raise --bin-gy");
        }
        let curves: Vec<Vec<f64>> =
            sampled.iter().map(|(_, samples)| samples.cumulative_cm3(self.bin_gy, count)).collect();
        if let Some(file) = &self.csv {
            let names = sampled.iter().map(|(name, _)| format!("{name} (cm3)"));
            let head: Vec<String> = ["dose (Gy)".to_owned()].into_iter().chain(names).collect();
            let row = |bin: usize| {
                let gy = format!("{:.4}", bin as f64 * self.bin_gy);
                [gy].into_iter().chain(curves.iter().map(|curve| format!("{:.6}", curve[bin]))).collect()
            };
            let rows: Vec<Vec<String>> = std::iter::once(head).chain((0..count).map(row)).collect();
            write(file, &csv::table(&rows))?;
        }
        if let Some(file) = &self.svg {
            let percent = |(curve, (name, samples)): (&Vec<f64>, &(&str, &Samples))| {
                ((*name).to_owned(), curve.iter().map(|cm3| 100.0 * cm3 / samples.volume_cm3).collect())
            };
            let curves: Vec<(String, Vec<f64>)> = curves.iter().zip(&sampled).map(percent).collect();
            write(file, &svg(&curves, self.bin_gy))?;
        }
        Ok(())
    }

    fn document(&self, lines: &[Line]) -> Value {
        let one = |line: &Line| {
            let mut value = json!({ "structure": line.name });
            if let Ok(samples) = &line.samples {
                for (name, figure) in self.figures(samples) {
                    value[name] = figure.map_or(Value::Null, Value::from);
                }
                value["outside_cm3"] = samples.outside_cm3.into();
            }
            value["note"] = note(line).map_or(Value::Null, Value::from);
            value
        };
        json!({
            "dose": self.dose.display().to_string(),
            "structures": self.structures.display().to_string(),
            "results": lines.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

/// What the figures do not say.
fn note(line: &Line) -> Option<String> {
    match &line.samples {
        Err(reason) => Some(reason.clone()),
        Ok(samples) if samples.outside_cm3 > 0.0 => {
            Some(format!("{:.3} cm3 of it lie outside the dose grid and are left out", samples.outside_cm3))
        }
        Ok(_) => None,
    }
}
