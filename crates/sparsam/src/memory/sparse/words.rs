//! The words of a sparse memory: their contents, their journal, and the gradients of those that an episode touched.

use std::time::{Duration, Instant};

use super::content::Contents;
use super::slots::Slots;
use crate::index::{Compared, Found, Index, Linear, Misses};
use crate::kernels::bytes::prefetch;
use crate::kernels::simd::{InstructionSet, Plain};
use crate::kernels::vector::{axpy, exchange};
use crate::system::pages::Pages;
use crate::{Arrays, Error, Real};

/// N words of W numbers, all zero at first, with an index over those that were ever written.
///
/// Every recorded write keeps the old content of the words that it changed in a journal.
/// [`undo_write`](Self::undo_write) exchanges the two, so that the memory is restored, bit for bit, and the journal then
/// holds what [`redo_writes`](Self::redo_writes) needs to come forth again.
///
/// Words that an episode writes get a slot each, in the order of their first write, and a place for their gradient once that
/// is not zero. Nothing here costs time or physical memory proportional to N.
pub struct Words<T> {
    word_size: usize,
    contents: Pages<T>,
    index: Box<dyn Index<T>>,
    /// Every word below is written.
    lowest_unwritten: u32,
    tape: Tape<T>,
    /// The index does not know yet of what was undone or redone, or taken up.
    index_stale: bool,
    /// Words that were written before those in slots, and of which the index knows nothing yet.
    unindexed: Vec<u32>,
    /// What searches took, if they are timed.
    search_time: Option<Duration>,
    /// What searches miss is counted.
    compared: bool,
}

/// What is kept of an episode's writes, since its latest restart if it has one.
struct Tape<T> {
    /// Of the words that were written, in the order of their first write.
    slots: Slots,
    /// Whether the word of each slot was written before.
    written_before: Vec<bool>,
    lowest_unwritten_at_start: u32,
    journal_slots: Vec<u32>,
    journal_contents: Vec<T>,
    steps: Vec<StepEnd>,
    /// Recorded writes that are in force; those after it were undone.
    position: usize,
    /// For each slot one more than the place of its word's gradient among the gradients; 0 where that is zero. Empty until the first
    /// backward step.
    gradient_places: Vec<u32>,
    /// Gradients of words, in the order in which they came to have one.
    gradients: Vec<T>,
}

/// Words that were put aside with their tape. The default is words of which none was ever written, and an empty tape.
pub struct Aside<T> {
    tape: Tape<T>,
    written: Vec<u32>,
    /// Of the words written.
    contents: Vec<T>,
}

/// How much was in the journal after a recorded write.
struct StepEnd {
    entries: usize,
    slots: usize,
}

/// One addition to a word.
#[derive(Clone, Copy, Debug)]
pub struct Addition<T> {
    /// The word.
    pub word: u32,
    /// The write weight.
    pub weight: T,
    /// The write head, whose write word is added.
    pub head: u32,
}

impl<T> Default for Tape<T> {
    fn default() -> Self {
        Self {
            slots: Slots::new(),
            written_before: Vec::new(),
            lowest_unwritten_at_start: 0,
            journal_slots: Vec::new(),
            journal_contents: Vec::new(),
            steps: Vec::new(),
            position: 0,
            gradient_places: Vec::new(),
            gradients: Vec::new(),
        }
    }
}

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Self { tape: Tape::default(), written: Vec::new(), contents: Vec::new() }
    }
}

