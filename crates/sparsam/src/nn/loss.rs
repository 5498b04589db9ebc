//! Losses, each with its gradient. Cross-entropies are in nats (units of the natural logarithm); multiply by [`BITS`] for
//! bits. Squared errors are in the squared unit of the targets.

use crate::{Error, Real};

/// Bits in a nat, 1 / ln 2.
pub const BITS: f64 = std::f64::consts::LOG2_E;

/// Binary cross-entropy of independent logits against targets of 0 or 1 (or between), summed over all outputs whose `mask` is
/// true. Writes scale × the gradient of the logits to `gradient` (0 where masked) and returns the sum, in nats and unscaled.
///
/// An output is `width` logits (a time step of a sequence). `logits`, `targets` and `gradient` have `width` elements for each
/// element of `mask`.
///
/// ```
/// use sparsam::nn::loss::{BITS, binary_cross_entropy};
///
/// let mut gradient = [0.0; 4];
/// // Two outputs of two logits; the second does not count.
/// let loss = binary_cross_entropy(&[0.0f32; 4], &[1.0; 4], &[true, false], 2, 1.0, &mut gradient)?;
/// assert!((loss * BITS - 2.0).abs() < 1e-6);
/// assert_eq!(gradient, [-0.5, -0.5, 0.0, 0.0]);
/// # Ok::<(), sparsam::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotFinite`] names the first output at which the loss is infinite or NaN, [`Error::Shape`] the argument of another
/// length.
pub fn binary_cross_entropy<T: Real>(
    logits: &[T],
    targets: &[T],
    mask: &[bool],
    width: usize,
    scale: T,
    gradient: &mut [T],
) -> Result<f64, Error> {
    check_lengths(logits.len(), targets.len(), gradient.len(), mask.len() * width)?;
    let mut sum = 0.0;
    for (run, used) in mask.iter().enumerate() {
        let range = run * width..(run + 1) * width;
        if !used {
            gradient[range].fill(T::ZERO);
            continue;
        }
        let mut loss = 0.0;
        for i in range {
            let (x, y) = (logits[i], targets[i]);
            // -y ln σ(x) - (1-y) ln(1 - σ(x)), without overflow on either side.
            loss += (x.softplus() - x * y).to_f64();
            gradient[i] = scale * (x.sigmoid() - y);
        }
        sum += finite(loss, run)?;
    }
    Ok(sum)
}

/// Softmax cross-entropy of outputs of `width` logits against one class each, summed over all outputs that have a class.
/// Writes scale × the gradient of the logits to `gradient` (0 where there is no class) and returns the sum, in nats and
/// unscaled.
///
/// ```
/// use sparsam::nn::loss::softmax_cross_entropy;
///
/// let mut gradient = [0.0; 6];
/// // Two outputs of three logits; the second does not count.
/// let loss = softmax_cross_entropy(&[0.0f32; 6], &[Some(2), None], 3, 1.0, &mut gradient)?;
/// assert!((loss - 3f64.ln()).abs() < 1e-6);
/// assert_eq!(gradient[3..], [0.0; 3]);
/// # Ok::<(), sparsam::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotFinite`] names the first output at which the loss is infinite or NaN, [`Error::Class`] the first whose class
/// is not below `width`; [`Error::Shape`] the argument of another length.
pub fn softmax_cross_entropy<T: Real>(
    logits: &[T],
    classes: &[Option<usize>],
    width: usize,
    scale: T,
    gradient: &mut [T],
) -> Result<f64, Error> {
    check_lengths(logits.len(), logits.len(), gradient.len(), classes.len() * width)?;
    let mut sum = 0.0;
    for (run, class) in classes.iter().enumerate() {
        let range = run * width..(run + 1) * width;
        let (logits, gradient) = (&logits[range.clone()], &mut gradient[range]);
        let Some(class) = *class else {
            gradient.fill(T::ZERO);
            continue;
        };
        if class >= width {
            return Err(Error::Class { output: run, class, classes: width });
        }
        let largest = logits.iter().fold(T::NEG_INFINITY, |a, b| a.max(*b));
        let total: T = logits.iter().map(|x| (*x - largest).exp()).sum();
        let loss = (total.ln() + largest - logits[class]).to_f64();
        for (gradient, logit) in gradient.iter_mut().zip(logits) {
            *gradient = scale * (*logit - largest).exp() / total;
        }
        gradient[class] -= scale;
        sum += finite(loss, run)?;
    }
    Ok(sum)
}

/// Squared error Σ (y − target)² of outputs of `width` numbers, summed over all outputs whose `mask` is true; divided by the
/// numbers summed over it is the mean squared error. Writes scale × the gradient of the outputs to `gradient` (0 where masked)
/// and returns the sum, unscaled and in the squared unit of the targets.
///
/// `outputs`, `targets` and `gradient` have `width` elements for each element of `mask`.
///
/// ```
/// use sparsam::nn::loss::squared_error;
///
/// let mut gradient = [0.0; 4];
/// // Two outputs of two numbers; the second does not count.
/// let loss = squared_error(&[1.0f32, 0.0, 9.0, 9.0], &[3.0, 0.0, 0.0, 0.0], &[true, false], 2, 0.5, &mut gradient)?;
/// assert_eq!((loss, gradient), (4.0, [-2.0, 0.0, 0.0, 0.0]));
/// # Ok::<(), sparsam::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotFinite`] names the first output at which the loss is infinite or NaN, [`Error::Shape`] the argument of another
/// length.
pub fn squared_error<T: Real>(
    outputs: &[T],
    targets: &[T],
    mask: &[bool],
    width: usize,
    scale: T,
    gradient: &mut [T],
) -> Result<f64, Error> {
    check_lengths(outputs.len(), targets.len(), gradient.len(), mask.len() * width)?;
    let twice = scale + scale;
    let mut sum = 0.0;
    for (run, used) in mask.iter().enumerate() {
        let range = run * width..(run + 1) * width;
        if !used {
            gradient[range].fill(T::ZERO);
            continue;
        }
        let mut loss = 0.0;
        for i in range {
            let distance = outputs[i] - targets[i];
            loss += distance.to_f64() * distance.to_f64();
            gradient[i] = twice * distance;
        }
        sum += finite(loss, run)?;
    }
    Ok(sum)
}

