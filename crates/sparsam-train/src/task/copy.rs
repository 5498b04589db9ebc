use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use sparsam::option::Declared;

use super::{
    ChannelNames, Channels, Draw, Given, LARGEST, LARGEST_BITS, Options, Source, Task, check_option,
    vector_without_flags,
};
use crate::Error;
use crate::sequence::Target;

sparsam::options! {
    /// Copy (Graves et al. 2014, section 4.1): after a sequence of random vectors of bits, repeat it.
    ///
    /// A start flag, the vectors, an end flag; then, while the inputs are zero, the outputs are to be the vectors in their
    /// order. The flags have input channels of their own. A level is the number of vectors.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Copy {
        /// Bits in a vector.
        pub bits: usize = 8, in 1..=LARGEST_BITS;
        /// Vectors in the shortest sequence.
        pub min_length: usize = 1, in 1..=LARGEST;
        /// Vectors in the longest sequence.
        pub max_length: usize = 20, in 1..=LARGEST;
    }
}

impl Options for Copy {
    fn batches(&self) -> u64 {
        40_000
    }

    // It is learnt within a few thousand batches.
    fn evaluate_every(&self) -> u64 {
        250
    }

    fn until(&self) -> f64 {
        0.01
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        check_option("min_length", self.min_length, 1..=self.max_length)
    }

    fn build(&self, _: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        Ok(Box::new(self.clone()))
    }
}

impl Task for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn channels(&self) -> Channels {
        Channels::of_bits(self.bits)
    }

    fn reproduces_inputs(&self) -> bool {
        true
    }

    fn reproduced<'a>(&self, input: &'a [f32]) -> Option<Target<'a>> {
        vector_without_flags(input)
    }

    fn channel_names(&self) -> ChannelNames {
        ChannelNames::of_bits(self.bits, ["start flag", "end flag"])
    }

    fn level_unit(&self) -> &'static str {
        "vectors"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.min_length..=self.max_length
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=LARGEST
    }

    fn steps(&self, level: usize) -> usize {
        2 * level + 2
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let (bits, start_flag, end_flag) = (self.bits, self.bits, self.bits + 1);
        let Draw { level, mut random, .. } = draw;
        // The same random numbers give the vectors a second time, so that none has to be kept.
        let mut again = random.clone();
        let mut vector = vec![0.0; bits];
        let mut steps = 0..2 * level + 2;
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            if step == 0 {
                sequence.step()[start_flag] = 1.0;
            } else if step <= level {
                random.bits(&mut vector);
                sequence.step()[..bits].copy_from_slice(&vector);
            } else if step == level + 1 {
                sequence.step()[end_flag] = 1.0;
            } else {
                again.bits(&mut vector);
                sequence.step_with_bits(&vector);
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
    fn outputs_repeat_inputs() {
        let task = Copy::default().build(Given::default()).unwrap();
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(3..=3), 1, Stream::Training, 1), &mut sequence);
        assert_eq!(sequence.steps(), 8);
        assert_eq!(sequence.input(0), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(sequence.input(4), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        for step in 0..5 {
            assert_eq!(sequence.bits(step), None);
            // What is shown can be reproduced; a flag says nothing.
            let shown = (1..4).contains(&step).then(|| Target::Bits(&sequence.input(step)[..8]));
            assert_eq!(task.reproduced(sequence.input(step)), shown);
        }
        for step in 0..3 {
            assert_eq!(sequence.bits(5 + step), Some(&sequence.input(1 + step)[..8]));
            assert_eq!(sequence.input(1 + step)[8..], [0.0, 0.0]);
            assert_eq!(sequence.input(5 + step), [0.0; 10]);
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (copy, field) in [
            (Copy { bits: 0, ..Default::default() }, "bits"),
            (Copy { bits: usize::MAX, ..Default::default() }, "bits"),
            (Copy { min_length: 21, ..Default::default() }, "min_length"),
            (Copy { min_length: 0, ..Default::default() }, "min_length"),
            (Copy { max_length: usize::MAX, ..Default::default() }, "max_length"),
        ] {
            let error = copy.check().err().unwrap().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
