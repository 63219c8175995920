//! Arm, 32-bit (ELF for the Arm Architecture, "Dynamic relocations").

use super::Formula::*;
use super::Width::*;
use super::{Formula, Howto};

const fn r(number: u32, name: &'static str, formula: Formula) -> Howto {
    Howto { number, name, formula, width: Word32 }
}

pub(super) const TABLE: &[Howto] = &[
    r(0, "NONE", None),
    r(2, "ABS32", Symbol),
    r(3, "REL32", Relative),
    r(13, "TLS_DESC", TlsDescriptor),
    r(17, "TLS_DTPMOD32", TlsModule),
    r(18, "TLS_DTPOFF32", TlsOffset),
    r(19, "TLS_TPOFF32", TlsThread),
    r(20, "COPY", Copy),
    r(21, "GLOB_DAT", Import),
    r(22, "JUMP_SLOT", LazyImport),
    r(23, "RELATIVE", Base),
    r(160, "IRELATIVE", Indirect),
];
