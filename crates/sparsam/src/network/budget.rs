//! How much physical memory a network takes, before any of it is asked for: an allocation that fails ends the program.

use super::NetworkConfig;
use super::shard::SHARD_ROWS;
use crate::controller::Declaration;
use crate::error::size;
use crate::memory::{Footprint, Sizes};
use crate::system::available_bytes;
use crate::{Error, Model, Real};

/// What a network is wanted for.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// Sequences at a time.
    rows: usize,
    /// Time steps on the tape.
    steps: usize,
    /// Numbers that the optimiser keeps for each parameter.
    moments: usize,
}

impl NetworkConfig {
    /// Numbers in all parameters.
    pub(super) fn parameter_count(&self) -> u128 {
        self.tensors().iter().map(|tensor| tensor.shape.iter().map(|n| *n as u128).product::<u128>()).sum()
    }

    /// Numbers in the weights that are laid out a second time.
    fn packed_count(&self) -> u128 {
        self.controller_declaration().packed + 2 * self.hidden_size as u128 * self.memory.interface_len() as u128
    }

    /// Checks that this machine has room for training: parameters, gradients, an optimiser that keeps `moments` numbers
    /// for each parameter, and the memories and tapes of `rows` sequences of `steps` time steps at a time.
    ///
    /// # Errors
    /// [`Error::Config`] names the field to lower, [`Error::MemoryDoesNotFit`] the number of words of a dense memory that
    /// would fit, [`Error::TapeDoesNotFit`] says that the sequences are too long.
    pub fn check_training<T: Real>(&self, rows: usize, steps: usize, moments: usize) -> Result<(), Error> {
        self.validate()?;
        available_bytes().map_or(Ok(()), |available| self.check_use::<T>(Use { rows, steps, moments }, available))
    }

    /// Checks that there is room for the parameters and their second layout.
    pub(super) fn check_parameters<T: Real>(&self) -> Result<(), Error> {
        let bytes = (self.parameter_count() + self.packed_count()) * size_of::<T>() as u128;
        match available_bytes() {
            Some(available) if bytes > available => Err(self.too_many_parameters(bytes, available)),
            _ => Ok(()),
        }
    }

    /// Checks that there is room for the dense memories of `rows` sequences, without a tape.
    pub(super) fn check_memories<T: Real>(&self, rows: usize) -> Result<(), Error> {
        let Some(available) = available_bytes() else { return Ok(()) };
        let bytes = |memory: &Model| match memory.footprint(0, size_of::<T>()) {
            Some(Footprint::Dense { state }) => 2 * rows as u128 * state,
            Some(Footprint::Sparse { .. }) | None => 0,
        };
        let needed = bytes(&self.memory);
        if needed <= available {
            return Ok(());
        }
        Err(match self.largest_memory(|memory| bytes(memory) <= available) {
            Some(memory_size) => Error::MemoryDoesNotFit { bytes: needed, available, memory_size },
            None => does_not_fit("rows", rows, needed, available),
        })
    }

    fn check_use<T: Real>(&self, wanted: Use, available: u128) -> Result<(), Error> {
        let total = |wanted: Use, memory: &Model| {
            let of_memory = match memory.footprint(wanted.steps, size_of::<T>()) {
                // The start, gradients of no more elements than it has, and every step.
                Some(Footprint::Dense { state }) => state * (wanted.steps + 2) as u128,
                Some(Footprint::Sparse { tape }) => tape,
                None => 0,
            };
            let steps = wanted.steps as u128 * self.step_bytes::<T>();
            self.parameter_bytes::<T>(wanted) + wanted.rows as u128 * (of_memory + steps)
        };
        let bytes = total(wanted, &self.memory);
        if bytes <= available {
            return Ok(());
        }
        let parameters = self.parameter_bytes::<T>(wanted);
        if parameters > available {
            let one_shard = Use { rows: wanted.rows.min(SHARD_ROWS), ..wanted };
            return Err(if self.parameter_bytes::<T>(one_shard) <= available {
                does_not_fit("rows", wanted.rows, parameters, available)
            } else {
                self.too_many_parameters(parameters, available)
            });
        }
        if matches!(self.memory.footprint(0, size_of::<T>()), Some(Footprint::Dense { .. }))
            && let Some(memory_size) = self.largest_memory(|memory| total(wanted, memory) <= available)
        {
            return Err(Error::MemoryDoesNotFit { bytes, available, memory_size });
        }
        Err(if wanted.steps > 0 && total(Use { steps: 0, ..wanted }, &self.memory) <= available {
            Error::TapeDoesNotFit { steps: wanted.steps, bytes: bytes - parameters, available }
        } else if wanted.rows > 1 {
            does_not_fit("rows", wanted.rows, bytes, available)
        } else {
            self.too_many_parameters(bytes, available)
        })
    }

    /// Bytes of parameters and of what there is one of for each.
    fn parameter_bytes<T: Real>(&self, wanted: Use) -> u128 {
        let shards = wanted.rows.div_ceil(SHARD_ROWS);
        let gradients = 1 + if shards > 1 { shards } else { 0 };
        (self.parameter_count() * (1 + gradients + wanted.moments) as u128 + self.packed_count())
            * size_of::<T>() as u128
    }

    /// Bytes of a time step of one sequence, the memory aside: the controller's, and the batch's inputs, outputs,
    /// targets and gradients.
    fn step_bytes<T: Real>(&self) -> u128 {
        let Self { input_size, hidden_size, memory, .. } = self;
        let Declaration { cell, tape, .. } = self.controller_declaration();
        let of_memory = memory.read_len() + memory.interface_len();
        (2 * input_size + tape + cell + hidden_size + of_memory + 4 * self.output_len()) as u128
            * size_of::<T>() as u128
    }

