//! Lists of vectors that point the same way, as 8-bit codes that lie side by side.

use super::scored::Scored;
use crate::Error;
use crate::kernels::lanes::{LANES, Products};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::system::pages::Pages;

/// Vectors whose codes are scored together.
const BLOCK: usize = LANES;
/// Rounds of 2-means in a split.
const ROUNDS: usize = 4;
/// Of some hundred normal numbers the largest lies about three standard deviations out.
const LUCKIEST: f32 = 3.0;
/// A member is near the mean of its list if its cosine to it is at least this much of what is usual there.
const NEAR: f32 = 0.98;

/// Members, each with a direction (a vector of norm at most one), in lists.
///
/// A direction is kept as whole numbers from -127 to 127 and a scale, which is right to about 1/500 of its largest
/// number. Blocks of 16 codes lie pair of numbers by pair of numbers, so that one vector instruction multiplies two
/// numbers of all sixteen.
#[derive(Debug)]
pub(super) struct Lists {
    size: usize,
    capacity: usize,
    codes: Pages<i8>,
    scales: Pages<f32>,
    members: Pages<u32>,
    /// One more than each member's position; 0 for those in no list. Position p is in list p / capacity.
    places: Pages<u64>,
    /// Of members that are lists themselves: how far what they hold may reach. See [`Reach`].
    reaches: Pages<[f32; 2]>,
    /// Lists that were ever made; some of them are free again.
    made: usize,
    lengths: Pages<u32>,
    /// Changes of each list since its mean was last asked for.
    changes: Pages<u32>,
    /// Σ of the directions in each list.
    sums: Pages<f32>,
    free: Vec<u32>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    directions: Vec<f32>,
    means: Vec<f32>,
    sides: Vec<(f32, usize)>,
}

/// A direction to compare with: rounded to 16 bits, pair by pair.
#[derive(Debug, Default)]
pub(super) struct Query {
    factors: Vec<[i16; 2]>,
    scale: f32,
}

impl Query {
    /// Takes the direction.
    pub fn set(&mut self, direction: &[f32]) {
        let largest = direction.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        // The sum of all products has to stay within 32 bits.
        let top = (i32::MAX as usize / (127 * direction.len().max(1))).min(i16::MAX as usize / 2) as f32;
        let per_number = if largest > 0.0 { top / largest } else { 0.0 };
        self.scale = if largest > 0.0 { largest / top } else { 0.0 };
        let whole = |number: &f32| (number * per_number) as i16;
        self.factors.clear();
        let pairs = direction.chunks(2).map(|pair| [whole(&pair[0]), pair.get(1).map_or(0, whole)]);
        self.factors.extend(pairs);
    }
}

/// What the members of lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Words.
    Words,
    /// Lists, whose directions are those of their means.
    Lists,
}

/// How similar the members of a list are to its mean direction, and what follows for the most similar one to a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Mean cosine of the members to the mean direction.
    similarity: f32,
    /// What is left of a member beside the mean direction, along a direction of chance, times the number of standard
    /// deviations that the luckiest member is away.
    spread: f32,
}

impl Reach {
    /// From the mean cosine of members with `size` numbers to their mean direction.
    fn new(similarity: f32, size: usize) -> Self {
        if similarity == 0.0 {
            // Words of zeros, which networks write as well: they have no direction to spread from.
            return Self { similarity, spread: 0.0 };
        }
        let beside = (1.0 - similarity * similarity).max(0.0) / (size.max(2) - 1) as f32;
        Self { similarity, spread: LUCKIEST * beside.sqrt() }
    }

    /// About the cosine to a query that the best member may have, if the mean direction has cosine `mean`.
    #[inline(always)]
    fn best(self, mean: f32) -> f32 {
        self.similarity * mean + self.spread * (1.0 - mean * mean).max(0.0).sqrt()
    }
}

