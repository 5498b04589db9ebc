//! Restarts on the tape of a sparse memory.

/// An episode is cut into segments by its restarts. The memory holds one of them, with its tape; the others are aside.
#[derive(Debug)]
pub struct Segments<A> {
    /// Those before the present one, in the order of time.
    earlier: Vec<A>,
    /// Those after it, all of whose steps were undone, the latest first.
    later: Vec<A>,
}

impl<A> Default for Segments<A> {
    fn default() -> Self {
        Self { earlier: Vec::new(), later: Vec::new() }
    }
}

impl<A> Segments<A> {
    /// The present one is the whole episode.
    pub fn clear(&mut self) {
        self.earlier.clear();
        self.later.clear();
    }

    /// What was undone after the present one can no longer be replayed.
    #[inline(always)]
    pub fn forget_later(&mut self) {
        if !self.later.is_empty() {
            self.later.clear();
        }
    }
}

/// A memory that can put everything that it holds aside, together with its tape, and take up something else.
pub trait Swap {
    /// What was put aside.
    type Aside;

    /// The other segments of the episode.
    fn segments(&mut self) -> &mut Segments<Self::Aside>;

    /// What a new memory holds.
    fn fresh(&self) -> Self::Aside;

    /// Takes up what was put aside, and puts aside what it held. No gradient passes from one to the other.
    fn swap(&mut self, other: Self::Aside) -> Self::Aside;

    /// Whether no step of the present segment is in force.
    fn at_start(&self) -> bool;

    /// The undone steps of the present segment can no longer be replayed.
    fn forget_undone(&mut self);

    /// Redoes the undone steps of the present segment.
    fn redo(&mut self);

    /// As [`Memory::restart`](crate::memory::Memory::restart).
    fn start_segment(&mut self) {
        self.segments().later.clear();
        self.forget_undone();
        let before = self.swap(self.fresh());
        self.segments().earlier.push(before);
    }

    /// Undoes the restarts after which no step is in force.
    fn undo_restarts(&mut self) {
        while self.at_start()
            && let Some(earlier) = self.segments().earlier.pop()
        {
            let undone = self.swap(earlier);
            self.segments().later.push(undone);
        }
    }

    /// Redoes every step and restart that was undone.
    fn redo_segments(&mut self) {
        self.redo();
        while let Some(later) = self.segments().later.pop() {
            let before = self.swap(later);
            self.segments().earlier.push(before);
            self.redo();
        }
    }
}
