//! The differentiable neural computer: dense content addressing, allocation by usage, and the temporal links between
//! all pairs of words.
//!
//! # What a step reads and writes
//!
//! In numbers (4 bytes each in `f32`), for N words of W numbers; R heads share every pass. Vectors of N numbers are
//! left out: there are some ten of them for each head.
//!
//! | pass | forward | backward |
//! |---|---|---|
//! | links | reads L_{t-1}, writes L_t: 2 N² | reads L_{t-1}, reads and writes the gradient: 3 N² |
//! | memory, to address the write | reads M_{t-1}: N W | reads M_{t-1}, reads and writes the gradient: 3 N W |
//! | memory, to write and address the reads | reads M_{t-1}, writes M_t: 2 N W | reads M_t and M_{t-1}, reads and writes the gradient: 4 N W |
//! | memory, to read | reads M_t: N W | reads M_t: N W |
//! | **sum** | **2 N² + 4 N W** | **3 N² + 8 N W** |
//!
//! The tape keeps M_t and L_t of every step, as published: N² + N W numbers a step. L_t is written straight from L_{t-1}
//! into the tape, and L w and Lᵀ w of all heads are taken in the same pass. The backward pass computes the rows of L_t again
//! from those of L_{t-1}, which it needs anyway: that costs less than reading them.

mod allocation;
mod step;

use serde::{Deserialize, Serialize};

use self::allocation::Order;
use self::step::{step, step_back};
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::InstructionSet;
use crate::memory::dense::{
    Addressing, Frames, Layout, Masked, Sixteen, Sums, check_room_of, footprint, frame, life_in_frames,
};
use crate::memory::interface::{Field, INTERPOLATION_GATE, STRENGTH, WRITE_GATE, inverse_oneplus};
use crate::memory::options::{Footprint, memory_options};
use crate::memory::softmax::softmax;
use crate::memory::trace::put_heads;
use crate::memory::{Memory, MemoryConfig};
use crate::option::Declared;
use crate::{Arrays, Error, Real};

memory_options! {
    /// The configuration of a [`Dnc`].
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        memory_size = 128, at most 1 << 24;
        word_size = 32;
        ///
        /// Each of them reads; there is one more, which writes.
        heads = 4;
        /// A mask comes with every key.
        ///
        /// Masked content addressing (Csordás and Schmidhuber 2019, arXiv 1904.10278, section 3.1): every key comes with a
        /// mask m = σ(m̂) of W numbers, and similarity is cos(q ⊙ m, M(i) ⊙ m).
        pub masked_content: bool = false;
        /// What is read along the links is sharpened.
        ///
        /// Sharpened links (Csordás and Schmidhuber 2019, section 3.3): f and b of every head are raised to a power
        /// oneplus(ŝ) and made to sum to one, f(i) ← (f(i) + ε)^s / Σ_j (f(j) + ε)^s. The ε keeps the distribution defined
        /// while nothing is linked.
        pub sharpened_links: bool = false;
        /// Freed words lose their content.
        ///
        /// De-allocation (Csordás and Schmidhuber 2019, section 3.2): M is multiplied word by word by the retention
        /// ψ = Π_r (1 - f_r w^R_r(t-1)) before it is written, but after the write was addressed.
        pub deallocation: bool = false;
    }
}

impl Config {
    fn fields(&self) -> Fields {
        let Self { word_size, heads, masked_content, sharpened_links, .. } = *self;
        Fields { word_size, heads, masked_content, sharpened_links }
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        self.fields().len()
    }

    fn interface(&self) -> Vec<Field> {
        let Self { word_size, heads, masked_content, sharpened_links, .. } = *self;
        let strength = inverse_oneplus(STRENGTH);
        // With read keys that start as the write word, as SDNC's do, recall was not learnt sooner.
        let mut fields: Vec<Field> = (0..heads).map(|_| Field::new("read key", word_size)).collect();
        fields.extend([
            Field::new("read strengths", heads).with_bias(strength),
            Field::new("write key", word_size),
            Field::new("write strength", 1).with_bias(strength),
            Field::new("erase", word_size),
            Field::new("write word", word_size),
            Field::new("free gates", heads),
            // Words that are free rather than those found by content: SAM's interpolation gate the other way round.
            Field::new("allocation gate", 1).with_bias(-INTERPOLATION_GATE),
            Field::new("write gate", 1).with_bias(WRITE_GATE),
            Field::new("read modes", 3 * heads),
        ]);
        if masked_content {
            fields.extend((0..=heads).map(|_| Field::new("mask", word_size)));
        }
        if sharpened_links {
            fields.push(Field::new("sharpness", 2 * heads));
        }
        fields
    }

