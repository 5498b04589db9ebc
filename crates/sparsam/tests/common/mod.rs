//! What the tests of all models share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod reference;

use reference::{Constants, Controller, Reference};
use sparsam::network::InitialValues;
use sparsam::option::{Declared, Value};
use sparsam::{Array, Arrays, ControllerKind, Model, Network, NetworkConfig, Parameters, Runner, Sequences, Values};

/// Numbers in ±1 that look random, the same for the same seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }
    pub fn next(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
    pub fn vector(&mut self, length: usize) -> Vec<f64> {
        (0..length).map(|_| self.next()).collect()
    }
}

/// What a network consists of: a controller, an LSTM unless another is named, and a memory.
#[derive(Clone, Debug)]
pub struct Kinds {
    pub controller: ControllerKind,
    pub memory: Model,
}

impl From<Model> for Kinds {
    fn from(memory: Model) -> Self {
        Self { controller: ControllerKind::Lstm, memory }
    }
}

impl From<(ControllerKind, Model)> for Kinds {
    fn from((controller, memory): (ControllerKind, Model)) -> Self {
        Self { controller, memory }
    }
}

/// All controllers.
pub fn controllers() -> impl Iterator<Item = ControllerKind> {
    ControllerKind::NAMES.iter().map(|name| ControllerKind::by_name(name).expect("a controller"))
}

/// A network whose weights are large enough for gates to open and close and heads to prefer words.
pub fn network(kinds: impl Into<Kinds>, input: usize, hidden: usize, output: usize, seed: u64) -> Network<f64> {
    let Kinds { controller, memory } = kinds.into();
    let config =
        NetworkConfig::new(input, output).with_hidden_size(hidden).with_controller(controller).with_memory(memory);
    // Weights that suit training make heads so sure that finite differences are not close to gradients any more.
    let mut network = Network::with_initial_values(config, InitialValues::Uniform, None, seed).expect("it fits");
    let mut numbers = Numbers::new(seed);
    for value in network.parameters_mut().values_mut() {
        *value = *value * 3.0 + 0.3 * numbers.next();
    }
    network
}

/// One row's part of numbers that lie time step after time step, in each row after row.
pub fn of_row(all: &[f64], width: usize, row: usize, rows: usize) -> Vec<f64> {
    all.chunks(width).skip(row).step_by(rows).flatten().copied().collect()
}

/// A batch: inputs, lengths, where rows start anew, and weights of the outputs in a loss Σ weight · output.
pub struct Batch {
    pub rows: usize,
    pub steps: usize,
    pub inputs: Vec<f64>,
    pub lengths: Vec<usize>,
    /// Empty if none does.
    pub starts: Vec<bool>,
    pub loss_weights: Vec<f64>,
}

impl Batch {
    pub fn new(network: &Network<f64>, lengths: &[usize], seed: u64) -> Self {
        let (rows, steps) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut numbers = Numbers::new(seed);
        let config = network.config();
        Self {
            rows,
            steps,
            inputs: numbers.vector(steps * rows * config.input_size),
            lengths: lengths.to_vec(),
            starts: Vec::new(),
            loss_weights: numbers.vector(steps * rows * config.output_len()),
        }
    }

    /// The batch with rows that start anew, each a step and a row.
    pub fn with_starts(mut self, starts: &[(usize, usize)]) -> Self {
        self.starts = vec![false; self.steps * self.rows];
        for (step, row) in starts {
            self.starts[step * self.rows + row] = true;
        }
        self
    }

