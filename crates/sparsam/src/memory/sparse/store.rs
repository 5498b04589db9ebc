//! What sparse memories share: words, the order of their last accesses, and the heads' reads, all with a tape.

use std::ops::Range;

use super::ring::{Accesses, Ring};
use super::words::{self, Addition, Words};
use crate::arrays::{check_distinct, last_word, unusable};
use crate::index::Index;
use crate::kernels::simd::InstructionSet;
use crate::kernels::vector::{axpy, dot};
use crate::memory::gates::Gates;
use crate::memory::options::{Footprint, Sizes};
use crate::memory::trace::put_pairs;
use crate::{Arrays, Error, Real};

/// Checks that there is a word for each of the heads that write.
///
/// # Errors
/// [`Error::Config`] names the field that does not fit.
pub fn check_words(memory_size: usize, writers: usize) -> Result<(), Error> {
    let reason = format!("each of the {writers} heads that write needs a word of its own");
    Error::check_config(memory_size >= writers, "memory_size", memory_size, reason)
}

/// Bytes of a word number with a weight of `element` bytes.
pub fn pair_bytes(element: usize) -> u128 {
    4 + element as u128
}

/// What a sparse memory takes: `step` bytes on the tape for each step, and at most `changes` words that it changes.
pub fn footprint(sizes: &impl Sizes, steps: usize, element: usize, step: u128, changes: u128) -> Footprint {
    let [words, size, steps, element] =
        [sizes.memory_size(), sizes.word_size(), steps, element].map(|number| number as u128);
    // Each change keeps the old content; each changed word has a gradient.
    let gradients = words.min(steps * changes) * (size * element + 8);
    Footprint::Sparse { tape: steps * (step + changes * (size * element + 4) + 40) + gradients }
}

/// A store's words, order and reads that were put aside with their tape.
pub struct Aside<T> {
    words: words::Aside<T>,
    ring: Ring,
    reads: Reads<T>,
    erased: Vec<u32>,
    moves: Vec<usize>,
    position: usize,
}

/// Words that know when they were last accessed, and what the heads read of them. Every step erases the least recently
/// accessed words, one for each head that writes.
///
/// A step is [`start_step`](Self::start_step), one [`write`](Self::write), what each head reads set in
/// [`reads`](Self::reads), and [`end_step`](Self::end_step). A step back is [`start_back`](Self::start_back), the
/// gradients of what was read, [`write_back`](Self::write_back) for each head that writes, and
/// [`undo_step`](Self::undo_step).
pub struct Store<T> {
    /// The words.
    pub words: Words<T>,
    /// What was read at each step.
    pub reads: Reads<T>,
    /// Gradients of the weights with which the heads read before the latest step undone, head after head.
    pub read_weight_gradients: Vec<T>,
    /// Heads that write.
    writers: usize,
    /// The words erased at each step on the tape, one for each head that writes.
    erased: Vec<u32>,
    ring: Ring,
    access_threshold: T,
    accesses: Accesses<T>,
    /// Moves of the ring up to each step on the tape; the first entry is the start of the episode.
    moves: Vec<usize>,
    /// Steps on the tape that are in force.
    position: usize,
}

