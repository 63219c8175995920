//! The embedder of the examples, run as its reader would run it: edits there and back again, and the state stays.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::expect_used, reason = "how a test fails")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long a build may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(100);

const VIEW: &str = include_str!("../examples/embedder/host/src/view.rs");

/// The same with a new function, which calls a function of the standard library that the program had no use for.
fn other_view() -> String {
    let text = VIEW.replace("fn text() -> &'static str {\n    \"hello\"\n}\n", "");
    assert_ne!(text, VIEW);
    text + "fn text() -> String {\n    let mut words = vec![\"world\", \"goodbye\"];\n    words.sort_unstable();\n    \
            words.join(\", \")\n}\n"
}

/// Beside the tests' own folder. Built with them.
fn embedder() -> PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let profile = tests.parent().and_then(Path::parent).expect("a profile's folder");
    profile.join("examples/embedder")
}

struct Session {
    embedder: Child,
    frames: Frames,
    folder: PathBuf,
    /// What other processes dial with.
    invitation: Vec<(String, String)>,
}

/// What a process of the program says.
struct Frames {
    lines: Receiver<String>,
    /// The number of the last frame.
    count: u64,
}

impl Frames {
    fn of(output: ChildStdout) -> Self {
        let output = BufReader::new(output);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { lines, count: 0 }
    }

    /// Reads until a frame says `text`. Frames are counted by the program, in one process, from its start: none is
    /// missing, none comes twice.
    fn until(&mut self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the program goes on");
            let said = line.strip_prefix("frame ").and_then(|line| line.split_once(": "));
            let (number, said) = said.expect("a frame");
            self.count += 1;
            assert_eq!(number.parse(), Ok(self.count), "{line}");
            if said == text {
                return;
            }
        }
    }
}

/// What the embedder says that other processes dial with. It goes on saying things.
fn invitation(said: ChildStderr) -> Vec<(String, String)> {
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("dial with")).expect("it says so");
    let words = line.split(' ').filter_map(|word| word.split_once('='));
    let invitation = words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
    invitation
}

impl Session {
    fn start(name: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).join("host");
        std::fs::create_dir_all(folder.join("src")).expect("a folder");
        let from = here.join("examples/embedder/host");
        let manifest = std::fs::read_to_string(from.join("Cargo.toml")).expect("read");
        let manifest =
            manifest.replace("../../../../runtime", here.join("../runtime").to_str().expect("text"));
        std::fs::write(folder.join("Cargo.toml"), manifest).expect("written");
        std::fs::copy(from.join("src/main.rs"), folder.join("src/main.rs")).expect("copied");
        // What the workspace has of other crates is enough.
        std::fs::copy(here.join("../../Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
        std::fs::write(folder.join("src/view.rs"), VIEW).expect("written");

        let mut embedder = Command::new(embedder());
        embedder.arg(&folder).env_remove("CARGO_TARGET_DIR");
        embedder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut embedder = embedder.spawn().expect("the example is built with the tests");
        let invitation = invitation(embedder.stderr.take().expect("piped"));
        let frames = Frames::of(embedder.stdout.take().expect("piped"));
        Self { embedder, frames, folder, invitation }
    }

    fn save(&self, view: &str) {
        std::fs::write(self.folder.join("src/view.rs"), view).expect("written");
    }

    /// Another process of the program, which dials.
    fn another(&self) -> Another {
        let mut program = Command::new(self.folder.join("target/debug/host"));
        program.envs(self.invitation.iter().cloned()).stdout(Stdio::piped());
        let mut child = program.spawn().expect("the program starts");
        let frames = Frames::of(child.stdout.take().expect("piped"));
        Another { child, frames }
    }
}

struct Another {
    child: Child,
    frames: Frames,
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends the program, and itself.
        drop(self.embedder.stdin.take());
        let _ = self.embedder.wait();
    }
}

#[test]
fn an_embedder_patches_there_and_back_again() {
    let mut session = Session::start("embedder");
    session.frames.until("hello");
    for _ in 0..2 {
        session.save(&other_view());
        session.frames.until("goodbye, world");
        session.save(VIEW);
        session.frames.until("hello");
    }
    // What does not compile changes nothing, and is no end.
    session.save("pub fn draw(");
    session.save(&VIEW.replace("hello", "servus"));
    session.frames.until("servus");
    assert!(session.frames.count > 5);
}

#[test]
fn who_dials_late_gets_what_it_lacks() {
    let mut session = Session::start("embedder-late");
    session.frames.until("hello");
    for text in ["one", "two", "three"] {
        session.save(&VIEW.replace("hello", text));
        session.frames.until(text);
    }
    // It has the code of the beginning, and gets three patches, linked for where it has everything.
    let mut late = session.another();
    late.frames.until("three");
    session.save(&VIEW.replace("hello", "four"));
    session.frames.until("four");
    late.frames.until("four");
    assert!(late.frames.count < session.frames.count, "each has its own state");
}
