//! The order in which the words of a memory were last accessed.

use super::slots::Slots;
use crate::Real;

/// The place of the next word among a word's neighbours, and that of the previous one.
const NEXT: usize = 0;
const PREVIOUS: usize = 1;
/// In the journal, in place of a former neighbour: the word was the least recent one.
const WAS_OLDEST: u32 = u32::MAX;
/// Words whose neighbours lie side by side. Few: in a large memory hardly any two words are accessed of a block.
const BLOCK: u32 = 4;

/// The largest number of words in a ring.
pub const LARGEST: usize = (1 << 31) - 2;

/// All words of a memory in the order of their last access, least recent first (Rae et al. 2016, section 3.2;
/// ties and the order at the start as in [`Sam`](crate::memory::sam::Sam)'s documentation).
///
/// A circular doubly linked list. Links are stored relative to the order 0, 1, …, N-1, and only those of words that
/// were ever touched, in small blocks: a page for each would be a page for nearly every access in a large memory. So a ring
/// of any length is made, and made anew, at the cost of the words it touched.
#[derive(Debug)]
pub struct Ring {
    words: u32,
    /// The blocks that hold something.
    slots: Slots,
    /// The word accessed next after each word of a block, and the one before it, side by side: an access needs both.
    neighbours: Vec<[u32; 2]>,
    oldest: u32,
    journal: Vec<Move>,
}

/// A word that went to the recent end: the word, and its former neighbour on the older side.
#[derive(Clone, Copy, Debug)]
struct Move {
    word: u32,
    from: u32,
}

/// A word, and its place among the neighbours.
#[derive(Clone, Copy, Debug)]
struct Located {
    word: u32,
    place: usize,
}

/// The place of a word, whose block has this slot, among the neighbours.
#[inline(always)]
fn place_in(slot: usize, word: u32) -> usize {
    slot * BLOCK as usize + (word % BLOCK) as usize
}

impl Ring {
    /// A ring of `words` words in the order 0, 1, ….
    pub fn new(words: u32) -> Self {
        assert!(words > 0 && words as usize <= LARGEST);
        Self { words, slots: Slots::new(), neighbours: Vec::new(), oldest: 0, journal: Vec::new() }
    }

    /// The place of a word among the neighbours, if its block holds something.
    #[inline(always)]
    fn place(&self, word: u32) -> Option<usize> {
        self.slots.get(word / BLOCK).map(|slot| place_in(slot, word))
    }

    /// The same; the block is made if there is none.
    #[inline(always)]
    fn place_mut(&mut self, word: u32) -> usize {
        let slot = self.slots.get_or_add(word / BLOCK);
        if slot * BLOCK as usize == self.neighbours.len() {
            self.neighbours.resize(self.neighbours.len() + BLOCK as usize, [0; 2]);
        }
        place_in(slot, word)
    }

    /// The links of a word, relative to the first order.
    #[inline(always)]
    fn links(&self, word: u32) -> [u32; 2] {
        self.place(word).map_or([0; 2], |place| self.neighbours[place])
    }

    /// The word accessed next after `word`.
    #[inline(always)]
    fn next(&self, word: u32) -> u32 {
        self.links(word)[NEXT] ^ self.identity_next(word)
    }

    #[inline(always)]
    fn previous(&self, word: u32) -> u32 {
        self.links(word)[PREVIOUS] ^ self.identity_previous(word)
    }

    #[inline(always)]
    fn identity_next(&self, word: u32) -> u32 {
        if word + 1 == self.words { 0 } else { word + 1 }
    }

    #[inline(always)]
    fn identity_previous(&self, word: u32) -> u32 {
        if word == 0 { self.words - 1 } else { word - 1 }
    }

    /// A word with its place, which need not be looked for again.
    #[inline(always)]
    fn locate(&mut self, word: u32) -> Located {
        Located { word, place: self.place_mut(word) }
    }

    #[inline(always)]
    fn next_of(&self, of: Located) -> u32 {
        self.neighbours[of.place][NEXT] ^ self.identity_next(of.word)
    }

    #[inline(always)]
    fn previous_of(&self, of: Located) -> u32 {
        self.neighbours[of.place][PREVIOUS] ^ self.identity_previous(of.word)
    }

    #[inline(always)]
    fn link(&mut self, older: Located, newer: Located) {
        self.neighbours[older.place][NEXT] = newer.word ^ self.identity_next(older.word);
        self.neighbours[newer.place][PREVIOUS] = older.word ^ self.identity_previous(newer.word);
    }

