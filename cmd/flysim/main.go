// Flysim is a Fly.io simulator for extension providers in any language. It calls
// the provider at its base URL:
//
//   - It provisions, updates, fetches and deprovisions extensions.
//   - It sends machine events.
//   - It signs a customer in.
//   - It tests whether the provider meets the requirements of Fly.io's protocol.
//
// flysim serve does the same on a web page, except for the tests. Examples:
//
//	flysim provision --base-url http://localhost:8080/flyio --prefix LOGJAM_ > app.env
//	flysim check --base-url http://localhost:8080/flyio
//
// The secrets that Fly.io and the provider share come from the environment, from
// a file, or from flags. See flysim help.
package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(signaled, func() {
		stop() // first, so that a second signal ends the process immediately
		cancel()
	})
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// A program is flysim with its environment, its input and its outputs.
type program struct {
	settings
	wire      wire // for --verbose
	lookupEnv func(string) (string, bool)
	stdin     io.Reader
	out, err  *page
	browse    func(url string) error // opens the user's browser

	consoleGone bool // the page that FLYSIM_CONSOLE names does not answer
}

// run runs flysim and returns the exit status; see [exitCode].
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		lookupEnv: lookupEnv, stdin: stdin, browse: browse,
		out: newPage(stdout, lookupEnv), err: newPage(stderr, lookupEnv),
	}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.out.w)
	root.SetErr(p.err.w)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		p.err.line(plain, "", "flysim: interrupted")
		return exitInterrupted
	}
	p.report(err)
	return exitCode(err)
}

// browse opens a URL in the user's browser.
func browse(url string) error {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	return exec.Command(name, args...).Run()
}
