//! A slow restatement of the network, and the comparison of every model with the restatement of its memory.

use std::cell::RefCell;
use std::rc::Rc;

use sparsam::{Model, Network, Runner};

use super::{Batch, network, of_row};

pub const EPSILON: f64 = 1e-6;

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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
        let from_input = affine(network, "controller.weight_ih", Some("controller.bias"), &z);
        let from_hidden = affine(network, "controller.weight_hh", None, h);
        let gate = |k: usize, j: usize| from_input[k * hidden + j] + from_hidden[k * hidden + j];
        for j in 0..hidden {
            c[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * gate(2, j).tanh();
            h[j] = sigmoid(gate(3, j)) * c[j].tanh();
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
    model: Model,
    reference: impl Fn() -> Option<Box<dyn Reference>>,
    sizes: [usize; 3],
    lengths: &[usize],
    seed: u64,
) {
    let network = network(model.clone(), sizes[0], sizes[1], sizes[2], seed);
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
                assert!((a - b).abs() < 1e-10, "{model:?} seed {seed} row {row} step {step}: {a} but by equations {b}");
            }
            assert!(mine[exact.len()..].iter().all(|x| *x == 0.0), "outputs past a sequence's end are zero");
        }
    }
}
