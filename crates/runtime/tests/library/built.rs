//! Libraries made by the system's C compiler, with their symbols as `nm` tells them.

use livepatch::proto::{ImageSource, ModuleAddress, PATCH_ANCHOR};
use std::process::Command;

pub(crate) struct Built {
    folder: tempfile::TempDir,
    symbols: String,
}

/// Compiles `functions` as a patch library. None, said aloud, where there is no compiler or no `nm`.
pub(crate) fn library(functions: &str) -> Option<Built> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("patch.c");
    std::fs::write(&source, format!("const char {PATCH_ANCHOR} = 1;\n{functions}\n")).expect("written");
    let out = folder.path().join("patch.so");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&out).arg(&source);
    let Ok(compiled) = compile.status() else {
        eprintln!("skipped: there is no C compiler `cc`");
        return None;
    };
    assert!(compiled.success(), "cc failed");
    let Ok(listed) = Command::new("nm").arg(&out).output() else {
        eprintln!("skipped: there is no `nm`");
        return None;
    };
    Some(Built { folder, symbols: String::from_utf8(listed.stdout).expect("text") })
}

impl Built {
    /// A symbol's link-time address.
    pub(crate) fn address(&self, name: &str) -> u64 {
        let line = self.symbols.lines().find(|line| line.split(' ').next_back() == Some(name));
        let digits = line.and_then(|line| line.split(' ').next()).expect("the symbol is listed");
        u64::from_str_radix(digits, 16).expect("hexadecimal")
    }

    pub(crate) fn anchor(&self) -> u64 {
        self.address(PATCH_ANCHOR)
    }

    pub(crate) fn at(&self, module: u32, name: &str) -> ModuleAddress {
        ModuleAddress { module, address: self.address(name) }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("patch.so")).expect("read")
    }

    pub(crate) fn in_message(&self) -> ImageSource {
        ImageSource::in_message(self.bytes())
    }

    pub(crate) fn by_path(&self) -> ImageSource {
        let path = self.folder.path().join("patch.so");
        let length = self.bytes().len() as u64;
        ImageSource::Path { path: path.to_str().expect("text").to_owned(), length }
    }
}
