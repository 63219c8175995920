//! RISC-V, 64-bit (RISC-V ELF psABI, "Relocations").

use super::Formula::*;
use super::Width::*;
use super::{Formula, Howto, Width};

const fn r(number: u32, name: &'static str, formula: Formula, width: Width) -> Howto {
    Howto { number, name, formula, width }
}

pub(super) const TABLE: &[Howto] = &[
    r(0, "NONE", None, Word64),
    r(1, "32", Symbol, Unsigned32),
    r(2, "64", Symbol, Word64),
    r(3, "RELATIVE", Base, Word64),
    r(4, "COPY", Copy, Word64),
    r(5, "JUMP_SLOT", LazyImport, Word64),
    r(7, "TLS_DTPMOD64", TlsModule, Word64),
    r(9, "TLS_DTPREL64", TlsOffset, Word64),
    r(11, "TLS_TPREL64", TlsThread, Word64),
    r(12, "TLSDESC", TlsDescriptor, Word64),
    r(58, "IRELATIVE", Indirect, Word64),
];
