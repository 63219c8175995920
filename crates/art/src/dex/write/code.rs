//! Bodies and their debug information.

use super::bytes::Output;
use super::pool::Pool;
use super::{File, WriteError};
use crate::dex::instruction::{Kind, index_of, walk};
use crate::dex::opcode::Referred;
use crate::dex::{Class, Code, Debug, DebugStep, Method, Reference, Text, Try, debug, item};
use std::collections::HashMap;

impl File<'_> {
    /// Debug information: where each method's is, or zero, in the order of classes and their methods.
    pub(super) fn write_debug(&mut self, classes: &[&Class]) -> Result<Vec<u32>, WriteError> {
        let start = self.out.position();
        let mut written: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut offsets = Vec::new();
        for method in classes.iter().flat_map(|class| class.methods()) {
            let Some(debug) = method.code.as_ref().and_then(|code| code.debug.as_ref()) else {
                offsets.push(0);
                continue;
            };
            let bytes = debug_info(self.pool, debug)?;
            let position = self.out.position();
            let offset = *written.entry(bytes).or_insert_with_key(|bytes| {
                self.out.extend(bytes);
                position
            });
            offsets.push(offset);
        }
        self.section(item::DEBUG_INFO, written.len(), start)?;
        Ok(offsets)
    }

    /// Bodies: where each method's is, or zero, in the same order.
    pub(super) fn write_bodies(&mut self, classes: &[&Class], debug: &[u32]) -> Result<Vec<u32>, WriteError> {
        self.out.align_to_4();
        let (start, mut count) = (self.out.position(), 0);
        let mut offsets = Vec::with_capacity(debug.len());
        let methods = classes.iter().flat_map(|class| class.methods().map(move |method| (class, method)));
        for ((class, method), debug) in methods.zip(debug) {
            let Some(code) = &method.code else {
                offsets.push(0);
                continue;
            };
            self.out.align_to_4();
            offsets.push(self.out.position());
            count += 1;
            let malformed = |what| WriteError::Malformed { what, of: name(class, method) };
            body(self.pool, &mut self.out, code, *debug, &malformed)?;
        }
        self.section(item::CODE, count, start)?;
        Ok(offsets)
    }
}

fn name(class: &Class, method: &Method) -> String {
    format!("{}->{}{}", class.descriptor, method.name, method.prototype)
}

