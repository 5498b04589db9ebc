//! Dense Access Memory: Sparse Access Memory's dense twin, which reads and writes every word with some weight.
//!
//! # What a step reads and writes
//!
//! In numbers (4 bytes each in `f32`), for N words of W numbers and R heads. Every step makes one pass over the memory:
//!
//! | | reads | writes |
//! |---|---|---|
//! | forward: words | M_{t-1}: N W | M_t: N W |
//! | forward: weights and usage | w^R_{t-1}, U_{t-1} and again w^R_t, U_t: (2 R + 3) N | w^R_t twice, U_t twice: (2 R + 2) N |
//! | backward: words | M_t, gradient: 2 N W | gradient: N W |
//! | backward: weights | w^R_t, w^R_{t-1}, gradient: 3 R N | gradient: R N |
//!
//! The tape keeps M_t, w^R_t and U_t of every step, as published: N (W + R + 1) numbers a step.

use serde::{Deserialize, Serialize};

use super::sam::{self, Fields};
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::memory::dense::{
    Addressing, Frames, Layout, STRIP_BLOCKS, Sixteen, Sums, check_room, footprint, frame, life_in_frames, products,
    spread,
};
use crate::memory::gates::Gates;
use crate::memory::interface::Field;
use crate::memory::options::{Footprint, memory_options};
use crate::memory::sparse::{ring, store};
use crate::memory::trace::put_heads;
use crate::memory::{Memory, MemoryConfig};
use crate::option::Declared;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

memory_options! {
    /// The configuration of a [`Dam`].
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        memory_size = 128, at most ring::LARGEST;
        word_size = 32;
        ///
        /// Each of them reads and writes.
        heads = 4;
        /// What is left of a word's usage after a step, λ.
        pub usage_discount: f64 = 0.99, in 0.0..=1.0;
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        self.heads * Fields::len(self.word_size)
    }

    fn interface(&self) -> Vec<Field> {
        sam::head_fields(self.word_size, self.heads)
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

    fn footprint(&self, _steps: usize, element: usize) -> Footprint {
        footprint(Frame::<f32>::len(Layout::of(self), self.heads), element)
    }
}

impl Config {
    /// Makes a memory, as [`build`](MemoryConfig::build) does.
    pub(in crate::memory) fn make<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Dam::new(self)?))
    }
}

/// Dense Access Memory (Rae et al. 2016, supplementary section A): the memory of one sequence.
///
/// The interface is that of [`Sam`](sam::Sam): per head key q, strength β̂, write word a, write gate α̂, interpolation
/// gate γ̂, with β = oneplus(β̂), α = σ(α̂), γ = σ(γ̂).
///
/// * **Write.** w^W_h = α (γ w^R_h(t-1) + (1-γ) 1\[u_h\]), u_h the (h+1)-th least used word. All heads write at once:
///   every u_h is zeroed, then M(i) += w^W_h(i) a_h.
/// * **Read.** w^R_h = softmax(β_h cos(q_h, M(i))) over all words; r_h = Σ w^R_h(i) M(i).
/// * **Usage.** U_t = λ U_{t-1} + Σ_h (w^W_h + w^R_h); the heads at t go by U_{t-1}. Ties go to the lower word number.
///
/// A [trace](Memory::trace) has `write_weights` and `read_weights` (R × N), `usage` U_t (1 × N), `erased_words` u_h,
/// `read_strengths` β, `write_gates` α and `interpolation_gates` γ (R each).
///
/// The gradient flows through weights, gates, words and keys; not through the usage or the choice of words.
pub struct Dam<T> {
    heads: usize,
    usage_discount: T,
    fields: Fields,
    layout: Layout,
    /// Of every step, laid out as a [`Frame`].
    frames: Frames<T>,
    /// The words written as least used, heads for each step on the tape.
    least_used: Vec<usize>,
    /// Gradient of the words after the step before the latest one undone.
    content_gradients: Pages<T>,
    /// That of its read weights, as far as it came back through the writes of the step undone.
    weight_gradients: Vec<Sixteen<T>>,
    /// Σ w^R(i) · `weight_gradients`(i), a head.
    weight_gradient_sums: Vec<T>,
    scratch: Scratch<T>,
}

frame! {
    /// The state after a step.
    |layout, heads: usize|
    contents: layout.contents_len(),
    /// Read weights, head after head.
    weights: heads * layout.blocks(),
    usage: layout.blocks(),
    /// What was read, head after head, filled up to whole blocks.
    reads: (heads * layout.word_size).div_ceil(LANES),
}

