"""Verifies messages with python-httpsig.

Reads {"header", "key", "messages"} as JSON from stdin and writes
{"version", "verdicts"}. header is the name of the field with the signature.
"""
import json
import sys
from importlib.metadata import version

from httpsig.verify import HeaderVerifier


def verify(message, key, header):
    headers = dict(message["headers"])
    verifier = HeaderVerifier(
        headers,
        key["secret"],
        required_headers=["(request-target)", "date"],
        method=message["method"],
        path=message["target"],
        sign_header=header,
    )
    return verifier.auth_dict["keyId"] == key["id"] and verifier.verify() is True


asked = json.load(sys.stdin)
verdicts = []
for message in asked["messages"]:
    try:
        verdicts.append({"ok": verify(message, asked["key"], asked["header"]), "why": ""})
    except Exception as error:
        verdicts.append({"ok": False, "why": repr(error)})
json.dump({"version": version("httpsig"), "verdicts": verdicts}, sys.stdout)
