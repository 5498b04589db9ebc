//! The neural Turing machine: every head reads and writes every word, by content and by place.
//!
//! # What a step reads and writes
//!
//! In numbers (4 bytes each in `f32`), for N words of W numbers and R heads, each with two addressings:
//!
//! | pass | forward | backward |
//! |---|---|---|
//! | words, to address the writes | reads M_{t-1}: N W | reads M_{t-1}, reads and writes the gradient: 3 N W |
//! | words, to write and to address the reads | reads M_{t-1}, writes M_t: 2 N W | reads M_{t-1} and M_t, reads and writes the gradient: 4 N W |
//! | words, to read | reads M_t: N W | reads M_t: N W |
//! | weights, by shift and sharpening | reads 8, writes 10 a head: 18 R N | reads 23, writes 6: 29 R N |
//! | **sum** | **(4 W + 18 R) N** | **(8 W + 29 R) N** |
//!
//! Three passes over the words are the least that the equations allow: the write weights must be known, normalised
//! over all words, before the first word is written, and the read weights before the first is read.
//!
//! The tape keeps M_t, the weights, and the content weights they came from, of every step, as published:
//! N (W + 4 R) numbers a step.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::memory::dense::{
    Addressing, Erasure, Frames, Layout, STRIP, STRIP_BLOCKS, Sixteen, Sums, check_room, erase, footprint, frame,
    life_in_frames, products, spread, sum,
};
use crate::memory::interface::{Field, inverse_softplus, key_starts_as_word};
use crate::memory::options::{Footprint, memory_options};
use crate::memory::softmax::softmax;
use crate::memory::trace::put_heads;
use crate::memory::{Memory, MemoryConfig};
use crate::option::Declared;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

/// The strength with which keys start (ours), half of the other models': shifts have to blur what is found before they can
/// learn.
const STRENGTH: f64 = 5.0;

memory_options! {
    /// The configuration of an [`Ntm`].
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        memory_size = 128, at most u32::MAX as usize;
        word_size = 32;
        ///
        /// Each of them reads and writes.
        heads = 4;
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        self.heads * Fields { word_size: self.word_size }.len()
    }

    fn interface(&self) -> Vec<Field> {
        let of = |head: usize| {
            let addressing = || {
                let key = Field::new("key", self.word_size);
                [
                    // A head's twelve fields end with the word that is added.
                    if key_starts_as_word(head, self.heads) { key.same_as(12 * head + 11) } else { key },
                    Field::new("strength", 1).with_bias(inverse_softplus(STRENGTH)),
                    Field::new("interpolation gate", 1),
                    Field::new("shift", 3),
                    Field::new("sharpening", 1),
                ]
            };
            let write = [Field::new("erase", self.word_size), Field::new("add", self.word_size)];
            addressing().into_iter().chain(addressing()).chain(write)
        };
        (0..self.heads).flat_map(of).collect()
    }

    fn validate(&self) -> Result<(), Error> {
        self.check_options()
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
        Ok(Box::new(Ntm::new(self)?))
    }
}

/// Where a head's fields stand in its part of the interface: for the read addressing, then for the write addressing,
/// key k (W), strength (1), interpolation gate (1), shift (3), sharpening (1); then erase (W), add (W).
#[derive(Clone, Copy, Debug)]
struct Fields {
    word_size: usize,
}

impl Fields {
    #[inline(always)]
    fn len(self) -> usize {
        self.add().end
    }
    #[inline(always)]
    fn addressing(self, kind: Kind) -> Range<usize> {
        let length = self.word_size + 6;
        kind as usize * length..(kind as usize + 1) * length
    }
    #[inline(always)]
    fn erase(self) -> Range<usize> {
        let start = self.addressing(Kind::Write).end;
        start..start + self.word_size
    }
    #[inline(always)]
    fn add(self) -> Range<usize> {
        let start = self.erase().end;
        start..start + self.word_size
    }

    // Within an addressing.
    #[inline(always)]
    fn key(self) -> Range<usize> {
        0..self.word_size
    }
    #[inline(always)]
    fn strength(self) -> usize {
        self.word_size
    }
    #[inline(always)]
    fn gate(self) -> usize {
        self.word_size + 1
    }
    #[inline(always)]
    fn shift(self) -> Range<usize> {
        self.word_size + 2..self.word_size + 5
    }
    #[inline(always)]
    fn sharpening(self) -> usize {
        self.word_size + 5
    }
}

/// What an addressing is for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
}

