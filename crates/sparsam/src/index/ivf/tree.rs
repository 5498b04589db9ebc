//! Words in lists, lists in groups, groups in sections, sections in one last list: each by its direction.

use super::lists::{Lists, Of, Query};
use super::scored::Scored;
use crate::Error;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::vector_fn;

/// Words are members of lists here.
const WORDS: usize = 0;
/// Lists are members of groups here.
const LISTS: usize = 1;
/// Groups are members of sections here.
const GROUPS: usize = 2;
/// Sections are members of one list of all sections here.
const SECTIONS: usize = 3;
/// The list of all sections.
const ALL: u32 = 0;
/// Words in a list, lists in a group, groups in a section at most.
const CAPACITIES: [usize; SECTIONS] = [16, 32, 128];
/// A mean is computed anew after one change for this many of its list's members.
const STALE: usize = 4;
/// Sections whose groups are looked through at least, and how many more as there are more sections: times the square
/// root of their number.
const LEAST_SECTIONS: usize = 8;
const MORE_SECTIONS: f32 = 1.25;
/// Groups whose lists are looked through for a new word.
const GROUPS_FOR_WORD: usize = 8;
/// The share of groups and of lists, the best of each, that come first: what they hold tells which others are worth a look.
const FIRST: usize = 8;
/// A word that has at least this cosine to its code is left as it is: codes are hardly better than that, and what was
/// found is ranked by the words themselves.
const SAME: f32 = 0.9995;
/// A word that has at least this cosine to its code has moved little.
const LITTLE: f32 = 0.95;
/// One in this many small moves of words far from the mean of their list is a reason to look for another list.
const SMALL_MOVES: usize = 8;
/// How much better than its mean and spread let expect a list's best word may be, as a share of what is missing to a
/// cosine of 1.
const SLACK: f32 = 1.0;

/// Words by direction: what [`Ivf`](super::Ivf) searches.
///
/// Every list's mean is told to the level above when enough of its members have changed. A list that is full is split;
/// one with few members left is given up, and they go to others. Members that a split or a moving mean has left far
/// from the mean of their list go to the nearest one. All of this takes place as words are updated, a list at a time.
#[derive(Debug)]
pub(super) struct Tree {
    size: usize,
    levels: [Lists; SECTIONS + 1],
    small_moves: usize,
    query: Query,
    search: Search,
    /// Scratch of each level, because a change at one can lead to one at the next.
    scratch: [Scratch; SECTIONS + 1],
}

/// What a search is about to look into.
#[derive(Debug, Default)]
struct Search {
    sections: Scored,
    groups: Scored,
    lists: Scored,
    chosen: Vec<(f32, u32)>,
    blocks: Vec<Block>,
}

#[derive(Debug, Default)]
struct Scratch {
    mean: Vec<f32>,
    direction: Vec<f32>,
    members: Vec<u32>,
    homeless: Vec<u32>,
    directions: Vec<f32>,
}

/// The best of what was offered, best first; of equal ones those offered first.
#[derive(Debug, Default)]
pub(super) struct Best {
    limit: usize,
    entries: Vec<(f32, u32)>,
}

impl Best {
    fn start(&mut self, limit: usize) {
        self.limit = limit.max(1);
        self.entries.clear();
    }

    /// What must be exceeded to be kept.
    #[inline(always)]
    fn threshold(&self) -> f32 {
        if self.entries.len() < self.limit { f32::NEG_INFINITY } else { self.entries[self.limit - 1].0 }
    }

    #[inline(always)]
    fn offer(&mut self, score: f32, number: u32) {
        if self.entries.len() == self.limit {
            self.entries.pop();
        }
        let mut place = self.entries.len();
        self.entries.push((score, number));
        while place > 0 && score > self.entries[place - 1].0 {
            self.entries[place] = self.entries[place - 1];
            place -= 1;
        }
        self.entries[place] = (score, number);
    }

    /// A list or a group whose best word is not likely to be as good as this is not worth a look, once `enough` words
    /// are found.
    #[inline(always)]
    fn worth(&self, enough: usize) -> f32 {
        match enough.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some((last, _)) => last - SLACK * (1.0 - last),
            None => f32::NEG_INFINITY,
        }
    }

    /// The numbers kept, best first.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| entry.1)
    }
}

vector_fn! {
    /// Offers the words of some lists. Gives the number of words.
    fn offer_lists<T, simd: I>(
        words: &Lists, lists: &[(f32, u32)], query: &Query, blocks: &mut Vec<Block>, found: &mut Best,
    ) -> usize {
        blocks.clear();
        // First all scores: nothing depends on them yet, so that the processor fetches the codes of several lists at once.
        for (_, list) in lists {
            let mut first = 0;
            words.each_block(simd, *list, query, |members, scores| {
                blocks.push(Block { list: *list, first, length: members.len(), scores: *scores });
                first += members.len();
            });
        }
        for Block { list, first, length, scores } in &*blocks {
            let mut bits = simd.load(scores).at_least(found.threshold());
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if lane < *length && scores[lane] > found.threshold() {
                    found.offer(scores[lane], words.members(*list)[first + lane]);
                }
            }
        }
        blocks.iter().map(|block| block.length).sum()
    }
}

