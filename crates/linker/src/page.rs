//! Pages, whose size is known at run time only: 4 KiB, or 16 KiB, or 64 KiB.

/// The size of a page of this process.
pub fn size() -> u64 {
    rustix::param::page_size() as u64
}

/// The first byte of an address's page.
pub(crate) fn floor(address: u64) -> u64 {
    address & !(size() - 1)
}

/// The first byte of the first page that begins at an address or behind it. Addresses of mapped images cannot
/// overflow; others end at the last page.
pub(crate) fn ceil(address: u64) -> u64 {
    address.checked_next_multiple_of(size()).unwrap_or(floor(u64::MAX))
}
