//! The Storage and Verification SCU (PS3.4 A, B), and the SCU and SCP that verify what was sent (C, J): one association
//! per delivery, one value per PDU.

mod association;
mod commitment;
mod find;
mod query;
mod survey;

use std::path::PathBuf;
use std::time::Duration;

use crate::dicom::AeTitle;
use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION};
use crate::limits::PRESENTATION_CONTEXTS_MAX;
use crate::tls::ClientTls;

use super::Outcome;
pub use super::Shown;
use super::object::Object;
pub(crate) use association::{Association, Failure, Offer};
pub use commitment::{Committed, commit, report};
pub use find::find;
pub use query::{Answers, ask};
pub use survey::{Survey, survey};

/// A Storage SCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub ae_title: AeTitle,
    /// Name or address.
    pub host: String,
    pub port: u16,
    /// How it is called by TLS; `None` for a connection without.
    pub tls: Option<ClientTls>,
    /// What we call ourselves.
    pub calling_ae: AeTitle,
    /// To connect and to agree on an association.
    pub connect_timeout: Duration,
    /// For each answer; a destination that checks and files a large structure set may take its time.
    pub response_timeout: Duration,
}

/// Sends files (PS3.10) over one association, in this order, and says how all of it ended.
///
/// A structure set goes out byte for byte as it is stored, so that a repeated delivery is the same instance. What the
/// destination accepts in another native syntax only is encoded anew. After the first object that is not delivered
/// the others are not sent: a delivery is done when all of it is. See [`Outcome::of_all`] for `takes_change`.
pub async fn store(destination: &Destination, objects: &[PathBuf], takes_change: bool) -> Outcome {
    let each = store_each(destination, objects, true, |_, _| ()).await;
    Outcome::of_all(each.into_iter().map(|(_, outcome)| outcome), takes_change)
}

/// Sends files (PS3.10) and says of each how it ended; `progress` hears of each as it ends.
///
/// With `stop_early`, what comes after the first file that is not delivered is left out of the answer.
pub async fn store_each(
    destination: &Destination,
    paths: &[PathBuf],
    stop_early: bool,
    mut progress: impl FnMut(&PathBuf, &Outcome),
) -> Vec<(PathBuf, Outcome)> {
    let mut results = Vec::new();
    let mut rest = paths;
    while !rest.is_empty() {
        let (batch, taken) = next_batch(rest, &mut results, &mut progress).await;
        rest = &rest[taken..];
        if stop_early && results.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Delivered { .. })) {
            return results;
        }
        if batch.is_empty() {
            continue;
        }
        let whole = store_batch(destination, batch, stop_early, &mut results, &mut progress).await;
        if stop_early && !whole {
            return results;
        }
    }
    results
}

/// As many files as fit into the presentation contexts of one association; those that are no objects get their
/// outcome at once.
async fn next_batch(
    paths: &[PathBuf],
    results: &mut Vec<(PathBuf, Outcome)>,
    progress: &mut impl FnMut(&PathBuf, &Outcome),
) -> (Vec<Object>, usize) {
    let mut batch: Vec<Object> = Vec::new();
    let mut offers: Vec<Offer> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match Object::open(path).await {
            Ok(object) => {
                let new: Vec<Offer> = wanted(&object).into_iter().filter(|offer| !offers.contains(offer)).collect();
                if offers.len() + new.len() > PRESENTATION_CONTEXTS_MAX {
                    return (batch, index);
                }
                offers.extend(new);
                batch.push(object);
            }
            Err(error) => {
                let outcome = error.outcome();
                progress(path, &outcome);
                results.push((path.clone(), outcome));
            }
        }
    }
    (batch, paths.len())
}

/// The contexts in which an object can go out: as it is stored, and in the native syntaxes that it can be turned into.
/// Each syntax has a context of its own, so that we, not the acceptor, choose among those that are accepted.
fn wanted(object: &Object) -> Vec<Offer> {
    let stored = object.transfer_syntax_uid.as_str();
    let native: &[&str] =
        if object.is_native() { &[IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN] } else { &[] };
    let others = native.iter().copied().filter(|syntax| *syntax != stored);
    std::iter::once(stored).chain(others).map(|syntax| Offer::new(object.sop_class_uid.as_str(), syntax)).collect()
}

/// Sends one batch over one association; says whether all of it was delivered.
async fn store_batch(
    destination: &Destination,
    batch: Vec<Object>,
    stop_early: bool,
    results: &mut Vec<(PathBuf, Outcome)>,
    progress: &mut impl FnMut(&PathBuf, &Outcome),
) -> bool {
    let mut offers: Vec<Offer> = Vec::new();
    for offer in batch.iter().flat_map(wanted) {
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }
    let mut opened = Association::open(destination, &offers).await;
    let mut all = true;
    for object in batch {
        let outcome = match &mut opened {
            Ok(association) => match association.store(&object).await {
                Ok(outcome) => outcome,
                Err(failure) => {
                    let outcome = failure.outcome();
                    opened = Err(failure);
                    outcome
                }
            },
            Err(failure) => failure.outcome(),
        };
        all &= matches!(outcome, Outcome::Delivered { .. });
        progress(&object.path, &outcome);
        results.push((object.path, outcome));
        if stop_early && !all {
            break;
        }
    }
    if let Ok(association) = opened {
        association.release().await;
    }
    all
}

/// Asks the destination whether it is there (C-ECHO).
pub async fn echo(destination: &Destination) -> Outcome {
    let offers = [Offer::new(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)];
    let answer: Result<Outcome, Failure> = async {
        let mut association = Association::open(destination, &offers).await?;
        let outcome = association.echo().await?;
        association.release().await;
        Ok(outcome)
    }
    .await;
    answer.unwrap_or_else(|failure| failure.outcome())
}
