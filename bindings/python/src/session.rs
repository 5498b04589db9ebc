//! Runners in the hands of Python: who may go on with one, who may go back through it, and where it goes afterwards.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sparsam::{Error, Network, NetworkConfig, Parameters, Real, Runner};

use crate::threads;

/// Runners that wait to be used again. A fresh one would have to ask the system for its memory page after page.
type Idle<T> = Mutex<Vec<Runner<T>>>;

/// Idle runners kept: one to train with and one to evaluate with.
pub const MOST_IDLE: usize = 2;

/// What is said of a state that somebody else went on from.
pub const MOVED_ON: &str =
    "state has moved on: a later call was given it already; use the state that this call returned";

/// A network whose parameters come with each call, and the runners that wait for the next one.
pub struct Handle<T: Real> {
    network: Mutex<Arc<Network<T>>>,
    idle: Arc<Idle<T>>,
}

impl<T: Real> Handle<T> {
    /// A network of a configuration.
    ///
    /// # Errors
    /// As [`Network::from_parameters`].
    pub fn new(config: NetworkConfig) -> Result<Self, Error> {
        config.validate()?;
        let parameters = Parameters::zeros(config.tensors());
        Ok(Self {
            network: Mutex::new(Arc::new(Network::from_parameters(config, parameters)?)),
            idle: Arc::new(Mutex::new(Vec::new())),
        })
    }

    /// The network with the parameters of the latest call.
    pub fn network(&self) -> Arc<Network<T>> {
        Arc::clone(&lock(&self.network))
    }

    /// The network with these parameters, one slice for each tensor.
    pub fn with_parameters(&self, tensors: &[&[T]]) -> Arc<Network<T>> {
        let mut network = lock(&self.network);
        let mut rest = network.parameters().values();
        let unchanged = tensors.iter().all(|tensor| {
            let (now, after) = rest.split_at(tensor.len());
            rest = after;
            now == *tensor
        });
        // Most calls of an evaluation bring the parameters of the call before; those need no new layout.
        if !unchanged {
            // A tape keeps the parameters that it was made with.
            let mut rest = Arc::make_mut(&mut network).parameters_mut().values_mut();
            for tensor in tensors {
                let (now, after) = rest.split_at_mut(tensor.len());
                now.copy_from_slice(tensor);
                rest = after;
            }
        }
        Arc::clone(&network)
    }

    /// Fresh memories and controllers for `rows` sequences.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn start(&self, rows: usize) -> Result<Handhold<T>, Error> {
        let held = rows.max(1);
        let waiting = {
            let mut idle = lock(&self.idle);
            idle.iter().position(|runner| runner.rows() == held).map(|place| idle.remove(place))
        };
        let runner = match waiting {
            Some(mut runner) => {
                runner.reset();
                runner
            }
            None => Runner::new(&self.network(), held)?,
        };
        Ok(Handhold::new(runner, rows, Arc::downgrade(&self.idle)))
    }

    /// The state of a file.
    ///
    /// # Errors
    /// As [`sparsam::state::load`].
    pub fn load(&self, path: &Path) -> Result<Handhold<T>, Error> {
        let runner = sparsam::state::load(path, self.network().config())?;
        let rows = runner.rows();
        Ok(Handhold::new(runner, rows, Arc::downgrade(&self.idle)))
    }
}

/// A runner that states and tapes share. For a batch without rows, which no runner has, it has one of a single row that is
/// never run.
struct Session<T: Real> {
    live: Mutex<Live<T>>,
    config: NetworkConfig,
    rows: usize,
    idle: Weak<Idle<T>>,
}

struct Live<T: Real> {
    /// Taken out only when the session ends.
    runner: Option<Runner<T>>,
    /// How often its state moved on.
    moves: u64,
    /// How often its tape was emptied.
    episode: u64,
}

impl<T: Real> Drop for Session<T> {
    fn drop(&mut self) {
        // After a panic nobody knows what state it is in.
        let (Some(idle), Ok(live)) = (self.idle.upgrade(), self.live.get_mut()) else { return };
        let mut idle = lock(&idle);
        if let Some(runner) = live.runner.take() {
            idle.truncate(MOST_IDLE - 1);
            idle.insert(0, runner);
        }
    }
}

/// A moment in the life of a session. Only who holds the latest may go on.
pub struct Handhold<T: Real> {
    session: Arc<Session<T>>,
    moves: u64,
}

impl<T: Real> Clone for Handhold<T> {
    fn clone(&self) -> Self {
        Self { session: Arc::clone(&self.session), moves: self.moves }
    }
}

/// A call on the tape of a session.
#[derive(Clone, Copy)]
pub struct Place {
    episode: u64,
    /// Calls before it.
    before: usize,
}

