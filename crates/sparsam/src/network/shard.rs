//! A few sequences that are run together on one thread, all their time steps forward and back.

use rayon::prelude::*;

use super::{NetworkConfig, Parameters};
use crate::controller::{Controller, Declaration, Rows, Step, StepBack};
use crate::kernels::matrix::{Packed, TILE_ROWS, View, multiply};
use crate::kernels::vector::{add, drop_negligible};
use crate::memory::Memory;
use crate::{Arrays, Error, Real};

/// Sequences in a shard. Fixed, so that sums over a batch do not depend on the number of threads.
pub const SHARD_ROWS: usize = TILE_ROWS;

/// Time steps whose outputs are handled at once, and the length of a piece of an untaped run.
const BLOCK: usize = 32;

/// What is saved of a controller: its hidden units, its cells, if it has any, and what was read last.
const HIDDEN: &str = "controller.hidden";
const CELL: &str = "controller.cell";
const READ: &str = "controller.read";

/// The weights that every time step uses, laid out for it.
#[derive(Debug)]
pub struct PackedWeights<T> {
    controller: Box<dyn Controller<T>>,
    /// h → interface, and back.
    interface: Packed<T>,
    interface_back: Packed<T>,
}

impl<T: Real> PackedWeights<T> {
    /// Room for the weights of a network; [`set`](Self::set) fills it.
    pub fn new(config: &NetworkConfig) -> Self {
        let sizes = Sizes::new(config);
        Self {
            controller: config.controller.build(config.controller_sizes()),
            interface: Packed::zeros(sizes.hidden, sizes.interface),
            interface_back: Packed::zeros(sizes.interface, sizes.hidden),
        }
    }

    /// Takes over the parameters.
    pub fn set(&mut self, config: &NetworkConfig, parameters: &Parameters<T>) {
        let Sizes { hidden, interface, of_controller, .. } = Sizes::new(config);
        self.controller.set(&parameters.values()[..of_controller]);
        if interface > 0 {
            let weight = parameters.get("interface.weight").unwrap_or_default();
            self.interface.set_rows_transposed(0, hidden, weight, hidden);
            self.interface_back.set_columns(0, hidden, weight, hidden);
        }
    }
}

/// Lengths of the vectors of one row.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    input: usize,
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
    /// The controller's parameters, which come first.
    of_controller: usize,
}

impl Sizes {
    fn new(config: &NetworkConfig) -> Self {
        let read = config.memory.read_len();
        let Declaration { parameters, cell, tape, .. } = config.controller_declaration();
        Self {
            input: config.input_size,
            hidden: config.hidden_size,
            output: config.output_len(),
            output_layer: config.output_size > 0,
            interface: config.memory.interface_len(),
            read,
            state: config.hidden_size + read,
            cell,
            tape,
            of_controller: parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum(),
        }
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

/// A few rows of a batch: their memories, the state of their controllers, and the controllers' tape.
///
/// Buffers hold time step after time step, in each row after row. Those of states have one entry more than there are
/// steps: entry 0 is the state at the start of the episode.
pub struct Shard<T: Real> {
    rows: usize,
    sizes: Sizes,
    memories: Vec<Box<dyn Memory<T>>>,
    inputs: Vec<T>,
    /// The controller's tape; going back leaves gradients in it.
    tape: Vec<T>,
    cells: Vec<T>,
    /// \[h ; r\].
    states: Vec<T>,
    /// Interface vectors; going back leaves their gradients in their place.
    interfaces: Vec<T>,
    outputs: Vec<T>,
    input_gradients: Vec<T>,
    lengths: Vec<usize>,
    /// Steps on the tape.
    steps: usize,
    /// The state is the one at the end of the tape; else that at its start.
    at_end: bool,
    scratch: Scratch<T>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    output_gradients: Vec<T>,
    state_gradients: Vec<T>,
    carried_state: Vec<T>,
    carried_cell: Vec<T>,
    interface: Vec<T>,
}

fn fit<T: Real>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, T::ZERO);
    }
}