#[derive(Debug, Default)]
struct Scratch<T> {
    gates: Vec<Gates<T>>,
    /// Head after head.
    write_words: Vec<T>,
    addressing: Addressing<T>,
    sums: Sums<T>,
    /// Of one strip, [`STRIP_BLOCKS`] for each head.
    write_weights: Vec<Sixteen<T>>,
    gradients: Vec<Sixteen<T>>,
    /// Σ w^R_h(t-1)(i) · gradient of w^W_h(i), a head.
    over_read: Vec<T>,
    over_unused: Vec<T>,
}

impl<T: Real> Scratch<T> {
    /// Takes the gates, write words, keys and strengths from the interface.
    #[inline(always)]
    fn start<I: InstructionSet>(&mut self, simd: I, fields: Fields, interface: &[T]) {
        let size = fields.word_size;
        let heads = || interface.chunks_exact(Fields::len(size));
        self.gates.clear();
        self.gates.extend(heads().map(|head| fields.gates(head, T::ZERO)));
        self.write_words.clear();
        for head in heads() {
            self.write_words.extend_from_slice(&head[fields.write_word()]);
        }
        let addresses = heads().map(|head| (&head[fields.key()], head[fields.strength()].oneplus()));
        self.addressing.start(simd, size, addresses);
        self.sums.start(self.gates.len(), size);
        for strip in [&mut self.write_weights, &mut self.gradients] {
            strip.resize(self.gates.len() * STRIP_BLOCKS, [T::ZERO; LANES]);
        }
    }

    /// The write weights of a strip.
    #[inline(always)]
    fn weigh_writes(
        &mut self,
        layout: Layout,
        strip: &std::ops::Range<usize>,
        weights_before: &[Sixteen<T>],
        unused: &[usize],
    ) {
        for (head, gates) in self.gates.iter().enumerate() {
            let before = &weights_before[head * layout.blocks() + strip.start..][..strip.len()];
            let weights = &mut self.write_weights[head * STRIP_BLOCKS..][..strip.len()];
            for (weight, before) in weights.as_flattened_mut().iter_mut().zip(before.as_flattened()) {
                *weight = gates.of_first() * *before;
            }
            if let Some(place) = unused[head].checked_sub(strip.start * LANES)
                && let Some(weight) = weights.as_flattened_mut().get_mut(place)
            {
                *weight += gates.of_second();
            }
        }
    }
}

impl<T: Real> Dam<T> {
    /// A memory of zeros.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryDoesNotFit`] says how many words would fit.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let Config { word_size, heads, usage_discount, .. } = *config;
        let layout = Layout::of(config);
        // A frame, and the gradients of words and weights.
        check_room::<T>(layout, 2 * (word_size + heads) + 1)?;
        let mut dam = Self {
            heads,
            usage_discount: T::from_f64(usage_discount),
            fields: Fields { word_size },
            layout,
            frames: Frames::new(Frame::<T>::len(layout, heads))?,
            least_used: Vec::new(),
            content_gradients: Pages::dense(layout.contents_len() * LANES)?,
            weight_gradients: Vec::new(),
            weight_gradient_sums: vec![T::ZERO; heads],
            scratch: Scratch::default(),
        };
        dam.reset();
        Ok(dam)
    }
}

impl<T: Real> Dam<T> {
    fn make_as_new(&mut self) {
        let frame = self.frames.now_mut();
        frame.as_flattened_mut().fill(T::ZERO);
        // What is no word is never the least used.
        self.layout.set_padding(FrameMut::cut(self.layout, self.heads, frame).usage, -T::NEG_INFINITY);
    }
}

impl<T: Real> Memory<T> for Dam<T> {
    fn interface_len(&self) -> usize {
        self.heads * Fields::len(self.fields.word_size)
    }

    fn read_len(&self) -> usize {
        self.heads * self.fields.word_size
    }

    life_in_frames!();

