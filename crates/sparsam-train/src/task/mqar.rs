use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use sparsam::option::Declared;

use super::{ChannelNames, Channels, Draw, Given, LARGEST, Options, Source, Task, check_option};
use crate::sequence::{Sequence, Target, TargetKind};
use crate::{Error, Random};

sparsam::options! {
    /// Multi-query associative recall (Arora et al. 2023, "Zoology", definition 3.1): after pairs of a key and a value, every
    /// key comes once more, and at it its value is wanted.
    ///
    /// Inputs are tokens. The keys of a sequence are different ones; values are drawn independently, and each is a class.
    /// After the pairs come places for queries, of two time steps each: in those that are drawn a key comes at the first of
    /// them; all other time steps have any token, without a meaning. A place at distance x from the pairs is drawn with a
    /// probability proportional to x^(a − 1), a the [power](Self::gap_power), one after the other for the keys in their
    /// order. A level is the number of pairs.
    ///
    /// Two things are ours: there may be fewer values than keys, and outputs are of values alone.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Mqar {
        /// Tokens in all, keys and values.
        pub vocabulary: usize = 8192, in 2..=LARGEST;
        /// Tokens that are values, the last ones; all others are keys.
        pub values: usize = 64, in 1..=LARGEST;
        /// Pairs in the shortest sequence.
        pub min_pairs: usize = 4, in 1..=LARGEST;
        /// Pairs in the longest sequence.
        pub max_pairs: usize = 16, in 1..=LARGEST;
        /// Places for queries, for each pair.
        pub query_places: usize = 3, in 1..=1024;
        /// Power a of the distances of queries.
        ///
        /// Near 0 most queries come soon after the pairs, as in natural text; with 1 all places are equally likely.
        pub gap_power: f64 = 0.01, in 0.0..=1.0;
    }
}

impl Mqar {
    fn keys(&self) -> usize {
        self.vocabulary - self.values
    }

    /// A time step without a meaning.
    fn fill(&self, sequence: &mut Sequence, random: &mut Random) {
        sequence.step()[0] = random.below(self.vocabulary) as f32;
        sequence.set_question();
    }
}

impl Options for Mqar {
    fn batches(&self) -> u64 {
        20_000
    }

    fn evaluate_every(&self) -> u64 {
        250
    }

    fn until(&self) -> f64 {
        0.01
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        check_option("values", self.values, 1..=self.vocabulary - 1)?;
        check_option("max_pairs", self.max_pairs, 1..=self.keys())?;
        check_option("min_pairs", self.min_pairs, 1..=self.max_pairs)
    }

    fn build(&self, _: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        Ok(Box::new(self.clone()))
    }
}

impl Task for Mqar {
    fn name(&self) -> &'static str {
        "mqar"
    }

    fn channels(&self) -> Channels {
        Channels { input_size: 1, output_size: self.values, target_kind: TargetKind::Classes }
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary
    }

    fn reproduces_inputs(&self) -> bool {
        true
    }

    // Keys are no outputs.
    fn reproduced<'a>(&self, input: &'a [f32]) -> Option<Target<'a>> {
        (input[0] as usize).checked_sub(self.keys()).map(Target::Class)
    }

    fn channel_names(&self) -> ChannelNames {
        let outputs: Vec<String> = (0..self.values).map(|value| format!("value {value}")).collect();
        let keys = (0..self.keys()).map(|key| format!("key {key}"));
        ChannelNames { inputs: vec!["token".into()], tokens: keys.chain(outputs.iter().cloned()).collect(), outputs }
    }

    fn level_unit(&self) -> &'static str {
        "pairs"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.min_pairs..=self.max_pairs
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=self.keys()
    }

    fn steps(&self, level: usize) -> usize {
        2 * level * (1 + self.query_places)
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { level, mut random, .. } = draw;
        let keys = random.distinct(level, self.keys());
        let values: Vec<usize> = keys.iter().map(|_| random.below(self.values)).collect();
        let places = places(level, level * self.query_places, self.gap_power, &mut random);
        let mut parts = 0..level + places.len();
        Box::new(move |sequence| {
            let Some(part) = parts.next() else { return false };
            if let Some(key) = keys.get(part) {
                sequence.step()[0] = *key as f32;
                sequence.step()[0] = (self.keys() + values[part]) as f32;
                return true;
            }
            match places[part - level] {
                Some(pair) => sequence.step_with_class(values[pair])[0] = keys[pair] as f32,
                None => self.fill(sequence, &mut random),
            }
            self.fill(sequence, &mut random);
            true
        })
    }
}

