//! Initialisation of a new network's parameters.
//!
//! The bound of a weight depends on where its input comes from, a bias of the interface on its field: a memory declares it in
//! [`Field`](crate::memory::interface::Field), a controller its biases and gains.

use std::ops::Range;

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::{EMBEDDING, NetworkConfig, Parameters};
use crate::memory::interface::{First, places};
use crate::option::word_option;
use crate::{Real, controller};

/// The bound for the input weights of one-hot inputs (ours). The sum of a unit's inputs is then a single weight, which has to
/// distinguish one of many symbols. Of pairs of one-hot symbols SAM recalls 96 % after 400 steps with this bound, 65 % with half
/// of it and 23 % with a fourth.
pub const ONE_HOT_INPUT_BOUND: f64 = 4.0;

/// The bound for the input weights of other inputs of length ‖x‖ (ours): 2/‖x‖, which is 2/√I where all I elements are about 1.
/// The sum of a unit's inputs then reaches about 1, which distinguishes inputs from the start and does not saturate the unit.
/// With vectors of bits, twice this bound takes a third longer to learn.
pub fn input_bound(length: f64) -> f64 {
    2.0 / length
}

/// The bound of the elements of embeddings (ours): their variance is 1, as that of PyTorch's `Embedding`.
const EMBEDDING_BOUND: f64 = 1.732_050_807_568_877_2;

/// The largest bound of the output layer's weights for the reads.
const READ_BOUND: f64 = 1.0;

/// Their bound times the root of R·W, where that is less: outputs then start within a few units whatever R and W are.
const READ_BOUND_TIMES_ROOT: f64 = 12.0;

/// How parameters are initialised (ours; the papers do not say).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InitialValues {
    /// By the role of each parameter; see [`first_values`](NetworkConfig::first_values).
    #[default]
    ByRole,
    /// Every weight uniform in ±1/√fan_in, every bias 0 except the forget gate's, 1. Inputs and reads are then so weak beside
    /// the hidden units that the network may never learn to use its memory.
    Uniform,
}

impl InitialValues {
    /// The names of all choices.
    pub const NAMES: &[&str] = &["by-role", "uniform"];

    /// The choice of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::ByRole, Self::Uniform].into_iter().find(|values| values.name() == name)
    }

    /// The name, as in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByRole => "by-role",
            Self::Uniform => "uniform",
        }
    }
}

word_option!(InitialValues);

/// A rectangle of a parameter and its first values. A vector is a matrix of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The parameter's name.
    pub tensor: &'static str,
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
    /// Their first values.
    pub value: FirstValue,
}

/// The first values of the elements of a [`Block`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FirstValue {
    /// Uniform in ± this.
    Uniform(f64),
    /// This one for all.
    Constant(f64),
    /// A copy of the same columns of the same parameter, from this row on.
    RowsFrom(usize),
}

