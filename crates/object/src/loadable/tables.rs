//! All tables of one shared object, checked against the segments they lie in.

use super::dynamic::{Dynamic, Form, Table};
use super::hash::{GnuHash, HashTable, Name, SysvHash};
use super::image::Image;
use super::machine::{Class, Machine};
use super::packed;
use super::problem::Problem;
use super::program::ProgramHeaders;
use super::relocation::{Entry, Plain};
use super::symbol::{Symbol, Symbols};
use super::version::{Suits, Versions, Wanted};
use crate::address::LinkAddress;
use bytes::Bytes;

/// What a shared object needs, defines and wants changed.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The dynamic section.
    pub dynamic: Dynamic,
    /// Symbols and strings.
    pub symbols: Symbols,
    /// Symbols by name.
    pub hash: HashTable,
    /// Versions of symbols.
    pub versions: Versions,
    /// Words to change.
    pub relocations: Relocations,
    class: Class,
}

/// A symbol that a lookup found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its number.
    pub index: u32,
    /// What it is.
    pub symbol: Symbol,
}

impl Tables {
    /// Reads what the dynamic section names, and checks it as Android's linker does before it relocates.
    pub fn read(headers: &ProgramHeaders, image: &dyn Image, machine: Machine) -> Result<Self, Problem> {
        let class = machine.class();
        let segment = headers.dynamic()?;
        let bytes = image.bytes(segment.address, segment.file_size);
        let outside = Problem::TableOutside { what: "PT_DYNAMIC", address: segment.address.0 };
        let dynamic = Dynamic::read(&bytes.ok_or(outside)?, class)?;
        // No two relocations change the same word, and compressed ones change words that are in the file.
        let bound = headers.loads().map(|segment| segment.file_size / class.word() as u64).sum();
        let relocations = Relocations::read(&dynamic, image, class, bound)?;
        if dynamic.text_relocations && class == Class::Elf64 {
            return Err(Problem::TextRelocations);
        }
        Self::of(dynamic, image, machine, relocations)
    }

    /// The same for an image that is loaded already. Relocations that cannot be read are left out: they have
    /// been done.
    pub fn read_loaded(dynamic: Dynamic, image: &dyn Image, machine: Machine) -> Result<Self, Problem> {
        let relocations = Relocations::read(&dynamic, image, machine.class(), 0);
        let relocations = relocations.unwrap_or_else(|_| Relocations::none());
        Self::of(dynamic, image, machine, relocations)
    }

    fn of(
        dynamic: Dynamic,
        image: &dyn Image,
        machine: Machine,
        relocations: Relocations,
    ) -> Result<Self, Problem> {
        let class = machine.class();
        if dynamic.gnu_hash.is_none() && dynamic.hash.is_none() {
            return Err(Problem::NoHash);
        }
        let (strings, size) = dynamic.strings.present().ok_or(Problem::Missing { tag: "DT_STRTAB" })?;
        let symbols = dynamic.symbols.ok_or(Problem::Missing { tag: "DT_SYMTAB" })?;
        let outside = |what, at: LinkAddress| Problem::TableOutside { what, address: at.0 };
        let strings = image.bytes(strings, size).ok_or(outside("DT_STRTAB", strings))?;
        let entries = image.rest(symbols).ok_or(outside("DT_SYMTAB", symbols))?;
        let symbols = Symbols::new(entries, strings, class);
        let hash = match (dynamic.gnu_hash, dynamic.hash) {
            (Some(address), _) => HashTable::Gnu(GnuHash::read(image, address, class)?),
            (None, Some(address)) => HashTable::Sysv(SysvHash::read(image, address)?),
            (None, None) => return Err(Problem::NoHash),
        };
        let versions = Versions::read(&dynamic, image, &symbols)?;
        Ok(Self { dynamic, symbols, hash, versions, relocations, class })
    }

    /// How wide addresses are.
    pub fn class(&self) -> Class {
        self.class
    }

    /// A text that the dynamic section names.
    pub fn text(&self, offset: u64) -> Option<String> {
        self.symbols.text(offset).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// `DT_SONAME`.
    pub fn soname(&self) -> Option<String> {
        self.text(self.dynamic.soname?)
    }

    /// `DT_RUNPATH`.
    pub fn runpath(&self) -> Option<String> {
        self.text(self.dynamic.runpath?)
    }

    /// `DT_NEEDED`, in order. Names outside the string table are left out.
    pub fn needed(&self) -> impl Iterator<Item = String> + '_ {
        self.dynamic.needed.iter().filter_map(|&offset| self.text(offset))
    }

    /// How many symbols there can be: no relocation may name another.
    pub fn symbol_count(&self) -> u32 {
        self.hash.symbol_count().min(self.symbols.bound())
    }

