/* Threads: their numbers, their synchronisation, their own state. */
#include "conformance.h"
#include <semaphore.h>
#include <sys/prctl.h>
#include <linux/futex.h>

#define THREADS 4
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile int stopping, generation;
static volatile long counts[128];
static long total;

static void *adder(void *index) {
    while (!stopping) {
        pthread_mutex_lock(&mutex);
        total++;
        pthread_mutex_unlock(&mutex);
        counts[(long)index]++;
    }
    return NULL;
}
static void all_move_on(int count) {
    long before[128];
    for (int i = 0; i < count; i++) before[i] = counts[i];
    for (int i = 0; i < count; i++)
        for (int tries = 0; counts[i] == before[i]; tries++) {
            usleep(1000);
            if (tries > 20000) FAIL("thread %d does not go on", i);
        }
}

ROW(mutex, "", "threads contending for a mutex all go on and count right") {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, adder, (void *)i);
    while (step("")) all_move_on(THREADS);
    stopping = 1;
    long sum = 0;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL), sum += counts[i];
    CHECK(sum == total);
}

static void *waiter(void *index) {
    int seen = 0;
    pthread_mutex_lock(&mutex);
    while (!stopping) {
        while (generation == seen && !stopping) pthread_cond_wait(&condition, &mutex);
        seen = generation;
        counts[(long)index]++;
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}
static void wake(void) {
    pthread_mutex_lock(&mutex);
    generation++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
}
ROW(condition, "", "threads waiting for a condition variable are woken") {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, waiter, (void *)i);
    while (step("")) {
        long before[THREADS];
        for (int i = 0; i < THREADS; i++) before[i] = counts[i];
        wake();
        for (int i = 0; i < THREADS; i++)
            for (int tries = 0; counts[i] == before[i]; tries++) {
                usleep(1000);
                if (tries > 20000) FAIL("thread %d is not woken", i);
            }
    }
    stopping = 1;
    wake();
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

ROW(timed_wait, "", "pthread_cond_timedwait in progress ends at its time") {
    while (calm()) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 3;
        double end = until.tv_sec + until.tv_nsec / 1e9;
        pthread_mutex_lock(&mutex);
        during("");
        int got = pthread_cond_timedwait(&condition, &mutex, &until);
        double late = seconds(CLOCK_REALTIME) - end;
        pthread_mutex_unlock(&mutex);
        if (got != ETIMEDOUT) FAIL("ended with %d, %.2f s before its time", got, -late);
        if (late < 0 || late > 1.5) FAIL("woke %.2f s after its time", late);
    }
}

static __thread int own = 1;
static pid_t tids[128];
static pthread_barrier_t barrier;
static void *keeper(void *index) {
    long number = (long)index;
    own = 1000 + number, tids[number] = gettid();
    char name[16], now[16];
    snprintf(name, sizeof name, "worker-%ld", number);
    prctl(PR_SET_NAME, name);
    sigset_t set, seen;
    sigemptyset(&set), sigaddset(&set, SIGRTMIN + number % 20);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    pthread_barrier_wait(&barrier);
    while (1) {
        pthread_barrier_wait(&barrier);
        if (stopping) return NULL;
        CHECK(own == 1000 + number);
        CHECK(gettid() == tids[number]);
        prctl(PR_GET_NAME, now);
        CHECK(strcmp(now, name) == 0);
        pthread_sigmask(SIG_BLOCK, NULL, &seen);
        for (int i = 0; i < 20; i++) CHECK(sigismember(&seen, SIGRTMIN + i) == (i == number % 20));
        pthread_barrier_wait(&barrier);
    }
}
static void keep(int count) {
    pthread_t threads[128];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes), pthread_attr_setstacksize(&attributes, 128 << 10);
    pthread_barrier_init(&barrier, NULL, count + 1);
    for (long i = 0; i < count; i++) CHECK(pthread_create(&threads[i], &attributes, keeper, (void *)i) == 0);
    pthread_barrier_wait(&barrier);
    while (step("")) pthread_barrier_wait(&barrier), pthread_barrier_wait(&barrier);
    stopping = 1;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}
ROW(own_state, "", "thread ids, names, masks and thread-local variables are kept; barriers work") { keep(THREADS); }
ROW(many, "", "a hundred threads") { keep(100); }

