//! Pictures of what was measured: a strong line for each series, a pale band for the spread around it, figures of others as
//! hollow marks, and a legend above the axes, where nothing is hidden by it.
//!
//! [`Picture::drawing`] says which shapes stand where; [`draw`] writes them as SVG. For the command, which draws its own
//! pictures so, and exempt from semantic versioning.

mod numbers;
mod scale;
mod svg;

pub use numbers::{bytes, grouped, seconds, significant, words};
pub use scale::Unit;

use scale::Scale;

/// An axis with its label.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, in words.
    pub label: String,
    /// How its numbers are placed and told.
    pub unit: Unit,
    /// Of [`Unit::Loss`]: what is smaller is drawn as this, since a logarithmic axis has no 0. The axis says so.
    pub least: Option<f64>,
}

impl Axis {
    /// An axis that shows all there is.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, least: None }
    }
}

/// A line with its name.
#[derive(Clone, Debug)]
pub struct Line {
    /// Lines of one name are drawn alike, and named once.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// The lowest and the highest value at each of the points; empty if there is one only.
    pub band: Vec<(f64, f64)>,
    /// Drawn thin and dashed, for what stands beside the matter itself.
    pub faint: bool,
}

impl Line {
    /// A line without a band.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, band: Vec::new(), faint: false }
    }

    /// The value that guessing comes to, as a line from one place to another.
    pub fn guessing(value: f64, from: f64, to: f64) -> Self {
        Self { faint: true, ..Self::new(GUESSING, vec![(from, value), (to, value)]) }
    }
}

/// The name of the line for guessing.
pub const GUESSING: &str = "guessing";

/// A figure that others measured.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The line that it belongs to.
    pub of: String,
    /// What the legend says of it.
    pub text: String,
    /// Where it is.
    pub point: (f64, f64),
}

/// One pair of axes with what is drawn between them.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The upright axis.
    pub y: Axis,
    /// From the first, which lies lowest.
    pub lines: Vec<Line>,
    /// Above all lines.
    pub marks: Vec<Mark>,
}

/// How large a picture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// As wide as a column of a paper with two of them, 90 mm, with letters of 7.5 points.
    Column,
    /// As wide as a page, 190 mm, with letters of 10 points.
    #[default]
    Page,
}

impl Size {
    /// Width of the picture and height of letters, in 96ths of an inch.
    fn width_and_letters(self) -> (f64, f64) {
        match self {
            Self::Column => (340.0, 10.0),
            Self::Page => (720.0, 13.5),
        }
    }
}

/// A picture: panels below each other over one axis.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// What is to be known of it; may be empty.
    pub subtitle: String,
    /// The level axis, which all panels share.
    pub x: Axis,
    /// From the top.
    pub panels: Vec<Panel>,
    /// How large it is.
    pub size: Size,
}

/// Draws a picture as SVG.
pub fn draw(picture: &Picture) -> String {
    svg::write(&picture.drawing())
}

/// Red, green, blue, and how much of what lies below is hidden, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour(pub u8, pub u8, pub u8, pub f64);