impl<T: Real> Shard<T> {
    /// A shard of `rows` fresh rows.
    pub fn new(config: &NetworkConfig, rows: usize) -> Result<Self, Error> {
        let sizes = Sizes::new(config);
        let mut memories = Vec::new();
        for _ in 0..rows {
            memories.extend(config.memory.build()?);
        }
        Ok(Self {
            rows,
            sizes,
            memories,
            inputs: Vec::new(),
            tape: Vec::new(),
            cells: vec![T::ZERO; rows * sizes.cell],
            states: vec![T::ZERO; rows * sizes.state],
            interfaces: Vec::new(),
            outputs: Vec::new(),
            input_gradients: Vec::new(),
            lengths: vec![0; rows],
            steps: 0,
            at_end: true,
            scratch: Scratch::default(),
        })
    }

    /// Makes a row as it was when made; an episode must have been started, so that no tape is there.
    pub fn reset_row(&mut self, row: usize) {
        let Sizes { cell, state, .. } = self.sizes;
        self.cells[row * cell..(row + 1) * cell].fill(T::ZERO);
        self.states[row * state..(row + 1) * state].fill(T::ZERO);
        if let Some(memory) = self.memories.get_mut(row) {
            memory.reset();
        }
    }

    /// Puts a row's controller and memory, as they stand, into `to`. The tape stays.
    pub fn save_row(&mut self, row: usize, to: &mut Arrays<T>) {
        let Sizes { hidden, cell, read, state, .. } = self.sizes;
        let entry = if self.at_end { self.steps } else { 0 } * self.rows + row;
        let now = &self.states[entry * state..][..state];
        to.put_real(HIDDEN, &[hidden], now[..hidden].to_vec());
        if cell > 0 {
            to.put_real(CELL, &[cell], self.cells[entry * cell..][..cell].to_vec());
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
        let Sizes { hidden, cell, read, state, .. } = self.sizes;
        let now = &mut self.states[row * state..][..state];
        now[..hidden].copy_from_slice(&from.take_real(HIDDEN, &[hidden])?);
        if cell > 0 {
            self.cells[row * cell..][..cell].copy_from_slice(&from.take_real(CELL, &[cell])?);
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
            memory.fill(&mut |word, numbers| content(row, word, numbers));
        });
    }

    /// Starts an episode from the state as it stands: what is on the tape is forgotten.
    pub fn start_episode(&mut self) {
        if self.at_end {
            let (cells, states) = (self.rows * self.sizes.cell, self.rows * self.sizes.state);
            self.cells.copy_within(self.steps * cells..(self.steps + 1) * cells, 0);
            self.states.copy_within(self.steps * states..(self.steps + 1) * states, 0);
        }
        self.steps = 0;
        self.at_end = true;
        for memory in &mut self.memories {
            memory.start_episode();
        }
    }

    /// Moves on to the state at the end of the tape, if going back had left it at the start.
    pub fn replay(&mut self) {
        if !self.at_end {
            for memory in &mut self.memories {
                memory.replay();
            }
            self.at_end = true;
        }
    }

    /// Bytes that the tapes of sequences of these lengths take beyond those taken already, the controller's and the dense
    /// memories'.
    pub fn tape_growth(&self, lengths: &[usize], place: Place) -> u128 {
        let lengths = &lengths[place.first_row..place.first_row + self.rows];
        let memories: u128 =
            self.memories.iter().zip(lengths).map(|(memory, length)| memory.tape_growth(*length)).sum();
        let Sizes { input, output, interface, state, cell, tape, .. } = self.sizes;
        let steps = lengths.iter().copied().max().unwrap_or(0) as u128;
        let controller: u128 = [
            (&self.inputs, steps, input),
            (&self.tape, steps, tape),
            (&self.cells, steps + 1, cell),
            (&self.states, steps + 1, state),
            (&self.interfaces, steps, interface),
            (&self.outputs, steps, output),
        ]
        .into_iter()
        .map(|(buffer, steps, width)| (steps * (self.rows * width) as u128).saturating_sub(buffer.len() as u128))
        .sum();
        memories + controller * size_of::<T>() as u128
    }

    /// Numbers in the buffer of outputs.
    pub fn held_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Runs over all steps of its rows from the state as it stands, onto the tape, and keeps the outputs.
    pub fn forward(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        lengths: &[usize],
        place: Place,
    ) {
        let steps = self.start_pass(lengths, place);
        self.run(weights, parameters, inputs, place, 0, steps, true);
        self.steps = steps;
    }

