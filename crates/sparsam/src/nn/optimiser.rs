//! Optimisers over flat parameters.

use serde::{Deserialize, Serialize};

use crate::option::{ABOVE_0, ConfigOption, Declared, Value};
use crate::{Error, Real};

crate::options! {
    /// RMSProp as Graves 2013 (arXiv 1308.0850, equations 38-45) defines it: centred, with momentum.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct RmsProp {
        /// Step size.
        pub learning_rate: f64 = 1e-4, in ABOVE_0;
        /// Decay of the running means of the gradient and of its square.
        pub decay: f64 = 0.95, in 0.0..1.0;
        /// Momentum coefficient.
        pub momentum: f64 = 0.9, in 0.0..1.0;
        /// Added to the variance inside the root.
        pub epsilon: f64 = 1e-4, in ABOVE_0;
    }
}

crate::options! {
    /// Adam (Kingma and Ba 2015), with correction of the bias.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Adam {
        /// Step size.
        pub learning_rate: f64 = 1e-3, in ABOVE_0;
        /// Decay of the running mean of the gradient.
        pub beta1: f64 = 0.9, in 0.0..1.0;
        /// Decay of the running mean of the gradient's square.
        pub beta2: f64 = 0.999, in 0.0..1.0;
        /// Added to the root.
        pub epsilon: f64 = 1e-8, in ABOVE_0;
    }
}

/// The registry of optimisers: one line for each.
macro_rules! optimisers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $moments:literal moments;)*) => {
        /// The choice of an optimiser.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum OptimiserConfig {
            $($(#[$doc])* #[serde(rename = $name)] $variant($variant),)*
        }

        impl OptimiserConfig {
            /// The names of all optimisers.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The optimiser of that name with its default options.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant($variant::default())),)*
                    _ => None,
                }
            }

            /// The optimiser's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// Numbers that it keeps for each parameter.
            pub fn moments(&self) -> usize {
                match self {
                    $(Self::$variant(_) => $moments,)*
                }
            }

            /// Its step size.
            pub fn learning_rate(&self) -> f64 {
                match self {
                    $(Self::$variant(options) => options.learning_rate,)*
                }
            }

            /// The same with another step size.
            #[must_use]
            pub fn with_learning_rate(mut self, rate: f64) -> Self {
                match &mut self {
                    $(Self::$variant(options) => options.learning_rate = rate,)*
                }
                self
            }
        }

        impl Declared for OptimiserConfig {
            fn options(&self) -> Vec<ConfigOption> {
                match self {
                    $(Self::$variant(options) => options.options(),)*
                }
            }

            fn set_option(&mut self, name: &str, value: &Value) -> bool {
                match self {
                    $(Self::$variant(options) => options.set_option(name, value),)*
                }
            }
        }
    };
}

optimisers! {
    /// RMSProp.
    RmsProp = "rmsprop", 3 moments;
    /// Adam.
    Adam = "adam", 2 moments;
}

impl OptimiserConfig {
    /// RMSProp with the defaults of Graves 2013: decay 0.95, momentum 0.9, ε 10⁻⁴.
    pub fn rms_prop(learning_rate: f64) -> Self {
        Self::RmsProp(RmsProp { learning_rate, ..RmsProp::default() })
    }

    /// Adam with its usual defaults: β₁ 0.9, β₂ 0.999, ε 10⁻⁸.
    pub fn adam(learning_rate: f64) -> Self {
        Self::Adam(Adam { learning_rate, ..Adam::default() })
    }

    /// Checks that every hyperparameter lies in its range.
    ///
    /// # Errors
    /// [`Error::Config`] names the field that does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        self.check_options()
    }
}

