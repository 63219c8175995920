//! A linked image from anywhere: read, searched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_object::address::LinkAddress;
use livepatch_object::host::Host;

fuzz_target!(|data: &[u8]| {
    let Ok(host) = Host::parse(data.to_vec()) else { return };
    let _ = (host.lookup("main", ""), host.lookup("", "a.c"), host.extent(), host.build_id());
    for at in [0, host.entry().0, u64::MAX] {
        let at = LinkAddress(at);
        let _ = (host.code(at), host.room(at), host.function_at(at));
    }
    let _ = host.tls().map(|tls| tls.tp_offset(8));
});
