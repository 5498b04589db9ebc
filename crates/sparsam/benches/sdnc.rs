//! One step of the sparse DNC beside one of SAM, forward and backward: what temporal links cost. Batch 8, 100 hidden units,
//! 4 heads, K = 4, K_L = 8, words of 32 numbers, 100 time steps, every memory full of distinct words, found by `ivf`.
//!
//! `cargo bench --bench sdnc` (some minutes, 6 GiB); with `-- "SDNC 65536"` only what has this in its name runs, as for a profile. Figures are
//! medians of rounds in which both models take turns, on one thread and on two, with the spread from the first to the last
//! decile.

use std::time::Instant;

use sparsam::index::IndexKind;
use sparsam::internal::simd::level;
use sparsam::internal::{Distribution, Sample};
use sparsam::memory::{sam, sdnc};
use sparsam::{Model, Network, NetworkConfig, Runner};

const STEPS: usize = 100;
const BATCH: usize = 8;
const INPUT: usize = 10;
const HIDDEN: usize = 100;
const OUTPUT: usize = 8;
const WORD_SIZE: usize = 32;
const SIZES: [usize; 3] = [1 << 10, 1 << 16, 1 << 20];
const ROUNDS: usize = 40;

/// Microseconds per time step of forward and backward over the whole batch.
fn episode(memory: Model, words: &[f32]) -> impl FnMut() -> f64 + use<> {
    let config = NetworkConfig::new(INPUT, OUTPUT).with_hidden_size(HIDDEN).with_memory(memory);
    let network = Network::<f32>::new(config, 1).expect("it fits");
    let mut runner = Runner::new(&network, BATCH).expect("it fits");
    let count = words.len() / WORD_SIZE;
    // Rows have the same words, each from another one on.
    runner.fill(|row, word, numbers| {
        let from = (word + row * count / BATCH) % count;
        numbers.copy_from_slice(&words[from * WORD_SIZE..][..WORD_SIZE]);
    });
    let mut gradients = network.zeros();
    let inputs: Vec<f32> = (0..STEPS * BATCH * INPUT).map(|i| (i * 7919 % 2) as f32).collect();
    let mut outputs = vec![0.0; STEPS * BATCH * OUTPUT];
    move || {
        let started = Instant::now();
        runner.forward(&network, &inputs, &[STEPS; BATCH], &mut outputs).expect("shapes fit");
        runner.backward(&network, &outputs, &mut gradients, None).expect("forward came before");
        started.elapsed().as_secs_f64() * 1e6 / STEPS as f64
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

fn main() {
    // `cargo test` runs benchmarks too; one round of small memories shows that they work.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, sizes) = if is_bench { (ROUNDS, &SIZES[..]) } else { (1, &SIZES[..1]) };
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let pools = [1, 2]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started"));
    println!("batch {BATCH}, T = {STEPS}, H = {HIDDEN}, R = 4, K = 4, K_L = 8, W = 32, f32, {:?}", level());
    println!("{:<16} {:>7} {:>10} {:>16} {:>7}", "", "threads", "µs a step", "deciles", "÷ SAM");
    for memory_size in sizes.iter().copied() {
        let sample = Sample::new(Distribution::Gaussian, memory_size, 1);
        let mut words = vec![0.0; memory_size * WORD_SIZE];
        for (number, word) in words.chunks_exact_mut(WORD_SIZE).enumerate() {
            sample.word(number as u64, word);
        }
        let index = IndexKind::Ivf;
        let models = [
            ("SAM", Model::Sam(sam::Config { memory_size, index, ..Default::default() })),
            ("SDNC", Model::Sdnc(sdnc::Config { memory_size, index, ..Default::default() })),
        ];
        let named = models.map(|(name, model)| (format!("{name} {memory_size}"), model));
        let chosen =
            named.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|part| name.contains(part.as_str())));
        let mut variants: Vec<_> = chosen.map(|(name, model)| (name, episode(model, &words))).collect();
        drop(words);
        let mut times = vec![[const { Vec::new() }; 2]; variants.len()];
        for _ in 0..rounds + rounds.min(2) {
            for ((_, run), times) in variants.iter_mut().zip(&mut times) {
                for (pool, times) in pools.iter().zip(times) {
                    times.push(pool.install(&mut *run));
                }
            }
        }
        for threads in 0..pools.len() {
            let mut sam = None;
            for ((name, _), times) in variants.iter().zip(&mut times) {
                let times = &mut times[threads];
                times.drain(..rounds.min(2));
                times.sort_by(f64::total_cmp);
                let median = quantile(times, 0.5);
                let spread = format!("{:.1}-{:.1}", quantile(times, 0.1), quantile(times, 0.9));
                if name.starts_with("SAM") {
                    sam = Some(median);
                }
                let ratio = sam.map_or(String::new(), |sam| format!("{:.2}", median / sam));
                println!("{name:<16} {:>7} {median:>10.1} {spread:>16} {ratio:>7}", threads + 1);
            }
        }
    }
}