/// Words that lie side by side in a list, with their scores; what follows the last is of no meaning.
#[derive(Debug)]
struct Block {
    list: u32,
    first: usize,
    length: usize,
    scores: [f32; LANES],
}

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Groups whose lists are compared with it.
    pub groups: usize,
    /// Lists whose words are compared with it.
    pub lists: usize,
    /// Once this many words are found, lists that are not likely to hold better ones are left out.
    pub enough: usize,
    /// Words that are named.
    pub candidates: usize,
}

impl Tree {
    /// Holds none of `words` words with directions of `size` numbers.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(words: usize, size: usize) -> Result<Self, Error> {
        let [in_list, in_group, in_section] = CAPACITIES;
        // All but one are filled to an eighth, and one is made before another is given up.
        let lists = words / (in_list / 8) + 3;
        let groups = lists / (in_group / 8) + 3;
        let sections = groups / (in_section / 8) + 3;
        Ok(Self {
            size,
            levels: [
                Lists::new(words, lists, in_list, size, Of::Words)?,
                Lists::new(lists, groups, in_group, size, Of::Lists)?,
                Lists::new(groups, sections, in_section, size, Of::Lists)?,
                Lists::new(sections, 1, sections, size, Of::Lists)?,
            ],
            small_moves: 0,
            query: Query::default(),
            search: Search::default(),
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
        for level in &mut self.levels[LISTS..] {
            level.clear(|_| ());
        }
        self.small_moves = 0;
    }

    /// Adds a word, or changes the direction of one.
    pub fn update(&mut self, word: u32, direction: &[f32]) {
        if self.levels[WORDS].count() == 0 {
            for (level, member) in self.levels.iter_mut().zip([word, 0, 0, ALL]) {
                let list = level.create();
                level.insert(list, member, direction);
            }
            for level in (WORDS..SECTIONS).rev() {
                self.refresh(level, 0);
            }
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

    /// The words whose directions are most similar to a query's, as far as codes tell, best first. Gives the number of
    /// words and means that it was compared with.
    pub fn search(&mut self, direction: &[f32], limits: Limits, found: &mut Best) -> usize {
        self.query.set(direction);
        found.start(limits.candidates);
        let count = self.sections_to_look_through();
        let [words, lists, groups, sections] = &self.levels;
        if sections.count() == 0 {
            return 0;
        }
        let Search { sections: of_sections, groups: of_groups, lists: of_lists, chosen, blocks } = &mut self.search;
        let mut compared = 0;
        for scored in [&mut *of_sections, of_groups, of_lists] {
            scored.clear();
        }
        sections.score_best(&[(0.0, ALL)], &self.query, of_sections);
        compared += of_sections.numbers.len();
        of_sections.take_best(count, false, chosen);
        groups.score_best(chosen, &self.query, of_groups);
        compared += of_groups.numbers.len();
        for share in [1, FIRST - 1] {
            of_groups.take_best((limits.groups * share).div_ceil(FIRST), share == 1, chosen);
            let worth = found.worth(limits.enough);
            chosen.retain(|(best, _)| *best >= worth);
            let before = of_lists.numbers.len();
            lists.score_best(chosen, &self.query, of_lists);
            compared += of_lists.numbers.len() - before;
            of_lists.take_best((limits.lists * share).div_ceil(FIRST), share == 1, chosen);
            chosen.retain(|(best, _)| *best >= worth);
            compared += offer_lists::<f32>(words, chosen, &self.query, blocks, found);
        }
        compared
    }

    fn sections_to_look_through(&self) -> usize {
        let sections = self.levels[GROUPS].count();
        LEAST_SECTIONS.max((MORE_SECTIONS * (sections as f32).sqrt()) as usize)
    }

    /// The list at a level that a direction belongs to.
    fn nearest(&mut self, level: usize, direction: &[f32]) -> u32 {
        self.query.set(direction);
        let sections = self.sections_to_look_through();
        let Search { groups: scored, chosen, .. } = &mut self.search;
        chosen.clear();
        chosen.push((0.0, ALL));
        for above in (level + 1..=SECTIONS).rev() {
            scored.clear();
            self.levels[above].score(chosen, &self.query, scored);
            let count = match above {
                _ if above == level + 1 => return scored.best(),
                SECTIONS => sections,
                _ => GROUPS_FOR_WORD,
            };
            scored.take_best(count, false, chosen);
        }
        ALL
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
            // There are many words, of which most are where they belong.
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
        if changes * STALE >= length && level < SECTIONS {
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
        if level + 1 < SECTIONS
            && let Some(around) = self.levels[level + 1].list_of(list)
            && !self.levels[level + 1].is_near(around, &mean)
        {
            self.move_to_nearest(level + 1, list, &mean);
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
        if level + 1 < SECTIONS {
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
