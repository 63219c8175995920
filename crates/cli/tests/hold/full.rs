//! No room on the disk: an edit is refused with the reason, the program goes on, and the next edit goes
//! live once there is room again.

use crate::live::{Live, package};
use crate::session::{command, livepatch};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CODE: &str = "pub fn start() {}\npub fn answer(x: &str) -> String { format!(\"{} {}\", 1, x.len()) }\n";

/// A small file system of its own at a folder.
struct Tiny(PathBuf);

impl Tiny {
    /// None, with a word why, where this may not be done.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        match command.output() {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            Ok(done) => {
                println!("skipped: {}", String::from_utf8_lossy(&done.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: mount: {error}");
                None
            }
        }
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let full = std::fs::write(self.0.join("filler"), vec![b'x'; 1 << 30]);
        assert_eq!(full.unwrap_err().raw_os_error(), Some(28), "ENOSPC");
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: something may be open yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn reason(rejected: &Value) -> &str {
    assert_eq!(rejected["event"], "rejected", "{rejected}");
    rejected["reason"].as_str().unwrap()
}

/// Where the images of this session's patches go.
fn patches(live: &Live) -> PathBuf {
    let sessions = std::fs::read_dir(live.project.file("target/livepatch/patches")).unwrap();
    let mut sessions = sessions.map(|entry| entry.unwrap().path());
    let own = sessions.next().unwrap();
    assert_eq!(sessions.next(), None);
    own
}

#[test]
fn an_image_that_does_not_fit_is_refused_whole() {
    let mut live = Live::new(CODE);
    live.edit("\", 1,", "\", 2,");
    let Some(tiny) = Tiny::mount(&patches(&live), "8k") else { return };
    let rejected = live.save(&live.code.replace("\", 2,", "\", 3,"));
    assert!(reason(&rejected).contains("No space left on device"), "{rejected}");
    assert!(reason(&rejected).contains("patches"), "it names the file: {rejected}");
    assert_eq!(live.ask("abc"), "2 3");
    assert_eq!(std::fs::read_dir(&tiny.0).unwrap().count(), 0, "what was written is removed");
    let rejected = live.save(&live.code.replace("x.len()", "x.len() * 2"));
    assert!(reason(&rejected).contains("No space left on device"), "{rejected}");
    assert_eq!(live.ask("abc"), "2 3");
    drop(tiny);
    live.patch(&live.code.replace("x.len() * 2", "x.len() * 3"));
    assert_eq!(live.ask("abc"), "3 9");
    assert_eq!(live.events().iter().filter(|event| event["event"] == "restarted").count(), 0);
}

#[test]
fn a_folder_for_images_that_is_gone_is_told() {
    let mut live = Live::new(CODE);
    live.edit("\", 1,", "\", 2,");
    let patches = patches(&live);
    std::fs::remove_dir_all(&patches).unwrap();
    std::fs::write(&patches, "").unwrap();
    let rejected = live.save(&live.code.replace("\", 2,", "\", 3,"));
    assert!(reason(&rejected).contains("Not a directory"), "{rejected}");
    assert_eq!(live.ask("abc"), "2 3");
    std::fs::remove_file(&patches).unwrap();
    std::fs::create_dir(&patches).unwrap();
    live.edit("\", 3,", "\", 4,");
    assert_eq!(live.ask("abc"), "4 3");
}

#[test]
fn a_compiler_without_room_is_told() {
    let project = package(CODE);
    let Some(tiny) = Tiny::mount(&project.file("target"), "64m") else { return };
    let mut live = Live::start(project, &[]);
    live.edit("\", 1,", "\", 2,");
    tiny.fill();
    let rejected = live.save(&live.code.replace("\", 2,", "\", 3,"));
    if !rejected.to_string().contains("No space left on device") {
        live.session.wait_until_said("No space left on device");
    }
    assert_eq!(reason(&rejected), "the edit does not compile", "{rejected}");
    assert_eq!(live.ask("abc"), "2 3");
    tiny.free();
    live.edit("\", 3,", "\", 4,");
    assert_eq!(live.ask("abc"), "4 3");
    live.edit("\", 4,", "\", 5,");
    assert_eq!(live.ask("abc"), "5 3");
    drop(live);
}

#[test]
fn events_that_cannot_be_written_hold_nothing_up() {
    let project = package(CODE);
    let said = std::fs::File::create(project.file("said")).unwrap();
    let mut command = command(&project, &["run", "--events", "/dev/full"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let wait_until_said = |what: &str| {
        let since = Instant::now();
        while !std::fs::read_to_string(project.file("said")).unwrap().contains(what) {
            assert!(since.elapsed() < Duration::from_secs(60), "not said: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_until_said("events are not written any more: No space left on device");
    wait_until_said("saved edits go live");
    project.write("src/code.rs", &CODE.replace("\", 1,", "\", 2,"));
    wait_until_said("patched #1 app::code::answer");
    assert!(livepatch(&project, &["stop"]).status.success());
    assert!(child.wait().unwrap().success());
}
