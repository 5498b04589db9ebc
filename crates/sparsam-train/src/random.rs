//! Random numbers that are the same on every machine, in every version and after every resume.

use std::ops::RangeInclusive;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What random numbers are drawn for. Streams of one seed have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Sequences trained on.
    Training,
    /// Sequences that training evaluates on.
    Validation,
    /// Sequences that a finished network is evaluated on.
    Evaluation,
    /// Levels of the batches of a curriculum.
    Levels,
    /// Hidden units that the output does not see while a sequence is trained on.
    Dropout,
    /// Time steps at which the input is to be reproduced while a sequence is trained on.
    Refreshing,
}

/// The random numbers of one sequence.
///
/// They follow from a seed, a stream and the sequence's number alone, so that any sequence can be made without those
/// before it: resuming needs a counter and nothing else.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The random numbers of sequence `number` in a stream.
    pub fn new(seed: u64, stream: Stream, number: u64) -> Self {
        let mut state = 0;
        for part in [seed, stream as u64, number] {
            state = mix(state ^ part);
        }
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            state = mix(state);
            word.copy_from_slice(&state.to_le_bytes());
        }
        Self(Xoshiro256PlusPlus::from_seed(bytes))
    }

    /// A number uniform among all of 64 bits.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number uniform in 0..`end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        if end == 0 {
            return 0;
        }
        // Numbers of the last, incomplete run of `end` would come up too often.
        let runs = u64::MAX / end * end;
        loop {
            let number = self.0.next_u64();
            if number < runs {
                return (number % end) as usize;
            }
        }
    }

    /// A whole number uniform in `range`; its start if it is empty.
    pub fn within(&mut self, range: &RangeInclusive<usize>) -> usize {
        range.start() + self.below((range.end() + 1).saturating_sub(*range.start()))
    }

    /// `count` different whole numbers of 0..`end`, in random order; all of them if there are fewer.
    pub fn distinct(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..end).collect();
        for place in 0..count.min(end) {
            let other = place + self.below(end - place);
            numbers.swap(place, other);
        }
        numbers.truncate(count);
        numbers
    }

    /// Fills with 0 and 1, equally likely.
    pub fn bits(&mut self, bits: &mut [f32]) {
        for bits in bits.chunks_mut(64) {
            let number = self.0.next_u64();
            for (place, bit) in bits.iter_mut().enumerate() {
                *bit = (number >> (63 - place) & 1) as f32;
            }
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014) after its increment: a bijection without visible structure.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_seed_stream_and_number_alone() {
        let first = |seed, stream, number| Random::new(seed, stream, number).0.next_u64();
        assert_eq!(first(1, Stream::Training, 7), first(1, Stream::Training, 7));
        let others = [
            first(1, Stream::Training, 7),
            first(2, Stream::Training, 7),
            first(1, Stream::Validation, 7),
            first(1, Stream::Evaluation, 7),
            first(1, Stream::Training, 8),
        ];
        for i in 0..others.len() {
            for j in 0..i {
                assert_ne!(others[i], others[j]);
            }
        }
    }

    #[test]
    fn numbers_never_change_with_a_version() {
        let mut random = Random::new(1, Stream::Training, 0);
        let drawn: Vec<usize> = (0..8).map(|_| random.below(1000)).collect();
        assert_eq!(drawn, [889, 250, 144, 418, 979, 13, 439, 78]);
    }

    #[test]
    fn numbers_are_uniform() {
        let mut random = Random::new(3, Stream::Training, 0);
        let mut counts = [0; 6];
        for _ in 0..60_000 {
            counts[random.within(&(2..=7)) - 2] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let mut bits = vec![0.0; 100_000];
        random.bits(&mut bits);
        let ones = bits.iter().filter(|bit| **bit == 1.0).count();
        assert!(bits.iter().all(|bit| *bit == 0.0 || *bit == 1.0) && (49_000..51_000).contains(&ones), "{ones}");
        let mean = (0..10_000).map(|_| random.unit()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        let mut counts = [[0; 5]; 3];
        for _ in 0..10_000 {
            let drawn = random.distinct(3, 5);
            assert!(drawn[0] != drawn[1] && drawn[0] != drawn[2] && drawn[1] != drawn[2]);
            (0..3).for_each(|place| counts[place][drawn[place]] += 1);
        }
        assert!(counts.as_flattened().iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        assert_eq!((random.distinct(9, 2).len(), random.distinct(1, 0).len()), (2, 0));
    }
}