    /// The exported symbol of a name in the version that is wanted.
    #[inline]
    pub fn find(&self, name: &Name<'_>, wanted: Wanted<'_>) -> Option<Found> {
        let mut found = None;
        let mut alternatives = 0;
        let index = self.hash.find(name, |index| {
            let Some(symbol) = self.symbols.get(index) else { return false };
            if !symbol.is_exported() || !self.symbols.is_named(&symbol, name.bytes) {
                return false;
            }
            match self.versions.suits(index, wanted) {
                Suits::No => false,
                Suits::IfAlone => {
                    alternatives += 1;
                    found.get_or_insert(Found { index, symbol });
                    false
                }
                Suits::Yes => {
                    found = Some(Found { index, symbol });
                    true
                }
            }
        });
        match (index, alternatives) {
            (Some(_), _) => found,
            (None, 1) => found,
            // Of several, none is the one that was meant.
            (None, _) => None,
        }
    }

    /// The numbers of all symbols that others can find.
    pub fn exported(&self) -> impl Iterator<Item = Found> + '_ {
        (1..self.symbol_count()).filter_map(|index| {
            let symbol = self.symbols.get(index)?;
            symbol.is_exported().then_some(Found { index, symbol })
        })
    }
}

/// Every relocation table of an object.
#[derive(Clone, Debug)]
pub struct Relocations {
    /// `DT_RELR`.
    pub relr: Bytes,
    /// `DT_ANDROID_REL` and `DT_ANDROID_RELA`, unpacked; with the form that says where addends are.
    pub packed: Vec<(Form, Vec<Entry>)>,
    /// `DT_REL` and `DT_RELA`.
    pub plain: Vec<Plain>,
    /// `DT_JMPREL`.
    pub plt: Option<Plain>,
}

impl Relocations {
    fn none() -> Self {
        Self { relr: Bytes::new(), packed: Vec::new(), plain: Vec::new(), plt: None }
    }

    fn read(dynamic: &Dynamic, image: &dyn Image, class: Class, bound: u64) -> Result<Self, Problem> {
        let bytes = |what, table: &Table| match table.present() {
            Some((address, size)) => {
                image.bytes(address, size).map(Some).ok_or(Problem::TableOutside { what, address: address.0 })
            }
            None => Ok(None),
        };
        let mut found = Self::none();
        if let Some(table) = bytes("DT_RELR", &dynamic.relr)? {
            if !table.len().is_multiple_of(class.word()) {
                return Err(Problem::Invalid { what: "DT_RELRSZ", value: table.len() as u64 });
            }
            found.relr = table;
        }
        let packed = [
            ("DT_ANDROID_REL", &dynamic.android_rel, Form::Rel),
            ("DT_ANDROID_RELA", &dynamic.android_rela, Form::Rela),
        ];
        for (what, table, form) in packed {
            if let Some(table) = bytes(what, table)? {
                let mut entries = Vec::new();
                packed::android(&table, class, bound, |entry| entries.push(entry))?;
                found.packed.push((form, entries));
            }
        }
        let plain = [("DT_REL", &dynamic.rel, Form::Rel), ("DT_RELA", &dynamic.rela, Form::Rela)];
        for (what, table, form) in plain {
            if let Some(table) = bytes(what, table)? {
                found.plain.push(Plain::new(table, form, class)?);
            }
        }
        found.plain = found.plain.into_iter().map(|table| without_plt(table, dynamic)).collect();
        if let Some(table) = bytes("DT_JMPREL", &dynamic.plt)? {
            let form = dynamic.plt_form.ok_or(Problem::Unsupported { tag: "DT_PLTREL" })?;
            found.plt = Some(Plain::new(table, form, class)?);
        }
        Ok(found)
    }

    /// How many words there are to change, for those who report it.
    pub fn count(&self, class: Class) -> usize {
        let packed: usize = self.packed.iter().map(|(_, entries)| entries.len()).sum();
        let plain: usize = self.plain.iter().map(Plain::len).sum();
        let plt = self.plt.as_ref().map_or(0, Plain::len);
        packed::relr(&self.relr, class).count() + packed + plain + plt
    }
}

/// Some linkers count the procedure linkage table's relocations, which lie behind the others, among those: they
/// are done once.
fn without_plt(table: Plain, dynamic: &Dynamic) -> Plain {
    let whole = match table.form() {
        Form::Rel => dynamic.rel.present(),
        Form::Rela => dynamic.rela.present(),
    };
    let (Some((start, size)), Some((plt, plt_size))) = (whole, dynamic.plt.present()) else { return table };
    let (end, plt_end) = (start.0.checked_add(size), plt.0.checked_add(plt_size));
    match plt.checked_since(start) {
        Some(before) if end == plt_end && before < size => table.up_to(before),
        _ => table,
    }
}
