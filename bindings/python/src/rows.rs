//! Rows of a batch, as Python names them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

/// The row that a number names, of so many.
///
/// # Errors
/// `TypeError` if it is no whole number, `ValueError` if there is no such row.
pub fn row(what: &str, value: &Bound<'_, PyAny>, count: usize) -> PyResult<usize> {
    let value = plain(value)?;
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "{what} has a {}, where the number of a row was expected",
            value.get_type().name()?
        )));
    }
    let found = value.extract::<usize>().ok().filter(|row| *row < count);
    found.ok_or_else(|| PyValueError::new_err(format!("{what} names row {value} of a state of {count} rows")))
}

/// The rows that are named, of so many: numbers, or a mask, which has for each row whether it is meant. Lists and the
/// like, arrays, and tensors on any device.
///
/// # Errors
/// `TypeError` if it is neither, `ValueError` if there is no such row, or if a mask is of another length.
pub fn rows(what: &str, given: &Bound<'_, PyAny>, count: usize) -> PyResult<Vec<usize>> {
    let neither = |found: &str| {
        PyTypeError::new_err(format!(
            "{what} is {found}, where the numbers of rows, or true or false for each of the {count} rows, were expected"
        ))
    };
    let name = format!("a {}", given.get_type().name()?);
    // A tensor's own iterator would give a tensor for each number.
    let list = if given.hasattr("tolist")? { given.call_method0("tolist")? } else { given.clone() };
    let Ok(values) = list.try_iter() else { return Err(neither(&name)) };
    let values = values.map(|value| plain(&value?)).collect::<PyResult<Vec<_>>>()?;
    let masked = values.iter().filter(|value| value.is_instance_of::<PyBool>()).count();
    if masked == 0 {
        return values.iter().map(|value| row(what, value, count)).collect();
    }
    if masked < values.len() {
        return Err(neither("a mixture of numbers and of true or false"));
    }
    if values.len() != count {
        let found = values.len();
        return Err(PyValueError::new_err(format!("{what} is a mask of {found} rows, where the state has {count}")));
    }
    let mut rows = Vec::new();
    for (row, value) in values.iter().enumerate() {
        if value.is_truthy()? {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// A number of NumPy's or PyTorch's as one of Python's.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if value.is_instance_of::<PyInt>() || !value.hasattr("item")? {
        return Ok(value.clone());
    }
    value.call_method0("item")
}
