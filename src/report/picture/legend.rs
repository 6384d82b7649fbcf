//! The column that says what the colours mean.

use std::fmt::{self, Write as _};

use super::drawing::{Fill, tooltip};
use super::labels::{LINE, text_width};
use super::xml::{Escaped, Px};
use super::{FamilyFigures, Picture};
use crate::report::units::count;

/// Width of the column.
pub(super) const WIDTH: f64 = 340.0;
const SWATCH: f64 = 40.0;
const TEXT: f64 = SWATCH + 10.0;

/// Words in lines that are no wider than `room`.
pub(super) fn wrapped(text: &str, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, false) + text_width(word, false) + 5.0 <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn entry(svg: &mut String, number: usize, family: &FamilyFigures, top: f64) -> Result<f64, fmt::Error> {
    let FamilyFigures { groups, macs_per_group, params_per_group, .. } = family;
    let fill = Fill::family(number, !family.exact);
    let members = family.members.iter();
    let members = members.map(|member| format!("{} {} axis {}", member.role, member.tensor, member.axis));
    writeln!(svg, "<g class=\"family\" id=\"family-{number}\">")?;
    tooltip(svg, [format!("Family {number}")].into_iter().chain(members))?;
    fill.bar(svg, (0.0, top, SWATCH, 20.0), &number.to_string())?;
    let mut baseline = top + 14.0;
    let kind = if family.exact { "exact" } else { "approximate" };
    let noun = if *groups == 1 { "group" } else { "groups" };
    writeln!(
        svg,
        "<text x=\"{TEXT}\" y=\"{}\"><tspan class=\"head\">{groups} {noun}</tspan>, {kind}</text>",
        Px(baseline)
    )?;
    let share = format!("a group: {} MACs, {} parameters", count(*macs_per_group), count(*params_per_group));
    let reason = family.reason.iter().flat_map(|reason| wrapped(&format!("because {reason}"), WIDTH - TEXT));
    for line in [share].into_iter().chain(reason) {
        baseline += LINE;
        writeln!(svg, "<text class=\"fact\" x=\"{TEXT}\" y=\"{}\">{}</text>", Px(baseline), Escaped(&line))?;
    }
    writeln!(svg, "</g>")?;
    Ok(baseline + 14.0)
}

/// Writes the legend with its upper left corner at the origin. Gives its height.
pub(super) fn write(svg: &mut String, picture: &Picture) -> Result<f64, fmt::Error> {
    writeln!(svg, "<text class=\"head\" y=\"12\">Families of groups</text>")?;
    let mut baseline = 12.0;
    let how = "A bar at the top of a box: the channels that its weights read; at the bottom: those that they make. \
               Lines have the colours of the channels that they carry. What has one colour shrinks together.";
    for line in wrapped(how, WIDTH) {
        baseline += LINE;
        writeln!(svg, "<text class=\"fact\" y=\"{}\">{}</text>", Px(baseline), Escaped(&line))?;
    }
    let mut top = baseline + 16.0;
    for (number, family) in picture.families.iter().enumerate() {
        top = entry(svg, number, family, top)?;
    }
    Fill::pinned().bar(svg, (0.0, top, SWATCH, 20.0), "fixed")?;
    writeln!(svg, "<text x=\"{TEXT}\" y=\"{}\">may not shrink</text>", Px(top + 14.0))?;
    Ok(top + 24.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 60.0), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 5.0), ["unbreakable"]);
    }
}
