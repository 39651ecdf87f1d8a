package flytest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// answerTimeout bounds one request. It is longer than what a provider may take,
// so that one that takes longer is told how long.
const answerTimeout = 30 * time.Second

// A subject is the provider as one check sees it: it records what is sent. Of
// what was not answered, the exchange has no Response.
type subject struct {
	*conformanceRun
	mu        sync.Mutex
	exchanges []Exchange
}

// test runs one check.
func (r *conformanceRun) test(ctx context.Context, c *check) Result {
	s := &subject{conformanceRun: r}
	start := time.Now()
	err := c.run(ctx, s)
	result := Result{Requirement: c.Requirement, Verdict: Passed, Exchanges: s.exchanges, Duration: time.Since(start)}
	if skipped, ok := errors.AsType[*skip](err); ok {
		result.Verdict, result.Reason = Skipped, skipped.reason
	} else if warned, ok := errors.AsType[*warning](err); ok {
		result.Verdict, result.Want, result.Got = Warned, warned.want, clip(r.redact(warned.got))
	} else if failed, ok := errors.AsType[*failure](err); ok {
		result.Verdict, result.Want, result.Got = Failed, failed.want, clip(r.redact(failed.got))
	} else if err != nil {
		result.Verdict, result.Want, result.Got = Failed, "an answer", clip(r.redact("none: "+strings.TrimPrefix(err.Error(), "flytest: ")))
	}
	return result
}

// redact takes the secrets out of what is told.
func (r *conformanceRun) redact(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	byLength := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) } // one may hold another
	for _, secret := range slices.SortedFunc(maps.Keys(r.secrets), byLength) {
		if r.secrets[secret] != nobodys {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// reach finds out whether there is a provider at all.
func (r *conformanceRun) reach(ctx context.Context) error {
	s := &subject{conformanceRun: r}
	req, err := s.unsigned(ctx, http.MethodGet, ExtensionPath(r.newID()), nil)
	if err != nil {
		return err
	}
	if _, err := s.send(req); err != nil {
		return cmp.Or(ctx.Err(), error(&UnreachableError{err}))
	}
	return nil
}

// cleanUp removes what was made, as far as the provider lets it: a provider
// that fails has been told so already.
func (r *conformanceRun) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	s := &subject{conformanceRun: r}
	ids := make(chan string)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for id := range ids {
				s.remove(ctx, id)
			}
		})
	}
	for _, id := range r.made {
		ids <- id
	}
	close(ids)
	wg.Wait()
}

// remove deletes what may be there, as soon as nothing else is done with it.
func (s *subject) remove(ctx context.Context, id string) {
	for range maxTries {
		e, err := s.call(ctx, http.MethodDelete, ExtensionPath(id), nil)
		if err != nil || e.Response.StatusCode != http.StatusConflict || s.platform.sleep(ctx, PollInterval) != nil {
			return
		}
	}
}

// send sends a request as it is. Where there is no answer, or only that there
// were too many requests, it is an error.
func (s *subject) send(r *http.Request) (Exchange, error) {
	var e Exchange
	err := s.patiently(r.Context(), func() (Exchange, error) {
		var err error
		e, err = s.sendOnce(r)
		return e, err
	})
	return e, err
}

// maxTries is how often a request is sent to a provider that limits their rate.
// A refusal for their number says nothing of any other.
const maxTries = 5

// maxRetryAfter bounds what a provider may ask for between two of them.
const maxRetryAfter = 15 * time.Second

