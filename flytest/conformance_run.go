package flytest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// A conformanceRun is what the tests of one run share.
type conformanceRun struct {
	*Conformance
	platform      Platform
	basePath      string // escaped
	ssoGeneration flyext.Generation
	prefix        string          // of the ids
	provisioned   bool            // something was, and can be tested
	stands        *extension      // see subject.standing
	attacked      *extension      // see subject.everyRoute
	works         map[string]bool // by method; see subject.offers
	landing       []string        // see subject.home

	mu       sync.Mutex
	count    int               // of the ids
	made     []string          // ids of what is there to be removed
	secrets  map[string]string // that no answer may give away, and whose they are
	refusals []Exchange        // all of them, with the errors
	signed   map[string]bool   // see subject.signingTime
}

func newConformanceRun(c *Conformance) (*conformanceRun, error) {
	own := *c
	own.Format = cmp.Or(c.Format, FormatXSignature)
	own.Budget = cmp.Or(c.Budget, 5*time.Second)
	own.Patience = cmp.Or(c.Patience, 30*time.Second)
	r := &conformanceRun{
		Conformance: &own, prefix: "flytest-" + strings.ToLower(rand.Text()[:8]), signed: make(map[string]bool), secrets: make(map[string]string),
		works: make(map[string]bool),
	}
	if _, err := ParseFormat(string(own.Format)); err != nil {
		return nil, fmt.Errorf("flytest: Conformance.Format: %w", err)
	}
	if own.Credentials.SigningSecret == "" {
		return nil, errors.New("flytest: Conformance.Credentials has no SigningSecret")
	}
	for _, id := range own.Only {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.ID == id }) {
			return nil, fmt.Errorf("flytest: there is no requirement %q", id)
		}
	}
	r.platform = Platform{BaseURL: own.BaseURL, Client: own.Client, Now: own.Now, Sleep: own.Sleep}
	base, err := r.platform.base()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	r.basePath = u.EscapedPath()
	if err := r.checkParams(); err != nil {
		return nil, err
	}
	if err := r.setSSO(); err != nil {
		return nil, err
	}
	for _, secret := range []string{own.Credentials.SigningSecret, own.Credentials.BearerToken} {
		r.addSecret(secret, shared)
	}
	if own.Webhooks != nil {
		own.Webhooks.check()
		r.addSecret(own.Webhooks.Secret, shared)
	}
	return r, nil
}

// checkParams checks that each provision can carry the author's parameters.
func (r *conformanceRun) checkParams() error {
	for _, name := range []string{"timestamp", "nonce", "url"} {
		if _, ok := r.Params[name]; ok {
			return fmt.Errorf("flytest: Conformance.Params: %q is a parameter of the signature", name)
		}
	}
	if _, err := encodeProvision((&subject{conformanceRun: r}).order()); err != nil {
		return fmt.Errorf("flytest: Conformance.Params: %w", err)
	}
	return nil
}

// setSSO checks what belongs to the sign-on.
func (r *conformanceRun) setSSO() error {
	r.ssoGeneration = cmp.Or(r.SSOGeneration, r.Conformance.Format.Generation())
	if r.OAuth == nil {
		if r.OAuthURL != "" {
			return errors.New("flytest: Conformance.OAuthURL is set, and OAuth is not")
		}
		return nil
	}
	r.OAuth.check()
	of := cmp.Or(r.OAuth.Generation, flyext.Generation2)
	if r.SSOGeneration != 0 && r.SSOGeneration != of {
		return errors.New("flytest: Conformance.SSOGeneration is not that of OAuth")
	}
	r.ssoGeneration = of
	r.addSecret(r.OAuth.ClientSecret, shared)
	_, err := NewBrowser(r.Client, r.OAuthURL)
	return err
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
