"""Announces one address of a service, as long as this process lives.

    python provider.py localhost:2181 com.example.Greeter 10.0.0.5:20880

The announcement is an ephemeral znode: it goes away at once when the process ends in order, and
after the session timeout when it does not.
"""
import argparse
import queue
import signal
import threading
import time
from urllib.parse import quote

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from kazoo.protocol.states import KazooState

CATEGORIES = ("providers", "consumers", "configurators", "routers")


def main():
    arguments = parse_arguments()
    client = KazooClient(arguments.hosts, timeout=arguments.session_seconds,
                         connection_retry={"max_tries": -1, "delay": 0.1, "max_delay": 1})
    url = (f"dubbo://{arguments.address}/{arguments.service}"
           f"?interface={arguments.service}&side=provider&timestamp={time.time_ns() // 1_000_000}")
    # Signals and the client's threads speak to the main thread through this.
    events = queue.SimpleQueue()
    session_lost = threading.Event()

    def on_state(state):
        if state == KazooState.LOST:
            session_lost.set()
        elif state == KazooState.CONNECTED and session_lost.is_set():
            session_lost.clear()
            events.put("new session")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: events.put("end"))
    client.start()
    client.add_listener(on_state)
    register(client, arguments.service, url)
    while events.get() == "new session":
        # It owns nothing: the server removed what the old one had announced.
        register(client, arguments.service, url)
    client.stop()


def register(client, service, url):
    for category in CATEGORIES:
        client.ensure_path(f"/dubbo/{service}/{category}")
    path = f"/dubbo/{service}/providers/{quote(url, safe='')}"
    try:
        client.retry(client.create, path, ephemeral=True)
    except NodeExistsError:
        # Either a retry of our own create, or what a session left that hasn't expired yet.
        if client.get(path)[1].ephemeralOwner != client.client_id[0]:
            client.retry(client.delete, path)
            client.retry(client.create, path, ephemeral=True)
    print(f"registered {path}", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Announces one address of a service.")
    parser.add_argument("hosts", help="servers, such as localhost:2181")
    parser.add_argument("service", help="name of the interface")
    parser.add_argument("address", help="host:port where the service answers")
    parser.add_argument("--session-seconds", type=float, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
