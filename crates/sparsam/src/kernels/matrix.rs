//! Products of matrices: [`Packed`] for the few rows of one time step, [`multiply`] for whole sequences.

use super::Real;
use super::lanes::{LANES, Lanes};
use super::simd::{InstructionSet, vector_fn};

/// Columns that lie side by side in a [`Packed`] matrix.
const PANEL: usize = 32;
/// Rows that a tile of the product holds in registers; also how many sequences share a shard.
pub const TILE_ROWS: usize = 4;

/// A matrix of `inner × columns` numbers laid out for products with a few rows from the left: panels of
/// 32 columns, each panel row after row, the last one padded with zeros. A weight is packed once per
/// update and used at every time step.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    inner: usize,
    columns: usize,
    panels: Vec<T>,
}

impl<T: Real> Packed<T> {
    /// Room for `inner × columns` zeros.
    ///
    /// # Panics
    /// If they exceed the address space.
    pub fn zeros(inner: usize, columns: usize) -> Self {
        // What wraps around is more than any vector holds.
        let length = columns.div_ceil(PANEL).saturating_mul(inner).saturating_mul(PANEL);
        Self { inner, columns, panels: vec![T::ZERO; length] }
    }

    /// Takes over the transpose of a matrix stored row after row, for `rows` rows from `first_row` on: `source[j][i]`,
    /// `stride` numbers from one j to the next, becomes entry (`first_row + i`, j).
    pub fn set_rows_transposed(&mut self, first_row: usize, rows: usize, source: &[T], stride: usize) {
        for j in 0..self.columns {
            for i in 0..rows {
                let index = self.index(first_row + i, j);
                self.panels[index] = source[j * stride + i];
            }
        }
    }

    /// Takes over `columns` columns from `first_column` on, from a matrix stored row after row: `source[i][j]`, `stride`
    /// numbers from one i to the next, becomes entry (i, `first_column + j`).
    pub fn set_columns(&mut self, first_column: usize, columns: usize, source: &[T], stride: usize) {
        for i in 0..self.inner {
            for j in 0..columns {
                let index = self.index(i, first_column + j);
                self.panels[index] = source[i * stride + j];
            }
        }
    }

    fn index(&self, row: usize, column: usize) -> usize {
        (column / PANEL * self.inner + row) * PANEL + column % PANEL
    }

    /// `output += input · self` for `rows` rows, which lie `input_stride` and `output_stride` numbers apart.
    pub fn multiply_add(&self, rows: usize, input: &[T], input_stride: usize, output: &mut [T], output_stride: usize) {
        for first in (0..rows).step_by(TILE_ROWS) {
            let (input, output) = (&input[first * input_stride..], &mut output[first * output_stride..]);
            match rows - first {
                1 => multiply_rows::<T, 1>(self, input, input_stride, output, output_stride),
                2 => multiply_rows::<T, 2>(self, input, input_stride, output, output_stride),
                3 => multiply_rows::<T, 3>(self, input, input_stride, output, output_stride),
                _ => multiply_rows::<T, TILE_ROWS>(self, input, input_stride, output, output_stride),
            }
        }
    }
}

vector_fn! {
    fn multiply_rows<T, simd: I, const M: usize>(
        matrix: &Packed<T>,
        input: &[T],
        input_stride: usize,
        output: &mut [T],
        output_stride: usize,
    ) {
        let (inner, columns) = (matrix.inner, matrix.columns);
        let mut rows: [&[T]; M] = [&[]; M];
        for (m, row) in rows.iter_mut().enumerate() {
            *row = &input[m * input_stride..][..inner];
        }
        for (number, panel) in matrix.panels.chunks_exact((inner * PANEL).max(1)).enumerate() {
            let first = number * PANEL;
            let width = PANEL.min(columns - first);
            let (panel, _) = panel.as_chunks::<PANEL>();
            let mut done = 0;
            while done < width {
                let (column, left) = (first + done, width - done);
                // A tile is as wide as the registers allow, and no wider than what is left.
                done += if I::WIDE && left > LANES {
                    tile::<T, I, M, 2>(simd, panel, done, rows, output, output_stride, column, left)
                } else {
                    tile::<T, I, M, 1>(simd, panel, done, rows, output, output_stride, column, left)
                };
            }
        }
    }
}

