"""Sockets of the machine: pairs, connections to others at home, passed descriptors."""

import os
import select
import socket

from steps import calm, equal, main, row, say, step, turns, with_peer


@row("a socketpair of its own, with data in it")
def pair() -> None:
    left, right = socket.socketpair()
    while calm():
        left.send(b"to the right"), right.send(b"to the left")
        step()
        equal(right.recv(100), b"to the right")
        equal(left.recv(100), b"to the left")


@row("socketpairs of datagrams and packets of its own")
def datagram_pair() -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)]
    while calm():
        for left, _ in pairs:
            left.send(b"one"), left.send(b"two")
        step()
        for _, right in pairs:
            equal(right.recv(100), b"one")
            equal(right.recv(100), b"two")


@row("socketpairs made at every place, kept to the next")
def pair_away() -> None:
    kept: list[tuple[socket.socket, socket.socket]] = []
    for _ in turns():
        for left, right in kept:
            left.send(b"x")
            equal(right.recv(10), b"x")
        kept.append(socket.socketpair())


@row("a socketpair with another process at home", "forks")
def pair_with_peer() -> None:
    left, right = socket.socketpair()

    def mover() -> None:
        right.close()
        for turn in turns():
            left.send(b"%d" % turn)
            equal(left.recv(100), b"%d" % turn)

    def peer() -> None:
        left.close()
        while data := right.recv(100):
            right.send(data)

    with_peer(mover, peer)


def unix_server(path: str, kind: socket.SocketKind) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(path)
    if kind is not socket.SOCK_DGRAM:
        server.listen()
    return server


@row("a connection to a unix socket of home, made before", "forks")
def unix_stream() -> None:
    server = unix_server("server", socket.SOCK_STREAM)

    def mover() -> None:
        server.close()
        client = socket.socket(socket.AF_UNIX)
        client.connect("server")
        for turn in turns():
            client.sendall(b"%d" % turn)
            equal(client.recv(100), b"%d" % turn)

    def peer() -> None:
        end, _ = server.accept()
        while data := end.recv(100):
            end.sendall(data)

    with_peer(mover, peer)


@row("datagrams to a unix socket of home", "forks")
def unix_datagram() -> None:
    server = unix_server("server", socket.SOCK_DGRAM)

    def mover() -> None:
        client = unix_server("client", socket.SOCK_DGRAM)
        for turn in turns():
            client.sendto(b"%d" % turn, "server")
            equal(client.recv(100), b"%d" % turn)
        client.sendto(b"end", "server")

    def peer() -> None:
        while (data := server.recv(100)) != b"end":
            server.sendto(data, "client")

    with_peer(mover, peer)


@row("a connection to a unix socket of home, made while away", "forks")
def unix_away() -> None:
    server = unix_server("server", socket.SOCK_STREAM)
    server.settimeout(60)

    def mover() -> None:
        server.close()
        for turn in turns():
            client = socket.socket(socket.AF_UNIX)
            client.connect("server")
            client.sendall(b"%d" % turn)
            equal(client.recv(100), b"%d" % turn)
            client.close()
        client = socket.socket(socket.AF_UNIX)
        client.connect("server")

    def peer() -> None:
        while True:
            end, _ = server.accept()
            data = end.recv(100)
            if not data:
                return
            end.sendall(data)

    with_peer(mover, peer)


@row("a listening unix socket that home reaches while it is away")
def unix_listening() -> None:
    server = unix_server("server", socket.SOCK_STREAM)
    server.settimeout(20)
    command = "python3 -c \"import socket;s=socket.socket(socket.AF_UNIX);s.connect('server');s.send(b'hi')\""
    while step(command):
        end, _ = server.accept()
        equal(end.recv(10), b"hi")
        end.close()


@row("a listening unix socket made while away")
def unix_listening_away() -> None:
    command = "python3 -c \"import socket;s=socket.socket(socket.AF_UNIX);s.connect('PATH');s.send(b'hi')\""
    for turn in turns():
        server = unix_server(f"server-{turn}", socket.SOCK_STREAM)
        server.settimeout(20)
        say("during " + command.replace("PATH", f"server-{turn}"))
        end, _ = server.accept()
        equal(end.recv(10), b"hi")
        end.close(), server.close()


@row("a descriptor passed in a socket of its own is not lost")
def passed() -> None:
    left, right = socket.socketpair()
    while calm():
        fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, b"passed", 0)
        socket.send_fds(left, [b"x"], [fd])
        os.close(fd)
        step()
        _, fds, _, _ = socket.recv_fds(right, 10, 1)
        equal(os.pread(fds[0], 10, 0), b"passed")
        os.close(fds[0])


@row("a descriptor passed by a process at home while away", "forks")
def passed_by_peer() -> None:
    left, right = socket.socketpair()

    def mover() -> None:
        right.close()
        for _ in turns():
            left.send(b"x")
            _, fds, _, _ = socket.recv_fds(left, 10, 1)
            equal(os.pread(fds[0], 10, 0), b"passed")
            os.close(fds[0])

    def peer() -> None:
        left.close()
        fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, b"passed", 0)
        while right.recv(10):
            socket.send_fds(right, [b"x"], [fd])

    with_peer(mover, peer)


@row("an epoll set with a socketpair of its own, as asyncio has it")
def asyncio_loop() -> None:
    import asyncio

    async def run() -> None:
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, step):
            equal(await asyncio.wait_for(asyncio.sleep(0.01, "slept"), 20), "slept")

    asyncio.run(run())


@row("subprocess-like use of select over a pair")
def select_pair() -> None:
    left, right = socket.socketpair()
    while step():
        equal(select.select([left], [right], [], 0), ([], [right], []))
        right.send(b"x")
        equal(select.select([left], [], [], 20)[0], [left])
        equal(left.recv(5), b"x")


if __name__ == "__main__":
    main()
