//! Entries of keys and values, found by their keys.

use std::sync::Mutex;

use numpy::{Element, PyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sparsam::memory::key_value::{Config, Read, ReadGradients};
use sparsam::{Error, Real, key_value};

use crate::array::{expect_shape, give, numbers, read};
use crate::failure::exception;
use crate::number::{Either, each};

/// What joins a number type of the library and one of NumPy, and puts a read into a class that is not generic.
trait Number: Real + Element {
    fn recorded(read: Read<Self>) -> KeyValueRead;
    fn read_of(read: &KeyValueRead) -> Option<&Read<Self>>;
}

macro_rules! number {
    ($number:ty, $variant:ident) => {
        impl Number for $number {
            fn recorded(read: Read<Self>) -> KeyValueRead {
                KeyValueRead(Either::$variant(read))
            }
            fn read_of(read: &KeyValueRead) -> Option<&Read<Self>> {
                if let Either::$variant(read) = &read.0 { Some(read) } else { None }
            }
        }
    };
}

number!(f32, Single);
number!(f64, Double);

type Memory<T> = sparsam::memory::KeyValueMemory<T>;

/// An array that goes to Python.
type Given<'py> = Bound<'py, PyAny>;

/// The library's memory, which one call at a time uses.
#[pyclass(frozen, module = "sparsam._core")]
pub struct KeyValueMemory {
    config: Config,
    memory: Either<Mutex<Memory<f32>>, Mutex<Memory<f64>>>,
}

/// What was read, for the backward pass.
#[pyclass(frozen, module = "sparsam._core")]
pub struct KeyValueRead(Either<Read<f32>, Read<f64>>);

/// Lets `call` use a memory without the interpreter's lock.
fn with<T: Real, R: Send>(
    py: Python<'_>,
    memory: &Mutex<Memory<T>>,
    call: impl FnOnce(&mut Memory<T>) -> Result<R, Error> + Send,
) -> PyResult<R> {
    let result = py.detach(|| memory.lock().ok().map(|mut memory| call(&mut memory)));
    let broken =
        || PyRuntimeError::new_err("a call on this memory failed half way; load a saved state, or make another");
    result.ok_or_else(broken)?.map_err(exception)
}

/// The numbers of words as the library has them. Whether they hold entries it says itself.
fn words(given: &Given<'_>) -> PyResult<Vec<u32>> {
    let array = read::<i64>("words", given)?;
    expect_shape("words", array.shape(), &[array.len()], "one number for each word")?;
    let number = |word: &i64| {
        u32::try_from(*word)
            .map_err(|_| PyValueError::new_err(format!("words has {word}, where the number of a word was expected")))
    };
    numbers(&array)?.iter().map(number).collect()
}

/// The numbers of rows of such a size, an array of two dimensions.
fn rows<'a, T: Number>(what: &str, array: &'a PyReadonlyArrayDyn<'_, T>, size: usize) -> PyResult<&'a [T]> {
    let count = array.shape().first().copied().unwrap_or_default();
    expect_shape(what, array.shape(), &[count, size], "a row for each")?;
    numbers(array)
}

fn give_words<'py>(py: Python<'py>, words: impl Iterator<Item = u32>, shape: &[usize]) -> PyResult<Given<'py>> {
    give(py, words.map(i64::from).collect(), shape).map(Bound::into_any)
}

