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

// A show plays Fly.io against a Logjam that is running, over HTTP, and tells a
// person what happens.
type show struct {
	*page
	fly    flytest.Platform
	last   flytest.Exchange // of those that were answered
	log    *logTap
	secret string
	once   bool
}

func newShow(out *page, baseURL string, c config, log *logTap) *show {
	s := &show{page: out, log: log, secret: c.signingSecrets[0], once: c.once}
	s.fly = flytest.Platform{
		BaseURL: baseURL,
		Signer:  flytest.XSignature(s.secret),
		Observe: func(e flytest.Exchange) { s.last = e },
	}
	return s
}

// order is what the show's customer wants. Its id is a new one each time: the
// database may be a lasting one.
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

// run is the show. It fails if anything comes out otherwise than it says.
func (s *show) run(ctx context.Context) error {
	s.heading("Logjam, a Fly.io extension provider")
	s.say(`Logjam sells log streams. It is running now, at %s, as a provider does that is
		written with flyext. Since no Fly.io is configured, this program plays Fly.io too: it
		signs requests as Fly.io does, and sends them to Logjam over HTTP.`, s.fly.BaseURL)

	order := order()
	if err := s.provision(ctx, order); err != nil {
		return err
	}
	if err := s.change(ctx, order.ID); err != nil {
		return err
	}
	if err := s.end(ctx, order.ID); err != nil {
		return err
	}
	dashboard, err := s.dashboard(ctx)
	if err != nil {
		return err
	}
	s.next(dashboard)
	return nil
}

func (s *show) provision(ctx context.Context, order flyext.ProvisionRequest) error {
	s.heading("1. A customer orders a log stream")
	s.say(`The customer typed "flyctl ext logjam create", and Fly.io sends this. The signature is
		the HMAC-SHA256 of the body, under a secret that Fly.io and Logjam share. (The body goes
		as one line; here it is indented.)`)
	made, err := s.fly.Provision(ctx, order)
	if err != nil {
		return err
	}
	genuine := s.last
	s.request(genuine)
	s.say(`flyext computes the signature too, compares, and checks that the timestamp is of now,
		the url Logjam's own and the nonce new. Only then Logjam hears of it. It stores the
		organization, the user and the stream in one transaction, and answers:`)
	s.answer(s.last)
	s.say(`Fly.io sets LOGJAM_URL as a secret of the customer's app. Logjam keeps it encrypted.`)

	s.heading("2. The answer is lost, and Fly.io asks again")
	again, err := s.fly.Provision(ctx, order)
	if err != nil {
		return err
	}
	if again.Secrets["LOGJAM_URL"] != made.Secrets["LOGJAM_URL"] {
		return errors.New("the second answer has another secret than the first")
	}
	s.answer(s.last)
	s.say(`The same stream with the same secret, not a second one: the id decides, however often
		Fly.io has to ask.`)

	s.heading("3. A stranger recorded the first request, and sends it again")
	if err := s.refused(s.repeat(ctx, genuine, genuine.RequestBody)); err != nil {
		return err
	}
	s.say(`Every byte of it is genuine, but a nonce works once. The stranger learns nothing from
		the answer. The reason is in Logjam's log:`)
	return s.quoteLog()
}

func (s *show) change(ctx context.Context, id string) error {
	s.heading("4. The customer changes the plan and the regions")
	_, err := s.fly.Update(ctx, id, flyext.UpdateRequest{
		ReadRegions: flyext.OptionalOf([]string{"fra", "syd"}),
		Extra:       map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)},
	})
	if err != nil {
		return err
	}
	genuine := s.last
	s.request(genuine)
	s.answer(genuine)
	s.say(`A PATCH has only what changes: the name and the primary region stay. The plan is an
		option of Logjam's own, which flyext hands on as it came.`)

	s.heading("5. A stranger changes that request on its way")
	forged := bytes.Replace(genuine.RequestBody, []byte(`"pro"`), []byte(`"scale"`), 1)
	if err := s.refused(s.repeat(ctx, genuine, forged)); err != nil {
		return err
	}
	s.say(`The stranger would order the plan "scale" with the signature above, and is told what
		the other one was told. The log tells them apart:`)
	return s.quoteLog()
}

