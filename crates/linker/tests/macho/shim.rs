//! What code for macOS expects of `libSystem`, as such code finds it: compiled for that system's headers' numbers and
//! layouts, which are written out here.

use crate::build::{Folder, builder, call_named, load};
use crate::cases::{Case, cases};
use livepatch_linker::macho::Mode;
use livepatch_linker::trace::{Detail, Trace};
use livepatch_linker::{Precedence, Trap};
use std::sync::Arc;

pub(crate) const CASES: &[Case] = cases![
    shim::mutexes_by_their_signatures,
    shim::conditions_and_once,
    shim::error_numbers,
    shim::files,
    shim::memory,
    shim::numbers_of_the_system,
    shim::character_classes,
    shim::locks_and_once,
    shim::signals,
    shim::sorting_with_a_context,
    shim::streams,
    shim::dlopen_and_dlsym,
    shim::destructors_of_thread_locals,
    shim::refused_by_name,
];

#[track_caller]
fn run(source: &str) -> i64 {
    let folder = Folder::new();
    let (library, _) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Lazy);
    call_named(&library, "run")
}

const THREADS: &str = "typedef struct { long sig; char opaque[56]; } mutex; typedef struct { long sig; char opaque[40]; } cond;
    typedef struct { long sig; char opaque[8]; } once;
    int pthread_mutex_lock(mutex *); int pthread_mutex_unlock(mutex *); int pthread_mutex_trylock(mutex *);
    int pthread_cond_wait(cond *, mutex *); int pthread_cond_signal(cond *); int pthread_once(once *, void (*)(void));
    int pthread_create(unsigned long *, void *, void *(*)(void *), void *); int pthread_join(unsigned long, void **);";

fn mutexes_by_their_signatures() {
    let source = format!(
        "{THREADS} static mutex plain = {{ 0x32AAABA7 }}, recursive = {{ 0x32AAABA2 }}, checking = {{ 0x32AAABA1 }};
        static long n; static void *add(void *x) {{ for (int i = 0; i < 20000; i++) {{ pthread_mutex_lock(&plain); n++; pthread_mutex_unlock(&plain); }} return 0; }}
        long run(void) {{ unsigned long t[4]; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, add, 0);
            for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
            int busy = pthread_mutex_lock(&plain) == 0 && pthread_mutex_trylock(&plain) == 16;
            int twice = pthread_mutex_lock(&recursive) == 0 && pthread_mutex_lock(&recursive) == 0
                && pthread_mutex_unlock(&recursive) == 0 && pthread_mutex_unlock(&recursive) == 0;
            /* EDEADLK is 11 there. */
            int checked = pthread_mutex_lock(&checking) == 0 && pthread_mutex_lock(&checking) == 11;
            return n * 1000 + busy + 10 * twice + 100 * checked; }}"
    );
    assert_eq!(run(&source), 80_000_111);
}

fn conditions_and_once() {
    let source = format!(
        "{THREADS} static mutex m = {{ 0x32AAABA7 }}; static cond c = {{ 0x3CB0B1BB }}; static once o = {{ 0x30B1BCBA }};
        static long ready, times; static void first(void) {{ times++; }}
        static void *wake(void *x) {{ pthread_mutex_lock(&m); ready = 7; pthread_cond_signal(&c); pthread_mutex_unlock(&m); return x; }}
        long run(void) {{ unsigned long t; pthread_once(&o, first); pthread_once(&o, first);
            pthread_mutex_lock(&m); pthread_create(&t, 0, wake, (void *)5); while (!ready) pthread_cond_wait(&c, &m);
            pthread_mutex_unlock(&m); void *r; pthread_join(t, &r); return times + ready * 10 + (long)r * 100; }}"
    );
    assert_eq!(run(&source), 571);
}