/// The neural Turing machine (Graves et al. 2014): the memory of one sequence.
///
/// Interface, per head: for its read addressing key k, strength β, interpolation gate g, shift s, sharpening γ; the
/// same for its write addressing; erase e, add a; with β = softplus, g = σ, s = softmax over shifts -1, 0, +1,
/// γ = oneplus, e = σ.
///
/// * **Addressing.** w_c = softmax(β cos(k, M(i))); w_g = g w_c + (1-g) w(t-1); w_s(i) = Σ_d s(d) w_g((i-d) mod N);
///   w(i) = (w_s(i) + 1e-16)^γ / Σ_j (w_s(j) + 1e-16)^γ.
/// * **Write.** M(i) = M(i) Π_h (1 - w_h(i) e_h) + Σ_h w_h(i) a_h, by content as it was before the step.
/// * **Read.** r_h = Σ w_h(i) M(i), by content as the step wrote it.
/// * **Start.** Every number is 1e-6, and every addressing stands on word 0.
///
/// A [trace](Memory::trace) has, for reads as for writes, `read_weights` (R × N), `read_strengths` β,
/// `read_interpolation_gates` g, `read_sharpenings` γ (R each) and `read_shifts` s (R × 3: -1, 0, +1); `write_…`
/// likewise.
pub struct Ntm<T> {
    heads: usize,
    fields: Fields,
    layout: Layout,
    /// Of every step, laid out as a [`Frame`].
    frames: Frames<T>,
    /// Gradient of the words after the step before the latest one undone.
    content_gradients: Pages<T>,
    /// Gradients of interpolated weights, head after head, of which the part 1 - g goes on to the weights before.
    carried: [Vec<Sixteen<T>>; 2],
    /// That part, a head.
    carried_part: [Vec<T>; 2],
    scratch: Scratch<T>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    addressing: [Addressing<T>; 2],
    focus: [Vec<Focus<T>>; 2],
    /// Head after head.
    erase: Vec<T>,
    add: Vec<T>,
    read: Sums<T>,
    /// Of the gradients of the write words.
    added: Sums<T>,
    erasure: Erasure<T>,
    /// Gradients of the weights of all heads, over all words.
    gradients: Vec<Sixteen<T>>,
    /// Gradients of the logits of all heads, over a strip.
    logits: Vec<Sixteen<T>>,
    /// Σ w(i) · gradient of w(i), a head.
    over_weights: Vec<T>,
}

/// How a head goes from content weights to weights.
#[derive(Clone, Copy, Debug)]
struct Focus<T> {
    gate: T,
    shift: [T; 3],
    sharpening: T,
    /// Forward: what turns the powers into weights. Back: the gradient of softmax needs Σ w_c · gradient of w_c.
    scale: T,
}

/// The gradient of a [`Focus`].
#[derive(Clone, Copy, Debug)]
struct FocusGradient<T> {
    gate: T,
    shift: [T; 3],
    sharpening: T,
}

frame! {
    /// The state after a step. Weights stand head after head.
    |layout, heads: usize|
    contents: layout.contents_len(),
    read_weights: heads * layout.blocks(),
    write_weights: heads * layout.blocks(),
    /// The content weights that these came from.
    read_content: heads * layout.blocks(),
    write_content: heads * layout.blocks(),
}

/// What keeps the power of a weight of zero defined (Graves' implementations; models that follow them agree on it).
fn least_weight<T: Real>() -> T {
    T::from_f64(1e-16)
}

impl<T: Real> Focus<T> {
    #[inline(always)]
    fn new(fields: Fields, addressing: &[T]) -> Self {
        let mut shift = [T::ZERO; 3];
        shift.copy_from_slice(&addressing[fields.shift()]);
        softmax(&mut shift);
        Self {
            gate: addressing[fields.gate()].sigmoid(),
            shift,
            sharpening: addressing[fields.sharpening()].oneplus(),
            scale: T::ZERO,
        }
    }

    /// g w_c + (1-g) w(t-1).
    #[inline(always)]
    fn interpolate(&self, by_content: T, before: T) -> T {
        self.gate * by_content + (T::ONE - self.gate) * before
    }

    /// w_s + 1e-16 of some words, of which `interpolated` holds w_g, with the word before them in the first place and
    /// the one after them behind them.
    #[inline(always)]
    fn shift(&self, interpolated: &[T], shifted: &mut [T]) {
        let [back, stay, on] = self.shift;
        let around = interpolated.iter().zip(&interpolated[1..]).zip(&interpolated[2..]);
        for (shifted, ((left, here), right)) in shifted.iter_mut().zip(around) {
            *shifted = back * *right + stay * *here + on * *left + least_weight();
        }
    }

