//! Formats of chained pointers, against a C compiler's layout of the bit fields that Apple's header has.
//!
//! `<mach-o/fixup-chains.h>` describes each format as a structure of bit fields. Here a C program fills such structures,
//! and what it prints is what is taken apart.

use crate::build::{Folder, run};
use livepatch_object::macho::chained::{Pointer, PointerFormat};
use livepatch_object::macho::fixup::Auth;
use std::process::Command;

/// The structures, with the names of the header, and numbers in every field.
const SOURCE: &str = r#"
#include <stdio.h>
#include <string.h>
typedef unsigned long long u64;
#define SHOW(name, ...) do { name p = { __VA_ARGS__ }; u64 raw; memcpy(&raw, &p, 8); printf("%016llx\n", raw); } while (0)
typedef struct { u64 target : 36, high8 : 8, reserved : 7, next : 12, bind : 1; } ptr_64_rebase;
typedef struct { u64 ordinal : 24, addend : 8, reserved : 19, next : 12, bind : 1; } ptr_64_bind;
typedef struct { u64 target : 43, high8 : 8, next : 11, bind : 1, auth : 1; } arm64e_rebase;
typedef struct { u64 ordinal : 16, zero : 16, addend : 19, next : 11, bind : 1, auth : 1; } arm64e_bind;
typedef struct { u64 target : 32, diversity : 16, addrDiv : 1, key : 2, next : 11, bind : 1, auth : 1; } arm64e_auth_rebase;
typedef struct { u64 ordinal : 16, zero : 16, diversity : 16, addrDiv : 1, key : 2, next : 11, bind : 1, auth : 1; } arm64e_auth_bind;
typedef struct { u64 ordinal : 24, zero : 8, addend : 19, next : 11, bind : 1, auth : 1; } arm64e_bind24;
typedef struct { u64 ordinal : 24, zero : 8, diversity : 16, addrDiv : 1, key : 2, next : 11, bind : 1, auth : 1; } arm64e_auth_bind24;
typedef struct { u64 target : 30, cacheLevel : 2, diversity : 16, addrDiv : 1, key : 2, next : 12, isAuth : 1; } kernel_cache_rebase;
typedef struct { u64 runtimeOffset : 34, high8 : 8, unused : 10, next : 11, auth : 1; } shared_cache_rebase;
typedef struct { u64 runtimeOffset : 34, diversity : 16, addrDiv : 1, keyIsData : 1, next : 11, auth : 1; } shared_cache_auth_rebase;
typedef struct { unsigned targetSegOffset : 28, targetSegIndex : 4; unsigned padding : 19, next : 12, auth : 1; } segmented_rebase;
typedef struct { unsigned targetSegOffset : 28, targetSegIndex : 4; unsigned diversity : 16, addrDiv : 1, key : 2, next : 12, auth : 1; } auth_segmented_rebase;
int main(void) {
    SHOW(ptr_64_rebase, 0x812345678, 0x9a, 0, 0xabc, 0);
    SHOW(ptr_64_bind, 0x812345, 0xfe, 0, 0x801, 1);
    SHOW(arm64e_rebase, 0x41234567890, 0x9a, 0x4bc, 0, 0);
    SHOW(arm64e_bind, 0x8123, 0, 0x7fffe, 0x401, 1, 0);
    SHOW(arm64e_auth_rebase, 0x81234567, 0xbeef, 1, 2, 0x4bc, 0, 1);
    SHOW(arm64e_auth_bind, 0x8123, 0, 0xbeef, 0, 3, 0x401, 1, 1);
    SHOW(arm64e_bind24, 0x812345, 0, 5, 0x401, 1, 0);
    SHOW(arm64e_auth_bind24, 0x812345, 0, 0xbeef, 1, 1, 0x401, 1, 1);
    SHOW(kernel_cache_rebase, 0x21234567, 0, 0xbeef, 1, 2, 0x801, 1);
    SHOW(shared_cache_rebase, 0x212345678, 0x9a, 0, 0x401, 0);
    SHOW(shared_cache_auth_rebase, 0x212345678, 0xbeef, 1, 1, 0x401, 1);
    SHOW(segmented_rebase, 0x8123456, 0xa, 0, 0x801, 0);
    SHOW(auth_segmented_rebase, 0x8123456, 0xa, 0xbeef, 0, 1, 0x801, 1);
    return 0;
}
"#;

