//! What the agent says about its process, and what the process notices of the agent.

use crate::plan::{PUSH_MOV, Plan, Symbols, hex};
use crate::support::{Program, agent, compile, victim};
use livepatch_proto::{FromProcess, Origin, Redirection, ToProcess, WireAddress, WireRange};
use std::process::{Command, Stdio};

#[test]
fn the_hello_is_right() {
    let Some(program) = Program::start() else { return };
    let hello = &program.server.hello;
    assert_eq!(hello.pid, program.child.id());
    assert_eq!(hello.origin, Origin::Started);
    assert_eq!(hello.current, 0);
    assert_eq!(hello.page_size, 4096);
    assert_eq!(hello.redirection, Redirection::Entry);
    assert_eq!(hello.tls_reserve.map(|reserve| reserve.size), Some(4032));

    let maps = std::fs::read_to_string(format!("/proc/{}/maps", hello.pid)).expect("the program runs");
    let mappings: Vec<(u64, u64)> = maps
        .lines()
        .map(|line| line.split(' ').next().and_then(|range| range.split_once('-')).expect("a mapping"))
        .map(|(start, end)| (hex(start), hex(end)))
        .collect();
    let (start, _) = mappings[0];
    assert!(!hello.free_ranges.is_empty() && hello.free_ranges.len() <= 256);
    let near = |range: &WireRange, place: u64| {
        range.end.0.abs_diff(place) <= 1 << 31 && range.start.0.abs_diff(place) <= 1 << 31
    };
    for range in &hello.free_ranges {
        assert!(hello.modules.modules.iter().any(|module| near(range, module.range.start.0)), "{range:?}");
        // The heap may have grown since, which is why it has room; nothing else near the program changes.
        assert!(
            !near(range, start)
                || mappings.iter().all(|&(start, end)| end <= range.start.0 || range.end.0 <= start),
            "{range:?}\n{maps}"
        );
    }
    assert!(hello.free_ranges.iter().any(|range| near(range, start)), "{maps}");

    let elf = std::fs::read(victim(&[]).expect("compiled above")).expect("the program's file");
    let entry = u64::from_le_bytes(elf[24..32].try_into().expect("eight bytes"));
    assert_eq!(hello.aslr_reference.0, start + entry);
    let mut readelf = Command::new("readelf");
    let Ok(notes) = readelf.arg("-n").arg(victim(&[]).expect("compiled above")).output() else {
        eprintln!("skipped the build id: no readelf");
        return;
    };
    let notes = String::from_utf8_lossy(&notes.stdout).into_owned();
    assert!(notes.contains(&format!("Build ID: {}", hello.build_id)), "{notes}");
}

#[test]
fn children_see_a_clean_environment() {
    let Some(mut program) = Program::start() else { return };
    let environment = program.ask_lines("environment");
    assert!(environment.iter().any(|line| line.starts_with("PATH=")), "{environment:?}");
    // What these tests were started with, say to find an Android runtime, is the user's own.
    let own: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    let is_ours = |line: &&String| line.contains("LIVEPATCH") || line.contains("LD_PRELOAD");
    let ours: Vec<&String> = environment.iter().filter(is_ours).filter(|line| !own.contains(line)).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn the_users_own_preload_stays() {
    let Some(program) = victim(&[]) else { return };
    let own = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("own.so");
    let source = own.with_extension("c");
    std::fs::write(&source, "int own = 1;").expect("a source file");
    if compile(Command::new("gcc").args(["-shared", "-o"]).arg(&own).arg(&source)).is_none() {
        return;
    }
    let preload = format!("{}:{}", agent().display(), own.display());
    let program = Program::start_with(&program, |command| {
        command.env("LD_PRELOAD", preload);
    });
    let environment = program.expect("compiled above").ask_lines("environment");
    let kept = format!("LD_PRELOAD={}", own.display());
    assert!(environment.contains(&kept), "{environment:?}");
}

#[test]
fn uninvited_it_does_nothing() {
    let Some(program) = victim(&[]) else { return };
    let mut child = Command::new(program)
        .env("LD_PRELOAD", agent())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("the program runs").count();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the program runs");
    assert_eq!(threads, 1);
    assert!(status.lines().any(|line| line == "SigCgt:\t0000000000000000"), "{status}");
    drop(child.stdin.take());
    assert!(child.wait().expect("the program ends").success());
}

#[test]
fn symbols_are_where_the_program_finds_them() {
    let Some(mut program) = Program::start() else { return };
    let names = ["malloc", "memcpy", "pthread_create", "gettimeofday", "no_such_function", "errno"];
    let question = ToProcess::Resolve { names: names.map(str::to_owned).into(), within: None };
    let FromProcess::Resolved { addresses } = program.server.ask(&question) else { panic!("no answer") };
    for (name, address) in names.iter().zip(&addresses).take(4) {
        let expected = hex(&program.ask(&format!("symbol 0 {name}")));
        assert_eq!(*address, Some(WireAddress(expected)), "{name}");
    }
    assert_eq!(addresses[4..], [None, None]);
}

#[test]
fn the_program_goes_on_when_the_server_goes() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    program.server.hang_up();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(program.ask("call 0 push_mov"), "2005");
    assert!(program.finish().success());
}

/// What is no message, or none that is due, ends the conversation and nothing else.
#[test]
fn nonsense_ends_the_conversation_only() {
    let frame = |payload: &[u8]| [&(payload.len() as u32).to_le_bytes(), payload].concat();
    let endless = [0xff; 4].to_vec();
    // An unknown question, a list that is longer than its message, a second welcome, a goodbye.
    let cut = [3, 0xff, 0xff, 0xff, 0xff];
    for bytes in [endless, frame(&[]), frame(&[99]), frame(&cut), frame(&[1]), frame(&[7])] {
        let Some(mut program) = Program::start() else { return };
        program.server.send_raw(&bytes);
        assert!(program.server.is_over(), "{bytes:02x?}");
        assert_eq!(program.ask("call 0 push_mov"), "1005");
        let threads = std::fs::read_dir(format!("/proc/{}/task", program.child.id())).expect("it runs");
        assert!(threads.count() <= 2);
        assert!(program.finish().success());
    }
}

/// A program that closes every descriptor takes the agent's from it; the agent must not take one back.
#[test]
fn a_program_may_close_every_descriptor() {
    let Some(mut program) = Program::start() else { return };
    assert_eq!(program.ask("close_all"), "closed");
    program.server.hang_up();
    assert_eq!(program.ask("call 0 push_mov"), "1005");
    assert!(program.finish().success());
}

/// Patching sends no signals and stops nobody: no blocked system call returns early.
#[test]
fn no_system_call_is_interrupted() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 512, 64);
    assert_eq!(program.ask("sleepers"), "asleep");
    for number in 1..=1000 {
        let mut patch = program.server.patch(number);
        if number == 1 {
            patch.island_pages.clone_from(&plan.pages);
        }
        match u64::from(number - 1) {
            new if new < 512 => plan.add(&mut patch, new..new + 1, symbols.address("body2")),
            old => patch.slots.push(plan.set(old - 512, symbols.address("body3"))),
        }
        program.server.apply(patch).expect("the patch applies");
    }
    assert_eq!(program.ask("wake_count"), "0 interrupted");
    assert_eq!(program.ask("call 0 push_mov"), "3005");
    assert_eq!(program.ask("call 511 push_mov"), "2005");
}
