//! The removal of old series while new instances come; it decides nothing about age.

use std::fs;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::SystemTime;

use super::durable::{files_before, move_away, sync_folder};
use super::{Spool, SpoolError, entries};
use crate::dicom::SeriesKey;

impl Spool {
    /// Removes the instances of a series when all were stored before a time; says whether it did. When one of them was
    /// stored, or sent again, since then, all stay: what is left of a series would be taken for a shorter one. A crash in
    /// the middle leaves all or none.
    ///
    /// # Errors
    /// A folder or file cannot be looked at, moved or removed.
    pub fn remove_series(&self, series: &SeriesKey, before: SystemTime) -> Result<bool, SpoolError> {
        let (grave, is_gone) = self.bury(series, before)?;
        if grave.exists() {
            fs::remove_dir_all(&grave).map_err(|source| SpoolError::io(&grave, "removal", source))?;
        }
        Ok(is_gone)
    }

    /// Moves what is old out of the way, which is quick; nothing gets a name in the meantime.
    fn bury(&self, series: &SeriesKey, before: SystemTime) -> Result<(PathBuf, bool), SpoolError> {
        let _alone = self.removal.write().unwrap_or_else(PoisonError::into_inner);
        let folder = self.series_folder(series);
        let grave = self.root.join("work").join(format!("removed-{}", self.next_number()));
        if !folder.exists() {
            return Ok((grave, true));
        }
        if files_before(&folder, before)?.len() < entries(&folder)?.count() {
            return Ok((grave, false));
        }
        self.folders().remove(series);
        move_away(&folder, &grave)?;
        if let Some(study) = folder.parent() {
            sync_folder(study)?;
            // Fails while other series are there, which is what is wanted.
            let _ = fs::remove_dir(study);
        }
        Ok((grave, true))
    }
}
