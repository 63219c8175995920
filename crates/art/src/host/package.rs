//! Where the runtime's libraries are.

use super::processor::Processor;
use crate::release::Release;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

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
/// Names the folder into which Debian 12's packages for another processor than the system's were unpacked, with all that
/// they need: what would be the root folder there.
const ROOT: &str = "LIVEPATCH_ART_ROOT";

/// An installed or unpacked `android-libart`.
#[derive(Clone, Debug)]
pub struct Package {
    version: u32,
    release: Release,
    processor: &'static Processor,
    root: PathBuf,
    /// Where what is not Android's is, if that is not the system's.
    system: Option<PathBuf>,
}

impl Package {
    /// The one of a version of Android, or what to do to have it.
    pub fn of(version: u32) -> Result<Self, String> {
        let own = Processor::own().filter(|_| cfg!(target_os = "linux"));
        let processor = own.ok_or("Debian has no android-libart for this system")?;
        let system = std::env::var_os(ROOT).map(PathBuf::from);
        let (root, hint) = match UNPACKED.iter().find(|(unpacked, ..)| *unpacked == version) {
            None if version == 11 => match &system {
                Some(root) => {
                    (root.clone(), format!("unpack Debian 12's packages (docs/art.md) into {ROOT}"))
                }
                None => {
                    (PathBuf::from("/"), "on Debian 12: apt install android-libart p7zip-full".to_owned())
                }
            },
            None => return Err(format!("no boot classes of Android {version} are known")),
            Some((_, variable, whose)) => {
                let hint =
                    format!("unpack {whose} packages (docs/art.md), and name the folder in {variable}");
                let missing = || format!("no android-libart of Android {version}; {hint}");
                (std::env::var_os(variable).map(PathBuf::from).ok_or_else(missing)?, hint)
            }
        };
        let release = Release::of_version(version).ok_or("no such version")?;
        if version == 14 && !cfg!(target_arch = "x86_64") {
            return Err("Android 14's runtime is run on x86-64 only".to_owned());
        }
        let package = Self { version, release, processor, root, system };
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
        let own = names.split(' ').map(|name| self.folder().join(format!("lib{name}.so.0")));
        let of_14 = (self.version == 14).then(|| PathBuf::from("libtinyxml2.so.11"));
        let others = [self.seven_zip(), PathBuf::from("liblz4.so.1")];
        let unnamed = self.processor.unnamed.iter().map(PathBuf::from);
        others.into_iter().chain(unnamed).chain(of_14).chain(own).collect()
    }

    /// For which processor it is.
    pub(super) fn processor(&self) -> &'static Processor {
        self.processor
    }

    /// Where Debian's packages put it.
    fn folder(&self) -> PathBuf {
        self.root.join("usr/lib").join(self.processor.debian).join("android")
    }

    /// Where the linker has to look for what the libraries need, if it has to be told.
    fn search_path(&self) -> Option<OsString> {
        let root = self.system.as_ref()?;
        let folders = ["lib", "usr/lib"].map(|folder| root.join(folder).join(self.processor.debian));
        let others = [self.folder(), root.join("usr/lib/p7zip")];
        std::env::join_paths(folders.into_iter().chain(others)).ok()
    }

    /// The runtime as it is packaged.
    pub(super) fn original(&self) -> PathBuf {
        self.folder().join(RUNTIME)
    }

    /// Whether that does not start without a correction.
    pub(super) fn needs_correction(&self) -> bool {
        self.version == 14
    }

    /// Starts a program that is to have the runtime: with its own C library, if the system's is too old for it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Some(libraries) = self.own_c_library() else {
            let mut command = Command::new(program);
            command.envs(self.search_path().map(|path| ("LD_LIBRARY_PATH", path)));
            return command;
        };
        let mut command = Command::new(libraries.join(LOADER));
        let folders = [libraries, self.folder(), self.seven_zip().with_file_name("")];
        command.arg("--library-path").arg(folders.map(OsString::from).join(":".as_ref())).arg(program);
        command
    }

    /// Where that is.
    fn own_c_library(&self) -> Option<PathBuf> {
        (self.version == 14).then(|| self.root.join("usr/lib").join(self.processor.debian))
    }

    fn seven_zip(&self) -> PathBuf {
        match self.version {
            14 => self.root.join(SEVEN_ZIP_OF_14),
            _ => self.system.as_deref().unwrap_or(Path::new("/")).join(SEVEN_ZIP),
        }
    }
}
