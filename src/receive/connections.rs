//! Counts connections and associations against their limits; it reads and writes none of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::dimse::{Negotiated, Rejection};

/// Connections without an A-ASSOCIATE-RQ. They do not count as associations: whoever opens a connection and says
/// nothing must not take the place of those who speak. When there are too many, the oldest goes.
#[derive(Debug)]
pub(super) struct Pending {
    max: usize,
    waiting: Mutex<VecDeque<(u64, Arc<Notify>)>>,
}

/// The place of one connection among those that have said nothing.
pub(super) struct Ticket<'a> {
    pending: &'a Pending,
    id: u64,
    evicted: Arc<Notify>,
}

impl Pending {
    /// Room for so many.
    pub(super) fn of(max: usize) -> Pending {
        Pending { max, waiting: Mutex::default() }
    }

    /// Takes a place, if need be that of the oldest.
    pub(super) fn enter(&self, id: u64) -> Ticket<'_> {
        self.enter_again(id, Arc::new(Notify::new()))
    }

    /// The same for one that had a place before, and that waits for its eviction already.
    pub(super) fn enter_again(&self, id: u64, evicted: Arc<Notify>) -> Ticket<'_> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= self.max
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.notify_one();
        }
        waiting.push_back((id, evicted.clone()));
        Ticket { pending: self, id, evicted }
    }
}

impl Ticket<'_> {
    /// Returns when the place is needed for another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Tells of it, also while the place is given up for a time.
    pub(super) fn eviction(&self) -> Arc<Notify> {
        self.evicted.clone()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.pending.waiting).retain(|(id, _)| *id != self.id);
    }
}

/// Open associations, by caller: the peer, not the title, which several may share.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<String, usize>>);

/// The place of one association; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    caller: String,
}

impl Slots {
    /// A place for one more association, within the limits of all and of each, or of this one where it has its own.
    ///
    /// # Errors
    /// Which of the two has no place left.
    pub(super) fn take(self: &Arc<Slots>, wanted: &Negotiated, max: usize, each_max: usize) -> Result<Slot, Rejection> {
        self.enter(&wanted.caller, max, wanted.associations_max.unwrap_or(each_max))
    }

    /// A place for this caller within the limits of all and its own.
    ///
    /// # Errors
    /// Which of the two has no place left.
    pub(super) fn enter(self: &Arc<Slots>, caller: &str, max: usize, own_max: usize) -> Result<Slot, Rejection> {
        let mut open = lock(&self.0);
        let all: usize = open.values().sum();
        let own = open.get(caller).copied().unwrap_or(0);
        if own >= own_max {
            return Err(Rejection::PeerLimit);
        }
        if all >= max {
            return Err(Rejection::LocalLimit);
        }
        open.insert(caller.to_owned(), own + 1);
        Ok(Slot { slots: self.clone(), caller: caller.to_owned() })
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
        let first = slots.enter("a", 3, 2).expect("free");
        let _second = slots.enter("a", 3, 2).expect("free");
        assert_eq!(slots.enter("a", 3, 2).err(), Some(Rejection::PeerLimit));
        let _third = slots.enter("b", 3, 2).expect("free");
        assert_eq!(slots.enter("b", 3, 2).err(), Some(Rejection::LocalLimit));
        drop(first);
        assert!(slots.enter("b", 3, 2).is_ok());
    }

    #[tokio::test]
    async fn evicts_the_oldest_of_the_silent() {
        let pending = Pending::of(3);
        let first = pending.enter(0);
        let others: Vec<_> = (1..=3).map(|id| pending.enter(id)).collect();
        first.evicted().await;
        drop(first);
        assert_eq!(lock(&pending.waiting).len(), others.len());
        drop(others);
        assert!(lock(&pending.waiting).is_empty());
    }
}