/// An optimiser and its moments: running means of earlier gradients.
///
/// ```
/// use sparsam::nn::optimiser::{Optimiser, OptimiserConfig};
///
/// # fn main() -> Result<(), sparsam::Error> {
/// // Minimises (x - 3)², whose gradient is 2 (x - 3).
/// let (mut x, mut optimiser) = ([0.0f64], Optimiser::new(OptimiserConfig::adam(0.1), 1)?);
/// for _ in 0..500 {
///     let gradient = [2.0 * (x[0] - 3.0)];
///     optimiser.update(&mut x, &gradient);
/// }
/// assert!((x[0] - 3.0).abs() < 0.01);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Optimiser<T> {
    config: OptimiserConfig,
    steps: u64,
    moments: [Vec<T>; 3],
}

impl<T: Real> Optimiser<T> {
    /// An optimiser for `length` parameters, with moments of 0.
    ///
    /// # Errors
    /// [`Error::Config`] as [`OptimiserConfig::validate`].
    pub fn new(config: OptimiserConfig, length: usize) -> Result<Self, Error> {
        config.validate()?;
        let third = if config.moments() > 2 { length } else { 0 };
        let moments = [vec![T::ZERO; length], vec![T::ZERO; length], vec![T::ZERO; third]];
        Ok(Self { config, steps: 0, moments })
    }

