//! Reads one file of a watched folder into the spool and says what is to become of it; it moves nothing.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::BytesMut;
use rustix::fs::{Mode, OFlags};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::Folder;
use super::scan::{Entry, Seen, Stamp};
use crate::dimse::Outcome;
use crate::limits::{FOLDER_CUT_PATIENCE, FOLDER_READ_BYTES, FOLDER_TRIES_MAX, FOLDER_TROUBLE_S};
use crate::receive::{FileSink, Finished, Terms};

/// What has become of a file.
pub(super) enum Taken {
    /// It is durable.
    Stored(Finished),
    /// It will not be taken.
    Refused(Finished),
    /// It is looked at again later.
    Wait(Seen),
    /// Nothing can be taken now.
    Trouble(String),
}

/// Takes a file that has come to rest.
pub(super) async fn take(folder: &Folder, entry: &Entry, seen: &Seen, terms: Terms) -> Taken {
    let finished = match read(entry, terms).await {
        Ok(Some(finished)) => finished,
        // It goes on, or is gone: the next look finds it as it is then.
        Ok(None) => return Taken::Wait(Seen { since: Instant::now(), ..seen.clone() }),
        Err(error) => {
            if seen.not_before.is_none() {
                tracing::warn!(folder = %folder.path.display(), "{} cannot be read: {error}; it is tried again", entry.stamp.told());
            }
            return Taken::Wait(later(seen));
        }
    };
    match finished.outcome {
        Outcome::OutOfResources => Taken::Trouble(finished.reason),
        Outcome::ProcessingFailure if seen.tries + 1 < FOLDER_TRIES_MAX => {
            tracing::error!(folder = %folder.path.display(), "{}: {}; it is tried again", entry.stamp.told(), finished.reason);
            Taken::Wait(Seen { tries: seen.tries + 1, ..later(seen) })
        }
        Outcome::Truncated if seen.since.elapsed() < folder.settle * FOLDER_CUT_PATIENCE => {
            let until = seen.since + folder.settle * FOLDER_CUT_PATIENCE;
            Taken::Wait(Seen { not_before: Some(until), ..seen.clone() })
        }
        outcome if outcome.is_success() => Taken::Stored(finished),
        _ => Taken::Refused(finished),
    }
}

fn later(seen: &Seen) -> Seen {
    Seen { not_before: Some(Instant::now() + std::time::Duration::from_secs(FOLDER_TROUBLE_S)), ..seen.clone() }
}

/// The text beside a refused file. No attribute of a patient is in it.
pub(super) fn told(finished: &Finished) -> String {
    let (status, comment) = finished.outcome.status();
    let (reason, now) = (&finished.reason, jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC"));
    format!(
        "contourd did not take this file ({now}).\n\n{reason}\n\nStatus {status}: {comment}.\n\
         To have it taken after all, mend it and move it back into the watched folder.\n"
    )
}

/// Reads all of a file. `None` when it changes while it is read.
async fn read(entry: &Entry, terms: Terms) -> io::Result<Option<Finished>> {
    let path = entry.path.clone();
    let opened = tokio::task::spawn_blocking(move || open(&path)).await.map_err(io::Error::other)?;
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => File::from_std(opened?),
    };
    if Stamp::of(&file.metadata().await?) != Some(entry.stamp) {
        return Ok(None);
    }
    let (mut sink, mut size_bytes) = (FileSink::open(terms), 0);
    let mut buffer = BytesMut::new();
    while !sink.is_refused() {
        buffer.reserve(FOLDER_READ_BYTES);
        let count = file.read_buf(&mut buffer).await?;
        if count == 0 {
            break;
        }
        size_bytes += count as u64;
        if size_bytes > entry.stamp.size_bytes {
            return Ok(None);
        }
        sink.write(buffer.split().freeze()).await;
    }
    // Until here nothing is kept: what was changed meanwhile is thrown away with the sink.
    let data = file.metadata().await?;
    let is_whole = sink.is_refused() || size_bytes == entry.stamp.size_bytes;
    if Stamp::of(&data) != Some(entry.stamp) || data.nlink() == 0 || !is_whole {
        return Ok(None);
    }
    Ok(Some(sink.finish().await))
}

/// Opens a file that a look has found: no link, and nothing that waits for a writer.
fn open(path: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}
