//! The classes that Python sees.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use numpy::{Element, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySlice, PyType};
use sparsam::checkpoint::{self, Extra};
use sparsam::network::{FirstValue, InitialValues};
use sparsam::{Array, Error, NO_WORD, NetworkConfig, Parameters, Real, Sequences, Values};

use crate::array::{expect_shape, give, numbers, read, zeros};
use crate::failure::{exception, warn};
use crate::number::{Either, each};
use crate::rows::{row, rows};
use crate::session::{Handhold, Handle, MOVED_ON, Place, Refusal, lock};
use crate::threads;

/// What joins a number type of the library and one of NumPy, and puts what is generic into a class that is not.
pub trait Number: Real + Element {
    /// A state in its class.
    fn state(handhold: Handhold<Self>) -> State;
    /// The state in the class, if it is one of these numbers.
    fn of_state(state: &State) -> Option<&Handhold<Self>>;
    /// A tape in its class.
    fn tape(tape: TapeOf<Self>) -> Tape;
}

macro_rules! number {
    ($number:ty, $variant:ident) => {
        impl Number for $number {
            fn state(handhold: Handhold<Self>) -> State {
                State { of: Either::$variant(handhold), graph: None }
            }
            fn of_state(state: &State) -> Option<&Handhold<Self>> {
                if let Either::$variant(handhold) = &state.of { Some(handhold) } else { None }
            }
            fn tape(tape: TapeOf<Self>) -> Tape {
                Tape(Either::$variant(tape))
            }
        }
    };
}

number!(f32, Single);
number!(f64, Double);

/// A network of one configuration and number type. Its parameters come with every call.
#[pyclass(frozen, module = "sparsam._core")]
pub struct Network(Either<Handle<f32>, Handle<f64>>);

/// The controllers and memories of a batch, at one moment.
///
/// A network's call returns it, and it goes into the next one. It can be used once: the call that is given it moves on,
/// and returns the state to use from then on. Gradients stop where it enters a call, unless a module of
/// `sparsam.torch` carries them (`carry_gradients`).
///
/// It can be pickled, and `copy.deepcopy` makes one with memories of its own. Files, pickles and copies cost the words
/// that were written, not those that there are.
#[pyclass(frozen, module = "sparsam._core")]
pub struct State {
    of: Either<Handhold<f32>, Handhold<f64>>,
    /// What PyTorch needs to find its way back from here.
    graph: Option<Py<PyAny>>,
}

/// What going back through one call needs.
#[pyclass(frozen, module = "sparsam._core")]
pub struct Tape(Either<TapeOf<f32>, TapeOf<f64>>);

/// A [`Tape`] of one number type.
pub struct TapeOf<T: Real> {
    handhold: Handhold<T>,
    place: Place,
    /// With the parameters of that call.
    network: Arc<sparsam::Network<T>>,
    steps: usize,
    threads: Option<usize>,
}

