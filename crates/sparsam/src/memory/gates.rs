//! The two gates of a write, and their gradients: how much is written, and which of two kinds of words it goes to.

use crate::kernels::lanes::LANES;
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
    /// σ(α̂), but 0 where the write gate is shut.
    opening: T,
    /// λ, what a write costs.
    cost: T,
}

impl<T: Real> Gates<T> {
    /// α = max(0, σ(α̂) - τ) / (1 - τ) with τ the `threshold`, 0 as in the papers, and γ = σ(γ̂).
    #[inline(always)]
    pub fn new(write: T, interpolation: T, threshold: T) -> Self {
        Self::of_sigmoids(write.sigmoid(), interpolation.sigmoid(), threshold)
    }

    /// Those of σ(α̂) and γ.
    #[inline(always)]
    fn of_sigmoids(sigmoid: T, interpolation: T, threshold: T) -> Self {
        // What is not a number stays so.
        let opening = if sigmoid <= threshold { T::ZERO } else { sigmoid };
        let write = if sigmoid <= threshold { T::ZERO } else { (sigmoid - threshold) / (T::ONE - threshold) };
        Self { write, interpolation, opening, cost: T::ZERO }
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

    /// The gradients of α̂ and γ̂, given Σ a(i) G(i) and Σ b(i) G(i) with G the gradient of w. What the write costs is
    /// part of them.
    #[inline(always)]
    pub fn back(self, over_first: T, over_second: T) -> (T, T) {
        let Self { write, interpolation, opening, cost } = self;
        let over_write = interpolation * over_first + (T::ONE - interpolation) * over_second + cost;
        let over_interpolation = write * (over_first - over_second);
        (over_write * opening * (T::ONE - write), over_interpolation * interpolation * (T::ONE - interpolation))
    }
}

/// The gates of the heads that write and the strengths of those that read, computed side by side: sixteen numbers take hardly
/// longer than one.
#[derive(Debug, Default)]
pub struct AllGates<T> {
    /// σ(α̂) and γ of each head that writes, then σ(β̂) of each that reads, filled up to whole [`LANES`].
    sigmoids: Vec<T>,
    /// β of each head that reads, filled up to whole [`LANES`].
    strengths: Vec<T>,
    writers: usize,
    /// τ, below which a write gate is shut.
    pub threshold: T,
    /// λ, what a write costs.
    cost: T,
}

impl<T: Real> AllGates<T> {
    /// For write gates with this threshold, whose writes cost so much.
    pub fn new(threshold: f64, cost: f64) -> Self {
        Self { threshold: T::from_f64(threshold), cost: T::from_f64(cost), ..Self::default() }
    }

    /// Takes α̂ and γ̂ of each head that writes, and β̂ of each that reads.
    #[inline(always)]
    pub fn set(&mut self, gates: impl Iterator<Item = [T; 2]>, strengths: impl Iterator<Item = T>) {
        let Self { sigmoids, strengths: all, writers, .. } = self;
        sigmoids.clear();
        for gates in gates {
            sigmoids.extend_from_slice(&gates);
        }
        *writers = sigmoids.len() / 2;
        all.clear();
        for strength in strengths {
            sigmoids.push(strength);
            all.push(strength);
        }
        sigmoids.resize(sigmoids.len().next_multiple_of(LANES), T::ZERO);
        all.resize(all.len().next_multiple_of(LANES), T::ZERO);
        for chunk in sigmoids.as_chunks_mut::<LANES>().0 {
            for value in chunk {
                *value = value.sigmoid();
            }
        }
        for chunk in all.as_chunks_mut::<LANES>().0 {
            for value in chunk {
                *value = value.oneplus();
            }
        }
    }

    /// Those of a head that writes.
    #[inline(always)]
    pub fn of(&self, writer: usize) -> Gates<T> {
        let gates = Gates::of_sigmoids(self.sigmoids[2 * writer], self.sigmoids[2 * writer + 1], self.threshold);
        Gates { cost: self.cost, ..gates }
    }

    /// β = oneplus(β̂) of a head that reads.
    #[inline(always)]
    pub fn strength(&self, head: usize) -> T {
        self.strengths[head]
    }

    /// The derivative of β with respect to β̂.
    #[inline(always)]
    pub fn strength_slope(&self, head: usize) -> T {
        self.sigmoids[2 * self.writers + head]
    }
}
