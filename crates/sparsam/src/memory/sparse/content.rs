//! Content addressing: weights by cosine similarity to a key, sharpened by a strength.
//!
//! Forward and backward stand side by side. Symbols: q key, β strength, M(i) word, w weight, r read vector.

use crate::Real;
use crate::index::EPSILON;
use crate::kernels::simd::InstructionSet;
use crate::kernels::vector::{add_scaled, axpby, axpy, dot, dot_and_square};
use crate::memory::softmax::{norm, softmax_back};

/// Words that are addressed by their content.
pub trait Contents<T> {
    /// The content of a word.
    fn content(&self, word: u32) -> &[T];

    /// The content of a word and the gradient of its content, if it has one.
    fn content_and_gradient(&mut self, word: u32) -> (&[T], Option<&mut [T]>) {
        (self.content(word), None)
    }
}

/// The cosines of the `chosen` words to the key, and the logits β cos of their weights, w = softmax(β cos) over just those words.
#[inline(always)]
pub fn compare<T: Real, I: InstructionSet>(
    simd: I,
    words: &impl Contents<T>,
    chosen: &[u32],
    key: &[T],
    strength: T,
    cosines: &mut [T],
    logits: &mut [T],
) {
    let key_norm = norm(dot(simd, key, key));
    for ((word, cosine), logit) in chosen.iter().zip(cosines.iter_mut()).zip(logits.iter_mut()) {
        let (product, square) = dot_and_square(simd, key, words.content(*word));
        *cosine = product / (key_norm * norm(square));
        *logit = strength * *cosine;
    }
}

/// The gradient of the weights w = softmax(β cos): takes theirs (and overwrites it), adds to those of the words' contents
/// and of the key, and returns that of the strength.
#[inline(always)]
pub fn address_back<T: Real, I: InstructionSet>(
    simd: I,
    words: &mut impl Contents<T>,
    chosen: &[u32],
    key: &[T],
    strength: T,
    cosines: &[T],
    weights: &[T],
    weight_gradient: &mut [T],
    key_gradient: &mut [T],
) -> T {
    softmax_back(simd, weights, weight_gradient);
    let key_square = dot(simd, key, key) + T::from_f64(EPSILON);
    let key_norm = key_square.sqrt();
    let mut strength_gradient = T::ZERO;
    let mut key_scale = T::ZERO;
    for ((word, cosine), gradient) in chosen.iter().zip(cosines).zip(weight_gradient.iter()) {
        strength_gradient += *gradient * *cosine;
        let cosine_gradient = strength * *gradient;
        let (content, content_gradient) = words.content_and_gradient(*word);
        let square = dot(simd, content, content) + T::from_f64(EPSILON);
        let per_product = cosine_gradient / (key_norm * square.sqrt());
        axpy(simd, key_gradient, per_product, content);
        key_scale += cosine_gradient * *cosine;
        if let Some(content_gradient) = content_gradient {
            axpby(simd, content_gradient, per_product, key, -(cosine_gradient * *cosine / square), content);
        }
    }
    axpy(simd, key_gradient, -(key_scale / key_square), key);
    strength_gradient
}

/// As [`compare`], through a mask: w = softmax(β cos(q ⊙ m, M(i) ⊙ m)) (Csordás and Schmidhuber 2019, arXiv 1904.10278,
/// section 3.1). `squares` holds m ⊙ m, which is all that the cosine needs of the mask.
#[inline(always)]
pub fn compare_masked<T: Real>(
    words: &impl Contents<T>,
    chosen: &[u32],
    key: &[T],
    squares: &[T],
    strength: T,
    cosines: &mut [T],
    logits: &mut [T],
) {
    for ((word, cosine), logit) in chosen.iter().zip(cosines.iter_mut()).zip(logits.iter_mut()) {
        let (product, key_square, square) = masked_products(key, words.content(*word), squares);
        *cosine = product / (norm(key_square) * norm(square));
        *logit = strength * *cosine;
    }
}

/// Appends m ⊙ m, with m = σ(m̂) and `mask` m̂, to `squares`.
#[inline(always)]
pub fn squares_of<T: Real>(mask: &[T], squares: &mut Vec<T>) {
    squares.extend(mask.iter().map(|logit| {
        let mask = logit.sigmoid();
        mask * mask
    }));
}

/// The gradient of m̂, given that of m ⊙ m.
#[inline(always)]
pub fn squares_back<T: Real>(mask: &[T], squares_gradient: &[T], mask_gradient: &mut [T]) {
    for ((logit, gradient), of_logit) in mask.iter().zip(squares_gradient).zip(mask_gradient) {
        let mask = logit.sigmoid();
        *of_logit = (mask + mask) * *gradient * mask * (T::ONE - mask);
    }
}