/// A `code_item`.
fn body(
    pool: &Pool,
    out: &mut Output,
    code: &Code,
    debug: u32,
    malformed: &dyn Fn(&'static str) -> WriteError,
) -> Result<(), WriteError> {
    let units = with_indexes(pool, code, malformed)?;
    let tries = u16::try_from(code.tries.len()).map_err(|_| malformed("a list of guarded parts"))?;
    [code.registers, code.incoming, code.outgoing, tries].iter().for_each(|value| out.u16(*value));
    out.u32(debug);
    out.u32(units.len() as u32);
    units.iter().for_each(|unit| out.u16(*unit));
    if tries > 0 {
        out.align_to_4();
        write_tries(pool, out, &code.tries, malformed)?;
    }
    Ok(())
}

/// The instructions, each with its index: every reference must belong to one, and the other way round.
fn with_indexes(
    pool: &Pool,
    code: &Code,
    malformed: &dyn Fn(&'static str) -> WriteError,
) -> Result<Vec<u16>, WriteError> {
    let mut units = code.units.clone();
    let mut references = code.references.iter();
    for placed in walk(&code.units) {
        let placed = placed.map_err(|_| malformed("an instruction"))?;
        let (Kind::Instruction(opcode), Some((place, width))) = (placed.kind, index_of(&placed)) else {
            continue;
        };
        let mut next = |place: usize| match references.next() {
            Some((at, reference)) if *at as usize == place => Ok(reference),
            _ => Err(malformed("a reference")),
        };
        let reference = next(place)?;
        if opcode.referred() != Some(referred(reference)) && !is_polymorphic(opcode.referred(), reference) {
            return Err(malformed("a reference"));
        }
        let index = index(pool, reference)?;
        units[place] = index as u16;
        match width {
            1 if index > u16::MAX.into() => return Err(WriteError::TooMany("strings")),
            1 => {}
            _ => units[place + 1] = (index >> 16) as u16,
        }
        if opcode.referred() == Some(Referred::MethodAndPrototype) {
            let Reference::Prototype(prototype) = next(placed.at + 3)? else {
                return Err(malformed("a reference"));
            };
            units[placed.at + 3] = pool.prototypes.short(prototype)?;
        }
    }
    match references.next() {
        None => Ok(units),
        Some(_) => Err(malformed("a reference")),
    }
}

fn is_polymorphic(referred: Option<Referred>, reference: &Reference) -> bool {
    referred == Some(Referred::MethodAndPrototype) && matches!(reference, Reference::Method(_))
}

fn referred(reference: &Reference) -> Referred {
    match reference {
        Reference::Text(_) => Referred::Text,
        Reference::Type(_) => Referred::Type,
        Reference::Field(_) => Referred::Field,
        Reference::Method(_) => Referred::Method,
        Reference::Prototype(_) => Referred::Prototype,
        Reference::CallSite(_) => Referred::CallSite,
        Reference::Handle(_) => Referred::Handle,
    }
}

fn index(pool: &Pool, reference: &Reference) -> Result<u32, WriteError> {
    match reference {
        Reference::Text(text) => pool.texts.index(text),
        Reference::Type(kind) => pool.types.index(kind),
        Reference::Field(field) => pool.fields.index(field),
        Reference::Method(method) => pool.methods.index(method),
        Reference::Prototype(prototype) => pool.prototypes.index(prototype),
        Reference::CallSite(values) => pool.call_site(values).map(u32::from),
        Reference::Handle(handle) => pool.handles.index(handle),
    }
}

/// What is caught and where it goes on, and where it goes on after anything else.
type Handlers<'a> = (&'a Vec<(Text, u32)>, &'a Option<u32>);

/// `try_item`s and their handlers, each list once.
fn write_tries(
    pool: &Pool,
    out: &mut Output,
    tries: &[Try],
    malformed: &dyn Fn(&'static str) -> WriteError,
) -> Result<(), WriteError> {
    let mut lists: Vec<Handlers<'_>> = Vec::new();
    for part in tries {
        let list = (&part.catches, &part.catch_all);
        if !lists.contains(&list) {
            lists.push(list);
        }
    }
    let mut handlers = Output::default();
    handlers.uleb128(lists.len() as u32);
    let mut offsets = Vec::new();
    for (catches, catch_all) in &lists {
        offsets.push(handlers.position());
        let count = i32::try_from(catches.len()).map_err(|_| malformed("a list of handlers"))?;
        if catch_all.is_none() && count == 0 {
            return Err(malformed("a list of handlers"));
        }
        handlers.sleb128(if catch_all.is_some() { -count } else { count });
        for (kind, target) in *catches {
            handlers.uleb128(pool.types.index(kind)?);
            handlers.uleb128(*target);
        }
        catch_all.iter().for_each(|target| handlers.uleb128(*target));
    }
    for part in tries {
        let nth = lists.iter().position(|list| *list == (&part.catches, &part.catch_all));
        let offset = nth.and_then(|nth| u16::try_from(offsets[nth]).ok());
        out.u32(part.start);
        out.u16(part.count);
        out.u16(offset.ok_or_else(|| malformed("a list of handlers"))?);
    }
    out.extend(&handlers.into_bytes());
    Ok(())
}

/// A `debug_info_item`.
fn debug_info(pool: &Pool, info: &Debug) -> Result<Vec<u8>, WriteError> {
    let mut out = Output::default();
    let text = |text: &Option<Text>| text.as_ref().map(|text| pool.texts.index(text)).transpose();
    out.uleb128(info.line);
    out.uleb128(info.parameters.len() as u32);
    for name in &info.parameters {
        out.uleb128p1(text(name)?);
    }
    for step in &info.program {
        match step {
            DebugStep::AdvancePc(units) => {
                out.u8(debug::ADVANCE_PC);
                out.uleb128(*units);
            }
            DebugStep::AdvanceLine(lines) => {
                out.u8(debug::ADVANCE_LINE);
                out.sleb128(*lines);
            }
            DebugStep::StartLocal { register, name, kind, signature } => {
                let extended = signature.is_some();
                out.u8(if extended { debug::START_LOCAL_EXTENDED } else { debug::START_LOCAL });
                out.uleb128(*register);
                out.uleb128p1(text(name)?);
                out.uleb128p1(kind.as_ref().map(|kind| pool.types.index(kind)).transpose()?);
                if let Some(signature) = signature {
                    out.uleb128p1(text(signature)?);
                }
            }
            DebugStep::EndLocal(register) => {
                out.u8(debug::END_LOCAL);
                out.uleb128(*register);
            }
            DebugStep::RestartLocal(register) => {
                out.u8(debug::RESTART_LOCAL);
                out.uleb128(*register);
            }
            DebugStep::PrologueEnd => out.u8(debug::SET_PROLOGUE_END),
            DebugStep::EpilogueBegin => out.u8(debug::SET_EPILOGUE_BEGIN),
            DebugStep::File(name) => {
                out.u8(debug::SET_FILE);
                out.uleb128p1(text(name)?);
            }
            DebugStep::Special(special) => out.u8((*special).max(debug::FIRST_SPECIAL)),
        }
    }
    out.u8(debug::END_SEQUENCE);
    Ok(out.into_bytes())
}
