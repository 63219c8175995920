//! Plays the server for a program that has the agent preloaded.

use livepatch_proto::attach::DIALS;
use livepatch_proto::frame::{MAX_PAYLOAD, receive, send};
use livepatch_proto::{ApplyError, Crash, FromProcess, Hello, Patch, SlotSet, Times, ToProcess, Token};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The agent as it ships, built once.
pub(crate) fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-target");
        let built = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "--offline", "-p", "livepatch", "--features", "agent"])
            .args(["--profile", "agent", "--crate-type", "cdylib"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the agent does not build");
        target.join("agent/liblivepatch.so")
    })
}

/// Compiles the program to be patched; None, with a word why, where that is not possible.
pub(crate) fn victim(options: &[&str]) -> Option<PathBuf> {
    program("victim", options)
}

/// Compiles one of the programs that are here in C.
pub(crate) fn program(name: &str, options: &[&str]) -> Option<PathBuf> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/agent/{name}.c"));
    let output =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{}", options.concat().replace('=', "-")));
    let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    if modified(&output) > modified(&source) {
        return Some(output);
    }
    // Tests run side by side in several processes: each compiles for itself, the last rename wins.
    let fresh = output.with_extension(std::process::id().to_string());
    compile(
        Command::new("gcc")
            .args(["-O1", "-pthread", "-Wl,--build-id", "-o"])
            .arg(&fresh)
            .arg(source)
            .arg("-ldl")
            .args(options),
    )?;
    std::fs::rename(&fresh, &output).expect("the program can be renamed");
    Some(output)
}

/// What a program that runs without the agent answers.
pub(crate) fn ask_without_agent(program: &Path, command: &str) -> String {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    writeln!(child.stdin.take().expect("a pipe"), "{command}").expect("the program listens");
    let output = child.wait_with_output().expect("the program ends");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a compiler; None, with a word why, where there is none.
pub(crate) fn compile(command: &mut Command) -> Option<()> {
    match command.output() {
        Ok(done) => {
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            Some(())
        }
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

/// A folder that goes away with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("livepatch-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A program that has not dialled.
pub(crate) struct Unmet {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    listener: UnixListener,
    folder: Folder,
}

impl Unmet {
    fn greet(self) -> Option<Program> {
        let Self { child, stdin, stdout, listener, folder } = self;
        let server = Server::accept(&listener, Duration::from_secs(10)).expect("the agent dials");
        Some(Program { child, stdin, stdout, server, listener, folder })
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the program listens");
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the program answers");
        line.trim_end().to_owned()
    }
}

/// A program that runs with the agent, and the server's end of its conversation.
pub(crate) struct Program {
    pub(crate) child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) server: Server,
    listener: UnixListener,
    pub(crate) folder: Folder,
}

pub(crate) const TOKEN: [u8; 32] = [0xa5; 32];

impl Program {
    /// Starts the program as the dev server would, and welcomes it.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&victim(&[])?, |_| {})
    }

    pub(crate) fn start_with(program: &Path, more: impl FnOnce(&mut Command)) -> Option<Self> {
        let folder = Folder::new();
        let socket = folder.0.join("socket");
        Self::spawn(program, folder, |command| {
            command
                .env("LIVEPATCH_SOCKET", &socket)
                .env("LIVEPATCH_TOKEN", Token(TOKEN).to_hex())
                .env("LD_PRELOAD", agent());
            more(command);
        })
        .greet()
    }

    /// Starts the program as anybody would, and has it load the agent once `before` was done.
    pub(crate) fn start_late(program: &Path, before: impl FnOnce(&mut Unmet)) -> Option<Self> {
        let mut program = Self::spawn(program, Folder::new(), |command| {
            command.env("LATE_AGENT", agent());
        });
        before(&mut program);
        program.tell("load");
        assert_eq!(program.line(), "loaded");
        program.tell("attach");
        assert_eq!(program.line(), DIALS.to_string());
        program.greet()
    }

    fn spawn(program: &Path, folder: Folder, more: impl FnOnce(&mut Command)) -> Unmet {
        let socket = folder.0.join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let mut command = Command::new(program);
        command.env("LATE_SOCKET", &socket).env("LATE_TOKEN", Token(TOKEN).to_hex());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        more(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Unmet { child, stdin, stdout, listener, folder }
    }

    /// Tells the program to do something; its answer in one line.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.line()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the program listens");
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the program answers");
        line.trim_end().to_owned()
    }

    /// Tells the program to do something; its answer until a line with a dot.
    pub(crate) fn ask_lines(&mut self, command: &str) -> Vec<String> {
        self.tell(command);
        std::iter::repeat_with(|| self.line()).take_while(|line| line != "." && !line.is_empty()).collect()
    }

    /// Waits for another process of the program to dial.
    pub(crate) fn accept(&self, patience: Duration) -> Option<Server> {
        Server::accept(&self.listener, patience)
    }

    /// Waits for a crash to be told, and for `look` at the process as it is then.
    pub(crate) fn accept_crash(&self, look: impl FnOnce(&Crash)) -> Option<Crash> {
        let mut stream = accept(&self.listener, Duration::from_secs(10))?;
        let FromProcess::Crashed { crash } = receive(&mut stream, MAX_PAYLOAD).expect("a message") else {
            panic!("not a crash");
        };
        assert!(crash.token.matches(&Token(TOKEN)));
        look(&crash);
        Some(crash)
    }

    /// Ends the program's input; how it then ended.
    pub(crate) fn finish(self) -> ExitStatus {
        let Self { mut child, stdin, server, .. } = self;
        drop(stdin);
        let status = child.wait().expect("the program ends");
        drop(server);
        status
    }

    /// How the program ended, which it does by itself.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("the program ends")
    }
}

