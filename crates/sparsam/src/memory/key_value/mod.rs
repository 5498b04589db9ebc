//! Entries of a key and a value, found by their keys: the memory that neural episodic control calls a differentiable neural
//! dictionary (Pritzel et al. 2017, arXiv 1703.01988, section 3.1), that a kNN language model looks its datastore up in
//! (Khandelwal et al. 2020, arXiv 1911.00172), and that memorising transformers attend to (Wu et al. 2022, arXiv
//! 2203.08913).
//!
//! ```
//! use sparsam::memory::{KeyValueMemory, key_value};
//!
//! # fn main() -> Result<(), sparsam::Error> {
//! let config = key_value::Config { key_size: 2, value_size: 1, memory_size: 1000, ..Default::default() };
//! let mut memory = KeyValueMemory::<f32>::new(config)?;
//! let words = memory.write(&[1.0, 0.0, 0.0, 1.0], &[5.0, 7.0])?;
//! assert_eq!(words, [0, 1]);
//! memory.update(&[1], Some(&[-1.0, 0.0]), None)?;
//!
//! // The value of the word most similar to the query.
//! let read = memory.read(&[-2.0, 0.1], &[10.0], 1, true, true)?;
//! assert_eq!((read.words(0), read.values()), (&[1][..], &[7.0][..]));
//!
//! // The gradient of that value goes back to what was read.
//! let gradients = read.backward(Some(&[1.0]), None)?;
//! memory.accumulate(&read, &gradients);
//! assert_eq!(memory.gradients().values, [1.0]);
//! # Ok(())
//! # }
//! ```

mod gradients;
mod read;

pub use gradients::Gradients;
pub use read::{Read, ReadGradients};

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use self::gradients::Accumulated;
use crate::arrays::{last_word, unusable};
use crate::index::{Found, Index, IndexKind};
use crate::kernels::simd::vector_fn;
use crate::kernels::vector::dot;
use crate::memory::sparse::ring::{self, Ring};
use crate::option::Declared;
use crate::system::available_if_fewer_than;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

crate::options! {
    /// The configuration of a [`KeyValueMemory`].
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// Numbers in a key, K.
        pub key_size: usize = 32, in 1..=1 << 16;
        /// Numbers in a value, V.
        pub value_size: usize = 32, in 1..=1 << 16;
        /// Entries that there is room for, N.
        pub memory_size: usize = 1_000_000, in 1..=ring::LARGEST;
        /// How similar keys are found.
        pub index: IndexKind = IndexKind::default();
        /// Keys that an approximate index compares with a query, about; 0: its own choice.
        pub index_checks: usize = 0, in 0..;
    }
}

/// The number of the next entry of any memory. No two have the same, so that what was read of an entry is never taken for
/// another's.
static NEXT_ENTRY: AtomicU64 = AtomicU64::new(1);

/// N words, each of which can hold an entry: a key of K numbers and a value of V. Entries are found by the cosine of their
/// keys to a query, by an index that follows every change: nothing is ever rebuilt.
///
/// New entries go to words that hold none, 0, 1, 2, …, and once all do to those least recently used: written, updated, or
/// found by a search or a read that says so. So words 0 to [`len`](Self::len) - 1 hold entries. The cost of every call is
/// that of the words that it names or finds, and of the index's search; the number of words is a limit and costs nothing.
///
/// The cosine is cos(u, v) = u·v / (√(u·u + ε) √(v·v + ε)), ε = [`EPSILON`](crate::index::EPSILON): a key of zeros has
/// similarity 0 to every query, and one much shorter than √ε = 0.001 little more.
///
/// The order of calls is all that the result of a call depends on: everything is computed on the calling thread.
pub struct KeyValueMemory<T> {
    config: Config,
    keys: Pages<T>,
    values: Pages<T>,
    /// The number of the entry in each word; 0 where there is none.
    entries: Pages<u64>,
    index: Box<dyn Index<T>>,
    /// All words, least recently used first.
    ring: Ring,
    gradients: Accumulated<T>,
    found: Found<T>,
}

