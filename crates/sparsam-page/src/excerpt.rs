//! The steps of a sequence, as long as it may be, at which something happens that can be looked at.

use std::collections::HashSet;
use std::sync::Arc;

use sparsam::{Array, Arrays, NO_WORD, Real, Values};

use crate::arrays::Columns;
use crate::{About, Error, Page, Recording, Selection, Sequence, Tally, Targets};

/// An excerpt of a sequence of any length, which comes piece by piece: the steps at which something is wanted or written, and
/// the numbers of these alone.
///
/// A sparse memory writes at a step if one of its write weights is not 0. A step that writes nothing still erases the least
/// recently accessed word; it is selected if a step since the word was last erased had written it with a notable weight. Who wrote
/// what a word holds, which a page tells of notable weights, is therefore told as by the whole. With a write threshold the
/// selected steps are few; without one, and in a dense memory, they are all. Without a memory they are those at which something
/// is wanted.
///
/// Of more than `most` such steps the last are kept, so that what is held does not grow with the sequence; what was written
/// before them is then unknown to the page.
///
/// ```
/// use sparsam::{Network, NetworkConfig, Runner, memory::sam};
/// use sparsam_page::{About, Excerpt, OutputKind, Sequence, Targets};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = sam::Config { memory_size: 100, write_threshold: 0.5, ..Default::default() };
/// let network = Network::<f32>::new(NetworkConfig::new(1, 2).with_memory(memory), 1)?;
/// let about = About::new("A stream", network.config(), OutputKind::Classes);
/// let (mut excerpt, mut runner) = (Excerpt::new(about, 1000), Runner::new(&network, 1)?);
/// for piece in 0..10 {
///     let (inputs, mut outputs) = ([piece as f32; 200], [0.0; 200 * 2]);
///     let arrays = runner.trace(&network, &inputs, &[200], &mut outputs)?;
///     let mut classes = [None; 200];
///     classes[199] = Some(1);
///     excerpt.add(Sequence { inputs: &inputs, targets: Targets::Classes(&classes) }, &arrays, &outputs, None)?;
/// }
/// let page = excerpt.page(sparsam_page::LARGEST)?;
/// assert_eq!((page.wanted, page.selection.map(|selection| selection.steps)), (10, Some(2000)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Excerpt {
    about: Arc<About>,
    most: usize,
    has_targets: bool,
    /// Steps that were added, and those of them that were selected.
    steps: usize,
    selected: usize,
    tally: Tally,
    /// Of the last steps that were selected.
    columns: Columns,
    written: Written,
}

/// A page tells of no writer whose weight is smaller: NOTABLE of `page/src/model.js`.
const NOTABLE: f64 = 0.02;

/// Words that were written with a notable weight since they were last erased.
#[derive(Debug, Default)]
struct Written(HashSet<u32>);

impl Excerpt {
    /// Of a sequence without a step as yet; of those that are selected, `most` are shown, or one if that is 0.
    pub fn new(about: About, most: usize) -> Self {
        Self {
            about: Arc::new(about),
            most: most.max(1),
            has_targets: false,
            steps: 0,
            selected: 0,
            tally: Tally::default(),
            columns: Columns::new(0),
            written: Written::default(),
        }
    }

    /// Time steps that were added.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Bits or classes that are wrong in the steps that were added.
    pub fn wrong(&self) -> u64 {
        self.tally.wrong
    }

    /// What the page says beside the numbers.
    pub fn about_mut(&mut self) -> &mut About {
        Arc::make_mut(&mut self.about)
    }

