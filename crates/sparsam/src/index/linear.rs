//! The exact index: a query is compared with every written word.

use super::exact::word_of;
use super::{EPSILON, Found, Index};
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::system::pages::Pages;
use crate::{Error, Real};

/// Words that lie side by side, number by number, so that one vector instruction advances all of them.
const BLOCK: usize = LANES;
/// Queries that share a pass over the words.
const QUERIES: usize = 4;
/// Blocks whose cosines are computed before the best of them are offered.
const RUN: usize = 64;

/// Compares a query with every written word (the paper's "linear" index). Exact, and the reference for the others. A
/// search costs W multiplications for each written word; an update writes W numbers.
///
/// Written words are kept densely, in blocks of 16, in an order of their own; blocks outlive
/// [`clear`](Index::clear), so that memory stays at the largest number of words ever held.
#[derive(Debug)]
pub struct Linear<T> {
    word_size: usize,
    /// Block after block, in each number after number, in each word after word.
    blocks: Vec<T>,
    /// 1 / √(v·v + ε) of the word at each position; NaN where there is no word, so that its cosines are NaN as well and pass no
    /// comparison.
    inverse_norms: Vec<T>,
    /// The word at each position.
    words: Vec<u32>,
    /// One more than each word's position; 0 for words that are not held.
    positions: Pages<u32>,
    /// Scratch: some queries, each divided by its norm, number by number.
    queries: Vec<T>,
    /// Scratch: the cosines of a run of blocks, block after block, in each query after query.
    cosines: Vec<[T; BLOCK]>,
}

impl<T: Real> Linear<T> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(memory_size: usize, word_size: usize) -> Result<Self, Error> {
        Ok(Self {
            word_size,
            blocks: Vec::new(),
            inverse_norms: Vec::new(),
            words: Vec::new(),
            positions: Pages::new(memory_size)?,
            queries: Vec::new(),
            cosines: Vec::new(),
        })
    }

    /// The words held, in the order in which a search meets them.
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    /// The position of a word, a new one if it is not held.
    #[inline(always)]
    fn position(&mut self, word: u32) -> usize {
        let position = self.positions[word as usize] as usize;
        if position > 0 {
            return position - 1;
        }
        self.words.push(word);
        let count = self.words.len();
        self.positions[word as usize] = count as u32;
        if self.inverse_norms.len() < count {
            self.inverse_norms.resize(count.next_multiple_of(BLOCK), T::from_f64(f64::NAN));
            self.blocks.resize(count.next_multiple_of(BLOCK) * self.word_size, T::ZERO);
        }
        count - 1
    }

    fn element(&self, position: usize) -> usize {
        position / BLOCK * BLOCK * self.word_size + position % BLOCK
    }
}

impl<T: Real> Index<T> for Linear<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        enter(self, &[word], contents);
    }

    fn update_all(&mut self, words: &[u32], contents: &[T]) {
        enter(self, words, contents);
    }

    fn forget(&mut self, word: u32) {
        let position = self.positions[word as usize] as usize;
        if position == 0 {
            return;
        }
        let (position, last) = (position - 1, self.words.len() - 1);
        self.positions[word as usize] = 0;
        self.words.swap_remove(position);
        if position != last {
            self.positions[self.words[position] as usize] = position as u32 + 1;
            self.inverse_norms[position] = self.inverse_norms[last];
            let (to, from) = (self.element(position), self.element(last));
            for number in 0..self.word_size {
                self.blocks[to + number * BLOCK] = self.blocks[from + number * BLOCK];
            }
        }
        self.inverse_norms[last] = T::from_f64(f64::NAN);
    }

    fn contains(&self, word: u32) -> bool {
        self.positions[word as usize] != 0
    }

    fn len(&self) -> usize {
        self.words.len()
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        for word in &self.words {
            self.positions[*word as usize] = 0;
            forgotten(*word);
        }
        self.inverse_norms[..self.words.len()].fill(T::from_f64(f64::NAN));
        self.words.clear();
    }

    fn search(&mut self, _contents: &[T], queries: &[T], found: &mut Found<T>) {
        found.compared += queries.len() / self.word_size * self.words.len();
        let mut first = 0;
        for group in queries.chunks(QUERIES * self.word_size) {
            match group.len() / self.word_size {
                1 => scan::<T, 1>(self, group, first, found),
                2 => scan::<T, 2>(self, group, first, found),
                3 => scan::<T, 3>(self, group, first, found),
                _ => scan::<T, QUERIES>(self, group, first, found),
            }
            first += QUERIES;
        }
        // Cosines that are not numbers were passed over; their words count as the least similar ones.
        for query in 0..queries.len() / self.word_size {
            if found.words(query).len() < found.limit().min(self.words.len()) {
                for word in &self.words {
                    if !found.words(query).contains(word) {
                        found.offer(query, *word, T::NEG_INFINITY);
                    }
                }
            }
        }
    }
}

/// 1 / √(v·v + ε).
#[inline(always)]
fn inverse_norm<T: Real, I: InstructionSet>(simd: I, vector: &[T]) -> T {
    T::ONE / (dot(simd, vector, vector) + T::from_f64(EPSILON)).sqrt()
}

vector_fn! {
    /// Holds some words with their new contents.
    fn enter<T, simd: I>(index: &mut Linear<T>, words: &[u32], contents: &[T]) {
        let size = index.word_size;
        for word in words {
            let content = word_of(contents, *word, size);
            let position = index.position(*word);
            index.inverse_norms[position] = inverse_norm(simd, content);
            let start = index.element(position);
            for (place, value) in index.blocks[start..].iter_mut().step_by(BLOCK).zip(content) {
                *place = *value;
            }
        }
    }
}

