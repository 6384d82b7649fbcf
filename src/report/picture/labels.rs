//! What stands in a box, and how large that makes it.

use super::{BoxKind, PictureBox, Side};
use crate::report::units::count;

/// Height of a line of text.
pub(super) const LINE: f64 = 17.0;
/// Height of a bar of families.
pub(super) const BAR: f64 = 18.0;
/// From the edge of a box to what stands in it.
pub(super) const PADDING: f64 = 8.0;
/// Narrowest stretch of a bar that holds a number.
pub(super) const CHIP: f64 = 30.0;
const WIDEST: f64 = 260.0;
const NARROWEST: f64 = 100.0;
const LAYER: f64 = 200.0;
/// Widths are multiples of this, so that boxes line up.
const STEP: f64 = 20.0;
/// Lines of operators.
const OPERATOR_LINES: usize = 3;

/// The texts of a box.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    /// Lines of operators, in bold type.
    pub(super) head: Vec<String>,
    /// Name, dimensions, multiply-accumulates.
    pub(super) body: Vec<String>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The width of a text in the widest of the fonts that are asked for, in pixels at size 12.
pub(super) fn text_width(text: &str, bold: bool) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '\u{b7}' => 4.1,
        'f' | 't' | 'r' | '/' | '(' | ')' | '[' | ']' | '-' | '\\' => 5.0,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '\u{2026}' => 12.0,
        'A'..='Z' | '\u{d7}' | '+' | '=' | '<' | '>' | '~' => 9.2,
        letter if letter.is_ascii() => 7.6,
        _ => 12.0,
    };
    text.chars().map(width).sum::<f64>() * if bold { 1.12 } else { 1.0 }
}

/// The end of a text that is too wide, behind an ellipsis.
fn fitted(text: &str, bold: bool) -> String {
    let room = WIDEST - 2.0 * PADDING;
    if text_width(text, bold) <= room {
        return text.to_owned();
    }
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
    let end = starts.iter().map(|&start| format!("\u{2026}{}", &text[start..]));
    end.into_iter().find(|end| text_width(end, bold) <= room).unwrap_or_default()
}

/// The parts of a node's name that say something: no operator at the end, no part that the next one repeats.
pub(super) fn short_name(name: &str, operator: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.last() == Some(&operator) {
        parts.pop();
    }
    let repeated = |index: usize| {
        let next = parts.get(index + 1).and_then(|next| next.strip_prefix(parts[index]));
        next.is_some_and(|rest| rest.starts_with(['.', '_']))
    };
    let kept: Vec<&str> =
        (0..parts.len()).filter(|&index| !repeated(index)).map(|index| parts[index]).collect();
    let short = kept.join("/");
    if short == operator { String::new() } else { short }
}

fn operator_lines(operators: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, operator) in operators.iter().enumerate() {
        let longer = lines.last().map(|line| format!("{line} \u{b7} {operator}"));
        let full = lines.len() == OPERATOR_LINES;
        match (longer, lines.last_mut()) {
            (Some(longer), Some(last)) if text_width(&longer, true) <= LAYER => *last = longer,
            (_, Some(last)) if full => {
                *last = format!("{last} +{}", operators.len() - index);
                break;
            }
            _ => lines.push(operator.clone()),
        }
    }
    lines.iter().map(|line| fitted(line, true)).collect()
}

pub(super) fn has_bar(side: &Side) -> bool {
    side.pinned || !side.families.is_empty()
}

pub(super) fn label(item: &PictureBox) -> Label {
    let first = item.operators.first().map_or("", String::as_str);
    let mut body = Vec::new();
    let name = item.names.first().map(|name| short_name(name, first)).unwrap_or_default();
    if !name.is_empty() && item.kind != BoxKind::End {
        body.push(fitted(&name, false));
    }
    let dims: Vec<String> = item.output.iter().map(ToString::to_string).collect();
    let mut facts = if dims.is_empty() { "scalar".to_owned() } else { dims.join(" \u{d7} ") };
    if item.macs > 0 {
        facts = format!("{facts}  \u{b7}  {} MACs", count(item.macs));
    }
    body.push(fitted(&facts, false));
    let head = match item.kind {
        BoxKind::End => item.names.iter().map(|name| fitted(name, true)).collect(),
        _ => operator_lines(&item.operators),
    };
    let text = head.iter().map(|line| text_width(line, true));
    let text = text.chain(body.iter().map(|line| text_width(line, false))).fold(0.0, f64::max);
    let least = if item.kind == BoxKind::Layer { LAYER } else { NARROWEST };
    let bars = [&item.reads, &item.makes].into_iter().filter(|side| has_bar(side)).count();
    Label {
        width: (((text + 2.0 * PADDING) / STEP).ceil() * STEP).clamp(least, WIDEST),
        height: (head.len() + body.len()) as f64 * LINE + 10.0 + bars as f64 * (BAR + 4.0),
        head,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_is_said_twice() {
        let cases = [
            ("/layer1/layer1.0/conv1/Conv", "Conv", "layer1.0/conv1"),
            ("/layer2/layer2.0/downsample/downsample.0/Conv", "Conv", "layer2.0/downsample.0"),
            ("/blocks/blocks.0/attn/MatMul_1", "MatMul", "blocks.0/attn/MatMul_1"),
            ("node_conv2d_3", "Conv", "node_conv2d_3"),
            ("/Add", "Add", ""),
            ("", "Add", ""),
        ];
        for (name, operator, short) in cases {
            assert_eq!(short_name(name, operator), short);
        }
    }

    #[test]
    fn texts_fit_their_boxes() {
        let operators: Vec<String> = (0..40).map(|index| format!("Operator{index}")).collect();
        let lines = operator_lines(&operators);
        assert_eq!(lines.len(), OPERATOR_LINES);
        assert!(lines.last().is_some_and(|line| line.contains(" +")), "{lines:?}");
        let long = fitted(&"name/".repeat(60), false);
        assert!(long.starts_with('\u{2026}') && text_width(&long, false) <= WIDEST, "{long}");
    }
}
