//! What the dense memories share: where their words lie, the kernels that pass over them, content addressing over all
//! N words, and the tape that keeps the whole memory of every step.
//!
//! # Sixteen words side by side
//!
//! Everything a dense memory does to a word it does to all words. So the words lie in blocks of sixteen, number j of
//! all sixteen side by side ([`Sixteen`]), and a lane of a vector register is a word: products with a key, cosines,
//! exponentials and updates are whole vector operations whatever the length of a word, and no sum has to be taken
//! across a register. N is filled up with zeros to a multiple of sixteen.
//!
//! # One pass
//!
//! Memories far larger than the cache are as fast as they are read. A model therefore goes over its memory in strips
//! ([`Layout::strips`]) of 64 words, and does everything it can with a strip while it is in the first-level cache,
//! instead of one pass for each operation. The kernels here take one strip.
//!
//! Vectors with a number for each word (weights, usage) lie plainly, word after word, filled up likewise; those of
//! several heads head after head, each [`Layout::blocks`] times sixteen long.

use std::ops::Range;

use super::softmax::norm;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::system::available_bytes;
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

/// The same number of sixteen words.
pub type Sixteen<T> = [T; LANES];

/// Blocks in a strip: their words and what is computed of them fit the first-level cache, and the kernels' sums the
/// registers.
pub const STRIP_BLOCKS: usize = 4;

/// Words in a strip.
pub const STRIP: usize = STRIP_BLOCKS * LANES;

/// How N words of W numbers lie.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// N.
    pub memory_size: usize,
    /// W.
    pub word_size: usize,
}

impl Layout {
    /// Checks the sizes of a dense memory.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit.
    pub fn validate(self, heads: usize) -> Result<(), Error> {
        // Beyond these the buffers of a single step would not fit a machine, and sizes in bytes not a number.
        for (field, value, most) in [
            ("memory_size", self.memory_size, u32::MAX as usize),
            ("word_size", self.word_size, 1 << 16),
            ("heads", heads, 1 << 12),
        ] {
            Error::check_config((1..=most).contains(&value), field, value, format!("it must lie from 1 to {most}"))?;
        }
        Ok(())
    }

    /// Blocks of sixteen words, the last one filled up.
    #[inline(always)]
    pub fn blocks(self) -> usize {
        self.memory_size.div_ceil(LANES)
    }

    /// Length of the contents of all words, in [`Sixteen`]s.
    #[inline(always)]
    pub fn contents_len(self) -> usize {
        self.blocks() * self.word_size
    }

    /// The blocks of each strip, in order. The contents of blocks a..b are `a * word_size..b * word_size`.
    #[inline(always)]
    pub fn strips(self) -> impl Iterator<Item = Range<usize>> {
        let blocks = self.blocks();
        (0..blocks).step_by(STRIP_BLOCKS).map(move |first| first..(first + STRIP_BLOCKS).min(blocks))
    }

    /// Where the contents of some blocks stand among those of all.
    #[inline(always)]
    pub fn contents(self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start * self.word_size..blocks.end * self.word_size
    }

    /// Gives every word of a frame, which starts with the words, the content that `content` writes.
    pub fn fill<T: Real>(self, frame: &mut [Sixteen<T>], content: &mut dyn FnMut(usize, &mut [T])) {
        let mut numbers = vec![T::ZERO; self.word_size];
        for (block, contents) in frame[..self.contents_len()].chunks_exact_mut(self.word_size).enumerate() {
            for lane in 0..LANES.min(self.memory_size - block * LANES) {
                numbers.fill(T::ZERO);
                content(block * LANES + lane, &mut numbers);
                for (sixteen, number) in contents.iter_mut().zip(&numbers) {
                    sixteen[lane] = *number;
                }
            }
        }
    }

    /// Puts what the words hold into `to`, word after word.
    pub fn save_contents<T: Real>(self, contents: &[Sixteen<T>], to: &mut Arrays<T>) {
        let mut values = Vec::with_capacity(self.memory_size * self.word_size);
        for word in 0..self.memory_size {
            let block = &contents[word / LANES * self.word_size..][..self.word_size];
            values.extend(block.iter().map(|numbers| numbers[word % LANES]));
        }
        to.put_real("contents", &[self.memory_size, self.word_size], values);
    }

    /// Takes over words that [`save_contents`](Self::save_contents) wrote.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load_contents<T: Real>(self, contents: &mut [Sixteen<T>], from: &mut Arrays<T>) -> Result<(), Error> {
        let values = from.take_real("contents", &[self.memory_size, self.word_size])?;
        self.fill(contents, &mut |word, numbers| {
            numbers.copy_from_slice(&values[word * self.word_size..][..self.word_size])
        });
        Ok(())
    }

    /// Puts vectors with a number for each word into `to`, one after another.
    pub fn save_vectors<T: Real>(self, name: &str, vectors: &[Sixteen<T>], to: &mut Arrays<T>) {
        let words = vectors.chunks_exact(self.blocks()).flat_map(|vector| &vector.as_flattened()[..self.memory_size]);
        let values: Vec<T> = words.copied().collect();
        to.put_real(name, &[values.len() / self.memory_size, self.memory_size], values);
    }

    /// Takes over vectors that [`save_vectors`](Self::save_vectors) wrote. What stands beyond the last word stays.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load_vectors<T: Real>(
        self,
        name: &str,
        vectors: &mut [Sixteen<T>],
        from: &mut Arrays<T>,
    ) -> Result<(), Error> {
        let values = from.take_real(name, &[vectors.len() / self.blocks(), self.memory_size])?;
        let vectors = vectors.chunks_exact_mut(self.blocks());
        for (vector, values) in vectors.zip(values.chunks_exact(self.memory_size)) {
            vector.as_flattened_mut()[..self.memory_size].copy_from_slice(values);
        }
        Ok(())
    }

    /// Sets what stands beyond the last word in a vector with a number for each word.
    #[inline(always)]
    pub fn set_padding<T: Real>(self, numbers: &mut [Sixteen<T>], value: T) {
        numbers.as_flattened_mut()[self.memory_size..].fill(value);
    }
}

