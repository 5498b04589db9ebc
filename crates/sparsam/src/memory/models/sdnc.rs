//! The sparse DNC: Sparse Access Memory with one write head and temporal links.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::index::{Found, Misses};
use crate::kernels::lanes::LANES;
use crate::kernels::simd::vector_fn;
use crate::memory::gates::{AllGates, Gates};
use crate::memory::interface::{Field, INTERPOLATION_GATE, STRENGTH, WRITE_GATE, inverse_oneplus, key_starts_as_word};
use crate::memory::options::{Footprint, memory_options};
use crate::memory::sharpen::{sharpen, sharpen_back};
use crate::memory::softmax::{softmax, softmax_back, softmax_rows};
use crate::memory::sparse::content;
use crate::memory::sparse::links::{self, Direction, Links};
use crate::memory::sparse::ring::{self, Accesses};
use crate::memory::sparse::segments::{Segments, Swap};
use crate::memory::sparse::store::{self, Reads, Store, pair_bytes};
use crate::memory::sparse::words::Addition;
use crate::memory::trace::{put_heads, put_pairs};
use crate::memory::{Memory, MemoryConfig};
use crate::option::Declared;
use crate::{Arrays, Error, Real};

memory_options! {
    /// The configuration of a [`Sdnc`]. Defaults are the paper's.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        memory_size = 1_000_000, at most ring::LARGEST;
        word_size = 32;
        ///
        /// Each of them reads; there is one more, which writes.
        heads = 4;
        ///
        /// A head reads as many by content, and along the links each way.
        reads = 4;
        /// Links kept for a word each way, K_L.
        ///
        /// As many words are kept in the precedence.
        pub links: usize = 8, in 1..=1 << 16;
        /// A mask comes with every key.
        ///
        /// Masked content addressing (Csordás and Schmidhuber 2019, arXiv 1904.10278, section 3.1): every read key comes
        /// with a mask m = σ(m̂) of W numbers. The K words most similar to q ⊙ m ⊙ m are chosen, whose products with it are
        /// the numerators of the masked cosines, and weighed by cos(q ⊙ m, M(i) ⊙ m). No index knows the masked norms, so
        /// that a word that is long where the mask is closed can be missed.
        pub masked_content: bool = false;
        /// What is read along the links is sharpened.
        ///
        /// Sharpened links (Csordás and Schmidhuber 2019, section 3.3): the entries kept of f and b of every head are raised
        /// to a power oneplus(ŝ) and made to sum to one, f(i) ← (f(i) + ε)^s / Σ_j (f(j) + ε)^s.
        pub sharpened_links: bool = false;
    }
}

impl MemoryConfig for Config {
    fn interface_len(&self) -> usize {
        Fields::new(self).len()
    }

    fn interface(&self) -> Vec<Field> {
        let Self { word_size, heads, masked_content, sharpened_links, .. } = *self;
        let of = |head: usize| {
            let key = Field::new("key", word_size);
            [
                // After three fields of each head comes the write word.
                if key_starts_as_word(head, heads) { key.same_as(3 * heads) } else { key },
                Field::new("strength", 1).with_bias(inverse_oneplus(STRENGTH)),
                Field::new("read modes", MODES),
            ]
        };
        let mut fields: Vec<Field> = (0..heads).flat_map(of).collect();
        fields.push(Field::new("write word", word_size));
        fields.push(Field::new("write gate", 1).with_bias(WRITE_GATE));
        fields.push(Field::new("interpolation gate", 1).with_bias(INTERPOLATION_GATE));
        if masked_content {
            fields.extend((0..heads).map(|_| Field::new("read mask", word_size)));
        }
        if sharpened_links {
            fields.extend((0..heads).map(|_| Field::new("sharpness", LINKED.len())));
        }
        fields
    }

    fn validate(&self) -> Result<(), Error> {
        self.check_options()?;
        store::check_words(self.memory_size, self.writers())
    }

    fn writers(&self) -> usize {
        1
    }

    fn has_links(&self) -> bool {
        true
    }

    fn footprint(&self, steps: usize, element: usize) -> Footprint {
        let [words, heads, reads, links] = [self.memory_size, self.heads, self.reads, self.links].map(|n| n as u128);
        let (reads, number, pair) = (reads.min(words), element as u128, pair_bytes(element));
        let changes = (3 * heads * reads + 1).min(words);
        let tape = heads * (reads * (6 * pair + 4 * number) + 32);
        // In a row and in a column of both matrices; and the precedence.
        let linked = 4 * links * changes * (12 + number) + links * pair;
        store::footprint(self, steps, element, tape + 8 * (3 * heads * reads + changes) + linked, changes)
    }
}

