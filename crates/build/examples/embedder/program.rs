//! A process that has dialled, and the patches that it lacks: its addresses are its own.

use crate::Result;
use livepatch_build::library::{WholeLinked, WholePatch, WholeProcess, WholeProgram};
use livepatch_proto::frame::{self, FrameError};
use livepatch_proto::{ApplyError, FromProcess, Hello, ToProcess};
use std::net::TcpStream;
use std::time::Instant;

pub(crate) struct Program {
    pub(crate) pid: u32,
    stream: TcpStream,
    process: WholeProcess,
}

impl Program {
    /// A process that said hello; of the patches of `history`, it has those up to the one that it said.
    pub(crate) fn new(
        stream: TcpStream,
        hello: &Hello,
        program: &WholeProgram,
        history: &[WholePatch],
    ) -> Result<Self> {
        let mut process = program.process(hello)?;
        // Works out where the functions are of what it has.
        for patch in history.iter().take_while(|patch| patch.number <= hello.current) {
            process = process.link(program, patch)?.process;
        }
        Ok(Self { pid: hello.pid, stream, process })
    }

    /// Gives the process what it lacks, in order. Returns what was done, in words.
    pub(crate) fn bring_up_to_date(
        &mut self,
        program: &WholeProgram,
        history: &[WholePatch],
    ) -> Result<Vec<String>> {
        let lacks = history.iter().filter(|patch| patch.number > self.process.current());
        let mut said = Vec::new();
        for patch in lacks.collect::<Vec<_>>() {
            let began = Instant::now();
            let linked = self.process.link(program, patch)?;
            let report = report(&linked);
            let made = began.elapsed();
            let took = self.send(linked)??;
            said.push(format!(
                "patch {} is live in process {} in {:.1} ms: {report}; made in {:.0} ms",
                patch.number,
                self.pid,
                took as f64 / 1e6,
                made.as_secs_f64() * 1e3
            ));
        }
        Ok(said)
    }

    /// Sends a patch and waits until it is live; how long that took the process, in nanoseconds.
    fn send(
        &mut self,
        linked: WholeLinked,
    ) -> std::result::Result<std::result::Result<u64, ApplyError>, FrameError> {
        frame::send(&mut self.stream, &ToProcess::ApplyLibrary { patch: linked.patch })?;
        loop {
            match frame::receive(&mut self.stream, frame::MAX_PAYLOAD)? {
                FromProcess::Applied { times, .. } => {
                    self.process = linked.process;
                    return Ok(Ok(times.total));
                }
                FromProcess::Failed { error } => return Ok(Err(error)),
                FromProcess::Log { text, .. } => eprintln!("program: {text}"),
                _ => return Err(FrameError::Closed),
            }
        }
    }
}

fn report(linked: &WholeLinked) -> String {
    let WholeLinked { jumps, stubs, kept, fresh, .. } = linked;
    for (name, why) in fresh {
        eprintln!("embedder: `{name}` begins anew: {why}");
    }
    format!(
        "{} functions redirected, {} new, {} ambiguous; {} stubs, {kept} variables kept",
        jumps.redirected.len(),
        jumps.added.len(),
        jumps.ambiguous.len(),
        stubs.entries().len()
    )
}
