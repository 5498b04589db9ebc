//! The two gates of a write, and their gradients: how much is written, and which of two kinds of words it goes to.

use crate::{Arrays, Real};

/// A write gate α and an interpolation gate γ between two weights a and b: w = α (γ a + (1-γ) b).
///
/// With Sparse Access Memory and its relatives a is what was read last, and b the least recently accessed word; with
/// the DNC a is the allocation, and b the words found by content.
#[derive(Clone, Copy, Debug)]
pub struct Gates<T> {
    /// α.
    pub write: T,
    /// γ.
    pub interpolation: T,
}

impl<T: Real> Gates<T> {
    /// α = σ(α̂) and γ = σ(γ̂).
    #[inline(always)]
    pub fn new(write: T, interpolation: T) -> Self {
        Self { write: write.sigmoid(), interpolation: interpolation.sigmoid() }
    }

    /// Puts the gates of several writes into `to`.
    pub fn trace(gates: &[Self], to: &mut Arrays<T>) {
        to.put_real("write_gates", &[gates.len()], gates.iter().map(|gates| gates.write).collect());
        to.put_real("interpolation_gates", &[gates.len()], gates.iter().map(|gates| gates.interpolation).collect());
    }

    /// αγ, the share of a.
    #[inline(always)]
    pub fn of_first(self) -> T {
        self.write * self.interpolation
    }

    /// α(1-γ), the share of b.
    #[inline(always)]
    pub fn of_second(self) -> T {
        self.write * (T::ONE - self.interpolation)
    }

    /// The gradients of α̂ and γ̂, given Σ a(i) G(i) and Σ b(i) G(i) with G the gradient of w.
    #[inline(always)]
    pub fn back(self, over_first: T, over_second: T) -> (T, T) {
        let Self { write, interpolation } = self;
        let over_write = interpolation * over_first + (T::ONE - interpolation) * over_second;
        let over_interpolation = write * (over_first - over_second);
        (over_write * write * (T::ONE - write), over_interpolation * interpolation * (T::ONE - interpolation))
    }
}