    fn validate(&self) -> Result<(), Error> {
        self.check_options()
    }

    fn writers(&self) -> usize {
        1
    }

    fn has_links(&self) -> bool {
        true
    }

    fn footprint(&self, _steps: usize, element: usize) -> Footprint {
        footprint(Frame::<f32>::len(Layout::of(self), self.fields()), element)
    }
}

impl Config {
    /// Makes a memory, as [`build`](MemoryConfig::build) does.
    pub(in crate::memory) fn make<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Dnc::new(self)?))
    }
}

/// Where the fields stand in the interface: read keys (R·W), read strengths (R), write key (W), write strength (1),
/// erase (W), write word (W), free gates (R), allocation gate (1), write gate (1), read modes (R·3: backward, content,
/// forward). After these, with masked content: read masks (R·W), write mask (W); with sharpened links: sharpness (R·2:
/// backward, forward).
#[derive(Clone, Copy, Debug)]
struct Fields {
    word_size: usize,
    heads: usize,
    masked_content: bool,
    sharpened_links: bool,
}

type Place = std::ops::Range<usize>;

impl Fields {
    fn after(field: Place, length: usize) -> Place {
        field.end..field.end + length
    }
    fn read_key(self, head: usize) -> Place {
        head * self.word_size..(head + 1) * self.word_size
    }
    fn read_strengths(self) -> Place {
        self.heads * self.word_size..self.heads * (self.word_size + 1)
    }
    fn write_key(self) -> Place {
        Self::after(self.read_strengths(), self.word_size)
    }
    fn write_strength(self) -> usize {
        self.write_key().end
    }
    /// Numbers of the read heads' keys.
    fn read_keys(self) -> std::ops::Range<usize> {
        0..self.heads
    }
    /// Number of the write key.
    fn write_keys(self) -> std::ops::Range<usize> {
        self.heads..self.heads + 1
    }
    fn key(self, key: usize) -> Place {
        if key < self.heads { self.read_key(key) } else { self.write_key() }
    }
    fn strength(self, key: usize) -> usize {
        if key < self.heads { self.read_strengths().start + key } else { self.write_strength() }
    }
    fn erase(self) -> Place {
        self.write_strength() + 1..self.write_strength() + 1 + self.word_size
    }
    fn write_word(self) -> Place {
        Self::after(self.erase(), self.word_size)
    }
    fn free_gates(self) -> Place {
        Self::after(self.write_word(), self.heads)
    }
    fn allocation_gate(self) -> usize {
        self.free_gates().end
    }
    fn write_gate(self) -> usize {
        self.allocation_gate() + 1
    }
    fn read_modes(self) -> Place {
        self.write_gate() + 1..self.write_gate() + 1 + 3 * self.heads
    }
    /// The masks of the read heads, then that of the write head; empty without masked content.
    fn masks(self) -> Place {
        let masks = if self.masked_content { self.heads + 1 } else { 0 };
        Self::after(self.read_modes(), masks * self.word_size)
    }
    fn mask(self, key: usize) -> Place {
        let first = self.masks().start + key * self.word_size;
        first..first + self.word_size
    }
    fn sharpness(self) -> Place {
        Self::after(self.masks(), if self.sharpened_links { 2 * self.heads } else { 0 })
    }
    fn len(self) -> usize {
        self.sharpness().end
    }
}

