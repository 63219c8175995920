//! What a release of Android has for apps: which libraries, and what some of them export.
//!
//! Tables of exports are of libc, libm, libdl, libstdc++ and liblog, and of some of libandroid. What the other
//! public libraries export is not known here, and a name that only they could have is said to be unknown, not
//! missing.

use super::level::ApiLevel;
use crate::loadable::machine::Machine;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Public libraries (NDK, "Android NDK Native APIs"), and the first API level that has them.
const PUBLIC: [(&str, u32); 26] = [
    ("libc.so", 21),
    ("libm.so", 21),
    ("libdl.so", 21),
    ("libstdc++.so", 21),
    ("liblog.so", 21),
    ("libz.so", 21),
    ("libandroid.so", 21),
    ("libjnigraphics.so", 21),
    ("libEGL.so", 21),
    ("libGLESv1_CM.so", 21),
    ("libGLESv2.so", 21),
    ("libGLESv3.so", 21),
    ("libOpenSLES.so", 21),
    ("libOpenMAXAL.so", 21),
    ("libmediandk.so", 21),
    ("libRS.so", 21),
    ("libcamera2ndk.so", 24),
    ("libvulkan.so", 24),
    ("libaaudio.so", 26),
    ("libnativewindow.so", 26),
    ("libsync.so", 26),
    ("libneuralnetworks.so", 27),
    ("libamidi.so", 29),
    ("libbinder_ndk.so", 29),
    ("libicu.so", 31),
    ("libnativehelper.so", 31),
];

/// Libraries of the platform that are not for apps, and that apps have been seen to need all the same.
const PRIVATE: [&str; 16] = [
    "libandroid_runtime.so",
    "libart.so",
    "libbinder.so",
    "libcrypto.so",
    "libcutils.so",
    "libexpat.so",
    "libgui.so",
    "libicui18n.so",
    "libicuuc.so",
    "libmedia.so",
    "libsqlite.so",
    "libssl.so",
    "libstagefright.so",
    "libui.so",
    "libutils.so",
    "libwilhelm.so",
];

/// Versions that libc, libm and libdl define, and the first API level that has them.
const VERSIONS: [(&str, u32); 14] = [
    ("LIBC", 21),
    ("LIBC_PRIVATE", 21),
    ("LIBC_DEPRECATED", 21),
    ("LIBC_N", 24),
    ("LIBC_O", 26),
    ("LIBC_OMR1", 27),
    ("LIBC_P", 28),
    ("LIBC_Q", 29),
    ("LIBC_R", 30),
    ("LIBC_S", 31),
    ("LIBC_T", 33),
    ("LIBC_U", 34),
    ("LIBC_V", 35),
    ("LIBC_36", 36),
];

/// What a name that a library needs is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Library {
    /// A public library, from this API level on.
    Public {
        /// The first one.
        since: u32,
    },
    /// A library that apps may not load from API level 24 on.
    Private,
    /// None of the platform.
    Other,
}

/// What the platform has under a name.
pub fn library(name: &str) -> Library {
    if let Some((_, since)) = PUBLIC.iter().find(|(public, _)| *public == name) {
        return Library::Public { since: *since };
    }
    match PRIVATE.contains(&name) {
        true => Library::Private,
        false => Library::Other,
    }
}

/// The first API level with a version of libc, libm or libdl.
pub fn version_since(version: &str) -> Option<u32> {
    VERSIONS.iter().find(|(name, _)| *name == version).map(|(_, since)| *since)
}

/// What one library exports.
#[derive(Debug, Default)]
pub struct Exports {
    since: HashMap<&'static str, Vec<(Option<&'static str>, u32)>>,
}

/// Of the last one, only some names are known.
static TABLES: LazyLock<[(&str, Exports); 6]> = LazyLock::new(|| {
    [
        ("libc.so", Exports::read(include_str!("exports/libc.txt"))),
        ("libm.so", Exports::read(include_str!("exports/libm.txt"))),
        ("libdl.so", Exports::read(include_str!("exports/libdl.txt"))),
        ("libstdc++.so", Exports::read(include_str!("exports/libstdc++.txt"))),
        ("liblog.so", Exports::read(include_str!("exports/liblog.txt"))),
        (PARTLY_KNOWN, Exports::read(include_str!("exports/libandroid.txt"))),
    ]
});

