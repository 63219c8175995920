//! Questions to the compiler, answered with what it said before.
//!
//! Cargo asks the compiler who it is and what it can (`-vV`, `--print …`). It keeps the answers, but not when
//! the wrapper becomes another one: so it asks again at the first start in a project, and after each build
//! without us. To load the compiler for that takes longer than all else that we add to a first start.
//!
//! The answers lie in the user's cache folder, since they are the same in all projects. Questions whose
//! answers may depend on what is not in the [`Key`] are not known here: the compiler answers them.

use super::NativeString;
use super::record;
use rustix::fs::{fstat, major, minor};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

/// How long an answer is kept: compilers that are gone are asked no more.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What an argument must not contain: it would make the answer depend on the processor, or on a file.
const ELSEWHERE: [&str; 4] = ["native", ".json", "codegen-backend", "@"];

/// All that an answer depends on.
#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    compiler: Vec<FileState>,
    arguments: Vec<NativeString>,
    environment: Vec<(NativeString, NativeString)>,
}

/// A file, as far as can be told without reading it.
#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct FileState {
    path: NativeString,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

#[derive(Serialize, Deserialize)]
struct Answer {
    key: Key,
    output: String,
    errors: String,
}

/// A question whose answer stays the same for as long as its key does.
pub(super) struct Question {
    key: Key,
    folder: PathBuf,
}

impl Question {
    /// The question that a command line asks, if it is one that is known here.
    pub(super) fn of(rustc: &OsStr, arguments: &[OsString]) -> Option<Self> {
        Self::new(rustc, arguments, std::env::vars_os(), has_empty_input(), folder()?)
    }

    fn new(
        rustc: &OsStr,
        arguments: &[OsString],
        environment: impl Iterator<Item = (OsString, OsString)>,
        empty_input: bool,
        folder: PathBuf,
    ) -> Option<Self> {
        let is = |at: usize, text: &str| arguments.get(at).is_some_and(|argument| argument == text);
        let who = is(0, "-vV") && arguments.len() == 1;
        // Cargo's form of the other question: an empty crate on standard input.
        let what = is(0, "-") && is(1, "--crate-name") && is(2, "___") && empty_input;
        let elsewhere = |argument: &OsString| {
            let text = argument.to_string_lossy();
            ELSEWHERE.iter().any(|word| text.contains(word))
        };
        if !(who || what) || arguments.iter().any(elsewhere) {
            return None;
        }
        let concerns = |name: &OsStr| {
            [b"RUST".as_slice(), b"LD_"].iter().any(|start| name.as_bytes().starts_with(start))
        };
        let mut environment: Vec<_> = environment
            .filter(|(name, _)| concerns(name))
            .map(|(name, value)| (NativeString(name), NativeString(value)))
            .collect();
        environment.sort();
        let arguments = arguments.iter().map(NativeString::from).collect();
        Some(Self { key: Key { compiler: compiler(Path::new(rustc))?, arguments, environment }, folder })
    }

    /// What the compiler said before; lets `ask` call it where that is not known.
    pub(super) fn answer(self, ask: impl FnOnce() -> io::Result<Output>) -> io::Result<Output> {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        let path = self.folder.join(format!("{:016x}.json", hasher.finish()));
        let known = record::read::<Answer>(&path).filter(|answer| answer.key == self.key);
        if let Some(Answer { output, errors, .. }) = known {
            let (stdout, stderr) = (output.into_bytes(), errors.into_bytes());
            return Ok(Output { status: ExitStatus::default(), stdout, stderr });
        }
        let said = ask()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        if said.status.success()
            && let (Ok(output), Ok(errors)) = (text(&said.stdout), text(&said.stderr))
        {
            // Where nothing can be kept, the compiler is asked again.
            let _ = keep(&self.folder, &path, &Answer { key: self.key, output, errors });
        }
        Ok(said)
    }
}

/// The compiler's files; none where `rustc` is not the compiler itself but something that chooses one.
fn compiler(rustc: &Path) -> Option<Vec<FileState>> {
    let rustc = in_path(rustc).canonicalize().ok()?;
    let library = rustc.parent()?.parent()?.join("lib");
    let names = std::fs::read_dir(library).ok()?.flatten().map(|entry| entry.path());
    let is_driver = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.starts_with(b"librustc_driver-")
    };
    let mut drivers: Vec<PathBuf> = names.filter(is_driver).collect();
    drivers.sort();
    if drivers.is_empty() {
        return None;
    }
    std::iter::once(&rustc).chain(&drivers).map(|path| FileState::of(path)).collect()
}

/// Where a command without a folder in its name is found.
fn in_path(command: &Path) -> PathBuf {
    if command.components().count() > 1 {
        return command.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(command)).find(|file| file.is_file());
    found.unwrap_or_else(|| command.to_owned())
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            path: NativeString::from(path),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

/// Whether standard input is `/dev/null`.
fn has_empty_input() -> bool {
    fstat(std::io::stdin()).is_ok_and(|input| (major(input.st_rdev), minor(input.st_rdev)) == (1, 3))
}

fn folder() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let variable = |name| std::env::var_os(name).map(PathBuf::from).and_then(absolute);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(cache.join("livepatch").join("rustc"))
}

