//! Where the numbers of an axis stand, and which of them are written beside it.

use super::numbers::{bytes, count, seconds, words};
use super::{Axis, Panel};

/// What an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Words of a memory, in powers of two.
    Words,
    /// Seconds, in powers of ten.
    Seconds,
    /// Bytes, in powers of two.
    Bytes,
    /// Any number from 1 on, in powers of ten.
    Length,
    /// A loss, or what else becomes small, in powers of ten.
    Loss,
    /// A share that is close to 1; its axis is linear.
    Share,
    /// A share of which 0 is best, linear from 0 to 1.
    Error,
    /// Any number, linear from 0.
    Count,
}

impl Unit {
    fn is_linear(self) -> bool {
        matches!(self, Self::Share | Self::Error | Self::Count)
    }

    fn label(self, value: f64) -> String {
        let round = |text: String| text.replace(".00", "").replace(".0 ", " ");
        match self {
            Self::Words => words(value as usize),
            Self::Seconds => round(seconds(value)),
            Self::Bytes => round(bytes(value)),
            Self::Share | Self::Error => format!("{:.0} %", 100.0 * value),
            Self::Length | Self::Loss | Self::Count => count(value),
        }
    }
}

/// Where the numbers of an axis stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    unit: Unit,
    low: f64,
    high: f64,
    /// What smaller numbers are drawn as, if there are any.
    least: Option<f64>,
    from: f64,
    to: f64,
}

/// More labels than this are more than an axis takes.
const MOST: usize = 8;

impl Scale {
    /// The level axis of all panels.
    pub fn level(axis: &Axis, panels: &[Panel], from: f64, to: f64) -> Self {
        let lines = panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
        let marks = panels.iter().flat_map(|panel| &panel.marks).map(|mark| &mark.point);
        Self::new(axis, lines.chain(marks).map(|point| point.0), from, to)
    }

    /// The upright axis of a panel that is so high.
    pub fn upright(panel: &Panel, height: f64) -> Self {
        let lines = panel.lines.iter().flat_map(|line| {
            let bands = line.band.iter().flat_map(|(low, high)| [*low, *high]);
            line.points.iter().map(|point| point.1).chain(bands)
        });
        Self::new(&panel.y, lines.chain(panel.marks.iter().map(|mark| mark.point.1)), height, 0.0)
    }

    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        // Beyond this a factor overflows.
        let values: Vec<f64> = values.filter(|value| value.abs() < 1e300).collect();
        let positive = values.iter().copied().filter(|value| *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
        let unit = axis.unit;
        let nothing = high == 0.0;
        let mut least = None;
        let (low, high) = match unit {
            Unit::Count if nothing => (0.0, 1.0),
            Unit::Error => (0.0, 1.0),
            Unit::Loss if nothing && !values.is_empty() => {
                let bound = axis.least.unwrap_or(1e-4);
                least = Some(bound);
                (bound / 1.3, 10.0 * bound)
            }
            _ if nothing => (1.0, 10.0),
            Unit::Share => ((low * 20.0 - 0.5).floor().clamp(0.0, 18.0) / 20.0, 1.0),
            Unit::Count => (0.0, 1.04 * high),
            Unit::Words => (low / 1.25, high * 1.25),
            Unit::Loss => {
                let bound = axis.least.unwrap_or(10f64.powf(low.log10().floor()));
                least = values.iter().any(|value| *value < bound).then_some(bound);
                let low = low.max(bound);
                let high = high.max(3.2 * low) * 1.5;
                (least.map_or(low / 1.3, |least| least / 1.3), high)
            }
            // Room for at least a factor of ten, or no tick would be in sight.
            Unit::Seconds | Unit::Bytes | Unit::Length => {
                if high / low > 3.2 {
                    (low / 1.3, high * 1.4)
                } else {
                    (low.min(high / 3.2) / 1.5, high.max(low * 3.2) * 1.5)
                }
            }
        };
        Self { unit, low, high, least, from, to }
    }

