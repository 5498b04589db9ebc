//! Controllers: recurrent cells that drive a memory from one time step to the next, behind one trait.
//!
//! A controller sees z = \[x ; r'\], the input and what the step before read, and its own state (h', c'); it gives
//! (h, c). h drives the memory and the outputs; c, which not every controller has, it keeps to itself.
//!
//! Time goes through a [`Controller`] in this order. [`start`](Controller::start) takes the inputs of all steps at once,
//! in one large product. For each step [`recur`](Controller::recur) adds the share of \[h' ; r'\] for all sequences of a
//! shard, and [`step`](Controller::step) is the elementwise part of one sequence. In the backward pass
//! [`step_back`](Controller::step_back) and [`recur_back`](Controller::recur_back) take each step's gradient to the step
//! before, and [`finish_back`](Controller::finish_back) makes the gradients of all weights, in large products over time ×
//! sequences. What the backward pass needs of a step lies in one row of a tape, whose meaning is up to the controller;
//! the backward pass overwrites it with gradients.
//!
//! A controller is a file here and one line in the registry below.

mod gru;
mod layer_norm_lstm;
mod lstm;

use std::fmt::Debug;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Real;
use crate::kernels::matrix::{Packed, View, multiply};
use crate::option::word_option;

/// Lengths of the vectors that a controller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Numbers in an input, I.
    pub input: usize,
    /// Hidden units, H.
    pub hidden: usize,
    /// Numbers that a step reads from the memory, R·W; 0 without a memory.
    pub read: usize,
}

impl Sizes {
    /// Length of \[h ; r\].
    pub fn state(self) -> usize {
        self.hidden + self.read
    }
}

/// The numbers that a parameter of a new network holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// Those that suit weights of z, columns of inputs and of what was read.
    InputWeights,
    /// Those that suit weights of h'.
    HiddenWeights,
    /// As many blocks of the same length as there are numbers here, each of one number.
    Blocks(&'static [f64]),
}

/// A parameter of a controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in a checkpoint; it starts with `controller.`.
    pub name: &'static str,
    /// Its shape; matrices are out × in, row after row.
    pub shape: Vec<usize>,
    /// What it holds in a new network; [`first_values`](crate::NetworkConfig::first_values) says with which weights.
    pub first: First,
}

/// What a controller of given sizes is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Its parameters, in the order in which they lie one after another. The first is `controller.weight_ih`, whose columns
    /// are those of z.
    pub parameters: Vec<Parameter>,
    /// Numbers in c.
    pub cell: usize,
    /// Numbers in a row of the tape.
    pub tape: usize,
    /// Numbers that are laid out a second time for steps.
    pub packed: u128,
}

/// A sequence's states around one step, forward.
#[derive(Debug)]
pub struct Step<'a, T> {
    /// h'.
    pub hidden_before: &'a [T],
    /// c'.
    pub cell_before: &'a [T],
    /// Takes c.
    pub cell: &'a mut [T],
    /// Takes h.
    pub hidden: &'a mut [T],
}

/// A sequence's states around one step, and their gradients, back.
#[derive(Debug)]
pub struct StepBack<'a, T> {
    /// h'.
    pub hidden_before: &'a [T],
    /// c'.
    pub cell_before: &'a [T],
    /// c.
    pub cell: &'a [T],
    /// The gradient of h.
    pub hidden_gradient: &'a [T],
    /// The gradient of c as the step after left it; takes that of c'.
    pub cell_gradient: &'a mut [T],
    /// The gradient of h', to which is added what does not go through the weights.
    pub before_gradient: &'a mut [T],
}

/// A recurrent cell, with its weights laid out for steps.
///
/// Slices of parameters and of their gradients hold all parameters of the [`Declaration`], one after another. Rows of
/// `tape` are as long as declared, rows of \[h ; r\] as [`Sizes::state`]. See the [module](self) for the order of calls.
pub trait Controller<T: Real>: Debug + Send + Sync {
    /// Takes over the parameters.
    fn set(&mut self, parameters: &[T]);

    /// Starts every row of the tape from its input: one large product.
    fn start(&self, parameters: &[T], inputs: &[T], tape: &mut [T]);

    /// Adds the share of \[h' ; r'\] in one step of `rows` sequences.
    fn recur(&self, rows: usize, before: &[T], tape: &mut [T]);

    /// One step of one sequence, from its row of the tape. Leaves there what [`step_back`](Self::step_back) needs.
    fn step(&self, tape: &mut [T], step: Step<T>);

    /// Takes the gradient of one step of one sequence back: leaves in its row of the tape the gradients that
    /// [`recur_back`](Self::recur_back) and [`finish_back`](Self::finish_back) take, without
    /// [negligible](Real::NEGLIGIBLE) ones. Adds to `gradients` those of parameters that are no factors of a product.
    fn step_back(&self, tape: &mut [T], step: StepBack<T>, gradients: &mut [T]);

    /// Adds to the gradient of \[h' ; r'\], in one step of `rows` sequences, what goes through the weights.
    fn recur_back(&self, rows: usize, tape: &[T], before_gradient: &mut [T]);

    /// Adds the gradients of all other parameters, from the tape and the inputs of all steps and \[h' ; r'\] before each;
    /// and to `input_gradients` those of the inputs, if wanted.
    fn finish_back(&self, parameters: &[T], rows: &Rows<T>, gradients: &mut [T], input_gradients: Option<&mut [T]>);
}

