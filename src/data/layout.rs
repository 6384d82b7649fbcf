//! How stored samples become what the model takes.

use super::{
    pixels::{Geometry, Order},
    spec::fits,
};

/// Most channels that an axis of channels has in an image.
const MOST_CHANNELS: usize = 4;

/// Which axis of a sample `[a, b, c]` holds its channels, if one is short enough; ONNX's order first.
pub(super) fn channel_order(dims: [usize; 3]) -> Option<Order> {
    match dims {
        [1..=MOST_CHANNELS, _, _] => Some(Order::ChannelsFirst),
        [_, _, 1..=MOST_CHANNELS] => Some(Order::ChannelsLast),
        _ => None,
    }
}

fn sizes(dims: [usize; 3], order: Order) -> [usize; 3] {
    match (order, dims) {
        (Order::ChannelsFirst, [channels, height, width])
        | (Order::ChannelsLast, [height, width, channels]) => [channels, height, width],
    }
}

fn arranged([channels, height, width]: [usize; 3], order: Order) -> [usize; 3] {
    match order {
        Order::ChannelsFirst => [channels, height, width],
        Order::ChannelsLast => [height, width, channels],
    }
}

fn image(stored: [usize; 3], from: Order, wanted: Order) -> (Vec<usize>, Geometry) {
    let [channels, height, width] = sizes(stored, from);
    let image = channels <= MOST_CHANNELS;
    let geometry = Geometry { channels, height, width, stored: from, wanted, image };
    (arranged([channels, height, width], wanted).to_vec(), geometry)
}

/// The shape of one sample in a batch, and the way there from a sample of shape `stored`; nothing when it does not
/// fit `wanted`. Beside equal shapes these fit: a grey image without an axis of channels, or with one too many;
/// `[H, W, C]` for `[C, H, W]` and the reverse, when the model's shape says so; a grey image of bytes (`bytes`) for
/// a flat row.
pub(super) fn resolve(
    stored: &[usize],
    wanted: &[Option<usize>],
    bytes: bool,
) -> Option<(Vec<usize>, Geometry)> {
    let flat = |dims: &[usize]| (dims.to_vec(), Geometry::flat(dims.iter().product()));
    if fits(stored, wanted) {
        return Some(match <[usize; 3]>::try_from(stored) {
            Ok(dims) => match channel_order(dims) {
                Some(order) => image(dims, order, order),
                None => flat(stored),
            },
            Err(_) => flat(stored),
        });
    }
    match (stored, wanted.len()) {
        (&[height, width], 3) => {
            let grey =
                [[1, height, width], [height, width, 1]].into_iter().find(|dims| fits(dims, wanted))?;
            let order = if grey[0] == 1 { Order::ChannelsFirst } else { Order::ChannelsLast };
            Some(image(grey, order, order))
        }
        (&[1, height, width] | &[height, width, 1], 2) if fits(&[height, width], wanted) => {
            Some(flat(&[height, width]))
        }
        (&[height, width], 1) if bytes && fits(&[height * width], wanted) => Some(flat(&[height * width])),
        (&[first, second, third], 3) => {
            let dims = [first, second, third];
            [(Order::ChannelsLast, Order::ChannelsFirst), (Order::ChannelsFirst, Order::ChannelsLast)]
                .into_iter()
                .map(|(from, into)| image(dims, from, into))
                .find(|(dims, geometry)| geometry.image && fits(dims, wanted))
        }
        _ => None,
    }
}

/// The shape of one sample's target: the stored shape, or that with one axis of length 1 less, or one more at the
/// end; nothing when it does not fit `wanted`.
pub(super) fn resolve_target(stored: &[usize], wanted: &[Option<usize>]) -> Option<Vec<usize>> {
    let without = (0..stored.len()).filter(|&axis| stored[axis] == 1).map(|axis| {
        let mut dims = stored.to_vec();
        dims.remove(axis);
        dims
    });
    let with = [stored, &[1]].concat();
    [stored.to_vec()].into_iter().chain(without).chain([with]).find(|dims| fits(dims, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored shape, wanted shape, and what becomes of it.
    type Case<'a, T> = (&'a [usize], Vec<Option<usize>>, Option<T>);

    #[test]
    fn shapes_fit_in_the_ways_that_are_unambiguous() {
        let some = |dims: &[usize]| dims.iter().map(|&dim| Some(dim)).collect::<Vec<_>>();
        let cases: Vec<Case<(&[usize], bool)>> = vec![
            (&[1, 28, 28], some(&[1, 28, 28]), Some((&[1, 28, 28], true))),
            (&[28, 28], some(&[1, 28, 28]), Some((&[1, 28, 28], true))),
            (&[28, 28], some(&[28, 28, 1]), Some((&[28, 28, 1], true))),
            (&[28, 28], some(&[28, 28]), Some((&[28, 28], false))),
            (&[28, 28], vec![None, None, None], Some((&[1, 28, 28], true))),
            (&[28, 28, 1], some(&[28, 28]), Some((&[28, 28], false))),
            (&[32, 32, 3], some(&[3, 32, 32]), Some((&[3, 32, 32], true))),
            (&[3, 32, 32], some(&[32, 32, 3]), Some((&[32, 32, 3], true))),
            (&[32, 48, 3], vec![Some(3), None, None], Some((&[3, 32, 48], true))),
            (&[32, 48, 3], some(&[3, 48, 32]), None),
            (&[28, 28], some(&[784]), Some((&[784], false))),
            (&[28, 28], some(&[3, 28, 28]), None),
            (&[28, 28], some(&[1, 32, 32]), None),
            (&[10], some(&[12]), None),
            (&[64, 8, 8], some(&[64, 8, 8]), Some((&[64, 8, 8], false))),
            (&[8, 8, 64], some(&[64, 8, 8]), None),
        ];
        for (stored, wanted, expected) in cases {
            let found = resolve(stored, &wanted, true);
            let found = found.as_ref().map(|(dims, geometry)| (&dims[..], geometry.image));
            assert_eq!(found, expected, "{stored:?} for {wanted:?}");
        }
        assert_eq!(resolve(&[28, 28], &[Some(784)], false), None);
    }

    #[test]
    fn targets_may_have_one_axis_of_length_one_too_many_or_too_few() {
        let cases: Vec<Case<&[usize]>> = vec![
            (&[], vec![], Some(&[])),
            (&[1], vec![], Some(&[])),
            (&[], vec![Some(1)], Some(&[1])),
            (&[1, 8, 8], vec![Some(8), None], Some(&[8, 8])),
            (&[10], vec![], None),
            (&[8], vec![Some(9)], None),
        ];
        for (stored, wanted, expected) in cases {
            assert_eq!(resolve_target(stored, &wanted).as_deref(), expected, "{stored:?} for {wanted:?}");
        }
    }
}
