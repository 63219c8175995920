//! Where patches and islands may go: what is not mapped, near the program and its libraries.

use super::address::{PAGE, Span, USER_END};
use super::loader;
use livepatch_proto::{WireAddress, WireRange};
use std::ops::ControlFlow;

/// How far apart code and what it refers to may be.
const REACH: u64 = 1 << 31;
/// What is left for the program's heap to grow into.
const HEAP_ROOM: u64 = 1 << 30;
/// What is left for the main thread's stack to grow into.
const STACK_ROOM: u64 = 256 << 20;
/// How many ranges are reported at most, so that a hello stays small.
const MOST: usize = 256;
/// Lowest address that is offered (`vm.mmap_min_addr` is below it).
const LOWEST: u64 = 0x10000;

/// Free ranges within reach of every byte of some module, ascending.
pub(crate) fn free_ranges() -> Vec<WireRange> {
    let mut modules = Vec::new();
    loader::visit_modules::<()>(|module| {
        modules.extend(module.span());
        ControlFlow::Continue(())
    });
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    gaps(&maps, &modules, program_break())
}

fn program_break() -> u64 {
    // SAFETY: brk(2) with 0 changes nothing and returns the current break.
    unsafe { libc::syscall(libc::SYS_brk, 0) }.cast_unsigned()
}

fn gaps(maps: &str, modules: &[Span], heap_end: u64) -> Vec<WireRange> {
    let windows = reach(modules);
    let mut ranges = Vec::new();
    let mut before = 0;
    let end = Mapping { start: USER_END, end: USER_END, is_stack: false };
    for next in maps.lines().filter_map(mapping).chain([end]) {
        // A guard page at both ends: what lies there may grow or rely on a fault.
        let (mut from, mut to) = (before + PAGE, next.start.saturating_sub(PAGE));
        before = before.max(next.end);
        if from <= heap_end + PAGE && heap_end < to {
            // The heap grows into this one. Where it is short, leave the heap half of it.
            from = (heap_end + HEAP_ROOM).min(heap_end + (to - heap_end) / 2).next_multiple_of(PAGE);
        }
        if next.is_stack && from < to {
            to = to.saturating_sub(STACK_ROOM).max(from + (to - from) / 2);
        }
        for window in &windows {
            let (from, to) =
                (from.max(window.start()).next_multiple_of(PAGE), to.min(window.end()) & !(PAGE - 1));
            if from < to {
                ranges.push(WireRange { start: WireAddress(from), end: WireAddress(to) });
            }
        }
    }
    if ranges.len() > MOST {
        ranges.sort_unstable_by_key(|range| std::cmp::Reverse(range.end.0 - range.start.0));
        ranges.truncate(MOST);
        ranges.sort_unstable_by_key(|range| range.start);
    }
    ranges
}

/// What is in reach of modules: ascending, not overlapping.
fn reach(modules: &[Span]) -> Vec<Span> {
    let window = |module: &Span| {
        let low = module.end().saturating_sub(REACH).max(LOWEST);
        let high = module.start().saturating_add(REACH).min(USER_END);
        Span::new(low, high.checked_sub(low)?)
    };
    let mut windows: Vec<Span> = modules.iter().filter_map(window).collect();
    windows.sort_unstable();
    windows.dedup_by(|next, previous| {
        let joined = next.start() <= previous.end();
        if joined {
            *previous = previous.through(*next);
        }
        joined
    });
    windows
}

/// A line of proc_pid_maps(5).
struct Mapping {
    start: u64,
    end: u64,
    is_stack: bool,
}

fn mapping(line: &str) -> Option<Mapping> {
    let (start, rest) = line.split_once('-')?;
    let (end, rest) = rest.split_once(' ')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some(Mapping { start: number(start)?, end: number(end)?, is_stack: rest.ends_with("[stack]") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
555555554000-555555558000 r-xp 00000000 fe:00 1 /program
555555558000-555555579000 rw-p 00000000 00:00 0 [heap]
7ffff7d00000-7ffff7f00000 r-xp 00000000 fe:00 2 /lib/libc.so.6
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]
";

    fn ranges(maps: &str, heap_end: u64) -> Vec<(u64, u64)> {
        let host = Span::new(0x5555_5555_4000, 0x4000).expect("a range");
        gaps(maps, &[host], heap_end).iter().map(|range| (range.start.0, range.end.0)).collect()
    }

    #[test]
    fn the_heap_keeps_its_room() {
        assert_eq!(
            ranges(MAPS, 0x5555_5557_9000),
            [
                (0x5555_5555_8000 - REACH, 0x5555_5555_3000),
                (0x5555_5557_9000 + HEAP_ROOM, 0x5555_5555_4000 + REACH),
            ]
        );
    }

    #[test]
    fn a_short_gap_is_shared_with_the_heap() {
        let maps = MAPS.replace("7ffff7d00000-", "555555779000-");
        assert_eq!(ranges(&maps, 0x5555_5557_9000)[1], (0x5555_5567_9000, 0x5555_5577_8000));
    }

    #[test]
    fn libraries_have_reach_too_and_the_stack_keeps_its_room() {
        let (host, library) = (Span::new(0x5555_5555_4000, 0x4000), Span::new(0x7fff_f7d0_0000, 0x20_0000));
        let found = gaps(MAPS, &[host, library].map(|span| span.expect("a range")), 0x5555_5557_9000);
        let found: Vec<_> = found.iter().map(|range| (range.start.0, range.end.0)).collect();
        assert_eq!(
            found[2..],
            [
                (0x7fff_f7f0_0000 - REACH, 0x7fff_f7cf_f000),
                // Half of what there is.
                (0x7fff_f7f0_1000, 0x7fff_fbf6_f000),
            ]
        );
        assert_eq!(found[..2], ranges(MAPS, 0x5555_5557_9000));
    }

    #[test]
    fn only_the_largest_are_reported() {
        let many: String = (0..1000u64)
            .map(|i| {
                let start = 0x5555_4000_0000 + i * 0x10000;
                format!("{start:x}-{:x} r-xp 0 0 0\n", start + 0x1000 * (1 + i % 5))
            })
            .collect();
        let found = ranges(&many, 0);
        assert_eq!(found.len(), MOST);
        assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
