package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A demo sends a running Logjam the requests of Fly.io over HTTP, and explains
// them on a terminal.
type demo struct {
	*page
	fly    flytest.Platform
	last   flytest.Exchange // last exchange with an answer
	log    *logTap
	secret string
	once   bool
}

func newDemo(out *page, baseURL string, c config, log *logTap) *demo {
	d := &demo{page: out, log: log, secret: c.signingSecrets[0], once: c.once}
	d.fly = flytest.Platform{
		BaseURL: baseURL,
		Signer:  flytest.XSignature(d.secret),
		Observe: func(e flytest.Exchange) { d.last = e },
	}
	return d
}

// order returns the order of the demo's customer. Each order has a new id, because
// the database may already contain the streams of an earlier demo.
func order() flyext.ProvisionRequest {
	return flyext.ProvisionRequest{
		ID:                strings.ToLower(rand.Text()[:6]),
		Name:              "collider-prod",
		OrganizationID:    "g1lx9my4pzemqwk7",
		OrganizationName:  "Supercollider",
		OrganizationEmail: "g1lx9my4pzemqwk7@customer.fly.io",
		UserID:            "k9d01lp82rky6vo2",
		UserEmail:         "k9d01lp82rky6vo2@customer.fly.io",
		UserRole:          "admin",
		PrimaryRegion:     "mad",
		ReadRegions:       []string{"fra"},
	}
}

// run runs the demo. It returns an error if Logjam behaves differently from what
// the demo says.
func (d *demo) run(ctx context.Context) error {
	d.heading("Logjam, a Fly.io extension provider")
	d.say(`Logjam sells log streams. It is a provider written with flyext, and it is now running
		at %s. Because no Fly.io is configured, this program also simulates Fly.io: it signs
		requests as Fly.io does, and sends them to Logjam over HTTP.`, d.fly.BaseURL)

	order := order()
	if err := d.provision(ctx, order); err != nil {
		return err
	}
	if err := d.change(ctx, order.ID); err != nil {
		return err
	}
	if err := d.end(ctx, order.ID); err != nil {
		return err
	}
	dashboard, err := d.dashboard(ctx)
	if err != nil {
		return err
	}
	d.next(dashboard)
	return nil
}

func (d *demo) provision(ctx context.Context, order flyext.ProvisionRequest) error {
	d.heading("1. A customer orders a log stream")
	d.say(`The customer ran "flyctl ext logjam create", and Fly.io sends this request. The signature
		is the HMAC-SHA256 of the body, with a secret that Fly.io and Logjam share. (The body is
		sent as one line. It is indented here.)`)
	made, err := d.fly.Provision(ctx, order)
	if err != nil {
		return err
	}
	genuine := d.last
	d.request(genuine)
	d.say(`flyext verifies the signature. It also checks that the timestamp is recent, that the URL
		is Logjam's, and that the nonce is new. Then it calls Logjam. Logjam stores the
		organization, the user and the stream in one transaction, and answers:`)
	d.answer(d.last)
	d.say(`Fly.io sets LOGJAM_URL as a secret of the customer's app. Logjam keeps it encrypted.`)

	d.heading("2. The answer is lost, and Fly.io retries")
	again, err := d.fly.Provision(ctx, order)
	if err != nil {
		return err
	}
	if again.Secrets["LOGJAM_URL"] != made.Secrets["LOGJAM_URL"] {
		return errors.New("the first and the second answer have different secrets")
	}
	d.answer(d.last)
	d.say(`Logjam returns the same stream and the same secret, because the request has the same id.`)

	d.heading("3. An attacker replays the first request")
	if err := d.refused(d.repeat(ctx, genuine, genuine.RequestBody)); err != nil {
		return err
	}
	d.say(`The request is genuine, but its nonce was used before. The answer tells the attacker
		nothing. Logjam's log has the reason:`)
	return d.quoteLog()
}

func (d *demo) change(ctx context.Context, id string) error {
	d.heading("4. The customer changes the plan and the regions")
	_, err := d.fly.Update(ctx, id, flyext.UpdateRequest{
		ReadRegions: flyext.OptionalOf([]string{"fra", "syd"}),
		Extra:       map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)},
	})
	if err != nil {
		return err
	}
	genuine := d.last
	d.request(genuine)
	d.answer(genuine)
	d.say(`A PATCH contains only the changes, so the name and the primary region stay the same. The
		plan is Logjam's own option. flyext passes it on unchanged.`)

	d.heading("5. An attacker alters that request in transit")
	forged := bytes.Replace(genuine.RequestBody, []byte(`"pro"`), []byte(`"scale"`), 1)
	if err := d.refused(d.repeat(ctx, genuine, forged)); err != nil {
		return err
	}
	d.say(`The attacker changed the plan to "scale" and kept the signature. The answer is the same
		as in step 3. Logjam's log has the reason:`)
	return d.quoteLog()
}

