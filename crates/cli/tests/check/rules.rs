//! One rule each: a library that breaks it, before and after the API level from which on that matters.

use crate::build::{Folder, ask, can_build, verdict};
use std::io::Write as _;
use std::path::Path;

const PLAIN: &str = "int answer(void) { return 42; }";
/// Has relocations that are packed.
const POINTERS: &str = "static int a, b, c; int *all[] = { &a, &b, &c, &a, &b, &c, &a, &b, &c, &a, &b, &c };";

/// It loads before `level` and does not from it on, or the other way round.
fn turns(path: &Path, level: u32, rule: &str, before: &str, after: &str) {
    for (level, expected) in [(level - 1, before), (level, after)] {
        let (verdict, rules) = verdict(path, level);
        assert_eq!(verdict, expected, "at {level}: {rules:?}");
        let stops = rules.iter().any(|found| found == &format!("{rule} stops"));
        assert_eq!(stops, expected == "does-not-load", "at {level}: {rules:?}");
    }
}

#[test]
fn nothing_is_found_in_a_library_as_it_should_be() {
    if !can_build() {
        return;
    }
    let folder = Folder::new();
    let library = folder.library("libplain.so", PLAIN, &[]);
    for level in 21..=36 {
        assert_eq!(verdict(&library, level), ("loads".into(), vec![]));
    }
    assert_eq!(ask(&library, 36).code(), 0);
}

#[test]
fn gnu_hash_from_23_on() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.library("libgnu.so", PLAIN, &["--hash-style=gnu"]);
        turns(&library, 23, "hash-style", "does-not-load", "loads");
    }
}

#[test]
fn packed_relocations_from_23_28_30_on() {
    if !can_build() {
        return;
    }
    let folder = Folder::new();
    let android = folder.library("libaps2.so", POINTERS, &["--pack-dyn-relocs=android"]);
    turns(&android, 23, "packed-relocations", "does-not-load", "loads");
    let tags = ["--pack-dyn-relocs=relr", "--use-android-relr-tags"];
    let own_tags = folder.library("libarelr.so", POINTERS, &tags);
    turns(&own_tags, 28, "packed-relocations", "does-not-load", "loads");
    let relr = folder.library("librelr.so", POINTERS, &["--pack-dyn-relocs=relr"]);
    turns(&relr, 30, "packed-relocations", "does-not-load", "loads");
}

#[test]
fn thread_locals_from_29_on() {
    if can_build() {
        let source = "__thread int mine = 3; int *get(void) { return &mine; }";
        let library = Folder::new();
        let library = (library.library("libtls.so", source, &[]), library);
        // It calls __tls_get_addr, which libc has from the same level on.
        let (before, _) = verdict(&library.0, 28);
        assert_eq!(before, "does-not-load");
        assert_eq!(verdict(&library.0, 29).0, "loads");
    }
}

#[test]
fn writable_code_until_26() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.library("libwx.so", PLAIN, &[]);
        let mut bytes = std::fs::read(&library).unwrap();
        let is_code = |header: &[u8]| header[..8] == [1, 0, 0, 0, 5, 0, 0, 0];
        // Program headers come behind the ELF header, as lld lays them out; p_flags is their second field.
        let code = bytes[0x40..].chunks(56).position(is_code).expect("a segment of code");
        bytes[0x40 + 56 * code + 4] = 7;
        std::fs::write(&library, bytes).unwrap();
        let wx = |level| verdict(&library, level).1.into_iter().find(|rule| rule.starts_with("writable"));
        assert_eq!(wx(25).as_deref(), Some("writable-code warning"));
        assert_eq!(wx(26).as_deref(), Some("writable-code stops"));
    }
}

#[test]
fn section_headers_from_24_on() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.library("libstripped.so", PLAIN, &[]);
        let mut bytes = std::fs::read(&library).unwrap();
        // e_shoff, e_shnum and e_shstrndx of ELF64.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        std::fs::write(&library, bytes).unwrap();
        turns(&library, 24, "section-headers", "loads", "does-not-load");
        let text = ask(&library, 24).text();
        assert!(text.contains("\"libstripped.so\" has no section headers"), "{text}");
    }
}

