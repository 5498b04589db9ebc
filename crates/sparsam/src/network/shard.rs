//! A few sequences that are run together on one thread, all their time steps forward and back.

use rayon::prelude::*;

use super::{NetworkConfig, Parameters};
use crate::controller::lstm::{cell, cell_back};
use crate::kernels::matrix::{Packed, TILE_ROWS, View, multiply};
use crate::kernels::vector::{add, drop_negligible};
use crate::memory::Memory;
use crate::{Arrays, Error, Real};

/// Sequences in a shard. Fixed, so that sums over a batch do not depend on the number of threads.
pub const SHARD_ROWS: usize = TILE_ROWS;

/// Time steps whose outputs are handled at once, and the length of a piece of an untaped run.
const BLOCK: usize = 32;

/// What is saved of a controller: its hidden units, its cells, and what was read last.
const HIDDEN: &str = "controller.hidden";
const CELL: &str = "controller.cell";
const READ: &str = "controller.read";

/// The weights that every time step uses, laid out for it.
#[derive(Debug)]
pub struct PackedWeights<T> {
    /// \[h ; r\] of the step before → gates.
    recurrent: Packed<T>,
    /// Gradient of the gates → gradient of \[h ; r\] of the step before.
    recurrent_back: Packed<T>,
    /// h → interface, and back.
    interface: Packed<T>,
    interface_back: Packed<T>,
}

impl<T: Real> PackedWeights<T> {
    /// Room for the weights of a network; [`set`](Self::set) fills it.
    pub fn new(config: &NetworkConfig) -> Self {
        let sizes = Sizes::new(config);
        Self {
            recurrent: Packed::zeros(sizes.state, 4 * sizes.hidden),
            recurrent_back: Packed::zeros(4 * sizes.hidden, sizes.state),
            interface: Packed::zeros(sizes.hidden, sizes.interface),
            interface_back: Packed::zeros(sizes.interface, sizes.hidden),
        }
    }