/// Why a moment cannot be gone on from, or back from.
pub enum Refusal {
    /// The session has moved on.
    MovedOn,
    /// The call after was gone back through, but not just before.
    OutOfOrder,
    /// What the library says.
    Library(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl<T: Real> Handhold<T> {
    /// The first moment of a runner of so many rows, which joins the idle ones at the end, if these are still there.
    fn new(runner: Runner<T>, rows: usize, idle: Weak<Idle<T>>) -> Self {
        let config = runner.config().clone();
        let live = Live { runner: Some(runner), moves: 0, episode: 0 };
        Self { session: Arc::new(Session { live: Mutex::new(live), config, rows, idle }), moves: 0 }
    }

    /// The bytes that hold the state; none for one without rows.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`], or as [`sparsam::state::to_bytes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        self.look(|runner| if self.rows() == 0 { Ok(Vec::new()) } else { sparsam::state::to_bytes(runner) })
    }

    /// The state that bytes hold.
    ///
    /// # Errors
    /// As [`sparsam::state::from_bytes`].
    pub fn from_bytes(bytes: &[u8], config: &NetworkConfig) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self::new(Runner::with_config(config, 1)?, 0, Weak::new()));
        }
        let runner = sparsam::state::from_bytes(bytes, config)?;
        let rows = runner.rows();
        Ok(Self::new(runner, rows, Weak::new()))
    }

    /// Writes the state to a file.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`], or as [`sparsam::state::save`]; a state without rows is refused.
    pub fn save(&self, path: &Path) -> Result<(), Refusal> {
        self.look(|runner| match self.rows() {
            0 => {
                let reason = "a state without rows is not kept in a file".into();
                Err(Error::Config { field: "rows", value: "0".into(), reason })
            }
            _ => sparsam::state::save(path, runner),
        })
    }

    /// A state of its own whose rows are those named of this one, which stays as it is.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`], or [`Refusal::Library`] if there is no room for it or a number in it is not finite.
    pub fn select(&self, rows: &[usize]) -> Result<Self, Refusal> {
        let saved: Vec<_> = self.look(|runner| Ok(rows.iter().map(|row| runner.save_row(*row)).collect()))?;
        let mut runner = Runner::with_config(self.config(), rows.len().max(1))?;
        for (row, saved) in saved.into_iter().enumerate() {
            runner.load_row(row, saved)?;
        }
        Ok(Self::new(runner, rows.len(), self.session.idle.clone()))
    }

    /// Sequences that are run side by side.
    pub fn rows(&self) -> usize {
        self.session.rows
    }

    /// What the network that it was made for is.
    pub fn config(&self) -> &NetworkConfig {
        &self.session.config
    }

    /// Whether this is still the latest moment.
    pub fn is_current(&self) -> bool {
        lock(&self.session.live).moves == self.moves
    }

    /// Uses the runner, in the state of this moment; the session moves on to the moment returned if that works, with the
    /// latest call on the tape then, and what `go` gave. What `go` does empties the tape unless it `keeps` it.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`], or what `go` says.
    pub fn go_on<R>(
        &self,
        keeps: bool,
        go: impl FnOnce(&mut Runner<T>) -> Result<R, Error>,
    ) -> Result<(Self, Place, R), Refusal> {
        let mut live = self.latest()?;
        let runner = live.runner.as_mut().ok_or(Refusal::MovedOn)?;
        runner.use_workers(threads::latest());
        runner.replay();
        let gone = go(runner)?;
        let calls = runner.calls();
        // A call that was ended halfway left no tape.
        let kept = keeps && (self.rows() == 0 || calls > 0);
        live.moves += 1;
        live.episode += u64::from(!kept);
        let place = Place { episode: live.episode, before: calls.saturating_sub(1) };
        Ok((Self { session: Arc::clone(&self.session), moves: live.moves }, place, gone))
    }

    /// The same moment for somebody else: who has this one cannot go on any more.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`].
    pub fn hand_over(&self) -> Result<Self, Refusal> {
        let mut live = self.latest()?;
        live.moves += 1;
        Ok(Self { session: Arc::clone(&self.session), moves: live.moves })
    }

    /// Uses the runner to go back through a call on the tape; `go` is told how many calls are in force up to the end of it. If
    /// gradients came `back` from the call after it, that was gone back through just before. Else the calls after it are in
    /// force as well: they are to be undone.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`] if the call is not on the tape any more, [`Refusal::OutOfOrder`], or what `go` says.
    pub fn go_back(
        &self,
        place: Place,
        back: bool,
        go: impl FnOnce(&mut Runner<T>, usize) -> Result<(), Error>,
    ) -> Result<(), Refusal> {
        // A session in which a panic happened is not gone back through.
        let mut live = self.session.live.lock().map_err(|_| Refusal::MovedOn)?;
        if live.episode != place.episode {
            return Err(Refusal::MovedOn);
        }
        if self.rows() == 0 {
            return Ok(());
        }
        let runner = live.runner.as_mut().ok_or(Refusal::MovedOn)?;
        runner.use_workers(threads::latest());
        if !back {
            runner.replay();
        } else if runner.calls() != place.before + 1 {
            return Err(Refusal::OutOfOrder);
        }
        Ok(go(runner, place.before + 1)?)
    }

    /// Looks at the runner in the state of this moment, which stays the latest one.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`], or what `look` says.
    pub fn look<R>(&self, look: impl FnOnce(&mut Runner<T>) -> Result<R, Error>) -> Result<R, Refusal> {
        let mut live = self.latest()?;
        let runner = live.runner.as_mut().ok_or(Refusal::MovedOn)?;
        runner.use_workers(threads::latest());
        runner.replay();
        Ok(look(runner)?)
    }

    fn latest(&self) -> Result<MutexGuard<'_, Live<T>>, Refusal> {
        // A session in which a panic happened is not gone on with.
        let live = self.session.live.lock().map_err(|_| Refusal::MovedOn)?;
        if live.moves == self.moves { Ok(live) } else { Err(Refusal::MovedOn) }
    }
}

/// The lists behind these locks are whole at every moment, whatever panicked.
pub fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
