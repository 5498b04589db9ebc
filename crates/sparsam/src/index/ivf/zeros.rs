//! Words of zeros, which point nowhere.

use crate::Error;
use crate::system::pages::Pages;

/// A set of words.
///
/// A network that erases a word and does not write it leaves zeros. In a list they would say nothing of where the others
/// point: its mean would seem to be far from them, and queries would look into many lists in vain. Their cosine to every
/// query is 0, so that a few of them stand for all.
#[derive(Debug)]
pub(super) struct Zeros {
    words: Vec<u32>,
    /// For each word its place in `words`, plus one.
    places: Pages<u32>,
}

impl Zeros {
    /// No words, of numbers below `memory_size`.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(memory_size: usize) -> Result<Self, Error> {
        Ok(Self { words: Vec::new(), places: Pages::dense(memory_size)? })
    }

    /// The words, in no order.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether a word is among them.
    pub fn contains(&self, word: u32) -> bool {
        self.places[word as usize] > 0
    }

    /// Adds a word, which may be among them.
    pub fn insert(&mut self, word: u32) {
        if !self.contains(word) {
            self.words.push(word);
            self.places[word as usize] = self.words.len() as u32;
        }
    }

    /// Removes a word: whether it was among them.
    pub fn remove(&mut self, word: u32) -> bool {
        let Some(place) = (self.places[word as usize] as usize).checked_sub(1) else {
            return false;
        };
        self.places[word as usize] = 0;
        self.words.swap_remove(place);
        if let Some(moved) = self.words.get(place) {
            self.places[*moved as usize] = place as u32 + 1;
        }
        true
    }

    /// Removes all, naming each to `removed`.
    pub fn clear(&mut self, removed: &mut dyn FnMut(u32)) {
        for word in self.words.drain(..) {
            self.places[word as usize] = 0;
            removed(word);
        }
    }
}