impl<T: Real> Words<T> {
    /// `memory_size` zero words of `word_size` numbers, found by `index`, which is empty.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(memory_size: usize, word_size: usize, index: Box<dyn Index<T>>) -> Result<Self, Error> {
        let too_large =
            || Error::MemoryTooLarge { bytes: memory_size as u128 * word_size as u128 * size_of::<T>() as u128 };
        Ok(Self {
            word_size,
            contents: Pages::new(memory_size.checked_mul(word_size).ok_or_else(too_large)?)?,
            index,
            lowest_unwritten: 0,
            tape: Tape::default(),
            index_stale: false,
            unindexed: Vec::new(),
            search_time: None,
            compared: false,
        })
    }

    /// The content of a word.
    #[inline(always)]
    pub fn content(&self, word: u32) -> &[T] {
        let start = word as usize * self.word_size;
        &self.contents[start..start + self.word_size]
    }

    /// Number of words, N.
    pub fn memory_size(&self) -> usize {
        self.contents.len() / self.word_size
    }

    /// Zeroes every word at the cost of those ever written, each named to `forgotten`, and empties the journal.
    pub fn reset(&mut self, mut forgotten: impl FnMut(u32)) {
        self.start_episode();
        let (contents, size) = (&mut self.contents, self.word_size);
        self.index.clear(&mut |word| {
            forgotten(word);
            let start = word as usize * size;
            contents[start..start + size].fill(T::ZERO);
        });
        self.lowest_unwritten = 0;
        self.tape.lowest_unwritten_at_start = 0;
    }

    /// Gives every word the content that `content` writes, as if written before the episode. The words must have been
    /// [`reset`](Self::reset).
    pub fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
        self.contents.expect_all();
        for word in 0..self.memory_size() {
            content(word, &mut self.contents[word * self.word_size..][..self.word_size]);
            self.index.update(word as u32, &self.contents);
        }
        self.lowest_unwritten = self.memory_size() as u32;
        self.tape.lowest_unwritten_at_start = self.lowest_unwritten;
    }

    /// The words ever written, by rising numbers, at the cost of their count.
    pub fn written(&mut self) -> Vec<u32> {
        self.update_index();
        // What is erased or read first is what has the lowest number, so that written words have hardly any others
        // below them.
        let all = 0..self.memory_size() as u32;
        all.filter(|word| self.index.contains(*word)).take(self.index.len()).collect()
    }

    /// How many words were ever written.
    pub fn count_written(&mut self) -> usize {
        self.update_index();
        self.index.len()
    }

    /// From now on searches are timed.
    pub fn time_searches(&mut self) {
        self.search_time = Some(Duration::ZERO);
    }

    /// What they took since.
    pub fn search_time(&self) -> Duration {
        self.search_time.unwrap_or_default()
    }

    /// From now on what searches miss is counted.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] or [`Error::MappingRefused`] if there is no room for another index; nothing has then changed.
    pub fn compare_searches(&mut self) -> Result<(), Error> {
        if self.compared {
            return Ok(());
        }
        // All that can fail comes before the index is taken out.
        let (mut exact, none) = (Linear::new(self.memory_size(), self.word_size)?, Linear::new(0, 0)?);
        exact.update_all(&self.written(), &self.contents);
        let index = std::mem::replace(&mut self.index, Box::new(none));
        self.index = Box::new(Compared::new(index, exact));
        self.compared = true;
        Ok(())
    }

    /// What they missed since.
    pub fn misses(&self) -> Misses {
        self.index.misses()
    }

    /// Puts the words ever written, and what they hold, into `to`.
    pub fn save(&mut self, to: &mut Arrays<T>) {
        let words = self.written();
        let contents = words.iter().flat_map(|word| self.content(*word)).copied().collect();
        to.put_real("contents", &[words.len(), self.word_size], contents);
        to.put_whole("words", &[words.len()], words);
    }

    /// Takes over words that were [`save`](Self::save)d. The words must have been [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`Error::State`] names what does not fit.
    pub fn load(&mut self, from: &mut Arrays<T>) -> Result<(), Error> {
        let words = from.take_words("words", self.memory_size())?;
        let contents = from.take_real("contents", &[words.len(), self.word_size])?;
        for (word, content) in words.iter().zip(contents.chunks_exact(self.word_size)) {
            let start = *word as usize * self.word_size;
            self.contents[start..start + self.word_size].copy_from_slice(content);
            self.index.update(*word, &self.contents);
        }
        self.pass_written();
        self.tape.lowest_unwritten_at_start = self.lowest_unwritten;
        Ok(())
    }

    /// Bytes that [`swap`](Self::swap) takes to keep the words.
    pub fn aside_bytes(&self) -> u128 {
        let held = self.index.len().max(self.unindexed.len());
        held as u128 * (self.word_size * size_of::<T>() + size_of::<u32>()) as u128
    }

    /// Puts the words and their tape aside, and takes up others in their place, at the cost of the words written in both.
    /// Names those put aside to `forgotten`.
    pub fn swap(&mut self, other: Aside<T>, mut forgotten: impl FnMut(u32)) -> Aside<T> {
        self.update_index();
        let mut aside = Aside { tape: std::mem::replace(&mut self.tape, other.tape), ..Aside::default() };
        aside.tape.forget_gradients();
        let (contents, size) = (&mut self.contents, self.word_size);
        aside.contents.reserve(self.index.len() * size);
        self.index.clear(&mut |word| {
            forgotten(word);
            let content = &mut contents[word as usize * size..][..size];
            aside.written.push(word);
            aside.contents.extend_from_slice(content);
            content.fill(T::ZERO);
        });
        for (word, content) in other.written.iter().zip(other.contents.chunks_exact(size)) {
            self.contents[*word as usize * size..][..size].copy_from_slice(content);
        }
        self.unindexed = other.written;
        self.index_stale = true;
        aside
    }

    /// Keeps the words as they stand and empties the journal, at the cost of the words in it.
    pub fn start_episode(&mut self) {
        self.update_index();
        self.take_back_slots(0);
        self.tape.journal_slots.clear();
        self.tape.journal_contents.clear();
        self.tape.steps.clear();
        self.tape.position = 0;
        self.tape.forget_gradients();
        self.tape.lowest_unwritten_at_start = self.lowest_unwritten;
    }

    /// Zeroes the `erased` words, then adds `weight · vector(head)` for every addition. `changed` are the words of both, each
    /// once. With `record`, keeps what was there before; without, the journal must be empty.
    #[inline(always)]
    pub fn write<'a, I: InstructionSet>(
        &mut self,
        simd: I,
        changed: &[u32],
        erased: &[u32],
        additions: &[Addition<T>],
        vector: impl Fn(u32) -> &'a [T],
        record: bool,
    ) {
        debug_assert!(erased.iter().all(|word| changed.contains(word)), "what is not recorded cannot be undone");
        self.forget_undone();
        if record {
            for word in changed {
                self.record(*word);
            }
            self.tape.steps.push(StepEnd { entries: self.tape.journal_slots.len(), slots: self.tape.slots.len() });
            self.tape.position += 1;
        }
        for word in erased {
            let start = *word as usize * self.word_size;
            self.contents[start..start + self.word_size].fill(T::ZERO);
        }
        for addition in additions {
            let start = addition.word as usize * self.word_size;
            axpy(simd, &mut self.contents[start..start + self.word_size], addition.weight, vector(addition.head));
        }
        self.index.update_all(changed, &self.contents);
        self.pass_written();
    }

    #[inline(always)]
    fn record(&mut self, word: u32) {
        let slot = self.tape.slots.get_or_add(word);
        if slot == self.tape.written_before.len() {
            self.tape.written_before.push(self.index.contains(word));
        }
        self.tape.journal_slots.push(slot as u32);
        let start = word as usize * self.word_size;
        self.tape.journal_contents.extend_from_slice(&self.contents[start..start + self.word_size]);
    }

    /// Undoes the latest recorded write that is in force.
    #[inline(always)]
    pub fn undo_write<I: InstructionSet>(&mut self, simd: I) {
        self.tape.position -= 1;
        for entry in self.entries(self.tape.position).rev() {
            self.exchange(simd, entry);
        }
        self.index_stale = true;
    }

    /// Does again every write that was undone.
    pub fn redo_writes(&mut self) {
        while self.tape.position < self.tape.steps.len() {
            for entry in self.entries(self.tape.position) {
                self.exchange(Plain, entry);
            }
            self.tape.position += 1;
            self.index_stale = true;
        }
        self.tape.forget_gradients();
    }

    fn entries(&self, step: usize) -> std::ops::Range<usize> {
        let start = if step == 0 { 0 } else { self.tape.steps[step - 1].entries };
        start..self.tape.steps[step].entries
    }

    #[inline(always)]
    fn exchange<I: InstructionSet>(&mut self, simd: I, entry: usize) {
        let word = self.tape.slots.word(self.tape.journal_slots[entry] as usize);
        let (there, here) = (entry * self.word_size, word as usize * self.word_size);
        let old = &mut self.tape.journal_contents[there..there + self.word_size];
        exchange(simd, old, &mut self.contents[here..here + self.word_size]);
    }

    /// Writes that were undone cannot be done again once something else is written.
    pub fn forget_undone(&mut self) {
        self.update_index();
        if self.tape.position < self.tape.steps.len() {
            let (entries, slots) = match self.tape.position.checked_sub(1) {
                Some(last) => (self.tape.steps[last].entries, self.tape.steps[last].slots),
                None => (0, 0),
            };
            self.take_back_slots(slots);
            self.tape.journal_slots.truncate(entries);
            self.tape.journal_contents.truncate(entries * self.word_size);
            self.tape.steps.truncate(self.tape.position);
        }
        self.tape.forget_gradients();
    }

    fn take_back_slots(&mut self, kept: usize) {
        self.tape.slots.truncate(kept);
        self.tape.written_before.truncate(kept);
    }

    /// Tells the index of what was undone, redone or taken up since it was last told.
    fn update_index(&mut self) {
        if !std::mem::take(&mut self.index_stale) {
            return;
        }
        let written = match self.tape.position.checked_sub(1) {
            Some(last) => self.tape.steps[last].slots,
            None => 0,
        };
        self.lowest_unwritten = self.tape.lowest_unwritten_at_start;
        for word in self.unindexed.drain(..) {
            // Those in slots come below.
            if self.tape.slots.get(word).is_none() {
                self.index.update(word, &self.contents);
            }
        }
        for (slot, written_before) in self.tape.written_before.iter().enumerate() {
            let word = self.tape.slots.word(slot);
            if slot < written || *written_before {
                self.index.update(word, &self.contents);
            } else {
                self.index.forget(word);
            }
        }
        self.pass_written();
    }

    /// Goes on to the lowest word that is not written.
    #[inline(always)]
    fn pass_written(&mut self) {
        while (self.lowest_unwritten as usize) < self.memory_size() && self.index.contains(self.lowest_unwritten) {
            self.lowest_unwritten += 1;
        }
    }

    /// Finds the words most similar to each of some keys. Words never written are candidates too: all of them have
    /// similarity 0, so that those with the lowest numbers stand for all.
    pub fn search(&mut self, keys: &[T], limit: usize, found: &mut Found<T>) {
        let started = self.search_time.map(|before| (before, Instant::now()));
        self.update_index();
        let queries = keys.len() / self.word_size;
        found.start(queries, limit);
        // First, so that the index need not offer what is less similar than nothing.
        let unwritten = self.lowest_unwritten..self.memory_size() as u32;
        for word in unwritten.filter(|word| !self.index.contains(*word)).take(limit) {
            for query in 0..queries {
                found.offer(query, word, T::ZERO);
            }
        }
        self.index.search(&self.contents, keys, found);
        self.search_time = started.map(|(before, at)| before + at.elapsed());
    }

    /// No gradient comes from the writes that were undone.
    pub fn forget_gradients(&mut self) {
        self.tape.forget_gradients();
    }

    /// Starts a backward step; all gradients are zero if it is the first of the episode. Asks for what the journal has of the
    /// latest write, which will be needed once all gradients are known: from one step of a batch to the next it does not stay
    /// in the caches.
    #[inline(always)]
    pub fn start_back(&mut self) {
        let entries = self.entries(self.tape.position - 1);
        prefetch(&self.tape.journal_contents[entries.start * self.word_size..entries.end * self.word_size]);
        self.tape.gradient_places.resize(self.tape.slots.len(), 0);
    }

    /// The gradient of the content of a word that the episode wrote; nothing where it is zero.
    #[inline(always)]
    pub fn gradient(&mut self, word: u32) -> Option<&mut [T]> {
        let slot = self.tape.slots.get(word)?;
        let place = self.tape.gradient_places[slot].checked_sub(1)? as usize;
        Some(&mut self.tape.gradients[place * self.word_size..][..self.word_size])
    }
}

