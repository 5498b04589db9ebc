//! A few sequences that are run together on one thread, all their time steps forward and back.

mod backward;
mod forward;
mod passes;
mod weights;

pub use passes::Passes;
pub use weights::PackedWeights;

use std::ops::Range;

use rayon::prelude::*;

use super::NetworkConfig;
use super::embedding;
use super::layers::Layers;
use super::sequences::{BypassDropout, Sequences};
use super::time_major::{StepView, StepViewMut, TimeMajor};
use crate::kernels::matrix::TILE_ROWS;
use crate::memory::Memory;
use crate::{Arrays, Error, Real};

/// Sequences in a shard. Fixed, so that sums over a batch do not depend on the number of threads.
pub const SHARD_ROWS: usize = TILE_ROWS;

/// Time steps whose outputs are handled at once, and the length of a piece of an untaped run.
pub const BLOCK: usize = 32;

/// What is saved of a controller: its hidden units, its cells, if it has any, and what was read last.
const HIDDEN: &str = "controller.hidden";
const CELL: &str = "controller.cell";
const READ: &str = "controller.read";

/// Lengths of the vectors of one row.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of x, an embedding or a sum of such where inputs are tokens.
    input: usize,
    /// How x comes of the input.
    step: embedding::Step,
    hidden: usize,
    /// Of what is put out, whether a layer makes it or not.
    output: usize,
    output_layer: bool,
    interface: usize,
    read: usize,
    /// \[h ; r\].
    state: usize,
    /// c.
    cell: usize,
    /// A row of the controller's tape.
    tape: usize,
    /// The parameters of each layer.
    layers: Layers<usize>,
}

impl Sizes {
    fn new(config: &NetworkConfig) -> Self {
        let read = config.memory.read_len();
        let of_controller = config.controller_declaration();
        Self {
            input: config.input_size,
            step: embedding::Step::of(config),
            hidden: config.hidden_size,
            output: config.output_len(),
            output_layer: config.output_size > 0,
            interface: config.memory.interface_len(),
            read,
            state: config.hidden_size + read,
            cell: of_controller.cell,
            tape: of_controller.tape,
            layers: Layers::new(config),
        }
    }

    /// Of \[h ; c ; r\].
    fn controller(self) -> usize {
        self.state + self.cell
    }
}

/// Where a shard's rows stand in the batch.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first of its rows.
    pub first_row: usize,
    /// Rows of the whole batch.
    pub batch: usize,
}

impl Place {
    /// Where the elements of `rows` rows from the first on stand in a batch's array with rows of `width` elements.
    fn range(self, step: usize, rows: usize, width: usize) -> Range<usize> {
        let start = (step * self.batch + self.first_row) * width;
        start..start + rows * width
    }
}

/// A few rows of a batch: their memories, the state of their controllers, and the controllers' tape.
pub struct Shard<T: Real> {
    rows: usize,
    sizes: Sizes,
    memories: Vec<Box<dyn Memory<T>>>,
    /// The latest call on the tape that is in force, or the one right after it, which was undone.
    call: Call<T>,
    /// The calls before it, in the order of time.
    before: Vec<Call<T>>,
    /// The calls after it, all of which were undone, the latest first.
    after: Vec<Call<T>>,
    /// Arrays for calls to come.
    spare: Vec<Call<T>>,
    /// The state is the one at the end of the present call; else that at its start.
    at_end: bool,
    outputs: TimeMajor<T>,
    input_gradients: TimeMajor<T>,
    scratch: Scratch<T>,
}

/// The steps of one call, as far as they are not in the memories.
///
/// Arrays of states have one step more than was run: step 0 is the state at the start of the call.
struct Call<T> {
    inputs: TimeMajor<T>,
    /// The tokens whose embeddings these are, as many for each as a step has places for.
    tokens: Vec<u32>,
    /// The controller's tape; the backward pass leaves gradients in it.
    tape: TimeMajor<T>,
    cells: TimeMajor<T>,
    /// \[h ; r\].
    states: TimeMajor<T>,
    /// Interface vectors; the backward pass leaves their gradients in their place.
    interfaces: TimeMajor<T>,
    /// The backward pass left gradients in the tape and in the interfaces.
    overwritten: bool,
    lengths: Vec<usize>,
    /// Where rows start anew, in the order of time.
    starts: Vec<Start>,
    dropout: BypassDropout,
    /// One for each row, if there is any dropout.
    dropout_seeds: Vec<u64>,
    /// Steps that were run.
    steps: usize,
}

