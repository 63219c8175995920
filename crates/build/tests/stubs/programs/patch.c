// Reaches everything of the host's.
int host_add(int, int);
int host_pick(int);
int host_lone(int);
extern int host_counter;
extern _Thread_local int host_tls __attribute__((tls_model("initial-exec")));
#ifdef LOCAL_EXEC
extern _Thread_local int host_other_tls __attribute__((tls_model("local-exec")));
#else
extern _Thread_local int host_other_tls __attribute__((tls_model("initial-exec")));
#endif
extern int absent __attribute__((weak));
long labs(long);
int atoi(const char *);

int *table[] = {&host_counter};
int (*functions[])(int, int) = {host_add};

__attribute__((noinline)) static int tail(int a, int b) { return host_add(a, b); }

void run(long *out) {
    out[0] = host_add(2, 3);
    out[1] = host_counter++;
    out[2] = (void *)&absent != 0;
    out[3] = host_pick(1);
    out[4] = host_tls;
    host_tls += 10;
    out[5] = (long)&host_counter == out[15];
    out[6] = *table[0];
    out[7] = labs(-3);
    out[8] = tail(20, 3);
    out[9] = functions[0](30, 3);
    out[10] = host_lone(2);
    out[11] = host_other_tls;
    out[12] = atoi("77");
}
