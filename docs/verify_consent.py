#!/usr/bin/env python3
"""Checks what proves the consent of a phone number: python3 verify_consent.py proof.json [next-page.json ...]

Each file is an answer of GET /v1/compliance/consent/proof, in the order of the pages. Needs nothing but Python. Compare the
hashes of anchors that it prints with those that your webhook was told (consent.anchored)."""

import json
import re
import sys
from hashlib import sha256

NAMES = (
    "tenant phone_number n id kind consent_type consent_source consent_text_version consented_at recorded_at recorded_by message_id "
    "text ip user_agent url metadata previous"
).split()


def check(holds, sentence):
    if not holds:
        sys.exit("NOT VALID: " + sentence)


def fields(canonical, place):
    """The values of a canonical form: a line `name:bytes:value` for each, or `name:-`."""
    (version, _, rest), values = canonical.encode().partition(b"\n"), {}
    check(version == b"tenantry-consent-1", f"entry {place} has another form")
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


def framed(version, **values):
    """The canonical form of an anchor, or of a leaf of its tree."""
    return "".join([version + "\n", *(f"{name}:{len(str(value).encode())}:{value}\n" for name, value in values.items())]).encode()


def anchored(anchor, number, hashes):
    """Checks that an anchor holds the entry of the chain that it names: from that leaf, its path leads to its root (RFC 6962)."""
    check(all(type(anchor[key]) is int for key in ("number", "n", "index", "heads")), "an anchor has another form")
    check(re.fullmatch(r"[-0-9T:.]+Z", anchor["anchored_at"]), "an anchor has another form")
    name, n, index, size, path = f"anchor {anchor['number']}", anchor["n"], anchor["index"], anchor["heads"], list(anchor["path"])
    check(0 < n <= len(hashes) and 0 <= index < size, f"{name} holds entry {n}, which the chain lacks")
    node = sha256(b"\0" + framed("tenantry-consent-head-1", phone_number=number, n=n, hash=hashes[n - 1])).digest()
    while size > 1:
        if index ^ 1 < size:
            other = bytes.fromhex(path.pop(0) if path else "")
            node = sha256(b"\1" + (other + node if index % 2 else node + other)).digest()
        index, size = index // 2, (size + 1) // 2
    check(not path and node.hex() == anchor["root"], f"{name} holds another entry {n}")
    said = {key: anchor[key] for key in ("number", "anchored_at", "heads", "root", "previous")}
    text = framed("tenantry-consent-anchor-1", tenant=anchor["tenant_id"], **said)
    check(sha256(text).hexdigest() == anchor["hash"], f"{name} has another hash")
    return f"{name}, of {anchor['anchored_at']}, holds entry {n}: {anchor['hash']}"


def main(paths):
    pages = [json.load(open(path, encoding="utf-8"))["data"] for path in paths]
    number, head, hashes, disclosed = pages[0]["phone_number"], pages[-1]["head"], [], 0
    check(re.fullmatch(r"\+[0-9]+", number), "the phone number is none")
    for place, entry in enumerate((entry for page in pages for entry in page["entries"]), 1):
        values = fields(entry["canonical"], place)
        check(values["n"] == str(place), f"entry {place} has another place")
        check(values["phone_number"] == number, f"entry {place} is of another number")
        check(values["previous"] == (hashes or ["0" * 64])[-1], f"entry {place} does not follow the one before it")
        hashes.append(sha256(entry["canonical"].encode()).hexdigest())
        check(entry["hash"] == hashes[-1], f"entry {place} has another hash")
        for part in entry["disclosed"]:
            digest = sha256(bytes.fromhex(part["salt"]) + part["value"].encode()).hexdigest()
            check(values[part["name"]] == digest, f"entry {place} did not say this {part['name']}")
            disclosed += 1
    end = {"n": len(hashes), "hash": (hashes or [None])[-1]}
    check((head or {"n": 0, "hash": None}) == end, "the chain does not end where it should")
    anchors = {anchor["number"]: anchored(anchor, number, hashes) for anchor in pages[-1].get("anchors", [])}
    lines = anchors.values() or ["no anchor holds any of it"]
    print(f"valid: {number}, {len(hashes)} entries, {disclosed} values disclosed, head {end['hash']}", *lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