#[pymethods]
impl KeyValueMemory {
    /// `config` is a memory's configuration as JSON; `double` chooses double precision.
    #[new]
    fn new(config: &str, double: bool) -> PyResult<Self> {
        let config: Config = serde_json::from_str(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let memory = if double {
            Either::Double(Mutex::new(Memory::new(config.clone()).map_err(exception)?))
        } else {
            Either::Single(Mutex::new(Memory::new(config.clone()).map_err(exception)?))
        };
        Ok(Self { config, memory })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        each!(&self.memory, memory => with(py, memory, |memory| Ok(memory.len())))
    }

    /// Writes entries: the word of each.
    fn write<'py>(&self, py: Python<'py>, keys: Given<'py>, values: Given<'py>) -> PyResult<Given<'py>> {
        let words = each!(&self.memory, memory => {
            let (keys, values) = (read("keys", &keys)?, read("values", &values)?);
            let keys = rows("keys", &keys, self.config.key_size)?;
            let values = rows("values", &values, self.config.value_size)?;
            with(py, memory, |memory| memory.write(keys, values))?
        });
        let count = words.len();
        give_words(py, words.into_iter(), &[count])
    }

    /// Changes the keys, the values, or both, of entries.
    fn update(
        &self,
        py: Python<'_>,
        words: Given<'_>,
        keys: Option<Given<'_>>,
        values: Option<Given<'_>>,
    ) -> PyResult<()> {
        let words = self::words(&words)?;
        each!(&self.memory, memory => {
            let keys = keys.map(|keys| read("keys", &keys)).transpose()?;
            let values = values.map(|values| read("values", &values)).transpose()?;
            let keys = keys.as_ref().map(|keys| rows("keys", keys, self.config.key_size)).transpose()?;
            let values = values.as_ref().map(|values| rows("values", values, self.config.value_size)).transpose()?;
            with(py, memory, |memory| memory.update(&words, keys, values))
        })
    }

    /// The words most similar to each query, and their similarities.
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: Given<'py>,
        limit: usize,
        use_found: bool,
    ) -> PyResult<(Given<'py>, Given<'py>)> {
        each!(&self.memory, memory => {
            let queries = read("queries", &queries)?;
            let numbers = rows("queries", &queries, self.config.key_size)?;
            let count = queries.shape()[0];
            let (words, cosines, limit) = with(py, memory, |memory| {
                let found = memory.search(numbers, limit, use_found)?;
                let words: Vec<u32> = (0..count).flat_map(|query| found.words(query)).copied().collect();
                let cosines: Vec<_> = (0..count).flat_map(|query| found.cosines(query)).copied().collect();
                Ok((words, cosines, found.limit()))
            })?;
            let shape = [count, limit];
            Ok((give_words(py, words.into_iter(), &shape)?, give(py, cosines, &shape)?.into_any()))
        })
    }

    /// What is read for each query, the words it is read from, their weights, and with `record` what the backward pass needs.
    fn read<'py>(
        &self,
        py: Python<'py>,
        queries: Given<'py>,
        strengths: Given<'py>,
        limit: usize,
        use_found: bool,
        record: bool,
    ) -> PyResult<(Given<'py>, Given<'py>, Given<'py>, Option<KeyValueRead>)> {
        fn give_read<'py, T: Number>(
            py: Python<'py>,
            read: Read<T>,
            count: usize,
            value_size: usize,
            record: bool,
        ) -> PyResult<(Given<'py>, Given<'py>, Given<'py>, Option<KeyValueRead>)> {
            let shape = [count, read.limit()];
            let values = give(py, read.values().to_vec(), &[count, value_size])?.into_any();
            let words = give_words(py, (0..count).flat_map(|query| read.words(query)).copied(), &shape)?;
            let weights = (0..count).flat_map(|query| read.weights(query)).copied().collect();
            Ok((values, words, give(py, weights, &shape)?.into_any(), record.then(|| T::recorded(read))))
        }
        each!(&self.memory, memory => {
            let (queries, strengths) = (read("queries", &queries)?, read("strengths", &strengths)?);
            let queries_of = rows("queries", &queries, self.config.key_size)?;
            let count = queries.shape()[0];
            expect_shape("strengths", strengths.shape(), &[count], "one for each query")?;
            let strengths = numbers(&strengths)?;
            let read = with(py, memory, |memory| memory.read(queries_of, strengths, limit, use_found, record))?;
            give_read(py, read, count, self.config.value_size, record)
        })
    }

    /// Adds the gradients that the backward pass of a read gave to those of the entries.
    fn accumulate(&self, py: Python<'_>, read: &KeyValueRead, keys: Given<'_>, values: Given<'_>) -> PyResult<()> {
        fn accumulate<T: Number>(
            py: Python<'_>,
            memory: &Mutex<Memory<T>>,
            read: &KeyValueRead,
            keys: &Given<'_>,
            values: &Given<'_>,
        ) -> PyResult<()> {
            let other = || PyTypeError::new_err("the read is of a memory of another precision");
            let read = T::read_of(read).ok_or_else(other)?;
            let (keys, values) = (crate::array::read("keys", keys)?, crate::array::read("values", values)?);
            let (keys, values) = (numbers(&keys)?.to_vec(), numbers(&values)?.to_vec());
            let gradients = ReadGradients { queries: Vec::new(), strengths: Vec::new(), keys, values };
            with(py, memory, |memory| {
                memory.accumulate(read, &gradients);
                Ok(())
            })
        }
        each!(&self.memory, memory => accumulate(py, memory, read, &keys, &values))
    }

    /// The words whose entries have gradients, and those of their keys and values.
    fn gradients<'py>(&self, py: Python<'py>) -> PyResult<(Given<'py>, Given<'py>, Given<'py>)> {
        each!(&self.memory, memory => {
            let gradients = with(py, memory, |memory| Ok(memory.gradients()))?;
            let count = gradients.words.len();
            Ok((
                give_words(py, gradients.words.into_iter(), &[count])?,
                give(py, gradients.keys, &[count, self.config.key_size])?.into_any(),
                give(py, gradients.values, &[count, self.config.value_size])?.into_any(),
            ))
        })
    }

    fn zero_gradients(&self, py: Python<'_>) -> PyResult<()> {
        each!(&self.memory, memory => with(py, memory, |memory| {
            memory.zero_gradients();
            Ok(())
        }))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        each!(&self.memory, memory => with(py, memory, |memory| {
            memory.clear();
            Ok(())
        }))
    }

    /// The keys of the entries in these words, or with `values` their values.
    fn rows<'py>(&self, py: Python<'py>, words: Given<'py>, values: bool) -> PyResult<Given<'py>> {
        let words = self::words(&words)?;
        let size = if values { self.config.value_size } else { self.config.key_size };
        each!(&self.memory, memory => {
            let rows = with(py, memory, |memory| {
                memory.check_written(&words)?;
                let rows = words.iter().filter_map(|word| if values { memory.value(*word) } else { memory.key(*word) });
                Ok(rows.flatten().copied().collect::<Vec<_>>())
            })?;
            Ok(give(py, rows, &[words.len(), size])?.into_any())
        })
    }

    /// What `load` takes: the entries and their order of use.
    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = each!(&self.memory, memory => with(py, memory, |memory| key_value::to_bytes(memory))?);
        Ok(PyBytes::new(py, &bytes))
    }

    /// Takes over the entries of a memory of the same sizes, in the place of what there is.
    fn load(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        each!(&self.memory, memory => {
            let load = || {
                let loaded = key_value::from_bytes(bytes, &self.config)?;
                let before = std::mem::replace(&mut *memory.lock().unwrap_or_else(|broken| broken.into_inner()), loaded);
                memory.clear_poison();
                drop(before);
                Ok(())
            };
            py.detach(load).map_err(exception)
        })
    }
}

