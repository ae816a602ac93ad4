//! The conversation after a C-GET or C-MOVE was asked for (PS3.4 C.4.2, C.4.3): responses, and with C-GET the instances
//! between them. It knows when to wait on, when to cancel, and when a peer cannot be followed.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Door, Ended, Patience, Way};
use crate::deliver::dicom::{Association, Failure};
use crate::dicom::Uid;
use crate::dimse::find::failed_instances;
use crate::dimse::{
    Command, CommandSet, Outcome, Part, Pdu, Reassembly, Response, Status, StoreRequest, SubOperations,
};
use crate::limits::{RETRIEVE_ANSWER_BYTES_MAX, RETRIEVE_RESPONSES_MAX};
use crate::receive::{Finished, Sink};

/// What is being received.
enum Receiving {
    Nothing,
    /// An instance, with what has asked for it to be stored.
    Instance {
        context_id: u8,
        set: CommandSet,
        store: StoreRequest,
        taking: Taking,
    },
    /// The data set of a response.
    Answer {
        response: Response,
        counts: SubOperations,
        bytes: Vec<u8>,
    },
}

enum Taking {
    Storing(Box<Sink>, u64),
    /// Refused already; the rest is passed over so that the association goes on.
    Refused(Finished, u64),
}

/// One request until its final response.
pub(super) struct Exchange<'a, 'b> {
    association: &'a mut Association<'b>,
    way: Way,
    context_id: u8,
    message_id: u16,
    door: &'a mut Door,
    patience: Patience,
    receiving: Receiving,
    /// Counts of the last response, to see whether the next ones change.
    counts: SubOperations,
    responses: usize,
    /// Of C-MOVE: how many instances were here at the last look.
    here: usize,
    /// When something last showed that the peer goes on.
    moved_at: Instant,
    cancelled: Option<(Instant, String)>,
}

impl<'a, 'b> Exchange<'a, 'b> {
    pub(super) fn new(
        association: &'a mut Association<'b>,
        way: Way,
        (context_id, message_id): (u8, u16),
        door: &'a mut Door,
        patience: Patience,
    ) -> Exchange<'a, 'b> {
        Exchange {
            association,
            way,
            context_id,
            message_id,
            door,
            patience,
            receiving: Receiving::Nothing,
            counts: SubOperations::default(),
            responses: 0,
            here: 0,
            moved_at: Instant::now(),
            cancelled: None,
        }
    }

    /// Runs to the final response; `None` when none comes after a C-CANCEL.
    pub(super) async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Result<Option<Ended>, Failure> {
        let begun = Instant::now();
        self.here = if self.way == Way::Move { self.door.here().await } else { 0 };
        let mut reassembly = Reassembly::default();
        loop {
            let now = Instant::now();
            let deadline = match &self.cancelled {
                Some((at, _)) => *at + self.patience.cancel,
                None => (self.moved_at + self.patience.stall).min(begun + self.patience.whole),
            };
            let Some(left) = deadline.checked_duration_since(now).filter(|left| *left > Duration::ZERO) else {
                if self.cancelled.is_some() {
                    return Ok(None);
                }
                if now < begun + self.patience.whole && self.has_come().await {
                    continue;
                }
                let why =
                    if now >= begun + self.patience.whole { "it took too long" } else { "nothing came for too long" };
                self.cancel(why.to_owned()).await?;
                continue;
            };
            let is_asked = self.cancelled.is_none();
            let pdu = tokio::select! {
                // The time is looked at above.
                pdu = tokio::time::timeout(left, self.association.pdu(left + Duration::from_secs(1))) => match pdu {
                    Ok(pdu) => pdu?,
                    Err(_) => continue,
                },
                () = told_to_stop(stop), if is_asked => {
                    self.cancel("the gateway is shutting down".to_owned()).await?;
                    continue;
                }
            };
            let Pdu::Data(values) = pdu else {
                return Err(Failure::Protocol("found another PDU than one with data".to_owned()));
            };
            if values.is_empty() {
                reassembly.count_empty().map_err(|error| Failure::Protocol(error.to_string()))?;
            }
            for value in values {
                let value = value.map_err(|error| Failure::Protocol(error.to_string()))?;
                let part = reassembly.accept(value).map_err(|error| Failure::Protocol(error.to_string()))?;
                let ended = match part {
                    Some(Part::Command { context_id, set, command }) => self.command(context_id, set, command).await?,
                    Some(Part::Data { bytes, is_last }) => self.data(bytes, is_last).await?,
                    None => None,
                };
                if let Some(ended) = ended {
                    return Ok(Some(ended));
                }
            }
        }
    }

    /// Whether instances came meanwhile by C-MOVE: a peer need not tell how far it is (PS3.4 C.4.2.1.6).
    async fn has_come(&mut self) -> bool {
        if self.way == Way::Get {
            return false;
        }
        let here = self.door.here().await;
        let more = here > self.here;
        if more {
            (self.here, self.moved_at) = (here, Instant::now());
        }
        more
    }