    /// Moves words to the recent end, one after another. With `record`, [`undo`](Self::undo) can take it back.
    #[inline(always)]
    pub fn access(&mut self, words: impl Iterator<Item = u32>, record: bool) {
        let newest = self.previous(self.oldest);
        let mut newest = self.locate(newest);
        for word in words {
            let accessed = self.locate(word);
            let mut from = WAS_OLDEST;
            if word == self.oldest {
                self.oldest = self.next_of(accessed);
                self.link(newest, accessed);
            } else {
                from = self.previous_of(accessed);
                if word != newest.word {
                    let newer = self.next_of(accessed);
                    let (older, newer) = (self.locate(from), self.locate(newer));
                    self.link(older, newer);
                    self.link(newest, accessed);
                }
            }
            newest = accessed;
            if record {
                self.journal.push(Move { word, from });
            }
        }
        self.close_circle(newest);
    }

    /// Links the newest word with the oldest, which moves leave for the end.
    #[inline(always)]
    fn close_circle(&mut self, newest: Located) {
        let oldest = self.locate(self.oldest);
        self.link(newest, oldest);
    }

    /// The number of recorded moves.
    pub fn recorded(&self) -> usize {
        self.journal.len()
    }

    /// Takes back the recorded moves from the latest down to number `down_to`; they stay recorded, for
    /// [`redo`](Self::redo). Moves between `down_to` and `up_to` must be the latest ones in force.
    pub fn undo(&mut self, down_to: usize, up_to: usize) {
        let newest = self.previous(self.oldest);
        let mut newest = self.locate(newest);
        for i in (down_to..up_to).rev() {
            // The word that was moved last is the newest one.
            let (moved, older) = (newest, self.journal[i].from);
            let before = self.previous_of(moved);
            if older == WAS_OLDEST {
                self.close_circle(moved);
                self.oldest = moved.word;
                newest = self.locate(before);
            } else if before != older {
                newest = self.locate(before);
                let older = self.locate(older);
                let newer = self.next_of(older);
                let newer = self.locate(newer);
                self.link(older, moved);
                self.link(moved, newer);
            }
        }
        self.close_circle(newest);
    }

    /// Makes the recorded moves `from..to` again, after [`undo`](Self::undo).
    pub fn redo(&mut self, from: usize, to: usize) {
        let journal = std::mem::take(&mut self.journal);
        self.access(journal[from..to].iter().map(|moved| moved.word), false);
        self.journal = journal;
    }

    /// The least recently accessed words, least recent first, one for each place in `words`.
    #[inline(always)]
    pub fn least_recent(&self, words: &mut [u32]) {
        let mut word = self.oldest;
        for place in words {
            *place = word;
            word = self.next(word);
        }
    }

    /// The whole order, least recent first, as runs of rising numbers: the first and last word of each. There are at
    /// most twice as many as accesses were made, and two more.
    pub fn runs(&self) -> Vec<[u32; 2]> {
        let blocks = self.neighbours.chunks_exact(BLOCK as usize).enumerate().flat_map(|(slot, block)| {
            let first = self.slots.word(slot) * BLOCK;
            (first..).zip(block).filter_map(|(word, links)| (links[NEXT] != 0).then_some(word))
        });
        let newest = self.previous(self.oldest);
        let mut ends: Vec<u32> = blocks.chain([newest, self.words - 1]).collect();
        ends.sort_unstable();
        let mut runs = Vec::new();
        let mut first = self.oldest;
        loop {
            let last = ends[ends.partition_point(|end| *end < first)];
            runs.push([first, last]);
            if last == newest {
                return runs;
            }
            first = self.next(last);
        }
    }

    /// Takes over the order that [`runs`](Self::runs) told, if it is one of all words. The ring must have been
    /// [`reset`](Self::reset).
    pub fn set_runs(&mut self, runs: &[[u32; 2]]) -> bool {
        let mut rising = runs.to_vec();
        rising.sort_unstable();
        let starts = std::iter::once(Some(0)).chain(rising.iter().map(|run| run[1].checked_add(1)));
        let ends = rising.iter().map(|run| Some(run[0])).chain([Some(self.words)]);
        if rising.iter().any(|run| run[0] > run[1]) || !starts.eq(ends) {
            return false;
        }
        self.oldest = runs[0][0];
        for (run, next) in runs.iter().zip(runs.iter().cycle().skip(1)) {
            if self.identity_next(run[1]) != next[0] {
                let (older, newer) = (self.locate(run[1]), self.locate(next[0]));
                self.link(older, newer);
            }
        }
        true
    }

    /// Forgets the recorded moves from number `length` on.
    pub fn truncate_record(&mut self, length: usize) {
        self.journal.truncate(length);
    }

    /// Back to the order 0, 1, …, at the cost of the words touched since it was last so.
    pub fn reset(&mut self) {
        self.slots.truncate(0);
        self.neighbours.clear();
        self.oldest = 0;
        self.journal.clear();
    }
}