#[test]
fn text_relocations_never_on_64_bit() {
    if can_build() {
        let folder = Folder::new();
        let source = "int a; __asm__(\".text\\n.globl f\\nf: ret\\n.quad a\\n\");";
        let library = folder.library("libtext.so", source, &["-z", "notext"]);
        let (verdict, rules) = verdict(&library, 21);
        assert_eq!(
            (verdict.as_str(), rules.as_slice()),
            ("does-not-load", &["text-relocations stops".to_owned()][..])
        );
        assert!(ask(&library, 21).text().contains("\"libtext.so\" has text relocations"));
        assert_eq!(ask(&library, 21).code(), 1);
    }
}

#[test]
fn needed_by_a_path_until_23() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.needing("libpath.so", PLAIN, &[], &["libc.so", "/build/out/libdep.so"]);
        let (before, rules) = verdict(&library, 22);
        assert_eq!((before.as_str(), rules), ("loads", vec!["needed-path warning".into()]));
        assert_eq!(verdict(&library, 23).0, "does-not-load");
        let text = ask(&library, 23).text();
        assert!(text.contains("library \"/build/out/libdep.so\" not found: needed by libpath.so"), "{text}");
    }
}

#[test]
fn private_libraries_until_24() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.needing("libprivate.so", PLAIN, &[], &["libc.so", "libcutils.so"]);
        turns(&library, 24, "private-library", "loads", "does-not-load");
    }
}

#[test]
fn libraries_that_come_with_a_release() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.needing("libaudio.so", PLAIN, &[], &["libc.so", "libaaudio.so"]);
        turns(&library, 26, "needed", "does-not-load", "loads");
    }
}

#[test]
fn imports_by_level() {
    if !can_build() {
        return;
    }
    let folder = Folder::new();
    let source = "int memfd_create(const char *, unsigned); int f(void) { return memfd_create(\"\", 0); }";
    let later = folder.library("liblater.so", source, &[]);
    turns(&later, 30, "imports-later", "does-not-load", "loads");
    let glibc = "int __isoc99_sscanf(void); int f(void) { return __isoc99_sscanf(); }";
    let never = folder.library("libnever.so", glibc, &[]);
    let (verdict_, rules) = verdict(&never, 36);
    assert_eq!((verdict_.as_str(), rules), ("does-not-load", vec!["imports stops".into()]));
    let text = ask(&never, 36).text();
    assert!(
        text.contains("cannot locate symbol \"__isoc99_sscanf\" referenced by \"libnever.so\""),
        "{text}"
    );
    // Whatever else Android has: of libz, no exports are known.
    let open = folder.needing("libopen.so", glibc, &[], &["libc.so", "libz.so"]);
    assert_eq!(verdict(&open, 36).0, "unknown");
    assert_eq!(ask(&open, 36).code(), 3);
    let weak = "__attribute__((weak)) int memfd_create(void); int f(void) { return memfd_create ? 1 : 2; }";
    assert_eq!(verdict(&folder.library("libweak.so", weak, &[]), 21).0, "loads");
    let unlinked = "double sin(double); double f(double a) { return sin(a) ; }";
    let (verdict, rules) = verdict(&folder.library("libunlinked.so", unlinked, &[]), 36);
    assert_eq!((verdict.as_str(), rules), ("does-not-load", vec!["imports-unlinked stops".into()]));
}

#[test]
fn what_is_beside_it_comes_along() {
    if can_build() {
        let folder = Folder::new();
        folder.library("libdep.so", "int helper(void) { return 1; }", &[]);
        let user = "int helper(void); int f(void) { return helper(); }";
        let user = folder.needing("libuser.so", user, &[], &["libc.so", "libdep.so"]);
        assert_eq!(verdict(&user, 30), ("loads".into(), vec![]));
        std::fs::remove_file(folder.path("libdep.so")).unwrap();
        assert_eq!(verdict(&user, 30).0, "unknown");
    }
}

