//! A program that dials its server.

use crate::built::library;
use crate::host::{ANCHOR, answers, first_in_host};
use crate::turn;
use livepatch::proto::frame::{self, FrameError};
use livepatch::proto::{
    Arch, FromProcess, Hello, Jump, LibraryPatch, LogLevel, Origin, Redirection, ToProcess, Token,
    WireAddress,
};
use livepatch::{Connection, Server, connect};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const TOKEN: Token = Token([7; 32]);

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The server's end of a conversation.
struct Talk(Box<dyn Stream>);

impl Talk {
    fn accept(listener: &TcpListener) -> (Self, Hello) {
        let mut talk = Self(Box::new(listener.accept().expect("somebody dials").0));
        let hello = talk.hello();
        (talk, hello)
    }

    fn hello(&mut self) -> Hello {
        match self.hear() {
            FromProcess::Hello { hello } => hello,
            other => panic!("a hello is expected: {other:?}"),
        }
    }

    fn hear(&mut self) -> FromProcess {
        frame::receive(&mut self.0, frame::MAX_PAYLOAD).expect("something is said")
    }

    fn say(&mut self, message: &ToProcess) {
        frame::send(&mut self.0, message).expect("heard");
    }

    fn ask(&mut self, question: &ToProcess) -> FromProcess {
        self.say(question);
        self.hear()
    }
}

fn eventually(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come to pass");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ended(connection: &Connection) -> String {
    eventually(|| connection.ended().is_some());
    connection.ended().expect("as was waited for")
}

#[test]
fn a_server_patches_and_rolls_back_over_tcp() {
    let _turn = turn();
    let Some(built) = library("unsigned f(unsigned n) { return n + 5; }") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connection = connect(Server::loopback(port), TOKEN).expect("a thread");
    let (mut talk, hello) = Talk::accept(&listener);
    assert!(hello.token.matches(&TOKEN));
    assert_eq!((hello.origin, hello.redirection), (Origin::Dialled, Redirection::JumpTable));
    assert_eq!(hello.aslr_reference, WireAddress(livepatch::aslr_reference() as u64));
    assert_eq!((hello.pid, hello.build_id), (std::process::id(), livepatch::build_id()));
    assert!(!cfg!(target_arch = "x86_64") || hello.arch == Arch::X86_64);
    let before = hello.current;
    talk.say(&ToProcess::Welcome);
    eventually(|| connection.is_connected());
    assert!(connection.log(LogLevel::Info, "ready"));
    let FromProcess::Log { level: LogLevel::Info, text } = talk.hear() else { panic!("a log line") };
    assert_eq!(text, "ready");

    let number = 50_000;
    let patch = LibraryPatch {
        number,
        predecessor: before,
        build_id: livepatch::build_id(),
        library: built.in_message(),
        host_anchor: ANCHOR,
        library_anchor: built.anchor(),
        jumps: vec![Jump { from: first_in_host(), to: built.at(number, "f") }],
    };
    let was = answers();
    let again = ToProcess::ApplyLibrary { patch: patch.clone() };
    let answer = talk.ask(&ToProcess::ApplyLibrary { patch });
    assert!(matches!(answer, FromProcess::Applied { patch: 50_000, times } if times.total > 0), "{answer:?}");
    assert_eq!(answers().0, 15);
    assert!(matches!(talk.ask(&again), FromProcess::Failed { .. }));

    // The connection breaks: the program comes again, and says where it is.
    drop(talk);
    let (mut talk, hello) = Talk::accept(&listener);
    assert_eq!(hello.current, number);
    talk.say(&ToProcess::Welcome);
    let back = ToProcess::Rollback { to: before, from: number, slots: Vec::new() };
    assert_eq!(talk.ask(&back), FromProcess::RolledBack { to: before });
    assert_eq!((answers(), livepatch::version()), (was, before));
    assert!(matches!(talk.ask(&back), FromProcess::Failed { .. }), "it is not at that patch any more");

    let names = vec!["malloc".to_owned(), "no_such_function_anywhere".to_owned()];
    let FromProcess::Resolved { addresses } = talk.ask(&ToProcess::Resolve { names, within: None }) else {
        panic!("addresses")
    };
    assert_eq!((addresses[0].is_some(), addresses[1]), (true, None));
    talk.say(&ToProcess::Goodbye);
    assert_eq!(ended(&connection), "the server said goodbye");
    assert!(!connection.log(LogLevel::Info, "nobody hears it"));
}

#[test]
fn a_server_that_comes_later_is_found_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let connection = connect(Server::Unix(path.clone()), TOKEN).expect("a thread");
    std::thread::sleep(Duration::from_millis(20));
    assert!(!connection.is_connected());
    let listener = UnixListener::bind(path).expect("a socket");
    let mut talk = Talk(Box::new(listener.accept().expect("somebody dials").0));
    talk.hello();
    talk.say(&ToProcess::Refused { reason: "another build".to_owned() });
    assert_eq!(ended(&connection), "refused: another build");
}

#[test]
fn who_hangs_up_does_not_dial_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connection = connect(Server::loopback(port), TOKEN).expect("a thread");
    let (mut talk, _) = Talk::accept(&listener);
    talk.say(&ToProcess::Welcome);
    eventually(|| connection.is_connected());
    connection.close();
    let over = frame::receive::<FromProcess>(&mut talk.0, frame::MAX_PAYLOAD);
    assert!(matches!(over, Err(FrameError::Closed)), "{over:?}");
    assert_eq!(ended(&connection), "closed");
}
