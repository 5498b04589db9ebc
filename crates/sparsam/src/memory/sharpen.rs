//! Sharpened links, which the DNC and its sparse form have as an option.

use super::softmax::{softmax, softmax_back};
use crate::Real;
use crate::index::EPSILON;
use crate::kernels::simd::InstructionSet;

/// d(i) ← (d(i) + ε)^s / Σ_j (d(j) + ε)^s (Csordás and Schmidhuber 2019, arXiv 1904.10278, section 3.3), as a softmax of
/// logarithms, which no power can carry out of range.
#[inline(always)]
pub fn sharpen<T: Real>(raw: &[T], sharpness: T, sharp: &mut [T]) {
    for (sharp, raw) in sharp.iter_mut().zip(raw) {
        *sharp = sharpness * (raw.max(T::ZERO) + T::from_f64(EPSILON)).ln();
    }
    softmax(sharp);
}

/// The gradient of [`sharpen`]: turns that of the sharpened distribution into that of the raw one, and returns that of
/// the sharpness.
#[inline(always)]
pub fn sharpen_back<T: Real, I: InstructionSet>(
    simd: I,
    raw: &[T],
    sharpness: T,
    sharp: &[T],
    gradient: &mut [T],
) -> T {
    softmax_back(simd, sharp, gradient);
    let mut over_sharpness = T::ZERO;
    for (gradient, raw) in gradient.iter_mut().zip(raw) {
        let base = raw.max(T::ZERO) + T::from_f64(EPSILON);
        over_sharpness += *gradient * base.ln();
        *gradient *= sharpness / base;
    }
    over_sharpness
}
