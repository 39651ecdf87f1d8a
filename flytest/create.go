package flytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// Error returns what flyctl prints: the provider's message, or that there is
// none.
func (e *ProvisioningError) Error() string {
	if e.TimedOut {
		return fmt.Sprintf("not ready after %v (the status is %q)", PollTimeout, e.Extension.Status)
	}
	return cmp.Or(e.Extension.Message, "provisioning failed")
}

// Await polls an extension as flyctl does, every [PollInterval] for up to
// [PollTimeout], until its status is [flyext.Ready]. The status [flyext.Failed]
// and running out of time are a *[ProvisioningError]; every other status means
// that the work goes on. A provider that cannot be asked, since it offers no
// GET, is the *[flyext.Error] of its answer.
func (p *Platform) Await(ctx context.Context, id string) (*flyext.Extension, error) {
	for waited := time.Duration(0); ; waited += PollInterval {
		x, err := p.Fetch(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case x.Status == flyext.Ready:
			return x, nil
		case x.Status == flyext.Failed:
			return nil, &ProvisioningError{Extension: x}
		case waited >= PollTimeout:
			return nil, &ProvisioningError{Extension: x, TimedOut: true}
		}
		if err := p.sleep(ctx, PollInterval); err != nil {
			return nil, fmt.Errorf("flytest: waiting for %q to be ready: %w", id, err)
		}
	}
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

// A Creation is what became of "flyctl ext <provider> create".
type Creation struct {
	// Extension is what was made: as it was when it got ready, with the secrets
	// of the first answer, which are the ones that flyctl keeps.
	Extension *flyext.Extension
	// Terminal is what the customer reads, line by line; it has the secrets. It
	// is a likeness: the words of flyctl's versions differ.
	Terminal string
}

// Create does what flyctl and Fly.io do when a customer types "flyctl ext
// <provider> create": it provisions an extension, waits until it is ready where
// the first answer says that it is not yet, and takes note of what the customer
// would see. Where it fails, the Creation has only the Terminal, and the error
// is that of [Platform.Provision] or [Platform.Await].
func (p *Platform) Create(ctx context.Context, req flyext.ProvisionRequest) (Creation, error) {
	x, err := p.Provision(ctx, req)
	if err != nil {
		return Creation{Terminal: terminalError(err)}, err
	}
	id := x.ID
	secrets := x.Secrets
	terminal := ""
	switch x.Status {
	case "", flyext.Ready:
	case flyext.Failed:
		err = &ProvisioningError{Extension: x}
	default:
		terminal = "Waiting for " + nameOf(x, req) + " to be ready ...\n"
		if x, err = p.Await(ctx, id); err == nil {
			x.Secrets = secrets
		}
	}
	if err != nil {
		return Creation{Terminal: terminal + terminalError(err)}, err
	}
	terminal += "Your extension " + nameOf(x, req) + " is ready.\n"
	if len(secrets) > 0 {
		terminal += "\nSetting the following secrets on your app:\n"
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		terminal += name + ": " + secrets[name] + "\n"
	}
	return Creation{Extension: x, Terminal: terminal}, nil
}

// nameOf is what the customer knows the extension by.
func nameOf(x *flyext.Extension, req flyext.ProvisionRequest) string {
	return cmp.Or(x.Name, req.Name, x.ID, req.ID)
}

// terminalError is how flyctl prints an error. That of a provider comes through
// Fly.io's GraphQL API, which puts its place in the query before it.
func terminalError(err error) string {
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		return "Error: input:3:2: createAddOn " + e.Message + "\n"
	}
	return "Error: " + strings.TrimPrefix(err.Error(), "flytest: ") + "\n"
}