vector_fn! {
    /// Offers the words most similar to each of `Q` queries.
    fn scan<T, simd: I, const Q: usize>(index: &mut Linear<T>, queries: &[T], first_query: usize, found: &mut Found<T>) {
        let size = index.word_size;
        let scaled = &mut index.queries;
        scaled.resize(Q * size, T::ZERO);
        for (q, query) in queries.chunks_exact(size).enumerate() {
            let scale = inverse_norm(simd, query);
            for (number, x) in query.iter().enumerate() {
                scaled[number * Q + q] = *x * scale;
            }
        }
        let (scaled, _) = index.queries.as_chunks::<Q>();
        let (norms, _) = index.inverse_norms.as_chunks::<BLOCK>();
        let blocks = index.words.len().div_ceil(BLOCK);
        index.cosines.resize(RUN * Q, [T::ZERO; BLOCK]);
        let runs = index.blocks[..blocks * BLOCK * size].chunks(RUN * BLOCK * size);
        for ((run, norms), words) in runs.zip(norms.chunks(RUN)).zip(index.words.chunks(RUN * BLOCK)) {
            let mut largest = [simd.splat(T::NEG_INFINITY); Q];
            let blocks = run.chunks_exact(BLOCK * size).zip(norms);
            for ((block, norms), kept) in blocks.zip(index.cosines.chunks_exact_mut(Q)) {
                let cosines = cosines_of_block::<T, I, Q>(simd, block, norms, scaled);
                for q in 0..Q {
                    cosines[q].store(&mut kept[q]);
                }
                // NaN leaves the largest as it is.
                largest = std::array::from_fn(|q| cosines[q].larger(largest[q]));
            }
            let count = words.len().div_ceil(BLOCK);
            for q in 0..Q {
                let query = first_query + q;
                let threshold = found.threshold(query).max(largest[q].kth_largest(found.limit()));
                // No branch for each block: the processor could not predict it.
                let (mut places, mut length) = ([(0u16, 0u16); RUN], 0);
                for (block, kept) in index.cosines.chunks_exact(Q).take(count).enumerate() {
                    let bits = simd.load(&kept[q]).at_least(threshold);
                    places[length] = (block as u16, bits);
                    length += usize::from(bits != 0);
                }
                for (block, bits) in &places[..length] {
                    let (block, mut bits) = (usize::from(*block), *bits);
                    while bits != 0 {
                        let lane = bits.trailing_zeros() as usize;
                        bits &= bits - 1;
                        found.offer(query, words[block * BLOCK + lane], index.cosines[block * Q + q][lane]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn cosines_of_block<T: Real, I: InstructionSet, const Q: usize>(
    simd: I,
    block: &[T],
    norms: &[T; BLOCK],
    queries: &[[T; Q]],
) -> [I::Lanes<T>; Q] {
    let (block, _) = block.as_chunks::<BLOCK>();
    assert_eq!(queries.len(), block.len());
    // Two sums a query, so that no addition waits for the one before.
    let zero = simd.splat(T::ZERO);
    let (mut even, mut odd) = ([zero; Q], [zero; Q]);
    let ((pairs, last), (query_pairs, last_of_queries)) = (block.as_chunks::<2>(), queries.as_chunks::<2>());
    for ([first, second], [of_first, of_second]) in pairs.iter().zip(query_pairs) {
        let (first, second) = (simd.load(first), simd.load(second));
        // By value: arrays changed in place would not all be kept in registers.
        even = std::array::from_fn(|q| simd.splat(of_first[q]).multiply_add(first, even[q]));
        odd = std::array::from_fn(|q| simd.splat(of_second[q]).multiply_add(second, odd[q]));
    }
    for (line, of_line) in last.iter().zip(last_of_queries) {
        for q in 0..Q {
            even[q] = simd.splat(of_line[q]).multiply_add(simd.load(line), even[q]);
        }
    }
    let norms = simd.load(norms);
    std::array::from_fn(|q| even[q].add(odd[q]).multiply(norms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_tie_to_the_lower_number_wherever_they_stand() {
        let mut index = Linear::<f32>::new(100, 3).unwrap();
        for word in (0..100).rev() {
            index.update(word, &[0.1, 0.7, -0.3].repeat(100));
        }
        let mut found = Found::default();
        found.start(1, 4);
        index.search(&[], &[0.3, 0.3, 0.3], &mut found);
        assert_eq!(found.words(0), [0, 1, 2, 3]);
    }

    #[test]
    fn words_that_were_forgotten_and_places_not_in_use_are_never_found() {
        // Over more than a run of blocks, the last of them in part.
        let (size, held) = (2, RUN * BLOCK + 5);
        let contents: Vec<f32> = (0..2000).flat_map(|i| [1.0, i as f32 / 100.0]).collect();
        let mut index = Linear::new(2000, size).unwrap();
        index.update_all(&(0..1500).collect::<Vec<_>>(), &contents);
        for word in held as u32..1500 {
            index.forget(word);
        }
        let best = |index: &mut Linear<f32>, limit| {
            let mut found = Found::default();
            found.start(1, limit);
            index.search(&contents, &[0.0, 1.0], &mut found);
            found.words(0).to_vec()
        };
        for limit in [1, 4, 16, 17, held] {
            assert_eq!(best(&mut index, limit), (0..held as u32).rev().take(limit).collect::<Vec<_>>());
        }
        index.clear(&mut |_| ());
        index.update(7, &contents);
        assert_eq!(best(&mut index, 4), [7]);
    }
}
