//! Where ONNX Runtime puts the values of a graph in memory.
//!
//! Its arena gets regions from the system, each at least twice as large as the one before, and gives out the smallest
//! free piece that fits. A piece is split only where it is at least twice as large as what is asked for. Pages that were
//! never written take no memory; those that were stay for as long as the session lives.

use std::collections::{BTreeMap, BTreeSet};

/// Sizes are rounded up to this many bytes.
const PART: u64 = 256;
/// The first region.
const FIRST: u64 = 1 << 20;
/// A piece of which at least this much would be left unused is split.
const UNUSED: u64 = 128 << 20;

/// A piece that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    region: usize,
    start: u64,
}

#[derive(Debug, Default)]
struct Region {
    /// All pieces by their start: size, and whether it is free.
    pieces: BTreeMap<u64, (u64, bool)>,
    /// Ranges that were written: start and end.
    written: BTreeMap<u64, u64>,
}

impl Region {
    /// Notes that a range is written, and gives how much of it was not before.
    fn write(&mut self, start: u64, end: u64) -> u64 {
        let (mut from, mut to, mut before) = (start, end, 0);
        let touching: Vec<(u64, u64)> = self
            .written
            .range(..=end)
            .rev()
            .take_while(|(_, until)| **until >= start)
            .map(|(&from, &until)| (from, until))
            .collect();
        for (first, last) in touching {
            before += last.min(end).saturating_sub(first.max(start));
            (from, to) = (from.min(first), to.max(last));
            self.written.remove(&first);
        }
        self.written.insert(from, to);
        (end - start) - before
    }
}

/// The memory of a session.
#[derive(Debug)]
pub(super) struct Arena {
    regions: Vec<Region>,
    /// Free pieces: size, region, start.
    free: BTreeSet<(u64, usize, u64)>,
    next: u64,
    written: u64,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self { regions: Vec::new(), free: BTreeSet::new(), next: FIRST, written: 0 }
    }

    /// Bytes that were ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// A piece for `bytes` bytes, all of which are written.
    pub(super) fn allocate(&mut self, bytes: u64) -> Piece {
        let bytes = bytes.max(1).div_ceil(PART) * PART;
        if self.free.range((bytes, 0, 0)..).next().is_none() {
            self.extend(bytes);
        }
        let found = self.free.range((bytes, 0, 0)..).next().copied();
        let (size, region, start) = found.unwrap_or((bytes, self.regions.len() - 1, 0));
        self.free.remove(&(size, region, start));
        let pieces = &mut self.regions[region].pieces;
        if size >= 2 * bytes || size - bytes >= UNUSED {
            pieces.insert(start, (bytes, false));
            pieces.insert(start + bytes, (size - bytes, true));
            self.free.insert((size - bytes, region, start + bytes));
        } else {
            pieces.insert(start, (size, false));
        }
        self.written += self.regions[region].write(start, start + bytes);
        Piece { region, start }
    }

    /// Takes a piece back, and joins it to free neighbours.
    pub(super) fn free(&mut self, piece: Piece) {
        let Piece { region, mut start } = piece;
        let pieces = &mut self.regions[region].pieces;
        let Some((mut size, _)) = pieces.remove(&start) else { return };
        if let Some(&(behind, true)) = pieces.get(&(start + size)) {
            pieces.remove(&(start + size));
            self.free.remove(&(behind, region, start + size));
            size += behind;
        }
        let before = pieces.range(..start).next_back().map(|(&at, &piece)| (at, piece));
        if let Some((at, (length, true))) = before {
            pieces.remove(&at);
            self.free.remove(&(length, region, at));
            (start, size) = (at, size + length);
        }
        pieces.insert(start, (size, true));
        self.free.insert((size, region, start));
    }

    /// One more region, with room for `bytes` bytes.
    fn extend(&mut self, bytes: u64) {
        let grown = bytes > self.next;
        while bytes > self.next {
            self.next *= 2;
        }
        let region = Region { pieces: BTreeMap::from([(0, (self.next, true))]), ..Region::default() };
        self.free.insert((self.next, self.regions.len(), 0));
        self.regions.push(region);
        if !grown {
            self.next *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_split_joined_and_used_again() {
        let mut arena = Arena::new();
        let (first, second) = (arena.allocate(300_000), arena.allocate(400_000));
        assert_eq!((first.region, second.region), (0, 0));
        assert_eq!(arena.written(), 300_032 + 400_128);
        // Of the first region less is left than is asked for.
        let third = arena.allocate(600_000);
        assert_eq!(third, Piece { region: 1, start: 0 });
        arena.free(first);
        arena.free(second);
        // Joined, and not split: it is not twice as large.
        assert_eq!(arena.allocate(600_000), Piece { region: 0, start: 0 });
        assert_eq!(arena.written(), 700_160 + 600_064);
        arena.free(third);
        let large = arena.allocate(9_000_000);
        assert_eq!(large.region, 2);
        assert_eq!(arena.regions[2].pieces[&0], (16 << 20, false));
    }

    #[test]
    fn bytes_written_twice_count_once() {
        let mut region = Region::default();
        assert_eq!(region.write(0, 100), 100);
        assert_eq!(region.write(200, 300), 100);
        assert_eq!(region.write(50, 250), 100);
        assert_eq!(region.write(0, 300), 0);
        assert_eq!(region.written.len(), 1);
    }
}
