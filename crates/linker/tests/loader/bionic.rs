//! What Android's linker is known to do, each with a library of its own.

use crate::build::{Folder, call};
use crate::cases::{Case, cases};
use livepatch_linker::{Flags, Linker};

pub(crate) const CASES: &[Case] = cases![bionic::constructor_runs_at_dlopen];

fn constructor_runs_at_dlopen() {
    let folder = Folder::new();
    let source = "static long n; __attribute__((constructor)) static void c(void) { n = 42; } long get(void) { return n; }";
    let path = folder.library("liba.so", source, &[]);
    let library = Linker::new().dlopen(path, Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 42);
}
