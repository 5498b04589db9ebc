//! A controller with a memory beside it, run over whole batches of sequences.
//!
//! For t = 1..T: the controller's input is z = \[x ; r'\], where r' is what the previous step read; the controller, an LSTM
//! unless another [`ControllerKind`] was chosen, gives (h, c); the interface is p = W_p h + b_p; the memory writes, then
//! reads r; the output is y = W_y \[h ; r\] + b_y. Without a memory there is no p and no r. Without an output layer y is
//! \[h ; r\] itself. (Rae et al. 2016, section 3; each memory documents the choices that the paper leaves open.)
//!
//! Where inputs are tokens, numbers from 0 to V − 1, x is the token's row of a matrix, its embedding; where a step reads a
//! whole sentence of tokens, x is the sum of their embeddings, weighted by [position](position_weight).
//!
//! [`Network`] holds the parameters; a [`Runner`] holds what belongs to sequences: a memory, a controller state and a
//! tape for each row of a batch.

mod budget;
mod embedding;
mod initial;
mod layers;
mod parameters;
mod pieces;
mod runner;
mod sequences;
mod shard;
mod time_major;

pub use embedding::{PADDING, position_weight};
pub use initial::{Block, FirstValue, InitialValues, ONE_HOT_INPUT_BOUND, input_bound};
pub use parameters::{Parameters, Tensor};
pub use runner::Runner;
pub use sequences::Sequences;

use std::sync::atomic::{AtomicU64, Ordering};

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::controller::{Declaration, Sizes};
use crate::{ControllerKind, Error, Model, Real};

/// The sizes of a network, its controller and its memory.
///
/// ```
/// use sparsam::memory::sdnc;
/// use sparsam::{ControllerKind, NetworkConfig};
///
/// // 10 input elements, 8 output elements; 100 hidden units, an LSTM and SAM unless others are chosen.
/// let config = NetworkConfig::new(10, 8)
///     .with_hidden_size(64)
///     .with_controller(ControllerKind::Gru)
///     .with_memory(sdnc::Config { memory_size: 4096, ..Default::default() });
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// Elements of an input, I; of an embedding, where inputs are tokens.
    pub input_size: usize,
    /// Tokens that there are, V: an input is then one number, that of a token, and the controller sees its embedding. 0: inputs
    /// are not tokens. Networks without tokens do not say so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vocabulary_size: usize,
    /// Tokens that a step reads at most, J, as one sentence: an input is then J numbers, and the controller sees the sum of the
    /// tokens' embeddings, weighted by [position](position_weight). 0: one token, as it is. Networks without sentences do not say
    /// so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sentence_size: usize,
    /// Hidden units of the controller, H.
    pub hidden_size: usize,
    /// Elements of an output, O. 0 makes a network without an output layer, whose output is \[h ; r\]: see
    /// [`output_len`](Self::output_len).
    pub output_size: usize,
    /// The controller. Networks that do not say theirs have an LSTM, and those that have one do not say so.
    #[serde(default, skip_serializing_if = "ControllerKind::is_default")]
    pub controller: ControllerKind,
    /// The memory, and its configuration. [`Model::Lstm`] is none: the controller alone, whichever it is.
    pub memory: Model,
}

fn is_zero(size: &usize) -> bool {
    *size == 0
}

/// The most inputs, tokens, hidden units or outputs of a network. Numbers of tokens are exact in single precision.
const LARGEST_SIZE: usize = 1 << 24;

/// The parameter with the embedding of each token, a row for each.
const EMBEDDING: &str = "embedding.weight";

impl NetworkConfig {
    /// A network with `input_size` input elements and `output_size` output elements: 100 hidden units of an LSTM, and SAM
    /// with its defaults.
    pub fn new(input_size: usize, output_size: usize) -> Self {
        let memory = Model::Sam(Default::default());
        let (vocabulary_size, sentence_size, controller) = (0, 0, ControllerKind::default());
        Self { input_size, vocabulary_size, sentence_size, hidden_size: 100, output_size, controller, memory }
    }

