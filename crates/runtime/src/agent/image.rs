//! Loading a patch image where it was made for.

use super::address::Span;
use super::linker::Linker;
use super::loader::{self, LoadedImage, Placement, rejected};
use super::state;
use livepatch_proto::{ApplyError, Image, ImageSource};
use std::sync::atomic::{AtomicU32, Ordering};

/// Loads `image`, or leaves nothing behind.
pub(crate) fn load(image: &Image) -> Result<LoadedImage, ApplyError> {
    let declared = Span::new(image.start.0, image.length).ok_or_else(|| ApplyError::BadAddress {
        address: image.start,
        purpose: "the start of an image".into(),
    })?;
    let loaded = state::while_loading(|| open(&image.source))?;
    match check_placement(&loaded, image.bias, declared) {
        Ok(()) => Ok(loaded),
        Err(error) => {
            close(loaded);
            Err(error)
        }
    }
}

/// Loads a patch library wherever the dynamic linker puts it.
pub(crate) fn load_library(source: &ImageSource) -> Result<(LoadedImage, Placement), ApplyError> {
    let loaded = state::while_loading(|| open(source))?;
    match loaded.placement() {
        Ok(placement) => Ok((loaded, placement)),
        Err(error) => {
            close(loaded);
            Err(error)
        }
    }
}

/// The same through another dynamic linker, which is loaded first.
pub(crate) fn load_through(linker: &str, library: &str) -> Result<(LoadedImage, Placement), ApplyError> {
    state::while_loading(|| Linker::get(linker)?.open(library))
}

/// Unloads an image whose patch did not go live.
pub(crate) fn close(image: LoadedImage) {
    state::while_loading(|| image.close());
}

fn open(source: &ImageSource) -> Result<LoadedImage, ApplyError> {
    static UNIQUE: AtomicU32 = AtomicU32::new(1);
    match source {
        ImageSource::Path { path, length } => {
            let found = std::fs::metadata(path).map_err(|error| rejected(format!("{path}: {error}")))?.len();
            if found != *length {
                return Err(rejected(format!("{path} is {found} bytes long, not {length}")));
            }
            LoadedImage::open(path)
        }
        ImageSource::Bytes { bytes, .. } => {
            if !source.is_intact() {
                return Err(rejected("it was damaged on the way".to_owned()));
            }
            loader::open_bytes(bytes, UNIQUE.fetch_add(1, Ordering::Relaxed))
        }
    }
}

fn check_placement(loaded: &LoadedImage, bias: u64, declared: Span) -> Result<(), ApplyError> {
    let found = loaded.placement()?;
    if found.bias != bias {
        // What is free is said once the image is gone (`transaction`).
        return Err(ApplyError::ImagePlacedElsewhere { bias: found.bias, free_ranges: Vec::new() });
    }
    if found.span.pages() != declared.pages() {
        return Err(rejected(format!(
            "it takes {:#x}..{:#x} instead of {:#x}..{:#x}",
            found.span.start(),
            found.span.end(),
            declared.start(),
            declared.end()
        )));
    }
    Ok(())
}
