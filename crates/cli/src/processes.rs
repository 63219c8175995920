//! The processes that have called: who may, and talking to them.

mod stream;

use crate::crash::{self, Crashed};
use crate::patcher::{Ask, Modules};
use livepatch_build::library::LoadedLibrary;
use livepatch_proto::frame::{FrameError, MAX_FIRST_PAYLOAD, MAX_PAYLOAD, receive, send};
use livepatch_proto::{
    BuildId, Crash, FromProcess, Generation, Hello, ImageSource, LogLevel, ModuleKey, ToProcess, Token,
    WireAddress,
};
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::Stream;

/// How long a process may take to answer. It may be stopped, in a debugger say.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the threads that listen tell.
#[derive(Debug)]
pub enum News {
    /// A process was let in.
    Connected(Process, Box<Hello>),
    /// Somebody was not let in.
    Refused {
        /// Why.
        reason: String,
    },
    /// A process has something to say.
    Log {
        /// Which.
        pid: u32,
        /// How bad it is.
        level: LogLevel,
        /// What.
        text: String,
    },
    /// A process has loaded a library that is watched for, and waits.
    Loaded {
        /// Which.
        pid: u32,
        /// What to say when it may go on.
        ticket: u32,
    },
    /// A process is about to end by a signal.
    Crashed(Crashed),
    /// A connection has ended.
    Gone {
        /// Of which process.
        pid: u32,
        /// Which connection of it: a process that calls again is not gone.
        connection: u64,
    },
}

/// A process that was let in.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Tells its connections apart.
    pub connection: u64,
    stream: Stream,
    answers: Receiver<FromProcess>,
    /// What loads its patch libraries, if not its own dynamic linker.
    linker: Option<PathBuf>,
}

/// Listens at `path`; `news` is called from threads.
pub fn listen(path: &Path, token: Token, news: impl Fn(News) + Send + Sync + 'static) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let news = Arc::new(news);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let news = news.clone();
            std::thread::spawn(move || hear(Stream::Unix(stream), &token, None, &*news));
        }
    });
    Ok(())
}

/// The same over TCP, for processes that dial. Returns the address.
pub fn listen_to_dialled(
    address: SocketAddr,
    token: Token,
    news: impl Fn(News) + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let (news, ids) = (Arc::new(news), Arc::new(Ids::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (news, ids) = (news.clone(), ids.clone());
            // Answers are waited for. Where that fails they only come later.
            let _ = stream.set_nodelay(true);
            std::thread::spawn(move || hear(Stream::Tcp(stream), &token, Some(&ids), &*news));
        }
    });
    Ok(address)
}

/// Linux gives no process a higher id.
const HIGHEST_ID: u32 = 1 << 22;

/// The ids by which processes are known. Two machines may each have a process of the same id.
#[derive(Default)]
struct Ids(Mutex<BTreeSet<u32>>);