fn parse(config: &str) -> PyResult<NetworkConfig> {
    serde_json::from_str(config).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A rectangle of a parameter and what it starts with: tensor, rows and columns (first, and one after the last of each), and
/// either the bound within which it is uniform, or a constant, or the row from which it is a copy.
pub type Block = (&'static str, [usize; 2], [usize; 2], Option<f64>, Option<f64>, Option<usize>);

/// What each parameter starts with, in an order in which copies come after what they are copies of.
pub fn first_values(config: &NetworkConfig, input_bound: Option<f64>) -> Vec<Block> {
    let blocks = config.first_values(InitialValues::default(), input_bound).into_iter();
    blocks
        .map(|block| {
            let (rows, columns) = ([block.rows.start, block.rows.end], [block.columns.start, block.columns.end]);
            let (bound, constant, row) = match block.value {
                FirstValue::Uniform(bound) => (Some(bound), None, None),
                FirstValue::Constant(value) => (None, Some(value), None),
                FirstValue::RowsFrom(row) => (None, None, Some(row)),
            };
            (block.tensor, rows, columns, bound, constant, row)
        })
        .collect()
}

#[pymethods]
impl Network {
    /// `config` is a network's configuration as JSON; `double` chooses double precision.
    #[new]
    fn new(config: &str, double: bool) -> PyResult<Self> {
        let config = parse(config)?;
        Ok(Self(if double {
            Either::Double(Handle::new(config).map_err(exception)?)
        } else {
            Either::Single(Handle::new(config).map_err(exception)?)
        }))
    }

    /// Names and shapes of the parameters.
    fn tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        each!(&self.0, handle => {
            handle.network().config().tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
        })
    }

    /// Numbers in an output.
    fn output_len(&self) -> usize {
        each!(&self.0, handle => handle.network().config().output_len())
    }

    /// Numbers that a row's controller holds between two steps: hidden units, cells (none of a GRU), and what was read last.
    fn controller_lens(&self) -> [usize; 3] {
        each!(&self.0, handle => {
            let network = handle.network();
            let config = network.config();
            let (hidden, read) = (config.hidden_size, config.memory.read_len());
            [hidden, config.controller_len() - hidden - read, read]
        })
    }

    /// The parameters that a fresh network starts with, tensor after tensor.
    #[pyo3(signature = (seed, input_bound))]
    fn initial<'py>(&self, py: Python<'py>, seed: u64, input_bound: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        fn initial<'py, T: Number>(
            py: Python<'py>,
            handle: &Handle<T>,
            seed: u64,
            input_bound: Option<f64>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let config = handle.network().config().clone();
            let values = InitialValues::default();
            let network = sparsam::Network::<T>::with_initial_values(config, values, input_bound, seed);
            let values = network.map_err(exception)?.parameters().values().to_vec();
            let length = values.len();
            Ok(give(py, values, &[length])?.into_any())
        }
        each!(&self.0, handle => initial(py, handle, seed, input_bound))
    }

    /// What the parameters of a fresh network are drawn from; see [`first_values`].
    #[pyo3(signature = (input_bound))]
    fn first_values(&self, input_bound: Option<f64>) -> Vec<Block> {
        each!(&self.0, handle => first_values(handle.network().config(), input_bound))
    }

    /// Controllers and memories as they are at the start, for `rows` sequences.
    fn state(&self, py: Python<'_>, rows: usize) -> PyResult<State> {
        fn state<T: Number>(py: Python<'_>, handle: &Handle<T>, rows: usize) -> PyResult<State> {
            py.detach(|| handle.start(rows)).map(T::state).map_err(exception)
        }
        each!(&self.0, handle => state(py, handle, rows))
    }

    /// Runs a batch of sequences from a state on, a fresh one if there is none: output, state, and with `record` the
    /// tape.
    ///
    /// `parameters` are the tensors in the order of `tensors`; `input` has shape (T, B, I), `lengths` B numbers, `starts`
    /// (T, B) booleans; `threads` says how many there may be unless the environment does.
    /// With `carry`, what is kept to go back through the calls that led to the state stays there, and gradients pass on to
    /// them.
    #[pyo3(signature = (parameters, input, lengths, starts, state, record, threads, carry=false))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        parameters: Vec<Bound<'py, PyAny>>,
        input: Bound<'py, PyAny>,
        lengths: Vec<usize>,
        starts: Option<Bound<'py, PyAny>>,
        state: Option<&Bound<'py, State>>,
        record: bool,
        threads: Option<usize>,
        carry: bool,
    ) -> PyResult<(Bound<'py, PyAny>, State, Option<Tape>)> {
        let state = state.map(Bound::get);
        each!(&self.0, handle => {
            let go = |runner: &mut sparsam::Runner<_>, network: &_, sequences: Sequences<'_, _>, output: &mut _| {
                if record {
                    runner.carry_gradients(carry);
                    runner.forward_sequences(network, sequences, output)
                } else {
                    runner.infer_sequences(network, sequences, output)
                }
            };
            let batch =
                Batch { input: &input, lengths: &lengths, starts: starts.as_ref(), keeps: record && carry, threads };
            let Run { output, end, place, network, steps, .. } = run(py, handle, &parameters, batch, state, go)?;
            let tape = || TapeOf { handhold: end.clone(), place, network, steps, threads };
            let tape = record.then(|| Number::tape(tape()));
            Ok((output, Number::state(end), tape))
        })
    }

    /// Runs a batch of sequences from a state on, a fresh one if there is none, and tells what every memory did at
    /// every step: output, state, and arrays by name, of shape (T, B, …). Arguments are those of `run`.
    fn trace<'py>(
        &self,
        py: Python<'py>,
        parameters: Vec<Bound<'py, PyAny>>,
        input: Bound<'py, PyAny>,
        lengths: Vec<usize>,
        starts: Option<Bound<'py, PyAny>>,
        state: Option<&Bound<'py, State>>,
    ) -> PyResult<(Bound<'py, PyAny>, State, Bound<'py, PyDict>)> {
        let state = state.map(Bound::get);
        each!(&self.0, handle => {
            let trace = |runner: &mut sparsam::Runner<_>, network: &_, sequences: Sequences<'_, _>, output: &mut _| {
                runner.trace_sequences(network, sequences, output)
            };
            // A trace goes step by step, on one thread.
            let batch =
                Batch { input: &input, lengths: &lengths, starts: starts.as_ref(), keeps: false, threads: Some(1) };
            let Run { output, end, gone: traced, .. } = run(py, handle, &parameters, batch, state, trace)?;
            let arrays = PyDict::new(py);
            for (name, array) in traced.iter() {
                arrays.set_item(name, give_array(py, array)?)?;
            }
            Ok((output, Number::state(end), arrays))
        })
    }

    /// The state of a file that `State.save` wrote.
    fn load_state(&self, py: Python<'_>, path: PathBuf) -> PyResult<State> {
        let state = each!(&self.0, handle => py.detach(|| handle.load(&path)).map(Number::state).map_err(exception))?;
        warn(py)?;
        Ok(state)
    }

    /// Writes a checkpoint, which the command `sparsam` reads too.
    fn save_checkpoint<'py>(&self, py: Python<'py>, path: PathBuf, parameters: Vec<Bound<'py, PyAny>>) -> PyResult<()> {
        fn save<'py, T: Number>(
            py: Python<'py>,
            handle: &Handle<T>,
            path: PathBuf,
            parameters: &[Bound<'py, PyAny>],
        ) -> PyResult<()> {
            let arrays = read_parameters(handle, parameters)?;
            let tensors = arrays.iter().map(numbers).collect::<PyResult<Vec<_>>>()?;
            py.detach(|| checkpoint::save(&path, &handle.with_parameters(&tensors), &Extra::default()))
                .map_err(exception)
        }
        each!(&self.0, handle => save(py, handle, path, &parameters))?;
        warn(py)
    }
}

