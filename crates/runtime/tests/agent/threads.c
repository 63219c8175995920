// A program full of threads, which looks at the thread-locals that patches bring. Commands as in victim.c.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static long number, base;
// What is said on stdout in one line.
#define SAY(...) (printf(__VA_ARGS__), printf("\n"))
static long at(long offset) { return *(volatile long *)((char *)__builtin_thread_pointer() + base + offset); }
static void set_base(void) { base = number; SAY("%ld", base); }
static void main_reads(void) { SAY("%ld", at(number)); }

// Threads that say what they see whenever they are asked.
enum { WORKERS = 6 };
static _Atomic int question, answers[WORKERS];
static _Atomic long seen[WORKERS];
static void answer_for(long i) {
  for (int last = 0; last >= 0; last = question < 0 ? -1 : last) {
    if (question != last && question > 0) seen[i] = at(number), answers[i] = last = question;
    usleep(200);
  }
  answers[i] = -1;
}
static void *worker(void *i) { answer_for((long)i); return i; }
static int c11_worker(void *i) { answer_for((long)i); return (int)(long)i + 70; }
typedef int (*creator)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
// The C library's own, past everything that stands in front of it.
static creator raw_create(void) { return (creator)dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), "pthread_create"); }

static pthread_t joinable[WORKERS], stranger_thread;
static thrd_t c11;
// Three to be joined, one detached, one of C11, one with the smallest stack.
static void workers(void) {
  pthread_attr_t detached, small;
  pthread_attr_init(&detached), pthread_attr_init(&small);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
  int failed = 0;
  for (long i = 0; i < 3; i++) failed |= pthread_create(&joinable[i], 0, worker, (void *)i);
  failed |= pthread_create(&joinable[3], &detached, worker, (void *)3);
  failed |= thrd_create(&c11, c11_worker, (void *)4);
  failed |= pthread_create(&joinable[5], &small, worker, (void *)5);
  SAY("%d", failed);
}
static void all_read(void) {
  int now = question > 0 ? question + 1 : 1;
  long values[WORKERS + 1] = {at(number)};
  question = now;
  for (int i = 0; i < WORKERS; i++) {
    while (answers[i] != now) usleep(100);
    values[i + 1] = seen[i];
  }
  for (int i = 0; i <= WORKERS; i++) printf("%ld ", values[i]);
  SAY("%s", "");
}
static void end_workers(void) {
  question = -1;
  void *r;
  int c = 0, good = 1;
  for (long i = 0; i < WORKERS; i++)
    if (i != 3 && i != 4) good &= !pthread_join(joinable[i], &r) && r == (void *)i;
  good &= thrd_join(c11, &c) == thrd_success && c == 74;
  while (answers[3] != -1) usleep(100);
  SAY("%s", good ? "good" : "bad");
}
static void new_reads(void) {
  void *r;
  pthread_t t;
  pthread_create(&t, 0, (void *(*)(void *))at, (void *)number);
  pthread_join(t, &r);
  SAY("%ld", (long)r);
}

static void *wait_for_ever(void *x) { for (;;) pause(); return x; }
static void stranger(void) { SAY("%d", raw_create()(&stranger_thread, 0, wait_for_ever, 0)); }
static void end_stranger(void) { pthread_cancel(stranger_thread); SAY("%d", pthread_join(stranger_thread, 0)); }
// A thread that ends past the C library: no destructor of it runs.
static void *leave_by_system_call(void *x) { syscall(SYS_exit, 0); return x; }
static void vanish(void) {
  for (int i = 0; i < 20; i++) {
    pthread_t t;
    pthread_attr_t large;
    pthread_attr_init(&large), pthread_attr_setstacksize(&large, 60 << 20);  // Too large to be kept.
    pthread_create(&t, &large, leave_by_system_call, 0);
    pthread_join(t, 0);
  }
  SAY("vanished");
}

// A thread that stays in its destructors' `number`th round.
static pthread_key_t linger_key;
static _Atomic int lingering, go_on;
static pthread_t lingerer;
static long last_seen;
static void stay_a_while(void *rounds_left) {
  if ((long)rounds_left > 1) { pthread_setspecific(linger_key, (char *)rounds_left - 1); return; }
  lingering = 1;
  while (!go_on) usleep(100);
  last_seen = at(number);
}
static void *end_slowly(void *rounds_left) { pthread_setspecific(linger_key, rounds_left); return 0; }
static void linger(void) {
  static int once;
  if (!once++) pthread_key_create(&linger_key, stay_a_while);
  lingering = go_on = 0;
  pthread_create(&lingerer, 0, end_slowly, (void *)number);
  while (!lingering) usleep(100);
  SAY("lingering");
}
static void linger_reads(void) { go_on = 1; pthread_join(lingerer, 0); SAY("%ld", last_seen); }

static long threads_now(void) {
  struct stat tasks;
  return stat("/proc/self/task", &tasks) ? 1 : (long)tasks.st_nlink - 2;
}
// A child that says what it and a new thread see when a patch of its own is there; it ends when nobody else
// is in it.
static void *fork_and_read(void *x) {
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    void *r;
    pthread_t t;
    for (int i = 0; i < 50000 && !at(number); i++) usleep(100);
    long own = at(number);
    pthread_create(&t, 0, (void *(*)(void *))at, (void *)number);
    pthread_join(t, &r);
    SAY("%ld %ld", own, (long)r);
    fflush(stdout);
    for (int i = 0; i < 50000 && threads_now() > 1; i++) usleep(100);
    _exit(0);
  }
  SAY("%d", child);
  int status;
  waitpid(child, &status, 0);
  return x;
}
static void fork_reads(void) { pthread_t t; pthread_create(&t, 0, fork_and_read, 0), pthread_detach(t); }
static void stranger_forks(void) { pthread_t t; raw_create()(&t, 0, fork_and_read, 0), pthread_detach(t); }