/// EAGAIN is 35 there, ENAMETOOLONG 63, ERANGE 34 in both.
fn error_numbers() {
    let source =
        "int *__error(void); long strtol(const char *, char **, int); int open(const char *, int, ...);
        long run(void) { static char name[400]; for (int i = 0; i < 399; i++) name[i] = 'a';
            *__error() = 0; open(name, 0); int first = *__error();
            *__error() = 0; strtol(\"99999999999999999999\", 0, 10); int second = *__error();
            *__error() = 0; strtol(\"9\", 0, 10); int third = *__error();
            *__error() = 0; strtol(\"99999999999999999999\", 0, 10); int fourth = *__error();
            return first + second * 100 + third * 10000 + fourth * 1000000; }";
    assert_eq!(run(source), 34_003_463);
}

/// O_CREAT 0x200, O_EXCL 0x800; `struct stat` with its size at 96 and its mode at 4.
fn files() {
    let folder = Folder::new();
    let file = folder.file("there").display().to_string();
    let source = format!(
        "int open(const char *, int, ...); int close(int); int fstat(int, void *) __asm(\"_fstat$INODE64\");
        int stat(const char *, void *) __asm(\"_stat$INODE64\"); long write_(int, const char *, long);
        int *__error(void);
        long run(void) {{ int f = open(\"{file}\", 0x200 | 0x800 | 2, 0640); if (f < 0) return -1;
            int again = open(\"{file}\", 0x200 | 0x800 | 2, 0640) == -1 && *__error() == 17;
            char s[144]; if (fstat(f, s)) return -2; close(f); unsigned short mode = *(unsigned short *)(s + 4);
            char e[144]; if (stat(\"/proc/self/exe\", e)) return -3; long size = *(long *)(e + 96);
            return again + (mode == 0100640) * 10 + (*(long *)(s + 96) == 0) * 100 + (size > 10000) * 1000
                + (*(unsigned short *)(s + 6) == 1) * 10000; }}"
    );
    // SAFETY: this process has one thread.
    unsafe { libc::umask(0o022) };
    let (library, _) = load(&folder.dylib("liba.dylib", &source, &[]), Mode::Lazy);
    assert_eq!(call_named(&library, "run"), 11_111);
}

fn memory() {
    let source = "void *mmap(void *, unsigned long, int, int, int, long); int munmap(void *, unsigned long);
        int memset_s(void *, unsigned long, int, unsigned long); void memset_pattern16(void *, const void *, unsigned long);
        long run(void) { char *p = mmap(0, 8192, 3, 0x1002, -1, 0); if (p == (char *)-1) return -1; p[8191] = 1;
            memset_pattern16(p, \"0123456789abcdef\", 40); int pattern = p[39] == '7' && p[40] == 0;
            int set = memset_s(p, 10, 'x', 10) == 0 && p[9] == 'x' && p[10] == 'a'; munmap(p, 8192); return pattern + 10 * set; }";
    assert_eq!(run(source), 11);
}

/// _SC_PAGESIZE is 29, _SC_NPROCESSORS_ONLN 58.
fn numbers_of_the_system() {
    let source = "long sysconf(int); int sysctlbyname(const char *, void *, unsigned long *, void *, unsigned long);
        unsigned long mach_absolute_time(void);
        long run(void) { int n = 0; unsigned long l = 4; if (sysctlbyname(\"hw.ncpu\", &n, &l, 0, 0)) return -1;
            unsigned long t = mach_absolute_time(); return sysconf(29) * 10 + (n == sysconf(58)) + 2 * (mach_absolute_time() >= t); }";
    assert_eq!(run(source), 40_963);
}

/// As the inline functions of that system's headers look them up.
fn character_classes() {
    let source = "struct { char magic[8]; char encoding[32]; void *f, *g; int invalid; unsigned types[256]; int lower[256]; } extern _DefaultRuneLocale;
        static int is(int c, unsigned long f) { return !!(_DefaultRuneLocale.types[c] & f); }
        long run(void) { return is('a', 0x100) + 10 * is('7', 0x400) + 100 * is(' ', 0x4000) + 1000 * !is('a', 0x8000)
            + 10000 * (_DefaultRuneLocale.lower['Q'] == 'q'); }";
    assert_eq!(run(source), 11_111);
}

fn locks_and_once() {
    let source = format!(
        "{THREADS} void os_unfair_lock_lock(unsigned *); void os_unfair_lock_unlock(unsigned *);
        void dispatch_once_f(long *, void *, void (*)(void *)); static unsigned l; static long n, predicate, times;
        static void first(void *x) {{ times += (long)x; }}
        static void *add(void *x) {{ for (int i = 0; i < 20000; i++) {{ os_unfair_lock_lock(&l); n++; os_unfair_lock_unlock(&l); }}
            dispatch_once_f(&predicate, (void *)3, first); return 0; }}
        long run(void) {{ unsigned long t[4]; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, add, 0);
            for (int i = 0; i < 4; i++) pthread_join(t[i], 0); return n * 10 + times; }}"
    );
    assert_eq!(run(&source), 800_003);
}

/// SIGUSR1 is 30 there; `struct sigaction` has the mask at 8 and the flags at 12.
fn signals() {
    let source = "int raise(int); int sigaction(int, const void *, void *); static long seen;
        static void handle(int n) { seen++; } struct action { void (*handler)(int); unsigned mask; int flags; };
        long run(void) { struct action a = { handle, 0, 2 }, old; if (sigaction(30, &a, 0)) return -1; raise(30);
            sigaction(30, 0, &old); return seen + 10 * (old.handler == handle) + 100 * (old.flags == 2); }";
    assert_eq!(run(source), 111);
}

fn sorting_with_a_context() {
    let source = "void qsort_r(void *, unsigned long, unsigned long, void *, int (*)(void *, const void *, const void *));
        static int down(void *x, const void *a, const void *b) { (*(int *)x)++; return *(int *)b - *(int *)a; }
        long run(void) { int a[4] = { 2, 4, 1, 3 }, n = 0; qsort_r(a, 4, 4, &n, down);
            return a[0] * 1000 + a[1] * 100 + a[2] * 10 + a[3] + (n > 0) * 10000; }";
    assert_eq!(run(source), 14_321);
}

/// `stderr` is a variable of another name, and a stream of the C library's.
fn streams() {
    let source = "extern void *__stderrp; int snprintf(char *, unsigned long, const char *, ...); unsigned long strlen(const char *);
        long run(void) { char t[40]; snprintf(t, 40, \"%d %.2f %s\", 12, 3.5, \"x\"); return strlen(t) + 100 * (__stderrp != 0); }";
    assert_eq!(run(source), 109);
}

/// RTLD_DEFAULT is -2 there.
fn dlopen_and_dlsym() {
    let folder = Folder::new();
    let other = folder.dylib("libb.dylib", "long answer(void) { return 42; }", &[]);
    let source = format!(
        "void *dlopen(const char *, int); void *dlsym(void *, const char *); int dlclose(void *); const char *dlerror(void);
        long run(void) {{ void *h = dlopen(\"{}\", 1); if (!h) return -1; long (*f)(void) = dlsym(h, \"answer\"); if (!f) return -2;
            long (*p)(void) = dlsym((void *)-2, \"getpid\"); long r = f();
            int missing = dlopen(\"@loader_path/no.dylib\", 2) == 0 && dlerror() != 0 && dlerror() == 0;
            return r + 1000 * (p != 0) + 10000 * missing + 100000 * (dlclose(h) == 0); }}",
        other.display()
    );
    let (library, trace) = load(&folder.dylib("liba.dylib", &source, &[]), Mode::Lazy);
    assert_eq!(call_named(&library, "run"), 111_042, "{trace}");
}

/// As C++ has them registered: they run at the thread's end, and their image stays for them.
fn destructors_of_thread_locals() {
    let folder = Folder::new();
    let source = "void _tlv_atexit(void (*)(void *), void *); static long seen; static __thread long own;
        static void end(void *x) { seen += *(long *)x; } long seen_so_far(void) { return seen; }
        long run(void) { own = 7; _tlv_atexit(end, &own); return 0; }";
    let (library, trace) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Lazy);
    let (run, seen) = (library.symbol("run").unwrap(), library.symbol("seen_so_far").unwrap());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(crate::build::call(run), 0));
        }
    });
    // A scope's end is that of its closures: threads may be at their own end still.
    let began = std::time::Instant::now();
    while crate::build::call(seen) != 21 && began.elapsed().as_secs() < 20 {
        std::thread::yield_now();
    }
    assert_eq!(crate::build::call(seen), 21);
    drop(library);
    assert_eq!(crate::build::call(seen), 21, "{trace}");
}

/// What means something else and is not imitated is not passed on: it is missing, or trapped.
fn refused_by_name() {
    let folder = Folder::new();
    let source = "int socket(int, int, int); long run(void) { return socket(30, 1, 0); }";
    let path = folder.dylib("liba.dylib", source, &[]);
    let trace = Trace::new(Detail::Phases);
    let error = builder(&trace).build().dlopen(&path, Mode::Now).unwrap_err();
    assert!(error.to_string().starts_with("Symbol not found: _socket"), "{error}");
    let trap = Arc::new(Trap::new());
    let given = Arc::clone(&trap);
    let linker = builder(&trace).provider(Precedence::Last, given).build();
    let _library = linker.dlopen(&path, Mode::Now).unwrap();
    assert_eq!(trap.asked(), ["_socket"]);
}
