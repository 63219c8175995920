//! A cargo build that is captured, and what it would have started.

mod plugins;

use crate::agent::OWN_TRIPLE;
use crate::arguments::{BuildArgs, RunArgs};
use crate::child::{self, Handle};
use crate::error::Failure;
use crate::launch::{STARTER, Through};
use crate::lock::Lock;
use crate::private_dir::PrivateDir;
use crate::project::{Lto, Project, UserRunner, cargo, runner_variable};
use crate::runner::{self, Note};
use livepatch_build::capture::{
    CAPTURE_VARIABLE, CargoInput, Incomplete, Program, ProgramError, USER_WRAPPER_VARIABLE, VARIABLE_PREFIX,
};
use plugins::Plugin;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How often missing records are made again: the program's own tell which others there must be.
const REPAIRS: usize = 3;

/// How to build, the same at every start.
#[derive(Debug)]
pub struct Recipe {
    run: RunArgs,
    environment: BTreeMap<OsString, OsString>,
    note: PathBuf,
    /// What is switched off for the captured build.
    pub notes: Vec<String>,
    /// The target that is built for.
    pub triple: String,
    through: Option<Through>,
}

/// A build that succeeded.
#[derive(Debug)]
pub struct Built {
    /// The program's crates and files.
    pub program: Program,
    /// How to start it.
    pub start: Note,
    /// The runner to start it through.
    pub through: Option<Through>,
    /// How long cargo took.
    pub took: Duration,
    /// What went wrong and need not stop anybody.
    pub warnings: Vec<String>,
}

/// `cargo livepatch build`.
pub fn build(arguments: &BuildArgs) -> Result<ExitCode, Failure> {
    let project = Project::read(&arguments.at)?;
    let _lock = Lock::take(&project.folders)?;
    let private = PrivateDir::create().map_err(Failure::system("cannot make a private folder"))?;
    let run = RunArgs {
        at: arguments.at.clone(),
        selection: arguments.selection.clone(),
        plugin: arguments.plugin.clone(),
        quiet: arguments.quiet,
        ..RunArgs::default()
    };
    let recipe = Recipe::new(&run, &project, &private)?;
    recipe.notes.iter().for_each(|note| eprintln!("{:>12} {note}", "note"));
    let built = recipe.build(&project, &|_| {})?;
    built.warnings.iter().for_each(|warning| eprintln!("{:>12} {warning}", "warning"));
    println!("{}", built.start.executable().display());
    Ok(ExitCode::SUCCESS)
}

impl Recipe {
    /// Works out how to build. The runner is called under a name in `private`.
    pub fn new(run: &RunArgs, project: &Project, private: &PrivateDir) -> Result<Self, Failure> {
        let triple = project.triple(&run.selection);
        check_target(&triple)?;
        let command =
            std::env::current_exe().map_err(Failure::system("cannot find this command's own file"))?;
        project.folders.prepare(&command).map_err(Failure::file("write to", project.folders.root()))?;
        let runner = private.path().join(runner::NAME);
        std::os::unix::fs::symlink(&command, &runner).map_err(Failure::file("create", &runner))?;
        let starter = private.path().join(STARTER);
        std::os::unix::fs::symlink(&command, &starter).map_err(Failure::file("create", &starter))?;
        let through = through(project, &triple, &starter)?;
        let note = private.path().join("start.json");
        let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
        let mut set = |name: &str, value: &OsStr| drop(environment.insert(name.into(), value.to_owned()));
        set(CAPTURE_VARIABLE, project.folders.root().as_os_str());
        set("RUSTC_WORKSPACE_WRAPPER", project.folders.wrapper().as_os_str());
        set(&runner_variable(&triple), runner.as_os_str());
        set(runner::NOTE_VARIABLE, note.as_os_str());
        project.workspace_wrapper().iter().for_each(|wrapper| set(USER_WRAPPER_VARIABLE, wrapper));
        let profile = project.profile(run.selection.profile());
        let mut notes = Vec::new();
        if profile.lto == Lto::AcrossCrates {
            set(&profile.variable("lto"), OsStr::new("off"));
            notes.push(format!("lto is off for this build (profile `{}` asks for it)", profile.name));
        }
        if profile.strips_symbols {
            notes.push(format!("symbols are kept in this build (profile `{}` strips them)", profile.name));
        }
        Ok(Self { run: run.clone(), environment, note, notes, triple, through })
    }

    /// Builds. Cargo shows its progress and its errors itself.
    ///
    /// `running` gets each cargo that is started, so that it can be signalled.
    pub fn build(&self, project: &Project, running: &dyn Fn(Handle)) -> Result<Built, Failure> {
        let started = Instant::now();
        let (mut note, mut program) = self.repaired(project, running, &[])?;
        let executable = note.executable();
        let plugins = plugins::of(&self.run, project, &program, &executable);
        let mut warnings = Vec::new();
        if !plugins.is_empty() {
            match self.cargo_build(&plugins, running) {
                Ok(()) => (note, program) = self.repaired(project, running, &plugins)?,
                Err(Failure::Build { .. }) => warnings.push(format!(
                    "{} cannot be built: edits to it do not go live",
                    plugins.iter().map(|plugin| &*plugin.package).collect::<Vec<_>>().join(" or "),
                )),
                Err(failure) => return Err(failure),
            }
        }
        for file in project.configuration_files() {
            program.cargo_inputs.paths.insert(file, CargoInput::Manifest);
        }
        self.restore_environment(&mut note);
        Ok(Built { program, start: note, through: self.through.clone(), took: started.elapsed(), warnings })
    }