/// Checks that this machine can hold a dense memory whose start, gradients included, takes `numbers` numbers a word.
///
/// # Errors
/// [`Error::MemoryDoesNotFit`] says how many words would fit.
pub fn check_room<T: Real>(layout: Layout, numbers: usize) -> Result<(), Error> {
    check_room_of::<T>(layout, |words| words * numbers as u128)
}

/// Checks that this machine can hold a dense memory whose start, gradients included, takes `numbers(N)` numbers, which
/// grow with N.
///
/// # Errors
/// [`Error::MemoryDoesNotFit`] says how many words would fit.
pub fn check_room_of<T: Real>(layout: Layout, numbers: impl Fn(u128) -> u128) -> Result<(), Error> {
    let bytes = |words: u128| numbers(words.next_multiple_of(LANES as u128)) * size_of::<T>() as u128;
    match available_bytes() {
        Some(available) if bytes(layout.memory_size as u128) > available => {
            let (mut fits, mut too_many) = (0, layout.memory_size as u128);
            while too_many - fits > 1 {
                let middle = fits + (too_many - fits) / 2;
                if bytes(middle) > available {
                    too_many = middle;
                } else {
                    fits = middle;
                }
            }
            Err(Error::MemoryDoesNotFit { bytes: bytes(layout.memory_size as u128), available, memory_size: fits })
        }
        _ => Ok(()),
    }
}

/// Part of a kernel that works on `H` heads and `B` blocks with everything in registers.
trait Kernel<T: Real> {
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, head: usize, block: usize);
}

/// Cuts heads × blocks into tiles.
#[inline(always)]
fn tiles<T: Real, I: InstructionSet>(kernel: &mut impl Kernel<T>, heads: usize, blocks: usize) {
    let (mut head, mut block);
    block = 0;
    while block < blocks {
        // Sixteen sums need the registers of a wide instruction set.
        let wide = I::WIDE && block + STRIP_BLOCKS <= blocks;
        head = 0;
        while head < heads {
            let four = head + 4 <= heads;
            match (four, wide) {
                (true, true) => kernel.tile::<I, 4, STRIP_BLOCKS>(head, block),
                (true, false) => kernel.tile::<I, 4, 1>(head, block),
                (false, true) => kernel.tile::<I, 1, STRIP_BLOCKS>(head, block),
                (false, false) => kernel.tile::<I, 1, 1>(head, block),
            }
            head += if four { 4 } else { 1 };
        }
        block += if wide { STRIP_BLOCKS } else { 1 };
    }
}

/// Some rows of `length` that lie one after another.
#[inline(always)]
pub fn rows<N, const R: usize>(matrix: &[N], first: usize, length: usize) -> [&[N]; R] {
    let mut rows = [&matrix[..0]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &matrix[(first + r) * length..][..length];
    }
    rows
}

/// The weights of `H` heads for `B` blocks, of head h from `h * stride` on.
#[inline(always)]
fn load_weights<T: Real, I: InstructionSet, const H: usize, const B: usize>(
    weights: &[Sixteen<T>],
    stride: usize,
    (head, block): (usize, usize),
) -> [[I::Lanes<T>; B]; H] {
    let mut loaded = [[I::Lanes::<T>::splat(T::ZERO); B]; H];
    for (h, loaded) in loaded.iter_mut().enumerate() {
        for (b, loaded) in loaded.iter_mut().enumerate() {
            *loaded = I::Lanes::<T>::load(&weights[(head + h) * stride + block + b]);
        }
    }
    loaded
}

struct Products<'a, T> {
    word_size: usize,
    contents: &'a [Sixteen<T>],
    vectors: &'a [T],
    products: &'a mut [Sixteen<T>],
    stride: usize,
}

impl<T: Real> Kernel<T> for Products<'_, T> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, head: usize, block: usize) {
        let size = self.word_size;
        let blocks: [_; B] = rows(self.contents, block, size);
        let vectors: [_; H] = rows(self.vectors, head, size);
        let zero = I::Lanes::<T>::splat(T::ZERO);
        let mut sums = [[zero; B]; H];
        for j in 0..size {
            let mut numbers = [zero; B];
            for b in 0..B {
                numbers[b] = I::Lanes::<T>::load(&blocks[b][j]);
            }
            for h in 0..H {
                let factor = I::Lanes::<T>::splat(vectors[h][j]);
                for b in 0..B {
                    sums[h][b] = factor.multiply_add(numbers[b], sums[h][b]);
                }
            }
        }
        for h in 0..H {
            for b in 0..B {
                sums[h][b].store(&mut self.products[(head + h) * self.stride + block + b]);
            }
        }
    }
}

vector_fn! {
    /// v_h · M(i) for every vector and every word of a strip. `products` holds those of vector h from `h * stride` on.
    pub fn products<T, I>(
        word_size: usize,
        contents: &[Sixteen<T>],
        vectors: &[T],
        products: &mut [Sixteen<T>],
        stride: usize,
    ) {
        let (heads, blocks) = (vectors.len() / word_size, contents.len() / word_size);
        tiles::<T, I>(&mut Products { word_size, contents, vectors, products, stride }, heads, blocks);
    }
}

struct Squares<'a, T> {
    word_size: usize,
    contents: &'a [Sixteen<T>],
    squares: &'a mut [Sixteen<T>],
}

impl<T: Real> Kernel<T> for Squares<'_, T> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, _: usize, block: usize) {
        let size = self.word_size;
        let blocks: [_; B] = rows(self.contents, block, size);
        let mut sums = [I::Lanes::<T>::splat(T::ZERO); B];
        for j in 0..size {
            for b in 0..B {
                let numbers = I::Lanes::<T>::load(&blocks[b][j]);
                sums[b] = numbers.multiply_add(numbers, sums[b]);
            }
        }
        for b in 0..B {
            sums[b].store(&mut self.squares[block + b]);
        }
    }
}

