//! Pictures in a file's format: SVG, PNG, or PDF. Of the last two letters are outlines of a font that the command brings along,
//! so that they look the same on every machine.

use std::path::Path;

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref};
use sparsam_train::plot::{Anchor, Colour, Drawing, Pen, Picture, Shape, draw};
use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path as Outline, PathBuilder, PathSegment, Pixmap, Stroke, StrokeDash,
    Transform,
};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::failure::Mistake;

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Scalable Vector Graphics, for browsers
    Svg,
    /// Pixels, 384 an inch
    Png,
    /// For papers
    Pdf,
}

impl Format {
    /// The format that a file's name asks for; SVG if it has no ending.
    pub fn of(path: &Path) -> Result<Self, Mistake> {
        let Some(ending) = path.extension() else { return Ok(Self::Svg) };
        match ending.to_string_lossy().to_lowercase().as_str() {
            "svg" => Ok(Self::Svg),
            "png" => Ok(Self::Png),
            "pdf" => Ok(Self::Pdf),
            other => Err(Mistake(format!(
                "a picture is written as .svg, .png or .pdf, not as .{other}; name such a file, or say which with --format"
            ))),
        }
    }

    /// The ending of a file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Pdf => "pdf",
        }
    }
}

/// A picture as the bytes of a file.
pub fn encode(picture: &Picture, format: Format) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Svg => Ok(draw(picture).into_bytes()),
        Format::Png => png(&picture.drawing()),
        Format::Pdf => pdf(&picture.drawing()),
    }
}

/// Pixels in a 96th of an inch.
const SHARPNESS: f32 = 4.0;

/// An outline that is filled, or drawn with a pen.
enum Painted {
    Filled(Outline, Colour),
    Drawn(Outline, Pen),
}

/// Shapes as outlines, from the lowest.
fn outlines(drawing: &Drawing) -> anyhow::Result<Vec<Painted>> {
    let face = Face::parse(dejavu::sans::regular(), 0)?;
    let mut painted = Vec::new();
    let corners = |points: &[(f64, f64)], closed: bool| {
        let mut path = PathBuilder::new();
        for (number, (x, y)) in points.iter().enumerate() {
            let (x, y) = (*x as f32, *y as f32);
            if number == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        if closed {
            path.close();
        }
        path.finish()
    };
    for shape in &drawing.shapes {
        match shape {
            Shape::Path { points, pen } => {
                painted.extend(corners(points, false).map(|path| Painted::Drawn(path, *pen)));
            }
            Shape::Area { points, colour } => {
                painted.extend(corners(points, true).map(|path| Painted::Filled(path, *colour)));
            }
            Shape::Circle { centre, radius, fill, pen } => {
                let circle = PathBuilder::from_circle(centre.0 as f32, centre.1 as f32, *radius as f32);
                painted.extend(circle.clone().map(|path| Painted::Filled(path, *fill)));
                painted.extend(circle.zip(*pen).map(|(path, pen)| Painted::Drawn(path, pen)));
            }
            Shape::Text { at, anchor, size, colour, text } => {
                painted.extend(letters(&face, text, *at, *anchor, *size).map(|path| Painted::Filled(path, *colour)));
            }
        }
    }
    Ok(painted)
}

/// The glyphs of a text, and its width with letters of height 1. What the font lacks is a box.
fn glyphs(face: &Face<'_>, text: &str) -> (Vec<GlyphId>, f32) {
    let glyphs: Vec<GlyphId> = text.chars().map(|letter| face.glyph_index(letter).unwrap_or(GlyphId(0))).collect();
    let advances = glyphs.iter().map(|glyph| f32::from(face.glyph_hor_advance(*glyph).unwrap_or(0)));
    let width = advances.sum::<f32>() / f32::from(face.units_per_em());
    (glyphs, width)
}

/// A text as one outline; none if nothing of it is to be seen.
fn letters(face: &Face<'_>, text: &str, at: (f64, f64), anchor: Anchor, size: f64) -> Option<Outline> {
    let (glyphs, width) = glyphs(face, text);
    let (size, scale) = (size as f32, size as f32 / f32::from(face.units_per_em()));
    let before = match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    };
    let mut pen = Lettering { path: PathBuilder::new(), x: at.0 as f32 - before * size, y: at.1 as f32, scale };
    for glyph in glyphs {
        face.outline_glyph(glyph, &mut pen);
        pen.x += scale * f32::from(face.glyph_hor_advance(glyph).unwrap_or(0));
    }
    pen.path.finish()
}

