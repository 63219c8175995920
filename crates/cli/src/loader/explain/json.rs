//! The answer for tools.

use super::Answer;
use super::supply::Imported;
use super::text::place;
use crate::error::Failure;
use livepatch_object::macho::path::Paths;
use livepatch_object::macho::stub::Stub;
use livepatch_object::macho::{Action, ExportTarget, Fixup, Format};
use serde::Serialize;
use std::path::Path;

/// The format's version: it changes with what is here already, not with what is added.
pub(super) const VERSION: u32 = 1;

#[derive(Serialize)]
struct Root<'a> {
    version: u32,
    path: &'a str,
    architectures: Vec<String>,
    architecture: String,
    kind: &'static str,
    id: Option<&'a str>,
    namespace: &'static str,
    format: &'static str,
    pointer_formats: Vec<&'static str>,
    rebases: usize,
    libraries: Vec<Library<'a>>,
    rpaths: &'a [String],
    stubs: Vec<StubAt>,
    helper: Option<Helper>,
    bindings: Vec<Binding>,
    exports: usize,
    reexports: Vec<Reexport>,
    imports: Vec<ImportAt>,
}

#[derive(Serialize)]
struct Library<'a> {
    ordinal: usize,
    kind: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct StubAt {
    address: u64,
    slot: Option<u64>,
    helper: Option<u64>,
    lazy_entry: Option<u32>,
    symbol: Option<String>,
}

#[derive(Serialize)]
struct Helper {
    address: u64,
    private: Option<u64>,
    binder_slot: u64,
}

#[derive(Serialize)]
struct Binding {
    table: &'static str,
    at: u32,
    slot: u64,
    file_offset: u64,
    place: String,
    symbol: String,
    ordinal: i64,
    addend: i64,
    weak_import: bool,
    /// Of arm64e.
    signed: Option<Signed>,
}

#[derive(Serialize)]
struct Signed {
    key: &'static str,
    diversity: u16,
    with_address: bool,
}

#[derive(Serialize)]
struct Reexport {
    name: String,
    ordinal: u32,
    is: String,
}

#[derive(Serialize)]
struct ImportAt {
    symbol: String,
    ordinal: i64,
    weak_import: bool,
    supplied_by: &'static str,
    resolved: bool,
    hazard: Option<Hazard>,
}

#[derive(Serialize)]
struct Hazard {
    kind: &'static str,
    difference: &'static str,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn render(answer: &Answer) -> Result<String, Failure> {
    let (image, fixups) = (&answer.image, &answer.fixups);
    let unsound = |problem| super::subject::unsound(Path::new(&answer.path), problem);
    let exports = image.exports().and_then(|exports| exports.all()).map_err(unsound)?;
    let paths = Paths::new(image, fixups);
    let (format, pointer_formats) = match &fixups.format {
        Format::DyldInfo => ("dyld-info", Vec::new()),
        Format::Chained(formats) => ("chained", formats.iter().map(|format| format.name()).collect()),
        Format::Relocations => ("relocations", Vec::new()),
    };
    let reexports = exports.iter().filter_map(|export| match &export.target {
        ExportTarget::Reexport { ordinal, name } => {
            Some(Reexport { name: text(&export.name), ordinal: *ordinal, is: text(name) })
        }
        _ => None,
    });
    let is_rebase = |record: &&Fixup| matches!(record.action, Action::Rebase { .. });
    let root = Root {
        version: VERSION,
        path: &answer.path,
        architectures: answer.architectures.iter().map(ToString::to_string).collect(),
        architecture: image.header.architecture.to_string(),
        kind: image.header.kind.name(),
        id: image.id.as_ref().map(|id| id.name.as_str()),
        namespace: if image.header.is_two_level() { "two-level" } else { "flat" },
        format,
        pointer_formats,
        rebases: fixups.records.iter().filter(is_rebase).count(),
        libraries: libraries(answer),
        rpaths: &image.rpaths,
        stubs: paths.stubs().iter().map(|found| stub(&paths, found)).collect(),
        helper: paths.helpers().common.map(|common| Helper {
            address: common.address.0,
            private: common.private.map(|private| private.0),
            binder_slot: common.binder_slot.0,
        }),
        bindings: fixups.records.iter().filter_map(|record| binding(answer, record)).collect(),
        exports: exports.len(),
        reexports: reexports.collect(),
        imports: answer.imports.iter().map(import).collect(),
    };
    Ok(print(&root))
}

/// As one object and a line's end.
pub(super) fn print(root: &impl Serialize) -> String {
    // Its maps have texts for keys: there is nothing that could not be written.
    serde_json::to_string_pretty(root).unwrap_or_default() + "\n"
}

fn libraries(answer: &Answer) -> Vec<Library<'_>> {
    let numbered = (1..).zip(&answer.image.libraries);
    numbered
        .map(|(ordinal, library)| Library { ordinal, kind: library.kind.name(), name: &library.name })
        .collect()
}

fn stub(paths: &Paths<'_>, stub: &Stub) -> StubAt {
    let helper = stub.slot.and_then(|slot| paths.helper_of(slot));
    let bound = stub.slot.and_then(|slot| paths.import_at(slot)).map(|import| &import.symbol);
    StubAt {
        address: stub.address.0,
        slot: stub.slot.map(|slot| slot.0),
        helper: helper.map(|helper| helper.address.0),
        lazy_entry: helper.map(|helper| helper.lazy_entry),
        symbol: bound.or(stub.symbol.as_ref()).map(|symbol| text(symbol)),
    }
}

fn binding(answer: &Answer, record: &Fixup) -> Option<Binding> {
    let Action::Bind { addend, auth, .. } = record.action else { return None };
    let import = answer.fixups.import_of(record)?;
    Some(Binding {
        table: record.table.name(),
        at: record.at,
        slot: record.slot.address.0,
        file_offset: record.slot.offset.0,
        place: place(&answer.image, record),
        symbol: text(&import.symbol),
        ordinal: import.ordinal.number(),
        addend,
        weak_import: import.weak_import,
        signed: auth.map(|auth| Signed {
            key: auth.key_name(),
            diversity: auth.diversity,
            with_address: auth.with_address,
        }),
    })
}

fn import(imported: &Imported) -> ImportAt {
    ImportAt {
        symbol: text(&imported.import.symbol),
        ordinal: imported.import.ordinal.number(),
        weak_import: imported.import.weak_import,
        supplied_by: imported.supply.name(),
        resolved: !imported.is_unresolved(),
        hazard: imported
            .hazard
            .map(|hazard| Hazard { kind: hazard.kind.name(), difference: hazard.difference }),
    }
}