vector_fn! {
    /// M(i) · M(i) for every word of a strip.
    fn squares<T, I>(word_size: usize, contents: &[Sixteen<T>], squares: &mut [Sixteen<T>]) {
        tiles::<T, I>(&mut Squares { word_size, contents, squares }, 1, contents.len() / word_size);
    }
}

/// What heads do to words: add vectors to them, or erase with vectors.
struct Write<'a, T, const ERASE: bool> {
    word_size: usize,
    contents: &'a mut [Sixteen<T>],
    weights: &'a [Sixteen<T>],
    stride: usize,
    vectors: &'a [T],
}

impl<T: Real, const ERASE: bool> Kernel<T> for Write<'_, T, ERASE> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, head: usize, block: usize) {
        let size = self.word_size;
        let one = I::Lanes::<T>::splat(T::ONE);
        let vectors: [_; H] = rows(self.vectors, head, size);
        let weights = load_weights::<T, I, H, B>(self.weights, self.stride, (head, block));
        let contents = &mut self.contents[block * size..][..B * size];
        for j in 0..size {
            let mut factors = [one; H];
            for h in 0..H {
                factors[h] = I::Lanes::<T>::splat(if ERASE { -vectors[h][j] } else { vectors[h][j] });
            }
            for b in 0..B {
                let place = &mut contents[b * size + j];
                let mut numbers = I::Lanes::<T>::load(place);
                for h in 0..H {
                    numbers = if ERASE {
                        numbers.multiply(factors[h].multiply_add(weights[h][b], one))
                    } else {
                        factors[h].multiply_add(weights[h][b], numbers)
                    };
                }
                numbers.store(place);
            }
        }
    }
}

vector_fn! {
    /// M(i) += Σ_h w_h(i) v_h for every word of a strip. `weights` holds those of head h from `h * stride` on.
    pub fn spread<T, I>(
        word_size: usize,
        contents: &mut [Sixteen<T>],
        weights: &[Sixteen<T>],
        stride: usize,
        vectors: &[T],
    ) {
        let (heads, blocks) = (vectors.len() / word_size, contents.len() / word_size);
        tiles::<T, I>(&mut Write::<T, false> { word_size, contents, weights, stride, vectors }, heads, blocks);
    }
}

vector_fn! {
    /// M(i) ← M(i) Π_h (1 - w_h(i) e_h), number by number, for every word of a strip. `weights` holds those of head h
    /// from `h * stride` on.
    pub fn erase<T, I>(
        word_size: usize,
        contents: &mut [Sixteen<T>],
        weights: &[Sixteen<T>],
        stride: usize,
        erases: &[T],
    ) {
        let (heads, blocks) = (erases.len() / word_size, contents.len() / word_size);
        tiles::<T, I>(&mut Write::<T, true> { word_size, contents, weights, stride, vectors: erases }, heads, blocks);
    }
}

/// Sums over words of weighted words, one for each head, as they grow strip by strip: Σ_i w_h(i) M(i). Sixteen
/// partial sums a number, which [`finish`](Self::finish) adds up.
#[derive(Debug, Default)]
pub struct Sums<T> {
    word_size: usize,
    partial: Vec<Sixteen<T>>,
}

impl<T: Real> Sums<T> {
    /// Starts `heads` sums of words of `word_size` numbers at zero.
    #[inline(always)]
    pub fn start(&mut self, heads: usize, word_size: usize) {
        self.word_size = word_size;
        self.partial.clear();
        self.partial.resize(heads * word_size, [T::ZERO; LANES]);
    }

    /// Adds Σ w_h(i) M(i) over the words of a strip. `weights` holds those of head h from `h * stride` on.
    #[inline(always)]
    pub fn add(&mut self, contents: &[Sixteen<T>], weights: &[Sixteen<T>], stride: usize) {
        let word_size = self.word_size;
        let (heads, blocks) = (self.partial.len() / word_size, contents.len() / word_size);
        run_add(&mut Add { word_size, contents, weights, stride, sums: &mut self.partial }, heads, blocks);
    }

    /// Multiplies the sum of one head.
    #[inline(always)]
    pub fn scale(&mut self, head: usize, factor: T) {
        for number in self.partial[head * self.word_size..][..self.word_size].as_flattened_mut() {
            *number *= factor;
        }
    }

    /// The sum of one head.
    #[inline(always)]
    pub fn finish<I: InstructionSet>(&self, head: usize, sum: &mut [T]) {
        for (sum, partial) in sum.iter_mut().zip(&self.partial[head * self.word_size..]) {
            *sum = I::Lanes::<T>::load(partial).sum();
        }
    }
}

struct Add<'a, T> {
    word_size: usize,
    contents: &'a [Sixteen<T>],
    weights: &'a [Sixteen<T>],
    stride: usize,
    sums: &'a mut [Sixteen<T>],
}

impl<T: Real> Kernel<T> for Add<'_, T> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, head: usize, block: usize) {
        let size = self.word_size;
        let zero = I::Lanes::<T>::splat(T::ZERO);
        let blocks: [_; B] = rows(self.contents, block, size);
        let weights = load_weights::<T, I, H, B>(self.weights, self.stride, (head, block));
        let sums = &mut self.sums[head * size..][..H * size];
        for j in 0..size {
            let mut numbers = [zero; B];
            for b in 0..B {
                numbers[b] = I::Lanes::<T>::load(&blocks[b][j]);
            }
            for h in 0..H {
                let total = &mut sums[h * size + j];
                let mut sum = I::Lanes::<T>::load(total);
                for b in 0..B {
                    sum = weights[h][b].multiply_add(numbers[b], sum);
                }
                sum.store(total);
            }
        }
    }
}

