//! Text inside of XML.

use std::fmt::{self, Display, Formatter};

/// Text with the characters that mean something in XML written out, and those that XML forbids replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for letter in self.0.chars() {
            match letter {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\n' | '\t' => formatter.write_char(letter)?,
                letter if letter < ' ' || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                    formatter.write_char('\u{fffd}')?;
                }
                letter => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A length with at most one decimal.
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        if tenths % 10 == 0 {
            write!(formatter, "{}", tenths / 10)
        } else {
            write!(formatter, "{:.1}", tenths as f64 / 10.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_control_characters_are_escaped() {
        let text = Escaped("a<b> & \"c\"\u{1}\u{e9}").to_string();
        assert_eq!(text, "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\u{e9}");
    }

    #[test]
    fn lengths_are_short() {
        let texts = [Px(2.0), Px(-0.04), Px(3.25), Px(-7.5)].map(|length| length.to_string());
        assert_eq!(texts, ["2", "0", "3.3", "-7.5"]);
    }
}
