//! The gated recurrent unit (Cho et al. 2014), in the form of PyTorch's `nn.GRU`: the reset gate acts on what the hidden
//! units give, after their weights.
//!
//! With z = \[x ; r'\], and rows in PyTorch's order (reset ρ, update u, new n; PyTorch calls them r, z, n):
//!
//! ρ = σ(W_iρ z + W_hρ h' + b_ρ); u = σ(W_iu z + W_hu h' + b_u);
//! n = tanh(W_in z + b_n + ρ ⊙ (W_hn h' + b_m));
//! h = (1 - u) ⊙ n + u ⊙ h'.
//!
//! PyTorch has two bias vectors. Of ρ and u only their sum matters, and it is the one that is kept here, as for the LSTM;
//! of n both matter, since ρ stands between them. So there are four blocks of H numbers: (b_ρ, b_u, b_n, b_m) =
//! (b_ir + b_hr, b_iz + b_hz, b_in, b_hn) in PyTorch's names. In a new network all are 0. There is no c.
//!
//! A row of the tape is (a_ρ, a_u, a_n, m), where m = W_hn h' + b_m and a_n is the rest of n's sum; then (ρ, u, n, m);
//! then the gradients of the four sums.

use super::add_hidden_back;
use super::{Controller, Declaration, First, InputWeights, Parameter, Recurrent, Rows, Sizes, Step, StepBack};
use crate::Real;
use crate::kernels::simd::vector_fn;
use crate::kernels::vector::{add, drop_negligible};

/// Parameters `controller.weight_ih` (3H × (I + R·W)), `controller.weight_hh` (3H × H) and `controller.bias` (4H).
pub fn declare(sizes: Sizes) -> Declaration {
    let Sizes { input, hidden, read } = sizes;
    Declaration {
        parameters: vec![
            Parameter {
                name: "controller.weight_ih",
                shape: vec![3 * hidden, input + read],
                first: First::InputWeights,
            },
            Parameter { name: "controller.weight_hh", shape: vec![3 * hidden, hidden], first: First::HiddenWeights },
            Parameter { name: "controller.bias", shape: vec![4 * hidden], first: First::Blocks(&[0.0]) },
        ],
        cell: 0,
        tape: 4 * hidden,
        packed: 2 * 3 * hidden as u128 * sizes.state() as u128,
    }
}

/// A GRU's weights.
#[derive(Debug)]
pub struct Gru<T> {
    sizes: Sizes,
    input: InputWeights,
    /// From h' to a_ρ and a_u, and to m; from r' to a_ρ, a_u and a_n.
    to_gates: Recurrent<T>,
    to_new: Recurrent<T>,
    from_read: Recurrent<T>,
}

/// The parameters, or their gradients, one by one.
struct Parts<V> {
    weight_ih: V,
    /// The rows of ρ and u, and those of n.
    weight_hh: [V; 2],
    bias: V,
}

impl<T: Real> Gru<T> {
    /// Room for the weights.
    pub fn new(sizes: Sizes) -> Self {
        let hidden = sizes.hidden;
        Self {
            sizes,
            input: InputWeights { sizes, tape: 4 * hidden, rows: 3 * hidden },
            to_gates: Recurrent::new(0..hidden, 0..2 * hidden),
            to_new: Recurrent::new(0..hidden, 3 * hidden..4 * hidden),
            from_read: Recurrent::new(hidden..sizes.state(), 0..3 * hidden),
        }
    }

    fn tape(&self) -> usize {
        4 * self.sizes.hidden
    }

    fn parts<'a>(&self, parameters: &'a [T]) -> Parts<&'a [T]> {
        let Sizes { input, hidden, read } = self.sizes;
        let (weight_ih, rest) = parameters.split_at(3 * hidden * (input + read));
        let (of_gates, rest) = rest.split_at(2 * hidden * hidden);
        let (of_new, bias) = rest.split_at(hidden * hidden);
        Parts { weight_ih, weight_hh: [of_gates, of_new], bias }
    }

    fn parts_mut<'a>(&self, gradients: &'a mut [T]) -> Parts<&'a mut [T]> {
        let Sizes { input, hidden, read } = self.sizes;
        let (weight_ih, rest) = gradients.split_at_mut(3 * hidden * (input + read));
        let (of_gates, rest) = rest.split_at_mut(2 * hidden * hidden);
        let (of_new, bias) = rest.split_at_mut(hidden * hidden);
        Parts { weight_ih, weight_hh: [of_gates, of_new], bias }
    }
}