impl<T: Real> Store<T> {
    /// `memory_size` zero words of `word_size` elements, found by `index`, read as `reads` is made for and written by `writers` heads;
    /// accesses with a total weight above `access_threshold` count.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(
        memory_size: usize,
        word_size: usize,
        index: Box<dyn Index<T>>,
        access_threshold: f64,
        reads: Reads<T>,
        writers: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            words: Words::new(memory_size, word_size, index)?,
            read_weight_gradients: vec![T::ZERO; reads.heads * reads.capacity],
            reads,
            writers,
            erased: Vec::new(),
            ring: Ring::new(memory_size as u32),
            access_threshold: T::from_f64(access_threshold),
            accesses: Accesses::default(),
            moves: vec![0],
            position: 0,
        })
    }

    /// Zeroes every word, at the cost of those ever accessed; names those ever written to `forgotten`.
    pub fn reset(&mut self, forgotten: impl FnMut(u32)) {
        self.start_episode();
        self.words.reset(forgotten);
        self.ring.reset();
        self.reads.clear();
    }

    /// Keeps everything as it stands and empties the tape.
    pub fn start_episode(&mut self) {
        self.reads.carry(self.position);
        self.words.start_episode();
        self.ring.truncate_record(0);
        self.moves.truncate(1);
        self.position = 0;
    }

    /// As a new store: to be [taken up](Self::swap).
    pub fn fresh(&self) -> Aside<T> {
        Aside {
            words: words::Aside::default(),
            ring: Ring::new(self.words.memory_size() as u32),
            reads: Reads::new(self.reads.heads, self.reads.capacity),
            erased: Vec::new(),
            moves: vec![0],
            position: 0,
        }
    }

    /// Puts everything aside, the tape included, and takes up something else in its place, at the cost of the words
    /// written in both. Names the words put aside that were ever written to `forgotten`.
    pub fn swap(&mut self, other: Aside<T>, forgotten: impl FnMut(u32)) -> Aside<T> {
        // No gradient passes from one to the other.
        self.read_weight_gradients.fill(T::ZERO);
        Aside {
            words: self.words.swap(other.words, forgotten),
            ring: std::mem::replace(&mut self.ring, other.ring),
            reads: std::mem::replace(&mut self.reads, other.reads),
            erased: std::mem::replace(&mut self.erased, other.erased),
            moves: std::mem::replace(&mut self.moves, other.moves),
            position: std::mem::replace(&mut self.position, other.position),
        }
    }

    /// Whether no step on the tape is in force.
    pub fn at_start(&self) -> bool {
        self.position == 0
    }

    /// No gradient comes from the steps that were undone.
    pub fn forget_gradients(&mut self) {
        self.words.forget_gradients();
        self.read_weight_gradients.fill(T::ZERO);
    }

    /// What was undone can no longer be replayed.
    pub fn forget_undone(&mut self) {
        self.words.forget_undone();
        self.forget_gradients();
        self.ring.truncate_record(self.moves[self.position]);
        self.moves.truncate(self.position + 1);
    }

    /// Puts words, the order of their accesses, and what the heads read into `to`.
    pub fn save(&mut self, to: &mut Arrays<T>) {
        self.words.save(to);
        let order = self.ring.runs();
        to.put_whole("order", &[2 * order.len()], order.into_flattened());
        self.reads.save(self.position, "read", to);
    }

    /// Takes over what was [`save`](Self::save)d. The store must have been [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.words.load(from)?;
        let memory_size = self.words.memory_size();
        let order = from.take_whole("order", None, last_word(memory_size))?;
        let (runs, rest) = order.as_chunks::<2>();
        if !rest.is_empty() || !self.ring.set_runs(runs) {
            return Err(unusable(format!("`order` is not an order of all {memory_size} words")));
        }
        self.reads.load("read", memory_size, from)
    }

    /// Starts a step: what was undone can no longer be replayed. Gives the entries of [`reads`](Self::reads) before the
    /// step and after it.
    #[inline(always)]
    pub fn start_step(&mut self) -> (usize, usize) {
        let (before, now) = (self.position, self.position + 1);
        self.ring.truncate_record(self.moves[before]);
        self.moves.truncate(now);
        self.accesses.clear();
        self.reads.start_entry(now);
        self.read_weight_gradients.fill(T::ZERO);
        self.erased.resize(now * self.writers, 0);
        self.ring.least_recent(&mut self.erased[before * self.writers..]);
        (before, now)
    }

    /// The words that this step erases, one for each head that writes.
    #[inline(always)]
    pub fn erased(&self) -> &[u32] {
        &self.erased[self.position * self.writers..]
    }

    /// Zeroes the [`erased`](Self::erased) words, to each of which there must be an addition, then adds `weight · vector(head)`
    /// for every addition, and notes these accesses in the order of the additions.
    #[inline(always)]
    pub fn write<'a, I: InstructionSet>(
        &mut self,
        simd: I,
        additions: &[Addition<T>],
        vector: impl Fn(u32) -> &'a [T],
        record: bool,
    ) {
        for addition in additions {
            self.accesses.add(addition.word, addition.weight);
        }
        let erased = &self.erased[self.position * self.writers..];
        self.words.write(simd, self.accesses.words(), erased, additions, vector, record);
    }

    /// Ends a step: words that were accessed go to the recent end, those written before those read, each where it was
    /// accessed last. Without `record`, what was just read is where the next episode starts.
    #[inline(always)]
    pub fn end_step(&mut self, record: bool) {
        for head in 0..self.reads.heads {
            let (words, weights) = self.reads.of(self.position + 1, head);
            for (word, weight) in words.iter().zip(weights) {
                self.accesses.add(*word, *weight);
            }
        }
        self.ring.access(self.accesses.above(self.access_threshold), record);
        if record {
            self.moves.push(self.ring.recorded());
            self.position += 1;
        } else {
            self.reads.carry(1);
        }
    }

    /// Starts the backward pass of the latest step that is in force. Gives the entries of [`reads`](Self::reads) before the
    /// step and after it.
    ///
    /// # Panics
    /// If no step is left on the tape.
    #[inline(always)]
    pub fn start_back(&mut self) -> (usize, usize) {
        assert!(self.position > 0, "no step is left on the tape");
        self.words.start_back();
        (self.position - 1, self.position)
    }

    /// The gradient of a write of `vector` with the weights α (γ w̄ + (1-γ) 1\[u\]), w̄ the mean of those with which
    /// `heads` read before, u the word erased for the writing head `writer`. Adds to the gradients of the vector and of the
    /// weights read with; gives those of the gates' logits.
    #[inline(always)]
    pub fn write_back<I: InstructionSet>(
        &mut self,
        simd: I,
        writer: usize,
        heads: Range<usize>,
        gates: Gates<T>,
        vector: &[T],
        vector_gradient: &mut [T],
    ) -> (T, T) {
        let before = self.position - 1;
        let of_head = T::ONE / T::from_f64(heads.len() as f64);
        let share = gates.of_first() * of_head;
        let mut over_read = T::ZERO;
        // Contents add up linearly, so that each word's gradient is that of all that was added to it.
        for head in heads {
            let (words, weights) = self.reads.of(before, head);
            let weight_gradients = &mut self.read_weight_gradients[head * self.reads.capacity..];
            for ((word, weight), weight_gradient) in words.iter().zip(weights).zip(weight_gradients) {
                let Some(content) = self.words.gradient(*word) else { continue };
                let gradient = dot(simd, vector, content);
                axpy(simd, vector_gradient, share * *weight, content);
                over_read += gradient * *weight * of_head;
                *weight_gradient += share * gradient;
            }
        }
        let mut over_erased = T::ZERO;
        if let Some(content) = self.words.gradient(self.erased[before * self.writers + writer]) {
            over_erased = dot(simd, vector, content);
            axpy(simd, vector_gradient, gates.of_second(), content);
        }
        gates.back(over_read, over_erased)
    }

    /// The entries of [`reads`](Self::reads) before the latest step that is in force and after it, and the words that
    /// it erased.
    ///
    /// # Panics
    /// If no step is left on the tape.
    pub fn latest(&self) -> (usize, usize, &[u32]) {
        assert!(self.position > 0, "no step is left on the tape");
        let before = self.position - 1;
        (before, self.position, &self.erased[before * self.writers..self.position * self.writers])
    }

    /// Undoes the latest step that is in force.
    #[inline(always)]
    pub fn undo_step<I: InstructionSet>(&mut self, simd: I) {
        // What the erased words held before is lost, and no gradient reaches it.
        for word in &self.erased[(self.position - 1) * self.writers..self.position * self.writers] {
            if let Some(gradient) = self.words.gradient(*word) {
                gradient.fill(T::ZERO);
            }
        }
        self.words.undo_write(simd);
        self.ring.undo(self.moves[self.position - 1], self.moves[self.position]);
        self.position -= 1;
    }

    /// Does again every step that was undone.
    pub fn replay(&mut self) {
        let last = self.moves.len() - 1;
        self.words.redo_writes();
        self.ring.redo(self.moves[self.position], self.moves[last]);
        self.position = last;
        self.read_weight_gradients.fill(T::ZERO);
    }

    /// All that a later step could depend on, to the bit: contents, order, what was read, and what the index finds.
    #[cfg(test)]
    pub fn state(&mut self) -> Vec<Vec<u32>>
    where
        T: Into<f32>,
    {
        use crate::memory::conformance::{bits, interface};

        let words = &mut self.words;
        let contents: Vec<f32> =
            (0..words.memory_size() as u32).flat_map(|w| words.content(w)).map(|x| (*x).into()).collect();
        let mut order = vec![0; words.memory_size()];
        let word_size = contents.len() / order.len();
        let mut found = crate::index::Found::default();
        let keys: Vec<T> = interface(3 * word_size, 77, 5).iter().map(|x| T::from_f64(f64::from(*x))).collect();
        words.search(&keys, 5, &mut found);
        self.ring.least_recent(&mut order);
        let mut state = vec![bits(&contents), order];
        for query in 0..3 {
            let cosines: Vec<f32> = found.cosines(query).iter().map(|x| (*x).into()).collect();
            state.extend([found.words(query).to_vec(), bits(&cosines)]);
        }
        for head in 0..self.reads.heads {
            let (words, weights) = self.reads.of(self.position, head);
            let weights: Vec<f32> = weights.iter().map(|x| (*x).into()).collect();
            state.extend([words.to_vec(), bits(&weights)]);
        }
        state
    }
}

