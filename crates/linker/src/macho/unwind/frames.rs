//! Compact descriptions rewritten as `.eh_frame` has them (Linux Standard Base, "Exception Frames"), with absolute
//! addresses.

use super::compact::{Function, Info};

/// Descriptions, which point into each other: it must not move.
pub(super) struct Table {
    bytes: Box<[u8]>,
    /// Where descriptions of functions begin.
    descriptions: Vec<usize>,
}

/// DWARF's numbers of registers.
const RBP: u8 = 6;
const RSP: u8 = 7;
const RIP: u8 = 16;
/// Of those that compact descriptions number from 1.
const SAVED: [u8; 6] = [3, 12, 13, 14, 15, RBP];

/// Instructions.
const DEF_CFA: u8 = 0x0c;
const OFFSET: u8 = 0x80;

impl Table {
    /// `text` reads a word of code, by its offset from the header at `base`.
    pub(super) fn new(
        info: &Info,
        base: u64,
        personalities: &[u64],
        text: &dyn Fn(u32) -> Option<u32>,
    ) -> Self {
        let mut table = Vec::new();
        // One for each personality, and one for functions without.
        let commons: Vec<usize> = [0].iter().chain(personalities).map(|&at| common(&mut table, at)).collect();
        let mut descriptions = Vec::new();
        for function in &info.functions {
            let Some(program) = program(function, text).filter(|_| function.end > function.start) else {
                continue;
            };
            let personality = (function.encoding >> 28 & 3) as usize;
            let Some(&common) = commons.get(personality) else { continue };
            descriptions.push(table.len());
            describe(&mut table, function, base, common, personality != 0, &program);
        }
        table.extend([0; 4]);
        Self { bytes: table.into_boxed_slice(), descriptions }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn descriptions(&self) -> &[usize] {
        &self.descriptions
    }
}

/// Ends an entry that begins at `start`: its length, and padding.
fn end(table: &mut Vec<u8>, start: usize) {
    while (table.len() - start) % 8 != 4 {
        // DW_CFA_nop
        table.push(0);
    }
    let length = (table.len() - start - 4) as u32;
    table[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A common information entry; where it begins.
fn common(table: &mut Vec<u8>, personality: u64) -> usize {
    let start = table.len();
    table.extend([0; 8]);
    table.push(1);
    table.extend(if personality != 0 { b"zPLR\0".as_slice() } else { b"zR\0" });
    // Code in bytes, data in words downwards, the return address's register.
    table.extend([1, 0x78, RIP]);
    if personality != 0 {
        // Absolute pointers: the function, data, code.
        table.extend([11, 0]);
        table.extend(personality.to_le_bytes());
        table.extend([0, 0]);
    } else {
        table.extend([1, 0]);
    }
    table.extend([DEF_CFA, RSP, 8, OFFSET | RIP, 1]);
    end(table, start);
    start
}

fn describe(
    table: &mut Vec<u8>,
    function: &Function,
    base: u64,
    common: usize,
    has_data: bool,
    program: &[u8],
) {
    let start = table.len();
    table.extend([0; 4]);
    table.extend(((start + 4 - common) as u32).to_le_bytes());
    table.extend(base.wrapping_add(function.start.into()).to_le_bytes());
    table.extend(u64::from(function.end - function.start).to_le_bytes());
    if has_data {
        let data = function.data.map_or(0, |data| base.wrapping_add(data.into()));
        table.push(8);
        table.extend(data.to_le_bytes());
    } else {
        table.push(0);
    }
    table.extend(program);
    end(table, start);
}

fn uleb(program: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        program.push(value as u8 | 0x80);
        value >>= 7;
    }
    program.push(value as u8);
}

/// What unwinds a function after its prologue; none if its description is of a kind that is not rewritten.
fn program(function: &Function, text: &dyn Fn(u32) -> Option<u32>) -> Option<Vec<u8>> {
    let encoding = function.encoding;
    let mut program = Vec::new();
    match encoding >> 24 & 15 {
        // UNWIND_X86_64_MODE_RBP_FRAME
        1 => {
            program.extend([DEF_CFA, RBP, 16, OFFSET | RBP, 2]);
            let offset = encoding >> 16 & 0xff;
            for n in 0..5 {
                let number = (encoding >> (n * 3) & 7) as usize;
                if let Some(&register) = number.checked_sub(1).and_then(|number| SAVED.get(number)) {
                    program.push(OFFSET | register);
                    uleb(&mut program, (2 + offset).checked_sub(n)?);
                }
            }
        }
        // UNWIND_X86_64_MODE_STACK_IMMD, and STACK_IND: the size is in an instruction.
        mode @ (2 | 3) => {
            let field = encoding >> 16 & 0xff;
            let size = match mode {
                2 => field * 8,
                _ => text(function.start.checked_add(field)?)?.checked_add((encoding >> 13 & 7) * 8)?,
            };
            program.extend([DEF_CFA, RSP]);
            uleb(&mut program, size);
            let count = encoding >> 10 & 7;
            for (n, register) in (0..).zip(permuted(encoding & 0x3ff, count)?) {
                program.push(OFFSET | register);
                uleb(&mut program, (1 + count).checked_sub(n)?);
            }
        }
        _ => return None,
    }
    Some(program)
}

/// Which registers were pushed, of a number that says in which order: each digit is an index among those that are left.
fn permuted(mut number: u32, count: u32) -> Option<Vec<u8>> {
    let mut left = SAVED.to_vec();
    let count = usize::try_from(count).ok().filter(|&count| count <= left.len())?;
    let mut digits = Vec::new();
    // Of six registers, the first digit is one of six, the next one of five, and so on: a digit's weight is how many ways
    // there are to choose those behind it.
    for n in 0..count {
        let weight: u32 = (n + 1..count).map(|later| (SAVED.len() - later) as u32).product();
        digits.push((number / weight) as usize);
        number %= weight;
    }
    digits.into_iter().map(|digit| (digit < left.len()).then(|| left.remove(digit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `<mach-o/compact_unwind_encoding.h>` computes the numbers: three registers, radixes 20, 4 and 1.
    #[test]
    fn orders_of_registers() {
        assert_eq!(permuted(0, 3), Some(vec![3, 12, 13]));
        assert_eq!(permuted(20 + 4 * 2 + 3, 3), Some(vec![12, 14, RBP]));
        assert_eq!(permuted(5, 1), Some(vec![RBP]));
        assert_eq!(permuted(0, 6), Some(SAVED.to_vec()));
        assert_eq!(permuted(1000, 3), None);
    }

    #[test]
    fn frames_with_a_base_pointer() {
        let function =
            Function { start: 0, end: 10, encoding: 0x0100_0000 | 3 << 16 | 0b010_001, data: None };
        let program = program(&function, &|_| None).unwrap();
        // rbx three words below the base pointer, which is two below the frame's address; r12 above it.
        assert_eq!(program, [DEF_CFA, RBP, 16, OFFSET | RBP, 2, OFFSET | 3, 5, OFFSET | 12, 4]);
    }
}
