//! Sparse Access Memory: reads a few words, writes a few words, and its backward pass never copies the rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::index::{Found, Misses};
use crate::kernels::simd::vector_fn;
use crate::memory::gates::{AllGates, Gates};
use crate::memory::interface::{Field, INTERPOLATION_GATE, STRENGTH, WRITE_GATE, inverse_oneplus, key_starts_as_word};
use crate::memory::options::{Footprint, memory_options};
use crate::memory::softmax::softmax_rows;
use crate::memory::sparse::content;
use crate::memory::sparse::ring;
use crate::memory::sparse::segments::{Segments, Swap};
use crate::memory::sparse::store::{self, Reads, Store, pair_bytes};
use crate::memory::sparse::words::Addition;
use crate::memory::trace::{put_heads, put_pairs};
use crate::memory::{Memory, MemoryConfig};
use crate::option::Declared;
use crate::{Arrays, Error, Real};

memory_options! {
    /// The configuration of a [`Sam`]. Defaults are the paper's.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        memory_size = 1_000_000, at most ring::LARGEST;
        word_size = 32;
        ///
        /// Each of them reads and writes.
        heads = 4;
        reads = 4;
        /// A mask comes with every key.
        ///
        /// Masked content addressing (Csordás and Schmidhuber 2019, arXiv 1904.10278, section 3.1), as the
        /// [SDNC](crate::memory::sdnc::Config::masked_content) has it.
        pub masked_content: bool = false;
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        self.heads * (Fields::len(self.word_size) + if self.masked_content { self.word_size } else { 0 })
    }

    fn interface(&self) -> Vec<Field> {
        let mut fields = head_fields(self.word_size, self.heads);
        if self.masked_content {
            fields.extend((0..self.heads).map(|_| Field::new("read mask", self.word_size)));
        }
        fields
    }

    fn validate(&self) -> Result<(), Error> {
        self.check_options()?;
        store::check_words(self.memory_size, self.writers())
    }

    fn writers(&self) -> usize {
        self.heads
    }

    fn has_links(&self) -> bool {
        false
    }

    fn footprint(&self, steps: usize, element: usize) -> Footprint {
        let [words, heads, reads] = [self.memory_size, self.heads, self.reads].map(|n| n as u128);
        let reads = reads.min(words);
        let tape = heads * (reads * (pair_bytes(element) + element as u128) + 12);
        let step = tape + 8 * heads * (2 * reads + 1);
        store::footprint(self, steps, element, step, heads * (reads + 1))
    }
}

impl Config {
    /// Makes a memory, as [`build`](MemoryConfig::build) does.
    pub(in crate::memory) fn make<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Sam::new(self)?))
    }
}

/// The fields of the interface, which is DAM's as well.
pub(super) fn head_fields(word_size: usize, heads: usize) -> Vec<Field> {
    let of = |head: usize| {
        let key = Field::new("key", word_size);
        [
            // The write word is the head's third field of five.
            if key_starts_as_word(head, heads) { key.same_as(5 * head + 2) } else { key },
            Field::new("strength", 1).with_bias(inverse_oneplus(STRENGTH)),
            Field::new("write word", word_size),
            Field::new("write gate", 1).with_bias(WRITE_GATE),
            Field::new("interpolation gate", 1).with_bias(INTERPOLATION_GATE),
        ]
    };
    (0..heads).flat_map(of).collect()
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
    #[inline(always)]
    pub(super) fn gates<T: Real>(self, head: &[T], threshold: T) -> Gates<T> {
        Gates::new(head[self.write_gate()], head[self.interpolation_gate()], threshold)
    }
    /// α̂ and γ̂ of each head.
    #[inline(always)]
    fn gate_logits<T: Real>(self, interface: &[T]) -> impl Iterator<Item = [T; 2]> {
        let heads = interface.chunks_exact(Self::len(self.word_size));
        heads.map(move |head| [head[self.write_gate()], head[self.interpolation_gate()]])
    }
    /// β̂ of each head.
    #[inline(always)]
    fn strength_logits<T: Real>(self, interface: &[T]) -> impl Iterator<Item = T> {
        interface.chunks_exact(Self::len(self.word_size)).map(move |head| head[self.strength()])
    }
}

