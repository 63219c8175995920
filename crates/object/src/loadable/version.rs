//! Symbol versions (Linux Standard Base, "Symbol Versioning").

use super::dynamic::Dynamic;
use super::fields::{u16_at, u32_at};
use super::hash::sysv_hash;
use super::image::Image;
use super::problem::Problem;
use super::symbol::Symbols;
use bytes::Bytes;

/// `VERSYM_HIDDEN`: found by its version only.
const HIDDEN: u16 = 0x8000;
/// Numbers up to this one mean "local" and "global, without a version".
const GLOBAL: u16 = 1;
/// No table of a real object has more versions.
const MOST: u64 = 0x8000;

/// A version's name. Two are the same if names are; the hash is compared first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// [`sysv_hash`] of the name.
    pub hash: u32,
    /// For instance `GLIBC_2.34`.
    pub name: Bytes,
    /// The library that has to define it, if it was asked for in one.
    pub library: Option<Bytes>,
    /// Whether only symbols of exactly this version will do.
    pub hidden: bool,
}

impl Version {
    /// A version by name, as `dlvsym` is given it.
    pub fn named(name: &[u8]) -> Self {
        Self { hash: sysv_hash(name), name: Bytes::copy_from_slice(name), library: None, hidden: true }
    }

    fn is(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

/// What a lookup asks for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// This version.
    Version(&'a Version),
    /// Of references without versions, which were linked before there were any: the oldest.
    Oldest,
    /// Of `dlsym`: the default one.
    Default,
}

/// How a symbol's version suits a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suits {
    /// Not at all.
    No,
    /// As well as can be.
    Yes,
    /// If no other version of the name is there.
    IfAlone,
}

/// The versions of one object: those it defines and those it needs, by number.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// `DT_VERSYM`; empty if symbols have no versions.
    numbers: Bytes,
    by_number: Vec<Option<Version>>,
    /// Names of the definitions, the object's own name left out.
    defined: Vec<Version>,
    needs: Vec<Need>,
}

/// A version that has to be defined by a library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// Which version, and whose.
    pub version: Version,
    /// Whether it may be missing (`VER_FLG_WEAK`).
    pub weak: bool,
}

impl Versions {
    /// Reads all tables.
    pub fn read(dynamic: &Dynamic, image: &dyn Image, symbols: &Symbols) -> Result<Self, Problem> {
        let mut versions = Self::default();
        let Some(address) = dynamic.versions else { return Ok(versions) };
        let outside = Problem::TableOutside { what: "DT_VERSYM", address: address.0 };
        versions.numbers = image.rest(address).ok_or(outside)?;
        versions.read_definitions(dynamic, image, symbols)?;
        versions.read_needs(dynamic, image, symbols)?;
        Ok(versions)
    }

    fn read_definitions(
        &mut self,
        dynamic: &Dynamic,
        image: &dyn Image,
        symbols: &Symbols,
    ) -> Result<(), Problem> {
        let Some((address, count)) = dynamic.version_definitions.present() else { return Ok(()) };
        let outside = Problem::TableOutside { what: "DT_VERDEF", address: address.0 };
        let bytes = image.rest(address).ok_or(outside)?;
        let bad = || Problem::BadVersions("a definition is outside its table");
        let count = count.min(MOST);
        // Few are used for more than they say: what a table has no room for is not allocated.
        let room = (count as usize).min(bytes.len() / 20);
        self.defined.reserve_exact(room);
        self.by_number.reserve_exact(room + 1);
        let mut at = 0usize;
        for _ in 0..count {
            let (structure, flags, number) =
                (u16_at(&bytes, at), u16_at(&bytes, at + 2), u16_at(&bytes, at + 4));
            if structure != Some(1) {
                return Err(Problem::BadVersions("vd_version is not 1"));
            }
            let (flags, number) = (flags.ok_or_else(bad)?, number.ok_or_else(bad)?);
            let auxiliary = at.saturating_add(u32_at(&bytes, at + 12).ok_or_else(bad)? as usize);
            let next = u32_at(&bytes, at + 16).ok_or_else(bad)? as usize;
            let is_own_name = flags & 1 != 0;
            if !is_own_name {
                let name = u32_at(&bytes, auxiliary).ok_or_else(bad)?;
                let version = self.version(symbols, name, None, false)?;
                self.defined.push(version.clone());
                self.set(number, version)?;
            }
            if next == 0 {
                break;
            }
            at = at.checked_add(next).ok_or_else(bad)?;
        }
        Ok(())
    }

