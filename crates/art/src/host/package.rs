//! Where the runtime's libraries are.

use crate::release::Release;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's packages put them.
const FOLDER: &str = "usr/lib/x86_64-linux-gnu/android";
/// The runtime itself.
pub(super) const RUNTIME: &str = "libart.so.0";
/// The dynamic loader of a C library.
const LOADER: &str = "ld-linux-x86-64.so.2";
/// The library with the decompressor that the runtime's unwinder refers to.
const SEVEN_ZIP: &str = "usr/lib/p7zip/7z.so";
/// The same of Debian 13, which the unwinder names.
const SEVEN_ZIP_OF_14: &str = "usr/lib/7zip/7z.so";
/// Runtimes that are not of the system's release: what names the folder into which whose packages were unpacked.
const UNPACKED: [(u32, &str, &str); 2] =
    [(10, "LIVEPATCH_ART_10", "Debian 11's"), (14, "LIVEPATCH_ART_14", "Debian 13's")];

/// An installed or unpacked `android-libart`.
#[derive(Clone, Debug)]
pub struct Package {
    version: u32,
    release: Release,
    root: PathBuf,
}

impl Package {
    /// The one of a version of Android, or what to do to have it.
    pub fn of(version: u32) -> Result<Self, String> {
        let (root, hint) = match UNPACKED.iter().find(|(unpacked, ..)| *unpacked == version) {
            None if version == 11 => {
                (PathBuf::from("/"), "on Debian 12: apt install android-libart p7zip-full".to_owned())
            }
            None => return Err(format!("no boot classes of Android {version} are known")),
            Some((_, variable, whose)) => {
                let hint =
                    format!("unpack {whose} packages (docs/art.md), and name the folder in {variable}");
                let missing = || format!("no android-libart of Android {version}; {hint}");
                (std::env::var_os(variable).map(PathBuf::from).ok_or_else(missing)?, hint)
            }
        };
        let release = Release::of_version(version).ok_or("no such version")?;
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err("Android's runtime is run on x86-64 Linux only".to_owned());
        }
        let package = Self { version, release, root };
        let loader = package.own_c_library().map(|folder| folder.join(LOADER));
        let mut needed = [package.original(), package.seven_zip()].into_iter().chain(loader);
        match needed.find(|file| !file.exists()) {
            None => Ok(package),
            Some(file) => Err(format!("there is no {}; {hint}", file.display())),
        }
    }

    /// Its release.
    pub fn release(&self) -> Release {
        self.release
    }

    /// The libraries before it, in the order in which they are loaded: Debian 12's runtime and later ones name none of
    /// those before it, and what Debian 11's libraries name is found because it is loaded already.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        let names = match self.version {
            10 => "sigchain log unwind base ziparchive backtrace nativebridge nativeloader nativehelper",
            14 => "sigchain log base ziparchive backtrace nativebridge nativeloader cpu_features",
            _ => "sigchain base ziparchive log backtrace nativebridge nativeloader",
        };
        let own = names.split(' ').map(|name| self.root.join(FOLDER).join(format!("lib{name}.so.0")));
        let of_14 = (self.version == 14).then(|| PathBuf::from("libtinyxml2.so.11"));
        let others = [self.seven_zip(), PathBuf::from("liblz4.so.1")];
        others.into_iter().chain(of_14).chain(own).collect()
    }

    /// The runtime as it is packaged.
    pub(super) fn original(&self) -> PathBuf {
        self.root.join(FOLDER).join(RUNTIME)
    }

    /// Whether that does not start without a correction.
    pub(super) fn needs_correction(&self) -> bool {
        self.version == 14
    }

    /// Starts a program that is to have the runtime: with its own C library, if the system's is too old for it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Some(libraries) = self.own_c_library() else { return Command::new(program) };
        let mut command = Command::new(libraries.join(LOADER));
        let folders = [libraries, self.root.join(FOLDER), self.seven_zip().with_file_name("")];
        command.arg("--library-path").arg(folders.map(OsString::from).join(":".as_ref())).arg(program);
        command
    }

    /// Where that is.
    fn own_c_library(&self) -> Option<PathBuf> {
        let folder = Path::new(FOLDER).parent()?;
        (self.version == 14).then(|| self.root.join(folder))
    }

    fn seven_zip(&self) -> PathBuf {
        match self.version {
            14 => self.root.join(SEVEN_ZIP_OF_14),
            _ => Path::new("/").join(SEVEN_ZIP),
        }
    }
}
