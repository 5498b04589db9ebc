//! From similarities to weights: the norm in a cosine, and the softmax with its gradient.

use crate::Real;
use crate::index::EPSILON;
use crate::kernels::lanes::LANES;
use crate::kernels::simd::InstructionSet;
use crate::kernels::vector::dot;

/// √(v·v + ε).
#[inline(always)]
pub fn norm<T: Real>(square: T) -> T {
    (square + T::from_f64(EPSILON)).sqrt()
}

/// Turns logits into weights that sum to one.
#[inline(always)]
pub fn softmax<T: Real>(values: &mut [T]) {
    let largest = values.iter().fold(T::NEG_INFINITY, |a, b| a.max(*b));
    let mut sum = T::ZERO;
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    let scale = T::ONE / sum;
    for value in values.iter_mut() {
        *value *= scale;
    }
}

/// [`softmax`] of each of several rows of `length` logits. Their exponentials are computed side by side: sixteen take hardly longer
/// than one. Logits of -∞ have the weight 0.
#[inline(always)]
pub fn softmax_rows<T: Real>(values: &mut [T], length: usize) {
    for row in values.chunks_exact_mut(length) {
        let largest = row.iter().fold(T::NEG_INFINITY, |a, b| a.max(*b));
        for value in row {
            *value -= largest;
        }
    }
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for value in chunk {
            *value = value.exp();
        }
    }
    for value in rest {
        *value = value.exp();
    }
    for row in values.chunks_exact_mut(length) {
        let mut sum = T::ZERO;
        for value in row.iter() {
            sum += *value;
        }
        let scale = T::ONE / sum;
        for value in row {
            *value *= scale;
        }
    }
}

/// Turns the gradient of weights into that of the logits they came from.
#[inline(always)]
pub fn softmax_back<T: Real, I: InstructionSet>(simd: I, weights: &[T], gradient: &mut [T]) {
    let mean = dot(simd, weights, gradient);
    for (gradient, weight) in gradient.iter_mut().zip(weights) {
        *gradient = *weight * (*gradient - mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_at_once_are_as_row_by_row() {
        for (rows, length) in [(1, 1), (4, 4), (3, 7), (5, 20)] {
            let logits: Vec<f32> = (0..rows * length).map(|i| 9.0 * (i as f32 * 0.7).sin()).collect();
            let (mut at_once, mut row_by_row) = (logits.clone(), logits);
            softmax_rows(&mut at_once, length);
            row_by_row.chunks_exact_mut(length).for_each(softmax);
            assert_eq!(at_once, row_by_row);
        }
        let mut row = [1.0f64, f64::NEG_INFINITY];
        softmax_rows(&mut row, 2);
        assert_eq!(row, [1.0, 0.0]);
    }
}
