//! An LSTM with layer normalisation (after Ba, Kiros and Hinton 2016, arXiv 1607.06450).
//!
//! With z = \[x ; r'\], gates in PyTorch's order (input i, forget f, candidate g, output o), and
//! N(a) = (a - mean(a)) / √(variance(a) + 10⁻⁵) over all numbers of a vector, the variance that of the vector itself
//! (divided by its length):
//!
//! a = α_x ⊙ N(W_ih z) + α_h ⊙ N(W_hh h') + b, cut into a_i, a_f, a_g, a_o of H numbers each;
//! i = σ(a_i), f = σ(a_f), g = tanh(a_g), o = σ(a_o);
//! c = f ⊙ c' + i ⊙ g; h = o ⊙ tanh(α_c ⊙ N(c) + β_c).
//!
//! The paper has a shift in each of the two normalisations of the gates beside b; their sum is all that matters, and it is
//! b. In a new network the gains α are 1, β_c is 0, and b is 0, and 1 for the forget gate. c is carried as it is, without
//! its normalisation.
//!
//! A row of the tape is (W_ih z, W_hh h', a, N(c), three scales), 13 H + 3 numbers; a step normalises the first two in
//! place, turns a into (i, f, g, o), and keeps each 1 / √(variance + 10⁻⁵). Going back leaves the gradients of W_ih z and
//! W_hh h'.

use super::add_hidden_back;
use super::{Controller, Declaration, First, InputWeights, Parameter, Recurrent, Rows, Sizes, Step, StepBack};
use crate::Real;
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::{dot, drop_negligible, sum};

/// Added to a variance.
const EPSILON: f64 = 1e-5;

/// Parameters `controller.weight_ih` (4H × (I + R·W)), `controller.weight_hh` (4H × H), `controller.bias` (4H), the gains
/// `controller.gain_ih` and `controller.gain_hh` (4H each), and `controller.gain_cell` and `controller.bias_cell` (H each).
pub fn declare(sizes: Sizes) -> Declaration {
    let Sizes { input, hidden, read } = sizes;
    let gains = First::Blocks(&[1.0]);
    let parameter = |name, shape, first| Parameter { name, shape, first };
    Declaration {
        parameters: vec![
            parameter("controller.weight_ih", vec![4 * hidden, input + read], First::InputWeights),
            parameter("controller.weight_hh", vec![4 * hidden, hidden], First::HiddenWeights),
            parameter("controller.bias", vec![4 * hidden], First::Blocks(&[0.0, 1.0, 0.0, 0.0])),
            parameter("controller.gain_ih", vec![4 * hidden], gains),
            parameter("controller.gain_hh", vec![4 * hidden], gains),
            parameter("controller.gain_cell", vec![hidden], gains),
            parameter("controller.bias_cell", vec![hidden], First::Blocks(&[0.0])),
        ],
        cell: hidden,
        tape: tape(hidden),
        packed: 2 * 4 * hidden as u128 * sizes.state() as u128 + 14 * hidden as u128,
    }
}

/// Numbers in a row of the tape.
fn tape(hidden: usize) -> usize {
    13 * hidden + 3
}

/// Numbers in the vectors beside the two matrices.
fn vectors(hidden: usize) -> usize {
    14 * hidden
}

/// The weights of an LSTM with layer normalisation.
#[derive(Debug)]
pub struct LayerNormLstm<T> {
    sizes: Sizes,
    input: InputWeights,
    /// From h' to W_hh h', and from r' to W_ih z.
    from_hidden: Recurrent<T>,
    from_read: Recurrent<T>,
    /// All parameters but the matrices.
    vectors: Vec<T>,
}

/// The vectors among the parameters, or their gradients.
struct Vectors<V> {
    bias: V,
    gain_ih: V,
    gain_hh: V,
    gain_cell: V,
    bias_cell: V,
}

impl<'a, T> Vectors<&'a [T]> {
    fn of(vectors: &'a [T], hidden: usize) -> Self {
        let (bias, rest) = vectors.split_at(4 * hidden);
        let (gain_ih, rest) = rest.split_at(4 * hidden);
        let (gain_hh, rest) = rest.split_at(4 * hidden);
        let (gain_cell, bias_cell) = rest.split_at(hidden);
        Self { bias, gain_ih, gain_hh, gain_cell, bias_cell }
    }
}

impl<'a, T> Vectors<&'a mut [T]> {
    fn of_mut(vectors: &'a mut [T], hidden: usize) -> Self {
        let (bias, rest) = vectors.split_at_mut(4 * hidden);
        let (gain_ih, rest) = rest.split_at_mut(4 * hidden);
        let (gain_hh, rest) = rest.split_at_mut(4 * hidden);
        let (gain_cell, bias_cell) = rest.split_at_mut(hidden);
        Self { bias, gain_ih, gain_hh, gain_cell, bias_cell }
    }
}

