//! Products of bytes: how vectors kept as 8-bit codes (scalar quantisation) are compared with a query, to the same whole numbers on
//! every machine.
//!
//! Sums of products of whole numbers are exact, whatever order an instruction takes them in. What follows of them is one
//! conversion and two multiplications, rounded alike everywhere. So the scores are the same on every instruction set.

use super::lanes::LANES;
use super::simd::{self, Chosen, Plain};

/// Numbers of a vector that lie side by side.
pub(crate) const QUAD: usize = 4;
/// The byte that stands for 0, since codes are kept as bytes without a sign.
pub(crate) const ZERO_POINT: i32 = 128;
/// The largest factor of a query. Two products of a factor up to it with a byte without a sign have a sum of at most 32,130,
/// within the 16 bits that AVX2's instruction has for it.
const LARGEST_FACTOR: usize = 63;
/// A vector without a number of this size counts as zeros: the scale that brings such numbers to whole ones may be none.
pub(crate) const SMALLEST: f32 = 1e-30;
/// Bytes that are asked for at once. The processor goes on by itself, and more would drive out what is being compared.
#[cfg(target_arch = "x86_64")]
const ASKED_FOR: usize = 8192;
/// Blocks that share the loads of a query's factors.
const RUN: usize = 4;

/// Four numbers of each of sixteen vectors, vector after vector: codes from -127 to 127, plus [`ZERO_POINT`].
pub(crate) type Quads = [u8; QUAD * LANES];

/// A vector to compare codes with, as whole numbers from -63 to 63 and a scale. Its rounding adds about 0.002 to the error of
/// the cosine of two directions of 32 numbers, twice as much as that of the codes.
#[derive(Debug, Default)]
pub(crate) struct Query {
    factors: Vec<[i8; QUAD]>,
    /// Σ of the factors.
    sum: i32,
    scale: f32,
}

impl Query {
    /// Takes a vector of finite numbers.
    pub fn set(&mut self, vector: &[f32]) {
        let largest = vector.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        // The sum of all products has to stay within 32 bits.
        let top = LARGEST_FACTOR.min(i32::MAX as usize / (255 * vector.len().next_multiple_of(QUAD).max(1))) as f32;
        let is_some = largest >= SMALLEST && top > 0.0;
        let (per_number, scale) = if is_some { (top / largest, largest / top) } else { (0.0, 0.0) };
        self.scale = scale;
        self.factors.clear();
        self.factors.extend(vector.chunks(QUAD).map(|numbers| {
            let mut factors = [0; QUAD];
            for (factor, number) in factors.iter_mut().zip(numbers) {
                *factor = nearest(number * per_number) as i8;
            }
            factors
        }));
        self.sum = self.factors.iter().flatten().map(|factor| i32::from(*factor)).sum();
    }
}

/// Four factors as the word that instructions take them in.
// No closure: see `finish`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn word(factors: [i8; QUAD]) -> i32 {
    let [a, b, c, d] = factors;
    i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8])
}

/// The nearest whole number, for numbers of less than 2²². Adding and taking away 1.5 · 2²³ rounds, in two instructions that
/// every processor has.
#[inline(always)]
pub(crate) fn nearest(number: f32) -> f32 {
    (number + 12_582_912.0) - 12_582_912.0
}

