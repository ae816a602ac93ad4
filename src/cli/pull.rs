//! `contourd pull PEER`: looks what a peer has of a study, asks the running gateway to fetch it, and waits for the end.
//! It fetches nothing itself: the gateway alone writes what is received.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use jiff::Timestamp;

use super::check::{ConfigArgs, told};
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK};
use crate::config::{self, Configuration};
use crate::daemon::LEDGER_FILE;
use crate::deliver::Outcome;
use crate::deliver::dicom::Destination;
use crate::dicom::Uid;
use crate::dimse::find::{Found, Query};
use crate::ledger::Ledger;
use crate::limits::{PULL_POLL_MS, PULL_TAKEN_S, RETRIEVAL_SERIES_MAX};
use crate::node::{Asked, Retrieval, RetrievalState};
use crate::pipeline::is_modality;
use crate::retrieve::{Series, series, studies};

/// Fetch a study from a peer: list what it has, ask the running gateway for it, and wait.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// Name of the peer in ae-config/peers; it has "retrieve"
    peer: String,
    /// Study Instance UID
    #[arg(long, value_name = "UID", required_unless_present = "accession", conflicts_with = "accession")]
    study: Option<Uid>,
    /// Accession Number
    #[arg(long, value_name = "NUMBER")]
    accession: Option<String>,
    /// Only this series; can be given several times
    #[arg(long, value_name = "UID")]
    series: Vec<Uid>,
    /// Only series of this modality
    #[arg(long, value_name = "CT", value_parser = modality)]
    modality: Option<String>,
    /// Fetch all studies where the accession number has several
    #[arg(long)]
    all: bool,
    /// List what is there and fetch nothing
    #[arg(long)]
    list: bool,
    /// Ask for it and do not wait for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A study and those of its series that are meant.
struct Study {
    uid: Uid,
    series: Vec<Series>,
}

impl PullArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let configuration = match config::load(&self.config.folder) {
            Ok(configuration) => configuration,
            Err(problems) => {
                eprint!("{}", told(&problems));
                return Ok(EXIT_CONFIGURATION);
            }
        };
        let Some(source) = configuration.source(&self.peer) else { bail!("{}", self.no_source(&configuration)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = match runtime.block_on(self.find(&source.destination)) {
            Ok(found) => found,
            Err(Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. }) => bail!("{}: {reason}", self.peer),
            Err(Outcome::Delivered { .. }) => Vec::new(),
        };
        print!("{}", listed(&found));
        if found.iter().all(|study| study.series.is_empty()) {
            bail!("{} has nothing that fits; look at the number, and at --series and --modality", self.peer);
        }
        if self.list {
            return Ok(EXIT_OK);
        }
        if found.len() > 1 && !self.all {
            bail!(
                "found {} studies with this accession number, expected one; say which with --study, or take all with --all",
                found.len()
            );
        }
        if let Some(study) = found.iter().find(|study| study.series.len() > RETRIEVAL_SERIES_MAX) {
            let count = study.series.len();
            bail!("found {count} series, expected at most {RETRIEVAL_SERIES_MAX}; choose with --series or --modality");
        }
        let ledger = Ledger::open_existing(&configuration.storage_folder().join(LEDGER_FILE))?;
        let mut asked = Vec::new();
        for study in found.iter().filter(|study| !study.series.is_empty()) {
            let retrieval = self.request(study);
            ledger.request_retrieval(&retrieval)?;
            asked.push((retrieval.id, study));
        }
        if self.no_wait {
            println!("asked for; the running gateway takes it within a second or two");
            return Ok(EXIT_OK);
        }
        wait(&ledger, &asked)
    }

    fn no_source(&self, configuration: &Configuration) -> String {
        let names = configuration.peers.values().filter(|peer| peer.retrieve.is_some());
        let names: Vec<&str> = names.map(|peer| peer.name.as_str()).collect();
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        format!(
            "found {:?}, expected a peer of ae-config/peers with \"retrieve\" ({known}); add \"retrieve\": \"get\" or \
             \"move\" to its file",
            self.peer
        )
    }

    /// What the peer has of what is meant.
    async fn find(&self, destination: &Destination) -> Result<Vec<Study>, Outcome> {
        let uids: Vec<Uid> = match (&self.study, &self.accession) {
            (Some(uid), _) => vec![uid.clone()],
            (None, number) => {
                let query = Query::accession(number.as_deref().unwrap_or_default());
                let query = query.map_err(|error| Outcome::Refused { reason: error.to_string(), status: None })?;
                let found = studies(destination, query).await?;
                of_order(found, number.as_deref().unwrap_or_default())
            }
        };
        let mut found = Vec::new();
        for uid in uids {
            let mut list = series(destination, &uid, None, self.modality.as_deref()).await?;
            list.retain(|one| self.series.is_empty() || self.series.contains(&one.key.series_instance_uid));
            list.sort_by(|a, b| (&a.modality, &a.key).cmp(&(&b.modality, &b.key)));
            found.push(Study { uid, series: list });
        }
        Ok(found)
    }

    fn request(&self, study: &Study) -> Retrieval {
        let now = Timestamp::now();
        let process = std::process::id().to_string();
        let id = Uid::derived(["contourd", "pull", &self.peer, study.uid.as_str(), &now.to_string(), &process]);
        let series = study.series.iter().map(|one| one.key.series_instance_uid.clone()).collect();
        Retrieval::new(id, self.peer.clone(), Asked::Series { study: study.uid.clone(), series }, now)
    }
}

