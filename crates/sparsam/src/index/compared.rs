//! An index beside the exact one, to tell what it misses.

use super::{Found, Index, Linear};
use crate::Real;

/// How many of the most similar words an index did not find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misses {
    /// Written words among the most similar ones, as an exact search finds them, of all queries together.
    pub wanted: u64,
    /// Those of them that were not found and are more similar than the last word that was.
    pub missed: u64,
}

impl std::iter::Sum for Misses {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self { wanted: a.wanted + b.wanted, missed: a.missed + b.missed })
    }
}

/// By how much more similar a word has to be than the last one found, to be better: two indexes round cosines differently.
const BETTER: f64 = 1e-6;

/// An index that finds what another one finds, and then looks at all words to count what that missed.
///
/// A search takes as long as with [`Linear`], and then some; every word is held once more.
pub struct Compared<T> {
    index: Box<dyn Index<T>>,
    exact: Linear<T>,
    found: Found<T>,
    misses: Misses,
}

impl<T: Real> Compared<T> {
    /// Around an index, beside an exact one that holds the same words.
    pub fn new(index: Box<dyn Index<T>>, exact: Linear<T>) -> Self {
        Self { index, exact, found: Found::default(), misses: Misses::default() }
    }
}

impl<T> super::sealed::Sealed for Compared<T> {}

impl<T: Real> Index<T> for Compared<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        self.index.update(word, contents);
        self.exact.update(word, contents);
    }

    fn update_all(&mut self, words: &[u32], contents: &[T]) {
        self.index.update_all(words, contents);
        self.exact.update_all(words, contents);
    }

    fn forget(&mut self, word: u32) {
        self.index.forget(word);
        self.exact.forget(word);
    }

    fn contains(&self, word: u32) -> bool {
        self.index.contains(word)
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        self.exact.clear(&mut |_| ());
        self.index.clear(forgotten);
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        // It may hold words already, which both are to compete with.
        self.found.clone_from(found);
        self.index.search(contents, queries, found);
        self.exact.search(contents, queries, &mut self.found);
        for query in 0..self.found.queries() {
            let (best, words) = (self.found.words(query), found.words(query));
            // What is as similar as the last of those found took its place by chance.
            let least = found.cosines(query).last().map_or(f64::NEG_INFINITY, |last| last.to_f64() + BETTER);
            let missed = |(word, cosine): &(&u32, &T)| cosine.to_f64() > least && !words.contains(word);
            // Words that were never written are offered by who searches, and are no matter of an index.
            self.misses.wanted += best.iter().filter(|word| self.exact.contains(**word)).count() as u64;
            self.misses.missed += best.iter().zip(self.found.cosines(query)).filter(missed).count() as u64;
        }
    }

    fn misses(&self) -> Misses {
        self.misses
    }
}

#[cfg(test)]
mod tests {
    use super::super::IndexKind;
    use super::super::sample::{Distribution, Sample};
    use super::*;

    /// Misses of an index of this kind over 20,000 words without structure, some of which are overwritten and forgotten.
    fn misses(kind: IndexKind, checks: usize) -> Misses {
        let (words, size) = (20_000, 16);
        let sample = Sample::new(Distribution::Gaussian, words, 1);
        let some = |numbers: std::ops::Range<usize>| {
            let mut some = vec![0.0; numbers.len() * size];
            numbers.zip(some.chunks_exact_mut(size)).for_each(|(number, word)| sample.word(number as u64, word));
            some
        };
        let mut contents = some(0..words);
        let index = kind.build(words, size, checks).unwrap();
        let all: Vec<u32> = (0..words as u32).collect();
        let mut compared = Compared::new(index, Linear::new(words, size).unwrap());
        compared.update_all(&all, &contents);
        contents[..100 * size].copy_from_slice(&some(words..words + 100));
        compared.update_all(&all[..100], &contents);
        compared.forget(100);
        let mut found = Found::default();
        for queries in some(30_000..30_100).chunks(10 * size) {
            found.start(10, 4);
            compared.search(&contents, queries, &mut found);
            assert!((0..10).all(|query| !found.words(query).contains(&100)));
        }
        compared.misses()
    }

    #[test]
    fn what_an_index_misses_is_counted() {
        assert_eq!(misses(IndexKind::Linear, 0), Misses { wanted: 400, missed: 0 });
        let of = |checks| misses(IndexKind::Ivf, checks);
        let (few, many, all) = (of(256), of(4096), of(40_000));
        assert!(few.missed > 2 * many.missed && many.missed > all.missed, "{few:?} {many:?} {all:?}");
        assert_eq!((few.wanted, all.missed), (400, 0));
    }

    #[test]
    fn words_alike_take_each_others_place() {
        // Eight of each of fifty directions, whose lengths differ.
        let word = |number: usize| {
            let angle = (number % 50) as f32 * std::f32::consts::TAU / 50.0;
            [angle.cos(), angle.sin(), 0.3].map(|element| element * (3.0 + (number / 50) as f32))
        };
        let contents: Vec<f32> = (0..400).flat_map(word).collect();
        for kind in [IndexKind::Linear, IndexKind::Ivf] {
            let index = kind.build(400, 3, 4000).unwrap();
            let mut compared = Compared::new(index, Linear::new(400, 3).unwrap());
            compared.update_all(&(0..400).collect::<Vec<_>>(), &contents);
            let mut found = Found::default();
            found.start(50, 4);
            compared.search(&contents, &contents[..150], &mut found);
            assert_eq!(compared.misses(), Misses { wanted: 200, missed: 0 }, "{kind:?}");
        }
    }
}
