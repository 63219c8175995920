//! The session: one loop that hears of everything, and decides.
//!
//! Threads wait (for files, processes, compilers, requests, signals) and send messages; only this
//! loop changes anything. `lifecycle` starts and ends the program, `edits` goes from a changed
//! file to a rebuild, `patching` from a rebuild to the processes, `parts` has one crate's go ahead of its
//! dependents, `libraries` looks after what they load
//! later, `crashes` tells how it went wrong, `attached` deals with a program that somebody else has started,
//! `dial` with processes that dial by themselves, `requests` serves people.

mod attached;
mod crashes;
mod dial;
mod edits;
mod libraries;
mod lifecycle;
mod parts;
mod patching;
mod requests;

use crate::agent;
use crate::arguments::{At, AttachArgs, MessageFormat, OnUnsound, RunArgs, Via};
use crate::captured_build::{Built, Recipe};
use crate::child::Handle;
use crate::contents::Contents;
use crate::control::{self, Answer, Request, Unanswered};
use crate::error::Failure;
use crate::events::EventFile;
use crate::keys::Keys;
use crate::lock::Lock;
use crate::patcher::Patcher;
use crate::private_dir::{PrivateDir, random_bytes};
use crate::processes::{self, News};
use crate::project::Project;
use crate::report::Reporter;
use crate::signals::{self, Received};
use crate::watch::Watcher;
use dial::Dial;
use livepatch_build::rebuild::{FirstPart, RebuildError, Rebuilder, Rebuilt};
use livepatch_proto::Token;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// Something that happened. The number tells which start of the program it is about.
enum Message {
    /// Paths that may have changed.
    Files(Vec<PathBuf>),
    /// A cargo was started.
    CargoRuns(Handle),
    /// Cargo has ended.
    Cargo(Result<Box<Built>, Failure>),
    /// The base build was read.
    Opened(u32, Result<Box<dyn Patcher>, String>),
    /// The edited crate's objects are out; its dependents are still being compiled.
    FirstPart(u32, FirstPart),
    /// A thin rebuild has ended.
    Rebuilt(u32, Box<Rebuilder>, Result<Rebuilt, RebuildError>),
    /// From the processes.
    News(News),
    /// A process whose connection ended should be gone by now.
    CheckGone(u32),
    /// The program was stopped when an edit was to go live.
    Stopped(u32),
    /// The agent should have called by now.
    Overdue(u32),
    /// The program should have ended by now.
    EndOverdue(u32),
    /// The program has ended; how is told to its parent only.
    Ended(u32, io::Result<Option<ExitStatus>>),
    /// Somebody asks.
    Request(Request, Sender<Answer>),
    /// A signal.
    Signal(Received),
    /// A key.
    Key(u8),
    /// The session ends, now that this is heard.
    End(Result<Ending, Failure>),
}

/// What the loop goes on with.
enum Next {
    Continue,
    End(Result<Ending, Failure>),
}

/// How the session ends.
enum Ending {
    /// As the program did.
    AsProgram(ExitStatus),
    /// As asked for.
    Asked,
}

struct Server {
    empty_stdin: bool,
    on_unsound: OnUnsound,
    via: Via,
    /// What loads patch libraries in processes, if not their own dynamic linker.
    linker: Option<PathBuf>,
    project: Arc<Project>,
    /// How the program is built; none where somebody else has started it.
    recipe: Option<Arc<Recipe>>,
    private: PrivateDir,
    token: Token,
    /// What is preloaded into the program; none where it dials by itself.
    agent: Option<PathBuf>,
    /// Where processes are heard that dial by themselves.
    dial: Option<dial::Dial>,
    reporter: Reporter,
    sender: Sender<Message>,
    watcher: Watcher,
    contents: Contents,
    /// The program that runs.
    run: Option<lifecycle::Run>,
    /// How often a program was started.
    starts: u32,
    /// Cargo at work.
    cargo: Option<lifecycle::CargoJob>,
    /// Why only cargo can go on, after it failed.
    needs_cargo: Option<String>,
    /// The build that takes over once the old program has ended.
    successor: Option<lifecycle::Successor>,
    /// Whether the session ends with the program, whatever its status.
    stopping: bool,
    signals: u32,
}