    /// Runs over all steps without a tape, in memory that does not grow with their number (the outputs aside).
    pub fn infer(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        lengths: &[usize],
        place: Place,
    ) {
        let steps = self.start_pass(lengths, place);
        for first in (0..steps).step_by(BLOCK) {
            let count = BLOCK.min(steps - first);
            self.run(weights, parameters, inputs, place, first, count, false);
            self.steps = count;
            self.start_episode();
        }
    }

    /// Runs as [`infer`](Self::infer) does, step by step, and hands over what each row's memory did at each of its
    /// steps.
    pub fn trace(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        lengths: &[usize],
        place: Place,
        mut traced: impl FnMut(usize, usize, Arrays<T>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let steps = self.start_pass(lengths, place);
        for t in 0..steps {
            self.run(weights, parameters, inputs, place, t, 1, true);
            self.steps = 1;
            let interfaces = self.interfaces.chunks_exact(self.sizes.interface.max(1));
            for (row, (memory, interface)) in self.memories.iter().zip(interfaces).enumerate() {
                if t < self.lengths[row] {
                    let mut arrays = Arrays::default();
                    memory.trace(interface, &mut arrays);
                    traced(t, row, arrays)?;
                }
            }
            self.start_episode();
        }
        Ok(())
    }

    /// Starts an episode of as many steps as the longest of the shard's rows has, which it gives.
    fn start_pass(&mut self, lengths: &[usize], place: Place) -> usize {
        self.start_episode();
        self.lengths.copy_from_slice(&lengths[place.first_row..place.first_row + self.rows]);
        let steps = self.lengths.iter().copied().max().unwrap_or(0);
        fit(&mut self.outputs, steps * self.rows * self.sizes.output);
        steps
    }

    /// Runs steps `first..first + count` of the sequences; buffers other than the outputs hold just these.
    fn run(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        place: Place,
        first: usize,
        count: usize,
        record: bool,
    ) {
        let Sizes { input, hidden, output, output_layer, interface, state, cell, tape, of_controller, .. } = self.sizes;
        let rows = self.rows;
        fit(&mut self.inputs, count * rows * input);
        fit(&mut self.tape, count * rows * tape);
        fit(&mut self.cells, (count + 1) * rows * cell);
        fit(&mut self.states, (count + 1) * rows * state);
        fit(&mut self.interfaces, count * rows * interface);

        for t in 0..count {
            let start = ((first + t) * place.batch + place.first_row) * input;
            self.inputs[t * rows * input..(t + 1) * rows * input].copy_from_slice(&inputs[start..start + rows * input]);
        }
        let of_controller = &parameters.values()[..of_controller];
        let (inputs, tapes) = (&self.inputs[..count * rows * input], &mut self.tape[..count * rows * tape]);
        weights.controller.start(of_controller, inputs, tapes);

        let interface_bias = parameters.get("interface.bias").unwrap_or_default();
        for t in 0..count {
            let (before, now) = self.states.split_at_mut((t + 1) * rows * state);
            let before = &before[t * rows * state..];
            let (cells_before, cells) = self.cells.split_at_mut((t + 1) * rows * cell);
            let cells_before = &cells_before[t * rows * cell..];
            let tapes = &mut self.tape[t * rows * tape..(t + 1) * rows * tape];
            weights.controller.recur(rows, before, tapes);
            for row in 0..rows {
                let (before, now) = (&before[row * state..][..state], &mut now[row * state..][..state]);
                let (cell_before, cell) = (&cells_before[row * cell..][..cell], &mut cells[row * cell..][..cell]);
                if first + t < self.lengths[row] {
                    let hidden_before = &before[..hidden];
                    let step = Step { hidden_before, cell_before, cell, hidden: &mut now[..hidden] };
                    weights.controller.step(&mut tapes[row * tape..][..tape], step);
                } else {
                    // Past its end a sequence stands still.
                    cell.copy_from_slice(cell_before);
                    now.copy_from_slice(before);
                }
            }
            if interface > 0 {
                let interfaces = &mut self.interfaces[t * rows * interface..(t + 1) * rows * interface];
                for row in interfaces.chunks_exact_mut(interface) {
                    row.copy_from_slice(interface_bias);
                }
                weights.interface.multiply_add(rows, now, state, interfaces, interface);
                for (row, memory) in self.memories.iter_mut().enumerate() {
                    if first + t < self.lengths[row] {
                        let reads = &mut now[row * state + hidden..(row + 1) * state];
                        memory.step(&interfaces[row * interface..][..interface], reads, record);
                    }
                }
            }
        }

        let outputs = &mut self.outputs[first * rows * output..(first + count) * rows * output];
        let states = &self.states[rows * state..(count + 1) * rows * state];
        if output_layer {
            let bias = parameters.get("output.bias").unwrap_or_default();
            for outputs in outputs.chunks_exact_mut(output) {
                outputs.copy_from_slice(bias);
            }
            let weight = parameters.get("output.weight").unwrap_or_default();
            let states = View::new(states, count * rows, state, state);
            multiply(states, View::new(weight, output, state, state).transposed(), outputs, output);
        } else {
            outputs.copy_from_slice(states);
        }
        for t in 0..count {
            for row in 0..rows {
                if first + t >= self.lengths[row] {
                    outputs[(t * rows + row) * output..][..output].fill(T::ZERO);
                }
            }
        }
    }

    /// Copies the outputs of the latest run to their place in the batch's; those past the shard's longest sequence are 0.
    pub fn write_outputs(&self, place: Place, outputs: &mut [T]) {
        self.scatter(&self.outputs, self.sizes.output, place, outputs);
    }

    /// Copies the gradients of the inputs to their place in the batch's.
    pub fn write_input_gradients(&self, place: Place, gradients: &mut [T]) {
        self.scatter(&self.input_gradients, self.sizes.input, place, gradients);
    }

    fn scatter(&self, from: &[T], width: usize, place: Place, to: &mut [T]) {
        let steps = self.lengths.iter().copied().max().unwrap_or(0);
        let width = self.rows * width;
        let stride = place.batch * (width / self.rows);
        for (t, to) in to.chunks_exact_mut(stride).enumerate() {
            let to = &mut to[place.first_row * (width / self.rows)..][..width];
            if t < steps {
                to.copy_from_slice(&from[t * width..(t + 1) * width]);
            } else {
                to.fill(T::ZERO);
            }
        }
    }

    /// Goes back through the tape: adds to `gradients` what the batch's `output_gradients` make of these rows, and
    /// leaves the state, and every memory, as it was when the episode started.
    pub fn backward(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        output_gradients: &[T],
        place: Place,
        gradients: &mut Parameters<T>,
        with_inputs: bool,
    ) {
        let Sizes { input, hidden, interface, state, cell, tape, of_controller, .. } = self.sizes;
        let (rows, steps) = (self.rows, self.steps);
        let scratch = &mut self.scratch;
        fit(&mut scratch.interface, interface);
        fit(&mut scratch.carried_state, rows * state);
        fit(&mut scratch.carried_cell, rows * cell);
        scratch.carried_state.fill(T::ZERO);
        scratch.carried_cell.fill(T::ZERO);

        for t in (0..steps).rev() {
            if t + 1 == steps || (t + 1) % BLOCK == 0 {
                let first = t / BLOCK * BLOCK;
                self.output_back(parameters, output_gradients, place, first, t + 1 - first, gradients);
            }
            let scratch = &mut self.scratch;
            let from_outputs = &mut scratch.state_gradients[t % BLOCK * rows * state..][..rows * state];
            add(from_outputs, &scratch.carried_state[..rows * state]);
            // Gradients vanish on the way back through a long sequence, and do not end with zero by themselves.
            drop_negligible(from_outputs);
            if interface > 0 {
                let interfaces = &mut self.interfaces[t * rows * interface..(t + 1) * rows * interface];
                for (row, memory) in self.memories.iter_mut().enumerate() {
                    let vector = &mut interfaces[row * interface..][..interface];
                    if t < self.lengths[row] {
                        let reads = &from_outputs[row * state + hidden..(row + 1) * state];
                        memory.step_back(vector, reads, &mut scratch.interface[..interface]);
                        vector.copy_from_slice(&scratch.interface[..interface]);
                        drop_negligible(vector);
                    } else {
                        vector.fill(T::ZERO);
                    }
                }
                weights.interface_back.multiply_add(rows, interfaces, interface, from_outputs, state);
            }
            let carried = &mut scratch.carried_state[..rows * state];
            carried.fill(T::ZERO);
            let tapes = &mut self.tape[t * rows * tape..(t + 1) * rows * tape];
            for row in 0..rows {
                let tape = &mut tapes[row * tape..][..tape];
                if t < self.lengths[row] {
                    let step = StepBack {
                        hidden_before: &self.states[(t * rows + row) * state..][..hidden],
                        cell_before: &self.cells[(t * rows + row) * cell..][..cell],
                        cell: &self.cells[((t + 1) * rows + row) * cell..][..cell],
                        hidden_gradient: &from_outputs[row * state..][..hidden],
                        cell_gradient: &mut scratch.carried_cell[row * cell..][..cell],
                        before_gradient: &mut carried[row * state..][..hidden],
                    };
                    weights.controller.step_back(tape, step, &mut gradients.values_mut()[..of_controller]);
                } else {
                    tape.fill(T::ZERO);
                }
            }
            weights.controller.recur_back(rows, tapes, carried);
        }
        self.at_end = false;

        // The gradients of all weights are products over time × rows.
        let count = steps * rows;
        let input_gradients = with_inputs.then(|| {
            fit(&mut self.input_gradients, count * input);
            self.input_gradients.fill(T::ZERO);
            &mut self.input_gradients[..]
        });
        if count > 0 {
            let rows = Rows {
                count,
                inputs: &self.inputs[..count * input],
                before: &self.states[..count * state],
                tape: &self.tape[..count * tape],
            };
            let (parameters, gradients) =
                (&parameters.values()[..of_controller], &mut gradients.values_mut()[..of_controller]);
            weights.controller.finish_back(parameters, &rows, gradients, input_gradients);
        }
        if interface > 0 {
            let interfaces = View::new(&self.interfaces, count, interface, interface).transposed();
            let hidden_now = View::new(&self.states[rows * state..], count, hidden, state);
            multiply(interfaces, hidden_now, gradients.get_mut("interface.weight").unwrap_or_default(), hidden);
            let bias = gradients.get_mut("interface.bias").unwrap_or_default();
            for vector in self.interfaces[..count * interface].chunks_exact(interface) {
                add(bias, vector);
            }
        }
    }

    /// The output layer's part of going back, for `count` steps from `first` on: the gradients of its weights, and of
    /// \[h ; r\] at each of these steps.
    fn output_back(
        &mut self,
        parameters: &Parameters<T>,
        output_gradients: &[T],
        place: Place,
        first: usize,
        count: usize,
        gradients: &mut Parameters<T>,
    ) {
        let Sizes { output, output_layer, state, .. } = self.sizes;
        let rows = self.rows;
        let scratch = &mut self.scratch;
        fit(&mut scratch.state_gradients, BLOCK * rows * state);
        let gathered = if output_layer {
            fit(&mut scratch.output_gradients, BLOCK * rows * output);
            &mut scratch.output_gradients
        } else {
            &mut scratch.state_gradients
        };
        for t in 0..count {
            let from = ((first + t) * place.batch + place.first_row) * output;
            for row in 0..rows {
                let to = &mut gathered[(t * rows + row) * output..][..output];
                if first + t < self.lengths[row] {
                    to.copy_from_slice(&output_gradients[from + row * output..][..output]);
                } else {
                    to.fill(T::ZERO);
                }
            }
        }
        if !output_layer {
            return;
        }
        let from_outputs = View::new(&scratch.output_gradients, count * rows, output, output);
        let states = View::new(&self.states[(first + 1) * rows * state..], count * rows, state, state);
        multiply(from_outputs.transposed(), states, gradients.get_mut("output.weight").unwrap_or_default(), state);
        let bias = gradients.get_mut("output.bias").unwrap_or_default();
        for vector in scratch.output_gradients[..count * rows * output].chunks_exact(output) {
            add(bias, vector);
        }
        let weight = View::new(parameters.get("output.weight").unwrap_or_default(), output, state, state);
        scratch.state_gradients[..count * rows * state].fill(T::ZERO);
        multiply(from_outputs, weight, &mut scratch.state_gradients, state);
    }
}
