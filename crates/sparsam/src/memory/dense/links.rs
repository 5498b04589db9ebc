//! The temporal links between all pairs of words, as the DNC has them: made and followed in one pass.

use super::kernels::rows;
use super::layout::Sixteen;
use crate::Real;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};

/// Rows of the links that go through the registers at once. Two would leave no sum of four heads without a register;
/// four keep more of the memory's answers in flight, which is what large matrices wait for.
const ROWS: usize = 4;

/// What links are made of and followed from; vectors have `blocks` blocks, those of heads each.
#[derive(Clone, Copy)]
pub struct Link<'a, T> {
    pub blocks: usize,
    /// w^W of this step.
    pub write: &'a [Sixteen<T>],
    /// p of the step before.
    pub precedence: &'a [Sixteen<T>],
    /// w^R of the step before.
    pub read: &'a [Sixteen<T>],
}

const fn none<'a, N>() -> &'a mut [N] {
    &mut []
}

/// Some rows of a matrix, to be changed.
#[inline(always)]
fn rows_mut<T, const R: usize>(matrix: &mut [Sixteen<T>], first: usize, blocks: usize) -> [&mut [Sixteen<T>]; R] {
    let mut rows = [const { none() }; R];
    for (row, blocks) in rows.iter_mut().zip(matrix[first * blocks..(first + R) * blocks].chunks_exact_mut(blocks)) {
        *row = blocks;
    }
    rows
}

/// For some rows of sixteen columns in which the diagonal lies: 0 on it and 1 beside.
#[inline(always)]
fn beside_diagonal<T: Real, I: InstructionSet>(simd: I, first_row: usize) -> [I::Lanes<T>; ROWS] {
    let mut masks = [simd.splat(T::ONE); ROWS];
    for (row, mask) in masks.iter_mut().enumerate() {
        let mut lanes = [T::ONE; LANES];
        lanes[(first_row + row) % LANES] = T::ZERO;
        *mask = simd.load(&lanes);
    }
    masks
}

vector_fn! {
    /// L(i,j) = (1 - w(i) - w(j)) L(i,j) + w(i) p(j), L(i,i) = 0, and f = L w^R, b = Lᵀ w^R for all heads, in one pass.
    pub fn follow_links<T, simd: I>(
        link: Link<T>,
        before: &[Sixteen<T>],
        now: &mut [Sixteen<T>],
        forward: &mut [Sixteen<T>],
        backward: &mut [Sixteen<T>],
    ) {
        let (blocks, heads) = (link.blocks, link.read.len() / link.blocks);
        backward.fill([T::ZERO; LANES]);
        for row in (0..blocks * LANES).step_by(ROWS) {
            let mut head = 0;
            while head < heads {
                let at_once = heads_at_once::<I>(heads - head);
                // The first heads are served while the rows are made, the others while they are in the cache.
                match (at_once, head == 0) {
                    (4, true) => follow_rows::<T, I, 4, true>(simd, link, row, head, before, now, forward, backward),
                    (4, false) => follow_rows::<T, I, 4, false>(simd, link, row, head, before, now, forward, backward),
                    (2, true) => follow_rows::<T, I, 2, true>(simd, link, row, head, before, now, forward, backward),
                    (2, false) => follow_rows::<T, I, 2, false>(simd, link, row, head, before, now, forward, backward),
                    (_, true) => follow_rows::<T, I, 1, true>(simd, link, row, head, before, now, forward, backward),
                    (_, false) => follow_rows::<T, I, 1, false>(simd, link, row, head, before, now, forward, backward),
                }
                head += at_once;
            }
        }
    }
}

/// How many of the heads that are left share a pass over rows: as many as the registers hold.
#[inline(always)]
fn heads_at_once<I: InstructionSet>(left: usize) -> usize {
    match left {
        4.. if I::WIDE => 4,
        2.. => 2,
        _ => 1,
    }
}

