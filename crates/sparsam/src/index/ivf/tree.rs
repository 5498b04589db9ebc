//! Words in lists, lists in groups, groups in one last list: each by its direction.

use super::lists::{Lists, Of};
use crate::Error;
use crate::kernels::bytes::Query;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};

/// Words are members of lists here.
const WORDS: usize = 0;
/// Lists are members of groups here.
const LISTS: usize = 1;
/// Groups are members of one list of all groups here.
const GROUPS: usize = 2;
/// The list of all groups.
const ALL: u32 = 0;
/// Words in a list at most.
const WORDS_IN_LIST: usize = 256;
/// Lists in a group at most.
const LISTS_IN_GROUP: usize = 128;
/// A mean is computed anew after one change for this many of its list's members.
const STALE: usize = 16;
/// Groups whose lists are looked through at least, and how many more as there are more groups: times the square root
/// of their number.
const LEAST_GROUPS: usize = 8;
const MORE_GROUPS: f32 = 1.25;
/// A word that has at least this cosine to its code is left as it is: codes are hardly better than that, and what was
/// found is ranked by the words themselves.
const SAME: f32 = 0.9995;
/// A word that has at least this cosine to its code has moved little.
const LITTLE: f32 = 0.95;
/// One in this many small moves of words far from the mean of their list is a reason to look for another list.
const SMALL_MOVES: usize = 8;
/// Words by direction: what [`Ivf`](super::Ivf) searches.
///
/// Every list's mean is told to the level above when enough of its members have changed. A list that is full is split;
/// one with few members left is given up, and they go to others. Members that a split or a moving mean has left far
/// from the mean of their list go to the nearest one. All of this takes place as words are updated, a list at a time.
#[derive(Debug)]
pub(super) struct Tree {
    size: usize,
    levels: [Lists; 3],
    small_moves: usize,
    query: Query,
    scores: Scores,
    groups: Best,
    lists: Best,
    /// The scores of the best words that a search has found.
    enough: Vec<f32>,
    /// Scratch of each level, because a change at one can lead to one at the next.
    scratch: [Scratch; 3],
}

#[derive(Debug, Default)]
struct Scratch {
    mean: Vec<f32>,
    direction: Vec<f32>,
    members: Vec<u32>,
    homeless: Vec<u32>,
    directions: Vec<f32>,
}

/// How similar the members of some lists are to a query, list after list.
#[derive(Debug, Default)]
struct Scores {
    scores: Vec<[f32; LANES]>,
    /// Each list, and the place of its first score.
    lists: Vec<(usize, u32)>,
}

impl Scores {
    fn clear(&mut self) {
        self.scores.clear();
        self.lists.clear();
    }

    /// Takes note of a list whose scores are appended next.
    fn of(&mut self, list: u32) -> &mut Vec<[f32; LANES]> {
        self.lists.push((self.scores.len() * LANES, list));
        &mut self.scores
    }

    /// The member that the score at a place is of.
    fn member(&self, level: &Lists, place: usize) -> u32 {
        let (first, list) = self.lists[self.lists.partition_point(|(first, _)| *first <= place) - 1];
        level.members(list)[place - first]
    }
}

/// Members with the highest scores, best first; of equal ones those whose scores come first.
#[derive(Debug, Default)]
pub(super) struct Best {
    entries: Vec<(f32, u32)>,
    /// Scratch.
    keys: Vec<u64>,
    largest: Vec<f32>,
}

impl Best {
    /// Takes the best `limit` members, one at least.
    fn take(&mut self, limit: usize, level: &Lists, scores: &Scores) {
        take_best::<f32>(limit.max(1), &scores.scores, &mut self.largest, &mut self.keys);
        self.entries.clear();
        self.entries.extend(self.keys.iter().map(|key| {
            let place = *key as u32 as usize;
            (scores.scores[place / LANES][place % LANES], scores.member(level, place))
        }));
    }

    /// The numbers of the members, best first.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| entry.1)
    }
}

