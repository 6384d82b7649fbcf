//! The picture as SVG text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::colours::{Colour, PINNED};
use super::labels::{BAR, CHIP, LINE, Label, PADDING, has_bar, label, text_width};
use super::layers::Link;
use super::layout::{Area, Layout, Stretch, layout};
use super::xml::{Escaped, Px};
use super::{BoxKind, Picture, PictureBox, Side, legend};

const MARGIN: f64 = 28.0;
const BESIDE_LEGEND: f64 = 48.0;
/// Height of an arrow's head.
const ARROW: f64 = 7.0;

const STYLE: &str = "\
text { font: 12px system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #1f2937; }
text.title { font-size: 18px; font-weight: bold; }
.head { font-weight: bold; }
text.fact { fill: #5b6472; }
.middle { text-anchor: middle; }
.layer rect.box { fill: #ffffff; stroke: #8b95a5; }
.step rect.box { fill: #f3f5f8; stroke: #cfd6e0; }
.end rect.box { fill: #e3e8ef; stroke: #8b95a5; }
.line path { fill: none; stroke-width: 2; }
.line path.twice { stroke-width: 3; }
.line path.second { stroke-dasharray: 8 8; }
.line path.head { stroke: none; }
";

/// How something is filled: with the colour of a family, hatched when it is approximate.
pub(super) struct Fill {
    colour: Colour,
    pattern: Option<usize>,
}

impl Fill {
    pub(super) fn family(number: usize, approximate: bool) -> Self {
        Self { colour: Colour::of(number), pattern: approximate.then_some(number) }
    }

    pub(super) fn pinned() -> Self {
        Self { colour: PINNED, pattern: None }
    }

    /// A bar with a text in its middle, at `(x, y, width, height)`.
    pub(super) fn bar(&self, svg: &mut String, place: (f64, f64, f64, f64), text: &str) -> fmt::Result {
        let (x, y, width, height) = place;
        let (ink, colour) = (self.colour.ink(), self.colour);
        let rect = |svg: &mut String, x: f64, width: f64, fill: &str| {
            let (left, top, width, height) = (Px(x), Px(y), Px(width), Px(height));
            writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\" fill=\"{fill}\"/>"
            )
        };
        let middle = x + width / 2.0;
        match self.pattern {
            None => rect(svg, x, width, &colour.to_string())?,
            Some(number) => {
                rect(svg, x, width, &format!("url(#hatch-{number})"))?;
                let room = (text_width(text, true) + 10.0).min(width);
                rect(svg, middle - room / 2.0, room, &colour.to_string())?;
            }
        }
        let baseline = Px(y + height / 2.0 + 4.3);
        let middle = Px(middle);
        writeln!(
            svg,
            "<text class=\"middle head\" x=\"{middle}\" y=\"{baseline}\" style=\"fill:{ink}\">{text}</text>"
        )
    }
}

/// What a viewer shows when the pointer rests on the element that this is written into.
pub(super) fn tooltip(svg: &mut String, lines: impl IntoIterator<Item = String>) -> fmt::Result {
    let lines: Vec<String> = lines.into_iter().collect();
    writeln!(svg, "<title>{}</title>", Escaped(&lines.join("\n")))
}

struct Drawing<'a> {
    picture: &'a Picture,
    labels: Vec<Label>,
    layout: Layout,
    /// By trunk: the box where it starts, its families, and the boxes where it ends.
    trunks: Vec<(usize, &'a [usize], Vec<usize>)>,
}

pub(super) fn svg(picture: &Picture) -> String {
    let labels: Vec<Label> = picture.boxes.iter().map(label).collect();
    let sizes: Vec<(f64, f64)> = labels.iter().map(|label| (label.width, label.height)).collect();
    let mut trunks: Vec<(usize, &[usize], Vec<usize>)> = Vec::new();
    let mut number: BTreeMap<(usize, &[usize]), usize> = BTreeMap::new();
    let mut links = Vec::new();
    for line in picture.lines.iter().filter(|line| line.from < line.to && line.to < sizes.len()) {
        let families: &[usize] = &line.families;
        let trunk = *number.entry((line.from, families)).or_insert_with(|| {
            trunks.push((line.from, families, Vec::new()));
            trunks.len() - 1
        });
        if !trunks[trunk].2.contains(&line.to) {
            trunks[trunk].2.push(line.to);
            links.push(Link { from: line.from, to: line.to, trunk });
        }
    }
    let layout = layout(&sizes, &links);
    let mut text = String::new();
    // Writing to a string does not fail.
    let written = Drawing { picture, labels, layout, trunks }.write(&mut text);
    debug_assert!(written.is_ok());
    text
}

impl Drawing<'_> {
    fn write(&self, svg: &mut String) -> fmt::Result {
        let mut legend = String::new();
        let legend_height = legend::write(&mut legend, self.picture)?;
        let top = MARGIN + 26.0 + self.picture.facts.len() as f64 * LINE + 20.0;
        let left = MARGIN + legend::WIDTH + BESIDE_LEGEND;
        let title = text_width(&self.picture.title, true) * 1.5;
        let facts = self.picture.facts.iter().map(|line| text_width(line, false)).fold(title, f64::max);
        let width = (left + self.layout.width).max(MARGIN + facts) + MARGIN;
        let height = top + legend_height.max(self.layout.height) + MARGIN;
        let (width, height) = (width.ceil(), height.ceil());
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title\">"
        )?;
        writeln!(svg, "<title id=\"title\">{}</title>", Escaped(&self.picture.title))?;
        writeln!(svg, "<style>\n{STYLE}</style>")?;
        self.patterns(svg)?;
        writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>")?;
        let mut baseline = MARGIN + 16.0;
        writeln!(
            svg,
            "<text class=\"title\" x=\"{MARGIN}\" y=\"{baseline}\">{}</text>",
            Escaped(&self.picture.title)
        )?;
        baseline += 6.0;
        for line in &self.picture.facts {
            baseline += LINE;
            writeln!(svg, "<text class=\"fact\" x=\"{MARGIN}\" y=\"{baseline}\">{}</text>", Escaped(line))?;
        }
        writeln!(svg, "<g transform=\"translate({MARGIN} {top})\">\n{legend}</g>")?;
        writeln!(svg, "<g transform=\"translate({left} {top})\">")?;
        for (trunk, stretches) in self.trunks.iter().zip(&self.layout.trunks) {
            self.line(svg, trunk, stretches)?;
        }
        for ((item, label), area) in self.picture.boxes.iter().zip(&self.labels).zip(&self.layout.boxes) {
            self.item(svg, item, label, area)?;
        }
        writeln!(svg, "</g>\n</svg>")
    }

    fn patterns(&self, svg: &mut String) -> fmt::Result {
        writeln!(svg, "<defs>")?;
        for number in (0..self.picture.families.len()).filter(|&number| self.approximate(number)) {
            let colour = Colour::of(number);
            writeln!(
                svg,
                "<pattern id=\"hatch-{number}\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" \
                 patternTransform=\"rotate(45)\"><rect width=\"7\" height=\"7\" fill=\"{colour}\"/>\
                 <rect width=\"2.5\" height=\"7\" fill=\"#ffffff\"/></pattern>"
            )?;
        }
        writeln!(svg, "</defs>")
    }

    fn approximate(&self, family: usize) -> bool {
        self.picture.families.get(family).is_some_and(|family| !family.exact)
    }

    fn name(&self, item: usize) -> String {
        let names = self.picture.boxes.get(item).map(|item| item.names.as_slice());
        names.and_then(<[String]>::first).cloned().unwrap_or_default()
    }

    fn line(
        &self,
        svg: &mut String,
        trunk: &(usize, &[usize], Vec<usize>),
        stretches: &[Stretch],
    ) -> fmt::Result {
        let (from, families, to) = trunk;
        let mut path = String::new();
        let mut heads = String::new();
        for Stretch { start, bend, end, stop, arrives } in stretches {
            let (x, y) = (Px(start.0), Px(start.1));
            write!(path, "M{x} {y}V{}", Px(*bend))?;
            if (start.0 - end.0).abs() > 0.05 {
                let turn = Px(f64::midpoint(*bend, end.1));
                write!(path, "C{x} {turn} {} {turn} {} {}", Px(end.0), Px(end.0), Px(end.1))?;
            }
            write!(path, "V{}", Px(if *arrives { stop - ARROW + 1.0 } else { *stop }))?;
            if *arrives {
                write!(heads, "M{} {}l-4 -{ARROW}h8z", Px(end.0), Px(*stop))?;
            }
        }
        let colours: Vec<Colour> = families.iter().map(|&family| Colour::of(family)).collect();
        let first = colours.first().copied().unwrap_or(PINNED);
        writeln!(svg, "<g class=\"line\">")?;
        let ends = to.iter().map(|&to| format!("to {}", self.name(to)));
        let carried: Vec<String> = families.iter().map(ToString::to_string).collect();
        let carried = (!carried.is_empty()).then(|| format!("families {}", carried.join(", ")));
        tooltip(svg, [format!("from {}", self.name(*from))].into_iter().chain(ends).chain(carried))?;
        let class = if colours.len() > 1 { " class=\"twice\"" } else { "" };
        writeln!(svg, "<path{class} d=\"{path}\" stroke=\"{first}\"/>")?;
        if let Some(second) = colours.get(1) {
            writeln!(svg, "<path class=\"twice second\" d=\"{path}\" stroke=\"{second}\"/>")?;
        }
        if !heads.is_empty() {
            writeln!(svg, "<path class=\"head\" style=\"fill:{first}\" d=\"{heads}\"/>")?;
        }
        writeln!(svg, "</g>")
    }

    fn item(&self, svg: &mut String, item: &PictureBox, label: &Label, area: &Area) -> fmt::Result {
        let (class, round) = match item.kind {
            BoxKind::Layer => ("layer", 7.0),
            BoxKind::Step => ("step", 7.0),
            BoxKind::End => ("end", 20.0),
        };
        writeln!(svg, "<g class=\"{class}\">")?;
        let nodes = item.names.iter().enumerate();
        let nodes = nodes.map(|(index, name)| match item.operators.get(index) {
            Some(operator) => format!("{operator} {name}"),
            None => name.clone(),
        });
        tooltip(svg, nodes.chain(item.axes.iter().cloned()))?;
        writeln!(
            svg,
            "<rect class=\"box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\"/>",
            Px(area.x),
            Px(area.y),
            Px(area.width),
            Px(area.height)
        )?;
        let mut y = area.y + 4.0;
        if has_bar(&item.reads) {
            self.bar(svg, &item.reads, "in", area, y)?;
            y += BAR + 4.0;
        }
        y += 13.5;
        let middle = Px(area.centre());
        for (class, line) in
            label.head.iter().map(|line| ("head", line)).chain(label.body.iter().map(|line| ("fact", line)))
        {
            writeln!(
                svg,
                "<text class=\"middle {class}\" x=\"{middle}\" y=\"{}\">{}</text>",
                Px(y),
                Escaped(line)
            )?;
            y += LINE;
        }
        if has_bar(&item.makes) {
            self.bar(svg, &item.makes, "out", area, area.bottom() - 4.0 - BAR)?;
        }
        writeln!(svg, "</g>")
    }

    /// The families of one side of a box, side by side; those that find no room are counted.
    fn bar(&self, svg: &mut String, side: &Side, what: &str, area: &Area, y: f64) -> fmt::Result {
        let (x, width) = (area.x + PADDING / 2.0, area.width - PADDING);
        let count = side.families.len();
        if count == 0 {
            return Fill::pinned().bar(svg, (x, y, width, BAR), &format!("{what} fixed"));
        }
        let most = (width / CHIP) as usize;
        let shown = if count <= most { count } else { most.saturating_sub(1) };
        let parts = shown + usize::from(shown < count);
        let part = width / parts as f64;
        for (index, &family) in side.families[..shown].iter().enumerate() {
            let text =
                if index == 0 && part > 2.0 * CHIP { format!("{what} {family}") } else { family.to_string() };
            let place =
                (x + index as f64 * part, y, part - f64::from(u8::from(index + 1 < parts)) * 2.0, BAR);
            Fill::family(family, self.approximate(family)).bar(svg, place, &text)?;
        }
        if shown < count {
            let place = (x + shown as f64 * part, y, part, BAR);
            Fill::pinned().bar(svg, place, &format!("+{}", count - shown))?;
        }
        Ok(())
    }
}
