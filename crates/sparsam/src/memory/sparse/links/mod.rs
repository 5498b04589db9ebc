//! Temporal links between words: in what order they were written. Sparse, as the sparse DNC has them.

mod lists;
mod matrix;
mod weighted;

use self::lists::{BLOCK, End, Entry, LISTED};
use self::matrix::{Matrix, RowTape, check_not_negative};
use self::weighted::{Weighted, keep_largest};
use super::store::Reads;
use crate::arrays::unusable;
use crate::kernels::bytes::prefetch;
use crate::kernels::lanes::LANES;
use crate::kernels::simd::vector_fn;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

/// The temporal links of the sparse DNC (Rae et al. 2016, supplement D).
///
/// Two sparse matrices stand for the DNC's link matrix and its transpose: N(i, j) is large if word i was written right
/// after word j, P(i, j) if it was written right before. p, the precedence, is how much each word was written last.
/// When words i are written with weights w(i), with p from the step before:
///
/// * N(i,·) = (1 - w(i)) N(i,·) + w(i) p(·);
/// * P(·,i) = (1 - w(i)) P(·,i) + w(i) p(·);
/// * p = (1 - Σ w) p + w.
///
/// There is no entry on the diagonal. After an update every changed row, and p, keep their K_L largest entries, ties to
/// the lower word number. An update costs what the entries cost that it changes; nothing costs anything proportional to
/// the number of words.
pub struct Links<T> {
    limit: usize,
    /// N.
    after: Matrix<T>,
    /// P.
    before: Matrix<T>,
    /// p after each step on the tape, largest first.
    precedence: Reads<T>,
    /// What is on the matrices' tapes after each step; the first entry is the start of the episode.
    steps: Vec<Taped>,
    /// Steps on the tape that are in force.
    position: usize,
    scratch: Scratch<T>,
}

/// Which way a head follows the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the words written before those read last: b = P w.
    Backward,
    /// To the words written after them: f = N w.
    Forward,
}

/// Lengths of the matrices' tapes.
#[derive(Clone, Copy, Debug, Default)]
struct Taped {
    after_rows: usize,
    before_entries: usize,
    before_rows: usize,
}

/// Links that were put aside with their tape.
pub struct Aside<T> {
    kept: Rows<T>,
    taped: Rows<T>,
    before_entries: Vec<(Entry, T)>,
    precedence: Reads<T>,
    steps: Vec<Taped>,
    position: usize,
}

/// Some rows of both matrices.
pub struct Rows<T> {
    after: RowTape<T>,
    before: RowTape<T>,
}

#[derive(Debug)]
struct Scratch<T> {
    /// For each word one more than its place in `found`; all 0 outside of a call.
    places: Pages<u32>,
    written: Weighted<T>,
    last: Weighted<T>,
    /// Entries of the columns that a head follows, with the weights with which it read the columns' words.
    entries: Vec<u64>,
    weights: Vec<T>,
    found: Weighted<T>,
    kept: Vec<(u32, T)>,
}

