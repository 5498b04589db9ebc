//! Drawings as SVG.

use ::svg::node::element::{Circle, Polygon, Polyline, Rectangle, Text, Title};
use ::svg::{Document, Node};

use super::{Anchor, Colour, Drawing, Pen, Shape};

/// The drawing in a text.
pub(super) fn write(drawing: &Drawing) -> String {
    let (width, height) = (drawing.width, drawing.height);
    let mut document = Document::new()
        .set("width", width)
        .set("height", height)
        .set("viewBox", (0, 0, width, height))
        .set("font-family", "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif")
        .add(Title::new(drawing.title.as_str()))
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"));
    for shape in &drawing.shapes {
        document = match shape {
            Shape::Path { points, pen } => {
                let line = Polyline::new().set("points", told(points)).set("fill", "none");
                document.add(stroked(line.set("stroke-linejoin", "round"), pen))
            }
            Shape::Area { points, colour } => document.add(filled(Polygon::new().set("points", told(points)), colour)),
            Shape::Circle { centre, radius, fill, pen } => {
                let circle = Circle::new().set("cx", short(centre.0)).set("cy", short(centre.1));
                let circle = filled(circle.set("r", short(*radius)), fill);
                document.add(match pen {
                    Some(pen) => stroked(circle, pen),
                    None => circle,
                })
            }
            Shape::Text { at, anchor, size, colour, text } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                let text = Text::new(text.as_str()).set("x", short(at.0)).set("y", short(at.1));
                document.add(filled(text.set("font-size", short(*size)).set("text-anchor", anchor), colour))
            }
        };
    }
    format!("{document}\n")
}

/// A length to a hundredth.
fn short(length: f64) -> f64 {
    (100.0 * length).round() / 100.0
}

fn told(points: &[(f64, f64)]) -> String {
    let point = |(x, y): &(f64, f64)| format!("{},{}", short(*x), short(*y));
    points.iter().map(point).collect::<Vec<_>>().join(" ")
}

fn filled<N: Node>(mut node: N, Colour(red, green, blue, share): &Colour) -> N {
    node.assign("fill", format!("#{red:02x}{green:02x}{blue:02x}"));
    if *share < 1.0 {
        node.assign("fill-opacity", short(*share));
    }
    node
}

fn stroked<N: Node>(mut node: N, pen: &Pen) -> N {
    let Colour(red, green, blue, share) = pen.colour;
    node.assign("stroke", format!("#{red:02x}{green:02x}{blue:02x}"));
    node.assign("stroke-width", short(pen.width));
    if share < 1.0 {
        node.assign("stroke-opacity", short(share));
    }
    if let Some((dash, gap)) = pen.dash {
        node.assign("stroke-dasharray", format!("{} {}", short(dash), short(gap)));
    }
    node
}
