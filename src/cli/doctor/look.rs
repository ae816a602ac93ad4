//! The steps from the name of a host to its services; nothing is left behind at the peer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;

use super::report::Report;
use crate::config::{Configuration, Peer};
use crate::deliver::dicom::{self, Destination, Survey};
use crate::deliver::{Outcome, Way, dicomweb};
use crate::dimse::syntaxes::{
    EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, SERVICES, STORAGE, STORAGE_COMMITMENT, STUDY_ROOT_FIND,
    VERIFICATION, storage_name,
};
use crate::job::VerifyBy;
use crate::limits::{CERTIFICATE_WARNING_DAYS, CLOCK_SKEW_WARNING_S, PRESENTATION_CONTEXTS_MAX};
use crate::pipeline::Mode;
use crate::tls::Presented;

/// What a peer has to accept, and for whose sake.
pub(super) type Wanted = BTreeMap<String, Vec<String>>;

/// The abstract syntaxes that the configuration needs of a peer.
pub(super) fn wanted(configuration: &Configuration, peer: &Peer) -> Wanted {
    let mut wanted = Wanted::new();
    let mut want = |uid: &str, why: String| wanted.entry(uid.to_owned()).or_default().push(why);
    for pipeline in configuration.pipelines.values().map(|loaded| &loaded.value) {
        let live = pipeline.mode() == Mode::Live;
        let gets = |kind: &str| pipeline.peers_for(kind, None).contains(&peer.name);
        for output in pipeline.outputs().iter().filter(|output| live && gets(output.kind())) {
            want(output.sop_class_uid(), format!("pipeline {} sends it there", pipeline.id()));
        }
    }
    match peer.verify.as_ref().map(|verification| verification.by) {
        Some(VerifyBy::Find) => want(STUDY_ROOT_FIND, "\"verify\" of the peer asks by it".to_owned()),
        Some(VerifyBy::Commitment) => want(STORAGE_COMMITMENT, "\"verify\" of the peer asks by it".to_owned()),
        None => {}
    }
    wanted
}

/// From the name of the host to the handshake, as far as it leads; says whether there is a connection.
pub(super) async fn way(report: &mut Report, way: &Way) -> bool {
    resolve(report, way).await && connect(report, way).await && shake(report, way).await
}

async fn resolve(report: &mut Report, way: &Way) -> bool {
    let start = Instant::now();
    match way.resolve().await {
        Ok(addresses) => report.good("resolve", &format!("{} in {}", addresses.join(", "), since(start))),
        Err(why) => {
            let host = &way.host;
            report.fail("resolve", &format!("{host}: {why}; correct the host in its file, or the name service"));
            return false;
        }
    }
    true
}

async fn connect(report: &mut Report, way: &Way) -> bool {
    let start = Instant::now();
    match way.reach().await {
        Ok((ours, theirs)) => report.good("connect", &format!("from {ours} to {theirs} in {}", since(start))),
        Err(why) => {
            let cure = "is it running, is this its port, does a firewall stand between?";
            report.fail("connect", &format!("port {}: {why}; {cure}", way.port));
            return false;
        }
    }
    true
}

async fn shake(report: &mut Report, way: &Way) -> bool {
    if way.tls.is_none() {
        report.good("tls", "not asked for: names, images and results travel in the clear");
        return true;
    }
    match way.shake().await {
        Ok(Some(agreed)) => {
            report.good("tls", &format!("{}, {}", agreed.version, agreed.suite));
            certificates(report, &agreed.chain);
            true
        }
        Ok(None) => true,
        Err(why) => {
            report.fail("tls", &why);
            match way.presented().await {
                Ok(chain) => certificates(report, &chain),
                Err(why) => report.more(&format!("no certificate was seen: {why}")),
            }
            false
        }
    }
}

/// A DICOMweb server: whether it lets us in, whether it searches, what its clock says.
pub(super) async fn web(report: &mut Report, server: &dicomweb::Destination) -> bool {
    let start = Instant::now();
    let said = match dicomweb::probe(server).await {
        Ok(said) => said,
        Err(why) => {
            report.fail("search", &why);
            return false;
        }
    };
    let words = if said.words.is_empty() { String::new() } else { format!(" ({})", said.words) };
    let (status, took) = (said.status, since(start));
    match status {
        200 | 204 => report.good("search", &format!("QIDO-RS answered {status} in {took}")),
        401 | 403 => {
            let cure = "see \"password_file\" or \"token_file\" of its file, and what it lets us do";
            report.fail("search", &format!("QIDO-RS answered {status}{words}: it does not let us in; {cure}"));
        }
        _ => {
            let what = "it may store all the same, and cannot be asked by \"verify\"";
            report.warn("search", &format!("QIDO-RS answered {status}{words}: {what}; is the path of \"url\" right?"));
        }
    }
    clock(report, said.ahead_s);
    !matches!(status, 401 | 403)
}

fn clock(report: &mut Report, ahead_s: Option<i64>) {
    match ahead_s {
        None => report.good("clock", "it does not tell the time"),
        Some(seconds) if seconds.abs() <= CLOCK_SKEW_WARNING_S => {
            report.good("clock", &format!("within {CLOCK_SKEW_WARNING_S} s of ours"));
        }
        Some(seconds) => {
            let word = if seconds > 0 { "ahead of" } else { "behind" };
            report.warn("clock", &format!("{} s {word} ours: compare both with a time server", seconds.abs()));
        }
    }
}

