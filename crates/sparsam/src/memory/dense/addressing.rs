//! Content addressing over all words, with and without masks.

use std::ops::Range;

use super::kernels::{Sums, products, spread, squares, sum};
use super::layout::{Layout, STRIP, STRIP_BLOCKS, Sixteen};
use crate::Real;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::InstructionSet;
use crate::kernels::vector::dot;
use crate::memory::softmax::norm;

/// Content addressing over all words for several keys at once: w_h = softmax over i of β_h cos(q_h, M(i)).
///
/// [`start`](Self::start), then [`strip`](Self::strip) for every strip in order, then [`finish`](Self::finish).
/// The exponentials are taken strip by strip against the largest logit so far, and put right at the end, so that one
/// pass over the memory is enough; [`rescale`](Self::rescale) tells by how much sums of weighted words that grow
/// alongside have to shrink when the largest logit grows.
///
/// The backward pass: [`start_back`](Self::start_back), [`strip_back`](Self::strip_back) for every strip,
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
    pub fn start<'a, I: InstructionSet>(
        &mut self,
        simd: I,
        word_size: usize,
        heads: impl Iterator<Item = (&'a [T], T)>,
    ) {
        self.word_size = word_size;
        self.keys.clear();
        self.key_norms.clear();
        self.strengths.clear();
        for (key, strength) in heads {
            self.keys.extend_from_slice(key);
            self.key_norms.push(norm(dot(simd, key, key)));
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
        simd: I,
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
            let mut largest = simd.splat(self.largest[head]);
            for logit in logits.iter_mut() {
                *logit *= *strength;
            }
            for logits in logits.as_chunks::<LANES>().0 {
                largest = simd.load(logits).larger(largest);
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
            self.totals[head] = self.totals[head] * rescale + sum(simd, weights);
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

    /// Starts the backward pass, with the keys and strengths that [`start`](Self::start) was given.
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
        simd: I,
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
            self.strength_gradients[head] += dot(simd, gradients, cosines);
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
            let scale = simd.load(over_content);
            let contents = &contents[block * self.word_size..][..self.word_size];
            let gradients = &mut content_gradients[block * self.word_size..][..self.word_size];
            for (gradient, content) in gradients.iter_mut().zip(contents) {
                scale.multiply_add(simd.load(content), simd.load(gradient)).store(gradient);
            }
        }
        spread(self.word_size, content_gradients, logit_gradients, stride, &self.keys);
    }

    /// The gradient of one head's key, written to `key_gradient`, and of its strength, returned.
    #[inline(always)]
    pub fn finish_back<I: InstructionSet>(&self, simd: I, head: usize, key_gradient: &mut [T]) -> T {
        self.key_sums.finish(simd, head, key_gradient);
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
        simd: I,
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
            self.heads[count].start(simd, word_size, std::iter::once((&*masked, strength)));
            count += 1;
        }
        self.heads.truncate(count);
        self.contents.resize(STRIP_BLOCKS * word_size, [T::ZERO; LANES]);
        self.gradients.resize(STRIP_BLOCKS * word_size, [T::ZERO; LANES]);
    }

    #[inline(always)]
    fn mask_strip<I: InstructionSet>(&mut self, simd: I, head: usize, contents: &[Sixteen<T>]) {
        let mask = &self.masks[head * self.word_size..][..self.word_size];
        let words = contents.chunks_exact(self.word_size).zip(self.contents.chunks_exact_mut(self.word_size));
        for (contents, masked) in words {
            for ((content, masked), mask) in contents.iter().zip(masked).zip(mask) {
                simd.splat(*mask).multiply(simd.load(content)).store(masked);
            }
        }
    }

    /// As [`Addressing::strip`].
    #[inline(always)]
    pub fn strip<I: InstructionSet>(
        &mut self,
        simd: I,
        layout: Layout,
        blocks: &Range<usize>,
        contents: &[Sixteen<T>],
        weights: &mut [Sixteen<T>],
    ) {
        for head in 0..self.heads.len() {
            self.mask_strip(simd, head, contents);
            let weights = &mut weights[head * layout.blocks()..];
            self.heads[head].strip(simd, layout, blocks, &self.contents[..contents.len()], weights);
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
        simd: I,
        contents: &[Sixteen<T>],
        logit_gradients: &mut [Sixteen<T>],
        stride: usize,
        content_gradients: &mut [Sixteen<T>],
    ) {
        let size = self.word_size;
        for head in 0..self.heads.len() {
            self.mask_strip(simd, head, contents);
            let gradients = &mut self.gradients[..contents.len()];
            gradients.fill([T::ZERO; LANES]);
            let masked = &self.contents[..contents.len()];
            self.heads[head].strip_back(simd, masked, &mut logit_gradients[head * stride..], stride, gradients);
            let (masks, sums) = (&self.masks[head * size..][..size], &mut self.mask_sums[head * size..][..size]);
            for block in (0..contents.len()).step_by(size) {
                for j in 0..size {
                    let gradient = simd.load(&gradients[block + j]);
                    let of_content = &mut content_gradients[block + j];
                    let mask = simd.splat(masks[j]);
                    mask.multiply_add(gradient, simd.load(of_content)).store(of_content);
                    let content = simd.load(&contents[block + j]);
                    gradient.multiply_add(content, simd.load(&sums[j])).store(&mut sums[j]);
                }
            }
        }
    }

    /// The gradient of one head's key and mask, written to `key_gradient` and `mask_gradient`, and of its strength,
    /// returned.
    #[inline(always)]
    pub fn finish_back<I: InstructionSet>(
        &self,
        simd: I,
        head: usize,
        key_gradient: &mut [T],
        mask_gradient: &mut [T],
    ) -> T {
        let size = self.word_size;
        let strength_gradient = self.heads[head].finish_back(simd, 0, key_gradient);
        for j in 0..size {
            let (key, mask) = (self.keys[head * size + j], self.masks[head * size + j]);
            mask_gradient[j] = simd.load(&self.mask_sums[head * size + j]).sum() + key * key_gradient[j];
            key_gradient[j] *= mask;
        }
        strength_gradient
    }
}
