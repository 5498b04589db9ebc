//! A page that shows a sequence going through a network: one HTML file that needs no network access.
//!
//! The page itself, in `page/`, is built by `make page` into one file, which this crate holds; here the numbers are put into
//! it. They are typed arrays one after another, compressed, as base64, described by an object of JSON. A sequence whose numbers
//! do not fit is summarised, and the page says how. Of a sequence of any length an [`Excerpt`] shows the steps at which something is
//! written or wanted.
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
mod excerpt;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sparsam::{Arrays, NO_WORD, NetworkConfig, Real};

use arrays::{Columns, Numbers};
pub use excerpt::Excerpt;

/// The page as `make page` built it, with marks where the numbers go.
const TEMPLATE: &str = include_str!("../page/built/page.html");

/// A page that follows a run: it asks the server that it comes from for `run.json`, which has the run's metrics, and shows its
/// `sequence.html`, a [`Page`]. See `sparsam inspect --serve`.
pub const LIVE: &str = include_str!("../page/built/live.html");

/// The most bytes of a page.
pub const LARGEST: usize = 20_000_000;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sequence has no time step.
    #[error("the sequence has no time step, and a page shows at least one")]
    Empty,
    /// An [`Excerpt`] has no step to show.
    #[error("at none of its {steps} steps is a word written or an output wanted; show all of its steps instead")]
    NothingSelected {
        /// Time steps of the sequence.
        steps: usize,
    },
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
    /// Names of the tokens, of a network that takes in such: by their numbers, and numbers without.
    pub token_names: Vec<String>,
    /// What the outputs stand for.
    pub outputs: OutputKind,
    /// Whether the memory was not empty before the sequence: what earlier steps wrote and used is then not known.
    pub continued: bool,
    has_tokens: bool,
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
            token_names: Vec::new(),
            outputs,
            continued: false,
            has_tokens: config.vocabulary_size > 0,
            input_size: config.input_len(),
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
    /// Numbers: T × O, and for each step whether they count.
    Numbers {
        /// T × O numbers.
        values: &'a [f32],
        /// Whether those of a step count, T.
        mask: &'a [bool],
    },
}

impl Targets<'_> {
    /// Whether something is wanted at a step.
    fn is_wanted(&self, step: usize) -> bool {
        match self {
            Self::None => false,
            Self::Bits { mask, .. } | Self::Numbers { mask, .. } => mask[step],
            Self::Classes(classes) => classes[step].is_some(),
        }
    }
}

/// What goes in, and what should come out.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Inputs, T × I; of a network of tokens T, their numbers, or T × J, those of sentences filled up with
    /// [`PADDING`](sparsam::network::PADDING).
    pub inputs: &'a [f32],
    /// Targets.
    pub targets: Targets<'a>,
}

impl Sequence<'_> {
    fn check(&self, about: &About, steps: usize) -> Result<(), Error> {
        check("the input", self.inputs.len(), steps * about.input_size)?;
        match self.targets {
            Targets::None => Ok(()),
            Targets::Bits { values, mask } | Targets::Numbers { values, mask } => {
                check("the target", values.len(), steps * about.output_size)?;
                check("the mask of the target", mask.len(), steps)
            }
            Targets::Classes(classes) => check("the target", classes.len(), steps),
        }
    }
}

/// A page, and what it leaves out.
#[derive(Clone, Debug)]
pub struct Page {
    /// The page.
    pub html: String,
    /// How the sequence was summarised, in phrases; none if all its numbers are there as they are.
    pub summarised: Vec<String>,
    /// Which steps are shown of a sequence of which there is an [`Excerpt`]; none if all are.
    pub selection: Option<Selection>,
    /// Bits, classes or numbers wanted in the whole sequence.
    pub wanted: u64,
    /// Bits or classes that are wrong; none if nothing is known of what they should be, or if they are numbers.
    pub wrong: Option<u64>,
    /// How far outputs that are numbers are from their targets; none of others, and if no step has a target.
    pub errors: Option<Errors>,
}

/// Which steps of a sequence a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Time steps of the sequence.
    pub steps: usize,
    /// Those at which something is written or wanted.
    pub selected: usize,
    /// Those of them that are shown: the last.
    pub shown: usize,
}

/// How far numbers are from their targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// The largest error, |output − target|.
    pub largest: f64,
    /// The first step that has it, from 0 on.
    pub step: usize,
    /// The mean of the squared errors over all numbers wanted.
    pub mean_squared: f64,
}

