/* Memory: contents, layout, protections, shared and special mappings. */
#include "conformance.h"
#include <setjmp.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/sem.h>
#include <sys/msg.h>

#define PAGE 4096l
static uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    return value ^ (value >> 27);
}
static void fill(uint64_t *data, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes / 8; i++) data[i] = mix(seed + i);
}
static int holds(const uint64_t *data, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes / 8; i++)
        if (data[i] != mix(seed + i)) return 0;
    return 1;
}
static void *map(size_t bytes, int protection, int flags) {
    void *got = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    CHECK(got != MAP_FAILED);
    return got;
}
static sigjmp_buf escape;
static void *volatile fault_address;
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    fault_address = info->si_addr;
    siglongjmp(escape, 1);
}
static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL), sigaction(SIGBUS, &action, NULL);
}
static int faults(volatile char *address, int writing) {
    if (sigsetjmp(escape, 1)) return fault_address == (void *)address;
    if (writing) *address = 1;
    else (void)*address;
    return 0;
}

ROW(contents, "", "64 MB keep their contents") {
    size_t bytes = 64 << 20;
    uint64_t *data = map(bytes, PROT_READ | PROT_WRITE, 0);
    fill(data, bytes, 1);
    for (uint64_t turn = 1; step(""); turn++) {
        CHECK(holds(data, bytes, turn));
        fill(data, bytes, turn + 1);
    }
}

ROW(brk, "", "the heap grows and shrinks by brk at every place") {
    size_t bytes = 4 << 20;
    char *start = sbrk(0);
    while (step("")) {
        uint64_t *more = sbrk(bytes);
        CHECK(more != (void *)-1);
        fill(more, bytes, (uint64_t)more);
        CHECK(holds((uint64_t *)more, bytes, (uint64_t)more));
        CHECK(sbrk(-(intptr_t)(bytes / 2)) != (void *)-1);
        for (char *at = start; at < (char *)sbrk(0); at += bytes / 2) CHECK(*(uint64_t *)at != 0);
    }
}

ROW(mapped, "", "mmap, munmap, mprotect and mremap at every place") {
    size_t bytes = 1 << 20;
    catch_faults();
    uint64_t *old = map(bytes, PROT_READ | PROT_WRITE, 0);
    uint64_t seed = 5;
    fill(old, bytes, seed);
    char *hole = map(3 * PAGE, PROT_READ | PROT_WRITE, 0);
    munmap(hole + PAGE, PAGE);
    while (step("")) {
        CHECK(holds(old, bytes, seed));
        CHECK(faults(hole + PAGE, 0));
        uint64_t *fresh = map(bytes, PROT_READ | PROT_WRITE, 0);
        fill(fresh, bytes, ++seed);
        CHECK(munmap(old, bytes) == 0);
        uint64_t *bigger = mremap(fresh, bytes, 2 * bytes, MREMAP_MAYMOVE);
        CHECK(bigger != MAP_FAILED && holds(bigger, bytes, seed));
        old = mremap(bigger, 2 * bytes, bytes, 0);
        CHECK(old == bigger);
        CHECK(mprotect(old, PAGE, PROT_READ) == 0);
        CHECK(faults((char *)old, 1));
        CHECK(mprotect(old, PAGE, PROT_READ | PROT_WRITE) == 0);
    }
}

ROW(protections, "", "PROT_NONE, read-only and guard pages fault as before, with the address") {
    catch_faults();
    char *none = map(PAGE, PROT_NONE, 0), *only = map(PAGE, PROT_READ, 0), *guarded = map(3 * PAGE, PROT_READ | PROT_WRITE, 0);
    memset(guarded, 7, 3 * PAGE);
    mprotect(guarded + PAGE, PAGE, PROT_NONE);
    while (step("")) {
        CHECK(faults(none, 0) && faults(only, 1) && faults(guarded + PAGE, 0));
        CHECK(!faults(only, 0) && guarded[0] == 7 && guarded[2 * PAGE] == 7);
        CHECK(mprotect(guarded + PAGE, PAGE, PROT_READ) == 0 && guarded[PAGE] == 7);
        CHECK(mprotect(guarded + PAGE, PAGE, PROT_NONE) == 0);
    }
}

ROW(generated_code, "", "code written at run time is executed") {
    unsigned char code[] = {0xb8, 1, 0, 0, 0, 0xc3};
    unsigned char *page = map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
    memcpy(page, code, sizeof code);
    for (int turn = 1; step(""); turn++) {
        CHECK(((int (*)(void))page)() == turn);
        page[1]++;
    }
}

