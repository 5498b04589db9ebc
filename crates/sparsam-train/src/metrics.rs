//! The metrics of a run, one JSON line for each evaluation.

use serde::{Deserialize, Serialize};

use crate::sequence::{Per, TargetKind};
use crate::task::Task;

/// What was measured at one evaluation: a line of `metrics.jsonl`.
///
/// A loss is in bits per sequence, and `wrong` counts wrong bits or classes per sequence; [`Units`] says where they are told
/// otherwise: of text in bits a character or word, and of numbers as the mean squared error, of which none is wrong or right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Batches trained so far.
    pub batch: u64,
    /// Sequences trained on so far.
    pub sequences: u64,
    /// Loss of the batches trained on since the line before.
    pub training_loss: f64,
    /// Wrong outputs in those batches; none where no output is right or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_wrong: Option<f64>,
    /// Loss of reproducing inputs in those batches, for each bit or class that was to be reproduced; none without
    /// [`refreshing_probability`](crate::Config::refreshing_probability).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshing_loss: Option<f64>,
    /// Mean norm of the gradient in those batches, before clipping, without those that overflowed.
    pub gradient_norm: f64,
    /// Batches among them whose gradient was infinite or not a number, so that nothing was learnt from them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gradient_overflows: u64,
    /// The learning rate of the batch before, at the level below; none in lines of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// What the norm of the next batch's gradient is limited to; none if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_limit: Option<f64>,
    /// Batches since the line before whose gradient was scaled down to the limit.
    #[serde(default)]
    pub clipped: u64,
    /// Loss of the evaluation.
    pub loss: f64,
    /// The standard error of that mean. This and the next three are none in lines of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_error: Option<f64>,
    /// What the loss of the evaluation would be if all that is wanted were guessed; see
    /// [`Evaluation`](crate::Evaluation::guessing).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guessing: Option<f64>,
    /// Wrong outputs in the evaluation; none where no output is right or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<f64>,
    /// The share of its sequences without any wrong output; none where losses are not told per sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<f64>,
    /// The standard error of that share; see [`Evaluation`](crate::Evaluation::right_error).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_error: Option<f64>,
    /// Seconds of wall-clock time spent in training so far, pauses between resumes left out.
    pub seconds: f64,
    /// Sequences trained on per second of wall-clock time since the line before.
    pub sequences_per_second: f64,
    /// The highest level trained and evaluated on; only a curriculum changes it, and only its runs have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<usize>,
    /// Mean of the errors below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_error: Option<f64>,
    /// How many of them are above what counts as failed; see [`Categories`](crate::Categories).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// The share of wrong answers in each category of the task's, in the evaluation; none where nothing was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Option<f64>>,
}

impl Metrics {
    /// The line without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers is always JSON")
    }

    /// These metrics with nothing in them that depends on the clock: what two runs of the same configuration share.
    pub fn without_clock(&self) -> Self {
        Self { seconds: 0.0, sequences_per_second: 0.0, ..self.clone() }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What the quantities of a task are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// What the targets are.
    pub kind: TargetKind,
    /// What losses and wrong outputs are means over.
    pub per: Per,
    /// What a level counts: "items".
    pub level: &'static str,
}

impl Units {
    /// Those of a task.
    pub fn of(task: &dyn Task) -> Self {
        Self { kind: task.target_kind(), per: task.per(), level: task.level_unit() }
    }

    /// What a loss is told in: "bits", "bits a character" or "squared error".
    pub fn loss(self) -> String {
        match (self.kind, self.per) {
            (TargetKind::Numbers, _) => "squared error".into(),
            (_, Per::Sequence) => "bits".into(),
            (_, Per::Target(target)) => format!("bits a {target}"),
        }
    }

    /// "loss, bits per sequence": what stands at an axis of losses.
    pub fn loss_axis(self) -> String {
        match (self.kind, self.per) {
            (TargetKind::Numbers, _) => "mean squared error".into(),
            (_, Per::Sequence) => "loss, bits per sequence".into(),
            (_, Per::Target(target)) => format!("loss, bits per {target}"),
        }
    }

    /// What may be wrong: "bits", "classes", "characters"; none if no output is right or wrong.
    pub fn wrong(self) -> Option<String> {
        match self.per {
            _ if !self.kind.has_wrong() => None,
            Per::Sequence => Some(self.kind.unit().into()),
            Per::Target(target) => Some(format!("{target}s")),
        }
    }
}