fn auth(key: u8, with_address: bool) -> Option<Auth> {
    Some(Auth { key, diversity: 0xbeef, with_address })
}

fn rebase(target: u64, high8: u8, auth: Option<Auth>) -> Pointer {
    Pointer::Rebase { target, high8, auth }
}

fn bind(import: u32, addend: i64, auth: Option<Auth>) -> Pointer {
    Pointer::Bind { import, addend, auth }
}

#[test]
fn pointers_are_taken_apart_as_a_compiler_lays_them_out() {
    if Command::new("cc").arg("--version").output().is_err() {
        return println!("skipped: there is no C compiler");
    }
    let folder = Folder::new();
    let (file, program) = (folder.write("pointers.c", SOURCE), folder.file("pointers"));
    run(Command::new("cc").arg("-w").arg("-o").arg(&program).arg(&file));
    let said = run(&mut Command::new(&program));
    let raw: Vec<u64> = said.lines().map(|line| u64::from_str_radix(line, 16).unwrap()).collect();
    use PointerFormat::*;
    let segment = 0xa << 28 | 0x812_3456;
    // Which format, what the fields say, and the step to the next in bytes: fields of `next` times the stride.
    let expected: [(&[PointerFormat], Pointer, u64); 13] = [
        (&[Ptr64, Ptr64Offset], rebase(0x8_1234_5678, 0x9a, None), 0xabc * 4),
        (&[Ptr64, Ptr64Offset], bind(0x81_2345, 0xfe, None), 0x801 * 4),
        (&[Arm64e, Arm64eUserland, Arm64eUserland24], rebase(0x412_3456_7890, 0x9a, None), 0x4bc * 8),
        (&[Arm64e, Arm64eUserland], bind(0x8123, -2, None), 0x401 * 8),
        (&[Arm64e, Arm64eUserland, Arm64eUserland24], rebase(0x8123_4567, 0, auth(2, true)), 0x4bc * 8),
        (&[Arm64e, Arm64eUserland], bind(0x8123, 0, auth(3, false)), 0x401 * 8),
        (&[Arm64eUserland24], bind(0x81_2345, 5, None), 0x401 * 8),
        (&[Arm64eUserland24], bind(0x81_2345, 0, auth(1, true)), 0x401 * 8),
        (&[Ptr64KernelCache], rebase(0x2123_4567, 0, auth(2, true)), 0x801 * 4),
        (&[Arm64eSharedCache], rebase(0x2_1234_5678, 0x9a, None), 0x401 * 8),
        (&[Arm64eSharedCache], rebase(0x2_1234_5678, 0, auth(2, true)), 0x401 * 8),
        (&[Arm64eSegmented], rebase(segment, 0, None), 0x801 * 4),
        (&[Arm64eSegmented], rebase(segment, 0, auth(1, false)), 0x801 * 4),
    ];
    assert_eq!(raw.len(), expected.len());
    for (raw, (formats, pointer, next)) in raw.into_iter().zip(expected) {
        for format in formats {
            assert_eq!(format.decode(raw), (pointer, next), "{format:?} {raw:#x}");
        }
    }
}

#[test]
fn some_formats_have_other_strides() {
    let raw = 1 << 51;
    let step = |format: PointerFormat| format.decode(raw).1;
    assert_eq!(step(PointerFormat::Arm64eKernel), 4);
    assert_eq!(step(PointerFormat::Arm64eFirmware), 4);
    assert_eq!(step(PointerFormat::X86_64KernelCache), 1);
    // Those of 32-bit images are not read.
    assert_eq!([3, 4, 5].map(PointerFormat::of), [None; 3]);
}
