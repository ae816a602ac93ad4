//! `contourd compare`: how well the structures of two files agree, structure by structure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::structures::{Found, StructureFile, check_frames, folded, grid_for, images, table};
use super::{EXIT_FAILED, EXIT_OK};
use crate::output::csv;
use crate::quality::{Comparison, compare};
use crate::volume::VolumeGeometry;

/// Compare the structures of two files: RT Structure Set, DICOM segmentation or NIfTI labels, in any mixture.
///
/// A is what is judged, B the reference. Structures are paired by name, without regard to case; a NIfTI mask has the name
/// of its file, a label its number. Both are looked at as voxels: on the grid of the images, else of the file that holds
/// voxels (B before A), else on the planes of the contours. docs/quality.md defines each figure.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// What is judged
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The reference
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Pair a structure of A with one of another name in B; may be repeated
    #[arg(long, value_name = "A=B", value_parser = pair)]
    pair: Vec<(String, String)>,
    /// Distance in mm at which two surfaces still agree, for the surface Dice coefficient
    #[arg(long, value_name = "MM", default_value_t = 3.0, value_parser = millimetres)]
    tolerance_mm: f64,
    /// A folder with the images that the structures were drawn on: contours are looked at on their grid
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Side of a pixel in mm where neither images nor voxels give a grid
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = pixel)]
    pixel_mm: f64,
    /// Write the figures as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let both = text.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty());
    both.map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| "expected NAME_IN_A=NAME_IN_B".to_owned())
}

fn millimetres(text: &str) -> Result<f64, String> {
    let mm = text.parse().ok().filter(|mm| (0.0..=1000.0).contains(mm));
    mm.ok_or_else(|| "expected a number of mm from 0 to 1000".to_owned())
}

/// A side of a pixel.
pub(super) fn pixel(text: &str) -> Result<f64, String> {
    millimetres(text)
        .ok()
        .filter(|mm| *mm >= 0.05)
        .ok_or_else(|| "expected a number of mm from 0.05 to 1000".to_owned())
}

/// One pair of structures.
struct Line {
    names: [String; 2],
    /// Or why there is none.
    result: Result<Comparison, String>,
}

impl CompareArgs {
    /// Fails when nothing could be paired, or a pair not compared.
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let (a, b) = (StructureFile::read(&self.a)?, StructureFile::read(&self.b)?);
        check_frames([(&self.a, a.frame()), (&self.b, b.frame())])?;
        let grid = self.images.as_ref().map(|folder| images(folder, b.frame().or(a.frame()))).transpose()?;
        let grid = grid.as_ref().map(|plan| &*plan.geometry);
        let pairs = self.pairs(&a, &b)?;
        let lines: Vec<Line> = pairs.iter().map(|(a, b)| self.line(a, b, grid)).collect();
        let paired = |side: usize| lines.iter().map(|line| folded(&line.names[side])).collect::<BTreeSet<_>>();
        let alone = |file: &StructureFile, paired: &BTreeSet<String>| -> Vec<String> {
            let names = file.structures.iter().map(|found| found.name.clone());
            names.filter(|name| !paired.contains(&folded(name))).collect()
        };
        let alone = [alone(&a, &paired(0)), alone(&b, &paired(1))];
        self.tell(&lines, &alone);
        if let Some(file) = &self.csv {
            write(file, &csv::table(&rows(&lines, FIGURES.map(|(name, ..)| name), |value| format!("{value:.6}"), "")))?;
        }
        if let Some(file) = &self.json {
            write(file, &(serde_json::to_string_pretty(&self.document(&lines, &alone))? + "\n"))?;
        }
        ensure!(!lines.is_empty(), "found no structure of one name in both files; pair them with --pair A=B");
        Ok(if lines.iter().all(|line| line.result.is_ok()) { EXIT_OK } else { EXIT_FAILED })
    }

    /// What the operator paired, then what has one name; in the order of A.
    fn pairs<'a>(&self, a: &'a StructureFile, b: &'a StructureFile) -> anyhow::Result<Vec<(&'a Found, &'a Found)>> {
        let told = self.pair.iter().map(|(name_a, name_b)| Ok((a.named(name_a, &self.a)?, b.named(name_b, &self.b)?)));
        let mut pairs = told.collect::<anyhow::Result<Vec<_>>>()?;
        let mut seen: BTreeSet<String> = pairs.iter().map(|(a, _)| folded(&a.name)).collect();
        for name in a.structures.iter().map(|found| &found.name) {
            if seen.insert(folded(name))
                && let (Some(a), Some(b)) = (a.get(name), b.get(name))
            {
                pairs.push((a, b));
            }
        }
        Ok(pairs)
    }

    fn line(&self, a: &Found, b: &Found, images: Option<&VolumeGeometry>) -> Line {
        let compared = || {
            let grid = grid_for(&[b, a], images, self.pixel_mm)?.ok_or("both are empty")?;
            let of = |side: &str, found: &Found| found.on(&grid).map_err(|reason| format!("{side}: {reason}"));
            Ok(compare(&of("A", a)?, &of("B", b)?, self.tolerance_mm))
        };
        Line { names: [a.name.clone(), b.name.clone()], result: compared() }
    }

    fn tell(&self, lines: &[Line], alone: &[Vec<String>; 2]) {
        if !lines.is_empty() {
            let head = FIGURES.map(|(_, shown, _)| shown);
            print!("{}", table(&rows(lines, head, |value| format!("{value:.3}"), "-")));
            println!("surface Dice within {} mm; docs/quality.md defines the figures", self.tolerance_mm);
        }
        for (names, file) in alone.iter().zip(["A", "B"]).filter(|(names, _)| !names.is_empty()) {
            println!("in {file} alone: {}", names.join(", "));
        }
    }

    fn document(&self, lines: &[Line], alone: &[Vec<String>; 2]) -> Value {
        let one = |line: &Line| {
            let mut value = json!({ "a": line.names[0], "b": line.names[1] });
            for (name, _, figure) in FIGURES {
                value[name] = line.result.as_ref().ok().and_then(figure).map_or(Value::Null, Value::from);
            }
            value["note"] = note(line).map_or(Value::Null, Value::from);
            value
        };
        json!({
            "a": self.a.display().to_string(),
            "b": self.b.display().to_string(),
            "tolerance_mm": self.tolerance_mm,
            "structures": lines.iter().map(one).collect::<Vec<_>>(),
            "only_in_a": alone[0],
            "only_in_b": alone[1],
        })
    }
}

