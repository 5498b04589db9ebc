//! Binary trees over directions, searched together, nearest leaves first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::exact::{direction, offer, word_of};
use super::{Found, Index};
use crate::kernels::vector::position;
use crate::system::pages::Pages;
use crate::{Error, Real};

/// Words in a leaf that is not split.
const LEAF: usize = 8;
/// Two leaves side by side with no more words together become one.
const SPARSE_LEAVES: usize = LEAF / 2;
const ROOT: usize = 0;

/// How the trees of a forest divide directions: by a feature of theirs, below or above a threshold.
pub trait Rule: Send {
    /// A feature of a direction.
    fn feature(&self, feature: u32, direction: &[f32]) -> f32;

    /// Chooses how to divide `directions` (of `size` numbers each), which lie in one leaf of a tree; `after` divides the
    /// node above. None if there is no way.
    fn divide(&mut self, tree: usize, after: Option<Split>, directions: &[f32], size: usize) -> Option<Split>;

    /// Makes the rule as it was when made.
    fn reset(&mut self);
}

/// What divides a node: directions whose feature is below the threshold go to one side, the others to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// The number of the feature.
    pub feature: u32,
    /// The threshold.
    pub threshold: f32,
}

/// Several trees that divide the same words differently. A query descends each of them; after that the leaf is next
/// whose region is nearest to it, over all trees, until as many words as it may look at were compared, by exact cosines.
///
/// A word that changes moves from leaf to leaf. A leaf with too many words is divided by what lies in it then; one without
/// words vanishes together with what divided it from its sibling. So the trees follow the words, and there is nothing
/// to rebuild.
#[derive(Debug)]
pub struct Forest<T, R> {
    size: usize,
    checks: usize,
    rule: R,
    trees: Vec<Tree>,
    held: usize,
    /// The number of the search that each word was last compared in.
    compared: Pages<u32>,
    search: u32,
    /// Scratch: leaves and nodes still to be looked into, nearest first.
    queue: BinaryHeap<Pending>,
    direction: Vec<f32>,
    directions: Vec<f32>,
    chosen: Vec<u32>,
    numbers: std::marker::PhantomData<T>,
}

#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// One more than the leaf that holds each word; 0 for words that are not held.
    leaves: Pages<u32>,
}

/// A node that is divided, or a leaf with words.
#[derive(Debug, Default)]
struct Node {
    parent: u32,
    split: Option<(Split, [u32; 2])>,
    words: Vec<u32>,
}

#[derive(Debug)]
struct Pending {
    distance: f32,
    tree: u32,
    node: u32,
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pending: &Self| (pending.tree, pending.node);
        other.distance.total_cmp(&self.distance).then_with(|| key(other).cmp(&key(self)))
    }
}
impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Pending {}

impl<T: Real, R: Rule> Forest<T, R> {
    /// An empty index of `trees` trees over words 0 to `memory_size` - 1 of `word_size` numbers, which compares a query
    /// with about `checks` words.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for it.
    pub(super) fn new(
        memory_size: usize,
        word_size: usize,
        trees: usize,
        checks: usize,
        rule: R,
    ) -> Result<Self, Error> {
        Ok(Self {
            size: word_size,
            checks,
            rule,
            trees: (0..trees).map(|_| Tree::new(memory_size)).collect::<Result<_, _>>()?,
            held: 0,
            compared: Pages::new(memory_size)?,
            search: 0,
            queue: BinaryHeap::new(),
            direction: vec![0.0; word_size],
            directions: Vec::new(),
            chosen: Vec::new(),
            numbers: std::marker::PhantomData,
        })
    }

    /// Divides a leaf that has become too large.
    fn divide(&mut self, tree: usize, leaf: usize, contents: &[T]) {
        let node = &self.trees[tree].nodes[leaf];
        // Words that nothing divides gather in a leaf; it is not worth trying again at each of them.
        if node.words.len() <= LEAF || !(node.words.len() / LEAF).is_power_of_two() || node.words.len() % LEAF != 1 {
            return;
        }
        self.directions.resize(node.words.len() * self.size, 0.0);
        for (word, into) in node.words.iter().zip(self.directions.chunks_exact_mut(self.size)) {
            direction(word_of(contents, *word, self.size), into);
        }
        let after = if leaf == ROOT {
            None
        } else {
            self.trees[tree].nodes[node.parent as usize].split.map(|(split, _)| split)
        };
        let Some(split) = self.rule.divide(tree, after, &self.directions, self.size) else { return };
        let (rule, directions) = (&self.rule, &self.directions);
        let mut directions = directions.chunks_exact(self.size);
        self.trees[tree].divide(leaf, split, |_| {
            directions.next().is_some_and(|direction| rule.feature(split.feature, direction) >= split.threshold)
        });
    }

    fn compare(&mut self, contents: &[T], query: &[T], number: usize, found: &mut Found<T>) {
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.compared.fill(0);
            self.search = 1;
        }
        direction(query, &mut self.direction);
        self.queue.clear();
        let trees = 0..self.trees.len() as u32;
        self.queue.extend(trees.map(|tree| Pending { distance: 0.0, tree, node: ROOT as u32 }));
        let mut compared = 0;
        let least = found.limit().min(self.held);
        while compared < self.checks || found.words(number).len() < least {
            let Some(Pending { distance, tree, mut node }) = self.queue.pop() else { break };
            while let Some((split, children)) = self.trees[tree as usize].nodes[node as usize].split {
                let beyond = self.rule.feature(split.feature, &self.direction) - split.threshold;
                let near = usize::from(beyond >= 0.0);
                let other = Pending { distance: distance + beyond * beyond, tree, node: children[1 - near] };
                self.queue.push(other);
                node = children[near];
            }
            self.chosen.clear();
            for word in &self.trees[tree as usize].nodes[node as usize].words {
                let last = &mut self.compared[*word as usize];
                if *last != self.search {
                    *last = self.search;
                    self.chosen.push(*word);
                }
            }
            compared += self.chosen.len();
            offer(contents, query, number, &mut self.chosen.iter().copied(), found);
        }
    }
}

