package observe

import (
	"context"

	"github.com/flyext/flyext"
)

// A Reporter sends panics of the service's code to an error tracker such as Sentry.
type Reporter interface {
	Report(ctx context.Context, o flyext.Outcome)
}

// Panics returns an observer that reports panics.
func Panics(r Reporter) func(context.Context, flyext.Outcome) {
	return func(ctx context.Context, o flyext.Outcome) {
		if o.Panic != nil {
			r.Report(ctx, o)
		}
	}
}

// Each returns an observer that calls the given observers in order.
func Each(observers ...func(context.Context, flyext.Outcome)) func(context.Context, flyext.Outcome) {
	return func(ctx context.Context, o flyext.Outcome) {
		for _, observe := range observers {
			observe(ctx, o)
		}
	}
}
