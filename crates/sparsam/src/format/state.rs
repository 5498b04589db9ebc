//! The state of a [`Runner`] in safetensors files: controllers and memories, so that a stream goes on after the program
//! that it ran in has ended.
//!
//! A file holds what was ever written, not what could be: an almost empty memory of a billion words takes no more room
//! than its few words. Each row has tensors of its own, whose names start with its number: `3.controller.hidden`,
//! `3.words` (the numbers of the words written), `3.contents`, `3.order` (all words, least recently accessed first, as
//! the first and last of each run of rising numbers), `3.read.words` and `3.read.weights` (what each head read last),
//! and for the SDNC `3.links.…` and `3.precedence.…`; a dense memory has all `3.contents`, its weights, and what else it
//! carries from step to step. The metadata has the [`NetworkConfig`].
//!
//! What is loaded goes on to the bit as what was saved, if the index is exact
//! ([`linear`](crate::index::IndexKind::Linear), and [`auto`](crate::index::IndexKind::Auto) as long as it is).
//! Approximate indexes are not saved: they are built anew from the words, which takes as long as writing them did, and
//! may find others.
//!
//! A file takes the place of an older one at once ([`file::replace`]), and is believed only as far as it was checked:
//! what does not fit is an [`Error::State`] that names it, a checksum that does not match what was read among it. Numbers are converted between `f32` and `f64` as they are
//! read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::tensors::{self, Fault, Numbers, check_version, read_array, read_header, refuse, text, version};
use crate::system::file;
use crate::{Arrays, Error, NetworkConfig, Real, Runner};

/// The metadata's key for the configuration of the network.
const STATE: &str = "sparsam.state";
/// The metadata's key for the number of rows.
const ROWS: &str = "sparsam.rows";

/// Writes the state of all rows, as it stands, in the place of any older file. Nothing in the runner changes, its tape
/// included.
///
/// # Errors
/// [`Error::State`] if a number is infinite or NaN, [`Error::Io`] if writing fails. In each case an older file stays as
/// it was.
pub fn save<T: Real>(path: &Path, runner: &mut Runner<T>) -> Result<(), Error> {
    let bytes = encode(runner).map_err(|fault| fault.at(path, unusable))?;
    file::replace(path, &bytes).map_err(|source| Error::Io { path: path.display().to_string(), source })
}

/// Makes a runner with the state of a file, for networks of this configuration.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::State`] if it is no saved state, a damaged one, or one of a
/// network of another configuration; and as [`Runner::new`].
pub fn load<T: Real>(path: &Path, config: &NetworkConfig) -> Result<Runner<T>, Error> {
    let file = tensors::open(path);
    file.and_then(|(file, length)| decode(file, length, Some(path), config)).map_err(|fault| fault.at(path, unusable))
}

