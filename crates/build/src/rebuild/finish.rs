//! Noticing that rustc has written its last object.
//!
//! When every object is in place, rustc gives the session's folder its final name, then links, removes
//! temporary files and tears itself down. None of that is of use here, so that it is not waited for.

use crate::capture::objects;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Waits for the next session of one crate to be finished.
#[derive(Debug)]
pub(super) struct Finish {
    inotify: OwnedFd,
}

/// What there is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    /// There is something to read.
    Input,
    /// The session is finished; what was to be said is there to be read.
    Finished,
}

impl Finish {
    /// Starts to look at `folder`, which holds the sessions of a crate.
    pub(super) fn watch(folder: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, folder, WatchFlags::MOVED_TO)?;
        Ok(Self { inotify })
    }

    /// Waits until there is something to read in `input`, or the session is finished.
    pub(super) fn wait(&self, input: impl AsFd) -> io::Result<Ready> {
        loop {
            let mut both = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
            match poll(&mut both, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [session, readable] = both.map(|one| !one.revents().is_empty());
            if session && self.has_finished()? {
                return Ok(Ready::Finished);
            }
            if readable {
                return Ok(Ready::Input);
            }
        }
    }

    fn has_finished(&self) -> io::Result<bool> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    if name.is_some_and(objects::is_finished_session) {
                        return Ok(true);
                    }
                }
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Waits until there is something to read in `input`. Never says that there is nothing to come.
pub(super) fn wait_for_input(input: impl AsFd) -> io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(&input, PollFlags::IN)], None) {
            Err(Errno::INTR) => {}
            done => return done.map(|_| false).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_final_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let finish = Finish::watch(dir.path()).unwrap();
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        std::fs::create_dir(dir.path().join("s-hodm-1ud-working")).unwrap();
        std::fs::rename(dir.path().join("s-hodm-1ud-working"), dir.path().join("s-hodn-1ud-working"))
            .unwrap();
        io::Write::write_all(&mut &writer, b"x").unwrap();
        assert_eq!(finish.wait(&reader).unwrap(), Ready::Input);
        std::fs::rename(dir.path().join("s-hodn-1ud-working"), dir.path().join("s-hodn-1ud-2ps4")).unwrap();
        assert_eq!(finish.wait(&reader).unwrap(), Ready::Finished);
    }
}
