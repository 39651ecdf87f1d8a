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
		Text:   "A request is accepted only once",
		Source: sourceDecisions,
		Fix:    "Remember each nonce until its request is too old to be accepted. In a format without nonces, remember the signature.",
	}, checkReplay},
	{Requirement{
		ID: "concurrent-replay", Group: groupReplays,
		Text:   "Only one of several concurrent copies is accepted",
		Source: sourceDecisions,
		Fix:    "Check and store the nonce in one atomic step, such as an INSERT with a unique key.",
	}, checkConcurrentReplay},
	{Requirement{
		ID: "replay-as-delete", Group: groupReplays,
		Text:   "A used GET is refused as a DELETE",
		Source: sourceDecisions,
		Fix:    "Use only the nonce as the key of the replay store: X-Signature does not cover the method.",
	}, checkReplayAsDelete},
	{Requirement{
		ID: "forged-nonce", Group: groupReplays,
		Text:   "A forged request does not spend the genuine nonce",
		Source: sourceDecisions,
		Fix:    "Store the nonce last, after you have verified the signature.",
	}, checkForgedNonce},
}

// replayed returns a request that the provider has accepted.
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
		return skipFailure(err, "the genuine request is not accepted")
	}
	if err := s.refuses(r, usedRequest); err != nil {
		return err
	}
	err = s.everyRoute(ctx, extensionMethods, func(t target) error { return s.refusesAgain(ctx, t) })
	return tolerate(err)
}

// usedRequest describes a replay in a failure.
const usedRequest = "a request that was accepted before"

// refusesAgain sends a request twice. The second must be refused.
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
		return skipFailure(err, t.method+" fails")
	}
	if t.method == http.MethodDelete {
		s.attacked = nil
	}
	if e, err = s.send(r); err != nil {
		return err
	}
	if status := e.Response.StatusCode; status == http.StatusNotFound || status == http.StatusGone {
		return &failure{"401 for " + usedRequest, describe(e) + ", as if the request were new"}
	}
	return refused(e, usedRequest)
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
	accepted := 0
	for i, err := range errs {
		if err != nil {
			return err
		}
		if answers[i].Response.StatusCode/100 == 2 {
			accepted++
		} else if err := refused(answers[i], usedRequest); err != nil {
			return err
		}
	}
	if accepted != 1 {
		return &failure{fmt.Sprintf("1 of %d copies accepted", atOnce), fmt.Sprintf("%d copies accepted", accepted)}
	}
	return nil
}

func checkReplayAsDelete(ctx context.Context, s *subject) error {
	if s.generation() == flyext.Generation1 {
		return &skip{"a message signature covers the method"}
	}
	if works, err := s.offers(ctx, http.MethodGet); err != nil || !works {
		return cmp.Or(err, error(&skip{"GET fails"}))
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
			return skipFailure(err, "GET fails")
		}
		r.Method = http.MethodDelete
		return s.refuses(r, "a used GET that is sent as a DELETE")
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
	if err := s.refuses(forged, "a forged signature"); err != nil {
		return skipFailure(err, "the forged request is accepted")
	}
	e, err := s.send(r)
	if err != nil {
		return err
	}
	if e.Response.StatusCode/100 != 2 {
		return &failure{"2xx for the genuine request after a forged one", describe(e)}
	}
	return nil
}
