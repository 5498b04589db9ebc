//! Indexes find the words most similar to a query by cosine, without looking at words that were never written.
//!
//! An index knows nothing of memories: it is told of every word that changed, and asked for the nearest ones.

mod ivf;
mod linear;
pub mod sample;

pub use ivf::Ivf;
pub use linear::Linear;

use serde::{Deserialize, Serialize};

use crate::{Error, Real};

/// ε in cos(u, v) = u·v / (√(u·u + ε) √(v·v + ε)).
pub const EPSILON: f64 = 1e-6;

/// Finds similar words among those it was told of.
pub trait Index<T: Real>: Send {
    /// Takes note that `word` now holds `content`.
    fn update(&mut self, word: u32, content: &[T]);

    /// Takes note that `word` is as if never written. Does nothing if the index does not hold it.
    fn forget(&mut self, word: u32);

    /// Whether the index holds `word`.
    fn contains(&self, word: u32) -> bool;

    /// The number of words held.
    fn len(&self) -> usize;

    /// Whether no word is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every word, naming each to `forgotten`, at the cost of the words held.
    fn clear(&mut self, forgotten: &mut dyn FnMut(u32));

    /// Offers to `found`, which may hold others already, the words most similar to each query, with their exact cosines.
    /// At least `min(found.limit(), self.len())` words are found for each query then. `queries` holds one query of the length of a word after another; `contents` is the
    /// whole memory, word after word.
    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>);
}

/// The choice of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexKind {
    /// Exact: compares a query with every written word.
    #[default]
    Linear,
    /// Inverted lists that follow their words.
    Ivf,
}

impl IndexKind {
    /// Every index, the exact one first.
    pub const ALL: &[Self] = &[Self::Linear, Self::Ivf];

    /// The name, as in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Ivf => "ivf",
        }
    }

    /// Makes an empty index over words 0 to `memory_size` - 1 of `word_size` numbers.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn build<T: Real>(self, memory_size: usize, word_size: usize) -> Result<Box<dyn Index<T>>, Error> {
        self.build_with_checks(memory_size, word_size, None)
    }

    /// As [`build`](Self::build). An approximate index compares a query with about `checks` words, as many as it finds
    /// right if none are given; more find more of the most similar words, and take longer. An exact one compares it
    /// with all.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with_checks<T: Real>(
        self,
        memory_size: usize,
        word_size: usize,
        checks: Option<usize>,
    ) -> Result<Box<dyn Index<T>>, Error> {
        Ok(match self {
            Self::Linear => Box::new(Linear::new(memory_size, word_size)?),
            Self::Ivf => Box::new(Ivf::new(memory_size, word_size, checks.unwrap_or(ivf::CHECKS))?),
        })
    }
}

/// The most similar words found so far for each of some queries, most similar first, ties to the lower word number.
#[derive(Clone, Debug, Default)]
pub struct Found<T> {
    limit: usize,
    words: Vec<u32>,
    cosines: Vec<T>,
    counts: Vec<usize>,
}

impl<T: Real> Found<T> {
    /// Empties the list and makes room for `limit` words for each of `queries` queries.
    pub fn start(&mut self, queries: usize, limit: usize) {
        self.limit = limit;
        self.words.clear();
        self.words.resize(queries * limit, u32::MAX);
        self.cosines.clear();
        self.cosines.resize(queries * limit, T::NEG_INFINITY);
        self.counts.clear();
        self.counts.resize(queries, 0);
    }

    /// The largest number of words kept for a query.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The words found for a query.
    pub fn words(&self, query: usize) -> &[u32] {
        let start = query * self.limit;
        &self.words[start..start + self.counts[query]]
    }

    /// Their cosines.
    pub fn cosines(&self, query: usize) -> &[T] {
        let start = query * self.limit;
        &self.cosines[start..start + self.counts[query]]
    }

    /// A word with a smaller cosine than this would not be kept; -∞ while there is room.
    #[inline(always)]
    pub fn threshold(&self, query: usize) -> T {
        self.cosines[(query + 1) * self.limit - 1]
    }

    /// Keeps `word` if it is among the most similar to the query, and says whether it is. A cosine that is not a
    /// number counts as -∞. No word may be offered twice for the same query.
    #[inline]
    pub fn offer(&mut self, query: usize, word: u32, cosine: T) -> bool {
        let cosine = cosine.max(T::NEG_INFINITY);
        let start = query * self.limit;
        let count = self.counts[query];
        let words = &mut self.words[start..start + self.limit];
        let cosines = &mut self.cosines[start..start + self.limit];
        let better = |other: usize, cosines: &[T], words: &[u32]| {
            cosine > cosines[other] || (cosine == cosines[other] && word < words[other])
        };
        let moved = count.min(self.limit - 1);
        if count == self.limit && !better(moved, cosines, words) {
            return false;
        }
        let mut place = moved;
        while place > 0 && better(place - 1, cosines, words) {
            words[place] = words[place - 1];
            cosines[place] = cosines[place - 1];
            place -= 1;
        }
        words[place] = word;
        cosines[place] = cosine;
        self.counts[query] = moved + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn found_keeps_the_best_in_order(
            offers in prop::collection::vec(0u8..6, 0..30), limit in 1usize..6,
        ) {
            let mut found = Found::<f64>::default();
            found.start(2, limit);
            let mut all: Vec<(f64, u32)> = Vec::new();
            for (i, cosine) in offers.iter().enumerate() {
                // Word numbers in a scrambled order, so that ties come from both sides.
                let (word, cosine) = ((i as u32 * 7) % 31, f64::from(*cosine));
                found.offer(1, word, cosine);
                all.push((cosine, word));
            }
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(limit);
            prop_assert_eq!(found.words(1), all.iter().map(|x| x.1).collect::<Vec<_>>());
            prop_assert_eq!(found.cosines(1), all.iter().map(|x| x.0).collect::<Vec<_>>());
            prop_assert!(found.words(0).is_empty());
        }
    }

    #[test]
    fn names_are_those_of_configurations() {
        for kind in IndexKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn not_a_number_is_kept_only_while_there_is_room() {
        let mut found = Found::<f32>::default();
        found.start(1, 2);
        assert!(found.offer(0, 5, f32::NAN));
        assert!(found.offer(0, 6, -0.5));
        assert!(found.offer(0, 7, -0.9));
        assert_eq!(found.words(0), [6, 7]);
        assert!(!found.offer(0, 8, f32::NAN));
    }
}
