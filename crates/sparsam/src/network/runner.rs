use std::ops::Range;
use std::time::Duration;

use super::parameters::check_tensors;
use super::pieces::{Listener, each_piece};
use super::shard::{BLOCK, PackedWeights, Passes, Place, SHARD_ROWS, Shard};
use super::{Network, NetworkConfig, Parameters, Sequences};
use crate::index::Misses;
use crate::system::available_if_fewer_than;
use crate::system::threads::Workers;
use crate::{Arrays, Error, Real};

/// Runs a network over batches of sequences. Each row of the batch has a memory and a controller state of its own,
/// which are kept from call to call.
///
/// ```
/// use sparsam::{Network, NetworkConfig, Runner, state};
///
/// # fn main() -> Result<(), sparsam::Error> {
/// let network = Network::<f32>::new(NetworkConfig::new(3, 2).with_hidden_size(16), 1)?;
/// let mut runner = Runner::new(&network, 1)?;
///
/// // A stream: one time step at a time; what was stored is kept.
/// let mut output = [0.0; 2];
/// for step in 0..10 {
///     runner.infer(&network, &[step as f32, 0.5, -0.5], &[1], &mut output)?;
/// }
///
/// // Another runner continues from the saved state.
/// let bytes = state::to_bytes(&mut runner)?;
/// let mut other = state::from_bytes::<f32>(&bytes, network.config())?;
/// let mut again = [0.0; 2];
/// runner.infer(&network, &[1.0; 3], &[1], &mut output)?;
/// other.infer(&network, &[1.0; 3], &[1], &mut again)?;
/// assert_eq!(output, again);
/// # Ok(())
/// # }
/// ```
///
/// # What is kept, cleared and restored, and when
///
/// | call | the state it starts from | the state it leaves |
/// |---|---|---|
/// | [`new`](Self::new), [`reset`](Self::reset), [`reset_row`](Self::reset_row) | | everything as it was made |
/// | [`fill`](Self::fill) | | everything as it was made, but with words stored in every memory |
/// | [`forward`](Self::forward) | the one that stands | the one after the last step; all steps on the tape |
/// | [`backward`](Self::backward) | the one that `forward` left | the one that `forward` started from, bit for bit |
/// | [`undo`](Self::undo) | the one that `forward` left | the one that `forward` started from, bit for bit |
/// | [`replay`](Self::replay) | the one that `backward` or `undo` left | the one that `forward` had left, bit for bit |
/// | [`detach`](Self::detach) | the one that stands | the same; no tape |
/// | [`infer`](Self::infer) | the one that stands | the one after the last step; no tape |
/// | [`trace`](Self::trace) | the one that stands | the one after the last step; no tape |
/// | [`save_row`](Self::save_row) | the one that stands | the same |
/// | [`load_row`](Self::load_row) | | in one row the one that was saved, in the others the one that stood; no tape |
///
/// So `forward`, `backward`, `forward`, … trains every batch from the same (empty) memory; `forward`, `backward`,
/// `replay`, `forward`, … carries the memory from batch to batch, and gradients stop between them, unless
/// [`carry_gradients`](Self::carry_gradients) lets them pass. `infer` with one time
/// step at a time is a stream, whose memory use is constant beyond the words it stores.
///
/// Sequences of different lengths may share a batch: past its length a row keeps its state, its outputs are zero, it
/// passes no gradient, and its inputs do not matter. [`Sequences`] may also say where rows start anew within a sequence.
///
/// The threads of the current rayon pool share the work; results do not depend on their number.
pub struct Runner<T: Real> {
    shards: Vec<Shard<T>>,
    config: NetworkConfig,
    rows: usize,
    weights: PackedWeights<T>,
    passes: &'static Passes<T>,
    /// Version of the network whose weights are packed.
    version: u64,
    gradients: Vec<Parameters<T>>,
    /// Steps of each row's longest sequence that was on the tape: as many are allocated.
    taped: Vec<usize>,
    /// Whether `forward` keeps the tape of the calls before it.
    carries: bool,
    /// The calls on the tape, in the order of time.
    calls: Vec<Call>,
    /// How many of them are in force; those after it were undone.
    in_force: usize,
    /// The gradients that the latest of these has to start with are there: those of the state at its end.
    carried: bool,
    /// Asked whether a long call goes on.
    listener: Option<Listener>,
    workers: Workers,
}

/// A call on the tape.
struct Call {
    /// Time steps given to it.
    steps: usize,
    /// Version of the network that ran.
    version: u64,
    /// Steps and restarts of each row on the tape up to its end.
    held: Vec<usize>,
}

