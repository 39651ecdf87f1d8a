package flytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// A Creation is the result of "flyctl ext <provider> create".
type Creation struct {
	// Extension is the extension as it was when it got ready, with the secrets of
	// the first answer, which are the ones that flyctl keeps. It is nil if the
	// error is not.
	Extension *flyext.Extension
	// Terminal is what flyctl v0.4.87 prints, line by line, with the secrets. The
	// spinner that it shows on a terminal while it waits is left out, as in a pipe.
	Terminal string
	// ExitStatus is flyctl's: 0, 1, or 3 if it crashes.
	ExitStatus int
	// Warning says what an author should know that flyctl does not print, or "".
	Warning string
}

// Create does what flyctl and Fly.io do when a customer types "flyctl ext
// <provider> create": it provisions an extension, waits until it is ready if the
// provider is registered as asynchronous ([Platform.Registration]), and returns
// what the customer reads. If the error is not nil it is that of
// [Platform.Provision] or [Platform.Await]. A Creation can have ExitStatus 0
// although there is an error: flyctl does not notice every mistake.
func (p *Platform) Create(ctx context.Context, req flyext.ProvisionRequest) (Creation, error) {
	r := p.Registration
	if r.App != "" && r.AppExtension != "" {
		err := fmt.Errorf("A %s named %s already exists for app %s", r.Kind(), r.AppExtension, r.App) //nolint:staticcheck // flyctl's words
		return failed(err), err
	}
	var answer []byte
	observed := *p
	observed.Observe = func(e Exchange) {
		answer = e.ResponseBody
		if p.Observe != nil {
			p.Observe(e)
		}
	}
	x, err := observed.Provision(ctx, req)
	if refusal, refused := errors.AsType[*flyext.Error](err); refused {
		return failed(fmt.Errorf("input:3:2: createAddOn %s\n", refusal.Message)), err
	}
	first, ok := readFirstAnswer(answer, req)
	if err != nil && !ok {
		return failed(errors.New(strings.TrimPrefix(err.Error(), "flytest: "))), err
	}
	made := Creation{Extension: x, Warning: r.Warning(first.status)}
	if err == nil && r.Async && x.Status != "" && x.Status != flyext.Ready {
		secrets := x.Secrets
		if x.Status == flyext.Failed {
			err = &ProvisioningError{Extension: x}
		} else if x, err = p.Await(ctx, x.ID); err == nil {
			x.Secrets = secrets
			made.Extension = x
		}
		if err != nil {
			return failed(errors.New(strings.TrimPrefix(terminalText(err), "flytest: "))), err
		}
	}
	if err != nil {
		made.Extension = nil
	}
	made.Terminal, made.ExitStatus = r.success(first)
	return made, err
}

func failed(err error) Creation {
	return Creation{Terminal: "Error: " + err.Error() + "\n", ExitStatus: 1}
}

// terminalText is what flyctl prints of an error while it waits.
func terminalText(err error) string {
	if refusal, refused := errors.AsType[*flyext.Error](err); refused {
		return refusal.Message
	}
	return err.Error()
}

// A firstAnswer is what flyctl looks at in the answer to a POST.
type firstAnswer struct {
	name, region string
	status       flyext.Status
	secrets      map[string]jsontext.Value // nil: there are none
}

// readFirstAnswer reads an answer as leniently as flyctl does. ok is false if
// there is nothing to read.
func readFirstAnswer(body []byte, req flyext.ProvisionRequest) (first firstAnswer, ok bool) {
	members, err := decodeObject(body)
	if err != nil {
		return first, false
	}
	first = firstAnswer{name: req.Name, region: req.PrimaryRegion}
	if name, _ := text(members, "name"); name != "" {
		first.name = name
	}
	envelope := false
	for _, name := range [...]string{"id", "config", "status"} {
		_, there := members[name]
		envelope = envelope || there
	}
	if !envelope {
		first.secrets, first.name = members, req.Name
		return first, true
	}
	status, _ := text(members, "status")
	first.status = flyext.Status(status)
	first.secrets, err = decodeObject(members["config"])
	return first, err == nil || members["config"] == nil || members["config"].Kind() == 'n'
}

// success is what flyctl prints once it takes the extension for ready.
func (r Registration) success(first firstAnswer) (terminal string, exit int) {
	var out strings.Builder
	fmt.Fprintf(&out, "Your %s (%s)", r.Kind(), first.name)
	if r.SelectRegion {
		fmt.Fprintf(&out, " in %s", first.region)
	}
	fmt.Fprintf(&out, " is ready. See details and next steps with: %s\n\n", r.Instructions())
	if first.secrets == nil {
		return out.String(), 0
	}
	sets := r.App != ""
	if taken := r.taken(first.secrets); len(taken) > 0 {
		fmt.Fprintf(&out, "Secrets %v already exist on app %s. They won't be set automatically.\n\n", taken, r.App)
		sets = false
	}
	if sets {
		fmt.Fprintf(&out, "Setting the following secrets on %s:\n", r.App)
	} else {
		out.WriteString("Set the following secrets on your target app.\n")
	}
	for _, name := range slices.Sorted(maps.Keys(first.secrets)) {
		value := first.secrets[name]
		var secret string
		if value.Kind() != '"' || jsonv2.Unmarshal(value, &secret) != nil {
			fmt.Fprintf(&out, "panic: interface conversion: interface {} is %s, not string\n", goType(value))
			return out.String(), 3
		}
		fmt.Fprintf(&out, "%s: %s\n", name, secret)
	}
	if sets {
		out.WriteString("\n")
		if !r.AppDeployed {
			out.WriteString("Secrets are staged for the first deployment\n")
		}
	}
	return out.String(), 0
}

// taken are the names of secrets that the app has already.
func (r Registration) taken(secrets map[string]jsontext.Value) []string {
	var taken []string
	for _, name := range r.AppSecrets {
		if _, ok := secrets[name]; ok && r.App != "" {
			taken = append(taken, name)
		}
	}
	return taken
}

// goType is how Go names what it decodes a JSON value into.
func goType(value jsontext.Value) string {
	var decoded any
	if json.Unmarshal(value, &decoded) != nil || decoded == nil {
		return "nil"
	}
	return fmt.Sprintf("%T", decoded)
}
