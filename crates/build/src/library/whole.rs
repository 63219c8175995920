//! Patch libraries of whole crates, for processes that ask a jump table before calls.
//!
//! Where entries cannot be changed, old code arrives at new code only by the table, and new code arrives at new code
//! only if the linker leads it there. So a patch holds every object of all crates that were edited so far: what they
//! call of one another is inside, and the table leads to all of it.
//!
//! ```text
//! WholePatch ─┬─► WholeProcess::link ─► LibraryPatch        (for each process: its addresses are its own)
//!             └─► another process …
//! ```

use super::{LibraryError, LibraryLink};
use crate::jump_table::{JumpReport, JumpTables, TextSymbol, text_symbols};
use crate::members::Members;
use crate::statics::share_statics;
use crate::stubs::{
    HotpatchModuleCache, Lookup, References, StubReport, Unresolved, adapt_objects,
    create_undefined_symbol_stub, misplaced_thread_locals,
};
use bytes::Bytes;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::demangle;
use livepatch_proto::{BuildId, Hello, ImageSource, LibraryPatch, PATCH_ANCHOR};
use rustc_hash::{FxHashMap, FxHashSet};
use std::path::{Path, PathBuf};

/// What patches of one program are made with.
#[derive(Clone, Debug)]
pub struct WholeProgram {
    host: HotpatchModuleCache,
    link: LibraryLink,
    /// The libraries among what the host was linked from.
    link_inputs: Vec<PathBuf>,
    /// Where libraries are made.
    folder: PathBuf,
}

/// A patch, for any process.
#[derive(Clone, Debug)]
pub struct WholePatch {
    /// Its number.
    pub number: u32,
    /// The patch before it; 0 is the base build.
    pub predecessor: u32,
    /// All objects of all crates that were edited so far.
    pub objects: Vec<Bytes>,
    /// Functions of which callers of before keep what they have: they call them in another way.
    pub apart: FxHashSet<Box<str>>,
    /// Functions that the objects have under another name than they were live under before: by that name, the
    /// one before.
    pub renamed: FxHashMap<Box<str>, Box<str>>,
}

/// A process, and where the functions of its patches are.
#[derive(Clone, Debug)]
pub struct WholeProcess {
    pid: u32,
    aslr_reference: RuntimeAddress,
    tables: JumpTables,
    current: u32,
}

/// A patch for one process.
#[derive(Debug)]
pub struct WholeLinked {
    /// What it is sent.
    pub patch: LibraryPatch,
    /// The process once it has applied it.
    pub process: WholeProcess,
    /// What became of each function's callers.
    pub jumps: JumpReport,
    /// What became of each name that the objects need.
    pub stubs: StubReport,
    /// How many variables are the host's.
    pub kept: usize,
    /// Variables that begin anew in the patch, demangled, and why.
    pub fresh: Vec<(String, Unresolved)>,
}

impl WholeProgram {
    /// The program at `host`, linked as `link` says from `link_inputs`. Libraries are made in `folder`.
    pub fn new(
        host: &Path,
        link: LibraryLink,
        link_inputs: &[PathBuf],
        folder: &Path,
    ) -> Result<Self, LibraryError> {
        std::fs::create_dir_all(folder).map_err(LibraryError::io("create", folder))?;
        let host = HotpatchModuleCache::from_path(host)?;
        Ok(Self { host, link, link_inputs: link_inputs.to_vec(), folder: folder.to_owned() })
    }

    /// The program's file.
    pub fn host(&self) -> &HotpatchModuleCache {
        &self.host
    }

    /// A process that said hello, as it is without any patch.
    pub fn process(&self, hello: &Hello) -> Result<WholeProcess, LibraryError> {
        if hello.build_id.0 != self.host.build_id() || hello.build_id.0.is_empty() {
            return Err(LibraryError::OtherBuild);
        }
        let aslr_reference = RuntimeAddress(hello.aslr_reference.0);
        // Says so now if the two do not go together.
        self.host.slide(aslr_reference)?;
        let tables = JumpTables::new(text_symbols(&self.host));
        Ok(WholeProcess { pid: hello.pid, aslr_reference, tables, current: 0 })
    }
}

