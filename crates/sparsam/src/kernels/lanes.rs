//! Sixteen numbers that one operation handles at once: one or more vector registers.
//!
//! Ordinary loops over arrays become vector instructions too, but not reliably ones that stay in registers; the few
//! kernels that everything waits for use these types instead.

use super::Real;
use super::simd::InstructionSet;

/// Numbers in a [`Lanes`].
pub const LANES: usize = 16;

/// Sixteen numbers.
///
/// The types behind this trait use instructions that not every processor has. A value of them is made of another one, or
/// with an [`InstructionSet`] at hand, which there is only where the processor was found to have it: that is what makes
/// them sound. Kernels make them by [`InstructionSet::splat`] and [`InstructionSet::load`].
pub(crate) trait Lanes<T, I>: Copy {
    /// The same number in every lane.
    fn splat(simd: I, value: T) -> Self;
    /// The numbers of an array.
    fn load(simd: I, values: &[T; LANES]) -> Self;
    /// Writes the numbers to an array.
    fn store(self, values: &mut [T; LANES]);
    /// `self + other`, lane by lane.
    fn add(self, other: Self) -> Self;
    /// `self · other`, lane by lane.
    fn multiply(self, other: Self) -> Self;
    /// `self · a + b`, lane by lane.
    fn multiply_add(self, a: Self, b: Self) -> Self;
    /// The larger of both, lane by lane; `other`'s where one is NaN.
    fn larger(self, other: Self) -> Self;
    /// One bit for each lane, lowest first: its number is at least `bound`. Not for NaN.
    fn at_least(self, bound: T) -> u16;

    /// The sum over all lanes.
    #[inline(always)]
    fn sum(self) -> T
    where
        T: Real,
    {
        let mut lanes = [T::ZERO; LANES];
        self.store(&mut lanes);
        for lane in 0..8 {
            lanes[lane] += lanes[lane + 8];
        }
        for lane in 0..4 {
            lanes[lane] += lanes[lane + 4];
        }
        (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    }

    /// The largest of all lanes, where none is NaN.
    #[inline(always)]
    fn largest(self) -> T
    where
        T: Real,
    {
        let mut lanes = [T::ZERO; LANES];
        self.store(&mut lanes);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] = if lanes[lane] > lanes[lane + half] { lanes[lane] } else { lanes[lane + half] };
            }
        }
        lanes[0]
    }

    /// The `count`th largest of all lanes, where none is NaN; -∞ if `count` is above sixteen. Where each lane has the largest of
    /// some numbers, at least `count` of all of these are not smaller.
    #[inline(always)]
    fn kth_largest(self, count: usize) -> T
    where
        T: Real,
    {
        if count > LANES {
            return T::NEG_INFINITY;
        }
        let mut values = [T::ZERO; LANES];
        self.store(&mut values);
        let mut larger = [0u32; LANES];
        for other in values {
            for (larger, value) in larger.iter_mut().zip(&values) {
                *larger += u32::from(other > *value);
            }
        }
        // Fewer than `count` numbers are larger than each of the `count` largest, and the smallest of these is the result.
        let mut smallest = -T::NEG_INFINITY;
        for (larger, value) in larger.iter().zip(values) {
            let value = if *larger < count as u32 { value } else { -T::NEG_INFINITY };
            smallest = if value < smallest { value } else { smallest };
        }
        smallest
    }
}

/// Sixteen numbers in an array: what every processor can do.
#[derive(Clone, Copy, Debug)]
pub struct Portable<T>([T; LANES]);

