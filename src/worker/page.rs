//! The page of a finished run: what it says, its pictures, and the files that it becomes.

use super::bench::BenchError;
use super::documents::{write_captures, write_pdf};
use super::objects::{Finished, REPORT_FILE, write};
use crate::assemble::Modality;
use crate::job::{Run, StructureResult};
use crate::output::Format;
use crate::output::picture::{Outline, PictureError};
use crate::output::report::{Check, Fact, Figure, Report, StructureRow, figures, geometry_facts, html};
use crate::pipeline::Output;

/// Files of one kind that are listed one by one.
const FILES_LISTED_MAX: usize = 3;

impl Finished<'_> {
    /// Draws the pictures of the report.
    pub fn draw(&self) -> Result<Vec<Figure>, PictureError> {
        figures(self.volume, self.plan.modality == Modality::Ct, &self.outlines())
    }

    /// The structures in the order of the rows of the page.
    pub fn outlines(&self) -> Vec<Outline<'_>> {
        let outlines = self.chosen.iter().map(|(rule, made)| Outline { color: rule.style.color, mask: &made.mask });
        outlines.collect()
    }

    /// Writes the pictures, the page and what of it is delivered. A picture or an object that fails is a warning: the
    /// structure set is good without it.
    pub fn write_report(&self, run: &mut Run, drawn: Result<Vec<Figure>, PictureError>) -> Result<(), BenchError> {
        let figures = drawn.unwrap_or_else(|error| {
            run.warnings.push(format!("no pictures: {error}"));
            Vec::new()
        });
        for (index, figure) in figures.iter().enumerate() {
            let name = format!("picture-{:02}.png", index + 1);
            write(&self.order.folder.join(&name), &figure.png)?;
            run.files.push(name);
        }
        let mut report = self.report(run, figures);
        self.write_documents(&report, run)?;
        report.warnings.clone_from(&run.warnings);
        report.checks = self.checks(run);
        report.provenance = self.provenance(run);
        write(&self.order.folder.join(REPORT_FILE), html(&report).as_bytes())?;
        run.files.push(REPORT_FILE.to_owned());
        Ok(())
    }

    /// The outputs that are made of the page.
    fn write_documents(&self, report: &Report, run: &mut Run) -> Result<(), BenchError> {
        if self.file().is_some() {
            return Ok(()); // No DICOM series: it is told with the other objects.
        }
        let mut left_out = Vec::new();
        for output in self.pipeline.outputs() {
            let files = match output {
                Output::Pdf(said) => self.with_source(|source| write_pdf(self, source, said, report)),
                Output::SecondaryCapture(said) => self.with_source(|source| write_captures(self, source, said, report)),
                _ => continue,
            };
            match files {
                Err(BenchError::Output(reason)) => left_out.push(format!("left out: {reason}")),
                files => {
                    for file in files? {
                        run.files.push(file.clone());
                        run.objects.push(self.object(output, file));
                    }
                }
            }
        }
        if run.objects.is_empty() && !left_out.is_empty() {
            return Err(BenchError::Output(left_out.join("; ")));
        }
        run.warnings.extend(left_out);
        Ok(())
    }

    fn report(&self, run: &Run, figures: Vec<Figure>) -> Report {
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rows = self.chosen.iter().zip(&run.structures);
        let mut series = vec![fact("Modality", self.plan.modality.as_str())];
        match (self.file(), self.series.first().and_then(|series| series.files.first())) {
            (Some(image), Some(file)) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_planc = image.order.format == Format::PlanC;
                let scan = if is_planc { format!(", scan {}", image.order.scan) } else { String::new() };
                series.push(("File".to_owned(), name + &scan));
            }
            _ => series.push(fact("Series Instance UID", self.plan.key.series_instance_uid.as_str())),
        }
        series.extend(self.volume_name().map(|name| fact("Volume", name)));
        series.extend(geometry_facts(&self.plan.geometry));
        series.extend(run.registrations.iter().map(|input| (format!("Input {}", input.slot), input.describe())));
        let created = self.order.created_at.to_zoned(jiff::tz::TimeZone::system());
        Report {
            title: format!("{} on {}", self.pipeline.id(), self.plan.modality.as_str()),
            job: self.order.job.to_string(),
            created: created.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
            patient: Vec::new(),
            series,
            pipeline: vec![
                fact("Pipeline", self.pipeline.id()),
                fact("Revision", &self.pipeline.revision().to_string()),
            ],
            reasons: self.order.reasons.clone(),
            structures: rows
                .map(|((rule, made), result)| StructureRow::of(&rule.style, &made.mask, result))
                .chain(self.rows_left_out(run))
                .collect(),
            figures,
            warnings: run.warnings.clone(),
            checks: self.checks(run),
            provenance: self.provenance(run),
            stages: run.stages.clone(),
        }
    }

    /// What the run has looked at on its way; it would not have come here where one of these refuses.
    fn checks(&self, run: &Run) -> Vec<Check> {
        let check = |what: &str, found: String, passed| Check { what: what.to_owned(), found, passed };
        let strange: Vec<String> = self.plan.warnings.iter().map(ToString::to_string).collect();
        let images = match strange.as_slice() {
            [] => "one frame of reference, one grid, no slice missing or doubled; nothing strange".to_owned(),
            strange => strange.join("; "),
        };
        let mut checks = vec![check("Images of the primary series", images, strange.is_empty())];
        if !self.made.models.is_empty() {
            let found = "SHA-256 of every network file is that of its model.json".to_owned();
            checks.push(check("Weights", found, true));
        }
        // Those that were left out stand behind those that were made.
        let (made, missing) = run.structures.split_at(self.chosen.len().min(run.structures.len()));
        let names = |results: &mut dyn Iterator<Item = &StructureResult>| -> Vec<String> {
            results.map(|result| result.name.clone()).collect()
        };
        let empty = names(&mut made.iter().filter(|result| result.contours == 0));
        let missing = names(&mut missing.iter());
        if !run.structures.is_empty() {
            let mut found = format!("{} of {} made", self.chosen.len(), run.structures.len());
            for (what, names) in [("empty", &empty), ("left out", &missing)] {
                if !names.is_empty() {
                    found.push_str(&format!("; {what}: {}", names.join(", ")));
                }
            }
            checks.push(check("Structures", found, empty.is_empty() && missing.is_empty()));
        }
        let sets = run.objects.iter().filter(|object| object.kind == "rtstruct").count();
        if sets > 0 {
            let found = format!(
                "{sets} checked before and after encoding: references, names, points in the plane of their image"
            );
            checks.push(check("Structure sets", found, true));
        }
        let warnings = match run.warnings.len() {
            0 => "none".to_owned(),
            count => format!("{count}, listed under Warnings"),
        };
        checks.push(check("Warnings of the run", warnings, run.warnings.is_empty()));
        checks
    }

    /// Structures that the result should hold and does not.
    fn rows_left_out(&self, run: &Run) -> Vec<StructureRow> {
        let missing = run.structures.iter().skip(self.chosen.len());
        let row = |result: &StructureResult| {
            let rule = self.pipeline.structures().iter().find(|rule| rule.style.name == result.name)?;
            Some(StructureRow {
                name: result.name.clone(),
                roi_type: rule.style.roi_type.dicom_term().to_owned(),
                color: rule.style.color,
                volume_cm3: 0.0,
                contours: 0,
                slices: None,
                reach_mm: None,
                made: false,
                note: result.note.clone(),
            })
        };
        missing.filter_map(row).collect()
    }

    fn provenance(&self, run: &Run) -> Vec<Fact> {
        let mut facts = vec![("contourd".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        for (step, model) in &self.made.models {
            let text = format!("{} {}, {}, sha256 {}", model.name(), model.version(), model.licence(), model.digests());
            facts.push((format!("Model of step {step}"), text));
            if let Some(device) = run.devices.get(step) {
                facts.push((format!("Device of step {step}"), device.clone()));
            }
        }
        facts.extend(files(&run.files));
        facts
    }
}

/// The files of a run. Of a series with an object for each slice the kind and the number are told.
fn files(files: &[String]) -> Vec<Fact> {
    let kind = |file: &str| {
        let split = file.find(['.', '-']).unwrap_or(file.len());
        let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
        format!("{}*.{ending}", &file[..split])
    };
    let mut kinds: Vec<(String, Vec<&str>)> = Vec::new();
    for file in files {
        let kind = kind(file);
        match kinds.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, held)) => held.push(file),
            None => kinds.push((kind, vec![file])),
        }
    }
    let fact = |text: String| ("File".to_owned(), text);
    let of = |(kind, held): (String, Vec<&str>)| match held.len() {
        count if count > FILES_LISTED_MAX => vec![("Files".to_owned(), format!("{kind}, {count} of them"))],
        _ => held.into_iter().map(|file| fact(file.to_owned())).collect(),
    };
    kinds.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn a_series_of_objects_is_one_line() {
        let names = ["RS.1.dcm", "CT.1.dcm", "CT.2.dcm", "CT.3.dcm", "CT.4.dcm", "picture-01.png"];
        let told: Vec<String> = files(&names.map(str::to_owned)).into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, ["RS.1.dcm", "CT*.dcm, 4 of them", "picture-01.png"]);
    }
}
