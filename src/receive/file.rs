//! Takes a DICOM file (PS3.10) as its bytes arrive and brings its data set to where those of associations go, through the
//! same checks; it reads no file and answers nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::store::{Finished, Sink};
use crate::assemble::decodable;
use crate::dicom::{AeTitle, FileHead, FileHeadError, FileHeadReader, Uid};
use crate::dimse::{Outcome, syntaxes};
use crate::spool::{Meta, Spool};

/// What holds for each file of one sender.
#[derive(Clone)]
pub struct Terms {
    pub spool: Arc<Spool>,
    pub calling: AeTitle,
    pub called: AeTitle,
    /// The study that it has to be of.
    pub study: Option<Uid>,
    /// Longest data set.
    pub instance_bytes_max: u64,
}

/// A file on its way. Dropped before [`FileSink::finish`], it leaves nothing behind.
pub struct FileSink {
    terms: Terms,
    head: Option<FileHead>,
    state: State,
}

enum State {
    Head(FileHeadReader),
    Data {
        sink: Sink,
        size_bytes: u64,
    },
    /// The rest is passed over.
    Refused(Finished),
}

impl FileSink {
    /// Begins a file.
    pub fn open(terms: Terms) -> FileSink {
        FileSink { terms, head: None, state: State::Head(FileHeadReader::default()) }
    }

    /// One that is refused before its first byte.
    pub(super) fn refused(terms: Terms, reason: &str) -> FileSink {
        let state = State::Refused(Finished::refused(Outcome::Unreadable, reason.to_owned()));
        FileSink { terms, head: None, state }
    }

    /// Takes the next bytes; waits while the disk is slower than their source.
    pub async fn write(&mut self, bytes: Bytes) {
        match &mut self.state {
            State::Refused(_) => {}
            State::Data { .. } => self.data(bytes).await,
            State::Head(reader) => match reader.push(&bytes) {
                Ok(None) => {}
                Ok(Some((head, rest))) => {
                    self.state = match admit(&self.terms, &head) {
                        Ok(meta) => {
                            let (spool, study) = (self.terms.spool.clone(), self.terms.study.clone());
                            State::Data { sink: Sink::open_in(spool, meta, study), size_bytes: 0 }
                        }
                        Err(finished) => State::Refused(finished),
                    };
                    self.head = Some(head);
                    self.data(rest.into()).await;
                }
                Err(error) => self.state = State::Refused(refused_head(&error)),
            },
        }
    }

    /// Whether it is known already that it will not be stored.
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused(_))
    }

    /// What its head said, when it could be read.
    pub fn head(&self) -> Option<&FileHead> {
        self.head.as_ref()
    }

    /// Ends the file and waits until it is durable or refused.
    pub async fn finish(self) -> Finished {
        match self.state {
            State::Head(reader) => refused_head(&reader.cut()),
            State::Data { sink, .. } => sink.finish().await,
            State::Refused(finished) => finished,
        }
    }

    async fn data(&mut self, bytes: Bytes) {
        let State::Data { sink, size_bytes } = &mut self.state else { return };
        *size_bytes += bytes.len() as u64;
        let limit = self.terms.instance_bytes_max;
        if *size_bytes > limit {
            let reason = format!("the data set is longer than {limit} bytes");
            self.state = State::Refused(Finished::refused(Outcome::TooLarge, reason));
        } else if !bytes.is_empty() {
            sink.write(bytes).await;
        }
    }
}

/// What an association says in its presentation contexts.
fn admit(terms: &Terms, head: &FileHead) -> Result<Meta, Finished> {
    let FileHead { sop_class_uid, sop_instance_uid, transfer_syntax_uid } = head.clone();
    if syntaxes::storage_name(sop_class_uid.as_str()).is_none() {
        let reason = format!("SOP class {sop_class_uid} is not stored here");
        return Err(Finished::refused(Outcome::SopClassNotSupported, reason));
    }
    if !decodable(&transfer_syntax_uid) {
        let reason = format!("transfer syntax {transfer_syntax_uid} is not stored here");
        return Err(Finished::refused(Outcome::TransferSyntaxNotSupported, reason));
    }
    let (calling_ae, called_ae) = (Some(terms.calling.clone()), Some(terms.called.clone()));
    Ok(Meta { sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae, called_ae })
}

fn refused_head(error: &FileHeadError) -> Finished {
    let outcome = match error {
        FileHeadError::Truncated(_) => Outcome::Truncated,
        FileHeadError::Uid { .. } | FileHeadError::Missing(_) => Outcome::Unidentified,
        FileHeadError::NoPrefix | FileHeadError::TooLong => Outcome::Unreadable,
    };
    Finished::refused(outcome, error.to_string())
}
