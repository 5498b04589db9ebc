//! Graphs of near words, from other libraries: what a user might pick instead.

use super::exact::{direction, offer, word_of};
use super::{Found, Index};
use crate::system::pages::Pages;
use crate::{Error, Real};

/// What a library has to do: hold directions under the numbers of their words. What it refuses is not found; that is for the
/// recall to show.
pub trait Graph: Send {
    /// Adds a word that is not held.
    fn add(&mut self, word: u32, direction: &[f32]);

    /// Removes a word that is held.
    fn remove(&mut self, word: u32);

    /// Removes `words`, which are all that are held.
    fn clear(&mut self, words: &[u32]);

    /// Up to `limit` of the words with the most similar directions.
    fn search(&mut self, direction: &[f32], limit: usize) -> Vec<u32>;
}

/// A graph index of another library, only to compare with: a word that changes is removed and added again.
pub struct GraphIndex<T, G> {
    size: usize,
    graph: G,
    words: Vec<u32>,
    /// One more than each word's place in `words`; 0 for those that are not held.
    places: Pages<u32>,
    direction: Vec<f32>,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Real, G: Graph> GraphIndex<T, G> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers by an empty graph.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub(super) fn over(graph: G, memory_size: usize, word_size: usize) -> Result<Self, Error> {
        Ok(Self {
            size: word_size,
            graph,
            words: Vec::new(),
            places: Pages::new(memory_size)?,
            direction: vec![0.0; word_size],
            numbers: std::marker::PhantomData,
        })
    }
}

impl<T: Real, G: Graph> Index<T> for GraphIndex<T, G>
where
    Self: super::sealed::Sealed,
{
    fn update(&mut self, word: u32, contents: &[T]) {
        direction(word_of(contents, word, self.size), &mut self.direction);
        if self.contains(word) {
            self.graph.remove(word);
        } else {
            self.words.push(word);
            self.places[word as usize] = self.words.len() as u32;
        }
        self.graph.add(word, &self.direction);
    }

    fn forget(&mut self, word: u32) {
        let place = std::mem::take(&mut self.places[word as usize]) as usize;
        if place > 0 {
            self.words.swap_remove(place - 1);
            if let Some(moved) = self.words.get(place - 1) {
                self.places[*moved as usize] = place as u32;
            }
            self.graph.remove(word);
        }
    }

    fn contains(&self, word: u32) -> bool {
        self.places[word as usize] != 0
    }

    fn len(&self) -> usize {
        self.words.len()
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        self.graph.clear(&self.words);
        for word in self.words.drain(..) {
            self.places[word as usize] = 0;
            forgotten(word);
        }
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        for (number, query) in queries.chunks_exact(self.size).enumerate() {
            direction(query, &mut self.direction);
            let held = |word: &u32| self.places.get(*word as usize).is_some_and(|place| *place != 0);
            let words: Vec<u32> = self.graph.search(&self.direction, found.limit()).into_iter().filter(held).collect();
            offer(contents, query, number, &mut words.iter().copied(), found);
            if found.words(number).len() < found.limit().min(self.words.len()) {
                let mut others = self.words.iter().copied().filter(|word| !words.contains(word));
                offer(contents, query, number, &mut others, found);
            }
        }
    }
}
