//! Redirections by hand, for functions whose first bytes are known (see `victim.c`).

use crate::support::{Program, Server};
use livepatch_proto::{
    ByteWrite, ExpectedBytes, IslandPage, JumpSet, MemoryWrite, Patch, Redirect, SlotSet, Stage, Trap,
    TrapTarget, WireAddress, WordStore,
};
use std::collections::HashMap;

/// How a function begins.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Instruction boundaries inside the first five bytes, without the entry.
    pub(crate) boundaries: &'static [usize],
    /// Length of the whole instructions that cover the first five bytes, and a branch to the first.
    pub(crate) prologue: usize,
    /// Where that branch is, if it is behind the first five bytes.
    pub(crate) branch: Option<usize>,
}

impl Shape {
    pub(crate) const fn new(name: &'static str, boundaries: &'static [usize], prologue: usize) -> Self {
        Self { name, boundaries, prologue, branch: None }
    }
}

pub(crate) const PUSH_MOV: Shape = Shape::new("push_mov", &[1, 4], 8);
pub(crate) const SUB_RSP: Shape = Shape::new("sub_rsp", &[4], 8);
pub(crate) const FIVE: Shape = Shape::new("five", &[], 5);
pub(crate) const PUSHES: Shape = Shape::new("pushes", &[1, 3], 5);
pub(crate) const STRADDLE: Shape = Shape::new("straddle", &[1, 4], 8);
pub(crate) const SLOW: Shape = Shape::new("slow", &[2, 4], 6);
pub(crate) const SLOW_STRADDLE: Shape = Shape { name: "slow_straddle", ..SLOW };
pub(crate) const THREE: Shape = Shape::new("three", &[], 3);
pub(crate) const REST: Shape = Shape::new("rest", &[], 5);
pub(crate) const LOOP8: Shape = Shape { branch: Some(5), ..Shape::new("loop8", &[2], 7) };
pub(crate) const LOOP8_STRADDLE: Shape = Shape { name: "loop8_straddle", ..LOOP8 };
pub(crate) const LOOP32: Shape = Shape { branch: Some(5), ..Shape::new("loop32", &[2], 11) };
pub(crate) const TIGHT8: Shape = Shape::new("tight8", &[3], 5);
pub(crate) const TIGHT32: Shape = Shape::new("tight32", &[3], 9);

/// Where the program has its functions, and their first bytes.
pub(crate) struct Symbols(HashMap<String, (u64, Vec<u8>)>);

impl Symbols {
    pub(crate) fn of(program: &mut Program) -> Self {
        let entries = program.ask_lines("addresses").into_iter().map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("a word").to_owned();
            let (name, address, bytes) = (word(), word(), word());
            (name, (hex(&address), from_hex(&bytes)))
        });
        Self(entries.collect())
    }

    pub(crate) fn address(&self, name: &str) -> u64 {
        self.0[name].0
    }

    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        &self.0[name].1
    }
}

pub(crate) fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| hex(std::str::from_utf8(pair).expect("digits")) as u8).collect()
}

/// The redirection of `copies` copies of a function, `stride` bytes apart, all through the same
/// distance, so that their islands lie as they do.
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) entry: u64,
    pub(crate) stride: u64,
    code: Vec<u8>,
    distance: i32,
    pub(crate) pages: Vec<IslandPage>,
    slots: u64,
}

const PAGE: u64 = 4096;

impl Plan {
    pub(crate) fn new(shape: Shape, symbols: &Symbols, server: &Server, copies: u64, stride: u64) -> Self {
        let (entry, code) = (symbols.address(shape.name), symbols.bytes(shape.name).to_vec());
        let free = |start: u64, end: u64| {
            server.hello.free_ranges.iter().any(|range| range.start.0 <= start && end <= range.end.0)
        };
        for distance in candidates(shape.boundaries) {
            let island = entry.wrapping_add(5).wrapping_add_signed(distance.into());
            let start = island & !(PAGE - 1);
            // The islands, with room for a prologue's copy behind the last.
            let code_end = (island + copies * stride).next_multiple_of(PAGE);
            let end = (code_end + copies * 8).next_multiple_of(PAGE);
            if free(start, end) {
                let page =
                    |start, end, code| IslandPage { start: WireAddress(start), length: end - start, code };
                let pages = vec![page(start, code_end, 1), page(code_end, end, 0)];
                return Self { shape, entry, stride, code, distance, pages, slots: code_end };
            }
        }
        panic!("no place for islands of {} at {entry:#x}: {:?}", shape.name, server.hello.free_ranges);
    }

