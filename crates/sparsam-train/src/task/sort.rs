use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use sparsam::option::Declared;

use super::{ChannelNames, Channels, Draw, Given, LARGEST, LARGEST_BITS, Options, Source, Task};
use crate::Error;
use crate::sequence::Target;

sparsam::options! {
    /// Priority sort (Graves et al. 2014, section 4.5): after random vectors of bits, each with a priority, give those of
    /// highest priority, highest first.
    ///
    /// Each vector comes with its priority, uniform in \[-1, 1\], on an input channel of its own. Then a flag on another;
    /// then, while the inputs are zero, the outputs are to be the top vectors in descending order of priority. A level is
    /// the number of vectors; the share of them that is wanted stays top / count.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Sort {
        /// Bits in a vector.
        pub bits: usize = 8, in 1..=LARGEST_BITS;
        /// Vectors in a sequence.
        pub count: usize = 20, in 1..=LARGEST;
        /// Vectors wanted.
        pub top: usize = 16, in 1..=LARGEST;
    }
}

impl Options for Sort {
    fn batches(&self) -> u64 {
        80_000
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        if self.top > self.count {
            let reason =
                format!("it needs a count of at least {}, not {}; lower top, or raise count", self.top, self.count);
            return Err(Error::option("top", self.top, reason));
        }
        Ok(())
    }

    fn build(&self, _: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        Ok(Box::new(self.clone()))
    }
}

impl Sort {
    fn top(&self, level: usize) -> usize {
        (level * self.top / self.count).max(1)
    }
}

impl Task for Sort {
    fn name(&self) -> &'static str {
        "sort"
    }

    fn channels(&self) -> Channels {
        Channels::of_bits(self.bits)
    }

    fn reproduces_inputs(&self) -> bool {
        true
    }

    // The priority is no output.
    fn reproduced<'a>(&self, input: &'a [f32]) -> Option<Target<'a>> {
        (input[self.bits + 1] == 0.0).then_some(Target::Bits(&input[..self.bits]))
    }

    fn channel_names(&self) -> ChannelNames {
        ChannelNames::of_bits(self.bits, ["priority", "end flag"])
    }

    fn level_unit(&self) -> &'static str {
        "vectors"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.count..=self.count
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=LARGEST
    }

    fn steps(&self, level: usize) -> usize {
        level + 1 + self.top(level)
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let (bits, priority_channel, end_flag) = (self.bits, self.bits, self.bits + 1);
        let Draw { level, mut random, .. } = draw;
        let mut vectors: Vec<f32> = Vec::new();
        let mut order: Vec<(f32, usize)> = Vec::new();
        let mut steps = 0..self.steps(level);
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            if step < level {
                vectors.resize((step + 1) * bits, 0.0);
                let vector = &mut vectors[step * bits..];
                random.bits(vector);
                let priority = (2.0 * random.unit() - 1.0) as f32;
                let input = sequence.step();
                input[..bits].copy_from_slice(vector);
                input[priority_channel] = priority;
                order.push((priority, step));
            } else if step == level {
                // Of equal priorities (as the network sees them) the earlier comes first.
                order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                sequence.step()[end_flag] = 1.0;
            } else {
                let (_, number) = order[step - level - 1];
                sequence.step_with_bits(&vectors[number * bits..(number + 1) * bits]);
            }
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    #[test]
    fn outputs_are_the_top_in_descending_order() {
        let task = Sort::default().build(Given::default()).unwrap();
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(20..=20), 1, Stream::Training, 1), &mut sequence);
        assert_eq!(sequence.steps(), 20 + 1 + 16);
        assert_eq!(sequence.input(20), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let mut vectors: Vec<&[f32]> = (0..20).map(|step| sequence.input(step)).collect();
        assert!(vectors.iter().all(|vector| (-1.0..=1.0).contains(&vector[8]) && vector[9] == 0.0));
        vectors.sort_by(|a, b| b[8].partial_cmp(&a[8]).unwrap());
        for step in 0..16 {
            assert_eq!(sequence.bits(21 + step), Some(&vectors[step][..8]));
            assert_eq!(sequence.input(21 + step), [0.0; 10]);
        }
        for step in 0..21 {
            assert_eq!(sequence.bits(step), None);
            // A vector can be reproduced, without its priority; the end flag says nothing.
            let shown = (step < 20).then(|| Target::Bits(&sequence.input(step)[..8]));
            assert_eq!(task.reproduced(sequence.input(step)), shown);
        }
    }

    #[test]
    fn the_share_that_is_wanted_stays() {
        let sort = Sort::default();
        assert_eq!([sort.top(1), sort.top(10), sort.top(40)], [1, 8, 32]);
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (sort, field) in [
            (Sort { bits: 0, ..Default::default() }, "bits"),
            (Sort { count: 0, ..Default::default() }, "count"),
            (Sort { top: 21, ..Default::default() }, "top"),
            (Sort { top: 0, ..Default::default() }, "top"),
        ] {
            let error = sort.check().err().unwrap().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        let error = Sort { count: 3, ..Default::default() }.check().err().unwrap().to_string();
        assert!(error.contains("top = 16") && error.contains("a count of at least 16, not 3"), "{error}");
    }
}