/// A sequence's numbers as they come, piece by piece. All that a page may show is held, four bytes a number; dense weights
/// and usages are held up to as many as [`LARGEST`] says, and of more the eight largest weights of each head at each step.
#[derive(Debug)]
pub struct Recording {
    about: Arc<About>,
    has_targets: bool,
    steps: usize,
    /// Steps that were added.
    added: usize,
    /// Of the steps that were added.
    tally: Tally,
    columns: Columns,
    /// Whether something is wanted at each step, and there the target bits or numbers, or the class.
    wanted: Wanted,
    selection: Option<Selection>,
}

/// How outputs compare with what is wanted, in all.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Bits, classes or numbers wanted.
    wanted: u64,
    /// Bits or classes that are wrong.
    wrong: u64,
    /// The sum of the squared errors of numbers.
    squares: f64,
    /// The largest error of a number, and the first step that has it.
    largest: Option<(f64, usize)>,
}

impl Tally {
    /// Adds that of later steps, whose numbers are `numbers` in the order in which they were tallied.
    fn add(&mut self, later: &Self, numbers: &[usize]) {
        self.wanted += later.wanted;
        self.wrong += later.wrong;
        self.squares += later.squares;
        if let Some((error, step)) = later.largest {
            self.note_error(error, numbers[step]);
        }
    }

    fn note_error(&mut self, error: f64, step: usize) {
        if self.largest.is_none_or(|(largest, _)| error > largest) {
            self.largest = Some((error, step));
        }
    }
}

#[derive(Debug)]
enum Wanted {
    Nothing,
    Bits { values: Vec<f32>, mask: Vec<bool> },
    Classes(Vec<Option<usize>>),
    Numbers { values: Vec<f32>, mask: Vec<bool> },
}

impl Recording {
    /// Of a sequence of this many time steps.
    ///
    /// # Errors
    /// [`Error::Empty`] or [`Error::Shape`] say what does not fit.
    pub fn new(about: About, sequence: Sequence<'_>, steps: usize) -> Result<Self, Error> {
        Self::of(Arc::new(about), sequence, steps)
    }

