//! The body of a request: one file as the only part of a multipart message (RFC 2387), read while it is sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::Failure;
use crate::limits::WEB_CHUNK_BYTES;

/// A body of known length.
#[derive(Debug)]
pub(super) struct Body {
    parts: Option<mpsc::Receiver<io::Result<Bytes>>>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Body {
    /// None.
    pub(super) fn empty() -> Body {
        Body { parts: None, left: 0, sent: Arc::default() }
    }

    /// A file between the lines of a boundary.
    pub(super) async fn multipart(path: &Path, boundary: &str) -> Result<Body, Failure> {
        let failed = |error: io::Error| Failure::File(path.to_owned(), error);
        let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
        let head = Bytes::from(format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"));
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let left = head.len() as u64 + length + tail.len() as u64;
        // One is written while the next is read.
        let (sender, parts) = mpsc::channel(1);
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let give = |part| sender.blocking_send(part).is_ok();
            let read = || -> io::Result<()> {
                let mut file = File::open(&path)?.take(length);
                let mut go_on = give(Ok(head));
                while go_on {
                    let mut chunk = vec![0_u8; WEB_CHUNK_BYTES];
                    let count = file.read(&mut chunk)?;
                    if count == 0 {
                        go_on = give(Ok(tail));
                        break;
                    }
                    chunk.truncate(count);
                    go_on = give(Ok(Bytes::from(chunk)));
                }
                let _ = go_on; // Nobody takes it any more: the request has ended.
                Ok(())
            };
            if let Err(error) = read() {
                give(Err(error));
            }
        });
        Ok(Body { parts: Some(parts), left, sent: Arc::default() })
    }

    /// How many bytes it has from here on.
    pub(super) fn length(&self) -> u64 {
        self.left
    }

    /// How many bytes were taken of it, for whoever looks whether it goes on.
    pub(super) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        match parts.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => {
                let count = bytes.len() as u64;
                self.left = self.left.saturating_sub(count);
                self.sent.fetch_add(count, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) if self.left > 0 => {
                self.left = 0;
                Poll::Ready(Some(Err(io::Error::other("the file became shorter while it was sent"))))
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_trouble_of_ours_that_may_pass() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let failure = runtime.block_on(Body::multipart(Path::new("/proc/self/absent"), "b")).expect_err("no file");
        assert!(matches!(failure.outcome(), Outcome::Retry { .. }), "{failure}");
    }
}