static void *empty(void *argument) { return argument; }
ROW(born_away, "", "threads made and joined after each move") {
    while (step("")) {
        pthread_t threads[8];
        for (long i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, empty, (void *)i) == 0);
        for (long i = 0; i < 8; i++) {
            void *result;
            CHECK(pthread_join(threads[i], &result) == 0 && result == (void *)i);
        }
    }
}

ROW(stay_on, "", "threads born at one place live on at the next, others end there") {
    pthread_t threads[16];
    int count = 0;
    pthread_create(&threads[count], NULL, adder, (void *)(long)count), count++;
    while (step("")) {
        all_move_on(count);
        for (int i = 0; i < 2 && count < 16; i++)
            CHECK(pthread_create(&threads[count], NULL, adder, (void *)(long)count) == 0), count++;
        all_move_on(count);
    }
    stopping = 1;
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

static volatile int in_handler;
static void handler(int number) { (void)number; in_handler = gettid(); }
static void *sleeper(void *argument) {
    tids[0] = gettid();
    while (!stopping) usleep(1000);
    return argument;
}
ROW(directed, "", "a signal for one thread reaches that thread") {
    signal(SIGUSR2, handler);
    pthread_t thread;
    pthread_create(&thread, NULL, sleeper, NULL);
    while (!tids[0]) usleep(1000);
    while (step("")) {
        in_handler = 0;
        CHECK(pthread_kill(thread, SIGUSR2) == 0);
        for (int tries = 0; !in_handler && tries < 20000; tries++) usleep(1000);
        CHECK(in_handler == tids[0]);
    }
    stopping = 1;
    pthread_join(thread, NULL);
}

static pthread_mutex_t robust;
static sem_t taken;
static void *dier(void *argument) {
    pthread_mutex_lock(&robust);
    sem_post(&taken);
    while (!stopping) usleep(1000);
    return argument;
}
ROW(robust, "", "a robust mutex tells that its owner has ended") {
    while (calm()) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes), pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&robust, &attributes);
        sem_init(&taken, 0, 0);
        stopping = 0;
        pthread_t thread;
        pthread_create(&thread, NULL, dier, NULL);
        sem_wait(&taken);
        say("step"), go_on();
        CHECK(pthread_mutex_trylock(&robust) == EBUSY);
        stopping = 1;
        CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
        CHECK(pthread_mutex_consistent(&robust) == 0);
        pthread_mutex_unlock(&robust);
        pthread_join(thread, NULL);
    }
}

static void *blocked(void *argument) {
    char byte;
    int fd = (int)(long)argument;
    CHECK(read(fd, &byte, 1) == 1);
    return argument;
}
ROW(blocked_reader, "", "one thread blocked in read, another moved while waiting for the runner") {
    int ends[2];
    while (calm()) {
        CHECK(pipe(ends) == 0);
        pthread_t thread;
        pthread_create(&thread, NULL, blocked, (void *)(long)ends[0]);
        usleep(20000);
        say("step"), go_on();
        CHECK(write(ends[1], "x", 1) == 1);
        CHECK(pthread_join(thread, NULL) == 0);
        close(ends[0]), close(ends[1]);
    }
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;
static void *locker(void *argument) {
    while (!stopping) {
        sem_wait(&semaphore);
        pthread_rwlock_rdlock(&rwlock);
        counts[0]++;
        pthread_rwlock_unlock(&rwlock);
    }
    return argument;
}
ROW(semaphores, "", "semaphores, read-write locks, spin locks and cancellation") {
    sem_init(&semaphore, 0, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, locker, NULL);
    while (step("")) {
        long before = counts[0];
        pthread_rwlock_wrlock(&rwlock);
        sem_post(&semaphore);
        usleep(5000);
        CHECK(counts[0] == before);
        pthread_rwlock_unlock(&rwlock);
        for (int tries = 0; counts[0] == before && tries < 20000; tries++) usleep(1000);
        CHECK(counts[0] == before + 1);
    }
    pthread_cancel(thread);
    void *result;
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
}

static volatile int word;
static void *futex_waiter(void *argument) {
    struct timespec far = {1000, 0};
    while (word == 0) syscall(SYS_futex, &word, FUTEX_WAIT, 0, &far, NULL, 0);
    return argument;
}
ROW(futex, "", "a raw futex with a long timeout is woken, not timed out") {
    while (calm()) {
        word = 0;
        pthread_t thread;
        pthread_create(&thread, NULL, futex_waiter, NULL);
        usleep(20000);
        say("step"), go_on();
        word = 1;
        syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}
