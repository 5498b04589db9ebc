//! Pictures of what was measured, as SVG: one strong colour for each line, its name at its end, a pale band for the
//! spread around it, the paper's own figures as hollow marks.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::table::{bytes, seconds, words};

const SIZE: (i32, i32) = (980, 640);
const LEFT: i32 = 96;
const RIGHT: i32 = 190;
const TOP: i32 = 104;
const BOTTOM: i32 = 64;
/// Between the names of two lines.
const LINE_HEIGHT: i32 = 19;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(60, 60, 67);
const FAINT: RGBColor = RGBColor(120, 120, 128);
const GRID: RGBColor = RGBColor(232, 232, 236);

/// What an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Words,
    Seconds,
    Bytes,
    /// Any number from 1 on, in powers of ten.
    Length,
    /// A loss, in powers of ten.
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
}

/// An axis with its label.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub unit: Unit,
}

/// A line with its name.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// The lowest and the highest value at each of the points; empty if there is one only.
    pub band: Vec<(f64, f64)>,
    /// Drawn faintly, for what stands beside the matter itself.
    pub faint: bool,
}

/// More points than this make a curve, on which single ones are not told apart.
const CURVE: usize = 24;

/// A figure that others measured.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The line that it belongs to.
    pub of: String,
    pub text: String,
    pub point: (f64, f64),
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Picture {
    pub title: String,
    pub subtitle: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    pub marks: Vec<Mark>,
}

type Drawing = Result<(), Box<dyn std::error::Error>>;

/// Draws a picture.
pub fn draw(picture: &Picture) -> String {
    let mut svg = String::new();
    // Drawing to a string cannot fail; should it ever, a picture is not worth what was measured.
    let _ = draw_to(&mut svg, picture);
    svg
}

/// Where the numbers of an axis stand in the picture.
struct Scale {
    unit: Unit,
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Scale {
    fn new(unit: Unit, values: impl Iterator<Item = f64>, from: i32, to: i32) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && *value > 0.0).collect();
        let (low, high) = values.iter().fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
        let (low, high) = match unit {
            Unit::Count if values.is_empty() => (0.0, 1.0),
            _ if values.is_empty() => (1.0, 10.0),
            Unit::Share => ((low * 20.0 - 0.5).floor().clamp(0.0, 18.0) / 20.0, 1.0),
            Unit::Error => (0.0, 1.0),
            Unit::Count => (0.0, 1.02 * high),
            Unit::Words => (low / 1.25, high * 1.1),
            // Room for at least a factor of ten, or no tick would be in sight.
            _ => (low.min(high / 3.2) / 1.5, high.max(low * 3.2) * 1.5),
        };
        Self { unit, low, high, from, to }
    }

    fn position(&self, value: f64) -> i32 {
        let share = if self.unit.is_linear() {
            (value - self.low) / (self.high - self.low)
        } else {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        };
        self.from + (share.clamp(0.0, 1.0) * f64::from(self.to - self.from)).round() as i32
    }

    /// Numbers that are easy to read, with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        let powers = |base: f64, from: i32| (from..from + 60).map(move |power| base.powi(power));
        let inside = |value: &f64| (self.low..=self.high).contains(value);
        match self.unit {
            Unit::Share => {
                let step = if self.high - self.low > 0.55 { 0.1 } else { 0.05 };
                let values = (0..=20).map(|n| f64::from(n) * step).filter(|x| *x <= 1.001 && *x >= self.low - 1e-9);
                values.map(|x| (x, format!("{:.0} %", 100.0 * x))).collect()
            }
            Unit::Error => (0..=10).map(|n| (f64::from(n) / 10.0, format!("{} %", 10 * n))).collect(),
            Unit::Count => {
                let rough = self.high / 6.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                (0..12).map(|n| f64::from(n) * step).filter(inside).map(|x| (x, count(x))).collect()
            }
            Unit::Length => {
                let within: &[f64] = if self.high / self.low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let values = powers(10.0, 0).flat_map(|power| within.iter().map(move |digit| digit * power));
                values.filter(inside).map(|x| (x, count(x))).collect()
            }
            Unit::Loss => {
                let within: &[f64] = if self.high / self.low > 1e2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let values = powers(10.0, -12).flat_map(|power| within.iter().map(move |digit| digit * power));
                values.filter(inside).map(|x| (x, if x < 1.0 { plain(x) } else { count(x) })).collect()
            }
            Unit::Words => powers(if self.high / self.low > 128.0 { 4.0 } else { 2.0 }, 0)
                .filter(inside)
                .map(|x| (x, words(x as usize)))
                .collect(),
            Unit::Bytes => {
                let wide = self.high / self.low > 4096.0;
                let values = powers(if wide { 16.0 } else { 4.0 }, 0).filter(inside);
                values.map(|x| (x, bytes(x).replace(".00", "").replace(".0 ", " "))).collect()
            }
            Unit::Seconds => {
                let within: &[f64] = if self.high / self.low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let values = powers(10.0, -12).flat_map(|power| within.iter().map(move |digit| digit * power));
                values.filter(inside).map(|x| (x, seconds(x).replace(".00", "").replace(".0 ", " "))).collect()
            }
        }
    }
}