/// Puts outlines of glyphs, whose y points upwards, where they belong.
struct Lettering {
    path: PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Lettering {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + self.scale * x, self.y - self.scale * y)
    }
}

impl OutlineBuilder for Lettering {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

fn png(drawing: &Drawing) -> anyhow::Result<Vec<u8>> {
    let pixels = |length: f64| (length as f32 * SHARPNESS).ceil() as u32;
    let Some(mut pixmap) = Pixmap::new(pixels(drawing.width), pixels(drawing.height)) else {
        anyhow::bail!("a picture of {} by {} is too large for PNG; use --format svg", drawing.width, drawing.height)
    };
    pixmap.fill(tiny_skia::Color::WHITE);
    let scale = Transform::from_scale(SHARPNESS, SHARPNESS);
    let paint = |Colour(red, green, blue, share): Colour| {
        let mut paint = Paint::default();
        paint.set_color_rgba8(red, green, blue, (255.0 * share).round() as u8);
        paint
    };
    for painted in outlines(drawing)? {
        match painted {
            Painted::Filled(path, colour) => pixmap.fill_path(&path, &paint(colour), FillRule::Winding, scale, None),
            Painted::Drawn(path, pen) => {
                let dash = pen.dash.and_then(|(dash, gap)| StrokeDash::new(vec![dash as f32, gap as f32], 0.0));
                let (line_join, line_cap) = (LineJoin::Round, LineCap::Butt);
                let stroke = Stroke { width: pen.width as f32, line_join, line_cap, dash, ..Stroke::default() };
                pixmap.stroke_path(&path, &paint(pen.colour), &stroke, scale, None);
            }
        }
    }
    Ok(pixmap.encode_png()?)
}

fn pdf(drawing: &Drawing) -> anyhow::Result<Vec<u8>> {
    /// Points, which PDF counts in, in a 96th of an inch.
    const POINT: f32 = 0.75;
    let [catalogue, pages, page, contents, information] = [1, 2, 3, 4, 5].map(Ref::new);
    let painted = outlines(drawing)?;
    // A state for each degree to which something hides what lies below it.
    let mut shares: Vec<u8> = Vec::new();
    let mut state = |share: f64| {
        let share = (255.0 * share).round() as u8;
        let known = shares.iter().position(|known| *known == share);
        known.unwrap_or_else(|| {
            shares.push(share);
            shares.len() - 1
        })
    };
    let mut content = Content::new();
    content.transform([POINT, 0.0, 0.0, -POINT, 0.0, drawing.height as f32 * POINT]);
    let part = |value: u8| f32::from(value) / 255.0;
    for painted in &painted {
        let (path, Colour(red, green, blue, share)) = match painted {
            Painted::Filled(path, colour) => (path, *colour),
            Painted::Drawn(path, pen) => (path, pen.colour),
        };
        content.set_parameters(Name(format!("a{}", state(share)).as_bytes()));
        if let Painted::Drawn(_, pen) = painted {
            content.set_stroke_rgb(part(red), part(green), part(blue));
            content.set_line_width(pen.width as f32);
            content.set_line_join(pdf_writer::types::LineJoinStyle::RoundJoin);
            content.set_dash_pattern(pen.dash.iter().flat_map(|(dash, gap)| [*dash as f32, *gap as f32]), 0.0);
        } else {
            content.set_fill_rgb(part(red), part(green), part(blue));
        }
        let mut last = (0.0, 0.0);
        for segment in path.segments() {
            match segment {
                PathSegment::MoveTo(to) => {
                    content.move_to(to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::LineTo(to) => {
                    content.line_to(to.x, to.y);
                    last = (to.x, to.y);
                }
                // PDF has cubic curves only.
                PathSegment::QuadTo(by, to) => {
                    let towards = |from: f32, to: f32| from + 2.0 / 3.0 * (to - from);
                    let first = (towards(last.0, by.x), towards(last.1, by.y));
                    content.cubic_to(first.0, first.1, towards(to.x, by.x), towards(to.y, by.y), to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::CubicTo(first, second, to) => {
                    content.cubic_to(first.x, first.y, second.x, second.y, to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::Close => {
                    content.close_path();
                }
            }
        }
        if matches!(painted, Painted::Drawn(..)) {
            content.stroke()
        } else {
            content.fill_nonzero()
        };
    }
    let content = content.finish();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &content)?;
    let packed = packed.finish()?;

    let mut pdf = Pdf::new();
    pdf.catalog(catalogue).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    pdf.document_info(information).title(pdf_writer::TextStr(&drawing.title));
    let mut about = pdf.page(page);
    let (width, height) = (drawing.width as f32 * POINT, drawing.height as f32 * POINT);
    about.parent(pages).media_box(Rect::new(0.0, 0.0, width, height)).contents(contents);
    let mut resources = about.resources();
    let mut states = resources.ext_g_states();
    for (number, share) in shares.iter().enumerate() {
        let mut state =
            states.insert(Name(format!("a{number}").as_bytes())).start::<pdf_writer::writers::ExtGraphicsState>();
        state.non_stroking_alpha(part(*share)).stroking_alpha(part(*share));
    }
    states.finish();
    resources.finish();
    about.finish();
    pdf.stream(contents, &packed).filter(pdf_writer::Filter::FlateDecode);
    Ok(pdf.finish())
}

#[cfg(test)]
mod tests {
    use sparsam_train::plot::{Axis, Line, Panel, Size, Unit};

    use super::*;

    fn picture() -> Picture {
        let lines = vec![
            Line { band: vec![(1.0, 3.0), (0.0, 2.0)], ..Line::new("SAM", vec![(100.0, 2.0), (1e5, 0.1)]) },
            Line::guessing(84.0, 100.0, 1e5),
        ];
        let y = Axis { least: Some(1e-5), ..Axis::new("loss, bits per sequence ± × ÷ µ", Unit::Loss) };
        Picture {
            title: "copy".into(),
            subtitle: "a name in 日本語".into(),
            x: Axis::new("sequences trained on", Unit::Count),
            panels: vec![Panel { y, lines, marks: Vec::new() }],
            size: Size::Column,
        }
    }

    #[test]
    fn a_png_shows_letters_and_bands() {
        let bytes = encode(&picture(), Format::Png).unwrap();
        let pixmap = Pixmap::decode_png(&bytes).unwrap();
        assert_eq!(pixmap.width(), 1360);
        let (mut dark, mut pale) = (0, 0);
        for pixel in pixmap.pixels() {
            let (red, green, blue) = (pixel.red(), pixel.green(), pixel.blue());
            dark += usize::from(red < 80 && green < 80 && blue < 90);
            pale += usize::from(blue > 240 && red < 235 && red > 180);
        }
        assert!(dark > 5000 && pale > 20_000, "{dark} {pale}");
        // The title alone takes pixels at the upper left.
        let row = |y: u32| (0..400).filter(|x| pixmap.pixel(*x, y).is_some_and(|pixel| pixel.red() < 100)).count();
        assert!((30..90).map(row).sum::<usize>() > 300);
    }

    #[test]
    fn a_pdf_is_one_page_as_wide_as_a_column() {
        let bytes = encode(&picture(), Format::Pdf).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("%PDF-1.7") && text.trim_end().ends_with("%%EOF"));
        assert!(text.contains("/MediaBox [0 0 255 ") && text.contains("/Count 1") && text.contains("/ca "), "{text}");
    }

    #[test]
    fn the_room_for_texts_is_that_of_a_wide_font() {
        let face = Face::parse(dejavu::sans::regular(), 0).unwrap();
        let mut picture = picture();
        for text in
            ["SAM, learning rate 0.0003", "SDNC, batch size 16, index ivf", "sequences trained on", "10⁻¹²", "≤ 0.0001"]
        {
            // The legend alone has as much room as a row.
            picture.panels[0].lines[0].name = text.into();
            let drawing = picture.drawing();
            let Some(Shape::Text { at, size, .. }) =
                drawing.shapes.iter().find(|shape| matches!(shape, Shape::Text { text: of, .. } if of == text))
            else {
                panic!("{text} is not in one line")
            };
            let after = drawing.shapes.iter().find_map(|shape| match shape {
                Shape::Text { at: other, text, .. } if other.1 == at.1 && text == "guessing" => Some(other.0),
                _ => None,
            });
            let end = at.0 + f64::from(glyphs(&face, text).1) * size;
            assert!(after.is_none_or(|after| end < after), "{text}: {end} and {after:?}");
        }
    }

    #[test]
    fn endings_say_the_format() {
        for (name, format) in
            [("a.svg", Format::Svg), ("a/b.PNG", Format::Png), ("c.pdf", Format::Pdf), ("d", Format::Svg)]
        {
            assert_eq!(Format::of(Path::new(name)).ok(), Some(format));
        }
        assert!(Format::of(Path::new("a.jpg")).is_err());
    }
}
