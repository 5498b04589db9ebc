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

use super::dense::{Addressing, Frames, Layout, STRIP_BLOCKS, Sixteen, Sums, check_room, products, spread};
use super::pages::Pages;
use super::sam::{self, Fields};
use super::{Memory, MemoryConfig};
use crate::real::lanes::{LANES, Lanes};
use crate::real::simd::{InstructionSet, vector_fn};
use crate::real::vector::dot;
use crate::{Error, Real};

/// The configuration of a [`Dam`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Words in memory, N.
    pub memory_size: usize,
    /// Numbers in a word, W.
    pub word_size: usize,
    /// Access heads, R.
    pub heads: usize,
    /// What is left of a word's usage after a step, λ.
    pub usage_discount: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory_size: 128, word_size: 32, heads: 4, usage_discount: 0.99 }
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
        let Self { memory_size, word_size, heads, usage_discount } = *self;
        sam::Config { memory_size, word_size, heads, ..Default::default() }.validate()?;
        let fits = (0.0..=1.0).contains(&usage_discount);
        Error::check_config(fits, "usage_discount", usage_discount, "it lies from 0 to 1")
    }

    fn build<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
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
/// The gradient flows through weights, gates, words and keys; not through the usage or the choice of words.
pub struct Dam<T> {
    heads: usize,
    usage_discount: T,
    fields: Fields,
    layout: Layout,
    /// Of every step, laid out as a [`State`].
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

/// The parts of a frame.
#[derive(Clone, Copy)]
struct State<'a, T> {
    contents: &'a [Sixteen<T>],
    /// Read weights, head after head.
    weights: &'a [Sixteen<T>],
    usage: &'a [Sixteen<T>],
    /// What was read, head after head.
    reads: &'a [T],
}

struct StateMut<'a, T> {
    contents: &'a mut [Sixteen<T>],
    weights: &'a mut [Sixteen<T>],
    usage: &'a mut [Sixteen<T>],
    reads: &'a mut [T],
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

/// A head's write gate α and interpolation gate γ.
#[derive(Clone, Copy, Debug)]
struct Gates<T> {
    write: T,
    interpolation: T,
}

impl<T: Real> Gates<T> {
    /// What the weights of the reads before are multiplied by.
    #[inline(always)]
    fn read(self) -> T {
        self.write * self.interpolation
    }
    /// The weight of the least used word.
    #[inline(always)]
    fn unused(self) -> T {
        self.write * (T::ONE - self.interpolation)
    }
}

impl<T: Real> Scratch<T> {
    /// Takes the gates, write words, keys and strengths from the interface.
    #[inline(always)]
    fn start<I: InstructionSet>(&mut self, fields: Fields, interface: &[T]) {
        let size = fields.word_size;
        let heads = || interface.chunks_exact(Fields::len(size));
        self.gates.clear();
        self.gates.extend(heads().map(|head| Gates {
            write: head[fields.write_gate()].sigmoid(),
            interpolation: head[fields.interpolation_gate()].sigmoid(),
        }));
        self.write_words.clear();
        for head in heads() {
            self.write_words.extend_from_slice(&head[fields.write_word()]);
        }
        let addresses = heads().map(|head| (&head[fields.key()], head[fields.strength()].oneplus()));
        self.addressing.start::<I>(size, addresses);
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
                *weight = gates.read() * *before;
            }
            if let Some(place) = unused[head].checked_sub(strip.start * LANES)
                && let Some(weight) = weights.as_flattened_mut().get_mut(place)
            {
                *weight += gates.unused();
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
        let Config { memory_size, word_size, heads, usage_discount } = *config;
        let layout = Layout { memory_size, word_size };
        // A frame, and the gradients of words and weights.
        check_room::<T>(layout, 2 * (word_size + heads) + 1)?;
        let mut dam = Self {
            heads,
            usage_discount: T::from_f64(usage_discount),
            fields: Fields { word_size },
            layout,
            frames: Frames::new(
                layout.contents_len() + (heads + 1) * layout.blocks() + (heads * word_size).div_ceil(LANES),
            )?,
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

fn state<T: Real>(frame: &[Sixteen<T>], layout: Layout, heads: usize) -> State<'_, T> {
    let (contents, rest) = frame.split_at(layout.contents_len());
    let (weights, rest) = rest.split_at(heads * layout.blocks());
    let (usage, reads) = rest.split_at(layout.blocks());
    State { contents, weights, usage, reads: &reads.as_flattened()[..heads * layout.word_size] }
}

fn state_mut<T: Real>(frame: &mut [Sixteen<T>], layout: Layout, heads: usize) -> StateMut<'_, T> {
    let (contents, rest) = frame.split_at_mut(layout.contents_len());
    let (weights, rest) = rest.split_at_mut(heads * layout.blocks());
    let (usage, reads) = rest.split_at_mut(layout.blocks());
    StateMut { contents, weights, usage, reads: &mut reads.as_flattened_mut()[..heads * layout.word_size] }
}

impl<T: Real> Memory<T> for Dam<T> {
    fn interface_len(&self) -> usize {
        self.heads * Fields::len(self.fields.word_size)
    }