impl<T: Real> Runner<T> {
    /// Fresh memories and controller states for `rows` sequences.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`], [`Error::MemoryDoesNotFit`] or [`Error::MappingRefused`] if the memories do not fit;
    /// [`Error::Config`] if `rows` is 0, or so large that no memory fits.
    pub fn new(network: &Network<T>, rows: usize) -> Result<Self, Error> {
        Self::with_config(network.config(), rows)
    }

    /// As [`new`](Self::new), from the configuration alone.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Config`] if no network can have the configuration.
    pub fn with_config(config: &NetworkConfig, rows: usize) -> Result<Self, Error> {
        config.validate()?;
        if rows == 0 {
            let reason = "a batch has at least one sequence".into();
            return Err(Error::Config { field: "rows", value: "0".into(), reason });
        }
        config.check_memories::<T>(rows)?;
        let passes = Passes::get();
        let shards = (0..rows)
            .step_by(SHARD_ROWS)
            .map(|first| (passes.shard)(config, SHARD_ROWS.min(rows - first)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shards,
            config: config.clone(),
            rows,
            weights: (passes.weights)(config),
            passes,
            version: 0,
            gradients: Vec::new(),
            taped: vec![0; rows],
            carries: false,
            calls: Vec::new(),
            in_force: 0,
            carried: false,
            listener: None,
            workers: Workers::default(),
        })
    }