impl Lists {
    /// No lists yet, for members 0 to `members` - 1 with directions of `size` numbers, in at most `lists` lists of
    /// `capacity` members.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if there is no address space for them.
    pub fn new(members: usize, lists: usize, capacity: usize, size: usize, of: Of) -> Result<Self, Error> {
        let capacity = capacity.next_multiple_of(BLOCK);
        let positions = lists.saturating_mul(capacity);
        let reaches = if of == Of::Lists { positions } else { 0 };
        Ok(Self {
            size,
            capacity,
            codes: Pages::dense(positions.saturating_mul(size.next_multiple_of(2)))?,
            scales: Pages::dense(positions)?,
            members: Pages::dense(positions)?,
            places: Pages::dense(members)?,
            reaches: Pages::dense(reaches)?,
            made: 0,
            lengths: Pages::dense(lists)?,
            changes: Pages::dense(lists)?,
            sums: Pages::dense(lists.saturating_mul(size))?,
            free: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// Makes an empty list.
    pub fn create(&mut self) -> u32 {
        if let Some(list) = self.free.pop() {
            return list;
        }
        self.made += 1;
        self.made as u32 - 1
    }

    /// Gives up an empty list.
    pub fn give_up(&mut self, list: u32) {
        debug_assert_eq!(self.lengths[list as usize], 0);
        self.changes[list as usize] = 0;
        self.sum_mut(list).fill(0.0);
        self.free.push(list);
    }

    /// Number of lists.
    pub fn count(&self) -> usize {
        self.made - self.free.len()
    }

    /// Every list, and some that are empty.
    pub fn lists(&self) -> impl Iterator<Item = u32> {
        0..self.made as u32
    }

    /// The members of a list.
    pub fn members(&self, list: u32) -> &[u32] {
        let start = list as usize * self.capacity;
        &self.members[start..start + self.length(list)]
    }

    fn length(&self, list: u32) -> usize {
        self.lengths[list as usize] as usize
    }

    /// A list with fewer members is too short.
    pub fn least(&self) -> usize {
        self.capacity / 8
    }

    /// Whether a list is full.
    pub fn is_full(&self, list: u32) -> bool {
        self.length(list) == self.capacity
    }

    /// The list that a member is in.
    pub fn list_of(&self, member: u32) -> Option<u32> {
        self.places[member as usize].checked_sub(1).map(|position| (position / self.capacity as u64) as u32)
    }

    /// Removes everything, naming each member to `removed`.
    pub fn clear(&mut self, mut removed: impl FnMut(u32)) {
        for list in 0..self.made {
            for offset in 0..self.length(list as u32) {
                let member = self.members[list * self.capacity + offset];
                self.places[member as usize] = 0;
                removed(member);
            }
        }
        self.lengths[..self.made].fill(0);
        self.changes[..self.made].fill(0);
        self.sums[..self.made * self.size].fill(0.0);
        self.made = 0;
        self.free.clear();
    }

    /// Adds a member, which is in no list, to one that is not full.
    pub fn insert(&mut self, list: u32, member: u32, direction: &[f32]) {
        let position = list as usize * self.capacity + self.length(list);
        self.lengths[list as usize] += 1;
        self.members[position] = member;
        self.places[member as usize] = position as u64 + 1;
        self.set(position, direction);
        self.count_in(position, 1.0);
    }

    /// Changes the direction of a member, which stays in its list.
    pub fn replace(&mut self, member: u32, direction: &[f32]) {
        let position = self.places[member as usize] as usize - 1;
        self.count_in(position, -1.0);
        self.set(position, direction);
        self.count_in(position, 1.0);
    }

    /// Removes a member from its list, which it names.
    pub fn remove(&mut self, member: u32) -> u32 {
        let position = self.places[member as usize] as usize - 1;
        let list = position / self.capacity;
        self.count_in(position, -1.0);
        self.places[member as usize] = 0;
        self.lengths[list] -= 1;
        let last = list * self.capacity + self.length(list as u32);
        if position != last {
            self.copy(last, position);
        }
        list as u32
    }

    /// Takes note of how far the members of a list of `level`, which is a member here, may reach.
    pub fn set_reach(&mut self, member: u32, level: &Self) {
        let Reach { similarity, spread } = Reach::new(level.similarity(member), self.size);
        self.reaches[self.places[member as usize] as usize - 1] = [similarity, spread];
    }

    /// The direction of a member.
    pub fn direction(&self, member: u32, direction: &mut [f32]) {
        self.decode(self.places[member as usize] as usize - 1, direction);
    }

    /// Σ of the directions in a list.
    fn sum(&self, list: u32) -> &[f32] {
        &self.sums[list as usize * self.size..][..self.size]
    }

    /// The mean cosine of a list's members to their mean direction.
    fn similarity(&self, list: u32) -> f32 {
        let sum = self.sum(list);
        (product(sum, sum).sqrt() / self.length(list).max(1) as f32).min(1.0)
    }

    /// How near a direction is to the mean of a list, to compare lists by.
    pub fn nearness(&self, list: u32, direction: &[f32]) -> f32 {
        let sum = self.sum(list);
        product(sum, direction) / (product(sum, sum) + f32::MIN_POSITIVE).sqrt()
    }

    /// Whether a direction is about as near to the mean of a list as its members are.
    pub fn is_near(&self, list: u32, direction: &[f32]) -> bool {
        self.nearness(list, direction) >= NEAR * self.similarity(list)
    }

    /// The cosine of a direction to that of a member.
    pub fn cosine(&self, member: u32, direction: &[f32]) -> f32 {
        let position = self.places[member as usize] as usize - 1;
        let (first, scale) = (self.pair(position), self.scales[position]);
        let (pairs, _) = self.codes.as_chunks::<2>();
        let mut product = 0.0;
        for (pair, numbers) in pairs[first..].iter().step_by(BLOCK).zip(direction.chunks(2)) {
            for (code, number) in pair.iter().zip(numbers) {
                product += f32::from(*code) * scale * number;
            }
        }
        product
    }

    /// Changes since the mean was last asked for, and the length of the list.
    pub fn changes(&self, list: u32) -> (usize, usize) {
        (self.changes[list as usize] as usize, self.length(list))
    }

    /// Writes the mean direction of a list, of norm one, or zero if there is none.
    pub fn mean(&mut self, list: u32, mean: &mut Vec<f32>) {
        self.changes[list as usize] = 0;
        mean.clear();
        mean.extend_from_slice(self.sum(list));
        let norm = product(mean, mean).sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        mean.iter_mut().for_each(|number| *number *= scale);
    }

    /// Adds to `scored` the members of some lists, each with its cosine to a query.
    pub fn score(&self, lists: &[(f32, u32)], query: &Query, scored: &mut Scored) {
        score_lists::<f32>(self, lists, query, false, scored);
    }

    /// As [`score`](Self::score), where members are lists: each with about the cosine of its best member.
    pub fn score_best(&self, lists: &[(f32, u32)], query: &Query, scored: &mut Scored) {
        score_lists::<f32>(self, lists, query, true, scored);
    }

    /// The codes of a list, block after block, with their scales.
    #[inline(always)]
    fn codes_of(&self, list: u32) -> (&[i8], &[f32]) {
        let (start, length) = (list as usize * self.capacity, self.length(list).next_multiple_of(BLOCK));
        let per_member = self.size.next_multiple_of(2);
        (&self.codes[start * per_member..(start + length) * per_member], &self.scales[start..start + length])
    }

    /// Hands over the members of a list, up to sixteen at a time, with their cosines to a query; what follows the last is
    /// of no meaning.
    #[inline(always)]
    pub fn each_block<I: InstructionSet>(
        &self,
        simd: I,
        list: u32,
        query: &Query,
        mut take: impl FnMut(&[u32], &[f32; BLOCK]),
    ) {
        let (codes, scales) = self.codes_of(list);
        let per_block = BLOCK * self.size.next_multiple_of(2);
        let blocks = codes.chunks_exact(per_block.max(1)).zip(scales.as_chunks::<BLOCK>().0);
        for ((codes, scales), members) in blocks.zip(self.members(list).chunks(BLOCK)) {
            take(members, &score_block(simd, codes, scales, query));
        }
    }

    /// Moves members from a full list to a new one, which it names, so that each holds those that are near each other,
    /// and no less than an eighth of them.
    pub fn split(&mut self, list: u32) -> u32 {
        let new = self.create();
        let (size, length) = (self.size, self.length(list));
        let first = list as usize * self.capacity;
        let Scratch { mut directions, mut means, mut sides } = std::mem::take(&mut self.scratch);
        directions.resize(length * size, 0.0);
        for (offset, direction) in directions.chunks_exact_mut(size).enumerate() {
            self.decode(first + offset, direction);
        }
        means.resize(2 * size, 0.0);
        two_means::<f32>(&directions, size, &mut means, &mut sides);
        let least = self.least();
        let far = sides.iter().filter(|side| side.0 > 0.0).count().clamp(least, length - least);
        // The far side comes first.
        sides.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // From the back, so that the last of the list, which fills a gap, is never one that is still to move.
        sides[..far].sort_unstable_by_key(|side| std::cmp::Reverse(side.1));
        for (_, offset) in &sides[..far] {
            let to = new as usize * self.capacity + self.length(new);
            self.count_in(first + offset, -1.0);
            self.lengths[new as usize] += 1;
            self.lengths[list as usize] -= 1;
            self.copy(first + offset, to);
            self.count_in(to, 1.0);
            let last = first + self.length(list);
            if first + offset != last {
                self.copy(last, first + offset);
            }
        }
        // Computed anew, so that rounding errors do not accumulate in the sums.
        self.sum_afresh(list);
        self.scratch = Scratch { directions, means, sides };
        new
    }

    fn sum_afresh(&mut self, list: u32) {
        self.sum_mut(list).fill(0.0);
        for offset in 0..self.length(list) {
            self.count_in(list as usize * self.capacity + offset, 1.0);
        }
    }

    fn sum_mut(&mut self, list: u32) -> &mut [f32] {
        &mut self.sums[list as usize * self.size..][..self.size]
    }

    /// The place of a position's first pair, in pairs.
    fn pair(&self, position: usize) -> usize {
        position / BLOCK * BLOCK * self.size.div_ceil(2) + position % BLOCK
    }

    fn set(&mut self, position: usize, direction: &[f32]) {
        let largest = direction.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let per_number = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        self.scales[position] = largest / 127.0;
        let first = self.pair(position);
        let (pairs, _) = self.codes.as_chunks_mut::<2>();
        // Adding and taking away 1.5 · 2²³ rounds to the nearest whole number.
        let whole = |number: &f32| ((number * per_number + 12_582_912.0) - 12_582_912.0) as i8;
        for (pair, numbers) in pairs[first..].iter_mut().step_by(BLOCK).zip(direction.chunks(2)) {
            *pair = [whole(&numbers[0]), numbers.get(1).map_or(0, whole)];
        }
    }

    fn decode(&self, position: usize, direction: &mut [f32]) {
        let (first, scale) = (self.pair(position), self.scales[position]);
        let (pairs, _) = self.codes.as_chunks::<2>();
        for (pair, numbers) in pairs[first..].iter().step_by(BLOCK).zip(direction.chunks_mut(2)) {
            for (number, code) in numbers.iter_mut().zip(pair) {
                *number = f32::from(*code) * scale;
            }
        }
    }

    /// Adds the direction at a position to its list's sum, times `factor`.
    fn count_in(&mut self, position: usize, factor: f32) {
        let list = position / self.capacity;
        self.changes[list] += 1;
        let (first, scale) = (self.pair(position), self.scales[position] * factor);
        let (pairs, _) = self.codes.as_chunks::<2>();
        let sum = &mut self.sums[list * self.size..][..self.size];
        for (pair, numbers) in pairs[first..].iter().step_by(BLOCK).zip(sum.chunks_mut(2)) {
            for (number, code) in numbers.iter_mut().zip(pair) {
                *number += f32::from(*code) * scale;
            }
        }
    }

    /// Copies a member and all that belongs to it from one position to another.
    fn copy(&mut self, from: usize, to: usize) {
        let (first, second) = (self.pair(from), self.pair(to));
        let (pairs, _) = self.codes.as_chunks_mut::<2>();
        for pair in (0..self.size.div_ceil(2)).map(|pair| pair * BLOCK) {
            pairs[second + pair] = pairs[first + pair];
        }
        self.scales[to] = self.scales[from];
        self.members[to] = self.members[from];
        self.places[self.members[to] as usize] = to as u64 + 1;
        if !self.reaches.is_empty() {
            self.reaches[to] = self.reaches[from];
        }
    }
}

vector_fn! {
    fn product<T, simd: I>(a: &[T], b: &[T]) -> T {
        dot(simd, a, b)
    }
}

/// The cosines to a query of what the codes of a block stand for.
#[inline(always)]
fn score_block<I: InstructionSet>(simd: I, codes: &[i8], scales: &[f32; BLOCK], query: &Query) -> [f32; BLOCK] {
    let mut products = simd.zero_products();
    for (codes, factors) in codes.as_chunks::<{ 2 * BLOCK }>().0.iter().zip(&query.factors) {
        products = products.add(codes, *factors);
    }
    let sums = products.sums();
    let mut scores = [0.0; BLOCK];
    for lane in 0..BLOCK {
        scores[lane] = sums[lane] as f32 * (scales[lane] * query.scale);
    }
    scores
}

vector_fn! {
    fn score_lists<T, simd: I>(level: &Lists, lists: &[(f32, u32)], query: &Query, best: bool, scored: &mut Scored) {
        for (_, list) in lists {
            let mut reaches = &level.reaches[..];
            if best {
                reaches = &reaches[*list as usize * level.capacity..];
            }
            level.each_block(simd, *list, query, |members, scores| {
                let mut scores = *scores;
                if best {
                    let (now, later) = reaches.split_at(BLOCK);
                    reaches = later;
                    for (score, [similarity, spread]) in scores.iter_mut().zip(now) {
                        *score = Reach { similarity: *similarity, spread: *spread }.best(*score);
                    }
                }
                scored.scores.extend_from_slice(&scores[..members.len()]);
                scored.numbers.extend_from_slice(members);
            });
        }
    }
}

vector_fn! {
    /// Finds two means of the directions, and for each direction how much nearer it is to the second one.
    fn two_means<T, simd: I>(directions: &[f32], size: usize, means: &mut [f32], sides: &mut Vec<(f32, usize)>) {
        let (first, second) = means.split_at_mut(size);
        // From two directions far from each other.
        let farthest = |from: &[f32]| {
            let mut least = (f32::INFINITY, 0);
            for (number, direction) in directions.chunks_exact(size).enumerate() {
                let cosine = dot(simd, direction, from);
                if cosine < least.0 {
                    least = (cosine, number);
                }
            }
            &directions[least.1 * size..][..size]
        };
        first.copy_from_slice(farthest(&directions[..size]));
        second.copy_from_slice(farthest(first));
        for round in 0..=ROUNDS {
            let half = (dot(simd, second, second) - dot(simd, first, first)) / 2.0;
            sides.clear();
            for (number, direction) in directions.chunks_exact(size).enumerate() {
                let side = dot(simd, direction, second) - dot(simd, direction, first) - half;
                sides.push((side, number));
            }
            let far = sides.iter().filter(|side| side.0 > 0.0).count();
            if round == ROUNDS || far == 0 || far == sides.len() {
                break;
            }
            first.fill(0.0);
            second.fill(0.0);
            let scales = [1.0 / (sides.len() - far) as f32, 1.0 / far as f32];
            for ((side, _), direction) in sides.iter().zip(directions.chunks_exact(size)) {
                let (mean, scale) = if *side > 0.0 { (&mut *second, scales[1]) } else { (&mut *first, scales[0]) };
                for (mean, number) in mean.iter_mut().zip(direction) {
                    *mean += scale * *number;
                }
            }
        }
    }
}
