// Package flyext turns a Go service into a Fly.io extension provider. Implement
// [Provisioner] and mount the handler that [New] returns. Fly.io's customers then
// provision, update, fetch and remove the service's resources from their terminal
// (flyctl ext ... create).
//
//	provider, err := flyext.New(logjam, flyext.Config{
//		BaseURL:  "https://logjam.io/flyio",
//		Verifier: flyext.XSignature(signingSecret),
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	http.Handle("/flyio/", provider)
//
// # The way of a request
//
// The handler does the following, in this order:
//
//  1. find the route;
//  2. read the body, up to [Config.MaxBodyBytes];
//  3. verify the signature over the raw bytes, then the signed time and URL;
//  4. use up the nonce;
//  5. decode the payload;
//  6. call the Provisioner, under a deadline and never twice at once for one id;
//  7. answer in the shape of the generation that the signature belongs to.
//
// Each refusal of authentication is the same 401; the log has the reason.
//
// [Authenticator] does steps 2 to 4 alone, for routes of the service's own. Package
// flytest signs requests as Fly.io does, for tests.
//
// # What each signature protects
//
//   - [XSignature], which Fly.io sends today, covers the body of a POST, PUT or
//     PATCH and the query of a GET or DELETE. It does not cover the method, so the
//     [ReplayStore] is part of the protection.
//   - [MessageSignature] with RFC 9421 covers the parts that the signer chose. The
//     default [Policy] demands the method, the target, a time, and a digest of the
//     body.
//   - [MessageSignature] with draft-cavage, as in the example of Fly.io's proposal,
//     covers the method, the target, the time and the length of the body. An
//     attacker can exchange the body for another one of the same length, unless
//     [Policy.RequireDigest] is set.
//   - [BearerToken] proves nothing about the request.
//
// # Single sign-on
//
// With [Config.SSO] the handler also serves customers' browsers (flyctl ext ...
// dashboard). It takes them through Fly.io's OAuth and calls [SSOConfig.SignIn] for
// each user who belongs to the extension's organization. [SignOn] does the same for
// routes of the service's own.
//
// # Webhooks and events
//
// [Webhooks] tell Fly.io about resources that the provider made, changed or removed.
// A Provisioner that is an [EventReceiver] receives the events of the customers'
// machines. In both directions a message may arrive more than once, and a duplicate
// does no harm.
//
// # Signature code
//
// Package flytest signs with the transport of github.com/common-fate/httpsig. This
// package does not verify with it, and neither should you with v0.2.1:
//
//   - its alg_hmac never hashes the message, so an attacker who sees one signature
//     can forge every other;
//   - its verifier puts the parameters of a signature into an order of its own and
//     so refuses most other signers;
//   - it records nonces before it has verified anything.
package flyext
