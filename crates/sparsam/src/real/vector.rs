//! Kernels over vectors. All are inlined into the [`vector_fn!`](super::simd) that calls them and
//! compiled for its instruction set.

use super::Real;
use super::simd::{InstructionSet, multiply_add};

/// Numbers that a kernel handles at once; the unit in which loops are written so that they vectorise.
pub const LANES: usize = 16;

/// Σ aᵢ bᵢ.
#[inline(always)]
pub fn dot<T: Real, I: InstructionSet>(a: &[T], b: &[T]) -> T {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [T::ZERO; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<T, I>(x[lane], y[lane], sums[lane]);
        }
    }
    let mut sum = sum_of_lanes(sums);
    for (x, y) in a_rest.iter().zip(b_rest) {
        sum = multiply_add::<T, I>(*x, *y, sum);
    }
    sum
}

/// (a · b, b · b) in one pass.
#[inline(always)]
pub fn dot_and_square<T: Real, I: InstructionSet>(a: &[T], b: &[T]) -> (T, T) {
    debug_assert_eq!(a.len(), b.len());
    let mut products = [T::ZERO; LANES];
    let mut squares = [T::ZERO; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            products[lane] = multiply_add::<T, I>(x[lane], y[lane], products[lane]);
            squares[lane] = multiply_add::<T, I>(y[lane], y[lane], squares[lane]);
        }
    }
    let mut product = sum_of_lanes(products);
    let mut square = sum_of_lanes(squares);
    for (x, y) in a_rest.iter().zip(b_rest) {
        product = multiply_add::<T, I>(*x, *y, product);
        square = multiply_add::<T, I>(*y, *y, square);
    }
    (product, square)
}

#[inline(always)]
fn sum_of_lanes<T: Real>(mut lanes: [T; LANES]) -> T {
    for lane in 0..8 {
        lanes[lane] += lanes[lane + 8];
    }
    for lane in 0..4 {
        lanes[lane] += lanes[lane + 4];
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// y += scale · x.
#[inline(always)]
pub fn axpy<T: Real, I: InstructionSet>(y: &mut [T], scale: T, x: &[T]) {
    debug_assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y = multiply_add::<T, I>(scale, *x, *y);
    }
}

/// z += a · x + b · y.
#[inline(always)]
pub fn axpby<T: Real, I: InstructionSet>(z: &mut [T], a: T, x: &[T], b: T, y: &[T]) {
    debug_assert!(x.len() == z.len() && y.len() == z.len());
    for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
        *z = multiply_add::<T, I>(a, *x, multiply_add::<T, I>(b, *y, *z));
    }
}

/// y += x.
#[inline(always)]
pub fn add<T: Real>(y: &mut [T], x: &[T]) {
    debug_assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += *x;
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Plain;
    use super::*;

    #[test]
    fn kernels_agree_with_their_definitions_at_every_length() {
        for length in 0..70usize {
            let a: Vec<f64> = (0..length).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..length).map(|i| (i as f64 * 1.3).cos()).collect();
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            let square: f64 = b.iter().map(|y| y * y).sum();
            assert!((dot::<_, Plain>(&a, &b) - exact).abs() < 1e-12);
            let both = dot_and_square::<_, Plain>(&a, &b);
            assert!((both.0 - exact).abs() < 1e-12 && (both.1 - square).abs() < 1e-12);
            let mut y = b.clone();
            axpy::<_, Plain>(&mut y, 2.0, &a);
            axpby::<_, Plain>(&mut y, -1.0, &a, 0.5, &b);
            add(&mut y, &b);
            for i in 0..length {
                assert!((y[i] - (2.5 * b[i] + a[i])).abs() < 1e-12);
            }
        }
    }
}
