//! Old address → new address, for callers that ask before each call.

/// Where functions went. Never changed once it is made.
#[derive(Debug)]
pub(crate) struct JumpTable {
    /// A power of two of slots, at most half of them taken; free ones are all zeros.
    slots: Box<[Slot]>,
    /// What is left of a product of an address is a slot's number.
    shift: u32,
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    from: usize,
    to: usize,
}

/// 2^64 / φ: multiples of it spread out, whatever the step (Knuth, TAOCP 6.4). Functions begin at multiples
/// of 16, so the lower bits of their addresses alone would meet.
#[expect(
    clippy::cast_possible_truncation,
    reason = "its lower half does as well where addresses are shorter"
)]
const SPREAD: usize = 0x9E37_79B9_7F4A_7C15_u64 as usize;

impl JumpTable {
    /// A table of these pairs. Of two that begin at one address the last one holds; none begins at 0.
    pub(crate) fn new(jumps: &[(usize, usize)]) -> Self {
        let count = (jumps.len() * 2).next_power_of_two().max(2);
        let mut table =
            Self { slots: vec![Slot::default(); count].into(), shift: usize::BITS - count.trailing_zeros() };
        for &(from, to) in jumps {
            if from != 0 {
                let at = table.slot_of(from);
                table.slots[at] = Slot { from, to };
            }
        }
        table
    }

    /// Where the function at `from` went; 0 if it is where it was.
    // Plain code: it runs before each call, in builds without optimisation too, where closures and iterators
    // are calls of their own.
    #[inline]
    pub(crate) fn get(&self, from: usize) -> usize {
        let slot = &self.slots[from.wrapping_mul(SPREAD) >> self.shift];
        if slot.from == from { slot.to } else { self.get_past_first(from) }
    }

    fn get_past_first(&self, from: usize) -> usize {
        self.slots[self.slot_of(from)].to
    }

    /// The slot that has `from`, or the free one where it would be.
    fn slot_of(&self, from: usize) -> usize {
        let mut at = from.wrapping_mul(SPREAD) >> self.shift;
        while self.slots[at].from != 0 && self.slots[at].from != from {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::JumpTable;
    use std::collections::HashMap;

    /// The standard library's map is the oracle.
    #[test]
    fn finds_what_a_map_finds() {
        for count in [0, 1, 2, 3, 100, 5000] {
            let jumps: Vec<(usize, usize)> =
                (0..count).map(|n| (0x5555_5000_usize.wrapping_add(n * n * 16), n + 1)).collect();
            let table = JumpTable::new(&jumps);
            let map: HashMap<usize, usize> = jumps.iter().copied().collect();
            for (from, to) in &map {
                assert_eq!(table.get(*from), *to);
                assert_eq!(table.get(from + 1), map.get(&(from + 1)).copied().unwrap_or(0));
            }
            assert_eq!(table.get(0), 0);
            assert_eq!(table.get(usize::MAX), 0);
        }
    }

    #[test]
    fn the_last_of_two_holds() {
        assert_eq!(JumpTable::new(&[(16, 1), (32, 2), (16, 3), (0, 9)]).get(16), 3);
    }

    /// Addresses that are all alike to a table that does not probe.
    #[test]
    fn addresses_that_meet_are_told_apart() {
        let jumps: Vec<(usize, usize)> = (1..200).map(|n| (n << 56, n)).collect();
        let table = JumpTable::new(&jumps);
        assert!(jumps.iter().all(|(from, to)| table.get(*from) == *to));
        assert_eq!(table.get(200 << 56), 0);
    }
}
