//! Patch libraries: shared objects that the dynamic linker puts where it likes.

use crate::plan::{PUSH_MOV, Plan, Symbols};
use crate::support::{Folder, Program, compile};
use livepatch_proto::{ApplyError, FromProcess, ImageSource, ToProcess};
use std::process::Command;

/// A library with a function that answers x + 4000, as bytes, and where its file has the function (`nm`).
fn library(folder: &Folder) -> Option<(Vec<u8>, u64)> {
    let (source, linked) = (folder.0.join("patch.c"), folder.0.join("patch.so"));
    std::fs::write(&source, "long patched(long x) { return x + 4000; }\n").expect("a source file");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-shared", "-fPIC", "-nostdlib", "-Wl,--build-id=none", "-o"]);
    compile(gcc.arg(&linked).arg(&source))?;
    let listed = Command::new("nm").arg(&linked).output().expect("nm comes with gcc's linker");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find(|line| line.ends_with(" patched")).expect("it is listed");
    let address = u64::from_str_radix(line.split(' ').next().unwrap_or_default(), 16).expect("an address");
    Some((std::fs::read(linked).expect("it was linked"), address))
}

/// Whether the kernel has an executable mapping there.
fn is_code(program: &Program, address: u64) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.server.hello.pid)).expect("it runs");
    maps.lines().any(|line| {
        let mut words = line.split([' ', '-']);
        let mut bound = || u64::from_str_radix(words.next().unwrap_or_default(), 16).expect("an address");
        let (start, end) = (bound(), bound());
        (start..end).contains(&address) && line.split(' ').nth(1).is_some_and(|how| how.contains('x'))
    })
}

#[test]
fn functions_are_redirected_into_a_library_wherever_it_came_to_be() {
    let Some(mut program) = Program::start() else { return };
    let folder = Folder::new();
    let Some((bytes, function)) = library(&folder) else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let load = || ToProcess::LoadLibrary { library: ImageSource::in_message(bytes.clone()) };

    let damaged = ToProcess::LoadLibrary { library: ImageSource::Bytes { bytes: bytes.clone(), hash: 1 } };
    let FromProcess::Failed { error: ApplyError::ImageRejected { .. } } = program.server.ask(&damaged) else {
        panic!("it was damaged")
    };

    // One that no patch comes of goes away again.
    let FromProcess::LibraryLoaded { bias, range, .. } = program.server.ask(&load()) else {
        panic!("it loads")
    };
    assert!(range.start.0 <= bias + function && bias + function < range.end.0);
    assert!(is_code(&program, bias + function));
    program.server.tell(&ToProcess::UnloadLibrary);
    program.server.ask(&ToProcess::FreeRanges);
    assert!(!is_code(&program, bias + function));

    let FromProcess::LibraryLoaded { bias, .. } = program.server.ask(&load()) else {
        panic!("it loads again")
    };
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, bias + function);
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask(&format!("call 0 {}", PUSH_MOV.name)), "4005");

    // Something leads to it now: it stays.
    program.server.tell(&ToProcess::UnloadLibrary);
    program.server.ask(&ToProcess::FreeRanges);
    assert_eq!(program.ask(&format!("call 0 {}", PUSH_MOV.name)), "4005");
    assert!(program.finish().success());
}
