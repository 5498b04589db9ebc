//! `sparsam predict`: what a trained network puts out for inputs of one's own.

use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::{Value, json};
use sparsam::{Network, Runner, state};
use sparsam_train::{InputReader, TargetKind, load_network};

use crate::display::{print, tell_notices};
use crate::failure::Mistake;
use crate::settings::Predict;
use crate::signals::{end_at_once, quit_at_the_second_interrupt, when_asked};
use crate::train::use_threads;

/// Time steps that run at once, so that a long sequence takes no more memory than its inputs, its words and its answers.
const PIECE: usize = 1024;

/// Puts out what a network answers.
pub fn run(settings: &Predict) -> anyhow::Result<ExitCode> {
    use_threads(settings.threads)?;
    let config = settings.run.config()?;
    let kind = settings.run.units()?.kind;
    let (network, _) = load_network(&settings.network)?;
    let reader = settings.run.input_reader(network.config())?;
    tell_notices();
    let answer = Answer { kind, logits: settings.logits, reader: &reader };
    match &settings.file {
        Some(file) => {
            end_at_once(|| ());
            predict_file(&network, file, answer, config.batch_size)
        }
        None => predict_stream(&network, settings.state.as_deref(), answer),
    }
}

/// How an output is told.
#[derive(Clone, Copy)]
struct Answer<'a> {
    kind: TargetKind,
    logits: bool,
    /// What inputs are read by; it knows what classes stand for.
    reader: &'a InputReader,
}

impl Answer<'_> {
    /// Probabilities of bits or classes, and what is most probable; or numbers.
    fn tell(self, logits: &[f32]) -> Value {
        let mut value = match self.kind {
            TargetKind::Bits => {
                let probabilities: Vec<f64> = logits.iter().map(|x| 1.0 / (1.0 + (-f64::from(*x)).exp())).collect();
                let bits: Vec<u8> = logits.iter().map(|x| u8::from(*x > 0.0)).collect();
                json!({"bits": bits, "probabilities": probabilities})
            }
            TargetKind::Classes => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = logits.iter().map(|x| (f64::from(*x) - f64::from(most)).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let class = logits.iter().position(|x| *x == most);
                let probabilities: Vec<f64> = powers.iter().map(|power| power / sum).collect();
                let mut value = json!({"class": class, "probabilities": probabilities});
                if let Some(token) = class.and_then(|class| self.reader.name(class)) {
                    value["token"] = token.into();
                }
                value
            }
            TargetKind::Numbers => json!({"numbers": logits}),
        };
        if self.logits && self.kind != TargetKind::Numbers {
            value["logits"] = json!(logits);
        }
        value
    }
}