/// A folder: whether it is there and something can be put into it.
pub(super) fn folder(report: &mut Report, path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            report.fail("folder", "it is a file, expected a folder");
            return false;
        }
        Err(error) => {
            report.fail("folder", &format!("{error}; is it mounted?"));
            return false;
        }
    }
    let probe = path.join(format!(".contourd-doctor-{}", std::process::id()));
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    if let Err(error) = written.and_then(|_| std::fs::remove_file(&probe)) {
        report
            .fail("folder", &format!("nothing can be put into it: {error}; give the user of the gateway the right to"));
        return false;
    }
    report.good("folder", "it is there, and files can be put into it and removed");
    true
}

fn certificates(report: &mut Report, chain: &[Presented]) {
    for (index, presented) in chain.iter().enumerate() {
        let names = presented.names.join(", ");
        let issuer = presented.issuer.as_deref().unwrap_or("nobody that could be read");
        report.more(&format!("certificate {}: {names}; issued by {issuer}", index + 1));
        report.more(&format!("  SHA-256 {}", presented.fingerprint));
        let Some((from, until)) = presented.validity else {
            report.warn("tls", "its dates cannot be read");
            continue;
        };
        let now = Timestamp::now();
        let days = (until.as_second() - now.as_second()).div_euclid(86_400);
        report.more(&format!("  from {} until {}, {days} days left", day(from), day(until)));
        if now < from {
            let cure = "its beginning lies in the future: compare the clocks of both machines";
            report.warn("clock", &format!("certificate {}: {cure}", index + 1));
        } else if until <= now {
            report.warn("tls", &format!("certificate {} has run out: its operator has to renew it", index + 1));
        } else if days < CERTIFICATE_WARNING_DAYS {
            report.warn("tls", &format!("certificate {} runs out in {days} days", index + 1));
        }
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

pub(super) async fn associate(report: &mut Report, destination: &Destination, wanted: &Wanted) -> bool {
    let proposals = proposals(wanted);
    let start = Instant::now();
    let survey = match dicom::survey(destination, &proposals).await {
        Ok(survey) => survey,
        Err(why) => {
            report.fail("associate", &why);
            return false;
        }
    };
    let name = survey.implementation_version_name.as_deref().unwrap_or("without a name");
    let uid = survey.implementation_class_uid.as_deref().unwrap_or("without a UID");
    let pdu = match survey.max_pdu {
        Some(0) | None => "PDUs of any length".to_owned(),
        Some(length) => format!("PDUs up to {length} bytes"),
    };
    report.good("associate", &format!("in {}; {name} ({uid}), {pdu}", since(start)));
    let accepted = accepted(&proposals, &survey);
    if accepted.contains_key(VERIFICATION) {
        echo(report, destination).await;
    } else {
        report.warn("echo", "it does not accept Verification");
    }
    needs(report, &accepted, wanted);
    table(report, &proposals, &survey, &accepted);
    true
}

/// All that could be of use there, in both native syntaxes: what is wanted, services, storage classes.
fn proposals(wanted: &Wanted) -> Vec<(&str, &'static str)> {
    let services = SERVICES.iter().map(|service| service.uid);
    let storage = STORAGE.iter().map(|(uid, _)| *uid);
    let mut classes: Vec<&str> = wanted.keys().map(String::as_str).collect();
    for uid in services.chain(storage) {
        if !classes.contains(&uid) {
            classes.push(uid);
        }
    }
    let both = |uid| [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN].map(|syntax| (uid, syntax));
    classes.into_iter().flat_map(both).take(PRESENTATION_CONTEXTS_MAX).collect()
}

/// The accepted abstract syntaxes, each with the names of its transfer syntaxes.
fn accepted<'a>(proposals: &[(&'a str, &str)], survey: &Survey) -> BTreeMap<&'a str, Vec<&'static str>> {
    let mut accepted: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    for ((class, syntax), refused) in proposals.iter().zip(&survey.refused) {
        if refused.is_none() {
            let name = if *syntax == IMPLICIT_VR_LITTLE_ENDIAN { "implicit" } else { "explicit" };
            accepted.entry(class).or_default().push(name);
        }
    }
    accepted
}

async fn echo(report: &mut Report, destination: &Destination) {
    let start = Instant::now();
    match dicom::echo(destination).await {
        Outcome::Delivered { .. } => report.good("echo", &format!("answered in {}", since(start))),
        Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => report.fail("echo", &reason),
    }
}

fn needs(report: &mut Report, accepted: &BTreeMap<&str, Vec<&'static str>>, wanted: &Wanted) {
    for (uid, reasons) in wanted {
        let (name, why) = (name(uid), reasons.join(", "));
        if accepted.contains_key(uid.as_str()) {
            report.good("needed", &format!("{name}: {why}"));
        } else {
            let cure = "switch it on there, or do not send it there";
            report
                .fail("needed", &format!("{name} is not accepted, and {why}: deliveries would fail for good; {cure}"));
        }
    }
}

fn table(
    report: &mut Report,
    proposals: &[(&str, &str)],
    survey: &Survey,
    accepted: &BTreeMap<&str, Vec<&'static str>>,
) {
    let mut classes: Vec<&str> = Vec::new();
    for (class, _) in proposals {
        if !classes.contains(class) {
            classes.push(class);
        }
    }
    report.good("accepts", &format!("{} of {} SOP classes that were proposed", accepted.len(), classes.len()));
    for class in &classes {
        let line = match accepted.get(class) {
            Some(syntaxes) => format!("  yes  {} ({})", name(class), syntaxes.join(", ")),
            None => {
                let at = proposals.iter().position(|(proposed, _)| proposed == class).unwrap_or_default();
                format!("  no   {}: {}", name(class), survey.refused[at].unwrap_or_default())
            }
        };
        report.more(&line);
    }
}

fn name(uid: &str) -> &str {
    let service = SERVICES.iter().find(|service| service.uid == uid).map(|service| service.name);
    service.or_else(|| storage_name(uid)).unwrap_or(uid)
}

pub(super) fn since(start: Instant) -> String {
    format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3)
}
