//! C-FIND as SCU (PS3.4 C.4.1): one request with all of its answers, within bounds; what is done with them is not decided here.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::association::{Association, Failure, Offer};
use super::{Destination, Outcome};
use crate::dicom::Uid;
use crate::dimse::find::{Found, Query};
use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND};
use crate::dimse::{Command, CommandSet, Status};
use crate::limits::{CANCEL_S_MAX, FIND_ANSWER_BYTES_MAX, FIND_BYTES_MAX, FIND_LISTED_MAX, FIND_S_MAX};

/// All answers to a query. Some can hold attributes of a patient, so it derives no `Debug`.
#[derive(Default)]
pub struct Answers {
    pub found: Vec<Found>,
    /// How many could not be read.
    pub unreadable: usize,
}

/// The contexts of C-FIND.
pub(super) fn offers() -> [Offer; 2] {
    [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN].map(|syntax| Offer::new(STUDY_ROOT_FIND, syntax))
}

/// Asks one query after the other over one association, each with at most so many answers.
///
/// # Errors
/// How the peer failed, now or for good.
pub async fn ask(destination: &Destination, queries: &[Query], answers_max: usize) -> Result<Vec<Answers>, Outcome> {
    let asked: Result<Result<Vec<Answers>, Outcome>, Failure> = async {
        let mut association = Association::open(destination, &offers()).await?;
        let mut all = Vec::with_capacity(queries.len().min(FIND_LISTED_MAX));
        for query in queries {
            match association.query(query, answers_max).await? {
                Ok(answers) => all.push(answers),
                Err(outcome) => {
                    association.release().await;
                    return Ok(Err(outcome));
                }
            }
        }
        association.release().await;
        Ok(Ok(all))
    }
    .await;
    asked.unwrap_or_else(|failure| Err(failure.outcome()))
}

impl Association<'_> {
    /// One C-FIND. `Err` within `Ok` is what the peer answered instead; the association goes on. Of more answers than
    /// `answers_max` the rest is cancelled.
    pub(crate) async fn query(
        &mut self,
        query: &Query,
        answers_max: usize,
    ) -> Result<Result<Answers, Outcome>, Failure> {
        // A peer that sends a byte now and then is within every other limit.
        let whole = Duration::from_secs(FIND_S_MAX + CANCEL_S_MAX);
        let late = || Err(Failure::Protocol(format!("found no end of a C-FIND after {} s", whole.as_secs())));
        timeout(whole, self.find_all(query, answers_max)).await.unwrap_or_else(|_| late())
    }

    async fn find_all(&mut self, query: &Query, answers_max: usize) -> Result<Result<Answers, Outcome>, Failure> {
        let Some((context_id, syntax)) = self.context_of(STUDY_ROOT_FIND) else {
            let reason = "the destination does not offer C-FIND (Study Root)".to_owned();
            return Ok(Err(Outcome::Refused { reason, status: Some(0x0122) }));
        };
        let identifier = query.encode(&syntax).map_err(|error| Failure::Request(error.to_string()))?;
        let syntax: Uid = syntax.parse().map_err(|_| Failure::Request("no transfer syntax".to_owned()))?;
        let message_id = self.message_id();
        self.request(context_id, &CommandSet::find_request(message_id, STUDY_ROOT_FIND), &identifier).await?;
        let (start, whole) = (Instant::now(), Duration::from_secs(FIND_S_MAX));
        let (mut answers, mut size_bytes) = (Answers::default(), 0);
        loop {
            let Some(left) = whole.checked_sub(start.elapsed()) else {
                self.give_up(context_id, message_id).await?;
                return Err(Failure::Protocol(format!("found no end of the answers to a C-FIND after {FIND_S_MAX} s")));
            };
            let (status, comment, data) = self.answer(message_id, left.min(self.response_timeout())).await?;
            match status {
                // FF00, FF01: an answer, and more to come (PS3.4 C.4.1.1.4).
                Status(0xFF00 | 0xFF01) => match Found::decode(&data, &syntax) {
                    Ok(found) => answers.found.push(found),
                    Err(_) => answers.unreadable += 1,
                },
                status if status.is_success() => return Ok(Ok(answers)),
                status => {
                    let reason =
                        format!("the C-FIND was answered with status {status} {comment}").trim_end().to_owned();
                    let code = Some(status.0);
                    return Ok(Err(if status.is_transient() {
                        Outcome::Retry { reason, status: code }
                    } else {
                        Outcome::Refused { reason, status: code }
                    }));
                }
            }
            size_bytes += data.len();
            if size_bytes > FIND_BYTES_MAX {
                self.give_up(context_id, message_id).await?;
                let what = format!("found more than {FIND_BYTES_MAX} bytes of answers to a C-FIND; ask for less");
                return Err(Failure::Protocol(what));
            }
            if answers.found.len() + answers.unreadable > answers_max {
                self.give_up(context_id, message_id).await?;
                let what = format!("found more than {answers_max} answers to a C-FIND; ask for less");
                return Err(Failure::Protocol(what));
            }
        }
    }

    async fn answer(&mut self, message_id: u16, limit: Duration) -> Result<(Status, String, Vec<u8>), Failure> {
        let message = self.message(limit, FIND_ANSWER_BYTES_MAX).await?;
        let Command::Response(response) = message.command else {
            return Err(Failure::Protocol("found a request where an answer to the C-FIND was due".to_owned()));
        };
        if response.field != 0x8020 || response.message_id != message_id {
            return Err(Failure::Protocol("found another answer than that to the C-FIND".to_owned()));
        }
        Ok((response.status, response.comment, message.data))
    }

    /// Cancels, and passes over what was under way. A peer that goes on all the same costs the association.
    async fn give_up(&mut self, context_id: u8, message_id: u16) -> Result<(), Failure> {
        self.cancel(context_id, message_id).await?;
        let (start, whole) = (Instant::now(), Duration::from_secs(CANCEL_S_MAX));
        for _ in 0..FIND_LISTED_MAX {
            let Some(left) = whole.checked_sub(start.elapsed()) else { break };
            if !matches!(self.answer(message_id, left).await?.0, Status(0xFF00 | 0xFF01)) {
                return Ok(());
            }
        }
        Err(Failure::Protocol("found answers to a C-FIND that go on after it was cancelled".to_owned()))
    }
}
