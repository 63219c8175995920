//! x86-64 (System V ABI, AMD64 supplement, "Relocation Types").

use super::Formula::*;
use super::Width::*;
use super::{Formula, Howto, Width};

const fn r(number: u32, name: &'static str, formula: Formula, width: Width) -> Howto {
    Howto { number, name, formula, width }
}

pub(super) const TABLE: &[Howto] = &[
    r(0, "NONE", None, Word64),
    r(1, "64", Symbol, Word64),
    r(2, "PC32", Relative, Signed32),
    r(5, "COPY", Copy, Word64),
    r(6, "GLOB_DAT", Import, Word64),
    r(7, "JUMP_SLOT", LazyImport, Word64),
    r(8, "RELATIVE", Base, Word64),
    r(10, "32", Symbol, Unsigned32),
    r(11, "32S", Symbol, Signed32),
    r(16, "DTPMOD64", TlsModule, Word64),
    r(17, "DTPOFF64", TlsOffset, Word64),
    r(18, "TPOFF64", TlsThread, Word64),
    r(24, "PC64", Relative, Word64),
    r(32, "SIZE32", Size, Unsigned32),
    r(33, "SIZE64", Size, Word64),
    r(36, "TLSDESC", TlsDescriptor, Word64),
    r(37, "IRELATIVE", Indirect, Word64),
    r(38, "RELATIVE64", Base, Word64),
];
