//! Asks a destination by C-FIND (PS3.4 C) whether it shows what it was sent; how often to ask is not decided here.

use std::path::PathBuf;

use super::association::{Association, Failure, Offer};
use super::{Destination, Outcome, Shown};
use crate::deliver::object::Object;
use crate::dicom::{SeriesKey, Uid};
use crate::dimse::find::{encode_identifier, found_instance};
use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND};
use crate::dimse::{Command, CommandSet, Status};
use crate::limits::{FIND_ANSWER_BYTES_MAX, FIND_ANSWERS_MAX};

/// Asks for each object at the level IMAGE, one after the other over one association, until one is missing.
pub async fn find(destination: &Destination, paths: &[PathBuf]) -> Shown {
    let mut objects = Vec::new();
    for path in paths {
        match Object::open(path).await {
            Ok(object) => objects.push(object),
            Err(error) => {
                return Shown::Unknown(Outcome::Refused { reason: error.to_string(), status: None });
            }
        }
    }
    let syntaxes = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
    let offers = syntaxes.map(|syntax| Offer::new(STUDY_ROOT_FIND, syntax));
    let asked: Result<Shown, Failure> = async {
        let mut association = Association::open(destination, &offers).await?;
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
        let Some((context_id, syntax)) = self.context_of(STUDY_ROOT_FIND) else {
            let reason = "the destination does not offer C-FIND (Study Root)".to_owned();
            return Ok(Shown::Unknown(Outcome::Refused { reason, status: Some(0x0122) }));
        };
        let failed = |error: crate::dimse::commitment::CommitmentError| Failure::Request(error.to_string());
        let identifier = encode_identifier(series, sop_instance_uid, &syntax).map_err(failed)?;
        let syntax: Uid = syntax.parse().map_err(|_| Failure::Request("no transfer syntax".to_owned()))?;
        let message_id = self.message_id();
        self.request(context_id, &CommandSet::find_request(message_id, STUDY_ROOT_FIND), &identifier).await?;
        let mut found = false;
        for _ in 0..FIND_ANSWERS_MAX {
            let message = self.message(self.response_timeout(), FIND_ANSWER_BYTES_MAX).await?;
            let Command::Response(response) = message.command else {
                return Err(Failure::Protocol("found a request where an answer to the C-FIND was due".to_owned()));
            };
            if response.field != 0x8020 || response.message_id != message_id {
                return Err(Failure::Protocol("found another answer than that to the C-FIND".to_owned()));
            }
            match response.status {
                // FF00, FF01: an answer, and more to come (PS3.4 C.4.1.1.4).
                Status(0xFF00 | 0xFF01) => {
                    let uid = found_instance(&message.data, &syntax);
                    found |= uid.is_ok_and(|uid| uid.as_ref() == Some(sop_instance_uid));
                }
                status if status.is_success() && found => return Ok(Shown::All),
                status if status.is_success() => {
                    return Ok(Shown::Missing { reason: format!("it does not show {sop_instance_uid}") });
                }
                status => {
                    let comment = &response.comment;
                    let reason =
                        format!("the C-FIND was answered with status {status} {comment}").trim_end().to_owned();
                    let status_code = Some(status.0);
                    return Ok(Shown::Unknown(if status.is_transient() {
                        Outcome::Retry { reason, status: status_code }
                    } else {
                        Outcome::Refused { reason, status: status_code }
                    }));
                }
            }
        }
        Err(Failure::Protocol(format!("found more than {FIND_ANSWERS_MAX} answers to a C-FIND for one instance")))
    }
}
