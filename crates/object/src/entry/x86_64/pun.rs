//! Displacements of `jmp rel32` whose bytes read as trapping opcodes where a thread may stand.

use super::JUMP;

/// Opcodes that trap in 64-bit mode whatever stands before or behind them.
///
/// `CC` is INT3. The others are the ones that the one-byte opcode map (Intel SDM vol. 2, table A-2) marks
/// *i64*, "invalid or not encodable in 64-bit mode", less those that were given a new meaning there
/// (40–4F REX, 62 EVEX, C4 and C5 VEX, D5 REX2) and less 82, which takes a ModRM byte. They raise #UD,
/// which the kernel reports as SIGILL with the program counter at the opcode:
/// 06/07 PUSH/POP ES, 0E PUSH CS, 16/17 PUSH/POP SS, 1E/1F PUSH/POP DS, 27 DAA, 2F DAS, 37 AAA, 3F AAS,
/// 60/61 PUSHA/POPA, 9A CALL far, CE INTO, D4 AAM, EA JMP far.
///
/// In the order in which they are to be preferred as a displacement's top byte: below the function
/// first and not too far, because the `brk` heap grows upward from behind the executable; above
/// it from far to near.
pub const TRAPPING: [u8; 18] = [
    0xEA, 0xD4, 0xCE, 0xCC, 0x9A, 0x3F, 0x37, 0x2F, 0x27, 0x1F, 0x1E, 0x17, 0x16, 0x0E, 0x07, 0x06, 0x60,
    0x61,
];

/// INT3.
pub const BREAKPOINT: u8 = 0xCC;

/// Which opcodes may stand where an instruction began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcodes {
    /// [`BREAKPOINT`] only. A debugger that is told to stop at one of the old instructions writes that opcode
    /// there, and so changes nothing: over any other byte of a displacement it would send callers astray.
    Breakpoint,
    /// Any of [`TRAPPING`].
    Trapping,
}

impl Opcodes {
    /// From the safest to the last resort.
    pub const ALL: [Self; 2] = [Self::Breakpoint, Self::Trapping];

    /// The opcodes, the preferred ones first.
    pub const fn choices(self) -> &'static [u8] {
        match self {
            Self::Breakpoint => &[BREAKPOINT],
            Self::Trapping => &TRAPPING,
        }
    }

    /// Whether `opcode` is one of them.
    pub const fn contains(self, opcode: u8) -> bool {
        match self {
            Self::Breakpoint => opcode == BREAKPOINT,
            Self::Trapping => traps(opcode),
        }
    }
}

/// Whether a thread that runs `opcode` traps there and then.
pub const fn traps(opcode: u8) -> bool {
    IS_TRAPPING[opcode as usize]
}

const IS_TRAPPING: [bool; 256] = {
    let mut table = [false; 256];
    let mut index = 0;
    while index < TRAPPING.len() {
        table[TRAPPING[index] as usize] = true;
        index += 1;
    }
    table
};

const EVERY_BYTE: [u8; 256] = {
    // From the middle, so that the first choices for nearby functions are near one another.
    let mut bytes = [0; 256];
    let mut index = 0;
    while index < 256 {
        bytes[index] = index as u8 ^ 0x80;
        index += 1;
    }
    bytes
};

const EVERY_TOP: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut count = 0;
    while count < TRAPPING.len() {
        bytes[count] = TRAPPING[count];
        count += 1;
    }
    let mut index = 0;
    while index < 256 {
        // FF, FE … 80, then 00 … 7F: just below the function, then just above it.
        let byte = if index < 128 { 255 - index } else { index - 128 };
        if !IS_TRAPPING[byte] {
            bytes[count] = byte as u8;
            count += 1;
        }
        index += 1;
    }
    bytes
};

/// Which of a function's bytes 1 to 4 begin an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Boundaries(u8);

impl Boundaries {
    /// From offsets; those outside 1 to 4 are left out.
    pub fn new(offsets: impl IntoIterator<Item = usize>) -> Self {
        let inner = offsets.into_iter().filter(|offset| (1..JUMP).contains(offset));
        Self(inner.fold(0, |bits, offset| bits | 1 << offset))
    }

    /// Whether there is none: the first instruction covers the whole window.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether an instruction begins at `offset`.
    pub fn contains(self, offset: usize) -> bool {
        offset < JUMP && self.0 & 1 << offset != 0
    }

    /// The offsets, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (1..JUMP).filter(move |&offset| self.contains(offset))
    }

    /// Whether `byte` may be the displacement's byte number `index` (0 to 3, lowest first), if `opcodes` stand
    /// at the boundaries.
    pub fn allow_byte(self, index: usize, byte: u8, opcodes: Opcodes) -> bool {
        !self.contains(index + 1) || opcodes.contains(byte)
    }

    /// The bytes that may be the displacement's byte number `index`, the preferred ones first.
    pub fn choices(self, index: usize, opcodes: Opcodes) -> &'static [u8] {
        match (self.contains(index + 1), index) {
            (true, _) => opcodes.choices(),
            (false, 3) => &EVERY_TOP,
            (false, _) => &EVERY_BYTE,
        }
    }

    /// Whether every boundary traps under `jmp displacement`.
    pub fn allow(self, displacement: i32) -> bool {
        let mut bytes = displacement.to_le_bytes().into_iter().enumerate();
        bytes.all(|(index, byte)| self.allow_byte(index, byte, Opcodes::Trapping))
    }
}
