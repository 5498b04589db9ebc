//! Batches of sequences.

use std::ops::RangeInclusive;

use crate::random::{Random, Stream};
use crate::sequence::{Guess, Sequence, Target, TargetKind, Targets};
use crate::task::{Draw, Task};

/// Sequences side by side, padded to the longest, as [`sparsam::Runner`] takes them: time step after time step, in each
/// step row after row.
#[derive(Clone, Debug)]
pub struct Batch {
    rows: usize,
    input_size: usize,
    output_size: usize,
    steps: usize,
    inputs: Vec<f32>,
    lengths: Vec<usize>,
    targets: Targets,
    /// The inputs that are to be reproduced, where some are.
    reproduced: Targets,
}

impl Batch {
    /// Room for batches of `rows` sequences, as yet of no time steps.
    pub fn new(rows: usize, input_size: usize, output_size: usize, kind: TargetKind) -> Self {
        let (inputs, lengths, targets) = (Vec::new(), vec![0; rows], Targets::new(kind));
        let reproduced = targets.clone();
        Self { rows, input_size, output_size, steps: 0, inputs, lengths, targets, reproduced }
    }

    /// Takes up to `rows` sequences, whose sizes and kind of targets must be the batch's. Rows that are left over
    /// have length 0.
    pub fn fill(&mut self, sequences: &[Sequence]) {
        let (rows, input_size, width) = (self.rows, self.input_size, self.output_size);
        self.steps = sequences.iter().map(Sequence::steps).max().unwrap_or(0);
        self.inputs.clear();
        self.inputs.resize(self.steps * rows * input_size, 0.0);
        self.targets.clear(self.steps * rows, width);
        self.reproduced.clear(0, width);
        self.lengths.fill(0);
        for (row, sequence) in sequences.iter().enumerate() {
            self.lengths[row] = sequence.steps();
            for step in 0..sequence.steps() {
                let place = step * rows + row;
                self.inputs[place * input_size..(place + 1) * input_size].copy_from_slice(sequence.input(step));
                self.targets.copy(place, sequence.targets(), step, width);
            }
        }
    }

    /// Draws the time steps at which the outputs are also to reproduce the inputs, for a batch of these sequences of a task: each
    /// step that has no target, asks nothing and whose input [can be reproduced](Task::reproduced), with this probability.
    /// `random` has the random numbers of each sequence.
    pub(crate) fn draw_reproduced(
        &mut self,
        task: &dyn Task,
        sequences: &[Sequence],
        probability: f64,
        random: impl Iterator<Item = Random>,
    ) {
        let (rows, width) = (self.rows, self.output_size);
        self.reproduced.clear(self.steps * rows, width);
        for ((row, sequence), mut random) in sequences.iter().enumerate().zip(random) {
            for step in 0..sequence.steps() {
                // Drawn at every step, so that what one step is does not change which others are drawn.
                let drawn = random.unit() < probability;
                if drawn
                    && sequence.target(step).is_none()
                    && !sequence.is_question(step)
                    && let Some(target) = task.reproduced(sequence.input(step))
                {
                    self.reproduced.set(step * rows + row, target, width);
                }
            }
        }
    }

    /// How many bits, classes or numbers of inputs are to be reproduced in the whole batch.
    pub(crate) fn wanted_again(&self) -> u64 {
        self.reproduced.wanted(self.output_size)
    }

