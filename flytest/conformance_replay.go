package flytest

import (
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
		Text:   "A forgery does not use up the nonce of the genuine request",
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
	return s.refuses(r, "a request that was used")
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
	x, err := s.extension(ctx)
	if err != nil {
		return err
	}
	r, err := s.genuine(ctx, http.MethodGet, x.path(), nil)
	if err != nil {
		return err
	}
	e, err := s.send(r)
	if err == nil {
		err = s.offered(ctx, e)
	}
	if err != nil {
		return skipFailure(err, "GET does not work")
	}
	r.Method = http.MethodDelete
	return s.refuses(r, "a GET that was used, as a DELETE")
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
