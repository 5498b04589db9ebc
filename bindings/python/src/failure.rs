//! What went wrong, as the exception that a Python programmer expects.

use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use sparsam::Error;

/// What the package calls the fields of a configuration that have another name there.
const NAMES: [(&str, &str); 4] =
    [("heads", "num_heads"), ("reads", "num_reads"), ("links", "num_links"), ("batch_size", "rows")];

/// The exception for an error of the library.
pub fn exception(error: Error) -> PyErr {
    let sentence = match &error {
        Error::Config { field, value, reason } => {
            let name = NAMES.iter().find(|(field_name, _)| field_name == field).map_or(*field, |(_, name)| *name);
            format!("{name} = {value} does not work: {reason}")
        }
        _ => error.to_string(),
    };
    match error {
        Error::MemoryTooLarge { .. }
        | Error::MemoryDoesNotFit { .. }
        | Error::MappingRefused { .. }
        | Error::TapeDoesNotFit { .. } => PyMemoryError::new_err(sentence),
        Error::Order(_) => PyRuntimeError::new_err(sentence),
        Error::Io { .. } => PyOSError::new_err(sentence),
        _ => PyValueError::new_err(sentence),
    }
}
