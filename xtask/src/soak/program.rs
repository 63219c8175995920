//! The program that is patched: told what to do, asked what it does, and what it should have answered.

use super::pieces::Pieces;
use crate::live::Live;
use crate::memory;
use crate::run::{Result, write};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MANIFEST: &str = "[package]\nname = \"soak\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many closures the program keeps.
const KEPT: usize = 4;

/// How many patches' times are remembered.
const TIMES: usize = 100;

/// The running program.
pub(super) struct Program {
    live: Live,
    talk: BufReader<TcpStream>,
    folder: PathBuf,
    pid: u64,
    patches: u32,
    times: VecDeque<f64>,
    /// What its source says.
    source: Pieces,
    /// What is live, and what was before.
    now: Pieces,
    before: Pieces,
    /// Its state, as it should be.
    asked: u64,
    counts: HashMap<u64, u64>,
    closures: VecDeque<u64>,
    begun: Option<(u64, u64)>,
}

impl Program {
    /// Builds and starts it.
    pub(super) fn start(command: &Path, folder: &Path) -> Result<Self> {
        let source = Pieces::default();
        write(&folder.join("Cargo.toml"), MANIFEST)?;
        write(&folder.join("src/main.rs"), include_str!("../../fixtures/soak/main.rs"))?;
        write(&folder.join("src/code.rs"), &source.source())?;
        let folder = folder.canonicalize().map_err(|error| error.to_string())?;
        let mut live = Live::quiet(command, &folder, &["--quiet"])?;
        let pid = live.event("ready")?["pid"].as_u64().ok_or("no process id")?;
        let port = live.line()?.parse().map_err(|error| format!("the program's port: {error}"))?;
        let talk = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|talk| {
            talk.set_read_timeout(Some(PATIENCE))?;
            talk.set_nodelay(true)?;
            Ok(BufReader::new(talk))
        });
        let mut program = Self {
            live,
            talk: talk.map_err(|error| format!("the program: {error}"))?,
            folder,
            pid,
            patches: 0,
            times: VecDeque::new(),
            source,
            now: source,
            before: source,
            asked: 0,
            counts: HashMap::new(),
            closures: VecDeque::new(),
            begun: None,
        };
        program.check()?;
        Ok(program)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn pid(&self) -> u64 {
        self.pid
    }

    /// The process id of the command.
    pub(super) fn server(&self) -> u64 {
        u64::from(self.live.server())
    }

    /// How many patches have gone live.
    pub(super) fn patches(&self) -> u32 {
        self.patches
    }

    /// What its source says.
    pub(super) fn source(&self) -> Pieces {
        self.source
    }

    /// Resident bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        memory::resident(self.pid).map(|(all, _)| all).ok_or_else(|| "the program is gone".into())
    }

    /// What the newest patches took after rustc, in milliseconds.
    pub(super) fn newest_times(&self) -> Vec<f64> {
        self.times.iter().copied().collect()
    }

    /// Saves that source; it must go live.
    pub(super) fn edit(&mut self, pieces: Pieces) -> Result {
        let file = self.folder.join("src/code.rs");
        write(&file, &pieces.source())?;
        let event = self.live.event("patched")?;
        self.patches += 1;
        (self.before, self.now, self.source) = (self.now, pieces, pieces);
        let time = |phase: &str| event["ms"][phase].as_f64().unwrap_or(f64::NAN);
        self.times.push_back(["diff", "resolve", "write", "apply"].map(time).iter().sum());
        if self.times.len() > TIMES {
            self.times.pop_front();
        }
        Ok(())
    }

    /// Saves the source of before.
    pub(super) fn take_back(&mut self) -> Result {
        self.edit(self.before)
    }

    /// Goes back one patch; the source stays as it is.
    pub(super) fn roll_back(&mut self) -> Result {
        self.live.control(&["rollback"])?;
        let event = self.live.event("rolled_back")?;
        self.now = self.before;
        if event["to"] == Value::Null { Err(format!("{event}")) } else { Ok(()) }
    }

    /// Begins a future, and makes one that is not begun.
    pub(super) fn begin(&mut self) -> Result {
        self.expect("begin", "false")?;
        self.expect("hold", "")?;
        self.begun = Some((5, self.now.work_answer(5)));
        Ok(())
    }

    /// Finishes both: the one that was begun in the code it began with, the other in the new one.
    pub(super) fn finish(&mut self) -> Result {
        let (x, old) = self.begun.take().ok_or("nothing was begun")?;
        self.expect("finish", &old.to_string())?;
        self.expect("finish", &self.now.work_answer(x).to_string())
    }

    /// Asks for everything that it can tell.
    pub(super) fn check(&mut self) -> Result {
        let now = self.now;
        self.expect("body", &format!("{} {}", self.asked, now.body_answer()))?;
        self.expect("added", &now.added_answer().to_string())?;
        let count = self.counts.entry(now.count).or_insert(now.count);
        let answer = count.to_string();
        *count += 1;
        self.expect("count", &answer)?;
        self.expect("make", &now.closure_answer().to_string())?;
        self.closures.push_back(now.closure_answer());
        if self.closures.len() > KEPT {
            self.closures.pop_front();
        }
        let made = self.closures.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        self.expect("made", &made)?;
        self.expect("run", &now.work_answer(6).to_string())
    }

    fn expect(&mut self, question: &str, expected: &str) -> Result {
        self.asked += 1;
        let mut answer = String::new();
        let asked =
            writeln!(self.talk.get_mut(), "{question}").and_then(|()| self.talk.read_line(&mut answer));
        asked.map_err(|error| format!("{question}: {error}"))?;
        match answer.strip_suffix('\n') {
            Some(answer) if answer == expected => Ok(()),
            _ => Err(format!("{question}: {answer:?} instead of {expected:?}, with {:?} live", self.now)),
        }
    }

    /// Ends the session.
    pub(super) fn stop(self) -> Result {
        self.live.stop()
    }
}
