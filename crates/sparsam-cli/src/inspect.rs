//! `sparsam inspect`: a page that shows a sequence going through a trained network.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use sparsam::internal::file::replace;
use sparsam::{Arrays, Model, Network, Parameters, Runner};
use sparsam_page::{About, Error, Errors, Excerpt, LARGEST, OutputKind, Page, Recording, Selection, Targets};
use sparsam_train::{
    Batch, ChannelNames, Draw, Given, RunFolder, Sequence, Stream, TargetKind, Task, TaskConfig, load_network,
};

use crate::display::{EvaluationLine, amount, grouped, print, tell_notices};
use crate::failure::{Mistake, eprintln_if_possible};
use crate::settings::{Inspect, Shown};
use crate::signals::end_at_once;
use crate::train::use_threads;

/// Time steps that are traced at once: dense weights of all of them are held, four bytes each.
const PIECE: usize = 256;

/// The most steps of a sequence through a memory for which the hidden units are shown.
const MOST_WITH_HIDDEN: usize = 20_000;

/// The most steps that a page of written steps alone shows.
const MOST_WRITTEN: usize = 20_000;

/// The most sequences that are looked through for a wrong output.
const TRIED: u64 = 1000;

/// A sequence, and what is to be said of it.
struct Found {
    content: Content,
    names: ChannelNames,
    number: u64,
    facts: Vec<(String, String)>,
}

/// What is shown of a sequence.
enum Content {
    /// All of it, which is still to be run; and whether it has targets.
    Whole(Sequence, bool),
    /// The steps at which something is written or wanted.
    Written(Excerpt),
}

/// A page, and what it is of.
pub struct Made {
    pub page: Page,
    number: u64,
    steps: usize,
    kind: TargetKind,
    task: &'static str,
    model: &'static str,
}

