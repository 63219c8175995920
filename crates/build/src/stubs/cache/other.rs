//! Mach-O and PE images.

use super::{Entry, Facts, SymbolSource, Table, Visibility};
use crate::stubs::StubError;
use crate::stubs::target::{Format, StubTarget};
use livepatch_object::address::LinkAddress;
use livepatch_object::relocatable::{Binding, SymbolKind};
use object::read::macho::{MachHeader as _, MachOFile64};
use object::{LittleEndian as LE, Object, ObjectKind, ObjectSection as _, ObjectSymbol as _, SymbolFlags};
use object::{SectionKind, macho};
use rustc_hash::{FxHashMap, FxHashSet};

/// Reads a linked image.
pub(super) fn read(data: &[u8]) -> Result<(Facts, Table), StubError> {
    let fail = StubError::unreadable("image");
    let file = crate::stubs::readable::parse(data, "image")?;
    if !matches!(file.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
        return Err(StubError::NotLinked { found: format!("{:?}", file.kind()) });
    }
    let target = StubTarget::of(&file)?;
    let mut sections = vec![Section::NONE];
    for section in file.sections() {
        let at = section.index().0;
        if at > 1 << 20 {
            return Err(StubError::Inconsistent { what: "a section's index" });
        }
        sections.resize(sections.len().max(at + 1), Section::NONE);
        sections[at] = Section {
            name: section.name().unwrap_or_default().to_owned(),
            kind: section.kind(),
            start: section.address(),
            end: section.address().saturating_add(section.size()),
        };
    }
    let mut facts = Facts {
        target,
        source: SymbolSource::Symtab,
        build_id: Vec::new(),
        entry: LinkAddress(file.entry()),
        elf_flags: 0,
        platform: None,
        threads: None,
        sections: Vec::new(),
        import_slots: FxHashMap::default(),
        lazy_imports: FxHashSet::default(),
        resolver_slots: FxHashMap::default(),
    };
    match target.format {
        Format::MachO => {
            facts.build_id = file.mach_uuid().map_err(&fail)?.map(Vec::from).unwrap_or_default();
            facts.platform = platform(data)?;
        }
        Format::Coff | Format::Elf => {
            facts.build_id =
                file.pdb_info().map_err(&fail)?.map(|pdb| pdb.guid().to_vec()).unwrap_or_default();
        }
    }
    let mut table = symbols(&file, &sections)?;
    if table.symbols.is_empty() && target.format == Format::Coff {
        facts.source = SymbolSource::Exports;
        table = exports(&file, &sections)?;
    }
    if table.symbols.is_empty() {
        let looked_for = match target.format {
            Format::MachO => "LC_SYMTAB",
            Format::Coff | Format::Elf => "COFF symbols, exports",
        };
        return Err(StubError::NoSymbols { looked_for });
    }
    facts.sections = sections.into_iter().map(|section| section.name).collect();
    Ok((facts, table))
}

#[derive(Clone)]
struct Section {
    name: String,
    kind: SectionKind,
    start: u64,
    end: u64,
}

impl Section {
    /// What symbols without a section are in.
    const NONE: Self = Self { name: String::new(), kind: SectionKind::Unknown, start: 0, end: 0 };
}

fn kind(section: SectionKind) -> SymbolKind {
    match section {
        SectionKind::Text => SymbolKind::Function,
        SectionKind::Tls | SectionKind::UninitializedTls | SectionKind::TlsVariables => {
            SymbolKind::ThreadLocal
        }
        SectionKind::Unknown => SymbolKind::None,
        _ => SymbolKind::Data,
    }
}

fn symbols(file: &object::File<'_>, sections: &[Section]) -> Result<Table, StubError> {
    let fail = StubError::unreadable("symbol table");
    let mut table = Table::default();
    for symbol in file.symbols() {
        let absolute = matches!(symbol.section(), object::SymbolSection::Absolute);
        let named = !matches!(symbol.kind(), object::SymbolKind::File | object::SymbolKind::Section);
        if !named || (symbol.section_index().is_none() && !absolute) {
            continue;
        }
        if let SymbolFlags::MachO { .. } = symbol.flags()
            && symbol.is_undefined()
        {
            continue;
        }
        let name = symbol.name_bytes().map_err(&fail)?;
        if name.is_empty() {
            continue;
        }
        let section = symbol.section_index().map_or(0, |index| index.0);
        let hidden = match symbol.flags() {
            // A linker that made it local keeps the flag.
            SymbolFlags::MachO { .. } => symbol.scope() != object::SymbolScope::Dynamic,
            _ => false,
        };
        table.push(
            name,
            Entry {
                section: u32::try_from(section).unwrap_or_default(),
                address: symbol.address(),
                size: symbol.size(),
                kind: sections.get(section).map_or(SymbolKind::None, |section| kind(section.kind)),
                binding: match (symbol.is_weak(), symbol.is_local()) {
                    (true, _) => Binding::Weak,
                    (_, true) => Binding::Local,
                    _ => Binding::Global,
                },
                visibility: if hidden { Visibility::Hidden } else { Visibility::Default },
                absolute,
                thumb: false,
            },
        )?;
    }
    Ok(table)
}

fn exports(file: &object::File<'_>, sections: &[Section]) -> Result<Table, StubError> {
    let mut table = Table::default();
    for export in file.exports().map_err(StubError::unreadable("export table"))? {
        let address = export.address();
        let section = sections.iter().position(|one| (one.start..one.end).contains(&address)).unwrap_or(0);
        if export.name().is_empty() {
            continue;
        }
        table.push(
            export.name(),
            Entry {
                section: u32::try_from(section).unwrap_or_default(),
                address,
                size: 0,
                kind: sections.get(section).map_or(SymbolKind::None, |section| kind(section.kind)),
                binding: Binding::Global,
                visibility: Visibility::Default,
                absolute: false,
                thumb: false,
            },
        )?;
    }
    Ok(table)
}

/// Platform, oldest version and SDK that a Mach-O image was linked for.
fn platform(data: &[u8]) -> Result<Option<[u32; 3]>, StubError> {
    let fail = StubError::unreadable("load command");
    let file = MachOFile64::<LE>::parse(data).map_err(&fail)?;
    let mut commands = file.macho_header().load_commands(LE, data, 0).map_err(&fail)?;
    while let Some(command) = commands.next().map_err(&fail)? {
        if let Some(version) = command.build_version().map_err(&fail)? {
            return Ok(Some([version.platform.get(LE), version.minos.get(LE), version.sdk.get(LE)]));
        }
        if command.cmd() == macho::LC_VERSION_MIN_MACOSX {
            let version: &macho::VersionMinCommand<LE> = command.data().map_err(&fail)?;
            return Ok(Some([macho::PLATFORM_MACOS, version.version.get(LE), version.sdk.get(LE)]));
        }
    }
    Ok(None)
}
