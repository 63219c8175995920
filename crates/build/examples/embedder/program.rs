//! One process, and the patches that are made for it: its addresses are its own.

use crate::Result;
use crate::capture::Captured;
use livepatch_build::jump_table::{JumpTables, text_symbols};
use livepatch_build::link_plan::{CapturedLink, PatchLink, anchor_object};
use livepatch_build::members::Members;
use livepatch_build::statics::share_statics;
use livepatch_build::stubs::{HotpatchModuleCache, Lookup, adapt_objects, create_undefined_symbol_stub};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{BuildId, Hello, ImageSource, LibraryPatch, PATCH_ANCHOR};
use rustc_hash::FxHashSet;
use std::path::{Path, PathBuf};

pub(crate) struct Program {
    host: HotpatchModuleCache,
    link: CapturedLink,
    /// The libraries among what the host was linked from.
    link_inputs: Vec<PathBuf>,
    /// Where the process has the host's anchor.
    aslr_reference: RuntimeAddress,
    tables: JumpTables,
    /// The patch that the process is at.
    current: u32,
    /// The patch that it was at when it dialled.
    was_at: u32,
}

/// A patch, and what it does in words.
pub(crate) struct Patched {
    pub(crate) patch: LibraryPatch,
    pub(crate) report: String,
}

impl Program {
    pub(crate) fn new(host: &HotpatchModuleCache, captured: &Captured, hello: &Hello) -> Result<Self> {
        let aslr_reference = RuntimeAddress(hello.aslr_reference.0);
        // Says so now if the two do not go together.
        host.slide(aslr_reference)?;
        let tables = JumpTables::new(text_symbols(host));
        let (link, link_inputs) = (captured.link()?, captured.link_inputs().to_vec());
        Ok(Self {
            host: host.clone(),
            link,
            link_inputs,
            aslr_reference,
            tables,
            current: 0,
            was_at: hello.current,
        })
    }

    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    /// Works out where the functions of patches are that the process has already.
    pub(crate) fn catch_up(&mut self, history: &[Vec<Vec<u8>>], folder: &Path) -> Result {
        for objects in history.iter().take(self.was_at as usize) {
            self.patch(objects, folder)?;
        }
        Ok(())
    }

    /// Makes the next patch of objects: adapted to the process, linked with their stub, with their jump table.
    pub(crate) fn patch(&mut self, objects: &[Vec<u8>], folder: &Path) -> Result<Patched> {
        let number = self.current + 1;
        let (host, target) = (&self.host, self.host.target());
        let mut members = Members::open(&self.link_inputs)?;
        let mut objects = objects.to_vec();
        // Variables that code refers to in a way that cannot be led elsewhere: they begin anew.
        let mut fresh: FxHashSet<String> = FxHashSet::default();
        let (mut adapted, stub, kept) = loop {
            let shared = objects.iter().map(|object| share_statics(object, host, &fresh));
            let shared = shared.collect::<std::result::Result<Vec<_>, _>>()?;
            let kept: usize = shared.iter().map(|object| object.names.len()).sum();
            let shared: Vec<Vec<u8>> = shared.into_iter().map(|object| object.bytes).collect();
            let adapted = adapt_objects(&shared, host, target, self.aslr_reference)?;
            let adapted: Vec<Vec<u8>> = adapted.into_iter().map(|object| object.bytes).collect();
            let stub = create_undefined_symbol_stub(host, &adapted, target, self.aslr_reference)?;
            let Some((name, why)) = stub.report.unresolved().next() else { break (adapted, stub, kept) };
            if matches!(host.lookup(name), Lookup::Found(_)) && fresh.insert(name.to_owned()) {
                eprintln!("embedder: `{name}` begins anew: {why}");
                continue;
            }
            // What the host had no use for is in the libraries that it was linked from.
            match members.take(name, host)? {
                Some(member) => objects.push(member),
                None => return Err(format!("{name}: {why}").into()),
            }
        };
        adapted.push(anchor_object(&adapted[0])?);
        adapted.push(stub.bytes);
        let library = self.link_library(&adapted, &folder.join(number.to_string()))?;

        let image = HotpatchModuleCache::from_path(&library)?;
        let Lookup::Found(anchor) = image.lookup(PATCH_ANCHOR) else { return Err("no anchor".into()) };
        let redirected =
            self.tables.add(number, text_symbols(&image), |name| stub.report.get(name).is_some());
        let report = format!(
            "{} functions redirected, {} new, {} ambiguous; {} stubs, {kept} variables kept",
            redirected.redirected.len(),
            redirected.added.len(),
            redirected.ambiguous.len(),
            stub.report.entries().len()
        );
        let patch = LibraryPatch {
            number,
            predecessor: self.current,
            build_id: BuildId(host.build_id().to_vec()),
            library: ImageSource::in_message(std::fs::read(&library)?),
            host_anchor: host.anchor()?.0,
            library_anchor: anchor.address.0,
            jumps: self.tables.jumps(),
        };
        self.current = number;
        Ok(Patched { patch, report })
    }

    /// Links objects as the host was linked, as little different as can be.
    fn link_library(&self, objects: &[Vec<u8>], folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let mut inputs = Vec::new();
        for (index, object) in objects.iter().enumerate() {
            let path = folder.join(format!("{index}.o"));
            std::fs::write(&path, object)?;
            inputs.push(path);
        }
        let output = folder.join("patch.so");
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        let plan = self.link.plan(&PatchLink { inputs: &inputs, output: &output });
        let linked = plan.command(&output)?.output()?;
        if !linked.status.success() {
            return Err(String::from_utf8_lossy(&linked.stderr).into_owned().into());
        }
        Ok(output)
    }
}
