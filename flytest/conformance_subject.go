package flytest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

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

// call sends a genuine request.
func (s *subject) call(ctx context.Context, method, path string, body []byte, changes ...how) (Exchange, error) {
	r, err := s.genuine(ctx, method, path, body, changes...)
	if err != nil {
		return Exchange{}, err
	}
	return s.send(r)
}

func (r *conformanceRun) generation() flyext.Generation { return r.Conformance.Format.Generation() }
