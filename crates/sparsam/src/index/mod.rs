//! Indexes find the words most similar to a query by cosine, without looking at words that were never written.
//!
//! An index knows nothing of memories: it is updated with every word that changes, and searched for the nearest ones.

mod auto;
mod compared;
#[cfg(feature = "hnsw")]
mod diskann;
mod exact;
mod forest;
#[cfg(feature = "hnsw")]
mod graph;
#[cfg(feature = "hnsw")]
mod hnsw;
mod ivf;
mod kd_forest;
mod linear;
mod lsh;
pub(crate) mod sample;

pub(crate) use compared::Compared;
pub use compared::Misses;
pub use forest::Forest;

use serde::{Deserialize, Serialize};

use crate::kernels::both::Both;
use crate::option::word_option;
use crate::{Error, Real};

/// ε in cos(u, v) = u·v / (√(u·u + ε) √(v·v + ε)).
pub const EPSILON: f64 = 1e-6;

/// Finds the most similar of the words it holds. Sealed: it can be called, but not implemented, outside of this crate.
///
/// ```
/// use sparsam::index::{Found, IndexKind};
///
/// # fn main() -> Result<(), sparsam::Error> {
/// // Three words of two elements.
/// let contents = [1.0f32, 0.0, 0.6, 0.8, 0.0, 1.0];
/// let mut index = IndexKind::Linear.build::<f32>(3, 2, 0)?;
/// for word in 0..3 {
///     index.update(word, &contents);
/// }
/// let mut found = Found::default();
/// found.start(1, 2);
/// index.search(&contents, &[0.1, 2.0], &mut found);
/// assert_eq!(found.words(0), [2, 1]);
/// # Ok(())
/// # }
/// ```
pub trait Index<T: Real>: sealed::Sealed + Send {
    /// Holds `word` with its new content. `contents` is the whole memory, word after word.
    fn update(&mut self, word: u32, contents: &[T]);

    /// [`update`](Self::update) of several words.
    fn update_all(&mut self, words: &[u32], contents: &[T]) {
        for word in words {
            self.update(*word, contents);
        }
    }

    /// No longer holds `word`. Does nothing if the index does not hold it.
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

    /// Offers to `found`, which may hold others already, the words most similar to each query, with their exact cosines:
    /// at least `min(found.limit(), self.len())` words for each query. `queries` holds one query after another, each as long
    /// as a word; `contents` is the whole memory, word after word.
    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>);

    // For memories, which may have put an exact index beside this one.
    #[doc(hidden)]
    fn misses(&self) -> Misses {
        Misses::default()
    }
}

/// Methods may be added to [`Index`], since nobody else implements it: the registry says what does.
mod sealed {
    pub trait Sealed {}
}

/// Makes an index of a kind over so many words of so many numbers, to be compared with so many checks.
type Maker<T> = fn(IndexKind, usize, usize, usize) -> Result<Box<dyn Index<T>>, Error>;

static MAKERS: Both<Maker<f32>, Maker<f64>> = Both { single: IndexKind::make, double: IndexKind::make };

