//! What a caller of `android_dlopen_ext` can say about how a library is loaded.

use crate::namespace::NamespaceId;
use livepatch_object::address::RuntimeAddress;
use std::os::fd::BorrowedFd;

/// Address space that the caller reserved (`ANDROID_DLEXT_RESERVED_ADDRESS` and its kin).
///
/// The range stays the caller's: it is not unmapped with the library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// The first byte; a page's.
    pub(crate) start: RuntimeAddress,
    pub(crate) size: u64,
    /// Whether a library that does not fit is loaded elsewhere instead (`…_HINT`).
    pub hint: bool,
    /// Whether the library's dependencies go there as well (`…_RECURSIVE`).
    pub recursive: bool,
}

impl Reserved {
    /// The range of `size` bytes from `start` on.
    ///
    /// # Safety
    /// All of it must be mapped, by the caller for this purpose, and nobody may use it from now on but the
    /// library that is loaded there: whatever is there is replaced. It must stay mapped as long as the
    /// library is loaded.
    pub unsafe fn new(start: RuntimeAddress, size: u64) -> Self {
        Self { start, size, hint: false, recursive: false }
    }
}

/// What to do about the part of a library that is read-only after relocation.
#[derive(Clone, Copy, Debug, Default)]
pub enum SharedRelro<'a> {
    /// Nothing beyond protecting it.
    #[default]
    Private,
    /// Append it to this file and map it from there (`ANDROID_DLEXT_WRITE_RELRO`).
    Write(BorrowedFd<'a>),
    /// Map those pages of it from this file that are the same there (`ANDROID_DLEXT_USE_RELRO`).
    Use(BorrowedFd<'a>),
}

/// How a library is to be loaded (`android_dlextinfo`). The default is as `dlopen` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtInfo<'a> {
    /// The library's bytes, in place of a file by its name (`ANDROID_DLEXT_USE_LIBRARY_FD`).
    pub library_fd: Option<BorrowedFd<'a>>,
    /// Where in that file it begins (`ANDROID_DLEXT_USE_LIBRARY_FD_OFFSET`).
    pub library_fd_offset: Option<u64>,
    /// Where it goes.
    pub reserved: Option<Reserved>,
    /// Sharing of what is read-only after relocation.
    pub relro: SharedRelro<'a>,
    /// It is loaded even if the same file is loaded already (`ANDROID_DLEXT_FORCE_LOAD`).
    pub force_load: bool,
    /// Initialisers are not called, and neither will finalisers be, unless somebody else opens the libraries.
    /// Functions that say where others are (`STT_GNU_IFUNC`) are.
    pub without_constructors: bool,
    /// In which namespace; none for that of the caller (`ANDROID_DLEXT_USE_NAMESPACE`).
    pub namespace: Option<NamespaceId>,
}
