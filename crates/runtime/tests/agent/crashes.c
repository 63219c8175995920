// A program that crashes as it is told on stdin, one command per line. Knows nothing of livepatch.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

asm(".text\n.balign 16\n.globl fault\nfault: movl $1,8\nret\n"
    ".balign 16\n.globl divide\ndivide: xor %ecx,%ecx; mov $1,%eax; cltd\n.globl divides\ndivides: idiv %ecx; ret\n");
extern void fault(void), divide(void), divides(void);

static const char *kind(void *handler) { return handler == SIG_DFL ? "default" : handler == SIG_IGN ? "ignore" : "handler"; }
static void on_default_again(int signal_number) { signal(signal_number, SIG_DFL); }
static sigjmp_buf before;
static void on_return(int signal_number) { siglongjmp(before, signal_number); }

// A handler that notes how it was called.
static stack_t alternate;
static int on_alternate, blocked;
static void on_note(int signal_number) {
  sigset_t now;
  stack_t stack;
  sigprocmask(SIG_BLOCK, 0, &now);
  sigaltstack(0, &stack);
  blocked = sigismember(&now, SIGUSR1) * 2 + sigismember(&now, signal_number);
  on_alternate = stack.ss_flags == SS_ONSTACK;
  siglongjmp(before, 1);
}

static void *run(void *work) {
  ((void (*)(void))work)();
  return 0;
}

int main(void) {
  char line[64], command[32];
  int number;
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    number = 0;
    sscanf(line, "%31s %d", command, &number);
    struct sigaction now, action = {0};
    if (!strcmp(command, "load")) printf("%s\n", dlopen(getenv("LATE_AGENT"), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) ? "loaded" : dlerror());
    if (!strcmp(command, "attach")) {
      int (*entry)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_DEFAULT, "livepatch_attach_1");
      printf("%d\n", entry ? entry(getenv("LATE_SOCKET"), getenv("LATE_TOKEN")) : -1);
    }
    if (!strcmp(command, "addresses")) printf("%p %p\n", (void *)fault, (void *)divides);
    if (!strcmp(command, "fault")) fault();
    if (!strcmp(command, "divide")) divide();
    if (!strcmp(command, "abort")) abort();
    if (!strcmp(command, "raise")) { raise(number); printf("goes on\n"); }
    if (!strcmp(command, "breakpoint")) asm volatile("int3");
    if (!strcmp(command, "free_twice")) { void *volatile p = malloc(5000); malloc(5000); free(p); free(p); }
    if (!strcmp(command, "fault_in_threads")) {
      pthread_t threads[8];
      for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, run, fault);
      for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    }
    if (!strcmp(command, "fault_in_child")) {
      fflush(stdout);
      pid_t child = fork();
      if (!child) fault();
      int status;
      printf("%d\n", child);
      waitpid(child, &status, 0);
      printf("%d\n", WTERMSIG(status));
    }
    if (!strcmp(command, "query")) {
      sigaction(number, 0, &now);
      printf("%s %#x %d\n", kind(now.sa_handler), now.sa_flags & ~0x04000000, sigismember(&now.sa_mask, SIGUSR1));
    }
    if (!strcmp(command, "default") || !strcmp(command, "again")) {
      action.sa_handler = *command == 'a' ? on_default_again : SIG_DFL;
      action.sa_flags = SA_RESTART;
      sigaddset(&action.sa_mask, SIGUSR1);
      sigaction(number, &action, &now);
      printf("%s\n", kind(now.sa_handler));
    }
    if (!strcmp(command, "signal_default")) printf("%s\n", kind(signal(number, SIG_DFL)));
    if (!strcmp(command, "signal_return")) printf("%s\n", kind(signal(number, on_return)));
    if (!strcmp(command, "ignore")) printf("%s\n", kind(signal(number, SIG_IGN)));
    if (!strcmp(command, "recover")) {
      if (!sigsetjmp(before, 1)) fault();
      printf("recovered\n");
    }
    if (!strcmp(command, "note")) {
      // Whether on a stack of its own is for the program to say.
      alternate.ss_sp = malloc(alternate.ss_size = 1 << 16);
      sigaltstack(&alternate, 0);
      action.sa_handler = on_note;
      action.sa_flags = number;
      sigaddset(&action.sa_mask, SIGUSR1);
      sigaction(SIGSEGV, &action, 0);
      if (!sigsetjmp(before, 1)) fault();
      printf("%d %d\n", on_alternate, blocked);
    }
  }
}
