//! What Android's linker asks of a library, phase by phase, with the API level from which on it does.

pub(super) mod construct;
pub(super) mod find;
pub(super) mod imports;
pub(super) mod link;
pub(super) mod prelink;
pub(super) mod read;