func (d *demo) end(ctx context.Context, id string) error {
	d.heading("6. Fly.io asks for the stream's status")
	if _, err := d.fly.Fetch(ctx, id); err != nil {
		return err
	}
	d.request(d.last)
	d.answer(d.last)
	d.say(`A GET has no body, so the query is signed. The answer contains no secrets, because Fly.io
		already has them.`)

	d.heading("7. The customer deletes the stream")
	if err := d.fly.Deprovision(ctx, id); err != nil {
		return err
	}
	d.request(d.last)
	d.answer(d.last)
	_, err := d.fly.Fetch(ctx, id)
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusGone {
		return fmt.Errorf("the deleted stream did not answer 410 Gone: %w", err)
	}
	d.say(`From now on, requests for the stream get:`)
	d.answer(d.last)
	d.log.take()
	return nil
}

// dashboard shows how a browser signs in, and returns the link. It provisions
// another stream for that, and keeps it.
func (d *demo) dashboard(ctx context.Context) (link string, err error) {
	d.heading("8. The customer opens a stream in the browser")
	order := order()
	order.Name = "shop-prod"
	if _, err := d.fly.Provision(ctx, order); err != nil {
		return "", err
	}
	link = d.fly.BaseURL + "/extensions/" + order.ID + "/sso"
	d.say(`The customer created another stream and ran "flyctl ext logjam dashboard". flyctl opened
		this link in their browser. A browser cannot sign requests:`)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	// A transport, unlike a client, follows no redirect.
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	to, err := answer.Location()
	if err != nil || answer.StatusCode != http.StatusFound || !strings.HasSuffix(to.Path, flytest.AuthorizeEndpoint) {
		return "", fmt.Errorf("the dashboard answered %s and did not redirect to Fly.io's sign-on", answer.Status)
	}
	d.show(cyan, "GET "+r.URL.Path)
	d.redirect(answer.Status, to)
	d.say(`Logjam sends the browser to Fly.io, which identifies the user and sends the browser back
		with Logjam's state. The state is signed, and a cookie binds it to this browser. An
		attacker therefore cannot make another browser finish a sign-in that the attacker began.
		Members of the stream's organization get a session. Other users see the reason for the
		refusal.`)
	return link, nil
}

// repeat sends a request again, with the same signature and the given body.
func (d *demo) repeat(ctx context.Context, e flytest.Exchange, body []byte) error {
	r := e.Request.Clone(ctx)
	flytest.SetBody(r, body)
	_, err := d.fly.Do(r)
	return err
}

// refused shows the answer to a request that Logjam must refuse.
func (d *demo) refused(err error) error {
	if err != nil {
		return err
	}
	if status := d.last.Response.StatusCode; status != http.StatusUnauthorized {
		return fmt.Errorf("the attacker's request was answered with status %d, want 401", status)
	}
	d.answer(d.last)
	return nil
}

// quoteLog shows the records logged since the last step.
func (d *demo) quoteLog() error {
	record := d.log.take()
	if record == "" {
		return errors.New("Logjam did not log the refusal")
	}
	_, record, _ = strings.Cut(record, " ") // the time
	d.wrap(dim, margin, record)
	d.line(plain, "", "")
	return nil
}

// next says what to run after the demo, and shows the dashboard's link.
func (d *demo) next(dashboard string) {
	d.heading("What to run next")
	if d.once {
		d.say(`The demo ends here because of -once. Without -once, Logjam keeps serving: you can then
			sign in to its dashboard in your browser, and send requests with curl and openssl.`)
	} else {
		d.say(`Logjam keeps serving until you press Ctrl-C. To see the dashboard, open this link in your
			browser. The sign-on is simulated: choose a user. It needs no password.`)
		d.show(cyan, dashboard)
		d.say(`To send a request as Fly.io, paste this into another terminal. Paste it again to send a
			retry.`)
		d.show(cyan,
			"url="+d.fly.BaseURL+"/extensions secret="+d.secret,
			`body='{"id":"mine","organization_id":"me","timestamp":'$(date +%s)',`,
			`"nonce":"'$(openssl rand -hex 8)'","url":"'$url'"}'`,
			`curl -d "$body" $url -H "X-Signature: $(printf %s "$body" |`,
			`  openssl dgst -sha256 -hmac $secret -r | cut -c-64)"; echo`,
		)
	}
	d.say(`To serve Fly.io itself, set the secrets that Fly.io gave you and the URL that you
		registered:`)
	d.show(cyan,
		"FLYIO_SIGNING_SECRET=... FLYIO_CLIENT_ID=... FLYIO_CLIENT_SECRET=... \\",
		"  go run ./examples/logjam \\",
		"  -base-url https://logjam.example/flyio",
	)
	d.say(`To write your own provider, read examples/logjam/service: logjam.go implements the
		provider, server.go serves it under /flyio, and signon.go signs customers in.`)
}
