//! A patch's object and a host from anywhere: a stub object that can be read, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_build::stubs::{
    HotpatchModuleCache, StubTarget, adapt_objects, build_stub_for_needed, compute_needed_symbols,
};
use livepatch_fuzz::files;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use std::sync::OnceLock;

/// A host that is sound: this program.
fn own() -> &'static HotpatchModuleCache {
    static OWN: OnceLock<HotpatchModuleCache> = OnceLock::new();
    OWN.get_or_init(|| {
        let path = std::env::current_exe().expect("this program");
        HotpatchModuleCache::from_path(path).expect("it can be read").with_anchor_at(LinkAddress(0))
    })
}

fuzz_target!(|data: &[u8]| {
    let Some([object, host]) = files(data) else { return };
    let host = HotpatchModuleCache::from_bytes(host).map(|host| host.with_anchor_at(LinkAddress(0)));
    let (Ok(target), Ok(needed)) = (StubTarget::of_object(object), compute_needed_symbols(object)) else {
        return;
    };
    assert!(needed.names().is_sorted());
    for host in [host.as_ref().ok(), Some(own())].into_iter().flatten() {
        if !host.target().links_with(&target) {
            continue;
        }
        for reference in [0x5000, 0x7fff_0000_0000, u64::MAX - 0xfff] {
            let reference = RuntimeAddress(reference);
            if let Ok(stub) = build_stub_for_needed(&needed, host, target, reference) {
                assert_eq!(stub.report.entries().len(), needed.len(), "each is reported");
                let again = compute_needed_symbols(&stub.bytes).expect("a stub can be read");
                assert!(again.is_empty(), "and needs nothing");
            }
            if let Ok(adapted) = adapt_objects(&[object], host, target, reference) {
                let left = compute_needed_symbols(&adapted[0].bytes);
                assert!(left.is_ok(), "what is adapted can be read");
            }
        }
    }
});