/// Sparse Access Memory (Rae et al. 2016, section 3): the memory of one sequence.
///
/// Interface, per head: key q, strength β̂, write word a, write gate α̂, interpolation gate γ̂, and, with masked content, after
/// those of all heads a read mask m̂ for each; with β = oneplus(β̂), m = σ(m̂),
/// α = max(0, σ(α̂) - τ) / (1 - τ), γ = σ(γ̂), with τ = 0 in the paper.
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
/// A [trace](Memory::trace) has `write_words` and `write_weights` (R × (K+1): the words read before, then u_h),
/// `erased_words` (R), `read_words` and `read_weights` (R × K, most similar first), `read_strengths` β, `write_gates` α
/// and `interpolation_gates` γ (R each).
///
/// The gradient flows through weights, gates, words and keys; not through the choice of words or the ring. A step
/// changes at most R (K+1) words and costs nothing proportional to N, the index's search aside.
pub struct Sam<T> {
    heads: usize,
    /// min(K, N).
    reads: usize,
    fields: Fields,
    masked_content: bool,
    store: Store<T>,
    /// Cosines of the words read at each step on the tape; heads × reads each.
    cosines: Vec<T>,
    segments: Segments<Aside<T>>,
    scratch: Scratch<T>,
}

/// What a memory holds, put aside.
pub struct Aside<T> {
    store: store::Aside<T>,
    cosines: Vec<T>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    keys: Vec<T>,
    found: Found<T>,
    gates: AllGates<T>,
    additions: Vec<Addition<T>>,
    squares: Vec<T>,
    /// m ⊙ m of each head, with masked content.
    masks: Vec<T>,
    masks_gradient: Vec<T>,
}

impl<T: Real> Sam<T> {
    /// A memory of zeros.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryTooLarge`] if there is no address space.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let Config { memory_size, word_size, heads, access_threshold, masked_content, .. } = *config;
        let Config { write_threshold, write_cost, index, index_checks, .. } = *config;
        let index = index.build(memory_size, word_size, index_checks)?;
        let reads = config.reads.min(memory_size);
        Ok(Self {
            heads,
            reads,
            fields: Fields { word_size },
            masked_content,
            store: Store::new(memory_size, word_size, index, access_threshold, Reads::new(heads, reads), heads)?,
            cosines: Vec::new(),
            segments: Segments::default(),
            scratch: Scratch { gates: AllGates::new(write_threshold, write_cost), ..Scratch::default() },
        })
    }
}

impl<T: Real> Swap for Sam<T> {
    type Aside = Aside<T>;

    fn segments(&mut self) -> &mut Segments<Aside<T>> {
        &mut self.segments
    }

    fn fresh(&self) -> Aside<T> {
        Aside { store: self.store.fresh(), cosines: Vec::new() }
    }

    fn swap(&mut self, other: Aside<T>) -> Aside<T> {
        Aside {
            store: self.store.swap(other.store, |_| ()),
            cosines: std::mem::replace(&mut self.cosines, other.cosines),
        }
    }

    fn at_start(&self) -> bool {
        self.store.at_start()
    }

    fn forget_undone(&mut self) {
        self.store.forget_undone();
    }

    fn redo(&mut self) {
        self.store.replay();
    }
}

impl<T: Real> Memory<T> for Sam<T> {
    fn interface_len(&self) -> usize {
        let size = self.fields.word_size;
        self.heads * (Fields::len(size) + if self.masked_content { size } else { 0 })
    }

    fn read_len(&self) -> usize {
        self.heads * self.fields.word_size
    }