    pub(crate) fn entry_of(&self, copy: u64) -> u64 {
        self.entry + copy * self.stride
    }

    fn island(&self, copy: u64) -> u64 {
        self.entry_of(copy).wrapping_add(5).wrapping_add_signed(self.distance.into())
    }

    /// The copy of the prologue, which goes on in the original.
    pub(crate) fn original(&self, copy: u64) -> u64 {
        self.island(copy) + 8
    }

    pub(crate) fn slot(&self, copy: u64) -> WireAddress {
        WireAddress(self.slots + copy * 8)
    }

    pub(crate) fn set(&self, copy: u64, target: u64) -> SlotSet {
        SlotSet { slot: self.slot(copy), target: WireAddress(target), jump: None }
    }

    /// `jmp *[slot]`, padded, and the prologue's copy with a jump back.
    pub(crate) fn island_write(&self, copy: u64) -> MemoryWrite {
        let island = self.island(copy);
        let mut bytes = vec![0xff, 0x25];
        bytes.extend_from_slice(&((self.slot(copy).0 - (island + 6)) as u32).to_le_bytes());
        bytes.extend_from_slice(&[0xcc; 2]);
        bytes.extend_from_slice(&self.code[..self.shape.prologue]);
        if self.shape.prologue >= 5 {
            bytes.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
            bytes.extend_from_slice(&(self.entry_of(copy) + self.shape.prologue as u64).to_le_bytes());
        }
        assert!(bytes.len() as u64 <= self.stride);
        MemoryWrite { at: WireAddress(island), bytes }
    }

    /// The island with a direct jump to `target`, its displacement aligned, in front of the prologue's copy;
    /// and behind that a stub, `jmp *[slot]`.
    pub(crate) fn direct_island_write(&self, copy: u64, target: u64) -> MemoryWrite {
        let MemoryWrite { at, mut bytes } = self.island_write(copy);
        let jump = self.jump(copy);
        bytes[..8].fill(0xcc);
        bytes[..(jump - at.0) as usize].fill(0x90);
        let place = (jump - at.0) as usize;
        bytes[place] = 0xe9;
        bytes[place + 1..place + 5].copy_from_slice(&(target.wrapping_sub(jump + 5) as u32).to_le_bytes());
        let stub = self.stub(copy);
        bytes.resize((stub - at.0) as usize, 0xcc);
        bytes.extend_from_slice(&[0xff, 0x25]);
        bytes.extend_from_slice(&((self.slot(copy).0 - (stub + 6)) as u32).to_le_bytes());
        assert!(place + 5 <= 8 && bytes.len() as u64 <= self.stride);
        MemoryWrite { at, bytes }
    }

    /// The first place on the island where a jump's displacement is aligned.
    pub(crate) fn jump(&self, copy: u64) -> u64 {
        (self.island(copy) + 1).next_multiple_of(4) - 1
    }

    pub(crate) fn stub(&self, copy: u64) -> u64 {
        self.island(copy) + 48
    }

    /// Points the slot at `target`, and the island's jump at `to`.
    pub(crate) fn set_jump(&self, copy: u64, target: u64, to: u64) -> SlotSet {
        let jump = JumpSet { at: WireAddress(self.jump(copy)), to: WireAddress(to) };
        SlotSet { jump: Some(jump), ..self.set(copy, target) }
    }

    pub(crate) fn traps(&self, copy: u64) -> Vec<Trap> {
        let entry = self.entry_of(copy);
        let boundary = |&at: &usize| Trap {
            at: WireAddress(entry + at as u64),
            target: TrapTarget::Address { address: WireAddress(self.original(copy) + at as u64) },
        };
        let at_entry = Trap { at: WireAddress(entry), target: TrapTarget::Slot { slot: self.slot(copy) } };
        let needed = self.in_stages().then_some(at_entry);
        self.shape.boundaries.iter().chain(&self.shape.branch).map(boundary).chain(needed).collect()
    }

