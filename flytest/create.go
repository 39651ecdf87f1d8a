package flytest

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/flyext/flyext"
)

// How flyctl waits for an extension that is not ready at once.
const (
	PollInterval = 2 * time.Second
	PollTimeout  = 4 * time.Minute
)

// A ProvisioningError is why flyctl stopped waiting for an extension.
type ProvisioningError struct {
	// Extension is what the provider answered last.
	Extension *flyext.Extension
	// TimedOut says that the status was neither [flyext.Ready] nor
	// [flyext.Failed] for all of [PollTimeout].
	TimedOut bool
}

// Error returns what flyctl prints: that time ran out, the provider's message, or
// that provisioning failed.
func (e *ProvisioningError) Error() string {
	if e.TimedOut {
		return "timed out waiting for provisioning to complete"
	}
	return cmp.Or(e.Extension.Message, "provisioning failed")
}

// Await polls an extension as flyctl does, every [PollInterval] for up to
// [PollTimeout], until its status is [flyext.Ready]. The status [flyext.Failed]
// and running out of time are a *[ProvisioningError]; every other status means
// that the work goes on. If the provider offers no GET, the error is the
// *[flyext.Error] of its answer.
func (p *Platform) Await(ctx context.Context, id string) (*flyext.Extension, error) {
	var x *flyext.Extension
	for waited := time.Duration(0); waited < PollTimeout; waited += PollInterval {
		var err error
		x, err = p.Fetch(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case x.Status == flyext.Ready:
			return x, nil
		case x.Status == flyext.Failed:
			return nil, &ProvisioningError{Extension: x}
		}
		if err := p.sleep(ctx, PollInterval); err != nil {
			return nil, fmt.Errorf("flytest: waiting for %q to be ready: %w", id, err)
		}
	}
	return nil, &ProvisioningError{Extension: x, TimedOut: true}
}

func (p *Platform) sleep(ctx context.Context, d time.Duration) error {
	if p.Sleep != nil {
		return p.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