vector_fn! {
    fn run_add<T, I>(kernel: &mut Add<'_, T>, heads: usize, blocks: usize) {
        tiles::<T, I>(kernel, heads, blocks);
    }
}

/// The gradient of [`erase`] for its weights and erase vectors, over all strips. That for the words is their gradient
/// after erasing, itself erased.
#[derive(Debug, Default)]
pub struct Erasure<T> {
    word_size: usize,
    /// Of the gradients of the erase vectors, sixteen partial sums a number.
    sums: Vec<Sixteen<T>>,
    /// Of a strip: words · gradients · what the heads outside of a group leave of them.
    left: Vec<Sixteen<T>>,
}

struct EraseBack<'a, T> {
    word_size: usize,
    left: &'a [Sixteen<T>],
    weights: &'a [Sixteen<T>],
    stride: usize,
    erases: &'a [T],
    weight_gradients: &'a mut [Sixteen<T>],
    sums: &'a mut [Sixteen<T>],
}

impl<T: Real> Kernel<T> for EraseBack<'_, T> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, head: usize, block: usize) {
        let size = self.word_size;
        let one = I::Lanes::<T>::splat(T::ONE);
        let erases: [_; H] = rows(self.erases, head, size);
        let sums = &mut self.sums[head * size..][..H * size];
        for b in block..block + B {
            let left = &self.left[b * size..][..size];
            let (mut weights, mut gradients) = ([one; H], [one; H]);
            for h in 0..H {
                weights[h] = I::Lanes::<T>::load(&self.weights[(head + h) * self.stride + b]);
                gradients[h] = I::Lanes::<T>::load(&self.weight_gradients[(head + h) * self.stride + b]);
            }
            for j in 0..size {
                let (mut factors, mut others) = ([one; H], [one; H]);
                // What the heads before each leave, then times what those after it leave.
                let mut product = I::Lanes::<T>::load(&left[j]);
                for h in 0..H {
                    factors[h] = I::Lanes::<T>::splat(-erases[h][j]);
                    others[h] = product;
                    product = product.multiply(factors[h].multiply_add(weights[h], one));
                }
                product = one;
                for h in (0..H).rev() {
                    let other = others[h].multiply(product);
                    product = product.multiply(factors[h].multiply_add(weights[h], one));
                    gradients[h] = factors[h].multiply_add(other, gradients[h]);
                    let sum = &mut sums[h * size + j];
                    weights[h].multiply_add(other, I::Lanes::<T>::load(sum)).store(sum);
                }
            }
            for h in 0..H {
                gradients[h].store(&mut self.weight_gradients[(head + h) * self.stride + b]);
            }
        }
    }
}

vector_fn! {
    fn run_erase_back<T, I>(kernel: &mut EraseBack<'_, T>, heads: usize, blocks: usize) {
        tiles::<T, I>(kernel, heads, blocks);
    }
}

vector_fn! {
    fn multiply<T, I>(products: &mut [T], a: &[T], b: &[T]) {
        for ((product, a), b) in products.iter_mut().zip(a).zip(b) {
            *product = *a * *b;
        }
    }
}

impl<T: Real> Erasure<T> {
    /// Starts going back, for `heads` erase vectors of `word_size` numbers.
    pub fn start(&mut self, heads: usize, word_size: usize) {
        self.word_size = word_size;
        self.sums.clear();
        self.sums.resize(heads * word_size, [T::ZERO; LANES]);
        self.left.resize(STRIP_BLOCKS * word_size, [T::ZERO; LANES]);
    }

    /// Takes a strip's words before erasing, the gradient of what they were after it, and the weights and vectors of
    /// [`erase`]; adds to the gradients of the weights, which lie as these do.
    pub fn strip_back(
        &mut self,
        contents: &[Sixteen<T>],
        content_gradients: &[Sixteen<T>],
        weights: &[Sixteen<T>],
        erases: &[T],
        weight_gradients: &mut [Sixteen<T>],
        stride: usize,
    ) {
        let word_size = self.word_size;
        let (heads, blocks) = (erases.len() / word_size, contents.len() / word_size);
        let left = &mut self.left[..contents.len()];
        // A kernel sees four heads at a time, or one; the others are erased with beforehand.
        let mut head = 0;
        while head < heads {
            let end = if head + 4 <= heads { head + 4 } else { head + 1 };
            multiply(left.as_flattened_mut(), contents.as_flattened(), content_gradients.as_flattened());
            for (first, last) in [(0, head), (end, heads)] {
                let (weights, erases) =
                    (&weights[first.min(heads - 1) * stride..], &erases[first * word_size..last * word_size]);
                erase(word_size, left, weights, stride, erases);
            }
            run_erase_back(
                &mut EraseBack {
                    word_size,
                    left,
                    weights: &weights[head * stride..],
                    stride,
                    erases: &erases[head * word_size..end * word_size],
                    weight_gradients: &mut weight_gradients[head * stride..],
                    sums: &mut self.sums[head * word_size..end * word_size],
                },
                end - head,
                blocks,
            );
            head = end;
        }
    }

    /// The gradient of one head's erase vector.
    #[inline(always)]
    pub fn finish<I: InstructionSet>(&self, head: usize, gradient: &mut [T]) {
        for (gradient, partial) in gradient.iter_mut().zip(&self.sums[head * self.word_size..]) {
            // M (1 - w e) has the derivative -M w in e.
            *gradient = -I::Lanes::<T>::load(partial).sum();
        }
    }
}

