//! The conformance statement: its prose, with the tables that the code negotiates and answers from put in their places.
//!
//! The prose is that of `docs/conformance.md`, which a test compares with what is made here; a table stands between
//! `<!-- table: NAME -->` and `<!-- end of table -->`.

use crate::assemble::DECODABLE;
use crate::dimse::syntaxes::{SERVICES, STORAGE, WITHOUT_PIXELS, storage_name};
use crate::dimse::{AbortReason, IMPLEMENTATION_VERSION_NAME, Outcome, Rejection, implementation_class_uid};
use crate::output::derived::As;
use crate::output::{capture, document, registration, rtstruct, seg, sr};
use crate::tls;

const PROSE: &str = include_str!("../../docs/conformance.md");
const BEGIN: &str = "<!-- table: ";
const END: &str = "<!-- end of table -->";

/// The tables; each stands in the statement.
pub const CONFORMANCE_TABLES: [&str; 13] = [
    "services",
    "objects",
    "storage",
    "transfer syntaxes",
    "transfer syntaxes without pixels",
    "answers to storage",
    "answers to commitment",
    "answers to C-GET",
    "failure reasons of STOW-RS",
    "rejections",
    "aborts",
    "implementation",
    "cipher suites",
];

/// The text of `docs/conformance.md`, with the tables of this program.
pub fn conformance() -> String {
    let mut parts = PROSE.split(BEGIN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").unwrap_or((part, ""));
        let after = rest.split_once(END).map_or("", |(_, after)| after);
        text += &format!("{BEGIN}{name} -->\n\n{}\n{END}{after}", table(name));
    }
    text
}

/// The table of this name, as Markdown; a name that is none says so, for the test to find.
fn table(name: &str) -> String {
    let rows = |head: &str, rows: Vec<String>| {
        let columns = head.matches('|').count() - 1;
        format!("{head}\n|{}\n{}\n", " --- |".repeat(columns), rows.join("\n"))
    };
    match name {
        "services" => rows("| service | SOP class | as SCU | as SCP |", services()),
        "objects" => rows("| object | SOP class |", objects()),
        "storage" => {
            let row = |(uid, name): &(&str, &str)| format!("| {name} | {uid} |");
            rows("| SOP class | UID |", STORAGE.iter().map(row).collect())
        }
        "transfer syntaxes" => rows("| transfer syntax | UID |", syntaxes(DECODABLE)),
        "transfer syntaxes without pixels" => rows("| transfer syntax | UID |", syntaxes(WITHOUT_PIXELS)),
        "answers to storage" => {
            rows("| status | error comment |", answers(|by, _| matches!(by, Service::Storage | Service::All)))
        }
        "answers to commitment" => {
            rows("| status | error comment |", answers(|by, _| matches!(by, Service::Commitment | Service::All)))
        }
        "answers to C-GET" => rows("| status | error comment |", answers(|by, _| by == Service::Get)),
        "failure reasons of STOW-RS" => {
            let by_web = |by, outcome: Outcome| {
                let fails = !outcome.is_success() && matches!(by, Service::Storage | Service::Web);
                fails || outcome == Outcome::ProcessingFailure
            };
            let mut all = answers(by_web);
            all.sort();
            rows("| reason | meaning |", all)
        }
        "rejections" => rows("| result / source / reason | when |", rejections()),
        "aborts" => rows("| source / reason | when |", aborts()),
        "implementation" => rows(
            "| what | value |",
            vec![
                format!("| Implementation Class UID | {} |", implementation_class_uid()),
                format!("| Implementation Version Name | `{IMPLEMENTATION_VERSION_NAME}` |"),
            ],
        ),
        "cipher suites" => {
            rows("| cipher suite |", tls::suites().into_iter().map(|suite| format!("| {suite} |")).collect())
        }
        other => format!("no table is named {other:?}\n"),
    }
}

