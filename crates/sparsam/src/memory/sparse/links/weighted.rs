//! Words with weights, and the largest among them.

use crate::Real;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::InstructionSet;

/// Words with weights, the weights filled up with zeros to whole [`LANES`].
#[derive(Debug)]
pub struct Weighted<T> {
    pub words: Vec<u32>,
    pub weights: Vec<T>,
}

impl<T: Real> Weighted<T> {
    pub fn new() -> Self {
        Self { words: Vec::new(), weights: Vec::new() }
    }

    #[inline(always)]
    pub fn set(&mut self, pairs: impl Iterator<Item = (u32, T)>) {
        self.words.clear();
        self.weights.clear();
        for (word, weight) in pairs {
            self.words.push(word);
            self.weights.push(weight);
        }
        self.weights.resize(self.weights.len().next_multiple_of(LANES), T::ZERO);
    }

    #[inline(always)]
    pub fn each(&self) -> impl Iterator<Item = (u32, T)> {
        self.words.iter().copied().zip(self.weights.iter().copied())
    }
}

/// Whether an entry is larger than another, or as large and of the lower word.
#[inline(always)]
pub fn comes_before<T: Real>(one: (u32, T), other: (u32, T)) -> bool {
    (one.1 > other.1) | ((one.1 == other.1) & (one.0 < other.0))
}

/// Keeps the `limit` largest positive entries, largest first, ties to the lower word.
#[inline(always)]
pub fn keep_largest<T: Real, I: InstructionSet>(
    simd: I,
    entries: &Weighted<T>,
    limit: usize,
    kept: &mut Vec<(u32, T)>,
) {
    kept.clear();
    let (lanes, _) = entries.weights.as_chunks::<LANES>();
    // Of no fewer groups than are kept each has an entry that is no smaller than the least of their largest: what is
    // smaller than that need not be looked at.
    let mut bound = T::ZERO;
    if limit <= LANES {
        let all = lanes.iter().fold(simd.splat(T::ZERO), |all, lanes| all.larger(simd.load(lanes)));
        let mut groups = [T::ZERO; LANES];
        all.store(&mut groups);
        let mut count = LANES;
        while count > 1 && count / 2 >= limit {
            count /= 2;
            for group in 0..count {
                groups[group] = groups[group].max(groups[group + count]);
            }
        }
        bound = least(&groups[..count]);
    }
    for (number, lanes) in lanes.iter().enumerate() {
        for lane in ones(simd.load(lanes).at_least(bound)) {
            let Some(word) = entries.words.get(number * LANES + lane) else { break };
            let entry = (*word, lanes[lane]);
            if entry.1 > T::ZERO && (kept.len() < limit || comes_before(entry, kept[limit - 1])) {
                kept.truncate(limit - 1);
                kept.push(entry);
                let mut place = kept.len() - 1;
                while place > 0 && comes_before(entry, kept[place - 1]) {
                    kept[place] = kept[place - 1];
                    place -= 1;
                }
                kept[place] = entry;
            }
        }
    }
}

/// The places of a number's bits that are set, lowest first.
#[inline(always)]
pub fn ones(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// The smallest of at least one number.
#[inline(always)]
pub fn least<T: Real>(values: &[T]) -> T {
    let smaller = |one: T, other: T| if one < other { one } else { other };
    let (eights, rest) = values.as_chunks::<8>();
    let mut least = *rest.first().unwrap_or(&values[0]);
    for value in rest {
        least = smaller(*value, least);
    }
    for eight in eights {
        let mut lanes = *eight;
        for half in [4, 2, 1] {
            for lane in 0..half {
                lanes[lane] = smaller(lanes[lane], lanes[lane + half]);
            }
        }
        least = smaller(lanes[0], least);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::vector_fn;
    use proptest::prelude::*;

    vector_fn! {
        fn largest<T, simd: I>(entries: &Weighted<T>, limit: usize, kept: &mut Vec<(u32, T)>) {
            keep_largest(simd, entries, limit, kept);
        }
    }

    proptest! {
        #[test]
        fn the_largest_are_those_that_sorting_would_give(
            weights in proptest::collection::vec(0u8..12, 0..70), limit in 1usize..40,
        ) {
            // Few different weights: most are equal to another.
            let words = (0..weights.len() as u32).map(|word| word * 7 % 71);
            let mut expected: Vec<(u32, f32)> = words.zip(weights.iter().map(|weight| f32::from(*weight) / 8.0)).collect();
            let (mut entries, mut kept) = (Weighted::new(), Vec::new());
            entries.set(expected.iter().copied());
            largest(&entries, limit, &mut kept);
            expected.retain(|entry| entry.1 > 0.0);
            expected.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
            expected.truncate(limit);
            prop_assert_eq!(kept, expected);
        }
    }
}