/// What each head read at each step on the tape: words and weights. Entry 0 is the state at the start of the episode;
/// a head that has not read yet has no words there.
#[derive(Debug, Default)]
pub struct Reads<T> {
    heads: usize,
    /// Places for words of a head.
    capacity: usize,
    words: Vec<u32>,
    weights: Vec<T>,
    counts: Vec<usize>,
}

impl<T: Real> Reads<T> {
    /// An empty tape for heads that read up to `capacity` words.
    pub fn new(heads: usize, capacity: usize) -> Self {
        let mut reads = Self { heads, capacity, ..Self::default() };
        reads.start_entry(0);
        reads
    }

    /// Makes `entry` the last one, its heads without words.
    pub fn start_entry(&mut self, entry: usize) {
        self.counts.truncate(entry * self.heads);
        self.counts.resize((entry + 1) * self.heads, 0);
        self.words.resize((entry + 1) * self.heads * self.capacity, 0);
        self.weights.resize((entry + 1) * self.heads * self.capacity, T::ZERO);
    }

    /// Makes `entry` the first one, and the only one.
    pub fn carry(&mut self, entry: usize) {
        let (numbers, heads) = (self.heads * self.capacity, self.heads);
        self.counts.copy_within(entry * heads..(entry + 1) * heads, 0);
        self.words.copy_within(entry * numbers..(entry + 1) * numbers, 0);
        self.weights.copy_within(entry * numbers..(entry + 1) * numbers, 0);
        self.counts.truncate(heads);
        self.words.truncate(numbers);
        self.weights.truncate(numbers);
    }