#[inline(always)]
fn follow_rows<T: Real, I: InstructionSet, const H: usize, const UPDATE: bool>(
    simd: I,
    link: Link<T>,
    row: usize,
    head: usize,
    before: &[Sixteen<T>],
    now: &mut [Sixteen<T>],
    forward: &mut [Sixteen<T>],
    backward: &mut [Sixteen<T>],
) {
    let blocks = link.blocks;
    let (write, precedence) = (&link.write[..blocks], &link.precedence[..blocks]);
    let before: [_; ROWS] = rows(before, row, blocks);
    let now: [_; ROWS] = rows_mut(now, row, blocks);
    let read: [_; H] = rows(link.read, head, blocks);
    let backward: [_; H] = rows_mut(backward, head, blocks);
    let (diagonal, lane) = (row / LANES, row % LANES);
    let zero = simd.splat(T::ZERO);
    let minus = simd.splat(-T::ONE);
    let (mut kept, mut written, mut weights, mut sums) =
        ([zero; ROWS], [zero; ROWS], [[zero; ROWS]; H], [[zero; ROWS]; H]);
    for r in 0..ROWS {
        kept[r] = simd.splat(T::ONE - write[diagonal][lane + r]);
        written[r] = simd.splat(write[diagonal][lane + r]);
        for h in 0..H {
            weights[h][r] = simd.splat(read[h][diagonal][lane + r]);
        }
    }
    for block in 0..blocks {
        let mut links = [zero; ROWS];
        if UPDATE {
            let minus_write = minus.multiply(simd.load(&write[block]));
            let precedence = simd.load(&precedence[block]);
            for r in 0..ROWS {
                let old = simd.load(&before[r][block]);
                links[r] = kept[r].add(minus_write).multiply_add(old, written[r].multiply(precedence));
            }
            if block == diagonal {
                let masks = beside_diagonal(simd, row);
                for r in 0..ROWS {
                    links[r] = links[r].multiply(masks[r]);
                }
            }
            for r in 0..ROWS {
                links[r].store(&mut now[r][block]);
            }
        } else {
            for r in 0..ROWS {
                links[r] = simd.load(&now[r][block]);
            }
        }
        for h in 0..H {
            let read = simd.load(&read[h][block]);
            let mut sum = simd.load(&backward[h][block]);
            for r in 0..ROWS {
                sums[h][r] = links[r].multiply_add(read, sums[h][r]);
                sum = links[r].multiply_add(weights[h][r], sum);
            }
            sum.store(&mut backward[h][block]);
        }
    }
    for h in 0..H {
        for r in 0..ROWS {
            forward[(head + h) * blocks + diagonal][lane + r] = sums[h][r].sum();
        }
    }
}

/// The gradients that following links takes and makes.
pub struct LinkGradients<'a, T> {
    /// Of f, as they came.
    pub forward: &'a [Sixteen<T>],
    /// Of b, as they came.
    pub backward: &'a [Sixteen<T>],
    /// Of the links after the step; becomes that of the links before it.
    pub links: &'a mut [Sixteen<T>],
    /// Of w^R of the step before; added to.
    pub read: &'a mut [Sixteen<T>],
    /// Of w^W; added to.
    pub write: &'a mut [Sixteen<T>],
    /// Scratch, zero when given.
    pub lost: &'a mut [Sixteen<T>],
    /// Of p of the step before; added to.
    pub precedence: &'a mut [Sixteen<T>],
}

vector_fn! {
    /// The gradient of [`follow_links`], in one pass.
    pub fn follow_links_back<T, simd: I>(link: Link<T>, before: &[Sixteen<T>], gradients: LinkGradients<T>) {
        let (blocks, heads) = (link.blocks, link.read.len() / link.blocks);
        let mut gradients = gradients;
        for row in (0..blocks * LANES).step_by(ROWS) {
            let mut head = 0;
            while head < heads {
                let at_once = heads_at_once::<I>(heads - head);
                // The gradient of the links is whole only with the last heads' share.
                match (at_once, head + at_once == heads) {
                    (4, false) => follow_rows_back::<T, I, 4, false>(simd, link, row, head, before, &mut gradients),
                    (4, true) => follow_rows_back::<T, I, 4, true>(simd, link, row, head, before, &mut gradients),
                    (2, false) => follow_rows_back::<T, I, 2, false>(simd, link, row, head, before, &mut gradients),
                    (2, true) => follow_rows_back::<T, I, 2, true>(simd, link, row, head, before, &mut gradients),
                    (_, false) => follow_rows_back::<T, I, 1, false>(simd, link, row, head, before, &mut gradients),
                    (_, true) => follow_rows_back::<T, I, 1, true>(simd, link, row, head, before, &mut gradients),
                }
                head += at_once;
            }
        }
        for (write, lost) in gradients.write.iter_mut().zip(gradients.lost.iter()) {
            for lane in 0..LANES {
                write[lane] += -lost[lane];
            }
        }
    }
}

