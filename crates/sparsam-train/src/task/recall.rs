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
    /// Associative recall (Graves et al. 2014, section 4.3): after a list of items and one of them again as a query, give
    /// the item that followed it.
    ///
    /// An item is a few random vectors of bits, after an item delimiter. Then the query, between two query delimiters:
    /// any item but the last. Then, while the inputs are zero, the outputs are to be the vectors of the item that followed
    /// the queried one. The delimiters have input channels of their own. A level is the number of items.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Recall {
        /// Bits in a vector.
        pub bits: usize = 6, in 1..=LARGEST_BITS;
        /// Vectors in an item.
        pub item_length: usize = 3, in 1..=LARGEST;
        /// Items in the shortest list.
        pub min_items: usize = 3, in 2..=LARGEST;
        /// Items in the longest list.
        pub max_items: usize = 6, in 2..=LARGEST;
    }
}

impl Options for Recall {
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
        check_option("min_items", self.min_items, 2..=self.max_items)
    }

    fn build(&self, _: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        Ok(Box::new(self.clone()))
    }
}

impl Task for Recall {
    fn name(&self) -> &'static str {
        "recall"
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
        ChannelNames::of_bits(self.bits, ["item delimiter", "query delimiter"])
    }

    fn level_unit(&self) -> &'static str {
        "items"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.min_items..=self.max_items
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        2..=LARGEST
    }

    fn steps(&self, level: usize) -> usize {
        level * (1 + self.item_length) + 2 * self.item_length + 2
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let (bits, item_delimiter, query_delimiter) = (self.bits, self.bits, self.bits + 1);
        let Draw { level, mut random, .. } = draw;
        let queried = random.below(level - 1);
        // Only the item queried and the one after it are needed again.
        let mut item = vec![0.0; self.item_length * bits];
        let (mut query, mut answer) = (item.clone(), item.clone());
        let mut parts = 0..level + 1;
        Box::new(move |sequence| {
            let Some(part) = parts.next() else { return false };
            if part < level {
                sequence.step()[item_delimiter] = 1.0;
                for vector in item.chunks_exact_mut(bits) {
                    random.bits(vector);
                    sequence.step()[..bits].copy_from_slice(vector);
                }
                if part == queried {
                    query.copy_from_slice(&item);
                } else if part == queried + 1 {
                    answer.copy_from_slice(&item);
                }
            } else {
                sequence.step()[query_delimiter] = 1.0;
                for vector in query.chunks_exact(bits) {
                    sequence.step()[..bits].copy_from_slice(vector);
                    sequence.set_question();
                }
                sequence.step()[query_delimiter] = 1.0;
                for vector in answer.chunks_exact(bits) {
                    sequence.step_with_bits(vector);
                }
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
    fn outputs_are_the_item_after_the_queried_one() {
        let task = Recall::default().build(Given::default()).unwrap();
        let mut queried_items = [0; 4];
        for number in 0..100 {
            let mut sequence = task.sequence();
            task.generate(Draw::new(&(4..=4), 1, Stream::Training, number), &mut sequence);
            assert_eq!(sequence.steps(), 4 * 4 + 5 + 3);
            let vectors = |first: usize| (first..first + 3).map(|step| sequence.input(step)[..6].to_vec());
            for item in 0..4 {
                assert_eq!(sequence.input(4 * item), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
            }
            for step in [16, 20] {
                assert_eq!(sequence.input(step), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
            }
            let queried = (0..4).find(|item| vectors(4 * item + 1).eq(vectors(17))).unwrap();
            queried_items[queried] += 1;
            for step in 0..21 {
                assert_eq!(sequence.bits(step), None);
                // Vectors of the list can be reproduced; delimiters say nothing, and the query asks.
                let of_list = step < 16 && step % 4 > 0;
                let shown = (step % 4 > 0).then(|| Target::Bits(&sequence.input(step)[..6]));
                assert_eq!(task.reproduced(sequence.input(step)), shown);
                assert_eq!(shown.is_some() && !sequence.is_question(step), of_list, "{step}");
            }
            for (step, vector) in vectors(4 * (queried + 1) + 1).enumerate() {
                assert_eq!(sequence.bits(21 + step), Some(&vector[..]));
                assert_eq!(sequence.input(21 + step), [0.0; 8]);
            }
        }
        assert!(queried_items[..3].iter().all(|times| *times > 15) && queried_items[3] == 0, "{queried_items:?}");
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (recall, field) in [
            (Recall { bits: 0, ..Default::default() }, "bits"),
            (Recall { item_length: 0, ..Default::default() }, "item_length"),
            (Recall { min_items: 1, ..Default::default() }, "min_items"),
            (Recall { min_items: 9, ..Default::default() }, "min_items"),
            (Recall { max_items: usize::MAX, ..Default::default() }, "max_items"),
        ] {
            let error = recall.check().err().unwrap().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