/// What a signal's handler raised, as that of Ctrl-C does.
#[derive(Default)]
struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    /// Lets a call hear signals, several times a second; an exception that a handler raises ends it.
    fn listen<T: Real, R>(
        &self,
        runner: &mut sparsam::Runner<T>,
        call: impl FnOnce(&mut sparsam::Runner<T>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let raised = Arc::clone(&self.0);
        runner.listen(Some(Box::new(move || match Python::attach(|py| py.check_signals()) {
            Ok(()) => true,
            Err(exception) => {
                *lock(&raised) = Some(exception);
                false
            }
        })));
        let done = call(runner);
        runner.listen(None);
        done
    }

    /// The exception; none if there was none.
    fn take(&self) -> Option<PyErr> {
        lock(&self.0).take()
    }
}

/// Reads a checkpoint: the configuration as JSON, and the parameters, tensor after tensor.
#[pyfunction]
pub fn load_checkpoint<'py>(py: Python<'py>, path: PathBuf, double: bool) -> PyResult<(String, Bound<'py, PyAny>)> {
    fn load<'py, T: Number>(py: Python<'py>, path: PathBuf) -> PyResult<(String, Bound<'py, PyAny>)> {
        let network = py.detach(|| checkpoint::load::<T>(&path)).map_err(exception)?;
        warn(py)?;
        let config =
            serde_json::to_string(network.config()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let values = network.parameters().values().to_vec();
        let length = values.len();
        Ok((config, give(py, values, &[length])?.into_any()))
    }
    if double { load::<f64>(py, path) } else { load::<f32>(py, path) }
}

