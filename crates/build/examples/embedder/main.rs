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
use livepatch_build::stubs::HotpatchModuleCache;
use livepatch_proto::frame::{self, FrameError};
use livepatch_proto::{ApplyError, BuildId, FromProcess, Hello, ToProcess, Token};
use program::{Patched, Program};
use std::error::Error;
use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

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

/// Builds and starts a program, and patches it until it ends.
fn serve(folder: &Path) -> Result {
    let mut captured = Captured::build(folder)?;
    let host = HotpatchModuleCache::from_path(&captured.host)?;
    let (token, listener) = (token()?, TcpListener::bind("127.0.0.1:0")?);
    let mut running = Running(
        Command::new(&captured.host)
            .env("LIVEPATCH_SERVER", format!("tcp:{}", listener.local_addr()?.port()))
            .env("LIVEPATCH_TOKEN", token.to_hex())
            .spawn()?,
    );
    // What every process has to be sent, in order: one that dials late gets all of it.
    let mut history: Vec<Vec<Vec<u8>>> = Vec::new();
    let (mut stream, hello) = accept(&listener, token, host.build_id())?;
    let mut program = Program::new(&host, &captured, &hello)?;
    eprintln!("embedder: the program is there, process {}", hello.pid);
    // The session ends with the program, or when whoever started it has no more to say.
    let silent = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    while running.0.try_wait()?.is_none() && !silent.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        let saved = Instant::now();
        match captured.rebuild_if_saved() {
            Ok(None) => continue,
            Ok(Some(objects)) => history.push(objects),
            // The program goes on as it is until the edit compiles.
            Err(error) => eprintln!("embedder: {error}"),
        }
        while let Some(objects) = history.get(program.current() as usize) {
            let built = Instant::now();
            let patched = match program.patch(objects, &captured.folder()) {
                Ok(patched) => patched,
                Err(error) => {
                    eprintln!("embedder: this edit does not go live: {error}");
                    history.pop();
                    break;
                }
            };
            match send(&mut stream, patched) {
                Ok(applied) => eprintln!(
                    "embedder: {}; rustc {:.0} ms, patch {:.0} ms",
                    applied?,
                    (built - saved).as_secs_f64() * 1e3,
                    built.elapsed().as_secs_f64() * 1e3
                ),
                // The program dials again, and says at which patch it is.
                Err(error) => {
                    eprintln!("embedder: {error}");
                    let hello;
                    (stream, hello) = accept(&listener, token, host.build_id())?;
                    program = Program::new(&host, &captured, &hello)?;
                    program.catch_up(&history, &captured.folder())?;
                }
            }
        }
    }
    Ok(())
}

/// A process that shows the token, and runs this build.
fn accept(listener: &TcpListener, token: Token, build_id: &[u8]) -> Result<(TcpStream, Hello)> {
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let Ok(FromProcess::Hello { hello }) = frame::receive(&mut stream, frame::MAX_FIRST_PAYLOAD) else {
            continue;
        };
        let refusal = if !hello.token.matches(&token) {
            "it was not invited"
        } else if hello.build_id != BuildId(build_id.to_vec()) {
            "it runs another build"
        } else {
            frame::send(&mut stream, &ToProcess::Welcome)?;
            return Ok((stream, hello));
        };
        frame::send(&mut stream, &ToProcess::Refused { reason: refusal.to_owned() })?;
    }
}

/// Sends a patch and waits until it is live.
fn send(
    stream: &mut TcpStream,
    patched: Patched,
) -> std::result::Result<std::result::Result<String, ApplyError>, FrameError> {
    let Patched { patch, report } = patched;
    frame::send(stream, &ToProcess::ApplyLibrary { patch })?;
    loop {
        match frame::receive(stream, frame::MAX_PAYLOAD)? {
            FromProcess::Applied { patch, times } => {
                let applied = times.total as f64 / 1e6;
                return Ok(Ok(format!("patch {patch} is live in {applied:.1} ms: {report}")));
            }
            FromProcess::Failed { error } => return Ok(Err(error)),
            FromProcess::Log { text, .. } => eprintln!("program: {text}"),
            _ => return Err(FrameError::Closed),
        }
    }
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
