//! What several targets do: taking an input apart, and the way of an edit without compiler and processes.

use livepatch_art::dex::Dex;
use livepatch_art::smali;
use livepatch_build::diff::{Diff, compare};
use livepatch_build::live::Live;
use livepatch_build::objects::{CodegenUnit, Identity, Object};
use livepatch_build::session::UnitId;
use livepatch_build::{gate, readers};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// An input as so many files: all but the last with their length before them, four bytes, lowest first.
pub fn files<const N: usize>(mut data: &[u8]) -> Option<[&[u8]; N]> {
    let mut files = [data; N];
    for file in &mut files[..N - 1] {
        let (length, rest) = data.split_first_chunk()?;
        (*file, data) = rest.split_at_checked(u32::from_le_bytes(*length).try_into().ok()?)?;
    }
    files[N - 1] = data;
    Some(files)
}

/// An object that can be read.
pub fn object(bytes: &[u8]) -> Option<Arc<Object>> {
    Object::parse(bytes.to_vec(), Path::new("input")).ok()
}

/// Whether no two definitions have the same name, as a compiler leaves it.
pub fn is_sane(object: &Arc<Object>) -> bool {
    let mut seen = HashSet::new();
    object.definitions().all(|id| seen.insert((object.image.name(id), object.scope(id))))
}

/// What is live when an object runs, and what an edit makes of it.
pub fn edit(old: &Arc<Object>, new: &Arc<Object>, optimized: bool) -> (Live, Diff) {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = *IDENTITY.get_or_init(|| Identity::of(Path::new("/")).expect("the root is there"));
    let unit = CodegenUnit { unit: UnitId("input".into()), name: "input".into() };
    let mut live = Live::default();
    live.insert_base(unit.clone(), identity, Arc::clone(old));
    let mut diff = compare(&live, vec![(unit, identity, Arc::clone(new))]);
    gate::check(&live, &mut diff, &[], optimized);
    readers::add(&live, &mut diff);
    (live, diff)
}

/// A file with single bytes replaced, as the input says: where, two bytes, and by what. Formats with checksums and
/// signatures are damaged more deeply so than by what a fuzzer finds by itself.
pub fn damaged(original: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change[2];
        }
    }
    bytes
}

/// A dex file with everything that one can have, as its classes.
pub fn everything() -> Dex {
    let text = include_str!("../../crates/art/tests/fixtures/everything.smali");
    let parts = text.split("\n.class ").skip(1);
    let class = |part| smali::assemble(&format!(".class {part}")).expect("a class");
    Dex { version: 39, classes: parts.map(class).collect() }
}
