//! One symbol: every step of a call, with each address as it comes about.

use super::live::Live;
use super::text::{import, ordinal, place};
use super::{Answer, subject};
use crate::error::Failure;
use livepatch_object::address::LinkAddress;
use livepatch_object::macho::chained::{Pointer, PointerFormat};
use livepatch_object::macho::path::{HelperPath, Paths, SlotPath, SymbolPath};
use livepatch_object::macho::stub::Instruction;
use livepatch_object::macho::{Action, ExportTarget, Fixup, Format, Table};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// The way of a symbol as it was named, or with an underscore.
pub(super) fn find(answer: &Answer, symbol: &str) -> Result<SymbolPath, Failure> {
    let paths = Paths::new(&answer.image, &answer.fixups);
    let unsound = |problem| subject::unsound(Path::new(&answer.path), problem);
    for name in [symbol.to_owned(), format!("_{symbol}")] {
        let path = paths.of(name.as_bytes()).map_err(unsound)?;
        if !path.stubs.is_empty() || !path.slots.is_empty() || path.export.is_some() {
            return Ok(path);
        }
    }
    Err(Failure::Unsupported {
        what: format!("{} neither imports nor exports {symbol}", answer.path),
        hint: "without --symbol, all imports are listed; names have an underscore more than in C".into(),
    })
}

/// One step, for people and tools.
#[derive(Serialize)]
struct Step {
    step: &'static str,
    address: u64,
    /// Bytes that are there, as hexadecimal digits.
    bytes: Option<String>,
    what: String,
    /// How an address comes about.
    computed: Option<String>,
    leads_to: Option<u64>,
}

impl Step {
    fn new(step: &'static str, address: LinkAddress, what: String) -> Self {
        Self { step, address: address.0, bytes: None, what, computed: None, leads_to: None }
    }

