package flytest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/flyext/flyext"
)

var replayChecks = []check{
	{Requirement{
		ID: "replay", Group: groupReplays,
		Text:   "A request works once",
		Source: sourceDecisions,
		Fix:    "Remember every nonce (or, in a format without, every signature) for as long as its request is fresh.",
	}, checkReplay},
	{Requirement{
		ID: "concurrent-replay", Group: groupReplays,
		Text:   "A request that comes many times at once works once",
		Source: sourceDecisions,
		Fix:    "Check and enter the nonce in one atomic step, such as an INSERT under a unique key.",
	}, checkConcurrentReplay},
	{Requirement{
		ID: "replay-as-delete", Group: groupReplays,
		Text:   "A GET that was used is no DELETE",
		Source: sourceDecisions,
		Fix:    "Key nonces by nothing but the nonce: X-Signature does not know the method.",
	}, checkReplayAsDelete},
	{Requirement{
		ID: "forged-nonce", Group: groupReplays,
		Text:   "A forgery does not use up the genuine nonce",
		Source: sourceDecisions,
		Fix:    "Look at the nonce last, when the signature is known to be right.",
	}, checkForgedNonce},
}

// replayed returns a request that was admitted.
func (s *subject) replayed(ctx context.Context) (*http.Request, error) {
	r, err := s.orderRequest(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.send(r)
	if err == nil {
		err = succeeded(e)
	}
	return r, err
}

func checkReplay(ctx context.Context, s *subject) error {
	r, err := s.replayed(ctx)
	if err != nil {
		return skipFailure(err, "the genuine request is not admitted")
	}
	if err := s.refuses(r, "a request that was used"); err != nil {
		return err
	}
	err = s.everyRoute(ctx, extensionMethods, func(t target) error { return s.refusesAgain(ctx, t) })
	return tolerate(err)
}

// refusesAgain sends a request twice.
func (s *subject) refusesAgain(ctx context.Context, t target) error {
	r, err := s.genuineOf(ctx, t)
	if err != nil {
		return err
	}
	e, err := s.send(r)
	if err == nil {
		err = succeeded(e)
	}
	if err != nil {
		return skipFailure(err, t.method+" does not work any more")
	}
	if t.method == http.MethodDelete {
		s.attacked = nil
	}
	if e, err = s.send(r); err != nil {
		return err
	}
	if status := e.Response.StatusCode; status == http.StatusNotFound || status == http.StatusGone {
		return &failure{"401 to a request that was used", describe(e) + ", as if it had been the first"}
	}
	return refused(e, "a request that was used")
}

func checkConcurrentReplay(ctx context.Context, s *subject) error {
	r, err := s.orderRequest(ctx)
	if err != nil {
		return err
	}
	var answers [atOnce]Exchange
	var errs [atOnce]error
	var wg sync.WaitGroup
	for i := range atOnce {
		wg.Go(func() { answers[i], errs[i] = s.send(r) })
	}
	wg.Wait()
	admitted := 0
	for i, err := range errs {
		if err != nil {
			return err
		}
		if answers[i].Response.StatusCode/100 == 2 {
			admitted++
		} else if err := refused(answers[i], "a request that was used"); err != nil {
			return err
		}
	}
	if admitted != 1 {
		return &failure{fmt.Sprintf("one of %d admitted", atOnce), fmt.Sprintf("%d", admitted)}
	}
	return nil
}

func checkReplayAsDelete(ctx context.Context, s *subject) error {
	if s.generation() == flyext.Generation1 {
		return &skip{"a message signature covers the method"}
	}
	if works, err := s.offers(ctx, http.MethodGet); err != nil || !works {
		return cmp.Or(err, error(&skip{"GET does not work"}))
	}
	return s.everyRoute(ctx, []string{http.MethodDelete}, func(t target) error {
		r, err := s.genuine(ctx, http.MethodGet, t.path, nil)
		if err != nil {
			return err
		}
		e, err := s.send(r)
		if err == nil {
			err = succeeded(e)
		}
		if err != nil {
			return skipFailure(err, "GET does not work any more")
		}
		r.Method = http.MethodDelete
		return s.refuses(r, "a GET that was used, as a DELETE")
	})
}

func checkForgedNonce(ctx context.Context, s *subject) error {
	r, err := s.orderRequest(ctx)
	if err != nil {
		return err
	}
	forged := r.Clone(ctx)
	if err := s.flip(forged); err != nil {
		return err
	}
	if err := s.refuses(forged, "a forgery"); err != nil {
		return skipFailure(err, "the forgery is admitted")
	}
	e, err := s.send(r)
	if err != nil {
		return err
	}
	return succeeded(e)
}
