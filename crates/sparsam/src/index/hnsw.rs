//! The graph index of the library `usearch`.

use usearch::{IndexOptions, MetricKind, ScalarKind};

use super::graph::{Graph, GraphIndex};
use crate::{Error, Real};

/// Words that a search keeps in view (ef), unless chosen otherwise.
pub(super) const CHECKS: usize = 64;

/// A hierarchical navigable small world graph (Malkov and Yashunin 2018), by the library `usearch`, with 16 neighbours a
/// word and 128 words in view when one is added. Only to compare with: a change of a word costs a search of the graph,
/// and what pointed to its old content still does, so that recall falls as words are overwritten.
pub type Hnsw<T> = GraphIndex<T, usearch::Index>;

/// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers, which keeps `checks` words in view as it searches.
///
/// # Errors
/// [`Error::MemoryTooLarge`] if there is not enough memory for it.
pub(super) fn new<T: Real>(memory_size: usize, word_size: usize, checks: usize) -> Result<Hnsw<T>, Error> {
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
    let graph = usearch::Index::new(&options).map_err(|_| Error::MemoryTooLarge { bytes })?;
    GraphIndex::over(graph, memory_size, word_size)
}

impl Graph for usearch::Index {
    fn add(&mut self, word: u32, direction: &[f32]) {
        if self.size() + 1 >= self.capacity() {
            let _ = self.reserve((2 * self.capacity()).max(1024));
        }
        let _ = usearch::Index::add(self, u64::from(word), direction);
    }

    fn remove(&mut self, word: u32) {
        let _ = usearch::Index::remove(self, u64::from(word));
    }

    fn clear(&mut self, _words: &[u32]) {
        let _ = self.reset();
    }

    fn search(&mut self, direction: &[f32], limit: usize) -> Vec<u32> {
        let found = usearch::Index::search(self, direction, limit);
        found.map_or(Vec::new(), |found| found.keys.into_iter().map(|key| key as u32).collect())
    }
}
