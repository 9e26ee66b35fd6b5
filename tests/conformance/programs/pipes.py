"""Pipes and FIFOs with others at home at the other end, and pipes of its own."""

import fcntl
import hashlib
import os
import select
import signal

from steps import calm, during, equal, eventually, main, row, say, step, turns, with_peer

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


@row("a stream of 20 MB in both directions loses, doubles and reorders nothing while moving", "forks")
def stream() -> None:
    down, up = os.pipe(), os.pipe()

    def mover() -> None:
        os.close(down[1]), os.close(up[0])
        for _ in turns():
            pass
        while data := os.read(down[0], 65536):
            while data:
                data = data[os.write(up[1], data) :]

    def peer() -> None:
        os.close(down[0]), os.close(up[1])
        sent, got = hashlib.sha256(), hashlib.sha256()
        os.set_blocking(down[1], False)
        left, size = 20 << 20, 0
        while True:
            readable, writable, _ = select.select([up[0]], [down[1]] if left else [], [])
            if writable:
                block = os.urandom(min(left, 30000))
                count = os.write(down[1], block)
                sent.update(block[:count])
                left -= count
                if not left:
                    os.close(down[1])
            if readable:
                data = os.read(up[0], 65536)
                if not data:
                    break
                got.update(data)
                size += len(data)
        if size != 20 << 20 or sent.digest() != got.digest():
            say(f"fail {size} bytes came back, equal: {sent.digest() == got.digest()}")

    with_peer(mover, peer)


