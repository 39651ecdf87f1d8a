package flyext

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// AllOf returns a Verifier that accepts a message that each of its verifiers accepts.
// The message has the highest generation of theirs. Its [Verification.Verifier] is
// that of the highest generation or, among equals, the first with a nonce. It is safe for concurrent use.
func AllOf(verifiers ...Verifier) Verifier { return &allOf{group: newGroup("AllOf", verifiers)} }

// AnyOf returns a Verifier that accepts a message that one of its verifiers accepts.
// The first one that does decides the generation. AnyOf asks all of them: a message
// that several accept uses up the nonces of each, or it would pass once more
// stripped of one signature.
//
// A party between Fly.io and the provider can strip a message of one of its
// signatures before it arrives. The message then has the generation of the other
// signature, and the answer has the shape of that generation. Nothing else changes:
// the remaining part is signed, and the signing parameters do not become extras.
func AnyOf(verifiers ...Verifier) Verifier { return &anyOf{group: newGroup("AnyOf", verifiers)} }

type group struct {
	construction
	verifiers []Verifier
}

func newGroup(name string, verifiers []Verifier) group {
	g := group{verifiers: slices.Clone(verifiers)}
	if len(verifiers) == 0 {
		g.err = fmt.Errorf("flyext: %s of no verifiers", name)
	}
	for _, v := range verifiers {
		if err := checkVerifier(v); err != nil {
			g.err = err
		}
	}
	return g
}

type allOf struct{ group }

// Verify implements [Verifier].
func (v *allOf) Verify(ctx context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var all Verification
	for i, each := range v.verifiers {
		one, err := each.Verify(ctx, m)
		if err != nil {
			return Verification{}, err
		}
		firstNonce := one.Generation == all.Generation && len(all.Nonces) == 0 && len(one.Nonces) > 0
		if i == 0 || one.Generation > all.Generation || firstNonce {
			all.Verifier = one.Verifier
		}
		all.Generation = max(all.Generation, one.Generation)
		all.Nonces = mergeNonces(all.Nonces, one.Nonces...)
	}
	return all, nil
}

type anyOf struct{ group }

// Verify implements [Verifier].
func (v *anyOf) Verify(ctx context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var found Verification
	errs := make(noneOf, 0, len(v.verifiers))
	for i, each := range v.verifiers {
		one, err := each.Verify(ctx, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(errs) == i { // the first
			found.Generation, found.Verifier = one.Generation, one.Verifier
		}
		found.Nonces = mergeNonces(found.Nonces, one.Nonces...)
	}
	if len(errs) == len(v.verifiers) {
		return Verification{}, errs
	}
	return found, nil
}

// noneOf is why none of several verifiers was content. Its text is made when
// it is logged.
type noneOf []error

func (e noneOf) Error() string   { return errors.Join(e...).Error() }
func (e noneOf) Unwrap() []error { return e }
