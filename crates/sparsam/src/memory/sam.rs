//! Sparse Access Memory: reads a few words, writes a few words, and goes back without ever having copied the rest.

use serde::{Deserialize, Serialize};

use super::ring::{self, Accesses, Ring};
use super::words::{Addition, Words};
use super::{Memory, MemoryConfig, content};
use crate::index::{Found, IndexKind};
use crate::real::simd::vector_fn;
use crate::real::vector::{axpy, dot};
use crate::{Error, Real};

/// The configuration of a [`Sam`]. Defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Words in memory, N.
    pub memory_size: usize,
    /// Numbers in a word, W.
    pub word_size: usize,
    /// Access heads, R.
    pub heads: usize,
    /// Words read by a head, K.
    pub reads: usize,
    /// A word whose weights sum to more than this in a step was accessed in it, δ.
    pub access_threshold: f64,
    /// How similar words are found.
    pub index: IndexKind,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_size: 1_000_000,
            word_size: 32,
            heads: 4,
            reads: 4,
            access_threshold: 0.005,
            index: IndexKind::default(),
        }
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        self.heads * Fields::len(self.word_size)
    }

    fn read_len(&self) -> usize {
        self.heads * self.word_size
    }

    fn validate(&self) -> Result<(), Error> {
        let wrong = |field, value: &dyn ToString, reason: &str| {
            Err(Error::Config { field, value: value.to_string(), reason: reason.into() })
        };
        if self.word_size == 0 {
            return wrong("word_size", &self.word_size, "a word holds at least one number");
        }
        if self.heads == 0 {
            return wrong("heads", &self.heads, "at least one head must access the memory");
        }
        if self.reads == 0 {
            return wrong("reads", &self.reads, "a head reads at least one word");
        }
        // Beyond these the buffers of a single step would not fit a machine.
        for (field, value, most) in
            [("word_size", self.word_size, 1 << 16), ("heads", self.heads, 1 << 12), ("reads", self.reads, 1 << 16)]
        {
            if value > most {
                return wrong(field, &value, &format!("it must be at most {most}"));
            }
        }
        if self.memory_size < self.heads {
            let reason = format!("each of the {} heads needs a word of its own to write to", self.heads);
            return wrong("memory_size", &self.memory_size, &reason);
        }
        if self.memory_size > ring::LARGEST {
            return wrong("memory_size", &self.memory_size, &format!("at most {} words are numbered", ring::LARGEST));
        }
        if !(0.0..1.0).contains(&self.access_threshold) {
            return wrong("access_threshold", &self.access_threshold, "it lies from 0 up to 1");
        }
        Ok(())
    }

    fn build<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Sam::new(self)?))
    }
}

/// Where a head's fields stand in its part of the interface: key q (W), strength β̂, write word a (W), write gate α̂,
/// interpolation gate γ̂.
#[derive(Clone, Copy, Debug)]
struct Fields {
    word_size: usize,
}

impl Fields {
    fn len(word_size: usize) -> usize {
        2 * word_size + 3
    }
    #[inline(always)]
    fn key(self) -> std::ops::Range<usize> {
        0..self.word_size
    }
    #[inline(always)]
    fn strength(self) -> usize {
        self.word_size
    }
    #[inline(always)]
    fn write_word(self) -> std::ops::Range<usize> {
        self.word_size + 1..2 * self.word_size + 1
    }
    #[inline(always)]
    fn write_gate(self) -> usize {
        2 * self.word_size + 1
    }
    #[inline(always)]
    fn interpolation_gate(self) -> usize {
        2 * self.word_size + 2
    }
}

