//! NumPy arrays as slices, where their layout allows it.

use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods, dtype};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use sparsam::internal::available_if_fewer_than;
use sparsam::{Error, Real};

/// An array of numbers `T` in C order. `what` is the argument's name.
///
/// # Errors
/// `TypeError` if it is no array of such numbers, `ValueError` if its numbers do not lie in C order.
pub fn read<'py, T: Element>(what: &str, array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let Ok(array) = array.cast::<PyArrayDyn<T>>() else {
        let found = match array.getattr("dtype") {
            Ok(dtype) => format!("an array of {dtype}"),
            Err(_) => format!("a {}", array.get_type().name()?),
        };
        let expected = dtype::<T>(array.py());
        return Err(PyTypeError::new_err(format!("{what} is {found}, where an array of {expected} was expected")));
    };
    // The numpy crate's slices accept Fortran order too, and would give the numbers of the transpose.
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!(
            "{what} does not lie in C order; pass numpy.ascontiguousarray({what})"
        )));
    }
    array
        .try_readonly()
        .map_err(|_| PyValueError::new_err(format!("{what} is being written to by another call; pass a copy of it")))
}

/// The numbers of an array that [`read`] gave.
pub fn numbers<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    Ok(array.as_slice()?)
}

/// Hands numbers over to Python without copying them.
///
/// # Errors
/// `ValueError` if the shape has another number of places.
pub fn give<'py, T: Element>(py: Python<'py>, numbers: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    PyArray1::from_vec(py, numbers).reshape(shape)
}

/// Zeros, if there is room for them: an allocation that fails would end the interpreter.
///
/// # Errors
/// [`Error::NoRoom`] names the array.
pub fn zeros<T: Real>(what: &'static str, count: u128) -> Result<Vec<T>, Error> {
    let bytes = count * size_of::<T>() as u128;
    let no_room = |available| Error::NoRoom { what, bytes, available };
    if let Some(available) = available_if_fewer_than(bytes) {
        return Err(no_room(available));
    }
    let count = usize::try_from(count).map_err(|_| no_room(0))?;
    // Zeros that the system hands out cost nothing before they are used; so it is asked first, and then for those.
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| no_room(0))?;
    Ok(vec![T::ZERO; count])
}

/// Checks an array's shape. `expected` has words for the places where any size will do.
pub fn expect_shape(what: &str, found: &[usize], expected: &[usize], meaning: &str) -> PyResult<()> {
    if found == expected {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{what} has shape {}, where {} was expected ({meaning})",
        shape(found),
        shape(expected)
    )))
}

/// A shape as Python writes it.
pub fn shape(sizes: &[usize]) -> String {
    match sizes {
        [size] => format!("({size},)"),
        _ => format!("({})", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
