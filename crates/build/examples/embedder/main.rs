//! A dev server of one's own: it builds a program, starts it, and sends each saved edit of it as a patch library.
//!
//! ```console
//! $ cargo run --example embedder -- path/to/the/program
//! ```
//!
//! The program links the crate `livepatch` and dials. The server uses `livepatch-build` for what is to be built, and
//! `livepatch-proto` for what is to be said. See docs/library.md.

mod capture;
mod program;

use capture::Captured;
use livepatch_build::capture::wrapper;
use livepatch_build::library::WholePatch;
use livepatch_proto::frame;
use livepatch_proto::{BuildId, FromProcess, Hello, ToProcess, Token};
use program::Program;
use rustc_hash::{FxHashMap, FxHashSet};
use std::error::Error;
use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // Cargo calls this very file in place of rustc, and rustc in place of the linker.
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let called = Path::new(&called);
    if called.file_name().is_some_and(|name| name == "livepatch-rustc") {
        return wrapper::main(rest);
    }
    if called.parent().and_then(Path::file_name).is_some_and(|folder| folder == "shim") {
        return livepatch_build::capture::linker::main(rest);
    }
    match rest.first().map_or(Err("which program?".into()), |folder| serve(Path::new(folder))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedder: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds and starts a program, and patches all of its processes until that one ends.
fn serve(folder: &Path) -> Result {
    let mut captured = Captured::build(folder)?;
    let program = captured.program()?;
    let (token, listener) = (token()?, TcpListener::bind("127.0.0.1:0")?);
    let invitation = [
        ("LIVEPATCH_SERVER", format!("tcp:{}", listener.local_addr()?.port())),
        ("LIVEPATCH_TOKEN", token.to_hex()),
    ];
    let [server, secret] = &invitation;
    eprintln!(
        "embedder: others of its processes dial with {}={} {}={}",
        server.0, server.1, secret.0, secret.1
    );
    let mut running = Running(Command::new(&captured.host).envs(invitation).spawn()?);
    let arrivals = accept_all(listener, token, program.host().build_id().to_vec());
    // What every process has to be sent, in order: one that dials late gets all of it.
    let mut history: Vec<WholePatch> = Vec::new();
    let mut processes: Vec<Program> = Vec::new();
    // The session ends with the program, or when whoever started it has no more to say.
    let silent = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    while running.0.try_wait()?.is_none() && !silent.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        for (stream, hello) in arrivals.try_iter() {
            eprintln!("embedder: process {} is there, at patch {}", hello.pid, hello.current);
            match Program::new(stream, &hello, &program, &history) {
                Ok(process) => processes.push(process),
                Err(error) => eprintln!("embedder: process {}: {error}", hello.pid),
            }
        }
        match captured.rebuild_if_saved() {
            Ok(None) => {}
            Ok(Some(objects)) => {
                let predecessor = history.last().map_or(0, |patch| patch.number);
                let number = predecessor + 1;
                let (apart, renamed) = (FxHashSet::default(), FxHashMap::default());
                history.push(WholePatch { number, predecessor, objects, apart, renamed });
            }
            // The program goes on as it is until the edit compiles.
            Err(error) => eprintln!("embedder: {error}"),
        }
        processes.retain_mut(|process| match process.bring_up_to_date(&program, &history) {
            Ok(said) => {
                said.iter().for_each(|said| eprintln!("embedder: {said}"));
                true
            }
            // One whose connection broke off dials again, and says at which patch it is.
            Err(error) => {
                eprintln!("embedder: process {} stays behind: {error}", process.pid);
                false
            }
        });
    }
    Ok(())
}

/// The processes that show the token and run this build, as they come.
fn accept_all(listener: TcpListener, token: Token, build_id: Vec<u8>) -> Receiver<(TcpStream, Hello)> {
    let (sender, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(Some(arrival)) = greet(stream, token, &build_id)
                && sender.send(arrival).is_err()
            {
                return;
            }
        }
    });
    arrivals
}

fn greet(mut stream: TcpStream, token: Token, build_id: &[u8]) -> Result<Option<(TcpStream, Hello)>> {
    stream.set_nodelay(true)?;
    let FromProcess::Hello { hello } = frame::receive(&mut stream, frame::MAX_FIRST_PAYLOAD)? else {
        return Ok(None);
    };
    let refusal = if !hello.token.matches(&token) {
        "it was not invited"
    } else if hello.build_id != BuildId(build_id.to_vec()) {
        "it runs another build"
    } else {
        frame::send(&mut stream, &ToProcess::Welcome)?;
        return Ok(Some((stream, hello)));
    };
    frame::send(&mut stream, &ToProcess::Refused { reason: refusal.to_owned() })?;
    Ok(None)
}

/// Nobody can guess it.
fn token() -> Result<Token> {
    let mut token = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut token)?;
    Ok(Token(token))
}

/// The program ends with its server.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