impl<T: Real> KeyValueMemory<T> {
    /// An empty memory.
    ///
    /// # Errors
    /// [`Error::Config`] if an option is out of its range, [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check_options()?;
        let Config { key_size, value_size, memory_size, index, index_checks } = config;
        Ok(Self {
            keys: Self::rows(memory_size, key_size)?,
            values: Self::rows(memory_size, value_size)?,
            entries: Pages::new(memory_size)?,
            index: index.build(memory_size, key_size, index_checks)?,
            ring: Ring::new(memory_size as u32),
            gradients: Accumulated::default(),
            found: Found::default(),
            config,
        })
    }

    fn rows(count: usize, size: usize) -> Result<Pages<T>, Error> {
        let too_large = || Error::MemoryTooLarge { bytes: count as u128 * size as u128 * size_of::<T>() as u128 };
        Pages::new(count.checked_mul(size).ok_or_else(too_large)?)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Writes entries, whose `keys` and `values` lie one after another, and gives the word of each. They count as used in
    /// their order.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many values as keys, [`Error::TooManyEntries`] if there are more entries than
    /// words, [`Error::NotFinite`] if the square of a key or a number of a value is not finite. Nothing is then written.
    pub fn write(&mut self, keys: &[T], values: &[T]) -> Result<Vec<u32>, Error> {
        let Config { key_size, value_size, memory_size, .. } = self.config;
        let entries = check_keys("key", "keys", keys, key_size)?;
        check_values(values, entries, value_size)?;
        if entries > memory_size {
            return Err(Error::TooManyEntries { entries, memory_size });
        }
        let mut words = vec![0; entries];
        self.ring.least_recent(&mut words);
        let first = NEXT_ENTRY.fetch_add(entries as u64, Ordering::Relaxed);
        for (word, entry) in words.iter().zip(first..) {
            self.entries[*word as usize] = entry;
        }
        self.put(&words, Some(keys), Some(values));
        Ok(words)
    }

    /// Changes the keys, the values, or both, of the entries in these words, which count as used in this order. Of a word that
    /// is named twice the last content stays. Gradients of these entries that were accumulated stay as they are.
    ///
    /// # Errors
    /// [`Error::NotWritten`] names the words that hold no entry; [`Error::Shape`] and [`Error::NotFinite`] as
    /// [`write`](Self::write). Nothing is then changed.
    pub fn update(&mut self, words: &[u32], keys: Option<&[T]>, values: Option<&[T]>) -> Result<(), Error> {
        let Config { key_size, value_size, .. } = self.config;
        self.check_written(words)?;
        if let Some(keys) = keys {
            check_length("keys", keys, words.len(), key_size)?;
            check_keys("key", "keys", keys, key_size)?;
        }
        if let Some(values) = values {
            check_values(values, words.len(), value_size)?;
        }
        self.put(words, keys, values);
        Ok(())
    }

    /// Puts what was checked into words, and lets the index and the order of use follow.
    fn put(&mut self, words: &[u32], keys: Option<&[T]>, values: Option<&[T]>) {
        for (rows, numbers, size) in
            [(&mut self.keys, keys, self.config.key_size), (&mut self.values, values, self.config.value_size)]
        {
            for (word, row) in words.iter().zip(numbers.unwrap_or_default().chunks_exact(size)) {
                rows[*word as usize * size..][..size].copy_from_slice(row);
            }
        }
        if keys.is_some() {
            self.index.update_all(words, &self.keys);
        }
        self.ring.access(words.iter().copied(), false);
    }

    /// The entries most similar to each of the queries, which lie one after another: `limit` of them, or all if there are
    /// fewer, with their similarities. Most similar first; with an exact index ties to the lower word. With `use_found` they count as used, query
    /// after query, the least similar of each first.
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers are no whole number of queries, [`Error::NotFinite`] if the square of one is not
    /// finite, [`Error::NoRoom`] if this machine has none for so many words.
    pub fn search(&mut self, queries: &[T], limit: usize, use_found: bool) -> Result<&Found<T>, Error> {
        let count = check_keys("query", "queries", queries, self.config.key_size)?;
        let limit = limit.min(self.index.len());
        // A word and its similarity, and both once more for whoever takes them out.
        check_room("the words found", count, limit, 2 * (size_of::<u32>() + size_of::<T>()))?;
        self.found.start(count, limit);
        if self.found.limit() > 0 {
            self.index.search(&self.keys, queries, &mut self.found);
        }
        if use_found {
            for query in 0..count {
                self.ring.access(self.found.words(query).iter().rev().copied(), false);
            }
        }
        Ok(&self.found)
    }

    /// Searches as [`search`](Self::search), and reads: Σ w(i) value(i) over the words i found, where
    /// w = softmax(β cos(query, key(i))) and β is the query's strength. (Content addressing as in the NTM, Graves et al. 2014,
    /// equation 5, over the words found.) What is read of an empty memory is zero. With `record` what was read is kept for
    /// [`Read::backward`]: K + V numbers for each word found.
    ///
    /// # Errors
    /// As [`search`](Self::search); [`Error::Shape`] if there is not one strength for each query, [`Error::NotFinite`] if one
    /// is not finite.
    pub fn read(
        &mut self,
        queries: &[T],
        strengths: &[T],
        limit: usize,
        use_found: bool,
        record: bool,
    ) -> Result<Read<T>, Error> {
        let count = check_keys("query", "queries", queries, self.config.key_size)?;
        check_length("strengths", strengths, count, 1)?;
        check_finite("strength", strengths, 1)?;
        if record {
            let Config { key_size, value_size, .. } = self.config;
            let row = size_of::<T>().saturating_mul(key_size.saturating_add(value_size));
            check_room("a read that is recorded", count, limit.min(self.index.len()), row)?;
        }
        self.search(queries, limit, use_found)?;
        Ok(Read::new(self, queries, strengths, record))
    }

    /// Adds the gradients of the keys and values that were read to those of the entries. An entry that was overwritten
    /// meanwhile gets none; one that was updated gets what there is, the gradient at what was read.
    ///
    /// # Panics
    /// If the gradients are those of another read.
    pub fn accumulate(&mut self, read: &Read<T>, gradients: &ReadGradients<T>) {
        let Config { key_size, value_size, .. } = self.config;
        let rows = gradients.keys.chunks_exact(key_size).zip(gradients.values.chunks_exact(value_size));
        assert_eq!(rows.len(), read.entries().len(), "gradients belong to the read that they are of");
        for ((word, entry), (key, value)) in read.entries().zip(rows) {
            if self.entries.get(word as usize) == Some(&entry) {
                self.gradients.add(word, entry, key, value);
            }
        }
    }

    /// The entries that gradients were accumulated for since [`zero_gradients`](Self::zero_gradients), by rising words, with
    /// their sums. Entries that were overwritten meanwhile are not among them.
    pub fn gradients(&self) -> Gradients<T> {
        let Config { key_size, value_size, .. } = self.config;
        self.gradients.collect(&self.entries, key_size, value_size)
    }

    /// Forgets the gradients.
    pub fn zero_gradients(&mut self) {
        self.gradients.clear();
    }

    /// The key of the entry in a word, if there is one.
    pub fn key(&self, word: u32) -> Option<&[T]> {
        let size = self.config.key_size;
        self.is_written(word).then(|| &self.keys[word as usize * size..][..size])
    }

    /// The value of the entry in a word, if there is one.
    pub fn value(&self, word: u32) -> Option<&[T]> {
        let size = self.config.value_size;
        self.is_written(word).then(|| &self.values[word as usize * size..][..size])
    }

    /// Whether a word holds an entry.
    fn is_written(&self, word: u32) -> bool {
        (word as usize) < self.len()
    }

    /// Checks that all of these words hold entries.
    ///
    /// # Errors
    /// [`Error::NotWritten`] names those that do not.
    pub fn check_written(&self, words: &[u32]) -> Result<(), Error> {
        let words: Vec<u32> = words.iter().copied().filter(|word| !self.is_written(*word)).collect();
        if words.is_empty() {
            return Ok(());
        }
        let written = match self.len() {
            0 => "no entry".into(),
            1 => "one entry, in word 0".into(),
            len => format!("entries in words 0 to {}", len - 1),
        };
        Err(Error::NotWritten { words, written })
    }

    /// Removes all entries and gradients, at the cost of the entries.
    pub fn clear(&mut self) {
        let entries = &mut self.entries;
        self.index.clear(&mut |word| entries[word as usize] = 0);
        self.ring.reset();
        self.gradients.clear();
    }

    /// Puts the entries and the order of use into `to`: `keys`, `values`, and `order`, all words, least recently used first,
    /// as the first and last of each run of rising numbers. The cost is that of the entries. Gradients are not saved.
    pub fn save(&self, to: &mut Arrays<T>) {
        let Config { key_size, value_size, .. } = self.config;
        let len = self.len();
        to.put_real("keys", &[len, key_size], self.keys[..len * key_size].to_vec());
        to.put_real("values", &[len, value_size], self.values[..len * value_size].to_vec());
        let order = self.ring.runs().into_flattened();
        to.put_whole("order", &[order.len()], order);
    }

    /// Takes over what a memory of the same sizes [`save`](Self::save)d, in the place of what there is. With an exact index,
    /// later calls then give the same to the bit; an approximate index is built anew from the keys.
    ///
    /// # Errors
    /// [`Error::State`] names the array that does not fit. The memory then stays as it is.
    pub fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        let Config { key_size, value_size, memory_size, .. } = self.config;
        let len = from.get("keys").and_then(|keys| keys.shape().first().copied()).unwrap_or_default();
        let keys = from.take_real("keys", &[len, key_size])?;
        let values = from.take_real("values", &[len, value_size])?;
        let order = from.take_whole("order", None, last_word(memory_size))?;
        from.check_empty()?;
        if len > memory_size {
            return Err(unusable(format!("`keys` has {len} keys, where at most {memory_size} were expected")));
        }
        check_keys("key", "keys", &keys, key_size).map_err(|error| unusable(error.to_string()))?;
        let mut ring = Ring::new(memory_size as u32);
        let (runs, rest) = order.as_chunks::<2>();
        if !rest.is_empty() || !ring.set_runs(runs) {
            return Err(unusable(format!("`order` is not an order of all {memory_size} words")));
        }
        // What holds no entry was never used.
        if len < memory_size && runs.first() != Some(&[len as u32, memory_size as u32 - 1]) {
            return Err(unusable(format!("`order` does not begin with the words from {len} on, which hold no entry")));
        }
        self.clear();
        let words: Vec<u32> = (0..len as u32).collect();
        let first = NEXT_ENTRY.fetch_add(len as u64, Ordering::Relaxed);
        for (word, entry) in (first..).take(len).enumerate() {
            self.entries[word] = entry;
        }
        self.put(&words, Some(&keys), Some(&values));
        self.ring = ring;
        Ok(())
    }
}