impl Config {
    /// Makes a memory, as [`build`](MemoryConfig::build) does.
    pub(in crate::memory) fn make<T: Real>(&self) -> Result<Box<dyn Memory<T>>, Error> {
        Ok(Box::new(Sdnc::new(self)?))
    }
}

/// Where the fields stand in the interface: per read head key (W), strength (1), read modes (3: backward, content,
/// forward); then write word (W), write gate (1), interpolation gate (1). After these, with masked content: read masks
/// (R·W); with sharpened links: sharpness (R·2: backward, forward).
#[derive(Clone, Copy, Debug)]
struct Fields {
    word_size: usize,
    heads: usize,
    masked_content: bool,
    sharpened_links: bool,
}

impl Fields {
    fn new(config: &Config) -> Self {
        let Config { word_size, heads, masked_content, sharpened_links, .. } = *config;
        Self { word_size, heads, masked_content, sharpened_links }
    }
    fn len(self) -> usize {
        self.sharpness(self.heads).start
    }
    #[inline(always)]
    fn head(self, head: usize) -> usize {
        head * (self.word_size + 4)
    }
    #[inline(always)]
    fn key(self, head: usize) -> std::ops::Range<usize> {
        self.head(head)..self.head(head) + self.word_size
    }
    #[inline(always)]
    fn strength(self, head: usize) -> usize {
        self.head(head) + self.word_size
    }
    #[inline(always)]
    fn modes(self, head: usize) -> std::ops::Range<usize> {
        self.head(head) + self.word_size + 1..self.head(head + 1)
    }
    #[inline(always)]
    fn write_word(self) -> std::ops::Range<usize> {
        self.head(self.heads)..self.head(self.heads) + self.word_size
    }
    #[inline(always)]
    fn write_gate(self) -> usize {
        self.write_word().end
    }
    #[inline(always)]
    fn interpolation_gate(self) -> usize {
        self.write_word().end + 1
    }
    #[inline(always)]
    fn gates<T: Real>(self, interface: &[T], threshold: T) -> Gates<T> {
        Gates::new(interface[self.write_gate()], interface[self.interpolation_gate()], threshold)
    }
    /// α̂ and γ̂.
    #[inline(always)]
    fn gate_logits<T: Real>(self, interface: &[T]) -> impl Iterator<Item = [T; 2]> {
        std::iter::once([interface[self.write_gate()], interface[self.interpolation_gate()]])
    }
    /// β̂ of each head.
    #[inline(always)]
    fn strength_logits<T: Real>(self, interface: &[T]) -> impl Iterator<Item = T> {
        (0..self.heads).map(move |h| interface[self.strength(h)])
    }
    #[inline(always)]
    fn mask(self, head: usize) -> std::ops::Range<usize> {
        let length = if self.masked_content { self.word_size } else { 0 };
        let first = self.interpolation_gate() + 1 + head * length;
        first..first + length
    }
    #[inline(always)]
    fn sharpness(self, head: usize) -> std::ops::Range<usize> {
        let length = if self.sharpened_links { 2 } else { 0 };
        let first = self.mask(self.heads).start + head * length;
        first..first + length
    }
}

/// Ways to find words, in the order of the read modes.
const MODES: usize = 3;

/// Those that follow the links.
const LINKED: [(usize, Direction); 2] = [(0, Direction::Backward), (2, Direction::Forward)];

