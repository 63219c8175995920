//! Images that are not what they say: an error that says what is wrong, never a panic, and memory in proportion to the
//! file.

use crate::build::{Folder, Way, link, newest, read, run, tools};
use crate::{matrix, older};
use bytes::Bytes;
use livepatch_object::macho::path::Paths;
use livepatch_object::macho::{Image, Problem, Slice, slices};
use std::process::Command;

/// Reads everything that can be asked of a file.
fn everything(file: &Bytes) -> Result<(), Problem> {
    for slice in slices(file)? {
        everything_of(&slice)?;
    }
    Ok(())
}

fn everything_of(slice: &Slice) -> Result<(), Problem> {
    let image = Image::read(slice)?;
    let length = slice.bytes.len();
    // What can be asked without the fixups, first: an error in those must not hide it.
    let _ = (image.initializers(), image.terminators(), image.thread_locals(), image.entry_point());
    let names = image.exports().and_then(|exports| {
        let all = exports.all()?;
        for export in all.iter().take(64) {
            exports.find(&export.name)?;
        }
        Ok(all)
    });
    if let Ok(names) = &names {
        assert!(names.iter().map(|export| export.name.len()).sum::<usize>() <= length * 256);
    }
    for entry in [0, 1, 14, u32::MAX] {
        let _ = (image.lazy_bind_at(entry), image.lazy_opcodes(entry));
    }
    let fixups = image.fixups()?;
    assert!(fixups.records.len() <= length / 2 + 1, "{} records of {length} bytes", fixups.records.len());
    let paths = Paths::new(&image, &fixups);
    for stub in paths.stubs() {
        let code = image.code(stub.address);
        let _ = code.map(|code| image.instructions(&code));
        let import = stub.slot.and_then(|slot| paths.import_at(slot));
        if let Some(import) = import {
            let _ = paths.of(&import.symbol);
        }
    }
    for record in fixups.records.iter().take(200) {
        assert_eq!(image.at(record.slot.address, 8).map(|bytes| bytes.len()), Some(8));
        let _ = paths.slot(record.slot);
    }
    names.map(drop)
}

/// A text of obj2yaml's, changed, and what is wrong with the image that it becomes.
struct Changed<'a> {
    folder: &'a Folder,
    yaml: String,
}