    /// Updates taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Its moments by name, for a checkpoint: running means of the gradient (`mean`) and of its square
    /// (`square`), and RMSProp's last step (`step`).
    pub fn moments(&self) -> [(&'static str, &[T]); 3] {
        let [mean, square, step] = &self.moments;
        [("mean", mean), ("square", square), ("step", step)]
    }

    /// Restores what [`moments`](Self::moments) and [`steps`](Self::steps) gave.
    ///
    /// # Errors
    /// [`Error::Shape`] if a moment has another length.
    pub fn restore(&mut self, steps: u64, moments: [&[T]; 3]) -> Result<(), Error> {
        for (mine, theirs) in self.moments.iter_mut().zip(moments) {
            if mine.len() != theirs.len() {
                return Err(Error::Shape {
                    what: "an optimiser's moment",
                    found: theirs.len(),
                    expected: mine.len(),
                    shape: "one element for each parameter".into(),
                });
            }
            mine.copy_from_slice(theirs);
        }
        self.steps = steps;
        Ok(())
    }

    /// Changes the learning rate of later updates; the moments stay.
    ///
    /// # Errors
    /// [`Error::Config`] as [`OptimiserConfig::validate`].
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<(), Error> {
        let config = self.config.with_learning_rate(rate);
        config.validate()?;
        self.config = config;
        Ok(())
    }

    /// Takes one step against the gradient.
    ///
    /// # Panics
    /// If `parameters` or `gradient` has not as many elements as the optimiser was made for.
    pub fn update(&mut self, parameters: &mut [T], gradient: &[T]) {
        assert_eq!(parameters.len(), self.moments[0].len());
        assert_eq!(gradient.len(), parameters.len());
        self.steps += 1;
        let of = T::from_f64;
        let [mean, square, step] = &mut self.moments;
        match self.config {
            OptimiserConfig::RmsProp(RmsProp { learning_rate, decay, momentum, epsilon }) => {
                let (rate, decay, momentum, epsilon) = (of(learning_rate), of(decay), of(momentum), of(epsilon));
                let rest = T::ONE - decay;
                for i in 0..parameters.len() {
                    let g = gradient[i];
                    square[i] = decay * square[i] + rest * g * g;
                    mean[i] = decay * mean[i] + rest * g;
                    // Rounding can make the variance slightly negative where the gradient is steady.
                    let variance = (square[i] - mean[i] * mean[i]).max(T::ZERO);
                    step[i] = momentum * step[i] - rate * g / (variance + epsilon).sqrt();
                    parameters[i] += step[i];
                }
            }
            OptimiserConfig::Adam(Adam { learning_rate, beta1, beta2, epsilon }) => {
                let count = self.steps.min(i32::MAX as u64) as i32;
                let rate = of(learning_rate * (1.0 - beta2.powi(count)).sqrt() / (1.0 - beta1.powi(count)));
                // ε stands beside the corrected root, as in the paper's first form.
                let epsilon = of(epsilon * (1.0 - beta2.powi(count)).sqrt());
                let (beta1, beta2) = (of(beta1), of(beta2));
                for i in 0..parameters.len() {
                    let g = gradient[i];
                    mean[i] = beta1 * mean[i] + (T::ONE - beta1) * g;
                    square[i] = beta2 * square[i] + (T::ONE - beta2) * g * g;
                    parameters[i] -= rate * mean[i] / (square[i].sqrt() + epsilon);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: OptimiserConfig, gradients: &[f64]) -> f64 {
        let mut optimiser = Optimiser::new(config, 1).unwrap();
        let mut parameter = [0.5];
        for g in gradients {
            optimiser.update(&mut parameter, &[*g]);
        }
        parameter[0]
    }

    #[test]
    fn rms_prop_follows_graves() {
        // n, g, Δ of equations 38-45, written out for two steps.
        let (g1, g2) = (0.4, -1.5);
        let (n1, m1) = (0.05 * g1 * g1, 0.05 * g1);
        let d1 = -0.01 * g1 / f64::sqrt(n1 - m1 * m1 + 1e-4);
        let (n2, m2) = (0.95 * n1 + 0.05 * g2 * g2, 0.95 * m1 + 0.05 * g2);
        let d2 = 0.9 * d1 - 0.01 * g2 / f64::sqrt(n2 - m2 * m2 + 1e-4);
        let result = run(OptimiserConfig::rms_prop(0.01), &[g1, g2]);
        assert!((result - (0.5 + d1 + d2)).abs() < 1e-12);
    }

    #[test]
    fn adam_follows_kingma_and_ba() {
        let (g1, g2) = (0.4, -1.5);
        let first = 0.01 * g1 / (f64::abs(g1) + 1e-8);
        let m = (0.9 * 0.1 * g1 + 0.1 * g2) / (1.0 - 0.81);
        let v = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999f64.powi(2));
        let second = 0.01 * m / (v.sqrt() + 1e-8);
        let result = run(OptimiserConfig::adam(0.01), &[g1, g2]);
        assert!((result - (0.5 - first - second)).abs() < 1e-12);
    }

    #[test]
    fn restored_optimisers_go_on_alike() {
        for config in [OptimiserConfig::rms_prop(0.01), OptimiserConfig::adam(0.01)] {
            let mut one = Optimiser::<f32>::new(config, 3).unwrap();
            let mut parameters = [0.1, 0.2, 0.3];
            one.update(&mut parameters, &[1.0, -2.0, 0.5]);
            let mut other = Optimiser::new(config, 3).unwrap();
            let [(_, a), (_, b), (_, c)] = one.moments();
            other.restore(one.steps(), [a, b, c]).unwrap();
            assert_eq!(one, other);
            assert!(other.restore(1, [&[0.0], &[], &[]]).is_err());
        }
    }

    #[test]
    fn the_learning_rate_may_change_between_updates() {
        for config in [OptimiserConfig::rms_prop(0.01), OptimiserConfig::adam(0.01)] {
            let mut optimiser = Optimiser::<f64>::new(config, 1).unwrap();
            let mut parameter = [0.5];
            optimiser.set_learning_rate(0.005).unwrap();
            optimiser.update(&mut parameter, &[0.4]);
            let halved = run(config.with_learning_rate(0.005), &[0.4]);
            assert_eq!(parameter[0], halved);
            assert!((0.5 - halved - (0.5 - run(config, &[0.4])) / 2.0).abs() < 1e-12);
            assert!(optimiser.set_learning_rate(f64::NAN).is_err());
            assert_eq!(optimiser.config.learning_rate(), 0.005);
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let error = Optimiser::<f32>::new(OptimiserConfig::rms_prop(-1.0), 1).unwrap_err();
        assert!(error.to_string().contains("learning_rate"), "{error}");
        assert!(OptimiserConfig::adam(f64::NAN).validate().is_err());
    }
}