/// Orders scores at places, the best first, equal ones by their places. The lower half is the place.
#[inline(always)]
fn key(score: f32, place: usize) -> u64 {
    // There is one zero.
    let bits = (score + 0.0).to_bits();
    // The bits of positive numbers are in the order of the numbers, those of negative ones in reverse.
    let descending = if bits >> 31 == 0 { !bits ^ 1 << 31 } else { bits };
    u64::from(descending) << 32 | place as u64
}

/// The largest score in each lane, of every so many blocks.
#[inline(always)]
fn largest<I: InstructionSet>(simd: I, scores: &[[f32; LANES]], step: usize) -> I::Lanes<f32> {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for scores in scores.iter().step_by(step) {
        largest = simd.load(scores).larger(largest);
    }
    largest
}

vector_fn! {
    /// Writes the [keys](key) of the best `limit` scores, in order; those of -∞ are no scores.
    ///
    /// Whatever is smaller than as many others, the largest of each lane, is left out before: a branch taken for one score in a
    /// hundred costs more than many comparisons.
    fn take_best<T, simd: I>(
        limit: usize, scores: &[[f32; LANES]], lanes: &mut Vec<f32>, keys: &mut Vec<u64>,
    ) {
        let bound = if limit <= LANES {
            largest(simd, scores, 1).kth_largest(limit)
        } else {
            // More lanes than are to be kept, by a third.
            let sets = limit.div_ceil(LANES * 3 / 4).clamp(1, scores.len().max(1));
            lanes.clear();
            for set in 0..sets.min(scores.len()) {
                let mut of_set = [0.0; LANES];
                largest(simd, &scores[set..], sets).store(&mut of_set);
                lanes.extend(of_set);
            }
            if lanes.len() < limit {
                f32::NEG_INFINITY
            } else {
                *lanes.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a)).1
            }
        };
        keys.clear();
        for (block, scores) in scores.iter().enumerate() {
            let mut bits = simd.load(scores).at_least(bound);
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if scores[lane] > f32::NEG_INFINITY {
                    keys.push(key(scores[lane], block * LANES + lane));
                }
            }
        }
        // Where many scores are alike, many are left.
        if keys.len() > limit {
            keys.select_nth_unstable(limit - 1);
            keys.truncate(limit);
        }
        keys.sort_unstable();
    }
}

vector_fn! {
    /// Keeps in `best` the `count` largest of those that it has and of these scores; gives the smallest of so many, -∞ while there
    /// are fewer.
    fn keep_largest<T, simd: I>(scores: &[[f32; LANES]], best: &mut Vec<f32>, count: usize) -> f32 {
        let before = if best.len() < count { f32::NEG_INFINITY } else { best[count - 1] };
        // As many of these scores are not smaller.
        let bound = largest(simd, scores, 1).kth_largest(count);
        let bound = if bound > before { bound } else { before };
        for scores in scores {
            let mut bits = simd.load(scores).at_least(bound);
            while bits != 0 {
                let score = scores[bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if score > f32::NEG_INFINITY {
                    best.push(score);
                }
            }
        }
        if best.len() < count {
            return f32::NEG_INFINITY;
        }
        best.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        best.truncate(count);
        best[count - 1]
    }
}

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Lists whose words are compared with it.
    pub lists: usize,
    /// Once this many words are found, lists that are not likely to hold better ones are left out.
    pub enough: usize,
    /// How much better than its mean and spread let expect a list's best word may be, as a share of what is missing to a
    /// cosine of 1; and how many times as many groups as usual are looked through.
    pub slack: f32,
    /// Words that are named.
    pub candidates: usize,
}

