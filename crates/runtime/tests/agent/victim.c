// A program to be patched. Does what it is told on stdin, one command per line, and says one line (or
// more, ended by ".") for each on stdout. Knows nothing of livepatch.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// How many copies of each function there are, and what lies between them.
#ifndef COPIES
#define COPIES 512
#endif
#ifndef GAP
#define GAP 0
#endif
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
// Copies of a function of at most 64 bytes, `lead` bytes behind an aligned address.
#define MANY(name, lead, body)                                                                        \
  asm(".text\n.balign 64\n.globl " #name "\n" #name ":\n.rept " TEXT(COPIES) "\n.fill " #lead ", 1, 0xcc\n" body  \
      "\n.balign 64, 0xcc\n.fill " TEXT(GAP) ", 1, 0xcc\n.balign 64, 0xcc\n.endr\n");                      \
  extern char name[];

// Each returns its argument + 1000; how the first five bytes divide differs.
#define PUSH_MOV                                                                                \
  "push %rbp; mov %rsp,%rbp; sub $0x20,%rsp; mov %rdi,-8(%rbp); mov -8(%rbp),%rax; add $1000,%rax; leave; ret"
MANY(push_mov, 0, PUSH_MOV)
MANY(sub_rsp, 0, "sub $0x18,%rsp; mov %rdi,(%rsp); mov (%rsp),%rax; add $1000,%rax; add $0x18,%rsp; ret")
MANY(five, 0, "mov $1000,%eax; add %rdi,%rax; ret")
MANY(pushes, 0, "push %rbp; push %r15; push %r14; push %rbx; lea 1000(%rdi),%rax; pop %rbx; pop %r14; pop %r15; pop %rbp; ret")
MANY(straddle, 6, PUSH_MOV)
// Slow where the others are fast: threads are nearly always at one of the first boundaries.
#define SLOW "pause; pause; pause; lea 1000(%rdi),%rax; ret"
MANY(slow, 0, SLOW)
MANY(slow_straddle, 6, SLOW)
// Shorter than a jump. Returns 0.
MANY(three, 0, "xor %eax,%eax; ret")
// Loop to their first instruction. Return their second argument + 1000, after as many rounds as the first
// says; the new bodies add the first. So whoever comes to a new body out of a loop returns too little.
#define REL32 ".byte 0x0f, 0x85; .long 1b-.-4"
MANY(loop8, 0, "1: pause; dec %rdi; jnz 1b; lea 1000(%rsi),%rax; ret")
MANY(loop8_straddle, 6, "1: pause; dec %rdi; jnz 1b; lea 1000(%rsi),%rax; ret")
MANY(loop32, 0, "1: pause; dec %rdi; " REL32 "; lea 1000(%rsi),%rax; ret")
MANY(tight8, 0, "1: dec %rdi; jnz 1b; lea 1000(%rsi),%rax; ret")
MANY(tight32, 0, "1: dec %rdi; " REL32 "; lea 1000(%rsi),%rax; ret")
// A function right behind a system call: who waits there stands at its entry. Argument + 1000.
asm(".text\n.balign 64\nsleeps: mov $35,%eax; xor %esi,%esi; syscall\n"
    ".globl rest\nrest: mov $1000,%eax; add %rdi,%rax; ret\n");
extern char sleeps[], rest[];
// Returns into its own first five bytes.
asm(".text\n.balign 64\n.globl calls\ncalls: call *%rsi; add $1000,%rax; ret\n"
    ".balign 64\n.globl waits\nwaits: lock incl waiting(%rip)\n1: pause; cmpl $0,gate(%rip); je 1b; mov %rdi,%rax; ret\n"
    ".balign 64\n.globl body2\nbody2: lea 2000(%rdi),%rax; ret\n"
    ".balign 64\n.globl body3\nbody3: lea 3000(%rdi),%rax; ret\n"
    ".balign 64\n.globl loop2\nloop2: lea 2000(%rdi,%rsi),%rax; ret\n"
    ".balign 64\n.globl loop3\nloop3: lea 3000(%rdi,%rsi),%rax; ret\n");
