//! Stub objects as bytes. Three small writers: a general one sorts and hashes every name, which takes several
//! times as long as all the rest.

mod coff;
mod elf;
mod macho;

use super::StubError;
use super::cache::Facts;
use super::layout::Layout;
use super::target::Format;

/// The stub object's bytes; what must agree with the host is as it is there.
pub(super) fn write(layout: &Layout<'_>, host: &Facts) -> Result<Vec<u8>, StubError> {
    match layout.target.format {
        Format::Elf => elf::write(layout, host),
        Format::MachO => macho::write(layout, host),
        Format::Coff => coff::write(layout),
    }
}

/// A length or an offset in a field of 32 bits.
fn field(value: usize) -> Result<u32, StubError> {
    u32::try_from(value).map_err(|_| StubError::TooLarge { what: "the stubs" })
}

/// Fills up to a multiple of `align`.
fn align(out: &mut Vec<u8>, align: usize) {
    out.resize(out.len().next_multiple_of(align), 0);
}
