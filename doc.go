// Package flyext turns a Go service into a Fly.io extension provider. Implement
// [Provisioner] and mount the handler that [New] returns. Fly.io's customers can then
// provision, update, fetch and remove your resources from their terminal
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
// # How a request is handled
//
// The handler performs these steps in order:
//
//  1. find the route;
//  2. read the body, up to [Config.MaxBodyBytes];
//  3. verify the signature over the raw bytes, then the signed time and URL;
//  4. enter the nonce into the [ReplayStore];
//  5. decode the payload;
//  6. call the Provisioner with a deadline, one call at a time for each id;
//  7. write the response in the format of the signature's [Generation].
//
// Every authentication failure gets the same 401. The log has the reason.
//
// [Authenticator] performs steps 2 to 4 for your own routes. Package flytest signs
// requests as Fly.io does, for tests.
//
// # What each signature protects
//
//   - [XSignature], which Fly.io sends today, covers the body of a POST, PUT or
//     PATCH and the query of a GET or DELETE. It does not cover the method, so the
//     [ReplayStore] is part of the protection.
//   - [MessageSignature] with RFC 9421 covers the parts that the signer chose. The
//     default [Policy] requires the method, the target, a time, and a digest of the
//     body.
//   - [MessageSignature] with draft-cavage, as in the example of Fly.io's proposal,
//     covers the method, the target, the time and the length of the body. An
//     attacker can replace the body with one of the same length, unless
//     [Policy.RequireDigest] is set.
//   - [BearerToken] covers no part of the request.
//
// # Single sign-on
//
// With [Config.SSO] the handler also serves customers' browsers (flyctl ext ...
// dashboard). It runs Fly.io's OAuth and calls [SSOConfig.SignIn] for each user who
// belongs to the extension's organization. [SignOn] does the same for your own routes.
//
// # Webhooks and events
//
// [Webhooks] tell Fly.io about resources that the provider created, changed or
// removed. A Provisioner that implements [EventReceiver] receives the events of the
// customers' machines. Both may arrive more than once. Duplicate webhooks are
// harmless. Make the handling of events idempotent.
//
// # Signature code
//
// Package flytest signs with the transport of github.com/common-fate/httpsig. Do not
// verify with v0.2.1 of that package:
//
//   - its alg_hmac never hashes the message, so an attacker who sees one signature
//     can forge any other;
//   - its verifier reorders the parameters of a signature and therefore refuses most
//     other signers;
//   - it records nonces before it has verified anything.
package flyext
