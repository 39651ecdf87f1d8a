package flytest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyext/flyext"
)

// answerTimeout limits one request. It is longer than the default Budget, so
// that the report can say how long a slow provider takes.
const answerTimeout = 30 * time.Second

// A subject sends the requests of one check to the provider, and records them. The
// exchange of an unanswered request has no Response.
type subject struct {
	*conformanceRun
	mu        sync.Mutex
	exchanges []Exchange
}

// send sends a request unchanged. It returns an error if there is no answer, or if
// each try is answered with 429.
func (s *subject) send(r *http.Request) (Exchange, error) {
	var e Exchange
	err := s.patiently(r.Context(), func() (Exchange, error) {
		var err error
		e, err = s.sendOnce(r)
		return e, err
	})
	return e, err
}

// maxTries is how often a request is sent to a provider that limits their rate. A
// refusal for the rate does not show whether the provider refuses the request itself.
const maxTries = 5

// maxRetryAfter limits the wait that a provider can ask for.
const maxRetryAfter = 15 * time.Second

// patiently repeats try while the answer is 429.
func (s *subject) patiently(ctx context.Context, try func() (Exchange, error)) error {
	for n := 1; ; n++ {
		e, err := try()
		if err != nil || e.Response.StatusCode != http.StatusTooManyRequests {
			return err
		}
		if n == maxTries {
			return fmt.Errorf("%s to each of %d tries; lift the rate limit for the test", e.Response.Status, n)
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
	r.Close = true // its own connection, because an unread body would become the next request
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

// record keeps an exchange. The caller holds s.mu.
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

// signedBy replaces the signer.
func signedBy(signer Signer) how { return func(p *Platform) { p.Signer = signer } }

// signedAt moves the clock by an offset.
func signedAt(offset time.Duration) how {
	return func(p *Platform) {
		now := p.Now
		p.Now = func() time.Time { return now().Add(offset) }
	}
}

// signing returns a platform that signs as Fly.io does, except for the changes.
func (s *subject) signing(method, path string, changes ...how) *Platform {
	p := s.platform
	p.Signer = s.Conformance.Format.Signer(s.Credentials)
	p.Now = func() time.Time { return s.signingTime(method, path) }
	for _, change := range changes {
		change(&p)
	}
	return &p
}

// genuine returns a request that is signed as Fly.io does, except for the changes.
func (s *subject) genuine(ctx context.Context, method, path string, body []byte, changes ...how) (*http.Request, error) {
	return s.signing(method, path, changes...).NewRequest(ctx, method, path, s.padded(body))
}

// maxPadding is one more than the number of spaces that padded can add. The longest
// body still fits into a report.
const maxPadding = 4096

// firstLength is the length of the bodies in the first run of this process. Each
// later run has the next length. The start is random, because processes know nothing
// about each other.
var (
	firstLength = rand.Uint32N(maxPadding)
	runs        atomic.Uint32
)

// newBodyLength returns the length of a run's bodies, modulo maxPadding.
func newBodyLength() int { return int((firstLength + runs.Add(1)) % maxPadding) }

// padded adds spaces to a body in draft-cavage, so that each run has its own length of
// bodies. The format covers the length of a body and not the bytes, and has no nonce.
// Without the spaces, a second run within a few minutes would send signatures of the
// first run, and the provider would refuse them as replays. JSON allows the spaces.
func (r *conformanceRun) padded(body []byte) []byte {
	if r.Conformance.Format != FormatCavage || len(body) == 0 {
		return body
	}
	spaces := (r.bodyLength + maxPadding - len(body)%maxPadding) % maxPadding
	return append(bytes.Clone(body), bytes.Repeat([]byte(" "), spaces)...)
}

// unsigned returns a request without a signature.
func (s *subject) unsigned(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	return s.genuine(ctx, method, path, body, signedBy(signsNothing))
}

// signingTime returns the time to sign a request at. Draft-cavage has no nonce, so
// two requests of one second, method and path would have the same signature.
// signingTime therefore returns a second that it has not returned for the method and
// path before in this run; padded tells the runs apart. In the other formats it
// returns the present time.
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

// call sends a request that is signed as Fly.io does, except for the changes.
func (s *subject) call(ctx context.Context, method, path string, body []byte, changes ...how) (Exchange, error) {
	r, err := s.genuine(ctx, method, path, body, changes...)
	if err != nil {
		return Exchange{}, err
	}
	return s.send(r)
}

func (r *conformanceRun) generation() flyext.Generation { return r.Conformance.Format.Generation() }
