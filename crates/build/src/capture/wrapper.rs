//! The rustc wrapper that cargo runs for the workspace's own crates.
//!
//! It must cost nothing and show nothing: output, errors and the exit status are rustc's.

use super::arguments::Arguments;
use super::questions::Question;
use super::record::{self, Additions, UnitKind, UnitRecord};
use super::{
    CAPTURE_VARIABLE, Folders, NativeString, UNIT_VARIABLE, USER_LINKER_VARIABLE, USER_WRAPPER_VARIABLE,
    VARIABLE_PREFIX, objects,
};
use crate::session::UnitId;
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// More codegen units than a crate can have: rustc then never merges modules into units, so that an
/// edit stays in the objects of the module it was made in.
const CODEGEN_UNITS: &str = "100000";

/// What LLVM is kept from doing where it optimises, as it makes a function's code depend on who calls it now,
/// or one function of two: merging those with the same code, taking a static that nobody writes for a
/// constant, what all callers pass for the only thing there is, and other ways to pass arguments.
const NO_PASSES: &str = "-opt-disable=mergefunc,globalopt,ipsccp,argpromotion,deadargelim";

/// The first version of LLVM that can be told so.
const LLVM_WITH_NO_PASSES: u32 = 22;

/// Variables that belong to the build that is running, not to the crate: a replay has no job server.
const TRANSIENT: &[&str] = &["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTC_WORKSPACE_WRAPPER"];

/// Runs as the wrapper: `command_line` is what cargo passed after the wrapper's own name.
pub fn main(command_line: Vec<OsString>) -> ExitCode {
    let mut command_line = command_line.into_iter();
    let Some(rustc) = command_line.next() else {
        eprintln!("livepatch-rustc: this is a wrapper that cargo runs; it needs a rustc command line");
        return ExitCode::from(2);
    };
    let call = Call { rustc, arguments: command_line.collect() };
    let folders = std::env::var_os(CAPTURE_VARIABLE).map(|root| Folders::at(root.into()));
    let result = match folders.map(|folders| Task::of(&call, folders)) {
        None | Some(Task::Other) => Err(call.command(&call.arguments).exec()),
        Some(Task::Answer(question)) => question.answer(|| call.output()).and_then(say),
        Some(Task::Compile(plan)) if plan.is_patched() => plan.run(&call),
        Some(Task::Compile(plan)) => plan.pass_on(&call),
    };
    result.map_or_else(
        |error| {
            eprintln!("livepatch-rustc: {}: {error}", call.rustc.display());
            ExitCode::from(101)
        },
        exit_as,
    )
}

/// Ends this process the way another one ended: by the same signal, or with the code returned.
pub fn exit_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(101))
}

/// What cargo asked for.
struct Call {
    rustc: OsString,
    arguments: Vec<OsString>,
}

impl Call {
    /// The command with other arguments, through the user's own wrapper if there is one.
    fn command(&self, arguments: &[OsString]) -> Command {
        match std::env::var_os(USER_WRAPPER_VARIABLE) {
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.arg(&self.rustc).args(arguments);
                command
            }
            None => {
                let mut command = Command::new(&self.rustc);
                command.args(arguments);
                command
            }
        }
    }

    /// What rustc says and how it ends.
    fn output(&self) -> io::Result<Output> {
        self.command(&self.arguments).stdin(Stdio::inherit()).output()
    }
}

/// Passes on what a compiler said.
fn say(output: Output) -> io::Result<ExitStatus> {
    io::stdout().write_all(&output.stdout)?;
    io::stdout().flush()?;
    io::stderr().write_all(&output.stderr)?;
    Ok(output.status)
}

/// What is to be done with a call of a captured build.
enum Task {
    /// To say what the compiler has said before.
    Answer(Question),
    /// To compile one of the workspace's crates.
    Compile(Plan),
    /// What rustc does with it.
    Other,
}

impl Task {
    fn of(call: &Call, folders: Folders) -> Self {
        // A wrapper of the user's may answer something else.
        if std::env::var_os(USER_WRAPPER_VARIABLE).is_none()
            && let Some(question) = Question::of(&call.rustc, &call.arguments)
        {
            return Self::Answer(question);
        }
        Plan::of(call, folders).map_or(Self::Other, Self::Compile)
    }
}

/// What is done with a call that compiles one of the workspace's crates.
struct Plan {
    folders: Folders,
    unit: UnitId,
    kind: UnitKind,
    crate_name: String,
    arguments: Arguments,
    linker: OsString,
    /// Where cargo wants the outputs.
    out_dir: PathBuf,
    additions: Additions,
}

