//! What a runner asks of shards, compiled once.

use std::ops::Range;

use super::{PackedWeights, Place, Shard};
use crate::kernels::both::Both;
use crate::network::{NetworkConfig, Parameters, Sequences};
use crate::{Arrays, Error, Real};

/// Takes what a row's memory did at a step: the row, and the arrays.
pub type Traced<'a, T> = dyn FnMut(usize, Arrays<T>) -> Result<(), Error> + 'a;

type Forward<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, Sequences<'_, T>, Place);
type Prepare<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, Sequences<'_, T>, Place, bool);
type Advance<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, Range<usize>);
type Trace<T> = fn(
    &mut Shard<T>,
    &PackedWeights<T>,
    &Parameters<T>,
    Sequences<'_, T>,
    Place,
    usize,
    &mut Traced<'_, T>,
) -> Result<(), Error>;
type PrepareBack<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, bool);
type AdvanceBack<T> =
    fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, &[T], Place, &mut Parameters<T>, Range<usize>);
type FinishBack<T> = fn(&mut Shard<T>, &PackedWeights<T>, &Parameters<T>, &mut Parameters<T>, bool);

/// What has the kernels in it: the functions of [`Shard`] and [`PackedWeights`] of the same names.
pub struct Passes<T: Real> {
    pub shard: fn(&NetworkConfig, usize) -> Result<Shard<T>, Error>,
    pub weights: fn(&NetworkConfig) -> PackedWeights<T>,
    pub set_weights: fn(&mut PackedWeights<T>, &NetworkConfig, &Parameters<T>),
    pub prepare: Prepare<T>,
    pub advance: Advance<T>,
    pub finish: fn(&mut Shard<T>, &Parameters<T>),
    pub infer: Forward<T>,
    pub trace: Trace<T>,
    pub prepare_back: PrepareBack<T>,
    pub advance_back: AdvanceBack<T>,
    pub finish_back: FinishBack<T>,
    pub prepare_undo: fn(&mut Shard<T>),
    pub undo: fn(&mut Shard<T>, Range<usize>),
}

static PASSES: Both<Passes<f32>, Passes<f64>> = Both { single: Passes::new(), double: Passes::new() };

impl<T: Real> Passes<T> {
    const fn new() -> Self {
        Self {
            shard: Shard::new,
            weights: PackedWeights::new,
            set_weights: PackedWeights::set,
            prepare: Shard::prepare,
            advance: Shard::advance,
            finish: Shard::finish,
            infer: Shard::infer,
            trace: Shard::trace,
            prepare_back: Shard::prepare_back,
            advance_back: Shard::advance_back,
            finish_back: Shard::finish_back,
            prepare_undo: Shard::prepare_undo,
            undo: Shard::undo,
        }
    }

    /// Those of the number type.
    pub fn get() -> &'static Self {
        PASSES.of()
    }
}