    /// From the exponentials of the content's logits, which become content weights when multiplied by
    /// `scale(strip)`, to weights short of `self.scale`. Vectors are filled up with zeros to whole blocks, `last` is
    /// the last word.
    #[inline(always)]
    fn weigh<I: InstructionSet>(
        &mut self,
        simd: I,
        last: usize,
        scale: impl Fn(usize) -> T,
        by_content: &mut [T],
        before: &[T],
        weights: &mut [T],
    ) {
        let first = self.interpolate(by_content[0] * scale(0), before[0]);
        let mut left = self.interpolate(by_content[last] * scale(last / STRIP), before[last]);
        let mut factor = scale(0);
        let mut largest = simd.splat(T::ZERO);
        let mut interpolated = [T::ZERO; STRIP + 2];
        for start in (0..=last).step_by(STRIP) {
            let end = (start + STRIP).min(by_content.len());
            let of_strip = by_content[start..end].iter_mut().zip(&before[start..end]);
            for (interpolated, (by_content, before)) in interpolated[1..].iter_mut().zip(of_strip) {
                *by_content *= factor;
                *interpolated = self.interpolate(*by_content, *before);
            }
            interpolated[0] = left;
            left = interpolated[STRIP];
            if end > last {
                interpolated[last - start + 2] = first;
            } else {
                factor = scale(end / STRIP);
                interpolated[STRIP + 1] = self.interpolate(by_content[end] * factor, before[end]);
            }
            let weights = &mut weights[start..end];
            self.shift(&interpolated, weights);
            weights[(last + 1 - start).min(end - start)..].fill(T::ZERO);
            for weights in weights.as_chunks().0 {
                largest = simd.load(weights).larger(largest);
            }
        }
        // The power of the largest weight is the largest power: measured against it, none overflows.
        let logarithm = largest.largest().ln();
        let mut total = T::ZERO;
        for weights in weights.chunks_mut(STRIP) {
            for weight in weights.iter_mut() {
                *weight = (self.sharpening * (weight.ln() - logarithm)).exp();
            }
            total += sum(simd, weights);
        }
        self.scale = T::ONE / total;
    }

    /// The gradient of [`weigh`](Self::weigh): takes that of the weights (and overwrites it), of which `over_weights` is
    /// the sum weighted by the weights themselves; writes that of the interpolated weights. Leaves in `self.scale` the
    /// sum of the gradient of the content weights, weighted by these.
    #[inline(always)]
    fn weigh_back<I: InstructionSet>(
        &mut self,
        simd: I,
        last: usize,
        by_content: &[T],
        before: &[T],
        weights: &[T],
        over_weights: T,
        gradients: &mut [T],
        interpolated_gradients: &mut [T],
    ) -> FocusGradient<T> {
        let at = |word: usize| self.interpolate(by_content[word], before[word]);
        let (mut sharpening, mut shift) = (T::ZERO, [T::ZERO; 3]);
        let mut interpolated = [T::ZERO; STRIP + 2];
        let (mut shifted, mut of_logarithm) = ([T::ONE; STRIP], [T::ZERO; STRIP]);
        for start in (0..=last).step_by(STRIP) {
            let end = (start + STRIP).min(by_content.len());
            let of_strip = by_content[start..end].iter().zip(&before[start..end]);
            for (interpolated, (by_content, before)) in interpolated[1..].iter_mut().zip(of_strip) {
                *interpolated = self.interpolate(*by_content, *before);
            }
            interpolated[0] = at(if start == 0 { last } else { start - 1 });
            if end > last {
                interpolated[last - start + 2] = at(0);
            } else {
                interpolated[STRIP + 1] = at(end);
            }
            let (gradients, weights) = (&mut gradients[start..end], &weights[start..end]);
            let count = end - start;
            self.shift(&interpolated[..count + 2], &mut shifted);
            for (of_logarithm, (gradient, weight)) in of_logarithm.iter_mut().zip(gradients.iter().zip(weights)) {
                *of_logarithm = *weight * (*gradient - over_weights);
            }
            for (gradient, (of_logarithm, shifted)) in gradients.iter_mut().zip(of_logarithm.iter().zip(&shifted)) {
                *gradient = *of_logarithm * self.sharpening / *shifted;
            }
            for shifted in &mut shifted[..count] {
                *shifted = shifted.ln();
            }
            sharpening += dot(simd, &of_logarithm[..count], &shifted[..count]);
            for (place, shift) in shift.iter_mut().enumerate() {
                *shift += dot(simd, gradients, &interpolated[2 - place..][..count]);
            }
        }
        // Shifting back is shifting the other way.
        let back = |left: T, here: T, right: T| self.shift[0] * left + self.shift[1] * here + self.shift[2] * right;
        for word in [0, last] {
            let (left, right) = ((word + last) % (last + 1), (word + 1) % (last + 1));
            interpolated_gradients[word] = back(gradients[left], gradients[word], gradients[right]);
        }
        let (mut over_content, mut over_before) = (T::ZERO, T::ZERO);
        for start in (0..=last).step_by(STRIP) {
            let end = (start + STRIP).min(by_content.len());
            let (first, behind) = (start.max(1), end.min(last));
            let inner = interpolated_gradients.get_mut(first..behind).unwrap_or_default();
            let around = gradients[first - 1..].iter().zip(&gradients[first..]).zip(gradients.iter().skip(first + 1));
            for (gradient, ((left, here), right)) in inner.iter_mut().zip(around) {
                *gradient = back(*left, *here, *right);
            }
            over_content += dot(simd, &interpolated_gradients[start..end], &by_content[start..end]);
            over_before += dot(simd, &interpolated_gradients[start..end], &before[start..end]);
        }
        let gate = over_content - over_before;
        self.scale = self.gate * over_content;
        FocusGradient { gate, shift, sharpening }
    }