    fn of(step: &'static str, instruction: Instruction) -> Self {
        let (computed, leads_to) = instruction.computed.unzip();
        Self {
            step,
            address: instruction.address.0,
            bytes: Some(hexadecimal(&instruction.bytes)),
            what: instruction.text,
            computed,
            leads_to: leads_to.map(|to| to.0),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// For people.
pub(super) fn text(answer: &Answer, path: &SymbolPath) -> String {
    let mut text = format!("{}: {}\n", String::from_utf8_lossy(&path.symbol), summary(path));
    for step in steps(answer, path) {
        let bytes = step.bytes.unwrap_or_default();
        let _ = write!(text, "  {:<8} {:>#10x}  ", step.step, step.address);
        let _ = match bytes.is_empty() {
            true => write!(text, "{}", step.what),
            false => write!(text, "{bytes:<24} {:<30}", step.what),
        };
        let _ = match (step.computed, step.leads_to) {
            (Some(how), Some(to)) => writeln!(text, " {how} = {to:#x}"),
            _ => writeln!(text),
        };
    }
    // What is short was padded.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[derive(Serialize)]
struct Root<'a> {
    version: u32,
    path: &'a str,
    architecture: String,
    symbol: String,
    lazy: bool,
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
}

/// For tools.
pub(super) fn json(answer: &Answer, path: &SymbolPath, live: Option<Live>) -> String {
    let root = Root {
        version: super::json::VERSION,
        path: &answer.path,
        architecture: answer.image.header.architecture.to_string(),
        symbol: String::from_utf8_lossy(&path.symbol).into_owned(),
        lazy: path.slots.iter().any(SlotPath::is_lazy),
        steps: steps(answer, path),
        live,
    };
    super::json::print(&root)
}

fn summary(path: &SymbolPath) -> String {
    let when = match (path.slots.is_empty(), path.slots.iter().any(SlotPath::is_lazy)) {
        (true, _) => "it is not imported",
        (false, true) => "bound at its first call",
        (false, false) => "bound when the image is loaded",
    };
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!("{when}; {}, {}", count(path.stubs.len(), "stub"), count(path.slots.len(), "pointer"))
}

fn steps(answer: &Answer, path: &SymbolPath) -> Vec<Step> {
    let mut steps = Vec::new();
    for stub in &path.stubs {
        let code = answer.image.code(stub.address);
        let instructions = code.map(|code| answer.image.instructions(&code)).unwrap_or_default();
        steps.extend(instructions.into_iter().map(|instruction| Step::of("stub", instruction)));
    }
    for slot in &path.slots {
        steps.extend(of_slot(answer, slot));
        if let Some(helper) = &slot.helper {
            steps.extend(of_helper(answer, helper));
        }
        steps.extend(end(answer, slot));
    }
    if let Some(export) = &path.export {
        let (address, what) = match &export.target {
            ExportTarget::Regular(at) => (*at, "exported from here".to_owned()),
            ExportTarget::ThreadLocal(at) => {
                (*at, "descriptor of a thread-local, exported from here".to_owned())
            }
            ExportTarget::Absolute(number) => {
                (LinkAddress(*number), "a number, exported from here".to_owned())
            }
            ExportTarget::StubAndResolver { stub, resolver } => {
                (*stub, format!("jumps to what the function at {resolver} finds"))
            }
            ExportTarget::Reexport { ordinal: number, name } => {
                let library = ordinal(&answer.image, livepatch_object::macho::Ordinal::Library(*number));
                let name = String::from_utf8_lossy(name);
                (LinkAddress(0), format!("re-exported: it is {name} ({library})"))
            }
        };
        steps.push(Step::new("export", address, what));
    }
    steps
}

fn of_slot(answer: &Answer, slot: &SlotPath) -> Vec<Step> {
    let at = slot.slot.address;
    let what = match slot.records.first() {
        Some(record) => format!("{}, file offset {}", place(&answer.image, record), slot.slot.offset),
        None => format!("file offset {}", slot.slot.offset),
    };
    let mut steps = vec![Step::new("slot", at, what)];
    let bytes = Some(hexadecimal(&slot.holds.to_le_bytes()));
    for record in &slot.records {
        let mut step = Step::new("slot", at, done(answer, slot, record));
        step.bytes.clone_from(&bytes);
        if let Action::Rebase { target, .. } = record.action {
            step.what += &format!(": leads to {target} + slide");
            step.leads_to = Some(target.0);
        }
        steps.push(step);
    }
    steps
}

/// What a record does to a slot, and where that is said.
fn done(answer: &Answer, slot: &SlotPath, record: &Fixup) -> String {
    let found = answer.fixups.import_of(record);
    let name = found.map_or(String::new(), |found| import(&answer.image, found));
    let addend = match record.action {
        Action::Bind { addend, .. } if addend != 0 => format!(" {addend:+}"),
        _ => String::new(),
    };
    match (record.table, record.action) {
        (Table::Rebase, _) => format!("rebased when the image is loaded (opcode at {:#x})", record.at),
        (Table::Bind, _) => {
            format!("bound when the image is loaded (opcode at {:#x}): {name}{addend}", record.at)
        }
        (Table::WeakBind, _) => {
            format!("bound to what all images agree upon (opcode at {:#x}): {name}{addend}", record.at)
        }
        (Table::LazyBind { entry }, _) => {
            format!("bound at the first call (opcodes from {entry:#x} to {:#x}): {name}{addend}", record.at)
        }
        (Table::Chained, _) => chained(answer, slot, record, &format!("{name}{addend}")),
        (Table::Relocation, Action::Rebase { .. }) => {
            format!("rebased (relocation entry at {:#x})", record.at)
        }
        (Table::Relocation, _) => format!("bound (relocation entry at {:#x}): {name}{addend}", record.at),
        (Table::IndirectSymbol { .. }, Action::Rebase { .. }) => {
            "rebased when the image is loaded".to_owned()
        }
        (Table::IndirectSymbol { .. }, _) => format!("bound (indirect symbol {}): {name}", record.at),
    }
}

/// A chained pointer, taken apart.
fn chained(answer: &Answer, slot: &SlotPath, record: &Fixup, name: &str) -> String {
    let formats: &[PointerFormat] = match &answer.fixups.format {
        Format::Chained(formats) => formats,
        _ => &[],
    };
    // A segment's own format is not kept; where there are several, the pointer is not taken apart.
    let [format] = formats else { return format!("chained, page {}: {name}", record.at) };
    let (pointer, next) = format.decode(slot.holds);
    let next = match next {
        0 => "the last of its page".to_owned(),
        next => format!("next at {:#x}", slot.slot.address.0.wrapping_add(next)),
    };
    match pointer {
        Pointer::Bind { import, addend, .. } => {
            format!("chained, page {}: import {import}, addend {addend}, {next}: {name}", record.at)
        }
        Pointer::Rebase { target, .. } => format!("chained, page {}: target {target:#x}, {next}", record.at),
    }
}

fn of_helper(answer: &Answer, helper: &HelperPath) -> Vec<Step> {
    let listing = |address: LinkAddress| {
        let code = answer.image.code(address);
        code.map(|code| answer.image.instructions(&code)).unwrap_or_default()
    };
    let entry = listing(helper.entry.address);
    let mut steps: Vec<Step> = entry.into_iter().map(|instruction| Step::of("helper", instruction)).collect();
    if let Some(common) = &helper.common {
        steps.extend(listing(common.address).into_iter().map(|instruction| Step::of("common", instruction)));
        let mut records = answer.fixups.of_slot(common.binder_slot);
        let binder = records.find_map(|record| answer.fixups.import_of(record));
        let binder = binder.map_or("the binder".to_owned(), |found| import(&answer.image, found));
        let what = format!("{binder}, bound when the image is loaded: it reads lazy bind opcodes");
        steps.push(Step::new("binder", common.binder_slot, what));
    }
    for opcode in &helper.opcodes {
        let what = format!("{} {}", opcode.name, opcode.sets).trim_end().to_owned();
        let mut step = Step::new("opcode", LinkAddress(opcode.at.into()), what);
        step.bytes = Some(shortened(&opcode.bytes));
        steps.push(step);
    }
    steps
}

/// A name's bytes are said by its text.
fn shortened(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=8 => hexadecimal(bytes),
        _ => format!("{} …", hexadecimal(&bytes[..7])),
    }
}

/// What the slot leads to in the end.
fn end(answer: &Answer, slot: &SlotPath) -> Option<Step> {
    let found = slot.records.iter().find_map(|record| answer.fixups.import_of(record))?;
    let supplied = answer.imports.iter().find(|imported| imported.import == *found)?;
    use super::supply::Supply;
    let here = match &supplied.supply {
        Supply::Itself => "this image’s own".to_owned(),
        Supply::Loader => "the loader’s".to_owned(),
        Supply::Machine(library) => format!("on this machine {library} has it"),
        Supply::File(file) => format!("{} has it", file.display()),
        Supply::Program => "the program that loads the image has to have it".to_owned(),
        Supply::Absent => "its library is not here".to_owned(),
        Supply::Nobody if found.weak_import => "nobody here has it: the slot becomes 0".to_owned(),
        Supply::Nobody => "nobody here has it".to_owned(),
    };
    let hazard = supplied.hazard.map_or(String::new(), |hazard| format!("; but {}", hazard.difference));
    Some(Step::new(
        "then",
        slot.slot.address,
        format!("leads to {}: {here}{hazard}", import(&answer.image, found)),
    ))
}
