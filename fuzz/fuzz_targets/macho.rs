//! A Mach-O image from anywhere: headers, every record, every export, every stub, the way of some symbols.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use livepatch_object::macho::path::Paths;
use livepatch_object::macho::{Image, slices};

fuzz_target!(|data: &[u8]| {
    let Ok(slices) = slices(&Bytes::copy_from_slice(data)) else { return };
    for slice in slices.iter().take(4) {
        let Ok(image) = Image::read(slice) else { continue };
        let _ = (image.initializers(), image.terminators(), image.thread_locals(), image.entry_point());
        let _ = (image.lazy_bind_at(0), image.lazy_opcodes(0));
        if let Ok(exports) = image.exports() {
            for export in exports.all().unwrap_or_default().iter().take(16) {
                let _ = exports.find(&export.name);
            }
        }
        let Ok(fixups) = image.fixups() else { continue };
        // A slot has a record of each table at most.
        assert!(fixups.records.len() <= slice.bytes.len() / 2 + 1);
        let paths = Paths::new(&image, &fixups);
        for stub in paths.stubs().iter().take(64) {
            if let Some(code) = image.code(stub.address) {
                let _ = image.instructions(&code);
            }
        }
        for import in fixups.imports.iter().take(8) {
            let _ = paths.of(&import.symbol);
        }
        for record in fixups.records.iter().take(64) {
            assert!(image.at(record.slot.address, 8).is_some());
            let _ = paths.slot(record.slot);
        }
    }
});
