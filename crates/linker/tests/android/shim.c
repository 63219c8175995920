/* Asks for what bionic has, with bionic's types, which are declared here: its headers are not at hand.
   Every function returns 0, or the line that is not as it should be. */
#define IS(condition) do { if (!(condition)) return __LINE__; } while (0)
typedef unsigned long size_t;
typedef struct { char room[152]; } FILE;
extern FILE __sF[3];
int fprintf(FILE *, const char *, ...);
int fputs(const char *, FILE *);
size_t fwrite(const void *, size_t, size_t, FILE *);
int fputc(int, FILE *);
int fflush(FILE *);
int fileno(FILE *);
FILE *tmpfile(void);
int fgetpos(FILE *, long *);
int fsetpos(FILE *, const long *);
char *fgets(char *, int, FILE *);
int fclose(FILE *);

int streams(void) {
    IS(fileno(&__sF[0]) == 0 && fileno(&__sF[1]) == 1 && fileno(&__sF[2]) == 2);
    /* More arguments than registers, of both kinds. */
    IS(fprintf(&__sF[1], "%d %s %.1f %d %d %d %d %.2f\n", 1, "two", 3.0, 4, 5, 6, 7, 8.25) == 23);
    IS(fputs("puts\n", &__sF[1]) >= 0);
    IS(fwrite("write\n", 1, 6, &__sF[1]) == 6);
    IS(fputc('c', &__sF[1]) == 'c');
    IS(fflush(&__sF[1]) == 0);
    struct { long position; long guard; } at = { -1, 0x1234 };
    char line[16];
    FILE *file = tmpfile();
    IS(file != 0 && fputs("one\ntwo\n", file) >= 0);
    IS(fgetpos(file, &at.position) == 0 && at.position == 8 && at.guard == 0x1234);
    at.position = 4;
    IS(fsetpos(file, &at.position) == 0 && fgets(line, sizeof line, file) == line && line[0] == 't');
    return fclose(file);
}

struct sigaction_ { int flags; void (*handler)(int); unsigned long mask; void (*restorer)(void); };
int sigaction(int, const struct sigaction_ *, struct sigaction_ *);
int sigemptyset(unsigned long *);
int sigfillset(unsigned long *);
int sigaddset(unsigned long *, int);
int sigismember(const unsigned long *, int);
int sigprocmask(int, const unsigned long *, unsigned long *);
int raise(int);
static volatile int handled;
static void handler(int number) { handled = number; }

int signals(void) {
    struct { unsigned long before, set, after; } sets = { 0x1111, 0, 0x2222 };
    IS(sigfillset(&sets.set) == 0 && sets.set == ~0ul && sets.before == 0x1111 && sets.after == 0x2222);
    IS(sigemptyset(&sets.set) == 0 && sets.set == 0 && sets.after == 0x2222);
    IS(sigaddset(&sets.set, 10) == 0 && sets.set == 1ul << 9 && sigismember(&sets.set, 10) == 1);
    IS(sigaddset(&sets.set, 65) == -1 && sigaddset(&sets.set, 0) == -1);
    struct sigaction_ action = { 0x10000000 /* SA_RESTART */, handler, 1ul << 11, 0 }, before, now;
    IS(sigaction(10, &action, &before) == 0 && before.handler == 0);
    IS(sigaction(10, 0, &now) == 0 && now.handler == handler && now.mask == 1ul << 11);
    IS((now.flags & 0x10000000) != 0);
    IS(raise(10) == 0 && handled == 10);
    /* Blocked, it comes when it is let in. */
    unsigned long old = 0;
    handled = 0;
    IS(sigprocmask(0, &sets.set, &old) == 0 && (old & 1ul << 9) == 0 && raise(10) == 0 && handled == 0);
    IS(sigprocmask(1, &sets.set, &old) == 0 && (old & 1ul << 9) != 0 && handled == 10);
    return 0;
}

typedef struct { int words[10]; } pthread_mutex_t;
int pthread_mutex_lock(pthread_mutex_t *);
int pthread_mutex_trylock(pthread_mutex_t *);
int pthread_mutex_unlock(pthread_mutex_t *);
static pthread_mutex_t plain, recursive = { { 0x4000 } }, checking = { { 0x8000 } };

int mutexes(void) {
    IS(pthread_mutex_lock(&plain) == 0 && pthread_mutex_trylock(&plain) == 16 /* EBUSY */);
    IS(pthread_mutex_unlock(&plain) == 0);
    IS(pthread_mutex_lock(&recursive) == 0 && pthread_mutex_lock(&recursive) == 0);
    IS(pthread_mutex_unlock(&recursive) == 0 && pthread_mutex_unlock(&recursive) == 0);
    IS(pthread_mutex_unlock(&recursive) == 1 /* EPERM */);
    IS(pthread_mutex_lock(&checking) == 0 && pthread_mutex_lock(&checking) == 35 /* EDEADLK */);
    return pthread_mutex_unlock(&checking);
}

int *__errno(void);
int pthread_mutex_init(void *, const void *);
int pthread_attr_init(void *);
int pthread_attr_setstacksize(void *, size_t);

/* Structures of the sizes that bionic's have on 64-bit machines, with something behind them. */
static struct { long words[5]; long behind; } mutex = { .behind = 1 };
static struct { long words[7]; long behind; } attributes = { .behind = 2 };