fn read_parameters<'py, T: Number>(
    handle: &Handle<T>,
    parameters: &[Bound<'py, PyAny>],
) -> PyResult<Vec<PyReadonlyArrayDyn<'py, T>>> {
    let tensors = handle.network().config().tensors();
    if parameters.len() != tensors.len() {
        let (found, expected) = (parameters.len(), tensors.len());
        return Err(PyValueError::new_err(format!("there are {found} parameters, where {expected} were expected")));
    }
    let mut arrays = Vec::with_capacity(tensors.len());
    for (tensor, array) in tensors.iter().zip(parameters) {
        let array = read::<T>(tensor.name, array)?;
        expect_shape(tensor.name, array.shape(), &tensor.shape, "the sizes of the network")?;
        arrays.push(array);
    }
    Ok(arrays)
}

/// An array of the library as one of NumPy. Numbers of words are signed there: -1 where there is none.
fn give_array<'py, T: Number>(py: Python<'py>, array: &Array<T>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match array.values() {
        Values::Real(values) => give(py, values.clone(), array.shape())?.into_any(),
        Values::Whole(words) => {
            let signed = |word: &u32| if *word == NO_WORD { -1 } else { i64::from(*word) };
            give(py, words.iter().map(signed).collect(), array.shape())?.into_any()
        }
    })
}

/// Sequences that the library runs on the calling thread.
const ON_ONE_THREAD: usize = 4;

/// What is to be run over.
#[derive(Clone, Copy)]
struct Batch<'a, 'py> {
    input: &'a Bound<'py, PyAny>,
    lengths: &'a [usize],
    starts: Option<&'a Bound<'py, PyAny>>,
    /// The tape keeps the calls that led to the state.
    keeps: bool,
    threads: Option<usize>,
}

/// What a run leaves.
struct Run<'py, T: Real, R> {
    output: Bound<'py, PyAny>,
    /// The state to go on from.
    end: Handhold<T>,
    /// The call on the tape.
    place: Place,
    /// What the runner gave beside the output.
    gone: R,
    network: Arc<sparsam::Network<T>>,
    steps: usize,
}