ROW(sparse, "", "a hundred GB reserved, a few pages used") {
    char *wide = map(100l << 30, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    for (int i = 0; i < 50; i++) wide[i * (2l << 30)] = i + 1;
    while (step(""))
        for (int i = 0; i < 50; i++) {
            CHECK(wide[i * (2l << 30)] == i + 1);
            CHECK(wide[i * (2l << 30) + (1 << 30)] == 0);
        }
}

ROW(huge_pages, "", "transparent huge pages and madvise") {
    size_t bytes = 8 << 20;
    uint64_t *data = map(bytes, PROT_READ | PROT_WRITE, 0);
    madvise(data, bytes, MADV_HUGEPAGE);
    fill(data, bytes, 3);
    char *gone = map(PAGE * 4, PROT_READ | PROT_WRITE, 0);
    madvise(gone, PAGE * 4, MADV_DONTFORK);
    while (step("")) {
        CHECK(holds(data, bytes, 3));
        memset(gone, 9, PAGE * 4);
        CHECK(madvise(gone, PAGE * 2, MADV_DONTNEED) == 0);
        CHECK(gone[0] == 0 && gone[PAGE * 3] == 9);
    }
}

static int deep(int levels) {
    volatile char room[4096];
    room[0] = levels;
    return levels ? deep(levels - 1) + (room[0] == (char)levels) : 0;
}
ROW(stack, "", "the stack grows at every place") {
    for (int depth = 200; step(""); depth += 300) CHECK(deep(depth) == depth);
}

ROW(stack_limit, "", "an endless recursion still ends with a fault") {
    catch_faults();
    stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&other, NULL);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    while (step("")) {
        if (sigsetjmp(escape, 1)) continue;
        deep(1 << 30);
        FAIL("no fault");
    }
}

