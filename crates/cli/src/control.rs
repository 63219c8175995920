//! Other commands talking to the running session: one JSON line each way, over a socket in a folder
//! that only its owner can enter. A file under the target directory says where that is.

pub mod client;

use crate::error::Failure;
use crate::private_dir::{PrivateDir, is_private};
use livepatch_build::capture::{Folders, write_atomically};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest line that is read.
const LONGEST: u64 = 1 << 16;
/// How long a restart, the slowest request, may take to be answered.
const PATIENCE: Duration = Duration::from_secs(600);

/// What can be asked of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// What it is at.
    Status,
    /// To go back to an earlier patch.
    Rollback {
        /// The patch to be at; none for the one before the last.
        to: Option<u32>,
    },
    /// To start the program anew.
    Restart,
    /// To end.
    Stop,
    /// To leave the program alone.
    Detach,
}

/// The session's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// What it is at.
    Status(Status),
    /// It was done.
    Done {
        /// What.
        said: String,
    },
    /// It was not done.
    Refused {
        /// Why.
        said: String,
    },
}

/// What a session is at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The process id of `cargo livepatch run`.
    pub server: u32,
    /// The program's process id.
    pub program: Option<u32>,
    /// The processes that have called: the program, and what it forked.
    pub processes: Vec<u32>,
    /// The patch that is live; 0 is the code the program was started with.
    pub patch: u32,
    /// What the session does now.
    pub doing: String,
    /// The executable.
    pub executable: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Pointer {
    server: u32,
    folder: PathBuf,
}

const SOCKET: &str = "control";

fn pointer(folders: &Folders) -> PathBuf {
    folders.root().join("session.json")
}

/// Counts the requests whose answers are not written yet.
#[derive(Clone, Default, Debug)]
pub struct Unanswered(Arc<(Mutex<usize>, Condvar)>);

impl Unanswered {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        let (count, changed) = &*self.0;
        change(&mut count.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    /// Waits until all answers are written, for a second at most.
    pub fn wait(&self) {
        let (count, changed) = &*self.0;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(count, Duration::from_secs(1), |count| *count > 0));
    }
}

/// Listens for requests; `asked` gets each with where its answer goes.
pub fn listen(
    private: &PrivateDir,
    folders: &Folders,
    asked: impl Fn(Request, Sender<Answer>) + Send + 'static,
) -> Result<Unanswered, Failure> {
    let path = private.path().join(SOCKET);
    let listener = UnixListener::bind(&path).map_err(Failure::file("listen at", &path))?;
    let file = pointer(folders);
    let contents = Pointer { server: std::process::id(), folder: private.path().to_owned() };
    let contents = serde_json::to_vec(&contents).unwrap_or_default();
    write_atomically(&file, &contents).map_err(Failure::file("write", &file))?;
    let asked = Arc::new(Mutex::new(asked));
    let unanswered = Unanswered::default();
    let counted = unanswered.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (asked, counted) = (asked.clone(), counted.clone());
            counted.change(|count| *count += 1);
            std::thread::spawn(move || {
                let ours = rustix::net::sockopt::socket_peercred(&stream)
                    .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
                if ours {
                    answer(&stream, |request, sender| {
                        (asked.lock().unwrap_or_else(PoisonError::into_inner))(request, sender);
                    });
                }
                counted.change(|count| *count -= 1);
            });
        }
    });
    Ok(unanswered)
}

/// Removes what a session that was killed has left; to be called by the holder of the lock.
pub fn clean_up(folders: &Folders) {
    let left =
        std::fs::read(pointer(folders)).ok().and_then(|contents| serde_json::from_slice(&contents).ok());
    let Some(Pointer { folder, .. }) = left else { return };
    let ours = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"livepatch-"));
    if ours && is_private(&folder) {
        let _ = std::fs::remove_dir_all(folder);
    }
    forget(folders);
}

/// Removes what tells where the session is.
pub fn forget(folders: &Folders) {
    let _ = std::fs::remove_file(pointer(folders));
}

fn answer(stream: &UnixStream, asked: impl FnOnce(Request, Sender<Answer>)) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let answer = match read_line::<Request>(stream) {
        Ok(request) => {
            let (sender, answers) = mpsc::channel();
            asked(request, sender);
            let ended = Answer::Refused { said: "the session has ended".into() };
            answers.recv_timeout(PATIENCE).unwrap_or(ended)
        }
        Err(said) => Answer::Refused { said },
    };
    let _ = write_line(stream, &answer);
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> Result<T, String> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| format!("not understood: {error}"))
}

fn write_line<T: Serialize>(mut stream: &UnixStream, value: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_reach_the_session_and_answers_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_target(dir.path());
        std::fs::create_dir_all(folders.root()).unwrap();
        let private = PrivateDir::create().unwrap();
        listen(&private, &folders, |request, sender| {
            let said = format!("{request:?}");
            let _ = sender.send(Answer::Done { said });
        })
        .unwrap();
        let answer = client::request(&folders, Request::Rollback { to: Some(2) }).unwrap();
        assert_eq!(answer, Answer::Done { said: "Rollback { to: Some(2) }".into() });
        clean_up(&folders);
        assert!(!private.path().exists());
        assert!(matches!(client::request(&folders, Request::Stop), Err(Failure::NoSession { .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"{\"request\":\"dance\"}\n").unwrap();
        answer(&ours, |_, _| panic!("must not be asked"));
        assert!(matches!(read_line::<Answer>(&theirs), Ok(Answer::Refused { .. })));
    }
}
