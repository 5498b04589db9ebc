//! The learning curve of a run.

use crate::plot::{Axis, GUESSING, Line, Panel, Picture, Size, TRAINING, Unit, draw as draw_picture};
use crate::{Metrics, Per, Units};

/// Losses and wrong outputs below this are drawn as this: a logarithmic axis has no 0.
const LEAST_LOSS: f64 = 1e-4;
const LEAST_WRONG: f64 = 1e-3;

/// Draws a learning curve as SVG: over the sequences trained on the loss, with that of guessing, and wrong outputs; and, where
/// there was a curriculum, its highest level. Losses and wrong outputs per sequence are on logarithmic axes.
pub fn draw(metrics: &[Metrics], title: &str, units: Units) -> String {
    let line = |name: &str, of: &dyn Fn(&Metrics) -> Option<f64>| {
        let point = |line: &Metrics| Some((line.sequences as f64, of(line)?));
        Line::new(name, metrics.iter().filter_map(point).collect())
    };
    let panel = |y: Axis, lines: Vec<Line>| {
        let lines = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        Panel { y, lines, marks: Vec::new() }
    };
    let loss = Axis { least: Some(LEAST_LOSS), ..Axis::new(units.loss_axis(), Unit::Loss) };
    let guessing = line(GUESSING, &|line| line.guessing);
    let mut panels = vec![panel(
        loss,
        vec![
            line(TRAINING, &|line| Some(line.training_loss)),
            line(EVALUATION, &|line| Some(line.loss)),
            Line { faint: true, ..guessing },
        ],
    )];
    if let Some(wrong) = units.wrong() {
        let axis = match units.per {
            Per::Sequence => {
                let label = format!("wrong {wrong} per sequence");
                Axis { least: Some(LEAST_WRONG), ..Axis::new(label, Unit::Loss) }
            }
            Per::Target(_) => Axis::new(format!("share of wrong {wrong}"), Unit::Count),
        };
        let lines = vec![line(TRAINING, &|line| line.training_wrong), line(EVALUATION, &|line| line.wrong)];
        panels.push(panel(axis, lines));
    }
    if metrics.iter().any(|line| line.level.is_some()) {
        let level = line(EVALUATION, &|line| line.level.map(|level| level as f64));
        panels.push(panel(Axis::new(format!("{} at most", units.level), Unit::Length), vec![level]));
    }
    draw_picture(&Picture {
        title: title.to_owned(),
        subtitle: String::new(),
        x: Axis::new("sequences trained on", Unit::Count),
        panels,
        size: Size::Page,
    })
}

/// The name of the line for what evaluations measured.
const EVALUATION: &str = "evaluation";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetKind;

    const UNITS: Units = Units { kind: TargetKind::Bits, per: Per::Sequence, level: "vectors" };

    fn line(batch: u64, loss: f64) -> Metrics {
        Metrics {
            batch,
            sequences: 8 * batch,
            training_loss: 1.1 * loss,
            training_wrong: Some(0.6 * loss),
            refreshing_loss: None,
            gradient_norm: 1.0,
            gradient_overflows: 0,
            learning_rate: None,
            gradient_limit: None,
            clipped: 0,
            loss,
            loss_error: None,
            guessing: None,
            wrong: Some(0.5 * loss),
            right: None,
            right_error: None,
            seconds: 1.0,
            sequences_per_second: 8.0,
            level: None,
            mean_error: None,
            failed: None,
            errors: Vec::new(),
        }
    }

    #[test]
    fn axes_are_labelled() {
        let metrics: Vec<_> = (1..80).map(|i| line(250 * i, 80.0 * (-0.1 * i as f64).exp())).collect();
        let svg = draw(&metrics, "copy with sam", UNITS);
        for text in [
            "copy with sam",
            "loss, bits per sequence",
            "wrong bits per sequence",
            "sequences trained on",
            "evaluation",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("at most") && !svg.contains("guessing"));
        let known = metrics.iter().map(|line| Metrics { guessing: Some(84.0), ..line.clone() });
        assert!(draw(&known.collect::<Vec<_>>(), "copy with sam", UNITS).contains("guessing"));
        let levels = metrics.iter().map(|line| Metrics { level: Some(3 << (line.batch / 5000)), ..line.clone() });
        let svg = draw(&levels.collect::<Vec<_>>(), "copy with sam", UNITS);
        assert!(svg.contains("vectors at most") && svg.contains("\n10\n"), "{svg}");
    }

    #[test]
    fn numbers_and_characters_have_axes_of_their_own() {
        let metrics: Vec<_> = (1..8).map(|batch| line(batch, 3.0 / batch as f64)).collect();
        let numbers = Units { kind: TargetKind::Numbers, per: Per::Target("number"), ..UNITS };
        let svg = draw(&metrics, "", numbers);
        assert!(svg.contains("mean squared error") && svg.contains("sequences trained on") && !svg.contains("wrong"));
        let characters = Units { kind: TargetKind::Classes, per: Per::Target("character"), ..UNITS };
        let svg = draw(&metrics, "", characters);
        assert!(svg.contains("loss, bits per character") && svg.contains("share of wrong characters"), "{svg}");
    }

    #[test]
    fn any_metrics_can_be_drawn() {
        let level = Metrics { level: Some(usize::MAX), ..line(1, 0.0) };
        for metrics in
            [vec![], vec![level], vec![line(1, 0.0)], vec![line(0, 0.0), line(0, 1e300), line(u64::MAX / 8, -1.0)]]
        {
            assert!(draw(&metrics, "", UNITS).trim_end().ends_with("</svg>"));
        }
    }
}
