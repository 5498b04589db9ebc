//! The LSTM (Hochreiter and Schmidhuber 1997, with the forget gates of Gers et al. 2000), as in PyTorch's `nn.LSTM`.
//!
//! With z = \[x ; r'\], and gates in PyTorch's order (input i, forget f, candidate g, output o):
//!
//! a = W_ih z + W_hh h' + b, cut into a_i, a_f, a_g, a_o of H numbers each;
//! i = σ(a_i), f = σ(a_f), g = tanh(a_g), o = σ(a_o);
//! c = f ⊙ c' + i ⊙ g; h = o ⊙ tanh(c).
//!
//! One bias vector stands for PyTorch's two, whose sum it is. In a new network it is 0, and 1 for the forget gate.
//!
//! A row of the tape is a, then (i, f, g, o), then the gradient of a.

use super::add_hidden_back;
use super::{Controller, Declaration, First, InputWeights, Parameter, Recurrent, Rows, Sizes, Step, StepBack};
use crate::Real;
use crate::kernels::simd::vector_fn;
use crate::kernels::vector::{add, drop_negligible};

/// Parameters `controller.weight_ih` (4H × (I + R·W)), `controller.weight_hh` (4H × H) and `controller.bias` (4H).
pub fn declare(sizes: Sizes) -> Declaration {
    let Sizes { input, hidden, read } = sizes;
    Declaration {
        parameters: vec![
            Parameter {
                name: "controller.weight_ih",
                shape: vec![4 * hidden, input + read],
                first: First::InputWeights,
            },
            Parameter { name: "controller.weight_hh", shape: vec![4 * hidden, hidden], first: First::HiddenWeights },
            Parameter { name: "controller.bias", shape: vec![4 * hidden], first: First::Blocks(&[0.0, 1.0, 0.0, 0.0]) },
        ],
        cell: hidden,
        tape: 4 * hidden,
        packed: 2 * 4 * hidden as u128 * sizes.state() as u128,
    }
}

/// An LSTM's weights.
#[derive(Debug)]
pub struct Lstm<T> {
    sizes: Sizes,
    input: InputWeights,
    recurrent: Recurrent<T>,
}

/// The parameters, or their gradients, one by one.
struct Parts<V> {
    weight_ih: V,
    weight_hh: V,
    bias: V,
}

impl<T: Real> Lstm<T> {
    /// Room for the weights.
    pub fn new(sizes: Sizes) -> Self {
        let gates = 4 * sizes.hidden;
        let input = InputWeights { sizes, tape: gates, rows: gates };
        Self { sizes, input, recurrent: Recurrent::new(0..sizes.state(), 0..gates) }
    }

    fn gates(&self) -> usize {
        4 * self.sizes.hidden
    }

    fn parts<'a>(&self, parameters: &'a [T]) -> Parts<&'a [T]> {
        let (weight_ih, rest) = parameters.split_at(self.gates() * (self.sizes.input + self.sizes.read));
        let (weight_hh, bias) = rest.split_at(self.gates() * self.sizes.hidden);
        Parts { weight_ih, weight_hh, bias }
    }

    fn parts_mut<'a>(&self, gradients: &'a mut [T]) -> Parts<&'a mut [T]> {
        let (weight_ih, rest) = gradients.split_at_mut(self.gates() * (self.sizes.input + self.sizes.read));
        let (weight_hh, bias) = rest.split_at_mut(self.gates() * self.sizes.hidden);
        Parts { weight_ih, weight_hh, bias }
    }
}

impl<T: Real> Controller<T> for Lstm<T> {
    fn set(&mut self, parameters: &[T]) {
        let Sizes { input, hidden, read } = self.sizes;
        let Parts { weight_ih, weight_hh, .. } = self.parts(parameters);
        self.recurrent.set(0..hidden, weight_hh, hidden);
        self.recurrent.set(hidden..hidden + read, &weight_ih[input..], input + read);
    }

    fn start(&self, parameters: &[T], inputs: &[T], tape: &mut [T]) {
        let Parts { weight_ih, bias, .. } = self.parts(parameters);
        for gates in tape.chunks_exact_mut(self.gates()) {
            gates.copy_from_slice(bias);
        }
        self.input.add(weight_ih, inputs, tape);
    }

