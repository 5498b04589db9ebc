//! Named arrays: the state of a memory, to be saved, or a trace of its steps, to be inspected.

use std::collections::BTreeMap;

use crate::{Error, Real};

/// Stands in an array of word numbers where there is no word.
pub const NO_WORD: u32 = u32::MAX;

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Values<T> {
    /// Elements of the memory's number type.
    Real(Vec<T>),
    /// Numbers of words, and counts.
    Whole(Vec<u32>),
}

/// Elements and their shape, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    shape: Vec<usize>,
    values: Values<T>,
}

impl<T> Array<T> {
    /// Elements in row-major order.
    ///
    /// # Panics
    /// If their number is not the product of the shape.
    pub fn new(shape: Vec<usize>, values: Values<T>) -> Self {
        let length = match &values {
            Values::Real(values) => values.len(),
            Values::Whole(values) => values.len(),
        };
        assert_eq!(length, shape.iter().product::<usize>(), "an array has as many numbers as its shape says");
        Self { shape, values }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn values(&self) -> &Values<T> {
        &self.values
    }
}

/// Arrays by name, in the order of the names.
///
/// ```
/// use sparsam::{Array, Arrays, Values};
///
/// let mut arrays = Arrays::<f32>::default();
/// arrays.put("contents", Array::new(vec![2, 3], Values::Real(vec![0.0; 6])));
/// assert_eq!(arrays.get("contents").map(Array::shape), Some(&[2, 3][..]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Arrays<T>(BTreeMap<String, Array<T>>);

impl<T> Default for Arrays<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Real> Arrays<T> {
    /// All arrays, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array<T>)> + Clone {
        self.0.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// The array of a name.
    pub fn get(&self, name: &str) -> Option<&Array<T>> {
        self.0.get(name)
    }

    /// Puts an array under a name, and replaces an earlier one of that name.
    pub fn put(&mut self, name: impl Into<String>, array: Array<T>) {
        self.0.insert(name.into(), array);
    }

    /// Checks that every element is finite, as loading demands.
    ///
    /// # Errors
    /// [`Error::State`] names the first array in which one is not.
    pub fn check_finite(&self) -> Result<(), Error> {
        for (name, array) in self.iter() {
            if let Values::Real(values) = &array.values
                && let Some(value) = values.iter().find(|value| !value.is_finite())
            {
                return Err(unusable(format!("`{name}` has the number {value}, and only finite ones are kept")));
            }
        }
        Ok(())
    }

    /// Gives numbers a name and a shape.
    pub(crate) fn put_real(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<T>) {
        self.put(name, Array::new(shape.to_vec(), Values::Real(values)));
    }

    /// Gives whole numbers a name and a shape.
    pub(crate) fn put_whole(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<u32>) {
        self.put(name, Array::new(shape.to_vec(), Values::Whole(values)));
    }

    /// Puts an array in its place among `outer` ones of its shape. The places of others have 0 or [`NO_WORD`] until
    /// they are put there.
    pub(crate) fn put_part(&mut self, name: &str, outer: &[usize], number: usize, part: &Array<T>) {
        let count: usize = outer.iter().product();
        let all = self.0.entry(name.into()).or_insert_with(|| {
            let values = match &part.values {
                Values::Real(part) => Values::Real(vec![T::ZERO; count * part.len()]),
                Values::Whole(part) => Values::Whole(vec![NO_WORD; count * part.len()]),
            };
            Array::new([outer, part.shape()].concat(), values)
        });
        match (&mut all.values, &part.values) {
            (Values::Real(all), Values::Real(part)) => all[number * part.len()..][..part.len()].copy_from_slice(part),
            (Values::Whole(all), Values::Whole(part)) => all[number * part.len()..][..part.len()].copy_from_slice(part),
            _ => unreachable!("arrays of one name are of one kind"),
        }
    }

    /// Takes the numbers of a name, of which every one must be finite.
    ///
    /// # Errors
    /// [`Error::State`] names the array that is missing, of another shape, or not finite.
    pub(crate) fn take_real(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, Error> {
        let values = match self.take(name)? {
            Array { shape: found, values: Values::Real(values) } if found == shape => values,
            Array { shape: found, values } => return Err(misfit(name, &found, &values, shape)),
        };
        match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            None => Ok(values),
            Some((place, value)) => {
                Err(unusable(format!("number {place} of `{name}` is {value}, where a finite number was expected")))
            }
        }
    }

    /// Takes the whole numbers of a name, each at most `largest`, as many as there are, or `length` if that is given.
    ///
    /// # Errors
    /// [`Error::State`] names the array that is missing, of another shape, or has a larger number.
    pub(crate) fn take_whole(&mut self, name: &str, length: Option<usize>, largest: u32) -> Result<Vec<u32>, Error> {
        let array = self.take(name)?;
        let expected = [length.or(array.shape.first().copied()).unwrap_or_default()];
        let values = match array {
            Array { shape, values: Values::Whole(values) } if shape == expected => values,
            Array { shape, values } => return Err(misfit(name, &shape, &values, &expected)),
        };
        match values.iter().enumerate().find(|(_, value)| **value > largest) {
            None => Ok(values),
            Some((place, value)) => {
                Err(unusable(format!("number {place} of `{name}` is {value}, where at most {largest} was expected")))
            }
        }
    }

    /// Takes the numbers of words of which there are `memory_size`, each of which may occur once.
    ///
    /// # Errors
    /// As [`take_whole`](Self::take_whole), and if a word occurs twice.
    pub(crate) fn take_words(&mut self, name: &str, memory_size: usize) -> Result<Vec<u32>, Error> {
        let words = self.take_whole(name, None, last_word(memory_size))?;
        check_distinct(name, &words)?;
        Ok(words)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Error::State`] names what nobody took.
    pub(crate) fn check_empty(&self) -> Result<(), Error> {
        self.0.keys().next().map_or(Ok(()), |name| Err(unusable(format!("there is no place for `{name}`"))))
    }

    fn take(&mut self, name: &str) -> Result<Array<T>, Error> {
        self.0.remove(name).ok_or_else(|| unusable(format!("`{name}` is missing")))
    }
}

/// The highest number of a word.
pub(crate) fn last_word(memory_size: usize) -> u32 {
    u32::try_from(memory_size - 1).unwrap_or(u32::MAX)
}

/// Checks that no word occurs twice.
///
/// # Errors
/// [`Error::State`] names the array.
pub(crate) fn check_distinct(name: &str, words: &[u32]) -> Result<(), Error> {
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(unusable(format!("word {} occurs twice in `{name}`", pair[0]))),
    }
}

/// A saved state that cannot be used, before it is known where it comes from.
pub(crate) fn unusable(reason: String) -> Error {
    Error::State { path: "in memory".into(), reason }
}

fn misfit<T>(name: &str, found: &[usize], values: &Values<T>, expected: &[usize]) -> Error {
    let kind = match values {
        Values::Real(_) => "numbers",
        Values::Whole(_) => "whole numbers",
    };
    unusable(format!("`{name}` has {kind} of shape {found:?}, where shape {expected:?} was expected"))
}
