//! Libraries in APKs and AARs.

use super::finding::{Effect, Finding, Phase};
use super::level::{ApiLevel, PageSizes};
use crate::loadable::archive_entry::{ArchiveError, Packed, entries};
use crate::loadable::machine::Machine;
use bytes::Bytes;

/// No library is larger than this; more is not unpacked.
const LARGEST: u64 = 1 << 30;
const DEFLATED: u16 = 8;

/// What an archive is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It is installed: libraries are under `lib/`.
    Apk,
    /// Apps are built with it: libraries are under `jni/`.
    Aar,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Apk => "lib/",
            Self::Aar => "jni/",
        }
    }
}

/// A library in an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its whole name.
    pub name: String,
    /// Its name without folders.
    pub file: String,
    /// The machine of its folder; none for a folder that no device looks into.
    pub machine: Option<Machine>,
    /// Where it is.
    pub place: Packed,
}

/// All libraries of an archive, by name.
pub fn libraries(archive: &[u8], kind: Kind) -> Result<Vec<Entry>, ArchiveError> {
    let mut found: Vec<Entry> = entries(archive)?
        .into_iter()
        .filter_map(|(name, place)| {
            let name = std::str::from_utf8(name).ok()?;
            let (folder, file) = name.strip_prefix(kind.prefix())?.split_once('/')?;
            let machine = Machine::ALL.into_iter().find(|machine| machine.abi() == folder);
            let is_library = file.ends_with(".so") && !file.contains('/');
            is_library.then(|| Entry { name: name.to_owned(), file: file.to_owned(), machine, place })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// An entry's bytes, unpacked if they are compressed.
pub fn contents(archive: &Bytes, place: &Packed) -> Result<Bytes, ArchiveError> {
    let bad = ArchiveError::NotReadable("an entry's bytes are outside the archive");
    let start = usize::try_from(place.offset.0).map_err(|_| bad)?;
    let length = usize::try_from(place.packed_size).map_err(|_| bad)?;
    let end = start.checked_add(length).filter(|&end| end <= archive.len()).ok_or(bad)?;
    match place.method {
        0 => Ok(archive.slice(start..end)),
        DEFLATED if place.size <= LARGEST => {
            let most = usize::try_from(place.size).map_err(|_| bad)?;
            let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(&archive[start..end], most);
            let unpacked =
                unpacked.map_err(|_| ArchiveError::NotReadable("an entry's bytes cannot be decompressed"))?;
            match unpacked.len() == most {
                true => Ok(unpacked.into()),
                false => Err(ArchiveError::NotReadable("an entry is not as long as it says")),
            }
        }
        DEFLATED => Err(ArchiveError::NotReadable("an entry is larger than 1 GiB")),
        _ => Err(ArchiveError::NotReadable("an entry is compressed in a way that is not known")),
    }
}

/// Whether the installer and the linker could use an APK's entry. An AAR's are packed anew by whoever builds an
/// app with it.
pub fn check(entry: &Entry, level: ApiLevel, pages: PageSizes) -> Vec<Finding> {
    let found = |phase, effect, rule, what: String| Finding::new(phase, effect, rule, what);
    let mut findings = Vec::new();
    if entry.machine.is_none() {
        let what = "its folder is of no ABI that devices have".to_owned();
        findings.push(found(Phase::Package, Effect::Warning, "abi", what));
    }
    if !entry.file.starts_with("lib") {
        let what =
            "its name does not begin with lib: it is not extracted when the app is installed".to_owned();
        findings.push(found(Phase::Package, Effect::Warning, "file-name", what));
    }
    let offset = entry.place.offset.0;
    let extracted = "it has to be extracted when the app is installed (android:extractNativeLibs)";
    if entry.place.method != 0 {
        let what = format!("its entry is compressed: {extracted}");
        findings.push(found(Phase::Find, Effect::Note, "compressed", what));
    } else if !level.has(23) {
        let what = format!("libraries are not opened in an APK before API level 23: {extracted}");
        findings.push(found(Phase::Find, Effect::Note, "stored", what));
    } else if !offset.is_multiple_of(4096) {
        let what = format!("its entry is at {offset:#x}, not at a page: {extracted}");
        findings.push(found(Phase::Find, Effect::Warning, "unaligned", what).hint("use zipalign -P 16 4"));
    } else if !offset.is_multiple_of(16384) && pages.with_16kib(level) {
        let what = format!("its entry is at {offset:#x}, not at a page of 16 KiB: {extracted}");
        findings
            .push(found(Phase::Find, Effect::StopsWith16Kib, "unaligned", what).hint("use zipalign -P 16 4"));
    }
    findings
}