    /// The configuration of the networks that it runs.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Lets `go_on` say, some ten times a second, whether a long call goes on: it is asked between time steps, on the
    /// thread of the call, and no number depends on it. Once it says no, the call ends with [`Error::Interrupted`];
    /// what holds then is said there. `None` lets all calls run to their end, as at first.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use sparsam::{Error, Network, NetworkConfig, Runner};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let network = Network::<f32>::new(NetworkConfig::new(1, 1), 1)?;
    /// let mut runner = Runner::new(&network, 1)?;
    /// let end = Instant::now() + Duration::from_millis(300);
    /// runner.listen(Some(Box::new(move || Instant::now() < end)));
    ///
    /// let stream = vec![0.5; 1_000_000];
    /// let mut outputs = vec![0.0; stream.len()];
    /// match runner.infer(&network, &stream, &[stream.len()], &mut outputs) {
    ///     Err(Error::Interrupted { steps }) => assert!(steps < stream.len()),
    ///     other => other?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(&mut self, go_on: Option<Box<dyn FnMut() -> bool + Send>>) {
        self.listener = go_on;
    }

    /// Whether gradients are carried from call to call from now on. At first they are not: a [`forward`](Self::forward) takes
    /// the place of the one before it on the tape.
    ///
    /// With `carry`, `forward` keeps the calls before it on the tape, and each [`backward`](Self::backward) is the backward pass of
    /// one of them, the latest first. It begins with the gradient of the state that the call after it started from, its
    /// controllers' and its memories'. k calls over pieces of a sequence so have the gradients of one call over the
    /// whole. The tape grows until [`detach`](Self::detach), or any call but `forward`, empties it. A call with a loss of zero
    /// can be passed over by [`undo`](Self::undo).
    ///
    /// ```
    /// use sparsam::{Network, NetworkConfig, Runner};
    ///
    /// # fn main() -> Result<(), sparsam::Error> {
    /// let network = Network::<f64>::new(NetworkConfig::new(1, 1).with_hidden_size(8), 1)?;
    /// let (inputs, mut outputs) = ([0.1, 0.7, 0.3, 0.9, 0.5, 0.2], [0.0; 6]);
    ///
    /// // One call over six steps, whose loss is the sum of the outputs.
    /// let mut whole = Runner::new(&network, 1)?;
    /// whole.forward(&network, &inputs, &[6], &mut outputs)?;
    /// let mut expected = network.zeros();
    /// whole.backward(&network, &[1.0; 6], &mut expected, None)?;
    ///
    /// // Three calls over two steps each.
    /// let mut runner = Runner::new(&network, 1)?;
    /// runner.carry_gradients(true);
    /// for piece in inputs.chunks(2) {
    ///     runner.forward(&network, piece, &[2], &mut outputs[..2])?;
    /// }
    /// let mut gradients = network.zeros();
    /// while runner.calls() > 0 {
    ///     runner.backward(&network, &[1.0; 2], &mut gradients, None)?;
    /// }
    /// for (one, other) in gradients.values().iter().zip(expected.values()) {
    ///     assert!((one - other).abs() < 1e-12);
    /// }
    ///
    /// // On to the next pieces, and gradients to them alone.
    /// runner.replay();
    /// runner.detach();
    /// # Ok(())
    /// # }
    /// ```
    pub fn carry_gradients(&mut self, carry: bool) {
        self.carries = carry;
    }

    /// Who shares the work from now on, instead of the current rayon pool.
    #[doc(hidden)]
    pub fn use_workers(&mut self, workers: Workers) {
        self.workers = workers;
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Resets every row: its memory and controller state are as new.
    pub fn reset(&mut self) {
        for row in 0..self.rows {
            self.reset_row(row);
        }
    }

    /// Resets every row, and then stores every word of its memory: `content` is given a row and the number of one of its
    /// words, and writes the elements of that word. Rows are filled in parallel. A network without a memory is only reset.
    pub fn fill(&mut self, content: impl Fn(usize, usize, &mut [T]) + Sync) {
        self.reset();
        self.workers.for_each(&mut self.shards, |number, shard| {
            shard.fill(|row, word, numbers| content(number * SHARD_ROWS + row, word, numbers));
        });
    }

    /// Resets one row. The others keep their state; no row has a tape any more.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn reset_row(&mut self, row: usize) {
        self.detach();
        self.shards[row / SHARD_ROWS].reset_row(row % SHARD_ROWS);
    }

    /// Words of a row's memory written to or cleared since it was as new, a word counted once; none of a network without a
    /// memory, or whose memory has a place for every word from the start.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn words_written(&mut self, row: usize) -> Option<usize> {
        self.shards[row / SHARD_ROWS].memories().get_mut(row % SHARD_ROWS)?.words_written()
    }

    /// From now on, what the memories' searches for similar words take is summed up. That is two looks at the clock a step.
    pub fn time_searches(&mut self) {
        self.shards.iter_mut().flat_map(Shard::memories).for_each(|memory| memory.time_searches());
    }

    /// What searches took since [`time_searches`](Self::time_searches), in all rows together.
    pub fn search_time(&mut self) -> Duration {
        self.shards.iter_mut().flat_map(Shard::memories).map(|memory| memory.search_time()).sum()
    }

    /// From now on every search of the memories is followed by an exact one, which says what it missed and changes nothing:
    /// whether an index or the network is at fault. A search then takes as long as all written words take, its time included, and
    /// written words are held once more.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] or [`Error::MappingRefused`] if there is no room for the other indexes.
    pub fn compare_searches(&mut self) -> Result<(), Error> {
        self.shards.iter_mut().flat_map(Shard::memories).try_for_each(|memory| memory.compare_searches())
    }

    /// What searches missed since [`compare_searches`](Self::compare_searches), in all rows together.
    pub fn search_misses(&mut self) -> Misses {
        self.shards.iter_mut().flat_map(Shard::memories).map(|memory| memory.search_misses()).sum()
    }

    /// The present state of a row's controller and memory, at the cost of the words written to it. Nothing changes, the tape
    /// included. See [`state`](crate::state) for files.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn save_row(&mut self, row: usize) -> Arrays<T> {
        let mut arrays = Arrays::default();
        self.shards[row / SHARD_ROWS].save_row(row % SHARD_ROWS, &mut arrays);
        arrays
    }

    /// Restores a row that [`save_row`](Self::save_row) saved, from this runner or another of the same configuration. The other
    /// rows keep their state; no row has a tape any more. [`Memory::load`](crate::memory::Memory::load) says what is then the
    /// same to the bit.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit; the row is then reset.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn load_row(&mut self, row: usize, mut arrays: Arrays<T>) -> Result<(), Error> {
        self.detach();
        self.shards[row / SHARD_ROWS].load_row(row % SHARD_ROWS, &mut arrays)
    }

    /// Keeps the state that stands, without a tape: no later [`backward`](Self::backward) reaches the calls before.
    pub fn detach(&mut self) {
        self.forget_calls();
        for shard in &mut self.shards {
            shard.start_episode();
        }
    }

    /// Runs the network over sequences and keeps a tape for [`backward`](Self::backward).
    ///
    /// `inputs` has T × rows × I elements (time-major: time step after time step, in each row after row; of a network of tokens
    /// T × rows, their numbers, or T × rows × J, those of [sentences](super::NetworkConfig::with_sentences)), `lengths` the length of each row's sequence, at most T. The outputs are written to `outputs`,
    /// T × rows × O elements, where O is
    /// [`output_len`](super::NetworkConfig::output_len).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Length`], [`Error::Token`] or [`Error::Sentence`] name the argument that does not fit; [`Error::TapeDoesNotFit`] if the
    /// tape exceeds the available memory. In either case nothing was run. [`Error::Interrupted`] comes only of
    /// [`listen`](Self::listen).
    pub fn forward(
        &mut self,
        network: &Network<T>,
        inputs: &[T],
        lengths: &[usize],
        outputs: &mut [T],
    ) -> Result<(), Error> {
        self.forward_sequences(network, Sequences::new(inputs, lengths), outputs)
    }

    /// As [`forward`](Self::forward), over sequences that may say where rows start anew.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_sequences(
        &mut self,
        network: &Network<T>,
        sequences: Sequences<'_, T>,
        outputs: &mut [T],
    ) -> Result<(), Error> {
        let steps = self.check_shapes(network, sequences, outputs)?;
        let kept = if self.carries { self.in_force } else { 0 };
        let held = kept.checked_sub(1).map_or_else(|| vec![0; self.rows], |last| self.calls[last].held.clone());
        self.check_tape(network, steps, sequences, (kept > 0).then_some(&held[..]))?;
        for ((taped, length), held) in self.taped.iter_mut().zip(sequences.lengths).zip(&held) {
            *taped = (*taped).max(length + held);
        }
        self.pack(network);
        self.calls.truncate(kept);
        let of_rows = (0..self.rows).map(|row| sequences.lengths[row] + sequences.starts_of(row));
        let held = of_rows.zip(&held).map(|(of_row, held)| of_row + held).collect();
        self.calls.push(Call { steps, version: network.version, held });
        (self.in_force, self.carried) = (self.calls.len(), false);
        let (Passes { prepare, advance, finish, .. }, weights, parameters) =
            (self.passes, &self.weights, network.parameters());
        let batch = self.rows;
        let prepare = |number: usize, shard: &mut Shard<T>| {
            let place = Place { first_row: number * SHARD_ROWS, batch };
            prepare(shard, weights, parameters, sequences, place, kept > 0);
        };
        let mut run = steps;
        if self.listener.is_none() {
            self.workers.for_each(&mut self.shards, |number, shard| {
                prepare(number, shard);
                advance(shard, weights, parameters, 0..steps);
                finish(shard, parameters);
            });
        } else {
            let (shards, workers) = (&mut self.shards, &self.workers);
            workers.for_each(shards, prepare);
            run = each_piece(self.listener.as_mut(), steps, 1, |piece| {
                workers.for_each(shards, |_, shard| advance(shard, weights, parameters, piece.clone()));
                Ok(())
            })?;
            workers.for_each(shards, |_, shard| finish(shard, parameters));
        }
        self.end_run(run, steps, outputs)
    }

    /// Runs the network over sequences without a tape: for evaluation and for streams. Arguments and errors are those
    /// of [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn infer(
        &mut self,
        network: &Network<T>,
        inputs: &[T],
        lengths: &[usize],
        outputs: &mut [T],
    ) -> Result<(), Error> {
        self.infer_sequences(network, Sequences::new(inputs, lengths), outputs)
    }

    /// As [`infer`](Self::infer), over sequences that may say where rows start anew.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn infer_sequences(
        &mut self,
        network: &Network<T>,
        sequences: Sequences<'_, T>,
        outputs: &mut [T],
    ) -> Result<(), Error> {
        let steps = self.check_shapes(network, sequences, outputs)?;
        // Nothing but the outputs grows with the steps.
        let held: usize = self.shards.iter().map(Shard::held_outputs).sum();
        check_room(steps, (outputs.len().saturating_sub(held) * size_of::<T>()) as u128)?;
        self.start_run(network, sequences, outputs)?;
        let (infer, weights, parameters, batch) = (self.passes.infer, &self.weights, network.parameters(), self.rows);
        let (of_inputs, of_outputs) = (batch * self.config.input_len(), batch * self.config.output_len());
        let (shards, workers) = (&mut self.shards, &self.workers);
        // Cut where it is cut anyway, a run gives the same numbers to the bit.
        let run = each_piece(self.listener.as_mut(), steps, BLOCK, |piece| {
            let inputs = &sequences.inputs[piece.start * of_inputs..piece.end * of_inputs];
            let outputs = &mut outputs[piece.start * of_outputs..piece.end * of_outputs];
            let left = |length: &usize| length.saturating_sub(piece.start).min(piece.len());
            let lengths: Vec<usize> = sequences.lengths.iter().map(left).collect();
            let starts = sequences.starts.map(|starts| &starts[piece.start * batch..piece.end * batch]);
            let part = Sequences { inputs, lengths: &lengths, starts, ..sequences };
            let place = |number: usize| Place { first_row: number * SHARD_ROWS, batch };
            workers.for_each(shards, |number, shard| infer(shard, weights, parameters, part, place(number)));
            shards.iter().enumerate().for_each(|(number, shard)| shard.write_outputs(place(number), outputs));
            Ok(())
        })?;
        if run < steps {
            outputs[run * of_outputs..].fill(T::ZERO);
            return Err(Error::Interrupted { steps: run });
        }
        Ok(())
    }

    /// Runs the network over sequences as [`infer`](Self::infer) does, and gives what every memory did at every step:
    /// arrays of shape T × rows × the shape that the memory's documentation names (see
    /// [`Memory::trace`](crate::memory::Memory::trace)), 0 or [`NO_WORD`](crate::NO_WORD) past a row's length. It is meant for
    /// inspection and is slower. A network without a memory gives no arrays, nor does a batch without a step.
    ///
    /// # Errors
    /// As [`infer`](Self::infer). If the arrays do not fit the available memory, the state is that after the first step.
    pub fn trace(
        &mut self,
        network: &Network<T>,
        inputs: &[T],
        lengths: &[usize],
        outputs: &mut [T],
    ) -> Result<Arrays<T>, Error> {
        self.trace_sequences(network, Sequences::new(inputs, lengths), outputs)
    }

    /// As [`trace`](Self::trace), over sequences that may say where rows start anew.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    pub fn trace_sequences(
        &mut self,
        network: &Network<T>,
        sequences: Sequences<'_, T>,
        outputs: &mut [T],
    ) -> Result<Arrays<T>, Error> {
        let steps = self.start_run(network, sequences, outputs)?;
        let (trace, weights, batch) = (self.passes.trace, &self.weights, self.rows);
        let (shards, mut all) = (&mut self.shards, Arrays::default());
        let run = each_piece(self.listener.as_mut(), steps, 1, |piece| {
            for step in piece {
                for (number, shard) in shards.iter_mut().enumerate() {
                    let place = Place { first_row: number * SHARD_ROWS, batch };
                    let mut traced = |row: usize, arrays: Arrays<T>| {
                        if all.iter().next().is_none() {
                            let shapes = arrays.iter().map(|(_, array)| array.shape());
                            let numbers: usize = shapes.map(|shape| shape.iter().product::<usize>()).sum();
                            check_room(steps, (steps * batch) as u128 * (numbers * size_of::<T>()) as u128)?;
                        }
                        for (name, array) in arrays.iter() {
                            all.put_part(name, &[steps, batch], step * batch + place.first_row + row, array);
                        }
                        Ok(())
                    };
                    trace(shard, weights, network.parameters(), sequences, place, step, &mut traced)?;
                }
            }
            Ok(())
        })?;
        self.end_run(run, steps, outputs)?;
        Ok(all)
    }

    fn start_run(&mut self, network: &Network<T>, sequences: Sequences<'_, T>, outputs: &[T]) -> Result<usize, Error> {
        let steps = self.check_shapes(network, sequences, outputs)?;
        self.pack(network);
        self.forget_calls();
        Ok(steps)
    }

    fn forget_calls(&mut self) {
        self.calls.clear();
        (self.in_force, self.carried) = (0, false);
    }

    /// Writes the outputs of the steps that were run; those of others are 0. If there are others, the state is the one
    /// after the steps that were run, and there is no tape.
    fn end_run(&mut self, run: usize, steps: usize, outputs: &mut [T]) -> Result<(), Error> {
        for (number, shard) in self.shards.iter().enumerate() {
            shard.write_outputs(Place { first_row: number * SHARD_ROWS, batch: self.rows }, outputs);
        }
        if run == steps {
            return Ok(());
        }
        outputs[run * self.rows * self.config.output_len()..].fill(T::ZERO);
        self.detach();
        Err(Error::Interrupted { steps: run })
    }

    /// The backward pass of the latest [`forward`](Self::forward) that is in force: adds the gradient of every parameter to
    /// `gradients`, writes the gradients of the inputs to `input_gradients` if given (T × rows × I; 0 for tokens, which have none),
    /// and restores, bit for bit, the state that `forward` started from. `output_gradients` has T × rows × O elements; past a
    /// row's length they count as 0.
    ///
    /// After a [`replay`](Self::replay) it is the backward pass of the same calls again, which costs another pass of the
    /// controllers forward.
    ///
    /// # Errors
    /// [`Error::Order`] if no call is in force; [`Error::Shape`] names the argument that does not fit, [`Error::Parameters`] the
    /// first tensor of `gradients` that does not. [`Error::Interrupted`] comes only of [`listen`](Self::listen): every call is
    /// then in force again, as after a [`replay`](Self::replay), and `gradients` hold what cannot be used.
    pub fn backward(
        &mut self,
        network: &Network<T>,
        output_gradients: &[T],
        gradients: &mut Parameters<T>,
        mut input_gradients: Option<&mut [T]>,
    ) -> Result<(), Error> {
        let Some(Call { steps, version, .. }) = self.calls[..self.in_force].last() else {
            return Err(Error::Order("backward needs a forward before it: there is no tape"));
        };
        let (steps, carried) = (*steps, self.carried);
        if *version != network.version {
            return Err(Error::Order(
                "backward needs the parameters that forward ran with; they were changed in between",
            ));
        }
        let batch = self.rows;
        expect_len("output_gradients", output_gradients.len(), steps, batch, self.config.output_len())?;
        if let Some(gradients) = &input_gradients {
            expect_len("input_gradients", gradients.len(), steps, batch, self.config.input_len())?;
        }
        check_tensors("the gradients", gradients.tensors(), network.parameters().tensors())?;
        // Calls on the tape may have run with other parameters than the latest one.
        self.pack(network);
        let (Passes { prepare_back, advance_back, finish_back, .. }, weights, parameters) =
            (self.passes, &self.weights, network.parameters());
        let (shards, with_inputs) = (&mut self.shards, input_gradients.is_some());
        let back = |number: usize, shard: &mut Shard<T>, gradients: &mut Parameters<T>, piece: Range<usize>| {
            if piece.end == steps {
                prepare_back(shard, weights, parameters, carried);
            }
            let place = Place { first_row: number * SHARD_ROWS, batch };
            advance_back(shard, weights, parameters, output_gradients, place, gradients, piece.clone());
            if piece.start == 0 {
                finish_back(shard, weights, parameters, gradients, with_inputs);
            }
        };
        let several = shards.len() > 1;
        if several {
            self.gradients.resize_with(shards.len(), || network.zeros());
            self.gradients.iter_mut().for_each(|gradients| gradients.values_mut().fill(T::ZERO));
        }
        let (of_shards, workers) = (&mut self.gradients, &self.workers);
        let run = each_piece(self.listener.as_mut(), steps.max(1), 1, |piece| {
            let piece = steps.saturating_sub(piece.end)..steps - piece.start;
            match &mut shards[..] {
                [shard] => back(0, shard, gradients, piece),
                shards => {
                    let mut pairs: Vec<_> = shards.iter_mut().zip(&mut of_shards[..]).collect();
                    workers.for_each(&mut pairs, |number, (shard, gradients)| {
                        back(number, shard, gradients, piece.clone());
                    });
                }
            }
            Ok(())
        })?;
        if run < steps {
            self.replay();
            return Err(Error::Interrupted { steps: run });
        }
        if several {
            // In the order of the shards, so that the sum does not depend on which thread was first.
            for shard in &self.gradients {
                for (sum, value) in gradients.values_mut().iter_mut().zip(shard.values()) {
                    *sum += *value;
                }
            }
        }
        if let Some(gradients) = &mut input_gradients {
            for (number, shard) in self.shards.iter().enumerate() {
                shard.write_input_gradients(Place { first_row: number * SHARD_ROWS, batch }, gradients);
            }
        }
        (self.in_force, self.carried) = (self.in_force - 1, true);
        Ok(())
    }

    /// Restores the state that the latest [`forward`](Self::forward) left, after [`backward`](Self::backward) or
    /// [`undo`](Self::undo) restored one before it. Does nothing if there was neither.
    pub fn replay(&mut self) {
        (self.in_force, self.carried) = (self.calls.len(), false);
        self.workers.for_each(&mut self.shards, |_, shard| shard.replay());
    }

    /// Undoes the latest [`forward`](Self::forward) that is in force, as a [`backward`](Self::backward) without gradients:
    /// restores, bit for bit, the state that it started from, and what it led to counts for nothing in the gradients of the
    /// calls before it. It costs the memories' part of a `backward`.
    ///
    /// # Errors
    /// [`Error::Order`] if no call is in force, or after a `backward` without a [`replay`](Self::replay);
    /// [`Error::Interrupted`] comes only of [`listen`](Self::listen).
    pub fn undo(&mut self) -> Result<(), Error> {
        if self.carried {
            return Err(Error::Order("undo comes before backward, or after a replay: here it would lose gradients"));
        }
        let Some(Call { steps, .. }) = self.calls[..self.in_force].last() else {
            return Err(Error::Order("undo needs a forward before it: there is no tape"));
        };
        let (steps, Passes { prepare_undo, undo, .. }) = (*steps, self.passes);
        let (shards, workers) = (&mut self.shards, &self.workers);
        workers.for_each(shards, |_, shard| prepare_undo(shard));
        let run = each_piece(self.listener.as_mut(), steps, 1, |piece| {
            workers.for_each(shards, |_, shard| undo(shard, steps - piece.end..steps - piece.start));
            Ok(())
        })?;
        if run < steps {
            self.replay();
            return Err(Error::Interrupted { steps: run });
        }
        self.in_force -= 1;
        Ok(())
    }

    /// Calls of [`forward`](Self::forward) on the tape that are in force: as many [`backward`](Self::backward) passes can follow; see [`carry_gradients`](Self::carry_gradients).
    pub fn calls(&self) -> usize {
        self.in_force
    }

    /// What the controllers hold as the state stands: for each row \[h ; c ; r\], its hidden units, its cells (none of a GRU)
    /// and what it read last.
    pub fn controllers(&self) -> Vec<T> {
        self.of_controllers(Shard::write_controllers)
    }

    /// Puts what [`controllers`](Self::controllers) gives in the place of what the controllers hold: rows × (H + C + R·W)
    /// elements, such as a first state that is learnt. The memories keep what they hold; there is no tape.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many elements.
    pub fn set_controllers(&mut self, states: &[T]) -> Result<(), Error> {
        self.check_controllers("states", states)?;
        self.detach();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.take_controllers(Place { first_row: number * SHARD_ROWS, batch: self.rows }, states);
        }
        Ok(())
    }

    /// The gradients of what the controllers [held](Self::controllers) before the call of the latest
    /// [`backward`](Self::backward); zeros if there was none. Those of the memories are kept inside.
    pub fn controller_gradients(&self) -> Vec<T> {
        if self.carried {
            self.of_controllers(Shard::write_carried)
        } else {
            vec![T::ZERO; self.rows * self.config.controller_len()]
        }
    }

    /// What the next [`backward`](Self::backward) takes for the gradients of what the controllers
    /// [hold](Self::controllers) after its call, in the place of those that the call after it left, or of zeros: for a loss
    /// that depends on them otherwise.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many elements.
    pub fn set_controller_gradients(&mut self, gradients: &[T]) -> Result<(), Error> {
        self.check_controllers("gradients", gradients)?;
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.take_carried(Place { first_row: number * SHARD_ROWS, batch: self.rows }, gradients);
        }
        self.carried = true;
        Ok(())
    }

    fn of_controllers(&self, write: impl Fn(&Shard<T>, Place, &mut [T])) -> Vec<T> {
        let mut all = vec![T::ZERO; self.rows * self.config.controller_len()];
        for (number, shard) in self.shards.iter().enumerate() {
            write(shard, Place { first_row: number * SHARD_ROWS, batch: self.rows }, &mut all);
        }
        all
    }

    fn check_controllers(&self, what: &'static str, found: &[T]) -> Result<(), Error> {
        expect_len(what, found.len(), 1, self.rows, self.config.controller_len())
    }

    /// Refuses a tape that would make the machine swap or end the program halfway.
    /// `held` is what stays on the tape of each row.
    fn check_tape(
        &self,
        network: &Network<T>,
        steps: usize,
        sequences: Sequences<'_, T>,
        held: Option<&[usize]>,
    ) -> Result<(), Error> {
        let growth = |(number, shard): (usize, &Shard<T>)| {
            shard.tape_growth(sequences, Place { first_row: number * SHARD_ROWS, batch: self.rows }, held)
        };
        let bytes: u128 = self.shards.iter().enumerate().map(growth).sum();
        let journal = |(row, (length, taped)): (usize, (&usize, &usize))| {
            let of = |steps| network.config().journal_bytes::<T>(steps);
            // A restart keeps the words that the steps before it changed.
            let kept = if sequences.starts_of(row) > 0 { of(*length) } else { 0 };
            let held = held.map_or(0, |held| held[row]);
            of(held + *length).saturating_sub(of(*taped)) + kept
        };
        let journals: u128 = sequences.lengths.iter().zip(&self.taped).enumerate().map(journal).sum();
        check_room(steps, bytes + journals)
    }

    fn pack(&mut self, network: &Network<T>) {
        if self.version != network.version {
            (self.passes.set_weights)(&mut self.weights, network.config(), network.parameters());
            self.version = network.version;
        }
    }

    fn check_shapes(&self, network: &Network<T>, sequences: Sequences<'_, T>, outputs: &[T]) -> Result<usize, Error> {
        let (inputs, input_size) = (sequences.inputs.len(), self.config.input_len());
        let steps = inputs / (self.rows * input_size);
        expect_len("inputs", inputs, steps, self.rows, input_size)?;
        expect_len("outputs", outputs.len(), steps, self.rows, self.config.output_len())?;
        if *network.config() != self.config {
            return Err(Error::Order("a runner runs networks of the configuration that it was made for"));
        }
        sequences.check(steps, self.rows)?;
        if self.config.vocabulary_size > 0 {
            sequences.check_tokens(self.rows, self.config.vocabulary_size, self.config.sentence_size)?;
        }
        Ok(steps)
    }
}

