//! Kernels over vectors. All are inlined into the [`vector_fn!`](super::simd) that calls them and
//! compiled for its instruction set.

use super::Real;
use super::lanes::{LANES, Lanes};
use super::simd::{InstructionSet, multiply_add};

/// Σ aᵢ bᵢ.
#[inline(always)]
pub fn dot<T: Real, I: InstructionSet>(simd: I, a: &[T], b: &[T]) -> T {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = simd.splat(T::ZERO);
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        sums = simd.load(x).multiply_add(simd.load(y), sums);
    }
    let mut sum = sums.sum();
    for (x, y) in a_rest.iter().zip(b_rest) {
        sum = multiply_add::<T, I>(*x, *y, sum);
    }
    sum
}

/// Σ aᵢ.
#[inline(always)]
pub fn sum<T: Real, I: InstructionSet>(simd: I, a: &[T]) -> T {
    let mut sums = simd.splat(T::ZERO);
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        sums = sums.add(simd.load(chunk));
    }
    let mut sum = sums.sum();
    for x in rest {
        sum += *x;
    }
    sum
}

/// (a · b, b · b) in one pass.
#[inline(always)]
pub fn dot_and_square<T: Real, I: InstructionSet>(simd: I, a: &[T], b: &[T]) -> (T, T) {
    debug_assert_eq!(a.len(), b.len());
    let mut products = simd.splat(T::ZERO);
    let mut squares = products;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        let y = simd.load(y);
        products = simd.load(x).multiply_add(y, products);
        squares = y.multiply_add(y, squares);
    }
    let (mut product, mut square) = (products.sum(), squares.sum());
    for (x, y) in a_rest.iter().zip(b_rest) {
        product = multiply_add::<T, I>(*x, *y, product);
        square = multiply_add::<T, I>(*y, *y, square);
    }
    (product, square)
}

/// Makes what is [negligible](Real::NEGLIGIBLE) zero.
#[inline(always)]
pub fn drop_negligible<T: Real>(values: &mut [T]) {
    for value in values {
        *value = if value.abs() < T::NEGLIGIBLE { T::ZERO } else { *value };
    }
}

/// y += scale · x.
#[inline(always)]
pub fn axpy<T: Real, I: InstructionSet>(simd: I, y: &mut [T], scale: T, x: &[T]) {
    debug_assert_eq!(x.len(), y.len());
    let scales = simd.splat(scale);
    let (y_chunks, y_rest) = y.as_chunks_mut::<LANES>();
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    for (y, x) in y_chunks.iter_mut().zip(x_chunks) {
        scales.multiply_add(simd.load(x), simd.load(y)).store(y);
    }
    for (y, x) in y_rest.iter_mut().zip(x_rest) {
        *y = multiply_add::<T, I>(scale, *x, *y);
    }
}

/// z += a · x + b · y.
#[inline(always)]
pub fn axpby<T: Real, I: InstructionSet>(simd: I, z: &mut [T], a: T, x: &[T], b: T, y: &[T]) {
    debug_assert!(x.len() == z.len() && y.len() == z.len());
    let (a_lanes, b_lanes) = (simd.splat(a), simd.splat(b));
    let (z_chunks, z_rest) = z.as_chunks_mut::<LANES>();
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    for ((z, x), y) in z_chunks.iter_mut().zip(x_chunks).zip(y_chunks) {
        let sum = b_lanes.multiply_add(simd.load(y), simd.load(z));
        a_lanes.multiply_add(simd.load(x), sum).store(z);
    }
    for ((z, x), y) in z_rest.iter_mut().zip(x_rest).zip(y_rest) {
        *z = multiply_add::<T, I>(a, *x, multiply_add::<T, I>(b, *y, *z));
    }
}