/// Content addressing over all words for several keys at once: w_h = softmax over i of β_h cos(q_h, M(i)).
///
/// [`start`](Self::start), then [`strip`](Self::strip) for every strip in order, then [`finish`](Self::finish).
/// The exponentials are taken strip by strip against the largest logit so far, and put right at the end, so that one
/// pass over the memory is enough; [`rescale`](Self::rescale) tells by how much sums of weighted words that grow
/// alongside have to shrink when the largest logit grows.
///
/// Going back: [`start_back`](Self::start_back), [`strip_back`](Self::strip_back) for every strip,
/// [`finish_back`](Self::finish_back). Cosines are computed again then: reading them back would cost as much as the
/// products they are made of, which are taken while the words are at hand anyway.
#[derive(Debug, Default)]
pub struct Addressing<T> {
    word_size: usize,
    /// Head after head.
    keys: Vec<T>,
    key_norms: Vec<T>,
    strengths: Vec<T>,
    /// The largest logit so far, a head.
    largest: Vec<T>,
    /// Σ exp(logit - largest) so far, a head.
    totals: Vec<T>,
    rescale: Vec<T>,
    /// The largest logit when each strip was done, strip after strip, in each head after head.
    largest_at: Vec<T>,
    key_sums: Sums<T>,
    strength_gradients: Vec<T>,
    scratch: Strip<T>,
}

/// What is computed of a strip on the way.
#[derive(Debug, Default)]
struct Strip<T> {
    squares: Vec<Sixteen<T>>,
    products: Vec<Sixteen<T>>,
}

impl<T: Real> Addressing<T> {
    /// Takes the heads' keys and strengths.
    #[inline(always)]
    pub fn start<'a, I: InstructionSet>(&mut self, word_size: usize, heads: impl Iterator<Item = (&'a [T], T)>) {
        self.word_size = word_size;
        self.keys.clear();
        self.key_norms.clear();
        self.strengths.clear();
        for (key, strength) in heads {
            self.keys.extend_from_slice(key);
            self.key_norms.push(norm(dot::<T, I>(key, key)));
            self.strengths.push(strength);
        }
        let heads = self.strengths.len();
        self.largest.clear();
        self.largest.resize(heads, T::NEG_INFINITY);
        self.totals.clear();
        self.totals.resize(heads, T::ZERO);
        self.rescale.resize(heads, T::ONE);
        self.largest_at.clear();
        self.scratch.squares.resize(STRIP_BLOCKS, [T::ZERO; LANES]);
        self.scratch.products.resize(heads * STRIP_BLOCKS, [T::ZERO; LANES]);
    }

    /// 1 / √(M(i)·M(i) + ε) into `squares`, and the cosines into `products`.
    #[inline(always)]
    fn cosines(&mut self, contents: &[Sixteen<T>]) {
        let Strip { squares: inverse_norms, products: cosines } = &mut self.scratch;
        let blocks = contents.len() / self.word_size;
        products(self.word_size, contents, &self.keys, cosines, STRIP_BLOCKS);
        squares(self.word_size, contents, inverse_norms);
        for inverse in inverse_norms[..blocks].as_flattened_mut() {
            *inverse = T::ONE / norm(*inverse);
        }
        for (cosines, key_norm) in cosines.chunks_exact_mut(STRIP_BLOCKS).zip(&self.key_norms) {
            let inverse_key = T::ONE / *key_norm;
            let inverse_norms = inverse_norms[..blocks].as_flattened();
            for (cosine, inverse) in cosines[..blocks].as_flattened_mut().iter_mut().zip(inverse_norms) {
                *cosine = *cosine * inverse_key * *inverse;
            }
        }
    }

    /// The exponentials of a strip's logits, of head h from `h * layout.blocks()` on in `weights`.
    #[inline(always)]
    pub fn strip<I: InstructionSet>(
        &mut self,
        layout: Layout,
        blocks: &Range<usize>,
        contents: &[Sixteen<T>],
        weights: &mut [Sixteen<T>],
    ) {
        self.cosines(contents);
        let words = (layout.memory_size - blocks.start * LANES).min(blocks.len() * LANES);
        for (head, strength) in self.strengths.iter().enumerate() {
            let logits = self.scratch.products[head * STRIP_BLOCKS..][..blocks.len()].as_flattened_mut();
            // Beyond the last word there is nothing to choose.
            logits[words..].fill(T::NEG_INFINITY);
            let mut largest = I::Lanes::<T>::splat(self.largest[head]);
            for logit in logits.iter_mut() {
                *logit *= *strength;
            }
            for logits in logits.as_chunks::<LANES>().0 {
                largest = I::Lanes::<T>::load(logits).larger(largest);
            }
            let largest = largest.largest();
            let rescale = if largest > self.largest[head] { (self.largest[head] - largest).exp() } else { T::ONE };
            self.rescale[head] = rescale;
            self.largest[head] = largest;
            self.largest_at.push(largest);
            let weights = weights[head * layout.blocks() + blocks.start..][..blocks.len()].as_flattened_mut();
            for (weight, logit) in weights.iter_mut().zip(logits.iter()) {
                *weight = (*logit - largest).exp();
            }
            weights[words..].fill(T::ZERO);
            self.totals[head] = self.totals[head] * rescale + sum::<T, I>(weights);
        }
    }

    /// What the latest strip made of the exponentials before it, head after head: sums over them are to be
    /// multiplied by this.
    #[inline(always)]
    pub fn rescale(&self) -> &[T] {
        &self.rescale
    }

    /// After the last strip: what turns the exponentials of a strip into weights. Multiply a head's by this.
    #[inline(always)]
    pub fn scale(&self, strip: usize, head: usize) -> T {
        let largest = self.largest_at[strip * self.strengths.len() + head];
        (largest - self.largest[head]).exp() / self.totals[head]
    }

    /// After the last strip: what turns a sum over the exponentials of one head into a sum over weights.
    #[inline(always)]
    pub fn total(&self, head: usize) -> T {
        self.totals[head]
    }

    /// Turns the exponentials of all strips into weights.
    #[inline(always)]
    pub fn finish(&self, layout: Layout, weights: &mut [Sixteen<T>]) {
        for head in 0..self.strengths.len() {
            let weights = &mut weights[head * layout.blocks()..][..layout.blocks()];
            for (strip, weights) in weights.chunks_mut(STRIP_BLOCKS).enumerate() {
                let scale = self.scale(strip, head);
                for weight in weights.as_flattened_mut() {
                    *weight *= scale;
                }
            }
        }
    }

    /// Starts going back, with the keys and strengths that [`start`](Self::start) was given.
    #[inline(always)]
    pub fn start_back(&mut self) {
        let heads = self.strengths.len();
        self.key_sums.start(heads, self.word_size);
        self.strength_gradients.clear();
        self.strength_gradients.resize(heads, T::ZERO);
    }

    /// Takes the gradient of a strip's logits (of head h from `h * stride` on; overwritten), and adds what it makes
    /// of the words to `content_gradients`.
    #[inline(always)]
    pub fn strip_back<I: InstructionSet>(
        &mut self,
        contents: &[Sixteen<T>],
        logit_gradients: &mut [Sixteen<T>],
        stride: usize,
        content_gradients: &mut [Sixteen<T>],
    ) {
        self.cosines(contents);
        let blocks = contents.len() / self.word_size;
        let mut over_content = [T::ZERO; STRIP];
        let over_content = &mut over_content[..blocks * LANES];
        let inverse_norms = self.scratch.squares[..blocks].as_flattened();
        for (head, strength) in self.strengths.iter().enumerate() {
            let inverse_key = T::ONE / self.key_norms[head];
            let cosines = self.scratch.products[head * STRIP_BLOCKS..][..blocks].as_flattened();
            let gradients = logit_gradients[head * stride..][..blocks].as_flattened_mut();
            self.strength_gradients[head] += dot::<T, I>(gradients, cosines);
            for ((over_content, cosine), gradient) in over_content.iter_mut().zip(cosines).zip(gradients.iter_mut()) {
                *gradient *= *strength;
                *over_content += *gradient * *cosine;
            }
            for (gradient, inverse) in gradients.iter_mut().zip(inverse_norms) {
                *gradient *= inverse_key * *inverse;
            }
        }
        for (over_content, inverse) in over_content.iter_mut().zip(inverse_norms) {
            *over_content *= -(*inverse * *inverse);
        }
        self.key_sums.add(contents, logit_gradients, stride);
        for (block, over_content) in over_content.as_chunks::<LANES>().0.iter().enumerate() {
            let scale = I::Lanes::<T>::load(over_content);
            let contents = &contents[block * self.word_size..][..self.word_size];
            let gradients = &mut content_gradients[block * self.word_size..][..self.word_size];
            for (gradient, content) in gradients.iter_mut().zip(contents) {
                scale.multiply_add(I::Lanes::<T>::load(content), I::Lanes::<T>::load(gradient)).store(gradient);
            }
        }
        spread(self.word_size, content_gradients, logit_gradients, stride, &self.keys);
    }

    /// The gradient of one head's key, written to `key_gradient`, and of its strength, returned.
    #[inline(always)]
    pub fn finish_back<I: InstructionSet>(&self, head: usize, key_gradient: &mut [T]) -> T {
        self.key_sums.finish::<I>(head, key_gradient);
        let key = &self.keys[head * self.word_size..][..self.word_size];
        // Σ gradient of cosine · cosine, since a logit is β times a cosine.
        let over_key = self.strengths[head] * self.strength_gradients[head];
        let key_square = self.key_norms[head] * self.key_norms[head];
        for (gradient, key) in key_gradient.iter_mut().zip(key) {
            *gradient += -(over_key / key_square) * *key;
        }
        self.strength_gradients[head]
    }
}

