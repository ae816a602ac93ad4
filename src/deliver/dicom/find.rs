//! Asks a destination by C-FIND (PS3.4 C) whether it shows what it was sent; how often to ask is not decided here.

use std::path::PathBuf;

use super::association::{Association, Failure};
use super::query::offers;
use super::{Destination, Outcome, Shown};
use crate::deliver::object::Object;
use crate::dicom::{SeriesKey, Uid};
use crate::dimse::find::Query;
use crate::limits::FIND_ANSWERS_MAX;

/// Asks for each object at the level IMAGE, one after the other over one association, until one is missing.
pub async fn find(destination: &Destination, paths: &[PathBuf]) -> Shown {
    let mut objects = Vec::new();
    for path in paths {
        match Object::open(path).await {
            Ok(object) => objects.push(object),
            Err(error) => {
                return Shown::Unknown(error.outcome());
            }
        }
    }
    let asked: Result<Shown, Failure> = async {
        let mut association = Association::open(destination, &offers()).await?;
        let mut shown = Shown::All;
        for object in &objects {
            let Some(series) = &object.series else {
                let reason =
                    format!("{} names no study and series, so that nobody can be asked", object.path.display());
                return Ok(Shown::Unknown(Outcome::Refused { reason, status: None }));
            };
            shown = association.find(series, &object.sop_instance_uid).await?;
            if shown != Shown::All {
                break;
            }
        }
        association.release().await;
        Ok(shown)
    }
    .await;
    asked.unwrap_or_else(|failure| Shown::Unknown(failure.outcome()))
}

impl Association<'_> {
    async fn find(&mut self, series: &SeriesKey, sop_instance_uid: &Uid) -> Result<Shown, Failure> {
        let query = Query::instances(series, Some(sop_instance_uid));
        let found = match self.query(&query, FIND_ANSWERS_MAX).await? {
            Ok(answers) => answers.found,
            Err(outcome) => return Ok(Shown::Unknown(outcome)),
        };
        let is_shown = found.iter().any(|found| found.sop_instance_uid.as_ref() == Some(sop_instance_uid));
        Ok(if is_shown {
            Shown::All
        } else {
            Shown::Missing { reason: format!("it does not show {sop_instance_uid}") }
        })
    }
}
