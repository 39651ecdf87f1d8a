// Package openapi holds docs/openapi.yaml against flyext: each answer of the handler
// is one that the document describes, and a provider that was written from the
// document alone conforms. It is a module of its own for the validator's sake.
package openapi
