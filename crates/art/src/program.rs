//! A program's dex files: those of an APK or a JAR, or one by itself.

use crate::archive;
use crate::dex::{self, Dex};
use crate::patch::{PatchError, dex_files};
use bytes::Bytes;

/// Reads all of them.
pub fn read(bytes: &Bytes) -> Result<Vec<Dex>, PatchError> {
    let read =
        |name: String, bytes: &Bytes| dex::read(bytes).map_err(|source| PatchError::Dex { name, source });
    if bytes.starts_with(b"dex\n") {
        return Ok(vec![read("the file".to_owned(), bytes)?]);
    }
    let entries = archive::read(bytes, |name| name.starts_with("classes") && name.ends_with(".dex"))?;
    dex_files(&entries)?.into_iter().map(|(name, bytes)| read(name, &bytes)).collect()
}