    /// The same with inputs that are tokens, of which there are `vocabulary_size`. Each has an embedding of
    /// [`input_size`](Self::input_size) elements.
    ///
    /// ```
    /// use sparsam::{Network, NetworkConfig, Runner};
    ///
    /// # fn main() -> Result<(), sparsam::Error> {
    /// // Of 50 tokens, each an embedding of 16 elements; 50 logits, of the token that follows.
    /// let network = Network::<f32>::new(NetworkConfig::new(16, 50).with_vocabulary(50), 1)?;
    /// let mut runner = Runner::new(&network, 1)?;
    /// let mut logits = [0.0; 3 * 50];
    /// runner.infer(&network, &[7.0, 0.0, 49.0], &[3], &mut logits)?;
    /// assert!(runner.infer(&network, &[50.0], &[1], &mut logits[..50]).is_err(), "there is no token 50");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_vocabulary(self, vocabulary_size: usize) -> Self {
        Self { vocabulary_size, ..self }
    }

    /// The same with steps that each read a whole sentence of `sentence_size` tokens or fewer, of
    /// [a vocabulary](Self::with_vocabulary). An input is that many numbers: the tokens, and [`PADDING`] in all places after the
    /// last. A sentence without a token is an input of zeros.
    ///
    /// ```
    /// use sparsam::network::PADDING;
    /// use sparsam::{Network, NetworkConfig, Runner};
    ///
    /// # fn main() -> Result<(), sparsam::Error> {
    /// let config = NetworkConfig::new(16, 50).with_vocabulary(50).with_sentences(4);
    /// let network = Network::<f32>::new(config, 1)?;
    /// let mut runner = Runner::new(&network, 1)?;
    /// // Two steps: a sentence of four words, and one of two.
    /// let sentences = [7.0, 0.0, 49.0, 3.0, 9.0, 1.0, PADDING, PADDING];
    /// let mut logits = [0.0; 2 * 50];
    /// runner.infer(&network, &sentences, &[2], &mut logits)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_sentences(self, sentence_size: usize) -> Self {
        Self { sentence_size, ..self }
    }

    /// The same with `hidden_size` hidden units of the controller.
    #[must_use]
    pub fn with_hidden_size(self, hidden_size: usize) -> Self {
        Self { hidden_size, ..self }
    }

    /// The same with another controller.
    #[must_use]
    pub fn with_controller(self, controller: ControllerKind) -> Self {
        Self { controller, ..self }
    }

    /// The same with another memory: a [`Model`], or the configuration of one. [`Model::Lstm`] is none.
    #[must_use]
    pub fn with_memory(self, memory: impl Into<Model>) -> Self {
        Self { memory: memory.into(), ..self }
    }

    /// Checks the sizes, and those of the memory.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        for (field, value) in [
            ("input_size", self.input_size),
            ("vocabulary_size", self.vocabulary_size),
            ("sentence_size", self.sentence_size),
            ("hidden_size", self.hidden_size),
            ("output_size", self.output_size),
        ] {
            if value == 0 && !["output_size", "vocabulary_size", "sentence_size"].contains(&field) {
                return Err(Error::Config { field, value: "0".into(), reason: "it must be at least 1".into() });
            }
            // Beyond this even the numbers of a single layer cannot be counted safely.
            if value > LARGEST_SIZE {
                let reason = format!("it must be at most {LARGEST_SIZE}");
                return Err(Error::Config { field, value: value.to_string(), reason });
            }
        }
        if self.sentence_size > 0 && self.vocabulary_size == 0 {
            let (value, reason) =
                (self.sentence_size.to_string(), "sentences are of tokens; choose a vocabulary_size".into());
            return Err(Error::Config { field: "sentence_size", value, reason });
        }
        self.memory.validate()?;
        let numbers = self.parameter_count();
        if numbers > 1 << 34 {
            return Err(Error::Config {
                field: "hidden_size",
                value: self.hidden_size.to_string(),
                reason: format!("with the other sizes it makes {numbers} parameters; choose smaller sizes"),
            });
        }
        Ok(())
    }

    /// Elements of what a step takes in: the input size, the one number of a token, or those of a sentence.
    pub fn input_len(&self) -> usize {
        if self.vocabulary_size > 0 { self.sentence_size.max(1) } else { self.input_size }
    }

    /// Elements of what a step puts out: the output size, or H + R·W without an output layer.
    pub fn output_len(&self) -> usize {
        if self.output_size > 0 { self.output_size } else { self.hidden_size + self.memory.read_len() }
    }

    /// Elements of what a row's controller holds between two steps, \[h ; c ; r\]: H hidden units, as many cells (none of a
    /// GRU), and R·W elements read last.
    pub fn controller_len(&self) -> usize {
        self.hidden_size + self.controller_declaration().cell + self.memory.read_len()
    }

    /// Names and shapes of the parameters, in the order in which they are stored.
    pub fn tensors(&self) -> Vec<Tensor> {
        let (hidden, output) = (self.hidden_size, self.output_size);
        let (interface, read) = (self.memory.interface_len(), self.memory.read_len());
        let of_controller = self.controller_declaration().parameters.into_iter();
        let mut tensors = Vec::new();
        if self.vocabulary_size > 0 {
            tensors.push(Tensor { name: EMBEDDING, shape: vec![self.vocabulary_size, self.input_size] });
        }
        tensors.extend(of_controller.map(|parameter| Tensor { name: parameter.name, shape: parameter.shape }));
        if interface > 0 {
            tensors.push(Tensor { name: "interface.weight", shape: vec![interface, hidden] });
            tensors.push(Tensor { name: "interface.bias", shape: vec![interface] });
        }
        if output > 0 {
            tensors.push(Tensor { name: "output.weight", shape: vec![output, hidden + read] });
            tensors.push(Tensor { name: "output.bias", shape: vec![output] });
        }
        tensors
    }

    /// The lengths of the vectors that the controller sees.
    fn controller_sizes(&self) -> Sizes {
        Sizes { input: self.input_size, hidden: self.hidden_size, read: self.memory.read_len() }
    }

    /// What the controller is made of.
    fn controller_declaration(&self) -> Declaration {
        self.controller.declare(self.controller_sizes())
    }
}