#[inline(always)]
fn follow_rows_back<T: Real, I: InstructionSet, const H: usize, const LAST: bool>(
    simd: I,
    link: Link<T>,
    row: usize,
    head: usize,
    before: &[Sixteen<T>],
    gradients: &mut LinkGradients<T>,
) {
    let blocks = link.blocks;
    let (write, precedence) = (&link.write[..blocks], &link.precedence[..blocks]);
    let before: [_; ROWS] = rows(before, row, blocks);
    let links: [_; ROWS] = rows_mut(gradients.links, row, blocks);
    let read: [_; H] = rows(link.read, head, blocks);
    let forward: [_; H] = rows(gradients.forward, head, blocks);
    let backward: [_; H] = rows(gradients.backward, head, blocks);
    let read_gradient: [_; H] = rows_mut(gradients.read, head, blocks);
    let (lost, precedence_gradient) = (&mut gradients.lost[..blocks], &mut gradients.precedence[..blocks]);
    let (diagonal, lane) = (row / LANES, row % LANES);
    let zero = simd.splat(T::ZERO);
    let minus = simd.splat(-T::ONE);
    let (mut kept, mut written, mut over_write) = ([zero; ROWS], [zero; ROWS], [zero; ROWS]);
    let (mut read_here, mut forward_here, mut over_read) = ([[zero; ROWS]; H], [[zero; ROWS]; H], [[zero; ROWS]; H]);
    for r in 0..ROWS {
        kept[r] = simd.splat(T::ONE - write[diagonal][lane + r]);
        written[r] = simd.splat(write[diagonal][lane + r]);
        for h in 0..H {
            read_here[h][r] = simd.splat(read[h][diagonal][lane + r]);
            forward_here[h][r] = simd.splat(forward[h][diagonal][lane + r]);
        }
    }
    for block in 0..blocks {
        let minus_write = minus.multiply(simd.load(&write[block]));
        let precedence = simd.load(&precedence[block]);
        let (mut now, mut gradient) = ([zero; ROWS], [zero; ROWS]);
        for r in 0..ROWS {
            let old = simd.load(&before[r][block]);
            now[r] = kept[r].add(minus_write).multiply_add(old, written[r].multiply(precedence));
            gradient[r] = simd.load(&links[r][block]);
        }
        if block == diagonal {
            let masks = beside_diagonal(simd, row);
            for r in 0..ROWS {
                now[r] = now[r].multiply(masks[r]);
            }
        }
        for h in 0..H {
            let (read, backward) = (simd.load(&read[h][block]), simd.load(&backward[h][block]));
            let mut of_read = simd.load(&read_gradient[h][block]);
            for r in 0..ROWS {
                gradient[r] = forward_here[h][r].multiply_add(read, gradient[r]);
                gradient[r] = read_here[h][r].multiply_add(backward, gradient[r]);
                over_read[h][r] = now[r].multiply_add(backward, over_read[h][r]);
                of_read = now[r].multiply_add(forward_here[h][r], of_read);
            }
            of_read.store(&mut read_gradient[h][block]);
        }
        if LAST {
            if block == diagonal {
                let masks = beside_diagonal(simd, row);
                for r in 0..ROWS {
                    gradient[r] = gradient[r].multiply(masks[r]);
                }
            }
            let mut lost_here = simd.load(&lost[block]);
            let mut of_precedence = simd.load(&precedence_gradient[block]);
            for r in 0..ROWS {
                let old = simd.load(&before[r][block]);
                over_write[r] = gradient[r].multiply_add(minus.multiply_add(old, precedence), over_write[r]);
                lost_here = gradient[r].multiply_add(old, lost_here);
                of_precedence = gradient[r].multiply_add(written[r], of_precedence);
                gradient[r] = gradient[r].multiply(kept[r].add(minus_write));
            }
            lost_here.store(&mut lost[block]);
            of_precedence.store(&mut precedence_gradient[block]);
        }
        for r in 0..ROWS {
            gradient[r].store(&mut links[r][block]);
        }
    }
    for r in 0..ROWS {
        for h in 0..H {
            read_gradient[h][diagonal][lane + r] += over_read[h][r].sum();
        }
        if LAST {
            gradients.write[diagonal][lane + r] += over_write[r].sum();
        }
    }
}
