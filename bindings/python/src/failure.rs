//! What went wrong, as the exception that a Python programmer expects.

use std::ffi::CString;

use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use sparsam::Error;
use sparsam::internal::notice;

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
        | Error::NoRoom { .. }
        | Error::TapeDoesNotFit { .. } => PyMemoryError::new_err(sentence),
        Error::Order(_) | Error::Threads { .. } => PyRuntimeError::new_err(sentence),
        Error::Io { .. } => PyOSError::new_err(sentence),
        _ => PyValueError::new_err(sentence),
    }
}

/// Warns of what the library noted: that a file has no checksums, say.
///
/// # Errors
/// The warning, where warnings are errors.
pub fn warn(py: Python<'_>) -> PyResult<()> {
    for text in notice::take() {
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 2)?;
    }
    Ok(())
}
