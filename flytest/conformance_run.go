package flytest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// A conformanceRun is the state that the checks of one run share.
type conformanceRun struct {
	*Conformance
	platform      Platform
	basePath      string // escaped
	ssoGeneration flyext.Generation
	prefix        string          // of the extensions' ids
	provisioned   bool            // an extension was made, so the other checks can run
	stands        *extension      // see subject.standing
	attacked      *extension      // see subject.everyRoute
	works         map[string]bool // by method; see subject.offers
	landing       []string        // see subject.home
	bodyLength    int             // see padded

	mu       sync.Mutex
	count    int                       // the number of ids so far
	made     []string                  // the ids of extensions to remove
	secrets  map[string]string         // each secret and its owner; see addSecret
	refusals []Exchange                // every exchange with a status of 400 or more
	signed   map[string]bool           // see subject.signingTime
	patterns map[string]*regexp.Regexp // by secret; see spellings
}

func newConformanceRun(c *Conformance) (*conformanceRun, error) {
	own := *c
	own.Format = cmp.Or(c.Format, FormatXSignature)
	own.Budget = cmp.Or(c.Budget, 5*time.Second)
	own.Patience = cmp.Or(c.Patience, 30*time.Second)
	r := &conformanceRun{
		Conformance: &own, prefix: "flytest-" + strings.ToLower(rand.Text()[:8]), signed: make(map[string]bool), secrets: make(map[string]string),
		works: make(map[string]bool), bodyLength: newBodyLength(), patterns: make(map[string]*regexp.Regexp),
	}
	if _, err := ParseFormat(string(own.Format)); err != nil {
		return nil, fmt.Errorf("flytest: Conformance.Format: %w", err)
	}
	if own.Credentials.SigningSecret == "" {
		return nil, errors.New("flytest: Conformance.Credentials.SigningSecret is empty; set it to the provider's signing secret")
	}
	for _, id := range own.Only {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.ID == id }) {
			return nil, fmt.Errorf("flytest: Conformance.Only: unknown requirement %q; use the ids of Requirements", id)
		}
	}
	if err := r.setPlatform(); err != nil {
		return nil, err
	}
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

// setPlatform sets platform and basePath, and checks the base URL.
func (r *conformanceRun) setPlatform() error {
	r.platform = Platform{BaseURL: r.BaseURL, Client: r.Client, Now: r.Now, Sleep: r.Sleep}
	base, err := r.platform.base()
	if err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	r.basePath = u.EscapedPath()
	return nil
}

// checkParams checks that a provision request can carry Params.
func (r *conformanceRun) checkParams() error {
	for _, name := range []string{"timestamp", "nonce", "url"} {
		if _, ok := r.Params[name]; ok {
			return fmt.Errorf("flytest: Conformance.Params: the signature uses the name %q; use another name", name)
		}
	}
	if _, err := encodeProvision((&subject{conformanceRun: r}).order()); err != nil {
		return fmt.Errorf("flytest: Conformance.Params: %w", err)
	}
	return nil
}

// setSSO checks the fields for the sign-on, and sets ssoGeneration.
func (r *conformanceRun) setSSO() error {
	r.ssoGeneration = cmp.Or(r.SSOGeneration, r.Conformance.Format.Generation())
	if r.OAuth == nil {
		if r.OAuthURL != "" {
			return errors.New("flytest: Conformance.OAuthURL is set but OAuth is nil; set both or neither")
		}
		return nil
	}
	r.OAuth.check()
	of := cmp.Or(r.OAuth.Generation, flyext.Generation2)
	if r.SSOGeneration != 0 && r.SSOGeneration != of {
		return errors.New("flytest: Conformance.SSOGeneration differs from OAuth.Generation; leave SSOGeneration 0 to use the latter")
	}
	r.ssoGeneration = of
	r.addSecret(r.OAuth.ClientSecret, shared)
	_, err := NewBrowser(r.Client, r.OAuthURL)
	return err
}

// testAll runs the checks that Only lists, and always the first one. It adds the results
// to report. It stops after the first check if the others cannot be tested.
func (r *conformanceRun) testAll(ctx context.Context, report *Report) error {
	for i := range checks {
		check := &checks[i]
		gate := i == 0 // a provider that refuses everything would pass every check of a refusal
		wanted := len(r.Only) == 0 || slices.Contains(r.Only, check.ID)
		if !wanted && !gate {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if wanted && r.Started != nil {
			r.Started(check.Requirement)
		}
		result := r.test(ctx, check)
		open := !gate || r.opens(ctx, &result)
		if err := ctx.Err(); err != nil {
			return err
		}
		if wanted || !open {
			report.Results = append(report.Results, result)
			if r.Finished != nil {
				r.Finished(result)
			}
		}
		if !open {
			return nil
		}
	}
	return nil
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
		result.Verdict, result.Want, result.Got = Failed, "an answer", clip(r.redact("no answer: "+strings.TrimPrefix(err.Error(), "flytest: ")))
	}
	return result
}

// reach returns an *[UnreachableError] if the provider does not answer a request.
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

// cleanUp removes the extensions of the run. It ignores failures, because the checks
// have already reported them.
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

// remove sends a DELETE for an extension, and repeats it while the answer is 409.
func (s *subject) remove(ctx context.Context, id string) {
	for range maxTries {
		e, err := s.call(ctx, http.MethodDelete, ExtensionPath(id), nil)
		if err != nil || e.Response.StatusCode != http.StatusConflict || s.platform.sleep(ctx, PollInterval) != nil {
			return
		}
	}
}
