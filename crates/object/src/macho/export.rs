//! What an image exports: the exports trie (`<mach-o/loader.h>`, `dyld_info_command`), or the symbol table.

use super::cursor::Cursor;
use super::{Image, Problem};
use crate::address::LinkAddress;
use bytes::Bytes;
use hashbrown::HashSet;
use object::macho;
use rustc_hash::FxBuildHasher;

const TABLE: &str = "the exports trie";
/// All names together are so many times longer than the trie at most: they share their beginnings in it.
const SHARING: usize = 256;

/// A name that others can find.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Export {
    /// The name, with its underscore.
    pub name: Bytes,
    /// Whether another definition of the same name may be used in its place.
    pub weak: bool,
    /// What it is.
    pub target: ExportTarget,
}

/// What an exported name is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ExportTarget {
    /// Code or data.
    Regular(LinkAddress),
    /// A thread-local variable: its descriptor.
    ThreadLocal(LinkAddress),
    /// A number.
    Absolute(u64),
    /// Another library's.
    Reexport {
        /// Which library: its ordinal, from 1.
        ordinal: u32,
        /// What it is called there.
        name: Bytes,
    },
    /// A function that another function finds.
    StubAndResolver {
        /// What others call: it jumps through a pointer.
        stub: LinkAddress,
        /// Returns the function's address.
        resolver: LinkAddress,
    },
}

/// All exports of an image.
#[derive(Clone, Debug)]
pub struct Exports {
    base: LinkAddress,
    libraries: usize,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Trie(Bytes),
    /// Sorted by name.
    Symbols(Vec<Export>),
}

impl Image {
    /// Finds where exports are: the trie, or of images without one the symbol table.
    pub fn exports(&self) -> Result<Exports, Problem> {
        let trie = self.table(&self.tables.exports);
        let has_trie = !trie.is_empty() || self.tables.has_dyld_info || self.tables.has_chained_fixups;
        let source = match has_trie {
            true => Source::Trie(trie),
            false => Source::Symbols(from_symbols(self)),
        };
        Ok(Exports { base: self.base(), libraries: self.libraries.len(), source })
    }
}

fn from_symbols(image: &Image) -> Vec<Export> {
    let thread_local = |address: LinkAddress| {
        let section = image.segments.section_of(address).and_then(|id| image.segments.section(id));
        section.is_some_and(|section| section.kind() == macho::S_THREAD_LOCAL_VARIABLES)
    };
    let exported = image.symbols.iter().filter(|symbol| {
        symbol.is_external()
            && symbol.kind & macho::N_PEXT == 0
            && (symbol.is_defined() || symbol.is_absolute())
    });
    let export = |symbol: super::symbol::Symbol| {
        let address = LinkAddress(symbol.value);
        let target = match symbol.is_absolute() {
            true => ExportTarget::Absolute(symbol.value),
            false if thread_local(address) => ExportTarget::ThreadLocal(address),
            false => ExportTarget::Regular(address),
        };
        Some(Export { name: image.symbols.name(&symbol)?, weak: symbol.is_weak_definition(), target })
    };
    let mut exports: Vec<Export> = exported.filter_map(export).collect();
    exports.sort();
    exports
}

impl Exports {
    /// The export of that name.
    pub fn find(&self, name: &[u8]) -> Result<Option<Export>, Problem> {
        match &self.source {
            Source::Trie(trie) => self.walk(trie, name),
            Source::Symbols(exports) => {
                let found = exports.binary_search_by(|export| (*export.name).cmp(name));
                Ok(found.ok().and_then(|index| exports.get(index)).cloned())
            }
        }
    }

    fn walk(&self, trie: &Bytes, name: &[u8]) -> Result<Option<Export>, Problem> {
        if trie.is_empty() {
            return Ok(None);
        }
        let (mut rest, mut at) = (name, 0);
        // Some linkers write edges without a text; no way through a trie is longer than the trie.
        for _ in 0..trie.len() {
            let node = Node::read(trie, at)?;
            if let Some(terminal) = node.terminal.filter(|_| rest.is_empty()) {
                return self.export(trie, terminal, Bytes::copy_from_slice(name)).map(Some);
            }
            let mut children = node.children;
            let mut next = None;
            for _ in 0..node.child_count {
                let (edge, child) = edge(&mut children)?;
                let Some(left) = rest.strip_prefix(edge) else { continue };
                if next.is_none_or(|(best, _): (&[u8], usize)| left.len() < best.len()) {
                    next = Some((left, child));
                }
            }
            let Some(found) = next else { return Ok(None) };
            (rest, at) = found;
        }
        Ok(None)
    }