    /// [`loss`](Self::loss) of reproducing the inputs that are to be.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub(crate) fn refreshing_loss(
        &self,
        outputs: &[f32],
        scale: f32,
        gradient: &mut [f32],
    ) -> Result<f64, sparsam::Error> {
        let result = self.reproduced.loss(0, outputs, self.output_size, scale, gradient);
        result.map_err(|error| self.named(error, outputs))
    }

    /// Rows, B.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Time steps of the longest sequence, T.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Inputs, T × B × I.
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// The length of each row's sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// What is wanted of a row at a time step; none if it has no target there, or has ended.
    pub fn target(&self, step: usize, row: usize) -> Option<Target<'_>> {
        self.targets.at(step * self.rows + row, self.output_size)
    }

    /// The loss of `outputs` (T × B × O) summed over the batch, in nats or, of numbers, in their squared unit; and `scale` ×
    /// its gradient in `gradient`.
    ///
    /// # Errors
    /// [`sparsam::Error::NotFinite`] names the time step and the row at which it is infinite or not a number;
    /// [`sparsam::Error::Shape`] if the outputs or the gradient are not those of this batch.
    pub fn loss(&self, outputs: &[f32], scale: f32, gradient: &mut [f32]) -> Result<f64, sparsam::Error> {
        let expected = self.steps * self.rows * self.output_size;
        if outputs.len() != expected {
            let shape = "time steps × rows × numbers of an output".into();
            return Err(sparsam::Error::Shape { what: "outputs", found: outputs.len(), expected, shape });
        }
        let result = self.targets.loss(0, outputs, self.output_size, scale, gradient);
        result.map_err(|error| self.named(error, outputs))
    }

    /// Adds the loss of each row's outputs to `losses`, in the units of [`loss`](Self::loss).
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub(crate) fn add_losses(&self, outputs: &[f32], losses: &mut [f64]) -> Result<(), sparsam::Error> {
        let width = self.output_size;
        let mut gradient = vec![0.0; width];
        for (place, output) in outputs.chunks_exact(width).enumerate() {
            let result = self.targets.loss(place, output, width, 0.0, &mut gradient);
            losses[place % self.rows] += result.map_err(|error| self.named(error, outputs))?;
        }
        Ok(())
    }

    /// Says at which time step of which row an output was not finite.
    fn named(&self, error: sparsam::Error, outputs: &[f32]) -> sparsam::Error {
        let place = outputs.iter().position(|output| !output.is_finite()).map(|number| number / self.output_size);
        match (error, place) {
            (sparsam::Error::NotFinite { value, .. }, Some(place)) => {
                let (step, row) = (place / self.rows + 1, place % self.rows);
                let what = format!("the output at time step {step} of sequence {row}");
                sparsam::Error::NotFinite { what, value }
            }
            (error, _) => error,
        }
    }

    /// How many bits, classes or numbers are wanted in the whole batch.
    pub fn wanted(&self) -> u64 {
        self.targets.wanted(self.output_size)
    }

    /// The loss of guessing all that is wanted, summed over the batch: in bits or, of numbers, in their squared unit.
    pub fn guessed(&self, guess: &Guess) -> f64 {
        self.targets.guessed(self.output_size, guess)
    }

    /// How many bits (a logit above 0 says 1) or classes (the largest logit) of `outputs` (T × B × O) are wrong in the
    /// whole batch; 0 of numbers.
    pub fn wrong(&self, outputs: &[f32]) -> u64 {
        let places = outputs.chunks_exact(self.output_size).enumerate();
        places.filter_map(|(place, output)| self.targets.wrong(place, output)).sum()
    }
}

/// Makes batches of a task's sequences, in buffers that it keeps.
#[derive(Clone, Debug)]
pub struct Sampler {
    sequences: Vec<Sequence>,
    batch: Batch,
}

impl Sampler {
    /// For batches of `rows` sequences.
    pub fn new(task: &dyn Task, rows: usize) -> Self {
        let batch = Batch::new(rows, task.input_size(), task.output_size(), task.target_kind());
        Self { sequences: vec![task.sequence(); rows], batch }
    }

    /// Makes the sequences of these `numbers` (as many as there are rows, or fewer) in a stream of a seed, each of a
    /// level drawn from `levels`, all of them possible ones.
    pub fn sample(
        &mut self,
        task: &dyn Task,
        levels: &RangeInclusive<usize>,
        seed: u64,
        stream: Stream,
        numbers: impl IntoIterator<Item = u64>,
    ) -> &Batch {
        let mut filled = 0;
        for (sequence, number) in self.sequences.iter_mut().zip(numbers) {
            sequence.clear();
            task.generate(Draw::new(levels, seed, stream, number), sequence);
            filled += 1;
        }
        self.batch.fill(&self.sequences[..filled]);
        &self.batch
    }

    /// [Draws](Batch::draw_reproduced) what is to be reproduced of the batch made last, whose sequences had these `numbers`.
    pub(crate) fn draw_reproduced(
        &mut self,
        task: &dyn Task,
        probability: f64,
        seed: u64,
        numbers: impl IntoIterator<Item = u64>,
    ) {
        let random = numbers.into_iter().map(|number| Random::new(seed, Stream::Refreshing, number));
        self.batch.draw_reproduced(task, &self.sequences, probability, random);
    }

