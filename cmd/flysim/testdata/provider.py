# A provider in Python that keeps its extensions in memory. It does what
# docs/protocol.md requires; MISTAKE names one of the mistakes below to make.
import hashlib, hmac, json, os, secrets, sys, threading, time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

MISTAKE = os.environ.get("MISTAKE", "")
SECRET = os.environ["FLYIO_SIGNING_SECRET"]
lock = threading.RLock()
extensions, deleted, seen = {}, set(), set()


class Refused(Exception):
    def __init__(self, status, code, message):
        self.answer = status, {"error": code, "message": message}


def mac(secret, content):
    return hmac.new(secret.encode(), content, hashlib.sha256)


def expected(content, url):
    """Returns the signature that this provider computes."""
    secret = SECRET
    if MISTAKE == "empty-secret":
        secret = ""
    if MISTAKE == "newline":
        secret += "\n"
    if MISTAKE == "url":
        content = url.encode()
    if MISTAKE == "body-and-url":
        content += url.encode()
    if content[:1] == b"{":
        if MISTAKE == "json-dumps":
            content = json.dumps(json.loads(content)).encode()
        if MISTAKE == "sorted":
            content = json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()
    made = mac(secret, content)
    if MISTAKE == "plain-hash":
        made = hashlib.sha256(secret.encode() + content)
    if MISTAKE == "upper-case":
        return made.hexdigest().upper()
    if MISTAKE == "prefix":
        return "sha256=" + made.hexdigest()
    if MISTAKE == "base64":
        return b64encode(made.digest()).decode()
    return made.hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, status, document):
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read(self):
        if MISTAKE == "unread-body" and self.command in ("GET", "DELETE"):
            return b""
        if MISTAKE == "unread-unsigned" and not self.headers.get("X-Signature"):
            return b""
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise Refused(411, "length_required", "The body has no length.")
        length = int(self.headers.get("Content-Length") or 0)
        if length > 1 << 20:
            self.close_connection = True
            raise Refused(413, "too_large", "The body is too large.")
        return self.rfile.read(length)

    def verify(self, body):
        no = Refused(401, "unauthorized", "The request is not signed by Fly.io.")
        target = urlsplit(self.path)
        content = body if self.command in ("POST", "PATCH") else target.query.encode()
        given = self.headers.get_all("X-Signature") or []
        try:
            if content[:1] == b"{":
                params = json.loads(content)
            else:
                params = {k: v[0] for k, v in parse_qs(content.decode(), strict_parsing=True).items()}
            url, nonce, timestamp = params["url"], params["nonce"], int(params["timestamp"])
        except Exception:
            raise no
        if len(given) != 1 or not hmac.compare_digest(given[0].encode("latin-1"), expected(content, url).encode()):
            raise no
        if MISTAKE == "milliseconds":
            timestamp /= 1000
        if not -60 <= time.time() - timestamp <= 300:
            raise no
        signed = urlsplit(url)
        own = urlsplit(BASE)
        scheme = "https" if MISTAKE == "scheme" else own.scheme
        if (signed.scheme, signed.netloc, signed.path) != (scheme, own.netloc, target.path):
            raise no
        rest = [p for p in target.query.split("&") if p and p.split("=")[0] not in ("timestamp", "nonce", "url")]
        if "&".join(rest) != signed.query:
            raise no
        with lock:
            if nonce in seen:
                raise no
            seen.add(nonce)

    def handle_all(self):
        try:
            body = self.read()
            target = urlsplit(self.path)
            prefix = "" if MISTAKE == "base-path" else urlsplit(BASE).path
            if not target.path.startswith(prefix + "/extensions"):
                raise Refused(404, "not_found", "There is no such route.")
            rest = target.path[len(prefix + "/extensions") :]
            if rest.count("/") > 1:
                raise Refused(404, "not_found", "There is no such route.")
            self.verify(body)
            status, document = self.route(unquote(rest[1:]), body)
        except Refused as refused:
            status, document = refused.answer
        self.send(status, document)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_all

    def route(self, id, body):
        if self.command == "POST" and id == "":
            return self.provision(body)
        with lock:
            if id in deleted:
                if self.command == "DELETE":
                    return 200, None
                raise Refused(410, "gone", "The stream was deleted.")
            if id not in extensions:
                raise Refused(404, "not_found", "There is no such stream.")
            stream = extensions[id]
            if self.command == "DELETE":
                deleted.add(id)
                del extensions[id]
                return 200, None
            if self.command == "PATCH":
                stream["name"] = self.document(body).get("name", stream["name"])
            return 200, {"id": id, "name": stream["name"], "status": "ready"}

    def document(self, body):
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Refused(400, "bad_request", "The body is no JSON object.")
        return document

    def provision(self, body):
        order = self.document(body)
        if not isinstance(order.get("id"), str) or not order["id"]:
            raise Refused(422, "invalid", "The id is missing.")
        for name in os.environ.get("REQUIRE", "").split():
            if not order.get(name):
                raise Refused(422, "invalid", name + " is missing.")
        with lock:
            if order["id"] in deleted and MISTAKE != "late-retry":
                raise Refused(410, "gone", "The stream was deleted.")
            deleted.discard(order["id"])
            if MISTAKE == "not-idempotent" or order["id"] not in extensions:
                extensions[order["id"]] = {"name": order.get("name") or "stream", "token": secrets.token_hex(16)}
            stream = extensions[order["id"]]
        config = {"DOGLOG_TOKEN": stream["token"]}
        if MISTAKE == "number":
            config["DOGLOG_PORT"] = 5432
        if MISTAKE == "flat":
            return 201, config
        return 201, {"id": order["id"], "name": stream["name"], "status": "ready", "config": config}


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler)
BASE = "http://127.0.0.1:%d/flyio" % server.server_address[1]
print("listening on " + BASE, flush=True)
server.serve_forever()
