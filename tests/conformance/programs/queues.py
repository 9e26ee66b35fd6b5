"""FIFOs, and pipes and event descriptors of which the process has both ends."""

import fcntl
import os
import select

from steps import calm, equal, main, row, say, step, turns, with_peer

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


@row("a pipe of its own, with data in it")
def own() -> None:
    reader, writer = os.pipe()
    while calm():
        os.write(writer, b"in the pipe")
        step()
        equal(os.read(reader, 100), b"in the pipe")
        equal(select.select([reader], [writer], [], 0)[:2], ([], [writer]))


@row("a pipe of its own, full, with its size")
def own_full() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 16384)
    os.set_blocking(writer, False)
    while calm():
        data = os.urandom(16384)
        equal(os.write(writer, data), 16384)
        step()
        equal(fcntl.fcntl(reader, F_GETPIPE_SZ), 16384, "the size")
        equal(os.read(reader, 20000) == data, True, "the data")


@row("O_DIRECT: packets keep their boundaries")
def packets() -> None:
    reader, writer = os.pipe2(os.O_DIRECT)
    while calm():
        os.write(writer, b"one")
        os.write(writer, b"second")
        step()
        equal(os.read(reader, 100), b"one")
        equal(os.read(reader, 100), b"second")


@row("pipes made at every place, kept to the next")
def made_away() -> None:
    kept: list[tuple[int, int]] = []
    for _turn in turns():
        for reader, writer in kept:
            equal(os.read(reader, 10), b"kept")
            os.write(writer, b"kept")
        kept.append(os.pipe())
        os.write(kept[-1][1], b"kept")


@row("FIFO: another process at home at the other end", "forks")
def fifo() -> None:
    os.mkfifo("fifo"), os.mkfifo("answer")

    def mover() -> None:
        out, back = os.open("fifo", os.O_WRONLY), os.open("answer", os.O_RDONLY)
        for turn in turns():
            os.write(out, b"%d" % turn)
            equal(os.read(back, 10), b"%d" % turn)

    def peer() -> None:
        source, back = os.open("fifo", os.O_RDONLY), os.open("answer", os.O_WRONLY)
        while data := os.read(source, 100):
            os.write(back, data)

    with_peer(mover, peer)


@row("FIFO opened while away", "forks")
def fifo_away() -> None:
    os.mkfifo("fifo")
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(gate_out)
        for _turn in turns():
            os.write(gate_in, b"x")
            fd = os.open("fifo", os.O_WRONLY)
            os.write(fd, b"hello")
            os.close(fd)

    def peer() -> None:
        os.close(gate_in)
        while os.read(gate_out, 1):
            with open("fifo", "rb") as file:
                if (data := file.read()) != b"hello":
                    say(f"fail home read {data!r}")

    with_peer(mover, peer)


@row("an eventfd and its count")
def eventfd() -> None:
    fd = os.eventfd(5, os.EFD_NONBLOCK)
    for _turn in turns():
        equal(os.eventfd_read(fd), 5)
        os.eventfd_write(fd, 5)


if __name__ == "__main__":
    main()
