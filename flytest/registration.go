package flytest

import (
	"cmp"
	"strings"

	"github.com/flyext/flyext"
)

// A Registration holds Fly.io's record of a provider and the customer's app. It
// determines the output of flyctl, and whether flyctl waits. The zero value is a
// provider that is not asynchronous, and a customer without an app.
type Registration struct {
	// DisplayName is the provider's name in sentences, such as "Logjam". The
	// default is "Example".
	DisplayName string

	// ResourceName is the kind of resource that the provider provisions, such as
	// "log stream". The default is "extension".
	ResourceName string

	// ProvisioningInstructions is the command that flyctl recommends after a
	// success. The default is "flyctl ext <DisplayName in lower case> --help".
	ProvisioningInstructions string

	// Async reports whether Fly.io registered the provider as asynchronous. Only
	// then does flyctl wait until an extension is ready.
	Async bool

	// SelectRegion reports whether the customer chooses a region. flyctl then
	// names the region.
	SelectRegion bool

	// App is the app on which flyctl sets the secrets. If it is "", flyctl prints
	// the secrets for the customer to set.
	App string

	// AppDeployed reports whether the app was deployed before.
	AppDeployed bool

	// AppSecrets are the names of the secrets that the app already has. If the
	// provider's secrets include one of these names, flyctl sets none of them.
	AppSecrets []string

	// AppExtension is the name of an extension of this provider that the app
	// already has. flyctl then refuses to provision another one.
	AppExtension string
}

func (r Registration) displayName() string { return cmp.Or(r.DisplayName, "Example") }

func (r Registration) resourceName() string { return cmp.Or(r.ResourceName, "extension") }

// Instructions returns ProvisioningInstructions or its default.
func (r Registration) Instructions() string {
	slug := strings.ReplaceAll(strings.ToLower(r.displayName()), " ", "-")
	return cmp.Or(r.ProvisioningInstructions, "flyctl ext "+slug+" --help")
}

// Kind returns DisplayName and ResourceName as in the output of flyctl, such as
// "Logjam log stream".
func (r Registration) Kind() string { return r.displayName() + " " + r.resourceName() }

// Warning describes a status in the provider's first answer that flyctl ignores, or
// returns "". If the provider is not registered as asynchronous, flyctl considers
// every extension ready at once, even with the status [flyext.Failed] ("error").
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