/// A figure: its name in CSV and JSON, its name for people, and its value where it has a meaning.
type Figure = (&'static str, &'static str, fn(&Comparison) -> Option<f64>);

const FIGURES: [Figure; 10] = [
    ("volume_a_cm3", "A cm3", |found| Some(found.volumes_cm3[0])),
    ("volume_b_cm3", "B cm3", |found| Some(found.volumes_cm3[1])),
    ("volume_difference_cm3", "A-B cm3", |found| Some(found.volumes_cm3[0] - found.volumes_cm3[1])),
    ("volume_difference_percent", "A-B %", |found| {
        let [a, b] = found.volumes_cm3;
        (b > 0.0).then(|| 100.0 * (a - b) / b)
    }),
    ("dice", "Dice", |found| found.dice),
    ("surface_dice", "surface Dice", |found| found.surface_dice),
    ("hausdorff_95_mm", "HD95 mm", |found| found.distances.map(|distances| distances.hausdorff_95_mm)),
    ("hausdorff_mm", "HD mm", |found| found.distances.map(|distances| distances.hausdorff_mm)),
    ("mean_surface_distance_mm", "mean mm", |found| found.distances.map(|distances| distances.mean_mm)),
    ("added_path_length_mm", "added mm", |found| Some(found.added_path_length_mm)),
];

/// What the figures do not say.
fn note(line: &Line) -> Option<String> {
    let found = match &line.result {
        Ok(found) => found,
        Err(reason) => return Some(reason.clone()),
    };
    match found.volumes_cm3.map(|volume| volume == 0.0) {
        [true, true] => Some("both are empty".to_owned()),
        [true, false] => Some("A is empty".to_owned()),
        [false, true] => Some("B is empty".to_owned()),
        [false, false] => None,
    }
}

/// A head, and a row for each pair.
fn rows(lines: &[Line], head: [&str; 10], number: impl Fn(f64) -> String, nothing: &str) -> Vec<Vec<String>> {
    let named = |names: &[String; 2]| match folded(&names[0]) == folded(&names[1]) {
        true => names[0].clone(),
        false => names.join(" = "),
    };
    let head = ["structure"].into_iter().chain(head).chain(["note"]);
    let row = |line: &Line| {
        let figure =
            |(_, _, figure): &Figure| line.result.as_ref().ok().and_then(figure).map_or(nothing.to_owned(), &number);
        let mut row = vec![named(&line.names)];
        row.extend(FIGURES.iter().map(figure));
        row.push(note(line).unwrap_or_default());
        row
    };
    std::iter::once(head.map(str::to_owned).collect()).chain(lines.iter().map(row)).collect()
}

/// Writes what the operator asked for.
pub(super) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
