//! An index beside the exact one, to tell what it misses.

use super::{Found, Index, Linear};
use crate::{Error, Real};

/// How many of the most similar words an index did not find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misses {
    /// Words that an exact search finds, for each query as many as were asked for, of all searches together.
    pub wanted: u64,
    /// Those of them that are more similar than some word that was found in their place.
    pub missed: u64,
}

impl std::iter::Sum for Misses {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self { wanted: a.wanted + b.wanted, missed: a.missed + b.missed })
    }
}

/// An index that finds what another one finds, and then looks at all words to count what that missed.
///
/// A search takes as long as with [`Linear`], and then some.
pub struct Compared<T> {
    index: Box<dyn Index<T>>,
    exact: Linear<T>,
    found: Found<T>,
    misses: Misses,
}

impl<T: Real> Compared<T> {
    /// Around an index over words 0 to `memory_size` - 1 of `word_size` numbers, which holds `words` of the memory `contents`.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for another index.
    pub fn new(
        index: Box<dyn Index<T>>,
        (memory_size, word_size): (usize, usize),
        words: &[u32],
        contents: &[T],
    ) -> Result<Self, Error> {
        let mut exact = Linear::new(memory_size, word_size)?;
        exact.update_all(words, contents);
        Ok(Self { index, exact, found: Found::default(), misses: Misses::default() })
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
            let last = found.cosines(query).last().copied().unwrap_or(T::NEG_INFINITY);
            let better = best.iter().zip(self.found.cosines(query)).filter(|(_, cosine)| **cosine > last);
            self.misses.wanted += best.len() as u64;
            self.misses.missed += better.filter(|(word, _)| !words.contains(word)).count() as u64;
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
        let mut compared = Compared::new(index, (words, size), &[], &contents).unwrap();
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
}