impl<T: Real> Call<T> {
    /// No step, from the state of new rows.
    fn new(rows: usize, sizes: Sizes) -> Self {
        let empty = |width| TimeMajor::zeros(0, rows, width);
        Self {
            inputs: empty(sizes.input),
            tokens: Vec::new(),
            tape: empty(sizes.tape),
            cells: TimeMajor::zeros(1, rows, sizes.cell),
            states: TimeMajor::zeros(1, rows, sizes.state),
            interfaces: empty(sizes.interface),
            overwritten: false,
            lengths: vec![0; rows],
            starts: Vec::new(),
            dropout: BypassDropout::default(),
            dropout_seeds: Vec::new(),
            steps: 0,
        }
    }

    /// Leaves out of [h ; r], of steps that follow each other from `first` on, what the output layer does not see.
    fn drop_out(&self, sizes: Sizes, first: usize, states: &mut TimeMajor<T>, count: usize) {
        for step in 0..count {
            let mut states = states.step_mut(step);
            for (row, seed) in self.dropout_seeds.iter().enumerate() {
                self.dropout.apply(*seed, first + step, &mut states.row(row)[..sizes.hidden]);
            }
        }
    }

    /// Elements that this many steps take beyond those held.
    fn growth(&self, steps: usize) -> u128 {
        let of_steps = [&self.inputs, &self.tape, &self.interfaces].map(|array| array.growth(steps));
        // The state before the first step as well.
        let of_states = [&self.cells, &self.states].map(|array| array.growth(steps + 1));
        of_steps.iter().chain(&of_states).sum()
    }
}

/// A row that is as new before a step.
#[derive(Clone, Copy, Debug)]
struct Start {
    step: usize,
    row: usize,
}

/// What passes work with.
#[derive(Debug)]
struct Scratch<T> {
    /// For each start that is looked at, zeros, or the states that they stand in for.
    aside: Vec<T>,
    /// The gradients of the outputs of a block of steps.
    output_gradients: TimeMajor<T>,
    /// \[h ; r\] of a block of steps as the output layer sees it, with dropout.
    seen: TimeMajor<T>,
    /// The gradients of \[h ; r\] at a block of steps.
    state_gradients: TimeMajor<T>,
    /// The gradient of \[h ; r\] that the step after passes on.
    carried_state: TimeMajor<T>,
    /// The gradient of c that the step after passes on.
    carried_cell: TimeMajor<T>,
    /// The gradient of one interface vector.
    interface: Vec<T>,
    /// Zeros in the place of an interface vector, or of the gradient of what was read.
    zeros: Vec<T>,
}

/// Puts \[h ; r\] and c together as \[h ; c ; r\], row after row.
fn gather<T: Real>(sizes: Sizes, state: StepView<'_, T>, cell: StepView<'_, T>, to: &mut [T]) {
    for (row, to) in to.chunks_exact_mut(sizes.controller()).enumerate() {
        let (hidden, read) = state.row(row).split_at(sizes.hidden);
        to[..sizes.hidden].copy_from_slice(hidden);
        to[sizes.hidden..][..sizes.cell].copy_from_slice(cell.row(row));
        to[sizes.hidden + sizes.cell..].copy_from_slice(read);
    }
}

/// Takes \[h ; c ; r\] apart, row after row.
fn scatter<T: Real>(sizes: Sizes, from: &[T], mut state: StepViewMut<'_, T>, mut cell: StepViewMut<'_, T>) {
    for (row, from) in from.chunks_exact(sizes.controller()).enumerate() {
        let (hidden, read) = state.row(row).split_at_mut(sizes.hidden);
        hidden.copy_from_slice(&from[..sizes.hidden]);
        cell.row(row).copy_from_slice(&from[sizes.hidden..][..sizes.cell]);
        read.copy_from_slice(&from[sizes.hidden + sizes.cell..]);
    }
}

impl<T: Real> Shard<T> {
    /// A shard of `rows` fresh rows.
    fn new(config: &NetworkConfig, rows: usize) -> Result<Self, Error> {
        let sizes = Sizes::new(config);
        let mut memories = Vec::new();
        for _ in 0..rows {
            memories.extend(config.memory.build()?);
        }
        let empty = |width| TimeMajor::zeros(0, rows, width);
        Ok(Self {
            rows,
            sizes,
            memories,
            call: Call::new(rows, sizes),
            before: Vec::new(),
            after: Vec::new(),
            spare: Vec::new(),
            outputs: empty(sizes.output),
            input_gradients: empty(sizes.input),
            at_end: true,
            scratch: Scratch {
                aside: Vec::new(),
                output_gradients: empty(sizes.output),
                seen: empty(sizes.state),
                state_gradients: empty(sizes.state),
                carried_state: TimeMajor::zeros(1, rows, sizes.state),
                carried_cell: TimeMajor::zeros(1, rows, sizes.cell),
                interface: Vec::new(),
                zeros: Vec::new(),
            },
        })
    }

