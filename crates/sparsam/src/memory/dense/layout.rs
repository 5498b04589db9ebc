//! Where the words of a dense memory lie.

use std::ops::Range;

use crate::kernels::lanes::LANES;
use crate::memory::options::{Footprint, Sizes};
use crate::system::available_bytes;
use crate::{Arrays, Error, Real};

/// The same number of sixteen words.
pub type Sixteen<T> = [T; LANES];

/// Blocks in a strip: their words and what is computed of them fit the first-level cache, and the kernels' sums the
/// registers.
pub const STRIP_BLOCKS: usize = 4;

/// Words in a strip.
pub const STRIP: usize = STRIP_BLOCKS * LANES;

/// How N words of W numbers lie.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// N.
    pub memory_size: usize,
    /// W.
    pub word_size: usize,
}

impl Layout {
    /// That of a memory of these sizes.
    pub fn of(sizes: &impl Sizes) -> Self {
        Self { memory_size: sizes.memory_size(), word_size: sizes.word_size() }
    }

    /// Blocks of sixteen words, the last one filled up.
    #[inline(always)]
    pub fn blocks(self) -> usize {
        self.memory_size.div_ceil(LANES)
    }

    /// Length of the contents of all words, in [`Sixteen`]s.
    #[inline(always)]
    pub fn contents_len(self) -> usize {
        self.blocks() * self.word_size
    }

    /// The blocks of each strip, in order. The contents of blocks a..b are `a * word_size..b * word_size`.
    #[inline(always)]
    pub fn strips(self) -> impl Iterator<Item = Range<usize>> {
        let blocks = self.blocks();
        (0..blocks).step_by(STRIP_BLOCKS).map(move |first| first..(first + STRIP_BLOCKS).min(blocks))
    }

    /// Where the contents of some blocks stand among those of all.
    #[inline(always)]
    pub fn contents(self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start * self.word_size..blocks.end * self.word_size
    }

    /// Gives every word of a frame, which starts with the words, the content that `content` writes.
    pub fn fill<T: Real>(self, frame: &mut [Sixteen<T>], content: &mut dyn FnMut(usize, &mut [T])) {
        let mut numbers = vec![T::ZERO; self.word_size];
        for (block, contents) in frame[..self.contents_len()].chunks_exact_mut(self.word_size).enumerate() {
            for lane in 0..LANES.min(self.memory_size - block * LANES) {
                numbers.fill(T::ZERO);
                content(block * LANES + lane, &mut numbers);
                for (sixteen, number) in contents.iter_mut().zip(&numbers) {
                    sixteen[lane] = *number;
                }
            }
        }
    }

    /// Puts what the words hold into `to`, word after word.
    pub fn save_contents<T: Real>(self, contents: &[Sixteen<T>], to: &mut Arrays<T>) {
        let mut values = Vec::with_capacity(self.memory_size * self.word_size);
        for word in 0..self.memory_size {
            let block = &contents[word / LANES * self.word_size..][..self.word_size];
            values.extend(block.iter().map(|numbers| numbers[word % LANES]));
        }
        to.put_real("contents", &[self.memory_size, self.word_size], values);
    }

    /// Takes over words that [`save_contents`](Self::save_contents) wrote.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load_contents<T: Real>(self, contents: &mut [Sixteen<T>], from: &mut Arrays<T>) -> Result<(), Error> {
        let values = from.take_real("contents", &[self.memory_size, self.word_size])?;
        self.fill(contents, &mut |word, numbers| {
            numbers.copy_from_slice(&values[word * self.word_size..][..self.word_size])
        });
        Ok(())
    }

    /// Puts vectors with a number for each word into `to`, one after another.
    pub fn save_vectors<T: Real>(self, name: &str, vectors: &[Sixteen<T>], to: &mut Arrays<T>) {
        let words = vectors.chunks_exact(self.blocks()).flat_map(|vector| &vector.as_flattened()[..self.memory_size]);
        let values: Vec<T> = words.copied().collect();
        to.put_real(name, &[values.len() / self.memory_size, self.memory_size], values);
    }

    /// Takes over vectors that [`save_vectors`](Self::save_vectors) wrote. What stands beyond the last word stays.
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load_vectors<T: Real>(
        self,
        name: &str,
        vectors: &mut [Sixteen<T>],
        from: &mut Arrays<T>,
    ) -> Result<(), Error> {
        let values = from.take_real(name, &[vectors.len() / self.blocks(), self.memory_size])?;
        let vectors = vectors.chunks_exact_mut(self.blocks());
        for (vector, values) in vectors.zip(values.chunks_exact(self.memory_size)) {
            vector.as_flattened_mut()[..self.memory_size].copy_from_slice(values);
        }
        Ok(())
    }

    /// Sets what stands beyond the last word in a vector with a number for each word.
    #[inline(always)]
    pub fn set_padding<T: Real>(self, numbers: &mut [Sixteen<T>], value: T) {
        numbers.as_flattened_mut()[self.memory_size..].fill(value);
    }
}

/// What a dense memory takes whose state is `length` [`Sixteen`]s.
pub fn footprint(length: usize, element: usize) -> Footprint {
    Footprint::Dense { state: (length * LANES) as u128 * element as u128 }
}

/// Checks that this machine can hold a dense memory whose start, gradients included, takes `numbers` numbers a word.
///
/// # Errors
/// [`Error::MemoryDoesNotFit`] says how many words would fit.
pub fn check_room<T: Real>(layout: Layout, numbers: usize) -> Result<(), Error> {
    check_room_of::<T>(layout, |words| words * numbers as u128)
}

/// Checks that this machine can hold a dense memory whose start, gradients included, takes `numbers(N)` numbers, which
/// grow with N.
///
/// # Errors
/// [`Error::MemoryDoesNotFit`] says how many words would fit.
pub fn check_room_of<T: Real>(layout: Layout, numbers: impl Fn(u128) -> u128) -> Result<(), Error> {
    let bytes = |words: u128| numbers(words.next_multiple_of(LANES as u128)) * size_of::<T>() as u128;
    match available_bytes() {
        Some(available) if bytes(layout.memory_size as u128) > available => {
            let (mut fits, mut too_many) = (0, layout.memory_size as u128);
            while too_many - fits > 1 {
                let middle = fits + (too_many - fits) / 2;
                if bytes(middle) > available {
                    too_many = middle;
                } else {
                    fits = middle;
                }
            }
            Err(Error::MemoryDoesNotFit { bytes: bytes(layout.memory_size as u128), available, memory_size: fits })
        }
        _ => Ok(()),
    }
}