fn accept(listener: &UnixListener, patience: Duration) -> Option<UnixStream> {
    listener.set_nonblocking(true).expect("a socket option");
    let begun = Instant::now();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    };
    stream.set_nonblocking(false).expect("a socket option");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    Some(stream)
}

/// The server's end of a conversation.
pub(crate) struct Server {
    stream: UnixStream,
    pub(crate) hello: Hello,
    /// What the agent logged so far.
    pub(crate) log: Vec<String>,
}

impl Server {
    fn accept(listener: &UnixListener, patience: Duration) -> Option<Self> {
        let mut stream = accept(listener, patience)?;
        let FromProcess::Hello { hello } = receive(&mut stream, MAX_PAYLOAD).expect("a message") else {
            panic!("not a hello");
        };
        assert!(hello.token.matches(&Token(TOKEN)));
        send(&mut stream, &ToProcess::Welcome).expect("the agent listens");
        Some(Self { stream, hello, log: Vec::new() })
    }

    pub(crate) fn ask(&mut self, question: &ToProcess) -> FromProcess {
        self.tell(question);
        self.answer()
    }

    pub(crate) fn tell(&mut self, question: &ToProcess) {
        send(&mut self.stream, question).expect("the agent listens");
    }

    pub(crate) fn answer(&mut self) -> FromProcess {
        loop {
            match receive(&mut self.stream, MAX_PAYLOAD).expect("the agent answers") {
                FromProcess::Log { level, text } => {
                    eprintln!("{level:?}: {text}");
                    self.log.push(text);
                }
                answer => return answer,
            }
        }
    }

    /// Asks what is free now.
    pub(crate) fn look_again(&mut self) {
        let FromProcess::FreeRanges { ranges } = self.ask(&ToProcess::FreeRanges) else {
            panic!("no answer")
        };
        self.hello.free_ranges = ranges;
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the agent listens");
    }

    /// Whether the agent ended the conversation.
    pub(crate) fn is_over(&mut self) -> bool {
        receive::<FromProcess>(&mut self.stream, MAX_PAYLOAD).is_err()
    }

    /// Ends the conversation without a word.
    pub(crate) fn hang_up(&self) {
        self.stream.shutdown(std::net::Shutdown::Both).expect("a socket");
    }

    pub(crate) fn apply(&mut self, patch: Patch) -> Result<Times, ApplyError> {
        let number = patch.number;
        match self.ask(&ToProcess::Apply { patch }) {
            FromProcess::Applied { patch, times } if patch == number => Ok(times),
            FromProcess::Failed { error } => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn roll_back(&mut self, from: u32, to: u32, slots: Vec<SlotSet>) -> Result<(), ApplyError> {
        match self.ask(&ToProcess::Rollback { to, from, slots }) {
            FromProcess::RolledBack { to: now } if now == to => Ok(()),
            FromProcess::Failed { error } => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// An empty patch for this process.
    pub(crate) fn patch(&self, number: u32) -> Patch {
        Patch::new(number, number - 1, self.hello.build_id.clone())
    }
}
