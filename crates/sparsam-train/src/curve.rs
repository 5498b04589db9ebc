//! The learning curve as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::{Metrics, Per, Units};

const WIDTH: u32 = 860;

/// Height of a chart.
const HEIGHT: u32 = 305;

/// Height of the title.
const TITLE: u32 = 30;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(60, 60, 67);
const GRID: RGBColor = RGBColor(232, 232, 236);
const TRAINING: RGBColor = RGBColor(148, 163, 184);
const EVALUATION: RGBColor = RGBColor(29, 78, 216);
const GUESSING: RGBColor = RGBColor(180, 83, 9);

/// The smallest loss that is drawn apart from 0, which a logarithmic axis cannot show.
const SMALLEST_LOSS: f64 = 1e-4;

/// Draws a learning curve: loss (on a logarithmic axis, with that of guessing) and wrong outputs over the sequences trained on; and, where there
/// was a curriculum, its highest level.
pub fn draw(metrics: &[Metrics], title: &str, units: Units) -> String {
    let mut svg = String::new();
    // Drawing to a string cannot fail; should it ever, a curve is not worth a run.
    let _ = draw_to(&mut svg, metrics, title, units);
    svg
}

/// A measure at each evaluation, during training and in the evaluation itself.
struct Curves {
    sequences: Vec<f64>,
    training: Vec<f64>,
    evaluation: Vec<f64>,
    /// What guessing would come to, for those evaluations of which it is known.
    guessing: Vec<(f64, f64)>,
}

impl Curves {
    fn new(metrics: &[Metrics], of: impl Fn(&Metrics) -> (f64, f64)) -> Self {
        Self {
            sequences: metrics.iter().map(|line| line.sequences as f64).collect(),
            training: metrics.iter().map(|line| of(line).0).collect(),
            evaluation: metrics.iter().map(|line| of(line).1).collect(),
            guessing: Vec::new(),
        }
    }

    fn largest(&self) -> f64 {
        let guessing = self.guessing.iter().map(|(_, loss)| loss);
        self.training.iter().chain(&self.evaluation).chain(guessing).fold(0.0, |a: f64, b| a.max(*b))
    }

    fn smallest(&self) -> f64 {
        self.training.iter().chain(&self.evaluation).fold(f64::INFINITY, |a: f64, b| a.min(*b))
    }
}

type Drawing = Result<(), Box<dyn std::error::Error>>;

fn draw_to(svg: &mut String, metrics: &[Metrics], title: &str, units: Units) -> Drawing {
    let grows = metrics.iter().any(|line| line.level.is_some());
    let wrong = units.wrong();
    let charts = 1 + u32::from(wrong.is_some()) + u32::from(grows);
    let x_desc = "sequences trained on";
    let root = SVGBackend::with_string(svg, (WIDTH, TITLE + charts * HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, (FONT, 22).into_font().color(&INK))?;
    let mut areas = root.split_evenly((charts as usize, 1)).into_iter();
    let Some(above) = areas.next() else { return Ok(()) };

    let clamp = |loss: f64| loss.clamp(SMALLEST_LOSS, 1e12);
    let guessing = metrics.iter().filter_map(|line| Some((line.sequences as f64, clamp(line.guessing?)))).collect();
    let loss = Curves { guessing, ..Curves::new(metrics, |line| (clamp(line.training_loss), clamp(line.loss))) };
    let lowest = 10f64.powf(loss.smallest().min(1.0).log10().floor());
    let highest = 10f64.powf(loss.largest().max(10.0 * lowest).log10().ceil());
    let axis = (lowest..highest).log_scale();
    draw_chart(&above, &loss, axis, 7, &units.loss_axis(), (charts == 1).then_some(x_desc))?
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(TRANSPARENT)
        .label_font((FONT, 16).into_font().color(&INK))
        .draw()?;

    if let Some((wrong, area)) = wrong.and_then(|wrong| Some((wrong, areas.next()?))) {
        let clamp = |wrong: Option<f64>| wrong.unwrap_or(0.0).clamp(0.0, 1e12);
        let y_desc = match units.per {
            Per::Sequence => format!("wrong {wrong} per sequence"),
            Per::Target(_) => format!("share of wrong {wrong}"),
        };
        let wrong = Curves::new(metrics, |line| (clamp(line.training_wrong), clamp(line.wrong)));
        let highest = if wrong.largest() > 0.0 { 1.05 * wrong.largest() } else { 1.0 };
        draw_chart(&area, &wrong, 0.0..highest, 6, &y_desc, (!grows).then_some(x_desc))?;
    }

    if let (true, Some(area)) = (grows, areas.next()) {
        let level = Curves::new(metrics, |line| (1.0, line.level.map_or(1.0, |level| level as f64)));
        let level = Curves { training: Vec::new(), ..level };
        let axis = (1.0..level.largest().max(2.0)).log_scale().base(2.0);
        let y_desc = format!("{} at most", units.level);
        draw_chart(&area, &level, axis, 7, &y_desc, Some(x_desc))?;
    }
    root.present()?;
    Ok(())
}

/// A chart whose vertical axis is of the kind `Y`.
type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

/// Draws the curves of a measure over the sequences trained on, with grid and axes.
fn draw_chart<'a, 'b, Y>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    curves: &Curves,
    y_axis: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    y_labels: usize,
    y_desc: &str,
    x_desc: Option<&str>,
) -> Result<Chart<'a, 'b, Y>, Box<dyn std::error::Error>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let last = curves.sequences.iter().fold(1.0, |a: f64, b| a.max(*b));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(30)
        .set_label_area_size(LabelAreaPosition::Left, 72)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .build_cartesian_2d(0.0..last, y_axis)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style((FONT, 16).into_font().color(&INK))
        .axis_desc_style((FONT, 17).into_font().color(&INK))
        .x_labels(9)
        .y_labels(y_labels)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .y_desc(y_desc);
    if let Some(x_desc) = x_desc {
        mesh.x_desc(x_desc);
    }
    mesh.draw()?;
    for (name, values, colour, width) in
        [("training", &curves.training, TRAINING, 1), ("evaluation", &curves.evaluation, EVALUATION, 2)]
    {
        let points = curves.sequences.iter().copied().zip(values.iter().copied());
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    if !curves.guessing.is_empty() {
        chart
            .draw_series(LineSeries::new(curves.guessing.iter().copied(), GUESSING.stroke_width(1)))?
            .label("guessing")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GUESSING.stroke_width(1)));
    }
    Ok(chart)
}

/// A number as an axis shows it: 1500000 is 1.5M, 0.001 is 0.001.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 999_999.5 => (value / 1e6, "M"),
        size if size >= 999.9995 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Rounded to what a label shows, so that 0.30000000000000004 is 0.3.
    let rounded = format!("{scaled:.4}");
    format!("{}{suffix}", rounded.trim_end_matches('0').trim_end_matches('.'))
}

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
            gradient_norm: 1.0,
            gradient_overflows: 0,
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
        assert!(svg.contains("vectors at most") && svg.contains("\n16\n"), "{svg}");
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

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.1 + 0.2, 1e-4, 10.0, 999.0, 1000.0, 12_500.0, 1.5e6];
        let expected = ["0", "0.3", "0.0001", "10", "999", "1k", "12.5k", "1.5M"];
        assert_eq!(numbers.map(short), expected);
    }
}