impl Plan {
    /// The plan for a call; none for questions to the compiler, tests, and checks without code.
    fn of(call: &Call, folders: Folders) -> Option<Self> {
        let arguments = Arguments::expanded(call.arguments.iter().cloned()).ok()?;
        let asks = arguments.value("--print").is_some() || arguments.has_flag("-vV");
        let crate_name = arguments.crate_name()?.to_owned();
        if asks || crate_name == "___" || !arguments.emits_link() || arguments.has_flag("--test") {
            return None;
        }
        let unit = arguments.unit()?;
        let kind = kind_of(&arguments, std::env::var_os("CARGO_BIN_NAME").is_some());
        let linker = arguments.codegen("linker").unwrap_or(OsStr::new("cc")).to_owned();
        let out_dir = std::env::current_dir().ok()?.join(arguments.value("--out-dir").unwrap_or_default());
        let additions = Additions::default();
        let mut plan = Self { folders, unit, kind, crate_name, arguments, linker, out_dir, additions };
        if plan.is_patched() {
            plan.add();
            if plan.is_optimised() && llvm(call).is_some_and(|version| version >= LLVM_WITH_NO_PASSES) {
                let arguments = std::mem::replace(&mut plan.arguments, Arguments::from_expanded(Vec::new()));
                plan.arguments = arguments.with_codegen("llvm-args", NO_PASSES);
            }
        }
        Some(plan)
    }

    fn is_patched(&self) -> bool {
        matches!(self.kind, UnitKind::Linked | UnitKind::Library)
    }

    fn is_optimised(&self) -> bool {
        self.arguments.codegen("opt-level").is_some_and(|level| level != "0")
    }

    /// Appends what the capture needs to cargo's arguments.
    fn add(&mut self) {
        let mut arguments = std::mem::replace(&mut self.arguments, Arguments::from_expanded(Vec::new()));
        if arguments.codegen("codegen-units").is_none() {
            arguments = arguments.with_codegen("codegen-units", CODEGEN_UNITS);
            self.additions.codegen_units = true;
        }
        // Optimised crates get link-time optimisation among their own units otherwise, which gives what
        // units share a new name (`….llvm.<hash>`) whenever the unit that has it changes.
        arguments = arguments.with_codegen("lto", "off");
        // A folder for each unit, and also where the profile has none: a rebuild depends on it.
        let incremental = self.folders.incremental(&self.unit);
        arguments = arguments.without_codegen("incremental").with_codegen("incremental", incremental);
        arguments = arguments.without("--out-dir").with("--out-dir", self.folders.out(&self.unit));
        if arguments.codegen("strip").is_some_and(|what| what == "symbols") {
            arguments = arguments.with_codegen("strip", "none");
            self.additions.strip = true;
        }
        if arguments.crate_types().iter().any(|kind| matches!(*kind, "bin" | "dylib" | "cdylib")) {
            let base_name = Path::new(&self.linker).file_name().unwrap_or(OsStr::new("cc"));
            arguments = arguments.with_codegen("linker", self.folders.shim(base_name));
        }
        self.arguments = arguments;
    }

    /// Compiles, and leaves the record and the base objects where that succeeded.
    fn run(&self, call: &Call) -> io::Result<ExitStatus> {
        if let Some(base_name) = Path::new(&self.linker).file_name() {
            self.folders.prepare_shim(base_name, &std::env::current_exe()?)?;
        }
        std::fs::create_dir_all(self.folders.incremental(&self.unit))?;
        self.folders.point_out(&self.unit, &self.out_dir)?;
        let started = now();
        let status = call
            .command(self.arguments.as_slice())
            .env(USER_LINKER_VARIABLE, &self.linker)
            .env(UNIT_VARIABLE, &self.unit.0)
            .status()?;
        if status.success() {
            let kept = self.keep_objects()?;
            self.write_record(call, started, Some(kept))?;
        }
        Ok(status)
    }

    /// Leaves a record of which files matter, and becomes rustc.
    fn pass_on(&self, call: &Call) -> io::Result<ExitStatus> {
        self.write_record(call, now(), None)?;
        Err(call.command(&call.arguments).exec())
    }

    fn keep_objects(&self) -> io::Result<PathBuf> {
        let incremental = self.folders.incremental(&self.unit);
        let session = objects::newest_session(&incremental, &self.crate_name)?.ok_or_else(|| {
            io::Error::other(format!("rustc left no finished session in {}", incremental.display()))
        })?;
        objects::keep_session(&session, &self.folders.base(&self.unit))
    }

    fn write_record(&self, call: &Call, started: u64, base: Option<PathBuf>) -> io::Result<()> {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let record = UnitRecord {
            version: record::VERSION,
            kind: self.kind,
            crate_name: self.crate_name.clone(),
            package: variable("CARGO_PKG_NAME").to_string_lossy().into_owned(),
            manifest_dir: NativeString(variable("CARGO_MANIFEST_DIR")),
            rustc: NativeString(call.rustc.clone()),
            arguments: self.arguments.as_slice().iter().map(NativeString::from).collect(),
            cwd: NativeString(std::env::current_dir()?.into()),
            out_dir: NativeString::from(&self.out_dir),
            environment: replayed_environment(std::env::vars_os()),
            linker: NativeString(self.linker.clone()),
            additions: self.additions.clone(),
            base: base.as_deref().map(NativeString::from),
            started,
        };
        record::write(&self.folders.unit_record(&self.unit), &record)
    }
}