    /// The most bytes that the tape of a sparse memory takes for `steps` steps; 0 for all others.
    pub(super) fn journal_bytes<T: Real>(&self, steps: usize) -> u128 {
        match self.memory.footprint(steps, size_of::<T>()) {
            Some(Footprint::Sparse { tape }) => tape,
            Some(Footprint::Dense { .. }) | None => 0,
        }
    }

    /// The largest number of words below that of the configuration that fits and that the memory could have.
    fn largest_memory(&self, fits: impl Fn(&Model) -> bool) -> Option<u128> {
        let fits = |words: usize| fits(&self.memory.with_memory_size(words));
        let could_be = |words: &usize| self.memory.with_memory_size(*words).validate().is_ok();
        let mut bad = self.memory.memory_size();
        let mut good = (1..bad).find(could_be)?;
        if !fits(good) {
            return None;
        }
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good as u128)
    }

    /// Names the size without which the fewest parameters would be left.
    pub(super) fn too_many_parameters(&self, bytes: u128, available: u128) -> Error {
        let without = |change: &dyn Fn(&mut Self)| {
            let mut config = self.clone();
            change(&mut config);
            config.parameter_count()
        };
        let heads = self.memory.config().map_or(0, Sizes::heads);
        let sizes = [
            (without(&|config| config.hidden_size = 1), "hidden_size", self.hidden_size),
            (without(&|config| config.input_size = 1), "input_size", self.input_size),
            (without(&|config| config.vocabulary_size = 0), "vocabulary_size", self.vocabulary_size),
            (without(&|config| config.output_size = 1), "output_size", self.output_size),
            (without(&|config| config.memory = Model::Lstm), "heads", heads),
        ];
        let (_, field, value) = sizes.into_iter().min_by_key(|size| size.0).unwrap_or_default();
        does_not_fit(field, value, bytes, available)
    }
}

fn does_not_fit(field: &'static str, value: usize, bytes: u128, available: u128) -> Error {
    let (needed, there) = (size(bytes), size(available));
    let reason = format!("it would take {needed} ({bytes} bytes) of memory, and {there} are available; lower it");
    Error::Config { field, value: value.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{dam, dnc, ntm, sam, sdnc};

    const GIBIBYTE: u128 = 1 << 30;

    fn config(memory: Model) -> NetworkConfig {
        NetworkConfig::new(10, 8).with_hidden_size(100).with_memory(memory)
    }

    fn check(config: &NetworkConfig, rows: usize, steps: usize, available: u128) -> Result<(), Error> {
        config.check_use::<f32>(Use { rows, steps, moments: 3 }, available)
    }

    fn message(result: Result<(), Error>) -> String {
        result.expect_err("it does not fit").to_string()
    }

    #[test]
    fn parameters_that_do_not_fit_name_what_to_lower() {
        let mut large = config(Model::Lstm);
        large.hidden_size = 60_000;
        assert!(
            message(check(&large, 1, 2, 20 * GIBIBYTE)).starts_with("hidden_size = 60000 does not work: it would ")
        );
        let one_of_each = config(Model::Lstm).parameter_bytes::<f32>(Use { rows: 4, steps: 0, moments: 3 });
        assert!(message(check(&config(Model::Lstm), 4096, 0, one_of_each)).starts_with("rows = 4096 "));
        assert!(check(&config(Model::Lstm), 4, 0, one_of_each).is_ok());
        let wide = sam::Config { heads: 4096, word_size: 4096, ..Default::default() };
        assert!(message(check(&config(Model::Sam(wide)), 1, 2, GIBIBYTE)).starts_with("heads = 4096 "));
    }

    #[test]
    fn frames_are_counted_as_they_are() {
        let sizes = |memory_size| {
            [
                Model::Dam(dam::Config { memory_size, heads: 20, word_size: 7, ..Default::default() }),
                Model::Ntm(ntm::Config { memory_size, heads: 3, word_size: 7 }),
                Model::Dnc(dnc::Config { memory_size, heads: 2, word_size: 9, ..Default::default() }),
            ]
        };
        for words in [21, 32, 100, 1000, 1025] {
            for model in sizes(words) {
                let memory = model.build::<f64>().expect("it fits").expect("it is a memory");
                let state = memory.tape_growth(1);
                assert_eq!(model.footprint(1, size_of::<f64>()), Some(Footprint::Dense { state }));
            }
        }
    }

    #[test]
    fn all_rows_and_steps_count_and_the_size_named_fits_them() {
        let dnc = |memory_size| config(Model::Dnc(dnc::Config { memory_size, ..Default::default() }));
        assert!(check(&dnc(2000), 1, 40, 2 * GIBIBYTE).is_ok());
        let Err(Error::MemoryDoesNotFit { bytes, available, memory_size }) = check(&dnc(2000), 8, 40, 2 * GIBIBYTE)
        else {
            panic!("eight rows need eight times as much");
        };
        assert!(bytes > available && available == 2 * GIBIBYTE);
        assert!(check(&dnc(memory_size as usize), 8, 40, available).is_ok());
        assert!(check(&dnc(memory_size as usize + 16), 8, 40, available).is_err());
    }

    #[test]
    fn long_sequences_do_not_fit_without_a_dense_memory_either() {
        for model in [Model::Lstm, Model::Sam(sam::Config::default()), Model::Sdnc(sdnc::Config::default())] {
            let error = check(&config(model.clone()), 1, 1 << 23, 8 * GIBIBYTE);
            assert!(matches!(error, Err(Error::TapeDoesNotFit { .. })), "{error:?}");
            assert!(check(&config(model), 8, 1000, 8 * GIBIBYTE).is_ok());
        }
    }
}