/// The sparse DNC (Rae et al. 2016, supplement D): the memory of one sequence.
///
/// * **Write.** w^W = α (γ (1/R) Σ_r w^R_r(t-1) + (1-γ) 1\[u\]), u the least recently accessed word: u is zeroed, then
///   M(i) += w^W(i) a. The [`Links`] take note of w^W.
/// * **Read.** Head r finds K words by content as [`Sam`](super::sam::Sam) does, with weights c_r, and follows the links
///   from the words it read last: b_r = P w^R_r(t-1) and f_r = N w^R_r(t-1), each cut to its K largest entries.
///   w^R_r = π₁ b_r + π₂ c_r + π₃ f_r with modes π = softmax(π̂), over the union of these words; r_r = Σ w^R_r(i) M(i).
/// * **Access** as in SAM. A head's words stand in this order: those of b_r, largest first, then those of c_r, most
///   similar first, then those of f_r, largest first, each where it occurs first.
///
/// A [trace](Memory::trace) has `write_words` and `write_weights` (1 × (3RK+1)), `erased_words` (1); `read_words` and
/// `read_weights` (R × 3K), and where they come from, each R × K: `backward_…` b_r, `content_…` c_r, `forward_…` f_r;
/// `read_modes` π (R × 3: backward, content, forward), `read_strengths` β (R), `write_gates` α and
/// `interpolation_gates` γ (1 each). Places without a word have [`NO_WORD`](crate::NO_WORD) and the weight 0.
///
/// The gradient flows as in SAM, and through w^R_r(t-1) in b_r and f_r and through the modes; links and precedence are
/// constants to it. No step costs anything proportional to N, the index's search aside.
pub struct Sdnc<T> {
    /// min(K, N).
    reads: usize,
    fields: Fields,
    store: Store<T>,
    links: Links<T>,
    tape: Tape<T>,
    segments: Segments<Aside<T>>,
    scratch: Scratch<T>,
}

/// What a memory holds, put aside.
pub struct Aside<T> {
    store: store::Aside<T>,
    links: links::Aside<T>,
    tape: Tape<T>,
}

/// What going back needs of each step, the store's and the links' own tapes aside.
#[derive(Debug, Default)]
struct Tape<T> {
    /// b, c and f of each head.
    found: Reads<T>,
    /// b and f as they were before they were sharpened, if they are; heads × 3 (c's place is not used) × K, per step.
    raw: Vec<T>,
    /// Cosines of the words found by content; heads × K, per step.
    cosines: Vec<T>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    keys: Vec<T>,
    found: Found<T>,
    gates: AllGates<T>,
    /// π of each head.
    all_modes: Vec<T>,
    writes: Accesses<T>,
    additions: Vec<Addition<T>>,
    union: Vec<(u32, T)>,
    /// m ⊙ m of each head, with masked content.
    squares: Vec<T>,
    squares_gradient: Vec<T>,
    weight_gradient: Vec<T>,
    mode_gradient: Vec<T>,
}

impl<T: Real> Tape<T> {
    fn new(heads: usize, reads: usize) -> Self {
        Self { found: Reads::new(MODES * heads, reads), ..Self::default() }
    }
}

impl<T: Real> Sdnc<T> {
    /// A memory of zeros without links.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::MemoryTooLarge`] if there is no address space.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let Config {
            memory_size,
            word_size,
            heads,
            links,
            index,
            index_checks,
            access_threshold,
            write_threshold,
            write_cost,
            ..
        } = *config;
        let index = index.build(memory_size, word_size, index_checks)?;
        let reads = config.reads.min(memory_size);
        Ok(Self {
            reads,
            fields: Fields::new(config),
            store: Store::new(memory_size, word_size, index, access_threshold, Reads::new(heads, MODES * reads), 1)?,
            links: Links::new(memory_size, links)?,
            tape: Tape::new(heads, reads),
            segments: Segments::default(),
            scratch: Scratch { gates: AllGates::new(write_threshold, write_cost), ..Scratch::default() },
        })
    }
}

impl<T: Real> Swap for Sdnc<T> {
    type Aside = Aside<T>;

    fn segments(&mut self) -> &mut Segments<Aside<T>> {
        &mut self.segments
    }

    fn fresh(&self) -> Aside<T> {
        let tape = Tape::new(self.fields.heads, self.reads);
        Aside { store: self.store.fresh(), links: self.links.fresh(), tape }
    }

    fn swap(&mut self, other: Aside<T>) -> Aside<T> {
        let mut kept = self.links.no_rows();
        Aside {
            store: self.store.swap(other.store, |word| self.links.keep(word, &mut kept)),
            links: self.links.swap(other.links, kept),
            tape: std::mem::replace(&mut self.tape, other.tape),
        }
    }

    fn at_start(&self) -> bool {
        self.store.at_start()
    }

    fn forget_undone(&mut self) {
        self.store.forget_undone();
        self.links.forget_undone();
    }

    fn redo(&mut self) {
        self.store.replay();
        self.links.redo_updates();
    }
}

impl<T: Real> Memory<T> for Sdnc<T> {
    fn interface_len(&self) -> usize {
        self.fields.len()
    }

    fn read_len(&self) -> usize {
        self.fields.heads * self.fields.word_size
    }

