//! Memories beside a controller that is somebody else's, one time step at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use numpy::{Element, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rayon::prelude::*;
use sparsam::memory::Memory as Steps;
use sparsam::{Error, Model, NetworkConfig, Real, Runner};

use crate::array::{expect_shape, give, numbers, read};
use crate::failure::{exception, warn};
use crate::number::{Either, each};
use crate::rows::rows;
use crate::session::{MOST_IDLE, MOVED_ON, lock};
use crate::threads;

/// What joins a number type of the library and one of NumPy, and puts what is generic into a class that is not.
trait Number: Real + Element {
    /// The state of some memories in its class.
    fn memory_state(moment: Moment<Self>) -> MemoryState;
    /// A step of some memories in its class.
    fn memory_step(step: StepOf<Self>) -> MemoryStep;
}

macro_rules! number {
    ($number:ty, $variant:ident) => {
        impl Number for $number {
            fn memory_state(moment: Moment<Self>) -> MemoryState {
                MemoryState(Either::$variant(moment))
            }
            fn memory_step(step: StepOf<Self>) -> MemoryStep {
                MemoryStep(Either::$variant(step))
            }
        }
    };
}

number!(f32, Single);
number!(f64, Double);

/// Memories of one sequence each, that wait to be used again.
type Idle<T> = Mutex<Vec<Vec<Box<dyn Steps<T>>>>>;

/// Memories that a thread steps before another is worth the while.
const ON_ONE_THREAD: usize = 4;

/// What makes memories of one model and number type.
#[pyclass(frozen, module = "sparsam._core")]
pub struct Memory {
    model: Model,
    idle: Either<Arc<Idle<f32>>, Arc<Idle<f64>>>,
}

/// The memories of a batch, at one moment.
#[pyclass(frozen, module = "sparsam._core")]
pub struct MemoryState(pub Either<Moment<f32>, Moment<f64>>);

/// A step that can be gone back through.
#[pyclass(frozen, module = "sparsam._core")]
pub struct MemoryStep(pub Either<StepOf<f32>, StepOf<f64>>);

/// A moment in the life of some memories. Only who holds the latest may go on.
pub struct Moment<T> {
    memories: Arc<Mutex<Memories<T>>>,
    rows: usize,
    moves: u64,
}

/// A [`MemoryStep`] of one number type: its place on the tape of an episode.
pub struct StepOf<T> {
    memories: Arc<Mutex<Memories<T>>>,
    episode: u64,
    place: usize,
}

/// Memories, and what going back through their steps needs.
struct Memories<T> {
    model: Model,
    /// One for each row.
    memories: Vec<Box<dyn Steps<T>>>,
    interface_len: usize,
    read_len: usize,
    /// Of the steps on the tape, row after row in each.
    interfaces: Vec<T>,
    /// Steps on the tape.
    steps: usize,
    /// Those of them that are in force.
    position: usize,
    /// Episodes that ended.
    episode: u64,
    /// How often somebody went on.
    moves: u64,
    idle: Weak<Idle<T>>,
}

impl<T> Drop for Memories<T> {
    fn drop(&mut self) {
        let Some(idle) = self.idle.upgrade() else { return };
        let mut idle = lock(&idle);
        idle.truncate(MOST_IDLE - 1);
        idle.insert(0, std::mem::take(&mut self.memories));
    }
}

impl<T: Number> Memories<T> {
    fn new(model: &Model, idle: &Arc<Idle<T>>, rows: usize) -> Result<Self, Error> {
        let waiting = {
            let mut idle = lock(idle);
            idle.iter().position(|memories| memories.len() == rows).map(|place| idle.remove(place))
        };
        let memories = match waiting {
            Some(mut memories) => {
                memories.iter_mut().for_each(|memory| memory.reset());
                memories
            }
            None => {
                let mut memories = Vec::with_capacity(rows);
                for _ in 0..rows {
                    memories.extend(model.build()?);
                }
                memories
            }
        };
        Ok(Self {
            model: model.clone(),
            memories,
            interface_len: model.interface_len(),
            read_len: model.read_len(),
            interfaces: Vec::new(),
            steps: 0,
            position: 0,
            episode: 0,
            moves: 0,
            idle: Arc::downgrade(idle),
        })
    }

    /// Takes again what was undone.
    fn replay(&mut self) {
        if self.position < self.steps {
            self.memories.iter_mut().for_each(|memory| memory.replay());
            self.position = self.steps;
        }
    }

    fn end_episode(&mut self) {
        self.replay();
        self.memories.iter_mut().for_each(|memory| memory.start_episode());
        self.interfaces.clear();
        self.episode += 1;
        (self.steps, self.position) = (0, 0);
    }