/// The differentiable neural computer (Graves et al. 2016): the memory of one sequence.
///
/// Per step, all weights w^W and w^R on the right being last step's:
///
/// * **Usage** u = (u + w^W - u ⊙ w^W) ⊙ ψ with the retention ψ = Π_r (1 - f_r w^R_r); no gradient through w^W here.
/// * **Allocation**: with u' = ε + (1-ε) u and φ the words by rising u' (ties to the lower word number),
///   a(φ_j) = (1 - u'(φ_j)) Π_{i<j} u'(φ_i); gradient through the values, not the order.
/// * **Write** w^W = g_w (g_a a + (1 - g_a) c_w), c_w by content in the memory before the write;
///   M = M ⊙ (1 - w^W eᵀ) + w^W vᵀ.
/// * **Links** L(i,j) = (1 - w^W(i) - w^W(j)) L(i,j) + w^W(i) p(j), L(i,i) = 0, then the precedence
///   p = (1 - Σ w^W) p + w^W.
/// * **Read** f_r = L w^R_r, b_r = Lᵀ w^R_r, w^R_r = π_1 b_r + π_2 c_r + π_3 f_r, c_r by content in the memory after the
///   write; r_r = Σ w^R_r(i) M(i).
///
/// A [trace](Memory::trace) has `write_weights` w^W, `allocation_weights` a, `write_content_weights` c_w and `usage` u
/// (1 × N each); `read_weights` w^R, `backward_weights` b, `content_weights` c and `forward_weights` f (R × N each);
/// `read_modes` π (R × 3: backward, content, forward), `read_strengths` and `free_gates` (R), `write_strengths`,
/// `allocation_gates` and `write_gates` (1).
///
/// The [`Config`] tells what its options change. Fields of the interface, in order: read keys (R·W), read strengths (R),
/// write key (W), write strength (1), erase (W), write word (W), free gates (R), allocation gate (1), write gate (1),
/// read modes (R·3, per head: backward, content, forward); with masked content then read masks (R·W) and the write mask
/// (W); with sharpened links then sharpness (R·2, per head: backward, forward). Strengths and sharpness pass through
/// oneplus, erase, gates and masks through σ, modes through softmax.
pub struct Dnc<T> {
    layout: Layout,
    fields: Fields,
    deallocation: bool,
    frames: Frames<T>,
    gradients: Gradients<T>,
    scratch: Scratch<T>,
}

/// Gradients of what passes from step to step, kept from one step back to the next.
#[derive(Debug, Default)]
struct Gradients<T> {
    contents: Vec<Sixteen<T>>,
    links: Vec<Sixteen<T>>,
    usage: Vec<Sixteen<T>>,
    precedence: Vec<Sixteen<T>>,
    /// Heads × words.
    read: Vec<Sixteen<T>>,
}

impl<T: Real> Gradients<T> {
    fn start_back(&mut self, layout: Layout, heads: usize) {
        let blocks = layout.blocks();
        for (part, length) in [
            (&mut self.contents, layout.contents_len()),
            (&mut self.links, links_len(layout)),
            (&mut self.usage, blocks),
            (&mut self.precedence, blocks),
            (&mut self.read, heads * blocks),
        ] {
            part.clear();
            part.resize(length, [T::ZERO; LANES]);
        }
    }
}

/// The link matrix is filled up to whole registers in both directions.
fn links_len(layout: Layout) -> usize {
    layout.blocks() * layout.blocks() * LANES
}

frame! {
    /// The state after a step, and what its backward pass needs.
    |layout, fields: Fields|
    /// M.
    contents: layout.contents_len(),
    /// L, row after row.
    links: links_len(layout),
    /// u.
    usage: layout.blocks(),
    /// p.
    precedence: layout.blocks(),
    /// w^W.
    write: layout.blocks(),
    /// a.
    allocation: layout.blocks(),
    /// c_w.
    write_content: layout.blocks(),
    /// w^R, head after head, as all that follow.
    read: fields.heads * layout.blocks(),
    /// c_r.
    read_content: fields.heads * layout.blocks(),
    /// f = L w.
    forward: fields.heads * layout.blocks(),
    /// b = Lᵀ w.
    backward: fields.heads * layout.blocks(),
    /// f sharpened; empty without the option.
    sharp_forward: if fields.sharpened_links { fields.heads * layout.blocks() } else { 0 },
    /// b sharpened; empty without the option.
    sharp_backward: if fields.sharpened_links { fields.heads * layout.blocks() } else { 0 },
}

