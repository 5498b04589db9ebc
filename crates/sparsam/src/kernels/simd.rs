//! Vector instructions chosen when the program runs.
//!
//! A kernel is written once, as ordinary loops, inside [`vector_fn!`](crate::kernels::simd). It is compiled
//! once for every instruction set, and the best one that the processor has is called, so that a binary
//! built anywhere is fast everywhere.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Real;
use super::lanes::{self, Lanes, Portable, Products};

/// What a kernel's body may know of the instruction set that it is compiled for.
pub(crate) trait InstructionSet: Copy {
    /// Sixteen numbers in its registers.
    type Lanes<T: Real>: Lanes<T>;
    /// Sixteen sums of products of small whole numbers in its registers.
    type Products: Products;
    /// A multiplication and an addition are one instruction.
    const FUSED: bool;
    /// Registers hold 16 `f32` numbers, and there are 32 of them.
    const WIDE: bool;
}

/// AVX-512: 32 registers of 512 bits.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;
/// AVX2 with fused multiplication and addition: 16 registers of 256 bits.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;
/// What every processor of the target has (SSE2 on x86-64, NEON on AArch64).
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl InstructionSet for Avx512 {
    type Lanes<T: Real> = T::Avx512;
    #[cfg(target_arch = "x86_64")]
    type Products = lanes::Avx512Products;
    #[cfg(not(target_arch = "x86_64"))]
    type Products = lanes::PortableProducts;
    const FUSED: bool = true;
    const WIDE: bool = true;
}
impl InstructionSet for Avx2 {
    type Lanes<T: Real> = T::Avx2;
    #[cfg(target_arch = "x86_64")]
    type Products = lanes::Avx2Products;
    #[cfg(not(target_arch = "x86_64"))]
    type Products = lanes::PortableProducts;
    const FUSED: bool = true;
    const WIDE: bool = false;
}
impl InstructionSet for Plain {
    type Lanes<T: Real> = Portable<T>;
    type Products = lanes::PortableProducts;
    const FUSED: bool = cfg!(target_arch = "aarch64");
    const WIDE: bool = false;
}

/// An instruction set by name, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of the target has.
    Plain = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512 = 3,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use: the best that this processor has, unless [`use_level`] chose a lesser one.
#[inline]
pub fn level() -> Level {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Level::Plain,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let best = best_level();
            CHOSEN.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

/// The best instruction set that this processor has.
pub fn best_level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Plain
}

/// Uses `level`, or the best that this processor has if that is less. For the whole process; results of
/// different instruction sets agree to rounding, not to the bit.
pub fn use_level(level: Level) {
    CHOSEN.store(level.min(best_level()) as u8, Ordering::Relaxed);
}

/// `a · b + c` in the cheapest way that the instruction set has.
#[inline(always)]
pub(crate) fn multiply_add<T: Real, I: InstructionSet>(a: T, b: T, c: T) -> T {
    if I::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a function whose body is compiled once per instruction set and chosen when called. The body is
/// generic over a number type and an [`InstructionSet`]; whatever it calls should be `#[inline(always)]`.
macro_rules! vector_fn {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$T:ident, $I:ident $(, const $C:ident: usize)*>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<$T: $crate::kernels::Real $(, const $C: usize)*>($($argument: $type),*) $(-> $result)? {
            // Not every kernel asks which instructions it is compiled for.
            #[allow(clippy::extra_unused_type_parameters)]
            #[inline(always)]
            fn body<$T: $crate::kernels::Real, $I: $crate::kernels::simd::InstructionSet $(, const $C: usize)*>(
                $($argument: $type),*
            ) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512<$T: $crate::kernels::Real $(, const $C: usize)*>($($argument: $type),*) $(-> $result)? {
                body::<$T, $crate::kernels::simd::Avx512 $(, $C)*>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$T: $crate::kernels::Real $(, const $C: usize)*>($($argument: $type),*) $(-> $result)? {
                body::<$T, $crate::kernels::simd::Avx2 $(, $C)*>($($argument),*)
            }

            match $crate::kernels::simd::level() {
                // SAFETY: `level` never names an instruction set that the processor lacks.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::simd::Level::Avx512 => unsafe { avx512::<$T $(, $C)*>($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::simd::Level::Avx2 => unsafe { avx2::<$T $(, $C)*>($($argument),*) },
                _ => body::<$T, $crate::kernels::simd::Plain $(, $C)*>($($argument),*),
            }
        }
    };
}
pub(crate) use vector_fn;

#[cfg(test)]
mod tests {
    use super::*;

    vector_fn! {
        fn sum_of_products<T, I>(a: &[T], b: &[T]) -> T {
            let mut sum = T::ZERO;
            for (x, y) in a.iter().zip(b) {
                sum = multiply_add::<T, I>(*x, *y, sum);
            }
            sum
        }
    }

    #[test]
    fn a_kernel_runs_on_an_instruction_set_that_is_there() {
        let a: Vec<f64> = (0..37).map(f64::from).collect();
        assert_eq!(sum_of_products(&a, &a), (0..37).map(|i| f64::from(i * i)).sum::<f64>());
        assert!(super::level() <= best_level());
    }
}