fn finite(loss: f64, run: usize) -> Result<f64, Error> {
    if loss.is_finite() {
        Ok(loss)
    } else {
        Err(Error::NotFinite { what: format!("the loss at output {run} of the batch"), value: loss })
    }
}

fn check_lengths(logits: usize, targets: usize, gradient: usize, expected: usize) -> Result<(), Error> {
    for (what, found) in [("logits", logits), ("targets", targets), ("gradient", gradient)] {
        if found != expected {
            let shape = "outputs of the batch × elements of an output".into();
            return Err(Error::Shape { what, found, expected, shape });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_gradient(logits: &[f64], of: impl Fn(&[f64], &mut [f64]) -> f64) {
        let mut gradient = vec![0.0; logits.len()];
        of(logits, &mut gradient);
        for i in 0..logits.len() {
            let mut moved = logits.to_vec();
            moved[i] += 1e-6;
            let above = of(&moved, &mut vec![0.0; logits.len()]);
            moved[i] -= 2e-6;
            let below = of(&moved, &mut vec![0.0; logits.len()]);
            assert!((gradient[i] - (above - below) / 2e-6).abs() < 1e-8);
        }
    }

    #[test]
    fn binary_cross_entropy_has_its_value_and_gradient() {
        let (logits, targets) = ([0.3, -2.0, 4.0, 0.0, 9.0, 9.0], [1.0, 0.0, 0.25, 1.0, 0.0, 0.0]);
        let mask = [true, true, false];
        let of = |x: &[f64], g: &mut [f64]| binary_cross_entropy(x, &targets, &mask, 2, 1.0, g).unwrap();
        let by_hand: f64 = (0..4)
            .map(|i| {
                let p = 1.0 / (1.0 + f64::exp(-logits[i]));
                -targets[i] * p.ln() - (1.0 - targets[i]) * (1.0 - p).ln()
            })
            .sum();
        assert!((of(&logits, &mut [0.0; 6]) - by_hand).abs() < 1e-12);
        assert_gradient(&logits, of);
    }

    #[test]
    fn softmax_cross_entropy_has_its_value_and_gradient() {
        let logits = [0.3, -2.0, 4.0, 0.0, 9.0, 9.0];
        let of = |x: &[f64], g: &mut [f64]| softmax_cross_entropy(x, &[Some(1), None], 3, 1.0, g).unwrap();
        let total: f64 = logits[..3].iter().map(|x| x.exp()).sum();
        assert!((of(&logits, &mut [0.0; 6]) - (total.ln() + 2.0)).abs() < 1e-12);
        assert_gradient(&logits, of);
    }

    #[test]
    fn squared_error_has_its_value_and_gradient() {
        let (outputs, targets) = ([0.3, -2.0, 4.0, 0.0, 9.0, 9.0], [1.5, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let mask = [true, true, false];
        let of = |x: &[f64], g: &mut [f64]| squared_error(x, &targets, &mask, 2, 1.0, g).unwrap();
        let by_hand = 1.2f64.powi(2) + 4.0 + 9.0;
        assert!((of(&outputs, &mut [0.0; 6]) - by_hand).abs() < 1e-12);
        assert_gradient(&outputs, of);
    }

    #[test]
    fn losses_say_where_they_are_not_finite() {
        let mut gradient = [0.0; 4];
        let bad = [0.0, 0.0, f32::NAN, 1.0];
        let error = binary_cross_entropy(&bad, &[0.0; 4], &[true; 2], 2, 1.0, &mut gradient).unwrap_err();
        assert!(error.to_string().contains("output 1"), "{error}");
        let error = squared_error(&bad, &[0.0; 4], &[true; 2], 2, 1.0, &mut gradient).unwrap_err();
        assert!(error.to_string().contains("output 1"), "{error}");
        assert!(softmax_cross_entropy(&bad, &[None, Some(0)], 2, 1.0, &mut gradient).is_err());
        let error = softmax_cross_entropy(&[0.0f32; 2], &[Some(2)], 2, 1.0, &mut gradient[..2]).unwrap_err();
        let message = error.to_string();
        assert_eq!(message, "output 0 of the batch has the target class 2, but there are 2 classes: 0 to 1");
    }

    #[test]
    fn extreme_logits_neither_overflow_nor_vanish() {
        let mut gradient = [0.0; 2];
        let loss = binary_cross_entropy(&[1e4f32, -1e4], &[0.0, 1.0], &[true], 2, 1.0, &mut gradient).unwrap();
        assert_eq!((loss, gradient), (2e4, [1.0, -1.0]));
    }
}