    /// The gradient of an addressing's fields behind the key, for the part that the focus has in them.
    #[inline(always)]
    fn finish_back(&self, fields: Fields, addressing: &[T], of: FocusGradient<T>, gradient: &mut [T]) {
        gradient[fields.gate()] = of.gate * self.gate * (T::ONE - self.gate);
        let mean = self.shift[0] * of.shift[0] + self.shift[1] * of.shift[1] + self.shift[2] * of.shift[2];
        for (place, field) in fields.shift().enumerate() {
            gradient[field] = self.shift[place] * (of.shift[place] - mean);
        }
        gradient[fields.sharpening()] = of.sharpening * addressing[fields.sharpening()].sigmoid();
    }
}

impl<T: Real> Scratch<T> {
    #[inline(always)]
    fn start<I: InstructionSet>(&mut self, simd: I, fields: Fields, layout: Layout, interface: &[T]) {
        let heads = || interface.chunks_exact(fields.len());
        for kind in [Kind::Read, Kind::Write] {
            let addressings = || heads().map(|head| &head[fields.addressing(kind)]);
            self.focus[kind as usize].clear();
            self.focus[kind as usize].extend(addressings().map(|addressing| Focus::new(fields, addressing)));
            let keys =
                addressings().map(|fields_of| (&fields_of[fields.key()], fields_of[fields.strength()].softplus()));
            self.addressing[kind as usize].start(simd, fields.word_size, keys);
        }
        self.erase.clear();
        self.add.clear();
        for head in heads() {
            self.erase.extend(head[fields.erase()].iter().map(|erase| erase.sigmoid()));
            self.add.extend_from_slice(&head[fields.add()]);
        }
        let count = self.focus[0].len();
        self.read.start(count, layout.word_size);
    }

    #[inline(always)]
    fn start_back(&mut self, layout: Layout) {
        let count = self.focus[0].len();
        for addressing in &mut self.addressing {
            addressing.start_back();
        }
        self.added.start(count, layout.word_size);
        self.erasure.start(count, layout.word_size);
        self.gradients.resize(count * layout.blocks(), [T::ZERO; LANES]);
        self.logits.resize(count * STRIP_BLOCKS, [T::ZERO; LANES]);
        self.over_weights.resize(count, T::ZERO);
    }
}

impl<T: Real> Ntm<T> {
    /// A memory at its start.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryDoesNotFit`] says how many words would fit.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let Config { word_size, heads, .. } = *config;
        let layout = Layout::of(config);
        // A frame, and the gradients of the words and of the weights.
        check_room::<T>(layout, 2 * word_size + 7 * heads)?;
        let mut ntm = Self {
            heads,
            fields: Fields { word_size },
            layout,
            frames: Frames::new(Frame::<T>::len(layout, heads))?,
            content_gradients: Pages::dense(layout.contents_len() * LANES)?,
            carried: [Vec::new(), Vec::new()],
            carried_part: [vec![T::ZERO; heads], vec![T::ZERO; heads]],
            scratch: Scratch::default(),
        };
        ntm.reset();
        Ok(ntm)
    }
}

