//! The figures and tables of the paper that can be reproduced, and one of ours: what each is about, and what its networks are
//! tested on.

use sparsam::index::IndexKind;
use sparsam::option::{Declared, OptionValue};
use sparsam_train::{Config, Metrics, TaskConfig};

/// The longest lists that the paper tests with.
const LONGEST: usize = 200_000;

/// The same for the exact index, whose search takes as long as the list is: ten times the length is a hundred times the time.
pub const LONGEST_EXACT: usize = 10_000;

/// A figure or table of Rae et al. 2016, or ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Loss over episodes, for three tasks.
    Fig2,
    /// How far a curriculum comes, for three tasks.
    Fig3,
    /// Errors on Omniglot over numbers of characters.
    Fig4,
    /// Recall of lists far longer than those of training.
    Fig8,
    /// Errors on the tasks of bAbI.
    Table1,
    /// Answers about stories in books far longer than those of training. Ours, beside BABILong (Kuratov et al. 2024).
    Haystack,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Fig2, Self::Fig3, Self::Fig4, Self::Fig8, Self::Table1, Self::Haystack];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fig2 => "fig2",
            Self::Fig3 => "fig3",
            Self::Fig4 => "fig4",
            Self::Fig8 => "fig8",
            Self::Table1 => "table1",
            Self::Haystack => "haystack",
        }
    }

    /// The figure of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// What it shows.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fig2 => "Figure 2: loss over sequences trained on",
            Self::Fig3 => "Figure 3: how far a curriculum comes",
            Self::Fig4 => "Figure 4: handwritten characters in one shot",
            Self::Fig8 => "Figure 8: lists far longer than those of training",
            Self::Table1 => "Table 1: the bAbI tasks",
            Self::Haystack => "Stories in a haystack: answers over the length of the book",
        }
    }

    /// Where its runs are kept. Figures 3 and 8 are of the same runs.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Fig2 => "learning",
            Self::Fig3 | Self::Fig8 => "curriculum",
            Self::Fig4 => "omniglot",
            Self::Table1 => "babi",
            Self::Haystack => "haystack",
        }
    }

    /// The tasks that it is about.
    pub fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Fig2 | Self::Fig3 => &["copy", "recall", "sort"],
            Self::Fig4 => &["omniglot"],
            Self::Fig8 => &["recall"],
            Self::Table1 => &["babi"],
            Self::Haystack => &["haystack"],
        }
    }

    /// Models that it can be about, and whether they are part of it unless others are asked for.
    pub fn models(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Fig2 => &[("lstm", true), ("ntm", true), ("dam", true), ("dnc", true), ("sam", true), ("sdnc", true)],
            Self::Fig3 => &[("lstm", false), ("ntm", true), ("dam", true), ("sam", true), ("sdnc", true)],
            Self::Fig4 => &[("lstm", true), ("ntm", false), ("dam", true), ("sam", true), ("sdnc", false)],
            Self::Fig8 | Self::Haystack => &[("sam", true), ("sdnc", false)],
            Self::Table1 => {
                &[("lstm", false), ("ntm", false), ("dnc", false), ("dam", false), ("sam", true), ("sdnc", true)]
            }
        }
    }

    /// Tasks, models and seeds that it takes unless told otherwise.
    pub fn defaults(self, quick: bool) -> (Vec<&'static str>, Vec<&'static str>, u64) {
        let own = self.models().iter().filter(|(_, own)| *own).map(|(model, _)| *model).collect();
        match self {
            Self::Fig2 if quick => (vec!["copy", "recall"], vec!["lstm", "ntm", "dam", "sam"], 1),
            Self::Fig3 if quick => (vec!["copy", "recall"], vec!["dam", "sam"], 1),
            Self::Fig4 if quick => (self.tasks().to_vec(), vec!["lstm", "sam"], 1),
            Self::Fig2 | Self::Fig3 | Self::Fig8 if !quick => (self.tasks().to_vec(), own, 3),
            _ => (self.tasks().to_vec(), own, 1),
        }
    }

    /// Minutes that a run is trained for at most, unless told otherwise; none where the number of batches is the only end.
    pub fn minutes(self) -> Option<f64> {
        match self {
            Self::Fig2 | Self::Haystack => None,
            Self::Fig3 | Self::Fig8 => Some(40.0),
            Self::Fig4 => Some(120.0),
            Self::Table1 => Some(300.0),
        }
    }

    /// The tests of a network with these metrics.
    pub fn tests(self, quick: bool, config: &Config, metrics: &[Metrics]) -> Vec<Test> {
        let of = |level, sequences| Test { level: Some(level), sequences: Some(sequences) };
        match self {
            Self::Fig2 | Self::Fig3 => Vec::new(),
            Self::Table1 => vec![Test { level: None, sequences: None }],
            Self::Haystack => {
                let levels = [128, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 10 << 20];
                let sequences: &[u64] =
                    if quick { &[100, 48, 16, 4] } else { &[1000, 1000, 1000, 1000, 1000, 300, 100] };
                levels.into_iter().zip(sequences).map(|(level, sequences)| of(level, *sequences)).collect()
            }
            Self::Fig4 => {
                let most = if let TaskConfig::Omniglot(omniglot) = &config.task { omniglot.labels } else { 0 };
                let sizes = [5, 10, 20, 50, 100, 200, 500].into_iter().filter(|size| *size <= most);
                sizes.map(|size| of(size, if size > 50 { 16 } else { 64 })).collect()
            }
            Self::Fig8 => {
                let Some(trained) = metrics.iter().filter_map(|line| line.level).max() else { return Vec::new() };
                let exact = config.network.memory.option("index") == Some(IndexKind::Linear.to_value());
                let longest = match (quick, exact) {
                    (true, _) => 20 * trained,
                    (_, true) => LONGEST_EXACT,
                    _ => LONGEST,
                };
                let mut levels: Vec<usize> = [1, 2, 5, 10, 20].map(|times| times * trained).into();
                levels.push(longest);
                levels.retain(|level| *level <= longest);
                levels.sort_unstable();
                levels.dedup();
                let items = if quick { 50_000 } else { 200_000 };
                levels.into_iter().map(|level| of(level, (items / level).clamp(8, 64) as u64)).collect()
            }
        }
    }
}

/// Sequences on which a trained network is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Their level; none for all that were held out.
    pub level: Option<usize>,
    /// How many; none for all that were held out.
    pub sequences: Option<u64>,
}
