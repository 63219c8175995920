//! Every record of an image, as it is read here and as llvm-objdump reads it.

use crate::{lief, objdump};
use bytes::Bytes;
use livepatch_object::macho::{Architecture, Image, slices};
use std::path::Path;

/// Environment variable: a file to compare.
const FILE: &str = "LIVEPATCH_MACHO_DIFFERENTIAL";

/// Compares; what llvm-objdump has in each table.
#[track_caller]
pub(crate) fn compare(program: &str, file: &Path, image: &Image, architecture: Architecture) -> String {
    let theirs = objdump::tables(program, file, &architecture.to_string());
    let ours = objdump::ours(image);
    let differences = ours.differences(&theirs);
    assert!(differences.is_empty(), "{} {architecture}:\n{}", file.display(), differences.join("\n"));
    theirs.counts()
}

/// For `cargo xtask macho-differential`.
#[test]
fn a_given_file() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let file = Path::new(&file);
    let program = objdump::program().expect("a program to compare with");
    let bytes = Bytes::from(std::fs::read(file).expect("the file"));
    for slice in slices(&bytes).expect("slices") {
        if !Architecture::NAMED.contains(&slice.architecture) {
            println!("{}: not read", slice.architecture);
            continue;
        }
        let image = Image::read(&slice).unwrap_or_else(|problem| panic!("{}: {problem}", file.display()));
        let counts = compare(&program, file, &image, slice.architecture);
        println!("{}: {counts}", slice.architecture);
        match lief::is_there() {
            true => println!("LIEF of {}: {}", slice.architecture, lief::compare(file, &image)),
            false => println!("LIEF of {}: skipped: Python has no LIEF", slice.architecture),
        }
    }
}