/// Adds the product of `M` rows with `V` × 16 columns of a panel to the output; returns the number of columns.
#[inline(always)]
fn tile<T: Real, I: InstructionSet, const M: usize, const V: usize>(
    simd: I,
    panel: &[[T; PANEL]],
    offset: usize,
    rows: [&[T]; M],
    output: &mut [T],
    output_stride: usize,
    column: usize,
    left: usize,
) -> usize {
    for row in rows {
        assert_eq!(row.len(), panel.len());
    }
    let mut sums = [[simd.splat(T::ZERO); V]; M];
    for (k, line) in panel.iter().enumerate() {
        let (line, _) = line[offset..].as_chunks::<LANES>();
        let weights: [I::Lanes<T>; V] = std::array::from_fn(|v| simd.load(&line[v]));
        for m in 0..M {
            let x = simd.splat(rows[m][k]);
            for v in 0..V {
                sums[m][v] = x.multiply_add(weights[v], sums[m][v]);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let start = m * output_stride + column;
        let width = left.min(V * LANES);
        let (full, rest) = output[start..start + width].as_chunks_mut::<LANES>();
        for (target, sum) in full.iter_mut().zip(sums) {
            sum.add(simd.load(target)).store(target);
        }
        if !rest.is_empty() {
            let mut last = [T::ZERO; LANES];
            sums[width / LANES].store(&mut last);
            for (target, sum) in rest.iter_mut().zip(last) {
                *target += sum;
            }
        }
    }
    V * LANES
}

/// Where a matrix of `rows × columns` numbers ends whose rows lie `stride` numbers apart; nothing if that is beyond any
/// slice. A matrix without a number ends at 0.
fn end(rows: usize, columns: usize, stride: usize) -> Option<usize> {
    if rows == 0 || columns == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(stride)?.checked_add(columns)
}

/// The stride that is passed to a product. That of a single row means nothing, and may be anything.
fn used_stride(rows: usize, columns: usize, stride: usize) -> usize {
    if rows > 1 { stride } else { columns }
}

/// A view of a matrix whose rows lie `stride` numbers apart.
///
/// Unless it is empty, all its elements lie within `data`, and so both strides are below the length of `data` or multiply
/// no number but 0; neither is above `isize::MAX`.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// `rows × columns` numbers, row after row, `stride` numbers from one row to the next.
    ///
    /// # Panics
    /// If `data` ends before the last of them.
    pub fn new(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        let within = end(rows, columns, stride).is_some_and(|end| end <= data.len());
        assert!(within, "{rows} × {columns} numbers at a stride of {stride} are not within {}", data.len());
        Self { data, rows, columns, row_stride: used_stride(rows, columns, stride), column_stride: 1 }
    }

    /// The same numbers seen as `columns × rows`.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `output += left · right`; the rows of `output` lie `stride` numbers apart. Runs on the calling thread.
///
/// # Panics
/// If `left` has other columns than `right` has rows, if the rows of `output` overlap, or if it ends before the last of
/// them.
pub fn multiply<T: Real>(left: View<T>, right: View<T>, output: &mut [T], stride: usize) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(k, right.rows);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let within = end(m, n, stride).is_some_and(|end| end <= output.len());
    assert!(n <= stride && within, "{m} × {n} numbers at a stride of {stride} are not within {}", output.len());
    let stride = used_stride(m, n, stride);
    // SAFETY: each view checked when made that its last element lies within its slice (and transposing
    // keeps the set of elements); the assertion above does so for the output, whose rows do not overlap. Strides are at
    // most the length of a slice, which `isize` holds.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            stride as isize,
            true,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        (0..count).map(|i| ((i as f64 + 1.0) * (seed as f64 + 0.37)).sin()).collect()
    }

    fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        c
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-10, "{x} {y}");
        }
    }

    #[test]
    #[should_panic(expected = "9223372036854775809 × 1 numbers at a stride of 2 are not within 1")]
    fn a_view_whose_end_wraps_around_is_refused() {
        View::new(&[0.0f64], (1 << 63) + 1, 1, 2);
    }

    #[test]
    #[should_panic(expected = "2 × 18446744073709551615 numbers at a stride of 1 are not within 1")]
    fn a_view_whose_last_row_wraps_around_is_refused() {
        View::new(&[0.0f64], 2, usize::MAX, 1);
    }

    #[test]
    #[should_panic(expected = "2 × 1 numbers at a stride of 18446744073709551615 are not within 3")]
    fn an_output_whose_end_wraps_around_is_refused() {
        let numbers = [1.0f64; 2];
        multiply(View::new(&numbers, 2, 1, 1), View::new(&numbers, 1, 1, 1), &mut [0.0; 3], usize::MAX);
    }

    #[test]
    fn the_stride_of_a_single_row_means_nothing() {
        let (numbers, mut output) = ([2.0f64, 3.0], [1.0]);
        let row = View::new(&numbers, 1, 2, usize::MAX);
        multiply(row, row.transposed(), &mut output, usize::MAX - 1);
        assert_eq!(output, [14.0]);
    }

    proptest! {
        #[test]
        fn packed_product_agrees_with_its_definition(
            m in 1usize..11, k in 1usize..40, n in 1usize..90, seed in 0u64..99,
        ) {
            let (a, b) = (numbers(m * k, seed), numbers(k * n, seed + 7));
            let exact = product(&a, &b, m, k, n);
            let transposed: Vec<f64> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let mut straight = Packed::zeros(k, n);
            straight.set_columns(0, n, &b, n);
            let mut c = vec![0.0; m * n];
            straight.multiply_add(m, &a, k, &mut c, n);
            assert_close(&c, &exact);
            let mut turned = Packed::zeros(k, n);
            turned.set_rows_transposed(0, k, &transposed, k);
            turned.multiply_add(m, &a, k, &mut c, n);
            let twice: Vec<f64> = exact.iter().map(|x| 2.0 * x).collect();
            assert_close(&c, &twice);
        }

        #[test]
        fn large_product_agrees_with_its_definition(
            m in 1usize..20, k in 1usize..20, n in 1usize..20, wider in 0usize..3, seed in 0u64..99,
        ) {
            let (a, b) = (numbers(m * k, seed), numbers(k * n, seed + 7));
            let exact = product(&a, &b, m, k, n);
            let turned: Vec<f64> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
            let stride = n + wider;
            for left in [View::new(&a, m, k, k), View::new(&turned, k, m, m).transposed()] {
                let mut c = vec![0.0; m * stride];
                multiply(left, View::new(&b, k, n, n), &mut c, stride);
                for i in 0..m {
                    assert_close(&c[i * stride..i * stride + n], &exact[i * n..(i + 1) * n]);
                    prop_assert!(c[i * stride + n..(i + 1) * stride].iter().all(|x| *x == 0.0));
                }
            }
        }
    }
}