    fn step(&mut self, interface: &[T], starts: Option<&[bool]>, record: bool) -> Vec<T> {
        if record {
            self.replay();
            self.interfaces.extend_from_slice(interface);
            self.steps += 1;
            self.position += 1;
        } else {
            self.end_episode();
        }
        for (memory, _) in self.memories.iter_mut().zip(starts.unwrap_or_default()).filter(|(_, start)| **start) {
            if record { memory.restart() } else { memory.reset() }
        }
        let mut read = vec![T::ZERO; self.memories.len() * self.read_len];
        let rows = interface.chunks_exact(self.interface_len).zip(read.chunks_exact_mut(self.read_len));
        let rows: Vec<_> = self.memories.iter_mut().zip(rows).collect();
        share(rows, |(memory, (interface, read))| memory.step(interface, read, record));
        read
    }

    /// Goes back through the latest step in force: the gradient of its interface.
    fn step_back(&mut self, read_gradient: &[T]) -> Vec<T> {
        self.position -= 1;
        let length = self.memories.len() * self.interface_len;
        let mut gradient = vec![T::ZERO; length];
        let interfaces = self.interfaces[self.position * length..][..length].chunks_exact(self.interface_len);
        let gradients = read_gradient.chunks_exact(self.read_len).zip(gradient.chunks_exact_mut(self.interface_len));
        let rows: Vec<_> = self.memories.iter_mut().zip(interfaces).zip(gradients).collect();
        share(rows, |((memory, interface), (read_gradient, gradient))| {
            memory.step_back(interface, read_gradient, gradient);
        });
        gradient
    }

    /// A runner whose memories are copies of those of some rows, as they stand: what a state keeps of it can be written
    /// and read. Its controller is nobody's.
    fn copy(&mut self, rows: &[usize]) -> Result<Runner<T>, Error> {
        self.replay();
        let mut runner = Runner::with_config(&around(&self.model), rows.len().max(1))?;
        for (place, row) in rows.iter().enumerate() {
            // With what a fresh controller has.
            let mut arrays = runner.save_row(place);
            self.memories[*row].save(&mut arrays);
            runner.load_row(place, arrays)?;
        }
        Ok(runner)
    }

    /// Memories of their own, as those of the first rows of such a runner are.
    fn of(model: &Model, runner: &mut Runner<T>, rows: usize, idle: &Weak<Idle<T>>) -> Result<Self, Error> {
        let mut memories = Self::new(model, &idle.upgrade().unwrap_or_default(), rows)?;
        memories.idle = idle.clone();
        for (row, memory) in memories.memories.iter_mut().enumerate() {
            memory.load(&mut runner.save_row(row))?;
        }
        Ok(memories)
    }
}

/// The smallest network around a memory.
fn around(model: &Model) -> NetworkConfig {
    NetworkConfig::new(1, 0).with_hidden_size(1).with_memory(model.clone())
}

/// Shares rows out over the threads, if they are worth the while.
fn share<V: Send>(rows: Vec<V>, run: impl Fn(V) + Send + Sync) {
    let workers = threads::latest();
    if rows.len() <= ON_ONE_THREAD || workers.is_alone() {
        rows.into_iter().for_each(run);
    } else {
        workers.install(|| rows.into_par_iter().with_min_len(ON_ONE_THREAD).for_each(run));
    }
}

impl<T> Moment<T> {
    /// The first moment of some memories.
    fn new(memories: Memories<T>) -> Self {
        let rows = memories.memories.len();
        Self { memories: Arc::new(Mutex::new(memories)), rows, moves: 0 }
    }

    /// Lets `look` use the memories as they stand, if this is still their latest moment, and it stays that.
    fn look<R>(&self, look: impl FnOnce(&mut Memories<T>) -> R) -> Option<R> {
        let mut memories = self.memories.lock().ok().filter(|memories| memories.moves == self.moves)?;
        Some(look(&mut memories))
    }

    /// Lets `go` use the memories, if this is still their latest moment.
    fn go_on<R>(&self, go: impl FnOnce(&mut Memories<T>) -> R) -> Option<(Self, R)> {
        // Memories in which a panic happened are not gone on with.
        let mut memories = self.memories.lock().ok().filter(|memories| memories.moves == self.moves)?;
        let gone = go(&mut memories);
        memories.moves += 1;
        Some((Self { memories: Arc::clone(&self.memories), rows: self.rows, moves: memories.moves }, gone))
    }
}

fn moved_on() -> PyErr {
    PyRuntimeError::new_err(MOVED_ON)
}

