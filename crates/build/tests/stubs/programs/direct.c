// Code that computes a variable's address without asking anyone, as code of the same image does.
extern int host_counter __attribute__((visibility("hidden")));

#ifdef MEMORY
void run(long *out) { out[0] = host_counter; }
#else
void run(long *out) {
    int *counter = &host_counter;
    // From here on the compiler cannot know what it points to.
    __asm__("" : "+r"(counter));
    out[0] = (long)counter == out[15];
    out[1] = *counter;
}
#endif