/// Sparse Access Memory (Rae et al. 2016, section 3): the memory of one sequence.
///
/// Interface, per head: key q, strength β̂, write word a, write gate α̂, interpolation gate γ̂, with β = oneplus(β̂),
/// α = σ(α̂), γ = σ(γ̂).
///
/// * **Write.** w^W_h = α (γ w^R_h(t-1) + (1-γ) 1\[u_h\]), u_h the (h+1)-th least recently accessed word. All heads write
///   at once: every u_h is zeroed, then M(i) += w^W_h(i) a_h.
/// * **Read.** Head h takes the K words most similar to q_h, never-written ones included, and
///   w^R_h = softmax(β_h cos(q_h, M(i))) over just those; r_h = Σ w^R_h(i) M(i).
/// * **Access.** Words whose write and read weights at t sum to more than δ over all heads go to the recent end of the
///   ring: per head its write words (those read before in their order, then u_h), then per head its read words, most
///   similar first; a word that occurs twice stands where it occurs last.
/// * **Ties** go to the lower word number.
///
/// The gradient flows through weights, gates, words and keys; not through the choice of words or the ring. A step
/// changes at most R (K+1) words and costs nothing proportional to N, the index's search aside.
pub struct Sam<T> {
    heads: usize,
    /// min(K, N).
    reads: usize,
    access_threshold: T,
    fields: Fields,
    words: Words<T>,
    ring: Ring,
    /// Reads of the step before the episode, then of each step on the tape.
    tape: Tape<T>,
    /// Gradient of the latest step's read weights that came back through the writes of the step after it.
    read_weight_gradient: Vec<T>,
    scratch: Scratch<T>,
}

/// What going back needs of each step. Entry 0 is the state at the start of the episode.
#[derive(Debug, Default)]
struct Tape<T> {
    /// Heads × reads, per entry.
    words: Vec<u32>,
    weights: Vec<T>,
    cosines: Vec<T>,
    /// The least recently accessed words that were written, heads per entry; entry 0 has none and is filled with zeros.
    least_recent: Vec<u32>,
    /// Moves of the ring up to each entry.
    moves: Vec<usize>,
    /// The entry of the latest step that is in force.
    position: usize,
    /// Entry 0 holds reads: some step came before the episode.
    read_before: bool,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    keys: Vec<T>,
    found: Found<T>,
    additions: Vec<Addition<T>>,
    accesses: Accesses<T>,
}

impl<T: Real> Sam<T> {
    /// A memory of zeros.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryTooLarge`] if there is no address space.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let mut sam = Self {
            heads: config.heads,
            reads: config.reads.min(config.memory_size),
            access_threshold: T::from_f64(config.access_threshold),
            fields: Fields { word_size: config.word_size },
            words: Words::new(config.memory_size, config.word_size, config.index)?,
            ring: Ring::new(config.memory_size as u32)?,
            tape: Tape::default(),
            read_weight_gradient: Vec::new(),
            scratch: Scratch::default(),
        };
        sam.read_weight_gradient.resize(sam.entry_len(), T::ZERO);
        sam.tape.resize(1, sam.entry_len(), sam.heads);
        Ok(sam)
    }

    /// Read words of all heads in one step.
    fn entry_len(&self) -> usize {
        self.heads * self.reads
    }
}

impl<T: Real> Tape<T> {
    fn resize(&mut self, entries: usize, entry_len: usize, heads: usize) {
        self.words.resize(entries * entry_len, 0);
        self.weights.resize(entries * entry_len, T::ZERO);
        self.cosines.resize(entries * entry_len, T::ZERO);
        self.least_recent.resize(entries * heads, 0);
        self.moves.resize(entries, 0);
    }
}

impl<T: Real> Memory<T> for Sam<T> {
    fn interface_len(&self) -> usize {
        self.heads * Fields::len(self.fields.word_size)
    }

    fn read_len(&self) -> usize {
        self.heads * self.fields.word_size
    }

    fn reset(&mut self) {
        self.start_episode();
        self.words.reset();
        self.ring.reset();
        self.tape.read_before = false;
        self.tape.words.fill(0);
        self.tape.weights.fill(T::ZERO);
        self.tape.cosines.fill(T::ZERO);
    }

    fn start_episode(&mut self) {
        let (entry, position) = (self.entry_len(), self.tape.position);
        self.words.start_episode();
        self.ring.truncate_record(0);
        self.tape.words.copy_within(position * entry..(position + 1) * entry, 0);
        self.tape.weights.copy_within(position * entry..(position + 1) * entry, 0);
        self.tape.read_before |= position > 0;
        self.tape.position = 0;
        self.tape.moves[0] = 0;
        self.tape.resize(1, entry, self.heads);
        self.read_weight_gradient.fill(T::ZERO);
    }

    fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
        if !record {
            self.start_episode();
        }
        step(self, interface, read, record);
        if !record {
            // What was just read is where the next episode starts.
            self.start_episode();
        }
    }

    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        step_back(self, interface, read_gradient, interface_gradient);
    }

    fn replay(&mut self) {
        let last = self.tape.moves.len() - 1;
        self.words.redo_writes();
        self.ring.redo(self.tape.moves[self.tape.position], self.tape.moves[last]);
        self.tape.position = last;
        self.read_weight_gradient.fill(T::ZERO);
    }
}

vector_fn! {
    fn step<T, I>(sam: &mut Sam<T>, interface: &[T], read: &mut [T], record: bool) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let entry_len = heads * reads;
        let head_len = Fields::len(size);
        let (before, now) = (sam.tape.position * entry_len, (sam.tape.position + 1) * entry_len);
        sam.tape.position += 1;
        let position = sam.tape.position;
        // Steps that were undone and not replayed end here.
        sam.ring.truncate_record(sam.tape.moves[position - 1]);
        sam.tape.resize(position + 1, entry_len, heads);
        sam.read_weight_gradient.fill(T::ZERO);
        let has_read = position > 1 || sam.tape.read_before;

        let mut unused = sam.ring.oldest();
        for h in 0..heads {
            sam.tape.least_recent[position * heads + h] = unused;
            unused = sam.ring.next(unused);
        }

        let scratch = &mut sam.scratch;
        scratch.additions.clear();
        scratch.accesses.clear();
        for h in 0..heads {
            let head = &interface[h * head_len..(h + 1) * head_len];
            let write = head[fields.write_gate()].sigmoid();
            let interpolation = head[fields.interpolation_gate()].sigmoid();
            if has_read {
                for i in before + h * reads..before + (h + 1) * reads {
                    let weight = write * interpolation * sam.tape.weights[i];
                    scratch.additions.push(Addition { word: sam.tape.words[i], weight, head: h as u32 });
                }
            }
            let word = sam.tape.least_recent[position * heads + h];
            let weight = write * (T::ONE - interpolation);
            scratch.additions.push(Addition { word, weight, head: h as u32 });
        }
        for addition in &scratch.additions {
            scratch.accesses.add(addition.word, addition.weight);
        }
        let write_word = |h: u32| &interface[h as usize * head_len..][fields.write_word()];
        let erased = &sam.tape.least_recent[position * heads..(position + 1) * heads];
        sam.words.write::<I>(erased, &scratch.additions, write_word, record);

        scratch.keys.clear();
        for h in 0..heads {
            scratch.keys.extend_from_slice(&interface[h * head_len..][fields.key()]);
        }
        sam.words.search(&scratch.keys, reads, &mut scratch.found);
        for h in 0..heads {
            let chosen = scratch.found.words(h);
            let (start, end) = (now + h * reads, now + (h + 1) * reads);
            sam.tape.words[start..end].copy_from_slice(chosen);
            let head = &interface[h * head_len..(h + 1) * head_len];
            let weights = &mut sam.tape.weights[start..end];
            let cosines = &mut sam.tape.cosines[start..end];
            let strength = head[fields.strength()].oneplus();
            content::address::<T, I>(&sam.words, chosen, &head[fields.key()], strength, cosines, weights);
            content::read::<T, I>(&sam.words, chosen, weights, &mut read[h * size..(h + 1) * size]);
            for (word, weight) in chosen.iter().zip(weights.iter()) {
                scratch.accesses.add(*word, *weight);
            }
        }

        for word in scratch.accesses.above(sam.access_threshold) {
            sam.ring.access(word, record);
        }
        sam.tape.moves[position] = sam.ring.recorded();
    }
}