int structures(void) {
    IS(pthread_mutex_init(&mutex, 0) == 0 && pthread_mutex_lock((void *)&mutex) == 0 && mutex.behind == 1);
    IS(pthread_attr_init(&attributes) == 0 && attributes.behind == 2);
    /* PTHREAD_STACK_MIN is two pages. */
    IS(pthread_attr_setstacksize(&attributes, 8192) == 0 && pthread_attr_setstacksize(&attributes, 1) == 22);
    return pthread_mutex_unlock((void *)&mutex);
}

typedef struct { unsigned count; int reserved[3]; } sem_t;
int sem_init(sem_t *, int, unsigned);
int sem_wait(sem_t *);
int sem_trywait(sem_t *);
int sem_timedwait(sem_t *, const void *);
int sem_post(sem_t *);
int sem_getvalue(sem_t *, int *);

int semaphores(void) {
    /* Aligned to four bytes and not to eight. */
    static struct { long aligned; int before; sem_t sem; int behind; } s = { .behind = 3 };
    long past[2] = { 1, 0 };
    int value = -1;
    IS(sem_init(&s.sem, 0, 1) == 0 && sem_wait(&s.sem) == 0);
    IS(sem_trywait(&s.sem) == -1 && *__errno() == 11 /* EAGAIN */);
    IS(sem_timedwait(&s.sem, past) == -1 && *__errno() == 110 /* ETIMEDOUT */);
    IS(sem_post(&s.sem) == 0 && sem_post(&s.sem) == 0 && sem_getvalue(&s.sem, &value) == 0 && value == 2);
    IS(sem_timedwait(&s.sem, past) == 0 && sem_wait(&s.sem) == 0 && s.behind == 3);
    return sem_init(&s.sem, 0, 0x40000000) != -1;
}

/* _JBLEN */
#ifdef __aarch64__
enum { JUMP = 32 };
#else
enum { JUMP = 11 };
#endif
int setjmp(long *) __attribute__((returns_twice));
int sigsetjmp(long *, int) __attribute__((returns_twice));
void longjmp(long *, int) __attribute__((noreturn));
void siglongjmp(long *, int) __attribute__((noreturn));

int jumps(void) {
    static long buffer[JUMP + 1];
    static volatile int times;
    buffer[JUMP] = 4;
    int value = setjmp(buffer);
    if (times++ == 0) longjmp(buffer, 5);
    IS(value == 5 && times == 2 && buffer[JUMP] == 4);
    value = sigsetjmp(buffer, 1);
    if (times++ == 2) siglongjmp(buffer, 6);
    IS(value == 6 && times == 4 && buffer[JUMP] == 4);
    return 0;
}

long sysconf(int);
int strerror_r(int, char *, size_t);
int strcmp(const char *, const char *);
size_t strlcpy(char *, const char *, size_t);
size_t __strlen_chk(const char *, size_t);
void __FD_SET_chk(int, void *, size_t);
int __FD_ISSET_chk(int, const void *, size_t);
int open(const char *, int, ...);

int system_(void) {
    IS(sysconf(0x27) == 4096 && sysconf(0x28) == 4096 && sysconf(0x61) > 0 && sysconf(0x62) > 1000);
    *__errno() = 0;
    IS(open("/absent", 0) == -1 && *__errno() == 2);
    char text[64];
    IS(strerror_r(2, text, sizeof text) == 0 && strcmp(text, "No such file or directory") == 0);
    char small[4];
    IS(strlcpy(small, "longer", sizeof small) == 6 && strcmp(small, "lon") == 0);
    IS(__strlen_chk("four", 5) == 4);
    unsigned long set[16] = { 0 };
    __FD_SET_chk(70, set, sizeof set);
    IS(set[1] == 1ul << 6 && __FD_ISSET_chk(70, set, sizeof set) == 1 && __FD_ISSET_chk(71, set, sizeof set) == 0);
    return 0;
}

struct addrinfo { int flags, family, type, protocol; unsigned length; char *name; unsigned char *address;
                  struct addrinfo *next; };
int getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);
void freeaddrinfo(struct addrinfo *);
int __system_property_get(const char *, char *);
const void *__system_property_find(const char *);

int names(void) {
    struct addrinfo hints = { 4 | 8 /* numeric host and service */, 2 /* AF_INET */, 1, 0, 0, 0, 0, 0 }, *found = 0;
    IS(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0 && found != 0);
    IS(found->family == 2 && found->length == 16 && found->address[3] == 80 && found->address[4] == 127);
    IS(found->next == 0);
    freeaddrinfo(found);
    IS(getaddrinfo("a.name", "80", &hints, &found) == 8 /* EAI_NONAME */);
    char value[92];
    IS(__system_property_get("ro.product.cpu.abi", value) == 6 && strcmp(value, "x86_64") == 0);
    IS(__system_property_get("absent", value) == 0 && value[0] == 0 && __system_property_find("absent") == 0);
    return 0;
}

int __android_log_print(int, const char *, const char *, ...);
int __android_log_write(int, const char *, const char *);

int logging(void) {
    IS(__android_log_print(4, "tag", "%d %s %.1f %d %d %d %.2f", 1, "two", 3.0, 4, 5, 6, 7.25) == 1);
    IS(__android_log_write(6, "tag", "an error\n") == 1);
    return 0;
}

void __assert2(const char *, int, const char *, const char *);
int giving_up(void) {
    __assert2("file.c", 7, "f", "x > 0");
    return 1;
}
