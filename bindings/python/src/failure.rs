//! What went wrong, as the exception that a Python programmer expects.

use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use sparsam::Error;

use crate::options::python_name;

/// The exception for an error of the library.
pub fn exception(error: Error) -> PyErr {
    let sentence = match &error {
        Error::Config { field, value, reason } => {
            format!("{} = {value} does not work: {reason}", python_name(field))
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