    fn save(&mut self, to: &mut Arrays<T>) {
        let now = Frame::cut(self.layout, self.heads, self.frames.now());
        self.layout.save_contents(now.contents, to);
        self.layout.save_vectors("read_weights", now.weights, to);
        self.layout.save_vectors("usage", now.usage, to);
    }

    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.reset();
        let now = FrameMut::cut(self.layout, self.heads, self.frames.now_mut());
        self.layout.load_contents(now.contents, from)?;
        self.layout.load_vectors("read_weights", now.weights, from)?;
        self.layout.load_vectors("usage", now.usage, from)
    }

    fn trace(&self, interface: &[T], to: &mut Arrays<T>) {
        let (layout, fields) = (self.layout, self.fields);
        let (before, now) = self.frames.latest();
        let (before, now) = (Frame::cut(layout, self.heads, before), Frame::cut(layout, self.heads, now));
        let heads = || interface.chunks_exact(Fields::len(fields.word_size));
        let gates: Vec<_> = heads().map(|head| fields.gates(head, T::ZERO)).collect();
        let unused = &self.least_used[(self.frames.position() - 1) * self.heads..][..self.heads];
        let mut writes = before.weights.to_vec();
        for ((weights, gates), unused) in writes.chunks_exact_mut(layout.blocks()).zip(&gates).zip(unused) {
            let weights = weights.as_flattened_mut();
            weights.iter_mut().for_each(|weight| *weight *= gates.of_first());
            weights[*unused] += gates.of_second();
        }
        layout.save_vectors("write_weights", &writes, to);
        layout.save_vectors("read_weights", now.weights, to);
        layout.save_vectors("usage", now.usage, to);
        to.put_whole("erased_words", &[unused.len()], unused.iter().map(|word| *word as u32).collect());
        put_heads(heads().map(|head| head[fields.strength()].oneplus()), "read_strengths", to);
        Gates::trace(&gates, to);
    }
}

/// The words with the smallest `usage`, one for each place in `words`, the least used first.
#[inline(always)]
fn find_least_used<T: Real, I: InstructionSet>(simd: I, usage: &[Sixteen<T>], words: &mut [usize], least: &mut Vec<T>) {
    least.clear();
    least.resize(words.len(), -T::NEG_INFINITY);
    for (number, word) in words.iter_mut().enumerate() {
        *word = number;
    }
    let last = words.len() - 1;
    for (block, usage) in usage.iter().enumerate() {
        // Nearly every block holds nothing new and is done with here.
        let mut candidates = !simd.load(usage).at_least(least[last]);
        while candidates != 0 {
            let lane = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let mut place = last;
            if usage[lane] < least[place] {
                while place > 0 && usage[lane] < least[place - 1] {
                    (least[place], words[place]) = (least[place - 1], words[place - 1]);
                    place -= 1;
                }
                (least[place], words[place]) = (usage[lane], block * LANES + lane);
            }
        }
    }
}

/// The words among `unused` that stand in a strip: head, block within the strip, lane.
#[inline(always)]
fn in_strip(unused: &[usize], strip: &std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
    let (start, end) = (strip.start * LANES, strip.end * LANES);
    let within = unused.iter().enumerate().filter(move |(_, word)| (start..end).contains(*word));
    within.map(move |(head, word)| (head, (word - start) / LANES, word % LANES))
}

vector_fn! {
    fn step<T, simd: I>(dam: &mut Dam<T>, interface: &[T], read: &mut [T], record: bool) {
        let (heads, layout, discount) = (dam.heads, dam.layout, dam.usage_discount);
        let (blocks, size) = (layout.blocks(), layout.word_size);
        let position = dam.frames.position();
        let (before, now) = dam.frames.step(record);
        let (before, now) = (Frame::cut(layout, heads, before), FrameMut::cut(layout, heads, now));
        let scratch = &mut dam.scratch;
        scratch.start(simd, dam.fields, interface);
        dam.least_used.resize((position + 1) * heads, 0);
        let unused = &mut dam.least_used[position * heads..];
        find_least_used(simd, before.usage, unused, &mut scratch.over_unused);

        for strip in layout.strips() {
            scratch.weigh_writes(layout, &strip, before.weights, unused);
            let contents = &mut now.contents[layout.contents(&strip)];
            contents.copy_from_slice(&before.contents[layout.contents(&strip)]);
            for (_, block, lane) in in_strip(unused, &strip) {
                for numbers in &mut contents[block * size..][..size] {
                    numbers[lane] = T::ZERO;
                }
            }
            spread(size, contents, &scratch.write_weights, STRIP_BLOCKS, &scratch.write_words);
            let usage = now.usage[strip.clone()].as_flattened_mut();
            for (usage, before) in usage.iter_mut().zip(before.usage[strip.clone()].as_flattened()) {
                *usage = discount * *before;
            }
            for weights in scratch.write_weights.chunks_exact(STRIP_BLOCKS) {
                for (usage, weight) in usage.iter_mut().zip(weights.as_flattened()) {
                    *usage += *weight;
                }
            }
            scratch.addressing.strip(simd, layout, &strip, contents, now.weights);
            for (head, factor) in scratch.addressing.rescale().iter().enumerate() {
                if *factor != T::ONE {
                    scratch.sums.scale(head, *factor);
                }
            }
            scratch.sums.add(contents, &now.weights[strip.start..], blocks);
        }

        for (number, strip) in layout.strips().enumerate() {
            for head in 0..heads {
                let scale = scratch.addressing.scale(number, head);
                let weights = now.weights[head * blocks..][strip.clone()].as_flattened_mut();
                for (weight, usage) in weights.iter_mut().zip(now.usage[strip.clone()].as_flattened_mut()) {
                    *weight *= scale;
                    *usage += *weight;
                }
            }
        }
        for (head, read) in read.chunks_exact_mut(size).enumerate() {
            scratch.sums.finish(simd, head, read);
            let scale = T::ONE / scratch.addressing.total(head);
            for number in read {
                *number *= scale;
            }
        }
        now.reads.as_flattened_mut()[..read.len()].copy_from_slice(read);
    }
}