/// A line for each sequence of a file.
fn predict_file(network: &Network<f32>, file: &Path, answer: Answer<'_>, rows: usize) -> anyhow::Result<ExitCode> {
    let size = network.config().input_len();
    let sequences = answer.reader.file(file)?;
    let mut runner = Runner::new(network, rows)?;
    for first in (0..sequences.count()).step_by(rows) {
        runner.reset();
        let group: Vec<&[f32]> = (0..rows)
            .map(|row| if first + row < sequences.count() { sequences.sequence(first + row) } else { &[] })
            .collect();
        // As text: the numbers of JSON take many times the room.
        let mut told = vec![String::new(); group.len()];
        let longest = group.iter().map(|inputs| inputs.len() / size).max().unwrap_or(0);
        for start in (0..longest).step_by(PIECE) {
            let end = PIECE * size + start * size;
            let pieces: Vec<&[f32]> =
                group.iter().map(|inputs| &inputs[(start * size).min(inputs.len())..end.min(inputs.len())]).collect();
            infer(network, &mut runner, &pieces, |row, logits| {
                let told = &mut told[row];
                let comma = if told.is_empty() { "" } else { "," };
                told.push_str(&format!("{comma}{}", answer.tell(logits)));
            })?;
        }
        for outputs in &told[..rows.min(sequences.count() - first)] {
            print(format!("{{\"outputs\":[{outputs}]}}\n").as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs on with a piece of each row's sequence, and hands over the outputs of each row, step after step.
fn infer(
    network: &Network<f32>,
    runner: &mut Runner<f32>,
    pieces: &[&[f32]],
    mut hand_over: impl FnMut(usize, &[f32]),
) -> anyhow::Result<()> {
    let (input_size, output_size) = (network.config().input_len(), network.config().output_len());
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len() / input_size).collect();
    let (rows, steps) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let (mut inputs, mut outputs) = (vec![0.0; steps * rows * input_size], vec![0.0; steps * rows * output_size]);
    for (row, piece) in pieces.iter().enumerate() {
        for (step, input) in piece.chunks_exact(input_size).enumerate() {
            inputs[(step * rows + row) * input_size..][..input_size].copy_from_slice(input);
        }
    }
    runner.infer(network, &inputs, &lengths, &mut outputs)?;
    for (row, length) in lengths.iter().enumerate() {
        for step in 0..*length {
            hand_over(row, &outputs[(step * rows + row) * output_size..][..output_size]);
        }
    }
    Ok(())
}

/// What the stream waits for.
enum Next {
    Line(io::Result<String>),
    /// Nothing: it may be that an end was asked for.
    Look,
}

/// A line for each line of standard input, one time step each, in a memory that goes on; it starts from the state's file if
/// there is one, and is saved there at the end.
fn predict_stream(network: &Network<f32>, state: Option<&Path>, answer: Answer<'_>) -> anyhow::Result<ExitCode> {
    let mut runner = match state {
        Some(path) if path.exists() => state::load(path, network.config())?,
        _ => Runner::new(network, 1)?,
    };
    if runner.rows() != 1 {
        let text = format!("the state has {} rows where a stream has one; name the state of a stream", runner.rows());
        return Err(Mistake(text).into());
    }
    tell_notices();
    // No more lines wait than are soon answered, however fast they come.
    let (lines, next) = mpsc::sync_channel(64);
    let (stop, asked) = (lines.clone(), Arc::new(AtomicU8::new(0)));
    quit_at_the_second_interrupt()?;
    let status = Arc::clone(&asked);
    when_asked(move |asked_for| {
        status.store(asked_for, Ordering::Relaxed);
        // Where lines wait, nobody has to be woken.
        let _ = stop.try_send(Next::Look);
    });
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if lines.send(Next::Line(line)).is_err() {
                return;
            }
        }
        // The end of the input ends the stream, although the signal's handler still holds the channel.
        let _ = lines.send(Next::Line(Err(io::ErrorKind::UnexpectedEof.into())));
    });
    let done = stream(network, &mut runner, &next, &asked, answer);
    // What the memory has learnt from the lines before a bad one is kept all the same.
    if let Some(path) = state {
        state::save(path, &mut runner)?;
        tell_notices();
    }
    done
}

fn stream(
    network: &Network<f32>,
    runner: &mut Runner<f32>,
    next: &mpsc::Receiver<Next>,
    asked: &AtomicU8,
    answer: Answer<'_>,
) -> anyhow::Result<ExitCode> {
    let mut number = 0u64;
    loop {
        let next = next.recv();
        let status = asked.load(Ordering::Relaxed);
        if status != 0 {
            return Ok(ExitCode::from(status));
        }
        number += 1;
        let line = match next {
            Ok(Next::Line(Ok(line))) => line,
            Ok(Next::Line(Err(error))) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(Next::Line(Err(error))) => return Err(Mistake(format!("standard input, line {number}: {error}")).into()),
            Ok(Next::Look) => {
                number -= 1;
                continue;
            }
            Err(mpsc::RecvError) => break,
        };
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| Mistake(format!("standard input, line {number}: {reason}"));
        let input = answer.reader.step(&line).map_err(wrong)?;
        let mut told = String::new();
        infer(network, runner, &[&input], |_, logits| told = format!("{}\n", answer.tell(logits)))?;
        print(told.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_logits_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let copy = sparsam_train::TaskConfig::by_name("copy").unwrap();
        let mut config = sparsam_train::Config::default_for(copy, sparsam::Model::Lstm);
        config.network.hidden_size = 1;
        let trainer = sparsam_train::Trainer::new(config, folder.path()).unwrap();
        let run = sparsam_train::RunFolder::open(folder.path()).unwrap();
        let reader = &run.input_reader(trainer.network().config()).unwrap();
        let of = |kind, logits| Answer { kind, logits, reader };
        let bits = of(TargetKind::Bits, false).tell(&[0.0, 1000.0, -1000.0]);
        assert_eq!(bits, json!({"bits": [0, 1, 0], "probabilities": [0.5, 1.0, 0.0]}));
        let classes = of(TargetKind::Classes, true).tell(&[1000.0, 1000.0, -1000.0]);
        let expected = json!({"class": 0, "probabilities": [0.5, 0.5, 0.0], "logits": [1000.0, 1000.0, -1000.0]});
        assert_eq!(classes, expected);
        assert_eq!(of(TargetKind::Numbers, true).tell(&[1.5]), json!({"numbers": [1.5]}));
    }
}
