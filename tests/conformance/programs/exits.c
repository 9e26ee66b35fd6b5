/* Ends, and what must be refused: statuses, signals, tracing, vfork. */
#include "conformance.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>

static void turns(void) {
    while (step("")) {}
}
static void passed(void) { say("pass"); }

ROW(status, "ends=7", "the exit status reaches its parent") { turns(), passed(), exit(7); }
ROW(by_signal, "ends=-15", "death by its own signal reaches its parent") { turns(), passed(), kill(getpid(), SIGTERM), pause(); }
ROW(by_fault, "ends=-11", "death by a fault reaches its parent") {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    turns(), passed();
    *(volatile int *)8 = 1;
}
ROW(by_abort, "ends=-6", "abort(3)") {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    turns(), passed(), abort();
}
static void *leave(void *status) { exit((int)(long)status); }
ROW(from_thread, "ends=9", "exit from another thread ends the process") {
    turns(), passed();
    pthread_t thread;
    pthread_create(&thread, NULL, leave, (void *)9l);
    pthread_join(thread, NULL);
}
static void *last(void *argument) {
    usleep(100000);
    return argument;
}
ROW(main_thread_first, "", "the main thread ends before the others") {
    turns(), passed();
    pthread_t thread;
    pthread_create(&thread, NULL, last, NULL);
    pthread_exit(NULL);
}
static void *speaker(void *argument) {
    usleep(50000);
    turns(), passed(), exit(0);
    return argument;
}
ROW(without_main_thread, "", "moved after its main thread has ended") {
    pthread_t thread;
    pthread_create(&thread, NULL, speaker, NULL);
    pthread_exit(NULL);
}
static const char *own(const char *format) {
    static char command[96];
    snprintf(command, sizeof command, format, getpid());
    return command;
}
ROW(killed_from_home, "ends=-9", "SIGKILL from home") { turns(), passed(), during(own("kill -KILL %d")), pause(); }
ROW(terminated_from_home, "ends=-15", "SIGTERM from home") {
    turns(), passed(), during(own("kill -TERM %d"));
    while (1) pause();
}

/* In these rows a child is moved and its parent, at home, looks at it. */
static pid_t movable(void (*act)(void)) {
    pid_t child = fork();
    if (child == 0) say("ready %d", getpid()), act(), _exit(0);
    return child;
}
static void dump_core(void) {
    struct rlimit all;
    getrlimit(RLIMIT_CORE, &all);
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_CORE, &all);
    turns();
    signal(SIGQUIT, SIG_DFL);
    kill(getpid(), SIGQUIT);
    pause();
}
ROW(core_bit, "forks", "the wait status tells of a core dump") {
    int status;
    waitpid(movable(dump_core), &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
    struct rlimit all;
    getrlimit(RLIMIT_CORE, &all);
    if (all.rlim_max > 0) CHECK(WCOREDUMP(status));
}

static void stop_self(void) {
    while (calm()) {
        say("step"), go_on();
        raise(SIGSTOP);
    }
}
static volatile sig_atomic_t news;
static void on_child(int number) { (void)number, news++; }
ROW(stops_itself, "forks", "its parent sees it stop and go on, and nothing else") {
    struct sigaction action = {.sa_handler = on_child};
    sigaction(SIGCHLD, &action, NULL);
    pid_t child = movable(stop_self);
    int status;
    while (1) {
        pid_t got = waitpid(child, &status, WUNTRACED | WCONTINUED);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got == child);
        if (WIFEXITED(status)) break;
        if (WIFCONTINUED(status)) continue;
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        CHECK(kill(child, SIGCONT) == 0);
        pid_t again;
        do again = waitpid(child, &status, WCONTINUED); while (again < 0 && errno == EINTR);
        CHECK(again == child && (WIFCONTINUED(status) || WIFEXITED(status)));
        if (WIFEXITED(status)) break;
    }
}
ROW(no_news, "forks", "a move gives its parent no SIGCHLD and no stop to see") {
    struct sigaction action = {.sa_handler = on_child};
    sigaction(SIGCHLD, &action, NULL);
    pid_t child = movable(turns);
    int status;
    pid_t got;
    int before_end = 0;
    do {
        got = waitpid(child, &status, WUNTRACED | WCONTINUED);
        if (got == child && !WIFEXITED(status)) FAIL("status %x seen", status);
        if (got < 0) before_end++;
    } while (got != child);
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(news == 1 && before_end <= 1);
}

static void orphan(void) {
    prctl(PR_SET_PDEATHSIG, 0);
    pid_t parent = getppid();
    char command[64];
    snprintf(command, sizeof command, "kill -KILL %d", parent);
    step(command);
    for (int tries = 0; getppid() == parent && tries < 20000; tries++) usleep(1000);
    if (getppid() == parent) say("fail its parent is still %d", parent);
    else say("pass");
    while (step("")) {}
}
ROW(parent_dies, "forks ends=-9", "the death of its parent: it goes on, with another parent") {
    movable(orphan);
    while (1) pause();
}

static int gate[2];
static void turns_when_seized(void) {
    char byte;
    CHECK(read(gate[0], &byte, 1) == 1);
    close(gate[0]), close(gate[1]);
    say("ready %d", getpid());
    turns();
}
ROW(traced, "root forks", "a traced process is refused") {
    CHECK(pipe(gate) == 0);
    pid_t child = fork();
    if (child == 0) turns_when_seized(), _exit(0);
    CHECK(ptrace(PTRACE_SEIZE, child, 0, 0) == 0);
    CHECK(write(gate[1], "x", 1) == 1);
    int status;
    while (waitpid(child, &status, 0) == child && !WIFEXITED(status)) ptrace(PTRACE_CONT, child, 0, 0);
}

static char vfork_stack[65536];
static int slow_child(void *argument) {
    usleep(1500000);
    return argument != NULL;
}
ROW(vforked, "", "a vfork in progress waits or is refused") {
    while (calm()) {
        during("");
        pid_t child = clone(slow_child, vfork_stack + sizeof vfork_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 0);
    }
}

static void job(void) {
    turns();
    _exit(3);
}
ROW(waited_by_shell, "forks", "WNOWAIT, waitid and its resource usage at home") {
    pid_t child = movable(job);
    siginfo_t info;
    int got;
    do got = waitid(P_PID, child, &info, WEXITED | WNOWAIT); while (got < 0 && errno == EINTR);
    CHECK(info.si_code == CLD_EXITED && info.si_status == 3 && info.si_pid == child && info.si_uid == getuid());
    struct rusage usage;
    int status;
    CHECK(wait4(child, &status, 0, &usage) == child && WEXITSTATUS(status) == 3);
}
