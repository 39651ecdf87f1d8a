package main

import (
	"errors"
	"fmt"
	"testing"
)

// A keeper stands in for a test, to which the servers of servertest belong: it
// ends them. What fails a test ends what ensure runs.
type keeper struct {
	testing.TB // has what no one else can have; nil, and not called
	cleanups   []func()
}

// A serverError is what a test would have been told.
type serverError struct{ text string }

func (k *keeper) Helper()          {}
func (k *keeper) Cleanup(f func()) { k.cleanups = append(k.cleanups, f) }
func (k *keeper) Fatal(args ...any) {
	panic(serverError{fmt.Sprint(args...)})
}
func (k *keeper) Skip(args ...any) { k.Fatal(args...) }

// ensure runs what needs servers, and ends those afterwards.
func (k *keeper) ensure(do func() error) (err error) {
	defer func() {
		for _, cleanup := range k.cleanups {
			defer cleanup() // the last one first
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
