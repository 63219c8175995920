//! An archive from anywhere: its index read, its members taken out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_object::archive::{ArchiveIndex, member};

fuzz_target!(|data: &[u8]| {
    let Ok(index) = ArchiveIndex::parse(data) else { return };
    for name in ["main", "a", ""] {
        for id in index.candidates(name) {
            let _ = member(data, id);
        }
    }
});