fn services() -> Vec<String> {
    let row = |name: &str, uid: &str, scu: Option<&str>, scp: Option<&str>| {
        format!("| {name} | {uid} | {} | {} |", scu.unwrap_or("no"), scp.unwrap_or("no"))
    };
    SERVICES.iter().map(|service| row(service.name, service.uid, service.scu, service.scp)).collect()
}

/// What the pipelines make and deliveries send.
fn objects() -> Vec<String> {
    let made = [
        (rtstruct::SOP_CLASS_UID, "RT Structure Set Storage"),
        (seg::SOP_CLASS_UID, "Segmentation Storage"),
        (seg::LABEL_MAP_SOP_CLASS_UID, "Label Map Segmentation Storage"),
        (registration::SOP_CLASS_UID, "Deformable Spatial Registration Storage"),
        (As::Ct.sop_class_uid(), "CT Image Storage"),
        (As::Mr.sop_class_uid(), "MR Image Storage"),
        (As::ParametricMap.sop_class_uid(), "Parametric Map Storage"),
        (sr::SOP_CLASS_UID, "Enhanced SR Storage"),
        (document::SOP_CLASS_UID, "Encapsulated PDF Storage"),
        (capture::SOP_CLASS_UID, "Secondary Capture Image Storage"),
    ];
    made.iter().map(|(uid, name)| format!("| {} | {uid} |", storage_name(uid).unwrap_or(name))).collect()
}

fn syntaxes(known: &[(&str, &str)]) -> Vec<String> {
    known.iter().map(|(uid, name)| format!("| {name} | {uid} |")).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Storage,
    Commitment,
    /// STOW-RS alone, besides what storage answers.
    Web,
    /// What comes by C-GET, besides what storage answers.
    Get,
    /// Both, and C-ECHO.
    All,
}

/// Which services answer with this outcome.
fn answered_by(outcome: Outcome) -> Service {
    match outcome {
        Outcome::Verified | Outcome::ProcessingFailure | Outcome::UnrecognizedOperation => Service::All,
        Outcome::MistypedArgument => Service::All,
        Outcome::Stored
        | Outcome::Identical
        | Outcome::Different
        | Outcome::OutOfResources
        | Outcome::TooLarge
        | Outcome::SopClassMismatch
        | Outcome::SopInstanceMismatch
        | Outcome::Unreadable
        | Outcome::Truncated
        | Outcome::Unidentified
        | Outcome::TooComplex
        | Outcome::SopClassNotSupported
        | Outcome::NotAuthorized => Service::Storage,
        Outcome::NotAskedFor => Service::Get,
        Outcome::TransferSyntaxNotSupported | Outcome::StudyMismatch => Service::Web,
        Outcome::Accepted
        | Outcome::CommitmentNotAuthorized
        | Outcome::NoSuchSopClass
        | Outcome::NoSuchSopInstance
        | Outcome::NoSuchAction
        | Outcome::NoSuchEventType
        | Outcome::InvalidArgument
        | Outcome::DuplicateTransaction
        | Outcome::ResourceLimitation => Service::Commitment,
    }
}

/// A row for each status with its comment that some outcome of these has.
fn answers(fits: impl Fn(Service, Outcome) -> bool) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for outcome in Outcome::ALL.into_iter().filter(|outcome| fits(answered_by(*outcome), *outcome)) {
        let (status, comment) = outcome.status();
        let comment = if comment.is_empty() { "none" } else { comment };
        let row = format!("| {:04X} | {comment} |", status.0);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

fn rejections() -> Vec<String> {
    let row = |rejection: Rejection| {
        let (result, source, reason) = rejection.numbers();
        format!("| {result} / {source} / {reason} | {rejection} |")
    };
    Rejection::ALL.into_iter().map(row).collect()
}

fn aborts() -> Vec<String> {
    let row = |reason: AbortReason| format!("| 2 / {} | {} |", reason as u8, reason.meaning());
    AbortReason::ALL.into_iter().map(row).collect()
}