#[test]
fn pages_of_16_kib_from_35_on() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.library("lib4k.so", PLAIN, &["-z", "max-page-size=4096"]);
        turns(&library, 35, "16k-pages", "loads", "only-with-4k-pages");
        assert_eq!(ask(&library, 35).code(), 1);
    }
}

#[test]
fn as_json_it_says_the_same() {
    if can_build() {
        let folder = Folder::new();
        let library = folder.library("libgnu.so", PLAIN, &["--hash-style=gnu"]);
        let json: serde_json::Value = serde_json::from_str(&ask(&library, 22).json()).unwrap();
        assert_eq!((&json["version"], &json["android"]), (&1.into(), &22.into()));
        assert_eq!(json["verdict"], "does-not-load");
        let library = &json["libraries"][0];
        assert_eq!((&library["abi"], &library["phase"]), (&"x86_64".into(), &"prelink".into()));
        assert_eq!(library["needed"], serde_json::json!(["libc.so"]));
        assert_eq!(library["findings"][0]["rule"], "hash-style");
        assert_eq!(library["findings"][0]["hint"], "link with --hash-style=both");
    }
}

#[test]
fn what_is_no_library_is_said_in_androids_words() {
    let folder = Folder::new();
    let path = folder.path("libtext.so");
    std::fs::write(&path, "hello, this is text, and longer than the header of any shared object would be")
        .unwrap();
    let text = ask(&path, 30).text();
    assert!(text.contains("\"libtext.so\" has bad ELF magic: 68656c6c"), "{text}");
    std::fs::write(&path, "short").unwrap();
    let text = ask(&path, 30).text();
    let expected = "\"libtext.so\" is too small to be an ELF executable: only found 5 bytes";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn entries_of_an_apk() {
    if !can_build() {
        return;
    }
    let folder = Folder::new();
    let library = std::fs::read(folder.library("libplain.so", PLAIN, &[])).unwrap();
    let apk = folder.path("app.apk");
    let rules = |padding: usize, level| {
        std::fs::write(&apk, stored("lib/x86_64/libplain.so", &library, padding)).unwrap();
        verdict(&apk, level)
    };
    let header = 30 + "lib/x86_64/libplain.so".len();
    assert_eq!(rules(16384 - header, 36), ("loads".into(), vec![]));
    assert_eq!(rules(4096 - header, 34), ("loads".into(), vec![]));
    assert_eq!(rules(4096 - header, 35), ("only-with-4k-pages".into(), vec!["unaligned stops-16k".into()]));
    assert_eq!(rules(0, 23), ("loads".into(), vec!["unaligned warning".into()]));
    assert_eq!(rules(0, 22), ("loads".into(), vec!["stored note".into()]));
    // A folder of another machine.
    std::fs::write(&apk, stored("lib/arm64-v8a/libplain.so", &library, 16384 - header - 3)).unwrap();
    let text = ask(&apk, 30).text();
    assert!(text.contains("is for EM_X86_64 (62) instead of EM_AARCH64 (183)"), "{text}");
}

/// A ZIP archive of one stored entry (APPNOTE.TXT, 4.3), with an extra field of `padding` bytes.
pub(crate) fn stored(name: &str, contents: &[u8], padding: usize) -> Vec<u8> {
    let size = u32::try_from(contents.len()).unwrap().to_le_bytes();
    let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let mut zip = Vec::new();
    zip.write_all(b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    zip.extend([size, size].concat());
    zip.extend(name_length);
    zip.extend(u16::try_from(padding).unwrap().to_le_bytes());
    zip.extend(name.as_bytes());
    zip.resize(zip.len() + padding, 0);
    zip.extend(contents);
    let directory = u32::try_from(zip.len()).unwrap();
    zip.write_all(b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    zip.extend([size, size].concat());
    zip.extend(name_length);
    zip.extend([0; 16]);
    zip.extend(name.as_bytes());
    let length = u32::try_from(zip.len()).unwrap() - directory;
    zip.write_all(b"PK\x05\x06\0\0\0\0\x01\0\x01\0").unwrap();
    zip.extend(length.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0; 2]);
    zip
}
