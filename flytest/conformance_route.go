package flytest

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// extensionMethods are the methods of Fly.io's requests for an extension. DELETE is the
// last, because it removes the extension.
var extensionMethods = []string{http.MethodGet, http.MethodPatch, http.MethodDelete}

// signedMethods are the methods of all signed requests.
var signedMethods = append([]string{http.MethodPost}, extensionMethods...)

// requestBody returns the body that the checks of signatures send with a method. Each
// body has the region "mad", which checkChangedBody changes.
func requestBody(method string) []byte {
	if method == http.MethodPatch {
		return []byte(`{"primary_region":"mad"}`)
	}
	return nil
}

// offers reports whether a genuine request with a method succeeds for an extension. If
// it fails, the refusal of a forged request proves nothing.
func (s *subject) offers(ctx context.Context, method string) (bool, error) {
	if works, ok := s.works[method]; ok {
		return works, nil
	}
	x, err := s.extension(ctx)
	if err == nil {
		err = s.asked(ctx, method, x)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	s.works[method] = err == nil // another check reports the failure
	return err == nil, nil
}

// asked sends a genuine request for an extension. The request must succeed if the
// provider offers the method.
func (s *subject) asked(ctx context.Context, method string, x *extension) error {
	e, err := s.callSettled(ctx, method, x, requestBody(method))
	if err != nil {
		return err
	}
	return s.offered(ctx, e)
}

// A target is a request that a check forges.
type target struct {
	method, path string
	body         []byte
	x            *extension // nil for a POST
}

// everyRoute calls attack for each of the methods that the provider offers. The attacks
// share one extension until one succeeds. It returns a *skip if the provider offers none
// of the methods.
func (s *subject) everyRoute(ctx context.Context, methods []string, attack func(target) error) error {
	tried := 0
	for _, method := range methods {
		t, err := s.targetOf(ctx, method)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		tried++
		if err := attack(*t); err != nil {
			s.attacked = nil // the extension may be damaged
			return err
		}
	}
	if tried == 0 {
		return &skip{"no request succeeds with " + strings.Join(methods, ", ")}
	}
	return nil
}

// targetOf returns a target for a method, or nil if the provider does not offer the
// method.
func (s *subject) targetOf(ctx context.Context, method string) (*target, error) {
	if method == http.MethodPost {
		order := s.order()
		s.willMake(order.ID)
		body, err := encodeProvision(order)
		return &target{method: method, path: "/extensions", body: body}, err
	}
	if works, err := s.offers(ctx, method); err != nil || !works {
		return nil, err
	}
	if s.attacked == nil {
		x, err := s.extension(ctx)
		if err != nil {
			return nil, err
		}
		s.attacked = x
	}
	return &target{method: method, path: s.attacked.path(), body: requestBody(method), x: s.attacked}, nil
}

// genuineOf returns a target's request, signed as Fly.io does except for the changes.
func (s *subject) genuineOf(ctx context.Context, t target, changes ...how) (*http.Request, error) {
	return s.genuine(ctx, t.method, t.path, t.body, changes...)
}

// refusesAll tests that each method is refused if the request is signed with changes.
func (s *subject) refusesAll(ctx context.Context, what string, changes ...how) error {
	return s.refusesSpoilt(ctx, signedMethods, what, asItIs, changes...)
}

// asItIs leaves a request unchanged.
func asItIs(*http.Request, target) error { return nil }

// refusesSpoilt tests that a request is refused if spoil changes it after it was signed.
func (s *subject) refusesSpoilt(
	ctx context.Context, methods []string, what string, spoil func(r *http.Request, t target) error, changes ...how,
) error {
	return s.everyRoute(ctx, methods, func(t target) error {
		r, err := s.genuineOf(ctx, t, changes...)
		if err != nil {
			return err
		}
		if err := spoil(r, t); err != nil {
			return err
		}
		return s.refuses(r, what)
	})
}

// untouched returns a *failure if the attacked extension is gone. All attacks on it were
// refused, so the provider has executed a request that it refused.
func (s *subject) untouched(ctx context.Context) error {
	if s.attacked == nil {
		return nil
	}
	if works, err := s.offers(ctx, http.MethodGet); err != nil || !works {
		return err
	}
	e, err := s.fetch(ctx, s.attacked)
	if err != nil {
		return err
	}
	if e.Response.StatusCode/100 == 2 {
		return nil
	}
	s.attacked = nil
	return &failure{"the extension to exist after a refused DELETE", describe(e)}
}

// callSettled sends a genuine request for an extension. If the answer is 409, it waits
// until the extension is ready and sends the request again.
func (s *subject) callSettled(ctx context.Context, method string, x *extension, body []byte) (Exchange, error) {
	e, err := s.call(ctx, method, x.path(), body)
	if err != nil || e.Response.StatusCode != http.StatusConflict {
		return e, err
	}
	var unmet *failure
	var untested *skip
	if err := s.awaitReady(ctx, x); err != nil && !errors.As(err, &unmet) && !errors.As(err, &untested) {
		return e, err
	}
	return s.call(ctx, method, x.path(), body)
}

// notRouted reports whether a 404 comes from a router that has no such route. In that
// case a path that cannot exist gets the same answer.
func (s *subject) notRouted(ctx context.Context, e Exchange) (bool, error) {
	nowhere := strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath) + "/flytest-nowhere"
	other, err := s.call(ctx, e.Request.Method, nowhere, requestBody(e.Request.Method))
	if err != nil {
		return false, err
	}
	without := func(e Exchange) string { // routers often repeat the path
		return strings.ReplaceAll(string(e.ResponseBody), e.Request.URL.Path, "")
	}
	same := other.Response.StatusCode == e.Response.StatusCode && without(other) == without(e) &&
		other.Response.Header.Get("Content-Type") == e.Response.Header.Get("Content-Type")
	return same, nil
}