// patiently tries until there are not too many requests.
func (s *subject) patiently(ctx context.Context, try func() (Exchange, error)) error {
	for n := 1; ; n++ {
		e, err := try()
		if err != nil || e.Response.StatusCode != http.StatusTooManyRequests {
			return err
		}
		if n == maxTries {
			return fmt.Errorf("%s, %d times (lift the limit for the test)", e.Response.Status, n)
		}
		wait := time.Second
		if seconds, err := strconv.Atoi(e.Response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = min(time.Duration(seconds)*time.Second, maxRetryAfter)
		}
		if err := s.platform.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (s *subject) sendOnce(r *http.Request) (Exchange, error) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Close = true // a connection of its own: the provider may leave a body unread, which would be the next request
	e, err := s.platform.exchange(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		body, _ := bodyOf(r)
		s.record(Exchange{Request: r, RequestBody: body, SignatureBase: SignatureBase(r)})
		return Exchange{}, err
	}
	s.record(e)
	return e, nil
}

// record keeps what was answered. The subject is locked.
func (s *subject) record(e Exchange) {
	s.exchanges = append(s.exchanges, e)
	s.noteMade(e)
	if e.Response != nil && e.Response.StatusCode >= 400 {
		s.conformanceRun.mu.Lock()
		s.refusals = append(s.refusals, e)
		s.conformanceRun.mu.Unlock()
	}
}

// A how changes how a request is signed.
type how func(p *Platform)

// signedBy has another signer sign.
func signedBy(signer Signer) how { return func(p *Platform) { p.Signer = signer } }

// signedAt has the clock go wrong by an offset.
func signedAt(offset time.Duration) how {
	return func(p *Platform) {
		now := p.Now
		p.Now = func() time.Time { return now().Add(offset) }
	}
}

// signing is Fly.io as it signs a request, unless it is told otherwise.
func (s *subject) signing(method, path string, changes ...how) *Platform {
	p := s.platform
	p.Signer = s.Conformance.Format.Signer(s.Credentials)
	p.Now = func() time.Time { return s.signingTime(method, path) }
	for _, change := range changes {
		change(&p)
	}
	return &p
}

// genuine returns a request of Fly.io's, unless it is told otherwise.
func (s *subject) genuine(ctx context.Context, method, path string, body []byte, changes ...how) (*http.Request, error) {
	return s.signing(method, path, changes...).NewRequest(ctx, method, path, body)
}

// unsigned returns a request that a stranger could make.
func (s *subject) unsigned(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	nobody := signerFunc(func(*http.Request, time.Time) error { return nil })
	return s.genuine(ctx, method, path, body, signedBy(nobody))
}

// signingTime is now. In draft-cavage, which has no nonce, it is a second that
// no request of this method and path was signed in, since two of them would have
// one signature.
func (s *subject) signingTime(method, path string) time.Time {
	now := s.now()
	if s.Conformance.Format != FormatCavage {
		return now
	}
	s.conformanceRun.mu.Lock()
	defer s.conformanceRun.mu.Unlock()
	for {
		key := method + " " + path + " " + strconv.FormatInt(now.Unix(), 10)
		if !s.signed[key] {
			s.signed[key] = true
			return now
		}
		now = now.Add(-time.Second)
	}
}

func (r *conformanceRun) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *conformanceRun) newID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return r.prefix + "-" + strconv.Itoa(r.count)
}

// newAddress returns an address on a customer's network, another one each time.
func (r *conformanceRun) newAddress() netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	address := netip.MustParseAddr("fdaa:0:47fb::").As16()
	binary.BigEndian.PutUint32(address[12:], uint32(r.count))
	return netip.AddrFrom16(address)
}

// call sends a genuine request.
func (s *subject) call(ctx context.Context, method, path string, body []byte, changes ...how) (Exchange, error) {
	r, err := s.genuine(ctx, method, path, body, changes...)
	if err != nil {
		return Exchange{}, err
	}
	return s.send(r)
}

// The organizations of a run.
const (
	ownOrganization   = "flytest-organization"
	otherOrganization = "flytest-another-organization"
)

// order is what a customer wants, with everything that Fly.io sends.
func (s *subject) order() flyext.ProvisionRequest {
	id := s.newID()
	return flyext.ProvisionRequest{
		ID: id, Name: id + "-prod",
		OrganizationID: ownOrganization, OrganizationName: "Conformance", OrganizationEmail: ownOrganization + "@customer.fly.io",
		UserID: "flytest-user", UserName: "Conformance Test", UserEmail: "flytest-user@customer.fly.io", UserRole: "admin",
		PrimaryRegion: "mad", ReadRegions: []string{"fra"}, IPAddress: s.newAddress(), Extra: maps.Clone(s.Params),
	}
}

// An extension is one that the provider has made.
type extension struct {
	id      string // in the paths of requests
	members map[string]jsontext.Value
	secrets map[string]jsontext.Value
	answer  Exchange
}

func (x *extension) path() string { return ExtensionPath(x.id) }

// provision has an extension made, or is the failure to.
func (s *subject) provision(ctx context.Context, req flyext.ProvisionRequest) (*extension, error) {
	body, err := encodeProvision(req)
	if err != nil {
		return nil, err
	}
	return s.provisionBody(ctx, req.ID, body)
}

func (s *subject) provisionBody(ctx context.Context, id string, body []byte, changes ...how) (*extension, error) {
	s.willMake(id)
	e, err := s.call(ctx, http.MethodPost, "/extensions", body, changes...)
	if err != nil {
		return nil, err
	}
	return s.readMade(e, id)
}

// extension provisions one as usual.
func (s *subject) extension(ctx context.Context) (*extension, error) {
	return s.provision(ctx, s.order())
}

// standing returns an extension that stands for the whole run, for checks that
// change nothing.
func (s *subject) standing(ctx context.Context) (*extension, error) {
	if s.stands != nil {
		return s.stands, nil
	}
	x, err := s.extension(ctx)
	s.stands = x
	return x, err
}

