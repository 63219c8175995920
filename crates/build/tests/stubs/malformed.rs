//! Objects and hosts that are cut short or changed: an error each, or an answer, and never an end.

use crate::machine::{AARCH64, ARM, I686, RISCV64, X86_64};
use crate::others::{PLATFORMS, missing_tools};
use crate::tools::skip;
use livepatch_build::stubs::{
    Format, HotpatchModuleCache, StubTarget, adapt_objects, build_stub_for_needed, compute_needed_symbols,
};
use livepatch_object::address::{LinkAddress, RuntimeAddress};

/// Changed copies of each file.
const CHANGED: usize = 300;

/// A patch's object and its host.
fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let read = |path: std::path::PathBuf| std::fs::read(path).expect("built");
    let mut all = Vec::new();
    for machine in [X86_64, AARCH64, ARM, I686, RISCV64] {
        match machine.missing() {
            Some(reason) => println!("without {}: {reason}", machine.target),
            None => {
                let object = machine.compile("patch.c", &folder.join("patch.o"), &["-fPIC"]);
                all.push((read(object), read(machine.host(folder))));
            }
        }
    }
    for platform in &PLATFORMS {
        match missing_tools(platform) {
            Some(reason) => println!("without {}: {reason}", platform.target),
            None => {
                let object = platform.compile("flat_host.c", folder.join("host.o"), &[]);
                let host = platform.link(platform.host, &[&object], folder.join("host"));
                let object = platform.compile("flat_patch.c", folder.join("patch.o"), &[]);
                all.push((read(object), read(host)));
            }
        }
    }
    all
}

/// Everything that reads an object or a host, on these; whether each of the two can be read.
fn read(object: &[u8], host: &[u8]) -> (bool, bool) {
    let target = StubTarget::of_object(object);
    let needed = compute_needed_symbols(object);
    let host = HotpatchModuleCache::from_bytes(host).map(|host| host.with_anchor_at(LinkAddress(0)));
    if let (Ok(target), Ok(needed), Ok(host)) = (&target, &needed, &host) {
        let reference = RuntimeAddress(0x5000_0000);
        if let Ok(stub) = build_stub_for_needed(needed, host, *target, reference) {
            assert_eq!(stub.report.entries().len(), needed.len());
            assert!(compute_needed_symbols(&stub.bytes).is_ok_and(|needed| needed.is_empty()));
        }
        if let Ok(adapted) = adapt_objects(&[object], host, *target, reference) {
            let read = compute_needed_symbols(&adapted[0].bytes);
            assert!(read.is_ok() || target.format() != Format::Elf, "what is adapted can be read: {read:?}");
        }
    }
    (needed.is_ok(), host.is_ok())
}

#[test]
fn malformed_files_are_errors() {
    let samples = samples();
    if samples.is_empty() {
        skip!("there is nothing to change");
    }
    let mut random = fastrand::Rng::with_seed(4);
    for (object, host) in &samples {
        assert_eq!(read(object, host), (true, true));
        // Symbols and their names stand behind all else in these containers: in the first eighth they are not.
        assert_eq!(
            read(&object[..object.len() / 8], &host[..host.len() / 8]),
            (false, false),
            "{:?}",
            StubTarget::of_object(object)
        );
        assert_eq!(read(&[], &[]), (false, false));
        assert_eq!(read(host, object), (false, false));
        for part in 1..64 {
            read(&object[..object.len() * part / 64], host);
            read(object, &host[..host.len() * part / 64]);
        }
        for _ in 0..CHANGED {
            let (mut object, mut host) = (object.clone(), host.clone());
            for file in [&mut object, &mut host] {
                for _ in 0..random.usize(0..4) {
                    // Headers and tables are small and at either end.
                    let near = random.usize(0..file.len().min(2048));
                    let at = if random.bool() { near } else { file.len() - 1 - near };
                    file[at] = if random.bool() { 0xff } else { random.u8(..) };
                }
            }
            read(&object, &host);
        }
    }
}

/// A section that lies on the object's tables: what is written to it would change them.
#[test]
fn sections_that_lie_on_tables() {
    if let Some(reason) = X86_64.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let object = X86_64.compile("patch.c", &folder.path().join("patch.o"), &["-fPIC"]);
    let object = std::fs::read(object).expect("built");
    let host = std::fs::read(X86_64.host(folder.path())).expect("built");
    let word = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().expect("eight bytes"));
    let (table, count) = (word(40) as usize, u16::from_le_bytes([object[60], object[61]]));
    for section in 0..usize::from(count) {
        for place in [0, word(40)] {
            let mut changed = object.clone();
            let at = table + 64 * section + 24;
            changed[at..at + 8].copy_from_slice(&place.to_le_bytes());
            read(&changed, &host);
        }
    }
}
