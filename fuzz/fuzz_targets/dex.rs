//! A dex file from anywhere: read, compared, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_art::dex::{Dex, read, seal, write};
use livepatch_art::diff::diff;
use livepatch_art::patch::{opened, replacements};
use livepatch_fuzz::{damaged, everything};
use std::sync::OnceLock;

fuzz_target!(|data: &[u8]| {
    static ORIGINAL: OnceLock<(Dex, Vec<u8>)> = OnceLock::new();
    let (original, bytes) = ORIGINAL.get_or_init(|| {
        let dex = everything();
        let bytes = write(&dex).expect("it can be written");
        (dex, bytes)
    });
    let mut sealed = data.to_vec();
    seal(&mut sealed);
    let mut near = damaged(bytes, data);
    seal(&mut near);
    for bytes in [data, &sealed, &near] {
        let Ok(dex) = read(bytes) else { continue };
        let _ = (opened(&dex), replacements(&dex));
        let difference = diff(std::slice::from_ref(original), std::slice::from_ref(&dex));
        if let Some(patch) = difference.patch {
            let _ = write(&patch);
        }
        // What can be written is read back, in the order of files from then on; so it stays.
        if let Ok(written) = write(&dex) {
            let once = read(&written).expect("what was written is read");
            let twice = read(&write(&once).expect("what was read is written")).expect("and read again");
            assert!(once == twice);
        }
    }
});