/// Writes the page, and prints where it is.
pub fn run(settings: &Inspect) -> anyhow::Result<ExitCode> {
    let line = EvaluationLine::new(settings.json);
    let shown = line.clone();
    end_at_once(move || shown.end());
    use_threads(settings.threads)?;
    let made = make(&settings.run, &settings.network, &settings.shown, Some(&line));
    line.end();
    let Made { page, number, steps, kind, task, model } = made?;
    let unwritable = || format!("{} cannot be written; name another file with --out", settings.out.display());
    if let Some(folder) = settings.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(unwritable)?;
    }
    replace(&settings.out, page.html.as_bytes()).with_context(unwritable)?;
    tell_notices();

    let path = settings.out.display();
    let text = if settings.json {
        let value = json!({
            "event": "inspected",
            "page": path.to_string(),
            "bytes": page.html.len(),
            "summarised": page.summarised,
            "checkpoint": settings.network.display().to_string(),
            "task": task,
            "model": model,
            "number": number,
            "steps": steps,
            "selected": page.selection.map(|selection| selection.selected),
            "shown": page.selection.map_or(steps, |selection| selection.shown),
            "wrong": page.wrong,
            "wanted": page.wanted,
            "largest_error": page.errors.map(|errors| errors.largest),
            "largest_error_step": page.errors.map(|errors| errors.step),
            "mean_squared_error": page.errors.map(|errors| errors.mean_squared),
        });
        format!("{value}\n")
    } else {
        let measured = match (page.wrong, page.errors) {
            (Some(wrong), _) => format!("{} of {} {} wrong", grouped(wrong), grouped(page.wanted), kind.unit()),
            (_, Some(Errors { largest, step, mean_squared })) => format!(
                "largest error {} at step {}, mean squared error {}",
                amount(largest),
                grouped(step as u64),
                amount(mean_squared)
            ),
            _ => "what its outputs should be is not known".into(),
        };
        let summarised = match page.summarised.join("; ") {
            none if none.is_empty() => none,
            how => format!("summarised: {how}\n"),
        };
        let shown = page.selection.map(tell_selection).unwrap_or_default();
        format!(
            "{model} on {task}, sequence {number}: {} time steps, {measured}\n{shown}{summarised}{path}\n",
            grouped(steps as u64)
        )
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Says in a line which steps are shown.
fn tell_selection(selection: Selection) -> String {
    let [selected, shown] = [selection.selected, selection.shown].map(|steps| grouped(steps as u64));
    let at = "at which something is written or wanted";
    if selection.shown < selection.selected {
        format!("shown: the last {shown} of {selected} steps {at}\n")
    } else {
        format!("shown: the {shown} steps {at}\n")
    }
}

/// The page of a sequence through the network of a checkpoint of a run. The line, if there is one, shows how many sequences were
/// looked through for a wrong output.
pub fn make(run: &RunFolder, checkpoint: &Path, shown: &Shown, line: Option<&EvaluationLine>) -> anyhow::Result<Made> {
    let config = run.config()?;
    let (network, batch) = load_network(checkpoint)?;
    tell_notices();
    let mut asked = config.clone();
    asked.network.memory = network.config().memory.clone();
    let network = network.with_memory(shown.memory.apply(asked)?.network.memory)?;
    let kind = run.units()?.kind;
    let model = network.config().memory.name();
    let task = config.task.name();
    let outputs = match kind {
        TargetKind::Bits => OutputKind::Bits,
        TargetKind::Classes => OutputKind::Classes,
        TargetKind::Numbers => OutputKind::Numbers,
    };
    let mut about = About::new(format!("{} on {task}", model.to_uppercase()), network.config(), outputs);
    let name = checkpoint.file_stem().unwrap_or_default().to_string_lossy();
    about.facts = vec![("run".into(), run.path().display().to_string()), ("checkpoint".into(), name.into())];
    if let Some(batch) = batch {
        about.facts.push(("batches trained".into(), grouped(batch)));
    }

    let mut runner = Runner::new(&network, 1)?;
    let Found { content, names, number, facts } = match &shown.file {
        Some(file) => of_file(run, shown, line, file, &network, kind, &about, &mut runner)?,
        None => of_task(run, shown, line, &network, &about, &mut runner)?,
    };
    let tell = |about: &mut About, steps: usize| {
        about.facts.extend(facts);
        about.facts.push(("steps".into(), grouped(steps as u64)));
        (about.input_names, about.output_names, about.token_names) = (names.inputs, names.outputs, names.tokens);
    };
    let (page, steps) = match content {
        Content::Whole(sequence, has_targets) => {
            let steps = sequence.steps();
            tell(&mut about, steps);
            let page = show(&network, &mut runner, &sequence, has_targets, about).map_err(|error| {
                match error.downcast_ref() {
                    Some(Error::TooLarge { .. }) => Mistake(format!(
                        "{error}, or show only the steps at which something is written or wanted with --written"
                    ))
                    .into(),
                    _ => error,
                }
            })?;
            (page, steps)
        }
        Content::Written(mut excerpt) => {
            let steps = excerpt.steps();
            tell(excerpt.about_mut(), steps);
            (excerpt.page(LARGEST)?, steps)
        }
    };
    Ok(Made { page, number, steps, kind, task, model })
}

/// A sequence of the run's task.
fn of_task(
    run: &RunFolder,
    shown: &Shown,
    line: Option<&EvaluationLine>,
    network: &Network<f32>,
    about: &About,
    runner: &mut Runner<f32>,
) -> anyhow::Result<Found> {
    let task = run.task(shown.test_files.as_deref())?;
    let levels = match shown.level {
        Some(level) => level..=level,
        None => run.levels(&*task)?,
    };
    task.check_levels(&levels)?;
    if !shown.written {
        task.check_batch(&levels, 1)?;
    }
    // How many there are may depend on the level.
    let held_out = task.evaluation_sequences_of(*levels.end());
    if let Some(count) = held_out.filter(|count| shown.number >= *count) {
        return Err(Mistake(format!(
            "--number {} is not there: {} sequences are held out, numbered from 0 on",
            shown.number,
            grouped(count)
        ))
        .into());
    }
    let draw = |number| Draw::new(&levels, shown.seed, Stream::Evaluation, number);
    let (mut found, level) = choose(shown, line, network, about, runner, &*task, held_out, draw)?;
    found.names = task.channel_names();
    found.facts = vec![("seed".into(), shown.seed.to_string()), ("number".into(), found.number.to_string())];
    if task.possible_levels().count() > 1 {
        found.facts.insert(0, ("level".into(), format!("{} {}", grouped(level as u64), task.level_unit())));
    }
    Ok(found)
}

/// The sequence of the number that is asked for, or the first from there on that fails; and its level.
fn choose(
    shown: &Shown,
    line: Option<&EvaluationLine>,
    network: &Network<f32>,
    about: &About,
    runner: &mut Runner<f32>,
    task: &dyn Task,
    count: Option<u64>,
    draw: impl Fn(u64) -> Draw,
) -> anyhow::Result<(Found, usize)> {
    let first = shown.number;
    if shown.failing && !task.target_kind().has_wrong() {
        return Err(Mistake(
            "--failing looks for wrong outputs, and numbers are neither right nor wrong; leave it out: the page opens at the \
             largest error"
                .into(),
        )
        .into());
    }
    let end = count.unwrap_or(u64::MAX).min(first.saturating_add(if shown.failing { TRIED } else { 1 }));
    let mut batch = Batch::new(1, network.config().input_len(), network.config().output_len(), task.target_kind());
    let mut sequence = task.sequence();
    // Long sequences take seconds each.
    let line = line.filter(|_| shown.failing);
    line.iter().for_each(|line| line.begin("looking for a wrong output:", end - first));
    for number in first..end {
        line.iter().for_each(|line| line.show(number - first));
        sequence.clear();
        let draw = draw(number);
        let level = draw.level;
        let found = |content| Found { content, names: ChannelNames::default(), number, facts: Vec::new() };
        if shown.written {
            let excerpt = excerpt(network, runner, about, task.target_kind(), true, &mut *task.start(draw))?;
            if !shown.failing || excerpt.wrong() > 0 {
                return Ok((found(Content::Written(excerpt)), level));
            }
            continue;
        }
        task.generate(draw, &mut sequence);
        batch.fill(std::slice::from_ref(&sequence));
        let fails = if shown.failing {
            let mut outputs = vec![0.0; sequence.steps() * network.config().output_len()];
            runner.reset();
            runner.infer(network, batch.inputs(), batch.lengths(), &mut outputs)?;
            batch.wrong(&outputs) > 0
        } else {
            true
        };
        if fails {
            return Ok((found(Content::Whole(sequence, true)), level));
        }
    }
    let tried = grouped(end - first);
    Err(Mistake(format!(
        "--failing found no wrong output in {tried} sequences from number {first} on; ask for a higher --level, or leave --failing out"
    ))
    .into())
}

/// A sequence of a file, with its targets if it has some that fit.
fn of_file(
    run: &RunFolder,
    shown: &Shown,
    line: Option<&EvaluationLine>,
    file: &Path,
    network: &Network<f32>,
    kind: TargetKind,
    about: &About,
    runner: &mut Runner<f32>,
) -> anyhow::Result<Found> {
    let (inputs, outputs) = (network.config().input_len(), network.config().output_len());
    // The inputs alone come first, so that an error is of these.
    let rows = run.input_reader(network.config())?.file(file)?;
    let count = rows.count() as u64;
    if shown.number >= count {
        let text = format!(
            "--number {} is not in {}, which holds {count} sequences, numbered from 0 on",
            shown.number,
            file.display()
        );
        return Err(Mistake(text).into());
    }
    let facts =
        |number: u64| vec![("file".to_owned(), file.display().to_string()), ("number".to_owned(), number.to_string())];
    let names = names_of(run, inputs);
    // The run's own task knows what its files mean; the others read none of this kind.
    let own = matches!(run.config()?.task.name(), "sequences" | "text");
    let kept = json!({"inputs": inputs, "outputs": outputs, "targets": kind.unit()});
    let given = Given { kept: Some(&kept), evaluation_files: Some(file), ..Given::default() };
    let with_targets = if own {
        Some(run.task(Some(file)))
    } else {
        TaskConfig::by_name("sequences").map(|sequences| sequences.build_with(given))
    };
    match with_targets {
        Some(Ok(task)) => {
            let levels = task.default_levels();
            let draw = |number| Draw::new(&levels, shown.seed, Stream::Evaluation, number);
            let (found, _) = choose(shown, line, network, about, runner, &*task, Some(count), draw)?;
            Ok(Found { facts: facts(found.number), names, ..found })
        }
        unusable => {
            let reason = unusable.and_then(Result::err).map(|error| format!(": {error}")).unwrap_or_default();
            if shown.failing {
                let text = format!("--failing needs targets, and there are none that can be used{reason}");
                return Err(Mistake(text).into());
            }
            eprintln_if_possible(&format!("sparsam: the page has no targets{reason}"));
            let number = shown.number;
            let mut rows = rows.sequence(number as usize).chunks_exact(inputs);
            let mut source =
                |sequence: &mut Sequence| rows.next().map(|input| sequence.step().copy_from_slice(input)).is_some();
            let content = if shown.written {
                Content::Written(excerpt(network, runner, about, kind, false, &mut source)?)
            } else {
                let mut sequence = Sequence::new(inputs, outputs, kind);
                while source(&mut sequence) {}
                Content::Whole(sequence, false)
            };
            Ok(Found { content, names, number, facts: facts(number) })
        }
    }
}

/// What the run's task calls its channels, if it can be made: its data may be gone.
fn names_of(run: &RunFolder, inputs: usize) -> ChannelNames {
    let names = run.task(None).map(|task| task.channel_names()).unwrap_or_default();
    if names.inputs.len() <= inputs { names } else { ChannelNames::default() }
}

/// Runs the whole sequence, piece by piece, and makes the page.
fn show(
    network: &Network<f32>,
    runner: &mut Runner<f32>,
    sequence: &Sequence,
    has_targets: bool,
    about: About,
) -> anyhow::Result<Page> {
    let steps = sequence.steps();
    let numbers = Numbers::of(sequence, network.config().output_len(), about.outputs, has_targets);
    let mut recording = Recording::new(about, numbers.sequence(), steps)?;
    let mut tracer = Tracer::new(network, runner, steps <= MOST_WITH_HIDDEN)?;
    for inputs in numbers.inputs.chunks(PIECE * network.config().input_len()) {
        let Traced { arrays, outputs, hidden } = tracer.run(inputs)?;
        recording.add(&arrays, &outputs, hidden.as_deref());
    }
    Ok(recording.page(LARGEST)?)
}

/// Runs a sequence of any length, of which no more is held than a piece and the steps that are shown.
fn excerpt(
    network: &Network<f32>,
    runner: &mut Runner<f32>,
    about: &About,
    kind: TargetKind,
    has_targets: bool,
    source: &mut dyn FnMut(&mut Sequence) -> bool,
) -> anyhow::Result<Excerpt> {
    let (inputs, outputs) = (network.config().input_len(), network.config().output_len());
    let mut piece = Sequence::new(inputs, outputs, kind);
    let mut excerpt = Excerpt::new(about.clone(), MOST_WRITTEN);
    let mut tracer = Tracer::new(network, runner, false)?;
    loop {
        piece.clear();
        while piece.steps() < PIECE && source(&mut piece) {}
        if piece.steps() == 0 {
            return Ok(excerpt);
        }
        let numbers = Numbers::of(&piece, outputs, about.outputs, has_targets);
        let Traced { arrays, outputs, hidden } = tracer.run(&numbers.inputs)?;
        excerpt.add(numbers.sequence(), &arrays, &outputs, hidden.as_deref())?;
    }
}

/// A sequence as a page takes it.
struct Numbers {
    inputs: Vec<f32>,
    values: Vec<f32>,
    mask: Vec<bool>,
    classes: Vec<Option<usize>>,
    /// None without targets.
    kind: Option<OutputKind>,
}

impl Numbers {
    fn of(sequence: &Sequence, width: usize, kind: OutputKind, has_targets: bool) -> Self {
        let steps = || 0..sequence.steps();
        let none = vec![0.0; width];
        let vector = |step| sequence.bits(step).or_else(|| sequence.numbers(step));
        Self {
            inputs: steps().flat_map(|step| sequence.input(step)).copied().collect(),
            values: steps().flat_map(|step| vector(step).unwrap_or(&none)).copied().collect(),
            mask: steps().map(|step| vector(step).is_some()).collect(),
            classes: steps().map(|step| sequence.class(step)).collect(),
            kind: has_targets.then_some(kind),
        }
    }

    fn sequence(&self) -> sparsam_page::Sequence<'_> {
        let Self { inputs, values, mask, classes, kind } = self;
        let targets = match kind {
            None => Targets::None,
            Some(OutputKind::Numbers) => Targets::Numbers { values, mask },
            Some(OutputKind::Bits) => Targets::Bits { values, mask },
            Some(OutputKind::Classes) => Targets::Classes(classes),
        };
        sparsam_page::Sequence { inputs, targets }
    }
}

