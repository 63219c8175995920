// Instructions that have the host's variables as operands, as code of the same image does.
extern int host_counter __attribute__((visibility("hidden")));
extern int (*host_pointer)(int, int) __attribute__((visibility("hidden")));

// A leaf: what it keeps is below the stack pointer while the variable is changed.
__attribute__((noinline)) static int keeps(int x) {
    volatile int kept[8];
    for (int i = 0; i < 8; i++) kept[i] = x + i;
    host_counter += 3;
    __atomic_fetch_add(&host_counter, 5, __ATOMIC_SEQ_CST);
    int sum = 0;
    for (int i = 0; i < 8; i++) sum += kept[i];
    return sum;
}

__attribute__((noinline)) static int through(int a, int b) { return host_pointer(a, b); }

void run(long *out) {
    out[0] = host_counter;
    host_counter = 7;
    out[1] = keeps(1);
    out[2] = host_counter;
    int expected = 15;
    out[3] = __atomic_compare_exchange_n(&host_counter, &expected, 20, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    out[4] = host_counter == 20 ? 1 : 2;
    out[5] = (long)(host_counter * 0.5);
    out[6] = (signed char)host_counter;
    out[7] = host_pointer(30, 4) + through(1, 1);
    host_counter <<= 1;
    out[8] = host_counter-- > 39;
}
