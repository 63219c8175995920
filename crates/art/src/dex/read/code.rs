//! Bodies (`code_item`) with what they refer to, and their debug information.

use super::bytes::{Cursor, Input};
use super::tables::Tables;
use super::{DexError, optional, pick};
use crate::dex::instruction::{Kind, index_of, walk};
use crate::dex::opcode::Referred;
use crate::dex::{Code, Debug, DebugStep, Reference, Try, debug};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn read(input: &Input<'_>, tables: &Tables, offset: u32) -> Result<Code, DexError> {
    if !offset.is_multiple_of(4) {
        return Err(DexError::Malformed { what: "code", at: offset as usize });
    }
    let mut at = input.at("code", offset)?;
    let [registers, incoming, outgoing, tries] = [at.u16()?, at.u16()?, at.u16()?, at.u16()?];
    let (debug, count) = (at.u32()?, at.u32()?);
    if incoming > registers {
        return Err(at.malformed());
    }
    let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(2));
    let bytes = at.take(bytes.ok_or_else(|| at.malformed())?)?;
    let mut units: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let references = take_references(tables, &mut units, &at)?;
    let tries = match tries {
        0 => Vec::new(),
        tries => {
            at.align_to_4();
            read_tries(tables, &mut at, tries, count)?
        }
    };
    let debug = match debug {
        0 => None,
        offset => Some(read_debug(tables, input.at("debug information", offset)?)?),
    };
    Ok(Code { registers, incoming, outgoing, units, references, tries, debug })
}

/// Takes indexes out of instructions, and what they lead to out of tables.
fn take_references(
    tables: &Tables,
    units: &mut [u16],
    at: &Cursor<'_, '_>,
) -> Result<Vec<(u32, Reference)>, DexError> {
    let mut found = Vec::new();
    let placed: Vec<_> = walk(units).collect::<Result<_, _>>().map_err(|_| at.malformed())?;
    for placed in placed {
        let Kind::Instruction(opcode) = placed.kind else { continue };
        let (Some(referred), Some((place, width))) = (opcode.referred(), index_of(&placed)) else { continue };
        let index = match width {
            1 => u32::from(units[place]),
            _ => u32::from(units[place]) | u32::from(units[place + 1]) << 16,
        };
        units[place..place + width].fill(0);
        let method = || pick(&tables.methods, index, "method").cloned().map(Reference::Method);
        let unit = |place: usize| u32::try_from(place).map_err(|_| at.malformed());
        let reference = match referred {
            Referred::Text => Reference::Text(pick(&tables.texts, index, "string")?.clone()),
            Referred::Type => Reference::Type(pick(&tables.types, index, "type")?.clone()),
            Referred::Field => Reference::Field(pick(&tables.fields, index, "field")?.clone()),
            Referred::Method | Referred::MethodAndPrototype => method()?,
            Referred::CallSite => Reference::CallSite(pick(&tables.call_sites, index, "call site")?.clone()),
            Referred::Handle => Reference::Handle(pick(&tables.handles, index, "method handle")?.clone()),
            Referred::Prototype => {
                Reference::Prototype(Arc::clone(pick(&tables.prototypes, index, "prototype")?))
            }
        };
        found.push((unit(place)?, reference));
        if referred == Referred::MethodAndPrototype {
            let place = placed.at + 3;
            let prototype = pick(&tables.prototypes, units[place].into(), "prototype")?;
            units[place] = 0;
            found.push((unit(place)?, Reference::Prototype(Arc::clone(prototype))));
        }
    }
    Ok(found)
}

/// `try_item`s, and the `encoded_catch_handler_list` that follows them.
fn read_tries(
    tables: &Tables,
    at: &mut Cursor<'_, '_>,
    tries: u16,
    units: u32,
) -> Result<Vec<Try>, DexError> {
    let mut items = Vec::new();
    for _ in 0..tries {
        items.push((at.u32()?, at.u16()?, at.u16()?));
    }
    let start = at.position();
    let mut lists = HashMap::new();
    for _ in 0..at.uleb128()? {
        let offset = at.position() - start;
        let count = at.sleb128()?;
        let mut catches = Vec::new();
        for _ in 0..count.unsigned_abs() {
            let kind = pick(&tables.types, at.uleb128()?, "type")?.clone();
            catches.push((kind, target(at, units)?));
        }
        let catch_all = if count <= 0 { Some(target(at, units)?) } else { None };
        lists.insert(offset, (catches, catch_all));
    }
    let made = items.into_iter().map(|(start, count, list)| {
        let (catches, catch_all) = lists.get(&usize::from(list)).cloned().ok_or_else(|| at.malformed())?;
        match start.checked_add(count.into()).is_some_and(|end| end <= units) {
            true => Ok(Try { start, count, catches, catch_all }),
            false => Err(at.malformed()),
        }
    });
    made.collect()
}

fn target(at: &mut Cursor<'_, '_>, units: u32) -> Result<u32, DexError> {
    let target = at.uleb128()?;
    if target < units { Ok(target) } else { Err(at.malformed()) }
}

fn read_debug(tables: &Tables, mut at: Cursor<'_, '_>) -> Result<Debug, DexError> {
    let text = |index| optional(&tables.texts, index, "string").map(|text| text.cloned());
    let line = at.uleb128()?;
    let parameters = (0..at.uleb128()?).map(|_| text(at.uleb128p1()?)).collect::<Result<_, _>>()?;
    let mut program = Vec::new();
    loop {
        let step = match at.u8()? {
            debug::END_SEQUENCE => return Ok(Debug { line, parameters, program }),
            debug::ADVANCE_PC => DebugStep::AdvancePc(at.uleb128()?),
            debug::ADVANCE_LINE => DebugStep::AdvanceLine(at.sleb128()?),
            opcode @ (debug::START_LOCAL | debug::START_LOCAL_EXTENDED) => DebugStep::StartLocal {
                register: at.uleb128()?,
                name: text(at.uleb128p1()?)?,
                kind: optional(&tables.types, at.uleb128p1()?, "type")?.cloned(),
                signature: match opcode {
                    debug::START_LOCAL => None,
                    _ => Some(text(at.uleb128p1()?)?),
                },
            },
            debug::END_LOCAL => DebugStep::EndLocal(at.uleb128()?),
            debug::RESTART_LOCAL => DebugStep::RestartLocal(at.uleb128()?),
            debug::SET_PROLOGUE_END => DebugStep::PrologueEnd,
            debug::SET_EPILOGUE_BEGIN => DebugStep::EpilogueBegin,
            debug::SET_FILE => DebugStep::File(text(at.uleb128p1()?)?),
            special => DebugStep::Special(special),
        };
        program.push(step);
    }
}
