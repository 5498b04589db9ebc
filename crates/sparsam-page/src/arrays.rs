//! The numbers of a recording, and what is kept of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sparsam::{Array, Arrays, NO_WORD, Real, Values};

use crate::LARGEST;

/// Numbers by name, each so many for a step.
#[derive(Debug)]
pub struct Columns {
    pub steps: usize,
    pub columns: BTreeMap<String, Column>,
    /// Whether dense weights were too many, so that of each head the words with the largest stand in their place.
    pub has_lost_dense: bool,
}

/// Columns of a page: those that are as they were, and those of which less is kept.
pub type Kept<'a> = BTreeMap<String, Cow<'a, Column>>;

/// The most dense weights and usages that are held: more than a page can have, rounded to a byte each.
const MOST_DENSE: usize = LARGEST;

/// Of how many words a head's largest weights are kept where dense ones are too many: as many as any summary has.
pub const MOST_WORDS: usize = 8;

/// Numbers of time steps, one after another: the shape of those of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Real(Vec<f32>),
    Whole(Vec<u32>),
}

impl Numbers {
    pub fn len(&self) -> usize {
        match self {
            Self::Real(values) => values.len(),
            Self::Whole(values) => values.len(),
        }
    }
}

/// How much is kept of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All, as they are.
    Exact,
    /// All, those that are not whole rounded to a byte.
    Rounded,
    /// Rounded, and of each head the words with so many of the largest weights.
    Strongest(usize),
}

impl Detail {
    /// From the most to the least.
    pub const ALL: [Self; 6] = [
        Self::Exact,
        Self::Rounded,
        Self::Strongest(MOST_WORDS),
        Self::Strongest(4),
        Self::Strongest(2),
        Self::Strongest(1),
    ];
}

impl Columns {
    pub fn new(steps: usize) -> Self {
        Self { steps, columns: BTreeMap::new(), has_lost_dense: false }
    }

    /// Puts the numbers of all steps.
    pub fn put_real(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.columns.insert(name.to_owned(), Column { shape: shape.to_vec(), numbers: Numbers::Real(values) });
    }

    /// Puts the whole numbers of all steps.
    pub fn put_whole(&mut self, name: &str, shape: &[usize], values: Vec<u32>) {
        self.columns.insert(name.to_owned(), Column { shape: shape.to_vec(), numbers: Numbers::Whole(values) });
    }

    /// Appends the numbers of the next steps.
    pub fn push_real(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        match self.columns.get_mut(name) {
            Some(Column { numbers: Numbers::Real(all), .. }) => all.extend(values),
            _ => self.put_real(name, shape, values),
        }
    }

    /// Appends the whole numbers of the next steps.
    pub fn push_whole(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        match self.columns.get_mut(name) {
            Some(Column { numbers: Numbers::Whole(all), .. }) => all.extend_from_slice(values),
            _ => self.put_whole(name, shape, values.to_vec()),
        }
    }

    /// Appends a trace of so many steps of one row, as [`append`](Self::append) does.
    pub fn push_trace<T: Real>(&mut self, arrays: &Arrays<T>, steps: usize) {
        let mut piece = Self::new(steps);
        for (name, array) in arrays.iter() {
            debug_assert_eq!(array.shape()[..2], [steps, 1], "{name} is of one row");
            piece.push_array(name, array);
        }
        self.append(piece);
    }

    /// Appends the numbers of the next steps. Once there are more dense weights than a page can have, those of all steps give
    /// way to the largest of each head.
    pub fn append(&mut self, mut piece: Self) {
        if !self.has_lost_dense && (piece.has_lost_dense || self.dense_len() + piece.dense_len() > MOST_DENSE) {
            self.lose_dense();
            self.has_lost_dense = true;
        }
        if self.has_lost_dense && !piece.has_lost_dense {
            piece.lose_dense();
        }
        for (name, Column { shape, numbers }) in piece.columns {
            match numbers {
                Numbers::Real(values) => self.push_real(&name, &shape, values),
                Numbers::Whole(values) => self.push_whole(&name, &shape, &values),
            }
        }
    }

