//! A slow restatement of the network, and the comparison of every model with the restatement of its memory.

use std::cell::RefCell;
use std::rc::Rc;

use sparsam::{ControllerKind, Network, Runner};

use super::{Batch, Kinds, network, of_row};

pub const EPSILON: f64 = 1e-6;

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A write gate that is shut up to a threshold.
pub fn write_gate(x: f64, threshold: f64) -> f64 {
    (sigmoid(x) - threshold).max(0.0) / (1.0 - threshold)
}

pub fn oneplus(x: f64) -> f64 {
    1.0 + x.exp().ln_1p()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / ((dot(a, a) + EPSILON).sqrt() * (dot(b, b) + EPSILON).sqrt())
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::MIN, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

/// Rows of a tensor times a vector, plus a bias.
pub fn affine(network: &Network<f64>, weight: &str, bias: Option<&str>, x: &[f64]) -> Vec<f64> {
    let rows = network.parameters().get(weight).expect("a parameter").chunks(x.len());
    let bias = bias.map(|name| network.parameters().get(name).expect("a parameter"));
    rows.enumerate().map(|(i, row)| dot(row, x) + bias.map_or(0.0, |b| b[i])).collect()
}

/// With mean 0 and variance 1, but for what is added to the variance.
fn normalised(x: &[f64]) -> Vec<f64> {
    let length = x.len() as f64;
    let mean = x.iter().sum::<f64>() / length;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / length;
    x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect()
}

/// A memory as its equations state it.
pub trait Reference {
    fn step(&mut self, interface: &[f64]) -> Vec<f64>;
}

/// Quantities of a restatement through which no gradient flows, in the order in which its equations ask for them. The
/// first run computes them; every run after a [`rewind`](Self::rewind) finds those of the first, whatever it perturbs,
/// so that finite differences do not see what depends on them.
#[derive(Clone, Default)]
pub struct Constants(Rc<RefCell<(Vec<Vec<f64>>, usize)>>);

impl Constants {
    pub fn get(&self, compute: impl FnOnce() -> Vec<f64>) -> Vec<f64> {
        let (kept, next) = &mut *self.0.borrow_mut();
        if *next == kept.len() {
            kept.push(compute());
        }
        *next += 1;
        kept[*next - 1].clone()
    }
    pub fn rewind(&self) {
        self.0.borrow_mut().1 = 0;
    }
}

/// The state of a controller: h, c, and what was read last.
pub struct Controller {
    h: Vec<f64>,
    c: Vec<f64>,
    r: Vec<f64>,
}

impl Controller {
    pub fn new(network: &Network<f64>) -> Self {
        let config = network.config();
        let zeros = vec![0.0; config.hidden_size];
        Self { h: zeros.clone(), c: zeros, r: vec![0.0; config.memory.read_len()] }
    }
}

/// The outputs of one sequence, by the equations, from a state on.
pub fn run(
    network: &Network<f64>,
    Controller { h, c, r }: &mut Controller,
    memory: &mut Option<Box<dyn Reference>>,
    inputs: &[f64],
) -> Vec<f64> {
    let config = network.config();
    let hidden = config.hidden_size;
    let mut outputs = Vec::new();
    for x in inputs.chunks(config.input_size) {
        let z = [x, r].concat();
        let from_input = affine(network, "controller.weight_ih", None, &z);
        let from_hidden = affine(network, "controller.weight_hh", None, h);
        let parameter = |name: &str| network.parameters().get(name).expect("a parameter");
        let bias = parameter("controller.bias");
        match config.controller {
            ControllerKind::Lstm => {
                let gate = |k: usize, j: usize| {
                    let i = k * hidden + j;
                    from_input[i] + from_hidden[i] + bias[i]
                };
                for j in 0..hidden {
                    c[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * gate(2, j).tanh();
                    h[j] = sigmoid(gate(3, j)) * c[j].tanh();
                }
            }
            ControllerKind::Gru => {
                for j in 0..hidden {
                    let [reset, update, new] = [j, hidden + j, 2 * hidden + j];
                    let r = sigmoid(from_input[reset] + from_hidden[reset] + bias[reset]);
                    let u = sigmoid(from_input[update] + from_hidden[update] + bias[update]);
                    let n = (from_input[new] + bias[new] + r * (from_hidden[new] + bias[3 * hidden + j])).tanh();
                    h[j] = (1.0 - u) * n + u * h[j];
                }
            }
            ControllerKind::LayerNormLstm => {
                let (from_input, from_hidden) = (normalised(&from_input), normalised(&from_hidden));
                let (of_input, of_hidden) = (parameter("controller.gain_ih"), parameter("controller.gain_hh"));
                let gate = |k: usize, j: usize| {
                    let i = k * hidden + j;
                    of_input[i] * from_input[i] + of_hidden[i] * from_hidden[i] + bias[i]
                };
                for j in 0..hidden {
                    c[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * gate(2, j).tanh();
                }
                let (gain, shift) = (parameter("controller.gain_cell"), parameter("controller.bias_cell"));
                for (j, cell) in normalised(c).into_iter().enumerate() {
                    h[j] = sigmoid(gate(3, j)) * (gain[j] * cell + shift[j]).tanh();
                }
            }
            other => panic!("{} has no restatement here", other.name()),
        }
        if let Some(memory) = memory {
            *r = memory.step(&affine(network, "interface.weight", Some("interface.bias"), h));
        }
        let state = [&h[..], r].concat();
        outputs.extend(if config.output_size > 0 {
            affine(network, "output.weight", Some("output.bias"), &state)
        } else {
            state
        });
    }
    outputs
}

/// Runs a model over a batch, forward and streamed, and compares with the restatement of each sequence.
pub fn compare(
    kinds: impl Into<Kinds>,
    reference: impl Fn() -> Option<Box<dyn Reference>>,
    sizes: [usize; 3],
    lengths: &[usize],
    seed: u64,
) {
    let kinds = kinds.into();
    let network = network(kinds.clone(), sizes[0], sizes[1], sizes[2], seed);
    let batch = Batch::new(&network, lengths, seed);
    let mut runner = Runner::new(&network, lengths.len()).expect("it fits");
    let outputs = batch.forward(&mut runner, &network);
    batch.backward(&mut runner, &network);
    let streamed = batch.infer(&mut runner, &network);
    for row in 0..lengths.len() {
        let inputs = batch.inputs_of(row, sizes[0]);
        let exact = run(&network, &mut Controller::new(&network), &mut reference(), &inputs);
        for outputs in [&outputs, &streamed] {
            let width = network.config().output_len();
            let mine = of_row(outputs, width, row, lengths.len());
            for (i, (a, b)) in mine.iter().zip(&exact).enumerate() {
                let step = i / width;
                assert!((a - b).abs() < 1e-10, "{kinds:?} seed {seed} row {row} step {step}: {a} but by equations {b}");
            }
            assert!(mine[exact.len()..].iter().all(|x| *x == 0.0), "outputs past a sequence's end are zero");
        }
    }
}
