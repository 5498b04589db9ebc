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
    /// 1 / √(v·v + ε) of the word at each position.
    inverse_norms: Vec<T>,
    /// The word at each position.
    words: Vec<u32>,
    /// One more than each word's position; 0 for words that are not held.
    positions: Pages<u32>,
    /// Scratch: the queries, each divided by its norm.
    queries: Vec<T>,
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
        })
    }

    /// The words held, in the order in which a search meets them.
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    fn element(&self, position: usize) -> usize {
        position / BLOCK * BLOCK * self.word_size + position % BLOCK
    }
}

impl<T: Real> Index<T> for Linear<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        let content = word_of(contents, word, self.word_size);
        let mut position = self.positions[word as usize] as usize;
        if position == 0 {
            self.words.push(word);
            position = self.words.len();
            self.positions[word as usize] = position as u32;
            if self.inverse_norms.len() < position {
                self.inverse_norms.resize(position.next_multiple_of(BLOCK), T::ZERO);
                self.blocks.resize(position.next_multiple_of(BLOCK) * self.word_size, T::ZERO);
            }
        }
        let position = position - 1;
        self.inverse_norms[position] = inverse_norm(content);
        let start = self.element(position);
        for (number, value) in content.iter().enumerate() {
            self.blocks[start + number * BLOCK] = *value;
        }
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
        self.words.clear();
    }

    fn search(&mut self, _contents: &[T], queries: &[T], found: &mut Found<T>) {
        self.queries.clear();
        for query in queries.chunks_exact(self.word_size) {
            let scale = inverse_norm(query);
            self.queries.extend(query.iter().map(|x| *x * scale));
        }
        let mut first = 0;
        for group in self.queries.chunks(QUERIES * self.word_size) {
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

vector_fn! {
    /// 1 / √(v·v + ε).
    fn inverse_norm<T, simd: I>(vector: &[T]) -> T {
        T::ONE / (dot(simd, vector, vector) + T::from_f64(EPSILON)).sqrt()
    }
}

vector_fn! {
    /// Offers the words most similar to each of `Q` queries of norm one.
    fn scan<T, simd: I, const Q: usize>(index: &Linear<T>, queries: &[T], first_query: usize, found: &mut Found<T>) {
        let size = index.word_size;
        let mut rows: [&[T]; Q] = [&[]; Q];
        for (q, row) in rows.iter_mut().enumerate() {
            *row = &queries[q * size..(q + 1) * size];
        }
        let (norms, _) = index.inverse_norms.as_chunks::<BLOCK>();
        let blocks = index.blocks.chunks_exact(BLOCK * size).zip(norms).zip(index.words.chunks(BLOCK));
        for ((block, norms), words) in blocks {
            let cosines = cosines_of_block::<T, I, Q>(simd, block, norms, rows);
            for q in 0..Q {
                let query = first_query + q;
                let mut bits = cosines[q].at_least(found.threshold(query));
                if bits == 0 {
                    continue;
                }
                let mut values = [T::ZERO; BLOCK];
                cosines[q].store(&mut values);
                while bits != 0 {
                    let lane = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    // The last block may be only partly in use.
                    if let Some(word) = words.get(lane) {
                        found.offer(query, *word, values[lane]);
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
    queries: [&[T]; Q],
) -> [I::Lanes<T>; Q] {
    let (block, _) = block.as_chunks::<BLOCK>();
    for query in queries {
        assert_eq!(query.len(), block.len());
    }
    // Two sums a query, so that no addition waits for the one before.
    let zero = simd.splat(T::ZERO);
    let (mut even, mut odd) = ([zero; Q], [zero; Q]);
    let (pairs, last) = block.as_chunks::<2>();
    for (number, [first, second]) in pairs.iter().enumerate() {
        let (first, second) = (simd.load(first), simd.load(second));
        // By value: arrays changed in place would not all be kept in registers.
        even = std::array::from_fn(|q| simd.splat(queries[q][2 * number]).multiply_add(first, even[q]));
        odd = std::array::from_fn(|q| simd.splat(queries[q][2 * number + 1]).multiply_add(second, odd[q]));
    }
    for line in last {
        for q in 0..Q {
            let x = simd.splat(queries[q][block.len() - 1]);
            even[q] = x.multiply_add(simd.load(line), even[q]);
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
}