impl Ids {
    /// An id for a process that calls itself `own`: that one, or one that no process has.
    fn take(&self, own: u32) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut id = own;
        while !all.insert(id) {
            id = (id % HIGHEST_ID).wrapping_add(HIGHEST_ID + (id / HIGHEST_ID) * HIGHEST_ID);
        }
        id
    }

    fn give_back(&self, id: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

fn hear(stream: Stream, token: &Token, ids: Option<&Ids>, news: &dyn Fn(News)) {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    match greet(&stream, token) {
        Ok(Caller::Lives(mut hello)) => {
            hello.pid = ids.map_or(hello.pid, |ids| ids.take(hello.pid));
            let id = hello.pid;
            converse(stream, hello, number, news);
            ids.into_iter().for_each(|ids| ids.give_back(id));
        }
        // It ends once this is told and the stream is closed.
        Ok(Caller::Crashes(crash)) => news(News::Crashed(crash::look(&crash))),
        Err(reason) => news(News::Refused { reason }),
    }
}

/// Who calls.
enum Caller {
    Lives(Box<Hello>),
    Crashes(Crash),
}

/// Lets a process in, or tells it why not.
fn greet(stream: &Stream, token: &Token) -> Result<Caller, String> {
    let text = |error: &dyn std::error::Error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let peer = stream.peer()?;
    let timeouts =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    timeouts.map_err(|error| text(&error))?;
    let refuse = |reason: String| {
        let _ = send(&mut { stream }, &ToProcess::Refused { reason: reason.clone() });
        Err(format!("{peer}: {reason}"))
    };
    match receive(&mut { stream }, MAX_FIRST_PAYLOAD) {
        Ok(FromProcess::Hello { hello }) if hello.token.matches(token) => {
            send(&mut { stream }, &ToProcess::Welcome).map_err(|error| text(&error))?;
            stream.set_read_timeout(None).map_err(|error| text(&error))?;
            Ok(Caller::Lives(Box::new(hello)))
        }
        Ok(FromProcess::Crashed { crash }) if crash.token.matches(token) => Ok(Caller::Crashes(crash)),
        Ok(FromProcess::Hello { .. } | FromProcess::Crashed { .. }) => {
            refuse("it does not have this session's token".into())
        }
        Ok(_) => refuse("it did not say who it is".into()),
        Err(error @ FrameError::Decode(_)) => refuse(text(&error)),
        Err(error) => Err(format!("{peer}: {}", text(&error))),
    }
}

/// Passes on what a process says, until it is gone.
fn converse(stream: Stream, hello: Box<Hello>, connection: u64, news: &dyn Fn(News)) {
    let pid = hello.pid;
    let (answer, answers) = mpsc::channel();
    let Ok(writer) = stream.again() else { return };
    news(News::Connected(Process { pid, connection, stream: writer, answers, linker: None }, hello));
    read_all(&stream, pid, &answer, news);
    news(News::Gone { pid, connection });
}

fn read_all(mut stream: &Stream, pid: u32, answer: &Sender<FromProcess>, news: &dyn Fn(News)) {
    loop {
        match receive(&mut stream, MAX_PAYLOAD) {
            Ok(FromProcess::Log { level, text }) => news(News::Log { pid, level, text }),
            Ok(FromProcess::Loaded { ticket }) => news(News::Loaded { pid, ticket }),
            Ok(message) => {
                if answer.send(message).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

impl Process {
    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &ToProcess) -> Result<FromProcess, String> {
        send(&mut &self.stream, question).map_err(|error| error.to_string())?;
        self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                // A late answer would be taken for the answer to the next question.
                self.stream.shut_down();
                format!("process {} does not answer: is it stopped?", self.pid)
            }
            RecvTimeoutError::Disconnected => format!("process {} is gone", self.pid),
        })
    }

    /// Whether the process is stopped, by a signal or a debugger: it would not answer.
    pub fn is_stopped(&self) -> bool {
        is_stopped(self.pid)
    }

    /// Has it say when it has loaded one of these libraries.
    pub fn watch_for(&mut self, libraries: Vec<BuildId>) {
        // Where that fails, the process is gone.
        let _ = send(&mut &self.stream, &ToProcess::Watch { libraries });
    }

    /// Lets a thread go on that has loaded a library.
    pub fn proceed(&mut self, ticket: u32) {
        // Where that fails, the process is gone.
        let _ = send(&mut &self.stream, &ToProcess::Proceed { ticket });
    }

    /// Ends the connection, without a word: who dials by itself dials again.
    pub fn hang_up(self) {
        self.stream.shut_down();
    }

    /// From now on, has it load patch libraries through another dynamic linker.
    pub fn load_through(&mut self, linker: PathBuf) {
        self.linker = Some(linker);
    }

    /// Has it give up a patch library of which no patch came.
    pub fn unload(&mut self) {
        // Where that fails, the process is gone.
        let _ = send(&mut &self.stream, &ToProcess::UnloadLibrary);
    }

    /// Says goodbye.
    pub fn dismiss(self) {
        let _ = send(&mut &self.stream, &ToProcess::Goodbye);
    }
}

/// The agent's thread, by the name that it gives itself.
const AGENT_THREAD: &str = "livepatch";

/// A tracer stops threads for a moment at a time, so the agent's thread counts: it sleeps.
fn is_stopped(pid: u32) -> bool {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    if !is_task_stopped(&tasks.join(pid.to_string())) {
        return false;
    }
    let all = std::fs::read_dir(tasks).into_iter().flatten().flatten().map(|task| task.path());
    let is_agent = |task: &PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == AGENT_THREAD)
    };
    all.filter(is_agent).any(|task| is_task_stopped(&task))
}

/// proc(5): the state follows the name, which is in parentheses and may hold any.
fn is_task_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| matches!(rest.trim_start().as_bytes().first(), Some(b'T' | b't')))
}

impl Ask for Process {
    fn addresses(
        &mut self,
        within: Option<&ModuleKey>,
        names: &[String],
    ) -> Result<Vec<Option<WireAddress>>, String> {
        match self.ask(&ToProcess::Resolve { names: names.to_vec(), within: within.cloned() })? {
            FromProcess::Resolved { addresses } if addresses.len() == names.len() => Ok(addresses),
            other => Err(format!("process {} gave no addresses but {other:?}", self.pid)),
        }
    }