#[derive(Debug, Default)]
struct Scratch<T> {
    read_addressing: Content<T>,
    write_addressing: Content<T>,
    /// Erase vector e.
    erase: Vec<T>,
    /// Free gates.
    free: Vec<T>,
    /// Read modes, in each head backward, content, forward.
    modes: Vec<T>,
    /// ψ.
    retention: Vec<Sixteen<T>>,
    order: Order<T>,
    read: Sums<T>,
    back: Back<T>,
}

/// Gradients inside the backward pass of a step; those of weights have a number for each word, head after head.
#[derive(Debug, Default)]
struct Back<T> {
    /// Of w^R after the step.
    read: Vec<Sixteen<T>>,
    forward: Vec<Sixteen<T>>,
    backward: Vec<Sixteen<T>>,
    /// Of c_r, then of its logits.
    read_content: Vec<Sixteen<T>>,
    write: Vec<Sixteen<T>>,
    /// Σ_i G(i,j) L(i,j), which the gradient of w^W(j) loses.
    lost: Vec<Sixteen<T>>,
    write_content: Vec<Sixteen<T>>,
    allocation: Vec<Sixteen<T>>,
    retention: Vec<Sixteen<T>>,
    /// Sixteen partial sums a number.
    erase: Vec<Sixteen<T>>,
    write_word: Vec<Sixteen<T>>,
}

/// Content addressing with or without masks. Keys are numbered: those of the read heads, then that of the write.
#[derive(Debug, Default)]
struct Content<T> {
    plain: Addressing<T>,
    masked: Masked<T>,
    is_masked: bool,
    masks: Vec<T>,
    mask_gradient: Vec<T>,
}

impl<T: Real> Content<T> {
    #[inline(always)]
    fn start<I: InstructionSet>(&mut self, simd: I, fields: Fields, interface: &[T], keys: std::ops::Range<usize>) {
        let key = |key: usize| &interface[fields.key(key)];
        let strength = |key: usize| interface[fields.strength(key)].oneplus();
        self.is_masked = fields.masked_content;
        if self.is_masked {
            self.masks.clear();
            self.masks.extend(interface[fields.masks()].iter().map(|x| x.sigmoid()));
            let mask = |key: usize| &self.masks[key * fields.word_size..][..fields.word_size];
            self.masked.start(simd, fields.word_size, keys.map(|k| (key(k), mask(k), strength(k))));
        } else {
            self.plain.start(simd, fields.word_size, keys.map(|k| (key(k), strength(k))));
        }
    }

    #[inline(always)]
    fn strip<I: InstructionSet>(
        &mut self,
        simd: I,
        layout: Layout,
        blocks: &std::ops::Range<usize>,
        contents: &[Sixteen<T>],
        weights: &mut [Sixteen<T>],
    ) {
        if self.is_masked {
            self.masked.strip(simd, layout, blocks, contents, weights);
        } else {
            self.plain.strip(simd, layout, blocks, contents, weights);
        }
    }

    #[inline(always)]
    fn finish(&self, layout: Layout, weights: &mut [Sixteen<T>]) {
        if self.is_masked {
            self.masked.finish(layout, weights);
        } else {
            self.plain.finish(layout, weights);
        }
    }

    #[inline(always)]
    fn start_back<I: InstructionSet>(
        &mut self,
        simd: I,
        fields: Fields,
        interface: &[T],
        keys: std::ops::Range<usize>,
    ) {
        self.start(simd, fields, interface, keys);
        if self.is_masked {
            self.masked.start_back();
        } else {
            self.plain.start_back();
        }
    }

    #[inline(always)]
    fn strip_back<I: InstructionSet>(
        &mut self,
        simd: I,
        contents: &[Sixteen<T>],
        logit_gradients: &mut [Sixteen<T>],
        stride: usize,
        content_gradients: &mut [Sixteen<T>],
    ) {
        if self.is_masked {
            self.masked.strip_back(simd, contents, logit_gradients, stride, content_gradients);
        } else {
            self.plain.strip_back(simd, contents, logit_gradients, stride, content_gradients);
        }
    }