/// The registry of indexes: for each its type and the module above that it stands in, its name in configurations, the share
/// of the best words that it finds at least while words are overwritten (which a test demands), and how it is made. The first
/// is the default.
macro_rules! indexes {
    (
        |$memory_size:ident, $word_size:ident, $checks:ident|
        $(#[doc = $first_doc:literal])*
        $first:ident in $first_module:ident = $first_name:literal, finds $first_recall:literal, made by $first_new:expr;
        $(
            $(#[doc = $doc:literal])*
            $(#[cfg($feature:meta)])?
            $variant:ident in $module:ident = $name:literal, finds $recall:literal, made by $new:expr;
        )*
    ) => {
        pub use $first_module::$first;
        impl<T> sealed::Sealed for $first<T> {}
        $(
            $(#[cfg($feature)])?
            pub use $module::$variant;
            $(#[cfg($feature)])?
            impl<T> sealed::Sealed for $variant<T> {}
        )*

        /// The choice of an index.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum IndexKind {
            $(#[doc = $first_doc])*
            #[default]
            #[serde(rename = $first_name)]
            $first,
            $(
                $(#[doc = $doc])*
                $(#[cfg($feature)])?
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl IndexKind {
            /// Every choice.
            pub const ALL: &[Self] = &[Self::$first, $($(#[cfg($feature)])? Self::$variant),*];

            /// The names of all choices.
            pub const NAMES: &[&str] = &[$first_name, $($(#[cfg($feature)])? $name),*];

            /// The name, as in a configuration.
            pub fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_name,
                    $($(#[cfg($feature)])? Self::$variant => $name,)*
                }
            }

            /// Makes an empty index over words 0 to `memory_size` - 1 of `word_size` numbers. An approximate one compares
            /// a query with about `checks` words: more find better words and take longer. 0 leaves the number to the
            /// index.
            ///
            /// # Errors
            /// [`Error::MemoryTooLarge`] if there is no address space for it.
            pub fn build<T: Real>(
                self,
                memory_size: usize,
                word_size: usize,
                checks: usize,
            ) -> Result<Box<dyn Index<T>>, Error> {
                MAKERS.of::<Maker<T>>()(self, memory_size, word_size, checks)
            }

            fn make<T: Real>(
                self,
                $memory_size: usize,
                $word_size: usize,
                checks: usize,
            ) -> Result<Box<dyn Index<T>>, Error> {
                let $checks = |own| if checks == 0 { own } else { checks };
                Ok(match self {
                    Self::$first => Box::new($first_new?),
                    $($(#[cfg($feature)])? Self::$variant => Box::new($new?),)*
                })
            }

            #[cfg(test)]
            fn recall(self) -> f64 {
                match self {
                    Self::$first => $first_recall,
                    $($(#[cfg($feature)])? Self::$variant => $recall,)*
                }
            }
        }
    };
}

indexes! {
    |memory_size, word_size, checks|
    /// `linear` while few words are written, `ivf` beyond: see [`Auto`].
    Auto in auto = "auto", finds 0.95, made by Auto::new(memory_size, word_size, checks(ivf::CHECKS));
    /// Exact: compares a query with every written word. See [`Linear`].
    Linear in linear = "linear", finds 1.0, made by Linear::new(memory_size, word_size);
    /// Inverted lists that follow their words: see [`Ivf`].
    Ivf in ivf = "ivf", finds 0.95, made by Ivf::new(memory_size, word_size, checks(ivf::CHECKS));
    /// Randomised k-d trees, as the paper has them: see [`KdForest`].
    KdForest in kd_forest = "kd-forest", finds 0.3, made by kd_forest::new(memory_size, word_size, checks(kd_forest::CHECKS));
    /// Locality-sensitive hashing by hyperplanes: see [`Lsh`].
    Lsh in lsh = "lsh", finds 0.9, made by lsh::new(memory_size, word_size, checks(lsh::CHECKS));
    /// A graph, to compare with: see [`Hnsw`].
    #[cfg(feature = "hnsw")]
    Hnsw in hnsw = "hnsw", finds 0.8, made by hnsw::new(memory_size, word_size, checks(hnsw::CHECKS));
    /// A graph that is mended where words change, to compare with: see [`DiskAnn`].
    #[cfg(feature = "hnsw")]
    DiskAnn in diskann = "diskann", finds 0.9, made by diskann::new(memory_size, word_size, checks(diskann::CHECKS));
}

impl IndexKind {
    /// The index of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

word_option!(IndexKind);

/// The most similar words found so far for each of some queries, most similar first, ties to the lower word number.
#[derive(Clone, Debug, Default)]
pub struct Found<T> {
    limit: usize,
    words: Vec<u32>,
    cosines: Vec<T>,
    counts: Vec<usize>,
    compared: usize,
}

impl<T: Real> Found<T> {
    /// Empties the lists, to keep up to `limit` words for each of `queries` queries.
    pub fn start(&mut self, queries: usize, limit: usize) {
        self.limit = limit;
        self.words.clear();
        self.words.resize(queries * limit, u32::MAX);
        self.cosines.clear();
        self.cosines.resize(queries * limit, T::NEG_INFINITY);
        self.counts.clear();
        self.counts.resize(queries, 0);
        self.compared = 0;
    }

    /// Vectors that the queries were compared with since [`start`](Self::start), all queries together: words, codes of
    /// words, and means of lists. What a search costs, but for the order in which they lie; `hnsw` and `diskann` do not count.
    pub fn compared(&self) -> usize {
        self.compared
    }

    /// Queries that there are lists for.
    fn queries(&self) -> usize {
        self.counts.len()
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

    /// A word with a smaller cosine than this would not be kept; -∞ while fewer than the limit are kept.
    #[inline(always)]
    pub fn threshold(&self, query: usize) -> T {
        self.cosines[(query + 1) * self.limit - 1]
    }

    /// Keeps `word` if it is among the most similar to the query, and says whether it is. A cosine that is not a
    /// number counts as -∞. No word may be offered twice for the same query.
    // The compiler alone does not inline it everywhere; the call costs 3 % of a step of SAM.
    #[inline(always)]
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::sample::{Distribution, Sample};
    use super::*;

    /// An index beside the words that it should hold.
    struct Checked {
        index: Box<dyn Index<f64>>,
        size: usize,
        contents: Vec<f64>,
        held: BTreeSet<u32>,
    }

    impl Checked {
        fn new(kind: IndexKind, memory_size: usize, size: usize) -> Self {
            let index = kind.build(memory_size, size, 0).unwrap();
            Self { index, size, contents: vec![0.0; memory_size * size], held: BTreeSet::new() }
        }

        fn memory_size(&self) -> usize {
            self.contents.len() / self.size
        }

        fn content(&self, word: u32) -> &[f64] {
            &self.contents[word as usize * self.size..][..self.size]
        }

        fn update(&mut self, word: u32, mut content: impl FnMut(usize) -> f64) {
            for number in 0..self.size {
                self.contents[word as usize * self.size + number] = content(number);
            }
            self.index.update(word, &self.contents);
            self.held.insert(word);
        }

        fn forget(&mut self, word: u32) {
            self.index.forget(word);
            self.held.remove(&word);
        }

        fn clear(&mut self) {
            let mut forgotten = Vec::new();
            self.index.clear(&mut |word| forgotten.push(word));
            forgotten.sort_unstable();
            assert_eq!(forgotten, self.held.iter().copied().collect::<Vec<_>>());
            self.held.clear();
        }

        fn cosine(&self, query: &[f64], word: u32) -> f64 {
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let content = self.content(word);
            let norm = |v: &[f64]| (product(v, v) + EPSILON).sqrt();
            product(query, content) / (norm(query) * norm(content))
        }

        /// Searches, checks all that holds for every index, and returns the share of the cosines of the truly best words
        /// that were found or equalled.
        fn search(&mut self, queries: &[f64], limit: usize) -> f64 {
            assert_eq!(self.index.len(), self.held.len());
            let mut found = Found::default();
            let count = queries.len() / self.size;
            found.start(count, limit);
            self.index.search(&self.contents, queries, &mut found);
            let (mut right, mut possible) = (0, 0);
            for (number, query) in queries.chunks_exact(self.size).enumerate() {
                let words = found.words(number);
                assert_eq!(words.len(), limit.min(self.held.len()));
                for (place, (word, cosine)) in words.iter().zip(found.cosines(number)).enumerate() {
                    assert!(self.held.contains(word), "word {word} is not held");
                    assert!(!words[..place].contains(word), "word {word} was found twice");
                    assert!((self.cosine(query, *word) - cosine).abs() < 1e-9, "the cosine is exact");
                }
                let mut best: Vec<f64> = self.held.iter().map(|word| self.cosine(query, *word)).collect();
                best.sort_by(|a, b| b.total_cmp(a));
                best.truncate(limit);
                possible += best.len();
                right += best.iter().zip(found.cosines(number)).filter(|(a, b)| (**a - **b).abs() < 1e-9).count();
            }
            if possible == 0 { 1.0 } else { right as f64 / possible as f64 }
        }
    }

    fn queries(random: &mut Xoshiro256PlusPlus, size: usize) -> Vec<f64> {
        (0..5 * size).map(|_| (random.next_u64() % 2001) as f64 / 1000.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        // Enough words that lists and leaves are split, groups of lists among them, and few enough that all are
        // given up again; equal, parallel and zero words occur.
        #[test]
        fn every_index_holds_what_it_was_told_and_nothing_else(seed: u64, size in 1usize..9, limit in 1usize..6) {
            for kind in IndexKind::ALL {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
                let mut checked = Checked::new(*kind, 3000, size);
                for phase in 0..6 {
                    // Mostly writing, mostly forgetting, or both alike.
                    let writes = [90, 10, 50][phase % 3];
                    for _ in 0..4000 {
                        let word = (random.next_u64() % checked.memory_size() as u64) as u32;
                        if random.next_u64() % 100 < writes {
                            let direction = random.next_u64();
                            let coarse = random.next_u64() % 4 == 0;
                            let mut numbers = Xoshiro256PlusPlus::seed_from_u64(direction);
                            checked.update(word, |_| {
                                let number = (numbers.next_u64() % 2001) as f64 / 1000.0 - 1.0;
                                if coarse { number.round() } else { number }
                            });
                        } else {
                            checked.forget(word);
                        }
                        prop_assert_eq!(checked.index.contains(word), checked.held.contains(&word));
                    }
                    checked.search(&queries(&mut random, size), limit);
                    if phase == 4 {
                        checked.clear();
                        checked.search(&queries(&mut random, size), limit);
                    }
                }
                let held: Vec<u32> = checked.held.iter().copied().collect();
                for word in held {
                    checked.forget(word);
                }
                checked.search(&queries(&mut random, size), limit);
            }
        }
    }

    #[test]
    fn every_index_keeps_its_recall_while_words_are_overwritten() {
        const SIZE: usize = 32;
        const WORDS: u64 = 40_000;
        let sample = Sample::new(Distribution::Clustered, WORDS as usize, 1);
        let mut content = [0f32; SIZE];
        for kind in IndexKind::ALL {
            let mut checked = Checked::new(*kind, WORDS as usize, SIZE);
            for round in 0..4 {
                for word in 0..WORDS {
                    // In an order of their own, and each round other words.
                    let word = word * 7919 % WORDS;
                    sample.word(round * WORDS + word, &mut content);
                    checked.update(word as u32, |number| f64::from(content[number]));
                }
                let mut queries = Vec::new();
                for query in 0..50 {
                    let word = query * 7877 % WORDS;
                    sample.word(round * WORDS + word, &mut content);
                    sample.near(query, &mut content);
                    queries.extend(content.iter().map(|number| f64::from(*number)));
                }
                let reached = checked.search(&queries, 4);
                println!("{kind:?}, round {round}: {reached:.3}");
                assert!(reached >= kind.recall(), "{kind:?} found {reached} of the best words in round {round}");
            }
        }
    }

    /// Trained networks do not ask for words near stored ones: with a quarter of these checks they forgot what they knew.
    #[test]
    fn ivf_finds_words_far_from_all_queries_as_well() {
        const SIZE: usize = 32;
        const WORDS: usize = 4096;
        let sample = Sample::new(Distribution::Gaussian, WORDS, 5);
        let mut checked = Checked::new(IndexKind::Ivf, WORDS, SIZE);
        let mut content = vec![0f32; SIZE];
        for word in 0..WORDS {
            sample.word(word as u64, &mut content);
            checked.update(word as u32, |number| content[number].into());
        }
        let mut queries = Vec::new();
        for query in 0..64 {
            sample.word((WORDS + query) as u64, &mut content);
            queries.extend(content.iter().map(|number| f64::from(*number)));
        }
        let reached = checked.search(&queries, 4);
        assert!(reached >= 0.7, "{reached}");
    }

    /// A network that does not write a word that it erased leaves zeros, and lists of them are not what anyone looks for.
    #[test]
    fn words_of_zeros_do_not_hide_others_from_ivf() {
        const SIZE: usize = 32;
        const WORDS: usize = 4096;
        let sample = Sample::new(Distribution::Gaussian, WORDS, 11);
        let mut content = vec![0f32; SIZE];
        let mut queries = Vec::new();
        for query in 0..64 {
            sample.word((WORDS + query) as u64, &mut content);
            queries.extend(content.iter().map(|number| f64::from(*number)));
        }
        let mut reached = |zeros: usize| {
            let mut checked = Checked::new(IndexKind::Ivf, WORDS * (1 + zeros), SIZE);
            for word in 0..WORDS * (1 + zeros) {
                sample.word(word as u64, &mut content);
                let of_zeros = word % (1 + zeros) > 0;
                checked.update(word as u32, |number| if of_zeros { 0.0 } else { content[number].into() });
            }
            checked.search(&queries, 4)
        };
        let (without, with) = (reached(0), reached(3));
        assert!(with >= without - 0.05, "{with} with words of zeros, {without} without");
    }

    #[test]
    fn an_index_that_was_cleared_is_as_good_as_new() {
        const SIZE: usize = 8;
        const WORDS: usize = 20_000;
        let sample = Sample::new(Distribution::Gaussian, WORDS, 3);
        let mut contents = vec![0f32; WORDS * SIZE];
        for (word, content) in contents.chunks_exact_mut(SIZE).enumerate() {
            sample.word(word as u64, content);
        }
        for kind in IndexKind::ALL {
            let search = |index: &mut dyn Index<f32>, words: std::ops::Range<u32>| {
                let mut found = Found::default();
                for word in words {
                    index.update(word, &contents);
                    if word % 997 == 0 {
                        index.forget(word / 2);
                    }
                }
                found.start(40, 4);
                index.search(&contents, &contents[..40 * SIZE], &mut found);
                (0..40).map(|query| found.words(query).to_vec()).collect::<Vec<_>>()
            };
            let mut index = kind.build(WORDS, SIZE, 0).unwrap();
            search(&mut *index, 1000..18_000);
            index.clear(&mut |_| ());
            let again = search(&mut *index, 0..17_000);
            assert_eq!(again, search(&mut *kind.build(WORDS, SIZE, 0).unwrap(), 0..17_000), "{kind:?}");
        }
    }

    #[test]
    fn words_that_are_not_numbers_do_not_come_first() {
        for kind in IndexKind::ALL {
            let mut checked = Checked::new(*kind, 10, 4);
            checked.update(3, |_| f64::NAN);
            checked.update(4, |number| number as f64);
            checked.update(5, |_| f64::INFINITY);
            checked.update(6, |number| -(number as f64));
            let mut found = Found::default();
            found.start(2, 3);
            checked.index.search(&checked.contents, &[0.0, 1.0, 2.0, 3.0, f64::NAN, 0.0, 0.0, 0.0], &mut found);
            assert_eq!(found.words(0)[0], 4, "{kind:?}");
            assert_eq!((found.words(0).len(), found.words(1).len()), (3, 3), "{kind:?}");
        }
    }

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
