//! Sequences to be run over, as a caller has them.

use crate::Error;

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
}

impl<'a, T> Sequences<'a, T> {
    /// `inputs` has T × rows × I elements (time-major: time step after time step, in each row after row), `lengths` the
    /// length of each row's sequence, at most T. What the inputs are past a row's length does not matter.
    pub fn new(inputs: &'a [T], lengths: &'a [usize]) -> Self {
        Self { inputs, lengths, starts: None }
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
        match self.lengths.iter().enumerate().find(|(_, length)| **length > steps) {
            Some((row, length)) => Err(Error::Length { row, length: *length, steps }),
            None => Ok(()),
        }
    }

    /// Checks that the inputs of all rows within their lengths are tokens, of which there are so many.
    pub(super) fn check_tokens(&self, rows: usize, vocabulary: usize) -> Result<(), Error>
    where
        T: crate::Real,
    {
        let inputs = self.inputs.chunks_exact(rows).enumerate();
        for (step, (row, token)) in
            inputs.flat_map(|(step, inputs)| inputs.iter().enumerate().map(move |it| (step, it)))
        {
            let number = token.to_f64();
            let fits = (0.0..vocabulary as f64).contains(&number) && number.fract() == 0.0;
            if !fits && step < self.lengths[row] {
                return Err(Error::Token { step, row, token: number, vocabulary });
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