    /// Takes over the parameters.
    pub fn set(&mut self, config: &NetworkConfig, parameters: &Parameters<T>) {
        let sizes = Sizes::new(config);
        let Sizes { input, hidden, read, interface, .. } = sizes;
        let weight_ih = parameters.get("controller.weight_ih").unwrap_or_default();
        let weight_hh = parameters.get("controller.weight_hh").unwrap_or_default();
        self.recurrent.set_rows_transposed(0, hidden, weight_hh, hidden);
        self.recurrent_back.set_columns(0, hidden, weight_hh, hidden);
        if interface > 0 {
            self.recurrent.set_rows_transposed(hidden, read, &weight_ih[input..], input + read);
            self.recurrent_back.set_columns(hidden, read, &weight_ih[input..], input + read);
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
}

impl Sizes {
    fn new(config: &NetworkConfig) -> Self {
        let read = config.memory.read_len();
        Self {
            input: config.input_size,
            hidden: config.hidden_size,
            output: config.output_len(),
            output_layer: config.output_size > 0,
            interface: config.memory.interface_len(),
            read,
            state: config.hidden_size + read,
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
    /// Activations; going back leaves the gradients of the sums in their place.
    gates: Vec<T>,
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
    hidden: Vec<T>,
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
            gates: Vec::new(),
            cells: vec![T::ZERO; rows * sizes.hidden],
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
        let Sizes { hidden, state, .. } = self.sizes;
        self.cells[row * hidden..(row + 1) * hidden].fill(T::ZERO);
        self.states[row * state..(row + 1) * state].fill(T::ZERO);
        if let Some(memory) = self.memories.get_mut(row) {
            memory.reset();
        }
    }

    /// Puts a row's controller and memory, as they stand, into `to`. The tape stays.
    pub fn save_row(&mut self, row: usize, to: &mut Arrays<T>) {
        let Sizes { hidden, read, state, .. } = self.sizes;
        let entry = if self.at_end { self.steps } else { 0 } * self.rows + row;
        let now = &self.states[entry * state..][..state];
        to.put_real(HIDDEN, &[hidden], now[..hidden].to_vec());
        to.put_real(CELL, &[hidden], self.cells[entry * hidden..][..hidden].to_vec());
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
        let Sizes { hidden, read, state, .. } = self.sizes;
        let now = &mut self.states[row * state..][..state];
        now[..hidden].copy_from_slice(&from.take_real(HIDDEN, &[hidden])?);
        self.cells[row * hidden..][..hidden].copy_from_slice(&from.take_real(CELL, &[hidden])?);
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
            let (cells, states) = (self.rows * self.sizes.hidden, self.rows * self.sizes.state);
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
        let Sizes { input, hidden, output, interface, state, .. } = self.sizes;
        let steps = lengths.iter().copied().max().unwrap_or(0) as u128;
        let controller: u128 = [
            (&self.inputs, steps, input),
            (&self.gates, steps, 4 * hidden),
            (&self.cells, steps + 1, hidden),
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
        let Sizes { input, hidden, output, output_layer, interface, read, state } = self.sizes;
        let rows = self.rows;
        fit(&mut self.inputs, count * rows * input);
        fit(&mut self.gates, count * rows * 4 * hidden);
        fit(&mut self.cells, (count + 1) * rows * hidden);
        fit(&mut self.states, (count + 1) * rows * state);
        fit(&mut self.interfaces, count * rows * interface);

        for t in 0..count {
            let start = ((first + t) * place.batch + place.first_row) * input;
            self.inputs[t * rows * input..(t + 1) * rows * input].copy_from_slice(&inputs[start..start + rows * input]);
        }
        // The input's share of the gates is one product for all steps.
        let gates = &mut self.gates[..count * rows * 4 * hidden];
        let bias = parameters.get("controller.bias").unwrap_or_default();
        for gates in gates.chunks_exact_mut(4 * hidden) {
            gates.copy_from_slice(bias);
        }
        let weight_ih = parameters.get("controller.weight_ih").unwrap_or_default();
        let by_input = View::new(weight_ih, 4 * hidden, input, input + read).transposed();
        multiply(View::new(&self.inputs, count * rows, input, input), by_input, gates, 4 * hidden);

        let interface_bias = parameters.get("interface.bias").unwrap_or_default();
        for t in 0..count {
            let (before, now) = self.states.split_at_mut((t + 1) * rows * state);
            let before = &before[t * rows * state..];
            let (cells_before, cells) = self.cells.split_at_mut((t + 1) * rows * hidden);
            let cells_before = &cells_before[t * rows * hidden..];
            let gates = &mut self.gates[t * rows * 4 * hidden..(t + 1) * rows * 4 * hidden];
            weights.recurrent.multiply_add(rows, before, state, gates, 4 * hidden);
            for row in 0..rows {
                let (cell_before, now) = (&cells_before[row * hidden..][..hidden], &mut now[row * state..][..state]);
                let cell_now = &mut cells[row * hidden..][..hidden];
                if first + t < self.lengths[row] {
                    let gates = &mut gates[row * 4 * hidden..][..4 * hidden];
                    cell(gates, cell_before, cell_now, &mut now[..hidden]);
                } else {
                    // Past its end a sequence stands still.
                    cell_now.copy_from_slice(cell_before);
                    now.copy_from_slice(&before[row * state..][..state]);
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
        let Sizes { input, hidden, interface, read, state, .. } = self.sizes;
        let (rows, steps) = (self.rows, self.steps);
        let scratch = &mut self.scratch;
        fit(&mut scratch.interface, interface);
        fit(&mut scratch.hidden, rows * hidden);
        fit(&mut scratch.carried_state, rows * state);
        fit(&mut scratch.carried_cell, rows * hidden);
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
            let gates = &mut self.gates[t * rows * 4 * hidden..(t + 1) * rows * 4 * hidden];
            for row in 0..rows {
                let gates = &mut gates[row * 4 * hidden..][..4 * hidden];
                if t < self.lengths[row] {
                    cell_back(
                        gates,
                        &self.cells[(t * rows + row) * hidden..][..hidden],
                        &self.cells[((t + 1) * rows + row) * hidden..][..hidden],
                        &from_outputs[row * state..][..hidden],
                        &mut scratch.carried_cell[row * hidden..][..hidden],
                    );
                    drop_negligible(gates);
                    drop_negligible(&mut scratch.carried_cell[row * hidden..][..hidden]);
                } else {
                    gates.fill(T::ZERO);
                }
            }
            scratch.carried_state[..rows * state].fill(T::ZERO);
            weights.recurrent_back.multiply_add(rows, gates, 4 * hidden, &mut scratch.carried_state, state);
        }
        self.at_end = false;

        // The gradients of all weights are products over time × rows.
        let count = steps * rows;
        let gates = View::new(&self.gates, count, 4 * hidden, 4 * hidden).transposed();
        let inputs = View::new(&self.inputs, count, input, input);
        let hidden_before = View::new(&self.states, count, hidden, state);
        let weight_ih = gradients.get_mut("controller.weight_ih").unwrap_or_default();
        multiply(gates, inputs, weight_ih, input + read);
        if read > 0 && count > 0 {
            let reads_before = View::new(&self.states[hidden..], count, read, state);
            multiply(gates, reads_before, &mut weight_ih[input..], input + read);
        }
        multiply(gates, hidden_before, gradients.get_mut("controller.weight_hh").unwrap_or_default(), hidden);
        let bias = gradients.get_mut("controller.bias").unwrap_or_default();
        for gates in self.gates[..count * 4 * hidden].chunks_exact(4 * hidden) {
            add(bias, gates);
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
        if with_inputs {
            fit(&mut self.input_gradients, count * input);
            self.input_gradients.fill(T::ZERO);
            let weight_ih = parameters.get("controller.weight_ih").unwrap_or_default();
            let by_input = View::new(weight_ih, 4 * hidden, input, input + read);
            let gates = View::new(&self.gates, count, 4 * hidden, 4 * hidden);
            multiply(gates, by_input, &mut self.input_gradients, input);
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
