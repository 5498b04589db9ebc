//! Locality-sensitive hashing by hyperplanes (Charikar 2002).

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::forest::{Forest, Rule, Split};
use crate::kernels::simd::vector_fn;
use crate::kernels::vector::dot;
use crate::{Error, Real};

const TABLES: usize = 8;
/// Words that a query is compared with, unless chosen otherwise.
pub(super) const CHECKS: usize = 256;
/// Hyperplanes of a table: the longest hash.
const HYPERPLANES: usize = 48;
const SEED: u64 = 0x6c73;

/// Hyperplane hashing in eight tables. A word's hash in a table says on which side of each of the table's hyperplanes
/// it lies; buckets are as many first bits of it as keep them small, so that each table is a prefix tree (Bawa et al.
/// 2005). A query looks into its own bucket of each table and then into those whose hyperplanes it is nearest to
/// (multi-probe, Lv et al. 2007). See [`Forest`].
///
/// Where words lie in clusters, about 90 in 100 of the four most similar words are found.
pub type Lsh<T> = Forest<T, Hyperplanes>;

/// Divides by hyperplanes, each table by its own ones in a fixed order.
#[derive(Debug)]
pub struct Hyperplanes {
    size: usize,
    /// The normal vectors, table after table.
    normals: Vec<f32>,
}

/// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers.
///
/// # Errors
/// [`Error::MemoryTooLarge`] if there is no address space for it.
pub(super) fn new<T: Real>(memory_size: usize, word_size: usize, checks: usize) -> Result<Lsh<T>, Error> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    // Sums of uniform numbers are near enough to normal ones.
    let mut normal = || (0..4).map(|_| (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).sum();
    let normals = (0..TABLES * HYPERPLANES * word_size).map(|_| normal()).collect();
    Forest::new(memory_size, word_size, TABLES, checks, Hyperplanes { size: word_size, normals })
}

vector_fn! {
    fn product<T, simd: I>(a: &[T], b: &[T]) -> T {
        dot(simd, a, b)
    }
}

impl Rule for Hyperplanes {
    fn feature(&self, feature: u32, direction: &[f32]) -> f32 {
        product(&self.normals[feature as usize * self.size..][..self.size], direction)
    }

    fn divide(&mut self, tree: usize, after: Option<Split>, directions: &[f32], size: usize) -> Option<Split> {
        let tables = tree * HYPERPLANES;
        let next = after.map_or(tables, |split| split.feature as usize + 1);
        (next..tables + HYPERPLANES).map(|feature| Split { feature: feature as u32, threshold: 0.0 }).find(|split| {
            let far = |direction: &[f32]| self.feature(split.feature, direction) >= 0.0;
            let first = far(&directions[..size]);
            directions.chunks_exact(size).any(|direction| far(direction) != first)
        })
    }

    fn reset(&mut self) {}
}