extern char calls[], waits[], body2[], body3[], loop2[], loop3[];
volatile int gate, waiting;

static const struct { const char *name; char *start; int lead; } functions[] = {
    {"push_mov", push_mov, 0}, {"sub_rsp", sub_rsp, 0}, {"five", five, 0},   {"pushes", pushes, 0},
    {"straddle", straddle, 6}, {"slow", slow, 0},       {"three", three, 0}, {"slow_straddle", slow_straddle, 6},
    {"calls", calls, 0},       {"body2", body2, 0},     {"body3", body3, 0}, {"loop2", loop2, 0},
    {"loop3", loop3, 0},       {"loop8", loop8, 0},     {"loop32", loop32, 0}, {"loop8_straddle", loop8_straddle, 6},
    {"rest", rest, 0},         {"tight8", tight8, 0},     {"tight32", tight32, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };
// What a copy takes: the body padded to 64 bytes, and the gap.
static long stride(void) { return 64 + (GAP + 63) / 64 * 64; }

typedef long (*function)(long, void *);
static function find(const char *name, long copy) {
  for (int i = 0; i < FUNCTIONS; i++)
    if (!strcmp(functions[i].name, name)) return (function)(functions[i].start + functions[i].lead + copy * stride());
  return 0;
}

static _Atomic(function) hot;
static _Atomic int stop;
static _Atomic long calls_made, wrong;
static pthread_t callers[64];
static int caller_count;

static void *caller(void *start) {
  long x = (long)start * 100000000, n = 0;
  for (; !stop; x++, n++) {
    long r = hot(x, 0), d = r - x;
    if (r != 0 && d != 1000 && d != 2000 && d != 3000 && d != 4000) wrong++;
  }
  calls_made += n;
  return 0;
}

enum { ROUNDS = 2000 };
static void *looper(void *start) {
  long x = (long)start * 100000000, n = 0;
  for (; !stop; x++, n++) {
    long d = hot(ROUNDS, (void *)x) - x;
    if (d != 1000 && d != 2000 + ROUNDS && d != 3000 + ROUNDS) wrong++;
  }
  calls_made += n;
  return 0;
}

static _Atomic int handled, handled_code;
static void on_signal(int s, siginfo_t *info, void *context) { (void)context; handled += s; handled_code = info->si_code; }
static void on_plain(int s) { handled += s; }

static _Atomic long interrupted, woken;
static int pipe_fds[2], epoll_fd;
static void *sleeper(void *kind) {
  while (!stop) {
    struct timespec nap = {0, 50000000};
    struct epoll_event event;
    char byte;
    long r = kind == (void *)0 ? nanosleep(&nap, 0) : kind == (void *)1 ? epoll_wait(epoll_fd, &event, 1, -1) : read(pipe_fds[0], &byte, 1);
    if (r < 0 && errno == EINTR) interrupted++;
    woken++;
  }
  return 0;
}

static long read_tls(long offset) { return *(long *)((char *)__builtin_thread_pointer() + offset); }
static void *read_tls_in_thread(void *offset) { return (void *)read_tls((long)offset); }
static void *call_calls(void *x) { return (void *)((function)calls)((long)x, waits); }

static char name[64];
static long number;
static pthread_t held;

static void start_with(void *(*work)(void *)) {
  stop = 0;
  calls_made = wrong = 0;
  for (caller_count = 0; caller_count < number; caller_count++)
    pthread_create(&callers[caller_count], 0, work, (void *)(long)(caller_count + 1));
  printf("started\n");
}
static void start(void) { start_with(caller); }
static void start_loops(void) { start_with(looper); }
static void finish(void) {
  stop = 1;
  for (int i = 0; i < caller_count; i++) pthread_join(callers[i], 0);
  printf("%ld calls %ld wrong\n", calls_made, wrong);
}
static void on_nap(int s) {
  (void)s;
  struct timespec nap = {0, 2000000};
  nanosleep(&nap, 0);
}
// Has every caller stop where it is for a moment.
static void take_naps(void) {
  signal(SIGUSR2, on_nap);
  for (int i = 0; i < caller_count; i++) pthread_kill(callers[i], SIGUSR2);
  usleep(300);
  printf("napping\n");
}
static void set_hot(void) { hot = find(name, number); printf("hot\n"); }
static void call(void) { printf("%ld\n", find(name, number)(5, 0)); }
static void addresses(void) {
  for (int i = 0; i < FUNCTIONS; i++) {
    unsigned char *p = (unsigned char *)functions[i].start + functions[i].lead;
    printf("%s %p ", functions[i].name, (void *)p);
    for (int k = 0; k < 24; k++) printf("%02x", p[k]);
    printf("\n");
  }
  printf(".\n");
}
static void symbol(void) { printf("%p\n", dlsym(RTLD_DEFAULT, name)); }
static void code(void) { unsigned char *p = (void *)find(name, number); for (int k = 0; k < 24; k++) printf("%02x", p[k]); printf("\n"); }
static void mappings(void) { FILE *f = fopen("/proc/self/maps", "r"); char line[512]; int n = 0; while (fgets(line, sizeof line, f)) n++; fclose(f); printf("%d\n", n); }
static void environment(void) { fflush(stdout); if (system("env") == -1) printf("system failed\n"); printf(".\n"); }
static void hold(void) { pthread_create(&held, 0, call_calls, (void *)7); while (!waiting) usleep(100); printf("held\n"); }
static void release(void) { void *r; gate = 1; pthread_join(held, &r); printf("%ld\n", (long)r); }

static void *sleep_at_rest(void *milliseconds) {
  struct timespec nap = {(long)milliseconds / 1000, (long)milliseconds % 1000 * 1000000};
  return (void *)(((function)sleeps)((long)&nap, 0) - (long)&nap);
}
static void go_to_rest(void) { pthread_create(&held, 0, sleep_at_rest, (void *)number); usleep(20000); printf("resting\n"); }
static void wake_up(void) { void *r; pthread_join(held, &r); printf("%ld\n", (long)r); }

static void install(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, old, now;
  sigaction(number, &action, &old);
  sigaction(number, 0, &now);
  printf("%s %s\n", old.sa_handler == SIG_DFL ? "default" : "other", now.sa_sigaction == on_signal && now.sa_flags & SA_SIGINFO ? "mine" : "not mine");
}
static void install_plain(void) {
  void *old = signal(number, on_plain), *again = signal(number, on_plain);
  printf("%s %s\n", old == SIG_DFL ? "default" : old == (void *)on_signal ? "handler" : "other", again == (void *)on_plain ? "mine" : "not mine");
}
static void install_once(void) { struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESETHAND}; printf("%d\n", sigaction(number, &action, 0)); }
static void ignore(void) { signal(number, SIG_IGN); printf("ignored\n"); }
static void raise_it(void) { handled = 0; raise(number); printf("%d %d\n", handled, handled_code); }
static void breakpoint(void) { handled = 0; asm volatile("int3"); printf("%d %d\n", handled, handled_code); }
static void illegal(void) { asm volatile("ud2"); printf("survived\n"); }
static void block(void) {
  sigset_t all, old;
  sigfillset(&all);
  number ? sigprocmask(SIG_SETMASK, &all, 0) : pthread_sigmask(SIG_BLOCK, &all, 0);
  pthread_sigmask(SIG_BLOCK, 0, &old);
  printf("%d %d %d\n", sigismember(&old, SIGTRAP), sigismember(&old, SIGILL), sigismember(&old, SIGUSR1));
}
static void install_raw(void) {
  struct { void *handler; long flags; void *restorer; long mask; } action = {on_plain, 0, 0, 0}, old;
  syscall(13, number, 0L, &old, 8L);
  action.flags = old.flags & 0x04000000;
  action.restorer = old.restorer;
  printf("%ld\n", syscall(13, number, &action, 0L, 8L));
}
static void unblock(void) { sigset_t none; sigemptyset(&none); pthread_sigmask(SIG_SETMASK, &none, 0); printf("unblocked\n"); }
// Past every function that could be interposed.
static void block_raw(void) { long set = 1L << (SIGTRAP - 1); printf("%ld\n", syscall(14, SIG_BLOCK, &set, 0L, 8L)); }

