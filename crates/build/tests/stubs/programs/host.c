// Says where its anchor is, loads what it is told to, and lets that call back.
typedef unsigned long word;
int printf(const char *, ...);
int sscanf(const char *, const char *, ...);
char *fgets(char *, int, void *);
int fflush(void *);
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
char *dlerror(void);
long labs(long);
int atoi(const char *);
extern void *stdin;

typedef struct { const char *file; void *base; const char *name; void *address; } Info;
int dladdr(const void *, Info *);

int __livepatch_aslr_anchor(void) { return 1; }

__attribute__((visibility("hidden"), noinline)) int host_add(int a, int b) { return a + b; }
int host_counter = 40;
int (*host_pointer)(int, int) = host_add;
_Thread_local int host_tls = 7;
_Thread_local int host_other_tls = 9;

#ifdef INDIRECT
static int picked(int x) { return x + 100; }
static int (*pick(void))(int) { return picked; }
int host_pick(int x) __attribute__((ifunc("pick")));
static int lone(int x) { return x + 200; }
static int (*choose(void))(int) { return lone; }
int host_lone(int x) __attribute__((ifunc("choose")));
#else
int host_pick(int x) { return x + 100; }
int host_lone(int x) { return x + 200; }
#endif

int main(int count, char **words) {
    char path[4096];
    void *counter = &host_counter;
    printf("anchor %lx\n", (word)__livepatch_aslr_anchor);
    fflush(0);
    host_tls = host_add(7, (int)labs(-1)) + host_pick(0) - 100;
    host_other_tls = 9;
    // Imported, and not called before a patch does.
    if (count > 1) host_counter = atoi(words[1]);
    while (fgets(path, sizeof path, stdin)) {
        int n = 0;
        while (path[n] && path[n] != '\n') n++;
        path[n] = 0;
        word address;
        if (sscanf(path, "?%lx", &address) == 1) {
            Info info = {0};
            int known = dladdr((void *)address, &info);
            printf("%d %lx\n", known, (word)info.address);
            fflush(0);
            continue;
        }
        void *library = dlopen(path, 2);
        if (!library) {
            printf("error %s\n", dlerror());
            fflush(0);
            continue;
        }
        long out[16] = {0};
        out[15] = (long)counter;
        ((void (*)(long *))dlsym(library, "run"))(out);
        printf("out");
        for (int i = 0; i < 15; i++) printf(" %ld", out[i]);
        printf(" counter %d tls %d\n", host_counter, host_tls);
        fflush(0);
    }
    return 0;
}