    /// Adds the next time steps: what goes in and should come out, and the rest as [`Recording::add`] takes it.
    ///
    /// # Errors
    /// [`Error::Shape`] says what does not fit.
    ///
    /// # Panics
    /// If the outputs are no whole number of steps, or there are 2³² steps.
    pub fn add<T: Real>(
        &mut self,
        sequence: Sequence<'_>,
        arrays: &Arrays<T>,
        outputs: &[f32],
        hidden: Option<&[f32]>,
    ) -> Result<(), Error> {
        let width = self.about.output_size;
        let steps = outputs.len() / width;
        assert!(outputs.len().is_multiple_of(width), "outputs of a part of a step");
        sequence.check(&self.about, steps)?;
        self.has_targets |= !matches!(sequence.targets, Targets::None);
        let changed = self.written.changed(arrays, steps);
        let selected: Vec<usize> =
            (0..steps).filter(|step| changed[*step] || sequence.targets.is_wanted(*step)).collect();
        let numbers: Vec<usize> = selected.iter().map(|step| self.steps + step).collect();
        self.steps += steps;
        assert!(u32::try_from(self.steps).is_ok(), "an excerpt of 2³² steps");
        if selected.is_empty() {
            return Ok(());
        }

        let inputs = rows(sequence.inputs, self.about.input_size, &selected);
        let vectors = |values: &[f32], mask: &[bool]| (rows(values, width, &selected), rows(mask, 1, &selected));
        let mut recording = {
            let (values, mask, classes);
            let targets = match sequence.targets {
                Targets::None => Targets::None,
                Targets::Bits { values: all, mask: used } => {
                    (values, mask) = vectors(all, used);
                    Targets::Bits { values: &values, mask: &mask }
                }
                Targets::Numbers { values: all, mask: used } => {
                    (values, mask) = vectors(all, used);
                    Targets::Numbers { values: &values, mask: &mask }
                }
                Targets::Classes(all) => {
                    classes = rows(all, 1, &selected);
                    Targets::Classes(&classes)
                }
            };
            Recording::of(self.about.clone(), Sequence { inputs: &inputs, targets }, selected.len())?
        };
        let hidden = hidden.map(|hidden| rows(hidden, hidden.len() / steps, &selected));
        recording.add(&of_steps(arrays, &selected), &rows(outputs, width, &selected), hidden.as_deref());
        self.tally.add(&recording.tally, &numbers);
        let mut columns = recording.columns;
        columns.put_whole("step_numbers", &[], numbers.iter().map(|number| *number as u32).collect());
        self.columns.append(columns);
        self.columns.steps += selected.len();
        self.selected += selected.len();
        // Not one by one: what is behind has to be moved.
        if self.columns.steps >= self.most.saturating_mul(2) {
            self.columns.keep_last(self.most);
        }
        Ok(())
    }

    /// The page, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Empty`] if no step was added, [`Error::NothingSelected`] if none was selected; [`Error::TooLarge`] if not even a summary
    /// fits.
    pub fn page(mut self, limit: usize) -> Result<Page, Error> {
        match (self.steps, self.selected) {
            (0, _) => return Err(Error::Empty),
            (steps, 0) => return Err(Error::NothingSelected { steps }),
            _ => self.columns.keep_last(self.most),
        }
        let Self { about, has_targets, steps, selected, tally, columns, .. } = self;
        let shown = columns.steps;
        let selection = Some(Selection { steps, selected, shown });
        let wanted = crate::Wanted::Nothing;
        Recording { about, has_targets, steps: shown, added: shown, tally, columns, wanted, selection }.page(limit)
    }
}

impl Written {
    /// At which of the next steps, of which this is the trace, something is written, or erased of what was.
    fn changed<T: Real>(&mut self, arrays: &Arrays<T>, steps: usize) -> Vec<bool> {
        let Some(Values::Real(weights)) = arrays.get("write_weights").map(Array::values) else {
            return vec![false; steps];
        };
        let Some(Values::Whole(words)) = arrays.get("write_words").map(Array::values) else {
            return vec![true; steps];
        };
        let erased: &[u32] = match arrays.get("erased_words").map(Array::values) {
            Some(Values::Whole(erased)) => erased,
            _ => &[],
        };
        let (places, erased_places) = (weights.len() / steps.max(1), erased.len() / steps.max(1));
        let step = |step: usize| {
            let erased = &erased[step * erased_places..][..erased_places];
            let mut changes = erased.iter().filter(|word| self.0.remove(word)).count() > 0;
            let place = step * places..(step + 1) * places;
            for (word, weight) in words[place.clone()].iter().zip(&weights[place]) {
                let weight = weight.to_f64();
                changes |= weight != 0.0;
                if *word != NO_WORD && weight >= NOTABLE {
                    self.0.insert(*word);
                }
            }
            changes
        };
        (0..steps).map(step).collect()
    }
}

/// The numbers of some steps, so many for each.
fn rows<T: Copy>(values: &[T], width: usize, steps: &[usize]) -> Vec<T> {
    steps.iter().flat_map(|step| &values[step * width..(step + 1) * width]).copied().collect()
}

