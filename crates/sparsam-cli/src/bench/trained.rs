//! What a trained network asks of its memory: the words that it writes, and the keys by which it reads.

use std::collections::HashMap;
use std::ops::Range;

use sparsam::index::IndexKind;
use sparsam::memory::interface::places;
use sparsam::option::{Declared, OptionValue};
use sparsam::{Array, Arrays, NO_WORD, Network, Parameters, Runner, Values};
use sparsam_train::{Checkpoint, Draw, EvaluationOptions, RunFolder, Sequence, Stream, Task, evaluate};

use super::index::{Step, Variant};
use super::{HEADS, READS, WORD_SIZE};
use crate::failure::Mistake;

/// Time steps that are traced at once.
const PIECE: usize = 256;
/// Sequences by which a network is measured.
const SEQUENCES: u64 = 16;
/// Decides the sequences.
const SEED: u64 = 1;

/// A network of a run, and the level of the sequences that it is measured on.
pub struct Trained {
    network: Network<f32>,
    task: Box<dyn Task>,
    level: usize,
}

/// What a network did over some sequences, each from an empty memory.
pub struct Recording {
    /// The words of all sequences but the last, as they were in the end.
    pub words: Vec<f32>,
    /// The words of the last sequence that were written before the steps.
    pub first: Vec<f32>,
    /// The last steps of the last sequence.
    pub steps: Vec<Step>,
}

impl Trained {
    /// The newest network of a run, with sequences of a level; the highest that its training has come to unless chosen.
    pub fn new(run: &RunFolder, level: Option<usize>) -> anyhow::Result<Self> {
        let (network, task) = (run.network(Checkpoint::Newest)?, run.task(None)?);
        let level = level.map_or_else(|| run.levels(&*task).map(|levels| *levels.end()), Ok)?;
        task.check_levels(&(level..=level))?;
        let memory = &network.config().memory;
        let sizes = [("word_size", WORD_SIZE), ("heads", HEADS), ("reads", READS)];
        let fits = sizes.iter().all(|(name, size)| memory.option(name) == Some(size.to_value()));
        if memory.name() != "sam" || !fits {
            let text = format!(
                "--run {} does not work: queries are taken from a sam with words of {WORD_SIZE} numbers, {HEADS} heads \
                 and {READS} words read by each; train one with these sizes, which are its defaults",
                run.path().display()
            );
            return Err(Mistake(text).into());
        }
        Ok(Self { network, task, level })
    }

    /// Runs sequences, with exact search, until they have written `words` words, and keeps the last `steps` steps.
    pub fn record(&self, words: usize, steps: usize) -> anyhow::Result<Recording> {
        let mut recorder = Recorder::new(&self.network, self.task.steps(self.level))?;
        let mut recording = Recording { words: Vec::new(), first: Vec::new(), steps: Vec::new() };
        let mut sequence = self.task.sequence();
        for number in 0.. {
            sequence.clear();
            let draw = Draw::new(&(self.level..=self.level), SEED, Stream::Evaluation, number);
            self.task.generate(draw, &mut sequence);
            // Each head writes a new word at each step. All words are different ones: what the last sequence writes in its
            // last steps replaces words of others.
            let written = recorder.keys.len() * sequence.steps().saturating_sub(steps);
            if written >= words {
                let text = format!(
                    "a sequence of level {} writes {written} words, more than the {words} of --sizes: ask for more words, or for a lower --level",
                    self.level
                );
                return Err(Mistake(text).into());
            }
            let last = number > 0 && recording.words.len() / WORD_SIZE + written >= words;
            let mut memory = recorder.record(&sequence, if last { steps } else { 0 }, &mut recording)?;
            if last {
                recording.first = memory;
                break;
            }
            recording.words.append(&mut memory);
        }
        Ok(recording)
    }

    /// Wrong outputs in a sequence, with an index.
    pub fn wrong(&self, variant: Variant) -> anyhow::Result<Option<f64>> {
        let mut memory = self.network.config().memory.clone();
        memory.set_option("index", &variant.kind.to_value());
        memory.set_option("index_checks", &variant.checks.unwrap_or(0).to_value());
        let network = self.network.with_memory(memory)?;
        let options = EvaluationOptions {
            levels: Some(self.level..=self.level),
            sequences: SEQUENCES,
            batch_size: SEQUENCES as usize,
            seed: SEED,
            compare_index: false,
        };
        Ok(evaluate(&network, &*self.task, &options)?.wrong)
    }
}

