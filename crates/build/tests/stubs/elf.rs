//! A host and a patch for each ELF target: linked, loaded by a running host, called.

use crate::machine::{AARCH64, ARM, I686, Live, Machine, RISCV64, THUMB, X86_64};
use crate::tools::{done, program, skip};
use livepatch_build::stubs::{
    HotpatchModuleCache, Linker, Reaches, References, Stub, Unresolved, adapt_objects,
    create_undefined_symbol_stub,
};
use std::path::Path;
use std::process::Command;

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
/// 2 + 200 by a resolver whose choice the host never asked for; another thread-local; a number
/// read by a function of the C library that the host imports and has not called yet. Then the host's own view.
const FIRST: &str = "out 5 40 0 101 8 1 41 3 23 33 202 9 77 0 0 counter 41 tls 18";

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
pub(crate) fn link(
    machine: Machine,
    linker: Linker,
    object: &[u8],
    stub: &Stub,
    to: &Path,
) -> Result<(), String> {
    let (object_path, stub_path) = (to.with_extension("o"), to.with_extension("stub.o"));
    std::fs::write(&object_path, object).expect("written");
    std::fs::write(&stub_path, &stub.bytes).expect("written");
    machine.link(linker, &[&object_path, &stub_path], to)
}

/// A Rust host and patch: what is shared between them stands in a library that both were compiled against.
#[test]
fn rust_on_x86_64() {
    if let Some(reason) = X86_64.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let rustc = |source: &str, options: &[&str]| {
        let mut rustc = Command::new("rustc");
        if source != "shared.rs" {
            rustc.arg("--extern").arg(format!("shared={}", folder.join("libshared.rlib").display()));
        }
        rustc.args(["--edition=2024", "-O", "-Cdebuginfo=0", "-Ccodegen-units=1"]).args(options);
        done(rustc.arg("--out-dir").arg(folder).arg(program(source)));
    };
    rustc("shared.rs", &["--crate-type=rlib"]);
    rustc("host.rs", &["--crate-type=bin"]);
    rustc("patch.rs", &["--crate-type=lib", "--emit=obj", "--crate-name=patch"]);
    let cache = HotpatchModuleCache::from_path(folder.join("host")).expect("the host can be read");
    let mut live = Live::start(&mut Command::new(folder.join("host")));
    let object = std::fs::read(folder.join("patch.o")).expect("an object");
    let adapted = adapt_objects(&[object], &cache, X86_64.target, live.anchor).expect("adapts");
    let stub = create_undefined_symbol_stub(&cache, &adapted, X86_64.target, live.anchor).expect("a stub");
    assert_eq!(stub.report.unresolved().collect::<Vec<_>>(), []);
    let library = folder.join("patch.so");
    link(X86_64, Linker::Any, &adapted[0].bytes, &stub, &library).expect("links");
    // `< 1234>` has 7 characters; the host counted 40, the patch 41 and 42; its thread had 8; 5 × 5. The host's own
    // start was 7 + 3 × 3.
    assert_eq!(live.load(&library), "out [7, 41, 42, 8, 25, 1] counter 52 mine 9 16");
}

