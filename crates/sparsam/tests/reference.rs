//! Every model against a slow restatement of its equations over whole matrices.

mod common;

use common::{Batch, network};
use sparsam::memory::sam;
use sparsam::{Model, Network, Runner};

const EPSILON: f64 = 1e-6;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn oneplus(x: f64) -> f64 {
    1.0 + x.exp().ln_1p()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / ((dot(a, a) + EPSILON).sqrt() * (dot(b, b) + EPSILON).sqrt())
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::MIN, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

/// Rows of a tensor times a vector, plus a bias.
fn affine(network: &Network<f64>, weight: &str, bias: Option<&str>, x: &[f64]) -> Vec<f64> {
    let rows = network.parameters().get(weight).expect("a parameter").chunks(x.len());
    let bias = bias.map(|name| network.parameters().get(name).expect("a parameter"));
    rows.enumerate().map(|(i, row)| dot(row, x) + bias.map_or(0.0, |b| b[i])).collect()
}

/// A memory as its equations state it.
trait Reference {
    fn step(&mut self, interface: &[f64]) -> Vec<f64>;
}

/// The outputs of one sequence, by the equations.
fn run(network: &Network<f64>, memory: &mut Option<Box<dyn Reference>>, inputs: &[f64]) -> Vec<f64> {
    let config = network.config();
    let hidden = config.hidden_size;
    let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
    let mut r = vec![0.0; config.memory.read_len()];
    let mut outputs = Vec::new();
    for x in inputs.chunks(config.input_size) {
        let z = [x, &r].concat();
        let from_input = affine(network, "controller.weight_ih", Some("controller.bias"), &z);
        let from_hidden = affine(network, "controller.weight_hh", None, &h);
        let gate = |k: usize, j: usize| from_input[k * hidden + j] + from_hidden[k * hidden + j];
        for j in 0..hidden {
            c[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * gate(2, j).tanh();
            h[j] = sigmoid(gate(3, j)) * c[j].tanh();
        }
        if let Some(memory) = memory {
            r = memory.step(&affine(network, "interface.weight", Some("interface.bias"), &h));
        }
        outputs.extend(affine(network, "output.weight", Some("output.bias"), &[&h[..], &r].concat()));
    }
    outputs
}

struct DenseSam {
    config: sam::Config,
    memory: Vec<Vec<f64>>,
    /// Words, least recently accessed first.
    order: Vec<usize>,
    /// Per head, what it read last: words and weights.
    read: Vec<Vec<(usize, f64)>>,
}

impl Reference for DenseSam {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let sam::Config { memory_size, word_size: w, heads, reads, access_threshold, .. } = self.config;
        let fields: Vec<&[f64]> = interface.chunks(2 * w + 3).collect();
        let unused: Vec<usize> = self.order[..heads].to_vec();
        let mut writes: Vec<Vec<(usize, f64)>> = Vec::new();
        for h in 0..heads {
            let (alpha, gamma) = (sigmoid(fields[h][2 * w + 1]), sigmoid(fields[h][2 * w + 2]));
            let mut weights: Vec<(usize, f64)> =
                self.read[h].iter().map(|(word, weight)| (*word, alpha * gamma * weight)).collect();
            weights.push((unused[h], alpha * (1.0 - gamma)));
            writes.push(weights);
        }
        for word in &unused {
            self.memory[*word].fill(0.0);
        }
        for h in 0..heads {
            for (word, weight) in &writes[h] {
                for j in 0..w {
                    self.memory[*word][j] += weight * fields[h][w + 1 + j];
                }
            }
        }
        let mut result = Vec::new();
        for h in 0..heads {
            let key = &fields[h][..w];
            let mut all: Vec<(usize, f64)> =
                (0..memory_size).map(|word| (word, cosine(key, &self.memory[word]))).collect();
            // A stable sort keeps the lower word number first among equals.
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(reads);
            let logits: Vec<f64> = all.iter().map(|(_, cosine)| oneplus(fields[h][w]) * cosine).collect();
            self.read[h] = all.iter().map(|x| x.0).zip(softmax(&logits)).collect();
            for j in 0..w {
                result.push(self.read[h].iter().map(|(word, weight)| weight * self.memory[*word][j]).sum());
            }
        }
        let occurring: Vec<(usize, f64)> = writes.concat().into_iter().chain(self.read.concat()).collect();
        let mut total = vec![0.0; memory_size];
        for (word, weight) in &occurring {
            total[*word] += weight;
        }
        for (word, _) in &occurring {
            if total[*word] > access_threshold {
                self.order.retain(|other| other != word);
                self.order.push(*word);
            }
        }
        result
    }
}

fn reference(model: &Model) -> Option<Box<dyn Reference>> {
    match model {
        Model::Sam(config) => Some(Box::new(DenseSam {
            config: config.clone(),
            memory: vec![vec![0.0; config.word_size]; config.memory_size],
            order: (0..config.memory_size).collect(),
            read: vec![Vec::new(); config.heads],
        })),
        _ => None,
    }
}

/// Runs a model over a batch, forward and streamed, and compares with the restatement of each sequence.
fn compare(model: Model, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let network = network(model.clone(), sizes[0], sizes[1], sizes[2], seed);
    let batch = Batch::new(&network, lengths, seed);
    let mut runner = Runner::new(&network, lengths.len()).expect("it fits");
    let outputs = batch.forward(&mut runner, &network);
    batch.backward(&mut runner, &network);
    let streamed = batch.infer(&mut runner, &network);
    for (row, length) in lengths.iter().enumerate() {
        let of_row = |all: &[f64], size: usize| -> Vec<f64> {
            all.chunks(size).skip(row).step_by(lengths.len()).flatten().copied().collect()
        };
        let inputs = of_row(&batch.inputs, sizes[0]);
        let exact = run(&network, &mut reference(&model), &inputs[..length * sizes[0]]);
        for outputs in [&outputs, &streamed] {
            let mine = of_row(outputs, sizes[2]);
            for (i, (a, b)) in mine.iter().zip(&exact).enumerate() {
                let step = i / sizes[2];
                assert!((a - b).abs() < 1e-10, "{model:?} seed {seed} row {row} step {step}: {a} but by equations {b}");
            }
            assert!(mine[exact.len()..].iter().all(|x| *x == 0.0), "outputs past a sequence's end are zero");
        }
    }
}

fn sam(memory_size: usize, word_size: usize, heads: usize, reads: usize) -> Model {
    Model::Sam(sam::Config { memory_size, word_size, heads, reads, ..Default::default() })
}

#[test]
fn lstm() {
    compare(Model::Lstm, [3, 9, 2], &[7, 12, 0, 1, 40], 1);
}

#[test]
fn sam_agrees_with_its_equations() {
    for seed in 0..20 {
        compare(sam(60, 6, 3, 3), [3, 8, 2], &[30, 20, 7], seed);
        compare(sam(7, 5, 2, 3), [2, 6, 2], &[50], seed + 100);
        compare(sam(4, 5, 4, 6), [2, 6, 2], &[40, 2], seed + 200);
        compare(sam(1, 2, 1, 1), [2, 3, 1], &[9], seed + 300);
        compare(sam(300, 33, 4, 4), [2, 12, 2], &[66], seed + 400);
    }
}
