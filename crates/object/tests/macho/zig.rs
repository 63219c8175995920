//! Images of zig's own linker, which differ from LLVM's: no word for the binder has a name, and slots of weak imports are
//! lazy.

use crate::build::{Folder, SOURCE, read, run};
use crate::{differential, objdump};
use livepatch_object::macho::Table;
use livepatch_object::macho::path::Paths;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler of `cargo xtask fixtures macho`, if it was fetched.
fn zig() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let zig = target.join("fixtures/ziglang-0.13.0-manylinux_2_12_x86_64/ziglang/zig");
    // Python unpacks programs as files that cannot be run.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&zig, std::fs::Permissions::from_mode(0o755)).ok()?;
    Some(zig)
}

#[test]
fn images_of_zig_are_read_as_llvm_reads_them() {
    let Some(zig) = zig() else {
        return println!("skipped: zig is not fetched; `cargo xtask fixtures macho` fetches it");
    };
    let folder = Folder::new();
    let source = folder.write("demo.c", SOURCE);
    for architecture in ["x86_64", "aarch64"] {
        let file = folder.file(&format!("zig-{architecture}.dylib"));
        let mut command = Command::new(&zig);
        command.args(["cc", "-target", &format!("{architecture}-macos"), "-shared", "-O1", "-w", "-o"]);
        command.arg(&file).arg(&source).arg("-Wl,-undefined,dynamic_lookup");
        // Its caches are not to be anywhere else.
        let cache = folder.file("cache");
        run(command.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache));
        let image = read(&file, None);
        match objdump::program() {
            Ok(program) => {
                let counts = differential::compare(&program, &file, &image, image.header.architecture);
                println!("{architecture}: {counts}");
            }
            Err(why) => println!("skipped, the comparison with llvm-objdump: {why}"),
        }
        let fixups = image.fixups().unwrap();
        let paths = Paths::new(&image, &fixups);
        let mut count = 0;
        for record in &fixups.records {
            let Table::LazyBind { entry } = record.table else { continue };
            let slot = paths.slot(record.slot).unwrap();
            assert!(slot.helper.is_some(), "{record:?}");
            // Helpers for arm64 all pass on 0: Apple's loader of today does not ask them. It must be noticed.
            let expected = architecture == "x86_64" || entry == 0;
            assert_eq!(paths.is_consistent(&slot), expected, "{record:?}");
            count += 1;
        }
        assert!(count > 4, "{count}");
        assert!(paths.helpers().common.is_some());
    }
}