/// Asks for the first of some numbers before they are needed, where the processor can be told to.
#[inline(always)]
pub(crate) fn prefetch<T>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(numbers).min(ASKED_FOR)).step_by(64) {
        // SAFETY: no access, whatever the address; it is within the slice.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                numbers.as_ptr().cast::<i8>().add(line),
            )
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// Writes the product of a query with each vector of some blocks of sixteen. `codes` holds block after block, each with the quads
/// of a whole vector; `scales` what a vector's codes have to be multiplied by.
pub(crate) fn scores(codes: &[Quads], scales: &[[f32; LANES]], query: &Query, scores: &mut [[f32; LANES]]) {
    match simd::chosen() {
        #[cfg(target_arch = "x86_64")]
        Chosen::Avx512(simd) => match simd.vnni() {
            // SAFETY: the proofs exist only where the processor has the instruction set.
            Some(simd) => unsafe { x86::vnni(simd, codes, scales, query, scores) },
            // SAFETY: as above.
            None => unsafe { x86::avx512(simd, codes, scales, query, scores) },
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Chosen::Avx2(simd) => unsafe { x86::avx2(simd, codes, scales, query, scores) },
        Chosen::Plain(simd) => body::<_, PlainSums>(simd, codes, scales, query, scores),
    }
}

#[cfg(target_arch = "aarch64")]
type PlainSums = neon::Sums;
#[cfg(not(target_arch = "aarch64"))]
type PlainSums = PortableSums;

/// Sixteen sums of products, one for each vector of a block. The first value is made with the proof `S` at hand that the
/// processor has its instructions.
trait Sums<S>: Copy {
    /// No products yet, for a query whose factors have the sum `factors`.
    fn start(simd: S, factors: i32) -> Self;
    /// Adds `Σ (quads[4 i + j] - 128) · factors[j]` over j to sum i.
    fn add(self, quads: &Quads, factors: [i8; QUAD]) -> Self;
    /// The sums.
    fn sums(self) -> [i32; LANES];
}

// No closure: it would be compiled without the instruction set.
#[inline(always)]
fn finish<S, P: Sums<S>>(sums: P, scale: f32, scales: &[f32; LANES], scores: &mut [f32; LANES]) {
    let sums = sums.sums();
    for lane in 0..LANES {
        scores[lane] = sums[lane] as f32 * (scales[lane] * scale);
    }
}

#[inline(always)]
fn body<S: Copy, P: Sums<S>>(
    simd: S,
    codes: &[Quads],
    scales: &[[f32; LANES]],
    query: &Query,
    scores: &mut [[f32; LANES]],
) {
    let quads = query.factors.len();
    if quads == 0 {
        return scores.as_flattened_mut().fill(0.0);
    }
    assert_eq!(codes.len(), quads * scores.len());
    assert_eq!(scales.len(), scores.len());
    let start = P::start(simd, query.sum);
    let whole = scores.len() / RUN * RUN;
    let (runs, rest) = codes.split_at(whole * quads);
    let (first_scores, last_scores) = scores.split_at_mut(whole);
    let (first_scales, last_scales) = scales.split_at(whole);
    let blocks = first_scales.as_chunks::<RUN>().0.iter().zip(first_scores.as_chunks_mut::<RUN>().0);
    for (run, (scales, scores)) in runs.chunks_exact(RUN * quads).zip(blocks) {
        let (first, second) = run.split_at(2 * quads);
        let ((a, b), (c, d)) = (first.split_at(quads), second.split_at(quads));
        let mut sums = [start; RUN];
        for ((((factors, a), b), c), d) in query.factors.iter().zip(a).zip(b).zip(c).zip(d) {
            // By value: an array changed in place would not all be kept in registers.
            let [of_a, of_b, of_c, of_d] = sums;
            sums = [of_a.add(a, *factors), of_b.add(b, *factors), of_c.add(c, *factors), of_d.add(d, *factors)];
        }
        for ((sums, scales), scores) in sums.into_iter().zip(scales).zip(scores) {
            finish(sums, query.scale, scales, scores);
        }
    }
    for ((block, scales), scores) in rest.chunks_exact(quads).zip(last_scales).zip(last_scores) {
        let mut sums = start;
        for (factors, quads) in query.factors.iter().zip(block) {
            sums = sums.add(quads, *factors);
        }
        finish(sums, query.scale, scales, scores);
    }
}

/// Sixteen sums in an array: what every processor can do.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "aarch64", allow(dead_code, reason = "what others are compared with"))]
struct PortableSums([i32; LANES]);

impl Sums<Plain> for PortableSums {
    #[inline(always)]
    fn start(_: Plain, _: i32) -> Self {
        Self([0; LANES])
    }
    #[inline(always)]
    fn add(mut self, quads: &Quads, factors: [i8; QUAD]) -> Self {
        let (quads, _) = quads.as_chunks::<QUAD>();
        for (sum, quad) in self.0.iter_mut().zip(quads) {
            for (code, factor) in quad.iter().zip(factors) {
                *sum += (i32::from(*code) - ZERO_POINT) * i32::from(factor);
            }
        }
        self
    }
    #[inline(always)]
    fn sums(self) -> [i32; LANES] {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::simd::{Avx2, Avx512, Vnni};
    use super::{LANES, QUAD, Quads, Query, Sums, ZERO_POINT, body, word};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub fn vnni(simd: Vnni, codes: &[Quads], scales: &[[f32; LANES]], query: &Query, scores: &mut [[f32; LANES]]) {
        body::<_, VnniSums>(simd, codes, scales, query, scores);
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub fn avx512(simd: Avx512, codes: &[Quads], scales: &[[f32; LANES]], query: &Query, scores: &mut [[f32; LANES]]) {
        body::<_, Avx512Sums>(simd, codes, scales, query, scores);
    }
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(simd: Avx2, codes: &[Quads], scales: &[[f32; LANES]], query: &Query, scores: &mut [[f32; LANES]]) {
        body::<_, Avx2Sums>(simd, codes, scales, query, scores);
    }

    /// What the sums start with, as these instructions take codes with their zero point.
    #[inline(always)]
    fn without_zero_points(factors: i32) -> i32 {
        -ZERO_POINT * factors
    }

    /// One register; an instruction multiplies and adds four bytes of each lane.
    #[derive(Clone, Copy)]
    struct VnniSums(__m512i);

    impl Sums<Vnni> for VnniSums {
        #[inline(always)]
        fn start(_: Vnni, factors: i32) -> Self {
            // SAFETY: AVX-512 is there: the argument proves it.
            Self(unsafe { _mm512_set1_epi32(without_zero_points(factors)) })
        }
        #[inline(always)]
        fn add(self, quads: &Quads, factors: [i8; QUAD]) -> Self {
            // SAFETY: VNNI is there: `start` took the proof; the pointer is to 64 bytes, which is what is loaded.
            unsafe {
                let quads = _mm512_loadu_si512(quads.as_ptr().cast());
                Self(_mm512_dpbusd_epi32(self.0, quads, _mm512_set1_epi32(word(factors))))
            }
        }
        #[inline(always)]
        fn sums(self) -> [i32; LANES] {
            let mut sums = [0; LANES];
            // SAFETY: AVX-512 is there: `start` took the proof; the pointer is to sixteen numbers of 32 bits.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), self.0) }
            sums
        }
    }

    /// One register; the products of two bytes are added within 16 bits, which they do not leave: see
    /// [`LARGEST_FACTOR`](super::LARGEST_FACTOR).
    #[derive(Clone, Copy)]
    struct Avx512Sums(__m512i);

    impl Sums<Avx512> for Avx512Sums {
        #[inline(always)]
        fn start(_: Avx512, factors: i32) -> Self {
            // SAFETY: AVX-512 is there: the argument proves it.
            Self(unsafe { _mm512_set1_epi32(without_zero_points(factors)) })
        }
        #[inline(always)]
        fn add(self, quads: &Quads, factors: [i8; QUAD]) -> Self {
            // SAFETY: AVX-512 (BW) is there: `start` took the proof; the pointer is to 64 bytes, which is what is loaded.
            unsafe {
                let quads = _mm512_loadu_si512(quads.as_ptr().cast());
                let factors = _mm512_set1_epi32(word(factors));
                let pairs = _mm512_maddubs_epi16(quads, factors);
                Self(_mm512_add_epi32(self.0, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))))
            }
        }
        #[inline(always)]
        fn sums(self) -> [i32; LANES] {
            let mut sums = [0; LANES];
            // SAFETY: AVX-512 is there: `start` took the proof; the pointer is to sixteen numbers of 32 bits.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), self.0) }
            sums
        }
    }

    /// Two registers, as [`Avx512Sums`] is one.
    #[derive(Clone, Copy)]
    struct Avx2Sums([__m256i; 2]);

    impl Sums<Avx2> for Avx2Sums {
        #[inline(always)]
        fn start(_: Avx2, factors: i32) -> Self {
            // SAFETY: AVX2 is there: the argument proves it.
            Self([unsafe { _mm256_set1_epi32(without_zero_points(factors)) }; 2])
        }
        #[inline(always)]
        fn add(self, quads: &Quads, factors: [i8; QUAD]) -> Self {
            let mut sums = self.0;
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: AVX2 is there: `start` took the proof; half i of the 64 bytes starts at byte 32 i.
                unsafe {
                    let quads = _mm256_loadu_si256(quads.as_ptr().add(half * QUAD * LANES / 2).cast());
                    let factors = _mm256_set1_epi32(word(factors));
                    let pairs = _mm256_maddubs_epi16(quads, factors);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
            }
            Self(sums)
        }
        #[inline(always)]
        fn sums(self) -> [i32; LANES] {
            let mut sums = [0; LANES];
            for (half, sum) in self.0.iter().enumerate() {
                // SAFETY: AVX2 is there: `start` took the proof; half i of the numbers starts at number 8 i.
                unsafe { _mm256_storeu_si256(sums.as_mut_ptr().add(half * LANES / 2).cast(), *sum) }
            }
            sums
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::super::simd::Plain;
    use super::{LANES, QUAD, Quads, word};

    /// Four registers of NEON, which every AArch64 processor has. (Its dot products of bytes are in Rust from 1.98 on.)
    #[derive(Clone, Copy)]
    pub struct Sums([int32x4_t; 4]);

    impl super::Sums<Plain> for Sums {
        #[inline(always)]
        fn start(_: Plain, _: i32) -> Self {
            // SAFETY: every AArch64 processor has NEON.
            Self([unsafe { vdupq_n_s32(0) }; 4])
        }
        #[inline(always)]
        fn add(self, quads: &Quads, factors: [i8; QUAD]) -> Self {
            let mut sums = self.0;
            for (quarter, sum) in sums.iter_mut().enumerate() {
                // SAFETY: every AArch64 processor has NEON; quarter i of the 64 bytes starts at byte 16 i.
                unsafe {
                    // Without the zero point: the highest bit turned over.
                    let quads = veorq_u8(vld1q_u8(quads.as_ptr().add(quarter * LANES)), vdupq_n_u8(0x80));
                    let quads = vreinterpretq_s8_u8(quads);
                    let factors = vreinterpretq_s8_s32(vdupq_n_s32(word(factors)));
                    let low = vmull_s8(vget_low_s8(quads), vget_low_s8(factors));
                    let pairs = vpaddq_s16(low, vmull_high_s8(quads, factors));
                    *sum = vpadalq_s16(*sum, pairs);
                }
            }
            Self(sums)
        }
        #[inline(always)]
        fn sums(self) -> [i32; LANES] {
            let mut sums = [0; LANES];
            for (quarter, sum) in self.0.iter().enumerate() {
                // SAFETY: every AArch64 processor has NEON; quarter i of the numbers starts at number 4 i.
                unsafe { vst1q_s32(sums.as_mut_ptr().add(quarter * LANES / 4), *sum) }
            }
            sums
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes and factors at their limits and between, in `blocks` blocks of `size` numbers.
    fn codes(blocks: usize, size: usize) -> Vec<Quads> {
        (0..blocks * size.div_ceil(QUAD))
            .map(|quads| {
                std::array::from_fn(|i| match (quads + i / 16) % 5 {
                    0 => 255,
                    1 => 1,
                    // Where no code was written yet.
                    2 => 0,
                    _ => ((quads * 64 + i) * 7919 % 255 + 1) as u8,
                })
            })
            .collect()
    }

    /// Every instruction set that this machine has, one after another.
    fn everywhere(codes: &[Quads], scales: &[[f32; LANES]], query: &Query) -> Vec<Vec<[f32; LANES]>> {
        let mut results = Vec::new();
        let mut run = |kernel: &dyn Fn(&mut [[f32; LANES]])| {
            let mut scores = vec![[f32::NAN; LANES]; scales.len()];
            kernel(&mut scores);
            results.push(scores);
        };
        run(&|scores| body::<_, PortableSums>(Plain, codes, scales, query, scores));
        run(&|scores| body::<_, PlainSums>(Plain, codes, scales, query, scores));
        run(&|scores| super::scores(codes, scales, query, scores));
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = simd::avx2() {
                // SAFETY: the proof exists only where the processor has the instruction set.
                run(&|scores| unsafe { x86::avx2(simd, codes, scales, query, scores) });
            }
            if let Some(simd) = simd::avx512() {
                // SAFETY: as above.
                run(&|scores| unsafe { x86::avx512(simd, codes, scales, query, scores) });
                if let Some(simd) = simd.vnni() {
                    // SAFETY: as above.
                    run(&|scores| unsafe { x86::vnni(simd, codes, scales, query, scores) });
                }
            }
        }
        results
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let small = (1..10).flat_map(|size| (0..10).map(move |blocks| (size, blocks)));
        // The sums of the largest words stay within 32 bits.
        for (size, blocks) in small.chain([(32, 4), (33, 7), (200, 6), (65_536, 1)]) {
            let codes = codes(blocks, size);
            let scales: Vec<[f32; LANES]> =
                (0..blocks).map(|block| std::array::from_fn(|i| (block * LANES + i) as f32 / 777.0)).collect();
            for kind in 0..3 {
                let numbers = |i: usize| match kind {
                    // All factors at their largest, of one sign or in turn.
                    0 => 0.3,
                    1 => [0.3, -0.3][i / 2 % 2],
                    _ => (i as f32 * 1.7).sin(),
                };
                let mut query = Query::default();
                query.set(&(0..size).map(numbers).collect::<Vec<_>>());
                let results = everywhere(&codes, &scales, &query);
                for (block, scores) in results[0].iter().enumerate() {
                    for (lane, score) in scores.iter().enumerate() {
                        let mut sum = 0i64;
                        for (quads, factors) in codes[block * size.div_ceil(QUAD)..].iter().zip(&query.factors) {
                            for (code, factor) in quads[QUAD * lane..][..QUAD].iter().zip(factors) {
                                sum += (i64::from(*code) - 128) * i64::from(*factor);
                            }
                        }
                        assert_eq!(*score, sum as f32 * (scales[block][lane] * query.scale));
                    }
                }
                for other in &results[1..] {
                    assert_eq!(*other, results[0], "words of {size} numbers, {blocks} blocks");
                }
            }
        }
    }

    #[test]
    fn a_query_is_right_to_a_half_of_its_last_place() {
        let vector = [0.5, -0.25, 0.001, 0.0, -0.499];
        let mut query = Query::default();
        query.set(&vector);
        assert_eq!(query.factors.len(), 2);
        let factors = query.factors.as_flattened();
        for (number, factor) in vector.iter().zip(factors) {
            assert!((number - f32::from(*factor) * query.scale).abs() <= query.scale / 2.0 * 1.0001);
        }
        assert_eq!(factors[0], 63);
        assert_eq!(query.sum, factors.iter().map(|factor| i32::from(*factor)).sum::<i32>());
        for tiny in [0.0, 1e-45, 1e-41, 1e-31] {
            query.set(&[tiny, -tiny, tiny]);
            assert_eq!((query.scale, query.sum, query.factors.as_flattened()), (0.0, 0, &[0; 4][..]));
        }
    }
}