/// A network: a configuration and parameters that fit it. It has no state of sequences: a [`Runner`] has that.
///
/// ```
/// use sparsam::{Model, Network, NetworkConfig};
///
/// # fn main() -> Result<(), sparsam::Error> {
/// let network = Network::<f32>::new(NetworkConfig::new(3, 2).with_memory(Model::Lstm), 1)?;
/// for tensor in network.parameters().tensors() {
///     println!("{} {:?}", tensor.name, tensor.shape);
/// }
/// assert_eq!(network.parameters().get("output.bias"), Some(&[0.0, 0.0][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Network<T> {
    config: NetworkConfig,
    parameters: Parameters<T>,
    /// Changes whenever the parameters may have.
    version: u64,
}

fn new_version() -> u64 {
    static VERSIONS: AtomicU64 = AtomicU64::new(1);
    VERSIONS.fetch_add(1, Ordering::Relaxed)
}

impl<T: Real> Network<T> {
    /// A network that has learnt nothing, with weights that suit its model and inputs whose numbers are all about 1:
    /// [`InitialValues::ByRole`] without an input bound. The same seed gives the same weights.
    ///
    /// # Errors
    /// As [`with_initial_values`](Self::with_initial_values).
    pub fn new(config: NetworkConfig, seed: u64) -> Result<Self, Error> {
        Self::with_initial_values(config, InitialValues::default(), None, seed)
    }

    /// A network that has learnt nothing. Weights of the inputs lie in ±`input_bound`; [`input_bound`] and
    /// [`ONE_HOT_INPUT_BOUND`] say which suits. See [`NetworkConfig::first_values`] for all others.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit, or that makes more parameters than the available memory holds.
    pub fn with_initial_values(
        config: NetworkConfig,
        values: InitialValues,
        input_bound: Option<f64>,
        seed: u64,
    ) -> Result<Self, Error> {
        config.validate()?;
        config.check_parameters::<T>()?;
        if let Some(bound) = input_bound {
            let fits = bound > 0.0 && bound.is_finite();
            Error::check_config(fits, "input_bound", bound, "it must be a finite number above 0")?;
        }
        let mut parameters = Parameters::zeros(config.tensors());
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        initial::fill(&mut parameters, &config.first_values(values, input_bound), &mut random);
        Ok(Self { config, parameters, version: new_version() })
    }

    /// A network with the given parameters.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit; [`Error::Parameters`] the first tensor that is not one of this
    /// configuration.
    pub fn from_parameters(config: NetworkConfig, parameters: Parameters<T>) -> Result<Self, Error> {
        config.validate()?;
        parameters::check_tensors("the parameters", parameters.tensors(), &config.tensors())?;
        Ok(Self { config, parameters, version: new_version() })
    }

    /// The same parameters with another memory, such as one of more words or with another index.
    ///
    /// ```
    /// use sparsam::memory::sam;
    /// use sparsam::{Network, NetworkConfig};
    ///
    /// # fn main() -> Result<(), sparsam::Error> {
    /// let small = sam::Config { memory_size: 1000, ..Default::default() };
    /// let network = Network::<f32>::new(NetworkConfig::new(3, 2).with_memory(small.clone()), 1)?;
    /// let larger = network.with_memory(sam::Config { memory_size: 1_000_000, ..small })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`from_parameters`](Self::from_parameters): parameters of other shapes do not fit.
    pub fn with_memory(&self, memory: impl Into<Model>) -> Result<Self, Error> {
        Self::from_parameters(self.config.clone().with_memory(memory), self.parameters.clone())
    }

    /// The configuration.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// The parameters, to be changed. Runners lay the weights out again before their next run.
    pub fn parameters_mut(&mut self) -> &mut Parameters<T> {
        self.version = new_version();
        &mut self.parameters
    }

    /// Parameters of the same names and shapes, all zero: what [`Runner::backward`] adds gradients to.
    pub fn zeros(&self) -> Parameters<T> {
        Parameters::zeros(self.config.tensors())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_memory_has_to_fit_the_parameters() {
        let sam = |word_size, memory_size| {
            Model::Sam(crate::memory::sam::Config { word_size, memory_size, ..Default::default() })
        };
        let config = NetworkConfig::new(2, 2).with_hidden_size(3).with_memory(sam(4, 20));
        let network = Network::<f32>::new(config, 1).unwrap();
        let larger = network.with_memory(sam(4, 50)).unwrap();
        assert_eq!((larger.parameters(), &larger.config().memory), (network.parameters(), &sam(4, 50)));
        let message = network.with_memory(sam(5, 20)).unwrap_err().to_string();
        let expected = "the parameters do not fit the network: the tensor `controller.weight_ih` of shape [12, 18], where \
            the tensor `controller.weight_ih` of shape [12, 22] was expected";
        assert_eq!(message, expected);
        let message = network.with_memory(Model::Lstm).unwrap_err().to_string();
        assert!(message.contains("[12, 18]") && message.contains("[12, 2]"), "{message}");
    }
}
