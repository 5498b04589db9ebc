//! Temporal links between words: in what order they were written. Sparse, as the sparse DNC has them.

use super::content::{softmax, softmax_back};
use super::pages::Pages;
use super::sparse::Reads;
use crate::index::EPSILON;
use crate::real::simd::{InstructionSet, vector_fn};
use crate::{Error, Real};

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
    journal: Vec<Change<T>>,
    /// Length of the journal after each step on the tape; the first entry is the start of the episode.
    steps: Vec<usize>,
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

/// What a place in one of the matrices held before a change, or holds after it once the change is undone.
#[derive(Clone, Copy, Debug)]
struct Change<T> {
    row: u32,
    /// The place in the row, with [`IN_BEFORE`] set in the second matrix.
    place: u32,
    column: u32,
    value: T,
}

const IN_BEFORE: u32 = 1 << 31;

#[derive(Debug)]
struct Scratch<T> {
    /// For each word one more than its place in `entries`; all 0 outside of a call.
    places: Pages<u32>,
    entries: Vec<(u32, T)>,
    written: Vec<(u32, T)>,
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
            journal: Vec::new(),
            steps: vec![0],
            position: 0,
            scratch: Scratch {
                places: Pages::new(memory_size)?,
                entries: Vec::new(),
                written: Vec::new(),
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

    /// Keeps everything as it stands and empties the tape.
    pub fn start_episode(&mut self) {
        self.precedence.carry(self.position);
        self.journal.clear();
        self.steps.truncate(1);
        self.position = 0;
    }

    /// Takes note that words were written, each named once, with weights that sum to at most one. Without `record`,
    /// the tape must be empty and stays so.
    pub fn update(&mut self, written: impl Iterator<Item = (u32, T)>, record: bool) {
        self.scratch.written.clear();
        self.scratch.written.extend(written.filter(|(_, weight)| *weight > T::ZERO));
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
        for (row, gradient) in found.iter().zip(gradients) {
            for (word, weight_gradient) in words.iter().zip(weight_gradients.iter_mut()) {
                if let Some(place) = matrix.find(*row, *word) {
                    *weight_gradient += matrix.values[place] * *gradient;
                }
            }
        }
    }

    /// Undoes the latest update that is in force.
    #[inline(always)]
    pub fn undo_update(&mut self) {
        self.position -= 1;
        for number in (self.steps[self.position]..self.steps[self.position + 1]).rev() {
            self.exchange(number);
        }
    }

    /// Does again every update that was undone.
    pub fn redo_updates(&mut self) {
        let last = self.steps.len() - 1;
        for number in self.steps[self.position]..self.steps[last] {
            self.exchange(number);
        }
        self.position = last;
    }

    #[inline(always)]
    fn exchange(&mut self, number: usize) {
        let change = &mut self.journal[number];
        let matrix = if change.place & IN_BEFORE == 0 { &mut self.after } else { &mut self.before };
        let place = matrix.row(change.row).start + (change.place & !IN_BEFORE) as usize;
        matrix.exchange(change.row, place, &mut change.column, &mut change.value);
    }
}

#[cfg(test)]
impl Links<f32> {
    /// Everything that a later step could depend on, to the bit.
    pub fn state(&self) -> Vec<Vec<u32>> {
        use super::life::bits;

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
            let words = matrix.first.len() as u32;
            let mut listed = 0;
            for column in 0..words {
                let mut entry = matrix.first[column as usize];
                while let Some((row, place)) = matrix.place(entry) {
                    assert_eq!(matrix.find(row, column), Some(place), "a list names entries of its column");
                    entry = matrix.neighbours[place][0];
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
    fn update<T, I>(links: &mut Links<T>, record: bool) {
        let Links { limit, after, before, precedence, journal, steps, position, scratch } = links;
        journal.truncate(steps[*position]);
        steps.truncate(*position + 1);
        precedence.start_entry(*position + 1);

        let (last_words, last_weights) = precedence.of(*position, 0);
        let last = || last_words.iter().copied().zip(last_weights.iter().copied());
        for (word, weight) in &scratch.written {
            let additions = last().filter(|(other, _)| other != word).map(|(other, last)| (other, *weight * last));
            after.update_row(*word, T::ONE - *weight, additions, |place, column, value| {
                journal.push(Change { row: *word, place, column, value });
            });
        }
        for (word, weight) in &scratch.written {
            let mut entry = before.first[*word as usize];
            while let Some((row, place)) = before.place(entry) {
                let value = before.values[place];
                let in_row = Entry(entry).in_row() as u32 | IN_BEFORE;
                journal.push(Change { row, place: in_row, column: *word + 1, value });
                before.values[place] = (T::ONE - *weight) * value;
                entry = before.neighbours[place][0];
            }
        }
        for (row, last) in last() {
            let additions = scratch.written.iter().filter(|(word, _)| *word != row);
            let additions = additions.map(|(word, weight)| (*word, *weight * last));
            before.update_row(row, T::ONE, additions, |place, column, value| {
                journal.push(Change { row, place: place | IN_BEFORE, column, value });
            });
        }

        let rest = scratch.written.iter().fold(T::ONE, |rest, (_, weight)| rest - *weight).max(T::ZERO);
        scratch.entries.clear();
        scratch.entries.extend(last().map(|(word, last)| (word, rest * last)));
        let of_last = scratch.entries.len();
        for (word, weight) in &scratch.written {
            match scratch.entries[..of_last].iter_mut().find(|(other, _)| other == word) {
                Some(entry) => entry.1 += *weight,
                None => scratch.entries.push((*word, *weight)),
            }
        }
        keep_largest(&scratch.entries, *limit, &mut scratch.kept);
        precedence.set(*position + 1, 0, &scratch.kept);

        if record {
            steps.push(journal.len());
            *position += 1;
        } else {
            journal.clear();
            precedence.carry(1);
        }
    }
}

vector_fn! {
    fn follow<T, I>(links: &mut Links<T>, direction: Direction, words: &[u32], weights: &[T], limit: usize) {
        let Links { after, before, scratch: Scratch { places, entries, kept, .. }, .. } = links;
        let matrix = if direction == Direction::Forward { after } else { before };
        entries.clear();
        for (word, weight) in words.iter().zip(weights) {
            let mut entry = matrix.first[*word as usize];
            while let Some((row, place)) = matrix.place(entry) {
                let share = matrix.values[place] * *weight;
                match places[row as usize] {
                    0 => {
                        entries.push((row, share));
                        places[row as usize] = entries.len() as u32;
                    }
                    known => entries[known as usize - 1].1 += share,
                }
                entry = matrix.neighbours[place][0];
            }
        }
        for (word, _) in entries.iter() {
            places[*word as usize] = 0;
        }
        keep_largest(entries, limit, kept);
    }
}

/// d(i) ← (d(i) + ε)^s / Σ_j (d(j) + ε)^s (Csordás and Schmidhuber 2019, arXiv 1904.10278, section 3.3), as a softmax of
/// logarithms, which no power can carry out of range.
#[inline(always)]
pub(crate) fn sharpen<T: Real>(raw: &[T], sharpness: T, sharp: &mut [T]) {
    for (sharp, raw) in sharp.iter_mut().zip(raw) {
        *sharp = sharpness * (raw.max(T::ZERO) + T::from_f64(EPSILON)).ln();
    }
    softmax(sharp);
}

/// The gradient of [`sharpen`]: turns that of the sharpened distribution into that of the raw one, and returns that of
/// the sharpness.
#[inline(always)]
pub(crate) fn sharpen_back<T: Real, I: InstructionSet>(raw: &[T], sharpness: T, sharp: &[T], gradient: &mut [T]) -> T {
    softmax_back::<T, I>(sharp, gradient);
    let mut over_sharpness = T::ZERO;
    for (gradient, raw) in gradient.iter_mut().zip(raw) {
        let base = raw.max(T::ZERO) + T::from_f64(EPSILON);
        over_sharpness += *gradient * base.ln();
        *gradient *= sharpness / base;
    }
    over_sharpness
}

/// Whether an entry is larger than another, or as large and of the lower word.
#[inline(always)]
fn comes_before<T: Real>(one: (u32, T), other: (u32, T)) -> bool {
    one.1 > other.1 || (one.1 == other.1 && one.0 < other.0)
}

/// Keeps the `limit` largest positive entries, largest first, ties to the lower word.
#[inline(always)]
fn keep_largest<T: Real>(entries: &[(u32, T)], limit: usize, kept: &mut Vec<(u32, T)>) {
    kept.clear();
    for entry in entries {
        if entry.1 > T::ZERO && (kept.len() < limit || comes_before(*entry, kept[limit - 1])) {
            kept.truncate(limit - 1);
            kept.push(*entry);
            let mut place = kept.len() - 1;
            while place > 0 && comes_before(*entry, kept[place - 1]) {
                kept[place] = kept[place - 1];
                place -= 1;
            }
            kept[place] = *entry;
        }
    }
}

/// A sparse matrix with up to a fixed number of entries in each row, and for each column a list of the rows in which
/// it has one. All zeros is the empty matrix.
#[derive(Debug)]
struct Matrix<T> {
    limit: usize,
    /// One more than the column of the entry at each place; 0 at free places.
    columns: Pages<u32>,
    values: Pages<T>,
    /// For each entry the next one in its column's list and the previous one, as [`Entry`] numbers; 0 at the ends.
    neighbours: Pages<[u64; 2]>,
    /// For each column the first entry of its list.
    first: Pages<u64>,
}

/// An entry by row and place in the row, in one number that is 0 for none.
#[derive(Clone, Copy, Debug)]
struct Entry(u64);

impl Entry {
    #[inline(always)]
    fn new(row: u32, in_row: usize) -> Self {
        Self((u64::from(row) + 1) << 16 | in_row as u64)
    }

    #[inline(always)]
    fn row(self) -> Option<u32> {
        ((self.0 >> 16) as u32).checked_sub(1)
    }

    #[inline(always)]
    fn in_row(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

impl<T: Real> Matrix<T> {
    fn new(words: usize, limit: usize) -> Result<Self, Error> {
        let too_large = || Error::MemoryTooLarge { bytes: words as u128 * limit as u128 * size_of::<T>() as u128 };
        let places = words.checked_mul(limit).ok_or_else(too_large)?;
        Ok(Self {
            limit,
            columns: Pages::new(places)?,
            values: Pages::new(places)?,
            neighbours: Pages::new(places)?,
            first: Pages::new(words)?,
        })
    }

    #[inline(always)]
    fn row(&self, row: u32) -> std::ops::Range<usize> {
        let start = row as usize * self.limit;
        start..start + self.limit
    }

    /// The place of an entry, if it is there.
    #[inline(always)]
    fn find(&self, row: u32, column: u32) -> Option<usize> {
        let range = self.row(row);
        let (eights, rest) = self.columns[range.clone()].as_chunks::<8>();
        for (number, eight) in eights.iter().enumerate() {
            // Without a branch for each place, so that all are compared at once: most are not what is looked for.
            if eight.iter().fold(false, |found, other| found | (*other == column + 1)) {
                let place = eight.iter().position(|other| *other == column + 1)?;
                return Some(range.start + 8 * number + place);
            }
        }
        let place = rest.iter().position(|other| *other == column + 1)?;
        Some(range.start + 8 * eights.len() + place)
    }

    /// The row and the place of an entry, unless it is none.
    #[inline(always)]
    fn place(&self, entry: u64) -> Option<(u32, usize)> {
        let row = Entry(entry).row()?;
        Some((row, row as usize * self.limit + Entry(entry).in_row()))
    }

    /// Exchanges what a place holds with an entry whose column stands nowhere else in the row.
    #[inline(always)]
    fn exchange(&mut self, row: u32, place: usize, column: &mut u32, value: &mut T) {
        if self.columns[place] != *column {
            if let Some(old) = self.columns[place].checked_sub(1) {
                let [next, previous] = std::mem::take(&mut self.neighbours[place]);
                if let Some((_, next)) = self.place(next) {
                    self.neighbours[next][1] = previous;
                }
                match self.place(previous) {
                    Some((_, previous)) => self.neighbours[previous][0] = next,
                    None => self.first[old as usize] = next,
                }
            }
            std::mem::swap(&mut self.columns[place], column);
            if let Some(new) = self.columns[place].checked_sub(1) {
                let entry = Entry::new(row, place - self.row(row).start).0;
                let next = std::mem::replace(&mut self.first[new as usize], entry);
                self.neighbours[place] = [next, 0];
                if let Some((_, next)) = self.place(next) {
                    self.neighbours[next][1] = entry;
                }
            }
        }
        std::mem::swap(&mut self.values[place], value);
    }

    /// Empties the row and the column of a word. Every word that shares an entry with it must be emptied too.
    fn clear(&mut self, word: u32) {
        let range = self.row(word);
        self.columns[range.clone()].fill(0);
        self.values[range.clone()].fill(T::ZERO);
        self.neighbours[range].fill([0, 0]);
        self.first[word as usize] = 0;
    }

    /// Scales a row, adds entries of distinct columns to it, and keeps the largest. Calls `changed` with the place in the
    /// row, the column (one more than it; 0 if free) and the value of an entry before it first changes.
    #[inline(always)]
    fn update_row(
        &mut self,
        row: u32,
        scale: T,
        additions: impl Iterator<Item = (u32, T)> + Clone,
        mut changed: impl FnMut(u32, u32, T),
    ) {
        let range = self.row(row);
        if scale != T::ONE {
            for place in range.clone() {
                if self.columns[place] != 0 {
                    changed((place - range.start) as u32, self.columns[place], self.values[place]);
                    self.values[place] *= scale;
                }
            }
        }
        for (column, value) in additions.clone() {
            if let Some(place) = self.find(row, column) {
                if scale == T::ONE {
                    changed((place - range.start) as u32, column + 1, self.values[place]);
                }
                self.values[place] += value;
            }
        }
        // Then one new entry after another, each in place of the smallest if that is smaller: the largest of all stay.
        let mut smallest = self.smallest(row);
        for (column, mut value) in additions {
            let comes_in = value > T::ZERO && comes_before((column, value), self.entry(smallest));
            if comes_in && self.find(row, column).is_none() {
                changed((smallest - range.start) as u32, self.columns[smallest], self.values[smallest]);
                self.exchange(row, smallest, &mut (column + 1), &mut value);
                smallest = self.smallest(row);
            }
        }
    }

    /// The place of a row's smallest entry, or a free one.
    #[inline(always)]
    fn smallest(&self, row: u32) -> usize {
        let range = self.row(row);
        let mut smallest = range.start;
        for place in range {
            if comes_before(self.entry(smallest), self.entry(place)) {
                smallest = place;
            }
        }
        smallest
    }

    /// Column and value at a place; free places are smaller than any entry.
    #[inline(always)]
    fn entry(&self, place: usize) -> (u32, T) {
        (self.columns[place].wrapping_sub(1), self.values[place])
    }
}