    /// All exports.
    pub fn all(&self) -> Result<Vec<Export>, Problem> {
        match &self.source {
            Source::Symbols(exports) => Ok(exports.clone()),
            Source::Trie(trie) if trie.is_empty() => Ok(Vec::new()),
            Source::Trie(trie) => self.collect(trie),
        }
    }

    fn collect(&self, trie: &Bytes) -> Result<Vec<Export>, Problem> {
        let mut exports = Vec::new();
        let mut seen: HashSet<usize, FxBuildHasher> = HashSet::default();
        let mut room = trie.len() * SHARING;
        let mut open = vec![(Bytes::new(), 0)];
        while let Some((name, at)) = open.pop() {
            let node = Node::read(trie, at)?;
            if !seen.insert(at) {
                return Err(node.children.bad(at, "a node that is reached twice"));
            }
            let mut children = node.children;
            let first = open.len();
            for _ in 0..node.child_count {
                let (edge, child) = edge(&mut children)?;
                let name: Bytes = [&name, edge].concat().into();
                room = room.checked_sub(name.len()).ok_or(Problem::TooMany { what: "exported names" })?;
                open.push((name, child));
            }
            // In the order in which they stand.
            open[first..].reverse();
            if let Some(terminal) = node.terminal {
                exports.push(self.export(trie, terminal, name)?);
            }
        }
        Ok(exports)
    }

    fn export(&self, trie: &Bytes, mut terminal: Cursor<'_>, name: Bytes) -> Result<Export, Problem> {
        let at = terminal.at;
        let flags =
            u32::try_from(terminal.uleb()?).map_err(|_| terminal.bad(at, "flags that are not known"))?;
        let address = |cursor: &mut Cursor<'_>| {
            let at = cursor.at;
            let address = self.base.checked_add(cursor.uleb()?);
            address.ok_or_else(|| cursor.bad(at, "an address past the end of all addresses"))
        };
        let target = if flags & macho::EXPORT_SYMBOL_FLAGS_REEXPORT != 0 {
            let number = i64::try_from(terminal.uleb()?).unwrap_or(i64::MAX);
            let super::Ordinal::Library(ordinal) = super::Ordinal::of(number, self.libraries)? else {
                return Err(terminal.bad(at, "a re-export of no library"));
            };
            let other = terminal.text()?;
            let other = if other.is_empty() { name.clone() } else { trie.slice_ref(other) };
            ExportTarget::Reexport { ordinal, name: other }
        } else if flags & macho::EXPORT_SYMBOL_FLAGS_STUB_AND_RESOLVER != 0 {
            ExportTarget::StubAndResolver { stub: address(&mut terminal)?, resolver: address(&mut terminal)? }
        } else {
            match flags & macho::EXPORT_SYMBOL_FLAGS_KIND_MASK {
                macho::EXPORT_SYMBOL_FLAGS_KIND_REGULAR => ExportTarget::Regular(address(&mut terminal)?),
                macho::EXPORT_SYMBOL_FLAGS_KIND_THREAD_LOCAL => {
                    ExportTarget::ThreadLocal(address(&mut terminal)?)
                }
                macho::EXPORT_SYMBOL_FLAGS_KIND_ABSOLUTE => ExportTarget::Absolute(terminal.uleb()?),
                _ => return Err(terminal.bad(at, "a kind that is not known")),
            }
        };
        Ok(Export { name, weak: flags & macho::EXPORT_SYMBOL_FLAGS_WEAK_DEFINITION != 0, target })
    }
}

struct Node<'a> {
    /// What is said of the name that ends here.
    terminal: Option<Cursor<'a>>,
    child_count: u8,
    children: Cursor<'a>,
}

impl<'a> Node<'a> {
    fn read(trie: &'a [u8], at: usize) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(TABLE, trie, at);
        let size = cursor.uleb()?;
        let start = cursor.at;
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let end = end.filter(|end| *end <= trie.len());
        let end = end.ok_or_else(|| cursor.bad(at, "a node that is longer than the trie"))?;
        let terminal = (size > 0).then(|| Cursor::new(TABLE, &trie[..end], start));
        cursor.at = end;
        Ok(Self { terminal, child_count: cursor.byte()?, children: cursor })
    }
}

fn edge<'a>(children: &mut Cursor<'a>) -> Result<(&'a [u8], usize), Problem> {
    let text = children.text()?;
    let at = children.at;
    let child = children.uleb()?;
    let child = usize::try_from(child).map_err(|_| children.bad(at, "a node outside the trie"))?;
    Ok((text, child))
}