vector_fn! {
    fn step_back<T, simd: I>(dam: &mut Dam<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (heads, layout, fields) = (dam.heads, dam.layout, dam.fields);
        let (blocks, size) = (layout.blocks(), layout.word_size);
        if dam.frames.at_end() {
            dam.weight_gradients.resize(heads * blocks, [T::ZERO; LANES]);
            dam.content_gradients.fill(T::ZERO);
            dam.weight_gradients.as_flattened_mut().fill(T::ZERO);
            dam.weight_gradient_sums.fill(T::ZERO);
        }
        let position = dam.frames.position();
        let (before, now) = dam.frames.step_back();
        let (before, now) = (Frame::cut(layout, heads, before), Frame::cut(layout, heads, now));
        let unused = &dam.least_used[(position - 1) * heads..position * heads];
        let scratch = &mut dam.scratch;
        scratch.start(simd, fields, interface);
        scratch.addressing.start_back();
        scratch.over_read.clear();
        scratch.over_read.resize(heads, T::ZERO);
        scratch.over_unused.clear();
        scratch.over_unused.resize(heads, T::ZERO);
        // The gradient of softmax needs Σ w(i) · gradient of w(i). What came through the read adds up to the
        // gradient of the read times the read; so no pass has to come before this one.
        for head in 0..heads {
            let of_head = head * size..(head + 1) * size;
            let read = &now.reads.as_flattened()[of_head.clone()];
            dam.weight_gradient_sums[head] += dot(simd, &read_gradient[of_head], read);
        }

        let content_gradients = dam.content_gradients.as_chunks_mut().0;
        for strip in layout.strips() {
            let contents = &now.contents[layout.contents(&strip)];
            let gradients = &mut content_gradients[layout.contents(&strip)];
            let of_head = |head: usize| head * blocks + strip.start..head * blocks + strip.end;

            products(size, contents, read_gradient, &mut scratch.gradients, STRIP_BLOCKS);
            for head in 0..heads {
                let sum = dam.weight_gradient_sums[head];
                let logit_gradients = scratch.gradients[head * STRIP_BLOCKS..][..strip.len()].as_flattened_mut();
                let weights = now.weights[of_head(head)].as_flattened();
                let carried = dam.weight_gradients[of_head(head)].as_flattened();
                for ((gradient, weight), carried) in logit_gradients.iter_mut().zip(weights).zip(carried) {
                    *gradient = *weight * (*gradient + *carried - sum);
                }
            }
            spread(size, gradients, &now.weights[strip.start..], blocks, read_gradient);
            scratch.addressing.strip_back(simd, contents, &mut scratch.gradients, STRIP_BLOCKS, gradients);

            // From here on `gradients` are those of the words as they were written.
            scratch.weigh_writes(layout, &strip, before.weights, unused);
            scratch.sums.add(gradients, &scratch.write_weights, STRIP_BLOCKS);
            products(size, gradients, &scratch.write_words, &mut scratch.gradients, STRIP_BLOCKS);
            for head in 0..heads {
                let share = scratch.gates[head].of_first();
                let write_gradients = scratch.gradients[head * STRIP_BLOCKS..][..strip.len()].as_flattened();
                let weights = before.weights[of_head(head)].as_flattened();
                let carried = dam.weight_gradients[of_head(head)].as_flattened_mut();
                scratch.over_read[head] += dot(simd, write_gradients, weights);
                for (carried, gradient) in carried.iter_mut().zip(write_gradients) {
                    *carried = share * *gradient;
                }
            }
            for (head, block, lane) in in_strip(unused, &strip) {
                scratch.over_unused[head] = scratch.gradients[head * STRIP_BLOCKS + block][lane];
                // What the word held before was erased, and no gradient reaches it.
                for numbers in &mut gradients[block * size..][..size] {
                    numbers[lane] = T::ZERO;
                }
            }
        }

        for (head, gates) in scratch.gates.iter().enumerate() {
            let gradient = &mut interface_gradient[head * Fields::len(size)..][..Fields::len(size)];
            let raw_strength = interface[head * Fields::len(size) + fields.strength()];
            let strength_gradient = scratch.addressing.finish_back(simd, head, &mut gradient[fields.key()]);
            gradient[fields.strength()] = strength_gradient * raw_strength.sigmoid();
            scratch.sums.finish(simd, head, &mut gradient[fields.write_word()]);
            let over_read = scratch.over_read[head];
            (gradient[fields.write_gate()], gradient[fields.interpolation_gate()]) =
                gates.back(over_read, scratch.over_unused[head]);
            dam.weight_gradient_sums[head] = gates.of_first() * over_read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::conformance::{bits, carry_what_is_not_a_number, interface, life};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 1usize..80, word_size in 1usize..20, heads in 1usize..6, life in life(),
        ) {
            prop_assume!(memory_size >= heads);
            let config = Config { memory_size, word_size, heads, ..Default::default() };
            life.check(|| Dam::new(&config).unwrap(), |dam: &mut Dam<f32>| {
                let Frame { contents, weights, usage, .. } = Frame::cut(dam.layout, heads, dam.frames.now());
                [contents, weights, usage].map(|part| bits(part.as_flattened())).to_vec()
            });
        }

        #[test]
        fn the_least_used_are_the_first_of_a_stable_sort(
            usage in proptest::collection::vec(0u8..10, 1..150), heads in 1usize..9,
        ) {
            prop_assume!(usage.len() >= heads);
            let mut order: Vec<usize> = (0..usage.len()).collect();
            order.sort_by_key(|word| usage[*word]);
            let mut blocks = vec![[f32::INFINITY; LANES]; usage.len().div_ceil(LANES)];
            for (to, from) in blocks.as_flattened_mut().iter_mut().zip(&usage) {
                *to = f32::from(*from);
            }
            let mut words = vec![0; heads];
            find_least_used(crate::kernels::simd::Plain, &blocks, &mut words, &mut Vec::new());
            prop_assert_eq!(&words[..], &order[..heads]);
        }
    }

    #[test]
    fn weights_are_not_negative_and_sum_to_one_at_any_strength() {
        for (memory_size, heads) in [(5, 1), (33, 4), (200, 2)] {
            let config = Config { memory_size, word_size: 6, heads, ..Default::default() };
            let mut dam = Dam::<f32>::new(&config).unwrap();
            let mut read = vec![0.0; dam.read_len()];
            for step in 0..40 {
                let mut vector = interface(dam.interface_len(), step, 3);
                for head in vector.chunks_exact_mut(Fields::len(6)) {
                    head[dam.fields.strength()] = [-50.0, 0.0, 30.0, 500.0][step % 4];
                }
                dam.step(&vector, &mut read, step % 2 == 0);
                let now = Frame::cut(dam.layout, heads, dam.frames.now());
                for weights in now.weights.chunks(dam.layout.blocks()) {
                    assert!(weights.as_flattened().iter().all(|w| *w >= 0.0));
                    assert!(weights.as_flattened()[memory_size..].iter().all(|w| *w == 0.0));
                    let sum: f64 = weights.as_flattened().iter().map(|w| f64::from(*w)).sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
                }
            }
        }
    }

    #[test]
    fn not_a_number_in_the_interface_is_carried_not_a_panic() {
        let mut dam = Dam::<f32>::new(&Config { memory_size: 6, word_size: 3, ..Default::default() }).unwrap();
        carry_what_is_not_a_number(&mut dam);
        assert!(dam.frames.now()[..dam.layout.contents_len()].as_flattened().iter().all(|x| *x == 0.0));
    }

    #[test]
    fn configurations_that_cannot_be_are_named() {
        for (config, field) in [
            (Config { memory_size: 3, ..Default::default() }, "memory_size"),
            (Config { word_size: 0, ..Default::default() }, "word_size"),
            (Config { heads: 0, ..Default::default() }, "heads"),
            (Config { usage_discount: f64::NAN, ..Default::default() }, "usage_discount"),
        ] {
            let error = Dam::<f32>::new(&config).err().expect("it does not fit");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
