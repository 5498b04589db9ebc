//! Saves a network with its optimiser and the state of its memories, and goes on from the files to the same bits.
//!
//! ```sh
//! cargo run --release -p sparsam --example save_and_resume
//! ```

use sparsam::checkpoint::{self, Extra};
use sparsam::memory::sam;
use sparsam::nn::loss::binary_cross_entropy;
use sparsam::nn::optimiser::{Optimiser, OptimiserConfig};
use sparsam::{Error, Network, NetworkConfig, Runner, state};

/// Two sequences of four steps: 3 input elements and 1 output element at each.
const ROWS: usize = 2;
const STEPS: usize = 4;

/// What a training run consists of.
struct Training {
    network: Network<f32>,
    optimiser: Optimiser<f32>,
    runner: Runner<f32>,
}

impl Training {
    /// Trains on a piece of the sequences, and carries the memories on to the next piece.
    fn step(&mut self) -> Result<f64, Error> {
        let inputs = [0.5, -0.5, 1.0].repeat(STEPS * ROWS);
        let (mut outputs, mut output_gradients) = ([0.0; STEPS * ROWS], [0.0; STEPS * ROWS]);
        self.runner.forward(&self.network, &inputs, &[STEPS; ROWS], &mut outputs)?;
        let targets = [1.0; STEPS * ROWS];
        let loss = binary_cross_entropy(&outputs, &targets, &[true; STEPS * ROWS], 1, 1.0, &mut output_gradients)?;
        let mut gradients = self.network.zeros();
        self.runner.backward(&self.network, &output_gradients, &mut gradients, None)?;
        self.optimiser.update(self.network.parameters_mut().values_mut(), gradients.values());
        // After `backward` the memories are as they were before the piece; `replay` takes them to its end again.
        self.runner.replay();
        Ok(loss)
    }
}

fn optimiser_config() -> OptimiserConfig {
    OptimiserConfig::adam(1e-3)
}

/// Trains, saves, trains on; and trains on from the files.
pub fn main() -> Result<(), Error> {
    let memory = sam::Config { memory_size: 50, word_size: 8, ..Default::default() };
    let network = Network::new(NetworkConfig::new(3, 1).with_hidden_size(16).with_memory(memory), 1)?;
    let optimiser = Optimiser::new(optimiser_config(), network.parameters().values().len())?;
    let runner = Runner::new(&network, ROWS)?;
    let mut training = Training { network, optimiser, runner };
    for _ in 0..5 {
        training.step()?;
    }

    // A checkpoint holds the configuration and the parameters; `Extra` takes what a trainer needs beside them.
    let folder = std::env::temp_dir().join(format!("sparsam-save-and-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the system's folder for temporary files can be written");
    let (network_file, state_file) = (folder.join("network.safetensors"), folder.join("state.safetensors"));
    let mut extra = Extra::default();
    extra.metadata.insert("training.steps".into(), training.optimiser.steps().to_string());
    for (name, moment) in training.optimiser.moments() {
        extra.tensors.push((format!("training.{name}"), moment.to_vec()));
    }
    checkpoint::save(&network_file, &training.network, &extra)?;
    state::save(&state_file, &mut training.runner)?;

    // Another process would go on here.
    let (network, extra) = checkpoint::load_with_extra::<f32>(&network_file)?;
    let runner = state::load(&state_file, network.config())?;
    let mut optimiser = Optimiser::new(optimiser_config(), network.parameters().values().len())?;
    let steps = extra.metadata["training.steps"].parse().expect("it was written above");
    let moment = |name: &str| {
        let tensor = extra.tensors.iter().find(|(found, _)| found.strip_prefix("training.") == Some(name));
        tensor.map_or(&[][..], |(_, values)| values)
    };
    optimiser.restore(steps, [moment("mean"), moment("square"), moment("step")])?;
    let mut resumed = Training { network, optimiser, runner };

    for step in 0..5 {
        let (loss, again) = (training.step()?, resumed.step()?);
        println!("step {step}: the loss is {loss:.6}, and {again:.6} after resuming");
        assert_eq!(loss.to_bits(), again.to_bits());
    }
    assert_eq!(training.network.parameters(), resumed.network.parameters());
    std::fs::remove_dir_all(&folder).expect("it was made above");
    Ok(())
}
