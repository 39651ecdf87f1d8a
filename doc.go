// Package flyext makes a Go service a Fly.io extension provider: implement
// [Provisioner], mount the handler that [New] returns, and Fly.io's customers
// provision, update, fetch and remove what the service sells from their
// terminal (flyctl ext ... create).
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
// # What a request goes through
//
// The handler finds the route, reads the body (bounded), verifies the
// signature over the bytes as they came, checks the time and the URL that were
// signed, uses up the nonce, decodes, calls the Provisioner under a deadline
// and never twice at once for one id, and answers in the shape of the
// protocol's generation that the signature belongs to. Whoever is not Fly.io
// gets one and the same 401; why is in the log.
//
// [Authenticator] does the first half alone, for a service that keeps its own
// handlers. flytest, beside this package, signs requests the way Fly.io does:
// a provider's own test is five lines.
//
// # Which signature protects what
//
//   - [XSignature], what Fly.io sends today, covers the body of a POST or PATCH
//     and the query of a GET or DELETE. It does not cover the method: a captured
//     GET is a DELETE of the same URL until its nonce is spent, so the
//     [ReplayStore] is part of the protection and not an extra.
//   - [MessageSignature] with RFC 9421 covers what the signer chose; the default
//     [Policy] demands the method, the target, a time, and a digest of the body.
//   - [MessageSignature] with draft-cavage, as in the example of Fly.io's
//     proposal, covers the method, the target, the time and the length of the
//     body, and so not the body: it can be exchanged for another one of the
//     same length. [Policy.RequireDigest] ends that, where the signer can.
//   - [BearerToken] proves nothing about the request.
//
// # Single sign-on
//
// With [Config.SSO] the handler also receives customers' browsers (flyctl ext
// ... dashboard), takes them through Fly.io's OAuth, and hands whoever belongs to
// the extension's organization to the service's [SSOConfig.SignIn]. [SignOn] does that
// alone, for routes of a service's own.
//
// # Both directions
//
// [Webhooks] tell Fly.io what became of a resource: made, changed or removed by
// the provider. A Provisioner that is an [EventReceiver] is told what happened to
// the customers' machines. Either way a message may come more than once and says
// what it says by itself, so that a repetition does no harm.
//
// # Why this package has signature code of its own
//
// It uses github.com/common-fate/httpsig for what that does right: package
// flytest signs with its transport. It does not verify with it, and neither
// should you with v0.2.1: its alg_hmac never hashes the message, so that
// whoever sees one signature can forge every other; and its verifier puts the
// signature's parameters into an order of its own, which refuses most other
// signers, and records nonces before it has verified anything.
package flyext
