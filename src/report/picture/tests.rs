//! The layout of random graphs, and the text of small pictures.

use proptest::prelude::*;

use super::layers::{Link, layered};
use super::layout::{Layout, layout};
use super::order::{crossings, reorder};
use super::{BoxKind, Picture, PictureBox, PictureLine, Side};
use crate::report::FamilyFigures;

/// Sizes of boxes and links between them; each box has one trunk, or two.
fn graphs() -> impl Strategy<Value = (Vec<(f64, f64)>, Vec<Link>)> {
    let size = (2_u32..26, 2_u32..12).prop_map(|(width, height)| (width as f64 * 10.0, height as f64 * 10.0));
    let sizes = prop::collection::vec(size, 1..40);
    (sizes, prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 0..80)).prop_map(
        |(sizes, pairs)| {
            let mut links: Vec<Link> = Vec::new();
            for (a, b, second) in pairs {
                let (a, b) = (a as usize % sizes.len(), b as usize % sizes.len());
                let link = Link { from: a.min(b), to: a.max(b), trunk: 2 * a.min(b) + usize::from(second) };
                if a != b && !links.contains(&link) {
                    links.push(link);
                }
            }
            (sizes, links)
        },
    )
}

fn overlap(layout: &Layout) -> Option<(usize, usize)> {
    let areas = &layout.boxes;
    let pairs = (0..areas.len()).flat_map(|a| (a + 1..areas.len()).map(move |b| (a, b)));
    pairs.into_iter().find(|&(a, b)| {
        let (a, b) = (&areas[a], &areas[b]);
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.bottom() && b.y < a.bottom()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn boxes_are_apart_and_lines_lead_down_beside_them((sizes, links) in graphs()) {
        let found = layout(&sizes, &links);
        prop_assert_eq!(found.boxes.len(), sizes.len());
        prop_assert_eq!(overlap(&found), None);
        for area in &found.boxes {
            prop_assert!(area.x >= -1e-6 && area.x + area.width <= found.width + 1e-6, "{:?}", area);
            prop_assert!(area.y >= -1e-6 && area.bottom() <= found.height + 1e-6, "{:?}", area);
        }
        for link in &links {
            prop_assert!(found.boxes[link.from].bottom() < found.boxes[link.to].y);
        }
        let arrivals = found.trunks.iter().flatten().filter(|stretch| stretch.arrives).count();
        prop_assert_eq!(arrivals, links.len());
        for stretch in found.trunks.iter().flatten() {
            prop_assert!(stretch.start.1 <= stretch.bend && stretch.bend < stretch.end.1, "{:?}", stretch);
            // The straight parts touch boxes at their edges only, and between them there are none.
            let straight = [(stretch.start.0, stretch.start.1, stretch.bend), (stretch.end.0, stretch.end.1, stretch.stop)];
            for (x, top, bottom) in straight {
                let inside = found.boxes.iter().find(|area| {
                    x > area.x && x < area.x + area.width && top < area.bottom() - 1e-6 && bottom > area.y + 1e-6
                });
                prop_assert!(inside.is_none(), "{:?} {:?}", stretch, inside);
            }
            let crossed = found.boxes.iter().find(|area| area.y < stretch.end.1 - 1e-6 && area.bottom() > stretch.bend + 1e-6);
            prop_assert!(crossed.is_none(), "{:?} {:?}", stretch, crossed);
        }
        prop_assert_eq!(layout(&sizes, &links), found);
    }

    #[test]
    fn layers_hold_every_vertex_once_and_order_crosses_no_more((sizes, links) in graphs()) {
        let mut rows = layered(sizes.len(), &links);
        let mut all: Vec<usize> = rows.rows.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..rows.layer.len()).collect::<Vec<_>>());
        for (number, row) in rows.rows.iter().enumerate() {
            for &vertex in row {
                prop_assert_eq!(rows.layer[vertex], number);
                prop_assert!(rows.below[vertex].iter().all(|&next| rows.layer[next] == number + 1));
                prop_assert!(!rows.is_point(vertex) || rows.above[vertex].len() == 1);
            }
        }
        let before = crossings(&rows);
        prop_assert_eq!(before, counted(&rows));
        reorder(&mut rows);
        prop_assert!(crossings(&rows) <= before);
    }
}

