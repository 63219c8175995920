//! i386 (System V ABI, Intel386 supplement, "Relocation Types").

use super::Formula::*;
use super::Width::*;
use super::{Formula, Howto};

const fn r(number: u32, name: &'static str, formula: Formula) -> Howto {
    Howto { number, name, formula, width: Word32 }
}

pub(super) const TABLE: &[Howto] = &[
    r(0, "NONE", None),
    r(1, "32", Symbol),
    r(2, "PC32", Relative),
    r(5, "COPY", Copy),
    r(6, "GLOB_DAT", Import),
    r(7, "JMP_SLOT", LazyImport),
    r(8, "RELATIVE", Base),
    r(14, "TLS_TPOFF", TlsThread),
    r(35, "TLS_DTPMOD32", TlsModule),
    r(36, "TLS_DTPOFF32", TlsOffset),
    r(37, "TLS_TPOFF32", TlsThreadNegated),
    r(38, "SIZE32", Size),
    r(41, "TLS_DESC", TlsDescriptor),
    r(42, "IRELATIVE", Indirect),
];
