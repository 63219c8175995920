//! Hashes that stand for names and layouts. They mean something within one process only.
//!
//! Hashes of the parts of a type are summed up, so that the order in which a compiler lists them does
//! not count. That needs hashes whose sums do not cancel out: every one is mixed to the end.

use super::names::is_one_segment;
use rustc_hash::FxHasher;
use std::hash::Hasher as _;

/// The path of what is declared in nothing.
pub(super) const ROOT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A name.
pub(super) fn text(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.write_usize(bytes.len());
    mix(hasher.finish())
}

/// A sequence.
pub(super) fn sequence(values: impl IntoIterator<Item = u64>) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(ROOT);
    for value in values {
        hasher.write_u64(value);
    }
    mix(hasher.finish())
}

/// The path of `name` declared in what has the path `parent`.
pub(super) fn path(parent: u64, name: &[u8]) -> u64 {
    sequence([parent, text(name)])
}

/// The path of what an entry's name says under what has the path `parent`, the same as if the whole
/// qualified name were taken apart: `&dyn a::B` has colons that are no scopes of the entry.
pub(super) fn entry(parent: u64, name: &[u8]) -> u64 {
    if is_one_segment(name) { path(parent, name) } else { segments(parent, name) }
}

/// The path of what a qualified name spells under what has the path `parent`.
pub(super) fn segments(parent: u64, name: &[u8]) -> u64 {
    super::names::segments(name).fold(parent, path)
}

/// Stafford's thirteenth variant of the finaliser of MurmurHash3: every input bit reaches every output bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
