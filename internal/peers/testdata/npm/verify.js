// Verifies messages with a library from npm. Reads {peer, key, messages} as JSON
// from stdin and writes {version, verdicts}.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { verifySignature } from 'http-message-sig';
import { cavage, createVerifier, httpbis } from 'http-message-signatures';
import httpSignature from 'http-signature';

// Headers in the form of node:http.
function headersOf(message) {
  const headers = {};
  for (const [name, value] of message.headers) {
    const lower = name.toLowerCase();
    headers[lower] = lower in headers ? `${headers[lower]}, ${value}` : value;
  }
  return headers;
}

function joyent(options) {
  return (message, key) => {
    const request = { method: message.method, url: message.target, httpVersion: '1.1', headers: headersOf(message) };
    const parsed = httpSignature.parseRequest(request, { algorithms: ['hmac-sha256'], ...options });
    return parsed.keyId === key.id && httpSignature.verifyHMAC(parsed, key.secret);
  };
}

function messageSignatures(mode) {
  return async (message, key) => {
    const keyLookup = async ({ keyid }) =>
      keyid === key.id ? { id: key.id, algs: ['hmac-sha256'], verify: createVerifier(key.secret, 'hmac-sha256') } : null;
    const request = { method: message.method, url: message.url, headers: headersOf(message) };
    return (await mode.verifyMessage({ keyLookup, maxAge: 300 }, request)) === true;
  };
}

const peers = {
  'http-signature': joyent({}),
  'http-signature in Signature': joyent({ authorizationHeaderName: 'signature' }),
  'http-message-signatures': messageSignatures(httpbis),
  'http-message-signatures cavage': messageSignatures(cavage),

  // The library has no HMAC but accepts one.
  'http-message-sig': async (message, key) => {
    const request = {
      kind: 'request',
      method: message.method,
      targetUri: message.url,
      fields: message.headers.map(([name, value]) => ({ name, value })),
    };
    const verifier = {
      algorithm: 'hmac-sha256',
      verify(base, signature) {
        const want = createHmac('sha256', key.secret).update(base).digest();
        return signature.length === want.length && timingSafeEqual(signature, want);
      },
    };
    await verifySignature(request, {
      policy: {
        algorithms: ['hmac-sha256'],
        requiredComponents: ['@method'],
        requiredParameters: ['created', 'keyid'],
        maxAge: 300,
      },
      resolveVerifier({ parameters }) {
        if (parameters.keyid !== key.id) throw new Error('unknown key');
        return verifier;
      },
    });
    return true; // the library throws an error to refuse
  },
};

const { peer, key, messages } = JSON.parse(readFileSync(0, 'utf8'));
const library = peer.split(' ')[0];
const { version } = JSON.parse(readFileSync(new URL(`node_modules/${library}/package.json`, import.meta.url), 'utf8'));
const verdicts = [];
for (const message of messages) {
  try {
    verdicts.push({ ok: (await peers[peer](message, key)) === true, why: '' });
  } catch (error) {
    verdicts.push({ ok: false, why: String(error) });
  }
}
process.stdout.write(JSON.stringify({ version, verdicts }));
