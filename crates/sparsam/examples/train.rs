//! Trains a network to repeat a few random vectors of bits.
//!
//! ```sh
//! cargo run --release -p sparsam --example train
//! ```
//!
//! The network sees `ITEMS` vectors, one at each time step, and then has to put them out in the same order. The last input
//! element is a flag: it is 1 as long as vectors are shown.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sparsam::memory::sam;
use sparsam::nn::clip::clip_by_norm;
use sparsam::nn::loss::{BITS, binary_cross_entropy};
use sparsam::nn::optimiser::{Optimiser, OptimiserConfig};
use sparsam::{Error, Network, NetworkConfig, Runner};

/// Vectors in a sequence.
const ITEMS: usize = 3;
/// Bits in a vector.
const WIDTH: usize = 4;
/// Sequences in a batch.
const ROWS: usize = 8;
/// Every sequence shows its vectors, and then has as many steps to answer in.
const STEPS: usize = 2 * ITEMS;

/// Inputs and targets of a batch, time-major: time step after time step, in each row after row.
fn draw(random: &mut impl Rng) -> (Vec<f32>, Vec<f32>) {
    let mut inputs = vec![0.0; STEPS * ROWS * (WIDTH + 1)];
    let mut targets = vec![0.0; STEPS * ROWS * WIDTH];
    for item in 0..ITEMS {
        for row in 0..ROWS {
            let input = &mut inputs[(item * ROWS + row) * (WIDTH + 1)..][..WIDTH + 1];
            let target = &mut targets[((ITEMS + item) * ROWS + row) * WIDTH..][..WIDTH];
            for bit in 0..WIDTH {
                input[bit] = (random.next_u64() % 2) as f32;
                target[bit] = input[bit];
            }
            input[WIDTH] = 1.0;
        }
    }
    (inputs, targets)
}

/// Trains, and prints the loss.
pub fn main() -> Result<(), Error> {
    let memory = sam::Config { memory_size: 256, word_size: 16, heads: 2, ..Default::default() };
    let config = NetworkConfig::new(WIDTH + 1, WIDTH).with_hidden_size(64).with_memory(memory);
    let mut network = Network::<f32>::new(config, 1)?;

    // A runner has a memory and a controller state for each row of a batch.
    let mut runner = Runner::new(&network, ROWS)?;
    let mut optimiser = Optimiser::new(OptimiserConfig::adam(2e-3), network.parameters().values().len())?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);

    // Only the second half of the outputs counts.
    let counts: Vec<bool> = (0..STEPS * ROWS).map(|place| place >= ITEMS * ROWS).collect();
    let mut outputs = vec![0.0; STEPS * ROWS * WIDTH];
    let mut output_gradients = outputs.clone();
    let mut losses = Vec::new();
    for batch in 0..400 {
        let (inputs, targets) = draw(&mut random);
        runner.forward(&network, &inputs, &[STEPS; ROWS], &mut outputs)?;
        let scale = 1.0 / ROWS as f32;
        let loss = binary_cross_entropy(&outputs, &targets, &counts, WIDTH, scale, &mut output_gradients)?;

        // `backward` restores the memories as they were before `forward`: each batch starts from empty ones.
        let mut gradients = network.zeros();
        runner.backward(&network, &output_gradients, &mut gradients, None)?;
        clip_by_norm(gradients.values_mut(), 10.0);
        optimiser.update(network.parameters_mut().values_mut(), gradients.values());

        losses.push(loss * BITS / ROWS as f64);
        if batch % 100 == 99 {
            let mean = losses[batch - 99..].iter().sum::<f64>() / 100.0;
            println!("{} batches: a loss of {mean:.2} bits; guessing costs {}", batch + 1, ITEMS * WIDTH);
        }
    }
    assert!(losses[399] < 0.5 * losses[0], "the loss falls");
    Ok(())
}
