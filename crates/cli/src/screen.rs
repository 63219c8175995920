//! Showing lines on a terminal that the program may be drawing on.
//!
//! A program that draws (an editor, a viewer) switches the terminal's line mode off. Lines of ours would
//! land in its picture, so they wait until it is done; the terminal's title tells meanwhile.

use crate::report::write;
use rustix::termios::{LocalModes, OutputModes, tcgetattr};
use std::cell::RefCell;

/// More than this is not kept, in bytes: the newest counts.
const KEPT: usize = 1 << 16;

/// What waits to be shown.
#[derive(Default, Debug)]
pub(crate) struct Screen {
    waiting: RefCell<String>,
}

impl Screen {
    /// Shows lines, or keeps them and shows `title` where a window has its title.
    pub(crate) fn show(&self, lines: &str, title: &str) {
        if !is_drawn_on() {
            self.release();
            return write(lines);
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_str(lines);
        let excess = waiting.len().saturating_sub(KEPT);
        if let Some(line) = waiting[excess..].find('\n').filter(|_| excess > 0) {
            waiting.drain(..=excess + line);
        }
        let title: String = title.chars().filter(|c| !c.is_control()).take(120).collect();
        write(&format!("\x1b]2;livepatch: {title}\x07"));
    }

    /// Shows what waits.
    pub(crate) fn release(&self) {
        let waiting = self.waiting.take();
        if !waiting.is_empty() {
            write(&waiting);
        }
    }
}

/// Whether standard error is a terminal in raw mode: single keys in, nothing echoed, output as it is.
/// (With `--keys` the terminal hands single keys to us; its output modes stay.)
fn is_drawn_on() -> bool {
    let raw = LocalModes::ICANON | LocalModes::ECHO;
    tcgetattr(std::io::stderr()).is_ok_and(|modes| {
        !modes.local_modes.intersects(raw) && !modes.output_modes.contains(OutputModes::OPOST)
    })
}
