#!/usr/bin/env python3
"""Checks what proves the consent of a phone number: python3 verify_consent.py proof.json [next-page.json ...]

Each file is an answer of GET /v1/compliance/consent/proof, in the order of the pages. Needs nothing but Python."""

import hashlib
import json
import sys

NAMES = (
    "tenant phone_number n id kind consent_type consent_source consent_text_version consented_at recorded_at recorded_by message_id "
    "text ip user_agent url metadata previous"
).split()


def check(holds, sentence):
    if not holds:
        sys.exit("NOT VALID: " + sentence)


def fields(canonical, place):
    """The values of a canonical form: a line `name:bytes:value` for each, or `name:-`."""
    rest, values = canonical.encode(), {}
    check(rest.startswith(b"tenantry-consent-1\n"), f"entry {place} has another form")
    rest = rest.partition(b"\n")[2]
    for name in NAMES:
        check(rest.startswith(name.encode() + b":"), f"entry {place} lacks {name}")
        size, _, rest = rest[len(name) + 1 :].partition(b"\n" if rest[len(name) + 1 :].startswith(b"-\n") else b":")
        if size == b"-":
            values[name] = None
            continue
        check(size.isdigit() and rest[int(size) : int(size) + 1] == b"\n", f"entry {place} has a wrong length of {name}")
        values[name], rest = rest[: int(size)].decode(), rest[int(size) + 1 :]
    check(not rest, f"entry {place} says more")
    return values


def main(paths):
    pages = [json.load(open(path, encoding="utf-8"))["data"] for path in paths]
    number, head, previous, place, disclosed = pages[0]["phone_number"], pages[-1]["head"], "0" * 64, 0, 0
    for entry in (entry for page in pages for entry in page["entries"]):
        place += 1
        values = fields(entry["canonical"], place)
        check(values["n"] == str(place), f"entry {place} has another place")
        check(values["phone_number"] == number, f"entry {place} is of another number")
        check(values["previous"] == previous, f"entry {place} does not follow the one before it")
        previous = hashlib.sha256(entry["canonical"].encode()).hexdigest()
        check(entry["hash"] == previous, f"entry {place} has another hash")
        for part in entry["disclosed"]:
            digest = hashlib.sha256(bytes.fromhex(part["salt"]) + part["value"].encode()).hexdigest()
            check(values[part["name"]] == digest, f"entry {place} did not say this {part['name']}")
            disclosed += 1
    end = (head["n"], head["hash"]) if head else (0, "0" * 64)
    check((place, previous) == end, "the chain does not end where it should")
    print(f"valid: {number}, {place} entries, {disclosed} values disclosed, head {previous}")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
