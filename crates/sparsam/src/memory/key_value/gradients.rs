//! Gradients of the few entries that were read, among the millions there are.

use crate::Real;
use crate::kernels::vector::add;
use crate::memory::sparse::slots::Slots;

/// Entries with the gradients of their keys and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<T> {
    /// The words of the entries, rising.
    pub words: Vec<u32>,
    /// The gradients of their keys, one after another.
    pub keys: Vec<T>,
    /// The gradients of their values.
    pub values: Vec<T>,
}

/// Sums of gradients, in slots that words get when their first gradient comes.
#[derive(Debug)]
pub(super) struct Accumulated<T> {
    slots: Slots,
    /// The entry whose gradient lies in each slot. It belongs to none in the word any more once that is overwritten.
    entries: Vec<u64>,
    keys: Vec<T>,
    values: Vec<T>,
}

impl<T> Default for Accumulated<T> {
    fn default() -> Self {
        Self { slots: Slots::new(), entries: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

impl<T: Real> Accumulated<T> {
    /// Adds to the gradient of an entry, which stands in this word.
    pub fn add(&mut self, word: u32, entry: u64, key: &[T], value: &[T]) {
        let slot = self.slots.get(word).unwrap_or_else(|| {
            self.entries.push(entry);
            self.keys.resize(self.keys.len() + key.len(), T::ZERO);
            self.values.resize(self.values.len() + value.len(), T::ZERO);
            self.slots.get_or_add(word)
        });
        let own_key = &mut self.keys[slot * key.len()..][..key.len()];
        let own_value = &mut self.values[slot * value.len()..][..value.len()];
        if self.entries[slot] == entry {
            add(own_key, key);
            add(own_value, value);
        } else {
            self.entries[slot] = entry;
            own_key.copy_from_slice(key);
            own_value.copy_from_slice(value);
        }
    }

    /// The gradients of those entries that still stand in their words; `entries` has the number of the entry in each word.
    pub fn collect(&self, entries: &[u64], key_size: usize, value_size: usize) -> Gradients<T> {
        let slots = 0..self.slots.len();
        let mut found: Vec<(u32, usize)> = slots
            .map(|slot| (self.slots.word(slot), slot))
            .filter(|(word, slot)| entries[*word as usize] == self.entries[*slot])
            .collect();
        found.sort_unstable();
        let rows = |numbers: &[T], size: usize| {
            found.iter().flat_map(|(_, slot)| &numbers[slot * size..][..size]).copied().collect()
        };
        Gradients {
            words: found.iter().map(|(word, _)| *word).collect(),
            keys: rows(&self.keys, key_size),
            values: rows(&self.values, value_size),
        }
    }

    pub fn clear(&mut self) {
        self.slots.truncate(0);
        self.entries.clear();
        self.keys.clear();
        self.values.clear();
    }
}
