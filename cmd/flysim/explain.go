package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/cmd/flysim/internal/explain"
)

const explainHelp = `Explain says why the signature of a captured request does not verify. It shows
the format, the interpretation that matches, the exact bytes that are signed, and
the first byte at which the text that your provider signs differs. It sends
nothing.

The exit status is 0 if a provider accepts the request as it was sent. It is 1 if a
provider refuses it, or if the capture lacks the body: curl -v does not show the
body, so pass it with --body.

  # A request as curl -v or raw HTTP shows it
  flysim explain request.txt
  # The last request of a HAR file
  flysim explain session.har
  # The head and the body in two files
  flysim explain --body body.json < head
  # Compare with the text that your provider signs
  flysim explain request.txt --base signed.txt`

// explainOptions holds the flags of explain.
type explainOptions struct {
	body, base string
	at         string
}

func (p *program) explainCommand() *cobra.Command {
	var e explainOptions
	cmd := &cobra.Command{
		Use: "explain [FILE] [flags]", Short: "Explain why a captured signature does not verify", Long: explainHelp, Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error { return p.explainRequest(args, &e) },
	}
	flags := cmd.Flags()
	flags.StringVar(&e.body, "body", "", "the `file` with the body of the request, byte for byte")
	flags.StringVar(&e.base, "base", "", "the `file` with the text that your provider signs, for comparison")
	flags.StringVar(&e.at, "at", "", "the `time` at which to judge the timestamp, such as 2026-01-31T12:00:00Z (default now)")
	return cmd
}

func (p *program) explainRequest(args []string, e *explainOptions) error {
	if p.signingSecret == "" {
		return errNoSigningSecret
	}
	q, err := p.question(args, e)
	if err != nil {
		return err
	}
	answer := explain.Explain(*q)
	if p.json {
		p.writeJSON(map[string]any{
			"format": answer.Format, "right": answer.Right(), "verdict": answer.Verdict, "reading": answer.Reading, "findings": answer.Findings,
			"base": string(answer.Base), "signed": string(answer.Signed), "expected": answer.Expected,
		})
	} else {
		p.out.say("%s %s: format %s", q.Request.Method, q.Request.Target, answer.Format)
		for _, finding := range answer.Findings {
			p.out.hang(plain, "* ", p.redact(finding))
		}
		p.showBytes("signed bytes", answer.Base)
		p.showBytes("bytes that the sender signed instead", answer.Signed)
		if answer.Expected != "" {
			p.out.line(plain, "", "right value  "+answer.Expected)
		}
	}
	if !answer.Right() {
		return errRequirements
	}
	return nil
}

// oneFile accepts the name of a file as the only argument, or no argument.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("too many arguments; %s takes one file", cmd.CommandPath())
	}
	return nil
}

// showBytes prints bytes between two lines that name them.
func (p *program) showBytes(name string, text []byte) {
	if len(text) == 0 {
		return
	}
	p.out.line(yellow, "", "--- "+name)
	p.out.raw(p.redact(string(text)) + "\n")
	p.out.line(yellow, "", "--- end of the "+name)
}

// question reads the files that the arguments and flags name.
func (p *program) question(args []string, e *explainOptions) (*explain.Question, error) {
	q := &explain.Question{Secret: p.signingSecret, BaseURL: p.baseURL, Now: time.Now(), GiveBody: "pass it with --body"}
	var captured []byte
	var err error
	if len(args) == 0 || args[0] == "-" {
		captured, err = io.ReadAll(p.stdin)
	} else {
		captured, err = os.ReadFile(args[0])
	}
	if err != nil {
		return nil, usagef("cannot read the captured request: %w", err)
	}
	if q.Request, err = explain.Parse(captured); err != nil {
		return nil, usagef("cannot read the captured request: %w", err)
	}
	if e.body != "" {
		if q.Request.Body, err = os.ReadFile(e.body); err != nil {
			return nil, usagef("--body: %w", err)
		}
	}
	if e.base != "" {
		if q.Pasted, err = os.ReadFile(e.base); err != nil {
			return nil, usagef("--base: %w", err)
		}
	}
	if e.at != "" {
		if q.Now, err = time.Parse(time.RFC3339, e.at); err != nil {
			return nil, usagef("--at: invalid time %q; use one such as 2026-01-31T12:00:00Z", e.at)
		}
	}
	return q, nil
}
