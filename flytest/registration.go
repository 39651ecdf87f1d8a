package flytest

import (
	"cmp"
	"strings"

	"github.com/flyext/flyext"
)

// A Registration is what Fly.io has on record about a provider, together with the
// app that the customer provisions for. It decides what flyctl prints and whether
// flyctl waits. The zero value is a provider that is not asynchronous, and a
// customer without an app.
type Registration struct {
	// DisplayName is the provider's name in sentences, such as "Logjam". The
	// default is "Example".
	DisplayName string

	// ResourceName is what the provider provisions, such as "log stream". The
	// default is "extension".
	ResourceName string

	// ProvisioningInstructions is the command that flyctl recommends after a
	// success. The default is "flyctl ext <DisplayName in lower case> --help".
	ProvisioningInstructions string

	// Async reports whether Fly.io registered the provider as asynchronous. flyctl
	// waits for an extension to be ready only if it is set.
	Async bool

	// SelectRegion reports whether the customer chooses a region. flyctl then
	// names the region.
	SelectRegion bool

	// App is the app that the secrets are set on. If it is "", flyctl prints the
	// secrets for the customer to set.
	App string

	// AppDeployed reports whether the app was deployed before.
	AppDeployed bool

	// AppSecrets are the names of secrets that the app has already. If the
	// provider answers with one of them, flyctl sets none of the provider's.
	AppSecrets []string

	// AppExtension is the name of the extension of this provider that the app has
	// already. flyctl then provisions nothing.
	AppExtension string
}

func (r Registration) displayName() string { return cmp.Or(r.DisplayName, "Example") }

func (r Registration) resourceName() string { return cmp.Or(r.ResourceName, "extension") }

// Instructions returns ProvisioningInstructions or its default.
func (r Registration) Instructions() string {
	slug := strings.ReplaceAll(strings.ToLower(r.displayName()), " ", "-")
	return cmp.Or(r.ProvisioningInstructions, "flyctl ext "+slug+" --help")
}

// Kind returns what a customer calls the resource, such as "Logjam log stream".
func (r Registration) Kind() string { return r.displayName() + " " + r.resourceName() }

// Warning returns what is wrong with a provider's first answer in view of the
// registration, or "": a provider that is not registered as asynchronous is ready
// at once for flyctl, whatever its status is.
func (r Registration) Warning(status flyext.Status) string {
	if r.Async || status == "" || status == flyext.Ready {
		return ""
	}
	quoted := "The status is \"" + string(status) + "\", but the provider is not registered as asynchronous. "
	if status == flyext.Failed {
		return quoted + "flyctl tells the customer that the extension is ready, and prints its secrets."
	}
	return quoted + "flyctl tells the customer at once that the extension is ready, and never asks for its status."
}