/// Lets `go` use a runner on a batch of sequences, from a state on.
fn run<'py, T: Number, R: Default + Send>(
    py: Python<'py>,
    handle: &Handle<T>,
    parameters: &[Bound<'py, PyAny>],
    batch: Batch<'_, 'py>,
    state: Option<&State>,
    go: impl FnOnce(&mut sparsam::Runner<T>, &sparsam::Network<T>, Sequences<'_, T>, &mut [T]) -> Result<R, Error> + Send,
) -> PyResult<Run<'py, T, R>> {
    let Batch { input, lengths, starts, keeps, threads } = batch;
    let arrays = read_parameters(handle, parameters)?;
    let tensors = arrays.iter().map(numbers).collect::<PyResult<Vec<_>>>()?;
    let input_array = read::<T>("input", input)?;
    let network = handle.network();
    let config = network.config();
    let &[steps, rows, width] = input_array.shape() else {
        let dimensions = input_array.ndim();
        return Err(PyValueError::new_err(format!(
            "input has {dimensions} dimensions, where 3 were expected (T, B, I)"
        )));
    };
    expect_shape("input", &[steps, rows, width], &[steps, rows, config.input_len()], "T, B, I")?;
    if lengths.len() != rows {
        let found = lengths.len();
        return Err(PyValueError::new_err(format!(
            "lengths has {found} numbers, where {rows} were expected, one for each sequence"
        )));
    }
    let starts = match starts {
        None => None,
        Some(starts) => {
            let starts = read::<bool>("starts", starts)?;
            expect_shape("starts", starts.shape(), &[steps, rows], "T, B")?;
            Some(numbers(&starts)?.to_vec())
        }
    };
    let given = match state {
        None => None,
        Some(state) => {
            let Some(handhold) = T::of_state(state) else {
                return Err(PyTypeError::new_err("state belongs to a network of another dtype; start with state=None"));
            };
            // Networks whose vectors have equal lengths may still have memories of other sizes.
            if handhold.config() != config {
                return Err(PyValueError::new_err(
                    "state belongs to a network of another model or other sizes; start with state=None",
                ));
            }
            if handhold.rows() != rows {
                let found = handhold.rows();
                return Err(PyValueError::new_err(format!("state has {found} rows, where the input has {rows}")));
            }
            Some(handhold)
        }
    };
    if rows > ON_ONE_THREAD {
        threads::prepare(threads)?;
    }
    let values = numbers(&input_array)?;
    let output_len = config.output_len();
    // Its parameters may have to change, and nobody else should be seen to hold it then.
    drop(network);
    let raised = Raised::default();
    let result = py.detach(|| -> Result<_, Refusal> {
        let network = handle.with_parameters(&tensors);
        let fresh;
        let start = match given {
            Some(handhold) => handhold,
            None => {
                fresh = handle.start(rows)?;
                &fresh
            }
        };
        let mut output = zeros("the output", steps as u128 * rows as u128 * output_len as u128)?;
        let (end, place, gone) = start.go_on(keeps, |runner| {
            if rows == 0 {
                return Ok(Ok(R::default()));
            }
            let sequences = Sequences::new(values, lengths);
            let sequences = starts.as_ref().map_or(sequences, |starts| sequences.with_starts(starts));
            // A state that came some way has moved on, whatever ended the call.
            match raised.listen(runner, |runner| go(runner, &network, sequences, &mut output)) {
                Err(Error::Interrupted { steps }) => Ok(Err(steps)),
                done => done.map(Ok),
            }
        })?;
        Ok((network, output, end, place, gone))
    });
    let (network, output, end, place, gone) = result.map_err(|refusal| {
        refuse(
            refusal,
            "state has moved on: a later call was given it, or an equal one, already; pass the state that this call returned",
        )
    })?;
    let output = give(py, output, &[steps, rows, output_len])?.into_any();
    match gone {
        Ok(gone) => Ok(Run { output, end, place, gone, network, steps }),
        Err(steps) => {
            // What was run until then is not lost: whoever catches it can go on.
            let exception = raised.take().unwrap_or_else(|| exception(Error::Interrupted { steps }));
            let value = exception.value(py);
            value.setattr("steps", steps)?;
            value.setattr("output", output.get_item(PySlice::new(py, 0, steps as isize, 1))?)?;
            value.setattr("state", Py::new(py, T::state(end))?)?;
            Err(exception)
        }
    }
}

/// The state that a pickle of an earlier build holds.
#[pyfunction]
pub fn restore_state(py: Python<'_>, config: &str, double: bool, bytes: &[u8]) -> PyResult<State> {
    fn restore<T: Number>(py: Python<'_>, config: &NetworkConfig, bytes: &[u8]) -> PyResult<State> {
        py.detach(|| Handhold::<T>::from_bytes(bytes, config)).map(T::state).map_err(exception)
    }
    let config = parse(config)?;
    if double { restore::<f64>(py, &config, bytes) } else { restore::<f32>(py, &config, bytes) }
}

fn refuse(refusal: Refusal, moved_on: &'static str) -> PyErr {
    match refusal {
        Refusal::MovedOn => PyRuntimeError::new_err(moved_on),
        Refusal::OutOfOrder => PyRuntimeError::new_err(
            "backward goes through the calls that share a state from the last to the first, in one thread, and nothing else \
             uses the state meanwhile",
        ),
        Refusal::Library(error) => exception(error),
    }
}

