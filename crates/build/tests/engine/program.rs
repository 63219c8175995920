//! A small program, built by rustc the way the captured build does it.

use livepatch_build::session::{BaseBuild, CrateObjects, UnitId};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate of one file in a temporary folder.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    builds: usize,
    release: bool,
    arguments: Vec<String>,
}

impl Program {
    pub(crate) fn new(source: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = Self { folder, builds: 0, release: false, arguments: Vec::new() };
        program.save(source);
        program
    }

    pub(crate) fn release(mut self) -> Self {
        self.release = true;
        self
    }

    /// Another argument for rustc.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn save(&self, source: &str) {
        std::fs::write(self.path("main.rs"), source).expect("writing the source");
    }

    fn rustc(&self, emit: &str) {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.current_dir(self.folder.path());
        rustc.args(["--crate-name", "program", "--edition", "2024", "main.rs", "-C", "debuginfo=2"]);
        rustc.args(["-C", "codegen-units=100000", "-C", "incremental=inc", "-C", "link-arg=-Wl,--build-id"]);
        if self.release {
            rustc.args(["-C", "opt-level=3"]);
        }
        rustc.args(&self.arguments);
        rustc.args(["-C", "metadata=1", &format!("--emit={emit}"), "--out-dir"]);
        let out = self.path(if emit.contains("link") { "base" } else { "thin" });
        std::fs::create_dir_all(&out).expect("a folder");
        rustc.arg(out);
        let output = rustc.output().expect("running rustc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The objects of the newest session, kept: rustc collects old ones.
    fn keep_objects(&mut self) -> CrateObjects {
        let newest = |folder: &Path, prefix: &str| {
            let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
            let sessions = entries.filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                path.is_dir() && name.starts_with(prefix) && !name.ends_with("-working")
            });
            sessions.max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok()).expect("a session")
        };
        let session = newest(&newest(&self.path("inc"), "program-"), "s-");
        let kept = self.path(&format!("objects-{}", self.builds));
        self.builds += 1;
        std::fs::create_dir_all(&kept).expect("a folder");
        let mut objects = Vec::new();
        for entry in std::fs::read_dir(session).expect("a session").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "o") {
                let to = kept.join(entry.file_name());
                std::fs::hard_link(entry.path(), &to).expect("a hard link");
                objects.push(to);
            }
        }
        objects.sort();
        CrateObjects { unit: UnitId("program".into()), crate_name: "program".into(), objects }
    }

    /// Builds and links.
    pub(crate) fn base(&mut self) -> BaseBuild {
        self.rustc("dep-info,link");
        let crates = vec![self.keep_objects()];
        BaseBuild {
            host: self.path("base/program"),
            crates,
            link_inputs: archives(),
            optimized: self.release,
        }
    }

    /// Builds without linking.
    pub(crate) fn rebuild(&mut self) -> CrateObjects {
        self.rustc("dep-info,obj");
        self.keep_objects()
    }
}

/// The standard library's archives.
fn archives() -> Vec<PathBuf> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--print", "target-libdir"])
        .output()
        .expect("running rustc");
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("the standard library")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rlib"))
        .collect();
    all.sort();
    all
}
