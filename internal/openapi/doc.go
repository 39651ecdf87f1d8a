// Package openapi checks docs/openapi.yaml against flyext: the document describes
// every response of the handler, and a provider written only from the document
// conforms. It is a separate module because of the validator's dependencies.
package openapi