    /// The batch made last.
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch made last, and nothing else.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_lie_side_by_side() {
        let mut short = Sequence::new(2, 1, TargetKind::Bits);
        short.step_with_bits(&[1.0])[0] = 5.0;
        let mut long = Sequence::new(2, 1, TargetKind::Bits);
        long.step().copy_from_slice(&[1.0, 2.0]);
        long.step_with_bits(&[0.0]).copy_from_slice(&[3.0, 4.0]);
        let mut batch = Batch::new(3, 2, 1, TargetKind::Bits);
        // Filled twice: nothing of the first may be left.
        batch.fill(&[long.clone(), long.clone(), long.clone()]);
        batch.fill(&[short, long]);
        assert_eq!((batch.steps(), batch.rows(), batch.lengths()), (2, 3, &[1, 2, 0][..]));
        assert_eq!(batch.inputs(), [5.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!((batch.target(0, 0), batch.target(0, 1)), (Some(Target::Bits(&[1.0])), None));
        assert_eq!((batch.target(1, 0), batch.target(1, 1)), (None, Some(Target::Bits(&[0.0]))));
        let mut gradient = [9.0; 6];
        let outputs = [-1.0, f32::NAN, 7.0, f32::NAN, 2.0, 7.0];
        let loss = batch.loss(&outputs, 1.0, &mut gradient).unwrap();
        assert!((loss - ((1.0 + 1f64.exp()).ln() + (1.0 + 2f64.exp()).ln())).abs() < 1e-6);
        assert_eq!((gradient[1], gradient[2], gradient[3], gradient[5]), (0.0, 0.0, 0.0, 0.0));
        let mut losses = [0.5, 0.0, 0.0];
        batch.add_losses(&outputs, &mut losses).unwrap();
        assert!((losses[0] - 0.5 - (1.0 + 1f64.exp()).ln()).abs() < 1e-6 && losses[2] == 0.0);
        assert!((losses[1] - (1.0 + 2f64.exp()).ln()).abs() < 1e-6);
        assert_eq!(batch.wrong(&outputs), 2);
        assert_eq!(batch.wrong(&[1.0, 1.0, 1.0, 1.0, -1.0, 1.0]), 0);
    }

    #[test]
    fn inputs_are_reproduced_where_they_are_drawn_and_nothing_is_wanted() {
        let task = crate::TaskConfig::Mqar(crate::task::Mqar { vocabulary: 30, values: 10, ..Default::default() });
        let task = task.build().unwrap();
        let batch = |probability| {
            let mut sampler = Sampler::new(&*task, 50);
            sampler.sample(&*task, &(4..=6), 1, Stream::Training, 0..50);
            sampler.draw_reproduced(&*task, probability, 1, 0..50);
            sampler.into_batch()
        };
        let (all, some) = (batch(1.0), batch(0.25));
        let mut could_be = 0;
        for step in 0..all.steps() {
            for row in 0..50 {
                let token = all.inputs()[step * 50 + row] as usize;
                // Of a sequence of P pairs the first 2P steps; what comes later asks or says nothing.
                let value = token >= 20 && step < all.lengths()[row] / 4;
                let expected = value.then(|| Target::Class(token - 20));
                assert_eq!(all.reproduced.at(step * 50 + row, 10), expected, "{step} {row}");
                let drawn = some.reproduced.at(step * 50 + row, 10);
                assert!(drawn.is_none() || drawn == expected);
                could_be += u64::from(value);
            }
        }
        assert_eq!(all.wanted_again(), could_be);
        assert!((some.wanted_again() as f64 / could_be as f64 - 0.25).abs() < 0.05);
        assert_eq!(batch(0.0).wanted_again(), 0);
        // A loss of its own, at these places alone.
        let (outputs, mut gradient) = (vec![0.0; some.steps() * 50 * 10], vec![1.0; some.steps() * 50 * 10]);
        let loss = some.refreshing_loss(&outputs, 0.5, &mut gradient).unwrap();
        assert!((loss - some.wanted_again() as f64 * 10f64.ln()).abs() < 1e-3);
        for (place, gradient) in gradient.chunks(10).enumerate() {
            assert_eq!(some.reproduced.at(place, 10).is_some(), gradient.iter().any(|x| *x != 0.0));
        }
        // The next batch has nothing of it.
        let mut sampler = Sampler::new(&*task, 2);
        sampler.sample(&*task, &(4..=6), 1, Stream::Training, 0..2);
        sampler.draw_reproduced(&*task, 1.0, 1, 0..2);
        assert_eq!(sampler.sample(&*task, &(4..=6), 1, Stream::Training, 2..4).wanted_again(), 0);
    }

    /// Says that such a target is to be reproduced.
    struct Says(TargetKind, Target<'static>);

    impl Task for Says {
        fn name(&self) -> &'static str {
            "says"
        }
        fn channels(&self) -> crate::Channels {
            crate::Channels { input_size: 1, output_size: 2, target_kind: self.0 }
        }
        fn level_unit(&self) -> &'static str {
            "steps"
        }
        fn steps(&self, level: usize) -> usize {
            level
        }
        fn start(&self, draw: Draw) -> crate::Source<'_> {
            let mut steps = 0..draw.level;
            Box::new(move |sequence| steps.next().map(|_| sequence.step()).is_some())
        }
        fn reproduces_inputs(&self) -> bool {
            true
        }
        fn reproduced<'a>(&self, _: &'a [f32]) -> Option<Target<'a>> {
            Some(self.1)
        }
    }

    #[test]
    fn what_no_output_can_say_is_not_reproduced() {
        for (kind, target, expected) in [
            (TargetKind::Bits, Target::Bits(&[1.0, 0.0]), None),
            (TargetKind::Bits, Target::Bits(&[1.0]), Some("a target has 1 numbers, and an output 2")),
            (TargetKind::Bits, Target::Numbers(&[1.0, 0.0]), Some("a target is of another kind than those beside it")),
            (TargetKind::Classes, Target::Class(1), None),
            (TargetKind::Classes, Target::Class(2), Some("class 2 of 2 classes")),
            (TargetKind::Classes, Target::Bits(&[1.0, 0.0]), Some("a target is of another kind than those beside it")),
        ] {
            let drawn = std::panic::catch_unwind(|| {
                let task = Says(kind, target);
                let mut sampler = Sampler::new(&task, 1);
                sampler.sample(&task, &(1..=1), 1, Stream::Training, 0..1);
                sampler.draw_reproduced(&task, 1.0, 1, 0..1);
            });
            let said = drawn.err().map(|panic| match panic.downcast::<String>() {
                Ok(said) => *said,
                Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
            });
            assert_eq!(said.as_deref(), expected);
        }
    }

    #[test]
    fn classes_are_counted_by_the_largest_logit() {
        let mut sequence = Sequence::new(1, 3, TargetKind::Classes);
        sequence.step();
        sequence.step_with_class(2);
        sequence.step_with_class(0);
        assert_eq!((sequence.class(0), sequence.class(1)), (None, Some(2)));
        let mut batch = Batch::new(1, 1, 3, TargetKind::Classes);
        batch.fill(&[sequence]);
        let outputs = [9.0, 0.0, 0.0, 1.0, 2.0, 3.0, 1.0, 1.0, 0.0];
        // A tie is no answer.
        assert_eq!(batch.wrong(&outputs), 1);
        let mut gradient = [1.0; 9];
        let loss = batch.loss(&[0.0; 9], 1.0, &mut gradient).unwrap();
        assert!((loss - 2.0 * 3f64.ln()).abs() < 1e-6);
        assert_eq!(gradient[..3], [0.0; 3]);
        let mut losses = [0.0];
        batch.add_losses(&[0.0; 9], &mut losses).unwrap();
        assert!((losses[0] - loss).abs() < 1e-12);
    }

    #[test]
    fn numbers_have_a_squared_error_and_are_never_wrong() {
        let mut sequence = Sequence::new(1, 2, TargetKind::Numbers);
        sequence.step();
        sequence.step_with_numbers(&[3.0, -0.5]);
        assert_eq!((sequence.numbers(0), sequence.bits(1)), (None, None));
        assert_eq!(sequence.numbers(1), Some(&[3.0, -0.5][..]));
        let mut batch = Batch::new(1, 1, 2, TargetKind::Numbers);
        batch.fill(&[sequence]);
        let mut gradient = [1.0; 4];
        let loss = batch.loss(&[9.0, 9.0, 1.0, 0.5], 0.25, &mut gradient).unwrap();
        assert_eq!((loss, gradient), (5.0, [0.0, 0.0, -1.0, 0.5]));
        assert_eq!((batch.wanted(), batch.wrong(&[9.0; 4])), (2, 0));
        assert_eq!(batch.guessed(&Guess::Numbers(vec![1.0, -0.5])), 4.0);
    }

    #[test]
    fn what_is_not_finite_is_named_by_time_step_and_row() {
        let mut sequence = Sequence::new(1, 2, TargetKind::Bits);
        sequence.step_with_bits(&[0.0, 1.0]);
        sequence.step_with_bits(&[0.0, 1.0]);
        let mut batch = Batch::new(2, 1, 2, TargetKind::Bits);
        batch.fill(&[sequence.clone(), sequence]);
        let outputs = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN];
        for error in [batch.loss(&outputs, 1.0, &mut [0.0; 8]).err(), batch.add_losses(&outputs, &mut [0.0; 2]).err()] {
            let error = error.unwrap().to_string();
            assert!(error.contains("time step 2 of sequence 1"), "{error}");
        }
    }
}