/// A modality that matches itself alone.
fn modality(text: &str) -> Result<String, String> {
    match is_modality(text) {
        true => Ok(text.to_owned()),
        false => Err("expected a modality, such as CT: capital letters, digits and underscores, 16 at most".to_owned()),
    }
}

/// The studies that have this accession number as they say themselves: a peer may match less exactly than it was asked to.
fn of_order(found: Vec<Found>, number: &str) -> Vec<Uid> {
    let equal = |study: &Found| study.accession.trim() == number.trim();
    found.into_iter().filter(equal).filter_map(|study| study.study_instance_uid).collect()
}

/// What was found, for the terminal: it holds descriptions, which do not belong into a log.
fn listed(found: &[Study]) -> String {
    let mut text = String::new();
    for study in found {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "study {}: {} series", study.uid, study.series.len());
        for one in &study.series {
            let count = one.instances.map_or_else(|| "?".to_owned(), |count| count.to_string());
            // What a peer writes there can be anything.
            let description: String = one.description.chars().filter(|c| !c.is_control()).take(64).collect();
            let modality: String = one.modality.chars().filter(|c| !c.is_control()).take(16).collect();
            let uid = &one.key.series_instance_uid;
            let _ = writeln!(text, "  {modality:8} {count:>6}  {uid}  {description}");
        }
    }
    text
}

/// Waits until all is done or has failed, and tells how far it is.
fn wait(ledger: &Ledger, asked: &[(Uid, &Study)]) -> anyhow::Result<u8> {
    let (begun, mut said, mut warned) = (Instant::now(), String::new(), false);
    loop {
        let (mut open, mut lines, mut untaken) = (false, Vec::new(), false);
        for (id, study) in asked {
            let Some(retrieval) = ledger.retrieval(id)? else { bail!("the ledger has lost what was asked for") };
            untaken |= retrieval.state == RetrievalState::Asked;
            if retrieval.state.ended_at().is_none() {
                open = true;
                lines.push(progress(ledger, &retrieval, study)?);
            }
        }
        let line = lines.join("; ");
        if open && line != said {
            eprintln!("{line}");
            said = line;
        }
        if !open {
            return summary(ledger, asked);
        }
        if untaken && !warned && begun.elapsed() > Duration::from_secs(PULL_TAKEN_S) {
            warned = true;
            eprintln!("the gateway does not seem to run; what was asked for stays, and is fetched when it starts");
        }
        std::thread::sleep(Duration::from_millis(PULL_POLL_MS));
    }
}

fn progress(ledger: &Ledger, retrieval: &Retrieval, study: &Study) -> anyhow::Result<String> {
    let mut here = 0;
    for one in &study.series {
        here += ledger.count_instances(&one.key)?;
    }
    let all: Option<u32> = study.series.iter().map(|one| one.instances).sum();
    let of = all.map_or_else(String::new, |all| format!(" of {all}"));
    Ok(match &retrieval.state {
        RetrievalState::Pending { not_before } if !retrieval.last_reason.is_empty() => format!(
            "attempt {} failed: {}; the next one not before {not_before:.0}",
            retrieval.attempts, retrieval.last_reason
        ),
        RetrievalState::Running => format!("{here}{of} instances are here"),
        _ => "waits for the gateway".to_owned(),
    })
}

/// What came and what did not.
fn summary(ledger: &Ledger, asked: &[(Uid, &Study)]) -> anyhow::Result<u8> {
    let mut code = EXIT_OK;
    for (id, _) in asked {
        let Some(retrieval) = ledger.retrieval(id)? else { continue };
        for one in &retrieval.report {
            let note = if one.note.is_empty() { String::new() } else { format!("  {}", one.note) };
            println!("{}: {} of {} instances are here{note}", one.series.series_instance_uid, one.here, one.wanted);
        }
        match &retrieval.state {
            RetrievalState::Failed { cause, .. } => {
                code = EXIT_FAILED;
                eprintln!("not fetched from {}: {cause}", retrieval.from);
            }
            _ if !retrieval.last_reason.is_empty() => println!("{}", retrieval.last_reason),
            _ => {}
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::SeriesKey;

    #[test]
    fn studies_of_another_order_are_left_out() {
        let study = |uid: &str, number: &str| {
            let mut found = Found::default();
            (found.study_instance_uid, found.accession) = (uid.parse().ok(), number.to_owned());
            found
        };
        let found = vec![study("1.2", "A1 "), study("1.3", "A12"), study("1.4", ""), study("1.5", "a1")];
        assert_eq!(of_order(found, "A1"), ["1.2".parse::<Uid>().expect("a UID")]);
    }

    #[test]
    fn a_modality_with_a_wildcard_is_refused() {
        for bad in ["", "*", "C?", "ct", "CT\\MR", "ABCDEFGHIJKLMNOPQ"] {
            assert!(modality(bad).is_err(), "{bad:?}");
        }
        assert_eq!(modality("CT"), Ok("CT".to_owned()));
    }

    #[test]
    fn what_a_peer_writes_does_not_reach_the_terminal_as_a_command() {
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let key = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") };
        let description = "T2\u{1b}[2Jax".to_owned();
        let one = Series { key, modality: "MR".to_owned(), description, moment: String::new(), instances: None };
        let text = listed(&[Study { uid: uid("1.2"), series: vec![one] }]);
        assert_eq!(text, "study 1.2: 1 series\n  MR            ?  1.3  T2[2Jax\n");
    }
}
