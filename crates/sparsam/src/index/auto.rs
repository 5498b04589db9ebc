//! Exact while that is fast, inverted lists beyond.

use super::{Found, Index, Ivf, Linear};
use crate::{Error, Real};

/// Written words up to which every one is compared with a query.
pub const EXACT_WORDS: usize = 16_384;
/// Words that inverted lists take over at each update while they catch up.
const TAKEN_OVER: usize = 4;

/// [`Linear`] up to 16,384 written words, [`Ivf`] beyond.
///
/// From half as many words on, every update also hands a few words over to the inverted lists, so that they hold all
/// of them when they are needed and no step waits for that. They stay in charge until the memory is cleared.
#[derive(Debug)]
pub struct Auto<T> {
    linear: Linear<T>,
    ivf: Ivf<T>,
    /// Position in `linear` of the next word to hand over.
    next: usize,
    in_lists: bool,
}

impl<T: Real> Auto<T> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers; inverted lists will compare a query with
    /// about `checks` words at most.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(memory_size: usize, word_size: usize, checks: usize) -> Result<Self, Error> {
        let linear = Linear::new(memory_size, word_size)?;
        Ok(Self { linear, ivf: Ivf::new(memory_size, word_size, checks)?, next: 0, in_lists: false })
    }

    /// Hands some words over, and lets the inverted lists take charge when they hold all.
    fn hand_over(&mut self, contents: &[T]) {
        for _ in 0..TAKEN_OVER {
            if self.next >= self.linear.len() {
                // Words change places when others are forgotten; what was passed over is found in another round.
                self.next = 0;
            }
            let word = self.linear.words()[self.next];
            self.next += 1;
            if !self.ivf.contains(word) {
                self.ivf.update(word, contents);
            }
        }
        if self.linear.len() > EXACT_WORDS && self.ivf.len() == self.linear.len() {
            self.in_lists = true;
            self.linear.clear(&mut |_| ());
        }
    }
}

impl<T: Real> Index<T> for Auto<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        if self.in_lists {
            return self.ivf.update(word, contents);
        }
        self.linear.update(word, contents);
        if self.ivf.contains(word) {
            self.ivf.update(word, contents);
        }
        if self.linear.len() > EXACT_WORDS / 2 {
            self.hand_over(contents);
        }
    }

    fn update_all(&mut self, words: &[u32], contents: &[T]) {
        // As long as nothing is handed over.
        if !self.in_lists && self.ivf.is_empty() && self.linear.len() + words.len() <= EXACT_WORDS / 2 {
            return self.linear.update_all(words, contents);
        }
        for word in words {
            self.update(*word, contents);
        }
    }

    fn forget(&mut self, word: u32) {
        self.linear.forget(word);
        self.ivf.forget(word);
    }

    fn contains(&self, word: u32) -> bool {
        if self.in_lists { self.ivf.contains(word) } else { self.linear.contains(word) }
    }

    fn len(&self) -> usize {
        if self.in_lists { self.ivf.len() } else { self.linear.len() }
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        if self.in_lists {
            self.ivf.clear(forgotten);
        } else {
            self.ivf.clear(&mut |_| ());
            self.linear.clear(forgotten);
        }
        self.next = 0;
        self.in_lists = false;
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        if self.in_lists {
            self.ivf.search(contents, queries, found);
        } else {
            self.linear.search(contents, queries, found);
        }
    }
}
