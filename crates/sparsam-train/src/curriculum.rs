//! Sequences that grow as the network learns.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use sparsam::option::{ABOVE_0, Declared};

use crate::Error;
use crate::random::{Random, Stream};
use crate::task::Task;

sparsam::options! {
    /// A curriculum (Rae et al. 2016, section 4.3): each batch has a level of its own, uniform from the task's lowest up to h;
    /// h doubles whenever the mean loss over a number of episodes is below a threshold.
    ///
    /// The loss is counted in bits for each bit or class that is wanted, so that one threshold serves sequences of all
    /// lengths: 1 is what guessing a bit costs. A batch has one level, as in the paper, and all of its sequences are about as
    /// long, so that no thread waits for the one with the longest.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct CurriculumConfig {
        /// Draw each batch's level up to one that doubles as the network learns.
        ///
        /// Otherwise every sequence has a level of its own, from the task's fixed range.
        pub on: bool = false;
        /// Mean loss below which it doubles, in bits for each bit or class wanted.
        pub threshold: f64 = 0.01, in ABOVE_0;
        /// Sequences over which the mean is taken.
        pub episodes: u64 = 1000, in 1..=1 << 40;
        /// Highest level at first; 0: the task's.
        pub start: usize = 0;
        /// Highest level at last.
        ///
        /// The task's largest level, if that is lower. Before training starts it is made sure that sequences of this level fit
        /// the machine.
        pub end: usize = 4096;
        /// The learning rate is multiplied by (first / current highest level) to this power.
        ///
        /// 0 leaves it as it is; with 0.5 it halves with every second doubling. Long sequences take more precise weights, and
        /// smaller steps give them (ours).
        pub learning_rate_power: f64 = 0.0, in 0.0..=4.0;
    }
}

impl CurriculumConfig {
    /// Checks the options, those that do not depend on a task.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Ok(self.check_options()?)
    }

    /// The first h for a task, and the largest.
    ///
    /// # Errors
    /// [`Error::Option`] if the task has no such level, or they are in the wrong order.
    pub(crate) fn levels(&self, task: &dyn Task) -> Result<RangeInclusive<usize>, Error> {
        let (lowest, highest) = task.default_levels().into_inner();
        let possible = task.possible_levels();
        let end = self.end.min(*possible.end());
        let start = if self.start == 0 { highest.min(end) } else { self.start };
        let (unit, name) = (task.level_unit(), task.name());
        if possible.start() == possible.end() {
            let reason = format!("the sequences of {name} have no levels that a curriculum could raise; leave it out");
            return Err(Error::option("on", true, reason));
        }
        if start < lowest {
            let reason = format!("a curriculum of {name} draws from {lowest} {unit} on; choose at least that");
            let field = if self.start == 0 { "end" } else { "start" };
            return Err(Error::option(field, start, reason));
        }
        if end < start {
            let reason = format!("a curriculum of {name} that starts at {start} {unit} ends there or later");
            return Err(Error::option("end", end, reason));
        }
        Ok(start..=end)
    }
}

/// How far a curriculum has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curriculum {
    /// h: levels are drawn up to this one.
    pub level: usize,
    /// Sequences since the mean was last begun.
    episodes: u64,
    /// Batches since then.
    batches: u64,
    /// Sum of their losses, in bits for each bit or class wanted.
    loss: f64,
}

impl Curriculum {
    pub fn new(level: usize) -> Self {
        Self { level, ..Self::default() }
    }

    /// The level of a batch. It follows from the seed, the batch's number and h alone.
    pub fn draw(&self, lowest: usize, seed: u64, batch: u64) -> usize {
        Random::new(seed, Stream::Levels, batch).within(&(lowest..=self.level))
    }

    /// What the learning rate is multiplied by at this h, which was `first` at the start.
    pub fn learning_rate_factor(&self, config: &CurriculumConfig, first: usize) -> f64 {
        (first.max(1) as f64 / self.level.max(1) as f64).powf(config.learning_rate_power)
    }

    /// Takes the loss of a batch of so many sequences into account, in bits for each bit or class wanted.
    pub fn add(&mut self, config: &CurriculumConfig, end: usize, episodes: u64, loss: f64) {
        self.episodes += episodes;
        self.batches += 1;
        self.loss += loss;
        if self.episodes < config.episodes {
            return;
        }
        let mean = self.loss / self.batches as f64;
        let level = if mean < config.threshold { self.level.saturating_mul(2).min(end) } else { self.level };
        *self = Self::new(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskConfig;

    #[test]
    fn levels_double_when_the_mean_is_low_enough() {
        let config = CurriculumConfig { threshold: 0.1, episodes: 24, ..Default::default() };
        let mut curriculum = Curriculum::new(3);
        let mut levels = Vec::new();
        // The mean of each three batches counts, not that of any of them.
        for loss in [0.0, 0.2, 0.09, 0.0, 0.3, 0.01, 0.05, 0.05, 0.05, 0.0, 0.0, 0.0] {
            curriculum.add(&config, 10, 8, loss);
            levels.push(curriculum.level);
        }
        assert_eq!(levels, [3, 3, 6, 6, 6, 6, 6, 6, 10, 10, 10, 10]);
    }

    #[test]
    fn the_learning_rate_follows_the_level() {
        let factor = |level, power| {
            let config = CurriculumConfig { learning_rate_power: power, ..Default::default() };
            Curriculum::new(level).learning_rate_factor(&config, 4)
        };
        assert_eq!([factor(4, 0.5), factor(16, 0.5), factor(64, 0.5)], [1.0, 0.5, 0.25]);
        assert_eq!([factor(4, 0.0), factor(1 << 20, 0.0)], [1.0, 1.0]);
    }

    #[test]
    fn batches_draw_all_levels_alike() {
        let curriculum = Curriculum::new(6);
        let mut counts = [0; 4];
        for batch in 0..4000 {
            counts[curriculum.draw(3, 7, batch) - 3] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn levels_that_a_task_does_not_have_are_named() {
        let task = TaskConfig::by_name("recall").unwrap().build().unwrap();
        let levels = |start, end| CurriculumConfig { start, end, ..Default::default() }.levels(&*task);
        assert_eq!(levels(0, 4096).unwrap(), 6..=4096);
        assert_eq!(levels(3, 3).unwrap(), 3..=3);
        assert_eq!(levels(0, 4).unwrap(), 4..=4);
        assert_eq!(levels(0, usize::MAX).unwrap(), 6..=*task.possible_levels().end());
        for (start, end, named) in
            [(2, 100, "start = 2 does not work"), (9, 8, "end = 8 does not work"), (0, 2, "end = 2 does not work")]
        {
            let error = levels(start, end).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("recall"), "{error}");
        }
        for bad in [f64::NAN, 0.0, f64::INFINITY] {
            assert!(CurriculumConfig { threshold: bad, ..Default::default() }.check().is_err());
        }
        assert!(CurriculumConfig { episodes: 0, ..Default::default() }.check().is_err());
        for bad in [f64::NAN, -0.5, 5.0] {
            assert!(CurriculumConfig { learning_rate_power: bad, ..Default::default() }.check().is_err());
        }
    }
}
