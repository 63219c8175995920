//! `llvm-objdump --macho`: its tables as text, and ours in the same words.

use crate::build::{newest, run, version};
use livepatch_object::macho::symbol::Indirect;
use livepatch_object::macho::{Action, ExportTarget, Fixup, Fixups, Format, Image, Ordinal, Slot, Table};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Records of each table, sorted: lines of words.
#[derive(PartialEq, Eq, Default, Debug)]
pub(crate) struct Tables(pub(crate) BTreeMap<&'static str, Vec<String>>);

impl Tables {
    fn add(&mut self, table: &'static str, line: String) {
        self.0.entry(table).or_default().push(line);
    }

    fn sorted(mut self) -> Self {
        self.0.values_mut().for_each(|lines| lines.sort());
        self
    }

    /// How many records each table has.
    pub(crate) fn counts(&self) -> String {
        let counts = self.0.iter().map(|(table, lines)| format!("{} {table}", lines.len()));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The first differences, for people.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let nothing = Vec::new();
        for table in self.0.keys().chain(other.0.keys()).collect::<std::collections::BTreeSet<_>>() {
            let ours = self.0.get(table).unwrap_or(&nothing);
            let theirs = other.0.get(table).unwrap_or(&nothing);
            if ours.len() != theirs.len() {
                differences.push(format!("{table}: {} records, not {}", ours.len(), theirs.len()));
            }
            let only = |a: &[String], b: &[String], who: &str| {
                let b: std::collections::BTreeSet<&String> = b.iter().collect();
                let missing = a.iter().filter(|line| !b.contains(line)).take(3);
                missing.map(|line| format!("{table}: only {who}: {line}")).collect::<Vec<_>>()
            };
            differences.extend(only(ours, theirs, "here"));
            differences.extend(only(theirs, ours, "llvm-objdump"));
        }
        differences
    }
}

/// A dump program that knows chained fixups as well.
pub(crate) fn program() -> Result<String, String> {
    let program = newest("llvm-objdump").ok_or("there is no llvm-objdump")?;
    match version(&program) {
        16.. => Ok(program),
        old => Err(format!("llvm-objdump {old} does not know chained fixups")),
    }
}

/// What llvm-objdump sees in one slice of a file.
pub(crate) fn tables(program: &str, file: &Path, architecture: &str) -> Tables {
    let mut tables = Tables::default();
    let said = run(Command::new(program)
        .args(["--macho", "--arch", architecture, "--dyld-info", "--rebase", "--bind", "--lazy-bind"])
        .args(["--weak-bind", "--exports-trie", "--indirect-symbols"])
        .arg(file));
    let mut table = "";
    for line in said.lines() {
        table = match line {
            "dyld information:" => "chained",
            "Exports trie:" => "exports",
            "Rebase table:" => "rebase",
            "Bind table:" => "bind",
            "Lazy bind table:" => "lazy bind",
            "Weak bind table:" => "weak bind",
            _ if line.starts_with("Indirect symbols for") => "indirect symbols",
            _ => table,
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |text: &str| {
            u64::from_str_radix(text.trim_start_matches("0x"), 16).ok().filter(|_| text.starts_with("0x"))
        };
        match (table, words.as_slice()) {
            ("exports", [first, rest @ ..]) if line.starts_with("0x") || line.starts_with("[re-export]") => {
                let place = address(first).map_or("re-export".to_owned(), |at| format!("{at:#x}"));
                tables.add("exports", format!("{place} {}", rest.join(" ")));
            }
            ("rebase", [segment, section, at, "pointer"]) => {
                tables.add("rebase", format!("{segment} {section} {:#x}", address(at).unwrap()));
            }
            ("bind", [segment, section, at, "pointer", addend, library, symbol @ ..]) => {
                let at = address(at).unwrap();
                let symbol = symbol.join(" ").replace("(weak_import)", "(weak import)");
                tables.add("bind", format!("{segment} {section} {at:#x} {addend} {library} {symbol}"));
            }
            ("lazy bind", [segment, section, at, library, symbol @ ..]) if address(at).is_some() => {
                let at = address(at).unwrap();
                tables
                    .add("lazy bind", format!("{segment} {section} {at:#x} {library} {}", symbol.join(" ")));
            }
            ("weak bind", ["strong", symbol]) => tables.add("weak bind", format!("strong {symbol}")),
            ("weak bind", [segment, section, at, "pointer", addend, symbol @ ..]) => {
                let at = address(at).unwrap();
                tables.add("weak bind", format!("{segment} {section} {at:#x} {addend} {}", symbol.join(" ")));
            }
            ("chained", [segment, section, at, _, "bind", addend, library, symbol @ ..]) => {
                let at = address(at).unwrap();
                let addend = address(addend).unwrap().cast_signed();
                let line =
                    format!("{segment} {section} {at:#x} bind {addend} {library} {}", symbol.join(" "));
                tables.add("chained", line);
            }
            ("chained", [segment, section, at, _, "rebase", target]) => {
                let (at, target) = (address(at).unwrap(), address(target).unwrap());
                tables.add("chained", format!("{segment} {section} {at:#x} rebase {target:#x}"));
            }
            ("indirect symbols", [at, rest @ ..]) if address(at).is_some() => {
                let at = address(at).unwrap();
                tables.add("indirect symbols", format!("{at:#x} {}", rest.join(" ")));
            }
            _ => {}
        }
    }
    tables.sorted()
}

/// The same of what is read here.
pub(crate) fn ours(image: &Image) -> Tables {
    let fixups = image.fixups().expect("fixups");
    let mut tables = Tables::default();
    let is_chained = matches!(fixups.format, Format::Chained(_));
    for record in fixups.records.iter().filter(|_| fixups.format != Format::Relocations) {
        let slot = slot(image, &record.slot);
        match record.action {
            Action::Rebase { target, high8, .. } if is_chained => {
                let written = target.0 | u64::from(high8) << 56;
                tables.add("chained", format!("{slot} rebase {written:#x}"));
            }
            Action::Rebase { .. } => tables.add("rebase", slot),
            Action::Bind { addend, .. } => {
                let (name, line) = bound(image, &fixups, record, addend);
                tables.add(name, format!("{slot} {line}"));
            }
        }
    }
    for name in &fixups.strong_definitions {
        tables.add("weak bind", format!("strong {}", String::from_utf8_lossy(name)));
    }
    exports(image, &mut tables);
    indirect(image, &mut tables);
    tables.sorted()
}

fn slot(image: &Image, slot: &Slot) -> String {
    let segment = image.segments.get(slot.segment).map_or("?", |segment| &segment.name);
    let section = slot.section.and_then(|id| image.segments.section(id)).map_or("?", |section| &section.name);
    format!("{segment} {section} {}", slot.address)
}

fn bound(image: &Image, fixups: &Fixups, record: &Fixup, addend: i64) -> (&'static str, String) {
    let import = fixups.import_of(record).expect("an import");
    let symbol = String::from_utf8_lossy(&import.symbol);
    let weak = if import.weak_import { " (weak import)" } else { "" };
    let library = library(image, import.ordinal);
    match record.table {
        Table::Bind => ("bind", format!("{addend} {library} {symbol}{weak}")),
        // Which of these are weak is not shown.
        Table::LazyBind { .. } => ("lazy bind", format!("{library} {symbol}")),
        Table::WeakBind => ("weak bind", format!("{addend} {symbol}")),
        Table::Chained => ("chained", format!("bind {addend} {library} {symbol}{weak}")),
        other => panic!("{other:?}"),
    }
}

/// As llvm-objdump abbreviates names of libraries (`MachOObjectFile::guessLibraryShortName`).
fn library(image: &Image, ordinal: Ordinal) -> String {
    match ordinal {
        Ordinal::Library(_) => short(&image.library(ordinal).expect("a library").name),
        Ordinal::ThisImage => "this-image".to_owned(),
        Ordinal::MainExecutable => "main-executable".to_owned(),
        Ordinal::FlatLookup => "flat-namespace".to_owned(),
        Ordinal::WeakLookup => "weak".to_owned(),
    }
}

fn short(name: &str) -> String {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    // Foo.framework/Versions/A/Foo, Foo.framework/Foo
    let framework = format!("{file}.framework");
    if folder.split('/').any(|part| part == framework) {
        return file.to_owned();
    }
    let Some(stem) = file.strip_suffix(".dylib") else {
        return file.strip_suffix(".qtx").unwrap_or(name).to_owned();
    };
    // libFoo.A.dylib is libFoo, libFoo.1.2.3.dylib is libFoo.1: twice a letter, with what it is built for between.
    let mut stem = stem;
    for suffix in ["_debug", "_profile"] {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    for _ in 0..2 {
        stem = stem.rsplit_once('.').filter(|(_, version)| version.len() == 1).map_or(stem, |(rest, _)| rest);
    }
    stem.to_owned()
}

fn exports(image: &Image, tables: &mut Tables) {
    for export in image.exports().and_then(|exports| exports.all()).expect("exports") {
        let found = image.exports().and_then(|exports| exports.find(&export.name)).expect("the trie");
        assert_eq!(found.as_ref(), Some(&export), "found by its name");
        let name = String::from_utf8_lossy(&export.name);
        let weak = if export.weak { Some("weak_def".to_owned()) } else { None };
        let with = |more: Option<String>| {
            let words: Vec<String> = weak.clone().into_iter().chain(more).collect();
            if words.is_empty() { String::new() } else { format!(" [{}]", words.join(", ")) }
        };
        let line = match export.target {
            ExportTarget::Regular(at) => format!("{at} {name}{}", with(None)),
            ExportTarget::ThreadLocal(at) => format!("{at} {name}{}", with(Some("per-thread".into()))),
            // It adds the image's address to numbers as well.
            ExportTarget::Absolute(number) => {
                let shown = number + image.base().0;
                format!("{shown:#x} {name}{}", with(Some("absolute".into())))
            }
            ExportTarget::StubAndResolver { stub, resolver } => {
                let distance = resolver.0 - image.base().0;
                format!("{stub} {name}{}", with(Some(format!("resolver=0x{distance:08X}"))))
            }
            ExportTarget::Reexport { ordinal, name: other } => {
                let library = library(image, Ordinal::Library(ordinal));
                let other = String::from_utf8_lossy(&other);
                let from = if other == name { library } else { format!("{other} from {library}") };
                let from = if other == name { format!("from {from}") } else { from };
                format!("re-export {name}{} ({from})", with(None))
            }
        };
        tables.add("exports", line);
    }
}

fn indirect(image: &Image, tables: &mut Tables) {
    for section in image.segments.sections() {
        let size = match section.kind() {
            object_kinds::NON_LAZY
            | object_kinds::LAZY
            | object_kinds::LAZY_DYLIB
            | object_kinds::THREAD_LOCAL => 8,
            object_kinds::STUBS => u64::from(section.reserved2),
            _ => continue,
        };
        for number in 0..section.size.checked_div(size).unwrap_or(0) {
            let at = section.address.0 + number * size;
            let index = section.reserved1 + u32::try_from(number).unwrap();
            let rest = match image.symbols.indirect(index) {
                Some(Indirect::Symbol(symbol)) => {
                    let found = image.symbols.get(symbol).and_then(|symbol| image.symbols.name(&symbol));
                    format!("{symbol} {}", String::from_utf8_lossy(&found.unwrap_or_default()))
                }
                Some(Indirect::Local) => "LOCAL".to_owned(),
                Some(Indirect::Absolute) => "ABSOLUTE".to_owned(),
                None => "?".to_owned(),
            };
            tables.add("indirect symbols", format!("{at:#x} {rest}"));
        }
    }
}

/// `S_*` of sections that have indirect symbols.
mod object_kinds {
    pub(super) const NON_LAZY: u32 = 6;
    pub(super) const LAZY: u32 = 7;
    pub(super) const STUBS: u32 = 8;
    pub(super) const LAZY_DYLIB: u32 = 0x10;
    pub(super) const THREAD_LOCAL: u32 = 0x14;
}