impl<T: Real> Ntm<T> {
    fn make_as_new(&mut self) {
        let now = FrameMut::cut(self.layout, self.heads, self.frames.now_mut());
        now.contents.as_flattened_mut().fill(T::from_f64(1e-6));
        for part in [now.read_weights, now.write_weights, now.read_content, now.write_content] {
            part.as_flattened_mut().fill(T::ZERO);
            for weights in part.chunks_exact_mut(self.layout.blocks()) {
                weights[0][0] = T::ONE;
            }
        }
    }
}

impl<T: Real> Memory<T> for Ntm<T> {
    fn interface_len(&self) -> usize {
        self.heads * self.fields.len()
    }

    fn read_len(&self) -> usize {
        self.heads * self.fields.word_size
    }

    life_in_frames!();

    fn save(&mut self, to: &mut Arrays<T>) {
        let now = Frame::cut(self.layout, self.heads, self.frames.now());
        self.layout.save_contents(now.contents, to);
        self.layout.save_vectors("read_weights", now.read_weights, to);
        self.layout.save_vectors("write_weights", now.write_weights, to);
    }

    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.reset();
        let now = FrameMut::cut(self.layout, self.heads, self.frames.now_mut());
        self.layout.load_contents(now.contents, from)?;
        self.layout.load_vectors("read_weights", now.read_weights, from)?;
        self.layout.load_vectors("write_weights", now.write_weights, from)
    }

    fn trace(&self, interface: &[T], to: &mut Arrays<T>) {
        let now = Frame::cut(self.layout, self.heads, self.frames.latest().1);
        for (name, kind, weights) in [("read", Kind::Read, now.read_weights), ("write", Kind::Write, now.write_weights)]
        {
            self.layout.save_vectors(&format!("{name}_weights"), weights, to);
            let heads = || interface.chunks_exact(self.fields.len()).map(|head| &head[self.fields.addressing(kind)]);
            let focus: Vec<_> = heads().map(|head| Focus::new(self.fields, head)).collect();
            let strengths = heads().map(|head| head[self.fields.strength()].softplus());
            put_heads(strengths, &format!("{name}_strengths"), to);
            put_heads(focus.iter().map(|focus| focus.gate), &format!("{name}_interpolation_gates"), to);
            put_heads(focus.iter().map(|focus| focus.sharpening), &format!("{name}_sharpenings"), to);
            let shifts = focus.iter().flat_map(|focus| focus.shift).collect();
            to.put_real(format!("{name}_shifts"), &[self.heads, 3], shifts);
        }
    }
}

/// From the exponentials of all heads' content logits to their weights, short of a factor.
#[inline(always)]
fn weigh<T: Real, I: InstructionSet>(
    simd: I,
    layout: Layout,
    addressing: &Addressing<T>,
    focus: &mut [Focus<T>],
    by_content: &mut [Sixteen<T>],
    before: &[Sixteen<T>],
    weights: &mut [Sixteen<T>],
) {
    for (head, focus) in focus.iter_mut().enumerate() {
        let of_head = head * layout.blocks()..(head + 1) * layout.blocks();
        let weights = &mut weights[of_head.clone()];
        focus.weigh(
            simd,
            layout.memory_size - 1,
            |strip| addressing.scale(strip, head),
            by_content[of_head.clone()].as_flattened_mut(),
            before[of_head].as_flattened(),
            weights.as_flattened_mut(),
        );
        layout.set_padding(weights, T::ZERO);
    }
}

/// Multiplies the weights of a strip by what they lack.
#[inline(always)]
fn scale<T: Real>(layout: Layout, focus: &[Focus<T>], strip: &Range<usize>, weights: &mut [Sixteen<T>]) {
    for (head, focus) in focus.iter().enumerate() {
        for weight in weights[head * layout.blocks()..][strip.clone()].as_flattened_mut() {
            *weight *= focus.scale;
        }
    }
}

