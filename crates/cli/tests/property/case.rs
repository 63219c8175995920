//! One program, edited again and again while it runs.

use crate::edits::{self, Edit};
use crate::fresh::Fresh;
use crate::generate;
use crate::live::{Live, Talk, package_with};
use crate::program::Program;
use crate::project::{Project, manifest};
use crate::render;
use crate::session::livepatch;
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How a program is built: arguments, lines of the manifest, and whether there is debug information, without
/// which layouts are not looked at.
type Build = (&'static [&'static str], &'static str, bool);

const BUILDS: [Build; 5] = [
    (&[], "", true),
    (&[], "", true),
    (&[], "[profile.dev]\nopt-level = 1\n", true),
    (&["--release"], "", false),
    (&["--release"], "[profile.release]\ndebug = 2\n", true),
];

/// What has been done, for a failure's report.
#[derive(Default)]
pub(crate) struct Story {
    lines: RefCell<Vec<String>>,
    /// Sources before and after the last edit.
    sources: RefCell<[Vec<(&'static str, String)>; 2]>,
}

impl Story {
    fn line(&self, line: String) {
        self.lines.borrow_mut().push(line);
    }

    /// The process has other source from now on.
    fn sources(&self, files: Vec<(&'static str, String)>) {
        self.sources.borrow_mut().rotate_left(1);
        self.sources.borrow_mut()[1] = files;
    }

    /// All of it; the sources of files that the last edit changed are there twice.
    pub(crate) fn tell(&self) -> String {
        let mut text = self.lines.borrow().join("\n") + "\n";
        let [before, after] = &*self.sources.borrow();
        for (when, files, others) in [("before", before, after), ("after", after, before)] {
            for (path, source) in files {
                if when == "after" || !others.iter().any(|other| other == &(*path, source.clone())) {
                    write!(text, "──── {path}, {when}\n{source}").unwrap();
                }
            }
        }
        text
    }
}

struct Case<'a> {
    rng: Rng,
    story: &'a Story,
    live: Live,
    fresh: Fresh,
    /// The sources of each patch; the first is what the process was started with.
    patches: Vec<(u64, Program)>,
    /// Every source that was saved.
    saved: Vec<Program>,
    /// The last known value of every static, those of patches that were rolled back included.
    known: BTreeMap<String, String>,
    /// Objects and closures that are kept, as the process names them.
    kept: Vec<String>,
}

/// Runs the case of a seed. Panics with what is wrong; `story` has the rest.
pub(crate) fn run(seed: u64, edits: u32, layouts: bool, story: &Story) {
    let mut rng = Rng::with_seed(seed);
    let (arguments, profile, debug) = BUILDS[rng.usize(..BUILDS.len())];
    let mut program = generate::program(&mut rng);
    program.references = debug;
    story.line(format!("cargo livepatch run {} # {profile:?}", arguments.join(" ")));
    let project = project(profile);
    write(&project, &program);
    let live = Live::start_at(project, arguments, "Cargo.toml");
    let fresh = Fresh::new(self::project(profile), arguments);
    story.sources(render::files(&program));
    let mut case = Case {
        rng,
        story,
        live,
        fresh,
        patches: vec![(0, program.clone())],
        saved: vec![program.clone()],
        known: BTreeMap::new(),
        kept: Vec::new(),
    };
    case.look();
    case.compare(&program);
    for _ in 0..edits {
        match case.rng.u8(..10) {
            0 => case.roll_back(),
            1 => case.take_back(),
            _ => case.edit(layouts && debug),
        }
    }
}

fn project(profile: &str) -> Project {
    let more = "[workspace]\nmembers = ['base']\n[dependencies]\nbase = { path = 'base' }\n";
    let project = package_with(&format!("{more}{profile}"), "");
    project.write("base/Cargo.toml", &manifest("base", ""));
    project
}

fn write(project: &Project, program: &Program) {
    render::files(program).iter().for_each(|(path, text)| project.write(path, text));
}

impl Case<'_> {
    /// Notes the state of the process.
    fn look(&mut self) {
        let dump = self.live.ask("dump");
        let of_statics = |word: &&str| !word.starts_with("object=") && !word.starts_with("closure=");
        let (statics, kept): (Vec<&str>, Vec<&str>) = dump.split(' ').partition(of_statics);
        for (name, value) in statics.iter().filter_map(|word| word.split_once('=')) {
            self.known.insert(name.to_owned(), value.to_owned());
        }
        self.kept = kept.into_iter().map(str::to_owned).collect();
    }

    /// Whether a program knows the types of all objects that are kept, with these fields.
    fn knows(&self, program: &Program) -> bool {
        let objects = self.kept.iter().filter_map(|word| word.strip_prefix("object="));
        objects.filter_map(|word| word.split_once(':')).all(|(name, _)| {
            let newest = self.saved.last().and_then(|newest| newest.objects.iter().find(|o| o.name == name));
            let shape = |object: &crate::program::Object| (object.fields.clone(), object.twice.is_some());
            let here = program.objects.iter().find(|object| object.name == name);
            here.is_some() && here.map(shape) == newest.map(shape)
        })
    }

    fn edit(&mut self, layouts: bool) {
        let Some(mut program) = self.saved.last().cloned() else { return };
        let edit = edits::edit(&mut self.rng, &mut program, layouts);
        self.save(program, &edit);
    }

    /// Saves a source of before.
    fn take_back(&mut self) {
        let chosen = self.rng.usize(..self.saved.len());
        let program = self.saved[chosen].clone();
        if self.knows(&program) {
            self.save(program, &Edit { what: vec![format!("source {chosen} again")], restarts: false });
        }
    }

    fn roll_back(&mut self) {
        let chosen = self.rng.usize(..self.patches.len());
        let (number, program) = self.patches[chosen].clone();
        if chosen + 1 == self.patches.len() || !self.knows(&program) {
            return;
        }
        self.look();
        self.story.line(format!("back to patch {number}"));
        self.story.sources(render::files(&program));
        let output = livepatch(&self.live.project, &["rollback", "--to", &number.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.patches.truncate(chosen + 1);
        self.compare(&program);
    }

    fn save(&mut self, program: Program, edit: &Edit) {
        let Some(old) = self.saved.last() else { return };
        let (before, after) = (render::files(old), render::files(&program));
        if before == after {
            return;
        }
        self.look();
        self.story.line(format!("edit: {}", edit.what.join("; ")));
        self.story.sources(after.clone());
        self.saved.push(program.clone());
        let changed = after.iter().zip(&before).filter(|(new, old)| new != old);
        changed.for_each(|((path, text), _)| self.live.project.write_over(path, text));
        let pid = self.live.pid();
        let event = self.live.outcome();
        self.story.line(format!("    {event}"));
        let patch = event["patch"].as_u64();
        match (event["event"].as_str(), patch) {
            (Some("patched"), Some(number)) => self.patches.push((number, program.clone())),
            (Some("unchanged"), _) => {}
            (Some("restarted"), _) if edit.restarts => {
                self.live.hang_up();
                self.patches = vec![(0, program.clone())];
                self.known.clear();
                self.look();
            }
            _ => panic!("not live: {event}\n{}", self.live.report()),
        }
        assert_eq!(self.live.pid() == pid, event["event"] != "restarted");
        self.compare(&program);
    }

    /// Compares with a fresh build of the same source that has the same state.
    fn compare(&mut self, program: &Program) {
        let mut fresh = self.fresh.start(&render::files(program));
        let statics = self.known.iter().map(|(name, value)| format!("{name}={value}"));
        let state: Vec<String> = statics.chain(self.kept.iter().cloned()).collect();
        let ask = |fresh: &mut Talk, question: &str| fresh.ask(question).expect("the fresh build answers");
        ask(&mut fresh, &format!("load {}", state.join(" ")));
        let questions = (0..4).map(|n| format!("run {}", self.rng.u64(..) >> (21 * n)));
        for question in questions.chain(["dump".to_owned()]).collect::<Vec<_>>() {
            let (patched, expected) = (self.live.ask(&question), ask(&mut fresh, &question));
            if patched != expected {
                panic!(
                    "{question}: patched, then fresh:\n{patched}\n{expected}\nfrom {}\n{}",
                    state.join(" "),
                    self.live.report()
                );
            }
        }
    }
}