/// What a session is asked for.
struct Options<'a> {
    at: &'a At,
    events: Option<&'a Path>,
    message_format: MessageFormat,
    on_unsound: OnUnsound,
    via: Via,
    listen: Option<SocketAddr>,
    keys: bool,
}

/// `cargo livepatch run`.
pub fn run(arguments: &RunArgs) -> Result<ExitCode, Failure> {
    if arguments.listen.is_some() && arguments.via != Via::Library {
        return Err(Failure::Unsupported {
            what: "programs that dial take patch libraries only".into(),
            hint: "--listen goes with --via library".into(),
        });
    }
    let options = Options {
        at: &arguments.at,
        events: arguments.events.as_deref(),
        message_format: arguments.message_format,
        on_unsound: arguments.on_unsound,
        via: arguments.via,
        listen: arguments.listen,
        keys: arguments.keys,
    };
    let session = Session::open(&options, |project, private, reporter| {
        let recipe = Recipe::new(arguments, project, private)?;
        recipe.notes.iter().for_each(|note| reporter.note(note));
        Ok(Some(Arc::new(recipe)))
    })?;
    session.hold(|server| {
        server.begin_cargo(None, Vec::new());
        Ok(())
    })
}

/// `cargo livepatch attach`.
pub fn attach(arguments: &AttachArgs) -> Result<ExitCode, Failure> {
    let options = Options {
        at: &arguments.at,
        events: arguments.events.as_deref(),
        message_format: arguments.message_format,
        on_unsound: if arguments.force_unsound { OnUnsound::Force } else { OnUnsound::Refuse },
        via: Via::Image,
        listen: None,
        keys: arguments.keys,
    };
    let session = Session::open(&options, |_, _, _| Ok(None))?;
    session.hold(|server| server.attach_to(arguments.pid))
}

/// A server, and what ends with it.
struct Session {
    server: Server,
    messages: Receiver<Message>,
    unanswered: Unanswered,
    keys: Option<Keys>,
    _lock: Lock,
}

impl Session {
    /// Opens everything that people and processes come by. `recipe` says how the program is built, if this
    /// session builds it.
    fn open(
        options: &Options<'_>,
        recipe: impl FnOnce(&Project, &PrivateDir, &Reporter) -> Result<Option<Arc<Recipe>>, Failure>,
    ) -> Result<Self, Failure> {
        let (sender, messages) = mpsc::channel();
        signals::listen(forward(&sender, Message::Signal))
            .map_err(Failure::system("cannot listen to signals"))?;
        let project = Project::read(options.at)?;
        let lock = Lock::take(&project.folders)?;
        control::clean_up(&project.folders);
        let events = options.events.map(|path| EventFile::open(path).map_err(Failure::file("open", path)));
        let reporter = Reporter::new(options.message_format, events.transpose()?);
        let private = PrivateDir::create().map_err(Failure::system("cannot make a private folder"))?;
        let recipe = recipe(&project, &private, &reporter)?;
        let triple = recipe.as_ref().map_or(agent::OWN_TRIPLE, |recipe| &recipe.triple);
        let agent = match options.listen {
            Some(_) => None,
            None => Some(agent::place(&project, &private, triple, options.at, |text| reporter.note(text))?),
        };
        let linker = match options.via {
            Via::Linker if triple != agent::OWN_TRIPLE => {
                return Err(Failure::Unsupported {
                    what: format!("there is no dynamic linker of livepatch's own for {triple} here"),
                    hint: "--via library does the same with the target's".into(),
                });
            }
            Via::Linker => {
                let placed = agent::linker(&project.folders);
                Some(placed.map_err(Failure::system("cannot write the dynamic linker"))?)
            }
            Via::Image | Via::Library => None,
        };
        let token = Token(random_bytes().map_err(Failure::system("cannot read random bytes"))?);
        let socket = private.path().join(lifecycle::SOCKET);
        processes::listen(&socket, token, forward(&sender, Message::News))
            .map_err(Failure::file("listen at", &socket))?;
        let dial = options.listen.map(|address| {
            let heard = processes::listen_to_dialled(address, token, forward(&sender, Message::News));
            let heard = heard.map_err(Failure::system(format!("cannot listen at {address}")))?;
            Dial::at(heard, &token, &project.folders)
        });
        let dial = dial.transpose()?;
        dial.iter().for_each(|dial| dial.announce(&reporter));
        let asked = sender.clone();
        let unanswered = control::listen(&private, &project.folders, move |request, answer| {
            let _ = asked.send(Message::Request(request, answer));
        })?;
        let watcher = Watcher::new(forward(&sender, Message::Files))
            .map_err(|error| Failure::system("cannot watch files")(io::Error::other(error)))?;
        let keys = options.keys.then(|| Keys::listen(forward(&sender, Message::Key))).flatten();
        let server = Server {
            empty_stdin: keys.is_some(),
            on_unsound: options.on_unsound,
            via: options.via,
            linker,
            project: Arc::new(project),
            recipe,
            private,
            token,
            agent,
            dial,
            reporter,
            sender,
            watcher,
            contents: Contents::default(),
            run: None,
            starts: 0,
            cargo: None,
            needs_cargo: None,
            successor: None,
            stopping: false,
            signals: 0,
        };
        Ok(Self { server, messages, unanswered, keys, _lock: lock })
    }