/// The gradients of the parameters, tensor after tensor in one array, and, where asked for, those of the input and of what the
/// controllers held before the call.
type Gradients<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

#[pymethods]
impl Tape {
    /// Goes back through the call. The loss depends on its output by `output_gradient` (not at all if there is none), and on
    /// what the controllers held after it, (B, H + C + R·W), by `end_gradient`, which comes from the call that was given the
    /// state and was gone back through just before; without it calls after this one count for nothing.
    #[pyo3(signature = (output_gradient, end_gradient=None, with_input=true, with_start=false))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        output_gradient: Option<Bound<'py, PyAny>>,
        end_gradient: Option<Bound<'py, PyAny>>,
        with_input: bool,
        with_start: bool,
    ) -> PyResult<Gradients<'py>> {
        let (output_gradient, end_gradient) = (output_gradient.as_ref(), end_gradient.as_ref());
        each!(&self.0, tape => {
            backward(py, tape, output_gradient, end_gradient, (with_input, with_start))
        })
    }
}

fn backward<'py, T: Number>(
    py: Python<'py>,
    tape: &TapeOf<T>,
    output_gradient: Option<&Bound<'py, PyAny>>,
    end_gradient: Option<&Bound<'py, PyAny>>,
    (with_input, with_start): (bool, bool),
) -> PyResult<Gradients<'py>> {
    let config = tape.network.config();
    let (steps, rows, width, held) = (tape.steps, tape.handhold.rows(), config.input_len(), config.controller_len());
    let output_shape = [steps, rows, config.output_len()];
    let gradient = |what, array: Option<&Bound<'py, PyAny>>, shape: &[usize], meaning| match array {
        None => Ok(None),
        Some(array) => {
            let array = read::<T>(what, array)?;
            expect_shape(what, array.shape(), shape, meaning)?;
            PyResult::Ok(Some(array))
        }
    };
    let output_gradient = gradient("output_gradient", output_gradient, &output_shape, "the shape of the output")?;
    let end_gradient = gradient("end_gradient", end_gradient, &[rows, held], "B, H + C + R·W")?;
    let output_gradient = output_gradient.as_ref().map(numbers).transpose()?;
    let end_gradient = end_gradient.as_ref().map(numbers).transpose()?;
    if rows > ON_ONE_THREAD {
        threads::prepare(tape.threads)?;
    }
    let raised = Raised::default();
    let result = py.detach(|| -> Result<_, Refusal> {
        let network = &*tape.network;
        let mut gradients: Parameters<T> = network.zeros();
        let mut input_gradient = with_input
            .then(|| {
                zeros("the gradient of the input", [steps, rows, width].iter().map(|size| *size as u128).product())
            })
            .transpose()?;
        let mut start_gradient = vec![T::ZERO; if with_start { rows * held } else { 0 }];
        let none;
        let output_gradient = match output_gradient {
            Some(gradient) => gradient,
            None => {
                none =
                    zeros::<T>("the gradient of the output", output_shape.iter().map(|size| *size as u128).product())?;
                &none
            }
        };
        tape.handhold.go_back(tape.place, end_gradient.is_some(), |runner, calls| {
            let back = |runner: &mut sparsam::Runner<T>| {
                while runner.calls() > calls {
                    runner.undo()?;
                }
                if let Some(gradient) = end_gradient {
                    runner.set_controller_gradients(gradient)?;
                }
                runner.backward(network, output_gradient, &mut gradients, input_gradient.as_deref_mut())?;
                if with_start {
                    start_gradient = runner.controller_gradients();
                }
                Ok(())
            };
            raised.listen(runner, back)
        })?;
        Ok((gradients.into_values(), input_gradient, start_gradient))
    });
    if let Some(exception) = raised.take() {
        return Err(exception);
    }
    let (gradients, input_gradient, start_gradient) = result.map_err(|refusal| {
        refuse(
            refusal,
            "backward comes too late: the state that this call returned was passed on, or changed, since; go back through a call \
             before its state is used again",
        )
    })?;
    let length = gradients.len();
    let gradients = give(py, gradients, &[length])?.into_any();
    let input_gradient = match input_gradient {
        Some(numbers) => Some(give(py, numbers, &[steps, rows, width])?.into_any()),
        None => None,
    };
    let start_gradient = if with_start { Some(give(py, start_gradient, &[rows, held])?.into_any()) } else { None };
    Ok((gradients, input_gradient, start_gradient))
}

