//! The page that shows a traced sequence.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use sparsam::{Array, Arrays, NetworkConfig, Values};
use sparsam_page::{About, Error, OutputKind, Recording, Sequence, Targets};

use crate::array::{numbers, read};

/// The most bytes of a page.
#[pyfunction]
pub fn largest_page() -> usize {
    sparsam_page::LARGEST
}

/// The page of one sequence: inputs (T, I), outputs (T, O), arrays by name of shape (T, 1, …), all in single precision, words as
/// uint32. `kind` says what the outputs are, and `targets` what was wanted: (T, O) bits or numbers with the `mask` of the steps that
/// count, or (T,) classes as uint32, of which the largest number stands for none. `continued` says that the memory was not empty before.
/// Also says whether all numbers are there as they are.
#[pyfunction]
#[pyo3(signature = (configuration, title, facts, kind, input, output, hidden, targets, mask, arrays, continued, limit))]
pub fn page<'py>(
    py: Python<'py>,
    configuration: &str,
    title: &str,
    facts: Vec<(String, String)>,
    kind: &str,
    input: Bound<'py, PyAny>,
    output: Bound<'py, PyAny>,
    hidden: Option<Bound<'py, PyAny>>,
    targets: Option<Bound<'py, PyAny>>,
    mask: Option<Bound<'py, PyAny>>,
    arrays: Bound<'py, PyDict>,
    continued: bool,
    limit: usize,
) -> PyResult<(String, bool)> {
    let config: NetworkConfig = serde_json::from_str(configuration).map_err(wrong)?;
    let outputs = match kind {
        "bits" => OutputKind::Bits,
        "classes" => OutputKind::Classes,
        _ => OutputKind::Numbers,
    };
    let mut about = About::new(title, &config, outputs);
    (about.facts, about.continued) = (facts, continued);
    let mut traced = Arrays::<f32>::default();
    for (name, array) in &arrays {
        let name: String = name.extract()?;
        let shape: Vec<usize> = array.getattr("shape")?.extract()?;
        let values = match read::<f32>(&name, &array) {
            Ok(array) => Values::Real(numbers(&array)?.to_vec()),
            Err(_) => Values::Whole(numbers(&read::<u32>(&name, &array)?)?.to_vec()),
        };
        traced.put(name, Array::new(shape, values));
    }
    let (input, output) = (read::<f32>("input", &input)?, read::<f32>("output", &output)?);
    let (input, output) = (numbers(&input)?.to_vec(), numbers(&output)?.to_vec());
    let hidden =
        hidden.map(|hidden| Ok::<_, PyErr>(numbers(&read::<f32>("hidden", &hidden)?)?.to_vec())).transpose()?;
    let (mut values, mut used, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    match (targets, mask) {
        (Some(targets), Some(mask)) => {
            values = numbers(&read::<f32>("targets", &targets)?)?.to_vec();
            used = numbers(&read::<bool>("mask", &mask)?)?.to_vec();
        }
        (Some(targets), None) => {
            let numbers = numbers(&read::<u32>("targets", &targets)?)?.to_vec();
            classes = numbers.into_iter().map(|class| (class != u32::MAX).then_some(class as usize)).collect();
        }
        (None, _) => {}
    }
    let targets = match outputs {
        _ if values.is_empty() && classes.is_empty() => Targets::None,
        OutputKind::Bits => Targets::Bits { values: &values, mask: &used },
        OutputKind::Numbers => Targets::Numbers { values: &values, mask: &used },
        OutputKind::Classes => Targets::Classes(&classes),
    };
    py.detach(|| {
        let steps = output.len() / config.output_len();
        let mut recording = Recording::new(about, Sequence { inputs: &input, targets }, steps)?;
        recording.add(&traced, &output, hidden.as_deref());
        recording.page(limit).map(|page| (page.html, page.summarised.is_empty()))
    })
    .map_err(|error: Error| wrong(error))
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