/// Runs the pieces of a sequence, and tells of each what the memory did.
struct Tracer<'a> {
    network: &'a Network<f32>,
    runner: &'a mut Runner<f32>,
    /// A second run, which takes as long as the first.
    hidden: Option<HiddenUnits>,
}

/// Of a piece.
struct Traced {
    arrays: Arrays<f32>,
    outputs: Vec<f32>,
    hidden: Option<Vec<f32>>,
}

impl<'a> Tracer<'a> {
    /// For a sequence from its start on, with the hidden units if they are asked for or all that there is.
    fn new(network: &'a Network<f32>, runner: &'a mut Runner<f32>, with_hidden: bool) -> anyhow::Result<Self> {
        runner.reset();
        let with_hidden = with_hidden || network.config().memory == Model::Lstm;
        let hidden = with_hidden.then(|| HiddenUnits::new(network)).transpose()?;
        Ok(Self { network, runner, hidden })
    }

    fn run(&mut self, inputs: &[f32]) -> anyhow::Result<Traced> {
        let steps = inputs.len() / self.network.config().input_len();
        let mut outputs = vec![0.0; steps * self.network.config().output_len()];
        let arrays = self.runner.trace(self.network, inputs, &[steps], &mut outputs)?;
        let hidden = self.hidden.as_mut().map(|hidden| hidden.run(inputs, steps)).transpose()?;
        Ok(Traced { arrays, outputs, hidden })
    }
}

/// The same network without its output layer, which puts out its hidden units.
struct HiddenUnits {
    network: Network<f32>,
    runner: Runner<f32>,
}

impl HiddenUnits {
    fn new(network: &Network<f32>) -> anyhow::Result<Self> {
        let mut config = network.config().clone();
        config.output_size = 0;
        let mut parameters = Parameters::zeros(config.tensors());
        for tensor in config.tensors() {
            if let (Some(to), Some(from)) = (parameters.get_mut(tensor.name), network.parameters().get(tensor.name)) {
                to.copy_from_slice(from);
            }
        }
        let network = Network::from_parameters(config, parameters)?;
        Ok(Self { runner: Runner::new(&network, 1)?, network })
    }

    /// The hidden units of the next steps, of the [h ; r] that the network puts out.
    fn run(&mut self, inputs: &[f32], steps: usize) -> anyhow::Result<Vec<f32>> {
        let (size, width) = (self.network.config().hidden_size, self.network.config().output_len());
        let mut states = vec![0.0; steps * width];
        self.runner.infer(&self.network, inputs, &[steps], &mut states)?;
        Ok(states.chunks_exact(width).flat_map(|state| &state[..size]).copied().collect())
    }
}