impl<T: Real> Links<T> {
    /// No links between any of `memory_size` words; rows and the precedence will keep `limit` entries.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(memory_size: usize, limit: usize) -> Result<Self, Error> {
        Ok(Self {
            limit,
            after: Matrix::new(memory_size, limit)?,
            before: Matrix::new(memory_size, limit)?,
            precedence: Reads::new(1, limit),
            steps: vec![Taped::default()],
            position: 0,
            scratch: Scratch {
                places: Pages::new(memory_size)?,
                written: Weighted::new(),
                last: Weighted::new(),
                entries: Vec::new(),
                weights: Vec::new(),
                found: Weighted::new(),
                kept: Vec::new(),
            },
        })
    }

    /// Empties the tape and forgets what was written last. [`forget`](Self::forget) removes the links.
    pub fn reset(&mut self) {
        self.start_episode();
        self.precedence.clear();
    }

    /// Removes all links of a word. To remove all there are, call it for every word that was ever written.
    pub fn forget(&mut self, word: u32) {
        self.after.clear(word);
        self.before.clear(word);
    }

    /// No rows.
    pub fn no_rows(&self) -> Rows<T> {
        Rows { after: RowTape::new(self.limit), before: RowTape::new(self.limit) }
    }

    /// As new links: to be [taken up](Self::swap).
    pub fn fresh(&self) -> Aside<T> {
        Aside {
            kept: self.no_rows(),
            taped: self.no_rows(),
            before_entries: Vec::new(),
            precedence: Reads::new(1, self.limit),
            steps: vec![Taped::default()],
            position: 0,
        }
    }

    /// [Forgets](Self::forget) a word, whose rows go to `kept`.
    pub fn keep(&mut self, word: u32, kept: &mut Rows<T>) {
        self.after.keep_row(word, &mut kept.after);
        self.before.keep_row(word, &mut kept.before);
        self.forget(word);
    }

    /// Puts the tape aside, with all links, which must have been [kept](Self::keep) before, and takes up others in their
    /// place.
    pub fn swap(&mut self, other: Aside<T>, kept: Rows<T>) -> Aside<T> {
        self.after.take_up_rows(&other.kept.after);
        self.before.take_up_rows(&other.kept.before);
        Aside {
            kept,
            taped: Rows {
                after: std::mem::replace(&mut self.after.rows, other.taped.after),
                before: std::mem::replace(&mut self.before.rows, other.taped.before),
            },
            before_entries: std::mem::replace(&mut self.before.entries, other.before_entries),
            precedence: std::mem::replace(&mut self.precedence, other.precedence),
            steps: std::mem::replace(&mut self.steps, other.steps),
            position: std::mem::replace(&mut self.position, other.position),
        }
    }

    /// What was undone can no longer be done again.
    pub fn forget_undone(&mut self) {
        self.cut_tapes(self.steps[self.position]);
        self.steps.truncate(self.position + 1);
    }

    /// Keeps everything as it stands and empties the tape.
    pub fn start_episode(&mut self) {
        self.precedence.carry(self.position);
        self.steps.truncate(1);
        self.cut_tapes(Taped::default());
        self.position = 0;
    }

    /// Puts the links of the words ever written, and what was written last, into `to`.
    pub fn save(&self, written: &[u32], to: &mut Arrays<T>) {
        self.after.save("links.after", written, to);
        self.before.save("links.before", written, to);
        self.precedence.save(self.position, "precedence", to);
    }

    /// Takes over links that were [`save`](Self::save)d, between the words ever written, by rising numbers: others
    /// could not be [`forget`](Self::forget)ten with them. There must be no links, and the tape must be empty.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load(&mut self, written: &[u32], from: &mut Arrays<T>) -> Result<(), Error> {
        self.after.load("links.after", written, from)?;
        self.before.load("links.before", written, from)?;
        self.precedence.load("precedence", self.after.words(), from)?;
        let (last, weights) = self.precedence.of(0, 0);
        if let Some(word) = last.iter().find(|word| written.binary_search(word).is_err()) {
            return Err(unusable(format!("`precedence.words` names word {word}, which was never written")));
        }
        check_not_negative("precedence.weights", weights)
    }

    /// Asks for what [`update`](Self::update) needs of these words, before it is needed.
    #[inline(always)]
    pub fn prefetch_update(&self, written: impl Iterator<Item = u32>) {
        for word in written {
            self.after.prefetch_row(word);
            prefetch(&self.before.lists.blocks()[word as usize]);
        }
    }

    /// Asks for what [`undo_update`](Self::undo_update) needs, before it is needed.
    #[inline(always)]
    pub fn prefetch_undo(&self) {
        let [from, to] = [self.steps[self.position - 1], self.steps[self.position]];
        for row in &self.after.rows.numbers[from.after_rows..to.after_rows] {
            self.after.prefetch_row(*row);
        }
        for row in &self.before.rows.numbers[from.before_rows..to.before_rows] {
            self.before.prefetch_row(*row);
        }
    }

    /// Takes note that words were written, each named once, with weights that sum to at most one. Without `record`,
    /// the tape must be empty and stays so.
    pub fn update(&mut self, written: impl Iterator<Item = (u32, T)>, record: bool) {
        self.scratch.written.set(written.filter(|(_, weight)| *weight > T::ZERO));
        update(self, record);
    }

    /// f = N w or b = P w for the words a head read last and their weights, cut to the `limit` largest entries, largest
    /// first.
    pub fn follow(&mut self, direction: Direction, words: &[u32], weights: &[T], limit: usize) -> &[(u32, T)] {
        follow(self, direction, words, weights, limit);
        &self.scratch.kept
    }

    /// The gradient of [`follow`](Self::follow): takes the words that it gave and the gradients of their entries, and
    /// adds to the gradients of the weights of the words read last.
    #[inline(always)]
    pub fn follow_back(
        &self,
        direction: Direction,
        found: &[u32],
        gradients: &[T],
        words: &[u32],
        weight_gradients: &mut [T],
    ) {
        let matrix = if direction == Direction::Forward { &self.after } else { &self.before };
        for (words, weight_gradients) in words.chunks(LANES).zip(weight_gradients.chunks_mut(LANES)) {
            // Sixteen words are compared with an entry at once: where in a row one of them stands, if at all, is nothing that
            // a processor could guess.
            let mut columns = [0; LANES];
            let mut sums = [T::ZERO; LANES];
            for (column, word) in columns.iter_mut().zip(words) {
                *column = *word + 1;
            }
            for (row, gradient) in found.iter().zip(gradients) {
                for place in matrix.row(*row) {
                    let (column, share) = (matrix.columns[place], matrix.values[place] * *gradient);
                    for lane in 0..LANES {
                        sums[lane] += if columns[lane] == column { share } else { T::ZERO };
                    }
                }
            }
            for ((weight_gradient, sum), _) in weight_gradients.iter_mut().zip(sums).zip(words) {
                *weight_gradient += sum;
            }
        }
    }

    /// Undoes the latest update that is in force.
    #[inline(always)]
    pub fn undo_update(&mut self) {
        self.position -= 1;
        let [from, to] = [self.steps[self.position], self.steps[self.position + 1]];
        for number in (from.before_rows..to.before_rows).rev() {
            self.before.exchange_row(number);
        }
        self.before.exchange_entries(from.before_entries..to.before_entries);
        for number in (from.after_rows..to.after_rows).rev() {
            self.after.exchange_row(number);
        }
    }

    /// Does again every update that was undone.
    pub fn redo_updates(&mut self) {
        while self.position < self.steps.len() - 1 {
            let [from, to] = [self.steps[self.position], self.steps[self.position + 1]];
            for number in from.after_rows..to.after_rows {
                self.after.exchange_row(number);
            }
            self.before.exchange_entries(from.before_entries..to.before_entries);
            for number in from.before_rows..to.before_rows {
                self.before.exchange_row(number);
            }
            self.position += 1;
        }
    }

    #[inline(always)]
    fn cut_tapes(&mut self, to: Taped) {
        self.after.rows.truncate(to.after_rows);
        self.before.entries.truncate(to.before_entries);
        self.before.rows.truncate(to.before_rows);
    }
}