/// y += scales[0] · x[0] + scales[1] · x[1] + scales[2] · x[2], added in this order.
#[inline(always)]
pub fn add_scaled<T: Real, I: InstructionSet>(simd: I, y: &mut [T], scales: [T; 3], x: [&[T]; 3]) {
    debug_assert!(x.iter().all(|x| x.len() == y.len()));
    let lanes = [simd.splat(scales[0]), simd.splat(scales[1]), simd.splat(scales[2])];
    let (y_chunks, y_rest) = y.as_chunks_mut::<LANES>();
    let [(a, a_rest), (b, b_rest), (c, c_rest)] =
        [x[0].as_chunks::<LANES>(), x[1].as_chunks::<LANES>(), x[2].as_chunks::<LANES>()];
    for (((y, a), b), c) in y_chunks.iter_mut().zip(a).zip(b).zip(c) {
        let sum = lanes[0].multiply_add(simd.load(a), simd.load(y));
        let sum = lanes[1].multiply_add(simd.load(b), sum);
        lanes[2].multiply_add(simd.load(c), sum).store(y);
    }
    for (((y, a), b), c) in y_rest.iter_mut().zip(a_rest).zip(b_rest).zip(c_rest) {
        for (scale, x) in scales.into_iter().zip([*a, *b, *c]) {
            *y = multiply_add::<T, I>(scale, x, *y);
        }
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

/// Exchanges the numbers of two vectors. `swap_with_slice` takes two at a time.
#[inline(always)]
pub fn exchange<T: Real, I: InstructionSet>(simd: I, a: &mut [T], b: &mut [T]) {
    debug_assert_eq!(a.len(), b.len());
    let (a_chunks, a_rest) = a.as_chunks_mut::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks_mut::<LANES>();
    for (a, b) in a_chunks.iter_mut().zip(b_chunks) {
        let (of_a, of_b) = (simd.load(a), simd.load(b));
        of_a.store(b);
        of_b.store(a);
    }
    for (a, b) in a_rest.iter_mut().zip(b_rest) {
        std::mem::swap(a, b);
    }
}

/// The first place of `value` in a list of word numbers.
#[inline(always)]
pub fn position(list: &[u32], value: u32) -> Option<usize> {
    let (chunks, rest) = list.as_chunks::<LANES>();
    for (number, chunk) in chunks.iter().enumerate() {
        // Without a branch for each word, so that the whole chunk is compared at once.
        if chunk.iter().fold(false, |found, other| found | (*other == value)) {
            let place = chunk.iter().position(|other| *other == value)?;
            return Some(number * LANES + place);
        }
    }
    rest.iter().position(|other| *other == value).map(|place| chunks.len() * LANES + place)
}

#[cfg(test)]
mod tests {
    use super::super::simd::Plain;
    use super::*;

    #[test]
    fn position_is_the_first() {
        let list: Vec<u32> = (0..70).map(|i| i % 50).collect();
        for value in 0..60 {
            assert_eq!(position(&list, value), list.iter().position(|other| *other == value));
        }
    }

    #[test]
    fn kernels_agree_with_their_definitions_at_every_length() {
        for length in 0..70usize {
            let a: Vec<f64> = (0..length).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..length).map(|i| (i as f64 * 1.3).cos()).collect();
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            let square: f64 = b.iter().map(|y| y * y).sum();
            assert!((dot(Plain, &a, &b) - exact).abs() < 1e-12);
            assert!((sum(Plain, &a) - a.iter().sum::<f64>()).abs() < 1e-12);
            let both = dot_and_square(Plain, &a, &b);
            assert!((both.0 - exact).abs() < 1e-12 && (both.1 - square).abs() < 1e-12);
            let mut y = b.clone();
            axpy(Plain, &mut y, 2.0, &a);
            axpby(Plain, &mut y, -1.0, &a, 0.5, &b);
            add(&mut y, &b);
            add_scaled(Plain, &mut y, [0.25, -0.5, 2.0], [&a, &b, &a]);
            for i in 0..length {
                assert!((y[i] - (2.0 * b[i] + 3.25 * a[i])).abs() < 1e-12);
            }
        }
    }
}
