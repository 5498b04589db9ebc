//! Runs a network over a stream, one time step at a time.
//!
//! ```sh
//! cargo run --release -p sparsam --example stream
//! ```
//!
//! [`Runner::infer`] keeps no tape: what the network remembers stays in the runner, and memory does not grow with the
//! length of the stream beyond the words that are stored.

use sparsam::memory::sam;
use sparsam::{Error, Network, NetworkConfig, Runner};

/// A measurement of the stream at time `step`.
fn measurement(step: usize) -> [f32; 2] {
    let time = step as f32 / 10.0;
    [time.sin(), (1.7 * time).cos()]
}

/// Goes through a stream step by step, and checks that a single call over all steps gives the same.
pub fn main() -> Result<(), Error> {
    let memory = sam::Config { memory_size: 100_000, word_size: 16, ..Default::default() };
    let network = Network::<f32>::new(NetworkConfig::new(2, 3).with_memory(memory), 1)?;

    let mut runner = Runner::new(&network, 1)?;
    let mut streamed = Vec::new();
    for step in 0..200 {
        let mut output = [0.0; 3];
        runner.infer(&network, &measurement(step), &[1], &mut output)?;
        if step % 50 == 0 {
            println!("step {step}: {output:?}");
        }
        streamed.extend(output);
    }

    let mut runner = Runner::new(&network, 1)?;
    let inputs: Vec<f32> = (0..200).flat_map(measurement).collect();
    let mut outputs = vec![0.0; 200 * 3];
    runner.infer(&network, &inputs, &[200], &mut outputs)?;
    // Sums of products may be rounded in another order.
    assert!(streamed.iter().zip(&outputs).all(|(a, b)| (a - b).abs() < 1e-3));

    // A new stream starts from an empty memory.
    runner.reset();
    Ok(())
}