    fn reset(&mut self) {
        self.segments.clear();
        self.links.reset();
        self.store.reset(|word| self.links.forget(word));
    }

    fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
        self.reset();
        self.store.words.fill(content);
    }

    fn start_episode(&mut self) {
        self.segments.clear();
        self.links.start_episode();
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
        self.links.save(&self.store.words.written(), to);
    }

    fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        self.reset();
        self.store.load(from)?;
        self.links.load(&self.store.words.written(), from)
    }

    fn trace(&self, interface: &[T], to: &mut Arrays<T>) {
        let (before, now, erased) = self.store.latest();
        let heads = 0..self.fields.heads;
        let gates = self.fields.gates(interface, self.scratch.gates.threshold);
        let mut writes = Accesses::default();
        find_writes(&self.store, before, gates, erased[0], heads.len(), &mut writes);
        put_pairs(std::iter::once(writes.each()), heads.len() * MODES * self.reads + 1, "write", to);
        to.put_whole("erased_words", &[erased.len()], erased.to_vec());
        self.store.reads.trace(now, heads.clone(), "read", to);
        for (mode, name) in ["backward", "content", "forward"].into_iter().enumerate() {
            self.tape.found.trace(before, heads.clone().map(|h| MODES * h + mode), name, to);
        }
        let mut modes = Vec::new();
        set_modes(self.fields, interface, &mut modes);
        modes.truncate(heads.len() * MODES);
        to.put_real("read_modes", &[heads.len(), MODES], modes);
        put_heads(heads.map(|h| interface[self.fields.strength(h)].oneplus()), "read_strengths", to);
        Gates::trace(&[gates], to);
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
        // The links are entries of both matrices in the rows of words written.
        2 * self.store.words.aside_bytes()
    }
}

vector_fn! {
    fn step<T, simd: I>(sdnc: &mut Sdnc<T>, interface: &[T], read: &mut [T], record: bool) {
        let (fields, reads) = (sdnc.fields, sdnc.reads);
        let Fields { word_size: size, heads, .. } = fields;
        let (before, now) = sdnc.store.start_step();
        let Tape { found: tape_found, raw, cosines } = &mut sdnc.tape;
        tape_found.start_entry(before);
        cosines.resize(now * heads * reads, T::ZERO);
        if fields.sharpened_links {
            raw.resize(now * heads * MODES * reads, T::ZERO);
        }

        let scratch = &mut sdnc.scratch;
        scratch.writes.clear();
        let erased = sdnc.store.erased()[0];
        scratch.gates.set(fields.gate_logits(interface), fields.strength_logits(interface));
        find_writes(&sdnc.store, before, scratch.gates.of(0), erased, heads, &mut scratch.writes);
        sdnc.links.prefetch_update(scratch.writes.words().iter().copied());
        scratch.additions.clear();
        scratch.additions.extend(scratch.writes.each().map(|(word, weight)| Addition { word, weight, head: 0 }));
        let write_word = |_| &interface[fields.write_word()];
        sdnc.store.write(simd, &scratch.additions, write_word, record);
        sdnc.links.update(scratch.writes.each(), record);

        set_modes(fields, interface, &mut scratch.all_modes);
        scratch.keys.clear();
        scratch.squares.clear();
        for h in 0..heads {
            scratch.keys.extend_from_slice(&interface[fields.key(h)]);
            content::squares_of(&interface[fields.mask(h)], &mut scratch.squares);
        }
        for (key, square) in scratch.keys.iter_mut().zip(&scratch.squares) {
            *key *= *square;
        }
        sdnc.store.words.search(&scratch.keys, reads, &mut scratch.found);
        for h in 0..heads {
            let (last_words, last_weights) = sdnc.store.reads.of(before, h);
            for (mode, direction) in LINKED {
                let linked = sdnc.links.follow(direction, last_words, last_weights, reads);
                tape_found.set(before, MODES * h + mode, linked);
                if fields.sharpened_links {
                    let (words, weights) = tape_found.of_mut(before, MODES * h + mode);
                    let raw = &mut raw[((before * heads + h) * MODES + mode) * reads..][..words.len()];
                    raw.copy_from_slice(weights);
                    sharpen(raw, interface[fields.sharpness(h)][mode / 2].oneplus(), weights);
                }
            }
            let chosen = scratch.found.words(h);
            let weights = tape_found.set_words(before, MODES * h + 1, chosen);
            let cosines = &mut cosines[(before * heads + h) * reads..][..reads];
            let (key, strength) = (&interface[fields.key(h)], scratch.gates.strength(h));
            let words = &sdnc.store.words;
            if fields.masked_content {
                let squares = &scratch.squares[h * size..(h + 1) * size];
                content::compare_masked(words, chosen, key, squares, strength, cosines, weights);
            } else {
                content::compare(simd, words, chosen, key, strength, cosines, weights);
            }
            softmax(weights);

            let modes = &scratch.all_modes[MODES * h..MODES * (h + 1)];
            scratch.union.clear();
            for (mode, share) in modes.iter().enumerate() {
                let (words, weights) = tape_found.of(before, MODES * h + mode);
                for (word, weight) in words.iter().zip(weights) {
                    match scratch.union.iter_mut().find(|(other, _)| other == word) {
                        Some(entry) => entry.1 += *share * *weight,
                        None => scratch.union.push((*word, *share * *weight)),
                    }
                }
            }
            sdnc.store.reads.set(now, h, &scratch.union);
            let (words, weights) = sdnc.store.reads.of(now, h);
            content::read(simd, &sdnc.store.words, words, weights, &mut read[h * size..(h + 1) * size]);
        }
        sdnc.store.end_step(record);
    }
}

