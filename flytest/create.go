package flytest

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/flyext/flyext"
)

// The times that flyctl uses to poll an extension that is not ready at once.
const (
	PollInterval = 2 * time.Second // between two polls
	PollTimeout  = 4 * time.Minute // until flyctl gives up
)

// A ProvisioningError reports that flyctl stopped waiting for an extension because
// provisioning failed or took too long.
type ProvisioningError struct {
	// Extension is the provider's last answer.
	Extension *flyext.Extension
	// TimedOut reports whether [PollTimeout] passed without the status
	// [flyext.Ready] or [flyext.Failed].
	TimedOut bool
}

// Error returns the text that flyctl prints: a timeout, the provider's own message,
// or "provisioning failed".
func (e *ProvisioningError) Error() string {
	if e.TimedOut {
		return "timed out waiting for provisioning to complete"
	}
	return cmp.Or(e.Extension.Message, "provisioning failed")
}

// Await polls an extension as flyctl does: every [PollInterval], for up to
// [PollTimeout], until its status is [flyext.Ready].
//
// Await returns a *[ProvisioningError] if the status is [flyext.Failed] or the time
// runs out. The value of [flyext.Failed] is "error". Every other status means that
// provisioning continues, including "failed". If the provider answers with an HTTP
// error, for example because it does not offer GET, Await returns that
// *[flyext.Error]. If ctx ends, Await returns an error that wraps the error of ctx.
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
