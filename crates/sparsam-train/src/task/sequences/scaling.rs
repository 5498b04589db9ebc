//! Inputs brought to mean 0 and deviation 1.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::internal::notice;

/// The field in which a run keeps it.
const KEPT: &str = "scaling";

/// What each number of an input becomes: (x − mean) / deviation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Scaling {
    /// Looks at inputs of `size` numbers, sequence after sequence, each time step after time step.
    pub(super) fn of<'a>(size: usize, inputs: impl Iterator<Item = &'a [f32]>) -> Found {
        let mut columns = vec![Column::default(); size];
        for input in inputs.flat_map(|sequence| sequence.chunks_exact(size)) {
            columns.iter_mut().zip(input).for_each(|(column, x)| column.add(f64::from(*x)));
        }
        Found(columns)
    }

    /// Scales inputs, one after the other.
    pub fn apply(&self, inputs: &mut [f32]) {
        for input in inputs.chunks_exact_mut(self.means.len().max(1)) {
            for ((x, mean), deviation) in input.iter_mut().zip(&self.means).zip(&self.deviations) {
                *x = ((f64::from(*x) - mean) / deviation) as f32;
            }
        }
    }

    /// That which a run keeps; none if it keeps none.
    ///
    /// # Errors
    /// What is kept is none.
    pub(crate) fn kept(kept: &Value) -> Result<Option<Self>, serde_json::Error> {
        kept.get(KEPT).map(Self::deserialize).transpose()
    }

    pub(super) fn keep(&self, kept: &mut Value) {
        kept[KEPT] = json!(self);
    }
}

/// What one number of the inputs is like.
#[derive(Clone, Debug)]
struct Column {
    count: f64,
    mean: f64,
    /// The sum of the squared distances from the mean, by the recurrence of Welford 1962.
    squares: f64,
    least: f64,
    most: f64,
}

impl Default for Column {
    fn default() -> Self {
        Self { count: 0.0, mean: 0.0, squares: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY }
    }
}

impl Column {
    fn add(&mut self, x: f64) {
        self.count += 1.0;
        let distance = x - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (x - self.mean);
        (self.least, self.most) = (self.least.min(x), self.most.max(x));
    }

    fn variance(&self) -> f64 {
        self.squares / self.count.max(1.0)
    }

    /// Whether it is so large, or so small, beside 1 that first weights do not suit it. One-hot inputs, most of which are 0,
    /// are not.
    fn is_far_from_1(&self) -> bool {
        let size = self.least.abs().max(self.most.abs());
        (self.mean * self.mean + self.variance()).sqrt() > 10.0 || (size > 0.0 && size < 0.1)
    }
}

/// What the inputs are like, number by number.
pub(super) struct Found(Vec<Column>);

impl Found {
    /// The scaling to mean 0 and deviation 1. What is always the same becomes 0.
    pub fn scaling(&self) -> Scaling {
        let deviation = |column: &Column| Some(column.variance().sqrt()).filter(|it| *it > 0.0).unwrap_or(1.0);
        Scaling {
            means: self.0.iter().map(|column| column.mean).collect(),
            deviations: self.0.iter().map(deviation).collect(),
        }
    }

    /// Notes inputs that are far from 1.
    pub fn tell_what_is_far_from_1(&self, path: &Path) {
        let mut far = self.0.iter().enumerate().filter(|(_, column)| column.is_far_from_1());
        let Some((number, Column { least, most, .. })) = far.next() else { return };
        let others = match far.count() {
            0 => String::new(),
            others => format!(", and {others} more of {} are as far from 1", self.0.len()),
        };
        notice::note("scale", path, || {
            format!(
                "{}: number {number} of the inputs lies from {least} to {most}{others}; --scale-inputs brings all to mean 0 and \
                 deviation 1, which is learnt from sooner",
                path.display()
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_to_mean_0_and_deviation_1() {
        let mut inputs = [1000.0, 5.0, 3000.0, 5.0, 2000.0, 5.0, 2000.0, 5.0];
        let scaling = Scaling::of(2, [&inputs[..4], &inputs[4..]].into_iter()).scaling();
        scaling.apply(&mut inputs);
        let root = 2f32.sqrt();
        assert_eq!(inputs, [-root, 0.0, root, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let mut kept = json!({});
        scaling.keep(&mut kept);
        let text = kept.to_string();
        assert_eq!(Scaling::kept(&serde_json::from_str(&text).unwrap()).unwrap(), Some(scaling));
        assert_eq!(Scaling::kept(&json!({})).unwrap(), None);
        assert!(Scaling::kept(&json!({"scaling": 3})).is_err());
    }

    #[test]
    fn what_is_far_from_1_is_named() {
        let of = |inputs: &[f32]| Scaling::of(1, std::iter::once(inputs)).0[0].is_far_from_1();
        assert!(of(&[1000.0, 1001.0]) && of(&[0.001, -0.05]) && of(&[-30.0, 30.0]));
        assert!(!of(&[0.0, 0.0]) && !of(&[0.0, 0.0, 0.0, 1.0]) && !of(&[-3.0, 2.0, 12.0]));
    }
}