    fn reset(&mut self) {
        self.segments.clear();
        self.store.reset(|_| ());
    }

    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
        self.reset();
        self.store.words.fill(content);
    }

    fn start_episode(&mut self) {
        self.segments.clear();
        self.store.start_episode();
    }

    fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
        if !record {
            self.start_episode();
        }
        self.segments.forget_later();
        step(self, interface, read, record);
    }

    fn restart(&mut self) {
        self.start_segment();
    }

    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        self.undo_restarts();
        step_back(self, interface, read_gradient, interface_gradient);
        self.undo_restarts();
    }

    fn replay(&mut self) {
        self.redo_segments();
    }

    fn forget_undone(&mut self) {
        self.segments.forget_later();
        Swap::forget_undone(self);
    }

    fn forget_gradients(&mut self) {
        self.store.forget_gradients();
    }

    fn save(&mut self, to: &mut Arrays<T>) {
        self.store.save(to);
    }

    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.reset();
        self.store.load(from)
    }

    fn trace(&self, interface: &[T], to: &mut Arrays<T>) {
        let (before, now, erased) = self.store.latest();
        let heads = || interface.chunks_exact(Fields::len(self.fields.word_size)).take(self.heads);
        let gates: Vec<_> = heads().map(|head| self.fields.gates(head, self.scratch.gates.threshold)).collect();
        let written = (0..self.heads).map(|h| writes(gates[h], self.store.reads.of(before, h), erased[h]));
        put_pairs(written, self.reads + 1, "write", to);
        to.put_whole("erased_words", &[erased.len()], erased.to_vec());
        self.store.reads.trace(now, 0..self.heads, "read", to);
        put_heads(heads().map(|head| head[self.fields.strength()].oneplus()), "read_strengths", to);
        Gates::trace(&gates, to);
    }

    fn words_written(&mut self) -> Option<usize> {
        Some(self.store.words.count_written())
    }

    fn time_searches(&mut self) {
        self.store.words.time_searches();
    }

    fn search_time(&self) -> Duration {
        self.store.words.search_time()
    }

    fn compare_searches(&mut self) -> Result<(), Error> {
        self.store.words.compare_searches()
    }

    fn search_misses(&self) -> Misses {
        self.store.words.misses()
    }

    fn restart_growth(&self) -> u128 {
        self.store.words.aside_bytes()
    }
}

/// The words that a head writes, with its write weights: those it read before, then the one erased for it.
#[inline(always)]
fn writes<T: Real>(gates: Gates<T>, (words, weights): (&[u32], &[T]), erased: u32) -> impl Iterator<Item = (u32, T)> {
    let read = words.iter().zip(weights).map(move |(word, weight)| (*word, gates.of_first() * *weight));
    read.chain(std::iter::once((erased, gates.of_second())))
}

vector_fn! {
    fn step<T, simd: I>(sam: &mut Sam<T>, interface: &[T], read: &mut [T], record: bool) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let head_len = Fields::len(size);
        let (interface, masks) = interface.split_at(heads * head_len);
        let (before, now) = sam.store.start_step();
        sam.cosines.resize(now * heads * reads, T::ZERO);

        let scratch = &mut sam.scratch;
        scratch.gates.set(fields.gate_logits(interface), fields.strength_logits(interface));
        scratch.additions.clear();
        for h in 0..heads {
            let writes = writes(scratch.gates.of(h), sam.store.reads.of(before, h), sam.store.erased()[h]);
            scratch.additions.extend(writes.map(|(word, weight)| Addition { word, weight, head: h as u32 }));
        }
        let write_word = |h: u32| &interface[h as usize * head_len..][fields.write_word()];
        sam.store.write(simd, &scratch.additions, write_word, record);

        scratch.keys.clear();
        for h in 0..heads {
            scratch.keys.extend_from_slice(&interface[h * head_len..][fields.key()]);
        }
        scratch.masks.clear();
        content::squares_of(masks, &mut scratch.masks);
        for (number, square) in scratch.keys.iter_mut().zip(&scratch.masks) {
            *number *= *square;
        }
        sam.store.words.search(&scratch.keys, reads, &mut scratch.found);
        for h in 0..heads {
            let chosen = scratch.found.words(h);
            let key = &interface[h * head_len..][fields.key()];
            let logits = sam.store.reads.set_words(now, h, chosen);
            let cosines = &mut sam.cosines[(before * heads + h) * reads..][..reads];
            let (words, strength) = (&sam.store.words, scratch.gates.strength(h));
            if sam.masked_content {
                let squares = &scratch.masks[h * size..(h + 1) * size];
                content::compare_masked(words, chosen, key, squares, strength, cosines, logits);
            } else {
                content::compare(simd, words, chosen, key, strength, cosines, logits);
            }
            sam.store.reads.all_weights(now)[h * reads + chosen.len()..(h + 1) * reads].fill(T::NEG_INFINITY);
        }
        softmax_rows(sam.store.reads.all_weights(now), reads);
        for h in 0..heads {
            let (chosen, weights) = sam.store.reads.of(now, h);
            content::read(simd, &sam.store.words, chosen, weights, &mut read[h * size..(h + 1) * size]);
        }
        sam.store.end_step(record);
    }
}

