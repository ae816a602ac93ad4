//! The user agent of DICOMweb: stores by STOW-RS (PS3.18 10.5) and asks by QIDO-RS (PS3.18 10.6) whether what was stored
//! is there. One request for each object, so that each has its own answer; one connection for each request.

mod answer;
mod body;
mod connection;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderValue;

use super::object::Object;
use super::{Outcome, Shown};
use crate::dicom::SeriesKey;
use crate::tls::ClientTls;
use body::Body;
use connection::{Failure, Request, ask};
pub use connection::{Login, LoginError};
pub use url::{Url, UrlError};

/// A DICOMweb origin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub url: Url,
    /// How it is called by TLS; `None` for a connection without.
    pub tls: Option<ClientTls>,
    pub login: Option<Login>,
    /// To connect.
    pub connect_timeout: Duration,
    /// Longest time without progress: of the request, and then until the answer is there.
    pub response_timeout: Duration,
}

/// Sends files (PS3.10) as they are stored, in this order, up to the first that is not taken.
pub async fn store(destination: &Destination, objects: &[PathBuf], takes_change: bool) -> Outcome {
    let mut outcomes = Vec::new();
    for path in objects {
        let outcome = match Object::open(path).await {
            Ok(object) => store_one(destination, &object).await,
            Err(error) => error.outcome(),
        };
        let done = matches!(outcome, Outcome::Delivered { .. });
        outcomes.push(outcome);
        if !done {
            break;
        }
    }
    Outcome::of_all(outcomes, takes_change)
}

async fn store_one(destination: &Destination, object: &Object) -> Outcome {
    let boundary = format!("contourd-{:032x}", fastrand::u128(..));
    let stored: Result<Outcome, Failure> = async {
        let body = Body::multipart(&object.path, &boundary).await?;
        let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
        let kind = HeaderValue::from_str(&kind).map_err(|error| Failure::Request(error.to_string()))?;
        let request = Request { method: Method::POST, path: "/studies".to_owned(), kind: Some(kind), body };
        Ok(answer::judge(&ask(destination, request).await?, &object.sop_instance_uid))
    }
    .await;
    stored.unwrap_or_else(|failure| failure.outcome())
}

/// What a server says to a search that finds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub status: u16,
    /// In its own words; empty when it has none.
    pub words: String,
    /// How many seconds its clock is before ours, where it tells the time.
    pub ahead_s: Option<i64>,
}

/// Searches for a study that nobody has (QIDO-RS).
///
/// # Errors
/// Why there is no answer.
pub async fn probe(destination: &Destination) -> Result<Probe, String> {
    // Of 2.25, the UID of a UUID of zeros (PS3.5 B.2).
    let path = "/studies?StudyInstanceUID=2.25.0".to_owned();
    let request = Request { method: Method::GET, path, kind: None, body: Body::empty() };
    let said = ask(destination, request).await.map_err(|failure| failure.to_string())?;
    let told =
        said.date.as_deref().and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let ahead_s = told.map(|told| told.as_second() - jiff::Timestamp::now().as_second());
    Ok(Probe { status: said.status, words: said.words, ahead_s })
}

/// Asks for each object by its UID, until one is missing.
pub async fn find(destination: &Destination, objects: &[PathBuf]) -> Shown {
    for path in objects {
        let refused = |reason: String| Shown::Unknown(Outcome::Refused { reason, status: None });
        let object = match Object::open(path).await {
            Ok(object) => object,
            Err(error) => return Shown::Unknown(error.outcome()),
        };
        let Some(series) = &object.series else {
            return refused(format!("{} names no study and series, so that nobody can be asked", path.display()));
        };
        match find_one(destination, &object, series).await {
            Shown::All => {}
            other => return other,
        }
    }
    Shown::All
}

async fn find_one(destination: &Destination, object: &Object, series: &SeriesKey) -> Shown {
    let (study, of, uid) = (&series.study_instance_uid, &series.series_instance_uid, &object.sop_instance_uid);
    // UIDs are digits and dots: nothing in them has to be escaped.
    let path = format!("/studies/{study}/series/{of}/instances?SOPInstanceUID={uid}");
    let request = Request { method: Method::GET, path, kind: None, body: Body::empty() };
    match ask(destination, request).await {
        Ok(said) => answer::shows(&said, uid),
        Err(failure) => Shown::Unknown(failure.outcome()),
    }
}