impl Tree {
    /// Holds none of `words` words with directions of `size` numbers.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(words: usize, size: usize) -> Result<Self, Error> {
        // All but one are filled to an eighth, and one is made before another is given up.
        let lists = words / (WORDS_IN_LIST / 8) + 3;
        let groups = lists / (LISTS_IN_GROUP / 8) + 3;
        Ok(Self {
            size,
            levels: [
                Lists::new(words, lists, WORDS_IN_LIST, size, Of::Words)?,
                Lists::new(lists, groups, LISTS_IN_GROUP, size, Of::Lists)?,
                Lists::new(groups, 1, groups, size, Of::Lists)?,
            ],
            small_moves: 0,
            query: Query::default(),
            scores: Scores::default(),
            groups: Best::default(),
            lists: Best::default(),
            enough: Vec::new(),
            scratch: Default::default(),
        })
    }

    /// Whether it holds a word.
    pub fn contains(&self, word: u32) -> bool {
        self.levels[WORDS].list_of(word).is_some()
    }

    /// All words that it holds.
    pub fn words(&self) -> impl Iterator<Item = u32> {
        let words = &self.levels[WORDS];
        words.lists().flat_map(|list| words.members(list)).copied()
    }

    /// Removes everything, naming each word to `removed`.
    pub fn clear(&mut self, removed: &mut dyn FnMut(u32)) {
        self.levels[WORDS].clear(removed);
        self.levels[LISTS].clear(|_| ());
        self.levels[GROUPS].clear(|_| ());
        self.small_moves = 0;
    }

    /// Adds a word, or changes the direction of one.
    pub fn update(&mut self, word: u32, direction: &[f32]) {
        if self.levels[WORDS].count() == 0 {
            for (level, member) in self.levels.iter_mut().zip([word, 0, ALL]) {
                let list = level.create();
                level.insert(list, member, direction);
            }
            self.refresh(LISTS, 0);
            self.refresh(WORDS, 0);
            return;
        }
        if let Some(list) = self.levels[WORDS].list_of(word) {
            let cosine = self.levels[WORDS].cosine(word, direction);
            if cosine >= SAME {
                return;
            }
            let near = self.levels[WORDS].is_near(list, direction) || {
                let small = cosine >= LITTLE;
                self.small_moves += usize::from(small);
                small && !self.small_moves.is_multiple_of(SMALL_MOVES)
            };
            if near {
                self.levels[WORDS].replace(word, direction);
                self.changed(WORDS, list);
                return;
            }
            self.remove(word);
        }
        let list = self.nearest(WORDS, direction);
        self.insert(WORDS, list, word, direction);
    }

    /// Removes a word that is there.
    pub fn remove(&mut self, word: u32) {
        let list = self.levels[WORDS].remove(word);
        self.shrunk(WORDS, list);
    }

    /// The words whose directions are most similar to a query's, as far as codes tell, best first. Gives the number of means and
    /// words that it was compared with.
    pub fn search(&mut self, direction: &[f32], limits: Limits, found: &mut Best) -> usize {
        self.query.set(direction);
        found.entries.clear();
        let [words, lists, groups] = &self.levels;
        if groups.count() == 0 {
            return 0;
        }
        let mut compared = groups.members(ALL).len();
        self.scores.clear();
        groups.best_scores(ALL, &self.query, self.scores.of(ALL));
        self.groups.take((limits.slack * self.groups_to_look_through() as f32) as usize, groups, &self.scores);
        self.scores.clear();
        for group in self.groups.numbers() {
            compared += lists.members(group).len();
            lists.best_scores(group, &self.query, self.scores.of(group));
        }
        self.lists.take(limits.lists, lists, &self.scores);
        self.scores.clear();
        self.enough.clear();
        let mut last = f32::NEG_INFINITY;
        for (place, (best, list)) in self.lists.entries.iter().enumerate() {
            if best + limits.slack * (1.0 - last) < last {
                break;
            }
            if let Some((_, next)) = self.lists.entries.get(place + 1) {
                words.prefetch(*next);
            }
            compared += words.members(*list).len();
            let first = self.scores.scores.len();
            words.scores(*list, &self.query, self.scores.of(*list));
            last = keep_largest::<f32>(&self.scores.scores[first..], &mut self.enough, limits.enough.max(1));
        }
        found.take(limits.candidates, words, &self.scores);
        compared
    }

    fn groups_to_look_through(&self) -> usize {
        let groups = self.levels[LISTS].count();
        LEAST_GROUPS.max((MORE_GROUPS * (groups as f32).sqrt()) as usize)
    }

    /// The list at a level that a direction belongs to.
    fn nearest(&mut self, level: usize, direction: &[f32]) -> u32 {
        if level == GROUPS {
            return ALL;
        }
        self.query.set(direction);
        let [_, lists, groups] = &self.levels;
        self.scores.clear();
        groups.scores(ALL, &self.query, self.scores.of(ALL));
        self.groups.take(if level == WORDS { self.groups_to_look_through() } else { 1 }, groups, &self.scores);
        if level == LISTS {
            return self.groups.entries[0].1;
        }
        self.scores.clear();
        for group in self.groups.numbers() {
            lists.scores(group, &self.query, self.scores.of(group));
        }
        self.lists.take(1, lists, &self.scores);
        self.lists.entries[0].1
    }

    /// Adds a member to a list at a level, which is split first if it is full.
    fn insert(&mut self, level: usize, mut list: u32, member: u32, direction: &[f32]) {
        let full = self.levels[level].is_full(list);
        let halves = if full { Some([list, self.split(level, list)]) } else { None };
        if let Some([_, new]) = halves
            && self.levels[level].nearness(new, direction) > self.levels[level].nearness(list, direction)
        {
            list = new;
        }
        self.levels[level].insert(list, member, direction);
        if level > WORDS {
            let (below, above) = self.levels.split_at_mut(level);
            above[0].set_reach(member, &below[level - 1]);
        }
        self.changed(level, list);
        for half in halves.into_iter().flatten() {
            self.settle(level, half);
        }
    }

    /// Moves about half of the members of a full list to a new one, which it names.
    fn split(&mut self, level: usize, list: u32) -> u32 {
        let new = self.levels[level].split(list);
        self.refresh(level, list);
        let mut mean = std::mem::take(&mut self.scratch[level].mean);
        self.levels[level].mean(new, &mut mean);
        if let Some(around) = self.levels[level + 1].list_of(list) {
            self.insert(level + 1, around, new, &mean);
        }
        self.scratch[level].mean = mean;
        new
    }

    /// Moves members that a split has left far from the mean of their list to the nearest one.
    fn settle(&mut self, level: usize, list: u32) {
        let mut members = std::mem::take(&mut self.scratch[level].members);
        let mut direction = std::mem::take(&mut self.scratch[level].direction);
        members.clear();
        members.extend_from_slice(self.levels[level].members(list));
        direction.resize(self.size, 0.0);
        for member in &members {
            self.levels[level].direction(*member, &mut direction);
            // Groups are few; there it is worth asking for all.
            if level > WORDS || !self.levels[level].is_near(list, &direction) {
                self.move_to_nearest(level, *member, &direction);
            }
        }
        self.scratch[level].members = members;
        self.scratch[level].direction = direction;
    }

    /// Moves a member to the list it is nearest to, if that is not full and its own can spare it.
    fn move_to_nearest(&mut self, level: usize, member: u32, direction: &[f32]) {
        let Some(from) = self.levels[level].list_of(member) else { return };
        let to = self.nearest(level, direction);
        let members = &self.levels[level];
        if to != from && !members.is_full(to) && members.members(from).len() > members.least() {
            self.levels[level].remove(member);
            self.changed(level, from);
            self.insert(level, to, member, direction);
        }
    }

    /// Takes note that a list has changed.
    fn changed(&mut self, level: usize, list: u32) {
        let (changes, length) = self.levels[level].changes(list);
        if changes * STALE >= length && level < GROUPS {
            self.refresh(level, list);
        }
    }

    /// Tells the level above what the mean of a list is now.
    fn refresh(&mut self, level: usize, list: u32) {
        let mut mean = std::mem::take(&mut self.scratch[level].mean);
        self.levels[level].mean(list, &mut mean);
        let (below, above) = self.levels.split_at_mut(level + 1);
        above[0].replace(list, &mean);
        above[0].set_reach(list, &below[level]);
        if let Some(around) = self.levels[level + 1].list_of(list) {
            self.changed(level + 1, around);
        }
        if level == WORDS {
            self.move_to_nearest(LISTS, list, &mean);
        }
        self.scratch[level].mean = mean;
    }

    /// Takes note that a list has lost a member: if few are left, they go to other lists.
    fn shrunk(&mut self, level: usize, list: u32) {
        if self.levels[level].members(list).len() >= self.levels[level].least() || self.levels[level].count() == 1 {
            return self.changed(level, list);
        }
        let mut homeless = std::mem::take(&mut self.scratch[level].homeless);
        let mut directions = std::mem::take(&mut self.scratch[level].directions);
        homeless.clear();
        homeless.extend_from_slice(self.levels[level].members(list));
        directions.resize(homeless.len() * self.size, 0.0);
        for (member, direction) in homeless.iter().zip(directions.chunks_exact_mut(self.size)) {
            self.levels[level].direction(*member, direction);
            self.levels[level].remove(*member);
        }
        let around = self.levels[level + 1].remove(list);
        self.levels[level].give_up(list);
        if level + 1 < GROUPS {
            self.shrunk(level + 1, around);
        }
        for (member, direction) in homeless.iter().zip(directions.chunks_exact(self.size)) {
            let list = self.nearest(level, direction);
            self.insert(level, list, *member, direction);
        }
        self.scratch[level].homeless = homeless;
        self.scratch[level].directions = directions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Blocks of scores, many of them alike or none.
    fn blocks() -> impl Strategy<Value = Vec<[f32; LANES]>> {
        let score = prop_oneof![
            Just(f32::NEG_INFINITY),
            (-3i8..4).prop_map(|tenths| f32::from(tenths) / 10.0),
            Just(-0.0f32),
            -1.0f32..1.0,
        ];
        prop::collection::vec(prop::collection::vec(score, LANES).prop_map(|scores| scores.try_into().unwrap()), 0..40)
    }

    proptest! {
        #[test]
        fn the_best_are_those_of_a_sort(blocks in blocks(), limit in 1usize..65) {
            let (mut lanes, mut keys) = (Vec::new(), Vec::new());
            take_best::<f32>(limit, &blocks, &mut lanes, &mut keys);
            let found: Vec<usize> = keys.iter().map(|key| *key as u32 as usize).collect();
            let scores = blocks.as_flattened();
            let mut expected: Vec<usize> = (0..scores.len()).filter(|place| scores[*place] > f32::NEG_INFINITY).collect();
            // Stable: of equal ones the first; and there is one zero.
            expected.sort_by(|a, b| (scores[*b] + 0.0).total_cmp(&(scores[*a] + 0.0)));
            expected.truncate(limit);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn the_largest_are_kept_over_lists(lists in prop::collection::vec(blocks(), 1..5), count in 1usize..40) {
            let (mut best, mut all) = (Vec::new(), Vec::new());
            for blocks in lists {
                let last = keep_largest::<f32>(&blocks, &mut best, count);
                all.extend(blocks.as_flattened().iter().filter(|score| **score > f32::NEG_INFINITY));
                all.sort_by(|a: &f32, b| b.total_cmp(a));
                prop_assert_eq!(last, *all.get(count - 1).unwrap_or(&f32::NEG_INFINITY));
            }
        }
    }

    #[test]
    fn a_score_is_of_the_member_at_its_place() {
        let mut level = Lists::new(100, 3, 32, 2, Of::Words).unwrap();
        for (list, count) in [(0, 20), (1, 0), (2, 3)] {
            assert_eq!(level.create(), list);
            (0..count).for_each(|word| level.insert(list, 30 * list + word, &[1.0, 0.0]));
        }
        let (mut scores, query) = (Scores::default(), Query::default());
        for list in [2, 1, 0] {
            level.scores(list, &query, scores.of(list));
        }
        // Three words fill a block, twenty fill two.
        assert_eq!(scores.scores.len(), 3);
        for (place, word) in [(0, 60), (2, 62), (16, 0), (35, 19)] {
            assert_eq!(scores.member(&level, place), word);
        }
    }
}