    /// The same elsewhere.
    pub fn between(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    /// Where a number stands.
    pub fn position(&self, value: f64) -> f64 {
        let value = value.max(self.least.unwrap_or(f64::NEG_INFINITY));
        let share = if self.unit.is_linear() {
            (value - self.low) / (self.high - self.low)
        } else {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// As many numbers that are easy to read as there is room for, with their labels; `apart` is how far the middles of two
    /// labels have to be apart.
    pub fn ticks(&self, apart: impl Fn(&str, &str) -> f64) -> Vec<(f64, String)> {
        let mut last = Vec::new();
        for values in self.choices() {
            let mut ticks: Vec<(f64, String)> =
                values.into_iter().map(|value| (value, self.unit.label(value))).collect();
            if let Some(least) = self.least {
                ticks.retain(|(value, label)| {
                    let away = (self.position(*value) - self.position(least)).abs();
                    *value > least && away >= apart(label, label)
                });
                ticks.insert(0, (least, format!("≤ {}", self.unit.label(least))));
            }
            let fits = |pair: &[(f64, String)]| {
                let away = (self.position(pair[1].0) - self.position(pair[0].0)).abs();
                away >= apart(&pair[0].1, &pair[1].1)
            };
            let fit = ticks.len() <= MOST && ticks.windows(2).all(fits);
            if !ticks.is_empty() {
                last = ticks;
            }
            if fit {
                return last;
            }
        }
        last.truncate(1);
        last
    }

    /// Rows of numbers within the axis, the closest first.
    fn choices(&self) -> Vec<Vec<f64>> {
        let inside = |value: &f64| *value >= self.low * (1.0 - 1e-9) && *value <= self.high * (1.0 + 1e-9);
        let steps = |steps: &[f64]| -> Vec<Vec<f64>> {
            let row = |step: f64| (0..64).map(|n| f64::from(n) * step).filter(inside).collect();
            steps.iter().map(|step| row(*step)).collect()
        };
        let powers = |base: f64, every: i32, digits: &[f64]| -> Vec<f64> {
            let power = |value: f64| (value.ln() / base.ln()).floor() as i32;
            let first = power(self.low).div_euclid(every) * every;
            let all = (first..=power(self.high)).step_by(every as usize).map(|power| base.powi(power));
            all.flat_map(|power| digits.iter().map(move |digit| digit * power)).filter(inside).collect()
        };
        let tens = || {
            let mut rows = vec![powers(10.0, 1, &[1.0, 2.0, 5.0]), powers(10.0, 1, &[1.0, 3.0])];
            rows.extend((1..=6).map(|every| powers(10.0, every, &[1.0])));
            rows.push(powers(10.0, 50, &[1.0]));
            rows
        };
        match self.unit {
            Unit::Share | Unit::Error => steps(&[0.05, 0.1, 0.2, 0.5]),
            Unit::Count => {
                let power = 10f64.powf((self.high / 8.0).log10().floor());
                steps(&[1.0, 2.0, 5.0, 10.0, 20.0, 50.0].map(|digit| digit * power))
            }
            Unit::Words => [1, 2, 4, 8].map(|every| powers(2.0, every, &[1.0])).to_vec(),
            Unit::Bytes => [2, 4, 8].map(|every| powers(2.0, every, &[1.0])).to_vec(),
            Unit::Length | Unit::Loss | Unit::Seconds => tens(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_0_alone_stand_at_the_least_and_say_so() {
        let axis = Axis { least: Some(1e-3), ..Axis::new("wrong bits", Unit::Loss) };
        let scale = Scale::new(&axis, [0.0, 0.0].into_iter(), 300.0, 0.0);
        let labels: Vec<String> = scale.ticks(|_, _| 20.0).into_iter().map(|tick| tick.1).collect();
        assert!(labels[0].starts_with('≤') && scale.position(0.0) > 250.0, "{labels:?} {}", scale.position(0.0));
    }

    #[test]
    fn ticks_are_easy_to_read() {
        let labels = |unit, low, high| -> Vec<String> {
            let scale = Scale { unit, low, high, least: None, from: 0.0, to: 400.0 };
            scale.ticks(|one, other| 4.0 * (one.len() + other.len()) as f64).into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(labels(Unit::Words, 60.0, 2e6), ["64", "256", "1k", "4k", "16k", "64k", "256k", "1M"]);
        assert_eq!(labels(Unit::Seconds, 5e-6, 2.0), ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(labels(Unit::Seconds, 4e-5, 2.5e-4), ["50 µs", "100 µs", "200 µs"]);
        assert_eq!(labels(Unit::Bytes, 1e6, 4e11), ["1 MiB", "16 MiB", "256 MiB", "4 GiB", "64 GiB"]);
        assert_eq!(labels(Unit::Count, 0.0, 250_000.0), ["0", "50k", "100k", "150k", "200k", "250k"]);
        assert_eq!(labels(Unit::Count, 0.0, 18.36), ["0", "5", "10", "15"]);
        assert_eq!(labels(Unit::Length, 80.0, 2_100_000.0), ["100", "1000", "10k", "100k", "1M"]);
        assert_eq!(labels(Unit::Loss, 1e-13, 1.0), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1"]);
        assert_eq!(labels(Unit::Error, 0.0, 1.0), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        assert_eq!(labels(Unit::Share, 0.8, 1.0), ["80 %", "85 %", "90 %", "95 %", "100 %"]);
    }

    #[test]
    fn what_a_logarithmic_axis_cannot_show_is_said() {
        let axis = Axis { least: Some(0.01), ..Axis::new("loss", Unit::Loss) };
        let scale = Scale::new(&axis, [80.0, 1.0, 0.0].into_iter(), 100.0, 0.0);
        assert_eq!(scale.ticks(|_, _| 10.0)[0], (0.01, "≤ 0.01".into()));
        assert_eq!(scale.position(0.0), scale.position(0.01));
        let scale = Scale::new(&axis, [80.0, 1.0].into_iter(), 100.0, 0.0);
        assert!(scale.ticks(|_, _| 10.0).iter().all(|(_, label)| !label.contains('≤')));
    }
}