vector_fn! {
    fn step<T, simd: I>(ntm: &mut Ntm<T>, interface: &[T], read: &mut [T], record: bool) {
        let (heads, layout, fields) = (ntm.heads, ntm.layout, ntm.fields);
        let (blocks, size) = (layout.blocks(), layout.word_size);
        let (before, now) = ntm.frames.step(record);
        let before = Frame::cut(layout, heads, before);
        let FrameMut { contents, read_weights, write_weights, read_content, write_content } =
            FrameMut::cut(layout, heads, now);
        let scratch = &mut ntm.scratch;
        scratch.start(simd, fields, layout, interface);
        let [read_addressing, write_addressing] = &mut scratch.addressing;
        let [read_focus, write_focus] = &mut scratch.focus;

        for strip in layout.strips() {
            write_addressing.strip(simd, layout, &strip, &before.contents[layout.contents(&strip)], write_content);
        }
        weigh(simd, layout, write_addressing, write_focus, write_content, before.write_weights, write_weights);
        for strip in layout.strips() {
            scale(layout, write_focus, &strip, write_weights);
            let contents = &mut contents[layout.contents(&strip)];
            contents.copy_from_slice(&before.contents[layout.contents(&strip)]);
            erase(size, contents, &write_weights[strip.start..], blocks, &scratch.erase);
            spread(size, contents, &write_weights[strip.start..], blocks, &scratch.add);
            read_addressing.strip(simd, layout, &strip, contents, read_content);
        }
        weigh(simd, layout, read_addressing, read_focus, read_content, before.read_weights, read_weights);
        for strip in layout.strips() {
            scale(layout, read_focus, &strip, read_weights);
            scratch.read.add(&contents[layout.contents(&strip)], &read_weights[strip.start..], blocks);
        }
        for (head, read) in read.chunks_exact_mut(size).enumerate() {
            scratch.read.finish(simd, head, read);
        }
    }
}

/// Completes the gradients of a strip's weights with what came back from the step after, and adds up what
/// the gradient of the sharpening needs of them.
#[inline(always)]
fn add_carried<T: Real, I: InstructionSet>(
    simd: I,
    layout: Layout,
    strip: &Range<usize>,
    weights: &[Sixteen<T>],
    carried: &[Sixteen<T>],
    carried_part: &[T],
    gradients: &mut [Sixteen<T>],
    over_weights: &mut [T],
) {
    for (head, part) in carried_part.iter().enumerate() {
        let of_strip = head * layout.blocks() + strip.start..head * layout.blocks() + strip.end;
        let gradients = gradients[of_strip.clone()].as_flattened_mut();
        for (gradient, carried) in gradients.iter_mut().zip(carried[of_strip.clone()].as_flattened()) {
            *gradient += *part * *carried;
        }
        over_weights[head] += dot(simd, gradients, weights[of_strip].as_flattened());
    }
}

/// The gradients of a strip's content logits, into `logits`.
#[inline(always)]
fn logit_gradients<T: Real>(
    layout: Layout,
    strip: &Range<usize>,
    focus: &[Focus<T>],
    by_content: &[Sixteen<T>],
    interpolated_gradients: &[Sixteen<T>],
    logits: &mut [Sixteen<T>],
) {
    for (head, focus) in focus.iter().enumerate() {
        let of_strip = head * layout.blocks() + strip.start..head * layout.blocks() + strip.end;
        let around = by_content[of_strip.clone()].as_flattened().iter();
        let around = around.zip(interpolated_gradients[of_strip].as_flattened());
        let logits = logits[head * STRIP_BLOCKS..][..strip.len()].as_flattened_mut();
        for (logit, (by_content, gradient)) in logits.iter_mut().zip(around) {
            *logit = *by_content * (focus.gate * *gradient - focus.scale);
        }
    }
}

/// From the gradients of all heads' weights to those of interpolated weights (which `carried` then holds) and of the
/// focus.
#[inline(always)]
fn weigh_back<T: Real, I: InstructionSet>(
    simd: I,
    layout: Layout,
    (fields, kind): (Fields, Kind),
    interface: &[T],
    focus: &mut [Focus<T>],
    [by_content, before, weights]: [&[Sixteen<T>]; 3],
    over_weights: &[T],
    gradients: &mut [Sixteen<T>],
    carried: &mut [Sixteen<T>],
    carried_part: &mut [T],
    interface_gradient: &mut [T],
) {
    for (head, focus) in focus.iter_mut().enumerate() {
        let of_head = head * layout.blocks()..(head + 1) * layout.blocks();
        let gradient = focus.weigh_back(
            simd,
            layout.memory_size - 1,
            by_content[of_head.clone()].as_flattened(),
            before[of_head.clone()].as_flattened(),
            weights[of_head.clone()].as_flattened(),
            over_weights[head],
            gradients[of_head.clone()].as_flattened_mut(),
            carried[of_head].as_flattened_mut(),
        );
        let addressing = head * fields.len() + fields.addressing(kind).start;
        focus.finish_back(fields, &interface[addressing..], gradient, &mut interface_gradient[addressing..]);
        carried_part[head] = T::ONE - focus.gate;
    }
}

