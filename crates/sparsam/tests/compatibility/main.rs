//! Checkpoints and states written by earlier versions: they are read, and the networks go on as they did then.
//!
//! A folder beside this file holds those of one version: of each network a checkpoint and the state of a runner, and in
//! `expected.json` what the network did next. Parameters and states have to be the same to the bit. Outputs and gradients
//! have to be close, since their last bits depend on the processor; with `SPARSAM_SAME_BITS=1` in the environment they
//! have to be the same to the bit as well, which suits a change that must not change results, on the machine that wrote
//! the files. `cargo test -p sparsam --test compatibility -- --ignored` writes those of the present version.

mod before_checksums;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sparsam::checkpoint::{self, Extra};
use sparsam::{ControllerKind, Model, Network, Runner, Values, state};

/// The version of the folder that holds the files.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sequences in the saved state.
const ROWS: usize = 2;

/// What a network did after its state was saved.
#[derive(Debug, Serialize, Deserialize)]
struct Expected {
    /// Of the bits of the parameters.
    parameters: u64,
    /// Of the names, shapes and bits of the saved state.
    state: u64,
    /// Of the bits of all outputs and gradients.
    bits: u64,
    outputs: Vec<f32>,
    /// Every eighth.
    gradients: Vec<f32>,
}

/// FNV-1a.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn bits(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()).collect()
}

/// The state of all rows.
fn state_hash(runner: &mut Runner<f32>) -> u64 {
    let mut bytes = Vec::new();
    for row in 0..runner.rows() {
        for (name, array) in runner.save_row(row).iter() {
            bytes.extend(format!("{row}.{name} {:?}", array.shape()).bytes());
            match array.values() {
                Values::Real(values) => bytes.extend(bits(values)),
                Values::Whole(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            }
        }
    }
    hash(bytes)
}

/// Inputs that differ from step to step.
fn inputs(steps: std::ops::Range<usize>, width: usize) -> Vec<f32> {
    steps
        .flat_map(|step| (0..width * ROWS).map(move |place| ((7 * step + 3 * place) % 11) as f32 / 5.5 - 1.0))
        .collect()
}

/// Eight steps and their gradients; the second sequence ends after five.
fn go_on(network: &Network<f32>, runner: &mut Runner<f32>) -> (Vec<f32>, Vec<f32>) {
    let config = network.config();
    let mut outputs = vec![0.0; 8 * ROWS * config.output_len()];
    runner.forward(network, &inputs(20..28, config.input_size), &[8, 5], &mut outputs).unwrap();
    let mut gradients = network.zeros();
    runner.backward(network, &outputs, &mut gradients, None).unwrap();
    runner.replay();
    (outputs, gradients.into_values())
}

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility").join(version)
}

fn every_eighth(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().copied().step_by(8).collect()
}

fn assert_close(name: &str, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
        assert!(close, "{name}: {what}[{place}] is {found}, and was {expected}");
    }
}

#[test]
fn files_of_earlier_versions_go_on_as_they_did() {
    let mut versions = 0;
    let folders = fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().path());
    for version in folders.filter(|path| path.join("expected.json").exists()) {
        versions += 1;
        let expected = fs::read_to_string(version.join("expected.json")).unwrap();
        let expected: BTreeMap<String, Expected> = serde_json::from_str(&expected).unwrap();
        for (name, expected) in expected {
            let (network, extra) =
                checkpoint::load_with_extra::<f32>(&version.join(format!("{name}.safetensors"))).unwrap();
            assert_eq!(hash(bits(network.parameters().values())), expected.parameters, "{name}");
            assert_eq!(extra, kept(), "{name}");
            let mut runner = state::load(&version.join(format!("{name}-state.safetensors")), network.config()).unwrap();
            assert_eq!(state_hash(&mut runner), expected.state, "{name}");

            // What is written today of what was read goes on to the bit.
            let bytes = state::to_bytes(&mut runner).unwrap();
            let mut again = state::from_bytes(&bytes, network.config()).unwrap();
            let (outputs, gradients) = go_on(&network, &mut runner);
            assert_eq!(go_on(&network, &mut again), (outputs.clone(), gradients.clone()), "{name}");
            assert_eq!(state_hash(&mut again), state_hash(&mut runner), "{name}");

            assert_close(&name, "outputs", &outputs, &expected.outputs);
            assert_close(&name, "gradients", &every_eighth(&gradients), &expected.gradients);
            if std::env::var_os("SPARSAM_SAME_BITS").is_some() {
                assert_eq!(hash([bits(&outputs), bits(&gradients)].concat()), expected.bits, "{name}");
            }
        }
    }
    assert!(versions > 0);
}

/// What a trainer keeps beside the parameters.
fn kept() -> Extra<f32> {
    Extra {
        metadata: [("training.step".to_owned(), "3".to_owned())].into(),
        tensors: vec![("training.mean".to_owned(), vec![0.5, -0.25])],
    }
}

/// A small network of each model, and of each controller beside SAM.
fn networks() -> Vec<(String, Network<f32>)> {
    let sizes = |memory: &str| -> Model {
        let common = r#""memory_size": 20, "word_size": 3, "heads": 2"#;
        let own = match memory {
            "sam" => r#", "reads": 2"#,
            "sdnc" => r#", "reads": 2, "links": 3"#,
            _ => "",
        };
        match memory {
            "lstm" => Model::Lstm,
            _ => serde_json::from_str(&format!(r#"{{"model": "{memory}", {common}{own}}}"#)).unwrap(),
        }
    };
    let named = |name: &str, controller: &str, memory: &str| {
        let config = serde_json::json!({
            "input_size": 2, "hidden_size": 5, "output_size": 2, "controller": controller, "memory": sizes(memory),
        });
        (name.to_owned(), Network::new(serde_json::from_value(config).unwrap(), 1).unwrap())
    };
    let of_models = Model::NAMES.iter().map(|model| named(model, "lstm", model));
    // All but the default one, which the models have.
    let of_controllers = ControllerKind::NAMES[1..].iter().map(|controller| named(controller, controller, "sam"));
    of_models.chain(of_controllers).collect()
}

#[test]
#[ignore = "it writes the files of the present version"]
fn write_files() {
    let folder = folder(VERSION);
    fs::create_dir_all(&folder).unwrap();
    let mut all = BTreeMap::new();
    for (name, network) in networks() {
        checkpoint::save(&folder.join(format!("{name}.safetensors")), &network, &kept()).unwrap();
        let mut runner = Runner::new(&network, ROWS).unwrap();
        let mut outputs = vec![0.0; 20 * ROWS * 2];
        runner.infer(&network, &inputs(0..20, 2), &[20, 13], &mut outputs).unwrap();
        state::save(&folder.join(format!("{name}-state.safetensors")), &mut runner).unwrap();
        let (parameters, state) = (hash(bits(network.parameters().values())), state_hash(&mut runner));
        let (outputs, gradients) = go_on(&network, &mut runner);
        let all_bits = hash([bits(&outputs), bits(&gradients)].concat());
        let gradients = every_eighth(&gradients);
        all.insert(name, Expected { parameters, state, bits: all_bits, outputs, gradients });
    }
    fs::write(folder.join("expected.json"), serde_json::to_string(&all).unwrap() + "\n").unwrap();
}