    fn modules(&mut self, known: Generation) -> Result<Option<Modules>, String> {
        match self.ask(&ToProcess::Modules { known })? {
            FromProcess::Modules { list, free_ranges } => Ok(list.map(|list| (list, free_ranges))),
            other => Err(format!("process {} did not say what it has loaded but {other:?}", self.pid)),
        }
    }

    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String> {
        let path = library.to_string_lossy().into_owned();
        let question = match &self.linker {
            Some(linker) => {
                let linker = linker.to_string_lossy().into_owned();
                ToProcess::LoadThroughLinker { linker, library: path }
            }
            None => ToProcess::LoadLibrary { library: ImageSource::Path { path, length } },
        };
        match self.ask(&question)? {
            FromProcess::LibraryLoaded { bias, range, free_ranges } => {
                Ok(LoadedLibrary { bias, range, free_ranges })
            }
            FromProcess::Failed { error } => Err(error.to_string()),
            other => Err(format!("process {} answered {other:?}", self.pid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_dir::PrivateDir;
    use livepatch_proto::{Arch, BuildId, ModuleList, Origin, Os, Redirection, Wire};
    use std::os::unix::net::UnixStream;

    fn hello(token: Token) -> Hello {
        Hello {
            token,
            build_id: BuildId(vec![1]),
            arch: Arch::X86_64,
            os: Os::LinuxGnu,
            pid: 42,
            origin: Origin::Started,
            page_size: 4096,
            aslr_reference: WireAddress(0),
            current: 0,
            redirection: Redirection::Entry,
            tls_reserve: None,
            free_ranges: Vec::new(),
            modules: ModuleList::default(),
        }
    }

    fn server(token: Token) -> (PrivateDir, UnixStream, Receiver<News>) {
        let dir = PrivateDir::create().unwrap();
        let path = dir.path().join("s");
        let (sender, news) = mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        listen(&path, token, move |item| drop(sender.lock().unwrap().send(item))).unwrap();
        let stream = UnixStream::connect(path).unwrap();
        (dir, stream, news)
    }

    #[test]
    fn who_has_the_token_is_let_in_and_asked() {
        let (_dir, mut stream, news) = server(Token([7; 32]));
        send(&mut stream, &FromProcess::Hello { hello: hello(Token([7; 32])) }).unwrap();
        assert_eq!(receive::<ToProcess>(&mut stream, MAX_PAYLOAD).unwrap(), ToProcess::Welcome);
        let Ok(News::Connected(mut process, hello)) = news.recv() else { panic!() };
        assert_eq!((process.pid, hello.build_id), (42, BuildId(vec![1])));
        let other_side = std::thread::spawn(move || {
            let question = receive::<ToProcess>(&mut stream, MAX_PAYLOAD).unwrap();
            assert_eq!(question, ToProcess::Resolve { names: vec!["a".into()], within: None });
            send(&mut stream, &FromProcess::Log { level: LogLevel::Info, text: "hm".into() }).unwrap();
            send(&mut stream, &FromProcess::Resolved { addresses: vec![Some(WireAddress(5))] }).unwrap();
        });
        assert_eq!(process.addresses(None, &["a".into()]).unwrap(), [Some(WireAddress(5))]);
        other_side.join().unwrap();
        assert!(matches!(news.recv(), Ok(News::Log { pid: 42, .. })));
        assert!(
            matches!(news.recv(), Ok(News::Gone { pid: 42, connection }) if connection == process.connection)
        );
    }

    #[test]
    fn every_process_has_an_id_of_its_own() {
        let ids = Ids::default();
        let taken = [ids.take(7), ids.take(7), ids.take(7), ids.take(8)];
        assert_eq!(taken, [7, 7 + HIGHEST_ID, 7 + 2 * HIGHEST_ID, 8]);
        ids.give_back(7);
        assert_eq!(ids.take(7), 7);
    }

    #[test]
    fn who_dials_is_let_in() {
        let (sender, news) = mpsc::channel();
        let sender = Mutex::new(sender);
        let news_to = move |item| drop(sender.lock().unwrap().send(item));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = listen_to_dialled(any, Token([7; 32]), news_to).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        send(&mut stream, &FromProcess::Hello { hello: hello(Token([7; 32])) }).unwrap();
        assert_eq!(receive::<ToProcess>(&mut stream, MAX_PAYLOAD).unwrap(), ToProcess::Welcome);
        assert!(matches!(news.recv(), Ok(News::Connected(Process { pid: 42, .. }, _))));
        let mut other = std::net::TcpStream::connect(address).unwrap();
        send(&mut other, &FromProcess::Hello { hello: hello(Token([8; 32])) }).unwrap();
        assert!(matches!(receive(&mut other, MAX_PAYLOAD), Ok(ToProcess::Refused { .. })));
    }

    #[test]
    fn strangers_are_refused_with_a_reason() {
        let (_dir, mut stream, news) = server(Token([7; 32]));
        send(&mut stream, &FromProcess::Hello { hello: hello(Token([8; 32])) }).unwrap();
        assert!(matches!(receive::<ToProcess>(&mut stream, MAX_PAYLOAD), Ok(ToProcess::Refused { .. })));
        assert!(matches!(news.recv(), Ok(News::Refused { reason }) if reason.contains("token")));
    }

    #[test]
    fn another_protocol_is_told_so() {
        let (_dir, mut stream, news) = server(Token([7; 32]));
        let mut payload = Vec::new();
        FromProcess::Hello { hello: hello(Token([7; 32])) }.put(&mut payload);
        payload[9] = 0xfe;
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        io::Write::write_all(&mut stream, &[&length[..], &payload].concat()).unwrap();
        let Ok(ToProcess::Refused { reason }) = receive(&mut stream, MAX_PAYLOAD) else { panic!() };
        assert!(reason.contains("protocol"), "{reason}");
        assert!(matches!(news.recv(), Ok(News::Refused { .. })));
    }
}