/// A trace of one row at some of its steps.
fn of_steps<T: Real>(arrays: &Arrays<T>, steps: &[usize]) -> Arrays<T> {
    let mut some = Arrays::default();
    for (name, array) in arrays.iter() {
        let mut shape = array.shape().to_vec();
        shape[0] = steps.len();
        let width = shape[1..].iter().product();
        let values = match array.values() {
            Values::Real(values) => Values::Real(rows(values, width, steps)),
            Values::Whole(values) => Values::Whole(rows(values, width, steps)),
        };
        some.put(name, Array::new(shape, values));
    }
    some
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sparsam::memory::{dam, sam, sdnc};
    use sparsam::{Model, Network, NetworkConfig, Runner};

    use super::*;
    use crate::tests::{part, read, values};
    use crate::{LARGEST, OutputKind};

    const STEPS: usize = 600;

    /// Of a network of no use: inputs, classes wanted at every hundredth step, outputs and the trace of the whole.
    struct Run {
        network: Network<f32>,
        inputs: Vec<f32>,
        classes: Vec<Option<usize>>,
        outputs: Vec<f32>,
        whole: Arrays<f32>,
    }

    impl Run {
        fn new(model: impl Into<Model>) -> Self {
            let config = NetworkConfig::new(3, 2).with_hidden_size(8).with_memory(model);
            let fresh = Network::<f32>::new(config.clone(), 1).unwrap();
            // First values leave all write gates nearly as open as each other.
            let mut parameters = fresh.parameters().clone();
            for (place, value) in parameters.values_mut().iter_mut().enumerate() {
                *value += (place as f32 * 12.9898).sin();
            }
            let network = Network::from_parameters(config, parameters).unwrap();
            let inputs: Vec<f32> = (0..3 * STEPS).map(|number| 3.0 * (number as f32 * 0.37).sin()).collect();
            let classes = (0..STEPS).map(|step| (step % 100 == 99).then_some(step / 100 % 2)).collect();
            let mut outputs = vec![0.0; 2 * STEPS];
            let mut runner = Runner::new(&network, 1).unwrap();
            let whole = runner.trace(&network, &inputs, &[STEPS], &mut outputs).unwrap();
            Self { network, inputs, classes, outputs, whole }
        }

        /// An excerpt, in pieces of this many steps.
        fn excerpt(&self, most: usize, piece: usize) -> Excerpt {
            let Self { network, inputs, classes, .. } = self;
            let about = About::new("", network.config(), OutputKind::Classes);
            let mut excerpt = Excerpt::new(about, most);
            let mut runner = Runner::new(network, 1).unwrap();
            for (inputs, classes) in inputs.chunks(3 * piece).zip(classes.chunks(piece)) {
                let mut outputs = vec![0.0; 2 * classes.len()];
                let arrays = runner.trace(network, inputs, &[classes.len()], &mut outputs).unwrap();
                let sequence = Sequence { inputs, targets: Targets::Classes(classes) };
                excerpt.add(sequence, &arrays, &outputs, None).unwrap();
            }
            excerpt
        }

        /// The numbers of an array of the whole at a step.
        fn at(&self, name: &str, step: usize) -> Vec<f64> {
            let all = values(self.whole.get(name).unwrap());
            let width = all.len() / STEPS;
            all[step * width..(step + 1) * width].to_vec()
        }

        /// Restated: where something is wanted, written, or erased that was written notably and not erased since.
        fn expected(&self) -> Vec<usize> {
            let written = |step: usize, least: f64| -> Vec<f64> {
                let pairs = self.at("write_words", step).into_iter().zip(self.at("write_weights", step));
                pairs.filter(|(_, weight)| *weight >= least).map(|(word, _)| word).collect()
            };
            let holds = |word: f64, end: usize| {
                let last = (0..end).rev().find(|step| written(*step, 0.02).contains(&word));
                last.is_some_and(|last| !(last + 1..end).any(|step| self.at("erased_words", step).contains(&word)))
            };
            let changes = |step: usize| {
                !written(step, 1e-30).is_empty()
                    || self.at("erased_words", step).into_iter().any(|word| holds(word, step))
            };
            (0..STEPS).filter(|step| self.classes[*step].is_some() || changes(*step)).collect()
        }
    }

    fn step_numbers(page: &Page) -> Vec<usize> {
        read(&page.html, "step_numbers").into_iter().map(|number| number as usize).collect()
    }

    fn about(page: &Page) -> Value {
        serde_json::from_str(part(&page.html, "about")).unwrap()
    }

    fn sparse() -> [Model; 2] {
        let sam = sam::Config { memory_size: 12, word_size: 4, heads: 2, write_threshold: 0.985, ..Default::default() };
        let sdnc =
            sdnc::Config { memory_size: 12, word_size: 4, heads: 2, write_threshold: 0.985, ..Default::default() };
        [sam.into(), sdnc.into()]
    }

    #[test]
    fn selected_steps_are_those_of_the_whole_to_the_bit() {
        for model in sparse() {
            let run = Run::new(model);
            let expected = run.expected();
            assert!((20..STEPS - 100).contains(&expected.len()), "{} steps", expected.len());
            // Some steps only erase.
            let is_shut = |step: &usize| run.at("write_gates", *step).iter().all(|gate| *gate == 0.0);
            assert!(expected.iter().any(|step| is_shut(step) && run.classes[*step].is_none()));
            let page = run.excerpt(STEPS, 7).page(LARGEST).unwrap();
            assert_eq!(step_numbers(&page), expected);
            let shown = expected.len();
            assert_eq!(page.selection, Some(Selection { steps: STEPS, selected: shown, shown }));
            for (name, _) in run.whole.iter() {
                let all: Vec<f64> = expected.iter().flat_map(|step| run.at(name, *step)).collect();
                assert_eq!(read(&page.html, name), all, "{name}");
            }
            let inputs: Vec<f64> = rows(&run.inputs, 3, &expected).into_iter().map(f64::from).collect();
            assert_eq!(read(&page.html, "inputs"), inputs);
            assert_eq!(about(&page)["continued"], false);
            // Whatever the pieces are.
            assert_eq!(run.excerpt(STEPS, 256).page(LARGEST).unwrap().html, page.html);
        }
    }

    #[test]
    fn of_more_steps_than_a_page_is_to_show_the_last_are_there_and_all_are_scored() {
        let run = Run::new(sparse()[0].clone());
        let expected = run.expected();
        let excerpt = run.excerpt(15, 10);
        assert_eq!(excerpt.steps(), STEPS);
        assert!(excerpt.columns.steps < 30, "{} steps are held", excerpt.columns.steps);
        let page = excerpt.page(LARGEST).unwrap();
        assert_eq!(step_numbers(&page), expected[expected.len() - 15..]);
        assert_eq!(read(&page.html, "write_gates").len(), 15 * 2);
        let wrong = |step: usize| {
            run.classes[step].is_some_and(|class| run.outputs[2 * step + class] <= run.outputs[2 * step + 1 - class])
        };
        let wrong = (0..STEPS).filter(|step| wrong(*step)).count();
        assert_eq!((page.wanted, page.wrong), (6, Some(wrong as u64)));
        let about = about(&page);
        let selection = json!({"steps": STEPS, "selected": expected.len(), "shown": 15, "wanted": 6, "wrong": wrong});
        assert_eq!((&about["selection"], &about["steps"], &about["continued"]), (&selection, &json!(15), &json!(true)));
    }

    #[test]
    fn a_dense_memory_writes_at_every_step_and_no_memory_at_none() {
        let dense = dam::Config { memory_size: 30, word_size: 4, heads: 2, ..Default::default() };
        let page = Run::new(dense).excerpt(STEPS, 50).page(LARGEST).unwrap();
        assert_eq!(step_numbers(&page), (0..STEPS).collect::<Vec<_>>());
        let page = Run::new(Model::Lstm).excerpt(STEPS, 50).page(LARGEST).unwrap();
        assert_eq!(step_numbers(&page), [99, 199, 299, 399, 499, 599]);
    }

    #[test]
    fn the_largest_error_of_numbers_is_that_of_the_whole() {
        let run = Run::new(Model::Lstm);
        let about = About::new("", run.network.config(), OutputKind::Numbers);
        let mut excerpt = Excerpt::new(about, 1);
        for first in [0, 300] {
            let mut values = run.outputs[2 * first..2 * first + 600].to_vec();
            let mut mask = vec![false; 300];
            for (step, error) in [(5, 3.0), (250, 2.0)] {
                values[2 * step] += error - first as f32 / 300.0;
                mask[step] = true;
            }
            let targets = Targets::Numbers { values: &values, mask: &mask };
            let sequence = Sequence { inputs: &run.inputs[..900], targets };
            excerpt.add(sequence, &Arrays::<f32>::default(), &run.outputs[2 * first..2 * first + 600], None).unwrap();
        }
        let page = excerpt.page(LARGEST).unwrap();
        let errors = page.errors.unwrap();
        assert!((errors.largest - 3.0).abs() < 1e-6 && errors.step == 5 && page.wanted == 8, "{errors:?}");
        assert_eq!(step_numbers(&page), [550]);
    }

    #[test]
    fn what_does_not_fit_has_an_error() {
        let run = Run::new(Model::Lstm);
        let empty = || Excerpt::new(About::new("", run.network.config(), OutputKind::Classes), 10);
        assert!(matches!(empty().page(LARGEST), Err(Error::Empty)));
        let mut nothing = empty();
        let sequence = Sequence { inputs: &[0.0; 6], targets: Targets::None };
        nothing.add(sequence, &Arrays::<f32>::default(), &[0.0; 4], None).unwrap();
        assert!(nothing.page(LARGEST).unwrap_err().to_string().contains("at none of its 2 steps"));
        let sequence = Sequence { inputs: &[0.0; 6], targets: Targets::Classes(&[None]) };
        let error = empty().add(sequence, &Arrays::<f32>::default(), &[0.0; 4], None).unwrap_err();
        assert!(error.to_string().contains("the target has 1 elements where 2"), "{error}");
    }
}
