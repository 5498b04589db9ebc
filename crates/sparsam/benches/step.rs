//! One SAM step, forward and backward, at the paper's setting: batch 8, 100 hidden units, 4 heads, K = 4, words of 32
//! numbers, 100 time steps, the memory empty at the start. Beside it, in the same run: the step's bare matrix
//! products, and an LSTM of the same size; and the other controllers, without a memory.
//!
//! `cargo bench --bench step`; with `-- "SAM, N"` only what has this in its name runs, as for a profile. Figures are medians of rounds in which all variants take turns, with the spread from the
//! first to the last decile.

use std::time::Instant;

use sparsam::internal::matrix::{Packed, View, multiply};
use sparsam::internal::simd::level;
use sparsam::memory::sam;
use sparsam::{ControllerKind, Model, Network, NetworkConfig, Runner};

const STEPS: usize = 100;
const BATCH: usize = 8;
const INPUT: usize = 10;
const HIDDEN: usize = 100;
const OUTPUT: usize = 8;
const ROUNDS: usize = 60;

fn network(controller: ControllerKind, memory: Model) -> Network<f32> {
    let config =
        NetworkConfig::new(INPUT, OUTPUT).with_hidden_size(HIDDEN).with_controller(controller).with_memory(memory);
    Network::new(config, 1).expect("it fits")
}

/// Microseconds per time step of forward and backward over the whole batch.
fn episode(network: &Network<f32>) -> impl FnMut() -> f64 {
    let mut runner = Runner::new(network, BATCH).expect("it fits");
    let mut gradients = network.zeros();
    let inputs: Vec<f32> = (0..STEPS * BATCH * INPUT).map(|i| (i * 7919 % 2) as f32).collect();
    let mut outputs = vec![0.0; STEPS * BATCH * OUTPUT];
    move || {
        let started = Instant::now();
        runner.forward(network, &inputs, &[STEPS; BATCH], &mut outputs).expect("shapes fit");
        runner.backward(network, &outputs, &mut gradients, None).expect("forward came before");
        started.elapsed().as_secs_f64() * 1e6 / STEPS as f64
    }
}

/// Microseconds per time step of the products alone that a step of SAM needs, forward and backward, on one thread:
/// gates, interface and outputs, their gradients, and the gradients of the weights.
fn products(network: &Network<f32>) -> impl FnMut() -> f64 {
    let memory = &network.config().memory;
    let (interface, state) = (memory.interface_len(), HIDDEN + memory.read_len());
    let layers = [(state, 4 * HIDDEN), (HIDDEN, interface), (4 * HIDDEN, state), (interface, HIDDEN)];
    let packed = layers.map(|(inner, columns)| (inner, columns, Packed::<f32>::zeros(inner, columns)));
    let wide = vec![0.5f32; STEPS * BATCH * (4 * HIDDEN).max(state).max(interface)];
    let mut target = wide.clone();
    let mut gradient = vec![0.0f32; 4 * HIDDEN * (state + INPUT)];
    let mut gradients_of_weights = move |rows: usize, columns: usize| {
        let (left, right) =
            (View::new(&wide, STEPS * BATCH, rows, rows), View::new(&wide, STEPS * BATCH, columns, columns));
        multiply(left.transposed(), right, &mut gradient, columns);
    };
    let over_sequence = vec![0.5f32; STEPS * BATCH * state];
    let weights = vec![0.5f32; 4 * HIDDEN * INPUT + OUTPUT * state];
    move || {
        let started = Instant::now();
        for _ in 0..STEPS {
            for (inner, columns, packed) in &packed {
                packed.multiply_add(BATCH, &over_sequence, *inner, &mut target, *columns);
            }
        }
        let count = STEPS * BATCH;
        let by_input = View::new(&weights, INPUT, 4 * HIDDEN, 4 * HIDDEN);
        multiply(View::new(&over_sequence, count, INPUT, INPUT), by_input, &mut target, 4 * HIDDEN);
        let by_output = View::new(&weights, OUTPUT, state, state);
        multiply(View::new(&over_sequence, count, state, state), by_output.transposed(), &mut target, OUTPUT);
        multiply(View::new(&over_sequence, count, OUTPUT, OUTPUT), by_output, &mut target, state);
        gradients_of_weights(4 * HIDDEN, state + INPUT);
        gradients_of_weights(interface, HIDDEN);
        gradients_of_weights(OUTPUT, state);
        started.elapsed().as_secs_f64() * 1e6 / STEPS as f64
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// A name, a pool of threads, and what takes some time.
type Variant<'a> = (&'a str, usize, Box<dyn FnMut() -> f64 + Send + 'a>);

fn main() {
    // `cargo test` runs benchmarks too; one round shows that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let sam = network(ControllerKind::Lstm, Model::Sam(sam::Config { memory_size: 1_000_000, ..Default::default() }));
    let [lstm, gru, layer_norm_lstm] = [ControllerKind::Lstm, ControllerKind::Gru, ControllerKind::LayerNormLstm]
        .map(|controller| network(controller, Model::Lstm));
    let pools = [1, 2]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started"));
    let mut variants: Vec<Variant> = vec![
        ("SAM's bare matrix products", 0, Box::new(products(&sam))),
        ("SAM, N = 1,000,000", 0, Box::new(episode(&sam))),
        ("LSTM", 0, Box::new(episode(&lstm))),
        ("SAM, N = 1,000,000", 1, Box::new(episode(&sam))),
        ("LSTM", 1, Box::new(episode(&lstm))),
        ("GRU", 0, Box::new(episode(&gru))),
        ("LSTM, layer normalisation", 0, Box::new(episode(&layer_norm_lstm))),
    ];
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    variants.retain(|(name, ..)| only.as_ref().is_none_or(|part| name.contains(part.as_str())));
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..rounds + rounds.min(5) {
        for ((_, pool, run), times) in variants.iter_mut().zip(&mut times) {
            times.push(pools[*pool].install(&mut *run));
        }
    }
    println!("batch {BATCH}, T = {STEPS}, H = {HIDDEN}, R = 4, K = 4, W = 32, f32, {:?}", level());
    println!("{:<30} {:>7} {:>10} {:>16} {:>10}", "", "threads", "µs a step", "deciles", "÷ products");
    let mut products = None;
    for ((name, pool, _), times) in variants.iter().zip(&mut times) {
        times.drain(..rounds.min(5));
        times.sort_by(f64::total_cmp);
        let median = quantile(times, 0.5);
        if only.is_none() {
            products.get_or_insert(median);
        }
        let spread = format!("{:.1}-{:.1}", quantile(times, 0.1), quantile(times, 0.9));
        let ratio = products.map_or_else(|| "-".into(), |products| format!("{:.2}", median / products));
        println!("{name:<30} {:>7} {median:>10.1} {spread:>16} {ratio:>10}", pool + 1);
    }
}