impl Changed<'_> {
    /// Replaces what comes first behind `behind`.
    #[track_caller]
    fn problem(&self, behind: &str, from: &str, to: &str) -> String {
        let start = self.yaml.find(behind).unwrap_or_else(|| panic!("{behind} is in it"));
        let at = start + self.yaml[start..].find(from).unwrap_or_else(|| panic!("{from} is behind {behind}"));
        let text = format!("{}{to}{}", &self.yaml[..at], &self.yaml[at + from.len()..]);
        let (yaml, image) = (self.folder.write("changed.yaml", text), self.folder.file("changed"));
        let mut yaml2obj = Command::new(newest("yaml2obj").unwrap());
        let output = yaml2obj.arg(&yaml).arg("-o").arg(&image).output().unwrap();
        if !output.status.success() {
            return String::from_utf8_lossy(&output.stderr).into_owned();
        }
        let file = Bytes::from(std::fs::read(image).unwrap());
        match everything(&file) {
            Ok(()) => "nothing".to_owned(),
            Err(problem) => problem.to_string(),
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let tools = tools!();
    let (Some(obj2yaml), Some(_)) = (newest("obj2yaml"), newest("yaml2obj")) else {
        return println!("skipped: there is no obj2yaml or yaml2obj");
    };
    let folder = Folder::new();
    let file = link(&folder, &tools, Way::DYLIB);
    let yaml = run(Command::new(obj2yaml).arg(&file));
    let changed = Changed { folder: &folder, yaml };
    // As it is, it comes back whole: older versions lose parts of an exports trie.
    let unchanged = changed.problem("--- ", "mach-o", "mach-o");
    if std::fs::read(&file).unwrap() != std::fs::read(folder.file("changed")).unwrap_or_default() {
        return println!("skipped: yaml2obj does not give back what obj2yaml was given");
    }
    assert_eq!(unchanged, "nothing");
    let wrong = std::cell::RefCell::new(Vec::new());
    let expect = |behind, from, to, problem: &str| {
        let found = changed.problem(behind, from, to);
        if !found.contains(problem) {
            wrong.borrow_mut().push(format!("{from:?} → {to:?}: {found}"));
        }
    };
    expect("FileHeader", "filetype:        0x6", "filetype:        0x1", "file type 0x1 is not supported");
    expect("FileHeader", "ncmds:           ", "ncmds:           9", "load command");
    expect(
        "segname:         __LINKEDIT",
        "filesize:        ",
        "filesize:        99999999 #",
        "more bytes in the file",
    );
    expect("__TEXT", "vmsize:          ", "vmsize:          0x0 #", "more bytes in the file than in memory");
    expect("segname:         __DATA\n", "vmaddr:          ", "vmaddr:          0 #", "another segment");
    expect("sectname:        __stubs", "addr:            ", "addr:            0x90000 #", "outside it");
    expect("sectname:        __stubs", "addr:            ", "addr:            0x8 #", "elsewhere than");
    expect("sectname:        __stubs", "align:           ", "align:           99 #", "alignment");
    let segment = "SET_SEGMENT_AND_OFFSET_ULEB\n      Imm:             ";
    let to = "SET_SEGMENT_AND_OFFSET_ULEB\n      Imm:             9 #";
    expect("RebaseOpcodes", segment, to, "rebase opcodes at 0x3: its place");
    expect("\n  BindOpcodes", segment, to, "bind opcodes at ");
    expect("LazyBindOpcodes", segment, to, "lazy bind opcodes at ");
    let text = "SET_SEGMENT_AND_OFFSET_ULEB\n      Imm:             0 #";
    expect(
        "RebaseOpcodes",
        segment,
        text,
        "rebase opcodes at 0x3: its place is in a segment that is not written to",
    );
    let ordinal = "SET_DYLIB_ORDINAL_IMM\n      Imm:             ";
    let to = "SET_DYLIB_ORDINAL_IMM\n      Imm:             9 #";
    expect("\n  BindOpcodes", ordinal, to, "library ordinal 9, but there are 3 libraries");
    let kind = "REBASE_OPCODE_SET_TYPE_IMM\n      Imm:             1";
    expect("RebaseOpcodes", kind, "REBASE_OPCODE_SET_TYPE_IMM\n      Imm:             2", "only pointers");
    // Nothing was set before: the first opcode is one that binds, or rebases.
    expect(
        "RebaseOpcodes",
        "REBASE_OPCODE_SET_TYPE_IMM",
        "REBASE_OPCODE_DO_REBASE_IMM_TIMES",
        "no segment was set",
    );
    let first =
        "BIND_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB\n      Imm:             2\n      ULEBExtraData:   [ 0x0 ]\n";
    let to = "BIND_OPCODE_DO_BIND\n      Imm:             0\n    - Opcode:          BIND_OPCODE_DONE\n      Imm:             0\n";
    expect("LazyBindOpcodes", first, to, "lazy bind opcodes at 0x0: no symbol was set");
    expect("LC_SYMTAB", "nsyms:           ", "nsyms:           0x7FFFFFF #", "the symbol table at ");
    expect("LC_DYSYMTAB", "nindirectsyms:   ", "nindirectsyms:   0x7FFFFFF #", "indirect symbols at ");
    expect("LC_DYLD_INFO_ONLY", "lazy_bind_size:  ", "lazy_bind_size:  0x7FFFFFF #", "lazy bind opcodes at ");
    assert!(wrong.borrow().is_empty(), "{:#?}", wrong.borrow());
}

#[test]
fn sizes_that_are_too_large_are_not_believed() {
    let none: &[u8] = &[];
    let start = |bytes: &[u8]| slices(&Bytes::copy_from_slice(bytes)).map(drop);
    assert!(matches!(start(none), Err(Problem::EndsEarly { .. })));
    assert_eq!(start(b"\x7fELF\0\0\0\0\0\0\0\0"), Err(Problem::BadMagic(*b"\x7fELF")));
    // Of 32 bits, and of the other byte order.
    for magic in [0xce, 0xfe] {
        let mut header = vec![magic, 0xfa, 0xed, 0xfe];
        header.resize(64, 0);
        if magic == 0xfe {
            header[..4].copy_from_slice(&[0xfe, 0xed, 0xfa, 0xcf]);
        }
        let slice = slices(&Bytes::from(header)).unwrap().remove(0);
        assert!(matches!(Image::read(&slice), Err(Problem::Unsupported { .. })));
    }
    // A fat file with four thousand million slices, and one with more than there are architectures.
    assert!(matches!(
        start(&[0xca, 0xfe, 0xba, 0xbe, 0xff, 0xff, 0xff, 0xff]),
        Err(Problem::Unreadable { .. })
    ));
    let mut many = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 200];
    many.resize(8 + 200 * 20, 0);
    assert_eq!(start(&many), Err(Problem::TooMany { what: "slices" }));
}

/// How many mutants of each image.
const MUTANTS: u64 = 2000;

/// xorshift64: the same mutants every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Changes a few places: mostly in headers and in what is behind all sections, where the tables are.
fn mutant(original: &[u8], tables: usize, seed: u64) -> Vec<u8> {
    let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        let at = match random.below(8) {
            0..3 => random.below(2000.min(bytes.len())),
            3..7 => tables + random.below(bytes.len() - tables),
            _ => random.below(bytes.len()),
        };
        let value = match random.below(6) {
            0 => 0,
            1 => 0xff,
            2 => 0x80,
            3 => bytes[at].wrapping_add(1),
            4 => bytes[at] ^ 1 << random.below(8),
            _ => random.below(256) as u8,
        };
        bytes[at] = value;
    }
    if random.below(20) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

#[test]
fn mutants_are_refused_or_read() {
    let tools = tools!();
    let folder = Folder::new();
    let mut originals = Vec::new();
    for architecture in ["x86_64", "arm64"] {
        for chained in [false, true].into_iter().filter(|chained| tools.chains || !chained) {
            originals.push(
                std::fs::read(link(&folder, &tools, Way { architecture, chained, ..Way::DYLIB })).unwrap(),
            );
        }
    }
    originals.push(older::rewritten(&read(&link(&folder, &tools, Way::DYLIB), None)));
    originals.extend(matrix::fat(&folder, &tools).map(|file| std::fs::read(file).unwrap()));
    let mut refused = 0;
    for original in &originals {
        let file = Bytes::copy_from_slice(original);
        assert_eq!(everything(&file), Ok(()));
        // Tables are behind everything else: the last segment's bytes.
        let slice = slices(&file).unwrap().pop().unwrap();
        let image = Image::read(&slice).unwrap();
        let tables = slice.offset.0 + image.segments.named("__LINKEDIT").unwrap().offset.0;
        for seed in 0..MUTANTS {
            let bytes = mutant(original, tables as usize, seed);
            refused += u64::from(everything(&bytes.into()).is_err());
        }
    }
    let all = MUTANTS * originals.len() as u64;
    println!("{all} mutants of {} images, {refused} of them refused", originals.len());
    assert!(refused > all / 10 && refused < all);
}
