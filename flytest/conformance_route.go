package flytest

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// extensionMethods are what Fly.io asks for an extension with. The last one is
// the one after which nothing can be asked.
var extensionMethods = []string{http.MethodGet, http.MethodPatch, http.MethodDelete}

// signedMethods are all that a signature is needed for.
var signedMethods = append([]string{http.MethodPost}, extensionMethods...)

// requestBody is what the checks of signatures ask for with a method. In every
// body there is the region "mad" to be changed.
func requestBody(method string) []byte {
	if method == http.MethodPatch {
		return []byte(`{"primary_region":"mad"}`)
	}
	return nil
}

// offers says whether a genuine request with a method for an extension succeeds.
// What refuses everybody, because it is not offered or does not work, refuses
// the forgers too, and proves nothing.
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
	s.works[method] = err == nil // what is wrong is for another check to tell
	return err == nil, nil
}

// asked sends a genuine request for an extension, which must succeed if it is
// offered.
func (s *subject) asked(ctx context.Context, method string, x *extension) error {
	e, err := s.callSettled(ctx, method, x, requestBody(method))
	if err != nil {
		return err
	}
	return s.offered(ctx, e)
}

// A target is a request for a forger to spoil.
type target struct {
	method, path string
	body         []byte
	x            *extension // nil for a POST
}

// everyRoute calls attack for each of the methods that the provider offers. The
// extension that it is for stands until an attack succeeds. If there is none,
// that is why to skip.
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
			s.attacked = nil // who knows what is left of it
			return err
		}
	}
	if tried == 0 {
		return &skip{"no " + strings.Join(methods, ", no ") + " works"}
	}
	return nil
}

// targetOf returns what to attack with a method, or nil if it is not offered.
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

// genuineOf signs a request as Fly.io does, unless it is told otherwise.
func (s *subject) genuineOf(ctx context.Context, t target, changes ...how) (*http.Request, error) {
	return s.genuine(ctx, t.method, t.path, t.body, changes...)
}

// refusesAll tests that nobody gets anything done who signs otherwise.
func (s *subject) refusesAll(ctx context.Context, what string, changes ...how) error {
	return s.refusesSpoilt(ctx, signedMethods, what, asItIs, changes...)
}

// asItIs spoils nothing.
func asItIs(*http.Request, target) error { return nil }

// refusesSpoilt tests that requests are refused that were spoilt after they were
// signed.
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

// untouched is a failure if an extension is gone that was only asked for by those
// who were refused: the refusal was said, and the work done.
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
	return &failure{"the extension, after a DELETE that was refused", describe(e)}
}

// callSettled is a genuine request for an extension. One that conflicts with work
// that still goes on is sent again when that has ended.
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

// notRouted says whether a 404 is that of a router which knows no such route: the
// answer is the one to a path that there cannot be.
func (s *subject) notRouted(ctx context.Context, e Exchange) (bool, error) {
	nowhere := strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath) + "/flytest-nowhere"
	other, err := s.call(ctx, e.Request.Method, nowhere, requestBody(e.Request.Method))
	if err != nil {
		return false, err
	}
	without := func(e Exchange) string { // what routers like to repeat
		return strings.ReplaceAll(string(e.ResponseBody), e.Request.URL.Path, "")
	}
	same := other.Response.StatusCode == e.Response.StatusCode && without(other) == without(e) &&
		other.Response.Header.Get("Content-Type") == e.Response.Header.Get("Content-Type")
	return same, nil
}
