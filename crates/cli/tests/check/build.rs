//! Small libraries, linked by lld.

use cargo_livepatch::loader::check::{Answer, answer};
use livepatch_object::android::{ApiLevel, PageSizes};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder with libraries.
pub(crate) struct Folder(TempDir);

/// Says why a test is skipped, if it has to be.
pub(crate) fn can_build() -> bool {
    for tool in ["clang", "ld.lld"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: there is no {tool}");
            return false;
        }
    }
    true
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles C for Android on x86-64 and links it, with libc.so needed; returns the library.
    pub(crate) fn library(&self, name: &str, source: &str, link: &[&str]) -> PathBuf {
        self.needing(name, source, link, &["libc.so"])
    }

    /// The same with other libraries, which are made up for it.
    pub(crate) fn needing(&self, name: &str, source: &str, link: &[&str], needed: &[&str]) -> PathBuf {
        let object = self.object(name, source);
        let nothing = self.object("nothing", "");
        let out = self.path(name);
        let mut lld = Command::new("ld.lld");
        lld.args([
            "-shared",
            "-z",
            "max-page-size=16384",
            "--hash-style=both",
            "-z",
            "undefs",
            "-z",
            "relro",
        ]);
        lld.arg(format!("-soname={name}")).arg("-o").arg(&out).arg(&object);
        std::fs::create_dir_all(self.path("stubs")).expect("a folder");
        for needed in needed {
            let stub = self.path("stubs").join(needed.replace('/', "_"));
            run(Command::new("ld.lld").args(["-shared", "-soname", needed, "-o"]).arg(&stub).arg(&nothing));
            lld.arg(&stub);
        }
        run(lld.args(link));
        out
    }

    fn object(&self, name: &str, source: &str) -> PathBuf {
        let (input, object) = (self.path(&format!("{name}.c")), self.path(&format!("{name}.o")));
        std::fs::write(&input, source).expect("a source");
        let target = ["--target=x86_64-linux-android21", "-fno-emulated-tls", "-ffreestanding"];
        let mut clang = Command::new("clang");
        run(clang.args(target).args(["-c", "-fPIC", "-O1", "-o"]).arg(&object).arg(&input));
        object
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a tool that starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What is answered about a path at a level.
pub(crate) fn ask(path: &Path, level: u32) -> Answer {
    answer(path, ApiLevel::new(level).unwrap(), PageSizes::OfLevel).unwrap()
}

/// The verdict's name, and the rules and effects of the findings.
pub(crate) fn verdict(path: &Path, level: u32) -> (String, Vec<String>) {
    let answer = ask(path, level);
    let findings = answer.libraries.iter().flat_map(|library| &library.report.findings);
    let rules = findings.map(|finding| format!("{} {}", finding.rule, finding.effect.name())).collect();
    (answer.verdict().name().to_owned(), rules)
}