/// Content addressing in which every key has a mask m of its own (Csordás and Schmidhuber 2019, arXiv 1904.10278):
/// w_h = softmax over i of β_h cos(q_h ⊙ m_h, M(i) ⊙ m_h).
///
/// Used like [`Addressing`], which it is made of: each head sees a masked copy of the strip.
#[derive(Debug, Default)]
pub struct Masked<T> {
    word_size: usize,
    heads: Vec<Addressing<T>>,
    /// Head after head, as the masks.
    keys: Vec<T>,
    masks: Vec<T>,
    mask_sums: Vec<Sixteen<T>>,
    /// A strip as a head sees it, and the gradient of that.
    contents: Vec<Sixteen<T>>,
    gradients: Vec<Sixteen<T>>,
}

impl<T: Real> Masked<T> {
    /// Takes the heads' keys, masks and strengths.
    #[inline(always)]
    pub fn start<'a, I: InstructionSet>(
        &mut self,
        word_size: usize,
        heads: impl Iterator<Item = (&'a [T], &'a [T], T)>,
    ) {
        self.word_size = word_size;
        self.keys.clear();
        self.masks.clear();
        let mut count = 0;
        for (key, mask, strength) in heads {
            self.keys.extend_from_slice(key);
            self.masks.extend_from_slice(mask);
            if count == self.heads.len() {
                self.heads.push(Addressing::default());
            }
            self.contents.clear();
            // As a scratch of numbers: the masked key.
            self.contents.resize(word_size.div_ceil(LANES), [T::ZERO; LANES]);
            let masked = &mut self.contents.as_flattened_mut()[..word_size];
            for ((masked, key), mask) in masked.iter_mut().zip(key).zip(mask) {
                *masked = *key * *mask;
            }
            self.heads[count].start::<I>(word_size, std::iter::once((&*masked, strength)));
            count += 1;
        }
        self.heads.truncate(count);
        self.contents.resize(STRIP_BLOCKS * word_size, [T::ZERO; LANES]);
        self.gradients.resize(STRIP_BLOCKS * word_size, [T::ZERO; LANES]);
    }

    #[inline(always)]
    fn mask_strip<I: InstructionSet>(&mut self, head: usize, contents: &[Sixteen<T>]) {
        let mask = &self.masks[head * self.word_size..][..self.word_size];
        let words = contents.chunks_exact(self.word_size).zip(self.contents.chunks_exact_mut(self.word_size));
        for (contents, masked) in words {
            for ((content, masked), mask) in contents.iter().zip(masked).zip(mask) {
                I::Lanes::<T>::splat(*mask).multiply(I::Lanes::<T>::load(content)).store(masked);
            }
        }
    }

    /// As [`Addressing::strip`].
    #[inline(always)]
    pub fn strip<I: InstructionSet>(
        &mut self,
        layout: Layout,
        blocks: &Range<usize>,
        contents: &[Sixteen<T>],
        weights: &mut [Sixteen<T>],
    ) {
        for head in 0..self.heads.len() {
            self.mask_strip::<I>(head, contents);
            let weights = &mut weights[head * layout.blocks()..];
            self.heads[head].strip::<I>(layout, blocks, &self.contents[..contents.len()], weights);
        }
    }

    /// As [`Addressing::finish`].
    #[inline(always)]
    pub fn finish(&self, layout: Layout, weights: &mut [Sixteen<T>]) {
        for (head, addressing) in self.heads.iter().enumerate() {
            addressing.finish(layout, &mut weights[head * layout.blocks()..]);
        }
    }

    /// As [`Addressing::start_back`].
    #[inline(always)]
    pub fn start_back(&mut self) {
        self.mask_sums.clear();
        self.mask_sums.resize(self.masks.len(), [T::ZERO; LANES]);
        for addressing in &mut self.heads {
            addressing.start_back();
        }
    }

    /// As [`Addressing::strip_back`].
    #[inline(always)]
    pub fn strip_back<I: InstructionSet>(
        &mut self,
        contents: &[Sixteen<T>],
        logit_gradients: &mut [Sixteen<T>],
        stride: usize,
        content_gradients: &mut [Sixteen<T>],
    ) {
        let size = self.word_size;
        for head in 0..self.heads.len() {
            self.mask_strip::<I>(head, contents);
            let gradients = &mut self.gradients[..contents.len()];
            gradients.fill([T::ZERO; LANES]);
            let masked = &self.contents[..contents.len()];
            self.heads[head].strip_back::<I>(masked, &mut logit_gradients[head * stride..], stride, gradients);
            let (masks, sums) = (&self.masks[head * size..][..size], &mut self.mask_sums[head * size..][..size]);
            for block in (0..contents.len()).step_by(size) {
                for j in 0..size {
                    let gradient = I::Lanes::<T>::load(&gradients[block + j]);
                    let of_content = &mut content_gradients[block + j];
                    let mask = I::Lanes::<T>::splat(masks[j]);
                    mask.multiply_add(gradient, I::Lanes::<T>::load(of_content)).store(of_content);
                    let content = I::Lanes::<T>::load(&contents[block + j]);
                    gradient.multiply_add(content, I::Lanes::<T>::load(&sums[j])).store(&mut sums[j]);
                }
            }
        }
    }

    /// The gradient of one head's key and mask, written to `key_gradient` and `mask_gradient`, and of its strength,
    /// returned.
    #[inline(always)]
    pub fn finish_back<I: InstructionSet>(&self, head: usize, key_gradient: &mut [T], mask_gradient: &mut [T]) -> T {
        let size = self.word_size;
        let strength_gradient = self.heads[head].finish_back::<I>(0, key_gradient);
        for j in 0..size {
            let (key, mask) = (self.keys[head * size + j], self.masks[head * size + j]);
            mask_gradient[j] = I::Lanes::<T>::load(&self.mask_sums[head * size + j]).sum() + key * key_gradient[j];
            key_gradient[j] *= mask;
        }
        strength_gradient
    }
}

