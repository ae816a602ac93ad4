//! What the doctor found, line by line; it looks at nothing itself.

use std::fmt::Write;

use jiff::Timestamp;

use crate::deliver::Destination;

/// The report.
pub(super) struct Report {
    text: String,
    failures: usize,
    warnings: usize,
}

impl Report {
    /// Begins with who calls whom.
    pub(super) fn of(peer: &str, destination: &Destination) -> Report {
        let called = match destination {
            Destination::Dicom(node) => {
                let tls = if node.tls.is_some() { " with TLS" } else { "" };
                format!("{} calls {} at {}:{}{tls}", node.calling_ae, node.ae_title, node.host, node.port)
            }
            Destination::Web(web) => format!("DICOMweb at {}", web.url),
            Destination::Folder(to) => format!("folder {}", to.folder.display()),
        };
        let version = env!("CARGO_PKG_VERSION");
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S");
        let text = format!("contourd {version} doctor, {now} UTC\npeer       {peer}: {called}\n");
        Report { text, failures: 0, warnings: 0 }
    }

    /// A step that went well.
    pub(super) fn good(&mut self, step: &str, found: &str) {
        self.line(step, "ok", found);
    }

    /// Something that may be wrong.
    pub(super) fn warn(&mut self, step: &str, found: &str) {
        self.warnings += 1;
        self.line(step, "warning", found);
    }

    /// A step that failed.
    pub(super) fn fail(&mut self, step: &str, found: &str) {
        self.failures += 1;
        self.line(step, "FAILED", found);
    }

    /// What belongs to the line before.
    pub(super) fn more(&mut self, text: &str) {
        self.line("", "", text);
    }

    fn line(&mut self, step: &str, mark: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{step:10} {mark:8} {text}");
    }

    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    /// All of it, with a closing line.
    pub(super) fn text(&self) -> String {
        let closing = match (self.failures, self.warnings) {
            (0, 0) => "nothing is wrong that shows from here".to_owned(),
            (0, warnings) => format!("warnings: {warnings}; nothing else is wrong that shows from here"),
            (failures, warnings) => format!("failures: {failures}, warnings: {warnings}"),
        };
        format!("{}{closing}\n", self.text)
    }
}