    async fn cancel(&mut self, why: String) -> Result<(), Failure> {
        if self.cancelled.is_none() {
            self.cancelled = Some((Instant::now(), why));
            self.association.cancel(self.context_id, self.message_id).await?;
        }
        Ok(())
    }

    async fn command(&mut self, context_id: u8, set: CommandSet, command: Command) -> Result<Option<Ended>, Failure> {
        match command {
            Command::Response(response) => {
                let field = match self.way {
                    Way::Get => 0x8010,
                    Way::Move => 0x8021,
                };
                if response.field != field || response.message_id != self.message_id {
                    return Err(Failure::Protocol("found another answer than that to our request".to_owned()));
                }
                let counts = set.sub_operations();
                if response.has_data_set {
                    self.receiving = Receiving::Answer { response, counts, bytes: Vec::new() };
                    return Ok(None);
                }
                self.responded(&response, counts, &[]).await
            }
            Command::Store(store) if self.way == Way::Get && store.has_data_set => {
                let syntaxes = self.association.context(context_id);
                let Some(syntaxes) = syntaxes else {
                    let what = format!("found presentation context {context_id}, which was not accepted");
                    return Err(Failure::Protocol(what));
                };
                let taking = match self.door.admit(syntaxes, &store) {
                    Ok(sink) => Taking::Storing(Box::new(sink), 0),
                    Err(finished) => Taking::Refused(finished, 0),
                };
                self.receiving = Receiving::Instance { context_id, set, store, taking };
                Ok(None)
            }
            _ => Err(Failure::Protocol("found a request that has no place between the answers to ours".to_owned())),
        }
    }

    /// Takes a response; the end when it is the final one.
    async fn responded(
        &mut self,
        response: &Response,
        counts: SubOperations,
        data: &[u8],
    ) -> Result<Option<Ended>, Failure> {
        if matches!(response.status, Status(0xFF00)) {
            self.responses += 1;
            if counts != self.counts {
                self.counts = counts;
                self.moved_at = Instant::now();
            }
            if self.responses > RETRIEVE_RESPONSES_MAX {
                self.cancel(format!("found more than {RETRIEVE_RESPONSES_MAX} answers")).await?;
            }
            return Ok(None);
        }
        let syntax = self.association.context(self.context_id).and_then(|(_, syntax)| syntax.parse::<Uid>().ok());
        let failed = syntax.map(|syntax| failed_instances(data, &syntax)).unwrap_or_default();
        let cancelled = self.cancelled.take().map(|(_, why)| why);
        self.door.ended(response.status.is_success());
        let (status, comment) = (response.status, response.comment.clone());
        Ok(Some(Ended { status, comment, counts, failed, cancelled }))
    }

    async fn data(&mut self, bytes: Bytes, is_last: bool) -> Result<Option<Ended>, Failure> {
        let limit = self.door.instance_bytes_max();
        match &mut self.receiving {
            Receiving::Nothing => {}
            Receiving::Answer { bytes: taken, .. } => {
                if taken.len() + bytes.len() > RETRIEVE_ANSWER_BYTES_MAX {
                    let what = format!("found an answer of more than {RETRIEVE_ANSWER_BYTES_MAX} bytes");
                    return Err(Failure::Protocol(what));
                }
                taken.extend_from_slice(&bytes);
            }
            Receiving::Instance { taking, .. } => take(taking, bytes, limit).await?,
        }
        if !is_last {
            return Ok(None);
        }
        match std::mem::replace(&mut self.receiving, Receiving::Nothing) {
            Receiving::Nothing => Ok(None),
            Receiving::Answer { response, counts, bytes } => self.responded(&response, counts, &bytes).await,
            Receiving::Instance { context_id, set, store, taking } => {
                let finished = match taking {
                    Taking::Storing(sink, _) => sink.finish().await,
                    Taking::Refused(finished, _) => finished,
                };
                let outcome = finished.outcome;
                self.door.tell(&store, finished).await;
                let response = set.response(outcome).map_err(|error| Failure::Protocol(error.to_string()))?;
                self.association.respond(context_id, &response).await?;
                if outcome != Outcome::NotAskedFor {
                    self.moved_at = Instant::now();
                }
                if outcome == Outcome::OutOfResources {
                    // A thousand more would be refused one by one.
                    self.cancel("storage is full or failing".to_owned()).await?;
                }
                Ok(None)
            }
        }
    }
}

async fn take(taking: &mut Taking, bytes: Bytes, limit: u64) -> Result<(), Failure> {
    match taking {
        Taking::Storing(sink, size_bytes) => {
            *size_bytes += bytes.len() as u64;
            if *size_bytes > limit {
                let reason = format!("the data set is longer than {limit} bytes");
                *taking = Taking::Refused(Finished { outcome: Outcome::TooLarge, reason, received: None }, *size_bytes);
            } else {
                sink.write(bytes).await;
            }
        }
        Taking::Refused(_, size_bytes) => {
            *size_bytes += bytes.len() as u64;
            if *size_bytes > limit.saturating_mul(2) {
                return Err(Failure::Protocol("found no end of a refused data set".to_owned()));
            }
        }
    }
    Ok(())
}

/// Becomes true once; a sender that is gone does not stop anything.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
