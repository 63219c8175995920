//! A program that was started as anybody starts programs.

use crate::live::{Live, package};
use crate::project::{Project, clean};
use crate::session::{Session, command, livepatch};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

impl Live {
    /// Attaches to a program that runs in the project's folder.
    pub(crate) fn attach(project: Project, pid: u32) -> Self {
        Self::attach_for(project, pid, "src/code.rs")
    }

    fn attach_for(project: Project, pid: u32, file: &str) -> Self {
        let mut session = Session::start_command(&project, &["attach", &pid.to_string()]);
        session.wait_for("ready");
        Self::of(project, session, file)
    }
}

/// A program of a captured build, and its project.
pub(crate) struct Started {
    pub(crate) child: Child,
    project: Option<Project>,
    path: PathBuf,
}

impl Started {
    /// Builds the package whose `src/code.rs` has that text, and starts it.
    pub(crate) fn new(code: &str) -> Self {
        let project = package(code);
        build(&project);
        Self::start(project, |_| {})
    }

    /// Starts the program of a project that is built.
    pub(crate) fn start(project: Project, more: impl FnOnce(&mut Command)) -> Self {
        let path = project.path().to_owned();
        let mut command = Command::new(project.file("target/debug/app"));
        clean(&mut command);
        command.current_dir(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Signals to the tests' group, from a terminal say, are not for it.
        command.process_group(0);
        more(&mut command);
        let child = command.spawn().expect("the program can be run");
        let started = Self { child, project: Some(project), path };
        started.wait_for_file("talk");
        started
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn project(&self) -> &Project {
        self.project.as_ref().expect("it is not lent")
    }

    fn wait_for_file(&self, name: &str) {
        let since = Instant::now();
        while !self.path.join(name).exists() {
            assert!(since.elapsed() < Duration::from_secs(60), "the program does not listen");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Attaches. The project is lent until the session gives it back.
    pub(crate) fn attach(&mut self) -> Live {
        Live::attach(self.project.take().expect("it is not lent"), self.pid())
    }

    /// The same, to edit that file.
    pub(crate) fn attach_to(&mut self, file: &str) -> Live {
        let project = self.project.take().expect("it is not lent");
        Live::attach_for(project, self.pid(), file)
    }

    /// Ends the session, with which the program goes on.
    pub(crate) fn detach(&mut self, mut live: Live) {
        let done = livepatch(&live.project, &["detach"]);
        assert!(done.status.success(), "{done:?}");
        assert!(live.session.wait().success());
        let detached = live.session.wait_for("detached");
        assert_eq!(detached["pid"], self.pid());
        self.take_back(live);
    }

    /// Takes the project back from a session that has ended.
    pub(crate) fn take_back(&mut self, live: Live) {
        self.project = Some(live.project);
    }

    /// An `attach` that is refused: what it says.
    pub(crate) fn refused(&self) -> String {
        refused(self.project(), self.pid())
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn build(project: &Project) {
    let built = livepatch(project, &["build"]);
    assert!(built.status.success(), "{}", said(&built));
    let path = String::from_utf8_lossy(&built.stdout);
    assert_eq!(std::path::Path::new(path.trim()), project.file("target/debug/app"));
}

pub(crate) fn refused(project: &Project, pid: u32) -> String {
    let mut attach = command(project, &["attach", &pid.to_string()]);
    let attach = attach.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut attach = attach.spawn().expect("the command can be run");
    let since = Instant::now();
    while attach.try_wait().expect("it can be waited for").is_none() {
        if since.elapsed() > Duration::from_secs(60) {
            attach.kill().expect("it is not waited for");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = attach.wait_with_output().expect("it can be waited for");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
