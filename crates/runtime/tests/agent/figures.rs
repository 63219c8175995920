//! What patching costs, printed; asserted with room for busy machines.

use crate::plan::{FIVE, PUSH_MOV, Plan, SUB_RSP, Symbols};
use crate::support::{Program, agent, victim};

/// One thousand functions in one patch, each on a page of its own.
#[test]
fn a_thousand_functions_at_once() {
    let Some(victim) = victim(&["-DCOPIES=1000", "-DGAP=4096"]) else { return };
    let Some(mut program) = Program::start_with(&victim, |_| {}) else { return };
    let symbols = Symbols::of(&mut program);
    let mut redirect = |number, shape, copies| {
        program.server.look_again();
        let plan = Plan::new(shape, &symbols, &program.server, copies, 64 + 4096);
        let mut patch = program.server.patch(number);
        patch.island_pages.clone_from(&plan.pages);
        plan.add(&mut patch, 0..copies, symbols.address("body2"));
        program.server.apply(patch).expect("the patch applies")
    };
    let (first, one, many) = (redirect(1, FIVE, 1), redirect(2, SUB_RSP, 1), redirect(3, PUSH_MOV, 1000));
    assert_eq!(program.ask("call 999 push_mov"), "2005");
    println!("first: {first:?}\n1 function: {one:?}\n1,000 functions: {many:?}");
    assert!(one.total < 20_000_000 && many.total < 200_000_000);
    assert!(program.finish().success());
}

/// What a thread takes to be made and joined, with the agent and without: in turns, the least of each.
#[test]
fn threads() {
    const COST: &str = "cost 100";
    let Some(program) = crate::support::program("threads", &[]) else { return };
    let with =
        || Program::start_with(&program, |_| {}).and_then(|mut program| program.ask(COST).parse().ok());
    let without = || crate::support::ask_without_agent(&program, COST).parse::<u64>();
    let mut least = [u64::MAX; 2];
    for _ in 0..10 {
        least[0] = least[0].min(with().expect("a number"));
        least[1] = least[1].min(without().expect("a number"));
    }
    println!("a thread: {} ns with the agent, {} ns without", least[0], least[1]);
    assert!(least[0] < least[1] * 2, "{least:?}");
}

/// What the agent keeps in memory: its own mappings, what a thread more takes, its tables.
#[test]
fn memory() {
    let Some(victim) = victim(&[]) else { return };
    let Some(mut program) = Program::start() else { return };
    let file = std::fs::metadata(agent()).expect("the agent").len();
    let with = resident(program.child.id());
    let own = resident_of(program.child.id(), "liblivepatch");
    let mut child = std::process::Command::new(victim)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let without = resident(child.id());
    drop(child.stdin.take());
    drop(child.wait());
    let dirty = sum(&rollup(program.child.id()), &["Private_Dirty:"]);
    println!("file {file} B, of which {own} KiB are resident");
    println!("private memory: {with} KiB with the agent ({dirty} KiB written), {without} KiB without");
    assert!(with.saturating_sub(without) < 1024);

    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    // The allocator touches the whole of a thread's first arena (132 KiB) before it uses it again.
    let mut grown = Vec::new();
    for number in 2..=3001 {
        let mut patch = program.server.patch(number);
        patch.slots.push(plan.set(0, symbols.address(if number % 2 == 0 { "body3" } else { "body2" })));
        program.server.apply(patch).expect("the patch applies");
        if number % 1000 == 0 {
            // Written pages only: whether clean ones are shared depends on the tests beside this one.
            grown.push(sum(&rollup(program.child.id()), &["Private_Dirty:"]));
        }
    }
    println!("after 1,000, 2,000 and 3,000 patches of one slot: {grown:?} KiB");
    assert!(grown[2].saturating_sub(grown[1]) <= 16);
    assert!(program.finish().success());
}

/// Memory that is this process's alone, in KiB.
fn resident(process: u32) -> u64 {
    sum(&rollup(process), &["Private_Dirty:", "Private_Clean:"])
}

fn rollup(process: u32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("the program runs")
}

/// Resident memory of the mappings of a file, in KiB.
fn resident_of(process: u32, name: &str) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps")).expect("the program runs");
    let mut inside = false;
    let lines = maps.lines().filter(|line| {
        if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            inside = line.contains(name);
        }
        inside
    });
    sum(&lines.collect::<Vec<_>>().join("\n"), &["Rss:"])
}

fn sum(text: &str, fields: &[&str]) -> u64 {
    text.lines()
        .filter(|line| fields.iter().any(|field| line.starts_with(field)))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}