impl Colour {
    const fn mix(self, share: f64) -> Self {
        Self(self.0, self.1, self.2, self.3 * share)
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pen {
    /// Its colour.
    pub colour: Colour,
    /// Its width.
    pub width: f64,
    /// Length of dashes and of the gaps between them; none for an unbroken line.
    pub dash: Option<(f64, f64)>,
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// A part of a drawing. Lengths are in 96ths of an inch, from the upper left corner.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Straight lines from point to point.
    Path {
        /// The points.
        points: Vec<(f64, f64)>,
        /// How it is drawn.
        pen: Pen,
    },
    /// What lies within a polygon.
    Area {
        /// Its corners.
        points: Vec<(f64, f64)>,
        /// Its colour.
        colour: Colour,
    },
    /// A circle.
    Circle {
        /// Its centre.
        centre: (f64, f64),
        /// Its radius.
        radius: f64,
        /// The colour of what lies within.
        fill: Colour,
        /// The circle itself.
        pen: Option<Pen>,
    },
    /// A text in one line.
    Text {
        /// Where it is, on the line that letters stand on.
        at: (f64, f64),
        /// Which part of it is there.
        anchor: Anchor,
        /// Height of letters.
        size: f64,
        /// Its colour.
        colour: Colour,
        /// The text.
        text: String,
    },
}

/// A picture as shapes, in the order in which they are drawn, on white.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Width in 96ths of an inch.
    pub width: f64,
    /// Height in 96ths of an inch.
    pub height: f64,
    /// From the lowest.
    pub shapes: Vec<Shape>,
    /// What it shows.
    pub title: String,
}

const INK: Colour = Colour(60, 60, 67, 1.0);
const FAINT: Colour = Colour(110, 110, 118, 1.0);
const GRID: Colour = Colour(228, 228, 233, 1.0);
const WHITE: Colour = Colour(255, 255, 255, 1.0);

/// More points than this make a curve, on which single ones are not told apart.
const CURVE: usize = 24;

/// Colours that are told apart on white, also by most who see fewer colours.
const COLOURS: [Colour; 9] = [
    Colour(29, 78, 216, 1.0),
    Colour(185, 28, 28, 1.0),
    Colour(21, 128, 61, 1.0),
    Colour(217, 119, 6, 1.0),
    Colour(124, 58, 237, 1.0),
    Colour(13, 148, 136, 1.0),
    Colour(190, 24, 93, 1.0),
    Colour(101, 80, 60, 1.0),
    Colour(120, 120, 128, 1.0),
];

/// The place in [`COLOURS`] that what has this name takes in every picture; none for other names.
fn own_colour(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    let has = |part: &str| name.split([' ', ',', ':']).any(|word| word == part);
    // A sparse model is told by its index where that is named.
    let all = [
        ("ntm", 1),
        ("dnc", 6),
        ("dam", 3),
        ("lstm", 8),
        ("linear", 0),
        ("ivf", 2),
        ("kd-forest", 4),
        ("lsh", 5),
        ("sdnc", 4),
        ("sam", 0),
        ("evaluation", 0),
    ];
    all.into_iter().find(|(part, _)| has(part)).map(|(_, place)| place)
}

/// How the line of each name is drawn, in the order of the legend.
struct Pens(Vec<(String, Pen)>);

impl Pens {
    fn new(picture: &Picture, letters: f64) -> Self {
        let mut lines: Vec<&Line> = Vec::new();
        for line in picture.panels.iter().flat_map(|panel| &panel.lines) {
            if !lines.iter().any(|other| other.name == line.name) {
                lines.push(line);
            }
        }
        let mut taken = [0usize; COLOURS.len()];
        let mut places: Vec<Option<usize>> = vec![None; lines.len()];
        for (place, line) in places.iter_mut().zip(&lines) {
            let own = own_colour(&line.name);
            // Lines beside the matter have the colour of what they stand beside.
            *place = own.filter(|own| line.faint || taken[*own] == 0);
            if let (Some(own), false) = (*place, line.faint) {
                taken[own] += 1;
            }
        }
        let pen = |line: &Line, place: usize, again: usize| match line.faint {
            _ if line.name == TRAINING => Pen { colour: TRAINED, width: 0.08 * letters, dash: None },
            true if own_colour(&line.name).is_none() => {
                Pen { colour: FAINT, width: 0.08 * letters, dash: Some((0.5 * letters, 0.3 * letters)) }
            }
            true => {
                let colour = COLOURS[place].mix(0.6);
                Pen { colour, width: 0.08 * letters, dash: Some((0.5 * letters, 0.3 * letters)) }
            }
            // Once all colours are taken, dashes tell lines of one colour apart.
            false => {
                let dash = (again > 0).then(|| (0.9 * letters / again as f64, 0.3 * letters));
                Pen { colour: COLOURS[place], width: 0.14 * letters, dash }
            }
        };
        let mut pens = Vec::new();
        for (line, place) in lines.iter().zip(places) {
            let place = place.unwrap_or_else(|| {
                let least = (0..COLOURS.len()).min_by_key(|place| (taken[*place], *place)).unwrap_or(0);
                if !line.faint && line.name != TRAINING {
                    taken[least] += 1;
                }
                least
            });
            pens.push((line.name.clone(), pen(line, place, taken[place].saturating_sub(1))));
        }
        Self(pens)
    }