    /// Writes the gradients of keys, strengths and masks to their fields.
    #[inline(always)]
    fn finish_back<I: InstructionSet>(
        &mut self,
        simd: I,
        fields: Fields,
        interface: &[T],
        keys: std::ops::Range<usize>,
        gradient: &mut [T],
    ) {
        for (head, key) in keys.enumerate() {
            let strength_gradient = if self.is_masked {
                self.mask_gradient.resize(fields.word_size, T::ZERO);
                let of_mask = &mut self.mask_gradient;
                let strength = self.masked.finish_back(simd, head, &mut gradient[fields.key(key)], of_mask);
                let masks = &self.masks[key * fields.word_size..];
                for ((gradient, of_mask), mask) in gradient[fields.mask(key)].iter_mut().zip(of_mask).zip(masks) {
                    *gradient = *of_mask * *mask * (T::ONE - *mask);
                }
                strength
            } else {
                self.plain.finish_back(simd, head, &mut gradient[fields.key(key)])
            };
            let strength = fields.strength(key);
            gradient[strength] = strength_gradient * interface[strength].sigmoid();
        }
    }
}

impl<T: Real> Scratch<T> {
    /// Takes erase vector, free gates and read modes from the interface.
    #[inline(always)]
    fn controls(&mut self, fields: Fields, interface: &[T]) {
        self.erase.clear();
        self.erase.extend(interface[fields.erase()].iter().map(|x| x.sigmoid()));
        self.free.clear();
        self.free.extend(interface[fields.free_gates()].iter().map(|x| x.sigmoid()));
        self.modes.clear();
        self.modes.extend_from_slice(&interface[fields.read_modes()]);
        for modes in self.modes.chunks_exact_mut(3) {
            softmax(modes);
        }
    }
}

impl<T: Real> Back<T> {
    #[inline(always)]
    fn clear(&mut self, layout: Layout, fields: Fields) {
        let (blocks, heads, zero) = (layout.blocks(), fields.heads, [T::ZERO; LANES]);
        // Written before they are read.
        for part in [&mut self.read, &mut self.forward, &mut self.backward, &mut self.read_content] {
            part.resize(heads * blocks, zero);
        }
        for part in [&mut self.write, &mut self.write_content, &mut self.allocation] {
            part.resize(blocks, zero);
        }
        for (part, length) in [
            (&mut self.lost, blocks),
            (&mut self.retention, blocks),
            (&mut self.erase, fields.word_size),
            (&mut self.write_word, fields.word_size),
        ] {
            part.clear();
            part.resize(length, zero);
        }
    }
}

/// M = ψ M ⊙ (1 - w eᵀ) + w vᵀ for the words of a strip; ψ = 1 if none is given.
#[inline(always)]
fn write<T: Real, I: InstructionSet>(
    simd: I,
    word_size: usize,
    before: &[Sixteen<T>],
    now: &mut [Sixteen<T>],
    weights: &[Sixteen<T>],
    retention: Option<&[Sixteen<T>]>,
    erase: &[T],
    write_word: &[T],
) {
    let blocks = before.chunks_exact(word_size).zip(now.chunks_exact_mut(word_size));
    for (block, (before, now)) in blocks.enumerate() {
        let weight = simd.load(&weights[block]);
        let retained = retention.map_or(simd.splat(T::ONE), |retention| simd.load(&retention[block]));
        let erased = weight.multiply(retained).multiply(simd.splat(-T::ONE));
        for (((before, now), erase), word) in before.iter().zip(now).zip(erase).zip(write_word) {
            let kept = erased.multiply_add(simd.splat(*erase), retained);
            let added = weight.multiply(simd.splat(*word));
            kept.multiply_add(simd.load(before), added).store(now);
        }
    }
}

/// Where the gradients of a [`write`] go: all are added to.
struct WriteGradients<'a, T> {
    write: &'a mut [Sixteen<T>],
    retention: &'a mut [Sixteen<T>],
    erase: &'a mut [Sixteen<T>],
    write_word: &'a mut [Sixteen<T>],
}

