//! What a runner asks of shards, compiled once.

use super::{PackedWeights, Place, Shard};
use crate::kernels::both::Both;
use crate::network::{NetworkConfig, Parameters};
use crate::{Arrays, Error, Real};

/// What a shard does with its rows of a batch's inputs.
pub type Pass<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, &[T], &[usize], Place);

type Trace<T> = fn(
    &mut Shard<T>,
    &PackedWeights<T>,
    &Parameters<T>,
    &[T],
    &[usize],
    Place,
    &mut Traced<'_, T>,
) -> Result<(), Error>;

type Backward<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, &[T], Place, &mut Parameters<T>, bool);

/// Takes what a row's memory did at a step: the step, the row, and the arrays.
pub type Traced<'a, T> = dyn FnMut(usize, usize, Arrays<T>) -> Result<(), Error> + 'a;

/// What has the kernels in it.
pub struct Passes<T: Real> {
    /// [`Shard::new`].
    pub shard: fn(&NetworkConfig, usize) -> Result<Shard<T>, Error>,
    /// [`PackedWeights::new`].
    pub weights: fn(&NetworkConfig) -> PackedWeights<T>,
    /// [`PackedWeights::set`].
    pub pack: fn(&mut PackedWeights<T>, &NetworkConfig, &Parameters<T>),
    /// [`Shard::forward`].
    pub forward: Pass<T>,
    /// [`Shard::infer`].
    pub infer: Pass<T>,
    /// [`Shard::trace`].
    pub trace: Trace<T>,
    /// [`Shard::backward`].
    pub backward: Backward<T>,
}

static PASSES: Both<Passes<f32>, Passes<f64>> = Both { single: Passes::new(), double: Passes::new() };

impl<T: Real> Passes<T> {
    const fn new() -> Self {
        Self {
            shard: Shard::new,
            weights: PackedWeights::new,
            pack: PackedWeights::set,
            forward: Shard::forward,
            infer: Shard::infer,
            trace: Shard::trace,
            backward: Shard::backward,
        }
    }

    /// Those of the number type.
    pub fn get() -> &'static Self {
        PASSES.of()
    }
}