    fn read_len(&self) -> usize {
        self.heads * self.fields.word_size
    }

    fn reset(&mut self) {
        self.frames.start_episode();
        let frame = self.frames.now_mut();
        frame.as_flattened_mut().fill(T::ZERO);
        // What is no word is never the least used.
        self.layout.set_padding(state_mut(frame, self.layout, self.heads).usage, -T::NEG_INFINITY);
    }

    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
        self.reset();
        self.layout.fill(self.frames.now_mut(), content);
    }

    fn start_episode(&mut self) {
        self.frames.start_episode();
    }

    fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
        if !record {
            self.frames.start_episode();
        }
        step(self, interface, read);
        if !record {
            self.frames.start_episode();
        }
    }

    fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        step_back(self, interface, read_gradient, interface_gradient);
    }

    fn replay(&mut self) {
        self.frames.replay();
    }

    fn tape_growth(&self, steps: usize) -> u128 {
        self.frames.growth(steps)
    }
}

/// The words with the smallest `usage`, one for each place in `words`, the least used first.
#[inline(always)]
fn find_least_used<T: Real, I: InstructionSet>(usage: &[Sixteen<T>], words: &mut [usize], least: &mut Vec<T>) {
    least.clear();
    least.resize(words.len(), -T::NEG_INFINITY);
    for (number, word) in words.iter_mut().enumerate() {
        *word = number;
    }
    let last = words.len() - 1;
    for (block, usage) in usage.iter().enumerate() {
        // Nearly every block holds nothing new and is done with here.
        let mut candidates = !I::Lanes::<T>::load(usage).at_least(least[last]);
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
    fn step<T, I>(dam: &mut Dam<T>, interface: &[T], read: &mut [T]) {
        let (heads, layout, discount) = (dam.heads, dam.layout, dam.usage_discount);
        let (blocks, size) = (layout.blocks(), layout.word_size);
        let position = dam.frames.position();
        let (before, now) = dam.frames.step();
        let (before, now) = (state(before, layout, heads), state_mut(now, layout, heads));
        let scratch = &mut dam.scratch;
        scratch.start::<I>(dam.fields, interface);
        dam.least_used.resize((position + 1) * heads, 0);
        let unused = &mut dam.least_used[position * heads..];
        find_least_used::<T, I>(before.usage, unused, &mut scratch.over_unused);

        for strip in layout.strips() {
            scratch.weigh_writes(layout, &strip, before.weights, unused);
            let contents = &mut now.contents[layout.contents(&strip)];
            contents.copy_from_slice(&before.contents[layout.contents(&strip)]);
            for (_, block, lane) in in_strip(unused, &strip) {
                for numbers in &mut contents[block * size..][..size] {
                    numbers[lane] = T::ZERO;
                }
            }
            spread::<T, I>(size, contents, &scratch.write_weights, STRIP_BLOCKS, &scratch.write_words);
            let usage = now.usage[strip.clone()].as_flattened_mut();
            for (usage, before) in usage.iter_mut().zip(before.usage[strip.clone()].as_flattened()) {
                *usage = discount * *before;
            }
            for weights in scratch.write_weights.chunks_exact(STRIP_BLOCKS) {
                for (usage, weight) in usage.iter_mut().zip(weights.as_flattened()) {
                    *usage += *weight;
                }
            }
            scratch.addressing.strip::<I>(layout, &strip, contents, now.weights);
            for (head, factor) in scratch.addressing.rescale().iter().enumerate() {
                if *factor != T::ONE {
                    scratch.sums.scale(head, *factor);
                }
            }
            scratch.sums.add::<I>(contents, &now.weights[strip.start..], blocks);
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
        for (head, read) in now.reads.chunks_exact_mut(size).enumerate() {
            scratch.sums.finish::<I>(head, read);
            let scale = T::ONE / scratch.addressing.total(head);
            for number in read {
                *number *= scale;
            }
        }
        read.copy_from_slice(now.reads);
    }
}

vector_fn! {
    fn step_back<T, I>(dam: &mut Dam<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
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
        let (before, now) = (state(before, layout, heads), state(now, layout, heads));
        let unused = &dam.least_used[(position - 1) * heads..position * heads];
        let scratch = &mut dam.scratch;
        scratch.start::<I>(fields, interface);
        scratch.addressing.start_back();
        scratch.over_read.clear();
        scratch.over_read.resize(heads, T::ZERO);
        scratch.over_unused.clear();
        scratch.over_unused.resize(heads, T::ZERO);
        // The gradient of softmax needs Σ w(i) · gradient of w(i). What came through the read adds up to the
        // gradient of the read times the read; so no pass has to come before this one.
        for head in 0..heads {
            let of_head = head * size..(head + 1) * size;
            dam.weight_gradient_sums[head] += dot::<T, I>(&read_gradient[of_head.clone()], &now.reads[of_head]);
        }

        let content_gradients = dam.content_gradients.as_chunks_mut().0;
        for strip in layout.strips() {
            let contents = &now.contents[layout.contents(&strip)];
            let gradients = &mut content_gradients[layout.contents(&strip)];
            let of_head = |head: usize| head * blocks + strip.start..head * blocks + strip.end;

            products::<T, I>(size, contents, read_gradient, &mut scratch.gradients, STRIP_BLOCKS);
            for head in 0..heads {
                let sum = dam.weight_gradient_sums[head];
                let logit_gradients = scratch.gradients[head * STRIP_BLOCKS..][..strip.len()].as_flattened_mut();
                let weights = now.weights[of_head(head)].as_flattened();
                let carried = dam.weight_gradients[of_head(head)].as_flattened();
                for ((gradient, weight), carried) in logit_gradients.iter_mut().zip(weights).zip(carried) {
                    *gradient = *weight * (*gradient + *carried - sum);
                }
            }
            spread::<T, I>(size, gradients, &now.weights[strip.start..], blocks, read_gradient);
            scratch.addressing.strip_back::<I>(contents, &mut scratch.gradients, STRIP_BLOCKS, gradients);

            // From here on `gradients` are those of the words as they were written.
            scratch.weigh_writes(layout, &strip, before.weights, unused);
            scratch.sums.add::<I>(gradients, &scratch.write_weights, STRIP_BLOCKS);
            products::<T, I>(size, gradients, &scratch.write_words, &mut scratch.gradients, STRIP_BLOCKS);
            for head in 0..heads {
                let gates = scratch.gates[head].read();
                let write_gradients = scratch.gradients[head * STRIP_BLOCKS..][..strip.len()].as_flattened();
                let weights = before.weights[of_head(head)].as_flattened();
                let carried = dam.weight_gradients[of_head(head)].as_flattened_mut();
                scratch.over_read[head] += dot::<T, I>(write_gradients, weights);
                for (carried, gradient) in carried.iter_mut().zip(write_gradients) {
                    *carried = gates * *gradient;
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
            let strength_gradient = scratch.addressing.finish_back::<I>(head, &mut gradient[fields.key()]);
            gradient[fields.strength()] = strength_gradient * raw_strength.sigmoid();
            scratch.sums.finish::<I>(head, &mut gradient[fields.write_word()]);
            let (over_read, over_unused) = (scratch.over_read[head], scratch.over_unused[head]);
            let Gates { write, interpolation } = *gates;
            gradient[fields.write_gate()] = (interpolation * over_read + (T::ONE - interpolation) * over_unused)
                * write
                * (T::ONE - write);
            gradient[fields.interpolation_gate()] =
                write * (over_read - over_unused) * interpolation * (T::ONE - interpolation);
            dam.weight_gradient_sums[head] = gates.read() * over_read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::life::{bits, interface, life};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 1usize..80, word_size in 1usize..20, heads in 1usize..6, life in life(),
        ) {
            prop_assume!(memory_size >= heads);
            let config = Config { memory_size, word_size, heads, ..Default::default() };
            life.check(|| Dam::new(&config).unwrap(), |dam: &mut Dam<f32>| {
                let State { contents, weights, usage, .. } = state(dam.frames.now(), dam.layout, heads);
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
            find_least_used::<f32, crate::real::simd::Plain>(&blocks, &mut words, &mut Vec::new());
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
                let state = state(dam.frames.now(), dam.layout, heads);
                for weights in state.weights.chunks(dam.layout.blocks()) {
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
        let (length, mut read) = (dam.interface_len(), vec![0.0; dam.read_len()]);
        for step in 0..20 {
            let mut vector = interface(length, step, 1);
            vector[step % length] = [f32::NAN, f32::INFINITY][step % 2];
            dam.step(&vector, &mut read, true);
        }
        for step in (0..20).rev() {
            dam.step_back(&interface(length, step, 1), &vec![f32::NAN; read.len()], &mut vec![0.0; length]);
        }
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
