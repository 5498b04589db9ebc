//! Inverted lists: words near each other lie side by side, and a query looks into the lists nearest to it.

mod lists;
mod tree;
mod zeros;

use self::tree::{Best, Limits, Tree};
use self::zeros::Zeros;
use super::exact::{direction, offer, word_of};
use super::{Found, Index};
use crate::kernels::bytes::SMALLEST;
use crate::{Error, Real};

/// Words that a query is compared with at most, unless chosen otherwise. Where words lie in clusters a quarter of that finds
/// them; a trained network asks for words far from the means of their lists, and loses its way with so few.
pub const CHECKS: usize = 2048;
/// Words in a list, about: lists are full at 256 and are halved then.
const WORDS_IN_LIST: usize = 180;
/// Words that a query is compared with for each that is asked for, at least.
const CHECKS_FOR_WORD: usize = 16;
/// Words beyond those asked for whose exact cosines are taken, because codes are not exact.
const SPARE_CANDIDATES: usize = 4;

/// Inverted lists that follow their words.
///
/// Words lie in lists of up to 256 that point the same way, as 8-bit codes; lists lie in groups of up to 128, by their
/// mean directions. A query is compared with all groups, with the lists of the nearest groups, and with the codes of
/// the words in the nearest lists, best first, until no list is likely to hold a better word or as many words as it
/// may look at were compared. The best of them are ranked by their exact cosines.
///
/// A list that is full is split in two, one that is nearly empty dissolves, and means move with their words (as in
/// SPFresh, Xu et al. 2023, arXiv 2410.14452). So there is nothing to rebuild, however often words are overwritten: an
/// update costs one descent through the means, and now and then a split of 256. A word that has moved only a little
/// stays in its list and costs no descent.
///
/// Words of zeros lie in no list; some of them are among what a query finds if nothing is more similar.
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
    /// Words that are held beside the tree.
    zeros: Zeros,
    direction: Vec<f32>,
    candidates: Best,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Real> Ivf<T> {
    /// An empty index over words 0 to `memory_size` - 1 of `word_size` numbers, which compares a query with about
    /// `checks` words at most.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub fn new(memory_size: usize, word_size: usize, checks: usize) -> Result<Self, Error> {
        Ok(Self {
            size: word_size,
            checks,
            held: 0,
            tree: Tree::new(memory_size, word_size)?,
            zeros: Zeros::new(memory_size)?,
            direction: vec![0.0; word_size],
            candidates: Best::default(),
            numbers: std::marker::PhantomData,
        })
    }
}

impl<T: Real> Index<T> for Ivf<T> {
    fn update(&mut self, word: u32, contents: &[T]) {
        direction(word_of(contents, word, self.size), &mut self.direction);
        if self.direction.iter().all(|number| number.abs() < SMALLEST) {
            self.held += usize::from(!self.contains(word));
            if self.tree.contains(word) {
                self.tree.remove(word);
            }
            self.zeros.insert(word);
            return;
        }
        let held = self.zeros.remove(word) || self.tree.contains(word);
        self.held += usize::from(!held);
        self.tree.update(word, &self.direction);
    }

    fn forget(&mut self, word: u32) {
        if self.tree.contains(word) {
            self.held -= 1;
            self.tree.remove(word);
        } else if self.zeros.remove(word) {
            self.held -= 1;
        }
    }

    fn contains(&self, word: u32) -> bool {
        self.tree.contains(word) || self.zeros.contains(word)
    }

    fn len(&self) -> usize {
        self.held
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        self.held = 0;
        self.tree.clear(forgotten);
        self.zeros.clear(forgotten);
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        // Whoever asks for many words finds few of them in few lists.
        let checks = self.checks.max(CHECKS_FOR_WORD * found.limit());
        let lists = checks.div_ceil(WORDS_IN_LIST);
        // Whoever asks for more comparisons than usual wants fewer lists and groups left out, too.
        let slack = (checks as f32 / CHECKS as f32).max(1.0);
        let limits = Limits { lists, slack, enough: found.limit(), candidates: found.limit() + SPARE_CANDIDATES };
        for (number, query) in queries.chunks_exact(self.size).enumerate() {
            direction(query, &mut self.direction);
            found.compared += self.tree.search(&self.direction, limits, &mut self.candidates);
            let zeros = self.zeros.words().iter().copied().take(found.limit());
            offer(contents, query, number, &mut self.candidates.numbers().chain(zeros), found);
            if found.words(number).len() < found.limit().min(self.held) {
                // The lists looked into hold too few words; so all lists do, nearly.
                let mut candidates: Vec<u32> = self.candidates.numbers().collect();
                candidates.sort_unstable();
                let mut others = self.tree.words().filter(|word| candidates.binary_search(word).is_err());
                offer(contents, query, number, &mut others, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds_what_is_not_tiny<T: Real>(tiny: f64) {
        // Unit vectors all about, every third of them with numbers too small to be told from none.
        let word = |number: usize| {
            let angle = number as f64 / 600.0 * std::f64::consts::TAU;
            let length = if number % 3 == 2 { tiny } else { 1.0 };
            [angle.cos(), angle.sin(), 0.0].map(|number| T::from_f64(number * length))
        };
        let contents: Vec<T> = (0..600).flat_map(word).collect();
        let mut ivf = Ivf::new(600, 3, CHECKS).unwrap();
        (0..600).for_each(|word| ivf.update(word, &contents));
        let mut found = Found::default();
        for number in [0, 300, 598, 2] {
            found.start(1, 3);
            ivf.search(&contents, &word(number), &mut found);
            assert_eq!(found.words(0).len(), 3);
            assert!(number == 2 || found.words(0)[0] as usize == number, "{number}: {:?}", found.words(0));
        }
        (0..600).for_each(|word| ivf.forget(word));
        assert_eq!(ivf.len(), 0);
    }

    #[test]
    fn words_too_small_for_codes_are_as_zeros() {
        for tiny in [1e-45, 1e-41, 1e-37, 1e-34] {
            finds_what_is_not_tiny::<f32>(tiny);
            finds_what_is_not_tiny::<f64>(tiny / 10.0);
        }
    }
}