/// Code of the host's own image computes addresses of variables by their distance. A patch library is at another
/// distance, so the address is loaded instead, where that takes no more room.
#[test]
fn a_computed_address_is_loaded_instead() {
    for machine in [X86_64, AARCH64] {
        if let Some(reason) = machine.missing() {
            skip!("{reason}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let host = machine.host(folder);
        let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
        let mut live = machine.start(&host);
        let stub = |options: &[&str], name: &str| {
            let object = machine.compile("direct.c", &folder.join(name), options);
            let object = std::fs::read(object).expect("an object");
            let adapted = adapt_objects(&[object], &cache, machine.target, live.anchor).expect("adapts");
            let stub = create_undefined_symbol_stub(&cache, &adapted, machine.target, live.anchor);
            (adapted[0].bytes.clone(), stub.expect("a stub"))
        };
        let (object, computed) = stub(&["-fPIC"], "computed.o");
        assert_eq!(computed.report.unresolved().collect::<Vec<_>>(), []);
        // An access to memory has no room for a load before it. Where it does not go elsewhere, that is said, and no
        // trampoline pretends.
        let (_, memory) = stub(&["-fPIC", "-DMEMORY"], "memory.o");
        let why = Unresolved::Data { references: References::DIRECT };
        let left: &[_] = if machine.target == AARCH64.target { &[("host_counter", &why)] } else { &[] };
        assert_eq!(memory.report.unresolved().collect::<Vec<_>>(), left);
        for linker in [Linker::Any, Linker::Lld] {
            let library = folder.join(format!("{linker:?}.so"));
            link(machine, linker, &object, &computed, &library).expect("links");
            assert!(live.load(&library).starts_with("out 1 40 0 "), "{linker:?}");
        }
    }
}

/// Instructions whose operand is out of reach are made elsewhere, and do what they would have done. 40 at first; 7;
/// 8 × 1 + 28; 7 + 3 + 5; that was 15, and is 20 then; half of it; 34 + 2; 40, which is more than 39; 39 is left.
#[test]
fn instructions_that_have_the_hosts_variables_as_operands() {
    if let Some(reason) = X86_64.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let host = X86_64.host(folder);
    let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
    for (name, options) in [
        ("plain", &["-fPIC"][..]),
        ("slow", &["-fPIC", "-O0"]),
        ("fast", &["-fPIC", "-O3", "-march=x86-64-v3"]),
        ("one", &["-fPIC", "-fno-function-sections"]),
    ] {
        let object = X86_64.compile("operands.c", &folder.join(format!("{name}.o")), options);
        let object = std::fs::read(object).expect("an object");
        for linker in [Linker::Any, Linker::Lld] {
            let mut live = X86_64.start(&host);
            let target = X86_64.target.with_linker(linker);
            let adapted = adapt_objects(&[&object], &cache, target, live.anchor).expect("adapts");
            assert!(adapted[0].changes.iter().any(|change| change.to == Reaches::Detour), "{name}");
            let stub = create_undefined_symbol_stub(&cache, &adapted, target, live.anchor).expect("a stub");
            assert_eq!(stub.report.unresolved().collect::<Vec<_>>(), [], "{name}");
            let library = folder.join(format!("{name}.so"));
            link(X86_64, linker, &adapted[0].bytes, &stub, &library).expect("links");
            let said = live.load(&library);
            assert!(said.starts_with("out 40 36 15 1 1 10 20 36 1 "), "{name}: {said}");
            assert!(said.contains(" counter 39 "), "{name}: {said}");
        }
    }
}

/// The host's are at constant offsets, so that nobody need be asked: neither for each nor for their block.
#[test]
fn thread_locals_that_are_left_to_the_loader() {
    for machine in [X86_64, AARCH64] {
        if let Some(reason) = machine.missing() {
            skip!("{reason}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let host = machine.host(folder);
        let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
        for (name, options) in [("block", &["-fPIC"][..]), ("one", &["-fPIC", "-DONE_BY_ONE"])] {
            let mut live = machine.start(&host);
            let object = machine.compile("block.c", &folder.join(format!("{name}.o")), options);
            let object = std::fs::read(object).expect("an object");
            let adapted = adapt_objects(&[object], &cache, machine.target, live.anchor).expect("adapts");
            let stub = create_undefined_symbol_stub(&cache, &adapted, machine.target, live.anchor);
            let stub = stub.expect("a stub");
            assert_eq!(stub.report.unresolved().collect::<Vec<_>>(), [], "{name}");
            let library = folder.join(format!("{name}.so"));
            link(machine, Linker::Any, &adapted[0].bytes, &stub, &library).expect("links");
            // The host's `main` made the one 8, the other 9.
            let said = live.load(&library);
            assert!(said.starts_with("out 8 9 ") && said.ends_with(" tls 18"), "{name}: {said}");
        }
    }
}

/// Where a slot that is not bound yet serves the host's own calls only, that is said, and not found out by a crash.
#[test]
fn a_slot_that_only_the_host_can_use_is_not_used() {
    for machine in [I686, RISCV64] {
        if let Some(reason) = machine.missing() {
            skip!("{reason}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let host = machine.host_with(folder.path(), &[], &["-z", "lazy"]);
        let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
        let object = machine.compile("patch.c", &folder.path().join("patch.o"), &["-fPIC"]);
        let object = std::fs::read(object).expect("an object");
        let reference = machine.start(&host).anchor;
        let stub = create_undefined_symbol_stub(&cache, &[object], machine.target, reference);
        let report = stub.expect("a stub").report;
        assert_eq!(report.get("atoi"), Some(&Err(Unresolved::ImportedLazily)));
    }
}
