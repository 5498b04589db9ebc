//! One step of the DNC's memory, forward and backward, beside copying: batch 1, episodes of 10 steps, 4 heads, words of
//! 32 numbers, `f32`.
//!
//! `cargo bench --bench dnc`; figures are medians of rounds in which all variants take turns. Bytes are those that the
//! model's documentation states for the links and the memory. Copying goes from each tenth of a buffer as large as the
//! tape to the next, its bytes counted both read and written, so that it meets the same levels of cache.

use std::time::Instant;

use sparsam::internal::simd::level;
use sparsam::memory::{Memory, dnc};

const STEPS: usize = 10;
const WORD_SIZE: usize = 32;
const HEADS: usize = 4;
const ROUNDS: usize = 30;

/// Microseconds a step: forward, backward, and copying a step's share of the tape.
struct Times {
    forward: Vec<f64>,
    backward: Vec<f64>,
    copy: Vec<f64>,
}

struct Bench {
    memory_size: usize,
    /// Episodes in a round.
    episodes: usize,
    memory: Box<dyn Memory<f32>>,
    buffer: Vec<f32>,
    times: Times,
}

/// Microseconds a step.
fn time(steps: usize, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_secs_f64() * 1e6 / steps as f64
}

impl Bench {
    fn new(memory_size: usize) -> Self {
        let config = dnc::Config { memory_size, word_size: WORD_SIZE, heads: HEADS, ..Default::default() };
        let memory = Box::new(dnc::Dnc::new(&config).expect("it fits"));
        let frame = memory_size * (memory_size + WORD_SIZE);
        let times = Times { forward: Vec::new(), backward: Vec::new(), copy: Vec::new() };
        Self {
            memory_size,
            episodes: (4_000_000 / frame).max(1),
            memory,
            buffer: vec![0.5; frame * (STEPS + 1)],
            times,
        }
    }

    fn round(&mut self) {
        let interfaces: Vec<Vec<f32>> = (0..STEPS)
            .map(|step| (0..self.memory.interface_len()).map(|i| ((i * 31 + step * 7919) as f32).sin()).collect())
            .collect();
        let mut read = vec![0.0; self.memory.read_len()];
        let mut gradient = vec![0.0; self.memory.interface_len()];
        let (mut forward, mut backward) = (0.0, 0.0);
        for _ in 0..self.episodes {
            self.memory.start_episode();
            let memory = &mut self.memory;
            forward += time(STEPS, || interfaces.iter().for_each(|vector| memory.step(vector, &mut read, true)));
            backward += time(STEPS, || {
                interfaces.iter().rev().for_each(|vector| memory.step_back(vector, &read, &mut gradient));
            });
        }
        let frame = self.buffer.len() / (STEPS + 1);
        let copy = time(STEPS * self.episodes, || {
            for _ in 0..self.episodes {
                for step in 0..STEPS {
                    self.buffer.copy_within(step * frame..(step + 1) * frame, (step + 1) * frame);
                    std::hint::black_box(&mut self.buffer);
                }
            }
        });
        self.times.forward.push(forward / self.episodes as f64);
        self.times.backward.push(backward / self.episodes as f64);
        self.times.copy.push(copy);
    }

    fn print(&mut self) {
        let n = self.memory_size as f64;
        let (links, words) = (4.0 * n * n, 4.0 * n * WORD_SIZE as f64);
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let copy = median(&mut self.times.copy);
        let copy_rate = 2.0 * (links + words) / copy / 1e3;
        print!("{:>6} {:>12.1}", self.memory_size, copy_rate);
        let parts = [
            (median(&mut self.times.forward), 2.0 * links + 4.0 * words),
            (median(&mut self.times.backward), 3.0 * links + 8.0 * words),
        ];
        let whole = (parts[0].0 + parts[1].0, parts[0].1 + parts[1].1);
        for (time, bytes) in [parts[0], parts[1], whole] {
            let rate = bytes / time / 1e3;
            print!(" {time:>12.1} {rate:>8.1} {:>8.2}", copy_rate / rate);
        }
        println!();
    }
}

fn main() {
    // `cargo test` runs benchmarks too; one round shows that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let mut benches = [64, 512, 2048].map(Bench::new);
    for _ in 0..rounds {
        benches.iter_mut().for_each(Bench::round);
    }
    println!("DNC memory, batch 1, {STEPS} steps, R = {HEADS}, W = {WORD_SIZE}, f32, {:?}", level());
    println!("µs a step, GB/s of the documented traffic, and how many times slower than copying that is");
    print!("{:>6} {:>12}", "N", "copy GB/s");
    for part in ["forward µs", "backward µs", "both µs"] {
        print!(" {part:>12} {:>8} {:>8}", "GB/s", "copy ÷");
    }
    println!();
    benches.iter_mut().for_each(Bench::print);
}
