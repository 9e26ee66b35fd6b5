"""TCP and UDP: what a program has open goes on, and it stays at home's address."""

import os
import socket

from steps import calm, equal, main, row, say, step, turns, with_peer


def tcp_server(address: str = "127.0.0.1") -> socket.socket:
    server = socket.create_server((address, 0))
    server.settimeout(60)
    return server


def echo(server: socket.socket) -> None:
    """Serve connections one after another until one says nothing."""
    while True:
        end, _ = server.accept()
        said = False
        while data := end.recv(65536):
            said = True
            end.sendall(data)
        end.close()
        if not said:
            return


def ask(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    got = b""
    while len(got) < len(data) and (part := client.recv(65536)):
        got += part
    equal(got == data, True, "the answer")


@row("a TCP connection made before the move goes on", "forks")
def connected() -> None:
    server = tcp_server()

    def mover() -> None:
        client = socket.create_connection(server.getsockname())
        names = client.getsockname(), client.getpeername()
        for turn in turns():
            ask(client, b"%d" % turn + os.urandom(20000))
            equal((client.getsockname(), client.getpeername()), names)
        client.close()
        socket.create_connection(server.getsockname()).close()

    with_peer(mover, lambda: echo(server))


@row("a new TCP connection while away comes from home", "forks")
def connects_away() -> None:
    server = tcp_server()
    address = server.getsockname()

    def mover() -> None:
        server.close()
        for turn in turns():
            with socket.create_connection(address, timeout=20) as client:
                equal(client.getpeername(), address)
                ask(client, b"%d" % turn)
        socket.create_connection(address, timeout=20).close()

    with_peer(mover, lambda: echo(server))


CONNECT = (
    "python3 -c \"import socket;s=socket.create_connection(('127.0.0.1',PORT),20);s.send(b'hi');print(s.recv(5))\""
)


@row("a listening TCP socket is reached at home while it is away")
def listening() -> None:
    server = tcp_server()
    server.settimeout(20)
    port = server.getsockname()[1]
    for _ in turns():
        say("during " + CONNECT.replace("PORT", str(port)))
        end, _ = server.accept()
        equal(end.recv(10), b"hi")
        end.sendall(b"yo"), end.close()


@row("a TCP socket that begins to listen while away is reached at home")
def listens_away() -> None:
    for _ in turns():
        server = tcp_server()
        server.settimeout(20)
        say("during " + CONNECT.replace("PORT", str(server.getsockname()[1])))
        end, _ = server.accept()
        equal(end.recv(10), b"hi")
        end.sendall(b"yo"), end.close(), server.close()


@row("UDP: sent and received from home's address", "forks")
def udp() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    address = server.getsockname()

    def mover() -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(20)
        client.bind(("127.0.0.1", 0))
        for turn in turns():
            client.sendto(b"%d" % turn, address)
            equal(client.recvfrom(100), (b"%d" % turn, address))
        client.sendto(b"end", address)

    def peer() -> None:
        while (got := server.recvfrom(100))[0] != b"end":
            server.sendto(*got)

    with_peer(mover, peer)


@row("UDP sockets made while away", "forks")
def udp_away() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    address = server.getsockname()

    def mover() -> None:
        server.close()
        for turn in turns():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(b"%d" % turn, address)
                equal(client.recvfrom(100), (b"%d" % turn, address))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", address)

    def peer() -> None:
        while (got := server.recvfrom(100))[0] != b"end":
            server.sendto(*got)

    with_peer(mover, peer)


@row("an unconnected socket that is merely open")
def idle() -> None:
    sock = socket.socket()
    for _ in turns():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        equal(sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), socket.SOCK_STREAM)


@row("a connection that nobody accepts is refused as at home")
def refused() -> None:
    for _ in turns():
        try:
            socket.create_connection(("127.0.0.1", 1), timeout=20)
            raise AssertionError("somebody answers")
        except ConnectionRefusedError:
            pass


@row("names of hosts and the own addresses are home's")
def names() -> None:
    before = socket.gethostbyname(socket.gethostname()), sorted(name for _, name in socket.if_nameindex())
    for _ in turns():
        now = socket.gethostbyname(socket.gethostname()), sorted(name for _, name in socket.if_nameindex())
        equal(now, before)


@row("a server and its client in one process")
def loopback_inside() -> None:
    server = tcp_server()
    client = socket.create_connection(server.getsockname())
    end, _ = server.accept()
    while calm():
        client.sendall(b"x" * 1000)
        step()
        equal(len(end.recv(2000)), 1000)


if __name__ == "__main__":
    main()
