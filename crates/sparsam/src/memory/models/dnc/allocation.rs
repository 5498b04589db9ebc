//! Which words are free to be written: retention of what was read, and allocation by usage.

use crate::Real;
use crate::index::EPSILON;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::InstructionSet;
use crate::memory::dense::Sixteen;

/// The words by rising usage, as far as allocation reaches.
#[derive(Debug, Default)]
pub struct Order<T> {
    /// u' of every word.
    usage: Vec<T>,
    /// All words; those that allocation reaches come first, by rising usage.
    words: Vec<u32>,
    /// Words that allocation reaches.
    reached: usize,
    /// Π_{i<j} u'(φ_i) for each of these.
    products: Vec<T>,
}

impl<T: Real> Order<T> {
    /// Sorts no further than to where the product of usages leaves the number type's range: all words after that are
    /// allocated exactly nothing.
    #[inline(always)]
    pub fn sort(&mut self, usage: &[T]) {
        let epsilon = T::from_f64(EPSILON);
        self.usage.clear();
        self.usage.extend(usage.iter().map(|u| epsilon + (T::ONE - epsilon) * *u));
        self.words.clear();
        self.words.extend(0..usage.len() as u32);
        self.products.clear();
        self.reached = 0;
        let usage = &self.usage;
        let by_usage =
            |a: &u32, b: &u32| usage[*a as usize].to_f64().total_cmp(&usage[*b as usize].to_f64()).then(a.cmp(b));
        let mut product = T::ONE;
        let mut count = 16;
        while self.reached < self.words.len() && product != T::ZERO {
            let left = &mut self.words[self.reached..];
            if count < left.len() {
                left.select_nth_unstable_by(count - 1, by_usage);
            }
            let next = count.min(left.len());
            left[..next].sort_unstable_by(by_usage);
            for word in &left[..next] {
                self.products.push(product);
                product *= usage[*word as usize];
            }
            self.reached += next;
            count *= 4;
        }
    }

    /// a(φ_j) = (1 - u'(φ_j)) Π_{i<j} u'(φ_i).
    #[inline(always)]
    pub fn allocate(&self, allocation: &mut [T]) {
        allocation.fill(T::ZERO);
        for (word, product) in self.words[..self.reached].iter().zip(&self.products) {
            allocation[*word as usize] = (T::ONE - self.usage[*word as usize]) * *product;
        }
    }

    /// Adds the gradient of the usage that that of the allocation makes.
    #[inline(always)]
    pub fn allocate_back(&self, allocation_gradient: &[T], usage_gradient: &mut [T]) {
        let scale = T::ONE - T::from_f64(EPSILON);
        // Σ_{j>k} da(φ_j) (1 - u'(φ_j)) Π_{k<i<j} u'(φ_i): no division by a usage that may be next to nothing.
        let mut later = T::ZERO;
        for (word, product) in self.words[..self.reached].iter().zip(&self.products).rev() {
            let word = *word as usize;
            let (usage, gradient) = (self.usage[word], allocation_gradient[word]);
            usage_gradient[word] += scale * *product * (later - gradient);
            later = gradient * (T::ONE - usage) + usage * later;
        }
    }
}

/// ψ = Π_r (1 - f_r w_r).
#[inline(always)]
pub fn retain<T: Real>(free: &[T], read: &[Sixteen<T>], retention: &mut [Sixteen<T>]) {
    retention.fill([T::ONE; LANES]);
    for (free, read) in free.iter().zip(read.chunks_exact(retention.len())) {
        for (retention, read) in retention.iter_mut().zip(read) {
            for lane in 0..LANES {
                retention[lane] *= T::ONE - *free * read[lane];
            }
        }
    }
}

/// The gradient of [`retain`] for one head: adds to that of all heads' weights, and returns that of the free gate.
#[inline(always)]
pub fn retain_back<T: Real, I: InstructionSet>(
    simd: I,
    free: &[T],
    head: usize,
    read: &[Sixteen<T>],
    retention_gradient: &[Sixteen<T>],
    read_gradient: &mut [Sixteen<T>],
) -> T {
    let blocks = retention_gradient.len();
    let one = simd.splat(T::ONE);
    let minus = simd.splat(-T::ONE);
    let minus_free = simd.splat(-free[head]);
    let mut lost = simd.splat(T::ZERO);
    for block in 0..blocks {
        // The product over the others, and not a quotient: a word may be freed entirely.
        let mut gradient = simd.load(&retention_gradient[block]);
        for (other, free) in free.iter().enumerate() {
            if other != head {
                let weights = simd.load(&read[other * blocks + block]);
                gradient = gradient.multiply(simd.splat(-*free).multiply_add(weights, one));
            }
        }
        lost = gradient.multiply_add(simd.load(&read[head * blocks + block]), lost);
        let of_read = &mut read_gradient[head * blocks + block];
        minus_free.multiply_add(gradient, simd.load(of_read)).store(of_read);
    }
    minus.multiply(lost).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn allocation_sorts_as_far_as_it_reaches(usage in proptest::collection::vec(0u8..=20, 1..200)) {
            let usage: Vec<f32> = usage.iter().map(|u| f32::from(*u) / 20.0).collect();
            let mut order = Order::default();
            order.sort(&usage);
            let mut allocation = vec![f32::NAN; usage.len()];
            order.allocate(&mut allocation);
            let epsilon = EPSILON as f32;
            let shifted: Vec<f32> = usage.iter().map(|u| epsilon + (1.0 - epsilon) * u).collect();
            let mut words: Vec<usize> = (0..usage.len()).collect();
            words.sort_by(|a, b| shifted[*a].total_cmp(&shifted[*b]));
            let mut product = 1.0;
            for word in words {
                prop_assert_eq!(allocation[word], (1.0 - shifted[word]) * product);
                product *= shifted[word];
            }
        }
    }
}