vector_fn! {
    /// The first of some rows whose square is not finite, with its square: a row with a number that is not finite, or with
    /// larger ones than cosines can be taken of.
    fn without_norm<T, simd: I>(rows: &[T], size: usize) -> Option<(usize, T)> {
        let squares = rows.chunks_exact(size).map(|row| dot(simd, row, row));
        squares.enumerate().find(|(_, square)| !square.is_finite())
    }
}

/// Checks that rows are whole and have a norm, and gives their number.
fn check_keys<T: Real>(one: &str, what: &'static str, rows: &[T], size: usize) -> Result<usize, Error> {
    let count = rows.len() / size;
    check_length(what, rows, rows.len().div_ceil(size), size)?;
    match without_norm(rows, size) {
        None => Ok(count),
        Some((row, square)) => {
            Err(Error::NotFinite { what: format!("the square of {one} {row}"), value: square.to_f64() })
        }
    }
}

fn check_values<T: Real>(values: &[T], count: usize, size: usize) -> Result<(), Error> {
    check_length("values", values, count, size)?;
    check_finite("value", values, size)
}

/// Checks that this machine has room for `limit` rows of so many bytes for each of the queries: an allocation that fails
/// would end the program.
fn check_room(what: &'static str, queries: usize, limit: usize, row: usize) -> Result<(), Error> {
    let bytes = queries as u128 * limit as u128 * row as u128;
    available_if_fewer_than(bytes).map_or(Ok(()), |available| Err(Error::NoRoom { what, bytes, available }))
}

fn check_length<T>(what: &'static str, numbers: &[T], count: usize, size: usize) -> Result<(), Error> {
    let (found, expected) = (numbers.len(), count * size);
    if found == expected {
        return Ok(());
    }
    Err(Error::Shape { what, found, expected, shape: format!("{count} × {size}") })
}

fn check_finite<T: Real>(one: &str, rows: &[T], size: usize) -> Result<(), Error> {
    match rows.iter().enumerate().find(|(_, number)| !number.is_finite()) {
        None => Ok(()),
        Some((place, number)) => {
            let row = place / size;
            let what =
                if size == 1 { format!("{one} {row}") } else { format!("number {} of {one} {row}", place % size) };
            Err(Error::NotFinite { what, value: number.to_f64() })
        }
    }
}