    fn recur(&self, rows: usize, before: &[T], tape: &mut [T]) {
        self.recurrent.add(rows, before, self.sizes.state(), tape, self.gates());
    }

    fn step(&self, tape: &mut [T], step: Step<T>) {
        cell(tape, step.cell_before, step.cell, step.hidden);
    }

    fn step_back(&self, tape: &mut [T], step: StepBack<T>, _: &mut [T]) {
        cell_back(tape, step.cell_before, step.cell, step.hidden_gradient, step.cell_gradient);
        drop_negligible(tape);
        drop_negligible(step.cell_gradient);
    }

    fn recur_back(&self, rows: usize, tape: &[T], before_gradient: &mut [T]) {
        self.recurrent.add_back(rows, tape, self.gates(), before_gradient, self.sizes.state());
    }

    fn finish_back(&self, parameters: &[T], rows: &Rows<T>, gradients: &mut [T], input_gradients: Option<&mut [T]>) {
        let gradients = self.parts_mut(gradients);
        self.input.add_back(self.parts(parameters).weight_ih, rows, gradients.weight_ih, input_gradients);
        add_hidden_back(self.sizes, rows, self.gates(), 0..self.gates(), gradients.weight_hh);
        for gates in rows.tape.chunks_exact(self.gates()) {
            add(gradients.bias, gates);
        }
    }
}

vector_fn! {
    /// One step of one sequence: c = f c' + i g, h = o tanh(c). `gates` holds the 4H sums of the gates and is left with
    /// their activations, which [`cell_back`] takes; `previous_cell`, `cell` and `hidden` hold H numbers.
    fn cell<T, I>(gates: &mut [T], previous_cell: &[T], cell: &mut [T], hidden: &mut [T]) {
        let size = hidden.len();
        let (input_forget, candidate_output) = gates[..4 * size].split_at_mut(2 * size);
        let (candidate, output) = candidate_output.split_at_mut(size);
        for x in input_forget.iter_mut() {
            *x = x.sigmoid();
        }
        for x in candidate.iter_mut() {
            *x = x.tanh();
        }
        for x in output.iter_mut() {
            *x = x.sigmoid();
        }
        let (input, forget) = input_forget.split_at(size);
        let (previous_cell, cell) = (&previous_cell[..size], &mut cell[..size]);
        for j in 0..size {
            cell[j] = forget[j] * previous_cell[j] + input[j] * candidate[j];
        }
        for j in 0..size {
            hidden[j] = output[j] * cell[j].tanh();
        }
    }
}

vector_fn! {
    /// The gradient of [`cell`]. Takes the activations in `gates` and leaves there the gradient of the sums; takes in
    /// `cell_gradient` what came from the step after and leaves there what goes to the step before.
    fn cell_back<T, I>(
        gates: &mut [T],
        previous_cell: &[T],
        cell: &[T],
        hidden_gradient: &[T],
        cell_gradient: &mut [T],
    ) {
        let size = cell.len();
        let (input, rest) = gates[..4 * size].split_at_mut(size);
        let (forget, rest) = rest.split_at_mut(size);
        let (candidate, output) = rest.split_at_mut(size);
        let (previous_cell, hidden_gradient) = (&previous_cell[..size], &hidden_gradient[..size]);
        let cell_gradient = &mut cell_gradient[..size];
        for j in 0..size {
            let (o, squashed, dh) = (output[j], cell[j].tanh(), hidden_gradient[j]);
            output[j] = dh * squashed * o * (T::ONE - o);
            cell_gradient[j] += dh * o * (T::ONE - squashed * squashed);
        }
        for j in 0..size {
            let (i, f, g, dc) = (input[j], forget[j], candidate[j], cell_gradient[j]);
            input[j] = dc * g * i * (T::ONE - i);
            forget[j] = dc * previous_cell[j] * f * (T::ONE - f);
            candidate[j] = dc * i * (T::ONE - g * g);
            cell_gradient[j] = dc * f;
        }
    }
}
