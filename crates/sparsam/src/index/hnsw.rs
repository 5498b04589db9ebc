//! A graph of near words, from another library: what a user might pick instead.

use usearch::{IndexOptions, MetricKind, ScalarKind};

use super::exact::{direction, offer, word_of};
use super::{Found, Index};
use crate::system::pages::Pages;
use crate::{Error, Real};

/// Words that a search keeps in view (ef), unless chosen otherwise.
pub(super) const CHECKS: usize = 64;

/// A hierarchical navigable small world graph (Malkov and Yashunin 2018), by the library `usearch`, with 16 neighbours a
/// word and 128 words in view when one is added. Only to compare with: a change of a word costs a search of the graph,
/// and what pointed to its old content still does, so that recall falls as words are overwritten.
pub struct Hnsw<T> {
    size: usize,
    graph: usearch::Index,
    words: Vec<u32>,
    /// One more than each word's place in `words`; 0 for those that are not held.
    places: Pages<u32>,
    direction: Vec<f32>,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Real> Hnsw<T> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers, which keeps `checks` words in view as it
    /// searches.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is not enough memory for it.
    pub fn new(memory_size: usize, word_size: usize, checks: usize) -> Result<Self, Error> {
        let options = IndexOptions {
            dimensions: word_size,
            metric: MetricKind::IP,
            quantization: ScalarKind::F32,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: checks,
            multi: false,
        };
        let bytes = memory_size as u128 * word_size as u128 * size_of::<f32>() as u128;
        Ok(Self {
            size: word_size,
            graph: usearch::Index::new(&options).map_err(|_| Error::MemoryTooLarge { bytes })?,
            words: Vec::new(),
            places: Pages::new(memory_size)?,
            direction: vec![0.0; word_size],
            numbers: std::marker::PhantomData,
        })
    }
}

impl<T: Real> Index<T> for Hnsw<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        direction(word_of(contents, word, self.size), &mut self.direction);
        if self.contains(word) {
            // What the graph refuses is not found; that is for the recall to show.
            let _ = self.graph.remove(u64::from(word));
        } else {
            self.words.push(word);
            self.places[word as usize] = self.words.len() as u32;
        }
        if self.graph.size() + 1 >= self.graph.capacity() {
            let _ = self.graph.reserve((2 * self.graph.capacity()).max(1024));
        }
        let _ = self.graph.add(u64::from(word), &self.direction);
    }

    fn forget(&mut self, word: u32) {
        let place = std::mem::take(&mut self.places[word as usize]) as usize;
        if place > 0 {
            self.words.swap_remove(place - 1);
            if let Some(moved) = self.words.get(place - 1) {
                self.places[*moved as usize] = place as u32;
            }
            let _ = self.graph.remove(u64::from(word));
        }
    }

    fn contains(&self, word: u32) -> bool {
        self.places[word as usize] != 0
    }

    fn len(&self) -> usize {
        self.words.len()
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        for word in self.words.drain(..) {
            self.places[word as usize] = 0;
            forgotten(word);
        }
        let _ = self.graph.reset();
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        for (number, query) in queries.chunks_exact(self.size).enumerate() {
            direction(query, &mut self.direction);
            let matches = self.graph.search(&self.direction, found.limit()).map_or(Vec::new(), |found| found.keys);
            let held = |word: &u32| self.places.get(*word as usize).is_some_and(|place| *place != 0);
            let words: Vec<u32> = matches.iter().map(|key| *key as u32).filter(held).collect();
            offer(contents, query, number, &mut words.iter().copied(), found);
            if found.words(number).len() < found.limit().min(self.words.len()) {
                let mut others = self.words.iter().copied().filter(|word| !words.contains(word));
                offer(contents, query, number, &mut others, found);
            }
        }
    }
}
