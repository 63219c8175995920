//! Static archives (`.a`, `.rlib`): which member defines a symbol, without reading the members.
//!
//! Specification: System V archive format with the GNU symbol table.

use crate::ObjectError;
use object::ReadRef;
use object::read::archive::{ArchiveFile, ArchiveOffset};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher as _;

/// A member's position in its archive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemberId(u64);

/// The symbol table of one archive: hashes of names, so that hundreds of archives stay small.
#[derive(Clone, Debug, Default)]
pub struct ArchiveIndex {
    /// Hash of a name and the member that defines it, ascending.
    entries: Vec<(u64, MemberId)>,
}

impl ArchiveIndex {
    /// Reads an archive's symbol table. An archive without one has no symbols.
    pub fn parse<'d>(data: impl ReadRef<'d>) -> Result<Self, ObjectError> {
        let fail = ObjectError::container("archive");
        let archive = ArchiveFile::parse(data).map_err(&fail)?;
        if archive.is_thin() {
            return Err(ObjectError::WrongKind {
                needed: "an archive with members",
                found: "a thin archive".into(),
            });
        }
        let mut entries = Vec::new();
        if let Some(symbols) = archive.symbols().map_err(&fail)? {
            for symbol in symbols {
                let symbol = symbol.map_err(&fail)?;
                entries.push((FxBuildHasher.hash_one(symbol.name()), MemberId(symbol.offset().0)));
            }
        }
        entries.sort_unstable_by_key(|&(hash, member)| (hash, member.0));
        Ok(Self { entries })
    }

    /// The members that may define a name: all that do, and by chance one that does not.
    pub fn candidates(&self, name: &str) -> impl Iterator<Item = MemberId> {
        let hash = FxBuildHasher.hash_one(name.as_bytes());
        let start = self.entries.partition_point(|entry| entry.0 < hash);
        self.entries[start..].iter().take_while(move |entry| entry.0 == hash).map(|entry| entry.1)
    }
}

/// A member's bytes.
pub fn member<'d>(data: impl ReadRef<'d>, id: MemberId) -> Result<&'d [u8], ObjectError> {
    let fail = ObjectError::container("archive");
    let archive = ArchiveFile::parse(data).map_err(&fail)?;
    archive.member(ArchiveOffset(id.0)).map_err(&fail)?.data(data).map_err(&fail)
}
