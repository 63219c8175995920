//! AArch64 (ELF for the Arm 64-bit Architecture, "Dynamic relocations" and "Static data relocations").

use super::Formula::*;
use super::Width::*;
use super::{Formula, Howto, Width};

const fn r(number: u32, name: &'static str, formula: Formula, width: Width) -> Howto {
    Howto { number, name, formula, width }
}

pub(super) const TABLE: &[Howto] = &[
    r(0, "NONE", None, Word64),
    r(256, "NONE", None, Word64),
    r(257, "ABS64", Symbol, Word64),
    r(258, "ABS32", Symbol, Unsigned32),
    r(260, "PREL64", Relative, Word64),
    r(261, "PREL32", Relative, Signed32),
    r(1024, "COPY", Copy, Word64),
    r(1025, "GLOB_DAT", Import, Word64),
    r(1026, "JUMP_SLOT", LazyImport, Word64),
    r(1027, "RELATIVE", Base, Word64),
    r(1028, "TLS_DTPMOD", TlsModule, Word64),
    r(1029, "TLS_DTPREL", TlsOffset, Word64),
    r(1030, "TLS_TPREL", TlsThread, Word64),
    r(1031, "TLSDESC", TlsDescriptor, Word64),
    r(1032, "IRELATIVE", Indirect, Word64),
];