/// Crossings, pair by pair.
fn counted(rows: &super::layers::Layered) -> u64 {
    let mut total = 0;
    for pair in rows.rows.windows(2) {
        let place = |vertex: usize| pair[1].iter().position(|&other| other == vertex).unwrap();
        let segments: Vec<(usize, usize)> = pair[0]
            .iter()
            .enumerate()
            .flat_map(|(index, &upper)| rows.below[upper].iter().map(move |&lower| (index, lower)))
            .map(|(index, lower)| (index, place(lower)))
            .collect();
        for (index, a) in segments.iter().enumerate() {
            total += segments[..index]
                .iter()
                .filter(|b| (a.0 < b.0) != (a.1 < b.1) && a.0 != b.0 && a.1 != b.1)
                .count();
        }
    }
    total as u64
}

fn links(pairs: &[(usize, usize)]) -> Vec<Link> {
    pairs.iter().map(|&(from, to)| Link { from, to, trunk: from }).collect()
}

#[test]
fn the_main_path_is_straight_and_skips_pass_beside_it() {
    let found = layout(
        &[(200.0, 80.0); 7],
        &links(&[(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5), (5, 6), (3, 6)]),
    );
    let centres: Vec<f64> = found.boxes.iter().map(super::layout::Area::centre).collect();
    assert!(centres.iter().all(|x| (x - centres[0]).abs() < 1e-6), "{centres:?}");
    let lane = found.trunks[0].iter().map(|stretch| stretch.start.0).fold(0.0, f64::max);
    assert!(lane > centres[0] + 100.0, "{lane}");
}

#[test]
fn a_graph_of_three_thousand_boxes_is_laid_out_soon() {
    // Blocks of four with a skip each, and one value that all of them read.
    let mut pairs: Vec<(usize, usize)> = (1..3000).map(|to| (to - 1, to)).collect();
    pairs.extend((4..3000).step_by(4).flat_map(|to| [(to - 4, to), (0, to - 1)]));
    pairs.sort_unstable();
    pairs.dedup();
    let start = std::time::Instant::now();
    let found = layout(&vec![(200.0, 80.0); 3000], &links(&pairs));
    assert_eq!(overlap(&found), None);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

fn item(name: &str, reads: &[usize], makes: &[usize]) -> PictureBox {
    let side = |families: &[usize]| Side { families: families.to_vec(), pinned: families.is_empty() };
    PictureBox {
        kind: BoxKind::Layer,
        operators: vec!["Gemm".to_owned()],
        names: vec![name.to_owned()],
        output: vec![2, 3],
        macs: 6,
        reads: side(reads),
        makes: side(makes),
        axes: Vec::new(),
    }
}

fn family(exact: bool) -> FamilyFigures {
    FamilyFigures {
        groups: 3,
        exact,
        reason: (!exact).then(|| "a < b & c".to_owned()),
        macs_per_group: 2000,
        params_per_group: 2,
        members: Vec::new(),
    }
}

#[test]
fn names_are_escaped_and_approximate_families_hatched() {
    let many: Vec<usize> = (0..40).collect();
    let picture = Picture {
        title: "<model>".to_owned(),
        boxes: vec![item("a&b", &[], &many), item("c\"d", &[1], &[])],
        lines: vec![
            PictureLine { from: 0, families: vec![0, 1], to: 1 },
            PictureLine { from: 1, families: Vec::new(), to: 0 },
            PictureLine { from: 0, families: Vec::new(), to: 9 },
        ],
        families: vec![family(true), family(false)],
        ..Picture::default()
    };
    let svg = picture.svg();
    assert_eq!(svg, picture.svg());
    for part in
        ["&lt;model&gt;", "a&amp;b", "c&quot;d", "a &lt; b &amp; c", "id=\"hatch-1\"", ">in fixed<", ">+3"]
    {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(!svg.contains("id=\"hatch-0\"") && svg.matches("class=\"line\"").count() == 1, "{svg}");
}

#[test]
fn an_empty_picture_is_a_picture() {
    let svg = Picture::default().svg();
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"),
        "{svg}"
    );
}
