//! The graph index of the library `diskann`.

use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use diskann::graph::config::{Builder, MaxDegree};
use diskann::graph::search::Knn;
use diskann::graph::{DiskANNIndex, InplaceDeleteMethod};
use diskann::neighbor::Neighbor;
use diskann_inmem::num::{Capacity, MaxDegree as MaxNeighbours};
use diskann_inmem::repr::{Full, full};
use diskann_inmem::{Context, Provider, Strategy};
use diskann_utils::views::rowmajor;
use diskann_vector::distance::Metric;

use super::graph::{Graph, GraphIndex};
use crate::{Error, Real};

/// Words that a search keeps in view (L), unless chosen otherwise.
pub(super) const CHECKS: usize = 64;
/// Neighbours of a word at most, once pruned; and while edges to it are added, as the library has it by default (1.3 times).
const NEIGHBOURS: usize = 32;
const NEIGHBOURS_BEFORE_PRUNING: usize = 41;
/// Words in view when one is added, as for `hnsw`.
const ADDING: usize = 128;
/// When a word is removed, its in-neighbours are looked for among the words that a search for it visits, with so many in view, as
/// Xu et al. 2025 do; each of them is joined to some of the nearest words found. These numbers are ours.
const REMOVING: usize = 128;
/// Nearest words of which a word that is removed may leave neighbours.
const NEAREST: usize = 50;
/// Of these so many become neighbours of an in-neighbour.
const JOINED: usize = 3;
/// Places beyond those of the memory: a word that was removed leaves its own only some time later.
const SPARE: usize = 4096;

/// A graph of near words that is mended where a word is removed (IP-DiskANN, Xu et al. 2025, "In-Place Updates of a Graph Index
/// for Streaming Approximate Nearest Neighbor Search"), by the library `diskann`, with 32 neighbours a word and 128 words in view when one
/// is added or removed. Only to compare with: every change of a word costs two searches of the graph.
pub type DiskAnn<T> = GraphIndex<T, DiskAnnGraph>;

/// The library's index, and what it is searched with.
pub struct DiskAnnGraph {
    index: DiskANNIndex<Provider<Full<f32>, u32>>,
    search: Knn,
}

/// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers, which keeps `checks` words in view as it searches.
///
/// # Errors
/// [`Error::MemoryTooLarge`] if there is not enough memory for it.
pub(super) fn new<T: Real>(memory_size: usize, word_size: usize, checks: usize) -> Result<DiskAnn<T>, Error> {
    let graph = DiskAnnGraph::new(memory_size, word_size, checks).ok_or(Error::MemoryTooLarge {
        bytes: memory_size as u128 * (word_size + NEIGHBOURS_BEFORE_PRUNING) as u128 * size_of::<f32>() as u128,
    })?;
    GraphIndex::over(graph, memory_size, word_size)
}

impl DiskAnnGraph {
    fn new(memory_size: usize, word_size: usize, checks: usize) -> Option<Self> {
        // Of directions the Euclidean distance puts words in the same order as the cosine. Searches start at zero, which is as
        // far from one as from the other.
        let start = rowmajor::Owned::row_vector(vec![0.0f32; word_size].into());
        let words = full::Config::new(
            Capacity::new(memory_size.checked_add(SPARE)?),
            MaxNeighbours::new(NEIGHBOURS_BEFORE_PRUNING),
            Metric::L2,
            start,
        );
        let graph =
            Builder::new(NEIGHBOURS, MaxDegree::new(NEIGHBOURS_BEFORE_PRUNING), ADDING, Metric::L2.into()).build();
        Some(Self {
            index: DiskANNIndex::new(graph.ok()?, Provider::new(words.ok()?).ok()?, None),
            search: Knn::new_default(checks).ok()?,
        })
    }
}

/// What a future of the library gives: with everything in memory none ever waits.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Graph for DiskAnnGraph {
    fn add(&mut self, word: u32, direction: &[f32]) {
        let _ = now(self.index.insert(&Strategy, &Context, &word, direction));
    }

    fn remove(&mut self, word: u32) {
        let method = InplaceDeleteMethod::VisitedAndTopK { k_value: NEAREST, l_value: REMOVING };
        let _ = now(self.index.inplace_delete(Strategy, &Context, &word, JOINED, method));
    }

    fn clear(&mut self, words: &[u32]) {
        for word in words {
            self.remove(*word);
        }
    }

    fn search(&mut self, direction: &[f32], limit: usize) -> Vec<u32> {
        let mut found: Vec<Neighbor<u32>> = Vec::new();
        let _ = now(self.index.search(self.search, &Strategy, &Context, direction, &mut found));
        found.iter().take(limit).map(|neighbor| *neighbor.id()).collect()
    }
}
