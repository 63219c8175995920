// An allocator that, as jemalloc does, takes its lock around fork, and registers for that at its first use.
#include <pthread.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int registered;
static void take(void) { pthread_mutex_lock(&lock); }
static void give(void) { pthread_mutex_unlock(&lock); }
static void enter(void) {
  if (!registered) {
    registered = 1;
    pthread_atfork(take, give, give);
  }
  take();
}
#define LOCKED(call)  \
  enter();            \
  void *result = call; \
  give();             \
  return result;
void *malloc(size_t n) { LOCKED(__libc_malloc(n)) }
void *calloc(size_t n, size_t size) { LOCKED(__libc_calloc(n, size)) }
void *realloc(void *p, size_t n) { LOCKED(__libc_realloc(p, n)) }
void free(void *p) { enter(); __libc_free(p); give(); }