#[cfg(test)]
impl Links<f32> {
    /// Everything that a later step could depend on, to the bit.
    pub fn state(&self) -> Vec<Vec<u32>> {
        use crate::memory::conformance::bits;

        let (words, weights) = self.precedence.of(self.position, 0);
        let mut state = vec![words.to_vec(), bits(weights)];
        for matrix in [&self.after, &self.before] {
            state.extend([matrix.columns.to_vec(), bits(&matrix.values)]);
        }
        state
    }

    /// Checks that entries lie from 0 to 1, sum to at most 1 in a row of N, leave the diagonal free, stand once in a row,
    /// and are found by their columns.
    pub fn check(&self) {
        let (_, weights) = self.precedence.of(self.position, 0);
        assert!(weights.iter().sum::<f32>() <= 1.0 + 1e-5);
        for matrix in [&self.after, &self.before] {
            let words = matrix.columns.len() as u32 / matrix.limit as u32;
            let mut listed = 0;
            for column in 0..words {
                for entry in matrix.lists.of(column).flatten() {
                    let place = Entry(*entry).place(matrix.limit);
                    assert_eq!(
                        matrix.find(Entry(*entry).row(), column),
                        Some(place),
                        "a list names its column's entries"
                    );
                    assert_eq!(matrix.lists.blocks[matrix.lists.listed[place] as usize], *entry);
                    listed += 1;
                }
            }
            assert_eq!(listed, matrix.columns.iter().filter(|column| **column != 0).count());
            for row in 0..words {
                let entries = matrix.row(row);
                let columns = &matrix.columns[entries.clone()];
                assert!(!columns.contains(&(row + 1)), "the diagonal is free");
                for (place, column) in columns.iter().enumerate().filter(|(_, column)| **column != 0) {
                    assert!(!columns[..place].contains(column), "a column stands once in a row");
                }
                let values = &matrix.values[entries];
                assert!(values.iter().all(|value| (0.0..=1.0 + 1e-5).contains(value)));
                let sum: f32 = values.iter().sum();
                assert!(sum <= 1.0 + 1e-5 || std::ptr::eq(matrix, &self.before));
            }
        }
    }
}