    fn of(&self, name: &str) -> Pen {
        let pen = self.0.iter().find(|(other, _)| other == name).map(|(_, pen)| *pen);
        pen.unwrap_or(Pen { colour: COLOURS[own_colour(name).unwrap_or(0)], width: 1.0, dash: None })
    }
}

/// The name of the line for what was measured in training itself, which is drawn thin below that of evaluations.
pub(crate) const TRAINING: &str = "training";
const TRAINED: Colour = Colour(148, 163, 184, 1.0);

/// About how wide a text is with letters of height 1. The viewer chooses the font of an SVG; this is a wide one.
fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | '\'' => 0.28,
            ' ' | '.' | ',' | ':' | ';' | 'I' | '|' | '/' | '·' => 0.33,
            'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '⁰'..='⁹' | '¹' | '²' | '³' | '⁻' => 0.41,
            's' | 'c' | 'z' => 0.54,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.96,
            'A'..='Z' => 0.7,
            '±' | '=' | '<' | '>' | '≤' | '≥' | '+' | '÷' | '×' => 0.84,
            letter if letter.is_ascii() || letter.is_alphabetic() && letter < '\u{2e80}' => 0.63,
            _ => 1.0,
        })
        .sum()
}

/// A text in lines of at most this width, with letters of height 1; a word that is wider has a line of its own.
fn wrapped(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line) + text_width(word) + 0.33 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A sign of the legend, with its text.
enum Sign<'a> {
    Line { name: &'a str, pen: Pen, band: bool },
    Mark { text: &'a str, pen: Pen },
}

/// Shapes that are being put together.
struct Sheet {
    shapes: Vec<Shape>,
    letters: f64,
}

impl Sheet {
    fn text(&mut self, text: &str, at: (f64, f64), anchor: Anchor, size: f64, colour: Colour) {
        self.shapes.push(Shape::Text { at, anchor, size, colour, text: text.to_owned() });
    }

    fn line(&mut self, points: Vec<(f64, f64)>, colour: Colour) {
        self.shapes.push(Shape::Path { points, pen: Pen { colour, width: 0.07 * self.letters, dash: None } });
    }

    /// A text in as many lines as it takes; the height below it.
    fn paragraph(&mut self, text: &str, (left, top): (f64, f64), width: f64, size: f64, colour: Colour) -> f64 {
        let lines = wrapped(text, width / size);
        for (number, line) in lines.iter().enumerate() {
            let baseline = top + size * (1.3 * number as f64 + 1.0);
            self.text(line, (left, baseline), Anchor::Start, size, colour);
        }
        top + 1.3 * size * lines.len() as f64
    }

    /// Signs and texts in rows; the height below them.
    fn legend(&mut self, signs: &[Sign<'_>], (left, top): (f64, f64), width: f64) -> f64 {
        let em = self.letters;
        let (sign_width, gap, row) = (1.8 * em, 1.3 * em, 1.45 * em);
        let (mut x, mut y) = (left, top);
        for sign in signs {
            let text = match sign {
                Sign::Line { name, .. } => name,
                Sign::Mark { text, .. } => text,
            };
            let room = width - sign_width - 0.4 * em;
            let lines = wrapped(text, room / em);
            let widest = lines.iter().map(|line| text_width(line) * em).fold(0.0, f64::max);
            let whole = sign_width + 0.4 * em + widest;
            if x > left && x + whole > left + width {
                (x, y) = (left, y + row);
            }
            let middle = y + 0.6 * em;
            match sign {
                Sign::Line { pen, band, .. } => {
                    if *band {
                        let (above, below) = (middle - 0.4 * em, middle + 0.4 * em);
                        let corners = vec![(x, above), (x + sign_width, above), (x + sign_width, below), (x, below)];
                        self.shapes.push(Shape::Area { points: corners, colour: pen.colour.mix(BAND) });
                    }
                    let points = vec![(x, middle), (x + sign_width, middle)];
                    self.shapes.push(Shape::Path { points, pen: *pen });
                }
                Sign::Mark { pen, .. } => self.mark((x + sign_width / 2.0, middle), *pen),
            }
            let mut baseline = y + 0.95 * em;
            for line in &lines {
                self.text(line, (x + sign_width + 0.4 * em, baseline), Anchor::Start, em, INK);
                baseline += 1.2 * em;
            }
            // What takes several lines has its rows to itself.
            if lines.len() > 1 {
                (x, y) = (left, y + 1.2 * em * (lines.len() - 1) as f64 + row);
            } else {
                x += whole + gap;
            }
        }
        if x > left { y + row } else { y }
    }

    fn mark(&mut self, centre: (f64, f64), pen: Pen) {
        let pen = Pen { width: 0.14 * self.letters, dash: None, ..pen };
        self.shapes.push(Shape::Circle { centre, radius: 0.42 * self.letters, fill: WHITE, pen: Some(pen) });
    }
}

/// How much a band hides.
const BAND: f64 = 0.17;

impl Picture {
    /// What stands where.
    pub fn drawing(&self) -> Drawing {
        let (width, em) = self.size.width_and_letters();
        let edge = 0.7 * em;
        let pens = Pens::new(self, em);
        let mut sheet = Sheet { shapes: Vec::new(), letters: em };

        let inside = width - 2.0 * edge;
        let mut top = sheet.paragraph(&self.title, (edge, edge), inside, 1.2 * em, INK);
        top = sheet.paragraph(&self.subtitle, (edge, top + 0.1 * em), inside, 0.9 * em, FAINT);
        let banded = |name: &str| {
            let mut lines = self.panels.iter().flat_map(|panel| &panel.lines);
            lines.any(|line| line.name == name && !line.band.is_empty())
        };
        let mut signs: Vec<Sign<'_>> =
            pens.0.iter().map(|(name, pen)| Sign::Line { name, pen: *pen, band: banded(name) }).collect();
        let marks = self.panels.iter().flat_map(|panel| &panel.marks);
        signs.extend(marks.map(|mark| Sign::Mark { text: &mark.text, pen: pens.of(&mark.of) }));
        // One line alone is what the title says.
        if signs.len() > 1 {
            top = sheet.legend(&signs, (edge, top + 0.5 * em), inside);
        }

        let right = width - 1.6 * em;
        let height = width * if self.panels.len() > 1 { 0.3 } else { 0.5 };
        let scales: Vec<Scale> = self.panels.iter().map(|panel| Scale::upright(panel, height)).collect();
        let ticks: Vec<_> = scales.iter().map(|scale| scale.ticks(|_, _| 1.6 * em)).collect();
        let widest = ticks.iter().flatten().map(|(_, label)| text_width(label) * em).fold(0.0, f64::max);
        let left = (edge + widest + 0.5 * em).min(width / 2.0);
        let x = Scale::level(&self.x, &self.panels, left, right);
        let label_width = |label: &str| text_width(label) * em;
        let x_ticks = x.ticks(|one, next| (label_width(one) + label_width(next)) / 2.0 + 0.8 * em);

        for ((panel, scale), ticks) in self.panels.iter().zip(scales).zip(ticks) {
            top = sheet.paragraph(&panel.y.label, (edge, top + 0.7 * em), inside, em, INK) + 0.5 * em;
            let scale = scale.between(top + height, top);
            let bottom = top + height;
            for (value, _) in &x_ticks {
                let at = x.position(*value);
                sheet.line(vec![(at, top), (at, bottom)], GRID);
            }
            for (value, label) in &ticks {
                let at = scale.position(*value);
                sheet.line(vec![(left, at), (right, at)], GRID);
                sheet.text(label, (left - 0.45 * em, at + 0.36 * em), Anchor::End, em, INK);
            }
            sheet.line(vec![(left, top), (left, bottom), (right, bottom)], INK);
            sheet.panel(panel, &pens, &x, &scale);
            top = bottom;
        }
        for (value, label) in &x_ticks {
            sheet.text(label, (x.position(*value), top + 1.3 * em), Anchor::Middle, em, INK);
        }
        let middle = (left + right) / 2.0;
        sheet.text(&self.x.label, (middle, top + 2.9 * em), Anchor::Middle, em, INK);
        let height = (top + 2.9 * em + edge).ceil();
        Drawing { width, height, shapes: sheet.shapes, title: self.title.clone() }
    }
}

impl Sheet {
    /// Draws bands below lines below marks.
    fn panel(&mut self, panel: &Panel, pens: &Pens, x: &Scale, y: &Scale) {
        let place = |point: (f64, f64)| (x.position(point.0), y.position(point.1));
        let shown = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
        for line in &panel.lines {
            let bounds: Vec<_> = line.points.iter().zip(&line.band).map(|(point, band)| (point.0, *band)).collect();
            let bound = |of: fn(&(f64, f64)) -> f64| bounds.iter().map(move |(x, band)| (*x, of(band)));
            let around: Vec<_> = bound(|band| band.0).chain(bound(|band| band.1).rev()).filter(shown).collect();
            if !around.is_empty() {
                let points = around.into_iter().map(place).collect();
                self.shapes.push(Shape::Area { points, colour: pens.of(&line.name).colour.mix(BAND) });
            }
        }
        // What stands beside the matter lies below it.
        let (faint, strong): (Vec<&Line>, Vec<&Line>) =
            panel.lines.iter().partition(|line| line.faint || line.name == TRAINING);
        for line in faint.into_iter().chain(strong) {
            let points: Vec<_> = line.points.iter().copied().filter(shown).map(place).collect();
            let pen = pens.of(&line.name);
            let dots = !line.faint && points.len() <= CURVE;
            if points.len() > 1 {
                self.shapes.push(Shape::Path { points: points.clone(), pen });
            }
            for centre in points.into_iter().filter(|_| dots) {
                self.shapes.push(Shape::Circle { centre, radius: 0.22 * self.letters, fill: pen.colour, pen: None });
            }
        }
        for mark in panel.marks.iter().filter(|mark| shown(&mark.point)) {
            self.mark(place(mark.point), pens.of(&mark.of));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(lines: Vec<Line>) -> Picture {
        let marks = vec![Mark { of: "NTM".into(), text: "Rae et al. 2016: 12 s".into(), point: (1048576.0, 12.0) }];
        Picture {
            title: "A step < forward & \"back\"".into(),
            subtitle: "batch 8".into(),
            x: Axis::new("words", Unit::Words),
            panels: vec![Panel { y: Axis::new("time", Unit::Seconds), lines, marks }],
            size: Size::Page,
        }
    }

    #[test]
    fn pictures_are_labelled_and_escaped() {
        let svg = draw(&picture(vec![
            Line::new("NTM", vec![(64.0, 1e-4), (65536.0, 0.1)]),
            Line::new("SAM <ivf>", vec![(64.0, 1e-4), (1e7, 3e-4)]),
        ]));
        for text in [
            "A step &lt; forward &amp; ",
            "SAM &lt;ivf&gt;",
            "Rae et al. 2016: 12 s",
            "\n256\n",
            "\n64k\n",
            "\n1M\n",
            "\n10 ms\n",
        ] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(svg.starts_with("<svg") && !svg.contains("<ivf>") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn anything_can_be_drawn() {
        let odd = vec![(0.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, -1.0), (1.0, f64::MAX)];
        for lines in
            [vec![], vec![Line::new("", vec![])], vec![Line::new("a", vec![(64.0, 1.0)])], vec![Line::new("b", odd)]]
        {
            let mut picture = picture(lines);
            for unit in [Unit::Seconds, Unit::Loss, Unit::Count, Unit::Share, Unit::Error, Unit::Bytes, Unit::Length] {
                for size in [Size::Column, Size::Page] {
                    (picture.panels[0].y.unit, picture.x.unit, picture.size) = (unit, unit, size);
                    let svg = draw(&picture);
                    assert!(
                        svg.trim_end().ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"),
                        "{svg}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_band_lies_around_its_line() {
        let with = |band: &[(f64, f64)]| {
            let of = Line { band: band.to_vec(), ..Line::new("SAM", vec![(64.0, 1e-3), (1024.0, 2e-3)]) };
            draw(&picture(vec![of]))
        };
        // And one beside its name.
        assert_eq!(with(&[]).matches("<polygon").count(), 0);
        assert_eq!(with(&[(5e-4, 2e-3), (1e-3, 4e-3)]).matches("<polygon").count(), 2);
    }

    /// The box of each text: left, top, right, bottom.
    fn boxes(drawing: &Drawing) -> Vec<[f64; 4]> {
        let of = |shape: &Shape| match shape {
            Shape::Text { at, anchor, size, text, .. } => {
                let width = text_width(text) * size;
                let left = at.0 - width * f64::from(*anchor as u8) / 2.0;
                Some([left, at.1 - 0.75 * size, left + width, at.1])
            }
            _ => None,
        };
        drawing.shapes.iter().filter_map(of).collect()
    }

    #[test]
    fn no_text_lies_over_another_or_over_the_data_or_beyond_the_edge() {
        let names = ["SAM, learning rate 0.001", "SAM, learning rate 0.0003", "NTM", "DNC", "LSTM", "guessing"];
        let lines = names.map(|name| Line::new(name, vec![(100.0, 80.0), (5e4, 1e-3), (123_456.0, 0.0)]));
        let axes = [(Unit::Count, Unit::Loss), (Unit::Length, Unit::Count), (Unit::Words, Unit::Length)];
        for (size, (x, y)) in [Size::Column, Size::Page].into_iter().flat_map(|size| axes.map(|axes| (size, axes))) {
            let mut picture = picture(lines.to_vec());
            picture.panels.push(picture.panels[0].clone());
            (picture.x.unit, picture.panels[0].y.unit, picture.panels[1].y.unit, picture.size) = (x, y, y, size);
            let drawing = picture.drawing();
            let boxes = boxes(&drawing);
            for (number, one) in boxes.iter().enumerate() {
                let [left, top, right, bottom] = *one;
                assert!(left >= 0.0 && top >= 0.0, "{one:?} in {drawing:?}");
                assert!(right <= drawing.width && bottom <= drawing.height, "{one:?} of {drawing:?}");
                for other in &boxes[..number] {
                    let apart = right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top;
                    assert!(apart, "{one:?} and {other:?} with {x:?} and {y:?} in {size:?}");
                }
            }
            // All that is drawn between the axes: the areas of the plot are not crossed by texts.
            for shape in &drawing.shapes {
                let Shape::Circle { centre, pen: None, .. } = shape else { continue };
                let covered =
                    |of: &&[f64; 4]| (of[0]..=of[2]).contains(&centre.0) && (of[1]..=of[3]).contains(&centre.1);
                assert!(boxes.iter().find(covered).is_none(), "{centre:?}");
            }
        }
    }

    #[test]
    fn lines_are_told_apart() {
        let names: Vec<String> = (0..20).map(|rate| format!("SAM, learning rate 0.{rate}")).collect();
        let lines: Vec<Line> = names.iter().map(|name| Line::new(name, vec![(1.0, 1.0)])).collect();
        let pens = Pens::new(&picture(lines), 10.0);
        let looks: Vec<String> = names.iter().map(|name| format!("{:?}", pens.of(name))).collect();
        for (number, look) in looks.iter().enumerate() {
            assert!(!looks[..number].contains(look), "{look}");
        }
        let pens = Pens::new(&picture(vec![Line::new("NTM", vec![]), Line::new("SAM ivf", vec![])]), 10.0);
        assert_eq!([pens.of("NTM").colour, pens.of("SAM ivf").colour], [COLOURS[1], COLOURS[2]]);
    }

    #[test]
    fn texts_are_wrapped() {
        assert_eq!(wrapped("batch size 16, rate 0.001", 8.0), ["batch size 16,", "rate 0.001"]);
        assert!(wrapped("", 8.0).is_empty());
    }
}
