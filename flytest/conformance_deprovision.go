package flytest

import (
	"context"
	"net/http"
	"time"

	"github.com/flyext/flyext"
)

// deprovision sends a DELETE for an extension.
func (s *subject) deprovision(ctx context.Context, x *extension) (Exchange, error) {
	return s.callSettled(ctx, http.MethodDelete, x, nil)
}

// gone makes an extension and removes it.
func (s *subject) gone(ctx context.Context) (*extension, error) {
	x, err := s.extension(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.deprovision(ctx, x)
	if err == nil {
		err = s.offered(ctx, e)
	}
	return x, err
}

// noDelete is why the checks that build on "deprovision" are skipped.
const noDelete = "DELETE fails"

func checkDeprovision(ctx context.Context, s *subject) error {
	_, err := s.gone(ctx)
	return err
}

func checkDeprovisionTwice(ctx context.Context, s *subject) error {
	x, err := s.gone(ctx)
	if err != nil {
		return skipFailure(err, noDelete)
	}
	e, err := s.deprovision(ctx, x)
	if err != nil {
		return err
	}
	return succeeded(e)
}

func checkFetchAfterDeprovision(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if _, err := s.resource(ctx, x); err != nil {
		return skipFailure(err, noResource)
	}
	if x, err = s.gone(ctx); err != nil {
		return skipFailure(err, noDelete)
	}
	for waited := time.Duration(0); ; waited += PollInterval {
		e, err := s.fetch(ctx, x)
		if err != nil {
			return err
		}
		if status := e.Response.StatusCode; status == http.StatusNotFound || status == http.StatusGone {
			return nil
		}
		members, _ := decodeObject(e.ResponseBody)
		status := flyext.Status(s.mapped(textOf(members["status"])))
		goesOn := e.Response.StatusCode/100 == 2 && status != "" && status != flyext.Ready && status != flyext.Failed
		if !goesOn || waited >= s.Patience {
			return &failure{"404 or 410 for a GET of a deleted extension", describe(e)}
		}
		if err := s.platform.sleep(ctx, PollInterval); err != nil {
			return err
		}
	}
}

func checkLateRetry(ctx context.Context, s *subject) error {
	order := s.order()
	x, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	e, err := s.deprovision(ctx, x)
	if err == nil {
		err = s.offered(ctx, e)
	}
	if err != nil {
		return skipFailure(err, noDelete)
	}
	body, err := encodeProvision(order)
	if err != nil {
		return err
	}
	s.willMake(order.ID)
	e, err = s.call(ctx, http.MethodPost, "/extensions", body)
	switch {
	case err != nil:
		return err
	case e.Response.StatusCode/100 == 2:
		return &warning{"410 for a POST with a deleted id", describe(e) + ", so there may be a new extension"}
	case e.Response.StatusCode/100 == 4:
		return nil
	}
	return &failure{"410 for a POST with a deleted id", describe(e)}
}
