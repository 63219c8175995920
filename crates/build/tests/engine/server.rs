//! The server's side of a conversation with one program, as small as it can be.

use livepatch_build::process::Process;
use livepatch_build::resolve::{Lookup, LookupError};
use livepatch_build::session::{CrateObjects, EditPart, Session};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{FromProcess, Times, ToProcess, Token, frame};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// The agent, built once for all tests.
fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent");
        let status = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "-p", "livepatch", "--features", "agent", "--lib"])
            .args(["--crate-type", "cdylib", "--profile", "agent", "--target-dir"])
            .arg(&target)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .status()
            .expect("running cargo");
        assert!(status.success(), "the agent builds");
        target.join("agent/liblivepatch.so")
    })
}

/// A running program and the conversation with its agent.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: BufReader<ChildStdout>,
    connection: Connection,
    pub(crate) process: Process,
}

struct Connection(UnixStream);

impl Connection {
    fn ask(&mut self, message: &ToProcess) -> FromProcess {
        frame::send(&mut self.0, message).expect("sending");
        self.next()
    }

    fn next(&mut self) -> FromProcess {
        loop {
            match frame::receive(&mut self.0, frame::MAX_PAYLOAD).expect("receiving") {
                FromProcess::Log { level, text } => eprintln!("agent: {level:?}: {text}"),
                other => return other,
            }
        }
    }
}

impl Lookup for Connection {
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<RuntimeAddress>>, LookupError> {
        match self.ask(&ToProcess::Resolve { names: names.to_vec(), within: None }) {
            FromProcess::Resolved { addresses } => {
                Ok(addresses.into_iter().map(|address| address.map(|a| RuntimeAddress(a.0))).collect())
            }
            other => Err(LookupError(format!("{other:?}"))),
        }
    }
}

impl Running {
    /// Starts the session's host.
    pub(crate) fn start(session: &Session, host: &Path) -> Self {
        let folder = host.parent().expect("a folder");
        let socket = folder.join("socket");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("binding");
        let token = Token([7; 32]);
        let mut child = Command::new(host)
            .env("LD_PRELOAD", agent())
            .env("LIVEPATCH_SOCKET", &socket)
            .env("LIVEPATCH_TOKEN", token.to_hex())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the program");
        let mut connection = Connection(listener.accept().expect("the agent dials").0);
        let FromProcess::Hello { hello } = connection.next() else { panic!("no hello") };
        assert_eq!(hello.token, token);
        frame::send(&mut connection.0, &ToProcess::Welcome).expect("sending");
        let process = Process::new(&hello, session.host()).expect("the process can be patched");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, stdin, stdout, connection, process }
    }

    /// Asks the program for a line: sends one, reads one.
    pub(crate) fn line(&mut self, request: &str) -> String {
        writeln!(self.stdin, "{request}").expect("writing to the program");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("reading from the program");
        line.trim_end().to_owned()
    }

    /// Makes a rebuild live; returns the redirected functions.
    pub(crate) fn patch(&mut self, session: &mut Session, rebuilt: &[CrateObjects]) -> (Vec<String>, Times) {
        let diff = session.diff(rebuilt).expect("comparing");
        assert_eq!(diff.restart, None);
        assert_eq!(diff.unsound, [""; 0]);
        let draft = session.prepare(diff, &self.process, &mut self.connection).expect("resolving");
        let linked = session.link(&draft, &self.process, &mut self.connection).expect("linking");
        let times = match self.connection.ask(&ToProcess::Apply { patch: linked.patch }) {
            FromProcess::Applied { patch, times } => {
                assert_eq!(patch, draft.number);
                times
            }
            other => panic!("{other:?}"),
        };
        let functions = draft.functions();
        self.process = linked.process;
        session.commit(draft, EditPart::Last);
        (functions, times)
    }

    /// Goes back to an earlier patch.
    pub(crate) fn roll_back(&mut self, session: &mut Session, to: u32) {
        let slots = session.rollback_slots(&self.process, to);
        let message = ToProcess::Rollback { to, from: session.current(), slots };
        assert_eq!(self.connection.ask(&message), FromProcess::RolledBack { to });
        self.process.current = to;
        session.commit_rollback(to);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
