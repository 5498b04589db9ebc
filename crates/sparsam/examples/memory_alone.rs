//! Drives a memory without this library's controllers and layers.
//!
//! ```sh
//! cargo run --release -p sparsam --example memory_alone
//! ```
//!
//! A memory takes an interface vector at each step, writes, and then reads. Whoever has a controller of their own makes the
//! interface from its state, and takes the gradient of the interface back to it.

use sparsam::Error;
use sparsam::memory::interface::places;
use sparsam::memory::{MemoryConfig, sam};

/// An interface vector in which the named fields have these elements, and all others are 0.
fn interface(config: &sam::Config, values: &[(&str, &[f32])]) -> Vec<f32> {
    let fields = config.interface();
    let mut interface = vec![0.0; config.interface_len()];
    for (field, place) in fields.iter().zip(places(&fields)) {
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == field.name) {
            interface[place].copy_from_slice(value);
        }
    }
    interface
}

/// Writes a word, finds it again by a key that is like it, and takes a gradient back through both steps.
pub fn main() -> Result<(), Error> {
    // A million words of 4 elements; only those that are written take memory.
    let config = sam::Config { memory_size: 1_000_000, word_size: 4, heads: 1, reads: 2, ..Default::default() };
    for field in config.interface() {
        println!("{}: {} elements", field.name, field.length);
    }
    let mut memory = config.build::<f32>()?;
    let mut read = vec![0.0; memory.read_len()];

    // The gates are logits: the write gate is open at 10, and the interpolation gate at -10 chooses an unused word.
    let word = [1.0, -2.0, 3.0, 0.5];
    let write = interface(&config, &[("write word", &word), ("write gate", &[10.0]), ("interpolation gate", &[-10.0])]);
    memory.step(&write, &mut read, true);

    // The write gate is closed at -10; the strength makes the head prefer the word to one that was never written.
    let key = [0.9, -2.2, 2.8, 0.6];
    let look_up = interface(&config, &[("key", &key), ("strength", &[20.0]), ("write gate", &[-10.0])]);
    memory.step(&look_up, &mut read, true);
    println!("wrote {word:?}, read {read:?}");
    assert!(read.iter().zip(&word).all(|(read, word)| (read - word).abs() < 0.05));

    // Backward, the last step first. `read_gradient` is the gradient of a loss with respect to what a step read.
    let mut gradient = vec![0.0; memory.interface_len()];
    memory.step_back(&look_up, &[1.0, 0.0, 0.0, 0.0], &mut gradient);
    memory.step_back(&write, &[0.0; 4], &mut gradient);
    let fields = config.interface();
    let written = fields.iter().zip(places(&fields)).find(|(field, _)| field.name == "write word");
    println!("gradient with respect to the word written: {:?}", written.map(|(_, place)| &gradient[place]));

    // The memory is now, to the bit, what it was before the first step; `replay` takes both steps again.
    memory.replay();
    Ok(())
}
