//! Temporal links between words: in what order they were written. Sparse, as the sparse DNC has them.

use super::store::Reads;
use crate::arrays::{check_distinct, last_word, unusable};
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
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

/// Words with weights, the weights filled up with zeros to whole [`LANES`].
#[derive(Debug)]
struct Weighted<T> {
    words: Vec<u32>,
    weights: Vec<T>,
}

impl<T: Real> Weighted<T> {
    fn new() -> Self {
        Self { words: Vec::new(), weights: Vec::new() }
    }

    #[inline(always)]
    fn set(&mut self, pairs: impl Iterator<Item = (u32, T)>) {
        self.words.clear();
        self.weights.clear();
        for (word, weight) in pairs {
            self.words.push(word);
            self.weights.push(weight);
        }
        self.weights.resize(self.weights.len().next_multiple_of(LANES), T::ZERO);
    }

    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = (u32, T)> {
        self.words.iter().copied().zip(self.weights.iter().copied())
    }
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
    fn update<T, I>(links: &mut Links<T>, record: bool) {
        links.cut_tapes(links.steps[links.position]);
        let Links { limit, after, before, precedence, steps, position, scratch } = links;
        let Scratch { written, last, found, kept, .. } = scratch;
        steps.truncate(*position + 1);
        precedence.start_entry(*position + 1);

        let (words, weights) = precedence.of(*position, 0);
        last.set(words.iter().copied().zip(weights.iter().copied()));
        for (word, weight) in written.each() {
            after.update_row::<I>(word, T::ONE - weight, weight, last);
        }
        for (word, weight) in written.each() {
            before.scale_column(word, T::ONE - weight);
        }
        for (word, weight) in last.each() {
            before.update_row::<I>(word, T::ONE, weight, written);
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
        keep_largest::<T, I>(found, *limit, kept);
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
    fn follow<T, I>(links: &mut Links<T>, direction: Direction, words: &[u32], weights: &[T], limit: usize) {
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
        keep_largest::<T, I>(found, limit, kept);
    }
}

/// Whether an entry is larger than another, or as large and of the lower word.
#[inline(always)]
fn comes_before<T: Real>(one: (u32, T), other: (u32, T)) -> bool {
    (one.1 > other.1) | ((one.1 == other.1) & (one.0 < other.0))
}

/// Keeps the `limit` largest positive entries, largest first, ties to the lower word.
#[inline(always)]
fn keep_largest<T: Real, I: InstructionSet>(entries: &Weighted<T>, limit: usize, kept: &mut Vec<(u32, T)>) {
    kept.clear();
    let (lanes, _) = entries.weights.as_chunks::<LANES>();
    // Of no fewer groups than are kept each has an entry that is no smaller than the least of their largest: what is
    // smaller than that need not be looked at.
    let mut bound = T::ZERO;
    if limit <= LANES {
        let all = lanes.iter().fold(I::Lanes::<T>::splat(T::ZERO), |all, lanes| all.larger(I::Lanes::load(lanes)));
        let mut groups = [T::ZERO; LANES];
        all.store(&mut groups);
        let mut count = LANES;
        while count > 1 && count / 2 >= limit {
            count /= 2;
            for group in 0..count {
                groups[group] = groups[group].max(groups[group + count]);
            }
        }
        bound = least(&groups[..count]);
    }
    for (number, lanes) in lanes.iter().enumerate() {
        for lane in ones(I::Lanes::load(lanes).at_least(bound)) {
            let Some(word) = entries.words.get(number * LANES + lane) else { break };
            let entry = (*word, lanes[lane]);
            if entry.1 > T::ZERO && (kept.len() < limit || comes_before(entry, kept[limit - 1])) {
                kept.truncate(limit - 1);
                kept.push(entry);
                let mut place = kept.len() - 1;
                while place > 0 && comes_before(entry, kept[place - 1]) {
                    kept[place] = kept[place - 1];
                    place -= 1;
                }
                kept[place] = entry;
            }
        }
    }
}

/// The places of a number's bits that are set, lowest first.
#[inline(always)]
fn ones(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// A sparse matrix with up to a fixed number of entries in each row, and for each column a list of its entries. All
/// zeros is the empty matrix.
#[derive(Debug)]
struct Matrix<T> {
    limit: usize,
    /// One more than the column of the entry at each place; 0 at free places.
    columns: Pages<u32>,
    values: Pages<T>,
    lists: Lists,
    rows: RowTape<T>,
    /// Entries that were changed where they stand, with the values that they had, or have once that is undone.
    entries: Vec<(Entry, T)>,
}

/// What rows were before they were changed, or are once that is undone.
#[derive(Debug)]
struct RowTape<T> {
    numbers: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<T>,
    limit: usize,
}

impl<T> RowTape<T> {
    #[inline(always)]
    fn truncate(&mut self, length: usize) {
        self.numbers.truncate(length);
        self.columns.truncate(length * self.limit);
        self.values.truncate(length * self.limit);
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
            lists: Lists::new(words, places)?,
            rows: RowTape { numbers: Vec::new(), columns: Vec::new(), values: Vec::new(), limit },
            entries: Vec::new(),
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

    /// Puts an entry of a column (one more than it; 0 for none) in place of what a place held.
    #[inline(always)]
    fn replace(&mut self, row: u32, place: usize, column: u32, value: T) {
        let entry = Entry::new(row, place - self.row(row).start);
        if let Some(old) = std::mem::replace(&mut self.columns[place], column).checked_sub(1) {
            let (moved, to) = self.lists.remove(old, self.lists.listed[place]);
            self.lists.listed[moved.place(self.limit)] = to;
        }
        if let Some(new) = column.checked_sub(1) {
            self.lists.listed[place] = self.lists.insert(new, entry);
        }
        self.values[place] = value;
    }

    /// Number of rows.
    fn words(&self) -> usize {
        self.columns.len() / self.limit
    }

    /// Puts the rows of words that have entries into `to`, as they lie, under names that start with `name`.
    fn save(&self, name: &str, words: &[u32], to: &mut Arrays<T>) {
        let has_entry = |row: &u32| self.columns[self.row(*row)].iter().any(|column| *column != 0);
        let rows: Vec<u32> = words.iter().copied().filter(has_entry).collect();
        let shape = [rows.len(), self.limit];
        let columns = rows.iter().flat_map(|row| &self.columns[self.row(*row)]).copied().collect();
        let values = rows.iter().flat_map(|row| &self.values[self.row(*row)]).copied().collect();
        to.put_whole(format!("{name}.columns"), &[shape[0] * shape[1]], columns);
        to.put_real(format!("{name}.values"), &shape, values);
        to.put_whole(format!("{name}.rows"), &[shape[0]], rows);
    }

    /// Takes over rows that were [`save`](Self::save)d, with entries between the given words, by rising numbers. The
    /// matrix must be empty.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    fn load(&mut self, name: &str, words: &[u32], from: &mut Arrays<T>) -> Result<(), Error> {
        let [rows, columns, values] = ["rows", "columns", "values"].map(|part| format!("{name}.{part}"));
        let all_rows = from.take_words(&rows, self.words())?;
        let shape = [all_rows.len(), self.limit];
        let all_columns = from.take_whole(&columns, Some(shape[0] * shape[1]), last_word(self.words()) + 1)?;
        let all_values = from.take_real(&values, &shape)?;
        check_not_negative(&values, &all_values)?;
        let known = |word: u32| words.binary_search(&word).is_ok();
        let entries = all_columns.chunks_exact(self.limit).zip(all_values.chunks_exact(self.limit));
        for (row, (of_row, values)) in all_rows.iter().zip(entries) {
            let held: Vec<u32> = of_row.iter().filter_map(|column| column.checked_sub(1)).collect();
            check_distinct(&columns, &held)?;
            if let Some(word) = held.iter().chain([row]).find(|word| !known(**word)) {
                return Err(unusable(format!("`{name}` links word {word}, which was never written")));
            }
            if held.contains(row) {
                return Err(unusable(format!("`{name}` links word {row} to itself")));
            }
            for ((place, column), value) in self.row(*row).zip(of_row).zip(values) {
                if *column == 0 && *value != T::ZERO {
                    return Err(unusable(format!("`{name}` has a weight without a word in the row of word {row}")));
                }
                self.replace(*row, place, *column, *value);
            }
        }
        Ok(())
    }

    /// Empties the row and the column of a word. Every word that shares an entry with it must be emptied too.
    fn clear(&mut self, word: u32) {
        let range = self.row(word);
        self.columns[range.clone()].fill(0);
        self.values[range].fill(T::ZERO);
        self.lists.clear(word);
    }

    /// Scales a row, adds `factor` times the words' weights to it, and keeps the largest.
    #[inline(always)]
    fn update_row<I: InstructionSet>(&mut self, row: u32, scale: T, factor: T, additions: &Weighted<T>) {
        let range = self.row(row);
        self.rows.numbers.push(row);
        self.rows.columns.extend_from_slice(&self.columns[range.clone()]);
        self.rows.values.extend_from_slice(&self.values[range.clone()]);

        let (columns, other_columns) = self.columns[range.clone()].as_chunks::<8>();
        let (values, other_values) = self.values[range].as_chunks_mut::<8>();
        for (columns, values) in columns.iter().zip(values) {
            *values = scale_and_add(*columns, *values, scale, factor, additions);
        }
        for (column, value) in other_columns.iter().zip(other_values) {
            [*value] = scale_and_add([*column], [*value], scale, factor, additions);
        }

        // Then one new entry after another, each in place of the smallest if that is smaller: the largest of all stay.
        let (lanes, _) = additions.weights.as_chunks::<LANES>();
        for (number, weights) in lanes.iter().enumerate() {
            let values = I::Lanes::load(weights).multiply(I::Lanes::splat(factor));
            let large = values.at_least(least(&self.values[self.row(row)]));
            if large == 0 {
                continue;
            }
            let mut smallest = self.smallest(row);
            for lane in ones(large) {
                let value = factor * weights[lane];
                // Beyond the last word weights are zero.
                if value > T::ZERO {
                    let word = additions.words[number * LANES + lane];
                    let comes_in = word != row && comes_before((word, value), self.entry(smallest));
                    if comes_in && self.find(row, word).is_none() {
                        self.replace(row, smallest, word + 1, value);
                        smallest = self.smallest(row);
                    }
                }
            }
        }
    }

    /// Scales a column.
    #[inline(always)]
    fn scale_column(&mut self, column: u32, scale: T) {
        for entries in self.lists.of(column) {
            self.entries.extend(entries.iter().map(|entry| {
                let entry = Entry(*entry);
                let value = &mut self.values[entry.place(self.limit)];
                let old = *value;
                *value = scale * old;
                (entry, old)
            }));
        }
    }

    /// Exchanges a row with what the tape has of it.
    #[inline(always)]
    fn exchange_row(&mut self, number: usize) {
        let row = self.rows.numbers[number];
        let range = self.row(row);
        for (place, taped) in range.clone().zip(number * self.limit..) {
            let column = self.columns[place];
            if column != self.rows.columns[taped] {
                self.replace(row, place, self.rows.columns[taped], self.values[place]);
                self.rows.columns[taped] = column;
            }
        }
        let taped = number * self.limit..(number + 1) * self.limit;
        self.values[range].swap_with_slice(&mut self.rows.values[taped]);
    }

    /// Exchanges entries' values with those on the tape.
    #[inline(always)]
    fn exchange_entries(&mut self, numbers: std::ops::Range<usize>) {
        for (entry, value) in &mut self.entries[numbers] {
            std::mem::swap(&mut self.values[entry.place(self.limit)], value);
        }
    }

    /// The place of a row's smallest entry, or a free one.
    #[inline(always)]
    fn smallest(&self, row: u32) -> usize {
        let range = self.row(row);
        let (columns, values) = (&self.columns[range.clone()], &self.values[range.clone()]);
        let least = least(values);
        // A free place, or the highest column of the smallest ones; without a branch, as none could be guessed.
        let mut highest = 0;
        for (place, (column, value)) in columns.iter().zip(values).enumerate() {
            let key = u64::from(column.wrapping_sub(1)) << 32 | place as u64;
            highest = if *value == least { highest.max(key) } else { highest };
        }
        range.start + highest as u32 as usize
    }

    /// Column and value at a place; free places are smaller than any entry.
    #[inline(always)]
    fn entry(&self, place: usize) -> (u32, T) {
        (self.columns[place].wrapping_sub(1), self.values[place])
    }
}

fn check_not_negative<T: Real>(name: &str, weights: &[T]) -> Result<(), Error> {
    match weights.iter().find(|weight| **weight < T::ZERO) {
        None => Ok(()),
        Some(weight) => Err(unusable(format!("`{name}` has the weight {weight}, where none below 0 was expected"))),
    }
}

/// The smallest of at least one number.
#[inline(always)]
fn least<T: Real>(values: &[T]) -> T {
    let smaller = |one: T, other: T| if one < other { one } else { other };
    let (eights, rest) = values.as_chunks::<8>();
    let mut least = *rest.first().unwrap_or(&values[0]);
    for value in rest {
        least = smaller(*value, least);
    }
    for eight in eights {
        let mut lanes = *eight;
        for half in [4, 2, 1] {
            for lane in 0..half {
                lanes[lane] = smaller(lanes[lane], lanes[lane + half]);
            }
        }
        least = smaller(lanes[0], least);
    }
    least
}

/// Scales values and adds to each `factor` times the weight of its column, if that is among the words.
#[inline(always)]
fn scale_and_add<T: Real, const PLACES: usize>(
    columns: [u32; PLACES],
    mut values: [T; PLACES],
    scale: T,
    factor: T,
    additions: &Weighted<T>,
) -> [T; PLACES] {
    values = values.map(|value| scale * value);
    for (word, weight) in additions.each() {
        let addition = factor * weight;
        for (value, column) in values.iter_mut().zip(columns) {
            *value += if column == word + 1 { addition } else { T::ZERO };
        }
    }
    values
}

/// An entry by row and place in the row, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    #[inline(always)]
    fn new(row: u32, in_row: usize) -> Self {
        Self(u64::from(row) << 16 | in_row as u64)
    }

    #[inline(always)]
    fn row(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Its place in a matrix with so many places in a row.
    #[inline(always)]
    fn place(self, in_row: usize) -> usize {
        self.row() as usize * in_row + (self.0 & 0xffff) as usize
    }
}

/// Numbers in a block of a list.
const BLOCK: usize = 16;
/// Entries in a block; the number behind them is its [`End`].
const LISTED: usize = BLOCK - 1;

/// How many entries a block has, and which block of the list is next; 0, which is none that could be, for the last one.
#[derive(Clone, Copy, Debug)]
struct End(u64);

impl End {
    #[inline(always)]
    fn new(count: usize, next: usize) -> Self {
        Self((next as u64) << 4 | count as u64)
    }

    #[inline(always)]
    fn count(self) -> usize {
        (self.0 & 0xf) as usize
    }

    #[inline(always)]
    fn next(self) -> usize {
        (self.0 >> 4) as usize
    }
}

/// For each column a list of its entries, in no particular order. All zeros are empty lists.
///
/// The first block of a list is its column's own. When that is full, others are put right behind it, one at a time: all
/// blocks are full but the one put in last. An entry comes in and goes out at the same cost however long its list is.
#[derive(Debug)]
struct Lists {
    /// The columns' own blocks, then the others.
    blocks: Pages<u64>,
    /// For each place of the matrix that has an entry, the place in the blocks where that is listed.
    listed: Pages<u64>,
    /// Blocks below this one were in use already.
    fresh: usize,
    /// The first in a list of blocks that were given back; 0 if there is none.
    free: usize,
}

impl Lists {
    fn new(columns: usize, places: usize) -> Result<Self, Error> {
        // Others than the columns' own are needed for what goes beyond full ones.
        let blocks = columns.saturating_add(places / LISTED);
        Ok(Self {
            blocks: Pages::new(blocks.saturating_mul(BLOCK))?,
            listed: Pages::new(places)?,
            fresh: columns,
            free: 0,
        })
    }

    #[inline(always)]
    fn blocks(&self) -> &[[u64; BLOCK]] {
        self.blocks.as_chunks().0
    }

    #[inline(always)]
    fn end(&self, block: usize) -> End {
        End(self.blocks[block * BLOCK + LISTED])
    }

    #[inline(always)]
    fn set_end(&mut self, block: usize, count: usize, next: usize) {
        self.blocks[block * BLOCK + LISTED] = End::new(count, next).0;
    }

    /// The entries of a column, block by block.
    #[inline(always)]
    fn of(&self, column: u32) -> impl Iterator<Item = &[u64]> {
        let mut block = Some(column as usize);
        std::iter::from_fn(move || {
            let entries = &self.blocks()[block?];
            let end = End(entries[LISTED]);
            block = Some(end.next()).filter(|next| *next != 0);
            Some(&entries[..end.count()])
        })
    }

    /// Lists an entry, and says where.
    #[inline(always)]
    fn insert(&mut self, column: u32, entry: Entry) -> u64 {
        let own = column as usize;
        let mut block = own;
        if self.end(own).count() == LISTED {
            let next = self.end(own).next();
            block = next;
            if next == 0 || self.end(next).count() == LISTED {
                block = self.take();
                self.set_end(block, 0, next);
                self.set_end(own, LISTED, block);
            }
        }
        let end = self.end(block);
        let place = block * BLOCK + end.count();
        self.blocks[place] = entry.0;
        self.set_end(block, end.count() + 1, end.next());
        place as u64
    }

    /// Takes the entry that is listed at a place off its list. The last one takes the place: returns both.
    #[inline(always)]
    fn remove(&mut self, column: u32, place: u64) -> (Entry, u64) {
        let own = column as usize;
        let next = self.end(own).next();
        let block = if next == 0 { own } else { next };
        let end = self.end(block);
        let last = self.blocks[block * BLOCK + end.count() - 1];
        self.blocks[place as usize] = last;
        self.set_end(block, end.count() - 1, end.next());
        if end.count() == 1 && block != own {
            self.set_end(own, LISTED, end.next());
            self.give_back(block);
        }
        (Entry(last), place)
    }

    /// Empties a list.
    fn clear(&mut self, column: u32) {
        let mut block = self.end(column as usize).next();
        self.set_end(column as usize, 0, 0);
        while block != 0 {
            let next = self.end(block).next();
            self.give_back(block);
            block = next;
        }
    }

    fn take(&mut self) -> usize {
        if self.free == 0 {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let free = self.free;
        self.free = self.end(free).next();
        free
    }

    fn give_back(&mut self, block: usize) {
        self.set_end(block, 0, self.free);
        self.free = block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    vector_fn! {
        fn largest<T, I>(entries: &Weighted<T>, limit: usize, kept: &mut Vec<(u32, T)>) {
            keep_largest::<T, I>(entries, limit, kept);
        }
    }

    proptest! {
        #[test]
        fn the_largest_are_those_that_sorting_would_give(
            weights in proptest::collection::vec(0u8..12, 0..70), limit in 1usize..40,
        ) {
            // Few different weights: most are equal to another.
            let words = (0..weights.len() as u32).map(|word| word * 7 % 71);
            let mut expected: Vec<(u32, f32)> = words.zip(weights.iter().map(|weight| f32::from(*weight) / 8.0)).collect();
            let (mut entries, mut kept) = (Weighted::new(), Vec::new());
            entries.set(expected.iter().copied());
            largest(&entries, limit, &mut kept);
            expected.retain(|entry| entry.1 > 0.0);
            expected.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
            expected.truncate(limit);
            prop_assert_eq!(kept, expected);
        }

        /// Lists of many blocks, which grow, shrink and are emptied.
        #[test]
        fn lists_have_what_was_put_in_and_not_taken_out(
            changes in proptest::collection::vec((0u32..3, 0u32..60), 1..400), clear in 0u32..3,
        ) {
            let mut lists = Lists::new(60, 60).unwrap();
            let mut expected = vec![None; 60];
            for (column, row) in changes {
                let entry = Entry::new(row, 0);
                if let Some(old) = expected[row as usize].take() {
                    let (moved, to) = lists.remove(old, lists.listed[row as usize]);
                    lists.listed[moved.row() as usize] = to;
                } else {
                    lists.listed[row as usize] = lists.insert(column, entry);
                    expected[row as usize] = Some(column);
                }
            }
            for cleared in [None, Some(clear)] {
                if let Some(column) = cleared {
                    lists.clear(column);
                    expected.iter_mut().filter(|listed| **listed == cleared).for_each(|listed| *listed = None);
                }
                for column in 0..3 {
                    let mut rows: Vec<u32> = lists.of(column).flatten().map(|entry| Entry(*entry).row()).collect();
                    rows.sort_unstable();
                    let expected: Vec<u32> = (0..60).filter(|row| expected[*row as usize] == Some(column)).collect();
                    prop_assert_eq!(rows, expected);
                }
            }
        }
    }

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
