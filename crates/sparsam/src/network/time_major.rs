//! Arrays of time step after time step, in each step row after row, in each row element after element.

use std::ops::Range;

use crate::Real;

/// Such an array for a few rows; it grows to the most steps that it was asked for.
#[derive(Debug)]
pub struct TimeMajor<T> {
    rows: usize,
    width: usize,
    values: Vec<T>,
}

/// One step of such an array.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a, T> {
    width: usize,
    values: &'a [T],
}

/// One step of such an array, to be changed.
#[derive(Debug)]
pub struct StepViewMut<'a, T> {
    width: usize,
    values: &'a mut [T],
}

impl<T: Real> TimeMajor<T> {
    /// Zeros.
    pub fn zeros(steps: usize, rows: usize, width: usize) -> Self {
        Self { rows, width, values: vec![T::ZERO; steps * rows * width] }
    }

    /// Makes it hold at least this many steps. What it holds stays.
    pub fn fit(&mut self, steps: usize) {
        let length = steps * self.rows * self.width;
        if self.values.len() < length {
            self.values.resize(length, T::ZERO);
        }
    }

    /// Elements held.
    pub fn held(&self) -> usize {
        self.values.len()
    }

    /// Elements that this many steps take beyond those held.
    pub fn growth(&self, steps: usize) -> u128 {
        (steps as u128 * (self.rows * self.width) as u128).saturating_sub(self.values.len() as u128)
    }

    /// The elements of some steps.
    pub fn steps(&self, steps: Range<usize>) -> &[T] {
        let step = self.rows * self.width;
        &self.values[steps.start * step..steps.end * step]
    }

    /// The elements of some steps, to be changed.
    pub fn steps_mut(&mut self, steps: Range<usize>) -> &mut [T] {
        let step = self.rows * self.width;
        &mut self.values[steps.start * step..steps.end * step]
    }

    /// One step.
    #[inline]
    pub fn step(&self, step: usize) -> StepView<'_, T> {
        StepView { width: self.width, values: self.steps(step..step + 1) }
    }

    /// One step, to be changed.
    #[inline]
    pub fn step_mut(&mut self, step: usize) -> StepViewMut<'_, T> {
        let width = self.width;
        StepViewMut { width, values: self.steps_mut(step..step + 1) }
    }

    /// One step, and the one after it, to be changed.
    #[inline]
    pub fn step_and_next(&mut self, step: usize) -> (StepView<'_, T>, StepViewMut<'_, T>) {
        let (width, length) = (self.width, self.rows * self.width);
        let (before, next) = self.steps_mut(step..step + 2).split_at_mut(length);
        (StepView { width, values: before }, StepViewMut { width, values: next })
    }

    /// Puts a step in the place of the first.
    pub fn move_to_start(&mut self, step: usize) {
        let length = self.rows * self.width;
        self.values.copy_within(step * length..(step + 1) * length, 0);
    }
}

impl<'a, T> StepView<'a, T> {
    /// Sees the values of all rows of one step, each `width` elements long.
    #[inline]
    pub fn new(values: &'a [T], width: usize) -> Self {
        Self { width, values }
    }

    /// All rows.
    #[inline]
    pub fn all(self) -> &'a [T] {
        self.values
    }

    /// One row.
    #[inline]
    pub fn row(self, row: usize) -> &'a [T] {
        &self.values[row * self.width..][..self.width]
    }
}

impl<T> StepViewMut<'_, T> {
    /// All rows.
    #[inline]
    pub fn all(&mut self) -> &mut [T] {
        self.values
    }

    /// One row.
    #[inline]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        &mut self.values[row * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_rows_are_where_they_should_be() {
        let mut array = TimeMajor::<f32>::zeros(1, 2, 3);
        assert_eq!((array.held(), array.growth(4), array.growth(0)), (6, 18, 0));
        array.fit(4);
        array.fit(2);
        assert_eq!(array.held(), 24);
        for (place, value) in array.steps_mut(0..4).iter_mut().enumerate() {
            *value = place as f32;
        }
        assert_eq!(array.step(2).row(1), [15.0, 16.0, 17.0]);
        let (before, mut next) = array.step_and_next(1);
        next.row(0).copy_from_slice(before.row(1));
        assert_eq!(array.step(2).all(), [9.0, 10.0, 11.0, 15.0, 16.0, 17.0]);
        array.move_to_start(2);
        assert_eq!(array.step_mut(0).all(), [9.0, 10.0, 11.0, 15.0, 16.0, 17.0]);
        assert_eq!(StepView::new(&[1, 2, 3, 4], 2).row(1), [3, 4]);
    }

    #[test]
    fn rows_without_elements_are_empty() {
        let mut array = TimeMajor::<f32>::zeros(3, 2, 0);
        let (before, mut next) = array.step_and_next(1);
        next.row(1).copy_from_slice(before.row(1));
        assert!(array.step(2).row(0).is_empty() && array.growth(9) == 0);
    }
}