/// A number below 1 with one significant digit: 0.002.
fn plain(value: f64) -> String {
    let digits = (-value.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// A number as an axis shows it: 1500000 is 1.5M with M for a million.
fn count(value: f64) -> String {
    let (scaled, suffix) = match value {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let rounded = format!("{scaled:.3}");
    format!("{}{suffix}", rounded.trim_end_matches('0').trim_end_matches('.'))
}

/// The colour of a line, the same in every picture.
fn colour(name: &str) -> RGBColor {
    const OTHERS: [RGBColor; 3] = [RGBColor(146, 64, 14), RGBColor(8, 145, 178), RGBColor(101, 80, 60)];
    let has = |part: &str| name.to_lowercase().split([' ', ',']).any(|word| word == part);
    match () {
        () if has("ntm") => RGBColor(185, 28, 28),
        () if has("dnc") => RGBColor(190, 24, 93),
        () if has("dam") => RGBColor(217, 119, 6),
        () if has("lstm") => RGBColor(120, 120, 128),
        () if name == "SDNC" => RGBColor(124, 58, 237),
        () if has("linear") => RGBColor(29, 78, 216),
        () if has("kd-forest") => RGBColor(124, 58, 237),
        () if has("lsh") => RGBColor(13, 148, 136),
        () if has("ivf") => RGBColor(21, 128, 61),
        () => OTHERS[name.bytes().map(usize::from).sum::<usize>() % OTHERS.len()],
    }
}

/// Where texts stand already.
#[derive(Default)]
struct Taken(Vec<[i32; 3]>);

impl Taken {
    /// Takes the place for a text whose left end should stand at a point, or as near above or below as it is free, and
    /// gives its height.
    fn take(&mut self, text: &str, (x, y): (i32, i32), low: i32, high: i32) -> i32 {
        let width = text_width(text);
        let free = |at: i32| {
            let overlaps =
                |[left, right, other]: [i32; 3]| x < right && left < x + width && (at - other).abs() < LINE_HEIGHT;
            (low..=high).contains(&at) && !self.0.iter().any(|taken| overlaps(*taken))
        };
        let nearest = (0..high - low).flat_map(|away| [y + away, y - away]).find(|at| free(*at)).unwrap_or(y);
        self.0.push([x, x + width, nearest]);
        nearest
    }
}

/// About how wide a text is: the viewer chooses the font.
fn text_width(text: &str) -> i32 {
    15 * text.chars().count() as i32 / 2
}

/// Lines that pass behind a text would make it hard to read.
fn backed(root: &DrawingArea<SVGBackend<'_>, Shift>, left: i32, height: i32, width: i32) -> Drawing {
    let behind = [(left - 2, height - 9), (left + width + 2, height + 9)];
    root.draw(&Rectangle::new(behind, WHITE.mix(0.85).filled()))?;
    Ok(())
}

fn draw_to(svg: &mut String, picture: &Picture) -> Drawing {
    let root = SVGBackend::with_string(svg, (SIZE.0 as u32, SIZE.1 as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32, colour: RGBColor, across: HPos, down: VPos| {
        (FONT, size).into_font().color(&colour).pos(Pos::new(across, down))
    };
    let write =
        |what: &str, place: (i32, i32), style: TextStyle<'_>| root.draw(&Text::new(what.to_owned(), place, style));
    write(&picture.title, (LEFT, 18), text(22, INK, HPos::Left, VPos::Top))?;
    write(&picture.subtitle, (LEFT, 50), text(14, FAINT, HPos::Left, VPos::Top))?;

    let shown: Vec<(f64, f64)> = picture
        .lines
        .iter()
        .flat_map(|line| {
            let bands = line.points.iter().zip(&line.band);
            line.points.iter().copied().chain(bands.flat_map(|((x, _), (low, high))| [(*x, *low), (*x, *high)]))
        })
        .collect();
    let all = || shown.iter().copied().chain(picture.marks.iter().map(|mark| mark.point));
    let x = Scale::new(picture.x.unit, all().map(|point| point.0), LEFT, SIZE.0 - RIGHT);
    let y = Scale::new(picture.y.unit, all().map(|point| point.1), SIZE.1 - BOTTOM, TOP);
    let (left, right, top, bottom) = (LEFT, SIZE.0 - RIGHT, TOP, SIZE.1 - BOTTOM);
    for (value, label) in x.ticks() {
        let at = x.position(value);
        root.draw(&PathElement::new([(at, top), (at, bottom)], GRID))?;
        write(&label, (at, bottom + 9), text(15, INK, HPos::Center, VPos::Top))?;
    }
    for (value, label) in y.ticks() {
        let at = y.position(value);
        root.draw(&PathElement::new([(left, at), (right, at)], GRID))?;
        write(&label, (left - 9, at), text(15, INK, HPos::Right, VPos::Center))?;
    }
    root.draw(&PathElement::new([(left, top), (left, bottom), (right, bottom)], INK))?;
    write(&picture.x.label, ((left + right) / 2, SIZE.1 - 12), text(16, INK, HPos::Center, VPos::Bottom))?;
    write(&picture.y.label, (left - 80, top - 14), text(16, INK, HPos::Left, VPos::Bottom))?;

    let place = |point: (f64, f64)| (x.position(point.0), y.position(point.1));
    let style = |line: &Line| {
        let (colour, share) = (colour(&line.name), if line.faint { 0.4 } else { 1.0 });
        colour.mix(share)
    };
    for line in &picture.lines {
        let (points, colour): (Vec<_>, _) = (line.points.iter().map(|point| place(*point)).collect(), style(line));
        let bounds = |of: fn(&(f64, f64)) -> f64| {
            line.points.iter().zip(&line.band).map(move |(point, band)| (point.0, of(band))).map(place)
        };
        if !line.band.is_empty() {
            let around = bounds(|band| band.0).chain(bounds(|band| band.1).rev()).collect::<Vec<_>>();
            root.draw(&Polygon::new(around, colour.mix(0.15).filled()))?;
        }
        root.draw(&PathElement::new(points.clone(), colour.stroke_width(if line.faint { 1 } else { 2 })))?;
        let dots = if points.len() > CURVE { Vec::new() } else { points };
        for point in dots {
            root.draw(&Circle::new(point, 3, colour.filled()))?;
        }
    }
    let mut taken = Taken::default();
    for mark in &picture.marks {
        let (at, colour) = (place(mark.point), colour(&mark.of));
        root.draw(&Circle::new(at, 7, WHITE.filled()))?;
        root.draw(&Circle::new(at, 7, colour.stroke_width(2)))?;
        let width = text_width(&mark.text);
        let from = if at.0 > (left + right) / 2 { at.0 - 13 - width } else { at.0 + 13 };
        let height = taken.take(&mark.text, (from, at.1), top, bottom);
        backed(&root, from, height, width)?;
        let (to, across) = if from < at.0 { (at.0 - 13, HPos::Right) } else { (from, HPos::Left) };
        write(&mark.text, (to, height), text(14, colour, across, VPos::Center))?;
    }
    for line in &picture.lines {
        let Some(end) = line.points.last().map(|point| place(*point)) else { continue };
        let from = end.0 + 11;
        let height = taken.take(&line.name, (from, end.1), top, bottom);
        if height != end.1 {
            root.draw(&PathElement::new([(end.0 + 4, end.1), (from - 2, height)], style(line).mix(0.4)))?;
        }
        if end.0 < right - 20 {
            backed(&root, from, height, text_width(&line.name))?;
        }
        write(&line.name, (from, height), text(16, colour(&line.name), HPos::Left, VPos::Center))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(lines: Vec<Line>) -> Picture {
        Picture {
            title: "A step < forward & \"back\"".into(),
            subtitle: "batch 8".into(),
            x: Axis { label: "words".into(), unit: Unit::Words },
            y: Axis { label: "time".into(), unit: Unit::Seconds },
            lines,
            marks: vec![Mark { of: "NTM".into(), text: "Rae et al. 2016: 12 s".into(), point: (1048576.0, 12.0) }],
        }
    }

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line { name: name.into(), points: points.to_vec(), band: Vec::new(), faint: false }
    }

    #[test]
    fn pictures_are_labelled_and_escaped() {
        let svg = draw(&picture(vec![
            line("NTM", &[(64.0, 1e-4), (65536.0, 0.1)]),
            line("SAM <ivf>", &[(64.0, 1e-4), (1e7, 3e-4)]),
        ]));
        for text in
            ["A step &lt; forward &amp; ", "SAM &lt;ivf&gt;", "Rae et al. 2016: 12 s", "64", "16k", "1M", "10 ms"]
        {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(!svg.contains("<ivf>") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn anything_can_be_drawn() {
        let odd = [(0.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, -1.0), (1.0, f64::MAX)];
        for lines in [vec![], vec![line("", &[])], vec![line("a", &[(64.0, 1.0)])], vec![line("b", &odd)]] {
            assert!(draw(&picture(lines)).trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn a_band_lies_around_its_line() {
        let with = |band: &[(f64, f64)]| {
            let of = Line { band: band.to_vec(), ..line("SAM", &[(64.0, 1e-3), (1024.0, 2e-3)]) };
            draw(&picture(vec![of]))
        };
        assert_eq!(with(&[]).matches("<polygon").count(), 0);
        assert_eq!(with(&[(5e-4, 2e-3), (1e-3, 4e-3)]).matches("<polygon").count(), 1);
    }

    #[test]
    fn names_are_apart() {
        let mut taken = Taken::default();
        let mut take = |x, y| taken.take("NTM", (x, y), 0, 200);
        assert_eq!([take(50, 100), take(50, 100), take(60, 101), take(300, 100)], [100, 119, 81, 100]);
    }

    #[test]
    fn ticks_are_easy_to_read() {
        let labels = |unit, low, high| -> Vec<String> {
            Scale { unit, low, high, from: 0, to: 1 }.ticks().into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(labels(Unit::Words, 60.0, 2e6), ["64", "256", "1k", "4k", "16k", "64k", "256k", "1M"]);
        assert_eq!(labels(Unit::Seconds, 5e-6, 2.0), ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(labels(Unit::Seconds, 4e-5, 2.5e-4), ["50 µs", "100 µs", "200 µs"]);
        assert_eq!(labels(Unit::Bytes, 1e6, 4e10), ["1 MiB", "16 MiB", "256 MiB", "4 GiB"]);
        assert_eq!(labels(Unit::Count, 0.0, 250_000.0), ["0", "50k", "100k", "150k", "200k", "250k"]);
        assert_eq!(labels(Unit::Count, 0.0, 18.36), ["0", "5", "10", "15"]);
        assert_eq!(labels(Unit::Length, 80.0, 210_000.0), ["100", "1000", "10k", "100k"]);
        assert_eq!(labels(Unit::Error, 0.0, 1.0).len(), 11);
        assert_eq!(labels(Unit::Share, 0.8, 1.0), ["80 %", "85 %", "90 %", "95 %", "100 %"]);
    }
}
