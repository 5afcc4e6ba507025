#!/usr/bin/env python3
"""Measures messages and webhooks on a running stack, as a customer sees them. Needs nothing but Python.

    cargo local --memory --no-limits --webhook-allow 127.0.0.1:9201
    python3 tests/bench/local.py campaign --messages 10000
    python3 tests/bench/local.py webhooks

campaign: a campaign to so many phones, the one-time passwords of another tenant meanwhile, and a pause in between.
webhooks: events to eight receivers, all at once, and then two a second, alone and beside one that takes connections and never answers."""

import argparse
import json
import socketserver
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = "http://127.0.0.1:9000"
PORT = 9201
RECEIVERS = 8
# Without summer time, and so far apart that it is always day in one of them: nothing is held for the night.
ZONES = {"Pacific/Honolulu": -10, "America/Lima": -5, "Africa/Abidjan": 0, "Asia/Karachi": 5, "Asia/Tokyo": 9}


def call(method, path, body=None, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers, method=method), timeout=120) as answer:
        text = json.load(answer)
    return text.get("data", text)


def ready():
    """Waits until the functions run: each answers 503 until then."""
    for path in ("/2015-03-31/functions/operator/invocations", "/v1/messages", "/v1/webhooks"):
        while True:
            try:
                call("POST", path, {})
            except urllib.error.HTTPError as error:
                if error.code == 503:
                    time.sleep(1)
                    continue
            break


def tenant(name):
    """A tenant of its own without limits, and the token of its owner."""
    demo = call("POST", "/api/v1/demo", {"email": f"{name}-{time.time_ns()}@example.com", "name": name, "company_name": name})
    convert = {"command": "convert-demo", "tenant": demo["tenant_slug"], "plan": "enterprise"}
    call("POST", "/2015-03-31/functions/operator/invocations", convert)
    token = call("POST", "/api/v1/auth/login", {"email": demo["email"], "password": demo["password"]})["token"]
    zone = next(zone for zone, ahead in ZONES.items() if 9 <= (time.gmtime().tm_hour + ahead) % 24 < 18)
    call("PATCH", "/v1/settings/messaging", {"timezone": zone}, token)
    return token


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Passwords(threading.Thread):
    """One-time passwords, one after another, until it is told to stop. Notes how long each took from the request until it was sent."""

    def __init__(self, token):
        super().__init__(daemon=True)
        self.token, self.took, self.stopped, self.missing = token, [], threading.Event(), 0

    def run(self):
        number = 0
        while not self.stopped.is_set():
            number += 1
            body = {"to": f"+49151777{number:05}", "body": "Your code is 123456", "message_type": "otp"}
            began = time.monotonic()
            message = call("POST", "/v1/messages", body, self.token)
            while call("GET", f"/v1/messages/{message['message_id']}", token=self.token)["status"] in ("queued", "sending"):
                if time.monotonic() - began > 60:
                    self.missing += 1
                    break
                time.sleep(0.2)
            self.took.append(time.monotonic() - began)
            time.sleep(0.5)


def campaign(arguments):
    token, others = tenant("campaign"), Passwords(tenant("passwords"))
    recipients = [f"+49151{20_000_000 + number}" for number in range(arguments.messages)]
    began = time.monotonic()
    made = call("POST", "/v1/campaigns", {"name": "Bench", "body": "Hello", "recipients": recipients}, token)
    path = f"/v1/campaigns/{made['id']}"
    print(f"created in {time.monotonic() - began:.2f} s")
    others.start()
    paused, late, stood = False, 0, 0.0
    while True:
        time.sleep(1)
        seen = call("GET", path, token=token)
        done = out_of(seen)
        if not paused and done >= arguments.messages // 3:
            paused, at = True, time.monotonic()
            call("POST", path + "/pause", {}, token)
            time.sleep(5)
            before = out_of(call("GET", path, token=token))
            time.sleep(5)
            late = out_of(call("GET", path, token=token)) - before
            call("POST", path + "/resume", {}, token)
            stood = time.monotonic() - at
        if seen["status"] in ("completed", "failed"):
            break
    took = time.monotonic() - began - stood
    others.stopped.set()
    others.join()
    print(f"{arguments.messages} messages in {took:.0f} s without the pause: {arguments.messages / took:.1f} a second; {json.dumps(seen['counts'])}")
    print(f"sent later than 5 s after a pause: {late}")
    print(f"one-time passwords of another tenant: {len(others.took)}, p50 {percentile(others.took, 0.5):.2f} s, p95 {percentile(others.took, 0.95):.2f} s, never sent {others.missing}")


def out_of(seen):
    return sum(seen["counts"][state] for state in ("sent", "delivered", "read", "failed", "unknown"))


class Receiver(BaseHTTPRequestHandler):
    arrived = {}

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Receiver.arrived.setdefault((self.path, event["data"].get("phone_number")), time.monotonic())
        if self.path.startswith("/dead"):
            time.sleep(60)
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def webhooks(arguments):
    ThreadingHTTPServer.request_queue_size = 512
    socketserver.ThreadingMixIn.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told("all at once", arguments.events, 0, ())
    # So that nobody waits for the others' work, which is a question of cores.
    alone, beside = (told(f"two a second, {what}", arguments.events // 2, 0.5, dead) for what, dead in (("alone", ()), ("beside one that never answers", ("/dead",))))
    print(f"p95 beside one that never answers ÷ alone: {beside / alone:.2f}")


def told(what, events, pause, dead):
    """Tells so many events to the receivers, and gives the 95th percentile of how long it took until one arrived."""
    Receiver.arrived.clear()
    token = tenant("webhooks")
    for path in (*(f"/alive-{number}" for number in range(RECEIVERS)), *dead):
        call("POST", "/v1/webhooks", {"url": f"http://127.0.0.1:{PORT}{path}", "events": ["contact.*"], "max_per_second": 100}, token)
    asked = {}
    for number in range(events):
        phone = f"+49151{30_000_000 + number}"
        asked[phone] = time.monotonic()
        call("POST", "/v1/opt-outs", {"phone_number": phone}, token)
        time.sleep(pause)
    arrived = lambda: {key: moment for key, moment in list(Receiver.arrived.items()) if key[0] not in dead}
    while len(arrived()) < events * RECEIVERS and time.monotonic() - max(asked.values()) < 300:
        time.sleep(0.2)
    moments = arrived()
    took = [moment - asked[phone] for (_, phone), moment in moments.items()]
    span = max(moments.values()) - min(asked.values())
    print(f"{what}: {len(moments)} of {events * RECEIVERS} deliveries in {span:.1f} s, {len(moments) / span:.0f} a second; p50 {percentile(took, 0.5):.2f} s, p95 {percentile(took, 0.95):.2f} s")
    return percentile(took, 0.95)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    kind = kinds.add_parser("campaign")
    kind.add_argument("--messages", type=int, default=2_000)
    kind.set_defaults(run=campaign)
    kind = kinds.add_parser("webhooks")
    kind.add_argument("--events", type=int, default=300)
    kind.set_defaults(run=webhooks)
    arguments = parser.parse_args()
    ready()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
