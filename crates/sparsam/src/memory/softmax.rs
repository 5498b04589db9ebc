//! From similarities to weights: the norm in a cosine, and the softmax with its gradient.

use crate::Real;
use crate::index::EPSILON;
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

/// Turns the gradient of weights into that of the logits they came from.
#[inline(always)]
pub fn softmax_back<T: Real, I: InstructionSet>(simd: I, weights: &[T], gradient: &mut [T]) {
    let mean = dot(simd, weights, gradient);
    for (gradient, weight) in gradient.iter_mut().zip(weights) {
        *gradient = *weight * (*gradient - mean);
    }
}
