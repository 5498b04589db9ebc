//! Inverted lists: words near each other lie side by side, and a query looks into the lists nearest to it.

mod lists;
mod scored;
mod tree;

use self::tree::{Best, Limits, Tree};
use super::exact::{direction, offer, word_of};
use super::{Found, Index};
use crate::{Error, Real};

/// Words and means that a query is compared with, about, unless chosen otherwise. Where words lie in clusters a quarter of
/// that finds them; a trained network asks for words far from the means of their lists, and loses its way with so few.
pub const CHECKS: usize = 2048;
/// Lists that are looked into are a sixteenth of the checks, with ten words each, about: half of the checks or more.
const CHECKS_FOR_LIST: usize = 16;
/// Groups that are looked through are a fortieth of the checks, with twenty means of lists each: half of the checks or less.
const CHECKS_FOR_GROUP: usize = 40;
/// Words beyond those asked for whose exact cosines are taken, because codes are not exact.
const SPARE_CANDIDATES: usize = 8;

/// Inverted lists that follow their words.
///
/// Words lie in lists of up to 16 that point the same way, as 8-bit codes; lists lie in groups of up to 32 by their mean
/// directions, groups in sections of up to 128, and sections in one last list. A query is compared with the means of the
/// sections, of the groups in the nearest sections, of the lists in the best groups, and with the words in the best lists.
/// The best words are ranked by their exact cosines.
///
/// Which groups and lists are the best is told by what their best word may have: the cosine to their mean, and three
/// standard deviations of their words around it. The best eighth of groups and lists comes first, and what these hold
/// tells which of the others can be left out.
///
/// Lists are that short because of what trained networks ask for: words that are far from the means of all lists, so that
/// the mean of a hundred words hardly tells where the best one is. With lists of 256 a query had to be compared with four
/// times as many words until such a network did as well (`docs/benchmarks.md`, "Queries of trained networks").
///
/// A list that is full is split in two, one that is nearly empty dissolves, and means move with their words (as in
/// SPFresh, Xu et al. 2023, arXiv 2410.14452). So there is nothing to rebuild, however often words are overwritten: an
/// update costs one descent through the means, and now and then a split of 16 words, 32 lists or 128 groups. A word that
/// has moved only a little stays in its list and costs no descent.
///
/// Of the four words most similar to a query near a stored word, at least 95 in 100 are found where words lie in
/// clusters, up to a million of them and however often they were overwritten. Where they lie without any structure,
/// every index has to look at a good part of them all: more checks help.
#[derive(Debug)]
pub struct Ivf<T> {
    size: usize,
    checks: usize,
    held: usize,
    tree: Tree,
    direction: Vec<f32>,
    candidates: Best,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Real> Ivf<T> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers, which compares a query with about
    /// `checks` words and means at most.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(memory_size: usize, word_size: usize, checks: usize) -> Result<Self, Error> {
        Ok(Self {
            size: word_size,
            checks,
            held: 0,
            tree: Tree::new(memory_size, word_size)?,
            direction: vec![0.0; word_size],
            candidates: Best::default(),
            numbers: std::marker::PhantomData,
        })
    }
}

impl<T: Real> Index<T> for Ivf<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        direction(word_of(contents, word, self.size), &mut self.direction);
        self.held += usize::from(!self.tree.contains(word));
        self.tree.update(word, &self.direction);
    }

    fn forget(&mut self, word: u32) {
        if self.tree.contains(word) {
            self.held -= 1;
            self.tree.remove(word);
        }
    }

    fn contains(&self, word: u32) -> bool {
        self.tree.contains(word)
    }

    fn len(&self) -> usize {
        self.held
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        self.held = 0;
        self.tree.clear(forgotten);
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        let limits = Limits {
            // No list is empty, so that enough words are found.
            groups: self.checks.div_ceil(CHECKS_FOR_GROUP).max(found.limit()),
            lists: self.checks.div_ceil(CHECKS_FOR_LIST).max(found.limit()),
            enough: found.limit(),
            candidates: found.limit() + SPARE_CANDIDATES,
        };
        for (number, query) in queries.chunks_exact(self.size).enumerate() {
            direction(query, &mut self.direction);
            found.compared += self.tree.search(&self.direction, limits, &mut self.candidates);
            offer(contents, query, number, &mut self.candidates.numbers(), found);
            if found.words(number).len() < found.limit().min(self.held) {
                // The lists looked into hold too few words; so all lists do, nearly.
                let candidates: Vec<u32> = self.candidates.numbers().collect();
                let mut others = self.tree.words().filter(|word| !candidates.contains(word));
                offer(contents, query, number, &mut others, found);
            }
        }
    }
}
