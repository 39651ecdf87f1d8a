// Loadrun is a bad day of Logjam's: genuine provisioning, updates, fetches and
// sign-ons from 64 connections, a fifth of hostile requests among them, while
// Logjam and its stores are killed and frozen in turn. All of it is on loopback.
//
//	go run ./examples/loadrun                  # 60 s, PostgreSQL and Redis, two machines
//	go run ./examples/loadrun -stores sqlite   # SQLite and memory, with Go alone
//
// (go run hides the exit status: build it for a script.)
//
// In the end Fly.io's books are held against Logjam's. The exit status is 1 if
// anything that was answered is lost, anything was applied twice, anything hostile
// was admitted or anything genuine was refused, if a slow sender was not cut off,
// if memory or goroutines stay, or if a secret is in the log. docs/faults.md has
// what came of it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command returns the exit status: 1 for a violation, 2 for a run that could not
// be.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("loadrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var p plan
	flags.DurationVar(&p.duration, "duration", time.Minute, "put the load on for so `long`")
	flags.IntVar(&p.connections, "connections", 64, "this `many` at once")
	flags.IntVar(&p.hostilePart, "hostile", 20, "this many of a hundred requests are hostile")
	var way ways
	flags.StringVar(&way.stores, "stores", onShared, "what Logjam runs on: shared (PostgreSQL and Redis, two machines), postgresql (that alone) or sqlite (one machine)")
	flags.StringVar(&way.logjam, "logjam", "", "a built Logjam, at this `path` (default: built from this source)")
	flags.StringVar(&way.dir, "dir", "", "keep Logjam's database and logs in this `directory` (default: a temporary one)")
	flags.Func("redis", "another `setting` of Redis, such as \"appendonly no\"; several may be given", func(text string) error {
		name, value, _ := strings.Cut(text, " ")
		way.redis = append(way.redis, "--"+name, value)
		return nil
	})
	asJSON := flags.Bool("json", false, "report in JSON")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case p.duration < time.Second || p.connections < 1 || p.hostilePart < 0 || p.hostilePart > 99 || flags.NArg() > 0:
		fmt.Fprintln(stderr, "loadrun: it takes a second or more, a connection or more, and less than 100 of 100 hostile; and no arguments")
		return 2
	}
	if way.dir == "" {
		var err error
		if way.dir, err = os.MkdirTemp("", "loadrun-"); err != nil {
			fmt.Fprintln(stderr, "loadrun:", err)
			return 2
		}
		defer os.RemoveAll(way.dir)
	}
	var r *report
	var k keeper
	err := k.ensure(func() error {
		s, err := newSetting(ctx, &k, way, p.connections)
		if err != nil {
			return err
		}
		defer s.close()
		if r, err = run(ctx, p, s.provider, s.faults, s.finish); err == nil {
			r.Stores = way.stores
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(stderr, "loadrun:", err)
		return 2
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		r.print(stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "loadrun:", err)
		return 2
	case len(r.Violations) > 0:
		return 1
	}
	return 0
}
