//! What sparse memories share: words, the order of their last accesses, and the heads' reads, all with a tape.

use super::ring::{self, Accesses, Ring};
use super::words::{Addition, Words};
use crate::index::IndexKind;
use crate::real::simd::InstructionSet;
use crate::{Error, Real};

/// Checks the sizes of a sparse memory with so many `heads` that read, and `writers` that write.
///
/// # Errors
/// [`Error::Config`] names the field that does not fit.
pub fn validate(
    memory_size: usize,
    word_size: usize,
    heads: usize,
    reads: usize,
    access_threshold: f64,
    writers: usize,
) -> Result<(), Error> {
    // Beyond these the buffers of a single step would not fit a machine.
    for (field, value, most) in
        [("word_size", word_size, 1 << 16), ("heads", heads, 1 << 12), ("reads", reads, 1 << 16)]
    {
        Error::check_config((1..=most).contains(&value), field, value, format!("it must lie from 1 to {most}"))?;
    }
    let reason = format!("each of the {writers} heads that write needs a word of its own");
    Error::check_config(memory_size >= writers, "memory_size", memory_size, reason)?;
    Error::check_config(
        memory_size <= ring::LARGEST,
        "memory_size",
        memory_size,
        format!("at most {} words are numbered", ring::LARGEST),
    )?;
    Error::check_config(
        (0.0..1.0).contains(&access_threshold),
        "access_threshold",
        access_threshold,
        "it lies from 0 up to 1",
    )
}

/// Words that know when they were last accessed. A step is [`start_step`](Self::start_step), one
/// [`write`](Self::write), reads noted by [`note_reads`](Self::note_reads), and [`end_step`](Self::end_step).
pub struct Store<T> {
    /// The words.
    pub words: Words<T>,
    ring: Ring,
    access_threshold: T,
    accesses: Accesses<T>,
    /// Moves of the ring up to each step on the tape; the first entry is the start of the episode.
    moves: Vec<usize>,
    /// Steps on the tape that are in force.
    position: usize,
}

impl<T: Real> Store<T> {
    /// `memory_size` zero words of `word_size` numbers; accesses with a total weight above `access_threshold` count.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(memory_size: usize, word_size: usize, index: IndexKind, access_threshold: f64) -> Result<Self, Error> {
        Ok(Self {
            words: Words::new(memory_size, word_size, index)?,
            ring: Ring::new(memory_size as u32)?,
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
    }

    /// Keeps everything as it stands and empties the tape.
    pub fn start_episode(&mut self) {
        self.words.start_episode();
        self.ring.truncate_record(0);
        self.moves.truncate(1);
        self.position = 0;
    }

    /// Steps on the tape that are in force.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Starts a step: what was undone can no longer be replayed.
    pub fn start_step(&mut self) {
        self.ring.truncate_record(self.moves[self.position]);
        self.moves.truncate(self.position + 1);
        self.accesses.clear();
    }

    /// The least recently accessed words, least recent first, one for each place in `words`.
    #[inline(always)]
    pub fn least_recent(&self, words: &mut [u32]) {
        let mut word = self.ring.oldest();
        for place in words {
            *place = word;
            word = self.ring.next(word);
        }
    }

    /// Zeroes the `erased` words, then adds `weight · vector(head)` for every addition, and notes these accesses in
    /// the order of the additions.
    #[inline(always)]
    pub fn write<'a, I: InstructionSet>(
        &mut self,
        erased: &[u32],
        additions: &[Addition<T>],
        vector: impl Fn(u32) -> &'a [T],
        record: bool,
    ) {
        for addition in additions {
            self.accesses.add(addition.word, addition.weight);
        }
        self.words.write::<I>(erased, additions, vector, record);
    }

    /// Notes that a head read these words with these weights.
    #[inline(always)]
    pub fn note_reads(&mut self, words: &[u32], weights: &[T]) {
        for (word, weight) in words.iter().zip(weights) {
            self.accesses.add(*word, *weight);
        }
    }

    /// Ends a step: words that were accessed go to the recent end, in the order in which they were noted last.
    #[inline(always)]
    pub fn end_step(&mut self, record: bool) {
        for word in self.accesses.above(self.access_threshold) {
            self.ring.access(word, record);
        }
        if record {
            self.moves.push(self.ring.recorded());
            self.position += 1;
        }
    }

    /// Undoes the latest step that is in force.
    #[inline(always)]
    pub fn undo_step(&mut self) {
        self.words.undo_write();
        self.ring.undo(self.moves[self.position - 1], self.moves[self.position]);
        self.position -= 1;
    }

    /// Does again every step that was undone.
    pub fn replay(&mut self) {
        let last = self.moves.len() - 1;
        self.words.redo_writes();
        self.ring.redo(self.moves[self.position], self.moves[last]);
        self.position = last;
    }

    /// All that a later step could depend on, to the bit: contents, order, and what the index finds.
    #[cfg(test)]
    pub fn state(&mut self) -> Vec<Vec<u32>>
    where
        T: Into<f32>,
    {
        use super::life::{bits, interface};

        let words = &mut self.words;
        let contents: Vec<f32> =
            (0..words.memory_size() as u32).flat_map(|w| words.content(w)).map(|x| (*x).into()).collect();
        let mut order = vec![0; words.memory_size()];
        let word_size = contents.len() / order.len();
        let mut found = crate::index::Found::default();
        let keys: Vec<T> = interface(3 * word_size, 77, 5).iter().map(|x| T::from_f64(f64::from(*x))).collect();
        words.search(&keys, 5, &mut found);
        self.least_recent(&mut order);
        let mut state = vec![bits(&contents), order];
        for query in 0..3 {
            let cosines: Vec<f32> = found.cosines(query).iter().map(|x| (*x).into()).collect();
            state.extend([found.words(query).to_vec(), bits(&cosines)]);
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
