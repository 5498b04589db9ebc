//! Sparse Access Memory: reads a few words, writes a few words, and goes back without ever having copied the rest.

use serde::{Deserialize, Serialize};

use super::sparse::{self, Reads, Store};
use super::words::Addition;
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
        let Self { memory_size, word_size, heads, reads, access_threshold, .. } = *self;
        sparse::validate(memory_size, word_size, heads, reads, access_threshold, heads)
    }

    fn build<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Sam::new(self)?))
    }
}

/// Where a head's fields stand in its part of the interface: key q (W), strength β̂, write word a (W), write gate α̂,
/// interpolation gate γ̂.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) word_size: usize,
}

impl Fields {
    pub(super) fn len(word_size: usize) -> usize {
        2 * word_size + 3
    }
    #[inline(always)]
    pub(super) fn key(self) -> std::ops::Range<usize> {
        0..self.word_size
    }
    #[inline(always)]
    pub(super) fn strength(self) -> usize {
        self.word_size
    }
    #[inline(always)]
    pub(super) fn write_word(self) -> std::ops::Range<usize> {
        self.word_size + 1..2 * self.word_size + 1
    }
    #[inline(always)]
    pub(super) fn write_gate(self) -> usize {
        2 * self.word_size + 1
    }
    #[inline(always)]
    pub(super) fn interpolation_gate(self) -> usize {
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
    fields: Fields,
    store: Store<T>,
    tape: Tape<T>,
    /// Gradient of the latest step's read weights that came back through the writes of the step after it.
    read_weight_gradient: Vec<T>,
    scratch: Scratch<T>,
}

/// What going back needs of each step, the store's own tape aside.
#[derive(Debug, Default)]
struct Tape<T> {
    reads: Reads<T>,
    /// Cosines of the words read; heads × reads, per step.
    cosines: Vec<T>,
    /// The least recently accessed words that were written; heads, per step.
    least_recent: Vec<u32>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    keys: Vec<T>,
    found: Found<T>,
    additions: Vec<Addition<T>>,
}

impl<T: Real> Sam<T> {
    /// A memory of zeros.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryTooLarge`] if there is no address space.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let reads = config.reads.min(config.memory_size);
        Ok(Self {
            heads: config.heads,
            reads,
            fields: Fields { word_size: config.word_size },
            store: Store::new(config.memory_size, config.word_size, config.index, config.access_threshold)?,
            tape: Tape { reads: Reads::new(config.heads, reads), ..Tape::default() },
            read_weight_gradient: vec![T::ZERO; config.heads * reads],
            scratch: Scratch::default(),
        })
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
        self.store.reset(|_| ());
        self.tape.reads.clear();
    }

    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
        self.reset();
        self.store.words.fill(content);
    }

    fn start_episode(&mut self) {
        self.tape.reads.carry(self.store.position());
        self.store.start_episode();
    }

    fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
        if !record {
            self.start_episode();
        }
        step(self, interface, read, record);
        if !record {
            // What was just read is where the next episode starts.
            self.tape.reads.carry(1);
        }
    }

    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        step_back(self, interface, read_gradient, interface_gradient);
    }

    fn replay(&mut self) {
        self.store.replay();
        self.read_weight_gradient.fill(T::ZERO);
    }
}

vector_fn! {
    fn step<T, I>(sam: &mut Sam<T>, interface: &[T], read: &mut [T], record: bool) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let head_len = Fields::len(size);
        let before = sam.store.position();
        let now = before + 1;
        sam.tape.reads.start_entry(now);
        sam.tape.cosines.resize(now * heads * reads, T::ZERO);
        sam.tape.least_recent.resize(now * heads, 0);
        sam.read_weight_gradient.fill(T::ZERO);
        sam.store.start_step();

        let least_recent = &mut sam.tape.least_recent[before * heads..];
        sam.store.least_recent(least_recent);
        let scratch = &mut sam.scratch;
        scratch.additions.clear();
        for h in 0..heads {
            let head = &interface[h * head_len..(h + 1) * head_len];
            let write = head[fields.write_gate()].sigmoid();
            let interpolation = head[fields.interpolation_gate()].sigmoid();
            let (words, weights) = sam.tape.reads.of(before, h);
            for (word, weight) in words.iter().zip(weights) {
                let weight = write * interpolation * *weight;
                scratch.additions.push(Addition { word: *word, weight, head: h as u32 });
            }
            let weight = write * (T::ONE - interpolation);
            scratch.additions.push(Addition { word: least_recent[h], weight, head: h as u32 });
        }
        let write_word = |h: u32| &interface[h as usize * head_len..][fields.write_word()];
        sam.store.write::<I>(least_recent, &scratch.additions, write_word, record);

        scratch.keys.clear();
        for h in 0..heads {
            scratch.keys.extend_from_slice(&interface[h * head_len..][fields.key()]);
        }
        sam.store.words.search(&scratch.keys, reads, &mut scratch.found);
        for h in 0..heads {
            let chosen = scratch.found.words(h);
            let head = &interface[h * head_len..(h + 1) * head_len];
            let weights = sam.tape.reads.set_words(now, h, chosen);
            let cosines = &mut sam.tape.cosines[(before * heads + h) * reads..][..reads];
            let strength = head[fields.strength()].oneplus();
            content::address::<T, I>(&sam.store.words, chosen, &head[fields.key()], strength, cosines, weights);
            content::read::<T, I>(&sam.store.words, chosen, weights, &mut read[h * size..(h + 1) * size]);
            sam.store.note_reads(chosen, weights);
        }
        sam.store.end_step(record);
    }
}

