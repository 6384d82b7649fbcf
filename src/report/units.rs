//! Numbers with units that people read.

/// A count with three digits and a decimal prefix: `9.35 M`.
pub(super) fn count(value: u64) -> String {
    scaled(value as f64, &["", " k", " M", " G", " T", " P", " E"])
}

/// Bytes with three digits and a decimal prefix: `320 kB`.
pub(super) fn bytes(value: u64) -> String {
    scaled(value as f64, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut place = 0;
    while value >= 999.5 && place + 1 < units.len() {
        value /= 1000.0;
        place += 1;
    }
    let digits = match value {
        _ if place == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", units[place])
}

/// A share of 1 in per cent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Milliseconds with three digits.
pub(super) fn milliseconds(value: f64) -> String {
    let digits = match value {
        value if value < 9.995 => 3,
        value if value < 99.95 => 2,
        _ => 1,
    };
    format!("{value:.digits$} ms")
}

/// Seconds, as minutes and hours when there are many.
pub(super) fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..60 => format!("{value:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (count(0), "0"),
            (count(999), "999"),
            (count(1000), "1.00 k"),
            (count(77_754), "77.8 k"),
            (count(999_499), "999 k"),
            (count(999_500), "1.00 M"),
            (count(9_345_920), "9.35 M"),
            (count(u64::MAX), "18.4 E"),
            (bytes(12), "12 B"),
            (bytes(320_394), "320 kB"),
            (percent(0.926), "92.60 %"),
            (milliseconds(0.4123), "0.412 ms"),
            (milliseconds(123.45), "123.5 ms"),
            (seconds(59.4), "59.4 s"),
            (seconds(61.0), "1 min 01 s"),
            (seconds(3660.0), "1 h 01 min"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }
}