/// Runs a network and keeps what passes between it and its memory.
struct Recorder {
    /// Without its output layer, so that it puts out \[h ; r\].
    network: Network<f32>,
    runner: Runner<f32>,
    /// Of the interface layer: a row for each number of the interface, and its bias.
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// Where each head's key and write word stand in the interface.
    keys: Vec<Range<usize>>,
    write_words: Vec<Range<usize>>,
}

impl Recorder {
    /// For sequences of at most `steps` steps.
    fn new(network: &Network<f32>, steps: usize) -> anyhow::Result<Self> {
        let mut config = network.config().clone();
        config.memory.set_option("index", &IndexKind::Linear.to_value());
        // So that every word that is written is a new one.
        config.memory = config.memory.with_memory_size(config.memory.memory_size().max(HEADS * steps));
        config.output_size = 0;
        let mut parameters = Parameters::zeros(config.tensors());
        for tensor in config.tensors() {
            if let (Some(to), Some(from)) = (parameters.get_mut(tensor.name), network.parameters().get(tensor.name)) {
                to.copy_from_slice(from);
            }
        }
        let fields = config.memory.interface();
        let named = |name: &str| -> Vec<Range<usize>> {
            fields.iter().zip(places(&fields)).filter(|field| field.0.name == name).map(|field| field.1).collect()
        };
        let (keys, write_words) = (named("key"), named("write word"));
        let of = |name| network.parameters().get(name).map(<[f32]>::to_vec).unwrap_or_default();
        let (weight, bias) = (of("interface.weight"), of("interface.bias"));
        let network = Network::from_parameters(config, parameters)?;
        Ok(Self { runner: Runner::new(&network, 1)?, network, weight, bias, keys, write_words })
    }

    /// Runs a sequence, and adds its last `kept` steps to those of `recording`. Gives the words that were written before
    /// these steps, as they were then.
    fn record(&mut self, sequence: &Sequence, kept: usize, recording: &mut Recording) -> anyhow::Result<Vec<f32>> {
        let (input_size, width) = (self.network.config().input_len(), self.network.config().output_len());
        let inputs: Vec<f32> = (0..sequence.steps()).flat_map(|step| sequence.input(step)).copied().collect();
        let from = sequence.steps().saturating_sub(kept);
        let mut memory = HashMap::new();
        let mut before = None;
        self.runner.reset();
        for (piece, inputs) in inputs.chunks(PIECE * input_size).enumerate() {
            let count = inputs.len() / input_size;
            let mut outputs = vec![0.0; count * width];
            let arrays = self.runner.trace(&self.network, inputs, &[count], &mut outputs)?;
            let (erased, written) = (numbers(&arrays, "erased_words"), numbers(&arrays, "write_words"));
            let weights = match arrays.get("write_weights").map(Array::values) {
                Some(Values::Real(weights)) => &weights[..],
                _ => &[],
            };
            for (place, output) in outputs.chunks_exact(width).enumerate() {
                if piece * PIECE + place == from {
                    before = Some(self.words_until(&memory, from));
                }
                let of_step = |all: usize| place * all / count..(place + 1) * all / count;
                let written = (&written[of_step(written.len())], &weights[of_step(weights.len())]);
                let step = self.step(&mut memory, output, &erased[of_step(erased.len())], written);
                if piece * PIECE + place >= from {
                    recording.steps.push(step);
                }
            }
        }
        Ok(before.unwrap_or_else(|| self.words_until(&memory, from)))
    }

