//! Sparse matrices of links, with a tape.

use super::lists::{Entry, Lists};
use super::weighted::{Weighted, comes_before, least, ones};
use crate::arrays::{check_distinct, last_word, unusable};
use crate::kernels::bytes::prefetch;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::InstructionSet;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

/// A sparse matrix with up to a fixed number of entries in each row, and for each column a list of its entries. All
/// zeros is the empty matrix.
#[derive(Debug)]
pub struct Matrix<T> {
    pub limit: usize,
    /// One more than the column of the entry at each place; 0 at free places.
    pub columns: Pages<u32>,
    pub values: Pages<T>,
    pub lists: Lists,
    pub rows: RowTape<T>,
    /// Entries that were changed where they stand, with the values that they had, or have once that is undone.
    pub entries: Vec<(Entry, T)>,
}

/// What rows were before they were changed, or are once that is undone.
#[derive(Debug)]
pub struct RowTape<T> {
    pub numbers: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<T>,
    limit: usize,
}

impl<T> RowTape<T> {
    /// No rows, for a matrix with so many places in a row.
    pub fn new(limit: usize) -> Self {
        Self { numbers: Vec::new(), columns: Vec::new(), values: Vec::new(), limit }
    }

    #[inline(always)]
    pub fn truncate(&mut self, length: usize) {
        self.numbers.truncate(length);
        self.columns.truncate(length * self.limit);
        self.values.truncate(length * self.limit);
    }
}

impl<T: Real> Matrix<T> {
    pub fn new(words: usize, limit: usize) -> Result<Self, Error> {
        let too_large = || Error::MemoryTooLarge { bytes: words as u128 * limit as u128 * size_of::<T>() as u128 };
        let places = words.checked_mul(limit).ok_or_else(too_large)?;
        Ok(Self {
            limit,
            columns: Pages::new(places)?,
            values: Pages::new(places)?,
            lists: Lists::new(words, places)?,
            rows: RowTape::new(limit),
            entries: Vec::new(),
        })
    }

    #[inline(always)]
    pub fn row(&self, row: u32) -> std::ops::Range<usize> {
        let start = row as usize * self.limit;
        start..start + self.limit
    }

    /// The place of an entry, if it is there.
    #[inline(always)]
    pub fn find(&self, row: u32, column: u32) -> Option<usize> {
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
    pub fn words(&self) -> usize {
        self.columns.len() / self.limit
    }

    /// Puts the rows of words that have entries into `to`, as they lie, under names that start with `name`.
    pub fn save(&self, name: &str, words: &[u32], to: &mut Arrays<T>) {
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
    pub fn load(&mut self, name: &str, words: &[u32], from: &mut Arrays<T>) -> Result<(), Error> {
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

    /// Adds a row to `to`, if it has entries.
    pub fn keep_row(&self, row: u32, to: &mut RowTape<T>) {
        let range = self.row(row);
        if self.columns[range.clone()].iter().any(|column| *column != 0) {
            to.numbers.push(row);
            to.columns.extend_from_slice(&self.columns[range.clone()]);
            to.values.extend_from_slice(&self.values[range]);
        }
    }

    /// Takes over rows that were [kept](Self::keep_row), as they lay. The matrix must be empty.
    pub fn take_up_rows(&mut self, rows: &RowTape<T>) {
        let entries = rows.columns.chunks_exact(self.limit).zip(rows.values.chunks_exact(self.limit));
        for (row, (columns, values)) in rows.numbers.iter().zip(entries) {
            for ((place, column), value) in self.row(*row).zip(columns).zip(values) {
                self.replace(*row, place, *column, *value);
            }
        }
    }

    /// Empties the row and the column of a word. Every word that shares an entry with it must be emptied too.
    pub fn clear(&mut self, word: u32) {
        let range = self.row(word);
        self.columns[range.clone()].fill(0);
        self.values[range].fill(T::ZERO);
        self.lists.clear(word);
    }

    /// Asks for a row before it is needed.
    #[inline(always)]
    pub fn prefetch_row(&self, row: u32) {
        let range = self.row(row);
        prefetch(&self.columns[range.clone()]);
        prefetch(&self.values[range]);
    }

    /// Scales a row, adds `factor` times the words' weights to it, and keeps the largest.
    #[inline(always)]
    pub fn update_row<I: InstructionSet>(&mut self, simd: I, row: u32, scale: T, factor: T, additions: &Weighted<T>) {
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
            let values = simd.load(weights).multiply(simd.splat(factor));
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
    pub fn scale_column(&mut self, column: u32, scale: T) {
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
    pub fn exchange_row(&mut self, number: usize) {
        let row = self.rows.numbers[number];
        let range = self.row(row);
        let taped = number * self.limit..(number + 1) * self.limit;
        if self.columns[range.clone()] != self.rows.columns[taped.clone()] {
            for (place, taped) in range.clone().zip(taped.clone()) {
                let column = self.columns[place];
                if column != self.rows.columns[taped] {
                    self.replace(row, place, self.rows.columns[taped], self.values[place]);
                    self.rows.columns[taped] = column;
                }
            }
        }
        let (eights, rest) = self.values[range].as_chunks_mut::<8>();
        let (taped_eights, taped_rest) = self.rows.values[taped].as_chunks_mut::<8>();
        for (values, taped) in eights.iter_mut().zip(taped_eights) {
            // Not `swap`, which takes two numbers at a time.
            (*values, *taped) = (*taped, *values);
        }
        rest.swap_with_slice(taped_rest);
    }

    /// Exchanges entries' values with those on the tape.
    #[inline(always)]
    pub fn exchange_entries(&mut self, numbers: std::ops::Range<usize>) {
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

pub fn check_not_negative<T: Real>(name: &str, weights: &[T]) -> Result<(), Error> {
    match weights.iter().find(|weight| **weight < T::ZERO) {
        None => Ok(()),
        Some(weight) => Err(unusable(format!("`{name}` has the weight {weight}, where none below 0 was expected"))),
    }
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