#[pymethods]
impl Memory {
    /// `config` is a memory's configuration as JSON; `double` chooses double precision.
    #[new]
    fn new(config: &str, double: bool) -> PyResult<Self> {
        let model: Model = serde_json::from_str(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        model.validate().map_err(exception)?;
        Ok(Self { model, idle: if double { Either::Double(Arc::default()) } else { Either::Single(Arc::default()) } })
    }

    /// Length of an interface vector.
    fn interface_len(&self) -> usize {
        self.model.interface_len()
    }

    /// Length of what a step reads.
    fn read_len(&self) -> usize {
        self.model.read_len()
    }

    /// Empty memories for `rows` sequences.
    fn start(&self, py: Python<'_>, rows: usize) -> PyResult<MemoryState> {
        each!(&self.idle, idle => {
            let memories = py.detach(|| Memories::new(&self.model, idle, rows)).map_err(exception)?;
            Ok(Number::memory_state(Moment::new(memories)))
        })
    }

    /// The state of a file that `MemoryState.save` wrote.
    fn load(&self, py: Python<'_>, path: PathBuf) -> PyResult<MemoryState> {
        let state = each!(&self.idle, idle => {
            let load = || {
                let mut runner = sparsam::state::load(&path, &around(&self.model))?;
                let rows = runner.rows();
                Memories::of(&self.model, &mut runner, rows, &Arc::downgrade(idle))
            };
            Number::memory_state(Moment::new(py.detach(load).map_err(exception)?))
        });
        warn(py)?;
        Ok(state)
    }

    /// The state that `MemoryState.bytes` gave.
    fn restore(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<MemoryState> {
        each!(&self.idle, idle => {
            let restore = || {
                if bytes.is_empty() {
                    return Memories::new(&self.model, idle, 0);
                }
                let mut runner = sparsam::state::from_bytes(bytes, &around(&self.model))?;
                let rows = runner.rows();
                Memories::of(&self.model, &mut runner, rows, &Arc::downgrade(idle))
            };
            Ok(Number::memory_state(Moment::new(py.detach(restore).map_err(exception)?)))
        })
    }
}

impl MemoryState {
    /// The rows that are named, or all.
    fn named(&self, given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<usize>> {
        let count = each!(&self.0, moment => moment.rows);
        given.map_or_else(|| Ok((0..count).collect()), |given| rows("rows", given, count))
    }
}

#[pymethods]
impl MemoryState {
    /// Sequences in the batch.
    #[getter]
    fn rows(&self) -> usize {
        each!(&self.0, moment => moment.rows)
    }

    /// Whether no later call was given this state.
    #[getter]
    fn is_current(&self) -> bool {
        each!(&self.0, moment => lock(&moment.memories).moves == moment.moves)
    }

    /// Writes, then reads, in every row: what was read, the state to go on from, and with `record` the step. Rows for which
    /// `starts`, B booleans, is true are as new before it; `threads` says how many there may be unless the environment does.
    fn step<'py>(
        &self,
        py: Python<'py>,
        interface: Bound<'py, PyAny>,
        starts: Option<Bound<'py, PyAny>>,
        record: bool,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyAny>, Self, Option<MemoryStep>)> {
        fn step<'py, T: Number>(
            py: Python<'py>,
            moment: &Moment<T>,
            interface: &Bound<'py, PyAny>,
            starts: Option<&[bool]>,
            record: bool,
        ) -> PyResult<(Bound<'py, PyAny>, MemoryState, Option<MemoryStep>)> {
            let interface = read::<T>("interface", interface)?;
            let (width, read_len) = {
                let memories = lock(&moment.memories);
                (memories.interface_len, memories.read_len)
            };
            expect_shape("interface", interface.shape(), &[moment.rows, width], "B, P")?;
            let vectors = numbers(&interface)?;
            let (next, (numbers, episode, place)) = py
                .detach(|| {
                    moment.go_on(|memories| {
                        let numbers = memories.step(vectors, starts, record);
                        (numbers, memories.episode, memories.position.saturating_sub(1))
                    })
                })
                .ok_or_else(moved_on)?;
            let step = record.then(|| StepOf { memories: Arc::clone(&moment.memories), episode, place });
            let numbers = give(py, numbers, &[moment.rows, read_len])?.into_any();
            Ok((numbers, T::memory_state(next), step.map(T::memory_step)))
        }
        let starts = match &starts {
            None => None,
            Some(starts) => {
                let starts = read::<bool>("starts", starts)?;
                expect_shape("starts", starts.shape(), &[self.rows()], "B")?;
                Some(numbers(&starts)?.to_vec())
            }
        };
        if self.rows() > ON_ONE_THREAD {
            threads::prepare(threads)?;
        }
        each!(&self.0, moment => step(py, moment, &interface, starts.as_deref(), record))
    }

    /// The state with an empty tape: gradients stop here.
    fn detach(&self, py: Python<'_>) -> PyResult<Self> {
        each!(&self.0, moment => {
            let (next, ()) = py.detach(|| moment.go_on(Memories::end_episode)).ok_or_else(moved_on)?;
            Ok(Number::memory_state(next))
        })
    }

    /// A state with memories of its own, whose rows are copies of these, in this order; all rows if none are named. This
    /// state stays as it is, and so does its tape.
    #[pyo3(signature = (rows=None))]
    fn select(&self, py: Python<'_>, rows: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        let chosen = self.named(rows.as_ref())?;
        each!(&self.0, moment => {
            let select = |memories: &mut Memories<_>| {
                let mut runner = memories.copy(&chosen)?;
                Memories::of(&memories.model, &mut runner, chosen.len(), &memories.idle)
            };
            let copies = py.detach(|| moment.look(select)).ok_or_else(moved_on)?;
            Ok(Number::memory_state(Moment::new(copies.map_err(exception)?)))
        })
    }

    /// Writes the state to a safetensors file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        if self.rows() == 0 {
            return Err(PyValueError::new_err("a state without rows is not kept in a file"));
        }
        let all = self.named(None)?;
        each!(&self.0, moment => {
            let save = |memories: &mut Memories<_>| sparsam::state::save(&path, &mut memories.copy(&all)?);
            py.detach(|| moment.look(save)).ok_or_else(moved_on)?.map_err(exception)?;
        });
        warn(py)
    }

    /// What `Memory.restore` makes the state of again; nothing for one without rows.
    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        if self.rows() == 0 {
            return Ok(PyBytes::new(py, &[]));
        }
        let all = self.named(None)?;
        let bytes = each!(&self.0, moment => {
            let bytes = |memories: &mut Memories<_>| sparsam::state::to_bytes(&mut memories.copy(&all)?);
            py.detach(|| moment.look(bytes)).ok_or_else(moved_on)?.map_err(exception)?
        });
        Ok(PyBytes::new(py, &bytes))
    }

    /// Whether its numbers are of double precision.
    #[getter]
    fn is_double(&self) -> bool {
        matches!(self.0, Either::Double(_))
    }

    /// The state with these rows empty, and with an empty tape; all rows if none are named.
    #[pyo3(signature = (rows=None))]
    fn reset(&self, py: Python<'_>, rows: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        let rows = self.named(rows.as_ref())?;
        each!(&self.0, moment => {
            let reset = |memories: &mut Memories<_>| {
                memories.end_episode();
                rows.iter().for_each(|row| memories.memories[*row].reset());
            };
            let (next, ()) = py.detach(|| moment.go_on(reset)).ok_or_else(moved_on)?;
            Ok(Number::memory_state(next))
        })
    }
}