fn keep(folder: &Path, path: &Path, answer: &Answer) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    record::write(path, answer)?;
    for entry in std::fs::read_dir(folder)?.flatten() {
        let age = entry.metadata().and_then(|data| data.modified()).map(|time| time.elapsed());
        if age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::process::ExitStatusExt;

    /// A folder with a compiler's files and answers, and how often the compiler was asked.
    struct Toolchain {
        dir: tempfile::TempDir,
        asked: Cell<usize>,
    }

    const WHAT: &str = "- --crate-name ___ --print=file-names --crate-type bin --print=cfg -Wwarnings";

    impl Toolchain {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (file, content) in
                [("bin/rustc", "1"), ("lib/librustc_driver-0a.so", "1"), ("lib/libx.so", "")]
            {
                let path = dir.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self { dir, asked: Cell::new(0) }
        }

        fn question(&self, text: &str, environment: &[(&str, &str)], empty: bool) -> Option<Question> {
            let arguments: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
            let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
            let rustc = self.dir.path().join("bin/rustc");
            Question::new(rustc.as_os_str(), &arguments, environment, empty, self.dir.path().join("cache/x"))
        }

        /// Asks; the compiler would end with `code`. Returns how often it was asked so far.
        fn ask(&self, question: Option<Question>, code: i32) -> usize {
            let says = Output {
                status: ExitStatus::from_raw(code << 8),
                stdout: b"what it is\n".into(),
                stderr: b"warning\n".into(),
            };
            let output = question.unwrap().answer(|| {
                self.asked.set(self.asked.get() + 1);
                Ok(says.clone())
            });
            assert_eq!(output.unwrap(), says);
            self.asked.get()
        }
    }

    #[test]
    fn the_compiler_is_asked_once() {
        let toolchain = Toolchain::new();
        let environment = [("HOME", "/h"), ("RUSTUP_TOOLCHAIN", "stable")];
        for _ in 0..3 {
            assert_eq!(toolchain.ask(toolchain.question(WHAT, &environment, true), 0), 1);
        }
        // Another question, and the same with a variable that is not the compiler's.
        assert_eq!(toolchain.ask(toolchain.question("-vV", &environment, false), 0), 2);
        let environment = [("RUSTUP_TOOLCHAIN", "stable"), ("HOME", "/other")];
        assert_eq!(toolchain.ask(toolchain.question(WHAT, &environment, true), 0), 2);
    }

    #[test]
    fn another_compiler_environment_or_question_is_asked_anew() {
        let toolchain = Toolchain::new();
        let ask = |text: &str, environment: &[(&str, &str)]| {
            toolchain.ask(toolchain.question(text, environment, true), 0)
        };
        assert_eq!(ask(WHAT, &[]), 1);
        assert_eq!(ask(&format!("{WHAT} --cfg fast"), &[]), 2);
        assert_eq!(ask(WHAT, &[("RUSTC_BOOTSTRAP", "1")]), 3);
        assert_eq!(ask(WHAT, &[("LD_LIBRARY_PATH", "/l")]), 4);
        for (count, file) in [(5, "bin/rustc"), (6, "lib/librustc_driver-0a.so")] {
            std::fs::write(toolchain.dir.path().join(file), "another").unwrap();
            assert_eq!(ask(WHAT, &[]), count, "{file}");
            assert_eq!(ask(WHAT, &[]), count, "{file}");
        }
    }

    #[test]
    fn failures_and_damaged_answers_do_not_last() {
        let toolchain = Toolchain::new();
        let ask = |code| toolchain.ask(toolchain.question("-vV", &[], false), code);
        assert_eq!((ask(1), ask(0), ask(0)), (1, 2, 2));
        for entry in std::fs::read_dir(toolchain.dir.path().join("cache/x")).unwrap() {
            std::fs::write(entry.unwrap().path(), "{").unwrap();
        }
        assert_eq!((ask(0), ask(0)), (3, 3));
    }

    #[test]
    fn what_may_depend_on_something_else_is_the_compilers() {
        let toolchain = Toolchain::new();
        for more in ["-C target-cpu=native", "--target x.json", "-Zcodegen-backend=y", "@arguments"] {
            assert!(toolchain.question(&format!("{WHAT} {more}"), &[], true).is_none(), "{more}");
        }
        assert!(toolchain.question(WHAT, &[], false).is_none(), "a crate may come on standard input");
        for other in ["", "-V", "-vV src/main.rs", "--crate-name app src/main.rs", "- --crate-name app"] {
            assert!(toolchain.question(other, &[], true).is_none(), "{other}");
        }
        // What chooses a compiler has none beside it.
        std::fs::remove_file(toolchain.dir.path().join("lib/librustc_driver-0a.so")).unwrap();
        assert!(toolchain.question("-vV", &[], true).is_none());
    }
}