// Loads a library and calls a function of it, as somebody else has this program do.
static void load(void) { printf("%s\n", dlopen(getenv("LATE_AGENT"), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) ? "loaded" : dlerror()); }
static void attach(void) {
  int (*entry)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_DEFAULT, "livepatch_attach_1");
  printf("%d\n", entry ? entry(getenv("LATE_SOCKET"), number ? "nonsense" : getenv("LATE_TOKEN")) : -1);
}

static void fork_it(void) {
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    usleep(number * 1000);
    printf("%d %ld\n", getpid(), find(name, 0)(5, 0));
    fflush(stdout);
    _exit(0);
  }
  printf("%d\n", child);
}
static void fork_exec(void) {
  fflush(stdout);
  pid_t child = fork();
  if (!child) { execlp("sleep", "sleep", "0.3", (char *)0); _exit(1); }
  int status;
  waitpid(child, &status, 0);
  printf("%d\n", status);
}
static void reap(void) { int status; printf("%d\n", waitpid(-1, &status, 0) > 0 ? status : -1); }
static void forks(void) {
  int bad = 0;
  for (long i = 0; i < number; i++) {
    pid_t child = fork();
    if (!child) _exit(find(name, 0)(5, 0) - 5 >= 1000 ? 0 : 1);
    int status;
    if (waitpid(child, &status, 0) != child || status) bad++;
  }
  printf("%d\n", bad);
}
static void tls(void) { printf("%ld\n", read_tls(number)); }
static void tls_new(void) { void *r; pthread_t t; pthread_create(&t, 0, read_tls_in_thread, (void *)number); pthread_join(t, &r); printf("%ld\n", (long)r); }
static void sleepers(void) {
  stop = 0;
  if (pipe(pipe_fds)) printf("no pipe\n");
  epoll_fd = epoll_create1(0);
  for (caller_count = 0; caller_count < 6; caller_count++)
    pthread_create(&callers[caller_count], 0, sleeper, (void *)(long)(caller_count % 3));
  usleep(30000);
  printf("asleep\n");
}
static void wake_count(void) { printf("%ld interrupted\n", interrupted); }
static void close_all(void) { for (int fd = 3; fd < 1024; fd++) close(fd); printf("closed\n"); }

