// Loads and unloads libraries, as told on stdin: "open NAME", "close NAME", "call NAME X". Says one line for
// each. Knows nothing of livepatch.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static struct { char name[256]; void *handle; } libraries[8];
  char command[16], name[256];
  long x;
  setvbuf(stdout, 0, _IOLBF, 0);
  while (scanf("%15s %255s", command, name) == 2) {
    int i = 0, free_at = -1;
    for (; i < 8 && strcmp(libraries[i].name, name); i++)
      if (!libraries[i].handle && free_at < 0) free_at = i;
    if (i == 8) i = free_at, strcpy(libraries[i].name, name);
    void **handle = &libraries[i].handle;
    if (!strcmp(command, "open")) {
      *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      printf("%s\n", *handle ? "opened" : dlerror());
    } else if (!strcmp(command, "close")) {
      int failed = dlclose(*handle);
      void *left = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
      if (left) dlclose(left);
      printf("%s\n", failed ? "not closed" : left ? "stays" : "gone");
    } else if (!strcmp(command, "call") && scanf("%ld", &x) == 1) {
      long (*f)(long) = (long (*)(long))dlsym(*handle, "f");
      printf("%ld\n", f(x));
    }
  }
}