/// The words that the write head writes, with its weights.
#[inline(always)]
fn find_writes<T: Real>(
    store: &Store<T>,
    before: usize,
    gates: Gates<T>,
    erased: u32,
    heads: usize,
    writes: &mut Accesses<T>,
) {
    let share = gates.of_first() / T::from_f64(heads as f64);
    for head in 0..heads {
        let (words, weights) = store.reads.of(before, head);
        for (word, weight) in words.iter().zip(weights) {
            writes.add(*word, share * *weight);
        }
    }
    writes.add(erased, gates.of_second());
}

/// π = softmax(π̂) of each head, and at the end what fills them up to whole [`LANES`].
#[inline(always)]
fn set_modes<T: Real>(fields: Fields, interface: &[T], modes: &mut Vec<T>) {
    modes.clear();
    for h in 0..fields.heads {
        modes.extend_from_slice(&interface[fields.modes(h)]);
    }
    modes.resize(modes.len().next_multiple_of(LANES), T::ZERO);
    softmax_rows(modes, MODES);
}

vector_fn! {
    fn step_back<T, simd: I>(sdnc: &mut Sdnc<T>, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
        let (fields, reads) = (sdnc.fields, sdnc.reads);
        let Fields { word_size: size, heads, .. } = fields;
        let capacity = MODES * reads;
        let (before, now) = sdnc.store.start_back();
        sdnc.links.prefetch_undo();
        let Store { words, reads: tape, read_weight_gradients, .. } = &mut sdnc.store;
        let Scratch { gates, all_modes, weight_gradient, mode_gradient, squares, squares_gradient, .. } = &mut sdnc.scratch;
        gates.set(fields.gate_logits(interface), fields.strength_logits(interface));
        set_modes(fields, interface, all_modes);
        weight_gradient.resize(capacity, T::ZERO);
        mode_gradient.resize(reads, T::ZERO);
        interface_gradient.fill(T::ZERO);

        // Reading.
        for h in 0..heads {
            let (union, weights) = tape.of(now, h);
            let from_after = &mut read_weight_gradients[h * capacity..(h + 1) * capacity];
            let weight_gradient = &mut weight_gradient[..union.len()];
            weight_gradient.copy_from_slice(&from_after[..union.len()]);
            from_after.fill(T::ZERO);
            content::read_back(simd, words, union, weights, &read_gradient[h * size..(h + 1) * size], weight_gradient);

            let modes = &all_modes[MODES * h..MODES * (h + 1)];
            let (last_words, _) = tape.of(before, h);
            let mut modes_gradient = [T::ZERO; MODES];
            for mode in 0..MODES {
                let (found, weights) = sdnc.tape.found.of(before, MODES * h + mode);
                let gradient = &mut mode_gradient[..found.len()];
                for ((word, weight), gradient) in found.iter().zip(weights).zip(gradient.iter_mut()) {
                    let place = union.iter().position(|other| other == word).unwrap_or_default();
                    modes_gradient[mode] += *weight * weight_gradient[place];
                    *gradient = modes[mode] * weight_gradient[place];
                }
                if let Some((_, direction)) = LINKED.iter().find(|(linked, _)| *linked == mode) {
                    if fields.sharpened_links {
                        let raw = &sdnc.tape.raw[((before * heads + h) * MODES + mode) * reads..][..found.len()];
                        let place = fields.sharpness(h).start + mode / 2;
                        let over_sharpness =
                            sharpen_back(simd, raw, interface[place].oneplus(), weights, gradient);
                        interface_gradient[place] = over_sharpness * interface[place].sigmoid();
                    }
                    sdnc.links.follow_back(*direction, found, gradient, last_words, from_after);
                    continue;
                }
                let key = fields.key(h);
                let cosines = &sdnc.tape.cosines[(before * heads + h) * reads..][..reads];
                let over_strength = if fields.masked_content {
                    squares.clear();
                    content::squares_of(&interface[fields.mask(h)], squares);
                    squares_gradient.clear();
                    squares_gradient.resize(size, T::ZERO);
                    let over_strength = content::address_masked_back(simd, words,
                        found,
                        &interface[key.clone()],
                        squares,
                        gates.strength(h),
                        cosines,
                        weights,
                        gradient,
                        &mut interface_gradient[key],
                        squares_gradient,
                    );
                    let mask = fields.mask(h);
                    content::squares_back(&interface[mask.clone()], squares_gradient, &mut interface_gradient[mask]);
                    over_strength
                } else {
                    content::address_back(simd, words,
                        found,
                        &interface[key.clone()],
                        gates.strength(h),
                        cosines,
                        weights,
                        gradient,
                        &mut interface_gradient[key],
                    )
                };
                interface_gradient[fields.strength(h)] = over_strength * gates.strength_slope(h);
            }
            softmax_back(simd, modes, &mut modes_gradient);
            interface_gradient[fields.modes(h)].copy_from_slice(&modes_gradient);
        }

        // Writing.
        let (word, of_word) = (&interface[fields.write_word()], &mut interface_gradient[fields.write_word()]);
        (interface_gradient[fields.write_gate()], interface_gradient[fields.interpolation_gate()]) =
            sdnc.store.write_back(simd, 0, 0..heads, gates.of(0), word, of_word);

        sdnc.links.undo_update();
        sdnc.store.undo_step(simd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::conformance::{interface, life};
    use proptest::prelude::*;

    fn state(sdnc: &mut Sdnc<f32>) -> Vec<Vec<u32>> {
        let mut state = sdnc.store.state();
        state.extend(sdnc.links.state());
        state
    }

    proptest! {
        #[test]
        fn stepping_back_and_forth_restores_every_bit(
            memory_size in 1usize..40, word_size in 1usize..20, heads in 1usize..4, reads in 1usize..6,
            links in 1usize..10, life in life(),
        ) {
            let config = Config { memory_size, word_size, heads, reads, links, ..Default::default() };
            life.check(|| Sdnc::new(&config).unwrap(), state);
        }

        #[test]
        fn weights_and_links_keep_their_bounds(
            memory_size in 1usize..30, heads in 1usize..4, reads in 1usize..5, limit in 1usize..9, seed in 0u64..1000,
        ) {
            let config = Config { memory_size, word_size: 5, heads, reads, links: limit, ..Default::default() };
            let mut sdnc = Sdnc::<f32>::new(&config).unwrap();
            let (length, mut read) = (sdnc.interface_len(), vec![0.0; sdnc.read_len()]);
            for step in 0..40 {
                sdnc.step(&interface(length, step, seed), &mut read, true);
                sdnc.links.check();
                for h in 0..heads {
                    let (words, weights) = sdnc.store.reads.of(step + 1, h);
                    prop_assert!(words.len() <= 3 * reads.min(memory_size));
                    prop_assert!(weights.iter().all(|w| *w >= 0.0));
                    prop_assert!(weights.iter().sum::<f32>() <= 1.0 + 1e-5);
                }
            }
        }
    }

    #[test]
    fn configurations_that_cannot_be_are_named() {
        for (config, field) in [
            (Config { memory_size: 0, ..Default::default() }, "memory_size"),
            (Config { heads: 0, ..Default::default() }, "heads"),
            (Config { links: 0, ..Default::default() }, "links"),
        ] {
            let error = Sdnc::<f32>::new(&config).err().expect("it does not fit");
            assert!(error.to_string().starts_with(field), "{error}");
        }
        assert!(Sdnc::<f32>::new(&Config { memory_size: 1, ..Default::default() }).is_ok());
    }
}
