package main

import (
	"errors"
	"fmt"
	"testing"
)

// A keeper substitutes for a test: it starts the servers of package servertest and
// stops them. Where a test would fail, ensure returns an error.
type keeper struct {
	testing.TB // nil; only for its unexported method
	cleanups   []func()
}

// A serverError is the message of Fatal.
type serverError struct{ text string }

func (k *keeper) Helper()          {}
func (k *keeper) Cleanup(f func()) { k.cleanups = append(k.cleanups, f) }
func (k *keeper) Fatal(args ...any) {
	panic(serverError{fmt.Sprint(args...)})
}
func (k *keeper) Skip(args ...any) { k.Fatal(args...) }

// ensure calls do and then stops the servers that it started.
func (k *keeper) ensure(do func() error) (err error) {
	defer func() {
		for _, cleanup := range k.cleanups {
			defer cleanup() // in reverse order
		}
		switch v := recover().(type) {
		case nil:
		case serverError:
			err = errors.New(v.text)
		default:
			panic(v)
		}
	}()
	return do()
}
