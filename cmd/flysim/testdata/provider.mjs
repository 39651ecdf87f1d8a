// A provider for the tests of flysim that shares nothing with flyext: Node 20,
// its standard library, the protocol's generation 2, no sign-on, no events.
//
//   PORT                  where to listen on 127.0.0.1; 0, the default, is any
//   FLYIO_SIGNING_SECRET  required
//   BREAK                 the name of one defect, for a check to find
//
// It prints "listening on " and its base URL as soon as it answers.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const defects = [
  'no-signature', 'no-freshness', 'no-replay', 'number-secret',
  'not-idempotent', 'leaks-stack', 'unbounded', 'status-word',
];
const defect = process.env.BREAK ?? '';
const secret = process.env.FLYIO_SIGNING_SECRET;
if (!secret || (defect && !defects.includes(defect))) {
  console.error(`FLYIO_SIGNING_SECRET is required; BREAK is one of ${defects.join(', ')}`);
  process.exit(2);
}

const maxBody = 1 << 20; // bytes
const maxAge = 5 * 60, maxAhead = 60; // seconds
let origin; // known when the server listens

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}
const unauthenticated = () => new Refusal(401, 'unauthenticated', 'The request is not signed by Fly.io.');
const notFound = () => new Refusal(404, 'not_found', 'There is no such extension.');
const invalid = (message) => new Refusal(422, 'invalid_field', message);

// Signatures: the MAC first, the nonce last, so that only a genuine request
// uses one up.

const nonces = new Map(); // to the second in which each may be forgotten

// admit returns what read finds in the signed content, once that is Fly.io's.
function admit(header, content, read, path) {
  if (defect === 'no-signature' && header === undefined) return read(content);
  if (!/^[0-9a-f]{64}$/i.test(header ?? '')) throw unauthenticated();
  const mac = createHmac('sha256', secret).update(content).digest();
  if (!timingSafeEqual(mac, Buffer.from(header, 'hex'))) throw unauthenticated();
  const parameters = read(content);
  checkParameters(parameters, path);
  return parameters;
}

function checkParameters({ timestamp, nonce, url }, path) {
  const now = Date.now() / 1000;
  if (!['number', 'string'].includes(typeof timestamp) || !/^\d{1,15}$/.test(timestamp)) throw unauthenticated();
  const fresh = now - timestamp <= maxAge && timestamp - now <= maxAhead;
  if (!fresh && defect !== 'no-freshness') throw unauthenticated();
  // What is in front of the query is compared as it was written: scheme, host
  // and path, without a reading of either that the other side might not share.
  if (typeof url !== 'string' || url.split('?', 1)[0] !== origin + path) throw unauthenticated();
  if (typeof nonce !== 'string' || nonce === '') throw unauthenticated();
  for (const [old, end] of nonces) if (end < now) nonces.delete(old);
  if (nonces.has(nonce) && defect !== 'no-replay') throw unauthenticated();
  nonces.set(nonce, Number(timestamp) + maxAge + 1);
}

// Each parameter of a query comes once. No query has a brace or a quote; a body
// has, and so its signature is never one of a query.
function parseQuery(content) {
  const query = content.toString('latin1');
  if (/[{"]/.test(query)) throw unauthenticated();
  const values = new URLSearchParams(query);
  const only = (name) => (values.getAll(name).length === 1 ? values.get(name) : undefined);
  return { timestamp: only('timestamp'), nonce: only('nonce'), url: only('url') };
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) { // there is an answer to send
    size += chunk.length;
    if (size > maxBody && defect !== 'unbounded') {
      setTimeout(() => request.destroy(), 1000).unref(); // time to read the answer, and not a byte more is read
      throw new Refusal(413, 'body_too_large', 'The body is too large.');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseBody(content) {
  let value;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content));
  } catch (error) {
    if (defect === 'leaks-stack') throw new Refusal(500, 'internal', error.stack);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal(400, 'malformed_body', 'The body is not a JSON object.');
  }
  return value;
}

// Extensions, by the id that Fly.io gave them; null is one that was deleted.

const extensions = new Map();

function find(id) {
  const extension = extensions.get(id);
  if (!extension) throw notFound();
  return extension;
}

function nameIn(body, otherwise) {
  if (typeof (body.name ?? '') !== 'string') throw invalid('"name" must be a string.');
  return body.name || otherwise;
}

function provision(body) {
  const { id } = body;
  if (typeof id !== 'string' || id === '') throw invalid('"id" must be a string that is not empty.');
  let extension = extensions.get(id);
  if (!extension || defect === 'not-idempotent') {
    const password = randomBytes(16).toString('hex');
    const config = { NODEJAM_URL: `https://nodejam:${password}@nodejam.example`, NODEJAM_SHARDS: '4' };
    if (defect === 'number-secret') config.NODEJAM_SHARDS = 4;
    extension = { id, config, name: nameIn(body, `nodejam-${randomBytes(4).toString('hex')}`), status: 'ready' };
    extensions.set(id, extension);
  }
  return extension;
}

function update(id, body) {
  const extension = find(id);
  extension.name = nameIn(body, extension.name);
  return extension;
}

function fetchStatus(id) {
  const { name, status } = find(id);
  return { id, name, status: defect === 'status-word' ? 'Ready' : status };
}

function deprovision(id) {
  if (!extensions.has(id)) throw notFound();
  extensions.set(id, null); // again is a success
  return {};
}

const routes = /^\/flyio\/extensions(?:\/([^/]+)(\/sso)?)?$/;

async function answer(request) {
  const [, path, query] = /^([^?]*)\??(.*)$/.exec(request.url);
  const route = routes.exec(path);
  if (!route) throw new Refusal(404, 'route_not_found', 'There is nothing at this URL.');
  const [, id, sso] = route;
  if (sso) throw new Refusal(501, 'unsupported', 'This provider has no sign-on.');
  const methods = id === undefined ? ['POST'] : ['DELETE', 'GET', 'PATCH'];
  if (!methods.includes(request.method)) throw new Refusal(405, 'method_not_allowed', 'This method is not allowed here.');

  const signsBody = ['POST', 'PATCH'].includes(request.method);
  const unsigned = signsBody ? query : request.headers['content-length'] > 0 || request.headers['transfer-encoding'];
  if (unsigned) throw unauthenticated(); // Fly.io sends no query with a body, and no body with a query
  const content = signsBody ? await readBody(request) : Buffer.from(query, 'latin1');
  const parameters = admit(request.headers['x-signature'], content, signsBody ? parseBody : parseQuery, path);
  switch (request.method) {
    case 'POST': return provision(parameters);
    case 'PATCH': return update(decode(id), parameters);
    case 'GET': return fetchStatus(decode(id));
    default: return deprovision(decode(id));
  }
}

function decode(id) {
  try {
    return decodeURIComponent(id);
  } catch { // "%zz"
    throw notFound();
  }
}

function send(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

const server = createServer(async (request, response) => {
  try {
    send(response, 200, await answer(request));
  } catch (error) {
    const known = error instanceof Refusal;
    if (!known) console.error(error);
    const { status, code, message } = known ? error : new Refusal(500, 'internal', 'Something went wrong here.');
    send(response, status, { error: code, message });
  }
});
server.requestTimeout = 30_000; // ms, for a whole request

server.listen(process.env.PORT || 0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`;
  console.log(`listening on ${origin}/flyio`);
});