    fn read_needs(&mut self, dynamic: &Dynamic, image: &dyn Image, symbols: &Symbols) -> Result<(), Problem> {
        let Some((address, count)) = dynamic.version_needs.present() else { return Ok(()) };
        let outside = Problem::TableOutside { what: "DT_VERNEED", address: address.0 };
        let bytes = image.rest(address).ok_or(outside)?;
        let bad = || Problem::BadVersions("a need is outside its table");
        let needed: Vec<&[u8]> = dynamic.needed.iter().filter_map(|&name| symbols.text(name)).collect();
        let mut at = 0usize;
        for index in 0..count.min(MOST) {
            if u16_at(&bytes, at) != Some(1) {
                return Err(Problem::BadVersions("vn_version is not 1"));
            }
            let entries = u16_at(&bytes, at + 2).ok_or_else(bad)?;
            let file = u32_at(&bytes, at + 4).ok_or_else(bad)?;
            let library = symbols.kept_text(file.into()).ok_or_else(bad)?;
            if !needed.contains(&&*library) {
                let library = String::from_utf8_lossy(&library).into_owned();
                return Err(Problem::VersionOfStranger { library, index: index as usize });
            }
            let first = at.saturating_add(u32_at(&bytes, at + 8).ok_or_else(bad)? as usize);
            self.read_need_entries(&bytes, first, entries, &library, symbols)?;
            let next = u32_at(&bytes, at + 12).ok_or_else(bad)? as usize;
            if next == 0 {
                break;
            }
            at = at.checked_add(next).ok_or_else(bad)?;
        }
        Ok(())
    }

    fn read_need_entries(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        entries: u16,
        library: &Bytes,
        symbols: &Symbols,
    ) -> Result<(), Problem> {
        let bad = || Problem::BadVersions("an entry of a need is outside its table");
        for _ in 0..entries {
            let flags = u16_at(bytes, at.saturating_add(4)).ok_or_else(bad)?;
            let number = u16_at(bytes, at.saturating_add(6)).ok_or_else(bad)?;
            let name = u32_at(bytes, at.saturating_add(8)).ok_or_else(bad)?;
            let next = u32_at(bytes, at.saturating_add(12)).ok_or_else(bad)? as usize;
            let hidden = number & HIDDEN != 0;
            let version = self.version(symbols, name, Some(library.clone()), hidden)?;
            if self.needs.len() as u64 >= MOST {
                return Err(Problem::BadVersions("too many needs"));
            }
            self.needs.push(Need { version: version.clone(), weak: flags & 2 != 0 });
            self.set(number, version)?;
            if next == 0 {
                break;
            }
            at = at.checked_add(next).ok_or_else(bad)?;
        }
        Ok(())
    }

    fn version(
        &self,
        symbols: &Symbols,
        name: u32,
        library: Option<Bytes>,
        hidden: bool,
    ) -> Result<Version, Problem> {
        let name = symbols.kept_text(name.into());
        let name = name.ok_or(Problem::BadVersions("a name is outside the strings"))?;
        Ok(Version { hash: sysv_hash(&name), name, library, hidden })
    }

    fn set(&mut self, number: u16, version: Version) -> Result<(), Problem> {
        let index = usize::from(number & !HIDDEN);
        if self.by_number.len() <= index {
            self.by_number.resize(index + 1, None);
        }
        self.by_number[index] = Some(version);
        Ok(())
    }

    /// Whether symbols have versions at all.
    pub fn any(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// What is needed of other libraries.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// What is defined here.
    pub fn defined(&self) -> &[Version] {
        &self.defined
    }

    /// Whether a version is defined here.
    pub fn defines(&self, version: &Version) -> bool {
        self.defined.iter().any(|defined| defined.is(version))
    }

    /// A symbol's version, of the definition or of the reference; none if it has none.
    #[inline]
    pub fn of(&self, symbol: u32) -> Option<&Version> {
        let number = u16_at(&self.numbers, (symbol as usize).checked_mul(2)?)? & !HIDDEN;
        self.by_number.get(usize::from(number))?.as_ref()
    }

    /// Whether the symbol with this number is the default of its name.
    pub fn is_default(&self, symbol: u32) -> bool {
        u16_at(&self.numbers, symbol as usize * 2).is_none_or(|number| number & HIDDEN == 0)
    }

    /// Whether a definition with this number will do.
    #[inline]
    pub fn suits(&self, symbol: u32, wanted: Wanted<'_>) -> Suits {
        let Some(number) = u16_at(&self.numbers, (symbol as usize).saturating_mul(2)) else {
            return Suits::Yes;
        };
        let (hidden, index) = (number & HIDDEN != 0, number & !HIDDEN);
        let least = match wanted {
            Wanted::Version(version) => return self.suits_version(index, hidden, version),
            Wanted::Oldest => GLOBAL + 2,
            Wanted::Default => GLOBAL + 1,
        };
        match (index >= least, hidden) {
            (false, _) => Suits::Yes,
            (true, false) => Suits::IfAlone,
            (true, true) => Suits::No,
        }
    }

    fn suits_version(&self, index: u16, hidden: bool, wanted: &Version) -> Suits {
        match self.by_number.get(usize::from(index)).and_then(Option::as_ref) {
            Some(version) if version.is(wanted) => Suits::Yes,
            // A definition without a version is as good as any, unless exactly one was asked for.
            None if !wanted.hidden && !hidden => Suits::Yes,
            _ => Suits::No,
        }
    }
}