/// What went into the products of all steps, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Rows, at least one.
    pub count: usize,
    /// The inputs.
    pub inputs: &'a [T],
    /// \[h' ; r'\].
    pub before: &'a [T],
    /// The tape.
    pub tape: &'a [T],
}

/// The registry of controllers: one line for each, with the file that it stands in.
macro_rules! controllers {
    ($($(#[$doc:meta])* $variant:ident in $module:ident = $name:literal,)*) => {
        /// Which recurrent cell drives the memory, or runs alone where there is none.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ControllerKind {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl ControllerKind {
            /// The names of all controllers.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The controller of that name.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The controller's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What such a controller is made of.
            pub(crate) fn declare(self, sizes: Sizes) -> Declaration {
                match self {
                    $(Self::$variant => $module::declare(sizes),)*
                }
            }

            /// Makes a controller; its weights are zero until set.
            pub(crate) fn build<T: Real>(self, sizes: Sizes) -> Box<dyn Controller<T>> {
                match self {
                    $(Self::$variant => Box::new($module::$variant::new(sizes)),)*
                }
            }
        }
    };
}

controllers! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates): the paper's, and the default.
    #[default]
    Lstm in lstm = "lstm",
    /// The gated recurrent unit (Cho et al. 2014), in PyTorch's form.
    Gru in gru = "gru",
    /// An LSTM with layer normalisation (Ba, Kiros and Hinton 2016).
    LayerNormLstm in layer_norm_lstm = "layer_norm_lstm",
}

impl ControllerKind {
    /// Whether it is the one of networks that do not say theirs.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

word_option!(ControllerKind);

/// The weights from a part of \[h' ; r'\] to a part of the tape's row, laid out for the products of steps.
#[derive(Debug)]
struct Recurrent<T> {
    forward: Packed<T>,
    back: Packed<T>,
    from: Range<usize>,
    to: Range<usize>,
}

impl<T: Real> Recurrent<T> {
    fn new(from: Range<usize>, to: Range<usize>) -> Self {
        let (forward, back) = (Packed::zeros(from.len(), to.len()), Packed::zeros(to.len(), from.len()));
        Self { forward, back, from, to }
    }

    /// Takes over the weights of the numbers `part` of \[h' ; r'\]: row j of `weights`, `stride` numbers from one to the
    /// next, has those of number j of the tape's part.
    fn set(&mut self, part: Range<usize>, weights: &[T], stride: usize) {
        let first = part.start - self.from.start;
        if !part.is_empty() {
            self.forward.set_rows_transposed(first, part.len(), weights, stride);
            self.back.set_columns(first, part.len(), weights, stride);
        }
    }

    /// Adds to the tape's rows the products with rows of \[h' ; r'\].
    fn add(&self, rows: usize, before: &[T], stride: usize, tape: &mut [T], tape_stride: usize) {
        if !self.from.is_empty() {
            let (before, tape) = (&before[self.from.start..], &mut tape[self.to.start..]);
            self.forward.multiply_add(rows, before, stride, tape, tape_stride);
        }
    }

    /// Adds to the gradients of \[h' ; r'\] what the tape's rows make of them.
    fn add_back(&self, rows: usize, tape: &[T], tape_stride: usize, gradient: &mut [T], stride: usize) {
        if !self.from.is_empty() {
            let (tape, gradient) = (&tape[self.to.start..], &mut gradient[self.from.start..]);
            self.back.multiply_add(rows, tape, tape_stride, gradient, stride);
        }
    }
}

/// The weights of z, `controller.weight_ih`: (rows × (I + R·W)) numbers.
#[derive(Clone, Copy, Debug)]
struct InputWeights {
    sizes: Sizes,
    /// Numbers in a row of the tape.
    tape: usize,
    /// Rows of the matrix: that many numbers from the start of the tape's row.
    rows: usize,
}

impl InputWeights {
    /// Adds the share of the inputs to the tape.
    fn add<T: Real>(self, weights: &[T], inputs: &[T], tape: &mut [T]) {
        let (Sizes { input, read, .. }, count) = (self.sizes, tape.len() / self.tape);
        let by_input = View::new(weights, self.rows, input, input + read).transposed();
        multiply(View::new(inputs, count, input, input), by_input, tape, self.tape);
    }

    /// Adds the gradients of the weights, and of the inputs, if wanted.
    fn add_back<T: Real>(self, weights: &[T], rows: &Rows<T>, gradient: &mut [T], input_gradients: Option<&mut [T]>) {
        let (Sizes { input, hidden, read }, count) = (self.sizes, rows.count);
        let tape = View::new(rows.tape, count, self.rows, self.tape);
        multiply(tape.transposed(), View::new(rows.inputs, count, input, input), gradient, input + read);
        if read > 0 {
            let reads_before = View::new(&rows.before[hidden..], count, read, hidden + read);
            multiply(tape.transposed(), reads_before, &mut gradient[input..], input + read);
        }
        if let Some(input_gradients) = input_gradients {
            multiply(tape, View::new(weights, self.rows, input, input + read), input_gradients, input);
        }
    }
}

/// Adds the gradient of the weights from h' to the numbers `part` of the tape's row.
fn add_hidden_back<T: Real>(sizes: Sizes, rows: &Rows<T>, tape: usize, part: Range<usize>, gradient: &mut [T]) {
    let of_part = View::new(&rows.tape[part.start..], rows.count, part.len(), tape);
    let hidden_before = View::new(rows.before, rows.count, sizes.hidden, sizes.state());
    multiply(of_part.transposed(), hidden_before, gradient, sizes.hidden);
}