/// As [`address_back`], through a mask; adds to the gradient of `squares` too.
#[inline(always)]
pub fn address_masked_back<T: Real, I: InstructionSet>(
    simd: I,
    words: &mut impl Contents<T>,
    chosen: &[u32],
    key: &[T],
    squares: &[T],
    strength: T,
    cosines: &[T],
    weights: &[T],
    weight_gradient: &mut [T],
    key_gradient: &mut [T],
    squares_gradient: &mut [T],
) -> T {
    softmax_back(simd, weights, weight_gradient);
    let mut strength_gradient = T::ZERO;
    for ((word, cosine), gradient) in chosen.iter().zip(cosines).zip(weight_gradient.iter()) {
        strength_gradient += *gradient * *cosine;
        let cosine_gradient = strength * *gradient;
        let (content, mut content_gradient) = words.content_and_gradient(*word);
        let (_, key_square, square) = masked_products(key, content, squares);
        let per_product = cosine_gradient / (norm(key_square) * norm(square));
        let per_key = cosine_gradient * *cosine / (key_square + T::from_f64(EPSILON));
        let per_content = cosine_gradient * *cosine / (square + T::from_f64(EPSILON));
        let half = T::from_f64(0.5);
        for i in 0..key.len() {
            let (q, v, m) = (key[i], content[i], squares[i]);
            key_gradient[i] += m * (per_product * v - per_key * q);
            squares_gradient[i] += per_product * q * v - half * (per_key * q * q + per_content * v * v);
            if let Some(content_gradient) = &mut content_gradient {
                content_gradient[i] += m * (per_product * q - per_content * v);
            }
        }
    }
    strength_gradient
}

/// Σ m² q v, Σ m² q², Σ m² v².
#[inline(always)]
fn masked_products<T: Real>(key: &[T], content: &[T], squares: &[T]) -> (T, T, T) {
    let mut sums = (T::ZERO, T::ZERO, T::ZERO);
    for ((q, v), m) in key.iter().zip(content).zip(squares) {
        sums.0 += *m * *q * *v;
        sums.1 += *m * *q * *q;
        sums.2 += *m * *v * *v;
    }
    sums
}

/// r = Σ w(i) M(i).
#[inline(always)]
pub fn read<T: Real, I: InstructionSet>(
    simd: I,
    words: &impl Contents<T>,
    chosen: &[u32],
    weights: &[T],
    read: &mut [T],
) {
    read.fill(T::ZERO);
    for (word, weight) in chosen.iter().zip(weights) {
        axpy(simd, read, *weight, words.content(*word));
    }
}

/// The gradient of [`read`]: adds to those of the weights and of the words' contents.
#[inline(always)]
pub fn read_back<T: Real, I: InstructionSet>(
    simd: I,
    words: &mut impl Contents<T>,
    chosen: &[u32],
    weights: &[T],
    read_gradient: &[T],
    weight_gradient: &mut [T],
) {
    for ((word, weight), gradient) in chosen.iter().zip(weights).zip(weight_gradient) {
        let (content, content_gradient) = words.content_and_gradient(*word);
        *gradient += dot(simd, read_gradient, content);
        if let Some(content_gradient) = content_gradient {
            axpy(simd, content_gradient, *weight, read_gradient);
        }
    }
}

/// [`address_back`] and [`read_back`] where words are read by the weights with which they are addressed: adds to the gradients of the
/// words' contents and of the key, takes that of the weights from later steps and leaves its own numbers there, and returns that
/// of the strength. `squares` is for its own use.
#[inline(always)]
pub fn address_and_read_back<T: Real, I: InstructionSet>(
    simd: I,
    words: &mut impl Contents<T>,
    chosen: &[u32],
    key: &[T],
    strength: T,
    cosines: &[T],
    weights: &[T],
    read_gradient: &[T],
    weight_gradient: &mut [T],
    key_gradient: &mut [T],
    squares: &mut Vec<T>,
) -> T {
    squares.clear();
    for (word, gradient) in chosen.iter().zip(weight_gradient.iter_mut()) {
        let (product, square) = dot_and_square(simd, read_gradient, words.content(*word));
        *gradient += product;
        squares.push(square + T::from_f64(EPSILON));
    }
    softmax_back(simd, weights, weight_gradient);
    let key_square = dot(simd, key, key) + T::from_f64(EPSILON);
    let key_norm = key_square.sqrt();
    let mut strength_gradient = T::ZERO;
    let mut key_scale = T::ZERO;
    let pairs = chosen.iter().zip(squares.iter()).zip(cosines.iter().zip(weights)).zip(weight_gradient.iter());
    for (((word, square), (cosine, weight)), gradient) in pairs {
        strength_gradient += *gradient * *cosine;
        let cosine_gradient = strength * *gradient;
        let per_product = cosine_gradient / (key_norm * square.sqrt());
        let per_content = -(cosine_gradient * *cosine / *square);
        key_scale += cosine_gradient * *cosine;
        let (content, content_gradient) = words.content_and_gradient(*word);
        axpy(simd, key_gradient, per_product, content);
        if let Some(content_gradient) = content_gradient {
            add_scaled(simd, content_gradient, [*weight, per_content, per_product], [read_gradient, content, key]);
        }
    }
    axpy(simd, key_gradient, -(key_scale / key_square), key);
    strength_gradient
}
