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

/// What a network is kept under: the same file may be read by several recipes, and a recipe may change while it is warm.
#[derive(PartialEq, Eq)]
struct Key {
    sha256: String,
    /// Which network of its recipe: one file may stand there twice, and a run locks each of its networks.
    index: usize,
    /// The names that the recipe gives its tensors; `None` for the only or first one.
    input: Option<String>,
    outputs: Vec<Option<String>>,
    devices: Devices,
}

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
            let recipe = model.recipe();
            let key = Key {
                sha256: network.sha256.clone().unwrap_or_default(),
                index,
                input: recipe.tensor_of(index).input.clone(),
                outputs: recipe.outputs_of(index).into_iter().map(|name| name.map(str::to_owned)).collect(),
                devices,
            };
            let shared = match loaded.iter().position(|(known, _)| *known == key) {
                Some(place) => {
                    let (key, shared) = loaded.remove(place);
                    let checked = held(&shared).check(&network.file, recipe, index);
                    loaded.push((key, Arc::clone(&shared)));
                    checked?;
                    found.push(shared);
                    continue;
                }
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
        let all = |loaded: &[(Key, Shared)]| -> u64 { loaded.iter().map(|(_, network)| bytes_of(network)).sum() };
        while all(loaded) + needed > self.budget_bytes {
            let Some(place) = loaded.iter().position(|(_, network)| Arc::strong_count(network) == 1) else { return };
            loaded.remove(place);
        }
    }

    /// How many are warm.
    pub fn count(&self) -> usize {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn held(network: &Shared) -> MutexGuard<'_, Loaded> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes_of(network: &Shared) -> u64 {
    held(network).file_bytes()
}

/// Where a network runs, in the words of the configuration, and why not where it was to run.
pub fn device_of(network: &Shared) -> String {
    let network = held(network);
    match network.instead() {
        None => network.device().to_string(),
        Some(reason) => format!("{}, {reason}", network.device()),
    }
}

/// Locks networks for one run and hands them over, in their order.
pub fn with_networks<T>(networks: &[Shared], work: impl FnOnce(&mut [&mut dyn Network]) -> T) -> T {
    let mut held: Vec<MutexGuard<'_, Loaded>> = networks.iter().map(held).collect();
    let mut list: Vec<&mut dyn Network> = Vec::with_capacity(held.len());
    for network in &mut held {
        list.push(&mut **network);
    }
    work(&mut list)
}