#[pymethods]
impl MemoryStep {
    /// The gradient of the step's interface, from that of what it read (zero if none is given). Steps after it that are
    /// still in force are undone first, as steps whose reads had no gradient; with `afresh`, whatever came back from
    /// later steps before is forgotten.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        read_gradient: Option<Bound<'py, PyAny>>,
        afresh: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        fn backward<'py, T: Number>(
            py: Python<'py>,
            step: &StepOf<T>,
            read_gradient: Option<Bound<'py, PyAny>>,
            afresh: bool,
        ) -> PyResult<Bound<'py, PyAny>> {
            let (rows, read_len, interface_len) = {
                let memories = lock(&step.memories);
                (memories.memories.len(), memories.read_len, memories.interface_len)
            };
            let array = read_gradient.as_ref().map(|array| read::<T>("read_gradient", array)).transpose()?;
            let zeros = vec![T::ZERO; rows * read_len];
            let mut gradient = &zeros[..];
            if let Some(array) = &array {
                expect_shape("read_gradient", array.shape(), &[rows, read_len], "the shape of what was read")?;
                gradient = numbers(array)?;
            }
            let back = py.detach(|| {
                let mut memories = step.memories.lock().map_err(|_| TOO_LATE)?;
                if memories.episode != step.episode {
                    return Err(TOO_LATE);
                }
                if afresh {
                    memories.replay();
                    while memories.position > step.place + 1 {
                        memories.step_back(&zeros);
                    }
                }
                if memories.position != step.place + 1 {
                    return Err(
                        "backward goes through the steps of a memory from the last to the first, in one thread",
                    );
                }
                Ok(memories.step_back(gradient))
            });
            let back = back.map_err(PyRuntimeError::new_err)?;
            Ok(give(py, back, &[rows, interface_len])?.into_any())
        }
        if each!(&self.0, step => lock(&step.memories).memories.len()) > ON_ONE_THREAD {
            threads::prepare(threads)?;
        }
        each!(&self.0, step => backward(py, step, read_gradient, afresh))
    }
}

const TOO_LATE: &str = "backward comes too late: the memory's state was detached or reset since, or went through a step without \
                        gradients; go back before that";
