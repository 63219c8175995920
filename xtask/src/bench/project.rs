//! The programs that are measured, in the form that each contender needs.

use super::generate;
use crate::run::{Result, write};
use std::path::{Path, PathBuf};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// About 100 lines, two small dependencies
    Small,
    /// About 5,000 lines, 25 dependencies, a debug binary of more than 30 MB
    Large,
}

/// How the program is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// As anybody would.
    Plain,
    /// With a call through `subsecond`.
    CargoHot,
    /// As a program and a library of what may change.
    HotLib,
}

/// A program's folder.
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) program: Program,
    variant: Variant,
}

impl Program {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    fn dependencies(self) -> &'static str {
        match self {
            Self::Small => include_str!("../../fixtures/bench/small/dependencies.toml"),
            Self::Large => include_str!("../../fixtures/bench/large/dependencies.toml"),
        }
    }

    fn lock(self) -> &'static str {
        match self {
            Self::Small => include_str!("../../fixtures/bench/small/Cargo.lock"),
            Self::Large => include_str!("../../fixtures/bench/large/Cargo.lock"),
        }
    }

    fn sources(self) -> Vec<generate::File> {
        match self {
            Self::Small => {
                vec![("app.rs".into(), include_str!("../../fixtures/bench/small/app.rs").into())]
            }
            Self::Large => generate::large(),
        }
    }

    /// How many lines are the program's own.
    pub(super) fn lines(self) -> usize {
        self.sources().iter().map(|(_, text)| text.lines().count()).sum()
    }
}

impl Project {
    /// Writes the program into a folder. What was built there stays.
    pub(super) fn create(program: Program, variant: Variant, folder: &Path) -> Result<Self> {
        let project = Self { folder: folder.to_owned(), program, variant };
        let (name, dependencies) = (program.name(), program.dependencies());
        let package =
            |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n");
        let (manifest, main) = match variant {
            Variant::Plain => {
                let manifest = format!("{}[workspace]\n\n[dependencies]\n{dependencies}", package(name));
                (manifest, include_str!("../../fixtures/bench/mains/plain.rs"))
            }
            Variant::CargoHot => {
                let peer = "cargo-hot-protocol = \"=0.1.1\"\n";
                let manifest =
                    format!("{}[workspace]\n\n[dependencies]\n{dependencies}{peer}", package(name));
                (manifest, include_str!("../../fixtures/bench/mains/cargo-hot.rs"))
            }
            Variant::HotLib => {
                let own = "code = { path = \"code\" }\nhot-lib-reloader = \"0.8\"\n";
                let manifest = format!(
                    "{}[workspace]\nresolver = \"2\"\nmembers = [\"code\"]\n\n[dependencies]\n{own}",
                    package(name)
                );
                let library = "[lib]\ncrate-type = [\"rlib\", \"dylib\"]\n\n";
                let code = format!("{}{library}[dependencies]\n{dependencies}", package("code"));
                write(&folder.join("code/Cargo.toml"), &code)?;
                (manifest, include_str!("../../fixtures/bench/mains/hot-lib-reloader.rs"))
            }
        };
        write(&folder.join("Cargo.toml"), &manifest)?;
        write(&folder.join("Cargo.lock"), program.lock())?;
        write(&folder.join("src/main.rs"), main)?;
        for (file, text) in program.sources() {
            write(&project.sources().join(file), &text)?;
        }
        project.edit(0)?;
        Ok(project)
    }

    /// Where what may change lies.
    fn sources(&self) -> PathBuf {
        self.folder.join(if self.variant == Variant::HotLib { "code/src" } else { "src" })
    }

    /// Saves the edit of that number: one string literal in one function.
    pub(super) fn edit(&self, number: u32) -> Result {
        let answer =
            include_str!("../../fixtures/bench/mains/answer.rs").replace("{{number}}", &number.to_string());
        let (file, text) = match self.variant {
            Variant::HotLib => {
                let answer = answer.replace("{{attribute}}", "#[unsafe(no_mangle)]\n");
                ("lib.rs", format!("pub mod app;\n\n{answer}"))
            }
            _ => ("answer.rs", answer.replace("{{attribute}}", "")),
        };
        write(&self.sources().join(file), &text)
    }

    /// What the program prints with that edit.
    pub(super) fn line(&self, number: u32) -> String {
        format!("edit {number} of {}", self.program.name())
    }

    /// The program's file, as cargo builds it.
    pub(super) fn binary(&self) -> PathBuf {
        self.folder.join("target/debug").join(self.program.name())
    }
}
