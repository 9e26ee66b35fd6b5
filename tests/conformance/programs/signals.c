/* Signals: handlers, masks, what is pending, who sent it, and calls that wait for them. */
#include "conformance.h"
#include <poll.h>
#include <sys/signalfd.h>

static volatile sig_atomic_t caught, last_value, last_code, nested;
static volatile pid_t last_pid, last_uid;
static volatile int order[16], order_count;

static void note(int number) { caught = number; }
static void note_info(int number, siginfo_t *info, void *context) {
    (void)context;
    if (order_count < 16) order[order_count++] = info->si_value.sival_int;
    last_value = info->si_value.sival_int, last_code = info->si_code, last_pid = info->si_pid, last_uid = info->si_uid;
    caught = number;
}
static void act(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    CHECK(sigaction(number, &action, NULL) == 0);
}
static void await(volatile sig_atomic_t *flag, int wanted) {
    struct timespec moment = {0, 1000000};
    for (int i = 0; i < 20000 && *flag != wanted; i++) nanosleep(&moment, NULL);
    CHECK(*flag == wanted);
}
static const char *kill_command(const char *how) {
    static char command[96];
    snprintf(command, sizeof command, "/bin/kill %s %d", how, getpid());
    return command;
}

ROW(handlers, "", "handlers, their flags and masks are kept and work") {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART | SA_NODEFER}, now;
    sigaddset(&action.sa_mask, SIGHUP), sigaddset(&action.sa_mask, SIGRTMIN + 3);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    signal(SIGHUP, SIG_IGN);
    while (step("")) {
        CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == note);
        CHECK((now.sa_flags & (SA_RESTART | SA_NODEFER)) == (SA_RESTART | SA_NODEFER));
        CHECK(sigismember(&now.sa_mask, SIGHUP) && sigismember(&now.sa_mask, SIGRTMIN + 3));
        CHECK(!sigismember(&now.sa_mask, SIGTERM));
        CHECK(sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler == SIG_IGN);
        caught = 0;
        raise(SIGUSR1), raise(SIGHUP);
        CHECK(caught == SIGUSR1);
    }
}

ROW(mask, "", "the mask of blocked signals") {
    sigset_t set, now;
    sigemptyset(&set), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGRTMAX);
    sigprocmask(SIG_SETMASK, &set, NULL);
    while (step("")) {
        sigprocmask(SIG_BLOCK, NULL, &now);
        for (int number = 1; number <= SIGRTMAX; number++)
            if (number < 32 || number >= SIGRTMIN) CHECK(sigismember(&now, number) == sigismember(&set, number));
    }
}

ROW(pending, "", "pending standard signals stay pending and come once") {
    sigset_t set, now;
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    act(SIGUSR1, note_info, 0);
    while (calm()) {
        kill(getpid(), SIGUSR1);
        say("step"), go_on();
        sigpending(&now);
        CHECK(sigismember(&now, SIGUSR1));
        order_count = 0;
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        CHECK(order_count == 1 && last_pid == getpid());
        sigprocmask(SIG_BLOCK, &set, NULL);
        sigpending(&now);
        CHECK(!sigismember(&now, SIGUSR1));
    }
}

ROW(realtime, "", "pending real-time signals with their values, in order") {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    act(SIGRTMIN + 1, note_info, 0);
    while (calm()) {
        for (int i = 0; i < 5; i++) CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 100 + i}) == 0);
        say("step"), go_on();
        order_count = 0;
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        CHECK(order_count == 5);
        for (int i = 0; i < 5; i++) CHECK(order[i] == 100 + i);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
}