impl<T: Real> Controller<T> for Gru<T> {
    fn set(&mut self, parameters: &[T]) {
        let Sizes { input, hidden, read } = self.sizes;
        let Parts { weight_ih, weight_hh: [of_gates, of_new], .. } = self.parts(parameters);
        self.to_gates.set(0..hidden, of_gates, hidden);
        self.to_new.set(0..hidden, of_new, hidden);
        self.from_read.set(hidden..hidden + read, &weight_ih[input..], input + read);
    }

    fn start(&self, parameters: &[T], inputs: &[T], tape: &mut [T]) {
        let Parts { weight_ih, bias, .. } = self.parts(parameters);
        for sums in tape.chunks_exact_mut(self.tape()) {
            sums.copy_from_slice(bias);
        }
        self.input.add(weight_ih, inputs, tape);
    }

    fn recur(&self, rows: usize, before: &[T], tape: &mut [T]) {
        for part in [&self.to_gates, &self.to_new, &self.from_read] {
            part.add(rows, before, self.sizes.state(), tape, self.tape());
        }
    }

    fn step(&self, tape: &mut [T], step: Step<T>) {
        cell(tape, step.hidden_before, step.hidden);
    }

    fn step_back(&self, tape: &mut [T], step: StepBack<T>, _: &mut [T]) {
        cell_back(tape, step.hidden_before, step.hidden_gradient, step.before_gradient);
        drop_negligible(tape);
    }

    fn recur_back(&self, rows: usize, tape: &[T], before_gradient: &mut [T]) {
        for part in [&self.to_gates, &self.to_new, &self.from_read] {
            part.add_back(rows, tape, self.tape(), before_gradient, self.sizes.state());
        }
    }

    fn finish_back(&self, parameters: &[T], rows: &Rows<T>, gradients: &mut [T], input_gradients: Option<&mut [T]>) {
        let hidden = self.sizes.hidden;
        let Parts { weight_ih, weight_hh: [of_gates, of_new], bias } = self.parts_mut(gradients);
        self.input.add_back(self.parts(parameters).weight_ih, rows, weight_ih, input_gradients);
        add_hidden_back(self.sizes, rows, self.tape(), 0..2 * hidden, of_gates);
        add_hidden_back(self.sizes, rows, self.tape(), 3 * hidden..4 * hidden, of_new);
        for sums in rows.tape.chunks_exact(self.tape()) {
            add(bias, sums);
        }
    }
}

vector_fn! {
    /// One step of one sequence. `tape` holds the sums (a_ρ, a_u, a_n, m) and is left with (ρ, u, n, m).
    fn cell<T, I>(tape: &mut [T], hidden_before: &[T], hidden: &mut [T]) {
        let size = hidden.len();
        let (gates, rest) = tape[..4 * size].split_at_mut(2 * size);
        let (new, from_hidden) = rest.split_at_mut(size);
        for x in gates.iter_mut() {
            *x = x.sigmoid();
        }
        let (reset, update) = gates.split_at(size);
        let (hidden_before, from_hidden) = (&hidden_before[..size], &from_hidden[..size]);
        for j in 0..size {
            new[j] = (new[j] + reset[j] * from_hidden[j]).tanh();
        }
        for j in 0..size {
            hidden[j] = (T::ONE - update[j]) * new[j] + update[j] * hidden_before[j];
        }
    }
}

vector_fn! {
    /// The gradient of [`cell`]. Takes (ρ, u, n, m) in `tape` and leaves there the gradients of the sums; adds to
    /// `before_gradient` what goes to h' by the update gate.
    fn cell_back<T, I>(tape: &mut [T], hidden_before: &[T], hidden_gradient: &[T], before_gradient: &mut [T]) {
        let size = hidden_gradient.len();
        let (reset, rest) = tape[..4 * size].split_at_mut(size);
        let (update, rest) = rest.split_at_mut(size);
        let (new, from_hidden) = rest.split_at_mut(size);
        let (hidden_before, from_hidden) = (&hidden_before[..size], &mut from_hidden[..size]);
        let before_gradient = &mut before_gradient[..size];
        for j in 0..size {
            let (r, u, n, dh) = (reset[j], update[j], new[j], hidden_gradient[j]);
            let dn = dh * (T::ONE - u) * (T::ONE - n * n);
            before_gradient[j] += dh * u;
            reset[j] = dn * from_hidden[j] * r * (T::ONE - r);
            update[j] = dh * (hidden_before[j] - n) * u * (T::ONE - u);
            new[j] = dn;
            from_hidden[j] = dn * r;
        }
    }
}
