//! Dex files (Android's "Dalvik executable format", versions 035 to 039): read into classes that name what they
//! refer to, and written from them. Indexes exist in files only.

pub mod instruction;
pub mod model;
pub mod opcode;
mod read;
pub mod text;
mod write;

pub use model::*;
pub use read::{DexError, read};
pub use text::Text;
pub use write::{WriteError, seal, write};

/// The constant of `endian_tag`: values have their lowest byte first.
const ENDIAN: u32 = 0x1234_5678;
/// How long the header is.
const HEADER: u32 = 0x70;
/// An index that says that there is nothing.
const NO_INDEX: u32 = 0xffff_ffff;

/// Adler-32 (RFC 1950, section 8.2).
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (mut a, mut b) = (1_u32, 0_u32);
    // So many sums stay below 2^32.
    for chunk in bytes.chunks(5552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    b << 16 | a
}

/// Types of the map's items (dex format, "type codes").
mod item {
    pub(super) const HEADER: u16 = 0x0000;
    pub(super) const STRING_ID: u16 = 0x0001;
    pub(super) const TYPE_ID: u16 = 0x0002;
    pub(super) const PROTO_ID: u16 = 0x0003;
    pub(super) const FIELD_ID: u16 = 0x0004;
    pub(super) const METHOD_ID: u16 = 0x0005;
    pub(super) const CLASS_DEF: u16 = 0x0006;
    pub(super) const CALL_SITE_ID: u16 = 0x0007;
    pub(super) const METHOD_HANDLE: u16 = 0x0008;
    pub(super) const MAP_LIST: u16 = 0x1000;
    pub(super) const TYPE_LIST: u16 = 0x1001;
    pub(super) const ANNOTATION_SET_REF_LIST: u16 = 0x1002;
    pub(super) const ANNOTATION_SET: u16 = 0x1003;
    pub(super) const CLASS_DATA: u16 = 0x2000;
    pub(super) const CODE: u16 = 0x2001;
    pub(super) const STRING_DATA: u16 = 0x2002;
    pub(super) const DEBUG_INFO: u16 = 0x2003;
    pub(super) const ANNOTATION: u16 = 0x2004;
    pub(super) const ENCODED_ARRAY: u16 = 0x2005;
    pub(super) const ANNOTATIONS_DIRECTORY: u16 = 0x2006;
}

/// Types of encoded values (dex format, "value formats").
mod value {
    pub(super) const BYTE: u8 = 0x00;
    pub(super) const SHORT: u8 = 0x02;
    pub(super) const CHAR: u8 = 0x03;
    pub(super) const INT: u8 = 0x04;
    pub(super) const LONG: u8 = 0x06;
    pub(super) const FLOAT: u8 = 0x10;
    pub(super) const DOUBLE: u8 = 0x11;
    pub(super) const METHOD_TYPE: u8 = 0x15;
    pub(super) const METHOD_HANDLE: u8 = 0x16;
    pub(super) const STRING: u8 = 0x17;
    pub(super) const TYPE: u8 = 0x18;
    pub(super) const FIELD: u8 = 0x19;
    pub(super) const METHOD: u8 = 0x1a;
    pub(super) const ENUM: u8 = 0x1b;
    pub(super) const ARRAY: u8 = 0x1c;
    pub(super) const ANNOTATION: u8 = 0x1d;
    pub(super) const NULL: u8 = 0x1e;
    pub(super) const BOOLEAN: u8 = 0x1f;
}

/// Opcodes of debug information (dex format, `debug_info_item`).
mod debug {
    pub(super) const END_SEQUENCE: u8 = 0x00;
    pub(super) const ADVANCE_PC: u8 = 0x01;
    pub(super) const ADVANCE_LINE: u8 = 0x02;
    pub(super) const START_LOCAL: u8 = 0x03;
    pub(super) const START_LOCAL_EXTENDED: u8 = 0x04;
    pub(super) const END_LOCAL: u8 = 0x05;
    pub(super) const RESTART_LOCAL: u8 = 0x06;
    pub(super) const SET_PROLOGUE_END: u8 = 0x07;
    pub(super) const SET_EPILOGUE_BEGIN: u8 = 0x08;
    pub(super) const SET_FILE: u8 = 0x09;
    pub(super) const FIRST_SPECIAL: u8 = 0x0a;
}

#[cfg(test)]
mod tests {
    use super::adler32;

    /// RFC 1950 has no example; these are zlib's (`python3 -c 'import zlib; print(zlib.adler32(b"Wikipedia"))'`).
    #[test]
    fn adler() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(&[0xff; 100_000]), 0x149a_302c);
    }
}
