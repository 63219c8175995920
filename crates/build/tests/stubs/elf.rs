//! A host and a patch for each ELF target: linked, loaded by a running host, called.

use crate::machine::{AARCH64, ARM, I686, Machine, RISCV64, THUMB, X86_64};
use crate::tools::skip;
use livepatch_build::stubs::{
    HotpatchModuleCache, Linker, Stub, adapt_objects, create_undefined_symbol_stub,
};
use std::path::Path;

#[test]
fn x86_64() {
    everything(X86_64);
}

#[test]
fn aarch64() {
    everything(AARCH64);
}

#[test]
fn arm() {
    everything(ARM);
}

#[test]
fn thumb() {
    everything(THUMB);
}

#[test]
fn i686() {
    everything(I686);
}

#[test]
fn riscv64() {
    everything(RISCV64);
}

/// By what `patch.c` writes down: 2 + 3; the counter before it grew; a weak symbol that nobody has; 1 + 100 by the
/// resolver's choice; the main thread's variable, which the host's `main` made 8; the counter's address is the
/// host's; the counter through a word in data; |−3| of the C library; 20 + 3 by a tail call; 30 + 3 through a word;
/// 2 + 200 by a resolver whose choice the host never asked for; another thread-local. Then the host's own view.
const FIRST: &str = "out 5 40 0 101 8 1 41 3 23 33 202 9 0 0 0 counter 41 tls 18";

fn everything(machine: Machine) {
    if let Some(reason) = machine.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let host = machine.host(folder);
    let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
    for (name, linker, options) in [
        ("bfd", Linker::Any, &["-fPIC"][..]),
        ("lld", Linker::Lld, &["-fPIC"]),
        ("local-exec", Linker::Any, &["-fPIC", "-DLOCAL_EXEC"]),
        ("slow", Linker::Lld, &["-fPIC", "-O0"]),
    ] {
        let mut live = machine.start(&host);
        let object = machine.compile("patch.c", &folder.join(format!("{name}.o")), options);
        let object = std::fs::read(object).expect("an object");
        let target = machine.target.with_linker(linker);
        let adapted = adapt_objects(&[&object], &cache, target, live.anchor).expect("adapts");
        let stub = create_undefined_symbol_stub(&cache, &adapted, target, live.anchor).expect("a stub");
        assert_eq!(stub.report.unresolved().collect::<Vec<_>>(), [], "{name}");
        let library = folder.join(format!("{name}.so"));
        link(machine, linker, &adapted[0].bytes, &stub, &library).expect("links");
        assert_eq!(live.load(&library), FIRST, "{name}");
    }
}

/// Links a patch's object with its stub.
fn link(machine: Machine, linker: Linker, object: &[u8], stub: &Stub, to: &Path) -> Result<(), String> {
    let (object_path, stub_path) = (to.with_extension("o"), to.with_extension("stub.o"));
    std::fs::write(&object_path, object).expect("written");
    std::fs::write(&stub_path, &stub.bytes).expect("written");
    machine.link(linker, &[&object_path, &stub_path], to)
}
