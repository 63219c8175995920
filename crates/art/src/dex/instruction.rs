//! Where instructions begin in a body, and where their indexes are.

use super::opcode::{Format, Opcode};

/// What stands at a place of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An instruction.
    Instruction(Opcode),
    /// A table behind the instructions, which some of them lead to.
    Payload,
}

/// An instruction or a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Its first code unit.
    pub at: usize,
    /// How many code units it has.
    pub units: usize,
    /// What it is.
    pub kind: Kind,
}

/// A body that is no sequence of instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no instruction begins at code unit {0}, or it does not end in the body")]
pub struct BadInstruction(pub usize);

/// What follows `nop` in the first code unit of a table (dex format, "`packed-switch-payload` format" and after).
const PACKED_SWITCH: u16 = 0x0100;
const SPARSE_SWITCH: u16 = 0x0200;
const ARRAY_DATA: u16 = 0x0300;

/// All of a body, in order. After an error there is nothing more.
pub fn walk(units: &[u16]) -> impl Iterator<Item = Result<Placed, BadInstruction>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = units.get(at..).filter(|rest| !rest.is_empty())?;
        let found = placed(at, rest);
        at = found.as_ref().map_or(units.len(), |placed| placed.at + placed.units);
        Some(found)
    })
}

fn placed(at: usize, rest: &[u16]) -> Result<Placed, BadInstruction> {
    let bad = BadInstruction(at);
    let u16_at = |index: usize| rest.get(index).copied().ok_or(bad).map(usize::from);
    let (units, kind) = match rest[0] {
        PACKED_SWITCH => (4 + 2 * u16_at(1)?, Kind::Payload),
        SPARSE_SWITCH => (2 + 4 * u16_at(1)?, Kind::Payload),
        ARRAY_DATA => {
            let count = u16_at(2)? | u16_at(3)? << 16;
            let bytes = count.checked_mul(u16_at(1)?).ok_or(bad)?;
            (bytes.div_ceil(2).checked_add(4).ok_or(bad)?, Kind::Payload)
        }
        unit => {
            let opcode = Opcode::of_unit(unit).ok_or(bad)?;
            (opcode.format().units(), Kind::Instruction(opcode))
        }
    };
    match units <= rest.len() {
        true => Ok(Placed { at, units, kind }),
        false => Err(bad),
    }
}

/// Where an instruction's index is: its code unit, and how many code units it has; none if it has no index.
pub(crate) fn index_of(placed: &Placed) -> Option<(usize, usize)> {
    let Kind::Instruction(opcode) = placed.kind else { return None };
    opcode.referred()?;
    Some((placed.at + 1, if opcode.format() == Format::F31c { 2 } else { 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_not_taken_for_instructions() {
        // fill-array-data v0, +4; return-void; nop; 3 bytes of data, as the format's page lays them out.
        let units = [0x0026, 4, 0, 0x000e, 0x0300, 1, 3, 0, 0x0201, 0x0003];
        let found: Vec<_> = walk(&units).flatten().map(|placed| (placed.at, placed.units)).collect();
        assert_eq!(found, [(0, 3), (3, 1), (4, 6)]);
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for units in [&[0x0018_u16, 0, 0, 0][..], &[0x003e], &[0x0300, 4, 0xffff, 0xffff], &[0x0100]] {
            assert_eq!(walk(units).last(), Some(Err(BadInstruction(0))), "{units:x?}");
        }
    }
}
