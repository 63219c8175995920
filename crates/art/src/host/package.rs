//! Where the runtime's libraries are.

use crate::release::Release;
use std::path::{Path, PathBuf};

/// Where Debian's packages put them.
const FOLDER: &str = "usr/lib/x86_64-linux-gnu/android";
/// The library with the decompressor that the runtime's unwinder refers to.
const SEVEN_ZIP: &str = "usr/lib/p7zip/7z.so";
/// Names a folder into which the packages of Debian 11 (Android 10) were unpacked.
const FOLDER_OF_10: &str = "LIVEPATCH_ART_10";

/// An installed or unpacked `android-libart`.
#[derive(Clone, Debug)]
pub struct Package {
    release: Release,
    folder: PathBuf,
}

impl Package {
    /// The one of a version of Android, or what to do to have it.
    pub fn of(version: u32) -> Result<Self, String> {
        let unpacked = std::env::var_os(FOLDER_OF_10).map(PathBuf::from);
        let (root, hint) = match (version, unpacked) {
            (11, _) => (PathBuf::from("/"), "on Debian 12: apt install android-libart p7zip-full".to_owned()),
            (10, Some(root)) => {
                (root, format!("{FOLDER_OF_10} should name a folder with Debian 11's packages"))
            }
            (10, None) => {
                let hint = format!("unpack Debian 11's packages (docs/art.md), and set {FOLDER_OF_10}");
                return Err(format!("no android-libart of Android 10: {hint}"));
            }
            _ => return Err(format!("no boot classes of Android {version} are known")),
        };
        let folder = root.join(FOLDER);
        let release = Release::of_version(version).ok_or("no such version")?;
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err("Android's runtime is run on x86-64 Linux only".to_owned());
        }
        let needed = [folder.join("libart.so.0"), Path::new("/").join(SEVEN_ZIP)];
        match needed.iter().find(|file| !file.exists()) {
            None => Ok(Self { release, folder }),
            Some(file) => Err(format!("there is no {}; {hint}", file.display())),
        }
    }

    /// Its release.
    pub fn release(&self) -> Release {
        self.release
    }

    /// The libraries before it, in the order in which they are loaded: Debian 12's runtime names none of those before it, and
    /// what Debian 11's libraries name is found because it is loaded already.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        let mut names = vec!["base", "ziparchive", "log", "backtrace", "nativebridge", "nativeloader"];
        if Some(self.release) == Release::of_version(10) {
            names = vec!["log", "unwind", "base", "ziparchive", "backtrace", "nativebridge", "nativeloader"];
            names.push("nativehelper");
        }
        let sigchain = ["sigchain"].iter().chain(&names);
        let own = sigchain.map(|name| self.folder.join(format!("lib{name}.so.0")));
        let others = [Path::new("/").join(SEVEN_ZIP), PathBuf::from("liblz4.so.1")];
        others.into_iter().chain(own).collect()
    }

    /// The runtime itself.
    pub(super) fn runtime(&self) -> PathBuf {
        self.folder.join("libart.so.0")
    }
}
