//! The answer for people.

use super::Answer;
use super::supply::{Imported, Supply};
use crate::error::Failure;
use livepatch_object::macho::commands::{BuildVersion, Library};
use livepatch_object::macho::path::Paths;
use livepatch_object::macho::stub::Stub;
use livepatch_object::macho::{
    Action, Architecture, ExportTarget, Fixup, Format, Image, Import, Ordinal, Table,
};
use std::fmt::Write as _;
use std::path::Path;

// Writing to a string cannot fail.
pub(super) fn render(answer: &Answer) -> Result<String, Failure> {
    let mut text = String::new();
    let paths = Paths::new(&answer.image, &answer.fixups);
    head(&mut text, answer);
    libraries(&mut text, &answer.image);
    stubs(&mut text, answer, &paths);
    bindings(&mut text, answer);
    exports(&mut text, answer)?;
    trouble(&mut text, answer);
    Ok(text)
}

fn head(text: &mut String, answer: &Answer) {
    let (image, header) = (&answer.image, &answer.image.header);
    let kind = header.kind.name();
    let _ = writeln!(text, "{}: {} {kind}", answer.path, header.architecture);
    if answer.architectures.len() > 1 {
        let all: Vec<String> = answer.architectures.iter().map(Architecture::to_string).collect();
        let _ = writeln!(text, "  slices        {}", all.join(", "));
    }
    if let Some(id) = &image.id {
        let _ = writeln!(text, "  is called     {}", id.name);
    }
    if let Some(build) = &image.build {
        let _ = writeln!(text, "  built for     {}", built_for(build));
    }
    let names = if header.is_two_level() { "two-level" } else { "flat" };
    let _ = writeln!(text, "  namespace     {names}");
    let _ = writeln!(text, "  fixups        {}", fixups(answer));
    if let Some(entry) = image.entry_point() {
        let _ = writeln!(text, "  begins at     {entry}");
    }
    let counts = [
        ("initialisers", image.initializers().map(|all| all.len())),
        ("terminators", image.terminators().map(|all| all.len())),
        ("thread-locals", image.thread_locals().map(|all| all.map_or(0, |all| all.descriptors.len()))),
    ];
    for (what, count) in counts {
        match count {
            Ok(0) => {}
            Ok(count) => drop(writeln!(text, "  {what:<13} {count}")),
            Err(problem) => drop(writeln!(text, "  {what:<13} {problem}")),
        }
    }
    if image.is_encrypted {
        let _ = writeln!(text, "  encrypted     its code cannot be read");
    }
}

fn built_for(build: &BuildVersion) -> String {
    let platform = match build.platform {
        1 => "macOS",
        2 => "iOS",
        3 => "tvOS",
        4 => "watchOS",
        6 => "Mac Catalyst",
        7 => "iOS simulator",
        11 => "visionOS",
        _ => "another platform",
    };
    let version = |version: u32| format!("{}.{}", version >> 16, version >> 8 & 0xff);
    format!("{platform} {}, SDK {}", version(build.minimum), version(build.sdk))
}

fn fixups(answer: &Answer) -> String {
    let format = match &answer.fixups.format {
        Format::DyldInfo => "LC_DYLD_INFO".to_owned(),
        Format::Chained(formats) => {
            let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            format!("LC_DYLD_CHAINED_FIXUPS {}", names.join(", "))
        }
        Format::Relocations => "relocation entries and indirect symbols".to_owned(),
    };
    let records = &answer.fixups.records;
    let count = |is: fn(&Fixup) -> bool| records.iter().filter(|record| is(record)).count();
    let is_bind = |record: &Fixup| matches!(record.action, Action::Bind { .. });
    let counts = [
        (count(|record| matches!(record.action, Action::Rebase { .. })), "rebased"),
        (
            records
                .iter()
                .filter(|record| {
                    is_bind(record) && !record.table.is_lazy() && record.table != Table::WeakBind
                })
                .count(),
            "bound",
        ),
        (count(|record| record.table == Table::WeakBind), "bound weakly"),
        (records.iter().filter(|record| is_bind(record) && record.table.is_lazy()).count(), "bound lazily"),
    ];
    let counts: Vec<String> = counts.iter().map(|(count, what)| format!("{count} {what}")).collect();
    format!("{format}: {}", counts.join(", "))
}

fn libraries(text: &mut String, image: &Image) {
    if !image.libraries.is_empty() {
        let _ = writeln!(text, "libraries");
    }
    for (number, library) in (1..).zip(&image.libraries) {
        let _ = writeln!(text, "  {number:>3} {:<9} {}", library.kind.name(), library.name);
    }
    for rpath in &image.rpaths {
        let _ = writeln!(text, "  @rpath is     {rpath}");
    }
}

/// A symbol for people: with its library.
pub(super) fn import(image: &Image, import: &Import) -> String {
    let symbol = String::from_utf8_lossy(&import.symbol);
    let weak = if import.weak_import { ", may be missing" } else { "" };
    format!("{symbol} ({}{weak})", ordinal(image, import.ordinal))
}

/// Where an import is looked for, for people.
pub(super) fn ordinal(image: &Image, ordinal: Ordinal) -> String {
    match ordinal {
        Ordinal::Library(number) => {
            let name = image.library(ordinal).map_or("?", Library::short_name);
            format!("{number}: {name}")
        }
        Ordinal::ThisImage => "0: this image".to_owned(),
        Ordinal::MainExecutable => "-1: the main executable".to_owned(),
        Ordinal::FlatLookup => "-2: any image".to_owned(),
        Ordinal::WeakLookup => "-3: any image with weak symbols".to_owned(),
    }
}

