//! Who knocks at a session's sockets without being invited.

use crate::live::Live;
use livepatch_proto::frame::{MAX_FIRST_PAYLOAD, receive, send};
use livepatch_proto::{
    Arch, BuildId, FromProcess, Hello, Origin, Os, Redirection, ToProcess, Token, WireAddress,
};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const CODE: &str = "pub fn start() {}\npub fn answer(x: &str) -> String { format!(\"{} {}\", 1, x.len()) }\n";

/// The folder with a session's sockets.
fn folder(live: &Live) -> PathBuf {
    let pointer = std::fs::read(live.project.file("target/livepatch/session.json")).unwrap();
    let pointer: Value = serde_json::from_slice(&pointer).unwrap();
    PathBuf::from(pointer["folder"].as_str().unwrap())
}

fn hello(pid: u32) -> FromProcess {
    let hello = Hello {
        token: Token([0x5a; 32]),
        build_id: BuildId(vec![1]),
        arch: Arch::X86_64,
        os: Os::LinuxGnu,
        pid,
        origin: Origin::Started,
        page_size: 4096,
        aslr_reference: WireAddress(0),
        current: 0,
        redirection: Redirection::Entry,
        tls_reserve: None,
        free_ranges: Vec::new(),
        modules: livepatch_proto::ModuleList::default(),
    };
    FromProcess::Hello { hello }
}

#[test]
fn nonsense_and_strangers_disturb_nothing() {
    let mut live = Live::new(CODE);
    let folder = folder(&live);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let dial = |name: &str| UnixStream::connect(folder.join(name)).unwrap();
    let mut edits = 1..;
    let mut goes_on = |live: &mut Live| {
        let n = edits.next().unwrap();
        live.edit(&format!("\", {n},"), &format!("\", {},", n + 1));
        assert_eq!(live.ask("abc"), format!("{} 3", n + 1));
    };

    // A stranger, in the program's own name, too.
    for pid in [1, live.pid()] {
        let mut stream = dial("process");
        send(&mut stream, &hello(pid)).unwrap();
        let refused = receive::<ToProcess>(&mut stream, 1 << 20).unwrap();
        assert!(matches!(refused, ToProcess::Refused { reason } if reason.contains("token")));
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "and hung up");
    }
    live.session.wait_until_said("token");
    goes_on(&mut live);

    // Nonsense, and lengths that cannot be.
    let too_long = u32::try_from(MAX_FIRST_PAYLOAD).unwrap() + 1;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 4096], &too_long.to_le_bytes()] {
        let mut stream = dial("process");
        let _ = stream.write_all(bytes);
    }
    goes_on(&mut live);

    // Half a frame, from somebody who goes and from many who stay.
    let mut frame = Vec::new();
    send(&mut frame, &hello(1)).unwrap();
    dial("process").write_all(&frame[..frame.len() / 2]).unwrap();
    let mut waiting: Vec<UnixStream> = (0..200).map(|_| dial("process")).collect();
    for stream in &mut waiting {
        stream.write_all(&frame[..7]).unwrap();
    }
    goes_on(&mut live);

    // The socket for commands.
    for bytes in [&b"\xff\x00\n"[..], b"{\"request\":\"rollback\",\"to\":-1}\n", b"{}\n"] {
        let mut stream = dial("control");
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["answer"], "refused");
    }
    let mut endless = dial("control");
    endless.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    dial("control").write_all(b"{\"requ").unwrap();
    goes_on(&mut live);
    drop(waiting);
    goes_on(&mut live);
    live.tell("quit 0");
    assert!(live.session.wait().success());
    assert!(!folder.exists());
}