const PARTLY_KNOWN: &str = "libandroid.so";

/// What a library exports, if there is a table of all of it.
pub fn exports(library: &str) -> Option<&'static Exports> {
    let mut whole = TABLES.iter().filter(|(name, _)| *name != PARTLY_KNOWN);
    whole.find(|(name, _)| *name == library).map(|(_, exports)| exports)
}

/// Every library that is known to have a name for a machine, with the first API level that has it there.
pub fn who_exports(symbol: &str, machine: Machine) -> impl Iterator<Item = (&'static str, u32)> {
    TABLES.iter().filter_map(move |(name, exports)| Some((*name, exports.since(symbol, machine)?)))
}

impl Exports {
    /// Lines `= LEVEL all` or `= LEVEL ABI…`, each followed by lines of names.
    fn read(text: &'static str) -> Self {
        let mut exports = Self::default();
        let (mut level, mut abis) = (0, "");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(group) = line.strip_prefix("= ") {
                let (number, rest) = group.split_once(' ').unwrap_or((group, "all"));
                (level, abis) = (number.parse().unwrap_or(u32::MAX), rest);
                continue;
            }
            for name in line.split_whitespace() {
                let entry = exports.since.entry(name).or_default();
                match abis {
                    "all" => entry.push((None, level)),
                    some => entry.extend(some.split(' ').map(|abi| (Some(abi), level))),
                }
            }
        }
        exports
    }

    /// The first API level that has a name, for a machine.
    pub fn since(&self, symbol: &str, machine: Machine) -> Option<u32> {
        let entries = self.since.get(symbol)?;
        let its = entries.iter().find(|(abi, _)| abi.is_none_or(|abi| abi == machine.abi()));
        let (_, since) = its?;
        // The first release for this machine has everything that was there before it.
        Some(if machine == Machine::Riscv64 { (*since).max(35) } else { *since })
    }

    /// Whether a level has a name, for a machine.
    pub fn has(&self, symbol: &str, machine: Machine, level: ApiLevel) -> bool {
        self.since(symbol, machine).is_some_and(|since| level.has(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels as bionic's headers give them (`__INTRODUCED_IN`), which are another source than its scripts.
    #[test]
    fn exports_begin_where_headers_say() {
        let libc = exports("libc.so").unwrap();
        let since = |name| libc.since(name, Machine::Aarch64);
        assert_eq!(since("malloc"), Some(21));
        assert_eq!(since("getifaddrs"), Some(24));
        assert_eq!(since("nl_langinfo"), Some(26));
        assert_eq!(since("aligned_alloc"), Some(28));
        assert_eq!(since("memfd_create"), Some(30));
        assert_eq!(since("close_range"), Some(34));
        assert_eq!(since("__isoc99_sscanf"), None);
        assert_eq!(exports("libm.so").unwrap().since("clog", Machine::X86_64), Some(26));
    }

    #[test]
    fn machines_differ() {
        let libc = exports("libc.so").unwrap();
        assert!(libc.since("__aeabi_memcpy", Machine::Arm).is_some());
        assert_eq!(libc.since("__aeabi_memcpy", Machine::Aarch64), None);
        assert_eq!(libc.since("prlimit", Machine::Aarch64), Some(21));
        assert_eq!(libc.since("prlimit", Machine::Arm), Some(24));
        assert_eq!(libc.since("malloc", Machine::Riscv64), Some(35));
    }

    #[test]
    fn libraries_are_told_apart() {
        assert_eq!(library("libvulkan.so"), Library::Public { since: 24 });
        assert_eq!(library("libcutils.so"), Library::Private);
        assert_eq!(library("libfbjni.so"), Library::Other);
    }
}
