//! The modules that patches may be for: what is loaded, what was so from the start, what must stay.

use super::hello::find_build_id;
use super::loader::{self, Module};
use super::{free_ranges, thread};
use livepatch_proto::{
    ApplyError, BuildId, FromProcess, Generation, LoadedModule, ModuleKey, ModuleList, ModuleTls,
    WireAddress, WireRange,
};
use std::ffi::CString;
use std::ops::ControlFlow;
use std::sync::OnceLock;

/// What the dynamic linker had loaded before the program ran: it is never unloaded.
static AT_START: OnceLock<AtStart> = OnceLock::new();

struct AtStart {
    biases: Vec<u64>,
    /// The highest number of a module with thread-locals: higher ones are loaded later, and these have
    /// their blocks at a constant distance from the thread pointer.
    tls_modules: u64,
}

/// Takes note of what is loaded. To be called before the program runs.
pub(crate) fn remember_start() {
    let mut start = AtStart { biases: Vec::new(), tls_modules: 0 };
    loader::visit_modules::<()>(|module| {
        start.biases.push(module.bias);
        start.tls_modules = start.tls_modules.max(module.tls_module);
        ControlFlow::Continue(())
    });
    // The constructor runs once.
    drop(AT_START.set(start));
}

/// The same for a program that runs already: what of it was there from the start cannot be known, but for
/// the program itself.
pub(crate) fn remember_program() {
    let bias = loader::visit_modules(|module| ControlFlow::Break(module.bias));
    drop(AT_START.set(AtStart { biases: bias.into_iter().collect(), tls_modules: 0 }));
}

/// Whether a module stays loaded whatever the program does.
pub(crate) fn is_from_start(bias: u64) -> bool {
    AT_START.get().is_some_and(|start| start.biases.contains(&bias))
}

/// The build id in a module's notes.
pub(crate) fn build_id(module: &Module<'_>) -> Option<BuildId> {
    let id = module.notes().find_map(|(notes, align)| find_build_id(notes, align))?;
    Some(BuildId(id.to_vec()))
}

/// What is loaded, unless that is `known`.
pub(crate) fn answer(known: Generation) -> FromProcess {
    if generation() == known {
        return FromProcess::Modules { list: None, free_ranges: Vec::new() };
    }
    FromProcess::Modules { list: Some(list()), free_ranges: free_ranges::free_ranges() }
}

/// How often modules were loaded and unloaded so far.
pub(crate) fn generation() -> Generation {
    let (added, removed) = loader::generation();
    Generation { added, removed }
}

/// Everything that is loaded and has a build id.
pub(crate) fn list() -> ModuleList {
    let mut list = ModuleList::default();
    loader::visit_modules::<()>(|module| {
        let (added, removed) = module.generation;
        list.generation = Generation { added, removed };
        list.modules.extend(describe(module));
        ControlFlow::Continue(())
    });
    list
}

fn describe(module: &Module<'_>) -> Option<LoadedModule> {
    let span = module.span()?;
    Some(LoadedModule {
        key: ModuleKey { build_id: build_id(module)?, bias: module.bias },
        range: WireRange { start: WireAddress(span.start()), end: WireAddress(span.end()) },
        tls: tls(module),
        name: module.name.to_string_lossy().into_owned(),
    })
}

fn tls(module: &Module<'_>) -> ModuleTls {
    let constant = AT_START.get().map_or(0, |start| start.tls_modules);
    match module.tls_module {
        0 => ModuleTls::Absent,
        number if number <= constant && module.tls_block != 0 => {
            ModuleTls::Static { tp_offset: module.tls_block.wrapping_sub(thread::pointer()).cast_signed() }
        }
        module => ModuleTls::Dynamic { module },
    }
}

/// The name of a loaded module, by which the dynamic linker finds it again.
pub(crate) fn name(key: &ModuleKey) -> Result<CString, ApplyError> {
    let found = loader::visit_modules(|module| {
        if module.bias == key.bias && build_id(module).as_ref() == Some(&key.build_id) {
            return ControlFlow::Break(module.name.to_owned());
        }
        ControlFlow::Continue(())
    });
    found.ok_or_else(|| ApplyError::ModuleGone { module: key.clone() })
}