    /// Builds the program, and whatever is missing of it and of these libraries, until everything is there.
    fn repaired(
        &self,
        project: &Project,
        running: &dyn Fn(Handle),
        plugins: &[Plugin],
    ) -> Result<(Note, Program), Failure> {
        let files: Vec<PathBuf> = plugins.iter().map(|plugin| plugin.file.clone()).collect();
        let libraries = project.libraries();
        // Where libraries were built, the program was built before.
        let known = if plugins.is_empty() { None } else { Note::read(&self.note).ok() };
        let mut note = known.map_or_else(|| self.cargo_run(running), Ok)?;
        let mut program = Program::load(&project.folders, &note.executable(), &files, &libraries);
        for _ in 0..REPAIRS {
            let Err(ProgramError::Incomplete(Incomplete { outputs })) = &program else { break };
            // Cargo holds these for fresh, so it would never run the wrapper for them again.
            outputs.iter().for_each(|output| drop(std::fs::remove_file(output)));
            note = self.cargo_run(running)?;
            if !plugins.is_empty() {
                self.cargo_build(plugins, running)?;
            }
            program = Program::load(&project.folders, &note.executable(), &files, &libraries);
        }
        Ok((note, program.map_err(Failure::Capture)?))
    }

    fn cargo_build(&self, plugins: &[Plugin], running: &dyn Fn(Handle)) -> Result<(), Failure> {
        self.cargo(plugins::cargo_arguments(&self.run, plugins), running)
    }

    fn cargo_run(&self, running: &dyn Fn(Handle)) -> Result<Note, Failure> {
        let _ = std::fs::remove_file(&self.note);
        self.cargo(cargo_arguments(&self.run), running)?;
        Note::read(&self.note).map_err(|_| Failure::Unsupported {
            what: "cargo built the program but did not hand it to the runner".into(),
            hint: "is `runner` set with --config, or for another target?".into(),
        })
    }

    fn cargo(&self, arguments: Vec<OsString>, running: &dyn Fn(Handle)) -> Result<(), Failure> {
        let mut command = cargo();
        command.args(arguments).envs(&self.environment).stdin(Stdio::null());
        let (handle, waiter) = child::spawn(&mut command).map_err(Failure::system("cannot run cargo"))?;
        running(handle);
        let status = waiter.wait().map_err(Failure::system("cannot wait for cargo"))?;
        if let Some(signal) = status.signal() {
            return Err(if signal == 2 { Failure::Interrupted } else { Failure::Build { code: 101 } });
        }
        if !status.success() {
            return Err(Failure::Build {
                code: status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(101),
            });
        }
        Ok(())
    }

    /// Takes out of the program's environment what only this build needed.
    fn restore_environment(&self, note: &mut Note) {
        note.environment.retain_mut(|(name, value)| {
            if name.0.as_bytes().starts_with(VARIABLE_PREFIX.as_bytes()) {
                return false;
            }
            if self.environment.contains_key(&name.0) {
                match std::env::var_os(&name.0) {
                    Some(own) => value.0 = own,
                    None => return false,
                }
            }
            true
        });
    }
}

fn cargo_arguments(run: &RunArgs) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("run")];
    arguments.extend(run.quiet.then(|| "--quiet".into()));
    arguments.extend(run.at.to_cargo());
    if let Some(target) = &run.at.target_dir {
        arguments.extend(["--target-dir".into(), target.into()]);
    }
    arguments.extend(run.selection.to_cargo());
    arguments.push("--".into());
    arguments.extend(run.arguments.iter().cloned());
    arguments
}

/// Targets whose programs can be live-patched.
pub const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

fn check_target(triple: &str) -> Result<(), Failure> {
    if TARGETS.contains(&triple) {
        return Ok(());
    }
    Err(Failure::Unsupported {
        what: format!("programs for {triple} cannot be live-patched"),
        hint: format!("{} are the targets that work", TARGETS.join(" and ")),
    })
}

/// The runner that programs are started through.
fn through(project: &Project, triple: &str, starter: &Path) -> Result<Option<Through>, Failure> {
    match project.runner(triple) {
        None => Ok(None),
        Some(UserRunner::Known(words)) => Ok(Through::new(words, triple == OWN_TRIPLE, starter)),
        Some(UserRunner::Conditional(set)) => Err(Failure::Unsupported {
            what: format!("the project sets a runner by a condition ({set}), which only cargo can decide"),
            hint: format!("set target.{triple}.runner: it is used as it is"),
        }),
    }
}