impl<T: Real> Tape<T> {
    fn forget_gradients(&mut self) {
        self.gradient_places.clear();
        self.gradients.clear();
    }

    /// The gradient of the word of a slot, which it gets if it has none.
    #[inline(always)]
    fn gradient(&mut self, slot: usize, word_size: usize) -> &mut [T] {
        let place = &mut self.gradient_places[slot];
        if *place == 0 {
            self.gradients.resize(self.gradients.len() + word_size, T::ZERO);
            *place = (self.gradients.len() / word_size) as u32;
        }
        let start = (*place as usize - 1) * word_size;
        &mut self.gradients[start..start + word_size]
    }
}

impl<T: Real> Contents<T> for Words<T> {
    #[inline(always)]
    fn content(&self, word: u32) -> &[T] {
        self.content(word)
    }

    /// Words that the episode had not written by the step that is being undone have no gradient: nothing that they held came
    /// from it.
    #[inline(always)]
    fn content_and_gradient(&mut self, word: u32) -> (&[T], Option<&mut [T]>) {
        let start = word as usize * self.word_size;
        let content = &self.contents[start..start + self.word_size];
        let written = self.tape.steps[self.tape.position - 1].slots;
        let slot = self.tape.slots.get(word).filter(|slot| *slot < written);
        (content, slot.map(|slot| self.tape.gradient(slot, self.word_size)))
    }
}