ROW(shared_file, "", "MAP_SHARED of a file: msync is seen at home, and what home writes is seen") {
    int fd = open("shared-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(ftruncate(fd, 3 * PAGE) == 0);
    char *data = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(data != MAP_FAILED);
    for (int turn = 1; ; turn++) {
        snprintf(data, 64, "turn %d", turn);
        data[2 * PAGE] = turn;
        CHECK(msync(data, 3 * PAGE, MS_SYNC) == 0);
        if (!step("head -c 6 shared-file > shared-seen; echo >> shared-seen")) break;
        char expected[64], seen[64] = "";
        snprintf(expected, sizeof expected, "turn %d\n", turn);
        int check = open("shared-seen", O_RDONLY);
        CHECK(read(check, seen, 63) > 0);
        close(check);
        if (strcmp(seen, expected) != 0) FAIL("home sees '%.6s' instead of '%.6s'", seen, expected);
        CHECK(data[2 * PAGE] == turn);
    }
}

ROW(private_file, "", "MAP_PRIVATE of a file keeps its own pages and the file's") {
    int fd = open("private-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    uint64_t block[PAGE / 8];
    for (int i = 0; i < 8; i++) fill(block, PAGE, i), CHECK(write(fd, block, PAGE) == PAGE);
    uint64_t *data = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    for (int turn = 1; step(""); turn++) {
        for (int i = 0; i < 8; i++) CHECK(holds(data + i * PAGE / 8, PAGE, i < turn - 1 ? i + 100 : i));
        if (turn < 8) fill(data + (turn - 1) * PAGE / 8, PAGE, turn - 1 + 100);
    }
}

ROW(beyond_the_end, "", "a page beyond the end of a mapped file faults, and works when the file has grown") {
    catch_faults();
    while (calm()) {
        int fd = open("short-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(write(fd, "x", 1) == 1);
        char *data = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(data != MAP_FAILED);
        say("step"), go_on();
        CHECK(faults(data + PAGE, 0));
        CHECK(ftruncate(fd, 2 * PAGE) == 0);
        data[PAGE] = 5;
        CHECK(data[PAGE] == 5 && data[0] == 'x');
        munmap(data, 2 * PAGE), close(fd);
    }
}

ROW(mapped_away, "", "a file mapped after each move, still mapped after the next") {
    uint64_t *maps[8];
    int count = 0;
    while (step("")) {
        for (int i = 0; i < count; i++) CHECK(holds(maps[i], PAGE, i));
        char name[32];
        snprintf(name, sizeof name, "mapped-%d", count);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(ftruncate(fd, PAGE) == 0);
        maps[count] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, count % 2 ? MAP_SHARED : MAP_PRIVATE, fd, 0);
        CHECK(maps[count] != MAP_FAILED);
        fill(maps[count], PAGE, count);
        close(fd);
        count++;
    }
}

ROW(shared_anonymous, "", "MAP_SHARED | MAP_ANONYMOUS of one process") {
    uint64_t *data = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fill(data, 4 * PAGE, 6);
    for (uint64_t seed = 6; step(""); seed++) {
        CHECK(holds(data, 4 * PAGE, seed));
        fill(data, 4 * PAGE, seed + 1);
    }
}

ROW(memfd, "", "a memfd, mapped and read") {
    int fd = memfd_create("conformance", 0);
    CHECK(ftruncate(fd, PAGE) == 0);
    uint64_t *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), seen;
    fill(data, PAGE, 8);
    for (uint64_t seed = 8; step(""); seed++) {
        CHECK(holds(data, PAGE, seed));
        CHECK(pread(fd, &seen, 8, 16) == 8 && seen == mix(seed + 2));
        fill(data, PAGE, seed + 1);
    }
}

ROW(memfd_unmapped, "", "a memfd, written and read") {
    int fd = memfd_create("conformance", 0);
    for (int turn = 1;; turn++) {
        int seen = 0;
        CHECK(pwrite(fd, &turn, sizeof turn, 0) == sizeof turn);
        if (!step("")) break;
        CHECK(pread(fd, &seen, sizeof seen, 0) == sizeof seen && seen == turn);
    }
}

ROW(posix_shm, "", "POSIX shared memory that home sees too") {
    int fd = open("/dev/shm/conformance", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
    char *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (int turn = 0; turn < 100; turn++) {
        snprintf(data, 16, "%d", turn);
        if (!step("cut -d '' -f1 /dev/shm/conformance | head -c 8 | tr -d '\\0' > shm-seen")) break;
        char seen[16] = "";
        int check = open("shm-seen", O_RDONLY);
        CHECK(read(check, seen, 15) > 0 && atoi(seen) == turn);
        close(check);
    }
}

ROW(sysv_shm, "", "System V shared memory") {
    int id = shmget(IPC_PRIVATE, PAGE, 0600);
    uint64_t *data = shmat(id, NULL, 0);
    CHECK(data != (void *)-1);
    fill(data, PAGE, 11);
    while (step("")) {
        CHECK(holds(data, PAGE, 11));
        struct shmid_ds facts;
        CHECK(shmctl(id, IPC_STAT, &facts) == 0 && facts.shm_nattch == 1);
    }
    shmctl(id, IPC_RMID, NULL);
}

ROW(sysv_sem, "", "System V semaphores, with undo") {
    int id = semget(IPC_PRIVATE, 1, 0600);
    struct sembuf up = {0, 1, SEM_UNDO};
    CHECK(semop(id, &up, 1) == 0);
    for (int turn = 1; step(""); turn++) {
        int value = semctl(id, 0, GETVAL);
        if (value != turn) FAIL("value %d instead of %d (errno %d)", value, turn, errno);
        CHECK(semop(id, &up, 1) == 0);
    }
    semctl(id, 0, IPC_RMID);
}

ROW(sysv_msg, "", "System V message queues") {
    int id = msgget(IPC_PRIVATE, 0600);
    struct { long type; char text[16]; } message = {3, "hello"}, got;
    while (calm()) {
        CHECK(msgsnd(id, &message, 16, 0) == 0);
        say("step"), go_on();
        CHECK(msgrcv(id, &got, 16, 3, IPC_NOWAIT) == 16 && strcmp(got.text, "hello") == 0);
    }
    msgctl(id, IPC_RMID, NULL);
}

ROW(locked, "root", "mlock: refused, or the memory stays locked") {
    char *page = map(PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(mlock(page, PAGE) == 0);
    while (step("")) {
        char line[256];
        FILE *status = fopen("/proc/self/status", "r");
        long locked = 0;
        while (fgets(line, sizeof line, status)) sscanf(line, "VmLck: %ld", &locked);
        fclose(status);
        CHECK(locked >= 4);
    }
}

ROW(grows_down, "", "MAP_GROWSDOWN and mappings at fixed addresses") {
    char *fixed = mmap((void *)0x10000000000l, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(fixed == (void *)0x10000000000l);
    char *down = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_GROWSDOWN);
    memset(fixed, 4, PAGE), memset(down, 5, 2 * PAGE);
    while (step("")) CHECK(fixed[100] == 4 && down[PAGE] == 5);
}

ROW(many_mappings, "", "two thousand separate mappings") {
    static char *pages[2000];
    for (int i = 0; i < 2000; i++) {
        pages[i] = map(2 * PAGE, PROT_READ | PROT_WRITE, 0);
        mprotect(pages[i] + PAGE, PAGE, PROT_READ);
        pages[i][0] = i % 100 + 1;
    }
    while (step(""))
        for (int i = 0; i < 2000; i++) CHECK(pages[i][0] == i % 100 + 1 && pages[i][PAGE] == 0);
}
