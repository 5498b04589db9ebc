//! Tables for people and for programs.

use serde_json::Value;
use sparsam_train::plot::significant;

/// How many times one is the other: 12,300 or 1.43.
pub fn ratio(value: f64) -> String {
    if value.abs() >= 999.5 { crate::display::grouped(value.round() as u64) } else { significant(value) }
}

/// Pads to a width in characters: text to the left, numbers (`right`) to the right.
pub fn row(cells: &[(&str, usize, bool)]) -> String {
    let mut line = String::new();
    for (number, (text, width, right)) in cells.iter().enumerate() {
        if number > 0 {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        let (before, after) = if *right { (padding.as_str(), "") } else { ("", padding.as_str()) };
        line.push_str(before);
        line.push_str(text);
        line.push_str(after);
    }
    line.trim_end().to_owned()
}

/// Objects as comma-separated values (RFC 4180): a column for each field that any of them has, in the order in which
/// they first occur; the fields of an object within are columns of their own.
pub fn csv(points: &[Value]) -> String {
    let mut header: Vec<String> = Vec::new();
    let flat: Vec<_> = points
        .iter()
        .map(|point| {
            let mut fields = Vec::new();
            flatten("", point, &mut fields);
            for (name, _) in &fields {
                if !header.contains(name) {
                    header.push(name.clone());
                }
            }
            fields
        })
        .collect();
    let mut text = header.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",") + "\r\n";
    for fields in flat {
        let cell = |name: &String| fields.iter().find(|field| field.0 == *name).map_or(String::new(), |f| quoted(&f.1));
        text += &(header.iter().map(cell).collect::<Vec<_>>().join(",") + "\r\n");
    }
    text
}

fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Object(inner) => {
            for (field, value) in inner {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, fields);
            }
            return;
        }
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    fields.push((name.to_owned(), text));
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use sparsam_train::plot::{bytes, seconds, words};

    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let times = [0.0, 3e-8, 9.9999e-4, 1.234e-3, 0.0126, 0.12, 12.0, 345.6].map(seconds);
        assert_eq!(times, ["0 ns", "30.0 ns", "1.00 ms", "1.23 ms", "12.6 ms", "120 ms", "12.0 s", "346 s"]);
        let sizes = [0.0, 1000.0, 1024.0, 8_178_892.8, 31_138_512_896.0].map(bytes);
        assert_eq!(sizes, ["0 B", "0.98 KiB", "1.00 KiB", "7.80 MiB", "29.0 GiB"]);
        assert_eq!([0.5, 43.21, 999.4, 1714.3].map(ratio), ["0.50", "43.2", "999", "1,714"]);
        assert_eq!([64, 1024, 1000, 1 << 20, 10_000_000].map(words), ["64", "1k", "1,000", "1M", "10·10⁶"]);
    }

    #[test]
    fn cells_that_need_quotes_get_them() {
        let points = [json!({"a": "x, \"y\"", "b": {"c": 1.5}}), json!({"a": null, "d": "two\nlines"})];
        let expected = "a,b.c,d\r\n\"x, \"\"y\"\"\",1.5,\r\n,,\"two\nlines\"\r\n";
        assert_eq!(csv(&points), expected);
        assert_eq!(csv(&[]), "\r\n");
    }

    #[test]
    fn columns_stand_below_each_other() {
        assert_eq!(row(&[("µs", 4, true), ("NTM", 5, false), ("1", 3, true)]), "  µs  NTM      1");
    }
}
