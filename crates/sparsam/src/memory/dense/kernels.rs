//! The kernels that pass over the words of a strip.

use super::layout::{STRIP_BLOCKS, Sixteen};
use crate::Real;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};

/// Part of a kernel that works on `H` heads and `B` blocks with everything in registers.
trait Kernel<T: Real> {
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, head: usize, block: usize);
}

/// Cuts heads × blocks into tiles.
#[inline(always)]
fn tiles<T: Real, I: InstructionSet>(simd: I, kernel: &mut impl Kernel<T>, heads: usize, blocks: usize) {
    let (mut head, mut block);
    block = 0;
    while block < blocks {
        // Sixteen sums need the registers of a wide instruction set.
        let wide = I::WIDE && block + STRIP_BLOCKS <= blocks;
        head = 0;
        while head < heads {
            let four = head + 4 <= heads;
            match (four, wide) {
                (true, true) => kernel.tile::<I, 4, STRIP_BLOCKS>(simd, head, block),
                (true, false) => kernel.tile::<I, 4, 1>(simd, head, block),
                (false, true) => kernel.tile::<I, 1, STRIP_BLOCKS>(simd, head, block),
                (false, false) => kernel.tile::<I, 1, 1>(simd, head, block),
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
    simd: I,
    weights: &[Sixteen<T>],
    stride: usize,
    (head, block): (usize, usize),
) -> [[I::Lanes<T>; B]; H] {
    let mut loaded = [[simd.splat(T::ZERO); B]; H];
    for (h, loaded) in loaded.iter_mut().enumerate() {
        for (b, loaded) in loaded.iter_mut().enumerate() {
            *loaded = simd.load(&weights[(head + h) * stride + block + b]);
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
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, head: usize, block: usize) {
        let size = self.word_size;
        let blocks: [_; B] = rows(self.contents, block, size);
        let vectors: [_; H] = rows(self.vectors, head, size);
        let zero = simd.splat(T::ZERO);
        let mut sums = [[zero; B]; H];
        for j in 0..size {
            let mut numbers = [zero; B];
            for b in 0..B {
                numbers[b] = simd.load(&blocks[b][j]);
            }
            for h in 0..H {
                let factor = simd.splat(vectors[h][j]);
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
    pub fn products<T, simd: I>(
        word_size: usize,
        contents: &[Sixteen<T>],
        vectors: &[T],
        products: &mut [Sixteen<T>],
        stride: usize,
    ) {
        let (heads, blocks) = (vectors.len() / word_size, contents.len() / word_size);
        tiles(simd, &mut Products { word_size, contents, vectors, products, stride }, heads, blocks);
    }
}

struct Squares<'a, T> {
    word_size: usize,
    contents: &'a [Sixteen<T>],
    squares: &'a mut [Sixteen<T>],
}

impl<T: Real> Kernel<T> for Squares<'_, T> {
    #[inline(always)]
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, _: usize, block: usize) {
        let size = self.word_size;
        let blocks: [_; B] = rows(self.contents, block, size);
        let mut sums = [simd.splat(T::ZERO); B];
        for j in 0..size {
            for b in 0..B {
                let numbers = simd.load(&blocks[b][j]);
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
    pub fn squares<T, simd: I>(word_size: usize, contents: &[Sixteen<T>], squares: &mut [Sixteen<T>]) {
        tiles(simd, &mut Squares { word_size, contents, squares }, 1, contents.len() / word_size);
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
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, head: usize, block: usize) {
        let size = self.word_size;
        let one = simd.splat(T::ONE);
        let vectors: [_; H] = rows(self.vectors, head, size);
        let weights = load_weights::<T, I, H, B>(simd, self.weights, self.stride, (head, block));
        let contents = &mut self.contents[block * size..][..B * size];
        for j in 0..size {
            let mut factors = [one; H];
            for h in 0..H {
                factors[h] = simd.splat(if ERASE { -vectors[h][j] } else { vectors[h][j] });
            }
            for b in 0..B {
                let place = &mut contents[b * size + j];
                let mut numbers = simd.load(place);
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
    pub fn spread<T, simd: I>(
        word_size: usize,
        contents: &mut [Sixteen<T>],
        weights: &[Sixteen<T>],
        stride: usize,
        vectors: &[T],
    ) {
        let (heads, blocks) = (vectors.len() / word_size, contents.len() / word_size);
        tiles(simd, &mut Write::<T, false> { word_size, contents, weights, stride, vectors }, heads, blocks);
    }
}

vector_fn! {
    /// M(i) ← M(i) Π_h (1 - w_h(i) e_h), number by number, for every word of a strip. `weights` holds those of head h
    /// from `h * stride` on.
    pub fn erase<T, simd: I>(
        word_size: usize,
        contents: &mut [Sixteen<T>],
        weights: &[Sixteen<T>],
        stride: usize,
        erases: &[T],
    ) {
        let (heads, blocks) = (erases.len() / word_size, contents.len() / word_size);
        tiles(simd, &mut Write::<T, true> { word_size, contents, weights, stride, vectors: erases }, heads, blocks);
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
    pub fn finish<I: InstructionSet>(&self, simd: I, head: usize, sum: &mut [T]) {
        for (sum, partial) in sum.iter_mut().zip(&self.partial[head * self.word_size..]) {
            *sum = simd.load(partial).sum();
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
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, head: usize, block: usize) {
        let size = self.word_size;
        let zero = simd.splat(T::ZERO);
        let blocks: [_; B] = rows(self.contents, block, size);
        let weights = load_weights::<T, I, H, B>(simd, self.weights, self.stride, (head, block));
        let sums = &mut self.sums[head * size..][..H * size];
        for j in 0..size {
            let mut numbers = [zero; B];
            for b in 0..B {
                numbers[b] = simd.load(&blocks[b][j]);
            }
            for h in 0..H {
                let total = &mut sums[h * size + j];
                let mut sum = simd.load(total);
                for b in 0..B {
                    sum = weights[h][b].multiply_add(numbers[b], sum);
                }
                sum.store(total);
            }
        }
    }
}

vector_fn! {
    fn run_add<T, simd: I>(kernel: &mut Add<'_, T>, heads: usize, blocks: usize) {
        tiles(simd, kernel, heads, blocks);
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
    fn tile<I: InstructionSet, const H: usize, const B: usize>(&mut self, simd: I, head: usize, block: usize) {
        let size = self.word_size;
        let one = simd.splat(T::ONE);
        let erases: [_; H] = rows(self.erases, head, size);
        let sums = &mut self.sums[head * size..][..H * size];
        for b in block..block + B {
            let left = &self.left[b * size..][..size];
            let (mut weights, mut gradients) = ([one; H], [one; H]);
            for h in 0..H {
                weights[h] = simd.load(&self.weights[(head + h) * self.stride + b]);
                gradients[h] = simd.load(&self.weight_gradients[(head + h) * self.stride + b]);
            }
            for j in 0..size {
                let (mut factors, mut others) = ([one; H], [one; H]);
                // What the heads before each leave, then times what those after it leave.
                let mut product = simd.load(&left[j]);
                for h in 0..H {
                    factors[h] = simd.splat(-erases[h][j]);
                    others[h] = product;
                    product = product.multiply(factors[h].multiply_add(weights[h], one));
                }
                product = one;
                for h in (0..H).rev() {
                    let other = others[h].multiply(product);
                    product = product.multiply(factors[h].multiply_add(weights[h], one));
                    gradients[h] = factors[h].multiply_add(other, gradients[h]);
                    let sum = &mut sums[h * size + j];
                    weights[h].multiply_add(other, simd.load(sum)).store(sum);
                }
            }
            for h in 0..H {
                gradients[h].store(&mut self.weight_gradients[(head + h) * self.stride + b]);
            }
        }
    }
}

vector_fn! {
    fn run_erase_back<T, simd: I>(kernel: &mut EraseBack<'_, T>, heads: usize, blocks: usize) {
        tiles(simd, kernel, heads, blocks);
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
    /// Starts the backward pass, for `heads` erase vectors of `word_size` numbers.
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
    pub fn finish<I: InstructionSet>(&self, simd: I, head: usize, gradient: &mut [T]) {
        for (gradient, partial) in gradient.iter_mut().zip(&self.sums[head * self.word_size..]) {
            // M (1 - w e) has the derivative -M w in e.
            *gradient = -simd.load(partial).sum();
        }
    }
}

/// Σ xᵢ over whole blocks of sixteen numbers.
#[inline(always)]
pub fn sum<T: Real, I: InstructionSet>(simd: I, numbers: &[T]) -> T {
    let mut sums = simd.splat(T::ZERO);
    for numbers in numbers.as_chunks::<LANES>().0 {
        sums = sums.add(simd.load(numbers));
    }
    sums.sum()
}