    /// Makes a row as it was when made; an episode must have been started, so that no tape is there.
    pub fn reset_row(&mut self, row: usize) {
        self.call.cells.step_mut(0).row(row).fill(T::ZERO);
        self.call.states.step_mut(0).row(row).fill(T::ZERO);
        if let Some(memory) = self.memories.get_mut(row) {
            memory.reset();
        }
    }

    /// The memories of the rows; none of a network without.
    pub fn memories(&mut self) -> &mut [Box<dyn Memory<T>>] {
        &mut self.memories
    }

    /// Puts a row's controller and memory, as they stand, into `to`. The tape stays.
    pub fn save_row(&mut self, row: usize, to: &mut Arrays<T>) {
        let Sizes { hidden, cell, read, .. } = self.sizes;
        let step = if self.at_end { self.call.steps } else { 0 };
        let now = self.call.states.step(step).row(row);
        to.put_real(HIDDEN, &[hidden], now[..hidden].to_vec());
        if cell > 0 {
            to.put_real(CELL, &[cell], self.call.cells.step(step).row(row).to_vec());
        }
        if let Some(memory) = self.memories.get_mut(row) {
            to.put_real(READ, &[read], now[hidden..].to_vec());
            memory.save(to);
        }
    }

    /// Takes over a row that was [`save`](Self::save_row)d; an episode must have been started, so that no tape is
    /// there. After an error the row is as it was made.
    pub fn load_row(&mut self, row: usize, from: &mut Arrays<T>) -> Result<(), Error> {
        let loaded = self.take_over(row, from);
        if loaded.is_err() {
            self.reset_row(row);
        }
        loaded
    }

    fn take_over(&mut self, row: usize, from: &mut Arrays<T>) -> Result<(), Error> {
        let Sizes { hidden, cell, read, .. } = self.sizes;
        let mut start = self.call.states.step_mut(0);
        let now = start.row(row);
        now[..hidden].copy_from_slice(&from.take_real(HIDDEN, &[hidden])?);
        if cell > 0 {
            self.call.cells.step_mut(0).row(row).copy_from_slice(&from.take_real(CELL, &[cell])?);
        }
        if let Some(memory) = self.memories.get_mut(row) {
            now[hidden..].copy_from_slice(&from.take_real(READ, &[read])?);
            memory.load(from)?;
        }
        from.check_empty()
    }

    /// Stores every word of every row's memory; the rows must have been reset.
    pub fn fill(&mut self, content: impl Fn(usize, usize, &mut [T]) + Sync) {
        self.memories.par_iter_mut().enumerate().for_each(|(row, memory)| {
            memory.fill(&mut |word, elements| content(row, word, elements));
        });
    }

    /// Starts an episode from the state as it stands: the tape is emptied.
    pub fn start_episode(&mut self) {
        if self.at_end {
            self.call.cells.move_to_start(self.call.steps);
            self.call.states.move_to_start(self.call.steps);
        }
        self.call.steps = 0;
        self.call.overwritten = false;
        self.at_end = true;
        self.spare.append(&mut self.before);
        self.spare.append(&mut self.after);
        for memory in &mut self.memories {
            memory.start_episode();
        }
    }

    /// Starts a call from the state as it stands, behind those on the tape that are in force, of which there is one at
    /// least; what was undone is forgotten.
    fn start_call(&mut self) {
        if self.at_end {
            let mut next = self.spare.pop().unwrap_or_else(|| Call::new(self.rows, self.sizes));
            let end = self.call.steps;
            next.cells.step_mut(0).all().copy_from_slice(self.call.cells.step(end).all());
            next.states.step_mut(0).all().copy_from_slice(self.call.states.step(end).all());
            self.before.push(std::mem::replace(&mut self.call, next));
        } else {
            self.spare.append(&mut self.after);
            for memory in &mut self.memories {
                memory.forget_undone();
            }
        }
        self.call.steps = 0;
        self.call.overwritten = false;
        self.at_end = true;
    }

    /// Moves on to the state at the end of the tape, if the backward pass had left it further back.
    pub fn replay(&mut self) {
        if !self.at_end {
            for memory in &mut self.memories {
                memory.replay();
            }
            while let Some(next) = self.after.pop() {
                self.before.push(std::mem::replace(&mut self.call, next));
            }
            self.at_end = true;
        }
    }

    /// Takes up the latest call that is in force, for its backward pass; there must be one.
    fn take_up_latest(&mut self) {
        if !self.at_end
            && let Some(before) = self.before.pop()
        {
            self.after.push(std::mem::replace(&mut self.call, before));
        }
        self.at_end = true;
    }