/// The parts of a row of the tape.
struct Row<'a, T> {
    from_input: &'a mut [T],
    from_hidden: &'a mut [T],
    gates: &'a mut [T],
    cell: &'a mut [T],
    /// Of the three normalisations, in this order: of W_ih z, of W_hh h', of c.
    scales: &'a mut [T],
}

impl<'a, T> Row<'a, T> {
    #[inline(always)]
    fn new(tape: &'a mut [T], hidden: usize) -> Self {
        let (from_input, rest) = tape.split_at_mut(4 * hidden);
        let (from_hidden, rest) = rest.split_at_mut(4 * hidden);
        let (gates, rest) = rest.split_at_mut(4 * hidden);
        let (cell, scales) = rest.split_at_mut(hidden);
        Self { from_input, from_hidden, gates, cell, scales }
    }
}

impl<T: Real> LayerNormLstm<T> {
    /// Room for the weights.
    pub fn new(sizes: Sizes) -> Self {
        let hidden = sizes.hidden;
        Self {
            sizes,
            input: InputWeights { sizes, tape: tape(hidden), rows: 4 * hidden },
            from_hidden: Recurrent::new(0..hidden, 4 * hidden..8 * hidden),
            from_read: Recurrent::new(hidden..sizes.state(), 0..4 * hidden),
            vectors: vec![T::ZERO; vectors(hidden)],
        }
    }

    fn tape(&self) -> usize {
        tape(self.sizes.hidden)
    }

    /// Numbers in `controller.weight_ih` and in both matrices.
    fn matrices(&self) -> (usize, usize) {
        let Sizes { input, hidden, read } = self.sizes;
        (4 * hidden * (input + read), 4 * hidden * (input + read + hidden))
    }
}

impl<T: Real> Controller<T> for LayerNormLstm<T> {
    fn set(&mut self, parameters: &[T]) {
        let Sizes { input, hidden, read } = self.sizes;
        let (of_input, of_both) = self.matrices();
        self.from_hidden.set(0..hidden, &parameters[of_input..of_both], hidden);
        self.from_read.set(hidden..hidden + read, &parameters[input..of_input], input + read);
        self.vectors.copy_from_slice(&parameters[of_both..]);
    }

    fn start(&self, parameters: &[T], inputs: &[T], tape: &mut [T]) {
        tape.fill(T::ZERO);
        self.input.add(&parameters[..self.matrices().0], inputs, tape);
    }

    fn recur(&self, rows: usize, before: &[T], tape: &mut [T]) {
        for part in [&self.from_hidden, &self.from_read] {
            part.add(rows, before, self.sizes.state(), tape, self.tape());
        }
    }

    fn step(&self, tape: &mut [T], step: Step<T>) {
        cell(tape, &self.vectors, step.cell_before, step.cell, step.hidden);
    }

    fn step_back(&self, tape: &mut [T], step: StepBack<T>, gradients: &mut [T]) {
        let gradients = &mut gradients[self.matrices().1..];
        let StepBack { cell_before, hidden_gradient, cell_gradient, .. } = step;
        cell_back(tape, &self.vectors, cell_before, hidden_gradient, cell_gradient, gradients);
        drop_negligible(&mut tape[..8 * self.sizes.hidden]);
        drop_negligible(cell_gradient);
    }

    fn recur_back(&self, rows: usize, tape: &[T], before_gradient: &mut [T]) {
        for part in [&self.from_hidden, &self.from_read] {
            part.add_back(rows, tape, self.tape(), before_gradient, self.sizes.state());
        }
    }

    fn finish_back(&self, parameters: &[T], rows: &Rows<T>, gradients: &mut [T], input_gradients: Option<&mut [T]>) {
        let (of_input, of_both) = self.matrices();
        let part = 4 * self.sizes.hidden..8 * self.sizes.hidden;
        self.input.add_back(&parameters[..of_input], rows, &mut gradients[..of_input], input_gradients);
        add_hidden_back(self.sizes, rows, self.tape(), part, &mut gradients[of_input..of_both]);
    }
}

/// N(a) in the place of a; gives 1 / √(variance + ε).
#[inline(always)]
fn normalise<T: Real, I: InstructionSet>(simd: I, values: &mut [T]) -> T {
    let share = T::ONE / T::from_f64(values.len() as f64);
    let mean = sum(simd, values) * share;
    for value in values.iter_mut() {
        *value -= mean;
    }
    let scale = T::ONE / (dot(simd, values, values) * share + T::from_f64(EPSILON)).sqrt();
    for value in values.iter_mut() {
        *value *= scale;
    }
    scale
}