func (s *show) end(ctx context.Context, id string) error {
	s.heading("6. Fly.io asks how the stream is")
	if _, err := s.fly.Fetch(ctx, id); err != nil {
		return err
	}
	s.request(s.last)
	s.answer(s.last)
	s.say(`A GET has no body, so it is the query that is signed. The answer has no secrets: Fly.io
		has them already.`)

	s.heading("7. The customer deletes the stream")
	if err := s.fly.Deprovision(ctx, id); err != nil {
		return err
	}
	s.request(s.last)
	s.answer(s.last)
	_, err := s.fly.Fetch(ctx, id)
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusGone {
		return fmt.Errorf("the stream is not gone after it was deleted: %w", err)
	}
	s.say(`Whoever asks for it now is told:`)
	s.answer(s.last)
	s.log.take()
	return nil
}

// dashboard shows how a browser comes in, to a stream that stays.
func (s *show) dashboard(ctx context.Context) (link string, err error) {
	s.heading("8. The customer opens a stream in the browser")
	order := order()
	order.Name = "shop-prod"
	if _, err := s.fly.Provision(ctx, order); err != nil {
		return "", err
	}
	link = s.fly.BaseURL + "/extensions/" + order.ID + "/sso"
	s.say(`There is another stream by now. The customer typed "flyctl ext logjam dashboard", and
		flyctl opened this in their browser, which has nothing to sign with:`)
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
		return "", fmt.Errorf("the dashboard answered with %s and no way to Fly.io's sign-on", answer.Status)
	}
	s.show(cyan, "GET "+r.URL.Path)
	s.redirect(answer.Status, to)
	s.say(`So Fly.io says who it is. Logjam's state comes back with them. It is signed, and bound by
		a cookie to the browser that it was given to, so nobody can be brought to finish what
		another began. Members of the stream's organization get a session; others are told why
		not.`)
	return link, nil
}

// repeat sends a request again, with its signature and another body.
func (s *show) repeat(ctx context.Context, e flytest.Exchange, body []byte) error {
	r := e.Request.Clone(ctx)
	flytest.SetBody(r, body)
	_, err := s.fly.Do(r)
	return err
}

// refused shows the answer to a request that Logjam has to refuse.
func (s *show) refused(err error) error {
	if err != nil {
		return err
	}
	if status := s.last.Response.StatusCode; status != http.StatusUnauthorized {
		return fmt.Errorf("a stranger's request was answered with %d", status)
	}
	s.answer(s.last)
	return nil
}

// quoteLog shows what was logged last.
func (s *show) quoteLog() error {
	record := s.log.take()
	if record == "" {
		return errors.New("a refusal was not logged")
	}
	_, record, _ = strings.Cut(record, " ") // the time
	s.wrap(dim, margin, record)
	s.line(plain, "", "")
	return nil
}

// next says what to do after the show, such as to open the dashboard's link.
func (s *show) next(dashboard string) {
	s.heading("What to run next")
	if s.once {
		s.say(`That was it: -once ends here. Without it Logjam goes on serving. You can sign in to
			its dashboard with your browser, and be Fly.io yourself, with curl and openssl.`)
	} else {
		s.say(`Logjam goes on serving until you press Ctrl-C. Be the customer, and open this in your
			browser. The sign-on is played too: it asks who you want to be, and no password.`)
		s.show(cyan, dashboard)
		s.say(`Be Fly.io yourself: paste this into another terminal, once and then again.`)
		s.show(cyan,
			"url="+s.fly.BaseURL+"/extensions secret="+s.secret,
			`body='{"id":"mine","organization_id":"me","timestamp":'$(date +%s)',`,
			`"nonce":"'$(openssl rand -hex 8)'","url":"'$url'"}'`,
			`curl -d "$body" $url -H "X-Signature: $(printf %s "$body" |`,
			`  openssl dgst -sha256 -hmac $secret -r | cut -c-64)"; echo`,
		)
	}
	s.say(`To serve the real Fly.io, give Logjam the secrets that Fly.io gave you, and the URL that
		you gave Fly.io:`)
	s.show(cyan,
		"FLYIO_SIGNING_SECRET=... FLYIO_CLIENT_ID=... FLYIO_CLIENT_SECRET=... \\",
		"  go run ./examples/logjam \\",
		"  -base-url https://logjam.example/flyio",
	)
	s.say(`To write a provider of your own, read examples/logjam/service: logjam.go is the service,
		server.go puts it under /flyio, and signon.go signs customers in.`)
}
