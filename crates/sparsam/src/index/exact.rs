//! What approximate indexes need of the words themselves: their directions, and exact cosines.

use super::{EPSILON, Found};
use crate::kernels::simd::vector_fn;
use crate::kernels::vector::{dot, dot_and_square};

/// The word of a number in a memory with words of `size` numbers.
#[inline(always)]
pub(super) fn word_of<T>(contents: &[T], word: u32, size: usize) -> &[T] {
    &contents[word as usize * size..][..size]
}

vector_fn! {
    /// Writes v / √(v·v + ε), in single precision; what is not finite becomes 0.
    pub(super) fn direction<T, simd: I>(vector: &[T], direction: &mut [f32]) {
        let scale = T::ONE / (dot(simd, vector, vector) + T::from_f64(EPSILON)).sqrt();
        for (direction, number) in direction.iter_mut().zip(vector) {
            let number = (*number * scale).to_f64() as f32;
            *direction = if number.is_finite() { number } else { 0.0 };
        }
    }
}

vector_fn! {
    /// Offers words with their exact cosines to a query.
    pub(super) fn offer<T, simd: I>(
        contents: &[T], query: &[T], number: usize, words: &mut dyn Iterator<Item = u32>, found: &mut Found<T>,
    ) {
        let epsilon = T::from_f64(EPSILON);
        let scale = T::ONE / (dot(simd, query, query) + epsilon).sqrt();
        for word in words {
            found.compared += 1;
            let (product, square) = dot_and_square(simd, query, word_of(contents, word, query.len()));
            found.offer(number, word, product * scale / (square + epsilon).sqrt());
        }
    }
}
