//! Takes the body of a request: each part goes to the spool while it comes, in bounded memory and within the time limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::answer::{Answer, Refused, Results};
use super::media::Format;
use super::multipart::{Multipart, Piece};
use super::request::{check_part, too_large};
use crate::limits::HTTP_PACE_BYTES;
use crate::receive::Shared;
use crate::receive::connections::Slot;
use crate::receive::file::{FileSink, Terms};
use crate::receive::intake::Intake;

/// A request whose body may come.
pub(super) struct Admitted {
    pub terms: Terms,
    pub multipart: Multipart,
    pub format: Format,
    pub intake: Intake,
    pub idle: Duration,
    pub request_bytes_max: u64,
}

/// Takes all of the body, and answers when all of it is durable; says also whether all of it was read. It runs on a task of
/// its own, so that a sender that goes away does not stop what has to be told of its instances, and keeps its place among the
/// requests until it ends.
pub(super) async fn take(mut body: Incoming, admitted: Admitted, slot: Slot, shared: Arc<Shared>) -> (Answer, bool) {
    let Admitted { terms, multipart, format, mut intake, idle, request_bytes_max } = admitted;
    let calling = terms.calling.clone();
    let mut parts = Parts { terms, multipart, file: None, results: Results::default(), count: 0 };
    let mut killed = shared.killed.clone();
    let taken = tokio::select! {
        taken = parts.all(&mut body, &mut intake, idle, request_bytes_max) => taken,
        _ = killed.wait_for(|killed| *killed) => {
            Err(Refused::later(StatusCode::SERVICE_UNAVAILABLE, "the gateway is shutting down"))
        }
    };
    // What has not come to its end is thrown away before anybody hears of the end.
    parts.file = None;
    intake.end(taken.is_ok()).await;
    let (association, stored, identical, refused) = (intake.number(), intake.stored, intake.identical, intake.refused);
    let is_read = taken.is_ok();
    let answer = match taken {
        Ok(()) => {
            info!(association, %calling, stored, identical, refused, "request of instances (STOW-RS) ended");
            parts.results.answer(format)
        }
        Err(why) => {
            let reason = &why.reason;
            warn!(association, %calling, stored, identical, refused, "request of instances (STOW-RS) ended early: {reason}");
            why.answer()
        }
    };
    drop(slot);
    (answer, is_read)
}

struct Parts {
    terms: Terms,
    multipart: Multipart,
    /// The part that is coming.
    file: Option<FileSink>,
    results: Results,
    count: usize,
}

impl Parts {
    async fn all(
        &mut self,
        body: &mut Incoming,
        intake: &mut Intake,
        idle: Duration,
        request_bytes_max: u64,
    ) -> Result<(), Refused> {
        let (mut total, mut window) = (0, 0);
        let mut deadline = Instant::now() + idle;
        loop {
            let late = || {
                let reason = format!("fewer than {HTTP_PACE_BYTES} bytes of the body came within {idle:?}");
                Refused::new(StatusCode::REQUEST_TIMEOUT, reason)
            };
            let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| late())? else { break };
            let frame = frame.map_err(|_| Refused::bad("the body broke off"))?;
            let Ok(bytes) = frame.into_data() else { continue };
            let came = Instant::now();
            total += bytes.len() as u64;
            window += bytes.len() as u64;
            if total > request_bytes_max {
                return Err(too_large(request_bytes_max));
            }
            self.multipart.push(&bytes);
            drop(bytes);
            self.pieces(intake).await?;
            // The time that our disk took is not the sender's.
            deadline = if window < HTTP_PACE_BYTES { deadline + came.elapsed() } else { Instant::now() + idle };
            window %= HTTP_PACE_BYTES;
        }
        self.multipart.finish().map_err(|error| Refused::bad(error.to_string()))?;
        if self.count == 0 {
            return Err(Refused::bad("a body without a part"));
        }
        Ok(())
    }

    async fn pieces(&mut self, intake: &mut Intake) -> Result<(), Refused> {
        while let Some(piece) = self.multipart.piece().map_err(|error| Refused::bad(error.to_string()))? {
            match piece {
                Piece::Part(head) => {
                    let terms = self.terms.clone();
                    let checked = check_part(head.content_type.as_deref(), head.encoding.as_deref());
                    self.file = Some(match checked {
                        Ok(()) => FileSink::open(terms),
                        Err(reason) => FileSink::refused(terms, reason),
                    });
                    self.count += 1;
                }
                Piece::Data(bytes) => self.data(bytes).await,
                Piece::PartEnd => self.part_end(intake).await,
                Piece::Close => {}
            }
        }
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) {
        if let Some(file) = &mut self.file {
            file.write(bytes).await;
        }
    }

    async fn part_end(&mut self, intake: &mut Intake) {
        let Some(file) = self.file.take() else { return };
        let head = file.head().cloned();
        let finished = file.finish().await;
        self.results.add(head, finished.outcome);
        intake.tell(finished).await;
    }
}