// Of the rules with which a forest is in the registry, which seals those.
impl<T: Real, R: Rule> Index<T> for Forest<T, R>
where
    Self: super::sealed::Sealed,
{
    fn update(&mut self, word: u32, contents: &[T]) {
        direction(word_of(contents, word, self.size), &mut self.direction);
        self.held += usize::from(!self.contains(word));
        for tree in 0..self.trees.len() {
            let (rule, direction) = (&self.rule, &self.direction);
            let leaf = self.trees[tree].descend(|split| rule.feature(split.feature, direction) >= split.threshold);
            if self.trees[tree].leaves[word as usize] == leaf as u32 + 1 {
                continue;
            }
            // Added before it is removed, which may change what the leaves are.
            let old = self.trees[tree].leaves[word as usize];
            self.trees[tree].nodes[leaf].words.push(word);
            self.trees[tree].leaves[word as usize] = leaf as u32 + 1;
            if old != 0 {
                self.trees[tree].take(old as usize - 1, word);
            }
            let leaf = self.trees[tree].leaves[word as usize] as usize - 1;
            self.divide(tree, leaf, contents);
        }
    }

    fn forget(&mut self, word: u32) {
        if self.contains(word) {
            self.held -= 1;
            for tree in &mut self.trees {
                let leaf = std::mem::take(&mut tree.leaves[word as usize]);
                tree.take(leaf as usize - 1, word);
            }
        }
    }

    fn contains(&self, word: u32) -> bool {
        self.trees[0].leaves[word as usize] != 0
    }

    fn len(&self) -> usize {
        self.held
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        self.held = 0;
        self.rule.reset();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            tree.clear(&mut |word| {
                if number == 0 {
                    forgotten(word);
                }
            });
        }
    }

    fn search(&mut self, contents: &[T], queries: &[T], found: &mut Found<T>) {
        for (number, query) in queries.chunks_exact(self.size).enumerate() {
            self.compare(contents, query, number, found);
        }
    }
}

impl Tree {
    fn new(words: usize) -> Result<Self, Error> {
        Ok(Self { nodes: vec![Node::default()], free: Vec::new(), leaves: Pages::new(words)? })
    }

    fn descend(&self, far: impl Fn(Split) -> bool) -> usize {
        let mut node = ROOT;
        while let Some((split, children)) = self.nodes[node].split {
            node = children[usize::from(far(split))] as usize;
        }
        node
    }

    fn create(&mut self, parent: usize) -> u32 {
        let node = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() as u32 - 1
        });
        self.nodes[node as usize].parent = parent as u32;
        node
    }

    /// Divides a leaf; `far` says of each of its words in turn whether it goes to the second side.
    fn divide(&mut self, leaf: usize, split: Split, mut far: impl FnMut(u32) -> bool) {
        let children = [self.create(leaf), self.create(leaf)];
        let mut words = std::mem::take(&mut self.nodes[leaf].words);
        for word in words.drain(..) {
            let child = children[usize::from(far(word))];
            self.nodes[child as usize].words.push(word);
            self.leaves[word as usize] = child + 1;
        }
        self.nodes[leaf].words = words;
        self.nodes[leaf].split = Some((split, children));
    }

    /// Takes a word out of a leaf, which is joined with its sibling if few words are left.
    fn take(&mut self, leaf: usize, word: u32) {
        let words = &mut self.nodes[leaf].words;
        if let Some(place) = position(words, word) {
            words.swap_remove(place);
        }
        if leaf == ROOT {
            return;
        }
        let parent = self.nodes[leaf].parent as usize;
        let Some((_, children)) = self.nodes[parent].split else { return };
        let sibling = (if children[0] as usize == leaf { children[1] } else { children[0] }) as usize;
        let left = self.nodes[leaf].words.len();
        let beside = self.nodes[sibling].words.len();
        if left > 0 && (self.nodes[sibling].split.is_some() || left + beside > SPARSE_LEAVES) {
            return;
        }
        // The parent becomes what the sibling is, and takes the leaf's words too.
        let mut words = std::mem::take(&mut self.nodes[leaf].words);
        self.nodes[parent].split = self.nodes[sibling].split.take();
        if let Some((_, children)) = self.nodes[parent].split {
            for child in children {
                self.nodes[child as usize].parent = parent as u32;
            }
        }
        let mut all = std::mem::take(&mut self.nodes[sibling].words);
        for word in words.drain(..).chain(all.drain(..)) {
            self.nodes[parent].words.push(word);
            self.leaves[word as usize] = parent as u32 + 1;
        }
        self.nodes[leaf].words = words;
        self.nodes[sibling].words = all;
        self.free.extend([leaf as u32, sibling as u32]);
    }

    fn clear(&mut self, forgotten: &mut dyn FnMut(u32)) {
        for node in &mut self.nodes {
            node.split = None;
            for word in node.words.drain(..) {
                self.leaves[word as usize] = 0;
                forgotten(word);
            }
        }
        self.free.clear();
        self.free.extend((1..self.nodes.len() as u32).rev());
    }
}
