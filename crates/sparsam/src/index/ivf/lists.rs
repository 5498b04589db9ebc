//! Lists of vectors that point the same way, as 8-bit codes that lie side by side.

use crate::Error;
use crate::kernels::bytes::{self, QUAD, Quads, Query, SMALLEST, ZERO_POINT, nearest};
use crate::kernels::lanes::LANES;
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
const NEAR: f32 = 0.9;

/// Members, each with a direction (a vector of norm at most one), in lists.
///
/// A direction is kept as whole numbers from -127 to 127 and a scale, which is right to about 1/500 of its largest
/// number. Blocks of 16 codes lie four numbers by four numbers, so that one vector instruction multiplies four numbers of
/// all sixteen.
#[derive(Debug)]
pub(super) struct Lists {
    size: usize,
    capacity: usize,
    /// Block after block, each [`quads`](Self::quads) long.
    codes: Pages<Quads>,
    scales: Pages<f32>,
    members: Pages<u32>,
    /// One more than each member's position; 0 for those in no list. Position p is in list p / capacity.
    places: Pages<u64>,
    /// Of members that are lists themselves: how far what they hold may reach. See [`Reach`].
    reaches: Pages<[f32; 2]>,
    lengths: Vec<usize>,
    /// Changes of each list since its mean was last asked for.
    changes: Vec<usize>,
    /// Σ of the directions in each list.
    sums: Vec<f32>,
    free: Vec<u32>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    directions: Vec<f32>,
    means: Vec<f32>,
    sides: Vec<(f32, usize)>,
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
            codes: Pages::dense((positions / BLOCK).saturating_mul(size.div_ceil(QUAD)))?,
            scales: Pages::dense(positions)?,
            members: Pages::dense(positions)?,
            places: Pages::dense(members)?,
            reaches: Pages::dense(reaches)?,
            lengths: Vec::new(),
            changes: Vec::new(),
            sums: Vec::new(),
            free: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// Makes an empty list.
    pub fn create(&mut self) -> u32 {
        if let Some(list) = self.free.pop() {
            return list;
        }
        self.lengths.push(0);
        self.changes.push(0);
        self.sums.resize(self.sums.len() + self.size, 0.0);
        self.lengths.len() as u32 - 1
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
        self.lengths.len() - self.free.len()
    }

    /// Every list, and some that are empty.
    pub fn lists(&self) -> impl Iterator<Item = u32> {
        0..self.lengths.len() as u32
    }

    /// The members of a list.
    pub fn members(&self, list: u32) -> &[u32] {
        let start = list as usize * self.capacity;
        &self.members[start..start + self.lengths[list as usize]]
    }

    /// A list with fewer members is too short.
    pub fn least(&self) -> usize {
        self.capacity / 8
    }

    /// Whether a list is full.
    pub fn is_full(&self, list: u32) -> bool {
        self.lengths[list as usize] == self.capacity
    }

    /// The list that a member is in.
    pub fn list_of(&self, member: u32) -> Option<u32> {
        self.places[member as usize].checked_sub(1).map(|position| (position / self.capacity as u64) as u32)
    }

    /// Removes everything, naming each member to `removed`.
    pub fn clear(&mut self, mut removed: impl FnMut(u32)) {
        for list in 0..self.lengths.len() {
            for offset in 0..self.lengths[list] {
                let member = self.members[list * self.capacity + offset];
                self.places[member as usize] = 0;
                removed(member);
            }
        }
        self.lengths.clear();
        self.changes.clear();
        self.sums.clear();
        self.free.clear();
    }

    /// Adds a member, which is in no list, to one that is not full.
    pub fn insert(&mut self, list: u32, member: u32, direction: &[f32]) {
        let position = list as usize * self.capacity + self.lengths[list as usize];
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
        let last = list * self.capacity + self.lengths[list];
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
        (product(sum, sum).sqrt() / self.lengths[list as usize].max(1) as f32).min(1.0)
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
        product_with_code::<f32>(self.code(position), position % BLOCK, direction) * self.scales[position]
    }