    pub fn sequences(&self) -> Sequences<'_, f64> {
        let sequences = Sequences::new(&self.inputs, &self.lengths);
        if self.starts.is_empty() { sequences } else { sequences.with_starts(&self.starts) }
    }

    /// The steps of a row, cut where it starts anew; the first part goes on from what was before, unless it is empty.
    pub fn parts(&self, row: usize) -> Vec<std::ops::Range<usize>> {
        let starts = |step: &usize| self.starts.get(step * self.rows + row) == Some(&true);
        let mut borders: Vec<usize> = (0..self.lengths[row]).filter(starts).collect();
        borders.insert(0, 0);
        borders.push(self.lengths[row]);
        borders.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// The inputs of one row's sequence.
    pub fn inputs_of(&self, row: usize, input_size: usize) -> Vec<f64> {
        let mut inputs = of_row(&self.inputs, input_size, row, self.rows);
        inputs.truncate(self.lengths[row] * input_size);
        inputs
    }

    pub fn forward(&self, runner: &mut Runner<f64>, network: &Network<f64>) -> Vec<f64> {
        let mut outputs = vec![f64::NAN; self.steps * self.rows * network.config().output_len()];
        runner.forward_sequences(network, self.sequences(), &mut outputs).expect("shapes fit");
        outputs
    }

    pub fn infer(&self, runner: &mut Runner<f64>, network: &Network<f64>) -> Vec<f64> {
        let mut outputs = vec![f64::NAN; self.steps * self.rows * network.config().output_len()];
        runner.infer_sequences(network, self.sequences(), &mut outputs).expect("shapes fit");
        outputs
    }

    pub fn loss(&self, outputs: &[f64]) -> f64 {
        outputs.iter().zip(&self.loss_weights).map(|(y, w)| y * w).sum()
    }

    /// Gradients of the parameters and of the inputs.
    pub fn backward(&self, runner: &mut Runner<f64>, network: &Network<f64>) -> (Parameters<f64>, Vec<f64>) {
        let mut gradients = network.zeros();
        let mut input_gradients = vec![f64::NAN; self.inputs.len()];
        runner
            .backward(network, &self.loss_weights, &mut gradients, Some(&mut input_gradients))
            .expect("a forward came before");
        (gradients, input_gradients)
    }
}

/// Checks every parameter's and input's gradient of one model against finite differences, over `before` (whose state
/// is carried, and where gradients stop) and then `lengths`.
pub fn check_gradients(kinds: impl Into<Kinds>, sizes: [usize; 3], before: &[usize], lengths: &[usize], seed: u64) {
    check_gradients_with_starts(kinds, sizes, before, lengths, &[], seed);
}

/// As [`check_gradients`], with rows that start anew: at each of some steps a row.
pub fn check_gradients_with_starts(
    kinds: impl Into<Kinds>,
    sizes: [usize; 3],
    before: &[usize],
    lengths: &[usize],
    starts: &[(usize, usize)],
    seed: u64,
) {
    check_differences(kinds.into(), sizes, before, lengths, starts, seed, |network, first, batch| {
        // The carried state is a constant: it comes from these weights, whatever happens to them later.
        let unchanged = network.clone();
        let mut runner = Runner::new(network, batch.rows).expect("it fits");
        let write_cost = match network.config().memory.option("write_cost") {
            Some(Value::Number(cost)) => cost,
            _ => 0.0,
        };
        move |network: &Network<f64>, batch: &Batch| {
            let start = |runner: &mut Runner<f64>| {
                runner.reset();
                if first.rows > 0 {
                    first.infer(runner, &unchanged);
                }
            };
            start(&mut runner);
            let loss = batch.loss(&batch.forward(&mut runner, network));
            if write_cost == 0.0 {
                return loss;
            }
            start(&mut runner);
            let mut outputs = vec![0.0; batch.loss_weights.len()];
            let traced = runner.trace_sequences(network, batch.sequences(), &mut outputs).expect("it fits");
            let Some(Values::Real(values)) = traced.get("write_gates").map(Array::values) else { panic!("it writes") };
            loss + write_cost * values.iter().sum::<f64>()
        }
    });
}

/// Like [`check_gradients`], but against finite differences of the model's restatement: for models in which some
/// dependence carries no gradient by definition. The restatement of each row gets [`Constants`] of its own to hold
/// what is cut.
pub fn check_gradients_by_equations(
    memory: Model,
    reference: impl Fn(Constants) -> Box<dyn Reference>,
    sizes: [usize; 3],
    before: &[usize],
    lengths: &[usize],
    starts: &[(usize, usize)],
    seed: u64,
) {
    check_differences(memory.into(), sizes, before, lengths, starts, seed, |network, first, batch| {
        let unchanged = network.clone();
        let constants: Vec<Constants> = (0..batch.rows).map(|_| Constants::default()).collect();
        move |network: &Network<f64>, batch: &Batch| {
            let row_loss = |row: usize| -> f64 {
                constants[row].rewind();
                let mut memory = Some(reference(constants[row].clone()));
                let mut controller = Controller::new(network);
                if first.rows > 0 {
                    reference::run(&unchanged, &mut controller, &mut memory, &first.inputs_of(row, sizes[0]));
                }
                let inputs = batch.inputs_of(row, sizes[0]);
                let mut outputs = Vec::new();
                for (number, part) in batch.parts(row).into_iter().enumerate() {
                    if number > 0 {
                        controller = Controller::new(network);
                        memory = Some(reference(constants[row].clone()));
                    }
                    let inputs = &inputs[part.start * sizes[0]..part.end * sizes[0]];
                    outputs.extend(reference::run(network, &mut controller, &mut memory, inputs));
                }
                let weights = of_row(&batch.loss_weights, network.config().output_len(), row, batch.rows);
                outputs.iter().zip(&weights).map(|(y, w)| y * w).sum()
            };
            (0..batch.rows).map(row_loss).sum()
        }
    });
}