/// Which of so many pairs is asked for at each place; none at most of them.
///
/// Drawing without replacement by weights w is taking the largest of ln(u) / w, u uniform, in their order (Efraimidis and
/// Spirakis 2006).
fn places(pairs: usize, places: usize, power: f64, random: &mut Random) -> Vec<Option<usize>> {
    let mut drawn: Vec<(f64, usize)> =
        (0..places).map(|place| (random.unit().ln() * ((place + 1) as f64).powf(1.0 - power), place)).collect();
    drawn.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut asked = vec![None; places];
    for (pair, (_, place)) in drawn.into_iter().take(pairs).enumerate() {
        asked[place] = Some(pair);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    fn sequence(task: &dyn Task, level: usize, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(level..=level), 1, Stream::Training, number), &mut sequence);
        sequence
    }

    #[test]
    fn every_key_comes_once_more_and_its_value_is_wanted() {
        let mqar = Mqar { vocabulary: 30, values: 10, ..Default::default() };
        let task = mqar.build(Given::default()).unwrap();
        for number in 0..100 {
            let sequence = sequence(&*task, 6, number);
            assert_eq!(sequence.steps(), 12 * 4);
            // What fills the places says nothing.
            let asks = |step: usize| step >= 12 && sequence.class(step).is_none();
            assert!((0..48).all(|step| sequence.is_question(step) == asks(step)));
            let token = |step: usize| sequence.input(step)[0] as usize;
            let pairs: Vec<_> = (0..6).map(|pair| (token(2 * pair), token(2 * pair + 1))).collect();
            assert!(pairs.iter().all(|(key, value)| *key < 20 && (20..30).contains(value)), "{pairs:?}");
            let mut asked: Vec<_> = (0..48)
                .filter_map(|step| {
                    let value = sequence.class(step)?;
                    assert!(step >= 12 && step % 2 == 0);
                    Some((token(step), 20 + value))
                })
                .collect();
            asked.sort_unstable();
            let mut expected = pairs;
            expected.sort_unstable();
            assert_eq!(asked, expected);
            expected.dedup_by_key(|(key, _)| *key);
            assert_eq!(expected.len(), 6, "a key comes twice");
        }
    }

    #[test]
    fn the_power_says_how_soon_queries_come() {
        let mean_place = |gap_power: f64| {
            let task = Mqar { gap_power, query_places: 9, ..Default::default() }.build(Given::default()).unwrap();
            let mut places = Vec::new();
            for number in 0..200 {
                let sequence = sequence(&*task, 8, number);
                places.extend(
                    (0..sequence.steps()).filter(|step| sequence.class(*step).is_some()).map(|step| step / 2 - 8),
                );
            }
            assert_eq!(places.len(), 1600);
            places.iter().sum::<usize>() as f64 / 1600.0
        };
        // Of 72 places, all equally likely; and those that are near.
        assert!((mean_place(1.0) - 35.5).abs() < 1.5, "{}", mean_place(1.0));
        assert!(mean_place(0.01) < 18.0, "{}", mean_place(0.01));
    }

    #[test]
    fn places_are_drawn_in_proportion_to_their_weights() {
        // One of three, with weights 1, 1/√2, 1/√3.
        let mut counts = [0.0; 3];
        for number in 0..20_000 {
            let asked = places(1, 3, 0.5, &mut Random::new(1, Stream::Training, number));
            counts[asked.iter().position(Option::is_some).unwrap()] += 1.0 / 20_000.0;
        }
        let weights = [1.0, 0.5f64.sqrt(), (1.0f64 / 3.0).sqrt()];
        for (count, weight) in counts.iter().zip(weights) {
            let expected = weight / weights.iter().sum::<f64>();
            assert!((count - expected).abs() < 0.012, "{count} {expected}");
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (mqar, field) in [
            (Mqar { vocabulary: 1, ..Default::default() }, "vocabulary"),
            (Mqar { values: 8192, ..Default::default() }, "values"),
            (Mqar { values: 0, ..Default::default() }, "values"),
            (Mqar { max_pairs: 8129, ..Default::default() }, "max_pairs"),
            (Mqar { min_pairs: 17, ..Default::default() }, "min_pairs"),
            (Mqar { query_places: 0, ..Default::default() }, "query_places"),
            (Mqar { gap_power: 1.5, ..Default::default() }, "gap_power"),
        ] {
            let error = mqar.check().err().unwrap().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