/// The words that the heads access in one step, each with the sum of its weights over all heads.
#[derive(Debug, Default)]
pub struct Accesses<T> {
    /// The distinct words, by their slots.
    words: Slots,
    /// Of each of them.
    totals: Vec<T>,
    /// For every occurrence, the slot of its word.
    occurrences: Vec<usize>,
    /// For each distinct word, the number of its last occurrence.
    last: Vec<usize>,
}

impl<T: Real> Accesses<T> {
    /// Forgets the step before.
    pub fn clear(&mut self) {
        self.words.truncate(0);
        self.totals.clear();
        self.occurrences.clear();
        self.last.clear();
    }

    /// A head reads or writes `word` with this weight.
    #[inline(always)]
    pub fn add(&mut self, word: u32, weight: T) {
        let slot = self.words.get_or_add(word);
        if slot == self.totals.len() {
            self.totals.push(T::ZERO);
            self.last.push(0);
        }
        self.totals[slot] += weight;
        self.last[slot] = self.occurrences.len();
        self.occurrences.push(slot);
    }

    /// The words, each once, in the order of their first occurrences.
    #[inline(always)]
    pub fn words(&self) -> &[u32] {
        self.words.words()
    }

    /// The words, each once with the sum of its weights, in the order of their last occurrences.
    #[inline(always)]
    pub fn each(&self) -> impl Iterator<Item = (u32, T)> {
        self.occurrences.iter().enumerate().filter_map(move |(occurrence, slot)| {
            (self.last[*slot] == occurrence).then_some((self.words.word(*slot), self.totals[*slot]))
        })
    }

    /// Those of them whose weights sum to more than `threshold`.
    #[inline(always)]
    pub fn above(&self, threshold: T) -> impl Iterator<Item = u32> {
        self.each().filter_map(move |(word, total)| (total > threshold).then_some(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(ring: &Ring) -> Vec<u32> {
        std::iter::successors(Some(ring.oldest), |word| Some(ring.next(*word))).take(ring.words as usize).collect()
    }

    fn bits(ring: &Ring) -> (Vec<[u32; 2]>, u32) {
        ((0..ring.words).map(|word| ring.links(word)).collect(), ring.oldest)
    }

    #[test]
    fn accesses_are_summed_and_stand_where_they_occur_last() {
        let mut accesses = Accesses::default();
        for (word, weight) in [(7, 0.1), (3, 0.5), (7, 0.2), (5, 0.05), (3, 0.0), (9, 0.25)] {
            accesses.add(word, weight);
        }
        assert_eq!(accesses.above(0.06).collect::<Vec<_>>(), [7, 3, 9]);
        accesses.clear();
        assert_eq!(accesses.above(0.0).count(), 0);
    }

    #[test]
    fn what_is_no_order_of_all_words_is_refused() {
        let wrong: [&[[u32; 2]]; 7] =
            [&[], &[[0, 3]], &[[0, 5]], &[[1, 4]], &[[0, 2], [2, 4]], &[[0, 1], [3, 4]], &[[3, 1], [0, 4]]];
        for runs in wrong {
            assert!(!Ring::new(5).set_runs(runs), "{runs:?}");
        }
        let mut ring = Ring::new(5);
        assert!(ring.set_runs(&[[3, 4], [0, 1], [2, 2]]));
        assert_eq!(order(&ring), [3, 4, 0, 1, 2]);
    }

    proptest! {
        #[test]
        fn behaves_as_a_naive_list(
            words in 1u32..100, before in prop::collection::vec(0u32..1000, 0..20),
            accesses in prop::collection::vec(0u32..1000, 0..40), cut in 0usize..40, together in 1usize..5,
        ) {
            let mut ring = Ring::new(words);
            let mut list: Vec<u32> = (0..words).collect();
            let mut access = |ring: &mut Ring, accessed: &[u32], record| {
                ring.access(accessed.iter().map(|word| word % words), record);
                for word in accessed.iter().map(|word| word % words) {
                    list.retain(|other| *other != word);
                    list.push(word);
                }
                assert_eq!(order(ring), list);
            };
            for accessed in before.chunks(together) {
                access(&mut ring, accessed, false);
            }
            let start = bits(&ring);
            for accessed in accesses.chunks(together) {
                access(&mut ring, accessed, true);
            }
            let end = bits(&ring);
            let cut = cut.min(ring.recorded());
            ring.undo(cut, ring.recorded());
            ring.undo(0, cut);
            prop_assert_eq!(bits(&ring), start);
            ring.redo(0, cut);
            ring.redo(cut, ring.recorded());
            prop_assert_eq!(bits(&ring), end);
            let mut other = Ring::new(words);
            prop_assert!(other.set_runs(&ring.runs()));
            prop_assert_eq!(bits(&other), bits(&ring));
            prop_assert!(ring.runs().len() <= 2 * (accesses.len() + 20) + 2);
            ring.reset();
            prop_assert_eq!(bits(&ring), bits(&Ring::new(words)));
        }
    }
}