/// The bytes of the file that [`save`] writes.
///
/// # Errors
/// As [`save`], without [`Error::Io`].
pub fn to_bytes<T: Real>(runner: &mut Runner<T>) -> Result<Vec<u8>, Error> {
    encode(runner).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

/// Makes a runner with the state that the bytes of a file hold.
///
/// # Errors
/// As [`load`], without [`Error::Io`].
pub fn from_bytes<T: Real>(bytes: &[u8], config: &NetworkConfig) -> Result<Runner<T>, Error> {
    decode(bytes, bytes.len() as u64, None, config).map_err(|fault| fault.at(Path::new("in memory"), unusable))
}

fn unusable(path: String, reason: String) -> Error {
    Error::State { path, reason }
}

fn encode<T: Real>(runner: &mut Runner<T>) -> Result<Vec<u8>, Fault> {
    let config = serde_json::to_string(runner.config()).map_err(|error| Fault::Reason(error.to_string()))?;
    let metadata = [(STATE, config), (ROWS, runner.rows().to_string()), version()].map(text).into();
    let rows: Vec<Arrays<T>> = (0..runner.rows()).map(|row| runner.save_row(row)).collect();
    for (row, arrays) in rows.iter().enumerate() {
        arrays.check_finite().map_err(|error| of_row(row, error))?;
    }
    let arrays = rows.iter().enumerate().flat_map(|(row, arrays)| {
        arrays.iter().map(move |(name, array)| (format!("{row}.{name}"), array.shape().to_vec(), Numbers::of(array)))
    });
    tensors::encode(metadata, arrays)
}

/// What is wrong with a row.
fn of_row(row: usize, error: Error) -> Fault {
    match error {
        Error::State { reason, .. } => Fault::Reason(format!("in row {row} {reason}")),
        error => Fault::Other(error),
    }
}

fn decode<T: Real>(
    mut file: impl Read,
    length: u64,
    path: Option<&Path>,
    config: &NetworkConfig,
) -> Result<Runner<T>, Fault> {
    let header = read_header(&mut file, length, path)?;
    let rows = check_metadata(&header.metadata, config)?;
    // Every row has tensors: a file that names too many is found out before any is made.
    let mut saved: Vec<Arrays<T>> = vec![Arrays::default(); rows.min(header.tensors.len())];
    for tensor in header.into_order() {
        let full_name = &tensor.name;
        let (row, name) = full_name.split_once('.').unwrap_or_default();
        let Some(arrays) = row.parse::<usize>().ok().and_then(|row| saved.get_mut(row)) else {
            refuse!("tensor `{full_name}` belongs to none of its {rows} rows");
        };
        let array = read_array(&mut file, &tensor)?;
        arrays.put(name, array);
    }
    if saved.len() < rows {
        refuse!("it has {rows} rows by its metadata, but no tensors for so many");
    }
    let mut runner = Runner::with_config(config, rows).map_err(Fault::Other)?;
    for (row, arrays) in saved.into_iter().enumerate() {
        runner.load_row(row, arrays).map_err(|error| of_row(row, error))?;
    }
    Ok(runner)
}

/// Checks what network it is of, and says how many rows it has.
fn check_metadata(metadata: &BTreeMap<String, String>, config: &NetworkConfig) -> Result<usize, Fault> {
    let (Some(json), Some(rows)) = (metadata.get(STATE), metadata.get(ROWS)) else {
        refuse!("its metadata has no `{STATE}` or no `{ROWS}`; it is no saved state");
    };
    check_version(metadata)?;
    match serde_json::from_str::<NetworkConfig>(json) {
        Ok(found) if found == *config => {}
        Ok(_) => {
            let expected = serde_json::to_string(config).unwrap_or_default();
            refuse!("it is of a network {json}, where one of {expected} was expected");
        }
        Err(error) => refuse!("its `{STATE}` is not a network's configuration: {error}"),
    }
    match rows.parse() {
        Ok(rows) if rows > 0 => Ok(rows),
        _ => refuse!("it has {rows:?} rows by its metadata, where a number from 1 on was expected"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{sam, sdnc};
    use crate::option::{Declared, Value};
    use crate::{Array, ControllerKind, Model, Network, Values};

    /// A small memory, with those of the sizes that it has.
    fn model(name: &str) -> Model {
        let mut model = Model::by_name(name).unwrap();
        for (option, size) in [("memory_size", 20), ("word_size", 3), ("heads", 2), ("reads", 2), ("links", 3)] {
            model.set_option(option, &Value::Whole(size));
        }
        model
    }

    fn models() -> Vec<Model> {
        Model::NAMES.iter().map(|name| model(name)).collect()
    }

    fn network<T: Real>(memory: Model) -> Network<T> {
        network_of(ControllerKind::Lstm, memory)
    }

    fn network_of<T: Real>(controller: ControllerKind, memory: Model) -> Network<T> {
        let config = NetworkConfig::new(2, 3).with_hidden_size(5).with_controller(controller).with_memory(memory);
        let mut network = Network::new(config, 3).unwrap();
        for value in network.parameters_mut().values_mut() {
            *value *= T::from_f64(4.0);
        }
        network
    }

    /// Steps of different inputs, of which rows take different numbers.
    fn inputs<T: Real>(rows: usize, steps: usize) -> (Vec<T>, Vec<usize>) {
        let inputs = (0..steps * rows * 2).map(|i| T::from_f64((12.9898 * i as f64).sin())).collect();
        (inputs, (0..rows).map(|row| steps - row * steps / 7).collect())
    }

    fn infer<T: Real>(network: &Network<T>, runner: &mut Runner<T>, steps: usize) -> Vec<T> {
        let (inputs, lengths) = inputs(runner.rows(), steps);
        let mut outputs = vec![T::ZERO; steps * runner.rows() * 3];
        runner.infer(network, &inputs, &lengths, &mut outputs).unwrap();
        outputs
    }

    /// Outputs, and then the gradients of the parameters.
    fn train<T: Real>(network: &Network<T>, runner: &mut Runner<T>, steps: usize) -> Vec<T> {
        let (inputs, lengths) = inputs(runner.rows(), steps);
        let mut outputs = vec![T::ZERO; steps * runner.rows() * 3];
        runner.forward(network, &inputs, &lengths, &mut outputs).unwrap();
        let mut gradients = network.zeros();
        runner.backward(network, &outputs.clone(), &mut gradients, None).unwrap();
        runner.replay();
        outputs.extend_from_slice(gradients.values());
        outputs
    }

    fn goes_on_to_the_bit<T: Real>() {
        let controllers = ControllerKind::NAMES.iter().filter_map(|name| ControllerKind::by_name(name));
        let beside =
            controllers.flat_map(|controller| models().into_iter().take(2).map(move |model| (controller, model)));
        let lstms = models().into_iter().skip(2).map(|model| (ControllerKind::Lstm, model));
        for (controller, model) in beside.chain(lstms) {
            let network = network_of::<T>(controller, model);
            let mut runner = Runner::new(&network, 6).unwrap();
            infer(&network, &mut runner, 37);
            train(&network, &mut runner, 20);
            let bytes = to_bytes(&mut runner).unwrap();
            let mut loaded = from_bytes::<T>(&bytes, network.config()).unwrap();
            assert!(to_bytes(&mut loaded).unwrap() == bytes);
            for _ in 0..2 {
                assert_eq!(train(&network, &mut loaded, 15), train(&network, &mut runner, 15));
                assert_eq!(infer(&network, &mut loaded, 31), infer(&network, &mut runner, 31));
            }
            assert_ne!(to_bytes(&mut runner).unwrap(), bytes);
            loaded.reset();
            let mut fresh = Runner::new(&network, 6).unwrap();
            assert_eq!(train(&network, &mut loaded, 15), train(&network, &mut fresh, 15));
        }
    }

    #[test]
    fn what_is_loaded_goes_on_to_the_bit() {
        goes_on_to_the_bit::<f32>();
        goes_on_to_the_bit::<f64>();
    }

    #[test]
    fn saving_leaves_the_tape() {
        let kinds = ControllerKind::NAMES.iter().map(|name| (ControllerKind::by_name(name).unwrap(), Model::Lstm));
        for (controller, model) in models().into_iter().map(|model| (ControllerKind::Lstm, model)).chain(kinds) {
            let network = network_of::<f64>(controller, model);
            let (mut saved, mut other) = (Runner::new(&network, 3).unwrap(), Runner::new(&network, 3).unwrap());
            let (inputs, lengths) = inputs(3, 9);
            let mut outputs = vec![0.0; 9 * 3 * 3];
            let mut gradients = [&mut saved, &mut other].map(|runner| {
                runner.forward(&network, &inputs, &lengths, &mut outputs).unwrap();
                network.zeros()
            });
            to_bytes(&mut saved).unwrap();
            saved.backward(&network, &outputs, &mut gradients[0], None).unwrap();
            let at_start = to_bytes(&mut saved).unwrap();
            saved.replay();
            assert_ne!(to_bytes(&mut saved).unwrap(), at_start);
            other.backward(&network, &outputs, &mut gradients[1], None).unwrap();
            assert_eq!(gradients[0], gradients[1]);
            assert_eq!(to_bytes(&mut Runner::new(&network, 3).unwrap()).unwrap(), at_start);
        }
    }

    #[test]
    fn rows_are_copied_within_a_batch_and_to_another() {
        for model in models() {
            let network = network::<f32>(model);
            let mut runner = Runner::new(&network, 6).unwrap();
            infer(&network, &mut runner, 37);
            let [first, last] = [0, 5].map(|row| runner.save_row(row));
            assert_ne!(first, last);
            runner.load_row(2, last.clone()).unwrap();
            assert_eq!([0, 2, 5].map(|row| runner.save_row(row)), [first.clone(), last.clone(), last.clone()]);
            let mut other = Runner::new(&network, 1).unwrap();
            other.load_row(0, last.clone()).unwrap();
            assert_eq!(other.save_row(0), last);
        }
    }

    #[test]
    fn approximate_indexes_are_built_anew() {
        for index in [crate::index::IndexKind::Ivf, crate::index::IndexKind::KdForest, crate::index::IndexKind::Lsh] {
            let config = sam::Config { memory_size: 500, word_size: 8, index, ..Default::default() };
            let network = network::<f32>(Model::Sam(config));
            let mut runner = Runner::new(&network, 2).unwrap();
            infer(&network, &mut runner, 90);
            let saved = to_bytes(&mut runner).unwrap();
            let mut loaded = from_bytes::<f32>(&saved, network.config()).unwrap();
            assert_eq!(to_bytes(&mut loaded).unwrap(), saved);
            assert!(train(&network, &mut loaded, 30).iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_billion_words_take_no_more_room_than_those_written() {
        let config = sdnc::Config { memory_size: 1_000_000_000, ..Default::default() };
        let network = network::<f32>(Model::Sdnc(config));
        let mut runner = Runner::new(&network, 2).unwrap();
        let fresh = to_bytes(&mut runner).unwrap().len();
        assert!(fresh < 6000, "{fresh} bytes");
        infer(&network, &mut runner, 10);
        let bytes = to_bytes(&mut runner).unwrap();
        assert!(bytes.len() < 40_000, "{} bytes", bytes.len());
        let mut loaded = from_bytes::<f32>(&bytes, network.config()).unwrap();
        assert_eq!(infer(&network, &mut loaded, 10), infer(&network, &mut runner, 10));
    }

    #[test]
    fn files_and_number_types() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let double = network::<f64>(model("sam"));
        let single = network::<f32>(model("sam"));
        let mut runner = Runner::new(&single, 2).unwrap();
        infer(&single, &mut runner, 12);
        save(&path, &mut runner).unwrap();
        let mut same = load::<f32>(&path, single.config()).unwrap();
        assert_eq!(infer(&single, &mut same, 5), infer(&single, &mut runner, 5));
        let mut wide = load::<f64>(&path, double.config()).unwrap();
        assert!(infer(&double, &mut wide, 5).iter().all(|x| x.is_finite()));

        let other = network::<f32>(model("sdnc"));
        let Err(Error::State { reason, .. }) = load::<f32>(&path, other.config()) else { panic!() };
        assert!(reason.starts_with("it is of a network {") && reason.contains("\"model\":\"sdnc\""), "{reason}");
        assert!(matches!(load::<f32>(&folder.path().join("none"), single.config()), Err(Error::Io { .. })));
        assert!(load::<f32>(folder.path(), single.config()).is_err());

        let mut lost = Runner::new(&single, 1).unwrap();
        lost.infer(&single, &[f32::NAN; 6], &[3], &mut [0.0; 9]).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = save(&path, &mut lost).unwrap_err().to_string();
        assert!(error.contains("state.safetensors: in row 0 `") && error.contains("has the number NaN"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    /// A state of one model, with what a file says of it.
    fn saved(of: &str) -> (Network<f32>, Vec<u8>) {
        let network = network::<f32>(model(of));
        let mut runner = Runner::new(&network, 2).unwrap();
        infer(&network, &mut runner, 17);
        let bytes = to_bytes(&mut runner).unwrap();
        (network, bytes)
    }

    #[track_caller]
    fn refused(of: &str, name: &str, change: impl Fn(&mut Array<f32>), sentence: &str) {
        let network = network::<f32>(model(of));
        let mut runner = Runner::new(&network, 1).unwrap();
        let fresh = runner.save_row(0);
        infer(&network, &mut runner, 17);
        let mut row = runner.save_row(0);
        let mut array = row.get(name).unwrap().clone();
        change(&mut array);
        row.put(name, array);
        match runner.load_row(0, row) {
            Err(Error::State { reason, .. }) => assert_eq!(reason, sentence),
            other => panic!("{other:?}"),
        }
        assert_eq!(runner.save_row(0), fresh, "the row is as it was made");
    }

    fn whole(change: impl Fn(&mut Vec<u32>)) -> impl Fn(&mut Array<f32>) {
        move |array| {
            let Values::Whole(values) = array.values() else { panic!("these are whole numbers") };
            let mut values = values.clone();
            change(&mut values);
            *array = Array::new(vec![values.len()], Values::Whole(values));
        }
    }

    fn real(change: impl Fn(&mut Vec<f32>)) -> impl Fn(&mut Array<f32>) {
        move |array| {
            let Values::Real(values) = array.values() else { panic!("these are real numbers") };
            let mut values = values.clone();
            change(&mut values);
            *array = Array::new(array.shape().to_vec(), Values::Real(values));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let twice = "word 1 occurs twice in";
        refused("sam", "words", whole(|words| words[0] = 1), &format!("{twice} `words`"));
        let no_order = "`order` is not an order of all 20 words";
        refused("sam", "order", whole(|words| words[0] = (words[0] + 1) % 20), no_order);
        refused("sam", "order", whole(|words| words.push(0)), no_order);
        refused("sam", "order", whole(|words| words.clear()), no_order);
        refused("sam", "read.words", whole(|words| words[2..4].fill(1)), &format!("{twice} `read.words`"));
        let range = "is 20, where at most 19 was expected";
        refused("sam", "words", whole(|words| words[0] = 20), &format!("number 0 of `words` {range}"));
        refused("sam", "order", whole(|words| words[1] = 20), &format!("number 1 of `order` {range}"));
        refused("sam", "read.words", whole(|words| words[3] = 20), &format!("number 3 of `read.words` {range}"));
        refused(
            "sam",
            "read.counts",
            whole(|counts| counts[0] = 3),
            "number 0 of `read.counts` is 3, where at most 2 was expected",
        );
        refused(
            "sam",
            "read.counts",
            whole(|counts| counts[0] = 1),
            "`read.words` has whole numbers of shape [4], where shape [3] was expected",
        );
        for (of, name) in [("sam", "contents"), ("dam", "usage"), ("dnc", "links"), ("lstm", "controller.cell")] {
            let sentence = format!("number 1 of `{name}` is inf, where a finite number was expected");
            refused(of, name, real(|values| values[1] = f32::INFINITY), &sentence);
        }
        refused(
            "lstm",
            "controller.hidden",
            whole_of_real,
            "`controller.hidden` has whole numbers of shape [5], where shape [5] was expected",
        );
        let negative = "has the weight -1, where none below 0 was expected";
        for name in ["links.after.values", "links.before.values", "precedence.weights"] {
            refused(
                "sdnc",
                name,
                real(|values| *values.iter_mut().max_by(|a, b| a.total_cmp(b)).unwrap() = -1.0),
                &format!("`{name}` {negative}"),
            );
        }
    }

    fn whole_of_real(array: &mut Array<f32>) {
        *array = Array::new(array.shape().to_vec(), Values::Whole(vec![0; 5]));
    }

    #[test]
    fn links_of_words_never_written_are_refused() {
        let network = network::<f32>(model("sdnc"));
        let mut runner = Runner::new(&network, 1).unwrap();
        infer(&network, &mut runner, 4);
        let row = runner.save_row(0);
        let Values::Whole(words) = row.get("words").unwrap().values().clone() else { panic!() };
        assert!(words.len() < 19, "not all words were written: {words:?}");
        for (name, number) in [("links.after.rows", 19), ("links.before.columns", 20), ("precedence.words", 19)] {
            let mut changed = row.clone();
            let mut array = changed.get(name).unwrap().clone();
            whole(|values| *values.iter_mut().max().unwrap() = number)(&mut array);
            changed.put(name, array);
            let error = runner.load_row(0, changed).unwrap_err().to_string();
            assert!(error.contains("word 19, which was never written"), "{name}: {error}");
        }
        let (columns, rows) = (row.get("links.after.columns").unwrap(), row.get("links.after.rows").unwrap());
        let (Values::Whole(columns), Values::Whole(rows)) = (columns.values(), rows.values()) else { panic!() };
        let mut changed = row.clone();
        let mut own = columns.clone();
        let place = own.iter().position(|column| *column != 0).unwrap();
        own[place] = rows[place / 3] + 1;
        changed.put("links.after.columns", Array::new(vec![own.len()], Values::Whole(own)));
        let error = runner.load_row(0, changed).unwrap_err().to_string();
        assert!(error.contains("to itself") || error.contains("twice"), "{error}");
    }

    #[test]
    fn a_damaged_number_is_noticed_in_the_states_of_all_models() {
        for name in Model::NAMES {
            let (network, file) = saved(name);
            let start = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            for place in (start..file.len()).step_by(11) {
                let mut damaged = file.clone();
                damaged[place] ^= 1 << (place % 8);
                let found = from_bytes::<f32>(&damaged, network.config());
                let Err(Error::State { reason, .. }) = found else { panic!("byte {place} of {name}") };
                assert!(reason.contains("are not those that were written, by their checksum"), "{reason}");
            }
        }
    }

    #[test]
    fn files_that_do_not_fit_their_metadata_are_refused() {
        let (network, bytes) = saved("sam");
        let bytes = tensors::without_sums(&bytes);
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let refused = |from: &str, to: &str, sentence: &str| {
            let header = String::from_utf8(bytes[8..end].to_vec()).unwrap();
            assert!(header.contains(from), "{header}");
            let header = header.replace(from, to);
            let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat();
            match from_bytes::<f32>(&file, network.config()) {
                Err(Error::State { reason, .. }) => assert!(reason.starts_with(sentence), "{reason}"),
                other => panic!("{:?}", other.map(|_| ())),
            }
        };
        refused("\"sparsam.rows\":\"2\"", "\"sparsam.rows\":\"1\"", "tensor `1.");
        refused("\"sparsam.rows\":\"2\"", "\"sparsam.rows\":\"3\"", "in row 2 `controller.hidden` is missing");
        refused(
            "\"sparsam.rows\":\"2\"",
            "\"sparsam.rows\":\"99999999999\"",
            "it has 99999999999 rows by its metadata",
        );
        refused("\"sparsam.rows\":\"2\"", "\"sparsam.rows\":\"-1\"", "it has \"-1\" rows by its metadata");
        refused("\"sparsam.version\":\"1\"", "\"sparsam.version\":\"7\"", "it has format 7");
        refused("\"sparsam.state\"", "\"sparsam.other\"", "its metadata has no `sparsam.state`");
        refused("1.contents", "1.contentz", "in row 1 `contents` is missing");
        refused("1.contents", "contents", "tensor `contents` belongs to none of its 2 rows");
        assert!(matches!(crate::checkpoint::from_bytes::<f32>(&bytes), Err(Error::Checkpoint { .. })));
        let checkpoint = crate::checkpoint::to_bytes(&network, &Default::default()).unwrap();
        let Err(Error::State { reason, .. }) = from_bytes::<f32>(&checkpoint, network.config()) else { panic!() };
        assert!(reason.starts_with("its metadata has no `sparsam.state`"), "{reason}");
    }

    proptest! {
        /// Whatever happens to a file, reading it gives a state that can be gone on from, or an error.
        #[test]
        fn damage_never_panics(
            of in prop::sample::select(Model::NAMES),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            in_header in any::<bool>(),
            length in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let (network, file) = saved(of);
            // Checksums would stop it before anything else could.
            let mut file = tensors::without_sums(&file);
            let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let range = if in_header { 0..header } else { header..file.len() };
            for (place, value) in changes {
                file[range.start + place.index(range.len())] = value;
            }
            if let Some(length) = length {
                file.truncate(length.index(file.len() + 1));
            }
            if let Ok(mut runner) = from_bytes::<f32>(&file, network.config()) {
                train(&network, &mut runner, 9);
                infer(&network, &mut runner, 9);
                runner.reset();
                let mut fresh = Runner::new(&network, runner.rows()).unwrap();
                prop_assert_eq!(to_bytes(&mut runner).unwrap(), to_bytes(&mut fresh).unwrap());
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(from_bytes::<f64>(&noise, network::<f64>(Model::Lstm).config()).is_err());
        }
    }
}