static const struct { const char *name; void (*run)(void); } commands[] = {
    {"go_to_rest", go_to_rest}, {"wake_up", wake_up}, {"start", start}, {"start_loops", start_loops}, {"finish", finish}, {"hot", set_hot}, {"nap", take_naps}, {"call", call}, {"addresses", addresses}, {"symbol", symbol},
    {"code", code}, {"mappings", mappings}, {"environment", environment}, {"hold", hold}, {"release", release}, {"install", install},
    {"install_plain", install_plain}, {"install_once", install_once}, {"ignore", ignore}, {"raise", raise_it}, {"breakpoint", breakpoint},
    {"illegal", illegal}, {"block", block}, {"unblock", unblock}, {"block_raw", block_raw}, {"install_raw", install_raw}, {"fork", fork_it},
    {"fork_exec", fork_exec}, {"reap", reap}, {"forks", forks}, {"tls", tls}, {"tls_new", tls_new}, {"sleepers", sleepers},
    {"wake_count", wake_count}, {"close_all", close_all}, {"load", load}, {"attach", attach},
};

int main(void) {
  char line[256], command[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    number = 0, *name = 0;
    // "command [number] [name]"
    sscanf(line, "%63s %ld %63s", command, &number, name);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++)
      if (!strcmp(commands[i].name, command)) commands[i].run();
  }
}
