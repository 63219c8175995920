//! Archive members for a patch library: what the host had no use for, so that its linker left it out.
//!
//! A stub object leads to what the host has. What it has not may be in an archive of the captured link; the member
//! that defines it goes into the patch library as a whole, and calls its own neighbours there. One that has state
//! cannot: the library would have a second copy of what the host has, with values of its own.

use crate::archives::{index, is_archive, open};
use crate::objects::LoadError;
use crate::stubs::{HotpatchModuleCache, Lookup};
use livepatch_object::archive::{ArchiveIndex, MemberId, member};
use object::read::ReadCache;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};
use rustc_hash::FxHashSet;
use std::path::PathBuf;

/// The archives of a captured link, in link order.
#[derive(Debug)]
pub struct Members {
    archives: Vec<(PathBuf, ArchiveIndex)>,
    /// What was handed out.
    taken: FxHashSet<(usize, MemberId)>,
}

/// A member cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// An archive cannot be read, or is damaged.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It has state that the host has as well.
    #[error("`{name}` is in {} beside `{state}`, whose value the host has", .path.display())]
    State {
        /// What was looked for.
        name: String,
        /// The archive.
        path: PathBuf,
        /// The state.
        state: String,
    },
}

impl Members {
    /// Reads the symbol tables of the archives among a link's inputs.
    pub fn open(link_inputs: &[PathBuf]) -> Result<Self, MemberError> {
        let paths = link_inputs.iter().filter(|path| is_archive(path));
        let archives =
            paths.map(|path| Ok((path.clone(), index(path)?))).collect::<Result<_, LoadError>>()?;
        Ok(Self { archives, taken: FxHashSet::default() })
    }

    /// The first member, in link order, that defines `name`: none where none does, or where it was handed out
    /// already.
    pub fn take(&mut self, name: &str, host: &HotpatchModuleCache) -> Result<Option<Vec<u8>>, MemberError> {
        for (at, (path, index)) in self.archives.iter().enumerate() {
            for id in index.candidates(name) {
                let cache = ReadCache::new(open(path)?);
                let object =
                    member(&cache, id).map_err(|source| LoadError::Object { path: path.clone(), source })?;
                let Ok(file) = object::File::parse(object) else { continue };
                let mut symbols =
                    file.symbols().filter(|symbol| symbol.is_definition() && !symbol.is_local());
                if !symbols.any(|symbol| symbol.name() == Ok(name)) {
                    continue;
                }
                if let Some(state) = state(&file, host) {
                    return Err(MemberError::State { name: name.to_owned(), path: path.clone(), state });
                }
                return Ok(self.taken.insert((at, id)).then(|| object.to_vec()));
            }
        }
        Ok(None)
    }
}

/// A variable of the object's that the host has too.
fn state(object: &object::File<'_>, host: &HotpatchModuleCache) -> Option<String> {
    let mut symbols = object.symbols().filter(|symbol| symbol.is_definition());
    let variable = symbols.find(|symbol| {
        let section = symbol.section_index().and_then(|index| object.section_by_index(index).ok());
        let writable = section.is_some_and(|section| match section.kind() {
            // Constants with addresses in them are written once, when the library is loaded.
            SectionKind::Data => !section.name().is_ok_and(|name| name.starts_with(".data.rel.ro")),
            SectionKind::UninitializedData
            | SectionKind::Common
            | SectionKind::Tls
            | SectionKind::UninitializedTls
            | SectionKind::TlsVariables => true,
            _ => false,
        });
        // Compilers put the address of a personality routine into a word of its own.
        let is_constant = symbol.name().is_ok_and(|name| name.starts_with("DW.ref."));
        writable
            && !is_constant
            && symbol.name().is_ok_and(|name| !matches!(host.lookup(name), Lookup::Missing))
    })?;
    variable.name().ok().map(str::to_owned)
}
