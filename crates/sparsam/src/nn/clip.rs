//! Limits of the gradient's norm: a fixed one, and one that follows the running mean of the norm.

use serde::{Deserialize, Serialize};

use crate::Real;

/// Scales the gradient down to a norm of at most `limit`; returns the norm it had. A norm that is infinite or not a
/// number leaves the gradient as it is.
pub fn clip_by_norm<T: Real>(gradient: &mut [T], limit: f64) -> f64 {
    let norm = gradient.iter().map(|g| g.to_f64() * g.to_f64()).sum::<f64>().sqrt();
    if norm > limit && norm.is_finite() {
        let scale = T::from_f64(limit / norm);
        for g in gradient {
            *g *= scale;
        }
    }
    norm
}

/// Norms before there is a limit.
const FIRST: u64 = 50;

/// From this norm on each weighs 1/`WINDOW` in the mean, so that what is older decays by 0.99 with each; before it every
/// norm weighs the same.
const WINDOW: u64 = 100;

/// As how many times the mean a norm enters the mean at most.
const LARGEST: f64 = 10.0;

/// A limit of the gradient's norm that is a multiple of the running geometric mean of the norm itself.
///
/// Late in training the norm of most batches is small, and that of one whose sequences go wrong may be a thousand times
/// as large: a fixed limit that lets the first batches learn lets it through, and an optimiser whose running means have
/// become small takes an enormous step. AutoClip (Seetharaman et al. 2020, arXiv 2007.14469) limits the norm to a
/// percentile of all norms before; this keeps two numbers instead. The mean is geometric, since norms span orders of
/// magnitude, and a norm enters it as ten times the mean at most, so that a few that are out of all proportion do not
/// raise the limit.
///
/// ```
/// use sparsam::nn::clip::{AdaptiveClip, Clipped};
///
/// let mut clip = AdaptiveClip::default();
/// for _ in 0..50 {
///     clip.clip(&mut [0.03f32, 0.04], 3.0, 10.0);
/// }
/// let mut gradient = [3.0f32, 4.0];
/// let clipped @ Clipped { norm, limit } = clip.clip(&mut gradient, 3.0, 10.0);
/// assert!(clipped.is_cut() && norm == 5.0 && (limit - 0.15).abs() < 1e-6);
/// assert!((gradient[0] - 0.09).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClip {
    /// Norms that have entered the mean.
    norms: u64,
    /// The running mean of their natural logarithms.
    log_mean: f64,
}

/// The norm of a gradient and its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// The norm before.
    pub norm: f64,
    /// What it was limited to.
    pub limit: f64,
}

impl Clipped {
    /// Whether the gradient was scaled down.
    pub fn is_cut(&self) -> bool {
        self.norm.is_finite() && self.norm > self.limit
    }
}

impl AdaptiveClip {
    /// The limit of the next norm: `factor` times the mean, and `most` at most; `most` alone before there are fifty norms,
    /// or if the factor is 0.
    pub fn limit(&self, factor: f64, most: f64) -> f64 {
        if self.norms < FIRST || factor == 0.0 { most } else { most.min(factor * self.log_mean.exp()) }
    }

    /// Takes a norm, as it was before it was limited, into the mean. One that is 0, infinite or not a number says nothing of
    /// the others and is left out.
    pub fn add(&mut self, norm: f64) {
        if !(norm > 0.0 && norm.is_finite()) {
            return;
        }
        let mut log = norm.ln();
        if self.norms > 0 {
            log = log.min(self.log_mean + LARGEST.ln());
        }
        self.norms = self.norms.saturating_add(1);
        self.log_mean += (log - self.log_mean) / self.norms.min(WINDOW) as f64;
    }

