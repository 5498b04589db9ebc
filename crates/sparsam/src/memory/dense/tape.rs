//! The tape that keeps the whole memory of every step.

use super::layout::Sixteen;
use crate::kernels::lanes::LANES;
use crate::system::pages::Pages;
use crate::{Error, Real};

/// Cuts the frames of a memory's tape into parts: makes `Frame` and `FrameMut`, which have a slice of [`Sixteen`]s for
/// each part, in the order and of the lengths given. The lengths follow from the [`Layout`] and one thing more.
macro_rules! frame {
    ($(#[$about:meta])* |$layout:ident, $more:ident: $type:ty| $($(#[$doc:meta])* $part:ident: $length:expr,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        struct Frame<'a, T> {
            $($(#[$doc])* $part: &'a [Sixteen<T>],)*
        }

        /// A [`Frame`] to be written.
        struct FrameMut<'a, T> {
            $($part: &'a mut [Sixteen<T>],)*
        }

        impl<'a, T> Frame<'a, T> {
            fn len($layout: Layout, $more: $type) -> usize {
                [$($length),*].iter().sum()
            }

            #[inline(always)]
            fn cut($layout: Layout, $more: $type, mut frame: &'a [Sixteen<T>]) -> Self {
                $(
                    let ($part, rest) = frame.split_at($length);
                    frame = rest;
                )*
                debug_assert!(frame.is_empty());
                Self { $($part),* }
            }
        }

        impl<'a, T> FrameMut<'a, T> {
            #[inline(always)]
            fn cut($layout: Layout, $more: $type, mut frame: &'a mut [Sixteen<T>]) -> Self {
                $(
                    let ($part, rest) = frame.split_at_mut($length);
                    frame = rest;
                )*
                debug_assert!(frame.is_empty());
                Self { $($part),* }
            }
        }
    };
}
pub(crate) use frame;

/// The part of [`Memory`](crate::memory::Memory) in which memories with all their state in `frames` do not differ. Their steps
/// are functions `step` and `step_back`, and `make_as_new` makes the frame of the latest step that of a new memory.
macro_rules! life_in_frames {
    () => {
        fn reset(&mut self) {
            self.frames.start_episode();
            self.make_as_new();
        }

        fn fill(&mut self, content: &mut dyn FnMut(usize, &mut [T])) {
            self.reset();
            self.layout.fill(self.frames.now_mut(), content);
        }

        fn start_episode(&mut self) {
            self.frames.start_episode();
        }

        fn step(&mut self, interface: &[T], read: &mut [T], record: bool) {
            step(self, interface, read, record);
        }

        fn restart(&mut self) {
            self.frames.restart();
            self.make_as_new();
        }

        fn step_back(&mut self, interface: &[T], read_gradient: &[T], interface_gradient: &mut [T]) {
            self.frames.undo_restarts();
            step_back(self, interface, read_gradient, interface_gradient);
        }

        fn replay(&mut self) {
            self.frames.replay();
        }

        fn forget_undone(&mut self) {
            self.frames.forget_undone();
        }

        fn forget_gradients(&mut self) {
            self.frames.forget_gradients();
        }

        fn tape_growth(&self, steps: usize) -> u128 {
            self.frames.growth(steps)
        }
    };
}
pub(crate) use life_in_frames;

/// The tape of a dense memory: its whole state at every step, in frames of one length.
///
/// Frames are handed out from chunks of a few MiB or of one frame, whichever is more, so that a tape of many GiB
/// grows without being copied; chunks stay until the memory is dropped. Frame 0 is the state at the start of the
/// episode. A new episode begins in the frame in which the one before ended: nothing is copied.
#[derive(Debug)]
pub struct Frames<T> {
    /// In numbers, a multiple of sixteen.
    frame_len: usize,
    frames_in_chunk: usize,
    chunks: Vec<Pages<T>>,
    /// The place of each step's frame among all.
    places: Vec<usize>,
    /// The latest step that is in force.
    position: usize,
    /// The position to which no gradient comes from the steps undone.
    without_gradients: Option<usize>,
    /// Steps on the tape; those after `position` were undone. A restart counts as one.
    steps: usize,
    /// Those of them that are restarts.
    restarts: Vec<usize>,
}

/// Bytes of a chunk that holds several frames.
const CHUNK_BYTES: usize = 4 << 20;

impl<T: Real> Frames<T> {
    /// A tape of frames of `frame_len` [`Sixteen`]s, with one frame of zeros.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(frame_len: usize) -> Result<Self, Error> {
        let frame_len = frame_len * LANES;
        let frames_in_chunk = (CHUNK_BYTES / (frame_len * size_of::<T>())).max(1);
        let mut frames = Self {
            frame_len,
            frames_in_chunk,
            chunks: Vec::new(),
            places: Vec::new(),
            position: 0,
            without_gradients: None,
            steps: 0,
            restarts: Vec::new(),
        };
        frames.grow()?;
        Ok(frames)
    }

    fn grow(&mut self) -> Result<(), Error> {
        let place = self.places.len();
        if place == self.chunks.len() * self.frames_in_chunk {
            self.chunks.push(Pages::dense(self.frames_in_chunk * self.frame_len)?);
        }
        self.places.push(place);
        Ok(())
    }

    /// Bytes that a tape of `steps` steps would take beyond those that it has taken already.
    pub fn growth(&self, steps: usize) -> u128 {
        let more = (steps + 1).saturating_sub(self.places.len());
        more as u128 * (self.frame_len * size_of::<T>()) as u128
    }

    /// The number of steps in force.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Starts an episode in the frame of the latest step.
    pub fn start_episode(&mut self) {
        self.places.swap(0, self.position);
        (self.position, self.steps) = (0, 0);
        self.without_gradients = None;
        self.restarts.clear();
    }

    /// The frame of the latest step in force.
    pub fn now(&self) -> &[Sixteen<T>] {
        self.frame(self.position)
    }

    /// The frame of the latest step in force, to be changed.
    pub fn now_mut(&mut self) -> &mut [Sixteen<T>] {
        let (chunk, start) = self.place(self.position);
        self.chunks[chunk][start..start + self.frame_len].as_chunks_mut().0
    }

    fn place(&self, step: usize) -> (usize, usize) {
        let place = self.places[step];
        (place / self.frames_in_chunk, place % self.frames_in_chunk * self.frame_len)
    }

    fn frame(&self, step: usize) -> &[Sixteen<T>] {
        let (chunk, start) = self.place(step);
        self.chunks[chunk][start..start + self.frame_len].as_chunks().0
    }

    /// Goes on by a step: the frame before it, and its own, which holds whatever it held. Steps that were undone are
    /// forgotten. Without `record`, an episode starts in either.
    ///
    /// # Panics
    /// If there is no address space left.
    pub fn step(&mut self, record: bool) -> (&[Sixteen<T>], &mut [Sixteen<T>]) {
        if !record {
            self.start_episode();
        }
        self.go_on();
        let (before, now) = (self.place(self.position - 1), self.place(self.position));
        if !record {
            self.start_episode();
        }
        self.frames_at(before, now)
    }

    /// Goes on to a frame that does not follow from the one before it: that of a new memory is to be put there.
    ///
    /// # Panics
    /// If there is no address space left.
    pub fn restart(&mut self) {
        self.go_on();
        self.restarts.push(self.position);
    }

    /// Goes back over the restarts after which no step is in force.
    pub fn undo_restarts(&mut self) {
        while self.restarts.binary_search(&self.position).is_ok() {
            self.position -= 1;
        }
    }

    /// Steps and restarts that were undone cannot be taken again.
    pub fn forget_undone(&mut self) {
        while self.restarts.pop_if(|restart| *restart > self.position).is_some() {}
        self.steps = self.position;
        self.without_gradients = None;
    }

    /// No gradient comes from the steps that were undone.
    pub fn forget_gradients(&mut self) {
        self.without_gradients = Some(self.position);
    }

    /// Goes on by a frame; what was undone is forgotten.
    fn go_on(&mut self) {
        self.forget_undone();
        self.position += 1;
        self.steps = self.position;
        if self.position == self.places.len()
            && let Err(error) = self.grow()
        {
            panic!("the tape cannot grow: {error}");
        }
    }

    /// The frames at two places, each a chunk and where it starts in it; the second one to be changed.
    fn frames_at(&mut self, before: (usize, usize), now: (usize, usize)) -> (&[Sixteen<T>], &mut [Sixteen<T>]) {
        let [first, second] = [before.1, now.1].map(|start| start..start + self.frame_len);
        let (before, now) = if before.0 == now.0 {
            let Ok([before, now]) = self.chunks[before.0].get_disjoint_mut([first, second]) else {
                unreachable!("two frames do not overlap");
            };
            (before, now)
        } else {
            let Ok([before, now]) = self.chunks.get_disjoint_mut([before.0, now.0]) else {
                unreachable!("two chunks are not one");
            };
            (&mut before[first], &mut now[second])
        };
        (before.as_chunks().0, now.as_chunks_mut().0)
    }

    /// No step follows that was undone, or only after a restart: whatever gradient comes back from later steps starts at
    /// zero here.
    pub fn at_end(&self) -> bool {
        self.position == self.steps
            || self.without_gradients == Some(self.position)
            || self.restarts.binary_search(&(self.position + 1)).is_ok()
    }

    /// Undoes the latest step in force, and the restarts right before it: the frame before the step, and its own.
    ///
    /// # Panics
    /// If no step is left on the tape.
    pub fn step_back(&mut self) -> (&[Sixteen<T>], &[Sixteen<T>]) {
        assert!(self.position > 0, "no step is left on the tape");
        let before = self.position - 1;
        self.position = before;
        self.undo_restarts();
        (self.frame(before), self.frame(before + 1))
    }

    /// The frame before the latest step in force, and its own.
    ///
    /// # Panics
    /// If no step is left on the tape.
    pub fn latest(&self) -> (&[Sixteen<T>], &[Sixteen<T>]) {
        assert!(self.position > 0, "no step is left on the tape");
        (self.frame(self.position - 1), self.frame(self.position))
    }

    /// Takes again every step that was undone.
    pub fn replay(&mut self) {
        self.position = self.steps;
        self.without_gradients = None;
    }
}
