//! Counts connections and associations against their limits; it reads and writes none of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::dicom::AeTitle;
use crate::limits::PENDING_CONNECTIONS_MAX;

/// Connections without an A-ASSOCIATE-RQ. They do not count as associations: whoever opens a connection and says
/// nothing must not take the place of those who speak. When there are too many, the oldest goes.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<PendingState>);

#[derive(Debug, Default)]
struct PendingState {
    waiting: VecDeque<(u64, Arc<Notify>)>,
}

/// The place of one connection among those that have said nothing.
pub(super) struct Ticket<'a> {
    pending: &'a Pending,
    id: u64,
    evicted: Arc<Notify>,
}

impl Pending {
    /// Takes a place, if need be that of the oldest.
    pub(super) fn enter(&self, id: u64) -> Ticket<'_> {
        let evicted = Arc::new(Notify::new());
        let mut state = lock(&self.0);
        if state.waiting.len() >= PENDING_CONNECTIONS_MAX
            && let Some((_, oldest)) = state.waiting.pop_front()
        {
            oldest.notify_one();
        }
        state.waiting.push_back((id, evicted.clone()));
        Ticket { pending: self, id, evicted }
    }
}

impl Ticket<'_> {
    /// Returns when the place is needed for another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.pending.0).waiting.retain(|(id, _)| *id != self.id);
    }
}

/// Open associations, by calling AE title.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<AeTitle, usize>>);

/// The place of one association; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    caller: AeTitle,
}

impl Slots {
    /// A place for one more association of `caller`, within both limits.
    pub(super) fn take(self: &Arc<Slots>, caller: &AeTitle, max: usize, per_caller_max: usize) -> Option<Slot> {
        let mut open = lock(&self.0);
        let all: usize = open.values().sum();
        let own = open.get(caller).copied().unwrap_or(0);
        if all >= max || own >= per_caller_max {
            return None;
        }
        open.insert(caller.clone(), own + 1);
        Some(Slot { slots: self.clone(), caller: caller.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = lock(&self.slots.0);
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_both_limits_and_frees_places() {
        let slots = Arc::new(Slots::default());
        let title = |text: &str| text.parse::<AeTitle>().expect("a legal title");
        let (a, b) = (title("A"), title("B"));
        let first = slots.take(&a, 3, 2).expect("free");
        let _second = slots.take(&a, 3, 2).expect("free");
        assert!(slots.take(&a, 3, 2).is_none(), "the limit of one caller");
        let _third = slots.take(&b, 3, 2).expect("free");
        assert!(slots.take(&b, 3, 2).is_none(), "the limit of all");
        drop(first);
        assert!(slots.take(&b, 3, 2).is_some());
    }

    #[tokio::test]
    async fn evicts_the_oldest_of_the_silent() {
        let pending = Pending::default();
        let first = pending.enter(0);
        let others: Vec<_> = (1..=PENDING_CONNECTIONS_MAX as u64).map(|id| pending.enter(id)).collect();
        first.evicted().await;
        drop(first);
        assert_eq!(lock(&pending.0).waiting.len(), others.len());
        drop(others);
        assert!(lock(&pending.0).waiting.is_empty());
    }
}
