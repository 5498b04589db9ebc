//! A page that shows a sequence going through a network: one HTML file that needs no network access.
//!
//! The page itself, in `page/`, is built by `make page` into one file, which this crate holds; here the numbers are put into
//! it. They are typed arrays one after another, compressed, as base64, described by an object of JSON. A sequence whose numbers
//! do not fit is summarised, and the page says how.
//!
//! ```
//! use sparsam::{Network, NetworkConfig, Runner, memory::sam};
//! use sparsam_page::{About, OutputKind, Recording, Sequence, Targets};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = sam::Config { memory_size: 100, ..Default::default() };
//! let network = Network::<f32>::new(NetworkConfig::new(3, 2).with_memory(memory), 1)?;
//! let (inputs, mut outputs) = ([0.5; 7 * 3], [0.0; 7 * 2]);
//! let arrays = Runner::new(&network, 1)?.trace(&network, &inputs, &[7], &mut outputs)?;
//!
//! let about = About::new("A network that has learnt nothing", network.config(), OutputKind::Bits);
//! let sequence = Sequence { inputs: &inputs, targets: Targets::None };
//! let mut recording = Recording::new(about, sequence, 7)?;
//! recording.add(&arrays, &outputs, None);
//! let page = recording.page(sparsam_page::LARGEST)?;
//! assert!(page.html.starts_with("<!doctype html>") && page.summarised.is_empty());
//! # Ok(())
//! # }
//! ```

mod arrays;
mod encode;

use serde_json::{Value, json};
use sparsam::{Arrays, NetworkConfig, Real};

use arrays::Columns;

/// The page as `make page` built it, with marks where the numbers go.
const TEMPLATE: &str = include_str!("../page/built/page.html");

/// The most bytes of a page.
pub const LARGEST: usize = 20_000_000;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sequence has no time step.
    #[error("the sequence has no time step, and a page shows at least one")]
    Empty,
    /// Inputs or targets are not as many as the time steps and their sizes say.
    #[error("{what} has {found} elements where {expected} were expected")]
    Shape {
        /// Inputs, targets or outputs.
        what: &'static str,
        /// Elements that it has.
        found: usize,
        /// Elements that it should have.
        expected: usize,
    },
    /// Even summarised, the numbers do not fit.
    #[error("the page would have {bytes} bytes, and {limit} are the most; choose a shorter sequence")]
    TooLarge {
        /// Bytes of the page.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
}

/// What the outputs of a network stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Logits of bits: shown as probabilities.
    Bits,
    /// Logits of classes: shown as probabilities.
    Classes,
    /// Numbers, shown as they are.
    Numbers,
}

impl OutputKind {
    fn name(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Classes => "classes",
            Self::Numbers => "numbers",
        }
    }
}

/// What a page says beside the numbers.
#[derive(Clone, Debug)]
pub struct About {
    /// Its title.
    pub title: String,
    /// Names and values of what else is to be known of the sequence, such as the task and the seed.
    pub facts: Vec<(String, String)>,
    /// Names of the inputs, which are numbered without.
    pub input_names: Vec<String>,
    /// Names of the outputs, which are numbered without.
    pub output_names: Vec<String>,
    /// What the outputs stand for.
    pub outputs: OutputKind,
    input_size: usize,
    output_size: usize,
    model: &'static str,
    memory_size: Option<u64>,
    access_threshold: Option<f64>,
}

impl About {
    /// Of a sequence through a network of this configuration.
    pub fn new(title: impl Into<String>, config: &NetworkConfig, outputs: OutputKind) -> Self {
        let memory = serde_json::to_value(&config.memory).unwrap_or_default();
        Self {
            title: title.into(),
            facts: Vec::new(),
            input_names: Vec::new(),
            output_names: Vec::new(),
            outputs,
            input_size: config.input_size,
            output_size: config.output_len(),
            model: config.memory.name(),
            memory_size: memory.get("memory_size").and_then(Value::as_u64),
            access_threshold: memory.get("access_threshold").and_then(Value::as_f64),
        }
    }
}

/// What is wanted at the outputs of a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// Nothing is known.
    None,
    /// Bits: T × O, and for each step whether they count.
    Bits {
        /// T × O bits.
        values: &'a [f32],
        /// Whether those of a step count, T.
        mask: &'a [bool],
    },
    /// The class of each step that has one, T.
    Classes(&'a [Option<usize>]),
}

/// What goes in, and what should come out.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Inputs, T × I.
    pub inputs: &'a [f32],
    /// Targets.
    pub targets: Targets<'a>,
}

/// A page, and what it leaves out.
#[derive(Clone, Debug)]
pub struct Page {
    /// The page.
    pub html: String,
    /// How the sequence was summarised, in phrases; none if all its numbers are there as they are.
    pub summarised: Vec<String>,
    /// Bits or classes that are wrong; none if nothing is known of what they should be.
    pub wrong: Option<u64>,
}

/// A sequence's numbers as they come, piece by piece, so that a trace of dense weights need not be held as a whole.
#[derive(Debug)]
pub struct Recording {
    about: About,
    has_targets: bool,
    steps: usize,
    /// Steps that were added.
    added: usize,
    wrong: u64,
    columns: Columns,
    /// Whether something is wanted at each step, and there the target bits or the class.
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Nothing,
    Bits { values: Vec<f32>, mask: Vec<bool> },
    Classes(Vec<Option<usize>>),
}