@row("moved in the middle of a stream, at a random place", "forks")
def in_flight() -> None:
    reader, writer = os.pipe()

    def mover() -> None:
        os.close(writer)
        wanted = 0
        rest = b""
        while calm():
            during()
            for _ in range(400):
                data = rest + os.read(reader, 4096)
                rest = data[len(data) // 8 * 8 :]
                for at in range(0, len(data) // 8 * 8, 8):
                    equal(int(data[at : at + 8]), wanted)
                    wanted += 1

    def peer() -> None:
        os.close(reader)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        number = 0
        try:
            while True:
                os.write(writer, b"".join(b"%08d" % i for i in range(number, number + 16)))
                number += 16
        except BrokenPipeError:
            return

    with_peer(mover, peer)


@row("a full pipe: the writer blocks, moves, and goes on when home reads", "forks")
def full() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(reader), os.close(gate_out)
        while calm():
            os.write(gate_in, b"g")
            during()
            block = os.urandom(300000)
            view = memoryview(block)
            while view:
                view = view[os.write(writer, view) :]
            os.write(writer, hashlib.sha256(block).digest())

    def peer() -> None:
        import time

        os.close(writer), os.close(gate_in)
        with os.fdopen(reader, "rb") as stream:
            while os.read(gate_out, 1):
                time.sleep(4)
                block = stream.read(300000)
                if hashlib.sha256(block).digest() != stream.read(32):
                    say("fail the data differ")

    with_peer(mover, peer)


@row("data lying in a pipe before the move are read after it", "forks")
def waiting_data() -> None:
    reader, writer = os.pipe()
    again_out, again_in = os.pipe()

    def mover() -> None:
        os.close(writer), os.close(again_out)
        while calm():
            os.write(again_in, b"x")
            eventually(lambda: select.select([reader], [], [], 0)[0], "data")
            step()
            equal(os.read(reader, 100), b"ten bytes.")

    def peer() -> None:
        os.close(reader), os.close(again_in)
        while os.read(again_out, 1):
            os.write(writer, b"ten bytes.")

    with_peer(mover, peer)


@row("end of file arrives when home closes its end", "forks")
def end_of_file() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(writer), os.close(gate_out)
        step()
        os.write(gate_in, b"x")
        equal(os.read(reader, 10), b"")
        while step():
            equal(os.read(reader, 10), b"")

    def peer() -> None:
        os.close(reader), os.close(gate_in)
        os.read(gate_out, 1)
        os.close(writer)

    with_peer(mover, peer)


@row("SIGPIPE and EPIPE when home closes the reading end", "forks")
def broken() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(reader), os.close(gate_out)
        got: list[int] = []
        signal.signal(signal.SIGPIPE, lambda number, frame: got.append(number))
        step()
        os.write(gate_in, b"x")

        def fails() -> bool:
            try:
                os.write(writer, b"x")
            except BrokenPipeError:
                return True
            return False

        eventually(fails, "EPIPE")
        eventually(lambda: got == [signal.SIGPIPE] * len(got) and got, "SIGPIPE")
        while step():
            eventually(fails, "EPIPE after another move")

    def peer() -> None:
        os.close(writer), os.close(gate_in)
        os.read(gate_out, 1)
        os.close(reader)

    with_peer(mover, peer)


@row("home's reader sees end of file when the moved writer closes", "forks")
def closes_away() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(reader), os.close(gate_in)
        step()
        os.write(writer, b"last")
        os.close(writer)
        equal(os.read(gate_out, 1), b"x")
        while step():
            pass

    def peer() -> None:
        os.close(writer), os.close(gate_out)
        data = b""
        while part := os.read(reader, 100):
            data += part
        if data != b"last":
            say(f"fail home read {data!r}")
        os.write(gate_in, b"x")

    with_peer(mover, peer)


@row("O_NONBLOCK: EAGAIN on an empty and on a full pipe", "forks")
def non_blocking() -> None:
    empty_reader, empty_writer = os.pipe()
    gate_out, gate_in = os.pipe()
    full_reader, full_writer = os.pipe()
    os.set_blocking(empty_reader, False)

    def mover() -> None:
        os.close(empty_writer), os.close(full_reader), os.close(gate_out)
        os.set_blocking(full_writer, False)
        written = 0
        for _ in turns():
            try:
                os.read(empty_reader, 1)
                raise AssertionError("read from an empty pipe")
            except BlockingIOError:
                pass
            try:
                while written < 64 << 20:
                    written += os.write(full_writer, b"x" * 4096)
                raise AssertionError("the pipe is never full")
            except BlockingIOError:
                pass
        os.write(gate_in, b"x")

    def peer() -> None:
        os.close(full_writer), os.close(gate_in)
        os.read(gate_out, 1)
        while os.read(full_reader, 65536):
            pass

    with_peer(mover, peer)


@row("poll, select and epoll on pipes to home", "forks")
def readiness() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(writer), os.close(gate_out)
        while step():
            equal(select.select([reader], [], [], 0.05)[0], [])
            os.write(gate_in, b"x")
            equal(select.select([reader], [], [], 20)[0], [reader])
            poll = select.poll()
            poll.register(reader, select.POLLIN)
            equal(poll.poll(0), [(reader, select.POLLIN)])
            with select.epoll() as epoll:
                epoll.register(reader, select.EPOLLIN)
                equal(epoll.poll(20), [(reader, select.EPOLLIN)])
            equal(os.read(reader, 10), b"y")

    def peer() -> None:
        os.close(reader), os.close(gate_in)
        while os.read(gate_out, 1):
            os.write(writer, b"y")

    with_peer(mover, peer)


@row("an epoll set made before the move, with pipes to home and of its own", "forks")
def epoll_kept() -> None:
    reader, writer = os.pipe()
    gate_out, gate_in = os.pipe()

    def mover() -> None:
        os.close(writer), os.close(gate_out)
        own_reader, own_writer = os.pipe()
        epoll = select.epoll()
        epoll.register(reader, select.EPOLLIN)
        epoll.register(own_reader, select.EPOLLIN | select.EPOLLET)
        while step():
            os.write(gate_in, b"x")
            equal(epoll.poll(20), [(reader, select.EPOLLIN)])
            equal(os.read(reader, 10), b"y")
            os.write(own_writer, b"z")
            equal(epoll.poll(20), [(own_reader, select.EPOLLIN)])
            equal(os.read(own_reader, 10), b"z")

    def peer() -> None:
        os.close(reader), os.close(gate_in)
        while os.read(gate_out, 1):
            os.write(writer, b"y")

    with_peer(mover, peer)


@row("FIONREAD tells what lies in a pipe to home", "forks")
def bytes_waiting() -> None:
    import struct
    import termios

    reader, writer = os.pipe()
    os.write(writer, b"seven!!")

    def mover() -> None:
        os.close(writer)
        for _ in turns():
            eventually(
                lambda: struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"1234"))[0] == 7, "FIONREAD of 7"
            )

    with_peer(mover, lambda: None)


if __name__ == "__main__":
    main()