    /// Scales the gradient down to a norm of at most [`limit`](Self::limit), and takes the norm that it had into the mean. A
    /// norm that is infinite or not a number leaves the gradient and the mean as they are.
    pub fn clip<T: Real>(&mut self, gradient: &mut [T], factor: f64, most: f64) -> Clipped {
        let limit = self.limit(factor, most);
        let norm = clip_by_norm(gradient, limit);
        self.add(norm);
        Clipped { norm, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_scales_down_only() {
        let mut gradient = [3.0f32, 4.0];
        assert_eq!(clip_by_norm(&mut gradient, 10.0), 5.0);
        assert_eq!(gradient, [3.0, 4.0]);
        assert_eq!(clip_by_norm(&mut gradient, 1.0), 5.0);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] - 0.8).abs() < 1e-6);
        assert!(clip_by_norm(&mut [f32::NAN], 1.0).is_nan());
    }

    fn after(norms: impl IntoIterator<Item = f64>) -> AdaptiveClip {
        let mut clip = AdaptiveClip::default();
        norms.into_iter().for_each(|norm| clip.add(norm));
        clip
    }

    #[test]
    fn the_limit_follows_the_geometric_mean() {
        // Each of the first hundred weighs the same: half of them 1 and half of them 4 have the mean 2.
        let alternating = (0..100).map(|number| if number % 2 == 0 { 1.0 } else { 4.0 });
        let clip = after(alternating);
        assert!((clip.limit(3.0, 10.0) - 6.0).abs() < 1e-12);
        assert_eq!((clip.limit(3.0, 5.0), clip.limit(0.0, 10.0)), (5.0, 10.0));
        // Each one more weighs a hundredth: ln m = 0.99 ln m + 0.01 ln 8, twice.
        let mut later = clip;
        later.add(8.0);
        later.add(8.0);
        let by_hand = 0.99 * (0.99 * 2f64.ln() + 0.01 * 8f64.ln()) + 0.01 * 8f64.ln();
        assert!((later.limit(3.0, 100.0) - 3.0 * by_hand.exp()).abs() < 1e-12);
    }

    #[test]
    fn the_first_fifty_are_limited_by_the_fixed_limit_alone() {
        let mut clip = AdaptiveClip::default();
        for number in 0..50 {
            // What says nothing counts for nothing.
            clip.add(0.0);
            assert_eq!(clip.limit(3.0, 10.0), 10.0, "{number}");
            clip.add(0.5);
        }
        assert!((clip.limit(3.0, 10.0) - 1.5).abs() < 1e-12);
        // However large the first is.
        assert_eq!(after([1e6]), AdaptiveClip { norms: 1, log_mean: 1e6f64.ln() });
    }

    #[test]
    fn a_spike_is_cut_and_does_not_raise_the_mean() {
        let mut clip = after([0.1; 100]);
        let before = clip.limit(3.0, 10.0);
        let mut gradient = [3e5f64, -4e5];
        let clipped = clip.clip(&mut gradient, 3.0, 10.0);
        assert!(clipped.is_cut() && clipped.norm == 5e5 && clipped.limit == before);
        assert!((gradient[0] - 0.6 * before).abs() < 1e-12 && (gradient[1] + 0.8 * before).abs() < 1e-12);
        // As ten times the mean and no more: 10 to the power of a hundredth.
        assert!((clip.limit(3.0, 10.0) / before - 10f64.powf(0.01)).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_norm_changes_nothing() {
        let mut clip = after([0.1; 60]);
        let before = clip.clone();
        for norm in [f64::NAN, f64::INFINITY, 0.0] {
            clip.add(norm);
            let mut gradient = [norm];
            let clipped = clip.clip(&mut gradient, 3.0, 10.0);
            assert!(!clipped.is_cut() && gradient[0].to_bits() == norm.to_bits(), "{norm}");
            assert_eq!(clip, before);
        }
    }

    #[test]
    fn the_state_is_written_to_the_bit() {
        let clip = after((1..90).map(|number| 0.1 * f64::from(number)));
        let text = serde_json::to_string(&clip).unwrap();
        assert_eq!(serde_json::from_str::<AdaptiveClip>(&text).unwrap(), clip);
    }
}