/// The gradient of [`write`]: turns that of the contents after it into that of the contents before it.
#[inline(always)]
fn write_back<T: Real, I: InstructionSet>(
    simd: I,
    word_size: usize,
    before: &[Sixteen<T>],
    content_gradients: &mut [Sixteen<T>],
    weights: &[Sixteen<T>],
    retention: Option<&[Sixteen<T>]>,
    erase: &[T],
    write_word: &[T],
    gradients: WriteGradients<T>,
) {
    let (zero, one, minus) = (simd.splat(T::ZERO), simd.splat(T::ONE), simd.splat(-T::ONE));
    let blocks = before.chunks_exact(word_size).zip(content_gradients.chunks_exact_mut(word_size));
    for (block, (before, contents)) in blocks.enumerate() {
        let weight = simd.load(&weights[block]);
        let retained = retention.map_or(one, |retention| simd.load(&retention[block]));
        let minus_weight = weight.multiply(minus);
        // Σ_j G(j) v(j), Σ_j G(j) M(j) and Σ_j G(j) M(j) e(j), G the gradient of the content after the write.
        let (mut added, mut held, mut erased) = (zero, zero, zero);
        for j in 0..word_size {
            let gradient = simd.load(&contents[j]);
            let of_held = gradient.multiply(simd.load(&before[j]));
            let erase = simd.splat(erase[j]);
            added = gradient.multiply_add(simd.splat(write_word[j]), added);
            held = held.add(of_held);
            erased = of_held.multiply_add(erase, erased);
            let of_erase = &mut gradients.erase[j];
            let lost = of_held.multiply(retained);
            minus_weight.multiply_add(lost, simd.load(of_erase)).store(of_erase);
            let of_word = &mut gradients.write_word[j];
            weight.multiply_add(gradient, simd.load(of_word)).store(of_word);
            let kept = minus_weight.multiply_add(erase, one).multiply(retained);
            kept.multiply(gradient).store(&mut contents[j]);
        }
        let of_write = &mut gradients.write[block];
        let lost = erased.multiply(retained);
        minus.multiply_add(lost, added).add(simd.load(of_write)).store(of_write);
        let of_retention = &mut gradients.retention[block];
        if retention.is_some() {
            minus_weight.multiply_add(erased, held).add(simd.load(of_retention)).store(of_retention);
        }
    }
}

impl<T: Real> Dnc<T> {
    /// A memory of zeros.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryDoesNotFit`] says how many words would fit.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let layout = Layout::of(config);
        let fields = config.fields();
        // A frame, and the gradients of words, links and weights.
        let vectors = 2 * layout.word_size + 9 + 6 * fields.heads;
        check_room_of::<T>(layout, |words| words * (2 * words + vectors as u128))?;
        Ok(Self {
            layout,
            fields,
            deallocation: config.deallocation,
            frames: Frames::new(Frame::<T>::len(layout, fields))?,
            gradients: Gradients::default(),
            scratch: Scratch::default(),
        })
    }
}

