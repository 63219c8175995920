//! Android's runtimes of other releases of Debian than this system's: the user's own, or unpacked under the target
//! directory.

use crate::apt::Apt;
use crate::run::target;
use std::path::{Path, PathBuf};

/// A runtime, and what comes with it.
pub(crate) struct Runtime {
    /// Which version of Android it is of.
    version: u32,
    /// The release of Debian that has it.
    release: &'static str,
    /// What it takes besides what they all have.
    packages: &'static [&'static str],
    /// Tell tests where things are: where that is in the packages.
    variables: &'static [(&'static str, &'static str)],
}

/// The runtime and its libraries, as all releases have them.
pub(crate) const ANDROID: [&str; 7] = [
    "android-libart",
    "android-libbacktrace",
    "android-libbase",
    "android-liblog",
    "android-libnativebridge",
    "android-libnativeloader",
    "android-libziparchive",
];

/// All of them.
pub(crate) const ALL: [Runtime; 2] = [
    Runtime {
        version: 10,
        release: "bullseye",
        packages: &[
            "android-libnativehelper",
            "android-libunwind",
            // A compiler of dex files, which later releases do not have.
            "dalvik-exchange",
        ],
        variables: &[("LIVEPATCH_ART_10", ""), ("LIVEPATCH_DX", "usr/share/java/com.android.dx.jar")],
    },
    Runtime {
        version: 14,
        release: "trixie",
        packages: &[
            // It is built for a C library that is newer than Debian 12's, and so is all that it uses.
            "7zip",
            "libc6",
            "libgcc-s1",
            "liblz4-1",
            "libstdc++6",
            "libtinyxml2-11",
            "zlib1g",
        ],
        variables: &[("LIVEPATCH_ART_14", "")],
    },
];

/// Says where each is, for a shell.
pub(crate) fn run() -> Result<(), String> {
    let mut reasons = Vec::new();
    for runtime in &ALL {
        match runtime.find() {
            Ok(variables) => {
                variables.iter().for_each(|(name, place)| println!("export {name}='{}'", place.display()));
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("\n")) }
}

impl Runtime {
    /// Finds it, or unpacks it where that is possible: the variables that tests are to have.
    pub(crate) fn find(&self) -> Result<Vec<(&'static str, PathBuf)>, String> {
        let missing = self.variables.iter().filter(|(name, _)| std::env::var_os(name).is_none());
        let missing: Vec<&(&str, &str)> = missing.collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let android = target()?.join("android");
        let folder = android.join(self.version.to_string());
        if !folder.is_dir() {
            eprintln!("── unpack {}'s {}", self.release, self.packages().collect::<Vec<_>>().join(", "));
            let unpacked = self.unpack(&android, &folder);
            unpacked
                .map_err(|error| format!("no runtime of Android {} can be had: {error}", self.version))?;
        }
        Ok(missing.into_iter().map(|(name, place)| (*name, folder.join(place))).collect())
    }

    /// All that it takes.
    fn packages(&self) -> impl Iterator<Item = &'static str> {
        ANDROID.iter().chain(self.packages).copied()
    }

    /// It is there wholly or not at all.
    fn unpack(&self, android: &Path, folder: &Path) -> Result<(), String> {
        let apt = Apt::of_release(android, self.release)?;
        apt.run("apt-get", &["update", "--quiet"])?;
        let part = folder.with_extension("part");
        apt.unpack(self.packages(), &part)?;
        std::fs::rename(&part, folder).map_err(|error| format!("{}: {error}", folder.display()))
    }
}