// The storm: patch k brings the value f(k) at offset 8 * k, and `acknowledged` follows.
static _Atomic long acknowledged, checks, wrong, made, stop, bad_ends, forked;
static long f(long k) { return (long)(k * 0x9E3779B97F4A7C15ul); }
static int check(void) {
  long known = acknowledged, bad = 0;
  for (long k = 1; k <= 480; k++) {
    long value = at(8 * k);
    bad += value != f(k) && (value != 0 || k <= known);
  }
  checks++;
  wrong += bad;
  return bad != 0;
}
static pthread_key_t key;
static __thread int rounds;
static void last_words(void *x) {
  check();
  if (++rounds < 3) pthread_setspecific(key, x);
}
static void *short_life(void *x) {
  long kind = (long)x % 8;
  pthread_setspecific(key, x);
  check();
  if (kind & 1) usleep(200), check();
  if (kind == 2) pthread_exit(x);
  if (kind == 3) for (;;) pause();
  return x;
}
static void fork_and_check(void) {
  pid_t child = fork();
  if (!child) {
    pthread_t t;
    void *r = 0;
    int bad = check() || pthread_create(&t, 0, short_life, (void *)8) || pthread_join(t, &r) || r != (void *)8;
    _exit(bad);
  }
  int status;
  if (waitpid(child, &status, 0) != child || status) bad_ends++;
  forked++;
}
static void *creating(void *which) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  for (long n = 0; !stop; n++) {
    long x = n * 8 + n % 8;
    pthread_t threads[8];
    pthread_attr_setstacksize(&attributes, n % 3 ? 256 << 10 : PTHREAD_STACK_MIN);
    for (long i = 0; i < 8; i++)
      if (pthread_create(&threads[i], &attributes, short_life, (void *)(x + i))) bad_ends++, exit(9);
    for (long i = 0; i < 8; i++) {
      void *r, *expected = (x + i) % 8 == 3 ? PTHREAD_CANCELED : (void *)(x + i);
      if ((x + i) % 8 == 3) pthread_cancel(threads[i]);
      if ((x + i) % 8 == 4) { pthread_detach(threads[i]); continue; }
      if (pthread_join(threads[i], &r) || r != expected) bad_ends++;
    }
    made += 8;
    if (n % 16 == 0 && which == (void *)0) fork_and_check();
  }
  return which;
}
static pthread_t creators[4];
static void storm(void) {
  pthread_key_create(&key, last_words);
  for (long i = 0; i < 4; i++) pthread_create(&creators[i], 0, creating, (void *)i);
  SAY("blowing");
}
static void acknowledge(void) { acknowledged = number; SAY("%ld", made); }
static void calm(void) {
  stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(creators[i], 0);
  check();
  SAY("%ld threads %ld checks %ld forks %ld wrong %ld bad", made, checks, forked, wrong, bad_ends);
}

static void *nothing(void *x) { return x; }
// Nanoseconds for a thread to be made and joined: the least of many times fifty.
static void cost(void) {
  struct timespec a, b;
  pthread_t t;
  long least = LONG_MAX;
  while (number--) {
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < 50; i++) pthread_create(&t, 0, nothing, 0), pthread_join(t, 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    long took = ((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec) / 50;
    if (took < least) least = took;
  }
  SAY("%ld", least);
}
// What `pthread_create` says where it cannot, and how attributes arrive.
static void *stack_size(void *x) {
  pthread_attr_t mine;
  size_t size = 0;
  int detached;
  pthread_getattr_np(pthread_self(), &mine);
  pthread_attr_getstacksize(&mine, &size);
  pthread_attr_getdetachstate(&mine, &detached);
  return (char *)x + size + detached;
}
static void attributes(void) {
  pthread_attr_t huge, odd;
  pthread_t t;
  void *r = 0;
  pthread_attr_init(&huge), pthread_attr_init(&odd);
  int set = pthread_attr_setstacksize(&huge, 1ul << 46), failed = 0;
  errno = 77;
  for (int i = 0; i < 300; i++) failed += pthread_create(&t, &huge, nothing, 0) == EAGAIN;
  int kept = errno == 77;
  pthread_attr_setstacksize(&odd, 5 << 16);
  int made = pthread_create(&t, &odd, stack_size, (void *)1);
  int joined = pthread_join(t, &r);
  SAY("%d %d %d %d %d %ld", set, failed, kept, made, joined, (long)r);
}
static void *exit_with(void *status) { usleep(400000); exit((int)(long)status); }
// The main thread ends, another ends the process.
static void leave_main(void) {
  pthread_t t;
  pthread_create(&t, 0, exit_with, (void *)number);
  SAY("leaving");
  pthread_exit(0);
}

static const struct { const char *name; void (*run)(void); } commands[] = {
    {"base", set_base}, {"main_reads", main_reads}, {"workers", workers}, {"all_read", all_read}, {"end_workers", end_workers},
    {"new_reads", new_reads}, {"stranger", stranger}, {"end_stranger", end_stranger}, {"vanish", vanish}, {"storm", storm},
    {"linger", linger}, {"linger_reads", linger_reads}, {"fork_reads", fork_reads}, {"stranger_forks", stranger_forks},
    {"acknowledge", acknowledge}, {"calm", calm}, {"cost", cost}, {"attributes", attributes}, {"leave_main", leave_main},
};
int main(void) {
  char line[256], command[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    number = 0;
    sscanf(line, "%63s %ld", command, &number);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++)
      if (!strcmp(commands[i].name, command)) commands[i].run();
  }
}
