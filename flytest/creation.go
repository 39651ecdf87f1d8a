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

// A Creation is the result of [Platform.Create]: the outcome of
// "flyctl ext <provider> create".
type Creation struct {
	// Extension is the ready extension. It has the secrets of the first answer,
	// because flyctl keeps those. It is nil if Create returned an error.
	Extension *flyext.Extension
	// Terminal is the output of flyctl v0.4.87, including the secrets. It omits
	// the progress spinner, as flyctl does in a pipe.
	Terminal string
	// ExitStatus is the exit status of flyctl: 0, 1, or 3 if flyctl crashes.
	ExitStatus int
	// Warning is the text of [Registration.Warning], which flyctl does not print,
	// or "".
	Warning string
}

// Create simulates "flyctl ext <provider> create". It provisions an extension and
// returns the output that the customer reads. If [Platform.Registration] says that
// the provider is asynchronous, Create also waits until the extension is ready.
//
// The error is that of [Platform.Provision] or [Platform.Await]. If
// [Platform.Registration] has an App and an AppExtension, Create sends nothing and
// returns flyctl's error. flyctl does not detect every mistake, so ExitStatus can
// be 0 even if the error is not nil.
func (p *Platform) Create(ctx context.Context, req flyext.ProvisionRequest) (Creation, error) {
	r := p.Registration
	if r.App != "" && r.AppExtension != "" {
		err := errors.New("A " + r.Kind() + " named " + r.AppExtension + " already exists for app " + r.App) // flyctl's words
		return failed(err.Error()), err
	}
	x, answer, err := p.provisionRaw(ctx, req)
	if refusal, refused := errors.AsType[*flyext.Error](err); refused {
		return failed("input:3:2: createAddOn " + refusal.Message + "\n"), err
	}
	first, ok := readFirstAnswer(answer, req)
	if err != nil && !ok {
		return failed(strings.TrimPrefix(err.Error(), "flytest: ")), err
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
			return failed(strings.TrimPrefix(terminalText(err), "flytest: ")), err
		}
	}
	if err != nil {
		made.Extension = nil
	}
	made.Terminal, made.ExitStatus = r.success(first)
	return made, err
}

// provisionRaw provisions an extension and also returns the body of the answer, which
// flyctl reads more leniently than Provision. The body is nil if there is no answer.
func (p *Platform) provisionRaw(ctx context.Context, req flyext.ProvisionRequest) (x *flyext.Extension, answer []byte, err error) {
	observed := *p
	observed.Observe = func(e Exchange) {
		answer = e.ResponseBody
		if p.Observe != nil {
			p.Observe(e)
		}
	}
	x, err = observed.Provision(ctx, req)
	return x, answer, err
}

// failed returns the Creation in which flyctl prints an error.
func failed(text string) Creation {
	return Creation{Terminal: "Error: " + text + "\n", ExitStatus: 1}
}

// terminalText returns the text that flyctl prints for an error while it waits.
func terminalText(err error) string {
	if refusal, refused := errors.AsType[*flyext.Error](err); refused {
		return refusal.Message
	}
	return err.Error()
}

// A firstAnswer holds the members that flyctl reads in the answer to a POST.
type firstAnswer struct {
	name, region string
	status       flyext.Status
	secrets      map[string]jsontext.Value // nil if the answer has no secrets
}

// readFirstAnswer reads an answer as leniently as flyctl does. ok is false if
// flyctl cannot read it.
func readFirstAnswer(body []byte, req flyext.ProvisionRequest) (first firstAnswer, ok bool) {
	members, err := decodeObject(body)
	if err != nil {
		return first, false
	}
	first = firstAnswer{name: req.Name, region: req.PrimaryRegion}
	if name, _ := text(members, "name"); name != "" {
		first.name = name
	}
	if !isEnvelope(members) {
		first.secrets, first.name = members, req.Name
		return first, true
	}
	status, _ := text(members, "status")
	first.status = flyext.Status(status)
	first.secrets, err = decodeObject(members["config"])
	return first, err == nil || members["config"] == nil || members["config"].Kind() == 'n'
}

// success returns flyctl's output and exit status for an extension that it
// considers ready.
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

// taken returns the names of secrets that the app already has.
func (r Registration) taken(secrets map[string]jsontext.Value) []string {
	var taken []string
	for _, name := range r.AppSecrets {
		if _, ok := secrets[name]; ok && r.App != "" {
			taken = append(taken, name)
		}
	}
	return taken
}

// goType returns the name of the Go type that a JSON value decodes into.
func goType(value jsontext.Value) string {
	var decoded any
	if json.Unmarshal(value, &decoded) != nil || decoded == nil {
		return "nil"
	}
	return fmt.Sprintf("%T", decoded)
}
