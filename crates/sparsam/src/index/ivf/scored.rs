//! Numbers with their scores, and the best of them.

use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::vector_fn;

/// Scores that lie below the largest one by more than this are not told apart.
const RANGE: f32 = 1.0;
/// Nor are others that differ by less than this.
const RESOLUTION: f32 = 1.0 / 256.0;

/// Many numbers with their scores, in no order, of which the best are taken at once.
#[derive(Debug, Default)]
pub(super) struct Scored {
    pub scores: Vec<f32>,
    pub numbers: Vec<u32>,
}

impl Scored {
    pub fn clear(&mut self) {
        self.scores.clear();
        self.numbers.clear();
    }

    /// The best number; of equal ones the first.
    pub fn best(&self) -> u32 {
        let mut best = (f32::NEG_INFINITY, 0);
        for (score, number) in self.scores.iter().zip(&self.numbers) {
            if *score > best.0 {
                best = (*score, *number);
            }
        }
        best.1
    }

    /// Takes about the best `count` out, and writes them to `taken` with their scores, in no order: none that is left is
    /// better than one taken, but for scores that hardly differ. With `leave`, the others stay to be taken later.
    pub fn take_best(&mut self, count: usize, leave: bool, taken: &mut Vec<(f32, u32)>) {
        taken.clear();
        if self.scores.len() <= count {
            taken.extend(self.scores.iter().copied().zip(self.numbers.iter().copied()));
            self.clear();
        } else if count > 0 {
            take_best::<f32>(self, count, leave, taken);
        }
    }
}

vector_fn! {
    fn take_best<T, simd: I>(scored: &mut Scored, count: usize, leave: bool, taken: &mut Vec<(f32, u32)>) {
        let Scored { scores, numbers } = scored;
        let length = scores.len();
        scores.resize(length.next_multiple_of(LANES), f32::NEG_INFINITY);
        let (blocks, _) = scores.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        blocks.iter().fold(simd.load(&blocks[0]), |largest, block| largest.larger(simd.load(block))).store(&mut lanes);
        // Fewer than `count` reach `high`, and no fewer reach `low`.
        let largest = lanes.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
        let (mut low, mut high, mut above) = (f32::NEG_INFINITY, largest + RESOLUTION, 0);
        let mut width = RANGE;
        while width > RESOLUTION {
            width /= 2.0;
            let bound = high - width;
            let reaching = blocks.iter().map(|block| simd.load(block).at_least(bound).count_ones() as usize).sum();
            if reaching < count {
                (high, above) = (bound, reaching);
            } else {
                low = bound;
            }
        }
        let mut room = count - above;
        let mut takes = |score: f32| {
            let fits = score >= high || (score >= low && room > 0);
            room -= usize::from(fits && score < high);
            fits
        };
        if leave {
            let mut kept = 0;
            for place in 0..length {
                if takes(scores[place]) {
                    taken.push((scores[place], numbers[place]));
                } else {
                    scores[kept] = scores[place];
                    numbers[kept] = numbers[place];
                    kept += 1;
                }
            }
            scores.truncate(kept);
            numbers.truncate(kept);
            return;
        }
        for (first, block) in blocks.iter().enumerate() {
            let mut bits = simd.load(block).at_least(low);
            while bits != 0 {
                let place = first * LANES + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if place < length && takes(scores[place]) {
                    taken.push((scores[place], numbers[place]));
                }
            }
        }
        scored.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_are_taken_and_the_others_stay(
            scores in prop::collection::vec(0u8..50, 0..200), count in 0usize..60, again in 0usize..60,
        ) {
            let all: Vec<(f32, u32)> = scores.iter().zip(0..).map(|(score, number)| (f32::from(*score) / 50.0, number)).collect();
            let mut scored = Scored::default();
            (scored.scores, scored.numbers) = all.iter().copied().unzip();
            let mut sorted: Vec<f32> = all.iter().map(|entry| entry.0).collect();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let mut before = 0;
            let mut taken = Vec::new();
            for count in [count, again] {
                scored.take_best(count, true, &mut taken);
                prop_assert_eq!(taken.len(), count.min(all.len() - before));
                taken.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
                let scores: Vec<f32> = taken.iter().map(|entry| entry.0).collect();
                prop_assert_eq!(&scores[..], &sorted[before..before + taken.len()]);
                prop_assert!(taken.iter().all(|entry| all.contains(entry)));
                before += taken.len();
            }
            let mut left: Vec<(f32, u32)> = scored.scores.iter().copied().zip(scored.numbers.iter().copied()).collect();
            left.sort_unstable_by_key(|entry| entry.1);
            left.dedup();
            prop_assert_eq!(left.len(), all.len() - before);
            prop_assert!(left.iter().all(|entry| all.contains(entry)));
        }
    }
}