    /// Empties the tape: no head has read anything.
    pub fn clear(&mut self) {
        self.start_entry(0);
        self.counts.fill(0);
    }

    /// Puts what some heads read at an entry into `to`, as [`put_pairs`] does.
    pub fn trace(&self, entry: usize, heads: impl Iterator<Item = usize>, name: &str, to: &mut Arrays<T>) {
        let pairs = heads.map(|head| {
            let (words, weights) = self.of(entry, head);
            words.iter().copied().zip(weights.iter().copied())
        });
        put_pairs(pairs, self.capacity, name, to);
    }

    /// Puts one entry into `to`, under names that start with `name`.
    pub fn save(&self, entry: usize, name: &str, to: &mut Arrays<T>) {
        let heads = (0..self.heads).map(|head| self.of(entry, head));
        let (mut counts, mut all_words, mut all_weights) = (Vec::new(), Vec::new(), Vec::new());
        for (words, weights) in heads {
            counts.push(words.len() as u32);
            all_words.extend_from_slice(words);
            all_weights.extend_from_slice(weights);
        }
        to.put_whole(format!("{name}.counts"), &[counts.len()], counts);
        to.put_whole(format!("{name}.words"), &[all_words.len()], all_words);
        to.put_real(format!("{name}.weights"), &[all_weights.len()], all_weights);
    }