/// Σ xᵢ over whole blocks of sixteen numbers.
#[inline(always)]
pub fn sum<T: Real, I: InstructionSet>(numbers: &[T]) -> T {
    let mut sums = I::Lanes::<T>::splat(T::ZERO);
    for numbers in numbers.as_chunks::<LANES>().0 {
        sums = sums.add(I::Lanes::<T>::load(numbers));
    }
    sums.sum()
}

/// Cuts the frames of a memory's tape into parts: makes `Frame` and `FrameMut`, which have a slice of [`Sixteen`]s for
/// each part, in the order and of the lengths given. The lengths follow from the [`Layout`] and one thing more.
macro_rules! frame {
    ($(#[$about:meta])* |$layout:ident, $more:ident: $type:ty| $($(#[$doc:meta])* $part:ident: $length:expr,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        struct Frame<'a, T> {
            $($(#[$doc])* $part: &'a [Sixteen<T>],)*
        }

        /// A [`Frame`] to be written.
        struct FrameMut<'a, T> {
            $($part: &'a mut [Sixteen<T>],)*
        }

        impl<'a, T> Frame<'a, T> {
            fn len($layout: Layout, $more: $type) -> usize {
                [$($length),*].iter().sum()
            }

            #[inline(always)]
            fn cut($layout: Layout, $more: $type, mut frame: &'a [Sixteen<T>]) -> Self {
                $(
                    let ($part, rest) = frame.split_at($length);
                    frame = rest;
                )*
                debug_assert!(frame.is_empty());
                Self { $($part),* }
            }
        }

        impl<'a, T> FrameMut<'a, T> {
            #[inline(always)]
            fn cut($layout: Layout, $more: $type, mut frame: &'a mut [Sixteen<T>]) -> Self {
                $(
                    let ($part, rest) = frame.split_at_mut($length);
                    frame = rest;
                )*
                debug_assert!(frame.is_empty());
                Self { $($part),* }
            }
        }
    };
}
pub(crate) use frame;

/// The part of [`Memory`](super::Memory) in which memories with all their state in `frames` do not differ. Their steps
/// are functions `step` and `step_back`.
macro_rules! life_in_frames {
    () => {
        fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
            self.reset();
            self.layout.fill(self.frames.now_mut(), content);
        }

        fn start_episode(&mut self) {
            self.frames.start_episode();
        }

        fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
            step(self, interface, read, record);
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
    };
}
pub(crate) use life_in_frames;

/// The tape of a dense memory: its whole state at every step, in frames of one length.
///
/// Frames are handed out from chunks of a few MiB or of one frame, whichever is more, so that a tape of many GiB
/// grows without being copied; chunks stay until the memory is dropped. Frame 0 is the state at the start of the
/// episode. A new episode begins in the frame in which the one before ended: nothing is copied.
#[derive(Debug)]
pub struct Frames<T> {
    /// In numbers, a multiple of sixteen.
    frame_len: usize,
    frames_in_chunk: usize,
    chunks: Vec<Pages<T>>,
    /// The place of each step's frame among all.
    places: Vec<usize>,
    /// The latest step that is in force.
    position: usize,
    /// Steps on the tape; those after `position` were undone.
    steps: usize,
}

/// Bytes of a chunk that holds several frames.
const CHUNK_BYTES: usize = 4 << 20;

impl<T: Real> Frames<T> {
    /// A tape of frames of `frame_len` [`Sixteen`]s, with one frame of zeros.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(frame_len: usize) -> Result<Self, Error> {
        let frame_len = frame_len * LANES;
        let frames_in_chunk = (CHUNK_BYTES / (frame_len * size_of::<T>())).max(1);
        let mut frames =
            Self { frame_len, frames_in_chunk, chunks: Vec::new(), places: Vec::new(), position: 0, steps: 0 };
        frames.grow()?;
        Ok(frames)
    }

    fn grow(&mut self) -> Result<(), Error> {
        let place = self.places.len();
        if place == self.chunks.len() * self.frames_in_chunk {
            self.chunks.push(Pages::dense(self.frames_in_chunk * self.frame_len)?);
        }
        self.places.push(place);
        Ok(())
    }

    /// Bytes that a tape of `steps` steps would take beyond those that it has taken already.
    pub fn growth(&self, steps: usize) -> u128 {
        let more = (steps + 1).saturating_sub(self.places.len());
        more as u128 * (self.frame_len * size_of::<T>()) as u128
    }

    /// The number of steps in force.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Starts an episode in the frame of the latest step.
    pub fn start_episode(&mut self) {
        self.places.swap(0, self.position);
        (self.position, self.steps) = (0, 0);
    }

    /// The frame of the latest step in force.
    pub fn now(&self) -> &[Sixteen<T>] {
        self.frame(self.position)
    }

    /// The frame of the latest step in force, to be changed.
    pub fn now_mut(&mut self) -> &mut [Sixteen<T>] {
        let (chunk, start) = self.place(self.position);
        self.chunks[chunk][start..start + self.frame_len].as_chunks_mut().0
    }

    fn place(&self, step: usize) -> (usize, usize) {
        let place = self.places[step];
        (place / self.frames_in_chunk, place % self.frames_in_chunk * self.frame_len)
    }

    fn frame(&self, step: usize) -> &[Sixteen<T>] {
        let (chunk, start) = self.place(step);
        self.chunks[chunk][start..start + self.frame_len].as_chunks().0
    }

    /// Goes on by a step: the frame before it, and its own, which holds whatever it held. Steps that were undone are
    /// forgotten. Without `record`, an episode starts in either.
    ///
    /// # Panics
    /// If there is no address space left.
    pub fn step(&mut self, record: bool) -> (&[Sixteen<T>], &mut [Sixteen<T>]) {
        if !record {
            self.start_episode();
        }
        self.position += 1;
        self.steps = self.position;
        if self.position == self.places.len()
            && let Err(error) = self.grow()
        {
            panic!("the tape cannot grow: {error}");
        }
        let (before, now) = (self.place(self.position - 1), self.place(self.position));
        if !record {
            self.start_episode();
        }
        let length = self.frame_len;
        let (before, now) = if before.0 == now.0 {
            let chunk = &mut self.chunks[before.0];
            if before.1 < now.1 {
                let (low, high) = chunk.split_at_mut(now.1);
                (&low[before.1..before.1 + length], &mut high[..length])
            } else {
                let (low, high) = chunk.split_at_mut(before.1);
                (&high[..length], &mut low[now.1..now.1 + length])
            }
        } else if before.0 < now.0 {
            let (low, high) = self.chunks.split_at_mut(now.0);
            (&low[before.0][before.1..before.1 + length], &mut high[0][now.1..now.1 + length])
        } else {
            let (low, high) = self.chunks.split_at_mut(before.0);
            (&high[0][before.1..before.1 + length], &mut low[now.0][now.1..now.1 + length])
        };
        (before.as_chunks().0, now.as_chunks_mut().0)
    }

    /// No step on the tape was undone: whatever gradient comes back from later steps starts at zero here.
    pub fn at_end(&self) -> bool {
        self.position == self.steps
    }

    /// Undoes the latest step in force: the frame before it, which is the state now, and its own.
    ///
    /// # Panics
    /// If no step is left on the tape.
    pub fn step_back(&mut self) -> (&[Sixteen<T>], &[Sixteen<T>]) {
        assert!(self.position > 0, "no step is left on the tape");
        self.position -= 1;
        (self.frame(self.position), self.frame(self.position + 1))
    }

    /// The frame before the latest step in force, and its own.
    ///
    /// # Panics
    /// If no step is left on the tape.
    pub fn latest(&self) -> (&[Sixteen<T>], &[Sixteen<T>]) {
        assert!(self.position > 0, "no step is left on the tape");
        (self.frame(self.position - 1), self.frame(self.position))
    }

    /// Takes again every step that was undone.
    pub fn replay(&mut self) {
        self.position = self.steps;
    }
}