vector_fn! {
    /// One step of one sequence. `tape` holds the two sums, and is left with what [`cell_back`] takes.
    fn cell<T, simd: I>(tape: &mut [T], vectors: &[T], previous_cell: &[T], cell: &mut [T], hidden: &mut [T]) {
        let size = hidden.len();
        let Vectors { bias, gain_ih, gain_hh, gain_cell, bias_cell } = Vectors::of(vectors, size);
        let row = Row::new(tape, size);
        row.scales[0] = normalise(simd, row.from_input);
        row.scales[1] = normalise(simd, row.from_hidden);
        let (from_input, from_hidden, gates) = (&row.from_input[..4 * size], &row.from_hidden[..4 * size], row.gates);
        for j in 0..4 * size {
            gates[j] = gain_ih[j] * from_input[j] + gain_hh[j] * from_hidden[j] + bias[j];
        }
        let (input_forget, candidate_output) = gates.split_at_mut(2 * size);
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
        row.cell.copy_from_slice(cell);
        row.scales[2] = normalise(simd, row.cell);
        let normalised = &row.cell[..size];
        for j in 0..size {
            hidden[j] = output[j] * (gain_cell[j] * normalised[j] + bias_cell[j]).tanh();
        }
    }
}

vector_fn! {
    /// The gradient of [`cell`]. For d, the gradient of N(a), that of a is scale · (d - mean(d) - N(a) · mean(d ⊙ N(a))).
    ///
    /// Leaves in `tape` the gradients of the two sums; takes in `cell_gradient` what came from the
    /// step after and leaves there what goes to the step before; adds to the gradients of the vectors.
    fn cell_back<T, I>(
        tape: &mut [T],
        vectors: &[T],
        previous_cell: &[T],
        hidden_gradient: &[T],
        cell_gradient: &mut [T],
        gradients: &mut [T],
    ) {
        let size = hidden_gradient.len();
        let Vectors { gain_ih, gain_hh, gain_cell, bias_cell, .. } = Vectors::of(vectors, size);
        let of = Vectors::of_mut(gradients, size);
        let row = Row::new(tape, size);
        let (input, rest) = row.gates.split_at_mut(size);
        let (forget, rest) = rest.split_at_mut(size);
        let (candidate, output) = rest.split_at_mut(size);
        let (previous_cell, cell_gradient) = (&previous_cell[..size], &mut cell_gradient[..size]);

        // The output gate, and back through the normalisation of c, whose two means are known only after the loop.
        let (mut total, mut along) = (T::ZERO, T::ZERO);
        for j in 0..size {
            let (o, dh, normalised) = (output[j], hidden_gradient[j], row.cell[j]);
            let squashed = (gain_cell[j] * normalised + bias_cell[j]).tanh();
            output[j] = dh * squashed * o * (T::ONE - o);
            let over = dh * o * (T::ONE - squashed * squashed);
            of.gain_cell[j] += over * normalised;
            of.bias_cell[j] += over;
            let over_normalised = over * gain_cell[j];
            total += over_normalised;
            along += over_normalised * normalised;
            cell_gradient[j] += row.scales[2] * over_normalised;
        }
        let share = T::ONE / T::from_f64(size as f64);
        let (mean, along) = (total * share, along * share);
        for j in 0..size {
            cell_gradient[j] -= row.scales[2] * (mean + row.cell[j] * along);
        }
        for j in 0..size {
            let (i, f, g, dc) = (input[j], forget[j], candidate[j], cell_gradient[j]);
            input[j] = dc * g * i * (T::ONE - i);
            forget[j] = dc * previous_cell[j] * f * (T::ONE - f);
            candidate[j] = dc * i * (T::ONE - g * g);
            cell_gradient[j] = dc * f;
        }
        for j in 0..4 * size {
            let da = row.gates[j];
            of.bias[j] += da;
            of.gain_ih[j] += da * row.from_input[j];
            of.gain_hh[j] += da * row.from_hidden[j];
        }
        for (sum, gain, scale) in [(row.from_input, gain_ih, row.scales[0]), (row.from_hidden, gain_hh, row.scales[1])] {
            let share = T::ONE / T::from_f64(sum.len() as f64);
            let (mut mean, mut along) = (T::ZERO, T::ZERO);
            for j in 0..sum.len() {
                let d = row.gates[j] * gain[j];
                mean += d;
                along += d * sum[j];
            }
            let (mean, along) = (mean * share, along * share);
            for j in 0..sum.len() {
                sum[j] = scale * (row.gates[j] * gain[j] - mean - sum[j] * along);
            }
        }
    }
}
