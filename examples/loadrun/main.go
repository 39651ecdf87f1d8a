// Loadrun tests Logjam under load, attack and faults. 64 connections send
// provisioning, update, fetch and sign-in requests. One request in five is hostile.
// Meanwhile Logjam and its stores are killed and frozen in turn. Everything runs on
// loopback.
//
//	go run ./examples/loadrun                  # 60 s, PostgreSQL and Redis, two machines
//	go run ./examples/loadrun -stores sqlite   # SQLite and memory; needs only Go
//
// (go run hides the exit status: build the program for use in a script.)
//
// At the end Loadrun compares the responses that Fly.io received with Logjam's
// database. The exit status is 1 if it finds a violation:
//
//   - an acknowledged request was lost or applied twice
//   - a hostile request was accepted or a genuine one was refused
//   - a slow sender was not disconnected
//   - memory or goroutines leaked
//   - a secret is in the log
//
// docs/faults.md has the results.
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

// command returns the exit status: 1 for a violation, 2 if the run failed.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c config
	switch err := c.parse(args, stderr); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	r, err := c.measure(ctx)
	if err == nil {
		err = c.write(stdout, r)
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

// A config holds the settings from the flags.
type config struct {
	plan    plan
	options options
	json    bool // write the report as JSON
}

// parse reads the flags. It prints errors and the usage on stderr.
func (c *config) parse(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("loadrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	p, o := &c.plan, &c.options
	flags.DurationVar(&p.duration, "duration", time.Minute, "`duration` of the load")
	flags.IntVar(&p.connections, "connections", 64, "`number` of concurrent connections")
	flags.IntVar(&p.hostilePart, "hostile", 20, "`percent` of the requests that are hostile")
	flags.StringVar(&o.stores, "stores", onShared, "Logjam's `stores`: shared (PostgreSQL and Redis, two machines), postgresql (only PostgreSQL, two machines) or sqlite (one machine)")
	flags.StringVar(&o.logjam, "logjam", "", "`path` of a Logjam program (default: build it from source)")
	flags.StringVar(&o.dir, "dir", "", "`directory` for Logjam's database and logs (default: a temporary directory)")
	flags.Func("redis", "additional `setting` of Redis, such as \"appendonly no\"; may be repeated", func(text string) error {
		name, value, _ := strings.Cut(text, " ")
		o.redis = append(o.redis, "--"+name, value)
		return nil
	})
	flags.BoolVar(&c.json, "json", false, "write the report as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.duration < time.Second || p.connections < 1 || p.hostilePart < 0 || p.hostilePart > 99 || flags.NArg() > 0 {
		err := errors.New("invalid arguments; use -duration of at least 1s, -connections of at least 1, -hostile from 0 to 99, and only flags")
		fmt.Fprintln(stderr, "loadrun:", err)
		return err
	}
	return nil
}

// measure starts Logjam and its stores, executes the plan, and stops them.
func (c *config) measure(ctx context.Context) (r *report, err error) {
	o := c.options
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "loadrun-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(o.dir)
	}
	var k keeper
	err = k.ensure(func() error {
		s, err := newEnvironment(ctx, &k, o, c.plan.connections)
		if err != nil {
			return err
		}
		defer s.close()
		if r, err = run(ctx, c.plan, s.provider, s.faults, s.finish); err == nil {
			r.Stores = o.stores
		}
		return err
	})
	return r, err
}

// write writes the report.
func (c *config) write(w io.Writer, r *report) error {
	if c.json {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	r.print(w)
	return nil
}
