//! A file as it is sent: what it is, and its data set as stored or encoded anew; it opens no connection.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use thiserror::Error;

use super::Outcome;
use crate::dicom::scan::ScanError;
use crate::dicom::{InstanceError, SeriesKey, Uid, part10};
use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};
use crate::limits::SENT_OBJECT_BYTES_MAX;

/// A file that is to be sent.
pub(super) struct Object {
    pub path: PathBuf,
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    pub transfer_syntax_uid: Uid,
    /// The series that it belongs to; none where it names none.
    pub series: Option<SeriesKey>,
    /// Where the data set begins in the file.
    data_set_offset: u64,
}

/// Why a file cannot be sent.
#[derive(Debug, Error)]
pub(super) enum ObjectError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    NotDicom { path: PathBuf, source: InstanceError },
    #[error("{path}: found {found} bytes, expected at most {SENT_OBJECT_BYTES_MAX}")]
    TooLarge { path: PathBuf, found: u64 },
    #[error("{path}: the data set could not be encoded in {syntax}: {reason}")]
    Encode { path: PathBuf, syntax: String, reason: String },
    #[error("{path}: reading was interrupted")]
    Interrupted { path: PathBuf },
}

impl ObjectError {
    /// Trouble of our own disk may pass, and is no answer about the object; the object itself stays as it is, and one that
    /// is gone does not come back.
    pub(super) fn outcome(&self) -> Outcome {
        let reason = self.to_string();
        match self {
            ObjectError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Outcome::Refused { reason, status: None }
            }
            ObjectError::Io { .. }
            | ObjectError::Interrupted { .. }
            | ObjectError::NotDicom { source: InstanceError::Scan(ScanError::Io(_)), .. } => {
                Outcome::Retry { reason, status: None }
            }
            _ => Outcome::Refused { reason, status: None },
        }
    }
}

impl Object {
    /// Reads what the file is; its data set is walked through, so that half a file is never sent.
    pub(super) async fn open(path: &Path) -> Result<Object, ObjectError> {
        let owned = path.to_owned();
        blocking(path, move || Object::read(owned)).await
    }

    fn read(path: PathBuf) -> Result<Object, ObjectError> {
        let file = || -> std::io::Result<(BufReader<File>, u64)> {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok((BufReader::with_capacity(64 << 10, file), length))
        };
        let (reader, length) = file().map_err(|source| ObjectError::Io { path: path.clone(), source })?;
        if length > SENT_OBJECT_BYTES_MAX {
            return Err(ObjectError::TooLarge { path, found: length });
        }
        let scanned = part10::read_part10(reader).map_err(InstanceError::Scan).and_then(|part10| {
            let uid = |tag: Tag, name: &'static str| {
                let element = part10.scan.elements.iter().find(|element| element.tag == tag);
                let value = element.map_or(&[][..], |element| &part10.scan.header[element.value.clone()]);
                let text = String::from_utf8_lossy(value);
                text.parse().map_err(|source| InstanceError::Uid { tag, name, source })
            };
            let sop_class_uid = uid(Tag(0x0008, 0x0016), "SOP Class UID")?;
            let sop_instance_uid = uid(Tag(0x0008, 0x0018), "SOP Instance UID")?;
            let study = uid(Tag(0x0020, 0x000D), "Study Instance UID").ok();
            let series = study.zip(uid(Tag(0x0020, 0x000E), "Series Instance UID").ok());
            let series = series
                .map(|(study_instance_uid, series_instance_uid)| SeriesKey { study_instance_uid, series_instance_uid });
            Ok((sop_class_uid, sop_instance_uid, series, part10.transfer_syntax_uid, part10.data_set_offset))
        });
        let (sop_class_uid, sop_instance_uid, series, transfer_syntax_uid, data_set_offset) =
            scanned.map_err(|source| ObjectError::NotDicom { path: path.clone(), source })?;
        Ok(Object { path, sop_class_uid, sop_instance_uid, transfer_syntax_uid, series, data_set_offset })
    }

    /// Whether the data set is native little endian, so that it can be turned into the other encoding without loss.
    pub(super) fn is_native(&self) -> bool {
        [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN].contains(&self.transfer_syntax_uid.as_str())
    }

    /// The data set in one of the syntaxes that were offered for it: the stored bytes where it is the stored one.
    pub(super) async fn data_set(&self, transfer_syntax_uid: &str) -> Result<Vec<u8>, ObjectError> {
        let (path, offset) = (self.path.clone(), self.data_set_offset);
        let encode = (transfer_syntax_uid != self.transfer_syntax_uid.as_str())
            .then(|| (self.transfer_syntax_uid.to_string(), transfer_syntax_uid.to_owned()));
        blocking(&self.path, move || {
            let read = || -> std::io::Result<Vec<u8>> {
                let mut file = File::open(&path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = Vec::new();
                file.take(SENT_OBJECT_BYTES_MAX).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            let bytes = read().map_err(|source| ObjectError::Io { path: path.clone(), source })?;
            match encode {
                None => Ok(bytes),
                Some((from, to)) => {
                    recode(&bytes, &from, &to).map_err(|reason| ObjectError::Encode { path, syntax: to, reason })
                }
            }
        })
        .await
    }
}

/// Decodes and encodes a native data set. Only files that the scanner has approved come here.
fn recode(bytes: &[u8], from: &str, to: &str) -> Result<Vec<u8>, String> {
    use dicom_encoding::TransferSyntaxIndex;
    let syntax = |uid: &str| TransferSyntaxRegistry.get(uid).ok_or_else(|| format!("{uid} is not known"));
    let (from, to) = (syntax(from)?, syntax(to)?);
    let object = InMemDicomObject::read_dataset_with_ts(Cursor::new(bytes), from).map_err(|error| error.to_string())?;
    let mut encoded = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    object.write_dataset_with_ts(&mut encoded, to).map_err(|error| error.to_string())?;
    Ok(encoded)
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let interrupted = |_| ObjectError::Interrupted { path: path.to_owned() };
    tokio::task::spawn_blocking(work).await.map_err(interrupted)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_our_own_disk_is_no_answer_about_the_object() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let outcome = |path: &Path| runtime.block_on(Object::open(path)).err().expect("no object").outcome();
        // Reading a folder fails for everybody, also for root.
        assert!(matches!(outcome(folder.path()), Outcome::Retry { .. }));
        assert!(matches!(outcome(&folder.path().join("absent.dcm")), Outcome::Refused { .. }), "it does not come back");
        let text = folder.path().join("text.dcm");
        std::fs::write(&text, "no DICOM").expect("written");
        assert!(matches!(outcome(&text), Outcome::Refused { .. }));
    }
}
