//! The file that was given, and the slice that is meant.

use crate::error::Failure;
use bytes::Bytes;
use livepatch_object::macho::{self, Architecture, Problem, Slice};
use std::path::Path;

/// Its bytes.
pub(super) fn file(path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(Failure::file("read", path))
}

/// What is wrong with it.
pub(super) fn unsound(path: &Path, problem: Problem) -> Failure {
    Failure::Image { path: path.to_owned(), problem }
}

/// Its slices.
pub(super) fn slices(path: &Path, file: &Bytes) -> Result<Vec<Slice>, Failure> {
    macho::slices(file).map_err(|problem| unsound(path, problem))
}

/// The slice that was asked for; else the one for x86-64, which could be run here, or the first that can be read.
pub(super) fn choose<'a>(
    path: &Path,
    slices: &'a [Slice],
    wanted: Option<Architecture>,
) -> Result<&'a Slice, Failure> {
    let found = match wanted {
        Some(wanted) => slices.iter().find(|slice| slice.architecture == wanted),
        None => macho::choose(slices, Architecture::X86_64)
            .or_else(|| slices.iter().find(|slice| Architecture::NAMED.contains(&slice.architecture)))
            .or(slices.first()),
    };
    found.ok_or_else(|| {
        let all: Vec<String> = slices.iter().map(|slice| slice.architecture.to_string()).collect();
        let wanted = wanted.map_or("any".to_owned(), |wanted| wanted.to_string());
        Failure::Unsupported {
            what: format!("{} has no slice for {wanted}", path.display()),
            hint: format!("it has {}", all.join(", ")),
        }
    })
}
