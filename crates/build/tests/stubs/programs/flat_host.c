// A host without a C library.
int __livepatch_aslr_anchor(void) { return 1; }
__attribute__((noinline)) int host_add(int a, int b) { return a + b; }
int host_counter = 40;
int main(void) { return host_add(host_counter, 2); }
