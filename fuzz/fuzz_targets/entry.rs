//! Any bytes as a function: the analysis of its entry, and the relocated copy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::entry::aarch64;
use livepatch_object::entry::x86_64::{Function, analyze, analyze_trap};

fuzz_target!(|data: &[u8]| {
    let Some((&[offset, size, padding], text)) = data.split_first_chunk() else { return };
    let entry = RuntimeAddress(0x5555_5555_0000 + u64::from(offset));
    let function =
        Function { entry, text, offset: offset.into(), size: size.into(), padding: padding.into() };
    for entry in [analyze(&function), analyze_trap(&function)].into_iter().flatten() {
        let at = RuntimeAddress(0x5555_4000_0000);
        if let Ok(copy) = entry.relocate(at) {
            assert!(copy.bytes.len() <= entry.copy_length());
        }
    }
    if let Ok(entry) = aarch64::analyze(&function) {
        if let Ok(copy) = entry.relocate(&function, RuntimeAddress(0x5555_5000_0000)) {
            assert_eq!(copy.bytes.len(), entry.copy_length());
        }
    }
});
