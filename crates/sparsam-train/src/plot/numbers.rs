//! Numbers as a person reads them.

/// Three significant digits and a unit: 1.23 ms.
pub fn seconds(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 0.9995 => (value, "s"),
        size if size >= 0.9995e-3 => (value * 1e3, "ms"),
        size if size >= 0.9995e-6 => (value * 1e6, "µs"),
        _ => (value * 1e9, "ns"),
    };
    format!("{} {unit}", significant(scaled))
}

/// Three significant digits and a binary unit: 7.80 MiB.
pub fn bytes(value: f64) -> String {
    let (mut scaled, mut units) = (value, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().peekable());
    while scaled.abs() >= 999.5 && units.len() > 1 {
        scaled /= 1024.0;
        units.next();
    }
    format!("{} {}", significant(scaled), units.peek().copied().unwrap_or(&"B"))
}

/// Three significant digits: 98.8.
pub fn significant(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A number of words as on the axis: 64, 16k, 1M with k for 1024; those that are none of these are grouped.
pub fn words(count: usize) -> String {
    match count {
        count if count >= 1 << 20 && count.is_multiple_of(1 << 20) => format!("{}M", count >> 20),
        count if count >= 1 << 10 && count.is_multiple_of(1 << 10) => format!("{}k", count >> 10),
        count if count >= 1_000_000 && count.is_multiple_of(1_000_000) => format!("{}·10⁶", count / 1_000_000),
        count => grouped(count as u64),
    }
}

/// A count with its thousands apart: 20,000.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number as an axis shows it: 1500000 is 1.5M with M for a million, and 0.00001 is 10⁻⁵.
pub(super) fn count(value: f64) -> String {
    if value > 0.0 && value < 0.999e-4 {
        return tiny(value);
    }
    let (scaled, suffix) = match value {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled < 1.0 { 5 } else { 3 };
    let rounded = format!("{scaled:.digits$}");
    format!("{}{suffix}", rounded.trim_end_matches('0').trim_end_matches('.'))
}

/// A power of ten, with a digit before it if that is not 1: 2·10⁻⁷.
fn tiny(value: f64) -> String {
    let text = format!("{value:.0e}");
    let Some((digit, power)) = text.split_once('e') else { return text };
    let raised = |sign: char| match sign {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32('⁰' as u32 + digit)).unwrap_or(digit),
    };
    let power: String = power.chars().map(raised).collect();
    if digit == "1" { format!("10{power}") } else { format!("{digit}·10{power}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.1 + 0.2, 1e-4, 1e-5, 2e-12, 10.0, 999.0, 1000.0, 12_500.0, 1.5e6];
        let expected = ["0", "0.3", "0.0001", "10⁻⁵", "2·10⁻¹²", "10", "999", "1000", "12.5k", "1.5M"];
        assert_eq!(numbers.map(count), expected);
    }
}