    /// Forgets all steps but the last, so many.
    pub fn keep_last(&mut self, steps: usize) {
        let Some(gone) = self.steps.checked_sub(steps) else { return };
        for Column { shape, numbers } in self.columns.values_mut() {
            let gone = gone * shape.iter().product::<usize>();
            match numbers {
                Numbers::Real(values) => drop(values.drain(..gone)),
                Numbers::Whole(values) => drop(values.drain(..gone)),
            }
        }
        self.steps = steps;
    }

    /// Numbers of all columns that are dense.
    fn dense_len(&self) -> usize {
        let dense = self.columns.iter().filter(|(name, _)| self.is_dense(name));
        dense.map(|(_, Column { numbers, .. })| numbers.len()).sum()
    }

    /// Puts, in place of dense weights, the words with the largest.
    fn lose_dense(&mut self) {
        let dense: Vec<String> = self.columns.keys().filter(|name| self.is_dense(name)).cloned().collect();
        let mut lost = Self::new(self.steps);
        lost.columns = dense.into_iter().filter_map(|name| self.columns.remove_entry(&name)).collect();
        let kept = lost.reduced(MOST_WORDS);
        self.columns.extend(kept.into_iter().map(|(name, column)| (name, column.into_owned())));
    }

    fn push_array<T: Real>(&mut self, name: &str, array: &Array<T>) {
        let shape = &array.shape()[2..];
        match array.values() {
            Values::Real(values) => {
                self.push_real(name, shape, values.iter().map(|value| value.to_f64() as f32).collect());
            }
            Values::Whole(values) => self.push_whole(name, shape, values),
        }
    }

    /// The name of the words that weights belong to; none if `name` has no weights, or those of all words.
    fn words_of(&self, name: &str) -> Option<&Column> {
        self.columns.get(&format!("{}_words", name.strip_suffix("_weights")?))
    }

    /// Whether a column has a number for each word of the memory, at every head.
    pub fn is_dense(&self, name: &str) -> bool {
        (name.ends_with("_weights") || name == "usage") && self.words_of(name).is_none()
    }

    /// What is kept of all: the same names, fewer places, and of dense weights words with weights.
    pub fn reduced(&self, most: usize) -> Kept<'_> {
        let mut kept = Kept::new();
        for (name, column) in &self.columns {
            let Some(base) = name.strip_suffix("_weights") else {
                let has_weights = name.strip_suffix("_words").map(|base| format!("{base}_weights"));
                if has_weights.is_none_or(|name| !self.columns.contains_key(&name)) && !self.is_dense(name) {
                    kept.insert(name.clone(), Cow::Borrowed(column));
                }
                continue;
            };
            let Numbers::Real(weights) = &column.numbers else { continue };
            let words = self.words_of(name).and_then(|words| match &words.numbers {
                Numbers::Whole(words) => Some(words),
                Numbers::Real(_) => None,
            });
            // Of dense weights those that are told of: what was read and written.
            if words.is_none() && base != "read" && base != "write" {
                continue;
            }
            let [heads, places] = column.shape[..] else { continue };
            let most = most.min(places);
            let (mut kept_words, mut kept_weights) = (Vec::new(), Vec::new());
            let mut order: Vec<usize> = Vec::new();
            for (number, of_head) in weights.chunks_exact(places).enumerate() {
                order.clear();
                order.extend(0..places);
                let heavier = |a: &usize, b: &usize| of_head[*b].total_cmp(&of_head[*a]).then(a.cmp(b));
                if most < places {
                    order.select_nth_unstable_by(most, heavier);
                    order.truncate(most);
                }
                order.sort_unstable_by(heavier);
                for place in &order {
                    let word = words.map_or(*place as u32, |words| words[number * places + place]);
                    let weight = if word == NO_WORD { 0.0 } else { of_head[*place] };
                    kept_words.push(if weight > 0.0 { word } else { NO_WORD });
                    kept_weights.push(weight);
                }
            }
            let mut keep = |name: String, numbers| {
                kept.insert(name, Cow::Owned(Column { shape: vec![heads, most], numbers }));
            };
            keep(format!("{base}_words"), Numbers::Whole(kept_words));
            keep(name.clone(), Numbers::Real(kept_weights));
        }
        kept
    }
}
