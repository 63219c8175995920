//! The dynamic section (generic ABI, "Dynamic Section"), as values that were not followed yet.

use super::fields::word_at;
use super::machine::Class;
use super::problem::Problem;
use crate::address::LinkAddress;
use object::elf;

/// `DT_ANDROID_REL` and its kin (bionic, "Packed relocations").
pub const DT_ANDROID_REL: u64 = 0x6000_000f;
/// Size of the table at [`DT_ANDROID_REL`].
pub const DT_ANDROID_RELSZ: u64 = 0x6000_0010;
/// As [`DT_ANDROID_REL`], with addends.
pub const DT_ANDROID_RELA: u64 = 0x6000_0011;
/// Size of the table at [`DT_ANDROID_RELA`].
pub const DT_ANDROID_RELASZ: u64 = 0x6000_0012;
/// `DT_RELR` before it was in the generic ABI.
pub const DT_ANDROID_RELR: u64 = 0x6fff_e000;
/// `DT_RELRSZ` before it was in the generic ABI.
pub const DT_ANDROID_RELRSZ: u64 = 0x6fff_e001;
/// `DT_RELRENT` before it was in the generic ABI.
pub const DT_ANDROID_RELRENT: u64 = 0x6fff_e003;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELRENT: u64 = 37;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// A table by address and size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// `DT_*`; none if there is no such entry.
    pub address: Option<LinkAddress>,
    /// `DT_*SZ`.
    pub size: u64,
}

impl Table {
    /// Address and size of a table that is there and not empty.
    pub fn present(&self) -> Option<(LinkAddress, u64)> {
        self.address.filter(|_| self.size > 0).map(|address| (address, self.size))
    }
}

/// Which of the two forms `DT_PLTREL` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `DT_REL`: the addend is in the place.
    Rel,
    /// `DT_RELA`: the addend is in the table.
    Rela,
}

/// What the dynamic section says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dynamic {
    /// `DT_NEEDED`, in order: offsets in the string table.
    pub needed: Vec<u64>,
    /// `DT_SONAME`.
    pub soname: Option<u64>,
    /// `DT_RUNPATH`.
    pub runpath: Option<u64>,
    /// `DT_RPATH`.
    pub rpath: Option<u64>,
    /// `DT_STRTAB`, `DT_STRSZ`.
    pub strings: Table,
    /// `DT_SYMTAB`.
    pub symbols: Option<LinkAddress>,
    /// `DT_HASH`.
    pub hash: Option<LinkAddress>,
    /// `DT_GNU_HASH`.
    pub gnu_hash: Option<LinkAddress>,
    /// `DT_REL`.
    pub rel: Table,
    /// `DT_RELA`.
    pub rela: Table,
    /// `DT_RELR` or `DT_ANDROID_RELR`.
    pub relr: Table,
    /// `DT_ANDROID_REL`.
    pub android_rel: Table,
    /// `DT_ANDROID_RELA`.
    pub android_rela: Table,
    /// `DT_JMPREL`, `DT_PLTRELSZ`.
    pub plt: Table,
    /// `DT_PLTREL`.
    pub plt_form: Option<Form>,
    /// `DT_PLTGOT`.
    pub plt_got: Option<LinkAddress>,
    /// `DT_INIT`.
    pub init: Option<LinkAddress>,
    /// `DT_FINI`.
    pub fini: Option<LinkAddress>,
    /// `DT_INIT_ARRAY`.
    pub init_array: Table,
    /// `DT_FINI_ARRAY`.
    pub fini_array: Table,
    /// `DT_PREINIT_ARRAY`.
    pub preinit_array: Table,
    /// `DT_VERSYM`.
    pub versions: Option<LinkAddress>,
    /// `DT_VERDEF` and how many.
    pub version_definitions: Table,
    /// `DT_VERNEED` and how many.
    pub version_needs: Table,
    /// `DT_FLAGS`, with the older entries for the same things.
    pub flags: u64,
    /// `DT_FLAGS_1`.
    pub flags_1: u64,
    /// Whether `DT_TEXTREL` or `DF_TEXTREL` is there.
    pub text_relocations: bool,
    /// `DT_DEBUG` was there.
    pub debug: bool,
}

impl Dynamic {
    /// Reads it. A section without `DT_NULL` ends with its bytes.
    pub fn read(bytes: &[u8], class: Class) -> Result<Self, Problem> {
        let mut found = Self::default();
        let word = class.word();
        for entry in bytes.chunks_exact(2 * word) {
            let (Some(tag), Some(value)) = (word_at(entry, 0, class), word_at(entry, word, class)) else {
                break;
            };
            if tag == 0 {
                break;
            }
            found.entry(tag, value, class)?;
        }
        Ok(found)
    }