vector_fn! {
    fn step_back<T, I>(sam: &mut Sam<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let head_len = Fields::len(size);
        let now = sam.store.position();
        assert!(now > 0, "no step is left on the tape");
        let before = now - 1;
        let words = &mut sam.store.words;
        words.start_back();
        interface_gradient.fill(T::ZERO);

        // Reading.
        for h in 0..heads {
            let (chosen, weights) = sam.tape.reads.of(now, h);
            let cosines = &sam.tape.cosines[(before * heads + h) * reads..][..reads];
            let head = &interface[h * head_len..(h + 1) * head_len];
            let gradient = &mut interface_gradient[h * head_len..(h + 1) * head_len];
            let weight_gradient = &mut sam.read_weight_gradient[h * reads..(h + 1) * reads];
            let from_read = &read_gradient[h * size..(h + 1) * size];
            content::read_back::<T, I>(words, chosen, weights, from_read, weight_gradient);
            let strength_gradient = content::address_back::<T, I>(
                words,
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
            sam.read_weight_gradient[h * reads..(h + 1) * reads].fill(T::ZERO);
            let (read, weights) = sam.tape.reads.of(before, h);
            let weight_gradients = &mut sam.read_weight_gradient[h * reads..(h + 1) * reads];
            for ((word_read, weight), weight_gradient) in read.iter().zip(weights).zip(weight_gradients) {
                let content = words.gradient(*word_read);
                let gradient = dot::<T, I>(word, content);
                axpy::<T, I>(word_gradient, write * interpolation * *weight, content);
                over_read += gradient * *weight;
                *weight_gradient = write * interpolation * gradient;
            }
            let content = words.gradient(sam.tape.least_recent[before * heads + h]);
            let over_unused = dot::<T, I>(word, content);
            axpy::<T, I>(word_gradient, write * (T::ONE - interpolation), content);
            gradient[fields.write_gate()] = (interpolation * over_read + (T::ONE - interpolation) * over_unused)
                * write
                * (T::ONE - write);
            gradient[fields.interpolation_gate()] =
                write * (over_read - over_unused) * interpolation * (T::ONE - interpolation);
        }
        // What these words held before was erased, and no gradient reaches it.
        for word in &sam.tape.least_recent[before * heads..now * heads] {
            words.gradient(*word).fill(T::ZERO);
        }
        sam.store.undo_step();
    }
}

#[cfg(test)]
mod tests {
    use super::super::life::{bits, interface, life};
    use super::*;
    use crate::index::sample::{Distribution, Sample};
    use proptest::prelude::*;

    /// Everything that a later step could depend on, to the bit.
    fn state(sam: &mut Sam<f32>) -> Vec<Vec<u32>> {
        let mut state = sam.store.state();
        for h in 0..sam.heads {
            let (words, weights) = sam.tape.reads.of(sam.store.position(), h);
            state.extend([words.to_vec(), bits(weights)]);
        }
        state
    }

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 2usize..40, word_size in 1usize..20, heads in 1usize..4, reads in 1usize..6, life in life(),
        ) {
            prop_assume!(memory_size >= heads);
            let config = Config { memory_size, word_size, heads, reads, ..Default::default() };
            life.check(|| Sam::new(&config).unwrap(), state);
        }
    }

    #[test]
    fn a_word_that_a_memory_was_filled_with_is_found_by_its_content() {
        let (memory_size, word_size) = (50, 16);
        let sam = Config { memory_size, word_size, heads: 2, reads: 2, ..Default::default() };
        let ivf = Config { index: IndexKind::Ivf, ..sam.clone() };
        let dam = crate::memory::dam::Config { memory_size, word_size, heads: 2, ..Default::default() };
        let sample = Sample::new(Distribution::Gaussian, memory_size, 9);
        let word = |number: usize| {
            let mut word = vec![0.0; word_size];
            sample.word(number as u64, &mut word);
            word
        };
        let fields = Fields { word_size };
        for mut memory in [sam.build::<f32>(), ivf.build(), dam.build()].map(Result::unwrap) {
            memory.fill(&mut |number, numbers| numbers.copy_from_slice(&word(number)));
            // Two keys, read sharply; the write gates are shut.
            let mut vector = vec![0.0; memory.interface_len()];
            for (head, number) in vector.chunks_exact_mut(Fields::len(word_size)).zip([20, 49]) {
                head[fields.key()].copy_from_slice(&word(number));
                head[fields.strength()] = 1000.0;
                head[fields.write_gate()] = -1000.0;
            }
            let mut read = vec![0.0; memory.read_len()];
            memory.step(&vector, &mut read, true);
            for (read, number) in read.chunks_exact(word_size).zip([20, 49]) {
                assert!(read.iter().zip(&word(number)).all(|(a, b)| (a - b).abs() < 1e-3), "{read:?}");
            }
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