vector_fn! {
    fn update<T, simd: I>(links: &mut Links<T>, record: bool) {
        links.cut_tapes(links.steps[links.position]);
        let Links { limit, after, before, precedence, steps, position, scratch } = links;
        let Scratch { written, last, found, kept, .. } = scratch;
        steps.truncate(*position + 1);
        precedence.start_entry(*position + 1);

        let (words, weights) = precedence.of(*position, 0);
        last.set(words.iter().copied().zip(weights.iter().copied()));
        for (word, weight) in written.each() {
            after.update_row(simd, word, T::ONE - weight, weight, last);
        }
        for (word, weight) in written.each() {
            before.scale_column(word, T::ONE - weight);
        }
        for (word, weight) in last.each() {
            before.update_row(simd, word, T::ONE, weight, written);
        }

        let rest = written.each().fold(T::ONE, |rest, (_, weight)| rest - weight).max(T::ZERO);
        found.set(last.each().map(|(word, weight)| (word, rest * weight)).chain(written.each()));
        for (place, word) in last.words.iter().enumerate() {
            if let Some(again) = written.words.iter().position(|other| other == word) {
                let again = last.words.len() + again;
                let weight = std::mem::replace(&mut found.weights[again], T::ZERO);
                found.weights[place] += weight;
            }
        }
        keep_largest(simd, found, *limit, kept);
        precedence.set(*position + 1, 0, kept);

        if record {
            steps.push(Taped {
                after_rows: after.rows.numbers.len(),
                before_entries: before.entries.len(),
                before_rows: before.rows.numbers.len(),
            });
            *position += 1;
        } else {
            links.cut_tapes(Taped::default());
            links.precedence.carry(1);
        }
    }
}

vector_fn! {
    fn follow<T, simd: I>(links: &mut Links<T>, direction: Direction, words: &[u32], weights: &[T], limit: usize) {
        let Links { after, before, scratch, .. } = links;
        let Scratch { places, entries, weights: shares, found, kept, .. } = scratch;
        let matrix = if direction == Direction::Forward { after } else { before };

        // Whole blocks are copied, each over the free places of the one before, and then one loop goes through all
        // entries: where a list ends is nothing that a processor could guess.
        let mut count = 0;
        for (word, weight) in words.iter().zip(weights) {
            let mut block = *word as usize;
            loop {
                if entries.len() < count + BLOCK {
                    entries.resize(2 * (count + BLOCK), 0);
                    shares.resize(2 * (count + BLOCK), T::ZERO);
                }
                let of_block = &matrix.lists.blocks()[block];
                entries[count..count + BLOCK].copy_from_slice(of_block);
                shares[count..count + BLOCK].fill(*weight);
                let end = End(of_block[LISTED]);
                count += end.count();
                block = end.next();
                if block == 0 {
                    break;
                }
            }
        }
        found.words.clear();
        found.words.resize(count, 0);
        found.weights.clear();
        found.weights.resize(count.next_multiple_of(LANES), T::ZERO);
        let mut rows = 0;
        // Fetched once: after every number written to memory, these would be fetched again.
        let (values, in_row, places) = (&matrix.values[..], matrix.limit, &mut places[..]);
        let (found_words, sums) = (&mut found.words[..], &mut found.weights[..]);
        for (entry, weight) in entries[..count].iter().zip(&shares[..count]) {
            let row = Entry(*entry).row();
            let share = values[Entry(*entry).place(in_row)] * *weight;
            let known = &mut places[row as usize];
            // A row is as likely to be new as to be known, so that there must be no branch here.
            let new = *known == 0;
            let place = std::hint::select_unpredictable(new, rows, known.wrapping_sub(1));
            rows += u32::from(new);
            *known = place + 1;
            found_words[place as usize] = row;
            sums[place as usize] += share;
        }
        found.words.truncate(rows as usize);
        found.weights.truncate((rows as usize).next_multiple_of(LANES));
        for word in &found.words {
            places[*word as usize] = 0;
        }
        keep_largest(simd, found, limit, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::weighted::comes_before;
    use super::*;

    /// A list that takes more than its first block, gone through both ways and emptied.
    #[test]
    fn a_word_before_many_others_is_followed_to_them_and_forgotten() {
        let mut links = Links::<f32>::new(200, 3).unwrap();
        let empty = links.state();
        for round in 0..2 {
            links.update([(0, 0.9)].into_iter(), true);
            let mut states = vec![links.state()];
            for word in 1..150 {
                links.update([(word, 0.001 * (1 + word % 5) as f32)].into_iter(), true);
                links.check();
                states.push(links.state());
            }
            let found = links.follow(Direction::Forward, &[0], &[1.0], 150).to_vec();
            assert_eq!(found.len(), 149);
            assert!(found.is_sorted_by(|one, other| comes_before(*one, *other)));
            assert_eq!(links.follow(Direction::Forward, &[0], &[1.0], 2), &found[..2]);

            for state in states.iter().rev().skip(1) {
                links.undo_update();
                links.check();
                assert!(links.state() == *state);
            }
            links.redo_updates();
            links.check();
            assert!(links.state() == states[149]);
            assert_eq!(links.follow(Direction::Forward, &[0], &[1.0], 150), found);

            links.reset();
            (0..150).for_each(|word| links.forget(word));
            assert!(links.state() == empty, "round {round}");
            links.check();
        }
    }
}