    fn entry(&mut self, tag: u64, value: u64, class: Class) -> Result<(), Problem> {
        let address = Some(LinkAddress(value));
        let size = |what: &'static str, wanted: usize| match value == wanted as u64 {
            true => Ok(()),
            false => Err(Problem::Invalid { what, value }),
        };
        match tag {
            DT_GNU_HASH => self.gnu_hash = address,
            DT_VERSYM => self.versions = address,
            DT_VERDEF => self.version_definitions.address = address,
            DT_VERDEFNUM => self.version_definitions.size = value,
            DT_VERNEED => self.version_needs.address = address,
            DT_VERNEEDNUM => self.version_needs.size = value,
            DT_FLAGS_1 => self.flags_1 = value,
            DT_RELR | DT_ANDROID_RELR => self.relr.address = address,
            DT_RELRSZ | DT_ANDROID_RELRSZ => self.relr.size = value,
            DT_RELRENT => size("DT_RELRENT", class.word())?,
            DT_ANDROID_RELRENT => size("DT_ANDROID_RELRENT", class.word())?,
            DT_ANDROID_REL => self.android_rel.address = address,
            DT_ANDROID_RELSZ => self.android_rel.size = value,
            DT_ANDROID_RELA => self.android_rela.address = address,
            DT_ANDROID_RELASZ => self.android_rela.size = value,
            other => return self.generic(other, value, class),
        }
        Ok(())
    }

    /// The entries with small numbers.
    fn generic(&mut self, tag: u64, value: u64, class: Class) -> Result<(), Problem> {
        let Ok(tag) = u32::try_from(tag) else { return Ok(()) };
        let address = Some(LinkAddress(value));
        let size = |what: &'static str, wanted: usize| match value == wanted as u64 {
            true => Ok(()),
            false => Err(Problem::Invalid { what, value }),
        };
        match tag {
            elf::DT_NEEDED => self.needed.push(value),
            elf::DT_SONAME => self.soname = Some(value),
            elf::DT_RUNPATH => self.runpath = Some(value),
            elf::DT_RPATH => self.rpath = Some(value),
            elf::DT_STRTAB => self.strings.address = address,
            elf::DT_STRSZ => self.strings.size = value,
            elf::DT_SYMTAB => self.symbols = address,
            elf::DT_SYMENT => size("DT_SYMENT", class.either(16, 24))?,
            elf::DT_HASH => self.hash = address,
            elf::DT_REL => self.rel.address = address,
            elf::DT_RELSZ => self.rel.size = value,
            elf::DT_RELENT => size("DT_RELENT", class.either(8, 16))?,
            elf::DT_RELA => self.rela.address = address,
            elf::DT_RELASZ => self.rela.size = value,
            elf::DT_RELAENT => size("DT_RELAENT", class.either(12, 24))?,
            elf::DT_JMPREL => self.plt.address = address,
            elf::DT_PLTRELSZ => self.plt.size = value,
            elf::DT_PLTREL => self.plt_form = Some(plt_form(value)?),
            elf::DT_PLTGOT => self.plt_got = address,
            elf::DT_INIT => self.init = address,
            elf::DT_FINI => self.fini = address,
            elf::DT_INIT_ARRAY => self.init_array.address = address,
            elf::DT_INIT_ARRAYSZ => self.init_array.size = value,
            elf::DT_FINI_ARRAY => self.fini_array.address = address,
            elf::DT_FINI_ARRAYSZ => self.fini_array.size = value,
            elf::DT_PREINIT_ARRAY => self.preinit_array.address = address,
            elf::DT_PREINIT_ARRAYSZ => self.preinit_array.size = value,
            elf::DT_DEBUG => self.debug = true,
            elf::DT_TEXTREL => self.text_relocations = true,
            elf::DT_SYMBOLIC => self.flags |= u64::from(elf::DF_SYMBOLIC),
            elf::DT_BIND_NOW => self.flags |= u64::from(elf::DF_BIND_NOW),
            elf::DT_FLAGS => {
                self.flags |= value;
                self.text_relocations |= value & u64::from(elf::DF_TEXTREL) != 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts other addresses in place of all addresses.
    pub fn map_addresses(&mut self, to: impl Fn(LinkAddress) -> LinkAddress) {
        let tables = [
            &mut self.strings.address,
            &mut self.rel.address,
            &mut self.rela.address,
            &mut self.relr.address,
            &mut self.android_rel.address,
            &mut self.android_rela.address,
            &mut self.plt.address,
            &mut self.init_array.address,
            &mut self.fini_array.address,
            &mut self.preinit_array.address,
            &mut self.version_definitions.address,
            &mut self.version_needs.address,
            &mut self.symbols,
            &mut self.hash,
            &mut self.gnu_hash,
            &mut self.plt_got,
            &mut self.init,
            &mut self.fini,
            &mut self.versions,
        ];
        for address in tables.into_iter().flatten() {
            *address = to(*address);
        }
    }

    /// Whether references to own symbols are bound to them first (`DT_SYMBOLIC`).
    pub fn symbolic(&self) -> bool {
        self.flags & u64::from(elf::DF_SYMBOLIC) != 0
    }

    /// Whether it may not be bound lazily.
    pub fn bind_now(&self) -> bool {
        self.flags & u64::from(elf::DF_BIND_NOW) != 0 || self.flags_1 & u64::from(elf::DF_1_NOW) != 0
    }

    /// Whether its code takes its thread-locals to be at constant offsets (`DF_STATIC_TLS`).
    pub fn static_tls(&self) -> bool {
        self.flags & u64::from(elf::DF_STATIC_TLS) != 0
    }

    /// Whether it is never to be unloaded (`DF_1_NODELETE`).
    pub fn no_delete(&self) -> bool {
        self.flags_1 & u64::from(elf::DF_1_NODELETE) != 0
    }

    /// Whether its symbols are for everyone, however it is loaded (`DF_1_GLOBAL`).
    pub fn global(&self) -> bool {
        self.flags_1 & u64::from(elf::DF_1_GLOBAL) != 0
    }
}

fn plt_form(value: u64) -> Result<Form, Problem> {
    match u32::try_from(value) {
        Ok(elf::DT_REL) => Ok(Form::Rel),
        Ok(elf::DT_RELA) => Ok(Form::Rela),
        _ => Err(Problem::Unsupported { tag: "DT_PLTREL" }),
    }
}