/// Compares a model's gradients with differences of the loss that `loss` makes for a network and its batches.
fn check_differences<L: FnMut(&Network<f64>, &Batch) -> f64>(
    kinds: Kinds,
    sizes: [usize; 3],
    before: &[usize],
    lengths: &[usize],
    starts: &[(usize, usize)],
    seed: u64,
    loss: impl FnOnce(&Network<f64>, Batch, &Batch) -> L,
) {
    let what = format!("{kinds:?} {sizes:?} before {before:?} lengths {lengths:?} starts {starts:?} seed {seed}");
    let mut network = network(kinds, sizes[0], sizes[1], sizes[2], seed);
    let first = Batch::new(&network, before, seed + 1);
    let mut batch = Batch::new(&network, lengths, seed + 2);
    if !starts.is_empty() {
        batch = batch.with_starts(starts);
    }
    let mut runner = Runner::new(&network, lengths.len()).expect("it fits");
    if !before.is_empty() {
        first.infer(&mut runner, &network);
    }
    batch.forward(&mut runner, &network);
    let (gradients, input_gradients) = batch.backward(&mut runner, &network);

    let mut loss = loss(&network, first, &batch);
    // Whatever the loss keeps of its first run is that of the unperturbed network.
    loss(&network, &batch);
    let step = 1e-6;
    let assert_close = |name: &str, index: usize, analytic: f64, above: f64, below: f64| {
        let numeric = (above - below) / (2.0 * step);
        let error = (analytic - numeric).abs() / (1.0 + analytic.abs().max(numeric.abs()));
        assert!(error < 2e-7, "{name}[{index}]: {analytic} but by differences {numeric} ({what})");
    };
    let mut numbers = Numbers::new(seed + 3);
    let count = network.parameters().values().len();
    for i in 0..count {
        // All of a small network's parameters, a random part of a larger one's.
        if count > 600 && numbers.next().abs() > 600.0 / count as f64 {
            continue;
        }
        let value = network.parameters().values()[i];
        let mut loss_at = |value: f64| {
            network.parameters_mut().values_mut()[i] = value;
            loss(&network, &batch)
        };
        let (above, below) = (loss_at(value + step), loss_at(value - step));
        loss_at(value);
        assert_close("parameter", i, gradients.values()[i], above, below);
    }
    for i in 0..batch.inputs.len() {
        let value = batch.inputs[i];
        let mut loss_at = |value: f64| {
            batch.inputs[i] = value;
            loss(&network, &batch)
        };
        let (above, below) = (loss_at(value + step), loss_at(value - step));
        loss_at(value);
        assert_close("input", i, input_gradients[i], above, below);
    }
}

/// Every model, and every controller without a memory and beside one.
pub fn models() -> Vec<Kinds> {
    let small = |name: &&str| {
        let mut model = Model::by_name(name).expect("a model");
        for (option, size) in [("memory_size", 50), ("word_size", 5), ("heads", 2), ("reads", 3)] {
            // One that not every model has.
            model.set_option(option, &Value::Whole(size));
        }
        model
    };
    let memories: Vec<Model> = Model::NAMES.iter().map(small).collect();
    let beside = memories[..2].to_vec();
    let others = controllers().skip(1).flat_map(|kind| beside.clone().into_iter().map(move |memory| (kind, memory)));
    let others: Vec<Kinds> = others.map(Kinds::from).collect();
    memories.into_iter().map(Kinds::from).chain(others).collect()
}

pub fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(run)
}

/// A batch with starts everywhere: at first steps, one after another, past the end of a row, and none in row 3.
pub fn with_starts(network: &Network<f64>, lengths: &[usize], seed: u64) -> Batch {
    let batch = Batch::new(network, lengths, seed);
    let mut numbers = Numbers::new(seed);
    let mut starts: Vec<(usize, usize)> = (0..batch.steps)
        .flat_map(|step| (0..batch.rows).map(move |row| (step, row)))
        .filter(|(_, row)| *row != 3 && numbers.next() > 0.6)
        .collect();
    starts.extend([(0, 1), (1, 1), (2, 1), (batch.steps - 1, 2)]);
    batch.with_starts(&starts)
}

pub fn saved(runner: &mut Runner<f64>) -> Vec<Arrays<f64>> {
    (0..runner.rows()).map(|row| runner.save_row(row)).collect()
}