#[pymethods]
impl KeyValueRead {
    /// The gradients of the queries, of their strengths, and of the keys and values read, from those of what was read and of
    /// the weights; what is not given is zero.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        value_gradient: Option<Given<'py>>,
        weight_gradient: Option<Given<'py>>,
    ) -> PyResult<(Given<'py>, Given<'py>, Given<'py>, Given<'py>)> {
        fn backward<'py, T: Number>(
            py: Python<'py>,
            of: &Read<T>,
            value_gradient: Option<&Given<'py>>,
            weight_gradient: Option<&Given<'py>>,
        ) -> PyResult<(Given<'py>, Given<'py>, Given<'py>, Given<'py>)> {
            let values = value_gradient.map(|gradient| read::<T>("value_gradient", gradient)).transpose()?;
            let weights = weight_gradient.map(|gradient| read::<T>("weight_gradient", gradient)).transpose()?;
            let values = values.as_ref().map(numbers).transpose()?;
            let weights = weights.as_ref().map(numbers).transpose()?;
            let gradients = py.detach(|| of.backward(values, weights)).map_err(exception)?;
            let flat = |numbers| PyArray1::from_vec(py, numbers).into_any();
            let ReadGradients { queries, strengths, keys, values } = gradients;
            Ok((flat(queries), flat(strengths), flat(keys), flat(values)))
        }
        each!(&self.0, read => backward(py, read, value_gradient.as_ref(), weight_gradient.as_ref()))
    }
}