vector_fn! {
    fn step_back<T, simd: I>(sam: &mut Sam<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (heads, reads, size, fields) = (sam.heads, sam.reads, sam.fields.word_size, sam.fields);
        let head_len = Fields::len(size);
        let (before, now) = sam.store.start_back();
        let Store { words, reads: tape, read_weight_gradients, .. } = &mut sam.store;
        let Scratch { gates, squares, masks: mask_squares, masks_gradient, .. } = &mut sam.scratch;
        let (interface, masks) = interface.split_at(heads * head_len);
        gates.set(fields.gate_logits(interface), fields.strength_logits(interface));
        interface_gradient.fill(T::ZERO);
        let (interface_gradient, of_masks) = interface_gradient.split_at_mut(heads * head_len);

        // Reading.
        for h in 0..heads {
            let (chosen, weights) = tape.of(now, h);
            let cosines = &sam.cosines[(before * heads + h) * reads..][..reads];
            let head = &interface[h * head_len..(h + 1) * head_len];
            let gradient = &mut interface_gradient[h * head_len..(h + 1) * head_len];
            let weight_gradient = &mut read_weight_gradients[h * reads..(h + 1) * reads];
            let from_read = &read_gradient[h * size..(h + 1) * size];
            let (key, strength) = (&head[fields.key()], gates.strength(h));
            let weight_gradients = &mut weight_gradient[..chosen.len()];
            let key_gradient = &mut gradient[fields.key()];
            let strength_gradient = if sam.masked_content {
                let mask = h * size..(h + 1) * size;
                mask_squares.clear();
                content::squares_of(&masks[mask.clone()], mask_squares);
                masks_gradient.clear();
                masks_gradient.resize(size, T::ZERO);
                content::read_back(simd, words, chosen, weights, from_read, weight_gradients);
                let strength_gradient = content::address_masked_back(simd, words,
                    chosen, key, mask_squares, strength, cosines, weights, weight_gradients, key_gradient, masks_gradient,
                );
                content::squares_back(&masks[mask.clone()], masks_gradient, &mut of_masks[mask]);
                strength_gradient
            } else {
                content::address_and_read_back(simd, words,
                    chosen, key, strength, cosines, weights, from_read, weight_gradients, key_gradient, squares,
                )
            };
            gradient[fields.strength()] = strength_gradient * gates.strength_slope(h);
            // They are done with: their place is for those of the weights of the step before.
            weight_gradient.fill(T::ZERO);
        }

        // Writing.
        for h in 0..heads {
            let head = &interface[h * head_len..(h + 1) * head_len];
            let gradient = &mut interface_gradient[h * head_len..(h + 1) * head_len];
            let (word, of_word) = (&head[fields.write_word()], &mut gradient[fields.write_word()]);
            (gradient[fields.write_gate()], gradient[fields.interpolation_gate()]) =
                sam.store.write_back(simd, h, h..h + 1, gates.of(h), word, of_word);
        }
        sam.store.undo_step(simd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexKind;
    use crate::index::sample::{Distribution, Sample};
    use crate::memory::conformance::{carry_what_is_not_a_number, life};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 2usize..40, word_size in 1usize..20, heads in 1usize..4, reads in 1usize..6, masked_content: bool,
            write_threshold in prop::sample::select(&[0.0, 0.5][..]), life in life(),
        ) {
            prop_assume!(memory_size >= heads);
            let config = Config { memory_size, word_size, heads, reads, masked_content, write_threshold, ..Default::default() };
            life.check(|| Sam::new(&config).unwrap(), |sam: &mut Sam<f32>| sam.store.state());
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
        carry_what_is_not_a_number(&mut sam);
        let mut fresh = Sam::<f32>::new(&Config { memory_size: 6, word_size: 3, ..Default::default() }).unwrap();
        assert!(sam.store.state() == fresh.store.state());
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
