//! Running means of the weights.

use crate::Real;

/// Takes weights w into their exponential moving average a, which becomes d·a + (1 − d)·w. `update` says how many updates
/// of the weights there were, this one among them; the decay d is `decay`, from 0 to 1, but at most
/// (1 + update) / (10 + update), so that first values soon weigh nothing.
///
/// Late in training the weights wander about the point that fits best, the farther the larger the learning rate is, and
/// their average is nearer to it than they are (Polyak and Juditsky 1992). The average is there to be used; training goes
/// on from the weights.
///
/// ```
/// let mut average = [5.0];
/// for update in 1..=2000 {
///     let weight = if update % 2 == 0 { 0.9 } else { 1.1 };
///     sparsam::nn::average::add_to_average(&mut average, &[weight], 0.99, update);
/// }
/// assert!((average[0] - 1.0f64).abs() < 1e-3);
/// ```
///
/// # Panics
/// If the average has not as many elements as there are weights.
pub fn add_to_average<T: Real>(average: &mut [T], weights: &[T], decay: f64, update: u64) {
    assert_eq!(average.len(), weights.len());
    let update = update as f64;
    let rest = T::from_f64(1.0 - decay.min((1.0 + update) / (10.0 + update)));
    for (average, weight) in average.iter_mut().zip(weights) {
        *average += rest * (*weight - *average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_recurrence() {
        let mut average = [2.0f64, -1.0];
        // (1 + 1) / (10 + 1), then (1 + 2) / (10 + 2), below the decay asked for; far on the decay itself.
        add_to_average(&mut average, &[4.0, 0.0], 0.9, 1);
        let first = [2.0 + 9.0 / 11.0 * 2.0, -1.0 + 9.0 / 11.0];
        add_to_average(&mut average, &[1.0, 0.0], 0.9, 2);
        let second = [first[0] / 4.0 + 0.75, first[1] / 4.0];
        add_to_average(&mut average, &[1.0, 1.0], 0.9, 1000);
        for (value, before) in average.into_iter().zip(second) {
            assert!((value - (0.9 * before + 0.1)).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn a_decay_of_0_is_the_weights() {
        let mut average = [2.0f32];
        add_to_average(&mut average, &[0.5], 0.0, 7);
        assert_eq!(average, [0.5]);
    }
}