impl NetworkConfig {
    /// The distribution of each parameter's first values: rectangles that cover every parameter once, copies of others last.
    ///
    /// With [`ByRole`](InitialValues::ByRole):
    /// * weights of the inputs in ±`input_bound`; without one in ±2/√I, which suits inputs whose elements are all
    ///   about 1 ([`input_bound`]);
    /// * embeddings of tokens in ±√3, with either choice, so that their elements are about 1;
    /// * weights of the controller for the reads and for its hidden units in ±1/√(I + R·W + H);
    /// * weights of the interface in ±1/√H, its biases as the memory [declares](crate::memory::interface) them; the keys of
    ///   half of the heads start as the words that are written;
    /// * weights of the output layer for hidden units in ±1/√(H + R·W), for the reads in ±12/√(R·W) or ±1, whichever is less:
    ///   words are small at first, and the gradients that pass through them smaller still;
    /// * all other biases 0, except the forget gate's, 1; gains 1.
    ///
    /// docs/recipes.md has the measurements behind these numbers.
    pub fn first_values(&self, values: InitialValues, input_bound: Option<f64>) -> Vec<Block> {
        let (input, hidden, output) = (self.input_size, self.hidden_size, self.output_size);
        let read = self.memory.read_len();
        let by_role = values == InitialValues::ByRole;
        let root = |fan_in: usize| 1.0 / (fan_in as f64).sqrt();
        let of_controller = root(input + read + hidden);
        let of_inputs = match values {
            InitialValues::ByRole => input_bound.unwrap_or_else(|| self::input_bound((input as f64).sqrt())),
            InitialValues::Uniform => of_controller,
        };
        let (mut blocks, mut copies) = (Vec::new(), Vec::new());
        let mut add = |tensor, rows: Range<usize>, columns: Range<usize>, value| {
            if !rows.is_empty() && !columns.is_empty() {
                let block = Block { tensor, rows, columns, value };
                if matches!(value, FirstValue::RowsFrom(_)) { copies.push(block) } else { blocks.push(block) }
            }
        };
        use FirstValue::{Constant, RowsFrom, Uniform};
        add(EMBEDDING, 0..self.vocabulary_size, 0..input, Uniform(EMBEDDING_BOUND));
        for controller::Parameter { name, shape, first } in self.controller_declaration().parameters {
            let rows = 0..shape[0];
            match first {
                controller::First::InputWeights => {
                    add(name, rows.clone(), 0..input, Uniform(of_inputs));
                    add(name, rows, input..input + read, Uniform(of_controller));
                }
                controller::First::HiddenWeights => add(name, rows, 0..hidden, Uniform(of_controller)),
                controller::First::Blocks(numbers) => {
                    let length = rows.len() / numbers.len();
                    for (block, number) in numbers.iter().enumerate() {
                        add(name, block * length..(block + 1) * length, 0..1, Constant(*number));
                    }
                }
            }
        }
        let fields = self.memory.interface();
        let places: Vec<_> = places(&fields).collect();
        for (field, place) in fields.iter().zip(&places) {
            let (value, bias) = match field.first {
                First::Bias(bias) => (Uniform(root(hidden)), bias),
                First::SameAs(other) if by_role => (RowsFrom(places[other].start), 0.0),
                First::SameAs(_) => (Uniform(root(hidden)), 0.0),
            };
            add("interface.weight", place.clone(), 0..hidden, value);
            add("interface.bias", place.clone(), 0..1, Constant(if by_role { bias } else { 0.0 }));
        }
        let of_output = root(hidden + read);
        let of_reads = if by_role { READ_BOUND.min(READ_BOUND_TIMES_ROOT * root(read.max(1))) } else { of_output };
        add("output.weight", 0..output, 0..hidden, Uniform(of_output));
        add("output.weight", 0..output, hidden..hidden + read, Uniform(of_reads));
        add("output.bias", 0..output, 0..1, Constant(0.0));
        blocks.append(&mut copies);
        blocks
    }
}

/// Gives parameters their first values.
pub(super) fn fill<T: Real>(parameters: &mut Parameters<T>, blocks: &[Block], random: &mut impl Rng) {
    for Block { tensor, rows, columns, value } in blocks {
        let width = parameters.tensors().iter().find(|it| it.name == *tensor).and_then(|it| it.shape.get(1).copied());
        let width = width.unwrap_or(1);
        let Some(values) = parameters.get_mut(tensor) else { continue };
        for row in rows.clone() {
            let place = row * width + columns.start..row * width + columns.end;
            match value {
                FirstValue::Uniform(bound) => fill_uniform(&mut values[place], *bound, random),
                FirstValue::Constant(value) => values[place].fill(T::from_f64(*value)),
                FirstValue::RowsFrom(first) => {
                    let from = (first + row - rows.start) * width;
                    values.copy_within(from + columns.start..from + columns.end, place.start);
                }
            }
        }
    }
}

