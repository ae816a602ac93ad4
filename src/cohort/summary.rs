//! The table of a cohort as CSV (RFC 4180), a line for each structure, and one for each case or series without any.

use std::collections::BTreeMap;
use std::path::Path;

use super::cases::Finding;
use super::record::Record;
use crate::dicom::Uid;
use crate::output::csv::line;

/// The first line. No attribute of a patient is in the table but what the names of folders hold.
const HEAD: &str =
    "case,series_instance_uid,folder,pipeline,status,structure,volume_cm3,contours,seconds,note,reason,job,version";

/// The lines to be, by the name of the series and pipeline (empty for a series that no pipeline wanted).
#[derive(Default)]
pub struct Summary {
    lines: BTreeMap<(String, String), String>,
}

impl Summary {
    /// Takes the record of a case, in the place of what was said of it before.
    pub fn record(&mut self, record: &Record) {
        let (name, pipeline) = (record.name.as_str(), record.pipeline.as_str());
        let status = if record.run.is_some() { "done" } else { "failed" };
        let start = start(name, record.series.as_ref(), Path::new(&record.folder), pipeline, status);
        let end = [record.reason.as_str(), record.key.job.as_str(), &record.key.version];
        let seconds = format!("{:.1}", record.seconds);
        let structures = record.run.iter().flat_map(|run| &run.structures);
        let mut lines: String = structures
            .map(|structure| {
                let volume = format!("{:.3}", structure.volume_cm3);
                let contours = structure.contours.to_string();
                let own = [structure.name.as_str(), &volume, &contours, &seconds, &structure.note];
                line(start.iter().map(String::as_str).chain(own).chain(end))
            })
            .collect();
        if lines.is_empty() {
            let own = ["", "", "", &seconds, ""];
            lines = line(start.iter().map(String::as_str).chain(own).chain(end));
        }
        self.lines.insert((name.to_owned(), pipeline.to_owned()), lines);
    }

    /// Takes what is no result: a series that is not used, slots that are not filled, a case that has not run yet.
    pub fn finding(&mut self, finding: &Finding) {
        let (case, series, folder, pipeline, status, reason) = match finding {
            Finding::Series { .. } | Finding::Image { .. } => return,
            Finding::Unused { series, name, folder, reasons } => {
                (name, series.as_ref(), folder, "", "not used", reasons.join("; "))
            }
            Finding::Unjoined { series, name, folder, pipeline, reason } => {
                (name, Some(series), folder, pipeline.as_str(), "not used", reason.clone())
            }
            Finding::Case(case) => {
                let reason = "it was not its turn before the end; the same command goes on".to_owned();
                (&case.name, case.series.as_ref(), &case.folder, case.pipeline.as_str(), "not run", reason)
            }
        };
        let start = start(case, series, folder, pipeline, status);
        let text = line(start.iter().map(String::as_str).chain(["", "", "", "", "", &reason, "", ""]));
        self.lines.insert((case.clone(), pipeline.to_owned()), text);
    }

    /// The table, in the order of series and pipelines.
    pub fn text(&self) -> String {
        let lines: String = self.lines.values().map(String::as_str).collect();
        format!("{HEAD}\r\n{lines}")
    }
}

fn start(name: &str, series: Option<&Uid>, folder: &Path, pipeline: &str, status: &str) -> [String; 5] {
    let case = if pipeline.is_empty() { name.to_owned() } else { format!("{name}/{pipeline}") };
    [
        case,
        series.map(Uid::to_string).unwrap_or_default(),
        folder.display().to_string(),
        pipeline.to_owned(),
        status.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cohort::record::Key;
    use crate::job::{JobId, Run, StructureResult};

    #[test]
    fn says_the_latest_of_each_case_and_quotes_what_must_be() {
        let uid: Uid = "1.2.3".parse().expect("a UID");
        let mut summary = Summary::default();
        summary.finding(&Finding::Unused {
            series: "1.2.2".parse().ok(),
            name: "1.2.2".to_owned(),
            folder: "scouts, all".into(),
            reasons: vec!["ct does not want it: found \"LOCALIZER\"".to_owned(), "b".to_owned()],
        });
        let key = Key {
            job: JobId::parse("0123456789ab").expect("a name"),
            created_at: Timestamp::UNIX_EPOCH,
            version: "1.0".to_owned(),
            write: Vec::new(),
        };
        let mut record = Record {
            series: Some(uid),
            name: "1.2.3".to_owned(),
            pipeline: "ct".to_owned(),
            folder: "a".to_owned(),
            key,
            seconds: 2.04,
            run: None,
            reason: "killed".to_owned(),
        };
        summary.record(&record);
        assert!(summary.text().contains("1.2.3/ct,1.2.3,a,ct,failed,,,,2.0,,killed,0123456789ab,1.0\r\n"));
        let structure = |name: &str, volume_cm3, note: &str| StructureResult {
            name: name.to_owned(),
            volume_cm3,
            contours: 3,
            note: note.to_owned(),
        };
        let structures = vec![structure("BODY", 1234.5678, ""), structure("Bone", 0.0, "left out: x")];
        record.run = Some(Run { structures, ..Run::default() });
        record.reason = String::new();
        summary.record(&record);
        let expected = format!(
            "{HEAD}\r\n1.2.2,1.2.2,\"scouts, all\",,not used,,,,,,\"ct does not want it: found \"\"LOCALIZER\"\"; b\",,\r\n\
             1.2.3/ct,1.2.3,a,ct,done,BODY,1234.568,3,2.0,,,0123456789ab,1.0\r\n\
             1.2.3/ct,1.2.3,a,ct,done,Bone,0.000,3,2.0,left out: x,,0123456789ab,1.0\r\n"
        );
        assert_eq!(summary.text(), expected);
    }
}
