//! Networks that stay loaded between jobs, within a budget of memory; it runs none.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Devices, Loaded, OnnxError};
use crate::infer::Network;
use crate::pipeline::Model;

/// A loaded network that is shared: one caller runs it at a time.
pub type Shared = Arc<Mutex<Loaded>>;

/// Loaded networks, kept warm by the digest of their file, the least recently used out first.
pub struct Networks {
    threads: usize,
    budget_bytes: u64,
    devices: Devices,
    /// The least recently used first.
    loaded: Mutex<Vec<(Key, Shared)>>,
}

/// The digest of the file, and which network of which recipe it is: names of tensors belong to the recipe.
type Key = (String, String, usize, Devices);

impl Networks {
    /// No network yet; each will run on `threads` CPU threads. Together they keep about `budget_bytes`; those that one job
    /// needs at once are kept whatever they take.
    pub fn new(threads: usize, budget_bytes: u64, devices: Devices) -> Networks {
        Networks { threads: threads.max(1), budget_bytes, devices, loaded: Mutex::new(Vec::new()) }
    }

    /// The networks of a model, in the order of its recipe, loaded from its folder unless they are warm. `cpu_instead`
    /// lets the processor take the place of a device that is not there.
    ///
    /// # Errors
    /// [`OnnxError`]: no library, not a network, tensors that are not those of the definition, no device.
    pub fn get(&self, model: &Model, folder: &Path, cpu_instead: bool) -> Result<Vec<Shared>, OnnxError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = Devices { cpu_instead: self.devices.cpu_instead || cpu_instead, ..self.devices };
        let mut found = Vec::new();
        for (index, network) in model.recipe().networks().iter().enumerate() {
            let digest = network.sha256.clone().unwrap_or_default();
            let key = (digest, model.id().to_owned(), index, devices);
            let shared = match loaded.iter().position(|(known, _)| *known == key) {
                Some(place) => loaded.remove(place).1,
                None => {
                    self.make_room(&mut loaded, &folder.join(&network.file));
                    let opened = Loaded::open(&folder.join(&network.file), model, index, self.threads, devices)?;
                    Arc::new(Mutex::new(opened))
                }
            };
            loaded.push((key, Arc::clone(&shared)));
            found.push(shared);
        }
        Ok(found)
    }

    /// Lets go of the least recently used until a file fits. Those in use elsewhere stay.
    fn make_room(&self, loaded: &mut Vec<(Key, Shared)>, file: &Path) {
        let needed = std::fs::metadata(file).map_or(0, |data| data.len());
        let held = |loaded: &[(Key, Shared)]| -> u64 { loaded.iter().map(|(_, network)| bytes_of(network)).sum() };
        while held(loaded) + needed > self.budget_bytes {
            let Some(place) = loaded.iter().position(|(_, network)| Arc::strong_count(network) == 1) else { return };
            loaded.remove(place);
        }
    }

    /// How many are warm.
    pub fn count(&self) -> usize {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn bytes_of(network: &Shared) -> u64 {
    network.lock().unwrap_or_else(PoisonError::into_inner).file_bytes()
}

/// Where a network runs, in the words of the configuration.
pub fn device_of(network: &Shared) -> String {
    network.lock().unwrap_or_else(PoisonError::into_inner).device().to_string()
}

/// Locks networks for one run and hands them over, in their order.
pub fn with_networks<T>(networks: &[Shared], work: impl FnOnce(&mut [&mut dyn Network]) -> T) -> T {
    let mut held: Vec<MutexGuard<'_, Loaded>> =
        networks.iter().map(|network| network.lock().unwrap_or_else(PoisonError::into_inner)).collect();
    let mut list: Vec<&mut dyn Network> = Vec::with_capacity(held.len());
    for network in &mut held {
        list.push(&mut **network);
    }
    work(&mut list)
}