vector_fn! {
    fn step_back<T, simd: I>(ntm: &mut Ntm<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (heads, layout, fields) = (ntm.heads, ntm.layout, ntm.fields);
        let (blocks, size) = (layout.blocks(), layout.word_size);
        if ntm.frames.at_end() {
            ntm.content_gradients.fill(T::ZERO);
            for (carried, part) in ntm.carried.iter_mut().zip(&mut ntm.carried_part) {
                carried.resize(heads * blocks, [T::ZERO; LANES]);
                carried.as_flattened_mut().fill(T::ZERO);
                part.fill(T::ZERO);
            }
        }
        let (before, now) = ntm.frames.step_back();
        let before = Frame::cut(layout, heads, before);
        let Frame { contents: written, read_weights, write_weights, read_content, write_content } =
            Frame::cut(layout, heads, now);
        let [read_carried, write_carried] = &mut ntm.carried;
        let [read_part, write_part] = &mut ntm.carried_part;
        ntm.scratch.start(simd, fields, layout, interface);
        ntm.scratch.start_back(layout);
        let Scratch { addressing, focus, erase: erases, add, added, erasure, gradients, logits, over_weights, .. } =
            &mut ntm.scratch;
        let [read_addressing, write_addressing] = addressing;
        let [read_focus, write_focus] = focus;

        over_weights.fill(T::ZERO);
        let content_gradients = ntm.content_gradients.as_chunks_mut().0;
        for strip in layout.strips() {
            let contents = &written[layout.contents(&strip)];
            products(size, contents, read_gradient, &mut gradients[strip.start..], blocks);
            add_carried(simd, layout, &strip, read_weights, read_carried, read_part, gradients, over_weights);
        }
        weigh_back(simd, layout,
            (fields, Kind::Read),
            interface,
            read_focus,
            [read_content, before.read_weights, read_weights],
            over_weights,
            gradients,
            read_carried,
            read_part,
            interface_gradient,
        );

        over_weights.fill(T::ZERO);
        for strip in layout.strips() {
            let content_gradients = &mut content_gradients[layout.contents(&strip)];
            spread(size, content_gradients, &read_weights[strip.start..], blocks, read_gradient);
            logit_gradients(layout, &strip, read_focus, read_content, read_carried, logits);
            let contents = &written[layout.contents(&strip)];
            read_addressing.strip_back(simd, contents, logits, STRIP_BLOCKS, content_gradients);

            // From here on `content_gradients` are those of the words as they were written.
            let weights = &write_weights[strip.start..];
            added.add(content_gradients, weights, blocks);
            products(size, content_gradients, add, &mut gradients[strip.start..], blocks);
            let contents = &before.contents[layout.contents(&strip)];
            erasure.strip_back(contents, content_gradients, weights, erases, &mut gradients[strip.start..], blocks);
            erase(size, content_gradients, weights, blocks, erases);
            add_carried(simd, layout, &strip, write_weights, write_carried, write_part, gradients, over_weights);
        }
        weigh_back(simd, layout,
            (fields, Kind::Write),
            interface,
            write_focus,
            [write_content, before.write_weights, write_weights],
            over_weights,
            gradients,
            write_carried,
            write_part,
            interface_gradient,
        );
        for strip in layout.strips() {
            logit_gradients(layout, &strip, write_focus, write_content, write_carried, logits);
            let content_gradients = &mut content_gradients[layout.contents(&strip)];
            let contents = &before.contents[layout.contents(&strip)];
            write_addressing.strip_back(simd, contents, logits, STRIP_BLOCKS, content_gradients);
        }

        for (head, gradient) in interface_gradient.chunks_exact_mut(fields.len()).enumerate() {
            for (kind, addressing) in [(Kind::Read, &*read_addressing), (Kind::Write, &*write_addressing)] {
                let raw = &interface[head * fields.len()..][fields.addressing(kind)];
                let gradient = &mut gradient[fields.addressing(kind)];
                let strength_gradient = addressing.finish_back(simd, head, &mut gradient[fields.key()]);
                gradient[fields.strength()] = strength_gradient * raw[fields.strength()].sigmoid();
            }
            added.finish(simd, head, &mut gradient[fields.add()]);
            erasure.finish(simd, head, &mut gradient[fields.erase()]);
            for (gradient, erase) in gradient[fields.erase()].iter_mut().zip(&erases[head * size..]) {
                *gradient *= *erase * (T::ONE - *erase);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Plain;
    use crate::memory::conformance::{bits, carry_what_is_not_a_number, interface, life};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 1usize..80, word_size in 1usize..20, heads in 1usize..6, life in life(),
        ) {
            let config = Config { memory_size, word_size, heads };
            life.check(|| Ntm::new(&config).unwrap(), |ntm: &mut Ntm<f32>| {
                let now = Frame::cut(ntm.layout, heads, ntm.frames.now());
                [now.contents, now.read_weights, now.write_weights].map(|part| bits(part.as_flattened())).to_vec()
            });
        }
    }

    #[test]
    fn a_shift_is_a_circular_convolution() {
        for size in [1usize, 2, 3, 16, 63, 64, 65, 200] {
            let before: Vec<f64> = (0..size).map(|i| (i * 7 % 11) as f64 / 11.0).collect();
            let blocks = size.next_multiple_of(LANES);
            let padded = [&before[..], &vec![0.0; blocks - size]].concat();
            let shift = [0.2, 0.5, 0.3];
            // All of the weights before, no sharpening: what is left is the shift, made to sum to one.
            let mut focus = Focus { gate: 0.0, shift, sharpening: 1.0, scale: 0.0 };
            let mut weights = vec![0.0; blocks];
            focus.weigh(Plain, size - 1, |_| 1.0, &mut vec![0.0; blocks], &padded, &mut weights);
            let mut expected = vec![0.0; size];
            for (i, weight) in before.iter().enumerate() {
                for (d, share) in [(size - 1, shift[0]), (0, shift[1]), (1, shift[2])] {
                    expected[(i + d) % size] += share * weight + 1e-16 / 3.0;
                }
            }
            let sum: f64 = expected.iter().sum();
            for (weight, expected) in weights.iter().zip(&expected) {
                assert!((weight * focus.scale - expected / sum).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn weights_are_not_negative_and_sum_to_one_at_any_strength_and_sharpness() {
        for (memory_size, heads) in [(5, 1), (33, 4), (3000, 2)] {
            let config = Config { memory_size, word_size: 6, heads };
            let mut ntm = Ntm::<f32>::new(&config).unwrap();
            let mut read = vec![0.0; ntm.read_len()];
            for step in 0..80 {
                let mut vector = interface(ntm.interface_len(), step, 3);
                for head in vector.chunks_exact_mut(ntm.fields.len()) {
                    for kind in [Kind::Read, Kind::Write] {
                        let addressing = &mut head[ntm.fields.addressing(kind)];
                        addressing[ntm.fields.strength()] = [-50.0, 0.0, 30.0, 500.0][step % 4];
                        addressing[ntm.fields.gate()] = [-30.0, 0.0, 30.0][step % 3];
                        addressing[ntm.fields.sharpening()] = [-50.0, 0.0, 30.0, 200.0, 5.0][step % 5];
                    }
                }
                ntm.step(&vector, &mut read, step % 2 == 0);
                let now = Frame::cut(ntm.layout, heads, ntm.frames.now());
                let of_heads = [now.read_weights, now.write_weights];
                for weights in of_heads.iter().flat_map(|all| all.chunks(ntm.layout.blocks())) {
                    assert!(weights.as_flattened().iter().all(|w| *w >= 0.0));
                    assert!(weights.as_flattened()[memory_size..].iter().all(|w| *w == 0.0));
                    let sum: f64 = weights.as_flattened().iter().map(|w| f64::from(*w)).sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
                }
            }
            let mut gradient = vec![0.0; ntm.interface_len()];
            ntm.step(&interface(gradient.len(), 1, 3), &mut read, true);
            ntm.step_back(&interface(gradient.len(), 1, 3), &read, &mut gradient);
            assert!(gradient.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn not_a_number_in_the_interface_is_carried_not_a_panic() {
        let mut ntm = Ntm::<f32>::new(&Config { memory_size: 6, word_size: 3, heads: 2 }).unwrap();
        carry_what_is_not_a_number(&mut ntm);
        assert!(ntm.frames.now()[..ntm.layout.contents_len()].as_flattened().iter().all(|x| *x == 1e-6));
    }

    #[test]
    fn configurations_that_cannot_be_are_named() {
        for (config, field) in [
            (Config { memory_size: 0, ..Default::default() }, "memory_size"),
            (Config { word_size: 0, ..Default::default() }, "word_size"),
            (Config { heads: 0, ..Default::default() }, "heads"),
        ] {
            let error = Ntm::<f32>::new(&config).err().expect("it does not fit");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
