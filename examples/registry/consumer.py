"""Follows who offers a service; prints a line of JSON for each change.

    python consumer.py localhost:2181 com.example.Greeter

    {"category": "providers", "urls": ["dubbo://10.0.0.5:20880/com.example.Greeter?..."]}
"""
import argparse
import json
import signal
import threading
from urllib.parse import quote, unquote

from kazoo.client import KazooClient

FOLLOWED = ("providers", "configurators", "routers")


def main():
    arguments = parse_arguments()
    client = KazooClient(arguments.hosts, timeout=arguments.session_seconds,
                         connection_retry={"max_tries": -1, "delay": 0.1, "max_delay": 1})
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    client.start()
    root = f"/dubbo/{arguments.service}"
    for category in ("consumers", *FOLLOWED):
        client.ensure_path(f"{root}/{category}")
    own = f"consumer://{arguments.name}/{arguments.service}?category=consumers&side=consumer"
    client.create(f"{root}/consumers/{quote(own, safe='')}", ephemeral=True)
    for category in FOLLOWED:
        follow(client, root, category)
    ended.wait()
    client.stop()


def follow(client, root, category):
    @client.ChildrenWatch(f"{root}/{category}")
    def changed(children):
        urls = sorted(unquote(child) for child in children)
        print(json.dumps({"category": category, "urls": urls}), flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Follows who offers a service.")
    parser.add_argument("hosts", help="servers, such as localhost:2181")
    parser.add_argument("service", help="name of the interface")
    parser.add_argument("--name", default="127.0.0.1", help="how the consumer calls itself")
    parser.add_argument("--session-seconds", type=float, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