fn kind_of(arguments: &Arguments, has_bin_name: bool) -> UnitKind {
    let types = arguments.crate_types();
    if types.contains(&"proc-macro") {
        UnitKind::ProcMacro
    } else if types.contains(&"bin") {
        // Cargo names the binaries that a package offers, and not the ones it makes for itself.
        let script = arguments.crate_name().is_some_and(|name| name.starts_with("build_script_"));
        if script && !has_bin_name { UnitKind::BuildScript } else { UnitKind::Linked }
    } else if types.iter().any(|kind| matches!(*kind, "lib" | "rlib")) {
        UnitKind::Library
    } else {
        UnitKind::Linked
    }
}

fn replayed_environment(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(NativeString, NativeString)> {
    all.filter(|(name, _)| {
        !name.as_bytes().starts_with(VARIABLE_PREFIX.as_bytes())
            && !TRANSIENT.iter().any(|transient| name == transient)
    })
    .map(|(name, value)| (NativeString(name), NativeString(value)))
    .collect()
}

/// The version of LLVM that the compiler has.
fn llvm(call: &Call) -> Option<u32> {
    let said = call.command(&["-vV".into()]).output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let version = said.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// Unix time in nanoseconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Option<Plan> {
        let call =
            Call { rustc: "rustc".into(), arguments: text.split_whitespace().map(OsString::from).collect() };
        Plan::of(&call, Folders::at("/t/livepatch".into()))
    }

    #[test]
    fn questions_checks_and_tests_are_left_alone() {
        for text in [
            "-vV",
            "- --crate-name ___ --print=file-names --crate-type bin",
            "--crate-name app src/lib.rs --crate-type lib --emit=dep-info,metadata",
            "--crate-name app src/lib.rs --test --emit=dep-info,link",
        ] {
            assert!(plan(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_binary_gets_all_additions() {
        let plan = plan(
            "--crate-name app src/main.rs --crate-type bin --emit=dep-info,link -C strip=symbols \
             -C extra-filename=-1 -C incremental=/t/debug/incremental -C linker=/opt/clang-19",
        )
        .unwrap();
        let arguments = &plan.arguments;
        assert_eq!(plan.linker, "/opt/clang-19");
        assert_eq!(arguments.codegen("linker"), Some(OsStr::new("/t/livepatch/shim/clang-19")));
        assert_eq!(arguments.codegen("codegen-units"), Some(OsStr::new("100000")));
        assert_eq!(arguments.codegen("incremental"), Some(OsStr::new("/t/livepatch/incremental/app-1")));
        assert_eq!(arguments.codegen("strip"), Some(OsStr::new("none")));
        assert_eq!(arguments.codegen("lto"), Some(OsStr::new("off")));
        assert_eq!(arguments.value("--out-dir"), Some(OsStr::new("/t/livepatch/out/app-1")));
        assert_eq!(plan.additions, Additions { codegen_units: true, strip: true });
    }

    #[test]
    fn the_users_codegen_units_stay_and_a_library_gets_no_linker() {
        let plan = plan(
            "--crate-name a src/lib.rs --crate-type lib --emit=dep-info,metadata,link -C codegen-units=1",
        )
        .unwrap();
        assert_eq!(plan.kind, UnitKind::Library);
        assert_eq!(plan.arguments.codegen("codegen-units"), Some(OsStr::new("1")));
        assert_eq!(plan.arguments.codegen("linker"), None);
        assert!(!plan.additions.codegen_units);
    }

    #[test]
    fn macros_and_build_scripts_pass_untouched() {
        let text =
            "--crate-name m src/lib.rs --crate-type proc-macro --emit=dep-info,link -C extra-filename=-2";
        let plan_of_macro = plan(text).unwrap();
        assert!(!plan_of_macro.is_patched());
        assert_eq!(plan_of_macro.arguments.as_slice().len(), text.split_whitespace().count());
        let script = Arguments::from_expanded(
            "--crate-name build_script_build --crate-type bin"
                .split_whitespace()
                .map(OsString::from)
                .collect(),
        );
        assert_eq!(kind_of(&script, false), UnitKind::BuildScript);
        assert_eq!(kind_of(&script, true), UnitKind::Linked);
    }

    #[test]
    fn the_job_server_and_our_own_variables_are_not_replayed() {
        let all = [("A", "1"), ("CARGO_MAKEFLAGS", "-j"), ("LIVEPATCH_CAPTURE", "/t")];
        let kept = replayed_environment(all.iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(kept, [(NativeString("A".into()), NativeString("1".into()))]);
    }
}
