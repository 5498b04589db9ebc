//! What was read of entries, and the gradient of that.

use super::{KeyValueMemory, check_length};
use crate::kernels::simd::vector_fn;
use crate::memory::softmax::softmax;
use crate::memory::sparse::content::{self, Contents};
use crate::{Error, Real};

/// What [`KeyValueMemory::read`] read, with what its backward pass needs: the keys and values as they were, so that it may
/// come after any change of the memory.
#[derive(Clone, Debug)]
pub struct Read<T> {
    key_size: usize,
    value_size: usize,
    /// Words found for each query.
    limit: usize,
    words: Vec<u32>,
    /// The number of the entry in each of them.
    entries: Vec<u64>,
    cosines: Vec<T>,
    weights: Vec<T>,
    values: Vec<T>,
    tape: Option<Tape<T>>,
}

/// What a recorded read keeps.
#[derive(Clone, Debug)]
struct Tape<T> {
    queries: Vec<T>,
    strengths: Vec<T>,
    /// Of the words found, query after query.
    keys: Vec<T>,
    values: Vec<T>,
}

/// The gradient of a read with respect to what it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadGradients<T> {
    /// Of the queries, one after another.
    pub queries: Vec<T>,
    /// Of the strength of each query.
    pub strengths: Vec<T>,
    /// Of the key of each word found, query after query. A word that several queries found occurs several times.
    pub keys: Vec<T>,
    /// Of the values of these words.
    pub values: Vec<T>,
}

impl<T: Real> Read<T> {
    /// Reads what the latest search of the memory found for these queries.
    pub(super) fn new(memory: &KeyValueMemory<T>, queries: &[T], strengths: &[T], record: bool) -> Self {
        let (found, config) = (&memory.found, memory.config());
        let words: Vec<u32> = (0..strengths.len()).flat_map(|query| found.words(query)).copied().collect();
        let mut read = Self {
            key_size: config.key_size,
            value_size: config.value_size,
            limit: found.limit(),
            entries: words.iter().map(|word| memory.entries[*word as usize]).collect(),
            cosines: vec![T::ZERO; words.len()],
            weights: vec![T::ZERO; words.len()],
            values: vec![T::ZERO; strengths.len() * config.value_size],
            words,
            tape: None,
        };
        let keys = Rows { rows: &memory.keys, gradients: &mut [], size: read.key_size };
        let values = Rows { rows: &memory.values, gradients: &mut [], size: read.value_size };
        forward(&mut read, queries, strengths, &keys, &values);
        read.tape = record.then(|| Tape {
            queries: queries.to_vec(),
            strengths: strengths.to_vec(),
            keys: keys.gather(&read.words),
            values: values.gather(&read.words),
        });
        read
    }

    /// Words found for each query.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The words found for a query, most similar first.
    pub fn words(&self, query: usize) -> &[u32] {
        &self.words[query * self.limit..][..self.limit]
    }

    /// The weights with which their values were read.
    pub fn weights(&self, query: usize) -> &[T] {
        &self.weights[query * self.limit..][..self.limit]
    }

    /// What was read, query after query.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The words found with the numbers of their entries, query after query.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = (u32, u64)> {
        self.words.iter().copied().zip(self.entries.iter().copied())
    }

    /// The gradients of a loss from that of what was read, query after query, and that of the weights, word after word; what is
    /// not given is zero. No gradient flows through the choice of words.
    ///
    /// # Errors
    /// [`Error::Shape`] if one has another length; [`Error::Order`] if the read was not recorded.
    pub fn backward(&self, of_values: Option<&[T]>, of_weights: Option<&[T]>) -> Result<ReadGradients<T>, Error> {
        let Some(tape) = &self.tape else {
            return Err(Error::Order("a read has a backward pass only if it was recorded; read with `record`"));
        };
        let count = tape.strengths.len();
        for (what, gradient, size) in
            [("value_gradient", of_values, self.value_size), ("weight_gradient", of_weights, self.limit)]
        {
            gradient.map_or(Ok(()), |gradient| check_length(what, gradient, count, size))?;
        }
        let mut gradients = ReadGradients {
            queries: vec![T::ZERO; tape.queries.len()],
            strengths: vec![T::ZERO; count],
            keys: vec![T::ZERO; tape.keys.len()],
            values: vec![T::ZERO; tape.values.len()],
        };
        backward(self, tape, of_values, of_weights, &mut gradients);
        Ok(gradients)
    }
}

/// Rows of `size` numbers as words, with their gradients if there are any.
struct Rows<'a, T> {
    rows: &'a [T],
    gradients: &'a mut [T],
    size: usize,
}

impl<T: Real> Rows<'_, T> {
    /// A copy of these words, one after another.
    fn gather(&self, words: &[u32]) -> Vec<T> {
        words.iter().flat_map(|word| self.content(*word)).copied().collect()
    }
}

impl<T: Real> Contents<T> for Rows<'_, T> {
    #[inline(always)]
    fn content(&self, word: u32) -> &[T] {
        &self.rows[word as usize * self.size..][..self.size]
    }

    #[inline(always)]
    fn content_and_gradient(&mut self, word: u32) -> (&[T], Option<&mut [T]>) {
        let range = word as usize * self.size..(word as usize + 1) * self.size;
        (&self.rows[range.clone()], self.gradients.get_mut(range))
    }
}

vector_fn! {
    fn forward<T, simd: I>(read: &mut Read<T>, queries: &[T], strengths: &[T], keys: &Rows<T>, values: &Rows<T>) {
        let rows = queries.chunks_exact(read.key_size).zip(strengths).zip(read.values.chunks_exact_mut(read.value_size));
        for (number, ((query, strength), value)) in rows.enumerate() {
            let found = number * read.limit..(number + 1) * read.limit;
            let (words, weights) = (&read.words[found.clone()], &mut read.weights[found.clone()]);
            content::compare(simd, keys, words, query, *strength, &mut read.cosines[found], weights);
            softmax(weights);
            content::read(simd, values, words, weights, value);
        }
    }
}

vector_fn! {
    fn backward<T, simd: I>(
        read: &Read<T>, tape: &Tape<T>, of_values: Option<&[T]>, of_weights: Option<&[T]>, gradients: &mut ReadGradients<T>,
    ) {
        let mut keys = Rows { rows: &tape.keys, gradients: &mut gradients.keys, size: read.key_size };
        let mut values = Rows { rows: &tape.values, gradients: &mut gradients.values, size: read.value_size };
        let mut weight_gradient = vec![T::ZERO; read.limit];
        let rows = tape.queries.chunks_exact(read.key_size).zip(gradients.queries.chunks_exact_mut(read.key_size));
        for (number, (query, query_gradient)) in rows.enumerate() {
            let found = number * read.limit..(number + 1) * read.limit;
            let (cosines, weights) = (&read.cosines[found.clone()], &read.weights[found.clone()]);
            // On the tape rows lie in the order in which they were found.
            let places: Vec<u32> = found.clone().map(|place| place as u32).collect();
            match of_weights {
                Some(gradient) => weight_gradient.copy_from_slice(&gradient[found]),
                None => weight_gradient.fill(T::ZERO),
            }
            if let Some(gradient) = of_values {
                let gradient = &gradient[number * read.value_size..][..read.value_size];
                content::read_back(simd, &mut values, &places, weights, gradient, &mut weight_gradient);
            }
            gradients.strengths[number] = content::address_back(
                simd, &mut keys, &places, query, tape.strengths[number], cosines, weights, &mut weight_gradient, query_gradient,
            );
        }
    }
}
