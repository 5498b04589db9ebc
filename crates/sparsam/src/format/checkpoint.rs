//! Networks in safetensors files.
//!
//! A checkpoint holds the parameters under the names of [`NetworkConfig::tensors`], in the number type that they were
//! trained in, and the [`NetworkConfig`] as JSON in the metadata, so that the file alone makes the network again and
//! any safetensors reader opens it. What a trainer keeps beside the parameters ([`Extra`]) lies in the same file, so
//! that the two can never come from different moments.
//!
//! A checkpoint takes the place of the old one at once ([`file::replace`]). The same network and extra give the same
//! bytes.
//!
//! A file is believed only as far as it was checked: its header may claim no byte that is not there, its sizes must
//! fit its configuration before room is made for them, every tensor must have the checksum that its metadata keeps, and
//! what does not fit is an [`Error::Checkpoint`] that names the tensor. Files of versions that kept no checksums are read as
//! well; [`notice::take`](crate::internal::notice::take) then says so. Numbers are converted between `f32` and `f64` as they are read, rounded where they must be.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::tensors::{self, Fault, Numbers, read_header, read_numbers, refuse};
use crate::network::Tensor;
use crate::system::file;
use crate::{Error, Network, NetworkConfig, Parameters, Real};

/// The metadata's key for the network's configuration.
const NETWORK: &str = "sparsam.network";
/// The metadata's key for the version of this format.
const VERSION: &str = "sparsam.version";
/// The version written and read here.
const CURRENT_VERSION: &str = "1";
/// What the metadata's keys that belong to this module start with.
const RESERVED: &str = "sparsam.";
/// What the names of a trainer's tensors start with.
const TRAINING: &str = "training.";

/// What a trainer keeps beside the parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra<T> {
    /// Texts by name. Names that start with `sparsam.` are taken.
    pub metadata: BTreeMap<String, String>,
    /// Numbers by name. Names start with `training.`, and each occurs once; any number is allowed, NaN included.
    pub tensors: Vec<(String, Vec<T>)>,
}

/// Writes a checkpoint in the place of any older one.
///
/// # Errors
/// [`Error::NotFinite`] if a parameter is infinite or NaN, [`Error::Checkpoint`] if a name in `extra` is not allowed,
/// [`Error::Io`] if writing fails. In each case an older file stays as it was.
pub fn save<T: Real>(path: &Path, network: &Network<T>, extra: &Extra<T>) -> Result<(), Error> {
    let bytes = encode(network, extra).map_err(|fault| fault.at(path, unusable))?;
    file::replace(path, &bytes).map_err(|source| Error::Io { path: path.display().to_string(), source })
}

/// Reads the network of a checkpoint.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Checkpoint`] if it is not a checkpoint or a damaged one.
pub fn load<T: Real>(path: &Path) -> Result<Network<T>, Error> {
    load_with_extra(path).map(|(network, _)| network)
}

/// Reads the network of a checkpoint, and what a trainer kept beside it.
///
/// # Errors
/// As [`load`].
pub fn load_with_extra<T: Real>(path: &Path) -> Result<(Network<T>, Extra<T>), Error> {
    let file = tensors::open(path);
    file.and_then(|(file, length)| decode(file, length, Some(path))).map_err(|fault| fault.at(path, unusable))
}