/// Checks that the available memory holds this many bytes for this many steps.
fn check_room(steps: usize, bytes: u128) -> Result<(), Error> {
    available_if_fewer_than(bytes).map_or(Ok(()), |available| Err(Error::TapeDoesNotFit { steps, bytes, available }))
}

fn expect_len(what: &'static str, found: usize, steps: usize, rows: usize, width: usize) -> Result<(), Error> {
    let expected = steps * rows * width;
    if found == expected {
        return Ok(());
    }
    let shape = format!("{steps} time steps × {rows} rows × {width}");
    Err(Error::Shape { what, found, expected, shape })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexKind;
    use crate::memory::{dnc, sam, sdnc};
    use crate::network::Tensor;
    use crate::{Model, NetworkConfig};

    fn network(hidden_size: usize, memory: Model) -> Network<f32> {
        Network::new(NetworkConfig::new(1, 1).with_hidden_size(hidden_size).with_memory(memory), 1)
            .expect("it is small")
    }

    #[test]
    fn searches_are_compared_from_any_step_on_and_change_nothing() {
        let index = (IndexKind::KdForest, 1, 2000);
        let sam = sam::Config { index: index.0, index_checks: index.1, memory_size: index.2, ..Default::default() };
        let sdnc = sdnc::Config { index: index.0, index_checks: index.1, memory_size: index.2, ..Default::default() };
        for memory in [Model::from(sam), Model::from(sdnc)] {
            let network = network(5, memory);
            let inputs: Vec<f32> = (0..200).map(|step| ((step * step) as f32 * 0.7).sin()).collect();
            let run = |compare: bool| {
                let mut runner = Runner::new(&network, 1).unwrap();
                let mut all = Vec::new();
                for (number, piece) in inputs.chunks(50).enumerate() {
                    // From a state that has words already.
                    if compare && number == 1 {
                        runner.compare_searches().unwrap();
                        runner.compare_searches().unwrap();
                    }
                    let mut outputs = [0.0; 50];
                    runner.forward(&network, piece, &[50], &mut outputs).unwrap();
                    let mut gradients = network.zeros();
                    runner.backward(&network, &outputs, &mut gradients, None).unwrap();
                    all.extend(outputs);
                    all.extend_from_slice(gradients.values());
                }
                (all, runner.search_misses())
            };
            let (alone, compared) = (run(false), run(true));
            assert_eq!(alone.0, compared.0);
            assert_eq!(alone.1, Misses::default());
            let Misses { wanted, missed } = compared.1;
            assert!(missed > 0 && missed < wanted, "{missed} of {wanted}");
        }
    }

    #[test]
    fn sequences_too_long_for_the_machine_are_refused() {
        let sam = sam::Config { memory_size: 1000, word_size: 256, heads: 8, reads: 64, ..Default::default() };
        for (network, steps) in [(network(256, Model::Lstm), 40_000_000), (network(1, Model::Sam(sam)), 4_000_000)] {
            let mut runner = Runner::new(&network, 1).expect("it is small");
            let (inputs, mut outputs) = (vec![0.0; steps], vec![0.0; steps]);
            let error = runner.forward(&network, &inputs, &[steps], &mut outputs);
            assert!(matches!(error, Err(Error::TapeDoesNotFit { .. })), "{error:?}");
            // Nothing was run, and what fits still does.
            runner.forward(&network, &inputs[..3], &[3], &mut outputs[..3]).expect("it is short");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let network = network(2, Model::Lstm);
        let message = Runner::new(&network, 0).err().expect("there is no row").to_string();
        assert_eq!(message, "rows = 0 does not work: a batch has at least one sequence");

        let mut runner = Runner::new(&network, 1).expect("it is small");
        let mut outputs = [0.0; 3];
        let error = runner.forward(&network, &[0.0; 3], &[3], &mut outputs[..2]).unwrap_err();
        assert_eq!(error.to_string(), "outputs has length 2, where 3 was expected (3 time steps × 1 rows × 1)");
        runner.forward(&network, &[0.0; 3], &[3], &mut outputs).expect("it fits");
        // As many elements as the parameters have, in tensors of other names.
        let tensors = network.parameters().tensors().iter().map(|tensor| Tensor { name: "other", ..tensor.clone() });
        let mut gradients = Parameters::zeros(tensors.collect());
        let message = runner.backward(&network, &outputs, &mut gradients, None).unwrap_err().to_string();
        assert!(message.starts_with("the gradients do not fit the network: the tensor `other` of shape"), "{message}");
    }

    #[test]
    fn memories_of_all_rows_must_fit() {
        let network = network(1, Model::Dnc(dnc::Config { memory_size: 1 << 14, ..Default::default() }));
        let error = Runner::new(&network, 4096).err().expect("it takes eight terabytes");
        assert!(matches!(error, Error::MemoryDoesNotFit { bytes, .. } if bytes > 1 << 42), "{error}");
    }

    #[test]
    fn networks_too_large_for_the_machine_are_refused() {
        let config = NetworkConfig::new(1, 1).with_hidden_size(64_000).with_memory(Model::Lstm);
        let error = Network::<f64>::new(config, 1).expect_err("it takes 400 gigabytes");
        assert!(error.to_string().starts_with("hidden_size = 64000 does not work"), "{error}");
    }
}
