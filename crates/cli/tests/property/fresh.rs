//! The oracle: the same source, built by cargo alone and started from the same state.

use crate::live::Talk;
use crate::project::Project;
use std::process::{Child, Command, Stdio};

/// A project of its own, in which plain cargo builds.
pub(crate) struct Fresh {
    project: Project,
    arguments: Vec<&'static str>,
    child: Option<Child>,
}

impl Fresh {
    /// The project must have everything but the files that are edited.
    pub(crate) fn new(project: Project, arguments: &[&'static str]) -> Self {
        Self { project, arguments: arguments.to_vec(), child: None }
    }

    /// Builds these files, starts the program, and connects to it.
    pub(crate) fn start(&mut self, files: &[(&str, String)]) -> Talk {
        self.end();
        for (path, text) in files {
            // Cargo looks at times: what did not change stays untouched.
            if std::fs::read_to_string(self.project.file(path)).is_ok_and(|old| old == *text) {
                continue;
            }
            self.project.write(path, text);
        }
        let output = self.project.cargo(&[&["build"], self.arguments.as_slice()].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folder = if self.arguments.contains(&"--release") { "release" } else { "debug" };
        let _ = std::fs::remove_file(self.project.file("talk"));
        let mut program = Command::new(self.project.file(&format!("target/{folder}/app")));
        program.current_dir(self.project.path()).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(program.spawn().expect("it was built"));
        Talk::with(&self.project)
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.end();
    }
}
