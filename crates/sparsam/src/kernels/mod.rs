//! The number type that every model is written in, and the vector kernels over it.
//!
//! Training runs in `f32`; `f64` serves exact tests and gradient checks. The elementary functions of
//! `f32` are branch-free polynomials, so that loops over them become vector instructions; those of
//! `f64` are the standard library's.

pub(crate) mod both;
pub(crate) mod bytes;
pub(crate) mod lanes;
pub mod matrix;
pub mod simd;
pub(crate) mod vector;

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::system::pages::Zeroed;

/// A real number: `f32` or `f64`. Sealed: no other type implements it.
///
/// ```
/// use sparsam::Real;
///
/// /// The logistic function of the mean, in either precision.
/// fn squashed_mean<T: Real>(values: &[T]) -> T {
///     let sum: T = values.iter().copied().sum();
///     (sum / T::from_f64(values.len() as f64)).sigmoid()
/// }
/// assert_eq!(squashed_mean(&[-1.0f32, 1.0]), 0.5);
/// assert_eq!(squashed_mean(&[-1.0f64, 1.0]), 0.5);
/// ```
pub trait Real:
    Zeroed
    + Copy
    + Default
    + Debug
    + Display
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + sealed::Sealed
    + 'static
{
    /// Sixteen numbers in registers of AVX-512. Of no use outside of this crate.
    #[doc(hidden)]
    #[allow(private_bounds, reason = "only kernels of this crate may use instructions that a processor may lack")]
    type Avx512: lanes::Lanes<Self, simd::Avx512>;
    /// Sixteen numbers in registers of AVX2. Of no use outside of this crate.
    #[doc(hidden)]
    #[allow(private_bounds, reason = "only kernels of this crate may use instructions that a processor may lack")]
    type Avx2: lanes::Lanes<Self, simd::Avx2>;

    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Below every finite number.
    const NEG_INFINITY: Self;
    /// Numbers below it in size have products with ordinary numbers that are subnormal or nearly so: those take a processor
    /// many times as long as others.
    const NEGLIGIBLE: Self;
    /// The number type's name in a safetensors file. Exempt from semantic versioning, as the type is another crate's.
    #[doc(hidden)]
    const DTYPE: safetensors::Dtype;

    /// The nearest number to `value`.
    fn from_f64(value: f64) -> Self;
    /// This number in double precision.
    fn to_f64(self) -> f64;
    /// `self · a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// The larger of two numbers; if one is not a number, the other.
    fn max(self, other: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// eˣ.
    fn exp(self) -> Self;
    /// ln(1 + x).
    fn ln_1p(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Appends the number's little-endian bytes.
    fn write_le(self, bytes: &mut Vec<u8>);
    /// Reads a number from its little-endian bytes; `bytes` holds exactly one number.
    fn read_le(bytes: &[u8]) -> Self;

    /// The logistic function 1 / (1 + e⁻ˣ).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }

    /// ln(1 + eˣ), without overflow for large x.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max(Self::ZERO) + (-self.abs()).exp().ln_1p()
    }

    /// 1 + ln(1 + eˣ), the DNC's map onto strengths of at least one.
    #[inline(always)]
    fn oneplus(self) -> Self {
        Self::ONE + self.softplus()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx512 = lanes::Avx512F32;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx512 = lanes::Portable<Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = lanes::Avx2F32;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx2 = lanes::Portable<Self>;

    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const NEGLIGIBLE: Self = f32::MIN_POSITIVE * (1 << 26) as f32;
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F32;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }

    /// eˣ within two units in the last place: x = n ln 2 + r, a polynomial in r, n put into the exponent.
    #[inline(always)]
    fn exp(self) -> Self {
        // Outside of these bounds the result is no normal number: it is infinite, or 0. NaN passes through.
        const LARGEST: f32 = 88.376_26;
        const SMALLEST: f32 = -87.336_54;
        // Adding and subtracting 1.5 · 2²³ rounds to the nearest whole number.
        const ROUND: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let clamped = if self > LARGEST { LARGEST } else { self };
        let clamped = if clamped < SMALLEST { SMALLEST } else { clamped };
        let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
        let mut p = 1.987_569_1e-4;
        p = p * r + 1.398_2e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 5.000_000_3e-1;
        let value = p * r * r + r + 1.0;
        // The low bits of `shifted` hold n; the shift moves them into the exponent.
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        let value = if self > LARGEST { f32::INFINITY } else { value * scale };
        if self < SMALLEST { 0.0 } else { value }
    }

    /// ln(1 + x) as the logarithm of the rounded sum u, and what was lost in rounding over u.
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let u = 1.0 + self;
        let value = Real::ln(u) + (self - (u - 1.0)) / u;
        let value = if u == 0.0 { f32::NEG_INFINITY } else { value };
        if self == f32::INFINITY { self } else { value }
    }
    /// The natural logarithm within two units in the last place: x = 2ⁿ m with m around 1, a polynomial in m - 1, and
    /// n ln 2.
    #[inline(always)]
    fn ln(self) -> Self {
        const SQRT_HALF: u32 = 0x3F35_04F3;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        // Numbers below the normal ones are moved up among them.
        const UP: f32 = 8_388_608.0;
        let small = self < f32::MIN_POSITIVE;
        let (normal, moved) = if small { (self * UP, -23.0) } else { (self, 0.0) };
        let n = (normal.to_bits().wrapping_sub(SQRT_HALF) as i32) >> 23;
        let f = f32::from_bits(normal.to_bits().wrapping_sub((n as u32) << 23)) - 1.0;
        let n = n as f32 + moved;
        let z = f * f;
        let mut p = 7.037_683_6e-2;
        p = p * f - 1.151_461e-1;
        p = p * f + 1.167_699_9e-1;
        p = p * f - 1.242_014_1e-1;
        p = p * f + 1.424_932_3e-1;
        p = p * f - 1.666_805_8e-1;
        p = p * f + 2.000_071_5e-1;
        p = p * f - 2.499_999_4e-1;
        p = p * f + 3.333_333e-1;
        let value = f * z * p + n * LN_2_LOW - 0.5 * z + f + n * LN_2_HIGH;
        let value = if self > 0.0 { value } else { f32::NAN };
        let value = if self == 0.0 { f32::NEG_INFINITY } else { value };
        if self == f32::INFINITY { self } else { value }
    }

    /// tanh within a few units in the last place: an odd polynomial over an even one, on the range
    /// where the result differs from ±1.
    #[inline(always)]
    fn tanh(self) -> Self {
        const BOUND: f32 = 7.905_311;
        let x = if self > BOUND { BOUND } else { self };
        let x = if x < -BOUND { -BOUND } else { x };
        let y = x * x;
        let mut p = -2.760_768_5e-16;
        p = p * y + 2.000_188e-13;
        p = p * y + -8.604_672e-11;
        p = p * y + 5.122_297e-8;
        p = p * y + 1.485_722_4e-5;
        p = p * y + 6.372_619e-4;
        p = p * y + 4.893_524_6e-3;
        let mut q = 1.198_258_4e-6;
        q = q * y + 1.185_347_1e-4;
        q = q * y + 2.268_434_6e-3;
        q = q * y + 4.893_525e-3;
        x * p / q
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
    fn read_le(bytes: &[u8]) -> Self {
        let mut array = [0; 4];
        array.copy_from_slice(bytes);
        f32::from_le_bytes(array)
    }
}

impl Real for f64 {
    #[cfg(target_arch = "x86_64")]
    type Avx512 = lanes::Avx512F64;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx512 = lanes::Portable<Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = lanes::Avx2F64;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx2 = lanes::Portable<Self>;

    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const NEGLIGIBLE: Self = f64::MIN_POSITIVE * (1 << 26) as f64;
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F64;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f64::max(self, other)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
    fn read_le(bytes: &[u8]) -> Self {
        let mut array = [0; 8];
        array.copy_from_slice(bytes);
        f64::from_le_bytes(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest_relative_error(range: f32, of: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        let mut worst = 0.0f64;
        for i in -200_000..=200_000 {
            let x = i as f32 / 200_000.0 * range;
            let exact = truth(f64::from(x));
            if exact.abs() > 1e-37 {
                worst = worst.max((f64::from(of(x)) - exact).abs() / exact.abs());
            }
        }
        worst
    }

    #[test]
    fn elementary_functions_of_f32_are_accurate_to_a_few_units_in_the_last_place() {
        assert!(largest_relative_error(87.0, <f32 as Real>::exp, f64::exp) < 3e-7);
        assert!(largest_relative_error(20.0, <f32 as Real>::tanh, f64::tanh) < 5e-7);
        assert!(largest_relative_error(1e-2, <f32 as Real>::tanh, f64::tanh) < 3e-7);
        assert!(largest_relative_error(80.0, Real::sigmoid, |x| 1.0 / (1.0 + (-x).exp())) < 5e-7);
        assert!(largest_relative_error(0.999, <f32 as Real>::ln_1p, f64::ln_1p) < 5e-7);
        assert!(largest_relative_error(1e-4, <f32 as Real>::ln_1p, f64::ln_1p) < 5e-7);
        assert!(largest_relative_error(60.0, Real::softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()) < 5e-7);
    }

    #[test]
    fn the_logarithm_of_f32_is_accurate_over_all_magnitudes() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000u32 {
            let x = f32::from_bits(1 + i * 1069);
            let exact = f64::from(x).ln();
            let unit = f64::from(f32::EPSILON) * exact.abs().max(f64::from(f32::MIN_POSITIVE));
            worst = worst.max((f64::from(<f32 as Real>::ln(x)) - exact).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units in the last place");
        assert_eq!(<f32 as Real>::ln(1.0), 0.0);
        assert_eq!(<f32 as Real>::ln(0.0), f32::NEG_INFINITY);
        assert_eq!(<f32 as Real>::ln(f32::INFINITY), f32::INFINITY);
        assert!(<f32 as Real>::ln(-1.0).is_nan());
        assert!(<f32 as Real>::ln(f32::NAN).is_nan());
    }

    #[test]
    fn elementary_functions_keep_their_limits() {
        assert_eq!(<f32 as Real>::tanh(f32::INFINITY), <f32 as Real>::tanh(100.0));
        assert!((<f32 as Real>::tanh(100.0) - 1.0).abs() < 2e-7);
        assert!(Real::sigmoid(-1e30f32) < 1e-37);
        assert_eq!(Real::sigmoid(1e30f32), 1.0);
        assert_eq!(<f32 as Real>::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(<f32 as Real>::exp(-88.0), 0.0);
        assert_eq!(<f32 as Real>::exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(Real::softplus(1e30f32), 1e30);
        assert_eq!(<f32 as Real>::ln_1p(-1.0), f32::NEG_INFINITY);
        assert_eq!(<f32 as Real>::ln_1p(f32::INFINITY), f32::INFINITY);
        assert!(<f32 as Real>::ln_1p(-1.5).is_nan());
        assert!(<f32 as Real>::ln_1p(f32::NAN).is_nan());
        assert!(<f32 as Real>::exp(f32::NAN).is_nan());
        assert!(<f32 as Real>::tanh(f32::NAN).is_nan());
    }
}