fn stubs(text: &mut String, answer: &Answer, paths: &Paths<'_>) {
    if paths.stubs().is_empty() {
        return;
    }
    let _ = writeln!(text, "stubs");
    for stub in paths.stubs() {
        let _ = writeln!(text, "  {} {}", stub.address, stub_line(answer, paths, stub));
    }
    if let Some(common) = &paths.helpers().common {
        let _ = writeln!(
            text,
            "  helpers jump to {}, which calls the binder through {}",
            common.address, common.binder_slot
        );
    }
}

fn stub_line(answer: &Answer, paths: &Paths<'_>, stub: &Stub) -> String {
    let Some(slot) = stub.slot else { return "code that is not known here".to_owned() };
    let helper = paths.helper_of(slot).map_or(String::new(), |helper| {
        let others = paths
            .records(slot)
            .any(|record| matches!(record.table, Table::LazyBind { entry } if entry != helper.lazy_entry));
        let others = if others { ", which are another slot’s" } else { "" };
        format!(" → helper {}, opcodes at {:#x}{others}", helper.address, helper.lazy_entry)
    });
    let name = match (paths.import_at(slot), &stub.symbol) {
        (Some(found), _) => import(&answer.image, found),
        (None, Some(symbol)) => String::from_utf8_lossy(symbol).into_owned(),
        (None, None) => "a function of this image".to_owned(),
    };
    format!("→ slot {slot}{helper} → {name}")
}

fn bindings(text: &mut String, answer: &Answer) {
    let bound: Vec<&Fixup> =
        answer.fixups.records.iter().filter(|record| matches!(record.action, Action::Bind { .. })).collect();
    if !bound.is_empty() {
        let _ = writeln!(text, "bindings");
    }
    for record in bound {
        let _ = writeln!(text, "  {}", binding(answer, record));
    }
    for symbol in &answer.fixups.strong_definitions {
        let _ = writeln!(text, "  weak-bind  its own {} is not weak", String::from_utf8_lossy(symbol));
    }
}

fn binding(answer: &Answer, record: &Fixup) -> String {
    let found = answer.fixups.import_of(record);
    let name = found.map_or("?".to_owned(), |found| import(&answer.image, found));
    let addend = match record.action {
        Action::Bind { addend: 0, .. } | Action::Rebase { .. } => String::new(),
        Action::Bind { addend, .. } => format!(" {addend:+}"),
    };
    let auth = match record.action {
        Action::Bind { auth: Some(auth), .. } => {
            let address = if auth.with_address { ", with its address" } else { "" };
            format!(", signed with {} and {:#x}{address}", auth.key_name(), auth.diversity)
        }
        _ => String::new(),
    };
    let place = place(&answer.image, record);
    format!("{:<15} {:>#10x} {place:<28} {name}{addend}{auth}", record.table.name(), record.slot.address.0)
}

/// Segment and section of a slot.
pub(super) fn place(image: &Image, record: &Fixup) -> String {
    let segment = image.segments.get(record.slot.segment).map_or("?", |segment| &segment.name);
    let section = record.slot.section.and_then(|id| image.segments.section(id));
    format!("{segment},{}", section.map_or("", |section| &section.name))
}

fn exports(text: &mut String, answer: &Answer) -> Result<(), Failure> {
    let unsound = |problem| super::subject::unsound(Path::new(&answer.path), problem);
    let exports = answer.image.exports().and_then(|exports| exports.all()).map_err(unsound)?;
    if exports.is_empty() {
        return Ok(());
    }
    let weak = exports.iter().filter(|export| export.weak).count();
    let _ = writeln!(text, "exports\n  {} names, {weak} of them weak", exports.len());
    for export in &exports {
        let name = String::from_utf8_lossy(&export.name);
        match &export.target {
            ExportTarget::Reexport { ordinal: number, name: other } => {
                let other = String::from_utf8_lossy(other);
                let from = ordinal(&answer.image, Ordinal::Library(*number));
                let _ = writeln!(text, "  re-export  {name} is {other} ({from})");
            }
            ExportTarget::StubAndResolver { stub, resolver } => {
                let _ = writeln!(text, "  resolver   {name}: {resolver} finds it, {stub} jumps to it");
            }
            ExportTarget::ThreadLocal(at) => drop(writeln!(text, "  thread     {name} at {at}")),
            ExportTarget::Absolute(number) => drop(writeln!(text, "  number     {name} is {number:#x}")),
            ExportTarget::Regular(_) => {}
        }
    }
    Ok(())
}

/// What would go wrong on this machine.
fn trouble(text: &mut String, answer: &Answer) {
    let hazards: Vec<&Imported> = answer.imports.iter().filter(|import| import.hazard.is_some()).collect();
    if !hazards.is_empty() {
        let _ = writeln!(text, "hazards: these link on Linux and mean something else there");
    }
    for found in hazards {
        let Some(hazard) = found.hazard else { continue };
        let symbol = String::from_utf8_lossy(&found.import.symbol);
        let _ = writeln!(text, "  {symbol:<28} {:<10} {}", hazard.kind.name(), hazard.difference);
    }
    let missing: Vec<&Imported> = answer.imports.iter().filter(|import| import.is_unresolved()).collect();
    if !missing.is_empty() {
        let _ = writeln!(text, "unresolved: nobody on this machine defines these");
    }
    for found in missing {
        let _ = writeln!(text, "  {}", import(&answer.image, &found.import));
    }
    let absent: Vec<&Imported> =
        answer.imports.iter().filter(|import| import.supply == Supply::Absent).collect();
    if !absent.is_empty() {
        let _ = writeln!(text, "not known: {} imports of libraries that are not here", absent.len());
    }
    let of_program = answer.imports.iter().filter(|import| import.supply == Supply::Program).count();
    if of_program > 0 {
        let _ = writeln!(text, "of the program that loads it: {of_program} imports");
    }
}