    /// Writes as the network did when it put out `output`, \[h ; r\].
    fn step(
        &self,
        memory: &mut HashMap<u32, [f32; WORD_SIZE]>,
        output: &[f32],
        erased: &[u32],
        (written, weights): (&[u32], &[f32]),
    ) -> Step {
        let hidden = &output[..self.network.config().hidden_size];
        let rows = self.weight.chunks_exact(hidden.len()).zip(&self.bias);
        let interface: Vec<f32> =
            rows.map(|(row, bias)| row.iter().zip(hidden).map(|(weight, h)| weight * h).sum::<f32>() + bias).collect();
        let mut words = erased.to_vec();
        for word in erased {
            memory.insert(*word, [0.0; WORD_SIZE]);
        }
        let of_head = (written.len() / self.keys.len()).max(1);
        for (place, (word, weight)) in written.iter().zip(weights).enumerate().filter(|write| *write.1.0 != NO_WORD) {
            let content = memory.entry(*word).or_insert([0.0; WORD_SIZE]);
            for (number, added) in content.iter_mut().zip(&interface[self.write_words[place / of_head].clone()]) {
                *number += weight * added;
            }
            if !words.contains(word) {
                words.push(*word);
            }
        }
        let contents = words.iter().flat_map(|word| memory[word]).collect();
        let queries = self.keys.iter().flat_map(|key| &interface[key.clone()]).copied().collect();
        Step { words, contents, queries, exact: None }
    }

    /// The words that were written by the first `steps` steps, by their numbers.
    fn words_until(&self, memory: &HashMap<u32, [f32; WORD_SIZE]>, steps: usize) -> Vec<f32> {
        let all = 0..(self.keys.len() * steps) as u32;
        all.flat_map(|word| memory.get(&word).copied().unwrap_or([0.0; WORD_SIZE])).collect()
    }
}

/// The word numbers of a trace.
fn numbers<'a>(arrays: &'a Arrays<f32>, name: &str) -> &'a [u32] {
    match arrays.get(name).map(Array::values) {
        Some(Values::Whole(numbers)) => numbers,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use sparsam::Model;
    use sparsam::index::Found;
    use sparsam_train::TaskConfig;

    use super::*;

    /// The words and keys are the network's own: an exact search by them finds what the network read.
    #[test]
    fn what_is_recorded_leads_to_the_words_that_the_network_read() {
        let task = TaskConfig::by_name("recall").unwrap().build().unwrap();
        let mut config = sparsam::NetworkConfig::new(task.channels().input_size, task.channels().output_size);
        config.memory = Model::by_name("sam").unwrap().with_memory_size(500);
        let network = Network::<f32>::new(config, 3).unwrap();
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(20..=20), 1, Stream::Evaluation, 0), &mut sequence);
        let mut recorder = Recorder::new(&network, sequence.steps()).unwrap();
        let mut recording = Recording { words: Vec::new(), first: Vec::new(), steps: Vec::new() };
        recorder.record(&sequence, usize::MAX, &mut recording).unwrap();
        assert_eq!(recording.steps.len(), sequence.steps());

        let mut runner = Runner::new(&network, 1).unwrap();
        let inputs: Vec<f32> = (0..sequence.steps()).flat_map(|step| sequence.input(step)).copied().collect();
        let mut outputs = vec![0.0; sequence.steps() * network.config().output_len()];
        let trace = runner.trace(&network, &inputs, &[sequence.steps()], &mut outputs).unwrap();
        let read = numbers(&trace, "read_words").chunks_exact(HEADS * READS);

        let mut contents = vec![0.0; 500 * WORD_SIZE];
        let mut index = IndexKind::Linear.build::<f32>(500, WORD_SIZE, 0).unwrap();
        let (mut same, mut all, mut found) = (0, 0, Found::default());
        for (step, read) in recording.steps.iter().zip(read).skip(1) {
            for (word, content) in step.words.iter().zip(step.contents.chunks_exact(WORD_SIZE)) {
                contents[*word as usize * WORD_SIZE..][..WORD_SIZE].copy_from_slice(content);
                index.update(*word, &contents);
            }
            found.start(HEADS, READS);
            index.search(&contents, &step.queries, &mut found);
            for (head, read) in read.chunks_exact(READS).enumerate() {
                all += READS;
                same += read.iter().filter(|word| found.words(head).contains(word)).count();
            }
        }
        assert!(same * 100 >= all * 99, "{same} of {all}");
    }
}
