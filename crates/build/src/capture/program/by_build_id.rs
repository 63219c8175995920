//! Finding the captured build that a running program came from.

use super::collect::is_shared_object;
use super::records::Records;
use super::{Folders, Image, Program, ProgramError, at};
use crate::capture::UnitKind;
use crate::capture::record::LinkRecord;
use crate::session::UnitId;
use livepatch_object::host::build_id_of;
use object::ReadCache;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The build id of an x86-64 executable or library, if it is one and has one.
pub fn build_id(file: File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    build_id_of(&cache).ok().filter(|id| !id.is_empty())
}

impl Program {
    /// The captured build whose executable has that build id; none where no build that is kept does.
    /// `libraries` is as for [`Program::load`]. What it may load later is what was linked beside it.
    pub fn with_build_id(
        folders: &Folders,
        wanted: &[u8],
        libraries: &HashSet<String>,
    ) -> Result<Option<Self>, ProgramError> {
        let records = match Records::read(folders) {
            // Nothing was ever captured.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            records => records.map_err(at(&folders.records()))?,
        };
        let id = |link: &LinkRecord| File::open(link.kept_output.as_path()).ok().and_then(build_id);
        let Some(link) = records.links().find(|link| id(link).is_some_and(|id| id == wanted)) else {
            return Ok(None);
        };
        let plugins = plugins(&records, link);
        let host = link.kept_output.as_path();
        let mut program = Self::from_records(folders, &records, host, &plugins, libraries)?;
        if let Some(crate_name) = program.outdated(&program.executable) {
            return Err(ProgramError::Outdated { crate_name });
        }
        let libraries = std::mem::take(&mut program.libraries);
        program.libraries =
            libraries.into_iter().filter(|library| program.outdated(library).is_none()).collect();
        Ok(Some(program))
    }

    /// A crate of an image whose record is newer than the link: its objects are not those of the image.
    fn outdated(&self, image: &Image) -> Option<String> {
        // The folder is named by when it was linked.
        let linked = image.file.parent().and_then(|folder| folder.file_name()?.to_str()?.parse::<u64>().ok());
        let mut members = self.units.iter().filter(|unit| image.units.contains(&unit.id));
        let newer = members.find(|unit| linked.is_none_or(|linked| unit.record.started > linked));
        newer.map(|unit| unit.record.crate_name.clone())
    }
}

/// The libraries that were linked beside a program, the newest first.
fn plugins(records: &Records, program: &LinkRecord) -> Vec<PathBuf> {
    let beside = records.links().filter(|link| {
        is_shared_object(link.output.as_path())
            && profile(link.output.as_path()) == profile(program.output.as_path())
            && link.kept_output.as_path().is_file()
    });
    let mut plugins: Vec<_> = beside
        .filter_map(|link| {
            let unit = records.unit(&UnitId(link.unit.clone()))?;
            (unit.kind == UnitKind::Linked).then(|| (unit.started, link.kept_output.as_path().to_owned()))
        })
        .collect();
    plugins.sort_unstable_by(|one, other| other.cmp(one));
    plugins.into_iter().map(|(_, file)| file).collect()
}

/// Cargo's folder for the profile: what it links is in `deps` or `examples` in there.
fn profile(output: &Path) -> Option<&Path> {
    output.parent()?.parent()
}