impl<T: Real, I: InstructionSet> Lanes<T, I> for Portable<T> {
    #[inline(always)]
    fn splat(_: I, value: T) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    fn load(_: I, values: &[T; LANES]) -> Self {
        Self(*values)
    }
    #[inline(always)]
    fn store(self, values: &mut [T; LANES]) {
        *values = self.0;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
    #[inline(always)]
    fn multiply_add(self, a: Self, b: Self) -> Self {
        if cfg!(target_arch = "aarch64") {
            Self(std::array::from_fn(|lane| self.0[lane].mul_add(a.0[lane], b.0[lane])))
        } else {
            Self(std::array::from_fn(|lane| self.0[lane] * a.0[lane] + b.0[lane]))
        }
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        let mut larger = other.0;
        for lane in 0..LANES {
            if self.0[lane] > larger[lane] {
                larger[lane] = self.0[lane];
            }
        }
        Self(larger)
    }
    #[inline(always)]
    fn at_least(self, bound: T) -> u16 {
        self.0.iter().enumerate().fold(0, |bits, (lane, value)| bits | (u16::from(*value >= bound) << lane))
    }
}

/// Defines [`Lanes`] held in `$count` registers of an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    (
        $(#[$doc:meta])* $name:ident of $instructions:ident, $number:ty, $register:ident; $count:literal,
        $set:ident, $load:ident, $store:ident, $add:ident, $multiply:ident, $fused:ident, $max:ident,
        |$value:ident, $bound:ident| $compare:expr, |$all:ident| $sum:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name([$register; $count]);

        impl $name {
            const WIDTH: usize = LANES / $count;
        }

        // Loops and not closures: a closure is compiled without the instruction set, and where it is not inlined into
        // the kernel, neither are its instructions.
        //
        // SAFETY (all blocks below): the instructions are there, because the first value of this type is made by `splat`
        // or `load`, and whoever calls these has an instruction set that only its detection makes; the pointers are to
        // arrays of sixteen numbers, of which register i covers numbers i · WIDTH up to (i + 1) · WIDTH.
        impl Lanes<$number, $instructions> for $name {
            #[inline(always)]
            fn splat(_: $instructions, value: $number) -> Self {
                // SAFETY: see above.
                Self([unsafe { $set(value) }; $count])
            }
            #[inline(always)]
            fn load(_: $instructions, values: &[$number; LANES]) -> Self {
                // SAFETY: see above.
                let mut registers = [unsafe { $load(values.as_ptr()) }; $count];
                for i in 0..$count {
                    // SAFETY: see above.
                    registers[i] = unsafe { $load(values.as_ptr().add(i * Self::WIDTH)) };
                }
                Self(registers)
            }
            #[inline(always)]
            fn store(self, values: &mut [$number; LANES]) {
                for i in 0..$count {
                    // SAFETY: see above.
                    unsafe { $store(values.as_mut_ptr().add(i * Self::WIDTH), self.0[i]) }
                }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                let mut registers = self.0;
                for i in 0..$count {
                    // SAFETY: see above.
                    registers[i] = unsafe { $add(self.0[i], other.0[i]) };
                }
                Self(registers)
            }
            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                let mut registers = self.0;
                for i in 0..$count {
                    // SAFETY: see above.
                    registers[i] = unsafe { $multiply(self.0[i], other.0[i]) };
                }
                Self(registers)
            }
            #[inline(always)]
            fn multiply_add(self, a: Self, b: Self) -> Self {
                let mut registers = self.0;
                for i in 0..$count {
                    // SAFETY: see above.
                    registers[i] = unsafe { $fused(self.0[i], a.0[i], b.0[i]) };
                }
                Self(registers)
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                let mut registers = self.0;
                for i in 0..$count {
                    // SAFETY: see above.
                    registers[i] = unsafe { $max(self.0[i], other.0[i]) };
                }
                Self(registers)
            }
            #[inline(always)]
            fn at_least(self, bound: $number) -> u16 {
                // SAFETY: see above.
                let $bound = unsafe { $set(bound) };
                let mut bits = 0;
                for i in 0..$count {
                    let $value = self.0[i];
                    // SAFETY: see above.
                    bits |= (unsafe { $compare } as u16) << (i * Self::WIDTH);
                }
                bits
            }
            #[inline(always)]
            fn sum(self) -> $number {
                let $all = self.0;
                // SAFETY: see above.
                unsafe { $sum }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub use x86::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::simd::{Avx2, Avx512};
    use super::{LANES, Lanes};

    registers!(
        /// One register of AVX-512.
        Avx512F32 of Avx512, f32, __m512; 1,
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_mul_ps, _mm512_fmadd_ps,
        _mm512_max_ps,
        |value, bound| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(value, bound),
        |all| _mm512_reduce_add_ps(all[0])
    );
    registers!(
        /// Two registers of AVX-512.
        Avx512F64 of Avx512, f64, __m512d; 2,
        _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_mul_pd, _mm512_fmadd_pd,
        _mm512_max_pd,
        |value, bound| _mm512_cmp_pd_mask::<_CMP_GE_OQ>(value, bound),
        |all| _mm512_reduce_add_pd(_mm512_add_pd(all[0], all[1]))
    );
    registers!(
        /// Two registers of AVX2.
        Avx2F32 of Avx2, f32, __m256; 2,
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_mul_ps, _mm256_fmadd_ps,
        _mm256_max_ps,
        |value, bound| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(value, bound)),
        |all| {
            let eight = _mm256_add_ps(all[0], all[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    );
    registers!(
        /// Four registers of AVX2.
        Avx2F64 of Avx2, f64, __m256d; 4,
        _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_mul_pd, _mm256_fmadd_pd,
        _mm256_max_pd,
        |value, bound| _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_GE_OQ>(value, bound)),
        |all| {
            let four = _mm256_add_pd(_mm256_add_pd(all[0], all[2]), _mm256_add_pd(all[1], all[3]));
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    );
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Level, Plain, best_level, level, vector_fn};
    use super::*;

    vector_fn! {
        fn every_operation<T, simd: I>(a: &[T; LANES], b: &[T; LANES]) -> Vec<[T; LANES]> {
            let (x, y) = (simd.load(a), simd.load(b));
            let half = simd.splat(T::from_f64(0.5));
            let mut results = Vec::new();
            for value in [x.add(y), x.multiply(y), x.multiply_add(y, half), x.larger(y)] {
                let mut result = [T::ZERO; LANES];
                value.store(&mut result);
                results.push(result);
            }
            results.push([x.sum(); LANES]);
            results.push([x.largest(); LANES]);
            results.push([T::from_f64(f64::from(x.at_least(T::from_f64(3.0)))); LANES]);
            results
        }
    }

    fn check<T: Real>() {
        let a: [T; LANES] = std::array::from_fn(|i| T::from_f64((i * 5 % 16) as f64));
        let b: [T; LANES] = std::array::from_fn(|i| T::from_f64(i as f64 - 7.0));
        let results = every_operation(&a, &b);
        let mut bits = 0;
        for i in 0..LANES {
            let (x, y) = (a[i].to_f64(), b[i].to_f64());
            assert_eq!(results[0][i].to_f64(), x + y);
            assert_eq!(results[1][i].to_f64(), x * y);
            assert_eq!(results[2][i].to_f64(), x * y + 0.5);
            assert_eq!(results[3][i].to_f64(), x.max(y));
            assert_eq!(results[4][i].to_f64(), 120.0);
            assert_eq!(results[5][i].to_f64(), 15.0);
            bits |= u32::from(x >= 3.0) << i;
        }
        assert_eq!(results[6][0].to_f64(), f64::from(bits));
    }

    #[test]
    fn the_kth_largest_of_sixteen() {
        let mut values: [f64; LANES] = std::array::from_fn(|i| ((i * 7) % 5) as f64);
        values[3] = f64::NEG_INFINITY;
        let mut sorted = values;
        sorted.sort_by(|a, b| b.total_cmp(a));
        for count in 1..=LANES + 1 {
            let expected = sorted.get(count - 1).copied().unwrap_or(f64::NEG_INFINITY);
            assert_eq!(Lanes::<f64, Plain>::kth_largest(Portable(values), count), expected, "{count}");
        }
    }

    #[test]
    fn operations_do_what_they_say() {
        assert!((Level::Plain..=best_level()).contains(&level()));
        check::<f32>();
        check::<f64>();
    }
}