ROW(thread_pending, "", "signals pending for one thread") {
    sigset_t set, now;
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    act(SIGUSR2, note_info, 0);
    while (calm()) {
        caught = 0;
        CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
        say("step"), go_on();
        sigpending(&now);
        CHECK(sigismember(&now, SIGUSR2));
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        CHECK(caught == SIGUSR2 && last_code == SI_TKILL);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
}

ROW(from_home, "", "a signal sent at home arrives") {
    act(SIGUSR1, note_info, SA_RESTART);
    while (calm()) {
        caught = 0;
        if (!step(kill_command("-USR1"))) break;
        await(&caught, SIGUSR1);
        CHECK(last_code == SI_USER);
    }
}

ROW(sender, "", "the sender's user id and that its process id is not our own") {
    act(SIGUSR1, note_info, SA_RESTART);
    while (calm()) {
        caught = 0;
        if (!step(kill_command("-USR1"))) break;
        await(&caught, SIGUSR1);
        CHECK(last_uid == (pid_t)getuid());
        CHECK(last_pid > 0 && last_pid != getpid());
    }
}

ROW(queued_value, "", "sigqueue from home: the value arrives") {
    act(SIGRTMIN + 2, note_info, SA_RESTART);
    char how[32];
    snprintf(how, sizeof how, "-q 4711 -%d", SIGRTMIN + 2);
    while (calm()) {
        caught = 0;
        if (!step(kill_command(how))) break;
        await(&caught, SIGRTMIN + 2);
        CHECK(last_value == 4711 && last_code == SI_QUEUE);
    }
}

static char *stack_low, *stack_high;
static volatile sig_atomic_t on_stack;
static void note_stack(int number) {
    char here;
    on_stack = &here >= stack_low && &here < stack_high;
    caught = number;
}
ROW(altstack, "", "the alternate signal stack is kept and used") {
    size_t size = 65536;
    stack_low = malloc(size), stack_high = stack_low + size;
    stack_t stack = {.ss_sp = stack_low, .ss_size = size}, now;
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = note_stack, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    while (step("")) {
        CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == stack_low && now.ss_size == size && now.ss_flags == 0);
        on_stack = 0;
        raise(SIGUSR1);
        CHECK(on_stack == 1);
    }
}

static void step_inside(int number) {
    caught = number;
    say("step"), go_on();
    char here;
    on_stack = &here >= stack_low && &here < stack_high;
}
ROW(inside_handler, "", "moved while inside a handler on the alternate stack") {
    size_t size = 65536;
    stack_low = malloc(size), stack_high = stack_low + size;
    stack_t stack = {.ss_sp = stack_low, .ss_size = size};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = step_inside, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    while (calm()) {
        caught = 0;
        raise(SIGUSR1);
        CHECK(caught == SIGUSR1 && on_stack == 1);
        sigset_t now;
        sigprocmask(SIG_BLOCK, NULL, &now);
        CHECK(!sigismember(&now, SIGUSR1));
    }
}

ROW(pause, "", "waiting in pause(2), ended by a signal from home") {
    signal(SIGUSR1, note);
    while (calm()) {
        caught = 0;
        during(kill_command("-USR1"));
        while (!caught) CHECK(pause() == -1 && errno == EINTR);
    }
}

ROW(sigsuspend, "", "waiting in sigsuspend(2); the mask is right afterwards") {
    sigset_t none, set, now;
    sigemptyset(&none), sigemptyset(&set), sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, note);
    while (calm()) {
        caught = 0;
        during(kill_command("-USR1"));
        while (!caught) CHECK(sigsuspend(&none) == -1 && errno == EINTR);
        sigprocmask(SIG_BLOCK, NULL, &now);
        CHECK(sigismember(&now, SIGUSR1));
    }
}

ROW(sigwaitinfo, "", "waiting in sigwaitinfo(2)") {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (calm()) {
        siginfo_t info;
        during(kill_command("-USR1"));
        int got;
        do got = sigwaitinfo(&set, &info); while (got < 0 && errno == EINTR);
        CHECK(got == SIGUSR1);
    }
}

ROW(restart, "", "a read with SA_RESTART goes on after a handler, one without ends with EINTR") {
    int ends[2];
    CHECK(pipe(ends) == 0);
    while (calm()) {
        char byte;
        struct sigaction action = {.sa_handler = note};
        sigaction(SIGUSR1, &action, NULL);
        caught = 0;
        during(kill_command("-USR1"));
        ssize_t got = read(ends[0], &byte, 1);
        CHECK(got == -1 && errno == EINTR);
        await(&caught, SIGUSR1);
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, NULL);
        caught = 0;
        if (!step(kill_command("-USR1"))) break;
        await(&caught, SIGUSR1);
    }
}

ROW(signalfd, "", "a signalfd reads what is sent at home") {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    CHECK(fd >= 0);
    while (step(kill_command("-USR1"))) {
        struct signalfd_siginfo info;
        struct pollfd wait = {fd, POLLIN, 0};
        CHECK(poll(&wait, 1, 20000) == 1);
        CHECK(read(fd, &info, sizeof info) == sizeof info);
        CHECK(info.ssi_signo == SIGUSR1);
    }
}


ROW(stop_continue, "", "SIGSTOP and SIGCONT from home: stops, and goes on") {
    signal(SIGCONT, note);
    char command[128];
    snprintf(command, sizeof command, "kill -STOP %d; until grep -q 'State:.T' /proc/%d/status; do sleep 0.02; done; kill -CONT %d",
             getpid(), getpid(), getpid());
    while (calm()) {
        caught = 0;
        if (!step(command)) break;
        await(&caught, SIGCONT);
    }
}
