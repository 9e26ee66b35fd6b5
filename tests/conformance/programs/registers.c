/* Registers and the state of the floating point units. */
#include "conformance.h"
#include <asm/prctl.h>
#include <fenv.h>
#include <immintrin.h>

/* Fill all registers, wait in read(2) without leaving assembly, store them again. */
ROW(general, "", "general registers and flags across a system call") {
    while (calm()) {
        uint64_t in[6], out[6];
        char byte;
        for (int i = 0; i < 6; i++) in[i] = 0x1122334455667788ull * (i + 3);
        say("step");
        uint64_t got, *where = in, *result = out;
        __asm__ volatile(
            "push %%rbp\n push %[out]\n mov %[in], %%r10\n"
            "mov (%%r10), %%rbx\n mov 8(%%r10), %%rbp\n mov 16(%%r10), %%r12\n mov 24(%%r10), %%r13\n"
            "mov 32(%%r10), %%r14\n mov 40(%%r10), %%r15\n"
            "std\n 1: xor %%eax, %%eax\n xor %%edi, %%edi\n mov %[byte], %%rsi\n mov $1, %%edx\n syscall\n cld\n"
            "pop %%r10\n"
            "mov %%rbx, (%%r10)\n mov %%rbp, 8(%%r10)\n mov %%r12, 16(%%r10)\n mov %%r13, 24(%%r10)\n"
            "mov %%r14, 32(%%r10)\n mov %%r15, 40(%%r10)\n pop %%rbp\n"
            : "=a"(got)
            : [in] "r"(where), [out] "r"(result), [byte] "r"(&byte)
            : "rbx", "r10", "r11", "r12", "r13", "r14", "r15", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
        CHECK(got == 1);
        CHECK(memcmp(in, out, sizeof in) == 0);
        go_on();
    }
}

ROW(avx, "", "SSE and AVX registers") {
    if (!__builtin_cpu_supports("avx")) return;
    while (calm()) {
        static float in[8][8] __attribute__((aligned(32))), out[8][8] __attribute__((aligned(32)));
        char byte = 0;
        for (int i = 0; i < 64; i++) in[i / 8][i % 8] = 1.25f * i + 0.5f;
        say("step");
        long got;
        __asm__ volatile(
            "vmovaps (%[in]), %%ymm0\n vmovaps 32(%[in]), %%ymm1\n vmovaps 64(%[in]), %%ymm5\n vmovaps 96(%[in]), %%ymm7\n"
            "vmovaps 128(%[in]), %%ymm8\n vmovaps 160(%[in]), %%ymm11\n vmovaps 192(%[in]), %%ymm14\n"
            "vmovaps 224(%[in]), %%ymm15\n xor %%eax, %%eax\n xor %%edi, %%edi\n mov %[byte], %%rsi\n mov $1, %%edx\n"
            "syscall\n"
            "vmovaps %%ymm0, (%[out])\n vmovaps %%ymm1, 32(%[out])\n vmovaps %%ymm5, 64(%[out])\n vmovaps %%ymm7, 96(%[out])\n"
            "vmovaps %%ymm8, 128(%[out])\n vmovaps %%ymm11, 160(%[out])\n vmovaps %%ymm14, 192(%[out])\n"
            "vmovaps %%ymm15, 224(%[out])\n vzeroupper\n"
            : "=&a"(got)
            : [in] "r"(in), [out] "r"(out), [byte] "r"(&byte)
            : "rdi", "rsi", "rdx", "rcx", "r11", "memory", "xmm0", "xmm1", "xmm5", "xmm7", "xmm8", "xmm11", "xmm14", "xmm15");
        CHECK(got == 1);
        CHECK(memcmp(in, out, sizeof in) == 0);
        go_on();
    }
}

ROW(avx512, "", "AVX-512 registers and mask registers, where the processor has them") {
    if (!__builtin_cpu_supports("avx512f")) return;
    while (calm()) {
        static double in[2][8] __attribute__((aligned(64))), out[2][8] __attribute__((aligned(64)));
        char byte = 0;
        for (int i = 0; i < 16; i++) in[i / 8][i % 8] = 3.5 * i - 1;
        say("step");
        long got;
        uint32_t mask = 0;
        __asm__ volatile(
            "vmovapd (%[in]), %%zmm3\n vmovapd 64(%[in]), %%zmm29\n mov $0xa5a5, %%edx\n kmovw %%edx, %%k3\n"
            "xor %%eax, %%eax\n xor %%edi, %%edi\n mov %[byte], %%rsi\n mov $1, %%edx\n syscall\n"
            "vmovapd %%zmm3, (%[out])\n vmovapd %%zmm29, 64(%[out])\n kmovw %%k3, %[mask]\n"
            : "=&a"(got), [mask] "=&r"(mask)
            : [in] "r"(in), [out] "r"(out), [byte] "r"(&byte)
            : "rdi", "rsi", "rdx", "rcx", "r11", "memory", "xmm3");
        CHECK(got == 1);
        CHECK(mask == 0xa5a5);
        CHECK(memcmp(in, out, sizeof in) == 0);
        go_on();
    }
}

ROW(x87, "", "x87 stack, control word and rounding of both units") {
    fesetround(FE_UPWARD);
    uint16_t control = 0x0c7f;  /* double extended off, rounding to zero */
    __asm__ volatile("fldcw %0" : : "m"(control));
    while (calm()) {
        long double value = 3.14159265358979323846L, back = 0;
        char byte = 0;
        long got;
        say("step");
        __asm__ volatile(
            "fldt %[value]\n xor %%eax, %%eax\n xor %%edi, %%edi\n mov %[byte], %%rsi\n mov $1, %%edx\n syscall\n fstpt %[back]\n"
            : "=&a"(got), [back] "=m"(back)
            : [value] "m"(value), [byte] "r"(&byte)
            : "rdi", "rsi", "rdx", "rcx", "r11", "memory");
        uint16_t now;
        __asm__ volatile("fnstcw %0" : "=m"(now));
        CHECK(got == 1 && back == value);
        CHECK(now == control);
        CHECK((_mm_getcsr() & 0x6000) == 0x4000);
        go_on();
    }
}

ROW(segments, "", "bases of the segments FS and GS") {
    static uint64_t cell = 0xfeedface;
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, &cell) == 0);
    unsigned long fs;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0);
    while (step("")) {
        uint64_t through;
        unsigned long now;
        __asm__ volatile("mov %%gs:0, %0" : "=r"(through));
        CHECK(through == cell);
        CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &now) == 0 && now == fs);
    }
}

static volatile sig_atomic_t stop;
static void on_stop(int number) { (void)number; stop = 1; }

ROW(computing, "", "a computation without system calls, moved in the middle") {
    signal(SIGUSR1, on_stop);
    char command[64];
    snprintf(command, sizeof command, "kill -USR1 %d", getpid());
    while (calm()) {
        uint64_t state = 88172645463325252ull, count = 0;
        double sum = 0;
        stop = 0;
        during(command);
        while (!stop) {
            for (int i = 0; i < 1000; i++) {
                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                sum += (double)(state & 0xffff) / 3.0;
            }
            count += 1000;
        }
        uint64_t again = 88172645463325252ull;
        double expected = 0;
        for (uint64_t i = 0; i < count; i++) {
            again ^= again << 13, again ^= again >> 7, again ^= again << 17;
            expected += (double)(again & 0xffff) / 3.0;
        }
        CHECK(again == state);
        CHECK(expected == sum);
    }
}
