// Thread-locals that the compiler leaves to the loader: one by one, or by the block that they are in.
#ifdef ONE_BY_ONE
#define MODEL "global-dynamic"
#else
#define MODEL "local-dynamic"
#endif
extern _Thread_local int host_tls __attribute__((visibility("hidden"), tls_model(MODEL)));
extern _Thread_local int host_other_tls __attribute__((visibility("hidden"), tls_model(MODEL)));

void run(long *out) {
    out[0] = host_tls;
    out[1] = host_other_tls;
    host_tls += 10;
}