/// The function that makes a state again, and its arguments.
type Pickle<'py> = (Bound<'py, PyType>, (String, bool, Bound<'py, PyBytes>));

/// The rows that are named, or all.
fn named(given: Option<&Bound<'_, PyAny>>, count: usize) -> PyResult<Vec<usize>> {
    given.map_or_else(|| Ok((0..count).collect()), |given| rows("rows", given, count))
}

impl State {
    fn select_rows(&self, py: Python<'_>, rows: &[usize]) -> PyResult<Self> {
        fn select<T: Number>(py: Python<'_>, handhold: &Handhold<T>, rows: &[usize]) -> PyResult<State> {
            py.detach(|| handhold.select(rows)).map(T::state).map_err(|refusal| refuse(refusal, MOVED_ON))
        }
        each!(&self.of, handhold => select(py, handhold, rows))
    }
}

#[pymethods]
impl State {
    /// The state that a pickle holds.
    #[new]
    fn restore(py: Python<'_>, config: &str, double: bool, bytes: &[u8]) -> PyResult<Self> {
        restore_state(py, config, double, bytes)
    }

    /// Sequences in the batch.
    #[getter]
    fn rows(&self) -> usize {
        each!(&self.of, handhold => handhold.rows())
    }

    /// Whether no later call was given this state.
    #[getter]
    fn is_current(&self, py: Python<'_>) -> bool {
        each!(&self.of, handhold => py.detach(|| handhold.is_current()))
    }

    /// The state as it stands, from which gradients do not flow to the calls before it. This state is used up.
    fn detach(&self, py: Python<'_>) -> PyResult<Self> {
        each!(&self.of, handhold => {
            py.detach(|| handhold.hand_over()).map(Number::state).map_err(|refusal| refuse(refusal, MOVED_ON))
        })
    }

    /// What was given to `with_graph`.
    #[getter]
    fn _graph(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.graph.as_ref().map(|graph| graph.clone_ref(py))
    }

    /// The same moment, with what PyTorch needs to find its way back from it.
    fn _with_graph(&self, graph: Py<PyAny>) -> Self {
        let of = match &self.of {
            Either::Single(handhold) => Either::Single(handhold.clone()),
            Either::Double(handhold) => Either::Double(handhold.clone()),
        };
        Self { of, graph: Some(graph) }
    }

    /// What the controllers hold, (B, H + C + R·W): hidden units, cells (none of a GRU), and what was read last.
    fn _controllers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        fn held<'py, T: Number>(py: Python<'py>, handhold: &Handhold<T>) -> PyResult<Bound<'py, PyAny>> {
            let (rows, width) = (handhold.rows(), handhold.config().controller_len());
            let held = py.detach(|| handhold.look(|runner| Ok(runner.controllers())));
            let mut held = held.map_err(|refusal| refuse(refusal, MOVED_ON))?;
            held.truncate(rows * width);
            Ok(give(py, held, &[rows, width])?.into_any())
        }
        each!(&self.of, handhold => held(py, handhold))
    }

    /// The state with controllers that hold this, as `_controllers` gives it. This state is used up.
    fn _with_controllers(&self, py: Python<'_>, held: Bound<'_, PyAny>) -> PyResult<Self> {
        fn put<T: Number>(py: Python<'_>, handhold: &Handhold<T>, held: &Bound<'_, PyAny>) -> PyResult<State> {
            let held = read::<T>("state", held)?;
            let rows = handhold.rows();
            expect_shape("state", held.shape(), &[rows, handhold.config().controller_len()], "B, H + C + R·W")?;
            let values = numbers(&held)?;
            let put = |runner: &mut sparsam::Runner<T>| if rows == 0 { Ok(()) } else { runner.set_controllers(values) };
            let put = py.detach(|| handhold.go_on(false, put)).map_err(|refusal| refuse(refusal, MOVED_ON))?;
            Ok(T::state(put.0))
        }
        each!(&self.of, handhold => put(py, handhold, &held))
    }

    /// The state with these rows as they are at the start, the others as they stand; all rows if none are named. This
    /// state is used up.
    #[pyo3(signature = (rows=None))]
    fn reset(&self, py: Python<'_>, rows: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        fn reset<T: Number>(py: Python<'_>, handhold: &Handhold<T>, rows: &[usize]) -> PyResult<State> {
            let all = |runner: &mut sparsam::Runner<T>| {
                rows.iter().for_each(|row| runner.reset_row(*row));
                Ok(())
            };
            let reset = py.detach(|| handhold.go_on(false, all)).map_err(|refusal| refuse(refusal, MOVED_ON))?;
            Ok(T::state(reset.0))
        }
        let rows = named(rows.as_ref(), self.rows())?;
        each!(&self.of, handhold => reset(py, handhold, &rows))
    }

    /// The state with row `target` as row `source` is, the others as they stand. This state is used up.
    fn copy_row(&self, py: Python<'_>, source: Bound<'_, PyAny>, target: Bound<'_, PyAny>) -> PyResult<Self> {
        let (source, target) = (row("source", &source, self.rows())?, row("target", &target, self.rows())?);
        fn copy<T: Number>(py: Python<'_>, handhold: &Handhold<T>, source: usize, target: usize) -> PyResult<State> {
            let copy = |runner: &mut sparsam::Runner<T>| {
                let row = runner.save_row(source);
                // A row that could not be loaded would leave the target empty.
                row.check_finite()?;
                runner.load_row(target, row)
            };
            let copied = py.detach(|| handhold.go_on(false, copy)).map_err(|refusal| refuse(refusal, MOVED_ON))?;
            Ok(T::state(copied.0))
        }
        each!(&self.of, handhold => copy(py, handhold, source, target))
    }

    /// A state with memories of its own, whose rows are copies of these, in this order; one may be named more than
    /// once. This state stays as it is.
    fn select(&self, py: Python<'_>, rows: Bound<'_, PyAny>) -> PyResult<Self> {
        self.select_rows(py, &named(Some(&rows), self.rows())?)
    }

    /// Writes the state to a safetensors file, for `load_state` of a model with the same configuration. This state
    /// stays as it is.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        each!(&self.of, handhold => {
            py.detach(|| handhold.save(&path)).map_err(|refusal| refuse(refusal, MOVED_ON))
        })?;
        warn(py)
    }

    fn __copy__(&self) -> PyResult<Self> {
        Err(PyTypeError::new_err(
            "a state is not copied by reference; copy.deepcopy(state) makes one with memories of its own",
        ))
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.select_rows(py, &named(None, self.rows())?)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickle<'py>> {
        let (config, bytes) = each!(&self.of, handhold => {
            let bytes = py.detach(|| handhold.to_bytes());
            (handhold.config().clone(), bytes.map_err(|refusal| refuse(refusal, MOVED_ON))?)
        });
        let config = serde_json::to_string(&config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        // The class itself, so that it is all that a loader has to be allowed.
        let restore = py.get_type::<Self>();
        Ok((restore, (config, matches!(self.of, Either::Double(_)), PyBytes::new(py, &bytes))))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (rows, current) = (self.rows(), self.is_current(py));
        let dtype = if matches!(self.of, Either::Single(_)) { "float32" } else { "float64" };
        format!("State(rows={rows}, dtype={dtype}{})", if current { "" } else { ", moved on" })
    }
}