    /// Changes since the mean was last asked for, and the length of the list.
    pub fn changes(&self, list: u32) -> (usize, usize) {
        (self.changes[list as usize], self.lengths[list as usize])
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

    /// Appends the cosine to a query of each member of a list, in their order, and -∞ to the end of the last block.
    pub fn scores(&self, list: u32, query: &Query, scores: &mut Vec<[f32; BLOCK]>) {
        let first = scores.len();
        self.add_scores(list, query, scores);
        self.end_scores(list, &mut scores[first..]);
    }

    /// As [`scores`](Self::scores), where members are lists: about the cosine of the best member of each.
    pub fn best_scores(&self, list: u32, query: &Query, scores: &mut Vec<[f32; BLOCK]>) {
        let first = scores.len();
        self.add_scores(list, query, scores);
        let (start, scores) = (list as usize * self.capacity, &mut scores[first..]);
        reach_out::<f32>(&self.reaches[start..start + scores.len() * BLOCK], scores.as_flattened_mut());
        self.end_scores(list, scores);
    }

    /// Asks for the codes of a list, which will be compared with a query soon.
    pub fn prefetch(&self, list: u32) {
        let (first, blocks) = (list as usize * self.capacity / BLOCK, self.lengths[list as usize].div_ceil(BLOCK));
        bytes::prefetch(&self.codes[first * self.quads()..(first + blocks) * self.quads()]);
        bytes::prefetch(&self.scales[first * BLOCK..(first + blocks) * BLOCK]);
    }

    fn add_scores(&self, list: u32, query: &Query, scores: &mut Vec<[f32; BLOCK]>) {
        let (first, blocks) = (list as usize * self.capacity / BLOCK, self.lengths[list as usize].div_ceil(BLOCK));
        let (scales, _) = self.scales.as_chunks::<BLOCK>();
        let codes = &self.codes[first * self.quads()..(first + blocks) * self.quads()];
        let others = scores.len();
        scores.resize(others + blocks, [0.0; BLOCK]);
        bytes::scores(codes, &scales[first..first + blocks], query, &mut scores[others..]);
    }

    fn end_scores(&self, list: u32, scores: &mut [[f32; BLOCK]]) {
        scores.as_flattened_mut()[self.lengths[list as usize]..].fill(f32::NEG_INFINITY);
    }

    /// Moves members from a full list to a new one, which it names, so that each holds those that are near each other,
    /// and no less than an eighth of them.
    pub fn split(&mut self, list: u32) -> u32 {
        let new = self.create();
        let (size, length) = (self.size, self.lengths[list as usize]);
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
            let to = new as usize * self.capacity + self.lengths[new as usize];
            self.count_in(first + offset, -1.0);
            self.lengths[new as usize] += 1;
            self.lengths[list as usize] -= 1;
            self.copy(first + offset, to);
            self.count_in(to, 1.0);
            let last = first + self.lengths[list as usize];
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
        for offset in 0..self.lengths[list as usize] {
            self.count_in(list as usize * self.capacity + offset, 1.0);
        }
    }

    fn sum_mut(&mut self, list: u32) -> &mut [f32] {
        &mut self.sums[list as usize * self.size..][..self.size]
    }

    /// Quads of a code.
    fn quads(&self) -> usize {
        self.size.div_ceil(QUAD)
    }

    /// The block of codes that a position is in.
    fn code(&self, position: usize) -> &[Quads] {
        let quads = self.quads();
        &self.codes[position / BLOCK * quads..][..quads]
    }

    fn set(&mut self, position: usize, direction: &[f32]) {
        let quads = self.quads();
        let codes = &mut self.codes[position / BLOCK * quads..][..quads];
        self.scales[position] = encode::<f32>(direction, codes, position % BLOCK);
    }

    fn decode(&self, position: usize, direction: &mut [f32]) {
        direction.fill(0.0);
        add_code::<f32>(self.code(position), position % BLOCK, self.scales[position], direction);
    }

    /// Adds the direction at a position to its list's sum, times `factor`.
    fn count_in(&mut self, position: usize, factor: f32) {
        let (list, quads) = (position / self.capacity, self.quads());
        self.changes[list] += 1;
        let sum = &mut self.sums[list * self.size..][..self.size];
        let codes = &self.codes[position / BLOCK * quads..][..quads];
        add_code::<f32>(codes, position % BLOCK, self.scales[position] * factor, sum);
    }

    /// Copies a member and all that belongs to it from one position to another.
    fn copy(&mut self, from: usize, to: usize) {
        let quads = self.quads();
        let (first, second) = (from / BLOCK * quads, to / BLOCK * quads);
        for quad in 0..quads {
            *quad_mut(&mut self.codes[second + quad], to % BLOCK) = quad_of(&self.codes[first + quad], from % BLOCK);
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

/// Four numbers of a vector in a block.
#[inline(always)]
fn quad_of(quads: &Quads, lane: usize) -> [u8; QUAD] {
    quads.as_chunks().0[lane]
}

#[inline(always)]
fn quad_mut(quads: &mut Quads, lane: usize) -> &mut [u8; QUAD] {
    &mut quads.as_chunks_mut().0[lane]
}

/// What a byte stands for, before its scale.
#[inline(always)]
fn number_of(code: u8) -> f32 {
    (i32::from(code) - ZERO_POINT) as f32
}

/// The byte that stands for a number from -127 to 127.
#[inline(always)]
fn byte(number: f32) -> u8 {
    (nearest(number) as i32 + ZERO_POINT) as u8
}

vector_fn! {
    /// Writes the code of a direction, and gives its scale.
    fn encode<T, I>(direction: &[f32], codes: &mut [Quads], lane: usize) -> f32 {
        let largest = direction.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let (per_number, scale) = if largest >= SMALLEST { (127.0 / largest, largest / 127.0) } else { (0.0, 0.0) };
        let (quads, rest) = direction.as_chunks::<QUAD>();
        for (codes, numbers) in codes.iter_mut().zip(quads) {
            let code = quad_mut(codes, lane);
            for i in 0..QUAD {
                code[i] = byte(numbers[i] * per_number);
            }
        }
        if let Some(codes) = codes.get_mut(quads.len()) {
            let code = quad_mut(codes, lane);
            *code = [byte(0.0); QUAD];
            for (code, number) in code.iter_mut().zip(rest) {
                *code = byte(number * per_number);
            }
        }
        scale
    }
}

vector_fn! {
    /// Adds a code times a scale to a vector.
    fn add_code<T, I>(codes: &[Quads], lane: usize, scale: f32, vector: &mut [f32]) {
        let (quads, rest) = vector.as_chunks_mut::<QUAD>();
        for (numbers, codes) in quads.iter_mut().zip(codes) {
            let codes = quad_of(codes, lane);
            for i in 0..QUAD {
                numbers[i] += number_of(codes[i]) * scale;
            }
        }
        if let Some(codes) = codes.get(quads.len()) {
            for (number, code) in rest.iter_mut().zip(quad_of(codes, lane)) {
                *number += number_of(code) * scale;
            }
        }
    }
}

vector_fn! {
    /// The product of a code, before its scale, with a direction.
    fn product_with_code<T, I>(codes: &[Quads], lane: usize, direction: &[f32]) -> f32 {
        let (quads, rest) = direction.as_chunks::<QUAD>();
        // Four sums, which one instruction advances.
        let mut sums = [0f32; QUAD];
        for (numbers, codes) in quads.iter().zip(codes) {
            let codes = quad_of(codes, lane);
            for i in 0..QUAD {
                sums[i] += number_of(codes[i]) * numbers[i];
            }
        }
        if let Some(codes) = codes.get(quads.len()) {
            for ((sum, number), code) in sums.iter_mut().zip(rest).zip(quad_of(codes, lane)) {
                *sum += number_of(code) * number;
            }
        }
        (sums[0] + sums[2]) + (sums[1] + sums[3])
    }
}

vector_fn! {
    fn reach_out<T, I>(reaches: &[[f32; 2]], scores: &mut [f32]) {
        for (score, [similarity, spread]) in scores.iter_mut().zip(reaches) {
            *score = Reach { similarity: *similarity, spread: *spread }.best(*score);
        }
    }
}

/// The direction with the least cosine to one.
#[inline(always)]
fn farthest<'a, I: InstructionSet>(simd: I, directions: &'a [f32], from: &[f32]) -> &'a [f32] {
    let mut least = (f32::INFINITY, 0);
    for (number, direction) in directions.chunks_exact(from.len()).enumerate() {
        let cosine = dot(simd, direction, from);
        if cosine < least.0 {
            least = (cosine, number);
        }
    }
    &directions[least.1 * from.len()..][..from.len()]
}

vector_fn! {
    /// Finds two means of the directions, and for each direction how much nearer it is to the second one.
    fn two_means<T, simd: I>(directions: &[f32], size: usize, means: &mut [f32], sides: &mut Vec<(f32, usize)>) {
        let (first, second) = means.split_at_mut(size);
        // From two directions far from each other.
        first.copy_from_slice(farthest(simd, directions, &directions[..size]));
        second.copy_from_slice(farthest(simd, directions, first));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_right_to_a_half_of_its_last_place() {
        for size in 1..10 {
            for lane in 0..LANES {
                let direction: Vec<f32> = (0..size).map(|i| ((i * 5 + lane) as f32 * 1.3).sin()).collect();
                let mut codes = vec![[0; QUAD * LANES]; size.div_ceil(QUAD)];
                let scale = encode::<f32>(&direction, &mut codes, lane);
                let mut decoded = vec![0.0; size];
                add_code::<f32>(&codes, lane, scale, &mut decoded);
                for (number, code) in direction.iter().zip(&decoded) {
                    assert!((number - code).abs() <= scale / 2.0 * 1.0001, "{number} {code}");
                }
                let product: f32 = direction.iter().zip(&decoded).map(|(a, b)| a * b).sum();
                assert!((product_with_code::<f32>(&codes, lane, &direction) * scale - product).abs() < 1e-5);
                // Nothing else was written.
                let others = (0..LANES).filter(|other| *other != lane);
                assert!(others.into_iter().all(|other| codes.iter().all(|quads| quad_of(quads, other) == [0; QUAD])));
            }
        }
        for tiny in [0.0, 1e-45, 1e-41, 1e-31] {
            let mut codes = vec![[0; QUAD * LANES]];
            assert_eq!(encode::<f32>(&[tiny, -tiny], &mut codes, 3), 0.0);
            assert_eq!(quad_of(&codes[0], 3), [ZERO_POINT as u8; QUAD]);
        }
    }
}
