package flyext

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// AllOf returns a Verifier that accepts a message if all verifiers accept it. The
// result has their highest generation. Its [Verification.Verifier] names the verifier
// with that generation; among several, the first with a nonce. It is safe for
// concurrent use.
func AllOf(verifiers ...Verifier) Verifier { return &allOf{group: newGroup("AllOf", verifiers)} }

// AnyOf returns a Verifier that accepts a message if at least one verifier accepts it.
// The first such verifier decides the generation. AnyOf calls all verifiers and returns
// the nonces of all that accept; otherwise a copy of the message without one of its
// signatures would be accepted again. It is safe for concurrent use.
//
// A party between Fly.io and the provider can remove one of two signatures before the
// message arrives. The response then has the format of the other signature's
// generation. A party that holds back a message with two signatures can send it twice,
// once with each: the two have different nonces. Accept only one kind of signature if
// Fly.io sends both.
func AnyOf(verifiers ...Verifier) Verifier { return &anyOf{group: newGroup("AnyOf", verifiers)} }

type group struct {
	construction
	verifiers []Verifier
}

func newGroup(name string, verifiers []Verifier) group {
	g := group{verifiers: slices.Clone(verifiers)}
	if len(verifiers) == 0 {
		g.err = fmt.Errorf("flyext: %s needs a verifier", name)
	}
	for _, v := range verifiers {
		if err := checkVerifier(v); err != nil {
			g.err = err
		}
	}
	return g
}

type allOf struct{ group }

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

func (v *anyOf) Verify(ctx context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var found Verification
	errs := make([]error, 0, len(v.verifiers))
	for i, each := range v.verifiers {
		one, err := each.Verify(ctx, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(errs) == i { // the first that accepts
			found.Generation, found.Verifier = one.Generation, one.Verifier
		}
		found.Nonces = mergeNonces(found.Nonces, one.Nonces...)
	}
	if len(errs) == len(v.verifiers) {
		return Verification{}, errors.Join(errs...)
	}
	return found, nil
}
