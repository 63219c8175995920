// A library that starts threads when it is loaded: one that ends, and one that stays.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *same(void *x) { return x; }
static void *stay(void *x) { for (;;) pause(); return x; }
__attribute__((constructor)) static void start(void) {
  pthread_t thread;
  void *result = 0;
  if (pthread_create(&thread, 0, same, &result) || pthread_join(thread, &result) || result != &result) abort();
  if (pthread_create(&thread, 0, stay, 0)) abort();
}