    /// Begins, and serves until the session ends.
    fn hold(mut self, begin: impl FnOnce(&mut Server) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
        let folders = self.server.project.folders.clone();
        let ending = match begin(&mut self.server) {
            Ok(()) => self.server.serve(&self.messages),
            Err(failure) => Err(failure),
        };
        control::forget(&folders);
        drop(self.server);
        self.unanswered.wait();
        drop(self.keys);
        Ok(match ending? {
            Ending::AsProgram(status) => signals::end_as(status),
            Ending::Asked => ExitCode::SUCCESS,
        })
    }
}

fn forward<T, F: Fn(T) -> Message>(sender: &Sender<Message>, wrap: F) -> impl Fn(T) + use<T, F> {
    let sender = sender.clone();
    move |content| drop(sender.send(wrap(content)))
}

impl Server {
    fn serve(&mut self, messages: &Receiver<Message>) -> Result<Ending, Failure> {
        loop {
            // The server holds a sender: the channel never closes.
            let Ok(message) = messages.recv() else { return Ok(Ending::Asked) };
            match self.take(message) {
                Next::Continue => {}
                Next::End(ending) => return ending,
            }
        }
    }

    fn take(&mut self, message: Message) -> Next {
        match message {
            Message::Files(paths) => self.files_changed(&paths),
            Message::CargoRuns(handle) => self.cargo_runs(handle),
            Message::Cargo(result) => return self.cargo_ended(result),
            Message::Opened(start, result) => self.opened(start, result),
            Message::FirstPart(start, part) => self.first_part(start, &part),
            Message::Rebuilt(start, rebuilder, result) => self.rebuilt(start, *rebuilder, result),
            Message::News(news) => self.news(news),
            Message::CheckGone(pid) => self.check_gone(pid),
            Message::Stopped(start) => self.stopped(start),
            Message::Overdue(start) => self.agent_overdue(start),
            Message::EndOverdue(start) => self.end_overdue(start),
            Message::Ended(start, status) => return self.ended(start, status),
            Message::Request(request, answer) => self.request(request, answer),
            Message::Signal(received) => self.signal(received),
            Message::Key(key) => self.key(key),
            Message::End(ending) => return Next::End(ending),
        }
        Next::Continue
    }

    /// Ends the session, after what is being done.
    fn end(&self, ending: Result<Ending, Failure>) {
        let _ = self.sender.send(Message::End(ending));
    }

    /// Sends a message to the loop after a while.
    fn later(&self, after: std::time::Duration, message: Message) {
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let _ = sender.send(message);
        });
    }
}
