//! Reads one file of a watched folder into the spool and says what is to become of it; it moves nothing.

use std::io;
use std::os::unix::fs::MetadataExt;

use bytes::BytesMut;
use rustix::fs::SeekFrom;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::scan::{Entry, Seen, Stamp};
use super::{Folder, place};
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
    /// The storage failed, for this file or for all; when it is looked at again.
    Trouble(String, Seen),
}

/// Takes a file that has come to rest.
pub(super) async fn take(folder: &Folder, entry: &Entry, seen: &Seen, terms: Terms) -> Taken {
    // A copy may have stopped for a while, with the length that the file will have, and with nothing yet where its head
    // will be: what would be refused now may be good later.
    let patient_until = seen.since + folder.settle * FOLDER_CUT_PATIENCE;
    let wait = || Taken::Wait(Seen { not_before: Some(patient_until), ..seen.clone() });
    let is_patient = Instant::now() < patient_until;
    let finished = match read(folder, entry, is_patient, terms).await {
        Ok(Reading::Finished(finished)) => finished,
        Ok(Reading::Unwritten) => return wait(),
        // It goes on, or is gone: the next look finds it as it is then.
        Ok(Reading::Changed) => return Taken::Wait(Seen { since: Instant::now(), ..seen.clone() }),
        Err(error) => {
            if seen.not_before.is_none() {
                tracing::warn!(folder = %folder.path.display(), "{} cannot be read: {error}; it is tried again", entry.stamp.told());
            }
            return Taken::Wait(later(seen));
        }
    };
    match finished.outcome {
        Outcome::OutOfResources => Taken::Trouble(finished.reason, later(seen)),
        Outcome::ProcessingFailure if seen.tries + 1 < FOLDER_TRIES_MAX => {
            tracing::error!(folder = %folder.path.display(), "{}: {}; it is tried again", entry.stamp.told(), finished.reason);
            Taken::Wait(Seen { tries: seen.tries + 1, ..later(seen) })
        }
        outcome if outcome.is_success() => Taken::Stored(finished),
        Outcome::ProcessingFailure => Taken::Refused(finished),
        _ if is_patient => wait(),
        _ => Taken::Refused(finished),
    }
}

/// Tried again after a while, which doubles up to a quarter of an hour.
fn later(seen: &Seen) -> Seen {
    let pause = std::time::Duration::from_secs(FOLDER_TROUBLE_S << seen.failures.min(6));
    Seen { not_before: Some(Instant::now() + pause), failures: seen.failures.saturating_add(1), ..seen.clone() }
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

/// What came of reading a file.
enum Reading {
    Finished(Finished),
    /// It changes while it is read, or is gone.
    Changed,
    /// It has its length, and parts of it were never written.
    Unwritten,
}

/// Reads all of a file.
async fn read(folder: &Folder, entry: &Entry, is_patient: bool, terms: Terms) -> io::Result<Reading> {
    let (root, found) = (folder.path.clone(), entry.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let file = place::open(&root, &found)?;
        let has_gaps = is_patient && has_gaps(&file, found.stamp.size_bytes);
        Ok((file, has_gaps))
    });
    let mut file = match opened.await.map_err(io::Error::other)? {
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => return Ok(Reading::Changed),
        Err(error) => return Err(error),
        Ok((_, true)) => return Ok(Reading::Unwritten),
        Ok((file, false)) => File::from_std(file),
    };
    if Stamp::of(&file.metadata().await?) != Some(entry.stamp) {
        return Ok(Reading::Changed);
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
            return Ok(Reading::Changed);
        }
        sink.write(buffer.split().freeze()).await;
    }
    // Until here nothing is kept: what was changed meanwhile is thrown away with the sink.
    let data = file.metadata().await?;
    let is_whole = sink.is_refused() || size_bytes == entry.stamp.size_bytes;
    if Stamp::of(&data) != Some(entry.stamp) || data.nlink() == 0 || !is_whole {
        return Ok(Reading::Changed);
    }
    Ok(Reading::Finished(sink.finish().await))
}

/// Whether parts of a file were never written: a copy that reserves all of its room first is under way. Reserved room is
/// such a part too. A file system that does not tell has none.
fn has_gaps(file: &std::fs::File, size_bytes: u64) -> bool {
    let gap_at = rustix::fs::seek(file, SeekFrom::Hole(0));
    let is_at_begin = rustix::fs::seek(file, SeekFrom::Start(0)).is_ok();
    gap_at.is_ok_and(|at| at < size_bytes) || !is_at_begin
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn room_that_is_reserved_is_no_content() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[1; 8_192]).expect("written");
        assert!(!has_gaps(&file, 8_192));
        assert_eq!(file.stream_position().expect("asked"), 0, "it is read from its begin");
        file.set_len(1 << 20).expect("longer");
        assert!(has_gaps(&file, 1 << 20));
    }
}
