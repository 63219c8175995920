// Reaches a function and a variable of the host's.
int host_add(int, int);
#ifdef _WIN32
__declspec(dllimport)
#endif
extern int host_counter;
int (*functions[])(int, int) = {host_add};
#ifndef _WIN32
int *words[] = {&host_counter};
#endif
#ifdef DIRECT
extern int host_direct;
int *direct(void) { return &host_direct; }
#endif
int run(void) { return host_add(host_counter, 1) + functions[0](1, 2); }