    fn of(about: Arc<About>, sequence: Sequence<'_>, steps: usize) -> Result<Self, Error> {
        if steps == 0 {
            return Err(Error::Empty);
        }
        sequence.check(&about, steps)?;
        let mut columns = Columns::new(steps);
        if about.has_tokens {
            // Whatever is rounded, tokens are not.
            let token = |number: &f32| if *number < 0.0 { NO_WORD } else { *number as u32 };
            columns.put_whole("inputs", &[about.input_size], sequence.inputs.iter().map(token).collect());
        } else {
            columns.put_real("inputs", &[about.input_size], sequence.inputs.to_vec());
        }
        let wanted = match sequence.targets {
            Targets::None => Wanted::Nothing,
            Targets::Bits { values, mask } | Targets::Numbers { values, mask } => {
                columns.put_real("targets", &[about.output_size], values.to_vec());
                columns.put_real("wanted", &[], mask.iter().map(|used| f32::from(u8::from(*used))).collect());
                let (values, mask) = (values.to_vec(), mask.to_vec());
                match sequence.targets {
                    Targets::Numbers { .. } => Wanted::Numbers { values, mask },
                    _ => Wanted::Bits { values, mask },
                }
            }
            Targets::Classes(classes) => {
                let words = classes.iter().map(|class| class.map_or(NO_WORD, |class| class as u32));
                columns.put_whole("classes", &[], words.collect());
                Wanted::Classes(classes.to_vec())
            }
        };
        let has_targets = !matches!(wanted, Wanted::Nothing);
        Ok(Self { about, has_targets, steps, added: 0, tally: Tally::default(), columns, wanted, selection: None })
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
            self.tally.wrong += u64::from(wrong);
            self.tally.wanted += self.wanted_at(self.added + number);
            self.note_error(self.added + number, output);
        }
        self.columns.push_real("outputs", &[width], self.probabilities(outputs));
        if let Some(hidden) = hidden.filter(|_| steps > 0) {
            self.columns.push_real("hidden_units", &[hidden.len() / steps], hidden.to_vec());
        }
        self.columns.push_trace(arrays, steps);
        self.added += steps;
    }

    /// Notes how far an output of numbers is from its target, before anything is rounded; 0 where nothing is wanted.
    fn note_error(&mut self, step: usize, output: &[f32]) {
        let Wanted::Numbers { values, mask } = &self.wanted else { return };
        let mut farthest = 0.0_f64;
        if mask[step] {
            for (output, target) in output.iter().zip(&values[step * output.len()..]) {
                let error = (f64::from(*output) - f64::from(*target)).abs();
                farthest = farthest.max(error);
                self.tally.squares += error * error;
            }
            self.tally.note_error(farthest, step);
        }
        self.columns.push_real("errors", &[], vec![farthest as f32]);
    }

    /// How far all numbers are from their targets.
    fn errors(&self) -> Option<Errors> {
        let Tally { wanted, squares, largest, .. } = self.tally;
        largest.map(|(largest, step)| Errors { largest, step, mean_squared: squares / wanted as f64 })
    }

    /// Bits, classes or numbers wanted at a step.
    fn wanted_at(&self, step: usize) -> u64 {
        match &self.wanted {
            Wanted::Bits { mask, .. } | Wanted::Numbers { mask, .. } if mask[step] => self.about.output_size as u64,
            Wanted::Classes(classes) => u64::from(classes[step].is_some()),
            _ => 0,
        }
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
        let tokens = self.tokens();
        // Base64 takes four letters for three bytes; what describes the numbers is short, but for a vocabulary.
        let vocabulary = tokens.iter().flatten().map(|(_, name)| name.len() + 14).sum::<usize>();
        let room = limit.saturating_sub(TEMPLATE.len() + 100_000 + vocabulary) / 4 * 3;
        let encoded = encode::encode(&self.columns, room);
        let about = self.describe(&encoded, tokens);
        let html = [before, &about, between, &encoded.text, after].concat();
        if html.len() > limit {
            return Err(Error::TooLarge { bytes: html.len(), limit });
        }
        let has_wrong = self.has_targets && self.about.outputs != OutputKind::Numbers;
        let Tally { wanted, wrong, .. } = self.tally;
        let (wrong, errors) = (has_wrong.then_some(wrong), self.errors());
        Ok(Page { html, summarised: encoded.summarised, selection: self.selection, wanted, wrong, errors })
    }

    /// The names of the tokens that come in, by their numbers; none where inputs are no tokens.
    fn tokens(&self) -> Option<BTreeMap<u32, &str>> {
        let names = &self.about.token_names;
        let Some(Numbers::Whole(tokens)) = self.columns.columns.get("inputs").map(|column| &column.numbers) else {
            return None;
        };
        Some(tokens.iter().filter_map(|token| Some((*token, &names.get(*token as usize)?[..]))).collect())
    }

    /// An object of JSON that can stand in HTML: without a `<`, nothing in it ends its element.
    fn describe(&self, encoded: &encode::Encoded, tokens: Option<BTreeMap<u32, &str>>) -> String {
        let About {
            title,
            facts,
            input_names,
            output_names,
            outputs,
            continued,
            model,
            memory_size,
            access_threshold,
            ..
        } = &*self.about;
        // What was written at steps that could be shown and are not is as unknown as what was written before a trace.
        let is_cut = self.selection.is_some_and(|Selection { selected, shown, .. }| shown < selected);
        let about = json!({
            "title": title,
            "facts": facts,
            "model": model,
            "continued": *continued || is_cut,
            "steps": self.steps,
            "selection": self.selection.map(|Selection { steps, selected, shown }| {
                json!({"steps": steps, "selected": selected, "shown": shown,
                    "wanted": self.tally.wanted, "wrong": self.tally.wrong})
            }),
            "outputs": outputs.name(),
            "targets": self.has_targets.then(|| outputs.name()),
            "errors": self.errors().map(|Errors { largest, step, mean_squared }| {
                json!({"largest": largest, "step": step, "mean_squared": mean_squared})
            }),
            "input_names": input_names,
            "output_names": output_names,
            "tokens": tokens,
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use base64::Engine;
    use flate2::read::GzDecoder;
    use sparsam::memory::{dam, sam};
    use sparsam::{Model, NO_WORD, Network, Runner, Values};

    use super::*;

    /// What stands in an element of a page.
    pub fn part<'a>(html: &'a str, id: &str) -> &'a str {
        html.split_once(&format!("id=\"{id}\">")).unwrap().1.split_once("</script>").unwrap().0
    }

    /// The numbers of an array of a page, words as they are and rounded ones as what they stand for.
    pub fn read(html: &str, name: &str) -> Vec<f64> {
        let about: Value = serde_json::from_str(part(html, "about")).unwrap();
        let packed = base64::engine::general_purpose::STANDARD.decode(part(html, "numbers")).unwrap();
        let mut bytes = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        let array = about["arrays"].as_array().unwrap().iter().find(|array| array["name"] == name);
        let array = array.unwrap_or_else(|| panic!("there is no {name}"));
        let count: u64 = array["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
        let bytes = &bytes[array["offset"].as_u64().unwrap() as usize..];
        let number = |place: usize| match array["type"].as_str().unwrap() {
            "f32" => f64::from(f32::from_le_bytes(bytes[4 * place..][..4].try_into().unwrap())),
            "u32" => f64::from(u32::from_le_bytes(bytes[4 * place..][..4].try_into().unwrap())),
            "u16" => match u16::from_le_bytes(bytes[2 * place..][..2].try_into().unwrap()) {
                u16::MAX => f64::from(NO_WORD),
                word => f64::from(word),
            },
            _ => array["least"].as_f64().unwrap() + array["step"].as_f64().unwrap() * f64::from(bytes[place]),
        };
        (0..count as usize).map(number).collect()
    }

    /// A recording of so many steps, in two pieces, and the trace of all of them.
    fn record(model: impl Into<Model>, steps: usize) -> (Recording, Arrays<f32>) {
        let config = NetworkConfig::new(3, 2).with_hidden_size(8).with_memory(model);
        let network = Network::<f32>::new(config, 1).unwrap();
        let inputs: Vec<f32> = (0..3 * steps).map(|number| (number as f32 * 0.37).sin()).collect();
        let (bits, mask) = (vec![1.0; 2 * steps], vec![true; steps]);
        let targets = Targets::Bits { values: &bits, mask: &mask };
        let about = About::new("a < b", network.config(), OutputKind::Bits);
        let mut recording = Recording::new(about, Sequence { inputs: &inputs, targets }, steps).unwrap();
        let mut outputs = vec![0.0; 2 * steps];
        let whole = Runner::new(&network, 1).unwrap().trace(&network, &inputs, &[steps], &mut outputs).unwrap();
        let mut runner = Runner::new(&network, 1).unwrap();
        for piece in [0..steps / 3, steps / 3..steps] {
            let outputs = &mut outputs[2 * piece.start..2 * piece.end];
            let inputs = &inputs[3 * piece.start..3 * piece.end];
            let arrays = runner.trace(&network, inputs, &[piece.len()], outputs).unwrap();
            recording.add(&arrays, outputs, Some(&vec![0.5; 8 * piece.len()]));
        }
        (recording, whole)
    }

    pub fn values(array: &sparsam::Array<f32>) -> Vec<f64> {
        match array.values() {
            Values::Real(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Values::Whole(words) => words.iter().map(|word| f64::from(*word)).collect(),
        }
    }

    fn small() -> sam::Config {
        sam::Config { memory_size: 30, word_size: 4, heads: 2, ..Default::default() }
    }

    #[test]
    fn the_template_has_one_place_for_each_part() {
        for mark in ["@@ABOUT@@", "@@NUMBERS@@"] {
            assert_eq!(TEMPLATE.matches(mark).count(), 1, "{mark}");
        }
        assert!(!TEMPLATE.contains("@@POLICY@@") && TEMPLATE.contains("default-src 'none'"));
        // Beside the licenses' text, names of XML are the only addresses: nothing is fetched.
        let (before, rest) = TEMPLATE.split_once("<!--").unwrap();
        let (licenses, after) = rest.split_once("-->").unwrap();
        let text = [before, after].concat().replace("http://www.w3.org/", "");
        assert!(!text.contains("http://") && !text.contains("https://"));
        for owner in ["Mike Bostock", "Robert Penner", "Cynthia Brewer"] {
            assert!(licenses.contains(owner), "the license of {owner} is missing");
        }
    }

    #[test]
    fn a_page_has_every_number_of_a_trace() {
        let dense = dam::Config { memory_size: 30, word_size: 4, heads: 2, ..Default::default() };
        for model in [Model::from(small()), Model::from(dense)] {
            let (recording, whole) = record(model, 20);
            let page = recording.page(LARGEST).unwrap();
            assert!(page.summarised.is_empty());
            for (name, array) in whole.iter() {
                assert_eq!(read(&page.html, name), values(array), "{name}");
            }
            let wrong: f64 = read(&page.html, "wrong").iter().sum();
            assert_eq!(page.wrong, Some(wrong as u64));
            let outputs = read(&page.html, "outputs");
            assert_eq!(outputs.iter().filter(|probability| **probability <= 0.5).count() as f64, wrong);
        }
    }

    #[test]
    fn what_does_not_fit_is_summarised_and_said() {
        let (exact, whole) = record(small(), 400);
        let exact = exact.page(LARGEST).unwrap();
        let [words, weights] = ["read_words", "read_weights"].map(|name| values(whole.get(name).unwrap()));
        // Less and less room, until a single word is left of each head.
        let mut kept = Vec::new();
        for room in [60_000, 40_000, 30_000, 20_000, 15_000] {
            let limit = TEMPLATE.len() + 100_000 + room / 3 * 4;
            let page = record(small(), 400).0.page(limit).unwrap();
            assert!(page.html.len() < limit && page.html.len() < exact.html.len());
            assert!(page.summarised[0].contains("256 values"), "{:?}", page.summarised);
            let (some_words, some_weights) = (read(&page.html, "read_words"), read(&page.html, "read_weights"));
            let most = some_words.len() / (400 * 2);
            for head in 0..400 * 2 {
                // A trace has the most similar first, which have the largest weights.
                let mut sorted: Vec<_> = (4 * head..4 * head + 4).map(|place| (weights[place], words[place])).collect();
                sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
                for place in 0..most.min(4) {
                    let (weight, word) = (some_weights[most * head + place], some_words[most * head + place]);
                    if most < 4 && sorted[place].0 > 0.0 {
                        assert_eq!(word, sorted[place].1);
                        assert!((weight - sorted[place].0).abs() < 1.0 / 255.0);
                    }
                }
            }
            kept.push(most);
        }
        assert!(kept.is_sorted_by(|a, b| a >= b) && kept.last() == Some(&1), "{kept:?}");

        let dense = dam::Config { memory_size: 3000, word_size: 4, heads: 2, ..Default::default() };
        let page = record(dense, 60).0.page(TEMPLATE.len() + 150_000).unwrap();
        assert!(page.summarised.iter().any(|how| how.contains("no picture")), "{:?}", page.summarised);
        assert!(read(&page.html, "read_words").len() <= 60 * 2 * 8);
    }

    #[test]
    fn dense_weights_that_no_page_can_have_are_not_held() {
        let dense = dam::Config { memory_size: 3000, word_size: 4, heads: 2, ..Default::default() };
        // Of 15,000 numbers a step, 1,333 steps are the most.
        let (recording, whole) = record(dense, 1500);
        let held: usize = recording.columns.columns.values().map(|column| column.numbers.len()).sum();
        assert!(held < 1500 * 200, "{held} numbers are held");
        let page = recording.page(LARGEST).unwrap();
        assert_eq!(page.summarised.len(), 2, "{:?}", page.summarised);
        let [words, weights] = ["write_words", "write_weights"].map(|name| read(&page.html, name));
        assert_eq!(words.len(), 1500 * 2 * 8);
        // Steps that were added before there were too many, and after.
        let all = values(whole.get("write_weights").unwrap());
        for head in 0..1500 * 2 {
            let of_head = &all[3000 * head..][..3000];
            let largest = of_head.iter().copied().fold(0.0, f64::max);
            assert_eq!(weights[8 * head], largest);
            if largest > 0.0 {
                assert_eq!(of_head[words[8 * head] as usize], largest);
            }
        }
    }

    #[test]
    fn numbers_have_errors_and_none_is_wrong() {
        let config = NetworkConfig::new(3, 2).with_hidden_size(8).with_memory(small());
        let network = Network::<f32>::new(config, 1).unwrap();
        let (inputs, mut outputs) = ([0.25; 4 * 3], [0.0; 4 * 2]);
        let arrays = Runner::new(&network, 1).unwrap().trace(&network, &inputs, &[4], &mut outputs).unwrap();
        // Off by 0.5 and 0 at step 0, by 0.25 and 3 at step 2; nothing is wanted at the others.
        let mask = [true, false, true, false];
        let off = [0.5, 0.0, 9.0, 9.0, 0.25, -3.0, 9.0, 9.0];
        let values: Vec<f32> = outputs.iter().zip(off).map(|(output, off)| output + off).collect();
        let page = |mask: &[bool]| {
            let about = About::new("", network.config(), OutputKind::Numbers);
            let targets = Targets::Numbers { values: &values, mask };
            let mut recording = Recording::new(about, Sequence { inputs: &inputs, targets }, 4).unwrap();
            recording.add(&arrays, &outputs, None);
            recording.page(LARGEST).unwrap()
        };
        let told = page(&mask);
        let Errors { largest, step, mean_squared } = told.errors.unwrap();
        assert!((largest - 3.0).abs() < 1e-6 && step == 2);
        assert!((mean_squared - (0.25 + 0.0625 + 9.0) / 4.0).abs() < 1e-6);
        assert_eq!(told.wrong, None);
        let errors = read(&told.html, "errors");
        let near = |step: usize, error: f64| (errors[step] - error).abs() < 1e-6;
        assert!(near(0, 0.5) && near(1, 0.0) && near(2, 3.0) && near(3, 0.0), "{errors:?}");
        let about: Value = serde_json::from_str(part(&told.html, "about")).unwrap();
        assert_eq!((&about["targets"], &about["errors"]["step"]), (&json!("numbers"), &json!(2)));
        assert_eq!(page(&[false; 4]).errors, None);
    }

    #[test]
    fn tokens_have_their_names_however_much_is_summarised() {
        let config = NetworkConfig::new(5, 2).with_vocabulary(1000).with_sentences(3).with_memory(small());
        let network = Network::<f32>::new(config, 1).unwrap();
        let sentence = |step: usize| [(step * 7 % 1000) as f32, (step % 2 * 500) as f32, -1.0];
        let inputs: Vec<f32> = (0..400).flat_map(sentence).collect();
        let mut outputs = [0.0; 400 * 2];
        let arrays = Runner::new(&network, 1).unwrap().trace(&network, &inputs, &[400], &mut outputs).unwrap();
        for (limit, summaries) in [(LARGEST, 0), (TEMPLATE.len() + 160_000, 1)] {
            let mut about = About::new("", network.config(), OutputKind::Bits);
            about.token_names = (0..600).map(|token| format!("<{token}>")).collect();
            let mut recording =
                Recording::new(about, Sequence { inputs: &inputs, targets: Targets::None }, 400).unwrap();
            recording.add(&arrays, &outputs, None);
            let page = recording.page(limit).unwrap();
            assert_eq!(page.summarised.len(), summaries, "{:?}", page.summarised);
            let token = |token: &f32| if *token < 0.0 { f64::from(NO_WORD) } else { f64::from(*token) };
            assert_eq!(read(&page.html, "inputs"), inputs.iter().map(token).collect::<Vec<_>>());
            // Of those that came in, as far as they have one.
            let about: Value = serde_json::from_str(part(&page.html, "about")).unwrap();
            let names = about["tokens"].as_object().unwrap();
            assert_eq!(
                (&names["7"], &names["500"], names.get("3"), names.get("700")),
                (&json!("<7>"), &json!("<500>"), None, None)
            );
        }
    }

    #[test]
    fn nothing_in_a_name_ends_its_element() {
        let (mut recording, _) = record(small(), 3);
        let about = Arc::make_mut(&mut recording.about);
        about.title = "</script><script>".into();
        about.input_names = vec!["<!--".into()];
        let html = recording.page(LARGEST).unwrap().html;
        let about: Value = serde_json::from_str(part(&html, "about")).unwrap();
        assert_eq!((&about["title"], &about["input_names"][0]), (&json!("</script><script>"), &json!("<!--")));
        assert_eq!(html.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    }

    #[test]
    fn what_does_not_fit_has_an_error() {
        let config = NetworkConfig::new(3, 2).with_memory(small());
        let about = || About::new("", &config, OutputKind::Bits);
        let new = |inputs: &[f32], targets: Targets<'_>, steps: usize| {
            Recording::new(about(), Sequence { inputs, targets }, steps).unwrap_err().to_string()
        };
        assert!(new(&[], Targets::None, 0).contains("no time step"));
        assert!(new(&[0.0; 5], Targets::None, 2).contains("the input has 5 elements where 6"));
        assert!(new(&[0.0; 6], Targets::Classes(&[None]), 2).contains("the target has 1"));
        let unfinished = Recording::new(about(), Sequence { inputs: &[0.0; 6], targets: Targets::None }, 2).unwrap();
        assert!(unfinished.page(LARGEST).unwrap_err().to_string().contains("the output has 0"));
        assert!(record(small(), 20).0.page(1000).unwrap_err().to_string().contains("1000 are the most"));
    }
}