impl Recording {
    /// Of a sequence of this many time steps.
    ///
    /// # Errors
    /// [`Error::Empty`] or [`Error::Shape`] say what does not fit.
    pub fn new(about: About, sequence: Sequence<'_>, steps: usize) -> Result<Self, Error> {
        if steps == 0 {
            return Err(Error::Empty);
        }
        check("the input", sequence.inputs.len(), steps * about.input_size)?;
        let mut columns = Columns::new(steps);
        columns.put_real("inputs", &[about.input_size], sequence.inputs.to_vec());
        let wanted = match sequence.targets {
            Targets::None => Wanted::Nothing,
            Targets::Bits { values, mask } => {
                check("the target", values.len(), steps * about.output_size)?;
                check("the mask of the target", mask.len(), steps)?;
                columns.put_real("targets", &[about.output_size], values.to_vec());
                columns.put_real("wanted", &[], mask.iter().map(|used| f32::from(u8::from(*used))).collect());
                Wanted::Bits { values: values.to_vec(), mask: mask.to_vec() }
            }
            Targets::Classes(classes) => {
                check("the target", classes.len(), steps)?;
                let words = classes.iter().map(|class| class.map_or(sparsam::NO_WORD, |class| class as u32));
                columns.put_whole("classes", &[], words.collect());
                Wanted::Classes(classes.to_vec())
            }
        };
        let has_targets = !matches!(wanted, Wanted::Nothing);
        Ok(Self { about, has_targets, steps, added: 0, wrong: 0, columns, wanted })
    }

    /// Adds the next time steps: a trace of one row (see [`sparsam::Runner::trace`]), the outputs as the network puts them out
    /// (steps × O), and if known the hidden units (steps × H), of all pieces or of none.
    ///
    /// # Panics
    /// If the outputs are no whole number of steps, or steps are added beyond the sequence's end.
    pub fn add<T: Real>(&mut self, arrays: &Arrays<T>, outputs: &[f32], hidden: Option<&[f32]>) {
        let width = self.about.output_size;
        let steps = outputs.len() / width;
        assert!(outputs.len().is_multiple_of(width) && self.added + steps <= self.steps, "steps beyond the sequence");
        for (number, output) in outputs.chunks_exact(width).enumerate() {
            let answer = position_of_largest(output);
            self.columns.push_whole("answers", &[], &[answer as u32]);
            let wrong = self.wrong(self.added + number, output);
            self.columns.push_whole("wrong", &[], &[wrong]);
            self.wrong += u64::from(wrong);
        }
        self.columns.push_real("outputs", &[width], self.probabilities(outputs));
        if let Some(hidden) = hidden.filter(|_| steps > 0) {
            self.columns.push_real("hidden_units", &[hidden.len() / steps], hidden.to_vec());
        }
        self.columns.push_trace(arrays, steps);
        self.added += steps;
    }

    /// How many bits of an output are wrong, or whether its class is; 0 where nothing is wanted.
    fn wrong(&self, step: usize, output: &[f32]) -> u32 {
        match &self.wanted {
            Wanted::Bits { values, mask } if mask[step] => {
                let bits = &values[step * output.len()..][..output.len()];
                output.iter().zip(bits).filter(|(output, bit)| (**output > 0.0) != (**bit > 0.5)).count() as u32
            }
            Wanted::Classes(classes) => classes[step].map_or(0, |class| {
                let wins = output.iter().enumerate().all(|(other, value)| other == class || *value < output[class]);
                u32::from(!wins)
            }),
            _ => 0,
        }
    }

    fn probabilities(&self, outputs: &[f32]) -> Vec<f32> {
        match self.about.outputs {
            OutputKind::Numbers => outputs.to_vec(),
            OutputKind::Bits => outputs.iter().map(|x| (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32).collect(),
            OutputKind::Classes => outputs
                .chunks_exact(self.about.output_size)
                .flat_map(|logits| {
                    let most = f64::from(logits[position_of_largest(logits)]);
                    let powers: Vec<f64> = logits.iter().map(|x| (f64::from(*x) - most).exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    powers.into_iter().map(move |power| (power / sum) as f32)
                })
                .collect(),
        }
    }

    /// The page, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if not even a summary fits; [`Error::Shape`] if steps are missing.
    pub fn page(self, limit: usize) -> Result<Page, Error> {
        check("the output", self.added * self.about.output_size, self.steps * self.about.output_size)?;
        let (before, rest) = TEMPLATE.split_once("@@ABOUT@@").unwrap_or((TEMPLATE, ""));
        let (between, after) = rest.split_once("@@NUMBERS@@").unwrap_or((rest, ""));
        // Base64 takes four letters for three bytes; what describes the numbers is short.
        let room = limit.saturating_sub(TEMPLATE.len() + 100_000) / 4 * 3;
        let encoded = encode::encode(&self.columns, room);
        let about = self.describe(&encoded);
        let html = [before, &about, between, &encoded.text, after].concat();
        if html.len() > limit {
            return Err(Error::TooLarge { bytes: html.len(), limit });
        }
        Ok(Page { html, summarised: encoded.summarised, wrong: self.has_targets.then_some(self.wrong) })
    }

    /// An object of JSON that can stand in HTML: without a `<`, nothing in it ends its element.
    fn describe(&self, encoded: &encode::Encoded) -> String {
        let About { title, facts, input_names, output_names, outputs, model, memory_size, access_threshold, .. } =
            &self.about;
        let about = json!({
            "title": title,
            "facts": facts,
            "model": model,
            "steps": self.steps,
            "outputs": outputs.name(),
            "targets": self.has_targets.then(|| outputs.name()),
            "input_names": input_names,
            "output_names": output_names,
            "memory_size": memory_size,
            "access_threshold": access_threshold,
            "summarised": encoded.summarised,
            "arrays": encoded.arrays,
        });
        about.to_string().replace('<', "\\u003c")
    }
}

fn check(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Shape { what, found, expected }) }
}

fn position_of_largest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, place| if values[place] > values[best] { place } else { best })
}
