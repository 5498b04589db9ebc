//! Words to measure an index on.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Words in a cluster, on average.
const WORDS_IN_CLUSTER: u64 = 200;
/// Standard deviation of a word's numbers around its cluster's centre, whose own have standard deviation 1.
const WITHIN: f64 = 0.3;
/// Length of what is added to a word to ask for it, as a share of the distance between the centres of two clusters.
const NOISE: f64 = 0.1;

/// How words lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// In clusters of about 200, as a memory of things that come again does.
    Clustered,
    /// Every number normal and independent of the others: without any structure, the hardest there is.
    Gaussian,
}

/// Words without end, each made from its number alone, all different.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    distribution: Distribution,
    clusters: u64,
    seed: u64,
}

impl Sample {
    /// Words for a memory of `memory_size` of them.
    pub fn new(distribution: Distribution, memory_size: usize, seed: u64) -> Self {
        Self { distribution, clusters: (memory_size as u64 / WORDS_IN_CLUSTER).max(1), seed }
    }

    /// Writes the word of a number.
    pub fn word(&self, number: u64, word: &mut [f32]) {
        let mut random = self.random(0, number);
        match self.distribution {
            Distribution::Gaussian => normal(&mut random, word, |number, normal| *number = normal as f32),
            Distribution::Clustered => {
                let cluster = random.next_u64() % self.clusters;
                normal(&mut self.random(1, cluster), word, |number, normal| *number = normal as f32);
                normal(&mut random, word, |number, normal| *number += (WITHIN * normal) as f32);
            }
        }
    }

    /// Moves a word a little, as a query for it does: by a tenth of the distance between the centres of two clusters.
    pub fn near(&self, number: u64, word: &mut [f32]) {
        // Two centres differ by √2 a number on average.
        let deviation = NOISE * std::f64::consts::SQRT_2;
        normal(&mut self.random(2, number), word, |number, normal| *number += (deviation * normal) as f32);
    }

    fn random(&self, purpose: u64, number: u64) -> Xoshiro256PlusPlus {
        let mixed = (number ^ purpose << 62).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed;
        Xoshiro256PlusPlus::seed_from_u64(mixed)
    }
}

/// Hands a normal number to each number of a word (Box and Muller 1958).
fn normal(random: &mut impl Rng, word: &mut [f32], mut take: impl FnMut(&mut f32, f64)) {
    let mut unit = || ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    for pair in word.chunks_mut(2) {
        let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
        take(&mut pair[0], radius * angle.cos());
        if let Some(second) = pair.get_mut(1) {
            take(second, radius * angle.sin());
        }
    }
}
