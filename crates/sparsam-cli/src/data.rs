//! `sparsam data`.

use std::process::ExitCode;

use indicatif::ProgressBar;
use sparsam_train::data::{DataFile, Found, Progress, fetch, take};
use sparsam_train::{Config, Error, TargetKind};

use crate::display::{grouped, live_line, print, tell_notices};
use crate::failure::Mistake;
use crate::settings::{Data, DataAction};

/// Gets the files of a data set, or says what they are.
pub fn run(settings: &Data) -> anyhow::Result<ExitCode> {
    let folder = &settings.folder;
    let mut failures = Vec::new();
    for file in settings.set.files {
        let found = match &settings.action {
            DataAction::Check => file.check(folder),
            DataAction::Fetch { from: Some(from) } => take(file, from, folder),
            DataAction::Fetch { from: None } => {
                let bar = live_line(true, "{prefix} {bar:16} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
                bar.set_prefix(file.name);
                let found = fetch(file, folder, &mut |progress| show(&bar, progress));
                bar.finish_and_clear();
                found
            }
        };
        match found {
            Ok(found) => print(format!("{}\n", line(file, &found)).as_bytes())?,
            // The others are looked at all the same: what is missing is not found out one by one.
            Err(error) => failures.push(error),
        }
    }
    if failures.len() < 2 {
        return failures.pop().map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()));
    }
    let sentence = failures.iter().map(Error::to_string).collect::<Vec<_>>().join("; and ");
    Err(if failures.iter().all(Error::is_usage) { Mistake(sentence).into() } else { anyhow::Error::msg(sentence) })
}

/// Says what a file of sequences holds, as training reads it.
pub fn check_file(config: &Config) -> anyhow::Result<ExitCode> {
    let task = config.task.build()?;
    tell_notices();
    let inputs = match task.vocabulary_size() {
        0 => format!("inputs of {} numbers", grouped(task.input_size() as u64)),
        tokens => format!("{} tokens", grouped(tokens as u64)),
    };
    let (outputs, steps) = (grouped(task.output_size() as u64), grouped(task.steps(1) as u64));
    let targets = match task.target_kind() {
        TargetKind::Classes => format!("targets of {outputs} classes"),
        kind => format!("targets of {outputs} {}", kind.unit()),
    };
    let held_out = grouped(task.evaluation_sequences().unwrap_or(0));
    print(
        format!("{inputs}, {targets}, at most {steps} time steps in a sequence; {held_out} sequences held out\n")
            .as_bytes(),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    if let Some(all) = progress.all {
        bar.set_length(all);
    }
    bar.set_position(progress.bytes);
}

fn line(file: &DataFile, found: &Found) -> String {
    let official = match found.official {
        Some(true) => "the official file",
        Some(false) => "not the official file, but it can be used",
        None => "no official checksum is known",
    };
    match found {
        Found { contents, bytes: Some(bytes), sha256: Some(sha256), .. } => {
            format!("{}: {contents}; {} bytes, {official}; SHA-256 {sha256}", file.name, grouped(*bytes))
        }
        Found { contents, .. } => format!("{}, unpacked: {contents}; only the archive has a checksum", file.name),
    }
}
