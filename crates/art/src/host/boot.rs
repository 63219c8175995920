//! Starting the runtime.

use super::corrected::{self, UnknownBuild};
use super::loader::Loader;
use super::package::{Package, RUNTIME};
use super::{boot_classes, dynamic, stub};
use crate::archive;
use crate::dex;
use crate::jni::{Environment, Thrown};
use crate::release::Release;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use thiserror::Error;

/// What the runtime loads of Android when it starts, and what that needs.
const STUBS: [(&str, Option<&str>); 3] =
    [("libicu_jni.so", None), ("libjavacore.so", None), ("libopenjdk.so", None)];
/// What Debian 11's libraries ask for, under names that no package has: what they use of the first is in `7z.so`,
/// which has no name at all.
const OF_10: [(&str, Option<&str>); 2] =
    [("lib7z.so", None), ("libnativehelper.so", Some("libnativehelper.so.0"))];
/// What is found before the C library's own, where the runtime does not start with that.
const STACKS: &str = "libstacks.so";
/// The boot class path.
const CORE: &str = "core.jar";

/// Why there is no runtime.
#[derive(Debug, Error)]
pub enum BootError {
    /// The boot classes could not be made.
    #[error("the boot classes: {0}")]
    Classes(String),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime's file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime's file is not the one that can be corrected.
    #[error("{}", path.display())]
    Build {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: UnknownBuild,
    },
    /// A library was refused.
    #[error("{}: {said}", path.display())]
    Library {
        /// Which.
        path: PathBuf,
        /// What the linker says.
        said: String,
    },
    /// It does not start.
    #[error("{0}")]
    Start(String),
    /// It started and threw something.
    #[error("the runtime threw {0}")]
    Thrown(#[from] Thrown),
}

/// A folder with all that a runtime needs to start.
#[derive(Debug)]
pub struct Setup {
    package: Package,
    folder: PathBuf,
    interprets: bool,
    checks: bool,
}

impl Setup {
    /// Writes it into an existing folder.
    pub fn write(package: Package, folder: &Path) -> Result<Self, BootError> {
        let classes = boot_classes(package.release()).map_err(BootError::Classes)?;
        let bytes = dex::write(&classes).map_err(|error| BootError::Classes(error.to_string()))?;
        let jar = archive::write(&[("classes.dex", &bytes)])
            .map_err(|error| BootError::Classes(error.to_string()))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|source| BootError::Write { path, source })
        };
        write(CORE, &jar)?;
        let processor = package.processor();
        let on_load = stub::Function { name: "JNI_OnLoad", code: processor.version };
        for (name, needs) in STUBS.into_iter().chain(OF_10) {
            write(name, &stub::library(processor, name, needs.map(str::as_bytes), on_load))?;
        }
        if let Some(code) = processor.success {
            let runtime = package.original();
            let function = stub::Function { name: "pthread_attr_setstack", code };
            write(STACKS, &stub::library(processor, STACKS, Some(runtime.as_os_str().as_bytes()), function))?;
        }
        if package.needs_correction() {
            let path = package.original();
            let read =
                std::fs::read(&path).map_err(|source| BootError::Read { path: path.clone(), source })?;
            let made = corrected::corrected(read).map_err(|source| BootError::Build { path, source })?;
            write(RUNTIME, &made)?;
        }
        let cache = Path::new("dalvik-cache");
        for name in [cache, &cache.join(processor.android)] {
            let path = folder.join(name);
            if let Err(source) = std::fs::create_dir(&path)
                && !path.is_dir()
            {
                return Err(BootError::Write { path, source });
            }
        }
        Ok(Self { package, folder: folder.to_owned(), interprets: false, checks: false })
    }

    /// Has the runtime interpret everything, whatever the entries of methods are.
    pub fn interpret(mut self) -> Self {
        self.interprets = true;
        self
    }

    /// Has the runtime check how it is called (CheckJNI), as it does in programs that can be debugged.
    pub fn check_jni(mut self) -> Self {
        self.checks = true;
        self
    }

    /// The release of the runtime.
    pub fn release(&self) -> Release {
        self.package.release()
    }

    /// Starts a program in whose process [`Self::boot`] is to work.
    pub fn command(&self, program: &Path) -> Command {
        let names =
            ["ANDROID_ROOT", "ANDROID_DATA", "ANDROID_ART_ROOT", "ANDROID_I18N_ROOT", "ANDROID_TZDATA_ROOT"];
        let mut command = self.package.command(program);
        command.envs(names.map(|name| (name, &self.folder)));
        command
    }

    /// Starts the runtime in this process, which has none yet and was started as [`Self::command`] says. This thread is
    /// its main thread.
    pub fn boot(&self) -> Result<Machine, BootError> {
        let is_10 = Some(self.package.release()) == Release::of_version(10);
        let of_10: &[(&str, _)] = if is_10 { &OF_10 } else { &[] };
        if let Some((name, _)) = of_10.first() {
            load(self.folder.join(name))?;
        }
        for library in self.package.libraries() {
            load(library)?;
        }
        let runtime = match self.package.processor().success {
            _ if self.package.needs_correction() => load(self.folder.join(RUNTIME))?,
            Some(_) => load_with(self.folder.join(STACKS), dynamic::load_first)?,
            None => load(self.package.original())?,
        };
        // They are asked for by name; what is loaded already has that name.
        for (name, _) in STUBS.iter().chain(of_10.iter().skip(1)) {
            load(self.folder.join(name))?;
        }
        let core = self.folder.join(CORE);
        let mut options = Vec::new();
        for option in ["-Xbootclasspath:", "-Xbootclasspath-locations:"] {
            let text = [option.as_bytes(), core.as_os_str().as_bytes()].concat();
            options.push(
                CString::new(text).map_err(|_| BootError::Start("a path with a NUL in it".to_owned()))?,
            );
        }
        options.extend([c"-Ximage:/nonexistent/boot.art", c"-Xusejit:false"].map(CString::from));
        if self.interprets {
            options.push(CString::from(c"-Xint"));
        }
        if self.checks {
            options.push(CString::from(c"-Xcheck:jni"));
        }
        let environment = dynamic::create(&runtime, &options).map_err(BootError::Start)?;
        Ok(Machine { environment })
    }
}

fn load(path: PathBuf) -> Result<dynamic::Library, BootError> {
    load_with(path, dynamic::load)
}

fn load_with(
    path: PathBuf,
    with: fn(&Path) -> Result<dynamic::Library, String>,
) -> Result<dynamic::Library, BootError> {
    with(&path).map_err(|said| BootError::Library { path, said })
}

/// A runtime in this process, and its main thread.
#[derive(Debug)]
pub struct Machine {
    environment: Environment,
}

impl Machine {
    /// The main thread's environment.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// A class loader of a dex file, which asks another one, or else the boot loader, first.
    pub fn loader(&self, dex: &Path, parent: Option<&Loader>) -> Result<Loader, Thrown> {
        Loader::new(self.environment, dex, parent)
    }
}
