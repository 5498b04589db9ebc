//! Sequences to be run over, as a caller has them.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::PADDING;
use crate::{Error, Real};

/// A batch of sequences for a [`Runner`](super::Runner): their inputs and lengths, and where in them rows start anew.
///
/// ```
/// use sparsam::{Network, NetworkConfig, Runner, Sequences};
///
/// # fn main() -> Result<(), sparsam::Error> {
/// let network = Network::<f32>::new(NetworkConfig::new(1, 1), 1)?;
/// let mut runner = Runner::new(&network, 1)?;
/// // Two episodes in one sequence of five steps: the second begins at step 3.
/// let (inputs, starts) = ([0.1, 0.2, 0.3, 0.1, 0.2], [false, false, false, true, false]);
/// let mut outputs = [0.0; 5];
/// runner.infer_sequences(&network, Sequences::new(&inputs, &[5]).with_starts(&starts), &mut outputs)?;
/// assert!((outputs[0] - outputs[3]).abs() < 1e-6 && (outputs[1] - outputs[4]).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a, T> {
    pub(super) inputs: &'a [T],
    pub(super) lengths: &'a [usize],
    pub(super) starts: Option<&'a [bool]>,
    pub(super) dropout: BypassDropout,
    pub(super) dropout_seeds: &'a [u64],
}

impl<'a, T> Sequences<'a, T> {
    /// `inputs` has T × rows × I elements (time-major: time step after time step, in each row after row), `lengths` the
    /// length of each row's sequence, at most T. What the inputs are past a row's length does not matter.
    pub fn new(inputs: &'a [T], lengths: &'a [usize]) -> Self {
        Self { inputs, lengths, starts: None, dropout: BypassDropout::default(), dropout_seeds: &[] }
    }

    /// Where `starts`, T × rows booleans, is true, the row is as new before the step: its memory and its controller's
    /// state. All is as if the row's sequence had been cut there and the two parts run one after the other, with a
    /// [`reset_row`](super::Runner::reset_row) in between: outputs, gradients (none passes over a start), and the state at
    /// the end. The cost is that of the words that were written, however many starts there are. A start past a row's
    /// length is none.
    #[must_use]
    pub fn with_starts(self, starts: &'a [bool]) -> Self {
        Self { starts: Some(starts), ..self }
    }

    /// Bypass dropout (Franke et al. 2018, "Robust and Scalable Differentiable Neural Computer for Question Answering", section 3.2):
    /// of the hidden units that reach the output beside what was read, each is left out with this `probability`, and the others
    /// are divided by what is left of 1. So the output cannot but learn to use what was read. The controller goes on from
    /// all of them.
    ///
    /// `seeds`, one for each row, decide which they are, at each step others. They are to be random numbers: near ones would leave
    /// the same units out some steps apart. It is for training: [`infer_sequences`](super::Runner::infer_sequences) and
    /// [`trace_sequences`](super::Runner::trace_sequences) leave nothing out.
    ///
    /// ```
    /// use sparsam::{Network, NetworkConfig, Runner, Sequences};
    ///
    /// # fn main() -> Result<(), sparsam::Error> {
    /// let network = Network::<f32>::new(NetworkConfig::new(1, 1), 1)?;
    /// let (mut runner, mut outputs) = (Runner::new(&network, 2)?, [0.0; 6]);
    /// let sequences = Sequences::new(&[0.5; 6], &[3, 3]).with_bypass_dropout(0.5, &[0x1f83_d9ab, 0x5be0_cd19]);
    /// runner.forward_sequences(&network, sequences, &mut outputs)?;
    /// assert_ne!(outputs[0], outputs[1]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_bypass_dropout(self, probability: f64, seeds: &'a [u64]) -> Self {
        Self { dropout: BypassDropout { probability }, dropout_seeds: seeds, ..self }
    }

    /// Checks that there are so many sequences of so many steps.
    pub(super) fn check(&self, steps: usize, rows: usize) -> Result<(), Error> {
        let misfit = |what, found, expected, shape| Err(Error::Shape { what, found, expected, shape });
        if self.lengths.len() != rows {
            return misfit("lengths", self.lengths.len(), rows, "one for each row".into());
        }
        if let Some(starts) = self.starts
            && starts.len() != steps * rows
        {
            return misfit("starts", starts.len(), steps * rows, format!("{steps} time steps × {rows} rows"));
        }
        if self.dropout.is_on() {
            let probability = self.dropout.probability;
            if !(0.0..1.0).contains(&probability) {
                let reason = "a probability of dropout is at least 0 and below 1".into();
                return Err(Error::Config { field: "bypass_dropout", value: probability.to_string(), reason });
            }
            if self.dropout_seeds.len() != rows {
                return misfit("seeds of dropout", self.dropout_seeds.len(), rows, "one for each row".into());
            }
        }
        match self.lengths.iter().enumerate().find(|(_, length)| **length > steps) {
            Some((row, length)) => Err(Error::Length { row, length: *length, steps }),
            None => Ok(()),
        }
    }

    /// Checks that the inputs of all rows within their lengths are tokens, of which there are so many; where a step has
    /// `sentence_size` of them, that padding and nothing else comes after the last.
    pub(super) fn check_tokens(&self, rows: usize, vocabulary: usize, sentence_size: usize) -> Result<(), Error>
    where
        T: Real,
    {
        let of_steps = self.inputs.chunks_exact(sentence_size.max(1)).enumerate();
        for (step, row, tokens) in of_steps.map(|(place, tokens)| (place / rows, place % rows, tokens)) {
            let mut ended = false;
            for (place, token) in tokens.iter().enumerate() {
                let number = token.to_f64();
                let is_token = (0.0..vocabulary as f64).contains(&number) && number.fract() == 0.0;
                let is_padding = sentence_size > 0 && number == f64::from(PADDING);
                ended |= is_padding;
                let fits = if ended { is_padding } else { is_token };
                if fits || step >= self.lengths[row] {
                    continue;
                }
                return Err(if sentence_size > 0 {
                    Error::Sentence { step, row, place, token: number, vocabulary }
                } else {
                    Error::Token { step, row, token: number, vocabulary }
                });
            }
        }
        Ok(())
    }

    /// How often a row starts anew within its length.
    pub(super) fn starts_of(&self, row: usize) -> usize {
        let of_row = self.starts.unwrap_or_default().iter().skip(row).step_by(self.lengths.len());
        of_row.take(self.lengths[row]).filter(|start| **start).count()
    }
}

/// Which hidden units the output does not see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BypassDropout {
    probability: f64,
}

impl BypassDropout {
    pub fn is_on(self) -> bool {
        self.probability != 0.0
    }

    /// What the output sees of a row's hidden units at a step; the gradient of what it sees goes the same way.
    pub fn apply<T: Real>(self, seed: u64, step: usize, hidden: &mut [T]) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(step as u64));
        // Of 2⁶⁴ numbers; a probability below 1 is rounded to no more than 2⁶⁴ − 2¹¹.
        let dropped = (self.probability * 2f64.powi(64)) as u64;
        let scale = T::from_f64(1.0 / (1.0 - self.probability));
        for unit in hidden {
            *unit = if random.next_u64() < dropped { T::ZERO } else { *unit * scale };
        }
    }
}
