// Flysim plays Fly.io towards an extension provider, in any language, at a URL.
// It provisions, updates, fetches and deprovisions extensions, sends the events of
// machines, signs a customer on, tests whether the provider does what Fly.io's
// protocol requires, and does all but the last on a web page, too:
//
//	flysim provision --base-url http://localhost:8080/flyio --prefix LOGJAM_ > app.env
//	flysim check --base-url http://localhost:8080/flyio
//
// The secrets that Fly.io and the provider share come from the environment, from
// a file, or from flags. See flysim --help.
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
		stop() // first, so that a second signal ends it at once
		cancel()
	})
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// A program is flysim and what surrounds it.
type program struct {
	settings
	wire      wire // what --verbose shows
	lookupEnv func(string) (string, bool)
	stdin     io.Reader
	out, err  *page
	browse    func(url string) error // opens a person's browser
}

// run returns the exit status; see exitCode.
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

// browse opens a URL in the browser of whoever sits there.
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
