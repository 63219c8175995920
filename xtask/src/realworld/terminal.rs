//! A terminal that a program runs in: tmux, on a server of its own.

use crate::run::{Result, neutral, output};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a program may take to draw its first screen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal of 120 × 40; it ends with this value.
pub(super) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a command in a new terminal.
    pub(super) fn start(command: &Command) -> Result<Self> {
        let terminal = Self { socket: format!("livepatch-{}", std::process::id()) };
        let folder = command.get_current_dir().ok_or("the command has no folder")?;
        let mut tmux = terminal.tmux(&["new-session", "-d", "-x", "120", "-y", "40", "-c"]);
        tmux.arg(folder);
        neutral(tmux.arg(command.get_program()).args(command.get_args()));
        output(&mut tmux)?;
        output(&mut terminal.tmux(&["set-option", "-g", "remain-on-exit", "on"]))?;
        Ok(terminal)
    }

    /// Types keys, as tmux names them, slowly enough for the program to take each by itself.
    pub(super) fn keys(&self, keys: &[String]) -> Result {
        for key in keys {
            output(self.tmux(&["send-keys"]).arg(key))?;
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    /// Waits until something is seen.
    pub(super) fn wait_for(&self, text: &str) -> Result {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen()?.contains(text) {
            if Instant::now() > deadline {
                return Err(format!("{text:?} is not seen:\n{}", self.screen()?));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What is seen.
    pub(super) fn screen(&self) -> Result<String> {
        output(&mut self.tmux(&["capture-pane", "-p"]))
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-f", "/dev/null", "-L", &self.socket]).args(arguments);
        tmux
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = output(&mut self.tmux(&["kill-server"]));
    }
}