// readMade reads the answer of a provision, as leniently as can be: how secrets
// have to look is for one check alone.
func (s *subject) readMade(e Exchange, id string) (*extension, error) {
	if err := succeeded(e); err != nil {
		return nil, err
	}
	members, err := decodeObject(e.ResponseBody)
	if err != nil {
		return nil, &failure{"a JSON object", "an answer that is none: " + err.Error()}
	}
	x := &extension{id: id, members: members, secrets: members, answer: e}
	if !isFlat(members) { // the other generation's shape fails one requirement; the others can be tested
		if config := members["config"]; s.generation() == flyext.Generation2 || config.Kind() == '{' {
			x.secrets, _ = decodeObject(config)
		}
	}
	if own := textOf(members["id"]); s.generation() == flyext.Generation2 && own != "" {
		x.id = own
	}
	s.conformanceRun.mu.Lock()
	defer s.conformanceRun.mu.Unlock()
	s.provisioned = true
	for _, value := range x.secrets {
		// Of the configuration, not everything is a secret.
		text := textOf(value)
		if text == x.id || text == textOf(members["name"]) || bytes.Contains(e.RequestBody, []byte(text)) {
			s.addSecret(text, nobodys)
		}
		s.addSecret(text, id)
	}
	return x, nil
}

// willMake notes an id to be removed at the end, whether or not it gets made.
func (r *conformanceRun) willMake(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.made, id) {
		r.made = append(r.made, id)
	}
}

// noteMade notes the id of what a provider made, be it what was asked for or not,
// if it has ids of its own.
func (r *conformanceRun) noteMade(e Exchange) {
	if e.Request.Method != http.MethodPost || e.Response == nil || e.Response.StatusCode/100 != 2 || r.generation() == flyext.Generation1 {
		return
	}
	answer, _ := decodeObject(e.ResponseBody)
	own := textOf(answer["id"])
	if own == "" {
		return
	}
	r.willMake(own)
	asked, _ := decodeObject(e.RequestBody)
	if id := textOf(asked["id"]); id != own {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made = slices.DeleteFunc(r.made, func(made string) bool { return made == id })
	}
}

func (r *conformanceRun) generation() flyext.Generation { return r.Conformance.Format.Generation() }

// minSecret is how long a text must be for its appearing elsewhere to be no
// accident.
const minSecret = 8

// Whose secrets there are besides those of extensions.
const (
	shared  = "" // between Fly.io and the provider
	nobodys = "*"
)

// addSecret notes a text that no answer but a provision's may hold, and the
// password in it, if it is a URL with one. What two extensions have, such as the
// name of a host, is nobody's secret. The run is locked.
func (r *conformanceRun) addSecret(text, owner string) {
	texts := []string{text}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		password, _ := u.User.Password()
		texts = append(texts, password)
	}
	for _, text := range texts {
		before, known := r.secrets[text]
		switch {
		case len(text) < minSecret || known && before == shared:
		case known && before != owner:
			r.secrets[text] = nobodys
		default:
			r.secrets[text] = owner
		}
	}
}

// textOf returns a JSON string's text, or "" of anything else.
func textOf(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return ""
	}
	return string(text)
}

// succeeded is a failure unless the answer is one.
func succeeded(e Exchange) error {
	if e.Response.StatusCode/100 == 2 {
		return nil
	}
	return &failure{"2xx", describe(e)}
}

// refused is a failure if the answer is not 4xx. Which of those it has to be is
// for one check alone.
func refused(e Exchange, what string) error {
	if e.Response.StatusCode/100 == 4 {
		return nil
	}
	return &failure{"401 to " + what, describe(e)}
}

// offered is a *skip if the provider does not do what a genuine request for an
// extension that is there asked for, and a failure if it does and has not
// succeeded. A 404 says so where a stranger is told the same, or whoever asks for
// a route that there cannot be.
func (s *subject) offered(ctx context.Context, e Exchange) error {
	switch e.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return &skip{fmt.Sprintf("%s is not offered (%s)", e.Request.Method, e.Response.Status)}
	case http.StatusNotFound:
		r, err := s.unsigned(ctx, e.Request.Method, strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath), nil)
		if err != nil {
			return err
		}
		stranger, err := s.send(r)
		if err != nil {
			return err
		}
		unrouted := stranger.Response.StatusCode != http.StatusUnauthorized
		if !unrouted { // or strangers are refused before any route is looked for
			if unrouted, err = s.notRouted(ctx, e); err != nil {
				return err
			}
		}
		if unrouted {
			return &skip{fmt.Sprintf("there is no %s (%s)", e.Request.Method, e.Response.Status)}
		}
	}
	return succeeded(e)
}

// maxDescribed bounds what is told of an answer, in bytes.
const maxDescribed = 200

// clip shortens what is told. A secret is taken out before, since its beginning
// would not be known for one.
func clip(text string) string {
	if len(text) > maxDescribed {
		text = text[:maxDescribed] + " …"
	}
	return strings.ToValidUTF8(text, "�")
}

// describe says what an answer is. Of a success, whose body may hold secrets, it
// is the status alone.
func describe(e Exchange) string {
	text := e.Response.Status
	body := bytes.TrimSpace(e.ResponseBody)
	if e.Response.StatusCode/100 == 2 || len(body) == 0 {
		return text
	}
	return text + ": " + string(body)
}
