//! Compiling Java and C for a trial, and running it.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// A folder with classes and libraries.
pub(crate) struct Project {
    folder: TempDir,
    /// Further places of classes.
    pub(crate) classes: Vec<PathBuf>,
    /// Where libraries are looked for.
    pub(crate) libraries: Vec<PathBuf>,
    pub(crate) properties: Vec<String>,
}

/// The tool that is missing, if one is.
pub(crate) fn missing() -> Option<String> {
    let absent = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
    ["javac", "java", "cc"].iter().find(|tool| absent(tool)).map(|tool| format!("there is no {tool}"))
}

/// <target>/<profile>, in whose `deps` this test is.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    own.ancestors().nth(2).expect("a folder").to_owned()
}

/// Where `cargo xtask fixtures` puts packages.
pub(crate) fn fixtures() -> PathBuf {
    profile_folder().parent().expect("a target folder").join("fixtures")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Where the virtual machine is, as it says itself.
fn java_home() -> PathBuf {
    let output = Command::new("java").args(["-XshowSettings:properties", "-version"]).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    let home = said.lines().find_map(|line| line.trim().strip_prefix("java.home = "));
    PathBuf::from(home.unwrap_or_default())
}

impl Project {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let libraries = vec![folder.path().join("lib")];
        std::fs::create_dir(&libraries[0]).expect("a folder");
        Self { folder, classes: Vec::new(), libraries, properties: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Links a library out of C for this machine's virtual machine.
    pub(crate) fn library(&self, name: &str, source: &str) -> Result<PathBuf, String> {
        let (input, out) = (self.path(&format!("{name}.c")), self.libraries[0].join(name));
        std::fs::write(&input, source).map_err(|error| error.to_string())?;
        let headers = java_home().join("include");
        let includes = [format!("-I{}", headers.display()), format!("-I{}", headers.join("linux").display())];
        let mut cc = Command::new("cc");
        run(cc.args(["-shared", "-fPIC", "-o"]).arg(&out).arg(&input).args(includes))?;
        Ok(out)
    }

    /// Compiles the loader's classes and a trial's own, and runs the trial's `main`.
    pub(crate) fn run(&self, main: &str) -> Outcome {
        match self.try_run(main) {
            Ok(()) => Outcome::Passed,
            Err(said) => Outcome::Failed(said),
        }
    }

    fn try_run(&self, main: &str) -> Result<(), String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = self.path("classes");
        let places = |out: &Path| {
            let all = self.classes.iter().map(PathBuf::as_path).chain([out]);
            all.map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
        };
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-d"]).arg(&out).args(["-cp", &places(&out)]);
        javac.arg("-sourcepath").arg(format!("{0}/java:{0}/tests/jvm/java", here.display()));
        // Of the trial's sources, what only other classes refer to has to be named.
        let needed = ["com/facebook/soloader/SoLoader", main];
        run(javac.args(needed.map(|class| here.join(format!("tests/jvm/java/{class}.java")))))?;
        let libraries: Vec<String> = self.libraries.iter().map(|path| path.display().to_string()).collect();
        let own = profile_folder().join("deps/liblivepatch_jni.so");
        let mut java = Command::new("java");
        java.args(["-Xcheck:jni", "-cp", &places(&out)]);
        java.arg(format!("-Dlivepatch.native={}", own.display()));
        java.arg(format!("-Dlivepatch.library.path={}", libraries.join(":")));
        java.args(&self.properties);
        run(java.arg(main))
    }
}