vector_fn! {
    fn step_back<T, I>(sam: &mut Sam<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let entry_len = heads * reads;
        let head_len = Fields::len(size);
        let position = sam.tape.position;
        assert!(position > 0, "no step is left on the tape");
        let (before, now) = ((position - 1) * entry_len, position * entry_len);
        let has_read = position > 1 || sam.tape.read_before;
        sam.words.start_back();
        interface_gradient.fill(T::ZERO);

        // Reading.
        for h in 0..heads {
            let (start, end) = (now + h * reads, now + (h + 1) * reads);
            let chosen = &sam.tape.words[start..end];
            let weights = &sam.tape.weights[start..end];
            let cosines = &sam.tape.cosines[start..end];
            let head = &interface[h * head_len..(h + 1) * head_len];
            let gradient = &mut interface_gradient[h * head_len..(h + 1) * head_len];
            let weight_gradient = &mut sam.read_weight_gradient[h * reads..(h + 1) * reads];
            let from_read = &read_gradient[h * size..(h + 1) * size];
            content::read_back::<T, I>(&mut sam.words, chosen, weights, from_read, weight_gradient);
            let strength_gradient = content::address_back::<T, I>(
                &mut sam.words,
                chosen,
                &head[fields.key()],
                head[fields.strength()].oneplus(),
                cosines,
                weights,
                weight_gradient,
                &mut gradient[fields.key()],
            );
            gradient[fields.strength()] = strength_gradient * head[fields.strength()].sigmoid();
        }

        // Writing. Contents add up linearly, so that each word's gradient is that of all that was added to it.
        for h in 0..heads {
            let head = &interface[h * head_len..(h + 1) * head_len];
            let gradient = &mut interface_gradient[h * head_len..(h + 1) * head_len];
            let write = head[fields.write_gate()].sigmoid();
            let interpolation = head[fields.interpolation_gate()].sigmoid();
            let word = &head[fields.write_word()];
            let word_gradient = &mut gradient[fields.write_word()];
            let mut over_read = T::ZERO;
            for k in 0..reads {
                let weight_gradient = &mut sam.read_weight_gradient[h * reads + k];
                *weight_gradient = T::ZERO;
                if has_read {
                    let read_weight = sam.tape.weights[before + h * reads + k];
                    let content = sam.words.gradient(sam.tape.words[before + h * reads + k]);
                    let gradient = dot::<T, I>(word, content);
                    axpy::<T, I>(word_gradient, write * interpolation * read_weight, content);
                    over_read += gradient * read_weight;
                    *weight_gradient = write * interpolation * gradient;
                }
            }
            let content = sam.words.gradient(sam.tape.least_recent[position * heads + h]);
            let over_unused = dot::<T, I>(word, content);
            axpy::<T, I>(word_gradient, write * (T::ONE - interpolation), content);
            gradient[fields.write_gate()] = (interpolation * over_read + (T::ONE - interpolation) * over_unused)
                * write
                * (T::ONE - write);
            gradient[fields.interpolation_gate()] =
                write * (over_read - over_unused) * interpolation * (T::ONE - interpolation);
        }
        // What these words held before was erased, and no gradient reaches it.
        for h in 0..heads {
            sam.words.gradient(sam.tape.least_recent[position * heads + h]).fill(T::ZERO);
        }

        sam.words.undo_write();
        sam.ring.undo(sam.tape.moves[position - 1], sam.tape.moves[position]);
        sam.tape.position -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interface(length: usize, step: usize, seed: u64) -> Vec<f32> {
        (0..length).map(|i| ((i + 31 * step) as f32 * 12.9898 + seed as f32 * 0.71).sin() * 3.0).collect()
    }

    /// Everything that a later step could depend on, to the bit.
    fn state(sam: &mut Sam<f32>) -> (Vec<u32>, Vec<u32>, Vec<u32>, Vec<u32>, bool) {
        let words = sam.words.memory_size() as u32;
        let contents = (0..words).flat_map(|w| sam.words.content(w).iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        let contents = contents.collect();
        let ring = std::iter::successors(Some(sam.ring.oldest()), |w| Some(sam.ring.next(*w)));
        let ring = ring.take(words as usize).collect();
        let entry = sam.tape.position * sam.entry_len()..(sam.tape.position + 1) * sam.entry_len();
        let read = sam.tape.words[entry.clone()].iter().copied();
        let read = read.chain(sam.tape.weights[entry].iter().map(|x| x.to_bits())).collect();
        let mut found = Found::default();
        sam.words.search(&interface(3 * sam.fields.word_size, 77, 5), 5, &mut found);
        let found = (0..3)
            .flat_map(|q| found.words(q).iter().copied().chain(found.cosines(q).iter().map(|x| x.to_bits())))
            .collect();
        (contents, ring, read, found, sam.tape.read_before || sam.tape.position > 0)
    }

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 2usize..40, word_size in 1usize..20, heads in 1usize..4, reads in 1usize..6,
            streamed in 0usize..8, steps in 1usize..25, kept in 0usize..25, more in 0usize..10, seed in 0u64..1000,
        ) {
            prop_assume!(memory_size >= heads);
            let config = Config { memory_size, word_size, heads, reads, ..Default::default() };
            let mut sam = Sam::<f32>::new(&config).unwrap();
            let fresh = state(&mut sam);
            let (length, mut read) = (sam.interface_len(), vec![0.0; sam.read_len()]);
            let mut gradient = vec![0.0; length];
            for step in 0..streamed {
                sam.step(&interface(length, step, seed + 1), &mut read, false);
            }
            sam.start_episode();
            let mut states = vec![state(&mut sam)];
            for step in 0..steps {
                sam.step(&interface(length, step, seed), &mut read, true);
                states.push(state(&mut sam));
            }
            for step in (0..steps).rev() {
                let reads = interface(read.len(), step, seed + 2);
                sam.step_back(&interface(length, step, seed), &reads, &mut gradient);
                // Looking into the index on the way would let it catch up; it must not need that.
                if step % 3 == 0 {
                    prop_assert_eq!(&state(&mut sam), &states[step]);
                }
            }
            prop_assert_eq!(&state(&mut sam), &states[0]);
            sam.replay();
            prop_assert_eq!(&state(&mut sam), &states[steps]);
            // Part of the way back, and on from there, as if the rest had never been.
            let kept = kept.min(steps);
            for step in (kept..steps).rev() {
                let reads = interface(read.len(), step, seed + 2);
                sam.step_back(&interface(length, step, seed), &reads, &mut gradient);
            }
            for step in 0..more {
                sam.step(&interface(length, step, seed + 3), &mut read, true);
            }
            let end = state(&mut sam);
            let mut other = Sam::<f32>::new(&config).unwrap();
            for step in 0..streamed {
                other.step(&interface(length, step, seed + 1), &mut read, false);
            }
            for step in 0..kept {
                other.step(&interface(length, step, seed), &mut read, false);
            }
            for step in 0..more {
                other.step(&interface(length, step, seed + 3), &mut read, false);
            }
            prop_assert_eq!(&state(&mut other), &end);
            sam.reset();
            prop_assert_eq!(&state(&mut sam), &fresh);
            sam.step(&interface(length, 0, seed), &mut read, true);
            let mut again = Sam::<f32>::new(&config).unwrap();
            again.step(&interface(length, 0, seed), &mut read, true);
            prop_assert_eq!(state(&mut sam), state(&mut again));
        }
    }

    #[test]
    fn not_a_number_in_the_interface_is_carried_not_a_panic() {
        let mut sam = Sam::<f32>::new(&Config { memory_size: 6, word_size: 3, ..Default::default() }).unwrap();
        let (length, mut read) = (sam.interface_len(), vec![0.0; sam.read_len()]);
        for step in 0..20 {
            let mut vector = interface(length, step, 1);
            vector[step % length] = [f32::NAN, f32::INFINITY][step % 2];
            sam.step(&vector, &mut read, true);
        }
        for step in (0..20).rev() {
            sam.step_back(&interface(length, step, 1), &vec![f32::NAN; read.len()], &mut vec![0.0; length]);
        }
        assert!(
            state(&mut sam)
                == state(&mut Sam::new(&Config { memory_size: 6, word_size: 3, ..Default::default() }).unwrap())
        );
    }

    #[test]
    fn configurations_that_cannot_be_are_named() {
        for (config, field) in [
            (Config { memory_size: 3, ..Default::default() }, "memory_size"),
            (Config { memory_size: usize::MAX, ..Default::default() }, "memory_size"),
            (Config { word_size: 0, ..Default::default() }, "word_size"),
            (Config { heads: 0, ..Default::default() }, "heads"),
            (Config { reads: 0, ..Default::default() }, "reads"),
            (Config { access_threshold: f64::NAN, ..Default::default() }, "access_threshold"),
        ] {
            let error = Sam::<f32>::new(&config).err().expect("it does not fit");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
