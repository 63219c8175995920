//! Single keys from the terminal.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read};

/// The terminal in a mode in which every key comes at once; as it was again when this is dropped.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Calls `pressed`, in a thread, for every key. None where standard input is not a terminal.
    pub fn listen(mut pressed: impl FnMut(u8) + Send + 'static) -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut keys = before.clone();
        // Ctrl-C stays a signal.
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &keys).ok()?;
        std::thread::spawn(move || {
            let mut key = [0];
            while std::io::stdin().lock().read(&mut key).is_ok_and(|read| read == 1) {
                pressed(key[0]);
            }
        });
        Some(Self { before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