/// Objects that can be linked for a process.
struct Ready {
    objects: Vec<Vec<u8>>,
    stub: crate::stubs::Stub,
    kept: usize,
    fresh: Vec<(String, Unresolved)>,
}

impl WholeProcess {
    /// The patch that it is at.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Makes a patch for it: links the objects with their stub object, and the jump table to what comes of them.
    pub fn link(&self, program: &WholeProgram, patch: &WholePatch) -> Result<WholeLinked, LibraryError> {
        let host = &program.host;
        let Ready { objects, stub, kept, fresh } = self.make_ready(program, patch)?;
        let library = program.folder.join(format!("patch-{}-{}.so", patch.number, self.pid));
        let named: Vec<(String, &[u8])> =
            objects.iter().enumerate().map(|(at, object)| (at.to_string(), &**object)).collect();
        let mut inputs: Vec<(&str, &[u8])> = named.iter().map(|(name, object)| (&**name, *object)).collect();
        inputs.push(("stub", &stub.bytes));
        program.link.link(&inputs, &library)?;
        let bytes = std::fs::read(&library).map_err(LibraryError::io("read", &library))?;
        // It travels in the message.
        let _ = std::fs::remove_file(&library);

        let image = HotpatchModuleCache::from_bytes(&bytes)?;
        let Lookup::Found(anchor) = image.lookup(PATCH_ANCHOR) else { return Err(LibraryError::Lost) };
        let mut process = self.clone();
        patch.apart.iter().for_each(|name| process.tables.part(name));
        let is_stub = |name: &str| stub.report.get(name).is_some();
        let functions = text_symbols(&image).map(|function| {
            let name = patch.renamed.get(function.name).map_or(function.name, |name| name);
            TextSymbol { name, ..function }
        });
        let jumps = process.tables.add(patch.number, functions, is_stub);
        process.current = patch.number;
        let patch = LibraryPatch {
            number: patch.number,
            predecessor: patch.predecessor,
            build_id: BuildId(host.build_id().to_vec()),
            library_anchor: anchor.address.0,
            library: ImageSource::in_message(bytes),
            host_anchor: host.anchor()?.0,
            jumps: process.tables.jumps(),
        };
        Ok(WholeLinked { patch, process, jumps, stubs: stub.report, kept, fresh })
    }

    /// The process has gone back to an earlier patch.
    pub fn roll_back(&mut self, to: u32) {
        self.tables.roll_back(to);
        self.current = to;
    }

    /// Has objects use what the process has: its variables, its code, and what the host left out of its libraries.
    fn make_ready(&self, program: &WholeProgram, patch: &WholePatch) -> Result<Ready, LibraryError> {
        let (host, target) = (&program.host, program.host.target());
        let mut members = Members::open(&program.link_inputs)?;
        let mut objects = patch.objects.clone();
        let mut fresh: Vec<(String, Unresolved)> = Vec::new();
        let mut names: FxHashSet<String> = FxHashSet::default();
        loop {
            let mut kept = 0;
            let mut shared = Vec::with_capacity(objects.len());
            for object in &objects {
                let one = share_statics(object, host, &names)?;
                kept += one.names.len();
                shared.push(one.bytes);
            }
            let adapted = adapt_objects(&shared, host, target, self.aslr_reference)?;
            let stub = create_undefined_symbol_stub(host, &adapted, target, self.aslr_reference)?;
            let Some((name, why)) = stub.report.unresolved().next() else {
                let objects: Vec<Vec<u8>> = adapted.into_iter().map(|object| object.bytes).collect();
                for object in &objects {
                    if let Some(name) = misplaced_thread_locals(object)?.first() {
                        let why = Unresolved::ThreadLocal { references: References::THREAD_LOCAL_EXEC };
                        return Err(LibraryError::Unreachable { name: demangle(name), why });
                    }
                }
                return Ok(Ready { objects, stub, kept, fresh });
            };
            // A variable that code refers to in a way that cannot be led elsewhere.
            if matches!(host.lookup(name), Lookup::Found(_)) && names.insert(name.to_owned()) {
                fresh.push((demangle(name), why.clone()));
                continue;
            }
            match members.take(name, host)? {
                Some(member) => objects.push(member.into()),
                None => {
                    return Err(LibraryError::Unreachable { name: demangle(name), why: why.clone() });
                }
            }
        }
    }
}