/// Fills the values with numbers uniform in ±bound.
fn fill_uniform<T: Real>(values: &mut [T], bound: f64, random: &mut impl Rng) {
    for value in values {
        // The upper 53 bits, as a number in [0, 1).
        let unit = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        *value = T::from_f64((2.0 * unit - 1.0) * bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{dnc, sam, sdnc};
    use crate::{ControllerKind, Model, Network};

    fn configurations() -> Vec<NetworkConfig> {
        let mut memories: Vec<Model> = Model::NAMES.iter().filter_map(|name| Model::by_name(name)).collect();
        memories.push(Model::Sdnc(sdnc::Config { masked_content: true, sharpened_links: true, ..Default::default() }));
        memories.push(Model::Dnc(dnc::Config { masked_content: true, sharpened_links: true, ..Default::default() }));
        memories.push(Model::Sam(sam::Config { heads: 1, ..Default::default() }));
        let of = |(controller, memory): (ControllerKind, Model)| {
            [0, 3].map(|output_size| {
                NetworkConfig::new(5, output_size)
                    .with_hidden_size(7)
                    .with_controller(controller)
                    .with_memory(memory.clone())
            })
        };
        let controllers = ControllerKind::NAMES.iter().filter_map(|name| ControllerKind::by_name(name));
        let others: Vec<_> = controllers.map(|controller| (controller, memories[0].clone())).collect();
        let all = memories.into_iter().map(|memory| (ControllerKind::Lstm, memory)).chain(others).flat_map(of);
        all.flat_map(|config| [config.clone(), config.with_vocabulary(6)]).collect()
    }

    #[test]
    fn every_number_of_every_parameter_starts_once() {
        for config in configurations() {
            for values in [InitialValues::ByRole, InitialValues::Uniform] {
                let blocks = config.first_values(values, Some(1.0));
                for tensor in config.tensors() {
                    let width = tensor.shape.get(1).copied().unwrap_or(1);
                    let mut times = vec![0; tensor.shape[0] * width];
                    for block in blocks.iter().filter(|block| block.tensor == tensor.name) {
                        for row in block.rows.clone() {
                            for column in block.columns.clone() {
                                times[row * width + column] += 1;
                            }
                        }
                    }
                    assert!(times.iter().all(|times| *times == 1), "{} {values:?}", tensor.name);
                }
            }
        }
    }

    #[test]
    fn declared_fields_are_as_long_as_the_interface() {
        for config in configurations() {
            let fields = config.memory.interface();
            assert_eq!(crate::memory::interface::interface_len(&fields), config.memory.interface_len());
            for field in fields.iter() {
                if let First::SameAs(other) = field.first {
                    let words = ["write word", "add"];
                    assert!(field.name.ends_with("key") && words.contains(&fields[other].name), "{fields:?}");
                    assert_eq!(fields[other].length, field.length);
                }
            }
        }
    }

    #[test]
    fn values_lie_where_they_should() {
        let memory = Model::Sam(sam::Config { word_size: 4, heads: 2, ..Default::default() });
        let config = NetworkConfig::new(5, 3).with_hidden_size(30).with_memory(memory);
        let network = Network::<f64>::new(config.clone(), 1).unwrap();
        let of = |name| network.parameters().get(name).unwrap();
        let largest =
            |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most: f64, value| most.max(value.abs()));
        let row = 5 + 8;
        let inputs = largest(&mut of("controller.weight_ih").chunks(row).flat_map(|row| row[..5].to_vec()));
        let reads = largest(&mut of("controller.weight_ih").chunks(row).flat_map(|row| row[5..].to_vec()));
        assert!((0.8..=2.0 / 5f64.sqrt()).contains(&inputs) && reads <= 1.0 / 43f64.sqrt(), "{inputs} {reads}");
        let outputs = largest(&mut of("output.weight").chunks(38).flat_map(|row| row[30..].to_vec()));
        assert!((0.8..=1.0).contains(&outputs), "{outputs}");
        // Head after head: key, strength, write word, write gate, interpolation gate.
        let (weight, bias) = (of("interface.weight"), of("interface.bias"));
        for (head, same) in [(0, true), (1, false)] {
            let first = head * 11;
            let rows = |field: Range<usize>| &weight[(first + field.start) * 30..(first + field.end) * 30];
            assert_eq!(rows(0..4) == rows(5..9), same);
            let [strength, write, interpolation] = [4, 9, 10].map(|field| bias[first + field]);
            assert!((1.0 + strength.exp().ln_1p() - 10.0).abs() < 1e-9);
            assert_eq!((write, interpolation), (2.0, -2.0));
            assert!(bias[first..first + 4].iter().chain(&bias[first + 5..first + 9]).all(|bias| *bias == 0.0));
        }
        assert_eq!(of("controller.bias")[30..60], [1.0; 30]);
    }

    #[test]
    fn uniform_values_are_those_of_before() {
        let memory = Model::Sam(sam::Config { word_size: 4, heads: 2, ..Default::default() });
        let config = NetworkConfig::new(5, 3).with_hidden_size(30).with_memory(memory);
        let network = Network::<f64>::with_initial_values(config, InitialValues::Uniform, Some(4.0), 1).unwrap();
        let all = network.parameters().values();
        assert!(all.iter().all(|value| *value == 1.0 || value.abs() <= 1.0 / 30f64.sqrt()));
        assert!(network.parameters().get("interface.bias").unwrap().iter().all(|bias| *bias == 0.0));
    }
}