    /// Copies each row's \[h ; c ; r\], as it stands, to its place in the batch's.
    pub fn write_controllers(&self, place: Place, to: &mut [T]) {
        let step = if self.at_end { self.call.steps } else { 0 };
        let to = &mut to[place.range(0, self.rows, self.sizes.controller())];
        gather(self.sizes, self.call.states.step(step), self.call.cells.step(step), to);
    }

    /// Takes over each row's \[h ; c ; r\] from its place in the batch's; an episode must have been started, so that no tape
    /// is there.
    pub fn take_controllers(&mut self, place: Place, from: &[T]) {
        let from = &from[place.range(0, self.rows, self.sizes.controller())];
        scatter(self.sizes, from, self.call.states.step_mut(0), self.call.cells.step_mut(0));
    }

    /// Copies the gradients of each row's \[h ; c ; r\] where the backward pass came to, to their place in the batch's.
    pub fn write_carried(&self, place: Place, to: &mut [T]) {
        let Scratch { carried_state, carried_cell, .. } = &self.scratch;
        let to = &mut to[place.range(0, self.rows, self.sizes.controller())];
        gather(self.sizes, carried_state.step(0), carried_cell.step(0), to);
    }

    /// Takes over the gradients of each row's \[h ; c ; r\] with which the backward pass goes on.
    pub fn take_carried(&mut self, place: Place, from: &[T]) {
        let Scratch { carried_state, carried_cell, .. } = &mut self.scratch;
        let from = &from[place.range(0, self.rows, self.sizes.controller())];
        scatter(self.sizes, from, carried_state.step_mut(0), carried_cell.step_mut(0));
    }

    /// The starts at some steps.
    fn starts_at(&self, steps: Range<usize>) -> Range<usize> {
        let before = |step: usize| self.call.starts.partition_point(|start| start.step < step);
        before(steps.start)..before(steps.end)
    }

    /// Puts zeros in the place of the states before these steps, which are steps from `first` on of their sequences, in the
    /// rows that start there; or, the second time, the states back in their place. Those steps see what a new row has, while
    /// the steps before keep what they led to.
    fn exchange_starts(&mut self, first: usize, steps: Range<usize>) {
        if self.call.starts.is_empty() {
            return;
        }
        let Sizes { state, cell, .. } = self.sizes;
        let starts = self.starts_at(first + steps.start..first + steps.end);
        let aside = &mut self.scratch.aside;
        if aside.len() < starts.len() * (state + cell) {
            aside.resize(starts.len() * (state + cell), T::ZERO);
        }
        for (Start { step, row }, aside) in self.call.starts[starts].iter().zip(aside.chunks_exact_mut(state + cell)) {
            let (of_state, of_cell) = aside.split_at_mut(state);
            self.call.states.step_mut(step - first).row(*row).swap_with_slice(of_state);
            self.call.cells.step_mut(step - first).row(*row).swap_with_slice(of_cell);
        }
    }

    /// Bytes that the tapes of these sequences take beyond those taken already, the controller's and the dense memories';
    /// and what restarts keep of sparse ones as they stand. `held` says how many steps and restarts of each row of the batch
    /// stay on the tape; with none, the call takes the place of what is there.
    pub fn tape_growth(&self, sequences: Sequences<'_, T>, place: Place, held: Option<&[usize]>) -> u128 {
        let lengths = &sequences.lengths[place.first_row..place.first_row + self.rows];
        let mut memories = 0;
        for (row, (memory, length)) in self.memories.iter().zip(lengths).enumerate() {
            let starts = sequences.starts_of(place.first_row + row);
            let before = held.map_or(0, |held| held[place.first_row + row]);
            memories += memory.tape_growth(before + length + starts);
            memories += if starts > 0 { memory.restart_growth() } else { 0 };
        }
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let of_call = match held {
            Some(_) if self.at_end => self
                .spare
                .last()
                .map_or_else(|| Call::<T>::new(self.rows, self.sizes).growth(steps), |spare| spare.growth(steps)),
            _ => self.call.growth(steps),
        };
        // The backward pass goes on to the embeddings.
        let places = self.sizes.step.tokens();
        let tokens = (steps * self.rows) as u128 * (places * size_of::<u32>()) as u128
            + self.input_gradients.growth(steps) * size_of::<T>() as u128;
        let of_tokens = if places > 0 { tokens } else { 0 };
        memories + of_tokens + (of_call + self.outputs.growth(steps)) * size_of::<T>() as u128
    }

    /// Elements of the outputs held.
    pub fn held_outputs(&self) -> usize {
        self.outputs.held()
    }
}