    /// Makes an entry that was [`save`](Self::save)d the first one, and the only one. There are `memory_size` words.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load(&mut self, name: &str, memory_size: usize, from: &mut Arrays<T>) -> Result<(), Error> {
        let [counts, words, weights] = ["counts", "words", "weights"].map(|part| format!("{name}.{part}"));
        let counts = from.take_whole(&counts, Some(self.heads), self.capacity.min(u32::MAX as usize) as u32)?;
        let total = counts.iter().map(|count| *count as usize).sum();
        let all_words = from.take_whole(&words, Some(total), last_word(memory_size))?;
        let all_weights = from.take_real(&weights, &[total])?;
        self.clear();
        let mut start = 0;
        for (head, count) in counts.iter().enumerate() {
            let range = start..start + *count as usize;
            check_distinct(&words, &all_words[range.clone()])?;
            self.set_words(0, head, &all_words[range.clone()]).copy_from_slice(&all_weights[range]);
            start += *count as usize;
        }
        Ok(())
    }

    /// The words that a head read, and their weights.
    #[inline(always)]
    pub fn of(&self, entry: usize, head: usize) -> (&[u32], &[T]) {
        let (place, count) = self.place(entry, head);
        (&self.words[place..place + count], &self.weights[place..place + count])
    }

    /// As [`of`](Self::of), the weights to be changed.
    #[inline(always)]
    pub fn of_mut(&mut self, entry: usize, head: usize) -> (&[u32], &mut [T]) {
        let (place, count) = self.place(entry, head);
        (&self.words[place..place + count], &mut self.weights[place..place + count])
    }

    /// Notes the words that a head reads at `entry`, and gives the place for their weights.
    #[inline(always)]
    pub fn set_words(&mut self, entry: usize, head: usize, words: &[u32]) -> &mut [T] {
        let (place, _) = self.place(entry, head);
        self.counts[entry * self.heads + head] = words.len();
        self.words[place..place + words.len()].copy_from_slice(words);
        &mut self.weights[place..place + words.len()]
    }

    /// The places for the weights of all heads at `entry`, as many for each; those beyond its words mean nothing.
    #[inline(always)]
    pub fn all_weights(&mut self, entry: usize) -> &mut [T] {
        let numbers = self.heads * self.capacity;
        &mut self.weights[entry * numbers..(entry + 1) * numbers]
    }

    /// Notes words with their weights.
    #[inline(always)]
    pub fn set(&mut self, entry: usize, head: usize, pairs: &[(u32, T)]) {
        let (place, _) = self.place(entry, head);
        self.counts[entry * self.heads + head] = pairs.len();
        for (i, (word, weight)) in pairs.iter().enumerate() {
            self.words[place + i] = *word;
            self.weights[place + i] = *weight;
        }
    }

    #[inline(always)]
    fn place(&self, entry: usize, head: usize) -> (usize, usize) {
        let number = entry * self.heads + head;
        (number * self.capacity, self.counts[number])
    }
}