/// The bytes of a checkpoint file.
///
/// # Errors
/// As [`save`], without [`Error::Io`].
pub fn to_bytes<T: Real>(network: &Network<T>, extra: &Extra<T>) -> Result<Vec<u8>, Error> {
    encode(network, extra).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

/// What the bytes of a checkpoint file hold.
///
/// # Errors
/// [`Error::Checkpoint`] if they are not a checkpoint or a damaged one.
pub fn from_bytes<T: Real>(bytes: &[u8]) -> Result<(Network<T>, Extra<T>), Error> {
    decode(bytes, bytes.len() as u64, None).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

fn unusable(path: String, reason: String) -> Error {
    Error::Checkpoint { path, reason }
}

fn encode<T: Real>(network: &Network<T>, extra: &Extra<T>) -> Result<Vec<u8>, Fault> {
    let parameters = network.parameters();
    parameters.check_finite("the parameter").map_err(Fault::Other)?;
    let mut metadata = extra.metadata.clone();
    if let Some(key) = metadata.keys().find(|key| key.starts_with(RESERVED)) {
        refuse!("the metadata `{key}` of the training state has a name that starts with `{RESERVED}`, which is taken");
    }
    if let Some((name, _)) = extra.tensors.iter().find(|(name, _)| !name.starts_with(TRAINING)) {
        refuse!("the tensor `{name}` of the training state has a name that does not start with `{TRAINING}`");
    }
    let config = serde_json::to_string(network.config()).map_err(|error| Fault::Reason(error.to_string()))?;
    metadata.insert(NETWORK.into(), config);
    metadata.insert(VERSION.into(), CURRENT_VERSION.into());

    let of_network = parameters.tensors().iter().map(|tensor| {
        let values = parameters.get(tensor.name).unwrap_or_default();
        (tensor.name.to_string(), tensor.shape.clone(), Numbers::Real(values))
    });
    let of_training =
        extra.tensors.iter().map(|(name, values)| (name.clone(), vec![values.len()], Numbers::Real(values)));
    tensors::encode(metadata, of_network.chain(of_training))
}

fn decode<T: Real>(mut file: impl Read, length: u64, path: Option<&Path>) -> Result<(Network<T>, Extra<T>), Fault> {
    let header = read_header(&mut file, length, path)?;
    let (config, metadata) = read_metadata(&header.metadata)?;
    let expected = config.tensors();
    check_tensors(&config, &expected, &header.tensors)?;

    // From here on every size is known to be one that the file has.
    let mut parameters = Parameters::<T>::zeros(expected);
    let mut extra = Extra { metadata, tensors: Vec::new() };
    for tensor in header.into_order() {
        let name = &tensor.name;
        if let Some(values) = parameters.get_mut(name) {
            read_numbers(&mut file, &tensor, values)?;
            if let Some((place, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                refuse!(
                    "number {place} of tensor `{name}` is {value} as {}, where a finite number was expected",
                    std::any::type_name::<T>()
                );
            }
        } else {
            let mut values = vec![T::ZERO; tensor.info.shape.iter().product()];
            read_numbers(&mut file, &tensor, &mut values)?;
            extra.tensors.push((tensor.name, values));
        }
    }
    let network = Network::from_parameters(config, parameters).map_err(Fault::Other)?;
    Ok((network, extra))
}

/// The configuration, and the metadata that is not this module's.
fn read_metadata(metadata: &BTreeMap<String, String>) -> Result<(NetworkConfig, BTreeMap<String, String>), Fault> {
    let Some(json) = metadata.get(NETWORK) else {
        refuse!("its metadata has no `{NETWORK}`, so it does not say which network it is of; sparsam did not write it");
    };
    match metadata.get(VERSION).map(String::as_str) {
        Some(CURRENT_VERSION) => {}
        Some(version) => refuse!("it has format {version}, and this sparsam reads format {CURRENT_VERSION}"),
        None => refuse!("its metadata has no `{VERSION}`, where format {CURRENT_VERSION} was expected"),
    }
    let config: NetworkConfig = match serde_json::from_str(json) {
        Ok(config) => config,
        Err(error) => refuse!("its `{NETWORK}` is not a network's configuration: {error}"),
    };
    if let Err(error) = config.validate() {
        refuse!("its `{NETWORK}` is of a network that cannot be: {error}");
    }
    let of_training = metadata.iter().filter(|(key, _)| !key.starts_with(RESERVED));
    Ok((config, of_training.map(|(key, text)| (key.clone(), text.clone())).collect()))
}

/// Checks that the tensors are those of the network, and a trainer's.
fn check_tensors(
    config: &NetworkConfig,
    expected: &[Tensor],
    found: &BTreeMap<String, TensorInfo>,
) -> Result<(), Fault> {
    let model = config.memory.name();
    for Tensor { name, shape } in expected {
        match found.get(*name) {
            None => refuse!("tensor `{name}` is missing, where {shape:?} was expected of this {model} network"),
            Some(info) if info.shape != *shape => {
                refuse!(
                    "tensor `{name}` has shape {:?}, where {shape:?} was expected of this {model} network",
                    info.shape
                )
            }
            Some(_) => {}
        }
    }
    for (name, info) in found {
        if !matches!(info.dtype, Dtype::F32 | Dtype::F64) {
            refuse!("tensor `{name}` has type {}, where F32 or F64 was expected", info.dtype);
        }
        if expected.iter().any(|tensor| tensor.name == name) {
            continue;
        }
        if !name.starts_with(TRAINING) {
            refuse!(
                "tensor `{name}` is not one of a {model} network; only names that start with `{TRAINING}` are free"
            );
        }
        if info.shape.len() != 1 {
            refuse!("tensor `{name}` has shape {:?}, where one dimension was expected", info.shape);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::sam;
    use crate::{ControllerKind, Model};

    fn config() -> NetworkConfig {
        let memory =
            Model::Sam(sam::Config { memory_size: 20, word_size: 3, heads: 2, reads: 2, ..Default::default() });
        NetworkConfig::new(4, 2).with_hidden_size(5).with_memory(memory)
    }

    fn extra() -> Extra<f32> {
        let metadata = [("batches", "17"), ("note", "\"ü\"\n")].map(|(key, value)| (key.into(), value.into()));
        let tensors =
            vec![("training.square".into(), vec![1.5, -0.0, f32::MIN_POSITIVE]), ("training.empty".into(), vec![])];
        Extra { metadata: metadata.into(), tensors }
    }

    fn bytes() -> Vec<u8> {
        to_bytes(&Network::<f32>::new(config(), 7).unwrap(), &extra()).unwrap()
    }

    /// A checkpoint whose header was changed, its length put right, and that has no checksums.
    fn with_header(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let bytes = tensors::without_sums(&bytes());
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header = serde_json::from_slice(&bytes[8..end]).unwrap();
        change(&mut header);
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat()
    }

    fn with_config(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        with_header(|header| {
            let config = &mut header["__metadata__"][NETWORK];
            let mut changed = serde_json::from_str(config.as_str().unwrap()).unwrap();
            change(&mut changed);
            *config = changed.to_string().into();
        })
    }

    #[track_caller]
    fn refused(bytes: &[u8], sentence: &str) {
        match from_bytes::<f32>(bytes) {
            Err(Error::Checkpoint { reason, .. }) => assert_eq!(reason, sentence),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn a_saved_network_comes_back_with_what_was_kept_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let network = Network::<f32>::new(config(), 7).unwrap();
        save(&path, &network, &extra()).unwrap();
        let (loaded, kept) = load_with_extra::<f32>(&path).unwrap();
        assert_eq!(loaded.config(), network.config());
        assert_eq!(loaded.parameters(), network.parameters());
        let mut expected = extra();
        expected.tensors.sort_by_key(|(name, _)| kept.tensors.iter().position(|(kept, _)| kept == name));
        assert_eq!(kept, expected);
        assert!(kept.tensors[0].1.iter().chain(&kept.tensors[1].1).any(|x| x.to_bits() == (-0.0f32).to_bits()));

        let plain = Network::<f64>::new(NetworkConfig { memory: Model::Lstm, ..config() }, 1).unwrap();
        save(&path, &plain, &Extra::default()).unwrap();
        assert_eq!(load::<f64>(&path).unwrap().parameters(), plain.parameters());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn every_controller_comes_back_and_an_lstm_is_not_named() {
        for name in ControllerKind::NAMES {
            let controller = ControllerKind::by_name(name).unwrap();
            let network = Network::<f32>::new(NetworkConfig { controller, ..config() }, 3).unwrap();
            let file = to_bytes(&network, &Extra::default()).unwrap();
            let (loaded, _) = from_bytes::<f32>(&file).unwrap();
            assert_eq!((loaded.config(), loaded.parameters()), (network.config(), network.parameters()));
            let named = String::from_utf8_lossy(&file).contains(r#"\"controller\":"#);
            assert_eq!(named, controller != ControllerKind::Lstm, "checkpoints of before the choice have no name");
        }
        refused(
            &with_config(|config| config["controller"] = "gru".into()),
            "tensor `controller.weight_ih` has shape [20, 10], where [15, 10] was expected of this sam network",
        );
    }

    #[test]
    fn the_same_network_gives_the_same_bytes() {
        let file = bytes();
        assert_eq!(file, bytes());
        let (network, extra) = from_bytes::<f32>(&file).unwrap();
        assert_eq!(to_bytes(&network, &extra).unwrap(), file);
    }

    #[test]
    fn any_safetensors_reader_opens_it() {
        let bytes = bytes();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let network = Network::<f32>::new(config(), 7).unwrap();
        for Tensor { name, shape } in config().tensors() {
            let tensor = file.tensor(name).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &shape[..]));
            let values: Vec<f32> = tensor.data().chunks_exact(4).map(f32::read_le).collect();
            assert_eq!(values, network.parameters().get(name).unwrap());
        }
        assert_eq!(file.len(), config().tensors().len() + 2);
    }

    #[test]
    fn number_types_are_converted() {
        let single = Network::<f32>::new(config(), 7).unwrap();
        let (double, kept) = from_bytes::<f64>(&bytes()).unwrap();
        let widened: Vec<f64> = single.parameters().values().iter().map(|x| f64::from(*x)).collect();
        assert_eq!(double.parameters().values(), widened);
        assert_eq!(kept.tensors.iter().map(|(_, values)| values.len()).sum::<usize>(), 3);

        let mut double = Network::<f64>::new(config(), 8).unwrap();
        let file = to_bytes(&double, &Extra::default()).unwrap();
        let rounded: Vec<f32> = double.parameters().values().iter().map(|x| *x as f32).collect();
        assert_eq!(from_bytes::<f32>(&file).unwrap().0.parameters().values(), rounded);

        double.parameters_mut().get_mut("output.bias").unwrap()[1] = 1e300;
        let file = to_bytes(&double, &Extra::default()).unwrap();
        assert!(from_bytes::<f64>(&file).is_ok());
        refused(&file, "number 1 of tensor `output.bias` is inf as f32, where a finite number was expected");
    }

    #[test]
    fn options_of_the_model_come_back_exactly() {
        for threshold in [0.1 + 0.2, 0.005, 1e-300, 0.123_456_789_012_345_67] {
            let memory = Model::Sam(sam::Config { access_threshold: threshold, ..Default::default() });
            let config = NetworkConfig { memory, ..config() };
            let file = to_bytes(&Network::<f32>::new(config.clone(), 0).unwrap(), &Extra::default()).unwrap();
            assert_eq!(from_bytes::<f32>(&file).unwrap().0.config(), &config);
        }
    }

    #[test]
    fn a_cut_file_says_so() {
        let file = bytes();
        refused(&[], "it has 0 bytes, where a safetensors file has at least 8");
        refused(&file[..7], "it has 7 bytes, where a safetensors file has at least 8");
        let header = u64::from_le_bytes(file[..8].try_into().unwrap());
        refused(
            &file[..100],
            &format!(
                "its header should have {header} bytes, but 92 follow (at most 16777216 are read); it was cut off or is no safetensors file"
            ),
        );
        let numbers = file.len() - 8 - header as usize;
        refused(
            &file[..file.len() - 3],
            &format!(
                "its tensors have {numbers} bytes by its header, but {} are there; it was cut off or added to",
                numbers - 3
            ),
        );
        for length in 0..file.len() {
            assert!(from_bytes::<f32>(&file[..length]).is_err(), "{length} bytes");
        }
        assert!(from_bytes::<f32>(&[&file[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named() {
        let missing = with_header(|header| {
            let tensors = header.as_object_mut().unwrap();
            let bias = tensors.remove("output.bias").unwrap();
            tensors.insert("output.offset".into(), bias);
        });
        refused(&missing, "tensor `output.bias` is missing, where [2] was expected of this sam network");

        let turned = with_header(|header| header["output.weight"]["shape"] = serde_json::json!([11, 2]));
        refused(&turned, "tensor `output.weight` has shape [11, 2], where [2, 11] was expected of this sam network");

        let other = with_config(|config| config["memory"] = serde_json::json!({"model": "lstm"}));
        refused(
            &other,
            "tensor `controller.weight_ih` has shape [20, 10], where [20, 4] was expected of this lstm network",
        );

        let unknown = with_header(|header| {
            let tensors = header.as_object_mut().unwrap();
            let square = tensors.remove("training.square").unwrap();
            tensors.insert("square".into(), square);
        });
        refused(
            &unknown,
            "tensor `square` is not one of a sam network; only names that start with `training.` are free",
        );

        let whole = with_header(|header| header["output.bias"]["dtype"] = "I32".into());
        refused(&whole, "tensor `output.bias` has type I32, where F32 or F64 was expected");

        let flat = with_header(|header| header["training.square"]["shape"] = serde_json::json!([1, 3]));
        refused(&flat, "tensor `training.square` has shape [1, 3], where one dimension was expected");

        let start = config().tensors().iter().map(|t| 4 * t.shape.iter().product::<usize>()).sum::<usize>() - 8;
        let end = start + 8;
        let longer = with_header(|header| header["output.bias"]["shape"] = serde_json::json!([3]));
        refused(
            &longer,
            &format!(
                "tensor `output.bias` of shape [3] and type F32 lies at bytes {start} to {end}, where it was expected from {start} on, its own length"
            ),
        );
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let mut network = Network::<f32>::new(config(), 7).unwrap();
        network.parameters_mut().get_mut("interface.bias").unwrap()[2] = f32::NAN;
        assert!(matches!(to_bytes(&network, &Extra::default()), Err(Error::NotFinite { .. })));

        let file = to_bytes(&Network::<f32>::new(config(), 7).unwrap(), &Extra::default()).unwrap();
        let mut file = tensors::without_sums(&file);
        let last = file.len() - 4;
        file[last..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        refused(&file, "number 1 of tensor `output.bias` is -inf as f32, where a finite number was expected");
    }

    #[test]
    fn a_file_of_another_kind_or_version_says_so() {
        let foreign = with_header(|header| _ = header["__metadata__"].as_object_mut().unwrap().remove(NETWORK));
        refused(
            &foreign,
            "its metadata has no `sparsam.network`, so it does not say which network it is of; sparsam did not write it",
        );
        let later = with_header(|header| header["__metadata__"][VERSION] = "2".into());
        refused(&later, "it has format 2, and this sparsam reads format 1");
        let versionless = with_header(|header| _ = header["__metadata__"].as_object_mut().unwrap().remove(VERSION));
        refused(&versionless, "its metadata has no `sparsam.version`, where format 1 was expected");
        let unknown = with_config(|config| config["memory"]["model"] = "elephant".into());
        let Err(Error::Checkpoint { reason, .. }) = from_bytes::<f32>(&unknown) else { panic!() };
        assert!(reason.contains("unknown variant `elephant`"), "{reason}");
        refused(
            &with_config(|config| config["memory"]["heads"] = 0.into()),
            "its `sparsam.network` is of a network that cannot be: heads = 0 does not work: it must be a whole number from 1 to 4096",
        );
        let mut text = b"This is a text of some length, not a safetensors file.".to_vec();
        assert!(matches!(from_bytes::<f32>(&text), Err(Error::Checkpoint { .. })));
        text[..8].copy_from_slice(&20u64.to_le_bytes());
        assert!(matches!(from_bytes::<f32>(&text), Err(Error::Checkpoint { .. })));
    }

    #[test]
    fn a_damaged_number_is_noticed_in_every_tensor() {
        let file = bytes();
        let start = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        for place in start..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1 << (place % 8);
            let Err(Error::Checkpoint { reason, .. }) = from_bytes::<f32>(&damaged) else { panic!("byte {place}") };
            assert!(reason.contains("are not those that were written, by their checksum"), "{reason}");
        }
    }

    /// Sizes that no machine has must be refused before room is made for them, whatever they multiply to.
    #[test]
    fn claims_beyond_the_file_are_refused() {
        for size in [1u64 << 40, 1 << 62, (1 << 62) + 5, u64::MAX / 4 + 2, u64::MAX] {
            for field in ["input_size", "hidden_size", "output_size"] {
                assert!(from_bytes::<f32>(&with_config(|config| config[field] = size.into())).is_err());
            }
            for field in ["memory_size", "word_size", "heads", "reads"] {
                assert!(
                    from_bytes::<f32>(&with_config(|config| config["memory"][field] = size.into())).is_err(),
                    "{field}"
                );
            }
            let file = with_header(|header| header["output.bias"]["data_offsets"][1] = size.into());
            assert!(from_bytes::<f32>(&file).is_err());
            let file = with_header(|header| header["output.weight"]["shape"] = serde_json::json!([size, size]));
            assert!(from_bytes::<f32>(&file).is_err());
            assert!(from_bytes::<f32>(&size.to_le_bytes()).is_err());
        }
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        let network = Network::<f32>::new(config(), 7).unwrap();
        let reason = |extra: Extra<f32>| to_bytes(&network, &extra).unwrap_err().to_string();
        let tensors = |names: &[&str]| names.iter().map(|name| (name.to_string(), vec![1.0])).collect();
        let metadata = BTreeMap::from([(NETWORK.to_string(), String::new())]);
        assert!(reason(Extra { metadata, ..Default::default() }).contains("`sparsam.network`"));
        let other = Extra { tensors: tensors(&["output.bias"]), ..Default::default() };
        assert!(reason(other).contains("`output.bias`"));
        let twice = Extra { tensors: tensors(&["training.a", "training.a"]), ..Default::default() };
        assert!(reason(twice).contains("two tensors `training.a`"));
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut network = Network::<f32>::new(config(), 7).unwrap();
        save(&path, &network, &extra()).unwrap();
        network.parameters_mut().values_mut()[3] = f32::INFINITY;
        assert!(matches!(save(&path, &network, &extra()), Err(Error::NotFinite { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), bytes());

        // A folder cannot be replaced by a file: the renaming fails, after everything was written.
        let folder_in_the_way = folder.path().join("b.safetensors");
        std::fs::create_dir(&folder_in_the_way).unwrap();
        let network = Network::<f32>::new(config(), 7).unwrap();
        assert!(matches!(save(&folder_in_the_way, &network, &extra()), Err(Error::Io { .. })));
        assert!(matches!(save(&folder.path().join("none/a"), &network, &extra()), Err(Error::Io { .. })));
        assert!(matches!(save(Path::new("/"), &network, &extra()), Err(Error::Io { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);

        assert!(matches!(load::<f32>(&folder.path().join("none")), Err(Error::Io { .. })));
        assert!(matches!(load::<f32>(folder.path()), Err(Error::Io { .. })));
    }

    #[test]
    fn python_opens_it() {
        let Ok(python) = std::env::var("SPARSAM_PYTHON") else {
            println!("skipped: SPARSAM_PYTHON names no Python");
            return;
        };
        let has = std::process::Command::new(&python).args(["-c", "import safetensors.numpy"]).output();
        if !has.is_ok_and(|output| output.status.success()) {
            println!("skipped: {python} has no safetensors and numpy");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, bytes()).unwrap();
        let script = "import sys, json, safetensors
with safetensors.safe_open(sys.argv[1], 'numpy') as file:
    metadata = {key: json.loads(value) for key, value in file.metadata().items() if key == 'sparsam.network'}
    tensors = {name: file.get_tensor(name) for name in file.keys()}
    print(json.dumps([metadata, {name: [list(t.shape), float(t.sum(dtype='float64'))] for name, t in tensors.items()}]))";
        let output = std::process::Command::new(python).args(["-c", script]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let read: NetworkConfig = serde_json::from_value(answer[0][NETWORK].clone()).unwrap();
        assert_eq!(read, config());
        let network = Network::<f32>::new(config(), 7).unwrap();
        for Tensor { name, shape } in config().tensors() {
            let sum: f64 = network.parameters().get(name).unwrap().iter().map(|x| f64::from(*x)).sum();
            assert_eq!(answer[1][name][0], serde_json::json!(shape));
            assert!((answer[1][name][1].as_f64().unwrap() - sum).abs() < 1e-9);
        }
    }

    proptest! {
        /// Whatever happens to a file, reading it gives a network that works or an error.
        #[test]
        fn damage_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            in_header in any::<bool>(),
            length in any::<Option<prop::sample::Index>>(),
        ) {
            // Checksums would stop it before anything else could.
            let mut file = tensors::without_sums(&bytes());
            let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let range = if in_header { header } else { file.len() };
            for (place, value) in changes {
                file[place.index(range)] = value;
            }
            if let Some(length) = length {
                file.truncate(length.index(file.len() + 1));
            }
            if let Ok((network, extra)) = from_bytes::<f32>(&file) {
                prop_assert!(network.parameters().check_finite("parameter").is_ok());
                prop_assert!(to_bytes(&network, &extra).is_ok());
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(from_bytes::<f64>(&noise).is_err());
        }
    }
}