/// The vectors that pass from step to step, with their names in a saved state.
fn state_vectors<V>(usage: V, precedence: V, write: V, read: V) -> [(&'static str, V); 4] {
    [("usage", usage), ("precedence", precedence), ("write_weights", write), ("read_weights", read)]
}

impl<T: Real> Dnc<T> {
    fn make_as_new(&mut self) {
        self.frames.now_mut().fill([T::ZERO; LANES]);
    }
}

impl<T: Real> Memory<T> for Dnc<T> {
    fn interface_len(&self) -> usize {
        self.fields.len()
    }

    fn read_len(&self) -> usize {
        self.fields.heads * self.fields.word_size
    }

    life_in_frames!();

    fn save(&mut self, to: &mut Arrays<T>) {
        let layout = self.layout;
        let now = Frame::cut(layout, self.fields, self.frames.now());
        layout.save_contents(now.contents, to);
        let of_words = layout.memory_size * layout.blocks();
        layout.save_vectors("links", &now.links[..of_words], to);
        for (name, vectors) in state_vectors(now.usage, now.precedence, now.write, now.read) {
            layout.save_vectors(name, vectors, to);
        }
    }

    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.reset();
        let layout = self.layout;
        let now = FrameMut::cut(layout, self.fields, self.frames.now_mut());
        layout.load_contents(now.contents, from)?;
        let of_words = layout.memory_size * layout.blocks();
        layout.load_vectors("links", &mut now.links[..of_words], from)?;
        for (name, vectors) in state_vectors(now.usage, now.precedence, now.write, now.read) {
            layout.load_vectors(name, vectors, from)?;
        }
        Ok(())
    }

    fn trace(&self, interface: &[T], to: &mut Arrays<T>) {
        let (layout, fields) = (self.layout, self.fields);
        let now = Frame::cut(layout, fields, self.frames.latest().1);
        let [backward, forward] = match fields.sharpened_links {
            true => [now.sharp_backward, now.sharp_forward],
            false => [now.backward, now.forward],
        };
        for (name, vectors) in [
            ("write_weights", now.write),
            ("allocation_weights", now.allocation),
            ("write_content_weights", now.write_content),
            ("usage", now.usage),
            ("read_weights", now.read),
            ("backward_weights", backward),
            ("content_weights", now.read_content),
            ("forward_weights", forward),
        ] {
            layout.save_vectors(name, vectors, to);
        }
        let mut modes = interface[fields.read_modes()].to_vec();
        modes.chunks_exact_mut(3).for_each(softmax);
        to.put_real("read_modes", &[fields.heads, 3], modes);
        put_heads(interface[fields.read_strengths()].iter().map(|x| x.oneplus()), "read_strengths", to);
        put_heads(std::iter::once(interface[fields.write_strength()].oneplus()), "write_strengths", to);
        put_heads(interface[fields.free_gates()].iter().map(|x| x.sigmoid()), "free_gates", to);
        put_heads(std::iter::once(interface[fields.allocation_gate()].sigmoid()), "allocation_gates", to);
        put_heads(std::iter::once(interface[fields.write_gate()].sigmoid()), "write_gates", to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::conformance::{bits, carry_what_is_not_a_number, interface, life};
    use proptest::prelude::*;

    fn frame<T: Real>(dnc: &Dnc<T>) -> Frame<'_, T> {
        Frame::cut(dnc.layout, dnc.fields, dnc.frames.now())
    }

    fn config(memory_size: usize, word_size: usize, heads: usize, options: u8) -> Config {
        Config {
            memory_size,
            word_size,
            heads,
            masked_content: options & 1 > 0,
            sharpened_links: options & 2 > 0,
            deallocation: options & 4 > 0,
        }
    }

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 1usize..40, word_size in 1usize..20, heads in 1usize..8, options in 0u8..8, life in life(),
        ) {
            let config = config(memory_size, word_size, heads, options);
            life.check(|| Dnc::new(&config).unwrap(), |dnc: &mut Dnc<f32>| {
                let now = frame(dnc);
                let state = [now.contents, now.links, now.usage, now.precedence, now.write, now.read];
                state.map(|part| bits(part.as_flattened())).to_vec()
            });
        }

    }

    #[test]
    fn weights_links_and_precedence_are_distributions() {
        let sums_to_at_most_one = |numbers: &mut dyn Iterator<Item = f32>, what: &str| {
            let mut sum = 0.0;
            for number in numbers {
                assert!(number >= -1e-6, "{what}: {number}");
                sum += number;
            }
            assert!(sum < 1.0 + 1e-5, "{what}: {sum}");
        };
        for options in 0..8 {
            for (memory_size, heads) in [(1, 1), (5, 2), (33, 4), (70, 3)] {
                let mut dnc = Dnc::<f32>::new(&config(memory_size, 6, heads, options)).unwrap();
                let mut read = vec![0.0; dnc.read_len()];
                for step in 0..60 {
                    let vector = interface(dnc.interface_len(), step, 3);
                    dnc.step(&vector, &mut read, step % 2 == 0);
                    let now = frame(&dnc);
                    let row_len = dnc.layout.blocks() * LANES;
                    let weights = [now.read, now.read_content, now.forward, now.backward];
                    let single = [now.write, now.write_content, now.allocation, now.precedence];
                    for weights in weights.iter().flat_map(|all| all.chunks(dnc.layout.blocks())).chain(single) {
                        sums_to_at_most_one(&mut weights.as_flattened().iter().copied(), "weights");
                        assert!(weights.as_flattened()[memory_size..].iter().all(|x| *x == 0.0));
                    }
                    assert!(now.usage.as_flattened().iter().all(|u| (0.0..1.0 + 1e-6).contains(u)));
                    let links = now.links.as_flattened();
                    for i in 0..row_len {
                        assert_eq!(links[i * row_len + i], 0.0);
                        sums_to_at_most_one(&mut links[i * row_len..(i + 1) * row_len].iter().copied(), "row");
                        sums_to_at_most_one(&mut (0..row_len).map(|j| links[j * row_len + i]), "column");
                        if i >= memory_size {
                            assert!(links[i * row_len..(i + 1) * row_len].iter().all(|x| *x == 0.0));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn allocation_on_an_empty_memory_is_the_first_word() {
        let mut dnc = Dnc::<f32>::new(&config(40, 5, 2, 0)).unwrap();
        let (vector, mut read) = (interface(dnc.interface_len(), 0, 1), vec![0.0; dnc.read_len()]);
        dnc.step(&vector, &mut read, true);
        let allocation = frame(&dnc).allocation.as_flattened();
        assert!((allocation[0] - 1.0).abs() < 1e-5);
        assert!(allocation[1..].iter().all(|a| *a < 1e-5));
    }

    #[test]
    fn a_word_that_is_freed_entirely_is_forgotten_with_deallocation() {
        let mut dnc = Dnc::<f64>::new(&config(4, 3, 1, 4)).unwrap();
        let fields = dnc.fields;
        let mut read = vec![0.0; 3];
        // Written to the first free word with both gates open, and read by content.
        let mut vector = vec![0.0; dnc.interface_len()];
        vector[fields.write_gate()] = 40.0;
        vector[fields.allocation_gate()] = 40.0;
        vector[fields.write_word()].fill(2.0);
        vector[fields.read_key(0)].fill(1.0);
        vector[fields.read_strengths()].fill(60.0);
        vector[fields.read_modes()].copy_from_slice(&[0.0, 40.0, 0.0]);
        dnc.step(&vector, &mut read, true);
        assert!(read.iter().all(|x| (*x - 2.0).abs() < 1e-4), "{read:?}");
        // Freed, and nothing written.
        vector[fields.free_gates()].fill(40.0);
        vector[fields.write_gate()] = -40.0;
        dnc.step(&vector, &mut read, true);
        assert!(frame(&dnc).contents.as_flattened().iter().all(|x| x.abs() < 1e-4));
        assert!(frame(&dnc).usage.as_flattened().iter().all(|x| *x < 1e-4));
    }

    #[test]
    fn not_a_number_in_the_interface_is_carried_not_a_panic() {
        for options in 0..8 {
            let mut dnc = Dnc::<f32>::new(&config(36, 3, 2, options)).unwrap();
            carry_what_is_not_a_number(&mut dnc);
            assert!(dnc.frames.now().as_flattened().iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn configurations_that_cannot_be_are_named() {
        for (config, field) in [
            (Config { memory_size: 0, ..Default::default() }, "memory_size"),
            (Config { memory_size: usize::MAX, ..Default::default() }, "memory_size"),
            (Config { word_size: 0, ..Default::default() }, "word_size"),
            (Config { word_size: usize::MAX, ..Default::default() }, "word_size"),
            (Config { heads: 0, ..Default::default() }, "heads"),
            (Config { heads: usize::MAX, ..Default::default() }, "heads"),
        ] {
            let error = Dnc::<f32>::new(&config).err().expect("it does not fit");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn links_that_the_machine_has_no_room_for_are_refused_with_what_would_fit() {
        let error = Dnc::<f32>::new(&config(1 << 24, 32, 4, 0)).err();
        let Some(Error::MemoryDoesNotFit { bytes, available, memory_size }) = error else {
            panic!("{error:?}");
        };
        assert!(bytes > 1 << 50 && available < bytes);
        assert!(memory_size * memory_size * 8 < available && (2 * memory_size).pow(2) * 16 > available / 4);
    }
}
