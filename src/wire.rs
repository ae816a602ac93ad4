//! Carries PDUs over a stream, each within a time limit and in one write; it knows neither requests nor answers.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::dimse::{AbortReason, Pdu, PduError, decode_pdu, encode_abort};
use crate::limits::LINGER_BYTES_MAX;

/// Room for the head of a PDU and for all of a small one; more is reserved when a PDU has announced it.
const READ_BYTES: usize = 4 << 10;

/// One connection.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buffer: BytesMut,
    data_max: u32,
}

/// Why nothing more comes.
#[derive(Debug, Error)]
pub enum WireError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer sent or took nothing complete for {0:?}")]
    TimedOut(Duration),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pdu(#[from] PduError),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection on which P-DATA-TF of at most `data_max` bytes (their PDU length field) are taken.
    pub fn new(stream: S, data_max: u32) -> Wire<S> {
        Wire { stream, buffer: BytesMut::new(), data_max }
    }

    /// The next PDU. The limit is for all of it: a peer that sends a byte now and then gains nothing.
    ///
    /// # Errors
    /// No PDU came, or none that PS3.8 knows.
    pub async fn read(&mut self, limit: Duration) -> Result<Pdu, WireError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(pdu) = decode_pdu(&mut self.buffer, self.data_max)? {
                return Ok(pdu);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES {
                self.buffer.reserve(READ_BYTES);
            }
            let count = timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
            if count.map_err(|_| WireError::TimedOut(limit))?? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// Writes whole PDUs.
    ///
    /// # Errors
    /// The connection broke, or the peer does not take them in time.
    pub async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), WireError> {
        let written = timeout(limit, async {
            self.stream.write_all(bytes).await?;
            // TLS keeps what the socket did not take at once.
            self.stream.flush().await
        });
        written.await.map_err(|_| WireError::TimedOut(limit))??;
        Ok(())
    }

    /// Sends the A-ABORT of the service provider and closes.
    pub async fn abort(mut self, reason: AbortReason, limit: Duration) {
        if self.write(&encode_abort(reason), limit).await.is_ok() {
            self.close(limit).await;
        }
    }

    /// Closes after the last PDU of this side: waits until the peer has closed (PS3.8 9.2, ARTIM), because closing
    /// over unread bytes resets the connection and takes from the peer what was just sent to it.
    pub async fn close(mut self, limit: Duration) {
        let drained = timeout(limit, async {
            self.stream.shutdown().await?;
            let mut taken = 0;
            while taken < LINGER_BYTES_MAX {
                self.buffer.clear();
                self.buffer.reserve(READ_BYTES);
                match self.stream.read_buf(&mut self.buffer).await? {
                    0 => break,
                    count => taken += count,
                }
            }
            io::Result::Ok(())
        });
        // Whatever happened, the connection is closed when this is dropped.
        let _ = drained.await;
    }
}
