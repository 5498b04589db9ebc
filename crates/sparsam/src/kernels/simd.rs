//! Vector instructions chosen when the program runs.
//!
//! A kernel is written once, as ordinary loops, inside [`vector_fn!`](crate::kernels::simd). It is compiled
//! once for every instruction set, and the best one that the processor has is called, so that a binary
//! built anywhere is fast everywhere.
//!
//! A kernel is given the instruction set as an argument without a size. Values of `Avx512`, `Avx2` and `Vnni` are made in
//! this file alone, after the processor was asked; without one, nobody can make registers of theirs.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Real;
use super::lanes::{LANES, Lanes, Portable};

/// What a kernel's body may know of the instruction set that it is compiled for. A value proves that the processor has
/// it.
pub(crate) trait InstructionSet: Copy {
    /// Sixteen numbers in its registers.
    type Lanes<T: Real>: Lanes<T, Self>;
    /// A multiplication and an addition are one instruction.
    const FUSED: bool;
    /// Registers hold 16 `f32` numbers, and there are 32 of them.
    const WIDE: bool;

    /// The same number in every lane.
    #[inline(always)]
    fn splat<T: Real>(self, value: T) -> Self::Lanes<T> {
        Self::Lanes::<T>::splat(self, value)
    }
    /// The numbers of an array.
    #[inline(always)]
    fn load<T: Real>(self, values: &[T; LANES]) -> Self::Lanes<T> {
        Self::Lanes::<T>::load(self, values)
    }
}

/// AVX-512: 32 registers of 512 bits. The field is private so that this file alone makes it, after the processor was asked.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other processor has it"))]
pub(crate) struct Avx512(());
/// AVX2 with fused multiplication and addition: 16 registers of 256 bits. Made in this file alone, as [`Avx512`] is.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other processor has it"))]
pub(crate) struct Avx2(());
/// AVX-512 with its instruction for products of bytes. Made by [`Avx512::vnni`] alone.
#[derive(Clone, Copy)]
#[cfg(target_arch = "x86_64")]
pub(crate) struct Vnni(());
/// What every processor of the target has (SSE2 on x86-64, NEON on AArch64).
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl InstructionSet for Avx512 {
    type Lanes<T: Real> = T::Avx512;
    const FUSED: bool = true;
    const WIDE: bool = true;
}
impl InstructionSet for Avx2 {
    type Lanes<T: Real> = T::Avx2;
    const FUSED: bool = true;
    const WIDE: bool = false;
}
impl InstructionSet for Plain {
    type Lanes<T: Real> = Portable<T>;
    const FUSED: bool = cfg!(target_arch = "aarch64");
    const WIDE: bool = false;
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The same with VNNI, where the processor has it.
    #[inline(always)]
    pub fn vnni(self) -> Option<Vnni> {
        is_x86_feature_detected!("avx512vnni").then_some(Vnni(()))
    }
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

/// A [`Level`] in use; never one that the processor lacks.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use, with the proof that the processor has it.
#[derive(Clone, Copy)]
pub(crate) enum Chosen {
    Plain(Plain),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The instruction set of [`level`].
#[inline(always)]
pub(crate) fn chosen() -> Chosen {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Chosen::Avx512(Avx512(())),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Chosen::Avx2(Avx2(())),
        _ => Chosen::Plain(Plain),
    }
}

/// AVX-512, where the processor has it, whatever is in use.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn avx512() -> Option<Avx512> {
    (best_level() >= Level::Avx512).then_some(Avx512(()))
}

/// AVX2, where the processor has it, whatever is in use.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn avx2() -> Option<Avx2> {
    (best_level() >= Level::Avx2).then_some(Avx2(()))
}

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
/// generic over a number type `T` and an [`InstructionSet`] `I`, whose value has the name before the colon; whatever it
/// calls should be `#[inline(always)]`.
macro_rules! vector_fn {
    // A kernel of ordinary loops, which leaves registers to the compiler.
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$T:ident, $I:ident $(, const $C:ident: usize)*>($($arguments:tt)*)
        $(-> $result:ty)? $body:block
    ) => {
        $crate::kernels::simd::vector_fn! {
            $(#[$attribute])*
            $visibility fn $name<$T, _simd: $I $(, const $C: usize)*>($($arguments)*) $(-> $result)? $body
        }
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$T:ident, $simd:ident: $I:ident $(, const $C:ident: usize)*>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<$T: $crate::kernels::Real $(, const $C: usize)*>($($argument: $type),*) $(-> $result)? {
            // Not every kernel is about numbers of any type.
            #[allow(clippy::extra_unused_type_parameters)]
            #[inline(always)]
            fn body<$T: $crate::kernels::Real, $I: $crate::kernels::simd::InstructionSet $(, const $C: usize)*>(
                $simd: $I,
                $($argument: $type),*
            ) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512<$T: $crate::kernels::Real $(, const $C: usize)*>(
                simd: $crate::kernels::simd::Avx512,
                $($argument: $type),*
            ) $(-> $result)? {
                body::<$T, _ $(, $C)*>(simd, $($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$T: $crate::kernels::Real $(, const $C: usize)*>(
                simd: $crate::kernels::simd::Avx2,
                $($argument: $type),*
            ) $(-> $result)? {
                body::<$T, _ $(, $C)*>(simd, $($argument),*)
            }

            match $crate::kernels::simd::chosen() {
                // SAFETY: `simd` exists only where the processor has the instruction set.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::simd::Chosen::Avx512(simd) => unsafe { avx512::<$T $(, $C)*>(simd, $($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::simd::Chosen::Avx2(simd) => unsafe { avx2::<$T $(, $C)*>(simd, $($argument),*) },
                $crate::kernels::simd::Chosen::Plain(simd) => body::<$T, _ $(, $C)*>(simd, $($argument),*),
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