    fn in_stages(&self) -> bool {
        self.shape.prologue < 5 || self.entry % 8 > 3
    }

    pub(crate) fn redirect(&self, copy: u64) -> Redirect {
        let entry = self.entry_of(copy);
        let expected =
            vec![ExpectedBytes { at: WireAddress(entry), bytes: self.code[..self.shape.prologue].to_vec() }];
        let trap = |at: usize| ByteWrite { at: WireAddress(entry + at as u64), byte: 0xcc };
        let mut stages: Vec<_> =
            self.shape.branch.iter().map(|&at| Stage::Bytes { writes: vec![trap(at)] }).collect();
        stages.extend(if self.shape.prologue < 5 {
            vec![Stage::Bytes { writes: vec![ByteWrite { at: WireAddress(entry), byte: 0xcc }] }]
        } else if self.in_stages() {
            self.stages(entry)
        } else {
            let mut window = self.code[..8].to_vec();
            window[0] = 0xe9;
            window[1..5].copy_from_slice(&self.distance.to_le_bytes());
            self.shape.branch.into_iter().for_each(|at| window[at] = 0xcc);
            // The word around the window: what is not expected is not written.
            let lead = (entry % 8) as usize;
            let mut word = [0x55; 8];
            word[lead..].copy_from_slice(&window[..8 - lead]);
            let traps = u8::from(!self.shape.boundaries.is_empty());
            let store = WordStore { at: WireAddress(entry & !7), new: u64::from_le_bytes(word), traps };
            vec![Stage::Word { store }]
        });
        let (slot, original) = (self.slot(copy), WireAddress(self.original(copy)));
        Redirect { entry: WireAddress(entry), slot, original, jump: None, expected, stages }
    }

    /// Has slots of copies settle on the originals first.
    pub(crate) fn settle(&self, patch: &mut Patch, copies: std::ops::Range<u64>) {
        patch.settle.extend(copies.map(|copy| self.set(copy, self.original(copy))));
    }

    fn stages(&self, entry: u64) -> Vec<Stage> {
        let jump = self.distance.to_le_bytes();
        let write = |at: usize, byte| ByteWrite { at: WireAddress(entry + at as u64), byte };
        let boundary = |at: &usize| self.shape.boundaries.contains(at);
        let first = (1..5).filter(boundary).map(|at| write(at, jump[at - 1]));
        let rest = (1..5).filter(|at| !boundary(at)).map(|at| write(at, jump[at - 1]));
        vec![
            Stage::Bytes { writes: first.chain([write(0, 0xcc)]).collect() },
            Stage::Bytes { writes: rest.collect() },
            Stage::Bytes { writes: vec![write(0, 0xe9)] },
        ]
    }

    /// Adds the first redirection of copies to a patch. Their islands' pages are added by the caller.
    pub(crate) fn add(&self, patch: &mut Patch, copies: std::ops::Range<u64>, target: u64) {
        for copy in copies {
            patch.island_writes.push(self.island_write(copy));
            patch.traps.extend(self.traps(copy));
            patch.slots.push(self.set(copy, target));
            patch.redirects.push(self.redirect(copy));
        }
    }
}

/// Distances whose bytes trap at the boundaries.
fn candidates(boundaries: &[usize]) -> impl Iterator<Item = i32> {
    let byte = move |at: usize, free: u8| match at {
        at if !boundaries.contains(&at) => free,
        4 => 0x06,
        _ => 0xcc,
    };
    let tops = (0..8).flat_map(|n| [n + 4, 0xf8 - n]);
    tops.flat_map(move |top| (0..64).map(move |n: u8| (n * 4 + 1, top))).flat_map(move |(third, top)| {
        let exact = [byte(1, 0x40), byte(2, 0x10), byte(3, third), byte(4, top)];
        let negative = boundaries.contains(&4).then_some([exact[0], exact[1], exact[2], 0xcc]);
        [Some(exact), negative].into_iter().flatten().map(i32::from_le_bytes)
    })
}
